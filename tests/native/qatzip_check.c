/*
 * qatzip.c with a device that misbehaves, by as many schedules as the command line says. With
 * CHECK_REAL the real library in software, in few calls, as each leaks; the other side are the
 * shared objects of ISA-L and libdeflate that the command line names.
 */
#include <dlfcn.h>
#include <pthread.h>

#include <qatzip.h>
#include <zlib.h>

#include "../../native-shim/common.h"
#include "../../native-shim/counts.h"
#include "check.h"

#define PACKET (512u * 1024u)
#define ROOM (2 * PACKET)
#define LEVELS 9

static const uint32_t page_sizes[] = { 4096, 8192, 16384, 32768, 65536 };

/* One member after another through zlib; how many there are, or 0 where they are not these pages. */
static uint32_t gunzip(struct buffer in, struct buffer pages)
{
	uint8_t *out = malloc(pages.size + 1);
	uint32_t at = 0;
	uint32_t filled = 0;
	uint32_t members = 0;
	int result = Z_STREAM_END;

	check(out != NULL, "no memory");
	while (result == Z_STREAM_END && at < in.size) {
		z_stream stream = { .next_in = in.bytes + at, .avail_in = in.size - at };

		stream.next_out = out + filled;
		stream.avail_out = pages.size + 1 - filled;
		check(inflateInit2(&stream, 31) == Z_OK, "no memory");
		result = inflate(&stream, Z_FINISH);
		at += (uint32_t)stream.total_in;
		filled += (uint32_t)stream.total_out;
		members++;
		inflateEnd(&stream);
	}
	if (result != Z_STREAM_END || filled != pages.size ||
	    memcmp(out, pages.bytes, filled) != 0)
		members = 0;
	free(out);
	return members;
}

/* A member by zlib, with QATzip's field or without; how long it is. */
static uint32_t gzip(const uint8_t *source, uint32_t size, bool has_field, uint8_t *out)
{
	z_stream stream = { .next_in = (Bytef *)(uintptr_t)source, .avail_in = size };
	uint32_t head = has_field ? QZ_HEADER_SIZE : 0;
	uint32_t length;

	stream.next_out = out + head;
	stream.avail_out = ROOM;
	check(deflateInit2(&stream, 1, Z_DEFLATED, has_field ? -15 : 31, 8, 0) == Z_OK, "no memory");
	check(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib cannot compress");
	length = (uint32_t)stream.total_out;
	deflateEnd(&stream);
	if (!has_field)
		return length;
	write_qz_header(out, size, length);
	write_le32(out + head + length, (uint32_t)crc32(0, source, size));
	write_le32(out + head + length + 4, size);
	return head + length + GZIP_TRAILER_SIZE;
}

/* A payload by zlib, of members of so many source bytes each. */
static struct buffer gzip_all(struct buffer pages, uint32_t member_size, bool has_field)
{
	uint8_t *out = malloc(2 * ROOM);
	struct buffer made;
	uint32_t at = 0;

	check(out != NULL, "no memory");
	for (uint32_t start = 0; start < pages.size; start += member_size) {
		uint32_t left = pages.size - start;

		at += gzip(pages.bytes + start, left < member_size ? left : member_size, has_field,
			   out + at);
	}
	made = copy_of(out, at);
	free(out);
	return made;
}

static struct buffer pages_of_kind(uint32_t size, uint32_t kind)
{
	struct buffer pages = take(size);

	fill_page(pages.bytes, size, kind);
	return pages;
}

#ifdef CHECK_REAL

/* A codec library of the shim beside the one that is linked: they all have the same names. */
struct other {
	struct codec *(*open)(uint32_t, uint32_t, uint32_t, int32_t, uint32_t);
	int32_t (*encode)(struct codec *, const uint8_t *, uint32_t, uint8_t *, uint32_t,
			  uint32_t *);
	int32_t (*decode)(struct codec *, const uint8_t *, uint32_t, const uint32_t *, uint8_t *,
			  uint32_t, struct codec_fault *);
	void (*close)(struct codec *);
};

static void *must_find(void *library, const char *name)
{
	void *found = dlsym(library, name);

	check(found != NULL, "%s", dlerror());
	return found;
}

static struct other load(const char *file)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	struct other other;

	check(library != NULL, "%s", dlerror());
	*(void **)&other.open = must_find(library, "codec_open");
	*(void **)&other.encode = must_find(library, "codec_encode");
	*(void **)&other.decode = must_find(library, "codec_decode");
	*(void **)&other.close = must_find(library, "codec_close");
	return other;
}

