# shellcheck shell=bash
# Sourced: a build of a script's own, which leaves the source tree and what is built in it alone.

# copy_sources DIR makes DIR anew, with the sources as they are now, committed or not, and no
# build products: a source tree that is configured would not let itself be built elsewhere.
copy_sources() {
	rm -rf "$1"
	mkdir -p "$1"
	if [ -e .git ] && command -v git >/dev/null; then
		git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
			while IFS= read -r -d '' file; do
				[ ! -e "$file" ] || printf '%s\0' "$file" # not one that was deleted
			done | tar -c --null --verbatim-files-from -T - | tar -x -C "$1"
	else # a release tarball, unpacked
		tar -c --exclude=./build . | tar -x -C "$1"
		[ ! -e "$1/Makefile" ] || make -s -C "$1" distclean >/dev/null
	fi
}

# quietly LOG COMMAND... keeps the command's output in LOG, and shows it when the command fails.
quietly() {
	local log=$1
	shift
	"$@" </dev/null >"$log" 2>&1 && return 0
	cat "$log"
	echo "Failed: $*"
	return 1
}
