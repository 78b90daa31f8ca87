#!/bin/bash
# Runs a command where a process may have 65,536 files open, for benches that hold more connections than this system allows:
# in a Linux of its own that is a process of an ordinary user (user-mode Linux). It sees the files of this machine, writes only
# to a file system in memory, and has no network but loopback. One processor; memory is counted as ever, time says nothing.
#
#   in-uml.sh COMMAND [ARGUMENT]...
set -euo pipefail

files=65536 memory=10G mappings=2000000
refuse() {
  echo "in-uml.sh: $1" >&2
  exit 1
}
(($# > 0)) || refuse 'which command?'
command -v linux.uml >/dev/null || refuse 'there is no linux.uml here (apt-get install user-mode-linux)'
# Each page that a process inside has of its own can be a mapping of a process outside.
(($(</proc/sys/vm/max_map_count) >= mappings)) ||
  refuse "a process may have too few mappings here; as root: sysctl vm.max_map_count=$mappings"

scratch=$(mktemp -d)
uml=
# The processes inside are children of its first one.
trap 'set +e; [[ $uml ]] && { pkill -KILL -P "$uml"; kill -KILL "$uml"; }; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

cat >"$scratch/init" <<END
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t hostfs -o ${scratch@Q} hostfs ${scratch@Q}
ip link set lo up
# Visitors and the proxy have theirs from the same ones.
echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range
ulimit -n $files
export PATH=${PATH@Q} HOME=/run TMPDIR=/run
cd ${PWD@Q}
${*@Q} </dev/null
echo \$? >${scratch@Q}/status
poweroff --force --no-wtmp
END
chmod +x "$scratch/init"
# The memory of the machine is a file there.
TMPDIR=/dev/shm HOME=$scratch linux.uml mem="$memory" rootfstype=hostfs rootflags=/ ro init="$scratch/init" \
  quiet loglevel=0 con=null con0=null,fd:1 </dev/null &
uml=$!
wait "$uml"
uml=
exit "$(<"$scratch/status")"
