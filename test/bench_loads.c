/* Loads of a given length through a small pool, against the same without one;
   what the pool reports of itself under load; and what a health check costs.
   ITERATIONS is the length of the longer load (10000). */
#include "../internal.h"
#include "sides.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SMALL_POOL 5
#define CLIENT_NAME "bench-loads"
#define MOST_TIMES 200000               /* of one load */
#define QUERY "RETURN 1"

typedef struct bench {
    falkor_pool *pool;
    falkor_graph *graph;
    redisContext *bare[SIDES_MOST_THREADS];
    int threads;
    int64_t count;                      /* queries of a load */
    double *acquire_ms, *query_ms;
    atomic_int_least64_t acquires;
} bench;

static void pause_us(int us) {
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000L}, NULL);
}

static bench *make(int max_size) {
    bench *b = calloc(1, sizeof *b);
    falkor_options options = bench_options();
    options.max_size = max_size;
    options.client_name = CLIENT_NAME;
    b->pool = bench_pool(&options);
    b->graph = falkor_select_graph(b->pool, SIDES_GRAPH);
    return b;
}

static void drop(bench *b) {
    falkor_pool_free(b->pool);
    free(b);
}

/* ---- E8: so many queries ----------------------------------------------- */

static double ask_pool(void *context, int thread) {
    const bench *b = context;
    (void)thread;
    return sides_query(b->graph, QUERY);
}

static double ask_own(void *context, int thread) {
    const bench *b = context;
    return sides_bare_query(b->bare[thread], QUERY);
}

static double ask_anew(void *context, int thread) {
    (void)context, (void)thread;
    redisContext *c = sides_bare();
    double sum = sides_bare_query(c, QUERY);
    redisFree(c);
    return sum;
}

static double rate(bench *b, double (*job)(void *, int), double *ms) {
    load l = {.threads = b->threads, .count = b->count, .job = job,
              .context = b, .ms = ms};
    return load_run(&l);
}

static double pooled(void *b) { return rate(b, ask_pool, NULL); }
static double own(void *b) { return rate(b, ask_own, NULL); }
static double anew(void *b) { return rate(b, ask_anew, NULL); }

/* The worst figures of all loads. */
typedef struct worst {
    double acquire_average_ms, acquire_p95_ms, query_p95_ms;
} worst;

/* What falkor_query does, in steps, for the wait to be seen: the connection is
   acquired, asked and released. */
static double ask_in_steps(void *context, int thread) {
    bench *b = context;
    falkor_conn *conn;
    falkor_result *result;
    falkor_error error;
    (void)thread;
    int64_t begin = falkor_now_ns();
    if (falkor_acquire(b->pool, &conn, &error))
        bench_fail("%s", error.message);
    double waited = (double)(falkor_now_ns() - begin) / 1e6;
    b->acquire_ms[atomic_fetch_add(&b->acquires, 1)] = waited;
    if (falkor_query_with(b->graph, &(falkor_call_options){.read_only = true,
            .conn = conn}, QUERY, NULL, &result, &error))
        bench_fail("%s", error.message);
    falkor_release(conn);
    double sum = sides_sum_result(result);
    falkor_result_free(result);
    return sum;
}

static double p95(double *figures, int64_t count) {
    bench_sort(figures, (size_t)count);
    return bench_percentile(figures, (size_t)count, 95);
}

static double larger(double a, double b) { return a > b ? a : b; }

static void measure_waits(bench *b, worst *w) {
    double sum = 0;
    atomic_store(&b->acquires, 0);
    rate(b, ask_pool, b->query_ms);
    rate(b, ask_in_steps, NULL);
    for (int64_t i = 0; i < b->count; i++)
        sum += b->acquire_ms[i];
    w->acquire_average_ms = larger(w->acquire_average_ms,
                                   sum / (double)b->count);
    w->acquire_p95_ms = larger(w->acquire_p95_ms,
                               p95(b->acquire_ms, b->count));
    w->query_p95_ms = larger(w->query_p95_ms, p95(b->query_ms, b->count));
}

