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
#include <sched.h>
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
#define PAIRS 15                        /* of turns: many short ones, for what
                                           else the machine does changes */
#define MOST_THREADS 1000
#define MOST_CONNECTIONS 1000

/* What a row is measured on. */
typedef struct ground {
    int threads, connections;
    int64_t span_ms;                    /* of a turn; a sixth when quick */
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

typedef int64_t batch(ground *on);      /* does pairs; their number */

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
    int64_t pairs, cpu_ns;
} member;

static int64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

static void *work(void *argument) {
    member *self = argument;
    turn *t = self->turn;
    atomic_fetch_add(&t->arrived, 1);
    pthread_barrier_wait(&t->gate);
    int64_t begin = cpu_ns();
    while (!atomic_load_explicit(&t->over, memory_order_relaxed))
        self->pairs += t->run(t->on);
    self->cpu_ns = cpu_ns() - begin;
    return NULL;
}

static void pause_ms(int64_t ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000,
                                 .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Nanoseconds a pair, all threads together. The clock starts when all are
   there and before any of them begins. A thread that is alone waits for nobody:
   its time is what it had of a processor, whoever else wants one. */
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
    pause_ms(bench_quick() ? on->span_ms / 6 : on->span_ms);
    atomic_store(&t.over, true);
    int64_t span = falkor_now_ns() - begin;
    for (int i = 0; i < on->threads; i++) {
        pthread_join(members[i].thread, NULL);
        pairs += members[i].pairs;
    }
    pthread_barrier_destroy(&t.gate);
    return (double)(on->threads == 1 ? members[0].cpu_ns : span) /
           (double)pairs;
}

/* Both in turn, PAIRS times after once to warm up. */
static void compare(const bench_row *row, ground *on, batch *ours,
                    batch *theirs) {
    double a[PAIRS + 1], b[PAIRS + 1];
    int pairs = bench_quick() ? BENCH_PAIRS : PAIRS;
    for (int i = 0; i <= pairs; i++) {
        a[i] = take_turn(on, ours);
        b[i] = theirs ? take_turn(on, theirs) : 1;
    }
    if (theirs)
        bench_pairs(row, a + 1, b + 1, pairs);
    else
        bench_value(row, bench_median(a + 1, pairs));
}

/* ---- the sides --------------------------------------------------------- */

static falkor_conn *acquire(falkor_pool *pool) {
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire(pool, &conn, &error))
        bench_fail("%s", error.message);
    return conn;
}

static int64_t ours(ground *on) {
    for (int i = 0; i < BATCH; i++)
        falkor_release(acquire(on->pool));
    return BATCH;
}

static void use_all(falkor_pool *pool, int connections) {
    static falkor_conn *held[MOST_CONNECTIONS];
    for (int i = 0; i < connections; i++)
        held[i] = acquire(pool);
    for (int i = 0; i < connections; i++)
        falkor_release(held[i]);
}

/* All connections at once, by one thread. */
static int64_t ours_all(ground *on) {
    use_all(on->pool, on->connections);
    return on->connections;
}

static int64_t two_mutexes(ground *on) {
    for (int i = 0; i < BATCH; i++) {
        pthread_mutex_lock(&on->mutex);
        pthread_mutex_unlock(&on->mutex);
        pthread_mutex_lock(&on->mutex);
        pthread_mutex_unlock(&on->mutex);
    }
    return BATCH;
}

static int64_t barged(ground *on) {
    for (int i = 0; i < BATCH; i++)
        barging_put(on->barging, barging_get(on->barging));
    return BATCH;
}

/* ---- pools ------------------------------------------------------------- */

/* Default settings but for the size, and all connections open. */
static falkor_pool *our_pool(const falkor_driver *driver, int connections) {
    falkor_pool *pool = bench_pool(&(falkor_options){
        .driver = driver, .max_size = connections});
    use_all(pool, connections);
    return pool;
}

static barging *barging_pool(int connections) {
    falkor_error error = {.message = "out of memory"};
    barging *pool = barging_open(&idle_driver, NULL, connections, &error);
    if (!pool)
        bench_fail("%s", error.message);
    return pool;
}

