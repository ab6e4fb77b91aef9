# What the tests reach: scripts/coverage measures it.
EXTRA_DIST += scripts/coverage tests/coverage/coverage.py tests/coverage/explained
