/* Mounts, processes, private files, control groups and limits, a line for each; see inside/look.py. */
#define _GNU_SOURCE

#include "look.h"

#include "paths.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A new sandbox has a hundred; one that has more is not new, whatever follows. */
#define MAX_LINES 10000
#define CHUNK_BYTES 4096

struct lines {
    struct buffer text;
    size_t count;
};

static void begin_line(struct lines *lines, const char *kind) {
    if (lines->count++)
        buffer_add(&lines->text, "\n", 1);
    buffer_add(&lines->text, kind, strlen(kind));
}

static void add(struct lines *lines, const char *text, size_t size) {
    buffer_add(&lines->text, text, size);
}

/* The whole file, terminated; 0 or errno. */
static int read_text(const char *path, struct buffer *text) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    ssize_t count;
    while ((count = read(fd, buffer_room(text, CHUNK_BYTES), CHUNK_BYTES)) != 0) {
        if (count < 0 && errno != EINTR)
            break;
        if (count > 0)
            text->size += (size_t)count;
    }
    int error = count < 0 ? errno : 0;
    close(fd);
    buffer_add(text, "", 1);
    return error;
}

/* The next line of a text, terminated; NULL at its end. */
static char *next_line(char **text) {
    char *line = *text;
    if (!*line)
        return NULL;
    *text = line + strcspn(line, "\n");
    if (**text)
        *(*text)++ = 0;
    return line;
}

/* Behind so many fields. */
static const char *skip_fields(const char *line, int count) {
    while (count-- && *line) {
        line += strcspn(line, " ");
        line += *line == ' ';
    }
    return line;
}

/* Where and how, and what kind from which source: its numbers and its state of propagation differ always. */
static void add_mount(struct lines *lines, const char *line) {
    const char *place = skip_fields(line, 4), *rest = skip_fields(place, 2);
    if (rest == place)
        return;
    begin_line(lines, "mount ");
    const char *kind = strstr(rest - 1, " - ");
    add(lines, place, (size_t)(rest - place) - 1);
    if (kind)
        add(lines, kind + 2, strlen(kind + 2));
}

static int add_mounts(struct lines *lines) {
    OWNED_BUFFER struct buffer text = {0};
    int error = read_text("/proc/self/mountinfo", &text);
    char *at = (char *)text.data, *line;
    if (error)
        return error;
    while ((line = next_line(&at)))
        add_mount(lines, line);
    return 0;
}

static int add_lines(struct lines *lines, const char *kind, const char *path) {
    OWNED_BUFFER struct buffer text = {0};
    int error = read_text(path, &text);
    char *at = (char *)text.data, *line;
    if (error)
        return error;
    while ((line = next_line(&at))) {
        begin_line(lines, kind);
        add(lines, line, strlen(line));
    }
    return 0;
}

static int add_processes(struct lines *lines) {
    DIR *folder = opendir("/proc");
    struct dirent *each;
    if (!folder)
        return errno;
    while ((each = readdir(folder)))
        if (!each->d_name[strspn(each->d_name, "0123456789")])
            begin_line(lines, "process");
    closedir(folder);
    return 0;
}

/* Folders still to look into, as terminated paths one behind the other. */
static void push(struct buffer *folders, const char *path) {
    buffer_add(folders, path, strlen(path) + 1);
}

static char *pop(struct buffer *folders) {
    if (!folders->size)
        return NULL;
    size_t start = folders->size - 1;
    while (start && folders->data[start - 1])
        start--;
    folders->size = start;
    return path_join("", (char *)folders->data + start);
}

static void add_folder(struct lines *lines, const char *top, dev_t device, struct buffer *folders) {
    DIR *folder = opendir(top);
    struct dirent *each;
    if (!folder)
        return;
    while ((each = readdir(folder)) && lines->count <= MAX_LINES) {
        struct stat found;
        if (!strcmp(each->d_name, ".") || !strcmp(each->d_name, ".."))
            continue;
        OWNED char *path = path_join(top, each->d_name);
        begin_line(lines, "file ");
        add(lines, path, strlen(path));
        /* What is shown there of the host, such as a toolchain below /tmp, is not the command's to change. */
        if (lstat(path, &found) == 0 && S_ISDIR(found.st_mode) && found.st_dev == device)
            push(folders, path);
    }
    closedir(folder);
}

/* Where a command can leave something that is neither in the workspace nor a process. */
static void add_private(struct lines *lines, const char *private) {
    OWNED_BUFFER struct buffer folders = {0};
    struct stat found;
    if (stat(private, &found) < 0 || !S_ISDIR(found.st_mode))
        return;
    push(&folders, private);
    char *top;
    while (lines->count <= MAX_LINES && (top = pop(&folders))) {
        add_folder(lines, top, found.st_dev, &folders);
        free(top);
    }
}

static int add_all(struct lines *lines) {
    static const char *const privates[] = {"/tmp", "/dev/shm", "/dev/mqueue"};
    int error = add_mounts(lines);
    if (!error)
        error = add_processes(lines);
    if (error)
        return error;
    for (size_t at = 0; at < sizeof privates / sizeof *privates; at++)
        add_private(lines, privates[at]);
    if (lines->count > MAX_LINES)
        return 0;
    error = add_lines(lines, "group ", "/proc/self/cgroup");
    return error ? error : add_lines(lines, "limit ", "/proc/self/limits");
}

void look_around(const struct place *place, struct slice request, struct buffer *reply) {
    struct lines lines = {0};
    (void)place;
    (void)request;
    int error = add_all(&lines);
    if (error) {
        refuse_errno(reply, error);
    } else {
        put_map(reply, 1);
        put_text(reply, "data");
        put_bytes(reply, lines.text.data, lines.text.size);
    }
    buffer_free(&lines.text);
}
