/* What is told and what is true: see proof.h. A call is any of several ways to
   use the library; each ends in told, which keeps what its caller learnt. */
#include "proof.h"
#include "crowd.h"
#include "lab.h"
#include "lateness.h"
#include <inttypes.h>

enum { THREADS_LEAST = 16, THREADS_MOST = 50, WRITES = 20000, ANCHORS = 50,
       PAGE = 5000, BURST = 4, ROWS = 300, ENOUGH = 10,
       POOL_MS = 300, DIAL_MS = 250, SOCKET_MS = 400 };

/* ---- what is known of a write ----------------------------------------- */

typedef enum outcome { NEVER_SENT, ACKNOWLEDGED, FAILED, MAYBE } outcome;
enum { NODE = 1, EDGE = 2 };            /* what it makes */

typedef struct record {
    unsigned char outcome, makes, nodes, edges; /* found in the end */
} record;

typedef struct shape {
    int makes;
    bool idempotent;
    const char *cypher;
} shape;

static const shape shapes[] = {
    {NODE, false, "CREATE (:N {no: $no}) RETURN $t, $s"},
    {NODE, true, "MERGE (:N {no: $no}) RETURN $t, $s"},
    {NODE | EDGE, false, "MATCH (a:P {id: $p}) "
        "CREATE (a)-[:W {no: $no}]->(:N {no: $no}) RETURN $t, $s"},
    {EDGE, false, "MATCH (a:P {id: $p}), (b:P {id: $q}) "
        "CREATE (a)-[:W {no: $no}]->(b) RETURN $t, $s"},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the threads ------------------------------------------------------ */

typedef struct proof {
    lab lab;
    falkor_pool *pool;
    falkor_graph *graph;
    atomic_bool stopped, broken;        /* broken: there is a complaint */
    atomic_int bad[FALKOR_STATUS_COUNT];
} proof;

typedef struct member {
    proof *all;
    int number;
    uint64_t random;
    int64_t token;
    late_book book;
    atomic_int good;                    /* since main last set it to 0 */
    int written;
    record *writes;
    int reads;
} member;

/* A call's parameters, with room for what they point to. */
typedef struct call {
    int64_t token;
    late_call clock;
    int deadline_ms;
    falkor_call_options options;
    char text[32];
    falkor_param params[6];
} call;

#define BROKEN(self, ...)                                                      \
    (TEST_COMPLAIN(__VA_ARGS__), atomic_store(&(self)->all->broken, true))

/* A new token, and the number of the write that the call is about. */
static void begin(member *self, call *at, int64_t no) {
    at->token = self->number * INT64_C(1000000000) + self->token++;
    snprintf(at->text, sizeof at->text, "t%" PRId64, at->token);
    at->params[0] = (falkor_param){"t", falkor_int(at->token)};
    at->params[1] = (falkor_param){"s", falkor_string(at->text)};
    at->params[2] = (falkor_param){"no", falkor_int(no)};
    at->params[3] = (falkor_param){"p", falkor_int(no % ANCHORS)};
    at->params[4] = (falkor_param){"q", falkor_int((no + 1) % ANCHORS)};
    at->params[5] = (falkor_param){0};
    at->options = (falkor_call_options){0};
    at->deadline_ms = POOL_MS + SOCKET_MS;
    if (test_chance(&self->random, 2))
        at->options.timeout_ms = at->deadline_ms =
            20 + test_below(&self->random, 780);
    if (test_chance(&self->random, 4))
        at->options.max_retries = -1;
    late_clock_in(&at->clock);
}

static void clock_out(member *self, const call *at,
                      const falkor_error *error) {
    late_clock_out(&self->book, &at->clock, at->deadline_ms, error);
}

/* Whether a call may end so while the world fails. */
static bool is_due(const falkor_error *error) {
    switch (error->status) {
    case FALKOR_OK: case FALKOR_ERR_POOL_TIMEOUT: case FALKOR_ERR_CONNECT:
    case FALKOR_ERR_AUTH: case FALKOR_ERR_TIMEOUT: case FALKOR_ERR_IO:
    case FALKOR_ERR_BUSY: case FALKOR_ERR_READONLY:
    case FALKOR_ERR_CIRCUIT_OPEN:
        return true;
    case FALKOR_ERR_QUERY:              /* a master no longer, at EXEC */
        return strstr(error->message, "EXECABORT") &&
            strstr(error->message, "READONLY");
    default:
        return false;
    }
}

/* What a call was told; true when it is to be believed. */
static bool told(member *self, const falkor_error *error) {
    if (error->status)
        atomic_fetch_add(&self->all->bad[error->status], 1);
    else
        atomic_fetch_add(&self->good, 1);
    if (!is_due(error))
        BROKEN(self, "%s: %s", falkor_status_name(error->status),
               error->message);
    return !error->status;
}

static bool own(member *self, const call *at, const falkor_result *result) {
    const falkor_value *got = falkor_result_value(result, 0, 0);
    if (crowd_is_token(result, at->token))
        return true;
    BROKEN(self, "asked for token %" PRId64 ", got %zu rows and %" PRId64,
           at->token, falkor_result_rows(result),
           got && got->type == FALKOR_INTEGER ? got->as.integer : -1);
    return false;
}

/* ---- writes ----------------------------------------------------------- */

static record *next_write(member *self, int makes, int64_t *no) {
    record *write = &self->writes[self->written];
    *no = (int64_t)self->number * WRITES + self->written++;
    write->makes = (unsigned char)makes;
    return write;
}

static void settle(member *self, record *write, const falkor_error *error) {
    told(self, error);
    write->outcome = !error->status ? ACKNOWLEDGED
        : error->maybe_executed ? MAYBE : FAILED;
}

/* One write, on a held connection if there is one. */
static void write_one(member *self, falkor_conn *conn) {
    const shape *what = &shapes[test_below(&self->random, SHAPES)];
    falkor_result *result;
    falkor_error error;
    call at;
    int64_t no;
    record *write = next_write(self, what->makes, &no);
    begin(self, &at, no);
    at.options.idempotent = what->idempotent;
    at.options.conn = conn;
    falkor_query_with(self->all->graph, &at.options, what->cypher, at.params,
                      &result, &error);
    clock_out(self, &at, &error);
    settle(self, write, &error);
    if (!error.status)
        own(self, &at, result);
    falkor_result_free(result);
}

static falkor_conn *hold(member *self) {
    falkor_conn *conn;
    falkor_error error;
    call at = {.deadline_ms = POOL_MS};
    late_clock_in(&at.clock);
    falkor_acquire(self->all->pool, &conn, &error);
    clock_out(self, &at, &error);
    told(self, &error);
    return conn;
}

static void let_go(member *self, falkor_conn *conn) {
    if (falkor_release(conn))
        BROKEN(self, "a connection that is held cannot be released");
}

static void write_held(member *self) {
    falkor_conn *conn = hold(self);
    if (!conn)
        return;
    write_one(self, conn);
    if (test_chance(&self->random, 2))
        write_one(self, conn);
    let_go(self, conn);
}

/* A pipeline of writes and a read. */
static void write_burst(member *self) {
    falkor_request requests[BURST + 1];
    record *writes[BURST];
    call each[BURST + 1];
    int64_t no = 0;
    int count = 1 + test_below(&self->random, BURST);
    falkor_error error;
    for (int i = 0; i <= count; i++) {
        const shape *what = &shapes[test_below(&self->random, SHAPES)];
        if (i < count)
            writes[i] = next_write(self, what->makes, &no);
        begin(self, &each[i], no);
        requests[i] = (falkor_request){.graph = self->all->graph,
            .cypher = i < count ? what->cypher : "RETURN $t, $s",
            .params = each[i].params, .read_only = i == count,
            .idempotent = i < count && what->idempotent};
    }
    late_clock_in(&each[0].clock);
    falkor_pipeline(self->all->pool, &each[0].options, requests,
                    (size_t)count + 1, &error);
    clock_out(self, &each[0], &error);
    for (int i = 0; i <= count; i++) {
        if (i < count)
            settle(self, writes[i], &requests[i].error);
        else
            told(self, &requests[i].error);
        if (!requests[i].error.status)
            own(self, &each[i], requests[i].result);
        falkor_result_free(requests[i].result);
    }
}

/* One step of a transaction: on the held connection. */
static falkor_status transact(member *self, falkor_conn *conn, size_t argc,
                              const char *const *argv, falkor_result **result,
                              falkor_error *error) {
    call at;
    begin(self, &at, 0);
    at.options.conn = conn;
    falkor_command(self->all->pool, &at.options, argc, argv, NULL, result,
                   error);
    clock_out(self, &at, error);
    told(self, error);
    return error->status;
}

/* Between MULTI and EXEC nothing has happened, whatever fails. */
static void write_transaction(member *self) {
    falkor_conn *conn = hold(self);
    falkor_result *result = NULL;
    falkor_error error;
    char text[64];
    int64_t no;
    if (!conn)
        return;
    record *write = next_write(self, NODE, &no);
    write->outcome = FAILED;
    snprintf(text, sizeof text, "CREATE (:N {no: %" PRId64 "})", no);
    if (!transact(self, conn, 1, (const char *[]){"MULTI"}, NULL, &error) &&
        !transact(self, conn, 3, (const char *[]){"GRAPH.QUERY", "proof",
                  text}, NULL, &error)) {
        transact(self, conn, 1, (const char *[]){"EXEC"}, &result, &error);
        write->outcome = !error.status ? ACKNOWLEDGED
            : error.maybe_executed ? MAYBE : FAILED;
        const falkor_value *replies = falkor_result_value(result, 0, 0);
        if (replies && (replies->type != FALKOR_ARRAY || replies->length != 1 ||
            replies->as.items[0].type == FALKOR_ERROR_REPLY))
            BROKEN(self, "EXEC did not carry out its one query");
    }
    falkor_result_free(result);
    let_go(self, conn);
}

/* ---- reads ------------------------------------------------------------ */

/* A write of the past: what it made must be there as often as was told. */
static void read_back(member *self) {
    int at_write = test_chance(&self->random, 2) ? self->written - 1
        : test_below(&self->random, self->written);
    const record *write = &self->writes[at_write];
    bool node = write->makes & NODE;
    falkor_result *result;
    falkor_error error;
    call at;
    begin(self, &at, (int64_t)self->number * WRITES + at_write);
    at.options.read_only = true;
    falkor_query_with(self->all->graph, &at.options, node
        ? "OPTIONAL MATCH (n:N {no: $no}) RETURN $t, $s, count(n)"
        : "OPTIONAL MATCH (:P {id: $p})-[w:W {no: $no}]->(:P {id: $q}) "
          "RETURN $t, $s, count(w)", at.params, &result, &error);
    clock_out(self, &at, &error);
    if (told(self, &error) && own(self, &at, result)) {
        int64_t found = falkor_result_value(result, 0, 2)->as.integer;
        if (found > 1 || (write->outcome == ACKNOWLEDGED && found != 1) ||
            (write->outcome == FAILED && found))
            BROKEN(self, "write %d of thread %d, outcome %d, was read back %"
                   PRId64 " times", at_write, self->number, write->outcome,
                   found);
        self->reads++;
    }
    falkor_result_free(result);
}

static void read_token(member *self) {
    falkor_result *result;
    falkor_error error;
    call at;
    begin(self, &at, 0);
    at.options.read_only = test_chance(&self->random, 2);
    falkor_query_with(self->all->graph, &at.options, "RETURN $t, $s",
                      at.params, &result, &error);
    clock_out(self, &at, &error);
    if (told(self, &error))
        own(self, &at, result);
    falkor_result_free(result);
}

typedef struct stream {
    const call *at;
    int64_t next;
    int wanted;
} stream;

static bool take_row(void *ctx, const falkor_result *row) {
    stream *self = ctx;
    const falkor_value *value = falkor_result_value(row, 0, 2);
    bool right = crowd_is_token(row, self->at->token) && value &&
        value->type == FALKOR_INTEGER && value->as.integer == ++self->next;
    self->wanted = right ? self->wanted - 1 : -1;
    return self->wanted > 0;
}

/* Rows as they come, all or some of them. */
static void read_stream(member *self) {
    falkor_error error;
    call at;
    begin(self, &at, 0);
    stream rows = {&at, 0, 1 + test_below(&self->random, 2 * ROWS)};
    at.options.read_only = true;
    at.params[2] = (falkor_param){"n", falkor_int(ROWS)};
    falkor_query_each(self->all->graph, &at.options, "UNWIND range(1, $n) AS i "
        "RETURN $t, $s, i", at.params, take_row, &rows, NULL, &error);
    clock_out(self, &at, &error);
    if (rows.wanted < 0)
        BROKEN(self, "row %" PRId64 " of token %" PRId64 " is another's",
               rows.next, at.token);
    if (told(self, &error) && rows.wanted > 0 && rows.next != ROWS)
        BROKEN(self, "a stream of %d rows ended with %" PRId64, ROWS,
               rows.next);
}

static void read_echo(member *self) {
    falkor_result *result;
    falkor_error error;
    call at;
    begin(self, &at, 0);
    at.options.read_only = true;
    falkor_command(self->all->pool, &at.options, 2,
        (const char *[]){"ECHO", at.text}, NULL, &result, &error);
    clock_out(self, &at, &error);
    if (told(self, &error) &&
        strcmp(falkor_result_value(result, 0, 0)->as.string, at.text) != 0)
        BROKEN(self, "asked for an echo of %s, got %s", at.text,
               falkor_result_value(result, 0, 0)->as.string);
    falkor_result_free(result);
}

/* ---- a thread --------------------------------------------------------- */

static void do_something(member *self) {
    int what = test_below(&self->random, 20);
    bool may_write = self->written + BURST < WRITES;
    if (what < 6 && self->written)
        read_back(self);
    else if (what < 12 && may_write)
        write_one(self, NULL);
    else if (what == 12 && may_write)
        write_held(self);
    else if (what == 13 && may_write)
        write_burst(self);
    else if (what == 14 && may_write)
        write_transaction(self);
    else if (what < 17)
        read_stream(self);
    else if (what == 17)
        read_echo(self);
    else
        read_token(self);
}

static void *run(void *argument) {
    member *self = argument;
    while (!atomic_load(&self->all->stopped)) {
        falkor_stats now;
        do_something(self);
        falkor_pool_stats(self->all->pool, &now);
        if (now.total > CROWD_POOL || now.idle + now.active + now.connecting +
            now.closing != now.total)
            BROKEN(self, "%d connections: %d idle, %d active, %d connecting, "
                "%d closing", now.total, now.idle, now.active, now.connecting,
                now.closing);
        test_pause_ms(test_below(&self->random, 30));   /* thinks */
    }
    return NULL;
}

/* What must succeed, in the main thread, however long it takes. */
static falkor_result *ask(const proof *all, const char *cypher,
                          const falkor_param *params) {
    falkor_result *result;
    falkor_error error;
    falkor_query_with(all->graph,
        &(falkor_call_options){.timeout_ms = TEST_PATIENCE_MS}, cypher, params,
        &result, &error);
    serving_ok(&error);
    return result;
}

/* ---- the graph, read whole -------------------------------------------- */

/* Counts what is there under its number; the column behind the number, if any,
   must be as the number says. */
static void count_row(member *members, int threads, const falkor_result *page,
                      size_t row, bool edges) {
    int64_t no = falkor_result_value(page, row, 0)->as.integer;
    const falkor_value *from = falkor_result_value(page, row, 1);
    if (falkor_result_value(page, row, 0)->type != FALKOR_INTEGER || no < 0 ||
        no >= (int64_t)threads * WRITES ||
        no % WRITES >= members[no / WRITES].written)
        fail_msg("number %" PRId64 " is in the graph, and nobody wrote it", no);
    if (edges && (from->type != FALKOR_INTEGER ||
                  from->as.integer != no % ANCHORS))
        fail_msg("edge %" PRId64 " begins somewhere else", no);
    record *write = &members[no / WRITES].writes[no % WRITES];
    if (edges)
        write->edges++;
    else
        write->nodes++;
}

static void read_whole(const proof *all, member *members, int threads,
                       bool edges) {
    const char *cypher = edges
        ? "MATCH (a:P)-[w:W]->() RETURN w.no, a.id SKIP $skip LIMIT $limit"
        : "MATCH (n:N) RETURN n.no SKIP $skip LIMIT $limit";
    int64_t total = 0;
    size_t rows = PAGE;
    while (rows == PAGE) {
        falkor_result *page = ask(all, cypher, FALKOR_PARAMS(
            {"skip", falkor_int(total)}, {"limit", falkor_int(PAGE)}));
        rows = falkor_result_rows(page);
        for (size_t row = 0; row < rows; row++)
            count_row(members, threads, page, row, edges);
        total += (int64_t)rows;
        falkor_result_free(page);
    }
    falkor_result *count = ask(all, edges
        ? "MATCH ()-[w]->() RETURN count(w)"
        : "MATCH (n) WHERE NOT n:P RETURN count(n)", NULL);
    assert_int_equal(total, falkor_result_value(count, 0, 0)->as.integer);
    falkor_result_free(count);
}

static void compare(const member *self, int outcomes[MAYBE + 1][2]) {
    for (int i = 0; i < self->written; i++) {
        const record *write = &self->writes[i];
        int nodes = write->makes & NODE ? 1 : 0;
        int edges = write->makes & EDGE ? 1 : 0;
        bool whole = write->nodes == nodes && write->edges == edges;
        bool none = !write->nodes && !write->edges;
        outcomes[write->outcome][whole]++;
        if (write->outcome == ACKNOWLEDGED ? !whole
            : write->outcome == MAYBE ? !whole && !none : !none)
            fail_msg("write %d of thread %d, outcome %d, to make %d nodes and "
                     "%d edges, has made %d and %d", i, self->number,
                     write->outcome, nodes, edges, write->nodes, write->edges);
    }
}

/* ---- the run ---------------------------------------------------------- */

/* What all threads have had good answers to since it was asked for. */
static void await_good(proof *all, member *members, int threads, int least) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    for (int i = 0; i < threads; i++)
        atomic_store(&members[i].good, 0);
    for (int i = 0; i < threads; i++)
        while (atomic_load(&members[i].good) < least &&
               !atomic_load(&all->broken)) {
            if (test_now_ms() > until) {
                TEST_COMPLAIN("thread %d is not served again", i);
                atomic_store(&all->broken, true);
            }
            test_pause_ms(1);
        }
}

