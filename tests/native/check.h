/* What the checks check with: random numbers, and buffers exactly as long as they say. */
#ifndef MULTIFD_CHECK_H
#define MULTIFD_CHECK_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Whether to do all of what `deno task test` does a part of. */
#ifndef THOROUGH
#define THOROUGH false
#endif

static unsigned long checks;
static const char *doing = "start";

static void check(bool is_true, const char *format, ...)
{
	va_list args;

	checks++;
	if (is_true)
		return;
	va_start(args, format);
	fprintf(stderr, "failed: %s: ", doing);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* Random numbers, the same each time (splitmix64). */
static uint64_t state = 1;

static uint32_t below(uint32_t limit)
{
	uint64_t mixed = state += 0x9e3779b97f4a7c15u;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((mixed ^ mixed >> 31) % limit);
}

/* Memory in front of a page that nobody may touch. */
struct guarded {
	struct guarded *next;
	uint8_t *end;
	size_t size;
};

/*
 * Half of them are from malloc(), which AddressSanitizer watches, half end in front of a
 * page that nobody may touch, which also stops a library that was built without it.
 */
struct buffer {
	uint8_t *bytes;
	uint32_t size;
	struct guarded *guarded; /* NULL where it came from malloc() */
};

/* Kept for the next buffer: the first touch of a page costs more than most of what is checked. */
static struct guarded *spare;

static struct guarded *take_guarded(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct guarded *made;
	uint8_t *map;

	for (struct guarded **at = &spare; *at != NULL; at = &(*at)->next) {
		made = *at;
		if (made->size < size)
			continue;
		*at = made->next;
		return made;
	}
	made = malloc(sizeof(*made));
	check(made != NULL, "no memory");
	made->size = (size + page) / page * page;
	map = mmap(NULL, made->size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	check(map != MAP_FAILED, "no memory: %d", errno);
	made->end = map + made->size;
	check(mprotect(made->end, page, PROT_NONE) == 0, "no guard: %d", errno);
	return made;
}

static struct buffer take(uint32_t size)
{
	static unsigned turn;
	struct buffer buffer = { NULL, size, NULL };

	if (turn++ % 2 == 0) {
		buffer.bytes = malloc(size);
		check(buffer.bytes != NULL, "no memory");
		return buffer;
	}
	buffer.guarded = take_guarded(size);
	buffer.bytes = buffer.guarded->end - size;
	return buffer;
}

static inline struct buffer copy_of(const uint8_t *bytes, uint32_t size)
{
	struct buffer buffer = take(size);

	if (size > 0)
		memcpy(buffer.bytes, bytes, size);
	return buffer;
}

static void give(struct buffer buffer)
{
	if (buffer.guarded == NULL) {
		free(buffer.bytes);
		return;
	}
	/* whoever uses it from here on finds something else in it */
	memset(buffer.bytes, 0xa5, buffer.size);
	buffer.guarded->next = spare;
	spare = buffer.guarded;
}

/* A page of one of six kinds: zeros, sparse, words, noise, a far repeat, one byte. */
static void fill_page(uint8_t *page, uint32_t size, uint32_t kind)
{
	static const char words[] = "page block guest dirty round channel packet sync zero ";

	memset(page, kind == 5 ? 0xff : 0, size);
	for (uint32_t i = 0; kind == 1 && i < size / 64; i++)
		page[below(size)] = (uint8_t)below(256);
	for (uint32_t i = 0; kind == 2 && i < size; i++)
		page[i] = (uint8_t)words[(i + i / 97 * 13) % (sizeof(words) - 1)];
	for (uint32_t i = 0; kind == 3 && i < size; i++)
		page[i] = (uint8_t)below(256);
	for (uint32_t i = 0; kind == 4 && i < size; i++)
		page[i] = i < size / 4 ? (uint8_t)below(256) : page[i - size / 4];
}

static inline struct buffer pages_of(uint32_t count, uint32_t page_size)
{
	struct buffer pages = take(count * page_size);
	uint32_t kind = below(6);

	for (uint32_t i = 0; i < count; i++)
		fill_page(pages.bytes + (size_t)i * page_size, page_size, (kind + i) % 6);
	return pages;
}

#endif
