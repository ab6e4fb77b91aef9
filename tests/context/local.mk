# Programs with unusual habits that the guard must support.
context_programs = \
	tests/context/cancelled \
	tests/context/chdirs \
	tests/context/crowd \
	tests/context/depth \
	tests/context/forkers \
	tests/context/forks \
	tests/context/interrupted \
	tests/context/jumped
check_PROGRAMS += $(context_programs)
context_common = tests/context/common.c tests/context/common.h
tests_context_cancelled_SOURCES = tests/context/cancelled.c $(context_common)
tests_context_cancelled_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_context_chdirs_SOURCES = tests/context/chdirs.c $(context_common)
tests_context_chdirs_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_context_crowd_SOURCES = tests/context/crowd.c $(context_common)
tests_context_crowd_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_context_depth_SOURCES = tests/context/depth.c $(context_common)
tests_context_depth_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_context_forkers_SOURCES = tests/context/forkers.c $(context_common)
tests_context_forkers_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_context_forks_SOURCES = tests/context/forks.c $(context_common)
tests_context_forks_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_context_interrupted_SOURCES = tests/context/interrupted.c $(context_common)
tests_context_jumped_SOURCES = tests/context/jumped.c $(context_common)
tests_context_jumped_LDFLAGS = $(AM_LDFLAGS) -pthread

# Another preloaded library, which wraps the same calls.
check_LTLIBRARIES += tests/context/libwrapper.la
tests_context_libwrapper_la_SOURCES = tests/context/wrapper.c
tests_context_libwrapper_la_LDFLAGS = \
	$(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

CONTEXTS = \
	tests/integration/test_context_calls.py \
	tests/integration/test_context_places.py \
	tests/integration/test_context_preload.py
TESTS += $(CONTEXTS)
EXTRA_DIST += $(CONTEXTS)
