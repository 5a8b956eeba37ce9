/* What is counted and timed, on a clock that stands still but for what the test
   adds: each wait, hold, dial, check and query takes exactly the time that the
   script says, so that every figure is known. Then the forms it is put into,
   the verdict on it, and tracing. */
#include "fake.h"
#include "serving.h"
#include "../books.h"
#include "../snapshot.h"
#include <cjson/cJSON.h>
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

/* ---- the clock ---------------------------------------------------------- */

#define MS INT64_C(1000000)             /* in nanoseconds */

static _Atomic int64_t script_ns;       /* 0: the clock is the system's */

/* In the place of the C library's, for the library too. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    int64_t is = atomic_load(&script_ns);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    if (!is || (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE))
        return real(clock, now);
    *now = (struct timespec){is / 1000000000, is % 1000000000};
    return 0;
}

/* From now on it stands; so does every wait of the test's own for a condition,
   which the alarm ends. */
static void stand_still(void) {
    alarm(TEST_PATIENCE_MS / 1000 * 2);
    atomic_store(&script_ns, falkor_now_ns());
}

static void pass(int64_t ns) {
    atomic_fetch_add(&script_ns, ns);
}

static void go_on(void) {
    atomic_store(&script_ns, 0);
    alarm(0);
}

/* ---- helpers ------------------------------------------------------------ */

static fake f;
static falkor_driver real;              /* the fake's own functions */
static falkor_pool *pool;
static falkor_conn *filled;             /* see fill */
static int64_t dial_ns, check_ns;       /* how long these take */

static falkor_status slow_open(void *ctx, int64_t deadline_ns, void **handle,
                               falkor_error *error) {
    pass(dial_ns);
    return real.open(ctx, deadline_ns, handle, error);
}

static falkor_status slow_check(void *ctx, void *handle,
                                falkor_check_level level,
                                int64_t deadline_ns) {
    if (level != FALKOR_CHECK_FAST)
        pass(check_ns);
    return real.check(ctx, handle, level, deadline_ns);
}

static falkor_options begin(int min_size, int max_size) {
    fake_begin(&f);
    real = f.driver;
    f.driver.open = slow_open;
    f.driver.check = slow_check;
    dial_ns = check_ns = 0;
    falkor_options options = fake_options(&f);
    options.min_size = min_size;
    options.max_size = max_size;
    options.pool_timeout_ms = -1;
    options.name = "scripted";
    options.health.window_ms = 0;       /* the default */
    stand_still();
    return options;
}

static void open_pool(falkor_options options) {
    falkor_error error;
    if (falkor_pool_create(&options, &pool, &error))
        fail_msg("create: %s", error.message);
    f.pool = pool;
    if (falkor_pool_open(pool, &error))
        fail_msg("open: %s", error.message);
}

static void end(void) {
    go_on();
    if (filled)
        falkor_release(filled);
    filled = NULL;
    falkor_pool_free(pool);
    pool = NULL;
    fake_end(&f);
    test_no_complaints();
}

static falkor_snapshot *take(void) {
    falkor_snapshot *snapshot;
    falkor_error error;
    if (falkor_snapshot_take(pool, &snapshot, &error))
        fail_msg("snapshot: %s", error.message);
    return snapshot;
}

static falkor_latency latency(falkor_latency_kind kind) {
    falkor_snapshot *snapshot = take();
    falkor_latency found = falkor_snapshot_latency(snapshot, kind);
    falkor_snapshot_free(snapshot);
    return found;
}

static falkor_health health(void) {
    falkor_snapshot *snapshot = take();
    falkor_health found;
    falkor_snapshot_health(snapshot, &found);
    falkor_snapshot_free(snapshot);
    return found;
}

#define assert_near(found, expected, percent)                                  \
    assert_true((found) >= (expected) * (1 - (percent) / 100.0) &&             \
                (found) <= (expected) * (1 + (percent) / 100.0))

/* The figures of a set of times that are known, in milliseconds. */
static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void assert_latency(falkor_latency found, double *times, int count) {
    const double percents[] = {50, 95, 99};
    const double figures[] = {found.p50_ms, found.p95_ms, found.p99_ms};
    double sum = 0;
    qsort(times, (size_t)count, sizeof *times, by_size);
    for (int i = 0; i < count; i++)
        sum += times[i];
    assert_int_equal(found.count, count);
    assert_near(found.average_ms, sum / count, 0.001);
    assert_near(found.max_ms, times[count - 1], 0.001);
    for (int i = 0; i < 3; i++) {
        int rank = (int)(percents[i] * count / 100 + 0.9999);
        assert_near(figures[i], times[rank - 1], 0.8);
    }
}

