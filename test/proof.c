/* What was told and what is true: see proof.h. scribe.c writes and is told,
   lab.c strikes; here they are brought together, and the graph is read. */
#include "proof.h"
#include "crowd.h"
#include "lab.h"
#include "scribe.h"
#include <inttypes.h>

enum { THREADS_LEAST = 16, THREADS_MOST = 50, DIAL_MS = 250, PAGE = 5000,
       ENOUGH = 10 };

typedef struct proof {
    lab lab;
    scribes all;
    scribe each[THREADS_MOST];
    int threads;
    int found[SCRIBE_OUTCOMES][2];      /* writes: not there, there */
} proof;

/* What must succeed, however long it takes. */
static falkor_result *ask(const proof *self, const char *cypher,
                          const falkor_param *params) {
    falkor_result *result;
    falkor_error error;
    falkor_query_with(self->all.graph,
        &(falkor_call_options){.timeout_ms = TEST_PATIENCE_MS}, cypher, params,
        &result, &error);
    serving_ok(&error);
    return result;
}

/* ---- the graph, read whole -------------------------------------------- */

static bool is_integer(const falkor_result *page, size_t row, size_t column,
                       int64_t integer) {
    const falkor_value *value = falkor_result_value(page, row, column);
    return value->type == FALKOR_INTEGER && value->as.integer == integer;
}

/* The write whose number was found. */
static scribe_record *write_of(proof *self, const falkor_value *number) {
    int64_t no = number->type == FALKOR_INTEGER ? number->as.integer
        : number->type == FALKOR_STRING ? atoll(number->as.string) : -1;
    if (no < 0 || no >= (int64_t)self->threads * SCRIBE_WRITES ||
        no % SCRIBE_WRITES >= self->each[no / SCRIBE_WRITES].written)
        fail_msg("number %" PRId64 " is there, and nobody wrote it", no);
    return &self->each[no / SCRIBE_WRITES].writes[no % SCRIBE_WRITES];
}

static void count_node(proof *self, const falkor_result *page, size_t row) {
    write_of(self, falkor_result_value(page, row, 0))->nodes++;
}

/* Its number, where it begins, the number and the id of where it ends. */
static void count_edge(proof *self, const falkor_result *page, size_t row) {
    const falkor_value *number = falkor_result_value(page, row, 0);
    scribe_record *write = write_of(self, number);
    int64_t no = number->as.integer;
    if (!is_integer(page, row, 1, no % SCRIBE_ANCHORS) ||
        !(write->makes & SCRIBE_NODE ? is_integer(page, row, 2, no)
          : is_integer(page, row, 3, (no + 1) % SCRIBE_ANCHORS)))
        fail_msg("edge %" PRId64 " is between others", no);
    write->edges++;
}

/* In pages; nothing else is there. */
static void read_whole(proof *self, const char *cypher, const char *counts,
                       void (*count)(proof *self, const falkor_result *page,
                                     size_t row)) {
    int64_t total = 0;
    size_t rows = PAGE;
    while (rows == PAGE) {
        falkor_result *page = ask(self, cypher, FALKOR_PARAMS(
            {"skip", falkor_int(total)}, {"limit", falkor_int(PAGE)}));
        rows = falkor_result_rows(page);
        for (size_t row = 0; row < rows; row++)
            count(self, page, row);
        total += (int64_t)rows;
        falkor_result_free(page);
    }
    falkor_result *whole = ask(self, counts, NULL);
    assert_true(is_integer(whole, 0, 0, total));
    falkor_result_free(whole);
}

static void read_list(proof *self) {
    falkor_result *list;
    falkor_error error;
    falkor_command(self->all.pool,
        &(falkor_call_options){.timeout_ms = TEST_PATIENCE_MS}, 4,
        (const char *[]){"LRANGE", SCRIBE_LIST, "0", "-1"}, NULL, &list,
        &error);
    serving_ok(&error);
    const falkor_value *all = falkor_result_value(list, 0, 0);
    for (uint32_t i = 0; i < all->length; i++)
        write_of(self, &all->as.items[i])->entries++;
    falkor_result_free(list);
}

static void compare(proof *self, const scribe *one) {
    for (int i = 0; i < one->written; i++) {
        const scribe_record *write = &one->writes[i];
        int found = write->nodes * SCRIBE_NODE + write->edges * SCRIBE_EDGE +
            write->entries * SCRIBE_ENTRY;
        bool whole = found == write->makes, none = found == 0;
        self->found[write->outcome][whole]++;
        if (write->outcome == SCRIBE_ACKNOWLEDGED ? !whole
            : write->outcome == SCRIBE_MAYBE ? !whole && !none : !none)
            fail_msg("write %d of thread %d, outcome %d, made %d of %d: %d "
                     "nodes, %d edges, %d entries", i, one->number,
                     write->outcome, found, write->makes, write->nodes,
                     write->edges, write->entries);
    }
}

/* ---- what comes after the faults -------------------------------------- */

