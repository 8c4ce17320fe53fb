/*
 * Method none as one would write it in C: a thread per channel, blocking calls.
 *
 *	none recv FILE PORT CHANNELS SIZE	(port 0: any, told on stderr)
 *	none send IMAGE PORT CHANNELS
 *
 * The multifd channels are byte for byte those of `multifd send`, the three syncs included.
 * There is no main channel: SIZE stands for what it would tell.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "image.h"

#define MAGIC 0x11223344u
#define VERSION 1u
#define FLAG_SYNC 1u
#define BLOCK "pc.ram"
/* set-up, the one pass, the end */
#define SYNCS 3u

struct greeting {
	uint32_t magic;
	uint32_t version;
	uint8_t uuid[16];
	uint8_t id;
	uint8_t reserved[39];
};

struct header {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t pages_alloc;
	uint32_t normal_pages;
	uint32_t next_packet_size;
	uint64_t packet_num;
	uint32_t zero_pages;
	uint32_t reserved[7];
	char ramblock[256];
	uint64_t offset[RUN_PAGES];
};

_Static_assert(sizeof(struct greeting) == 64, "a greeting is 64 bytes");
_Static_assert(sizeof(struct header) == 1344, "a header of 4 KiB pages is 1344 bytes");

struct channel {
	pthread_t thread;
	int socket;
	uint8_t id;
	uint64_t pages;
	uint64_t bytes;
};

static struct channel channels[MAX_CHANNELS];
static atomic_uint_fast64_t next_packet_num;
static struct image image;
static int target;
static uint64_t target_size;

static struct sockaddr_in loopback(const char *port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static void set_nodelay(int socket)
{
	int on = 1;

	if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		err(1, "TCP_NODELAY");
}

/* Sends all of it; changes the iovec when the kernel takes a part. */
static void send_all(struct channel *channel, struct iovec *parts, unsigned count)
{
	while (count > 0) {
		struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
		ssize_t sent = sendmsg(channel->socket, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			err(1, "sending");
		channel->bytes += (uint64_t)sent;
		while (count > 0 && (size_t)sent >= parts->iov_len) {
			sent -= (ssize_t)parts->iov_len;
			parts++;
			count--;
		}
		if (count > 0) {
			parts->iov_base = (uint8_t *)parts->iov_base + sent;
			parts->iov_len -= (size_t)sent;
		}
	}
}

static void receive_all(struct channel *channel, void *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t count = recv(channel->socket, (uint8_t *)bytes + at, size - at, MSG_WAITALL);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			err(1, "receiving");
		if (count == 0)
			errx(1, "channel %u: %zu bytes are missing", channel->id, size - at);
		at += (size_t)count;
	}
	channel->bytes += size;
}

static void start_header(struct header *header, uint32_t flags)
{
	memset(header, 0, sizeof(*header));
	header->magic = htobe32(MAGIC);
	header->version = htobe32(VERSION);
	header->flags = htobe32(flags);
	header->pages_alloc = htobe32(RUN_PAGES);
	header->packet_num = htobe64(atomic_fetch_add(&next_packet_num, 1));
}

static void send_sync(struct channel *channel)
{
	struct header header;
	struct iovec part = { &header, sizeof(header) };

	start_header(&header, FLAG_SYNC);
	send_all(channel, &part, 1);
}

static void send_run(struct channel *channel, uint64_t offset, uint8_t *pages, size_t length)
{
	struct header header;
	struct iovec parts[1 + RUN_PAGES] = { { &header, sizeof(header) } };
	unsigned count = length / PAGE_SIZE;
	unsigned normal = 0, zero = 0, last = 0;

	start_header(&header, 0);
	strcpy(header.ramblock, BLOCK);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *page = pages + (size_t)i * PAGE_SIZE;

		if (is_zero_page(page)) {
			header.offset[count - ++zero] = htobe64(offset + (uint64_t)i * PAGE_SIZE);
			continue;
		}
		header.offset[normal++] = htobe64(offset + (uint64_t)i * PAGE_SIZE);
		if (last > 0 && (uint8_t *)parts[last].iov_base + parts[last].iov_len == page)
			parts[last].iov_len += PAGE_SIZE;
		else
			parts[++last] = (struct iovec){ page, PAGE_SIZE };
	}
	header.normal_pages = htobe32(normal);
	header.next_packet_size = htobe32(normal * PAGE_SIZE);
	header.zero_pages = htobe32(zero);
	send_all(channel, parts, 1 + last);
	channel->pages += count;
}

static void *run_sender(void *argument)
{
	struct channel *channel = argument;
	struct greeting greeting = { htobe32(MAGIC), htobe32(VERSION), { 0 }, channel->id, { 0 } };
	struct iovec part = { &greeting, sizeof(greeting) };
	uint8_t *pages = allocate(RUN_SIZE);
	uint64_t offset;
	size_t length;

	send_all(channel, &part, 1);
	send_sync(channel);
	while ((length = take_run(&image, &offset, pages)) > 0)
		send_run(channel, offset, pages, length);
	for (unsigned i = 1; i < SYNCS; i++)
		send_sync(channel);
	close(channel->socket);
	free(pages);
	return NULL;
}

