/* Acquire and release on a driver without a server: who waits, who gets which
   connection, and that none is lost, lent twice, or one too many. */
#include "../books.h"
#include "fake.h"
#include <errno.h>

#define SECOND_MS 1000

static fake f;
static falkor_pool *pool;

/* ---- helpers ---------------------------------------------------------- */

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

static void open_pool(falkor_options options) {
    falkor_error error;
    if (falkor_pool_create(&options, &pool, &error))
        fail_msg("create: %s", error.message);
    f.pool = pool;
    if (falkor_pool_open(pool, &error))
        fail_msg("open: %s", error.message);
}

/* A pool of at most max_size connections, one of them dialled. */
static void begin(int max_size) {
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = max_size;
    open_pool(options);
}

/* All connections are back; then the pool goes, and leaves nothing. */
static void end(void) {
    TEST_EVENTUALLY(stats().connecting == 0);   /* the worker's, of min_size */
    falkor_stats now = stats();
    assert_int_equal(now.active + now.connecting + now.closing, 0);
    assert_int_equal(now.waiting, 0);
    assert_int_equal(now.idle, fake_live(&f));
    assert_int_equal(now.acquires, now.releases);
    assert_true(fake_most_present(&f) <= now.max_size);
    assert_int_equal(falkor_pool_close(pool, TEST_PATIENCE_MS), FALKOR_OK);
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
    assert_non_null(conn);
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

/* The pool holds so many, and each of them can be had. */
static void assert_whole(int idle) {
    falkor_conn *held[64];
    assert_true(idle <= 64);
    assert_int_equal(stats().idle, idle);
    assert_int_equal(stats().total, idle);
    for (int i = 0; i < idle; i++)
        held[i] = take_within(0);
    for (int i = idle - 1; i >= 0; i--)
        give(held[i]);
}

/* A thread that acquires; held says whether it keeps what it got. */
typedef struct asker {
    int timeout_ms;
    bool keeps;
    falkor_conn *conn;
    falkor_status status;
    falkor_error error;
    int64_t began_ns, ended_ns;
    int place;                  /* in the order of success */
    atomic_bool done;
} asker;
static atomic_int places;

static void *ask(void *argument) {
    asker *self = argument;
    self->began_ns = falkor_now_ns();
    self->status = falkor_acquire_within(pool, self->timeout_ms, &self->conn,
                                         &self->error);
    self->ended_ns = falkor_now_ns();
    if (!self->status) {
        fake_own(self->conn);
        self->place = atomic_fetch_add(&places, 1);
        if (!self->keeps) {
            fake_disown(self->conn);
            TEST_CHECK(falkor_release(self->conn) == FALKOR_OK);
        }
    } else {
        TEST_CHECK(self->conn == NULL && self->status == self->error.status);
    }
    atomic_store(&self->done, true);
    return NULL;
}


/* ---- timeouts --------------------------------------------------------- */

/* A3, R1 */
static void test_pool_acquire_blocks_until_timeout(void **state) {
    (void)state;
    begin(1);
    falkor_conn *held = take();
    asker late = {.timeout_ms = 150};
    ask(&late);
    int64_t took_ns = late.ended_ns - late.began_ns;
    assert_int_equal(late.status, FALKOR_ERR_POOL_TIMEOUT);
    assert_true(took_ns >= 150 * INT64_C(1000000));
    assert_true(took_ns < (150 + SECOND_MS) * INT64_C(1000000));
    assert_int_equal(stats().acquire_timeouts, 1);
    assert_int_equal(stats().waiting, 0);
    give(held);
    end();
}

/* A3 */
static void test_pool_acquire_uses_pool_timeout(void **state) {
    (void)state;
    falkor_conn *conn = (falkor_conn *)&f;
    falkor_error error;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.pool_timeout_ms = 80;
    open_pool(options);
    falkor_conn *held = take();
    int64_t began = falkor_now_ns();
    assert_int_equal(falkor_acquire(pool, &conn, &error),
                     FALKOR_ERR_POOL_TIMEOUT);
    assert_true(falkor_now_ns() - began >= 80 * INT64_C(1000000));
    assert_null(conn);
    assert_int_equal(falkor_acquire(pool, &conn, NULL),
                     FALKOR_ERR_POOL_TIMEOUT);
    give(held);
    end();
}

/* A3 */
static void test_pool_acquire_negative_waits_on(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.pool_timeout_ms = 20;
    open_pool(options);
    falkor_conn *held = take();
    asker patient = {.timeout_ms = -1};
    test_threads thread = test_start(ask, &patient, sizeof patient, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    test_pause_ms(100);                 /* five times the pool's timeout */
    assert_false(atomic_load(&patient.done));
    give(held);
    test_join(&thread);
    assert_int_equal(patient.status, FALKOR_OK);
    end();
}

/* A3 */
static void test_pool_timeout_message_tells_numbers(void **state) {
    (void)state;
    begin(2);
    falkor_conn *held[] = {take(), take()};
    asker others[3] = {{.timeout_ms = -1}, {.timeout_ms = -1},
                       {.timeout_ms = -1}};
    test_threads threads = test_start(ask, others, sizeof *others, 3);
    TEST_EVENTUALLY(stats().waiting == 3);
    asker late = {.timeout_ms = 100};
    ask(&late);
    double seconds = 0;
    int used = 0, size = 0, waiting = 0;
    assert_int_equal(sscanf(late.error.message, "no connection free after "
        "%lf s (%d of %d in use, %d waiting)", &seconds, &used, &size,
        &waiting), 4);
    assert_true(seconds >= 0.1 && seconds < 1.2);
    assert_int_equal(used, 2);
    assert_int_equal(size, 2);
    assert_int_equal(waiting, 3);
    test_assert_has(late.error.message, "max_size");
    give(held[0]);
    give(held[1]);
    test_join(&threads);
    end();
}

/* A3, R4 */
static void test_pool_acquire_zero_fails_at_once(void **state) {
    (void)state;
    begin(1);
    falkor_conn *held = take();
    asker hasty = {.timeout_ms = 0};
    ask(&hasty);
    assert_int_equal(hasty.status, FALKOR_ERR_POOL_TIMEOUT);
    assert_true(hasty.ended_ns - hasty.began_ns <
                SECOND_MS * INT64_C(1000000));
    test_assert_has(hasty.error.message, "(1 of 1 in use, 0 waiting)");
    give(held);
    end();
}

static void test_pool_acquire_zero_dials_with_room(void **state) {
    (void)state;
    begin(2);
    falkor_conn *first = take_within(0);
    falkor_conn *second = take_within(0);
    assert_int_equal(fake_opened(&f), 2);
    give(second);
    give(first);
    assert_whole(2);
    end();
}

static void test_pool_acquire_refuses_null(void **state) {
    (void)state;
    falkor_conn *conn = (falkor_conn *)&f;
    falkor_error error;
    begin(1);
    assert_int_equal(falkor_acquire(NULL, &conn, &error), FALKOR_ERR_ARGUMENT);
    assert_null(conn);
    assert_int_equal(falkor_acquire(pool, NULL, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_acquire_within(NULL, 0, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_null(falkor_conn_handle(NULL));
    falkor_conn_mark_broken(NULL);
    assert_int_equal(stats().acquires, 1);      /* the opening's own */
    end();
}

/* ---- hand-off --------------------------------------------------------- */

/* A3, A4, R2 */
static void test_pool_acquire_blocks_until_released(void **state) {
    (void)state;
    begin(1);
    falkor_conn *held = take();
    void *handle = fake_of(held);
    asker next = {.timeout_ms = TEST_PATIENCE_MS, .keeps = true};
    test_threads thread = test_start(ask, &next, sizeof next, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    assert_false(atomic_load(&next.done));
    int64_t before = falkor_now_ns();
    give(held);
    test_join(&thread);
    assert_int_equal(next.status, FALKOR_OK);
    assert_true(next.ended_ns >= before);
    assert_ptr_equal(fake_of(next.conn), handle);
    give(next.conn);                    /* by another thread: allowed */
    assert_int_equal(fake_opened(&f), 1);
    end();
}

/* A5, R3 */
static void test_pool_acquire_reuses_released(void **state) {
    (void)state;
    begin(5);
    void *handle = NULL;
    for (int i = 0; i < 100; i++) {
        falkor_conn *conn = take();
        assert_true(i == 0 || fake_of(conn) == handle);
        handle = fake_of(conn);
        give(conn);
    }
    assert_int_equal(fake_opened(&f), 1);
    end();
}

/* The releaser asks again at once: he comes behind all who wait. */
/* A4, M5 */
static void test_pool_waiters_are_served_in_order(void **state) {
    (void)state;
    asker waiting[20] = {0};
    test_threads threads[20];
    begin(1);
    falkor_conn *held = take();
    atomic_store(&places, 0);
    for (int i = 0; i < 20; i++) {
        waiting[i].timeout_ms = -1;
        threads[i] = test_start(ask, &waiting[i], sizeof *waiting, 1);
        TEST_EVENTUALLY(stats().waiting == i + 1);
    }
    give(held);
    held = take();
    int mine = atomic_fetch_add(&places, 1);
    give(held);
    for (int i = 0; i < 20; i++)
        test_join(&threads[i]);
    for (int i = 0; i < 20; i++)
        assert_int_equal(waiting[i].place, i);
    assert_int_equal(mine, 20);
    assert_int_equal(fake_opened(&f), 1);
    end();
}

/* Who does not wait takes no one's turn, though a connection comes back. */
/* A4, M5 */
static void test_pool_zero_timeout_overtakes_nobody(void **state) {
    (void)state;
    begin(1);
    falkor_conn *held = take();
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads thread = test_start(ask, &waiting, sizeof waiting, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    give(held);
    asker hasty = {.timeout_ms = 0};
    ask(&hasty);
    assert_int_equal(hasty.status, FALKOR_ERR_POOL_TIMEOUT);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_OK);
    give(waiting.conn);
    end();
}

/* One in the middle gives up: the others keep their order. */
/* A4, M4 */
static void test_pool_timeout_leaves_the_queue_whole(void **state) {
    (void)state;
    asker waiting[5] = {0};
    test_threads threads[5];
    begin(1);
    falkor_conn *held = take();
    atomic_store(&places, 0);
    for (int i = 0; i < 5; i++) {
        waiting[i].timeout_ms = i == 2 ? 60 : -1;
        threads[i] = test_start(ask, &waiting[i], sizeof *waiting, 1);
        /* the one that gives up may have done so on a slow machine */
        TEST_EVENTUALLY(stats().waiting +
                        (int)stats().acquire_timeouts == i + 1);
    }
    test_join(&threads[2]);
    assert_int_equal(waiting[2].status, FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(stats().waiting, 4);
    give(held);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            test_join(&threads[i]);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            assert_int_equal(waiting[i].place, i - (i > 2));
    end();
}

/* A5 */
static void test_pool_idle_is_last_in_first_out(void **state) {
    (void)state;
    begin(4);
    falkor_conn *held[4];
    void *handles[4];
    for (int i = 0; i < 4; i++) {
        held[i] = take();
        handles[i] = fake_of(held[i]);
    }
    static const int order[] = {2, 0, 3, 1};
    for (int i = 0; i < 4; i++)
        give(held[order[i]]);
    for (int i = 0; i < 4; i++) {
        held[i] = take();
        assert_ptr_equal(fake_of(held[i]), handles[order[3 - i]]);
    }
    for (int i = 0; i < 4; i++)
        give(held[i]);
    end();
}

/* A14 */
static void test_pool_max_waiters_refuses_at_once(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.max_waiters = 2;
    open_pool(options);
    falkor_conn *held = take();
    asker waiting[2] = {{.timeout_ms = -1}, {.timeout_ms = -1}};
    test_threads threads = test_start(ask, waiting, sizeof *waiting, 2);
    TEST_EVENTUALLY(stats().waiting == 2);
    asker third = {.timeout_ms = TEST_PATIENCE_MS};
    ask(&third);
    assert_int_equal(third.status, FALKOR_ERR_POOL_EXHAUSTED);
    assert_true(third.ended_ns - third.began_ns <
                SECOND_MS * INT64_C(1000000));
    test_assert_has(third.error.message, "2 wait");
    test_assert_has(third.error.message, "1 of 1 in use");
    asker hasty = {.timeout_ms = 0};            /* no waiter */
    ask(&hasty);
    assert_int_equal(hasty.status, FALKOR_ERR_POOL_TIMEOUT);
    give(held);
    test_join(&threads);
    asker fourth = {.timeout_ms = TEST_PATIENCE_MS};
    ask(&fourth);
    assert_int_equal(fourth.status, FALKOR_OK);
    end();
}

/* A connection comes back for one of two: the other does not get the reserve
   with it, before his time. */
/* A13 */
static void test_pool_reserve_is_for_who_has_waited(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.reserve_size = 2;
    options.reserve_after_ms = 600000;
    open_pool(options);
    falkor_conn *held = take();
    asker first = {.timeout_ms = -1, .keeps = true}, second = first;
    test_threads one = test_start(ask, &first, sizeof first, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    test_threads other = test_start(ask, &second, sizeof second, 1);
    TEST_EVENTUALLY(stats().waiting == 2);
    give(held);
    test_join(&one);
    assert_int_equal(first.status, FALKOR_OK);
    assert_int_equal(stats().waiting, 1);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    give(first.conn);
    test_join(&other);
    assert_int_equal(second.status, FALKOR_OK);
    give(second.conn);
    end();
}

/* ---- release ---------------------------------------------------------- */

/* A23 */
static void test_pool_release_null_is_refused(void **state) {
    (void)state;
    begin(1);
    assert_int_equal(falkor_release(NULL), FALKOR_ERR_ARGUMENT);
    assert_int_equal(stats().releases, 1);      /* the opening's own */
    end();
}

/* A connection goes to its own pool, whoever releases it, and is of no use in
   another. */
/* A23, R5 */
static void test_pool_release_of_foreign_changes_nothing(void **state) {
    (void)state;
    falkor_error error;
    falkor_pool *other, *builtin;
    falkor_result *result = (falkor_result *)&f;
    falkor_stats before, after;
    fake g;
    begin(2);
    fake_begin(&g);
    falkor_options options = fake_options(&g);
    options.max_size = 2;
    assert_int_equal(falkor_pool_create(&options, &other, &error), FALKOR_OK);
    g.pool = other;
    assert_int_equal(falkor_pool_open(other, &error), FALKOR_OK);
    falkor_pool_stats(other, &before);
    falkor_conn *conn = take();

    assert_int_equal(falkor_pool_create(NULL, &builtin, &error), FALKOR_OK);
    falkor_graph *graph = falkor_select_graph(builtin, "g");
    assert_int_equal(falkor_query_with(graph,
        &(falkor_call_options){.conn = conn}, "RETURN 1", NULL, &result,
        &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "of another pool");
    assert_null(result);
    falkor_graph_free(graph);
    falkor_pool_free(builtin);
    assert_int_equal(stats().active, 1);

    give(conn);
    falkor_pool_stats(other, &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(stats().active, 0);
    assert_int_equal(fake_begun(&g, FAKE_RESET), 1);    /* its opening's */
    falkor_pool_free(other);
    fake_end(&g);
    end();
}

/* A23, M13 */
static void test_pool_double_release_is_refused(void **state) {
    (void)state;
    enum { SIZE = 5 };
    begin(SIZE);
    falkor_conn *stale = take(), *held[SIZE];
    give(stale);
    assert_int_equal(falkor_release(stale), FALKOR_ERR_ARGUMENT);
    assert_int_equal(stats().idle, 1);
    /* Refused still when others hold all the connections. */
    for (int i = 0; i < SIZE; i++) {
        held[i] = take();
        assert_ptr_not_equal(held[i], stale);
        assert_int_equal(falkor_release(stale), FALKOR_ERR_ARGUMENT);
        assert_null(falkor_conn_handle(stale));
    }
    assert_int_equal(stats().active, SIZE);
    for (int i = 0; i < SIZE; i++)
        give(held[i]);
    assert_int_equal(falkor_release(stale), FALKOR_ERR_ARGUMENT);
    assert_whole(SIZE);
    end();
}

/* The lease of a release is not used again before max_size other acquires. */
/* A23, M13 */
static void test_pool_double_release_after_many_acquires(void **state) {
    (void)state;
    enum { SIZE = 7 };
    begin(SIZE);
    for (int round = 0; round < 100; round++) {
        falkor_conn *held[SIZE], *stale = take();
        give(stale);
        for (int i = 0; i < round % SIZE; i++)
            held[i] = take();
        for (int i = 0; i < SIZE - round % SIZE; i++) {
            assert_int_equal(falkor_release(stale), FALKOR_ERR_ARGUMENT);
            falkor_conn *conn = take();
            assert_ptr_not_equal(conn, stale);
            give(conn);
        }
        assert_int_equal(falkor_release(stale), FALKOR_ERR_ARGUMENT);
        for (int i = 0; i < round % SIZE; i++)
            give(held[i]);
    }
    end();
}

typedef struct releaser {
    falkor_conn *conn;
    pthread_barrier_t *start;
    falkor_status status;
} releaser;

static void *release_run(void *argument) {
    releaser *self = argument;
    pthread_barrier_wait(self->start);
    self->status = falkor_release(self->conn);
    return NULL;
}

static void release_by_two(bool with_reset, int rounds) {
    pthread_barrier_t start;
    begin(2);
    if (!with_reset) {
        end();
        fake_begin(&f);
        f.driver.reset = NULL;
        falkor_options options = fake_options(&f);
        options.max_size = 2;
        open_pool(options);
    }
    for (int i = 0; i < rounds; i++) {
        falkor_conn *conn = take();
        fake_disown(conn);
        assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
        releaser both[2] = {{conn, &start, FALKOR_OK},
                            {conn, &start, FALKOR_OK}};
        test_threads threads = test_start(release_run, both, sizeof *both, 2);
        test_join(&threads);
        pthread_barrier_destroy(&start);
        assert_int_equal(both[0].status + both[1].status, FALKOR_ERR_ARGUMENT);
        assert_int_equal(stats().active, 0);
        assert_int_equal(stats().idle, 1);
    }
    end();
}

/* A23, M13 */
static void test_pool_double_release_by_two_threads(void **state) {
    (void)state;
    release_by_two(true, 300);
    release_by_two(false, 300);
}

/* While the first release is in reset, the second is refused at once. */
/* A23, M13 */
static void test_pool_double_release_during_reset(void **state) {
    (void)state;
    pthread_barrier_t start;
    begin(1);
    falkor_conn *conn = take();
    fake_disown(conn);
    fake_shut(&f, FAKE_RESET);
    pthread_barrier_init(&start, NULL, 1);
    releaser first = {conn, &start, FALKOR_ERR_IO};
    test_threads thread = test_start(release_run, &first, sizeof first, 1);
    fake_await_inside(&f, FAKE_RESET, 1);
    assert_int_equal(falkor_release(conn), FALKOR_ERR_ARGUMENT);
    assert_null(falkor_conn_handle(conn));
    fake_lift(&f, FAKE_RESET);
    test_join(&thread);
    pthread_barrier_destroy(&start);
    assert_int_equal(first.status, FALKOR_OK);
    end();
}

/* A23, M13 */
static void test_pool_stale_token_does_nothing(void **state) {
    (void)state;
    begin(1);
    falkor_conn *stale = take();
    give(stale);
    falkor_conn *held = take();
    assert_null(falkor_conn_handle(stale));
    falkor_conn_mark_broken(stale);
    assert_int_equal(falkor_release(stale), FALKOR_ERR_ARGUMENT);
    assert_non_null(falkor_conn_handle(held));
    give(held);
    assert_int_equal(fake_closed(&f), 0);
    assert_int_equal(stats().connections_recycled, 0);
    end();
}

/* A24 */
static void test_pool_broken_is_closed_on_release(void **state) {
    (void)state;
    begin(2);
    falkor_conn *conn = take();
    fake_handle *first = fake_of(conn);
    falkor_conn_mark_broken(conn);
    assert_false(atomic_load(&first->closed));  /* on release, not before */
    give(conn);
    TEST_EVENTUALLY(stats().idle == 1);         /* min_size is kept */
    assert_true(atomic_load(&first->closed));
    assert_int_equal(first->done[FAKE_RESET], 1);   /* only its opening's */
    assert_int_equal(stats().connections_recycled, 1);
    fake_event event;
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=broken");
    /* The mark goes with its lease, also when that is used again. */
    for (int i = 0; i < 100; i++) {
        conn = take();
        assert_ptr_not_equal(fake_of(conn), first);
        give(conn);
    }
    assert_int_equal(fake_closed(&f), 1);
    end();
}

/* A15, A24 */
static void test_pool_unclean_is_closed_on_release(void **state) {
    (void)state;
    begin(2);
    falkor_conn *conn = take();
    fake_handle *first = fake_of(conn);
    atomic_store(&first->dirty, true);
    give(conn);
    TEST_EVENTUALLY(stats().idle == 1);
    assert_true(atomic_load(&first->closed));
    assert_int_equal(stats().connections_recycled, 1);
    fake_event event;
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=unclean");
    end();
}

/* Closing counts until it is done; then its slot goes to who waits. */
/* A1, A4, M7, M9 */
static void test_pool_broken_slot_goes_to_the_waiter(void **state) {
    (void)state;
    begin(1);
    falkor_conn *conn = take();
    fake_handle *first = fake_of(conn);
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads asks = test_start(ask, &waiting, sizeof waiting, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    fake_shut(&f, FAKE_CLOSE);
    falkor_conn_mark_broken(conn);
    fake_disown(conn);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 1);
    releaser self = {conn, &start, FALKOR_ERR_IO};
    test_threads releases = test_start(release_run, &self, sizeof self, 1);
    fake_await_inside(&f, FAKE_CLOSE, 1);
    assert_int_equal(stats().closing, 1);
    assert_int_equal(stats().total, 1);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 1);
    fake_lift(&f, FAKE_CLOSE);
    test_join(&releases);
    test_join(&asks);
    pthread_barrier_destroy(&start);
    assert_int_equal(waiting.status, FALKOR_OK);
    assert_ptr_not_equal(fake_of(waiting.conn), first);
    give(waiting.conn);
    end();
}

/* ---- dialling --------------------------------------------------------- */

/* A6, M7, R8 */
static void test_pool_connect_error_leaves_nothing(void **state) {
    (void)state;
    falkor_conn *conn = (falkor_conn *)&f;
    falkor_error error;
    begin(2);
    falkor_conn *held = take();
    for (int i = 0; i < 10; i++) {
        fake_fail(&f, FAKE_OPEN, 1);
        assert_int_equal(falkor_acquire(pool, &conn, &error),
                         FALKOR_ERR_CONNECT);
        assert_null(conn);
        assert_string_equal(error.message, "refused by the fake");
        assert_int_equal(error.sys_errno, ECONNREFUSED);
        assert_int_equal(stats().total, 1);
        assert_int_equal(stats().active, 1);
    }
    assert_int_equal(stats().connect_failures, 10);
    assert_int_equal(fake_event_count(&f, "connection_failed"), 10);
    conn = take();                      /* and the slot is still there */
    give(conn);
    give(held);
    assert_whole(2);
    end();
}

/* A9, M8 */
static void test_pool_dial_keeps_both_deadlines(void **state) {
    (void)state;
    begin(2);
    falkor_conn *held = take();
    int64_t before = falkor_now_ns();
    falkor_conn *conn = take_within(300);
    int64_t after = falkor_now_ns(), deadline = f.open_deadline_ns;
    assert_true(deadline >= before + 300 * INT64_C(1000000));
    assert_true(deadline <= after + 300 * INT64_C(1000000));
    falkor_conn_mark_broken(conn);
    give(conn);
    TEST_EVENTUALLY(stats().total == 1);
    before = falkor_now_ns();
    conn = take_within(0);              /* connect_timeout_ms, 5 s */
    after = falkor_now_ns();
    deadline = f.open_deadline_ns;
    assert_true(deadline >= before + 5000 * INT64_C(1000000));
    assert_true(deadline <= after + 5000 * INT64_C(1000000));
    falkor_conn_mark_broken(conn);
    give(conn);
    TEST_EVENTUALLY(stats().total == 1);
    conn = take_within(600000);         /* the same: not all of that time */
    assert_true(f.open_deadline_ns <= falkor_now_ns() +
                5000 * INT64_C(1000000));
    give(conn);
    give(held);
    end();
}

/* A hanging dial: its own caller gives up in time, and others get on. */
/* A6, M8 */
static void test_pool_dials_outside_the_lock(void **state) {
    (void)state;
    begin(3);
    falkor_conn *first = take();
    fake_shut(&f, FAKE_OPEN);
    asker dials[2] = {{.timeout_ms = -1}, {.timeout_ms = 1000}};
    test_threads threads = test_start(ask, dials, sizeof *dials, 2);
    fake_await_inside(&f, FAKE_OPEN, 2);        /* both at the same time */
    assert_int_equal(stats().connecting, 2);
    for (int i = 0; i < 100; i++) {
        give(first);
        first = take_within(0);
    }
    TEST_EVENTUALLY(atomic_load(&dials[1].done));
    assert_int_equal(dials[1].status, FALKOR_ERR_CONNECT);
    assert_true(dials[1].ended_ns - dials[1].began_ns >=
                1000 * INT64_C(1000000));
    assert_true(dials[1].ended_ns - dials[1].began_ns <
                (1000 + SECOND_MS) * INT64_C(1000000));
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads);
    assert_int_equal(dials[0].status, FALKOR_OK);
    give(first);
    end();
}

/* Fifty at once against a server that does not answer: each is over at its own
   deadline, not one after the other. */
/* A6, M8 */
static void test_pool_dials_do_not_queue(void **state) {
    (void)state;
    asker dials[50] = {0};
    begin(50);
    falkor_conn *first = take();
    fake_shut(&f, FAKE_OPEN);
    for (int i = 0; i < 50; i++)
        dials[i].timeout_ms = 300;
    test_threads threads = test_start(ask, dials, sizeof *dials, 50);
    test_join(&threads);
    for (int i = 0; i < 50; i++) {
        assert_true(dials[i].status == FALKOR_ERR_CONNECT ||
                    dials[i].status == FALKOR_ERR_POOL_TIMEOUT);
        assert_true(dials[i].ended_ns - dials[i].began_ns <
                    (300 + SECOND_MS) * INT64_C(1000000));
    }
    fake_lift(&f, FAKE_OPEN);
    give(first);
    assert_whole(1);
    end();
}

/* The dial of the first waiter fails: the next one tries himself, and so on;
   nobody sleeps on, nobody but he is woken. */
/* A6, M3 */
static void test_pool_failed_dial_wakes_exactly_one(void **state) {
    (void)state;
    asker waiting[3] = {0};
    test_threads threads[3];
    begin(1);
    falkor_conn *held = take();
    for (int i = 0; i < 3; i++) {
        waiting[i].timeout_ms = -1;
        waiting[i].keeps = true;
        threads[i] = test_start(ask, &waiting[i], sizeof *waiting, 1);
        TEST_EVENTUALLY(stats().waiting == i + 1);
    }
    fake_shut(&f, FAKE_OPEN);
    falkor_conn_mark_broken(held);
    give(held);
    for (int i = 0; i < 2; i++) {
        fake_await_inside(&f, FAKE_OPEN, 1);
        assert_int_equal(stats().waiting, 2 - i);
        assert_int_equal(stats().connecting, 1);
        fake_fail(&f, FAKE_OPEN, 1);
        fake_permit(&f, FAKE_OPEN, 1);
        test_join(&threads[i]);
        assert_int_equal(waiting[i].status, FALKOR_ERR_CONNECT);
    }
    fake_await_inside(&f, FAKE_OPEN, 1);
    assert_int_equal(stats().waiting, 0);
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads[2]);
    assert_int_equal(waiting[2].status, FALKOR_OK);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), 4);     /* the first: open */
    give(waiting[2].conn);
    end();
}

static void *dial_and_break(void *argument) {
    uint64_t random = *(uint64_t *)argument;
    for (int i = 0; i < 60; i++) {
        falkor_conn *conn;
        falkor_error error;
        falkor_status status = falkor_acquire_within(pool, TEST_PATIENCE_MS,
                                                     &conn, &error);
        if (status) {
            TEST_COMPLAIN("%s", error.message);
            continue;
        }
        fake_own(conn);
        if (test_chance(&random, 3))
            falkor_conn_mark_broken(conn);
        fake_disown(conn);
        falkor_release(conn);
    }
    return NULL;
}

/* Those being dialled and those being closed count too. */
/* A1, M9 */
static void test_pool_never_exceeds_max_size(void **state) {
    (void)state;
    uint64_t seeds[32];
    for (int i = 0; i < 32; i++)
        seeds[i] = test_seed() + (uint64_t)i;
    begin(5);
    f.delay_us = 3000;
    f.random = test_seed();
    test_threads threads = test_start(dial_and_break, seeds, sizeof *seeds,
                                      32);
    test_join_within(&threads, 60000);
    assert_int_equal(fake_most_present(&f), 5);
    end();
}

/* ---- drivers ---------------------------------------------------------- */

/* A25 */
static void test_pool_driver_needs_open_and_close_only(void **state) {
    (void)state;
    fake_begin(&f);
    f.driver.check = NULL;
    f.driver.reset = NULL;
    f.driver.shutdown = NULL;
    falkor_options options = fake_options(&f);
    options.max_size = 2;
    options.validate_after_ms = 1;
    options.health_check_interval_ms = 1;
    open_pool(options);
    falkor_conn *held[] = {take(), take()};
    asker hasty = {.timeout_ms = 0};
    ask(&hasty);
    assert_int_equal(hasty.status, FALKOR_ERR_POOL_TIMEOUT);
    asker waiting = {.timeout_ms = -1};
    test_threads thread = test_start(ask, &waiting, sizeof waiting, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    give(held[0]);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_OK);
    assert_int_equal(falkor_release(held[0]), FALKOR_ERR_ARGUMENT);
    falkor_conn_mark_broken(held[1]);
    give(held[1]);
    assert_int_equal(fake_closed(&f), 1);
    assert_whole(1);
    end();
}

/* A25 */
static void test_pool_driver_statuses(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    begin(2);
    falkor_conn *held = take();
    for (int i = 1; i < FALKOR_STATUS_COUNT + 3; i++) {
        f.open_status = (falkor_status)i;
        fake_fail(&f, FAKE_OPEN, 1);
        falkor_status status = falkor_acquire(pool, &conn, &error);
        assert_int_equal(status, i == FALKOR_ERR_AUTH ? FALKOR_ERR_AUTH
                                                      : FALKOR_ERR_CONNECT);
        assert_int_equal(error.status, status);
        assert_string_equal(error.message, "refused by the fake");
    }
    give(held);
    end();
}

/* A25 */
static void test_pool_driver_without_words_gets_some(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    begin(2);
    falkor_conn *held = take();
    f.open_message = "";
    fake_fail(&f, FAKE_OPEN, 1);
    memset(&error, 'x', sizeof error);
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_ERR_CONNECT);
    assert_string_equal(error.message,
                        "the driver could not open a connection");
    assert_int_equal(error.sys_errno, ECONNREFUSED);
    assert_false(error.maybe_executed);
    give(held);
    end();
}

/* ---- checks ----------------------------------------------------------- */

/* A11 */
static void test_pool_fast_check_at_every_acquire(void **state) {
    (void)state;
    for (int size = 1; size <= 4; size += 3) {
        begin(size);
        falkor_conn *held = size > 1 ? take() : NULL;
        give(take());                   /* a pocket is open, with another */
        for (int i = 0; i < 10; i++) {
            int before = fake_begun(&f, FAKE_FAST);
            give(take());
            assert_int_equal(fake_begun(&f, FAKE_FAST), before + 1);
        }
        assert_int_equal(fake_begun(&f, FAKE_MEDIUM), 0);
        if (held)
            give(held);
        end();
    }
}

/* Behind its first duties: it is away but while it waits, with the lock. */
static bool worker_sleeps(void) {
    falkor__lock_as_is(pool);
    bool sleeps = !pool->away;
    falkor__unlock(pool);
    return sleeps;
}

/* The caller gets another idle one, and never sees the sick. */
/* A11 */
static void test_pool_unfit_is_replaced_by_an_idle_one(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = 3;
    options.max_size = 5;
    open_pool(options);
    TEST_EVENTUALLY(stats().idle == 3 && worker_sleeps());
    falkor_conn *conn = take();
    fake_handle *sick = fake_of(conn);
    give(conn);
    atomic_store(&sick->sick, true);
    conn = take();
    assert_ptr_not_equal(fake_of(conn), sick);
    assert_true(atomic_load(&sick->closed));
    assert_int_equal(stats().health_failures, 1);
    assert_int_equal(stats().connections_recycled, 1);
    fake_event event;
    assert_true(fake_event_found(&f, "connection_recycled", &event));
    assert_string_equal(event.message, "reason=health_check");
    give(conn);
    TEST_EVENTUALLY(stats().idle == 3);         /* min_size is kept */
    assert_whole(3);
    end();
}

/* After the server's restart all idle ones are unfit. */
/* A11 */
static void test_pool_all_unfit_are_replaced(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = 3;
    options.max_size = 3;
    open_pool(options);
    for (fake_handle *handle = fake_newest(&f); handle; handle = handle->next)
        atomic_store(&handle->sick, true);
    falkor_conn *conn = take();
    assert_false(atomic_load(&fake_of(conn)->sick));
    assert_int_equal(stats().health_failures, 3);
    assert_int_equal(fake_closed(&f), 3);
    give(conn);
    TEST_EVENTUALLY(stats().idle == 3);
    assert_whole(3);
    end();
}

/* The unfit one's close counts against max_size, and its slot is lost neither
   when the dial that replaces it fails. */
/* A1, A11, M7 */
static void test_pool_unfit_and_failed_dial(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.retry_initial_delay_ms = 2000;      /* of the worker's dials */
    open_pool(options);
    atomic_store(&fake_newest(&f)->sick, true);
    fake_fail(&f, FAKE_OPEN, 1);
    assert_int_equal(falkor_acquire_within(pool, 5000, &conn, &error),
                     FALKOR_ERR_CONNECT);
    TEST_EVENTUALLY(stats().connecting == 0);
    conn = take();
    give(conn);
    assert_int_equal(fake_most_present(&f), 1);
    end();
}

/* A waiter's connection is checked too. */
/* A11 */
static void test_pool_handed_over_is_checked(void **state) {
    (void)state;
    begin(1);
    falkor_conn *held = take();
    fake_handle *sick = fake_of(held);
    asker waiting = {.timeout_ms = -1, .keeps = true};
    test_threads thread = test_start(ask, &waiting, sizeof waiting, 1);
    TEST_EVENTUALLY(stats().waiting == 1);
    atomic_store(&sick->sick, true);
    give(held);
    test_join(&thread);
    assert_int_equal(waiting.status, FALKOR_OK);
    assert_ptr_not_equal(fake_of(waiting.conn), sick);
    give(waiting.conn);
    end();
}

/* A11 */
static void test_pool_medium_check_after_idle_time(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.validate_after_ms = 1500;
    open_pool(options);
    int64_t began = test_now_ms();
    for (int i = 0; i < 5; i++)
        give(take());
    if (test_now_ms() - began < 1000)
        assert_int_equal(fake_begun(&f, FAKE_MEDIUM), 0);
    int before = fake_begun(&f, FAKE_MEDIUM);
    test_pause_ms(1550);                /* nothing to wait for but the time */
    int64_t asked = falkor_now_ns();
    falkor_conn *conn = take_within(4000);
    assert_int_equal(fake_begun(&f, FAKE_MEDIUM), before + 1);
    /* A new dial keeps at least half of the caller's time. */
    assert_true(f.medium_deadline_ns <= asked + 2500 * INT64_C(1000000));
    give(conn);
    test_pause_ms(1550);
    fake_fail(&f, FAKE_MEDIUM, 1);
    conn = take();
    assert_int_equal(fake_of(conn)->id, 2);
    assert_int_equal(stats().health_failures, 1);
    give(conn);
    end();
}

/* The worker empties the pockets in time: what is taken out of one has not lain
   there for longer. */
/* A11 */
static void test_pool_medium_check_after_idle_time_in_a_pocket(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 4;
    options.validate_after_ms = 1000;   /* with less there are no pockets */
    open_pool(options);
    for (int i = 0; i < 2; i++) {
        give(take());
        int before = fake_begun(&f, FAKE_MEDIUM);
        test_pause_ms(1700);            /* nothing to wait for but the time */
        give(take());
        assert_int_equal(fake_begun(&f, FAKE_MEDIUM), before + 1);
    }
    end();
}

/* The worker does not rest while somebody replaces the only connection. */
/* A11 */
static void test_pool_medium_check_after_a_replacement(void **state) {
    (void)state;
    asker one = {.timeout_ms = TEST_PATIENCE_MS, .keeps = true};
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 4;
    options.validate_after_ms = 1000;
    open_pool(options);
    fake_fail(&f, FAKE_FAST, 1);
    fake_shut(&f, FAKE_CLOSE);
    test_threads threads = test_start(ask, &one, sizeof one, 1);
    fake_await_inside(&f, FAKE_CLOSE, 1);
    test_pause_ms(1200);                /* the worker looks meanwhile */
    fake_lift(&f, FAKE_CLOSE);
    test_join(&threads);
    give(one.conn);
    int before = fake_begun(&f, FAKE_MEDIUM);
    test_pause_ms(1700);                /* nothing to wait for but the time */
    give(take());
    assert_int_equal(fake_begun(&f, FAKE_MEDIUM), before + 1);
    end();
}

/* Nothing is put into a pocket while the worker is not there to empty it. */
/* A11 */
static void test_pool_medium_check_while_the_worker_dials(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 4;
    options.min_size = 2;
    options.validate_after_ms = 1000;
    open_pool(options);
    falkor_conn *first = take(), *second = take();
    fake_shut(&f, FAKE_OPEN);
    falkor_conn_mark_broken(first);
    give(first);
    fake_await_inside(&f, FAKE_OPEN, 1);
    give(second);
    int before = fake_begun(&f, FAKE_MEDIUM);
    test_pause_ms(1700);                /* nothing to wait for but the time */
    give(take());
    assert_int_equal(fake_begun(&f, FAKE_MEDIUM), before + 1);
    fake_lift(&f, FAKE_OPEN);
    end();
}

/* A11 */
static void test_pool_medium_check_on_every_acquire(void **state) {
    (void)state;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.validate_after_ms = 1;
    open_pool(options);
    for (int i = 0; i < 10; i++) {
        int before = fake_begun(&f, FAKE_MEDIUM);
        test_pause_ms(12);              /* the coarse clock's steps */
        give(take());
        assert_int_equal(fake_begun(&f, FAKE_MEDIUM), before + 1);
    }
    end();
}

/* ---- counters --------------------------------------------------------- */

static atomic_bool pocketed, may_take_again, taken_again, may_give;

static bool in_time(const atomic_bool *flag) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!atomic_load(flag) && test_now_ms() < until)
        test_pause_ms(1);
    return atomic_load(flag);
}

/* A thread that has taken and given runs on, and is held in the check of what
   it takes out of its pocket; held: another connection. */
static test_threads check_out_of_pocket(void *(*run)(void *),
                                        falkor_conn **held) {
    static char none;
    begin(4);
    *held = take();
    test_pause_ms(50);                  /* the worker has seen it: it sleeps */
    atomic_store(&pocketed, false);
    atomic_store(&may_take_again, false);
    atomic_store(&taken_again, false);
    atomic_store(&may_give, false);
    test_threads threads = test_start(run, &none, sizeof none, 1);
    TEST_EVENTUALLY(atomic_load(&pocketed));
    fake_shut(&f, FAKE_FAST);
    atomic_store(&may_take_again, true);
    fake_await_inside(&f, FAKE_FAST, 1);
    return threads;
}

static void *take_out_of_pocket(void *argument) {
    falkor_conn *conn;
    (void)argument;
    TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_OK);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    atomic_store(&pocketed, true);
    TEST_CHECK(in_time(&may_take_again));
    TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_OK);
    atomic_store(&taken_again, true);
    TEST_CHECK(in_time(&may_give));
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    return NULL;
}

