/* Frames of MessagePack over a socket or two pipes, in the few types that a sandbox speaks. */
#ifndef WEFT_WIRE_H
#define WEFT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to somebody else: an encoded value, or those of a text. */
struct slice {
    const unsigned char *data;
    size_t size;
};

/* Bytes of its own, which grow. */
struct buffer {
    unsigned char *data;
    size_t size, capacity;
};

/* realloc that ends the process where there is no memory. */
void *must_alloc(void *old, size_t size);

#define OWNED __attribute__((cleanup(owned_free)))
#define OWNED_BUFFER __attribute__((cleanup(buffer_free)))
void owned_free(void *pointer);

unsigned char *buffer_room(struct buffer *buffer, size_t more);
void buffer_add(struct buffer *buffer, const void *data, size_t size);
void buffer_free(struct buffer *buffer);

/* Reading. False where the value is of another type or cut off. Of keys that are the same the last counts. */
bool wire_find(struct slice map, const char *key, struct slice *value);
bool wire_bytes(struct slice value, struct slice *text); /* of text as of bytes */
bool wire_int(struct slice value, int64_t *number);
bool wire_double(struct slice value, double *number);
bool wire_bool(struct slice value, bool *truth);

struct wire_items {
    struct slice rest;
    uint64_t left;
};
bool wire_array(struct slice value, struct wire_items *items);
bool wire_map(struct slice value, struct wire_items *items); /* keys and values in turn */
bool wire_next(struct wire_items *items, struct slice *value);

/* Writing: a frame is begun, filled and sent. */
void wire_begin(struct buffer *frame);
void put_map(struct buffer *frame, uint32_t pairs);
void put_array(struct buffer *frame, uint32_t items);
void put_text(struct buffer *frame, const char *text);
void put_bytes(struct buffer *frame, const void *data, size_t size);
void put_bytes_of(struct buffer *frame, size_t size); /* the bytes follow by buffer_add */
void put_int(struct buffer *frame, int64_t number);
void put_double(struct buffer *frame, double number);
void put_bool(struct buffer *frame, bool truth);

bool wire_send(int fd, struct buffer *frame);       /* false: the peer has gone */
bool wire_receive(int fd, struct buffer *frame);    /* the same, or a frame of more than 72 MiB */
void wire_send_failed(int fd, const char *stage, const char *reason);
void wire_send_ready(int fd);

#endif
