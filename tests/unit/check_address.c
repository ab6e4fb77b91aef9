#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "address.h"
#include "suite.h"

#define START offsetof(struct sockaddr_un, sun_path)

static char path[ADDRESS_PATH + 1];

static bool has_path(int fd, const void *address, socklen_t length)
{
	memset(path, '#', sizeof(path));
	bool has = address_copy_path(fd, address, length, path);

	ck_assert_int_eq(path[ADDRESS_PATH], '#');
	return has;
}

static int unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(a_path_is_copied_out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/app.sock"};

	ck_assert(has_path(unix_socket(), &address, sizeof(address)));
	ck_assert_str_eq(path, "/run/app.sock");
	ck_assert(has_path(unix_socket(), &address, START + 14));
	ck_assert_str_eq(path, "/run/app.sock");
}
END_TEST

START_TEST(the_length_ends_the_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/app.sock"};

	ck_assert(has_path(unix_socket(), &address, START + 4));
	ck_assert_str_eq(path, "/run");
	ck_assert(has_path(unix_socket(), &address, START + 7));
	ck_assert_str_eq(path, "/run/ap");
}
END_TEST

START_TEST(all_of_sun_path_may_be_filled)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(address.sun_path, 'x', sizeof(address.sun_path));
	ck_assert(has_path(unix_socket(), &address, sizeof(address)));
	ck_assert_uint_eq(strlen(path), sizeof(address.sun_path));
}
END_TEST

START_TEST(other_addresses_have_no_path)
{
	struct {
		struct sockaddr_un address;
		char more[16];
	} long_one = {.address = {.sun_family = AF_UNIX, .sun_path = "s"}};
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0abstract"};
	struct sockaddr_un internet = {.sun_family = AF_INET, .sun_path = "s"};
	int fd = unix_socket();

	ck_assert(!has_path(fd, &abstract, sizeof(abstract)));
	ck_assert(!has_path(fd, &internet, sizeof(internet)));
	ck_assert(!has_path(fd, &long_one, sizeof(long_one)));
	ck_assert(!has_path(fd, &long_one, START)); /* autobind */
	ck_assert(!has_path(fd, &long_one, 1));
	ck_assert(!has_path(fd, &long_one, 0));
	ck_assert(!has_path(fd, &long_one, UINT32_MAX));
}
END_TEST

/* bind(2) creates no socket at a path that ends in a slash. */
START_TEST(a_path_with_a_trailing_slash_is_left_to_libc)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "dir/"};

	ck_assert(!has_path(unix_socket(), &address, sizeof(address)));
}
END_TEST

START_TEST(descriptors_other_than_unix_sockets_have_no_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};

	ck_assert(!has_path(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &address,
		sizeof(address)));
	ck_assert(!has_path(0, &address, sizeof(address)));
	ck_assert(!has_path(-1, &address, sizeof(address)));
}
END_TEST

/* If the socket has another family, the address is not read: it may have any format. */
START_TEST(an_invalid_pointer_is_not_dereferenced)
{
	const void *volatile null = NULL;

	ck_assert(!has_path(unix_socket(), null, sizeof(struct sockaddr_un)));
	ck_assert(!has_path(unix_socket(), (const void *)1, 5));
	ck_assert(!has_path(unix_socket(), (const void *)UINTPTR_MAX, 5));
}
END_TEST

/* Tries every length, with an address at the end of a page and one that crosses into the next. */
START_TEST(an_address_is_read_up_to_its_length)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = unix_socket();

	ck_assert_ptr_ne(pages, MAP_FAILED);
	memset(address.sun_path, 'x', sizeof(address.sun_path));
	ck_assert_int_eq(mprotect(pages, page, PROT_NONE), 0);
	ck_assert_int_eq(mprotect(pages + 2 * page, page, PROT_NONE), 0);
	for (socklen_t length = START + 1; length <= sizeof(address); length++) {
		char *end = pages + 2 * page;

		memcpy(end - length, &address, length);
		ck_assert(has_path(fd, end - length, length));
		ck_assert_uint_eq(strlen(path), length - START);
		ck_assert(!has_path(fd, end - length + 1, length));
		memcpy(pages + page, &address, length);
		ck_assert(has_path(fd, pages + page, length));
		ck_assert(!has_path(fd, pages + page - 1, length));
	}
}
END_TEST

START_TEST(an_address_may_be_on_two_pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/app.sock"};

	ck_assert_ptr_ne(pages, MAP_FAILED);
	for (size_t before = 1; before < START + 14; before++) {
		memcpy(pages + page - before, &address, START + 14);
		ck_assert(has_path(unix_socket(), pages + page - before, START + 14));
		ck_assert_str_eq(path, "/run/app.sock");
	}
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("address");
	TCase *cases = suite_cases(suite, "address");

	tcase_add_test(cases, a_path_is_copied_out);
	tcase_add_test(cases, the_length_ends_the_path);
	tcase_add_test(cases, all_of_sun_path_may_be_filled);
	tcase_add_test(cases, other_addresses_have_no_path);
	tcase_add_test(cases, a_path_with_a_trailing_slash_is_left_to_libc);
	tcase_add_test(cases, descriptors_other_than_unix_sockets_have_no_path);
	tcase_add_test(cases, an_invalid_pointer_is_not_dereferenced);
	tcase_add_test(cases, an_address_is_read_up_to_its_length);
	tcase_add_test(cases, an_address_may_be_on_two_pages);
	return suite;
}