/* Who looks in the middle of an acquire does not count a release that is not
   there at the next look. */
/* A25 */
static void test_pool_counters_never_fall(void **state) {
    (void)state;
    falkor_conn *held;
    test_threads threads = check_out_of_pocket(take_out_of_pocket, &held);
    falkor_stats before = stats();
    assert_int_equal(before.acquires, before.releases + 1);
    fake_lift(&f, FAKE_FAST);
    TEST_EVENTUALLY(atomic_load(&taken_again));
    falkor_stats after = stats();
    assert_int_equal(after.acquires, before.acquires + 1);
    assert_int_equal(after.releases, before.releases);
    atomic_store(&may_give, true);
    test_join(&threads);
    assert_int_equal(stats().releases, before.releases + 1);
    give(held);
    end();
}

static void *take_while_it_is_closed(void *argument) {
    falkor_conn *conn;
    (void)argument;
    TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_OK);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    atomic_store(&pocketed, true);
    TEST_CHECK(in_time(&may_take_again));
    TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_ERR_CLOSED && !conn);
    return NULL;
}

/* What is taken out of a pocket while close cuts the others is given back, by
   who takes it, and closed. */
/* A8 */
static void test_pool_close_meets_who_takes_from_a_pocket(void **state) {
    (void)state;
    falkor_conn *held;
    test_threads threads = check_out_of_pocket(take_while_it_is_closed, &held);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    fake_lift(&f, FAKE_FAST);
    test_join(&threads);
    assert_int_equal(stats().total, 1);
    give(held);
    assert_int_equal(fake_live(&f), 0);
    end();
}

