/* Names of labels, types and keys while other clients change the graph: the
   rules at the head of schema.c, one by one and step by step, then all at
   once. Every result proves itself: see naming.h. */
#include "naming.h"
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

static serving server;
static naming_step *step;               /* new for each server */
static redisContext *other;             /* a second client, the main thread's */

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    other = serving_client(server.port);
    step = calloc(1, sizeof *step);
    assert_non_null(step);
    naming_step_start(step, server.port);
    return 0;
}

static int end(void **state) {
    (void)state;
    naming_step_stop(step);
    free(step);
    redisFree(other);
    serving_stop(&server);
    return 0;
}

/* Before each test. FalkorDB 4.16.3 crashes now and then by its own bugs: what
   comes behind has another server. The old proxy stays: pools of a test that
   failed may still be on it. */
static int revive(void **state) {
    test_forget_complaints();           /* of a test that has failed */
    if (naming_is_alive(&server))
        return 0;
    printf("note: the server crashed, another one is started\n");
    serving_stop(&server);
    redisFree(other);
    return begin(state);
}

/* A pool through the stepping proxy, with nothing of its own to say. */
static falkor_options stepping(int size) {
    falkor_options options = serving_options(step->port);
    options.max_size = options.min_size = size;
    options.health_check_interval_ms = options.validate_after_ms = -1;
    options.graph = "names";
    return options;
}

typedef struct own { falkor_pool *pool; falkor_graph *graph; } own;

/* Fails only in error: the server may have crashed. */
static own opened_or_not(int size, falkor_error *error) {
    falkor_options options = stepping(size);
    own o = {NULL, NULL};
    step->before = (naming_before)0;
    atomic_store(&step->quiet, true);
    if (!falkor_pool_create(&options, &o.pool, error) &&
        !falkor_pool_open(o.pool, error))
        o.graph = falkor_select_graph(o.pool, NULL);
    atomic_store(&step->quiet, false);
    atomic_store(&step->commands, 0);
    atomic_store(&step->lists, 0);
    atomic_store(&step->unversioned, 0);
    return o;
}

static own opened(int size) {
    falkor_error error;
    own o = opened_or_not(size, &error);
    serving_ok(&error);
    return o;
}

static void closed(own *o) {
    step->before = (naming_before)0;
    falkor_graph_free(o->graph);
    falkor_pool_free(o->pool);
}

/* The graph as it is to be at the begin of a test. */
static void given(const char *cypher) {
    naming_do(other, "FLUSHALL");
    if (cypher)
        naming_run(other, "names", cypher);
}

/* Another graph whose labels are not in its version, in this one's place. */
static void put_copy(redisContext *client, const char *cypher) {
    naming_replace(client, "names", NAMING_COPY, cypher);
}

#define ALL "MATCH (n) RETURN n, [n], {n: n}"
#define X "CREATE (:X {k: 'k|X'})"
#define Y "CREATE (:Y {k: 'k|Y'})"

/* The status of a query whose result proves itself. */
static falkor_status asked(own *o, const falkor_call_options *options,
                           const char *cypher, falkor_error *error) {
    falkor_result *result;
    falkor_status status = falkor_query_with(o->graph, options, cypher, NULL,
                                             &result, error);
    naming_prove(result, cypher);
    falkor_result_free(result);
    return status;
}

static const falkor_call_options reading = {.read_only = true};

/* A read of all nodes that succeeds, is right, and has count rows. */
static void proved_rows(own *o, const falkor_call_options *options,
                        size_t rows) {
    falkor_result *result;
    falkor_error error;
    falkor_query_with(o->graph, options, ALL, NULL, &result, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_rows(result), rows);
    assert_true(naming_prove(result, ALL) > 0);
    test_no_complaints();
    falkor_result_free(result);
}

static void proved(own *o) {
    proved_rows(o, &reading, 1);
}

/* ---- what it costs, and what is sent ---------------------------------- */

static void test_names_cost_nothing_when_known(void **state) {
    (void)state;
    given(X);
    own o = opened(1);
    proved(&o);
    int fresh = atomic_load(&step->commands);
    for (int i = 0; i < 100; i++)
        proved(&o);
    printf("GRAPH commands of the first query of a fresh pool: %d, of the "
           "next 100: %d\n", fresh, atomic_load(&step->commands) - fresh);
    assert_int_equal(atomic_load(&step->commands), fresh + 100);
    assert_true(fresh <= 9);
    closed(&o);
}

static void test_names_version_is_always_sent(void **state) {
    (void)state;
    given(NULL);
    own o = opened(1);
    falkor_error error;
    falkor_cursor *cursor;
    serving_run(o.graph, "CREATE (n:A {a: 'a|A'}) RETURN n");
    serving_run(o.graph, "CREATE (n:B {b: 'b|B', VERSION: 'VERSION|B'}) "
                "RETURN n");
    proved_rows(&o, &(falkor_call_options){.read_only = true,
                                           .server_timeout_ms = 5000}, 2);
    falkor_query_each(o.graph, &reading, ALL, NULL, NULL, NULL, NULL, &error);
    falkor_cursor_open(o.graph, &reading, ALL, NULL, &cursor, &error);
    serving_ok(&error);
    falkor_cursor_close(cursor);
    falkor_request request = {.graph = o.graph, .cypher = ALL};
    falkor_pipeline(o.pool, NULL, &request, 1, &error);
    serving_ok(&error);
    falkor_result_free(request.result);
    assert_true(atomic_load(&step->commands) > 10);
    assert_int_equal(atomic_load(&step->unversioned), 0);
    closed(&o);
}

static void test_names_new_connection_reads_them_anew(void **state) {
    (void)state;
    given(X);
    own o = opened(1);
    proved(&o);
    int lists = atomic_load(&step->lists);
    free(serving_ask(server.port, "CLIENT KILL TYPE normal SKIPME yes"));
    redisFree(other);
    other = serving_client(server.port);
    proved(&o);
    assert_int_equal(atomic_load(&step->lists), lists + 1);
    proved(&o);
    assert_int_equal(atomic_load(&step->lists), lists + 1);
    closed(&o);
}

