#include "unguarded.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "target.h"

/*
 * Indexed by PID. A process whose PID has the same index replaces the entry. So a process may be
 * reported twice, but each is reported at least once.
 */
enum { ENTRIES = 1024 };

static _Atomic uint64_t *reported;

bool unguarded_init(void)
{
	reported = mmap(NULL, ENTRIES * sizeof(*reported), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return reported != MAP_FAILED;
}

/* Never 0. A later process with the same PID has another start time. */
static uint64_t identify(pid_t tid, _Atomic uint64_t **entry)
{
	uint64_t started;
	pid_t process = target_find_process(tid, &started);

	*entry = &reported[process % ENTRIES];
	return (uint64_t)process << 32 | (uint32_t)started;
}

bool unguarded_is_reported(pid_t tid)
{
	_Atomic uint64_t *entry;
	uint64_t identity = identify(tid, &entry);

	return atomic_load(entry) == identity;
}

bool unguarded_record(pid_t tid)
{
	_Atomic uint64_t *entry;
	uint64_t identity = identify(tid, &entry);

	return atomic_exchange(entry, identity) != identity;
}
