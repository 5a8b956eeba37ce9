/* The reserve, the levers (pause, resume, flush, drop_idle) and the tale of
   leaks, on a driver without a server. */
#include "fake.h"
#include "serving.h"
#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MS INT64_C(1000000)             /* in nanoseconds */

static fake f;
static falkor_pool *pool;

/* ---- helpers ---------------------------------------------------------- */

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

static falkor_options begin(int min_size, int max_size) {
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = min_size;
    options.max_size = max_size;
    return options;
}

static falkor_options begin_reserve(int max_size, int reserve, int after_ms) {
    falkor_options options = begin(1, max_size);
    options.reserve_size = reserve;
    options.reserve_after_ms = after_ms;
    return options;
}

static void create(falkor_options options) {
    falkor_error error;
    if (falkor_pool_create(&options, &pool, &error))
        fail_msg("create: %s", error.message);
    f.pool = pool;
}

static void open_pool(falkor_options options) {
    falkor_error error;
    create(options);
    if (falkor_pool_open(pool, &error))
        fail_msg("open: %s", error.message);
}

/* All connections are back, none beyond max_size; the pool leaves nothing. */
static void end(void) {
    falkor_stats now = stats();
    if (!now.closed) {
        assert_int_equal(now.active + now.waiting, 0);
        TEST_EVENTUALLY(stats().idle == stats().total);
        assert_true(stats().idle <= now.max_size);
        assert_int_equal(now.acquires, now.releases);
    }
    assert_true(fake_most_present(&f) <= now.max_size + now.reserve_size);
    falkor_pool_free(pool);
    pool = NULL;
    fake_end(&f);
    test_no_complaints();
}

static falkor_conn *take_within(int timeout_ms) {
    falkor_error error;
    falkor_conn *conn = NULL;
    if (falkor_acquire_within(pool, timeout_ms, &conn, &error))
        fail_msg("acquire: %s", error.message);
    fake_own(conn);
    return conn;
}

static falkor_conn *take(void) {
    return take_within(TEST_PATIENCE_MS);
}

