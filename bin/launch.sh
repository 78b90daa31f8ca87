# shellcheck shell=sh
# Sourced by the programs beside it with $program, $bundle, $self and, where wanted, $node_options set: finds a Node.js, sets a fresh checkout up,
# hands over.
bin=${self%/*}
root=${bin%/*}

need_node() {
  command -v node >/dev/null 2>&1 || {
    echo "$program: Node.js was not found. Install Node.js 24 (with npm), or load your site's module for it, and try again." >&2
    exit 3
  }
}

if [ ! -f "$root/$bundle" ]; then
  need_node
  node "$bin/setup.cjs" "$root" "$program" || exit
fi

node=$root/node_modules/node/bin/node
[ -x "$node" ] || { need_node && node=node; }
# A debugger on loopback is open to every user of the host, and with it all that the program knows. The variable itself is for
# what the program starts, too.
case ${NODE_OPTIONS-} in
*inspect*) node_options="${node_options-} --no-inspect --no-inspect-brk --no-inspect-wait" ;;
esac
# shellcheck disable=SC2086 # words
exec "$node" ${node_options-} "$bin/entry.cjs" "$root/$bundle" "$@"
