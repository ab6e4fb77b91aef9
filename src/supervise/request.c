#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernel.h"
#include "starttime.h"
#include "target.h"

/* The index of each argument. NONE: the call uses the working directory, or no flags. */
enum { NONE = -1 };

static const struct signature {
	const char *name;
	enum verb verb;
	int dirfd, path, newdir, newpath, flags;
} signatures[] = {
	{"bind", REQUEST_BIND, 0, NONE, NONE, NONE, NONE},
	{"unlink", REQUEST_UNLINK, NONE, 0, NONE, NONE, NONE},
	{"unlinkat", REQUEST_UNLINK, 0, 1, NONE, NONE, 2},
	{"rename", REQUEST_RENAME, NONE, 0, NONE, 1, NONE},
	{"renameat", REQUEST_RENAME, 0, 1, 2, 3, NONE},
	{"renameat2", REQUEST_RENAME, 0, 1, 2, 3, 4},
	{"link", REQUEST_LINK, NONE, 0, NONE, 1, NONE},
	{"linkat", REQUEST_LINK, 0, 1, 2, 3, 4},
};
#define SIGNATURES (sizeof(signatures) / sizeof(signatures[0]))

/* The ABIs of this architecture. An x32 call is an x86-64 call with X32_BIT in its number. */
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

enum { X32_BIT = 0x40000000, SOCKETCALL_BIND = 2, I386_BIND = 361 };

static struct {
	uint32_t arch; /* as in struct seccomp_data; 0 if the kernel lacks the ABI */
	int numbers[SIGNATURES];
	int socketcall;
	int bind; /* i386 has bind(2) beside socketcall(2) since Linux 4.3 */
} tables[ABIS];

/* A kernel may be built, or booted, without x32. */
static bool kernel_has_x32(void)
{
#ifdef __x86_64__
	return syscall(X32_BIT | SYS_getpid) > 0;
#else
	return true;
#endif
}

void request_init(void)
{
	for (size_t i = 0; i < ABIS; i++) {
		uint32_t abi = abis[i] == SCMP_ARCH_NATIVE ? seccomp_arch_native() : abis[i];

		/* Notifications of x32 calls carry the architecture of x86-64. */
		tables[i].arch = abi == SCMP_ARCH_X32 ? (uint32_t)SCMP_ARCH_X86_64 : abi;
		for (size_t j = 0; j < SIGNATURES; j++)
			tables[i].numbers[j] =
				seccomp_syscall_resolve_name_arch(abi, signatures[j].name);
		tables[i].socketcall = seccomp_syscall_resolve_name_arch(abi, "socketcall");
		tables[i].bind = abi == SCMP_ARCH_X86 ? I386_BIND : tables[i].numbers[0];
		if (abi == SCMP_ARCH_X32 && !kernel_has_x32())
			tables[i].arch = 0; /* all x32 calls fail with ENOSYS */
	}
}

/* Returns NULL if the call is not judged. Sets *packed to whether it is a socketcall(2). */
static const struct signature *find_signature(const struct seccomp_data *data, bool *packed)
{
	for (size_t i = 0; i < ABIS; i++) {
		if (tables[i].arch != data->arch)
			continue;
		*packed = tables[i].socketcall == data->nr;
		if (tables[i].bind == data->nr || (*packed && data->args[0] == SOCKETCALL_BIND))
			return &signatures[0];
		for (size_t j = 0; j < SIGNATURES; j++)
			if (tables[i].numbers[j] == data->nr)
				return &signatures[j];
	}
	return NULL;
}

/* If the memory is not mapped or the caller is gone, the kernel cannot execute the call either. */
static enum request_reading classify_failed_read(void)
{
	return errno == EFAULT || errno == ESRCH ? REQUEST_HARMLESS : REQUEST_UNREADABLE;
}

/* If `packed`, the arguments are an array in the caller's memory: see socketcall(2). */
static enum request_reading read_arguments(const struct seccomp_notif *call, bool packed,
	uint64_t arguments[6])
{
	uint32_t words[3];

	memcpy(arguments, call->data.args, 6 * sizeof(arguments[0]));
	if (!packed)
		return REQUEST_COMPLETE;
	if (!target_read((pid_t)call->pid, (uint32_t)arguments[1], words, sizeof(words)))
		return classify_failed_read();
	for (int i = 0; i < 3; i++)
		arguments[i] = words[i];
	return REQUEST_COMPLETE;
}

