/* Counting what a device did: the numbers behind codec_stats(). */
#ifndef MULTIFD_COUNTS_H
#define MULTIFD_COUNTS_H

#include "codec.h"

/*
 * A status of ours beside the library's own, outside the ranges of both: the device reported
 * success, with lengths that cannot be.
 */
#define STATUS_WRONG_LENGTH 1000

struct counts {
	int64_t values[CODEC_COUNTS];
};

static inline void count(struct counts *counts, enum codec_count what)
{
	counts->values[what]++;
}

static inline void count_in_flight(struct counts *counts, int64_t jobs)
{
	if (counts->values[CODEC_IN_FLIGHT] < jobs)
		counts->values[CODEC_IN_FLIGHT] = jobs;
}

/* Counts a status; statuses beyond the room for them are counted with the last one. */
static inline void count_failure(struct counts *counts, int32_t status)
{
	int64_t *pair = counts->values + CODEC_FAILURES;
	const int64_t *last = pair + 2 * (CODEC_STATUSES - 1);

	while (pair < last && pair[0] != status && pair[0] != 0)
		pair += 2;
	if (pair[0] == 0)
		pair[0] = status;
	pair[1]++;
	counts->values[CODEC_LAST_STATUS] = status;
}

#endif
