# One program per module. Check runs each case in a new process.
EXTRA_DIST += tests/unit/no_check.sh

if HAVE_CHECK
check_LTLIBRARIES += tests/unit/libsuite.la
tests_unit_libsuite_la_SOURCES = tests/unit/suite.c tests/unit/suite.h
tests_unit_libsuite_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

unit_tests = \
	tests/unit/check_address \
	tests/unit/check_config \
	tests/unit/check_direct \
	tests/unit/check_filesystem \
	tests/unit/check_filter \
	tests/unit/check_guard \
	tests/unit/check_held \
	tests/unit/check_inode \
	tests/unit/check_interpose \
	tests/unit/check_judge \
	tests/unit/check_kernel \
	tests/unit/check_libc \
	tests/unit/check_liveness \
	tests/unit/check_lockfile \
	tests/unit/check_locktable \
	tests/unit/check_owned \
	tests/unit/check_pattern \
	tests/unit/check_record \
	tests/unit/check_report \
	tests/unit/check_scratch \
	tests/unit/check_self \
	tests/unit/check_shared \
	tests/unit/check_siphash \
	tests/unit/check_sockdiag \
	tests/unit/check_starttime \
	tests/unit/check_step \
	tests/unit/check_text \
	tests/unit/check_threads
unit_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
unit_libs = tests/unit/libsuite.la libpreload.la libcore.la $(CHECK_LIBS)
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)

# Modules of the command, which no library contains.
unit_command = src/command/command.c src/command/escape.c
command_unit_tests = \
	tests/unit/check_escape \
	tests/unit/check_library
tests_unit_check_escape_SOURCES = tests/unit/check_escape.c $(unit_command)
tests_unit_check_escape_CFLAGS = $(unit_cflags)
tests_unit_check_escape_LDADD = $(unit_libs)
tests_unit_check_library_SOURCES = tests/unit/check_library.c src/command/library.c $(unit_command)
tests_unit_check_library_CPPFLAGS = $(sockguard_CPPFLAGS)
tests_unit_check_library_CFLAGS = $(unit_cflags)
tests_unit_check_library_LDADD = $(unit_libs)
if COMMAND
check_PROGRAMS += $(command_unit_tests)
TESTS += $(command_unit_tests)
endif

# Modules of the supervisor, which no library contains either.
supervisor_unit_tests = \
	tests/unit/check_classify \
	tests/unit/check_inspect \
	tests/unit/check_members \
	tests/unit/check_notify \
	tests/unit/check_pending \
	tests/unit/check_procstatus \
	tests/unit/check_proxy \
	tests/unit/check_request \
	tests/unit/check_target \
	tests/unit/check_unguarded
unit_target = src/supervise/inspect.c src/supervise/procstatus.c src/supervise/target.c
tests_unit_check_classify_SOURCES = tests/unit/check_classify.c src/supervise/classify.c $(unit_target)
tests_unit_check_classify_CFLAGS = $(unit_cflags)
tests_unit_check_classify_LDADD = $(unit_libs)
tests_unit_check_inspect_SOURCES = tests/unit/check_inspect.c src/supervise/inspect.c
tests_unit_check_inspect_CFLAGS = $(unit_cflags)
tests_unit_check_inspect_LDADD = $(unit_libs)
tests_unit_check_members_SOURCES = tests/unit/check_members.c src/supervise/members.c $(unit_target)
tests_unit_check_members_CFLAGS = $(unit_cflags)
tests_unit_check_members_LDADD = $(unit_libs)
tests_unit_check_notify_SOURCES = tests/unit/check_notify.c src/supervise/notify.c
tests_unit_check_notify_CFLAGS = $(unit_cflags)
tests_unit_check_notify_LDADD = $(unit_libs)
tests_unit_check_pending_SOURCES = tests/unit/check_pending.c src/supervise/pending.c
tests_unit_check_pending_CFLAGS = $(unit_cflags)
tests_unit_check_pending_LDADD = $(unit_libs)
tests_unit_check_procstatus_SOURCES = tests/unit/check_procstatus.c src/supervise/procstatus.c
tests_unit_check_procstatus_CFLAGS = $(unit_cflags)
tests_unit_check_procstatus_LDADD = $(unit_libs)
tests_unit_check_proxy_SOURCES = tests/unit/check_proxy.c src/supervise/proxy.c $(unit_target)
tests_unit_check_proxy_CFLAGS = $(unit_cflags)
tests_unit_check_proxy_LDADD = $(unit_libs)
tests_unit_check_request_SOURCES = tests/unit/check_request.c src/supervise/request.c $(unit_target)
tests_unit_check_request_CFLAGS = $(unit_cflags) $(SECCOMP_CFLAGS)
tests_unit_check_request_LDADD = $(unit_libs) $(SECCOMP_LIBS)
tests_unit_check_target_SOURCES = tests/unit/check_target.c $(unit_target)
tests_unit_check_target_CFLAGS = $(unit_cflags)
tests_unit_check_target_LDADD = $(unit_libs)
tests_unit_check_target_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_unit_check_unguarded_SOURCES = tests/unit/check_unguarded.c \
	src/supervise/unguarded.c $(unit_target)
