# The actor makes the calls that the tests request, with the guard and without it.
check_PROGRAMS += tests/actor tests/inputs tests/sandboxed
tests_actor_SOURCES = tests/actor.c
tests_inputs_SOURCES = tests/inputs.c
tests_sandboxed_SOURCES = tests/sandboxed.c
tests_sandboxed_LDFLAGS = $(AM_LDFLAGS) -pthread

# Preloaded into supervisors by test_supervise_deaths.py.
if SUPERVISOR
check_LTLIBRARIES += tests/libsuspend.la
endif
tests_libsuspend_la_SOURCES = tests/suspend.c
tests_libsuspend_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

# The tests that guard only the project's own programs, which can be built with sanitizers.
actor_tests = \
	tests/integration/test_liveness.py \
	tests/integration/test_verbs.py \
	tests/integration/test_claim.py \
	tests/integration/test_reuse.py \
	tests/integration/test_ownership.py \
	tests/integration/test_plain.py \
	tests/integration/test_inputs.py \
	tests/integration/test_lockfile.py \
	tests/integration/test_settings.py \
	tests/integration/test_hardened.py

integration_tests = \
	$(actor_tests) \
	tests/integration/test_places.py \
	tests/integration/test_exports.py \
	tests/integration/test_sandbox.py \
	tests/integration/test_sandboxed.py \
	tests/integration/test_listed.py \
	tests/integration/test_memcheck.py \
	tests/integration/test_neighbour.py \
	tests/integration/test_gunicorn.py

command_tests = \
	tests/integration/test_command.py \
	tests/integration/test_command_status.py \
	tests/integration/test_command_check.py \
	tests/integration/test_command_clean.py \
	tests/integration/test_command_unit.py \
	tests/integration/test_manual.py \
	tests/integration/test_refusals.py \
	tests/integration/test_completion.py

# The tests of the supervisor: statically linked programs, a Go program, and the tests above again.
supervisor_tests = \
	tests/integration/test_supervise.py \
	tests/integration/test_supervised.py \
	tests/integration/test_command_supervised.py \
	tests/integration/test_command_details.py \
	tests/integration/test_supervise_abi.py \
	tests/integration/test_supervise_deaths.py \
	tests/integration/test_supervise_details.py \
	tests/integration/test_supervise_unable.py \
	tests/integration/test_supervise_systemd.py \
	tests/integration/test_supervise_users.py

TESTS += $(integration_tests)
if SUPERVISOR
TESTS += $(supervisor_tests)
endif
if COMMAND
TESTS += $(command_tests)
endif
EXTRA_DIST += $(integration_tests) $(command_tests) $(supervisor_tests) \
	tests/foreign.c \
	tests/integration/actor.py \
	tests/integration/command.py \
	tests/integration/gunicorn_gate.py \
	tests/integration/listener.go \
	tests/integration/wsgi_app.py