static unsigned long calls;

static void encode_for(const struct other *libdeflate, struct buffer pages, uint32_t page_size,
		       int32_t level)
{
	struct codec *encoder = codec_open(CODEC_GZIP_MEMBERS, CODEC_ENCODE, page_size, level, 0);
	struct codec *decoder =
		libdeflate->open(CODEC_GZIP_MEMBERS, CODEC_DECODE, page_size, level, 0);
	struct buffer out = take(ROOM);
	struct buffer got = take(pages.size);
	struct codec_fault fault;
	struct buffer made;
	int32_t result;

	check(encoder != NULL && decoder != NULL, "cannot open");
	result = codec_encode(encoder, pages.bytes, pages.size, out.bytes, out.size, NULL);
	calls++;
	check(result > 0, "level %d: %d", level, result);
	made = copy_of(out.bytes, (uint32_t)result);
	check(gunzip(made, pages) > 0, "level %d: zlib reads other pages", level);
	result = libdeflate->decode(decoder, made.bytes, made.size, NULL, got.bytes, got.size,
				    &fault);
	check(result == (int32_t)got.size, "level %d: libdeflate says %d", level, result);
	check(memcmp(got.bytes, pages.bytes, got.size) == 0, "level %d: other pages", level);
	codec_close(encoder);
	libdeflate->close(decoder);
	give(out);
	give(got);
	give(made);
}

static int32_t decode(struct codec *codec, struct buffer in, uint32_t out_size)
{
	struct buffer out = take(out_size);
	struct codec_fault fault;
	int32_t result = codec_decode(codec, in.bytes, in.size, NULL, out.bytes, out.size, &fault);

	calls++;
	give(out);
	return result;
}

static void decode_from(struct codec *codec, struct buffer in, struct buffer pages)
{
	struct buffer out = take(pages.size);
	struct codec_fault fault;
	int32_t result = codec_decode(codec, in.bytes, in.size, NULL, out.bytes, out.size, &fault);

	calls++;
	check(result == (int32_t)out.size, "%d of %u bytes", result, in.size);
	check(memcmp(out.bytes, pages.bytes, out.size) == 0, "other pages");
	give(out);
	give(in);
}

static struct buffer encode_with(const struct other *isal, struct buffer pages, int32_t level)
{
	struct codec *codec = isal->open(CODEC_GZIP_MEMBERS, CODEC_ENCODE, 4096, level, 0);
	struct buffer out = take(ROOM);
	struct buffer made;
	int32_t result;

	check(codec != NULL, "cannot open");
	result = isal->encode(codec, pages.bytes, pages.size, out.bytes, out.size, NULL);
	check(result > 0, "ISA-L says %d", result);
	made = copy_of(out.bytes, (uint32_t)result);
	isal->close(codec);
	give(out);
	return made;
}

/* What the library says of payloads that are not whole, or not the data that was expected. */
static void bad_payloads(struct codec *codec)
{
	struct buffer pages = pages_of(4, 4096);
	struct buffer noise = pages_of_kind(8192, 3);

	doing = "what the real library says of a bad payload";
	for (int is_qz = 0; is_qz < 2; is_qz++) {
		struct buffer good = gzip_all(pages, QZ_MEMBER_SIZE, is_qz == 1);
		struct buffer more = take(good.size + 1);
		struct buffer half = copy_of(good.bytes, good.size / 2);
		struct buffer cut = copy_of(good.bytes, good.size - 1);
		struct buffer bad = copy_of(good.bytes, good.size);

		memcpy(more.bytes, good.bytes, good.size);
		more.bytes[good.size] = 0x1f;
		bad.bytes[good.size / 2] ^= 0xff;
		check(decode(codec, more, pages.size) < 0, "a byte behind it");
		check(decode(codec, half, pages.size) == CODEC_TOO_SHORT, "half of it");
		check(decode(codec, cut, pages.size) < 0, "a byte is missing");
		check(decode(codec, bad, pages.size) == CODEC_BAD_DATA, "a byte is changed");
		check(decode(codec, good, pages.size + 4096) == CODEC_TOO_SHORT, "a page is missing");
		check(decode(codec, good, pages.size - 4096) == CODEC_TOO_LONG, "a page too many");
		check(decode(codec, good, pages.size) == (int32_t)pages.size, "it was good");
		give(good);
		give(more);
		give(half);
		give(cut);
		give(bad);
	}
	check(decode(codec, noise, 4096) == CODEC_BAD_DATA, "noise");
	give(noise);
	give(pages);
}

