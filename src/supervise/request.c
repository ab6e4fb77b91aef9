#include "request.h"

#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernel.h"
#include "target.h"

/* Which argument is what; NONE: the call has none, and means the working directory or no flag. */
enum { NONE = -1, SOCKETCALL = -2 };

static const struct shape {
	const char *name;
	enum verb verb;
	int dirfd, path, newdir, newpath, flags;
} shapes[] = {
	{"bind", REQUEST_BIND, 0, NONE, NONE, NONE, NONE},
	{"unlink", REQUEST_UNLINK, NONE, 0, NONE, NONE, NONE},
	{"unlinkat", REQUEST_UNLINK, 0, 1, NONE, NONE, 2},
	{"rename", REQUEST_RENAME, NONE, 0, NONE, 1, NONE},
	{"renameat", REQUEST_RENAME, 0, 1, 2, 3, NONE},
	{"renameat2", REQUEST_RENAME, 0, 1, 2, 3, 4},
	{"link", REQUEST_LINK, NONE, 0, NONE, 1, NONE},
	{"linkat", REQUEST_LINK, 0, 1, 2, 3, 4},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* The ABIs of this family of processors; x32's calls come as x86-64's with a bit set. */
static const uint32_t abis[] = {
#if defined(__x86_64__) || defined(__i386__)
	SCMP_ARCH_X86_64,
	SCMP_ARCH_X86,
	SCMP_ARCH_X32,
#elif defined(__aarch64__) || defined(__arm__)
	SCMP_ARCH_AARCH64,
	SCMP_ARCH_ARM,
#else
	SCMP_ARCH_NATIVE,
#endif
};
#define ABIS (sizeof(abis) / sizeof(abis[0]))

enum { X32_BIT = 0x40000000, SYS_BIND = 2 };

static struct {
	uint32_t arch; /* as a notification has it */
	int numbers[SHAPES];
	int socketcall;
} tables[ABIS];

void request_load(void)
{
	for (size_t i = 0; i < ABIS; i++) {
		uint32_t abi = abis[i] == SCMP_ARCH_NATIVE ? seccomp_arch_native() : abis[i];

		/* Notifications know the one architecture for both. */
		tables[i].arch = abi == SCMP_ARCH_X32 ? (uint32_t)SCMP_ARCH_X86_64 : abi;
		for (size_t j = 0; j < SHAPES; j++)
			tables[i].numbers[j] =
				seccomp_syscall_resolve_name_arch(abi, shapes[j].name);
		tables[i].socketcall = seccomp_syscall_resolve_name_arch(abi, "socketcall");
	}
}

/* Fills in the arguments as the call itself would have them. */
static const struct shape *shape_of(const struct seccomp_notif *call, uint64_t arguments[6])
{
	memcpy(arguments, call->data.args, 6 * sizeof(arguments[0]));
	for (size_t i = 0; i < ABIS; i++) {
		uint32_t words[3];

		if (tables[i].arch != call->data.arch)
			continue;
		for (size_t j = 0; j < SHAPES; j++)
			if (tables[i].numbers[j] == call->data.nr)
				return &shapes[j];
		if (tables[i].socketcall != call->data.nr || arguments[0] != SYS_BIND ||
			target_read((pid_t)call->pid, (uint32_t)arguments[1], words,
				sizeof(words)) != sizeof(words))
			continue;
		for (int j = 0; j < 3; j++)
			arguments[j] = words[j];
		return &shapes[0];
	}
	return NULL;
}

static bool read_address(struct request *request, uint64_t address, socklen_t length)
{
	request->length = length;
	if (length <= sizeof(sa_family_t) || length > sizeof(struct sockaddr_un) ||
		target_read(request->tid, address, &request->address, length) != length)
		return false;
	/* All of sun_path may be filled, without a NUL. */
	memcpy(request->path, request->address.any.sa_data, length - sizeof(sa_family_t));
	request->path[length - sizeof(sa_family_t)] = '\0';
	return request->address.any.sa_family == AF_UNIX && request->path[0] != '\0';
}

static int directory_of(const uint64_t *arguments, int which)
{
	return which == NONE ? AT_FDCWD : (int)arguments[which];
}

static bool read_path(struct request *request, uint64_t address, char *path)
{
	return target_read_string(request->tid, address, path, PATH_MAX);
}

/* Flags that exclude each other, or are not known here, are the kernel's to refuse. */
static bool has_known_flags(const struct request *request)
{
	switch (request->verb) {
	case REQUEST_UNLINK:
		return request->flags == 0;
	case REQUEST_RENAME:
		return request->flags == RENAME_EXCHANGE ||
		       (request->flags | RENAME_NOREPLACE | RENAME_WHITEOUT) ==
			       (RENAME_NOREPLACE | RENAME_WHITEOUT);
	case REQUEST_LINK:
		return (request->flags | AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) ==
		       (AT_SYMLINK_FOLLOW | AT_EMPTY_PATH);
	case REQUEST_BIND:
		break;
	}
	return true;
}

bool request_read(struct request *request, const struct seccomp_notif *call)
{
	uint64_t arguments[6];
	const struct shape *shape = shape_of(call, arguments);

	if (!shape)
		return false;
	request->id = call->id;
	request->tid = (pid_t)call->pid;
	request->verb = shape->verb;
	request->name = shape->name;
	request->dirfd = directory_of(arguments, shape->dirfd);
	request->newdir = directory_of(arguments, shape->newdir);
	request->flags = shape->flags == NONE ? 0 : (unsigned int)arguments[shape->flags];
	if (shape->verb == REQUEST_BIND)
		return read_address(request, arguments[1], (socklen_t)arguments[2]);
	return has_known_flags(request) &&
	       read_path(request, arguments[shape->path], request->path) &&
	       (shape->newpath == NONE ||
		       read_path(request, arguments[shape->newpath], request->newpath));
}

/* ---- a knock ---- */

#define KNOCK_FLAGS 0x736f0000U /* none that unlinkat(2) knows */

static const char knock[] = "sockguard: is a supervisor there?";

int request_knock(void)
{
	return (int)syscall(SYS_unlinkat, AT_FDCWD, knock, KNOCK_FLAGS);
}

bool request_is_knock(const struct seccomp_notif *call)
{
	char words[sizeof(knock)];

	return call->data.nr == SYS_unlinkat && (uint32_t)call->data.args[2] == KNOCK_FLAGS &&
	       target_read_string((pid_t)call->pid, call->data.args[1], words, sizeof(words)) &&
	       strcmp(words, knock) == 0;
}
