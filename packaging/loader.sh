#!/bin/sh
# usage: loader.sh install|uninstall glibc|other DIRECTORY
#
# make install and make uninstall run this, but not with DESTDIR: LD_PRELOAD=libsockguard.so, without a
# directory, works only if the dynamic loader searches DIRECTORY. glibc's loader searches
# /etc/ld.so.cache, which ldconfig(8) writes; musl's has no cache. This changes only that cache. If more
# is needed, it prints what to do. The exit status is always 0, because the full path works in any case.
PATH=$PATH:/usr/sbin:/sbin
action=$1 libc=$2 directory=$3

real() { # DIRECTORY
	(cd -P -- "$1" 2>/dev/null && pwd -P)
}

# is_listed reads directories, one on each line, and succeeds if one of them is $directory.
is_listed() {
	wanted=$(real "$directory") || return 1
	while read -r listed; do
		[ "$(real "$listed")" != "$wanted" ] || return 0
	done
	return 1
}

advise() { # COMMAND...
	cat <<-end

		The dynamic loader does not find libsockguard.so without its directory. Either use the full path,

		    LD_PRELOAD=$directory/libsockguard.so

		or run as root:

	end
	printf '    %s\n' "$@"
	echo
}

# Prints the directories that ldconfig searches, without writing anything.
glibc_directories() {
	ldconfig -N -X -v 2>/dev/null | sed -n 's,^\(/[^:]*\):.*,\1,p'
}

glibc() {
	if ! glibc_directories | is_listed; then
		[ "$action" = uninstall ] ||
			advise "echo '$directory' >/etc/ld.so.conf.d/libsockguard.conf" ldconfig
	elif [ "$(id -u)" -ne 0 ]; then
		[ "$action" = uninstall ] || advise ldconfig
	else
		echo ldconfig
		ldconfig || echo "ldconfig failed: use the full path, LD_PRELOAD=$directory/libsockguard.so"
	fi
}

# musl's loader searches its default directories only if it has no list.
musl() {
	for loader in /lib/ld-musl-*.so.1; do
		[ -e "$loader" ] || continue
		list=${loader#/lib/}
		list=/etc/${list%.so.1}.path
		if [ -e "$list" ]; then
			command="echo '$directory' >>$list"
			directories=$(tr : '\n' <"$list")
		else
			command="printf '%s\\n' /lib /usr/local/lib /usr/lib '$directory' >$list"
			directories=$(printf '%s\n' /lib /usr/local/lib /usr/lib)
		fi
		! echo "$directories" | is_listed || return 0
	done
	[ -z "${command-}" ] || [ "$action" = uninstall ] || advise "$command"
}

case $libc in
glibc) glibc ;;
*) musl ;;
esac
exit 0
