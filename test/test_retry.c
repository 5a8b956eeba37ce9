/* Policy: what error texts mean, what may be repeated, how long to wait. The
   expectations here are written from FACTS.md section 4 and REQUIREMENTS.md C,
   not from retry.c. */
#include "testing.h"
#include "../internal.h"
#include <limits.h>
#include <math.h>

/* ---- classes ---------------------------------------------------------- */

static falkor_status classify(const char *text) {
    /* The text need not end with NUL: what follows must not count. */
    char room[256];
    size_t length = strlen(text);
    assert_true(length + 1 < sizeof room);
    memcpy(room, text, length);
    room[length] = 'X';
    return falkor__classify(room, length);
}

static const struct {
    const char *text;
    falkor_status status;
} answers[] = {
    {"NOAUTH Authentication required.", FALKOR_ERR_AUTH},
    {"WRONGPASS invalid username-password pair or user is disabled.",
     FALKOR_ERR_AUTH},
    {"NOPERM User u has no permissions to run the 'graph.query' command",
     FALKOR_ERR_AUTH},
    {"ERR invalid password", FALKOR_ERR_AUTH},
    {"ERR Client sent AUTH, but no password is set", FALKOR_ERR_AUTH},
    {"ERR AUTH <password> called without any password configured for the "
     "default user. Are you sure your configuration is correct?",
     FALKOR_ERR_AUTH},
    {"LOADING Redis is loading the dataset in memory", FALKOR_ERR_BUSY},
    {"BUSY Redis is busy running a script. You can only call SCRIPT KILL or "
     "SHUTDOWN NOSAVE.", FALKOR_ERR_BUSY},
    {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set "
     "to 'no'.", FALKOR_ERR_BUSY},
    {"CLUSTERDOWN The cluster is down", FALKOR_ERR_BUSY},
    {"CLUSTERDOWN Hash slot not served", FALKOR_ERR_BUSY},
    {"TRYAGAIN Multiple keys request during rehashing of slot",
     FALKOR_ERR_BUSY},
    {"Max pending queries exceeded", FALKOR_ERR_BUSY},
    {"Write queue is full, consider increasing", FALKOR_ERR_BUSY},
    {"ERR max number of clients reached", FALKOR_ERR_BUSY},
    {"UNBLOCKED force unblock from blocking operation, instance state changed "
     "(master -> replica?)", FALKOR_ERR_IO},
    {"READONLY You can't write against a read only replica.",
     FALKOR_ERR_READONLY},
    {"MOVED 3999 127.0.0.1:6381", FALKOR_ERR_MOVED},
    {"ASK 3999 127.0.0.1:6381", FALKOR_ERR_MOVED},
    {"Query timed out", FALKOR_ERR_SERVER_TIMEOUT},
    {"unique constraint violation on node of type L", FALKOR_ERR_CONSTRAINT},
    {"mandatory constraint violation: node with label L missing property p",
     FALKOR_ERR_CONSTRAINT},
    /* Everything else is the query's own fault. */
    {"ERR unknown command 'X'", FALKOR_ERR_QUERY},
    {"ERR wrong number of arguments for 'graph.QUERY' command",
     FALKOR_ERR_QUERY},
    {"WRONGTYPE Operation against a key holding the wrong kind of value",
     FALKOR_ERR_QUERY},
    {"OOM command not allowed when used memory > 'maxmemory'.",
     FALKOR_ERR_QUERY},
    {"Query's mem consumption exceeded capacity", FALKOR_ERR_QUERY},
    {"errMsg: Invalid input 'x': expected RETURN line: 1, column: 1",
     FALKOR_ERR_QUERY},
    {"Division by zero", FALKOR_ERR_QUERY},
    {"Type mismatch: expected Integer but was String", FALKOR_ERR_QUERY},
    {"ERR Invalid graph operation on empty key", FALKOR_ERR_QUERY},
    {"graph.RO_QUERY is to be executed only on read-only queries",
     FALKOR_ERR_QUERY},
    {"UNBLOCKED client unblocked via CLIENT UNBLOCK", FALKOR_ERR_QUERY},
    {"EXECABORT Transaction discarded because of previous errors.",
     FALKOR_ERR_QUERY},
    {"", FALKOR_ERR_QUERY},
};

