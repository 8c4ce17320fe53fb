/*
 * The simulated accelerator. A job's fate depends on the seed and on its number alone, and a
 * queue that is really full takes no number, so that the schedule is the same whatever the
 * threads do. Jobs that were taken before the device was lost are still finished.
 */
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "device.h"

#define MAX_THREADS 64
#define MAX_STATUSES 32
#define DEFAULT_DEPTH 32
#define DEFAULT_THREADS 2
#define DELAY_NS 1000000u
#define MAX_DELAY 4u /* in steps of DELAY_NS */
#define NS_PER_S 1000000000u

/* Indices of sim_counts(). */
enum {
	WELL = 0,
	BUSY = 1,
	MOST_IN_FLIGHT = 2,
	IN_FLIGHT = 3,
	THREADS = 4,
	SESSIONS = 5,
	ENCODE_FAULTS = 6,
	DECODE_FAULTS = 14,
	STATUSES = 22,
};

struct config {
	double share[SIM_FAULTS];
	double seed;
	double depth;
	double threads;
	double rate; /* MB/s */
	int32_t statuses[MAX_STATUSES];
	uint32_t status_count;
};

/* Held while threads start and end; device.mutex is taken inside it, never around it. */
static pthread_mutex_t lifecycle = PTHREAD_MUTEX_INITIALIZER;

static struct {
	pthread_mutex_t mutex;
	sem_t work; /* a token for each job, and for each thread that is to end */
	pthread_cond_t has_finished;
	bool is_configured;
	bool is_lost;
	struct config config;
	uint64_t order;
	uint64_t free_at; /* when the jobs so far are through, at the rate */
	struct sim_job *first;
	struct sim_job *last;
	uint32_t thread_count;
	pthread_t threads[MAX_THREADS];
	int64_t counts[SIM_COUNTS];
} device = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.has_finished = PTHREAD_COND_INITIALIZER,
	.config = { .depth = DEFAULT_DEPTH, .threads = DEFAULT_THREADS },
};

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* The n-th random number of a job. */
static uint64_t draw(uint64_t order, uint64_t n)
{
	return mix(mix(mix((uint64_t)device.config.seed) ^ order) + n);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec when = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) != 0)
		;
}

/* Reads a number of one setting; false where it is none or not in its limits. */
static bool read_number(const char **at, double low, double high, double *value)
{
	char *end;

	*value = strtod(*at, &end);
	if (end == *at || !(*value >= low && *value <= high))
		return false;
	*at = end;
	return true;
}

static bool read_statuses(const char **at, struct config *config)
{
	double value;

	while (config->status_count < MAX_STATUSES &&
	       read_number(at, INT32_MIN, INT32_MAX, &value)) {
		config->statuses[config->status_count++] = (int32_t)value;
		if (**at != ',')
			return true;
		++*at;
	}
	return false;
}

static bool read_setting(const char **at, struct config *config)
{
	const struct {
		const char *name;
		double low;
		double high;
		double *value;
	} settings[] = {
		{ "seed=", 0, 4294967295, &config->seed },
		{ "depth=", 1, 65536, &config->depth },
		{ "threads=", 1, MAX_THREADS, &config->threads },
		{ "rate=", 0, 1e6, &config->rate },
		{ "busy=", 0, 1, &config->share[SIM_BUSY_SUBMIT] },
		{ "wait=", 0, 1, &config->share[SIM_BUSY_WAIT] },
		{ "status=", 0, 1, &config->share[SIM_STATUS] },
		{ "length=", 0, 1, &config->share[SIM_WRONG_LENGTH] },
		{ "corrupt=", 0, 1, &config->share[SIM_CORRUPT] },
		{ "delay=", 0, 1, &config->share[SIM_DELAY] },
		{ "lost=", 0, 1, &config->share[SIM_LOST] },
	};

	if (strncmp(*at, "statuses=", 9) == 0) {
		*at += 9;
		return read_statuses(at, config);
	}
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		size_t length = strlen(settings[i].name);

		if (strncmp(*at, settings[i].name, length) == 0) {
			*at += length;
			return read_number(at, settings[i].low, settings[i].high, settings[i].value);
		}
	}
	return false;
}

