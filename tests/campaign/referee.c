#include "referee.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOLDS    1024
#define ATTEMPTS 4096
#define SLOW_NS  UINT64_C(1000000000)

/* ---- the board ---- */

enum { FREE, WRITING, HELD, GIVEN_UP, STOLEN, STATES };

/* A socket and the path it has. */
struct hold {
	atomic_ulong state; /* STATES * how often it was used + the state */
	atomic_int pid;
	int number;
	uint32_t inode;
	uint32_t socket;
	uint32_t cookie[2];
};

enum { NEVER, PENDING, ARRIVED, FAILED, UNKNOWN };

/* A call that may leave a socket on a path. */
struct attempt {
	atomic_int state;
	atomic_int pid;
	atomic_ulong began;
	atomic_ulong ended;
};

static struct board {
	struct counts counts;
	struct hold holds[HOLDS];
	atomic_ulong next[PATHS_MOST]; /* ticket of the next attempt */
	struct attempt attempts[PATHS_MOST][ATTEMPTS];
} * board;

static char paths[PATHS_MOST][GROUND_PATH];
static size_t directory_length;
static int paths_used;

int referee_make_board(void)
{
	int fd = memfd_create("storm", 0);

	if (fd < 0 || ftruncate(fd, sizeof(*board)) != 0) {
		perror("storm: board");
		exit(2);
	}
	return fd;
}

void referee_open(int fd, const char *directory, int count)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (board == MAP_FAILED) {
		perror("storm: board");
		exit(2);
	}
	paths_used = count;
	directory_length = strlen(directory);
	for (int i = 0; i < count; i++)
		ground_path(paths[i], directory, i);
}

struct counts *referee_counts(void)
{
	return &board->counts;
}

const char *referee_path(int number)
{
	return paths[number];
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

void referee_say(const char *format, ...)
{
	char line[512];
	int used = snprintf(line, sizeof(line), "# %.6f [%d] ", (double)now() / 1e9, getpid());
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + used, sizeof(line) - (size_t)used, format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "%s\n", line);
}

/* ---- the kernel's word ---- */

struct query {
	uint32_t inode;  /* a socket bound to this one in our directory, */
	uint32_t socket; /* or this very socket */
	uint32_t cookie[2];
	bool found;
	uint32_t bound; /* the inode it is bound to */
};

static void read_attributes(const struct nlmsghdr *header, uint32_t *inode, bool *ours)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(header);
	const struct rtattr *attribute = (const struct rtattr *)(const void *)(socket + 1);
	size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*socket));

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
		if (attribute->rta_type == UNIX_DIAG_VFS)
			*inode = ((struct unix_diag_vfs *)RTA_DATA(attribute))->udiag_vfs_ino;
		else if (attribute->rta_type == UNIX_DIAG_NAME)
			*ours = RTA_PAYLOAD(attribute) > directory_length &&
				memcmp(RTA_DATA(attribute), paths[0], directory_length) == 0;
	}
}

static void compare(struct query *query, const struct nlmsghdr *header)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(header);
	uint32_t inode = 0;
	bool ours = false;

	/* Accepted connections tell their listener's inode too; the storm makes none. */
	read_attributes(header, &inode, &ours);
	if (query->socket ? socket->udiag_ino != query->socket : !ours || inode != query->inode)
		return;
	query->found = true;
	query->bound = inode;
	memcpy(query->cookie, socket->udiag_cookie, sizeof(query->cookie));
}

static int netlink(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0) {
		perror("storm: sock_diag");
		_exit(2);
	}
	return fd;
}

static void send_query(int fd, const struct query *query)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST},
		.body = {.sdiag_family = AF_UNIX,
			.udiag_states = UINT32_MAX,
			.udiag_ino = query->socket,
			.udiag_show = UDIAG_SHOW_VFS | UDIAG_SHOW_NAME,
			.udiag_cookie = {UINT32_MAX, UINT32_MAX}},
	};

	if (!query->socket)
		request.header.nlmsg_flags |= NLM_F_DUMP;
	else if (query->cookie[0] || query->cookie[1])
		memcpy(request.body.udiag_cookie, query->cookie, sizeof(query->cookie));
	if (send(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request)) {
		perror("storm: sock_diag");
		_exit(2);
	}
}

