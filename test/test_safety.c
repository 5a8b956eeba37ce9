/* The two promises at their edges: what scripts, schema statements, sessions,
   floods and strange servers could do to them. */
#include "testing.h"
#include "serving.h"
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static serving server;

static int start_server(void **state) {
    (void)state;
    serving_start(&server, NULL);
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

static falkor_pool *pool_of(int max_size) {
    falkor_options options = serving_options(server.port);
    options.max_size = max_size;
    options.min_size = 1;
    options.retry_initial_delay_ms = 1;
    return serving_pool(&options);
}

/* A command of words split at spaces, on conn if that is not NULL; ~ is a space
   in a word. */
static falkor_status say(falkor_pool *pool, falkor_conn *conn,
                         const char *words, falkor_result **result,
                         falkor_error *error) {
    char text[128], *rest = NULL;
    const char *argv[8];
    size_t argc = 0;
    snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok_r(text, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
        for (char *at = word; (at = strchr(at, '~'));)
            *at = ' ';
        argv[argc++] = word;
    }
    return falkor_command(pool, &(falkor_call_options){.conn = conn}, argc,
                          argv, NULL, result, error);
}

/* ---- writes ----------------------------------------------------------- */

/* A script's own error comes after what it has written, whatever it says. */
static void test_safety_script_is_not_repeated(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    static const char *const ends[] = {"BUSY come back", "TRYAGAIN", "MINE"};
    falkor_error error;
    for (int i = 0; i < 3; i++) {
        char script[128];
        snprintf(script, sizeof script, "redis.call('INCR', KEYS[1]) "
                 "return redis.error_reply('%s')", ends[i]);
        const char *argv[] = {"eval", script, "1", "count"};
        assert_true(falkor_command(pool, NULL, 4, argv, NULL, NULL, &error) !=
                    FALKOR_OK);
        assert_int_equal(error.attempts, 1);
        assert_true(error.maybe_executed);
        assert_int_equal(serving_number(server.port, "GET count"), i + 1);
    }
    falkor_pool_free(pool);
}

/* A statement that may have run is not run again, nor those before it. */
/* A20, C3 */
static void test_safety_schema_is_not_repeated(void **state) {
    (void)state;
    static const char *const schema[] = {"CREATE (:Boot)",
        "UNWIND range(1, 3000000) AS x CREATE (:Slow)", NULL};
    falkor_options options = serving_options(server.port);
    options.schema = schema;
    options.graph = "schema_once";
    options.socket_timeout_ms = 100;
    options.pool_timeout_ms = 2000;
    options.retry_initial_delay_ms = 1;
    falkor_pool *pool;
    falkor_error error;
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    assert_true(falkor_pool_open(pool, &error) != FALKOR_OK);
    assert_true(error.maybe_executed);
    falkor_pool_free(pool);
    pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "schema_once");
    assert_int_equal(serving_integer(graph, "MATCH (b:Boot) RETURN count(b)",
                                     NULL), 1);
    serving_drop(pool, graph, "schema_once");
    falkor_pool_free(pool);
}

/* A20 */
static void test_safety_schema_existing_is_harmless(void **state) {
    (void)state;
    static const char *const schema[] = {"CREATE INDEX FOR (p:P) ON (p.n)",
        "CONSTRAINT UNIQUE NODE P PROPERTIES 1 n", NULL};
    falkor_options options = serving_options(server.port);
    options.schema = schema;
    options.graph = "schema_twice";
    for (int i = 0; i < 2; i++)
        falkor_pool_free(serving_pool(&options));
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "schema_twice");
    assert_int_equal(serving_integer(graph,
        "CALL db.constraints() YIELD type RETURN count(type)", NULL), 1);
    serving_drop(pool, graph, "schema_twice");
    falkor_pool_free(pool);
}

/* That one attribute is indexed says nothing of another. */
static void test_safety_schema_of_two_attributes(void **state) {
    (void)state;
    const char *schema[] = {"CREATE INDEX FOR (n:L) ON (n.a)", NULL};
    falkor_options options = serving_options(server.port);
    options.schema = schema;
    options.graph = "schema_two";
    falkor_pool *pool = serving_pool(&options);
    falkor_error error;
    falkor_pool_free(pool);
    schema[0] = "create index for (n:L) on (n.a, n.b)";
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "schema[0]");
    falkor_pool_free(pool);
    pool = pool_of(1);
    serving_drop(pool, falkor_select_graph(pool, "schema_two"), "schema_two");
    falkor_pool_free(pool);
}

