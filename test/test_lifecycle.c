/* Create, open, the worker, close, free, on a driver without a server. */
#include "../internal.h"
#include "fake.h"
#include <inttypes.h>

static fake f;
static falkor_pool *pool;

/* ---- helpers ---------------------------------------------------------- */

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
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

static falkor_options begin(int min_size, int max_size) {
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = min_size;
    options.max_size = max_size;
    return options;
}

static void end(void) {
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

/* Any call in a thread of its own. */
typedef struct caller {
    falkor_conn *conn;
    int timeout_ms;
    falkor_status status;
    falkor_error error;
    int64_t took_ms;
    atomic_bool done;
} caller;

static void *open_run(void *argument) {
    caller *self = argument;
    self->status = falkor_pool_open(pool, &self->error);
    atomic_store(&self->done, true);
    return NULL;
}

static void *acquire_run(void *argument) {
    caller *self = argument;
    int64_t began = test_now_ms();
    self->status = falkor_acquire_within(pool, self->timeout_ms, &self->conn,
                                         &self->error);
    self->took_ms = test_now_ms() - began;
    atomic_store(&self->done, true);
    return NULL;
}

static void *release_run(void *argument) {
    caller *self = argument;
    self->status = falkor_release(self->conn);
    atomic_store(&self->done, true);
    return NULL;
}

static void *close_run(void *argument) {
    caller *self = argument;
    int64_t began = test_now_ms();
    self->status = falkor_pool_close(pool, self->timeout_ms);
    self->took_ms = test_now_ms() - began;
    atomic_store(&self->done, true);
    return NULL;
}

static void *free_run(void *argument) {
    (void)argument;
    falkor_pool_free(pool);
    return NULL;
}

static test_threads start(void *(*run)(void *), caller *one) {
    return test_start(run, one, sizeof *one, 1);
}

/* ---- create and open -------------------------------------------------- */

/* A7 */
static void test_lifecycle_create_does_no_io(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    create(begin(3, 5));
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 0);
    assert_false(stats().initialized);
    assert_int_equal(stats().max_size, 5);
    assert_int_equal(stats().min_size, 3);
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_ERR_NOT_OPEN);
    assert_null(conn);
    assert_int_equal(falkor_acquire_within(pool, 0, &conn, &error),
                     FALKOR_ERR_NOT_OPEN);
    test_assert_has(error.message, "falkor_pool_open");
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 0);
    end();
}

/* A7 */
static void test_lifecycle_query_before_open_is_not_open(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result = (falkor_result *)&f;
    falkor_pool *builtin;
    assert_int_equal(falkor_pool_create(NULL, &builtin, &error), FALKOR_OK);
    falkor_graph *graph = falkor_select_graph(builtin, "g");
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, &result, &error),
                     FALKOR_ERR_NOT_OPEN);
    assert_null(result);
    assert_int_equal(falkor_pool_close(builtin, 0), FALKOR_OK);
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, &result, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_open(builtin, &error), FALKOR_ERR_CLOSED);
    falkor_graph_free(graph);
    falkor_pool_free(builtin);
}

/* A2, A7 */
static void test_lifecycle_open_dials_min_size(void **state) {
    (void)state;
    open_pool(begin(4, 9));
    assert_int_equal(fake_opened(&f), 4);
    assert_int_equal(stats().idle, 4);
    assert_true(stats().initialized);
    assert_false(stats().closed);
    end();
    open_pool(begin(-1, 9));            /* none: yet one proves the server */
    assert_int_equal(fake_opened(&f), 1);
    end();
    /* All of them before it is open: it is not the worker who dials. */
    create(begin(3, 3));
    fake_shut(&f, FAKE_OPEN);
    fake_permit(&f, FAKE_OPEN, 2);
    caller opener = {0};
    test_threads thread = start(open_run, &opener);
    fake_await_begun(&f, FAKE_OPEN, 3);
    test_pause_ms(30);
    assert_false(atomic_load(&opener.done) || stats().initialized);
    fake_lift(&f, FAKE_OPEN);
    test_join(&thread);
    assert_int_equal(opener.status, FALKOR_OK);
    end();
}

/* A7 */
static void test_lifecycle_open_twice_is_harmless(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin(2, 3));
    memset(&error, 'x', sizeof error);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(error.status, FALKOR_OK);
    assert_int_equal(falkor_pool_open(pool, NULL), FALKOR_OK);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 2);
    assert_int_equal(falkor_pool_open(NULL, &error), FALKOR_ERR_ARGUMENT);
    end();
}

/* The second opener waits for the first, and does not dial too. */
/* A7 */
static void test_lifecycle_two_threads_open(void **state) {
    (void)state;
    caller both[2] = {0};
    create(begin(3, 3));
    fake_shut(&f, FAKE_OPEN);
    test_threads threads = test_start(open_run, both, sizeof *both, 2);
    fake_await_inside(&f, FAKE_OPEN, 1);
    test_pause_ms(30);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    falkor_conn *conn;
    assert_int_equal(falkor_acquire_within(pool, 0, &conn, NULL),
                     FALKOR_ERR_NOT_OPEN);
    assert_false(atomic_load(&both[0].done) || atomic_load(&both[1].done));
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads);
    assert_int_equal(both[0].status, FALKOR_OK);
    assert_int_equal(both[1].status, FALKOR_OK);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 3);
    assert_int_equal(fake_event_count(&f, "connection_pool_initialized"), 1);
    end();
}

