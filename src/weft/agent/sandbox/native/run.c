/* Running a command, and passing its output on. */
#define _GNU_SOURCE

#include "run.h"

#include "command.h"
#include "jobs.h"
#include "pipes.h"
#include "tail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define NOT_FOUND 127
#define NOT_EXECUTABLE 126

/* Passes the first half of the allowance on at once and keeps the last half: both ends are seen. */
struct output {
    int out;
    uint64_t head_left;
    struct tail tail;
};

static struct output output_of(int out, int64_t limit) {
    uint64_t bytes = limit < 0 ? 0 : (uint64_t)limit;
    return (struct output){out, bytes - bytes / 2, {.limit = bytes / 2}};
}

static void add(void *context, const unsigned char *data, size_t size) {
    struct output *output = context;
    size_t head = size < output->head_left ? size : output->head_left;
    if (head) {
        OWNED_BUFFER struct buffer frame = {0};
        output->head_left -= head;
        wire_begin(&frame);
        put_map(&frame, 1);
        put_text(&frame, "out");
        put_bytes(&frame, data, head);
        if (!wire_send(output->out, &frame))
            host_gone();
    }
    tail_add(&output->tail, data + head, size - head);
}

/* A command that runs, or was to. */
struct running {
    const struct place *place;
    struct command command;
    struct output output;
    double began, timeout_s;
};

static void tell(struct running *running, int code, bool timed_out, struct buffer *reply) {
    put_map(reply, 5);
    put_text(reply, "exit");
    put_int(reply, code);
    put_text(reply, "timed_out");
    put_bool(reply, timed_out);
    put_text(reply, "duration_s");
    put_double(reply, now_s() - running->began);
    put_text(reply, "tail");
    tail_put(&running->output.tail, reply);
    put_text(reply, "omitted_bytes");
    put_int(reply, running->output.tail.omitted);
}

/* Until the command has ended; false where the deadline comes first. */
static bool relay(struct running *running, int ended, int read_end) {
    struct pollfd ready[3 + MAX_JOBS] = {
        {running->place->in, 0, 0}, {read_end, POLLIN, 0}, {ended, POLLIN, 0}};
    double deadline = running->began + running->timeout_s, left;
    while ((left = deadline - now_s()) > 0) {
        int jobs = jobs_watched(ready + 3);
        if (poll(ready, 3 + (nfds_t)jobs, milliseconds(left)) <= 0)
            continue;
        if (ready[0].revents)
            host_gone();
        jobs_take(ready + 3, jobs);
        if (ready[1].revents) {
            if (!pipe_take(read_end, add, &running->output))
                ready[1].fd = -1;
        } else if (ready[2].revents) {
            return true;
        }
    }
    return false;
}

static void finish(struct running *running, pid_t pid, int read_end, struct buffer *reply) {
    int ended = pidfd_of(pid);
    bool timed_out = ended < 0 || !relay(running, ended, read_end);
    if (timed_out)
        kill(pid, SIGKILL);
    if (ended >= 0)
        close(ended);
    int code = children_wait(pid);
    if (!jobs_end_others())
        return refuse_errno(reply, errno);
    pipe_drain(read_end, add, &running->output);
    tell(running, code, timed_out, reply);
}

static void tell_not_run(struct running *running, int error, struct buffer *reply) {
    OWNED_BUFFER struct buffer text = {0};
    const char *reason = running->command.program ? strerror(error) : "command not found";
    command_not_run(running->command.argv[0], reason, &text);
    add(&running->output, text.data, text.size);
    tell(running, error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE, false, reply);
}

/* To the folder of the request, or refused with its name. */
static bool go_to_folder(const struct command *command, struct slice request, struct buffer *reply) {
    if (chdir(command->folder) == 0)
        return true;
    int error = errno;
    OWNED char *given = NULL;
    if (take_text(request, "folder", &given, reply))
        refuse(reply, kind_of(error), "folder `%s`: %s", given, strerror(error));
    return false;
}

/* From its folder, which relative programs are looked for in; 0, errno or UNFIT. */
static int start(struct running *running, int output, pid_t *pid) {
    struct command *command = &running->command;
    int error = command_find(command);
    if (error)
        return error;
    *pid = children_start(command, running->place->null, output, running->place->cpu_s);
    return *pid < 0 ? errno : 0;
}

static void run(struct running *running, struct slice request, struct buffer *reply) {
    int ends[2];
    pid_t pid = -1;
    running->began = now_s();
    if (pipe2(ends, O_CLOEXEC) < 0)
        return refuse_errno(reply, errno);
    if (!go_to_folder(&running->command, request, reply)) {
        close(ends[0]);
        close(ends[1]);
        return;
    }
    int error = start(running, ends[1], &pid);
    close(ends[1]);
    /* Where the workspace has gone, the next request will tell. */
    if (chdir(running->place->workspace) < 0)
        errno = 0;
    if (error == UNFIT)
        refuse_unfit(reply);
    else if (error)
        tell_not_run(running, error, reply);
    else
        finish(running, pid, ends[0], reply);
    close(ends[0]);
}

void run_command(const struct place *place, struct slice request, struct buffer *reply) {
    struct running running = {.place = place};
    int64_t limit;
    if (take_int(request, "output_bytes", &limit, reply) &&
        take_double(request, "timeout_s", &running.timeout_s, reply) &&
        command_take(place, request, &running.command, reply)) {
        running.output = output_of(place->out, limit);
        run(&running, request, reply);
    }
    command_free(&running.command);
    tail_free(&running.output.tail);
}