/* 0, or minus the place, counted from 1, of what cannot be read. */
static int32_t read_config(const char *text, struct config *config)
{
	const char *at = text;

	*config = (struct config){ .depth = DEFAULT_DEPTH, .threads = DEFAULT_THREADS };
	while (*(at += strspn(at, " ")) != '\0') {
		const char *start = at;

		if (!read_setting(&at, config) || (*at != ' ' && *at != '\0'))
			return -(int32_t)(start - text) - 1;
	}
	/* a share of statuses needs some to choose from */
	if (config->share[SIM_STATUS] > 0 && config->status_count == 0)
		return -(int32_t)(at - text) - 1;
	return 0;
}

/* With the mutex held, before anything else. */
static void configure_by_environment(void)
{
	const char *text = device.is_configured ? NULL : getenv("MULTIFD_SIM");
	struct config config;

	device.is_configured = true;
	if (text == NULL)
		return;
	if (read_config(text, &config) == 0)
		device.config = config;
	else
		fprintf(stderr, "MULTIFD_SIM is not understood, no fault will fire: %s\n", text);
}

static void finish(struct sim_job *job)
{
	int64_t *faults = device.counts + (job->is_encode ? ENCODE_FAULTS : DECODE_FAULTS);

	/* a job that failed by itself has no output to spoil */
	if ((job->fault == SIM_WRONG_LENGTH || job->fault == SIM_CORRUPT) && job->status != 0)
		job->fault = SIM_NONE;
	faults[job->fault] += job->fault != SIM_NONE;
	device.counts[WELL] += job->status == 0 && job->fault != SIM_BUSY_WAIT &&
			       job->fault != SIM_WRONG_LENGTH;
	device.counts[IN_FLIGHT]--;
	job->is_done = true;
	pthread_cond_broadcast(&device.has_finished);
}

/* Computes one job, without the mutex; with a limited rate it takes its share of the time. */
static void compute(struct sim_job *job, uint64_t until)
{
	bool works = job->fault != SIM_BUSY_WAIT && job->fault != SIM_STATUS;

	if (works)
		job->status = job->work(job->argument);
	if (job->fault == SIM_DELAY)
		until += DELAY_NS * (1 + job->order % MAX_DELAY);
	if (until > now_ns())
		sleep_until(until);
}

static void *run(void *unused)
{
	(void)unused;
	prctl(PR_SET_TIMERSLACK, 1000); /* ns */
	while (true) {
		struct sim_job *job;
		uint64_t until;

		while (sem_wait(&device.work) != 0)
			;
		pthread_mutex_lock(&device.mutex);
		job = device.first;
		if (job == NULL)
			break;
		device.first = job->next;
		until = now_ns();
		if (device.config.rate > 0) {
			/* what a thread overslept is made up for, what the device was idle is not */
			if (device.free_at < job->submitted)
				device.free_at = job->submitted;
			device.free_at += (uint64_t)(job->bytes * 1000.0 / device.config.rate);
			until = device.free_at;
		}
		pthread_mutex_unlock(&device.mutex);
		compute(job, until);
		pthread_mutex_lock(&device.mutex);
		finish(job);
		pthread_mutex_unlock(&device.mutex);
	}
	pthread_mutex_unlock(&device.mutex);
	return NULL;
}

/* Both with the lifecycle held. */
static void start_threads(void)
{
	uint32_t count;

	pthread_mutex_lock(&device.mutex);
	count = (uint32_t)device.config.threads;
	pthread_mutex_unlock(&device.mutex);
	/* no condition variable: glibc before 2.41 may lose its signals (its bug 25847) */
	sem_init(&device.work, 0, 0);
	device.thread_count = 0;
	while (device.thread_count < count &&
	       pthread_create(&device.threads[device.thread_count], NULL, run, NULL) == 0)
		device.thread_count++;
	if (device.thread_count == 0)
		abort(); /* every wait would be for ever */
	pthread_mutex_lock(&device.mutex);
	device.counts[THREADS] = device.thread_count;
	pthread_mutex_unlock(&device.mutex);
}

static void end_threads(void)
{
	for (uint32_t i = 0; i < device.thread_count; i++)
		sem_post(&device.work);
	for (uint32_t i = 0; i < device.thread_count; i++)
		pthread_join(device.threads[i], NULL);
	sem_destroy(&device.work);
	device.thread_count = 0;
	pthread_mutex_lock(&device.mutex);
	device.counts[THREADS] = 0;
	pthread_mutex_unlock(&device.mutex);
}

