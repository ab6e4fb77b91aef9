/*
 * load: four concurrent clients of a stream server. Each makes a new connection for every request.
 *
 *     load SOCKET REQUEST
 *
 * reads lines that hold a number of requests. For each line, it sends that many requests and prints
 * two numbers of nanoseconds: the total time, and the 99th percentile of the time of a request. The
 * server must close the connection at the end of its answer.
 */
#include <err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"

enum { CLIENTS = 4, MAX_REQUESTS = 1 << 16 };

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static const char *request;
static long long took[MAX_REQUESTS];
static int per_client; /* requests */

static void send_request(void)
{
	char answer[4096];
	ssize_t got, all = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		err(1, "%s", address.sun_path);
	if (write(fd, request, strlen(request)) != (ssize_t)strlen(request))
		err(1, "request");
	while ((got = read(fd, answer, sizeof(answer))) > 0)
		all += got;
	if (got < 0 || all == 0)
		errx(1, "no answer");
	close(fd);
}

static void *run_client(void *argument)
{
	long long *times = argument;

	for (int i = 0; i < per_client; i++) {
		long long began = now();

		send_request();
		times[i] = now() - began;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	long long first = *(const long long *)a;
	long long second = *(const long long *)b;

	return (first > second) - (first < second);
}

static void run(int count)
{
	pthread_t clients[CLIENTS];
	long long began = now();

	per_client = count / CLIENTS;
	for (int i = 0; i < CLIENTS; i++)
		if (pthread_create(&clients[i], NULL, run_client, &took[i * per_client]) != 0)
			errx(1, "no thread");
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	began = now() - began;
	count = per_client * CLIENTS;
	qsort(took, (size_t)count, sizeof(*took), compare);
	printf("%lld %lld\n", began, took[count * 99 / 100]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char count[16];

	if (argc != 3)
		errx(2, "usage: load SOCKET REQUEST");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[1]);
	request = argv[2];
	while (scanf("%15s", count) == 1)
		run(read_count(count, CLIENTS, MAX_REQUESTS));
	return 0;
}
