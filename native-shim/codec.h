/*
 * codec.h: the one interface that every codec library is wrapped in.
 *
 * Each library becomes a shared object of its own with exactly these symbols. The
 * caller owns every buffer; nothing is kept of one after a call returns, by a device
 * neither. A codec is used by one thread at a time; different codecs share nothing. No
 * function prints, aborts or allocates, but for codec_open() (and libzstd, its window),
 * and sizes are 32 bits because a packet is.
 */
#ifndef MULTIFD_CODEC_H
#define MULTIFD_CODEC_H

#include <stdint.h>

#define CODEC_EXPORT __attribute__((visibility("default")))

/* Changes whenever a caller must: the loader refuses another. */
#define CODEC_ABI 2

/* The compressed formats, by bit number in codec_probe()'s answer. */
enum codec_format {
	CODEC_ZLIB_STREAM = 0,   /* one zlib stream per channel, sync-flushed per packet */
	CODEC_ZSTD_STREAM = 1,   /* zstd frames, flushed per packet */
	CODEC_DEFLATE_PAGES = 2, /* a raw deflate stream per page */
	CODEC_ZLIB_PAGES = 3,    /* a zlib stream per page */
	CODEC_GZIP_MEMBERS = 4,  /* gzip members with QATzip's extra field */
};

enum codec_direction {
	CODEC_ENCODE = 0,
	CODEC_DECODE = 1,
};

/* Results below zero; zero and above are bytes written. */
enum codec_result {
	CODEC_DOES_NOT_FIT = -1,  /* encoding: the output is larger than the room for it */
	CODEC_TOO_SHORT = -2,     /* decoding: the input ends, and output is missing */
	CODEC_TOO_LONG = -3,      /* decoding: the input holds more than the output takes */
	CODEC_LEFT_OVER = -4,     /* decoding: the output is whole, and input is left */
	CODEC_BAD_DATA = -5,      /* decoding: the input is not of this format */
	CODEC_LIBRARY_ERROR = -6, /* the library failed at its own work */
	CODEC_BAD_CALL = -7,      /* an argument cannot be right */
	CODEC_DEVICE_FAILED = -8, /* the device failed, and software does not step in here */
};

/* What a codec with a device has counted since it was opened, by index. */
enum codec_count {
	CODEC_DEVICE_PAGES = 0,   /* pages that the device computed */
	CODEC_SOFTWARE_PAGES = 1, /* pages that software computed, in the device's place */
	CODEC_RAW_PAGES = 2,      /* pages that were copied: they do not shrink */
	CODEC_BUSY = 3,           /* submissions that found the queues full */
	CODEC_IN_FLIGHT = 4,      /* most jobs in flight at once */
	CODEC_LAST_STATUS = 5,    /* the library's latest status that was no success */
	CODEC_FAILURES = 6,       /* from here: a status and how often it came, in pairs; 0 ends them */
};

#define CODEC_STATUSES 32u
#define CODEC_COUNTS (CODEC_FAILURES + 2 * CODEC_STATUSES)

/* Where decoding failed; filled only then. */
struct codec_fault {
	uint32_t page;     /* ordinal of the page, or UINT32_MAX where the format has none */
	uint32_t expected; /* bytes */
	uint32_t received; /* bytes */
	int32_t code;      /* the library's own code, or 0 */
};

struct codec;

/* Bits of codec_open()'s flags. */
#define CODEC_DENSE 1u /* compress more, slower: pages, and zstd at level 1 */

/* The device computes; without this bit the library does, in software. */
#define CODEC_DEVICE 2u
/* Software never steps in for the device: a full queue is waited for, a failure is one. */
#define CODEC_NO_FALLBACK 4u
/* A full queue is waited for; without this bit software steps in after three retries. */
#define CODEC_WAIT 8u

/* The ABI this object was built for. */
CODEC_EXPORT uint32_t codec_abi(void);

/*
 * What the library can do: bit f for encoding format f, bit 8 + f for decoding it.
 * Its name and version are written to text, NUL-terminated, cut to room bytes.
 */
CODEC_EXPORT uint32_t codec_probe(char *text, uint32_t room);

/*
 * Whether the library's device works here: 0, or the library's own status that says why
 * not. A library without a device answers CODEC_NO_DEVICE.
 */
#define CODEC_NO_DEVICE INT32_MIN
CODEC_EXPORT int32_t codec_device(void);

/*
 * Opens a codec for pages of page_size bytes (4096 to 65536). level is in the terms
 * of the method; decoders ignore it. Returns NULL where the format, the direction or
 * the page size is not one it knows, or memory is short.
 */
CODEC_EXPORT struct codec *codec_open(uint32_t format, uint32_t direction, uint32_t page_size,
				      int32_t level, uint32_t flags);

/*
 * Compresses size bytes of whole pages into out. For formats of pages, lengths gets
 * each page's length; a page that would not shrink is copied and gets page_size. For
 * the others lengths is not read and may be NULL. Returns bytes written.
 */
CODEC_EXPORT int32_t codec_encode(struct codec *codec, const uint8_t *pages, uint32_t size,
				  uint8_t *out, uint32_t room, uint32_t *lengths);

/*
 * Decompresses size bytes into exactly out_size bytes of whole pages. For formats of
 * pages, lengths has each page's length, which add up to size. Returns out_size, or a
 * result below zero with the fault; out is then undefined, but nothing past it is
 * touched.
 */
CODEC_EXPORT int32_t codec_decode(struct codec *codec, const uint8_t *in, uint32_t size,
				  const uint32_t *lengths, uint8_t *out, uint32_t out_size,
				  struct codec_fault *fault);

/* Writes CODEC_COUNTS numbers; all are zero where there is no device. */
CODEC_EXPORT void codec_stats(const struct codec *codec, int64_t *counts);

/* Forgets what earlier packets left behind. */
CODEC_EXPORT void codec_reset(struct codec *codec);

/* Gives everything back. NULL is allowed. */
CODEC_EXPORT void codec_close(struct codec *codec);

#endif
