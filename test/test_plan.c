/* Plan trees: real plans of the server, and crafted lines fed to the decoder.
   The source is included so that its malloc can be made to fail. */
#include "serving.h"
#include <unistd.h>

static bool no_memory;

static void *wanting_malloc(size_t size) {
    return no_memory ? NULL : malloc(size);
}
#define malloc wanting_malloc
#include "../plan.c"
#undef malloc

static serving server;
static falkor_pool *pool;
static falkor_graph *graph;

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "plan");
    serving_run(graph, "UNWIND range(1, 5) AS x "
                       "CREATE (:A {x: x})-[:T {w: x}]->(:B {y: x})");
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

/* ---- crafted lines ---------------------------------------------------- */

/* The decoded reply of these bytes. */
static falkor_result *fed(const char *bytes, size_t length) {
    falkor_result *reply = falkor__reply_new(FALKOR__REPLY_PLAIN, NULL,
                                             &falkor__default_limits);
    assert_non_null(reply);
    for (size_t size, at = 0; at < length; at += size) {
        char *room = falkor__reply_room(reply, &size);
        assert_non_null(room);
        size = size < length - at ? size : length - at;
        memcpy(room, bytes + at, size);
        assert_int_equal(falkor__reply_feed(reply, size, NULL), FALKOR_OK);
    }
    assert_true(falkor__reply_done(reply));
    return reply;
}

static falkor_plan *planned(bool profile, size_t count,
                            const char *const *lines) {
    falkor_plan *plan;
    falkor_error error;
    size_t length = 0, room = 64;
    for (size_t i = 0; i < count; i++)
        room += strlen(lines[i]) + 32;
    char *bytes = calloc(1, room);
    assert_non_null(bytes);
    length += (size_t)snprintf(bytes, room, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(bytes + length, room - length,
            "$%zu\r\n%s\r\n", strlen(lines[i]), lines[i]);
    assert_int_equal(falkor__plan_make(fed(bytes, length), profile, &plan,
                                       &error), FALKOR_OK);
    free(bytes);
    assert_non_null(plan);
    assert_int_equal(plan->count, count);
    return plan;
}
#define PLAN(profile, ...) planned(profile,                                    \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *),              \
    (const char *[]){__VA_ARGS__})

/* What must hold of any plan: depth, order, and links that agree. */
static void is_tree(const falkor_plan *plan) {
    size_t linked = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const falkor_operator *op = &plan->operators[i];
        assert_non_null(op->name);
        assert_non_null(op->arguments);
        assert_int_equal(op->depth, op->parent ? op->parent->depth + 1 : 0);
        if (op->parent)
            assert_true(op->parent >= plan->operators && op->parent < op);
        if (op->child) {
            assert_ptr_equal(op->child, op + 1);
            assert_ptr_equal(op->child->parent, op);
        }
        if (op->next) {
            assert_true(op->next > op &&
                        op->next < plan->operators + plan->count);
            assert_ptr_equal(op->next->parent, op->parent);
        }
        linked += (op->child ? 1u : 0u) + (op->next ? 1u : 0u);
    }
    if (plan->count)
        assert_int_equal(linked, plan->count - 1);
}

static void is_operator(const falkor_operator *op, const char *name,
                        const char *arguments, size_t depth) {
    assert_non_null(op);
    assert_string_equal(op->name, name);
    assert_string_equal(op->arguments, arguments);
    assert_int_equal(op->depth, depth);
}

static void test_plan_links_parents_children_and_siblings(void **state) {
    (void)state;
    falkor_plan *plan = PLAN(false, "Results", "    Join", "        Project",
        "            Scan | (a:A)", "            Scan | (b)", "        Filter",
        "    Tail");
    const falkor_operator *op = plan->operators;
    is_tree(plan);
    is_operator(op, "Results", "", 0);
    is_operator(op->child, "Join", "", 1);
    is_operator(op->child->next, "Tail", "", 1);
    is_operator(op->child->child->child->next, "Scan", "(b)", 3);
    is_operator(op->child->child->next, "Filter", "", 2);
    assert_null(op->next);
    assert_null(op->parent);
    assert_int_equal(op->records, -1);
    assert_true(op->milliseconds == -1.0);
    falkor_plan_free(plan);
}