/* ---- single flight ---------------------------------------------------- */

enum { MANY = 16 };
/* (Static where it is used: a command on its way may look at it behind the
   test's end.) */
typedef struct gate {
    atomic_int waiting, wanted;         /* MATCH queries held back */
    atomic_bool open, kill;
    const char *of;                     /* commands with this text */
} gate;

static bool at_gate(naming_step *s, int number, const char *command) {
    gate *g = s->ctx;
    (void)number;
    if (!strstr(command, g->of))
        return true;
    atomic_fetch_add(&g->waiting, 1);
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!atomic_load(&g->open) && test_now_ms() < until &&
           (!atomic_load(&g->wanted) ||
            atomic_load(&g->waiting) < atomic_load(&g->wanted)))
        test_pause_ms(1);
    return !atomic_load(&g->kill);
}

typedef struct one { own *o; int timeout_ms; falkor_error error;
                     int64_t took_ms; } one;

static void *ask_one(void *argument) {
    one *self = argument;
    int64_t begun = test_now_ms();
    asked(self->o, &(falkor_call_options){.read_only = true,
          .timeout_ms = self->timeout_ms}, ALL, &self->error);
    self->took_ms = test_now_ms() - begun;
    return NULL;
}

static void test_names_many_mismatches_read_once(void **state) {
    (void)state;
    given(X);
    own o = opened(MANY);
    static gate g;
    g = (gate){.of = "MATCH (n)", .wanted = MANY};
    one each[MANY];
    proved(&o);
    naming_run(other, "names", "CREATE (:Z {z: 'z|Z'})");
    int lists = atomic_load(&step->lists), commands =
        atomic_load(&step->commands);
    step->ctx = &g;
    step->before = at_gate;
    for (int i = 0; i < MANY; i++)
        each[i] = (one){.o = &o};
    test_threads threads = test_start(ask_one, each, sizeof *each, MANY);
    test_join(&threads);
    for (int i = 0; i < MANY; i++)
        serving_ok(&each[i].error);
    test_no_complaints();
    printf("%d threads refused at once: names read %d times, %d commands\n",
           MANY, atomic_load(&step->lists) - lists,
           atomic_load(&step->commands) - commands);
    assert_true(atomic_load(&step->lists) - lists <= 2);
    closed(&o);
}

/* ---- who waits for another's reading ---------------------------------- */

static void test_names_waiter_keeps_its_deadline(void **state) {
    (void)state;
    given(X);
    own o = opened(2);
    static gate g;
    g = (gate){.of = "CALL db.labels()"};
    one each[2] = {{.o = &o}, {.o = &o, .timeout_ms = 200}};
    step->ctx = &g;
    step->before = at_gate;
    test_threads reader = test_start(ask_one, &each[0], sizeof *each, 1);
    TEST_EVENTUALLY(atomic_load(&g.waiting) == 1);
    test_threads waiter = test_start(ask_one, &each[1], sizeof *each, 1);
    test_join(&waiter);
    assert_int_equal(each[1].error.status, FALKOR_ERR_TIMEOUT);
    test_assert_has(each[1].error.message, "another thread");
    assert_in_range(each[1].took_ms, 190, 1500);
    atomic_store(&g.open, true);
    test_join(&reader);
    serving_ok(&each[0].error);
    proved(&o);
    closed(&o);
}

static void test_names_reader_loses_its_connection(void **state) {
    (void)state;
    given(X);
    own o = opened(4);
    static gate g;
    g = (gate){.of = "CALL db.labels()"};
    one each[4] = {{.o = &o}, {.o = &o}, {.o = &o}, {.o = &o}};
    step->ctx = &g;
    step->before = at_gate;
    test_threads threads = test_start(ask_one, each, sizeof *each, 4);
    TEST_EVENTUALLY(atomic_load(&g.waiting) == 1);
    atomic_store(&g.kill, true);
    atomic_store(&g.open, true);
    TEST_EVENTUALLY(atomic_load(&g.waiting) >= 2);
    atomic_store(&g.kill, false);
    test_join(&threads);
    for (int i = 0; i < 4; i++)
        serving_ok(&each[i].error);
    test_no_complaints();
    closed(&o);
}

static void test_names_frozen_server(void **state) {
    (void)state;
    given(X);
    own o = opened(4);
    static gate g;
    g = (gate){.of = "CALL db.labels()"};
    one each[4];
    for (int i = 0; i < 4; i++)
        each[i] = (one){.o = &o, .timeout_ms = 300 + 50 * i};
    step->ctx = &g;
    step->before = at_gate;
    test_threads threads = test_start(ask_one, each, sizeof *each, 4);
    TEST_EVENTUALLY(atomic_load(&g.waiting) == 1);
    serving_signal(&server, SIGSTOP);
    atomic_store(&g.open, true);
    test_join(&threads);
    serving_signal(&server, SIGCONT);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(each[i].error.status, FALKOR_ERR_TIMEOUT);
        assert_in_range(each[i].took_ms, 290, 2000);
    }
    proved(&o);
    closed(&o);
}

static void test_names_pool_closes_while_one_waits(void **state) {
    (void)state;
    given(X);
    own o = opened(4);
    static gate g;
    g = (gate){.of = "CALL db.labels()"};
    one each[4] = {{.o = &o}, {.o = &o}, {.o = &o}, {.o = &o}};
    step->ctx = &g;
    step->before = at_gate;
    test_threads threads = test_start(ask_one, each, sizeof *each, 4);
    TEST_EVENTUALLY(atomic_load(&g.waiting) == 1);
    falkor_stats stats;
    TEST_EVENTUALLY((falkor_pool_stats(o.pool, &stats), stats.active == 4));
    int64_t begun = test_now_ms();
    assert_int_equal(falkor_pool_close(o.pool, 50), FALKOR_ERR_TIMEOUT);
    test_join_within(&threads, 5000);
    assert_true(test_now_ms() - begun < 3000);
    for (int i = 0; i < 4; i++)
        assert_int_not_equal(each[i].error.status, FALKOR_OK);
    atomic_store(&g.open, true);
    closed(&o);
}

