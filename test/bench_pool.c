/* The pool itself measured, without a server: what it costs to acquire and
   release where the driver does nothing (requirement E1), against bare mutexes
   and other pools, and how that grows. bench_waits.c has the pool under load.

   All sides work the same way: threads that take a connection and give it back
   until the time is over, and the figure is that time over their pairs. An idle
   thread is there all along, for without one glibc locks a mutex without an
   atomic instruction, which no program that needs a pool ever sees. Everybody
   has all his connections open before he is measured. Where there are as many
   connections as threads nobody waits, and the figure is the pool's own work;
   where there are fewer it is a matter of who sleeps how long, for the sake of
   whom: those rows have no goal. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* barriers */
#endif
#include "barging.h"
#include "bench.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef BENCH_APR
#include <apr_general.h>
#include <apr_reslist.h>
#endif
#ifdef BENCH_ZDB
#include <zdb.h>
#endif

#define BATCH 64                        /* pairs between two looks at the end */
#define MOST_THREADS 1000
#define MOST_CONNECTIONS 1000

/* What a row is measured on. */
typedef struct ground {
    int threads, connections;
    int64_t span_ms;                    /* of a turn */
    falkor_pool *pool;
    barging *barging;
    pthread_mutex_t mutex;
#ifdef BENCH_APR
    apr_reslist_t *apr;
#endif
#ifdef BENCH_ZDB
    ConnectionPool_T zdb;
#endif
} ground;

/* ---- drivers that do nothing ------------------------------------------- */

static falkor_status open_nothing(void *ctx, int64_t deadline_ns,
                                  void **handle, falkor_error *error) {
    static char nothing;
    (void)ctx;
    (void)deadline_ns;
    (void)error;
    *handle = &nothing;
    return FALKOR_OK;
}

static falkor_status check_nothing(void *ctx, void *handle,
                                   falkor_check_level level,
                                   int64_t deadline_ns) {
    (void)ctx;
    (void)handle;
    (void)level;
    (void)deadline_ns;
    return FALKOR_OK;
}

static falkor_status reset_nothing(void *ctx, void *handle,
                                   int64_t deadline_ns) {
    (void)ctx;
    (void)handle;
    (void)deadline_ns;
    return FALKOR_OK;
}

static void close_nothing(void *ctx, void *handle) {
    (void)ctx;
    (void)handle;
}

/* Both hooks that run in every acquire and release, as the library's own
   driver has them: the FAST check and the reset. */
static const falkor_driver idle_driver = {
    .open = open_nothing, .check = check_nothing, .reset = reset_nothing,
    .close = close_nothing};
static const falkor_driver bare_driver = {.open = open_nothing,
                                          .close = close_nothing};

/* ---- a turn ------------------------------------------------------------ */

typedef void batch(ground *on);         /* BATCH pairs */

typedef struct turn {
    ground *on;
    batch *run;
    pthread_barrier_t gate;
    atomic_int arrived;
    atomic_bool over;
} turn;

typedef struct member {
    _Alignas(64) turn *turn;            /* a cache line of its own */
    pthread_t thread;
    int64_t pairs;
} member;

static void *work(void *argument) {
    member *self = argument;
    turn *t = self->turn;
    atomic_fetch_add(&t->arrived, 1);
    pthread_barrier_wait(&t->gate);
    while (!atomic_load_explicit(&t->over, memory_order_relaxed)) {
        t->run(t->on);
        self->pairs += BATCH;
    }
    return NULL;
}

