# The rules and the lock protocol. The library, the command and the unit tests contain this code.
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
	src/core/locktable.c src/core/locktable.h \
	src/core/owned.c src/core/owned.h \
	src/core/pattern.c src/core/pattern.h \
	src/core/record.c src/core/record.h \
	src/core/report.c src/core/report.h \
	src/core/scratch.c src/core/scratch.h \
	src/core/self.c src/core/self.h \
	src/core/siphash.c src/core/siphash.h \
	src/core/sockdiag.c src/core/sockdiag.h \
	src/core/shared.c src/core/shared.h \
	src/core/starttime.c src/core/starttime.h \
	src/core/step.c src/core/step.h \
	src/core/text.c src/core/text.h \
	src/core/threads.c src/core/threads.h
libcore_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

# The table of libc's functions, which the exported functions and the unit tests use.
noinst_LTLIBRARIES += libpreload.la
libpreload_la_SOURCES = src/preload/direct.c src/preload/direct.h src/preload/libc.c \
	src/preload/libc.h
libpreload_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

# With any -rpath, libtool links a shared library. The path itself is not stored in it.
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
	src/command/entries.c src/command/entries.h \
	src/command/escape.c src/command/escape.h \
	src/command/holders.c src/command/holders.h \
	src/command/json.c src/command/json.h \
	src/command/library.c src/command/library.h \
	src/command/main.c \
	src/command/proc.c src/command/proc.h \
	src/command/process.c src/command/process.h \
	src/command/program.c src/command/program.h \
	src/command/run.c \
	src/command/service.c src/command/service.h \
	src/command/socketpath.c src/command/socketpath.h \
	src/command/sockets.c src/command/sockets.h \
	src/command/status.c \
	src/command/supervised.c src/command/supervised.h \
	src/command/table.c src/command/table.h \
	src/command/unit.c \
	src/command/way.c src/command/way.h \
	src/supervise/members.h \
	src/supervise/procstatus.c src/supervise/procstatus.h
sockguard_CPPFLAGS = $(AM_CPPFLAGS) -DLIBRARY_DIR='"$(libdir)"'
sockguard_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
sockguard_LDADD = libcore.la $(JANSSON_LIBS)

# The schemas of the JSON that status and check print.
schemadir = $(datadir)/sockguard
if COMMAND
schema_DATA = docs/check.schema.json docs/status.schema.json
endif

# The supervisor. It uses the rules in libcore, and nothing else of the library.
supervise_sources = \
	src/supervise/pending.c src/supervise/pending.h \
	src/supervise/classify.c src/supervise/classify.h \
	src/supervise/identity.c src/supervise/identity.h \
	src/supervise/inspect.c src/supervise/inspect.h \
	src/supervise/members.c \
	src/supervise/notify.c src/supervise/notify.h \
	src/supervise/proxy.c src/supervise/proxy.h \
	src/supervise/request.c src/supervise/request.h \
	src/supervise/start.c src/supervise/start.h \
	src/supervise/supervisor.c src/supervise/supervisor.h \
	src/supervise/target.c src/supervise/target.h \
	src/supervise/title.c src/supervise/title.h \
	src/supervise/trap.c src/supervise/trap.h \
	src/supervise/unguarded.c src/supervise/unguarded.h \
	src/supervise/worker.c src/supervise/worker.h
if SUPERVISOR
sockguard_SOURCES += $(supervise_sources)
sockguard_CPPFLAGS += -DHAVE_SUPERVISOR=1
sockguard_CFLAGS += $(SECCOMP_CFLAGS)
sockguard_LDADD += $(SECCOMP_LIBS)
endif
EXTRA_DIST += docs/check.schema.json docs/status.schema.json

# libtool does not install the library: it fails if a directory's name contains spaces, and would also
# install a .la file, which is of no use, because LD_PRELOAD names the .so.
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