int main(int count, char **names)
{
	struct other isal;
	struct other libdeflate;
	struct codec *decoder;
	struct codec *device;
	int32_t status;

	check(count == 3, "which shared objects?");
	isal = load(names[1]);
	libdeflate = load(names[2]);
	doing = "a device";
	status = codec_device();
	device = codec_open(CODEC_GZIP_MEMBERS, CODEC_ENCODE, 4096, 1, CODEC_DEVICE);
	check((device != NULL) == (status == QZ_OK), "status %d", status);
	codec_close(device);
	doing = "packets of the real library";
	for (int32_t level = 1; level <= LEVELS; level++) {
		struct buffer pages = pages_of(PACKET / 4096, 4096);

		encode_for(&libdeflate, pages, 4096, level);
		give(pages);
	}
	for (uint32_t i = 0; i < 5; i++) {
		for (uint32_t kind = 0; kind < 6; kind += 3) { /* zeros, noise */
			struct buffer pages = pages_of_kind(i == 0 ? PACKET : page_sizes[i], kind);

			encode_for(&libdeflate, pages, page_sizes[i], 1);
			give(pages);
		}
	}
	doing = "packets for the real library";
	decoder = codec_open(CODEC_GZIP_MEMBERS, CODEC_DECODE, 4096, 1, 0);
	check(decoder != NULL, "cannot open");
	for (uint32_t kind = 0; kind < 6; kind++) {
		struct buffer pages = pages_of_kind(kind == 1 ? 4096 : PACKET, kind);

		decode_from(decoder, encode_with(&isal, pages, (int32_t)kind % 3 + 1), pages);
		decode_from(decoder, gzip_all(pages, QZ_MEMBER_SIZE, true), pages);
		decode_from(decoder, gzip_all(pages, PACKET, true), pages);
		decode_from(decoder, gzip_all(pages, PACKET, false), pages);
		decode_from(decoder, gzip_all(pages, QZ_MEMBER_SIZE, false), pages);
		give(pages);
	}
	bad_payloads(decoder);
	codec_close(decoder);
	printf("device %d, %lu calls, %lu checks\n", status, calls, checks);
	return 0;
}

#else

#include "../../native-shim/sim/device.h"

/* so many schedules have every fault fire */
#define ENOUGH_SCHEDULES 64u
#define PACKETS 24u
#define THREADS 4u
#define CHANNEL_PACKETS (THOROUGH ? 40u : 16u)

static int64_t simulated(uint32_t index)
{
	int64_t counts[SIM_COUNTS];

	sim_counts(counts);
	return counts[index];
}

/* Of the simulator's counts. */
enum {
	MOST_IN_FLIGHT = 2,
	IN_FLIGHT = 3,
	ALIVE = 4,
	SESSIONS = 5,
	STATUSES = 22,
};

static int64_t fired(uint32_t direction, enum sim_fault fault)
{
	return simulated((direction == CODEC_ENCODE ? 6u : 14u) + fault);
}

static void configure(const char *text)
{
	int32_t result = sim_configure(text);

	check(result == 0, "\"%s\": %d", text, result);
}

static struct codec *must_open(uint32_t direction, uint32_t page_size, int32_t level)
{
	struct codec *codec =
		codec_open(CODEC_GZIP_MEMBERS, direction, page_size, level, CODEC_DEVICE);

	check(codec != NULL, "cannot open");
	return codec;
}

static int64_t counted(const struct codec *codec, uint32_t index)
{
	int64_t counts[CODEC_COUNTS];

	codec_stats(codec, counts);
	return counts[index];
}

static int64_t times(const int64_t *pairs, uint32_t most, int64_t status)
{
	for (uint32_t i = 0; i < most && pairs[2 * i] != 0; i++)
		if (pairs[2 * i] == status)
			return pairs[2 * i + 1];
	return 0;
}

static int64_t failures(const struct codec *codec, int32_t status)
{
	int64_t counts[CODEC_COUNTS];

	codec_stats(codec, counts);
	return times(counts + CODEC_FAILURES, CODEC_STATUSES, status);
}

static struct buffer must_encode(struct codec *codec, struct buffer pages)
{
	struct buffer out = take(ROOM);
	int32_t result = codec_encode(codec, pages.bytes, pages.size, out.bytes, out.size, NULL);
	struct buffer made;

