/*
 * qpl.c against zlib, in both directions: over the real libqpl its software path, and with
 * CHECK_SIM over the simulated device, which misbehaves in every way it knows.
 */
#include <pthread.h>
#include <time.h>
#include <zlib.h>

#include "../../native-shim/common.h"
#include "../../native-shim/counts.h"
#include "check.h"

#define PACKET (512u * 1024u)
#define WINDOW_BITS 12

static const uint32_t page_sizes[] = { 4096, 8192, 16384, 32768, 65536 };

#define PAGE_SIZES (sizeof(page_sizes) / sizeof(page_sizes[0]))

enum { MIXED = 6 }; /* beside check.h's kinds of pages */
enum { WORDS = 2, NOISE = 3 };

/* A packet: its pages, and what they were compressed to. */
struct packet {
	uint32_t page_size;
	uint32_t count;
	struct buffer pages;
	struct buffer in;
	struct buffer lengths; /* uint32_t each */
};

static uint32_t *lengths_in(const struct packet *packet)
{
	return (uint32_t *)(void *)packet->lengths.bytes;
}

static struct packet make_packet(uint32_t page_size, uint32_t count, uint32_t kind)
{
	struct packet packet = { page_size, count, take(page_size * count), { 0 }, take(count * 4) };
	uint32_t first = below(6);

	for (uint32_t i = 0; i < count; i++)
		fill_page(packet.pages.bytes + (size_t)i * page_size, page_size,
			  kind == MIXED ? (first + i) % 6 : kind);
	return packet;
}

static void give_packet(struct packet packet)
{
	give(packet.pages);
	give(packet.lengths);
	if (packet.in.bytes != NULL)
		give(packet.in);
}

/* One page through zlib; 0 where it does not fit into one byte less. */
static uint32_t zlib_deflate(const uint8_t *page, uint32_t size, uint8_t *out)
{
	static const int strategies[] = { Z_FIXED, Z_DEFAULT_STRATEGY, Z_HUFFMAN_ONLY, Z_RLE };
	z_stream stream = { 0 };
	int result;

	check(deflateInit2(&stream, (int)below(10), Z_DEFLATED, -WINDOW_BITS, 8,
			   strategies[below(4)]) == Z_OK,
	      "zlib");
	stream.next_in = (uint8_t *)(uintptr_t)page;
	stream.avail_in = size;
	stream.next_out = out;
	stream.avail_out = size - 1;
	result = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return result == Z_STREAM_END ? (uint32_t)stream.total_out : 0;
}

static void set_payload(struct packet *packet, const uint8_t *bytes, uint32_t size)
{
	if (packet->in.bytes != NULL)
		give(packet->in);
	packet->in = copy_of(bytes, size);
}

static void deflate_packet(struct packet *packet)
{
	uint8_t *out = malloc(packet->pages.size);
	uint32_t at = 0;

	for (uint32_t i = 0; i < packet->count; i++) {
		const uint8_t *page = packet->pages.bytes + (size_t)i * packet->page_size;
		uint32_t length = zlib_deflate(page, packet->page_size, out + at);

		if (length == 0) {
			length = packet->page_size;
			memcpy(out + at, page, length);
		}
		lengths_in(packet)[i] = length;
		at += length;
	}
	set_payload(packet, out, at);
	free(out);
}

/* Whether a stream is whole, uses its input up, and is exactly this page. */
static bool is_page(const uint8_t *in, uint32_t length, const uint8_t *page, uint32_t size)
{
	static __thread uint8_t out[MAX_PAGE_SIZE];
	z_stream stream = { 0 };
	int result;

	if (length == size)
		return memcmp(in, page, size) == 0;
	if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		return false;
	stream.next_in = (uint8_t *)(uintptr_t)in;
	stream.avail_in = length;
	stream.next_out = out;
	stream.avail_out = size;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	return result == Z_STREAM_END && stream.total_out == size && stream.avail_in == 0 &&
	       memcmp(out, page, size) == 0;
}

/* Encodes into the packet's own memory, exactly as long as its pages; returns the result. */
static int32_t encode(struct codec *codec, struct packet *packet)
{
	struct buffer out = take(packet->pages.size);
	int32_t result = codec_encode(codec, packet->pages.bytes, packet->pages.size, out.bytes,
				      out.size, lengths_in(packet));

	set_payload(packet, out.bytes, result > 0 ? (uint32_t)result : 0);
	give(out);
	return result;
}