/* The second opener's turn comes when the first fails. */
static void test_lifecycle_second_opener_after_a_failure(void **state) {
    (void)state;
    caller both[2] = {0};
    create(begin(1, 1));
    fake_shut(&f, FAKE_OPEN);
    fake_fail(&f, FAKE_OPEN, 1);
    test_threads threads = test_start(open_run, both, sizeof *both, 2);
    fake_await_inside(&f, FAKE_OPEN, 1);
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads);
    assert_int_equal(both[0].status + both[1].status, FALKOR_ERR_CONNECT);
    assert_true(stats().initialized);
    end();
}

/* A dial that does not look at its deadline. */
static falkor_status (*quick_open)(void *, int64_t, void **, falkor_error *);
static atomic_bool slow_dials, slow_may_end;

static falkor_status slow_open(void *ctx, int64_t deadline_ns, void **handle,
                               falkor_error *error) {
    (void)deadline_ns;
    atomic_store(&slow_dials, true);
    while (!atomic_load(&slow_may_end))
        test_pause_ms(1);
    return quick_open(ctx, INT64_MAX, handle, error);
}

/* The second opener waits for the first no longer than an opener may take. */
/* A7 */
static void test_lifecycle_second_opener_gives_up_in_time(void **state) {
    (void)state;
    caller first = {0};
    falkor_error error;
    falkor_options options = begin(1, 1);
    quick_open = f.driver.open;
    f.driver.open = slow_open;
    options.pool_timeout_ms = options.socket_timeout_ms = 30;
    create(options);
    test_threads thread = start(open_run, &first);
    TEST_EVENTUALLY(atomic_load(&slow_dials));
    int64_t begun_ms = test_now_ms();
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_POOL_TIMEOUT);
    test_assert_has(error.message, "another thread has not finished opening");
    assert_true(test_now_ms() - begun_ms >= 59);
    assert_false(atomic_load(&first.done));
    atomic_store(&slow_may_end, true);
    test_join(&thread);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    end();
}

/* A failure part of the way closes what was dialled; then again. */
/* A7 */
static void test_lifecycle_failed_open_can_be_repeated(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    create(begin(3, 3));
    for (int round = 0; round < 3; round++) {
        fake_shut(&f, FAKE_OPEN);
        fake_permit(&f, FAKE_OPEN, round);
        caller opener = {0};
        test_threads thread = start(open_run, &opener);
        fake_await_inside(&f, FAKE_OPEN, 1);
        TEST_EVENTUALLY(stats().idle == round);
        fake_fail(&f, FAKE_OPEN, 1);
        fake_lift(&f, FAKE_OPEN);
        test_join(&thread);
        assert_int_equal(opener.status, FALKOR_ERR_CONNECT);
        test_assert_has(opener.error.message,
                        "refused by the fake (attempt 1 of 1, after ");
        assert_int_equal(stats().total, 0);
        assert_int_equal(fake_live(&f), 0);
        assert_int_equal(falkor_acquire(pool, &conn, &error),
                         FALKOR_ERR_NOT_OPEN);
    }
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(stats().idle, 3);
    end();
}

static void test_lifecycle_open_retries_a_failed_connect(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = begin(1, 1);
    options.max_retries = 3;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 2;
    create(options);
    fake_fail(&f, FAKE_OPEN, 3);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 4);
    assert_int_equal(error.attempts, 4);
    assert_int_equal(stats().retries, 3);
    end();

    options = begin(1, 1);
    options.max_retries = 2;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 2;
    create(options);
    fake_fail(&f, FAKE_OPEN, 100);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 3);
    assert_int_equal(error.attempts, 3);
    test_assert_has(error.message, "refused by the fake");
    test_assert_has(error.message, "(attempt 3 of 3, after ");
    end();
}

static void test_lifecycle_open_does_not_retry_auth(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = begin(1, 1);
    options.max_retries = 3;
    create(options);
    f.open_status = FALKOR_ERR_AUTH;
    fake_fail(&f, FAKE_OPEN, 100);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_AUTH);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    assert_int_equal(error.attempts, 1);
    end();
}

/* ---- close ------------------------------------------------------------ */

static void assert_closed(void) {
    falkor_conn *conn = (falkor_conn *)&f;
    falkor_error error;
    int dials = fake_begun(&f, FAKE_OPEN);
    assert_true(stats().closed);
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_ERR_CLOSED);
    assert_null(conn);
    assert_int_equal(falkor_acquire_within(pool, 0, &conn, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_acquire_within(pool, -1, &conn, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_OK);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), dials);
}

/* A7, A8 */
static void test_lifecycle_close_ends_it_all(void **state) {
    (void)state;
    open_pool(begin(3, 5));
    assert_int_equal(falkor_pool_close(pool, -1), FALKOR_OK);
    assert_int_equal(fake_live(&f), 0);
    assert_int_equal(stats().total, 0);
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 0);
    assert_closed();
    end();
    create(begin(3, 5));                        /* never opened */
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_OK);
    assert_closed();
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 0);
    end();
    assert_int_equal(falkor_pool_close(NULL, -1), FALKOR_OK);
    falkor_pool_free(NULL);
}