	check(result > 0, "cannot encode: %d", result);
	made = copy_of(out.bytes, (uint32_t)result);
	give(out);
	return made;
}

static int32_t decode(struct codec *codec, struct buffer in, struct buffer out)
{
	struct codec_fault fault = { 0, 0, 0, 0 };
	int32_t result = codec_decode(codec, in.bytes, in.size, NULL, out.bytes, out.size, &fault);

	check(result >= 0 || (fault.page == NO_PAGE && fault.code != 0), "no fault for %d", result);
	return result;
}

static void must_decode(struct codec *codec, struct buffer in, struct buffer pages)
{
	struct buffer out = take(pages.size);

	check(decode(codec, in, out) == (int32_t)out.size, "cannot decode");
	check(memcmp(out.bytes, pages.bytes, pages.size) == 0, "other pages");
	give(out);
}

static void nothing_left(void)
{
	check(simulated(IN_FLIGHT) == 0, "jobs in flight");
	check(simulated(SESSIONS) == 0, "%ld sessions", (long)simulated(SESSIONS));
	check(simulated(ALIVE) == 0, "%ld threads", (long)simulated(ALIVE));
}

static void round_trip(struct codec *encoder, struct codec *decoder, struct buffer pages)
{
	struct buffer made = must_encode(encoder, pages);
	uint32_t members = (pages.size + QZ_MEMBER_SIZE - 1) / QZ_MEMBER_SIZE;

	check(gunzip(made, pages) == members, "not %u members of these pages", members);
	must_decode(decoder, made, pages);
	give(made);
}

static void round_trips(void)
{
	doing = "round trips";
	configure("");
	for (uint32_t s = 0; s < 5; s++) {
		for (int32_t level = 0; level <= LEVELS + 1; level++) {
			uint32_t size = page_sizes[s];
			/* every level with the smallest, and with another one in turn */
			bool is_turn = s == 0 || level == 1 || s == 1 + (uint32_t)level % 4;
			const uint32_t counts[] = { 1, 2, 3 + below(4), PACKET / size };
			struct codec *encoder;
			struct codec *decoder;
			uint32_t sum = 0;

			if (!is_turn && !THOROUGH)
				continue;
			encoder = must_open(CODEC_ENCODE, size, level);
			decoder = must_open(CODEC_DECODE, size, level);
			for (uint32_t i = 0; i < 4; i++) {
				struct buffer pages = pages_of(counts[i], size);

				round_trip(encoder, decoder, pages);
				sum += counts[i];
				give(pages);
			}
			for (uint32_t kind = 0; kind < 6; kind += 3) { /* zeros, noise */
				struct buffer pages = pages_of_kind(PACKET, kind);

				round_trip(encoder, decoder, pages);
				sum += PACKET / size;
				give(pages);
			}
			check(counted(encoder, CODEC_DEVICE_PAGES) == sum, "pages encoded");
			check(counted(decoder, CODEC_DEVICE_PAGES) == sum, "pages decoded");
			check(counted(encoder, CODEC_FAILURES) == 0, "failures");
			codec_close(encoder);
			codec_close(decoder);
			nothing_left();
		}
	}
	check(simulated(MOST_IN_FLIGHT) == PACKET / QZ_MEMBER_SIZE, "%ld in flight",
	      (long)simulated(MOST_IN_FLIGHT));
}

static void bad_calls(void)
{
	struct codec *encoder = must_open(CODEC_ENCODE, 4096, 1);
	struct codec *decoder = must_open(CODEC_DECODE, 4096, 1);
	struct buffer pages = pages_of(20, 4096);
	struct buffer made = must_encode(encoder, pages);
	struct buffer exact = take(made.size);
	struct codec_fault fault;

	doing = "bad calls";
	check(codec_encode(encoder, pages.bytes, pages.size, exact.bytes, made.size, NULL) ==
		      (int32_t)made.size, "exactly enough room");
	check(codec_encode(encoder, pages.bytes, pages.size, exact.bytes, made.size - 1, NULL) ==
		      CODEC_DOES_NOT_FIT, "a byte less");
	check(codec_encode(encoder, pages.bytes, pages.size, exact.bytes, 0, NULL) ==
		      CODEC_DOES_NOT_FIT, "no room");
	check(codec_encode(encoder, pages.bytes, PACKET + 4096, exact.bytes, made.size, NULL) ==
		      CODEC_BAD_CALL, "more than a packet");
	check(codec_encode(decoder, pages.bytes, 4096, exact.bytes, made.size, NULL) ==
		      CODEC_BAD_CALL, "encoding with a decoder");
	check(codec_decode(encoder, made.bytes, made.size, NULL, pages.bytes, 4096, &fault) ==
		      CODEC_BAD_CALL, "decoding with an encoder");
	check(codec_decode(decoder, made.bytes, made.size, NULL, pages.bytes, PACKET + 4096,
			   &fault) == CODEC_BAD_CALL, "more than a packet");
	check(counted(encoder, CODEC_DEVICE_PAGES) == 40, "pages that did not fit are counted");
	codec_close(encoder);
	codec_close(decoder);
	give(pages);
	give(made);
	give(exact);
	nothing_left();
}

