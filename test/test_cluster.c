/* A pool for a cluster of real servers, three primaries with a replica each:
   every kind of call finds the node of its graph, also when slots move or a
   node dies. The slots themselves, and what servers may say of them, are
   test_topology.c's. */
#include "../internal.h"
#include "fleet.h"
#include <signal.h>

#define GRAPHS 16
#define PRIMARIES 3
#define NAME_SIZE 32
#define SEEDS_SIZE 200

static fleet servers;
static falkor_pool *pool;               /* with nothing but its seeds */
static falkor_graph *graphs[GRAPHS];    /* of it, on all nodes */

/* What the pools of this file have told, and what is to be done about the first
   query_retry: that is told by the thread that asks. */
static struct {
    atomic_int retries, failures, failed_dials;
    void (*act)(void);
} told;

static void note_event(void *ctx, const falkor_event *event) {
    (void)ctx;
    bool retry = strcmp(event->name, "query_retry") == 0;
    atomic_fetch_add(&told.retries, retry);
    atomic_fetch_add(&told.failures,
        strcmp(event->name, "query_failed_after_retries") == 0);
    atomic_fetch_add(&told.failed_dials,
        strcmp(event->name, "connection_failed") == 0);
    if (retry && told.act) {
        void (*act)(void) = told.act;
        told.act = NULL;
        act();
    }
}

static void forget_events(void) {
    atomic_store(&told.retries, 0);
    atomic_store(&told.failures, 0);
    atomic_store(&told.failed_dials, 0);
    told.act = NULL;
}

/* ---- pools ------------------------------------------------------------- */

/* "host:port" of a node. */
static const char *place_of(int node) {
    static char places[FLEET_NODES][NAME_SIZE];
    snprintf(places[node], NAME_SIZE, "%s:%d", servers.nodes[node].host,
             servers.nodes[node].port);
    return places[node];
}

static falkor_options options_at(const char *seeds) {
    return (falkor_options){.cluster = seeds, .min_size = 1,
        .retry_initial_delay_ms = 20, .retry_max_delay_ms = 400,
        .on_event = note_event};
}

/* Of all nodes: whichever the others were made to follow meanwhile. */
static falkor_options options_of_all(void) {
    static char seeds[SEEDS_SIZE];
    seeds[0] = '\0';
    for (int i = 0; i < FLEET_NODES; i++) {
        strcat(seeds, i ? "," : "");
        strcat(seeds, place_of(i));
    }
    return options_at(seeds);
}

static falkor_pool *pool_of_all(void) {
    falkor_options options = options_of_all();
    return serving_pool(&options);
}

/* The number of a node in the fleet. */
static int number_of(const falkor_node_info *node) {
    for (int i = 0; i < FLEET_NODES; i++)
        if (strcmp(node->address, place_of(i)) == 0)
            return i;
    return -1;
}

/* Whether the pool knows all six, and all slots. */
static bool is_whole(falkor_pool *of) {
    falkor_node_info nodes[FLEET_NODES + 2];
    int primaries = 0, replicas = 0, slots = 0, seen = 0;
    size_t count = falkor_pool_nodes(of, nodes, FLEET_NODES + 2);
    for (size_t i = 0; i < count && i < FLEET_NODES + 2; i++) {
        bool leads = nodes[i].role == FALKOR_ROLE_PRIMARY;
        primaries += leads && nodes[i].slots > 0 && nodes[i].well;
        replicas += nodes[i].role == FALKOR_ROLE_REPLICA &&
                    nodes[i].slots == 0 && nodes[i].well;
        slots += nodes[i].slots;
        if (number_of(&nodes[i]) >= 0)
            seen |= 1 << number_of(&nodes[i]);
    }
    return count == FLEET_NODES && seen == (1 << FLEET_NODES) - 1 &&
           primaries == PRIMARIES && replicas == PRIMARIES &&
           slots == FLEET_SLOTS;
}

/* The pool's own for a node of the fleet; its slots. */
static falkor_node_info info_of(falkor_pool *of, int node) {
    falkor_node_info nodes[FLEET_NODES + 2];
    size_t count = falkor_pool_nodes(of, nodes, FLEET_NODES + 2);
    for (size_t i = 0; i < count && i < FLEET_NODES + 2; i++)
        if (number_of(&nodes[i]) == node)
            return nodes[i];
    fail_msg("the pool does not know node %d", node);
    return nodes[0];
}

/* ---- servers ------------------------------------------------------------ */

static int owner_of(const char *key) {
    return fleet_owner(&servers, -1, fleet_slot(&servers, key));
}

/* The index-th primary. */
static int primary_number(int index) {
    for (int i = 0; i < FLEET_NODES; i++) {
        redisReply *role = fleet_ask(&servers, i, "ROLE");
        bool leads = role && role->elements == 3;
        freeReplyObject(role);
        if (leads && index-- == 0)
            return i;
    }
    fail_msg("there are not so many primaries");
    return -1;
}

/* A name that begins so and lives on this node. */
static const char *name_on(int node, const char *begin, char name[NAME_SIZE]) {
    for (int i = 0; i < 1000; i++) {
        snprintf(name, NAME_SIZE, "%s%d", begin, i);
        if (owner_of(name) == node)
            return name;
    }
    fail_msg("no name for node %d", node);
    return NULL;
}

static falkor_graph *graph_on(falkor_pool *of, int node, const char *begin) {
    char name[NAME_SIZE];
    falkor_graph *graph = falkor_select_graph(of, name_on(node, begin, name));
    assert_non_null(graph);
    return graph;
}

static void must_say(int node, const char *what, redisReply *reply) {
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail_msg("node %d, %s: %s", node, what,
                 reply ? reply->str : "no answer");
    freeReplyObject(reply);
}
#define TELL(node, ...) \
    must_say(node, #__VA_ARGS__, fleet_ask(&servers, node, __VA_ARGS__))

/* A number in "INFO section" of a node, from behind what is given up to ','. */
static long long told_by(int node, const char *section, const char *key) {
    redisReply *reply = fleet_ask(&servers, node, "INFO %s", section);
    assert_true(reply && reply->str);
    const char *at = strstr(reply->str, key);
    long long number = at ? strtoll(at + strlen(key), NULL, 10) : 0;
    freeReplyObject(reply);
    return number;
}

static long long reads_at(int node) {
    return told_by(node, "commandstats", "cmdstat_graph.RO_QUERY:calls=");
}

static long long moved_at(int node) {
    return told_by(node, "errorstats", "errorstat_MOVED:count=");
}

/* ---- calls ------------------------------------------------------------- */

static int64_t read_integer(falkor_graph *graph, const char *cypher) {
    falkor_result *result;
    falkor_error error;
    falkor_ro_query(graph, cypher, NULL, &result, &error);
    serving_ok(&error);
    const falkor_value *value = falkor_result_value(result, 0, 0);
    assert_non_null(value);
    assert_int_equal(value->type, FALKOR_INTEGER);
    int64_t integer = value->as.integer;
    falkor_result_free(result);
    return integer;
}

static void remove_graph(falkor_graph *graph) {
    falkor_error error;
    falkor_graph_delete(graph, NULL, &error);
    serving_ok(&error);
    falkor_graph_free(graph);
}

static const char *text_at(const falkor_result *result, size_t row,
                           const char *column) {
    const falkor_value *value = falkor_result_get(result, row, column);
    assert_non_null(value);
    assert_int_equal(value->type, FALKOR_STRING);
    return value->as.string;
}

/* How many rows have this text in the column. */
static int rows_with(const falkor_result *result, const char *column,
                     const char *text) {
    int count = 0;
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        count += strcmp(text_at(result, row, column), text) == 0;
    return count;
}

#define WORDS(...) .argv = (const char *[]){__VA_ARGS__},                      \
    .argc = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

/* A command whose reply is expected to be this text. */
static void expect_reply(falkor_pool *of, size_t argc, const char *const *argv,
                         const char *wanted) {
    falkor_result *reply;
    falkor_error error;
    falkor_command(of, NULL, argc, argv, NULL, &reply, &error);
    serving_ok(&error);
    assert_string_equal(text_at(reply, 0, "reply"), wanted);
    falkor_result_free(reply);
}
#define EXPECT(of, wanted, ...) expect_reply(of,                               \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                    \
    (const char *[]){__VA_ARGS__}, wanted)

/* ---- before and behind ------------------------------------------------- */

static int begin(void **state) {
    (void)state;
    char name[NAME_SIZE];
    fleet_start(&servers, FLEET_CLUSTER, NULL);
    pool = pool_of_all();
    for (int i = 0; i < GRAPHS; i++) {
        snprintf(name, sizeof name, "graph%d", i);
        graphs[i] = falkor_select_graph(pool, name);
        assert_non_null(graphs[i]);
        falkor_result_free(serving_query(graphs[i],
            "UNWIND range(1, 10) AS x CREATE (:A {x: x, name: $name})"
            "-[:T {w: x}]->(:B {text: 'some words', v: vecf32([x, 1.0])})",
            FALKOR_PARAMS({"name", falkor_string(name)})));
    }
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    fleet_stop(&servers);
    return 0;
}

/* Before each test. */
static int quiet(void **state) {
    (void)state;
    forget_events();
    test_forget_complaints();
    return 0;
}

/* ---- opening ------------------------------------------------------------ */

/* A URL with two hosts and a graph, and the same as options: all six nodes are
   known when the pool is open, three of them with all slots. */
static void test_cluster_opens_by_url_and_by_options(void **state) {
    (void)state;
    char url[200];
    snprintf(url, sizeof url, "falkor+cluster://%s,%s/graph3?pool_min_size=1",
             place_of(0), place_of(1));
    falkor_pool *by_url = serving_pool(&(falkor_options){.url = url});
    assert_true(is_whole(by_url));
    falkor_graph *graph = falkor_select_graph(by_url, NULL);
    assert_string_equal(falkor_graph_name(graph), "graph3");
    assert_int_equal(read_integer(graph, "MATCH (a:A) RETURN count(a)"), 10);
    falkor_pool_free(by_url);

    falkor_options options = options_of_all();
    options.graph = "graph4";
    falkor_pool *by_options = serving_pool(&options);
    assert_true(is_whole(by_options));
    graph = falkor_select_graph(by_options, NULL);
    assert_int_equal(read_integer(graph, "MATCH (a:A) RETURN count(a)"), 10);
    falkor_pool_free(by_options);
}

static void opens_from(const char *seeds) {
    falkor_options options = options_at(seeds);
    falkor_pool *opened = serving_pool(&options);
    assert_true(is_whole(opened));
    for (int i = 0; i < GRAPHS; i++) {
        falkor_graph *graph = falkor_select_graph(opened,
            falkor_graph_name(graphs[i]));
        assert_int_equal(read_integer(graph, "MATCH (a:A) RETURN count(a)"),
                         10);
    }
    falkor_pool_free(opened);
}

/* One seed is enough, be it a primary or a replica, and one that is dead does
   no harm. */
static void test_cluster_opens_from_any_seed(void **state) {
    (void)state;
    char seeds[SEEDS_SIZE];
    opens_from(place_of(1));
    opens_from(place_of(4));
    snprintf(seeds, sizeof seeds, "127.0.0.1:1,%s", place_of(2));
    opens_from(seeds);
    snprintf(seeds, sizeof seeds, "%s,127.0.0.1:1", place_of(5));
    opens_from(seeds);
}

