/* What is sent again, and what never: the retry loop against a real server,
   through a proxy that cuts connections and answers in the server's place. */
#include "serving.h"
#include "../call.h"
#include <errno.h>
#include <signal.h>

/* ---- a server, a proxy, a pool of one, and its events ----------------- */

typedef struct stage {
    serving server;
    proxy between;
    falkor_pool *pool;
    falkor_graph *graph;
    pthread_mutex_t mutex;              /* guards what is below */
    int retries, failures, last_attempt, last_delay_ms;
    int delays[64];                     /* of the retries */
    char last_message[700];
} stage;

static void on_event(void *ctx, const falkor_event *event) {
    stage *on = ctx;
    pthread_mutex_lock(&on->mutex);
    if (strcmp(event->name, "query_retry") == 0) {
        on->delays[on->retries++ % 64] = event->delay_ms;
        on->last_attempt = event->attempt;
        on->last_delay_ms = event->delay_ms;
    }
    if (strcmp(event->name, "query_failed_after_retries") == 0)
        on->failures++;
    if (strncmp(event->name, "query_", 6) == 0)
        snprintf(on->last_message, sizeof on->last_message, "%s",
                 event->message);
    pthread_mutex_unlock(&on->mutex);
}

static falkor_options through_proxy(stage *on) {
    falkor_options options = serving_options(on->between.port);
    options.max_size = 1;
    options.min_size = -1;              /* nobody dials but the calls */
    options.health_check_interval_ms = -1;
    options.validate_after_ms = -1;     /* a PING would be a request too */
    options.retry_initial_delay_ms = 5;
    options.on_event = on_event;
    options.event_ctx = on;
    return options;
}

static void stage_begin(stage *on, const char *const *arguments) {
    memset(on, 0, sizeof *on);
    pthread_mutex_init(&on->mutex, NULL);
    serving_start(&on->server, arguments);
    proxy_start(&on->between, on->server.port);
    falkor_options options = through_proxy(on);
    options.breaker_failures = -1;      /* failures are what is wanted here */
    on->pool = serving_pool(&options);
    on->graph = falkor_select_graph(on->pool, "attempts");
    serving_run(on->graph, "CREATE (:Counter {n: 0})");
}

static void stage_end(stage *on) {
    falkor_pool_free(on->pool);
    proxy_stop(&on->between);
    serving_stop(&on->server);
    pthread_mutex_destroy(&on->mutex);
}

static const char increment[] = "MATCH (c:Counter) SET c.n = c.n + 1 "
                                "RETURN c.n";

/* What the write has done, asked past the proxy. */
static int64_t counter(stage *on) {
    falkor_options options = serving_options(on->server.port);
    options.max_size = 1;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "attempts");
    int64_t n = serving_integer(graph, "MATCH (c:Counter) RETURN c.n", NULL);
    falkor_pool_free(pool);
    return n;
}

/* Answers requests with a text instead of the server. */
static void answer(stage *on, const char *text, int times) {
    atomic_store(&on->between.answer, text);
    atomic_store(&on->between.answers, times);
}

/* ---- a connection that breaks after sending --------------------------- */

static void test_attempts_write_cut_is_not_sent_again(void **state) {
    stage on;
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    (void)state;
    stage_begin(&on, NULL);
    serving_run(on.graph, "RETURN 1");  /* the names are read: what is cut is
                                           the query's own */
    atomic_store(&on.between.cut_replies, 1);
    assert_int_equal(falkor_query(on.graph, increment, NULL, &result, &error),
                     FALKOR_ERR_IO);
    assert_null(result);
    assert_true(error.maybe_executed);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(on.retries, 0);
    assert_int_equal(counter(&on), 1);  /* it had run: once */
    /* Not even arrived; the library cannot know, and says the same. The
       connection is dialled before, for its greeting is a request too. */
    serving_run(on.graph, "RETURN 1");
    atomic_store(&on.between.cut_requests, 1);
    assert_int_equal(falkor_query(on.graph, increment, NULL, &result, &error),
                     FALKOR_ERR_IO);
    assert_true(error.maybe_executed);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(atomic_load(&on.between.cut), 2);
    assert_int_equal(counter(&on), 1);
    stage_end(&on);
}

