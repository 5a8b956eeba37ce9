/* The circuit breaker: when it opens, who is told, how the worker probes, and
   that it closes; on a driver without a server, then on one that is killed and
   started again under load. What counts is decided in retry.c, see test_retry
   and test_classes. */
#include "fake.h"
#include "serving.h"
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static fake f;
static falkor_pool *pool;

/* ---- helpers ---------------------------------------------------------- */

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

/* A pool of so many that dials only for who asks, with a breaker. */
static falkor_options begin(int max_size) {
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = -1;
    options.max_size = max_size;
    options.breaker_failures = 0;
    return options;
}

/* Without the connection that every pool opens first. */
static void open_pool(falkor_options options) {
    pool = serving_pool(&options);
    f.pool = pool;
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
}

static void end(void) {
    falkor_pool_free(pool);
    pool = NULL;
    fake_end(&f);
    test_no_complaints();
}

static falkor_status ask(falkor_error *error) {
    falkor_conn *conn;
    falkor_status status = falkor_acquire(pool, &conn, error);
    if (!status)
        falkor_release(conn);
    return status;
}

static falkor_conn *take(void) {
    falkor_error error;
    falkor_conn *conn;
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    return conn;
}

/* Dials fail until the circuit is open; how many there were. */
static int open_circuit(void) {
    falkor_error error;
    int dials = fake_begun(&f, FAKE_OPEN);
    fake_fail(&f, FAKE_OPEN, 1000000);
    while (stats().circuit == FALKOR_CIRCUIT_CLOSED)
        assert_int_equal(ask(&error), FALKOR_ERR_CONNECT);
    return fake_begun(&f, FAKE_OPEN) - dials;
}

/* ---- when it opens ----------------------------------------------------- */

/* C5 */
static void test_breaker_opens_after_failures(void **state) {
    (void)state;
    static const int limits[] = {0, 1, 2, 9};   /* 0: 5 */
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        falkor_options options = begin(4);
        falkor_error error;
        fake_event event;
        options.breaker_failures = limits[i];
        open_pool(options);
        fake_shut(&f, FAKE_OPEN);       /* for the probe */
        fake_permit(&f, FAKE_OPEN, 100);
        int limit = limits[i] ? limits[i] : 5;
        fake_fail(&f, FAKE_OPEN, 1000000);
        for (int n = 1; n <= limit; n++) {
            assert_int_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
            if (n == limit)
                fake_permit(&f, FAKE_OPEN, 1);
            assert_int_equal(ask(&error), FALKOR_ERR_CONNECT);
        }
        assert_int_equal(stats().circuit_openings, 1);
        assert_int_not_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
        assert_int_equal(ask(&error), FALKOR_ERR_CIRCUIT_OPEN);
        assert_int_equal(error.status, FALKOR_ERR_CIRCUIT_OPEN);
        assert_int_equal(error.sys_errno, ECONNREFUSED);
        assert_false(error.maybe_executed);
        test_assert_has(error.message, "why it opened: refused by the fake");
        assert_true(fake_event_found(&f, "circuit_opened", &event));
        assert_int_equal(event.level, FALKOR_EVENT_ERROR);
        assert_int_equal(event.status, FALKOR_ERR_CONNECT);
        assert_int_equal(event.delay_ms, 100);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "failures=%d delay_ms=100 error=",
                 limit);
        test_assert_has(event.message, wanted);
        fake_lift(&f, FAKE_OPEN);
        end();
    }
}

typedef struct waiter {
    falkor_status status;
    falkor_error error;
} waiter;

static void *wait_for_ever(void *argument) {
    waiter *self = argument;
    falkor_conn *conn;
    self->status = falkor_acquire_within(pool, -1, &conn, &self->error);
    return NULL;
}

/* All who wait learn at once why they need not, in a paused pool too, where no
   slot goes from one to the next. */
/* C5 */
static void test_breaker_sends_waiters_home(void **state) {
    enum { WAITERS = 12 };
    waiter waiters[WAITERS];
    (void)state;
    for (int pauses = 0; pauses < 2; pauses++) {
        falkor_options options = begin(2);
        options.breaker_failures = 1;
        open_pool(options);
        falkor_conn *held[] = {take(), take()};
        test_threads threads = test_start(wait_for_ever, waiters,
                                          sizeof *waiters, WAITERS);
        TEST_EVENTUALLY(stats().waiting == WAITERS);
        if (pauses)
            falkor_pool_pause(pool);
        fake_fail(&f, FAKE_OPEN, 1000000);
        falkor_conn_mark_broken(held[0]);
        falkor_release(held[0]);
        assert_int_equal(stats().waiting, 0);
        test_join(&threads);
        for (int i = 0; i < WAITERS; i++) {
            assert_int_equal(waiters[i].status, FALKOR_ERR_CIRCUIT_OPEN);
            test_assert_has(waiters[i].error.message, "marked his connection");
        }
        falkor_release(held[1]);
        end();
    }
}

