# CPython's test suite with the guard and without: scripts/transparency runs it.
EXTRA_DIST += scripts/transparency tests/transparency/transparency.py
