/* Several servers: who they are, and writes that outlive their primary, for
   each is to be on every replica that answers. FALKORDB_URL names the servers,
   falkor+sentinel://... or falkor+cluster://...; with falkor://, or without it,
   there is one, and no copies. `test/fleet.sh sentinel` starts some to try it
   with. The argument is the number of writes, 3 without it.

       cc servers.c -lfalkorpool -lhiredis -lpthread -o servers */
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>

/* Prints the nodes; how many replicas that answer each primary has. */
static int show(falkor_pool *pool) {
    falkor_node_info nodes[16];
    size_t count = falkor_pool_nodes(pool, nodes, 16);
    int primaries = 0, copies = 0;
    for (size_t i = 0; i < count && i < 16; i++) {
        printf("%-21s %s%s\n", nodes[i].address,
               falkor_role_name(nodes[i].role),
               nodes[i].well ? "" : ", does not answer");
        primaries += nodes[i].role == FALKOR_ROLE_PRIMARY;
        copies += nodes[i].role == FALKOR_ROLE_REPLICA && nodes[i].well;
    }
    return primaries ? copies / primaries : 0;
}

/* A write that was applied, but can be lost with its primary, is written once
   more: MERGE does no harm. One that CREATEs would have to be looked for. */
static falkor_status note(falkor_graph *graph, int number, int copies,
                          falkor_error *error) {
    falkor_call_options lasting = {.wait_replicas = copies, .timeout_ms = 5000,
                                   .idempotent = true, .max_retries = 20};
    falkor_status status = FALKOR_ERR_NOT_REPLICATED;
    for (int i = 0; i < 5 && status == FALKOR_ERR_NOT_REPLICATED; i++)
        status = falkor_query_with(graph, &lasting,
            "MERGE (:Entry {number: $number})",
            FALKOR_PARAMS({"number", falkor_int(number)}), NULL, error);
    return status;
}

int main(int argc, char **argv) {
    int writes = argc > 1 ? atoi(argv[1]) : 3;
    falkor_options options = {.max_size = 2};
    falkor_pool *pool = NULL;
    falkor_error error;
    falkor_status status = falkor_options_from_env(&options, &error);
    if (!status)
        status = falkor_pool_create(&options, &pool, &error);
    if (!status)
        status = falkor_pool_open(pool, &error);
    int copies = status ? 0 : show(pool);
    falkor_graph *graph = status ? NULL : falkor_select_graph(pool, "servers");
    for (int i = 1; i <= writes && !status; i++) {
        status = note(graph, i, copies, &error);
        if (!status)
            printf("write %d is on %d replicas\n", i, copies);
    }
    if (status)
        fprintf(stderr, "servers: %s\n", error.message);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    return status ? EXIT_FAILURE : EXIT_SUCCESS;
}
