/* Intel ISA-L: the fastest deflate in software; encodes every deflate format, decodes streams. */
#include <stdlib.h>

#include <isa-l.h>

#include "common.h"
#include "noise.h"

#define STRINGIFY(x) #x
#define VERSION_TEXT(a, b, c) STRINGIFY(a) "." STRINGIFY(b) "." STRINGIFY(c)
#define LIBRARY_VERSION VERSION_TEXT(ISAL_MAJOR_VERSION, ISAL_MINOR_VERSION, ISAL_PATCH_VERSION)

/* 2^12: what a receiver's hardware has as window */
#define PAGE_WINDOW_BITS 12
/* 32nds of a page: a longer code takes more time to decode than its few bytes are worth */
#define WORTH_A_CODE 25u
#define MAX_LEVEL 3
/* the most the largest level's buffer takes */
#define LEVEL_BUFFER_SIZE ISAL_DEF_LVL3_DEFAULT

#define ZLIB_HEADER_SIZE 2u
#define STORED_HEADER_SIZE 5u
#define MAX_STORED 65535u

/* How a sync flush ends. */
static const uint8_t FLUSH[4] = { 0x00, 0x00, 0xff, 0xff };

struct codec {
	enum codec_format format;
	uint32_t page_size;
	/* for a page's code; what does not fit is sent raw */
	uint32_t room;
	bool at_start;
	struct isal_zstream stream;
	struct inflate_state inflate;
	uint8_t level_buffer[];
};

uint32_t codec_abi(void)
{
	return CODEC_ABI;
}

uint32_t codec_probe(char *text, uint32_t room)
{
	name_version(text, room, "ISA-L", LIBRARY_VERSION);
	return 1u << CODEC_ZLIB_STREAM | 1u << CODEC_DEFLATE_PAGES | 1u << CODEC_ZLIB_PAGES |
	       1u << CODEC_GZIP_MEMBERS | 1u << (8 + CODEC_ZLIB_STREAM);
}

static bool is_known(uint32_t format, uint32_t direction)
{
	char text[1];
	uint32_t known = codec_probe(text, 0);

	return format < 8 && direction <= CODEC_DECODE && (known >> (8 * direction + format) & 1) != 0;
}

struct codec *codec_open(uint32_t format, uint32_t direction, uint32_t page_size, int32_t level,
			 uint32_t flags)
{
	struct codec *codec;
	bool is_pages = format == CODEC_DEFLATE_PAGES || format == CODEC_ZLIB_PAGES;

	if (!is_known(format, direction) || !is_page_size(page_size))
		return NULL;
	codec = calloc(1, sizeof(*codec) + LEVEL_BUFFER_SIZE);
	if (codec == NULL)
		return NULL;
	codec->format = format;
	codec->page_size = page_size;
	isal_deflate_init(&codec->stream);
	codec->room = page_size - 1;
	if (is_pages && (flags & CODEC_DENSE) == 0) {
		level = 0;
		codec->room = page_size / 32 * WORTH_A_CODE;
	} else if (is_pages || level < 1) {
		level = 1; /* level 0 has fixed codes, which blow noise up by a quarter */
	}
	if (level > MAX_LEVEL)
		level = MAX_LEVEL;
	codec->stream.level = level < 0 ? 0 : (uint32_t)level;
	codec->stream.level_buf = codec->level_buffer;
	codec->stream.level_buf_size = LEVEL_BUFFER_SIZE;
	codec_reset(codec);
	return codec;
}

void codec_reset(struct codec *codec)
{
	codec->at_start = true;
	isal_deflate_reset(&codec->stream);
	isal_inflate_init(&codec->inflate);
	codec->inflate.crc_flag = ISAL_DEFLATE;
}

void codec_close(struct codec *codec)
{
	free(codec);
}

/* One deflate stream, or a part that more can follow; 0 where it does not fit. */
static uint32_t deflate_once(struct codec *codec, const uint8_t *source, uint32_t size, uint8_t *out,
			     uint32_t room, uint32_t window_bits, bool is_last)
{
	struct isal_zstream *stream = &codec->stream;
	uint32_t level = stream->level;

	isal_deflate_stateless_init(stream);
	stream->level = level;
	stream->level_buf = codec->level_buffer;
	stream->level_buf_size = LEVEL_BUFFER_SIZE;
	stream->hist_bits = (uint16_t)window_bits;
	if (level == 0)
		isal_deflate_set_hufftables(stream, NULL, IGZIP_HUFFTABLE_STATIC);
	stream->next_in = (uint8_t *)(uintptr_t)source;
	stream->avail_in = size;
	stream->next_out = out;
	stream->avail_out = room;
	stream->flush = is_last ? NO_FLUSH : FULL_FLUSH;
	stream->end_of_stream = is_last;
	if (isal_deflate_stateless(stream) != COMP_OK || stream->avail_in > 0)
		return 0;
	return stream->total_out;
}

