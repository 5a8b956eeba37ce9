/* E9 and the instructions behind it: what a small query costs whatever the
   machine is doing, counted and not timed. System calls by ptrace, over a
   child process that works between two marks; those of the pool's worker are
   told apart. Instructions by callgrind, where valgrind is there, over this
   program started anew with a work's name, in the function `window` alone.
   Neither says anything of what the kernel or the server does. */
#define _GNU_SOURCE                     /* syscall, readlink */
#include "costs.h"
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_CALLS 512                  /* numbers of system calls */
#define MARK SYS_getsid                 /* one that nobody else makes */
#define PATIENCE 60                     /* seconds for one run of valgrind */

/* What callgrind looks for by its name: not to be inlined, nor cloned. */
void window(const costs_work *work, costs *c, int count);
__attribute__((noinline)) void window(const costs_work *work, costs *c,
                                      int count) {
    for (int i = 0; i < count; i++)
        work->once(c);
}

/* ---- system calls ------------------------------------------------------ */

typedef struct tally {
    pid_t thread;                       /* the one whose work it is */
    bool open;                          /* between the marks */
    int own, others;
    int by_number[MOST_CALLS];
} tally;

static _Noreturn void be_traced(const costs_work *work, int count) {
    costs c;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(2);
    raise(SIGSTOP);
    costs_begin(&c, work);
    syscall(MARK, 0);
    window(work, &c, count);
    syscall(MARK, 0);
    _exit(0);
}

/* A thread has stopped at the begin or the end of a call. */
static void note_call(tally *t, pid_t thread) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof info, &info) < 0
        || info.op != PTRACE_SYSCALL_INFO_ENTRY)
        return;
    unsigned long long number = info.entry.nr;
    if (thread == t->thread && number == MARK) {
        t->open = !t->open;
    } else if (t->open && thread != t->thread) {
        t->others++;
    } else if (t->open) {
        t->own++;
        t->by_number[number < MOST_CALLS ? number : MOST_CALLS - 1]++;
    }
}

/* Lets a stopped thread go on to its next stop, with the signal that it was
   stopped for, unless that is of ptrace's making. */
static void go_on(tally *t, pid_t thread, int status) {
    int number = WSTOPSIG(status);
    if (number == (SIGTRAP | 0x80))
        note_call(t, thread);
    if (number == (SIGTRAP | 0x80) || status >> 16 || number == SIGSTOP)
        number = 0;
    ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(intptr_t)number);
}

/* NULL, or why it cannot be told. */
static const char *count_calls(const costs_work *work, int count, tally *t) {
    int status = 0;
    pid_t child = fork();
    *t = (tally){.thread = child};
    if (child == 0)
        be_traced(work, count);
    if (child < 0 || waitpid(child, &status, 0) != child ||
        !WIFSTOPPED(status))
        return "ptrace is not permitted";
    ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACESYSGOOD |
           PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL));
    pid_t thread = child;
    do {
        if (WIFSTOPPED(status))
            go_on(t, thread, status);
        thread = waitpid(-1, &status, __WALL);
    } while (thread > 0 && (thread != child || WIFSTOPPED(status)));
    if (thread != child || !WIFEXITED(status) || WEXITSTATUS(status))
        bench_fail("the traced process did not end well");
    return NULL;
}

static void tell_calls(const costs_work *work, const tally *t, int count) {
    static const struct { int number; const char *name; } names[] = {
        {SYS_recvfrom, "recvfrom"}, {SYS_recvmsg, "recvmsg"},
        {SYS_sendmsg, "sendmsg"}, {SYS_sendto, "sendto"}, {SYS_read, "read"},
        {SYS_write, "write"}, {SYS_ppoll, "ppoll"}, {SYS_futex, "futex"},
#ifdef SYS_poll
        {SYS_poll, "poll"},
#endif
        {SYS_brk, "brk"}, {SYS_mmap, "mmap"}, {SYS_munmap, "munmap"}};
    char line[512] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (t->by_number[names[i].number])
            snprintf(line + strlen(line), sizeof line - strlen(line),
                     " %s %.3f", names[i].name,
                     (double)t->by_number[names[i].number] / count);
    bench_note("%s: of these%s; other threads, in all: %d", work->what,
               *line ? line : " none", t->others);
}