/* C2, R9 */
static void test_retry_classes_of_server_errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (classify(answers[i].text) != answers[i].status)
            fail_msg("\"%s\" is %s", answers[i].text,
                     falkor_status_name(classify(answers[i].text)));
}

/* A code is a whole word at the begin of the text. */
static void test_retry_busykey_is_not_busy(void **state) {
    (void)state;
    static const char *const codes[] = {"NOAUTH", "WRONGPASS", "NOPERM",
        "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
        "READONLY", "MOVED", "ASK"};
    char text[64];
    assert_int_equal(classify("BUSYKEY Target key name already exists."),
                     FALKOR_ERR_QUERY);
    assert_int_equal(classify("BUSYGROUP Consumer Group name already exists"),
                     FALKOR_ERR_QUERY);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        falkor_status meant = classify(codes[i]);       /* the word alone */
        assert_int_not_equal(meant, FALKOR_ERR_QUERY);
        snprintf(text, sizeof text, "%s now", codes[i]);
        assert_int_equal(classify(text), meant);
        snprintf(text, sizeof text, "%sX now", codes[i]);
        assert_int_equal(classify(text), FALKOR_ERR_QUERY);
        snprintf(text, sizeof text, "ERR %s now", codes[i]);
        assert_int_equal(classify(text), FALKOR_ERR_QUERY);
        snprintf(text, sizeof text, "%.*s", (int)strlen(codes[i]) - 1,
                 codes[i]);
        assert_int_equal(classify(text), FALKOR_ERR_QUERY);
    }
}

/* ---- what may be repeated --------------------------------------------- */

/* Written out: U unsent, S sent, R replied; then the same for what may be
   repeated. y: may, n: may not. What cannot occur must be n. */
static const struct {
    falkor_status status;
    const char *write, *read;
} repeats[] = {
    {FALKOR_OK, "nnn", "nnn"},
    {FALKOR_ERR_ARGUMENT, "nnn", "nnn"},
    {FALKOR_ERR_NOMEM, "nnn", "nnn"},
    {FALKOR_ERR_NOT_OPEN, "nnn", "nnn"},
    {FALKOR_ERR_CLOSED, "nnn", "nnn"},
    {FALKOR_ERR_POOL_TIMEOUT, "nnn", "nnn"},
    {FALKOR_ERR_POOL_EXHAUSTED, "nnn", "nnn"},
    {FALKOR_ERR_CONNECT, "ynn", "yyn"},
    {FALKOR_ERR_AUTH, "nnn", "nnn"},
    {FALKOR_ERR_TIMEOUT, "ynn", "yyn"},
    {FALKOR_ERR_IO, "ynn", "yyn"},
    {FALKOR_ERR_PROTOCOL, "ynn", "yyn"},
    {FALKOR_ERR_BUSY, "yny", "yyy"},
    {FALKOR_ERR_READONLY, "nnn", "nnn"},
    {FALKOR_ERR_QUERY, "nnn", "nnn"},
    {FALKOR_ERR_CIRCUIT_OPEN, "nnn", "nnn"},
    {FALKOR_ERR_CONSTRAINT, "nnn", "nnn"},
    {FALKOR_ERR_SERVER_TIMEOUT, "nnn", "nnn"},
    {FALKOR_ERR_MOVED, "nnn", "nnn"},
    {FALKOR_ERR_LIMIT, "nnn", "nnn"},
    {FALKOR_ERR_STALE, "yny", "yyy"},
};
static const falkor__phase phases[] = {FALKOR__PHASE_UNSENT,
    FALKOR__PHASE_SENT, FALKOR__PHASE_REPLIED};

static void test_retry_whole_cube(void **state) {
    (void)state;
    assert_int_equal(sizeof repeats / sizeof *repeats, FALKOR_STATUS_COUNT);
    for (int s = 0; s < FALKOR_STATUS_COUNT; s++) {
        assert_int_equal(repeats[s].status, s);
        for (int p = 0; p < 3; p++)
            for (int repeatable = 0; repeatable < 2; repeatable++) {
                const char *row = repeatable ? repeats[s].read
                                             : repeats[s].write;
                if (falkor__may_retry((falkor_status)s, phases[p],
                                      repeatable) != (row[p] == 'y'))
                    fail_msg("%s, phase %d, repeatable %d: not \"%c\"",
                             falkor_status_name((falkor_status)s), p,
                             repeatable, row[p]);
            }
    }
}