/* Pages of an encoded packet that zlib does not take for what they were. */
static uint32_t bad_pages(const struct packet *packet)
{
	const uint32_t *lengths = lengths_in(packet);
	uint32_t size = packet->page_size;
	uint32_t at = 0;
	uint32_t bad = 0;

	for (uint32_t i = 0; i < packet->count; i++) {
		check(lengths[i] >= 1 && lengths[i] <= size && lengths[i] <= packet->in.size - at,
		      "length %u", lengths[i]);
		bad += !is_page(packet->in.bytes + at, lengths[i],
				packet->pages.bytes + (size_t)i * size, size);
		at += lengths[i];
	}
	check(at == packet->in.size, "lengths do not add up");
	return bad;
}

static int32_t decode(struct codec *codec, const struct packet *packet, struct buffer out,
		      struct codec_fault *fault)
{
	return codec_decode(codec, packet->in.bytes, packet->in.size, lengths_in(packet), out.bytes,
			    out.size, fault);
}

/* Decodes a packet that is right; returns how many pages came out otherwise. */
static uint32_t decode_badly(struct codec *codec, const struct packet *packet)
{
	struct buffer out = take(packet->pages.size);
	struct codec_fault fault = { 0 };
	int32_t result = decode(codec, packet, out, &fault);
	uint32_t size = packet->page_size;
	uint32_t bad = 0;

	check(result == (int32_t)out.size, "result %d, page %u, code %d", result, fault.page,
	      fault.code);
	for (uint32_t i = 0; i < packet->count; i++)
		bad += memcmp(out.bytes + (size_t)i * size, packet->pages.bytes + (size_t)i * size,
			      size) != 0;
	give(out);
	return bad;
}

static struct codec *must_open(uint32_t direction, uint32_t page_size, uint32_t flags)
{
	struct codec *codec = codec_open(CODEC_DEFLATE_PAGES, direction, page_size, 1, flags);

	check(codec != NULL, "cannot open: pages of %u, flags %u", page_size, flags);
	return codec;
}

static int64_t stat_of(const struct codec *codec, enum codec_count what)
{
	int64_t counts[CODEC_COUNTS];

	codec_stats(codec, counts);
	return counts[what];
}

static int64_t pages_counted(const struct codec *codec)
{
	return stat_of(codec, CODEC_DEVICE_PAGES) + stat_of(codec, CODEC_SOFTWARE_PAGES) +
	       stat_of(codec, CODEC_RAW_PAGES);
}

/*
 * Everything goes well: through the codec and zlib in both directions, in packets of every kind
 * and of every so many-th page size.
 */
static void round_trips(uint32_t flags, uint32_t step)
{
	static const uint32_t kinds[] = { MIXED, NOISE, WORDS };
	enum codec_count worker =
		(flags & CODEC_DEVICE) != 0 ? CODEC_DEVICE_PAGES : CODEC_SOFTWARE_PAGES;

	doing = "round trips";
	for (uint32_t s = 0; s < PAGE_SIZES * 3; s++) {
		uint32_t size = page_sizes[s / 3];
		uint32_t kind = kinds[s % 3];
		uint32_t counts[] = { PACKET / size, 1, 1 + below(PACKET / size), 2 * PACKET / size };
		struct codec *encoder;
		struct codec *decoder;
		int64_t total = 0;

		if (s / 3 % step != 0)
			continue;
		encoder = must_open(CODEC_ENCODE, size, flags);
		decoder = must_open(CODEC_DECODE, size, flags);
		for (uint32_t i = 0; i < 4; i++) {
			struct packet sent = make_packet(size, counts[i], kind);
			int32_t result = encode(encoder, &sent);

			check(result > 0, "encoding gave %d", result);
			check(bad_pages(&sent) == 0, "pages of %u, kind %u", size, kind);
			check(decode_badly(decoder, &sent) == 0, "its own, pages of %u", size);
			check(kind != NOISE || (uint32_t)result == sent.pages.size, "noise shrank");
			deflate_packet(&sent);
			check(decode_badly(decoder, &sent) == 0, "zlib's, pages of %u", size);
			give_packet(sent);
			total += counts[i];
		}
		check(pages_counted(encoder) == total, "counted while encoding");
		check(pages_counted(decoder) == 2 * total, "counted while decoding");
		check(kind != NOISE || stat_of(encoder, CODEC_RAW_PAGES) == total, "raw");
		check(kind != WORDS || stat_of(encoder, worker) == total, "computed");
		check(stat_of(encoder, CODEC_LAST_STATUS) == 0, "a status");
		check(stat_of(decoder, CODEC_LAST_STATUS) == 0, "a status");
		codec_close(encoder);
		codec_close(decoder);
	}
}