static void hold_for(int64_t ns) {
    falkor_conn *conn;
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    pass(ns);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

static falkor_graph *begin_server(void);
static void end_server(falkor_graph *graph);
static char *written(falkor_snapshot *const *snapshots, size_t count,
                     falkor_format format);

static bool waits(int count) {
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    return stats.waiting == count;
}

/* ---- times -------------------------------------------------------------- */

/* No time is more than 0.8 % from the middle of its step. */
/* D2 */
static void test_stats_steps_are_fine(void **state) {
    (void)state;
    uint64_t random = test_seed();
    for (int i = 0; i < 1000000; i++) {
        uint64_t ns = test_random(&random) >> (23 + test_below(&random, 41));
        size_t step = falkor__step_of(ns);
        uint64_t first = falkor__step_begin_ns(step);
        uint64_t next = falkor__step_begin_ns(step + 1);
        assert_true(step < FALKOR__STEPS);
        assert_true(first <= ns && ns < next);
        if (ns >= 1024)
            assert_true((double)(next - first) / 2 <= 0.008 * (double)first);
    }
    assert_int_equal(falkor__step_of(0), 0);
    assert_int_equal(falkor__step_of(UINT64_MAX), FALKOR__STEPS - 1);
}

/* D2 */
static void test_stats_holds(void **state) {
    (void)state;
    double times[64];
    open_pool(begin(1, 2));
    for (int i = 0; i < 60; i++) {
        times[i] = (i * 37 % 60 + 1) * 1.5;
        hold_for((int64_t)(times[i] * 1e6));
    }
    assert_latency(latency(FALKOR_LATENCY_HOLD), times, 60);
    end();
}

/* Of many short ones one in 256 is timed, whatever rhythm they have. */
/* D2 */
static void test_stats_holds_are_sampled(void **state) {
    (void)state;
    enum { TIMES = 1000000 };
    open_pool(begin(1, 2));
    for (int i = 0; i < TIMES; i++)
        hold_for((i % 64 < 16 ? 9 : 1) * MS);
    falkor_latency found = latency(FALKOR_LATENCY_HOLD);
    assert_near((double)found.count, TIMES, 0.06);  /* but for those after */
    assert_near(found.average_ms, 3, 10);
    assert_near(found.p50_ms, 1, 0.8);
    assert_near(found.p95_ms, 9, 0.8);
    end();
}

/* One that is timed by chance stands for itself, and those skipped before it
   for the next; as soon as there has been one all are timed. */
/* D2 */
static void test_stats_long_holds_stand_for_themselves(void **state) {
    (void)state;
    enum { TIMES = 20000, LONG = 50 };
    int times = TIMES;
    open_pool(begin(1, 1));
    const falkor__slot *slot = &pool->slots[0];
    for (int i = 0; i < TIMES; i++)
        hold_for(MS);
    for (; atomic_load(&slot->acquires) + 1 != slot->timed_next; times++)
        hold_for(MS);
    hold_for(3000 * MS);
    falkor_latency found = latency(FALKOR_LATENCY_HOLD);
    assert_near((double)found.count, times, 3);
    assert_near(found.average_ms * (double)found.count, times + 3000, 3);
    assert_true(found.max_ms == 3000);
    for (int i = 0; i < LONG; i++) {
        hold_for(MS);
        hold_for(4000 * MS);
    }
    found = latency(FALKOR_LATENCY_HOLD);
    assert_int_equal(found.count, times + 1 + 2 * LONG);
    assert_near(found.average_ms * (double)found.count,
                times + 3000 + 4001 * LONG, 0.001);
    end();
}

/* After many short ones, of which few are timed, the worker sees the idle
   connection, and the next long one is not missed. */
/* D2 */
static void test_stats_long_holds_after_a_look(void **state) {
    (void)state;
    falkor_options options = begin(1, 2);
    options.health.window_ms = 600;     /* a look every 11 ms */
    open_pool(options);
    falkor_conn *conn;
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    const falkor__slot *slot = conn->slot;
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    for (int i = 0; i < 20000; i++)
        hold_for(1000);
    bool looked = false;
    for (int i = 0; i < TEST_PATIENCE_MS && !looked; i++) {
        falkor__lock(pool);
        looked = slot->timed_next == 0;
        falkor__unlock(pool);
        if (!looked)
            test_pause_ms(1);
    }
    assert_true(looked);
    hold_for(3000 * MS);
    assert_true(latency(FALKOR_LATENCY_HOLD).max_ms == 3000);
    end();
}

/* Dials, and the acquires that wait for them; the failed ones too. */
/* D2 */
static void test_stats_dials_and_their_waits(void **state) {
    (void)state;
    falkor_options options = begin(-1, 4);
    falkor_conn *held[4];
    double dials[] = {2, 5, 11, 23, 47};
    double waits[] = {0, 0, 5, 11, 23, 47};     /* 0: by opening, and idle */
    dial_ns = 2 * MS;
    open_pool(options);
    assert_int_equal(falkor_acquire(pool, &held[0], NULL), FALKOR_OK);
    for (int i = 1; i < 4; i++) {
        dial_ns = (int64_t)(dials[i] * 1e6);
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    }
    falkor_release(held[3]);
    falkor_pool_drop_idle(pool);
    fake_fail(&f, FAKE_OPEN, 1);
    dial_ns = 47 * MS;
    assert_int_equal(falkor_acquire(pool, &held[3], NULL), FALKOR_ERR_CONNECT);
    assert_latency(latency(FALKOR_LATENCY_DIAL), dials, 5);
    assert_latency(latency(FALKOR_LATENCY_WAIT), waits, 6);
    for (int i = 0; i < 3; i++)
        falkor_release(held[i]);
    end();
}

/* D2 */
static void test_stats_checks(void **state) {
    (void)state;
    falkor_options options = begin(1, 2);
    double checks[] = {4, 8, 16};
    options.validate_after_ms = 1000;
    open_pool(options);
    for (int i = 0; i < 3; i++) {
        pass(2000 * MS);
        assert_true(waits(0));          /* the pockets are empty behind it */
        check_ns = (int64_t)(checks[i] * 1e6);
        hold_for(MS);
    }
    assert_latency(latency(FALKOR_LATENCY_CHECK), checks, 3);
    assert_int_equal(health().seen_well_ms, 1);
    end();
}

static void *acquire_once(void *argument) {
    falkor_conn *conn;
    if (TEST_CHECK(!falkor_acquire(argument, &conn, NULL)))
        TEST_CHECK(!falkor_release(conn));
    return NULL;
}

/* Who waits, and who does not. */
/* D1, D2 */
static void test_stats_waits(void **state) {
    (void)state;
    enum { WAITS = 20 };
    double times[WAITS * 2 + 1] = {0};  /* one is opening's own */
    open_pool(begin(1, 1));
    for (int i = 0; i < WAITS; i++) {
        falkor_conn *conn;
        assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
        pthread_t waiter;
        assert_int_equal(pthread_create(&waiter, NULL, acquire_once, pool), 0);
        while (!waits(1))
            test_pause_ms(1);
        times[i] = (i * 7 % WAITS + 1) * 3;
        pass((int64_t)(times[i] * 1e6));
        falkor_release(conn);
        pthread_join(waiter, NULL);
    }
    assert_latency(latency(FALKOR_LATENCY_WAIT), times, WAITS * 2 + 1);
    test_no_complaints();
    end();
}

/* ---- the verdict -------------------------------------------------------- */

static void assert_reason(const falkor_health *found, int number,
                          falkor_verdict verdict, const char *fault,
                          const char *text) {
    assert_true(number < found->reason_count);
    assert_int_equal(found->reasons[number].verdict, verdict);
    assert_string_equal(found->reasons[number].fault, fault);
    assert_string_equal(found->reasons[number].text, text);
}

/* D4 */
static void test_stats_verdict_of_use(void **state) {
    (void)state;
    falkor_conn *held[20];
    falkor_health found;
    open_pool(begin(1, 20));
    for (int i = 0; i < 16; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    assert_int_equal(health().verdict, FALKOR_HEALTH_OK);   /* 80 % is not over */
    assert_int_equal(falkor_acquire(pool, &held[16], NULL), FALKOR_OK);
    found = health();
    assert_int_equal(found.verdict, FALKOR_HEALTH_WARNING);
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "pool",
                  "connections in use: 85 %, over 80 %");
    for (int i = 17; i < 20; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    found = health();
    assert_int_equal(found.verdict, FALKOR_HEALTH_CRITICAL);
    assert_reason(&found, 0, FALKOR_HEALTH_CRITICAL, "pool",
                  "connections in use: 100 %, over 95 %");
    for (int i = 0; i < 20; i++)
        falkor_release(held[i]);
    assert_int_equal(health().verdict, FALKOR_HEALTH_OK);
    end();
}

/* Use is what all holds of the period come to: those that go on, those that
   began before it, and those of a moment. */
/* D4 */
static void test_stats_average_use(void **state) {
    (void)state;
    falkor_conn *held[3];
    falkor_health found;
    falkor_options options = begin(1, 4);
    options.health.window_ms = 10000;
    open_pool(options);
    for (int i = 0; i < 3; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    pass(500 * MS);
    for (int i = 0; i < 3; i++)
        falkor_release(held[i]);
    found = health();
    assert_near(found.utilization_percent, 75, 0.1);
    pass(500 * MS);
    found = health();
    assert_near(found.utilization_percent, 37.5, 0.1);
    for (int i = 0; i < 60; i++) {
        hold_for(4 * MS);
        pass(1 * MS);
    }
    found = health();                   /* 1.5 and 0.24, of 1.3 seconds */
    assert_near(found.utilization_percent, 100 * 1.74 / 1.3 / 4, 0.1);
    assert_int_equal(falkor_acquire(pool, &held[0], NULL), FALKOR_OK);
    for (int i = 0; i < 1200; i++) {
        pass(50 * MS);
        falkor_snapshot_free(take());
    }
    falkor_release(held[0]);
    found = health();
    assert_near(found.utilization_percent, 25, 0.1);
    end();
}

/* Bare acquires that time out are failures whatever calls have done before. */
/* D4 */
static void test_stats_verdict_of_bare_timeouts(void **state) {
    (void)state;
    enum { REQUESTS = 50 };
    falkor_request requests[REQUESTS];
    falkor_conn *held[2], *none;
    falkor_graph *graph = begin_server();
    const falkor_call_options options = {.timeout_ms = 1};
    for (int i = 0; i < 2; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    for (int i = 0; i < REQUESTS; i++)
        requests[i] = (falkor_request){.graph = graph, .cypher = "RETURN 1"};
    assert_int_equal(falkor_pipeline(pool, &options, requests, REQUESTS, NULL),
                     FALKOR_ERR_POOL_TIMEOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(falkor_acquire_within(pool, i, &none, NULL),
                         FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(health().errors, REQUESTS + 3);
    for (int i = 0; i < 2; i++)
        falkor_release(held[i]);
    end_server(graph);
}

/* What fails before the pool is open counts as long as anything does. */
/* D4 */
static void test_stats_verdict_before_open(void **state) {
    (void)state;
    falkor_options options = {.url = getenv("FALKORDB_URL"), .max_size = 1};
    assert_int_equal(falkor_pool_create(&options, &pool, NULL), FALKOR_OK);
    falkor_graph *graph = falkor_select_graph(pool, "stats");
    for (int i = 0; i < 5; i++)
        assert_int_equal(falkor_ro_query(graph, "RETURN 1", NULL, NULL, NULL),
                         FALKOR_ERR_NOT_OPEN);
    assert_int_equal(health().errors, 5);
    assert_int_equal(health().errors, 5);
    end_server(graph);
}

/* The average wait of all who acquired, of the last minute. */
/* D4 */
static void test_stats_verdict_of_waits(void **state) {
    (void)state;
    falkor_options options = begin(-1, 4);
    falkor_health found;
    dial_ns = 360 * MS;
    open_pool(options);
    falkor_pool_drop_idle(pool);
    hold_for(MS);
    found = health();                   /* 360 ms for one and opening's own */
    assert_int_equal(found.verdict, FALKOR_HEALTH_WARNING);
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "pool",
                  "average wait for a connection: 180 ms, over 100 ms");
    for (int i = 0; i < 4; i++)
        hold_for(MS);
    assert_int_equal(health().verdict, FALKOR_HEALTH_OK);   /* for six */
    dial_ns = 7000 * MS;
    falkor_pool_drop_idle(pool);
    hold_for(MS);
    found = health();
    assert_int_equal(found.verdict, FALKOR_HEALTH_CRITICAL);
    pass(30000 * MS);
    hold_for(MS);
    assert_int_equal(health().verdict, FALKOR_HEALTH_CRITICAL);
    pass(32000 * MS);
    hold_for(MS);
    assert_int_equal(health().verdict, FALKOR_HEALTH_OK);
    end();
}

/* Who still waits has waited so far. */
/* D4 */
static void test_stats_verdict_of_who_still_waits(void **state) {
    (void)state;
    falkor_conn *held;
    pthread_t waiter;
    open_pool(begin(1, 1));
    assert_int_equal(falkor_acquire(pool, &held, NULL), FALKOR_OK);
    assert_int_equal(pthread_create(&waiter, NULL, acquire_once, pool), 0);
    while (!waits(1))
        test_pause_ms(1);
    pass(1800 * MS);
    falkor_health found = health();     /* one of three */
    assert_reason(&found, 1, FALKOR_HEALTH_CRITICAL, "pool",
                  "average wait for a connection: 600 ms, over 500 ms");
    pass(600000 * MS);
    found = health();                   /* alone in the last minute */
    assert_near(found.average_wait_ms, 60000, 1);
    falkor_snapshot *snapshot = take();
    char *text = written(&snapshot, 1, FALKOR_FORMAT_POOLS);
    assert_non_null(strstr(text, "      601800  closed"));
    free(text);
    falkor_snapshot_free(snapshot);
    falkor_release(held);
    pthread_join(waiter, NULL);
    test_no_complaints();
    end();
}

/* Without a period all counts that has happened since the pool was made; with
   one, what was before it does not. */
/* D4 */
static void test_stats_verdict_without_a_period(void **state) {
    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        falkor_options options = begin(-1, 4);
        options.health.window_ms = whole ? -1 : 0;
        dial_ns = 7000 * MS;
        open_pool(options);
        falkor_pool_drop_idle(pool);
        hold_for(MS);
        for (int i = 0; i < 3; i++) {
            pass(3600000 * MS);
            hold_for(MS);
            falkor_snapshot_free(take());
        }
        falkor_health found = health();
        assert_int_equal(found.verdict, whole ? FALKOR_HEALTH_CRITICAL
                                              : FALKOR_HEALTH_OK);
        assert_near(found.window_ms, whole ? 3 * 3600000 : 3600000, 1);
        assert_true(found.utilization_percent < 0.001); /* 4 ms of hours */
        end();
    }
}

/* Each limit can be set, and switched off. */
/* D4 */
static void test_stats_verdict_limits_are_options(void **state) {
    (void)state;
    falkor_options options = begin(1, 4);
    falkor_conn *held[4];
    options.health = (falkor_thresholds){.utilization_warning = 20,
                                         .utilization_critical = -1};
    open_pool(options);
    assert_int_equal(falkor_acquire(pool, &held[0], NULL), FALKOR_OK);
    falkor_health found = health();
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "pool",
                  "connections in use: 25 %, over 20 %");
    for (int i = 1; i < 4; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    assert_int_equal(health().verdict, FALKOR_HEALTH_WARNING);
    for (int i = 0; i < 4; i++)
        falkor_release(held[i]);
    falkor_pool_pause(pool);
    found = health();
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "program",
                  "the pool is paused");
    falkor_pool_close(pool, -1);
    found = health();
    assert_reason(&found, 0, FALKOR_HEALTH_CRITICAL, "program",
                  "the pool was closed");
    end();
}

/* ---- several snapshots --------------------------------------------------- */

/* D2 */
static void test_stats_add_and_subtract(void **state) {
    (void)state;
    double first[10], both[20];
    falkor_error error;
    open_pool(begin(1, 4));
    for (int i = 0; i < 10; i++) {
        first[i] = both[i] = i + 1;
        hold_for((i + 1) * MS);
    }
    falkor_snapshot *before = take();
    for (int i = 10; i < 20; i++) {
        both[i] = i * 20;
        hold_for(i * 20 * MS);
    }
    falkor_snapshot *now = take();
    falkor_snapshot_subtract(now, before);
    falkor_latency found = falkor_snapshot_latency(now, FALKOR_LATENCY_HOLD);
    assert_int_equal(found.count, 10);
    assert_near(found.p50_ms, 280, 0.8);
    assert_near(found.max_ms, 380, 0.001);
    assert_int_equal(falkor_snapshot_stats(now)->acquires, 10);
    assert_int_equal(falkor_snapshot_stats(now)->max_size, 4);
    assert_int_equal(falkor_snapshot_add(now, before, &error), FALKOR_OK);
    assert_latency(falkor_snapshot_latency(now, FALKOR_LATENCY_HOLD), both,
                   20);
    assert_int_equal(falkor_snapshot_stats(now)->acquires, 20 + 1);
    assert_int_equal(falkor_snapshot_stats(now)->max_size, 8);
    assert_latency(falkor_snapshot_latency(before, FALKOR_LATENCY_HOLD), first,
                   10);
    assert_int_equal(falkor_snapshot_add(now, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    falkor_snapshot_free(before);
    falkor_snapshot_free(now);
    end();
}

/* What is subtracted need not be of the same pools: nothing falls below 0, and
   the sum is the sum. */
/* D2 */
static void test_stats_subtract_another(void **state) {
    (void)state;
    falkor_graph *graph = begin_server();
    assert_int_equal(falkor_ro_query(graph, "RETURN", NULL, NULL, NULL),
                     FALKOR_ERR_QUERY);
    falkor_snapshot *now = take();
    end_server(graph);
    graph = begin_server();
    for (int i = 0; i < 9; i++)
        serving_run(graph, "RETURN 1");
    falkor_snapshot *other = take();
    end_server(graph);
    falkor_snapshot_subtract(now, other);
    assert_int_equal(falkor_snapshot_stats(now)->queries, 1);
    assert_int_equal(falkor_snapshot_stats(now)->errors[FALKOR_OK], 0);
    char *json = written(&now, 1, FALKOR_FORMAT_JSON);
    assert_non_null(strstr(json, "\"errors_total\":1,"));
    free(json);
    falkor_snapshot_free(now);
    falkor_snapshot_free(other);
}

/* ---- forms --------------------------------------------------------------- */

typedef struct heap_text { char *bytes; size_t length; } heap_text;

static bool append(void *ctx, const char *bytes, size_t length) {
    heap_text *to = ctx;
    to->bytes = realloc(to->bytes, to->length + length + 1);
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
    to->bytes[to->length] = '\0';
    return true;
}

static char *written(falkor_snapshot *const *snapshots, size_t count,
                     falkor_format format) {
    heap_text to = {NULL, 0};
    assert_int_equal(falkor_snapshot_write(
        (const falkor_snapshot *const *)snapshots, count, format, append, &to),
        FALKOR_OK);
    return to.bytes;
}

static double number(const cJSON *in, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, name);
    if (!item)
        fail_msg("the document has no %s", name);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : item->valuedouble;
}

/* Ten holds that have ended, and one that goes on. */
static void fill(void) {
    for (int i = 0; i < 10; i++)
        hold_for((i + 1) * MS);
    assert_int_equal(falkor_acquire(pool, &filled, NULL), FALKOR_OK);
    pass(500 * MS);
}

/* Every name that monitoring expects, and each with its figure. */
/* D3 */
static void test_stats_json(void **state) {
    (void)state;
    static const char *const names[] = {"max_connections", "pool_size",
        "active_connections", "idle_connections", "utilization_percent",
        "total_queries", "total_retries", "total_acquires", "total_releases",
        "total_timeouts", "total_health_failures", "connections_created",
        "connections_recycled", "connections_failed", "avg_wait_time_ms",
        "p95_acquire_time_ms", "max_acquire_time_ms", "initialized", "closed"};
    falkor_options options = begin(2, 4);
    options.name = "a \"pool\"\n\xff";
    open_pool(options);
    fill();
    falkor_snapshot *snapshot = take();
    char *json = written(&snapshot, 1, FALKOR_FORMAT_JSON);
    cJSON *document = cJSON_Parse(json);
    assert_non_null(document);
    const cJSON *in = cJSON_GetObjectItemCaseSensitive(document, "pool");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        number(in, names[i]);
    assert_string_equal(cJSON_GetObjectItem(in, "name")->valuestring,
                        "a \"pool\"\n\xEF\xBF\xBD");
    assert_true(number(in, "max_connections") == 4);
    assert_true(number(in, "pool_size") == 2);
    assert_true(number(in, "active_connections") == 1);
    assert_true(number(in, "idle_connections") == 1);
    assert_true(number(in, "utilization_percent") == 25);
    assert_true(number(in, "total_acquires") == 12);     /* and opening's */
    assert_true(number(in, "total_releases") == 11);
    assert_true(number(in, "initialized") == 1);
    in = cJSON_GetObjectItem(cJSON_GetObjectItem(document, "latency"), "hold");
    assert_true(number(in, "count") == 10);
    assert_near(number(in, "avg_ms"), 5.5, 0.001);
    assert_near(number(in, "p95_ms"), 10, 0.8);
    in = cJSON_GetObjectItem(document, "health");
    assert_string_equal(cJSON_GetObjectItem(in, "verdict")->valuestring, "OK");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(document,
                     "connections")), 2);
    cJSON_Delete(document);
    free(json);
    falkor_snapshot *two[] = {snapshot, snapshot};
    json = written(two, 2, FALKOR_FORMAT_JSON);
    document = cJSON_Parse(json);
    assert_int_equal(cJSON_GetArraySize(document), 2);
    cJSON_Delete(document);
    free(json);
    falkor_snapshot_free(snapshot);
    end();
}

/* The same bytes where a comma is the decimal mark. */
/* D3 */
static void test_stats_forms_know_no_locale(void **state) {
    (void)state;
    open_pool(begin(2, 4));
    fill();
    falkor_snapshot *snapshot = take();
    for (int format = FALKOR_FORMAT_JSON; format <= FALKOR_FORMAT_MEM;
         format++) {
        char *plain = written(&snapshot, 1, (falkor_format)format);
        serving_comma();
        char *other = written(&snapshot, 1, (falkor_format)format);
        serving_comma_back();
        assert_string_equal(plain, other);
        free(plain);
        free(other);
    }
    falkor_snapshot_free(snapshot);
    end();
}

/* The value of the one sample that begins so. */
static double sample(const char *text, const char *begin) {
    const char *at = strstr(text, begin);
    if (!at)
        fail_msg("no sample %s", begin);
    assert_true(at[-1] == '\n');
    at = strstr(at, "} ");
    return strtod(at + 2, NULL);
}

/* What promtool would say, and that the figures are there; check_metrics
   asks promtool itself. */
/* D3 */
static void test_stats_prometheus(void **state) {
    (void)state;
    open_pool(begin(2, 4));
    fill();
    falkor_snapshot *snapshot = take();
    char *text = written(&snapshot, 1, FALKOR_FORMAT_PROMETHEUS);
    const char *labels = "{pool=\"scripted\",graph=\"\"";
    char name[200];
#define SAMPLE(family, more) (snprintf(name, sizeof name, \
    "falkorpool_" family "%s" more, labels), sample(text, name))
    assert_true(SAMPLE("max_connections", "}") == 4);
    assert_true(SAMPLE("connections", ",state=\"active\"}") == 1);
    assert_true(SAMPLE("utilization_ratio", "}") == 0.25);
    assert_true(SAMPLE("acquires_total", "}") == 12);
    assert_true(SAMPLE("hold_seconds_count", "}") == 10);
    assert_near(SAMPLE("hold_seconds_sum", "}"), 0.055, 0.001);
    assert_true(SAMPLE("hold_seconds_bucket", ",le=\"+Inf\"}") == 10);
    assert_true(SAMPLE("hold_seconds_bucket", ",le=\"0.004194304\"}") == 4);
    assert_true(SAMPLE("health_verdict", "}") == 0);
    free(text);
    snapshot->stats.acquires = 123456789012345;     /* of years */
    strcpy(snapshot->pool, "a\"b\\c\xff\n");
    labels = "{pool=\"a\\\"b\\\\c?\\n\",graph=\"\"";
    text = written(&snapshot, 1, FALKOR_FORMAT_PROMETHEUS);
    assert_true(SAMPLE("acquires_total", "}") == 123456789012345.0);
    free(text);
    snapshot->times[FALKOR_LATENCY_HOLD].sum_ns = UINT64_C(12) << 60;
    text = written(&snapshot, 1, FALKOR_FORMAT_PROMETHEUS);
    assert_near(SAMPLE("hold_seconds_sum", "}"), 13835058055.282, 1e-9);
    free(text);
    const falkor_snapshot *const alike[] = {snapshot, snapshot};
    assert_int_equal(falkor_snapshot_write(alike, 2, FALKOR_FORMAT_PROMETHEUS,
                                           append, NULL), FALKOR_ERR_ARGUMENT);
    strcpy(snapshot->pool, "a\x1b[2J\nb\x7f");
    text = written(&snapshot, 1, FALKOR_FORMAT_POOLS);
    assert_non_null(strstr(text, "\na [2J b   "));
    free(text);
    falkor_snapshot_free(snapshot);
    end();
}

