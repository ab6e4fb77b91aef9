# shellcheck shell=bash
# For other scripts to source, together with packages.sh: roots of other releases of Debian and Ubuntu, named
# by suite. debootstrap makes each root. It is kept in build/suites with all installed packages; remove its
# directory to make a new one.

# describe_suite SUITE sets suite_distribution, suite_parts (the parts of scripts/portability) and what apt
# needs: suite_mirror, suite_components, suite_updates (more sources, each a mirror and a suite) and
# suite_keyring. The tests need the packages in suite_more, and newer versions of suite_tools.
# shellcheck disable=SC2034 # for scripts that source this file
describe_suite() {
	suite_distribution=Debian suite_mirror=http://deb.debian.org/debian suite_components=main
	suite_keyring=/usr/share/keyrings/debian-archive-keyring.gpg suite_updates=() suite_more="" suite_tools=""
	suite_parts="tests servers packages"
	case $1 in
	bullseye) ;; # its index of security updates lists files that are not in the archive any more
	sid) ;;      # has no security updates
	focal)
		suite_distribution=Ubuntu suite_mirror=http://archive.ubuntu.com/ubuntu
		suite_components="main universe"
		suite_keyring=$PWD/build/suites/ubuntu/usr/share/keyrings/ubuntu-archive-keyring.gpg
		suite_updates=("$suite_mirror focal-updates" "$suite_mirror focal-security")
		suite_more="python3.9 libunwind8" suite_tools="check strace"
		suite_parts="tests servers" # its debhelper and Check are older than debian/control requires
		;;
	*) suite_updates=("$suite_mirror-security $1-security") ;;
	esac
}

suite_root() { # SUITE
	echo "$PWD/build/suites/$1"
}

# Prints the reason if no suite can be entered here, otherwise nothing.
why_no_suites() {
	if [ "$(id -u)" -ne 0 ]; then
		echo "needs root"
	elif ! unshare --mount --pid --ipc --uts --net --fork true 2>/dev/null; then
		echo "needs the right to create namespaces"
	fi
}

# extract_debian SUITE DIR PACKAGE... unpacks packages of a Debian release in DIR, without installing them.
# apt verifies them with Debian's keyring.
extract_debian() {
	local suite=$1 dir=$2 apt=$PWD/build/suites/apt package options
	shift 2
	options=(-qq -o Acquire::Retries=3 -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root
		-o Dir::State::Status=/dev/null) # whatever is installed here
	rm -rf "$apt" && mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$dir"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"http://deb.debian.org/debian $suite main" >"$apt/sources.list"
	(
		cd "$apt"
		retry download_packages "$@" || exit
		for package; do
			dpkg-deb -x "$package"_*.deb "$dir" || exit
		done
	) && rm -rf "$apt"
}

download_packages() { # PACKAGE... with the options of extract_debian
	apt-get "${options[@]}" update && apt-get "${options[@]}" download "$@"
}

# install_newer_tools SUITE replaces programs of the suite with those of Debian 11, which has the same glibc
# as Ubuntu 20.04.
install_newer_tools() {
	local root
	root=$(suite_root "$1")
	[ -n "$suite_tools" ] && [ ! -e "$root/etc/newer-tools" ] || return 0
	# shellcheck disable=SC2086 # a list of names
	extract_debian bullseye "$root" $suite_tools && touch "$root/etc/newer-tools"
}

# Debian 12 does not have Ubuntu's keyring, but Debian 13 has it.
make_ubuntu_keyring() {
	[ -e "$suite_keyring" ] || extract_debian trixie "$PWD/build/suites/ubuntu" ubuntu-keyring
}

