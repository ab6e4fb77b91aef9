dist_man_MANS = man/libsockguard.7
if COMMAND
dist_man_MANS += man/sockguard.1
endif
EXTRA_DIST += man/sockguard.1
