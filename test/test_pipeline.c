/* Pipelines against the real server: each request's own status and result,
   their order, names that change under them, transactions, refusals. What a
   broken connection leaves is test_pipecuts.c's. */
#include "serving.h"

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

static falkor_pool *pool_at(int port, int max_size) {
    falkor_options options = serving_options(port);
    options.max_size = max_size;
    options.min_size = 1;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 5;
    return serving_pool(&options);
}

/* A graph that is there, and nothing in it. */
static falkor_graph *fresh(falkor_pool *pool, const char *name) {
    falkor_graph *graph = falkor_select_graph(pool, name);
    assert_non_null(graph);
    serving_run(graph, "MATCH (n) DETACH DELETE n");
    return graph;
}

#define WORDS(...) .argv = (const char *[]){__VA_ARGS__},                      \
    .argc = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void run_all(falkor_pool *pool, falkor_request *requests,
                    size_t count) {
    falkor_error error;
    falkor_pipeline(pool, NULL, requests, count, &error);
    serving_ok(&error);
    for (size_t i = 0; i < count; i++) {
        serving_ok(&requests[i].error);
        assert_non_null(requests[i].result);
    }
}

static const char *string_of(const falkor_request *request) {
    const falkor_value *value = falkor_result_value(request->result, 0, 0);
    assert_non_null(value);
    assert_int_equal(value->type, FALKOR_STRING);
    return value->as.string;
}

/* ---- answers ---------------------------------------------------------- */

static void test_pipeline_each_has_its_own_answer(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 2);
    falkor_graph *graph = fresh(pool, "mixed"), *other = fresh(pool, "mixed2");
    falkor_error error;
    falkor_request all[] = {
        {.graph = graph, .cypher = "CREATE (:P {name: $name})",
         .params = FALKOR_PARAMS({"name", falkor_string("Ada")})},
        {.graph = graph, .cypher = "RETURN"},
        {.graph = other, .cypher = "CREATE (:Q {n: 7})"},
        {.graph = graph, .cypher = "RETURN 1 / 0", .read_only = true},
        {.graph = graph, .cypher = "MATCH (p:P) RETURN p", .read_only = true},
        {WORDS("SET", "mixed-key", "value")},
        {WORDS("LPUSH", "mixed-key", "value")},
        {.argc = 2, .argv = (const char *[]){"GET", "mixed-key and more"},
         .lengths = (const size_t[]){3, 9}, .read_only = true},
        {.graph = other, .cypher = "MATCH (q:Q) RETURN q.n"},
        {.graph = graph, .cypher = "CREATE (:P)", .read_only = true},
    };
    enum { COUNT = sizeof all / sizeof *all };
    assert_int_equal(falkor_pipeline(pool, NULL, all, COUNT, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "requests[1] of 10: ");
    assert_false(error.maybe_executed);
    assert_int_equal(error.attempts, 1);
    for (int i = 0; i < COUNT; i++) {
        bool bad = i == 1 || i == 3 || i == 6 || i == 9;
        assert_int_equal(all[i].error.status, bad ? FALKOR_ERR_QUERY
                                                  : FALKOR_OK);
        assert_int_equal(all[i].result == NULL, bad);
        assert_int_equal(all[i].error.attempts, 1);
        assert_false(all[i].error.maybe_executed);
        assert_int_equal(all[i].error.message[0] != 0, bad);
    }
    test_assert_has(all[1].error.message, "errMsg");
    test_assert_has(all[3].error.message, "Division by zero");
    test_assert_has(all[6].error.message, "WRONGTYPE");
    assert_int_equal(falkor_result_summary(all[0].result)->nodes_created, 1);
    const falkor_value *node = falkor_result_value(all[4].result, 0, 0);
    assert_string_equal(node->as.node->labels[0], "P");
    assert_string_equal(falkor_property(node, "name")->as.string, "Ada");
    assert_string_equal(string_of(&all[7]), "value");
    assert_int_equal(serving_integer_of(&all[8]), 7);
    serving_free_results(all, COUNT);
    serving_drop(pool, graph, "mixed");
    serving_drop(pool, other, "mixed2");
    falkor_pool_free(pool);
}