static void strike(proof *all, member *members, int threads, int seconds,
                   int times) {
    int64_t until = test_now_ms() + seconds * 1000;
    while (!atomic_load(&all->broken) &&
           (test_now_ms() < until || lab_least(&all->lab) < times)) {
        lab_strike(&all->lab, lab_next(&all->lab));
        await_good(all, members, threads, test_below(&all->lab.random, 3));
    }
    await_good(all, members, threads, ENOUGH);
}

static falkor_options options_of(const proof *all) {
    falkor_options options = crowd_options(all->lab.between.port);
    options.pool_timeout_ms = POOL_MS;
    options.connect_timeout_ms = DIAL_MS;
    options.socket_timeout_ms = SOCKET_MS;
    options.health_check_interval_ms = 500;
    options.max_lifetime_ms = 5000;
    options.graph = "proof";
    return options;
}

/* Labels, types and attributes are all there before there is more than one
   thread: FalkorDB crashes when several add them. */
static void found(const proof *all) {
    static const char *const statements[] = {
        "CREATE INDEX FOR (n:N) ON (n.no)",
        "UNWIND range(0, 49) AS i CREATE (:P {id: i})",
        "CREATE (:N {no: 0})-[:W {no: 0}]->(:N {no: 0})",
        "MATCH (n:N) DELETE n"};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        falkor_result_free(ask(all, statements[i], NULL));
}

