#!/bin/bash
set -eu
command -v linux.uml >/dev/null || { echo "bench/uml.sh needs linux.uml: apt-get install user-mode-linux" >&2; exit 1; }
files=${FILES:-65536} memory=${MEMORY:-10G}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/init" <<END
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t hostfs -o '$scratch' hostfs '$scratch'
ip link set lo up
ulimit -n $files
export TMPDIR=/run HOME=/run PATH='$PATH'
cd '$PWD'
${*@Q} </dev/null
echo \$? >'$scratch/status'
poweroff -f
END
chmod +x "$scratch/init"
TMPDIR=/dev/shm linux.uml mem="$memory" rootfstype=hostfs rootflags=/ ro init="$scratch/init" quiet con=null con0=null,fd:1 umid="bench-$$" </dev/null
exit "$(cat "$scratch/status")"
