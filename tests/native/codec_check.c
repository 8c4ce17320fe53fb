/* What codec.h promises, tried on one library under the sanitizers. */
#include "../../native-shim/common.h"
#include "check.h"

#ifdef CHECK_LIBDEFLATE
#include <libdeflate.h>
#endif

#define FORMATS 5u
#define PACKET (512u * 1024u)
#define MUTATIONS (THOROUGH ? 600u : 300u)
#define MUTATED_LEVELS 10
#define LIES 300u

static bool is_pages(uint32_t format)
{
	return format == CODEC_DEFLATE_PAGES || format == CODEC_ZLIB_PAGES;
}

static bool can(uint32_t format, uint32_t direction)
{
	char text[64];

	return (codec_probe(text, sizeof(text)) >> (8 * direction + format) & 1) != 0;
}

/* A packet's payload, and for formats of pages where each ends. */
struct payload {
	struct buffer in;
	struct buffer lengths; /* uint32_t each */
};

static void give_payload(struct payload payload)
{
	give(payload.in);
	give(payload.lengths);
}

static uint32_t *lengths_in(struct payload *payload)
{
	return (uint32_t *)(void *)payload->lengths.bytes;
}

#ifdef CHECK_LIBDEFLATE
/* Kept: each has megabytes. */
static struct libdeflate_compressor *compressor_of(int32_t level)
{
	static struct libdeflate_compressor *compressors[13];
	int32_t known = (level + 1) % 13;
	struct libdeflate_compressor **compressor = &compressors[known];

	if (*compressor == NULL)
		*compressor = libdeflate_alloc_compressor(known);
	check(*compressor != NULL, "no memory");
	return *compressor;
}

/* The library's own compressor stands in for the encoder that the shim does not have. */
static struct payload make_payload(uint32_t format, int32_t level, struct buffer pages,
				   uint32_t page_size)
{
	struct libdeflate_compressor *compressor = compressor_of(level);
	uint32_t count = pages.size / page_size;
	struct payload payload = { { 0 }, take(count * 4) };
	uint8_t *out = malloc(2 * pages.size + 4096);
	size_t at = 0;

	check(out != NULL, "no memory");
	if (format == CODEC_GZIP_MEMBERS) {
		for (uint32_t start = 0; start < pages.size; start += QZ_MEMBER_SIZE) {
			uint32_t left = pages.size - start;
			uint32_t size = left < QZ_MEMBER_SIZE ? left : QZ_MEMBER_SIZE;
			const uint8_t *source = pages.bytes + start;
			uint8_t *body = out + at + QZ_HEADER_SIZE;
			size_t length = libdeflate_deflate_compress(compressor, source, size, body,
								    2 * QZ_MEMBER_SIZE);

			write_qz_header(out + at, size, (uint32_t)length);
			at += QZ_HEADER_SIZE + length;
			write_le32(out + at, libdeflate_crc32(0, source, size));
			write_le32(out + at + 4, size);
			at += GZIP_TRAILER_SIZE;
		}
	}
	for (uint32_t i = 0; is_pages(format) && i < count; i++) {
		const uint8_t *page = pages.bytes + (size_t)i * page_size;
		size_t length;

		if (format == CODEC_DEFLATE_PAGES)
			length = libdeflate_deflate_compress(compressor, page, page_size, out + at,
							     page_size - 1);
		else
			length = libdeflate_zlib_compress(compressor, page, page_size, out + at,
							  page_size - 1);
		if (length == 0) {
			memcpy(out + at, page, page_size);
			length = page_size;
		}
		lengths_in(&payload)[i] = (uint32_t)length;
		at += length;
	}
	payload.in = copy_of(out, (uint32_t)at);
	free(out);
	return payload;
}
#endif