/* The first one that fails is the call's error, whatever its kind. */
static void test_pipeline_call_has_the_first_error(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "first");
    falkor_error error;
    falkor_request all[] = {
        {.graph = graph, .cypher = "RETURN 1"},
        {.graph = graph, .cypher = "RETURN toInteger({})"},
        {WORDS("QUIT")},
        {WORDS("PING")},
    };
    assert_int_equal(falkor_pipeline(pool, NULL, all, 4, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "requests[1] of 4");
    assert_true(error.maybe_executed);          /* the last */
    assert_int_equal(all[3].error.status, FALKOR_ERR_IO);
    assert_true(all[3].error.maybe_executed);
    serving_free_results(all, 4);
    serving_drop(pool, graph, "first");
    falkor_pool_free(pool);
}

static void test_pipeline_keeps_the_order(void **state) {
    static const size_t counts[] = {1, 2, 64, 1000};
    (void)state;
    falkor_pool *pool = pool_at(server.port, 2);
    falkor_graph *graph = fresh(pool, "order");
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        size_t count = counts[k];
        falkor_request *all = calloc(count, sizeof *all);
        assert_non_null(all);
        serving_run(graph, "MERGE (c:C) SET c.n = 0");
        for (size_t i = 0; i < count; i++)
            all[i] = (falkor_request){.graph = graph,
                .cypher = "MATCH (c:C) SET c.n = c.n + 1 RETURN c.n"};
        run_all(pool, all, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(serving_integer_of(&all[i]), i + 1);
        serving_free_results(all, count);
        free(all);
    }
    serving_drop(pool, graph, "order");
    falkor_pool_free(pool);
}

static void test_pipeline_commands_in_order(void **state) {
    enum { COUNT = 1000 };
    static falkor_request all[COUNT];
    static const char *const words[] = {"INCR", "line"};
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    free(serving_ask(server.port, "DEL line"));
    for (int i = 0; i < COUNT; i++)
        all[i] = (falkor_request){.argc = 2, .argv = words};
    run_all(pool, all, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(serving_integer_of(&all[i]), i + 1);
    serving_free_results(all, COUNT);
    falkor_pool_free(pool);
}

/* Requests of a megabyte, replies of several: nobody can take it all before
   the other side takes something. */
static void large_through(int port, size_t count, size_t size) {
    falkor_pool *pool = pool_at(port, 1);
    falkor_graph *graph = fresh(pool, "large");
    falkor_request *all = calloc(count, sizeof *all);
    falkor_param *params = calloc(count * 3, sizeof *params);
    char *text = malloc(size + 1);
    assert_non_null(all);
    assert_non_null(params);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    for (size_t i = 0; i < count; i++) {
        params[3 * i] = (falkor_param){"s", falkor_string(text)};
        params[3 * i + 1] = (falkor_param){"i", falkor_int((int64_t)i)};
        all[i] = (falkor_request){.graph = graph, .params = params + 3 * i,
            .cypher = "RETURN $i, $s, [$s, $s]", .read_only = i % 2 != 0};
    }
    run_all(pool, all, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(serving_integer_of(&all[i]), i);
        assert_string_equal(falkor_result_value(all[i].result, 0, 1)
                            ->as.string, text);
        assert_string_equal(falkor_result_value(all[i].result, 0, 2)
                            ->as.items[1].as.string, text);
    }
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    assert_int_equal(now.connections_created, 1);
    serving_free_results(all, count);
    free(text);
    free(params);
    free(all);
    serving_drop(pool, graph, "large");
    falkor_pool_free(pool);
}

static void test_pipeline_large_both_ways(void **state) {
    (void)state;
    large_through(server.port, TEST_SANITIZED ? 8 : 24, 1 << 20);
}

static void test_pipeline_large_in_drips(void **state) {
    proxy between;
    (void)state;
    proxy_start(&between, server.port);
    atomic_store(&between.request_chunk, 3000);
    atomic_store(&between.reply_chunk, 5000);
    large_through(between.port, 4, 1 << 20);
    proxy_stop(&between);
}

/* Everything byte by byte: every reply ends in every place of a portion. */
static void test_pipeline_in_drips(void **state) {
    proxy between;
    (void)state;
    proxy_start(&between, server.port);
    for (int chunk = 1; chunk < 40; chunk += 6) {
        atomic_store(&between.reply_chunk, chunk);
        large_through(between.port, 5, (size_t)chunk * 3);
    }
    proxy_stop(&between);
}

/* ---- names ------------------------------------------------------------ */

/* Each request adds names, so that each one behind it meets another version
   than it was sent with. */
static void test_pipeline_adds_names(void **state) {
    enum { COUNT = 64 };
    falkor_request all[COUNT] = {{0}};
    char text[COUNT][120], label[16];
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    for (int round = 0; round < 2; round++) {
        serving_drop(pool, falkor_select_graph(pool, "adds"), "adds");
        falkor_graph *graph = falkor_select_graph(pool, "adds");
        for (int i = 0; i < COUNT; i++) {
            snprintf(text[i], sizeof text[i],
                     "CREATE (n:L%d {k%d: %d})-[:R%d]->(n) RETURN n", i, i, i,
                     i);
            all[i] = (falkor_request){.graph = graph, .cypher = text[i]};
        }
        run_all(pool, all, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const falkor_value *node = falkor_result_value(all[i].result, 0,
                                                           0);
            assert_int_equal(node->as.node->id, i);     /* their order */
            snprintf(label, sizeof label, "L%d", i);
            assert_string_equal(node->as.node->labels[0], label);
            label[0] = 'k';
            assert_int_equal(falkor_property(node, label)->as.integer, i);
        }
        assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)",
                                         NULL), COUNT);
        serving_free_results(all, COUNT);
        falkor_graph_free(graph);
    }
    falkor_pool_free(pool);
}

