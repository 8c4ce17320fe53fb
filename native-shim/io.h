/*
 * io.h: blocking sockets, files and loops over pages, for a thread of channels.
 *
 * Results below zero are -errno; zero and above are what the function gives. Nothing
 * is kept between calls, nothing is global, and every buffer is the caller's.
 */
#ifndef MULTIFD_IO_H
#define MULTIFD_IO_H

#include <stdint.h>

#define IO_EXPORT __attribute__((visibility("default")))

/* Changes whenever a caller must: the loader refuses another. */
#define IO_ABI 9

/* Most bytes of a call: results are 32 bits, and no packet is near this. */
#define IO_MAX_SIZE (64u * 1024u * 1024u)

IO_EXPORT uint32_t io_abi(void);

/* The name of an errno, e.g. "ENOSPC", NUL-terminated, cut to room bytes. */
IO_EXPORT void io_error_name(int32_t error, char *text, uint32_t room);

/*
 * Makes the calling thread one for channels, which does not take a core from who runs when it
 * wakes, unless somebody gave it a policy; its id. And whether one of this process is still
 * there: 1 or 0.
 */
IO_EXPORT int32_t thread_begin(void);
IO_EXPORT int32_t thread_is_alive(int32_t id);

/* Listens on host and port (0: any), or on a unix path where port is below zero. */
IO_EXPORT int32_t net_listen(const char *host, int32_t port);

/* The port a socket is bound to. */
IO_EXPORT int32_t net_port(int32_t fd);

/* Makes two sockets that are connected to each other. */
IO_EXPORT int32_t net_pair(int32_t *fds);

/* Takes a connection that waits; -EAGAIN where none does. */
IO_EXPORT int32_t net_accept(int32_t fd);

/* Connects to host and port, or to a unix path where port is below zero. */
IO_EXPORT int32_t net_connect(const char *host, int32_t port, int32_t timeout_ms);

/*
 * The same for a thread that may not block, and for hosts given as numbers only: begins, and
 * gives the socket, or -EAGAIN where a unix listener's queue is full. net_connect_end() tells
 * how it went: 0 where it is connected, after which it is a socket like any other, and -EAGAIN
 * where it is not yet. Whatever it tells, the socket is the caller's to close.
 */
IO_EXPORT int32_t net_connect_begin(const char *host, int32_t port);
IO_EXPORT int32_t net_connect_end(int32_t fd);

/*
 * Receives size bytes, fewer only at the end of the stream, and into ahead what has come
 * behind them, at most room bytes. Returns the bytes of both. Blocks for size bytes only.
 */
IO_EXPORT int32_t net_recv(int32_t fd, uint8_t *into, uint32_t size, uint8_t *ahead,
			   uint32_t room);

/* Receives what there is, at most size bytes; 0 at the end of the stream; -EAGAIN for none. */
IO_EXPORT int32_t net_recv_some(int32_t fd, uint8_t *into, uint32_t size);

/*
 * Which of some connections, at most 256, would not keep a receive or a send waiting: ready gets
 * 1 or 0 for each. One that has ended or failed is ready, too. Blocks until one is, if waits is
 * not 0. Returns how many are.
 */
IO_EXPORT int32_t net_poll(const int32_t *fds, uint32_t count, uint32_t for_sending, uint32_t waits,
			   uint8_t *ready);

/* Sends two pieces whole, the second of which may be empty. Blocks. */
IO_EXPORT int32_t net_send(int32_t fd, const uint8_t *first, uint32_t first_size,
			   const uint8_t *second, uint32_t second_size);

/* Sends what there is room for at once, of size bytes; -EAGAIN for none. */
IO_EXPORT int32_t net_send_some(int32_t fd, const uint8_t *bytes, uint32_t size);

/*
 * Sends a header and then pages of a buffer: those whose ordinals are listed, in that
 * order. Blocks.
 */
IO_EXPORT int32_t net_send_pages(int32_t fd, const uint8_t *header, uint32_t header_size,
				 const uint8_t *pages, const uint32_t *ordinals, uint32_t count,
				 uint32_t page_size);

/* Ends one direction (how: 1 sending) or both (2); wakes whoever blocks on the socket. */
IO_EXPORT int32_t net_shutdown(int32_t fd, int32_t how);

/* Opens a file for reading, or for writing where it exists already. */
IO_EXPORT int32_t file_open(const char *path, uint32_t for_writing);

/* Reads size bytes at an offset (a whole number, as a double), fewer only at the end of the file. */
IO_EXPORT int32_t file_read(int32_t fd, uint8_t *into, uint32_t size, double offset);

/*
 * Where a file has data, at an offset or behind it (whole numbers, as doubles); infinity where
 * none comes any more.
 */
IO_EXPORT double file_next_data(int32_t fd, double offset);

/*
 * Writes count pages at their offsets (whole numbers, as doubles), neighbours together.
 */
IO_EXPORT int32_t file_write_pages(int32_t fd, const uint8_t *pages, const double *offsets,
				   uint32_t count, uint32_t page_size);

/*
 * Tells pages with data from pages that are all zero: the ordinals of those with data, then
 * of the others, each in order, and the same pages' offsets in their block, where the first
 * of all is at first (whole numbers, as doubles). Returns how many have data.
 */
IO_EXPORT int32_t pages_sort(const uint8_t *pages, uint32_t count, uint32_t page_size,
			     double first, uint32_t *ordinals, double *offsets);

/*
 * Reads offsets, u64s of a packet's header, up to one that is no multiple of the page size
 * or leaves no room for a page in the block. Returns how many.
 */
IO_EXPORT int32_t offsets_read(const uint8_t *from, uint32_t count, uint32_t page_size,
			       double used_length, double *into);

/* Writes offsets as the u64s of a packet's header. */
IO_EXPORT int32_t offsets_write(const double *offsets, uint32_t count, uint8_t *into);

/*
 * Marks the pages at some offsets in a set of one bit each, which threads may share. The
 * offsets of those that were marked already go to again, which has room for count. Returns
 * how many were.
 */
IO_EXPORT int32_t pages_mark(uint32_t *words, uint32_t word_count, const double *offsets,
			     uint32_t count, uint32_t page_size, double *again);

/* How many bytes lie before the next address that is a multiple of unit, a power of two. */
IO_EXPORT uint32_t bytes_to_aligned(const uint8_t *bytes, uint32_t unit);

/* Closes a socket or a file. */
IO_EXPORT int32_t io_close(int32_t fd);

#endif
