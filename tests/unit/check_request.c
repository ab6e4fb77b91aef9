/* Tests of request: the arguments of stopped calls, which are in the memory of this process. */
#include "request.h"

#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "suite.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#define RENAME_WHITEOUT  4
#endif

#define ADDRESS(of) ((uint64_t)(uintptr_t)(of))

static struct request request;

static void init(void)
{
	request_init();
}

/* Returns the notification of a call of this process. */
static struct seccomp_notif call_of(int number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
	uint64_t e)
{
	return (struct seccomp_notif){.id = 4711,
		.pid = (uint32_t)getpid(),
		.data = {.nr = number,
			.arch = seccomp_arch_native(),
			.instruction_pointer = 17,
			.args = {a, b, c, d, e}}};
}

/* Reads a call into a request that contained other values. */
static enum request_reading read_call(int number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
	uint64_t e)
{
	struct seccomp_notif call = call_of(number, a, b, c, d, e);

	memset(&request, 0x55, sizeof(request));
	return request_read(&request, &call);
}

/* Arguments that a test does not pass are 0. */
#define READ(number, a, b, c, d, e, ...) read_call(number, a, b, c, d, e)
#define ASSERT_READ(expected, number, ...)                                                         \
	ck_assert_int_eq(READ(number, __VA_ARGS__, 0, 0, 0, 0, 0), expected)

/* ---- calls with paths ---- */

static void expect_request(enum verb verb, const char *name, int dirfd, const char *path)
{
	ck_assert_int_eq(request.verb, verb);
	ck_assert_str_eq(request.name, name);
	ck_assert_int_eq(request.dirfd, dirfd);
	ck_assert_str_eq(request.path, path);
	ck_assert_uint_eq(request.id, 4711);
	ck_assert_int_eq(request.tid, getpid());
	ck_assert_uint_eq(request.data.instruction_pointer, 17);
}

static void expect_second(int newdir, const char *newpath, unsigned int flags)
{
	ck_assert_int_eq(request.newdir, newdir);
	ck_assert_str_eq(request.newpath, newpath);
	ck_assert_uint_eq(request.flags, flags);
}

START_TEST(an_unlink_has_one_path)
{
#ifdef SYS_unlink
	ASSERT_READ(REQUEST_COMPLETE, SYS_unlink, ADDRESS("a/b"));
	expect_request(REQUEST_UNLINK, "unlink", AT_FDCWD, "a/b");
	ck_assert_uint_eq(request.flags, 0);
#endif
	ASSERT_READ(REQUEST_COMPLETE, SYS_unlinkat, 7, ADDRESS("c"), 0);
	expect_request(REQUEST_UNLINK, "unlinkat", 7, "c");
	ck_assert_uint_eq(request.flags, 0);
	ck_assert_str_eq(request.newpath, "");
	ASSERT_READ(REQUEST_HARMLESS, SYS_unlinkat, 7, ADDRESS("c"), AT_REMOVEDIR);
	ASSERT_READ(REQUEST_HARMLESS, SYS_unlinkat, 7, ADDRESS("c"), 1);
}
END_TEST

START_TEST(a_rename_has_two_paths)
{
	static const unsigned int flags[] = {RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT,
		RENAME_NOREPLACE | RENAME_WHITEOUT, 0};

#ifdef SYS_rename
	ASSERT_READ(REQUEST_COMPLETE, SYS_rename, ADDRESS("a"), ADDRESS("b"));
	expect_request(REQUEST_RENAME, "rename", AT_FDCWD, "a");
	expect_second(AT_FDCWD, "b", 0);
#endif
#ifdef SYS_renameat
	ASSERT_READ(REQUEST_COMPLETE, SYS_renameat, 7, ADDRESS("a"), 8, ADDRESS("b"));
	expect_request(REQUEST_RENAME, "renameat", 7, "a");
	expect_second(8, "b", 0);
#endif
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		ASSERT_READ(REQUEST_COMPLETE, SYS_renameat2, 7, ADDRESS("a"), 8, ADDRESS("b"),
			flags[i]);
		expect_request(REQUEST_RENAME, "renameat2", 7, "a");
		expect_second(8, "b", flags[i]);
	}
}
END_TEST