/* From pages that shrink by some bytes to pages that do not: the last that fits is one byte less. */
static void nearly_full(uint32_t flags)
{
	struct codec *codec = must_open(CODEC_ENCODE, 4096, flags);
	struct packet sent = make_packet(4096, 1, NOISE);

	doing = "pages that hardly fit";
	for (uint32_t noise = 4096; noise > 3400; noise--) {
		check(encode(codec, &sent) > 0 && bad_pages(&sent) == 0, "%u bytes of noise", noise);
		sent.pages.bytes[noise - 1] = 0;
	}
	give_packet(sent);
	check(stat_of(codec, CODEC_RAW_PAGES) > 10 && stat_of(codec, CODEC_RAW_PAGES) < 600, "raw");
	check(stat_of(codec, CODEC_LAST_STATUS) == 0, "a status");
	codec_close(codec);
}

static void dense(uint32_t flags)
{
	struct packet sent = make_packet(4096, 16, WORDS);
	struct codec *fast = must_open(CODEC_ENCODE, 4096, flags);
	struct codec *slow = must_open(CODEC_ENCODE, 4096, flags | CODEC_DENSE);

	doing = "dense";
	check(encode(slow, &sent) < encode(fast, &sent), "not denser");
	codec_close(fast);
	codec_close(slow);
	give_packet(sent);
}

/* A page that is no deflate is named, in whichever half of the largest packet. */
static void bad_page(uint32_t flags)
{
	static const uint32_t ordinals[] = { 0, 1, 127, 128, 200, 240 };

	doing = "a bad page";
	for (uint32_t i = 0; i < sizeof(ordinals) / sizeof(ordinals[0]); i++) {
		struct packet sent = make_packet(4096, 256, WORDS);
		struct codec *codec = must_open(CODEC_DECODE, 4096, flags);
		struct buffer out = take(sent.pages.size);
		struct codec_fault fault = { 0 };
		uint32_t at = 0;
		uint32_t bad;

		deflate_packet(&sent);
		for (bad = 0; bad < ordinals[i] || lengths_in(&sent)[bad] == 4096; bad++)
			at += lengths_in(&sent)[bad];
		memset(sent.in.bytes + at, 0xff, sent.in.size - at);
		check(decode(codec, &sent, out, &fault) == CODEC_BAD_DATA, "taken");
		check(fault.page == bad && fault.code != 0, "page %u, not %u", fault.page, bad);
		check(stat_of(codec, CODEC_LAST_STATUS) == 0, "counted as the device's");
		codec_close(codec);
		give(out);
		give_packet(sent);
	}
}

static void without_faults(uint32_t flags)
{
	/* how a device is asked matters to the fewest and the most pages of a packet */
	round_trips(flags, (flags & ~CODEC_DEVICE) == 0 || THOROUGH ? 1 : PAGE_SIZES - 1);
	nearly_full(flags);
	if ((flags & CODEC_DENSE) == 0)
		dense(flags);
	bad_page(flags);
}

#ifdef CHECK_SIM
#include <dirent.h>

#include "../../native-shim/sim/device.h"

#ifndef SCHEDULES
#define SCHEDULES 100u
#endif
#ifndef THREADS_ONLY
#define THREADS_ONLY 0
#endif
/* so many schedules have every fault fire */
#define ENOUGH_SCHEDULES 16u
/* how often what else is seeded is done */
#define ROUNDS (THOROUGH ? 20u : 6u)
#define BUSY_PACKETS (THOROUGH ? 20u : 5u)
#define STATUS_NO_QUEUES 503
#define STATUS_BUSY 5

enum { WELL, BUSY, MOST_IN_FLIGHT, IN_FLIGHT, THREADS, SESSIONS, ENCODE = 6, DECODE = 14, STATUSES = 22 };

static int64_t sim_count(uint32_t what)
{
	int64_t counts[SIM_COUNTS];

	sim_counts(counts);
	return counts[what];
}

static void configure(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check(sim_configure(text) == 0, "cannot configure %s", text);
}

static uint32_t threads_of_process(void)
{
	DIR *tasks = opendir("/proc/self/task");
	uint32_t entries = 0;

	check(tasks != NULL, "no /proc");
	while (readdir(tasks) != NULL)
		entries++;
	closedir(tasks);
	return entries;
}

static void nothing_left(void)
{
	check(sim_count(IN_FLIGHT) == 0, "jobs left");
	check(sim_count(SESSIONS) == 0, "sessions left");
	check(sim_count(THREADS) == 0, "threads left");
}

