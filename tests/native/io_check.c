/* What io.h promises of its sockets, tried under the sanitizers. */
#include "../../native-shim/io.h"
#include "check.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#define STREAM 20000u
#define ROUNDS 40u
#define TOO_MUCH (64u * 1024u * 1024u + 1)

static uint8_t stream[STREAM];

struct pair {
	int reader;
	int writer;
};

static struct pair open_pair(void)
{
	int fds[2];

	check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair: %d", errno);
	return (struct pair){ fds[0], fds[1] };
}

static void write_stream(int fd, uint32_t from, uint32_t size)
{
	check(net_send(fd, stream + from, size, NULL, 0) == 0, "net_send");
}

/* Reads once and checks every byte; both buffers are exactly as long as they say. */
static int32_t receive(int fd, uint32_t at, uint32_t size, uint32_t room)
{
	struct buffer into = take(size);
	struct buffer ahead = take(room);
	int32_t got = net_recv(fd, into.bytes, size, ahead.bytes, room);
	uint32_t read;

	check(got >= 0 && (uint32_t)got <= size + room, "%u and %u: %d", size, room, got);
	read = (uint32_t)got < size ? (uint32_t)got : size;
	check(memcmp(into.bytes, stream + at, read) == 0, "bytes from %u", at);
	check(memcmp(ahead.bytes, stream + at + read, (uint32_t)got - read) == 0, "ahead of %u", at);
	give(into);
	give(ahead);
	return got;
}

/* Everything is there already, and the end is behind it. */
static void all_there(void)
{
	static const uint32_t sizes[] = { 0, 1, 63, 64, 65, 1344, 5000 };
	static const uint32_t rooms[] = { 0, 1, 100, 1344 };
	const uint32_t there = 64;

	doing = "net_recv() of what is there";
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (uint32_t j = 0; j < sizeof(rooms) / sizeof(rooms[0]); j++) {
			struct pair pair = open_pair();
			uint32_t most = sizes[i] + rooms[j];
			/* without a byte to wait for, nothing is read */
			uint32_t expected = sizes[i] == 0 ? 0 : most < there ? most : there;
			int32_t got;

			write_stream(pair.writer, 0, there);
			close(pair.writer);
			got = receive(pair.reader, 0, sizes[i], rooms[j]);
			check((uint32_t)got == expected, "%u and %u: %d", sizes[i], rooms[j], got);
			if (expected == there)
				check(receive(pair.reader, 0, 1, rooms[j]) == 0, "the end");
			close(pair.reader);
		}
	}
}

static void on_alarm(int number)
{
	(void)number;
}

/* Pieces come one after another while signals interrupt the reader. */
static void piece_by_piece(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };

	doing = "net_recv() of pieces that come late";
	check(sigaction(SIGALRM, &action, NULL) == 0, "sigaction: %d", errno);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct pair pair = open_pair();
		uint32_t piece = 100 + below(8000);
		uint32_t at = 0;
		pid_t writer = fork();

		check(writer >= 0, "fork: %d", errno);
		if (writer == 0) {
			for (uint32_t from = 0; from < STREAM; from += piece) {
				write_stream(pair.writer, from, from + piece < STREAM ? piece : STREAM - from);
				usleep(below(500));
			}
			_exit(0);
		}
		close(pair.writer);
		setitimer(ITIMER_REAL, &often, NULL);
		while (at < STREAM) {
			uint32_t size = 1 + below(6000);
			int32_t got = receive(pair.reader, at, size, below(2) * below(1345));

			check((uint32_t)got >= size || at + (uint32_t)got == STREAM, "%d of %u", got, size);
			at += (uint32_t)got;
		}
		setitimer(ITIMER_REAL, &never, NULL);
		check(receive(pair.reader, 0, 10, 10) == 0, "the end");
		close(pair.reader);
		check(waitpid(writer, NULL, 0) == writer, "waitpid: %d", errno);
	}
}

/* The rest of what is asked for comes late, nothing comes behind it, and the end does not come. */
static void no_more_than_asked(void)
{
	struct pair pair = open_pair();
	pid_t writer;
	uint8_t byte;

	doing = "net_recv() with room ahead that is never filled";
	write_stream(pair.writer, 0, 30);
	writer = fork();
	check(writer >= 0, "fork: %d", errno);
	if (writer == 0) {
		close(pair.reader);
		usleep(20000);
		write_stream(pair.writer, 30, 34);
		_exit(read(pair.writer, &byte, 1) == 0 ? 0 : 1);
	}
	/* ends the check if it waits for more */
	alarm(10);
	check(receive(pair.reader, 0, 64, 100) == 64, "64 bytes");
	alarm(0);
	close(pair.reader);
	check(waitpid(writer, NULL, 0) == writer, "waitpid: %d", errno);
	close(pair.writer);
}

