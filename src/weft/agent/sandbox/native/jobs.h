/* Commands that run on while requests come and go, each below a process that ends all that it started. */
#ifndef WEFT_JOBS_H
#define WEFT_JOBS_H

#include "reply.h"

#include <poll.h>
#include <sys/types.h>

/* As many as a person would keep open; each costs a process, two pipes and its output. */
#define MAX_JOBS 16

operation jobs_start, jobs_poll, jobs_feed, jobs_stop, jobs_end;

/* The processes below which jobs run; they and their descendants outlive a command. */
int jobs_pids(pid_t pids[MAX_JOBS]);
/* What to watch, so that no job waits for room in its pipe; how many. */
int jobs_watched(struct pollfd watched[MAX_JOBS]);
void jobs_take(const struct pollfd *watched, int count);
/* Kill every process that belongs to no job; false with errno where it cannot be known. */
bool jobs_end_others(void);

#endif