static void configurations(void)
{
	static const char *const bad[] = { "x", "seed", "seed=", "seed=-1", "busy=2", "busy=nan",
					   "depth=0", "threads=0", "threads=65", "status=0.5",
					   "statuses=", "statuses=1,", "seed=1,depth=2", "rate=-1" };

	doing = "sim_configure()";
	for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(sim_configure(bad[i]) < 0, "took %s", bad[i]);
	check(sim_configure("seed=1 depths=3") == -8, "the place");
	check(sim_configure("") == 0, "nothing");
	check(sim_configure("seed=1 depth=16 threads=2 rate=0 busy=0.1 wait=0.1 status=0.1 length=0.1 "
			    "corrupt=0.1 delay=0.1 lost=0.001 statuses=2,-5,217") == 0,
	      "everything");
	configure("seed=1");
	check(codec_device() == 0, "no device");
	nothing_left();
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Jobs in flight are counted where they are: by us and by the device. */
static void in_flight(void)
{
	static const struct {
		uint32_t pages;
		uint32_t depth;
		double rate;
	} cases[] = { { 1, 8, 0.1 },   { 5, 8, 0.1 },  { 8, 8, 0.1 },
		      { 12, 64, 0.1 }, { 128, 16, 1 }, { 128, 16, 1 } };

	doing = "jobs in flight";
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t most = cases[i].pages < cases[i].depth ? cases[i].pages : cases[i].depth;
		uint32_t flags = CODEC_DEVICE | (i % 2 == 0 ? CODEC_WAIT : 0);
		struct packet sent = make_packet(4096, cases[i].pages, WORDS);

		for (uint32_t direction = CODEC_ENCODE; direction <= CODEC_DECODE; direction++) {
			struct codec *codec = must_open(direction, 4096, flags);
			double start = seconds();

			configure("seed=1 depth=%u rate=%g", cases[i].depth, cases[i].rate);
			if (direction == CODEC_ENCODE)
				check(encode(codec, &sent) > 0 && bad_pages(&sent) == 0, "encode");
			else
				check(decode_badly(codec, &sent) == 0, "decode");
			check(sim_count(MOST_IN_FLIGHT) == most, "device: %ld, not %u",
			      (long)sim_count(MOST_IN_FLIGHT), most);
			check(stat_of(codec, CODEC_IN_FLIGHT) == most, "codec: %ld, not %u",
			      (long)stat_of(codec, CODEC_IN_FLIGHT), most);
			check(stat_of(codec, CODEC_BUSY) == sim_count(BUSY), "busy");
			check((flags & CODEC_WAIT) == 0 ||
				      (stat_of(codec, CODEC_DEVICE_PAGES) == cases[i].pages &&
				       seconds() - start > cases[i].pages * 4096 / cases[i].rate / 1.05e6),
			      "software stepped in, or the rate is another");
			check(pages_counted(codec) == cases[i].pages, "pages");
			codec_close(codec);
		}
		give_packet(sent);
	}
	nothing_left();
}

static int64_t failures_of(const struct codec *codec, int32_t status)
{
	int64_t counts[CODEC_COUNTS];

	codec_stats(codec, counts);
	for (uint32_t i = CODEC_FAILURES; i < CODEC_COUNTS && counts[i] != 0; i += 2) {
		if (counts[i] == status)
			return counts[i + 1];
	}
	return 0;
}

static int64_t all_failures(const struct codec *codec)
{
	int64_t counts[CODEC_COUNTS];
	int64_t sum = 0;

	codec_stats(codec, counts);
	for (uint32_t i = CODEC_FAILURES; i < CODEC_COUNTS; i += 2)
		sum += counts[i + 1];
	return sum;
}

/* Our failures are the device's statuses, and wrong lengths. */
static void same_statuses(const struct codec *codec, const struct codec *other)
{
	int64_t theirs[SIM_COUNTS];
	int64_t left = all_failures(codec) - failures_of(codec, STATUS_WRONG_LENGTH) +
		       (other == NULL ? 0 : all_failures(other));

	sim_counts(theirs);
	for (uint32_t i = STATUSES; i < SIM_COUNTS && theirs[i] != 0; i += 2) {
		int32_t status = (int32_t)theirs[i];
		int64_t ours = failures_of(codec, status) +
			       (other == NULL ? 0 : failures_of(other, status));

		check(ours == theirs[i + 1], "status %d: %ld, not %ld", status, (long)ours,
		      (long)theirs[i + 1]);
		left -= ours;
	}
	check(left == 0, "%ld statuses that the device did not give", (long)left);
}