/* Nobody answers, or it is no cluster: the error says so. */
static void test_cluster_opens_from_nobody(void **state) {
    (void)state;
    falkor_error error;
    falkor_pool *lost;
    falkor_options options = options_at("127.0.0.1:1,127.0.0.1:2");
    options.max_retries = -1;
    falkor_pool_create(&options, &lost, &error);
    serving_ok(&error);
    assert_int_equal(falkor_pool_open(lost, &error), FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "127.0.0.1:1,127.0.0.1:2");
    falkor_graph *graph = falkor_select_graph(lost, "g");
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, NULL, &error),
                     FALKOR_ERR_NOT_OPEN);
    falkor_pool_free(lost);
}

/* options.schema is run where options.graph is, and nowhere else. */
static void test_cluster_schema_is_run_where_the_graph_is(void **state) {
    (void)state;
    char name[NAME_SIZE];
    falkor_result *indexes;
    falkor_error error;
    for (int i = 0; i < PRIMARIES; i++) {
        falkor_options options = options_of_all();
        options.graph = name_on(i, "schema", name);
        options.schema = (const char *const []){
            "CREATE INDEX FOR (n:S) ON (n.x)",
            "CONSTRAINT UNIQUE NODE S PROPERTIES 1 x", NULL};
        for (int again = 0; again < 2; again++) {
            falkor_pool *opened = serving_pool(&options);
            falkor_graph *graph = falkor_select_graph(opened, NULL);
            falkor_indexes(graph, NULL, &indexes, &error);
            serving_ok(&error);
            assert_int_equal(rows_with(indexes, "label", "S"), 1);
            falkor_result_free(indexes);
            if (again)
                remove_graph(graph);
            falkor_pool_free(opened);
        }
    }
}

/* ---- graphs ------------------------------------------------------------ */

/* Frees the list. */
static void assert_lists_all(falkor_result *list) {
    for (int i = 0; i < GRAPHS; i++) {
        const char *name = falkor_graph_name(graphs[i]);
        if (rows_with(list, "graph", name) != 1)
            fail_msg("%s (node %d) is listed %d times among %zu", name,
                     owner_of(name), rows_with(list, "graph", name),
                     falkor_result_rows(list));
    }
    falkor_result_free(list);
}

/* FalkorDB 4.16.3 lists fewer than there are when slots have been moved. */
static void assert_lists_none_twice(falkor_result *list) {
    assert_true(falkor_result_rows(list) > 0);
    for (size_t row = 0; row < falkor_result_rows(list); row++)
        assert_int_equal(rows_with(list, "graph",
                                   text_at(list, row, "graph")), 1);
    falkor_result_free(list);
}

/* How many of the sixteen a node lists itself. */
static int listed_by(int node, int *seen) {
    redisReply *reply = fleet_ask(&servers, node, "GRAPH.LIST");
    assert_true(reply && reply->type == REDIS_REPLY_ARRAY);
    int count = 0;
    for (size_t k = 0; k < reply->elements; k++)
        for (int i = 0; i < GRAPHS; i++)
            if (strcmp(reply->element[k]->str,
                       falkor_graph_name(graphs[i])) == 0) {
                assert_int_equal(owner_of(reply->element[k]->str), node);
                seen[i]++;
                count++;
            }
    freeReplyObject(reply);
    return count;
}

/* By their names alone each is on the node that has its slot, each node has
   some, and the list of all has each once. */
static void test_cluster_graphs_are_spread_by_name(void **state) {
    (void)state;
    int seen[GRAPHS] = {0};
    falkor_result *list;
    falkor_error error;
    for (int i = 0; i < PRIMARIES; i++)
        assert_true(listed_by(primary_number(i), seen) > 0);
    falkor_list_graphs(pool, NULL, &list, &error);
    serving_ok(&error);
    assert_string_equal(falkor_result_column(list, 0), "graph");
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(seen[i], 1);
    assert_lists_all(list);
}

/* Nodes with names of labels and types, and its own name: no graph is taken for
   another. */
static void test_cluster_queries_every_graph(void **state) {
    (void)state;
    falkor_result *result;
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++) {
        assert_int_equal(serving_integer(graphs[i],
            "CREATE (:New {x: 1}) RETURN 1", NULL), 1);
        assert_int_equal(serving_integer(graphs[i],
            "MATCH (n:New) DELETE n RETURN count(n)", NULL), 1);
        falkor_ro_query(graphs[i], "MATCH p = (a:A {x: $x})-[:T]->(:B) "
            "RETURN a.name, p", FALKOR_PARAMS({"x", falkor_int(i % 10 + 1)}),
            &result, &error);
        serving_ok(&error);
        assert_int_equal(error.attempts, 1);
        assert_string_equal(text_at(result, 0, "a.name"),
                            falkor_graph_name(graphs[i]));
        const falkor_path *path = falkor_result_value(result, 0, 1)->as.path;
        assert_string_equal(path->nodes[1].labels[0], "B");
        assert_string_equal(path->edges[0].type, "T");
        falkor_result_free(result);
        assert_int_equal(falkor_ro_query(graphs[i], "CREATE (:A)", NULL, NULL,
                                         &error), FALKOR_ERR_QUERY);
        assert_int_equal(falkor_query(graphs[i], "RETURN 1 +", NULL, NULL,
                                      &error), FALKOR_ERR_QUERY);
    }
}

static void test_cluster_explains_and_profiles_every_graph(void **state) {
    (void)state;
    falkor_plan *plan;
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++) {
        falkor_explain(graphs[i], NULL, "MATCH (a:A) RETURN a", NULL, &plan,
                       &error);
        serving_ok(&error);
        assert_string_equal(plan->operators[0].name, "Results");
        falkor_plan_free(plan);
        falkor_profile(graphs[i], NULL, "MATCH (a:A) RETURN a", NULL, &plan,
                       &error);
        serving_ok(&error);
        assert_int_equal(plan->operators[0].records, 10);
        falkor_plan_free(plan);
    }
}

static bool add_row(void *ctx, const falkor_result *row) {
    *(int64_t *)ctx += falkor_result_value(row, 0, 0)->as.integer;
    return true;
}

/* Cursors over all of them at once, and falkor_query_each. */
static void test_cluster_reads_rows_of_every_graph(void **state) {
    (void)state;
    static const char rows[] = "MATCH (a:A) RETURN a.x";
    falkor_cursor *cursors[GRAPHS];
    const falkor_result *row;
    falkor_error error;
    int64_t sums[GRAPHS] = {0}, sum;
    for (int i = 0; i < GRAPHS; i++) {
        sum = 0;
        falkor_query_each(graphs[i], &(falkor_call_options){.read_only =
            i % 2 == 0}, rows, NULL, add_row, &sum, NULL, &error);
        serving_ok(&error);
        assert_int_equal(sum, 55);
        falkor_cursor_open(graphs[i], &(falkor_call_options){.read_only =
            i % 2 == 0}, rows, NULL, &cursors[i], &error);
        serving_ok(&error);
    }
    for (int step = 0; step <= 10; step++)
        for (int i = 0; i < GRAPHS; i++) {
            falkor_cursor_next(cursors[i], &row, &error);
            serving_ok(&error);
            assert_int_equal(row == NULL, step == 10);
            if (row)
                add_row(&sums[i], row);
        }
    for (int i = 0; i < GRAPHS; i++) {
        assert_int_equal(sums[i], 55);
        falkor_cursor_close(cursors[i]);
    }
}

/* ---- typed commands ----------------------------------------------------- */

static void test_cluster_looks_into_every_graph(void **state) {
    (void)state;
    falkor_result *result;
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++) {
        falkor_memory_usage(graphs[i], NULL, 0, &result, &error);
        serving_ok(&error);
        assert_non_null(falkor_property(falkor_result_get(result, 0,
            "amortized_node_attributes_by_label_sz_mb"), "A"));
        falkor_result_free(result);
        falkor_slowlog(graphs[i], NULL, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_columns(result), 5);
        falkor_result_free(result);
        falkor_slowlog_reset(graphs[i], NULL, &error);
        serving_ok(&error);
        falkor_slowlog(graphs[i], NULL, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(result), 0);
        falkor_result_free(result);
        falkor_call_procedure(graphs[i],
            &(falkor_call_options){.read_only = true}, "db.labels", NULL, 0,
            "label", &result, &error);
        serving_ok(&error);
        assert_int_equal(rows_with(result, "label", "B"), 1);
        falkor_result_free(result);
    }
}

/* To a name with a tag, so that the copy has the slot of its graph. */
static void test_cluster_copies_and_deletes_every_graph(void **state) {
    (void)state;
    char name[2 * NAME_SIZE];
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++) {
        snprintf(name, sizeof name, "{%s}copy", falkor_graph_name(graphs[i]));
        falkor_graph_copy(graphs[i], NULL, name, &error);
        serving_ok(&error);
        falkor_graph *copy = falkor_select_graph(pool, name);
        assert_int_equal(read_integer(copy, "MATCH (a:A) RETURN count(a)"),
                         10);
        falkor_graph_delete(copy, NULL, &error);
        serving_ok(&error);
        assert_int_equal(falkor_ro_query(copy, "RETURN 1", NULL, NULL,
                                         &error), FALKOR_ERR_QUERY);
        test_assert_has(error.message, "empty key");
        serving_run(copy, "CREATE (:Again)");
        remove_graph(copy);
    }
}

/* To another slot: the caller's mistake, with the way out, and neither graph's
   node hears of it. */