static void give(falkor_conn *conn) {
    fake_disown(conn);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

/* A thread that acquires, and releases at once unless it keeps. */
typedef struct asker {
    int timeout_ms;
    bool keeps;
    falkor_conn *conn;
    falkor_status status;
    falkor_error error;
    int64_t took_ns;
    int place;                  /* in the order of success */
    atomic_bool done;
} asker;
static atomic_int places;

static void *ask(void *argument) {
    asker *self = argument;
    int64_t began_ns = falkor_now_ns();
    self->status = falkor_acquire_within(pool, self->timeout_ms, &self->conn,
                                         &self->error);
    self->took_ns = falkor_now_ns() - began_ns;
    if (!self->status) {
        fake_own(self->conn);
        self->place = atomic_fetch_add(&places, 1);
        if (!self->keeps) {
            fake_disown(self->conn);
            TEST_CHECK(falkor_release(self->conn) == FALKOR_OK);
        }
    } else {
        TEST_CHECK(!self->conn && self->status == self->error.status);
    }
    atomic_store(&self->done, true);
    return NULL;
}

static test_threads start(void *(*run)(void *), void *one) {
    return test_start(run, one, 1, 1);
}

/* Starts one asker after the other, each in line before the next begins. */
static void line_up(asker *askers, test_threads *threads, int count) {
    atomic_store(&places, 0);
    for (int i = 0; i < count; i++) {
        threads[i] = start(ask, &askers[i]);
        TEST_EVENTUALLY(stats().waiting == i + 1);
    }
}

static falkor_status refused(int timeout_ms, falkor_error *error) {
    falkor_conn *conn = (falkor_conn *)&f;
    falkor_status status = falkor_acquire_within(pool, timeout_ms, &conn,
                                                 error);
    assert_int_not_equal(status, FALKOR_OK);
    assert_null(conn);
    return status;
}

typedef struct lever {
    falkor_status (*pull)(falkor_pool *);
    falkor_status status;
    atomic_bool done;
} lever;

static void *pull_run(void *argument) {
    lever *self = argument;
    self->status = self->pull(pool);
    atomic_store(&self->done, true);
    return NULL;
}

static void *open_run(void *argument) {
    asker *self = argument;
    self->status = falkor_pool_open(pool, &self->error);
    return NULL;
}

static void *give_run(void *argument) {
    fake_disown(argument);
    TEST_CHECK(falkor_release(argument) == FALKOR_OK);
    return NULL;
}

/* ---- reserve ---------------------------------------------------------- */

/* A13 */
static void test_levers_reserve_at_once(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *held[4];
    open_pool(begin_reserve(2, 2, 0));
    assert_int_equal(stats().reserve_size, 2);
    for (int i = 0; i < 4; i++)
        held[i] = take_within(0);
    assert_int_equal(refused(0, &error), FALKOR_ERR_POOL_TIMEOUT);
    test_assert_has(error.message, "4 of 4 in use");
    assert_int_equal(stats().total, 4);
    for (int i = 0; i < 4; i++) {
        give(held[i]);
        assert_int_equal(stats().total, i == 0 ? 3 : 2);
    }
    fake_event event;
    assert_int_equal(fake_event_count(&f, "connection_recycled"), 2);
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=reserve");
    assert_int_equal(stats().connections_recycled, 2);
    end();
}

/* A13 */
static void test_levers_reserve_after_its_time(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin_reserve(1, 1, 200));
    falkor_conn *held = take();
    assert_int_equal(refused(0, &error), FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(refused(50, &error), FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    asker waiting = {.timeout_ms = -1, .keeps = true};
    ask(&waiting);
    assert_int_equal(waiting.status, FALKOR_OK);
    assert_true(waiting.took_ns >= 200 * MS && waiting.took_ns < 1200 * MS);
    assert_int_equal(stats().total, 2);
    give(waiting.conn);
    assert_int_equal(stats().total, 1);
    give(held);
    end();
}

/* Who has room does not wait for the reserve, and the reserve is no room for
   who need not wait. */
/* A13 */
static void test_levers_reserve_is_for_who_waits(void **state) {
    (void)state;
    open_pool(begin_reserve(2, 1, 60000));
    falkor_conn *held[] = {take_within(0), take_within(0)};
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    test_pause_ms(50);
    assert_false(atomic_load(&waiting.done));
    give(held[0]);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_OK);
    assert_int_equal(fake_opened(&f), 2);
    give(waiting.conn);
    give(held[1]);
    end();
}

/* Three wait, the reserve has two; the third waits on and gets what comes
   back, though its time is over too. */
/* A13, A4 */
static void test_levers_reserve_goes_in_order(void **state) {
    (void)state;
    asker waiting[3] = {{0}};
    test_threads threads[3];
    falkor_error error;
    open_pool(begin_reserve(1, 2, 1000));      /* all three stand in line */
    falkor_conn *held = take();
    for (int i = 0; i < 3; i++)
        waiting[i] = (asker){.timeout_ms = -1, .keeps = true};
    line_up(waiting, threads, 3);
    test_join(&threads[0]);
    test_join(&threads[1]);
    assert_int_equal(waiting[0].status + waiting[1].status, FALKOR_OK);
    assert_true(waiting[0].took_ns >= 1000 * MS);
    assert_true(waiting[1].took_ns >= 1000 * MS);
    test_pause_ms(200);
    assert_int_equal(stats().waiting, 1);
    assert_int_equal(stats().total, 3);
    assert_int_equal(refused(0, &error), FALKOR_ERR_POOL_TIMEOUT);
    give(waiting[0].conn);
    test_join(&threads[2]);
    assert_int_equal(waiting[2].status, FALKOR_OK);
    assert_int_equal(fake_opened(&f), 3);
    give(waiting[2].conn);
    give(waiting[1].conn);
    give(held);
    assert_int_equal(stats().total, 1);
    end();
}

/* The reserve was used up when the waiter's time came: a slot that is free
   later is his all the same. */
/* A13 */
static void test_levers_reserve_freed_later(void **state) {
    (void)state;
    open_pool(begin_reserve(1, 1, 100));
    falkor_conn *held[] = {take(), take()};
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    test_pause_ms(200);
    falkor_conn_mark_broken(held[1]);
    give(held[1]);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_OK);
    assert_int_equal(fake_of(waiting.conn)->id, 3);
    assert_int_equal(stats().total, 2);
    give(waiting.conn);
    give(held[0]);
    end();
}

/* A failed dial in the reserve: the next tries himself, nobody is forgotten. */
/* A13, A6 */
static void test_levers_reserve_dial_fails(void **state) {
    (void)state;
    asker waiting[3] = {{0}};
    test_threads threads[3];
    open_pool(begin_reserve(1, 1, 50));
    falkor_conn *held = take();
    for (int i = 0; i < 3; i++)
        waiting[i] = (asker){.timeout_ms = -1, .keeps = true};
    fake_shut(&f, FAKE_OPEN);
    atomic_store(&places, 0);
    threads[0] = start(ask, &waiting[0]);
    fake_await_inside(&f, FAKE_OPEN, 1);
    line_up(waiting + 1, threads + 1, 2);
    for (int i = 0; i < 2; i++) {
        fake_await_inside(&f, FAKE_OPEN, 1);
        assert_int_equal(stats().connecting, 1);
        fake_fail(&f, FAKE_OPEN, 1);
        fake_permit(&f, FAKE_OPEN, 1);
        test_join(&threads[i]);
        assert_int_equal(waiting[i].status, FALKOR_ERR_CONNECT);
    }
    fake_await_inside(&f, FAKE_OPEN, 1);
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads[2]);
    assert_int_equal(waiting[2].status, FALKOR_OK);
    give(waiting[2].conn);
    give(held);
    end();
}

