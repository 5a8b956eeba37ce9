/* What the real server answers, as typed values: each type, columns, the
   summary, large results, names, rows one by one, plain commands. Asks the
   server of FALKORDB_URL, or starts one. Runs alone: that server is
   everybody's. */
#include "serving.h"
#include <float.h>
#include <math.h>
#include <unistd.h>

static serving server;                  /* when there is no FALKORDB_URL */
static falkor_options options;
static falkor_pool *pool;

static int begin(void **state) {
    (void)state;
    options.url = getenv("FALKORDB_URL");
    if (!options.url) {
        serving_start(&server, NULL);
        options.host = "127.0.0.1";
        options.port = server.port;
    }
    pool = serving_pool(&options);
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

/* A graph that no other test and no other run has. */
typedef struct own_graph { falkor_graph *graph; char name[64]; } own_graph;

static own_graph fresh(const char *test) {
    own_graph own;
    snprintf(own.name, sizeof own.name, "queries-%d-%s", (int)getpid(), test);
    own.graph = falkor_select_graph(pool, own.name);
    assert_non_null(own.graph);
    return own;
}

static void drop(own_graph *own) {
    serving_drop(pool, own->graph, own->name);
}

static const falkor_value *cell(const falkor_result *result, size_t row,
                                size_t column) {
    const falkor_value *value = falkor_result_value(result, row, column);
    assert_non_null(value);
    return value;
}

static const falkor_value *typed(const falkor_value *value,
                                 falkor_type type) {
    assert_non_null(value);
    if (value->type != type)
        fail_msg("%s, not %s", falkor_type_name(value->type),
                 falkor_type_name(type));
    return value;
}

static void is_integer(const falkor_value *value, int64_t integer) {
    assert_int_equal(typed(value, FALKOR_INTEGER)->as.integer, integer);
    assert_int_equal(value->length, 0);
}

static void is_string(const falkor_value *value, const char *bytes,
                      size_t length) {
    assert_int_equal(typed(value, FALKOR_STRING)->length, length);
    assert_memory_equal(value->as.string, bytes, length);
    assert_int_equal(value->as.string[length], 0);
}

static void is_text(const falkor_value *value, const char *text) {
    is_string(value, text, strlen(text));
}

static void is_double(const falkor_value *value, double real) {
    double got = typed(value, FALKOR_DOUBLE)->as.real;
    if (isnan(real) ? !isnan(got) : got != real || signbit(got) != signbit(real))
        fail_msg("%.17g, not %.17g", got, real);
}

/* ---- scalars ---------------------------------------------------------- */

static void test_queries_null_and_booleans(void **state) {
    (void)state;
    own_graph own = fresh("null");
    falkor_result *result = serving_query(own.graph,
        "RETURN null, true, false", NULL);
    assert_int_equal(falkor_result_rows(result), 1);
    assert_int_equal(falkor_result_columns(result), 3);
    assert_int_equal(typed(cell(result, 0, 0), FALKOR_NULL)->as.integer, 0);
    assert_true(typed(cell(result, 0, 1), FALKOR_BOOLEAN)->as.boolean);
    assert_false(typed(cell(result, 0, 2), FALKOR_BOOLEAN)->as.boolean);
    assert_null(falkor_result_value(result, 1, 0));
    assert_null(falkor_result_value(result, 0, 3));
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_integers(void **state) {
    (void)state;
    own_graph own = fresh("integers");
    falkor_result *result = serving_query(own.graph, "RETURN 0, -1, "
        "9223372036854775807, -9223372036854775807 - 1, 4294967296", NULL);
    is_integer(cell(result, 0, 0), 0);
    is_integer(cell(result, 0, 1), -1);
    is_integer(cell(result, 0, 2), INT64_MAX);
    is_integer(cell(result, 0, 3), INT64_MIN);
    is_integer(cell(result, 0, 4), INT64_C(4294967296));
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_doubles(void **state) {
    (void)state;
    own_graph own = fresh("doubles");
    falkor_result *result = serving_query(own.graph, "RETURN 1.5, 1.0, "
        "0.1 + 0.2, 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0, -0.0, 2.0 ^ -1074, "
        "2.0 ^ -1022, 2.0 ^ 1023, -1e-300, 123456789012345.0", NULL);
    static const double expected[] = {1.5, 1, 0.3, HUGE_VAL, -HUGE_VAL, NAN,
        -0.0, 5e-324, DBL_MIN, 8.98846567431158e307, -1e-300,
        123456789012345.0};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        is_double(cell(result, 0, i), i == 8 ? 2.2250738585072e-308
                                             : expected[i]);
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_strings(void **state) {
    (void)state;
    own_graph own = fresh("strings");
    falkor_result *result = serving_query(own.graph, "RETURN '', 'a\r\nb', "
        "'\xf0\x9f\xa6\x85 \xe2\x82\xac', 'bad \xff\xc3(', '\x01\x7f', "
        "'$5\r\nhello\r\n', 'it\\'s', \"\\\\\"", NULL);
    is_text(cell(result, 0, 0), "");
    is_text(cell(result, 0, 1), "a\r\nb");
    is_text(cell(result, 0, 2), "\xf0\x9f\xa6\x85 \xe2\x82\xac");
    is_text(cell(result, 0, 3), "bad \xff\xc3(");
    is_text(cell(result, 0, 4), "\x01\x7f");
    is_text(cell(result, 0, 5), "$5\r\nhello\r\n");
    is_text(cell(result, 0, 6), "it's");
    is_text(cell(result, 0, 7), "\\");
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_temporal(void **state) {
    (void)state;
    own_graph own = fresh("temporal");
    falkor_result *result = serving_query(own.graph, "RETURN "
        "localdatetime('2024-01-31T12:00:00'), "
        "localdatetime('1969-12-31T23:59:58'), "
        "localdatetime({year: 1600}), date('2000-02-29'), "
        "date('1950-02-28'), localtime('00:00:00'), localtime('00:00:01'), "
        "localtime('23:59:59'), duration('P1DT2H3M4S'), duration({days: -1}), "
        "duration('PT0S')", NULL);
    static const struct { falkor_type type; int64_t seconds; } expected[] = {
        {FALKOR_DATETIME, 1706702400}, {FALKOR_DATETIME, -2},
        {FALKOR_DATETIME, -11676096000}, {FALKOR_DATE, 951782400},
        {FALKOR_DATE, -626140800}, {FALKOR_TIME, 0}, {FALKOR_TIME, 1},
        {FALKOR_TIME, 86399}, {FALKOR_DURATION, 93784},
        {FALKOR_DURATION, -86400}, {FALKOR_DURATION, 0}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(typed(cell(result, 0, i), expected[i].type)
                             ->as.seconds, expected[i].seconds);
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_point_and_vector(void **state) {
    (void)state;
    own_graph own = fresh("point");
    falkor_result *result = serving_query(own.graph, "RETURN "
        "point({latitude: 32.5, longitude: -0.25}), "
        "vecf32([1.5, -2.25, 0, 1e10]), vecf32([]), "
        "[point({latitude: 1, longitude: 2}), vecf32([0.1])]", NULL);
    const falkor_value *point = typed(cell(result, 0, 0), FALKOR_POINT);
    assert_true(point->as.point->latitude == 32.5);
    assert_true(point->as.point->longitude == -0.25);
    const falkor_value *vector = typed(cell(result, 0, 1), FALKOR_VECTORF32);
    static const float floats[] = {1.5f, -2.25f, 0, 1e10f};
    assert_int_equal(vector->length, 4);
    assert_memory_equal(vector->as.vector, floats, sizeof floats);
    assert_int_equal(typed(cell(result, 0, 2), FALKOR_VECTORF32)->length, 0);
    const falkor_value *both = typed(cell(result, 0, 3), FALKOR_ARRAY);
    assert_true(typed(&both->as.items[0], FALKOR_POINT)
                    ->as.point->longitude == 2);
    assert_true(typed(&both->as.items[1], FALKOR_VECTORF32)
                    ->as.vector[0] == 0.1f);
    falkor_result_free(result);
    drop(&own);
}

/* ---- containers ------------------------------------------------------- */

static void test_queries_nested_lists(void **state) {
    (void)state;
    own_graph own = fresh("lists");
    falkor_result *result = serving_query(own.graph, "RETURN [[[[1]]]], "
        "[[[[[[['deep']]]]]]], [], [null, [], 'x', [2.5, true]]", NULL);
    const falkor_value *value = cell(result, 0, 0);
    for (int depth = 0; depth < 4; depth++) {
        assert_int_equal(typed(value, FALKOR_ARRAY)->length, 1);
        value = value->as.items;
    }
    is_integer(value, 1);
    value = cell(result, 0, 1);
    for (int depth = 0; depth < 7; depth++)
        value = typed(value, FALKOR_ARRAY)->as.items;
    is_text(value, "deep");
    assert_int_equal(typed(cell(result, 0, 2), FALKOR_ARRAY)->length, 0);
    value = typed(cell(result, 0, 3), FALKOR_ARRAY);
    assert_int_equal(value->length, 4);
    typed(&value->as.items[0], FALKOR_NULL);
    assert_int_equal(typed(&value->as.items[1], FALKOR_ARRAY)->length, 0);
    is_text(&value->as.items[2], "x");
    is_double(&typed(&value->as.items[3], FALKOR_ARRAY)->as.items[0], 2.5);
    falkor_result_free(result);
    drop(&own);
}

/* Deeper than hiredis' reader goes, made by the query and not by its text,
   which takes the server too long to parse. */
static void test_queries_lists_a_hundred_deep(void **state) {
    (void)state;
    own_graph own = fresh("deep");
    falkor_result *result = serving_query(own.graph, "WITH reduce("
        "all = ['end'], i IN range(1, 99) | [all]) AS l RETURN l, 7", NULL);
    const falkor_value *value = cell(result, 0, 0);
    for (int depth = 0; depth < 100; depth++) {
        assert_int_equal(typed(value, FALKOR_ARRAY)->length, 1);
        value = value->as.items;
    }
    is_text(value, "end");
    is_integer(cell(result, 0, 1), 7);
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_maps(void **state) {
    (void)state;
    own_graph own = fresh("maps");
    falkor_result *result = serving_query(own.graph, "RETURN "
        "{a: [1, {b: [{`odd key`: 'in'}]}], n: null, e: {}}, {}", NULL);
    const falkor_value *map = typed(cell(result, 0, 0), FALKOR_MAP);
    assert_int_equal(map->length, 3);
    const falkor_value *list = typed(falkor_property(map, "a"), FALKOR_ARRAY);
    is_integer(&list->as.items[0], 1);
    const falkor_value *inner = typed(&list->as.items[1], FALKOR_MAP);
    inner = typed(falkor_property(inner, "b"), FALKOR_ARRAY)->as.items;
    is_text(falkor_property(typed(inner, FALKOR_MAP), "odd key"), "in");
    typed(falkor_property(map, "n"), FALKOR_NULL);
    assert_int_equal(typed(falkor_property(map, "e"), FALKOR_MAP)->length, 0);
    assert_null(falkor_property(map, "z"));
    assert_int_equal(typed(cell(result, 0, 1), FALKOR_MAP)->length, 0);
    falkor_result_free(result);
    drop(&own);
}

/* ---- nodes, edges, paths ---------------------------------------------- */

static void test_queries_nodes(void **state) {
    (void)state;
    own_graph own = fresh("nodes");
    falkor_result *result = serving_query(own.graph, "CREATE "
        "(a {n: 1}), (b:One), (c:One:Two:`Odd label` {s: 'x', l: [1, ['y']], "
        "`odd key`: true, p: point({latitude: 1, longitude: 2})}) "
        "RETURN a, b, c, [a, c], {k: b}", NULL);
    const falkor_node *a = typed(cell(result, 0, 0), FALKOR_NODE)->as.node;
    const falkor_node *b = typed(cell(result, 0, 1), FALKOR_NODE)->as.node;
    const falkor_node *c = typed(cell(result, 0, 2), FALKOR_NODE)->as.node;
    assert_int_equal(a->label_count, 0);
    is_integer(falkor_property(cell(result, 0, 0), "n"), 1);
    assert_int_equal(b->label_count, 1);
    assert_string_equal(b->labels[0], "One");
    assert_int_equal(typed(&b->properties, FALKOR_MAP)->length, 0);
    assert_int_equal(c->label_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(strcmp(c->labels[i], "One") == 0 ||
                    strcmp(c->labels[i], "Two") == 0 ||
                    strcmp(c->labels[i], "Odd label") == 0);
    assert_int_equal(typed(&c->properties, FALKOR_MAP)->length, 4);
    is_text(falkor_property(cell(result, 0, 2), "s"), "x");
    assert_true(typed(falkor_property(cell(result, 0, 2), "odd key"),
                      FALKOR_BOOLEAN)->as.boolean);
    typed(falkor_property(&c->properties, "p"), FALKOR_POINT);
    const falkor_value *list = typed(cell(result, 0, 3), FALKOR_ARRAY);
    assert_int_equal(typed(&list->as.items[0], FALKOR_NODE)->as.node->id,
                     a->id);
    assert_int_equal(typed(&list->as.items[1], FALKOR_NODE)->as.node->id,
                     c->id);
    assert_int_equal(typed(falkor_property(cell(result, 0, 4), "k"),
                           FALKOR_NODE)->as.node->id, b->id);
    assert_true(a->id != b->id && b->id != c->id && a->id >= 0);
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_edges_and_paths(void **state) {
    (void)state;
    own_graph own = fresh("paths");
    serving_run(own.graph, "CREATE (:A {n: 1})-[:R {w: 0.5}]->(:B {n: 2})"
                           "<-[:S {l: [[1]]}]-(:C {n: 3})");
    falkor_result *result = serving_query(own.graph,
        "MATCH p = (a:A)-[r]->(b)<-[s]-(c:C) MATCH z = (a) "
        "RETURN p, r, s, a, b, c, z, nodes(p), relationships(p), [p, [p]], "
        "collect(p)", NULL);
    const falkor_path *path = typed(cell(result, 0, 0), FALKOR_PATH)->as.path;
    const falkor_edge *r = typed(cell(result, 0, 1), FALKOR_EDGE)->as.edge;
    const falkor_edge *s = typed(cell(result, 0, 2), FALKOR_EDGE)->as.edge;
    const falkor_node *a = typed(cell(result, 0, 3), FALKOR_NODE)->as.node;
    const falkor_node *b = typed(cell(result, 0, 4), FALKOR_NODE)->as.node;
    const falkor_node *c = typed(cell(result, 0, 5), FALKOR_NODE)->as.node;
    assert_string_equal(r->type, "R");
    assert_string_equal(s->type, "S");
    assert_true(r->source == a->id && r->destination == b->id);
    assert_true(s->source == c->id && s->destination == b->id);
    is_double(falkor_property(cell(result, 0, 1), "w"), 0.5);
    assert_int_equal(path->node_count, 3);
    assert_int_equal(path->edge_count, 2);
    assert_int_equal(path->nodes[0].id, a->id);
    assert_int_equal(path->nodes[1].id, b->id);
    assert_int_equal(path->nodes[2].id, c->id);
    assert_string_equal(path->nodes[2].labels[0], "C");
    assert_int_equal(path->edges[0].id, r->id);
    assert_string_equal(path->edges[1].type, "S");
    assert_int_equal(typed(&path->edges[1].properties, FALKOR_MAP)->length, 1);
    const falkor_path *alone = typed(cell(result, 0, 6), FALKOR_PATH)->as.path;
    assert_int_equal(alone->node_count, 1);
    assert_int_equal(alone->edge_count, 0);
    assert_int_equal(typed(cell(result, 0, 7), FALKOR_ARRAY)->length, 3);
    assert_int_equal(typed(cell(result, 0, 8), FALKOR_ARRAY)->length, 2);
    const falkor_value *list = typed(cell(result, 0, 9), FALKOR_ARRAY);
    list = typed(&list->as.items[1], FALKOR_ARRAY)->as.items;
    assert_int_equal(typed(list, FALKOR_PATH)->as.path->node_count, 3);
    typed(typed(cell(result, 0, 10), FALKOR_ARRAY)->as.items, FALKOR_PATH);
    falkor_result_free(result);
    drop(&own);
}

/* A node that is deleted and returned in one query has no labels. */
static void test_queries_deleted_node(void **state) {
    (void)state;
    own_graph own = fresh("deleted");
    falkor_result *result = serving_query(own.graph,
        "CREATE (a:L {n: 1}) DELETE a RETURN a", NULL);
    const falkor_node *node = typed(cell(result, 0, 0), FALKOR_NODE)->as.node;
    assert_int_equal(node->label_count, 0);
    is_integer(falkor_property(&node->properties, "n"), 1);
    falkor_result_free(result);
    drop(&own);
}

/* ---- columns, rows, summary ------------------------------------------- */

static void test_queries_columns(void **state) {
    (void)state;
    own_graph own = fresh("columns");
    falkor_result *result = serving_query(own.graph, "RETURN 1 AS plain, "
        "2 AS `odd \xe2\x82\xac \"name\" 'x'`, 3 AS ``, 1 + 1, "
        "4 AS `two\r\nlines`", NULL);
    assert_int_equal(falkor_result_columns(result), 5);
    assert_string_equal(falkor_result_column(result, 0), "plain");
    assert_string_equal(falkor_result_column(result, 1),
                        "odd \xe2\x82\xac \"name\" 'x'");
    assert_string_equal(falkor_result_column(result, 2), "");
    assert_string_equal(falkor_result_column(result, 3), "1 + 1");
    assert_string_equal(falkor_result_column(result, 4), "two\r\nlines");
    assert_null(falkor_result_column(result, 5));
    is_integer(falkor_result_get(result, 0, "plain"), 1);
    is_integer(falkor_result_get(result, 0, ""), 3);
    assert_null(falkor_result_get(result, 0, "none"));
    falkor_result_free(result);
    drop(&own);
}

static void test_queries_nothing_found(void **state) {
    (void)state;
    own_graph own = fresh("empty");
    falkor_result *result = serving_query(own.graph,
        "MATCH (n:None) RETURN n, n.x AS x", NULL);
    assert_int_equal(falkor_result_rows(result), 0);
    assert_int_equal(falkor_result_columns(result), 2);
    assert_string_equal(falkor_result_column(result, 1), "x");
    falkor_result_free(result);
    result = serving_query(own.graph, "CREATE (:Silent)", NULL);
    assert_int_equal(falkor_result_rows(result), 0);
    assert_int_equal(falkor_result_columns(result), 0);
    assert_int_equal(falkor_result_summary(result)->nodes_created, 1);
    assert_true(falkor_result_summary(result)->internal_ms > 0);
    falkor_result_free(result);
    drop(&own);
}

static falkor_summary summary_of(falkor_graph *graph, const char *cypher) {
    falkor_result *result = serving_query(graph, cypher, NULL);
    falkor_summary summary = *falkor_result_summary(result);
    falkor_result_free(result);
    return summary;
}

static void test_queries_summary(void **state) {
    (void)state;
    own_graph own = fresh("summary");
    falkor_summary did = summary_of(own.graph,
        "CREATE (:A {n: 1})-[:R]->(:B {n: 2, m: 3})");
    assert_int_equal(did.nodes_created, 2);
    assert_int_equal(did.edges_created, 1);
    assert_int_equal(did.labels_added, 2);
    assert_int_equal(did.properties_set, 3);
    assert_int_equal(did.nodes_deleted, 0);
    assert_false(did.cached);
    did = summary_of(own.graph, "MATCH (b:B) SET b.m = null SET b:C "
                                "REMOVE b:B");
    assert_int_equal(did.properties_removed, 1);
    assert_int_equal(did.labels_added, 1);
    assert_int_equal(did.labels_removed, 1);
    did = summary_of(own.graph, "CREATE INDEX FOR (n:A) ON (n.n)");
    assert_int_equal(did.indices_created, 1);
    did = summary_of(own.graph, "DROP INDEX FOR (n:A) ON (n.n)");
    assert_int_equal(did.indices_deleted, 1);
    did = summary_of(own.graph, "MATCH (n) DETACH DELETE n");
    assert_int_equal(did.nodes_deleted, 2);
    assert_int_equal(did.edges_deleted, 1);
    did = summary_of(own.graph, "RETURN 4711");
    assert_false(did.cached);
    did = summary_of(own.graph, "RETURN 4711");
    assert_true(did.cached);
    assert_true(did.internal_ms > 0 && did.internal_ms < 10000);
    drop(&own);
}

/* What this server never says, in its own spelling. */
static void test_queries_summary_of_every_kind(void **state) {
    serving other;
    proxy between;
    (void)state;
    serving_start(&other, NULL);
    proxy_start(&between, other.port);
    falkor_options through = serving_options(between.port);
    through.max_size = 1;
    through.validate_after_ms = -1;     /* a PING would be a request too */
    falkor_pool *one = serving_pool(&through);
    falkor_graph *graph = falkor_select_graph(one, "g");
    serving_run(graph, "RETURN 1");
    atomic_store(&between.answer, "*1\r\n*13\r\n+Labels added: 1\r\n"
        "+Labels removed: 2\r\n+Nodes created: 3\r\n+Nodes deleted: 4\r\n"
        "+Properties set: 5\r\n+Properties removed: 6\r\n"
        "+Relationships created: 7\r\n+Relationships deleted: 8\r\n"
        "+Indices created: 9\r\n+Indices deleted: 10\r\n"
        "+Something new: 99\r\n+Cached execution: 1\r\n"
        "+Query internal execution time: 1.25 milliseconds\r\n");
    atomic_store(&between.answers, 1);
    falkor_summary did = summary_of(graph, "RETURN 1");
    assert_int_equal(did.labels_added, 1);
    assert_int_equal(did.labels_removed, 2);
    assert_int_equal(did.nodes_created, 3);
    assert_int_equal(did.nodes_deleted, 4);
    assert_int_equal(did.properties_set, 5);
    assert_int_equal(did.properties_removed, 6);
    assert_int_equal(did.edges_created, 7);
    assert_int_equal(did.edges_deleted, 8);
    assert_int_equal(did.indices_created, 9);
    assert_int_equal(did.indices_deleted, 10);
    assert_true(did.cached);
    assert_true(did.internal_ms == 1.25);
    atomic_store(&between.answer, "*1\r\n*2\r\n$23\r\nConstraints created: 11"
        "\r\n$23\r\nConstraints deleted: 12\r\n");
    atomic_store(&between.answers, 1);
    did = summary_of(graph, "RETURN 1");
    assert_int_equal(did.constraints_created, 11);
    assert_int_equal(did.constraints_deleted, 12);
    falkor_pool_free(one);
    proxy_stop(&between);
    serving_stop(&other);
}

/* ---- large ------------------------------------------------------------ */

static void test_queries_fifty_thousand_nodes(void **state) {
    enum { NODES = 50000 };
    int64_t ids = 0, numbers = 0;
    double reals = 0;
    (void)state;
    own_graph own = fresh("large");
    serving_run(own.graph, "UNWIND range(1, 50000) AS i CREATE (:N {i: i, "
        "s: 's' + toString(i), r: i / 2.0, b: i % 2 = 0, l: [i, [i]]})");
    falkor_result *result = serving_query(own.graph,
        "MATCH (n:N) RETURN n, id(n) ORDER BY n.i", NULL);
    assert_int_equal(falkor_result_rows(result), NODES);
    for (size_t row = 0; row < NODES; row++) {
        const falkor_value *node = typed(cell(result, row, 0), FALKOR_NODE);
        int64_t i = (int64_t)row + 1;
        char text[16];
        snprintf(text, sizeof text, "s%lld", (long long)i);
        if (node->as.node->id != cell(result, row, 1)->as.integer ||
            strcmp(node->as.node->labels[0], "N") != 0 ||
            strcmp(falkor_property(node, "s")->as.string, text) != 0 ||
            falkor_property(node, "b")->as.boolean != (i % 2 == 0) ||
            falkor_property(node, "l")->as.items[1].as.items[0].as.integer
                != i)
            fail_msg("row %zu", row);
        ids += node->as.node->id;
        numbers += falkor_property(node, "i")->as.integer;
        reals += falkor_property(node, "r")->as.real;
    }
    assert_int_equal(numbers, INT64_C(1250025000));
    assert_true(reals == 625012500);
    falkor_result_free(result);
    assert_int_equal(serving_integer(own.graph, "MATCH (n:N) "
        "RETURN toInteger(sum(id(n)))", NULL), ids);
    drop(&own);
}

static void test_queries_five_megabytes(void **state) {
    size_t size = 5000000;
    uint64_t random = test_seed();
    (void)state;
    own_graph own = fresh("megabytes");
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(1 + test_below(&random, 255));
    text[size] = '\0';
    falkor_result *result = serving_query(own.graph,
        "CREATE (n:Big {s: $s}) RETURN n.s, 'behind'",
        FALKOR_PARAMS({"s", falkor_string(text)}));
    is_string(cell(result, 0, 0), text, size);
    is_text(cell(result, 0, 1), "behind");
    falkor_result_free(result);
    free(text);
    drop(&own);
}

static void test_queries_long_list(void **state) {
    enum { LENGTH = 200000 };
    (void)state;
    own_graph own = fresh("list");
    falkor_result *result = serving_query(own.graph,
        "RETURN range(1, 200000) AS l, 'behind'", NULL);
    const falkor_value *list = typed(cell(result, 0, 0), FALKOR_ARRAY);
    assert_int_equal(list->length, LENGTH);
    for (uint32_t i = 0; i < LENGTH; i++)
        if (list->as.items[i].type != FALKOR_INTEGER ||
            list->as.items[i].as.integer != (int64_t)i + 1)
            fail_msg("item %u", i);
    is_text(cell(result, 0, 1), "behind");
    /* And in again: 200 000 literals. */
    assert_int_equal(serving_integer(own.graph, "RETURN size($l) + $l[199999]",
        FALKOR_PARAMS({"l", *list})), 2 * LENGTH);
    falkor_result_free(result);
    drop(&own);
}

/* ---- errors ----------------------------------------------------------- */

static void test_queries_errors(void **state) {
    static const struct { const char *cypher, *said; } rows[] = {
        {"RETURN", "Invalid input"}, {"RETRUN 1", "Invalid input"},
        {"RETURN x", "not defined"}, {"RETURN $missing", "arameter"},
        {"RETURN 1 / 0", "Division by zero"},
        {"RETURN 'a' - 1", "Type mismatch"}, {"", "empty query"}};
    falkor_error error;
    (void)state;
    own_graph own = fresh("errors");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        falkor_result *result = (falkor_result *)&error;
        falkor_status status = falkor_query(own.graph, rows[i].cypher, NULL,
                                            &result, &error);
        if (status != FALKOR_ERR_QUERY)
            fail_msg("%s: %s: %s", rows[i].cypher, falkor_status_name(status),
                     error.message);
        assert_null(result);
        test_assert_has(falkor_status_text(status), "syntax");
        assert_int_equal(error.attempts, 1);
        assert_false(error.maybe_executed);
        if (*rows[i].cypher)
            test_assert_has(error.message, rows[i].said);
    }
    assert_int_equal(falkor_ro_query(own.graph, "CREATE (:W)", NULL, NULL,
                                     &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "read-only");
    assert_int_equal(falkor_query_with(own.graph,
        &(falkor_call_options){.server_timeout_ms = 1, .read_only = true},
        "UNWIND range(1, 3000000) AS x RETURN count(x)", NULL, NULL, &error),
        FALKOR_ERR_SERVER_TIMEOUT);
    assert_int_equal(error.attempts, 1);
    drop(&own);
}

static void test_queries_constraint_violation(void **state) {
    falkor_error error;
    (void)state;
    own_graph own = fresh("constraint");
    serving_run(own.graph, "CREATE INDEX FOR (n:U) ON (n.k)");
    assert_int_equal(falkor_command(pool, NULL, 9, (const char *[]){
        "GRAPH.CONSTRAINT", "CREATE", own.name, "UNIQUE", "NODE", "U",
        "PROPERTIES", "1", "k"}, NULL, NULL, &error), FALKOR_OK);
    for (int64_t until = test_now_ms() + TEST_PATIENCE_MS;;) {
        falkor_result *result = serving_query(own.graph,
            "CALL db.constraints() YIELD status RETURN status", NULL);
        bool there = strcmp(cell(result, 0, 0)->as.string, "OPERATIONAL") == 0;
        falkor_result_free(result);
        if (there)
            break;
        assert_true(test_now_ms() < until);
        test_pause_ms(1);
    }
    serving_run(own.graph, "CREATE (:U {k: 1})");
    assert_int_equal(falkor_query(own.graph, "CREATE (:U {k: 1})", NULL, NULL,
                                  &error), FALKOR_ERR_CONSTRAINT);
    assert_int_equal(error.attempts, 1);
    assert_false(error.maybe_executed);
    drop(&own);
}

/* ---- names ------------------------------------------------------------ */

static void has_label(falkor_graph *graph, const char *cypher,
                      const char *label, const char *key) {
    falkor_result *result = serving_query(graph, cypher, NULL);
    const falkor_node *node = typed(cell(result, 0, 0), FALKOR_NODE)->as.node;
    assert_int_equal(node->label_count, 1);
    assert_string_equal(node->labels[0], label);
    assert_string_equal(node->properties.as.entries[0].key, key);
    falkor_result_free(result);
}

static void test_queries_names_on_a_fresh_pool(void **state) {
    (void)state;
    own_graph own = fresh("names");
    serving_run(own.graph, "CREATE (:First {a: 1})-[:Knows {since: 3}]->"
                           "(:Second {b: 2})");
    for (int size = 1; size < 3; size++) {  /* names need no other connection */
        falkor_options fewer = options;
        fewer.max_size = size;
        falkor_pool *other = serving_pool(&fewer);
        falkor_graph *graph = falkor_select_graph(other, own.name);
        has_label(graph, "MATCH (n:Second) RETURN n", "Second", "b");
        falkor_result *result = NULL;
        assert_int_equal(falkor_ro_query(graph, "MATCH ()-[e]->() RETURN e",
            NULL, &result, NULL), FALKOR_OK);
        assert_string_equal(cell(result, 0, 0)->as.edge->type, "Knows");
        falkor_result_free(result);
        falkor_pool_free(other);
    }
    drop(&own);
}

static void test_queries_names_that_are_new(void **state) {
    (void)state;
    own_graph own = fresh("new");
    char text[128], label[32], key[32];
    falkor_pool *other = serving_pool(&options);
    falkor_graph *theirs = falkor_select_graph(other, own.name);
    for (int i = 0; i < 20; i++) {      /* by the query, and by another */
        snprintf(label, sizeof label, "L%d", i);
        snprintf(key, sizeof key, "k%d", i);
        snprintf(text, sizeof text, "CREATE (n:%s {%s: %d}) RETURN n", label,
                 key, i);
        has_label(i % 2 ? theirs : own.graph, text, label, key);
        snprintf(text, sizeof text, "MATCH (n:%s) RETURN n", label);
        has_label(i % 2 ? own.graph : theirs, text, label, key);
    }
    falkor_pool_free(other);
    drop(&own);
}

static void test_queries_two_graphs_keep_their_names(void **state) {
    (void)state;
    own_graph one = fresh("one"), two = fresh("two");
    serving_run(one.graph, "CREATE (:Red {x: 1})");
    serving_run(two.graph, "CREATE (:Blue {y: 1})");
    for (int i = 0; i < 3; i++) {
        has_label(one.graph, "MATCH (n) RETURN n", "Red", "x");
        has_label(two.graph, "MATCH (n) RETURN n", "Blue", "y");
    }
    /* One name, one graph: selected twice, freed twice. */
    falkor_graph *again = falkor_select_graph(pool, one.name);
    has_label(again, "MATCH (n) RETURN n", "Red", "x");
    falkor_graph_free(again);
    has_label(one.graph, "MATCH (n) RETURN n", "Red", "x");
    drop(&one);
    drop(&two);
}

static void test_queries_graph_deleted_in_between(void **state) {
    falkor_error error;
    (void)state;
    own_graph own = fresh("gone");
    has_label(own.graph, "CREATE (n:A {a: 1}) RETURN n", "A", "a");
    falkor_pool *other = serving_pool(&options);
    assert_int_equal(falkor_command(other, NULL, 2,
        (const char *[]){"GRAPH.DELETE", own.name}, NULL, NULL, NULL),
        FALKOR_OK);
    assert_int_equal(falkor_ro_query(own.graph, "MATCH (n) RETURN n", NULL,
                                     NULL, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "empty key");
    assert_int_equal(error.attempts, 1);
    has_label(own.graph, "CREATE (n:A {a: 1}) RETURN n", "A", "a");
    falkor_pool_free(other);
    drop(&own);
}

/* A result needs neither its pool nor its graph. */
static void test_queries_result_outlives_the_pool(void **state) {
    (void)state;
    own_graph own = fresh("outlives");
    falkor_pool *other = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(other, own.name);
    falkor_result *result = serving_query(graph,
        "CREATE (n:Still {here: 'yes'}) RETURN n", NULL);
    falkor_pool_free(other);
    assert_string_equal(cell(result, 0, 0)->as.node->labels[0], "Still");
    is_text(falkor_property(cell(result, 0, 0), "here"), "yes");
    falkor_result_free(result);
    drop(&own);
}

/* ---- row by row ------------------------------------------------------- */

typedef struct rows {
    int64_t seen, sum, stop_at;
    falkor_graph *inner;                /* asked from within on_row */
    int pause_ms;
    bool wrong;
} rows;

static bool on_row(void *ctx, const falkor_result *row) {
    rows *all = ctx;
    const falkor_value *value = falkor_result_value(row, 0, 0);
    if (falkor_result_rows(row) != 1 || !value ||
        value->type != FALKOR_INTEGER || falkor_result_value(row, 1, 0) ||
        strcmp(falkor_result_column(row, 0), "i") != 0) {
        all->wrong = true;
        return false;
    }
    if (all->pause_ms)
        test_pause_ms(all->pause_ms);
    all->sum += value->as.integer;
    if (all->inner) {
        falkor_result *result;
        if (falkor_query(all->inner, "RETURN $x", FALKOR_PARAMS({"x", *value}),
                         &result, NULL) ||
            falkor_result_value(result, 0, 0)->as.integer !=
                value->as.integer)
            all->wrong = true;
        falkor_result_free(result);
    }
    return ++all->seen != all->stop_at;
}

static const falkor_call_options reading = {.read_only = true};

static void test_queries_each_row(void **state) {
    falkor_error error;
    falkor_result *result;
    (void)state;
    own_graph own = fresh("each");
    serving_run(own.graph, "CREATE (:X)");
    for (int form = 0; form < 2; form++) {      /* read_only, and not */
        rows all = {0};
        falkor_query_each(own.graph, form ? NULL : &reading,
            "UNWIND range(1, $n) AS i RETURN i",
            FALKOR_PARAMS({"n", falkor_int(100000)}), on_row, &all, &result,
            &error);
        serving_ok(&error);
        assert_false(all.wrong);
        assert_int_equal(all.seen, 100000);
        assert_int_equal(all.sum, INT64_C(5000050000));
        assert_int_equal(falkor_result_rows(result), 0);
        assert_int_equal(falkor_result_columns(result), 1);
        assert_string_equal(falkor_result_column(result, 0), "i");
        assert_true(falkor_result_summary(result)->internal_ms > 0);
        assert_null(falkor_result_value(result, 0, 0));
        falkor_result_free(result);
    }
    drop(&own);
}

static void test_queries_each_row_stops_early(void **state) {
    falkor_error error;
    falkor_result *result;
    (void)state;
    own_graph own = fresh("stops");
    serving_run(own.graph, "CREATE (:X)");
    for (int form = 0; form < 4; form++) {
        rows all = {.stop_at = form < 2 ? 1 : 777};
        falkor_query_each(own.graph, form % 2 ? NULL : &reading,
            "UNWIND range(1, 50000) AS i RETURN i", NULL, on_row, &all,
            &result, &error);
        serving_ok(&error);
        assert_int_equal(all.seen, all.stop_at);
        assert_int_equal(falkor_result_rows(result), 0);
        falkor_result_free(result);
        /* What was left of the reply met nobody. */
        for (int i = 0; i < 30; i++)
            assert_int_equal(serving_integer(own.graph, "RETURN 42", NULL),
                             42);
    }
    drop(&own);
}

static void test_queries_each_row_may_query(void **state) {
    falkor_error error;
    (void)state;
    own_graph own = fresh("nested");
    serving_run(own.graph, "CREATE (:X)");
    for (int form = 0; form < 2; form++) {
        rows all = {.inner = own.graph};
        falkor_query_each(own.graph, form ? NULL : &reading,
            "UNWIND range(1, 200) AS i RETURN i", NULL, on_row, &all, NULL,
            &error);
        serving_ok(&error);
        assert_false(all.wrong);
        assert_int_equal(all.seen, 200);
    }
    drop(&own);
}

static void test_queries_each_row_fails(void **state) {
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    rows all = {0};
    (void)state;
    own_graph own = fresh("fails");
    serving_run(own.graph, "CREATE (:X)");
    assert_int_equal(falkor_query_each(own.graph, &reading,
        "UNWIND [1, 2, 0] AS i RETURN 6 / i AS i", NULL, on_row, &all, &result,
        &error), FALKOR_ERR_QUERY);
    assert_null(result);
    assert_int_equal(all.seen, 0);      /* the server sends no part */
    assert_int_equal(falkor_query_each(own.graph, &reading, "RETURN", NULL,
        on_row, &all, &result, &error), FALKOR_ERR_QUERY);
    /* Time ends between rows: seen rows are never shown again. */
    all = (rows){.pause_ms = 30, .stop_at = 100};
    int64_t before = test_now_ms();
    assert_int_equal(falkor_query_each(own.graph, &(falkor_call_options){
        .read_only = true, .timeout_ms = 300},
        "UNWIND range(1, 100000) AS i RETURN i", NULL, on_row, &all, &result,
        &error), FALKOR_ERR_TIMEOUT);
    assert_true(test_now_ms() - before < 1500);
    assert_true(all.seen >= 2 && all.seen < 50);
    assert_int_equal(all.sum, all.seen * (all.seen + 1) / 2);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(serving_integer(own.graph, "RETURN 42", NULL), 42);
    drop(&own);
}

/* Names are there before the first row, on a graph not yet looked at. */
static bool on_node(void *ctx, const falkor_result *row) {
    const falkor_value *node = falkor_result_value(row, 0, 0);
    int *good = ctx;
    *good += node && node->type == FALKOR_NODE &&
        node->as.node->label_count == 1 &&
        strcmp(node->as.node->labels[0], "Streamed") == 0 &&
        falkor_property(node, "n") != NULL;
    return true;
}

static void test_queries_each_row_has_names(void **state) {
    falkor_error error;
    int good = 0;
    (void)state;
    own_graph own = fresh("streamed");
    serving_run(own.graph, "UNWIND range(1, 500) AS i "
                           "CREATE (:Streamed {n: i})");
    falkor_pool *other = serving_pool(&options);
    falkor_query_each(falkor_select_graph(other, own.name), &reading,
        "MATCH (n) RETURN n", NULL, on_node, &good, NULL, &error);
    serving_ok(&error);
    assert_int_equal(good, 500);
    /* One more that this snapshot has not. */
    serving_run(own.graph, "CREATE (:Later {fresh: 1})");
    serving_run(own.graph, "MATCH (n:Later) DELETE n CREATE (:Streamed "
                           "{fresher: 2, n: 0})");
    good = 0;
    falkor_query_each(falkor_select_graph(other, own.name), &reading,
        "MATCH (n) RETURN n ORDER BY n.n", NULL, on_node, &good, NULL, &error);
    serving_ok(&error);
    assert_int_equal(good, 501);
    falkor_pool_free(other);
    drop(&own);
}

/* ---- as JSON ---------------------------------------------------------- */

typedef struct written { char text[4096]; size_t length; } written;

static bool collect(void *ctx, const char *bytes, size_t length) {
    written *all = ctx;
    if (length >= sizeof all->text - all->length)
        return false;
    memcpy(all->text + all->length, bytes, length);
    all->length += length;
    return true;
}

static void test_queries_as_json(void **state) {
    static written all;
    static const char begins[] = "{\"columns\":[\"p\",\"f\",\"at\",\"d\"],"
        "\"rows\":[[{\"nodes\":[{\"id\":0,\"labels\":[\"A\"],\"properties\":"
        "{\"k\":\"\\\"\\n\"}},{\"id\":1,\"labels\":[],\"properties\":{}}],"
        "\"edges\":[{\"id\":0,\"type\":\"R\",\"source\":0,\"destination\":1,"
        "\"properties\":{\"w\":[1,2.5]}}]},0.5,{\"latitude\":1,"
        "\"longitude\":-2},\"1999-12-31\"]],\"summary\":{\"nodes_created\":0,";
    char *json;
    size_t length;
    (void)state;
    own_graph own = fresh("json");
    serving_run(own.graph, "CREATE (:A {k: '\"\\n'})-[:R {w: [1, 2.5]}]->()");
    falkor_result *result = serving_query(own.graph, "MATCH p = (:A)-->() "
        "RETURN p, 0.5 AS f, point({latitude: 1, longitude: -2}) AS at, "
        "date('1999-12-31') AS d", NULL);
    assert_int_equal(falkor_result_to_json(result, &json, &length), FALKOR_OK);
    assert_int_equal(falkor_result_write_json(result, collect, &all),
                     FALKOR_OK);
    assert_string_equal(json, all.text);
    assert_int_equal(length, all.length);
    if (strncmp(json, begins, sizeof begins - 1) != 0)
        fail_msg("%s\nnot %s", json, begins);
    free(json);
    falkor_result_free(result);
    drop(&own);
}

/* ---- plain commands --------------------------------------------------- */

static falkor_result *command_on(falkor_conn *conn, size_t argc,
                                 const char *const *argv,
                                 const size_t *lengths) {
    falkor_error error;
    falkor_result *result;
    falkor_command(pool, &(falkor_call_options){.conn = conn}, argc, argv,
                   lengths, &result, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_rows(result), 1);
    assert_int_equal(falkor_result_columns(result), 1);
    return result;
}
#define COMMAND(conn, ...)                                                     \
    command_on(conn, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),   \
               (const char *[]){__VA_ARGS__}, NULL)

static void test_queries_command_replies(void **state) {
    falkor_error error;
    falkor_result *result;
    char key[64];
    (void)state;
    snprintf(key, sizeof key, "queries-%d-key", (int)getpid());
    const char bytes[] = "\0\r\n$-1\r\n\xff\"";
    falkor_result_free(command_on(NULL, 3, (const char *[]){"SET", key, bytes},
        (const size_t[]){3, strlen(key), sizeof bytes}));
    result = COMMAND(NULL, "GET", key);
    is_string(cell(result, 0, 0), bytes, sizeof bytes);
    falkor_result_free(result);
    result = COMMAND(NULL, "GET", "queries-no-such-key");
    typed(cell(result, 0, 0), FALKOR_NULL);
    falkor_result_free(result);
    result = COMMAND(NULL, "DEL", key);
    is_integer(cell(result, 0, 0), 1);
    falkor_result_free(result);
    result = COMMAND(NULL, "PING");
    is_text(cell(result, 0, 0), "PONG");
    falkor_result_free(result);
    result = COMMAND(NULL, "EVAL", "return {1, {'a', {}}, false, ''}", "0");
    const falkor_value *list = typed(cell(result, 0, 0), FALKOR_ARRAY);
    assert_int_equal(list->length, 4);
    is_integer(&list->as.items[0], 1);
    is_text(&typed(&list->as.items[1], FALKOR_ARRAY)->as.items[0], "a");
    assert_int_equal(list->as.items[1].as.items[1].length, 0);
    typed(&list->as.items[2], FALKOR_NULL);
    is_text(&list->as.items[3], "");
    falkor_result_free(result);
    assert_int_equal(falkor_command(pool, NULL, 1,
        (const char *[]){"NO-SUCH-COMMAND"}, NULL, &result, &error),
        FALKOR_ERR_QUERY);
    assert_null(result);
    test_assert_has(error.message, "unknown command");
}

/* A15, B9 */
static void test_queries_transaction(void **state) {
    falkor_error error;
    falkor_conn *conn;
    falkor_stats before, after;
    char key[64];
    (void)state;
    snprintf(key, sizeof key, "queries-%d-list", (int)getpid());
    falkor_pool_stats(pool, &before);
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    for (int round = 0; round < 2; round++) {
        falkor_result_free(COMMAND(conn, "MULTI"));
        falkor_result *queued = COMMAND(conn, "SET", key, "7");
        is_text(cell(queued, 0, 0), "QUEUED");
        falkor_result_free(queued);
        falkor_result_free(COMMAND(conn, "LPUSH", key, "x"));
        falkor_result_free(COMMAND(conn, "INCR", key));
        falkor_result *result = COMMAND(conn, "EXEC");
        const falkor_value *list = typed(cell(result, 0, 0), FALKOR_ARRAY);
        assert_int_equal(list->length, 3);
        is_text(&list->as.items[0], "OK");
        test_assert_has(typed(&list->as.items[1], FALKOR_ERROR_REPLY)
                            ->as.string, "WRONGTYPE");
        is_integer(&list->as.items[2], 8);
        falkor_result_free(result);
    }
    falkor_result_free(COMMAND(conn, "DEL", key));
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    falkor_pool_stats(pool, &after);    /* done with: it is kept */
    assert_int_equal(after.connections_recycled, before.connections_recycled);
    assert_int_equal(after.connections_created, before.connections_created);
}

/* What a holder can do beside asking, and what a close does to it. */
static void test_queries_held_connection(void **state) {
    falkor_options one = options;
    falkor_error error;
    falkor_conn *conn;
    falkor_result *result;
    int64_t ids[2];
    (void)state;
    one.min_size = one.max_size = 1;
    falkor_pool *own = serving_pool(&one);
    for (int i = 0; i < 2; i++) {
        falkor_acquire(own, &conn, &error);
        serving_ok(&error);
        assert_null(falkor_conn_handle(conn));
        falkor_command(own, &(falkor_call_options){.conn = conn}, 2,
            (const char *[]){"CLIENT", "ID"}, NULL, &result, &error);
        serving_ok(&error);
        ids[i] = cell(result, 0, 0)->as.integer;
        falkor_result_free(result);
        if (i == 0) {
            falkor_conn_mark_broken(conn);
            assert_int_equal(falkor_release(conn), FALKOR_OK);
        }
    }
    assert_int_not_equal(ids[0], ids[1]);
    assert_int_equal(falkor_pool_close(own, 1), FALKOR_ERR_TIMEOUT);
    assert_int_not_equal(falkor_command(own,
        &(falkor_call_options){.conn = conn}, 1, (const char *[]){"PING"},
        NULL, NULL, &error), FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(falkor_pool_close(own, -1), FALKOR_OK);
    falkor_pool_free(own);
}

static bool is_closed(uint64_t recycled) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now.connections_recycled > recycled || now.closing > 0;
}

/* What one holder did to the session the next one never sees. */
/* A15 */
static void test_queries_session_is_not_handed_on(void **state) {
    static const char *const changes[][2] = {{"SELECT", "5"},
        {"MULTI", NULL}, {"WATCH", "k"}, {"SUBSCRIBE", "news"},
        {"CLIENT", "SETNAME"}};
    (void)state;
    own_graph own = fresh("session");
    falkor_options small = options;
    small.max_size = 1;
    falkor_pool *one = serving_pool(&small);
    falkor_graph *graph = falkor_select_graph(one, own.name);
    serving_run(graph, "CREATE (:Home)");
    for (size_t i = 0; i < 5; i++) {
        falkor_error error;
        falkor_conn *conn;
        falkor_stats before, after;
        falkor_acquire(one, &conn, &error);
        serving_ok(&error);
        falkor_pool_stats(one, &before);
        falkor_command(one, &(falkor_call_options){.conn = conn},
            i == 4 ? 3 : changes[i][1] ? 2 : 1,
            (const char *[]){changes[i][0], changes[i][1], "x"}, NULL, NULL,
            &error);
        serving_ok(&error);
        assert_int_equal(falkor_release(conn), FALKOR_OK);
        assert_int_equal(serving_integer(graph, "MATCH (h:Home) "
            "RETURN count(h)", NULL), 1);
        falkor_pool_stats(one, &after);
        if (after.connections_created != before.connections_created + 1)
            fail_msg("after %s the connection was used again", changes[i][0]);
    }
    falkor_pool_free(one);
    drop(&own);
}

/* A held connection that timed out is of no use, and says so. */
/* A24, M1 */
static void test_queries_held_after_a_timeout(void **state) {
    falkor_error error;
    falkor_conn *conn;
    falkor_stats before;
    (void)state;
    own_graph own = fresh("held");
    serving_run(own.graph, "CREATE (:X)");
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    falkor_pool_stats(pool, &before);
    falkor_call_options hasty = {.conn = conn, .timeout_ms = 1,
                                 .read_only = true, .server_timeout_ms = 500};
    assert_int_equal(falkor_query_with(own.graph, &hasty,
        "UNWIND range(1, 2000000) AS x RETURN max(x)", NULL, NULL, &error),
        FALKOR_ERR_TIMEOUT);
    hasty.timeout_ms = 0;
    int64_t begin_ms = test_now_ms();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(falkor_query_with(own.graph, &hasty, "RETURN 1",
                                           NULL, NULL, &error),
                         FALKOR_ERR_IO);
        test_assert_has(error.message, "release it");
        assert_false(error.maybe_executed);
    }
    assert_true(test_now_ms() - begin_ms < 1000);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_true(is_closed(before.connections_recycled));
    for (int i = 0; i < 30; i++)
        assert_int_equal(serving_integer(own.graph, "RETURN 42", NULL), 42);
    drop(&own);
}

static size_t running(void) {
    falkor_result *result;
    falkor_error error;
    falkor_info(pool, NULL, "RunningQueries", &result, &error);
    serving_ok(&error);
    size_t queries = falkor_result_rows(result);
    falkor_result_free(result);
    return queries;
}

/* The server stops when the caller's time is over, and not a minute later. */
/* C4 */
static void test_queries_time_left(void **state) {
    static const char slow[] = "UNWIND range(1, 20000) AS x "
        "UNWIND range(1, 20000) AS y WITH x * y AS z RETURN count(z)";
    falkor_call_options left = {.read_only = true, .timeout_ms = 100,
                                .server_timeout_ms = FALKOR_TIME_LEFT};
    falkor_result *result;
    falkor_error error;
    (void)state;
    own_graph own = fresh("left");
    serving_run(own.graph, "CREATE (:X)");
    falkor_query_with(own.graph, &left, slow, NULL, NULL, &error);
    assert_true(error.status == FALKOR_ERR_TIMEOUT ||
                error.status == FALKOR_ERR_SERVER_TIMEOUT);
    TEST_EVENTUALLY(running() == 0);
    /* As text of its own at each attempt, and none for ever. */
    left.timeout_ms = -1;
    for (int i = 0; i < 2; i++) {
        falkor_query_with(own.graph, &left, "MATCH (x:X) RETURN count(x)",
                          NULL, &result, &error);
        serving_ok(&error);
        falkor_result_free(result);
        left.timeout_ms = 20000;
    }
    assert_int_equal(falkor_command(pool, &left, 1, (const char *[]){"PING"},
                                    NULL, NULL, &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "FALKOR_TIME_LEFT");
    drop(&own);
}

/* ---- a callback that asks --------------------------------------------- */

typedef struct asking {
    falkor_pool *pool;
    falkor_graph *graph;
    atomic_int told, answered;
    atomic_bool high, recycled, leak, closing;
} asking;

static void ask_back(void *ctx, const falkor_event *event) {
    asking *self = ctx;
    char reason[40];
    atomic_fetch_add(&self->told, 1);
    if (strcmp(event->name, "high_pool_utilization") == 0)
        atomic_store(&self->high, true);
    if (strcmp(event->name, "closing_connection_pool") == 0)
        atomic_store(&self->closing, true);
    if (strcmp(event->name, "connection_leak") == 0)
        atomic_store(&self->leak, true);
    if (falkor_event_field(event, "reason", reason, sizeof reason) &&
        strcmp(reason, "broken") == 0)
        atomic_store(&self->recycled, true);
    falkor_call_options brief = {.timeout_ms = 200};
    if (self->graph && falkor_query_with(self->graph, &brief, "RETURN 1", NULL,
                                         NULL, NULL) == FALKOR_OK)
        atomic_fetch_add(&self->answered, 1);
}

/* From within an event a query has a connection beside the thread's own, or is
   told in time that there is none. */
/* A25, D5 */
static void test_queries_of_an_event_callback(void **state) {
    (void)state;
    own_graph own = fresh("callback");
    serving_run(own.graph, "RETURN 1");
    asking self = {0};
    falkor_options mine = options;
    falkor_error error;
    falkor_conn *held[2];
    mine.min_size = 1;
    mine.max_size = 2;
    mine.leak_after_ms = 50;
    mine.on_event = ask_back;
    mine.event_ctx = &self;
    assert_int_equal(falkor_pool_create(&mine, &self.pool, &error), FALKOR_OK);
    self.graph = falkor_select_graph(self.pool, own.name);
    falkor_pool_open(self.pool, &error);
    serving_ok(&error);
    assert_int_equal(atomic_load(&self.answered), 1);   /* initialized */
    for (int i = 0; i < 2; i++) {
        falkor_acquire(self.pool, &held[i], &error);
        serving_ok(&error);
    }
    assert_true(atomic_load(&self.high));
    TEST_EVENTUALLY(atomic_load(&self.leak));
    int before = atomic_load(&self.answered);
    falkor_conn_mark_broken(held[0]);
    falkor_release(held[0]);
    falkor_release(held[1]);
    TEST_EVENTUALLY(atomic_load(&self.recycled) &&
                    atomic_load(&self.answered) > before);
    assert_int_equal(falkor_pool_close(self.pool, 5000), FALKOR_OK);
    assert_true(atomic_load(&self.closing));
    falkor_graph_free(self.graph);
    falkor_pool_free(self.pool);
    drop(&own);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_queries_of_an_event_callback),
    cmocka_unit_test(test_queries_time_left),
    cmocka_unit_test(test_queries_null_and_booleans),
    cmocka_unit_test(test_queries_integers),
    cmocka_unit_test(test_queries_doubles),
    cmocka_unit_test(test_queries_strings),
    cmocka_unit_test(test_queries_temporal),
    cmocka_unit_test(test_queries_point_and_vector),
    cmocka_unit_test(test_queries_nested_lists),
    cmocka_unit_test(test_queries_lists_a_hundred_deep),
    cmocka_unit_test(test_queries_maps),
    cmocka_unit_test(test_queries_nodes),
    cmocka_unit_test(test_queries_edges_and_paths),
    cmocka_unit_test(test_queries_deleted_node),
    cmocka_unit_test(test_queries_columns),
    cmocka_unit_test(test_queries_nothing_found),
    cmocka_unit_test(test_queries_summary),
    cmocka_unit_test(test_queries_summary_of_every_kind),
    cmocka_unit_test(test_queries_fifty_thousand_nodes),
    cmocka_unit_test(test_queries_five_megabytes),
    cmocka_unit_test(test_queries_long_list),
    cmocka_unit_test(test_queries_errors),
    cmocka_unit_test(test_queries_constraint_violation),
    cmocka_unit_test(test_queries_names_on_a_fresh_pool),
    cmocka_unit_test(test_queries_names_that_are_new),
    cmocka_unit_test(test_queries_two_graphs_keep_their_names),
    cmocka_unit_test(test_queries_graph_deleted_in_between),
    cmocka_unit_test(test_queries_result_outlives_the_pool),
    cmocka_unit_test(test_queries_each_row),
    cmocka_unit_test(test_queries_each_row_stops_early),
    cmocka_unit_test(test_queries_each_row_may_query),
    cmocka_unit_test(test_queries_each_row_fails),
    cmocka_unit_test(test_queries_each_row_has_names),
    cmocka_unit_test(test_queries_as_json),
    cmocka_unit_test(test_queries_command_replies),
    cmocka_unit_test(test_queries_transaction),
    cmocka_unit_test(test_queries_held_connection),
    cmocka_unit_test(test_queries_session_is_not_handed_on),
    cmocka_unit_test(test_queries_held_after_a_timeout))
