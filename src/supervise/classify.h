/*
 * look: is a stopped call any of the guard's business?
 *
 * Almost none is, and those must cost little: they are told apart here by a look at the names, with
 * the supervisor's own rights and without a process of their own.
 */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include "request.h"

enum look {
	LOOK_PASS,   /* no: the kernel carries it out */
	LOOK_ANSWER, /* no, and this is the error that the kernel has for it */
	LOOK_JUDGE,  /* there is a socket in it, or it cannot be told from here: for a worker */
};
enum look look_at(const struct request *request, int *error);

#endif
