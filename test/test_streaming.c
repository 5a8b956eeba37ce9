/* Rows as they arrive: memory that does not grow with their number, stopping
   early, consumers that are slow, and errors and cuts in the middle. Public
   functions only, on a server of its own. STREAMING_ROWS sets how many rows
   the largest result has. Runs alone: it measures. */
#include "serving.h"

#define PEOPLE 1000

static serving server;
static falkor_pool *pool;
static falkor_graph *graph;
static const falkor_call_options reading = {.read_only = true};
static const char stored[] = "MATCH (p:Person) UNWIND range(1, $times) AS x "
    "RETURN p, p.name";

/* One connection, which CLIENT LIST shows as name. */
static falkor_pool *pool_of(int port, const char *name,
                            int socket_timeout_ms) {
    falkor_options options = serving_options(port);
    options.max_size = options.min_size = 1;
    options.socket_timeout_ms = socket_timeout_ms;
    options.client_name = name;
    options.retry_initial_delay_ms = 1;
    return serving_pool(&options);
}

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    pool = pool_of(server.port, "steady", 0);
    graph = falkor_select_graph(pool, "streaming");
    serving_run(graph, "UNWIND range(1, 1000) AS x CREATE (:Person {n: x, "
                "name: 'person number ' + toString(x)})");
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

/* ---- what a process has, what the server says ------------------------- */

/* A line of /proc/PID/status, in kB. */
static long status_kb(const char *process, const char *name) {
    char path[64], line[256];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%s/status", process);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtol(line + strlen(name) + 1, NULL, 10);
    fclose(file);
    assert_true(kb >= 0);
    return kb;
}

/* A number of the connection named streamer in CLIENT LIST; -1: not there. */
static long long streamer(const char *field) {
    char *text = serving_ask(server.port, "CLIENT LIST"), *rest = NULL;
    long long number = -1;
    for (char *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        char *at = strstr(line, field);
        if (at && strstr(line, "name=streamer"))
            number = strtoll(at + strlen(field), NULL, 10);
    }
    free(text);
    return number;
}

/* ---- consumers -------------------------------------------------------- */

typedef struct consumer {
    int64_t rows, stop_at;      /* 0: never */
    int64_t first_ns, stop_ns;  /* when the first row, and the last one, came */
    int64_t sum;
    size_t bytes;
    int64_t act_at;             /* the row at which act is called; 0: none */
    void (*act)(void *argument);
    void *argument;
} consumer;

static bool consume(void *ctx, const falkor_result *row) {
    consumer *c = ctx;
    const falkor_value *person = falkor_result_value(row, 0, 0);
    const falkor_value *name = falkor_result_get(row, 0, "p.name");
    if (++c->rows == 1)
        c->first_ns = falkor_now_ns();
    TEST_CHECK(falkor_result_rows(row) == 1);
    if (TEST_CHECK(person && person->type == FALKOR_NODE && name &&
                   name->type == FALKOR_STRING)) {
        c->sum += falkor_property(person, "n")->as.integer;
        c->bytes += name->length;
    }
    if (c->rows == c->act_at)
        c->act(c->argument);
    if (c->rows != c->stop_at)
        return true;
    c->stop_ns = falkor_now_ns();
    return false;
}

static falkor_status stream(falkor_graph *from,
                            const falkor_call_options *options, int times,
                            consumer *c, falkor_error *error) {
    falkor_status status = falkor_query_each(from, options, stored,
        FALKOR_PARAMS({"times", falkor_int(times)}), consume, c, NULL, error);
    test_no_complaints();
    return status;
}

/* ---- memory ----------------------------------------------------------- */

static int most_rows(void) {
    const char *given = getenv("STREAMING_ROWS");
    return given ? atoi(given) : TEST_SANITIZED ? 20000 : 1000000;
}

/* Requirement E6. A sanitizer has memory of its own: there only the rows
   count. */
static void test_streaming_memory_is_constant(void **state) {
    (void)state;
    consumer warm = {0}, all = {0};
    falkor_error error;
    char process[16];
    int times = most_rows() / PEOPLE;
    stream(graph, &reading, 1, &warm, &error);
    serving_ok(&error);
    assert_int_equal(warm.rows, PEOPLE);
    long before = status_kb("self", "VmHWM:");
    int64_t begun = falkor_now_ns();
    stream(graph, &reading, times, &all, &error);
    serving_ok(&error);
    int64_t took = falkor_now_ns() - begun;
    long after = status_kb("self", "VmHWM:");
    snprintf(process, sizeof process, "%d", (int)server.pid);
    print_message("%d rows in %d ms, the first after %d ms: %ld kB more here, "
        "%ld kB at most in the server\n", (int)all.rows,
        (int)(took / SERVING_MS), (int)((all.first_ns - begun) / SERVING_MS),
        after - before, status_kb(process, "VmHWM:"));
    assert_int_equal(all.rows, (int64_t)times * PEOPLE);
    assert_int_equal(all.sum, times * (int64_t)PEOPLE * (PEOPLE + 1) / 2);
    assert_int_equal(all.bytes, warm.bytes * (size_t)times);
    if (!TEST_SANITIZED)
        assert_true(after - before < 1024);
}

