#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernel.h"
#include "libc.h"
#include "suite.h"

/* A function that dlsym(3) does not find for the tested code, as in a libc that lacks it. */
static const char *missing;

void *__real_dlsym(void *handle, const char *name);
void *__wrap_dlsym(void *handle, const char *name);

void *__wrap_dlsym(void *handle, const char *name)
{
	return missing && strcmp(name, missing) == 0 ? NULL : __real_dlsym(handle, name);
}

START_TEST(the_table_is_complete)
{
	static const struct libc empty;

	libc = empty;
	KEEPS_ERRNO_VOID(libc_resolve());
	ck_assert_ptr_nonnull(libc.bind);
	ck_assert_ptr_nonnull(libc.unlink);
	ck_assert_ptr_nonnull(libc.unlinkat);
	ck_assert_ptr_nonnull(libc.remove);
	ck_assert_ptr_nonnull(libc.rename);
	ck_assert_ptr_nonnull(libc.renameat);
	ck_assert_ptr_nonnull(libc.renameat2);
	ck_assert_ptr_nonnull(libc.link);
	ck_assert_ptr_nonnull(libc.linkat);
}
END_TEST

START_TEST(resolving_again_changes_nothing)
{
	struct libc before = libc;

	KEEPS_ERRNO_VOID(libc_resolve());
	ck_assert_mem_eq(&before, &libc, sizeof(libc));
}
END_TEST

/* Each entry of the table is the function of that name, and not another one. */
START_TEST(each_entry_is_the_function_of_its_name)
{
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	write_file("a", "");
	ck_assert_int_eq(libc.link("a", "b"), 0);
	ck_assert(exists("a") && exists("b"));
	ck_assert_int_eq(libc.linkat(here, "a", here, "c", 0), 0);
	ck_assert(exists("a") && exists("c"));
	ck_assert_int_eq(libc.rename("c", "d"), 0);
	ck_assert(!exists("c") && exists("d"));
	ck_assert_int_eq(libc.renameat(here, "b", here, "e"), 0);
	ck_assert(!exists("b") && exists("e"));
	ck_assert_int_eq(libc.unlink("a"), 0);
	ck_assert(!exists("a"));
	ck_assert_int_eq(libc.unlinkat(here, "d", 0), 0);
	ck_assert(!exists("d"));
	ck_assert_int_eq(libc.remove("e"), 0);
	ck_assert(!exists("e"));
}
END_TEST

START_TEST(unlink_unlinkat_and_remove_differ_on_directories)
{
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(libc.unlink("dir"), -1);
	ck_assert_int_eq(libc.unlinkat(AT_FDCWD, "dir", AT_REMOVEDIR), 0);
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(libc.remove("dir"), 0);
}
END_TEST

START_TEST(bind_binds)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(libc.bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert(exists("s"));
}
END_TEST

START_TEST(renameat2_exchanges_or_is_not_available)
{
	write_file("a", "");
	if (!dlsym(RTLD_DEFAULT, "renameat2")) {
		ASSERT_FAILS(libc.renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 0), ENOSYS);
		ck_assert(exists("a") && !exists("b"));
		return;
	}
	ck_assert_int_eq(mkdir("b", 0755), 0);
	ck_assert_int_eq(libc.renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE), 0);
	ck_assert_int_eq(rmdir("a"), 0);
	ck_assert_int_eq(unlink("b"), 0);
}
END_TEST

START_TEST(without_renameat2_the_call_fails_with_enosys)
{
	missing = "renameat2";
	libc_resolve();
	write_file("a", "");
	ASSERT_FAILS(libc.renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 0), ENOSYS);
	ck_assert(exists("a") && !exists("b"));
	ck_assert_int_eq(libc.rename("a", "b"), 0);
}
END_TEST

/* The guard's own system calls then go through the wrapper that it is linked with. */
START_TEST(without_syscall_the_guard_uses_its_own_wrapper)
{
	long (*before)(long number, ...) = kernel_syscall;

	missing = "syscall";
	libc_resolve();
	ck_assert_ptr_null(libc.syscall);
	ck_assert(kernel_syscall == before);
	missing = NULL;
	libc_resolve();
	ck_assert(kernel_syscall == libc.syscall);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("libc");
	TCase *cases = suite_cases(suite, "libc");

	tcase_add_test(cases, the_table_is_complete);
	tcase_add_test(cases, resolving_again_changes_nothing);
	tcase_add_test(cases, each_entry_is_the_function_of_its_name);
	tcase_add_test(cases, unlink_unlinkat_and_remove_differ_on_directories);
	tcase_add_test(cases, bind_binds);
	tcase_add_test(cases, renameat2_exchanges_or_is_not_available);
	tcase_add_test(cases, without_renameat2_the_call_fails_with_enosys);
	tcase_add_test(cases, without_syscall_the_guard_uses_its_own_wrapper);
	return suite;
}
