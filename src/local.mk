# Every room but the door, once: the library, the command and the unit tests are built from them.
noinst_LTLIBRARIES += librooms.la
librooms_la_SOURCES = \
	src/address.c src/address.h \
	src/config.c src/config.h \
	src/guard.c src/guard.h \
	src/inode.c src/inode.h \
	src/judge.c src/judge.h \
	src/kernel.c src/kernel.h \
	src/libc.c src/libc.h \
	src/liveness.c src/liveness.h \
	src/lockfile.c src/lockfile.h \
	src/owned.c src/owned.h \
	src/record.c src/record.h \
	src/report.c src/report.h \
	src/scratch.c src/scratch.h \
	src/sockdiag.c src/sockdiag.h \
	src/step.c src/step.h \
	src/text.c src/text.h
librooms_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

# Any -rpath makes libtool link a shared library; it does not get into it.
noinst_LTLIBRARIES += libsockguard.la
libsockguard_la_SOURCES = src/interpose.c
libsockguard_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
libsockguard_la_LIBADD = librooms.la
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
	src/command/entry.c src/command/entry.h \
	src/command/escape.c src/command/escape.h \
	src/command/holders.c src/command/holders.h \
	src/command/json.c src/command/json.h \
	src/command/library.c src/command/library.h \
	src/command/main.c \
	src/command/process.c src/command/process.h \
	src/command/program.c src/command/program.h \
	src/command/run.c \
	src/command/sockets.c src/command/sockets.h \
	src/command/status.c \
	src/command/table.c src/command/table.h \
	src/command/unit.c
sockguard_CPPFLAGS = $(AM_CPPFLAGS) -DLIBRARY_DIR='"$(libdir)"'
sockguard_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
sockguard_LDADD = librooms.la $(JANSSON_LIBS)
EXTRA_DIST += docs/check.schema.json docs/status.schema.json

# libtool's own way to install stumbles over spaces in a directory's name, and its archive beside
# the library would serve nobody: LD_PRELOAD names the .so.
preloadexecdir = $(libdir)
preloadexec_SCRIPTS = .libs/libsockguard.so
.libs/libsockguard.so: libsockguard.la