static void test_plan_takes_what_was_produced(void **state) {
    (void)state;
    falkor_plan *plan = PLAN(true,
        "Results | Records produced: 12, Execution time: 0.001312 ms",
        "    Node By Label Scan | (a:A) | Records produced: 9000000000, "
        "Execution time: 1234.5 ms");
    is_tree(plan);
    is_operator(&plan->operators[0], "Results", "", 0);
    is_operator(&plan->operators[1], "Node By Label Scan", "(a:A)", 1);
    assert_int_equal(plan->operators[0].records, 12);
    assert_true(plan->operators[0].milliseconds == 0.001312);
    assert_int_equal(plan->operators[1].records, INT64_C(9000000000));
    assert_true(plan->operators[1].milliseconds == 1234.5);
    falkor_plan_free(plan);
}

static void test_plan_reads_times_in_any_locale(void **state) {
    (void)state;
    serving_comma();
    falkor_plan *plan = PLAN(true,
        "Results | Records produced: 1, Execution time: 2.5 ms");
    serving_comma_back();
    assert_true(plan->operators[0].milliseconds == 2.5);
    falkor_plan_free(plan);
}

/* Names in a query can look like anything of a plan. */
static void test_plan_keeps_arguments_that_look_like_a_plan(void **state) {
    (void)state;
    static const char *const arguments =
        "(a | b:A\n        C | Records produced: 3, Execution time: 1.0 ms)";
    char line[256];
    snprintf(line, sizeof line, "    Scan | %s", arguments);
    falkor_plan *plan = PLAN(false, "Results", line);
    is_operator(&plan->operators[1], "Scan", arguments, 1);
    assert_int_equal(plan->operators[1].records, -1);
    falkor_plan_free(plan);
    snprintf(line, sizeof line, "    Scan | %s | Records produced: 7, "
             "Execution time: 0.25 ms", arguments);
    plan = PLAN(true, "Results", line);
    is_operator(&plan->operators[1], "Scan", arguments, 1);
    assert_int_equal(plan->operators[1].records, 7);
    falkor_plan_free(plan);
    /* An EXPLAIN has no numbers, whatever its arguments end with. */
    plan = PLAN(false, "Scan | Records produced: 7, Execution time: 0.25 ms");
    is_operator(plan->operators, "Scan",
                "Records produced: 7, Execution time: 0.25 ms", 0);
    assert_int_equal(plan->operators[0].records, -1);
    falkor_plan_free(plan);
}

static void test_plan_leaves_profile_lines_it_cannot_read(void **state) {
    (void)state;
    static const char *const lines[] = {
        "Results", "", "    ", " | ", " | Records produced: ",
        "A | Records produced: , Execution time: 1 ms",
        "A | Records produced: x, Execution time: 1 ms",
        "A | Records produced: 1, Execution time: ms",
        "A | Records produced: 1, Execution time:  ms",
        "A | Records produced: 1, Execution time: x ms",
        "A | Records produced: 1, Execution time: 1 s",
        "A | Records produced: 1; Execution time: 1 ms",
        "A | Records produced: 1, Execution time: 1 ms more"};
    size_t count = sizeof lines / sizeof *lines;
    falkor_plan *plan = planned(true, count, lines);
    is_tree(plan);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(plan->operators[i].records, -1);
        assert_true(plan->operators[i].milliseconds == -1.0);
    }
    is_operator(&plan->operators[12], "A",
                "Records produced: 1, Execution time: 1 ms more", 0);
    falkor_plan_free(plan);
}

