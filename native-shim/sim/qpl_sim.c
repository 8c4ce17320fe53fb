/*
 * The stand-in for libqpl: the functions qpl.c calls, over the simulated device. The hardware
 * path compresses with zlib as IAA would, in one block and a window of 4 KiB; the software path
 * does the same at once, and never fails.
 */
#include <string.h>

#include <qpl/qpl.h>
#include <zlib.h>

#include "device.h"

#define WINDOW_BITS 12
#define MEMORY_LEVEL 5 /* what a page of 4 KiB needs */

/* A job of libqpl's, and behind it what the library keeps for itself. */
struct job {
	qpl_job api;
	qpl_path_t path;
	bool is_submitted;
	struct sim_job sim;
};

const char *qpl_get_library_version(void)
{
	return "1.9 (simulated)";
}

qpl_status qpl_get_job_size(qpl_path_t path, uint32_t *size)
{
	(void)path;
	*size = sizeof(struct job);
	return QPL_STS_OK;
}

qpl_status qpl_init_job(qpl_path_t path, qpl_job *api)
{
	struct job *job = (struct job *)api;

	memset(job, 0, sizeof(*job));
	job->path = path;
	if (path == qpl_path_hardware)
		sim_count_session(1);
	return QPL_STS_OK;
}

qpl_status qpl_fini_job(qpl_job *api)
{
	struct job *job = (struct job *)api;

	if (job->path == qpl_path_hardware)
		sim_count_session(-1);
	return QPL_STS_OK;
}

static qpl_status compress_page(qpl_job *api)
{
	int strategy = (api->flags & QPL_FLAG_DYNAMIC_HUFFMAN) != 0 ? Z_DEFAULT_STRATEGY : Z_FIXED;
	z_stream stream = { 0 };
	int result;

	if (deflateInit2(&stream, 1, Z_DEFLATED, -WINDOW_BITS, MEMORY_LEVEL, strategy) != Z_OK)
		return QPL_STS_NO_MEM_ERR;
	stream.next_in = api->next_in_ptr;
	stream.avail_in = api->available_in;
	stream.next_out = api->next_out_ptr;
	stream.avail_out = api->available_out;
	result = deflate(&stream, Z_FINISH);
	api->total_in = (uint32_t)stream.total_in;
	api->total_out = (uint32_t)stream.total_out;
	deflateEnd(&stream);
	return result == Z_STREAM_END ? QPL_STS_OK : QPL_STS_MORE_OUTPUT_NEEDED;
}

static qpl_status decompress_page(qpl_job *api)
{
	z_stream stream = { 0 };
	int result;

	if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		return QPL_STS_NO_MEM_ERR;
	stream.next_in = api->next_in_ptr;
	stream.avail_in = api->available_in;
	stream.next_out = api->next_out_ptr;
	stream.avail_out = api->available_out;
	result = inflate(&stream, Z_FINISH);
	api->total_in = (uint32_t)stream.total_in;
	api->total_out = (uint32_t)stream.total_out;
	inflateEnd(&stream);
	if (result == Z_STREAM_END)
		return QPL_STS_OK;
	if (result != Z_BUF_ERROR)
		return QPL_STS_BAD_LL_CODE_ERR;
	/* as libqpl may: success, and short */
	return stream.avail_out == 0 ? QPL_STS_MORE_OUTPUT_NEEDED : QPL_STS_OK;
}

qpl_status qpl_execute_job(qpl_job *api)
{
	return api->op == qpl_op_compress ? compress_page(api) : decompress_page(api);
}

static int32_t work(void *argument)
{
	return (int32_t)qpl_execute_job(argument);
}

qpl_status qpl_submit_job(qpl_job *api)
{
	struct job *job = (struct job *)api;
	bool is_encode = api->op == qpl_op_compress;

	if (job->is_submitted)
		return QPL_STS_JOB_NOT_CONTINUABLE_ERR;
	job->sim = (struct sim_job){
		.work = work,
		.argument = api,
		.is_encode = is_encode,
		.bytes = is_encode ? api->available_in : api->available_out,
	};
	job->is_submitted = sim_submit(&job->sim);
	if (job->is_submitted)
		return QPL_STS_OK;
	if (job->sim.fault != SIM_LOST)
		return QPL_STS_QUEUES_ARE_BUSY_ERR;
	sim_count_status(QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE);
	return QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE;
}

/* One way in four passes for a right length: a byte more or less than the page compressed to. */
static void spoil_length(qpl_job *api, bool is_encode, uint64_t order)
{
	switch (order % 4) {
	case 0:
		api->total_out = 0;
		break;
	case 1:
		api->total_out = api->available_out + 1;
		break;
	case 2:
		api->total_in--;
		break;
	default:
		api->total_out += is_encode && order % 8 == 7 ? 1 : -1u;
	}
}

static qpl_status conclude(struct job *job)
{
	qpl_job *api = &job->api;
	struct sim_job *sim = &job->sim;

	job->is_submitted = false;
	switch (sim->fault) {
	case SIM_BUSY_WAIT:
		sim_count_status(QPL_STS_QUEUES_ARE_BUSY_ERR);
		return QPL_STS_QUEUES_ARE_BUSY_ERR;
	case SIM_STATUS:
		/* it got that far */
		memset(api->next_out_ptr, 0xa5, api->available_out / 2);
		/* to who encodes, a page that does not fit is no failure */
		if (!sim->is_encode || sim->status != QPL_STS_MORE_OUTPUT_NEEDED)
			sim_count_status(sim->status);
		break;
	case SIM_WRONG_LENGTH:
		spoil_length(api, sim->is_encode, sim->order);
		break;
	case SIM_CORRUPT:
		api->next_out_ptr[sim->order % api->total_out] ^= (uint8_t)(1 + sim->order % 255);
		break;
	default:
		break;
	}
	return (qpl_status)sim->status;
}

qpl_status qpl_check_job(qpl_job *api)
{
	struct job *job = (struct job *)api;

	if (!job->is_submitted)
		return QPL_STS_JOB_NOT_SUBMITTED;
	return sim_is_done(&job->sim) ? conclude(job) : QPL_STS_BEING_PROCESSED;
}

qpl_status qpl_wait_job(qpl_job *api)
{
	struct job *job = (struct job *)api;

	if (!job->is_submitted)
		return QPL_STS_JOB_NOT_SUBMITTED;
	sim_wait(&job->sim);
	return conclude(job);
}
