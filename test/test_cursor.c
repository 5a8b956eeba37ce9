/* The cursor: rows asked for one by one, in loops that end early, late, slowly
   or not at all, and what becomes of the connection under it. */
#include "serving.h"
#include <signal.h>

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

static falkor_graph *fresh(falkor_pool *pool, const char *name) {
    falkor_graph *graph = falkor_select_graph(pool, name);
    assert_non_null(graph);
    serving_run(graph, "MATCH (n) DETACH DELETE n");
    return graph;
}

static const falkor_call_options reading = {.read_only = true};

static falkor_cursor *open_on(falkor_graph *graph,
                              const falkor_call_options *options,
                              const char *cypher, int64_t n) {
    falkor_cursor *cursor;
    falkor_error error;
    falkor_cursor_open(graph, options, cypher,
                       FALKOR_PARAMS({"n", falkor_int(n)}), &cursor, &error);
    serving_ok(&error);
    assert_non_null(cursor);
    return cursor;
}

static const char numbers[] = "UNWIND range(1, $n) AS i RETURN i, i * 2 AS d";

/* So many rows more, of numbers, the first being that. */
static void read_rows(falkor_cursor *cursor, int64_t first, int64_t count) {
    falkor_error error;
    const falkor_result *row;
    for (int64_t i = first; i < first + count; i++) {
        assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
        assert_non_null(row);
        assert_int_equal(falkor_result_rows(row), 1);
        assert_int_equal(falkor_result_columns(row), 2);
        assert_int_equal(falkor_result_value(row, 0, 0)->as.integer, i);
        assert_int_equal(falkor_result_get(row, 0, "d")->as.integer, 2 * i);
        assert_null(falkor_result_value(row, 1, 0));
    }
}

static void read_end(falkor_cursor *cursor) {
    falkor_error error;
    const falkor_result *row = (const falkor_result *)&error;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
        assert_null(row);
        assert_int_equal(error.status, FALKOR_OK);
    }
}

static falkor_stats stats_of(falkor_pool *pool) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

/* The server's number of the pool's only connection. */
static int64_t client_id(falkor_pool *pool) {
    falkor_error error;
    falkor_result *result;
    /* Found by its last command, for CLIENT ID itself costs the connection. */
    falkor_command(pool, NULL, 3, (const char *[]){"EVAL", "return 1", "0"},
                   NULL, &result, &error);
    serving_ok(&error);
    falkor_result_free(result);
    char *list = serving_ask(server.port, "CLIENT LIST");
    char *at = strstr(list, "cmd=eval");
    assert_non_null(at);
    while (at > list && at[-1] != '\n')
        at--;
    int64_t id = strtoll(at + strlen("id="), NULL, 10);
    free(list);
    return id;
}

/* ---- rows ------------------------------------------------------------- */

static void test_cursor_gives_all_rows(void **state) {
    static const int64_t counts[] = {0, 1, 2, 100000};
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "rows");
    for (int form = 0; form < 2; form++)        /* read_only, and not */
        for (int i = 0; i < 4; i++) {
            falkor_stats before = stats_of(pool);
            falkor_cursor *cursor = open_on(graph, form ? NULL : &reading,
                                            numbers, counts[i]);
            const falkor_result *head = falkor_cursor_result(cursor);
            assert_int_equal(falkor_result_columns(head), 2);
            assert_string_equal(falkor_result_column(head, 1), "d");
            assert_int_equal(falkor_result_rows(head), 0);
            assert_null(falkor_result_value(head, 0, 0));
            read_rows(cursor, 1, counts[i]);
            head = falkor_cursor_result(cursor);
            assert_int_equal(falkor_result_rows(head), 0);
            read_end(cursor);
            head = falkor_cursor_result(cursor);
            assert_int_equal(falkor_result_rows(head), 0);
            assert_string_equal(falkor_result_column(head, 0), "i");
            assert_true(falkor_result_summary(head)->internal_ms > 0);
            assert_int_equal(stats_of(pool).active, 0);     /* given back */
            falkor_cursor_close(cursor);
            falkor_stats after = stats_of(pool);
            assert_int_equal(after.queries, before.queries + 1);
            assert_int_equal(after.errors[FALKOR_OK],
                             before.errors[FALKOR_OK] + 1);
            assert_int_equal(after.connections_created, 1);
        }
    serving_drop(pool, graph, "rows");
    falkor_pool_free(pool);
}