/* Only so many go as are too many, also while those before are closing. */
/* A13 */
static void test_levers_reserve_closes_no_more_than_it_is(void **state) {
    (void)state;
    falkor_conn *held[4];
    test_threads threads[2];
    open_pool(begin_reserve(2, 2, 0));
    for (int i = 0; i < 4; i++)
        held[i] = take();
    fake_shut(&f, FAKE_CLOSE);
    for (int i = 0; i < 2; i++)
        threads[i] = start(give_run, held[i]);
    fake_await_inside(&f, FAKE_CLOSE, 2);
    give(held[2]);
    give(held[3]);
    assert_int_equal(stats().idle, 2);
    fake_lift(&f, FAKE_CLOSE);
    test_join(&threads[0]);
    test_join(&threads[1]);
    assert_int_equal(stats().total, 2);
    end();
}

/* Kept for who waits, closed when nobody does. */
/* A13 */
static void test_levers_reserve_stays_while_one_waits(void **state) {
    (void)state;
    open_pool(begin_reserve(1, 1, 0));
    falkor_conn *held[] = {take(), take()};
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    give(held[0]);
    test_join(&thread);
    assert_int_equal(fake_closed(&f), 0);
    assert_int_equal(stats().total, 2);
    give(waiting.conn);
    assert_int_equal(fake_closed(&f), 1);
    give(held[1]);
    assert_int_equal(stats().idle, 1);
    end();
}

typedef struct racer {
    uint64_t random;
    int64_t until_ms;
    int held, failed;
} racer;

/* Times of waiting about that of the reserve. */
static void *race(void *argument) {
    racer *self = argument;
    while (test_now_ms() < self->until_ms) {
        falkor_conn *conn;
        falkor_error error;
        falkor_status status = falkor_acquire_within(pool,
            test_below(&self->random, 6), &conn, &error);
        if (status) {
            TEST_CHECK(status == FALKOR_ERR_POOL_TIMEOUT ||
                       status == FALKOR_ERR_CONNECT);
            self->failed++;
            continue;
        }
        self->held++;
        fake_own(conn);
        if (test_chance(&self->random, 3))
            test_pause_ms(test_below(&self->random, 5));
        if (test_chance(&self->random, 8))
            falkor_conn_mark_broken(conn);
        if (test_chance(&self->random, 8))
            atomic_store(&fake_of(conn)->sick, true);
        fake_disown(conn);
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    }
    return NULL;
}

static void race_all(falkor_options options, void *(*beside)(void *)) {
    enum { THREADS = 24 };
    racer racers[THREADS], other = {test_seed(), test_now_ms() + 2000, 0, 0};
    int held = 0, failed = 0;
    open_pool(options);
    pthread_mutex_lock(&f.mutex);
    f.random = test_seed();
    f.delay_us = 1500;
    f.chaos = 30;
    pthread_mutex_unlock(&f.mutex);
    for (int i = 0; i < THREADS; i++)
        racers[i] = (racer){test_seed() + (uint64_t)i, other.until_ms, 0, 0};
    test_threads threads = test_start(race, racers, sizeof *racers, THREADS);
    test_threads levers = start(beside, &other);
    test_join_within(&threads, 60000);
    test_join(&levers);
    for (int i = 0; i < THREADS; i++) {
        held += racers[i].held;
        failed += racers[i].failed;
    }
    printf("%d held, %d failed, %d dialled, %d at most\n", held, failed,
           fake_opened(&f), fake_most_present(&f));
    assert_true(held > 100 && failed > 20);
    pthread_mutex_lock(&f.mutex);
    f.chaos = 0;
    pthread_mutex_unlock(&f.mutex);
    TEST_EVENTUALLY(stats().idle >= stats().min_size &&
                    stats().connecting + stats().closing == 0);
    end();
}

static void *pull_nothing(void *argument) {
    return argument;
}

/* A13, A1 */
static void test_levers_reserve_meets_timeouts(void **state) {
    (void)state;
    falkor_options options = begin_reserve(3, 3, 3);
    options.min_size = 2;
    options.idle_timeout_ms = 20;
    options.health_check_interval_ms = 10;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 3;
    race_all(options, pull_nothing);
}

/* ---- pause and resume ------------------------------------------------- */

/* A16 */
static void test_levers_in_every_state(void **state) {
    (void)state;
    static falkor_status (*const levers[])(falkor_pool *) = {
        falkor_pool_pause, falkor_pool_resume, falkor_pool_flush,
        falkor_pool_drop_idle};
    enum { COUNT = sizeof levers / sizeof *levers };
    create(begin(2, 2));
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(levers[i](NULL), FALKOR_ERR_ARGUMENT);
        assert_int_equal(levers[i](pool), FALKOR_OK);       /* created */
    }
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 0);
    fake_shut(&f, FAKE_OPEN);
    asker opener = {0};
    test_threads thread = start(open_run, &opener);
    fake_await_inside(&f, FAKE_OPEN, 1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(levers[i](pool), FALKOR_OK);       /* opening */
    fake_lift(&f, FAKE_OPEN);
    test_join(&thread);
    assert_int_equal(opener.status, FALKOR_OK);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(levers[i](pool), FALKOR_OK);
    TEST_EVENTUALLY(stats().idle == 2);
    assert_int_equal(falkor_pool_close(pool, -1), FALKOR_OK);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(levers[i](pool), FALKOR_ERR_CLOSED);
    end();
}