static void test_cluster_refuses_a_copy_to_another_slot(void **state) {
    (void)state;
    falkor_error error;
    long long before = 0, behind = 0;
    for (int i = 0; i < FLEET_NODES; i++)
        before += told_by(i, "commandstats", "cmdstat_graph.COPY:calls=");
    assert_int_equal(falkor_graph_copy(graphs[0], NULL, "elsewhere", &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "\"graph0\"");
    test_assert_has(error.message, "\"elsewhere\"");
    test_assert_has(error.message, "{tag}");
    assert_false(error.maybe_executed);
    assert_int_equal(falkor_command(pool, NULL, 3, (const char *[]){
        "graph.copyx", "graph0x", "elsewherex"}, (size_t[]){10, 6, 9}, NULL,
        &error), FALKOR_ERR_ARGUMENT);      /* no NUL where they end */
    test_assert_has(error.message, "\"graph0\" cannot be copied to "
                    "\"elsewhere\"");
    for (int i = 0; i < FLEET_NODES; i++)
        behind += told_by(i, "commandstats", "cmdstat_graph.COPY:calls=");
    assert_int_equal(behind, before);
}

static const char *const x_only[] = {"x", NULL}, *const text_only[] = {"text",
    NULL}, *const v_only[] = {"v", NULL};

static void make_index(falkor_graph *graph, const falkor_index *index,
                       bool made) {
    falkor_error error;
    if (made)
        falkor_index_create(graph, NULL, index, &error);
    else
        falkor_index_drop(graph, NULL, index, &error);
    serving_ok(&error);
}

/* Range, full-text and vector, waited for, used and dropped. */
static void test_cluster_indexes_every_graph(void **state) {
    (void)state;
    falkor_result *result;
    falkor_error error;
    const falkor_index indexes[] = {
        {.kind = FALKOR_INDEX_RANGE, .label = "A", .properties = x_only,
         .wait = true},
        {.kind = FALKOR_INDEX_FULLTEXT, .label = "B", .properties = text_only,
         .wait = true},
        {.kind = FALKOR_INDEX_VECTOR, .label = "B", .properties = v_only,
         .dimension = 2, .wait = true}};
    for (int i = 0; i < GRAPHS; i++) {
        for (int k = 0; k < 3; k++)
            make_index(graphs[i], &indexes[k], true);
        falkor_indexes(graphs[i], NULL, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(result), 2);
        falkor_result_free(result);
        falkor_call_procedure(graphs[i], NULL, "db.idx.fulltext.queryNodes",
            (const falkor_value[]){falkor_string("B"),
                                   falkor_string("words")}, 2, "node",
            &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(result), 10);
        falkor_result_free(result);
        for (int k = 0; k < 3; k++)
            make_index(graphs[i], &indexes[k], false);
    }
}

static void test_cluster_constrains_every_graph(void **state) {
    (void)state;
    falkor_result *result;
    falkor_error error;
    const falkor_constraint unique = {.kind = FALKOR_CONSTRAINT_UNIQUE,
        .label = "A", .properties = x_only, .wait = true};
    const falkor_index index = {.kind = FALKOR_INDEX_RANGE, .label = "A",
        .properties = x_only};
    for (int i = 0; i < GRAPHS; i++) {
        falkor_constraint_create(graphs[i], NULL, &unique, &error);
        serving_ok(&error);
        assert_int_equal(falkor_query(graphs[i], "CREATE (:A {x: 1})", NULL,
                                      NULL, &error), FALKOR_ERR_CONSTRAINT);
        falkor_constraints(graphs[i], NULL, &result, &error);
        serving_ok(&error);
        assert_string_equal(text_at(result, 0, "status"), "OPERATIONAL");
        falkor_result_free(result);
        falkor_constraint_drop(graphs[i], NULL, &unique, &error);
        serving_ok(&error);
        make_index(graphs[i], &index, false);
    }
}

/* ---- what every node is asked or told ----------------------------------- */

#define SOURCE "function f(x) { return x + 1; } falkor.register('f', f);"

static int libraries(const char *library) {
    falkor_result *list;
    falkor_error error;
    falkor_udf_list(pool, NULL, library, true, &list, &error);
    serving_ok(&error);
    int count = (int)falkor_result_rows(list);
    falkor_result_free(list);
    return count;
}

/* A library is for all graphs, wherever they are, and listed once. */
static void test_cluster_has_functions_for_every_graph(void **state) {
    (void)state;
    falkor_error error;
    falkor_udf_load(pool, NULL, "lib", SOURCE, false, &error);
    serving_ok(&error);
    falkor_udf_load(pool, &(falkor_call_options){.wait_replicas = 1}, "other",
                    SOURCE, true, &error);
    serving_ok(&error);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(serving_integer(graphs[i], "RETURN lib.f(41)", NULL),
                         42);
    assert_int_equal(libraries(NULL), 2);
    assert_int_equal(libraries("lib"), 1);
    falkor_udf_delete(pool, NULL, "lib", &error);
    serving_ok(&error);
    assert_int_equal(libraries(NULL), 1);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(falkor_query(graphs[i], "RETURN lib.f(41)", NULL,
                                      NULL, &error), FALKOR_ERR_QUERY);
    falkor_udf_flush(pool, NULL, &error);
    serving_ok(&error);
    assert_int_equal(libraries(NULL), 0);
}

/* One of them has the library already: the error says which, and whether one
   before it has it now. */
static void test_cluster_names_the_node_that_fails(void **state) {
    (void)state;
    falkor_error error;
    char named[NAME_SIZE + 8];
    int behind_others = 0;
    for (int i = 0; i < PRIMARIES; i++) {
        int node = primary_number(i);
        TELL(node, "GRAPH.UDF LOAD lib %s", SOURCE);
        assert_int_equal(libraries(NULL), 1);
        assert_int_equal(falkor_udf_load(pool, NULL, "lib", SOURCE, false,
                                         &error), FALKOR_ERR_QUERY);
        test_assert_has(error.message, "already registered");
        snprintf(named, sizeof named, "(node %s)", place_of(node));
        test_assert_has(error.message, named);
        behind_others += error.maybe_executed;
        falkor_udf_flush(pool, NULL, &error);
        serving_ok(&error);
    }
    assert_int_equal(behind_others, PRIMARIES - 1);
    assert_int_equal(falkor_config_set(pool, NULL, "NO_SUCH", falkor_int(1),
                                       &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "(node 127.0.0.");
}

static size_t setting_rows(const char *name, falkor_result **rows) {
    falkor_error error;
    falkor_config_get(pool, NULL, name, rows, &error);
    serving_ok(&error);
    return falkor_result_rows(*rows);
}

static void set_everywhere(int64_t size) {
    falkor_error error;
    falkor_config_set(pool, NULL, "RESULTSET_SIZE", falkor_int(size), &error);
    serving_ok(&error);
    for (int i = 0; i < FLEET_NODES; i++)
        assert_int_equal(fleet_setting(&servers, i, "RESULTSET_SIZE"), size);
}

/* A setting reaches primaries and replicas; where all agree it is one row, and
   one more where one of them differs. */
static void test_cluster_config_reaches_every_node(void **state) {
    (void)state;
    falkor_result *rows;
    set_everywhere(1234);
    assert_int_equal(setting_rows("RESULTSET_SIZE", &rows), 1);
    assert_int_equal(falkor_result_get(rows, 0, "value")->as.integer, 1234);
    falkor_result_free(rows);
    for (int i = 0; i < FLEET_NODES; i++) {
        TELL(i, "GRAPH.CONFIG SET RESULTSET_SIZE 77");
        assert_int_equal(setting_rows("RESULTSET_SIZE", &rows), 2);
        falkor_result_free(rows);
        set_everywhere(1234);
    }
    set_everywhere(-1);
    setting_rows(NULL, &rows);          /* each has a folder of its own */
    assert_int_equal(rows_with(rows, "name", "IMPORT_FOLDER"), FLEET_NODES);
    assert_int_equal(rows_with(rows, "name", "RESULTSET_SIZE"), 1);
    falkor_result_free(rows);
}

#define SLOW "UNWIND range(1, 1200) AS x UNWIND range(1, 1200) AS y " \
             "WITH x * y AS z RETURN count(z)"

static atomic_bool enough;

static void *ask_slowly(void *argument) {
    falkor_graph *graph = *(falkor_graph **)argument;
    falkor_error error;
    while (!atomic_load(&enough)) {
        falkor_ro_query(graph, SLOW, NULL, NULL, &error);
        TEST_CHECK(error.status == FALKOR_OK);
    }
    return NULL;
}

static bool runs_on(const falkor_result *info, const char *graph) {
    for (size_t row = 0; row < falkor_result_rows(info); row++) {
        const falkor_value *of = falkor_result_get(info, row, "graph");
        if (of->type == FALKOR_STRING && strcmp(of->as.string, graph) == 0)
            return true;
    }
    return false;
}

/* Asks until one answer has a query of each; complains when none has. */
static void await_running(falkor_graph *const *busy, const char *section) {
    falkor_result *info;
    falkor_error error = {.status = FALKOR_OK};
    bool all = false;
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!all && !error.status && test_now_ms() < until) {
        falkor_info(pool, NULL, section, &info, &error);
        all = !error.status;
        for (int i = 0; i < PRIMARIES && all; i++)
            all = runs_on(info, falkor_graph_name(busy[i]));
        falkor_result_free(info);
    }
    if (!all)
        TEST_COMPLAIN("section %s: %s", section ? section : "none",
                      error.status ? error.message : "some are not there");
}

/* What runs on each node stands in one table, with a section and without. */
static void test_cluster_info_is_of_every_primary(void **state) {
    (void)state;
    falkor_graph *busy[PRIMARIES];
    for (int i = 0; i < PRIMARIES; i++) {
        busy[i] = graph_on(pool, primary_number(i), "busy");
        serving_run(busy[i], "RETURN 1");
    }
    atomic_store(&enough, false);
    test_threads threads = test_start(ask_slowly, busy, sizeof *busy,
                                      PRIMARIES);
    await_running(busy, NULL);
    await_running(busy, "RunningQueries");
    atomic_store(&enough, true);
    test_join(&threads);
    test_no_complaints();
    for (int i = 0; i < PRIMARIES; i++)
        remove_graph(busy[i]);
}

/* ---- pipelines --------------------------------------------------------- */

/* A counter in each graph, many times in turns: what each request returns is
   its own, and the order within a graph is kept. */
static void test_cluster_pipeline_keeps_the_order_of_each_graph(void **state) {
    (void)state;
    enum { TURNS = 20, COUNT = GRAPHS * TURNS };
    static falkor_request all[COUNT];
    falkor_error error;
    for (int i = 0; i < COUNT; i++)
        all[i] = (falkor_request){.graph = graphs[i % GRAPHS],
            .cypher = "MERGE (c:Count) SET c.n = coalesce(c.n, 0) + 1 "
                      "RETURN c.n, $i",
            .params = calloc(2, sizeof(falkor_param))};
    for (int i = 0; i < COUNT; i++) {
        falkor_param *param = (falkor_param *)(uintptr_t)all[i].params;
        assert_non_null(param);
        *param = (falkor_param){"i", falkor_int(i)};
    }
    falkor_pipeline(pool, NULL, all, COUNT, &error);
    serving_ok(&error);
    for (int i = 0; i < COUNT; i++) {
        serving_ok(&all[i].error);
        assert_int_equal(all[i].error.attempts, 1);
        assert_int_equal(serving_integer_of(&all[i]), i / GRAPHS + 1);
        assert_int_equal(falkor_result_value(all[i].result, 0, 1)->as.integer,
                         i);
        free((void *)(uintptr_t)all[i].params);
    }
    serving_free_results(all, COUNT);
    for (int i = 0; i < GRAPHS; i++)
        serving_run(graphs[i], "MATCH (c:Count) DELETE c");
}

/* Errors of single requests stay theirs, on whatever node; commands with and
   without keys between queries that read and that write. */
static void test_cluster_pipeline_of_queries_and_commands(void **state) {
    (void)state;
    falkor_error error;
    falkor_request all[] = {
        {.graph = graphs[0], .cypher = "RETURN 1"},
        {WORDS("SET", "pipe1", "one")},
        {.graph = graphs[1], .cypher = "RETURN"},
        {WORDS("SET", "pipe2", "two")},
        {.graph = graphs[2], .cypher = "RETURN 3", .read_only = true},
        {WORDS("PING")},
        {WORDS("LPUSH", "pipe1", "x")},
        {WORDS("GET", "pipe2")},
        {.graph = graphs[3], .cypher = "RETURN 1 / 0"},
        {WORDS("EVAL", "return redis.call('GET', KEYS[1])", "1", "pipe1")},
        {.graph = graphs[4], .cypher = "RETURN 11"},
        {.graph = graphs[5], .cypher = "RETURN 12", .read_only = true},
        {WORDS("DEL", "pipe1")}, {WORDS("DEL", "pipe2")}};
    enum { COUNT = sizeof all / sizeof *all };
    assert_int_equal(falkor_pipeline(pool, NULL, all, COUNT, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "requests[2] of 14: ");
    assert_false(error.maybe_executed);
    for (int i = 0; i < COUNT; i++) {
        bool bad = i == 2 || i == 6 || i == 8;
        assert_int_equal(all[i].error.status, bad ? FALKOR_ERR_QUERY
                                                  : FALKOR_OK);
        assert_int_equal(all[i].result == NULL, bad);
    }
    test_assert_has(all[6].error.message, "WRONGTYPE");
    assert_int_equal(serving_integer_of(&all[0]), 1);
    assert_int_equal(serving_integer_of(&all[4]), 3);
    assert_string_equal(text_at(all[5].result, 0, "reply"), "PONG");
    assert_string_equal(text_at(all[7].result, 0, "reply"), "two");
    assert_string_equal(text_at(all[9].result, 0, "reply"), "one");
    assert_int_equal(serving_integer_of(&all[10]), 11);
    assert_int_equal(serving_integer_of(&all[11]), 12);
    assert_int_equal(serving_integer_of(&all[12]), 1);
    serving_free_results(all, COUNT);
}

static int64_t nodes_in(falkor_graph *graph, const char *label) {
    char query[64];
    snprintf(query, sizeof query, "MATCH (n:%s) RETURN count(n)", label);
    return read_integer(graph, query);
}

/* Whatever the last request has that cannot be sent, nothing is: to no node. */
static void test_cluster_pipeline_sends_nothing_when_one_is_bad(void **state) {
    (void)state;
    falkor_error error;
    falkor_pool *other = pool_of_all();
    falkor_request first = {.graph = graphs[0], .cypher = "CREATE (:Sent)"};
    const falkor_request bad[] = {
        {.graph = falkor_select_graph(other, "graph1"), .cypher = "RETURN 1"},
        {.graph = graphs[1]},
        {.graph = graphs[1], .cypher = "RETURN $x",
         .params = FALKOR_PARAMS({"x", falkor_double(1e308 * 10)})},
        {.graph = graphs[1], .cypher = "RETURN 1", .server_timeout_ms = -5},
        {.argc = 0},
        {.argc = 1, .argv = (const char *const []){NULL}},
        {.argc = 2, .argv = (const char *const []){"GET", NULL}},
        {WORDS("SUBSCRIBE", "graph1")}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        for (int i = 1; i < GRAPHS; i += GRAPHS - 2) {
            falkor_request all[] = {first, {.graph = graphs[i],
                .cypher = "CREATE (:Sent)"}, bad[k]};
            falkor_pipeline(pool, NULL, all, 3, &error);
            bool told_all = error.status == FALKOR_ERR_ARGUMENT;
            for (int r = 0; r < 3; r++)
                told_all = told_all && !all[r].result &&
                    all[r].error.status == FALKOR_ERR_ARGUMENT;
            serving_free_results(all, 3);
            if (!told_all || nodes_in(graphs[0], "Sent") ||
                nodes_in(graphs[i], "Sent"))
                TEST_COMPLAIN("bad[%zu] with graph%d: %s %s", k, i,
                    falkor_status_name(error.status), error.message);
            serving_run(graphs[0], "MATCH (s:Sent) DELETE s");
            serving_run(graphs[i], "MATCH (s:Sent) DELETE s");
        }
    test_no_complaints();
    falkor_pool_free(other);
}

/* One request is slow: the time is over for all that are behind it. */
static void test_cluster_pipeline_ends_at_its_timeout(void **state) {
    (void)state;
    falkor_request all[GRAPHS + 1] = {
        {.graph = graphs[0], .cypher = SLOW " + 0", .read_only = true}};
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++)
        all[i + 1] = (falkor_request){.graph = graphs[i],
            .cypher = "RETURN 1", .read_only = true};
    int64_t start = test_now_ms();
    assert_int_equal(falkor_pipeline(pool,
        &(falkor_call_options){.timeout_ms = 60}, all, GRAPHS + 1, &error),
        FALKOR_ERR_TIMEOUT);
    assert_true(test_now_ms() - start < TEST_PATIENCE_MS / 4);
    assert_int_equal(all[0].error.status, FALKOR_ERR_TIMEOUT);
    test_assert_has(error.message, "requests[0] of 17");
    for (int i = 1; i <= GRAPHS; i++)
        assert_int_equal(all[i].error.status == FALKOR_OK,
                         all[i].result != NULL);
    serving_free_results(all, GRAPHS + 1);
}

/* One node gives no connection: that is the end of its requests only. */
static void test_cluster_pipeline_goes_on_without_a_node(void **state) {
    (void)state;
    falkor_error error;
    for (int p = 0; p < PRIMARIES; p++) {
        falkor_request all[GRAPHS];
        int down = primary_number(p);
        for (int i = 0; i < GRAPHS; i++)
            all[i] = (falkor_request){.graph = graphs[i],
                                      .cypher = "RETURN 1"};
        falkor_pool_pause(info_of(pool, down).pool);
        assert_int_equal(falkor_pipeline(pool,
            &(falkor_call_options){.timeout_ms = 400, .max_retries = -1}, all,
            GRAPHS, &error), FALKOR_ERR_POOL_TIMEOUT);
        falkor_pool_resume(info_of(pool, down).pool);
        for (int i = 0; i < GRAPHS; i++) {
            bool there = owner_of(falkor_graph_name(graphs[i])) == down;
            if (there)
                assert_int_equal(all[i].error.status, FALKOR_ERR_POOL_TIMEOUT);
            if (!all[i].error.status)
                assert_int_equal(serving_integer_of(&all[i]), 1);
            else
                assert_null(all[i].result);
        }
        serving_free_results(all, GRAPHS);
    }
}

/* A write that a node has not answered ends the whole, for what is behind it
   must not run; nor may it look as if it had. */
static void test_cluster_pipeline_in_doubt_ends(void **state) {
    (void)state;
    falkor_options options = options_of_all();
    options.socket_timeout_ms = 150;
    falkor_pool *hasty = serving_pool(&options);
    int silent = primary_number(0), other = primary_number(1);
    falkor_graph *first = graph_on(hasty, silent, "doubt"),
                 *second = graph_on(hasty, other, "doubt");
    falkor_error error;
    serving_run(first, "CREATE (:Was)");
    serving_run(second, "CREATE (:Was)");
    falkor_request all[] = {{.graph = first, .cypher = "CREATE (:Sent)"},
                            {.graph = second, .cypher = "CREATE (:Sent)"}};
    fleet_kill(&servers, silent, SIGSTOP);
    falkor_status status = falkor_pipeline(hasty, NULL, all, 2, &error);
    fleet_kill(&servers, silent, SIGCONT);
    assert_int_equal(status, FALKOR_ERR_TIMEOUT);
    assert_true(error.maybe_executed);
    assert_true(all[0].error.maybe_executed);
    assert_false(all[1].error.maybe_executed);
    bool ran = nodes_in(second, "Sent") == 1;
    assert_int_equal(ran, all[1].result != NULL);
    assert_int_equal(ran, all[1].error.status == FALKOR_OK);
    serving_free_results(all, 2);
    remove_graph(first);
    remove_graph(second);
    falkor_pool_free(hasty);
}

/* No node answers: a call ends when it has had a connection's and a query's
   time, however many nodes it is for. */
static void test_cluster_calls_for_all_nodes_keep_their_time(void **state) {
    (void)state;
    enum { WAIT_MS = 50, USE_MS = 250, SLACK_MS = 250 };
    falkor_options options = options_of_all();
    options.pool_timeout_ms = WAIT_MS;
    options.socket_timeout_ms = USE_MS;
    options.max_retries = -1;
    options.validate_after_ms = -1;
    falkor_pool *hasty = serving_pool(&options);
    falkor_request all[GRAPHS];
    falkor_error error;
    falkor_status status[2];
    int64_t took_ms[2];
    int primaries[PRIMARIES];
    for (int i = 0; i < PRIMARIES; i++)
        primaries[i] = primary_number(i);
    for (int i = 0; i < GRAPHS; i++)
        all[i] = (falkor_request){.graph = falkor_select_graph(hasty,
            falkor_graph_name(graphs[i])), .cypher = "RETURN 1",
            .read_only = true};
    falkor_pipeline(hasty, NULL, all, GRAPHS, &error);
    serving_ok(&error);
    serving_free_results(all, GRAPHS);
    for (int call = 0; call < 2; call++) {
        for (int i = 0; i < PRIMARIES; i++)
            fleet_kill(&servers, primaries[i], SIGSTOP);
        int64_t start = test_now_ms();
        status[call] = call ? falkor_list_graphs(hasty, NULL, NULL, &error)
            : falkor_pipeline(hasty, NULL, all, GRAPHS, &error);
        took_ms[call] = test_now_ms() - start;
        for (int i = 0; i < PRIMARIES; i++)
            fleet_kill(&servers, primaries[i], SIGCONT);
        test_pause_ms(300);             /* so that they see each other again */
    }
    serving_free_results(all, GRAPHS);
    falkor_pool_free(hasty);
    for (int call = 0; call < 2; call++) {
        assert_int_not_equal(status[call], FALKOR_OK);
        if (took_ms[call] > WAIT_MS + USE_MS + SLACK_MS)
            fail_msg("call %d took %lld ms", call, (long long)took_ms[call]);
    }
    fleet_await_settled(&servers);
}

/* MULTI without a key must not begin a transaction on one node while what is
   between runs on another: it is one, or it is refused. */
static void test_cluster_pipeline_transaction_is_one_or_refused(void **state) {
    (void)state;
    char key[NAME_SIZE];
    falkor_error error;
    falkor_result *reply;
    for (int i = 0; i < PRIMARIES; i++) {
        name_on(primary_number(i), "multi", key);
        falkor_request all[] = {{WORDS("MULTI")}, {WORDS("SET", key, "x")},
                                {WORDS("EXEC")}};
        if (!falkor_pipeline(pool, NULL, all, 3, &error)) {
            assert_string_equal(text_at(all[1].result, 0, "reply"), "QUEUED");
            assert_int_equal(falkor_result_value(all[2].result, 0, 0)->length,
                             1);
        } else {
            assert_int_equal(error.status, FALKOR_ERR_ARGUMENT);
            falkor_command(pool, NULL, 2, (const char *[]){"EXISTS", key},
                           NULL, &reply, &error);
            serving_ok(&error);
            assert_int_equal(falkor_result_value(reply, 0, 0)->as.integer, 0);
            falkor_result_free(reply);
        }
        serving_free_results(all, 3);
        falkor_command(pool, NULL, 2, (const char *[]){"DEL", key}, NULL,
                       NULL, NULL);
    }
}

/* ---- held connections --------------------------------------------------- */

static falkor_pool *pool_for(const char *graph) {
    falkor_options options = options_of_all();
    options.graph = graph;
    return serving_pool(&options);
}

static void assert_speaks_to(falkor_pool *of, falkor_conn *conn, int node) {
    falkor_result *id;
    falkor_error error;
    redisReply *own = fleet_ask(&servers, node, "CLUSTER MYID");
    falkor_command(of, &(falkor_call_options){.conn = conn}, 2,
        (const char *[]){"CLUSTER", "MYID"}, NULL, &id, &error);
    serving_ok(&error);
    assert_string_equal(text_at(id, 0, "reply"), own->str);
    falkor_result_free(id);
    freeReplyObject(own);
}

/* falkor_acquire gives a connection to the node of options.graph, and a
   transaction there is one. */
static void test_cluster_holds_a_connection_to_its_graphs_node(void **state) {
    (void)state;
    char name[NAME_SIZE];
    falkor_conn *conn;
    falkor_result *reply;
    falkor_error error;
    for (int i = 0; i < PRIMARIES; i++) {
        int node = primary_number(i);
        falkor_pool *own = pool_for(name_on(node, "held", name));
        falkor_graph *graph = falkor_select_graph(own, NULL);
        falkor_acquire(own, &conn, &error);
        serving_ok(&error);
        assert_null(falkor_conn_handle(conn));
        assert_speaks_to(own, conn, node);
        falkor_call_options held = {.conn = conn};
        falkor_command(own, &held, 1, (const char *[]){"MULTI"}, NULL, NULL,
                       &error);
        serving_ok(&error);
        for (int k = 0; k < 2; k++) {
            falkor_command(own, &held, 3, (const char *[]){"GRAPH.QUERY", name,
                "CREATE (:Held)"}, NULL, &reply, &error);
            serving_ok(&error);
            assert_string_equal(text_at(reply, 0, "reply"), "QUEUED");
            falkor_result_free(reply);
        }
        assert_int_equal(falkor_query_with(graph, &held, "RETURN 1", NULL,
                                           NULL, &error), FALKOR_ERR_ARGUMENT);
        falkor_command(own, &held, 1, (const char *[]){"EXEC"}, NULL, &reply,
                       &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_value(reply, 0, 0)->length, 2);
        falkor_result_free(reply);
        assert_int_equal(falkor_release(conn), FALKOR_OK);
        assert_int_equal(falkor_release(conn), FALKOR_ERR_ARGUMENT);
        assert_int_equal(nodes_in(graph, "Held"), 2);
        remove_graph(graph);
        falkor_pool_free(own);
    }
}

/* There only what is on its node works; all else is FALKOR_ERR_MOVED, once. */
static void test_cluster_held_connection_knows_its_node_only(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    falkor_pool *own = pool_for("graph5");
    int home = owner_of("graph5");
    falkor_request all[GRAPHS];
    falkor_acquire(own, &conn, &error);
    serving_ok(&error);
    falkor_call_options held = {.conn = conn};
    for (int i = 0; i < GRAPHS; i++) {
        falkor_graph *graph = falkor_select_graph(own,
            falkor_graph_name(graphs[i]));
        bool here = owner_of(falkor_graph_name(graphs[i])) == home;
        all[i] = (falkor_request){.graph = graph,
            .cypher = "MATCH (a:A) RETURN count(a)", .read_only = i % 2 == 0};
        assert_int_equal(falkor_query_with(graph, &held,
            "MATCH (a:A) RETURN count(a)", NULL, NULL, &error),
            here ? FALKOR_OK : FALKOR_ERR_MOVED);
        assert_int_equal(error.attempts, 1);
        assert_false(error.maybe_executed);
    }
    assert_int_not_equal(falkor_pipeline(own, &held, all, GRAPHS, &error),
                         FALKOR_OK);
    for (int i = 0; i < GRAPHS; i++) {
        bool here = owner_of(falkor_graph_name(graphs[i])) == home;
        assert_int_equal(all[i].error.status, here ? FALKOR_OK
                                                   : FALKOR_ERR_MOVED);
        if (here)
            assert_int_equal(serving_integer_of(&all[i]), 10);
    }
    serving_free_results(all, GRAPHS);
    assert_int_equal(falkor_query_with(graphs[5], &held, "RETURN 1", NULL,
                                       NULL, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_pool_free(own);
}

/* It may outlive its pool. */
static void test_cluster_held_connection_outlives_the_pool(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    falkor_pool *own = pool_for("graph6");
    falkor_acquire(own, &conn, &error);
    serving_ok(&error);
    assert_int_equal(falkor_pool_close(own, 0), FALKOR_ERR_TIMEOUT);
    falkor_pool_free(own);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

/* ---- slots that move ---------------------------------------------------- */

/* Moves the slot of a key to the next primary, behind the pool's back. */
static int move_on(const char *key) {
    int from = owner_of(key), to = primary_number(0);
    for (int i = 0; i < PRIMARIES; i++)
        if (primary_number(i) == from)
            to = primary_number((i + 1) % PRIMARIES);
    fleet_move_slot(&servers, fleet_slot(&servers, key), from, to);
    return from;
}

/* Whether the pool's map has as many slots for each node as there are. */
static bool map_is_true(void) {
    int slots[FLEET_NODES] = {0};
    redisReply *ranges = fleet_ask(&servers, primary_number(0),
                                   "CLUSTER SLOTS");
    bool is = ranges && ranges->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; is && i < ranges->elements; i++) {
        redisReply **range = ranges->element[i]->element;
        int node = fleet_find(&servers, range[2]->element[0]->str,
                              (int)range[2]->element[1]->integer);
        slots[node] += (int)(range[1]->integer - range[0]->integer + 1);
    }
    for (int i = 0; is && i < FLEET_NODES; i++)
        is = info_of(pool, i).slots == slots[i];
    freeReplyObject(ranges);
    return is;
}

/* Each kind of call that may be the first to hear of it. */
static void call_after_move(int which, falkor_graph *graph) {
    falkor_error error;
    falkor_cursor *cursor;
    falkor_result *result;
    falkor_request both[] = {
        {.graph = graph, .cypher = "RETURN 1"},
        {.graph = graphs[0], .cypher = "RETURN 2"}};
    switch (which) {
    case 0:
        assert_int_equal(nodes_in(graph, "Mover"), 1);
        return;
    case 1:
        falkor_query(graph, "MERGE (:Mover)", NULL, NULL, &error);
        break;
    case 2:
        falkor_pipeline(pool, NULL, both, 2, &error);
        serving_ok(&error);
        assert_int_equal(serving_integer_of(&both[0]), 1);
        assert_int_equal(serving_integer_of(&both[1]), 2);
        serving_free_results(both, 2);
        break;
    case 3:
        falkor_cursor_open(graph, &(falkor_call_options){.read_only = true},
            "MATCH (m:Mover) RETURN m", NULL, &cursor, &error);
        falkor_cursor_close(cursor);
        break;
    case 4:
        falkor_memory_usage(graph, NULL, 0, &result, &error);
        falkor_result_free(result);
        break;
    default:
        falkor_command(pool, NULL, 2, (const char *[]){"TYPE",
            falkor_graph_name(graph)}, NULL, NULL, &error);
    }
    serving_ok(&error);
    assert_int_equal(error.attempts, 1);
}

/* The slot of a graph has moved: the next call finds it without a back-off,
   whatever it is, and then the map is right. The map may be faster. */
static void test_cluster_follows_a_graph_that_was_moved(void **state) {
    (void)state;
    enum { KINDS = 6 };
    char name[NAME_SIZE];
    falkor_graph *graph = graph_on(pool, primary_number(1), "mover");
    snprintf(name, sizeof name, "%s", falkor_graph_name(graph));
    serving_run(graph, "CREATE (:Mover)");
    for (int kind = 0; kind < KINDS; kind++) {
        long long before, heard = 0;
        for (int tries = 0; !heard && tries < 5; tries++) {
            TEST_EVENTUALLY(map_is_true());
            before = moved_at(owner_of(name));
            int from = move_on(name);
            call_after_move(kind, graph);
            heard = moved_at(from) - before;
        }
        assert_true(heard > 0);
    }
    assert_int_equal(atomic_load(&told.retries), 0);
    TEST_EVENTUALLY(map_is_true());
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(nodes_in(graphs[i], "A"), 10);
    while (owner_of(name) != primary_number(1))
        move_on(name);
    remove_graph(graph);
    TEST_EVENTUALLY(map_is_true());
}

/* A slot that is empty, and a key in it. */
static void test_cluster_follows_an_empty_slot(void **state) {
    (void)state;
    char key[NAME_SIZE];
    name_on(primary_number(2), "empty", key);
    for (int i = 0; i < PRIMARIES; i++) {
        move_on(key);
        EXPECT(pool, "OK", "SET", key, "there");
        EXPECT(pool, "there", "GET", key);
        falkor_command(pool, NULL, 2, (const char *[]){"DEL", key}, NULL,
                       NULL, NULL);
    }
    assert_int_equal(atomic_load(&told.retries), 0);
    TEST_EVENTUALLY(map_is_true());
}

/* A move that is half done: the keys are at the importing node, the slot is
   still the other's. fleet_move_slot ends it. */
static struct { int slot, from, to; } half;

static void begin_move(const char *key) {
    half.slot = fleet_slot(&servers, key);
    half.from = owner_of(key);
    half.to = primary_number(0) == half.from ? primary_number(1)
                                             : primary_number(0);
    redisReply *from = fleet_ask(&servers, half.from, "CLUSTER MYID");
    redisReply *to = fleet_ask(&servers, half.to, "CLUSTER MYID");
    TELL(half.to, "CLUSTER SETSLOT %d IMPORTING %s", half.slot, from->str);
    TELL(half.from, "CLUSTER SETSLOT %d MIGRATING %s", half.slot, to->str);
    freeReplyObject(from);
    freeReplyObject(to);
}

static void carry_over(const char *key) {
    TELL(half.from, "MIGRATE %s %d %s 0 9000", servers.nodes[half.to].host,
         servers.nodes[half.to].port, key);
}

static void end_move(void) {
    fleet_move_slot(&servers, half.slot, half.from, half.to);
}

/* Complains rather than fails: the move is to be ended first. */
static bool went_well(const falkor_error *error) {
    if (error->status || error->attempts > 1)
        TEST_COMPLAIN("%s, attempt %d: %s", falkor_status_name(error->status),
                      error->attempts, error->message);
    return error->status == FALKOR_OK;
}

static void query_in_transit(falkor_graph *graph) {
    falkor_error error;
    falkor_result *result;
    int64_t sum = 0;
    falkor_ro_query(graph, "MATCH p = (:L1 {p: 1})-[:R1]->(:L2) RETURN p",
                    NULL, &result, &error);
    if (went_well(&error)) {
        const falkor_path *path = falkor_result_value(result, 0, 0)->as.path;
        TEST_CHECK(strcmp(path->nodes[1].labels[0], "L2") == 0);
        TEST_CHECK(strcmp(path->edges[0].type, "R1") == 0);
    }
    falkor_result_free(result);
    falkor_query(graph, "CREATE (n:Late {q: 1}) RETURN n", NULL, &result,
                 &error);
    if (went_well(&error))
        TEST_CHECK(strcmp(falkor_result_value(result, 0, 0)->as.node->labels[0],
                          "Late") == 0);
    falkor_result_free(result);
    falkor_query_with(graph, &(falkor_call_options){.wait_replicas = 1},
                      "MATCH (n:Late) DELETE n", NULL, NULL, &error);
    went_well(&error);
    falkor_query_each(graph, &(falkor_call_options){.read_only = true},
        "UNWIND range(1, 100) AS x RETURN x", NULL, add_row, &sum, NULL,
        &error);
    went_well(&error);
    TEST_CHECK(sum == 5050);
    falkor_memory_usage(graph, NULL, 0, NULL, &error);
    went_well(&error);
}

static void pipeline_in_transit(falkor_graph *graph) {
    falkor_request both[] = {
        {.graph = graph, .cypher = "CREATE (n:Later) RETURN n"},
        {.graph = graphs[0], .cypher = "RETURN 1"},
        {.graph = graph, .cypher = "MATCH (n:Later) DELETE n "
                                   "RETURN count(n)"}};
    falkor_error error;
    falkor_pipeline(pool, NULL, both, 3, &error);
    if (went_well(&error))
        TEST_CHECK(falkor_result_value(both[2].result, 0, 0)->as.integer == 1);
    serving_free_results(both, 3);
}

/* While a slot moves, queries of a graph that is at its new node already are
   sent there with ASKING: of a pool that knows the graph, and of one that must
   read the names of its labels first. All else goes where it went. */
static void test_cluster_asks_while_a_slot_moves(void **state) {
    (void)state;
    falkor_error error;
    for (int i = 0; i < PRIMARIES; i++) {
        falkor_graph *graph = graph_on(pool, primary_number(i), "asked");
        const char *name = falkor_graph_name(graph);
        serving_run(graph, "CREATE (:L1 {p: 1})-[:R1 {q: 1}]->(:L2)");
        begin_move(name);
        carry_over(name);
        falkor_pool *other = pool_of_all();
        falkor_graph *again = falkor_select_graph(other, name);
        query_in_transit(again);
        query_in_transit(graph);
        pipeline_in_transit(graph);
        for (int k = 0; k < GRAPHS; k++) {
            falkor_ro_query(graphs[k], "RETURN 1", NULL, NULL, &error);
            went_well(&error);
        }
        TEST_CHECK(fleet_owner(&servers, half.from, half.slot) == half.from);
        end_move();
        test_no_complaints();
        assert_int_equal(nodes_in(graph, "L1"), 1);
        remove_graph(graph);
        falkor_pool_free(other);
    }
    assert_int_equal(atomic_load(&told.retries), 0);
}

/* A new graph in a slot that moves is made at its new node. */
static void test_cluster_makes_a_graph_while_its_slot_moves(void **state) {
    (void)state;
    falkor_graph *graph = graph_on(pool, primary_number(2), "born");
    falkor_error error;
    begin_move(falkor_graph_name(graph));
    falkor_query(graph, "CREATE (:L1 {p: 1})-[:R1]->(:L2)", NULL, NULL,
                 &error);
    went_well(&error);
    query_in_transit(graph);
    end_move();
    query_in_transit(graph);
    test_no_complaints();
    remove_graph(graph);
}

/* Two keys of a slot at two nodes: TRYAGAIN, until they are together. */
static void test_cluster_waits_where_it_is_told_to_try_again(void **state) {
    (void)state;
    char tag[NAME_SIZE], first[2 * NAME_SIZE], second[2 * NAME_SIZE];
    falkor_result *reply;
    falkor_error error;
    name_on(primary_number(0), "again", tag);
    snprintf(first, sizeof first, "{%s}first", tag);
    snprintf(second, sizeof second, "{%s}second", tag);
    EXPECT(pool, "OK", "MSET", first, "1", second, "2");
    begin_move(tag);
    carry_over(first);
    told.act = end_move;
    falkor_command(pool, &(falkor_call_options){.read_only = true}, 3,
        (const char *[]){"MGET", first, second}, NULL, &reply, &error);
    serving_ok(&error);
    assert_true(error.attempts > 1);
    assert_true(atomic_load(&told.retries) > 0);
    const falkor_value *both = falkor_result_value(reply, 0, 0);
    assert_string_equal(both->as.items[0].as.string, "1");
    assert_string_equal(both->as.items[1].as.string, "2");
    falkor_result_free(reply);
    falkor_command(pool, NULL, 3, (const char *[]){"DEL", first, second}, NULL,
                   NULL, &error);
    serving_ok(&error);
}

static struct { int node, slot; } lost;

static void give_back_slot(void) {
    TELL(lost.node, "CLUSTER ADDSLOTS %d", lost.slot);
}

/* Nobody serves the slot: CLUSTERDOWN, and a write is done, once, when somebody
   does. */
static void test_cluster_waits_while_it_is_down(void **state) {
    (void)state;
    falkor_error error;
    falkor_graph *graph = graph_on(pool, primary_number(1), "down");
    serving_run(graph, "CREATE (:Was)");
    lost.node = owner_of(falkor_graph_name(graph));
    lost.slot = fleet_slot(&servers, falkor_graph_name(graph));
    TELL(lost.node, "CLUSTER DELSLOTS %d", lost.slot);
    told.act = give_back_slot;
    falkor_query(graph, "CREATE (:Was)", NULL, NULL, &error);
    if (told.act)                       /* it was not asked for */
        give_back_slot();
    serving_ok(&error);
    assert_true(error.attempts > 1);
    assert_true(atomic_load(&told.retries) > 0);
    assert_int_equal(nodes_in(graph, "Was"), 2);
    remove_graph(graph);
    fleet_await_settled(&servers);
}

/* Writers of one graph, as long as its slot is moved about. What waited for the
   graph when it was moved away is FALKOR_ERR_BUSY: not a reason to repeat for a
   pipeline. */
typedef struct writer {
    falkor_graph *graph;
    int done, in_doubt;
    bool in_pipelines;
} writer;

static void *write_on(void *argument) {
    writer *self = argument;
    falkor_error error;
    while (!atomic_load(&enough)) {
        falkor_request one = {.graph = self->graph,
                              .cypher = "CREATE (:Load)"};
        if (self->in_pipelines)
            falkor_pipeline(pool, NULL, &one, 1, &error);
        else
            falkor_query(self->graph, one.cypher, NULL, NULL, &error);
        falkor_result_free(one.result);
        self->done += error.status == FALKOR_OK;
        self->in_doubt += error.maybe_executed;
        if (error.status && !(self->in_pipelines &&
                              error.status == FALKOR_ERR_BUSY))
            TEST_COMPLAIN("%s: %s", falkor_status_name(error.status),
                          error.message);
    }
    return NULL;
}

/* Each write is done, once, wherever its graph is at the moment. */
static void test_cluster_writes_while_slots_move(void **state) {
    (void)state;
    enum { WRITERS = 3, MOVES = 6 };
    falkor_graph *graph = graph_on(pool, primary_number(0), "load");
    writer writers[WRITERS];
    int64_t least = 0, most = 0;
    serving_run(graph, "CREATE (:Was)");
    for (int i = 0; i < WRITERS; i++)
        writers[i] = (writer){.graph = graph, .in_pipelines = i == 0};
    atomic_store(&enough, false);
    test_threads threads = test_start(write_on, writers, sizeof *writers,
                                      WRITERS);
    for (int i = 0; i < MOVES; i++) {
        move_on(falkor_graph_name(graph));
        test_pause_ms(30);
    }
    atomic_store(&enough, true);
    test_join(&threads);
    for (int i = 0; i < WRITERS; i++) {
        least += writers[i].done;
        most += writers[i].done + writers[i].in_doubt;
    }
    int64_t there = nodes_in(graph, "Load");
    print_message("count: %lld writes during %d moves, %d retries\n",
                  (long long)there, MOVES, atomic_load(&told.retries));
    assert_true(there >= least && there <= most);
    test_no_complaints();
    remove_graph(graph);
}

/* ---- replicas ------------------------------------------------------------ */

static void reset_counts(void) {
    for (int i = 0; i < FLEET_NODES; i++)
        TELL(i, "CONFIG RESETSTAT");
}

/* Reads of a graph of each node, by a pool that reads so: reads[p] of the p-th
   primary itself, copies[p] of its replica. */
enum { READS = 12 };
static void count_reads(falkor_read_from from, long long *reads,
                        long long *copies) {
    falkor_options options = options_of_all();
    options.read_from = from;
    falkor_pool *reader = serving_pool(&options);
    falkor_graph *of[PRIMARIES];
    falkor_error error;
    for (int p = 0; p < PRIMARIES; p++) {
        of[p] = graph_on(reader, primary_number(p), "read");
        falkor_query_with(of[p], &(falkor_call_options){.wait_replicas = 1},
                          "CREATE (:Read)", NULL, NULL, &error);
        serving_ok(&error);
    }
    if (from != FALKOR_READ_PRIMARY)    /* their pools are open */
        for (int p = 0; p < PRIMARIES; p++)
            assert_int_equal(nodes_in(of[p], "Read"), 1);
    reset_counts();
    for (int i = 0; i < READS; i++)
        for (int p = 0; p < PRIMARIES; p++)
            assert_int_equal(nodes_in(of[p], "Read"), 1);
    for (int p = 0; p < PRIMARIES; p++) {
        int node = primary_number(p);
        reads[p] = reads_at(node);
        copies[p] = reads_at(fleet_replica(&servers, node));
        assert_int_equal(told_by(node, "commandstats",
                                 "cmdstat_graph.QUERY:calls="), 0);
        remove_graph(of[p]);
    }
    falkor_pool_free(reader);
}

/* As the servers count them: a graph's reads go to its own primary, or that
   one's replica, and to nobody else. */
static void test_cluster_reads_from_the_right_replica(void **state) {
    (void)state;
    long long reads[PRIMARIES], copies[PRIMARIES];
    count_reads(FALKOR_READ_PRIMARY, reads, copies);
    for (int p = 0; p < PRIMARIES; p++) {
        assert_true(reads[p] >= READS);
        assert_int_equal(copies[p], 0);
    }
    count_reads(FALKOR_READ_REPLICA, reads, copies);
    for (int p = 0; p < PRIMARIES; p++) {
        assert_int_equal(reads[p], 0);
        assert_true(copies[p] >= READS);
    }
    count_reads(FALKOR_READ_PREFER_REPLICA, reads, copies);
    for (int p = 0; p < PRIMARIES; p++) {
        assert_int_equal(reads[p], 0);
        assert_true(copies[p] >= READS);
    }
    count_reads(FALKOR_READ_NEAREST, reads, copies);
    for (int p = 0; p < PRIMARIES; p++)
        assert_true(reads[p] + copies[p] >= READS);
}

/* The requests of a pipeline that only read go to replicas too. */
static void test_cluster_pipeline_reads_from_replicas(void **state) {
    (void)state;
    falkor_options options = options_of_all();
    options.read_from = FALKOR_READ_REPLICA;
    falkor_pool *reader = serving_pool(&options);
    falkor_request all[GRAPHS];
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++)
        all[i] = (falkor_request){.read_only = true,
            .graph = falkor_select_graph(reader,
                                         falkor_graph_name(graphs[i])),
            .cypher = "MATCH (a:A) RETURN count(a)"};
    reset_counts();
    falkor_pipeline(reader, NULL, all, GRAPHS, &error);
    serving_ok(&error);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(serving_integer_of(&all[i]), 10);
    for (int p = 0; p < PRIMARIES; p++)
        assert_int_equal(reads_at(primary_number(p)), 0);
    serving_free_results(all, GRAPHS);
    falkor_pool_free(reader);
}

/* Each primary has one replica, which can be waited for. */
static void test_cluster_writes_wait_for_replicas(void **state) {
    (void)state;
    falkor_error error;
    const falkor_call_options one = {.wait_replicas = 1, .timeout_ms = 10000};
    for (int p = 0; p < PRIMARIES; p++) {
        falkor_graph *graph = graph_on(pool, primary_number(p), "copied");
        falkor_query_with(graph, &one, "CREATE (:Copied)", NULL, NULL, &error);
        serving_ok(&error);
        assert_int_equal(error.attempts, 1);
        assert_int_equal(falkor_query_with(graph,
            &(falkor_call_options){.wait_replicas = 1, .read_only = true},
            "RETURN 1", NULL, NULL, &error), FALKOR_ERR_ARGUMENT);
        falkor_command(pool, &one, 3, (const char *[]){"SET",
            falkor_graph_name(graph), "x"}, NULL, NULL, &error);
        serving_ok(&error);
        falkor_command(pool, &one, 2, (const char *[]){"DEL",
            falkor_graph_name(graph)}, NULL, NULL, &error);
        serving_ok(&error);
        falkor_graph_free(graph);
    }
}

/* Two cannot: the write is done, and not repeated. The server looks at the time
   ten times a second only. */
static void test_cluster_writes_lack_a_second_replica(void **state) {
    (void)state;
    falkor_error error;
    falkor_graph *graph = graph_on(pool, primary_number(0), "copied");
    assert_int_equal(falkor_query_with(graph, &(falkor_call_options){
        .wait_replicas = 2, .timeout_ms = 1600, .idempotent = true},
        "CREATE (:Copied)", NULL, NULL, &error), FALKOR_ERR_NOT_REPLICATED);
    test_assert_has(error.message, "only 1 of 2 replicas");
    assert_int_equal(error.attempts, 1);
    assert_int_equal(nodes_in(graph, "Copied"), 1);
    remove_graph(graph);
}

/* ---- keys --------------------------------------------------------------- */

#define KEY_SIZE 24

/* Any bytes, often with braces. */
static size_t random_key(uint64_t *seed, char key[KEY_SIZE]) {
    size_t length = (size_t)test_below(seed, KEY_SIZE - 1) + 1;
    for (size_t i = 0; i < length; i++)
        key[i] = test_chance(seed, 4) ? "{}"[test_below(seed, 2)]
                                      : (char)test_below(seed, 256);
    return length;
}

/* Of many keys: our slot is the server's. */
static void test_cluster_slots_are_the_servers(void **state) {
    (void)state;
    enum { KEYS = 5000 };
    static struct { char bytes[KEY_SIZE]; size_t length; } keys[KEYS];
    uint64_t seed = test_seed();
    redisContext *client = fleet_client(&servers, 0);
    redisReply *reply;
    assert_non_null(client);
    for (int i = 0; i < KEYS; i++) {
        keys[i].length = random_key(&seed, keys[i].bytes);
        redisAppendCommand(client, "CLUSTER KEYSLOT %b", keys[i].bytes,
                           keys[i].length);
    }
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(redisGetReply(client, (void **)&reply), REDIS_OK);
        assert_int_equal(falkor__key_slot(keys[i].bytes, keys[i].length),
                         reply->integer);
        freeReplyObject(reply);
    }
    redisFree(client);
}

/* One command; its arguments are copied so that nothing is behind them. */
static void bare_command(const char *word, const char *key, size_t length,
                         const char *value, falkor_result **reply) {
    const char *from[] = {word, key, value};
    size_t lengths[] = {strlen(word), length, value ? strlen(value) : 0};
    char *argv[3] = {NULL};
    falkor_error error;
    size_t argc = value ? 3 : 2;
    for (size_t i = 0; i < argc; i++) {
        argv[i] = malloc(lengths[i]);
        assert_non_null(argv[i]);
        memcpy(argv[i], from[i], lengths[i]);
    }
    falkor_command(pool, NULL, argc, (const char *const *)argv, lengths, reply,
                   &error);
    for (size_t i = 0; i < argc; i++)
        free(argv[i]);
    serving_ok(&error);
}

/* Binary keys and keys with tags, whose bytes are counted. */
static void test_cluster_commands_go_where_their_key_is(void **state) {
    (void)state;
    uint64_t seed = test_seed();
    char key[KEY_SIZE], value[16];
    falkor_result *reply;
    for (int i = 0; i < 100; i++) {
        size_t length = random_key(&seed, key);
        snprintf(value, sizeof value, "%d", i);
        bare_command("SET", key, length, value, NULL);
        bare_command("GET", key, length, NULL, &reply);
        assert_string_equal(text_at(reply, 0, "reply"), value);
        falkor_result_free(reply);
        bare_command("DEL", key, length, NULL, &reply);
        assert_int_equal(falkor_result_value(reply, 0, 0)->as.integer, 1);
        falkor_result_free(reply);
    }
    assert_int_equal(atomic_load(&told.retries), 0);
}

/* Keys that are not the first argument, none at all, and what this library
   takes for a key and is none. */
static void test_cluster_commands_of_every_shape(void **state) {
    (void)state;
    char key[NAME_SIZE];
    falkor_result *reply;
    for (int p = 0; p < PRIMARIES; p++) {
        name_on(primary_number(p), "shape", key);
        EXPECT(pool, "OK", "EVAL", "return redis.call('SET', KEYS[1], "
               "ARGV[1])", "1", key, "v");
        EXPECT(pool, "v", "EVAL", "return redis.call('GET', KEYS[1])", "1",
               key);
        EXPECT(pool, "embstr", "OBJECT", "ENCODING", key);
        EXPECT(pool, "string", "TYPE", key);
        falkor_command(pool, NULL, 2, (const char *[]){"DEL", key}, NULL,
                       NULL, NULL);
    }
    EXPECT(pool, "PONG", "PING");
    EXPECT(pool, "hello", "ECHO", "hello");
    EXPECT(pool, "free", "EVAL", "return 'free'", "0");
    falkor_command(pool, NULL, 1, (const char *[]){"TIME"}, NULL, &reply,
                   NULL);
    assert_int_equal(falkor_result_value(reply, 0, 0)->length, 2);
    falkor_result_free(reply);
}

/* MOVED mends what the table of commands does not know. */
static void test_cluster_commands_are_sent_on_to_their_key(void **state) {
    (void)state;
    char from[NAME_SIZE], to[2 * NAME_SIZE];
    falkor_error error;
    for (int p = 0; p < PRIMARIES; p++) {
        name_on(primary_number(p), "bits", from);
        snprintf(to, sizeof to, "{%s}to", from);
        EXPECT(pool, "OK", "SET", from, "x");
        falkor_command(pool, NULL, 4, (const char *[]){"BITOP", "NOT", to,
                       from}, NULL, NULL, &error);
        serving_ok(&error);
        assert_int_equal(error.attempts, 1);
        falkor_command(pool, NULL, 4, (const char *[]){"XREAD", "STREAMS",
                       from, "0"}, NULL, NULL, &error);
        assert_int_equal(error.status, FALKOR_ERR_QUERY);
        test_assert_has(error.message, "WRONGTYPE");
        falkor_command(pool, NULL, 3, (const char *[]){"DEL", from, to}, NULL,
                       NULL, &error);
        serving_ok(&error);
    }
    assert_int_equal(falkor_command(pool, NULL, 5, (const char *[]){"MSET",
        "one", "1", "two", "2"}, NULL, NULL, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "CROSSSLOT");
}

/* The server's own commands on graphs, by the key of each. */
static void test_cluster_commands_on_graphs(void **state) {
    (void)state;
    falkor_result *reply;
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++) {
        const char *name = falkor_graph_name(graphs[i]);
        const char *const commands[][6] = {
            {"GRAPH.QUERY", name, "MATCH (a:A) RETURN count(a)"},
            {"graph.ro_query", name, "MATCH (a:A) RETURN count(a)"},
            {"GRAPH.EXPLAIN", name, "MATCH (a:A) RETURN a"},
            {"GRAPH.PROFILE", name, "MATCH (a:A) RETURN a"},
            {"GRAPH.SLOWLOG", name}, {"GRAPH.MEMORY", "USAGE", name},
            {"EXISTS", name}};
        for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
            size_t argc = 0;
            while (commands[k][argc])
                argc++;
            falkor_command(pool, NULL, argc, commands[k], NULL, &reply,
                           &error);
            serving_ok(&error);
            assert_int_equal(error.attempts, 1);
            falkor_result_free(reply);
        }
    }
}

static falkor_request *for_each_key(size_t count, char (*keys)[KEY_SIZE],
                                    const char *word) {
    falkor_request *all = calloc(count, sizeof *all);
    const char **words = calloc(count * 3, sizeof *words);
    falkor_error error;
    assert_true(all && words);
    for (size_t i = 0; i < count; i++) {
        memcpy(words + 3 * i, (const char *[]){word, keys[i], keys[i]},
               3 * sizeof *words);
        all[i] = (falkor_request){.argv = words + 3 * i,
            .argc = strcmp(word, "SET") == 0 ? 3 : 2};
    }
    falkor_pipeline(pool, NULL, all, count, &error);
    serving_ok(&error);
    free(words);
    return all;
}

/* A key in each slot, all of them in one pipeline. */
static void test_cluster_keys_in_all_slots(void **state) {
    (void)state;
    enum { SLOTS = TEST_SANITIZED ? 1024 : FLEET_SLOTS };
    static char keys[SLOTS][KEY_SIZE];
    static bool has[FLEET_SLOTS];
    size_t count = 0;
    for (int i = 0; count < SLOTS; i++) {
        int length = snprintf(keys[count], KEY_SIZE, "all%d", i);
        int slot = falkor__key_slot(keys[count], (size_t)length);
        count += !has[slot];
        has[slot] = true;
    }
    static const char *const words[] = {"SET", "GET", "DEL"};
    for (int w = 0; w < 3; w++) {
        falkor_request *all = for_each_key(count, keys, words[w]);
        for (size_t i = 0; i < count; i++)
            if (w == 1)
                assert_string_equal(text_at(all[i].result, 0, "reply"),
                                    keys[i]);
            else if (w == 2)
                assert_int_equal(serving_integer_of(&all[i]), 1);
        serving_free_results(all, count);
        free(all);
    }
}

/* ---- the whole ----------------------------------------------------------- */

/* Adds what the nodes' pools have counted so often. */
static void add_members(int times, falkor_stats *sum) {
    falkor_node_info nodes[FLEET_NODES];
    falkor_stats one;
    size_t count = falkor_pool_nodes(pool, nodes, FLEET_NODES);
    for (size_t i = 0; i < count && i < FLEET_NODES; i++) {
        falkor_pool_stats(nodes[i].pool, &one);
        sum->queries += (uint64_t)times * one.queries;
        sum->acquires += (uint64_t)times * one.acquires;
    }
}

/* What the pool has counted is what its nodes' pools have; a snapshot too. */
static void test_cluster_statistics_are_those_of_all_nodes(void **state) {
    (void)state;
    falkor_stats before, now, sum = {0};
    falkor_snapshot *snapshot;
    falkor_error error;
    falkor_pool_stats(pool, &before);
    add_members(-1, &sum);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(nodes_in(graphs[i], "A"), 10);
    assert_int_equal(falkor_query(graphs[7], "RETURN", NULL, NULL, &error),
                     FALKOR_ERR_QUERY);
    falkor_pool_stats(pool, &now);
    add_members(1, &sum);
    assert_int_equal(now.queries - before.queries, GRAPHS + 1);
    assert_int_equal(now.errors[FALKOR_OK] - before.errors[FALKOR_OK],
                     GRAPHS);
    assert_int_equal(now.errors[FALKOR_ERR_QUERY] -
                     before.errors[FALKOR_ERR_QUERY], 1);
    assert_true(now.initialized && !now.closed);
    assert_int_equal(now.max_size, PRIMARIES * 20);
    assert_int_equal(sum.queries, GRAPHS + 1);
    assert_int_equal(sum.acquires, now.acquires - before.acquires);
    falkor_snapshot_take(pool, &snapshot, &error);
    serving_ok(&error);
    assert_int_equal(falkor_snapshot_stats(snapshot)->queries, now.queries);
    assert_true(falkor_snapshot_latency(snapshot, FALKOR_LATENCY_QUERY).count
                >= GRAPHS);
    falkor_snapshot_free(snapshot);
}

static uint64_t dials_of(falkor_pool *of) {
    falkor_stats now;
    falkor_pool_stats(of, &now);
    return now.connections_created;
}

/* Each lever is pulled at every node. */
static void test_cluster_levers_are_for_all_nodes(void **state) {
    (void)state;
    falkor_error error;
    falkor_stats now;
    falkor_pool *own = pool_of_all();
    falkor_graph *of[PRIMARIES];
    for (int p = 0; p < PRIMARIES; p++)
        of[p] = graph_on(own, primary_number(p), "graph");
    assert_int_equal(falkor_pool_pause(own), FALKOR_OK);
    for (int p = 0; p < PRIMARIES; p++) {
        assert_int_equal(falkor_query_with(of[p],
            &(falkor_call_options){.timeout_ms = 20}, "RETURN 1", NULL, NULL,
            &error), FALKOR_ERR_POOL_TIMEOUT);
        test_assert_has(error.message, "paused");
    }
    falkor_pool_stats(own, &now);
    assert_true(now.paused);
    assert_int_equal(falkor_pool_resume(own), FALKOR_OK);
    for (int p = 0; p < PRIMARIES; p++)
        serving_run(of[p], "RETURN 1");
    uint64_t before = dials_of(own);
    assert_int_equal(falkor_pool_flush(own), FALKOR_OK);
    for (int p = 0; p < PRIMARIES; p++)
        serving_run(of[p], "RETURN 1");
    assert_true(dials_of(own) >= before + PRIMARIES);
    before = dials_of(own);
    assert_int_equal(falkor_pool_drop_idle(own), FALKOR_OK);
    for (int p = 0; p < PRIMARIES; p++)
        serving_run(of[p], "RETURN 1");
    assert_true(dials_of(own) >= before + PRIMARIES);
    falkor_pool_free(own);
}

/* A child of fork asks for itself, and every node; so does the parent
   meanwhile. ThreadSanitizer lets a child start no thread. */
static void test_cluster_child_of_fork_queries_every_graph(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip();
#endif
    falkor_error error;
    char key[NAME_SIZE];
    name_on(primary_number(0), "forked", key);
    pid_t child = test_fork();
    if (child == 0) {
        test_child_begins();
        for (int turn = 0; turn < 2; turn++)
            for (int i = 0; i < GRAPHS; i++) {
                falkor_ro_query(graphs[i], "MATCH (a:A) RETURN a", NULL, NULL,
                                &error);
                if (!TEST_CHECK(error.status == FALKOR_OK))
                    TEST_COMPLAIN("%s", error.message);
            }
        falkor_list_graphs(pool, NULL, NULL, &error);
        TEST_CHECK(error.status == FALKOR_OK);
        falkor_command(pool, NULL, 3, (const char *[]){"SET", key, "child"},
                       NULL, NULL, &error);
        TEST_CHECK(error.status == FALKOR_OK);
        falkor_pool_free(pool);
        test_child_quits();
    }
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(nodes_in(graphs[i], "A"), 10);
    test_await_child(child);
    EXPECT(pool, "child", "GET", key);
    falkor_command(pool, NULL, 2, (const char *[]){"DEL", key}, NULL, NULL,
                   NULL);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(nodes_in(graphs[i], "A"), 10);
}

/* Behind close every call says so. */
static void test_cluster_is_closed_to_every_call(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_result *result;
    falkor_pool *own = pool_for("graph1");
    falkor_graph *graph = falkor_select_graph(own, NULL);
    falkor_request one = {.graph = graph, .cypher = "RETURN 1"};
    serving_run(graph, "RETURN 1");
    assert_int_equal(falkor_pool_close(own, 1000), FALKOR_OK);
    assert_int_equal(falkor_pool_close(own, 1000), FALKOR_OK);
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, NULL, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(falkor_ro_query(graph, "RETURN 1", NULL, NULL, NULL),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pipeline(own, NULL, &one, 1, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(one.error.status, FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_command(own, NULL, 1, (const char *[]){"PING"},
                                    NULL, &result, NULL), FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_list_graphs(own, NULL, &result, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_config_set(own, NULL, "CMD_INFO",
        falkor_bool(true), &error), FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_acquire(own, &conn, &error), FALKOR_ERR_CLOSED);
    assert_null(conn);
    assert_int_equal(falkor_pool_pause(own), FALKOR_ERR_CLOSED);
    falkor_stats now;
    falkor_pool_stats(own, &now);
    assert_true(now.closed);
    assert_int_equal(now.total, 0);
    falkor_pool_free(own);
}

/* ---- a primary that dies ------------------------------------------------ */

/* One is dead and nobody has noticed: requests for others are carried out, or
   say that they were not. */
static void pipeline_past(falkor_pool *of, int dead) {
    falkor_request all[GRAPHS];
    falkor_error error;
    for (int i = 0; i < GRAPHS; i++)
        all[i] = (falkor_request){.cypher = "CREATE (:Past)",
            .graph = falkor_select_graph(of, falkor_graph_name(graphs[i]))};
    falkor_pipeline(of, &(falkor_call_options){.max_retries = -1}, all, GRAPHS,
                    &error);
    assert_int_equal(error.status, FALKOR_ERR_CONNECT);
    for (int i = 0; i < GRAPHS; i++) {
        assert_int_equal(all[i].error.status == FALKOR_OK,
                         all[i].result != NULL);
        assert_false(all[i].error.maybe_executed);
        if (fleet_owner(&servers, 3, fleet_slot(&servers,
                falkor_graph_name(graphs[i]))) == dead)
            assert_int_equal(all[i].error.status, FALKOR_ERR_CONNECT);
        else
            serving_ok(&all[i].error);
    }
    serving_free_results(all, GRAPHS);
}

/* A write that must come through, and what is told of it. */
static void write_through(falkor_graph *graph) {
    falkor_error error;
    int64_t start = test_now_ms();
    falkor_query(graph, "CREATE (:Killed)", NULL, NULL, &error);
    serving_ok(&error);
    print_message("count: a write came through after %lld ms\n",
                  (long long)(test_now_ms() - start));
    assert_true(error.attempts > 1);
    assert_true(atomic_load(&told.retries) > 0);
    assert_true(atomic_load(&told.failed_dials) > 0);
    assert_int_equal(atomic_load(&told.failures), 0);
}

/* The primary of a graph is killed: with enough retries a write comes through,
   once, on the replica that takes its place; so do reads, what every node is
   asked, and a pipeline. Then the dead one comes back as a replica. */
static void test_cluster_outlives_the_death_of_a_primary(void **state) {
    (void)state;
    falkor_options options = options_of_all();
    options.max_retries = 30;
    options.retry_initial_delay_ms = 50;
    falkor_pool *patient = serving_pool(&options);
    int dead = primary_number(0);
    falkor_graph *graph = graph_on(patient, dead, "killed");
    falkor_result *list;
    falkor_error error;
    falkor_query_with(graph, &(falkor_call_options){.wait_replicas = 1},
                      "CREATE (:Killed)", NULL, NULL, &error);
    serving_ok(&error);
    int heir = fleet_replica(&servers, dead);
    forget_events();
    fleet_kill(&servers, dead, SIGKILL);
    write_through(graph);
    TEST_EVENTUALLY(owner_of(falkor_graph_name(graph)) == heir);
    assert_int_equal(nodes_in(graph, "Killed"), 2);
    falkor_list_graphs(patient, NULL, &list, &error);
    serving_ok(&error);
    assert_lists_none_twice(list);
    fleet_restart(&servers, dead);
    fleet_await_settled(&servers);
    TEST_EVENTUALLY(is_whole(patient) && map_is_true());
    assert_int_equal(info_of(patient, dead).role, FALKOR_ROLE_REPLICA);
    assert_int_equal(info_of(patient, heir).role, FALKOR_ROLE_PRIMARY);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(nodes_in(graphs[i], "A"), 10);
    remove_graph(graph);
    falkor_pool_free(patient);
}

/* Sends those again that the cluster refused while it was down, which is none
   of a pipeline's reasons to repeat; how often. */
static int pipeline_until_done(falkor_pool *of, falkor_request *requests,
                               size_t count, falkor_error *error) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    int times = 0;
    do {
        if (times++)
            test_pause_ms(50);
        falkor_pipeline(of, NULL, requests, count, error);
        serving_free_results(requests, count);
    } while (error->status == FALKOR_ERR_BUSY && test_now_ms() < until);
    return times;
}

/* Again, and the first calls are a pipeline and one that asks all nodes. */
static void test_cluster_calls_for_all_nodes_outlive_a_death(void **state) {
    (void)state;
    falkor_options options = options_of_all();
    options.max_retries = 30;
    options.retry_initial_delay_ms = 50;
    falkor_pool *patient = serving_pool(&options);
    int dead = primary_number(0);
    falkor_request all[GRAPHS];
    falkor_result *list;
    falkor_error error, listing;
    for (int i = 0; i < GRAPHS; i++)
        all[i] = (falkor_request){.cypher = "MERGE (:Pipe)",
            .graph = falkor_select_graph(patient,
                                         falkor_graph_name(graphs[i]))};
    fleet_kill(&servers, dead, SIGKILL);
    pipeline_past(patient, dead);
    falkor_list_graphs(patient, NULL, &list, &listing);
    int times = pipeline_until_done(patient, all, GRAPHS, &error);
    fleet_restart(&servers, dead);
    fleet_await_settled(&servers);
    print_message("count: the list took %d attempts, %d pipelines were sent\n",
                  listing.attempts, times);
    serving_ok(&error);
    for (int i = 0; i < GRAPHS; i++)
        assert_int_equal(nodes_in(graphs[i], "Pipe"), 1);
    falkor_pool_free(patient);
    serving_ok(&listing);
    assert_lists_none_twice(list);
}

#define CASE(name) cmocka_unit_test_setup(name, quiet)

TEST_MAIN_WITH(begin, end,
    CASE(test_cluster_opens_by_url_and_by_options),
    CASE(test_cluster_opens_from_any_seed),
    CASE(test_cluster_opens_from_nobody),
    CASE(test_cluster_schema_is_run_where_the_graph_is),
    CASE(test_cluster_graphs_are_spread_by_name),
    CASE(test_cluster_queries_every_graph),
    CASE(test_cluster_explains_and_profiles_every_graph),
    CASE(test_cluster_reads_rows_of_every_graph),
    CASE(test_cluster_looks_into_every_graph),
    CASE(test_cluster_copies_and_deletes_every_graph),
    CASE(test_cluster_refuses_a_copy_to_another_slot),
    CASE(test_cluster_indexes_every_graph),
    CASE(test_cluster_constrains_every_graph),
    CASE(test_cluster_has_functions_for_every_graph),
    CASE(test_cluster_names_the_node_that_fails),
    CASE(test_cluster_config_reaches_every_node),
    CASE(test_cluster_info_is_of_every_primary),
    CASE(test_cluster_pipeline_keeps_the_order_of_each_graph),
    CASE(test_cluster_pipeline_of_queries_and_commands),
    CASE(test_cluster_pipeline_sends_nothing_when_one_is_bad),
    CASE(test_cluster_pipeline_ends_at_its_timeout),
    CASE(test_cluster_pipeline_goes_on_without_a_node),
    CASE(test_cluster_pipeline_in_doubt_ends),
    CASE(test_cluster_pipeline_transaction_is_one_or_refused),
    CASE(test_cluster_holds_a_connection_to_its_graphs_node),
    CASE(test_cluster_held_connection_knows_its_node_only),
    CASE(test_cluster_held_connection_outlives_the_pool),
    CASE(test_cluster_follows_a_graph_that_was_moved),
    CASE(test_cluster_follows_an_empty_slot),
    CASE(test_cluster_asks_while_a_slot_moves),
    CASE(test_cluster_makes_a_graph_while_its_slot_moves),
    CASE(test_cluster_waits_where_it_is_told_to_try_again),
    CASE(test_cluster_waits_while_it_is_down),
    CASE(test_cluster_writes_while_slots_move),
    CASE(test_cluster_reads_from_the_right_replica),
    CASE(test_cluster_pipeline_reads_from_replicas),
    CASE(test_cluster_writes_wait_for_replicas),
    CASE(test_cluster_writes_lack_a_second_replica),
    CASE(test_cluster_slots_are_the_servers),
    CASE(test_cluster_commands_go_where_their_key_is),
    CASE(test_cluster_commands_of_every_shape),
    CASE(test_cluster_commands_are_sent_on_to_their_key),
    CASE(test_cluster_commands_on_graphs),
    CASE(test_cluster_keys_in_all_slots),
    CASE(test_cluster_statistics_are_those_of_all_nodes),
    CASE(test_cluster_levers_are_for_all_nodes),
    CASE(test_cluster_child_of_fork_queries_every_graph),
    CASE(test_cluster_is_closed_to_every_call),
    CASE(test_cluster_calls_for_all_nodes_keep_their_time),
    CASE(test_cluster_outlives_the_death_of_a_primary),
    CASE(test_cluster_calls_for_all_nodes_outlive_a_death))