START_TEST(the_kernel_rejects_other_flags_of_a_rename)
{
	static const unsigned int flags[] = {RENAME_NOREPLACE | RENAME_EXCHANGE,
		RENAME_EXCHANGE | RENAME_WHITEOUT, 8, 8 | RENAME_EXCHANGE, 8 | RENAME_NOREPLACE};

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		ASSERT_READ(REQUEST_HARMLESS, SYS_renameat2, 7, ADDRESS("a"), 8, ADDRESS("b"),
			flags[i]);
}
END_TEST

START_TEST(a_link_has_two_paths)
{
	static const unsigned int flags[] = {
		0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH};

#ifdef SYS_link
	ASSERT_READ(REQUEST_COMPLETE, SYS_link, ADDRESS("a"), ADDRESS("b"));
	expect_request(REQUEST_LINK, "link", AT_FDCWD, "a");
	expect_second(AT_FDCWD, "b", 0);
#endif
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		ASSERT_READ(REQUEST_COMPLETE, SYS_linkat, 7, ADDRESS("a"), 8, ADDRESS("b"),
			flags[i]);
		expect_request(REQUEST_LINK, "linkat", 7, "a");
		expect_second(8, "b", flags[i]);
	}
	ASSERT_READ(REQUEST_HARMLESS, SYS_linkat, 7, ADDRESS("a"), 8, ADDRESS("b"),
		AT_SYMLINK_NOFOLLOW);
}
END_TEST

START_TEST(other_calls_are_harmless)
{
	struct seccomp_notif call = call_of(SYS_unlinkat, 7, ADDRESS("c"), 0, 0, 0);

	ASSERT_READ(REQUEST_HARMLESS, SYS_openat, 7, ADDRESS("c"), 0);
	ASSERT_READ(REQUEST_HARMLESS, -1, 7, ADDRESS("c"), 0);
	call.data.arch ^= 0xff; /* no architecture has this number */
	ck_assert_int_eq(request_read(&request, &call), REQUEST_HARMLESS);
}
END_TEST

/* ---- memory that cannot be read ---- */

START_TEST(a_path_that_is_not_mapped_is_harmless)
{
	ASSERT_READ(REQUEST_HARMLESS, SYS_unlinkat, 7, 0, 0);
	ck_assert_str_eq(request.path, "");
	ASSERT_READ(REQUEST_HARMLESS, SYS_renameat2, 7, 0, 8, ADDRESS("b"));
	ASSERT_READ(REQUEST_HARMLESS, SYS_renameat2, 7, ADDRESS("a"), 8, 0);
	ck_assert_str_eq(request.newpath, "");
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, 0, 20);
}
END_TEST

START_TEST(a_path_that_is_too_long_is_harmless)
{
	char path[PATH_MAX + 1];

	memset(path, 'a', PATH_MAX);
	path[PATH_MAX] = '\0';
	ASSERT_READ(REQUEST_HARMLESS, SYS_unlinkat, 7, ADDRESS(path), 0);
	ck_assert_str_eq(request.path, "");
	path[PATH_MAX - 1] = '\0';
	ASSERT_READ(REQUEST_COMPLETE, SYS_unlinkat, 7, ADDRESS(path), 0);
	ck_assert_str_eq(request.path, path);
}
END_TEST

START_TEST(a_call_of_an_ended_thread_is_harmless)
{
	struct seccomp_notif call = call_of(SYS_unlinkat, 7, ADDRESS("c"), 0, 0, 0);

	call.pid = 0x3fffff; /* PID_MAX_LIMIT - 1 */
	ck_assert_int_eq(request_read(&request, &call), REQUEST_HARMLESS);
}
END_TEST

static int read_from_parent(const void *about)
{
	(void)about;
	return (int)request_read(&request, about);
}

