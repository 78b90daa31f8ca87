# shellcheck shell=sh
# Sourced by the programs beside it with $program set: finds a Node.js, sets a fresh checkout up, hands over.
self=$(readlink -f -- "$0")
bin=${self%/*}
root=${bin%/*}

if [ ! -f "$root/$bundle" ]; then
  command -v node >/dev/null 2>&1 || {
    echo "$program: Node.js was not found. Install Node.js 24 (with npm), or load your site's module for it, and try again." >&2
    exit 3
  }
  node "$bin/setup.cjs" "$root" "$program" || exit
fi

node=$root/node_modules/node/bin/node
[ -x "$node" ] || node=node
exec "$node" "$bin/entry.cjs" "$root/$bundle" "$@"
