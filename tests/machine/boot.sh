#!/bin/sh
# Boots a Debian root, whose /sbin/init becomes process 1 of its own namespaces.
#
# usage: unshare --mount boot.sh ROOT CGROUP
#
# CGROUP is an empty directory. The machine gets a cgroup, a network (loopback only), /dev, /run and
# /tmp of its own. It can change neither the clock nor the kernel's settings. The script ends when the
# machine is shut down.
#
# /dev has its own device nodes, because systemd changes the user and mode of some of them. If
# /dev/null were a bind mount, that would affect the whole host.
set -e
root=$1 cgroup=$2
mount --make-rprivate /
mount -t cgroup2 cgroup2 "$cgroup"
own=$cgroup/sockguard-machine-$$
mkdir "$own"
echo $$ >"$own/cgroup.procs"

# shellcheck disable=SC2016 # variables of the inner shell
unshare --pid --cgroup --mount --ipc --uts --net --fork --kill-child sh -ec '
	mount --bind "$1" "$1"
	cd "$1"
	hostname machine
	mount -t proc proc proc
	mount --bind proc/sys proc/sys
	mount -o remount,bind,ro proc/sys
	mount -t sysfs -o ro sysfs sys
	mount -t tmpfs -o mode=755 tmpfs sys/fs
	mkdir sys/fs/cgroup
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	mount -t tmpfs -o mode=755 tmpfs dev
	while read -r name major minor; do
		mknod -m 666 "dev/$name" c "$major" "$minor"
	done <<-end
		null 1 3
		zero 1 5
		full 1 7
		random 1 8
		urandom 1 9
		tty 5 0
		console 1 3
	end
	mkdir dev/pts dev/shm
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
	mount -t tmpfs -o mode=1777 tmpfs dev/shm
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	number=0
	for name in stdin stdout stderr; do
		ln -s "fd/$number" "dev/$name"
		number=$((number + 1))
	done
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs -o mode=1777 tmpfs tmp
	mkdir run/outside
	pivot_root . run/outside
	umount -l run/outside
	rmdir run/outside
	exec setpriv --bounding-set -sys_time,-sys_module \
		env -i container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
' inner "$root" || : # at a shutdown, a signal ends process 1

echo $$ >"$cgroup/cgroup.procs"
find "$own" -depth -type d -exec rmdir {} \;
