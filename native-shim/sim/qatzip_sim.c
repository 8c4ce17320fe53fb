/*
 * A stand-in for libqatzip over the simulated device: the functions that qatzip.c calls. A call
 * gives the device a job per member of 64 KiB and puts the members together. As with QATzip a full
 * queue is waited for, an error spoils its session, and the headers are the driver's own work.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <qatzip.h>
#include <zlib.h>

#include "../common.h"
#include "../counts.h"
#include "device.h"

/* jobs of a call in flight at once: a packet of 1 MiB */
#define PIECES 16u
#define MAX_DEFLATED_SIZE 74752u
#define MEMBER_FRAME (QZ_HEADER_SIZE + GZIP_TRAILER_SIZE)
#define MAX_MEMBER_SIZE (MEMBER_FRAME + MAX_DEFLATED_SIZE)
/* what is pinned at most: with more channels, buffers fall back to ordinary memory */
#define PINNED_LIMIT (16u * 1024u * 1024u)
#define BUSY_SLEEP_NS 20000
#define MAX_BUSY_ANSWERS 1000u
#define RAW_DEFLATE (-15)
#define GZIP_FORMAT (15 + 16)

/* Of a packet, what one job of the device has to do. */
struct piece {
	struct sim_job job;
	const uint8_t *in;
	uint32_t in_size;
	uint8_t *out;
	uint32_t room;
	uint32_t made;
	int level;
	uint32_t busy_answers;
};

struct internal {
	bool is_software;
	bool is_spoilt; /* by an error */
	int level;
	struct piece pieces[PIECES];
	uint8_t members[PIECES][MAX_MEMBER_SIZE];
};

/* In front of what qzMalloc() gives; as long as malloc() aligns. */
struct allocation {
	_Alignas(max_align_t) uint32_t pinned;
};

static atomic_uint pinned;

/* Every answer of the stand-in that is no success is counted, and that is where. */
static int answer(int status)
{
	if (status != QZ_OK)
		sim_count_status(status);
	return status;
}

static bool is_lost(void)
{
	int64_t counts[SIM_COUNTS];

	sim_counts(counts);
	return counts[6 + SIM_LOST] + counts[14 + SIM_LOST] > 0;
}

QzLogLevel_T qzSetLogLevel(QzLogLevel_T level)
{
	(void)level;
	return LOG_NONE;
}

int qzInit(QzSession_T *session, unsigned char sw_backup)
{
	(void)session;
	if (sw_backup == 0 && is_lost())
		return answer(QZ_NOSW_NO_HW);
	return QZ_OK;
}

int qzGetDefaultsDeflate(QzSessionParamsDeflate_T *defaults)
{
	*defaults = (QzSessionParamsDeflate_T){
		.common_params = {
			.direction = QZ_DIRECTION_DEFAULT,
			.comp_lvl = QZ_COMP_LEVEL_DEFAULT,
			.comp_algorithm = QZ_DEFLATE,
			.sw_backup = QZ_SW_BACKUP_DEFAULT,
			.hw_buff_sz = QZ_HW_BUFF_SZ,
		},
		.huffman_hdr = QZ_HUFF_HDR_DEFAULT,
		.data_fmt = QZ_DATA_FORMAT_DEFAULT,
	};
	return QZ_OK;
}

int qzSetupSessionDeflate(QzSession_T *session, QzSessionParamsDeflate_T *params)
{
	struct internal *internal;

	if (session->internal != NULL)
		return QZ_DUPLICATE;
	if (params->common_params.direction == QZ_DIR_BOTH ||
	    params->common_params.comp_lvl < QZ_DEFLATE_COMP_LVL_MINIMUM ||
	    params->common_params.comp_lvl > QZ_DEFLATE_COMP_LVL_MAXIMUM ||
	    params->common_params.hw_buff_sz != QZ_MEMBER_SIZE ||
	    params->data_fmt != QZ_DEFLATE_GZIP_EXT)
		return answer(QZ_PARAMS);
	internal = calloc(1, sizeof(*internal));
	if (internal == NULL)
		return answer(QZ_NOSW_LOW_MEM);
	internal->is_software = params->common_params.sw_backup != 0;
	internal->level = (int)params->common_params.comp_lvl;
	session->internal = internal;
	session->hw_session_stat = internal->is_software ? QZ_NO_HW : QZ_OK;
	if (!internal->is_software)
		sim_count_session(1);
	return (int)session->hw_session_stat;
}

