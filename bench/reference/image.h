/* What both programs do with memory images: take runs of pages, find zero pages, keep pages. */
#ifndef REFERENCE_IMAGE_H
#define REFERENCE_IMAGE_H

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE_SIZE 4096u
/* QEMU's MULTIFD_PACKET_SIZE: 512 KiB of pages a packet */
#define RUN_PAGES 128u
#define RUN_SIZE (RUN_PAGES * PAGE_SIZE)
#define MAX_CHANNELS 255u

/* An image that is read by many threads; next is where the next run begins. */
struct image {
	int fd;
	uint64_t size;
	atomic_uint_fast64_t next;
};

static inline void open_image(struct image *image, const char *file)
{
	struct stat status;

	image->fd = open(file, O_RDONLY | O_CLOEXEC);
	if (image->fd < 0 || fstat(image->fd, &status) < 0)
		err(1, "%s", file);
	if (status.st_size == 0 || status.st_size % PAGE_SIZE != 0)
		errx(1, "%s: not a whole number of pages", file);
	image->size = (uint64_t)status.st_size;
	atomic_init(&image->next, 0);
}

/* Reads the next run that no thread has yet; returns its bytes, 0 when all are taken. */
static inline size_t take_run(struct image *image, uint64_t *offset, uint8_t *pages)
{
	uint64_t start = atomic_fetch_add_explicit(&image->next, RUN_SIZE, memory_order_relaxed);
	size_t length = RUN_SIZE;

	if (start >= image->size)
		return 0;
	if (length > image->size - start)
		length = image->size - start;
	for (size_t at = 0; at < length;) {
		ssize_t count = pread(image->fd, pages + at, length - at, (off_t)(start + at));

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			err(1, "reading the image");
		at += (size_t)count;
	}
	*offset = start;
	return length;
}

static inline bool is_zero_page(const uint8_t *page)
{
	static const uint8_t zeros[PAGE_SIZE];

	return memcmp(page, zeros, PAGE_SIZE) == 0;
}

/* Makes a sparse file, where a zero page need not be written. */
static inline int make_target(const char *file, uint64_t size)
{
	int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		err(1, "%s", file);
	return fd;
}

/* Writes pages to their offsets, neighbours in one call. */
static inline void write_pages(int fd, const uint64_t *offsets, unsigned count,
			       const uint8_t *pages)
{
	for (unsigned i = 0; i < count;) {
		unsigned first = i;
		size_t length;

		do
			i++;
		while (i < count && offsets[i] == offsets[i - 1] + PAGE_SIZE);
		length = (size_t)(i - first) * PAGE_SIZE;
		for (size_t at = 0; at < length;) {
			ssize_t written = pwrite(fd, pages + (size_t)first * PAGE_SIZE + at,
						 length - at, (off_t)(offsets[first] + at));

			if (written < 0 && errno == EINTR)
				continue;
			if (written <= 0)
				err(1, "writing the target");
			at += (size_t)written;
		}
	}
}

static inline double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void *allocate(size_t size)
{
	void *memory = aligned_alloc(PAGE_SIZE, (size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE);

	if (memory == NULL)
		errx(1, "out of memory");
	return memory;
}

static inline unsigned parse_channels(const char *text)
{
	unsigned long channels = strtoul(text, NULL, 10);

	if (channels < 1 || channels > MAX_CHANNELS)
		errx(2, "CHANNELS is 1 to %u", MAX_CHANNELS);
	return (unsigned)channels;
}

#endif
