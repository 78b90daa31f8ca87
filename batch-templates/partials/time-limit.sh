# ---- The time limit, for schedulers that give no notice of it: the script looks at the clock itself ---------------------

# Tells this script with USR1, five minutes before.
watch_time_limit() {
  [[ -n $time_limit ]] && ((time_limit > 300)) || return
  (
    # Also where it comes in the moment that sleep begins; and nothing is left when this has ended.
    trap 'kill "$!" 2>/dev/null; wait; exit' TERM
    sleep $((time_limit - 300)) &
    wait "$!" && kill -USR1 $$
  ) &
  limit_watch=$!
}
