/* Procedures, indexes and constraints on the real server: what is made is
   there, what is there already or gone already is harmless, waiting waits, and
   names cannot change a statement. The sources are included so that their
   allocations can be made to fail. */
#include "serving.h"
#include <signal.h>
#include <unistd.h>

static int mallocs_left = -1;           /* negative: as many as wanted */

static bool wanting(void) {
    if (mallocs_left == 0)
        return true;
    mallocs_left -= mallocs_left > 0;
    return false;
}
static void *wanting_malloc(size_t size) {
    return wanting() ? NULL : malloc(size);
}
static void *wanting_calloc(size_t count, size_t size) {
    return wanting() ? NULL : calloc(count, size);
}
#define malloc wanting_malloc
#define calloc wanting_calloc
#include "../statements.c"
#include "../indexes.c"
#undef malloc
#undef calloc

static serving server;
static falkor_pool *pool;
static falkor_graph *graph;
static int tests;

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_retries = -1;
    pool = serving_pool(&options);
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

/* Each test has a graph of its own. */
static int set_up(void **state) {
    char name[32];
    (void)state;
    snprintf(name, sizeof name, "indexes-%d", tests++);
    graph = falkor_select_graph(pool, name);
    serving_run(graph, "UNWIND range(1, 5) AS x "
                       "CREATE (:A {x: x})-[:T {w: x}]->(:B {y: x})");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    falkor_graph_delete(graph, NULL, NULL);
    falkor_graph_free(graph);
    return 0;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void create(const falkor_index *index) {
    falkor_error error;
    falkor_index_create(graph, NULL, index, &error);
    serving_ok(&error);
    assert_int_equal(error.attempts, 1);
    assert_false(error.maybe_executed);
}

static void drop(const falkor_index *index) {
    falkor_error error;
    falkor_index_drop(graph, NULL, index, &error);
    serving_ok(&error);
}

/* What db.indexes() says of a label in this column, as JSON. */
static bool append(void *ctx, const char *bytes, size_t length) {
    strncat(ctx, bytes, length);
    return true;
}

static const char *told(const char *label, const char *column) {
    static char text[4096];
    falkor_result *result;
    falkor_error error;
    text[0] = '\0';
    falkor_indexes(graph, NULL, &result, &error);
    serving_ok(&error);
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        if (strcmp(falkor_result_get(result, row, "label")->as.string,
                   label) == 0)
            falkor_value_write_json(falkor_result_get(result, row, column),
                                    append, text);
    falkor_result_free(result);
    return text;
}

/* A drop leaves the old index beside the new one until that is built. */
#define TOLD(label, column, text)                                              \
    TEST_EVENTUALLY(strcmp(told(label, column), text) == 0)
#define TOLD_HAS(label, column, text)                                          \
    TEST_EVENTUALLY(strstr(told(label, column), text))
#define TOLD_LACKS(label, column, text)                                        \
    TEST_EVENTUALLY(!strstr(told(label, column), text))

/* ---- indexes ---------------------------------------------------------- */

static void test_indexes_of_every_kind_are_made_and_dropped(void **state) {
    (void)state;
    for (int edges = 0; edges < 2; edges++) {
        const char *label = edges ? "T" : "A";
        falkor_index range = {.label = label, .on_edges = edges,
                              .properties = LIST("w", "x"), .wait = true};
        falkor_index text = range, vector = range;
        text.kind = FALKOR_INDEX_FULLTEXT;
        text.properties = LIST("text");
        vector.kind = FALKOR_INDEX_VECTOR;
        vector.properties = LIST("v", "v2");
        vector.dimension = 3;
        vector.similarity = "cosine";
        vector.m = 8;
        vector.ef_construction = 100;
        vector.ef_runtime = 20;
        create(&range);
        create(&text);
        create(&vector);
        TOLD(label, "entitytype",
                            edges ? "\"RELATIONSHIP\"" : "\"NODE\"");
        TOLD(label, "status", "\"OPERATIONAL\"");
        TOLD_HAS(label, "types", "\"x\":[\"RANGE\"]");
        TOLD_HAS(label, "types", "\"w\":[\"RANGE\"]");
        TOLD_HAS(label, "types", "\"text\":[\"FULLTEXT\"]");
        TOLD_HAS(label, "types", "\"v2\":[\"VECTOR\"]");
        TOLD_HAS(label, "options", "\"v\":{\"dimension\":3,"
            "\"similarityFunction\":\"cosine\",\"M\":8,\"efConstruction\":100,"
            "\"efRuntime\":20}");
        create(&range);                 /* all of them are there */
        create(&text);
        create(&vector);
        drop(&range);
        TOLD_LACKS(label, "types", "RANGE");
        drop(&text);
        drop(&vector);
        TOLD(label, "types", "");
        drop(&range);                   /* none of them is there */
        drop(&text);
        drop(&vector);
    }
}

static void test_indexes_add_the_properties_that_are_missing(void **state) {
    (void)state;
    create(&(falkor_index){.label = "A", .properties = LIST("b")});
    create(&(falkor_index){.label = "A",
        .properties = LIST("a", "b", "c", "c"), .wait = true});
    TOLD_HAS("A", "types", "\"a\":[\"RANGE\"]");
    TOLD_HAS("A", "types", "\"b\":[\"RANGE\"]");
    TOLD_HAS("A", "types", "\"c\":[\"RANGE\"]");
    drop(&(falkor_index){.label = "A", .properties = LIST("b", "n", "c")});
    TOLD("A", "properties", "[\"a\"]");
}

static void test_indexes_fulltext_has_its_options(void **state) {
    (void)state;
    falkor_index text = {.kind = FALKOR_INDEX_FULLTEXT, .label = "A",
        .properties = LIST("t", "u"), .language = "german",
        .stopwords = LIST("der", "die \"'$\\"), .weight = 2.5,
        .no_stem = true, .phonetic = "dm:en", .wait = true};
    falkor_error error;
    create(&text);
    TOLD("A", "language", "\"german\"");
    TOLD_HAS("A", "stopwords", "der");
    TOLD_HAS("A", "stopwords", "die \\\"'$\\\\");
    TOLD_HAS("A", "info", "\"textWeight\":2.5");
    /* The same words, more properties; and words that are left out. */
    text.properties = LIST("t", "more");
    text.stopwords = LIST("die \"'$\\", "der");
    create(&text);
    text.properties = LIST("only");
    create(&text);
    text.properties = LIST("other");
    text.language = NULL;
    text.stopwords = NULL;
    create(&text);
    TOLD_HAS("A", "types", "\"more\":[\"FULLTEXT\"]");
    TOLD_HAS("A", "types", "\"only\":[\"FULLTEXT\"]");
    TOLD_HAS("A", "types", "\"other\":[\"FULLTEXT\"]");
    /* Other words are refused: they would not count. */
    text.properties = LIST("t", "fourth");
    text.language = "english";
    assert_int_equal(falkor_index_create(graph, NULL, &text, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "Can not override");
    text.language = "german";
    text.stopwords = LIST("der");
    assert_int_equal(falkor_index_create(graph, NULL, &text, &error),
                     FALKOR_ERR_QUERY);
    TOLD_LACKS("A", "types", "fourth");
    /* No stopwords at all. */
    text.label = "B";
    text.stopwords = LIST(NULL);
    create(&text);
    TOLD("B", "stopwords", "[]");
}

static void test_indexes_names_cannot_change_a_statement(void **state) {
    (void)state;
    static const char *const odd[] = {"a b", "n) ON (e.x", "'\"\\$//", "\n\t",
        "CYPHER x=1", "\xC3\xA9\xE2\x82\xAC", "A`) ON (e.x) //", ""};
    falkor_error error;
    for (size_t i = 0; i < 8; i++)
        for (int where = 0; where < 2; where++) {
            falkor_index index = {.label = where ? "A" : odd[i],
                .properties = where ? LIST("x", odd[i]) : LIST("x")};
            falkor_status status = falkor_index_create(graph, NULL, &index,
                                                       &error);
            if (i >= 6) {
                assert_int_equal(status, FALKOR_ERR_ARGUMENT);
                test_assert_has(error.message, i == 6 ? odd[i] : "empty");
                test_assert_has(error.message, where ? "property" : "label");
                assert_int_equal(falkor_index_drop(graph, NULL, &index, NULL),
                                 FALKOR_ERR_ARGUMENT);
                continue;
            }
            serving_ok(&error);
            TOLD_HAS(index.label, "types", "RANGE");
            drop(&index);
            TOLD(index.label, "types", "");
        }
}

/* The server's text names the property, and is longer than an error holds. */
static void test_indexes_with_long_names_are_harmless_too(void **state) {
    (void)state;
    char name[1200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    falkor_index index = {.label = "A", .properties = LIST(name, "x")};
    create(&index);
    create(&index);
    drop(&index);
    drop(&index);
}

static void test_indexes_refuse_bad_input(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    falkor_index good = {.label = "A", .properties = LIST("x")};
    static const char *const none[] = {NULL};
    const falkor_index bad[] = {
        {.properties = LIST("x")},
        {.label = "A"},
        {.label = "A", .properties = none},
        {.label = "A", .properties = LIST("x"), .kind = (falkor_index_kind)3},
        {.label = "A", .properties = LIST("x"), .kind = FALKOR_INDEX_VECTOR},
        {.label = "A", .properties = LIST("x"), .kind = FALKOR_INDEX_VECTOR,
         .dimension = 2, .m = -1},
        {.label = "A", .properties = LIST("x"), .kind = FALKOR_INDEX_FULLTEXT,
         .weight = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(falkor_index_create(graph, NULL, &bad[i], &error),
                         FALKOR_ERR_ARGUMENT);
        assert_int_equal(error.attempts, 0);
        assert_true(error.message[0]);
        assert_int_equal(falkor_index_drop(graph, NULL, &bad[i], NULL),
                         FALKOR_ERR_ARGUMENT);
    }
    assert_int_equal(falkor_index_create(graph, NULL, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_index_drop(graph, NULL, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_index_create(NULL, NULL, &good, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_index_drop(NULL, NULL, &good, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_indexes(NULL, NULL, &result, NULL),
                     FALKOR_ERR_ARGUMENT);
    assert_null(result);
    assert_int_equal(falkor_index_create(graph,
        &(falkor_call_options){.timeout_ms = -3}, &good, &error),
        FALKOR_ERR_ARGUMENT);
    good.kind = FALKOR_INDEX_VECTOR;
    good.dimension = 2;
    good.similarity = "nearest";
    assert_int_equal(falkor_index_create(graph, NULL, &good, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "Invalid vector index configuration");
}

static void test_indexes_drop_makes_no_graph(void **state) {
    (void)state;
    falkor_result *list;
    falkor_error error;
    falkor_graph *missing = falkor_select_graph(pool, "missing");
    falkor_index_drop(missing, NULL, &(falkor_index){.label = "A",
        .properties = LIST("x")}, &error);
    serving_ok(&error);
    falkor_constraint_drop(missing, NULL, &(falkor_constraint){.label = "A",
        .properties = LIST("x")}, &error);
    serving_ok(&error);
    assert_int_equal(falkor_indexes(missing, NULL, &list, &error),
                     FALKOR_ERR_QUERY);
    assert_int_equal(falkor_constraints(missing, NULL, &list, &error),
                     FALKOR_ERR_QUERY);
    assert_int_equal(serving_number(server.port, "EXISTS missing"), 0);
    falkor_graph_free(missing);
}

/* ---- waiting ---------------------------------------------------------- */

/* Enough that building takes the server some time. */
static void fill(void) {
    serving_run(graph, "UNWIND range(1, 20000) AS x "
                       "CREATE (:Big {x: x, y: x % 7, s: 'word ' + x})");
}

static void test_indexes_wait_until_they_are_built(void **state) {
    (void)state;
    fill();
    create(&(falkor_index){.kind = FALKOR_INDEX_FULLTEXT, .label = "Big",
                           .properties = LIST("s"), .wait = true});
    assert_string_equal(told("Big", "status"), "\"OPERATIONAL\"");
    assert_int_equal(serving_integer(graph, "CALL db.idx.fulltext.queryNodes("
        "'Big', 'word') YIELD node RETURN count(node)", NULL), 20000);
    create(&(falkor_index){.label = "Big", .properties = LIST("x", "y")});
    if (!strstr(told("Big", "status"), "UNDER CONSTRUCTION"))
        print_message("built before it was asked for\n");
    create(&(falkor_index){.label = "Big", .properties = LIST("y"),
                           .wait = true});
    assert_string_equal(told("Big", "status"), "\"OPERATIONAL\"");
}

static const char *state_of(const char *type, const char *property) {
    static char text[64];
    falkor_result *result;
    falkor_error error;
    falkor_constraints(graph, NULL, &result, &error);
    serving_ok(&error);
    strcpy(text, "none");
    for (size_t row = 0; row < falkor_result_rows(result); row++) {
        const falkor_value *list = falkor_result_get(result, row,
                                                     "properties");
        if (strcmp(falkor_result_get(result, row, "type")->as.string,
                   type) == 0 &&
            strcmp(list->as.items[0].as.string, property) == 0)
            snprintf(text, sizeof text, "%s",
                     falkor_result_get(result, row, "status")->as.string);
    }
    falkor_result_free(result);
    return text;
}

static falkor_status constrain(const falkor_constraint *constraint,
                               int timeout_ms, falkor_error *error) {
    return falkor_constraint_create(graph,
        &(falkor_call_options){.timeout_ms = timeout_ms}, constraint, error);
}

static void test_constraints_are_made_and_enforced(void **state) {
    (void)state;
    falkor_error error;
    falkor_constraint unique = {.label = "A", .properties = LIST("x"),
                                .wait = true};
    falkor_constraint needed = {FALKOR_CONSTRAINT_MANDATORY, true, true, "T",
                                LIST("w")};
    constrain(&unique, 0, &error);
    serving_ok(&error);
    assert_int_equal(error.attempts, 1);
    constrain(&needed, 0, &error);
    serving_ok(&error);
    assert_string_equal(state_of("UNIQUE", "x"), "OPERATIONAL");
    assert_string_equal(state_of("MANDATORY", "w"), "OPERATIONAL");
    test_assert_has(told("A", "types"), "\"x\":[\"RANGE\"]");
    constrain(&unique, 0, &error);      /* both are there */
    serving_ok(&error);
    constrain(&needed, 0, &error);
    serving_ok(&error);
    assert_int_equal(falkor_query(graph, "CREATE (:A {x: 1})", NULL, NULL,
                                  &error), FALKOR_ERR_CONSTRAINT);
    assert_int_equal(falkor_query(graph, "CREATE ()-[:T]->()", NULL, NULL,
                                  &error), FALKOR_ERR_CONSTRAINT);
    assert_int_equal(falkor_index_drop(graph, NULL, &(falkor_index){
        .label = "A", .properties = LIST("x")}, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, ":A(x) supports a unique constraint");
    /* Had the server been asked, it would have crashed now. */
    serving_run(graph, "CREATE (:A {x: 6})");
    for (int twice = 0; twice < 2; twice++) {
        falkor_constraint_drop(graph, NULL, &unique, &error);
        serving_ok(&error);
        falkor_constraint_drop(graph, NULL, &needed, &error);
        serving_ok(&error);
    }
    assert_string_equal(state_of("UNIQUE", "x"), "none");
    serving_run(graph, "CREATE (:A {x: 1})-[:T]->()");
}

static void test_constraints_on_several_properties(void **state) {
    (void)state;
    falkor_error error;
    create(&(falkor_index){.label = "A", .properties = LIST("x")});
    falkor_constraint unique = {.label = "A", .properties = LIST("x", "z"),
                                .wait = true};
    constrain(&unique, 0, &error);
    serving_ok(&error);
    unique.properties = LIST("z", "x");         /* the same */
    constrain(&unique, 0, &error);
    serving_ok(&error);
    falkor_result *result;
    falkor_constraints(graph, NULL, &result, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_rows(result), 1);
    falkor_result_free(result);
    serving_run(graph, "CREATE (:A {x: 1, z: 1})");
    assert_int_equal(falkor_query(graph, "CREATE (:A {x: 1, z: 1})", NULL,
                                  NULL, &error), FALKOR_ERR_CONSTRAINT);
    assert_int_equal(constrain(&(falkor_constraint){.label = "A",
        .properties = LIST("q", "q")}, 0, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "duplicates");
}

static void test_constraints_wait_for_data_that_violates_them(void **state) {
    (void)state;
    falkor_error error;
    fill();
    falkor_constraint unique = {.label = "Big", .properties = LIST("y"),
                                .wait = true};
    assert_int_equal(constrain(&unique, 0, &error), FALKOR_ERR_CONSTRAINT);
    test_assert_has(error.message, "unique constraint on :Big(y)");
    test_assert_has(error.message, "violates");
    assert_true(error.maybe_executed);
    assert_string_equal(state_of("UNIQUE", "y"), "FAILED");
    /* The data is mended: created again it works. */
    serving_run(graph, "MATCH (b:Big) SET b.y = b.x");
    constrain(&unique, 0, &error);
    serving_ok(&error);
    assert_string_equal(state_of("UNIQUE", "y"), "OPERATIONAL");
    assert_int_equal(constrain(&(falkor_constraint){
        FALKOR_CONSTRAINT_MANDATORY, false, true, "Big", LIST("none", "x")},
        0, &error), FALKOR_ERR_CONSTRAINT);
    test_assert_has(error.message, "mandatory constraint on :Big(none, ...)");
}

/* Time ends while the server builds: the error says so, the server goes on,
   and a later call waits for the end. */
static void test_constraints_wait_no_longer_than_their_time(void **state) {
    (void)state;
    falkor_error error;
    fill();
    falkor_constraint unique = {.label = "Big", .properties = LIST("x")};
    constrain(&unique, 0, &error);
    serving_ok(&error);
    assert_string_equal(state_of("UNIQUE", "x"), "UNDER CONSTRUCTION");
    unique.wait = true;
    int64_t start = test_now_ms();
    falkor_status status = constrain(&unique, 40, &error);
    assert_true(test_now_ms() - start < TEST_PATIENCE_MS);
    /* Done within 40 ms is not likely; while it builds, the server may not even
       answer. */
    if (status)
        assert_int_equal(status, FALKOR_ERR_TIMEOUT);
    constrain(&unique, -1, &error);
    serving_ok(&error);
    assert_string_equal(state_of("UNIQUE", "x"), "OPERATIONAL");
}

#define STATES(rows) "*3\r\n*1\r\n*2\r\n:1\r\n$6\r\nstatus\r\n" rows \
                     "*1\r\n$19\r\nCached execution: 1\r\n"

/* A proxy answers when the state is asked for: a server that is never done,
   and one where somebody has dropped what was made. */
static void test_constraints_wait_through_odd_states(void **state) {
    (void)state;
    static const char *const building = STATES("*1\r\n*1\r\n*2\r\n:2\r\n"
        "$18\r\nUNDER CONSTRUCTION\r\n");
    static const char *const gone = STATES("*0\r\n");
    proxy between;
    falkor_error error;
    falkor_constraint needed = {FALKOR_CONSTRAINT_MANDATORY, .label = "A",
        .properties = LIST("x"), .wait = true};
    proxy_start(&between, server.port);
    falkor_options options = serving_options(between.port);
    options.min_size = -1;
    options.validate_after_ms = -1;
    falkor_pool *other = serving_pool(&options);
    falkor_graph *of = falkor_select_graph(other, falkor_graph_name(graph));
    /* Names are known: no query but those for the state is sent. */
    falkor_ro_query(of, "MATCH (a:A) RETURN a LIMIT 1", NULL, NULL, &error);
    serving_ok(&error);
    atomic_store(&between.answer, building);
    atomic_store(&between.spared, 1);   /* the creation itself */
    atomic_store(&between.answers, 1000000);
    int64_t start = test_now_ms();
    assert_int_equal(falkor_constraint_create(of,
        &(falkor_call_options){.timeout_ms = 700}, &needed, &error),
        FALKOR_ERR_TIMEOUT);
    assert_true(test_now_ms() - start >= 690);
    test_assert_has(error.message, "mandatory constraint on :A(x) is still "
                                   "being built");
    assert_true(error.maybe_executed);
    /* The pauses grow: 1, 2, 4, ... 100 ms. */
    assert_true(atomic_load(&between.answered) >= 4);
    assert_true(atomic_load(&between.answered) <= 16);
    atomic_store(&between.answer, gone);
    atomic_store(&between.spared, 1);
    assert_int_equal(falkor_constraint_create(of, NULL, &needed, &error),
                     FALKOR_ERR_CONSTRAINT);
    test_assert_has(error.message, "not there any more");
    atomic_store(&between.answers, 0);
    falkor_graph_free(of);
    falkor_pool_free(other);
    proxy_stop(&between);
}

static void *close_soon(void *argument) {
    test_pause_ms(20);
    falkor_pool_close(argument, 0);
    return NULL;
}

static void test_constraints_stop_waiting_when_the_pool_is_closed(
    void **state) {
    (void)state;
    falkor_error error;
    fill();
    falkor_options options = serving_options(server.port);
    options.min_size = -1;
    falkor_pool *other = serving_pool(&options);
    falkor_graph *of = falkor_select_graph(other, falkor_graph_name(graph));
    test_threads threads = test_start(close_soon, other, 0, 1);
    falkor_status status = falkor_constraint_create(of, NULL,
        &(falkor_constraint){.label = "Big", .properties = LIST("x"),
                             .wait = true}, &error);
    test_join(&threads);
    /* Where the close met a statement instead of a pause, that broke. */
    assert_true(status == FALKOR_ERR_CLOSED || status == FALKOR_ERR_IO);
    falkor_graph_free(of);
    falkor_pool_free(other);
}

static void test_constraints_refuse_bad_input(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    static const char *const none[] = {NULL};
    const falkor_constraint bad[] = {
        {.properties = LIST("x")},
        {.label = "", .properties = LIST("x")},
        {.label = "A`B", .properties = LIST("x")},
        {.label = "A"},
        {.label = "A", .properties = none},
        {.label = "A", .properties = LIST("x", "")},
        {.label = "A", .properties = LIST("x", "a`b")},
        {.label = "A", .properties = LIST("x"),
         .kind = (falkor_constraint_kind)2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(falkor_constraint_create(graph, NULL, &bad[i],
                                                  &error),
                         FALKOR_ERR_ARGUMENT);
        assert_int_equal(error.attempts, 0);
        assert_false(error.maybe_executed);
        assert_int_equal(falkor_constraint_drop(graph, NULL, &bad[i], NULL),
                         FALKOR_ERR_ARGUMENT);
    }
    assert_int_equal(falkor_constraint_create(graph, NULL, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_constraint_drop(NULL, NULL, &bad[0], &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_constraints(NULL, NULL, &result, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(result);
}

/* ---- held connections, time, memory ----------------------------------- */

static void test_indexes_work_on_a_held_connection_but_not_in_multi(
    void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_index index = {.label = "A", .properties = LIST("x"), .wait = true};
    falkor_constraint unique = {.label = "A", .properties = LIST("x"),
                                .wait = true};
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    /* The server builds one thing after another, those of older tests too. */
    falkor_call_options held = {.conn = conn, .timeout_ms = 100000,
                                .read_only = true};
    falkor_index_create(graph, &held, &index, &error);
    serving_ok(&error);
    falkor_constraint_create(graph, &held, &unique, &error);
    serving_ok(&error);
    falkor_constraint_drop(graph, &held, &unique, &error);
    serving_ok(&error);
    falkor_index_drop(graph, &held, &index, &error);
    serving_ok(&error);
    falkor_command(pool, &held, 1, (const char *[]){"MULTI"}, NULL, NULL,
                   &error);
    serving_ok(&error);
    assert_int_equal(falkor_index_create(graph, &held, &index, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_index_drop(graph, &held, &index, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_constraint_create(graph, &held, &unique, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_constraint_drop(graph, &held, &unique, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "MULTI");
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_string_equal(told("A", "types"), "");
}

static void test_indexes_end_at_their_timeout(void **state) {
    (void)state;
    falkor_error error;
    falkor_call_options brief = {.timeout_ms = 50, .max_retries = -1};
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    assert_true(falkor_index_create(graph, &brief, &(falkor_index){
        .label = "A", .properties = LIST("x")}, &error));
    assert_true(falkor_constraint_create(graph, &brief, &(falkor_constraint){
        .label = "A", .properties = LIST("x"), .wait = true}, &error));
    assert_true(falkor_index_drop(graph, &brief, &(falkor_index){
        .label = "A", .properties = LIST("x")}, &error));
    serving_signal(&server, SIGCONT);
}

static void test_indexes_without_memory_fail_and_leak_nothing(void **state) {
    (void)state;
    falkor_error error;
    falkor_status status;
    falkor_index index = {.kind = FALKOR_INDEX_FULLTEXT, .label = "A",
        .properties = LIST("s"), .stopwords = LIST("a"), .wait = true};
    falkor_constraint unique = {.label = "A", .properties = LIST("x"),
                                .wait = true};
    falkor_value arguments[] = {falkor_string("A"), falkor_string("x")};
    int left[5] = {0};
    for (int which = 0; which < 5; which++) {
        do {
            mallocs_left = left[which]++;
            status = which == 0
                ? falkor_index_create(graph, NULL, &index, &error)
                : which == 1 ? falkor_index_drop(graph, NULL, &index, &error)
                : which == 2
                ? falkor_constraint_create(graph, NULL, &unique, &error)
                : which == 3
                ? falkor_constraint_drop(graph, NULL, &unique, &error)
                : falkor_call_procedure(graph, NULL,
                    "db.idx.fulltext.createNodeIndex", arguments, 2, NULL,
                    NULL, &error);
            mallocs_left = -1;
            assert_int_equal(error.status, status);
        } while (status == FALKOR_ERR_NOMEM);
        serving_ok(&error);
        assert_true(left[which] > 1);
    }
}

/* ---- procedures ------------------------------------------------------- */

static falkor_result *call(const char *procedure, const falkor_value *list,
                           size_t count, const char *yield) {
    falkor_result *result;
    falkor_error error;
    falkor_call_procedure(graph, NULL, procedure, list, count, yield, &result,
                          &error);
    serving_ok(&error);
    return result;
}

static void test_procedures_take_arguments_as_they_are(void **state) {
    (void)state;
    const float near[] = {1.0f, 2.0f};
    create(&(falkor_index){.kind = FALKOR_INDEX_VECTOR, .label = "V",
        .properties = LIST("v"), .dimension = 2, .wait = true});
    serving_run(graph, "CREATE (:V {v: vecf32([1, 2])}),"
                       " (:V {v: vecf32([9, 9])})");
    falkor_value arguments[] = {falkor_string("V"), falkor_string("v"),
        falkor_int(1), falkor_vectorf32(near, 2)};
    falkor_result *found = call("db.idx.vector.queryNodes", arguments, 4,
                                " score ,\tnode\n");
    assert_int_equal(falkor_result_rows(found), 1);
    assert_int_equal(falkor_result_columns(found), 2);
    assert_string_equal(falkor_result_column(found, 0), "score");
    assert_true(falkor_result_get(found, 0, "score")->as.real == 0.0);
    assert_int_equal(falkor_property(falkor_result_get(found, 0, "node"),
                                     "v")->type, FALKOR_VECTORF32);
    falkor_result_free(found);
    found = call("db.labels", NULL, 0, NULL);
    assert_int_equal(falkor_result_rows(found), 3);
    falkor_result_free(found);
    falkor_value entry = falkor_string("\"'`\\$a0 // \n");
    found = call("db.idx.fulltext.createNodeIndex",
        (falkor_value[]){FALKOR_MAP_OF({"label", falkor_string("C")},
            {"stopwords", FALKOR_ARRAY_OF(falkor_string("of"))}), entry}, 2,
        NULL);
    falkor_result_free(found);
    test_assert_has(told("C", "stopwords"), "of");
}

/* What travels as text, a map or a list is made itself again by the function
   for its type. No procedure of the server takes all of them: the text shows
   it. */
static void test_procedures_make_each_argument_of_its_type(void **state) {
    (void)state;
    static const falkor_type types[] = {FALKOR_POINT, FALKOR_VECTORF32,
        FALKOR_DATETIME, FALKOR_DATE, FALKOR_TIME, FALKOR_DURATION,
        FALKOR_STRING, FALKOR_ARRAY, FALKOR_MAP, FALKOR_NULL};
    falkor_value arguments[10] = {{0}};
    falkor__buffer cypher;
    falkor_error error;
    for (size_t i = 0; i < 10; i++)
        arguments[i].type = types[i];
    falkor__buffer_begin(&cypher);
    assert_int_equal(falkor__put_call(&cypher, "a.b", arguments, 10, "c",
                                      &error), FALKOR_OK);
    falkor__buffer_add(&cypher, "", 1);
    assert_string_equal(cypher.text, "CALL `a.b`(point($a0),vecf32($a1),"
        "localdatetime($a2),date($a3),localtime($a4),duration($a5),($a6),"
        "($a7),($a8),($a9)) YIELD `c`");
    falkor__buffer_end(&cypher);
}

static void test_procedures_refuse_bad_input(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    falkor_value hostile[] = {{.type = FALKOR_NODE}};
    assert_int_equal(falkor_call_procedure(NULL, NULL, "db.labels", NULL, 0,
        NULL, &result, &error), FALKOR_ERR_ARGUMENT);
    assert_null(result);
    assert_int_equal(falkor_call_procedure(graph, NULL, NULL, NULL, 0, NULL,
        &result, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_call_procedure(graph, NULL, "", NULL, 0, NULL,
        NULL, NULL), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_call_procedure(graph, NULL, "a`b", NULL, 0, NULL,
        &result, &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "a`b");
    assert_int_equal(falkor_call_procedure(graph, NULL, "db.labels", NULL, 2,
        NULL, &result, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_call_procedure(graph, NULL, "db.labels", hostile,
        1, NULL, &result, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_call_procedure(graph, NULL, "db.labels", hostile,
        SIZE_MAX, NULL, &result, &error), FALKOR_ERR_NOMEM);
    static const char *const yields[] = {"", "label,", ",label", "a``b", " "};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(falkor_call_procedure(graph, NULL, "db.labels", NULL,
            0, yields[i], &result, &error), FALKOR_ERR_ARGUMENT);
    static const char *const unknown[] = {"nope", "label RETURN 1",
        "label WHERE label = 'A'", "label AS l"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(falkor_call_procedure(graph, NULL, "db.labels", NULL,
            0, unknown[i], &result, &error), FALKOR_ERR_QUERY);
    assert_int_equal(falkor_call_procedure(graph, NULL, "db.nope", NULL, 0,
        NULL, &result, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "not registered");
    assert_int_equal(falkor_call_procedure(graph,
        &(falkor_call_options){.read_only = true},
        "db.idx.fulltext.createNodeIndex", (falkor_value[]){
            falkor_string("A"), falkor_string("x")}, 2, NULL, &result, &error),
        FALKOR_ERR_QUERY);
    test_assert_has(error.message, "read-only");
    assert_null(result);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
TEST_MAIN_WITH(begin, end,
    TEST(test_indexes_of_every_kind_are_made_and_dropped),
    TEST(test_indexes_add_the_properties_that_are_missing),
    TEST(test_indexes_fulltext_has_its_options),
    TEST(test_indexes_names_cannot_change_a_statement),
    TEST(test_indexes_with_long_names_are_harmless_too),
    TEST(test_indexes_refuse_bad_input),
    TEST(test_indexes_drop_makes_no_graph),
    TEST(test_indexes_wait_until_they_are_built),
    TEST(test_constraints_are_made_and_enforced),
    TEST(test_constraints_on_several_properties),
    TEST(test_constraints_wait_for_data_that_violates_them),
    TEST(test_constraints_wait_no_longer_than_their_time),
    TEST(test_constraints_wait_through_odd_states),
    TEST(test_constraints_stop_waiting_when_the_pool_is_closed),
    TEST(test_constraints_refuse_bad_input),
    TEST(test_indexes_work_on_a_held_connection_but_not_in_multi),
    TEST(test_indexes_without_memory_fail_and_leak_nothing),
    TEST(test_procedures_take_arguments_as_they_are),
    TEST(test_procedures_make_each_argument_of_its_type),
    TEST(test_procedures_refuse_bad_input),
    TEST(test_indexes_end_at_their_timeout))
