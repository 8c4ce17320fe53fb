/*
 * Method zstd without a network: N encode and N decode threads in one process, joined in pairs
 * by memory pipes. What is left out is all that a migration adds to its codec.
 *
 *	zstd_pipeline IMAGE CHANNELS LEVEL OUTFILE
 */
#include <pthread.h>

#include <zstd.h>

#include "image.h"

#define PIPE_DEPTH 8u
/* QEMU's bound of a payload: twice the pages */
#define PACKET_ROOM (2 * RUN_SIZE)

struct packet {
	uint64_t offsets[RUN_PAGES];
	unsigned normal_pages;
	unsigned zero_pages;
	size_t size;
	uint8_t *bytes;
};

/* A bounded queue from one encoder to one decoder; packets are filled and read in place. */
struct pipe {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned written;
	unsigned read;
	bool ended;
	struct packet packets[PIPE_DEPTH];
};

struct channel {
	struct pipe pipe;
	pthread_t encoder;
	pthread_t decoder;
	double encode_cpu;
	double decode_cpu;
	uint64_t pages;
	uint64_t bytes;
};

static struct channel channels[MAX_CHANNELS];
static struct image image;
static int target;
static int level;

/* The packet to fill next; waits while the pipe is full. */
static struct packet *begin_write(struct pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	while (pipe->written - pipe->read == PIPE_DEPTH)
		pthread_cond_wait(&pipe->changed, &pipe->lock);
	pthread_mutex_unlock(&pipe->lock);
	return &pipe->packets[pipe->written % PIPE_DEPTH];
}

static void end_write(struct pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->written++;
	pthread_cond_signal(&pipe->changed);
	pthread_mutex_unlock(&pipe->lock);
}

static void end_pipe(struct pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->ended = true;
	pthread_cond_signal(&pipe->changed);
	pthread_mutex_unlock(&pipe->lock);
}

/* The packet to read next; waits while the pipe is empty; NULL at its end. */
static struct packet *begin_read(struct pipe *pipe)
{
	bool is_empty;

	pthread_mutex_lock(&pipe->lock);
	while (pipe->written == pipe->read && !pipe->ended)
		pthread_cond_wait(&pipe->changed, &pipe->lock);
	is_empty = pipe->written == pipe->read;
	pthread_mutex_unlock(&pipe->lock);
	return is_empty ? NULL : &pipe->packets[pipe->read % PIPE_DEPTH];
}

static void end_read(struct pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->read++;
	pthread_cond_signal(&pipe->changed);
	pthread_mutex_unlock(&pipe->lock);
}

static size_t checked(size_t result)
{
	if (ZSTD_isError(result))
		errx(1, "zstd: %s", ZSTD_getErrorName(result));
	return result;
}

/* Moves normal pages to the front of the run; their offsets first, then the zero pages'. */
static void sort_pages(struct packet *packet, uint64_t offset, uint8_t *pages, size_t length)
{
	unsigned count = length / PAGE_SIZE;
	unsigned normal = 0, zero = 0;

	for (unsigned i = 0; i < count; i++) {
		uint8_t *page = pages + (size_t)i * PAGE_SIZE;

		if (is_zero_page(page)) {
			packet->offsets[count - ++zero] = offset + (uint64_t)i * PAGE_SIZE;
			continue;
		}
		if (normal != i)
			memcpy(pages + (size_t)normal * PAGE_SIZE, page, PAGE_SIZE);
		packet->offsets[normal++] = offset + (uint64_t)i * PAGE_SIZE;
	}
	packet->normal_pages = normal;
	packet->zero_pages = zero;
}

static void *encode(void *argument)
{
	struct channel *channel = argument;
	uint8_t *pages = allocate(RUN_SIZE);
	ZSTD_CCtx *encoder = ZSTD_createCCtx();
	uint64_t offset;
	size_t length;

	checked(ZSTD_CCtx_setParameter(encoder, ZSTD_c_compressionLevel, level));
	while ((length = take_run(&image, &offset, pages)) > 0) {
		struct packet *packet = begin_write(&channel->pipe);

		sort_pages(packet, offset, pages, length);
		packet->size = 0;
		if (packet->normal_pages > 0)
			packet->size = checked(ZSTD_compress2(
				encoder, packet->bytes, PACKET_ROOM, pages,
				(size_t)packet->normal_pages * PAGE_SIZE));
		end_write(&channel->pipe);
	}
	end_pipe(&channel->pipe);
	ZSTD_freeCCtx(encoder);
	free(pages);
	channel->encode_cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void *decode(void *argument)
{
	struct channel *channel = argument;
	uint8_t *pages = allocate(RUN_SIZE);
	ZSTD_DCtx *decoder = ZSTD_createDCtx();
	struct packet *packet;

	while ((packet = begin_read(&channel->pipe)) != NULL) {
		size_t length = (size_t)packet->normal_pages * PAGE_SIZE;

		if (length > 0) {
			if (checked(ZSTD_decompressDCtx(decoder, pages, length, packet->bytes,
							packet->size)) != length)
				errx(1, "zstd: a packet is too short");
			write_pages(target, packet->offsets, packet->normal_pages, pages);
		}
		channel->pages += packet->normal_pages + packet->zero_pages;
		channel->bytes += packet->size;
		end_read(&channel->pipe);
	}
	ZSTD_freeDCtx(decoder);
	free(pages);
	channel->decode_cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void open_pipe(struct pipe *pipe)
{
	pthread_mutex_init(&pipe->lock, NULL);
	pthread_cond_init(&pipe->changed, NULL);
	for (unsigned i = 0; i < PIPE_DEPTH; i++)
		pipe->packets[i].bytes = allocate(PACKET_ROOM);
}

int main(int argc, char **argv)
{
	unsigned count;
	uint64_t pages = 0, bytes = 0;
	double encode_cpu = 0, decode_cpu = 0;
	double started, ended;

	if (argc != 5)
		errx(2, "usage: zstd_pipeline IMAGE CHANNELS LEVEL OUTFILE");
	open_image(&image, argv[1]);
	count = parse_channels(argv[2]);
	level = atoi(argv[3]);
	target = make_target(argv[4], image.size);
	for (unsigned i = 0; i < count; i++)
		open_pipe(&channels[i].pipe);
	started = seconds(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < count; i++) {
		if (pthread_create(&channels[i].encoder, NULL, encode, &channels[i]) != 0 ||
		    pthread_create(&channels[i].decoder, NULL, decode, &channels[i]) != 0)
			errx(1, "cannot start a thread");
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(channels[i].encoder, NULL);
		pthread_join(channels[i].decoder, NULL);
		pages += channels[i].pages;
		bytes += channels[i].bytes;
		encode_cpu += channels[i].encode_cpu;
		decode_cpu += channels[i].decode_cpu;
	}
	ended = seconds(CLOCK_MONOTONIC);
	if (pages != image.size / PAGE_SIZE)
		errx(1, "%llu pages of %llu", (unsigned long long)pages,
		     (unsigned long long)(image.size / PAGE_SIZE));
	printf("{\"total-time\":%.3f,\"send-cpu-seconds\":%.6f,\"receive-cpu-seconds\":%.6f,"
	       "\"ram\":{\"total\":%llu,\"multifd-bytes\":%llu}}\n",
	       (ended - started) * 1000, encode_cpu, decode_cpu, (unsigned long long)image.size,
	       (unsigned long long)bytes);
	return 0;
}
