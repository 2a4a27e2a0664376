/* What a request wants run. */
#ifndef WEFT_COMMAND_H
#define WEFT_COMMAND_H

#include "children.h"
#include "reply.h"

/* Arguments and environment; the base's variables come first, those of the request take their place. */
bool command_take(
    const struct place *place, struct slice request, struct command *command, struct buffer *reply);
/* The program that a command names, as execvp would find it from here: ENOENT where there is none, else 0. */
int program_find(const char *name, char **environment, char **program);
/* The same for a whole command; UNFIT where no program can be given what it is to be given. */
enum { UNFIT = -1 };
int command_find(struct command *command);
void refuse_unfit(struct buffer *reply);
char **command_environment(struct slice base, struct slice more, bool *unfit, struct buffer *reply);
/* What a command says that cannot be run. */
void command_not_run(const char *name, const char *reason, struct buffer *text);

#endif
