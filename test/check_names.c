/* 1 000 graphs put in the place of others, between and during the queries of 16
   threads, on pools of 1, 4 and 20 connections: never a wrong name. */
#include "naming.h"
#include <inttypes.h>

enum { ROUNDS = SERVING_SANITIZED ? 200 : 1000, PART = 25 };

static void run_stress(const serving *server, void *ctx) {
    naming_stress *stress = ctx;
    naming_tally tally;
    stress->server = server;
    naming_stress_run(stress, &tally);
    TEST_CHECK(tally.names > 1000);
}

/* In parts: a server that crashes takes no more than one with it. */
static void test_names_thousand_graphs(void **state) {
    (void)state;
    static const int sizes[] = {1, 4, 20};
    for (int size = 0; size < 3; size++)
        for (int part = 0; part < ROUNDS / PART; part++)
            naming_on_own_server(run_stress, &(naming_stress){.threads = 16,
                .connections = sizes[size], .rounds = PART,
                .seed = test_seed() + (uint64_t)(1000 * size + part),
                .graph = "stress"});
}

TEST_MAIN(cmocka_unit_test(test_names_thousand_graphs))
