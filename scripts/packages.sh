# shellcheck shell=sh
# Sourced, by POSIX shells too: installs the Debian packages a script needs.

# require_packages NAME... installs what is missing of them, and says so in one line.
# Ends the script with status 2 where that cannot be done.
require_packages() {
	packages_missing=$(list_missing_packages "$@")
	[ -n "$packages_missing" ] || return 0
	# shellcheck disable=SC2086 # a list of names
	set -- $packages_missing
	command -v apt-get >/dev/null || packages_give_up "there is no apt-get to install them"
	if [ "$(id -u)" -eq 0 ]; then
		packages_as_root=
	elif ! command -v sudo >/dev/null; then
		packages_give_up "neither root nor sudo to install them"
	elif sudo -n true 2>/dev/null; then
		packages_as_root="sudo -n"
	elif [ -t 0 ] && [ -z "${CI:-}" ]; then
		packages_as_root=sudo
	else
		packages_give_up "sudo wants a password and there is nobody to ask"
	fi
	printf 'Installing %s ... ' "$*" >&2
	packages_log=$(mktemp)
	packages_hold_back_services
	if packages_apt_get update >"$packages_log" 2>&1 &&
		packages_apt_get install --no-install-recommends "$@" >"$packages_log" 2>&1; then
		packages_installed=yes
		echo "done" >&2
	else
		packages_installed=
		echo "failed" >&2
		cat "$packages_log" >&2
	fi
	packages_let_go_services
	rm -f "$packages_log"
	[ -n "$packages_installed" ] || packages_give_up "apt-get failed"
}

# Packages of servers start them, unless this file says no.
packages_policy=/usr/sbin/policy-rc.d

packages_hold_back_services() {
	packages_holding=
	[ ! -e "$packages_policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' | $packages_as_root tee "$packages_policy" >/dev/null
	$packages_as_root chmod 755 "$packages_policy"
	packages_holding=yes
}

packages_let_go_services() {
	[ -z "$packages_holding" ] || $packages_as_root rm -f "$packages_policy"
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

packages_apt_get() {
	# shellcheck disable=SC2086 # empty, or sudo with its option
	$packages_as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

packages_give_up() {
	echo "Missing Debian packages: $packages_missing($1)." >&2
	exit 2
}