/* A write is read whole: it is done when the cursor is open, and has the names
   that it has added. */
static void test_cursor_of_a_write(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "writes");
    falkor_error error;
    const falkor_result *row;
    falkor_cursor *cursor = open_on(graph, NULL,
        "UNWIND range(1, $n) AS i CREATE (n:Fresh {fresh: i}) RETURN n", 5);
    assert_int_equal(stats_of(pool).active, 0);
    assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)", NULL),
                     5);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
        const falkor_value *node = falkor_result_value(row, 0, 0);
        assert_string_equal(node->as.node->labels[0], "Fresh");
        assert_int_equal(falkor_property(node, "fresh")->as.integer, i);
    }
    read_end(cursor);
    assert_int_equal(falkor_result_summary(falkor_cursor_result(cursor))
                     ->nodes_created, 5);
    falkor_cursor_close(cursor);
    /* No columns at all. */
    cursor = open_on(graph, NULL, "CREATE (:Fresh {fresh: $n})", 9);
    assert_int_equal(falkor_result_columns(falkor_cursor_result(cursor)), 0);
    read_end(cursor);
    falkor_cursor_close(cursor);
    serving_drop(pool, graph, "writes");
    falkor_pool_free(pool);
}

/* Values of every size keep their place in the row while it is the newest. */
static void test_cursor_rows_of_any_size(void **state) {
    (void)state;
    proxy between;
    proxy_start(&between, server.port);
    falkor_options options = serving_options(between.port);
    options.max_size = 1;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = fresh(pool, "sizes");
    falkor_error error;
    const falkor_result *row;
    for (int chunk = 1; chunk < 70000; chunk = chunk * 7 + 1) {
        if (chunk > 50)
            atomic_store(&between.reply_chunk, chunk);
        falkor_cursor *cursor = open_on(graph, &reading,
            "UNWIND range(0, $n) AS i UNWIND [1, 0, 3000] AS k RETURN i, "
            "[x IN range(1, i * k) | 'item'], toString(i)", 20);
        for (int i = 0; i <= 20; i++)
            for (int k = 0; k < 3; k++) {
                static const int factor[] = {1, 0, 3000};
                falkor_cursor_next(cursor, &row, &error);
                serving_ok(&error);
                const falkor_value *items = falkor_result_value(row, 0, 1);
                assert_int_equal(falkor_result_value(row, 0, 0)->as.integer,
                                 i);
                assert_int_equal(items->length, i * factor[k]);
                if (items->length)
                    assert_string_equal(items->as.items[items->length - 1]
                                        .as.string, "item");
                assert_int_equal(atoi(falkor_result_value(row, 0, 2)
                                      ->as.string), i);
            }
        read_end(cursor);
        falkor_cursor_close(cursor);
    }
    atomic_store(&between.reply_chunk, 0);
    serving_drop(pool, graph, "sizes");
    falkor_pool_free(pool);
    proxy_stop(&between);
}

/* ---- leaving early ---------------------------------------------------- */

static void test_cursor_closed_with_a_small_rest(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "small");
    int64_t id = client_id(pool);
    for (int form = 0; form < 2; form++)
        for (int seen = 0; seen <= 12; seen += 3) {
            falkor_cursor *cursor = open_on(graph, form ? NULL : &reading,
                                            numbers, 12);
            read_rows(cursor, 1, seen);
            falkor_cursor_close(cursor);
            assert_int_equal(serving_integer(graph, "RETURN 42", NULL), 42);
        }
    assert_int_equal(client_id(pool), id);
    assert_int_equal(stats_of(pool).connections_created, 1);
    assert_int_equal(stats_of(pool).connections_recycled, 0);
    serving_drop(pool, graph, "small");
    falkor_pool_free(pool);
}

static void test_cursor_closed_with_a_large_rest(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "much");
    falkor_cursor *cursor = open_on(graph, &reading, numbers, 1000000);
    read_rows(cursor, 1, 10);
    int64_t begin = falkor_now_ns();
    falkor_cursor_close(cursor);
    int64_t took = falkor_now_ns() - begin;
    printf("closed in %.3f ms\n", (double)took / SERVING_MS);
    assert_true(took < 500 * SERVING_MS);
    assert_true(stats_of(pool).connections_recycled == 1);
    assert_int_equal(serving_integer(graph, "RETURN 42", NULL), 42);
    assert_int_equal(stats_of(pool).connections_created, 2);
    assert_int_equal(stats_of(pool).errors[FALKOR_ERR_IO], 0);
    serving_drop(pool, graph, "much");
    falkor_pool_free(pool);
}

