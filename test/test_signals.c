/* Signals and the ends of threads and processes: a storm of signals, whose
   handler does not restart what it interrupts, on many threads; threads that
   are cancelled as pool.h says they may be; a pool that is closed over those
   who wait; a process that exits while its threads query. What a single thread
   sees of signals, and SIGPIPE, is in test_faults.c; fork in test_fork.c. */
#include "lateness.h"
#include "serving.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define POOL 3

static serving server;
static falkor_pool *pool;
static falkor_graph *graph;

/* ---- a storm ------------------------------------------------------------ */

static atomic_int pricks;

static void prick(int number) {
    (void)number;
    atomic_fetch_add(&pricks, 1);
}

typedef struct member {
    pthread_t thread;
    int number;
    atomic_int rounds;
    atomic_bool gone;                   /* does not want signals any more */
    late_book late;
} member;
static member members[THREADS];
static atomic_bool enough;

/* Pricks each of them in turn, every tenth of a millisecond, until all are
   gone. */
static void *storm(void *argument) {
    int here = THREADS;
    (void)argument;
    while (here) {
        here = 0;
        for (int i = 0; i < THREADS; i++) {
            if (atomic_load(&members[i].gone))
                continue;
            pthread_kill(members[i].thread, SIGUSR1);
            here++;
        }
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    return NULL;
}

/* A member stays until the storm has seen it go: its thread is not joined
   before. */
static void storm_over(void *(*run)(void *), void (*meanwhile)(void)) {
    struct sigaction old, action = {.sa_handler = prick};   /* no SA_RESTART */
    pthread_t stormer;
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    atomic_store(&pricks, 0);
    atomic_store(&enough, false);
    memset(members, 0, sizeof members);
    for (int i = 0; i < THREADS; i++) {
        members[i].number = i;
        assert_int_equal(pthread_create(&members[i].thread, NULL, run,
                                        &members[i]), 0);
    }
    assert_int_equal(pthread_create(&stormer, NULL, storm, NULL), 0);
    meanwhile();
    pthread_join(stormer, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    sigaction(SIGUSR1, &old, NULL);
    test_no_complaints();
}

static bool is_number(const falkor_result *result, int64_t number) {
    const falkor_value *value = falkor_result_value(result, 0, 0);
    return value && value->type == FALKOR_INTEGER &&
           value->as.integer == number;
}

static falkor_status ask_number(int64_t number, falkor_error *error) {
    falkor_result *result;
    falkor_status status = falkor_query(graph, "RETURN $n",
        FALKOR_PARAMS({"n", falkor_int(number)}), &result, error);
    if (!status)
        TEST_CHECK(is_number(result, number));
    falkor_result_free(result);
    return status;
}

static falkor_status ask_rows(falkor_error *error) {
    falkor_cursor *cursor;
    const falkor_result *row;
    int rows = 0;
    falkor_status status = falkor_cursor_open(graph, &(falkor_call_options){
        .read_only = true}, "UNWIND range(1, 2000) AS i RETURN i, 'some text'",
        NULL, &cursor, error);
    while (!status && !(status = falkor_cursor_next(cursor, &row, error)) &&
           row)
        rows += is_number(row, rows + 1);
    falkor_cursor_close(cursor);
    TEST_CHECK(status || rows == 2000);
    return status;
}

static falkor_status ask_pipeline(falkor_error *error) {
    falkor_request requests[10];
    memset(requests, 0, sizeof requests);
    for (int i = 0; i < 10; i++) {
        requests[i].graph = graph;
        requests[i].cypher = i % 2 ? "MERGE (n:N {k: 1}) RETURN 7" : "RETURN 7";
    }
    falkor_status status = falkor_pipeline(pool, NULL, requests, 10, error);
    for (int i = 0; i < 10; i++) {
        TEST_CHECK(status || is_number(requests[i].result, 7));
        falkor_result_free(requests[i].result);
    }
    return status;
}

static char large[1 << 20];

/* A hold, over a request larger than what the socket takes at once. */
static falkor_status ask_large(falkor_error *error) {
    falkor_conn *conn;
    falkor_result *result;
    falkor_status status = falkor_acquire(pool, &conn, error);
    if (status)
        return status;
    status = falkor_query_with(graph, &(falkor_call_options){.conn = conn},
        "RETURN size($t)", FALKOR_PARAMS({"t", falkor_string_n(large,
        sizeof large)}), &result, error);
    TEST_CHECK(status || is_number(result, sizeof large));
    falkor_result_free(result);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    return status;
}

static void *ask_in_storm(void *argument) {
    member *self = argument;
    falkor_error error;
    for (int i = 0; !atomic_load(&enough); i++) {
        falkor_status status = i % 4 == 0 ? ask_rows(&error)
            : i % 4 == 1 ? ask_pipeline(&error)
            : i % 4 == 2 ? ask_large(&error)
            : ask_number(self->number * INT64_C(1000000) + i, &error);
        if (status)
            TEST_COMPLAIN("%s: %s", falkor_status_name(status), error.message);
        atomic_fetch_add(&self->rounds, 1);
    }
    atomic_store(&self->gone, true);
    return NULL;
}

static int fewest_rounds(void) {
    int fewest = atomic_load(&members[0].rounds);
    for (int i = 1; i < THREADS; i++)
        if (atomic_load(&members[i].rounds) < fewest)
            fewest = atomic_load(&members[i].rounds);
    return fewest;
}

/* All connections anew, now and then: dials and closes are pricked too. */
static void flush_meanwhile(void) {
    int wanted = TEST_SANITIZED ? 12 : 40;
    for (int i = 1; i <= 4; i++) {
        TEST_EVENTUALLY(fewest_rounds() >= i * wanted / 4);
        falkor_pool_flush(pool);
    }
    TEST_EVENTUALLY(atomic_load(&pricks) > 2000);
    atomic_store(&enough, true);
}

/* C4 */
static void test_signals_storm(void **state) {
    (void)state;
    storm_over(ask_in_storm, flush_meanwhile);
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    assert_int_equal(stats.active, 0);
    assert_int_equal(stats.acquires, stats.releases);
    assert_int_equal(stats.queries, stats.errors[FALKOR_OK]);
    assert_true(stats.connections_created > POOL);
    printf("%d signals\n", atomic_load(&pricks));
}

#define DEADLINE_MS 500

/* A server that is silent, and a line of those who wait: each is back when his
   time is over. */
static void *wait_in_storm(void *argument) {
    member *self = argument;
    for (int i = 0; i < 2; i++) {
        falkor_error error;
        late_call call;
        int64_t began = test_now_ms();
        late_clock_in(&call);
        falkor_query_with(graph, &(falkor_call_options){
            .timeout_ms = DEADLINE_MS}, "RETURN 1", NULL, NULL, &error);
        late_clock_out(&self->late, &call, DEADLINE_MS, &error);
        int64_t took = test_now_ms() - began;
        if (took < DEADLINE_MS - 2 ||
            (error.status != FALKOR_ERR_TIMEOUT &&
             error.status != FALKOR_ERR_POOL_TIMEOUT &&
             error.status != FALKOR_ERR_CONNECT))
            TEST_COMPLAIN("%d ms took %lld: %s", DEADLINE_MS, (long long)took,
                          error.message);
    }
    atomic_store(&self->gone, true);
    return NULL;
}

static void nothing(void) {
}

/* C4 */
static void test_signals_deadlines(void **state) {
    late_book sum = {0};
    (void)state;
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    late_begin();
    storm_over(wait_in_storm, nothing);
    int64_t tick_ns = late_end();
    serving_signal(&server, SIGCONT);
    for (int i = 0; i < THREADS; i++)
        late_add(&sum, &members[i].late);
    assert_int_equal(sum.calls, 2 * THREADS);
    late_check(&sum, tick_ns);
    assert_true(atomic_load(&pricks) > 1000);
    assert_int_equal(serving_integer(graph, "RETURN 7", NULL), 7);
}

/* ---- cancelled threads -------------------------------------------------- */

static atomic_int stage;

static void release(void *argument) {
    TEST_CHECK(falkor_release(*(falkor_conn **)argument) == FALKOR_OK);
}

/* As pool.h says: not while in a call. */
static void *cancelled(void *argument) {
    falkor_conn *volatile conn = NULL;
    falkor_conn *taken;
    int before;
    (void)argument;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    TEST_CHECK(falkor_acquire(pool, &taken, NULL) == FALKOR_OK);
    conn = taken;
    pthread_cleanup_push(release, (void *)&conn);
    atomic_store(&stage, 1);
    TEST_CHECK(falkor_query_with(graph, &(falkor_call_options){.conn = taken},
        "UNWIND range(1, 1000000) AS i RETURN count(i)", NULL, NULL,
        NULL) == FALKOR_OK);
    while (atomic_load(&stage) == 1)
        TEST_CHECK(falkor_query_with(graph, &(falkor_call_options){
            .conn = taken}, "RETURN 1", NULL, NULL, NULL) == FALKOR_OK);
    pthread_setcancelstate(before, &before);
    pthread_testcancel();
    TEST_COMPLAIN("not cancelled");
    pthread_cleanup_pop(1);
    return NULL;
}

static void test_signals_cancelled_between_calls(void **state) {
    pthread_t thread;
    void *result;
    falkor_stats stats;
    (void)state;
    atomic_store(&stage, 0);
    assert_int_equal(pthread_create(&thread, NULL, cancelled, NULL), 0);
    TEST_EVENTUALLY(atomic_load(&stage) == 1);
    assert_int_equal(pthread_cancel(thread), 0);
    atomic_store(&stage, 2);
    pthread_join(thread, &result);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    falkor_pool_stats(pool, &stats);
    assert_int_equal(stats.active, 0);
    assert_int_equal(serving_integer(graph, "RETURN 7", NULL), 7);
    test_no_complaints();
}

/* ---- close over all ----------------------------------------------------- */

static atomic_int closed;

static void *ask_until_closed(void *argument) {
    falkor_error error;
    falkor_status status = FALKOR_OK;
    (void)argument;
    while (!status)
        status = falkor_query_with(graph, &(falkor_call_options){
            .timeout_ms = -1}, "RETURN 1", NULL, NULL, &error);
    if (status != FALKOR_ERR_CLOSED)
        TEST_COMPLAIN("%s", error.message);
    atomic_fetch_add(&closed, 1);
    return NULL;
}

/* A8, M13 */
static void test_signals_close_while_all_wait(void **state) {
    falkor_pool *kept = pool;
    falkor_graph *kept_graph = graph;
    falkor_conn *held[POOL];
    falkor_stats stats;
    (void)state;
    falkor_options options = serving_options(server.port);
    options.max_size = POOL;
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "signals");
    for (int i = 0; i < POOL; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
    test_threads threads = test_start(ask_until_closed, NULL, 0, THREADS);
    TEST_EVENTUALLY((falkor_pool_stats(pool, &stats),
                     stats.waiting == THREADS));
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    test_join_within(&threads, 5000);
    assert_int_equal(atomic_load(&closed), THREADS);
    for (int i = 0; i < POOL; i++)
        assert_int_equal(falkor_release(held[i]), FALKOR_OK);
    falkor_pool_free(pool);
    pool = kept;
    graph = kept_graph;
    test_no_complaints();
}

/* ---- exit without a word ------------------------------------------------ */

static void *ask_for_ever(void *argument) {
    falkor_error error;
    member *self = argument;
    for (int i = 0;; i++) {
        if (self->number % 2 ? ask_rows(&error) : ask_number(i, &error))
            abort();
        atomic_fetch_add(&self->rounds, 1);
    }
    return NULL;
}

static test_threads askers;             /* known to who looks for leaks */

/* Another process, which ends in the middle of everything: two threads are at
   the server, one dials, others wait. */
static int exits(int port) {
    falkor_options options = serving_options(port);
    options.max_size = POOL;
    options.health_check_interval_ms = 5;
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "signals");
    askers = test_start(ask_for_ever, members, sizeof *members, THREADS);
    for (int i = 0; i < THREADS; i++)
        while (atomic_load(&members[i].rounds) < 3)
            falkor_pool_flush(pool);
    exit(askers.count == THREADS ? 0 : 1);
}

static pid_t start_exiting(void) {
    char port[16];
    snprintf(port, sizeof port, "%d", server.port);
    pid_t child = fork();
    if (child == 0) {
        alarm(TEST_PATIENCE_MS / 1000);
        execl("/proc/self/exe", "test_signals", "exits", port, (char *)NULL);
        _exit(127);
    }
    return child;
}

static void test_signals_exit_while_threads_query(void **state) {
    (void)state;
    for (int i = 0; i < (TEST_SANITIZED ? 4 : 15); i++)
        test_await_child(start_exiting());
}

/* ---- all of it ---------------------------------------------------------- */

static int begin(void **state) {
    (void)state;
    memset(large, 'x', sizeof large);
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = POOL;
    options.max_retries = -1;           /* every error is to be seen */
    options.breaker_failures = -1;
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "signals");
    serving_run(graph, "CREATE (:N {k: 1})");   /* RO_QUERY wants a graph */
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_storm),
        cmocka_unit_test(test_signals_deadlines),
        cmocka_unit_test(test_signals_cancelled_between_calls),
        cmocka_unit_test(test_signals_close_while_all_wait),
        cmocka_unit_test(test_signals_exit_while_threads_query)};
    if (argc == 3 && strcmp(argv[1], "exits") == 0)
        return exits(atoi(argv[2]));
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin, end);
}