/* Acquires that waited, or not, as a snapshot has them. */
static uint64_t waits(void) {
    falkor_snapshot *snapshot;
    assert_int_equal(falkor_snapshot_take(pool, &snapshot, NULL), FALKOR_OK);
    uint64_t count = falkor_snapshot_latency(snapshot,
                                             FALKOR_LATENCY_WAIT).count;
    falkor_snapshot_free(snapshot);
    return count;
}

/* Nor does who looks in the middle of a dial count an acquire that comes to
   nothing. */
/* A25 */
static void test_pool_counters_never_fall_by_a_dial(void **state) {
    (void)state;
    asker fails = {.timeout_ms = -1};
    begin(2);
    falkor_conn *held = take();
    fake_shut(&f, FAKE_OPEN);
    test_threads threads = test_start(ask, &fails, sizeof fails, 1);
    fake_await_inside(&f, FAKE_OPEN, 1);
    falkor_stats before = stats();
    uint64_t waits_before = waits();
    assert_int_equal(before.acquires, before.releases + 1);
    assert_int_equal(waits_before, before.acquires);
    fake_fail(&f, FAKE_OPEN, 1);
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads);
    assert_int_equal(fails.status, FALKOR_ERR_CONNECT);
    assert_int_equal(stats().acquires, before.acquires);
    assert_int_equal(stats().releases, before.releases);
    assert_int_equal(waits(), waits_before + 1);
    give(held);
    end();
}

