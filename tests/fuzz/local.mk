# The fuzzers: scripts/fuzz builds them, with a compiler and sanitizers of its own choice.
EXTRA_DIST += \
	tests/fuzz/corpus \
	tests/fuzz/record.c \
	tests/fuzz/sequence.c \
	tests/fuzz/sockdiag.c
