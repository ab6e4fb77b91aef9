/* Tests of the module library: the path of the library, and the value of LD_PRELOAD. */
#include "command/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "suite.h"

/*
 * What the loader substitutes for $LIB, from the path at which it finds a library that this program
 * has not loaded before.
 */
static const char *lib_of_loader(void)
{
	static char lib[PATH_MAX];
	struct link_map *map;
	void *library = dlopen("/usr/$LIB/libanl.so.1", RTLD_NOW);

	ck_assert_msg(library, "%s", dlerror());
	ck_assert_int_eq(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
	snprintf(lib, sizeof(lib), "%s", map->l_name + strlen("/usr/"));
	*strrchr(lib, '/') = '\0';
	dlclose(library);
	return lib;
}

static void expect_word(const char *file, const char *wanted)
{
	char word[PATH_MAX];

	library_preload_word(file, word);
	ck_assert_str_eq(word, wanted);
}

START_TEST(the_directory_that_lib_stands_for_becomes_the_token)
{
	char file[PATH_MAX];

	snprintf(file, sizeof(file), "/usr/%s/libsockguard.so", lib_of_loader());
	expect_word(file, "/usr/$LIB/libsockguard.so");
	snprintf(file, sizeof(file), "/opt/a b/%s/libsockguard.so", lib_of_loader());
	expect_word(file, "/opt/a b/$LIB/libsockguard.so");
}
END_TEST

START_TEST(other_directories_are_unchanged)
{
	char file[PATH_MAX];

	expect_word("/usr/local/elsewhere/libsockguard.so", "/usr/local/elsewhere/libsockguard.so");
	expect_word("/libsockguard.so", "/libsockguard.so");
	snprintf(file, sizeof(file), "/usr/my%s/libsockguard.so", lib_of_loader());
	expect_word(file, file);
	snprintf(file, sizeof(file), "/usr/%s/deeper/libsockguard.so", lib_of_loader());
	expect_word(file, file);
}
END_TEST

START_TEST(a_library_is_recognised_by_its_file_name)
{
	ck_assert(library_is_named("libsockguard.so"));
	ck_assert(library_is_named("/usr/lib/libsockguard.so"));
	ck_assert(library_is_named("/usr/lib/libsockguard.so (deleted)"));
	ck_assert(!library_is_named("/usr/lib/libsockguard.so.dir/x"));
	ck_assert(!library_is_named("/usr/lib/libsockguard.so.1"));
	ck_assert(!library_is_named("/usr/lib/mylibsockguard.so"));
	ck_assert(!library_is_named(""));
}
END_TEST

static const struct {
	const char *before, *after;
} preloads[] = {
	{NULL, "/l/libsockguard.so"},
	{"", "/l/libsockguard.so"},
	{"a.so", "/l/libsockguard.so:a.so"},
	{"a.so b.so:c.so", "/l/libsockguard.so:a.so:b.so:c.so"},
	{"/l/libsockguard.so", "/l/libsockguard.so"},
	{"a.so:/other/libsockguard.so:b.so", "/l/libsockguard.so:a.so:b.so"},
	{"::a.so: ", "/l/libsockguard.so:a.so"},
};

START_TEST(the_library_comes_first_in_ld_preload)
{
	struct library library = {.word = "/l/libsockguard.so"};
	char *value = library_preload_value(&library, preloads[_i].before);

	ck_assert_str_eq(value, preloads[_i].after);
	free(value);
}
END_TEST

/* Programs for other architectures, and the path at which their loader expects the library. */
START_TEST(a_library_for_another_machine_is_found)
{
	struct library library = {.word = "./$LIB/libsockguard.so"};
	ElfW(Ehdr) program = {.e_machine = EM_386};
	FILE *file;

	memcpy(program.e_ident, ELFMAG, SELFMAG);
	program.e_ident[EI_CLASS] = ELFCLASS32;
	program.e_ident[EI_DATA] = ELFDATA2LSB;
	ck_assert(!library_exists_for(&library, &program));
	ck_assert_int_eq(mkdir("lib", 0700), 0);
	ck_assert_int_eq(mkdir("lib/i386-linux-gnu", 0700), 0);
	file = fopen("lib/libsockguard.so", "w"); /* for yet another machine */
	program.e_machine = EM_68K;
	ck_assert_uint_eq(fwrite(&program, sizeof(program), 1, file), 1);
	fclose(file);
	program.e_machine = EM_386;
	ck_assert(!library_exists_for(&library, &program));
	file = fopen("lib/libsockguard.so", "w"); /* cut off */
	ck_assert_uint_eq(fwrite(&program, sizeof(program) - 1, 1, file), 1);
	fclose(file);
	ck_assert(!library_exists_for(&library, &program));
	file = fopen("lib/i386-linux-gnu/libsockguard.so", "w");
	ck_assert_uint_eq(fwrite(&program, sizeof(program), 1, file), 1);
	fclose(file);
	ck_assert(library_exists_for(&library, &program));
	program.e_ident[EI_DATA] = ELFDATA2MSB;
	ck_assert(!library_exists_for(&library, &program));
	program.e_ident[EI_DATA] = ELFDATA2LSB;
	program.e_machine = EM_S390; /* we know of no such directory */
	ck_assert(!library_exists_for(&library, &program));
	program.e_machine = EM_386;
	strcpy(library.word, "./lib/i386-linux-gnu/libsockguard.so"); /* for one machine */
	ck_assert(!library_exists_for(&library, &program));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("library");
	TCase *cases = suite_cases(suite, "library");

	tcase_add_test(cases, the_directory_that_lib_stands_for_becomes_the_token);
	tcase_add_test(cases, other_directories_are_unchanged);
	tcase_add_test(cases, a_library_is_recognised_by_its_file_name);
	tcase_add_loop_test(cases, the_library_comes_first_in_ld_preload, 0,
		(int)(sizeof(preloads) / sizeof(preloads[0])));
	tcase_add_test(cases, a_library_for_another_machine_is_found);
	return suite;
}
