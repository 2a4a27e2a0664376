/* What can be seen inside: two sandboxes of which the same is seen are the same to a command. */
#ifndef WEFT_LOOK_H
#define WEFT_LOOK_H

#include "reply.h"

operation look_around;

#endif
