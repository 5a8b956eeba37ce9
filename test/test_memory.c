/* What the library does where there is no memory: in every public function each
   call that asks for memory, a thread, a lock or a condition variable fails in
   its turn, alone and with all that come behind it (scarce.h). Each time the
   call ends with a status that says so, gives nothing back, keeps nothing, and
   leaves a pool that works and whose statistics add up. What hiredis 0.14 asks
   for itself is not in it; what hiredis 1.x asks for is. test/audit.sh wants
   every function of pool.h here. */
#include "scarce.h"
#include "serving.h"
#include <unistd.h>

static serving server;
static falkor_pool *pool;
static falkor_graph *graph;
static falkor_error error;
static falkor_options usual;            /* of the pools here */

/* What a call gave, freed behind it. */
static falkor_pool *made;
static falkor_conn *conn;
static falkor_result *table, *whole;
static falkor_cursor *cursor;
static falkor_plan *plan;
static falkor_snapshot *taken, *other;
#define REQUESTS 12
static falkor_request requests[REQUESTS];

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* ---- trying ------------------------------------------------------------ */

/* One thing to be tried, with what comes before and behind it, where there is
   no want. allowed: what it may end with, beside FALKOR_ERR_NOMEM and wanted. A
   dial that has no memory is a dial that failed. */
typedef struct row {
    const char *name;
    falkor_status (*run)(void);
    void (*before)(void), (*behind)(void);
    falkor_status wanted;               /* where nothing is missing */
    bool dials;                         /* FALKOR_ERR_CONNECT is allowed */
    bool manages;                       /* may do without what is missing */
    int least;                          /* calls that can fail, at least */
} row;

static void clean_up(void) {
    falkor_pool_free(made);
    falkor_result_free(table);
    falkor_result_free(whole);
    falkor_cursor_close(cursor);
    falkor_plan_free(plan);
    falkor_snapshot_free(taken);
    falkor_snapshot_free(other);
    if (conn)
        assert_int_equal(falkor_release(conn), FALKOR_OK);
    for (size_t i = 0; i < REQUESTS; i++)
        falkor_result_free(requests[i].result);
    memset(requests, 0, sizeof requests);
    made = NULL, conn = NULL, table = whole = NULL, cursor = NULL, plan = NULL;
    taken = other = NULL;
}

static bool gave_nothing(void) {
    bool nothing = !made && !conn && !table && !cursor && !plan && !taken;
    for (size_t i = 0; i < REQUESTS; i++)
        nothing = nothing && (!requests[i].error.status ||
                              !requests[i].result);
    return nothing;
}

static bool is_right(const row *r, falkor_status status, int failures) {
    if (status == r->wanted)
        return failures == 0 || r->manages;
    if (failures == 0 || (status != FALKOR_ERR_NOMEM &&
                          !(status == FALKOR_ERR_CONNECT && r->dials)))
        return false;
    bool said = strstr(error.message, "memory") ||
                strstr(error.message, "cannot start the pool's worker thread");
    return error.status == status && said &&
           !strstr(error.message, "SECRET") && gave_nothing();
}

static void pool_is_whole(const char *name) {
    falkor_stats stats;
    uint64_t ends = 0;
    if (!pool)
        return;
    assert_int_equal(serving_integer(graph, "RETURN 17", NULL), 17);
    falkor_pool_stats(pool, &stats);
    for (int i = 0; i < FALKOR_STATUS_SLOTS; i++)
        ends += stats.errors[i];
    if (stats.active || stats.waiting || stats.connecting || stats.closing ||
        stats.total != stats.idle || stats.acquires != stats.releases ||
        stats.queries != ends || stats.circuit != FALKOR_CIRCUIT_CLOSED)
        fail_msg("%s: %d active, %d waiting, %d connecting, %d closing, %d "
            "idle of %d, circuit %d", name, stats.active, stats.waiting,
            stats.connecting, stats.closing, stats.idle, stats.total,
            stats.circuit);
}

static int rows_tried, tries;

/* Tries it with the n-th call failing; says how many did. */
static int try_once(const row *r, int n, bool all) {
    memset(&error, 0, sizeof error);
    if (r->before)
        r->before();
    scarce_begin(SCARCE_MINE, n, all);
    falkor_status status = r->run();
    int failures = scarce_end();
    if (!is_right(r, status, failures))
        fail_msg("%s, call %d%s: %d failed: %s: %s", r->name, n,
            all ? " and all behind it" : "", failures,
            falkor_status_name(status), error.message);
    if (r->behind)
        r->behind();
    clean_up();
    pool_is_whole(r->name);
    tries += failures > 0;
    return failures;
}