/* ---- a mutex ----------------------------------------------------------- */

static void against_mutexes(void) {
    static const char peer[] = "two mutex lock/unlock";
    ground on = {.threads = 1, .connections = 20, .span_ms = 50};
    pthread_mutex_init(&on.mutex, NULL);
    on.pool = our_pool(&idle_driver, on.connections);
    compare(&(bench_row){.id = "E1-1t", .unit = "ns", .peer = peer,
        .work = "acquire and release, 1 thread", .at_most = 1.5}, &on, ours,
        two_mutexes);
    falkor_pool_free(on.pool);
    on.pool = our_pool(&bare_driver, on.connections);
    compare(&(bench_row){.id = "E1-1t-bare", .unit = "ns", .peer = peer,
        .work = "the same, driver without check and reset"}, &on, ours,
        two_mutexes);
    falkor_pool_free(on.pool);
    pthread_mutex_destroy(&on.mutex);
}

/* ---- itself without times ----------------------------------------------- */

/* The library once more, built with FALKOR_WITHOUT_TIMES: see Makefile. */
falkor_status untimed_falkor_pool_create(const falkor_options *options,
                                         falkor_pool **pool,
                                         falkor_error *error);
falkor_status untimed_falkor_pool_open(falkor_pool *pool, falkor_error *error);
falkor_status untimed_falkor_acquire_at(falkor_pool *pool, int timeout_ms,
                                        falkor_conn **conn,
                                        falkor_error *error, const char *file,
                                        int line);
falkor_status untimed_falkor_release(falkor_conn *conn);
void untimed_falkor_pool_free(falkor_pool *pool);

static falkor_pool *untimed_pool;

static int64_t untimed(ground *on) {
    (void)on;
    for (int i = 0; i < BATCH; i++) {
        falkor_conn *conn;
        falkor_error error;
        if (untimed_falkor_acquire_at(untimed_pool, FALKOR_POOL_TIMEOUT, &conn,
                                      &error, __FILE__, __LINE__))
            bench_fail("%s", error.message);
        untimed_falkor_release(conn);
    }
    return BATCH;
}

static void against_itself_untimed(void) {
    ground on = {.threads = 1, .connections = 20, .span_ms = 50};
    falkor_error error;
    on.pool = our_pool(&idle_driver, on.connections);
    if (untimed_falkor_pool_create(&(falkor_options){.driver = &idle_driver,
            .max_size = on.connections}, &untimed_pool, &error) ||
        untimed_falkor_pool_open(untimed_pool, &error))
        bench_fail("%s", error.message);
    compare(&(bench_row){.id = "D2-1t", .unit = "ns",
        .peer = "itself, nothing timed", .at_most = 1.15,
        .work = "acquire and release, 1 thread"}, &on, ours, untimed);
    on.threads = 8;
    compare(&(bench_row){.id = "D2-8t", .unit = "ns",
        .peer = "itself, nothing timed", .at_most = 1.15,
        .work = "acquire and release, 8 threads"}, &on, ours, untimed);
    untimed_falkor_pool_free(untimed_pool);
    falkor_pool_free(on.pool);
}

/* ---- other pools ------------------------------------------------------- */

typedef void versus(bench_row *row, ground *on);

/* A row: our pool, and another that `with` opens with as many connections. */
static void duel(const char *id, const char *peer, double at_most,
                 versus *with, ground on) {
    char text[96];
    snprintf(text, sizeof text, "acquire and release, %d thread%s on %d",
             on.threads, on.threads == 1 ? "" : "s", on.connections);
    on.pool = our_pool(&idle_driver, on.connections);
    with(&(bench_row){.id = id, .work = text, .unit = "ns", .peer = peer,
        .at_most = on.threads > on.connections ? 0 : at_most}, &on);
    falkor_pool_free(on.pool);
}

static void with_barging(bench_row *row, ground *on) {
    on->barging = barging_pool(on->connections);
    compare(row, on, ours, barged);
    barging_free(on->barging);
}