static void measure_calls(const char *id, int which, int count,
                          double at_most) {
    const costs_work *work = &costs_works[which];
    char what[64];
    tally t;
    snprintf(what, sizeof what, "system calls of %s", work->what);
    bench_row row = {id, what, "calls", NULL, 0, at_most};
    const char *why = count_calls(work, count, &t);
    if (why) {
        row.peer = "ptrace";
        bench_absent(&row, why);
        return;
    }
    bench_value(&row, (double)t.own / count);
    tell_calls(work, &t, count);
}

/* ---- instructions ------------------------------------------------------ */

/* The child's standard output is not the table's. */
static _Noreturn void be_valgrind(const char *self, const char *work,
                                  int count, const char *path) {
    char out[PATH_MAX + 32], number[16];
    snprintf(out, sizeof out, "--callgrind-out-file=%s", path);
    snprintf(number, sizeof number, "%d", count);
    alarm(PATIENCE);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execlp("valgrind", "valgrind", "-q", "--tool=callgrind", out,
           "--toggle-collect=window", self, work, number, (char *)NULL);
    _exit(127);
}

/* The line "totals: N" of what callgrind has written. */
static double read_totals(const char *path) {
    char line[4096];
    double totals = -1;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "totals: ", 8) == 0)
            totals = strtod(line + 8, NULL);
    if (file)
        fclose(file);
    return totals;
}

/* Of one round of the work; below 0: there is no valgrind. */
static double instructions(const costs_work *work, int count) {
    char self[PATH_MAX] = "", path[PATH_MAX];
    const char *folder = getenv("TMPDIR");
    int status = 0;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/falkor-costs.%ld",
             folder ? folder : "/tmp", (long)getpid());
    pid_t child = fork();
    if (child == 0)
        be_valgrind(self, work->name, count, path);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    double totals = read_totals(path);
    unlink(path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) || totals < 0)
        bench_fail("valgrind failed at %s", work->name);
    return totals / count;
}

static void measure_instructions(void) {
    static const char why[] = "valgrind is not there";
    int count = (int)bench_short(1800);
    bench_row query = {"E9-insns", "instructions of RETURN 1", "instr.",
                       "bare hiredis", 0, 0};
    bench_row acquire = {"E9-insns-acq", "instructions of acquire and release",
                         "instr.", NULL, 0, 0};
    double alone = instructions(&costs_works[COSTS_ACQUIRE], count);
    if (alone < 0) {
        acquire.peer = "valgrind";
        bench_absent(&query, why);
        bench_absent(&acquire, why);
        return;
    }
    double ours = instructions(&costs_works[COSTS_QUERY], count);
    double theirs = instructions(&costs_works[COSTS_HIREDIS], count);
    bench_pairs(&query, &ours, &theirs, 1);
    bench_value(&acquire, alone);
}

/* What valgrind runs. */
static int work_by_name(const char *name, int count) {
    for (int i = 0; i < COSTS_WORKS; i++)
        if (strcmp(costs_works[i].name, name) == 0) {
            costs c;
            costs_begin(&c, &costs_works[i]);
            window(&costs_works[i], &c, count);
            costs_end(&c);
            return 0;
        }
    return 1;
}

int main(int argc, char **argv) {
    if (argc == 3)
        return work_by_name(argv[1], atoi(argv[2]));
    int count = (int)bench_short(6000);
    measure_calls("E9-query", COSTS_QUERY, count, 3);
    measure_calls("E9-read", COSTS_READ, count, 3);
    measure_calls("E9-slow", COSTS_SLOW, count / 20, 3);
    measure_calls("E9-acquire", COSTS_ACQUIRE, count, 0);
    measure_calls("E9-hiredis", COSTS_HIREDIS, count, 0);
    measure_instructions();
    return 0;
}