/* No stampede: as many dials as the pool has room for, and once some have
   failed, no more. */
/* C5 */
static void test_breaker_opens_under_a_crowd(void **state) {
    enum { CROWDED = 100, ROOM = 8, FAILURES = 5 };
    waiter crowd[CROWDED];
    int refused = 0, sent_home = 0;
    (void)state;
    open_pool(begin(ROOM));
    fake_shut(&f, FAKE_OPEN);
    test_threads threads = test_start(wait_for_ever, crowd, sizeof *crowd,
                                      CROWDED);
    fake_await_inside(&f, FAKE_OPEN, ROOM);
    TEST_EVENTUALLY(stats().waiting == CROWDED - ROOM);
    fake_fail(&f, FAKE_OPEN, 1000000);
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads);
    for (int i = 0; i < CROWDED; i++) {
        refused += crowd[i].status == FALKOR_ERR_CONNECT;
        sent_home += crowd[i].status == FALKOR_ERR_CIRCUIT_OPEN;
    }
    assert_int_equal(refused + sent_home, CROWDED);
    /* At most so many at once for each failure that counts. */
    assert_in_range(refused, ROOM + FAILURES - 1, ROOM * FAILURES);
    assert_int_equal(fake_most_present(&f), ROOM);
    end();
}

/* One failure among answers is not the server's end. */
/* C5 */
static void test_breaker_answers_forgive(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin(2));
    for (int i = 0; i < 20; i++) {
        falkor_conn *held = take();
        fake_fail(&f, FAKE_OPEN, 1);
        assert_int_equal(ask(&error), FALKOR_ERR_CONNECT);
        falkor_release(held);           /* it was of use */
        assert_int_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
    }
    assert_int_equal(stats().circuit_openings, 0);
    end();
}

/* Connections that can be dialled but break in use. */
/* C5 */
static void test_breaker_counts_broken_connections(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin(2));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
        falkor_conn *conn = take();
        falkor_conn_mark_broken(conn);
        fake_fail(&f, FAKE_OPEN, i == 4 ? 1000000 : 0);
        falkor_release(conn);
    }
    assert_int_equal(stats().circuit_openings >= 1, true);
    assert_int_equal(ask(&error), FALKOR_ERR_CIRCUIT_OPEN);
    test_assert_has(error.message, "marked his connection as broken");
    end();
}

/* A connection that cannot be reset is no answer: the circuit that is open
   stays so. */
/* C5 */
static void test_breaker_unclean_is_no_answer(void **state) {
    (void)state;
    open_pool(begin(2));
    falkor_conn *held = take();
    open_circuit();
    fake_fail(&f, FAKE_RESET, 1);
    falkor_release(held);
    assert_int_not_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(fake_event_count(&f, "circuit_closed"), 0);
    end();
}

/* 20 connections that die together are one failure. */
/* C5 */
static void test_breaker_counts_a_fall_once(void **state) {
    enum { HELD = 20 };
    falkor_conn *held[HELD];
    (void)state;
    open_pool(begin(HELD));
    for (int i = 0; i < HELD; i++)
        held[i] = take();
    for (int i = 0; i < HELD; i++) {
        falkor_conn_mark_broken(held[i]);
        falkor_release(held[i]);
    }
    assert_int_equal(stats().circuit_openings, 0);
    assert_int_equal(stats().total, 0);
    end();
}

/* The server answered, if with a refusal. */
/* C5 */
static void test_breaker_refusals_do_not_count(void **state) {
    static const falkor_status said[] = {FALKOR_ERR_AUTH, FALKOR_ERR_BUSY};
    (void)state;
    falkor_error error;
    open_pool(begin(2));
    for (int i = 0; i < 2; i++) {
        f.open_status = said[i];
        fake_fail(&f, FAKE_OPEN, 20);
        for (int n = 0; n < 20; n++)
            assert_int_equal(ask(&error), i == 0 ? FALKOR_ERR_AUTH
                                                 : FALKOR_ERR_CONNECT);
    }
    assert_int_equal(stats().circuit_openings, 0);
    end();
}

/* Waiting in vain is no failure of the server, nor is a dial that the caller
   gave too little time; one that had connect_timeout_ms is. */
