/* Twenty failovers of each kind, with sentinels and in a cluster: see
   failover.h. Runs alone: it measures. */
#include "failover.h"
#include "testing.h"

enum { ROUNDS = 20 };

static void test_failover_sentinel(void **state) {
    (void)state;
    failover_run(FLEET_SENTINEL, failover_rounds(ROUNDS),
                 failover_rounds(ROUNDS));
}

static void test_failover_cluster(void **state) {
    int rounds = (failover_rounds(ROUNDS) + 1) / 2;
    (void)state;
    failover_run(FLEET_CLUSTER, rounds, rounds);
}

TEST_MAIN(cmocka_unit_test(test_failover_sentinel),
          cmocka_unit_test(test_failover_cluster))
