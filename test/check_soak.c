/* A minute of everything at once on the real server: 50 threads on a pool of
   20 ask for their own tokens and write numbered nodes, while connections are
   killed and the server is stopped and continued. Afterwards: no token was
   another's, no call overran its deadline by a second, the pool is whole, and
   each write is in the graph as often as its caller was told. */
#include "testing.h"
#include "serving.h"
#include <inttypes.h>
#include <signal.h>

enum { THREADS = 50, POOL = 20, SECONDS = TEST_SANITIZED ? 20 : 60,
       TIMEOUT_MS = 1000, WRITES = 400 };

typedef struct soak {
    falkor_graph *graph;
    atomic_bool *stop;
    int id;
    uint64_t random;
    uint64_t asked, failed;
    int64_t worst_overrun_ns;
    int written;
    falkor_status told[WRITES];         /* what each write's caller was told */
    bool maybe[WRITES];
} soak;

static void soak_timed(soak *self, int64_t begun) {
    int64_t over = falkor_now_ns() - begun - TIMEOUT_MS * SERVING_MS;
    if (over > self->worst_overrun_ns)
        self->worst_overrun_ns = over;
}

static void soak_read(soak *self) {
    falkor_result *result;
    falkor_error error;
    int64_t token = (int64_t)(test_random(&self->random) >> 1);
    int64_t begun = falkor_now_ns();
    falkor_status status = falkor_query_with(self->graph,
        &(falkor_call_options){.read_only = true, .timeout_ms = TIMEOUT_MS},
        "RETURN $token", FALKOR_PARAMS({"token", falkor_int(token)}), &result,
        &error);
    soak_timed(self, begun);
    self->asked++;
    self->failed += status != FALKOR_OK;
    if (!status && falkor_result_value(result, 0, 0)->as.integer != token)
        TEST_COMPLAIN("thread %d asked for %" PRId64 " and got %" PRId64,
            self->id, token,
            falkor_result_value(result, 0, 0)->as.integer);
    TEST_CHECK((result != NULL) == (status == FALKOR_OK));
    falkor_result_free(result);
}

static void soak_write(soak *self) {
    falkor_error error;
    int64_t begun = falkor_now_ns();
    int at = self->written++;
    self->told[at] = falkor_query_with(self->graph,
        &(falkor_call_options){.timeout_ms = TIMEOUT_MS},
        "CREATE (:N {t: $t, n: $n})",
        FALKOR_PARAMS({"t", falkor_int(self->id)}, {"n", falkor_int(at)}),
        NULL, &error);
    self->maybe[at] = error.maybe_executed;
    soak_timed(self, begun);
}

static void *soak_run(void *argument) {
    soak *self = argument;
    while (!atomic_load(self->stop)) {
        if (self->written < WRITES && test_chance(&self->random, 20))
            soak_write(self);
        else
            soak_read(self);
    }
    return NULL;
}

/* Every write is there once when it succeeded, not at all when it failed
   without maybe_executed, and at most once otherwise. */
static void soak_compare(const soak *self, falkor_graph *graph) {
    falkor_error error;
    falkor_result *result;
    int found[WRITES] = {0};
    falkor_ro_query(graph, "MATCH (n:N {t: $t}) RETURN n.n",
        FALKOR_PARAMS({"t", falkor_int(self->id)}), &result, &error);
    serving_ok(&error);
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        found[falkor_result_value(result, row, 0)->as.integer]++;
    falkor_result_free(result);
    for (int i = 0; i < self->written; i++) {
        int least = self->told[i] == FALKOR_OK;
        int most = least || self->maybe[i];
        if (found[i] < least || found[i] > most)
            fail_msg("write %d of thread %d, told %s%s, is there %d times", i,
                self->id, falkor_status_name(self->told[i]),
                self->maybe[i] ? " maybe_executed" : "", found[i]);
    }
}

static void test_soak_kills_and_stops(void **state) {
    (void)state;
    static soak each[THREADS];
    serving server;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.max_size = options.min_size = POOL;
    options.graph = "soak";
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, NULL);
    serving_run(graph, "CREATE INDEX FOR (n:N) ON (n.t)");
    atomic_bool stop = false;
    uint64_t random = test_seed();
    for (int i = 0; i < THREADS; i++)
        each[i] = (soak){.graph = graph, .stop = &stop, .id = i,
                         .random = random + (uint64_t)i * 7919};
    test_threads threads = test_start(soak_run, each, sizeof *each, THREADS);
    int kills = 0, stops = 0;
    int64_t end = test_now_ms() + SECONDS * 1000;
    while (test_now_ms() < end) {
        if (test_chance(&random, 10)) {
            serving_signal(&server, SIGSTOP);
            test_pause_ms(500 + test_below(&random, 1500));
            serving_signal(&server, SIGCONT);
            stops++;
        } else {
            free(serving_ask(server.port,
                             "CLIENT KILL TYPE normal SKIPME yes"));
            kills++;
        }
        test_pause_ms(test_below(&random, 100));
    }
    atomic_store(&stop, true);
    test_join(&threads);
    test_no_complaints();

    uint64_t asked = 0, failed = 0;
    int written = 0, unsure = 0;
    int64_t worst = 0;
    for (int i = 0; i < THREADS; i++) {
        asked += each[i].asked;
        failed += each[i].failed;
        written += each[i].written;
        for (int n = 0; n < each[i].written; n++)
            unsure += each[i].maybe[n];
        if (each[i].worst_overrun_ns > worst)
            worst = each[i].worst_overrun_ns;
        soak_compare(&each[i], graph);
    }
    printf("%d s, %d kills, %d stops: %" PRIu64 " reads (%" PRIu64 " failed), "
           "%d writes (%d maybe executed), worst overrun %.1f ms\n", SECONDS,
           kills, stops, asked, failed, written, unsure, (double)worst / 1e6);
    assert_true(worst < 1000 * SERVING_MS);
    assert_true(asked - failed > 1000);
    falkor_stats now;
    TEST_EVENTUALLY((falkor_pool_stats(pool, &now),
                     now.idle == POOL && now.total == POOL));
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    serving_stop(&server);
}

TEST_MAIN(cmocka_unit_test(test_soak_kills_and_stops))
