/*
 * supervisors: the populations of a mixed storm, and what happens to their supervisors.
 *
 * A third of the servers has the library preloaded, a third is supervised, and a third is
 * supervised and statically linked. Keepers, watchers and workers are killed and stopped at random,
 * one at a time or all those of a supervisor. If the last of them dies, each guarded call of the
 * population fails with ENOSYS. Then the storm kills all its processes, which must die, and starts
 * the population again under a new supervisor.
 */
#ifndef SUPERVISORS_H
#define SUPERVISORS_H

#include <stdbool.h>
#include <sys/types.h>

enum population { PRELOADED, SUPERVISED, STATIC, POPULATIONS };

/*
 * Now and then kills or stops processes of a supervisor. The subreaper of the supervisors must call
 * it every few milliseconds.
 */
void supervisors_attack(void);

/* Kills a process group, and waits until all of it has ended. Returns false if it does not end. */
bool supervisors_end_group(pid_t group);

/*
 * Waits until all descendants have ended. Those that do not end are supervisors without a
 * supervised process: kills them and returns false.
 */
bool supervisors_await_end(void);

#endif