#ifdef BENCH_APR
static int64_t with_reslist(ground *on) {
    void *handle;
    for (int i = 0; i < BATCH; i++) {
        if (apr_reslist_acquire(on->apr, &handle))
            bench_fail("apr_reslist_acquire fails");
        apr_reslist_release(on->apr, handle);
    }
    return BATCH;
}

static apr_status_t apr_open_nothing(void **handle, void *params,
                                     apr_pool_t *pool) {
    (void)params;
    (void)pool;
    return (apr_status_t)open_nothing(NULL, 0, handle, NULL);
}

static apr_status_t apr_close_nothing(void *handle, void *params,
                                      apr_pool_t *pool) {
    (void)params;
    (void)pool;
    close_nothing(NULL, handle);
    return APR_SUCCESS;
}

static void with_apr_of(bench_row *row, ground *on, apr_interval_time_t ttl) {
    apr_pool_t *memory;
    if (apr_pool_create(&memory, NULL) ||
        apr_reslist_create(&on->apr, on->connections, on->connections,
            on->connections, ttl, apr_open_nothing, apr_close_nothing, NULL,
            memory))
        bench_fail("apr_reslist_create fails");
    compare(row, on, ours, with_reslist);
    apr_reslist_destroy(on->apr);
    apr_pool_destroy(memory);
}
#else
static void with_apr_of(bench_row *row, ground *on, int64_t ttl) {
    (void)on;
    (void)ttl;
    bench_absent(row, "libaprutil1-dev is not here");
}
#endif

/* At its best: all resources are there, and none ever expires. */
static void with_apr(bench_row *row, ground *on) {
    with_apr_of(row, on, 0);
}

/* As it is used, and as ours is: with an end of their lifetime. */
static void with_apr_ttl(bench_row *row, ground *on) {
    with_apr_of(row, on, INT64_C(3600000000));
}

#ifdef BENCH_ZDB
static int64_t with_libzdb(ground *on) {
    for (int i = 0; i < BATCH; i++) {
        Connection_T connection = ConnectionPool_getConnection(on->zdb);
        if (!connection)
            bench_fail("ConnectionPool_getConnection: none");
        Connection_close(connection);
    }
    return BATCH;
}

/* Its connections are databases in memory, for it has no driver that does
   nothing; and before it hands one out it asks it something, with the pool
   locked. That is what its user pays, but it is no match. */
static void with_zdb(bench_row *row, ground *on) {
    URL_T url = URL_new("sqlite:///:memory:");
    on->zdb = ConnectionPool_new(url);
    ConnectionPool_setInitialConnections(on->zdb, on->connections);
    ConnectionPool_setMaxConnections(on->zdb, on->connections);
    ConnectionPool_start(on->zdb);
    compare(row, on, ours, with_libzdb);
    ConnectionPool_stop(on->zdb);
    ConnectionPool_free(&on->zdb);
    URL_free(&url);
}
#else
static void with_zdb(bench_row *row, ground *on) {
    (void)on;
    bench_absent(row, "libzdb-dev is not here");
}
#endif

static void against_pools(void) {
    static const ground crowds[] = {
        {.threads = 1, .connections = 20, .span_ms = 50},
        {.threads = 2, .connections = 20, .span_ms = 50},
        {.threads = 8, .connections = 20, .span_ms = 60},
        {.threads = 50, .connections = 50, .span_ms = 100},
        {.threads = 50, .connections = 20, .span_ms = 100}};
    static const char *const apr[] = {"E1-apr-1t", "E1-apr-2t", "E1-apr-8t",
                                      "E1-apr-50t", "E1-apr-few"};
    static const char *const stack[] = {
        "E1-barging-1t", "E1-barging-2t", "E1-barging-8t", "E1-barging-50t",
        "E1-barging-few"};
    for (int i = 0; i < 5; i++)
        duel(apr[i], "apr_reslist", 1.0, with_apr, crowds[i]);
    duel("E1-apr-ttl", "apr_reslist with a ttl", 0, with_apr_ttl, crowds[0]);
    for (int i = 0; i < 5; i++)
        duel(stack[i], "barging stack", 0, with_barging, crowds[i]);
    duel("E1-zdb-1t", "libzdb, sqlite", 0, with_zdb, crowds[0]);
    duel("E1-zdb-8t", "libzdb, sqlite", 0, with_zdb, crowds[2]);
}