/* ---- many at once ----------------------------------------------------- */

typedef struct racer {
    uint64_t random;
    int64_t until_ms;
    int grants, timeouts;
} racer;

static void *race_timeouts(void *argument) {
    racer *self = argument;
    while (test_now_ms() < self->until_ms) {
        falkor_conn *conn;
        falkor_error error;
        falkor_status status = falkor_acquire_within(pool,
            1 + test_below(&self->random, 3), &conn, &error);
        if (status) {
            TEST_CHECK(status == FALKOR_ERR_POOL_TIMEOUT);
            self->timeouts++;
            continue;
        }
        self->grants++;
        fake_own(conn);
        int64_t hold_ns = falkor_now_ns() + test_below(&self->random, 3000000);
        while (falkor_now_ns() < hold_ns)       /* about the others' time */
            test_pause_ms(test_below(&self->random, 2));
        fake_disown(conn);
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    }
    return NULL;
}

/* Releases meet timeouts all the time: no connection is lost by it. */
/* A4, M4 */
static void test_pool_grant_beats_timeout(void **state) {
    (void)state;
    racer racers[16];
    int grants = 0, timeouts = 0;
    begin(4);
    for (int i = 0; i < 16; i++)
        racers[i] = (racer){test_seed() + (uint64_t)i, test_now_ms() + 2000,
                            0, 0};
    test_threads threads = test_start(race_timeouts, racers, sizeof *racers,
                                      16);
    test_join(&threads);
    for (int i = 0; i < 16; i++) {
        grants += racers[i].grants;
        timeouts += racers[i].timeouts;
    }
    printf("%d grants, %d timeouts\n", grants, timeouts);
    assert_true(grants > 100 && timeouts > 100);
    assert_int_equal(stats().acquire_timeouts, timeouts);
    assert_int_equal(stats().acquires, grants + 1);
    assert_whole(fake_live(&f));
    end();
}