/* Counts the pool's connections as the server sees them, all the time. */
typedef struct watcher {
    atomic_bool over;
    int most, looks;
    pthread_t thread;
} watcher;

static int count_clients(redisContext *c) {
    int count = 0;
    redisReply *list = redisCommand(c, "CLIENT LIST");
    if (!list || list->type != REDIS_REPLY_STRING)
        bench_fail("CLIENT LIST is not answered");
    const char *at = list->str;
    for (; (at = strstr(at, " name=" CLIENT_NAME " ")); at++)
        count++;
    freeReplyObject(list);
    return count;
}

static void *watch(void *argument) {
    watcher *w = argument;
    redisContext *c = sides_bare();
    while (!atomic_load(&w->over)) {
        int count = count_clients(c);
        if (count > w->most)
            w->most = count;
        w->looks++;
        pause_us(2000);
    }
    redisFree(c);
    return NULL;
}

static void compare_load(bench *b, int64_t full) {
    char id[16], work[64], peer_name[32];
    const char *s = b->threads == 1 ? "" : "s";
    snprintf(id, sizeof id, "E8-%lld-%dt", (long long)full, b->threads);
    snprintf(work, sizeof work, "%lld RETURN 1, %d thread%s, pool of %d",
             (long long)b->count, b->threads, s, SMALL_POOL);
    snprintf(peer_name, sizeof peer_name, "hiredis, %d thread%s", b->threads,
             s);
    bench_compare(&(bench_row){.id = id, .work = work, .unit = "queries/s",
        .peer = peer_name, .at_least = 0.97}, pooled, own, b,
        bench_quick() || b->count > 2000 ? 5 : 15);
}

static void compare_anew(bench *b) {
    char id[16], work[64];
    snprintf(id, sizeof id, "E8-anew-%dt", b->threads);
    snprintf(work, sizeof work, "%lld RETURN 1, %d thread%s, pool of %d",
             (long long)b->count, b->threads, b->threads == 1 ? "" : "s",
             SMALL_POOL);
    bench_compare(&(bench_row){.id = id, .work = work,
        .unit = "queries/s", .peer = "connection per query"}, pooled, anew, b,
        5);
}

/* What the pool's five connections can do at most, by as many threads. */
static double own_five(void *context) {
    bench *b = context;
    int threads = b->threads;
    b->threads = SMALL_POOL;
    double found = own(b);
    b->threads = threads;
    return found;
}

static void compare_five(bench *b, int64_t full) {
    char id[16], work[64];
    snprintf(id, sizeof id, "E8-%lld-of5", (long long)full);
    snprintf(work, sizeof work, "%lld RETURN 1, %d threads, pool of %d",
             (long long)b->count, b->threads, SMALL_POOL);
    bench_compare(&(bench_row){.id = id, .work = work, .unit = "queries/s",
        .peer = "hiredis, 5 threads"}, pooled, own_five, b,
        bench_quick() || b->count > 2000 ? 5 : 15);
}

static const int crews[] = {1, 5, 10};

static void each_load(bench *b, const int64_t lengths[2], worst *w) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++) {
            b->threads = crews[j];
            b->count = bench_quick() ? lengths[i] / 5 : lengths[i];
            if (w) {
                measure_waits(b, w);
                continue;
            }
            compare_load(b, lengths[i]);
            if (b->threads > SMALL_POOL)
                compare_five(b, lengths[i]);
            if (i == 0)
                compare_anew(b);
        }
}

