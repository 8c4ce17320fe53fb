/*
 * device.h: a simulated accelerator, for tests only. It computes on threads of its own, has a
 * queue of limited depth, and misbehaves by a seeded schedule. The stand-ins for libqpl and
 * libqatzip beside it are its drivers; neither IAA nor QAT is modelled beyond their interfaces.
 */
#ifndef MULTIFD_SIM_DEVICE_H
#define MULTIFD_SIM_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_EXPORT __attribute__((visibility("default")))

/* What may go wrong with a job. */
enum sim_fault {
	SIM_NONE = 0,
	SIM_BUSY_SUBMIT = 1,  /* the queue says that it is full though it is not */
	SIM_BUSY_WAIT = 2,    /* the wait reports busy, the job was not done */
	SIM_STATUS = 3,       /* the job ends with the status in sim_job.status */
	SIM_WRONG_LENGTH = 4, /* success with a wrong length */
	SIM_CORRUPT = 5,      /* success with a byte of the output changed */
	SIM_DELAY = 6,        /* success, late */
	SIM_LOST = 7,         /* the device is gone, from now until sim_configure() */
	SIM_FAULTS = 8,
};

/* The work of a job, done on a thread of the device; returns the driver's status. */
typedef int32_t (*sim_work)(void *argument);

/* A job as its driver keeps it: one submission at a time. */
struct sim_job {
	sim_work work;
	void *argument;
	bool is_encode;
	uint32_t bytes;       /* of pages: what the rate is measured in; 0 takes no time */
	enum sim_fault fault; /* what the schedule chose for it */
	int32_t status;       /* what work returned, or the schedule's status */
	uint64_t order;       /* number of the submission */
	uint64_t submitted;   /* when, in ns */
	bool is_queued;
	bool is_done;
	struct sim_job *next;
};

/*
 * Configures the one device of this library, forgets all counts, and revives it:
 * "seed=1 depth=16 threads=2 rate=0 busy=0.1 wait=0.1 status=0.1 length=0.1 corrupt=0.1
 * delay=0.1 lost=0.001 statuses=2,5,217". Numbers from 0 to 1 are shares of jobs; rate is
 * MB/s of pages over all threads, 0 for no limit; statuses are what `status` chooses from.
 * What is left out is 0 (depth 32, threads 2). Returns 0, or minus the place, counted from 1,
 * of what it does not know. Jobs in flight are waited for. Without it, the environment variable
 * MULTIFD_SIM is read once, in the same words; without both the device never fails.
 */
SIM_EXPORT int32_t sim_configure(const char *text);

/*
 * What the device has counted, by itself: [0] jobs it gave as done with the right length, [1]
 * submissions it turned away as busy (queue full or by schedule), [2] most jobs in flight, [3]
 * jobs in flight now, [4] threads alive, [5] sessions or initialised jobs alive, [6..13] faults
 * fired while encoding by enum sim_fault, [14..21] while decoding; from [22] statuses it
 * reported and how often, in pairs, 0 ends them (at most 32 pairs).
 */
#define SIM_COUNTS 86
SIM_EXPORT void sim_counts(int64_t *counts);

/*
 * For the drivers. sim_submit() returns false where the queue is full, says it is, or the
 * device is lost (then job->fault is SIM_LOST). sim_wait() blocks until the job is done.
 */
bool sim_submit(struct sim_job *job);
bool sim_is_done(struct sim_job *job);
void sim_wait(struct sim_job *job);
void sim_count_status(int32_t status);
void sim_count_session(int change);

#endif