/* ---- stopping --------------------------------------------------------- */

/* Rows that were not asked for are not waited for. The server has them all
   before it sends the first, so the time from there on counts. */
static void test_streaming_stops_at_once(void **state) {
    (void)state;
    consumer all = {0}, ten = {.stop_at = 10};
    falkor_error error;
    falkor_stats before, after;
    stream(graph, &reading, 300, &all, &error);
    serving_ok(&error);
    int64_t whole = falkor_now_ns() - all.first_ns;
    falkor_pool_stats(pool, &before);
    stream(graph, &reading, 300, &ten, &error);
    serving_ok(&error);
    int64_t stopped = falkor_now_ns() - ten.first_ns;
    falkor_pool_stats(pool, &after);
    print_message("of %d rows: %d us, of ten: %d us\n", (int)all.rows,
                  (int)(whole / 1000), (int)(stopped / 1000));
    assert_int_equal(all.rows, 300 * PEOPLE);
    assert_int_equal(ten.rows, 10);
    assert_true(stopped < whole / 10 + 20 * SERVING_MS);
    assert_int_equal(serving_integer(graph, "MATCH (p:Person) RETURN count(p)",
                                     NULL), PEOPLE);
    falkor_pool_stats(pool, &after);    /* it cost its connection, no more */
    assert_int_equal(after.connections_created,
                     before.connections_created + 1);
    assert_int_equal(after.total, 1);
}

/* When little is left it is read, and the connection kept. */
static void test_streaming_stops_near_the_end(void **state) {
    (void)state;
    consumer most = {.stop_at = PEOPLE - 3};
    falkor_error error;
    falkor_stats before, after;
    falkor_pool_stats(pool, &before);
    for (int i = 0; i < 5; i++) {
        most.rows = 0;
        stream(graph, &reading, 1, &most, &error);
        serving_ok(&error);
        assert_int_equal(most.rows, PEOPLE - 3);
    }
    falkor_pool_stats(pool, &after);
    assert_int_equal(after.connections_created, before.connections_created);
}

/* A held connection that was left in the middle can only be released. */
static void test_streaming_stops_on_a_held_connection(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    consumer ten = {.stop_at = 10};
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    falkor_call_options held = {.read_only = true, .conn = conn};
    stream(graph, &held, 300, &ten, &error);
    serving_ok(&error);
    assert_int_equal(falkor_query_with(graph, &held, "RETURN 1", NULL, NULL,
                                       &error), FALKOR_ERR_IO);
    test_assert_has(error.message, "release it");
    falkor_release(conn);
    assert_int_equal(serving_integer(graph, "RETURN 5", NULL), 5);
}

/* ---- slow consumers --------------------------------------------------- */

/* Waits until the server has filled what lies between us and cannot send on,
   and for longer than the pool's own time of one query. */
static void pause_until_full(void *argument) {
    int64_t until = test_now_ms() + *(int *)argument;
    TEST_EVENTUALLY(streamer(" omem=") > 0 && test_now_ms() > until);
}

static void test_streaming_waits_for_a_slow_consumer(void **state) {
    (void)state;
    int pause_ms = 600;
    falkor_pool *hasty = pool_of(server.port, "streamer", 200);
    falkor_graph *from = falkor_select_graph(hasty, "streaming");
    consumer slow = {.act_at = 5, .act = pause_until_full,
                     .argument = &pause_ms};
    falkor_error error;
    falkor_call_options own = {.read_only = true, .timeout_ms = 60000};
    stream(from, &own, 300, &slow, &error);
    serving_ok(&error);
    assert_int_equal(slow.rows, 300 * PEOPLE);
    assert_int_equal(error.attempts, 1);
    falkor_graph_free(from);
    falkor_pool_free(hasty);
}

/* Without a time of its own the call has the pool's, and on_row spends it. */
static void pause_for(void *argument) {
    int64_t until = test_now_ms() + *(int *)argument;
    TEST_EVENTUALLY(test_now_ms() > until);
}

static void test_streaming_slow_consumer_spends_the_time(void **state) {
    (void)state;
    int pause_ms = 1100;
    falkor_pool *hasty = pool_of(server.port, "streamer", 1000);
    falkor_graph *from = falkor_select_graph(hasty, "streaming");
    consumer slow = {.act_at = 5, .act = pause_for, .argument = &pause_ms};
    falkor_error error;
    assert_int_equal(stream(from, &reading, 2, &slow, &error),
                     FALKOR_ERR_TIMEOUT);
    test_assert_has(error.message, "after 5 rows");
    test_assert_has(error.message, "socket_timeout_ms is 1000");
    assert_int_equal(slow.rows, 5);
    assert_int_equal(error.attempts, 1);
    assert_false(error.maybe_executed);
    assert_int_equal(serving_integer(from, "RETURN 5", NULL), 5);
    falkor_graph_free(from);
    falkor_pool_free(hasty);
}

