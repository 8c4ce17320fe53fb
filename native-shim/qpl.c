/* Intel QPL: pages on IAA, many at once, and the same in software where the device does not. */
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <qpl/qpl.h>

#include "common.h"
#include "counts.h"

#define PACKET_BYTES (512u * 1024u)

/* Submissions of a page after the first that found the queues full. */
#define MAX_RETRIES 3u
/* Submissions of a page whose wait answered that the queues are full, without fallback. */
#define MAX_RESUBMITS 16u
/* After so many refusals in a row only the first page of a packet asks the device. */
#define MAX_REFUSALS 8u

/* How long full queues are waited for while none of the jobs in them is ours. */
#define BUSY_SECONDS 1
#define BUSY_SLEEP_NS 20000

enum page_state {
	IN_FLIGHT, /* the device has it */
	ENDED,     /* the device is through with it, status says how */
	REFUSED,   /* the device did not take it, status says why, and is counted */
	COMPUTED,  /* result has its bytes */
};

struct page {
	qpl_job *job; /* its hardware job; NULL without a device */
	const uint8_t *in;
	uint32_t in_size;
	uint8_t *out;
	enum page_state state;
	qpl_status status;
	int32_t result; /* bytes, or a codec_result */
};

struct codec {
	uint32_t direction;
	uint32_t page_size;
	uint32_t flags;
	uint32_t in_flight;
	uint32_t refusals;   /* submissions that failed since the last that did not */
	uint32_t first_page; /* of the batch, in its packet */
	time_t busy_until;   /* seconds, or 0 where the batch has not waited yet */
	qpl_job *software;
	uint32_t software_size;
	uint8_t *scratch; /* what was compressed, a page each, until it is packed */
	struct counts counts;
	uint32_t page_count; /* of a batch: a whole packet, as QEMU makes them */
	struct page pages[];
};

uint32_t codec_abi(void)
{
	return CODEC_ABI;
}

uint32_t codec_probe(char *text, uint32_t room)
{
	name_version(text, room, "QPL", qpl_get_library_version());
	return 1u << CODEC_DEFLATE_PAGES | 1u << (8 + CODEC_DEFLATE_PAGES);
}

static qpl_status init_job(qpl_path_t path, qpl_job *job, uint32_t size)
{
	qpl_status status;

	memset(job, 0, size);
	status = qpl_init_job(path, job);
	job->numa_id = QPL_DEVICE_NUMA_ID_ANY;
	return status;
}

/* A job of a path; NULL where it does not initialise, and status says why. */
static qpl_job *open_job(qpl_path_t path, uint32_t *size, qpl_status *status)
{
	qpl_job *job;

	*status = qpl_get_job_size(path, size);
	if (*status != QPL_STS_OK)
		return NULL;
	*status = QPL_STS_NO_MEM_ERR;
	job = *size < sizeof(*job) ? NULL : malloc(*size);
	if (job == NULL)
		return NULL;
	*status = init_job(path, job, *size);
	if (*status != QPL_STS_OK) {
		free(job);
		return NULL;
	}
	return job;
}

static void close_job(qpl_job *job)
{
	if (job == NULL)
		return;
	qpl_fini_job(job);
	free(job);
}

int32_t codec_device(void)
{
	qpl_status status;
	uint32_t size;

	close_job(open_job(qpl_path_hardware, &size, &status));
	return (int32_t)status;
}