/* Turns the header's numbers to the host's order; nothing in it is believed. */
static void check_header(struct header *header)
{
	uint32_t pages;

	header->flags = be32toh(header->flags);
	header->normal_pages = be32toh(header->normal_pages);
	header->zero_pages = be32toh(header->zero_pages);
	header->next_packet_size = be32toh(header->next_packet_size);
	if (be32toh(header->magic) != MAGIC || be32toh(header->version) != VERSION)
		errx(1, "packet: wrong magic or version");
	if ((header->flags & ~FLAG_SYNC) != 0)
		errx(1, "packet: wrong flags");
	if (be32toh(header->pages_alloc) > RUN_PAGES || header->normal_pages > RUN_PAGES ||
	    header->zero_pages > RUN_PAGES - header->normal_pages)
		errx(1, "packet: too many pages");
	pages = header->normal_pages + header->zero_pages;
	if (pages == 0)
		return;
	if (header->next_packet_size != header->normal_pages * PAGE_SIZE)
		errx(1, "packet: wrong payload size");
	if (memcmp(header->ramblock, BLOCK, sizeof(BLOCK)) != 0)
		errx(1, "packet: unknown RAM block");
	for (uint32_t i = 0; i < pages; i++) {
		header->offset[i] = be64toh(header->offset[i]);
		if (header->offset[i] % PAGE_SIZE != 0 || header->offset[i] >= target_size)
			errx(1, "packet: wrong offset");
	}
}

static void *run_receiver(void *argument)
{
	struct channel *channel = argument;
	uint8_t *pages = allocate(RUN_SIZE);
	struct greeting greeting;
	struct header header;

	receive_all(channel, &greeting, sizeof(greeting));
	if (be32toh(greeting.magic) != MAGIC || be32toh(greeting.version) != VERSION)
		errx(1, "greeting: wrong magic or version");
	for (unsigned syncs = 0; syncs < SYNCS;) {
		receive_all(channel, &header, sizeof(header));
		check_header(&header);
		if (header.normal_pages > 0) {
			receive_all(channel, pages, header.next_packet_size);
			write_pages(target, header.offset, header.normal_pages, pages);
		}
		/* zero pages are zero there already: one pass into a fresh file */
		channel->pages += header.normal_pages + header.zero_pages;
		if ((header.flags & FLAG_SYNC) != 0)
			syncs++;
	}
	free(pages);
	return NULL;
}

static void start(unsigned id, int socket, void *(*run)(void *))
{
	channels[id] = (struct channel){ .socket = socket, .id = (uint8_t)id };
	set_nodelay(socket);
	if (pthread_create(&channels[id].thread, NULL, run, &channels[id]) != 0)
		errx(1, "cannot start a thread");
}

/* Waits for all channels; checks that they moved every page. */
static uint64_t join(unsigned count, uint64_t size)
{
	uint64_t pages = 0, bytes = 0;

	for (unsigned id = 0; id < count; id++) {
		pthread_join(channels[id].thread, NULL);
		pages += channels[id].pages;
		bytes += channels[id].bytes;
	}
	if (pages != size / PAGE_SIZE)
		errx(1, "%llu pages of %llu", (unsigned long long)pages,
		     (unsigned long long)(size / PAGE_SIZE));
	return bytes;
}

static void report(double total, uint64_t size, uint64_t bytes)
{
	struct rusage usage;
	double cpu;

	getrusage(RUSAGE_SELF, &usage);
	cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	printf("{\"total-time\":%.3f,\"cpu-seconds\":%.6f,"
	       "\"ram\":{\"total\":%llu,\"multifd-bytes\":%llu}}\n",
	       total * 1000, cpu, (unsigned long long)size, (unsigned long long)bytes);
}

static void receive(const char *file, const char *port, unsigned count, uint64_t size)
{
	struct sockaddr_in address = loopback(port);
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	double started = 0;
	uint64_t bytes;

	if (size == 0 || size % PAGE_SIZE != 0)
		errx(2, "SIZE is not a whole number of pages");
	target = make_target(file, size);
	target_size = size;
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
	    listen(listener, (int)count) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		err(1, "listening");
	fprintf(stderr, "listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
	for (unsigned id = 0; id < count; id++) {
		int socket = accept(listener, NULL, NULL);

		if (socket < 0)
			err(1, "accept");
		if (id == 0)
			started = seconds(CLOCK_MONOTONIC);
		start(id, socket, run_receiver);
	}
	bytes = join(count, size);
	report(seconds(CLOCK_MONOTONIC) - started, size, bytes);
}

static void send_image(const char *file, const char *port, unsigned count)
{
	struct sockaddr_in address = loopback(port);
	double started = seconds(CLOCK_MONOTONIC);
	uint64_t bytes;

	open_image(&image, file);
	for (unsigned id = 0; id < count; id++) {
		int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connection < 0 ||
		    connect(connection, (struct sockaddr *)&address, sizeof(address)) < 0)
			err(1, "connecting");
		start(id, connection, run_sender);
	}
	bytes = join(count, image.size);
	report(seconds(CLOCK_MONOTONIC) - started, image.size, bytes);
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "recv") == 0)
		receive(argv[2], argv[3], parse_channels(argv[4]), strtoull(argv[5], NULL, 10));
	else if (argc == 5 && strcmp(argv[1], "send") == 0)
		send_image(argv[2], argv[3], parse_channels(argv[4]));
	else
		errx(2, "usage: none recv FILE PORT CHANNELS SIZE | none send IMAGE PORT CHANNELS");
	return 0;
}