static enum request_reading read_address(struct request *request, uint64_t address,
	socklen_t length)
{
	request->length = length;
	if (length <= sizeof(sa_family_t) || length > sizeof(struct sockaddr_un))
		return REQUEST_HARMLESS;
	if (!target_read(request->tid, address, &request->address, length))
		return classify_failed_read();
	/* The path may fill sun_path without a terminating NUL. */
	memcpy(request->path, request->address.any.sa_data, length - sizeof(sa_family_t));
	request->path[length - sizeof(sa_family_t)] = '\0';
	return request->address.any.sa_family == AF_UNIX && request->path[0] != '\0'
		       ? REQUEST_COMPLETE
		       : REQUEST_HARMLESS;
}

static int directory_of(const uint64_t *arguments, int which)
{
	return which == NONE ? AT_FDCWD : (int)arguments[which];
}

static enum request_reading read_path(const struct request *request, uint64_t address, char *path)
{
	if (target_read_string(request->tid, address, path, PATH_MAX))
		return REQUEST_COMPLETE;
	path[0] = '\0';
	return errno == ENAMETOOLONG ? REQUEST_HARMLESS : classify_failed_read();
}

/* Unknown flags and invalid combinations are left to the kernel, which rejects them. */
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

static enum request_reading read_paths(struct request *request, const struct signature *signature,
	const uint64_t *arguments)
{
	enum request_reading reading =
		read_path(request, arguments[signature->path], request->path);

	if (reading != REQUEST_COMPLETE || signature->newpath == NONE)
		return reading;
	return read_path(request, arguments[signature->newpath], request->newpath);
}

enum request_reading request_read(struct request *request, const struct seccomp_notif *call)
{
	bool packed = false;
	const struct signature *signature = find_signature(&call->data, &packed);
	uint64_t arguments[6];
	enum request_reading reading;

	if (!signature)
		return REQUEST_HARMLESS;
	request->id = call->id;
	request->tid = (pid_t)call->pid;
	request->data = call->data;
	request->verb = signature->verb;
	request->name = signature->name;
	request->path[0] = request->newpath[0] = '\0';
	reading = read_arguments(call, packed, arguments);
	if (reading != REQUEST_COMPLETE)
		return reading;
	request->dirfd = directory_of(arguments, signature->dirfd);
	request->newdir = directory_of(arguments, signature->newdir);
	request->flags = signature->flags == NONE ? 0 : (unsigned int)arguments[signature->flags];
	if (signature->verb == REQUEST_BIND)
		return read_address(request, arguments[1], (socklen_t)arguments[2]);
	return has_known_flags(request) ? read_paths(request, signature, arguments)
					: REQUEST_HARMLESS;
}

/* ---- a repeated call ---- */

static uint64_t digest(uint64_t key, const void *bytes, size_t size)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < size; i++)
		key = (key ^ byte[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return key;
}

/*
 * Leaves out the addresses of the arguments and of the call: a program that repeats a call after
 * EINTR may pass copies of the arguments, or repeat it at another place in its code.
 */
uint64_t request_key(const struct request *request)
{
	uint64_t started = starttime_of(request->tid); /* another thread may have the same ID */
	uint64_t key = UINT64_C(0xcbf29ce484222325);

	key = digest(key, &started, sizeof(started));
	key = digest(key, &request->verb, sizeof(request->verb));
	key = digest(key, &request->dirfd, sizeof(request->dirfd));
	key = digest(key, &request->flags, sizeof(request->flags));
	key = digest(key, request->path, strlen(request->path) + 1);
	if (request->verb == REQUEST_RENAME || request->verb == REQUEST_LINK) {
		key = digest(key, &request->newdir, sizeof(request->newdir));
		key = digest(key, request->newpath, strlen(request->newpath) + 1);
	}
	return key | 1;
}

/* ---- the test call ---- */

#define TEST_FLAGS 0x736f0000U /* invalid for unlinkat(2), so the kernel returns EINVAL */

static const char test_path[] = "sockguard: is a supervisor there?";

int request_make_test_call(void)
{
	return (int)syscall(SYS_unlinkat, AT_FDCWD, test_path, TEST_FLAGS);
}

bool request_is_test_call(const struct seccomp_notif *call)
{
	char words[sizeof(test_path)];

	return call->data.nr == SYS_unlinkat && (uint32_t)call->data.args[2] == TEST_FLAGS &&
	       target_read_string((pid_t)call->pid, call->data.args[1], words, sizeof(words)) &&
	       strcmp(words, test_path) == 0;
}
