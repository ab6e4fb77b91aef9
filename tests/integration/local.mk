# The actor makes the calls; the tests tell it which, with the guard and without.
check_PROGRAMS += tests/actor
tests_actor_SOURCES = tests/actor.c

TESTS += \
	tests/integration/test_liveness.py \
	tests/integration/test_verbs.py \
	tests/integration/test_claim.py \
	tests/integration/test_reuse.py \
	tests/integration/test_ownership.py \
	tests/integration/test_plain.py \
	tests/integration/test_lockfile.py \
	tests/integration/test_settings.py \
	tests/integration/test_exports.py \
	tests/integration/test_hardened.py
EXTRA_DIST += \
	tests/integration/actor.py \
	tests/integration/test_liveness.py \
	tests/integration/test_verbs.py \
	tests/integration/test_claim.py \
	tests/integration/test_reuse.py \
	tests/integration/test_ownership.py \
	tests/integration/test_plain.py \
	tests/integration/test_lockfile.py \
	tests/integration/test_settings.py \
	tests/integration/test_exports.py \
	tests/integration/test_hardened.py

include tests/integration/gunicorn.mk
