# The coverage of the tests, which scripts/coverage measures.
EXTRA_DIST += scripts/coverage tests/coverage/coverage.py tests/coverage/explained
