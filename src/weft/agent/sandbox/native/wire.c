/* Frames: a four-byte big-endian length and one MessagePack value (github.com/msgpack/msgpack). */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FRAME_BYTES (72u << 20)
#define LENGTH_BYTES 4

void *must_alloc(void *old, size_t size) {
    void *new = realloc(old, size ? size : 1);
    if (!new)
        _exit(1);
    return new;
}

void owned_free(void *pointer) {
    free(*(void **)pointer);
}

unsigned char *buffer_room(struct buffer *buffer, size_t more) {
    if (more > SIZE_MAX / 4 - buffer->size)
        _exit(1);
    size_t needed = buffer->size + more;
    if (needed > buffer->capacity) {
        size_t twice = 2 * buffer->capacity;
        buffer->capacity = needed > twice ? needed : twice;
        buffer->data = must_alloc(buffer->data, buffer->capacity);
    }
    return buffer->data + buffer->size;
}

void buffer_add(struct buffer *buffer, const void *data, size_t size) {
    unsigned char *room = buffer_room(buffer, size);
    if (size)
        memcpy(room, data, size);
    buffer->size += size;
}

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void wire_begin(struct buffer *frame) {
    frame->size = 0;
    buffer_room(frame, LENGTH_BYTES);
    frame->size = LENGTH_BYTES;
}

static void put_sized(struct buffer *frame, unsigned char tag, uint64_t number, int bytes) {
    unsigned char head[9] = {tag};
    for (int at = 0; at < bytes; at++)
        head[1 + at] = (unsigned char)(number >> 8 * (bytes - 1 - at));
    buffer_add(frame, head, 1 + (size_t)bytes);
}

void put_map(struct buffer *frame, uint32_t pairs) {
    put_sized(frame, 0xDF, pairs, 4);
}

void put_array(struct buffer *frame, uint32_t items) {
    put_sized(frame, 0xDD, items, 4);
}

void put_text(struct buffer *frame, const char *text) {
    size_t size = strlen(text);
    put_sized(frame, 0xDB, size, 4);
    buffer_add(frame, text, size);
}

void put_bytes_of(struct buffer *frame, size_t size) {
    put_sized(frame, 0xC6, size, 4);
}

void put_bytes(struct buffer *frame, const void *data, size_t size) {
    put_bytes_of(frame, size);
    buffer_add(frame, data, size);
}

void put_int(struct buffer *frame, int64_t number) {
    put_sized(frame, 0xD3, (uint64_t)number, 8);
}

void put_double(struct buffer *frame, double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_sized(frame, 0xCB, bits, 8);
}

void put_bool(struct buffer *frame, bool truth) {
    put_sized(frame, truth ? 0xC3 : 0xC2, 0, 0);
}

/* After a read or write that gave nothing: whether to try again. */
static bool again(int fd, short events) {
    if (errno == EINTR)
        return true;
    if (errno != EAGAIN)
        return false;
    struct pollfd ready = {fd, events, 0};
    return poll(&ready, 1, -1) >= 0 || errno == EINTR;
}

bool wire_send(int fd, struct buffer *frame) {
    uint32_t length = htonl((uint32_t)(frame->size - LENGTH_BYTES));
    memcpy(frame->data, &length, sizeof length);
    for (size_t at = 0; at < frame->size;) {
        ssize_t count = write(fd, frame->data + at, frame->size - at);
        if (count > 0)
            at += (size_t)count;
        else if (!again(fd, POLLOUT))
            return false;
    }
    return true;
}

static bool receive_exactly(int fd, unsigned char *data, size_t size) {
    while (size) {
        ssize_t count = read(fd, data, size);
        if (count == 0 || (count < 0 && !again(fd, POLLIN)))
            return false;
        if (count > 0) {
            data += count;
            size -= (size_t)count;
        }
    }
    return true;
}

bool wire_receive(int fd, struct buffer *frame) {
    uint32_t length;
    frame->size = 0;
    if (!receive_exactly(fd, (unsigned char *)&length, sizeof length))
        return false;
    length = ntohl(length);
    if (length > MAX_FRAME_BYTES)
        return false;
    if (!receive_exactly(fd, buffer_room(frame, length), length))
        return false;
    frame->size = length;
    return true;
}

void wire_send_failed(int fd, const char *stage, const char *reason) {
    OWNED_BUFFER struct buffer frame = {0};
    wire_begin(&frame);
    put_map(&frame, 2);
    put_text(&frame, "failed");
    put_text(&frame, stage);
    put_text(&frame, "reason");
    put_text(&frame, reason);
    wire_send(fd, &frame);
}

void wire_send_ready(int fd) {
    OWNED_BUFFER struct buffer frame = {0};
    wire_begin(&frame);
    put_map(&frame, 1);
    put_text(&frame, "ready");
    put_bool(&frame, true);
    wire_send(fd, &frame);
}