/* A frame of these sizes around nothing in particular, in front of other members. */
static struct buffer frame_before(uint32_t source, uint32_t deflated, struct buffer members)
{
	uint32_t size = QZ_HEADER_SIZE + deflated + GZIP_TRAILER_SIZE;
	struct buffer all = take(size + members.size);

	memset(all.bytes, 0, size);
	write_qz_header(all.bytes, source, deflated);
	write_le32(all.bytes + size - 4, source);
	memcpy(all.bytes + size, members.bytes, members.size);
	return all;
}

/* What a device does not take is refused before it is asked, and spoils nothing. */
static void not_for_a_device(void)
{
	struct codec *decoder = must_open(CODEC_DECODE, 4096, 1);
	struct buffer pages = pages_of(40, 4096);
	struct buffer good = gzip_all(pages, QZ_MEMBER_SIZE, true);
	struct buffer none = take(0);
	struct buffer out = take(pages.size);
	int64_t refused = 0;

	doing = "payloads that are not for a device";
	configure("");
	for (uint32_t i = 0; i < 400; i++) {
		struct buffer wanted;
		struct buffer bad;

		if (i == 0)
			bad = gzip_all(pages, PACKET, true);
		else if (i == 1)
			bad = gzip_all(pages, QZ_MEMBER_SIZE, false);
		else if (i == 2)
			bad = frame_before(0, 2, good);
		else if (i == 3)
			bad = frame_before(4096, 74753, none);
		else if (i == 4)
			bad = copy_of(good.bytes, 0);
		else if (i < 100)
			bad = copy_of(good.bytes, below(good.size));
		else if (i < 200)
			bad = copy_of(good.bytes + i - 99, good.size - (i - 99));
		else
			bad = copy_of(good.bytes, good.size);
		if (i >= 200) /* a header, a size, a trailer */
			bad.bytes[i < 300 ? below(24) : good.size - 1 - below(4)] ^=
				(uint8_t)(1 + below(255));
		/* one byte of the header may have another value */
		if (i >= 200 && bad.bytes[8] != good.bytes[8])
			bad.bytes[8] = 1;
		wanted = out;
		if (i == 3)
			wanted.size = 4096;
		check(decode(decoder, bad, wanted) == CODEC_DEVICE_FAILED, "payload %u", i);
		refused++;
		check(failures(decoder, QZ_NOSW_UNSUPPORTED_FMT) == refused, "not counted");
		give(bad);
	}
	check(simulated(STATUSES) == 0, "the device was asked");
	must_decode(decoder, good, pages);
	/* well-formed members of wrong data are the device's to find */
	good.bytes[QZ_HEADER_SIZE + 5] ^= 0xff;
	check(decode(decoder, good, out) == CODEC_DEVICE_FAILED, "bad data");
	check(failures(decoder, QZ_DATA_ERROR) == 1, "bad data is not counted");
	good.bytes[QZ_HEADER_SIZE + 5] ^= 0xff;
	must_decode(decoder, good, pages);
	codec_close(decoder);
	give(pages);
	give(good);
	give(none);
	give(out);
	nothing_left();
}