/* ---- the graph is another one: reads ---------------------------------- */

/* Whether names of one list are taken for those of another shows with any of
   these in any order. */
static void test_names_another_client_recreates_the_graph(void **state) {
    (void)state;
    char text[NAMING_TEXT];
    uint64_t seed = test_seed();
    given(X);
    own o = opened(1);
    for (int i = 0; i < 40; i++) {
        naming_way way = (naming_way)(i % NAMING_WAYS);
        naming_layout(text, seed + (uint64_t)i, way == NAMING_COPY);
        naming_replace(other, "names", way, text);
        proved_rows(&o, &(falkor_call_options){.read_only = i % 2}, 4);
    }
    closed(&o);
}

/* A copy's labels and types are not in its version: one with names beyond
   ours is seen by an id that we do not know. */
static void test_names_unknown_id_in_a_read(void **state) {
    (void)state;
    for (int read_only = 0; read_only < 2; read_only++) {
        given(X);
        put_copy(other, X);
        own o = opened(1);
        proved(&o);
        put_copy(other, X " CREATE (:X:Y {k: 'k|X:Y'})");
        proved_rows(&o, &(falkor_call_options){.read_only = read_only}, 2);
        closed(&o);
    }
}

/* Behind the first row nothing can be asked for on this connection. */
static void test_names_unknown_id_behind_the_first_row(void **state) {
    (void)state;
    falkor_cursor *cursor;
    const falkor_result *row;
    falkor_error error;
    given(X);
    put_copy(other, X);
    own o = opened(1);
    proved(&o);
    put_copy(other, X " CREATE (:X:Y {k: 'k|X:Y'})");
    falkor_cursor_open(o.graph, &reading, ALL, NULL, &cursor, &error);
    serving_ok(&error);
    falkor_cursor_next(cursor, &row, &error);
    serving_ok(&error);
    assert_true(naming_prove(row, ALL) > 0);
    assert_int_equal(falkor_cursor_next(cursor, &row, &error),
                     FALKOR_ERR_STALE);
    assert_null(row);
    assert_false(error.maybe_executed);
    falkor_cursor_close(cursor);
    proved_rows(&o, &reading, 2);
    closed(&o);
}

/* Before it the query is asked again. */
static void test_names_unknown_id_in_the_first_row(void **state) {
    (void)state;
    falkor_cursor *cursor;
    const falkor_result *row;
    falkor_error error;
    given(X);
    put_copy(other, X);
    own o = opened(1);
    proved(&o);
    put_copy(other, "CREATE (:X:Y {k: 'k|X:Y'})");
    falkor_cursor_open(o.graph, &reading, ALL, NULL, &cursor, &error);
    serving_ok(&error);
    falkor_cursor_next(cursor, &row, &error);
    serving_ok(&error);
    assert_true(naming_prove(row, ALL) > 0);
    falkor_cursor_close(cursor);
    test_no_complaints();
    closed(&o);
}

/* Two graphs of labels only, copied, both of version 0. */
static void test_names_version_zero_is_not_kept(void **state) {
    (void)state;
    given(NULL);
    own o = opened(1);
    for (int i = 0; i < 4; i++) {
        put_copy(other, i % 2 ? "CREATE (:P)-[:S]->(:Q)"
                              : "CREATE (:Q)-[:R]->(:P)");
        falkor_result *result = serving_query(o.graph,
            "MATCH (a)-[e]->(b) RETURN a, e, b", NULL);
        assert_string_equal(falkor_result_value(result, 0, 0)->as.node
                            ->labels[0], i % 2 ? "P" : "Q");
        assert_string_equal(falkor_result_value(result, 0, 1)->as.edge->type,
                            i % 2 ? "S" : "R");
        falkor_result_free(result);
    }
    closed(&o);
}

/* ---- our own commands that put other graphs in place ------------------- */

static void command(own *o, falkor_conn *conn, const char *text) {
    const char *argv[8];
    char words[128], *rest = words, *word;
    size_t argc = 0;
    falkor_error error;
    snprintf(words, sizeof words, "%s", text);
    while ((word = strtok_r(rest, " ", &rest)))
        argv[argc++] = strcmp(word, "SCRIPT.") ? word
            : "redis.call('RENAME', 'twin', 'names')";
    falkor_command(o->pool, &(falkor_call_options){.conn = conn}, argc, argv,
                   NULL, NULL, &error);
    serving_ok(&error);
}

/* The graph and the one that comes have one version, but not one label: only
   that the command was our own can tell. */