static void try_row(const row *r) {
    for (int all = 0; all < 2; all++) {
        int n = 1;
        while (try_once(r, n, all))
            n++;
        if (n <= r->least)
            fail_msg("%s: only %d calls that can fail", r->name, n - 1);
        if (all)
            printf("%s: %d\n", r->name, n - 1);
    }
    rows_tried++;
}

static void try_rows(const row *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        try_row(&rows[i]);
}
#define TRY_ROWS(rows) try_rows(rows, COUNT(rows))

/* A function of one call, and the begin of its row. */
#define RUN(name, call) static falkor_status name(void) { return call; }
#define ROW(function) .name = #function, .run = function

/* ---- pools -------------------------------------------------------------- */

static const char *const schema[] = {"CREATE INDEX FOR (n:Indexed) ON (n.x)",
    "CONSTRAINT UNIQUE NODE Indexed PROPERTIES 1 x", NULL};

RUN(create, falkor_pool_create(&(falkor_options){.schema = schema,
    .url = "falkor://user:SECRET%21@localhost:1/graph?pool_max_size=3",
    .client_name = "client", .name = "name"}, &made, &error))
RUN(create_for_many, falkor_pool_create(&(falkor_options){.graph = "graph",
    .url = "falkor+cluster://user:SECRET%21@localhost:1,localhost:2"}, &made,
    &error))

/* Before any other pool: what is made once for the process is made here. */
static void test_memory_create(void **state) {
    (void)state;
    long before = scarce_live();
    const row rows[] = {{ROW(create), .least = 15},
                        {ROW(create_for_many), .least = 18}};
    TRY_ROWS(rows);
    assert_int_equal(scarce_live(), before);
}

static falkor_pool *opened;

static void make(void) {
    falkor_options options = usual;
    options.graph = "scarce";
    options.schema = schema;
    options.min_size = 2;
    falkor_pool_create(&options, &opened, NULL);
    assert_non_null(opened);
}

RUN(open_pool, falkor_pool_open(opened, &error))

static void opens_later(void) {
    falkor_stats stats;
    falkor_pool_stats(opened, &stats);
    assert_int_equal(stats.initialized, !error.status);
    assert_int_equal(stats.total, error.status ? 0 : 2);
    assert_int_equal(falkor_pool_open(opened, NULL), FALKOR_OK);
    falkor_pool_free(opened);
}

static char url[100];

RUN(share, falkor_pool_shared(url, &made, &error))

static void share_before(void) {
    assert_int_equal(falkor_pool_shared(url, &opened, NULL), FALKOR_OK);
}

static void give_back(void) {
    assert_true(!made || made == opened);
    falkor_pool_free(opened);
}

static falkor_status ask_environment(void) {
    falkor_options options = {.max_size = 3};
    falkor_status status = falkor_options_from_env(&options, &error);
    assert_int_equal(options.max_size, 3);
    assert_true(!status == (options.url != NULL));
    return status;
}

static falkor_status tell(const void *given) {
    if (given)
        return FALKOR_OK;
    error.status = FALKOR_ERR_NOMEM;
    strcpy(error.message, "out of memory");
    return FALKOR_ERR_NOMEM;
}

static falkor_status select_graph(void) {
    falkor_graph *selected = falkor_select_graph(pool, "another");
    falkor_graph_free(selected);
    return tell(selected);
}

static void test_memory_pools(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(open_pool), .before = make, .behind = opens_later, .dials = true,
         .least = 8},
        {ROW(share), .dials = true, .least = 15},
        {ROW(share), .before = share_before, .behind = give_back, .least = 2},
        {ROW(ask_environment), .least = 1},
        {ROW(select_graph), .least = 3},
    };
    setenv("FALKORDB_URL", url, 1);
    TRY_ROWS(rows);
    unsetenv("FALKORDB_URL");
}

/* ---- connections -------------------------------------------------------- */

static void drop_idle(void) {
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
}

RUN(acquire, falkor_acquire(pool, &conn, &error))
RUN(acquire_held, falkor_acquire_within(pool, 1, &conn, &error))
RUN(acquire_at, falkor_acquire_at(pool, -1, &conn, &error, __FILE__, 1))

static falkor_conn *held[2];

