#!/bin/sh
# Makes ./configure out of a git checkout. A release tarball has it already.
set -eu
cd "$(dirname "$0")"
exec autoreconf --install --force "$@"
