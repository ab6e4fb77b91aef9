/*
 * locktable: the locks of all processes, as /proc/locks shows them to everyone, proc(5).
 *
 * The table names a file by the device of its superblock and its inode number. It also contains the
 * open file description locks of processes in other PID namespaces.
 */
#ifndef LOCKTABLE_H
#define LOCKTABLE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether a process holds a shared open file description lock on this file that begins at the byte
 * `first`, and ends at a later byte other than `excluded_end`. A lock up to the end of the file
 * does not count. dev is in the kernel's own encoding.
 *
 * Also true if this process is out of descriptors or memory. False if there is no /proc, if this
 * process may not read the table, or if the lock is beyond the first 256 KiB of the table.
 * Async-signal-safe; leaves errno alone.
 */
bool locktable_has_shared_lock(uint32_t dev, uint64_t ino, uint64_t first, uint64_t excluded_end);

#endif