/* Waiters go home at once, though the connection is still in use. */
/* A8, M13 */
static void test_lifecycle_close_wakes_waiters(void **state) {
    (void)state;
    caller waiting[5];
    memset(waiting, 0, sizeof waiting);
    open_pool(begin(1, 1));
    falkor_conn *held = take();
    for (int i = 0; i < 5; i++)
        waiting[i].timeout_ms = i == 0 ? -1 : 60000;
    test_threads threads = test_start(acquire_run, waiting, sizeof *waiting,
                                      5);
    TEST_EVENTUALLY(stats().waiting == 5);
    caller closer = {.timeout_ms = -1};
    test_threads closes = start(close_run, &closer);
    test_join(&threads);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(waiting[i].status, FALKOR_ERR_CLOSED);
        assert_int_equal(waiting[i].error.status, FALKOR_ERR_CLOSED);
        assert_null(waiting[i].conn);
    }
    assert_int_equal(stats().waiting, 0);
    assert_int_equal(stats().acquire_timeouts, 0);
    test_pause_ms(150);
    assert_false(atomic_load(&closer.done));    /* negative: for ever */
    give(held);
    test_join(&closes);
    assert_int_equal(closer.status, FALKOR_OK);
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 0);
    assert_int_equal(fake_live(&f), 0);
    end();
}

/* Who holds a connection has until the deadline, not less, and then it is cut:
   each held one once, no other. It is still his to release. */
/* A8 */
static void test_lifecycle_close_cuts_at_the_deadline(void **state) {
    (void)state;
    enum { SIZE = 4, HELD = 3 };
    open_pool(begin(SIZE, SIZE));
    falkor_conn *held[HELD];
    for (int i = 0; i < HELD; i++)
        held[i] = take();
    caller closer = {.timeout_ms = 150};
    test_threads thread = start(close_run, &closer);
    TEST_EVENTUALLY(stats().closed && stats().idle == 0);
    give(held[0]);
    test_join(&thread);
    assert_int_equal(closer.status, FALKOR_ERR_TIMEOUT);
    assert_true(closer.took_ms >= 150 && closer.took_ms < 1150);
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 2);
    for (int i = 1; i < HELD; i++) {
        assert_int_equal(fake_of(held[i])->done[FAKE_SHUTDOWN], 1);
        assert_false(atomic_load(&fake_of(held[i])->closed));
    }
    fake_event event;
    assert_true(fake_event_found(&f, "close_error", &event));
    test_assert_has(event.message, "cut where in use: 2");
    for (int i = 1; i < HELD; i++)
        give(held[i]);
    assert_int_equal(falkor_release(held[1]), FALKOR_ERR_ARGUMENT);
    assert_int_equal(fake_live(&f), 0);
    assert_int_equal(stats().total, 0);
    assert_closed();
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 2);
    end();
}

/* A8 */
static void test_lifecycle_close_zero_does_not_wait(void **state) {
    (void)state;
    open_pool(begin(2, 2));
    falkor_conn *held = take();
    int64_t began = test_now_ms();
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    assert_true(test_now_ms() - began < 1000);
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 1);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    give(held);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_OK);
    end();
}

/* A8 */
static void test_lifecycle_two_threads_close(void **state) {
    (void)state;
    caller both[2] = {{.timeout_ms = 200}, {.timeout_ms = 200}};
    open_pool(begin(2, 2));
    falkor_conn *held[] = {take(), take()};
    test_threads threads = test_start(close_run, both, sizeof *both, 2);
    test_join(&threads);
    assert_int_equal(both[0].status, FALKOR_ERR_TIMEOUT);
    assert_int_equal(both[1].status, FALKOR_ERR_TIMEOUT);
    assert_true(fake_begun(&f, FAKE_SHUTDOWN) >= 2);
    assert_int_equal(fake_event_count(&f, "closing_connection_pool"), 1);
    assert_int_equal(fake_event_count(&f, "connection_pool_closed"), 1);
    give(held[0]);
    give(held[1]);
    assert_closed();
    end();
}

