/* Every public function given what it must refuse or survive: NULL, nothing,
   out of range, out of turn, twice. A refusal sets all outputs, says why, and
   sends nothing. test_contract_NAME is of falkor_NAME: test/audit.sh wants one
   for each function of pool.h, and that some other test calls it, too.

   The pools here are of a real server; only the state of the pool, or what is
   asked of it, is wrong. */
#include "serving.h"
#include <math.h>

static serving server;
static falkor_pool *pool, *unopened, *closed, *foreign;
static falkor_graph *graph;             /* of pool, with a node N */
static falkor_error error;

static falkor_status open_nothing(void *ctx, int64_t deadline_ns,
                                  void **handle, falkor_error *opening) {
    (void)deadline_ns, (void)opening;
    *handle = ctx;
    return FALKOR_OK;
}

static void close_nothing(void *ctx, void *handle) {
    (void)ctx, (void)handle;
}

static int begin(void **state) {
    static const falkor_driver driver = {.open = open_nothing,
                                         .close = close_nothing};
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = options.min_size = 2;
    options.max_retries = -1;
    options.health_check_interval_ms = -1;
    pool = serving_pool(&options);
    closed = serving_pool(&options);
    assert_int_equal(falkor_pool_close(closed, -1), FALKOR_OK);
    falkor_pool_create(&options, &unopened, &error);
    serving_ok(&error);
    foreign = serving_pool(&(falkor_options){.driver = &driver,
                                             .driver_ctx = &server});
    graph = falkor_select_graph(pool, "contract");
    serving_run(graph, "CREATE (:N {k: 1})");
    return 0;
}

static int end(void **state) {
    (void)state;
    serving_drop(pool, graph, "contract");
    falkor_pool_free(pool);
    falkor_pool_free(unopened);
    falkor_pool_free(closed);
    falkor_pool_free(foreign);
    serving_stop(&server);
    return 0;
}

/* ---- refusals --------------------------------------------------------- */

static void refused_at(falkor_status wanted, falkor_status status,
                       const falkor_error *said, const char *call, int line) {
    if (status != wanted)
        fail_msg("line %d: %s: %s: %s", line, call,
                 falkor_status_name(status), said ? said->message : "");
    if (!said)
        return;
    assert_int_equal(said->status, wanted);
    assert_false(said->maybe_executed);
    assert_non_null(memchr(said->message, '\0', sizeof said->message));
    if (strlen(said->message) < 8)
        fail_msg("line %d: %s: says only \"%s\"", line, call, said->message);
}

/* The call, which gives its error to e, ends so: with an error that was full
   of something before, and with none. */