/* C5 */
static void test_breaker_callers_haste_does_not_count(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    falkor_options options = begin(1);
    options.connect_timeout_ms = 30;
    open_pool(options);
    falkor_conn *held = take();
    for (int i = 0; i < 20; i++)
        assert_int_equal(falkor_acquire_within(pool, 1, &conn, &error),
                         FALKOR_ERR_POOL_TIMEOUT);
    falkor_conn_mark_broken(held);
    falkor_release(held);
    fake_shut(&f, FAKE_OPEN);
    for (int i = 0; i < 20; i++)
        assert_int_equal(falkor_acquire_within(pool, 1, &conn, &error),
                         FALKOR_ERR_CONNECT);
    assert_int_equal(stats().circuit_openings, 0);
    for (int i = 1; i < 5; i++)         /* the broken one was the first */
        assert_int_equal(falkor_acquire_within(pool, 20000, &conn, &error),
                         FALKOR_ERR_CONNECT);
    assert_int_equal(stats().circuit_openings, 1);
    end();
}

/* The worker's dials have connect_timeout_ms: that nobody answers counts. */
/* C5 */
static void test_breaker_workers_dials_count(void **state) {
    (void)state;
    falkor_options options = begin(2);
    options.min_size = 1;
    options.connect_timeout_ms = 20;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 1;
    pool = serving_pool(&options);
    f.pool = pool;
    fake_shut(&f, FAKE_OPEN);
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    TEST_EVENTUALLY(stats().circuit_openings > 0);
    fake_lift(&f, FAKE_OPEN);
    TEST_EVENTUALLY(stats().circuit == FALKOR_CIRCUIT_CLOSED);
    end();
}

static void test_breaker_off(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = begin(2);
    options.breaker_failures = -1;
    open_pool(options);
    int before = fake_begun(&f, FAKE_OPEN);
    fake_fail(&f, FAKE_OPEN, 1000000);
    for (int i = 0; i < 200; i++)
        assert_int_equal(ask(&error), FALKOR_ERR_CONNECT);
    assert_int_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(fake_begun(&f, FAKE_OPEN), before + 200);
    end();
}