int qzTeardownSession(QzSession_T *session)
{
	struct internal *internal = session->internal;

	if (internal == NULL)
		return QZ_OK;
	if (!internal->is_software)
		sim_count_session(-1);
	free(internal);
	session->internal = NULL;
	return QZ_OK;
}

int qzClose(QzSession_T *session)
{
	(void)session;
	return QZ_OK;
}

unsigned int qzMaxCompressedLength(unsigned int src_sz, QzSession_T *session)
{
	(void)session;
	/* for all its members one frame, as QATzip has it */
	return src_sz + src_sz / 8 + QZ_SKID_PAD_SZ + MEMBER_FRAME;
}

void *qzMalloc(size_t size, int numa, int force_pinned)
{
	uint32_t wanted = force_pinned == PINNED_MEM ? (uint32_t)size : 0;
	struct allocation *allocation;

	(void)numa;
	if (atomic_fetch_add(&pinned, wanted) + wanted > PINNED_LIMIT) {
		atomic_fetch_sub(&pinned, wanted);
		return NULL;
	}
	allocation = malloc(sizeof(*allocation) + size);
	if (allocation == NULL)
		return NULL;
	allocation->pinned = wanted;
	return allocation + 1;
}

void qzFree(void *bytes)
{
	struct allocation *allocation = bytes;

	if (bytes == NULL)
		return;
	allocation--;
	atomic_fetch_sub(&pinned, allocation->pinned);
	free(allocation);
}