static void sessions(void)
{
	static const int32_t statuses[] = { -1, -2, -3, -4, -5, -100, -101, -102, -103, -104, -116 };

	doing = "sessions";
	for (uint32_t direction = 0; direction <= CODEC_DECODE; direction++) {
		struct codec *codec = must_open(direction, 4096, 1);
		struct buffer pages = pages_of(1, 4096);
		struct buffer in = gzip_all(pages, QZ_MEMBER_SIZE, true);
		struct buffer out = take(ROOM);
		bool is_encode = direction == CODEC_ENCODE;

		for (uint32_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
			struct buffer page = { out.bytes, 4096, NULL };
			char text[64];
			int32_t result;

			snprintf(text, sizeof(text), "status=1 statuses=%d", statuses[i]);
			configure(text);
			if (is_encode)
				result = codec_encode(codec, pages.bytes, 4096, out.bytes, ROOM, NULL);
			else
				result = decode(codec, in, page);
			check(result == CODEC_DEVICE_FAILED, "%d for %d", result, statuses[i]);
			check(counted(codec, CODEC_LAST_STATUS) == statuses[i], "another status");
			check(failures(codec, statuses[i]) == 1, "status %d", statuses[i]);
			check(simulated(STATUSES) == statuses[i] && simulated(STATUSES + 1) == 1,
			      "the simulator counts otherwise");
			check(simulated(SESSIONS) == 0, "the session is still there");
			/* a spoilt session would fail again */
			configure("");
			if (is_encode)
				give(must_encode(codec, pages));
			else
				must_decode(codec, in, pages);
			check(simulated(SESSIONS) == 1, "no session");
		}
		codec_close(codec);
		give(pages);
		give(in);
		give(out);
		nothing_left();
	}
}

static void lost_device(void)
{
	struct codec *codec = must_open(CODEC_ENCODE, 4096, 1);
	struct buffer pages = pages_of(3, 4096);
	struct buffer out = take(ROOM);

	doing = "a lost device";
	configure("lost=1");
	for (uint32_t i = 0; i < 10; i++)
		check(codec_encode(codec, pages.bytes, pages.size, out.bytes, ROOM, NULL) ==
			      CODEC_DEVICE_FAILED, "call %u", i);
	check(failures(codec, QZ_FAIL) == 1, "%ld calls", (long)failures(codec, QZ_FAIL));
	check(failures(codec, QZ_NOSW_NO_HW) == 3, "%ld set-ups",
	      (long)failures(codec, QZ_NOSW_NO_HW));
	check(codec_device() == QZ_NOSW_NO_HW, "it is lost");
	check(codec_open(CODEC_GZIP_MEMBERS, CODEC_ENCODE, 4096, 1, CODEC_DEVICE) == NULL, "lost");
	/* it has been given up, until a reset */
	configure("");
	check(codec_encode(codec, pages.bytes, pages.size, out.bytes, ROOM, NULL) ==
		      CODEC_DEVICE_FAILED, "given up");
	check(counted(codec, CODEC_LAST_STATUS) == QZ_NOSW_NO_HW, "the reason is forgotten");
	codec_reset(codec);
	give(must_encode(codec, pages));
	check(codec_device() == QZ_OK, "it is back");
	codec_close(codec);
	give(pages);
	give(out);
	nothing_left();
}

/* More channels than there is pinned memory for. */
static void many_channels(void)
{
	struct codec *codecs[24];
	struct buffer pages = pages_of(30, 4096);

	doing = "many channels";
	for (uint32_t i = 0; i < 24; i++)
		codecs[i] = must_open(CODEC_ENCODE, 4096, 1);
	for (uint32_t i = 0; i < 24; i++) {
		struct buffer made = must_encode(codecs[i], pages);

		check(gunzip(made, pages) > 0, "other pages");
		give(made);
		codec_close(codecs[i]);
	}
	give(pages);
	nothing_left();
}

/* What became of corrupted output. */
static uint64_t corrupted[2];
static uint64_t caught;
static uint64_t slipped[2];
static uint64_t histogram[2][SIM_FAULTS];
static uint64_t device_failed[2];
static uint64_t given[2];

static void encode_under_faults(struct codec *codec, struct buffer pages)
{
	struct buffer out = take(ROOM);
	int64_t corrupt = fired(CODEC_ENCODE, SIM_CORRUPT);
	int64_t wrong = fired(CODEC_ENCODE, SIM_WRONG_LENGTH);
	int64_t failed = failures(codec, STATUS_WRONG_LENGTH);
	int32_t result = codec_encode(codec, pages.bytes, pages.size, out.bytes, ROOM, NULL);

	corrupt = fired(CODEC_ENCODE, SIM_CORRUPT) - corrupt;
	wrong = fired(CODEC_ENCODE, SIM_WRONG_LENGTH) - wrong;
	failed = failures(codec, STATUS_WRONG_LENGTH) - failed;
	corrupted[CODEC_ENCODE] += corrupt > 0;
	if (result < 0) {
		check(result == CODEC_DEVICE_FAILED, "result %d", result);
		device_failed[CODEC_ENCODE]++;
		caught += failed > 0 && wrong == 0;
		check(failed == 0 || wrong > 0 || corrupt > 0, "wrong for no reason");
	} else {
		struct buffer made = copy_of(out.bytes, (uint32_t)result);
		bool is_good = gunzip(made, pages) > 0;

		check(wrong == 0, "a wrong length was believed");
		check(is_good || corrupt > 0, "other pages, for no reason");
		slipped[CODEC_ENCODE] += !is_good;
		given[CODEC_ENCODE]++;
		give(made);
	}
	give(out);
}

