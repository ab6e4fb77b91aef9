# What judges and locks, once: the library, the command and the unit tests are built from it.
noinst_LTLIBRARIES += libcore.la
libcore_la_SOURCES = \
	src/core/address.c src/core/address.h \
	src/core/calls.h \
	src/core/caller.h \
	src/core/config.c src/core/config.h \
	src/core/filesystem.c src/core/filesystem.h \
	src/core/filter.c src/core/filter.h \
	src/core/guard.c src/core/guard.h \
	src/core/held.c src/core/held.h \
	src/core/inode.c src/core/inode.h \
	src/core/judge.c src/core/judge.h \
	src/core/kernel.c src/core/kernel.h \
	src/core/liveness.c src/core/liveness.h \
	src/core/lockfile.c src/core/lockfile.h \
	src/core/owned.c src/core/owned.h \
	src/core/record.c src/core/record.h \
	src/core/report.c src/core/report.h \
	src/core/scratch.c src/core/scratch.h \
	src/core/self.c src/core/self.h \
	src/core/sockdiag.c src/core/sockdiag.h \
	src/core/shared.c src/core/shared.h \
	src/core/step.c src/core/step.h \
	src/core/text.c src/core/text.h
libcore_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

# The functions behind those that the library exports.
noinst_LTLIBRARIES += libpreload.la
libpreload_la_SOURCES = src/preload/libc.c src/preload/libc.h
libpreload_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

# Any -rpath makes libtool link a shared library; it does not get into it.
noinst_LTLIBRARIES += libsockguard.la
libsockguard_la_SOURCES = src/preload/interpose.c
libsockguard_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
libsockguard_la_LIBADD = libpreload.la libcore.la
libsockguard_la_LDFLAGS = $(AM_LDFLAGS) $(SG_LIBRARY_LDFLAGS) -module -avoid-version -shared \
	-rpath /nowhere -Wl,-z,defs

if COMMAND
noinst_PROGRAMS += sockguard
bin_SCRIPTS += sockguard
endif
sockguard_SOURCES = \
	src/command/check.c \
	src/command/clean.c \
	src/command/command.c src/command/command.h \
	src/command/socketpath.c src/command/socketpath.h \
	src/command/escape.c src/command/escape.h \
	src/command/holders.c src/command/holders.h \
	src/command/json.c src/command/json.h \
	src/command/library.c src/command/library.h \
	src/command/main.c \
	src/command/entries.c src/command/entries.h \
	src/command/process.c src/command/process.h \
	src/command/program.c src/command/program.h \
	src/command/run.c \
	src/command/service.c src/command/service.h \
	src/command/sockets.c src/command/sockets.h \
	src/command/status.c \
	src/command/table.c src/command/table.h \
	src/command/unit.c
sockguard_CPPFLAGS = $(AM_CPPFLAGS) -DLIBRARY_DIR='"$(libdir)"'
sockguard_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
sockguard_LDADD = libcore.la $(JANSSON_LIBS)

# What the JSON of status and check means, for programs that read it.
schemadir = $(datadir)/sockguard
if COMMAND
schema_DATA = docs/check.schema.json docs/status.schema.json
endif

# What guards by system call. It knows the rules by libcore, and nothing of the library.
supervise_sources = \
	src/supervise/classify.c src/supervise/classify.h \
	src/supervise/notify.c src/supervise/notify.h \
	src/supervise/proxy.c src/supervise/proxy.h \
	src/supervise/request.c src/supervise/request.h \
	src/supervise/start.c src/supervise/start.h \
	src/supervise/supervisor.c src/supervise/supervisor.h \
	src/supervise/target.c src/supervise/target.h \
	src/supervise/trap.c src/supervise/trap.h \
	src/supervise/worker.c src/supervise/worker.h
if SUPERVISOR
sockguard_SOURCES += $(supervise_sources)
sockguard_CPPFLAGS += -DHAVE_SUPERVISOR=1
sockguard_CFLAGS += $(SECCOMP_CFLAGS)
sockguard_LDADD += $(SECCOMP_LIBS)
endif
EXTRA_DIST += docs/check.schema.json docs/status.schema.json

# libtool's own way to install stumbles over spaces in a directory's name, and its archive beside
# the library would serve nobody: LD_PRELOAD names the .so.
preloadexecdir = $(libdir)
preloadexec_SCRIPTS = .libs/libsockguard.so
.libs/libsockguard.so: libsockguard.la

# The loader must find LD_PRELOAD=libsockguard.so, which names no directory.
install-exec-hook:
	@test -n "$(DESTDIR)" || \
		$(SHELL) '$(srcdir)/packaging/loader.sh' install $(SG_LIBC) '$(libdir)'
uninstall-hook:
	@test -n "$(DESTDIR)" || \
		$(SHELL) '$(srcdir)/packaging/loader.sh' uninstall $(SG_LIBC) '$(libdir)'
