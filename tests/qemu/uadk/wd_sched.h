/* A stand-in, as wd_comp.h. */
#ifndef WD_SCHED_H
#define WD_SCHED_H

struct sched_params {
	unsigned char type;
};

#endif