/* Another user's process may not read the memory of this one. */
START_TEST(memory_that_may_not_be_read_is_unreadable)
{
	struct seccomp_notif call = call_of(SYS_unlinkat, 7, ADDRESS("c"), 0, 0, 0);

	ck_assert_int_eq(run_as_stranger(read_from_parent, &call), REQUEST_UNREADABLE);
	call = call_of(SYS_bind, 7, ADDRESS("c"), 20, 0, 0);
	ck_assert_int_eq(run_as_stranger(read_from_parent, &call), REQUEST_UNREADABLE);
	call = call_of(SYS_renameat2, 7, ADDRESS("c"), 7, ADDRESS("d"), 0);
	ck_assert_int_eq(run_as_stranger(read_from_parent, &call), REQUEST_UNREADABLE);
}
END_TEST

/* ---- bind ---- */

static struct sockaddr_un address;

static void set_address(const char *path)
{
	memset(&address, 'z', sizeof(address));
	address.sun_family = AF_UNIX;
	memcpy(address.sun_path, path, strlen(path) + 1);
}

START_TEST(a_bind_has_an_address)
{
	const socklen_t start = offsetof(struct sockaddr_un, sun_path);

	set_address("dir/a.sock");
	ASSERT_READ(REQUEST_COMPLETE, SYS_bind, 7, ADDRESS(&address), start + 11);
	expect_request(REQUEST_BIND, "bind", 7, "dir/a.sock");
	ck_assert_uint_eq(request.length, start + 11);
	ck_assert_mem_eq(&request.address, &address, start + 11);
	ck_assert_uint_eq(request.flags, 0);
	ck_assert_str_eq(request.newpath, "");
	ASSERT_READ(REQUEST_COMPLETE, SYS_bind, 7, ADDRESS(&address), start + 3); /* no NUL */
	ck_assert_str_eq(request.path, "dir");
	ASSERT_READ(REQUEST_COMPLETE, SYS_bind, 7, ADDRESS(&address), sizeof(address));
	ck_assert_str_eq(request.path, "dir/a.sock");
}
END_TEST

START_TEST(a_path_may_fill_the_address)
{
	set_address("");
	memset(address.sun_path, 'p', sizeof(address.sun_path));
	ASSERT_READ(REQUEST_COMPLETE, SYS_bind, 7, ADDRESS(&address), sizeof(address));
	ck_assert_uint_eq(strlen(request.path), sizeof(address.sun_path));
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, ADDRESS(&address), sizeof(address) + 1);
}
END_TEST

START_TEST(an_address_without_path_is_harmless)
{
	set_address("a");
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, ADDRESS(&address), sizeof(sa_family_t));
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, ADDRESS(&address), 1);
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, ADDRESS(&address), 0);
	ASSERT_READ(REQUEST_COMPLETE, SYS_bind, 7, ADDRESS(&address), sizeof(sa_family_t) + 1);
	address.sun_family = AF_INET;
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, ADDRESS(&address), 16);
	set_address(""); /* abstract */
	ASSERT_READ(REQUEST_HARMLESS, SYS_bind, 7, ADDRESS(&address), 16);
}
END_TEST

#ifdef __x86_64__
/* On i386, the arguments of socketcall(2) are an array of three words. */
START_TEST(a_socketcall_has_arguments_in_memory)
{
	struct seccomp_notif call = call_of(102, 2, 0, 0, 0, 0);
	uint32_t *words = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	ck_assert_ptr_ne(words, MAP_FAILED);
	set_address("a.sock");
	memcpy(words + 16, &address, sizeof(address));
	words[0] = 7;
	words[1] = (uint32_t)ADDRESS(words + 16);
	words[2] = sizeof(sa_family_t) + 7;
	call.data.arch = SCMP_ARCH_X86;
	call.data.args[1] = ADDRESS(words) | UINT64_C(1) << 40; /* the kernel ignores these bits */
	ck_assert_int_eq(request_read(&request, &call), REQUEST_COMPLETE);
	expect_request(REQUEST_BIND, "bind", 7, "a.sock");
	ck_assert_uint_eq(request.length, words[2]);
	call.data.args[0] = 3; /* connect */
	ck_assert_int_eq(request_read(&request, &call), REQUEST_HARMLESS);
	call.data.args[0] = 2;
	call.data.args[1] = 0;
	ck_assert_int_eq(request_read(&request, &call), REQUEST_HARMLESS);
}
END_TEST

