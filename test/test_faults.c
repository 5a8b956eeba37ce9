/* What happens to queries when the world fails: killed connections, a server
   that stops, signals at any moment, connections that break in the middle, and
   replies that come byte by byte. Each test has a server of its own. */
#include "crowd.h"
#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#define TOKENS (TEST_SANITIZED ? 20000 : 200000)

/* Makes sure that the graph is there: RO_QUERY wants one. */
static void found(falkor_graph *graph) {
    serving_run(graph, "CREATE (:Canary {song: 'tweet'})");
}

/* A24, M1 */
static void test_faults_tokens_never_cross(void **state) {
    serving server;
    crowd_member members[CROWD];
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = crowd_options(server.port);
    crowd all = {.queries = TOKENS / CROWD};
    all.pool = serving_pool(&options);
    all.graph = falkor_select_graph(all.pool, "tokens");
    found(all.graph);
    crowd_start(&all, members);
    crowd_join(members);
    crowd_check(&all);
    assert_int_equal(atomic_load(&all.good), TOKENS);
    TEST_EVENTUALLY(crowd_pool_is_full(all.pool));
    falkor_pool_free(all.pool);
    serving_stop(&server);
}

/* ---- killed connections ----------------------------------------------- */

typedef struct killer {
    int port, rounds;
    long long killed;
    atomic_bool stopped;
    pthread_t thread;
} killer;

static void *kill_clients(void *argument) {
    killer *me = argument;
    struct timeval patience = {.tv_sec = 20};
    redisContext *client = redisConnectWithTimeout("127.0.0.1", me->port,
                                                   patience);
    while (client && !client->err && !atomic_load(&me->stopped)) {
        redisReply *reply = redisCommand(client,
            "CLIENT KILL TYPE normal SKIPME yes");
        if (reply && reply->type == REDIS_REPLY_INTEGER) {
            me->killed += reply->integer;
            me->rounds++;
        }
        freeReplyObject(reply);
        test_pause_ms(15);           /* a rate, not a wait */
    }
    if (client)
        redisFree(client);
    return NULL;
}

/* A11, A24 */
static void test_faults_tokens_under_client_kill(void **state) {
    serving server;
    crowd_member members[CROWD];
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = crowd_options(server.port);
    options.breaker_failures = -1;      /* each is to be asked, and lost */
    crowd all = {.queries = TOKENS / CROWD};
    killer other = {.port = server.port};
    all.pool = serving_pool(&options);
    all.graph = falkor_select_graph(all.pool, "tokens");
    found(all.graph);
    crowd_start(&all, members);
    assert_int_equal(pthread_create(&other.thread, NULL, kill_clients,
                                    &other), 0);
    crowd_join(members);
    atomic_store(&other.stopped, true);
    pthread_join(other.thread, NULL);
    printf("killed %lld connections in %d rounds: ", other.killed,
           other.rounds);
    crowd_check(&all);
    assert_true(other.killed > 20);
    assert_true(atomic_load(&all.good) > TOKENS / 2);
    TEST_EVENTUALLY(crowd_pool_is_full(all.pool));
    free(serving_ask(server.port, "CLIENT KILL TYPE normal SKIPME yes"));
    TEST_EVENTUALLY(crowd_is_seen(server.port, 0));
    crowd_take_all(all.pool);
    assert_true(crowd_pool_is_full(all.pool));
    TEST_EVENTUALLY(crowd_is_seen(server.port, CROWD_POOL));
    assert_int_equal(serving_integer(all.graph,
        "MATCH (c:Canary) RETURN count(c)", NULL), 1);
    falkor_pool_free(all.pool);
    serving_stop(&server);
}

/* ---- a server that stops ---------------------------------------------- */

#define STOP_DEADLINE_MS 200