static void ask_kernel(struct query *query)
{
	_Alignas(struct nlmsghdr) char answer[32768];
	bool more = true;
	int fd = netlink();

	send_query(fd, query);
	while (more) {
		ssize_t length = recv(fd, answer, sizeof(answer), 0);
		const struct nlmsghdr *header = (const void *)answer;

		if (length <= 0)
			break;
		more = !query->socket;
		for (; NLMSG_OK(header, (size_t)length); header = NLMSG_NEXT(header, length)) {
			if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY)
				compare(query, header);
			else
				more = false; /* done, or an error: there is no such socket */
		}
	}
	close(fd);
}

static bool look(const char *path, uint32_t *inode)
{
	struct stat found;

	*inode = 0;
	if (lstat(path, &found) != 0)
		return false;
	*inode = (uint32_t)found.st_ino;
	return true;
}

/* ---- attempts, and refusals ---- */

static bool lives(int pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

/* How an attempt that was never ended came out, nobody can tell; that it is over, we can. */
static void bury(struct attempt *attempt)
{
	int pending = PENDING;

	if (atomic_load(&attempt->state) != PENDING || lives(atomic_load(&attempt->pid)))
		return;
	atomic_store(&attempt->ended, now());
	atomic_compare_exchange_strong(&attempt->state, &pending, UNKNOWN);
}

static int begin_attempt(int number)
{
	struct attempt *attempt;
	unsigned long ticket;

	do { /* never over one that is still under way */
		ticket = atomic_fetch_add(&board->next[number], 1) % ATTEMPTS;
		attempt = &board->attempts[number][ticket];
		bury(attempt);
	} while (atomic_load(&attempt->state) == PENDING);
	atomic_store(&attempt->pid, getpid());
	atomic_store(&attempt->began, now());
	atomic_store(&attempt->state, PENDING);
	return (int)ticket;
}

static void end_attempt(struct watch *watch, bool arrived)
{
	struct attempt *attempt;

	if (watch->attempt < 0)
		return;
	attempt = &board->attempts[watch->number][watch->attempt];
	atomic_store(&attempt->ended, now());
	atomic_store(&attempt->state, arrived ? ARRIVED : FAILED);
	watch->attempt = -1;
}

void referee_watch(struct watch *watch, int number, const char *path, bool arriving)
{
	struct query query = {0};

	*watch =
		(struct watch){.number = number, .path = path, .attempt = -1, .arriving = arriving};
	if (arriving && number >= 0)
		watch->attempt = begin_attempt(number);
	if (number >= 0)
		watch->ticket = atomic_load(&board->next[number]);
	watch->began = now();
	watch->there = look(path, &query.inode);
	if (watch->there) {
		ask_kernel(&query);
		watch->live = query.found;
	}
	atomic_fetch_add(&board->counts.calls, 1);
	watch->called = now();
}

enum verdict { JUST, UNCLEAR, FALSE_ALARM };

static int outcome_of(struct attempt *attempt)
{
	const struct timespec pause = {.tv_nsec = 200000};

	for (int i = 0; i < 2500; i++) {
		bury(attempt);
		if (atomic_load(&attempt->state) != PENDING)
			break;
		nanosleep(&pause, NULL);
	}
	return atomic_load(&attempt->state);
}

static enum verdict weigh(const struct watch *watch, uint64_t ended)
{
	enum verdict verdict = FALSE_ALARM;

	if (watch->live)
		return JUST;
	if (ground_at(watch->path) == MOVING ||
		(ground_at(watch->path) == HOME && watch->arriving && !watch->there))
		return UNCLEAR;
	if (watch->number < 0)
		return FALSE_ALARM;
	if (atomic_load(&board->next[watch->number]) - watch->ticket > ATTEMPTS / 2)
		return UNCLEAR; /* what was noted during the call has been written over */
	for (int i = 0; i < ATTEMPTS; i++) {
		struct attempt *attempt = &board->attempts[watch->number][i];
		int state = atomic_load(&attempt->state);

		if (state == NEVER || state == FAILED || atomic_load(&attempt->began) > ended)
			continue;
		if (state != PENDING && atomic_load(&attempt->ended) < watch->began)
			continue;
		state = outcome_of(attempt);
		if (state == ARRIVED)
			return JUST;
		if (state != FAILED)
			verdict = UNCLEAR;
	}
	return verdict;
}

static void note_time(const struct watch *watch, const char *verb, uint64_t took)
{
	latency_note(&board->counts.guarded, took);
	if (took > SLOW_NS)
		referee_say("SLOW: %s(%s) took %lu us", verb, watch->path,
			(unsigned long)(took / 1000));
}

void referee_judge(struct watch *watch, const char *verb, bool done, int error, bool plain)
{
	uint64_t ended = now();
	uint32_t inode;

	end_attempt(watch, done);
	note_time(watch, verb, ended - watch->called);
	if (done || error != EADDRINUSE)
		return;
	if (plain && (watch->there || look(watch->path, &inode)))
		return; /* what bind(2) says to any name */
	atomic_fetch_add(&board->counts.refusals, 1);
	switch (weigh(watch, ended)) {
	case JUST:
		break;
	case UNCLEAR:
		atomic_fetch_add(&board->counts.unclear, 1);
		break;
	case FALSE_ALARM:
		atomic_fetch_add(&board->counts.alarms, 1);
		referee_say("FALSE ALARM: %s(%s) was refused after %lu us, and no socket was bound "
			    "there: the name %s",
			verb, watch->path, (unsigned long)(ended - watch->called) / 1000,
			watch->there ? "was stale" : "did not exist");
		break;
	}
}

/* ---- holds, and thefts ---- */

/* From a state that was seen to another, unless it has changed in between. */
static bool change(struct hold *hold, unsigned long seen, unsigned long state)
{
	unsigned long use = seen / STATES + (state == WRITING);

	return atomic_compare_exchange_strong(&hold->state, &seen, use * STATES + state);
}

static struct hold *free_hold(void)
{
	for (;;) {
		for (int i = 0; i < HOLDS; i++) {
			struct hold *hold = &board->holds[i];
			unsigned long seen = atomic_load(&hold->state);

			if (seen % STATES != FREE || !change(hold, seen, WRITING))
				continue;
			atomic_store(&hold->pid, getpid());
			return hold;
		}
		referee_tidy();
	}
}

int referee_holds(int fd, int number)
{
	struct hold *hold = free_hold();
	struct query query = {0};
	struct stat found;

	fstat(fd, &found);
	query.socket = (uint32_t)found.st_ino;
	ask_kernel(&query); /* not lstat: the path may have been stolen already */
	hold->number = number;
	hold->inode = query.bound;
	hold->socket = query.socket;
	memcpy(hold->cookie, query.cookie, sizeof(hold->cookie));
	change(hold, atomic_load(&hold->state), HELD);
	return (int)(hold - board->holds);
}

void referee_gives_up(int number)
{
	struct hold *hold = &board->holds[number];
	unsigned long seen = atomic_load(&hold->state);

	if (seen % STATES == HELD)
		change(hold, seen, GIVEN_UP);
}

bool referee_has(int number)
{
	const struct hold *hold = &board->holds[number];
	uint32_t inode;

	return look(paths[hold->number], &inode) && inode == hold->inode;
}

static bool still_there(const struct hold *hold)
{
	struct query query = {.socket = hold->socket};

	memcpy(query.cookie, hold->cookie, sizeof(query.cookie));
	ask_kernel(&query);
	return query.found;
}

static void check_hold(struct hold *hold, const char *step)
{
	unsigned long seen = atomic_load(&hold->state);
	struct hold copy;
	uint32_t inode;

	if (seen % STATES != HELD)
		return;
	copy.number = hold->number;
	copy.inode = hold->inode;
	copy.socket = hold->socket;
	memcpy(copy.cookie, hold->cookie, sizeof(copy.cookie));
	if (look(paths[copy.number], &inode) && inode == copy.inode)
		return;
	/* What is in the kernel now was there at that look: sockets do not come back. */
	if (!still_there(&copy) || !change(hold, seen, STOLEN))
		return;
	if (ground_of(copy.number) >= HOME) {
		atomic_fetch_add(&board->counts.exposed, 1);
		return;
	}
	atomic_fetch_add(&board->counts.thefts, 1);
	referee_say("THEFT: %s is inode %u (0: none), and the socket of process %d that has it is "
		    "bound to %u; seen after %s",
		paths[copy.number], inode, atomic_load(&hold->pid), copy.inode, step);
}

void referee_check(const char *step)
{
	for (int i = 0; i < HOLDS; i++)
		check_hold(&board->holds[i], step);
	atomic_fetch_add(&board->counts.checks, 1);
}

static void tidy_hold(struct hold *hold)
{
	unsigned long seen = atomic_load(&hold->state);
	unsigned long state = seen % STATES;

	if (state == FREE)
		return;
	if (state == WRITING ? lives(atomic_load(&hold->pid)) : still_there(hold))
		return;
	change(hold, seen, FREE);
}

void referee_tidy(void)
{
	for (int i = 0; i < HOLDS; i++)
		tidy_hold(&board->holds[i]);
	for (int path = 0; path < paths_used; path++)
		for (int i = 0; i < ATTEMPTS; i++)
			bury(&board->attempts[path][i]);
}
