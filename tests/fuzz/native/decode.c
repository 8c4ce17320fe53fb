/*
 * A channel's packets into the decoder of one library, for libFuzzer.
 *
 * An input is a byte that chooses format and page size, then packets: a byte for the number of
 * pages, three for the payload's size, the payload as it is on the wire. Pages and payload each
 * end at a page that nobody may touch, which also stops a library that has no instrumentation.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../native-shim/common.h"

#define PACKET (512u * 1024u)
#define ROOM (MAX_PACKET_BYTES + 64u * 1024u)
#define CANARY 64u
#define MAX_PAGES 128u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The end of ROOM bytes in front of a page without access. */
static uint8_t *guarded_end(void)
{
	uint8_t *map = mmap(NULL, ROOM + (size_t)sysconf(_SC_PAGESIZE), PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map, ROOM, PROT_READ | PROT_WRITE) != 0)
		abort();
	return map + ROOM;
}

/* The formats that the library decodes; how many there are. */
static uint32_t formats_of(uint32_t *formats)
{
	char text[64];
	uint32_t known = codec_probe(text, sizeof(text)) >> 8;
	uint32_t count = 0;

	for (uint32_t format = CODEC_ZLIB_STREAM; format <= CODEC_GZIP_MEMBERS; format++) {
		if ((known >> format & 1) != 0)
			formats[count++] = format;
	}
	return count;
}

/* Takes the lengths off the front of a payload; what is not there is 0. */
static uint32_t take_lengths(const uint8_t *payload, uint32_t size, uint32_t count, uint32_t *lengths)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *p = payload + (size_t)4 * i;

		lengths[i] = 4 * i + 4 > size ? 0
					      : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
							(uint32_t)p[2] << 8 | (uint32_t)p[3];
	}
	return 4 * count < size ? 4 * count : size;
}

static void decode(struct codec *codec, bool is_pages, uint32_t page_size, uint32_t count,
		   const uint8_t *payload, uint32_t size)
{
	static uint8_t *in_end, *out_end;
	static const uint8_t canary[CANARY];
	uint32_t lengths[MAX_PAGES];
	uint32_t out_size = count * page_size;
	uint32_t head = is_pages ? take_lengths(payload, size, count, lengths) : 0;
	struct codec_fault fault = { 0 };
	uint8_t *in, *out;
	int32_t result;

	if (in_end == NULL) {
		in_end = guarded_end();
		out_end = guarded_end();
	}
	in = in_end - (size - head);
	out = out_end - out_size;
	if (size > head)
		memcpy(in, payload + head, size - head);
	memset(out - CANARY, 0, CANARY);
	result = codec_decode(codec, in, size - head, is_pages ? lengths : NULL, out, out_size, &fault);
	if (memcmp(out - CANARY, canary, CANARY) != 0)
		abort();
	if (result == (int32_t)out_size)
		return;
	/* it may blame the input, and the lengths; never itself */
	if (result != CODEC_TOO_SHORT && result != CODEC_TOO_LONG && result != CODEC_LEFT_OVER &&
	    result != CODEC_BAD_DATA && !(is_pages && result == CODEC_BAD_CALL))
		abort();
	codec_reset(codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t formats[8];
	uint32_t page_size, format;
	struct codec *codec;
	size_t at = 1;

	if (size == 0 || size > MAX_PACKET_BYTES)
		return 0;
	page_size = MIN_PAGE_SIZE << (data[0] & 7) % 5;
	format = formats[(data[0] >> 3) % formats_of(formats)];
	codec = codec_open(format, CODEC_DECODE, page_size, 0, 0);
	if (codec == NULL)
		abort();
	while (at + 4 <= size) {
		uint32_t count = 1 + data[at] % (PACKET / page_size);
		uint32_t wanted = (uint32_t)data[at + 1] << 16 | (uint32_t)data[at + 2] << 8 |
				  (uint32_t)data[at + 3];
		uint32_t left = (uint32_t)(size - at - 4);
		uint32_t length = wanted < left ? wanted : left;

		decode(codec, format == CODEC_DEFLATE_PAGES || format == CODEC_ZLIB_PAGES, page_size,
		       count, data + at + 4, length);
		at += 4 + length;
	}
	codec_close(codec);
	return 0;
}
