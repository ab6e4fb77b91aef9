# shellcheck shell=bash
# For other scripts to source: makes a Debian root.

# debian_root DIR INCLUDE PACKAGE... makes a minimal Debian in DIR with the packages in INCLUDE, a
# comma-separated list. The other packages and their dependencies are only downloaded, so that apt
# needs no network to install them. All packages come from the mirror that apt uses here, and from the
# Debian release of this machine.
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
