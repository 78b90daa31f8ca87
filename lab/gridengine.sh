#!/bin/bash
# Grid Engine of the lab, as Debian packages it; runs on the login host.
#   gridengine.sh make         as root: the files of an empty cell
#   gridengine.sh configure    as sgeadmin, once qmaster answers: hosts, queues, projects. See sge_conf(5), qconf(1)
set -eu
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
spool=/var/spool/gridengine

make() {
  local arch directory
  rm -rf $SGE_ROOT $spool # of a try that failed
  mkdir -p $SGE_ROOT/$SGE_CELL/common $SGE_ROOT/{bin,lib,utilbin} $spool/{execd,spooldb,qmaster/job_scripts}
  ln -sfn /usr/share/gridengine/util $SGE_ROOT/util
  arch=$($SGE_ROOT/util/arch)
  for directory in bin lib utilbin; do ln -sfn /usr/lib/gridengine "$SGE_ROOT/$directory/$arch"; done
  cp /usr/share/gridengine/default-bootstrap $SGE_ROOT/$SGE_CELL/common/bootstrap
  echo login >$SGE_ROOT/$SGE_CELL/common/act_qmaster
  # Far from Slurm's numbers: one proxy hears of both.
  echo 700000 >$spool/qmaster/jobseqnum
  echo 1 >$spool/qmaster/arseqnum
  chown -R sgeadmin:sgeadmin $spool $SGE_ROOT/$SGE_CELL
  setpriv --reuid=sgeadmin --regid=sgeadmin --init-groups /usr/share/gridengine/scripts/init_cluster $SGE_ROOT $SGE_CELL $spool/spooldb sgeadmin
}

# change -sX -MX EXPRESSION: an object, edited with sed, takes its own place.
change() {
  qconf "$1" | sed -E "$3" >"$objects/changed"
  qconf "$2" "$objects/changed"
}

# add -AX NAME: a new object, from standard input.
add() {
  cat >"$objects/$2"
  qconf "$1" "$objects/$2"
}

configure() {
  objects=$(mktemp -d)
  # A job starts within a second or two of its submission, and its accounting is written at once.
  change -ssconf -Msconf '
    s/^(schedule_interval +).*/\10:0:2/; s/^(flush_(submit|finish)_sec +).*/\11/
    s/^(job_load_adjustments +).*/\1NONE/; s/^(load_adjustment_decay_time +).*/\10:0:0/'
  qconf -sconf | sed -e :a -e '/\\$/N; s/\\\n//; ta' | sed -E '
    /^#/d; s/^(load_report_time +).*/\100:00:05/; s/^(max_unheard +).*/\100:00:30/; s/^(loglevel +).*/\1log_info/
    s/^(reporting_params +).*/\1accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 joblog=false sharelog=00:00:00/' >"$objects/global"
  qconf -Mconf "$objects/global"

  # What the nodes have, most of which they don't: many jobs fit. Memory is counted for every slot, GPUs for the job.
  qconf -sc >"$objects/complexes"
  echo 'mem mem MEMORY <= YES YES 1G 0' >>"$objects/complexes"
  echo 'gpu gpu INT <= YES JOB 0 0' >>"$objects/complexes"
  qconf -Mc "$objects/complexes"
  qconf -as login
  qconf -ah c1,c2
  for node in c1 c2; do
    gpus=0 gids=65400-65449
    [ "$node" = c1 ] || gpus=4 gids=65450-65499
    # What belongs to a job is known by a group, and the nodes share one table of processes.
    echo "gid_range $gids" | add -Aconf "$node"
    add -Ae "$node" <<END
hostname $node
load_scaling NONE
complex_values slots=16,mem=32G,gpu=$gpus
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
END
  done
  add -Ahgrp @compute <<'END'
group_name @compute
hostlist c1 c2
END
  # The same as the accounts of the lab's Slurm.
  add -Au demo <<'END'
name demo
type ACL
fshare 0
oticket 0
entries alice,bob
END
  add -Aprj demo.project <<'END'
name demo
oticket 0
fshare 0
acl demo
xacl NONE
END
  add -Ap smp </usr/share/gridengine/util/resources/pe/smp
  queue compute INFINITY
  queue debug 0:30:0
}

# queue NAME LIMIT: its jobs have 15 seconds between a notification and the signal that it announces.
queue() {
  add -Aq "$1" <<END
qname $1
hostlist @compute
seq_no 0
load_thresholds NONE
suspend_thresholds NONE
nsuspend 1
suspend_interval 00:05:00
priority 0
min_cpu_interval 00:05:00
processors UNDEFINED
qtype BATCH
ckpt_list NONE
pe_list smp
rerun FALSE
slots 16
tmpdir /tmp
shell /bin/sh
prolog NONE
epilog NONE
shell_start_mode posix_compliant
starter_method NONE
suspend_method NONE
resume_method NONE
terminate_method NONE
notify 00:00:15
owner_list NONE
user_lists NONE
xuser_lists NONE
subordinate_list NONE
complex_values NONE
projects NONE
xprojects NONE
calendar NONE
initial_state default
s_rt INFINITY
h_rt $2
s_cpu INFINITY
h_cpu INFINITY
s_fsize INFINITY
h_fsize INFINITY
s_data INFINITY
h_data INFINITY
s_stack INFINITY
h_stack INFINITY
s_core INFINITY
h_core INFINITY
s_rss INFINITY
h_rss INFINITY
s_vmem INFINITY
h_vmem INFINITY
END
}

"$1"
