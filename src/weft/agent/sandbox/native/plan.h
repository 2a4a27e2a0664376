/* Plans: programs of system calls, as inside/plan.py composes them. */

#ifndef WEFT_PLAN_H
#define WEFT_PLAN_H

#include <stddef.h>

enum plan_register { PLAN_OPENED, PLAN_HOST_PROC, PLAN_IDMAP, PLAN_MAKER, PLAN_RULESET, PLAN_REGISTERS };

enum plan_outcome { PLAN_DONE, PLAN_FAILED, PLAN_GONE };

/* Where a plan failed, and why. */
struct plan_failure {
    char stage[24];
    char reason[512];
};

/* Make the calls. The plan starts at a multiple of eight, and its data is written to. */
enum plan_outcome plan_run(unsigned char *raw, size_t size, long registers[PLAN_REGISTERS], struct plan_failure *failure);

#endif
