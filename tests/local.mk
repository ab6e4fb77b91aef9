# Every test prints TAP, so that the totals count cases and not programs.
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
TEST_EXTENSIONS = .py
PY_LOG_DRIVER = $(LOG_DRIVER)
PY_LOG_COMPILER = $(PYTHON3)
AM_PY_LOG_FLAGS = -B
AM_TESTS_ENVIRONMENT = SOCKGUARD_BUILD='$(abs_top_builddir)'; export SOCKGUARD_BUILD;
TESTS =
EXTRA_DIST += tests/integration/harness.py tests/explained.py tests/lockname.py

include tests/unit/local.mk
include tests/integration/local.mk
include tests/context/local.mk
include tests/campaign/local.mk
include tests/machine/local.mk
include tests/containers/local.mk
include tests/matrix/local.mk
include tests/coverage/local.mk
include tests/mutate/local.mk
include tests/model/local.mk
include tests/transparency/local.mk
include tests/bench/local.mk
include tests/package/local.mk
include tests/portability/local.mk
include tests/fuzz/local.mk