/* A check between "nothing free" and "I wait" would lose a release: then two
   on one connection would stop for ever. */
static void *take_turns(void *argument) {
    int64_t until_ms = test_now_ms() + 1500;
    while (test_now_ms() < until_ms) {
        falkor_conn *conn;
        if (!TEST_CHECK(falkor_acquire_within(pool, TEST_PATIENCE_MS / 2,
                                              &conn, NULL) == FALKOR_OK))
            break;
        fake_own(conn);
        fake_disown(conn);
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    }
    return argument;
}

/* A4, M6 */
static void test_pool_no_release_is_lost(void **state) {
    (void)state;
    begin(1);
    test_threads threads = test_start(take_turns, NULL, 0, 4);
    test_join_within(&threads, 60000);
    assert_int_equal(fake_opened(&f), 1);
    end();
}

enum { STRESS_THREADS = 64, STRESS_SIZE = 12, STRESS_MS = 5000 };

typedef struct actor {
    uint64_t random;
    int64_t until_ms;
    int held, failed, refused;
} actor;

static const int stress_timeouts[] = {0, 0, 1, 2, 5, 20, 100};

/* Who acquires is a reader, who releases twice a writer: for a second release
   is certain to be refused only as long as the lease is not used again. */
static pthread_rwlock_t stress_lock;

