# ---- The survivor, for schedulers that kill a job before it could clean up: this script once more, outside of the job's
# ---- session. It waits for the job's end, does what is left to do then, and is gone.

# In the job: starts it.
leave_a_survivor() {
  setsid bash "$session_dir/job.sh" survivor $$ "$runtime" </dev/null &
}

# survive PID RUNTIME: the last thing that a job removes is its directory on this node.
survive() {
  read_secrets
  choose_http_tool
  runtime=$2
  while kill -0 "$1" 2>/dev/null; do sleep 1; done
  [[ -d $runtime ]] || exit 0
  end_on_signal TERM
}
