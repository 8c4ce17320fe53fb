/* libdeflate: the fastest inflate of whole buffers; decodes pages and gzip members. */
#include <stdlib.h>

#include <libdeflate.h>

#include "common.h"

/* without the fields that its flags say */
#define GZIP_HEADER_SIZE 10u

struct codec {
	enum codec_format format;
	uint32_t page_size;
	struct libdeflate_decompressor *decompressor;
};

uint32_t codec_abi(void)
{
	return CODEC_ABI;
}

uint32_t codec_probe(char *text, uint32_t room)
{
	name_version(text, room, "libdeflate", LIBDEFLATE_VERSION_STRING);
	return 1u << (8 + CODEC_DEFLATE_PAGES) | 1u << (8 + CODEC_ZLIB_PAGES) |
	       1u << (8 + CODEC_GZIP_MEMBERS);
}

struct codec *codec_open(uint32_t format, uint32_t direction, uint32_t page_size, int32_t level,
			 uint32_t flags)
{
	struct codec *codec;

	(void)level;
	(void)flags;
	if (direction != CODEC_DECODE || format < CODEC_DEFLATE_PAGES ||
	    format > CODEC_GZIP_MEMBERS || !is_page_size(page_size))
		return NULL;
	codec = calloc(1, sizeof(*codec));
	if (codec == NULL)
		return NULL;
	codec->format = format;
	codec->page_size = page_size;
	codec->decompressor = libdeflate_alloc_decompressor();
	if (codec->decompressor == NULL) {
		free(codec);
		return NULL;
	}
	return codec;
}

void codec_reset(struct codec *codec)
{
	(void)codec; /* nothing is carried from packet to packet */
}

void codec_close(struct codec *codec)
{
	if (codec == NULL)
		return;
	libdeflate_free_decompressor(codec->decompressor);
	free(codec);
}

int32_t codec_encode(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
		     uint32_t room, uint32_t *lengths)
{
	(void)codec;
	(void)pages;
	(void)size;
	(void)out;
	(void)room;
	(void)lengths;
	return CODEC_BAD_CALL;
}

/* To the library, input that is cut short is bad data, or too long: it reads zeros behind it. */
static int32_t fail_with(struct codec_fault *fault, enum libdeflate_result result, uint32_t page,
			 uint32_t expected)
{
	if (result == LIBDEFLATE_INSUFFICIENT_SPACE)
		return fail(fault, CODEC_TOO_LONG, page, expected, expected + 1, 0);
	return fail(fault, CODEC_BAD_DATA, page, 0, 0, (int32_t)result);
}

static int32_t decode_page(struct codec *codec, const uint8_t *in, uint32_t length, uint8_t *out,
			   uint32_t page, struct codec_fault *fault)
{
	uint32_t size = codec->page_size;
	enum libdeflate_result result;
	size_t used = 0;
	size_t got = 0;

	if (length == size) {
		memcpy(out, in, size);
		return 0;
	}
	if (codec->format == CODEC_DEFLATE_PAGES)
		result = libdeflate_deflate_decompress_ex(codec->decompressor, in, length, out, size,
							  &used, &got);
	else
		result = libdeflate_zlib_decompress_ex(codec->decompressor, in, length, out, size, &used,
						       &got);
	if (result != LIBDEFLATE_SUCCESS)
		return fail_with(fault, result, page, size);
	if (got != size)
		return fail(fault, CODEC_TOO_SHORT, page, size, (uint32_t)got, 0);
	if (used != length)
		return fail(fault, CODEC_LEFT_OVER, page, (uint32_t)used, length, 0);
	return 0;
}

static int32_t decode_pages(struct codec *codec, const uint8_t *in, uint32_t size,
			    const uint32_t *lengths, uint8_t *out, uint32_t out_size,
			    struct codec_fault *fault)
{
	uint32_t at = 0;

	if (lengths == NULL)
		return CODEC_BAD_CALL;
	for (uint32_t i = 0; i * codec->page_size < out_size; i++) {
		int32_t result;

		if (lengths[i] < 1 || lengths[i] > codec->page_size || lengths[i] > size - at)
			return CODEC_BAD_CALL;
		result = decode_page(codec, in + at, lengths[i], out + (size_t)i * codec->page_size, i,
				     fault);
		if (result < 0)
			return result;
		at += lengths[i];
	}
	return at == size ? (int32_t)out_size : CODEC_BAD_CALL;
}

