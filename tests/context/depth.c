/*
 * depth [CALL]... -- CALL: makes the calls, and the last one on a stack of its own that was filled
 * with a pattern. Prints how many bytes of it were written over, and the errno of the call or 0.
 *
 * A CALL is a word and its paths: "bind P", "rebind P" (with SO_REUSEADDR), "unlink P", "remove P",
 * "rename P Q", "link P Q". What comes before the last stays bound.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "common.h"

#define ROOM    (256 * 1024)
#define PATTERN 0xa5

/* By pointers, and not by the linkage table: the loader's own first call would be measured too. */
static int (*const call_bind)(int, const char *) = bind_to;
static int (*const call_unlink)(const char *) = unlink;
static int (*const call_remove)(const char *) = remove;
static int (*const call_rename)(const char *, const char *) = rename;
static int (*const call_link)(const char *, const char *) = link;

static struct {
	char **words;
	int socket;
	int result;
	int error;
	const unsigned char *top;
} call;

static void make_call(void)
{
	const char *verb = call.words[0];

	errno = 0;
	if (!strcmp(verb, "bind") || !strcmp(verb, "rebind"))
		call.result = call_bind(call.socket, call.words[1]);
	else if (!strcmp(verb, "unlink"))
		call.result = call_unlink(call.words[1]);
	else if (!strcmp(verb, "remove"))
		call.result = call_remove(call.words[1]);
	else if (!strcmp(verb, "rename"))
		call.result = call_rename(call.words[1], call.words[2]);
	else
		call.result = call_link(call.words[1], call.words[2]);
	call.error = errno;
}

/* Where the caller's part of the stack ends. */
static void make_measured_call(void)
{
	call.top = __builtin_frame_address(0);
	make_call();
}

/* Points call at the words of the next one. Returns those behind it. */
static char **prepare(char **words)
{
	const char *verb = words[0];
	int on = 1;

	call.words = words;
	if (!strcmp(verb, "bind") || !strcmp(verb, "rebind"))
		call.socket = new_socket();
	if (!strcmp(verb, "rebind"))
		setsockopt(call.socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return words + (!strcmp(verb, "rename") || !strcmp(verb, "link") ? 3 : 2);
}

/* volatile: as setjmp has it, swapcontext returns twice for all the compiler knows. */
static long measure(void)
{
	static ucontext_t here, there;
	unsigned char *volatile stack =
		mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const unsigned char *volatile deepest = stack;

	if (stack == MAP_FAILED || getcontext(&there) != 0)
		die("mmap", "");
	memset(stack, PATTERN, ROOM);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = ROOM;
	there.uc_link = &here;
	makecontext(&there, make_measured_call, 0);
	swapcontext(&here, &there);
	while (*deepest == PATTERN)
		deepest++;
	return call.top - deepest;
}

int main(int argc, char **argv)
{
	char **words = argv + 1;

	while (words < argv + argc && strcmp(words[0], "--") != 0) {
		words = prepare(words);
		make_call();
		if (call.result != 0) {
			errno = call.error;
			die(call.words[0], call.words[1]);
		}
	}
	prepare(words + 1);
	long depth = measure();
	printf("%ld %d\n", depth, call.result == 0 ? 0 : call.error);
	return 0;
}
