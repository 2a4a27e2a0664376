/* Requests, one after the other; see inside/executor.py, which does the same. */
#define _GNU_SOURCE

#include "executor.h"

#include "children.h"
#include "files.h"
#include "jobs.h"
#include "look.h"
#include "run.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL_CLOSE_RANGE 436 /* on every architecture, and in no header before Linux 5.9 */

static const struct {
    const char *name;
    operation *serve;
} operations[] = {
    {"run", run_command},      {"read", files_read},       {"write", files_write}, {"stat", files_stat},
    {"list", files_list},      {"delete", files_delete},   {"move", files_move},   {"resolve", files_resolve},
    {"start", jobs_start},     {"poll", jobs_poll},        {"feed", jobs_feed},    {"stop", jobs_stop},
    {"end_jobs", jobs_end},    {"look", look_around},
};

#if defined __GLIBC__ && __GLIBC_PREREQ(2, 33)
/* What is free goes back to the kernel: a thousand executors wait for each one that works. */
#define LARGE_BYTES (1 << 15)

static void memory_settle(void) {
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, LARGE_BYTES);
}

static void memory_give_back(void) {
    if (mallinfo2().fordblks > LARGE_BYTES)
        malloc_trim(0);
}
#else
static void memory_settle(void) {}
static void memory_give_back(void) {}
#endif

static void answer(const struct place *place, struct slice request, struct buffer *reply) {
    struct slice name;
    wire_begin(reply);
    if (!take_bytes(request, "op", &name, reply))
        return;
    for (size_t at = 0; at < sizeof operations / sizeof *operations; at++)
        if (name.size == strlen(operations[at].name) && !memcmp(name.data, operations[at].name, name.size))
            return operations[at].serve(place, request, reply);
    refuse(reply, "invalid", "there is no such operation");
}

/* Until the host has a request; meanwhile take what the jobs say. */
static void wait_for_request(const struct place *place) {
    struct pollfd ready[1 + MAX_JOBS] = {{place->in, POLLIN, 0}};
    int jobs;
    while ((jobs = jobs_watched(ready + 1)) > 0) {
        if (poll(ready, 1 + (nfds_t)jobs, -1) <= 0)
            continue;
        jobs_take(ready + 1, jobs);
        if (ready[0].revents)
            return;
    }
}

static void serve_next(const struct place *place) {
    OWNED_BUFFER struct buffer frame = {0}, reply = {0};
    wait_for_request(place);
    if (!wire_receive(place->in, &frame))
        host_gone();
    answer(place, (struct slice){frame.data, frame.size}, &reply);
    if (!wire_send(place->out, &reply))
        host_gone();
}

static char *text_of(struct slice map, const char *name) {
    struct slice value, bytes;
    if (!wire_find(map, name, &value) || !wire_bytes(value, &bytes) || memchr(bytes.data, 0, bytes.size))
        return NULL;
    char *text = must_alloc(NULL, bytes.size + 1);
    memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = 0;
    return text;
}

/* Numbers 0 to 2 are taken, so that no descriptor of this process is mistaken for a command's. */
static int open_null(void) {
    int fd;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 && fd < 3)
        fcntl(fd, F_SETFD, 0);
    return fd;
}

static void settle(struct place *place) {
    memory_settle();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    place->null = open_null();
    syscall(CALL_CLOSE_RANGE, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
    umask(022);
    if (place->null < 0 || !place->workspace || *place->workspace != '/' || chdir(place->workspace) < 0)
        _exit(1);
    OWNED char *home = text_of(place->environment, "HOME");
    if (home)
        mkdir(home, 0700);
}

_Noreturn void executor_serve(int in, int out, struct slice told) {
    struct place place = {.workspace = text_of(told, "workspace"), .in = in, .out = out};
    struct slice cpu;
    if (!wire_find(told, "environment", &place.environment))
        _exit(1);
    if (!wire_find(told, "cpu_s", &cpu) || !wire_int(cpu, &place.cpu_s) || place.cpu_s <= 0)
        _exit(1);
    settle(&place);
    while (true) {
        serve_next(&place);
        memory_give_back();
    }
}
