/* The process between the executor and a job: it ends all that the job started. */
#ifndef WEFT_KEEP_H
#define WEFT_KEEP_H

#include "children.h"

#define SIGNALLED 128 /* more than a signal's number, as shells have it */

/* In the child: run the command to its end or its deadline, then end what it left behind. */
_Noreturn void job_keep(
    const struct command *command, int input, int output, int64_t cpu_s, double timeout_s);

#endif