static void decode_under_faults(struct codec *codec, struct buffer pages)
{
	struct buffer in = gzip_all(pages, QZ_MEMBER_SIZE, true);
	struct buffer out = take(pages.size);
	int64_t corrupt = fired(CODEC_DECODE, SIM_CORRUPT);
	int64_t wrong = fired(CODEC_DECODE, SIM_WRONG_LENGTH);
	int32_t result = decode(codec, in, out);

	corrupt = fired(CODEC_DECODE, SIM_CORRUPT) - corrupt;
	wrong = fired(CODEC_DECODE, SIM_WRONG_LENGTH) - wrong;
	corrupted[CODEC_DECODE] += corrupt > 0;
	if (result < 0) {
		check(result == CODEC_DEVICE_FAILED, "result %d", result);
		device_failed[CODEC_DECODE]++;
	} else {
		bool is_good = memcmp(out.bytes, pages.bytes, pages.size) == 0;

		check(result == (int32_t)pages.size, "result %d", result);
		check(wrong == 0, "a wrong length was believed");
		check(is_good || corrupt > 0, "other pages, for no reason");
		slipped[CODEC_DECODE] += !is_good;
		given[CODEC_DECODE]++;
	}
	give(in);
	give(out);
}

/* Both sides count each status alike; the simulator's list has none that we do not have. */
static void same_counts(const struct codec *encoder, const struct codec *decoder)
{
	int64_t counts[SIM_COUNTS];
	int64_t ours[2][CODEC_COUNTS];
	int64_t sums[2] = { 0, 0 };

	sim_counts(counts);
	codec_stats(encoder, ours[0]);
	codec_stats(decoder, ours[1]);
	for (uint32_t i = STATUSES; i < SIM_COUNTS && counts[i] != 0; i += 2) {
		int32_t status = (int32_t)counts[i];
		int64_t mine = failures(encoder, status) + failures(decoder, status);

		check(mine == counts[i + 1], "%ld times %d, the simulator has %ld", (long)mine,
		      status, (long)counts[i + 1]);
		sums[0] += counts[i + 1];
	}
	for (uint32_t side = 0; side < 2; side++)
		for (uint32_t i = CODEC_FAILURES; i < CODEC_COUNTS && ours[side][i] != 0; i += 2)
			sums[1] += ours[side][i + 1];
	check(sums[0] == sums[1], "%ld failures, the simulator has %ld", (long)sums[1],
	      (long)sums[0]);
}

static void fault_schedules(uint32_t schedules)
{
	doing = "fault schedules";
	for (uint32_t i = 0; i < schedules; i++) {
		char text[256];
		uint32_t size = page_sizes[below(5)];
		uint32_t kind = i % SIM_FAULTS; /* one alone, or all of them */
		double share[SIM_FAULTS];
		struct codec *encoder;
		struct codec *decoder;

		configure("");
		encoder = must_open(CODEC_ENCODE, size, 1);
		decoder = must_open(CODEC_DECODE, size, 1);
		for (uint32_t f = 1; f < SIM_FAULTS; f++)
			share[f] = kind == 0 ? 0.02 : kind == f ? 0.2 : 0;
		share[SIM_LOST] /= 10;
		snprintf(text, sizeof(text),
			 "seed=%u depth=%u threads=%u busy=%g wait=%g status=%g length=%g corrupt=%g "
			 "delay=%g lost=%g statuses=-1,-2,-3,-4,-5,-100,-101,-102,-103,-104,-116",
			 i, 1 + below(12), 1 + below(3), share[1], share[2], share[3], share[4],
			 share[5], share[6], share[7]);
		configure(text);
		for (uint32_t p = 0; p < PACKETS; p++) {
			struct buffer pages = pages_of(1 + below(PACKET / size), size);

			encode_under_faults(encoder, pages);
			decode_under_faults(decoder, pages);
			give(pages);
		}
		same_counts(encoder, decoder);
		for (uint32_t direction = 0; direction < 2; direction++)
			for (uint32_t f = 1; f < SIM_FAULTS; f++)
				histogram[direction][f] += (uint64_t)fired(direction, f);
		codec_close(encoder);
		codec_close(decoder);
		nothing_left();
	}
	for (uint32_t direction = 0; direction < 2 && schedules >= ENOUGH_SCHEDULES; direction++)
		for (uint32_t f = 1; f < SIM_FAULTS; f++)
			check(histogram[direction][f] > 0, "fault %u of direction %u never fired", f,
			      direction);
}

