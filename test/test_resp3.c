/* RESP3 as the real server speaks it on a held connection after HELLO 3: each
   of its types, messages that come unasked between replies, queries of every
   value type, and that nobody inherits such a connection. */
#include "serving.h"

static serving server;

static int start_server(void **state) {
    (void)state;
    serving_start(&server, (const char *[]){"--enable-debug-command", "yes",
                                            NULL});
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

static falkor_pool *pool_of(int port) {
    falkor_options options = serving_options(port);
    options.max_size = options.min_size = 1;
    options.max_retries = -1;
    return serving_pool(&options);
}

/* ---- words ------------------------------------------------------------ */

static falkor_status run(falkor_pool *pool, falkor_conn *conn,
                         const char *const *argv, falkor_result **result,
                         falkor_error *error) {
    size_t argc = 0;
    while (argv[argc])
        argc++;
    return falkor_command(pool, &(falkor_call_options){.conn = conn}, argc,
                          argv, NULL, result, error);
}

typedef struct text {
    char bytes[8192];
    size_t length;
} text;

static bool text_add(void *ctx, const char *bytes, size_t length) {
    text *t = ctx;
    if (length >= sizeof t->bytes - t->length)
        return false;
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    t->bytes[t->length] = 0;
    return true;
}

static void is_json(const falkor_value *value, const char *want) {
    text got = {{0}, 0};
    assert_non_null(value);
    assert_int_equal(falkor_value_write_json(value, text_add, &got), 0);
    assert_string_equal(got.bytes, want);
}

/* The value of a command that must succeed, as JSON. */
static void gives(falkor_pool *pool, falkor_conn *conn,
                  const char *const *argv, const char *want) {
    falkor_error error;
    falkor_result *result;
    run(pool, conn, argv, &result, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_rows(result), 1);
    is_json(falkor_result_value(result, 0, 0), want);
    falkor_result_free(result);
}
#define GIVES(want, ...) gives(pool, conn, (const char *[]){__VA_ARGS__, NULL},\
                               want)

/* A held connection that speaks RESP3. */
static falkor_conn *hold(falkor_pool *pool) {
    falkor_conn *conn;
    falkor_error error;
    falkor_result *result;
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    run(pool, conn, (const char *[]){"HELLO", "3", NULL}, &result, &error);
    serving_ok(&error);
    const falkor_value *map = falkor_result_value(result, 0, 0);
    assert_int_equal(map->type, FALKOR_MAP);
    assert_int_equal(falkor_property(map, "proto")->as.integer, 3);
    assert_int_equal(falkor_property(map, "modules")->type, FALKOR_ARRAY);
    falkor_result_free(result);
    return conn;
}

/* ---- types ------------------------------------------------------------ */

static void test_resp3_types(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(server.port);
    falkor_conn *conn = hold(pool);
    static const char *const protocol[][2] = {
        {"string", "\"Hello World\""}, {"integer", "12345"},
        {"double", "3.141"}, {"null", "null"}, {"array", "[0,1,2]"},
        {"set", "[0,1,2]"}, {"map", "{\"0\":false,\"1\":true,\"2\":false}"},
        {"attrib", "\"Some real reply following the attribute\""},
        {"push", "\"Some real reply following the push reply\""},
        {"verbatim", "\"This is a verbatim\\nstring\""},
        {"true", "true"}, {"false", "false"},
        {"bignum", "\"1234567999999999999999999999999999999\""}};
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof protocol / sizeof *protocol; i++)
            GIVES(protocol[i][1], "DEBUG", "PROTOCOL", protocol[i][0]);
    falkor_release(conn);
    falkor_pool_free(pool);
}

static void test_resp3_types_of_scripts(void **state) {
    (void)state;
    static const char *const scripts[][2] = {
        {"return {map={a=1}}", "{\"a\":1}"},
        {"return {map={[7]={double=0.5}}}", "{\"7\":0.5}"},
        {"return {double=math.huge}", "\"Infinity\""},
        {"return {double=-math.huge}", "\"-Infinity\""},
        {"return {double=0/0}", "\"NaN\""},
        {"return {set={a=true}}", "[\"a\"]"},
        {"return {big_number='42'}", "42"},
        {"return {big_number='-9223372036854775808'}", "-9223372036854775808"},
        {"return {big_number='-9223372036854775809'}",
         "\"-9223372036854775809\""},
        {"return {verbatim_string={string='hi',format='mkd'}}", "\"hi\""},
        {"redis.setresp(3) return {true, false}", "[true,false]"},
        {"return {{map={}}, {set={}}, {}}", "[{},[],[]]"}};
    falkor_pool *pool = pool_of(server.port);
    falkor_conn *conn = hold(pool);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        GIVES(scripts[i][1], "EVAL", scripts[i][0], "0");
    falkor_error error;
    assert_int_equal(run(pool, conn, (const char *[]){"EVAL",
        "return redis.error_reply('MINE no')", "0", NULL}, NULL, &error),
        FALKOR_ERR_QUERY);
    test_assert_has(error.message, "MINE no");
    falkor_release(conn);
    falkor_pool_free(pool);
}

