# ---- The site: opened once Jupyter answers and refuses strangers; closed when Jupyter ends ------------------------------

# One try to open the site. Where the proxy asks visitors who they are, it brings the Jupyter token here with each of them,
# and wants to see first that this is where it belongs; so it does where others come from the same address (claimed).
redeem() {
  if [[ -e $secrets/gated || -e $secrets/claimed ]]; then
    http POST "/api/v1/tokens/$proxy_token/redeem" "{\"port\":${site_port:-$port},\"jupyterToken\":\"$jupyter_token\"}"
  else
    http GET "/redeemtoken.cgi?token=$proxy_token&port=${site_port:-$port}"
  fi
}

is_redeemed() {
  http GET "/tokenjobstate.cgi?token=$proxy_token" && [[ $http_answer == M || $http_answer == PR ]]
}

open_site() {
  local status
  # In a few milliseconds it is over or has failed: whoever waits would only wait for the proxy to be told.
  record checking
  status=$(status_of api/sessions)
  case $status in
    401 | 403) ;;
    2*) fail "Jupyter lets anybody in without a token (your own Jupyter configuration turns authentication off). Nothing was opened." ;;
    *) fail "Jupyter gave a stranger the status ${status:-(none)} instead of refusing. Nothing was opened." ;;
  esac

  if [[ -n $manage_url ]]; then redeem_token; else announce_address; fi
}

# The link leads to this node from now on.
redeem_token() {
  local attempt status problem
  for ((attempt = 1; attempt <= 6; attempt++)); do
    [[ $kept_link != open ]] || break # redeemed already, for this very port
    redeem
    status=$?
    problem=$http_problem
    if ((status == 0)); then
      [[ $http_answer != *Success!* && $http_answer != *'"state":"mapped"'* ]] || break
      [[ $http_answer == *'already used'* ]] || fail "The proxy refused to open the site: $(one_line "${http_answer:-no reason given}")"
    fi
    if ((status == 0)) || { ((status == 2)) && is_redeemed; }; then
      # An answer that got lost on the way leaves a token that is redeemed already, by this job: nobody else knows it.
      if ((attempt > 1)) && is_redeemed; then break; fi
      fail "This session's link leads to somebody else: another host has redeemed it. Do not open it; start a new session."
    fi
    ((attempt < 6)) || fail "The proxy $manage_host can't be reached from $(hostname): ${problem:-it answers with an error}."
    say "The proxy does not answer (${problem:-error status}); trying again."
    sleep "$attempt"
  done
  site_is_open=yes
  record ready
  say "The site is open."
}

# Where a tunnel has to end, for the launcher: in one step, so that nobody reads a half of it.
announce_address() {
  local status_before
  { printf '%s %s %s\n' "$address" "$port" "$HOSTNAME" >"$secrets/.address" && mv "$secrets/.address" "$secrets/address"; } 2>/dev/null ||
    fail "Your home directory can't be written on $(hostname), where the launch looks for the address of Jupyter."
  status_before=$(jupyter_status_page)
  record ready
  say "Jupyter waits for a tunnel to $address, port $port."
  mkfifo "$runtime/pause"
  watch_for_visitor "$status_before" &
  visitor_watch=$!
}

# Tells the launcher of the first request that came with the token: only then a tunnel has been seen to work.
watch_for_visitor() {
  local now
  while kill -0 "$jupyter_pid" 2>/dev/null; do
    now=$(jupyter_status_page)
    if [[ -n $now && $now != "$1" ]]; then
      record connected
      say "The first visitor is here: the tunnel works."
      return
    fi
    IFS= read -r -t 1 <>"$runtime/pause" # nobody writes there: a pause without a process of its own
  done
}

# What Jupyter says of its last activity, its kernels and their connections: it changes with requests of people, not by
# being looked at. The token goes from this shell to Jupyter and through no argument.
jupyter_status_page() {
  local line
  {
    exec 4<>"/dev/tcp/$address/$port" || return
    printf 'GET %sapi/status HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: token %s\r\nConnection: close\r\n\r\n' "$site_path" "$address" "$port" "$jupyter_token" >&4
    while IFS= read -r -t 10 line <&4 || [[ -n $line ]]; do
      [[ $line != *'"last_activity"'* ]] || printf %s "$line"
    done
    exec 4>&-
  } 2>/dev/null
}

stay_until_jupyter_ends() {
  while kill -0 "$jupyter_pid" 2>/dev/null; do
    # A trapped signal interrupts wait; Jupyter's end completes it.
    wait "$jupyter_pid"
    jupyter_status=$?
  done
  jupyter_pid=
  case $jupyter_status in
    0)
      if grep -q -E 'No kernels( or terminals)? for [0-9]+ seconds; shutting down' "$runtime/last-words" 2>/dev/null; then
        finish "Jupyter ended itself: nothing happened for $(in_words "$idle_timeout")."
      fi
      finish "Jupyter was shut down."
      ;;
    137) fail "Jupyter was killed on $(hostname) (signal 9); often that is too little memory." ;;
    129 | 13? | 14? | 15?) fail "Jupyter was ended on $(hostname) by signal $((jupyter_status - 128))." ;;
    *) fail "Jupyter ended on $(hostname) with status $jupyter_status: $(last_words)" ;;
  esac
}
