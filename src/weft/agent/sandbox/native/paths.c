/* Paths: joined, resolved, and made. */
#define _GNU_SOURCE

#include "paths.h"

#include "wire.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The kernel follows 40 in one path; this bounds the work, and the depth of calls. */
#define MAX_LINKS 1000

/* Links met so far; what a link leads to is NULL until that is known. */
struct met {
    struct link {
        char *path, *real;
    } *links;
    size_t count;
};

static const int LOOPED = -1;

char *path_join(const char *left, const char *right) {
    size_t before = *right == '/' ? 0 : strlen(left), after = strlen(right);
    bool slash = before && left[before - 1] != '/';
    char *joined = must_alloc(NULL, before + slash + after + 1);
    memcpy(joined, left, before);
    if (slash)
        joined[before] = '/';
    memcpy(joined + before + slash, right, after + 1);
    return joined;
}

static char *copied_part(const char *text, size_t size) {
    char *part = must_alloc(NULL, size + 1);
    memcpy(part, text, size);
    part[size] = 0;
    return part;
}

static char *copied(const char *text) {
    return copied_part(text, strlen(text));
}

/* How long the folder's part of the first `size` bytes is: without its slashes, but for those of the root. */
static size_t folder_size(const char *path, size_t size) {
    while (size && path[size - 1] != '/')
        size--;
    size_t whole = size;
    while (size && path[size - 1] == '/')
        size--;
    return size ? size : whole;
}

char *path_folder(const char *path) {
    char *folder = copied(path);
    folder[folder_size(path, strlen(path))] = 0;
    return folder;
}

bool path_exists(const char *path) {
    struct stat found;
    return stat(path, &found) == 0;
}

bool path_is_folder(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static void become(char **path, char *other) {
    owned_free(path);
    *path = other;
}

/* Fold `.`, `..` and slashes of an absolute path, in place. Two slashes at its start stay two (POSIX). */
static void normalise(char *path) {
    size_t start = path[1] == '/' && path[2] != '/' ? 2 : 1, to = start;
    const char *from = path + start;
    while (*from) {
        size_t size = strcspn(from, "/");
        if (size == 2 && !memcmp(from, "..", 2)) {
            while (to > start && path[--to] != '/')
                ;
        } else if (size && !(size == 1 && *from == '.')) {
            if (to > start)
                path[to++] = '/';
            memmove(path + to, from, size);
            to += size;
        }
        from += size + (from[size] == '/');
    }
    path[to] = 0;
}

static struct link *met_before(const struct met *met, const char *path) {
    for (size_t at = 0; at < met->count; at++)
        if (!strcmp(met->links[at].path, path))
            return &met->links[at];
    return NULL;
}

static char *target_of(const char *path) {
    char *target = must_alloc(NULL, PATH_MAX + 1);
    ssize_t size = readlink(path, target, PATH_MAX);
    if (size < 0) {
        owned_free(&target);
        return NULL;
    }
    target[size] = 0;
    return target;
}

static int follow(struct met *met, char **path, const char *rest);

/* Go through a link that the path now ends with; `rest` is what comes behind it. */
static int through(struct met *met, char **path, char *link_path, const char *rest) {
    struct link *known = met_before(met, link_path);
    if (known && known->real) {
        become(path, copied(known->real));
        owned_free(&link_path);
        return 0;
    }
    if (known) {
        become(path, path_join(link_path, rest));
        owned_free(&link_path);
        return LOOPED;
    }
    size_t number = met->count++;
    met->links = must_alloc(met->links, met->count * sizeof *met->links);
    met->links[number] = (struct link){link_path, NULL};
    if (number == MAX_LINKS)
        return ELOOP;
    OWNED char *target = target_of(link_path);
    if (!target)
        return errno;
    int outcome = follow(met, path, target);
    if (outcome == LOOPED)
        become(path, path_join(*path, rest));
    if (outcome == 0)
        met->links[number].real = copied(*path);
    return outcome;
}

/* Walk on from `path`, which has no links; 0, LOOPED or errno. */
static int follow(struct met *met, char **path, const char *rest) {
    if (*rest == '/')
        become(path, copied("/"));
    while (*rest) {
        size_t size = strcspn(rest, "/");
        OWNED char *name = copied_part(rest, size);
        rest += size;
        rest += strspn(rest, "/");
        if (!*name || !strcmp(name, "."))
            continue;
        if (!strcmp(name, "..")) {
            (*path)[folder_size(*path, strlen(*path))] = 0;
            continue;
        }
        char *next = path_join(*path, name);
        struct stat found;
        if (lstat(next, &found) < 0 || !S_ISLNK(found.st_mode)) {
            become(path, next);
            continue;
        }
        int outcome = through(met, path, next, rest);
        if (outcome)
            return outcome;
    }
    return 0;
}

char *path_real(const char *path) {
    struct met met = {0};
    char *real = copied("/");
    int outcome = follow(&met, &real, path);
    for (size_t at = 0; at < met.count; at++) {
        owned_free(&met.links[at].path);
        owned_free(&met.links[at].real);
    }
    owned_free(&met.links);
    if (outcome > 0) {
        owned_free(&real);
        errno = outcome;
        return NULL;
    }
    normalise(real);
    return real;
}

static int make_folder(const char *path) {
    if (mkdir(path, 0777) == 0)
        return 0;
    int error = errno;
    return path_is_folder(path) ? 0 : error;
}

int path_make_folders(const char *path) {
    OWNED size_t *missing = NULL;
    size_t count = 0;
    OWNED char *part = copied(path);
    for (size_t size = strlen(path);;) {
        missing = must_alloc(missing, (count + 1) * sizeof *missing);
        missing[count++] = size;
        while (size > 1 && part[size - 1] == '/')
            size--;
        size_t above = folder_size(part, size);
        part[above] = 0;
        if (!above || above == size || path_exists(part))
            break;
        size = above;
    }
    while (count--) {
        memcpy(part, path, missing[count]);
        part[missing[count]] = 0;
        int error = make_folder(part);
        if (error && (count == 0 || error != EEXIST))
            return error;
    }
    return 0;
}