#define FAILS(wanted, call)                                                    \
    do {                                                                       \
        falkor_error *e = &error;                                              \
        memset(e, 0x5a, sizeof *e);                                            \
        refused_at(wanted, call, e, #call, __LINE__);                          \
        e = NULL;                                                              \
        refused_at(wanted, call, e, #call, __LINE__);                          \
    } while (0)
#define REFUSED(call) FAILS(FALKOR_ERR_ARGUMENT, call)

/* What an output pointed to before; it must be NULL afterwards. */
#define STALE(type) ((type *)(void *)&server)

/* One way to ask something harmless of a graph; its output, if it has one,
   begins stale, and must be NULL when it fails. */
typedef falkor_status (*asker)(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e);

static falkor_graph *graph_of(falkor_pool *of) {
    falkor_graph *named = falkor_select_graph(of, "contract");
    assert_non_null(named);
    return named;
}

/* What every way to ask must refuse: pools in the wrong state, options out of
   range, connections that are not held, parameters that cannot travel. */
static void refuses_like_all(asker ask) {
    const falkor_call_options none = {0};
    falkor_conn *conn;
    falkor_stats before, after;
    falkor_pool_stats(pool, &before);
    REFUSED(ask(NULL, "RETURN 1", &none, NULL, e));
    REFUSED(ask(graph, NULL, &none, NULL, e));
    FAILS(FALKOR_ERR_NOT_OPEN, ask(graph_of(unopened), "RETURN 1", &none, NULL,
                                   e));
    FAILS(FALKOR_ERR_CLOSED, ask(graph_of(closed), "RETURN 1", &none, NULL,
                                 e));
    REFUSED(ask(graph_of(foreign), "RETURN 1", &none, NULL, e));
    falkor_value nan = falkor_double((double)NAN), nul = falkor_string_n("", 1);
    REFUSED(ask(graph, "RETURN $x", &none, FALKOR_PARAMS({"x", nan}), e));
    REFUSED(ask(graph, "RETURN $x", &none, FALKOR_PARAMS({"x", nul}), e));
    REFUSED(ask(graph, "RETURN $x", &none, FALKOR_PARAMS({"", nul}), e));
    const falkor_call_options bad[] = {{.timeout_ms = -2},
        {.max_retries = -2}, {.server_timeout_ms = -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        REFUSED(ask(graph, "RETURN 1", &bad[i], NULL, e));
    falkor_pool_stats(pool, &after);
    assert_int_equal(before.acquires, after.acquires);
    assert_int_equal(falkor_acquire(foreign, &conn, NULL), FALKOR_OK);
    falkor_call_options held = {.conn = conn};
    REFUSED(ask(graph, "RETURN 1", &held, NULL, e));
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(falkor_acquire(pool, &held.conn, NULL), FALKOR_OK);
    assert_int_equal(falkor_release(held.conn), FALKOR_OK);
    REFUSED(ask(graph, "RETURN 1", &held, NULL, e));
    assert_int_equal(ask(graph, "RETURN 1", &none, NULL, &error), FALKOR_OK);
    serving_ok(&error);
}

/* ---- statuses, time, events ------------------------------------------- */

static void test_contract_status_name(void **state) {
    (void)state;
    const int none[] = {-1, FALKOR_STATUS_COUNT, 1 << 30};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(falkor_status_name((falkor_status)none[i]),
                            "unknown status");
}

static void test_contract_status_text(void **state) {
    (void)state;
    const int none[] = {-1, FALKOR_STATUS_COUNT, 1 << 30};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(falkor_status_text((falkor_status)none[i]),
                            "unknown status");
}

/* It takes nothing; what could be wrong is that it goes back. */
static void test_contract_now_ns(void **state) {
    (void)state;
    int64_t last = falkor_now_ns();
    assert_true(last > 0);
    for (int i = 0; i < 10000; i++) {
        int64_t now = falkor_now_ns();
        assert_true(now >= last);
        last = now;
    }
}

static void test_contract_log_event(void **state) {
    falkor_event event = {.level = (falkor_event_level)77, .name = "odd",
                          .message = ""};
    (void)state;
    falkor_log_event(NULL, NULL);
    falkor_log_event(NULL, &event);
}

static void test_contract_event_field(void **state) {
    falkor_event event = {.name = "odd", .message = "a=1"};
    char room[8] = "left";
    (void)state;
    assert_false(falkor_event_field(NULL, "a", room, sizeof room));
    assert_string_equal(room, "");
    memcpy(room, "left", 5);
    assert_false(falkor_event_field(&event, NULL, room, sizeof room));
    assert_string_equal(room, "");
    assert_true(falkor_event_field(&event, "a", NULL, 0));
}

static void test_contract_type_name(void **state) {
    (void)state;
    const int none[] = {-1, 0, FALKOR_DURATION + 1, 999, 1001, 1 << 30};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_string_equal(falkor_type_name((falkor_type)none[i]), "unknown");
}

/* ---- options and pools ------------------------------------------------ */

static void test_contract_options_from_env(void **state) {
    falkor_options options = {.port = 7}, before = options;
    (void)state;
    REFUSED(falkor_options_from_env(NULL, e));
    setenv("DB_POOL_MAX_SIZE", "many", 1);
    REFUSED(falkor_options_from_env(&options, e));
    unsetenv("DB_POOL_MAX_SIZE");
    test_assert_has(error.message, "DB_POOL_MAX_SIZE");
    assert_memory_equal(&options, &before, sizeof options);
}

static void test_contract_pool_create(void **state) {
    const falkor_options bad[] = {{.max_size = -1}, {.port = 70000},
        {.url = "http://h"}, {.url = ""}, {.host = "a", .unix_path = "/b"},
        {.min_size = 5, .max_size = 4}, {.retry_jitter = (double)NAN},
        {.driver = &(falkor_driver){0}}, {.client_name = "two words"}};
    (void)state;
    REFUSED(falkor_pool_create(NULL, NULL, e));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        falkor_pool *made = STALE(falkor_pool);
        if (falkor_pool_create(&bad[i], &made, NULL) == FALKOR_OK)
            fail_msg("options %zu were taken", i);
        assert_null(made);
        REFUSED(falkor_pool_create(&bad[i], &made, e));
    }
}

static void test_contract_pool_open(void **state) {
    falkor_pool *nobody;
    (void)state;
    REFUSED(falkor_pool_open(NULL, e));
    FAILS(FALKOR_ERR_CLOSED, falkor_pool_open(closed, e));
    falkor_options options = {.unix_path = "/nobody/here", .max_retries = -1};
    falkor_pool_create(&options, &nobody, &error);
    serving_ok(&error);
    FAILS(FALKOR_ERR_CONNECT, falkor_pool_open(nobody, e));
    falkor_pool_free(nobody);
}

static void test_contract_pool_close(void **state) {
    falkor_pool *own;
    (void)state;
    assert_int_equal(falkor_pool_close(NULL, 0), FALKOR_OK);
    assert_int_equal(falkor_pool_close(NULL, -1), FALKOR_OK);
    assert_int_equal(falkor_pool_close(closed, INT32_MIN), FALKOR_OK);
    falkor_pool_create(NULL, &own, &error);
    serving_ok(&error);
    assert_int_equal(falkor_pool_close(own, 0), FALKOR_OK);  /* never open */
    FAILS(FALKOR_ERR_CLOSED, falkor_pool_open(own, e));
    falkor_pool_free(own);
}

static void test_contract_pool_free(void **state) {
    falkor_pool *own = STALE(falkor_pool);
    (void)state;
    falkor_pool_free(NULL);
    falkor_pool_create(&(falkor_options){.port = -5}, &own, NULL);
    falkor_pool_free(own);              /* of a creation that failed */
}

static void test_contract_pool_stats(void **state) {
    static const falkor_stats nothing;
    falkor_stats stats;
    (void)state;
    memset(&stats, 0x5a, sizeof stats);
    falkor_pool_stats(NULL, &stats);
    assert_memory_equal(&stats, &nothing, sizeof stats);
    falkor_pool_stats(pool, NULL);
    falkor_pool_stats(NULL, NULL);
    falkor_pool_stats(closed, &stats);
    assert_true(stats.closed);
}

static void test_contract_role_name(void **state) {
    (void)state;
    assert_string_equal(falkor_role_name(FALKOR_ROLE_UNKNOWN), "unknown");
    assert_string_equal(falkor_role_name(FALKOR_ROLE_PRIMARY), "primary");
    assert_string_equal(falkor_role_name(FALKOR_ROLE_REPLICA), "replica");
    assert_string_equal(falkor_role_name((falkor_role)77), "unknown");
}

static void test_contract_pool_nodes(void **state) {
    (void)state;
    falkor_node_info nodes[2];
    assert_int_equal(falkor_pool_nodes(NULL, nodes, 2), 0);
    assert_int_equal(falkor_pool_nodes(pool, NULL, 2), 1);
    assert_int_equal(falkor_pool_nodes(pool, nodes, 0), 1);
    memset(nodes, 0x5a, sizeof nodes);
    assert_int_equal(falkor_pool_nodes(pool, nodes, 2), 1);
    assert_ptr_equal(nodes[0].pool, pool);
    assert_int_equal(nodes[0].role, FALKOR_ROLE_UNKNOWN);
    assert_true(nodes[0].well);
    assert_int_equal(nodes[0].lag_bytes, -1);
    assert_int_equal(nodes[0].slots, 0);
    assert_non_null(strchr(nodes[0].address, ':'));
}

static void test_contract_snapshot_take_node(void **state) {
    (void)state;
    falkor_node_info node = {.pool = NULL};
    falkor_snapshot *snapshot = (void *)&node;
    assert_int_equal(falkor_snapshot_take_node(NULL, &snapshot, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_null(snapshot);
    assert_int_equal(falkor_snapshot_take_node(&node, &snapshot, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_pool_nodes(pool, &node, 1), 1);
    assert_int_equal(falkor_snapshot_take_node(&node, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_take_node(&node, &snapshot, NULL),
                     FALKOR_OK);
    assert_true(falkor_snapshot_stats(snapshot)->max_size > 0);
    falkor_snapshot_free(snapshot);
}

/* A lever of a pool that is not there, is closed, or is not open yet, which may
   be pulled; twice, too. */
static void levers(falkor_status (*pull)(falkor_pool *pool)) {
    assert_int_equal(pull(NULL), FALKOR_ERR_ARGUMENT);
    assert_int_equal(pull(closed), FALKOR_ERR_CLOSED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pull(unopened), FALKOR_OK);
        assert_int_equal(pull(pool), FALKOR_OK);
    }
}

static void test_contract_pool_pause(void **state) {
    falkor_conn *conn = STALE(falkor_conn);
    (void)state;
    assert_int_equal(falkor_pool_pause(NULL), FALKOR_ERR_ARGUMENT);
    levers(falkor_pool_pause);
    FAILS(FALKOR_ERR_POOL_TIMEOUT, falkor_acquire_within(pool, 1, &conn, e));
    assert_null(conn);
    levers(falkor_pool_resume);
}

static void test_contract_pool_resume(void **state) {
    falkor_conn *conn;
    (void)state;
    assert_int_equal(falkor_pool_resume(NULL), FALKOR_ERR_ARGUMENT);
    levers(falkor_pool_resume);         /* nothing was paused */
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

static void test_contract_pool_flush(void **state) {
    (void)state;
    assert_int_equal(falkor_pool_flush(NULL), FALKOR_ERR_ARGUMENT);
    levers(falkor_pool_flush);
    serving_run(graph, "RETURN 1");
}

static void test_contract_pool_drop_idle(void **state) {
    (void)state;
    assert_int_equal(falkor_pool_drop_idle(NULL), FALKOR_ERR_ARGUMENT);
    levers(falkor_pool_drop_idle);
    serving_run(graph, "RETURN 1");
}

static void test_contract_pool_shared(void **state) {
    static const char *const bad[] = {"", "http://h", "falkor://h:70000",
                                      "falkor://h?pool_max_size=-1"};
    falkor_pool *shared = STALE(falkor_pool);
    (void)state;
    REFUSED(falkor_pool_shared("falkor://h", NULL, e));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        shared = STALE(falkor_pool);
        REFUSED(falkor_pool_shared(bad[i], &shared, e));
        assert_null(shared);
    }
    setenv("DB_POOL_MAX_SIZE", "many", 1);
    shared = STALE(falkor_pool);
    REFUSED(falkor_pool_shared(NULL, &shared, e));
    unsetenv("DB_POOL_MAX_SIZE");
    assert_null(shared);
    FAILS(FALKOR_ERR_CONNECT, falkor_pool_shared(
        "unix:///nobody/here?max_retries=1", &shared, e));
    assert_null(shared);
}

/* ---- connections ------------------------------------------------------ */

static void test_contract_acquire(void **state) {
    falkor_conn *conn = STALE(falkor_conn);
    (void)state;
    REFUSED(falkor_acquire(NULL, &conn, e));
    assert_null(conn);
    REFUSED(falkor_acquire(pool, NULL, e));
    REFUSED(falkor_acquire(NULL, NULL, e));
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_NOT_OPEN, falkor_acquire(unopened, &conn, e));
    assert_null(conn);
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_CLOSED, falkor_acquire(closed, &conn, e));
    assert_null(conn);
}

static void test_contract_acquire_within(void **state) {
    falkor_conn *conn = STALE(falkor_conn), *all[2];
    (void)state;
    REFUSED(falkor_acquire_within(NULL, 10, &conn, e));
    assert_null(conn);
    REFUSED(falkor_acquire_within(pool, 10, NULL, e));
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_NOT_OPEN, falkor_acquire_within(unopened, -1, &conn, e));
    assert_null(conn);
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_CLOSED, falkor_acquire_within(closed, -1, &conn, e));
    assert_null(conn);
    for (int i = 0; i < 2; i++)
        assert_int_equal(falkor_acquire_within(pool, 5000, &all[i], NULL),
                         FALKOR_OK);
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_POOL_TIMEOUT, falkor_acquire_within(pool, 1, &conn, e));
    assert_null(conn);
    for (int i = 0; i < 2; i++)
        assert_int_equal(falkor_release(all[i]), FALKOR_OK);
}

static void test_contract_acquire_at(void **state) {
    falkor_conn *conn = STALE(falkor_conn);
    (void)state;
    REFUSED(falkor_acquire_at(NULL, 10, &conn, e, "file", 1));
    assert_null(conn);
    REFUSED(falkor_acquire_at(pool, 10, NULL, e, "file", 1));
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_NOT_OPEN, falkor_acquire_at(unopened, -1, &conn, e,
                                                 "file", 1));
    assert_null(conn);
    conn = STALE(falkor_conn);
    FAILS(FALKOR_ERR_CLOSED, falkor_acquire_at(closed, FALKOR_POOL_TIMEOUT,
                                               &conn, e, "file", 1));
    assert_null(conn);
    assert_int_equal(falkor_acquire_at(pool, 5000, &conn, NULL, NULL, -1),
                     FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

static void test_contract_release(void **state) {
    falkor_conn *conn;
    falkor_stats before, after;
    (void)state;
    assert_int_equal(falkor_release(NULL), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_pool_stats(pool, &before);
    assert_int_equal(falkor_release(conn), FALKOR_ERR_ARGUMENT);
    falkor_pool_stats(pool, &after);
    assert_memory_equal(&before, &after, sizeof before);
}

static void test_contract_conn_handle(void **state) {
    falkor_conn *conn;
    (void)state;
    assert_null(falkor_conn_handle(NULL));
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    assert_null(falkor_conn_handle(conn));      /* the built-in driver's */
    falkor_release(conn);
    assert_int_equal(falkor_acquire(foreign, &conn, NULL), FALKOR_OK);
    assert_ptr_equal(falkor_conn_handle(conn), &server);
    falkor_release(conn);
    assert_null(falkor_conn_handle(conn));
}

static void test_contract_conn_mark_broken(void **state) {
    falkor_conn *conn;
    falkor_stats before, after;
    (void)state;
    falkor_conn_mark_broken(NULL);
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    falkor_release(conn);
    falkor_pool_stats(pool, &before);
    falkor_conn_mark_broken(conn);      /* somebody else's, by now */
    assert_int_equal(serving_integer(graph, "RETURN 5", NULL), 5);
    falkor_pool_stats(pool, &after);
    assert_int_equal(before.connections_recycled, after.connections_recycled);
}

/* ---- graphs and queries ----------------------------------------------- */

static void test_contract_select_graph(void **state) {
    (void)state;
    assert_null(falkor_select_graph(NULL, "contract"));
    assert_null(falkor_select_graph(NULL, NULL));
    assert_null(falkor_select_graph(pool, ""));
    assert_null(falkor_select_graph(pool, NULL));       /* no options.graph */
}

static void test_contract_graph_free(void **state) {
    (void)state;
    falkor_graph_free(NULL);
    falkor_graph_free(falkor_select_graph(pool, ""));
    falkor_graph_free(falkor_select_graph(unopened, "never-queried"));
}

static void test_contract_graph_name(void **state) {
    (void)state;
    assert_null(falkor_graph_name(NULL));
    assert_null(falkor_graph_name(falkor_select_graph(pool, "")));
}

/* A result comes with success and with nothing else. */
static falkor_status checked(falkor_status status, falkor_result **result) {
    if ((*result != NULL) != (status == FALKOR_OK))
        fail_msg("%s and result %p", falkor_status_name(status),
                 (void *)*result);
    falkor_result_free(*result);
    return status;
}

static falkor_status ask_query(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e) {
    falkor_result *result = STALE(falkor_result);
    if (options->timeout_ms || options->max_retries || options->conn ||
        options->server_timeout_ms)     /* it has none */
        return falkor_query_with(of, options, cypher, params, NULL, e);
    return checked(falkor_query(of, cypher, params, &result, e), &result);
}

static void test_contract_query(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    REFUSED(falkor_query(NULL, NULL, NULL, NULL, e));
    FAILS(FALKOR_ERR_QUERY, falkor_query(graph, "", NULL, &result, e));
    assert_null(result);
    refuses_like_all(ask_query);
}

static falkor_status ask_ro_query(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e) {
    falkor_result *result = STALE(falkor_result);
    if (options->timeout_ms || options->max_retries || options->conn ||
        options->server_timeout_ms)
        return falkor_query_with(of, options, cypher, params, NULL, e);
    return checked(falkor_ro_query(of, cypher, params, &result, e), &result);
}

static void test_contract_ro_query(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    FAILS(FALKOR_ERR_QUERY, falkor_ro_query(graph, "CREATE (:Never)", NULL,
                                            &result, e));
    assert_null(result);
    FAILS(FALKOR_ERR_QUERY, falkor_ro_query(graph, "RETRUN 1", NULL, NULL, e));
    refuses_like_all(ask_ro_query);
}

static falkor_status ask_query_with(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e) {
    falkor_result *result = STALE(falkor_result);
    return checked(falkor_query_with(of, options, cypher, params, &result, e),
                   &result);
}

static void test_contract_query_with(void **state) {
    (void)state;
    REFUSED(falkor_query_with(NULL, NULL, NULL, NULL, NULL, e));
    refuses_like_all(ask_query_with);
}

static bool count_rows(void *ctx, const falkor_result *row) {
    (void)row;
    (*(int *)ctx)++;
    return true;
}

static falkor_status ask_query_each(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e) {
    falkor_result *result = STALE(falkor_result);
    int rows = 0;
    falkor_status status = checked(falkor_query_each(of, options, cypher,
        params, count_rows, &rows, &result, e), &result);
    assert_int_equal(rows, status == FALKOR_OK);
    return status;
}

static void test_contract_query_each(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    REFUSED(falkor_query_each(graph, NULL, "RETURN 1", NULL, NULL, NULL,
                              &result, e));
    assert_null(result);
    refuses_like_all(ask_query_each);
}

static falkor_status ask_cursor(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e) {
    falkor_cursor *cursor = STALE(falkor_cursor);
    falkor_status status = falkor_cursor_open(of, options, cypher, params,
                                              &cursor, e);
    assert_int_equal(cursor != NULL, status == FALKOR_OK);
    falkor_cursor_close(cursor);
    return status;
}

static void test_contract_cursor_open(void **state) {
    falkor_cursor *cursor = STALE(falkor_cursor);
    (void)state;
    REFUSED(falkor_cursor_open(graph, NULL, "RETURN 1", NULL, NULL, e));
    FAILS(FALKOR_ERR_QUERY, falkor_cursor_open(graph, NULL, "RETRUN", NULL,
                                               &cursor, e));
    assert_null(cursor);
    refuses_like_all(ask_cursor);
}

static void test_contract_cursor_next(void **state) {
    falkor_cursor *cursor;
    const falkor_result *row = STALE(falkor_result);
    (void)state;
    REFUSED(falkor_cursor_next(NULL, &row, e));
    assert_null(row);
    REFUSED(falkor_cursor_next(NULL, NULL, e));
    falkor_cursor_open(graph, &(falkor_call_options){.read_only = true},
                       "RETURN 1", NULL, &cursor, &error);
    serving_ok(&error);
    REFUSED(falkor_cursor_next(cursor, NULL, e));
    assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
    assert_non_null(row);
    for (int i = 0; i < 3; i++) {       /* behind the end, again and again */
        assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
        assert_null(row);
    }
    falkor_cursor_close(cursor);
}

static void test_contract_cursor_result(void **state) {
    (void)state;
    assert_null(falkor_cursor_result(NULL));
}

static void test_contract_cursor_close(void **state) {
    (void)state;
    falkor_cursor_close(NULL);
}

/* As one request that is a query. */
static falkor_status ask_pipeline(falkor_graph *of, const char *cypher,
    const falkor_call_options *options, const falkor_param *params,
    falkor_error *e) {
    static const char name[] = "contract";
    falkor_request request = {.graph = of, .cypher = cypher, .params = params,
                              .result = STALE(falkor_result)};
    falkor_pool *pools[] = {pool, unopened, closed, foreign}, *its = NULL;
    for (int i = 0; of && i < 4; i++) {
        falkor_graph *same = falkor_select_graph(pools[i], name);
        its = same == of ? pools[i] : its;
        falkor_graph_free(same);
    }
    falkor_status status = falkor_pipeline(its, options, &request, 1, e);
    assert_int_equal(request.error.status, status);
    return checked(status, &request.result);
}

static void test_contract_pipeline(void **state) {
    const char *argv[] = {"PING", NULL};
    falkor_request bad[] = {
        {.argc = 1, .argv = argv}, {.argc = 0, .argv = argv},
        {.argc = 1, .argv = argv}};
    (void)state;
    REFUSED(falkor_pipeline(NULL, NULL, bad, 3, e));
    REFUSED(falkor_pipeline(pool, NULL, NULL, 1, e));
    assert_int_equal(falkor_pipeline(pool, NULL, NULL, 0, &error), FALKOR_OK);
    long long calls = serving_calls(server.port, "ping");
    for (int i = 0; i < 5; i++) {
        bad[1] = (falkor_request){.argc = 1, .argv = argv};
        if (i == 0)
            bad[1].argc = 0;
        if (i == 1)
            bad[1].argc = 2;            /* the second one is NULL */
        if (i == 2)
            bad[1].argv = NULL;
        if (i == 3)                     /* of another pool */
            bad[1] = (falkor_request){.graph = graph_of(closed),
                                      .cypher = "RETURN 1"};
        if (i == 4)
            bad[1] = (falkor_request){.graph = graph};
        REFUSED(falkor_pipeline(pool, NULL, bad, 3, e));
        assert_int_equal(bad[1].error.status, FALKOR_ERR_ARGUMENT);
        assert_null(bad[0].result);
        assert_null(bad[2].result);
    }
    assert_int_equal(serving_calls(server.port, "ping"), calls);
    refuses_like_all(ask_pipeline);
}

static void test_contract_command(void **state) {
    falkor_result *result = STALE(falkor_result);
    const char *const ping[] = {"PING", NULL};
    (void)state;
    REFUSED(falkor_command(NULL, NULL, 1, ping, NULL, &result, e));
    assert_null(result);
    REFUSED(falkor_command(pool, NULL, 0, ping, NULL, NULL, e));
    REFUSED(falkor_command(pool, NULL, 1, NULL, NULL, NULL, e));
    REFUSED(falkor_command(pool, NULL, 2, ping, NULL, NULL, e));
    REFUSED(falkor_command(foreign, NULL, 1, ping, NULL, NULL, e));
    REFUSED(falkor_command(pool, &(falkor_call_options){.timeout_ms = -2}, 1,
                           ping, NULL, NULL, e));
    FAILS(FALKOR_ERR_NOT_OPEN, falkor_command(unopened, NULL, 1, ping, NULL,
                                              NULL, e));
    FAILS(FALKOR_ERR_CLOSED, falkor_command(closed, NULL, 1, ping, NULL, NULL,
                                            e));
    result = STALE(falkor_result);
    FAILS(FALKOR_ERR_QUERY, falkor_command(pool, NULL, 1,
        (const char *[]){"NO.SUCH"}, NULL, &result, e));
    assert_null(result);
}

/* ---- typed commands --------------------------------------------------- */

typedef falkor_status (*commander)(falkor_pool *on, falkor_graph *of,
    const falkor_call_options *with, falkor_error *e);

#define COMMANDER(name, call)                                                  \
    static falkor_status run_##name(falkor_pool *on, falkor_graph *of,         \
        const falkor_call_options *with, falkor_error *e) {                    \
        (void)on, (void)of;                                                    \
        return call;                                                           \
    }

/* What every command must refuse: nobody, pools in the wrong state, options
   out of range, a connection that is not held. */
static void refuses_like_commands(commander run) {
    falkor_conn *conn;
    REFUSED(run(NULL, NULL, NULL, e));
    FAILS(FALKOR_ERR_NOT_OPEN, run(unopened, graph_of(unopened), NULL, e));
    FAILS(FALKOR_ERR_CLOSED, run(closed, graph_of(closed), NULL, e));
    REFUSED(run(foreign, graph_of(foreign), NULL, e));
    const falkor_call_options bad[] = {{.timeout_ms = -2},
        {.max_retries = -2}, {.server_timeout_ms = -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        REFUSED(run(pool, graph, &bad[i], e));
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_call_options released = {.conn = conn};
    REFUSED(run(pool, graph, &released, e));
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
static const falkor_index on_k = {.label = "N",
    .properties = (const char *const[]){"k", NULL}};
static const falkor_constraint of_k = {.label = "N",
    .properties = (const char *const[]){"k", NULL}};

COMMANDER(graph_delete, falkor_graph_delete(of, with, e))
static void test_contract_graph_delete(void **state) {
    (void)state;
    refuses_like_commands(run_graph_delete);
    falkor_graph *none = falkor_select_graph(pool, "none");
    FAILS(FALKOR_ERR_QUERY, falkor_graph_delete(none, NULL, e));
    falkor_graph_free(none);
}

COMMANDER(graph_copy, falkor_graph_copy(of, with, "copy", e))
static void test_contract_graph_copy(void **state) {
    (void)state;
    refuses_like_commands(run_graph_copy);
    REFUSED(falkor_graph_copy(graph, NULL, NULL, e));
    REFUSED(falkor_graph_copy(graph, NULL, "", e));
}

COMMANDER(list_graphs, falkor_list_graphs(on, with, NULL, e))
static void test_contract_list_graphs(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_list_graphs);
    REFUSED(falkor_list_graphs(NULL, NULL, &result, e));
    assert_null(result);
}

COMMANDER(memory_usage, falkor_memory_usage(of, with, 0, NULL, e))
static void test_contract_memory_usage(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_memory_usage);
    REFUSED(falkor_memory_usage(graph, NULL, -1, &result, e));
    assert_null(result);
}

COMMANDER(slowlog, falkor_slowlog(of, with, NULL, e))
static void test_contract_slowlog(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_slowlog);
    REFUSED(falkor_slowlog(NULL, NULL, &result, e));
    assert_null(result);
}

COMMANDER(slowlog_reset, falkor_slowlog_reset(of, with, e))
static void test_contract_slowlog_reset(void **state) {
    (void)state;
    refuses_like_commands(run_slowlog_reset);
    falkor_graph *none = falkor_select_graph(pool, "none");
    FAILS(FALKOR_ERR_QUERY, falkor_slowlog_reset(none, NULL, e));
    falkor_graph_free(none);
}

COMMANDER(config_get, falkor_config_get(on, with, NULL, NULL, e))
static void test_contract_config_get(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_config_get);
    FAILS(FALKOR_ERR_QUERY, falkor_config_get(pool, NULL, "NONE", &result, e));
    assert_null(result);
}

COMMANDER(config_set, falkor_config_set(on, with, "CMD_INFO",
                                        falkor_bool(true), e))
static void test_contract_config_set(void **state) {
    (void)state;
    refuses_like_commands(run_config_set);
    REFUSED(falkor_config_set(pool, NULL, NULL, falkor_int(1), e));
    REFUSED(falkor_config_set(pool, NULL, "", falkor_int(1), e));
    REFUSED(falkor_config_set(pool, NULL, "CMD_INFO", falkor_null(), e));
}

COMMANDER(info, falkor_info(on, with, NULL, NULL, e))
static void test_contract_info(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_info);
    FAILS(FALKOR_ERR_QUERY, falkor_info(pool, NULL, "none", &result, e));
    assert_null(result);
}

