# shellcheck shell=bash
# For other scripts to source, together with packages.sh: makes a Debian root.

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
	retry bootstrap_anew "$root" --components="${components:?}" --include="$include" \
		"$codename" "$root" "${mirror:?}" &&
		retry download_in_root "$root" "$@"
}

download_in_root() { # DIR PACKAGE...
	local apt=(chroot "$1" apt-get -qq -y -o Acquire::Retries=3)
	shift
	"${apt[@]}" update && "${apt[@]}" --no-install-recommends --download-only install "$@"
}