/* ---- growth ------------------------------------------------------------ */

static void row_of(batch *run, const char *id, const char *work, int number,
                   ground on) {
    char name[32], text[96];
    snprintf(name, sizeof name, id, number);
    snprintf(text, sizeof text, work, number);
    on.pool = our_pool(&idle_driver, on.connections);
    compare(&(bench_row){.id = name, .work = text, .unit = "ns"}, &on, run,
            NULL);
    falkor_pool_free(on.pool);
}

/* The hottest one again and again, and all of them at once. */
static void with_more_connections(void) {
    for (int n = 1; n <= MOST_CONNECTIONS; n *= 10) {
        ground on = {.threads = 1, .connections = n, .span_ms = 20};
        row_of(ours, "E1-pool-%d", "acquire and release, pool of %d", n, on);
        row_of(ours_all, "E1-all-%d", "a pair, all %d held at once", n, on);
    }
}

static void with_more_threads(void) {
    static const char *const ids[] = {"E1-many-10t", "E1-many-100t",
                                      "E1-many-1000t"};
    for (int i = 0, n = 10; n <= MOST_THREADS; i++, n *= 10)
        duel(ids[i], "barging stack", 0, with_barging,
             (ground){.threads = n, .connections = n, .span_ms = 100});
}

/* ---- a pool's life ----------------------------------------------------- */

enum { OPEN, FLUSH, REFILL, CLOSE, STEPS };

static void wait_until_full(falkor_pool *pool, int connections) {
    falkor_stats now;
    do {
        sched_yield();
        falkor_pool_stats(pool, &now);
    } while (now.idle < connections ||
             now.connections_created < 2 * (uint64_t)connections);
}

/* Microseconds of each step. */
static void live(int connections, double *us) {
    int64_t at[STEPS + 1];
    at[OPEN] = falkor_now_ns();
    falkor_pool *pool = bench_pool(&(falkor_options){.driver = &idle_driver,
        .min_size = connections, .max_size = connections});
    at[FLUSH] = falkor_now_ns();
    falkor_pool_flush(pool);
    at[REFILL] = falkor_now_ns();
    wait_until_full(pool, connections);
    at[CLOSE] = falkor_now_ns();
    falkor_pool_free(pool);
    at[STEPS] = falkor_now_ns();
    for (int i = 0; i < STEPS; i++)
        us[i] = (double)(at[i + 1] - at[i]) / 1e3;
}

static void row_of_step(const char *id, const char *work, double *us,
                        int times) {
    bench_value(&(bench_row){.id = id, .work = work, .unit = "us"},
                bench_median(us, times));
}

static void lives(void) {
    static double us[STEPS][300];
    int times = (int)bench_short(300), few = (int)bench_short(30);
    double one[STEPS];
    for (int i = 0; i < times; i++) {
        live(20, one);
        for (int k = 0; k < STEPS; k++)
            us[k][i] = one[k];
    }
    row_of_step("E1-open-20", "create and open a pool of 20", us[OPEN], times);
    row_of_step("E1-flush-20", "flush it", us[FLUSH], times);
    row_of_step("E1-refill-20", "until it is full again", us[REFILL], times);
    row_of_step("E1-close-20", "close and free it", us[CLOSE], times);
    for (int i = 0; i < few; i++) {
        live(1000, one);
        us[OPEN][i] = one[OPEN];
        us[CLOSE][i] = one[CLOSE];
    }
    row_of_step("E1-open-1000", "create and open a pool of 1000", us[OPEN],
                few);
    row_of_step("E1-close-1000", "close and free it", us[CLOSE], few);
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
    against_itself_untimed();
    against_pools();
    with_more_connections();
    with_more_threads();
    lives();
    return 0;
}