/* A schedule with faults of some kinds; what it says of corruption and loss is up to the caller. */
static void random_schedule(uint32_t seed, bool corrupts, bool loses)
{
	static const char *const shares[] = { "0", "0.02", "0.2" };
	/* what libqpl may say; all of them are more than there is room to count */
	static const char *const statuses[] = {
		"201,202,203,204,205,206,207,208,209,210,211,212,213,214,215,216,217,218,219,235,236",
		"2,5,8,217,219,235,236,303,333,334,335,336,431,500,503",
	};

	configure("seed=%u depth=%u threads=%u busy=%s wait=%s status=%s length=%s corrupt=%s "
		  "delay=%s lost=%s statuses=%s",
		  seed, 1 + below(64), 1 + below(4), shares[below(3)], shares[below(3)],
		  shares[below(3)], shares[below(3)], corrupts ? shares[below(3)] : "0",
		  below(4) == 0 ? "0.02" : "0", loses ? "0.005" : "0", statuses[below(2)]);
}

static int64_t fired[2][SIM_FAULTS];

static void encode_schedule(uint32_t seed)
{
	uint32_t size = page_sizes[below(3)];
	uint32_t flags = CODEC_DEVICE | below(2) * CODEC_WAIT | below(2) * CODEC_DENSE;
	struct codec *codec = must_open(CODEC_ENCODE, size, flags);
	bool corrupts = below(2) == 0;
	int64_t bad = 0;
	int64_t total = 0;
	int64_t unseen;

	random_schedule(seed, corrupts, below(4) == 0);
	for (uint32_t i = 0; i < 3; i++) {
		struct packet sent = make_packet(size, 1 + below(PACKET / size), MIXED);
		int32_t result = encode(codec, &sent);

		check(result > 0, "encoding gave %d", result);
		bad += bad_pages(&sent);
		total += sent.count;
		give_packet(sent);
	}
	/* one byte more or less than there is: to be seen only by decoding */
	unseen = sim_count(ENCODE + SIM_WRONG_LENGTH) - failures_of(codec, STATUS_WRONG_LENGTH);
	check(unseen >= 0 && bad >= unseen, "%ld bad, %ld lengths unseen", (long)bad, (long)unseen);
	check(bad <= unseen + sim_count(ENCODE + SIM_CORRUPT), "%ld bad pages", (long)bad);
	check(stat_of(codec, CODEC_DEVICE_PAGES) == sim_count(WELL) + unseen, "pages by the device");
	check(stat_of(codec, CODEC_BUSY) == sim_count(BUSY), "busy: %ld, not %ld",
	      (long)stat_of(codec, CODEC_BUSY), (long)sim_count(BUSY));
	check(stat_of(codec, CODEC_IN_FLIGHT) <= sim_count(MOST_IN_FLIGHT), "in flight");
	check(pages_counted(codec) == total, "pages");
	check(sim_count(IN_FLIGHT) == 0, "jobs in flight after the call");
	same_statuses(codec, NULL);
	for (uint32_t i = 0; i < SIM_FAULTS; i++)
		fired[0][i] += sim_count(ENCODE + i);
	codec_close(codec);
}

static void decode_schedule(uint32_t seed)
{
	uint32_t size = page_sizes[below(3)];
	uint32_t flags = CODEC_DEVICE | below(2) * CODEC_WAIT;
	struct codec *codec = must_open(CODEC_DECODE, size, flags);
	bool corrupts = below(2) == 0;
	int64_t bad = 0;
	int64_t total = 0;

	random_schedule(seed, corrupts, below(4) == 0);
	for (uint32_t i = 0; i < 3; i++) {
		struct packet sent = make_packet(size, 1 + below(PACKET / size), MIXED);

		deflate_packet(&sent);
		bad += decode_badly(codec, &sent);
		total += sent.count;
		give_packet(sent);
	}
	check(bad == sim_count(DECODE + SIM_CORRUPT), "%ld bad pages", (long)bad);
	check(failures_of(codec, STATUS_WRONG_LENGTH) == sim_count(DECODE + SIM_WRONG_LENGTH),
	      "wrong lengths");
	check(stat_of(codec, CODEC_DEVICE_PAGES) == sim_count(WELL), "pages by the device");
	check(stat_of(codec, CODEC_BUSY) == sim_count(BUSY), "busy: %ld, not %ld",
	      (long)stat_of(codec, CODEC_BUSY), (long)sim_count(BUSY));
	check(stat_of(codec, CODEC_IN_FLIGHT) <= sim_count(MOST_IN_FLIGHT), "in flight");
	check(pages_counted(codec) == total, "pages");
	check(sim_count(IN_FLIGHT) == 0, "jobs in flight after the call");
	same_statuses(codec, NULL);
	for (uint32_t i = 0; i < SIM_FAULTS; i++)
		fired[1][i] += sim_count(DECODE + i);
	codec_close(codec);
}