static void print_overruns(const crowd_member *members) {
    int calls = 0, within = 0;
    int64_t worst = 0;
    for (int i = 0; i < CROWD; i++) {
        calls += members[i].calls;
        within += members[i].within_50_ms;
        if (members[i].worst_ns > worst)
            worst = members[i].worst_ns;
    }
    printf("%d calls, %.4f %% back within 50 ms of their deadline, worst "
           "overrun %.1f ms\n", calls, 100.0 * within / calls,
           (double)worst / SERVING_MS);
    fflush(stdout);
    assert_true(worst < 1000 * SERVING_MS);
}

static void test_faults_stopped_server(void **state) {
    serving server;
    crowd_member members[CROWD];
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = crowd_options(server.port);
    crowd all = {.timeout_ms = STOP_DEADLINE_MS};
    all.pool = serving_pool(&options);
    all.graph = falkor_select_graph(all.pool, "tokens");
    found(all.graph);
    crowd_start(&all, members);
    bool alive = crowd_all_answered(members);
    for (int round = 0; alive && round < 2; round++) {
        serving_signal(&server, SIGSTOP);
        serving_await_state(&server, 'T');
        test_pause_ms(10 * STOP_DEADLINE_MS);    /* the outage itself */
        serving_signal(&server, SIGCONT);
        crowd_forget_since(members);
        alive = crowd_all_answered(members);
    }
    atomic_store(&all.stopped, true);
    crowd_join(members);
    assert_true(alive);
    print_overruns(members);
    crowd_check(&all);
    assert_true(atomic_load(&all.bad[FALKOR_ERR_TIMEOUT]) > 20);
    /* Who stood in line, to its end or to a dial that came too late. */
    assert_true(atomic_load(&all.bad[FALKOR_ERR_POOL_TIMEOUT]) +
                atomic_load(&all.bad[FALKOR_ERR_CONNECT]) > 0);
    TEST_EVENTUALLY(crowd_pool_is_full(all.pool));
    falkor_pool_free(all.pool);
    serving_stop(&server);
}

/* One call, so that each field of its error can be looked at. */
static void test_faults_stopped_server_says_what_happened(void **state) {
    serving server;
    falkor_error error;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = 1;
    options.validate_after_ms = -1;     /* no PING before the query */
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "stopped");
    found(graph);
    serving_run(graph, "RETURN 1");     /* reads the names anew: what times
                                           out is the query itself */
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    int64_t begin = falkor_now_ns();
    assert_int_equal(falkor_query_with(graph,
        &(falkor_call_options){.timeout_ms = 600}, "CREATE (:Late)", NULL,
        NULL, &error), FALKOR_ERR_TIMEOUT);
    int64_t took = (falkor_now_ns() - begin) / SERVING_MS;
    assert_true(took >= 599 && took < 2600);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(error.sys_errno, ETIMEDOUT);
    assert_true(error.maybe_executed);
    /* The new connection is accepted by the kernel, and greeted by nobody. */
    falkor_query_with(graph, &(falkor_call_options){.timeout_ms = 300},
                      "CREATE (:Never)", NULL, NULL, &error);
    assert_true(error.status == FALKOR_ERR_CONNECT ||
                error.status == FALKOR_ERR_POOL_TIMEOUT);
    assert_false(error.maybe_executed);
    serving_signal(&server, SIGCONT);
    /* What timed out was with the server already: it is run, once. */
    TEST_EVENTUALLY(serving_integer(graph, "MATCH (n:Late) RETURN count(n)",
                                    NULL) == 1);
    assert_int_equal(serving_integer(graph, "MATCH (n:Never) "
        "RETURN count(n)", NULL), 0);
    falkor_pool_free(pool);
    serving_stop(&server);
}

/* ---- signals ---------------------------------------------------------- */

static atomic_int pricks;

static void prick(int number) {
    (void)number;
    atomic_fetch_add(&pricks, 1);
}

/* A handler without SA_RESTART, and a timer that calls it every millisecond;
   the pool's own threads and this one get it. */
