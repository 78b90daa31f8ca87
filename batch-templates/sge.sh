#!/bin/bash
# {{directives}}

# {{> settings.sh}}
# {{> report.sh}}
# {{> http.sh}}
# {{> ending.sh}}
# {{> environment.sh}}
# {{> address.sh}}
# {{> jupyter.sh}}
# {{> site.sh}}
# {{> time-limit.sh}}

exec </dev/null >>"$session_dir/job.log" 2>&1

# qdel and the time limit announce their KILL with USR2, to every process of the job and often twice; the queue's "notify"
# says how long before. USR1 announces a suspension in the same way, and the time limit from watch_time_limit.
# shellcheck disable=SC2317 # called by a trap
on_usr1() {
  if [[ -n $time_limit ]] && ((time_limit - SECONDS <= 300)); then
    warn_of_time_limit
  else
    say "WARNING: Grid Engine is about to suspend the job."
  fi
}

trap 'end_on_signal TERM' TERM USR2
trap 'end_on_signal INT' INT
trap on_usr1 USR1
watch_time_limit

begin "Grid Engine job ${JOB_ID:-?} on $(hostname)" "${JOB_ID-}"
prepare_environment
choose_address
start_jupyter
open_site
stay_until_jupyter_ends