/* Any indentation is a tree: what is indented more lies below. */
static void test_plan_is_a_tree_for_any_indentation(void **state) {
    (void)state;
    falkor_plan *plan = PLAN(false, "      A", "   B", "         C", "    D",
                             "E", "E2", "  F", "               G", "  H");
    const falkor_operator *op = plan->operators;
    is_tree(plan);
    is_operator(&op[0], "A", "", 0);
    assert_ptr_equal(op[0].next, &op[1]);
    is_operator(&op[2], "C", "", 1);
    assert_ptr_equal(op[2].next, &op[3]);
    assert_ptr_equal(op[1].next, &op[4]);
    assert_ptr_equal(op[5].child, &op[6]);
    assert_ptr_equal(op[6].next, &op[8]);
    falkor_plan_free(plan);
    uint64_t random = test_seed();
    char lines[200][64];
    const char *list[200];
    for (int round = 0; round < 200; round++) {
        int count = 1 + test_below(&random, 200);
        for (int i = 0; i < count; i++) {
            snprintf(lines[i], sizeof lines[i], "%*s%s",
                     test_below(&random, 40), "",
                     test_chance(&random, 3) ? "Op | (a)" : "Op");
            list[i] = lines[i];
        }
        plan = planned(test_chance(&random, 2), (size_t)count, list);
        is_tree(plan);
        falkor_plan_free(plan);
    }
}

static void test_plan_of_unusual_replies(void **state) {
    (void)state;
    falkor_plan *plan;
    falkor_error error;
    assert_int_equal(falkor__plan_make(fed("+Create Index\r\n", 15), false,
                                       &plan, &error), FALKOR_OK);
    assert_int_equal(plan->count, 1);
    is_operator(plan->operators, "Create Index", "", 0);
    falkor_plan_free(plan);
    assert_int_equal(falkor__plan_make(fed("*0\r\n", 4), false, &plan,
                                       &error), FALKOR_OK);
    assert_int_equal(plan->count, 0);
    falkor_plan_free(plan);
    static const char *const others[] = {":5\r\n", "$-1\r\n",
        "*2\r\n$1\r\nA\r\n:1\r\n", "*1\r\n*1\r\n$1\r\nA\r\n"};
    for (size_t i = 0; i < 4; i++) {
        plan = (falkor_plan *)&error;
        assert_int_equal(falkor__plan_make(fed(others[i], strlen(others[i])),
            false, &plan, &error), FALKOR_ERR_PROTOCOL);
        assert_null(plan);
        test_assert_has(error.message, "no list of lines");
    }
    no_memory = true;
    assert_int_equal(falkor__plan_make(fed("*0\r\n", 4), false, &plan,
                                       &error), FALKOR_ERR_NOMEM);
    no_memory = false;
    assert_null(plan);
    falkor_plan_free(NULL);
}

/* ---- the server's plans ----------------------------------------------- */

static falkor_plan *explained(const char *cypher, const falkor_param *params) {
    falkor_plan *plan;
    falkor_error error;
    falkor_explain(graph, NULL, cypher, params, &plan, &error);
    serving_ok(&error);
    is_tree(plan);
    assert_true(plan->count > 0);
    for (size_t i = 0; i < plan->count; i++)
        assert_int_equal(plan->operators[i].records, -1);
    return plan;
}

static falkor_plan *profiled(const char *cypher, const falkor_param *params) {
    falkor_plan *plan;
    falkor_error error;
    falkor_profile(graph, NULL, cypher, params, &plan, &error);
    serving_ok(&error);
    is_tree(plan);
    assert_true(plan->count > 0);
    for (size_t i = 0; i < plan->count; i++) {
        assert_true(plan->operators[i].records >= 0);
        assert_true(plan->operators[i].milliseconds >= 0);
    }
    return plan;
}

static const falkor_operator *found(const falkor_plan *plan,
                                    const char *name) {
    for (size_t i = 0; i < plan->count; i++)
        if (strcmp(plan->operators[i].name, name) == 0)
            return &plan->operators[i];
    fail_msg("no operator %s", name);
    return NULL;
}