static void hold_all(void) {
    for (int i = 0; i < 2; i++)
        assert_int_equal(falkor_acquire(pool, &held[i], NULL), FALKOR_OK);
}

static void release_all(void) {
    for (int i = 0; i < 2; i++)
        assert_int_equal(falkor_release(held[i]), FALKOR_OK);
}

static void test_memory_connections(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(acquire), .before = drop_idle, .dials = true, .least = 1},
        {ROW(acquire_at), .before = drop_idle, .dials = true, .least = 1},
        {ROW(acquire_held), .before = hold_all, .behind = release_all,
         .wanted = FALKOR_ERR_POOL_TIMEOUT},
    };
    TRY_ROWS(rows);
}

/* ---- queries ------------------------------------------------------------ */

/* A graph whose names nobody knows yet. */
static void fresh(void) {
    falkor_graph_free(graph);
    graph = falkor_select_graph(pool, "scarce");
    assert_non_null(graph);
}

/* A result of every kind of value, deep ones, and many. */
static const char everything[] = "MATCH p = (a:A)-[e]->(b) UNWIND range(1, 100)"
    " AS i RETURN i, p, a, e, {m: [i, {k: null}]} AS m, vecf32([1, 2.5]) AS v,"
    " point({latitude: 1.25, longitude: -2}) AS o, date('2020-02-29') AS d,"
    " CASE i WHEN 1 THEN reduce(l = [{k: i}], x IN range(1, 50) | [l]) END AS "
    "deep";

static char text[200001];
static falkor_value numbers[500];

RUN(ask, falkor_query(graph, everything, NULL, &table, &error))
RUN(ask_ro, falkor_ro_query(graph, everything, NULL, &table, &error))
RUN(ask_little, falkor_query(graph, "RETURN 1", NULL, &table, &error))
RUN(ask_with, falkor_query_with(graph, &(falkor_call_options){
    .server_timeout_ms = 5000, .timeout_ms = 5000}, "RETURN $t, $n, $m",
    FALKOR_PARAMS({"t", falkor_string(text)},
        {"n", falkor_array(numbers, COUNT(numbers))},
        {"m", FALKOR_MAP_OF({"k", falkor_array(numbers, COUNT(numbers))})}),
    &table, &error))

/* Twice, for the first attempt may find no memory to dial. */
RUN(ask_again, falkor_query_with(graph, &(falkor_call_options){
    .max_retries = 2}, "RETURN 1", NULL, &table, &error))

static bool on_row(void *ctx, const falkor_result *one) {
    (void)ctx;
    return falkor_result_rows(one) == 1;
}

RUN(ask_each, falkor_query_each(graph, NULL, everything, NULL, on_row, NULL,
    &table, &error))
RUN(ask_each_ro, falkor_query_each(graph, &(falkor_call_options){
    .read_only = true}, everything, NULL, on_row, NULL, &table, &error))

static falkor_status read_rows(bool read_only) {
    const falkor_result *one;
    falkor_status status = falkor_cursor_open(graph, &(falkor_call_options){
        .read_only = read_only}, everything, NULL, &cursor, &error);
    if (status)
        return status;
    while (!(status = falkor_cursor_next(cursor, &one, &error)) && one)
        continue;
    assert_null(one);
    assert_non_null(falkor_cursor_result(cursor));
    falkor_cursor_close(cursor);
    cursor = NULL;
    return status;
}
RUN(read_cursor, read_rows(false))
RUN(read_cursor_ro, read_rows(true))

static char cypher[200];
static int created;

static void new_names(void) {
    fresh();
    created++;
    snprintf(cypher, sizeof cypher, "UNWIND range(1, 40) AS i CREATE "
        "(n:New%d {p%d: i}) RETURN n", created, created);
}

/* The names were read so long ago that the server has forgotten their mark. */
static void unmarked_names(void) {
    char other_text[40];
    new_names();
    for (int i = 0; i < 30; i++) {
        snprintf(other_text, sizeof other_text, "RETURN %d", i);
        serving_run(graph, other_text);
    }
}

RUN(write_new, falkor_query(graph, cypher, NULL, &table, &error))

