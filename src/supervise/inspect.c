#include "inspect.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint64_t inspection = UINT64_C(1) << CAP_SYS_PTRACE | UINT64_C(1)
									   << CAP_DAC_READ_SEARCH;

static uint64_t permitted(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	syscall(SYS_capget, &header, data);
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static bool set_capabilities(uint64_t effective, uint64_t allowed)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> 32 * i);
		data[i].permitted = (uint32_t)(allowed >> 32 * i);
	}
	return syscall(SYS_capset, &header, data) == 0;
}

/* Set by inspect_confine. Until then, inspect_begin and inspect_end change nothing. */
static struct {
	bool active;
	int inspections; /* the nesting depth of inspect_begin */
	uint64_t effective;
	uint64_t permitted;
} confined;

void inspect_begin(void)
{
	int saved = errno;

	if (confined.inspections++ == 0 && confined.active)
		set_capabilities(confined.effective | (inspection & confined.permitted),
			confined.permitted);
	errno = saved;
}

void inspect_end(void)
{
	int saved = errno;

	if (--confined.inspections == 0 && confined.active)
		set_capabilities(confined.effective, confined.permitted);
	errno = saved;
}

bool inspect_confine(uint64_t effective)
{
	confined.effective = effective;
	confined.permitted = effective | (inspection & permitted());
	confined.active = set_capabilities(confined.effective, confined.permitted);
	return confined.active;
}

void inspect_raise_permitted(void)
{
	uint64_t all = permitted();

	set_capabilities(all, all);
}
