/*
 * foreign i386|x32 CALL PATH [PATH]: a program for x86-64 that makes a call through another ABI of
 * the kernel, as a program built for that ABI does. CALL is unlink, rename, bind or socketcall, the
 * system call of i386 that binds, too. Prints the errno, or 0. Then keeps the socket, if it bound
 * one, until its standard input ends.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define X32 0x40000000L

enum { I386_UNLINK = 10, I386_RENAME = 38, I386_SOCKETCALL = 102, I386_BIND = 361 };
enum { SOCKETCALL_BIND = 2 };

/* Memory whose addresses fit in 32 bits. */
static void *low;

static long call_i386(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static long call_x32(long number, long a, long b, long c)
{
	long result = syscall(number | X32, a, b, c);

	return result < 0 ? -errno : result;
}

/* Copies an argument to that memory. Returns its address. */
static long copy_low(const char *word)
{
	static size_t used = 512;
	char *copy = (char *)low + used;

	strcpy(copy, word);
	used += strlen(word) + 1;
	return (long)copy;
}

static long bind_to(int x32, const char *call, const char *path)
{
	struct sockaddr_un *address = low;
	uint32_t *arguments = (uint32_t *)low + 64; /* of socketcall(2) */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	arguments[0] = (uint32_t)fd;
	arguments[1] = (uint32_t)(uintptr_t)address;
	arguments[2] = sizeof(*address);
	if (x32)
		return call_x32(SYS_bind, fd, (long)address, sizeof(*address));
	if (strcmp(call, "socketcall") == 0)
		return call_i386(I386_SOCKETCALL, SOCKETCALL_BIND, (long)arguments, 0);
	return call_i386(I386_BIND, fd, (long)address, sizeof(*address));
}

int main(int argc, char **argv)
{
	int x32 = argc > 1 && strcmp(argv[1], "x32") == 0;
	long result = -ENOSYS;

	low = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		-1, 0);
	if (low == MAP_FAILED || argc < 4)
		return 2;
	if (strcmp(argv[2], "unlink") == 0)
		result = x32 ? call_x32(SYS_unlink, copy_low(argv[3]), 0, 0)
			     : call_i386(I386_UNLINK, copy_low(argv[3]), 0, 0);
	else if (strcmp(argv[2], "rename") == 0)
		result = x32 ? call_x32(SYS_rename, copy_low(argv[3]), copy_low(argv[4]), 0)
			     : call_i386(I386_RENAME, copy_low(argv[3]), copy_low(argv[4]), 0);
	else
		result = bind_to(x32, argv[2], argv[3]);
	printf("%ld\n", -result);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