/* What was written although the call failed may have been: it says so. */
static void says_what_ran(void) {
    char count[80], name[20];
    snprintf(name, sizeof name, "New%d", created);
    snprintf(count, sizeof count, "MATCH (n:%s) RETURN count(n)", name);
    int64_t found = serving_integer(graph, count, NULL);
    assert_true(found == 0 || found == 40);
    assert_true(found == 0 || !error.status || error.maybe_executed);
    if (error.status)
        return;
    assert_int_equal(found, 40);
    assert_string_equal(falkor_result_value(table, 39, 0)->as.node->labels[0],
                        name);
}

static void test_memory_queries(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(ask), .before = fresh, .least = 20},
        {ROW(ask), .least = 5},
        {ROW(ask_ro), .before = fresh, .least = 20},
        {ROW(ask_little), .before = drop_idle, .dials = true, .least = 3},
        {ROW(ask_with), .least = 8},
        {ROW(ask_again), .before = drop_idle, .dials = true, .manages = true,
         .least = 3},
        {ROW(ask_each), .before = fresh, .least = 20},
        {ROW(ask_each_ro), .before = fresh, .least = 10},
        {ROW(read_cursor), .before = fresh, .least = 20},
        {ROW(read_cursor_ro), .before = fresh, .least = 10},
        {ROW(write_new), .before = new_names, .behind = says_what_ran,
         .least = 20},
        {ROW(write_new), .before = unmarked_names, .behind = says_what_ran,
         .least = 20},
    };
    for (size_t i = 0; i < COUNT(numbers); i++)
        numbers[i] = i % 2 ? falkor_int((int64_t)i) : falkor_double(0.1);
    TRY_ROWS(rows);
}

/* ---- commands and pipelines --------------------------------------------- */

#define WORDS(...) COUNT(((const char *[]){__VA_ARGS__})), \
    (const char *[]){__VA_ARGS__}, NULL

RUN(command, falkor_command(pool, NULL, WORDS("ECHO", text), &table, &error))
RUN(command_in_resp3, falkor_command(pool, &(falkor_call_options){
    .conn = held[0]}, WORDS("CONFIG", "GET", "*"), &table, &error))

static void hold_in_resp3(void) {
    assert_int_equal(falkor_acquire(pool, &held[0], NULL), FALKOR_OK);
    assert_int_equal(falkor_command(pool, &(falkor_call_options){
        .conn = held[0]}, WORDS("HELLO", "3"), NULL, NULL), FALKOR_OK);
}

static void release_one(void) {
    assert_int_equal(falkor_release(held[0]), FALKOR_OK);
}

RUN(pipeline, falkor_pipeline(pool, NULL, requests, REQUESTS, &error))

static void prepare_large(void) {
    static const falkor_param large[] = {
        {"t", {FALKOR_STRING, sizeof text - 1, .as.string = text}}, {0}};
    for (size_t i = 0; i < REQUESTS; i++)
        requests[i] = (falkor_request){.graph = graph, .read_only = true,
            .cypher = "RETURN $t", .params = large};
}

/* Reads, writes of new names, and commands between them. */
static void prepare_mixed(void) {
    static const char *const ping[] = {"PING"};
    new_names();
    for (size_t i = 0; i < REQUESTS; i++)
        requests[i] = i % 4 == 3
            ? (falkor_request){.argc = 1, .argv = ping}
            : (falkor_request){.graph = graph, .cypher = i == 5 ? cypher
                : "MATCH (a:A) RETURN a", .read_only = i != 5};
}

/* Each request says for itself how it ended. */
static void each_says_what_ran(void) {
    char count[80];
    snprintf(count, sizeof count, "MATCH (n:New%d) RETURN count(n)", created);
    int64_t found = serving_integer(graph, count, NULL);
    for (size_t i = 0; i < REQUESTS; i++)
        assert_true(!requests[i].error.status == !!requests[i].result);
    assert_true(found == 40 || (found == 0 && requests[5].error.status));
    assert_true(found == 0 || !requests[5].error.status ||
                requests[5].error.maybe_executed);
}

static void test_memory_commands(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(command), .least = 3},
        {ROW(command_in_resp3), .before = hold_in_resp3,
         .behind = release_one, .least = 2},
        {ROW(pipeline), .before = prepare_mixed, .behind = each_says_what_ran,
         .least = 30},
        {ROW(pipeline), .before = prepare_large, .least = 20},
    };
    TRY_ROWS(rows);
}

/* ---- FalkorDB's commands ------------------------------------------------ */

RUN(explain, falkor_explain(graph, NULL, "MATCH (n:A) WHERE n.s = $t RETURN n",
    FALKOR_PARAMS({"t", falkor_string(text)}), &plan, &error))
