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

/* Written out: nothing sent, a part, all, the reply begun, an error reply; then
   the same for what may be repeated. y: may, n: may not. What cannot occur must
   be n. Last: whether it counts for the breaker. */
static const struct {
    falkor_status status;
    const char *write, *read;
    bool counts;
} repeats[] = {
    {FALKOR_OK, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_ARGUMENT, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_NOMEM, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_NOT_OPEN, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_CLOSED, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_POOL_TIMEOUT, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_POOL_EXHAUSTED, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_CONNECT, "ynnnn", "yyyyn", true},
    {FALKOR_ERR_AUTH, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_TIMEOUT, "ynnnn", "yyyyn", true},
    {FALKOR_ERR_IO, "ynnnn", "yyyyn", true},
    {FALKOR_ERR_PROTOCOL, "ynnnn", "yyyyn", true},
    {FALKOR_ERR_BUSY, "ynnny", "yyyyy", false},
    {FALKOR_ERR_READONLY, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_QUERY, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_CIRCUIT_OPEN, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_CONSTRAINT, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_SERVER_TIMEOUT, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_MOVED, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_LIMIT, "nnnnn", "nnnnn", false},
    {FALKOR_ERR_STALE, "ynnny", "yyyyy", false},
    {FALKOR_ERR_NOT_REPLICATED, "nnnnn", "nnnnn", false},
};

static void test_retry_whole_cube(void **state) {
    (void)state;
    assert_int_equal(sizeof repeats / sizeof *repeats, FALKOR_STATUS_COUNT);
    for (int s = 0; s < FALKOR_STATUS_COUNT; s++) {
        assert_int_equal(repeats[s].status, s);
        for (int p = 0; p < FALKOR__PHASES; p++)
            for (int repeatable = 0; repeatable < 2; repeatable++) {
                const char *row = repeatable ? repeats[s].read
                                             : repeats[s].write;
                bool may = falkor__may_retry((falkor_status)s,
                                             (falkor__phase)p, repeatable);
                if (may != (row[p] == 'y'))
                    fail_msg("%s, phase %d, repeatable %d: not \"%c\"",
                             falkor_status_name((falkor_status)s), p,
                             repeatable, row[p]);
            }
        assert_int_equal(falkor__counts((falkor_status)s, 0),
                         repeats[s].counts);
        assert_int_equal(falkor__counts((falkor_status)s, ECONNRESET),
                         repeats[s].counts);
    }
}

/* The promise itself: a write of which a byte may have left is not repeated,
   whatever went wrong; and only such an end leaves a doubt. */
static void test_retry_no_write_twice(void **state) {
    (void)state;
    for (int s = 0; s < FALKOR_STATUS_SLOTS; s++) {
        falkor_status status = (falkor_status)s;
        for (int p = FALKOR__PHASE_PART; p < FALKOR__PHASE_REPLIED; p++) {
            falkor__phase phase = (falkor__phase)p;
            assert_false(falkor__may_retry(status, phase, false));
            assert_int_equal(falkor__maybe_executed(status, phase),
                             status != FALKOR_OK);
        }
        assert_false(falkor__maybe_executed(status, FALKOR__PHASE_UNSENT));
        assert_false(falkor__maybe_executed(status, FALKOR__PHASE_REPLIED));
    }
    assert_false(falkor__may_retry(FALKOR_ERR_IO, (falkor__phase)7, true));
}

static void test_retry_phases_have_words(void **state) {
    static const char *const texts[] = {"nothing was sent",
        "a part of the request was sent", "the request was sent",
        "the reply had begun", "the server answered"};
    (void)state;
    assert_int_equal(FALKOR__PHASES, 5);
    for (int p = 0; p < FALKOR__PHASES; p++)
        assert_string_equal(falkor__phase_text((falkor__phase)p), texts[p]);
}

/* What this machine lacks says nothing about the server. */
/* C5 */
static void test_retry_own_errors_are_not_the_servers(void **state) {
    static const int own[] = {ENOMEM, ENOBUFS, EMFILE, ENFILE, EADDRNOTAVAIL};
    static const int others[] = {0, ECONNREFUSED, ECONNRESET, EPIPE,
        ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOENT, EPROTO};
    (void)state;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        assert_false(falkor__counts(FALKOR_ERR_CONNECT, own[i]));
        assert_false(falkor__counts(FALKOR_ERR_IO, own[i]));
        assert_int_equal(falkor__classify_errno(own[i]), i == 0
                         ? FALKOR_ERR_NOMEM : FALKOR_ERR_IO);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(falkor__counts(FALKOR_ERR_CONNECT, others[i]));
        assert_int_equal(falkor__classify_errno(others[i]), FALKOR_ERR_IO);
    }
}

/* ---- the breaker ------------------------------------------------------ */

#define MS INT64_C(1000000)
#define FAILURE(probes, since)                                                 \
    ((falkor__failure){.probe = (probes), .counts = true, .since_ns = (since)})
#define FAILS(since, now)                                                      \
    falkor__breaker_fail(&b, 3, 1000, FAILURE(false, since), now)

