/* What was told and what is true: see ledger.h. scribe.c writes and is told. */
#include "ledger.h"
#include "serving.h"
#include <inttypes.h>

enum { PAGE = 5000, LOST_SHOWN = 20 };

/* What must succeed, however long it takes. */
static falkor_result *ask(const ledger *self, const char *cypher,
                          const falkor_param *params) {
    falkor_result *result;
    falkor_error error;
    falkor_query_with(self->all.graph,
        &(falkor_call_options){.timeout_ms = TEST_PATIENCE_MS}, cypher, params,
        &result, &error);
    serving_ok(&error);
    return result;
}

/* A write that no failover loses. */
static void lay(const ledger *self, const char *cypher,
                const falkor_param *params) {
    falkor_error error;
    falkor_query_with(self->all.graph,
        &(falkor_call_options){.timeout_ms = TEST_PATIENCE_MS,
                               .wait_replicas = self->all.copies}, cypher,
        params, NULL, &error);
    serving_ok(&error);
}

/* ---- the threads ------------------------------------------------------ */

/* Labels, types and attributes are all there before there is more than one
   thread: FalkorDB crashes when several add them. */
static void found(const ledger *self) {
    static const char *const statements[] = {
        "CREATE INDEX FOR (n:N) ON (n.no)",
        "UNWIND range(1, $anchors) AS i CREATE (:P {id: i - 1})",
        "CREATE (:N {no: 0})-[:W {no: 0}]->(:N {no: 0})",
        "MATCH (n:N) DELETE n"};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        lay(self, statements[i],
            FALKOR_PARAMS({"anchors", falkor_int(SCRIBE_ANCHORS)}));
}

void ledger_begin(ledger *self, int threads, uint64_t random) {
    assert_true(threads <= LEDGER_MOST);
    self->threads = threads;
    found(self);
    for (int i = 0; i < threads; i++) {
        self->each[i] = (scribe){.all = &self->all, .number = i + 1,
            .random = test_random(&random),
            .writes = calloc(SCRIBE_WRITES, sizeof(scribe_record))};
        assert_non_null(self->each[i].writes);
    }
    self->running = test_start(scribe_run, self->each, sizeof *self->each,
                               threads);
}

void ledger_await_good(ledger *self, int least) {
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

void ledger_stop(ledger *self) {
    atomic_store(&self->all.stopped, true);
    test_join(&self->running);
}

void ledger_free(ledger *self) {
    for (int i = 0; i < self->threads; i++)
        free(self->each[i].writes);
}

void ledger_add_lateness(const ledger *self, late_book *sum) {
    for (int i = 0; i < self->threads; i++)
        late_add(sum, &self->each[i].book);
}

/* ---- the graph, read whole -------------------------------------------- */

static bool is_integer(const falkor_result *page, size_t row, size_t column,
                       int64_t integer) {
    const falkor_value *value = falkor_result_value(page, row, column);
    return value->type == FALKOR_INTEGER && value->as.integer == integer;
}

/* The write whose number was found. */
static scribe_record *write_of(ledger *self, const falkor_value *number) {
    int64_t no = number->type == FALKOR_INTEGER ? number->as.integer
        : number->type == FALKOR_STRING ? atoll(number->as.string) : -1;
    int64_t thread = no / SCRIBE_WRITES - 1, write = no % SCRIBE_WRITES;
    if (thread < 0 || thread >= self->threads ||
        write >= self->each[thread].written)
        fail_msg("number %" PRId64 " is there, and nobody wrote it", no);
    return &self->each[thread].writes[write];
}

static void count_node(ledger *self, const falkor_result *page, size_t row) {
    write_of(self, falkor_result_value(page, row, 0))->nodes++;
}

/* Its number, where it begins, the number and the id of where it ends. */
static void count_edge(ledger *self, const falkor_result *page, size_t row) {
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
static void read_whole(ledger *self, const char *cypher, const char *counts,
                       void (*count)(ledger *self, const falkor_result *page,
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

static void read_list(ledger *self) {
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

/* ---- the comparison --------------------------------------------------- */

/* Whether what was found of a write is what its outcome allows. */
static bool agrees(const scribe_record *write, bool whole, bool none) {
    switch (write->outcome) {
    case SCRIBE_ACKNOWLEDGED:
        return whole || (none && !write->lasts);
    case SCRIBE_MAYBE:
        return whole || none;
    default:
        return none;
    }
}

/* Returns how many of its writes are not as they should be; says which. */
static int compare_one(ledger *self, const scribe *one, int wrong) {
    for (int i = 0; i < one->written; i++) {
        const scribe_record *write = &one->writes[i];
        int made = write->nodes * SCRIBE_NODE + write->edges * SCRIBE_EDGE +
            write->entries * SCRIBE_ENTRY;
        bool whole = made == write->makes, none = made == 0;
        self->found[write->outcome][write->lasts][whole]++;
        if (!agrees(write, whole, none) && wrong++ < LOST_SHOWN)
            printf("write %d of thread %d, outcome %d%s, makes %d: %d nodes, "
                   "%d edges, %d entries\n", i, one->number, write->outcome,
                   write->lasts ? ", that lasts" : "", write->makes,
                   write->nodes, write->edges, write->entries);
    }
    return wrong;
}

static void print_outcomes(const ledger *self) {
    const int (*good)[2] = self->found[SCRIBE_ACKNOWLEDGED];
    const int (*bad)[2] = self->found[SCRIBE_FAILED];
    const int (*maybe)[2] = self->found[SCRIBE_MAYBE];
    int read = 0, were = maybe[0][1] + maybe[1][1];
    for (int i = 0; i < self->threads; i++)
        read += self->each[i].read;
    printf("count: %d threads: %d writes acknowledged, %d failed, %d perhaps "
           "executed, of which %d were;", self->threads,
           good[0][0] + good[0][1] + good[1][0] + good[1][1],
           bad[0][0] + bad[1][0], maybe[0][0] + maybe[1][0] + were, were);
    if (self->all.copies)
        printf(" of %d acknowledged with wait_replicas=%d %d were lost, of %d "
               "without %d;", good[1][0] + good[1][1], self->all.copies,
               good[1][0], good[0][0] + good[0][1], good[0][0]);
    printf(" %d read back;", read);
    for (int i = 1; i < FALKOR_STATUS_COUNT; i++)
        if (atomic_load(&self->all.bad[i]))
            printf(" %s %d", falkor_status_name((falkor_status)i) +
                   strlen("FALKOR_ERR_"), atomic_load(&self->all.bad[i]));
    printf("\n");
}

void ledger_compare(ledger *self) {
    int wrong = 0;
    read_whole(self, "MATCH (n:N) RETURN n.no SKIP $skip LIMIT $limit",
        "MATCH (n) WHERE NOT n:P RETURN count(n)", count_node);
    read_whole(self, "MATCH (a:P)-[w:W]->(b) RETURN w.no, a.id, b.no, b.id "
        "SKIP $skip LIMIT $limit", "MATCH ()-[w]->() RETURN count(w)",
        count_edge);
    read_list(self);
    for (int i = 0; i < self->threads; i++)
        wrong = compare_one(self, &self->each[i], wrong);
    print_outcomes(self);
    if (wrong)
        fail_msg("%d writes are not as their callers were told", wrong);
}
