# The actor makes the calls; the tests tell it which, with the guard and without.
check_PROGRAMS += tests/actor
tests_actor_SOURCES = tests/actor.c

integration_tests = \
	tests/integration/test_liveness.py \
	tests/integration/test_verbs.py \
	tests/integration/test_claim.py \
	tests/integration/test_reuse.py \
	tests/integration/test_ownership.py \
	tests/integration/test_plain.py \
	tests/integration/test_lockfile.py \
	tests/integration/test_settings.py \
	tests/integration/test_exports.py \
	tests/integration/test_hardened.py \
	tests/integration/test_command.py \
	tests/integration/test_gunicorn.py

TESTS += $(integration_tests)
EXTRA_DIST += $(integration_tests) \
	tests/integration/actor.py \
	tests/integration/gunicorn_gate.py \
	tests/integration/wsgi_app.py
