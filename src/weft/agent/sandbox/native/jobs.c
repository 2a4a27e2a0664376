/* Jobs, by the numbers that the host gave them. */
#define _GNU_SOURCE

#include "jobs.h"

#include "command.h"
#include "keep.h"
#include "paths.h"
#include "pipes.h"
#include "tail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>


struct job {
    bool used, silent, ended;
    int64_t number;
    pid_t pid;
    int output, feed; /* pipes; the second -1 once it is closed */
    int exit;
    struct tail kept;
};

static struct job all[MAX_JOBS];

static struct job *job_of(int64_t number) {
    for (int at = 0; at < MAX_JOBS; at++)
        if (all[at].used && all[at].number == number)
            return &all[at];
    return NULL;
}

static struct job *take_job(struct slice request, struct buffer *reply) {
    int64_t number;
    if (!take_int(request, "job", &number, reply))
        return NULL;
    struct job *job = job_of(number);
    if (!job)
        refuse(reply, "not_found", "there is no such running command");
    return job;
}

int jobs_pids(pid_t pids[MAX_JOBS]) {
    int count = 0;
    for (int at = 0; at < MAX_JOBS; at++)
        if (all[at].used && !all[at].ended)
            pids[count++] = all[at].pid;
    return count;
}

int jobs_watched(struct pollfd watched[MAX_JOBS]) {
    int count = 0;
    for (int at = 0; at < MAX_JOBS; at++)
        if (all[at].used && !all[at].silent)
            watched[count++] = (struct pollfd){all[at].output, POLLIN, 0};
    return count;
}

/* Output is taken as it comes, so that it never waits for a reader; the oldest gives way. */
static void keep(void *job, const unsigned char *data, size_t size) {
    tail_add(&((struct job *)job)->kept, data, size);
}

void jobs_take(const struct pollfd *watched, int count) {
    for (int i = 0; i < count; i++)
        for (int at = 0; watched[i].revents && at < MAX_JOBS; at++)
            if (all[at].used && all[at].output == watched[i].fd)
                all[at].silent = !pipe_take(watched[i].fd, keep, &all[at]);
}

