# scripts/portability builds the libraries for these tests and runs them.
EXTRA_DIST += \
	docs/portability.md \
	tests/portability/test_abi.py \
	tests/portability/test_beside.py \
	tests/portability/test_degraded.py \
	tests/portability/test_mixed.py