/* All jobs; memory that is there already, as a device faults slowly. */
static bool open_jobs(struct codec *codec)
{
	qpl_status status;
	uint32_t size;

	codec->software = open_job(qpl_path_software, &codec->software_size, &status);
	if (codec->software == NULL)
		return false;
	for (uint32_t i = 0; i < codec->page_count && (codec->flags & CODEC_DEVICE) != 0; i++) {
		codec->pages[i].job = open_job(qpl_path_hardware, &size, &status);
		if (codec->pages[i].job == NULL)
			return false;
	}
	if (codec->direction == CODEC_DECODE)
		return true;
	codec->scratch = mmap(NULL, PACKET_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (codec->scratch == MAP_FAILED)
		codec->scratch = NULL;
	return codec->scratch != NULL;
}

struct codec *codec_open(uint32_t format, uint32_t direction, uint32_t page_size, int32_t level,
			 uint32_t flags)
{
	struct codec *codec;
	uint32_t count;

	(void)level; /* the device has one */
	if (format != CODEC_DEFLATE_PAGES || direction > CODEC_DECODE || !is_page_size(page_size))
		return NULL;
	count = PACKET_BYTES / page_size;
	codec = calloc(1, sizeof(*codec) + count * sizeof(codec->pages[0]));
	if (codec == NULL)
		return NULL;
	codec->direction = direction;
	codec->page_size = page_size;
	codec->flags = flags;
	codec->page_count = count;
	if (!open_jobs(codec)) {
		codec_close(codec);
		return NULL;
	}
	return codec;
}

/* A software job remembers a page that did not fit, and compresses the next ones otherwise. */
void codec_reset(struct codec *codec)
{
	qpl_fini_job(codec->software);
	init_job(qpl_path_software, codec->software, codec->software_size);
}

void codec_close(struct codec *codec)
{
	if (codec == NULL)
		return;
	for (uint32_t i = 0; i < codec->page_count; i++)
		close_job(codec->pages[i].job);
	close_job(codec->software);
	if (codec->scratch != NULL)
		munmap(codec->scratch, PACKET_BYTES);
	free(codec);
}

void codec_stats(const struct codec *codec, int64_t *counts)
{
	memcpy(counts, codec->counts.values, sizeof(codec->counts.values));
}

static bool has_device(const struct codec *codec)
{
	return codec->pages[0].job != NULL;
}

static void prepare(const struct codec *codec, const struct page *page, qpl_job *job)
{
	bool is_encode = codec->direction == CODEC_ENCODE;

	job->op = is_encode ? qpl_op_compress : qpl_op_decompress;
	job->flags = QPL_FLAG_FIRST | QPL_FLAG_LAST;
	if (is_encode)
		job->flags |= QPL_FLAG_OMIT_VERIFY;
	if (is_encode && (codec->flags & CODEC_DENSE) != 0)
		job->flags |= QPL_FLAG_DYNAMIC_HUFFMAN;
	job->level = qpl_default_level;
	job->next_in_ptr = (uint8_t *)(uintptr_t)page->in;
	job->available_in = page->in_size;
	job->total_in = 0;
	job->next_out_ptr = page->out;
	/* one byte less than a page: what does not fit is sent raw */
	job->available_out = is_encode ? codec->page_size - 1 : codec->page_size;
	job->total_out = 0;
}

/* How a job ended; success with lengths that cannot be is none. */
static int32_t judge(const struct codec *codec, const struct page *page, const qpl_job *job,
		     qpl_status status)
{
	bool is_whole = job->total_in == page->in_size;

	if (status != QPL_STS_OK)
		return (int32_t)status;
	if (codec->direction == CODEC_ENCODE)
		is_whole = is_whole && job->total_out > 0 && job->total_out < codec->page_size;
	else
		is_whole = is_whole && job->total_out == codec->page_size;
	return is_whole ? QPL_STS_OK : STATUS_WRONG_LENGTH;
}

/* Whether bad data may be why decoding ended so. */
static bool is_of_data(int32_t status)
{
	return (status >= QPL_STS_BIG_HEADER_ERR && status <= QPL_STS_REF_BEFORE_START_ERR) ||
	       status == QPL_STS_TOO_MANY_LL_CODES_ERR || status == QPL_STS_TOO_MANY_D_CODES_ERR ||
	       status == QPL_STS_MORE_OUTPUT_NEEDED || status == QPL_STS_MORE_INPUT_NEEDED ||
	       status == STATUS_WRONG_LENGTH;
}

static int32_t fail_with(const struct codec *codec, const struct page *page, const qpl_job *job,
			 int32_t status, struct codec_fault *fault)
{
	uint32_t number = codec->first_page + (uint32_t)(page - codec->pages);
	uint32_t size = codec->page_size;

	if (status == QPL_STS_MORE_OUTPUT_NEEDED)
		return fail(fault, CODEC_TOO_LONG, number, size, size + 1, status);
	if (status == QPL_STS_MORE_INPUT_NEEDED)
		return fail(fault, CODEC_TOO_SHORT, number, size, job->total_out, status);
	if (status != STATUS_WRONG_LENGTH)
		return fail(fault, CODEC_BAD_DATA, number, 0, 0, status);
	if (job->total_out > size)
		return fail(fault, CODEC_TOO_LONG, number, size, job->total_out, 0);
	if (job->total_out < size)
		return fail(fault, CODEC_TOO_SHORT, number, size, job->total_out, 0);
	return fail(fault, CODEC_LEFT_OVER, number, job->total_in, page->in_size, 0);
}

/* One page in software: its bytes, or where it is no good a result below zero. */
static int32_t compute(struct codec *codec, struct page *page, struct codec_fault *fault)
{
	qpl_job *job = codec->software;
	int32_t status;

	prepare(codec, page, job);
	status = judge(codec, page, job, qpl_execute_job(job));
	if (status == QPL_STS_OK) {
		count(&codec->counts, CODEC_SOFTWARE_PAGES);
		return (int32_t)job->total_out;
	}
	if (codec->direction == CODEC_DECODE)
		return fail_with(codec, page, job, status, fault);
	/* raw is always right */
	if (status != QPL_STS_MORE_OUTPUT_NEEDED)
		count_failure(&codec->counts, status);
	count(&codec->counts, CODEC_RAW_PAGES);
	return (int32_t)codec->page_size;
}

/* The device did not do a page: status says why. */
static int32_t step_in(struct codec *codec, struct page *page, int32_t status,
		       struct codec_fault *fault)
{
	bool may_be_data = codec->direction == CODEC_DECODE && is_of_data(status);
	bool is_counted = page->state == REFUSED || status == QPL_STS_QUEUES_ARE_BUSY_ERR;
	int32_t result;

	if ((codec->flags & CODEC_NO_FALLBACK) != 0) {
		if (may_be_data)
			return fail_with(codec, page, page->job, status, fault);
		if (!is_counted)
			count_failure(&codec->counts, status);
		codec->counts.values[CODEC_LAST_STATUS] = status;
		return CODEC_DEVICE_FAILED;
	}
	result = compute(codec, page, fault);
	/* where software fails too, it is the data */
	if (!is_counted && (!may_be_data || result >= 0))
		count_failure(&codec->counts, status);
	return result;
}

static void end(struct codec *codec, struct page *page, qpl_status status)
{
	page->state = ENDED;
	page->status = status;
	codec->in_flight--;
	if (status == QPL_STS_QUEUES_ARE_BUSY_ERR)
		count_failure(&codec->counts, (int32_t)status);
}

static void await(struct codec *codec, struct page *page)
{
	if (page->state == IN_FLIGHT)
		end(codec, page, qpl_wait_job(page->job));
}

/* Jobs that ended unnoticed are no longer in flight; looked for only where it would be a record. */
static void note_in_flight(struct codec *codec)
{
	if (codec->in_flight <= codec->counts.values[CODEC_IN_FLIGHT])
		return;
	for (uint32_t i = 0; i < codec->page_count; i++) {
		struct page *page = &codec->pages[i];
		qpl_status status;

		if (page->state != IN_FLIGHT)
			continue;
		status = qpl_check_job(page->job);
		if (status != QPL_STS_BEING_PROCESSED)
			end(codec, page, status);
	}
	count_in_flight(&codec->counts, codec->in_flight);
}

/* Waits until the queues may have room; false where it took too long. */
static bool await_room(struct codec *codec)
{
	const struct timespec nap = { 0, BUSY_SLEEP_NS };
	struct timespec now;

	for (uint32_t i = 0; i < codec->page_count; i++) {
		if (codec->pages[i].state == IN_FLIGHT) {
			await(codec, &codec->pages[i]);
			return true;
		}
	}
	/* what fills them is not ours */
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (codec->busy_until == 0)
		codec->busy_until = now.tv_sec + BUSY_SECONDS + 1;
	if (now.tv_sec >= codec->busy_until) {
		codec->refusals = MAX_REFUSALS;
		return false;
	}
	nanosleep(&nap, NULL);
	return true;
}

/* Whether to submit again where the queues were full. */
static bool tries_again(struct codec *codec, uint32_t tries)
{
	bool waits = (codec->flags & (CODEC_WAIT | CODEC_NO_FALLBACK)) != 0;

	if (codec->refusals >= MAX_REFUSALS)
		return false;
	return waits ? await_room(codec) : tries < MAX_RETRIES;
}

/* Hands a page to the device. */
static void submit(struct codec *codec, struct page *page)
{
	prepare(codec, page, page->job);
	page->state = REFUSED;
	for (uint32_t tries = 0;; tries++) {
		page->status = qpl_submit_job(page->job);
		if (page->status != QPL_STS_QUEUES_ARE_BUSY_ERR)
			break;
		count(&codec->counts, CODEC_BUSY);
		if (!tries_again(codec, tries))
			return;
	}
	if (page->status != QPL_STS_OK) {
		codec->refusals++;
		count_failure(&codec->counts, (int32_t)page->status);
		return;
	}
	codec->refusals = 0;
	codec->in_flight++;
	page->state = IN_FLIGHT;
	note_in_flight(codec);
}

/* Starts a page; what the device does not take is computed at once, and meanwhile it may get room. */
static void start(struct codec *codec, struct page *page, struct codec_fault *fault)
{
	bool is_lost = codec->refusals >= MAX_REFUSALS && page != codec->pages &&
		       (codec->flags & CODEC_NO_FALLBACK) == 0;

	if (has_device(codec) && !is_lost) {
		submit(codec, page);
		if (page->state != REFUSED)
			return;
		page->result = step_in(codec, page, (int32_t)page->status, fault);
	} else {
		page->result = compute(codec, page, fault);
	}
	page->state = COMPUTED;
}

/* Submits again what the device took and then had no room for. */
static void insist(struct codec *codec, struct page *page)
{
	for (uint32_t i = 0; i < MAX_RESUBMITS && page->state == ENDED &&
			     page->status == QPL_STS_QUEUES_ARE_BUSY_ERR;
	     i++) {
		submit(codec, page);
		await(codec, page);
	}
}

/* Waits for a page's bytes, or gives a result below zero. */
static int32_t finish(struct codec *codec, struct page *page, struct codec_fault *fault)
{
	int32_t status;

	if (page->state == COMPUTED)
		return page->result;
	await(codec, page);
	if ((codec->flags & CODEC_NO_FALLBACK) != 0)
		insist(codec, page);
	status = judge(codec, page, page->job, page->status);
	if (status == QPL_STS_OK) {
		count(&codec->counts, CODEC_DEVICE_PAGES);
		return (int32_t)page->job->total_out;
	}
	if (codec->direction == CODEC_ENCODE && status == QPL_STS_MORE_OUTPUT_NEEDED) {
		count(&codec->counts, CODEC_RAW_PAGES);
		return (int32_t)codec->page_size;
	}
	return step_in(codec, page, status, fault);
}

/* Before a call returns, the device has to be through with the caller's memory. */
static int32_t give_up(struct codec *codec, int32_t result)
{
	for (uint32_t i = 0; i < codec->page_count; i++)
		await(codec, &codec->pages[i]);
	return result;
}

static void begin(struct codec *codec, uint32_t first_page)
{
	codec->first_page = first_page;
	codec->busy_until = 0;
	for (uint32_t i = 0; i < codec->page_count; i++)
		codec->pages[i].state = COMPUTED;
}

/* Compresses as many pages as there are jobs; returns bytes written. */
static int32_t encode_batch(struct codec *codec, const uint8_t *pages, uint32_t page_count,
			    uint8_t *out, uint32_t *lengths)
{
	uint32_t size = codec->page_size;
	uint32_t at = 0;

	for (uint32_t i = 0; i < page_count; i++) {
		struct page *page = &codec->pages[i];

		page->in = pages + (size_t)i * size;
		page->in_size = size;
		page->out = codec->scratch + (size_t)i * size;
		start(codec, page, NULL);
		if (page->state == COMPUTED && page->result < 0)
			return give_up(codec, page->result);
	}
	for (uint32_t i = 0; i < page_count; i++) {
		struct page *page = &codec->pages[i];
		int32_t length = finish(codec, page, NULL);

		if (length < 0)
			return give_up(codec, length);
		lengths[i] = (uint32_t)length;
		memcpy(out + at, lengths[i] == size ? page->in : page->out, lengths[i]);
		at += lengths[i];
	}
	return (int32_t)at;
}

int32_t codec_encode(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
		     uint32_t room, uint32_t *lengths)
{
	uint32_t count = size / codec->page_size;
	uint32_t at = 0;

	if (codec->direction != CODEC_ENCODE || !is_whole_pages(size, codec->page_size) ||
	    lengths == NULL)
		return CODEC_BAD_CALL;
	/* each page may turn out to be raw */
	if (room < size)
		return CODEC_DOES_NOT_FIT;
	for (uint32_t first = 0; first < count; first += codec->page_count) {
		uint32_t left = count - first;
		int32_t result;

		begin(codec, first);
		result = encode_batch(codec, pages + (size_t)first * codec->page_size,
				      left < codec->page_count ? left : codec->page_count, out + at,
				      lengths + first);
		if (result < 0)
			return result;
		at += (uint32_t)result;
	}
	return (int32_t)at;
}

/* Decompresses as many pages as there are jobs; 0, or of the first page that fails its result. */
static int32_t decode_batch(struct codec *codec, const uint8_t *in, const uint32_t *lengths,
			    uint32_t page_count, uint8_t *out, struct codec_fault *fault)
{
	uint32_t size = codec->page_size;
	uint32_t started = 0;
	int32_t result = 0;

	while (started < page_count && result >= 0) {
		struct page *page = &codec->pages[started];

		page->in = in;
		page->in_size = lengths[started];
		page->out = out + (size_t)started * size;
		in += page->in_size;
		started++;
		if (page->in_size == size) {
			memcpy(page->out, page->in, size);
			page->result = (int32_t)size;
			count(&codec->counts, CODEC_RAW_PAGES);
			continue;
		}
		start(codec, page, fault);
		result = page->state == COMPUTED ? page->result : 0;
	}
	for (uint32_t i = 0; i < started; i++) {
		result = finish(codec, &codec->pages[i], fault);
		if (result < 0)
			return give_up(codec, result);
	}
	return 0;
}

static bool are_lengths(const struct codec *codec, const uint32_t *lengths, uint32_t count,
			uint32_t size)
{
	for (uint32_t i = 0; i < count; i++) {
		if (lengths[i] < 1 || lengths[i] > codec->page_size || lengths[i] > size)
			return false;
		size -= lengths[i];
	}
	return size == 0;
}

int32_t codec_decode(struct codec *codec, const uint8_t *in, uint32_t size, const uint32_t *lengths,
		     uint8_t *out, uint32_t out_size, struct codec_fault *fault)
{
	uint32_t count = out_size / codec->page_size;

	if (codec->direction != CODEC_DECODE || !is_whole_pages(out_size, codec->page_size) ||
	    size > MAX_PACKET_BYTES || lengths == NULL || !are_lengths(codec, lengths, count, size))
		return CODEC_BAD_CALL;
	for (uint32_t first = 0; first < count; first += codec->page_count) {
		uint32_t left = count - first;
		uint32_t batch = left < codec->page_count ? left : codec->page_count;
		int32_t result;

		begin(codec, first);
		result = decode_batch(codec, in, lengths + first, batch,
				      out + (size_t)first * codec->page_size, fault);
		if (result < 0)
			return result;
		for (uint32_t i = 0; i < batch; i++)
			in += lengths[first + i];
	}
	return (int32_t)out_size;
}