/* The words of a failure may quote the statement: that is no excuse. */
/* A20 */
static void test_safety_schema_errors_count(void **state) {
    (void)state;
    static const char *const wrong[] = {"CREAT INDEX 'already exists'",
        "CREAT 'Attribute x is already indexed'",
        "CONSTRAINT UNIQUE NODE"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const schema[] = {wrong[i], NULL};
        falkor_options options = serving_options(server.port);
        options.schema = schema;
        options.graph = "schema_wrong";
        falkor_pool *pool;
        falkor_error error;
        assert_int_equal(falkor_pool_create(&options, &pool, &error), 0);
        assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_QUERY);
        falkor_pool_free(pool);
    }
    const char *const some[] = {"RETURN 1", NULL};
    falkor_options options = serving_options(server.port);
    falkor_pool *pool;
    falkor_error error;
    options.schema = some;
    assert_int_equal(falkor_pool_create(&options, &pool, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "graph");
}

/* ---- sessions --------------------------------------------------------- */

/* A DISCARD that was refused has not ended the transaction. */
/* A15 */
static void test_safety_failed_discard_is_not_lent(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_conn *conn;
    falkor_error error;
    falkor_result *result;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    assert_int_equal(say(pool, conn, "MULTI", NULL, &error), FALKOR_OK);
    assert_true(say(pool, conn, "DISCARD now", NULL, &error) != FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(say(pool, NULL, "GET nothing", &result, &error), 0);
    assert_int_equal(falkor_result_value(result, 0, 0)->type, FALKOR_NULL);
    falkor_result_free(result);
    falkor_pool_free(pool);
}

static void test_safety_query_inside_multi_is_refused(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "multi");
    falkor_conn *conn;
    falkor_error error;
    falkor_result *result;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    assert_int_equal(say(pool, conn, "MULTI", NULL, &error), FALKOR_OK);
    assert_int_equal(falkor_query_with(graph,
        &(falkor_call_options){.conn = conn}, "CREATE ()", NULL, NULL, &error),
        FALKOR_ERR_ARGUMENT);
    assert_false(error.maybe_executed);
    assert_int_equal(say(pool, conn, "EXEC", &result, &error), FALKOR_OK);
    assert_int_equal(falkor_result_value(result, 0, 0)->length, 0);
    falkor_result_free(result);
    falkor_release(conn);
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    assert_int_equal(now.connections_recycled, 0);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}

/* An aborted transaction is over; a refused MULTI has not begun one. */
static void test_safety_aborted_exec_is_over(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "aborted");
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_call_options held = {.conn = conn};
    static const char *const words[] = {"MULTI now", "MULTI", "NOSUCH", "EXEC",
                                        "EXEC", "DISCARD"};
    for (int i = 0; i < 6; i++)
        assert_int_equal(say(pool, conn, words[i], NULL, &error) == FALKOR_OK,
                         i == 1);
    falkor_query_with(graph, &held, "CREATE ()", NULL, NULL, &error);
    serving_ok(&error);
    falkor_release(conn);
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    assert_int_equal(now.connections_recycled, 0);
    serving_drop(pool, graph, "aborted");
    falkor_pool_free(pool);
}

/* Messages that come unasked are nobody's reply. */
static void test_safety_pushed_messages_are_no_reply(void **state) {
    (void)state;
    static const char *const pushing[] = {"MONITOR", "SUBSCRIBE news"};
    for (int i = 0; i < 2; i++) {
        falkor_pool *pool = pool_of(1);
        falkor_conn *conn;
        falkor_error error;
        falkor_result *result;
        assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
        assert_int_equal(say(pool, conn, pushing[i], NULL, &error), 0);
        free(serving_ask(server.port, "PUBLISH news today"));
        assert_int_equal(say(pool, conn, "GET nothing", NULL, &error),
                         FALKOR_ERR_ARGUMENT);
        falkor_release(conn);
        assert_int_equal(say(pool, NULL, "GET nothing", &result, &error), 0);
        assert_int_equal(falkor_result_value(result, 0, 0)->type, FALKOR_NULL);
        falkor_result_free(result);
        falkor_pool_free(pool);
    }
}