/* Deflate's stored blocks; 0 where they do not fit. */
static uint32_t store(const uint8_t *source, uint32_t size, uint8_t *out, uint32_t room, bool is_last)
{
	uint32_t at = 0;

	do {
		uint32_t length = size < MAX_STORED ? size : MAX_STORED;

		if (room - at < STORED_HEADER_SIZE + length)
			return 0;
		size -= length;
		out[at] = is_last && size == 0;
		out[at + 1] = (uint8_t)length;
		out[at + 2] = (uint8_t)(length >> 8);
		out[at + 3] = (uint8_t)~length;
		out[at + 4] = (uint8_t)(~length >> 8);
		memcpy(out + at + STORED_HEADER_SIZE, source, length);
		source += length;
		at += STORED_HEADER_SIZE + length;
	} while (size > 0);
	return at;
}

/*
 * Deflates pages, and stores long runs of those that nothing will make shorter; parts share no
 * window. 0 where they do not fit.
 */
static uint32_t deflate_parts(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
			      uint32_t room, bool is_last)
{
	uint32_t at = 0;

	while (size > 0) {
		struct part part = next_part(pages, size, codec->page_size);
		uint32_t length;

		size -= part.coded + part.noise;
		if (part.coded > 0) {
			length = deflate_once(codec, pages, part.coded, out + at, room - at, 0,
					      is_last && size + part.noise == 0);
			if (length == 0)
				return 0;
			at += length;
		}
		pages += part.coded;
		if (part.noise > 0) {
			length = store(pages, part.noise, out + at, room - at, is_last && size == 0);
			if (length == 0)
				return 0;
			at += length;
		}
		pages += part.noise;
	}
	return at;
}

static int32_t encode_stream(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
			     uint32_t room)
{
	uint32_t at = codec->at_start ? ZLIB_HEADER_SIZE : 0;
	uint32_t length;

	if (room < at)
		return CODEC_DOES_NOT_FIT;
	if (codec->at_start) {
		out[0] = 0x78;
		out[1] = 0x01;
		codec->at_start = false;
	}
	length = deflate_parts(codec, pages, size, out + at, room - at, false);
	if (length == 0)
		return CODEC_DOES_NOT_FIT;
	at += length;
	/* behind stored pages an empty block is the flush that ends a packet */
	if (memcmp(out + at - sizeof(FLUSH), FLUSH, sizeof(FLUSH)) != 0) {
		length = store(pages, 0, out + at, room - at, false);
		if (length == 0)
			return CODEC_DOES_NOT_FIT;
		at += length;
	}
	return (int32_t)at;
}

static uint32_t encode_page(struct codec *codec, const uint8_t *page, uint8_t *out)
{
	uint32_t size = codec->page_size;
	uint32_t room = codec->room;
	uint32_t length;
	uint32_t adler;

	if (looks_incompressible(page, size))
		return 0;
	if (codec->format == CODEC_DEFLATE_PAGES)
		return deflate_once(codec, page, size, out, room, PAGE_WINDOW_BITS, true);
	length = deflate_once(codec, page, size, out + 2, room - 6, PAGE_WINDOW_BITS, true);
	if (length == 0)
		return 0;
	/* the header UADK writes; the window is smaller than it says, which every inflate takes */
	out[0] = 0x78;
	out[1] = 0x9c;
	adler = isal_adler32(1, page, size);
	for (int i = 0; i < 4; i++)
		out[2 + length + (uint32_t)i] = (uint8_t)(adler >> (24 - 8 * i));
	return length + 6;
}

static int32_t encode_pages(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
			    uint32_t room, uint32_t *lengths)
{
	uint32_t at = 0;

	if (lengths == NULL)
		return CODEC_BAD_CALL;
	for (uint32_t i = 0; i * codec->page_size < size; i++) {
		const uint8_t *page = pages + (size_t)i * codec->page_size;
		uint32_t length;

		if (room - at < codec->page_size)
			return CODEC_DOES_NOT_FIT;
		length = encode_page(codec, page, out + at);
		if (length == 0) {
			length = codec->page_size;
			memcpy(out + at, page, length);
		}
		lengths[i] = length;
		at += length;
	}
	return (int32_t)at;
}