/* ---- misuse and failures ---------------------------------------------- */

static void test_cursor_bad_input(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "bad");
    falkor_error error;
    falkor_cursor *cursor = (falkor_cursor *)&error;
    const falkor_result *row = (const falkor_result *)&error;
    assert_int_equal(falkor_cursor_open(NULL, NULL, "RETURN 1", NULL, &cursor,
                                        &error), FALKOR_ERR_ARGUMENT);
    assert_null(cursor);
    cursor = (falkor_cursor *)&error;
    assert_int_equal(falkor_cursor_open(graph, NULL, NULL, NULL, &cursor,
                                        &error), FALKOR_ERR_ARGUMENT);
    assert_null(cursor);
    assert_int_equal(falkor_cursor_open(graph, NULL, "CREATE (:Bad)", NULL,
                                        NULL, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_cursor_open(graph, NULL, NULL, NULL, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_cursor_next(NULL, &row, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(row);
    assert_null(falkor_cursor_result(NULL));
    falkor_cursor_close(NULL);
    static const char *const wrong[] = {"RETURN", "RETURN 1 / 0",
        "CREATE (:Bad)", "RETURN $missing"};
    for (int i = 0; i < 4; i++) {
        cursor = (falkor_cursor *)&error;
        assert_int_equal(falkor_cursor_open(graph, &reading, wrong[i], NULL,
                                            &cursor, &error),
                         FALKOR_ERR_QUERY);
        assert_null(cursor);
    }
    assert_int_equal(falkor_cursor_open(graph, &(falkor_call_options){
        .timeout_ms = -7}, "RETURN 1", NULL, &cursor, &error),
        FALKOR_ERR_ARGUMENT);
    cursor = open_on(graph, &reading, numbers, 2);
    assert_int_equal(falkor_cursor_next(cursor, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    read_rows(cursor, 1, 1);                    /* that took no row */
    assert_int_equal(falkor_cursor_next(cursor, &row, NULL), FALKOR_OK);
    assert_int_equal(falkor_cursor_next(cursor, &row, NULL), FALKOR_OK);
    assert_null(row);
    falkor_cursor_close(cursor);
    assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)", NULL),
                     0);
    assert_int_equal(stats_of(pool).active, 0);
    serving_drop(pool, graph, "bad");
    falkor_pool_free(pool);
}

/* Ends the cursor, and stays: no row is given twice, none is left out. */
static void fails_so(falkor_cursor *cursor, falkor_status status,
                     const char *words) {
    falkor_error error;
    const falkor_result *row = (const falkor_result *)&error;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(falkor_cursor_next(cursor, &row, &error), status);
        assert_int_equal(error.status, status);
        assert_int_equal(error.attempts, 1);
        assert_false(error.maybe_executed);
        assert_null(row);
        test_assert_has(error.message, i ? "failed before" : words);
    }
}

static void test_cursor_connection_killed_between_rows(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "kill");
    falkor_error error;
    const falkor_result *row = NULL;
    falkor_cursor *cursor = open_on(graph, &reading, numbers, 1000000);
    read_rows(cursor, 1, 10);
    free(serving_ask(server.port, "CLIENT KILL TYPE normal SKIPME yes"));
    int64_t seen = 10;
    falkor_status status;
    while (!(status = falkor_cursor_next(cursor, &row, &error)) && row)
        assert_int_equal(falkor_result_value(row, 0, 0)->as.integer, ++seen);
    assert_int_equal(status, FALKOR_ERR_IO);    /* what had arrived came */
    assert_true(seen < 1000000);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(stats_of(pool).active, 0);
    fails_so(cursor, FALKOR_ERR_IO, "failed before");
    assert_non_null(falkor_cursor_result(cursor));
    falkor_cursor_close(cursor);
    assert_int_equal(stats_of(pool).errors[FALKOR_ERR_IO], 1);
    assert_int_equal(serving_integer(graph, "RETURN 42", NULL), 42);
    serving_drop(pool, graph, "kill");
    falkor_pool_free(pool);
}

static void test_cursor_slow_consumer(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "slow");
    for (int form = 0; form < 2; form++) {      /* read_only, and not */
        falkor_call_options options = {.read_only = !form, .timeout_ms = 1500};
        falkor_cursor *cursor = open_on(graph, &options, numbers,
                                        form ? 1000 : 50000);
        read_rows(cursor, 1, 5);
        test_pause_ms(1550);                    /* the slowness itself */
        falkor_error error;
        const falkor_result *row;
        assert_int_equal(falkor_cursor_next(cursor, &row, &error),
                         FALKOR_ERR_TIMEOUT);
        assert_int_equal(error.maybe_executed, form);
        test_assert_has(error.message, "time ended");
        test_assert_has(error.message, form ? "row 5 of" : "after 5 rows");
        assert_int_equal(falkor_cursor_next(cursor, &row, &error),
                         FALKOR_ERR_TIMEOUT);
        falkor_cursor_close(cursor);
        assert_int_equal(serving_integer(graph, "RETURN 42", NULL), 42);
        /* For ever is for ever, whatever the pool's own time-outs. */
        options.timeout_ms = -1;
        cursor = open_on(graph, &options, numbers, 50);
        read_rows(cursor, 1, 5);
        test_pause_ms(350);
        read_rows(cursor, 6, 45);
        read_end(cursor);
        falkor_cursor_close(cursor);
    }
    serving_drop(pool, graph, "slow");
    falkor_pool_free(pool);
}

