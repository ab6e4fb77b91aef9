# Runs CPython's test suite with the guard and without.
EXTRA_DIST += scripts/transparency tests/transparency/transparency.py