/* One packet through an open encoder, into exactly room bytes. */
static int32_t encode(struct codec *codec, uint32_t format, struct buffer pages, uint32_t page_size,
		      uint32_t room, struct payload *payload)
{
	struct buffer out = take(room);
	struct payload made = { { 0 }, take(is_pages(format) ? pages.size / page_size * 4 : 0) };
	uint32_t *lengths = is_pages(format) ? lengths_in(&made) : NULL;
	int32_t result = codec_encode(codec, pages.bytes, pages.size, out.bytes, room, lengths);
	uint64_t sum = 0;

	check(result <= (int64_t)room, "wrote %d into %u bytes", result, room);
	for (uint32_t i = 0; lengths != NULL && result >= 0 && i < pages.size / page_size; i++) {
		check(lengths[i] >= 1 && lengths[i] <= page_size, "length %u", lengths[i]);
		sum += lengths[i];
	}
	check(lengths == NULL || result < 0 || sum == (uint64_t)result, "lengths do not add up");
	made.in = copy_of(out.bytes, result > 0 ? (uint32_t)result : 0);
	give(out);
	if (payload == NULL || result < 0)
		give_payload(made);
	else
		*payload = made;
	return result;
}

/* Decodes into a buffer of exactly so many bytes; a failure must say one of four things. */
static int32_t decode(struct codec *codec, struct payload *payload, struct buffer out,
		      uint32_t page_size)
{
	struct codec_fault fault = { 1234567, 0, 0, 0 };
	struct buffer in = copy_of(payload->in.bytes, payload->in.size);
	uint32_t *lengths = payload->lengths.size > 0 ? lengths_in(payload) : NULL;
	int32_t result =
		codec_decode(codec, in.bytes, in.size, lengths, out.bytes, out.size, &fault);

	give(in);
	if (result < 0 && result != CODEC_BAD_CALL) {
		check(result >= CODEC_BAD_DATA && result <= CODEC_TOO_SHORT, "result %d", result);
		check(fault.page == NO_PAGE || fault.page < out.size / page_size, "page %u",
		      fault.page);
	} else if (result >= 0) {
		check(result == (int32_t)out.size, "result %d", result);
	}
	return result;
}

static struct codec *must_open(uint32_t format, uint32_t direction, uint32_t page_size,
			       int32_t level, uint32_t flags)
{
	struct codec *codec = codec_open(format, direction, page_size, level, flags);

	check(codec != NULL, "cannot open format %u at level %d", format, level);
	return codec;
}

#ifdef CHECK_LIBDEFLATE
#define HAS_SOURCE(format) can(format, CODEC_DECODE)
#else
#define HAS_SOURCE(format) can(format, CODEC_ENCODE)
#endif

/* The next packet of a channel, by whatever encodes here. */
static struct payload next_payload(struct codec *encoder, uint32_t format, int32_t level,
				   struct buffer pages, uint32_t page_size)
{
#ifdef CHECK_LIBDEFLATE
	(void)encoder;
	return make_payload(format, level, pages, page_size);
#else
	struct payload payload = { 0 };
	int32_t result = encode(encoder, format, pages, page_size, 2 * PACKET, &payload);

	(void)level;
	check(result > 0, "cannot encode: %d", result);
	return payload;
#endif
}

static struct codec *open_source(uint32_t format, uint32_t page_size, int32_t level, uint32_t flags)
{
#ifdef CHECK_LIBDEFLATE
	(void)format, (void)page_size, (void)level, (void)flags;
	return NULL;
#else
	return must_open(format, CODEC_ENCODE, page_size, level, flags);
#endif
}

/* Decodes what must be exactly these pages. */
static void must_decode(struct codec *codec, struct payload *payload, struct buffer pages,
			struct buffer out, uint32_t page_size)
{
	int32_t result = decode(codec, payload, out, page_size);

	check(result == (int32_t)pages.size, "decoding gave %d", result);
	check(memcmp(out.bytes, pages.bytes, pages.size) == 0, "decoding gave other pages");
}