static void test_names_own_commands_drop_them(void **state) {
    (void)state;
    static const char *const commands[] = {"RENAME twin names",
        "GRAPH.DELETE names", "DEL names", "UNLINK names", "FLUSHALL",
        "FLUSHDB", "SWAPDB 0 1", "MOVE names 2", "EVAL SCRIPT. 0",
        "GRAPH.COPY twin names", "RENAMENX twin names", "MULTI"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *text = commands[i];
        given(NULL);
        put_copy(other, X);
        naming_run(other, "source", Y);
        naming_do(other, "GRAPH.COPY source twin");
        if (strcmp(text, "SWAPDB 0 1") == 0)
            naming_do(other, "MOVE twin 1");
        own o = opened(1);
        proved(&o);
        if (strncmp(text, "GRAPH.COPY", 10) == 0 ||
            strncmp(text, "RENAMENX", 8) == 0)
            naming_do(other, "DEL names");
        if (strcmp(text, "MULTI") == 0) {
            falkor_conn *conn;
            falkor_error error;
            falkor_acquire(o.pool, &conn, &error);
            serving_ok(&error);
            command(&o, conn, "MULTI");
            command(&o, conn, "RENAME twin names");
            command(&o, conn, "EXEC");
            falkor_release(conn);
        } else {
            command(&o, NULL, text);
        }
        if (strcmp(text, "SWAPDB 0 1") == 0)
            naming_do(other, "RENAME twin names");
        else if (serving_number(server.port, "EXISTS names") == 0)
            put_copy(other, Y);
        falkor_result *result = serving_query(o.graph, ALL, NULL);
        if (naming_prove(result, text) == 0)
            fail_msg("nothing after %s", text);
        test_no_complaints();
        falkor_result_free(result);
        closed(&o);
    }
}

/* ---- a held connection in another database ---------------------------- */

static void test_names_of_another_database(void **state) {
    (void)state;
    falkor_conn *conn;
    falkor_error error;
    given(NULL);
    put_copy(other, X);
    naming_do(other, "SELECT 3");
    put_copy(other, Y);
    naming_do(other, "SELECT 0");
    own o = opened(2);
    proved(&o);
    falkor_acquire(o.pool, &conn, &error);
    serving_ok(&error);
    command(&o, conn, "SELECT 3");
    int lists = atomic_load(&step->lists);
    for (int i = 0; i < 3; i++) {
        proved_rows(&o, &(falkor_call_options){.read_only = true,
                                               .conn = conn}, 1);
        proved(&o);
    }
    /* Two rounds each on the held one, one for the pool's second. */
    assert_true(atomic_load(&step->lists) - lists <= 2 * 3 + 1);
    asked(&o, &(falkor_call_options){.conn = conn},
          "CREATE (n:W {w: 'w|W'}) RETURN n", &error);
    serving_ok(&error);
    test_no_complaints();
    proved(&o);
    falkor_release(conn);
    proved(&o);
    closed(&o);
}

/* ---- a write's own names, step by step -------------------------------- */

/* Another client does something before our command number at and, if it is not
   0, before command number then; every pair of places is tried. */
typedef struct moves {
    redisContext *client;
    int at, then;
    void (*first)(redisContext *client);
    void (*second)(redisContext *client);
} moves;

static bool make_moves(naming_step *s, int number, const char *text) {
    moves *m = s->ctx;
    (void)text;
    if (number == m->at)
        m->first(m->client);
    if (number == m->then)
        m->second(m->client);
    return true;
}

static void to_empty(redisContext *client) {
    naming_do(client, "DEL names");
    naming_run(client, "names", "RETURN 1");
}

static void to_nothing(redisContext *client) {
    naming_do(client, "DEL names");
}

static void to_others(redisContext *client) {
    naming_replace(client, "names", NAMING_DELETE,
        "CREATE (:B {b: 'b|B'})-[:S {c: 'c|S'}]->(:A {a: 'a|A'})");
}

/* Begins with the same names, and goes on otherwise. */
static void to_same_begin(redisContext *client) {
    naming_replace(client, "names", NAMING_DELETE,
        "CREATE (:A {a: 'a|A'}) CREATE (:N0:N1 {n: 'n|N0:N1', m: 'm|N0:N1'})"
        "-[:S {o: 'o|S'}]->(:N2 {p: 'p|N2'})");
}

static void to_more_names(redisContext *client) {
    static int number;
    char text[128];
    int i = ++number;
    snprintf(text, sizeof text, "CREATE (:M%d {m%d: 'm%d|M%d'})", i, i, i, i);
    naming_run(client, "names", text);
}

static void to_label_left_behind(redisContext *client) {
    freeReplyObject(redisCommand(client, "GRAPH.QUERY names %s",
        "CREATE (n:L {l: 1}) WITH n UNWIND [1, 0] AS x RETURN 1 / x"));
}

static void to_copy(redisContext *client) {
    naming_replace(client, "names", NAMING_COPY,
        "CREATE (:C:A {a: 'a|A:C', d: 'd|A:C'})-[:V {b: 'b|V'}]->"
        "(:B {b: 'b|B'})");
}

#define OWN "CREATE (n:W {w: 'w|W', a: 'a|W'})-[e:U {u: 'u|U', w: 'w|U'}]" \
            "->(m:A:V {a: 'a|A:V', v: 'v|A:V'}) WITH n, e, m " \
            "MATCH p = (n)-[]->(m) RETURN n, e, m, p, {n: [n]}"

static int steps_run, steps_stale, steps_empty;

/* One query with these moves, on a warm or a fresh pool. Returns how many
   commands it took; 0: the server is not there any more. */
static int stepped_query(moves *m, const char *before, const char *cypher,
                         bool read_only, bool warm, bool fill) {
    falkor_error error;
    given(before);
    own o = opened_or_not(1, &error);
    if (!o.graph) {
        TEST_COMPLAIN("%s", error.message);
        closed(&o);
        return 0;
    }
    if (warm)
        asked(&o, NULL, "RETURN 1", &error);
    for (int i = 0; fill && i < 26; i++) {      /* the server's plans */
        char text[40];
        snprintf(text, sizeof text, "RETURN 'other %d'", i);
        naming_run(m->client, "names", text);
    }
    atomic_store(&step->commands, 0);
    step->ctx = m;
    step->before = make_moves;
    falkor_status status = asked(&o, &(falkor_call_options){
        .read_only = read_only}, cypher, &error);
    int commands = atomic_load(&step->commands);
    if (status == FALKOR_ERR_STALE) {
        if (read_only || !error.maybe_executed)
            TEST_COMPLAIN("%s", error.message);
        steps_stale++;
    } else if (status == FALKOR_ERR_QUERY && read_only &&
               strstr(error.message, "empty key")) {
        steps_empty++;
    } else if (status) {
        TEST_COMPLAIN("%s: %s", falkor_status_name(status), error.message);
    }
    steps_run++;
    closed(&o);
    return status == FALKOR_ERR_IO || status == FALKOR_ERR_CONNECT ? 0
        : commands;
}

