# The pages name the directories of this build. A package that is installed for several
# architectures at once must have the same page in each, and names the library by the loader's $LIB:
# make documented_libdir='/usr/$$LIB'.
documented_libdir = $(libdir)
nodist_man_MANS = man/libsockguard.7
if COMMAND
nodist_man_MANS += man/sockguard.1
endif
EXTRA_DIST += man/libsockguard.7.in man/sockguard.1.in
CLEANFILES += man/libsockguard.7 man/sockguard.1

fill_in = $(MKDIR_P) man && \
	quote() { printf '%s\n' "$$1" | sed 's/[&|\\]/\\&/g'; } && \
	sed -e "s|[@]libdir@|`quote '$(documented_libdir)'`|g" \
		-e "s|[@]bindir@|`quote '$(bindir)'`|g" \
		-e "s|[@]datadir@|`quote '$(datadir)'`|g"
man/libsockguard.7: man/libsockguard.7.in Makefile
	$(AM_V_GEN)$(fill_in) $(srcdir)/man/libsockguard.7.in >$@
man/sockguard.1: man/sockguard.1.in Makefile
	$(AM_V_GEN)$(fill_in) $(srcdir)/man/sockguard.1.in >$@
