/* Keeping a job. The keeper holds both its pipes, so that it can be fed until all of it has ended. */
#define _GNU_SOURCE

#include "keep.h"

#include "command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIMED_OUT 124 /* as timeout(1) has it */
#define NOT_RUN 127

/* Until the command has ended or its time is over; the exit code. */
static int wait_for(pid_t pid, double timeout_s) {
    double deadline = now_s() + timeout_s, left;
    struct pollfd ended = {pidfd_of(pid), POLLIN, 0};
    while ((left = deadline - now_s()) > 0 && poll(&ended, 1, milliseconds(left)) <= 0)
        ;
    if (!ended.revents) {
        kill(pid, SIGKILL);
        children_wait(pid);
        return TIMED_OUT;
    }
    int code = children_wait(pid);
    return code >= 0 ? code : SIGNALLED - code;
}

static void say_not_run(const char *program, int error) {
    OWNED_BUFFER struct buffer text = {0};
    command_not_run(program, strerror(error), &text);
    if (write(1, text.data, text.size) < 0)
        _exit(NOT_RUN);
}

static void close_all_from(int first) {
    if (syscall(436 /* close_range */, first, ~0u, 0) == 0)
        return;
    for (int fd = first; fd < sysconf(_SC_OPEN_MAX); fd++)
        close(fd);
}

_Noreturn void job_keep(
    const struct command *command, int input, int output, int64_t cpu_s, double timeout_s) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    dup2(input, 0);
    dup2(output, 1);
    dup2(output, 2);
    close_all_from(3);
    pid_t pid = chdir(command->folder) < 0 ? -1 : children_start(command, -1, -1, cpu_s);
    if (pid < 0) {
        say_not_run(command->program, errno);
        _exit(NOT_RUN);
    }
    int code = wait_for(pid, timeout_s);
    children_end(NULL, 0, -1);
    _exit(code);
}
