#!/bin/bash
# Runs as root in namespaces that were just made for one machine of the lab, gives it its view of the files, and
# then stays: the namespaces live as long as this process. The last line on stdout is "ready" when all is in place.
#   mounts.sh login ROOT CHECKOUT    the login host: ROOT becomes /
#   mounts.sh c1|c2                  a compute node, started in the login host's view
set -eu
host=$1
hostname "$host"

if [ "$host" = login ]; then
  root=$2 checkout=$3
  mount --bind "$root" "$root"
  # The machine's programs, which nobody in the lab may change, under files of the lab's own.
  mount --bind /usr "$root/usr"
  mount -o remount,bind,ro "$root/usr"
  # What the machine's administrator put there (another python3, say) would win over Debian's.
  mount -t tmpfs -o mode=755,size=1m local "$root/usr/local"
  for directory in dev proc sys; do
    mount --rbind "/$directory" "$root/$directory"
  done
  mount --bind "$checkout" "$root/opt/start-jupyter"
  mount -o remount,bind,ro "$root/opt/start-jupyter"
  cd "$root"
  pivot_root . mnt
  cd /
  umount --lazy /mnt
  # A home with a quota, as it were: root can fill it or remount it read-only, and every node sees that.
  mount -t tmpfs -o "size=64m,mode=700,uid=$(id -u carol),gid=$(id -g carol)" home /home/carol
  setpriv --reuid=carol --regid=carol --clear-groups cp -r /etc/skel/. /home/carol
fi

# What a real machine has for itself.
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 shm /dev/shm
mkdir -p "/var/local/$host/tmp" "/var/local/$host/spool"
chmod 1777 "/var/local/$host/tmp"
mount --bind "/var/local/$host/tmp" /tmp
mount --bind "/var/local/$host/spool" /var/spool/slurmd
mkdir -m 1777 /run/lock
install -d -o munge -g munge -m 755 /run/munge
install -d -o slurm -g slurm -m 755 /run/slurm
[ "$host" != login ] || install -d -o mysql -g mysql -m 755 /run/mysqld

echo ready
# Nothing may depend on whoever started the lab: neither its terminal nor its pipes.
exec -a "start-jupyter-lab-$host" sleep infinity >/dev/null 2>&1