/* D3 */
static void test_stats_tables(void **state) {
    (void)state;
    falkor_options options = begin(2, 4);
    options.leak_after_ms = 1000000;
    open_pool(options);
    fill();
    falkor_snapshot *snapshot = take();
    char *table = written(&snapshot, 1, FALKOR_FORMAT_POOLS);
    assert_string_equal(table,
        "pool      active  waiting  idle  connecting  closing  total  max  "
        "use_%  maxwait_ms  circuit  health\n"
        "scripted       1        0     1           0        0      2    4  "
        "   25           0  closed   OK\n");
    free(table);
    table = written(&snapshot, 1, FALKOR_FORMAT_SERVERS);
    assert_non_null(strstr(table, "scripted  active"));
    assert_non_null(strstr(table, "test_stats.c:"));
    free(table);
    table = written(&snapshot, 1, FALKOR_FORMAT_STATS);
    assert_non_null(strstr(table, "\nscripted        0       0        0"));
    free(table);
    table = written(&snapshot, 1, FALKOR_FORMAT_MEM);
    assert_non_null(strstr(table, "statistics_bytes"));
    free(table);
    assert_int_equal(falkor_snapshot_write(NULL, 1, FALKOR_FORMAT_MEM, append,
                                           NULL), FALKOR_ERR_ARGUMENT);
    falkor_snapshot_free(snapshot);
    end();
}

