/* Answers: refusals with their kind and reason, and what a request must have. */
#define _GNU_SOURCE

#include "reply.h"

#include "paths.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* No path is of use that is longer than the kernel takes; the rest is room for `..` and `//`. */
#define MAX_TEXT_BYTES (1u << 16)

void refuse(struct buffer *reply, const char *kind, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    OWNED char *reason = must_alloc(NULL, (size_t)size + 1);
    vsnprintf(reason, (size_t)size + 1, format, again);
    va_end(again);
    va_end(arguments);
    wire_begin(reply);
    put_map(reply, 2);
    put_text(reply, "error");
    put_text(reply, kind);
    put_text(reply, "reason");
    put_text(reply, reason);
}

void refuse_errno(struct buffer *reply, int error) {
    refuse(reply, kind_of(error), "%s", strerror(error));
}

const char *kind_of(int error) {
    switch (error) {
    case ENOENT: case ENOTDIR: return "not_found";
    case EACCES: case EPERM: case EROFS: return "denied";
    case ENOSPC: case EFBIG: case EDQUOT: case ENAMETOOLONG: case ENOMEM: return "limit_exceeded";
    default: return "invalid";
    }
}

const char *with_commas(int64_t number, char *text) {
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%lld", (long long)number), at = 0;
    for (int i = 0; i < size; i++) {
        text[at++] = digits[i];
        if (digits[i] != '-' && i + 1 < size && (size - 1 - i) % 3 == 0)
            text[at++] = ',';
    }
    text[at] = 0;
    return text;
}

static bool misses(const char *name, struct buffer *reply) {
    refuse(reply, "invalid", "the request has no such `%s`", name);
    return false;
}

bool take(struct slice request, const char *name, struct slice *value, struct buffer *reply) {
    return wire_find(request, name, value) || misses(name, reply);
}

bool take_int(struct slice request, const char *name, int64_t *number, struct buffer *reply) {
    struct slice value;
    return (wire_find(request, name, &value) && wire_int(value, number)) || misses(name, reply);
}

bool take_double(struct slice request, const char *name, double *number, struct buffer *reply) {
    struct slice value;
    return (wire_find(request, name, &value) && wire_double(value, number)) || misses(name, reply);
}

bool take_bytes(struct slice request, const char *name, struct slice *bytes, struct buffer *reply) {
    struct slice value;
    return (wire_find(request, name, &value) && wire_bytes(value, bytes)) || misses(name, reply);
}

static bool terminated(struct slice bytes, char **text, struct buffer *reply) {
    if (memchr(bytes.data, 0, bytes.size)) {
        refuse(reply, "invalid", "embedded null byte");
        return false;
    }
    *text = must_alloc(NULL, bytes.size + 1);
    memcpy(*text, bytes.data, bytes.size);
    (*text)[bytes.size] = 0;
    return true;
}

bool take_text(struct slice request, const char *name, char **text, struct buffer *reply) {
    struct slice bytes;
    if (!take_bytes(request, name, &bytes, reply))
        return false;
    if (bytes.size > MAX_TEXT_BYTES) {
        refuse_errno(reply, ENAMETOOLONG);
        return false;
    }
    return terminated(bytes, text, reply);
}

bool take_path(
    const struct place *place, struct slice request, const char *name, char **path, struct buffer *reply) {
    OWNED char *given = NULL;
    if (!take_text(request, name, &given, reply))
        return false;
    *path = path_join(place->workspace, given);
    return true;
}