RUN(profile, falkor_profile(graph, NULL, "MATCH (n:A) RETURN n", NULL, &plan,
    &error))
RUN(copy, falkor_graph_copy(graph, NULL, "scarce-copy", &error))
RUN(list_graphs, falkor_list_graphs(pool, NULL, &table, &error))
RUN(memory_usage, falkor_memory_usage(graph, NULL, 10, &table, &error))
RUN(slowlog, falkor_slowlog(graph, NULL, &table, &error))
RUN(slowlog_reset, falkor_slowlog_reset(graph, NULL, &error))
RUN(config_get, falkor_config_get(pool, NULL, "*", &table, &error))
RUN(config_set, falkor_config_set(pool, NULL, "TIMEOUT_DEFAULT", falkor_int(0),
    &error))
RUN(info, falkor_info(pool, NULL, NULL, &table, &error))

static const char function[] =
    "falkor.register('same', function(x) { return x; })";
RUN(udf_load, falkor_udf_load(pool, NULL, "scarce", function, true, &error))
RUN(udf_list, falkor_udf_list(pool, NULL, NULL, true, &table, &error))
RUN(udf_delete, falkor_udf_delete(pool, NULL, "scarce", &error))
RUN(udf_flush, falkor_udf_flush(pool, NULL, &error))

static falkor_graph *copied;

static falkor_status delete_copy(void) {
    return falkor_graph_delete(copied, NULL, &error);
}

static void no_copy(void) {
    falkor_graph_delete(copied, NULL, NULL);
}

static void a_copy(void) {
    no_copy();
    assert_int_equal(falkor_graph_copy(graph, NULL, "scarce-copy", NULL),
                     FALKOR_OK);
}

static void load(void) {
    assert_int_equal(falkor_udf_load(pool, NULL, "scarce", function, true,
                                     NULL), FALKOR_OK);
}

static void test_memory_typed_commands(void **state) {
    (void)state;
    copied = falkor_select_graph(pool, "scarce-copy");
    const row rows[] = {
        {ROW(explain), .least = 3}, {ROW(profile), .least = 2},
        {ROW(copy), .before = no_copy, .least = 1},
        {ROW(delete_copy), .before = a_copy, .least = 1},
        {ROW(list_graphs), .least = 1}, {ROW(memory_usage), .least = 1},
        {ROW(slowlog), .least = 1}, {ROW(slowlog_reset), .least = 1},
        {ROW(config_get), .least = 1}, {ROW(config_set), .least = 1},
        {ROW(info), .least = 1}, {ROW(udf_load), .least = 1},
        {ROW(udf_list), .before = load, .least = 1},
        {ROW(udf_delete), .before = load, .least = 1},
        {ROW(udf_flush), .before = load, .least = 1},
    };
    TRY_ROWS(rows);
    no_copy();
    falkor_graph_free(copied);
}

/* ---- statements, indexes, constraints ----------------------------------- */

static const falkor_index range = {.label = "B", .properties = LIST("x", "y"),
                                   .wait = true};
static const falkor_index words = {.kind = FALKOR_INDEX_FULLTEXT, .wait = true,
    .label = "B", .properties = LIST("s"), .stopwords = LIST("a", "the"),
    .weight = 2};
static const falkor_index more_words = {.kind = FALKOR_INDEX_FULLTEXT,
    .label = "B", .properties = LIST("s", "t"), .stopwords = LIST("a", "the"),
    .wait = true};
static const falkor_constraint unique = {.label = "B", .wait = true,
    .properties = LIST("x", "y")};

RUN(index_create, falkor_index_create(graph, NULL, &range, &error))
RUN(index_drop, falkor_index_drop(graph, NULL, &range, &error))
RUN(words_create, falkor_index_create(graph, NULL, &words, &error))
RUN(words_add, falkor_index_create(graph, NULL, &more_words, &error))
RUN(constraint_create, falkor_constraint_create(graph, NULL, &unique, &error))
RUN(constraint_drop, falkor_constraint_drop(graph, NULL, &unique, &error))
RUN(indexes, falkor_indexes(graph, NULL, &table, &error))
RUN(constraints, falkor_constraints(graph, NULL, &table, &error))
RUN(call_procedure, falkor_call_procedure(graph, NULL,
    "db.idx.fulltext.queryNodes", (const falkor_value[]){falkor_string("B"),
    falkor_string("word")}, 2, "node", &table, &error))