/* A release that meets the cut waits until the driver is out of the handle. */
/* A8 */
static void test_lifecycle_release_waits_for_the_cut(void **state) {
    (void)state;
    for (int with_reset = 0; with_reset < 2; with_reset++) {
        falkor_options options = begin(1, 1);
        if (!with_reset)
            f.driver.reset = NULL;
        open_pool(options);
        falkor_conn *held = take();
        fake_handle *handle = fake_of(held);
        int resets = fake_begun(&f, FAKE_RESET);
        fake_shut(&f, FAKE_SHUTDOWN);
        caller closer = {.timeout_ms = 0}, releaser = {.conn = held};
        test_threads closes = start(close_run, &closer);
        fake_await_inside(&f, FAKE_SHUTDOWN, 1);
        assert_ptr_equal(falkor_conn_handle(held), handle);
        falkor_conn_mark_broken(held);
        fake_disown(held);
        test_threads releases = start(release_run, &releaser);
        test_pause_ms(30);
        assert_false(atomic_load(&releaser.done));
        assert_int_equal(fake_begun(&f, FAKE_RESET), resets);
        assert_int_equal(fake_begun(&f, FAKE_CLOSE), 0);
        fake_lift(&f, FAKE_SHUTDOWN);
        test_join(&closes);
        test_join(&releases);
        assert_int_equal(releaser.status, FALKOR_OK);
        assert_int_equal(falkor_release(held), FALKOR_ERR_ARGUMENT);
        assert_int_equal(fake_live(&f), 0);
        end();
    }
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
static void *cut_run(void *argument) {
    falkor__pool_cut(pool);
    return argument;
}

/* The same for a pool that goes on: who releases is woken when the cut is done,
   by nothing else, and the next is served. */
static void test_lifecycle_release_waits_for_a_cut_only(void **state) {
    (void)state;
    open_pool(begin(1, 1));
    falkor_conn *held = take();
    fake_shut(&f, FAKE_SHUTDOWN);
    caller releaser = {.conn = held};
    test_threads cuts = test_start(cut_run, NULL, 0, 1);
    fake_await_inside(&f, FAKE_SHUTDOWN, 1);
    falkor_conn_mark_broken(held);
    fake_disown(held);
    test_threads releases = start(release_run, &releaser);
    test_pause_ms(30);
    assert_false(atomic_load(&releaser.done));
    fake_lift(&f, FAKE_SHUTDOWN);
    test_join(&cuts);
    test_join(&releases);
    assert_int_equal(releaser.status, FALKOR_OK);
    give(take());
    end();
}
#define CUT_ONLY cmocka_unit_test(test_lifecycle_release_waits_for_a_cut_only),
#else
#define CUT_ONLY
#endif

/* A connection in the driver's hands (reset) is not cut meanwhile. */
static void test_lifecycle_close_during_reset(void **state) {
    (void)state;
    open_pool(begin(1, 1));
    falkor_conn *held = take();
    fake_disown(held);
    fake_shut(&f, FAKE_RESET);
    caller releaser = {.conn = held};
    test_threads thread = start(release_run, &releaser);
    fake_await_inside(&f, FAKE_RESET, 1);
    assert_int_equal(falkor_pool_close(pool, 20), FALKOR_ERR_TIMEOUT);
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 0);
    fake_lift(&f, FAKE_RESET);
    test_join(&thread);
    assert_int_equal(releaser.status, FALKOR_OK);
    assert_int_equal(fake_live(&f), 0);
    end();
}

/* An acquire on its way when close cuts gets CLOSED, in whichever driver call
   it was; its connection is closed. */
static void close_during(fake_call call) {
    falkor_options options = begin(1, 2);
    if (call == FAKE_MEDIUM)
        options.validate_after_ms = 1;
    open_pool(options);
    falkor_conn *held = call == FAKE_OPEN ? take() : NULL;
    test_pause_ms(20);
    fake_shut(&f, call);
    caller asker = {.timeout_ms = -1};
    test_threads thread = start(acquire_run, &asker);
    fake_await_inside(&f, call, 1);
    if (held)
        give(held);
    assert_int_equal(falkor_pool_close(pool, 100), FALKOR_ERR_TIMEOUT);
    fake_lift(&f, call);
    test_join(&thread);
    assert_int_equal(asker.status, FALKOR_ERR_CLOSED);
    assert_null(asker.conn);
    assert_int_equal(fake_live(&f), 0);
    assert_int_equal(stats().total, 0);
    assert_closed();
    end();
}

static void test_lifecycle_close_while_a_dial_hangs(void **state) {
    (void)state;
    close_during(FAKE_OPEN);
}

static void test_lifecycle_close_while_a_check_hangs(void **state) {
    (void)state;
    close_during(FAKE_FAST);
    close_during(FAKE_MEDIUM);
}

/* A dial that is done before close's deadline is its caller's, who has until
   then. */
static void test_lifecycle_close_waits_for_a_dial(void **state) {
    (void)state;
    open_pool(begin(1, 2));
    falkor_conn *held = take();
    fake_shut(&f, FAKE_OPEN);
    caller asker = {.timeout_ms = -1}, closer = {.timeout_ms = -1};
    test_threads asks = start(acquire_run, &asker);
    fake_await_inside(&f, FAKE_OPEN, 1);
    test_threads closes = start(close_run, &closer);
    TEST_EVENTUALLY(stats().closed);
    give(held);
    fake_lift(&f, FAKE_OPEN);
    test_join(&asks);
    if (!asker.status)                  /* CLOSED would be right too */
        assert_int_equal(falkor_release(asker.conn), FALKOR_OK);
    else
        assert_int_equal(asker.status, FALKOR_ERR_CLOSED);
    test_join(&closes);
    assert_int_equal(closer.status, FALKOR_OK);
    assert_int_equal(fake_live(&f), 0);
    end();
}

/* A7, A8 */
static void test_lifecycle_close_during_open(void **state) {
    (void)state;
    create(begin(3, 3));
    fake_shut(&f, FAKE_OPEN);
    fake_permit(&f, FAKE_OPEN, 1);
    caller opener = {0}, second = {0};
    test_threads opens = start(open_run, &opener);
    fake_await_begun(&f, FAKE_OPEN, 2);
    test_threads waits = start(open_run, &second);
    assert_int_equal(falkor_pool_close(pool, 50), FALKOR_ERR_TIMEOUT);
    test_join(&waits);
    assert_int_equal(second.status, FALKOR_ERR_CLOSED);
    fake_lift(&f, FAKE_OPEN);
    test_join(&opens);
    assert_int_equal(opener.status, FALKOR_ERR_CLOSED);
    assert_int_equal(fake_live(&f), 0);
    assert_int_equal(stats().total, 0);
    assert_false(stats().initialized);
    assert_int_equal(fake_event_count(&f, "connection_pool_initialized"), 0);
    assert_closed();
    end();
}

