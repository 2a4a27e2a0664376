/* Processes below this one: how they begin and how they end. */
#ifndef WEFT_CHILDREN_H
#define WEFT_CHILDREN_H

#include "wire.h"

#include <sys/types.h>

/* A program, its arguments and environment, all to be freed by command_free. */
struct command {
    char *program, *folder;
    char **argv, **environment;
    bool unfit, nameless; /* a text that no program can be given; the name of the program is one */
};

void command_free(struct command *command);

/* Begin a session of its own. `input` and `output` become its standard ones, those of the caller where they
   are -1. -1 and errno where the program cannot be run. */
pid_t children_start(const struct command *command, int input, int output, int64_t cpu_s);
/* The exit code; of a signal its negative number. */
int children_wait(pid_t pid);
/* A descriptor that is ready once the process has ended; -1 and errno. */
int pidfd_of(pid_t pid);

enum { CHILDREN_ENDED, CHILDREN_TOO_MANY, CHILDREN_UNKNOWN };
/* Kill and reap all below this process but `spare`; so many rounds, or as many as it takes where -1. */
int children_end(const pid_t *spare, int count, int rounds);
/* Kill and reap all that runs; `spare` and what is below them stay, unless it takes for ever to tell what is
   theirs. False with errno where it cannot be known what runs. */
bool children_end_others(const pid_t *spare, int count);
/* The host has gone: end what runs, and this process. */
_Noreturn void host_gone(void);

double now_s(void);
/* What is left until then, as poll takes it. */
int milliseconds(double left_s);

#endif