/* The first names of a graph, behind more queries than the server remembers. */
static void test_pipeline_first_names(void **state) {
    enum { COUNT = 64 };
    falkor_request all[COUNT] = {{0}};
    char text[COUNT][40];
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    for (int at = 0; at < COUNT; at += 21) {
        falkor_graph *graph = falkor_select_graph(pool, "firsts");
        serving_run(graph, "RETURN 'there'");
        for (int i = 0; i < COUNT; i++) {
            snprintf(text[i], sizeof text[i], "RETURN %d", at * 100 + i);
            all[i] = (falkor_request){.graph = graph, .cypher = i == at
                ? "CREATE (n:First {first: 1}) RETURN n" : text[i],
                .read_only = at > 30 && i < at};
        }
        run_all(pool, all, COUNT);
        for (int i = 0; i < COUNT; i++)
            if (i == at)
                assert_string_equal(falkor_result_value(all[i].result, 0, 0)
                                    ->as.node->labels[0], "First");
            else
                assert_int_equal(serving_integer_of(&all[i]), at * 100 + i);
        assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)",
                                         NULL), 1);
        serving_free_results(all, COUNT);
        serving_drop(pool, graph, "firsts");
    }
    /* A read of a graph that the next request makes: it is not there yet. */
    falkor_graph *graph = falkor_select_graph(pool, "firsts");
    falkor_request born[] = {
        {.graph = graph, .cypher = "RETURN 1", .read_only = true},
        {.graph = graph, .cypher = "CREATE (n:First) RETURN n"},
        {.graph = graph, .cypher = "MATCH (n) RETURN 1", .read_only = true}};
    falkor_error error;
    assert_int_equal(falkor_pipeline(pool, NULL, born, 3, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(born[0].error.message, "empty key");
    serving_ok(&born[1].error);
    serving_ok(&born[2].error);
    assert_int_equal(serving_integer_of(&born[2]), 1);
    serving_free_results(born, 3);
    serving_drop(pool, graph, "firsts");
    falkor_pool_free(pool);
}

/* Adds two names a round and no more, however long a round takes: who reads
   them tries four times. */
typedef struct adder {
    atomic_bool stopped;
    atomic_int rounds, added;
} adder;

static void *add_names(void *argument) {
    adder *me = argument;
    redisContext *client = serving_client(server.port);
    for (int round = 0, left = 0; !atomic_load(&me->stopped);) {
        test_pause_ms(1);
        if (round != atomic_load(&me->rounds)) {
            round = atomic_load(&me->rounds);
            left = 2;
        }
        if (left-- <= 0)
            continue;
        char text[64];
        snprintf(text, sizeof text, "CREATE (:Other%d)",
                 atomic_load(&me->added));
        redisReply *reply = redisCommand(client, "GRAPH.QUERY busy %s", text);
        TEST_CHECK(reply && reply->type == REDIS_REPLY_ARRAY);
        freeReplyObject(reply);
        atomic_fetch_add(&me->added, 1);
    }
    redisFree(client);
    return NULL;
}

/* Another client adds names all the time: everything runs once, in order. */
static void test_pipeline_names_change_meanwhile(void **state) {
    enum { COUNT = 16, ROUNDS = 60 };
    falkor_request all[COUNT] = {{0}};
    char text[COUNT][120];
    adder other = {.rounds = 1};
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "busy");
    test_threads threads = test_start(add_names, &other, sizeof other, 1);
    TEST_EVENTUALLY(atomic_load(&other.added) > 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++) {
            bool reads = i % 4 == 3;
            snprintf(text[i], sizeof text[i], reads
                ? "MATCH (m:Mine) RETURN m ORDER BY m.at DESC LIMIT 1"
                : "CREATE (m:Mine {at: %d}) RETURN m", round * COUNT + i);
            all[i] = (falkor_request){.graph = graph, .cypher = text[i],
                                      .read_only = reads};
        }
        falkor_error error;
        atomic_store(&other.rounds, round + 2);
        if (falkor_pipeline(pool, NULL, all, COUNT, &error))
            TEST_COMPLAIN("round %d: %s", round, error.message);
        for (int i = 0; i < COUNT && !error.status; i++) {
            const falkor_value *node = falkor_result_value(all[i].result, 0,
                                                           0);
            const falkor_value *at = falkor_property(node, "at");
            TEST_CHECK(node && node->as.node->label_count == 1 &&
                strcmp(node->as.node->labels[0], "Mine") == 0);
            TEST_CHECK(at && at->as.integer ==
                       round * COUNT + i - (i % 4 == 3));
        }
        serving_free_results(all, COUNT);
    }
    atomic_store(&other.stopped, true);
    test_join(&threads);
    test_no_complaints();
    printf("%d names added meanwhile\n", atomic_load(&other.added));
    assert_int_equal(serving_integer(graph, "MATCH (m:Mine) RETURN count(m)",
                                     NULL), ROUNDS * COUNT * 3 / 4);
    serving_drop(pool, graph, "busy");
    falkor_pool_free(pool);
}