static void test_plan_explain_and_profile_of_nested_queries(void **state) {
    (void)state;
    falkor_plan *plan = explained("MATCH (a:A)-[t:T]->(b:B) WHERE a.x > $low "
        "RETURN a, count(b) ORDER BY a.x LIMIT 3",
        FALKOR_PARAMS({"low", falkor_int(1)}));
    is_operator(found(plan, "Node By Label Scan"), "Node By Label Scan",
                "(a:A)", 6);
    is_operator(found(plan, "Conditional Traverse"), "Conditional Traverse",
                "(a)->(b:B)", 4);
    falkor_plan_free(plan);
    plan = profiled("MATCH (a:A)-[t:T]->(b:B) WHERE a.x > $low RETURN a, b",
                    FALKOR_PARAMS({"low", falkor_int(1)}));
    assert_int_equal(plan->operators[0].records, 4);
    assert_int_equal(found(plan, "Node By Label Scan")->records, 5);
    falkor_plan_free(plan);
    plan = profiled("UNWIND [1, 2] AS x CALL { WITH x MATCH (n:A {x: x}) "
        "RETURN n UNION MATCH (n:B) RETURN n } RETURN n", NULL);
    const falkor_operator *join = found(plan, "Join");
    assert_int_equal(plan->operators[0].records, 12);
    is_operator(join->child, "Project", "", join->depth + 1);
    is_operator(join->child->next, "Project", "", join->depth + 1);
    falkor_plan_free(plan);
    plan = profiled("MATCH (a), (b) RETURN a, b UNION ALL "
                    "MATCH (a)-[*1..3]->(b) RETURN a, b", NULL);
    const falkor_operator *product = found(plan, "Cartesian Product");
    is_operator(product->child->next, "All Node Scan", "(b)",
                product->depth + 1);
    falkor_plan_free(plan);
    plan = explained("CREATE INDEX FOR (n:A) ON (n.nothing)", NULL);
    is_operator(plan->operators, "Create Index", "", 0);
    falkor_plan_free(plan);
}

static void test_plan_of_names_that_look_like_one(void **state) {
    (void)state;
    const char *cypher = "MATCH (`a | b`:`A\n    B | Records produced: 3, "
                         "Execution time: 1.0 ms`) RETURN `a | b`";
    const char *arguments = "(a | b:A\n    B | Records produced: 3, "
                            "Execution time: 1.0 ms)";
    falkor_plan *plan = explained(cypher, NULL);
    assert_string_equal(found(plan, "Node By Label Scan")->arguments,
                        arguments);
    falkor_plan_free(plan);
    plan = profiled(cypher, NULL);
    assert_string_equal(found(plan, "Node By Label Scan")->arguments,
                        arguments);
    assert_int_equal(found(plan, "Node By Label Scan")->records, 0);
    falkor_plan_free(plan);
}

static void test_plan_explain_does_not_write_and_profile_does(void **state) {
    (void)state;
    falkor_plan_free(explained("CREATE (:Written)", NULL));
    assert_int_equal(serving_integer(graph,
        "MATCH (w:Written) RETURN count(w)", NULL), 0);
    falkor_plan_free(profiled("CREATE (:Written)", NULL));
    assert_int_equal(serving_integer(graph,
        "MATCH (w:Written) RETURN count(w)", NULL), 1);
}

