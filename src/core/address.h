/*
 * address: copies the path out of a bind(2) address, without trusting the program's pointer.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The size of a buffer for a path of maximum length and a NUL, which sun_path may lack. */
#define ADDRESS_PATH (sizeof(((struct sockaddr_un *)0)->sun_path) + 1)

/*
 * Copies the path that bind(2) would create to path, a buffer of ADDRESS_PATH bytes. Returns false
 * if there is none: the descriptor is not a Unix socket, the address is abstract or unreadable, or
 * the kernel will refuse it. Async-signal-safe; changes errno.
 */
bool address_copy_path(int fd, const struct sockaddr *address, socklen_t length, char *path);

#endif