static void print_outcomes(const proof *all, const member *members,
                           int threads, int outcomes[MAYBE + 1][2]) {
    int reads = 0;
    for (int i = 0; i < threads; i++)
        reads += members[i].reads;
    printf("count: %d threads: %d writes acknowledged, %d failed, %d perhaps "
           "executed, of which %d were; %d read back;", threads,
           outcomes[ACKNOWLEDGED][1], outcomes[FAILED][0], outcomes[MAYBE][0] +
           outcomes[MAYBE][1], outcomes[MAYBE][1], reads);
    for (int i = 1; i < FALKOR_STATUS_COUNT; i++)
        if (atomic_load(&all->bad[i]))
            printf(" %s %d", falkor_status_name((falkor_status)i) +
                   strlen("FALKOR_ERR_"), atomic_load(&all->bad[i]));
    printf("\n");
}

static void check_pool(const proof *all) {
    TEST_EVENTUALLY(crowd_pool_is_full(all->pool));
    crowd_take_all(all->pool);
    TEST_EVENTUALLY(crowd_pool_is_full(all->pool));
    TEST_EVENTUALLY(crowd_is_seen(all->lab.server.port, CROWD_POOL));
    falkor_stats now;
    falkor_pool_stats(all->pool, &now);
    assert_true(now.acquires == now.releases);
}

