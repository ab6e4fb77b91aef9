/*
 * address: the path in an address a program gave, without trusting its pointer.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_PATH                                                                               \
	(sizeof(((struct sockaddr_un *)0)->sun_path) + 1) /* with a NUL in any case                \
							   */

/*
 * Copies the path that bind(2) would create, of ADDRESS_PATH bytes at most. Returns false where
 * there is none, since the descriptor is no Unix socket or the address abstract, unreadable or
 * otherwise for libc to refuse. Async-signal-safe; changes errno.
 */
bool address_path(int fd, const struct sockaddr *address, socklen_t length, char *path);

#endif
