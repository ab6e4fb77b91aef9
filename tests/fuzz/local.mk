# The fuzzers. scripts/fuzz builds them with clang and sanitizers.
EXTRA_DIST += \
	tests/fuzz/corpus \
	tests/fuzz/record.c \
	tests/fuzz/sequence.c \
	tests/fuzz/sockdiag.c