static int32_t encode_members(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
			      uint32_t room)
{
	uint32_t at = 0;

	for (uint32_t start = 0; start < size; start += QZ_MEMBER_SIZE) {
		uint32_t source = size - start < QZ_MEMBER_SIZE ? size - start : QZ_MEMBER_SIZE;
		uint32_t length;

		if (room - at < QZ_HEADER_SIZE + GZIP_TRAILER_SIZE)
			return CODEC_DOES_NOT_FIT;
		length = deflate_parts(codec, pages + start, source, out + at + QZ_HEADER_SIZE,
				       room - at - QZ_HEADER_SIZE - GZIP_TRAILER_SIZE, true);
		if (length == 0)
			return CODEC_DOES_NOT_FIT;
		write_qz_header(out + at, source, length);
		at += QZ_HEADER_SIZE + length;
		write_le32(out + at, crc32_gzip_refl(0, pages + start, source));
		write_le32(out + at + 4, source);
		at += GZIP_TRAILER_SIZE;
	}
	return (int32_t)at;
}

int32_t codec_encode(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
		     uint32_t room, uint32_t *lengths)
{
	if (!is_whole_pages(size, codec->page_size))
		return CODEC_BAD_CALL;
	switch (codec->format) {
	case CODEC_ZLIB_STREAM:
		return encode_stream(codec, pages, size, out, room);
	case CODEC_DEFLATE_PAGES:
	case CODEC_ZLIB_PAGES:
		return encode_pages(codec, pages, size, out, room, lengths);
	case CODEC_GZIP_MEMBERS:
		return encode_members(codec, pages, size, out, room);
	default:
		return CODEC_BAD_CALL;
	}
}

/* Skips the header of the channel's one zlib stream; 0 where it is none. */
static uint32_t skip_zlib_header(const uint8_t *in, uint32_t size)
{
	bool is_zlib = size >= 2 && (in[0] & 0x0f) == 8 && in[0] >> 4 <= 7 &&
		       (in[0] * 256u + in[1]) % 31 == 0 && (in[1] & 0x20) == 0;

	return is_zlib ? 2 : 0;
}

int32_t codec_decode(struct codec *codec, const uint8_t *in, uint32_t size, const uint32_t *lengths,
		     uint8_t *out, uint32_t out_size, struct codec_fault *fault)
{
	struct inflate_state *inflate = &codec->inflate;
	uint8_t beyond[1];
	uint32_t head = 0;
	uint32_t unread;
	int result;

	(void)lengths;
	if (codec->format != CODEC_ZLIB_STREAM || !is_whole_pages(out_size, codec->page_size) ||
	    size > MAX_PACKET_BYTES)
		return CODEC_BAD_CALL;
	if (codec->at_start) {
		head = skip_zlib_header(in, size);
		if (head == 0)
			return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
		in += head;
		size -= head;
		codec->at_start = false;
	}
	/* the next packet starts on a byte only after a sync flush */
	if (size < sizeof(FLUSH) || memcmp(in + size - sizeof(FLUSH), FLUSH, sizeof(FLUSH)) != 0)
		return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
	inflate->next_in = (uint8_t *)(uintptr_t)in;
	inflate->avail_in = size;
	inflate->next_out = out;
	inflate->avail_out = out_size;
	result = isal_inflate(inflate);
	if (result < ISAL_DECOMP_OK)
		return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, result);
	if (inflate->avail_out > 0)
		return fail(fault, CODEC_TOO_SHORT, NO_PAGE, out_size, out_size - inflate->avail_out, 0);
	/* the flush behind the last byte still has to be read, and must hold nothing more */
	inflate->next_out = beyond;
	inflate->avail_out = sizeof(beyond);
	result = isal_inflate(inflate);
	if (result < ISAL_DECOMP_OK)
		return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, result);
	if (inflate->avail_out == 0)
		return fail(fault, CODEC_TOO_LONG, NO_PAGE, out_size, out_size + 1, 0);
	unread = inflate->avail_in + (uint32_t)inflate->read_in_length / 8;
	if (unread > 0 || inflate->block_state == ISAL_BLOCK_FINISH)
		return fail(fault, CODEC_LEFT_OVER, NO_PAGE, head + size - unread, head + size, 0);
	return (int32_t)out_size;
}