/* The reply of a command that must succeed. */
static falkor_result *said(falkor_pool *pool, falkor_conn *conn,
                           const char *words) {
    falkor_error error;
    falkor_result *result;
    say(pool, conn, words, &result, &error);
    serving_ok(&error);
    return result;
}

static falkor_conn *held(falkor_pool *pool) {
    falkor_conn *conn;
    falkor_error error;
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    return conn;
}

static falkor_status graph_query(falkor_pool *pool, falkor_conn *conn,
                                 const char *cypher, falkor_result **result,
                                 falkor_error *error) {
    const char *argv[] = {"GRAPH.QUERY", "exec", cypher, "--compact"};
    return falkor_command(pool, &(falkor_call_options){.conn = conn}, 4, argv,
                          NULL, result, error);
}

/* Queries inside MULTI have their replies in EXEC's, an error among them; and
   those after the error have run. DISCARD runs none. */
static void test_safety_queries_inside_multi(void **state) {
    (void)state;
    static const char *const writes[] = {"CREATE (:T {n: 1})", "RETURN 1 / 0",
                                         "CREATE (:T {n: 2}) RETURN 7"};
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "exec");
    falkor_conn *conn = held(pool);
    falkor_error error;
    falkor_result *result;
    for (int commit = 0; commit < 2; commit++) {
        falkor_result_free(said(pool, conn, "MULTI"));
        for (int i = 0; i < 3; i++) {
            graph_query(pool, conn, writes[i], &result, &error);
            serving_ok(&error);
            assert_string_equal(falkor_result_value(result, 0, 0)->as.string,
                                "QUEUED");
            falkor_result_free(result);
        }
        result = said(pool, conn, commit ? "EXEC" : "DISCARD");
        const falkor_value *all = falkor_result_value(result, 0, 0);
        if (commit) {
            assert_int_equal(all->type, FALKOR_ARRAY);
            assert_int_equal(all->length, 3);
            assert_int_equal(all->as.items[0].type, FALKOR_ARRAY);
            assert_int_equal(all->as.items[1].type, FALKOR_ERROR_REPLY);
            assert_string_equal(all->as.items[1].as.string,
                                "Division by zero");
            const falkor_value *rows = &all->as.items[2].as.items[1];
            assert_int_equal(
                rows->as.items[0].as.items[0].as.items[1].as.integer, 7);
        }
        falkor_result_free(result);
        falkor_query_with(graph, &(falkor_call_options){.conn = conn},
            "MATCH (t:T) RETURN count(t)", NULL, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_value(result, 0, 0)->as.integer,
                         commit ? 2 : 0);
        falkor_result_free(result);
    }
    falkor_release(conn);
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    assert_int_equal(now.connections_recycled, 0);
    serving_drop(pool, graph, "exec");
    falkor_pool_free(pool);
}

/* EXEC says with null that a watched key has changed: nothing ran. */
static void test_safety_watch_makes_exec_null(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_conn *conn = held(pool);
    falkor_error error;
    for (int changed = 0; changed < 2; changed++) {
        falkor_result_free(said(pool, conn, "WATCH watched"));
        if (changed)
            free(serving_ask(server.port, "SET watched 1"));
        falkor_result_free(said(pool, conn, "MULTI"));
        falkor_result *result;
        graph_query(pool, conn, "RETURN 1", &result, &error);
        serving_ok(&error);
        falkor_result_free(result);
        result = said(pool, conn, "EXEC");
        assert_int_equal(falkor_result_value(result, 0, 0)->type,
                         changed ? FALKOR_NULL : FALKOR_ARRAY);
        falkor_result_free(result);
    }
    falkor_release(conn);
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    assert_int_equal(now.connections_recycled, 0);
    free(serving_ask(server.port, "DEL watched"));
    falkor_pool_free(pool);
}

/* No error reply ends a WATCH or a MULTI that it does not end on the server,
   whatever its words: the next user's transaction is his own. */
