# shellcheck shell=bash
# Sourced: a Debian root of a script's own.

# debian_root DIR INCLUDE PACKAGE... makes a minimal Debian in DIR, with the packages that INCLUDE
# names, separated by commas. The other packages, and what they depend on, are only downloaded, so
# that apt needs no network to install them. All comes from the mirror apt uses here, so that the
# packages fit the release they were built on.
debian_root() {
	local root=$1 include=$2 codename mirror components
	shift 2
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	# shellcheck disable=SC2016 # apt's variables, not the shell's
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' \
		'Created-By: Packages' "Release: $codename")
	components=$(cut -d ' ' -f 2 <<<"$mirror" | sort -u | paste -sd ,)
	mirror=${mirror%% *}
	debootstrap --variant=minbase --components="${components:?}" --include="$include" \
		"$codename" "$root" "${mirror:?}" &&
		chroot "$root" apt-get -qq update &&
		chroot "$root" apt-get -qq -y --no-install-recommends --download-only install "$@"
}
