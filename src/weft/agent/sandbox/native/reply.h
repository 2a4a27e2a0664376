/* What an operation gets, and how it answers or refuses. */
#ifndef WEFT_REPLY_H
#define WEFT_REPLY_H

#include "wire.h"

/* Where operations work: nothing of it changes. */
struct place {
    const char *workspace;    /* absolute */
    struct slice environment; /* a map, of all commands */
    int64_t cpu_s;            /* of each command and of each job; 0 for no bound */
    int in, out, null;
};

/* An operation fills the reply, which is begun, or refuses; either is its last act. */
typedef void operation(const struct place *place, struct slice request, struct buffer *reply);

void refuse(struct buffer *reply, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void refuse_errno(struct buffer *reply, int error);
const char *kind_of(int error);
/* The number with a comma between each three digits; into `text`, which has room for 32 bytes. */
const char *with_commas(int64_t number, char *text);

/* A field of the request. False: it was refused. Texts are terminated copies, to be freed. */
bool take(struct slice request, const char *name, struct slice *value, struct buffer *reply);
bool take_int(struct slice request, const char *name, int64_t *number, struct buffer *reply);
bool take_double(struct slice request, const char *name, double *number, struct buffer *reply);
bool take_bytes(struct slice request, const char *name, struct slice *bytes, struct buffer *reply);
bool take_text(struct slice request, const char *name, char **text, struct buffer *reply);
/* A path: below the workspace, where it does not begin with a slash. */
bool take_path(
    const struct place *place, struct slice request, const char *name, char **path, struct buffer *reply);

#endif
