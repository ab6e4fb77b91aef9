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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HOLDS     1024
#define ATTEMPTS  4096
#define CALLS     4096
#define SHOWN_NS  UINT64_C(300000000) /* how long ago the printed calls may have ended */
#define SLOW_NS   UINT64_C(1000000000)
#define LINGER_NS UINT64_C(5000000000) /* a worker may be stopped, or wait for a busy CPU */
#define LIMIT_NS  UINT64_C(2900000000) /* just below the time that the guard waits for a mutex */

/* ---- the notes in shared memory ---- */

/* The states of a hold. */
enum { FREE, WRITING, HELD, RELEASED, STOLEN, STATES };

/* A socket and the path that leads to it. */
struct hold {
	atomic_ulong state;  /* STATES * the number of times it was used + the state */
	atomic_ulong writer; /* the process that wrote it: the number of the use, and its PID */
	int number;          /* of the path */
	uint32_t inode;      /* of the path */
	uint32_t socket;     /* the inode number of the socket itself */
	uint32_t cookie[2];
};

enum { PID_BITS = 22 };

static int pid_of_writer(const struct hold *hold)
{
	return (int)(atomic_load(&hold->writer) & ((1UL << PID_BITS) - 1));
}

/* The states of an attempt. */
enum { NEVER, PENDING, SUCCEEDED, FAILED, UNKNOWN };

/* A call that may leave a socket at a path. */
struct attempt {
	atomic_int state;
	atomic_int pid;
	atomic_ulong began;
	atomic_ulong ended;
};

/* A call, to be printed after a theft or a false alarm. */
struct call_note {
	atomic_ulong began;
	atomic_ulong ended; /* 0: it has not ended, or its process was killed */
	int pid;
	int error;
	char verb[24];
	char name[24]; /* the last component of the path */
};

/* The control's slow calls. */
struct control {
	atomic_ulong began;                    /* the call in progress; 0: none */
	atomic_ulong stall_began, stall_ended; /* the last call that took longer than SLOW_NS */
};

static struct board {
	struct counts counts;
	struct control control;
	atomic_uint next_call;
	struct call_note calls[CALLS];
	struct hold holds[HOLDS];
	atomic_ulong next[MAX_PATHS]; /* ticket of the next attempt */
	struct attempt attempts[MAX_PATHS][ATTEMPTS];
} * board;

static char paths[MAX_PATHS][GROUND_PATH];
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

void referee_map_board(int fd, const char *directory, int count)
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

/* How long a supervisor may still execute the call of a process that was killed. */
static uint64_t linger;

void referee_allow_delay(void)
{
	linger = LINGER_NS;
}

uint64_t referee_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

void referee_report(const char *format, ...)
{
	char line[512];
	int used =
		snprintf(line, sizeof(line), "# %.6f [%d] ", (double)referee_now() / 1e9, getpid());
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + used, sizeof(line) - (size_t)used, format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "%s\n", line);
}

/* ---- queries to the kernel ---- */

struct query {
	uint32_t inode;  /* matches a socket bound to this inode in our directory, */
	uint32_t socket; /* or the socket with this inode number of its own */
	uint32_t cookie[2];
	bool found;
	uint32_t bound; /* the inode it is bound to */
};

static void read_attributes(const struct nlmsghdr *header, uint32_t *inode, bool *in_storm)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(header);
	const struct rtattr *attribute = (const struct rtattr *)(const void *)(socket + 1);
	size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*socket));

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
		if (attribute->rta_type == UNIX_DIAG_VFS)
			*inode = ((struct unix_diag_vfs *)RTA_DATA(attribute))->udiag_vfs_ino;
		else if (attribute->rta_type == UNIX_DIAG_NAME)
			*in_storm = RTA_PAYLOAD(attribute) > directory_length &&
				    memcmp(RTA_DATA(attribute), paths[0], directory_length) == 0;
	}
}