static void pause_ms(int64_t ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000,
                                 .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Nanoseconds a pair, all threads together. The clock starts when all are
   there and before any of them begins. */
static double take_turn(ground *on, batch *run) {
    static member members[MOST_THREADS];
    static turn t;
    int64_t pairs = 0;
    t.on = on;
    t.run = run;
    atomic_store(&t.arrived, 0);
    atomic_store(&t.over, false);
    pthread_barrier_init(&t.gate, NULL, (unsigned)on->threads + 1);
    for (int i = 0; i < on->threads; i++) {
        members[i] = (member){.turn = &t};
        if (pthread_create(&members[i].thread, NULL, work, &members[i]))
            bench_fail("%d threads cannot be started", on->threads);
    }
    while (atomic_load(&t.arrived) < on->threads)
        pause_ms(1);
    int64_t begin = falkor_now_ns();
    pthread_barrier_wait(&t.gate);
    pause_ms(on->span_ms);
    atomic_store(&t.over, true);
    int64_t span = falkor_now_ns() - begin;
    for (int i = 0; i < on->threads; i++) {
        pthread_join(members[i].thread, NULL);
        pairs += members[i].pairs;
    }
    pthread_barrier_destroy(&t.gate);
    return (double)span / (double)pairs;
}

/* ---- the sides --------------------------------------------------------- */

static void run_ours(ground *on) {
    falkor_conn *conn;
    falkor_error error;
    for (int i = 0; i < BATCH; i++) {
        if (falkor_acquire(on->pool, &conn, &error))
            bench_fail("%s", error.message);
        falkor_release(conn);
    }
}

static void run_mutex(ground *on) {
    for (int i = 0; i < BATCH; i++) {
        pthread_mutex_lock(&on->mutex);
        pthread_mutex_unlock(&on->mutex);
        pthread_mutex_lock(&on->mutex);
        pthread_mutex_unlock(&on->mutex);
    }
}

static void run_barging(ground *on) {
    for (int i = 0; i < BATCH; i++)
        barging_put(on->barging, barging_get(on->barging));
}

static double ours(void *on) { return take_turn(on, run_ours); }
static double bare_mutex(void *on) { return take_turn(on, run_mutex); }
static double barging_side(void *on) { return take_turn(on, run_barging); }

#ifdef BENCH_APR
static void run_apr(ground *on) {
    void *handle;
    for (int i = 0; i < BATCH; i++) {
        if (apr_reslist_acquire(on->apr, &handle))
            bench_fail("apr_reslist_acquire fails");
        apr_reslist_release(on->apr, handle);
    }
}

static double apr_side(void *on) { return take_turn(on, run_apr); }

static apr_status_t apr_open_nothing(void **handle, void *params,
                                     apr_pool_t *pool) {
    static char nothing;
    (void)params;
    (void)pool;
    *handle = &nothing;
    return APR_SUCCESS;
}

static apr_status_t apr_close_nothing(void *handle, void *params,
                                      apr_pool_t *pool) {
    (void)handle;
    (void)params;
    (void)pool;
    return APR_SUCCESS;
}
#endif

/* ---- rows -------------------------------------------------------------- */

/* Our pool with default settings but for its size, all of which is open. */
static falkor_pool *our_pool(const falkor_driver *driver, int connections) {
    static falkor_conn *held[MOST_CONNECTIONS];
    falkor_error error;
    falkor_pool *pool = bench_pool(&(falkor_options){
        .driver = driver, .max_size = connections});
    for (int i = 0; i < connections; i++)
        if (falkor_acquire(pool, &held[i], &error))
            bench_fail("%s", error.message);
    for (int i = 0; i < connections; i++)
        falkor_release(held[i]);
    return pool;
}

static barging *barging_pool(const falkor_driver *driver, int connections) {
    falkor_error error = {.message = "out of memory"};
    barging *pool = barging_open(driver, NULL, connections, &error);
    if (!pool)
        bench_fail("%s", error.message);
    return pool;
}

static void against_mutexes(void) {
    ground on = {.threads = 1, .connections = 20, .span_ms = bench_short(150)};
    pthread_mutex_init(&on.mutex, NULL);
    on.pool = our_pool(&idle_driver, on.connections);
    bench_compare(&(bench_row){.id = "E1-1t", .at_most = 1.5, .unit = "ns",
        .work = "acquire and release, 1 thread",
        .peer = "two mutex lock/unlock"}, ours, bare_mutex, &on);
    falkor_pool_free(on.pool);
    on.pool = our_pool(&bare_driver, on.connections);
    bench_compare(&(bench_row){.id = "E1-1t-bare", .unit = "ns",
        .work = "the same, driver without check and reset",
        .peer = "two mutex lock/unlock"}, ours, bare_mutex, &on);
    falkor_pool_free(on.pool);
    pthread_mutex_destroy(&on.mutex);
}

static const struct crowd {
    int threads, connections;
    int64_t span_ms;
} crowds[] = {{1, 20, 150}, {2, 20, 150}, {8, 20, 200}, {50, 50, 300},
              {50, 20, 300}};

/* One row for each crowd: the last one has too few connections. */
static void against(const char *name, const char *peer, double at_most,
                    void compare(const bench_row *row, ground *on)) {
    for (size_t i = 0; i < sizeof crowds / sizeof *crowds; i++) {
        const struct crowd *c = &crowds[i];
        bool scarce = c->threads > c->connections;
        char id[64], text[96];
        ground on = {.threads = c->threads, .connections = c->connections,
                     .span_ms = bench_short(c->span_ms)};
        snprintf(id, sizeof id, "E1-%s-%dt%s", name, c->threads,
                 scarce ? "-few" : "");
        snprintf(text, sizeof text, "acquire and release, %d thread%s on %d",
                 c->threads, c->threads == 1 ? "" : "s", c->connections);
        on.pool = our_pool(&idle_driver, on.connections);
        compare(&(bench_row){.id = id, .work = text, .unit = "ns",
            .peer = peer, .at_most = scarce ? 0 : at_most}, &on);
        falkor_pool_free(on.pool);
    }
}

/* All resources are there and none ever expires: so it does least. */
static void compare_apr(const bench_row *row, ground *on) {
#ifdef BENCH_APR
    apr_pool_t *memory;
    if (apr_pool_create(&memory, NULL) ||
        apr_reslist_create(&on->apr, on->connections, on->connections,
            on->connections, 0, apr_open_nothing, apr_close_nothing, NULL,
            memory))
        bench_fail("apr_reslist_create fails");
    bench_compare(row, ours, apr_side, on);
    apr_reslist_destroy(on->apr);
    apr_pool_destroy(memory);
#else
    (void)on;
    bench_absent(row, "libaprutil1-dev is not here");
#endif
}

static void compare_barging(const bench_row *row, ground *on) {
    on->barging = barging_pool(&idle_driver, on->connections);
    bench_compare(row, ours, barging_side, on);
    barging_free(on->barging);
}

static void *sleep_on(void *argument) {
    pause();
    return argument;
}

int main(void) {
    pthread_t idle;
    if (pthread_create(&idle, NULL, sleep_on, NULL))
        bench_fail("no thread can be started");
#ifdef BENCH_APR
    apr_initialize();
#endif
    against_mutexes();
    against("apr", "apr_reslist", 1.0, compare_apr);
    against("barging", "barging stack", 0, compare_barging);
    return 0;
}