/* ---- nodes of several servers -------------------------------------------- */

/* The sum, a primary, and a replica that is no more than it may be behind. */
static void take_three(falkor_snapshot *all[3]) {
    for (int i = 0; i < 3; i++)
        all[i] = take();
    strcpy(all[1]->node, "db1:6379");
    strcpy(all[2]->node, "[::1]:6380");
    all[1]->of_node = (falkor__node_view){.known = true, .well = true,
        .role = FALKOR_ROLE_PRIMARY, .lag_bytes = -1, .lag_ms = -1,
        .slots = 5461, .max_lag_bytes = 1000, .max_lag_ms = 2000};
    all[2]->of_node = (falkor__node_view){.known = true, .well = true,
        .role = FALKOR_ROLE_REPLICA, .lag_bytes = 1000, .lag_ms = 2000,
        .max_lag_bytes = 1000, .max_lag_ms = 2000};
}

static void free_three(falkor_snapshot *all[3]) {
    for (int i = 0; i < 3; i++)
        falkor_snapshot_free(all[i]);
}

static void test_stats_nodes_for_prometheus(void **state) {
    (void)state;
    falkor_snapshot *all[3];
    char name[200];
    open_pool(begin(2, 4));
    fill();
    take_three(all);
    char *text = written(all, 3, FALKOR_FORMAT_PROMETHEUS);
    const char *labels = "{pool=\"scripted\",graph=\"\"";
    assert_true(SAMPLE("acquires_total", "}") == 12);
    assert_true(strstr(text, "falkorpool_node_primary{pool=\"scripted\","
                             "graph=\"\"}") == NULL);
    labels = "{pool=\"scripted\",graph=\"\",node=\"db1:6379\"";
    assert_true(SAMPLE("acquires_total", "}") == 12);
    assert_true(SAMPLE("connections", ",state=\"active\"}") == 1);
    assert_true(SAMPLE("hold_seconds_bucket", ",le=\"+Inf\"}") == 10);
    assert_true(SAMPLE("node_primary", "}") == 1);
    assert_true(SAMPLE("node_well", "}") == 1);
    assert_true(SAMPLE("node_slots", "}") == 5461);
    assert_null(strstr(text, "falkorpool_node_lag_bytes{pool=\"scripted\","
                             "graph=\"\",node=\"db1"));
    labels = "{pool=\"scripted\",graph=\"\",node=\"[::1]:6380\"";
    assert_true(SAMPLE("node_primary", "}") == 0);
    assert_true(SAMPLE("node_lag_bytes", "}") == 1000);
    assert_true(SAMPLE("node_lag_seconds", "}") == 2);
    free(text);
    text = written(all, 1, FALKOR_FORMAT_PROMETHEUS);
    assert_null(strstr(text, "node"));
    free(text);
    strcpy(all[2]->node, all[1]->node);
    assert_int_equal(falkor_snapshot_write(
        (const falkor_snapshot *const *)all, 3, FALKOR_FORMAT_PROMETHEUS,
        append, NULL), FALKOR_ERR_ARGUMENT);
    free_three(all);
    end();
}

