# ---- The site: opened once Jupyter answers and refuses strangers; closed when Jupyter ends ------------------------------

open_site() {
  local status attempt
  phase checking
  status=$(status_of api/sessions)
  case $status in
    401 | 403) ;;
    2*) fail "Jupyter lets anybody in without a token (your own Jupyter configuration turns authentication off). Nothing was opened." ;;
    *) fail "Jupyter gave a stranger the status ${status:-(none)} instead of refusing. Nothing was opened." ;;
  esac

  for ((attempt = 1; attempt <= 6; attempt++)); do
    if http GET "/redeemtoken.cgi?token=$proxy_token&port=$port"; then
      [[ $http_answer != *Success!* ]] || break
      # An answer that got lost on the way leaves a token that is redeemed already, by this job: nobody else knows it.
      if ((attempt > 1)) && http GET "/tokenjobstate.cgi?token=$proxy_token" && [[ $http_answer == M || $http_answer == PR ]]; then break; fi
      [[ $http_answer != *'already used'* ]] || fail "This session's link leads to somebody else: another host has redeemed it. Do not open it; start a new session."
      fail "The proxy refused to open the site: $(one_line "${http_answer:-no reason given}")"
    fi
    ((attempt < 6)) || fail "The proxy $manage_host can't be reached from $(hostname): ${http_problem:-it answers with an error}."
    say "The proxy does not answer (${http_problem:-error status}); trying again."
    sleep "$attempt"
  done
  record ready
  say "The site is open."
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
