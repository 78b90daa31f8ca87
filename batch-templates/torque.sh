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
# {{> survivor.sh}}

# Torque keeps what a job says to itself until the job has ended.
exec </dev/null >>"$session_dir/job.log" 2>&1

if [[ ${1-} == survivor ]]; then survive "$2" "$3"; fi

trap 'end_on_signal TERM' TERM # to every process of the job; its first shell dies of it, and then all are killed
trap 'end_on_signal INT' INT
trap 'warn_of_time_limit' USR1
watch_time_limit

begin "Torque job ${PBS_JOBID:-?} on $(hostname)" "${PBS_JOBID-}"
leave_a_survivor
prepare_environment
choose_address
start_jupyter
open_site
stay_until_jupyter_ends