/* An opener does not go on dialling in a closed pool. */
static void test_lifecycle_no_dial_after_close(void **state) {
    (void)state;
    create(begin(5, 5));
    fake_shut(&f, FAKE_OPEN);
    caller opener = {0};
    test_threads opens = start(open_run, &opener);
    fake_await_inside(&f, FAKE_OPEN, 1);
    assert_int_equal(falkor_pool_close(pool, 20), FALKOR_ERR_TIMEOUT);
    fake_lift(&f, FAKE_OPEN);
    test_join(&opens);
    assert_int_equal(opener.status, FALKOR_ERR_CLOSED);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    assert_int_equal(fake_live(&f), 0);
    end();
}

/* Close ends an opener's pause between two attempts. */
static void test_lifecycle_close_ends_the_pause_of_open(void **state) {
    (void)state;
    falkor_options options = begin(1, 1);
    options.max_retries = 3;
    options.retry_initial_delay_ms = 60000;
    options.retry_max_delay_ms = 60000;
    options.pool_timeout_ms = -1;
    create(options);
    fake_fail(&f, FAKE_OPEN, 100);
    caller opener = {0};
    test_threads thread = start(open_run, &opener);
    TEST_EVENTUALLY(fake_event_count(&f, "query_retry") == 1);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_OK);
    test_join(&thread);
    assert_true(opener.status == FALKOR_ERR_CLOSED ||
                opener.status == FALKOR_ERR_CONNECT);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    end();
}

/* A waiter that is granted a connection just before close: either he is told
   CLOSED, or his connection is cut like all that are held. */
static void grant_meets_close(bool with_hooks) {
    for (int round = 0; round < 300; round++) {
        falkor_options options = begin(1, 1);
        if (!with_hooks) {
            f.driver.check = NULL;
            f.driver.reset = NULL;
        }
        open_pool(options);
        falkor_conn *held = take();
        caller asker = {.timeout_ms = -1};
        test_threads thread = start(acquire_run, &asker);
        TEST_EVENTUALLY(stats().waiting == 1);
        give(held);
        falkor_status closed = falkor_pool_close(pool, 0);
        test_join(&thread);
        if (!asker.status) {
            /* Cut by now, for close has returned before. */
            assert_int_equal(closed, FALKOR_ERR_TIMEOUT);
            assert_int_equal(fake_of(asker.conn)->done[FAKE_SHUTDOWN], 1);
            assert_int_equal(falkor_release(asker.conn), FALKOR_OK);
        } else {
            assert_int_equal(asker.status, FALKOR_ERR_CLOSED);
        }
        assert_int_equal(fake_live(&f), 0);
        end();
    }
}

static void test_lifecycle_grant_meets_close(void **state) {
    (void)state;
    grant_meets_close(true);
}

static void test_lifecycle_grant_meets_close_without_hooks(void **state) {
    (void)state;
    grant_meets_close(false);
}

static void *use_until_closed(void *argument) {
    uint64_t random = *(uint64_t *)argument;
    falkor_status status;
    falkor_conn *conn;
    do {
        falkor_error error;
        status = falkor_acquire_within(pool, 50, &conn, &error);
        if (status) {
            TEST_CHECK(status == FALKOR_ERR_CLOSED ||
                       status == FALKOR_ERR_POOL_TIMEOUT);
            continue;
        }
        fake_own(conn);
        if (test_chance(&random, 4))
            test_pause_ms(1);
        if (test_chance(&random, 8))
            falkor_conn_mark_broken(conn);
        fake_disown(conn);
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    } while (status != FALKOR_ERR_CLOSED);
    return NULL;
}

/* Close meets acquires and releases at any moment of theirs. */
/* A8 */
static void test_lifecycle_close_among_many(void **state) {
    (void)state;
    uint64_t seeds[16], random = test_seed();
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 16; i++)
            seeds[i] = test_random(&random);
        open_pool(begin(2, 6));
        test_threads threads = test_start(use_until_closed, seeds,
                                          sizeof *seeds, 16);
        fake_await_begun(&f, FAKE_FAST, 50);
        falkor_pool_close(pool, round % 3);
        test_join(&threads);
        assert_int_equal(fake_live(&f), 0);
        assert_int_equal(stats().total, 0);
        assert_int_equal(stats().acquires, stats().releases);
        end();
    }
}

/* ---- free ------------------------------------------------------------- */

/* A8 */
static void test_lifecycle_free_closes(void **state) {
    (void)state;
    open_pool(begin(3, 3));
    end();                              /* fake_end sees them all closed */
}

/* Connections held over the end of their pool: free gives them its 10 s, cuts
   them, and lets them go; the last release, here one of two at once, frees the
   rest. LeakSanitizer sees whether it did. */
/* A8 */
static void test_lifecycle_free_with_held_connections(void **state) {
    (void)state;
    open_pool(begin(2, 4));
    caller held[3] = {{.conn = take()}, {.conn = take()}, {.conn = take()}};
    test_threads frees = test_start(free_run, NULL, 0, 1);
    test_join(&frees);
    pool = NULL;
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 3);
    assert_int_equal(fake_live(&f), 3);
    for (int i = 0; i < 3; i++) {
        assert_non_null(fake_of(held[i].conn));
        fake_disown(held[i].conn);
    }
    assert_int_equal(falkor_release(held[2].conn), FALKOR_OK);
    assert_int_equal(fake_live(&f), 2);
    fake_shut(&f, FAKE_CLOSE);
    test_threads threads = test_start(release_run, held, sizeof *held, 2);
    fake_await_inside(&f, FAKE_CLOSE, 2);
    fake_lift(&f, FAKE_CLOSE);
    test_join(&threads);
    assert_int_equal(held[0].status + held[1].status, FALKOR_OK);
    fake_end(&f);
    test_no_complaints();
}

