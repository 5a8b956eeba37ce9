/* Graphs and the server by typed commands: each of them against the real
   server, with replies that make no sense, with bad input, and without memory
   (the source is included, so that what it takes can be refused). */
#include "serving.h"
#include <signal.h>
#include <time.h>

static int takes_left = -1;             /* negative: as many as wanted */

#include "../commands.h"
static void *counted_take(falkor_result *reply, size_t size) {
    if (takes_left == 0)
        return NULL;
    takes_left -= takes_left > 0;
    return falkor__reply_take(reply, size);
}
#define falkor__reply_take counted_take
#include "../commands.c"
#undef falkor__reply_take

static serving server;
static falkor_options options;
static falkor_pool *pool;
static falkor_graph *graph;

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    options = serving_options(server.port);
    options.max_retries = -1;
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "commands");
    serving_run(graph, "UNWIND range(1, 20) AS x "
                       "CREATE (:A {x: x})-[:T {w: x}]->(:`B b` {y: x})");
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

static const falkor_value *typed(const falkor_result *result, size_t row,
                                 const char *column, falkor_type type) {
    const falkor_value *value = falkor_result_get(result, row, column);
    if (!value)
        fail_msg("no column %s in row %zu", column, row);
    else if (value->type != type)
        fail_msg("%s is %s, not %s", column, falkor_type_name(value->type),
                 falkor_type_name(type));
    return value;
}

static void is_text(const falkor_result *result, size_t row,
                    const char *column, const char *text) {
    const falkor_value *value = typed(result, row, column, FALKOR_STRING);
    assert_string_equal(value->as.string, text);
    assert_int_equal(value->length, strlen(text));
}

static bool has_graph(const char *name) {
    falkor_result *list;
    falkor_error error;
    bool found = false;
    falkor_list_graphs(pool, NULL, &list, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_columns(list), 1);
    for (size_t i = 0; i < falkor_result_rows(list); i++)
        found = found || strcmp(typed(list, i, "graph", FALKOR_STRING)
                                    ->as.string, name) == 0;
    falkor_result_free(list);
    return found;
}

/* ---- graphs ----------------------------------------------------------- */