/* ---- connections ------------------------------------------------------ */

static void test_cursor_on_a_held_connection(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "held");
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_call_options on = {.conn = conn, .read_only = true};
    falkor_cursor *cursor = open_on(graph, &on, numbers, 1000);
    read_rows(cursor, 1, 3);
    /* In the middle of it the connection can do nothing else. */
    assert_int_equal(falkor_query_with(graph, &on, "RETURN 1", NULL, NULL,
                                       &error), FALKOR_ERR_IO);
    read_rows(cursor, 4, 997);
    read_end(cursor);
    assert_int_equal(falkor_query_with(graph, &on, "RETURN 1", NULL, NULL,
                                       &error), FALKOR_OK);
    falkor_cursor_close(cursor);
    cursor = open_on(graph, &on, numbers, 10);  /* a small rest is read */
    falkor_cursor_close(cursor);
    assert_int_equal(falkor_query_with(graph, &on, "RETURN 1", NULL, NULL,
                                       &error), FALKOR_OK);
    cursor = open_on(graph, &on, numbers, 1000000);
    falkor_cursor_close(cursor);
    assert_int_equal(falkor_query_with(graph, &on, "RETURN 1", NULL, NULL,
                                       &error), FALKOR_ERR_IO);
    test_assert_has(error.message, "release");
    assert_int_equal(stats_of(pool).active, 1);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(serving_integer(graph, "RETURN 42", NULL), 42);
    serving_drop(pool, graph, "held");
    falkor_pool_free(pool);
}

/* A mistake that is told, not a crash. */
static void test_cursor_whose_connection_was_released(void **state) {
    (void)state;
    const falkor_result *row;
    falkor_cursor *cursor;
    falkor_conn *conn;
    falkor_error error;
    falkor_options options = serving_options(server.port);
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "let_go");
    serving_run(graph, "CREATE ()");
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_cursor_open(graph, &(falkor_call_options){.read_only = true,
        .conn = conn}, "UNWIND range(1, 100000) AS i RETURN i", NULL, &cursor,
        &error);
    serving_ok(&error);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    while (!falkor_cursor_next(cursor, &row, &error) && row)
        continue;
    assert_int_equal(error.status, FALKOR_ERR_ARGUMENT);
    assert_null(row);
    test_assert_has(error.message, "released");
    falkor_cursor_close(cursor);
    serving_drop(pool, graph, "let_go");
    falkor_pool_free(pool);
}

static void test_cursor_two_at_once(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(2);
    falkor_graph *graph = fresh(pool, "two");
    falkor_cursor *one = open_on(graph, &reading, numbers, 50000);
    falkor_cursor *two = open_on(graph, &reading, numbers, 50000);
    assert_int_equal(stats_of(pool).active, 2);
    for (int i = 1; i <= 50000; i += 1000) {
        read_rows(one, i, 1000);
        read_rows(two, i, 1000);
    }
    read_end(two);
    assert_int_equal(stats_of(pool).active, 1);
    read_end(one);
    falkor_cursor_close(one);
    falkor_cursor_close(two);
    assert_int_equal(stats_of(pool).connections_created, 2);
    serving_drop(pool, graph, "two");
    falkor_pool_free(pool);
}

