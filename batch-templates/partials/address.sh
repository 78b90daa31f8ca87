# ---- The address that Jupyter binds: one, inside the cluster ------------------------------------------------------------

choose_address() {
  local name=$node_address
  name=${name//'{hostname -s}'/${HOSTNAME%%.*}}
  name=${name//'{hostname -f}'/$(hostname -f 2>/dev/null)}
  name=${name//'{hostname}'/$HOSTNAME}

  if [[ -z $name ]]; then
    address=$(address_towards "${manage_host:-$login_host}")
  elif [[ $name =~ ^[0-9.]+$ ]]; then
    address=$name
  elif [[ -e /sys/class/net/$name ]]; then
    address=$(ip -4 -o address show dev "$name" 2>/dev/null | sed -n 's/.* inet \([0-9.]*\).*/\1/p' | head -n 1)
  else
    address=$(getent ahostsv4 "$name" | sed -n '1s/ .*//p')
  fi
  [[ $address =~ ^[0-9]+(\.[0-9]+){3}$ || $name ]] || fail "$(hostname) knows no way to ${manage_host:-$login_host}, and so no address to listen on. Name one with nodeAddress in the system's description."
  [[ $address =~ ^[0-9]+(\.[0-9]+){3}$ ]] || fail "$(hostname) has no address for \"$name\" that Jupyter could listen on."
}

# The proxy sends visitors to the address that redeems: that is the one with which this node reaches it. A login node, from
# which tunnels come, is in the same network as the address with which it is reached.
address_towards() {
  ip -4 -o route get "$(getent ahostsv4 "${1%:*}" | sed -n '1s/ .*//p')" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p'
}