static void print_outcomes(const proof *self) {
    const int *maybe = self->found[SCRIBE_MAYBE];
    int read = 0;
    for (int i = 0; i < self->threads; i++)
        read += self->each[i].read;
    printf("count: %d threads: %d writes acknowledged, %d failed, %d perhaps "
           "executed, of which %d were; %d read back;", self->threads,
           self->found[SCRIBE_ACKNOWLEDGED][1], self->found[SCRIBE_FAILED][0],
           maybe[0] + maybe[1], maybe[1], read);
    for (int i = 1; i < FALKOR_STATUS_COUNT; i++)
        if (atomic_load(&self->all.bad[i]))
            printf(" %s %d", falkor_status_name((falkor_status)i) +
                   strlen("FALKOR_ERR_"), atomic_load(&self->all.bad[i]));
    printf("\n");
}

static void check_pool(const proof *self) {
    falkor_pool *pool = self->all.pool;
    falkor_stats now;
    TEST_EVENTUALLY(crowd_pool_is_full(pool));
    crowd_take_all(pool);
    TEST_EVENTUALLY(crowd_pool_is_full(pool));
    TEST_EVENTUALLY(crowd_is_seen(self->lab.server.port, CROWD_POOL));
    falkor_pool_stats(pool, &now);
    assert_true(now.acquires == now.releases);
}

static void check(proof *self, int64_t tick_ns) {
    late_book book = {.calls = 0};
    read_whole(self, "MATCH (n:N) RETURN n.no SKIP $skip LIMIT $limit",
        "MATCH (n) WHERE NOT n:P RETURN count(n)", count_node);
    read_whole(self, "MATCH (a:P)-[w:W]->(b) RETURN w.no, a.id, b.no, b.id "
        "SKIP $skip LIMIT $limit", "MATCH ()-[w]->() RETURN count(w)",
        count_edge);
    read_list(self);
    for (int i = 0; i < self->threads; i++) {
        compare(self, &self->each[i]);
        late_add(&book, &self->each[i].book);
    }
    print_outcomes(self);
    late_check(&book, tick_ns);
    check_pool(self);
}

/* ---- the run ---------------------------------------------------------- */

/* Every thread is served again: so many good answers from now on. */
static void await_good(proof *self, int least) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    for (int i = 0; i < self->threads; i++)
        atomic_store(&self->each[i].good, 0);
    for (int i = 0; i < self->threads; i++)
        while (atomic_load(&self->each[i].good) < least &&
               !atomic_load(&self->all.broken)) {
            if (test_now_ms() > until) {
                TEST_COMPLAIN("thread %d is not served again", i);
                atomic_store(&self->all.broken, true);
            }
            test_pause_ms(1);
        }
}

static void strike(proof *self, int seconds, int times) {
    int64_t until = test_now_ms() + seconds * 1000;
    while (!atomic_load(&self->all.broken) &&
           (test_now_ms() < until || lab_least(&self->lab) < times)) {
        lab_strike(&self->lab, lab_next(&self->lab));
        await_good(self, test_below(&self->lab.random, 3));
    }
    await_good(self, ENOUGH);
}

static void open_pool(proof *self) {
    falkor_options options = crowd_options(self->lab.between.port);
    options.pool_timeout_ms = SCRIBE_POOL_MS;
    options.connect_timeout_ms = DIAL_MS;
    options.socket_timeout_ms = SCRIBE_SOCKET_MS;
    options.health_check_interval_ms = 500;
    options.max_lifetime_ms = 5000;
    options.graph = SCRIBE_GRAPH;
    self->all.pool = crowd_pool(&options);
    self->all.graph = falkor_select_graph(self->all.pool, NULL);
}

/* Labels, types and attributes are all there before there is more than one
   thread: FalkorDB crashes when several add them. */
static void found(const proof *self) {
    static const char *const statements[] = {
        "CREATE INDEX FOR (n:N) ON (n.no)",
        "UNWIND range(1, $anchors) AS i CREATE (:P {id: i - 1})",
        "CREATE (:N {no: 0})-[:W {no: 0}]->(:N {no: 0})",
        "MATCH (n:N) DELETE n"};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        falkor_result_free(ask(self, statements[i], FALKOR_PARAMS(
            {"anchors", falkor_int(SCRIBE_ANCHORS)})));
}

static void begin(proof *self, uint64_t random) {
    self->threads = THREADS_LEAST +
        test_below(&random, THREADS_MOST - THREADS_LEAST + 1);
    lab_start(&self->lab, random);
    open_pool(self);
    found(self);
    for (int i = 0; i < self->threads; i++) {
        self->each[i] = (scribe){.all = &self->all, .number = i,
            .random = test_random(&random),
            .writes = calloc(SCRIBE_WRITES, sizeof(scribe_record))};
        assert_non_null(self->each[i].writes);
    }
}

static void end(proof *self) {
    for (int i = 0; i < self->threads; i++)
        free(self->each[i].writes);
    falkor_pool_free(self->all.pool);
    lab_stop(&self->lab);
}

void proof_run(int seconds, int times) {
    static proof self;
    const char *given = getenv("FALKOR_PROOF_SECONDS");
    begin(&self, test_seed());
    late_begin();
    test_threads threads = test_start(scribe_run, self.each, sizeof *self.each,
                                      self.threads);
    strike(&self, given ? atoi(given) : seconds, times);
    atomic_store(&self.all.stopped, true);
    test_join(&threads);
    int64_t tick_ns = late_end();
    lab_print(&self.lab);
    test_no_complaints();
    assert_true(lab_least(&self.lab) >= times);
    check(&self, tick_ns);
    end(&self);
}