static void storm_begin(struct sigaction *old) {
    struct sigaction action = {.sa_handler = prick};
    struct itimerval every = {{0, 1000}, {0, 1000}};
    atomic_store(&pricks, 0);
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGALRM, &action, old), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void storm_end(const struct sigaction *old) {
    struct itimerval none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, old, NULL);
}

/* Asks for tokens until it has been pricked so often; false: a wrong answer,
   or an error. */
static bool pricked_queries(falkor_graph *graph, int enough,
                            falkor_error *error) {
    for (int64_t i = 0; atomic_load(&pricks) < enough; i++) {
        falkor_result *result;
        char text[32];
        snprintf(text, sizeof text, "t%lld", (long long)i);
        if (falkor_query(graph, "RETURN $t, $s", FALKOR_PARAMS(
                {"t", falkor_int(i)}, {"s", falkor_string(text)}), &result,
                error))
            return false;
        bool right = crowd_is_token(result, i);
        falkor_result_free(result);
        if (!right)
            return false;
    }
    return true;
}

static void test_faults_signals_during_queries(void **state) {
    serving server;
    struct sigaction old;
    falkor_error error = {0};
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "signals");
    found(graph);
    storm_begin(&old);
    bool right = pricked_queries(graph, 1000, &error);
    /* Long ones too: in the middle of a large reply, and of a large request. */
    falkor_result *result = NULL;
    falkor_status status = falkor_query(graph,
        "UNWIND range(1, 100000) AS i RETURN i", NULL, &result, NULL);
    storm_end(&old);
    serving_ok(&error);
    assert_true(right);
    assert_int_equal(status, FALKOR_OK);
    assert_int_equal(falkor_result_rows(result), 100000);
    falkor_result_free(result);
    falkor_pool_free(pool);
    serving_stop(&server);
}

static void test_faults_signals_during_waits(void **state) {
    serving server;
    struct sigaction old;
    falkor_error error[3];
    falkor_conn *conn, *none;
    int64_t took[3], begin;
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = 1;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "signals");
    found(graph);
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    storm_begin(&old);
    begin = falkor_now_ns();            /* waiting for a reply */
    falkor_query_with(graph, &(falkor_call_options){.timeout_ms = 700},
                      "RETURN 1", NULL, NULL, &error[0]);
    took[0] = falkor_now_ns() - begin;
    begin = falkor_now_ns();            /* waiting for a greeting */
    falkor_query_with(graph, &(falkor_call_options){.timeout_ms = 700},
                      "RETURN 1", NULL, NULL, &error[1]);
    took[1] = falkor_now_ns() - begin;
    serving_signal(&server, SIGCONT);
    falkor_status acquired = falkor_acquire(pool, &conn, NULL);
    begin = falkor_now_ns();            /* waiting for a connection */
    falkor_acquire_within(pool, 700, &none, &error[2]);
    took[2] = falkor_now_ns() - begin;
    storm_end(&old);
    assert_true(atomic_load(&pricks) > 300);
    assert_int_equal(acquired, FALKOR_OK);
    assert_int_equal(error[0].status, FALKOR_ERR_TIMEOUT);
    assert_true(error[1].status == FALKOR_ERR_CONNECT ||
                error[1].status == FALKOR_ERR_POOL_TIMEOUT);
    assert_int_equal(error[2].status, FALKOR_ERR_POOL_TIMEOUT);
    for (int i = 0; i < 3; i++) {
        printf("700 ms took %.1f ms\n", (double)took[i] / SERVING_MS);
        assert_true(took[i] < 1700 * SERVING_MS);
        assert_true(i == 1 || took[i] >= 699 * SERVING_MS);
    }
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_pool_free(pool);
    serving_stop(&server);
}

static void dispositions(struct sigaction *all) {
    memset(all, 0, NSIG * sizeof *all);
    for (int i = 1; i < NSIG; i++)
        sigaction(i, NULL, &all[i]);
}