/* Opening a pool says itself what fails. */
static void test_breaker_is_closed_while_opening(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = begin(3);
    options.min_size = 3;
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    f.pool = pool;
    fake_fail(&f, FAKE_OPEN, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(stats().circuit_openings, 0);
    end();
}

/* ---- while it is open ------------------------------------------------- */

/* The probes are the worker's, one at a time, at the delay that doubles;
   nobody else dials, not even for min_size. */
/* C5 */
static void test_breaker_probes_one_at_a_time(void **state) {
    static const int delays[] = {100, 200, 300, 300};
    (void)state;
    falkor_error error;
    falkor_options options = begin(8);
    options.min_size = 2;
    options.retry_initial_delay_ms = 1;         /* the worker's, for those */
    options.retry_max_delay_ms = 1;
    options.breaker_max_delay_ms = 300;
    open_pool(options);
    falkor_conn *held[] = {take(), take()};
    int64_t began = test_now_ms();
    int dials = fake_begun(&f, FAKE_OPEN) + open_circuit();
    assert_int_equal(fake_begun(&f, FAKE_OPEN), dials);
    fake_shut(&f, FAKE_OPEN);
    for (int i = 0; i < 4; i++) {
        fake_event event;
        fake_await_inside(&f, FAKE_OPEN, 1);
        assert_int_equal(stats().circuit, FALKOR_CIRCUIT_HALF_OPEN);
        for (int n = 0; n < 100; n++)
            assert_int_equal(ask(&error), FALKOR_ERR_CIRCUIT_OPEN);
        assert_int_equal(fake_inside(&f, FAKE_OPEN), 1);
        assert_int_equal(fake_begun(&f, FAKE_OPEN), dials + i + 1);
        assert_int_equal(fake_event_count(&f, "circuit_half_open"), i + 1);
        assert_true(fake_event_nth(&f, "circuit_opened", i, &event));
        assert_int_equal(event.delay_ms, delays[i]);
        assert_int_equal(stats().circuit_openings, i + 1);
        fake_permit(&f, FAKE_OPEN, 1);
        TEST_EVENTUALLY(stats().circuit_openings == (uint64_t)i + 2);
        TEST_EVENTUALLY(fake_event_count(&f, "connection_failed") == i + 6);
        assert_true(fake_event_found(&f, "connection_failed", &event));
        assert_int_equal(event.delay_ms, i < 1 ? 200 : 300);
    }
    assert_true(test_now_ms() - began >= 100 + 200 + 300 + 300);
    fake_lift(&f, FAKE_OPEN);
    for (int i = 0; i < 2; i++)
        falkor_release(held[i]);        /* of use: the circuit is closed */
    assert_int_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
    end();
}

/* A call costs nothing. Half of the calls, for the machine may pause. */
/* C5 */
static void test_breaker_fails_fast(void **state) {
    enum { CALLS = 2001 };
    (void)state;
    falkor_error error;
    int quick = 0;
    int64_t worst = 0;
    open_pool(begin(2));
    open_circuit();
    fake_shut(&f, FAKE_OPEN);           /* the probe takes its time */
    for (int i = 0; i < CALLS; i++) {
        int64_t began = falkor_now_ns();
        assert_int_equal(ask(&error), FALKOR_ERR_CIRCUIT_OPEN);
        int64_t took = falkor_now_ns() - began;
        quick += took < SERVING_MS;
        worst = took > worst ? took : worst;
    }
    printf("note: open circuit: %d of %d calls under 1 ms, the slowest %.3f "
           "ms\n", quick, CALLS, (double)worst / 1e6);
    assert_true(quick > CALLS / 2);
    fake_lift(&f, FAKE_OPEN);
    end();
}

/* What was idle before is not believed any more. */
/* C5 */
static void test_breaker_closes_the_idle(void **state) {
    (void)state;
    falkor_conn *held[4];
    int ended = 0;
    falkor_options options = begin(4);
    options.breaker_failures = 1;
    open_pool(options);
    for (int i = 0; i < 4; i++)
        held[i] = take();
    for (int i = 0; i < 3; i++)
        falkor_release(held[i]);
    assert_int_equal(stats().idle, 3);
    fake_shut(&f, FAKE_OPEN);
    falkor_conn_mark_broken(held[3]);
    falkor_release(held[3]);
    /* With one at the beginning, and the broken one. */
    TEST_EVENTUALLY(fake_event_count(&f, "connection_recycled") == 5);
    for (int i = 0; i < 5; i++) {
        fake_event event;
        assert_true(fake_event_nth(&f, "connection_recycled", i, &event));
        ended += strcmp(event.message, "reason=circuit_open") == 0;
    }
    assert_int_equal(ended, 3);
    assert_int_equal(stats().idle, 0);
    fake_lift(&f, FAKE_OPEN);
    end();
}

/* Closed by a probe; its connection is there for the next, min_size comes
   back, and the next opening begins anew. */
/* C5 */
static void test_breaker_closes(void **state) {
    (void)state;
    fake_event event;
    falkor_options options = begin(4);
    options.min_size = 3;
    options.breaker_max_delay_ms = 120;
    open_pool(options);
    for (int round = 1; round < 4; round++) {
        TEST_EVENTUALLY(stats().idle == 3);     /* the worker's, no fourth */
        falkor_conn *held[] = {take(), take(), take()};
        open_circuit();
        for (int i = 0; i < 3; i++) {
            falkor_conn_mark_broken(held[i]);
            falkor_release(held[i]);
        }
        TEST_EVENTUALLY(fake_event_count(&f, "circuit_half_open") >=
                        3 * round);
        fake_fail(&f, FAKE_OPEN, 0);
        TEST_EVENTUALLY(stats().circuit == FALKOR_CIRCUIT_CLOSED);
        TEST_EVENTUALLY(fake_event_count(&f, "circuit_closed") == round);
        assert_true(fake_event_found(&f, "circuit_closed", &event));
        assert_int_equal(event.level, FALKOR_EVENT_INFO);
    }
    falkor_conn *conn = take();
    falkor_release(conn);
    end();
}

/* A probe that is refused, by a server that is there, closes it too. */
/* C5 */
static void test_breaker_closes_at_a_refusal(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin(2));
    fake_shut(&f, FAKE_OPEN);
    fake_permit(&f, FAKE_OPEN, 5);
    open_circuit();
    fake_await_inside(&f, FAKE_OPEN, 1);
    f.open_status = FALKOR_ERR_AUTH;
    fake_lift(&f, FAKE_OPEN);
    TEST_EVENTUALLY(stats().circuit == FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(ask(&error), FALKOR_ERR_AUTH);
    end();
}

/* ---- beside the rest of the pool -------------------------------------- */

/* Nobody waits for the circuit. */
/* A9, C5 */
static void test_breaker_does_not_keep_close(void **state) {
    (void)state;
    falkor_error error;
    open_pool(begin(2));
    open_circuit();
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_OK);
    assert_int_equal(ask(&error), FALKOR_ERR_CLOSED);
    end();
}