/* The promise itself: a write of which a byte may have left is not repeated,
   whatever went wrong; and only such an end leaves a doubt. */
static void test_retry_no_write_twice(void **state) {
    (void)state;
    for (int s = 0; s < FALKOR_STATUS_SLOTS; s++) {
        falkor_status status = (falkor_status)s;
        assert_false(falkor__may_retry(status, FALKOR__PHASE_SENT, false));
        assert_int_equal(falkor__maybe_executed(status, FALKOR__PHASE_SENT),
                         status != FALKOR_OK);
        assert_false(falkor__maybe_executed(status, FALKOR__PHASE_UNSENT));
        assert_false(falkor__maybe_executed(status, FALKOR__PHASE_REPLIED));
    }
    assert_false(falkor__may_retry(FALKOR_ERR_IO, (falkor__phase)7, true));
}

/* ---- back-off --------------------------------------------------------- */

static falkor__policy policy(int initial_ms, int max_ms, double base,
                             double jitter) {
    return (falkor__policy){.max_retries = 3, .initial_delay_ms = initial_ms,
        .max_delay_ms = max_ms, .base = base, .jitter = jitter};
}

static void test_retry_backoff_grows_to_its_cap(void **state) {
    (void)state;
    falkor__policy standard = policy(100, 2000, 2, 0);
    static const int expected[] = {100, 200, 400, 800, 1600, 2000, 2000};
    for (int i = 0; i < 7; i++)
        assert_int_equal(falkor__backoff_ms(&standard, i + 1, 0.5),
                         expected[i]);
    falkor__policy steep = policy(10, 100000, 10, 0);
    assert_int_equal(falkor__backoff_ms(&steep, 4, 0.5), 10000);
    assert_int_equal(falkor__backoff_ms(&steep, 6, 0.5), 100000);
    falkor__policy level = policy(70, 2000, 1, 0);
    assert_int_equal(falkor__backoff_ms(&level, 1, 0.9), 70);
    assert_int_equal(falkor__backoff_ms(&level, 50, 0.1), 70);
    falkor__policy half = policy(100, 2000, 1.5, 0);
    assert_int_equal(falkor__backoff_ms(&half, 2, 0.5), 150);
    assert_int_equal(falkor__backoff_ms(&half, 3, 0.5), 225);
}

static void test_retry_backoff_jitter_bounds(void **state) {
    (void)state;
    const double almost_one = nextafter(1, 0);
    falkor__policy standard = policy(100, 2000, 2, 0.25);
    static const int middle[] = {100, 200, 400, 800, 1600};
    for (int i = 0; i < 5; i++) {
        int full = middle[i] + middle[i] / 4;
        assert_int_equal(falkor__backoff_ms(&standard, i + 1, 0),
                         middle[i] - middle[i] / 4);
        assert_int_equal(falkor__backoff_ms(&standard, i + 1, 0.5),
                         middle[i]);
        assert_int_equal(falkor__backoff_ms(&standard, i + 1, almost_one),
                         full > 2000 ? 2000 : full);
    }
    /* At the cap it varies too, but never above it. */
    assert_int_equal(falkor__backoff_ms(&standard, 9, 0), 1500);
    assert_int_equal(falkor__backoff_ms(&standard, 9, 0.5), 2000);
    assert_int_equal(falkor__backoff_ms(&standard, 9, almost_one), 2000);
    falkor__policy whole = policy(100, 2000, 2, 1);
    assert_int_equal(falkor__backoff_ms(&whole, 1, 0), 0);
    assert_int_equal(falkor__backoff_ms(&whole, 1, almost_one), 200);
}