/* A command must not overtake a query that waits for newer names, nor a query
   ask for names of a graph that a command is still to make. */
static void test_pipeline_commands_do_not_overtake(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    for (int round = 0; round < 2; round++) {
        free(serving_ask(server.port, "DEL from to"));
        falkor_graph *from = falkor_select_graph(pool, "from");
        falkor_graph *to = falkor_select_graph(pool, "to");
        falkor_request all[] = {
            {.graph = from, .cypher = "CREATE (:A {a: 1})"},
            {.graph = from, .cypher = "CREATE (:B {b: 1})"},
            {.graph = from, .cypher = "CREATE (:C {c: 1})"},
            {WORDS("GRAPH.COPY", "from", "to")},
            {.graph = from, .cypher = "CREATE (:D {d: 1})"},
            {.graph = to, .cypher = "MATCH (n) RETURN count(n)",
             .read_only = true},
            {.graph = to, .cypher = "MATCH (n:C) RETURN n"},
            {WORDS("GRAPH.DELETE", "from")},
            {.graph = from, .cypher = "CREATE (:E {e: 1})"},
            {.graph = from, .cypher = "MATCH (n) RETURN n", .read_only = true},
            {WORDS("RENAME", "from", "to")},
            {.graph = to, .cypher = "MATCH (n) RETURN n", .read_only = true},
            {WORDS("GRAPH.DELETE", "to")},
        };
        enum { COUNT = sizeof all / sizeof *all };
        run_all(pool, all, COUNT);
        assert_int_equal(serving_integer_of(&all[5]), 3);
        static const int at[] = {6, 9, 11};
        static const char *const labels[] = {"C", "E", "E"};
        for (int i = 0; i < 3; i++) {
            assert_int_equal(falkor_result_rows(all[at[i]].result), 1);
            assert_string_equal(falkor_result_value(all[at[i]].result, 0, 0)
                                ->as.node->labels[0], labels[i]);
        }
        serving_free_results(all, COUNT);
        falkor_graph_free(from);
        falkor_graph_free(to);
    }
    falkor_pool_free(pool);
}