/* The probe goes on in a paused pool; nobody gets in. */
/* A16, C5 */
static void test_breaker_in_a_paused_pool(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    open_pool(begin(2));
    open_circuit();
    assert_int_equal(falkor_pool_pause(pool), FALKOR_OK);
    fake_fail(&f, FAKE_OPEN, 0);
    TEST_EVENTUALLY(stats().circuit == FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(falkor_acquire_within(pool, 1, &conn, &error),
                     FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(falkor_pool_resume(pool), FALKOR_OK);
    assert_int_equal(ask(&error), FALKOR_OK);
    end();
}

/* All of max_size is held and not used, perhaps for hours: there is room for a
   probe in the reserve, where the failures were. */
/* A13, C5 */
static void test_breaker_probes_in_the_reserve(void **state) {
    (void)state;
    falkor_options options = begin(2);
    options.reserve_size = 1;
    open_pool(options);
    falkor_conn *held[] = {take(), take()};
    open_circuit();
    fake_fail(&f, FAKE_OPEN, 0);
    TEST_EVENTUALLY(stats().circuit == FALKOR_CIRCUIT_CLOSED);
    TEST_EVENTUALLY(stats().total == 2);        /* nobody waits for a third */
    assert_int_equal(fake_most_present(&f), 3);
    for (int i = 0; i < 2; i++)
        falkor_release(held[i]);
    end();
}

static void *wait_not_long(void *argument) {
    waiter *self = argument;
    falkor_conn *conn;
    self->status = falkor_acquire_within(pool, 500, &conn, &self->error);
    return NULL;
}

/* A dial of before the circuit opened is not the probe: that it ends, at its
   caller's own deadline at that, says nothing about the one on its way. */
/* C5 */
static void test_breaker_only_the_probe_speaks(void **state) {
    (void)state;
    waiter before;
    falkor_options options = begin(3);
    options.breaker_failures = 1;
    options.connect_timeout_ms = 60000;
    open_pool(options);
    falkor_conn *held = take();
    fake_shut(&f, FAKE_OPEN);
    test_threads threads = test_start(wait_not_long, &before, sizeof before,
                                      1);
    fake_await_inside(&f, FAKE_OPEN, 1);
    falkor_conn_mark_broken(held);
    falkor_release(held);
    fake_await_inside(&f, FAKE_OPEN, 2);
    assert_int_equal(stats().circuit, FALKOR_CIRCUIT_HALF_OPEN);
    test_join(&threads);
    assert_int_equal(before.status, FALKOR_ERR_CONNECT);
    assert_int_equal(stats().circuit, FALKOR_CIRCUIT_HALF_OPEN);
    assert_int_equal(stats().circuit_openings, 1);
    fake_lift(&f, FAKE_OPEN);
    TEST_EVENTUALLY(stats().circuit == FALKOR_CIRCUIT_CLOSED);
    end();
}

static void *give_back(void *argument) {
    TEST_CHECK(falkor_release(*(falkor_conn **)argument) == FALKOR_OK);
    return NULL;
}

/* The last release and the end of its pool: one of them frees the memory, and
   the other has done with it (ASan, TSan). */
/* A8 */
static void test_breaker_release_beside_free(void **state) {
    (void)state;
    for (int i = 0; i < 300; i++) {
        falkor_options options = begin(1);
        pool = serving_pool(&options);
        falkor_conn *held = take();
        if (i % 2 == 0)
            assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
        if (i % 3 == 0)
            falkor_conn_mark_broken(held);
        test_threads threads = test_start(give_back, &held, sizeof held, 1);
        falkor_pool_free(pool);
        test_join(&threads);
        fake_end(&f);
    }
    pool = NULL;
    test_no_complaints();
}

/* ---- a real server ---------------------------------------------------- */

/* Dials of this process, counted where hiredis makes them. */
static atomic_int dials;
static bool lacks_ipv6;                 /* this machine, for a while */

int dial(int fd, const struct sockaddr *address, socklen_t length)
    __asm__("connect");                 /* glibc declares its own otherwise */
int dial(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "connect");
    if (address->sa_family == AF_INET)
        atomic_fetch_add(&dials, 1);
    if (address->sa_family == AF_INET6 && lacks_ipv6) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    return real(fd, address, length);
}

/* A name with an address of each kind. */
int look_up(const char *host, const char *service,
            const struct addrinfo *wanted, struct addrinfo **found)
    __asm__("getaddrinfo");
int look_up(const char *host, const char *service,
            const struct addrinfo *wanted, struct addrinfo **found) {
    static int (*real)(const char *, const char *, const struct addrinfo *,
                       struct addrinfo **);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (strcmp(host, "both.test") != 0)
        return real(host, service, wanted, found);
    int code = real("127.0.0.1", service, wanted, found);
    return code ? code : real("::1", service, wanted, &(*found)->ai_next);
}

/* What the worker's events say: one thread's, while the circuit is open. */
static struct {
    atomic_int opened, probes, closed, delay_ms;
    atomic_int first_dial, first_probe;     /* until the third opening */
    atomic_int last_dial, last_probe;       /* until the last one */
} seen;

static void on_event(void *ctx, const falkor_event *event) {
    (void)ctx;
    if (strcmp(event->name, "circuit_half_open") == 0)
        atomic_fetch_add(&seen.probes, 1);
    if (strcmp(event->name, "circuit_closed") == 0)
        atomic_fetch_add(&seen.closed, 1);
    if (strcmp(event->name, "circuit_opened") != 0)
        return;
    int probes = atomic_load(&seen.probes), made = atomic_load(&dials);
    atomic_store(&seen.last_dial, made);
    atomic_store(&seen.last_probe, probes);
    if (probes <= 2) {                  /* who dialled before has ended */
        atomic_store(&seen.first_dial, made);
        atomic_store(&seen.first_probe, probes);
    }
    atomic_store(&seen.delay_ms, event->delay_ms);
    atomic_fetch_add(&seen.opened, 1);
}

/* Asks for words of its own, with no pause but after a failure. */
enum { SINGERS = 50, CONNECTIONS = 20 };
typedef struct singer {
    int number;
    atomic_int good;
    _Atomic int64_t first_ns;           /* answer since it was set to 0 */
} singer;
static singer singers[SINGERS];
static atomic_bool silence;

static bool is_due(falkor_status status) {
    return status == FALKOR_ERR_CIRCUIT_OPEN || status == FALKOR_ERR_IO ||
           status == FALKOR_ERR_CONNECT || status == FALKOR_ERR_TIMEOUT;
}

static void *sing(void *argument) {
    singer *self = argument;
    while (!atomic_load(&silence)) {
        char word[32];
        falkor_result *result;
        falkor_error error;
        snprintf(word, sizeof word, "%d-%d", self->number,
                 atomic_load(&self->good));
        const char *argv[] = {"ECHO", word};
        if (falkor_command(pool, NULL, 2, argv, NULL, &result, &error)) {
            if (!is_due(error.status))
                TEST_COMPLAIN("%s: %s", falkor_status_name(error.status),
                              error.message);
            test_pause_ms(1);
            continue;
        }
        const falkor_value *reply = falkor_result_value(result, 0, 0);
        TEST_CHECK(reply && reply->type == FALKOR_STRING &&
                   strcmp(reply->as.string, word) == 0);
        falkor_result_free(result);
        atomic_fetch_add(&self->good, 1);
        int64_t none = 0;
        atomic_compare_exchange_strong(&self->first_ns, &none,
                                       falkor_now_ns());
    }
    return NULL;
}

static test_threads sing_all(void) {
    memset(singers, 0, sizeof singers);
    memset(&seen, 0, sizeof seen);
    atomic_store(&silence, false);
    for (int i = 0; i < SINGERS; i++)
        singers[i].number = i;
    return test_start(sing, singers, sizeof *singers, SINGERS);
}

/* The first answers since forget; 0 before all have one. */
static void forget(void) {
    for (int i = 0; i < SINGERS; i++)
        atomic_store(&singers[i].first_ns, 0);
}

static bool all_answered(int64_t *first_ns, int64_t *last_ns) {
    *first_ns = INT64_MAX;
    *last_ns = 0;
    for (int i = 0; i < SINGERS; i++) {
        int64_t at = atomic_load(&singers[i].first_ns);
        if (at == 0)
            return false;
        *first_ns = at < *first_ns ? at : *first_ns;
        *last_ns = at > *last_ns ? at : *last_ns;
    }
    return true;
}

static void end_singing(test_threads *threads) {
    atomic_store(&silence, true);
    test_join(threads);
    test_no_complaints();
}

/* When the server at *port answers PING. */
typedef struct pinger {
    int port;
    int64_t answered_ns;
} pinger;

static void *ping(void *argument) {
    pinger *self = argument;
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!self->answered_ns && test_now_ms() < until) {
        struct timeval patience = {.tv_sec = 1};
        redisContext *client = redisConnectWithTimeout("127.0.0.1",
            self->port, patience);
        redisReply *reply = client && !client->err
            ? redisCommand(client, "PING") : NULL;
        if (reply && reply->type == REDIS_REPLY_STATUS)
            self->answered_ns = falkor_now_ns();
        freeReplyObject(reply);
        if (client)
            redisFree(client);
        test_pause_ms(1);
    }
    return NULL;
}

