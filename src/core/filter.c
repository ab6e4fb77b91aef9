#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>

#include "kernel.h"
#include "self.h"
#include "threads.h"

/* Defined in the headers of newer kernels. */
#ifndef SECCOMP_RET_LOG
#define SECCOMP_RET_LOG 0x7ffc0000U
#endif
#ifndef SECCOMP_RET_ACTION_FULL
#define SECCOMP_RET_ACTION_FULL 0xffff0000U
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64 /* also of x32, whose call numbers have an extra bit */
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define ARCH                                                                                       \
	(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? AUDIT_ARCH_AARCH64 & ~__AUDIT_ARCH_LE            \
						: AUDIT_ARCH_AARCH64)
#elif defined(__arm__)
#define ARCH (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? AUDIT_ARCH_ARMEB : AUDIT_ARCH_ARM)
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARCH AUDIT_ARCH_PPC64LE
#elif defined(__powerpc64__)
#define ARCH AUDIT_ARCH_PPC64
#elif defined(__mips__) && defined(__LP64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARCH AUDIT_ARCH_MIPSEL64
#elif defined(__loongarch64)
#define ARCH (258 | __AUDIT_ARCH_64BIT | __AUDIT_ARCH_LE) /* AUDIT_ARCH_LOONGARCH64 */
#else
#define ARCH 0 /* unknown architecture: nothing is allowed once there is a filter */
#endif

/* The kernel's own limit. */
#define MAX_LENGTH BPF_MAXINSNS

struct known_filter {
	struct known_filter *next;
	unsigned int length; /* 0: strict mode */
	struct sock_filter code[MAX_LENGTH];
};

atomic_uint filters_known;
/* The threads that are installing filters for themselves. */
static struct threads installing;
/* All other installations under way, and completed ones whose filter could not be copied. */
static atomic_uint unknown;
static _Atomic(struct known_filter *) newest;

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
	struct seccomp_data data;
};

static uint32_t load_word(const struct machine *machine, const struct sock_filter *at)
{
	uint32_t word = 0;

	switch (BPF_MODE(at->code)) {
	case BPF_IMM:
		return at->k;
	case BPF_MEM:
		return at->k < BPF_MEMWORDS ? machine->memory[at->k] : 0;
	case BPF_LEN:
		return sizeof(machine->data);
	default: /* BPF_ABS */
		if (at->k <= sizeof(machine->data) - sizeof(word))
			memcpy(&word, (const char *)&machine->data + at->k, sizeof(word));
		return word;
	}
}

static uint32_t compute(uint16_t operation, uint32_t a, uint32_t b)
{
	switch (operation) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		return a / b;
	case BPF_AND:
		return a & b;
	case BPF_OR:
		return a | b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return a << (b & 31);
	case BPF_RSH:
		return a >> (b & 31);
	default: /* BPF_NEG */
		return -a;
	}
}

static bool compare(uint16_t operation, uint32_t a, uint32_t b)
{
	switch (operation) {
	case BPF_JEQ:
		return a == b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	default: /* BPF_JSET */
		return (a & b) != 0;
	}
}

static void store(struct machine *machine, const struct sock_filter *at, uint32_t word)
{
	if (at->k < BPF_MEMWORDS)
		machine->memory[at->k] = word;
}

/*
 * Runs one filter. The kernel has verified it: jumps only go forward, to an instruction inside, and
 * the last instruction is a return. If a run reaches the end nevertheless, the call counts as
 * forbidden.
 */
static uint32_t run(const struct known_filter *filter, struct machine *machine)
{
	for (unsigned int i = 0; i < filter->length; i++) {
		const struct sock_filter *at = &filter->code[i];
		uint32_t operand = BPF_SRC(at->code) == BPF_X ? machine->x : at->k;

		switch (BPF_CLASS(at->code)) {
		case BPF_LD:
			machine->a = load_word(machine, at);
			break;
		case BPF_LDX:
			machine->x = load_word(machine, at);
			break;
		case BPF_ST:
			store(machine, at, machine->a);
			break;
		case BPF_STX:
			store(machine, at, machine->x);
			break;
		case BPF_ALU:
			if (BPF_OP(at->code) == BPF_DIV && operand == 0)
				return SECCOMP_RET_KILL; /* as bpf_convert_filter does */
			machine->a = compute(BPF_OP(at->code), machine->a, operand);
			break;
		case BPF_JMP:
			if (BPF_OP(at->code) == BPF_JA)
				i += at->k;
			else
				i += compare(BPF_OP(at->code), machine->a, operand) ? at->jt
										    : at->jf;
			break;
		case BPF_RET:
			return BPF_RVAL(at->code) == BPF_A ? machine->a : at->k;
		default: /* BPF_MISC */
			if (BPF_MISCOP(at->code) == BPF_TAX)
				machine->x = machine->a;
			else
				machine->a = machine->x;
		}
	}
	return SECCOMP_RET_KILL;
}

bool filter_allows(long number, const uint64_t arguments[6])
{
	if (ARCH == 0 || atomic_load(&unknown) > 0 || threads_have_any(&installing))
		return !filter_is_known();
	for (const struct known_filter *filter = atomic_load(&newest); filter;
		filter = filter->next) {
		struct machine machine = {
			.data = {.nr = (int)number,
				.arch = ARCH,
				.instruction_pointer = (uintptr_t)kernel_syscall},
		};
		uint32_t action;

		memcpy(machine.data.args, arguments, sizeof(machine.data.args));
		action = run(filter, &machine) & SECCOMP_RET_ACTION_FULL;
		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}

struct filter_installation filter_install_begin(bool for_all)
{
	int saved = errno;
	struct filter_installation installation = {.ours = !self_shares_memory()};

	if (installation.ours) {
		installation.memory = kernel_map(sizeof(struct known_filter));
		/* First, because the child of a fork subtracts one for each thread in the list. */
		atomic_fetch_add(&filters_known, 1);
		installation.listed = !for_all && threads_enter(&installing);
		if (!installation.listed)
			atomic_fetch_add(&unknown, 1);
	}
	errno = saved;
	return installation;
}

static void leave(const struct filter_installation *installation)
{
	if (installation->listed)
		threads_leave(&installing);
	else
		atomic_fetch_sub(&unknown, 1);
}

/* Copies the program (NULL: strict mode) to `filter`, and adds `filter` to the list. */
static void add_known_filter(struct known_filter *filter, const struct sock_fprog *program)
{
	filter->length = program ? program->len : 0;
	if (program)
		memcpy(filter->code, program->filter, program->len * sizeof(filter->code[0]));
	filter->next = atomic_load(&newest);
	while (!atomic_compare_exchange_weak(&newest, &filter->next, filter))
		;
}

/* Undoes filter_install_begin after the kernel has rejected the filter. */
static void forget(const struct filter_installation *installation)
{
	leave(installation);
	atomic_fetch_sub(&filters_known, 1);
	if (installation->memory)
		kernel_unmap(installation->memory, sizeof(struct known_filter));
}

void filter_install_end(struct filter_installation installation, bool installed,
	const struct sock_fprog *program)
{
	int saved = errno;

	if (!installation.ours)
		return;
	if (!installed) {
		forget(&installation);
	} else {
		if (installation.memory)
			add_known_filter(installation.memory, program);
		else
			atomic_fetch_add(&unknown, 1); /* in force: nothing is allowed any more */
		leave(&installation);
	}
	errno = saved;
}

void filter_after_fork_in_child(void)
{
	atomic_fetch_sub(&filters_known, threads_forget_others(&installing));
}