/* ---- transactions ----------------------------------------------------- */

static void test_pipeline_transaction(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "exec");
    falkor_conn *conn;
    falkor_error error;
    falkor_stats now;
    for (int form = 0; form < 2; form++) {      /* the pool's, a held one */
        falkor_request all[] = {
            {WORDS("MULTI")},
            {WORDS("SET", "exec-key", "1")},
            {WORDS("GRAPH.QUERY", "exec", "CREATE (:X)")},
            {WORDS("LPUSH", "exec-key", "1")},
            {WORDS("EXEC")},
            {.graph = graph, .cypher = "MATCH (x:X) RETURN count(x)"},
        };
        falkor_call_options options = {0};
        if (form) {
            assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
            options.conn = conn;
        }
        falkor_pipeline(pool, &options, all, 6, &error);
        serving_ok(&error);
        if (form)
            assert_int_equal(falkor_release(conn), FALKOR_OK);
        assert_string_equal(string_of(&all[0]), "OK");
        assert_string_equal(string_of(&all[2]), "QUEUED");
        const falkor_value *exec = falkor_result_value(all[4].result, 0, 0);
        assert_int_equal(exec->type, FALKOR_ARRAY);
        assert_int_equal(exec->length, 3);
        assert_int_equal(exec->as.items[2].type, FALKOR_ERROR_REPLY);
        assert_int_equal(serving_integer_of(&all[5]), form + 1);
        serving_free_results(all, 6);
        falkor_pool_stats(pool, &now);
        assert_int_equal(now.connections_created, 1);   /* given back */
    }
    serving_drop(pool, graph, "exec");
    falkor_pool_free(pool);
}

/* A transaction that is left open is nobody else's, also behind another that
   was ended. */
static void test_pipeline_open_transaction_is_not_lent(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_request all[] = {
        {WORDS("MULTI")}, {WORDS("PING")}, {WORDS("EXEC")}, {WORDS("MULTI")},
    };
    for (size_t count = 1; count <= 4; count += 3) {
        run_all(pool, all, count);
        serving_free_results(all, count);
        falkor_request after[] = {{WORDS("ECHO", "hello")}};
        run_all(pool, after, 1);
        assert_string_equal(string_of(&after[0]), "hello");
        serving_free_results(after, 1);
    }
    falkor_pool_free(pool);
}

static void test_pipeline_on_a_held_connection(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "held");
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_call_options on = {.conn = conn};
    falkor_request select[] = {
        {WORDS("SELECT", "3")}, {WORDS("SET", "held-key", "3")},
        {.graph = graph, .cypher = "CREATE (h:Held {three: 3}) RETURN h"},
        {WORDS("DBSIZE")},
    };
    falkor_pipeline(pool, &on, select, 4, &error);
    serving_ok(&error);
    assert_int_equal(serving_integer_of(&select[3]), 2);   /* of its own */
    assert_string_equal(falkor_result_value(select[2].result, 0, 0)
                        ->as.node->labels[0], "Held");
    serving_free_results(select, 4);
    falkor_request multi[] = {{WORDS("MULTI")}, {WORDS("INCR", "held-key")}};
    falkor_pipeline(pool, &on, multi, 2, &error);
    serving_ok(&error);
    serving_free_results(multi, 2);
    /* Inside MULTI: no query, whichever call began it. */
    falkor_request query[] = {{WORDS("PING")},
                              {.graph = graph, .cypher = "RETURN 1"}};
    assert_int_equal(falkor_pipeline(pool, &on, query, 2, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "requests[1]");
    test_assert_has(error.message, "MULTI");
    falkor_request exec[] = {{WORDS("EXEC")},
                             {.graph = graph, .cypher = "RETURN 1"},
                             {WORDS("FLUSHDB")}};
    falkor_pipeline(pool, &on, exec, 3, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_value(exec[0].result, 0, 0)->length, 1);
    serving_free_results(exec, 3);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)", NULL),
                     0);
    serving_drop(pool, graph, "held");
    falkor_pool_free(pool);
}

