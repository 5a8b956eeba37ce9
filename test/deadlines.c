/* Calls in a hurry: see deadlines.h. */
#include "deadlines.h"
#include "crowd.h"
#include "lateness.h"
#include <errno.h>
#include <inttypes.h>

enum { LONGEST_MS = 20, DIAL_MS = 500, LONGEST_QUERY = 400000 };

typedef struct hurry {
    falkor_pool *pool;
    falkor_graph *graph;
    int calls;                          /* of each thread */
    atomic_int bad[FALKOR_STATUS_COUNT];
} hurry;

typedef struct hurried {
    hurry *all;
    int number;
    uint64_t random;
    late_book book;
} hurried;

/* That there was no time is all that may go wrong. */
static void note(hurried *self, const falkor_error *error) {
    atomic_fetch_add(&self->all->bad[error->status], 1);
    switch (error->status) {
    case FALKOR_OK: case FALKOR_ERR_POOL_TIMEOUT: case FALKOR_ERR_TIMEOUT:
    case FALKOR_ERR_BUSY: case FALKOR_ERR_CIRCUIT_OPEN:
        break;
    case FALKOR_ERR_CONNECT:            /* no time to dial */
        TEST_CHECK(error->sys_errno == ETIMEDOUT);
        break;
    default:
        TEST_COMPLAIN("%s: %s", falkor_status_name(error->status),
                      error->message);
    }
}

/* One that does not wait, but may dial. */
static void acquire_now(hurried *self) {
    falkor_conn *conn;
    falkor_error error;
    late_call clock;
    late_clock_in(&clock);
    falkor_acquire_within(self->all->pool, 0, &conn, &error);
    late_clock_out(&self->book, &clock, DIAL_MS, &error);
    note(self, &error);
    TEST_CHECK((conn != NULL) == !error.status);
    if (conn)
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
}

/* Every hundredth takes the server up to twice as long as there is time. */
static void ask(hurried *self, int64_t token, int timeout_ms) {
    bool slow = test_chance(&self->random, 100);
    int64_t size = 1 + test_below(&self->random, LONGEST_QUERY);
    falkor_result *result;
    falkor_error error;
    late_call clock;
    char text[32];
    snprintf(text, sizeof text, "t%" PRId64, token);
    late_clock_in(&clock);
    falkor_query_with(self->all->graph,
        &(falkor_call_options){.timeout_ms = timeout_ms,
                               .read_only = test_chance(&self->random, 2)},
        slow ? "UNWIND range(1, $n) AS i WITH max(i) AS m RETURN $t, $s, m"
             : "RETURN $t, $s, $n",
        FALKOR_PARAMS({"t", falkor_int(token)}, {"s", falkor_string(text)},
                      {"n", falkor_int(size)}), &result, &error);
    late_clock_out(&self->book, &clock, timeout_ms, &error);
    note(self, &error);
    if (!error.status && !(crowd_is_token(result, token) &&
        falkor_result_value(result, 0, 2)->as.integer == size))
        TEST_COMPLAIN("token %" PRId64 " came back as another's", token);
    falkor_result_free(result);
}

static void *run(void *argument) {
    hurried *self = argument;
    for (int i = 0; i < self->all->calls; i++) {
        int timeout_ms = test_below(&self->random, LONGEST_MS + 1);
        if (timeout_ms)
            ask(self, self->number * INT64_C(1000000000) + i, timeout_ms);
        else
            acquire_now(self);
    }
    return NULL;
}

static void print(const hurry *all) {
    printf("count: deadlines of 0 to %d ms:", LONGEST_MS);
    for (int i = 0; i < FALKOR_STATUS_COUNT; i++)
        if (atomic_load(&all->bad[i]))
            printf(" %s %d", falkor_status_name((falkor_status)i) +
                   strlen("FALKOR_"), atomic_load(&all->bad[i]));
    printf("\n");
}

void deadlines_run(int calls) {
    hurried each[CROWD];
    hurry all = {.calls = calls / CROWD};
    late_book book = {.calls = 0};
    serving server;
    uint64_t random = test_seed();
    serving_start(&server, NULL);
    falkor_options options = crowd_options(server.port);
    options.connect_timeout_ms = DIAL_MS;
    all.pool = crowd_pool(&options);
    all.graph = falkor_select_graph(all.pool, "deadlines");
    serving_run(all.graph, "CREATE (:Canary)"); /* RO_QUERY wants a graph */
    for (int i = 0; i < CROWD; i++)
        each[i] = (hurried){.all = &all, .number = i,
                            .random = test_random(&random)};
    late_begin();
    test_threads threads = test_start(run, each, sizeof *each, CROWD);
    test_join_within(&threads, 500000);
    int64_t tick_ns = late_end();
    for (int i = 0; i < CROWD; i++)
        late_add(&book, &each[i].book);
    print(&all);
    late_check(&book, tick_ns);
    test_no_complaints();
    assert_int_equal(book.calls, all.calls * CROWD);
    assert_true(atomic_load(&all.bad[FALKOR_OK]) > all.calls);
    assert_true(atomic_load(&all.bad[FALKOR_ERR_TIMEOUT]) > 0);
    assert_true(atomic_load(&all.bad[FALKOR_ERR_POOL_TIMEOUT]) > 0);
    TEST_EVENTUALLY(crowd_pool_is_full(all.pool));
    crowd_take_all(all.pool);
    TEST_EVENTUALLY(crowd_pool_is_full(all.pool));
    TEST_EVENTUALLY(crowd_is_seen(server.port, CROWD_POOL));
    falkor_stats now;
    falkor_pool_stats(all.pool, &now);
    assert_true(now.acquires == now.releases);
    falkor_pool_free(all.pool);
    serving_stop(&server);
}