/* Killed under load, and started again when the probes are at their longest
   pause. */
/* C5, E11 */
static void test_breaker_server_comes_back(void **state) {
    serving server, again;
    char port[16];
    int64_t first_ns, last_ns;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.min_size = options.max_size = CONNECTIONS;
    options.on_event = on_event;
    pool = serving_pool(&options);
    test_threads threads = sing_all();
    TEST_EVENTUALLY(all_answered(&first_ns, &last_ns));
    serving_signal(&server, SIGKILL);
    serving_stop(&server);
    TEST_EVENTUALLY(atomic_load(&seen.delay_ms) == 1000);
    int made = atomic_load(&seen.last_dial) - atomic_load(&seen.first_dial);
    int probes = atomic_load(&seen.last_probe) -
        atomic_load(&seen.first_probe);
    assert_int_equal(made, probes);     /* nobody else's */
    assert_true(probes >= 2);

    forget();
    pinger other = {.port = server.port};
    test_threads pinging = test_start(ping, &other, sizeof other, 1);
    snprintf(port, sizeof port, "%d", server.port);
    serving_start(&again, (const char *const[]){"--port", port, NULL});
    test_join(&pinging);
    TEST_EVENTUALLY(all_answered(&first_ns, &last_ns));
    long long first_ms = (first_ns - other.answered_ns) / SERVING_MS;
    long long last_ms = (last_ns - first_ns) / SERVING_MS;
    printf("count: back after a kill: first answer %lld ms after the server's "
           "PING, all %d threads %lld ms later; %d probes, %d dials\n",
           first_ms, SINGERS, last_ms, probes, made);
    /* What is promised, and half a second for a machine that is busy. */
    assert_true(other.answered_ns && first_ms <= 1000 + 100 + 500);
    assert_true(last_ms <= 1000 + 500);
    assert_true(atomic_load(&seen.closed) >= 1);
    TEST_EVENTUALLY(stats().idle + stats().active == CONNECTIONS);
    end_singing(&threads);
    TEST_EVENTUALLY(stats().idle == CONNECTIONS);
    falkor_pool_free(pool);
    serving_stop(&again);
}