static void round_trips(uint32_t format)
{
	static const uint32_t sizes[] = { 4096, 8192, 16384, 32768, 65536 };

	doing = "round trips";
	for (int32_t level = -1; level <= 22; level++) {
		for (uint32_t s = 0; s < 5; s++) {
			uint32_t page_size = sizes[s];
			uint32_t flags = level % 2 == 0 ? 0 : CODEC_DENSE;
			/* every level with the smallest, and with another one in turn */
			bool is_turn = s == 0 || level == 1 || s == 1 + (uint32_t)(level + 1) / 2 % 4;
			const uint32_t counts[] = { 1, 6, 2, level == 1 ? PACKET / page_size : 3 };
			struct codec *encoder;
			struct codec *decoder;

			if (!is_turn && !THOROUGH)
				continue;
			encoder = open_source(format, page_size, level, flags);
			decoder = codec_open(format, CODEC_DECODE, page_size, level, 0);
			check((decoder != NULL) == can(format, CODEC_DECODE), "format %u", format);
			for (uint32_t i = 0; i < 8; i++) {
				struct buffer pages = pages_of(counts[i % 4], page_size);
				struct payload sent;
				struct buffer out = take(pages.size);

				if (i == 4 && encoder != NULL)
					codec_reset(encoder);
				if (i == 4 && decoder != NULL)
					codec_reset(decoder);
				sent = next_payload(encoder, format, level, pages, page_size);
				if (decoder != NULL)
					must_decode(decoder, &sent, pages, out, page_size);
				give_payload(sent);
				give(out);
				give(pages);
			}
			codec_close(encoder);
			codec_close(decoder);
		}
	}
}

static void small_rooms(uint32_t format)
{
	doing = "rooms that are too small";
	if (!can(format, CODEC_ENCODE))
		return;
	for (int32_t i = 0; i < (THOROUGH ? 120 : 48); i++) {
		uint32_t page_size = i % 4 == 3 ? 65536 : 4096;
		struct buffer pages = pages_of(1 + below(4), page_size);
		uint32_t flags = (uint32_t)i & CODEC_DENSE;
		struct codec *codec = must_open(format, CODEC_ENCODE, page_size, i % 12, flags);
		int32_t whole = encode(codec, format, pages, page_size, 2 * PACKET, NULL);
		uint32_t need = (uint32_t)whole;
		const uint32_t rooms[] = { 0,        1,        2,    3,          need / 2,
					   need - 5, need - 1, need, below(need) };

		check(whole > 5, "cannot encode: %d", whole);
		for (uint32_t r = 0; r < sizeof(rooms) / sizeof(rooms[0]); r++) {
			int32_t result;

			codec_reset(codec);
			result = encode(codec, format, pages, page_size, rooms[r], NULL);
			/* a little less may be enough for another way of coding the same */
			check(result == CODEC_DOES_NOT_FIT || (result > 0 && rooms[r] >= need / 2),
			      "room %u of %u: %d", rooms[r], need, result);
		}
		codec_reset(codec);
		check(encode(codec, format, pages, page_size, 2 * PACKET, NULL) == (int32_t)need,
		      "another length after a reset");
		codec_close(codec);
		give(pages);
	}
}

/* Changes, cuts or replaces what is in a buffer of its own. */
static struct buffer mutate(struct buffer in)
{
	uint32_t kind = below(5); /* cut the end, cut the start, add, replace; or flip bits */
	struct buffer out;

	if (in.size == 0)
		return copy_of(in.bytes, 0);
	if (kind == 0)
		return copy_of(in.bytes, below(in.size));
	if (kind == 1)
		return copy_of(in.bytes + 1, in.size - 1);
	if (kind == 2) {
		uint32_t more = 1 + below(64);

		out = take(in.size + more);
		memcpy(out.bytes, in.bytes, in.size);
		for (uint32_t i = 0; i < more; i++)
			out.bytes[in.size + i] = (uint8_t)below(256);
		return out;
	}
	out = copy_of(in.bytes, in.size);
	if (kind == 3) {
		for (uint32_t i = below(40); i < in.size; i++)
			out.bytes[i] = (uint8_t)below(256);
		return out;
	}
	for (uint32_t i = 1 + below(6); i > 0; i--) {
		bool is_head = below(2) == 0 && in.size > 40;

		out.bytes[below(is_head ? 40 : in.size)] ^= (uint8_t)(1u << below(8));
	}
	return out;
}

