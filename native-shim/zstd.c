/* libzstd: a frame per part of a packet out, any frames in. */
#include <stdlib.h>

#include <zstd.h>

#include "common.h"
#include "noise.h"

/* RFC 8878, 3.1.1.1: magic, a descriptor that says what else there is, the content's size */
#define RAW_FRAME_HEADER_SIZE 9u
#define SINGLE_SEGMENT_WITH_SIZE 0xa0u
/* RFC 8878, 3.1.1.2: bit 0 marks the last block, bits 1 and 2 are its type, 0 for raw */
#define BLOCK_HEADER_SIZE 3u
#define BLOCK_SIZE_SHIFT 3u

/*
 * 16 KiB of hash table, which the first cache holds beside the pages, and matches from 6 bytes:
 * on mixed guest pages a tenth faster than the level's own 64 KiB and 7 bytes, for 0.8 % more
 * bytes.
 */
#define FASTEST_LEVEL 1
#define FASTEST_HASH_LOG 12
#define FASTEST_MIN_MATCH 6

/* of level 20, QEMU's highest; the library would take 2^27 from anyone */
#define LARGEST_WINDOW_LOG 25

struct codec {
	uint32_t page_size;
	/* in frames of their own: a frame has no window to those before it */
	bool stores_noise;
	ZSTD_CCtx *encoder;
	ZSTD_DCtx *decoder;
};

uint32_t codec_abi(void)
{
	return CODEC_ABI;
}

uint32_t codec_probe(char *text, uint32_t room)
{
	name_version(text, room, "zstd", ZSTD_versionString());
	return 1u << CODEC_ZSTD_STREAM | 1u << (8 + CODEC_ZSTD_STREAM);
}

static size_t set_fastest(ZSTD_CCtx *encoder)
{
	size_t error = ZSTD_CCtx_setParameter(encoder, ZSTD_c_hashLog, FASTEST_HASH_LOG);

	return ZSTD_isError(error)
		       ? error
		       : ZSTD_CCtx_setParameter(encoder, ZSTD_c_minMatch, FASTEST_MIN_MATCH);
}

struct codec *codec_open(uint32_t format, uint32_t direction, uint32_t page_size, int32_t level,
			 uint32_t flags)
{
	struct codec *codec;
	size_t error = 0;

	if (format != CODEC_ZSTD_STREAM || direction > CODEC_DECODE || !is_page_size(page_size))
		return NULL;
	codec = calloc(1, sizeof(*codec));
	if (codec == NULL)
		return NULL;
	codec->page_size = page_size;
	if (direction == CODEC_ENCODE) {
		codec->encoder = ZSTD_createCCtx();
		if (codec->encoder != NULL)
			error = ZSTD_CCtx_setParameter(codec->encoder, ZSTD_c_compressionLevel, level);
		codec->stores_noise = level == FASTEST_LEVEL && (flags & CODEC_DENSE) == 0;
		if (codec->stores_noise && !ZSTD_isError(error))
			error = set_fastest(codec->encoder);
	} else {
		codec->decoder = ZSTD_createDCtx();
		if (codec->decoder != NULL)
			error = ZSTD_DCtx_setParameter(codec->decoder, ZSTD_d_windowLogMax, LARGEST_WINDOW_LOG);
	}
	if ((codec->encoder == NULL && codec->decoder == NULL) || ZSTD_isError(error)) {
		codec_close(codec);
		return NULL;
	}
	return codec;
}

void codec_reset(struct codec *codec)
{
	if (codec->encoder != NULL)
		ZSTD_CCtx_reset(codec->encoder, ZSTD_reset_session_only);
	if (codec->decoder != NULL)
		ZSTD_DCtx_reset(codec->decoder, ZSTD_reset_session_only);
}

void codec_close(struct codec *codec)
{
	if (codec == NULL)
		return;
	ZSTD_freeCCtx(codec->encoder);
	ZSTD_freeDCtx(codec->decoder);
	free(codec);
}

static int32_t compress(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
			uint32_t room)
{
	size_t result = ZSTD_compress2(codec->encoder, out, room, pages, size);

	if (ZSTD_isError(result))
		return room < ZSTD_compressBound(size) ? CODEC_DOES_NOT_FIT : CODEC_LIBRARY_ERROR;
	return (int32_t)result;
}