struct gzip_header {
	uint32_t size;
	bool has_qz;
	uint32_t source;
	uint32_t deflated;
};

/* Reads a member's header, QATzip's or plain; false where it is none. size is at least 10. */
static bool read_gzip_header(const uint8_t *in, uint32_t size, struct gzip_header *header)
{
	uint32_t at = GZIP_HEADER_SIZE;

	*header = (struct gzip_header){ 0 };
	if (in[0] != 0x1f || in[1] != 0x8b || in[2] != 8 || (in[3] & 0xe0) != 0)
		return false;
	if ((in[3] & 0x04) != 0) {
		uint32_t end;

		if (size - at < 2)
			return false;
		end = at + 2 + ((uint32_t)in[at] | (uint32_t)in[at + 1] << 8);
		if (end > size)
			return false;
		at += 2;
		while (at + 4 <= end) {
			uint32_t length = (uint32_t)in[at + 2] | (uint32_t)in[at + 3] << 8;

			if (length > end - at - 4)
				return false;
			if (in[at] == 'Q' && in[at + 1] == 'Z' && length == 8) {
				header->has_qz = true;
				header->source = read_le32(in + at + 4);
				header->deflated = read_le32(in + at + 8);
			}
			at += 4 + length;
		}
		at = end;
	}
	for (uint32_t flag = 0x08; flag <= 0x10; flag <<= 1) { /* a name, a comment */
		const uint8_t *nul;

		if ((in[3] & flag) == 0)
			continue;
		nul = memchr(in + at, 0, size - at);
		if (nul == NULL)
			return false;
		at = (uint32_t)(nul - in) + 1;
	}
	if ((in[3] & 0x02) != 0)
		at += 2;
	header->size = at;
	return at <= size;
}

static int32_t decode_members(struct codec *codec, const uint8_t *in, uint32_t size, uint8_t *out,
			      uint32_t out_size, struct codec_fault *fault)
{
	uint32_t at = 0;
	uint32_t filled = 0;

	while (at < size) {
		struct gzip_header header;
		enum libdeflate_result result;
		size_t used = 0;
		size_t got = 0;
		const uint8_t *trailer;

		if (filled == out_size)
			return fail(fault, CODEC_LEFT_OVER, NO_PAGE, at, size, 0);
		if (size - at < GZIP_HEADER_SIZE)
			return fail(fault, CODEC_TOO_SHORT, NO_PAGE, at + GZIP_HEADER_SIZE, size, 0);
		if (!read_gzip_header(in + at, size - at, &header))
			return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
		at += header.size;
		result = libdeflate_deflate_decompress_ex(codec->decompressor, in + at, size - at,
							  out + filled, out_size - filled, &used, &got);
		if (result != LIBDEFLATE_SUCCESS)
			return fail_with(fault, result, NO_PAGE, out_size);
		if (size - at - used < GZIP_TRAILER_SIZE)
			return fail(fault, CODEC_TOO_SHORT, NO_PAGE, at + (uint32_t)used + GZIP_TRAILER_SIZE,
				    size, 0);
		trailer = in + at + used;
		if (read_le32(trailer) != libdeflate_crc32(0, out + filled, got) ||
		    read_le32(trailer + 4) != got ||
		    (header.has_qz && (header.source != got || header.deflated != used)))
			return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
		at += (uint32_t)used + GZIP_TRAILER_SIZE;
		filled += (uint32_t)got;
	}
	if (filled != out_size)
		return fail(fault, CODEC_TOO_SHORT, NO_PAGE, out_size, filled, 0);
	return (int32_t)out_size;
}

int32_t codec_decode(struct codec *codec, const uint8_t *in, uint32_t size, const uint32_t *lengths,
		     uint8_t *out, uint32_t out_size, struct codec_fault *fault)
{
	if (!is_whole_pages(out_size, codec->page_size) || size > MAX_PACKET_BYTES)
		return CODEC_BAD_CALL;
	if (codec->format == CODEC_GZIP_MEMBERS)
		return decode_members(codec, in, size, out, out_size, fault);
	return decode_pages(codec, in, size, lengths, out, out_size, fault);
}