/* A16 */
static void test_levers_paused_acquire_waits_its_time(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin(2, 4));
    falkor_conn *held = take();
    assert_int_equal(falkor_pool_pause(pool), FALKOR_OK);
    assert_true(stats().paused);
    asker late = {.timeout_ms = 120};
    ask(&late);
    assert_int_equal(late.status, FALKOR_ERR_POOL_TIMEOUT);
    assert_true(late.took_ns >= 120 * MS && late.took_ns < 1120 * MS);
    test_assert_has(late.error.message, "paused");
    int64_t began = falkor_now_ns();
    assert_int_equal(refused(0, &error), FALKOR_ERR_POOL_TIMEOUT);
    assert_true(falkor_now_ns() - began < 1000 * MS);
    test_assert_has(error.message, "paused");
    test_assert_has(error.message, "falkor_pool_resume");
    assert_non_null(fake_of(held));     /* what is held is not touched */
    give(held);
    assert_int_equal(stats().idle, 2);
    assert_int_equal(falkor_pool_pause(pool), FALKOR_OK);   /* twice: one */
    assert_int_equal(falkor_pool_resume(pool), FALKOR_OK);
    assert_false(stats().paused);
    give(take_within(0));
    end();
}

/* Those who waited before and those who came while it was paused are served in
   their order; the releases meanwhile go to nobody. */
/* A16, A4 */
static void test_levers_resume_serves_in_order(void **state) {
    (void)state;
    asker waiting[6] = {{0}};
    test_threads threads[6];
    open_pool(begin(1, 1));
    falkor_conn *held = take();
    for (int i = 0; i < 6; i++)
        waiting[i].timeout_ms = -1;
    line_up(waiting, threads, 3);
    assert_int_equal(falkor_pool_pause(pool), FALKOR_OK);
    for (int i = 3; i < 6; i++) {
        threads[i] = start(ask, &waiting[i]);
        TEST_EVENTUALLY(stats().waiting == i + 1);
    }
    give(held);
    test_pause_ms(50);
    assert_int_equal(stats().waiting, 6);
    assert_int_equal(stats().idle, 1);
    assert_int_equal(falkor_pool_resume(pool), FALKOR_OK);
    for (int i = 0; i < 6; i++)
        test_join(&threads[i]);
    for (int i = 0; i < 6; i++)
        assert_int_equal(waiting[i].place, i);
    end();
}

/* Also what could be dialled is not given. A waiter's own time still ends. */
/* A16 */
static void test_levers_paused_waiter_times_out(void **state) {
    (void)state;
    asker waiting[2] = {{.timeout_ms = 1000}, {.timeout_ms = -1}};
    test_threads threads[2];
    open_pool(begin(1, 5));
    falkor_pool_pause(pool);
    line_up(waiting, threads, 2);
    test_join(&threads[0]);
    assert_int_equal(waiting[0].status, FALKOR_ERR_POOL_TIMEOUT);
    test_assert_has(waiting[0].error.message, "paused");
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    falkor_pool_resume(pool);
    test_join(&threads[1]);
    assert_int_equal(waiting[1].status, FALKOR_OK);
    end();
}

/* A16, A14 */
static void test_levers_paused_queue_is_full(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = begin(1, 1);
    options.max_waiters = 1;
    open_pool(options);
    falkor_pool_pause(pool);
    asker waiting = {.timeout_ms = -1};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    assert_int_equal(refused(1000, &error), FALKOR_ERR_POOL_EXHAUSTED);
    test_assert_has(error.message, "paused");
    falkor_pool_resume(pool);
    test_join(&thread);
    end();
}

/* A16, A8 */
static void test_levers_close_while_paused(void **state) {
    (void)state;
    open_pool(begin(1, 2));
    falkor_pool_pause(pool);
    asker waiting = {.timeout_ms = -1};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    assert_int_equal(falkor_pool_close(pool, 1000), FALKOR_OK);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_resume(pool), FALKOR_ERR_CLOSED);
    end();
}

/* Who was granted a slot before goes on: his dial, and his replacement for
   what is sick. */
/* A16 */
static void test_levers_pause_leaves_the_granted_alone(void **state) {
    (void)state;
    open_pool(begin(1, 2));
    falkor_conn *held = take();
    fake_shut(&f, FAKE_OPEN);
    asker dials = {.timeout_ms = -1, .keeps = true};
    test_threads thread = start(ask, &dials);
    fake_await_inside(&f, FAKE_OPEN, 1);
    falkor_pool_pause(pool);
    fake_lift(&f, FAKE_OPEN);
    test_join(&thread);
    assert_int_equal(dials.status, FALKOR_OK);
    give(dials.conn);
    give(held);
    falkor_pool_resume(pool);

    for (fake_handle *each = fake_newest(&f); each; each = each->next)
        atomic_store(&each->sick, true);
    fake_shut(&f, FAKE_FAST);
    asker meets = {.timeout_ms = -1, .keeps = true};
    thread = start(ask, &meets);
    fake_await_inside(&f, FAKE_FAST, 1);
    falkor_pool_pause(pool);
    fake_lift(&f, FAKE_FAST);
    test_join(&thread);
    assert_int_equal(meets.status, FALKOR_OK);
    give(meets.conn);
    falkor_pool_resume(pool);
    end();
}