tests_unit_check_unguarded_CFLAGS = $(unit_cflags)
tests_unit_check_unguarded_LDADD = $(unit_libs)
tests_unit_check_unguarded_LDFLAGS = $(AM_LDFLAGS) -pthread
if SUPERVISOR
check_PROGRAMS += $(supervisor_unit_tests)
TESTS += $(supervisor_unit_tests)
endif

tests_unit_check_address_CFLAGS = $(unit_cflags)
tests_unit_check_address_LDADD = $(unit_libs)
tests_unit_check_config_CFLAGS = $(unit_cflags)
tests_unit_check_config_LDADD = $(unit_libs)
tests_unit_check_direct_CFLAGS = $(unit_cflags)
tests_unit_check_direct_LDADD = $(unit_libs)
tests_unit_check_filesystem_CFLAGS = $(unit_cflags)
tests_unit_check_filesystem_LDADD = $(unit_libs)
tests_unit_check_filter_CFLAGS = $(unit_cflags)
tests_unit_check_filter_LDADD = $(unit_libs)
tests_unit_check_self_CFLAGS = $(unit_cflags)
tests_unit_check_self_LDADD = $(unit_libs)
tests_unit_check_guard_CFLAGS = $(unit_cflags)
tests_unit_check_guard_LDADD = $(unit_libs)
tests_unit_check_held_CFLAGS = $(unit_cflags)
tests_unit_check_held_LDADD = $(unit_libs)
tests_unit_check_inode_CFLAGS = $(unit_cflags)
tests_unit_check_inode_LDADD = $(unit_libs)
tests_unit_check_interpose_SOURCES = tests/unit/check_interpose.c src/preload/interpose.c
tests_unit_check_interpose_CFLAGS = $(unit_cflags)
tests_unit_check_interpose_LDADD = $(unit_libs)
tests_unit_check_interpose_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_unit_check_judge_CFLAGS = $(unit_cflags)
tests_unit_check_judge_LDADD = $(unit_libs)
tests_unit_check_kernel_CFLAGS = $(unit_cflags)
tests_unit_check_kernel_LDADD = $(unit_libs)
tests_unit_check_libc_CFLAGS = $(unit_cflags)
tests_unit_check_libc_LDADD = $(unit_libs)
tests_unit_check_libc_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=dlsym
tests_unit_check_liveness_CFLAGS = $(unit_cflags)
tests_unit_check_liveness_LDADD = $(unit_libs)
tests_unit_check_lockfile_CFLAGS = $(unit_cflags)
tests_unit_check_lockfile_LDADD = $(unit_libs)
tests_unit_check_owned_CFLAGS = $(unit_cflags)
tests_unit_check_owned_LDADD = $(unit_libs)
tests_unit_check_pattern_CFLAGS = $(unit_cflags)
tests_unit_check_pattern_LDADD = $(unit_libs)
tests_unit_check_record_CFLAGS = $(unit_cflags)
tests_unit_check_record_LDADD = $(unit_libs)
tests_unit_check_report_CFLAGS = $(unit_cflags)
tests_unit_check_report_LDADD = $(unit_libs)
tests_unit_check_scratch_CFLAGS = $(unit_cflags)
tests_unit_check_scratch_LDADD = $(unit_libs)
tests_unit_check_shared_CFLAGS = $(unit_cflags)
tests_unit_check_shared_LDADD = $(unit_libs)
tests_unit_check_siphash_CFLAGS = $(unit_cflags)
tests_unit_check_siphash_LDADD = $(unit_libs)
tests_unit_check_sockdiag_CFLAGS = $(unit_cflags)
tests_unit_check_sockdiag_LDADD = $(unit_libs)
tests_unit_check_starttime_CFLAGS = $(unit_cflags)
tests_unit_check_starttime_LDADD = $(unit_libs)
tests_unit_check_step_CFLAGS = $(unit_cflags)
tests_unit_check_step_LDADD = $(unit_libs)
tests_unit_check_locktable_CFLAGS = $(unit_cflags)
tests_unit_check_locktable_LDADD = $(unit_libs)
tests_unit_check_text_CFLAGS = $(unit_cflags)
tests_unit_check_text_LDADD = $(unit_libs)
tests_unit_check_threads_CFLAGS = $(unit_cflags)
tests_unit_check_threads_LDADD = $(unit_libs)
else
TESTS += tests/unit/no_check.sh
endif