/* The lengths of pages that mutation made longer or shorter: the last ones give or take. */
static void mend_lengths(struct payload *payload, uint32_t count, uint32_t page_size)
{
	uint32_t left = payload->in.size;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t *length = &lengths_in(payload)[i];

		if (*length > left || i == count - 1)
			*length = left;
		if (*length > page_size)
			*length = page_size;
		left -= *length;
	}
}

/* Whether a decoder refused a packet that was changed; it must take good ones before and after. */
static bool refuses_mutation(struct codec *encoder, struct codec *decoder, uint32_t format,
			     int32_t level, uint32_t page_size)
{
	uint32_t count = 1 + below(3);
	struct buffer pages = pages_of(count, page_size);
	struct buffer out = take(pages.size);
	struct payload good = next_payload(encoder, format, level, pages, page_size);
	struct payload bad = { mutate(good.in), copy_of(good.lengths.bytes, good.lengths.size) };
	bool is_refused;

	if (is_pages(format))
		mend_lengths(&bad, count, page_size);
	if (below(3) == 0)
		decode(decoder, &good, out, page_size);
	is_refused = decode(decoder, &bad, out, page_size) < 0;
	/* whatever it was, a reset makes a decoder as good as new */
	codec_reset(decoder);
	must_decode(decoder, &good, pages, out, page_size);
	give_payload(good);
	give_payload(bad);
	give(pages);
	give(out);
	return is_refused;
}

static unsigned long mutations(uint32_t format)
{
	unsigned long refused = 0;

	doing = "mutations";
	/* a codec for each level: opening one may cost more than its packets */
	for (int32_t level = 0; level < MUTATED_LEVELS; level++) {
		uint32_t page_size = level == MUTATED_LEVELS - 1 ? 65536 : 4096;
		struct codec *encoder = open_source(format, page_size, level, 0);
		struct codec *decoder = must_open(format, CODEC_DECODE, page_size, 0, 0);

		for (uint32_t i = 0; i < MUTATIONS / MUTATED_LEVELS; i++) {
			refused += refuses_mutation(encoder, decoder, format, level, page_size);
			if (encoder != NULL)
				codec_reset(encoder);
			codec_reset(decoder);
		}
		codec_close(encoder);
		codec_close(decoder);
	}
	check(refused > MUTATIONS / 4, "only %lu refused", refused);
	return refused;
}

/* A decoder of pages believes no length. */
static void lying_lengths(uint32_t format)
{
	const uint32_t page_size = 4096;
	const uint32_t count = 4;
	struct codec *encoder;
	struct codec *decoder;

	doing = "lengths that lie";
	if (!is_pages(format) || !can(format, CODEC_DECODE))
		return;
	encoder = open_source(format, page_size, 1, 0);
	decoder = must_open(format, CODEC_DECODE, page_size, 0, 0);
	for (uint32_t i = 0; i < LIES; i++) {
		static const uint32_t lies[] = { 0,    1,     4095,       4096,
						 4097, 65536, UINT32_MAX, UINT32_MAX / 2 };
		struct buffer pages = pages_of(count, page_size);
		struct buffer out = take(pages.size);
		struct payload sent = next_payload(encoder, format, 1, pages, page_size);
		uint32_t *length = &lengths_in(&sent)[below(count)];
		uint32_t was = *length;

		*length = i % 2 == 0 ? lies[below(8)] : was + below(3) - 1;
		check(*length == was || decode(decoder, &sent, out, page_size) < 0,
		      "took %u for %u", *length, was);
		*length = was;
		must_decode(decoder, &sent, pages, out, page_size);
		give_payload(sent);
		give(pages);
		give(out);
	}
	codec_close(encoder);
	codec_close(decoder);
}

