# One program a room. Check runs each of its cases in a process of its own.
EXTRA_DIST += tests/unit/no_check.sh

if HAVE_CHECK
check_LTLIBRARIES += tests/unit/libsuite.la
tests_unit_libsuite_la_SOURCES = tests/unit/suite.c tests/unit/suite.h
tests_unit_libsuite_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

unit_tests = \
	tests/unit/check_address \
	tests/unit/check_config \
	tests/unit/check_filesystem \
	tests/unit/check_filter \
	tests/unit/check_guard \
	tests/unit/check_held \
	tests/unit/check_inode \
	tests/unit/check_judge \
	tests/unit/check_kernel \
	tests/unit/check_libc \
	tests/unit/check_liveness \
	tests/unit/check_lockfile \
	tests/unit/check_owned \
	tests/unit/check_record \
	tests/unit/check_report \
	tests/unit/check_self \
	tests/unit/check_shared \
	tests/unit/check_sockdiag \
	tests/unit/check_step \
	tests/unit/check_text
unit_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
unit_libs = tests/unit/libsuite.la libpreload.la libcore.la $(CHECK_LIBS)
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)

# The rooms of the command, which are in no library.
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

tests_unit_check_address_CFLAGS = $(unit_cflags)
tests_unit_check_address_LDADD = $(unit_libs)
tests_unit_check_config_CFLAGS = $(unit_cflags)
tests_unit_check_config_LDADD = $(unit_libs)
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
tests_unit_check_judge_CFLAGS = $(unit_cflags)
tests_unit_check_judge_LDADD = $(unit_libs)
tests_unit_check_kernel_CFLAGS = $(unit_cflags)
tests_unit_check_kernel_LDADD = $(unit_libs)
tests_unit_check_libc_CFLAGS = $(unit_cflags)
tests_unit_check_libc_LDADD = $(unit_libs)
tests_unit_check_liveness_CFLAGS = $(unit_cflags)
tests_unit_check_liveness_LDADD = $(unit_libs)
tests_unit_check_lockfile_CFLAGS = $(unit_cflags)
tests_unit_check_lockfile_LDADD = $(unit_libs)
tests_unit_check_owned_CFLAGS = $(unit_cflags)
tests_unit_check_owned_LDADD = $(unit_libs)
tests_unit_check_record_CFLAGS = $(unit_cflags)
tests_unit_check_record_LDADD = $(unit_libs)
tests_unit_check_report_CFLAGS = $(unit_cflags)
tests_unit_check_report_LDADD = $(unit_libs)
tests_unit_check_shared_CFLAGS = $(unit_cflags)
tests_unit_check_shared_LDADD = $(unit_libs)
tests_unit_check_sockdiag_CFLAGS = $(unit_cflags)
tests_unit_check_sockdiag_LDADD = $(unit_libs)
tests_unit_check_step_CFLAGS = $(unit_cflags)
tests_unit_check_step_LDADD = $(unit_libs)
tests_unit_check_text_CFLAGS = $(unit_cflags)
tests_unit_check_text_LDADD = $(unit_libs)
else
TESTS += tests/unit/no_check.sh
endif
