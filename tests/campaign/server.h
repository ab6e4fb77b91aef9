/*
 * server: the servers of the storm. The referee watches their guarded calls.
 *
 * All random decisions of a process come from one seed.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "supervisors.h"

/* The settings of every process of the storm, passed as its arguments. */
struct storm {
	const char *directory;
	int board;
	int paths;
	int servers;
	uint64_t seed;
	enum {
		ALONE,
		HOSTILE,
		TRUSTED
	} hostile; /* HOSTILE: with a neighbour; TRUSTED: a neighbour that is root */
	/* There is a population of each kind. FAST: their servers are killed more often. */
	enum { NOT_MIXED, MIXED, MIXED_FAST } mixed;
	enum population population; /* ours */
};

extern struct storm storm;

/* This program, for exec. Its arguments from [2] on are the fields of struct storm, */
#define PROGRAM "/proc/self/exe"
#define MORE    10 /* and from [MORE] on those of its role. */

/* The name of a socket's lock file. */
#define LOCK_FORMAT ".%s.sockguard"

/* Random numbers: chance returns one below the argument, pause_us sleeps for at most max. */
void chance_seed(uint64_t a, uint64_t b, uint64_t c);
unsigned int chance(unsigned int below);
void pause_us(unsigned int max);

/* Counts how a process ended: by SIGKILL, as expected, or by a crash. */
void count_death(int status);

/*
 * With a neighbour, servers in some slots are never killed at random. A server that is killed after
 * a few milliseconds cannot show how long a call waits.
 */
bool server_is_patient(int slot);

/* Starts and stops servers in a slot until it is killed. */
_Noreturn void server_run(int slot);

/* The same after exec, with an inherited listener; takes the arguments from MORE on. */
_Noreturn void server_resume(char **words);

/* After all servers have ended: a start must succeed at once, and a stop must leave no file. */
void server_start_and_stop(const char *path);

long long number_of(const char *word);

#endif