static void test_stats_nodes_as_json(void **state) {
    (void)state;
    falkor_snapshot *all[3];
    open_pool(begin(2, 4));
    take_three(all);
    char *json = written(all, 3, FALKOR_FORMAT_JSON);
    cJSON *document = cJSON_Parse(json);
    const cJSON *sum = cJSON_GetArrayItem(document, 0);
    assert_null(cJSON_GetObjectItem(sum, "node"));
    assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(sum, "pool"), "node"));
    test_assert_has(json, "\"node\":{\"address\":\"db1:6379\",\"role\":"
        "\"primary\",\"well\":true,\"lag_bytes\":null,\"lag_ms\":null,"
        "\"slots\":5461}");
    test_assert_has(json, "\"node\":{\"address\":\"[::1]:6380\",\"role\":"
        "\"replica\",\"well\":true,\"lag_bytes\":1000,\"lag_ms\":2000,"
        "\"slots\":0}");
    assert_string_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(
        cJSON_GetArrayItem(document, 1), "pool"), "node")->valuestring,
        "db1:6379");
    cJSON_Delete(document);
    free(json);
    free_three(all);
    end();
}

static void test_stats_nodes_in_tables(void **state) {
    (void)state;
    falkor_snapshot *all[3];
    open_pool(begin(2, 4));
    fill();
    take_three(all);
    all[2]->of_node.known = false;      /* by falkor_snapshot_take alone */
    char *table = written(all, 3, FALKOR_FORMAT_POOLS);
    assert_string_equal(table,
        "pool      node        role     lag_bytes  lag_ms  active  waiting  "
        "idle  connecting  closing  total  max  use_%  maxwait_ms  circuit  "
        "health\n"
        "scripted  -           -                -       -       1        0  "
        "   1           0        0      2    4     25           0  closed   "
        "OK\n"
        "scripted  db1:6379    primary          -       -       1        0  "
        "   1           0        0      2    4     25           0  closed   "
        "OK\n"
        "scripted  [::1]:6380  -                -       -       1        0  "
        "   1           0        0      2    4     25           0  closed   "
        "OK\n");
    free(table);
    table = written(all, 2, FALKOR_FORMAT_SERVERS);
    test_assert_has(table, "pool      node      state ");
    test_assert_has(table, "\nscripted  db1:6379  active ");
    free(table);
    table = written(all, 2, FALKOR_FORMAT_STATS);
    test_assert_has(table, "\nscripted  db1:6379        0 ");
    free(table);
    table = written(all, 2, FALKOR_FORMAT_MEM);
    test_assert_has(table, "\nscripted  db1:6379  ");
    free(table);
    free_three(all);
    end();
}

