#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>

#include "kernel.h"
#include "self.h"

/* Of the newer kernels' headers. */
#ifndef SECCOMP_RET_LOG
#define SECCOMP_RET_LOG 0x7ffc0000U
#endif
#ifndef SECCOMP_RET_ACTION_FULL
#define SECCOMP_RET_ACTION_FULL 0xffff0000U
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64 /* of x32 too, whose numbers have a bit of their own */
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
#define ARCH 0 /* not known here: nothing is allowed once there is a filter */
#endif

/* As the kernel bounds them. */
#define LONGEST BPF_MAXINSNS

struct kept {
	struct kept *next;
	unsigned int length; /* 0: strict mode */
	struct sock_filter code[LONGEST];
};

atomic_uint filters_known;
static atomic_uint under_way; /* or could not be kept */
static _Atomic(struct kept *) newest;

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
	struct seccomp_data data;
};

static uint32_t loaded(const struct machine *machine, const struct sock_filter *at)
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

static uint32_t computed(uint16_t operation, uint32_t a, uint32_t b)
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

static bool holds(uint16_t operation, uint32_t a, uint32_t b)
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
 * Runs one filter. The kernel has checked it: jumps go forward and end within, and it ends with a
 * return. Running out of it all the same counts as killing.
 */
static uint32_t run(const struct kept *kept, struct machine *machine)
{
	for (unsigned int i = 0; i < kept->length; i++) {
		const struct sock_filter *at = &kept->code[i];
		uint32_t operand = BPF_SRC(at->code) == BPF_X ? machine->x : at->k;

		switch (BPF_CLASS(at->code)) {
		case BPF_LD:
			machine->a = loaded(machine, at);
			break;
		case BPF_LDX:
			machine->x = loaded(machine, at);
			break;
		case BPF_ST:
			store(machine, at, machine->a);
			break;
		case BPF_STX:
			store(machine, at, machine->x);
			break;
		case BPF_ALU:
			if (BPF_OP(at->code) == BPF_DIV && operand == 0)
				return SECCOMP_RET_KILL; /* bpf_convert_filter in net/core/filter.c
							  */
			machine->a = computed(BPF_OP(at->code), machine->a, operand);
			break;
		case BPF_JMP:
			if (BPF_OP(at->code) == BPF_JA)
				i += at->k;
			else
				i += holds(BPF_OP(at->code), machine->a, operand) ? at->jt : at->jf;
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
	if (ARCH == 0 || atomic_load(&under_way) > 0)
		return !filter_any();
	for (const struct kept *kept = atomic_load(&newest); kept; kept = kept->next) {
		struct machine machine = {
			.data = {.nr = (int)number,
				.arch = ARCH,
				.instruction_pointer = (uintptr_t)kernel_syscall},
		};
		uint32_t action;

		memcpy(machine.data.args, arguments, sizeof(machine.data.args));
		action = run(kept, &machine) & SECCOMP_RET_ACTION_FULL;
		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}

struct filter_attempt filter_begin(void)
{
	int saved = errno;
	struct filter_attempt attempt = {.ours = !self_shares_memory()};

	if (attempt.ours) {
		attempt.room = kernel_map(sizeof(struct kept));
		atomic_fetch_add(&under_way, 1);
		atomic_fetch_add(&filters_known, 1);
	}
	errno = saved;
	return attempt;
}

static void keep(struct kept *kept, const struct sock_fprog *program)
{
	kept->length = program ? program->len : 0;
	if (program)
		memcpy(kept->code, program->filter, program->len * sizeof(kept->code[0]));
	kept->next = atomic_load(&newest);
	while (!atomic_compare_exchange_weak(&newest, &kept->next, kept))
		;
}

void filter_end(struct filter_attempt attempt, bool installed, const struct sock_fprog *program)
{
	int saved = errno;

	if (!attempt.ours)
		return;
	if (installed && !attempt.room)
		return; /* it is in force and not known: nothing is allowed from now on */
	if (installed)
		keep(attempt.room, program);
	else
		atomic_fetch_sub(&filters_known, 1);
	atomic_fetch_sub(&under_way, 1);
	if (!installed && attempt.room)
		kernel_unmap(attempt.room, sizeof(struct kept));
	errno = saved;
}