static void waits(bench *b, const int64_t lengths[2]) {
    worst found = {0};
    watcher w = {.most = 0};
    falkor_stats stats;
    if (pthread_create(&w.thread, NULL, watch, &w))
        bench_fail("a thread cannot be made");
    each_load(b, lengths, &found);
    atomic_store(&w.over, true);
    pthread_join(w.thread, NULL);
    bench_note("CLIENT LIST was looked at %d times", w.looks);
    falkor_pool_stats(b->pool, &stats);
    bench_value(&(bench_row){.id = "E8-wait", .unit = "ms", .at_most = 1,
        .work = "acquire, average, worst load"}, found.acquire_average_ms);
    bench_value(&(bench_row){.id = "E8-wait-p95", .unit = "ms", .at_most = 5,
        .work = "acquire, p95, worst load"}, found.acquire_p95_ms);
    bench_value(&(bench_row){.id = "E8-query-p95", .unit = "ms", .at_most = 4,
        .work = "query with its wait, p95, worst load"}, found.query_p95_ms);
    bench_value(&(bench_row){.id = "E8-clients", .unit = "connections",
        .work = "most in CLIENT LIST, pool of 5", .at_most = SMALL_POOL},
        w.most);
    bench_value(&(bench_row){.id = "E8-health", .unit = "%", .at_most = 1,
        .work = "health failures of all acquires"},
        100.0 * (double)stats.health_failures / (double)stats.acquires);
}

static void loads(void) {
    const char *text = getenv("ITERATIONS");
    int64_t lengths[] = {1000, text ? strtoll(text, NULL, 10) : 10000};
    if (lengths[1] < 100 || lengths[1] > MOST_TIMES)
        bench_fail("ITERATIONS=%s: 100 to %d", text, MOST_TIMES);
    bench *b = make(SMALL_POOL);
    sides_make_graph(b->graph);
    bench_about(b->pool);
    b->acquire_ms = malloc(MOST_TIMES * sizeof(double));
    b->query_ms = malloc(MOST_TIMES * sizeof(double));
    for (int i = 0; i < crews[2]; i++)
        b->bare[i] = sides_bare();
    each_load(b, lengths, NULL);
    waits(b, lengths);
    for (int i = 0; i < crews[2]; i++)
        redisFree(b->bare[i]);
    free(b->acquire_ms);
    free(b->query_ms);
    drop(b);
}

/* ---- E12: what the pool says of itself --------------------------------- */

/* A load beside which the main thread looks at the statistics. */
typedef struct watched {
    load load;
    atomic_bool over;
    pthread_t thread;
} watched;

static void *run_watched(void *argument) {
    watched *w = argument;
    load_run(&w->load);
    atomic_store(&w->over, true);
    return NULL;
}

/* The highest figures seen while it ran, looked for each half millisecond. */
static falkor_stats highest(bench *b, watched *w) {
    falkor_stats most = {0}, now;
    if (pthread_create(&w->thread, NULL, run_watched, w))
        bench_fail("a thread cannot be made");
    while (!atomic_load(&w->over)) {
        falkor_pool_stats(b->pool, &now);
        if (now.active > most.active)
            most.active = now.active;
        if (now.waiting > most.waiting)
            most.waiting = now.waiting;
        most.utilization_percent = larger(most.utilization_percent,
                                          now.utilization_percent);
        pause_us(500);
    }
    pthread_join(w->thread, NULL);
    return most;
}

static double ask_slowly(void *context, int thread) {
    const bench *b = context;
    (void)thread;
    return sides_query(b->graph, "UNWIND range(1, 50000) AS i RETURN sum(i)");
}

static void ten_at_once(void) {
    bench *b = make(20);
    watched w = {.load = {.threads = 10, .count = 10, .job = ask_slowly,
                          .context = b}};
    bench_value(&(bench_row){.id = "E12-active", .unit = "connections",
        .work = "most in use, 10 queries at once", .at_least = 10},
        highest(b, &w).active);
    drop(b);
}

static void fifty_through_twenty(void) {
    int64_t count = bench_short(20000);
    bench *b = make(20);
    watched w = {.load = {.threads = 50, .count = count, .job = ask_pool,
                          .context = b}};
    falkor_stats most = highest(b, &w);
    bench_value(&(bench_row){.id = "E12-complete", .unit = "%",
        .work = "completed, 50 threads, pool of 20", .at_least = 100},
        100.0 * w.load.sum / (double)count);    /* each has read a 1 */
    bench_value(&(bench_row){.id = "E12-most", .unit = "connections",
        .work = "most in use, the same", .at_most = 20}, most.active);
    drop(b);
}