COMMANDER(udf_load, falkor_udf_load(on, with, "lib", "0", true, e))
static void test_contract_udf_load(void **state) {
    (void)state;
    refuses_like_commands(run_udf_load);
    REFUSED(falkor_udf_load(pool, NULL, NULL, "0", true, e));
    REFUSED(falkor_udf_load(pool, NULL, "a\r\nb", "0", true, e));
    REFUSED(falkor_udf_load(pool, NULL, "lib", NULL, true, e));
    FAILS(FALKOR_ERR_QUERY, falkor_udf_load(pool, NULL, "lib", "(", true, e));
}

COMMANDER(udf_list, falkor_udf_list(on, with, NULL, true, NULL, e))
static void test_contract_udf_list(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_udf_list);
    REFUSED(falkor_udf_list(NULL, NULL, "lib", false, &result, e));
    assert_null(result);
}

COMMANDER(udf_delete, falkor_udf_delete(on, with, "lib", e))
static void test_contract_udf_delete(void **state) {
    (void)state;
    refuses_like_commands(run_udf_delete);
    REFUSED(falkor_udf_delete(pool, NULL, NULL, e));
    REFUSED(falkor_udf_delete(pool, NULL, "", e));
    FAILS(FALKOR_ERR_QUERY, falkor_udf_delete(pool, NULL, "none", e));
}