static void stress_release(actor *self, falkor_conn *conn) {
    fake_disown(conn);
    if (!test_chance(&self->random, 64)) {
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
        return;
    }
    pthread_rwlock_wrlock(&stress_lock);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    for (int i = 0; i < 3; i++)
        TEST_CHECK(falkor_release(conn) == FALKOR_ERR_ARGUMENT);
    pthread_rwlock_unlock(&stress_lock);
    self->refused++;
}

static void stress_hold(actor *self, falkor_conn *conn) {
    fake_own(conn);
    self->held++;
    if (test_chance(&self->random, 8))
        test_pause_ms(test_below(&self->random, 4));
    if (test_chance(&self->random, 16))
        falkor_conn_mark_broken(conn);
    if (test_chance(&self->random, 16))
        atomic_store(&fake_of(conn)->dirty, true);
    if (test_chance(&self->random, 16))
        atomic_store(&fake_of(conn)->sick, true);
    stress_release(self, conn);
}

static void *stress_act(void *argument) {
    actor *self = argument;
    while (test_now_ms() < self->until_ms) {
        falkor_conn *conn;
        falkor_error error;
        int timeout = stress_timeouts[test_below(&self->random,
            sizeof stress_timeouts / sizeof *stress_timeouts)];
        pthread_rwlock_rdlock(&stress_lock);
        falkor_status status = falkor_acquire_within(pool, timeout, &conn,
                                                     &error);
        pthread_rwlock_unlock(&stress_lock);
        if (!status) {
            stress_hold(self, conn);
            continue;
        }
        self->failed++;
        TEST_CHECK(conn == NULL && error.status == status &&
                   *error.message != '\0');
        TEST_CHECK(status == FALKOR_ERR_POOL_TIMEOUT ||
                   status == FALKOR_ERR_CONNECT);
    }
    return NULL;
}