/* Each thread lies in wait in the order of its number; then one connection goes
   round, and each notes which turn was its. */
typedef struct queue {
    bench *bench;
    atomic_int turn;
    int got[50];
} queue;
typedef struct waiter {
    queue *queue;
    int number;
    pthread_t thread;
} waiter;

static void *lie_in_wait(void *argument) {
    waiter *w = argument;
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire(w->queue->bench->pool, &conn, &error))
        bench_fail("%s", error.message);
    w->queue->got[w->number] = atomic_fetch_add(&w->queue->turn, 1);
    falkor_release(conn);
    return NULL;
}

static void await_waiting(bench *b, int count) {
    falkor_stats stats;
    do {
        pause_us(200);
        falkor_pool_stats(b->pool, &stats);
    } while (stats.waiting < count);
}

static void in_order(void) {
    bench *b = make(1);
    queue q = {.bench = b};
    waiter waiters[50];
    falkor_conn *conn;
    int right = 0;
    if (falkor_acquire(b->pool, &conn, NULL))
        bench_fail("no connection");
    for (int i = 0; i < 50; i++) {
        waiters[i] = (waiter){.queue = &q, .number = i};
        if (pthread_create(&waiters[i].thread, NULL, lie_in_wait, &waiters[i]))
            bench_fail("a thread cannot be made");
        await_waiting(b, i + 1);
    }
    falkor_release(conn);
    for (int i = 0; i < 50; i++)
        pthread_join(waiters[i].thread, NULL);
    for (int i = 0; i < 50; i++)
        right += q.got[i] == i;
    bench_value(&(bench_row){.id = "E12-order", .unit = "%", .at_least = 100,
        .work = "granted in their order, 50 waiters"}, 100.0 * right / 50);
    drop(b);
}

/* Thinks first: users do not all come at the same moment. */
static double think_and_ask(void *context, int thread) {
    pause_us(40000 + thread * 400);
    return ask_pool(context, thread);
}

static void with_think_time(void) {
    bench *b = make(50);
    watched w = {.load = {.threads = 50, .job = think_and_ask, .context = b,
                          .span_ns = bench_short(2000000000)}};
    bench_value(&(bench_row){.id = "E12-thinking", .unit = "%", .at_most = 80,
        .work = "most utilisation, 50 threads that think"},
        highest(b, &w).utilization_percent);
    drop(b);
}

typedef struct exhausted {
    bench *bench;
    atomic_int failures, wrong;
    double late_ms[20];
} exhausted;

static double fail_to_ask(void *context, int thread) {
    exhausted *e = context;
    falkor_error error;
    int64_t begin = falkor_now_ns();
    falkor_status status = falkor_ro_query(e->bench->graph, QUERY, NULL, NULL,
                                           &error);
    e->late_ms[thread] = (double)(falkor_now_ns() - begin) / 1e6 - 200;
    atomic_fetch_add(status == FALKOR_ERR_POOL_TIMEOUT ? &e->failures
                                                       : &e->wrong, 1);
    return 0;
}

static void exhaust(void) {
    bench *b = make(2);
    exhausted e = {.bench = b};
    falkor_options options = bench_options();
    options.max_size = 2;
    options.pool_timeout_ms = 200;
    falkor_pool_free(b->pool);
    b->pool = bench_pool(&options);
    b->graph = falkor_select_graph(b->pool, SIDES_GRAPH);
    falkor_conn *held[2];
    if (falkor_acquire(b->pool, &held[0], NULL) ||
        falkor_acquire(b->pool, &held[1], NULL))
        bench_fail("no connection");
    watched w = {.load = {.threads = 20, .count = 20, .job = fail_to_ask,
                          .context = &e}};
    falkor_stats most = highest(b, &w), stats;
    falkor_pool_stats(b->pool, &stats);
    bench_value(&(bench_row){.id = "E12-waiting", .unit = "threads",
        .work = "most waiting, 20 at an exhausted pool", .at_least = 20},
        most.waiting);
    bench_value(&(bench_row){.id = "E12-timeouts", .unit = "%",
        .work = "acquire_timeouts counted, of 20 such calls", .at_least = 100},
        e.wrong || stats.acquire_timeouts > 20 ? 0
            : 100.0 * (double)stats.acquire_timeouts / e.failures);
    bench_sort(e.late_ms, 20);
    bench_value(&(bench_row){.id = "E12-late", .unit = "ms",
        .work = "the latest of them behind its 200 ms"}, e.late_ms[19]);
    falkor_release(held[0]);
    falkor_release(held[1]);
    drop(b);
}

