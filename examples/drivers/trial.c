/* The trial that every driver of this folder goes through with the pool as it
   is: eight threads on three connections, each answer compared with its
   question; a session left soiled and a connection that the server closes,
   both unseen by who comes next; a forked child; close; a server that says
   nothing. It knows the pool and the struct trial, no server. */
#define _POSIX_C_SOURCE 200809L
#include "driver.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

enum { THREADS = 8, CONNECTIONS = 3, QUESTIONS = 60 };
#define SECOND INT64_C(1000000000)

typedef struct course {
    const trial *trial;
    falkor_pool *pool;
    atomic_int answered, threads, tokens, failures;
} course;

static int64_t in_seconds(int seconds) {
    return falkor_now_ns() + seconds * SECOND;
}

static bool expect(course *self, bool well, const char *what,
                   const char *more) {
    if (!well) {
        atomic_fetch_add(&self->failures, 1);
        fprintf(stderr, "%s: %s%s%s\n", self->trial->name, what,
                more && *more ? ": " : "", more ? more : "");
    }
    return well;
}

/* ---- questions -------------------------------------------------------- */

static falkor_conn *acquire(course *self) {
    falkor_conn *conn;
    falkor_error error;
    falkor_acquire(self->pool, &conn, &error);
    expect(self, conn != NULL, "no connection", error.message);
    return conn;
}

/* One question on a held connection, whose answer must be its own. */
static bool ask_on(course *self, falkor_conn *conn, const char *who) {
    char token[60], answer[100];
    snprintf(token, sizeof token, "%s-%d-%" PRId64, who,
             atomic_fetch_add(&self->tokens, 1), falkor_now_ns());
    bool asked = self->trial->ask(falkor_conn_handle(conn), token, answer,
                                  sizeof answer, in_seconds(10));
    if (!asked)
        falkor_conn_mark_broken(conn);
    return expect(self, asked, "a question failed", who) &&
        expect(self, !strcmp(token, answer), "another's answer", answer);
}

static void ask(course *self, const char *who) {
    falkor_conn *conn = acquire(self);
    if (conn && ask_on(self, conn, who))
        atomic_fetch_add(&self->answered, 1);
    falkor_release(conn);
}

/* ---- what happens on the way ------------------------------------------ */

static void soil(course *self) {
    falkor_conn *conn = acquire(self);
    if (conn)
        expect(self, self->trial->soil(falkor_conn_handle(conn),
               in_seconds(10)), "cannot soil a session", NULL);
    falkor_release(conn);
}

/* Has the server close a connection that we hold, and gives it back as if
   nothing was. Nobody else holds two, so this waits for nobody who waits. */
static void cut(course *self) {
    falkor_conn *victim = acquire(self), *other = acquire(self);
    if (victim && other) {
        void *handle = falkor_conn_handle(victim);
        expect(self, self->trial->cut(handle, falkor_conn_handle(other),
               in_seconds(10)), "cannot have a connection closed", NULL);
        expect(self, await(self->trial->fd(handle), POLLIN, in_seconds(10)),
               "the server did not close it", NULL);
    }
    falkor_release(other);
    falkor_release(victim);             /* last: it is the next to be taken */
}

static int run_thread(void *argument) {
    course *self = argument;
    char who[20];
    int number = atomic_fetch_add(&self->threads, 1);
    snprintf(who, sizeof who, "thread%d", number);
    for (int i = 0; i < QUESTIONS; i++) {
        if (number == 0 && i == QUESTIONS / 2)
            cut(self);
        if (number == 1 && i % 20 == 10 && self->trial->soil)
            soil(self);
        ask(self, who);
    }
    return 0;
}

static void run_threads(course *self) {
    thrd_t threads[THREADS];
    int started = 0;
    while (started < THREADS && thrd_create(&threads[started], run_thread,
                                            self) == thrd_success)
        started++;
    for (int i = 0; i < started; i++)
        thrd_join(threads[i], NULL);
    expect(self, atomic_load(&self->answered) == THREADS * QUESTIONS,
           "answers are missing", NULL);
}

/* ---- checks, fork, close, silence ------------------------------------- */

/* A question on each of all connections. */
static void ask_all(course *self, const char *who) {
    falkor_conn *held[CONNECTIONS];
    for (int i = 0; i < CONNECTIONS; i++)
        held[i] = acquire(self);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (held[i])
            ask_on(self, held[i], who);
        falkor_release(held[i]);
    }
}