/* A frame of raw blocks, which is no longer than what ZSTD_compress2 makes of noise. */
static int32_t store(const uint8_t *pages, uint32_t size, uint8_t *out, uint32_t room)
{
	uint32_t blocks = (size + ZSTD_BLOCKSIZE_MAX - 1) / ZSTD_BLOCKSIZE_MAX;
	uint32_t at = RAW_FRAME_HEADER_SIZE;

	if (room < RAW_FRAME_HEADER_SIZE + blocks * BLOCK_HEADER_SIZE + size)
		return CODEC_DOES_NOT_FIT;
	write_le32(out, ZSTD_MAGICNUMBER);
	out[4] = SINGLE_SEGMENT_WITH_SIZE;
	write_le32(out + 5, size);
	while (size > 0) {
		uint32_t length = size < ZSTD_BLOCKSIZE_MAX ? size : ZSTD_BLOCKSIZE_MAX;
		uint32_t header;

		size -= length;
		header = length << BLOCK_SIZE_SHIFT | (size == 0);
		out[at] = (uint8_t)header;
		out[at + 1] = (uint8_t)(header >> 8);
		out[at + 2] = (uint8_t)(header >> 16);
		memcpy(out + at + BLOCK_HEADER_SIZE, pages, length);
		at += BLOCK_HEADER_SIZE + length;
		pages += length;
	}
	return (int32_t)at;
}

int32_t codec_encode(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
		     uint32_t room, uint32_t *lengths)
{
	uint32_t at = 0;

	(void)lengths;
	if (codec->encoder == NULL || !is_whole_pages(size, codec->page_size))
		return CODEC_BAD_CALL;
	while (size > 0) {
		struct part part = { size, 0 };
		int32_t length = 0;

		if (codec->stores_noise)
			part = next_part(pages, size, codec->page_size);
		if (part.coded > 0)
			length = compress(codec, pages, part.coded, out + at, room - at);
		if (length < 0)
			return length;
		at += (uint32_t)length;
		pages += part.coded;
		if (part.noise > 0) {
			length = store(pages, part.noise, out + at, room - at);
			if (length < 0)
				return length;
			at += (uint32_t)length;
		}
		pages += part.noise;
		size -= part.coded + part.noise;
	}
	return (int32_t)at;
}

/*
 * Decodes until the input is used or the output is full; false on bad data. wanted gets
 * what the library then hopes for: 0 behind a frame, a block's header behind a block.
 */
static bool decode_into(ZSTD_DCtx *decoder, ZSTD_inBuffer *in, ZSTD_outBuffer *out, size_t *wanted)
{
	for (;;) {
		size_t in_before = in->pos;
		size_t out_before = out->pos;
		size_t result = ZSTD_decompressStream(decoder, out, in);

		if (ZSTD_isError(result))
			return false;
		if (in->pos == in_before && out->pos == out_before)
			return true;
		*wanted = result;
	}
}

int32_t codec_decode(struct codec *codec, const uint8_t *in, uint32_t size, const uint32_t *lengths,
		     uint8_t *out, uint32_t out_size, struct codec_fault *fault)
{
	ZSTD_inBuffer input = { in, size, 0 };
	ZSTD_outBuffer output = { out, out_size, 0 };
	uint8_t extra[1];
	ZSTD_outBuffer beyond = { extra, sizeof(extra), 0 };
	size_t wanted = 0;

	(void)lengths;
	if (codec->decoder == NULL || !is_whole_pages(out_size, codec->page_size) ||
	    size > MAX_PACKET_BYTES)
		return CODEC_BAD_CALL;
	if (!decode_into(codec->decoder, &input, &output, &wanted))
		return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
	if (output.pos < out_size)
		return fail(fault, CODEC_TOO_SHORT, NO_PAGE, out_size, (uint32_t)output.pos, 0);
	/* a frame's end may follow the last byte; another byte may not */
	if (!decode_into(codec->decoder, &input, &beyond, &wanted))
		return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
	if (beyond.pos > 0)
		return fail(fault, CODEC_TOO_LONG, NO_PAGE, out_size, out_size + 1, 0);
	/* a block that is begun would be the next packet's */
	if (wanted != 0 && wanted != BLOCK_HEADER_SIZE)
		return fail(fault, CODEC_TOO_SHORT, NO_PAGE, 0, 0, 0);
	if (input.pos < size)
		return fail(fault, CODEC_LEFT_OVER, NO_PAGE, (uint32_t)input.pos, size, 0);
	return (int32_t)out_size;
}