static void drop_all(void) {
    falkor_error ours;
    falkor_constraint_drop(graph, NULL, &unique, &ours);
    serving_ok(&ours);
    falkor_index_drop(graph, NULL, &range, &ours);
    serving_ok(&ours);
    falkor_index_drop(graph, NULL, &more_words, &ours);
    serving_ok(&ours);
}

static void make_all(void) {
    falkor_error ours;
    falkor_index_create(graph, NULL, &words, &ours);
    serving_ok(&ours);
    falkor_constraint_create(graph, NULL, &unique, &ours);
    serving_ok(&ours);
}

static void make_words(void) {
    drop_all();
    make_all();
}

static void make_range(void) {
    falkor_error ours;
    drop_all();
    falkor_index_create(graph, NULL, &range, &ours);
    serving_ok(&ours);
}

static void test_memory_indexes(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(index_create), .before = drop_all, .least = 3},
        {ROW(index_drop), .before = make_range, .least = 3},
        {ROW(words_create), .before = drop_all, .least = 3},
        {ROW(words_add), .before = make_words, .least = 6},
        {ROW(constraint_create), .before = drop_all, .least = 8},
        {ROW(constraint_drop), .before = make_all, .least = 2},
        {ROW(indexes), .before = make_all, .least = 1},
        {ROW(constraints), .least = 1},
        {ROW(call_procedure), .least = 2},
    };
    TRY_ROWS(rows);
    drop_all();
}

/* ---- texts and snapshots ------------------------------------------------ */

static bool write_away(void *ctx, const char *bytes, size_t length) {
    *(size_t *)ctx += length;
    return bytes != NULL;
}

static falkor_status of_json(falkor_status status, char *json,
                             size_t length) {
    if (json)
        assert_int_equal(strlen(json), length);
    free(json);
    error.status = status;
    snprintf(error.message, sizeof error.message, "%s",
             falkor_status_text(status));
    return status;
}

static falkor_status result_to_json(void) {
    char *json;
    size_t length;
    falkor_status status = falkor_result_to_json(whole, &json, &length);
    return of_json(status, json, length);
}

static falkor_status value_to_json(void) {
    char *json;
    size_t length;
    falkor_status status = falkor_value_to_json(
        falkor_result_get(whole, 0, "deep"), &json, &length);
    return of_json(status, json, length);
}

static falkor_status little_to_json(void) {
    char *json;
    size_t length;
    falkor_value value = falkor_int(1);
    falkor_status status = falkor_value_to_json(&value, &json, &length);
    return of_json(status, json, length);
}

static falkor_status write_json(void) {
    size_t sum = 0;
    return of_json(falkor_result_write_json(whole, write_away, &sum), NULL, 0);
}

static falkor_status value_write_json(void) {
    size_t sum = 0;
    return of_json(falkor_value_write_json(falkor_result_get(whole, 0, "deep"),
                                           write_away, &sum), NULL, 0);
}

static void read_whole(void) {
    whole = serving_query(graph, everything, NULL);
}

RUN(snapshot_take, falkor_snapshot_take(pool, &taken, &error))

static falkor_status snapshot_take_node(void) {
    const falkor_node_info node = {.pool = pool};
    return falkor_snapshot_take_node(&node, &taken, &error);
}

static falkor_status snapshot_add(void) {
    return falkor_snapshot_add(other, other, &error);
}

static falkor_status snapshot_ask_server(void) {
    return falkor_snapshot_ask_server(other, pool, &error);
}

static falkor_status snapshot_write(void) {
    falkor_status status = FALKOR_OK;
    size_t sum = 0;
    const falkor_snapshot *one[] = {other};
    for (int i = 0; i <= FALKOR_FORMAT_MEM && !status; i++)
        status = falkor_snapshot_write(one, 1, (falkor_format)i, write_away,
                                       &sum);
    return of_json(status, NULL, 0);
}

static void take_other(void) {
    assert_int_equal(falkor_snapshot_take(pool, &other, NULL), FALKOR_OK);
}

/* A sum has more to say than fits on a stack. */
static void take_many(void) {
    take_other();
    for (int i = 0; i < 8; i++)
        assert_int_equal(falkor_snapshot_add(other, other, NULL), FALKOR_OK);
}