COMMANDER(udf_flush, falkor_udf_flush(on, with, e))
static void test_contract_udf_flush(void **state) {
    (void)state;
    refuses_like_commands(run_udf_flush);
    REFUSED(falkor_udf_flush(NULL, NULL, e));
}

COMMANDER(call_procedure, falkor_call_procedure(of, with, "db.labels", NULL, 0,
                                                NULL, NULL, e))
static void test_contract_call_procedure(void **state) {
    falkor_result *result = STALE(falkor_result);
    const falkor_value node = {.type = FALKOR_NODE};
    (void)state;
    refuses_like_commands(run_call_procedure);
    REFUSED(falkor_call_procedure(graph, NULL, NULL, NULL, 0, NULL, &result,
                                  e));
    assert_null(result);
    REFUSED(falkor_call_procedure(graph, NULL, "a`b", NULL, 0, NULL, NULL, e));
    REFUSED(falkor_call_procedure(graph, NULL, "a", NULL, 1, NULL, NULL, e));
    REFUSED(falkor_call_procedure(graph, NULL, "a", &node, 1, NULL, NULL, e));
    REFUSED(falkor_call_procedure(graph, NULL, "a", NULL, 0, "b,", NULL, e));
}

static falkor_status run_explain(falkor_pool *on, falkor_graph *of,
    const falkor_call_options *with, falkor_error *e) {
    falkor_plan *plan = STALE(falkor_plan);
    (void)on;
    falkor_status status = falkor_explain(of, with, "RETURN 1", NULL, &plan,
                                          e);
    if (status)
        assert_null(plan);
    falkor_plan_free(plan);
    return status;
}

