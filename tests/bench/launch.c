/*
 * launch: starts a program with a library preloaded, and does nothing else. Its cost is the minimum
 * for any such command.
 *
 *     launch LIBRARY PROGRAM [ARG...]
 */
#include <err.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "usage: launch LIBRARY PROGRAM [ARG...]");
	setenv("LD_PRELOAD", argv[1], 1);
	execv(argv[2], argv + 2);
	err(1, "%s", argv[2]);
}