int32_t sim_configure(const char *text)
{
	struct config config;
	int32_t result = read_config(text, &config);
	int64_t sessions;

	if (result != 0)
		return result;
	pthread_mutex_lock(&lifecycle);
	pthread_mutex_lock(&device.mutex);
	while (device.counts[IN_FLIGHT] > 0)
		pthread_cond_wait(&device.has_finished, &device.mutex);
	sessions = device.counts[SESSIONS];
	memset(device.counts, 0, sizeof(device.counts));
	device.counts[SESSIONS] = sessions;
	device.counts[THREADS] = device.thread_count;
	device.is_configured = true;
	device.is_lost = false;
	device.config = config;
	device.order = 0;
	device.free_at = 0;
	pthread_mutex_unlock(&device.mutex);
	if (sessions > 0) {
		end_threads();
		start_threads();
	}
	pthread_mutex_unlock(&lifecycle);
	return 0;
}

void sim_counts(int64_t *counts)
{
	pthread_mutex_lock(&device.mutex);
	memcpy(counts, device.counts, sizeof(device.counts));
	pthread_mutex_unlock(&device.mutex);
}

/* What the schedule says of the next job. */
static void choose_fault(struct sim_job *job)
{
	double left = (double)(draw(job->order, 0) >> 11) / 9007199254740992.0;

	job->fault = SIM_NONE;
	job->status = 0;
	for (int fault = SIM_NONE + 1; fault < SIM_FAULTS; fault++) {
		left -= device.config.share[fault];
		if (left < 0) {
			job->fault = (enum sim_fault)fault;
			break;
		}
	}
	if (job->fault == SIM_STATUS)
		job->status =
			device.config.statuses[draw(job->order, 1) % device.config.status_count];
}

static bool take(struct sim_job *job)
{
	int64_t *faults = device.counts + (job->is_encode ? ENCODE_FAULTS : DECODE_FAULTS);

	configure_by_environment();
	job->fault = SIM_LOST;
	if (device.is_lost)
		return false;
	job->fault = SIM_NONE;
	if (device.counts[IN_FLIGHT] >= (int64_t)device.config.depth) {
		device.counts[BUSY]++;
		return false;
	}
	job->order = device.order++;
	choose_fault(job);
	if (job->fault == SIM_LOST || job->fault == SIM_BUSY_SUBMIT) {
		faults[job->fault]++;
		device.is_lost = job->fault == SIM_LOST;
		device.counts[BUSY] += job->fault == SIM_BUSY_SUBMIT;
		return false;
	}
	return true;
}

bool sim_submit(struct sim_job *job)
{
	bool is_taken;

	pthread_mutex_lock(&device.mutex);
	is_taken = take(job);
	job->is_queued = is_taken;
	job->is_done = false;
	job->next = NULL;
	if (is_taken) {
		job->submitted = now_ns();
		if (device.first == NULL)
			device.first = job;
		else
			device.last->next = job;
		device.last = job;
		device.counts[IN_FLIGHT]++;
		if (device.counts[MOST_IN_FLIGHT] < device.counts[IN_FLIGHT])
			device.counts[MOST_IN_FLIGHT] = device.counts[IN_FLIGHT];
		sem_post(&device.work);
	}
	pthread_mutex_unlock(&device.mutex);
	return is_taken;
}

bool sim_is_done(struct sim_job *job)
{
	bool is_done;

	pthread_mutex_lock(&device.mutex);
	is_done = job->is_done;
	pthread_mutex_unlock(&device.mutex);
	return is_done;
}

void sim_wait(struct sim_job *job)
{
	pthread_mutex_lock(&device.mutex);
	while (job->is_queued && !job->is_done)
		pthread_cond_wait(&device.has_finished, &device.mutex);
	job->is_queued = false;
	pthread_mutex_unlock(&device.mutex);
}

void sim_count_status(int32_t status)
{
	int64_t *pair = device.counts + STATUSES;
	const int64_t *last = device.counts + SIM_COUNTS - 2;

	pthread_mutex_lock(&device.mutex);
	while (pair < last && pair[0] != status && pair[0] != 0)
		pair += 2;
	if (pair[0] == 0)
		pair[0] = status;
	pair[1]++;
	pthread_mutex_unlock(&device.mutex);
}

void sim_count_session(int change)
{
	bool is_edge;

	pthread_mutex_lock(&lifecycle);
	pthread_mutex_lock(&device.mutex);
	configure_by_environment();
	is_edge = device.counts[SESSIONS] == (change > 0 ? 0 : -(int64_t)change);
	device.counts[SESSIONS] += change;
	pthread_mutex_unlock(&device.mutex);
	if (is_edge && change > 0)
		start_threads();
	else if (is_edge && change < 0)
		end_threads();
	pthread_mutex_unlock(&lifecycle);
}