START_TEST(i386_has_a_bind_of_its_own)
{
	struct seccomp_notif call;

	set_address("a.sock");
	call = call_of(361, 7, ADDRESS(&address), sizeof(sa_family_t) + 7, 0, 0);
	call.data.arch = SCMP_ARCH_X86;
	ck_assert_int_eq(request_read(&request, &call), REQUEST_COMPLETE);
	expect_request(REQUEST_BIND, "bind", 7, "a.sock");
	call.data.nr = 301; /* unlinkat on i386 */
	call.data.args[2] = 0;
	ck_assert_int_eq(request_read(&request, &call), REQUEST_COMPLETE);
	ck_assert_str_eq(request.name, "unlinkat");
}
END_TEST

START_TEST(the_numbers_of_i386_mean_nothing_to_x86_64)
{
	ASSERT_READ(REQUEST_HARMLESS, 361, 7, ADDRESS("a"), 20);
	ASSERT_READ(REQUEST_HARMLESS, 102, 2, ADDRESS("a"), 20);
}
END_TEST

/* On a kernel without x32, these calls fail anyway. */
START_TEST(x32_has_numbers_of_its_own)
{
	enum { X32_BIT = 0x40000000 };
	const enum request_reading reading =
		syscall(X32_BIT | SYS_getpid) > 0 ? REQUEST_COMPLETE : REQUEST_HARMLESS;

	set_address("a.sock");
	ASSERT_READ(reading, X32_BIT | SYS_unlink, ADDRESS("a"));
	ASSERT_READ(reading, X32_BIT | SYS_linkat, 7, ADDRESS("a"), 7, ADDRESS("b"));
	ASSERT_READ(reading, X32_BIT | SYS_bind, 7, ADDRESS(&address), 20);
	ASSERT_READ(REQUEST_HARMLESS, X32_BIT | SYS_openat, 7, ADDRESS("a"));
}
END_TEST
#endif

/* ---- the key of a repeated call ---- */

/* Changes one field of the request. Expects another key, or the same one if `same`. */
#define EXPECT_KEY(same, field, value)                                                             \
	do {                                                                                       \
		struct request saved_ = request;                                                   \
		uint64_t key_ = request_key(&request);                                             \
		(field) = value;                                                                   \
		ck_assert_int_eq(request_key(&request) == key_, same);                             \
		request = saved_;                                                                  \
	} while (0)

START_TEST(a_key_depends_on_the_thread_and_the_arguments)
{
	ASSERT_READ(REQUEST_COMPLETE, SYS_renameat2, 7, ADDRESS("ab"), 8, ADDRESS("b"), 0);
	EXPECT_KEY(true, request.id, 1);
	EXPECT_KEY(true, request.data.args[1], 1);
	EXPECT_KEY(false, request.tid, 1);
	EXPECT_KEY(false, request.verb, REQUEST_LINK);
	EXPECT_KEY(false, request.dirfd, 9);
	EXPECT_KEY(false, request.flags, 1);
	EXPECT_KEY(false, request.path[0], 'b');
	EXPECT_KEY(false, request.path[1], '\0');
	EXPECT_KEY(false, request.newdir, 9);
	EXPECT_KEY(false, request.newpath[0], 'c');
	request.verb = REQUEST_LINK;
	EXPECT_KEY(false, request.newdir, 9);
	EXPECT_KEY(false, request.newpath[0], 'c');
	request.verb = REQUEST_UNLINK;
	EXPECT_KEY(true, request.newdir, 9);
	EXPECT_KEY(true, request.newpath[0], 'c');
	EXPECT_KEY(false, request.path[0], 'b');
}
END_TEST

