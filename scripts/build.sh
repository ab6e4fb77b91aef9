# shellcheck shell=bash
# For other scripts to source: helps them build outside of the source tree, which stays unchanged.

# copy_sources DIR recreates DIR with the current sources, committed or not. It copies no build products,
# because a source tree that is configured cannot be built in another directory.
copy_sources() {
	rm -rf "$1"
	mkdir -p "$1"
	if [ -e .git ] && command -v git >/dev/null; then
		git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
			while IFS= read -r -d '' file; do
				[ ! -e "$file" ] || printf '%s\0' "$file" # skips deleted files
			done | tar -c --null --verbatim-files-from -T - | tar -x -C "$1"
	else # a release tarball, unpacked
		tar -c --exclude=./build . | tar -x -C "$1"
		[ ! -e "$1/Makefile" ] || make -s -C "$1" distclean >/dev/null
	fi
}

# quietly LOG COMMAND... writes the command's output to LOG, and prints it if the command fails.
quietly() {
	local log=$1
	shift
	"$@" </dev/null >"$log" 2>&1 && return 0
	cat "$log"
	echo "Failed: $*"
	return 1
}
