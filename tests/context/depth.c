/*
 * depth [CALL]... -- CALL: makes the calls, the last one in a thread whose stack was filled with a
 * pattern. Prints how many bytes of the stack that call used, and its errno, or 0 if it succeeded.
 *
 * A CALL is a verb and its paths: "bind P", "rebind P" (with SO_REUSEADDR), "unlink P", "remove P",
 * "rename P Q", "exchange P Q", "link P Q". Sockets stay open.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define STACK_SIZE (256 * 1024)
#define PATTERN    0xa5

/* Pointers, because the first call through the PLT would also measure the loader's symbol lookup.
 */
static int (*const call_bind)(int, const char *) = bind_to;
static int (*const call_unlink)(const char *) = unlink;
static int (*const call_remove)(const char *) = remove;
static int (*const call_rename)(const char *, const char *) = rename;
static int (*const call_exchange)(int, const char *, int, const char *, unsigned int) = renameat2;
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
	else if (!strcmp(verb, "exchange"))
		call.result = call_exchange(AT_FDCWD, call.words[1], AT_FDCWD, call.words[2],
			RENAME_EXCHANGE);
	else
		call.result = call_link(call.words[1], call.words[2]);
	call.error = errno;
}

static void *make_measured_call(void *unused)
{
	call.top = __builtin_frame_address(0); /* the frames above belong to the thread library */
	make_call();
	return unused;
}

/* Sets call to the next CALL. Returns the words that follow it. */
static char **prepare(char **words)
{
	const char *verb = words[0];
	int on = 1;

	call.words = words;
	if (!strcmp(verb, "bind") || !strcmp(verb, "rebind"))
		call.socket = new_socket();
	if (!strcmp(verb, "rebind"))
		setsockopt(call.socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return words + (strstr("rename exchange link", verb) ? 3 : 2);
}

static long measure(void)
{
	/* A shared mapping, because glibc 2.31 calls madvise(MADV_DONTNEED) on a stack when its
	 * thread ends, which would clear a private mapping. */
	unsigned char *stack =
		mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const unsigned char *deepest = stack;
	pthread_attr_t attributes;
	pthread_t thread;

	if (stack == MAP_FAILED)
		die("mmap", "");
	memset(stack, PATTERN, STACK_SIZE);
	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, stack, STACK_SIZE) != 0 ||
		pthread_create(&thread, &attributes, make_measured_call, NULL) != 0)
		die("pthread_create", "");
	pthread_join(thread, NULL);
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
