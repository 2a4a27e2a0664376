/* Reading what commands write. */
#ifndef WEFT_PIPES_H
#define WEFT_PIPES_H

#include <stdbool.h>
#include <stddef.h>

typedef void receiver(void *context, const unsigned char *data, size_t size);

/* One read of what is there; false at the end. */
bool pipe_take(int fd, receiver *receive, void *context);
/* What the pipe holds now, and no more: who writes on must not keep the reader busy. */
void pipe_drain(int fd, receiver *receive, void *context);

#endif