/* One whole member, as the device makes it. */
static int32_t compress_piece(void *argument)
{
	struct piece *piece = argument;
	z_stream stream = { 0 };
	uint8_t *trailer;
	int result;

	if (deflateInit2(&stream, piece->level, Z_DEFLATED, RAW_DEFLATE, MAX_MEM_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return QZ_NOSW_LOW_MEM;
	stream.next_in = (Bytef *)(uintptr_t)piece->in;
	stream.avail_in = piece->in_size;
	stream.next_out = piece->out + QZ_HEADER_SIZE;
	stream.avail_out = piece->room - MEMBER_FRAME;
	result = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	if (result != Z_STREAM_END)
		return QZ_BUF_ERROR;
	write_qz_header(piece->out, piece->in_size, (uint32_t)stream.total_out);
	trailer = piece->out + QZ_HEADER_SIZE + stream.total_out;
	write_le32(trailer, (uint32_t)crc32(0, piece->in, piece->in_size));
	write_le32(trailer + 4, piece->in_size);
	piece->made = (uint32_t)stream.total_out + MEMBER_FRAME;
	return QZ_OK;
}

static int32_t decompress_piece(void *argument)
{
	struct piece *piece = argument;
	const uint8_t *trailer = piece->in + piece->in_size - GZIP_TRAILER_SIZE;
	z_stream stream = { 0 };
	int result;

	if (inflateInit2(&stream, RAW_DEFLATE) != Z_OK)
		return QZ_NOSW_LOW_MEM;
	stream.next_in = (Bytef *)(uintptr_t)(piece->in + QZ_HEADER_SIZE);
	stream.avail_in = piece->in_size - MEMBER_FRAME;
	stream.next_out = piece->out;
	stream.avail_out = piece->room;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	piece->made = (uint32_t)stream.total_out;
	if (result != Z_STREAM_END || stream.avail_in > 0 || piece->made != piece->room ||
	    read_le32(trailer) != (uint32_t)crc32(0, piece->out, piece->made))
		return QZ_DATA_ERROR;
	return QZ_OK;
}

/* Waits where the queue is full: QATzip has no answer that says so. */
static int32_t submit(struct piece *piece)
{
	static const struct timespec a_little = { 0, BUSY_SLEEP_NS };

	while (!sim_submit(&piece->job)) {
		if (piece->job.fault == SIM_LOST)
			return QZ_FAIL;
		if (piece->job.fault == SIM_BUSY_SUBMIT && ++piece->busy_answers > MAX_BUSY_ANSWERS)
			return QZ_FAIL;
		nanosleep(&a_little, NULL);
	}
	return QZ_OK;
}

static int32_t finish(struct piece *piece)
{
	int32_t status;

	sim_wait(&piece->job);
	while (piece->job.fault == SIM_BUSY_WAIT) {
		if (++piece->busy_answers > MAX_BUSY_ANSWERS)
			return QZ_FAIL;
		status = submit(piece);
		if (status != QZ_OK)
			return status;
		sim_wait(&piece->job);
	}
	return piece->job.status;
}

/* What a call comes to. */
struct call {
	struct internal *internal;
	bool is_encode;
	const uint8_t *in;
	uint32_t in_size;
	uint8_t *out;
	uint32_t room;
	uint32_t submitted; /* bytes of in */
	uint32_t reserved;  /* bytes of out, of what is submitted, while decoding */
	uint32_t used;
	uint32_t made;
	int32_t status;
	bool is_framing_wrong; /* by a fault */
	uint64_t wrong_length; /* 0, or the number of the job that lies */
};

/* The next piece that is not submitted yet; false where the input holds none. */
static bool set_piece(struct call *call, struct piece *piece, uint8_t *member)
{
	uint32_t left = call->in_size - call->submitted;
	const uint8_t *in = call->in + call->submitted;

	*piece = (struct piece){ .in = in, .level = call->internal->level };
	piece->job.argument = piece;
	piece->job.is_encode = call->is_encode;
	if (call->is_encode) {
		piece->job.work = compress_piece;
		piece->in_size = left < QZ_MEMBER_SIZE ? left : QZ_MEMBER_SIZE;
		piece->job.bytes = piece->in_size;
		piece->out = member;
		piece->room = MAX_MEMBER_SIZE;
		return true;
	}
	piece->job.work = decompress_piece;
	if (left < MEMBER_FRAME || read_le32(in + 20) > left - MEMBER_FRAME ||
	    read_le32(in + 16) > call->room - call->reserved)
		return false;
	piece->in_size = MEMBER_FRAME + read_le32(in + 20);
	piece->job.bytes = read_le32(in + 16);
	piece->out = call->out + call->reserved;
	piece->room = piece->job.bytes;
	call->reserved += piece->room;
	return true;
}

/* A fault that is no status: the result of a piece that succeeded is spoilt. */
static void spoil(struct call *call, struct piece *piece)
{
	uint64_t order = piece->job.order;
	uint32_t at = (uint32_t)(order * 0x9e3779b97f4a7c15u >> 32) % piece->made;

	if (piece->job.fault == SIM_WRONG_LENGTH)
		call->wrong_length = order + 1;
	if (piece->job.fault != SIM_CORRUPT)
		return;
	/* of members, one in four where their sizes are */
	if (call->is_encode && order % 4 == 0)
		at %= QZ_HEADER_SIZE;
	piece->out[at] ^= 0xff;
	if (call->is_encode && (at < QZ_HEADER_SIZE || at >= piece->made - 4))
		call->is_framing_wrong = true;
}

/* Takes a piece's result, in the order of the packet. */
static void collect(struct call *call, struct piece *piece)
{
	int32_t status = finish(piece);

	if (status == QZ_OK)
		spoil(call, piece);
	if (status == QZ_OK && call->is_encode && piece->made > call->room - call->made)
		status = QZ_BUF_ERROR;
	if (call->status == QZ_OK)
		call->status = status;
	if (call->status != QZ_OK)
		return;
	if (call->is_encode)
		memcpy(call->out + call->made, piece->out, piece->made);
	call->used += piece->in_size;
	call->made += piece->made;
}

/* All pieces through the device, as many at once as there are. */
static void run(struct call *call)
{
	struct piece *pieces = call->internal->pieces;
	uint32_t first = 0;
	uint32_t next = 0;

	while (call->status == QZ_OK && call->submitted < call->in_size) {
		struct piece *piece = &pieces[next % PIECES];
		int32_t status = QZ_DATA_ERROR;

		if (next - first == PIECES) {
			collect(call, &pieces[first++ % PIECES]);
			continue;
		}
		if (set_piece(call, piece, call->internal->members[next % PIECES]))
			status = submit(piece);
		if (status != QZ_OK) {
			call->status = status;
			break;
		}
		call->submitted += piece->in_size;
		next++;
	}
	/* nothing is left in flight, whatever happened */
	while (first < next)
		collect(call, &pieces[first++ % PIECES]);
}

/* Sizes that are off, by a little or beyond all bounds. */
static void lie(struct call *call)
{
	uint32_t off = 1 + (uint32_t)(call->wrong_length % 13);

	switch (call->wrong_length % 5) {
	case 0:
		call->used -= off;
		break;
	case 1:
		call->made += off;
		break;
	case 2:
		call->made = UINT32_MAX;
		break;
	case 3:
		call->made = 0;
		break;
	default:
		call->made -= off;
	}
}

static int compute(struct call *call, unsigned int *used, unsigned int *made)
{
	if (call->internal->is_spoilt)
		return answer(QZ_FAIL);
	run(call);
	call->internal->is_spoilt = call->status != QZ_OK;
	*used = 0;
	*made = 0;
	if (call->status != QZ_OK)
		return answer(call->status);
	if (call->wrong_length != 0)
		lie(call);
	if (call->wrong_length != 0 || call->is_framing_wrong)
		sim_count_status(STATUS_WRONG_LENGTH);
	*used = call->used;
	*made = call->made;
	return QZ_OK;
}

/* The software path makes one member of all, and prints nothing. */
static int compress_here(struct internal *internal, const uint8_t *in, unsigned int *used,
			 uint8_t *out, unsigned int *made)
{
	struct piece piece = {
		.in = in, .in_size = *used, .out = out, .room = *made, .level = internal->level,
	};
	int32_t status = *made < MEMBER_FRAME ? QZ_BUF_ERROR : compress_piece(&piece);

	*used = status == QZ_OK ? piece.in_size : 0;
	*made = status == QZ_OK ? piece.made : 0;
	return status;
}

/*
 * As QATzip 1.3.1 does it in software: input that is cut short is a success, a last member without
 * its trailer too, and so is output that is full; what is behind the last member is left.
 */
static int decompress_here(struct internal *internal, const uint8_t *in, unsigned int *used,
			   uint8_t *out, unsigned int *made)
{
	uint32_t size = *used;
	uint32_t room = *made;
	int result = Z_STREAM_END;

	*used = 0;
	*made = 0;
	if (internal->is_spoilt)
		return QZ_DATA_ERROR;
	while (result == Z_STREAM_END && *used < size && *made < room &&
	       (*used == 0 || in[*used] == 0x1f)) {
		z_stream stream = { 0 };

		if (inflateInit2(&stream, GZIP_FORMAT) != Z_OK)
			return QZ_NOSW_LOW_MEM;
		stream.next_in = (Bytef *)(uintptr_t)(in + *used);
		stream.avail_in = size - *used;
		stream.next_out = out + *made;
		stream.avail_out = room - *made;
		result = inflate(&stream, Z_SYNC_FLUSH);
		inflateEnd(&stream);
		*used += (uint32_t)stream.total_in;
		*made += (uint32_t)stream.total_out;
		internal->is_spoilt = result != Z_STREAM_END;
		if (result != Z_STREAM_END && result != Z_OK && result != Z_BUF_ERROR) {
			*used = 0;
			*made = 0;
			return QZ_DATA_ERROR;
		}
	}
	return QZ_OK;
}

int qzCompress(QzSession_T *session, const unsigned char *src, unsigned int *src_len,
	       unsigned char *dest, unsigned int *dest_len, unsigned int last)
{
	struct internal *internal = session->internal;
	struct call call = {
		.internal = internal, .is_encode = true, .in = src, .in_size = *src_len,
		.out = dest, .room = *dest_len,
	};

	if (last != 1)
		return answer(QZ_PARAMS);
	if (internal->is_software)
		return compress_here(internal, src, src_len, dest, dest_len);
	return compute(&call, src_len, dest_len);
}

int qzDecompress(QzSession_T *session, const unsigned char *src, unsigned int *src_len,
		 unsigned char *dest, unsigned int *dest_len)
{
	struct internal *internal = session->internal;
	struct call call = {
		.internal = internal, .in = src, .in_size = *src_len, .out = dest,
		.room = *dest_len,
	};

	if (internal->is_software)
		return decompress_here(internal, src, src_len, dest, dest_len);
	return compute(&call, src_len, dest_len);
}
