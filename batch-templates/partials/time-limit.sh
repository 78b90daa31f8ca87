# ---- The time limit, for schedulers that give no notice of it: the script looks at the clock itself ---------------------

# Tells this script with USR1, five minutes before.
watch_time_limit() {
  [[ -n $time_limit ]] && ((time_limit > 300)) || return
  (
    # shellcheck disable=SC2154 # set two lines below
    trap 'kill "$sleeping"; exit' TERM
    sleep $((time_limit - 300)) &
    sleeping=$!
    wait "$sleeping" && kill -USR1 $$
  ) &
  limit_watch=$!
}