static void test_retry_backoff_random_stays_inside(void **state) {
    (void)state;
    uint64_t random = test_seed();
    falkor__policy standard = policy(100, 2000, 2, 0.25);
    int least = INT_MAX, most = 0;
    for (int i = 0; i < 100000; i++) {
        int delay = falkor__backoff_ms(&standard, 2, falkor__random(&random));
        assert_in_range(delay, 150, 250);
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    assert_int_equal(least, 150);
    assert_true(most >= 249);
}

static void test_retry_backoff_huge_numbers(void **state) {
    (void)state;
    falkor__policy widest = policy(INT_MAX, INT_MAX, 10, 1);
    const double randoms[] = {0, 0.5, nextafter(1, 0)};
    for (int i = 0; i < 3; i++) {
        static const int retries[] = {1, 2, 1000, INT_MAX};
        for (int r = 0; r < 4; r++) {
            int delay = falkor__backoff_ms(&widest, retries[r], randoms[i]);
            assert_in_range(delay, 0, INT_MAX);
            assert_true(i == 0 ? delay == 0 : delay == INT_MAX);
        }
    }
    falkor__policy standard = policy(100, 2000, 2, 0.25);
    assert_int_equal(falkor__backoff_ms(&standard, INT_MAX, 0.5), 2000);
    falkor__policy small = policy(1, INT_MAX, 10, 0);
    assert_int_equal(falkor__backoff_ms(&small, 10, 0.5), 1000000000);
    assert_int_equal(falkor__backoff_ms(&small, 11, 0.5), INT_MAX);
}

static void test_retry_backoff_zero_delays(void **state) {
    (void)state;
    falkor__policy none = policy(0, 2000, 2, 0.25);
    falkor__policy capped = policy(100, 0, 2, 0.25);
    for (int retry = 1; retry < 1001; retry += 100)
        for (double random = 0; random < 1; random += 0.25) {
            assert_int_equal(falkor__backoff_ms(&none, retry, random), 0);
            assert_int_equal(falkor__backoff_ms(&capped, retry, random), 0);
        }
    falkor__policy low = policy(100, 30, 2, 0.25);      /* cap below first */
    assert_int_equal(falkor__backoff_ms(&low, 1, 0.5), 30);
    assert_int_equal(falkor__backoff_ms(&low, 1, nextafter(1, 0)), 30);
}

static void test_retry_backoff_zero_with_many_retries_is_quick(void **state) {
    (void)state;
    falkor__policy level = policy(100, 2000, 1, 0), none = policy(0, 9, 2, 0);
    int64_t began = test_now_ms();
    assert_int_equal(falkor__backoff_ms(&level, 1000, 0.5), 100);
    assert_int_equal(falkor__backoff_ms(&none, 1000, 0.5), 0);
    assert_true(test_now_ms() - began < 1000);
}

/* ---- random ----------------------------------------------------------- */

static void test_retry_random_is_in_the_unit_interval(void **state) {
    (void)state;
    const uint64_t seeds[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63,
                              test_seed()};
    for (int s = 0; s < 5; s++) {
        uint64_t random = seeds[s];
        int tenths[10] = {0};
        double before = -1;
        for (int i = 0; i < 100000; i++) {
            double number = falkor__random(&random);
            assert_true(number >= 0 && number < 1);
            assert_true(number != before);
            before = number;
            tenths[(int)(number * 10)]++;
        }
        for (int i = 0; i < 10; i++)
            assert_in_range(tenths[i], 9000, 11000);    /* +-10 sigma */
    }
    /* The same state gives the same number: it has none of its own. */
    uint64_t a = 42, b = 42;
    for (int i = 0; i < 10; i++)
        assert_true(falkor__random(&a) == falkor__random(&b));
}

TEST_MAIN(
    cmocka_unit_test(test_retry_classes_of_server_errors),
    cmocka_unit_test(test_retry_busykey_is_not_busy),
    cmocka_unit_test(test_retry_whole_cube),
    cmocka_unit_test(test_retry_no_write_twice),
    cmocka_unit_test(test_retry_backoff_grows_to_its_cap),
    cmocka_unit_test(test_retry_backoff_jitter_bounds),
    cmocka_unit_test(test_retry_backoff_random_stays_inside),
    cmocka_unit_test(test_retry_backoff_huge_numbers),
    cmocka_unit_test(test_retry_backoff_zero_delays),
    cmocka_unit_test(test_retry_backoff_zero_with_many_retries_is_quick),
    cmocka_unit_test(test_retry_random_is_in_the_unit_interval))