/* Writes to a connection whose other end is gone, in every way there is. Dies
   of SIGPIPE when the library lets it. */
static void test_faults_no_sigpipe(void **state) {
    static struct sigaction before[NSIG], after[NSIG];
    (void)state;
    signal(SIGPIPE, SIG_DFL);
    dispositions(before);
    size_t size = 3000000;
    char *large = malloc(size + 1);
    assert_non_null(large);
    memset(large, 'x', size);
    large[size] = '\0';
    for (int form = 0; form < 2; form++) {
        serving server;
        falkor_conn *conn[4];
        falkor_error error;
        serving_start(&server, NULL);
        falkor_options options = {.max_retries = -1};
        if (form == 0)
            options.unix_path = server.socket;
        else
            options.host = "127.0.0.1", options.port = server.port;
        falkor_pool *pool = serving_pool(&options);
        falkor_graph *graph = falkor_select_graph(pool, "pipes");
        for (int i = 0; i < 4; i++)
            assert_int_equal(falkor_acquire(pool, &conn[i], NULL), FALKOR_OK);
        serving_signal(&server, SIGKILL);
        serving_await_state(&server, 'X');
        for (int i = 0; i < 4; i++) {
            falkor_status status = falkor_query_with(graph,
                &(falkor_call_options){.conn = conn[i]}, "RETURN size($s)",
                FALKOR_PARAMS({"s", falkor_string(i % 2 ? large : "")}), NULL,
                &error);
            assert_int_equal(status, FALKOR_ERR_IO);
            /* And again, on what is broken already. */
            assert_int_equal(falkor_query_with(graph,
                &(falkor_call_options){.conn = conn[i]}, "RETURN 1", NULL,
                NULL, &error), FALKOR_ERR_IO);
            assert_int_equal(falkor_release(conn[i]), FALKOR_OK);
        }
        assert_int_equal(falkor_query(graph, "RETURN 1", NULL, NULL, &error),
                         FALKOR_ERR_CONNECT);
        falkor_pool_free(pool);
        serving_stop(&server);
    }
    free(large);
    dispositions(after);
    for (int i = 1; i < NSIG; i++) {
        assert_true(before[i].sa_handler == after[i].sa_handler);
        assert_int_equal(before[i].sa_flags, after[i].sa_flags);
    }
}

/* ---- in portions of any size ------------------------------------------ */

/* A result with something of everything. */
static const char something[] =
    "CREATE (:A:B {s: 'line\r\n-end', n: 1.5, l: [1, [2, ['x']]]})"
    "-[:R {w: -7}]->(:C)";
static const char everything[] =
    "MATCH p = (a:A)-[e]->(b) UNWIND range(1, 20) AS i "
    "RETURN i, p, a, e, {m: [i, {k: null}]} AS m, vecf32([1, 2.5]) AS v, "
    "point({latitude: 1.25, longitude: -2}) AS o, date('2020-02-29') AS d, "
    "'' AS empty, true AS t";

typedef struct text { char bytes[65536]; size_t length; } text;

static bool append(void *ctx, const char *bytes, size_t length) {
    text *all = ctx;
    if (sizeof all->bytes - all->length <= length)
        return false;
    memcpy(all->bytes + all->length, bytes, length);
    all->length += length;
    all->bytes[all->length] = '\0';
    return true;
}

/* The rows as JSON, without what differs from run to run. */
static void rows_of(const falkor_result *result, text *out) {
    out->length = 0;
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            assert_int_equal(falkor_value_write_json(
                falkor_result_value(result, row, i), append, out), FALKOR_OK);
}