static void check_levels(course *self) {
    falkor_conn *conn = acquire(self);
    for (int level = FALKOR_CHECK_FAST; conn && level <= FALKOR_CHECK_DEEP;
         level++)
        expect(self, self->trial->driver->check(NULL, falkor_conn_handle(conn),
               (falkor_check_level)level, in_seconds(10)) == FALKOR_OK,
               "a fit connection fails a check", NULL);
    falkor_release(conn);
}

/* The child dials its own connections; the parent's go on. */
static void fork_child(course *self) {
    falkor_stats before, after;
    int status = 1;
    ask_all(self, "before");
    falkor_pool_stats(self->pool, &before);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int failures = atomic_load(&self->failures);
        ask_all(self, "child");
        falkor_pool_free(self->pool);
        _exit(atomic_load(&self->failures) != failures);
    }
    expect(self, child > 0 && waitpid(child, &status, 0) == child &&
           status == 0, "the forked child failed", NULL);
    ask_all(self, "after");
    falkor_pool_stats(self->pool, &after);
    expect(self, before.connections_created == after.connections_created,
           "the child disturbed its parent's connections", NULL);
}

/* Close cuts what is held past its time; the holder can still release. */
static void close_pool(course *self) {
    char answer[100];
    falkor_conn *conn = acquire(self);
    expect(self, falkor_pool_close(self->pool, 10) == FALKOR_ERR_TIMEOUT,
           "close did not say that a connection was held", NULL);
    if (conn)
        expect(self, !self->trial->ask(falkor_conn_handle(conn), "late",
               answer, sizeof answer, in_seconds(10)),
               "a question after close was answered", answer);
    falkor_release(conn);
}

/* A listener whose queue takes the connection, and that is all. */
static int silent_listener(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (void *)&address, size) || listen(fd, 5) ||
        getsockname(fd, (void *)&address, &size))
        perror("a silent listener");
    *port = ntohs(address.sin_port);
    return fd;
}

static void dial_silence(course *self) {
    place nowhere = {.host = "127.0.0.1"};
    falkor_error error = {0};
    void *handle = NULL;
    int listener = silent_listener(&nowhere.port);
    int64_t begin = falkor_now_ns();
    falkor_status status = self->trial->driver->open(&nowhere,
        begin + SECOND / 4, &handle, &error);
    int64_t took_ms = (falkor_now_ns() - begin) / 1000000;
    char said[40];
    snprintf(said, sizeof said, "%d after %" PRId64 " ms", (int)status,
             took_ms);
    expect(self, status && !handle && error.message[0] && took_ms >= 245 &&
           took_ms < 1500, "the deadline of a dial was not kept", said);
    close(listener);
}

/* ---- all of it -------------------------------------------------------- */

static void tell(course *self) {
    falkor_stats stats;
    falkor_pool_stats(self->pool, &stats);
    printf("%s: %d answers to %d threads over %d connections at most; "
           "%" PRIu64 " acquired, %" PRIu64 " released, %" PRIu64 " dialled, "
           "%" PRIu64 " replaced, %" PRIu64 " failed checks\n",
           self->trial->name, atomic_load(&self->answered), THREADS,
           stats.max_size, stats.acquires, stats.releases,
           stats.connections_created, stats.connections_recycled,
           stats.health_failures);
    expect(self, stats.acquires == stats.releases && !stats.active &&
           stats.total <= CONNECTIONS, "the pool's books do not balance", NULL);
    expect(self, stats.connections_recycled == 1 && !stats.connect_failures &&
           !stats.acquire_timeouts, "not exactly one connection was replaced",
           NULL);
}

int try_driver(int argc, char **argv, const trial *given) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s HOST PORT\n", argv[0]);
        return 2;
    }
    place where = {argv[1], atoi(argv[2])};
    course self = {.trial = given};
    falkor_error error;
    falkor_options options = {.driver = given->driver, .driver_ctx = &where,
        .max_size = CONNECTIONS, .min_size = 1, .validate_after_ms = 1,
        .health_check_interval_ms = 20};
    if (falkor_pool_create(&options, &self.pool, &error) ||
        falkor_pool_open(self.pool, &error)) {
        expect(&self, false, "cannot open the pool", error.message);
    } else {
        run_threads(&self);
        check_levels(&self);
        ask_all(&self, "all");
        tell(&self);
        fork_child(&self);
        close_pool(&self);
        dial_silence(&self);
    }
    falkor_pool_free(self.pool);
    printf("%s: %d failures\n", given->name, atomic_load(&self.failures));
    return atomic_load(&self.failures) != 0;
}