static void test_stats_verdict_of_nodes(void **state) {
    (void)state;
    falkor_snapshot *all[3];
    falkor_health found;
    open_pool(begin(2, 4));
    take_three(all);
    for (int i = 0; i < 3; i++) {
        falkor_snapshot_health(all[i], &found);
        assert_int_equal(found.verdict, FALKOR_HEALTH_OK);
    }
    all[1]->of_node.well = all[2]->of_node.well = false;
    falkor_snapshot_health(all[1], &found);
    assert_reason(&found, 0, FALKOR_HEALTH_CRITICAL, "server",
                  "db1:6379 did not answer as a primary when it was asked "
                  "last");
    all[2]->stats.circuit = FALKOR_CIRCUIT_OPEN;    /* others are read from */
    falkor_snapshot_health(all[2], &found);
    assert_int_equal(found.verdict, FALKOR_HEALTH_WARNING);
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "server",
                  "the circuit is open: the server could not be reached");
    all[2]->stats.circuit = FALKOR_CIRCUIT_CLOSED;
    all[2]->of_node.lag_bytes++;
    all[2]->of_node.lag_ms++;
    falkor_snapshot_health(all[2], &found);
    assert_int_equal(found.verdict, FALKOR_HEALTH_WARNING);
    assert_int_equal(found.reason_count, 3);
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "server",
                  "[::1]:6380 did not answer as a replica when it was asked "
                  "last");
    assert_reason(&found, 1, FALKOR_HEALTH_WARNING, "server",
                  "the replica lags: 1001 bytes, over 1000 bytes");
    assert_reason(&found, 2, FALKOR_HEALTH_WARNING, "server",
                  "the replica lags: 2001 ms, over 2000 ms");
    all[2]->of_node.max_lag_bytes = all[2]->of_node.max_lag_ms = -1;
    falkor_snapshot_health(all[2], &found);
    assert_int_equal(found.reason_count, 1);
    all[2]->of_node.role = FALKOR_ROLE_UNKNOWN;
    falkor_snapshot_health(all[2], &found);
    assert_int_equal(found.reason_count, 1);
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "server",
        "[::1]:6380 is gone: it is down, or no node of these any more");
    /* No call goes there, nor has for a while. */
    all[1]->of_node.well = true;
    all[1]->stats.initialized = false;
    all[1]->stats.max_size = 0;
    all[1]->stats.connect_failures = 1;
    all[1]->lately.used = 0.5;
    falkor_snapshot_health(all[1], &found);
    assert_int_equal(found.verdict, FALKOR_HEALTH_OK);
    assert_true(found.utilization_percent == 0);
    free_three(all);
    end();
}

