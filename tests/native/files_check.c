/* What io.h promises of its files, tried under the sanitizers. */
#include "../../native-shim/io.h"
#include "check.h"

#include <fcntl.h>
#include <math.h>

#define SIZE (1 << 24)
#define PAGE 4096u
#define ROUNDS 1000u

static uint8_t content[64 * PAGE];

static int open_empty(void)
{
	char name[] = "/tmp/multifd-files-check-XXXXXX";
	int fd = mkstemp(name);

	check(fd >= 0 && unlink(name) == 0, "mkstemp: %d", errno);
	return fd;
}

/* Pages at ascending places, some of them neighbours, and each stretch read back. */
static void pages_there_and_back(void)
{
	int fd = open_empty();
	double offsets[64];
	struct buffer pages;

	doing = "file_write_pages() and file_read()";
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t first = below(64);
		uint32_t count = 0;
		struct buffer read;

		for (uint32_t i = first; i < 64; i += 1 + below(2))
			offsets[count++] = (double)i * PAGE;
		pages = take(count * PAGE);
		for (uint32_t i = 0; i < count; i++) {
			uint8_t *page = content + (uint32_t)offsets[i];

			memset(page, (int)below(256), PAGE);
			memcpy(pages.bytes + i * PAGE, page, PAGE);
		}
		check(file_write_pages(fd, pages.bytes, offsets, count, PAGE) == 0, "write");
		give(pages);
		read = take(PAGE);
		for (uint32_t i = 0; i < count; i++) {
			check(file_read(fd, read.bytes, PAGE, offsets[i]) == (int32_t)PAGE, "read");
			check(memcmp(read.bytes, content + (uint32_t)offsets[i], PAGE) == 0, "page");
		}
		give(read);
	}
	close(fd);
}

/* A page of data between two holes. */
static void holes(void)
{
	int fd = open_empty();
	double data;

	doing = "file_next_data()";
	check(ftruncate(fd, SIZE) == 0, "ftruncate: %d", errno);
	check(pwrite(fd, content, PAGE, SIZE / 2) == (ssize_t)PAGE, "pwrite: %d", errno);
	data = file_next_data(fd, 0);
	/* a file system without holes has data everywhere */
	check(data == 0 || data == SIZE / 2, "data at %f", data);
	check(file_next_data(fd, SIZE / 2 + 1) == SIZE / 2 + 1, "within data");
	check(isinf(file_next_data(fd, SIZE)), "data behind the end");
	close(fd);
}

static void bad_calls(void)
{
	int fd = open_empty();
	double offset = NAN;

	doing = "files that are none, and offsets";
	check(file_next_data(-1, 0) == -EBADF, "no file");
	check(file_next_data(fd, -1) < 0 && file_next_data(fd, 1e300) < 0, "no offset");
	check(file_read(fd, content, 1, -1) == -EINVAL, "read at no offset");
	check(file_read(fd, content, 1, 0) == 0, "read of nothing");
	check(file_read(fd, content, IO_MAX_SIZE + 1, 0) == -EINVAL, "too much");
	check(file_write_pages(fd, content, &offset, 1, PAGE) == -EINVAL, "write at no offset");
	check(file_open("/tmp/multifd-is-not-there/x", 0) == -ENOENT, "nothing to open");
	close(fd);
}

int main(void)
{
	pages_there_and_back();
	holes();
	bad_calls();
	printf("%lu checks\n", checks);
	return 0;
}