static void test_memory_texts(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(result_to_json), .before = read_whole, .least = 6},
        {ROW(value_to_json), .before = read_whole, .least = 2},
        {ROW(little_to_json), .least = 1},
        {ROW(write_json), .before = read_whole, .least = 1},
        {ROW(value_write_json), .before = read_whole, .least = 1},
        {ROW(snapshot_take), .least = 3},
        {ROW(snapshot_take_node), .least = 3},
        {ROW(snapshot_add), .before = take_other, .least = 1},
        {ROW(snapshot_ask_server), .before = take_other, .least = 1},
        {ROW(snapshot_write), .before = take_many, .least = 10},
    };
    TRY_ROWS(rows);
}

/* ---- what needs no memory ----------------------------------------------- */

static void look_at_result(void) {
    assert_true(falkor_result_rows(whole) > 0);
    assert_string_equal(falkor_result_column(whole, 0), "i");
    assert_true(falkor_result_columns(whole) > 5);
    assert_non_null(falkor_result_value(whole, 0, 1));
    const falkor_value *node = falkor_result_get(whole, 0, "a");
    assert_non_null(falkor_property(node, "s"));
    assert_non_null(falkor_result_summary(whole));
    assert_string_equal(falkor_type_name(node->type), "node");
}

static void make_values(void) {
    static const float floats[] = {1, 2};
    const falkor_value values[] = {falkor_null(), falkor_bool(true),
        falkor_int(1), falkor_double(2.5), falkor_string("a"),
        falkor_string_n("b", 1), falkor_vectorf32(floats, 2)};
    const falkor_entry entry = {"k", falkor_array(values, COUNT(values))};
    assert_int_equal(falkor_map(&entry, 1).length, 1);
}

static void look_at_snapshot(void) {
    falkor_health health;
    falkor_snapshot_subtract(other, taken);
    falkor_snapshot_health(other, &health);
    assert_non_null(falkor_verdict_name(health.verdict));
    assert_non_null(falkor_snapshot_stats(other));
    falkor_snapshot_latency(other, FALKOR_LATENCY_QUERY);
    falkor_snapshot_percentile(other, FALKOR_LATENCY_QUERY, 50);
}

static void tell_event(void) {
    char field[20];
    const falkor_event event = {.name = "nothing", .message = "key=\"a b\""};
    assert_true(falkor_event_field(&event, "key", field, sizeof field));
    falkor_log_event(NULL, &event);
    assert_non_null(falkor_status_name(FALKOR_OK));
    assert_non_null(falkor_status_text(FALKOR_OK));
}

static void use_connections(void) {
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_OK);
    assert_null(falkor_conn_handle(conn));
    falkor_conn_mark_broken(conn);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    conn = NULL;
    assert_int_equal(falkor_pool_pause(pool), FALKOR_OK);
    assert_int_equal(falkor_pool_resume(pool), FALKOR_OK);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    falkor_graph *again = falkor_select_graph(pool, "scarce");
    assert_string_equal(falkor_graph_name(again), "scarce");
    falkor_graph_free(again);
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    falkor_node_info node;
    assert_int_equal(falkor_pool_nodes(pool, &node, 1), 1);
    assert_string_equal(falkor_role_name(node.role), "unknown");
}

/* All that ends, frees, looks or undoes works without a byte. */
static void test_memory_not_needed(void **state) {
    (void)state;
    read_whole();
    take_other();
    assert_int_equal(falkor_snapshot_take(pool, &taken, NULL), FALKOR_OK);
    plan = NULL;
    assert_int_equal(falkor_explain(graph, NULL, "RETURN 1", NULL, &plan,
                                    NULL), FALKOR_OK);
    assert_int_equal(falkor_cursor_open(graph, &(falkor_call_options){
        .read_only = true}, "UNWIND range(1, 9) AS i RETURN i", NULL, &cursor,
        NULL), FALKOR_OK);
    make();
    assert_int_equal(falkor_pool_open(opened, NULL), FALKOR_OK);
    serving_run(graph, "RETURN 1");     /* a connection lies there */
    scarce_begin(SCARCE_MINE, 1, true);
    int64_t now = falkor_now_ns();
    use_connections();
    look_at_result();
    make_values();
    look_at_snapshot();
    tell_event();
    clean_up();
    assert_int_equal(falkor_pool_close(opened, 1000), FALKOR_OK);
    falkor_pool_free(opened);
    assert_true(now <= falkor_now_ns());
    assert_int_equal(scarce_end(), 0);
    pool_is_whole("not needed");
}

/* ---- other threads, other processes ------------------------------------- */

static atomic_int told;

