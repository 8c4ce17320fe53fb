/* What the codecs share: small checks, byte order, QATzip's member header. */
#ifndef MULTIFD_COMMON_H
#define MULTIFD_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"

#define NO_PAGE UINT32_MAX
#define MIN_PAGE_SIZE 4096u
#define MAX_PAGE_SIZE 65536u
/* 2 * 512 KiB: the most payload a packet has, and twice the most pages */
#define MAX_PACKET_BYTES (1024u * 1024u)

/* A member's source bytes: what QAT hardware takes at once. */
#define QZ_MEMBER_SIZE 65536u
#define QZ_HEADER_SIZE 24u
#define GZIP_TRAILER_SIZE 8u

static inline bool is_page_size(uint32_t size)
{
	return size >= MIN_PAGE_SIZE && size <= MAX_PAGE_SIZE && (size & (size - 1)) == 0;
}

static inline bool is_whole_pages(uint32_t size, uint32_t page_size)
{
	return size > 0 && size <= MAX_PACKET_BYTES && size % page_size == 0;
}

static inline uint32_t read_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void write_le32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
	p[2] = (uint8_t)(value >> 16);
	p[3] = (uint8_t)(value >> 24);
}

static inline int32_t fail(struct codec_fault *fault, int32_t result, uint32_t page,
			   uint32_t expected, uint32_t received, int32_t code)
{
	*fault = (struct codec_fault){ page, expected, received, code };
	return result;
}

static inline void name_version(char *text, uint32_t room, const char *name, const char *version)
{
	if (room > 0)
		snprintf(text, room, "%s %s", name, version);
}

/* Writes QATzip's header of a member: RFC 1952 with the extra field "QZ". */
static inline void write_qz_header(uint8_t *p, uint32_t source, uint32_t deflated)
{
	static const uint8_t start[16] = { 0x1f, 0x8b, 8, 4, 0, 0,   0,   0,
					   0,    0xff, 12, 0, 'Q', 'Z', 8, 0 };

	memcpy(p, start, sizeof(start));
	write_le32(p + 16, source);
	write_le32(p + 20, deflated);
}

#endif
