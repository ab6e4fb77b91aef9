# The programs that scripts/bench uses. Only "make bench" builds them.
EXTRA_PROGRAMS += tests/bench/calls tests/bench/launch tests/bench/load \
	tests/bench/notified tests/bench/rush tests/bench/start tests/bench/steps
tests_bench_calls_SOURCES = tests/bench/bare.c tests/bench/bare.h tests/bench/bench.h \
	tests/bench/calls.c
tests_bench_launch_SOURCES = tests/bench/launch.c
tests_bench_load_SOURCES = tests/bench/bench.h tests/bench/load.c
tests_bench_load_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_bench_notified_SOURCES = tests/bench/bench.h tests/bench/notified.c
tests_bench_rush_SOURCES = tests/bench/bench.h tests/bench/rush.c
tests_bench_start_SOURCES = tests/bench/bench.h tests/bench/start.c
tests_bench_steps_SOURCES = tests/bench/bench.h tests/bench/steps.c

# A library to preload for comparison. With -rpath, libtool builds it as a shared library, although it
# is never installed.
EXTRA_LTLIBRARIES = tests/bench/floor.la
bench_ldflags = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nonexistent
tests_bench_floor_la_SOURCES = tests/bench/floor.c
tests_bench_floor_la_LDFLAGS = $(bench_ldflags)

# The programs that count system calls. test_syscalls.py uses them too.
check_PROGRAMS += tests/bench/tally
tests_bench_tally_SOURCES = tests/bench/tally.c
check_LTLIBRARIES += tests/bench/empty.la
tests_bench_empty_la_SOURCES = tests/bench/empty.c
tests_bench_empty_la_LDFLAGS = $(bench_ldflags)
if HAVE_PYTHON3
TESTS += tests/integration/test_syscalls.py
endif

bench_products = $(EXTRA_PROGRAMS) $(EXTRA_LTLIBRARIES) tests/bench/tally$(EXEEXT) tests/bench/empty.la
bench: all $(bench_products)
.PHONY: bench
CLEANFILES += $(EXTRA_PROGRAMS) $(EXTRA_LTLIBRARIES)

EXTRA_DIST += \
	docs/bench.json \
	docs/price.md \
	docs/price.svg \
	scripts/bench \
	tests/bench/bench.py \
	tests/bench/chart.py \
	tests/bench/figures.py \
	tests/bench/meter.py \
	tests/bench/micro.py \
	tests/bench/scale.py \
	tests/bench/servers.py \
	tests/bench/supervised.py \
	tests/bench/tally.py \
	tests/bench/trees.py \
	tests/integration/test_syscalls.py