static void on_event(void *ctx, const falkor_event *event) {
    (void)ctx;
    atomic_fetch_add(&told, !strcmp(event->name, "connection_failed") &&
                     strstr(event->message, "memory"));
}

static falkor_stats stats_of(falkor_pool *of) {
    falkor_stats stats;
    falkor_pool_stats(of, &stats);
    return stats;
}

/* The worker's dials and checks: it tells, and tries again. */
static void test_memory_worker(void **state) {
    (void)state;
    falkor_options options = usual;
    options.on_event = on_event;
    options.min_size = 2;
    options.health_check_interval_ms = 10;
    options.retry_initial_delay_ms = options.retry_max_delay_ms = 1;
    falkor_pool *busy = serving_pool(&options);
    for (int n = 1; n <= 8; n++) {
        scarce_begin(SCARCE_OTHERS, n, n % 2);
        assert_int_equal(falkor_pool_drop_idle(busy), FALKOR_OK);
        TEST_EVENTUALLY(scarce_failures() > 0);
        scarce_end();
        TEST_EVENTUALLY(stats_of(busy).total == 2);
    }
    TEST_EVENTUALLY(stats_of(busy).idle == 2);
    assert_true(atomic_load(&told) > 0);
    assert_int_equal(stats_of(busy).circuit, FALKOR_CIRCUIT_CLOSED);
    falkor_pool_free(busy);
}

static long before_pool;

/* A child's first query dials, and starts a worker; where it cannot, the next
   one does. In the end the pool has taken along all that it had, from before
   the fork and from behind it, but for the parent's connection, which a child
   does not close. */
static void test_memory_child(void **state) {
    (void)state;
    const row rows[] = {
        {ROW(ask), .before = drop_idle, .dials = true, .manages = true,
         .least = 10},
        {ROW(create), .least = 10}};
    long connected = scarce_live();
    drop_idle();
    TEST_EVENTUALLY(stats_of(pool).total == 0);
    long forgotten = connected - scarce_live();
    serving_run(graph, "RETURN 1");
    pid_t child = test_fork();
    if (child == 0) {
        test_child_begins();
        TRY_ROWS(rows);
        falkor_pool_free(pool);
        if (scarce_live() != before_pool + forgotten)
            TEST_COMPLAIN("%ld blocks more than before, not %ld",
                          scarce_live() - before_pool, forgotten);
        test_child_ends();
    }
    test_await_child(child);
}

/* ---- all of it ---------------------------------------------------------- */

static int begin(void **state) {
    (void)state;
    memset(text, 't', sizeof text - 1);
    serving_start(&server, NULL);
    usual = serving_options(server.port);
    usual.max_size = 2;
    usual.min_size = usual.max_retries = -1;
    usual.health_check_interval_ms = usual.idle_timeout_ms = -1;
    usual.validate_after_ms = -1;
    usual.retry_initial_delay_ms = usual.retry_max_delay_ms = 1;
    usual.breaker_failures = 1;         /* it is not the server's fault */
    snprintf(url, sizeof url, "falkor://127.0.0.1:%d/scarce?pool_max_size=2&"
        "max_retries=0", server.port);
    return 0;
}

static int begin_pool(void **state) {
    (void)state;
    before_pool = scarce_live();
    pool = serving_pool(&usual);
    graph = falkor_select_graph(pool, "scarce");
    serving_run(graph, "MERGE (:A {s: 'x'})-[:R {w: -7}]->(:B {x: 1, y: 2})");
    return 0;
}

/* The last pool takes along all that there is. */
static int end_pool(void **state) {
    (void)state;
    falkor_pool_free(pool);
    pool = NULL;
    return scarce_live() - before_pool ? -1 : 0;
}

static int end(void **state) {
    (void)state;
    printf("note: in %d ways to call the library, %d times nothing was left at "
           "the n-th call that asks for it\n", rows_tried, tries);
    serving_stop(&server);
    return 0;
}

#define POOLED(test) cmocka_unit_test_setup_teardown(test, begin_pool, end_pool)
TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_memory_create),
    POOLED(test_memory_pools),
    POOLED(test_memory_connections),
    POOLED(test_memory_queries),
    POOLED(test_memory_commands),
    POOLED(test_memory_typed_commands),
    POOLED(test_memory_indexes),
    POOLED(test_memory_texts),
    POOLED(test_memory_not_needed),
    POOLED(test_memory_worker),
    POOLED(test_memory_child))