/* ---- worker ----------------------------------------------------------- */

/* A2, A10 */
static void test_lifecycle_worker_keeps_min_size(void **state) {
    (void)state;
    open_pool(begin(4, 6));
    for (int round = 0; round < 5; round++) {
        falkor_conn *held[4];
        for (int i = 0; i < 4; i++)
            held[i] = take();
        for (int i = 0; i < 4; i++) {
            falkor_conn_mark_broken(held[i]);
            give(held[i]);
        }
        TEST_EVENTUALLY(stats().idle == 4);
        assert_int_equal(stats().total, 4);
    }
    end();
}

/* A check is due at every moment: a connection that is missing comes first. */
/* A2, A10 */
static void test_lifecycle_worker_dials_among_checks(void **state) {
    (void)state;
    falkor_options options = begin(3, 5);
    options.health_check_interval_ms = 1;
    fake_shut(&f, FAKE_DEEP);
    open_pool(options);
    fake_await_inside(&f, FAKE_DEEP, 1);
    falkor_conn *held = take();
    falkor_conn_mark_broken(held);
    give(held);
    assert_int_equal(stats().total, 2);
    int64_t due = falkor_now_ns() + 10000000;   /* of the coarse clock too */
    TEST_EVENTUALLY(falkor_now_ns() > due);
    fake_permit(&f, FAKE_DEEP, 1);
    TEST_EVENTUALLY(fake_begun(&f, FAKE_DEEP) == 2);
    assert_int_equal(fake_opened(&f), 4);
    fake_lift(&f, FAKE_DEEP);
    end();
}

/* While the server is down the worker tries less and less often, and says so;
   when it is back, so is min_size. */
/* A10, M9 */
static void test_lifecycle_worker_backs_off(void **state) {
    (void)state;
    falkor_options options = begin(2, 2);
    options.retry_initial_delay_ms = 20;
    options.retry_max_delay_ms = 400;
    options.retry_jitter = -1;
    open_pool(options);
    falkor_conn *held[] = {take(), take()};
    int dials = fake_begun(&f, FAKE_OPEN);
    fake_fail(&f, FAKE_OPEN, 1000000);
    for (int i = 0; i < 2; i++) {
        falkor_conn_mark_broken(held[i]);
        give(held[i]);
    }
    int64_t began = test_now_ms();
    fake_await_begun(&f, FAKE_OPEN, dials + 6);
    /* 20 + 40 + 80 + 160 + 320: not sooner. */
    assert_true(test_now_ms() - began >= 610);
    TEST_EVENTUALLY(fake_event_count(&f, "connection_failed") >= 6);
    static const int delays[] = {20, 40, 80, 160, 320, 400};
    for (int i = 0; i < 6; i++) {
        fake_event event;
        assert_true(fake_event_nth(&f, "connection_failed", i, &event));
        assert_int_equal(event.delay_ms, delays[i]);
    }
    assert_int_equal(stats().total, 0);
    fake_fail(&f, FAKE_OPEN, 0);
    TEST_EVENTUALLY(stats().idle == 2);
    assert_int_equal(fake_most_present(&f), 2);
    end();
}

/* A caller dials for himself meanwhile: the worker's pause is not his. */
/* A10 */
static void test_lifecycle_caller_does_not_wait_for_the_worker(void **state) {
    (void)state;
    falkor_options options = begin(2, 2);
    options.retry_initial_delay_ms = 60000;
    options.retry_max_delay_ms = 60000;
    open_pool(options);
    falkor_conn *held = take();
    fake_fail(&f, FAKE_OPEN, 1);
    falkor_conn_mark_broken(held);
    give(held);
    TEST_EVENTUALLY(fake_event_count(&f, "connection_failed") == 1);
    falkor_conn *both[] = {take_within(1000), take_within(1000)};
    give(both[0]);
    give(both[1]);
    end();
}

/* A10, A11 */
static void test_lifecycle_deep_check_at_its_interval(void **state) {
    (void)state;
    falkor_options options = begin(2, 2);
    options.health_check_interval_ms = 100;
    int64_t began = test_now_ms();
    open_pool(options);
    fake_await_begun(&f, FAKE_DEEP, 4);
    /* The coarse clock has steps of 4 ms, and stands while its processor is
       somebody else's. */
    assert_true(test_now_ms() - began >= 150);
    assert_int_equal(fake_begun(&f, FAKE_FAST), 0);
    assert_int_equal(fake_opened(&f), 2);
    /* One that fails is replaced. */
    fake_handle *sick = fake_newest(&f);
    atomic_store(&sick->sick, true);
    TEST_EVENTUALLY(atomic_load(&sick->closed));
    TEST_EVENTUALLY(stats().idle == 2);
    assert_int_equal(stats().health_failures, 1);
    assert_int_equal(stats().connections_recycled, 1);
    fake_event event;
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=health_check");
    end();
}