static void test_contract_explain(void **state) {
    falkor_plan *plan = STALE(falkor_plan);
    (void)state;
    refuses_like_commands(run_explain);
    REFUSED(falkor_explain(graph, NULL, NULL, NULL, &plan, e));
    assert_null(plan);
    REFUSED(falkor_explain(graph, NULL, "RETURN 1", NULL, NULL, e));
}

static falkor_status run_profile(falkor_pool *on, falkor_graph *of,
    const falkor_call_options *with, falkor_error *e) {
    falkor_plan *plan = STALE(falkor_plan);
    (void)on;
    falkor_status status = falkor_profile(of, with, "RETURN 1", NULL, &plan,
                                          e);
    if (status)
        assert_null(plan);
    falkor_plan_free(plan);
    return status;
}

static void test_contract_profile(void **state) {
    falkor_plan *plan = STALE(falkor_plan);
    (void)state;
    refuses_like_commands(run_profile);
    REFUSED(falkor_profile(graph, NULL, NULL, NULL, &plan, e));
    assert_null(plan);
    REFUSED(falkor_profile(graph, NULL, "RETURN 1", NULL, NULL, e));
}

static void test_contract_plan_free(void **state) {
    (void)state;
    falkor_plan_free(NULL);
}

COMMANDER(index_create, falkor_index_create(of, with, &on_k, e))
static void test_contract_index_create(void **state) {
    (void)state;
    refuses_like_commands(run_index_create);
    REFUSED(falkor_index_create(graph, NULL, NULL, e));
    REFUSED(falkor_index_create(graph, NULL, &(falkor_index){0}, e));
    REFUSED(falkor_index_create(graph, NULL, &(falkor_index){.label = "`",
        .properties = WORDS("k")}, e));
}

