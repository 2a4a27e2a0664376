/* What a path is, and what a folder holds. */
#define _GNU_SOURCE

#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A reply is one frame in memory on both sides; nobody reads more. */
#define MAX_ENTRIES 20000

static const char *kind_of_file(mode_t mode) {
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "folder";
    return S_ISLNK(mode) ? "link" : "other";
}

static void put_described(struct buffer *reply, const char *name, mode_t mode, int64_t size) {
    put_map(reply, 4);
    put_text(reply, "name");
    put_bytes(reply, name, strlen(name));
    put_text(reply, "kind");
    put_text(reply, kind_of_file(mode));
    put_text(reply, "size_bytes");
    put_int(reply, size);
    put_text(reply, "mode");
    put_int(reply, mode & 07777);
}

void files_stat(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *path = NULL;
    struct stat found;
    if (!take_path(place, request, "path", &path, reply))
        return;
    if (lstat(path, &found) < 0)
        return refuse_errno(reply, errno);
    put_described(reply, "", found.st_mode, found.st_size);
}

struct entry {
    size_t name_at;
    mode_t mode;
    int64_t size;
};

static int by_name(const void *one, const void *other, void *names) {
    const struct entry *left = one, *right = other;
    return strcmp((char *)names + left->name_at, (char *)names + right->name_at);
}

static bool is_dots(const char *name) {
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* 0, errno, or -1 where there are too many. */
static int read_entries(DIR *folder, struct buffer *entries, struct buffer *names) {
    struct dirent *each;
    for (size_t count = 0; errno = 0, (each = readdir(folder));) {
        struct stat found;
        if (is_dots(each->d_name))
            continue;
        if (count++ == MAX_ENTRIES)
            return -1;
        if (fstatat(dirfd(folder), each->d_name, &found, AT_SYMLINK_NOFOLLOW) < 0)
            return errno;
        struct entry entry = {names->size, found.st_mode, found.st_size};
        buffer_add(names, each->d_name, strlen(each->d_name) + 1);
        buffer_add(entries, &entry, sizeof entry);
    }
    return errno;
}

void files_list(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *path = NULL;
    OWNED_BUFFER struct buffer entries = {0}, names = {0};
    if (!take_path(place, request, "path", &path, reply))
        return;
    DIR *folder = opendir(path);
    if (!folder)
        return refuse_errno(reply, errno);
    int error = read_entries(folder, &entries, &names);
    closedir(folder);
    if (error < 0) {
        char text[32];
        with_commas(MAX_ENTRIES, text);
        return refuse(reply, "limit_exceeded", "the folder has more than %s entries", text);
    }
    if (error)
        return refuse_errno(reply, error);
    size_t count = entries.size / sizeof(struct entry);
    struct entry *all = (struct entry *)(void *)entries.data;
    put_map(reply, 1);
    put_text(reply, "entries");
    put_array(reply, (uint32_t)count);
    if (count)
        qsort_r(all, count, sizeof *all, by_name, names.data);
    for (size_t at = 0; at < count; at++)
        put_described(reply, (char *)names.data + all[at].name_at, all[at].mode, all[at].size);
}
