/* 1 000 graphs put in the place of others, between and during the queries of 16
   threads, on pools of 1, 4 and 20 connections: never a wrong name. */
#include "naming.h"
#include <inttypes.h>

enum { PART = 25 };             /* graphs */

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
    static const struct { int connections, parts; } sizes[] = {
        {1, 10}, {4, 15}, {20, 15}};
    for (int size = 0; size < 3; size++)
        for (int part = 0; part < sizes[size].parts; part++)
            naming_on_own_server(run_stress, &(naming_stress){.threads = 16,
                .connections = sizes[size].connections, .rounds = PART,
                .seed = test_seed() + (uint64_t)(1000 * size + part),
                .graph = "stress"});
}

TEST_MAIN(cmocka_unit_test(test_names_thousand_graphs))
