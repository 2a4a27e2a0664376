/* The inside of a sandbox: a mould that forks blanks, which become executors. See inside/mould.py. */


#include "executor.h"
#include "plan.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CONTROL = 3, MAKER = 4 };

/* What a request brings along. */
struct cast {
    uint64_t flags;
    int sock, plan, idmap;
};

static _Noreturn void fail(int out, const struct plan_failure *failure) {
    wire_send_failed(out, failure->stage, failure->reason);
    _exit(1);
}

static void run(int out, unsigned char *raw, size_t size, long *registers) {
    struct plan_failure failure;
    enum plan_outcome outcome = plan_run(raw, size, registers, &failure);
    if (outcome == PLAN_FAILED)
        fail(out, &failure);
    if (outcome == PLAN_GONE)
        _exit(0);
}

/* What can be made before the workspace is known. */
static void prepare(int out, int file, long *registers) {
    struct stat found;
    if (fstat(file, &found) < 0)
        _exit(1);
    size_t size = (size_t)found.st_size;
    unsigned char *raw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (raw == MAP_FAILED)
        _exit(1);
    run(out, raw, size, registers);
    munmap(raw, size);
    close(file);
}

/* The plan of an order; it lies anywhere in the frame, and is to start at a multiple of eight. */
static void complete(int out, struct slice order, long *registers) {
    struct slice plan = {NULL, 0};
    if (!wire_find(order, "plan", &plan) || !wire_bytes(plan, &plan)) {
        wire_send_failed(out, "confinement", "the order has no plan");
        _exit(1);
    }
    unsigned char *raw = malloc(plan.size);
    if (raw == NULL)
        _exit(1);
    memcpy(raw, plan.data, plan.size);
    run(out, raw, plan.size, registers);
    free(raw);
}

static _Noreturn void serve(int in, int out, long *registers, void (*ready)(int out)) {
    struct buffer frame = {0};
    if (!wire_receive(in, &frame))
        _exit(0);
    struct slice order = {frame.data, frame.size};
    complete(out, order, registers);
    ready(out);
    executor_serve(in, out, order);
}

static _Noreturn void become_blank(const struct cast *cast) {
    close(CONTROL);
    long registers[PLAN_REGISTERS] = {[PLAN_IDMAP] = cast->idmap, [PLAN_MAKER] = MAKER};
    prepare(cast->sock, cast->plan, registers);
    serve(cast->sock, cast->sock, registers, wire_send_ready);
}

static bool receive(struct cast *cast) {
    union {
        char bytes[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr aligned;
    } along;
    struct iovec told = {&cast->flags, sizeof cast->flags};
    struct msghdr message = {
        .msg_iov = &told, .msg_iovlen = 1, .msg_control = along.bytes, .msg_controllen = sizeof along.bytes};
    ssize_t got;
    do
        got = recvmsg(CONTROL, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (got != (ssize_t)sizeof cast->flags || header == NULL)
        return false;
    size_t size = header->cmsg_len - CMSG_LEN(0);
    int fds[3] = {-1, -1, 0};
    if (size > sizeof fds)
        return false;
    memcpy(fds, CMSG_DATA(header), size);
    cast->sock = fds[0];
    cast->plan = fds[1];
    cast->idmap = fds[2];
    return true;
}

/* Fork for each request; the kernel makes the children siblings of this process. */
static _Noreturn void mould(void) {
    struct cast cast;
    while (receive(&cast)) {
        long pid = syscall(SYS_clone, cast.flags, 0, 0, 0, 0);
        if (pid == 0)
            become_blank(&cast);
        int64_t reply = pid < 0 ? -errno : pid;
        if (send(CONTROL, &reply, sizeof reply, MSG_NOSIGNAL) < 0)
            _exit(0);
        close(cast.sock);
        close(cast.plan);
        if (cast.idmap)
            close(cast.idmap);
    }
    _exit(0);
}

/* The memory of all that is inside, as its control group bounds it; a huge number where none is seen. */
static int64_t memory_bound(void) {
    const char *paths[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (int i = 0; i < 2; i++) {
        char text[32] = "";
        int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t size = read(fd, text, sizeof text - 1);
        close(fd);
        if (size > 0 && text[0] >= '0' && text[0] <= '9')
            return strtoll(text, NULL, 10);
    }
    return INT64_MAX;
}

static void tell_ready(int out) {
    OWNED_BUFFER struct buffer frame = {0};
    wire_begin(&frame);
    put_map(&frame, 2);
    put_text(&frame, "ready");
    put_bool(&frame, true);
    put_text(&frame, "count");
    put_int(&frame, memory_bound());
    if (!wire_send(out, &frame))
        _exit(0);
}

static void take_standard(int *in, int *out) {
    *in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    *out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (*in < 0 || *out < 0 || null < 0)
        _exit(1);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    close(null);
}

/* Serve whoever holds the other ends of standard input and output, which commands then find empty. */
static _Noreturn void guest(void) {
    long registers[PLAN_REGISTERS] = {0};
    int in, out;
    take_standard(&in, &out);
    serve(in, out, registers, tell_ready);
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 2 && strcmp(arguments[1], "mould") == 0)
        mould();
    if (count == 2 && strcmp(arguments[1], "guest") == 0)
        guest();
    return 2;
}
