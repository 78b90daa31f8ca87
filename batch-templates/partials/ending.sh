# ---- Every way out: give the token back, remove the secrets, end Jupyter ----------------------------------------------

# fail REASON: the session did not work out; the reason is for the person who waits.
fail() {
  # What a scheduler sends to every process of a job may have reached another one first, whose end is told here: the trap
  # knows better.
  sleep 0.3
  trap '' TERM INT HUP USR1 USR2
  say "FAILED: $1"
  end failed "$1"
  exit 1
}

# finish REASON [unsure]: the session ended as sessions do. `unsure`: the scheduler may know better why.
finish() {
  trap '' TERM INT HUP USR1 USR2
  say "$1"
  end ended "$1" "${2-}"
  exit 0
}

# Schedulers leave little time between TERM and KILL: what matters most comes first.
end() {
  if [[ -n ${attended_pid-} ]]; then ask_to_end "$attended_pid"; fi
  if [[ -n ${jupyter_pid-} ]]; then
    # Jupyter ends its kernels itself; a setup file that is running does not end what it started.
    if [[ -s $runtime/entered ]]; then kill -TERM "$jupyter_pid" 2>/dev/null; else ask_to_end "$jupyter_pid"; fi
  fi
  local recorded=yes reason=$2
  [[ -z ${3-} ]] || reason='' # the launcher asks the scheduler
  record "$1" "$reason" || recorded=
  if [[ -n ${http_tool-} && $http_tool != none ]]; then
    request_limit=8 # both must be over when KILL comes: after half a minute, with Slurm
    if [[ -z $kept_link || ($kept_link == new && -z ${site_is_open-}) ]]; then
      tell_proxy "$1" "$2"
      if [[ -e $secrets/claimed ]]; then
        http POST "/api/v1/tokens/$proxy_token/destroy" "{\"jupyterToken\":\"$jupyter_token\"}"
      else
        http GET "/destroytoken.cgi?token=$proxy_token"
      fi
    fi
  fi
  [[ -z $manage_socket ]] || rm -f "$manage_socket" # a sign for who holds its connection open
  rm -rf "$secrets"
  [[ $recorded ]] || record "$1" "$reason" # in a full home there may be room now
  [[ -z ${runtime-} ]] || rm -f "$runtime/jupyter-token"
  [[ -z ${jupyter_pid-} ]] || end_jupyter
  [[ -z ${launcher_watch-} ]] || kill "$launcher_watch" 2>/dev/null
  [[ -z ${limit_watch-} ]] || kill "$limit_watch" 2>/dev/null
  [[ -z ${visitor_watch-} ]] || kill "$visitor_watch" 2>/dev/null
  [[ -z ${runtime-} ]] || rm -rf "$runtime" "$session_dir/runtime"
  [[ -z ${scratch-} ]] || rm -rf "$scratch"
  ((${#scratch_parents[@]} == 0)) || rmdir "${scratch_parents[@]}" 2>/dev/null
}

# Asks a process to end, and what it is just running, which would be left behind otherwise. Held meanwhile, so that it
# starts nothing between the look at its children and the signal; on a busy node it may first finish what it starts.
ask_to_end() {
  local children looks key value
  kill -STOP "$1" 2>/dev/null
  for ((looks = 0; looks < 100; looks++)); do
    value=
    while read -r key value; do [[ $key != State: ]] || break; done 2>/dev/null <"/proc/$1/status"
    [[ $value != [RSD]* ]] || { sleep 0.01 && continue; }
    break
  done
  children=$(grep -l "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3)
  # shellcheck disable=SC2086 # one number a word
  kill -TERM "$1" $children 2>/dev/null
  kill -CONT "$1" 2>/dev/null
}

# Jupyter ends its kernels when it is asked with TERM; a second TERM would only make it hurry.
end_jupyter() {
  local tenths
  for ((tenths = 0; tenths < 100; tenths++)); do
    kill -0 "$jupyter_pid" 2>/dev/null || return
    sleep 0.1
  done
  kill -KILL "$jupyter_pid" 2>/dev/null
}

# time_limit_counts_from SECONDS: since the epoch; before the scheduler's prolog, say, which may take minutes.
# shellcheck disable=SC2317 # called where the scheduler says
time_limit_counts_from() {
  [[ ! $1 =~ ^[1-9][0-9]*$ ]] || SECONDS=$(($(printf '%(%s)T' -1) - $1))
}

# shellcheck disable=SC2317 # called by the traps
end_on_signal() {
  local requested
  if IFS= read -r -d '' requested 2>/dev/null <"$session_dir/stop-requested" || [[ -n $requested ]]; then
    finish "$requested"
  # The scheduler has counted since it gave out the node, which is a few seconds longer.
  elif [[ -n $time_limit ]] && ((SECONDS >= time_limit - 10)); then
    finish "The time limit was reached."
  elif [[ $1 == TERM ]]; then
    finish "The job was cancelled." unsure
  else
    finish "Interrupted."
  fi
}

# shellcheck disable=SC2317 # called by a trap, where the scheduler warns
warn_of_time_limit() {
  local left=$((time_limit - SECONDS))
  say "WARNING: about $((left / 60)) minutes are left until the time limit. Save your notebooks."
}