static void *close_later(void *argument) {
    falkor_cursor **cursor = argument;
    test_pause_ms(50);                  /* so that somebody waits by then */
    falkor_cursor_close(*cursor);
    return NULL;
}

static void test_cursor_holds_the_only_connection(void **state) {
    (void)state;
    falkor_options options = serving_options(server.port);
    options.max_size = 1;
    options.pool_timeout_ms = 200;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = fresh(pool, "only");
    falkor_error error;
    falkor_cursor *cursor = open_on(graph, &reading, numbers, 1000);
    int64_t begin = test_now_ms();
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, NULL, &error),
                     FALKOR_ERR_POOL_TIMEOUT);
    assert_true(test_now_ms() - begin >= 199);
    test_assert_has(error.message, "no connection free");
    test_assert_has(error.message, "1 of 1 in use");
    read_rows(cursor, 1, 1000);
    test_threads thread = test_start(close_later, &cursor, sizeof cursor, 1);
    falkor_ro_query(graph, "RETURN 1", NULL, NULL, &error);
    serving_ok(&error);
    test_join(&thread);
    serving_drop(pool, graph, "only");
    falkor_pool_free(pool);
}

/* A cursor is its connection's holder: when the pool goes, it can still be
   closed, like a held connection released. */
static void test_cursor_outlives_its_pool(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 10, 1000000};
    for (int form = 0; form < 2; form++)        /* read_only, and not */
        for (int i = 0; i < 3; i++) {
            if (form == 1 && i == 2)
                continue;
            falkor_pool *pool = pool_of(1);
            falkor_graph *graph = fresh(pool, "gone");
            falkor_cursor *cursor = open_on(graph, form ? NULL : &reading,
                                            numbers, counts[i]);
            read_rows(cursor, 1, counts[i] ? 3 : 0);
            bool held = stats_of(pool).active == 1;
            assert_int_equal(held, form == 0 && i > 0);
            assert_int_equal(falkor_pool_close(pool, 0),
                             held ? FALKOR_ERR_TIMEOUT : FALKOR_OK);
            falkor_pool_free(pool);
            falkor_cursor_close(cursor);
        }
    /* One that was read to its end. */
    falkor_pool *pool = pool_of(1);
    falkor_cursor *cursor = open_on(fresh(pool, "gone"), &reading, numbers, 5);
    read_rows(cursor, 1, 5);
    read_end(cursor);
    falkor_pool_free(pool);
    falkor_cursor_close(cursor);
    free(serving_ask(server.port, "DEL gone"));
}

static void test_cursor_pool_closed_meanwhile(void **state) {
    (void)state;
    falkor_pool *pool = pool_of(1);
    falkor_graph *graph = fresh(pool, "closed");
    falkor_cursor *cursor = open_on(graph, &reading, numbers, 1000000);
    falkor_error error;
    const falkor_result *row;
    read_rows(cursor, 1, 10);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    falkor_status status;
    while (!(status = falkor_cursor_next(cursor, &row, &error)) && row)
        continue;
    assert_int_equal(status, FALKOR_ERR_IO);
    falkor_cursor_close(cursor);
    falkor_cursor *late;
    assert_int_equal(falkor_cursor_open(graph, &reading, "RETURN 1", NULL,
                                        &late, &error), FALKOR_ERR_CLOSED);
    assert_null(late);
    falkor_pool_free(pool);
    free(serving_ask(server.port, "DEL closed"));
}

TEST_MAIN_WITH(start_server, stop_server,
    cmocka_unit_test(test_cursor_gives_all_rows),
    cmocka_unit_test(test_cursor_of_a_write),
    cmocka_unit_test(test_cursor_rows_of_any_size),
    cmocka_unit_test(test_cursor_closed_with_a_small_rest),
    cmocka_unit_test(test_cursor_closed_with_a_large_rest),
    cmocka_unit_test(test_cursor_bad_input),
    cmocka_unit_test(test_cursor_connection_killed_between_rows),
    cmocka_unit_test(test_cursor_slow_consumer),
    cmocka_unit_test(test_cursor_on_a_held_connection),
    cmocka_unit_test(test_cursor_whose_connection_was_released),
    cmocka_unit_test(test_cursor_two_at_once),
    cmocka_unit_test(test_cursor_holds_the_only_connection),
    cmocka_unit_test(test_cursor_outlives_its_pool),
    cmocka_unit_test(test_cursor_pool_closed_meanwhile))