# make_suite SUITE makes its root if there is none yet.
make_suite() {
	local root new source
	root=$(suite_root "$1") new=$root.new
	[ ! -d "$root" ] || return 0
	describe_suite "$1"
	[ "$suite_distribution" != Ubuntu ] || make_ubuntu_keyring || return 1
	retry bootstrap_anew "$new" --force-check-gpg --keyring="$suite_keyring" \
		--components="${suite_components// /,}" "$1" "$new" "$suite_mirror" || return 1
	mkdir "$new/build"
	echo suite >"$new/etc/hostname"
	echo '127.0.0.1 localhost suite' >"$new/etc/hosts"
	# A mirror may be weeks old, like a snapshot.
	echo 'Acquire::Check-Valid-Until "false";' >"$new/etc/apt/apt.conf.d/old-mirror"
	echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/unsafe-io"
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d" # packages start no servers
	chmod 755 "$new/usr/sbin/policy-rc.d"
	for source in ${suite_updates[@]+"${suite_updates[@]}"}; do
		echo "deb $source $suite_components" >>"$new/etc/apt/sources.list"
	done
	mv "$new" "$root"
}

# Makes the directory $1 the root of these namespaces and runs a command there. The command must not be
# process 1, because process 1 has to reap orphans.
# shellcheck disable=SC2016 # variables of the inner shell
suite_enter='
	mount --bind "$1" "$1"
	cd "$1"
	hostname suite
	mount -t proc proc proc
	mount --rbind /sys sys
	case $1 in # systemd 258 and later need it
	*/sid) [ "$(stat -f -c %T sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 sys/fs/cgroup ;;
	esac
	mount --rbind /dev dev
	if [ -d /lib/modules ]; then mkdir -p lib/modules && mount --bind /lib/modules lib/modules; fi
	mount -t tmpfs -o mode=755 tmpfs run
	mkdir -m 1777 run/lock
	mkdir run/outside
	[ "$2" != --net ] || ip link set lo up
	shift 2
	pivot_root . run/outside
	umount -l run/outside
	rmdir run/outside
	cd /
	status=0
	env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive "$@" || status=$?
	exit $status'

# enter_suite SUITE [--net] sets the array "inside" to a prefix that runs a command as root in the
# suite's root and then kills all processes that remain. With --net it has only a loopback interface.
enter_suite() {
	inside=(unshare --mount --propagation private --pid --ipc --uts ${2:+"$2"} --fork --kill-child
		sh -ec "$suite_enter" enter "$(suite_root "$1")" "${2:-}")
}

in_suite() { # SUITE COMMAND...
	local inside suite=$1
	shift
	enter_suite "$suite" --net
	"${inside[@]}" "$@"
}

# install_in_suite SUITE PACKAGE... installs them and prints those that the suite does not have.
install_in_suite() {
	local inside suite=$1
	shift
	# Ubuntu's systemd replaced it with a link to a file in /run.
	cp --remove-destination /etc/resolv.conf "$(suite_root "$suite")/etc/resolv.conf"
	enter_suite "$suite"
	# shellcheck disable=SC2016 # variables of the inner shell
	retry "${inside[@]}" sh -ec '
		apt="apt-get -qq -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3"
		missing= wanted= absent=
		for package; do
			case $(dpkg-query --show --showformat "\${db:Status-Status}" "$package" 2>/dev/null) in
			installed) ;;
			*) missing="$missing $package" ;;
			esac
		done
		[ -n "$missing" ] || exit 0
		# Without a list, apt-cache finds no candidates. update may succeed nevertheless.
		said=$($apt update 2>&1) || said="Failed to fetch: $said"
		echo "$said" >&2
		case $said in *"Failed to fetch"*) exit 1 ;; esac
		for package in $missing; do
			case $(apt-cache policy "$package" | sed -n "s/^  Candidate: //p") in
			"" | "(none)") absent="$absent $package" ;;
			*) wanted="$wanted $package" ;;
			esac
		done
		[ -z "$wanted" ] || $apt install --no-install-recommends $wanted >&2
		echo $absent' install "$@"
}

# The packages that are needed to build the library in a suite.
# shellcheck disable=SC2034 # for scripts that source this file
suite_packages="gcc libc6-dev make autoconf automake libtool pkg-config xz-utils python3 util-linux
	libjansson-dev libseccomp-dev"