static void test_plan_on_a_held_connection_and_inside_multi(void **state) {
    (void)state;
    falkor_error error;
    falkor_plan *plan;
    falkor_conn *conn;
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor_call_options held = {.conn = conn, .timeout_ms = 5000};
    falkor_explain(graph, &held, "RETURN 1", NULL, &plan, &error);
    serving_ok(&error);
    falkor_plan_free(plan);
    assert_int_equal(falkor_command(pool, &held, 1, (const char *[]){"MULTI"},
                                    NULL, NULL, &error), FALKOR_OK);
    assert_int_equal(falkor_profile(graph, &held, "CREATE (:Written)", NULL,
                                    &plan, &error), FALKOR_ERR_ARGUMENT);
    assert_null(plan);
    test_assert_has(error.message, "GRAPH.PROFILE");
    test_assert_has(error.message, "MULTI");
    assert_int_equal(falkor_command(pool, &held, 1, (const char *[]){"DISCARD"},
                                    NULL, NULL, &error), FALKOR_OK);
    falkor_profile(graph, &held, "RETURN 1", NULL, &plan, &error);
    serving_ok(&error);
    falkor_plan_free(plan);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

#define SLOW "UNWIND range(1, 3000) AS x UNWIND range(1, 3000) AS y " \
             "WITH x * y AS z RETURN count(z)"

static void test_plan_profile_keeps_its_timeouts(void **state) {
    (void)state;
    falkor_error error;
    falkor_plan *plan;
    assert_int_equal(falkor_profile(graph,
        &(falkor_call_options){.server_timeout_ms = 50}, SLOW, NULL, &plan,
        &error), FALKOR_ERR_SERVER_TIMEOUT);
    assert_null(plan);
    int64_t start = test_now_ms();
    assert_int_equal(falkor_profile(graph, &(falkor_call_options){
        .timeout_ms = 60, .read_only = true, .server_timeout_ms = 5000}, SLOW,
        NULL, &plan, &error), FALKOR_ERR_TIMEOUT);
    assert_null(plan);
    assert_true(test_now_ms() - start < TEST_PATIENCE_MS);
    /* It is sent once, as a write, for the server would not refuse one. */
    assert_int_equal(error.attempts, 1);
    assert_true(error.maybe_executed);
}

static void test_plan_refuses_bad_input(void **state) {
    (void)state;
    falkor_error error;
    falkor_plan *plan = (falkor_plan *)&error;
    assert_int_equal(falkor_explain(NULL, NULL, "RETURN 1", NULL, &plan,
                                    &error), FALKOR_ERR_ARGUMENT);
    assert_null(plan);
    plan = (falkor_plan *)&error;
    assert_int_equal(falkor_profile(graph, NULL, NULL, NULL, &plan, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(plan);
    assert_int_equal(falkor_explain(graph, NULL, "RETURN 1", NULL, NULL,
                                    &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_explain(graph, NULL, "RETURN ", NULL, &plan,
                                    NULL), FALKOR_ERR_QUERY);
    assert_null(plan);
    assert_int_equal(falkor_explain(graph, NULL, "RETURN $x",
        FALKOR_PARAMS({"x", falkor_string_n("a\0b", 3)}), &plan, &error),
        FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "\"x\"");
    assert_int_equal(falkor_profile(graph, NULL,
        "UNWIND [1, 0] AS x RETURN 1 / x", NULL, &plan, &error),
        FALKOR_ERR_QUERY);
    test_assert_has(error.message, "Division by zero");
    assert_int_equal(falkor_profile(graph, NULL,
        "CREATE INDEX FOR (n:A) ON (n.z)", NULL, &plan, &error),
        FALKOR_ERR_QUERY);
    falkor_graph *missing = falkor_select_graph(pool, "missing");
    assert_int_equal(falkor_explain(missing, NULL, "RETURN 1", NULL, &plan,
                                    &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "empty key");
    falkor_graph_free(missing);
    assert_int_equal(falkor_explain(graph,
        &(falkor_call_options){.timeout_ms = -7}, "RETURN 1", NULL, &plan,
        &error), FALKOR_ERR_ARGUMENT);
    assert_null(plan);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_plan_links_parents_children_and_siblings),
    cmocka_unit_test(test_plan_takes_what_was_produced),
    cmocka_unit_test(test_plan_reads_times_in_any_locale),
    cmocka_unit_test(test_plan_keeps_arguments_that_look_like_a_plan),
    cmocka_unit_test(test_plan_leaves_profile_lines_it_cannot_read),
    cmocka_unit_test(test_plan_is_a_tree_for_any_indentation),
    cmocka_unit_test(test_plan_of_unusual_replies),
    cmocka_unit_test(test_plan_explain_and_profile_of_nested_queries),
    cmocka_unit_test(test_plan_of_names_that_look_like_one),
    cmocka_unit_test(test_plan_explain_does_not_write_and_profile_does),
    cmocka_unit_test(test_plan_on_a_held_connection_and_inside_multi),
    cmocka_unit_test(test_plan_profile_keeps_its_timeouts),
    cmocka_unit_test(test_plan_refuses_bad_input))
