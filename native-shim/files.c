/* Files, blocking, every failure a value. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

int32_t file_open(const char *path, uint32_t for_writing)
{
	int fd = open(path, (for_writing ? O_WRONLY : O_RDONLY) | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Beyond this a double is no whole number any more. */
static bool is_offset(double offset)
{
	return offset >= 0 && offset <= 9007199254740992.0;
}

int32_t file_read(int32_t fd, uint8_t *into, uint32_t size, double offset)
{
	uint32_t filled = 0;

	if (size > IO_MAX_SIZE || !is_offset(offset))
		return -EINVAL;
	while (filled < size) {
		ssize_t got = pread(fd, into + filled, size - filled, (off_t)offset + filled);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		filled += (uint32_t)got;
	}
	return (int32_t)filled;
}

double file_next_data(int32_t fd, double offset)
{
	off_t found;

	if (!is_offset(offset))
		return -EINVAL;
	found = lseek(fd, (off_t)offset, SEEK_DATA);
	if (found >= 0)
		return (double)found;
	return errno == ENXIO ? (double)INFINITY : -errno;
}

static int32_t write_at(int32_t fd, const uint8_t *bytes, size_t size, off_t offset)
{
	while (size > 0) {
		ssize_t written = pwrite(fd, bytes, size, offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		offset += written;
		size -= (size_t)written;
	}
	return 0;
}

int32_t file_write_pages(int32_t fd, const uint8_t *pages, const double *offsets, uint32_t count,
			 uint32_t page_size)
{
	for (uint32_t first = 0; first < count;) {
		uint32_t end = first + 1;
		int32_t result;

		if (!is_offset(offsets[first]))
			return -EINVAL;
		while (end < count && offsets[end] == offsets[end - 1] + page_size)
			end++;
		result = write_at(fd, pages + (size_t)first * page_size, (size_t)(end - first) * page_size,
				  (off_t)offsets[first]);
		if (result < 0)
			return result;
		first = end;
	}
	return 0;
}