/* What comes back beyond max_size goes, for who waits cannot have it now. */
/* A16, A13 */
static void test_levers_paused_reserve_is_closed(void **state) {
    (void)state;
    open_pool(begin_reserve(1, 1, 0));
    falkor_conn *held[] = {take(), take()};
    falkor_pool_pause(pool);
    asker waiting = {.timeout_ms = 1000};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    give(held[0]);
    give(held[1]);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(stats().total, 1);
    falkor_pool_resume(pool);
    end();
}

/* A pool may be paused before it opens: opening is no acquire. */
/* A16, A7 */
static void test_levers_open_while_paused(void **state) {
    (void)state;
    falkor_error error;
    create(begin(2, 2));
    falkor_pool_pause(pool);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(stats().idle, 2);
    assert_int_equal(refused(0, &error), FALKOR_ERR_POOL_TIMEOUT);
    falkor_pool_resume(pool);
    give(take_within(0));
    end();
}

/* ---- flush ------------------------------------------------------------ */

/* The handles of the first so many dials are closed. */
static void assert_gone(int first) {
    for (fake_handle *each = fake_newest(&f); each; each = each->next)
        if (each->id <= first)
            assert_true(atomic_load(&each->closed));
}

/* Idle ones at once, the held one on its release; then all are new. */
/* A16 */
static void test_levers_flush_replaces_all(void **state) {
    (void)state;
    fake_event event;
    open_pool(begin(3, 4));
    falkor_conn *held = take();
    fake_handle *old = fake_of(held);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    assert_int_equal(fake_event_count(&f, "connection_recycled"), 2);
    assert_false(atomic_load(&old->closed));
    give(held);
    assert_true(atomic_load(&old->closed));
    assert_gone(3);
    assert_true(fake_event_nth(&f, "connection_recycled", 2, &event));
    assert_string_equal(event.message, "reason=flush");
    assert_int_equal(stats().connections_recycled, 3);
    TEST_EVENTUALLY(stats().idle == 3);         /* min_size is kept */
    int opened = fake_opened(&f);
    for (int i = 0; i < 20; i++)
        give(take());
    assert_int_equal(fake_opened(&f), opened);
    end();
}

/* While the old ones close, one by one, new ones come: none of these goes, and
   each of those does. */
/* A16 */
static void test_levers_flush_spares_the_new(void **state) {
    (void)state;
    enum { SIZE = 5 };
    open_pool(begin(SIZE, SIZE));
    fake_shut(&f, FAKE_CLOSE);
    lever flush = {.pull = falkor_pool_flush};
    test_threads thread = start(pull_run, &flush);
    for (int i = 1; i <= SIZE; i++) {
        fake_await_inside(&f, FAKE_CLOSE, 1);
        fake_permit(&f, FAKE_CLOSE, 1);
        fake_await_begun(&f, FAKE_OPEN, SIZE + i);  /* in its slot */
        TEST_EVENTUALLY(stats().idle == i || i == SIZE);
    }
    test_join(&thread);
    assert_int_equal(flush.status, FALKOR_OK);
    fake_lift(&f, FAKE_CLOSE);
    TEST_EVENTUALLY(stats().idle == SIZE);
    assert_gone(SIZE);
    assert_int_equal(fake_opened(&f), 2 * SIZE);
    assert_int_equal(fake_most_present(&f), SIZE);
    end();
}

/* Nobody is given an old one once flush has begun. */
/* A16 */
static void test_levers_flush_gives_no_old_one(void **state) {
    (void)state;
    open_pool(begin(2, 3));
    fake_shut(&f, FAKE_CLOSE);
    lever flush = {.pull = falkor_pool_flush};
    test_threads thread = start(pull_run, &flush);
    fake_await_inside(&f, FAKE_CLOSE, 1);
    falkor_conn *conn = take();
    assert_int_equal(fake_of(conn)->id, 3);
    fake_lift(&f, FAKE_CLOSE);
    test_join(&thread);
    give(conn);
    assert_gone(2);
    end();
}

/* Dialled before, arrived after: it serves its caller, once. */
/* A16 */
static void test_levers_flush_during_a_dial(void **state) {
    (void)state;
    open_pool(begin(1, 2));
    falkor_conn *held = take();
    fake_shut(&f, FAKE_OPEN);
    asker dials = {.timeout_ms = -1, .keeps = true};
    test_threads thread = start(ask, &dials);
    fake_await_inside(&f, FAKE_OPEN, 1);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    fake_lift(&f, FAKE_OPEN);
    test_join(&thread);
    assert_int_equal(dials.status, FALKOR_OK);
    give(dials.conn);
    give(held);
    assert_gone(2);
    TEST_EVENTUALLY(stats().idle == 1);
    end();
}

