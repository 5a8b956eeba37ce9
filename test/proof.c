/* The lab strikes while threads write and are told: see proof.h. lab.c and
   ledger.c are brought together here. */
#include "proof.h"
#include "crowd.h"
#include "lab.h"
#include "ledger.h"

enum { THREADS_LEAST = 16, THREADS_MOST = LEDGER_MOST, DIAL_MS = 250,
       ENOUGH = 10 };

typedef struct proof {
    lab lab;
    ledger told;
} proof;

static void check_pool(const proof *self) {
    falkor_pool *pool = self->told.all.pool;
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
    ledger_compare(&self->told);
    ledger_add_lateness(&self->told, &book);
    late_check(&book, tick_ns);
    check_pool(self);
}

static void strike(proof *self, int seconds, int times) {
    int64_t until = test_now_ms() + seconds * 1000;
    while (!atomic_load(&self->told.all.broken) &&
           (test_now_ms() < until || lab_least(&self->lab) < times)) {
        lab_strike(&self->lab, lab_next(&self->lab));
        ledger_await_good(&self->told, test_below(&self->lab.random, 3));
    }
    ledger_await_good(&self->told, ENOUGH);
}

static void open_pool(proof *self) {
    falkor_options options = crowd_options(self->lab.between.port);
    options.pool_timeout_ms = SCRIBE_POOL_MS;
    options.connect_timeout_ms = DIAL_MS;
    options.socket_timeout_ms = SCRIBE_SOCKET_MS;
    options.health_check_interval_ms = 500;
    options.max_lifetime_ms = 5000;
    options.graph = SCRIBE_GRAPH;
    self->told.all.most = CROWD_POOL;
    self->told.all.pool = crowd_pool(&options);
    self->told.all.graph = falkor_select_graph(self->told.all.pool, NULL);
}

static void begin(proof *self, uint64_t random) {
    int threads = THREADS_LEAST +
        test_below(&random, THREADS_MOST - THREADS_LEAST + 1);
    lab_start(&self->lab, random);
    open_pool(self);
    late_begin();
    ledger_begin(&self->told, threads, random);
}

static void end(proof *self) {
    ledger_free(&self->told);
    falkor_pool_free(self->told.all.pool);
    lab_stop(&self->lab);
}

void proof_run(int seconds, int times) {
    static proof self;
    const char *given = getenv("FALKOR_PROOF_SECONDS");
    begin(&self, test_seed());
    strike(&self, given ? atoi(given) : seconds, times);
    ledger_stop(&self.told);
    int64_t tick_ns = late_end();
    lab_print(&self.lab);
    test_no_complaints();
    assert_true(lab_least(&self.lab) >= times);
    check(&self, tick_ns);
    end(&self);
}