typedef void (*move)(redisContext *client);

/* NULL: the server has crashed. */
static redisContext *mover(void) {
    return naming_is_alive(&server) ? serving_client(server.port) : NULL;
}

static void all_steps(const char *before, const char *cypher, bool read_only,
                      bool warm, bool fill) {
    static const move all[] = {to_empty, to_nothing, to_others, to_same_begin,
        to_more_names, to_label_left_behind, to_copy};
    enum { MOVES = sizeof all / sizeof *all };
    redisContext *client = mover();
    for (int a = 0; client && a < MOVES; a++)
        for (int at = 1, most = 1; at <= most && at < 24; at++) {
            moves m = {.client = client, .at = at, .first = all[a]};
            most = stepped_query(&m, before, cypher, read_only, warm, fill);
            /* And a second move, in a share of the places. */
            m.then = at + at % 2;
            m.second = all[(a + m.then + at) % MOVES];
            if (most && (a + at) % 3)
                stepped_query(&m, before, cypher, read_only, warm, fill);
        }
    redisFree(client);
}

/* Runs a body that only complains, and again on another server when this one
   has crashed. */
static void steps(void (*body)(void)) {
    void *state = NULL;
    for (int turn = 0; turn < 4; turn++) {
        steps_run = steps_stale = steps_empty = 0;
        body();
        if (naming_is_alive(&server)) {
            printf("%d schedules: %d STALE, %d empty key\n", steps_run,
                   steps_stale, steps_empty);
            test_no_complaints();
            return;
        }
        printf("note: %d complaints do not count\n",
               test_forget_complaints());
        revive(&state);
    }
    fail_msg("the server crashed four times");
}

static void write_to_a_fresh_graph(void) {
    all_steps(NULL, OWN, false, true, false);
    all_steps(NULL, OWN, false, false, false);
}

static void test_names_steps_write_to_a_fresh_graph(void **state) {
    (void)state;
    steps(write_to_a_fresh_graph);
}

static void write_to_a_graph_with_names(void) {
    all_steps("CREATE (:A {a: 'a|A'})", OWN, false, true, false);
}

static void test_names_steps_write_to_a_graph_with_names(void **state) {
    (void)state;
    steps(write_to_a_graph_with_names);
}

static void write_when_plans_are_gone(void) {
    all_steps("CREATE (:A {a: 'a|A'})", OWN, false, true, true);
}

static void test_names_steps_write_when_plans_are_gone(void **state) {
    (void)state;
    steps(write_when_plans_are_gone);
}

static void read_steps(void) {
    all_steps("CREATE (:A {a: 'a|A'})", ALL, true, true, false);
    all_steps("CREATE (:A {a: 'a|A'})", ALL, true, false, false);
}

static void test_names_steps_read(void **state) {
    (void)state;
    steps(read_steps);
}

static void read_by_a_query_that_may_write(void) {
    all_steps("CREATE (:A {a: 'a|A'})", ALL, false, true, false);
}

static void test_names_steps_read_by_a_query_that_may_write(void **state) {
    (void)state;
    steps(read_by_a_query_that_may_write);
}

/* Nobody takes the graph away: no write may fail, whatever others add, and
   whether the server still has our mark or not. */
static void only_add(void) {
    redisContext *client = mover();
    for (int kind = 0; client && kind < 8; kind++)
        for (int at = 1, most = 1; at <= most && at < 24; at++) {
            moves m = {.client = client, .at = at, .then = at + 1 + kind % 2,
                .first = to_more_names, .second = kind & 1
                    ? to_label_left_behind : to_more_names};
            most = stepped_query(&m, kind & 4 ? "CREATE (:A {a: 'a|A'})"
                                 : "RETURN 1", OWN, false, true, kind & 2);
        }
    redisFree(client);
    TEST_CHECK(steps_stale == 0);
}

static void test_names_steps_of_those_who_only_add(void **state) {
    (void)state;
    steps(only_add);
}

/* A graph keeps its plans, and so our mark, when it is renamed: away, and back
   behind other names that were read from the one that stood there meanwhile. */
static void to_away(redisContext *client) {
    naming_do(client, "RENAME names away");
    naming_run(client, "names", "CREATE (:A {a: 'a|A'}) CREATE (:N0:N1 "
        "{n: 'n|N0:N1', m: 'm|N0:N1'})-[:S {o: 'o|S'}]->(:N2 {p: 'p|N2'})");
}

static void to_back(redisContext *client) {
    naming_do(client, "RENAME away names");
}

static void renamed(const char *before, const char *cypher, bool read_only) {
    redisContext *client = mover();
    for (int at = 1, most = 1; client && at <= most && at < 24; at++)
        for (int then = at + 1; then <= most + 1 && then <= at + 4; then++) {
            moves m = {.client = client, .at = at, .first = to_away,
                       .then = then, .second = to_back};
            int took = stepped_query(&m, before, cypher, read_only, true,
                                     false);
            most = took > most ? took : most;
        }
    redisFree(client);
}

static void renamed_away_and_back(void) {
    renamed("CREATE (:A {a: 'a|A'})", OWN, false);
    renamed("CREATE (:A {a: 'a|A'})", ALL, true);
    renamed("CREATE (:A {a: 'a|A'})", ALL, false);
}

static void test_names_steps_renamed_away_and_back(void **state) {
    (void)state;
    steps(renamed_away_and_back);
}

/* ---- a held connection ------------------------------------------------- */

/* Another graph before each of the next queries. */
typedef struct changes { redisContext *client; int left; } changes;