static void schedules(uint32_t count)
{
	uint32_t threads = threads_of_process();

	doing = "schedules of faults";
	for (uint32_t seed = 1; seed <= count; seed++) {
		encode_schedule(seed);
		nothing_left();
		decode_schedule(seed);
		nothing_left();
		/* who is joined may still be listed */
		for (uint32_t i = 0; i < 1000 && threads_of_process() != threads; i++)
			usleep(1000);
		check(threads_of_process() == threads, "threads left");
	}
	for (uint32_t i = SIM_NONE + 1; i < SIM_FAULTS && count >= ENOUGH_SCHEDULES; i++)
		check(fired[0][i] > 0 && fired[1][i] > 0, "fault %u never fired", i);
}

/* The same schedule gives the same bytes and faults, whatever the threads of the device do. */
static void repeated_schedules(void)
{
	doing = "the same schedule twice";
	for (uint32_t seed = 1; seed <= ROUNDS; seed++) {
		struct packet sent = make_packet(4096, 128, MIXED);
		int64_t counts[2][SIM_COUNTS];
		struct buffer in = { 0 };

		for (uint32_t turn = 0; turn < 2; turn++) {
			struct codec *codec = must_open(CODEC_ENCODE, 4096, CODEC_DEVICE);

			configure("seed=%u depth=128 threads=%u busy=0.1 wait=0.1 status=0.1 "
				  "length=0.1 corrupt=0.1 statuses=2,8,303",
				  seed, turn * 3 + 1);
			check(encode(codec, &sent) > 0, "encode");
			sim_counts(counts[turn]);
			if (turn == 0)
				in = copy_of(sent.in.bytes, sent.in.size);
			codec_close(codec);
		}
		check(in.size == sent.in.size && memcmp(in.bytes, sent.in.bytes, in.size) == 0,
		      "other bytes");
		for (uint32_t i = 0; i < STATUSES; i++)
			check(counts[0][i] == counts[1][i] || i == MOST_IN_FLIGHT || i == THREADS,
			      "count %u", i);
		give(in);
		give_packet(sent);
	}
}

/* Without fallback the device does every page, however busy it is, or the call fails. */
static void no_fallback(void)
{
	const uint32_t flags = CODEC_DEVICE | CODEC_NO_FALLBACK;

	doing = "no fallback";
	for (uint32_t seed = 1; seed <= ROUNDS; seed++) {
		struct packet sent = make_packet(4096, 128, MIXED);
		struct codec *encoder = must_open(CODEC_ENCODE, 4096, flags);
		struct codec *decoder = must_open(CODEC_DECODE, 4096, flags);

		configure("seed=%u depth=8 busy=0.2 wait=0.2", seed);
		check(encode(encoder, &sent) > 0 && bad_pages(&sent) == 0, "encode");
		check(decode_badly(decoder, &sent) == 0, "decode");
		check(stat_of(encoder, CODEC_SOFTWARE_PAGES) == 0, "software");
		check(stat_of(decoder, CODEC_SOFTWARE_PAGES) == 0, "software");
		check(stat_of(encoder, CODEC_BUSY) + stat_of(decoder, CODEC_BUSY) == sim_count(BUSY),
		      "busy");
		same_statuses(encoder, decoder);

		configure("seed=%u depth=64 status=0.1 statuses=303,8", seed);
		check(encode(encoder, &sent) == CODEC_DEVICE_FAILED, "a status, encoding");
		check(sim_count(IN_FLIGHT) == 0, "jobs in flight after a failure");
		check(stat_of(encoder, CODEC_LAST_STATUS) == 303 ||
			      stat_of(encoder, CODEC_LAST_STATUS) == 8,
		      "the status");
		deflate_packet(&sent);
		configure("seed=%u depth=64 lost=0.1", seed);
		for (uint32_t i = 0; i < 2; i++) {
			struct buffer out = take(sent.pages.size);
			struct codec_fault fault;

			check(decode(decoder, &sent, out, &fault) == CODEC_DEVICE_FAILED, "lost");
			check(sim_count(IN_FLIGHT) == 0, "jobs in flight after a failure");
			check(stat_of(decoder, CODEC_LAST_STATUS) == STATUS_NO_QUEUES, "the status");
			give(out);
		}
		/* a device that is back is used, and the codec is as good as new */
		configure("seed=%u", seed);
		check(encode(encoder, &sent) > 0 && bad_pages(&sent) == 0, "encode again");
		check(decode_badly(decoder, &sent) == 0, "decode again");
		codec_close(encoder);
		codec_close(decoder);
		give_packet(sent);
	}
	nothing_left();
}

