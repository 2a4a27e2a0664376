/* The executor: runs commands and touches files for the host, as one more process inside the sandbox. */
#ifndef WEFT_EXECUTOR_H
#define WEFT_EXECUTOR_H

#include "wire.h"

/* Answer one request after the other until the host goes. `told` is a map: workspace, environment, cpu_s. */
_Noreturn void executor_serve(int in, int out, struct slice told);

#endif