static bool stop_at_once(void *ctx, const falkor_result *row) {
    (void)ctx, (void)row;
    return false;
}

/* What is left of an earlier reply is not taken for a request's. */
static void test_pipeline_behind_a_half_read_reply(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "half");
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    assert_int_equal(falkor_query_each(graph, &(falkor_call_options){
        .conn = conn, .read_only = true},
        "UNWIND range(1, 300000) AS i RETURN i", NULL, stop_at_once, NULL,
        NULL, &error), FALKOR_OK);
    falkor_request all[] = {{WORDS("PING")}, {WORDS("SET", "half", "1")},
                            {.graph = graph, .cypher = "CREATE (:Half)"}};
    assert_int_equal(falkor_pipeline(pool, &(falkor_call_options){.conn = conn,
        .max_retries = 3}, all, 3, &error), FALKOR_ERR_IO);
    test_assert_has(error.message, "release");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(all[i].error.status, FALKOR_ERR_IO);
        assert_false(all[i].error.maybe_executed);
        assert_int_equal(all[i].error.attempts, 1);
        assert_null(all[i].result);
    }
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)", NULL),
                     0);
    serving_drop(pool, graph, "half");
    falkor_pool_free(pool);
}

/* ---- refusals --------------------------------------------------------- */

static void refused(falkor_pool *pool, falkor_request bad, const char *why) {
    falkor_request all[] = {{WORDS("SET", "refused", "1")},
                            {WORDS("PING")}, {WORDS("PING")}, bad,
                            {WORDS("PING")}};
    falkor_error error;
    falkor_stats before, after;
    falkor_pool_stats(pool, &before);
    assert_int_equal(falkor_pipeline(pool, NULL, all, 5, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "requests[3]: ");
    test_assert_has(error.message, why);
    assert_int_equal(error.attempts, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(all[i].error.status, FALKOR_ERR_ARGUMENT);
        test_assert_has(all[i].error.message, "requests[3]");
        assert_false(all[i].error.maybe_executed);
        assert_null(all[i].result);
    }
    falkor_pool_stats(pool, &after);
    assert_int_equal(after.acquires, before.acquires);
    assert_int_equal(after.queries, before.queries + 5);
    assert_int_equal(after.errors[FALKOR_ERR_ARGUMENT],
                     before.errors[FALKOR_ERR_ARGUMENT] + 5);
    assert_int_equal(serving_number(server.port, "EXISTS refused"), 0);
}

static void test_pipeline_refuses(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_pool *foreign = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "refuses");
    falkor_graph *of_other = falkor_select_graph(foreign, "refuses");
    static const char *const message[] = {
        "SUBSCRIBE", "psubscribe", "SSUBSCRIBE", "MONITOR", "Sync",
        "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "REPLCONF"};
    refused(pool, (falkor_request){0}, "neither a graph");
    refused(pool, (falkor_request){.argc = 1}, "neither a graph");
    refused(pool, (falkor_request){.argv = (const char *[]){"PING"}},
            "neither a graph");
    refused(pool, (falkor_request){.cypher = "RETURN 1"}, "selection");
    refused(pool, (falkor_request){WORDS("GET", NULL)}, "argv[1] is NULL");
    refused(pool, (falkor_request){.graph = graph}, "cypher is NULL");
    refused(pool, (falkor_request){.graph = of_other, .cypher = "RETURN 1"},
            "another pool");
    refused(pool, (falkor_request){.graph = graph, .cypher = "RETURN 1",
        .server_timeout_ms = -1}, "server_timeout_ms");
    refused(pool, (falkor_request){.graph = graph, .cypher = "RETURN $x",
        .params = FALKOR_PARAMS({"x", {.type = FALKOR_UNKNOWN}})}, "x");
    refused(pool, (falkor_request){WORDS("CLIENT", "reply", "OFF")},
            "waits for its reply");
    for (size_t i = 0; i < sizeof message / sizeof *message; i++)
        refused(pool, (falkor_request){WORDS(message[i], "a", "b")},
                "falkor_command");
    falkor_request between[] = {{WORDS("MULTI")},
        {.graph = graph, .cypher = "RETURN 1"}, {WORDS("EXEC")}};
    falkor_error error;
    assert_int_equal(falkor_pipeline(pool, NULL, between, 3, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "MULTI");
    falkor_graph_free(of_other);
    serving_drop(pool, graph, "refuses");
    falkor_pool_free(foreign);
    falkor_pool_free(pool);
}

static void test_pipeline_nothing_given(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_request one[] = {{WORDS("PING")}};
    falkor_error error;
    memset(&error, 7, sizeof error);
    assert_int_equal(falkor_pipeline(pool, NULL, NULL, 0, &error), FALKOR_OK);
    assert_int_equal(error.status, FALKOR_OK);
    assert_int_equal(falkor_pipeline(pool, NULL, one, 0, &error), FALKOR_OK);
    assert_int_equal(falkor_pipeline(pool, NULL, one, 0, NULL), FALKOR_OK);
    assert_int_equal(falkor_pipeline(pool, NULL, NULL, 3, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_pipeline(pool, NULL, NULL, 3, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_pipeline(NULL, NULL, one, 1, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(one[0].error.status, FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "pool is NULL");
    assert_int_equal(falkor_pipeline(pool, NULL, one, 1, NULL), FALKOR_OK);
    serving_free_results(one, 1);
    static const falkor_call_options bad[] = {
        {.timeout_ms = -2}, {.max_retries = -2}, {.server_timeout_ms = -1}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(falkor_pipeline(pool, &bad[i], one, 1, &error),
                         FALKOR_ERR_ARGUMENT);
        assert_int_equal(one[0].error.status, FALKOR_ERR_ARGUMENT);
    }
    falkor_pool_close(pool, 0);
    assert_int_equal(falkor_pipeline(pool, NULL, one, 1, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(one[0].error.status, FALKOR_ERR_CLOSED);
    assert_false(error.maybe_executed);
    falkor_pool_free(pool);
    falkor_options options = serving_options(server.port);
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    assert_int_equal(falkor_pipeline(pool, NULL, one, 1, &error),
                     FALKOR_ERR_NOT_OPEN);
    falkor_pool_free(pool);
}

TEST_MAIN_WITH(start_server, stop_server,
    cmocka_unit_test(test_pipeline_each_has_its_own_answer),
    cmocka_unit_test(test_pipeline_call_has_the_first_error),
    cmocka_unit_test(test_pipeline_keeps_the_order),
    cmocka_unit_test(test_pipeline_commands_in_order),
    cmocka_unit_test(test_pipeline_large_both_ways),
    cmocka_unit_test(test_pipeline_large_in_drips),
    cmocka_unit_test(test_pipeline_in_drips),
    cmocka_unit_test(test_pipeline_adds_names),
    cmocka_unit_test(test_pipeline_first_names),
    cmocka_unit_test(test_pipeline_names_change_meanwhile),
    cmocka_unit_test(test_pipeline_commands_do_not_overtake),
    cmocka_unit_test(test_pipeline_transaction),
    cmocka_unit_test(test_pipeline_open_transaction_is_not_lent),
    cmocka_unit_test(test_pipeline_on_a_held_connection),
    cmocka_unit_test(test_pipeline_behind_a_half_read_reply),
    cmocka_unit_test(test_pipeline_refuses),
    cmocka_unit_test(test_pipeline_nothing_given))
