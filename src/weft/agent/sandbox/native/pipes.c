/* Pipes are read through a piece of memory that nobody keeps. */
#define _GNU_SOURCE

#include "pipes.h"

#include "wire.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 16)

/* How much came; 0 at the end, -1 where nothing is there now. */
static ssize_t take(int fd, size_t limit, receiver *receive, void *context) {
    OWNED unsigned char *chunk = must_alloc(NULL, CHUNK_BYTES);
    ssize_t count = read(fd, chunk, limit < CHUNK_BYTES ? limit : CHUNK_BYTES);
    if (count > 0)
        receive(context, chunk, (size_t)count);
    return count;
}

bool pipe_take(int fd, receiver *receive, void *context) {
    return take(fd, CHUNK_BYTES, receive, context) != 0;
}

void pipe_drain(int fd, receiver *receive, void *context) {
    int left = 0;
    if (ioctl(fd, FIONREAD, &left) < 0)
        return;
    while (left > 0) {
        ssize_t count = take(fd, (size_t)left, receive, context);
        if (count <= 0)
            return;
        left -= (int)count;
    }
}
