/* The simulation of plot_storm.c in small: fifty processes, and a server that
   shrinks likewise. It is here so that the simulation lives as long as the pool
   does: what the plot shows must hold, and the same seed be the same run. */
#include "storm.h"
#include "testing.h"

#define PROCESSES 50

static const storm_found *run(bool silent, bool breaker, uint64_t seed) {
    static storm_found found[2];
    static int turn;
    storm_found *one = &found[turn++ % 2];  /* the one before stays */
    storm_plan plan = storm_plan_of(PROCESSES);
    plan.silent = silent;
    plan.breaker = breaker;
    plan.seed = seed;
    storm_run(&plan, one);
    return one;
}

/* In the last ten seconds every call succeeds, and there were some. */
static void assert_recovered(const storm_found *found) {
    storm_plan plan = storm_plan_of(PROCESSES);
    int end = (int)(plan.end_ns / STORM_BIN_NS), calls = 0;
    for (int i = end - 10 * STORM_BINS_PER_S; i < end; i++) {
        assert_int_equal(found->bins[i].failed, 0);
        calls += found->bins[i].calls;
    }
    assert_true(calls > 10 * PROCESSES);
    assert_true(found->most_clients <= plan.maxclients);
}

static void test_storm_same_seed(void **state) {
    (void)state;
    const storm_found *first = run(false, true, 1), *second = run(false, true,
                                                                  1);
    assert_true(first->hash == second->hash);
    assert_int_equal(first->openings, second->openings);
    assert_true(run(false, true, 2)->hash != second->hash);
}

/* C5, M9 */
static void test_storm_refused(void **state) {
    (void)state;
    const storm_found *with = run(false, true, 1), *without = run(false,
        false, 1);
    assert_recovered(with);
    assert_recovered(without);
    assert_true(with->peak_away * 2 < without->peak_away);
    assert_true(with->dials * 5 < without->dials);
    assert_true(with->openings >= PROCESSES && without->openings == 0);
    assert_true(with->recovered_s < 2 && without->recovered_s < 1);
}

/* C5, M9 */
static void test_storm_silent(void **state) {
    (void)state;
    const storm_found *with = run(true, true, 1), *without = run(true, false,
                                                                 1);
    assert_recovered(with);
    assert_recovered(without);
    assert_true(with->dials < without->dials);
    assert_true(with->most_clients < without->most_clients);
    assert_true(with->recovered_s < 5);
}

TEST_MAIN(
    cmocka_unit_test(test_storm_same_seed),
    cmocka_unit_test(test_storm_refused),
    cmocka_unit_test(test_storm_silent))