static void test_faults_replies_in_drips(void **state) {
    static text whole, dripped;
    serving server;
    proxy between;
    (void)state;
    serving_start(&server, NULL);
    proxy_start(&between, server.port);
    falkor_options options = serving_options(between.port);
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "drips");
    serving_run(graph, something);
    falkor_result *result = serving_query(graph, everything, NULL);
    rows_of(result, &whole);
    assert_true(whole.length > 5000);
    falkor_result_free(result);
    for (int chunk = 1; chunk < 8; chunk++) {
        atomic_store(&between.reply_chunk, chunk);
        atomic_store(&between.request_chunk, chunk);
        /* The first one resolves its names in drips too. */
        falkor_graph_free(graph);
        graph = falkor_select_graph(pool, "drips");
        result = serving_query(graph, everything, NULL);
        assert_int_equal(falkor_result_rows(result), 20);
        rows_of(result, &dripped);
        assert_string_equal(dripped.bytes, whole.bytes);
        falkor_result_free(result);
    }
    assert_true(atomic_load(&between.accepted) <= 6);   /* none was broken */
    falkor_pool_free(pool);
    proxy_stop(&between);
    serving_stop(&server);
}

static void test_faults_requests_in_drips(void **state) {
    serving server;
    proxy between;
    size_t size = 3000000;
    uint64_t seed = test_seed();
    (void)state;
    char *large = malloc(size + 1);
    assert_non_null(large);
    for (size_t i = 0; i < size; i++)
        large[i] = (char)(1 + test_below(&seed, 255));
    large[size] = '\0';
    serving_start(&server, NULL);
    proxy_start(&between, server.port);
    atomic_store(&between.request_chunk, 1500);
    falkor_options options = serving_options(between.port);
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "drips");
    falkor_result *result = serving_query(graph, "RETURN $s",
        FALKOR_PARAMS({"s", falkor_string(large)}));
    const falkor_value *value = falkor_result_value(result, 0, 0);
    assert_int_equal(value->type, FALKOR_STRING);
    assert_int_equal(value->length, size);
    assert_memory_equal(value->as.string, large, size + 1);
    falkor_result_free(result);
    free(large);
    falkor_pool_free(pool);
    proxy_stop(&between);
    serving_stop(&server);
}

/* A server that takes nothing: the request fills both buffers and then waits,
   no longer than it may. */
static void test_faults_request_never_taken(void **state) {
    serving server;
    falkor_error error;
    size_t size = 30000000;
    (void)state;
    char *large = malloc(size + 1);
    assert_non_null(large);
    memset(large, 'x', size);
    large[size] = '\0';
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.validate_after_ms = -1;     /* no PING before the query */
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "full");
    found(graph);
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    /* Writing the 30 MB comes first, and is slow under sanitizers. */
    int timeout_ms = TEST_SANITIZED ? 6000 : 2000;
    int64_t begin = falkor_now_ns();
    assert_int_equal(falkor_query_with(graph,
        &(falkor_call_options){.timeout_ms = timeout_ms},
        "CREATE (:Late {s: $s})", FALKOR_PARAMS({"s", falkor_string(large)}),
        NULL, &error), FALKOR_ERR_TIMEOUT);
    assert_true(falkor_now_ns() - begin < 2 * timeout_ms * SERVING_MS);
    assert_true(error.maybe_executed);  /* bytes may have reached it */
    serving_signal(&server, SIGCONT);
    assert_int_equal(serving_integer(graph, "MATCH (n:Late) "
        "RETURN count(n)", NULL), 0);
    free(large);
    falkor_pool_free(pool);
    serving_stop(&server);
}

TEST_MAIN(
    cmocka_unit_test(test_faults_tokens_never_cross),
    cmocka_unit_test(test_faults_tokens_under_client_kill),
    cmocka_unit_test(test_faults_stopped_server),
    cmocka_unit_test(test_faults_stopped_server_says_what_happened),
    cmocka_unit_test(test_faults_signals_during_queries),
    cmocka_unit_test(test_faults_signals_during_waits),
    cmocka_unit_test(test_faults_no_sigpipe),
    cmocka_unit_test(test_faults_replies_in_drips),
    cmocka_unit_test(test_faults_requests_in_drips),
    cmocka_unit_test(test_faults_request_never_taken))
