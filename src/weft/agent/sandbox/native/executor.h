/* The executor: runs commands and touches files for the host, as one more process inside the sandbox. */
#ifndef WEFT_EXECUTOR_H
#define WEFT_EXECUTOR_H

#include "wire.h"

/* Take standard input and output away from the commands that follow, which find nothing there. */
void executor_take_standard(int *in, int *out);
/* Answer one request after the other until the host goes. `told` is a map: workspace, environment, cpu_s. */
_Noreturn void executor_serve(int in, int out, struct slice told);

#endif
