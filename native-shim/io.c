/* Sockets, blocking, every failure a value. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 512
/*
 * What a socket to this machine may hold unsent: there is no way to fill, and what stays in
 * the cache between two copies costs a tenth to a quarter less CPU time than the kernel's own
 * megabytes (C, method none; docs/benchmarks.md).
 */
#define LOCAL_SEND_BUFFER (256 * 1024)
/* 512 KiB of the smallest pages */
#define MAX_PAGES 128u
#define MAX_POLLED 256u

uint32_t io_abi(void)
{
	return IO_ABI;
}

void io_error_name(int32_t error, char *text, uint32_t room)
{
	const char *name = strerrorname_np(error);

	if (room > 0)
		snprintf(text, room, "%s", name != NULL ? name : "unknown");
}

int32_t thread_begin(void)
{
	const struct sched_param none = { 0 };

	/* both ends of a connection on one machine change places less often */
	if (sched_getscheduler(0) == SCHED_OTHER)
		sched_setscheduler(0, SCHED_BATCH, &none);
	return gettid();
}

int32_t thread_is_alive(int32_t id)
{
	return tgkill(getpid(), id, 0) == 0 || errno != ESRCH;
}

static int32_t fill_unix(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, strlen(path));
	return 0;
}

static int32_t resolve(const char *host, int32_t port, int flags, struct addrinfo **found)
{
	struct addrinfo hints = { .ai_flags = flags, .ai_socktype = SOCK_STREAM };
	char service[12];
	int result;

	snprintf(service, sizeof(service), "%d", port);
	result = getaddrinfo(host, service, &hints, found);
	if (result == 0)
		return 0;
	return result == EAI_SYSTEM ? -errno : -EHOSTUNREACH;
}

/* Closes a socket that did not come to anything; the error stays. */
static int32_t give_up(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	return -error;
}

static int32_t listen_on(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	if (address->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0)
		return give_up(fd);
	return fd;
}

int32_t net_listen(const char *host, int32_t port)
{
	struct addrinfo *found = NULL;
	int32_t result;

	if (port < 0) {
		struct sockaddr_un address;

		result = fill_unix(&address, host);
		if (result < 0)
			return result;
		return listen_on((const struct sockaddr *)&address, sizeof(address));
	}
	result = resolve(host, port, AI_PASSIVE, &found);
	if (result < 0)
		return result;
	result = listen_on(found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return result;
}

int32_t net_port(int32_t fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	if (address.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&address)->sin_port);
	if (address.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
	return -EAFNOSUPPORT;
}

static bool is_local(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 ==
		       IN_LOOPBACKNET;
	if (address->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
	return false;
}

static void set_up_connection(int fd)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int one = 1;
	int buffer = LOCAL_SEND_BUFFER;

	/* fails on a unix socket, which has no delay */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && is_local(&peer))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
}

int32_t net_pair(int32_t *fds)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
}

int32_t net_accept(int32_t fd)
{
	int connection;

	do
		connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	while (connection < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (connection < 0)
		return -errno;
	set_up_connection(connection);
	return connection;
}

static int64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Begins to connect; the socket. */
static int32_t begin_to(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && (connect(fd, address, length) == 0 || errno == EINPROGRESS))
		return fd;
	return give_up(fd);
}

/* Waits until a socket that connects has done so; 0, or errno. */
static int wait_connected(int fd, int32_t timeout_ms)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	int64_t end = milliseconds() + timeout_ms;

	for (;;) {
		int64_t left = timeout_ms > 0 ? end - milliseconds() : -1;
		int found = poll(&ready, 1, timeout_ms > 0 && left < 0 ? 0 : (int)left);

		if (found == 0)
			return ETIMEDOUT;
		if (found > 0)
			return 0;
		if (errno != EINTR)
			return errno;
	}
}

int32_t net_connect_end(int32_t fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	socklen_t size = sizeof(int);
	int error = 0;
	int flags;

	if (poll(&ready, 1, 0) == 0)
		return -EAGAIN;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -errno;
	if (error != 0)
		return -error;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	set_up_connection(fd);
	return 0;
}

static int32_t connect_to(const struct sockaddr *address, socklen_t length, int32_t timeout_ms)
{
	int32_t fd = begin_to(address, length);

	if (fd < 0)
		return fd;
	errno = wait_connected(fd, timeout_ms);
	if (errno == 0)
		errno = -net_connect_end(fd);
	return errno == 0 ? fd : give_up(fd);
}

/* Unlike one of TCP, such a socket does not go on by itself where the listener's queue is full. */
static int32_t connect_unix(const struct sockaddr_un *address, int32_t timeout_ms)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int64_t end = milliseconds() + timeout_ms;

	for (;;) {
		int32_t fd = connect_to((const struct sockaddr *)address, sizeof(*address), timeout_ms);

		if (fd != -EAGAIN)
			return fd;
		if (timeout_ms > 0 && milliseconds() >= end)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
}