/* So many in a row, of dials and connections; an answer forgets them. */
/* C5 */
static void test_retry_breaker_opens(void **state) {
    falkor__breaker b = {0};
    (void)state;
    assert_false(FAILS(0, 1 * MS));
    assert_false(FAILS(2 * MS, 3 * MS));
    assert_false(falkor__breaker_answer(&b, false));
    assert_false(FAILS(3 * MS, 4 * MS));
    assert_false(FAILS(5 * MS, 5 * MS));
    assert_int_equal(b.state, FALKOR_CIRCUIT_CLOSED);
    assert_true(FAILS(6 * MS, 6 * MS));
    assert_int_equal(b.state, FALKOR_CIRCUIT_OPEN);
    assert_int_equal(b.probe_ns, 106 * MS);
    /* Open is open: whoever still fails does not put the probe off. */
    assert_false(FAILS(49 * MS, 50 * MS));
    assert_int_equal(b.probe_ns, 106 * MS);
    assert_true(falkor__breaker_answer(&b, true));
    assert_int_equal(b.state, FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(b.failures, 0);
}

/* A probe that fails doubles the pause, up to the longest. */
/* C5 */
static void test_retry_breaker_probes_less_often(void **state) {
    static const int delays[] = {200, 400, 700, 700};
    falkor__breaker b = {0};
    int64_t now = 0;
    (void)state;
    assert_true(falkor__breaker_fail(&b, 1, 700, FAILURE(true, now), now));
    assert_int_equal(b.probe_ns, 100 * MS);
    for (int i = 0; i < 4; i++) {
        now = b.probe_ns;
        b.state = FALKOR_CIRCUIT_HALF_OPEN;
        /* An old connection that breaks, or a dial of before, is not it. */
        assert_false(falkor__breaker_fail(&b, 1, 700, FAILURE(false, now - 1),
                                          now));
        falkor__failure probe = FAILURE(true, now);
        probe.counts = i % 2;           /* whatever it was */
        assert_true(falkor__breaker_fail(&b, 1, 700, probe, now));
        assert_int_equal(b.state, FALKOR_CIRCUIT_OPEN);
        assert_int_equal(b.probe_ns - now, delays[i] * MS);
    }
    assert_true(falkor__breaker_answer(&b, true));
    assert_true(falkor__breaker_fail(&b, 1, 50, FAILURE(true, now), now));
    assert_int_equal(b.probe_ns - now, 50 * MS);    /* from the beginning */
}

/* A server that goes takes all connections along, and what is on its way: that
   is one failure. */
/* C5 */
static void test_retry_breaker_counts_a_fall_once(void **state) {
    falkor__breaker b = {0};
    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_false(FAILS(1 * MS, (10 + i) * MS));
        assert_false(FAILS(9 * MS, (10 + i) * MS));
    }
    assert_int_equal(b.failures, 1);
    assert_false(FAILS(30 * MS, 31 * MS));
    assert_false(FAILS(31 * MS, 32 * MS));
    assert_true(FAILS(32 * MS, 33 * MS));
}

/* Dials that nobody answers, each for as long as a dial may take. */
/* C5 */
static void test_retry_breaker_counts_silence(void **state) {
    falkor__breaker b = {0};
    (void)state;
    assert_false(FAILS(FALKOR__NEVER, 5000 * MS));
    assert_false(FAILS(FALKOR__NEVER, 5000 * MS));
    assert_true(FAILS(FALKOR__NEVER, 5000 * MS));
}

/* A dial alone proves no service: connections that break as soon as they are
   used open the circuit though each was dialled well. */
/* C5 */
static void test_retry_breaker_dials_do_not_forgive(void **state) {
    falkor__breaker b = {0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_false(falkor__breaker_answer(&b, true));
        assert_false(FAILS((2 * i + 1) * MS, (2 * i + 2) * MS));
    }
    assert_false(falkor__breaker_answer(&b, true));
    assert_true(FAILS(5 * MS, 6 * MS));
}

static void test_retry_breaker_what_does_not_count(void **state) {
    falkor__breaker b = {0};
    (void)state;
    for (int i = 0; i < 100; i++) {
        falkor__failure failure = FAILURE(true, i * MS);
        assert_false(falkor__breaker_fail(&b, -1, 1000, failure, i * MS));
        failure.counts = false;
        assert_false(falkor__breaker_fail(&b, 3, 1000, failure, i * MS));
    }
    assert_int_equal(b.failures, 0);
}

/* ---- back-off --------------------------------------------------------- */

static falkor__policy policy(int initial_ms, int max_ms, double base,
                             double jitter) {
    return (falkor__policy){.max_retries = 3, .initial_delay_ms = initial_ms,
        .max_delay_ms = max_ms, .base = base, .jitter = jitter};
}

/* C1 */
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

/* C1 */
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
    cmocka_unit_test(test_retry_phases_have_words),
    cmocka_unit_test(test_retry_own_errors_are_not_the_servers),
    cmocka_unit_test(test_retry_breaker_opens),
    cmocka_unit_test(test_retry_breaker_probes_less_often),
    cmocka_unit_test(test_retry_breaker_counts_a_fall_once),
    cmocka_unit_test(test_retry_breaker_counts_silence),
    cmocka_unit_test(test_retry_breaker_dials_do_not_forgive),
    cmocka_unit_test(test_retry_breaker_what_does_not_count),
    cmocka_unit_test(test_retry_backoff_grows_to_its_cap),
    cmocka_unit_test(test_retry_backoff_jitter_bounds),
    cmocka_unit_test(test_retry_backoff_random_stays_inside),
    cmocka_unit_test(test_retry_backoff_huge_numbers),
    cmocka_unit_test(test_retry_backoff_zero_delays),
    cmocka_unit_test(test_retry_backoff_zero_with_many_retries_is_quick),
    cmocka_unit_test(test_retry_random_is_in_the_unit_interval))
