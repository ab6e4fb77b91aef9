#include "direct.h"

#include <errno.h>

/* The kernel returns a negated errno in this range. */
#define LARGEST_ERROR 4095

#if defined(__x86_64__) && defined(__LP64__)
#define IMPLEMENTED true
static long enter_kernel(long number, const long *words)
{
	long result;

	__asm__ volatile("movq 24(%[words]), %%r10\n\t"
			 "movq 32(%[words]), %%r8\n\t"
			 "movq 40(%[words]), %%r9\n\t"
			 "syscall"
			 : "=a"(result)
			 : "a"(number), "D"(words[0]), "S"(words[1]),
			 "d"(words[2]), [words] "r"(words)
			 : "rcx", "r8", "r9", "r10", "r11", "memory");
	return result;
}
#elif defined(__aarch64__) && defined(__LP64__)
#define IMPLEMENTED true
static long enter_kernel(long number, const long *words)
{
	long result;

	__asm__ volatile("mov x8, %[number]\n\t"
			 "mov x9, %[words]\n\t"
			 "ldp x0, x1, [x9]\n\t"
			 "ldp x2, x3, [x9, 16]\n\t"
			 "ldp x4, x5, [x9, 32]\n\t"
			 "svc 0\n\t"
			 "mov %[result], x0"
			 : [result] "=r"(result)
			 : [number] "r"(number), [words] "r"(words)
			 : "x0", "x1", "x2", "x3", "x4", "x5", "x8", "x9", "memory");
	return result;
}
#else
#define IMPLEMENTED false
static long enter_kernel(long number, const long *words)
{
	(void)number, (void)words;
	return -ENOSYS;
}
#endif

bool direct_syscall(long number, const long *words, long *result)
{
	if (!IMPLEMENTED)
		return false;
	*result = enter_kernel(number, words);
	if (*result < 0 && *result >= -LARGEST_ERROR) {
		errno = (int)-*result;
		*result = -1;
	}
	return true;
}