static void compare(struct query *query, const struct nlmsghdr *header)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(header);
	uint32_t inode = 0;
	bool in_storm = false;

	/* Accepted connections report their listener's inode too; the storm makes none. */
	read_attributes(header, &inode, &in_storm);
	if (query->socket ? socket->udiag_ino != query->socket : !in_storm || inode != query->inode)
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

/* Whether the message ends the answer. An error may also mean that the kernel is out of memory. */
static bool ends_answer(const struct query *query, const struct nlmsghdr *header)
{
	const struct nlmsgerr *result = NLMSG_DATA(header);

	if (!query->socket)
		return header->nlmsg_type == NLMSG_DONE;
	return header->nlmsg_type == SOCK_DIAG_BY_FAMILY ||
	       (header->nlmsg_type == NLMSG_ERROR &&
		       (result->error == -ENOENT || result->error == -ESTALE)); /* no such socket */
}

/* Returns false if the kernel did not answer. */
static bool ask_once(struct query *query)
{
	_Alignas(struct nlmsghdr) char answer[32768];
	bool answered = false, failed = false;
	int fd = netlink();

	send_query(fd, query);
	while (!answered && !failed) {
		ssize_t length = recv(fd, answer, sizeof(answer), 0);
		const struct nlmsghdr *header = (const void *)answer;

		if (length <= 0)
			break;
		for (; NLMSG_OK(header, (size_t)length); header = NLMSG_NEXT(header, length)) {
			if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY)
				compare(query, header);
			answered = ends_answer(query, header);
			failed = !answered && header->nlmsg_type == NLMSG_ERROR;
		}
	}
	close(fd);
	return answered;
}

static void ask_kernel(struct query *query)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; !ask_once(query); i++) {
		if (i == 1000) {
			referee_report("storm: sock_diag does not answer");
			_exit(2);
		}
		nanosleep(&pause, NULL);
	}
}