static void test_commands_copy_list_and_delete_graphs(void **state) {
    (void)state;
    falkor_error error;
    assert_true(has_graph("commands"));
    assert_false(has_graph("copy"));
    falkor_graph_copy(graph, NULL, "copy", &error);
    serving_ok(&error);
    assert_true(has_graph("copy"));
    assert_int_equal(falkor_graph_copy(graph, NULL, "copy", &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "already exists");
    falkor_graph *copy = falkor_select_graph(pool, "copy");
    assert_int_equal(serving_integer(copy, "MATCH (n) RETURN count(n)", NULL),
                     40);
    falkor_graph_delete(copy, NULL, &error);
    serving_ok(&error);
    TEST_EVENTUALLY(!has_graph("copy"));
    assert_int_equal(falkor_graph_delete(copy, NULL, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "empty key");
    assert_int_equal(falkor_graph_copy(copy, NULL, "other", &error),
                     FALKOR_ERR_QUERY);
    serving_run(copy, "CREATE (:Again)");
    assert_true(has_graph("copy"));
    falkor_graph_delete(copy, NULL, NULL);
    falkor_graph_free(copy);
}

static void test_commands_memory_usage_has_a_column_for_each_part(
    void **state) {
    (void)state;
    falkor_result *usage;
    falkor_error error;
    for (int samples = 0; samples < 300; samples += 250) {
        falkor_memory_usage(graph, NULL, samples, &usage, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(usage), 1);
        assert_true(falkor_result_columns(usage) >= 8);
        assert_true(typed(usage, 0, "total_graph_sz_mb", FALKOR_INTEGER)
                        ->as.integer >= 0);
        const falkor_value *labels = typed(usage, 0,
            "amortized_node_attributes_by_label_sz_mb", FALKOR_MAP);
        assert_non_null(falkor_property(labels, "A"));
        assert_int_equal(falkor_property(labels, "B b")->type, FALKOR_INTEGER);
        assert_non_null(falkor_property(typed(usage, 0,
            "amortized_edge_attributes_by_type_sz_mb", FALKOR_MAP), "T"));
        falkor_result_free(usage);
    }
    usage = (falkor_result *)&error;
    assert_int_equal(falkor_memory_usage(graph, NULL, -1, &usage, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(usage);
    test_assert_has(error.message, "-1");
    falkor_graph *missing = falkor_select_graph(pool, "missing");
    assert_int_equal(falkor_memory_usage(missing, NULL, 0, &usage, &error),
                     FALKOR_ERR_QUERY);
    assert_null(usage);
    falkor_graph_free(missing);
}

#define SLOW "UNWIND range(1, 1500) AS x UNWIND range(1, 1500) AS y " \
             "WITH x * y AS z RETURN count(z)"

static void test_commands_slowlog_has_params_and_is_reset(void **state) {
    (void)state;
    falkor_result *log;
    falkor_error error;
    int64_t now = (int64_t)time(NULL);
    falkor_slowlog_reset(graph, NULL, &error);
    serving_ok(&error);
    falkor_result_free(serving_query(graph, SLOW " + $more",
        FALKOR_PARAMS({"more", falkor_int(1)})));
    serving_run(graph, SLOW);
    falkor_slowlog(graph, NULL, &log, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_columns(log), 5);
    assert_int_equal(falkor_result_rows(log), 2);
    for (size_t row = 0; row < 2; row++) {
        const char *query = typed(log, row, "query", FALKOR_STRING)->as.string;
        int64_t when = typed(log, row, "time", FALKOR_DATETIME)->as.seconds;
        assert_true(when >= now - 1 && when < now + 3600);
        assert_true(typed(log, row, "milliseconds", FALKOR_DOUBLE)->as.real >
                    0);
        is_text(log, row, "command", "GRAPH.QUERY");
        if (strcmp(query, SLOW) == 0)
            typed(log, row, "params", FALKOR_NULL);
        else
            test_assert_has(typed(log, row, "params", FALKOR_STRING)
                                ->as.string, "more");
    }
    falkor_result_free(log);
    falkor_slowlog_reset(graph, NULL, &error);
    serving_ok(&error);
    falkor_slowlog(graph, NULL, &log, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_rows(log), 0);
    assert_string_equal(falkor_result_column(log, 4), "params");
    falkor_result_free(log);
    falkor_graph *missing = falkor_select_graph(pool, "missing");
    assert_int_equal(falkor_slowlog(missing, NULL, &log, &error),
                     FALKOR_ERR_QUERY);
    assert_null(log);
    assert_int_equal(falkor_slowlog_reset(missing, NULL, NULL),
                     FALKOR_ERR_QUERY);
    falkor_graph_free(missing);
}

/* ---- the server ------------------------------------------------------- */

static falkor_result *setting(const char *name) {
    falkor_result *result;
    falkor_error error;
    falkor_config_get(pool, NULL, name, &result, &error);
    serving_ok(&error);
    return result;
}

static int64_t integer_setting(const char *name) {
    falkor_result *result = setting(name);
    assert_int_equal(falkor_result_rows(result), 1);
    is_text(result, 0, "name", name);
    int64_t integer = typed(result, 0, "value", FALKOR_INTEGER)->as.integer;
    falkor_result_free(result);
    return integer;
}

static void test_commands_config_gets_typed_values(void **state) {
    (void)state;
    falkor_result *all = setting(NULL), *star = setting("*");
    bool integer = false, string = false;
    assert_true(falkor_result_rows(all) > 15);
    assert_int_equal(falkor_result_rows(star), falkor_result_rows(all));
    for (size_t row = 0; row < falkor_result_rows(all); row++) {
        const falkor_value *value = falkor_result_get(all, row, "value");
        integer = integer || value->type == FALKOR_INTEGER;
        string = string || value->type == FALKOR_STRING;
        is_text(star, row, "name",
                typed(all, row, "name", FALKOR_STRING)->as.string);
    }
    assert_true(integer && string);
    falkor_result_free(all);
    falkor_result_free(star);
    assert_int_equal(integer_setting("RESULTSET_SIZE"), -1);
    falkor_result *one = setting("IMPORT_FOLDER");
    assert_true(typed(one, 0, "value", FALKOR_STRING)->length > 0);
    falkor_result_free(one);
}

static void config_set(const char *name, falkor_value value) {
    falkor_error error;
    falkor_config_set(pool, NULL, name, value, &error);
    serving_ok(&error);
}

static void test_commands_config_sets_each_kind_of_value(void **state) {
    (void)state;
    falkor_error error;
    config_set("RESULTSET_SIZE", falkor_int(123));
    assert_int_equal(integer_setting("RESULTSET_SIZE"), 123);
    config_set("RESULTSET_SIZE", falkor_string_n("77777", 2));
    assert_int_equal(integer_setting("RESULTSET_SIZE"), 77);
    config_set("RESULTSET_SIZE", falkor_int(-1));
    config_set("CMD_INFO", falkor_bool(false));
    assert_int_equal(integer_setting("CMD_INFO"), 0);
    config_set("CMD_INFO", falkor_bool(true));
    assert_int_equal(integer_setting("CMD_INFO"), 1);
    assert_int_equal(falkor_config_set(pool, NULL, "RESULTSET_SIZE",
        falkor_double(1.5), &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "RESULTSET_SIZE");
    test_assert_has(error.message, "double");
    assert_int_equal(falkor_config_set(pool, NULL, "RESULTSET_SIZE",
        falkor_null(), &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_config_set(pool, NULL, "RESULTSET_SIZE",
        falkor_string("many"), &error), FALKOR_ERR_QUERY);
    assert_int_equal(falkor_config_set(pool, NULL, "NO_SUCH", falkor_int(1),
        &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "Unknown configuration field");
    assert_int_equal(falkor_config_set(pool, NULL, "THREAD_COUNT",
        falkor_int(1), &error), FALKOR_ERR_QUERY);
    falkor_result *result;
    assert_int_equal(falkor_config_get(pool, NULL, "NO_SUCH", &result, &error),
                     FALKOR_ERR_QUERY);
    assert_null(result);
}

typedef struct slow_query { const falkor_graph *graph; falkor_status status; }
    slow_query;

static void *run_slowly(void *argument) {
    slow_query *query = argument;
    falkor_error error;
    query->status = falkor_query_with((falkor_graph *)(uintptr_t)query->graph,
        &(falkor_call_options){.read_only = true, .timeout_ms = -1},
        "UNWIND range(1, 2500) AS x UNWIND range(1, 2500) AS y "
        "WITH x * y AS z RETURN count(z)", NULL, NULL, &error);
    return NULL;
}

/* How many of our queries a section has, each with what is known of it. */
static int queries_in(const falkor_result *info, const char *section) {
    int count = 0;
    for (size_t row = 0; row < falkor_result_rows(info); row++) {
        if (strcmp(typed(info, row, "section", FALKOR_STRING)->as.string,
                   section) != 0 ||
            !strstr(typed(info, row, "query", FALKOR_STRING)->as.string,
                    "UNWIND range(1, 2500)"))
            continue;                   /* the pool asks on its own, too */
        is_text(info, row, "graph", "commands");
        assert_true(typed(info, row, "received", FALKOR_DATETIME)
                        ->as.seconds > 1600000000);
        assert_true(typed(info, row, "milliseconds", FALKOR_DOUBLE)->as.real
                    >= 0);
        typed(info, row, "more", FALKOR_MAP);
        count++;
    }
    return count;
}

/* More queries than the server has threads: some run, others wait. */
static void test_commands_info_shows_running_and_waiting_queries(
    void **state) {
    (void)state;
    enum { QUERIES = 4 };
    slow_query queries[QUERIES];
    falkor_result *info;
    falkor_error error;
    bool running = false, waiting = false;
    for (int i = 0; i < QUERIES; i++)
        queries[i] = (slow_query){graph, FALKOR_ERR_CLOSED};
    test_threads threads = test_start(run_slowly, queries, sizeof *queries,
                                      QUERIES);
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!(running && waiting) && test_now_ms() < until) {
        falkor_info(pool, NULL, NULL, &info, &error);
        serving_ok(&error);
        running = running || queries_in(info, "Running queries") > 0;
        waiting = waiting || queries_in(info, "Waiting queries") > 0;
        falkor_result_free(info);
        test_pause_ms(5);
    }
    falkor_info(pool, NULL, "RunningQueries", &info, &error);
    serving_ok(&error);
    queries_in(info, "Running queries");
    assert_int_equal(queries_in(info, "Waiting queries"), 0);
    falkor_result_free(info);
    test_join_within(&threads, 60000);
    for (int i = 0; i < QUERIES; i++)
        assert_int_equal(queries[i].status, FALKOR_OK);
    assert_true(running);
    assert_true(waiting);
}

static void test_commands_info_of_the_object_pool(void **state) {
    (void)state;
    falkor_result *info;
    falkor_error error;
    bool average = false;
    falkor_info(pool, NULL, "ObjectPool", &info, &error);
    serving_ok(&error);
    for (size_t row = 0; row < falkor_result_rows(info); row++) {
        const falkor_value *more = typed(info, row, "more", FALKOR_MAP);
        is_text(info, row, "section", "Object Pool");
        typed(info, row, "received", FALKOR_NULL);
        typed(info, row, "query", FALKOR_NULL);
        typed(info, row, "milliseconds", FALKOR_NULL);
        const falkor_value *number = falkor_property(more,
            "Average References per Object");
        average = average || (number && number->type == FALKOR_DOUBLE);
    }
    assert_true(average);
    falkor_result_free(info);
    assert_int_equal(falkor_info(pool, NULL, "NoSuchSection", &info, &error),
                     FALKOR_ERR_QUERY);
    assert_null(info);
    test_assert_has(error.message, "no section found");
}

/* ---- libraries of functions ------------------------------------------- */

#define SOURCE "function f(x) { return x + 1; }\n" \
               "falkor.register('f', f); falkor.register('g', f);"

static size_t libraries(const char *library, bool with_code,
                        falkor_result **list) {
    falkor_error error;
    falkor_udf_list(pool, NULL, library, with_code, list, &error);
    serving_ok(&error);
    return falkor_result_rows(*list);
}

static void load(const char *library, bool replace) {
    falkor_error error;
    falkor_udf_load(pool, NULL, library, SOURCE, replace, &error);
    serving_ok(&error);
}

static void test_commands_udf_load_list_use_delete(void **state) {
    (void)state;
    falkor_result *list;
    falkor_error error;
    assert_int_equal(libraries(NULL, false, &list), 0);
    falkor_result_free(list);
    load("first", false);
    load("second one", true);
    assert_int_equal(falkor_udf_load(pool, NULL, "first", SOURCE, false,
                                     &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "already registered");
    load("first", true);
    assert_int_equal(libraries(NULL, false, &list), 2);
    is_text(list, 0, "library", "second one");
    is_text(list, 1, "library", "first");       /* replaced: the newest */
    const falkor_value *functions = typed(list, 0, "functions", FALKOR_ARRAY);
    assert_int_equal(functions->length, 2);
    assert_string_equal(functions->as.items[1].as.string, "g");
    typed(list, 0, "code", FALKOR_NULL);
    falkor_result_free(list);
    assert_int_equal(libraries("first", true, &list), 1);
    is_text(list, 0, "code", SOURCE);
    falkor_result_free(list);
    assert_int_equal(libraries("none", true, &list), 0);
    falkor_result_free(list);
    assert_int_equal(serving_integer(graph, "RETURN first.f(41)", NULL), 42);
    falkor_udf_delete(pool, NULL, "first", &error);
    serving_ok(&error);
    assert_int_equal(falkor_udf_delete(pool, NULL, "first", &error),
                     FALKOR_ERR_QUERY);
    assert_int_equal(libraries(NULL, false, &list), 1);
    falkor_result_free(list);
    falkor_udf_flush(pool, NULL, &error);
    serving_ok(&error);
    assert_int_equal(libraries(NULL, true, &list), 0);
    falkor_result_free(list);
}

/* Names that the server takes for its own words, and one that would make its
   lists unreadable for everybody. */
static void test_commands_udf_libraries_with_odd_names(void **state) {
    (void)state;
    static const char *const names[] = {"REPLACE", "withcode", "\xC3\xA9 \"x'"};
    falkor_result *list;
    falkor_error error;
    for (size_t i = 0; i < 3; i++)
        load(names[i], true);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(libraries(names[i], false, &list), 1);
        is_text(list, 0, "library", names[i]);
        falkor_result_free(list);
    }
    falkor_udf_flush(pool, NULL, &error);
    serving_ok(&error);
    static const char *const bad[] = {NULL, "", "a\r\n-ERR b", "a\nb"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(falkor_udf_load(pool, NULL, bad[i], SOURCE, true,
                                         &error), FALKOR_ERR_ARGUMENT);
        test_assert_has(error.message, "library");
        assert_int_equal(error.attempts, 0);
    }
    assert_int_equal(falkor_udf_load(pool, NULL, "l", NULL, true, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "source");
    assert_int_equal(falkor_udf_load(pool, NULL, "l", "function (", true,
                                     &error), FALKOR_ERR_QUERY);
    assert_int_equal(falkor_udf_delete(pool, NULL, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_udf_delete(pool, NULL, "", NULL),
                     FALKOR_ERR_ARGUMENT);
}

/* ---- all of them ------------------------------------------------------ */

/* Each command on a graph and a pool, which may be NULL; those that only read
   first. */
enum { COMMANDS = 13, READING = 6 };

static falkor_status command(int which, falkor_pool *on, falkor_graph *of,
                             const falkor_call_options *with,
                             falkor_result **result, falkor_error *error) {
    switch (which) {
    case 0: return falkor_list_graphs(on, with, result, error);
    case 1: return falkor_memory_usage(of, with, 0, result, error);
    case 2: return falkor_slowlog(of, with, result, error);
    case 3: return falkor_config_get(on, with, NULL, result, error);
    case 4: return falkor_info(on, with, NULL, result, error);
    case 5: return falkor_udf_list(on, with, NULL, true, result, error);
    case 6: return falkor_config_set(on, with, "CMD_INFO", falkor_bool(true),
                                     error);
    case 7: return falkor_slowlog_reset(of, with, error);
    case 8: return falkor_udf_load(on, with, "lib", SOURCE, true, error);
    case 9: return falkor_udf_delete(on, with, "lib", error);
    case 10: return falkor_udf_flush(on, with, error);
    case 11: return falkor_graph_copy(of, with, "copy", error);
    default: return falkor_graph_delete(of, with, error);
    }
}

static void test_commands_refuse_null_and_need_no_error(void **state) {
    (void)state;
    falkor_error error;
    for (int i = 0; i < COMMANDS; i++) {
        falkor_result *result = NULL;
        memset(&error, 0x55, sizeof error);
        assert_int_equal(command(i, NULL, NULL, NULL, &result, &error),
                         FALKOR_ERR_ARGUMENT);
        assert_int_equal(error.status, FALKOR_ERR_ARGUMENT);
        assert_int_equal(error.attempts, 0);
        assert_false(error.maybe_executed);
        test_assert_has(error.message, "is NULL");
        assert_null(result);
        assert_int_equal(command(i, NULL, NULL, NULL, NULL, NULL),
                         FALKOR_ERR_ARGUMENT);
    }
    assert_int_equal(falkor_graph_copy(graph, NULL, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "copy's name");
    assert_int_equal(falkor_graph_copy(graph, NULL, "", NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_config_set(pool, NULL, NULL, falkor_int(1), NULL),
                     FALKOR_ERR_ARGUMENT);
    for (int i = 0; i < READING; i++)   /* the result is not wanted */
        assert_int_equal(command(i, pool, graph, NULL, NULL, NULL), FALKOR_OK);
}

/* delete comes last: the copy is deleted, not the graph. */
static void test_commands_work_on_a_held_connection_but_not_in_multi(
    void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_graph *copy = falkor_select_graph(pool, "copy");
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_call_options held = {.conn = conn, .timeout_ms = 10000};
    for (int i = 0; i < COMMANDS; i++) {
        falkor_result *result = NULL;
        command(i, pool, i == COMMANDS - 1 ? copy : graph, &held, &result,
                &error);
        serving_ok(&error);
        assert_int_equal(error.attempts, 1);
        falkor_result_free(result);
    }
    falkor_command(pool, &held, 1, (const char *[]){"MULTI"}, NULL, NULL,
                   &error);
    serving_ok(&error);
    for (int i = 0; i < COMMANDS; i++) {
        falkor_result *result = NULL;
        assert_int_equal(command(i, pool, graph, &held, &result, &error),
                         FALKOR_ERR_ARGUMENT);
        test_assert_has(error.message, "MULTI");
        assert_null(result);
    }
    falkor_result *none;
    falkor_command(pool, &held, 1, (const char *[]){"EXEC"}, NULL, &none,
                   &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_value(none, 0, 0)->length, 0);
    falkor_result_free(none);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_graph_free(copy);
}

/* Switched to RESP3 the server sends maps, booleans and doubles instead of flat
   lists and texts: the tables are the same. */
static void test_commands_are_the_same_over_resp3(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_result *table;
    load("lib", true);
    serving_run(graph, SLOW);
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_call_options held = {.conn = conn};
    falkor_command(pool, &held, 2, (const char *[]){"HELLO", "3"}, NULL, NULL,
                   &error);
    serving_ok(&error);
    for (int i = 0; i < READING; i++) {
        falkor_result *before;
        command(i, pool, graph, NULL, &before, &error);
        serving_ok(&error);
        command(i, pool, graph, &held, &table, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(table),
                         falkor_result_rows(before));
        assert_int_equal(falkor_result_columns(table),
                         falkor_result_columns(before));
        for (size_t row = 0; row < falkor_result_rows(table); row++)
            for (size_t c = 0; c < falkor_result_columns(table); c++) {
                falkor_type type = falkor_result_value(table, row, c)->type;
                if (type != FALKOR_BOOLEAN)     /* of a setting */
                    assert_int_equal(type,
                        falkor_result_value(before, row, c)->type);
            }
        falkor_result_free(before);
        falkor_result_free(table);
    }
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_udf_flush(pool, NULL, NULL);
}

/* A stopped server: reads and writes end in time; writes say that they may
   have been done. The last test: nobody knows what it leaves. */
static void test_commands_end_at_their_timeout(void **state) {
    (void)state;
    falkor_error error;
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    for (int i = 0; i < COMMANDS; i++) {
        int64_t start = test_now_ms();
        falkor_status status = command(i, pool, graph,
            &(falkor_call_options){.timeout_ms = 30, .max_retries = -1}, NULL,
            &error);
        if (status != FALKOR_ERR_TIMEOUT && status != FALKOR_ERR_CONNECT &&
            status != FALKOR_ERR_POOL_TIMEOUT)
            fail_msg("command %d: %s", i, error.message);
        if (i < READING)
            assert_false(error.maybe_executed);
        else
            assert_int_equal(error.maybe_executed,
                             status == FALKOR_ERR_TIMEOUT);
        assert_true(test_now_ms() - start < TEST_PATIENCE_MS);
    }
    serving_signal(&server, SIGCONT);
    TEST_EVENTUALLY(command(0, pool, graph, NULL, NULL, &error) == FALKOR_OK);
}

/* ---- replies that make no sense --------------------------------------- */

static void test_commands_report_replies_of_another_shape(void **state) {
    (void)state;
    static const char *const replies[] = {":5\r\n", "$-1\r\n", "+word\r\n",
        "*2\r\n:1\r\n:2\r\n", "*1\r\n*1\r\n:1\r\n", "*2\r\n$1\r\na\r\n:1\r\n",
        "*2\r\n$1\r\na\r\n*1\r\n:7\r\n", "*1\r\n*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n",
        "*3\r\n$1\r\na\r\n*0\r\n$1\r\nb\r\n"};
    proxy between;
    falkor_error error;
    proxy_start(&between, server.port);
    falkor_options through = serving_options(between.port);
    through.max_retries = -1;
    through.min_size = -1;
    through.validate_after_ms = -1;     /* a PING would be a request too */
    falkor_pool *other = serving_pool(&through);
    falkor_graph *of = falkor_select_graph(other, "commands");
    for (size_t at = 0; at < sizeof replies / sizeof *replies; at++)
        for (int i = 0; i < READING; i++) {
            falkor_result *result = NULL;
            atomic_store(&between.answer, replies[at]);
            atomic_store(&between.answers, 1);
            falkor_status status = command(i, other, of, NULL, &result,
                                           &error);
            assert_int_equal(atomic_load(&between.answers), 0);
            if (status && status != FALKOR_ERR_QUERY)
                assert_int_equal(status, FALKOR_ERR_PROTOCOL);
            if (at < 3)
                assert_true(status);
            assert_int_equal(status == FALKOR_OK, result != NULL);
            if (status == FALKOR_ERR_QUERY)
                test_assert_has(error.message, ": word");
            /* Whatever it made of it can be read. */
            for (size_t row = 0; row < falkor_result_rows(result); row++)
                for (size_t c = 0; c < falkor_result_columns(result); c++)
                    falkor_type_name(falkor_result_value(result, row, c)
                                         ->type);
            falkor_result_free(result);
        }
    falkor_graph_free(of);
    falkor_pool_free(other);
    proxy_stop(&between);
}

/* Each place where a table is given memory, in turn. */
static void test_commands_without_memory_fail_and_leak_nothing(void **state) {
    (void)state;
    falkor_error error;
    load("lib", true);
    for (int i = 0; i < READING; i++)
        for (int left = 0;; left++) {
            falkor_result *result = NULL;
            takes_left = left;
            falkor_status status = command(i, pool, graph, NULL, &result,
                                           &error);
            takes_left = -1;
            if (!status) {
                falkor_result_free(result);
                assert_true(left > 0);
                break;
            }
            assert_int_equal(status, FALKOR_ERR_NOMEM);
            assert_null(result);
        }
    falkor_udf_flush(pool, NULL, NULL);
}

/* The table is a result as any other. */
static bool keep(void *ctx, const char *bytes, size_t length) {
    strncat(ctx, bytes, length);
    return true;
}

static void test_commands_tables_are_written_as_json(void **state) {
    (void)state;
    char text[4096] = "";
    falkor_result *table;
    falkor_error error;
    falkor_config_get(pool, NULL, "CACHE_SIZE", &table, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_write_json(table, keep, text), FALKOR_OK);
    test_assert_has(text, "{\"columns\":[\"name\",\"value\"],"
                          "\"rows\":[[\"CACHE_SIZE\",");
    falkor_result_free(table);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_commands_copy_list_and_delete_graphs),
    cmocka_unit_test(test_commands_memory_usage_has_a_column_for_each_part),
    cmocka_unit_test(test_commands_slowlog_has_params_and_is_reset),
    cmocka_unit_test(test_commands_config_gets_typed_values),
    cmocka_unit_test(test_commands_config_sets_each_kind_of_value),
    cmocka_unit_test(test_commands_info_shows_running_and_waiting_queries),
    cmocka_unit_test(test_commands_info_of_the_object_pool),
    cmocka_unit_test(test_commands_udf_load_list_use_delete),
    cmocka_unit_test(test_commands_udf_libraries_with_odd_names),
    cmocka_unit_test(test_commands_refuse_null_and_need_no_error),
    cmocka_unit_test(test_commands_work_on_a_held_connection_but_not_in_multi),
    cmocka_unit_test(test_commands_are_the_same_over_resp3),
    cmocka_unit_test(test_commands_report_replies_of_another_shape),
    cmocka_unit_test(test_commands_without_memory_fail_and_leak_nothing),
    cmocka_unit_test(test_commands_tables_are_written_as_json),
    cmocka_unit_test(test_commands_end_at_their_timeout))
