/* The last bytes of an output: what comes first gives way. */
#ifndef WEFT_TAIL_H
#define WEFT_TAIL_H

#include "wire.h"

struct tail {
    size_t limit;
    unsigned char *data; /* a ring, once it is as large as the limit */
    size_t capacity, start, size;
    int64_t omitted;
};

void tail_add(struct tail *tail, const unsigned char *data, size_t size);
/* The bytes as a value of a reply. */
void tail_put(const struct tail *tail, struct buffer *reply);
/* Forget it all, but for the limit. */
void tail_clear(struct tail *tail);
void tail_free(struct tail *tail);

#endif