COMMANDER(index_drop, falkor_index_drop(of, with, &on_k, e))
static void test_contract_index_drop(void **state) {
    (void)state;
    refuses_like_commands(run_index_drop);
    REFUSED(falkor_index_drop(graph, NULL, NULL, e));
    REFUSED(falkor_index_drop(graph, NULL, &(falkor_index){.label = "N"}, e));
    REFUSED(falkor_index_drop(graph, NULL, &(falkor_index){.label = "N",
        .properties = WORDS("k", "`")}, e));
}

COMMANDER(constraint_create, falkor_constraint_create(of, with, &of_k, e))
static void test_contract_constraint_create(void **state) {
    (void)state;
    refuses_like_commands(run_constraint_create);
    REFUSED(falkor_constraint_create(graph, NULL, NULL, e));
    REFUSED(falkor_constraint_create(graph, NULL, &(falkor_constraint){
        .label = "N", .properties = WORDS("")}, e));
}

COMMANDER(constraint_drop, falkor_constraint_drop(of, with, &of_k, e))
static void test_contract_constraint_drop(void **state) {
    (void)state;
    refuses_like_commands(run_constraint_drop);
    REFUSED(falkor_constraint_drop(graph, NULL, NULL, e));
    REFUSED(falkor_constraint_drop(graph, NULL, &(falkor_constraint){
        .label = "", .properties = WORDS("k")}, e));
}

COMMANDER(indexes, falkor_indexes(of, with, NULL, e))
static void test_contract_indexes(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_indexes);
    REFUSED(falkor_indexes(NULL, NULL, &result, e));
    assert_null(result);
}

COMMANDER(constraints, falkor_constraints(of, with, NULL, e))
static void test_contract_constraints(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    refuses_like_commands(run_constraints);
    REFUSED(falkor_constraints(NULL, NULL, &result, e));
    assert_null(result);
}

/* ---- results ---------------------------------------------------------- */

static falkor_result *two_by_two(void) {
    return serving_query(graph, "UNWIND [1, 2] AS a RETURN a, 'x' AS b", NULL);
}

static void test_contract_result_rows(void **state) {
    (void)state;
    assert_int_equal(falkor_result_rows(NULL), 0);
}

static void test_contract_result_columns(void **state) {
    (void)state;
    assert_int_equal(falkor_result_columns(NULL), 0);
}

static void test_contract_result_column(void **state) {
    (void)state;
    falkor_result *result = two_by_two();
    assert_null(falkor_result_column(NULL, 0));
    assert_null(falkor_result_column(result, 2));
    assert_null(falkor_result_column(result, SIZE_MAX));
    falkor_result_free(result);
}

static void test_contract_result_value(void **state) {
    (void)state;
    falkor_result *result = two_by_two();
    assert_null(falkor_result_value(NULL, 0, 0));
    assert_null(falkor_result_value(result, 2, 0));
    assert_null(falkor_result_value(result, 0, 2));
    assert_null(falkor_result_value(result, SIZE_MAX, SIZE_MAX));
    falkor_result_free(result);
}

static void test_contract_result_get(void **state) {
    (void)state;
    falkor_result *result = two_by_two();
    assert_null(falkor_result_get(NULL, 0, "a"));
    assert_null(falkor_result_get(result, 0, NULL));
    assert_null(falkor_result_get(result, 0, ""));
    assert_null(falkor_result_get(result, 0, "c"));
    assert_null(falkor_result_get(result, 2, "a"));
    falkor_result_free(result);
}

static void test_contract_result_summary(void **state) {
    (void)state;
    assert_null(falkor_result_summary(NULL));
}

static void test_contract_result_free(void **state) {
    falkor_result *result = STALE(falkor_result);
    (void)state;
    falkor_result_free(NULL);
    falkor_query(graph, "RETRUN", NULL, &result, NULL);
    falkor_result_free(result);         /* of a query that failed */
}

static bool write_nothing(void *ctx, const char *bytes, size_t length) {
    (void)ctx, (void)bytes, (void)length;
    return false;
}