static bool change_often(naming_step *s, int number, const char *text) {
    changes *c = s->ctx;
    (void)number;
    if (strstr(text, "MATCH (n)") && c->left > 0)
        (c->left-- % 2 ? to_others : to_same_begin)(c->client);
    return true;
}

/* There are no other attempts: all must be tried in the first. */
static void test_names_held_connection_asks_on(void **state) {
    (void)state;
    changes c = {.client = serving_client(server.port)};
    for (int read_only = 0; read_only < 2; read_only++) {
        falkor_conn *conn;
        falkor_error error;
        given(X);
        own o = opened(1);
        falkor_acquire(o.pool, &conn, &error);
        serving_ok(&error);
        c.left = 15;
        step->ctx = &c;
        step->before = change_often;
        asked(&o, &(falkor_call_options){.read_only = read_only,
              .conn = conn}, ALL, &error);
        serving_ok(&error);
        assert_int_equal(c.left, 0);
        test_no_complaints();
        falkor_release(conn);
        closed(&o);
    }
    redisFree(c.client);
}

/* ---- two writes whose names were read from one snapshot ---------------- */

/* Both went with the empty snapshot; another graph came before either could
   read its own names. What one asks must not mislead the other. */
static void *write_own(void *argument) {
    one *self = argument;
    char text[200];
    int id = self->timeout_ms;
    snprintf(text, sizeof text, "CREATE (n:W%d {w%d: 'w%d|W%d'})-[e:U%d "
             "{u%d: 'u%d|U%d'}]->(m:V%d {v%d: 'v%d|V%d'}) RETURN n, e, m", id,
             id, id, id, id, id, id, id, id, id, id, id);
    asked(self->o, NULL, text, &self->error);
    return NULL;
}

typedef struct both {
    redisContext *client;
    atomic_int writes, lists;
    atomic_bool replaced;
} both;

/* Lets the writes run together, then puts another graph in place, before any
   list is read. */
static bool between_both(naming_step *s, int number, const char *text) {
    both *b = s->ctx;
    (void)number;
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    if (strstr(text, "CREATE (n:W")) {
        int turn = atomic_fetch_add(&b->writes, 1);
        while (turn == 0 && atomic_load(&b->writes) < 2 &&
               test_now_ms() < until)
            test_pause_ms(1);
    } else if (atomic_load(&b->writes) >= 2 && strstr(text, "db.labels()")) {
        if (atomic_fetch_add(&b->lists, 1) == 0) {
            test_pause_ms(30);          /* both writes are done, or refused */
            to_same_begin(b->client);
            atomic_store(&b->replaced, true);
        }
        while (!atomic_load(&b->replaced) && test_now_ms() < until)
            test_pause_ms(1);
    }
    return true;
}

static void test_names_two_writes_of_one_snapshot(void **state) {
    (void)state;
    both b = {.client = serving_client(server.port)};
    int stale = 0;
    for (int round = 0; round < 20; round++) {
        given("RETURN 1");
        own o = opened(2);
        one each[2] = {{.o = &o, .timeout_ms = 2 * round},
                       {.o = &o, .timeout_ms = 2 * round + 1}};
        falkor_error error;
        asked(&o, NULL, "RETURN 1", &error);
        b.writes = b.lists = 0;
        b.replaced = false;
        step->ctx = &b;
        step->before = between_both;
        test_threads threads = test_start(write_own, each, sizeof *each, 2);
        test_join(&threads);
        for (int i = 0; i < 2; i++)
            if (each[i].error.status == FALKOR_ERR_STALE)
                stale += each[i].error.maybe_executed;
            else
                serving_ok(&each[i].error);
        test_no_complaints();
        closed(&o);
    }
    printf("40 writes, another graph behind them: %d STALE\n", stale);
    redisFree(b.client);
}

/* Names that were unproved once stay so, also when asked again. */
static void test_names_no_graph_is_left_behind(void **state) {
    (void)state;
    redisContext *client = serving_client(server.port);
    for (int at = 1, most = 1; at <= most; at++) {
        moves m = {.client = client, .at = at, .first = to_nothing};
        given(X);
        own o = opened(1);
        falkor_error error;
        proved(&o);
        atomic_store(&step->commands, 0);
        step->ctx = &m;
        step->before = make_moves;
        asked(&o, NULL, OWN, &error);
        most = atomic_load(&step->commands);
        /* It was deleted behind the write: nothing may make it again. */
        if (at > 1 && most > at &&
            serving_number(server.port, "EXISTS names") != 0)
            fail_msg("deleted before command %d of %d, and there again: %s",
                     at, most, error.message);
        closed(&o);
    }
    redisFree(client);
}

/* ---- many threads that add, nobody who deletes ------------------------- */

static void run_stress(const serving *private, void *ctx) {
    naming_stress *stress = ctx;
    naming_tally tally;
    stress->server = private;
    naming_stress_run(stress, &tally);
    TEST_CHECK(tally.names > 1000);
    if (!stress->rounds)
        TEST_CHECK(tally.stale_writes == 0);
}

static void test_names_many_add_at_the_same_time(void **state) {
    (void)state;
    static const int sizes[] = {1, 4, 20};
    for (int i = 0; i < 3; i++)
        naming_on_own_server(run_stress, &(naming_stress){.threads = 16,
            .connections = sizes[i], .rounds = 0, .seed = test_seed(),
            .graph = "adding"});
}

/* All at once to a graph without a name, and the server has place for fewer
   plans than there are writers. */