static void test_attempts_read_cut_is_sent_again(void **state) {
    stage on;
    falkor_error error;
    falkor_result *result;
    (void)state;
    stage_begin(&on, NULL);
    for (int cuts = 1; cuts <= 3; cuts++) {
        on.retries = 0;
        /* The dial's own reply is not to be cut: requests are, and a cut one
           is the query, or, on a new connection, its greeting. */
        atomic_store(&on.between.cut_requests, cuts);
        assert_int_equal(falkor_ro_query(on.graph,
            "MATCH (c:Counter) RETURN c.n", NULL, &result, &error), FALKOR_OK);
        assert_int_equal(falkor_result_value(result, 0, 0)->as.integer, 0);
        falkor_result_free(result);
        assert_int_equal(error.attempts, cuts + 1);
        assert_false(error.maybe_executed);
        assert_int_equal(on.retries, cuts);
        assert_int_equal(on.last_attempt, cuts);
        test_assert_has(on.last_message, "max_retries=3");
        test_assert_has(on.last_message, "error=\"");
    }
    falkor_stats stats;
    falkor_pool_stats(on.pool, &stats);
    assert_int_equal(stats.retries, 1 + 2 + 3);
    stage_end(&on);
}

static void test_attempts_idempotent_write_is_sent_again(void **state) {
    stage on;
    falkor_error error;
    (void)state;
    stage_begin(&on, NULL);
    serving_run(on.graph, "RETURN 1");
    atomic_store(&on.between.cut_replies, 1);
    assert_int_equal(falkor_query_with(on.graph,
        &(falkor_call_options){.idempotent = true}, increment, NULL, NULL,
        &error), FALKOR_OK);
    assert_int_equal(error.attempts, 2);
    assert_int_equal(counter(&on), 2);  /* it was sent twice, as was allowed */
    /* Cut until there is no attempt left: then it may have run. */
    atomic_store(&on.between.cut_requests, 100);
    assert_int_not_equal(falkor_query_with(on.graph,
        &(falkor_call_options){.idempotent = true}, increment, NULL, NULL,
        &error), FALKOR_OK);
    atomic_store(&on.between.cut_requests, 0);
    assert_true(error.maybe_executed);
    assert_int_equal(error.attempts, 4);
    assert_int_equal(on.failures, 1);
    test_assert_has(on.last_message, "attempts=4");
    test_assert_has(error.message, "attempt 4");
    stage_end(&on);
}

static void test_attempts_unsent_write_is_tried_again(void **state) {
    stage on;
    falkor_error error;
    (void)state;
    stage_begin(&on, NULL);
    /* The idle connection dies, seen by the check of acquire; then two dials
       fail at the greeting. Nothing of the write has left. */
    char *killed = serving_ask(on.server.port,
                               "CLIENT KILL TYPE normal SKIPME yes");
    free(killed);
    TEST_EVENTUALLY(atomic_load(&on.between.open) == 0);
    atomic_store(&on.between.cut_requests, 2);
    assert_int_equal(falkor_query(on.graph, increment, NULL, NULL, &error),
                     FALKOR_OK);
    assert_int_equal(error.attempts, 3);
    assert_int_equal(counter(&on), 1);
    stage_end(&on);
}

static void test_attempts_number_is_the_callers(void **state) {
    stage on;
    falkor_error error;
    falkor_conn *conn;
    (void)state;
    stage_begin(&on, NULL);
    static const int allowed[] = {-1, 1, 2, 5};
    for (size_t i = 0; i < 4; i++) {
        int retries = allowed[i] < 0 ? 0 : allowed[i];
        atomic_store(&on.between.cut_requests, 100);
        assert_int_not_equal(falkor_query_with(on.graph,
            &(falkor_call_options){.read_only = true,
                                   .max_retries = allowed[i]},
            "RETURN 1", NULL, NULL, &error), FALKOR_OK);
        atomic_store(&on.between.cut_requests, 0);
        assert_int_equal(error.attempts, retries + 1);
        assert_false(error.maybe_executed);
    }
    /* On a held connection there is nothing to try again with. */
    assert_int_equal(falkor_acquire(on.pool, &conn, &error), FALKOR_OK);
    atomic_store(&on.between.cut_requests, 1);
    assert_int_equal(falkor_query_with(on.graph,
        &(falkor_call_options){.read_only = true, .conn = conn}, "RETURN 1",
        NULL, NULL, &error), FALKOR_ERR_IO);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    stage_end(&on);
}

/* A9, C4 */
static void test_attempts_end_with_the_deadline(void **state) {
    stage on;
    falkor_error error;
    (void)state;
    stage_begin(&on, NULL);
    atomic_store(&on.between.cut_requests, 1000000);
    int64_t begin = test_now_ms();
    assert_int_not_equal(falkor_query_with(on.graph,
        &(falkor_call_options){.read_only = true, .timeout_ms = 1000,
                               .max_retries = 1000}, "RETURN 1", NULL, NULL,
        &error), FALKOR_OK);
    int64_t took = test_now_ms() - begin;
    atomic_store(&on.between.cut_requests, 0);
    assert_true(took < 3000);
    assert_true(error.attempts > 1 && error.attempts < 60);
    stage_end(&on);
}

