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

# bkill sends INT, TERM and KILL, ten seconds apart; the run limit USR2, and KILL ten minutes later.
trap 'end_on_signal TERM' TERM INT USR2
trap 'warn_of_time_limit' USR1
watch_time_limit

begin "LSF job ${LSB_JOBID:-?} on $(hostname)" "${LSB_JOBID-}"
prepare_environment
choose_address
start_jupyter
open_site
stay_until_jupyter_ends