int32_t net_connect_begin(const char *host, int32_t port)
{
	struct addrinfo *found = NULL;
	int32_t result;

	if (port < 0) {
		struct sockaddr_un address;

		result = fill_unix(&address, host);
		if (result < 0)
			return result;
		return begin_to((const struct sockaddr *)&address, sizeof(address));
	}
	result = resolve(host, port, AI_NUMERICHOST, &found);
	if (result < 0)
		return result;
	result = begin_to(found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return result;
}

int32_t net_connect(const char *host, int32_t port, int32_t timeout_ms)
{
	struct addrinfo *found = NULL;
	int32_t result;

	if (port < 0) {
		struct sockaddr_un address;

		result = fill_unix(&address, host);
		if (result < 0)
			return result;
		return connect_unix(&address, timeout_ms);
	}
	result = resolve(host, port, 0, &found);
	if (result < 0)
		return result;
	result = -EHOSTUNREACH;
	for (const struct addrinfo *next = found; next != NULL && result < 0; next = next->ai_next)
		result = connect_to(next->ai_addr, next->ai_addrlen, timeout_ms);
	freeaddrinfo(found);
	return result;
}

int32_t net_recv(int32_t fd, uint8_t *into, uint32_t size, uint8_t *ahead, uint32_t room)
{
	uint32_t filled = 0;

	if (size > IO_MAX_SIZE || room > IO_MAX_SIZE)
		return -EINVAL;
	while (filled < size) {
		struct iovec parts[2] = { { into + filled, size - filled }, { ahead, room } };
		struct msghdr message = { .msg_iov = parts, .msg_iovlen = filled == 0 ? 2 : 1 };
		/* what is not there at once is waited for whole, which cannot include what is ahead */
		ssize_t got = recvmsg(fd, &message, filled == 0 ? 0 : MSG_WAITALL);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		filled += (uint32_t)got;
	}
	return (int32_t)filled;
}

int32_t net_recv_some(int32_t fd, uint8_t *into, uint32_t size)
{
	ssize_t got;
	int one = 1;

	if (size > IO_MAX_SIZE)
		return -EINVAL;
	/* QEMU keeps Nagle on its main channel: a late acknowledgement is guest's downtime */
	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
	do
		got = recv(fd, into, size, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (int32_t)got;
}

int32_t net_poll(const int32_t *fds, uint32_t count, uint32_t for_sending, uint32_t waits,
		 uint8_t *ready)
{
	struct pollfd polled[MAX_POLLED];
	int found;

	if (count > MAX_POLLED)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++)
		polled[i] = (struct pollfd){ .fd = fds[i], .events = for_sending ? POLLOUT : POLLIN };
	do
		found = poll(polled, count, waits ? -1 : 0);
	while (found < 0 && errno == EINTR);
	if (found < 0)
		return -errno;
	for (uint32_t i = 0; i < count; i++)
		ready[i] = polled[i].revents != 0;
	return found;
}

/* Sends all parts; they are used up. */
static int32_t send_parts(int32_t fd, struct iovec *parts, size_t count)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };

	while (message.msg_iovlen > 0) {
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
			sent -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen > 0) {
			message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + sent;
			message.msg_iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

int32_t net_send(int32_t fd, const uint8_t *first, uint32_t first_size, const uint8_t *second,
		 uint32_t second_size)
{
	struct iovec parts[2] = {
		{ (void *)(uintptr_t)first, first_size },
		{ (void *)(uintptr_t)second, second_size },
	};

	if (first_size > IO_MAX_SIZE || second_size > IO_MAX_SIZE)
		return -EINVAL;
	return send_parts(fd, parts, 2);
}

int32_t net_send_some(int32_t fd, const uint8_t *bytes, uint32_t size)
{
	ssize_t sent;

	if (size > IO_MAX_SIZE)
		return -EINVAL;
	do
		sent = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : (int32_t)sent;
}

int32_t net_send_pages(int32_t fd, const uint8_t *header, uint32_t header_size, const uint8_t *pages,
		       const uint32_t *ordinals, uint32_t count, uint32_t page_size)
{
	struct iovec parts[1 + MAX_PAGES];
	size_t used = 1;

	if (count > MAX_PAGES || header_size > IO_MAX_SIZE || page_size > IO_MAX_SIZE / MAX_PAGES)
		return -EINVAL;
	parts[0] = (struct iovec){ (void *)(uintptr_t)header, header_size };
	for (uint32_t i = 0; i < count; i++) {
		if (ordinals[i] >= MAX_PAGES)
			return -EINVAL;
		if (i > 0 && ordinals[i] == ordinals[i - 1] + 1) {
			parts[used - 1].iov_len += page_size;
			continue;
		}
		parts[used].iov_base = (uint8_t *)(uintptr_t)pages + (size_t)ordinals[i] * page_size;
		parts[used].iov_len = page_size;
		used++;
	}
	return send_parts(fd, parts, used);
}

int32_t net_shutdown(int32_t fd, int32_t how)
{
	return shutdown(fd, how == 1 ? SHUT_WR : SHUT_RDWR) < 0 ? -errno : 0;
}

int32_t io_close(int32_t fd)
{
	return close(fd) < 0 ? -errno : 0;
}