/* A server that hangs takes connections, but no probe is answered. */
/* C5 */
static void test_breaker_server_hangs(void **state) {
    serving server;
    int64_t first_ns, last_ns;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = CONNECTIONS;
    options.socket_timeout_ms = 100;
    options.connect_timeout_ms = 100;
    options.max_retries = -1;
    options.on_event = on_event;
    pool = serving_pool(&options);
    test_threads threads = sing_all();
    TEST_EVENTUALLY(all_answered(&first_ns, &last_ns));
    serving_signal(&server, SIGSTOP);
    TEST_EVENTUALLY(atomic_load(&seen.opened) >= 3);
    assert_int_not_equal(stats().circuit, FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(atomic_load(&seen.closed), 0);
    falkor_conn *conn;
    falkor_error error;
    char place[32];
    snprintf(place, sizeof place, "127.0.0.1:%d is not asked", server.port);
    assert_int_equal(falkor_acquire(pool, &conn, &error),
                     FALKOR_ERR_CIRCUIT_OPEN);
    test_assert_has(error.message, place);
    forget();
    serving_signal(&server, SIGCONT);
    TEST_EVENTUALLY(all_answered(&first_ns, &last_ns));
    end_singing(&threads);
    falkor_pool_free(pool);
    serving_stop(&server);
}

/* A caller whose own time is short, on a server that hangs, and one whose
   queries are wrong, open nothing. */
/* C5 */
static void test_breaker_only_the_server_counts(void **state) {
    serving server;
    falkor_error error;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = 2;
    options.breaker_failures = 1;
    options.on_event = on_event;
    memset(&seen, 0, sizeof seen);
    pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "breaker");
    for (int i = 0; i < 20; i++)
        assert_int_equal(falkor_query(graph, "RETURN", NULL, NULL, &error),
                         FALKOR_ERR_QUERY);
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    for (int i = 0; i < 20; i++)
        assert_int_not_equal(falkor_query_with(graph,
            &(falkor_call_options){.timeout_ms = 5}, "RETURN 1", NULL, NULL,
            &error), FALKOR_OK);
    serving_signal(&server, SIGCONT);
    falkor_conn *held = take();
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    for (int i = 0; i < 2; i++)         /* late, then not sent at all */
        assert_int_equal(falkor_query_with(graph,
            &(falkor_call_options){.timeout_ms = 5, .conn = held}, "RETURN 1",
            NULL, NULL, &error), i == 0 ? FALKOR_ERR_TIMEOUT
                                        : FALKOR_ERR_IO);
    falkor_release(held);
    serving_signal(&server, SIGCONT);
    serving_run(graph, "RETURN 1");
    assert_int_equal(atomic_load(&seen.opened), 0);
    serving_drop(pool, graph, "breaker");
    falkor_pool_free(pool);
    serving_stop(&server);
}

