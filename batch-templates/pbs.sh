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

# PBS keeps what a job says to itself until the job has ended.
exec </dev/null >>"$session_dir/job.log" 2>&1

trap 'end_on_signal TERM' TERM # to every process of the job; what is left 10 s later (kill_delay) is killed
trap 'end_on_signal INT' INT
trap 'warn_of_time_limit' USR1
watch_time_limit

begin "PBS job ${PBS_JOBID:-?} on $(hostname)" "${PBS_JOBID-}"
prepare_environment
choose_address
start_jupyter
open_site
stay_until_jupyter_ends