static void test_attempts_back_off(void **state) {
    stage on;
    falkor_error error;
    (void)state;
    stage_begin(&on, NULL);
    falkor_pool_free(on.pool);
    falkor_options options = through_proxy(&on);
    options.retry_initial_delay_ms = 40;
    options.retry_max_delay_ms = 80;
    options.retry_jitter = -1;
    on.pool = serving_pool(&options);
    on.graph = falkor_select_graph(on.pool, "attempts");
    atomic_store(&on.between.cut_requests, 3);
    int64_t begin = test_now_ms();
    assert_int_equal(falkor_ro_query(on.graph, "RETURN 1", NULL, NULL,
                                     &error), FALKOR_OK);
    int64_t took = test_now_ms() - begin;
    assert_int_equal(error.attempts, 4);
    assert_int_equal(on.last_delay_ms, 80);
    assert_true(took >= 40 + 80 + 80 && took < 2000);
    stage_end(&on);
}

/* ---- error replies ---------------------------------------------------- */

typedef struct refusal {
    const char *reply;
    falkor_status status;
    bool retried;
} refusal;
static const refusal refusals[] = {
    {"-LOADING Redis is loading the dataset in memory\r\n", FALKOR_ERR_BUSY,
     true},
    {"-BUSY Redis is busy running a script.\r\n", FALKOR_ERR_BUSY, true},
    {"-MASTERDOWN Link with MASTER is down\r\n", FALKOR_ERR_BUSY, true},
    {"-CLUSTERDOWN The cluster is down\r\n", FALKOR_ERR_BUSY, true},
    {"-TRYAGAIN Multiple keys request\r\n", FALKOR_ERR_BUSY, true},
    {"-Max pending queries exceeded\r\n", FALKOR_ERR_BUSY, true},
    {"-Write queue is full, try again\r\n", FALKOR_ERR_BUSY, true},
    {"-ERR max number of clients reached\r\n", FALKOR_ERR_BUSY, true},
    {"-MOVED 3999 127.0.0.1:6381\r\n", FALKOR_ERR_MOVED, false},
    {"-ASK 3999 127.0.0.1:6381\r\n", FALKOR_ERR_MOVED, false},
    {"-READONLY You can't write against a read only replica.\r\n",
     FALKOR_ERR_READONLY, false},
    {"-Query timed out\r\n", FALKOR_ERR_SERVER_TIMEOUT, false},
    {"-NOAUTH Authentication required.\r\n", FALKOR_ERR_AUTH, false},
    {"-NOPERM this user has no permissions\r\n", FALKOR_ERR_AUTH, false},
    {"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
     FALKOR_ERR_QUERY, false},
    {"-Query's mem consumption exceeded capacity\r\n", FALKOR_ERR_QUERY,
     false},
    {"-errMsg: Invalid input 'x'\r\n", FALKOR_ERR_QUERY, false},
    {"-Division by zero\r\n", FALKOR_ERR_QUERY, false},
    {"-unique constraint violation, on node\r\n", FALKOR_ERR_CONSTRAINT,
     false},
};

/* Refused before it ran: also a write is sent again, and runs once. Anything
   else is the answer. */
/* C2, R9 */
static void test_attempts_follow_the_error_reply(void **state) {
    stage on;
    falkor_error error;
    int64_t runs = 0;
    (void)state;
    stage_begin(&on, NULL);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *row = &refusals[i];
        answer(&on, row->reply, 1);
        falkor_status status = falkor_query(on.graph, increment, NULL, NULL,
                                            &error);
        if (status != (row->retried ? FALKOR_OK : row->status) ||
            error.attempts != 1 + row->retried || error.maybe_executed)
            fail_msg("%s: %s, %d attempts", row->reply,
                     falkor_status_name(status), error.attempts);
        runs += row->retried;
        if (row->retried) {             /* and what it is when it stays */
            answer(&on, row->reply, 4);
            assert_int_equal(falkor_query(on.graph, increment, NULL, NULL,
                                          &error), row->status);
            assert_int_equal(error.attempts, 4);
            assert_false(error.maybe_executed);
        }
        assert_string_equal(error.message[0] ? "said" : "empty",
                            error.status ? "said" : "empty");
    }
    assert_int_equal(counter(&on), runs);
    assert_int_equal(atomic_load(&on.between.answers), 0);
    /* None of these cost the connection. */
    assert_int_equal(atomic_load(&on.between.accepted), 1);
    stage_end(&on);
}

