# shellcheck shell=sh
# For other scripts to source, also in POSIX shells: installs the Debian packages that they need.

# retry COMMAND... runs a command that downloads something, five times at most, because a mirror may fail for a
# moment and apt-daily.service may hold the lock of apt's lists. The command must be able to start over.
retry() {
	retry_pause=10
	until "$@"; do
		[ "$retry_pause" -le 80 ] || return 1
		printf 'failed, trying again in %d s ... ' "$retry_pause" >&2
		sleep "$retry_pause"
		retry_pause=$((retry_pause * 2))
	done
}

# bootstrap_anew DIR ARG... runs debootstrap after it removed what an earlier try has left in DIR.
bootstrap_anew() {
	rm -rf --one-file-system "$1"
	shift
	debootstrap --variant=minbase "$@"
}

# require_packages NAME... installs the missing packages and prints one line about it. Ends the script
# with status 2 if it cannot install them.
require_packages() {
	packages_missing=$(list_missing_packages "$@")
	[ -n "$packages_missing" ] || return 0
	# shellcheck disable=SC2086 # a list of names
	set -- $packages_missing
	command -v apt-get >/dev/null || packages_exit "apt-get is not installed"
	if [ "$(id -u)" -eq 0 ]; then
		packages_as_root=
	elif ! command -v sudo >/dev/null; then
		packages_exit "to install them, become root or install sudo"
	elif sudo -n true 2>/dev/null; then
		packages_as_root="sudo -n"
	elif [ -t 0 ] && [ -z "${CI:-}" ]; then
		packages_as_root=sudo
	else
		packages_exit "sudo requires a password, and there is no terminal to enter it"
	fi
	printf 'Installing %s ... ' "$*" >&2
	packages_log=$(mktemp)
	packages_prevent_services
	if retry packages_install "$@"; then
		packages_installed=yes
		echo "done" >&2
	else
		packages_installed=
		echo "failed" >&2
		cat "$packages_log" >&2
	fi
	packages_allow_services
	rm -f "$packages_log"
	[ -n "$packages_installed" ] || packages_exit "apt-get failed"
}

# Packages of servers start them unless this file exists.
packages_policy=/usr/sbin/policy-rc.d

packages_prevent_services() {
	packages_policy_created=
	[ ! -e "$packages_policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' | $packages_as_root tee "$packages_policy" >/dev/null
	$packages_as_root chmod 755 "$packages_policy"
	packages_policy_created=yes
}

packages_allow_services() {
	[ -z "$packages_policy_created" ] || $packages_as_root rm -f "$packages_policy"
}

list_missing_packages() {
	for package in "$@"; do
		# shellcheck disable=SC2016 # dpkg-query's variable, not the shell's
		case $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) in
		installed) ;;
		*) printf '%s ' "$package" ;;
		esac
	done
}

packages_install() {
	packages_apt_get update >"$packages_log" 2>&1 &&
		packages_apt_get install --no-install-recommends "$@" >>"$packages_log" 2>&1
}

packages_apt_get() {
	# shellcheck disable=SC2086 # empty, or sudo with its option
	$packages_as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
		-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" </dev/null
}

packages_exit() {
	echo "Missing Debian packages: $packages_missing($1)." >&2
	exit 2
}