static void test_stats_nodes_added_up(void **state) {
    (void)state;
    falkor_snapshot *all[3];
    open_pool(begin(2, 4));
    take_three(all);
    assert_int_equal(falkor_snapshot_add(all[0], all[1], NULL), FALKOR_OK);
    assert_string_equal(all[0]->node, "");
    assert_int_equal(falkor_snapshot_add(all[1], all[1], NULL), FALKOR_OK);
    assert_string_equal(all[1]->node, "db1:6379");
    assert_int_equal(falkor_snapshot_add(all[1], all[2], NULL), FALKOR_OK);
    assert_string_equal(all[1]->node, "");
    assert_false(all[1]->of_node.known);
    free_three(all);
    end();
}

/* The only server of a pool is no node. */
static void test_stats_of_the_only_node(void **state) {
    (void)state;
    falkor_node_info node;
    falkor_snapshot *snapshot;
    falkor_error error;
    open_pool(begin(2, 4));
    assert_int_equal(falkor_pool_nodes(pool, &node, 1), 1);
    assert_int_equal(falkor_snapshot_take_node(&node, &snapshot, &error),
                     FALKOR_OK);
    assert_string_equal(snapshot->pool, "scripted");
    assert_string_equal(snapshot->node, "");
    assert_false(snapshot->of_node.known);
    falkor_snapshot_free(snapshot);
    assert_int_equal(falkor_snapshot_take_node(NULL, &snapshot, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(snapshot);
    assert_int_equal(falkor_snapshot_take_node(&node, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    end();
}

/* ---- the server ---------------------------------------------------------- */

static int64_t begin_takes_ns;
static falkor_trace last_trace;
static int traces_begun, traces_ended;

static void *trace_begin(void *ctx, const falkor_trace *trace) {
    (void)ctx, (void)trace;
    pass(begin_takes_ns);
    traces_begun++;
    return &traces_begun;
}

static void trace_end(void *ctx, void *span, const falkor_trace *trace) {
    (void)ctx;
    TEST_CHECK(span == &traces_begun);
    last_trace = *trace;
    traces_ended++;
}

static const falkor_tracer tracer = {trace_begin, trace_end};

/* Behind a cursor nobody writes to it, when its connection is asked whether it
   is well. */
/* D6 */
static void test_stats_tracing_leaves_no_trace(void **state) {
    (void)state;
    falkor_options options = {.url = getenv("FALKORDB_URL"), .max_size = 1,
        .tracer = &tracer, .validate_after_ms = 1, .max_retries = -1};
    begin_takes_ns = 0;
    pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "stats");
    serving_run(graph, "MERGE (:Known)");
    for (int whole = 0; whole < 2; whole++) {
        falkor_cursor *cursor;
        const falkor_result *row;
        falkor_cursor_open(graph, &(falkor_call_options){.read_only = true},
            "UNWIND range(1, 9) AS i RETURN i", NULL, &cursor, NULL);
        while (!falkor_cursor_next(cursor, &row, NULL) && row && whole)
            continue;
        falkor_cursor_close(cursor);
        test_pause_ms(20);              /* idle for longer than it may be */
        assert_int_equal(falkor_ro_query(graph, "RETURN 1", NULL, NULL, NULL),
                         FALKOR_OK);
        assert_true(latency(FALKOR_LATENCY_CHECK).count > (uint64_t)whole);
    }
    test_no_complaints();
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    pool = NULL;
}

static falkor_graph *begin_server(void) {
    falkor_options options = {.url = getenv("FALKORDB_URL"), .max_size = 2,
        .tracer = &tracer, .name = "traced", .max_retries = -1};
    begin_takes_ns = 0;
    pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "stats");
    serving_run(graph, "MERGE (:Known)");
    traces_begun = traces_ended = 0;
    return graph;
}

static void end_server(falkor_graph *graph) {
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    pool = NULL;
}

/* Calls are all timed, and a bare hold among them stands for none of them. */
/* D2 */
static void test_stats_holds_of_both_kinds(void **state) {
    (void)state;
    falkor_graph *graph = begin_server();
    for (int i = 0; i < 400; i++)
        assert_int_equal(falkor_ro_query(graph, "RETURN 1", NULL, NULL, NULL),
                         FALKOR_OK);
    hold_for(0);
    falkor_snapshot *snapshot = take();
    assert_int_equal(
        falkor_snapshot_latency(snapshot, FALKOR_LATENCY_HOLD).count,
        falkor_snapshot_stats(snapshot)->acquires - 1);     /* opening's */
    falkor_snapshot_free(snapshot);
    end_server(graph);
}

/* As many times as there are queries, however they end. */
/* D1, D2 */
static void test_stats_queries(void **state) {
    (void)state;
    double times[30];
    falkor_graph *graph = begin_server();
    falkor_ro_query(graph, "RETURN 1", NULL, NULL, NULL);   /* the names */
    falkor_snapshot *before = take();
    stand_still();
    for (int i = 0; i < 30; i++) {
        times[i] = (i * 11 % 30 + 1) * 2;
        begin_takes_ns = (int64_t)(times[i] * 1e6);
        falkor_ro_query(graph, i % 5 ? "RETURN 1" : "RETURN", NULL, NULL,
                        NULL);
    }
    go_on();
    falkor_snapshot *now = take();
    falkor_snapshot_subtract(now, before);
    const falkor_stats *stats = falkor_snapshot_stats(now);
    assert_int_equal(stats->queries, 30);
    assert_int_equal(stats->errors[FALKOR_ERR_QUERY], 6);
    assert_int_equal(stats->errors[FALKOR_OK], 24);
    assert_latency(falkor_snapshot_latency(now, FALKOR_LATENCY_QUERY), times,
                   30);
    falkor_health found;
    falkor_snapshot_health(now, &found);
    assert_int_equal(found.verdict, FALKOR_HEALTH_WARNING);
    assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "program",
                  "calls that failed: 6, over 0");
    assert_string_equal(falkor_verdict_name(found.verdict), "WARNING");
    assert_near(falkor_snapshot_percentile(now, FALKOR_LATENCY_QUERY, 10), 6,
                0.8);
    falkor_snapshot_free(before);
    falkor_snapshot_free(now);
    end_server(graph);
}

/* D6 */
static void test_stats_tracing(void **state) {
    (void)state;
    falkor_graph *graph = begin_server();
    falkor_result *result;
    falkor_ro_query(graph, "UNWIND range(1, 20000) AS i RETURN i", NULL,
                    &result, NULL);
    falkor_result_free(result);
    assert_int_equal(traces_begun, 1);
    assert_int_equal(traces_ended, 1);
    assert_string_equal(last_trace.pool, "traced");
    assert_string_equal(last_trace.graph, "stats");
    assert_memory_equal(last_trace.text, "UNWIND", 6);
    assert_int_equal(last_trace.attempts, 1);
    assert_int_equal(last_trace.rows, 20000);
    assert_true(last_trace.connection > 0);
    assert_true(last_trace.send_ns > 0 && last_trace.receive_ns > 0 &&
                last_trace.decode_ns > 0 && last_trace.wait_ns > 0);
    assert_true(last_trace.total_ns >= last_trace.send_ns +
                last_trace.receive_ns + last_trace.decode_ns +
                last_trace.wait_ns);
    falkor_command(pool, NULL, 2, (const char *[]){"PING", "x"}, NULL, NULL,
                   NULL);
    assert_null(last_trace.graph);
    assert_int_equal(last_trace.length, 4);
    falkor_query(graph, "RETURN", NULL, NULL, NULL);
    assert_int_equal(last_trace.status, FALKOR_ERR_QUERY);
    falkor_request requests[2] = {{.graph = graph, .cypher = "RETURN 1"},
                                  {.graph = graph, .cypher = "RETURN 2"}};
    assert_int_equal(falkor_pipeline(pool, NULL, requests, 2, NULL),
                     FALKOR_OK);
    assert_string_equal(last_trace.text, "PIPELINE");
    assert_true(last_trace.send_ns > 0);
    for (int i = 0; i < 2; i++)
        falkor_result_free(requests[i].result);
    falkor_cursor *cursor;
    falkor_cursor_open(graph, &(falkor_call_options){.read_only = true},
        "UNWIND range(1, 9) AS i RETURN i", NULL, &cursor, NULL);
    const falkor_result *row;
    while (!falkor_cursor_next(cursor, &row, NULL) && row)
        continue;
    falkor_cursor_close(cursor);
    assert_int_equal(last_trace.rows, 9);
    assert_null(last_trace.text);
    assert_int_equal(traces_begun, traces_ended);
    test_no_complaints();
    end_server(graph);
}

/* D3 */
static void test_stats_server_view(void **state) {
    (void)state;
    falkor_graph *graph = begin_server();
    falkor_snapshot *snapshot = take();
    falkor_error error;
    if (falkor_snapshot_ask_server(snapshot, pool, &error))
        fail_msg("%s", error.message);
    char *json = written(&snapshot, 1, FALKOR_FORMAT_JSON);
    cJSON *document = cJSON_Parse(json);
    const cJSON *server = cJSON_GetObjectItem(document, "server");
    assert_non_null(server);
    assert_true(number(server, "connected_clients") >= 1);
    assert_true(number(server, "used_memory_bytes") > 100000);
    assert_true(*cJSON_GetObjectItem(server, "version")->valuestring != '\0');
    cJSON_Delete(document);
    free(json);
    falkor_snapshot_free(snapshot);
    end_server(graph);
}

/* Those of the last minute, as INFO tells of them. */
/* D4 */
static void test_stats_rejected_connections(void **state) {
    (void)state;
    static const int expected[] = {0, 2, 2, 0};
    serving server;
    falkor_health found;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = 1;
    options.health_check_interval_ms = options.idle_timeout_ms = -1;
    pool = serving_pool(&options);
    redisContext *client = serving_client(server.port);
    freeReplyObject(redisCommand(client, "CONFIG SET maxclients 2"));
    stand_still();
    for (int i = 0; i < 4; i++) {
        falkor_snapshot *snapshot = take();
        assert_int_equal(falkor_snapshot_ask_server(snapshot, pool, NULL),
                         FALKOR_OK);
        falkor_snapshot_health(snapshot, &found);
        falkor_snapshot_free(snapshot);
        assert_int_equal(found.reason_count, expected[i] ? 1 : 0);
        if (expected[i])
            assert_reason(&found, 0, FALKOR_HEALTH_WARNING, "server",
                "connections that the server rejects in a minute: 2, over 0");
        for (int refused = 0; i == 0 && refused < 2; refused++)
            free(serving_ask(server.port, "PING"));
        pass((i == 2 ? 61000 : 20000) * MS);
    }
    go_on();
    redisFree(client);
    falkor_pool_free(pool);
    pool = NULL;
    serving_stop(&server);
}

TEST_MAIN(
    cmocka_unit_test(test_stats_steps_are_fine),
    cmocka_unit_test(test_stats_holds),
    cmocka_unit_test(test_stats_holds_are_sampled),
    cmocka_unit_test(test_stats_long_holds_stand_for_themselves),
    cmocka_unit_test(test_stats_long_holds_after_a_look),
    cmocka_unit_test(test_stats_average_use),
    cmocka_unit_test(test_stats_verdict_of_bare_timeouts),
    cmocka_unit_test(test_stats_verdict_before_open),
    cmocka_unit_test(test_stats_subtract_another),
    cmocka_unit_test(test_stats_dials_and_their_waits),
    cmocka_unit_test(test_stats_checks),
    cmocka_unit_test(test_stats_waits),
    cmocka_unit_test(test_stats_verdict_of_use),
    cmocka_unit_test(test_stats_verdict_of_waits),
    cmocka_unit_test(test_stats_verdict_of_who_still_waits),
    cmocka_unit_test(test_stats_verdict_without_a_period),
    cmocka_unit_test(test_stats_verdict_limits_are_options),
    cmocka_unit_test(test_stats_add_and_subtract),
    cmocka_unit_test(test_stats_json),
    cmocka_unit_test(test_stats_forms_know_no_locale),
    cmocka_unit_test(test_stats_prometheus),
    cmocka_unit_test(test_stats_tables),
    cmocka_unit_test(test_stats_nodes_for_prometheus),
    cmocka_unit_test(test_stats_nodes_as_json),
    cmocka_unit_test(test_stats_nodes_in_tables),
    cmocka_unit_test(test_stats_verdict_of_nodes),
    cmocka_unit_test(test_stats_nodes_added_up),
    cmocka_unit_test(test_stats_of_the_only_node),
    cmocka_unit_test(test_stats_holds_of_both_kinds),
    cmocka_unit_test(test_stats_queries),
    cmocka_unit_test(test_stats_tracing),
    cmocka_unit_test(test_stats_tracing_leaves_no_trace),
    cmocka_unit_test(test_stats_server_view),
    cmocka_unit_test(test_stats_rejected_connections))
