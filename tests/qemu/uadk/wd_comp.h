/*
 * A stand-in for UADK's library, as much as QEMU calls of it: Debian has none for this processor.
 * It has no device unless SIMULATED_UADK is set; then zlib does a Kunpeng's work, which is
 * simulated. Pages are streams of zlib with a window of 4 KiB and the header that UADK writes.
 */
#ifndef WD_COMP_H
#define WD_COMP_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#define WD_EEXIST EEXIST
#define PAGE_WINDOW_BITS 12
#define MEMORY_LEVEL 8

typedef uintptr_t handle_t;

enum wd_comp_alg_type { WD_DEFLATE, WD_ZLIB };
enum wd_comp_op_type { WD_DIR_COMPRESS, WD_DIR_DECOMPRESS };
enum { SCHED_POLICY_RR, TASK_HW };

struct wd_comp_sess_setup {
	enum wd_comp_alg_type alg_type;
	enum wd_comp_op_type op_type;
	void *sched_param;
};

struct wd_comp_req {
	void *src;
	uint32_t src_len;
	void *dst;
	uint32_t dst_len;
	enum wd_comp_op_type op_type;
	uint32_t status;
};

static inline int wd_comp_init2(char *alg, uint32_t policy, int task)
{
	(void)alg;
	(void)policy;
	(void)task;
	return getenv("SIMULATED_UADK") == NULL ? -ENODEV : 0;
}

static inline void wd_comp_uninit2(void)
{
}

struct session {
	bool compresses;
	z_stream stream;
};

static inline handle_t wd_comp_alloc_sess(struct wd_comp_sess_setup *setup)
{
	struct session *session = calloc(1, sizeof(*session));
	int result;

	if (session == NULL)
		return 0;
	session->compresses = setup->op_type == WD_DIR_COMPRESS;
	result = session->compresses
			 ? deflateInit2(&session->stream, Z_BEST_SPEED, Z_DEFLATED, PAGE_WINDOW_BITS,
					MEMORY_LEVEL, Z_DEFAULT_STRATEGY)
			 : inflateInit(&session->stream);
	if (result == Z_OK)
		return (handle_t)session;
	free(session);
	return 0;
}

static inline void wd_comp_free_sess(handle_t handle)
{
	struct session *session = (struct session *)handle;

	if (session->compresses)
		deflateEnd(&session->stream);
	else
		inflateEnd(&session->stream);
	free(session);
}

static inline int wd_do_comp_sync(handle_t handle, struct wd_comp_req *request)
{
	struct session *session = (struct session *)handle;
	z_stream *stream = &session->stream;
	int result;

	stream->next_in = request->src;
	stream->avail_in = request->src_len;
	stream->next_out = request->dst;
	stream->avail_out = request->dst_len;
	if (session->compresses) {
		uint8_t *header = request->dst;

		deflateReset(stream);
		result = deflate(stream, Z_FINISH);
		header[0] = 0x78;
		header[1] = 0x9c;
	} else {
		inflateReset(stream);
		result = inflate(stream, Z_FINISH);
	}
	request->dst_len = (uint32_t)stream->total_out;
	request->status = 0;
	return result == Z_STREAM_END ? 0 : -EIO;
}

#endif