/* A channel: pages there and back, by software where the device fails. */
static void *channel(void *argument)
{
	uint32_t seed = *(uint32_t *)argument;
	struct codec *encoder =
		codec_open(CODEC_GZIP_MEMBERS, CODEC_ENCODE, 4096, 1, CODEC_DEVICE);
	struct codec *decoder =
		codec_open(CODEC_GZIP_MEMBERS, CODEC_DECODE, 4096, 1, CODEC_DEVICE);
	uint8_t *pages = malloc(PACKET);
	uint8_t *out = malloc(ROOM);
	uintptr_t wrong = encoder == NULL || decoder == NULL || pages == NULL || out == NULL;

	for (uint32_t p = 0; p < CHANNEL_PACKETS && wrong == 0; p++) {
		uint32_t size = (1 + (seed * 31 + p * 17) % 128) * 4096;
		struct codec_fault fault;
		int32_t made;
		int32_t got;

		for (uint32_t i = 0; i < size; i++)
			pages[i] = (uint8_t)(i % 4096 < 2000 ? (i * seed + p) >> i % 7 : p);
		made = codec_encode(encoder, pages, size, out, ROOM, NULL);
		wrong += made < 0 && made != CODEC_DEVICE_FAILED;
		if (made < 0)
			continue;
		got = codec_decode(decoder, out, (uint32_t)made, NULL, pages, size, &fault);
		wrong += got < 0 && got != CODEC_DEVICE_FAILED;
		for (uint32_t i = 0; got >= 0 && i < size; i++)
			wrong += pages[i] != (uint8_t)(i % 4096 < 2000 ? (i * seed + p) >> i % 7 : p);
	}
	codec_close(encoder);
	codec_close(decoder);
	free(pages);
	free(out);
	return (void *)wrong;
}

static void channels(void)
{
	pthread_t threads[THREADS];
	uint32_t seeds[THREADS];

	doing = "channels at once";
	configure("seed=5 depth=6 threads=3 busy=0.05 wait=0.05 status=0.05 length=0.05 delay=0.02 "
		  "statuses=-2,-4");
	for (uint32_t i = 0; i < THREADS; i++) {
		seeds[i] = 1 + i;
		check(pthread_create(&threads[i], NULL, channel, &seeds[i]) == 0, "no thread");
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		void *wrong;

		check(pthread_join(threads[i], &wrong) == 0, "no thread");
		check(wrong == NULL, "channel %u", i);
	}
	nothing_left();
}

int main(int count, char **arguments)
{
	char text[64];

	check(count == 2, "how many schedules?");
	if (strcmp(arguments[1], "threads") == 0) {
		/* all that ThreadSanitizer can find */
		channels();
		printf("%lu checks\n", checks);
		return 0;
	}
	codec_probe(text, sizeof(text));
	check(strstr(text, "simulated") != NULL, "%s", text);
	check(codec_device() == QZ_OK, "no device");
	nothing_left();
	round_trips();
	bad_calls();
	not_for_a_device();
	sessions();
	lost_device();
	many_channels();
	fault_schedules((uint32_t)atoi(arguments[1]));
	channels();
	for (uint32_t direction = 0; direction < 2; direction++) {
		printf("%s: %lu done, %lu failed, faults", direction == 0 ? "encode" : "decode",
		       given[direction], device_failed[direction]);
		for (uint32_t f = 1; f < SIM_FAULTS; f++)
			printf(" %lu", histogram[direction][f]);
		printf(", %lu packets corrupted, %lu caught, %lu slipped\n", corrupted[direction],
		       direction == 0 ? caught : 0, slipped[direction]);
	}
	printf("%lu checks\n", checks);
	return 0;
}

#endif