/* ---- a server that becomes a replica ---------------------------------- */

/* No answer, but the loss of one: the write may run, and only what may be
   repeated is. */
/* C3 */
static void test_attempts_unblocked_may_have_run(void **state) {
    static const char unblocked[] = "-UNBLOCKED force unblock from blocking "
        "operation, instance state changed (master -> replica?)\r\n";
    stage on;
    falkor_error error;
    (void)state;
    stage_begin(&on, NULL);
    serving_run(on.graph, "RETURN 1");  /* the names are read */
    answer(&on, unblocked, 1);
    assert_int_equal(falkor_query(on.graph, increment, NULL, NULL, &error),
                     FALKOR_ERR_IO);
    assert_true(error.maybe_executed);
    assert_int_equal(error.attempts, 1);
    answer(&on, unblocked, 1);
    assert_int_equal(falkor_ro_query(on.graph, "RETURN 1", NULL, NULL, &error),
                     FALKOR_OK);
    assert_int_equal(error.attempts, 2);
    answer(&on, unblocked, 1);
    falkor_request one = {.graph = on.graph, .cypher = increment};
    assert_int_equal(falkor_pipeline(on.pool, NULL, &one, 1, &error),
                     FALKOR_ERR_IO);
    assert_true(one.error.maybe_executed && error.maybe_executed);
    assert_int_equal(counter(&on), 0);
    stage_end(&on);
}

static bool is_running(int port) {
    redisContext *client = serving_client(port);
    redisReply *reply = redisCommand(client, "GRAPH.INFO RunningQueries");
    bool running = reply && reply->type == REDIS_REPLY_ARRAY &&
        reply->elements == 2 && reply->element[1]->elements > 0;
    freeReplyObject(reply);
    redisFree(client);
    return running;
}

static void *become_replica(void *argument) {
    stage *on = argument;
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!is_running(on->server.port) && test_now_ms() < until)
        test_pause_ms(1);
    free(serving_ask(on->server.port, "REPLICAOF 127.0.0.1 1"));
    return NULL;
}

/* The real one: it runs to its end, after its caller was told. */
/* C3 */
static void test_attempts_outlive_a_new_replica(void **state) {
    static const char slow[] = "UNWIND range(1, 3000000) AS i "
        "WITH count(i) AS c MATCH (n:Counter) SET n.n = n.n + 1";
    stage on;
    falkor_error error;
    pthread_t thread;
    (void)state;
    stage_begin(&on, NULL);
    serving_run(on.graph, increment);   /* the names are known from here on */
    assert_int_equal(pthread_create(&thread, NULL, become_replica, &on), 0);
    falkor_query(on.graph, slow, NULL, NULL, &error);
    pthread_join(thread, NULL);
    assert_int_equal(error.status, FALKOR_ERR_IO);
    test_assert_has(error.message, "UNBLOCKED");
    assert_true(error.maybe_executed);
    assert_int_equal(error.attempts, 1);
    free(serving_ask(on.server.port, "REPLICAOF NO ONE"));
    TEST_EVENTUALLY(counter(&on) == 2);
    stage_end(&on);
}

/* ---- a server that is really busy ------------------------------------- */

typedef struct script { int port; bool ended; pthread_t thread; } script;

static void *run_for_ever(void *argument) {
    script *me = argument;
    redisContext *client = redisConnect("127.0.0.1", me->port);
    redisReply *reply = client && !client->err ? redisCommand(client,
        "EVAL %s 0", "while true do end") : NULL;
    me->ended = reply && reply->type == REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    if (client)
        redisFree(client);
    return NULL;
}

static bool is_busy(int port) {
    char *reply = serving_ask(port, "PING");
    bool busy = strncmp(reply, "-BUSY", 5) == 0;
    free(reply);
    return busy;
}

typedef struct later_kill { stage *on; pthread_t thread; } later_kill;

/* Ends the script once the pool has been refused twice. */
static void *kill_script_later(void *argument) {
    later_kill *me = argument;
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    for (int retries = 0; retries < 2 && test_now_ms() < until;) {
        pthread_mutex_lock(&me->on->mutex);
        retries = me->on->retries;
        pthread_mutex_unlock(&me->on->mutex);
        test_pause_ms(1);
    }
    redisContext *client = redisConnect("127.0.0.1", me->on->server.port);
    freeReplyObject(redisCommand(client, "SCRIPT KILL"));
    redisFree(client);
    return NULL;
}