static void test_safety_no_error_ends_a_session_by_its_words(void **state) {
    (void)state;
    static const char *const sessions[][2] = {
        {"WATCH seen", "EXEC"}, {"WATCH seen", "DISCARD"},
        {"WATCH seen", "EVAL return~redis.error_reply('EXECABORT~it') 0"},
        {"WATCH seen", "EVAL return~redis.error_reply('A~without~MULTI') 0"},
        {"MULTI", "NOSUCH it~without~MULTI"},
        {"MULTI", "EXECABORT"}, {"MULTI", "EXEC now"}};
    for (size_t i = 0; i < sizeof sessions / sizeof *sessions; i++) {
        falkor_pool *pool = pool_of(1);
        falkor_conn *conn = held(pool);
        falkor_error error;
        falkor_result_free(said(pool, conn, sessions[i][0]));
        assert_true(say(pool, conn, sessions[i][1], NULL, &error) != 0);
        assert_int_equal(falkor_release(conn), FALKOR_OK);
        conn = held(pool);
        free(serving_ask(server.port, "SET seen 1"));
        falkor_result_free(said(pool, conn, "MULTI"));
        falkor_result *result = said(pool, conn, "EXEC");
        if (falkor_result_value(result, 0, 0)->type != FALKOR_ARRAY)
            fail_msg("%s, %s: inherited", sessions[i][0], sessions[i][1]);
        falkor_result_free(result);
        falkor_release(conn);
        falkor_pool_free(pool);
    }
    free(serving_ask(server.port, "DEL seen"));
}

/* A reply that will not come is not waited for: the command is refused, and
   the connection as good as before. */
static void test_safety_silence_is_refused(void **state) {
    (void)state;
    static const char *const silent[] = {"CLIENT REPLY OFF",
        "client reply skip", "Client Reply Off"};
    falkor_pool *pool = pool_of(1);
    falkor_conn *conn = held(pool);
    falkor_error error;
    int64_t begun = test_now_ms();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(say(pool, i < 3 ? conn : NULL, silent[i % 3], NULL,
                             &error), FALKOR_ERR_ARGUMENT);
        test_assert_has(error.message, "waits for its reply");
        if (i == 2) {
            falkor_result_free(said(pool, conn, "CLIENT REPLY ON"));
            falkor_result_free(said(pool, conn, "PING"));
            falkor_release(conn);
        }
    }
    assert_int_equal(falkor_command(pool, NULL, 3, (const char *[]){
        "CLIENTx", "REPLYx", "OFF"}, (const size_t[]){6, 5, 3}, NULL, &error),
        FALKOR_ERR_ARGUMENT);
    assert_true(test_now_ms() - begun < 5000);
    falkor_result_free(said(pool, NULL, "PING"));
    falkor_pool_free(pool);
}

/* Whatever was done to a session, the next user finds a fresh one: database 0,
   RESP2, no name, no transaction, his own replies. */
static void test_safety_sessions_end_with_release(void **state) {
    (void)state;
    static const char *const changes[] = {"SELECT 3", "HELLO 3", "RESET",
        "QUIT", "MONITOR", "CLIENT TRACKING on", "CLIENT REPLY ON",
        "CLIENT NO-EVICT on", "SUBSCRIBE a b c", "PSUBSCRIBE a*", "MULTI",
        "WATCH k", "READONLY", "ASKING", "AUTH default any"};
    free(serving_ask(server.port, "SET home 1"));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        falkor_pool *pool = pool_of(1);
        falkor_conn *conn = held(pool);
        falkor_stats before, after;
        falkor_error error;
        falkor_pool_stats(pool, &before);
        say(pool, conn, changes[i], NULL, &error);
        assert_true(error.status != FALKOR_ERR_TIMEOUT);
        free(serving_ask(server.port, "PUBLISH a hello"));
        assert_int_equal(falkor_release(conn), FALKOR_OK);
        falkor_result *result = said(pool, NULL, "GET home");
        assert_string_equal(falkor_result_value(result, 0, 0)->as.string, "1");
        falkor_result_free(result);
        result = said(pool, NULL, "CONFIG GET appendonly");
        assert_int_equal(falkor_result_value(result, 0, 0)->type,
                         FALKOR_ARRAY);
        falkor_result_free(result);
        falkor_pool_stats(pool, &after);
        if (after.connections_created != before.connections_created + 1)
            fail_msg("after %s the connection was used again", changes[i]);
        falkor_pool_free(pool);
    }
    free(serving_ask(server.port, "DEL home"));
}

/* A pipeline that ends in a session ends it for the connection too, though one
   before was ended in the same round trip; and silence is refused there too. */