/* What the worker checks is nobody else's; who waits for it gets it then. */
/* A10, A11 */
static void test_lifecycle_deep_check_lends_to_nobody(void **state) {
    (void)state;
    falkor_options options = begin(1, 1);
    options.health_check_interval_ms = 50;
    open_pool(options);
    fake_shut(&f, FAKE_DEEP);
    fake_await_inside(&f, FAKE_DEEP, 1);
    falkor_stats now = stats();
    assert_int_equal(now.total, 1);
    assert_int_equal(now.idle, 0);
    caller asker = {.timeout_ms = -1};
    test_threads thread = start(acquire_run, &asker);
    TEST_EVENTUALLY(stats().waiting == 1);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    fake_lift(&f, FAKE_DEEP);
    test_join(&thread);
    assert_int_equal(asker.status, FALKOR_OK);
    assert_int_equal(fake_of(asker.conn)->id, 1);
    assert_int_equal(falkor_release(asker.conn), FALKOR_OK);
    /* And when it is found sick, the waiter dials in its place. */
    fake_shut(&f, FAKE_DEEP);
    fake_await_inside(&f, FAKE_DEEP, 1);
    asker = (caller){.timeout_ms = -1};
    thread = start(acquire_run, &asker);
    TEST_EVENTUALLY(stats().waiting == 1);
    fake_fail(&f, FAKE_DEEP, 1);
    fake_lift(&f, FAKE_DEEP);
    test_join(&thread);
    assert_int_equal(asker.status, FALKOR_OK);
    assert_int_equal(fake_of(asker.conn)->id, 2);
    assert_int_equal(falkor_release(asker.conn), FALKOR_OK);
    end();
}

/* Close while the worker checks: it brings the connection back too late. */
static void test_lifecycle_close_during_a_deep_check(void **state) {
    (void)state;
    falkor_options options = begin(1, 1);
    options.health_check_interval_ms = 50;
    open_pool(options);
    fake_shut(&f, FAKE_DEEP);
    fake_await_inside(&f, FAKE_DEEP, 1);
    assert_int_equal(falkor_pool_close(pool, 20), FALKOR_ERR_TIMEOUT);
    assert_int_equal(fake_begun(&f, FAKE_SHUTDOWN), 0);
    fake_lift(&f, FAKE_DEEP);
    TEST_EVENTUALLY(fake_live(&f) == 0);
    end();
}

/* Those not used for idle_timeout_ms go, down to min_size, and not before. */
/* A12 */
static void test_lifecycle_idle_ones_go_down_to_min_size(void **state) {
    (void)state;
    falkor_options options = begin(2, 8);
    options.idle_timeout_ms = 200;
    open_pool(options);
    falkor_conn *held[8];
    for (int i = 0; i < 8; i++)
        held[i] = take();
    test_pause_ms(150);                 /* the worker wakes at 200 */
    int64_t idle_ms = test_now_ms();
    for (int i = 0; i < 8; i++)
        give(held[i]);
    fake_shut(&f, FAKE_CLOSE);
    fake_await_inside(&f, FAKE_CLOSE, 1);
    assert_true(test_now_ms() - idle_ms >= 190);    /* coarse clock */
    fake_lift(&f, FAKE_CLOSE);
    TEST_EVENTUALLY(stats().total == 2);
    test_pause_ms(300);
    assert_int_equal(stats().idle, 2);
    assert_int_equal(fake_opened(&f), 8);
    fake_event event;
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=idle_timeout");
    end();
}

/* A12 */
static void test_lifecycle_old_ones_are_replaced(void **state) {
    (void)state;
    falkor_options options = begin(2, 2);
    options.max_lifetime_ms = 200;
    int64_t began = test_now_ms();
    open_pool(options);
    fake_handle *first = fake_newest(&f), *second = first->next;
    TEST_EVENTUALLY(atomic_load(&first->closed) &&
                    atomic_load(&second->closed));
    assert_true(test_now_ms() - began >= 170);  /* 90 %, coarse clock */
    TEST_EVENTUALLY(fake_opened(&f) >= 4);
    fake_event event;
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=max_lifetime");
    end();
}

static void (*real_close)(void *ctx, void *handle);
static int64_t lives_ns[64];
static atomic_int lives;

static void note_end(void *ctx, void *handle) {
    int place = atomic_load(&lives);    /* only the worker closes here */
    if (place < 64)
        lives_ns[place] = falkor_now_ns();
    atomic_store(&lives, place + 1);
    real_close(ctx, handle);
}

/* Dialled at the same moment they do not end at the same moment, but all within
   a tenth of their time, before and after. */
/* A12 */
static void test_lifecycle_lifetimes_differ(void **state) {
    (void)state;
    enum { COUNT = 20, LIFE_MS = 2000 };
    falkor_options options = begin(COUNT, COUNT);
    options.max_lifetime_ms = LIFE_MS;
    real_close = f.driver.close;
    f.driver.close = note_end;
    atomic_store(&lives, 0);
    int64_t began_ns = falkor_now_ns();
    open_pool(options);
    int64_t open_ns = falkor_now_ns();
    TEST_EVENTUALLY(atomic_load(&lives) >= COUNT);
    int64_t first = lives_ns[0] - began_ns, last = lives_ns[COUNT - 1] -
        open_ns;
    assert_true(first >= (LIFE_MS * 9 / 10 - 10) * INT64_C(1000000));
    assert_true(last < (LIFE_MS * 11 / 10 + 1000) * INT64_C(1000000));
    /* Twenty of them within an eighth of the span: once in 10^16 runs. */
    assert_true(lives_ns[COUNT - 1] - lives_ns[0] >
                LIFE_MS / 40 * INT64_C(1000000));
    end();
}