/* The commands whose replies are of another type in RESP3. */
static void test_resp3_commands(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result;
    falkor_pool *pool = pool_of(server.port);
    falkor_conn *conn = hold(pool);
    GIVES("2", "HSET", "h", "a", "1", "b", "2");
    GIVES("{\"a\":\"1\",\"b\":\"2\"}", "HGETALL", "h");
    GIVES("{}", "HGETALL", "none");
    GIVES("1", "SADD", "s", "m");
    GIVES("[\"m\"]", "SMEMBERS", "s");
    GIVES("[]", "SMEMBERS", "none");
    GIVES("2", "ZADD", "z", "1.5", "a", "inf", "b");
    GIVES("1.5", "ZSCORE", "z", "a");
    GIVES("\"Infinity\"", "ZSCORE", "z", "b");
    GIVES("null", "ZSCORE", "z", "c");
    GIVES("[[\"a\",1.5],[\"b\",\"Infinity\"]]", "ZRANGE", "z", "0", "-1",
          "WITHSCORES");
    GIVES("{\"appendonly\":\"no\"}", "CONFIG", "GET", "appendonly");
    GIVES("\"1-1\"", "XADD", "x", "1-1", "f", "v");
    GIVES("{\"x\":[[\"1-1\",[\"f\",\"v\"]]]}", "XREAD", "STREAMS", "x", "0");
    GIVES("null", "GET", "none");
    run(pool, conn, (const char *[]){"INFO", "server", NULL}, &result, &error);
    serving_ok(&error);
    assert_int_equal(strncmp(falkor_result_value(result, 0, 0)->as.string,
                             "# Server\r\n", 10), 0);
    falkor_result_free(result);
    run(pool, conn, (const char *[]){"COMMAND", NULL}, &result, &error);
    serving_ok(&error);
    assert_true(falkor_result_value(result, 0, 0)->length > 200);
    falkor_result_free(result);
    GIVES("\"OK\"", "FLUSHDB");
    falkor_release(conn);
    falkor_pool_free(pool);
}

/* A key that is an aggregate cannot be said: the call ends, the connection
   too, and nothing of it reaches anybody else. */
static void test_resp3_key_that_is_a_list(void **state) {
    (void)state;
    falkor_error error;
    falkor_pool *pool = pool_of(server.port);
    falkor_conn *conn = hold(pool);
    assert_int_equal(run(pool, conn, (const char *[]){"EVAL",
        "return {map={[{1,2}]=3}}", "0", NULL}, NULL, &error),
        FALKOR_ERR_PROTOCOL);
    test_assert_has(error.message, "a key that is a scalar");
    falkor_release(conn);
    conn = NULL;
    GIVES("\"PONG\"", "PING");
    falkor_pool_free(pool);
}

/* ---- sessions --------------------------------------------------------- */

static void test_resp3_transaction(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(server.port);
    falkor_conn *conn = hold(pool);
    GIVES("\"OK\"", "SET", "k", "1");
    GIVES("\"OK\"", "MULTI");
    GIVES("\"QUEUED\"", "INCR", "k");
    GIVES("\"QUEUED\"", "CONFIG", "GET", "appendonly");
    GIVES("\"QUEUED\"", "GRAPH.QUERY", "g", "RETURN 1", "--compact");
    falkor_error error;
    falkor_result *result;
    run(pool, conn, (const char *[]){"EXEC", NULL}, &result, &error);
    serving_ok(&error);
    const falkor_value *list = falkor_result_value(result, 0, 0);
    assert_int_equal(list->length, 3);
    is_json(&list->as.items[0], "2");
    is_json(&list->as.items[1], "{\"appendonly\":\"no\"}");
    is_json(&list->as.items[2].as.items[1], "[[[3,1]]]");
    falkor_result_free(result);
    GIVES("\"OK\"", "WATCH", "k");
    free(serving_ask(server.port, "SET k 9"));
    GIVES("\"OK\"", "MULTI");
    GIVES("\"QUEUED\"", "GET", "k");
    GIVES("null", "EXEC");
    GIVES("\"OK\"", "FLUSHDB");
    falkor_release(conn);
    falkor_pool_free(pool);
}