static void test_safety_pipelines_end_their_sessions(void **state) {
    (void)state;
    static const char *const words[][2][3] = {
        {{"EXEC"}, {"MULTI"}}, {{"DISCARD"}, {"WATCH", "seen"}},
        {{"UNWATCH"}, {"WATCH", "seen"}}, {{"UNWATCH"}, {"SELECT", "1"}}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        falkor_pool *pool = pool_of(1);
        falkor_error error;
        falkor_request requests[] = {{.argc = 1, .argv = words[i][0]},
            {.argc = i ? 2 : 1, .argv = words[i][1]}};
        falkor_pipeline(pool, NULL, requests, 2, &error);
        assert_int_equal(requests[1].error.status, FALKOR_OK);
        falkor_result_free(requests[0].result);
        falkor_result_free(requests[1].result);
        falkor_conn *conn = held(pool);
        free(serving_ask(server.port, "SET seen 1"));
        falkor_result_free(said(pool, conn, "MULTI"));
        falkor_result_free(said(pool, conn, "GET seen"));
        falkor_result *result = said(pool, conn, "EXEC");
        const falkor_value *all = falkor_result_value(result, 0, 0);
        if (all->type != FALKOR_ARRAY || all->length != 1 ||
            all->as.items[0].type != FALKOR_STRING)
            fail_msg("%s is inherited", words[i][1][0]);
        falkor_result_free(result);
        falkor_release(conn);
        static const char *const silent[] = {"CLIENT", "REPLY", "SKIP"};
        falkor_request no = {.argc = 3, .argv = silent};
        assert_int_equal(falkor_pipeline(pool, NULL, &no, 1, &error),
                         FALKOR_ERR_ARGUMENT);
        test_assert_has(error.message, "waits for its reply");
        falkor_pool_free(pool);
    }
    free(serving_ask(server.port, "DEL seen"));
}

static void test_safety_after_quit_nothing_is_read(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_conn *conn = held(pool);
    falkor_error error;
    falkor_result_free(said(pool, conn, "QUIT"));
    assert_int_equal(say(pool, conn, "PING", NULL, &error), FALKOR_ERR_IO);
    falkor_release(conn);
    falkor_result_free(said(pool, NULL, "PING"));
    falkor_pool_free(pool);
}

/* ---- secrets ---------------------------------------------------------- */

/* A server that does not know AUTH repeats its words, password and all. */
/* A19, R6 */
static void test_safety_password_in_a_refusal(void **state) {
    (void)state;
    serving renamed;
    falkor_error error;
    falkor_pool *pool;
    serving_start(&renamed, (const char *[]){"--rename-command", "AUTH",
                                             "LOGIN", NULL});
    falkor_options options = serving_options(renamed.port);
    options.username = "bob";
    options.password = "hunter2";
    options.max_retries = -1;
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_AUTH);
    test_assert_lacks(error.message, "hunter2");
    test_assert_has(error.message, " (user bob at 127.0.0.1:");
    falkor_pool_free(pool);
    serving_stop(&renamed);
}

/* ---- replies ---------------------------------------------------------- */

static bool count_row(void *ctx, const falkor_result *row) {
    (void)row;
    ++*(int *)ctx;
    return true;
}

/* Bytes behind the last row's reply are nobody's: neither taken for the next
   reply, nor left for the next user. */
static void test_safety_bytes_behind_rows(void **state) {
    (void)state;
    proxy between;
    proxy_start(&between, server.port);
    falkor_options options = serving_options(between.port);
    options.max_size = options.min_size = 1;
    options.max_retries = -1;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "behind");
    falkor_call_options reads = {.read_only = true};
    falkor_error error;
    int rows = 0;
    serving_run(graph, "CREATE (:N)");
    falkor_query_each(graph, &reads, "RETURN 1", NULL, count_row, &rows, NULL,
                      &error);
    serving_ok(&error);
    atomic_store(&between.answer, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\na\r\n"
        "*1\r\n*1\r\n*2\r\n:3\r\n:1\r\n*1\r\n$20\r\nCached execution: 0 \r\n"
        "+SURPLUS\r\n+HALF");
    atomic_store(&between.answers, 1);
    assert_int_equal(falkor_query_each(graph, &reads, "RETURN 1", NULL,
        count_row, &rows, NULL, &error), FALKOR_ERR_PROTOCOL);
    assert_int_equal(serving_integer(graph, "RETURN 77", NULL), 77);
    serving_drop(pool, graph, "behind");
    falkor_pool_free(pool);
    proxy_stop(&between);
}