static void stress_lock_begin(void) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes,
        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&stress_lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

/* Everything at once, the worker too, and then the books must balance. */
/* A1, A4, A23, M7 */
static void test_pool_stress_conserves(void **state) {
    (void)state;
    actor actors[STRESS_THREADS];
    int held = 0, failed = 0, refused = 0;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = 4;
    options.max_size = STRESS_SIZE;
    options.idle_timeout_ms = 30;
    options.max_lifetime_ms = 200;
    options.health_check_interval_ms = 20;
    options.validate_after_ms = 5;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 5;
    open_pool(options);
    pthread_mutex_lock(&f.mutex);
    f.random = test_seed();
    f.chaos = 25;
    f.delay_us = 2000;
    pthread_mutex_unlock(&f.mutex);
    stress_lock_begin();
    for (int i = 0; i < STRESS_THREADS; i++)
        actors[i] = (actor){.random = test_seed() * 31 + (uint64_t)i + 1,
                            .until_ms = test_now_ms() + STRESS_MS};
    test_threads threads = test_start(stress_act, actors, sizeof *actors,
                                      STRESS_THREADS);
    test_join_within(&threads, 60000);
    pthread_rwlock_destroy(&stress_lock);
    for (int i = 0; i < STRESS_THREADS; i++) {
        held += actors[i].held;
        failed += actors[i].failed;
        refused += actors[i].refused;
    }
    printf("%d held, %d failed, %d released twice, %d dialled\n", held,
           failed, refused, fake_opened(&f));
    assert_true(held > 500 && failed > 50 && refused > 5);
    assert_int_equal(stats().releases, held + 1);
    /* The chaos is over: the worker brings min_size back. */
    pthread_mutex_lock(&f.mutex);
    f.chaos = 0;
    pthread_mutex_unlock(&f.mutex);
    TEST_EVENTUALLY(stats().idle >= 4 && stats().connecting == 0);
    falkor_stats now = stats();
    assert_int_equal(now.active, 0);
    assert_int_equal(now.waiting, 0);
    assert_int_equal(now.acquires, now.releases);
    assert_true(fake_most_present(&f) <= STRESS_SIZE);
    assert_int_equal(falkor_pool_close(pool, TEST_PATIENCE_MS), FALKOR_OK);
    assert_int_equal(fake_live(&f), 0);
    falkor_stats after = stats();
    assert_int_equal(after.total, 0);
    assert_int_equal((int)after.connections_created, fake_opened(&f));
    falkor_pool_free(pool);
    fake_end(&f);
    test_no_complaints();
}