/* In the worker's hands for a check, or dialled by it. */
/* A16 */
static void test_levers_flush_during_the_workers_work(void **state) {
    (void)state;
    falkor_options options = begin(1, 2);
    options.health_check_interval_ms = 40;
    open_pool(options);
    fake_shut(&f, FAKE_DEEP);
    fake_await_inside(&f, FAKE_DEEP, 1);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    assert_int_equal(fake_closed(&f), 0);
    fake_shut(&f, FAKE_OPEN);
    fake_lift(&f, FAKE_DEEP);
    fake_await_inside(&f, FAKE_OPEN, 1);        /* min_size again */
    assert_gone(1);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    fake_lift(&f, FAKE_OPEN);
    TEST_EVENTUALLY(fake_opened(&f) >= 3 && stats().idle == 1);
    assert_gone(2);
    end();
}

/* While its release resets it. */
/* A16 */
static void test_levers_flush_during_a_release(void **state) {
    (void)state;
    open_pool(begin(1, 1));
    falkor_conn *held = take();
    fake_shut(&f, FAKE_RESET);
    test_threads thread = start(give_run, held);
    fake_await_inside(&f, FAKE_RESET, 1);
    falkor_pool_flush(pool);
    fake_lift(&f, FAKE_RESET);
    test_join(&thread);
    assert_gone(1);
    TEST_EVENTUALLY(stats().idle == 1);
    end();
}

/* The waiter gets the slot of the flushed one, and dials. */
/* A16, A4 */
static void test_levers_flush_with_waiters(void **state) {
    (void)state;
    open_pool(begin(1, 1));
    falkor_conn *held = take();
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads thread = start(ask, &waiting);
    TEST_EVENTUALLY(stats().waiting == 1);
    falkor_pool_flush(pool);
    assert_int_equal(stats().waiting, 1);
    give(held);
    test_join(&thread);
    assert_int_equal(fake_of(waiting.conn)->id, 2);
    give(waiting.conn);
    assert_int_equal(fake_closed(&f), 1);
    end();
}

/* The opener dials again what a lever takes from under him. */
/* A16, A7 */
static void test_levers_flush_during_open(void **state) {
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        create(begin(2, 2));
        fake_shut(&f, FAKE_OPEN);
        asker opener = {0};
        test_threads thread = start(open_run, &opener);
        fake_await_inside(&f, FAKE_OPEN, 1);
        fake_permit(&f, FAKE_OPEN, 1);
        TEST_EVENTUALLY(stats().idle == 1 && fake_inside(&f, FAKE_OPEN) == 1);
        assert_int_equal(drop ? falkor_pool_drop_idle(pool)
                              : falkor_pool_flush(pool), FALKOR_OK);
        fake_lift(&f, FAKE_OPEN);
        test_join(&thread);
        assert_int_equal(opener.status, FALKOR_OK);
        assert_gone(drop ? 1 : 2);
        TEST_EVENTUALLY(stats().idle == 2);
        end();
    }
}

/* ---- drop_idle -------------------------------------------------------- */

/* A16 */
static void test_levers_drop_idle_drops_the_idle(void **state) {
    (void)state;
    fake_event event;
    falkor_conn *held[4];
    open_pool(begin(-1, 4));
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);   /* none */
    for (int i = 0; i < 4; i++)
        held[i] = take();
    give(held[3]);
    give(held[2]);
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    assert_int_equal(stats().total, 2);
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=drop_idle");
    give(held[1]);                      /* is kept: it is not old */
    give(held[0]);
    assert_int_equal(stats().idle, 2);
    end();
}

/* A16, A2 */
static void test_levers_drop_idle_keeps_min_size(void **state) {
    (void)state;
    open_pool(begin(3, 4));
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    assert_gone(3);
    TEST_EVENTUALLY(stats().idle == 3);
    assert_int_equal(fake_opened(&f), 6);
    end();
}

/* ---- levers among many ------------------------------------------------ */

static void *pull_all(void *argument) {
    racer *self = argument;
    while (test_now_ms() < self->until_ms) {
        switch (test_below(&self->random, 4)) {
        case 0: TEST_CHECK(falkor_pool_flush(pool) == FALKOR_OK); break;
        case 1: TEST_CHECK(falkor_pool_drop_idle(pool) == FALKOR_OK); break;
        case 2: TEST_CHECK(falkor_pool_pause(pool) == FALKOR_OK); break;
        default: break;
        }
        test_pause_ms(test_below(&self->random, 4));
        TEST_CHECK(falkor_pool_resume(pool) == FALKOR_OK);
        test_pause_ms(test_below(&self->random, 4));
    }
    return NULL;
}

/* A16, A13, A1 */
static void test_levers_among_many(void **state) {
    (void)state;
    falkor_options options = begin_reserve(4, 2, 2);
    options.min_size = 2;
    options.idle_timeout_ms = 20;
    options.max_lifetime_ms = 100;
    options.health_check_interval_ms = 10;
    options.leak_after_ms = 3;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 3;
    race_all(options, pull_all);
}

/* ---- leaks ------------------------------------------------------------ */