/* Names that were made since the last time are known when rows come. */
static void test_safety_rows_have_the_newest_names(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "newest");
    falkor_error error;
    for (int round = 0; round < 5; round++) {
        char query[64];
        int rows = 0;
        snprintf(query, sizeof query, "CREATE (:L%d {k%d: 1})", round, round);
        serving_run(graph, query);
        falkor_query_each(graph, &(falkor_call_options){.read_only = true},
            "MATCH (n) RETURN n", NULL, count_row, &rows, NULL, &error);
        serving_ok(&error);
        assert_int_equal(rows, round + 1);
        assert_int_equal(error.attempts, 1);
    }
    serving_drop(pool, graph, "newest");
    falkor_pool_free(pool);
}

/* The row where on_row stopped is not in the result. */
static bool stop_at_once(void *ctx, const falkor_result *row) {
    (void)ctx, (void)row;
    return false;
}

static void test_safety_stopped_stream_has_no_rows(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "stopped");
    falkor_result *result;
    falkor_error error;
    serving_run(graph, "CREATE ()");
    for (int reads = 0; reads < 2; reads++) {
        falkor_query_each(graph, &(falkor_call_options){.read_only = reads},
            "UNWIND range(1, 9) AS x RETURN x", NULL, stop_at_once, NULL,
            &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(result), 0);
        assert_int_equal(falkor_result_columns(result), 1);
        assert_null(falkor_result_value(result, 0, 0));
        falkor_result_free(result);
    }
    serving_drop(pool, graph, "stopped");
    falkor_pool_free(pool);
}

/* The server's words may be cut inside a character; the message is not. */
static void test_safety_message_is_utf8(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "utf8");
    falkor_error error;
    char query[400];
    for (int pad = 0; pad < 4; pad++) {
        char *end = query + snprintf(query, sizeof query, "RETURN %.*s'", pad,
                                     "      ");
        for (int i = 0; i < 80; i++)
            end = stpcpy(end, "\xF0\x9F\x90\x98");
        strcpy(end, "' RETRUN");
        assert_int_equal(falkor_ro_query(graph, query, NULL, NULL, &error),
                         FALKOR_ERR_QUERY);
        for (const unsigned char *p = (unsigned char *)error.message; *p; p++) {
            assert_true(*p < 0x80 || *p == 0xF0);
            if (*p == 0xF0) {
                assert_memory_equal(p, "\xF0\x9F\x90\x98", 4);
                p += 3;
            }
        }
    }
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}

/* ---- deadlines -------------------------------------------------------- */

static bool pause_row(void *ctx, const falkor_result *row) {
    (void)row;
    ++*(int *)ctx;
    test_pause_ms(2);
    return true;
}

/* on_row's own time counts, in both forms. */
static void test_safety_slow_rows_meet_the_deadline(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = falkor_select_graph(pool, "slow");
    falkor_error error;
    serving_run(graph, "CREATE ()");
    for (int reads = 0; reads < 2; reads++) {
        int rows = 0;
        int64_t begun = test_now_ms();
        falkor_call_options call = {.read_only = reads, .timeout_ms = 200};
        assert_int_equal(falkor_query_each(graph, &call,
            "UNWIND range(1, 5000) AS x RETURN x", NULL, pause_row, &rows,
            NULL, &error), FALKOR_ERR_TIMEOUT);
        assert_int_equal(error.maybe_executed, !reads);
        assert_true(rows > 0 && test_now_ms() - begun < 2000);
    }
    serving_drop(pool, graph, "slow");
    falkor_pool_free(pool);
}

/* A server that answers a greeting and then never stops. */
static void *flood(void *argument) {
    int listener = *(int *)argument;
    static char ones[1 << 16];
    char text[4096];
    for (size_t i = 0; i + 4 <= sizeof ones; i += 4)
        memcpy(ones + i, ":1\r\n", 4);
    int fd = accept(listener, NULL, NULL);
    TEST_CHECK(read(fd, text, sizeof text) > 0);
    TEST_CHECK(write(fd, "+PONG\r\n", 7) == 7);
    TEST_CHECK(read(fd, text, sizeof text) > 0);        /* the proof */
    static const char proof[] = "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\n1\r\n*0\r\n*0\r\n";
    TEST_CHECK(write(fd, proof, sizeof proof - 1) > 0);
    TEST_CHECK(read(fd, text, sizeof text) > 0);
    TEST_CHECK(write(fd, "*4000000000\r\n", 13) == 13);
    while (send(fd, ones, sizeof ones, MSG_NOSIGNAL) > 0)
        continue;
    close(fd);
    return NULL;
}

