/* One command, to its end or its deadline; nothing that it started outlives it. */
#ifndef WEFT_RUN_H
#define WEFT_RUN_H

#include "reply.h"

operation run_command;

#endif