static void test_attempts_outlive_a_busy_server(void **state) {
    stage on;
    falkor_error error;
    (void)state;
    stage_begin(&on, (const char *[]){"--busy-reply-threshold", "20", NULL});
    script endless = {.port = on.server.port};
    later_kill later = {.on = &on};
    assert_int_equal(pthread_create(&endless.thread, NULL, run_for_ever,
                                    &endless), 0);
    TEST_EVENTUALLY(is_busy(on.server.port));
    assert_int_equal(pthread_create(&later.thread, NULL, kill_script_later,
                                    &later), 0);
    falkor_status status = falkor_query_with(on.graph,
        &(falkor_call_options){.max_retries = 1000, .timeout_ms = 15000},
        increment, NULL, NULL, &error);
    pthread_join(later.thread, NULL);
    pthread_join(endless.thread, NULL);
    assert_true(endless.ended);
    assert_int_equal(status, FALKOR_OK);
    assert_true(error.attempts >= 3);
    test_assert_has(on.last_message, "BUSY");
    assert_int_equal(counter(&on), 1);
    stage_end(&on);
}

/* ---- opening ---------------------------------------------------------- */

/* A server that comes up while the pool opens. */
static void test_attempts_open_waits_for_the_server(void **state) {
    stage on;
    falkor_error error;
    falkor_pool *pool;
    (void)state;
    stage_begin(&on, NULL);
    falkor_options options = through_proxy(&on);
    assert_int_equal(falkor_pool_create(&options, &pool, NULL), FALKOR_OK);
    atomic_store(&on.between.cut_requests, 2);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(error.attempts, 3);
    falkor_pool_free(pool);
    assert_int_equal(falkor_pool_create(&options, &pool, NULL), FALKOR_OK);
    answer(&on, "-LOADING Redis is loading the dataset in memory\r\n", 2);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    assert_int_equal(error.attempts, 3);
    falkor_pool_free(pool);
    stage_end(&on);
}

/* A read that fails to its last attempt. */
static void *fail_read(void *argument) {
    stage *on = argument;
    falkor_error error;
    TEST_CHECK(falkor_query_with(on->graph,
        &(falkor_call_options){.read_only = true, .max_retries = 6},
        "RETURN 1", NULL, NULL, &error));
    TEST_CHECK(error.attempts == 7);
    return NULL;
}

/* Every thread has a jitter of its own; a seed gives the same again. */
/* C1 */
static void test_attempts_jitter_of_each_thread(void **state) {
    enum { RUNS = 4, DELAYS = 6 };
    stage on;
    (void)state;
    stage_begin(&on, NULL);
    atomic_store(&on.between.cut_requests, 1000);
    for (int run = 0; run < RUNS; run++) {
        if (run < 2) {
            falkor__jitter_seed(7);
            fail_read(&on);
        } else {
            test_threads thread = test_start(fail_read, &on, sizeof on, 1);
            test_join(&thread);
        }
        assert_int_equal(on.retries, (run + 1) * DELAYS);
    }
    test_no_complaints();
    int *delays[RUNS];
    for (int run = 0; run < RUNS; run++)
        delays[run] = on.delays + run * DELAYS;
    assert_memory_equal(delays[0], delays[1], sizeof(int) * DELAYS);
    assert_memory_not_equal(delays[0], delays[2], sizeof(int) * DELAYS);
    assert_memory_not_equal(delays[2], delays[3], sizeof(int) * DELAYS);
    atomic_store(&on.between.cut_requests, 0);
    stage_end(&on);
}

TEST_MAIN(
    cmocka_unit_test(test_attempts_jitter_of_each_thread),
    cmocka_unit_test(test_attempts_write_cut_is_not_sent_again),
    cmocka_unit_test(test_attempts_read_cut_is_sent_again),
    cmocka_unit_test(test_attempts_idempotent_write_is_sent_again),
    cmocka_unit_test(test_attempts_unsent_write_is_tried_again),
    cmocka_unit_test(test_attempts_number_is_the_callers),
    cmocka_unit_test(test_attempts_end_with_the_deadline),
    cmocka_unit_test(test_attempts_back_off),
    cmocka_unit_test(test_attempts_follow_the_error_reply),
    cmocka_unit_test(test_attempts_unblocked_may_have_run),
    cmocka_unit_test(test_attempts_outlive_a_new_replica),
    cmocka_unit_test(test_attempts_outlive_a_busy_server),
    cmocka_unit_test(test_attempts_open_waits_for_the_server))