static falkor_options begin_leaks(int after_ms) {
    falkor_options options = begin(1, 2);
    options.leak_after_ms = after_ms;
    return options;
}

static fake_event leak(int nth) {
    fake_event event = {0};
    TEST_EVENTUALLY(fake_event_nth(&f, "connection_leak", nth, &event));
    return event;
}

/* The macro names the caller's line; what is told once is not told again. */
/* A18 */
static void test_levers_leak_is_told_once(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    char file[300];
    long held_ms, thread;
    int line;
    open_pool(begin_leaks(100));
    int64_t began = test_now_ms();
    falkor_acquire(pool, &conn, &error); int expected = __LINE__;
    assert_int_equal(error.status, FALKOR_OK);
    fake_event event = leak(0);
    assert_true(test_now_ms() - began >= 88);   /* coarse clock */
    assert_int_equal(event.level, FALKOR_EVENT_WARNING);
    assert_int_equal(sscanf(event.message, "held_ms=%ld thread=%ld "
        "file=\"%299[^\"]\" line=%d", &held_ms, &thread, file, &line), 4);
    assert_in_range(held_ms, 100, 3000);
    assert_int_equal(thread, syscall(SYS_gettid));
    assert_string_equal(file, __FILE__);
    assert_int_equal(line, expected);
    test_pause_ms(300);
    assert_int_equal(fake_event_count(&f, "connection_leak"), 1);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    test_pause_ms(150);
    assert_int_equal(fake_event_count(&f, "connection_leak"), 1);
    end();
}

/* A18 */
static void test_levers_leak_of_a_lease_used_again(void **state) {
    (void)state;
    falkor_conn *first, *conn = NULL;
    falkor_error error;
    open_pool(begin_leaks(60));
    falkor_acquire_within(pool, 0, &first, &error);
    assert_int_equal(error.status, FALKOR_OK);
    leak(0);
    assert_int_equal(falkor_release(first), FALKOR_OK);
    for (int i = 0; i < 200 && conn != first; i++) {
        if (conn)
            assert_int_equal(falkor_release(conn), FALKOR_OK);
        falkor_acquire_within(pool, 0, &conn, &error);
        assert_int_equal(error.status, FALKOR_OK);
    }
    assert_ptr_equal(conn, first);
    leak(1);
    test_pause_ms(150);
    assert_int_equal(fake_event_count(&f, "connection_leak"), 2);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    end();
}

/* A18 */
static void test_levers_leak_not_when_released_in_time(void **state) {
    (void)state;
    open_pool(begin_leaks(400));
    int64_t began = test_now_ms();
    while (test_now_ms() - began < 900) {
        falkor_conn *conn = take();
        test_pause_ms(20);
        give(conn);
    }
    assert_int_equal(fake_event_count(&f, "connection_leak"), 0);
    end();
}

static void *leak_here(void *argument) {
    asker *self = argument;
    self->status = falkor_acquire_at(pool, -1, &self->conn, NULL,
                                     "a \"b\" c.c", 77);
    self->took_ns = syscall(SYS_gettid);
    return NULL;
}

/* Taken by a thread that is gone, released by another. */
/* A18 */
static void test_levers_leak_names_thread_and_place(void **state) {
    (void)state;
    char expected[64];
    open_pool(begin_leaks(60));
    asker other = {0};
    test_threads thread = start(leak_here, &other);
    test_join(&thread);
    fake_event event = leak(0);
    snprintf(expected, sizeof expected, " thread=%ld ", (long)other.took_ns);
    test_assert_has(event.message, expected);
    test_assert_has(event.message, "file=\"a \\\"b\\\" c.c\" line=77");
    assert_int_equal(falkor_release(other.conn), FALKOR_OK);

    falkor_conn *conn;
    assert_int_equal((falkor_acquire)(pool, &conn, NULL), FALKOR_OK);
    event = leak(1);
    test_assert_has(event.message, "file=- line=0");
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal((falkor_acquire_within)(pool, 0, &conn, NULL), FALKOR_OK);
    event = leak(2);
    test_assert_has(event.message, "file=- line=0");
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    end();
}

/* Each of several, whatever the worker did in between. */
/* A18 */
static void test_levers_leak_of_each_hold(void **state) {
    (void)state;
    enum { COUNT = 6 };
    falkor_conn *held[COUNT];
    falkor_options options = begin_leaks(80);
    options.max_size = COUNT;
    open_pool(options);
    for (int i = 0; i < COUNT; i++) {
        held[i] = take();
        test_pause_ms(15);
    }
    leak(COUNT - 1);
    test_pause_ms(120);
    assert_int_equal(fake_event_count(&f, "connection_leak"), COUNT);
    for (int i = 0; i < COUNT; i++)
        give(held[i]);
    end();
}