/* Queues that stay full are not waited for without end, nor in every packet. */
static void always_busy(void)
{
	struct packet sent = make_packet(4096, 128, WORDS);
	struct codec *codec = must_open(CODEC_ENCODE, 4096, CODEC_DEVICE | CODEC_NO_FALLBACK);
	double start = seconds();

	doing = "queues that stay full";
	configure("seed=1 busy=1");
	check(encode(codec, &sent) == CODEC_DEVICE_FAILED, "no fallback");
	check(stat_of(codec, CODEC_LAST_STATUS) == STATUS_BUSY, "the status");
	codec_close(codec);
	configure("seed=1 wait=1");
	codec = must_open(CODEC_ENCODE, 4096, CODEC_DEVICE | CODEC_NO_FALLBACK);
	check(encode(codec, &sent) == CODEC_DEVICE_FAILED, "no fallback, busy waits");
	check(stat_of(codec, CODEC_LAST_STATUS) == STATUS_BUSY, "the status");
	codec_close(codec);
	configure("seed=1 busy=1");
	codec = must_open(CODEC_ENCODE, 4096, CODEC_DEVICE | CODEC_WAIT);
	for (uint32_t i = 0; i < BUSY_PACKETS; i++)
		check(encode(codec, &sent) > 0 && bad_pages(&sent) == 0, "encode");
	check(stat_of(codec, CODEC_SOFTWARE_PAGES) == BUSY_PACKETS * 128, "software");
	codec_close(codec);
	codec = must_open(CODEC_ENCODE, 4096, CODEC_DEVICE);
	configure("seed=1 busy=1");
	check(encode(codec, &sent) > 0 && bad_pages(&sent) == 0, "encode");
	check(stat_of(codec, CODEC_BUSY) == 4 * 128, "a try and three retries a page");
	codec_close(codec);
	check(seconds() - start < 30, "it took %.0f s", seconds() - start);
	give_packet(sent);
	nothing_left();
}

/* A device that is gone costs a packet one try, and is used again when it is back. */
static void lost(void)
{
	struct packet sent = make_packet(4096, 128, WORDS);
	struct codec *codec = must_open(CODEC_ENCODE, 4096, CODEC_DEVICE);
	int64_t before;

	doing = "a lost device";
	configure("seed=1 lost=1");
	for (uint32_t i = 0; i < 20; i++)
		check(encode(codec, &sent) > 0 && bad_pages(&sent) == 0, "encode");
	before = failures_of(codec, STATUS_NO_QUEUES);
	check(before >= 20 && before < 50, "%ld tries in 20 packets", (long)before);
	check(stat_of(codec, CODEC_SOFTWARE_PAGES) == 20 * 128, "software");
	same_statuses(codec, NULL);
	configure("seed=1 depth=128");
	check(encode(codec, &sent) > 0 && bad_pages(&sent) == 0, "encode");
	check(stat_of(codec, CODEC_DEVICE_PAGES) == 128, "not used again");
	codec_close(codec);
	give_packet(sent);
	nothing_left();
}

/* Bad data is bad data, whatever the device does with it: software has the last word. */
static void bad_data(void)
{
	unsigned refused = 0;

	doing = "bad data";
	for (uint32_t seed = 1; seed <= 20 * ROUNDS; seed++) {
		struct packet sent = make_packet(4096, 1 + below(16), MIXED);
		struct codec *device = must_open(CODEC_DECODE, 4096, CODEC_DEVICE);
		struct codec *software = must_open(CODEC_DECODE, 4096, 0);
		struct codec *strict =
			must_open(CODEC_DECODE, 4096, CODEC_DEVICE | CODEC_NO_FALLBACK);
		struct buffer out = take(sent.pages.size);
		struct buffer same = take(sent.pages.size);
		struct codec_fault fault = { 0 };
		struct codec_fault other = { 0 };
		int32_t result;

		deflate_packet(&sent);
		for (uint32_t i = below(4); i < 4; i++)
			sent.in.bytes[below(sent.in.size)] ^= (uint8_t)(1u << below(8));
		result = decode(software, &sent, same, &other);
		configure("seed=%u depth=4 busy=0.1 wait=0.1 status=0.1 length=0.1 statuses=211,303,2",
			  seed);
		check(decode(device, &sent, out, &fault) == result, "result %d", result);
		check(sim_count(IN_FLIGHT) == 0, "jobs in flight");
		if (result < 0)
			check(memcmp(&fault, &other, sizeof(fault)) == 0, "page %u, not %u", fault.page,
			      other.page);
		else
			check(memcmp(out.bytes, same.bytes, same.size) == 0, "other pages");
		configure("seed=%u depth=4 busy=0.1 wait=0.1", seed);
		check(decode(strict, &sent, out, &fault) == result, "without fallback: %d", result);
		refused += result < 0;
		codec_close(device);
		codec_close(software);
		codec_close(strict);
		give(out);
		give(same);
		give_packet(sent);
	}
	check(refused > 20 * ROUNDS / 8, "only %u refused", refused);
}