/* The connection is closed, and the next one speaks RESP2. */
static void test_resp3_is_not_handed_on(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result;
    falkor_stats before, after;
    for (int held = 0; held < 2; held++) {
        falkor_pool *pool = pool_of(server.port);
        falkor_pool_stats(pool, &before);
        if (held)
            falkor_release(hold(pool));
        else
            run(pool, NULL, (const char *[]){"HELLO", "3", NULL}, NULL,
                &error);
        run(pool, NULL, (const char *[]){"HELLO", NULL}, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_value(result, 0, 0)->type,
                         FALKOR_ARRAY);
        falkor_result_free(result);
        falkor_pool_stats(pool, &after);
        assert_true(after.connections_created > before.connections_created);
        falkor_pool_free(pool);
    }
}

/* Invalidations come before a reply, behind it with its last bytes, or in
   pieces: no reply is mistaken, whatever the portions. */
static void test_resp3_tracking(void **state) {
    (void)state;
    proxy between;
    proxy_start(&between, server.port);
    static const int chunks[] = {0, 1, 2, 7};
    for (int i = 0; i < 4; i++) {
        falkor_pool *pool = pool_of(between.port);
        falkor_graph *graph = falkor_select_graph(pool, "tracked");
        falkor_conn *conn = hold(pool);
        falkor_call_options held = {.conn = conn};
        falkor_result *result;
        falkor_error error;
        GIVES("\"OK\"", "CLIENT", "TRACKING", "on");
        atomic_store(&between.reply_chunk, chunks[i]);
        GIVES("\"OK\"", "SET", "other", "x");
        for (int round = 0; round < 20; round++) {
            char number[16], ask[32];
            snprintf(number, sizeof number, "\"%d\"", round);
            snprintf(ask, sizeof ask, "SET foo %d", round);
            free(serving_ask(server.port, ask));
            GIVES(number, "GET", "foo");        /* a message before it */
            GIVES("\"OK\"", "SET", "foo", "-1"); /* and one behind */
            GIVES("\"-1\"", "GET", "foo");
            free(serving_ask(server.port, ask));
            falkor_query_with(graph, &held, "RETURN $n", FALKOR_PARAMS({"n",
                falkor_int(round)}), &result, &error);
            serving_ok(&error);
            assert_int_equal(falkor_result_value(result, 0, 0)->as.integer,
                             round);
            falkor_result_free(result);
            GIVES("\"x\"", "GET", "other");
        }
        atomic_store(&between.reply_chunk, 0);
        GIVES("\"OK\"", "FLUSHDB");     /* a message without a key */
        GIVES("\"PONG\"", "PING");
        falkor_release(conn);
        falkor_graph_free(graph);
        falkor_pool_free(pool);
    }
    proxy_stop(&between);
}

/* SUBSCRIBE has no reply but its message; after it only release is left. */
static void test_resp3_subscribe(void **state) {
    (void)state;
    static const char *const words[][3] = {{"SUBSCRIBE", "a", "b"},
        {"PSUBSCRIBE", "a*", NULL}, {"SSUBSCRIBE", "c", NULL}};
    static const char *const want[] = {"[\"subscribe\",\"a\",1]",
        "[\"psubscribe\",\"a*\",1]", "[\"ssubscribe\",\"c\",1]"};
    falkor_error error;
    for (int i = 0; i < 3; i++) {
        falkor_pool *pool = pool_of(server.port);
        falkor_conn *conn = hold(pool);
        GIVES(want[i], words[i][0], words[i][1], words[i][2]);
        free(serving_ask(server.port, "PUBLISH a hello"));
        assert_int_equal(run(pool, conn, (const char *[]){"PING", NULL}, NULL,
                             &error), FALKOR_ERR_ARGUMENT);
        falkor_release(conn);
        conn = NULL;
        GIVES("\"PONG\"", "PING");
        falkor_pool_free(pool);
    }
}

/* ---- queries ---------------------------------------------------------- */

