#!/bin/sh
# Stands in for the unit tests where they cannot be built, so that their absence is seen.
echo '1..0 # SKIP check is not installed'