/* A channel each: its codecs, its packets, and what went wrong. */
struct channel {
	struct packet packets[4];
	uint32_t flags;
	uint32_t wrong;
};

static void *run_channel(void *argument)
{
	struct channel *channel = argument;
	struct codec *encoder = codec_open(CODEC_DEFLATE_PAGES, CODEC_ENCODE, 4096, 1, channel->flags);
	struct codec *decoder = codec_open(CODEC_DEFLATE_PAGES, CODEC_DECODE, 4096, 1, channel->flags);
	uint8_t *in = malloc(PACKET);
	uint8_t *out = malloc(PACKET);

	for (uint32_t i = 0; i < 4 && encoder != NULL && decoder != NULL; i++) {
		struct packet *sent = &channel->packets[i];
		struct codec_fault fault;
		int32_t size = codec_encode(encoder, sent->pages.bytes, sent->pages.size, in, PACKET,
					    lengths_in(sent));

		channel->wrong += size <= 0 ||
				  codec_decode(decoder, in, (uint32_t)size, lengths_in(sent), out,
					       sent->pages.size, &fault) != (int32_t)sent->pages.size ||
				  memcmp(out, sent->pages.bytes, sent->pages.size) != 0;
	}
	channel->wrong += encoder == NULL || decoder == NULL;
	free(in);
	free(out);
	codec_close(encoder);
	codec_close(decoder);
	return NULL;
}

static void channels(uint32_t rounds)
{
	static const uint32_t policies[] = { 0, CODEC_WAIT, CODEC_DENSE, CODEC_WAIT | CODEC_DENSE };

	doing = "channels at once";
	for (uint32_t seed = 1; seed <= rounds; seed++) {
		struct channel channels[4] = { 0 };
		pthread_t threads[4];

		configure("seed=%u depth=%u threads=3 busy=0.05 wait=0.05 status=0.05 delay=0.01 "
			  "lost=0.0005 statuses=2,8,219,303",
			  seed, 4 + below(60));
		for (uint32_t i = 0; i < 4; i++) {
			channels[i].flags = CODEC_DEVICE | policies[i];
			for (uint32_t p = 0; p < 4; p++)
				channels[i].packets[p] = make_packet(4096, 1 + below(128), MIXED);
			check(pthread_create(&threads[i], NULL, run_channel, &channels[i]) == 0, "thread");
		}
		for (uint32_t i = 0; i < 4; i++) {
			pthread_join(threads[i], NULL);
			check(channels[i].wrong == 0, "channel %u: %u packets", i, channels[i].wrong);
			for (uint32_t p = 0; p < 4; p++)
				give_packet(channels[i].packets[p]);
		}
		nothing_left();
	}
}

static void one_by_one(void)
{
	configurations();
	configure("seed=1 depth=512 threads=2");
	without_faults(0);
	without_faults(CODEC_DEVICE);
	without_faults(CODEC_DEVICE | CODEC_DENSE);
	configure("seed=1 depth=8 threads=4");
	without_faults(CODEC_DEVICE | CODEC_WAIT);
	without_faults(CODEC_DEVICE | CODEC_NO_FALLBACK);
	repeated_schedules();
	no_fallback();
	always_busy();
	lost();
	bad_data();
}

int main(void)
{
	/* all that ThreadSanitizer can find */
	in_flight();
	schedules(SCHEDULES);
	channels(ROUNDS);
	if (!THREADS_ONLY)
		one_by_one();
	printf("%lu checks\n", checks);
	return 0;
}
#else
int main(void)
{
	int32_t status = codec_device();

	without_faults(0);
	without_faults(CODEC_DENSE);
	doing = "the device";
	if (status == 0) {
		without_faults(CODEC_DEVICE);
		without_faults(CODEC_DEVICE | CODEC_DENSE);
	} else {
		check(codec_open(CODEC_DEFLATE_PAGES, CODEC_ENCODE, 4096, 1, CODEC_DEVICE) == NULL,
		      "opened a device that does not work");
	}
	printf("%lu checks, device %d\n", checks, status);
	return 0;
}
#endif