static void bad_opens(void)
{
	static const uint32_t sizes[] = { 0, 1, 2048, 3000, 4095, 4097, 12288, 131072, UINT32_MAX };
	char text[64];

	doing = "bad arguments of codec_open()";
	check(codec_abi() == CODEC_ABI, "ABI %u", codec_abi());
	for (uint32_t room = 0; room <= sizeof(text); room++) {
		struct buffer cut = take(room);

		check(codec_probe((char *)cut.bytes, room) == codec_probe(text, sizeof(text)),
		      "probe");
		check(room == 0 || memchr(cut.bytes, 0, room) != NULL, "no end in %u bytes", room);
		give(cut);
	}
	for (uint32_t format = 0; format < 64; format++) {
		for (uint32_t direction = 0; direction < 4; direction++) {
			bool knows = format < FORMATS && direction <= CODEC_DECODE &&
				     can(format, direction);
			struct codec *codec = codec_open(format, direction, 4096, 1, 0);

			check((codec != NULL) == knows, "format %u, direction %u", format, direction);
			codec_close(codec);
			for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
				check(codec_open(format, direction, sizes[i], 1, 0) == NULL,
				      "size %u", sizes[i]);
		}
	}
	check(codec_open(UINT32_MAX, 0, 4096, 1, 0) == NULL, "the largest format");
	check(codec_open(0, UINT32_MAX, 4096, 1, 0) == NULL, "the largest direction");
	codec_close(NULL);
}

static void bad_calls(uint32_t format)
{
	static const uint32_t sizes[] = { 0,    1,    4095,
					  4097, 6144, 2 * PACKET + 4096,
					  UINT32_MAX - 4095 };
	struct buffer pages = pages_of(2, 4096);
	struct buffer out = take(2 * PACKET);
	uint32_t lengths[256] = { 4096, 4096 };
	struct codec_fault fault;

	doing = "bad arguments of codec_encode() and codec_decode()";
	for (uint32_t direction = 0; direction <= CODEC_DECODE; direction++) {
		struct codec *codec = codec_open(format, direction, 4096, 1, 0);
		int32_t result;

		if (codec == NULL)
			continue;
		for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			if (direction == CODEC_ENCODE)
				result = codec_encode(codec, pages.bytes, sizes[i], out.bytes,
						      out.size, lengths);
			else
				result = codec_decode(codec, pages.bytes, 8192, lengths, out.bytes,
						      sizes[i], &fault);
			check(result == CODEC_BAD_CALL, "%u bytes: %d", sizes[i], result);
		}
		if (direction == CODEC_DECODE) {
			result = codec_decode(codec, pages.bytes, 2 * PACKET + 1, lengths, out.bytes,
					      8192, &fault);
			check(result == CODEC_BAD_CALL, "more than 1 MiB in: %d", result);
			result = codec_decode(codec, pages.bytes, 8192, NULL, out.bytes, 8192, &fault);
		} else {
			result = codec_encode(codec, pages.bytes, 8192, out.bytes, out.size, NULL);
		}
		check((result == CODEC_BAD_CALL) == is_pages(format), "no lengths: %d", result);
		codec_close(codec);
	}
	give(pages);
	give(out);
}

static void extreme_levels(uint32_t format)
{
	static const int32_t levels[] = { INT32_MIN, -100000, -1000, -1, 0, 10, 23, 1000, INT32_MAX };

	uint32_t flags = codec_device() == 0 ? UINT32_MAX : UINT32_MAX & ~CODEC_DEVICE;

	doing = "extreme levels";
	if (!can(format, CODEC_ENCODE))
		return;
	for (uint32_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		struct buffer pages = pages_of(3, 4096);
		struct codec *codec = must_open(format, CODEC_ENCODE, 4096, levels[i], flags);

		check(encode(codec, format, pages, 4096, 2 * PACKET, NULL) > 0, "level %d", levels[i]);
		codec_reset(codec);
		codec_reset(codec);
		codec_close(codec);
		give(pages);
	}
}

int main(void)
{
	unsigned long refused = 0;
	uint32_t formats = 0;

	bad_opens();
	for (uint32_t format = 0; format < FORMATS; format++) {
		if (!can(format, CODEC_ENCODE) && !can(format, CODEC_DECODE))
			continue;
		formats++;
		bad_calls(format);
		extreme_levels(format);
		if (HAS_SOURCE(format))
			round_trips(format);
		small_rooms(format);
		if (HAS_SOURCE(format) && can(format, CODEC_DECODE))
			refused += mutations(format);
		lying_lengths(format);
	}
	printf("%u formats, %lu checks, %lu refused\n", formats, checks, refused);
	return 0;
}
