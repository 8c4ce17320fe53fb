/* What io.h promises of the loops over pages, tried on exact buffers under the sanitizers. */
#include "../../native-shim/io.h"
#include "check.h"

#define ROUNDS 400u
#define MOST 128u

static const uint32_t page_sizes[] = { 4096, 8192, 65536 };

static uint32_t some_page_size(void)
{
	return page_sizes[below(sizeof(page_sizes) / sizeof(page_sizes[0]))];
}

static void sorts(void)
{
	doing = "pages_sort()";
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t size = some_page_size();
		uint32_t count = below(524288 / size + 1);
		struct buffer pages = pages_of(count, size);
		struct buffer ordinals = take(count * sizeof(uint32_t));
		struct buffer offsets = take(count * sizeof(double));
		uint32_t *ordinal = (uint32_t *)(void *)ordinals.bytes;
		double *offset = (double *)(void *)offsets.bytes;
		double first = (double)below(1u << 20) * size;
		int32_t normal = pages_sort(pages.bytes, count, size, first, ordinal, offset);

		check(normal >= 0 && (uint32_t)normal <= count, "%d of %u", normal, count);
		for (uint32_t i = 0; i < count; i++) {
			const uint8_t *page = pages.bytes + (size_t)ordinal[i] * size;
			bool has_data = false;

			for (uint32_t j = 0; j < size && !has_data; j++)
				has_data = page[j] != 0;
			check(has_data == (i < (uint32_t)normal), "page %u of %u", ordinal[i], count);
			check(offset[i] == first + (double)ordinal[i] * size, "offset %u", i);
			check(i == 0 || i == (uint32_t)normal || ordinal[i] > ordinal[i - 1], "order");
		}
		give(pages);
		give(ordinals);
		give(offsets);
	}
}

static void writes_and_reads(void)
{
	doing = "offsets_write() and offsets_read()";
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t size = some_page_size();
		uint32_t count = below(MOST + 1);
		uint32_t pages = 1 + below(1000);
		uint32_t bad = below(2 * MOST);
		struct buffer offsets = take(count * sizeof(double));
		struct buffer bytes = take(8 * count);
		struct buffer again = take(count * sizeof(double));
		double *offset = (double *)(void *)offsets.bytes;

		for (uint32_t i = 0; i < count; i++)
			offset[i] = (double)below(pages) * size;
		/* one byte beside a page, or one page behind the block */
		if (bad < count)
			offset[bad] = below(2) == 0 ? offset[bad] + 1 : (double)pages * size;
		check(offsets_write(offset, count, bytes.bytes) == 0, "%u offsets", count);
		check(offsets_read(bytes.bytes, count, size, (double)pages * size,
				   (double *)(void *)again.bytes) == (int32_t)(bad < count ? bad : count),
		      "%u is wrong of %u", bad, count);
		check(memcmp(offset, again.bytes, (bad < count ? bad : count) * sizeof(double)) == 0,
		      "what was read of %u", count);
		give(offsets);
		give(bytes);
		give(again);
	}
}

static void marks(void)
{
	doing = "pages_mark()";
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t size = some_page_size();
		uint32_t count = below(MOST + 1);
		uint32_t word_count = 1 + below(6);
		struct buffer words = take(word_count * sizeof(uint32_t));
		struct buffer offsets = take(count * sizeof(double));
		struct buffer again = take(count * sizeof(double));
		double *offset = (double *)(void *)offsets.bytes;
		bool seen[6 * 32] = { false };
		uint32_t repeated = 0;

		memset(words.bytes, 0, words.size);
		for (uint32_t i = 0; i < count; i++) {
			uint32_t page = below(word_count * 32);

			offset[i] = (double)page * size;
			repeated += seen[page];
			seen[page] = true;
		}
		check(pages_mark((uint32_t *)(void *)words.bytes, word_count, offset, count, size,
				 (double *)(void *)again.bytes) == (int32_t)repeated,
		      "%u of %u", repeated, count);
		for (uint32_t page = 0; page < word_count * 32; page++)
			check((((uint32_t *)(void *)words.bytes)[page / 32] >> page % 32 & 1) == seen[page],
			      "page %u", page);
		give(words);
		give(offsets);
		give(again);
	}
}

static void bad_calls(void)
{
	static const double wrong[] = { -1, 1e300, -1e300, 0.0 / 0.0, 32 * 4096.0 };
	uint32_t words[1] = { 0 };
	uint32_t ordinals[1];
	uint8_t bytes[8] = { 0 };
	double offset;

	doing = "loops over pages where they cannot";
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check(pages_mark(words, 1, wrong + i, 1, 4096, &offset) == -EINVAL, "%f", wrong[i]);
	for (uint32_t i = 0; i < 4; i++)
		check(offsets_write(wrong + i, 1, bytes) == -EINVAL, "%f", wrong[i]);
	check(words[0] == 0, "a mark");
	check(pages_mark(words, 1, wrong, MOST + 1, 4096, &offset) == -EINVAL, "too many");
	check(offsets_write(wrong, MOST + 1, bytes) == -EINVAL, "too many");
	check(offsets_read(bytes, MOST + 1, 4096, 4096, &offset) == -EINVAL, "too many");
	check(pages_sort(bytes, MOST + 1, 4096, 0, ordinals, &offset) == -EINVAL, "too many");
	check(offsets_read(bytes, 1, 0, 4096, &offset) == -EINVAL, "no page size");
	check(offsets_read(bytes, 1, 3000, 4096, &offset) == -EINVAL, "no power of two");
	check(pages_sort(bytes, 1, 1u << 20, 0, ordinals, &offset) == -EINVAL, "too large a page");
}

int main(void)
{
	sorts();
	writes_and_reads();
	marks();
	bad_calls();
	printf("%lu checks\n", checks);
	return 0;
}
