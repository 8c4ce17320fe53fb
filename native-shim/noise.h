/* Pages that nothing makes shorter: told by a look at them, and apart from those worth a code. */
#ifndef MULTIFD_NOISE_H
#define MULTIFD_NOISE_H

#include <stdbool.h>
#include <stdint.h>

/* Shorter runs of noise are not worth the window that is lost around them. */
#define MIN_NOISE_RUN (16u * 1024u)

/* A page is noise when this many of SAMPLES bytes are new to the sample. */
#define SAMPLES 512u
#define NOISE_KINDS 205u
/* Of 64 bytes of noise 57 are new on average; a program has fewer than 48 but rarely. */
#define FIRST_SAMPLES 64u
#define FIRST_KINDS 48u

/* A look at some bytes: where nearly every one is new, no code will make them shorter. */
static inline bool looks_incompressible(const uint8_t *page, uint32_t size)
{
	uint8_t seen[256] = { 0 };
	uint32_t step = size / SAMPLES;
	uint32_t kinds = 0;

	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint8_t byte = page[i * step];

		kinds += seen[byte] == 0;
		seen[byte] = 1;
		/* most pages are told by a few bytes */
		if (i + 1 == FIRST_SAMPLES && kinds < FIRST_KINDS)
			return false;
	}
	return kinds >= NOISE_KINDS;
}

/* How many bytes of noise are in front. */
static inline uint32_t noise_run(const uint8_t *pages, uint32_t size, uint32_t page_size)
{
	uint32_t length = 0;

	while (length < size && looks_incompressible(pages + length, page_size))
		length += page_size;
	return length;
}

/* Bytes of pages that are worth a code, and of the noise behind them; one of both may be 0. */
struct part {
	uint32_t coded;
	uint32_t noise;
};

/* The next part of whole pages, of which there are some. */
static inline struct part next_part(const uint8_t *pages, uint32_t size, uint32_t page_size)
{
	uint32_t at = 0;

	while (at < size) {
		uint32_t noise = noise_run(pages + at, size - at, page_size);

		if (noise >= MIN_NOISE_RUN)
			return (struct part){ at, noise };
		at += noise;
		/* the page that ended the run */
		if (at < size)
			at += page_size;
	}
	return (struct part){ size, 0 };
}

#endif
