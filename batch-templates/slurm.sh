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

trap 'end_on_signal TERM' TERM
trap 'end_on_signal INT' INT
trap 'warn_of_time_limit' USR1 # asked for in the directives, some minutes before the limit

time_limit_counts_from "${SLURM_JOB_START_TIME-}" # told since 23.02

# Since 22.05 srun does not look at SLURM_CPUS_PER_TASK any more: steps from a notebook would get one CPU.
[[ -z ${SLURM_CPUS_PER_TASK-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

begin "Slurm job ${SLURM_JOB_ID:-?} on $(hostname)"
prepare_environment
choose_address
start_jupyter
open_site
stay_until_jupyter_ends