/* A long dial is no hold. */
/* A18 */
static void test_levers_leak_is_not_a_dial(void **state) {
    (void)state;
    open_pool(begin_leaks(80));
    falkor_conn *held = take();
    leak(0);
    fake_shut(&f, FAKE_OPEN);
    asker dials = {.timeout_ms = -1};
    test_threads thread = start(ask, &dials);
    fake_await_inside(&f, FAKE_OPEN, 1);
    test_pause_ms(200);
    fake_lift(&f, FAKE_OPEN);
    test_join(&thread);
    assert_int_equal(dials.status, FALKOR_OK);
    assert_int_equal(fake_event_count(&f, "connection_leak"), 1);
    give(held);
    end();
}

/* ---- the worker's sleep ----------------------------------------------- */

/* How often the threads of this process but the calling one have gone to
   sleep by themselves. */
static long sleeps(void) {
    char path[64], line[128];
    long sum = 0, count;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        long tid = strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/self/task/%ld/status", tid);
        FILE *file = tid && tid != syscall(SYS_gettid) ? fopen(path, "r")
                                                       : NULL;
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
                sum += count;
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return sum;
}

static long sleeps_in(falkor_options options, int ms) {
    open_pool(options);
    test_pause_ms(150);                 /* opening's own are over */
    long before = sleeps();
    test_pause_ms(ms);
    long count = sleeps() - before;
    end();
    return count;
}

/* With the default periods nothing is due within a second; each period has its
   own wake-ups, and that of leaks only where it is asked for. */
/* A10, A18 */
static void test_levers_worker_sleeps_until_due(void **state) {
    (void)state;
    falkor_options options = begin(3, 5);
    options.health_check_interval_ms = options.idle_timeout_ms =
        options.max_lifetime_ms = 0;
    long quiet = sleeps_in(options, 1000);
    options = begin_leaks(50);
    long looking = sleeps_in(options, 1000);
    printf("%ld wake-ups, %ld with leak_after_ms\n", quiet, looking);
    if (!TEST_SANITIZED) {           /* those have a thread of their own */
        assert_true(quiet <= 1);
        assert_true(looking >= 5 && looking <= 60);
    }
}

/* A connection in use is nothing to look after for who has no check. */
/* A10, A25 */
static void test_levers_worker_sleeps_while_one_is_used(void **state) {
    (void)state;
    falkor_options options = begin(1, 5);
    f.driver.check = NULL;
    options.validate_after_ms = 1;
    open_pool(options);
    falkor_conn *held = take();
    test_pause_ms(150);
    long before = sleeps();
    test_pause_ms(500);
    long count = sleeps() - before;
    give(held);
    end();
    if (!TEST_SANITIZED)
        assert_true(count <= 1);
}

TEST_MAIN(
    cmocka_unit_test(test_levers_reserve_at_once),
    cmocka_unit_test(test_levers_reserve_after_its_time),
    cmocka_unit_test(test_levers_reserve_is_for_who_waits),
    cmocka_unit_test(test_levers_reserve_goes_in_order),
    cmocka_unit_test(test_levers_reserve_freed_later),
    cmocka_unit_test(test_levers_reserve_dial_fails),
    cmocka_unit_test(test_levers_reserve_closes_no_more_than_it_is),
    cmocka_unit_test(test_levers_reserve_stays_while_one_waits),
    cmocka_unit_test(test_levers_reserve_meets_timeouts),
    cmocka_unit_test(test_levers_in_every_state),
    cmocka_unit_test(test_levers_paused_acquire_waits_its_time),
    cmocka_unit_test(test_levers_resume_serves_in_order),
    cmocka_unit_test(test_levers_paused_waiter_times_out),
    cmocka_unit_test(test_levers_paused_queue_is_full),
    cmocka_unit_test(test_levers_close_while_paused),
    cmocka_unit_test(test_levers_pause_leaves_the_granted_alone),
    cmocka_unit_test(test_levers_paused_reserve_is_closed),
    cmocka_unit_test(test_levers_open_while_paused),
    cmocka_unit_test(test_levers_flush_replaces_all),
    cmocka_unit_test(test_levers_flush_spares_the_new),
    cmocka_unit_test(test_levers_flush_gives_no_old_one),
    cmocka_unit_test(test_levers_flush_during_a_dial),
    cmocka_unit_test(test_levers_flush_during_the_workers_work),
    cmocka_unit_test(test_levers_flush_during_a_release),
    cmocka_unit_test(test_levers_flush_with_waiters),
    cmocka_unit_test(test_levers_flush_during_open),
    cmocka_unit_test(test_levers_drop_idle_drops_the_idle),
    cmocka_unit_test(test_levers_drop_idle_keeps_min_size),
    cmocka_unit_test(test_levers_among_many),
    cmocka_unit_test(test_levers_leak_is_told_once),
    cmocka_unit_test(test_levers_leak_of_a_lease_used_again),
    cmocka_unit_test(test_levers_leak_not_when_released_in_time),
    cmocka_unit_test(test_levers_leak_names_thread_and_place),
    cmocka_unit_test(test_levers_leak_of_each_hold),
    cmocka_unit_test(test_levers_leak_is_not_a_dial),
    cmocka_unit_test(test_levers_worker_sleeps_until_due),
    cmocka_unit_test(test_levers_worker_sleeps_while_one_is_used))
