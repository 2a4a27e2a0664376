/* Runs plans; inside/plan.py says what the bytes mean. */

#include "plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As inside/plan.py counts them. */
enum { FORMAT = 1 };

struct header {
    uint32_t format;
    char stage[20];
    uint32_t steps, data_bytes;
};

struct step {
    int32_t number;
    uint8_t result, into, kinds[6];
    uint32_t unused;
    uint64_t arguments[6];
    uint32_t name, unused_too;
};

_Static_assert(sizeof(struct header) == 32 && sizeof(struct step) == 72, "as inside/plan.py packs them");

enum { VALUE, IN_REGISTER, IN_DATA };
enum { MUST_SUCCEED, MAY_BE_REFUSED, MAY_EXIST, MUST_BE_ZERO, GONE_UNLESS_ZERO };
enum { POKE = -1, POINT = -2, NOWHERE = 0xFF };

static bool tolerated(uint8_t result, int error) {
    if (result == MAY_BE_REFUSED)
        return error == EACCES || error == EPERM;
    return result == MAY_EXIST && error == EEXIST;
}

static void change(const struct step *step, unsigned char *data, const long *registers) {
    unsigned char *place = data + step->arguments[0];
    if (step->number == POKE) {
        int32_t value = (int32_t)registers[step->arguments[1]];
        memcpy(place, &value, sizeof value);
    } else {
        uint64_t address = (uint64_t)(uintptr_t)(data + step->arguments[1]);
        memcpy(place, &address, sizeof address);
    }
}

static long call(const struct step *step, const unsigned char *data, const long *registers) {
    long passed[6];
    for (int i = 0; i < 6; i++) {
        uint64_t given = step->arguments[i];
        if (step->kinds[i] == IN_REGISTER)
            passed[i] = registers[given];
        else
            passed[i] = step->kinds[i] == IN_DATA ? (long)(uintptr_t)(data + given) : (long)given;
    }
    return syscall(step->number, passed[0], passed[1], passed[2], passed[3], passed[4], passed[5]);
}

static enum plan_outcome run_section(
    const struct header *header, unsigned char *data, long *registers, struct plan_failure *failure
) {
    const struct step *steps = (const struct step *)(header + 1);
    for (uint32_t i = 0; i < header->steps; i++) {
        const struct step *step = &steps[i];
        if (step->number < 0) {
            change(step, data, registers);
            continue;
        }
        long result = call(step, data, registers);
        if (result < 0 && tolerated(step->result, errno))
            continue;
        if (result < 0 || (result > 0 && step->result == MUST_BE_ZERO)) {
            memcpy(failure->stage, header->stage, sizeof header->stage);
            failure->stage[sizeof header->stage] = 0;
            const char *name = (const char *)data + step->name;
            snprintf(failure->reason, sizeof failure->reason, "%s: %s", name, strerror(result < 0 ? errno : EPERM));
            return PLAN_FAILED;
        }
        if (result > 0 && step->result == GONE_UNLESS_ZERO)
            return PLAN_GONE;
        if (step->into != NOWHERE)
            registers[step->into] = result;
    }
    return PLAN_DONE;
}

enum plan_outcome plan_run(
    unsigned char *raw, size_t size, long registers[PLAN_REGISTERS], struct plan_failure *failure
) {
    enum plan_outcome outcome = PLAN_DONE;
    for (size_t at = 0; at < size && outcome == PLAN_DONE;) {
        const struct header *header = (const struct header *)(raw + at);
        if (size - at < sizeof *header || header->format != FORMAT) {
            strcpy(failure->stage, "confinement");
            strcpy(failure->reason, "a plan of another version of weft");
            return PLAN_FAILED;
        }
        unsigned char *data = raw + at + sizeof *header + header->steps * sizeof(struct step);
        outcome = run_section(header, data, registers, failure);
        at = (size_t)(data - raw) + header->data_bytes;
    }
    return outcome;
}