static const char *const queries[] = {
    "RETURN null, [null, 1, null], {a: null}",
    "RETURN 'text', '', 1, -9223372036854775808, 9223372036854775807",
    "RETURN 1.5, 0.1 + 0.2, -0.0, 1.0 / 0, -1.0 / 0, 1e300, true, false",
    "RETURN vecf32([1.5, -2, 0.1]), vecf32([]), [vecf32([3.25])]",
    "RETURN point({latitude: 32.5, longitude: -34})",
    "RETURN {k: [1, {l: [null, 'x', 2.5]}], v: vecf32([1])}, [[[[]]]]",
    ("RETURN date('2020-02-29'), localdatetime('2020-01-02T03:04:05'), "
     "localtime('11:22:33'), duration({hours: 5, seconds: 7})"),
    "MATCH (n) RETURN n ORDER BY n.n", "MATCH ()-[e]->() RETURN e",
    "MATCH p = (:A)-[*]->() RETURN p, nodes(p), relationships(p)",
    "MATCH (n) WHERE n.n > 100 RETURN n", "RETURN $x",
    "MATCH (n:A) OPTIONAL MATCH (n)-[:NONE]->(m) RETURN n.missing, m, n.v"};

static bool add_row(void *ctx, const falkor_result *row) {
    for (size_t i = 0; i < falkor_result_columns(row); i++) {
        falkor_value_write_json(falkor_result_value(row, 0, i), text_add, ctx);
        text_add(ctx, i + 1 < falkor_result_columns(row) ? "," : "\n", 1);
    }
    return true;
}

/* All rows, without the summary, which has the time in it. */
static text answer(falkor_graph *graph, falkor_conn *conn, const char *cypher,
                   bool each) {
    falkor_error error;
    falkor_result *result = NULL;
    text got = {{0}, 0};
    falkor_call_options held = {.conn = conn, .read_only = true};
    const falkor_param *params = FALKOR_PARAMS({"x", falkor_null()});
    if (each) {
        falkor_query_each(graph, &held, cypher, params, add_row, &got, NULL,
                          &error);
        serving_ok(&error);
        return got;
    }
    falkor_query_with(graph, &held, cypher, params, &result, &error);
    serving_ok(&error);
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        for (size_t i = 0; i < falkor_result_columns(result); i++) {
            falkor_value_write_json(falkor_result_value(result, row, i),
                                    text_add, &got);
            text_add(&got, i + 1 < falkor_result_columns(result) ? "," : "\n",
                     1);
        }
    falkor_result_free(result);
    return got;
}

/* Each answers what it answers over RESP2, whole and row by row. */
static void test_resp3_queries(void **state) {
    (void)state;
    falkor_pool *plain = pool_of(server.port), *pool = pool_of(server.port);
    falkor_graph *first = falkor_select_graph(plain, "types"),
        *graph = falkor_select_graph(pool, "types");
    falkor_conn *conn = hold(pool);
    falkor_error error;
    falkor_result *result;
    falkor_query_with(graph, &(falkor_call_options){.conn = conn},
        "CREATE (:A:B {n: 1, v: vecf32([1.5, 2]), l: [1, 'x', 2.5]})-[:R {w: "
        "vecf32([0.5])}]->({n: 2, p: point({latitude: 1, longitude: 2})})"
        "-[:S]->(:C {n: 3, b: true})", NULL, &result, &error);
    serving_ok(&error);
    const falkor_summary *did = falkor_result_summary(result);
    assert_int_equal(did->nodes_created, 3);
    assert_int_equal(did->edges_created, 2);
    assert_int_equal(did->labels_added, 3);
    assert_true(did->internal_ms > 0);
    falkor_result_free(result);
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        for (int each = 0; each < 2; each++) {
            text want = answer(first, NULL, queries[i], each);
            text got = answer(graph, conn, queries[i], each);
            assert_string_equal(got.bytes, want.bytes);
            assert_true(got.length > 0 || strstr(queries[i], "> 100"));
        }
    assert_int_equal(falkor_query_with(graph, &(falkor_call_options){
        .conn = conn}, "RETURN 1 / 0", NULL, NULL, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "Division by zero");
    falkor_release(conn);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    serving_drop(plain, first, "types");
    falkor_pool_free(plain);
}

TEST_MAIN_WITH(start_server, stop_server,
    cmocka_unit_test(test_resp3_types),
    cmocka_unit_test(test_resp3_types_of_scripts),
    cmocka_unit_test(test_resp3_commands),
    cmocka_unit_test(test_resp3_key_that_is_a_list),
    cmocka_unit_test(test_resp3_transaction),
    cmocka_unit_test(test_resp3_is_not_handed_on),
    cmocka_unit_test(test_resp3_tracking),
    cmocka_unit_test(test_resp3_subscribe),
    cmocka_unit_test(test_resp3_queries))