static void check(const proof *all, member *members, int threads,
                  int64_t tick_ns) {
    int outcomes[MAYBE + 1][2] = {{0}};
    late_book book = {.calls = 0};
    read_whole(all, members, threads, false);
    read_whole(all, members, threads, true);
    for (int i = 0; i < threads; i++) {
        compare(&members[i], outcomes);
        late_add(&book, &members[i].book);
    }
    print_outcomes(all, members, threads, outcomes);
    late_check(&book, tick_ns);
    check_pool(all);
}

void proof_run(int seconds, int times) {
    static proof all;
    static member members[THREADS_MOST];
    const char *given = getenv("FALKOR_PROOF_SECONDS");
    uint64_t random = test_seed();
    int threads = THREADS_LEAST +
        test_below(&random, THREADS_MOST - THREADS_LEAST + 1);
    lab_start(&all.lab, random);
    falkor_options options = options_of(&all);
    all.pool = crowd_pool(&options);
    all.graph = falkor_select_graph(all.pool, NULL);
    found(&all);
    for (int i = 0; i < threads; i++) {
        members[i] = (member){.all = &all, .number = i,
            .random = test_random(&random),
            .writes = calloc(WRITES, sizeof(record))};
        assert_non_null(members[i].writes);
    }
    late_begin();
    test_threads running = test_start(run, members, sizeof *members, threads);
    strike(&all, members, threads, given ? atoi(given) : seconds, times);
    atomic_store(&all.stopped, true);
    test_join(&running);
    int64_t tick_ns = late_end();
    lab_print(&all.lab);
    test_no_complaints();
    assert_true(lab_least(&all.lab) >= times);
    check(&all, members, threads, tick_ns);
    for (int i = 0; i < threads; i++)
        free(members[i].writes);
    falkor_pool_free(all.pool);
    lab_stop(&all.lab);
}