TEST_MAIN(
    cmocka_unit_test(test_pool_acquire_blocks_until_timeout),
    cmocka_unit_test(test_pool_acquire_uses_pool_timeout),
    cmocka_unit_test(test_pool_acquire_negative_waits_on),
    cmocka_unit_test(test_pool_timeout_message_tells_numbers),
    cmocka_unit_test(test_pool_acquire_zero_fails_at_once),
    cmocka_unit_test(test_pool_acquire_zero_dials_with_room),
    cmocka_unit_test(test_pool_acquire_refuses_null),
    cmocka_unit_test(test_pool_acquire_blocks_until_released),
    cmocka_unit_test(test_pool_acquire_reuses_released),
    cmocka_unit_test(test_pool_waiters_are_served_in_order),
    cmocka_unit_test(test_pool_zero_timeout_overtakes_nobody),
    cmocka_unit_test(test_pool_timeout_leaves_the_queue_whole),
    cmocka_unit_test(test_pool_idle_is_last_in_first_out),
    cmocka_unit_test(test_pool_max_waiters_refuses_at_once),
    cmocka_unit_test(test_pool_reserve_is_for_who_has_waited),
    cmocka_unit_test(test_pool_release_null_is_refused),
    cmocka_unit_test(test_pool_release_of_foreign_changes_nothing),
    cmocka_unit_test(test_pool_double_release_is_refused),
    cmocka_unit_test(test_pool_double_release_after_many_acquires),
    cmocka_unit_test(test_pool_double_release_by_two_threads),
    cmocka_unit_test(test_pool_double_release_during_reset),
    cmocka_unit_test(test_pool_stale_token_does_nothing),
    cmocka_unit_test(test_pool_broken_is_closed_on_release),
    cmocka_unit_test(test_pool_unclean_is_closed_on_release),
    cmocka_unit_test(test_pool_broken_slot_goes_to_the_waiter),
    cmocka_unit_test(test_pool_connect_error_leaves_nothing),
    cmocka_unit_test(test_pool_dial_keeps_both_deadlines),
    cmocka_unit_test(test_pool_dials_outside_the_lock),
    cmocka_unit_test(test_pool_dials_do_not_queue),
    cmocka_unit_test(test_pool_failed_dial_wakes_exactly_one),
    cmocka_unit_test(test_pool_never_exceeds_max_size),
    cmocka_unit_test(test_pool_driver_needs_open_and_close_only),
    cmocka_unit_test(test_pool_driver_statuses),
    cmocka_unit_test(test_pool_driver_without_words_gets_some),
    cmocka_unit_test(test_pool_fast_check_at_every_acquire),
    cmocka_unit_test(test_pool_unfit_is_replaced_by_an_idle_one),
    cmocka_unit_test(test_pool_all_unfit_are_replaced),
    cmocka_unit_test(test_pool_unfit_and_failed_dial),
    cmocka_unit_test(test_pool_handed_over_is_checked),
    cmocka_unit_test(test_pool_medium_check_after_idle_time),
    cmocka_unit_test(test_pool_medium_check_after_idle_time_in_a_pocket),
    cmocka_unit_test(test_pool_medium_check_after_a_replacement),
    cmocka_unit_test(test_pool_medium_check_while_the_worker_dials),
    cmocka_unit_test(test_pool_medium_check_on_every_acquire),
    cmocka_unit_test(test_pool_counters_never_fall),
    cmocka_unit_test(test_pool_close_meets_who_takes_from_a_pocket),
    cmocka_unit_test(test_pool_counters_never_fall_by_a_dial),
    cmocka_unit_test(test_pool_grant_beats_timeout),
    cmocka_unit_test(test_pool_no_release_is_lost),
    cmocka_unit_test(test_pool_stress_conserves))