/* One that grew old in use is closed when it comes back, not before. */
/* A12 */
static void test_lifecycle_old_one_goes_on_release(void **state) {
    (void)state;
    falkor_options options = begin(1, 1);
    options.max_lifetime_ms = 100;
    open_pool(options);
    falkor_conn *held = take();
    fake_handle *handle = fake_of(held);
    test_pause_ms(150);
    assert_false(atomic_load(&handle->closed));
    give(held);
    assert_true(atomic_load(&handle->closed));
    TEST_EVENTUALLY(fake_opened(&f) >= 2);
    end();
}

/* The worker sleeps, for nothing is idle, and learns of one that comes back with
   an end to its life: it is not left in a pocket. */
/* A12 */
static void test_lifecycle_old_one_is_not_left_in_a_pocket(void **state) {
    (void)state;
    falkor_options options = begin(-1, 4);
    options.max_lifetime_ms = 300;
    options.validate_after_ms = -1;
    open_pool(options);
    falkor_conn *first = take();
    test_pause_ms(200);
    falkor_conn *second = take();
    fake_handle *handle = fake_of(second);
    test_pause_ms(145);                 /* the first's end is over */
    give(second);
    TEST_EVENTUALLY(atomic_load(&handle->closed));
    give(first);
    end();
}

/* Or nothing would ever be idle for long. */
/* A10, A12 */
static void test_lifecycle_checks_do_not_count_as_use(void **state) {
    (void)state;
    falkor_options options = begin(-1, 3);
    options.health_check_interval_ms = 60;
    options.idle_timeout_ms = 400;
    open_pool(options);
    fake_await_begun(&f, FAKE_DEEP, 3);
    TEST_EVENTUALLY(stats().total == 0);
    end();
}

TEST_MAIN(
    cmocka_unit_test(test_lifecycle_create_does_no_io),
    cmocka_unit_test(test_lifecycle_query_before_open_is_not_open),
    cmocka_unit_test(test_lifecycle_open_dials_min_size),
    cmocka_unit_test(test_lifecycle_open_twice_is_harmless),
    cmocka_unit_test(test_lifecycle_two_threads_open),
    cmocka_unit_test(test_lifecycle_second_opener_after_a_failure),
    cmocka_unit_test(test_lifecycle_second_opener_gives_up_in_time),
    cmocka_unit_test(test_lifecycle_failed_open_can_be_repeated),
    cmocka_unit_test(test_lifecycle_open_retries_a_failed_connect),
    cmocka_unit_test(test_lifecycle_open_does_not_retry_auth),
    cmocka_unit_test(test_lifecycle_close_ends_it_all),
    cmocka_unit_test(test_lifecycle_close_wakes_waiters),
    cmocka_unit_test(test_lifecycle_close_cuts_at_the_deadline),
    cmocka_unit_test(test_lifecycle_close_zero_does_not_wait),
    cmocka_unit_test(test_lifecycle_two_threads_close),
    cmocka_unit_test(test_lifecycle_release_waits_for_the_cut),
    CUT_ONLY
    cmocka_unit_test(test_lifecycle_close_during_reset),
    cmocka_unit_test(test_lifecycle_close_while_a_dial_hangs),
    cmocka_unit_test(test_lifecycle_close_while_a_check_hangs),
    cmocka_unit_test(test_lifecycle_close_waits_for_a_dial),
    cmocka_unit_test(test_lifecycle_close_during_open),
    cmocka_unit_test(test_lifecycle_no_dial_after_close),
    cmocka_unit_test(test_lifecycle_close_ends_the_pause_of_open),
    cmocka_unit_test(test_lifecycle_grant_meets_close),
    cmocka_unit_test(test_lifecycle_grant_meets_close_without_hooks),
    cmocka_unit_test(test_lifecycle_close_among_many),
    cmocka_unit_test(test_lifecycle_free_closes),
    cmocka_unit_test(test_lifecycle_free_with_held_connections),
    cmocka_unit_test(test_lifecycle_worker_keeps_min_size),
    cmocka_unit_test(test_lifecycle_worker_dials_among_checks),
    cmocka_unit_test(test_lifecycle_worker_backs_off),
    cmocka_unit_test(test_lifecycle_caller_does_not_wait_for_the_worker),
    cmocka_unit_test(test_lifecycle_deep_check_at_its_interval),
    cmocka_unit_test(test_lifecycle_deep_check_lends_to_nobody),
    cmocka_unit_test(test_lifecycle_close_during_a_deep_check),
    cmocka_unit_test(test_lifecycle_idle_ones_go_down_to_min_size),
    cmocka_unit_test(test_lifecycle_old_ones_are_replaced),
    cmocka_unit_test(test_lifecycle_lifetimes_differ),
    cmocka_unit_test(test_lifecycle_old_one_goes_on_release),
    cmocka_unit_test(test_lifecycle_old_one_is_not_left_in_a_pocket),
    cmocka_unit_test(test_lifecycle_checks_do_not_count_as_use))