static uint64_t nanoseconds(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* `changed`, when the inode was last changed, may be NULL. */
static bool find_inode(const char *path, uint32_t *inode, uint64_t *changed)
{
	struct stat found;

	*inode = 0;
	if (lstat(path, &found) != 0)
		return false;
	*inode = (uint32_t)found.st_ino;
	if (changed)
		*changed = nanoseconds(found.st_ctim);
	return true;
}

/*
 * Whether connect(2) still finds a socket at the path. A socket that is being closed leaves the
 * kernel's dump a moment before that: unix_release_sock() in net/unix/af_unix.c. The process may be
 * preempted in between, and then the guard rightly takes the socket for live.
 */
static bool finds_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	found = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
		(errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return found;
}

/* ---- the control ---- */

void referee_begin_control(void)
{
	atomic_store(&board->control.began, referee_now());
}

void referee_end_control(void)
{
	uint64_t began = atomic_load(&board->control.began);
	uint64_t ended = referee_now();

	if (ended - began > SLOW_NS) {
		atomic_store(&board->control.stall_began, began);
		atomic_store(&board->control.stall_ended, ended);
	}
	atomic_store(&board->control.began, 0);
}

/* How long two intervals overlap. */
static uint64_t overlap(uint64_t began, uint64_t ended, uint64_t other_began, uint64_t other_ended)
{
	uint64_t first = began > other_began ? began : other_began;
	uint64_t last = ended < other_ended ? ended : other_ended;

	return last > first ? last - first : 0;
}

bool referee_is_excused(uint64_t began, uint64_t ended)
{
	const struct control *control = &board->control;
	uint64_t current = atomic_load(&control->began); /* before the others: see the end */

	if (ended - began < LIMIT_NS)
		return false;
	return (current != 0 && overlap(began, ended, current, ended) > SLOW_NS) ||
	       overlap(began, ended, atomic_load(&control->stall_began),
		       atomic_load(&control->stall_ended)) > SLOW_NS;
}

/* ---- attempts, and refusals ---- */

static bool is_alive(int pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

/* If the process of an unfinished attempt is dead, the attempt is over and its outcome unknown. */
static void end_if_orphaned(struct attempt *attempt)
{
	int pending = PENDING;

	if (atomic_load(&attempt->state) != PENDING || is_alive(atomic_load(&attempt->pid)))
		return;
	atomic_store(&attempt->ended, referee_now());
	atomic_compare_exchange_strong(&attempt->state, &pending, UNKNOWN);
}

static int begin_attempt(int number)
{
	struct attempt *attempt;
	unsigned long ticket;

	do { /* never overwrites an attempt in progress */
		ticket = atomic_fetch_add(&board->next[number], 1) % ATTEMPTS;
		attempt = &board->attempts[number][ticket];
		end_if_orphaned(attempt);
	} while (atomic_load(&attempt->state) == PENDING);
	atomic_store(&attempt->pid, getpid());
	atomic_store(&attempt->began, referee_now());
	atomic_store(&attempt->state, PENDING);
	return (int)ticket;
}

/* If a supervisor gave up on the call, it may have executed the call. */
static void end_attempt(struct watch *watch, bool succeeded, int error)
{
	bool unknown = !succeeded && (error == ENOSYS || error == ENOMEM);
	struct attempt *attempt;

	if (watch->attempt < 0)
		return;
	attempt = &board->attempts[watch->number][watch->attempt];
	atomic_store(&attempt->ended, referee_now());
	atomic_store(&attempt->state, succeeded ? SUCCEEDED : unknown ? UNKNOWN : FAILED);
	watch->attempt = -1;
}

/* ---- the calls before a theft or a false alarm ---- */

static const char *last_component(const char *path)
{
	return strrchr(path, '/') + 1;
}

static void note_begin(struct watch *watch)
{
	struct call_note *note;

	watch->note = atomic_fetch_add(&board->next_call, 1) % CALLS;
	note = &board->calls[watch->note];
	atomic_store(&note->began, 0);
	atomic_store(&note->ended, 0);
	note->pid = getpid();
	snprintf(note->verb, sizeof(note->verb), "%s", watch->verb);
	snprintf(note->name, sizeof(note->name), "%.23s", last_component(watch->path));
	atomic_store(&note->began, watch->called);
}

static void note_end(const struct watch *watch, uint64_t ended, int error)
{
	struct call_note *note = &board->calls[watch->note];

	if (atomic_load(&note->began) != watch->called)
		return; /* overwritten by a later call */
	note->error = error;
	atomic_store(&note->ended, ended);
}

/* Prints the latest calls on a path, and on the temporary names for it. */
static void print_calls(const char *path)
{
	const char *name = last_component(path);
	unsigned int next = atomic_load(&board->next_call);
	uint64_t since = referee_now() - SHOWN_NS;

	for (unsigned int i = 0; i < CALLS; i++) {
		const struct call_note *note = &board->calls[(next + i) % CALLS];
		uint64_t began = atomic_load(&note->began);
		uint64_t ended = atomic_load(&note->ended);

		if (strncmp(note->name, name, strlen(name)) != 0 || began == 0 ||
			(ended ? ended : began) < since)
			continue;
		referee_report("  [%d] %s(%s) from %.6f to %.6f: %s", note->pid, note->verb,
			note->name, (double)began / 1e9, (double)ended / 1e9,
			ended ? strerror(note->error) : "not ended");
	}
}

void referee_watch(struct watch *watch, const char *verb, int number, const char *path,
	bool places_socket)
{
	struct query query = {0};

	*watch = (struct watch){.verb = verb,
		.number = number,
		.path = path,
		.attempt = -1,
		.places_socket = places_socket};
	if (places_socket && number >= 0)
		watch->attempt = begin_attempt(number);
	if (number >= 0)
		watch->ticket = atomic_load(&board->next[number]);
	watch->began = referee_now();
	watch->existed = find_inode(path, &watch->inode, &watch->changed);
	if (watch->existed) {
		query.inode = watch->inode;
		ask_kernel(&query);
		watch->live = query.found || finds_socket(path);
	}
	atomic_fetch_add(&board->counts.calls, 1);
	hang_begin_call(&board->counts.calls_in_progress);
	watch->called = referee_now();
	note_begin(watch);
}

enum verdict { JUSTIFIED, UNCLEAR, FALSE_ALARM };

static int await_outcome(struct attempt *attempt)
{
	const struct timespec pause = {.tv_nsec = 200000};

	for (int i = 0; i < 2500; i++) {
		end_if_orphaned(attempt);
		if (atomic_load(&attempt->state) != PENDING)
			break;
		nanosleep(&pause, NULL);
	}
	return atomic_load(&attempt->state);
}

/*
 * Whether the path leads to another inode than when the call began. If it existed and has not
 * changed, no socket was placed there since. File systems reuse the number of an inode at once.
 */
static bool has_changed(const struct watch *watch)
{
	uint64_t changed = 0;
	uint32_t inode;

	find_inode(watch->path, &inode, &changed);
	return inode != watch->inode || changed != watch->changed;
}

/* How long after its end an attempt of a killed process may still place a socket at the path. */
static uint64_t delay_of(const struct watch *watch)
{
	return watch->existed && !has_changed(watch) ? 0 : linger;
}

static enum verdict judge_refusal(const struct watch *watch, uint64_t ended)
{
	enum verdict verdict = FALSE_ALARM;
	uint64_t delay = delay_of(watch);

	if (watch->live)
		return JUSTIFIED;
	if (ground_of_path(watch->path) == MOVING ||
		(ground_of_path(watch->path) == HOME && watch->places_socket && !watch->existed) ||
		referee_is_excused(watch->called, ended))
		return UNCLEAR;
	if (watch->number < 0)
		return has_changed(watch) ? UNCLEAR : FALSE_ALARM;
	if (atomic_load(&board->next[watch->number]) - watch->ticket > ATTEMPTS / 2)
		return UNCLEAR; /* the notes made during the call have been overwritten */
	for (int i = 0; i < ATTEMPTS; i++) {
		struct attempt *attempt = &board->attempts[watch->number][i];
		int state = atomic_load(&attempt->state);

		if (state == NEVER || state == FAILED || atomic_load(&attempt->began) > ended)
			continue;
		if (state != PENDING &&
			atomic_load(&attempt->ended) + (state == UNKNOWN ? delay : 0) <
				watch->began)
			continue;
		state = await_outcome(attempt);
		if (state == SUCCEEDED)
			return JUSTIFIED;
		if (state != FAILED)
			verdict = UNCLEAR;
	}
	return verdict;
}

static void count_time(const struct watch *watch, uint64_t took)
{
	latency_add(&board->counts.guarded, took);
	if (took > SLOW_NS)
		referee_report("SLOW: %s(%s) took %lu us", watch->verb, watch->path,
			(unsigned long)(took / 1000));
}

void referee_judge(struct watch *watch, bool done, int error, bool plain_bind)
{
	uint64_t ended = referee_now();
	uint32_t inode;

	hang_end_call(&board->counts.calls_in_progress);
	note_end(watch, ended, error);
	end_attempt(watch, done, error);
	count_time(watch, ended - watch->called);
	if (done || error != EADDRINUSE)
		return;
	if (plain_bind && (watch->existed || find_inode(watch->path, &inode, NULL)))
		return; /* without the guard, bind(2) fails for any path that exists, too */
	atomic_fetch_add(&board->counts.refusals, 1);
	switch (judge_refusal(watch, ended)) {
	case JUSTIFIED:
		break;
	case UNCLEAR:
		atomic_fetch_add(&board->counts.unclear, 1);
		break;
	case FALSE_ALARM:
		atomic_fetch_add(&board->counts.alarms, 1);
		referee_report("FALSE ALARM: %s(%s) was refused after %lu us, and no socket was "
			       "bound "
			       "there: the path %s",
			watch->verb, watch->path, (unsigned long)(ended - watch->called) / 1000,
			watch->existed ? "was stale" : "did not exist");
		print_calls(watch->path);
		break;
	}
}

/* ---- holds, and thefts ---- */

/* Changes the state that the caller has seen, unless it has changed since. */
static bool change_state(struct hold *hold, unsigned long seen, unsigned long state)
{
	unsigned long use = seen / STATES + (state == WRITING);

	return atomic_compare_exchange_strong(&hold->state, &seen, use * STATES + state);
}

static struct hold *reserve_hold(void)
{
	for (;;) {
		for (int i = 0; i < HOLDS; i++) {
			struct hold *hold = &board->holds[i];
			unsigned long seen = atomic_load(&hold->state);

			if (seen % STATES != FREE || !change_state(hold, seen, WRITING))
				continue;
			atomic_store(&hold->writer,
				(seen / STATES + 1) << PID_BITS | (unsigned long)getpid());
			return hold;
		}
		referee_clear_closed();
	}
}

int referee_record_owner(int fd, int number)
{
	struct hold *hold = reserve_hold();
	struct query query = {0};
	struct stat found;

	fstat(fd, &found);
	query.socket = (uint32_t)found.st_ino;
	ask_kernel(&query); /* lstat may find another inode, if the path is already stolen */
	hold->number = number;
	hold->inode = query.bound;
	hold->socket = query.socket;
	memcpy(hold->cookie, query.cookie, sizeof(hold->cookie));
	change_state(hold, atomic_load(&hold->state), HELD);
	return (int)(hold - board->holds);
}

void referee_release(int number)
{
	struct hold *hold = &board->holds[number];
	unsigned long seen = atomic_load(&hold->state);

	if (seen % STATES == HELD)
		change_state(hold, seen, RELEASED);
}

bool referee_path_is_held(int number)
{
	const struct hold *hold = &board->holds[number];
	uint32_t inode;

	return find_inode(paths[hold->number], &inode, NULL) && inode == hold->inode;
}

static bool socket_still_exists(const struct hold *hold)
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
	if (find_inode(paths[copy.number], &inode, NULL) && inode == copy.inode)
		return;
	/* A closed socket never comes back. So if it exists now, it also existed at that lookup. */
	if (!socket_still_exists(&copy) || !change_state(hold, seen, STOLEN))
		return;
	if (ground_of(copy.number) >= HOME) {
		atomic_fetch_add(&board->counts.exposed, 1);
		return;
	}
	atomic_fetch_add(&board->counts.thefts, 1);
	referee_report("THEFT: %s leads to inode %u (0: none), but the socket recorded by process "
		       "%d "
		       "is bound to %u; noticed after %s",
		paths[copy.number], inode, pid_of_writer(hold), copy.inode, step);
	print_calls(paths[copy.number]);
}

void referee_check(const char *step)
{
	for (int i = 0; i < HOLDS; i++)
		check_hold(&board->holds[i], step);
	atomic_fetch_add(&board->counts.checks, 1);
}

/* Returns true if this use of the hold is still the latest, and its process has ended. */
static bool writer_has_ended(const struct hold *hold, unsigned long use)
{
	return atomic_load(&hold->writer) >> PID_BITS == use && !is_alive(pid_of_writer(hold));
}

static void clear_if_closed(struct hold *hold)
{
	unsigned long seen = atomic_load(&hold->state);
	unsigned long state = seen % STATES;

	if (state == FREE)
		return;
	if (state == WRITING ? !writer_has_ended(hold, seen / STATES) : socket_still_exists(hold))
		return;
	change_state(hold, seen, FREE);
}

void referee_clear_closed(void)
{
	for (int i = 0; i < HOLDS; i++)
		clear_if_closed(&board->holds[i]);
	for (int path = 0; path < paths_used; path++)
		for (int i = 0; i < ATTEMPTS; i++)
			end_if_orphaned(&board->attempts[path][i]);
}