static void close_both(int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

static int begin(struct job *job, const struct command *command, int64_t cpu_s, double timeout_s) {
    int output[2], feed[2];
    if (pipe2(output, O_CLOEXEC) < 0)
        return errno;
    if (pipe2(feed, O_CLOEXEC) < 0) {
        close_both(output);
        return errno;
    }
    job->pid = fork();
    if (job->pid == 0)
        job_keep(command, feed[0], output[1], cpu_s, timeout_s);
    if (job->pid < 0) {
        int error = errno;
        close_both(output);
        close_both(feed);
        return error;
    }
    close(output[1]);
    close(feed[0]);
    job->output = output[0];
    job->feed = feed[1];
    fcntl(job->output, F_SETFL, O_NONBLOCK);
    fcntl(job->feed, F_SETFL, O_NONBLOCK);
    return 0;
}

static struct job *free_job(int64_t number, struct buffer *reply) {
    if (job_of(number)) {
        refuse(reply, "invalid", "there is a running command of that number");
        return NULL;
    }
    for (int at = 0; at < MAX_JOBS; at++)
        if (!all[at].used)
            return &all[at];
    refuse(reply, "limit_exceeded", "%d commands are running already; stop one", MAX_JOBS);
    return NULL;
}

/* The command with its program; false where it was refused. */
static bool take_command(
    const struct place *place, struct slice request, struct command *command, struct buffer *reply) {
    if (!command_take(place, request, command, reply))
        return false;
    if (!path_is_folder(command->folder)) {
        OWNED char *given = NULL;
        if (take_text(request, "folder", &given, reply))
            refuse(reply, "not_found", "there is no folder `%s`", given);
        return false;
    }
    int error = command_find(command);
    if (error == UNFIT)
        refuse_unfit(reply);
    else if (error)
        refuse(reply, "not_found", "command not found");
    return !error;
}

void jobs_start(const struct place *place, struct slice request, struct buffer *reply) {
    __attribute__((cleanup(command_free))) struct command command = {0};
    int64_t number, limit;
    double timeout_s;
    bool feed;
    struct slice value;
    if (!take_int(request, "job", &number, reply) || !take_int(request, "output_bytes", &limit, reply) ||
        !take_double(request, "timeout_s", &timeout_s, reply) || !take(request, "feed", &value, reply))
        return;
    if (!wire_bool(value, &feed))
        return refuse(reply, "invalid", "`feed` is neither true nor false");
    if (!take_command(place, request, &command, reply))
        return;
    struct job *job = free_job(number, reply);
    if (!job)
        return;
    *job = (struct job){.number = number, .kept = {.limit = limit < 0 ? 0 : (size_t)limit}};
    int error = begin(job, &command, place->cpu_s, timeout_s);
    if (error)
        return refuse_errno(reply, error);
    if (!feed) {
        close(job->feed);
        job->feed = -1;
    }
    job->used = true;
    put_map(reply, 0);
}

/* Notice the end, if it has come. */
static void reap(struct job *job, int options) {
    int status;
    if (job->ended)
        return;
    pid_t pid = waitpid(job->pid, &status, options);
    if (pid == 0)
        return;
    job->ended = true;
    if (pid < 0) /* it was ended along with a fork bomb beside it */
        job->exit = SIGNALLED + SIGKILL;
    else
        job->exit = WIFSIGNALED(status) ? SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

bool jobs_end_others(void) {
    pid_t pids[MAX_JOBS];
    bool ended = children_end_others(pids, jobs_pids(pids));
    int error = errno;
    /* A fork bomb takes jobs along, whose numbers are soon those of others. */
    for (int at = 0; at < MAX_JOBS; at++)
        if (all[at].used)
            reap(&all[at], WNOHANG);
    errno = error;
    return ended;
}

static void forget(struct job *job) {
    close(job->output);
    if (job->feed >= 0)
        close(job->feed);
    tail_free(&job->kept);
    *job = (struct job){0};
}

/* Reply what it has said since the last time, and whether it has ended. */
static void tell(struct job *job, struct buffer *reply) {
    if (job->ended) {
        /* Where its keeper was killed, by whomever, what it started is now nobody's. */
        if (!jobs_end_others())
            return refuse_errno(reply, errno);
        pipe_drain(job->output, keep, job);
    }
    wire_begin(reply);
    put_map(reply, job->ended ? 4 : 3);
    put_text(reply, "data");
    tail_put(&job->kept, reply);
    put_text(reply, "omitted_bytes");
    put_int(reply, job->kept.omitted);
    put_text(reply, "ended");
    put_bool(reply, job->ended);
    tail_clear(&job->kept);
    if (!job->ended)
        return;
    put_text(reply, "exit");
    put_int(reply, job->exit);
    forget(job);
}

/* Until a job says something, this one ends, or the time is over. */
static void wait_a_while(const struct place *place, const struct job *job, double left_s) {
    struct pollfd ready[2 + MAX_JOBS] = {
        {place->in, 0, 0}, {pidfd_of(job->pid), POLLIN, 0}};
    int jobs = jobs_watched(ready + 2);
    int count = poll(ready, 2 + (nfds_t)jobs, milliseconds(left_s));
    if (ready[1].fd >= 0)
        close(ready[1].fd);
    if (count <= 0)
        return;
    if (ready[0].revents)
        host_gone();
    jobs_take(ready + 2, jobs);
}

void jobs_poll(const struct place *place, struct slice request, struct buffer *reply) {
    double wait_s, left;
    struct job *job = take_job(request, reply);
    if (!job || !take_double(request, "wait_s", &wait_s, reply))
        return;
    double deadline = now_s() + wait_s;
    reap(job, WNOHANG);
    while (!job->kept.size && !job->ended && (left = deadline - now_s()) > 0) {
        wait_a_while(place, job, left);
        reap(job, WNOHANG);
    }
    tell(job, reply);
}

void jobs_feed(const struct place *place, struct slice request, struct buffer *reply) {
    struct slice data;
    struct job *job = take_job(request, reply);
    (void)place;
    if (!job || !take_bytes(request, "data", &data, reply))
        return;
    if (job->feed < 0)
        return refuse(reply, "invalid", "its standard input is closed");
    ssize_t count = 0;
    if (data.size) {
        count = write(job->feed, data.data, data.size);
        if (count < 0 && errno == EPIPE)
            return refuse(reply, "invalid", "it no longer reads its standard input");
        if (count < 0 && errno != EAGAIN)
            return refuse_errno(reply, errno);
    } else {
        close(job->feed);
        job->feed = -1;
    }
    put_map(reply, 1);
    put_text(reply, "count");
    put_int(reply, count < 0 ? 0 : count);
}

static void stop(struct job *job, struct buffer *reply) {
    reap(job, WNOHANG);
    if (!job->ended) {
        kill(job->pid, SIGKILL);
        reap(job, 0);
    }
    tell(job, reply);
}

void jobs_stop(const struct place *place, struct slice request, struct buffer *reply) {
    struct job *job = take_job(request, reply);
    (void)place;
    if (job)
        stop(job, reply);
}

void jobs_end(const struct place *place, struct slice request, struct buffer *reply) {
    (void)place;
    (void)request;
    for (int at = 0; at < MAX_JOBS; at++)
        if (all[at].used) {
            stop(&all[at], reply);
            if (all[at].used)
                return;
        }
    wire_begin(reply);
    put_map(reply, 0);
}
