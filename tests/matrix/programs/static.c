/* A statically linked server. It removes the path, listens on it, and removes it at its end. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char *path;

static void end(int number)
{
	(void)number;
	unlink(path);
	_exit(0);
}

static void answer(int client)
{
	const char *name = getenv("INSTANCE");
	char request[4096];

	if (!name)
		name = "";
	if (read(client, request, sizeof(request)) > 0)
		dprintf(client, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(name),
			name);
	close(client);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 2)
		return 2;
	path = argv[1];
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	signal(SIGPIPE, SIG_IGN);
	unlink(path);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(listener, 16) != 0) {
		perror(path);
		return 1;
	}
	chmod(path, 0666);
	signal(SIGTERM, end);
	for (;;) {
		int client = accept(listener, NULL, NULL);

		if (client >= 0)
			answer(client);
	}
}