START_TEST(a_key_is_never_0)
{
	ASSERT_READ(REQUEST_COMPLETE, SYS_unlinkat, 7, ADDRESS("a"), 0);
	for (int i = 0; i < 64; i++) {
		request.dirfd = i;
		ck_assert_uint_eq(request_key(&request) & 1, 1);
	}
}
END_TEST

/* Two exchanged paths must give another key. */
START_TEST(both_paths_count_separately)
{
	uint64_t key;

	ASSERT_READ(REQUEST_COMPLETE, SYS_renameat2, 7, ADDRESS("a"), 7, ADDRESS("b"), 0);
	key = request_key(&request);
	ASSERT_READ(REQUEST_COMPLETE, SYS_renameat2, 7, ADDRESS("b"), 7, ADDRESS("a"), 0);
	ck_assert_uint_ne(request_key(&request), key);
}
END_TEST

/* ---- the test call ---- */

static bool is_test_call(const char *path, uint64_t flags)
{
	struct seccomp_notif call =
		call_of(SYS_unlinkat, (uint64_t)AT_FDCWD, ADDRESS(path), flags, 0, 0);

	return request_is_test_call(&call);
}

START_TEST(a_test_call_is_recognised)
{
	static const char path[] = "sockguard: is a supervisor there?";
	struct seccomp_notif call;

	ck_assert(is_test_call(path, 0x736f0000));
	ck_assert(!is_test_call(path, 0));
	ck_assert(!is_test_call("sockguard: is a supervisor here?", 0x736f0000));
	ck_assert(!is_test_call("sockguard: is a supervisor there", 0x736f0000));
	ck_assert(!is_test_call("sockguard: is a supervisor there??", 0x736f0000));
	ck_assert(!is_test_call(NULL, 0x736f0000));
	call = call_of(SYS_openat, 0, ADDRESS(path), 0x736f0000, 0, 0);
	ck_assert(!request_is_test_call(&call));
}
END_TEST

START_TEST(the_kernel_rejects_a_test_call)
{
	errno = 0;
	ck_assert_int_eq(request_make_test_call(), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

static TCase *request_cases(Suite *suite, const char *name)
{
	TCase *cases = suite_cases(suite, name);

	tcase_add_checked_fixture(cases, init, NULL);
	return cases;
}

static void add_addresses(Suite *suite)
{
	TCase *cases = request_cases(suite, "addresses");

	tcase_add_test(cases, a_bind_has_an_address);
	tcase_add_test(cases, a_path_may_fill_the_address);
	tcase_add_test(cases, an_address_without_path_is_harmless);
#ifdef __x86_64__
	tcase_add_test(cases, a_socketcall_has_arguments_in_memory);
	tcase_add_test(cases, i386_has_a_bind_of_its_own);
	tcase_add_test(cases, the_numbers_of_i386_mean_nothing_to_x86_64);
	tcase_add_test(cases, x32_has_numbers_of_its_own);
#endif
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("request");
	TCase *paths = request_cases(suite, "paths");
	TCase *keys = request_cases(suite, "keys");

	if (!suite_can_read_memory())
		return suite;
	tcase_add_test(paths, an_unlink_has_one_path);
	tcase_add_test(paths, a_rename_has_two_paths);
	tcase_add_test(paths, the_kernel_rejects_other_flags_of_a_rename);
	tcase_add_test(paths, a_link_has_two_paths);
	tcase_add_test(paths, other_calls_are_harmless);
	tcase_add_test(paths, a_path_that_is_not_mapped_is_harmless);
	tcase_add_test(paths, a_path_that_is_too_long_is_harmless);
	tcase_add_test(paths, a_call_of_an_ended_thread_is_harmless);
	ADD_ROOT_TEST(paths, memory_that_may_not_be_read_is_unreadable);
	add_addresses(suite);
	tcase_add_test(keys, a_key_depends_on_the_thread_and_the_arguments);
	tcase_add_test(keys, a_key_is_never_0);
	tcase_add_test(keys, both_paths_count_separately);
	tcase_add_test(keys, a_test_call_is_recognised);
	tcase_add_test(keys, the_kernel_rejects_a_test_call);
	return suite;
}