/* An address that this machine cannot use hides no server that is gone. */
/* C5 */
static void test_breaker_one_address_of_two(void **state) {
    serving server;
    falkor_error error;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.host = "both.test";
    options.min_size = -1;
    pool = serving_pool(&options);
    serving_stop(&server);
    falkor_pool_drop_idle(pool);
    lacks_ipv6 = true;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask(&error), FALKOR_ERR_CONNECT);
        assert_int_equal(error.sys_errno, ECONNREFUSED);
        test_assert_has(error.message, "127.0.0.1");
    }
    assert_int_equal(ask(&error), FALKOR_ERR_CIRCUIT_OPEN);
    falkor_pool_free(pool);
    lacks_ipv6 = false;
}

/* A server that answers all the time, if not in time for the whole: a pipeline
   of slow queries, and rows that the caller is slow to take. */
/* C5 */
static void test_breaker_slow_is_not_silent(void **state) {
    enum { REQUESTS = 100 };
    static falkor_request requests[REQUESTS];
    serving server;
    falkor_error error;
    falkor_cursor *cursor;
    const falkor_result *row;
    falkor_status status;
    int answered = 0;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = 2;
    options.socket_timeout_ms = 1000;
    options.max_retries = -1;
    options.breaker_failures = 1;
    pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "breaker");
    serving_run(graph, "RETURN 1");
    for (int i = 0; i < REQUESTS; i++)
        requests[i] = (falkor_request){.graph = graph, .read_only = true,
            .cypher = "UNWIND range(1, 200000) AS x WITH x WHERE x * x % 7 = "
                      "9 RETURN count(x)"};
    assert_int_equal(falkor_pipeline(pool, NULL, requests, REQUESTS, &error),
                     FALKOR_ERR_TIMEOUT);
    for (int i = 0; i < REQUESTS; i++) {
        answered += requests[i].result != NULL;
        falkor_result_free(requests[i].result);
    }
    assert_in_range(answered, 1, REQUESTS - 1);
    assert_int_equal(stats().circuit_openings, 0);

    status = falkor_cursor_open(graph,
        &(falkor_call_options){.read_only = true},
        "UNWIND range(1, 20000) AS x RETURN x", NULL, &cursor, &error);
    assert_int_equal(status, FALKOR_OK);
    assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
    test_pause_ms(options.socket_timeout_ms + 100);
    assert_int_equal(falkor_cursor_next(cursor, &row, &error),
                     FALKOR_ERR_TIMEOUT);
    falkor_cursor_close(cursor);
    assert_int_equal(stats().circuit_openings, 0);
    serving_drop(pool, graph, "breaker");
    falkor_pool_free(pool);
    serving_stop(&server);
}

TEST_MAIN(
    cmocka_unit_test(test_breaker_opens_after_failures),
    cmocka_unit_test(test_breaker_sends_waiters_home),
    cmocka_unit_test(test_breaker_opens_under_a_crowd),
    cmocka_unit_test(test_breaker_answers_forgive),
    cmocka_unit_test(test_breaker_counts_broken_connections),
    cmocka_unit_test(test_breaker_unclean_is_no_answer),
    cmocka_unit_test(test_breaker_counts_a_fall_once),
    cmocka_unit_test(test_breaker_refusals_do_not_count),
    cmocka_unit_test(test_breaker_callers_haste_does_not_count),
    cmocka_unit_test(test_breaker_workers_dials_count),
    cmocka_unit_test(test_breaker_off),
    cmocka_unit_test(test_breaker_is_closed_while_opening),
    cmocka_unit_test(test_breaker_probes_one_at_a_time),
    cmocka_unit_test(test_breaker_fails_fast),
    cmocka_unit_test(test_breaker_closes_the_idle),
    cmocka_unit_test(test_breaker_closes),
    cmocka_unit_test(test_breaker_closes_at_a_refusal),
    cmocka_unit_test(test_breaker_does_not_keep_close),
    cmocka_unit_test(test_breaker_in_a_paused_pool),
    cmocka_unit_test(test_breaker_probes_in_the_reserve),
    cmocka_unit_test(test_breaker_only_the_probe_speaks),
    cmocka_unit_test(test_breaker_release_beside_free),
    cmocka_unit_test(test_breaker_server_comes_back),
    cmocka_unit_test(test_breaker_server_hangs),
    cmocka_unit_test(test_breaker_one_address_of_two),
    cmocka_unit_test(test_breaker_slow_is_not_silent),
    cmocka_unit_test(test_breaker_only_the_server_counts))