/* Who has something to receive or room to send; who has ended is ready for both. */
static void polled(void)
{
	struct pair pairs[3] = { open_pair(), open_pair(), open_pair() };
	int32_t fds[3] = { pairs[0].reader, pairs[1].reader, pairs[2].reader };
	struct buffer ready = take(3);

	doing = "net_poll()";
	check(net_poll(fds, 3, 0, 0, ready.bytes) == 0, "nothing there");
	check(memcmp(ready.bytes, "\0\0\0", 3) == 0, "nobody ready");
	write_stream(pairs[1].writer, 0, 1);
	close(pairs[2].writer);
	check(net_poll(fds, 3, 0, 1, ready.bytes) == 2, "two to receive");
	check(memcmp(ready.bytes, "\0\1\1", 3) == 0, "the second and the third");
	while (net_send_some(fds[0], stream, STREAM) > 0)
		;
	check(net_poll(fds, 3, 1, 1, ready.bytes) == 2, "two to send");
	check(memcmp(ready.bytes, "\0\1\1", 3) == 0, "the first is full");
	check(net_poll(fds, 0, 0, 0, ready.bytes) == 0, "nobody");
	check(net_poll(fds, 257, 0, 0, ready.bytes) == -EINVAL, "too many");
	give(ready);
	for (uint32_t i = 0; i < 3; i++) {
		close(pairs[i].reader);
		if (i < 2)
			close(pairs[i].writer);
	}
}

/* A unix listener whose queue is full is waited for, while signals interrupt, until the timeout. */
static void full_queue(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int32_t first, second;
	pid_t acceptor;

	doing = "a listener's queue that is full";
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/multifd-io-check-%d", getpid());
	check(listener >= 0, "socket: %d", errno);
	check(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0, "bind: %d",
	      errno);
	/* one may wait */
	check(listen(listener, 0) == 0, "listen: %d", errno);
	first = net_connect(address.sun_path, -1, 1000);
	check(first >= 0, "the first: %d", first);
	setitimer(ITIMER_REAL, &often, NULL);
	second = net_connect(address.sun_path, -1, 50);
	setitimer(ITIMER_REAL, &never, NULL);
	check(second == -ETIMEDOUT, "the second: %d", second);
	check(net_connect_begin(address.sun_path, -1) == -EAGAIN, "the second, not blocking");
	acceptor = fork();
	check(acceptor >= 0, "fork: %d", errno);
	if (acceptor == 0) {
		usleep(30000);
		_exit(accept(listener, NULL, NULL) < 0);
	}
	second = net_connect(address.sun_path, -1, 10000);
	check(second >= 0, "the second, later: %d", second);
	check(waitpid(acceptor, NULL, 0) == acceptor, "waitpid: %d", errno);
	unlink(address.sun_path);
	close(first);
	close(second);
	close(listener);
}

/* Connections that are begun, and stand, are refused, or do neither as long as there is no room. */
static void begun(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int32_t fds[3], port;
	uint8_t byte = 7;

	doing = "net_connect_begin() and net_connect_end()";
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(bind(listener, (const struct sockaddr *)&address, length) == 0, "bind: %d", errno);
	port = net_port(listener);
	fds[0] = net_connect_begin("127.0.0.1", port);
	check(fds[0] >= 0, "refused later: %d", fds[0]);
	check(net_connect_end(fds[0]) == -ECONNREFUSED, "refused");
	close(fds[0]);
	/* one may wait, and the kernel keeps silent to those behind */
	check(listen(listener, 0) == 0, "listen: %d", errno);
	for (uint32_t i = 0; i < 3; i++) {
		fds[i] = net_connect_begin("127.0.0.1", port);
		check(fds[i] >= 0, "begin: %d", fds[i]);
	}
	check(net_connect_end(fds[0]) == 0, "stands");
	check((fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0, "blocks now");
	check(net_send(fds[0], &byte, 1, NULL, 0) == 0, "is used");
	check(net_connect_end(fds[2]) == -EAGAIN, "no room");
	check(net_connect_begin("localhost", port) == -EHOSTUNREACH, "a name");
	for (uint32_t i = 0; i < 3; i++)
		close(fds[i]);
	close(listener);
}

/* Runs thread_begin() in a process of its own; the policy behind it. */
static int policy_after(int policy)
{
	const struct sched_param none = { 0 };
	int status;
	pid_t child = fork();

	check(child >= 0, "fork: %d", errno);
	if (child == 0) {
		if (sched_setscheduler(0, policy, &none) < 0 || thread_begin() != gettid())
			_exit(255);
		_exit(sched_getscheduler(0));
	}
	check(waitpid(child, &status, 0) == child && WIFEXITED(status), "waitpid: %d", errno);
	return WEXITSTATUS(status);
}

static void policies(void)
{
	doing = "thread_begin()";
	check(policy_after(SCHED_OTHER) == SCHED_BATCH, "it does not push others aside");
	check(policy_after(SCHED_IDLE) == SCHED_IDLE, "what somebody chose stays");
}

static void bad_calls(void)
{
	struct pair pair = open_pair();
	uint8_t byte = 0;

	doing = "net_recv() where it cannot";
	check(net_recv(-1, &byte, 1, &byte, 0) == -EBADF, "no socket");
	check(net_recv(pair.reader, &byte, TOO_MUCH, &byte, 0) == -EINVAL, "too much");
	check(net_recv(pair.reader, &byte, 1, &byte, TOO_MUCH) == -EINVAL, "too much ahead");
	/* who closes with bytes unread resets the connection */
	write_stream(pair.reader, 0, 1);
	close(pair.writer);
	check(net_recv(pair.reader, &byte, 1, &byte, 0) == -ECONNRESET, "reset");
	close(pair.reader);
}

int main(void)
{
	for (uint32_t i = 0; i < STREAM; i++)
		stream[i] = (uint8_t)below(256);
	all_there();
	no_more_than_asked();
	piece_by_piece();
	polled();
	full_queue();
	begun();
	policies();
	bad_calls();
	printf("%lu checks\n", checks);
	return 0;
}
