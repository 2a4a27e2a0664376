/* Starting and ending processes. Whatever a command left behind is found, as its orphans come to this one. */
#define _GNU_SOURCE

#include "children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Only a fork bomb is not dead after so many rounds; it takes the running jobs along. */
#define MAX_ROUNDS 1000

/* Why the program was not run: written by the child, which has this memory until it runs it. */
static volatile int start_error;

void command_free(struct command *command) {
    owned_free(&command->program);
    owned_free(&command->folder);
    owned_free(&command->argv);
    owned_free(&command->environment);
}

static void bound_cpu(int64_t cpu_s) {
    struct rlimit limit;
    if (cpu_s <= 0 || getrlimit(RLIMIT_CPU, &limit) < 0)
        return;
    if ((rlim_t)cpu_s < limit.rlim_max)
        limit.rlim_max = (rlim_t)cpu_s;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_CPU, &limit) < 0)
        _exit(127);
}

/* In the child, in the parent's memory: nothing but system calls, and all signals blocked until the last. */
static _Noreturn void become(const struct command *command, int input, int output, int64_t cpu_s) {
    static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGINT};
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t none;
    setsid();
    for (size_t at = 0; at < sizeof ignored / sizeof *ignored; at++)
        sigaction(ignored[at], &by_default, NULL);
    if ((input < 0 || dup2(input, 0) >= 0) &&
        (output < 0 || (dup2(output, 1) >= 0 && dup2(output, 2) >= 0))) {
        bound_cpu(cpu_s);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(command->program, command->argv, command->environment);
    }
    start_error = errno;
    _exit(127);
}

pid_t children_start(const struct command *command, int input, int output, int64_t cpu_s) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    start_error = 0;
    pid_t pid = vfork();
    if (pid == 0)
        become(command, input, output, cpu_s);
    if (pid < 0)
        start_error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (!start_error)
        return pid;
    int error = start_error;
    if (pid > 0)
        children_wait(pid);
    errno = error;
    return -1;
}

int children_wait(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -SIGKILL;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int pidfd_of(pid_t pid) {
    return (int)syscall(434 /* pidfd_open */, pid, 0);
}

static bool is_spared(pid_t pid, const pid_t *spare, int count) {
    for (int at = 0; at < count; at++)
        if (spare[at] == pid)
            return true;
    return false;
}

static bool has_children(void) {
    siginfo_t found;
    return waitid(P_ALL, 0, &found, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* As much of the list as there is room for, cut behind a number; -1 and errno where it cannot be read. */
static ssize_t read_children(char *text, size_t room) {
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t size = 0;
    ssize_t count;
    while (size < room && (count = read(fd, text + size, room - size)) != 0) {
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            break;
        size += (size_t)count;
    }
    close(fd);
    while (size && text[size - 1] != ' ')
        size--;
    return (ssize_t)size;
}

/* Kill and reap the children but `spare`; how many there were, -1 where that is not known. */
static int end_round(const pid_t *spare, int count) {
    char text[2048];
    pid_t ended[sizeof text / 2];
    int total = 0;
    ssize_t size = read_children(text, sizeof text - 1);
    if (size < 0)
        return -1;
    text[size] = 0;
    for (char *at = text, *end; *at; at = end) {
        pid_t pid = (pid_t)strtol(at, &end, 10);
        if (end == at)
            break;
        if (pid > 0 && !is_spared(pid, spare, count))
            ended[total++] = pid;
        while (*end == ' ')
            end++;
    }
    for (int at = 0; at < total; at++)
        kill(ended[at], SIGKILL);
    for (int at = 0; at < total; at++)
        children_wait(ended[at]);
    return total;
}

int children_end(const pid_t *spare, int count, int rounds) {
    for (int round = 0; rounds < 0 || round < rounds; round++) {
        if (!has_children())
            return CHILDREN_ENDED;
        int total = end_round(spare, count);
        if (total <= 0)
            return total < 0 ? CHILDREN_UNKNOWN : CHILDREN_ENDED;
    }
    return CHILDREN_TOO_MANY;
}

bool children_end_others(const pid_t *spare, int count) {
    if (count) {
        int outcome = children_end(spare, count, MAX_ROUNDS);
        if (outcome != CHILDREN_TOO_MANY)
            return outcome == CHILDREN_ENDED;
    }
    if (getpid() == 1)
        kill(-1, SIGKILL);
    return children_end(NULL, 0, -1) == CHILDREN_ENDED;
}

_Noreturn void host_gone(void) {
    children_end(NULL, 0, MAX_ROUNDS);
    _exit(0);
}

double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int milliseconds(double left_s) {
    return left_s > 1e6 ? 1000000000 : (int)(left_s * 1e3) + 1;
}
