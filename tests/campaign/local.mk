# The reliability campaigns: the storm, death and faults at every step.
check_PROGRAMS += tests/campaign/storm tests/campaign/users tests/campaign/victim
tests_campaign_storm_SOURCES = \
	tests/campaign/ground.c \
	tests/campaign/ground.h \
	tests/campaign/hang.c \
	tests/campaign/hang.h \
	tests/campaign/latency.c \
	tests/campaign/latency.h \
	tests/campaign/litter.c \
	tests/campaign/litter.h \
	tests/campaign/neighbour.c \
	tests/campaign/neighbour.h \
	tests/campaign/referee.c \
	tests/campaign/referee.h \
	tests/campaign/server.c \
	tests/campaign/server.h \
	tests/campaign/storm.c \
	tests/campaign/supervisors.c \
	tests/campaign/supervisors.h
tests_campaign_storm_LDADD = $(TIMER_LIBS)
tests_campaign_users_SOURCES = tests/campaign/users.c
tests_campaign_victim_SOURCES = tests/campaign/victim.c
CAMPAIGNS = \
	tests/campaign/test_death.py \
	tests/campaign/test_faults.py \
	tests/campaign/test_storm.py
EXTRA_DIST += $(CAMPAIGNS) tests/campaign/injection.py tests/campaign/test_supervisor.py
if HAVE_PYTHON3
TESTS += $(CAMPAIGNS)
if SUPERVISOR
TESTS += tests/campaign/test_supervisor.py
endif
endif
