/*
 * server: what a server does in the storm, in guarded calls that the referee watches.
 *
 * All chance comes from one seed a process.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stdint.h>

/* What every process of the storm is told, by its arguments. */
struct storm {
	const char *directory;
	int board;
	int paths;
	int servers;
	uint64_t seed;
	enum { ALONE, HOSTILE, TRUSTED } hostile; /* a neighbour, and one who is root */
};

extern struct storm storm;

/* This program, to be executed again; its arguments from [2] on are those of struct storm. */
#define PROGRAM "/proc/self/exe"
#define MORE    8 /* and from here on those of its role */

/* The lock file of a socket's name. */
#define LOCK_FORMAT ".%s.sockguard"

void chance_seed(uint64_t a, uint64_t b, uint64_t c);
unsigned int chance(unsigned int below);
void pause_us(unsigned int most);

/* Counts how a process ended: by SIGKILL, as it should, or by a crash. */
void note_death(int status);

/*
 * With a neighbour some servers are left to live until their calls end: of a call that waits, those
 * who are killed every few milliseconds never tell.
 */
bool server_is_patient(int slot);

/* Starts and stops over and over, until it dies. */
_Noreturn void server_live(int slot);

/* The same, executed anew with a listener, on the words after MORE. */
_Noreturn void server_resume(char **words);

/* When everybody is dead: a start has to succeed at once, and a stop to leave nothing. */
void server_start_and_stop(const char *path);

long long number_of(const char *word);

#endif
