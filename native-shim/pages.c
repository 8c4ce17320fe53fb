/* Loops over a packet's pages: fast from the first packet on, with nothing to compile first. */
#include "io.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* 512 KiB of the smallest pages */
#define MAX_PAGES 128u
#define MAX_PAGE_SIZE 65536u
/* doubles hold every whole number up to here */
#define MAX_OFFSET 9007199254740992.0
#define BITS_OF_WORD 32u

static bool is_packet(uint32_t count, uint32_t page_size)
{
	return count <= MAX_PAGES && page_size > 1 && page_size <= MAX_PAGE_SIZE &&
	       (page_size & (page_size - 1)) == 0;
}

static bool is_zero(const uint8_t *page, uint32_t size)
{
	/* each byte equals the next, and the first is zero */
	return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

int32_t pages_sort(const uint8_t *pages, uint32_t count, uint32_t page_size, double first,
		   uint32_t *ordinals, double *offsets)
{
	uint32_t zeros[MAX_PAGES];
	uint32_t with_data = 0;

	if (!is_packet(count, page_size))
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (is_zero(pages + (size_t)i * page_size, page_size))
			zeros[i - with_data] = i;
		else
			ordinals[with_data++] = i;
	}
	memcpy(ordinals + with_data, zeros, (count - with_data) * sizeof(zeros[0]));
	for (uint32_t i = 0; i < count; i++)
		offsets[i] = first + (double)ordinals[i] * page_size;
	return (int32_t)with_data;
}

int32_t offsets_read(const uint8_t *from, uint32_t count, uint32_t page_size, double used_length,
		     double *into)
{
	/* below zero for a tiny block, which has no page then */
	const double last = used_length - page_size;

	if (!is_packet(count, page_size))
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t offset = 0;

		for (uint32_t j = 0; j < 8; j++)
			offset = offset << 8 | from[8 * i + j];
		/* one above 2^53 is rounded, and still past the end of any block */
		if ((offset & (page_size - 1)) != 0 || (double)offset > last)
			return (int32_t)i;
		into[i] = (double)offset;
	}
	return (int32_t)count;
}

int32_t offsets_write(const double *offsets, uint32_t count, uint8_t *into)
{
	if (count > MAX_PAGES)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (!(offsets[i] >= 0 && offsets[i] < MAX_OFFSET))
			return -EINVAL;
		for (uint32_t j = 0; j < 8; j++)
			into[8 * i + j] = (uint8_t)((uint64_t)offsets[i] >> (56 - 8 * j));
	}
	return 0;
}

int32_t pages_mark(uint32_t *words, uint32_t word_count, const double *offsets, uint32_t count,
		   uint32_t page_size, double *again)
{
	const double end = (double)word_count * BITS_OF_WORD * page_size;
	uint32_t repeated = 0;
	uint32_t pages[MAX_PAGES];

	if (!is_packet(count, page_size))
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (!(offsets[i] >= 0 && offsets[i] < end))
			return -EINVAL;
		pages[i] = (uint32_t)((uint64_t)offsets[i] / page_size);
	}
	for (uint32_t i = 0; i < count;) {
		const uint32_t start = i;
		const uint32_t word = pages[i] / BITS_OF_WORD;
		uint32_t bits = 0;
		uint32_t old;

		/* a page that comes twice is for the next turn, which finds it marked */
		for (; i < count && pages[i] / BITS_OF_WORD == word; i++) {
			const uint32_t bit = UINT32_C(1) << pages[i] % BITS_OF_WORD;

			if ((bits & bit) != 0)
				break;
			bits |= bit;
		}
		old = __atomic_fetch_or(words + word, bits, __ATOMIC_SEQ_CST);
		for (uint32_t j = start; (old & bits) != 0 && j < i; j++) {
			if ((old >> pages[j] % BITS_OF_WORD & 1) != 0)
				again[repeated++] = offsets[j];
		}
	}
	return (int32_t)repeated;
}

uint32_t bytes_to_aligned(const uint8_t *bytes, uint32_t unit)
{
	return unit == 0 ? 0 : (uint32_t)(-(uintptr_t)bytes & (unit - 1));
}