static void test_contract_result_write_json(void **state) {
    (void)state;
    falkor_result *result = two_by_two();
    assert_int_equal(falkor_result_write_json(result, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_result_write_json(NULL, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_result_write_json(result, write_nothing, NULL),
                     FALKOR_ERR_IO);
    falkor_result_free(result);
}

/* A snapshot of a pool that is open, and of one that is closed. */
static falkor_snapshot *snapshot_of(falkor_pool *of) {
    falkor_snapshot *snapshot;
    falkor_snapshot_take(of, &snapshot, &error);
    serving_ok(&error);
    return snapshot;
}

static void test_contract_snapshot_take(void **state) {
    falkor_snapshot *snapshot = STALE(falkor_snapshot);
    (void)state;
    assert_int_equal(falkor_snapshot_take(NULL, &snapshot, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(snapshot);
    test_assert_has(error.message, "pool is NULL");
    assert_int_equal(falkor_snapshot_take(pool, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_take(NULL, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    falkor_pool *const pools[] = {closed, unopened, foreign};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(falkor_snapshot_take(pools[i], &snapshot, NULL),
                         FALKOR_OK);
        falkor_snapshot_free(snapshot);
    }
}

static void test_contract_snapshot_free(void **state) {
    (void)state;
    falkor_snapshot_free(NULL);
}

static void test_contract_snapshot_ask_server(void **state) {
    (void)state;
    falkor_snapshot *snapshot = snapshot_of(pool);
    assert_int_equal(falkor_snapshot_ask_server(NULL, pool, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_ask_server(snapshot, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "pool is NULL");
    assert_int_equal(falkor_snapshot_ask_server(snapshot, closed, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_snapshot_ask_server(snapshot, unopened, NULL),
                     FALKOR_ERR_NOT_OPEN);
    assert_int_equal(falkor_snapshot_ask_server(snapshot, foreign, NULL),
                     FALKOR_ERR_ARGUMENT);
    falkor_snapshot_free(snapshot);
}

static void test_contract_snapshot_add(void **state) {
    (void)state;
    falkor_snapshot *snapshot = snapshot_of(pool);
    assert_int_equal(falkor_snapshot_add(NULL, snapshot, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_add(snapshot, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_stats(snapshot)->max_size, 2);
    assert_int_equal(falkor_snapshot_add(snapshot, snapshot, &error),
                     FALKOR_OK);
    assert_int_equal(falkor_snapshot_stats(snapshot)->max_size, 4);
    falkor_snapshot_free(snapshot);
}

static void test_contract_snapshot_subtract(void **state) {
    (void)state;
    falkor_snapshot *snapshot = snapshot_of(pool);
    uint64_t acquires = falkor_snapshot_stats(snapshot)->acquires;
    falkor_snapshot_subtract(NULL, snapshot);
    falkor_snapshot_subtract(snapshot, NULL);
    falkor_snapshot_subtract(NULL, NULL);
    assert_true(acquires > 0);
    assert_int_equal(falkor_snapshot_stats(snapshot)->acquires, acquires);
    falkor_snapshot_subtract(snapshot, snapshot);
    assert_int_equal(falkor_snapshot_stats(snapshot)->acquires, 0);
    falkor_snapshot_free(snapshot);
}

static void test_contract_snapshot_stats(void **state) {
    (void)state;
    falkor_snapshot *snapshot = snapshot_of(closed);
    assert_null(falkor_snapshot_stats(NULL));
    assert_true(falkor_snapshot_stats(snapshot)->closed);
    falkor_snapshot_free(snapshot);
}

static void test_contract_snapshot_latency(void **state) {
    static const falkor_latency none;
    (void)state;
    falkor_snapshot *snapshot = snapshot_of(pool);
    falkor_latency found = falkor_snapshot_latency(NULL, FALKOR_LATENCY_HOLD);
    assert_memory_equal(&found, &none, sizeof none);
    found = falkor_snapshot_latency(snapshot, FALKOR_LATENCIES);
    assert_memory_equal(&found, &none, sizeof none);
    found = falkor_snapshot_latency(snapshot, (falkor_latency_kind)-1);
    assert_memory_equal(&found, &none, sizeof none);
    falkor_snapshot_free(snapshot);
}

static void test_contract_snapshot_percentile(void **state) {
    (void)state;
    falkor_snapshot *snapshot = snapshot_of(pool);
    assert_true(falkor_snapshot_percentile(NULL, FALKOR_LATENCY_DIAL, 50) == 0);
    assert_true(falkor_snapshot_percentile(snapshot, FALKOR_LATENCIES,
                                           50) == 0);
    double low = falkor_snapshot_percentile(snapshot, FALKOR_LATENCY_DIAL, -5);
    double high = falkor_snapshot_percentile(snapshot, FALKOR_LATENCY_DIAL,
                                             500);
    falkor_latency dials = falkor_snapshot_latency(snapshot,
                                                   FALKOR_LATENCY_DIAL);
    assert_true(low > 0 && low <= dials.p50_ms);
    assert_true(high == dials.max_ms);
    falkor_snapshot_free(snapshot);
}

static void test_contract_snapshot_health(void **state) {
    falkor_health health;
    (void)state;
    memset(&health, 0x5a, sizeof health);
    falkor_snapshot_health(NULL, &health);
    assert_int_equal(health.verdict, FALKOR_HEALTH_OK);
    assert_int_equal(health.reason_count, 0);
    falkor_snapshot *snapshot = snapshot_of(unopened);
    falkor_snapshot_health(snapshot, NULL);
    falkor_snapshot_health(snapshot, &health);
    assert_int_equal(health.verdict, FALKOR_HEALTH_CRITICAL);
    falkor_snapshot_free(snapshot);
}

static void test_contract_verdict_name(void **state) {
    (void)state;
    assert_string_equal(falkor_verdict_name(FALKOR_HEALTH_OK), "OK");
    assert_string_equal(falkor_verdict_name(FALKOR_HEALTH_WARNING), "WARNING");
    assert_string_equal(falkor_verdict_name(FALKOR_HEALTH_CRITICAL),
                        "CRITICAL");
    assert_string_equal(falkor_verdict_name((falkor_verdict)7), "unknown");
    assert_string_equal(falkor_verdict_name((falkor_verdict)-1), "unknown");
}

static bool write_all(void *ctx, const char *bytes, size_t length) {
    *(size_t *)ctx += length;
    return bytes != NULL;
}

static void test_contract_snapshot_write(void **state) {
    (void)state;
    size_t length = 0;
    const falkor_snapshot *some[2] = {snapshot_of(pool), NULL};
    assert_int_equal(falkor_snapshot_write(some, 1, FALKOR_FORMAT_JSON, NULL,
                                           NULL), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_write(some, 2, FALKOR_FORMAT_JSON,
                                           write_all, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_write(NULL, 1, FALKOR_FORMAT_JSON,
                                           write_all, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_write(some, 1, (falkor_format)99,
                                           write_all, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_snapshot_write(some, 1, (falkor_format)-1,
                                           write_all, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(length, 0);
    assert_int_equal(falkor_snapshot_write(some, 1, FALKOR_FORMAT_MEM,
                                           write_nothing, NULL),
                     FALKOR_ERR_IO);
    assert_int_equal(falkor_snapshot_write(NULL, 0, FALKOR_FORMAT_JSON,
                                           write_all, &length), FALKOR_OK);
    assert_int_equal(length, 3);        /* an empty array, a line's end */
    falkor_snapshot_free((falkor_snapshot *)(uintptr_t)some[0]);
}

static void test_contract_value_write_json(void **state) {
    falkor_value value = falkor_int(1);
    (void)state;
    assert_int_equal(falkor_value_write_json(&value, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_value_write_json(NULL, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_value_write_json(&value, write_nothing, NULL),
                     FALKOR_ERR_IO);
}

static void test_contract_result_to_json(void **state) {
    size_t length = 7;
    (void)state;
    falkor_result *result = two_by_two();
    assert_int_equal(falkor_result_to_json(result, NULL, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(length, 0);
    falkor_result_free(result);
}

static void test_contract_value_to_json(void **state) {
    falkor_value value = falkor_int(1);
    size_t length = 7;
    (void)state;
    assert_int_equal(falkor_value_to_json(&value, NULL, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(length, 0);
}

static void test_contract_property(void **state) {
    (void)state;
    falkor_result *result = serving_query(graph, "MATCH (n:N) RETURN n, 1",
                                          NULL);
    const falkor_value *node = falkor_result_value(result, 0, 0);
    assert_non_null(falkor_property(node, "k"));
    assert_null(falkor_property(node, NULL));
    assert_null(falkor_property(node, ""));
    assert_null(falkor_property(node, "none"));
    assert_null(falkor_property(NULL, "k"));
    assert_null(falkor_property(falkor_result_value(result, 0, 1), "k"));
    falkor_result_free(result);
}

/* ---- values: what is wrong with them the call says -------------------- */

static void refused_value(falkor_value value, const char *why) {
    falkor_result *result = STALE(falkor_result);
    REFUSED(falkor_query(graph, "RETURN $v", FALKOR_PARAMS({"v", value}),
                         &result, e));
    assert_null(result);
    falkor_query(graph, "RETURN $v", FALKOR_PARAMS({"v", value}), NULL, &error);
    test_assert_has(error.message, why);
}

static void is_null(falkor_value value) {
    assert_int_equal(value.type, FALKOR_NULL);
    assert_int_equal(value.length, 0);
    falkor_result *result = serving_query(graph, "RETURN $v IS NULL",
                                          FALKOR_PARAMS({"v", value}));
    assert_true(falkor_result_value(result, 0, 0)->as.boolean);
    falkor_result_free(result);
}

/* These three take nothing that could be wrong: any value of theirs is one. */
static void test_contract_null(void **state) {
    (void)state;
    is_null(falkor_null());
}

static void test_contract_bool(void **state) {
    (void)state;
    assert_true(falkor_bool(2).as.boolean);
    assert_false(falkor_bool(0).as.boolean);
}

static void test_contract_int(void **state) {
    (void)state;
    assert_int_equal(serving_integer(graph, "RETURN $v",
        FALKOR_PARAMS({"v", falkor_int(INT64_MIN)})), INT64_MIN);
}

static void test_contract_double(void **state) {
    (void)state;
    refused_value(falkor_double((double)NAN), "NaN");
    refused_value(falkor_double(-(double)INFINITY), "infinity");
}

static void test_contract_string(void **state) {
    (void)state;
    is_null(falkor_string(NULL));
    assert_int_equal(falkor_string("").length, 0);
}

static void test_contract_string_n(void **state) {
    (void)state;
    is_null(falkor_string_n(NULL, 3));
    refused_value(falkor_string_n("a\0b", 3), "NUL");
    refused_value(falkor_string_n("a", SIZE_MAX), "not a value");
}

static void test_contract_array(void **state) {
    falkor_value none = falkor_null();
    (void)state;
    is_null(falkor_array(NULL, 3));
    refused_value(falkor_array(&none, SIZE_MAX), "not a value");
    none.type = FALKOR_UNKNOWN;
    refused_value(falkor_array(&none, 1), "not a value");
}

static void test_contract_map(void **state) {
    falkor_entry entry = {NULL, falkor_null()};
    (void)state;
    is_null(falkor_map(NULL, 3));
    refused_value(falkor_map(&entry, 1), "NULL");
    refused_value(falkor_map(&entry, SIZE_MAX), "not a value");
    entry.key = "";
    refused_value(falkor_map(&entry, 1), "empty");
}

static void test_contract_vectorf32(void **state) {
    float floats[] = {1, NAN};
    (void)state;
    is_null(falkor_vectorf32(NULL, 3));
    refused_value(falkor_vectorf32(floats, 2), "NaN");
    refused_value(falkor_vectorf32(floats, SIZE_MAX), "not a value");
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_contract_status_name),
    cmocka_unit_test(test_contract_status_text),
    cmocka_unit_test(test_contract_now_ns),
    cmocka_unit_test(test_contract_log_event),
    cmocka_unit_test(test_contract_event_field),
    cmocka_unit_test(test_contract_type_name),
    cmocka_unit_test(test_contract_options_from_env),
    cmocka_unit_test(test_contract_pool_create),
    cmocka_unit_test(test_contract_pool_open),
    cmocka_unit_test(test_contract_pool_close),
    cmocka_unit_test(test_contract_pool_free),
    cmocka_unit_test(test_contract_pool_stats),
    cmocka_unit_test(test_contract_role_name),
    cmocka_unit_test(test_contract_pool_nodes),
    cmocka_unit_test(test_contract_snapshot_take_node),
    cmocka_unit_test(test_contract_pool_pause),
    cmocka_unit_test(test_contract_pool_resume),
    cmocka_unit_test(test_contract_pool_flush),
    cmocka_unit_test(test_contract_pool_drop_idle),
    cmocka_unit_test(test_contract_pool_shared),
    cmocka_unit_test(test_contract_acquire),
    cmocka_unit_test(test_contract_acquire_within),
    cmocka_unit_test(test_contract_acquire_at),
    cmocka_unit_test(test_contract_release),
    cmocka_unit_test(test_contract_conn_handle),
    cmocka_unit_test(test_contract_conn_mark_broken),
    cmocka_unit_test(test_contract_select_graph),
    cmocka_unit_test(test_contract_graph_free),
    cmocka_unit_test(test_contract_graph_name),
    cmocka_unit_test(test_contract_query),
    cmocka_unit_test(test_contract_ro_query),
    cmocka_unit_test(test_contract_query_with),
    cmocka_unit_test(test_contract_query_each),
    cmocka_unit_test(test_contract_cursor_open),
    cmocka_unit_test(test_contract_cursor_next),
    cmocka_unit_test(test_contract_cursor_result),
    cmocka_unit_test(test_contract_cursor_close),
    cmocka_unit_test(test_contract_pipeline),
    cmocka_unit_test(test_contract_command),
    cmocka_unit_test(test_contract_graph_delete),
    cmocka_unit_test(test_contract_graph_copy),
    cmocka_unit_test(test_contract_list_graphs),
    cmocka_unit_test(test_contract_memory_usage),
    cmocka_unit_test(test_contract_slowlog),
    cmocka_unit_test(test_contract_slowlog_reset),
    cmocka_unit_test(test_contract_config_get),
    cmocka_unit_test(test_contract_config_set),
    cmocka_unit_test(test_contract_info),
    cmocka_unit_test(test_contract_udf_load),
    cmocka_unit_test(test_contract_udf_list),
    cmocka_unit_test(test_contract_udf_delete),
    cmocka_unit_test(test_contract_udf_flush),
    cmocka_unit_test(test_contract_call_procedure),
    cmocka_unit_test(test_contract_explain),
    cmocka_unit_test(test_contract_profile),
    cmocka_unit_test(test_contract_plan_free),
    cmocka_unit_test(test_contract_index_create),
    cmocka_unit_test(test_contract_index_drop),
    cmocka_unit_test(test_contract_constraint_create),
    cmocka_unit_test(test_contract_constraint_drop),
    cmocka_unit_test(test_contract_indexes),
    cmocka_unit_test(test_contract_constraints),
    cmocka_unit_test(test_contract_result_rows),
    cmocka_unit_test(test_contract_result_columns),
    cmocka_unit_test(test_contract_result_column),
    cmocka_unit_test(test_contract_result_value),
    cmocka_unit_test(test_contract_result_get),
    cmocka_unit_test(test_contract_result_summary),
    cmocka_unit_test(test_contract_result_free),
    cmocka_unit_test(test_contract_result_write_json),
    cmocka_unit_test(test_contract_snapshot_take),
    cmocka_unit_test(test_contract_snapshot_free),
    cmocka_unit_test(test_contract_snapshot_ask_server),
    cmocka_unit_test(test_contract_snapshot_add),
    cmocka_unit_test(test_contract_snapshot_subtract),
    cmocka_unit_test(test_contract_snapshot_stats),
    cmocka_unit_test(test_contract_snapshot_latency),
    cmocka_unit_test(test_contract_snapshot_percentile),
    cmocka_unit_test(test_contract_snapshot_health),
    cmocka_unit_test(test_contract_verdict_name),
    cmocka_unit_test(test_contract_snapshot_write),
    cmocka_unit_test(test_contract_value_write_json),
    cmocka_unit_test(test_contract_result_to_json),
    cmocka_unit_test(test_contract_value_to_json),
    cmocka_unit_test(test_contract_property),
    cmocka_unit_test(test_contract_null),
    cmocka_unit_test(test_contract_bool),
    cmocka_unit_test(test_contract_int),
    cmocka_unit_test(test_contract_double),
    cmocka_unit_test(test_contract_string),
    cmocka_unit_test(test_contract_string_n),
    cmocka_unit_test(test_contract_array),
    cmocka_unit_test(test_contract_map),
    cmocka_unit_test(test_contract_vectorf32))