static void test_safety_flood_meets_the_deadline(void **state) {
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(listener, 4), 0);
    getsockname(listener, (struct sockaddr *)&at, &size);
    test_threads flooder = test_start(flood, &listener, sizeof listener, 1);
    falkor_options options = serving_options(ntohs(at.sin_port));
    options.max_size = options.min_size = 1;
    falkor_pool *pool = serving_pool(&options);
    falkor_error error;
    int64_t begun = test_now_ms();
    const char *argv[] = {"KEYS", "*"};
    assert_int_equal(falkor_command(pool,
        &(falkor_call_options){.timeout_ms = 300, .max_retries = -1}, 2, argv,
        NULL, NULL, &error), FALKOR_ERR_TIMEOUT);
    assert_true(test_now_ms() - begun < 1300);
    falkor_pool_free(pool);
    test_join(&flooder);
    test_no_complaints();
    close(listener);
}

/* A call's own time goes beyond the pool's, and the other way round. */
static void test_safety_own_timeout_is_the_whole(void **state) {
    (void)state;
    falkor_options options = serving_options(server.port);
    options.max_size = 1;
    options.pool_timeout_ms = 50;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "own");
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    int64_t begun = test_now_ms();
    assert_int_equal(falkor_query_with(graph,
        &(falkor_call_options){.timeout_ms = 400}, "RETURN 1", NULL, NULL,
        &error), FALKOR_ERR_POOL_TIMEOUT);
    assert_true(test_now_ms() - begun >= 399);
    falkor_release(conn);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}

/* Who does not wait for a turn does not wait once for each stale connection
   either. */
static void test_safety_acquire_at_once_checks_within_bounds(void **state) {
    (void)state;
    serving stopped;
    serving_start(&stopped, NULL);
    falkor_options options = serving_options(stopped.port);
    options.max_size = options.min_size = 8;
    options.connect_timeout_ms = 300;
    options.validate_after_ms = 1;
    falkor_pool *pool = serving_pool(&options);
    falkor_conn *conn;
    falkor_error error;
    test_pause_ms(20);                  /* the coarse clock has moved */
    serving_signal(&stopped, SIGSTOP);
    int64_t begun = test_now_ms();
    assert_int_equal(falkor_acquire_within(pool, 0, &conn, &error),
                     FALKOR_ERR_CONNECT);
    assert_true(test_now_ms() - begun < 1300);  /* not 8 times 300 */
    serving_signal(&stopped, SIGCONT);
    falkor_pool_free(pool);
    serving_stop(&stopped);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safety_script_is_not_repeated),
        cmocka_unit_test(test_safety_schema_is_not_repeated),
        cmocka_unit_test(test_safety_schema_existing_is_harmless),
        cmocka_unit_test(test_safety_schema_of_two_attributes),
        cmocka_unit_test(test_safety_schema_errors_count),
        cmocka_unit_test(test_safety_failed_discard_is_not_lent),
        cmocka_unit_test(test_safety_query_inside_multi_is_refused),
        cmocka_unit_test(test_safety_aborted_exec_is_over),
        cmocka_unit_test(test_safety_pushed_messages_are_no_reply),
        cmocka_unit_test(test_safety_queries_inside_multi),
        cmocka_unit_test(test_safety_watch_makes_exec_null),
        cmocka_unit_test(test_safety_no_error_ends_a_session_by_its_words),
        cmocka_unit_test(test_safety_silence_is_refused),
        cmocka_unit_test(test_safety_sessions_end_with_release),
        cmocka_unit_test(test_safety_pipelines_end_their_sessions),
        cmocka_unit_test(test_safety_after_quit_nothing_is_read),
        cmocka_unit_test(test_safety_password_in_a_refusal),
        cmocka_unit_test(test_safety_bytes_behind_rows),
        cmocka_unit_test(test_safety_rows_have_the_newest_names),
        cmocka_unit_test(test_safety_stopped_stream_has_no_rows),
        cmocka_unit_test(test_safety_message_is_utf8),
        cmocka_unit_test(test_safety_slow_rows_meet_the_deadline),
        cmocka_unit_test(test_safety_flood_meets_the_deadline),
        cmocka_unit_test(test_safety_own_timeout_is_the_whole),
        cmocka_unit_test(test_safety_acquire_at_once_checks_within_bounds),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