/* ---- E13: health checks ------------------------------------------------ */

static double check_p95(falkor__config *config, void *link,
                        falkor_check_level level, int64_t count) {
    double *ms = malloc((size_t)count * sizeof *ms);
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = falkor_now_ns();
        if (falkor__link_driver.check(config, link, level,
                                      begin + 1000000000))
            bench_fail("a health check fails");
        ms[i] = (double)(falkor_now_ns() - begin) / 1e6;
    }
    double found = p95(ms, count);
    free(ms);
    return found;
}

/* The built-in driver's own checks, on a connection of its own. */
static void checks(void) {
    falkor_options options = bench_options();
    options.graph = SIDES_GRAPH;        /* one that is there */
    falkor__config config;
    falkor_error error;
    void *link;
    if (falkor__config_make(&options, &config, &error) ||
        falkor__link_driver.open(&config, falkor_now_ns() + 5000000000, &link,
                                 &error))
        bench_fail("%s", error.message);
    bench_value(&(bench_row){.id = "E13-fast", .unit = "ms", .at_most = 1,
        .work = "FAST check, p95"}, check_p95(&config, link,
        FALKOR_CHECK_FAST, bench_short(20000)));
    bench_value(&(bench_row){.id = "E13-medium", .unit = "ms", .at_most = 50,
        .work = "MEDIUM check, p95"}, check_p95(&config, link,
        FALKOR_CHECK_MEDIUM, bench_short(3000)));
    bench_value(&(bench_row){.id = "E13-deep", .unit = "ms", .at_most = 200,
        .work = "DEEP check, p95"}, check_p95(&config, link,
        FALKOR_CHECK_DEEP, bench_short(3000)));
    falkor__link_driver.close(&config, link);
    falkor__config_free(&config);
}

static falkor_pool *checking_pool(int validate_after_ms, falkor_graph **graph) {
    falkor_options options = bench_options();
    options.min_size = options.max_size = 1;
    options.validate_after_ms = validate_after_ms;
    falkor_pool *pool = bench_pool(&options);
    *graph = falkor_select_graph(pool, SIDES_GRAPH);
    return pool;
}

/* A query after a pause of 12 ms, whose connection is checked by PING first,
   and one that is not: what a caller waits longer. */
static void overhead(void) {
    enum { MOST = 60 };
    falkor_graph *graphs[2];
    falkor_pool *pools[] = {checking_pool(1, &graphs[0]),
                            checking_pool(-1, &graphs[1])};
    double ms[2][MOST];
    int count = (int)bench_short(MOST);
    for (int i = 0; i < count * 2; i++) {
        pause_us(12000);
        int64_t begin = falkor_now_ns();
        sides_query(graphs[i % 2], QUERY);
        ms[i % 2][i / 2] = (double)(falkor_now_ns() - begin) / 1e6;
    }
    bench_value(&(bench_row){.id = "E13-overhead", .unit = "ms", .at_most = 10,
        .work = "a query that is checked before, longer by"},
        bench_median(ms[0], count) - bench_median(ms[1], count));
    falkor_pool_free(pools[0]);
    falkor_pool_free(pools[1]);
}

int main(void) {
    loads();
    ten_at_once();
    fifty_through_twenty();
    in_order();
    with_think_time();
    exhaust();
    checks();
    overhead();
    return 0;
}