enum { WRITERS = 32 };
static void begin_graph(const serving *private, int round) {
    falkor_options options = serving_options(private->port);
    redisContext *client = serving_client(private->port);
    options.max_size = options.min_size = WRITERS;
    options.graph = "names";
    naming_do(client, "FLUSHALL");
    if (round % 2)
        naming_run(client, "names", "RETURN 1");
    redisFree(client);
    own o = {serving_pool(&options), NULL};
    falkor_error error;
    o.graph = falkor_select_graph(o.pool, NULL);
    asked(&o, NULL, "RETURN 1", &error);
    one each[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        each[i] = (one){.o = &o, .timeout_ms = i};
    test_threads threads = test_start(write_own, each, sizeof *each, WRITERS);
    test_join(&threads);
    for (int i = 0; i < WRITERS; i++)
        if (each[i].error.status)
            TEST_COMPLAIN("%s: %s", falkor_status_name(each[i].error.status),
                          each[i].error.message);
    falkor_graph_free(o.graph);
    falkor_pool_free(o.pool);
}

static void begin_graphs(const serving *private, void *ctx) {
    (void)ctx;
    for (int round = 0; round < 10 && naming_is_alive(private); round++)
        begin_graph(private, round);
}

static void test_names_many_begin_a_graph(void **state) {
    (void)state;
    naming_on_own_server(begin_graphs, NULL);
}

typedef struct adder { atomic_bool *stop; int port, id, added; } adder;

static void *add_for_ever(void *argument) {
    adder *self = argument;
    redisContext *client = serving_client(self->port);
    while (!atomic_load(self->stop)) {
        char text[128];
        int i = self->added++;
        snprintf(text, sizeof text, "CREATE (n:Q%d_%d {q%d_%d: 'q%d_%d|Q%d_%d'"
                 "}) DELETE n", self->id, i, self->id, i, self->id, i,
                 self->id, i);
        naming_run(client, "names", text);
    }
    redisFree(client);
    return NULL;
}

typedef struct repeated { own *o; int64_t until_ms, worst_ms; int count;
                          int failed; falkor_error error; } repeated;

static void *read_for_long(void *argument) {
    repeated *self = argument;
    while (test_now_ms() < self->until_ms) {
        falkor_error error;
        int64_t begun = test_now_ms();
        if (asked(self->o, &reading, "MATCH (n:X) RETURN n", &error)) {
            self->failed++;
            self->error = error;
        }
        if (test_now_ms() - begun > self->worst_ms)
            self->worst_ms = test_now_ms() - begun;
        self->count++;
    }
    return NULL;
}

static void change_without_end(const serving *private, void *ctx) {
    (void)ctx;
    falkor_options options = serving_options(private->port);
    options.graph = "names";
    own o = {serving_pool(&options), NULL};
    o.graph = falkor_select_graph(o.pool, NULL);
    serving_run(o.graph, X);
    atomic_bool stop = false;
    adder adders[2] = {{&stop, private->port, 0, 0},
                       {&stop, private->port, 1, 0}};
    repeated readers[MANY];
    for (int i = 0; i < MANY; i++)
        readers[i] = (repeated){.o = &o, .until_ms = test_now_ms() + 1500};
    test_threads adding = test_start(add_for_ever, adders, sizeof *adders, 2);
    test_threads threads = test_start(read_for_long, readers, sizeof *readers,
                                      MANY);
    test_join(&threads);
    atomic_store(&stop, true);
    test_join(&adding);
    int reads = 0, failed = 0;
    int64_t worst = 0;
    for (int i = 0; i < MANY; i++) {
        reads += readers[i].count;
        failed += readers[i].failed;
        if (readers[i].worst_ms > worst)
            worst = readers[i].worst_ms;
        if (readers[i].failed)
            TEST_COMPLAIN("%s", readers[i].error.message);
    }
    printf("%d names added meanwhile: %d reads, %d failed, the longest %"
           PRId64 " ms\n", 2 * (adders[0].added + adders[1].added), reads,
           failed, worst);
    falkor_graph_free(o.graph);
    falkor_pool_free(o.pool);
}

static void test_names_change_without_end(void **state) {
    (void)state;
    naming_on_own_server(change_without_end, NULL);
}

/* ---- restart from a dump ---------------------------------------------- */

static void restart(serving *private, const char *port) {
    redisContext *client = serving_client(private->port);
    redisReply *reply = redisCommand(client, "SHUTDOWN NOSAVE");
    if (reply)
        freeReplyObject(reply);
    redisFree(client);
    serving_await_state(private, 'X');
    serving_stop(private);
    serving_start(private, (const char *[]){"--port", port, NULL});
}

/* The dump is older than what the pool has seen; both have one version. */
static void test_names_after_a_restart_from_an_older_dump(void **state) {
    (void)state;
    char dir[] = "/tmp/falkor-names-XXXXXX", port[16], path[64];
    serving private;
    assert_non_null(mkdtemp(dir));
    setenv("FALKOR_SERVER_DIR", dir, 1);
    serving_start(&private, NULL);
    snprintf(port, sizeof port, "%d", private.port);
    falkor_options options = serving_options(private.port);
    options.graph = "names";
    own o = {serving_pool(&options), NULL};
    o.graph = falkor_select_graph(o.pool, NULL);
    redisContext *client = serving_client(private.port);
    static const char *const saved[] = {X, "CREATE (:P)-[:R]->(:Q)",
        "CREATE (:A {a: 'a|A'})-[:T {b: 'b|T'}]->(:B {a: 'a|B'})"};
    static const char *const later[] = {Y, "CREATE (:Q)-[:S]->(:P)",
        "CREATE (:B {a: 'a|B'})-[:V {b: 'b|V'}]->(:A {a: 'a|A'})"};
    for (int i = 0; i < 3; i++) {
        falkor_error error;
        falkor_result *result;
        put_copy(client, saved[i]);
        naming_do(client, "SAVE");
        put_copy(client, later[i]);
        for (int n = 0; n < 4; n++) {
            falkor_ro_query(o.graph, "MATCH (n) RETURN n", NULL, &result,
                            &error);
            serving_ok(&error);
            if (i != 1)
                naming_prove(result, later[i]);
            falkor_result_free(result);
        }
        redisFree(client);
        restart(&private, port);
        client = serving_client(private.port);
        falkor_ro_query(o.graph, "MATCH (n) RETURN n ORDER BY id(n)", NULL,
                        &result, &error);
        serving_ok(&error);
        if (i == 1)
            assert_string_equal(falkor_result_value(result, 0, 0)->as.node
                                ->labels[0], "P");
        else
            assert_true(naming_prove(result, saved[i]) > 0);
        falkor_result_free(result);
        test_no_complaints();
        asked(&o, NULL, OWN, &error);
        serving_ok(&error);
        test_no_complaints();
    }
    redisFree(client);
    closed(&o);
    serving_stop(&private);
    unsetenv("FALKOR_SERVER_DIR");
    static const char *const files[] = {"dump.rdb", "server.log",
                                        "falkor.sock"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

/* ---- short results, long texts ---------------------------------------- */

/* The server cuts lists of rows without a sign: not those of names. */
static void test_names_are_more_than_a_result_may_hold(void **state) {
    (void)state;
    falkor_error error;
    given("CREATE (:X {k: 'k|X'}), (:Y {k: 'k|Y'}), (:Z {k: 'k|Z'})");
    own o = opened(1);
    naming_do(other, "GRAPH.CONFIG SET RESULTSET_SIZE 1");
    falkor_status read = asked(&o, &reading, "MATCH (n:Z) RETURN n", &error);
    falkor_status wrote = asked(&o, NULL, "CREATE (n:W {k: 'k|W'}) RETURN n",
                                &error);
    naming_do(other, "GRAPH.CONFIG SET RESULTSET_SIZE -1");
    assert_int_equal(read, FALKOR_OK);
    assert_int_equal(wrote, FALKOR_OK);
    test_no_complaints();
    closed(&o);
}

/* Many rows of a long text that lack the same name: without its plan the
   server's word for the graph is gone, and the text is looked through. */
static void test_names_of_many_rows_are_looked_for_once(void **state) {
    (void)state;
    enum { ROWS = 2000 };
    static falkor_value values[ROWS];
    falkor_result *result;
    falkor_error error;
    char text[200], plan[32];
    memset(text, 'N', sizeof text);
    for (int i = 0; i < ROWS; i++)
        values[i] = falkor_string_n(text, sizeof text);
    given(X);
    falkor_options options = serving_options(server.port);
    options.graph = "names";
    own o = {.pool = serving_pool(&options)};
    o.graph = falkor_select_graph(o.pool, NULL);
    proved(&o);
    for (int i = 0; i < 60; i++) {      /* more than the server keeps plans */
        snprintf(plan, sizeof plan, "RETURN 'plan %d'", i);
        asked(&o, &reading, plan, &error);
        serving_ok(&error);
    }
    int64_t begun = test_now_ms();
    falkor_query_with(o.graph, &(falkor_call_options){.timeout_ms = 3000},
        "UNWIND $rows AS row CREATE (n:Night) RETURN n",
        FALKOR_PARAMS({"rows", falkor_array(values, ROWS)}), &result, &error);
    int64_t took = test_now_ms() - begun;
    serving_ok(&error);
    assert_int_equal(falkor_result_rows(result), ROWS);
    assert_string_equal(falkor_result_value(result, ROWS - 1, 0)
                            ->as.node->labels[0], "Night");
    assert_in_range(took, 0, 3000);
    falkor_result_free(result);
    closed(&o);
}

/* ---- all at once ------------------------------------------------------ */

/* The rest of the 1 000 rounds: check_names.c. */
static void test_names_stress(void **state) {
    (void)state;
    static const int sizes[] = {1, 4, 20};
    for (int i = 0; i < 3; i++)
        naming_on_own_server(run_stress, &(naming_stress){.threads = 16,
            .connections = sizes[i], .rounds = TEST_SANITIZED ? 10 : 25,
            .seed = test_seed() + (uint64_t)i, .graph = "stress"});
}

#define NAMED(test) cmocka_unit_test_setup(test, revive)
TEST_MAIN_WITH(begin, end,
    NAMED(test_names_cost_nothing_when_known),
    NAMED(test_names_version_is_always_sent),
    NAMED(test_names_new_connection_reads_them_anew),
    NAMED(test_names_many_mismatches_read_once),
    NAMED(test_names_waiter_keeps_its_deadline),
    NAMED(test_names_reader_loses_its_connection),
    NAMED(test_names_frozen_server),
    NAMED(test_names_pool_closes_while_one_waits),
    NAMED(test_names_another_client_recreates_the_graph),
    NAMED(test_names_unknown_id_in_a_read),
    NAMED(test_names_unknown_id_behind_the_first_row),
    NAMED(test_names_unknown_id_in_the_first_row),
    NAMED(test_names_version_zero_is_not_kept),
    NAMED(test_names_own_commands_drop_them),
    NAMED(test_names_of_another_database),
    NAMED(test_names_steps_write_to_a_fresh_graph),
    NAMED(test_names_steps_write_to_a_graph_with_names),
    NAMED(test_names_steps_write_when_plans_are_gone),
    NAMED(test_names_steps_read),
    NAMED(test_names_steps_read_by_a_query_that_may_write),
    NAMED(test_names_steps_of_those_who_only_add),
    NAMED(test_names_steps_renamed_away_and_back),
    NAMED(test_names_held_connection_asks_on),
    NAMED(test_names_two_writes_of_one_snapshot),
    NAMED(test_names_no_graph_is_left_behind),
    NAMED(test_names_many_add_at_the_same_time),
    NAMED(test_names_many_begin_a_graph),
    NAMED(test_names_change_without_end),
    NAMED(test_names_after_a_restart_from_an_older_dump),
    NAMED(test_names_are_more_than_a_result_may_hold),
    NAMED(test_names_of_many_rows_are_looked_for_once),
    NAMED(test_names_stress))