/* ---- errors and cuts in the middle ------------------------------------ */

/* What fails at row 5 000 fails as a whole: no row is shown. */
static void test_streaming_error_in_the_middle(void **state) {
    (void)state;
    consumer none = {0};
    falkor_result *result = NULL;
    falkor_error error;
    assert_int_equal(falkor_query_each(graph, &reading,
        "UNWIND range(1, 10000) AS x RETURN 1 / (5000 - x)", NULL, consume,
        &none, &result, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "Division by zero");
    assert_null(result);
    assert_int_equal(none.rows, 0);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(serving_integer(graph, "RETURN 5", NULL), 5);
}

/* The status of a call that was cut after it had shown rows, of which each is
   whole; it is not repeated. */
static void cut_in_the_middle(falkor_pool *cut, consumer *c) {
    falkor_graph *from = falkor_select_graph(cut, "streaming");
    falkor_result *result = NULL;
    falkor_error error;
    assert_int_equal(falkor_query_each(from, &reading, stored,
        FALKOR_PARAMS({"times", falkor_int(300)}), consume, c, &result,
        &error), FALKOR_ERR_IO);
    test_no_complaints();
    assert_null(result);
    assert_true(c->rows >= c->act_at && c->rows < 300 * PEOPLE);
    assert_int_equal(error.attempts, 1);
    assert_false(error.maybe_executed);
    test_assert_has(error.message, "connection lost");
    assert_int_equal(serving_integer(from, "RETURN 5", NULL), 5);
    falkor_graph_free(from);
}

static void kill_streamer(void *argument) {
    char command[64];
    (void)argument;
    TEST_EVENTUALLY(streamer(" omem=") > 0);    /* not all of it is sent */
    snprintf(command, sizeof command, "CLIENT KILL ID %lld", streamer("id="));
    assert_int_equal(serving_number(server.port, command), 1);
}

static void test_streaming_connection_is_killed(void **state) {
    (void)state;
    falkor_pool *killed = pool_of(server.port, "streamer", 0);
    consumer c = {.act_at = 100, .act = kill_streamer};
    cut_in_the_middle(killed, &c);
    falkor_pool_free(killed);
}

static void cut_replies(void *argument) {
    proxy *between = argument;
    atomic_store(&between->cut_replies, 1);
}

static void test_streaming_connection_is_cut(void **state) {
    (void)state;
    proxy between;
    proxy_start(&between, server.port);
    falkor_pool *through = pool_of(between.port, "proxied", 0);
    static const int chunks[] = {0, 777};
    for (int i = 0; i < 2; i++) {
        consumer c = {.act_at = 1 + 1000 * i, .act = cut_replies,
                      .argument = &between};
        atomic_store(&between.reply_chunk, chunks[i]);
        cut_in_the_middle(through, &c);
        assert_int_equal(atomic_load(&between.cut), i + 1);
    }
    falkor_pool_free(through);
    proxy_stop(&between);
}

/* Before the first row nobody has seen anything: there it is repeated. */
static void test_streaming_cut_before_the_first_row(void **state) {
    (void)state;
    proxy between;
    proxy_start(&between, server.port);
    falkor_pool *through = pool_of(between.port, "proxied", 0);
    falkor_graph *from = falkor_select_graph(through, "streaming");
    falkor_error error;
    consumer names = {0}, c = {0};
    stream(from, &reading, 1, &names, &error);  /* they are known now */
    serving_ok(&error);
    atomic_store(&between.cut_replies, 1);
    stream(from, &reading, 3, &c, &error);
    serving_ok(&error);
    assert_int_equal(error.attempts, 2);
    assert_int_equal(c.rows, 3 * PEOPLE);
    falkor_graph_free(from);
    falkor_pool_free(through);
    proxy_stop(&between);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_streaming_memory_is_constant),
    cmocka_unit_test(test_streaming_stops_at_once),
    cmocka_unit_test(test_streaming_stops_near_the_end),
    cmocka_unit_test(test_streaming_stops_on_a_held_connection),
    cmocka_unit_test(test_streaming_waits_for_a_slow_consumer),
    cmocka_unit_test(test_streaming_slow_consumer_spends_the_time),
    cmocka_unit_test(test_streaming_error_in_the_middle),
    cmocka_unit_test(test_streaming_connection_is_killed),
    cmocka_unit_test(test_streaming_connection_is_cut),
    cmocka_unit_test(test_streaming_cut_before_the_first_row))
