/* A buffer that grows to its limit and is a ring from then on. */
#include "tail.h"

#include <string.h>

static void grow(struct tail *tail, size_t needed) {
    if (needed <= tail->capacity)
        return;
    size_t twice = 2 * tail->capacity, capacity = needed > twice ? needed : twice;
    tail->capacity = capacity < tail->limit ? capacity : tail->limit;
    tail->data = must_alloc(tail->data, tail->capacity);
}

void tail_add(struct tail *tail, const unsigned char *data, size_t size) {
    if (size > tail->limit) {
        tail->omitted += (int64_t)(size - tail->limit);
        data += size - tail->limit;
        size = tail->limit;
    }
    if (!size)
        return;
    size_t room = tail->limit - tail->size;
    grow(tail, size < room ? tail->size + size : tail->limit);
    if (size > room) {
        size_t surplus = size - room;
        tail->omitted += (int64_t)surplus;
        tail->start = (tail->start + surplus) % tail->capacity;
        tail->size -= surplus;
    }
    size_t end = (tail->start + tail->size) % tail->capacity;
    size_t first = size < tail->capacity - end ? size : tail->capacity - end;
    memcpy(tail->data + end, data, first);
    memcpy(tail->data, data + first, size - first);
    tail->size += size;
}

void tail_put(const struct tail *tail, struct buffer *reply) {
    size_t before_end = tail->capacity - tail->start;
    size_t first = tail->size < before_end ? tail->size : before_end;
    put_bytes_of(reply, tail->size);
    if (!tail->size)
        return;
    buffer_add(reply, tail->data + tail->start, first);
    buffer_add(reply, tail->data, tail->size - first);
}

void tail_clear(struct tail *tail) {
    owned_free(&tail->data);
    *tail = (struct tail){.limit = tail->limit};
}

void tail_free(struct tail *tail) {
    owned_free(&tail->data);
}
