/* Files: read, replaced as a whole, removed, moved, resolved. */
#define _GNU_SOURCE

#include "files.h"

#include "children.h"
#include "command.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 16)

static void put_data(struct buffer *reply, const void *data, size_t size) {
    put_map(reply, 1);
    put_text(reply, "data");
    put_bytes(reply, data, size);
}

/* The file's bytes behind what the reply holds; 0 or errno. Stops behind one more than the limit. */
static int read_into(struct buffer *reply, int fd, uint64_t limit, uint64_t size_hint) {
    uint64_t left = limit + 1;
    if (size_hint < limit)
        buffer_room(reply, size_hint + 1);
    while (left) {
        size_t room = reply->capacity - reply->size;
        if (!room) {
            buffer_room(reply, CHUNK_BYTES);
            room = reply->capacity - reply->size;
        }
        ssize_t count = read(fd, reply->data + reply->size, room < left ? room : left);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? errno : 0;
        reply->size += (size_t)count;
        left -= (uint64_t)count;
    }
    return 0;
}

static void read_file(int fd, int64_t limit, struct buffer *reply) {
    struct stat found;
    if (fstat(fd, &found) < 0)
        return refuse_errno(reply, errno);
    if (S_ISDIR(found.st_mode))
        return refuse_errno(reply, EISDIR);
    if (!S_ISREG(found.st_mode))
        return refuse(reply, "invalid", "not a file");
    put_map(reply, 1);
    put_text(reply, "data");
    size_t head = reply->size;
    put_bytes_of(reply, 0);
    size_t start = reply->size;
    int error = read_into(reply, fd, limit < 0 ? 0 : (uint64_t)limit, (uint64_t)found.st_size);
    if (error)
        return refuse_errno(reply, error);
    size_t size = reply->size - start;
    if (limit < 0 || size > (uint64_t)limit) {
        char text[32];
        return refuse(reply, "limit_exceeded", "the file is longer than %s bytes", with_commas(limit, text));
    }
    reply->size = head;
    put_bytes_of(reply, size);
    reply->size = start + size;
}

void files_read(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *path = NULL;
    int64_t limit;
    if (!take_path(place, request, "path", &path, reply) || !take_int(request, "limit_bytes", &limit, reply))
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return refuse_errno(reply, errno);
    read_file(fd, limit, reply);
    close(fd);
}

/* Write all of it and take on the mode of the file that it is to replace; 0 or errno. */
static int fill(int fd, struct slice data, const char *path) {
    struct stat found;
    while (data.size) {
        ssize_t count = write(fd, data.data, data.size);
        if (count < 0 && errno != EINTR)
            return errno;
        if (count > 0) {
            data.data += count;
            data.size -= (size_t)count;
        }
    }
    if (stat(path, &found) == 0 && fchmod(fd, found.st_mode & 07777) < 0)
        return errno;
    return 0;
}

/* Replace the file as a whole, so that nobody sees half of it; 0 or errno. */
static int replace(const char *path, const char *beside, struct slice data) {
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno;
    int error = fill(fd, data, path);
    if (close(fd) < 0 && !error)
        error = errno;
    if (!error && rename(beside, path) < 0)
        error = errno;
    return error;
}

void files_write(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *given = NULL, *path = NULL, *folder = NULL, *beside = NULL;
    struct slice data;
    if (!take_path(place, request, "path", &given, reply) || !take_bytes(request, "data", &data, reply))
        return;
    path = path_real(given);
    if (!path)
        return refuse_errno(reply, errno);
    if (path_is_folder(path))
        return refuse(reply, "invalid", "is a folder");
    folder = path_folder(path);
    int error = path_make_folders(folder);
    if (error)
        return refuse_errno(reply, error);
    beside = must_alloc(NULL, strlen(path) + sizeof "~weft");
    strcpy(beside, path);
    strcat(beside, "~weft");
    error = replace(path, beside, data);
    if (error) {
        unlink(beside);
        return refuse_errno(reply, error);
    }
    put_map(reply, 0);
}

void files_delete(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *path = NULL;
    struct stat found;
    if (!take_path(place, request, "path", &path, reply))
        return;
    bool folder = lstat(path, &found) == 0 && S_ISDIR(found.st_mode);
    if ((folder ? rmdir(path) : unlink(path)) < 0)
        return refuse_errno(reply, errno);
    put_map(reply, 0);
}

/* An overlay does not rename a folder of its lower layer; mv copies and deletes instead. */
static int move_by_copying(const struct place *place, char *source, char *target, struct buffer *reply) {
    const struct slice none = {(const unsigned char *)"\x80", 1};
    char *argv[] = {"mv", "-T", "--", source, target, NULL};
    bool unfit = false;
    OWNED char **environment = command_environment(place->environment, none, &unfit, reply);
    OWNED char *program = NULL;
    if (!environment)
        return EXDEV;
    int error = program_find("mv", environment, &program);
    if (error)
        return error;
    struct command command = {.program = program, .argv = argv, .environment = environment};
    pid_t pid = children_start(&command, place->null, place->null, place->cpu_s);
    if (pid < 0)
        return errno;
    return children_wait(pid) ? EXDEV : 0;
}

void files_move(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *source = NULL, *target = NULL, *folder = NULL;
    struct stat found;
    if (!take_path(place, request, "path", &source, reply))
        return;
    if (lstat(source, &found) < 0)
        return refuse_errno(reply, errno);
    if (!take_path(place, request, "target", &target, reply))
        return;
    folder = path_folder(target);
    int error = path_make_folders(folder);
    if (!error && rename(source, target) < 0)
        error = errno == EXDEV ? move_by_copying(place, source, target, reply) : errno;
    if (error)
        return refuse_errno(reply, error);
    wire_begin(reply);
    put_map(reply, 0);
}

void files_resolve(const struct place *place, struct slice request, struct buffer *reply) {
    OWNED char *given = NULL, *path = NULL, *inside = NULL;
    if (!take_path(place, request, "path", &given, reply))
        return;
    path = path_real(given);
    inside = path ? path_real(place->workspace) : NULL;
    if (!inside)
        return refuse_errno(reply, errno);
    size_t size = strlen(inside);
    if (!strcmp(path, inside))
        return put_data(reply, ".", 1);
    bool within = !strncmp(path, inside, size) && path[size] == '/';
    const char *said = within ? path + size + 1 : path;
    put_data(reply, said, strlen(said));
}
