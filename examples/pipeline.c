/* A pipeline: many queries with parameters in one round trip over one
   connection, each with a status and a result of its own. FALKORDB_URL names
   the server; without it localhost:6379 is asked.

       cc pipeline.c -lfalkorpool -lhiredis -lpthread -o pipeline */
#include "pool.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(falkor_pool *pool, const falkor_error *error) {
    fprintf(stderr, "pipeline: %s\n", error->message);
    falkor_pool_free(pool);
    return EXIT_FAILURE;
}

/* What became of each request. An error reply is the request's own affair; one
   that the broken connection left open says whether it may have run. */
static void show(const falkor_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const falkor_error *error = &requests[i].error;
        const falkor_value *value = falkor_result_value(requests[i].result, 0,
                                                        0);
        if (error->status != FALKOR_OK)
            printf("%zu: %s%s: %s\n", i, falkor_status_name(error->status),
                   error->maybe_executed ? ", may have run" : "",
                   error->message);
        else if (value && value->type == FALKOR_INTEGER)
            printf("%zu: %" PRId64 "\n", i, value->as.integer);
        else
            printf("%zu: done\n", i);
    }
}

int main(void) {
    falkor_options options = {.graph = "pipeline", .max_size = 4};
    falkor_pool *pool;
    falkor_error error;
    if (falkor_options_from_env(&options, &error) != FALKOR_OK ||
        falkor_pool_create(&options, &pool, &error) != FALKOR_OK)
        return fail(NULL, &error);
    if (falkor_pool_open(pool, &error) != FALKOR_OK)
        return fail(pool, &error);
    falkor_graph *graph = falkor_select_graph(pool, NULL);

    /* They run in this order, and each sees what those before it have done. */
    falkor_request requests[] = {
        {.graph = graph, .cypher = "MERGE (:City {name: $name, seas: $seas})",
         .params = FALKOR_PARAMS({"name", falkor_string("Bergen")},
                                 {"seas", falkor_int(1)})},
        {.graph = graph, .cypher = "MERGE (:City {name: $name, seas: $seas})",
         .params = FALKOR_PARAMS({"name", falkor_string("Istanbul")},
                                 {"seas", falkor_int(2)})},
        {.graph = graph, .cypher = "RETURN 1 / $zero",
         .params = FALKOR_PARAMS({"zero", falkor_int(0)})},
        {.graph = graph, .cypher = "MATCH (c:City) RETURN max(c.seas)",
         .read_only = true},
        {.argc = 2, .argv = (const char *[]){"EXISTS", "pipeline"},
         .read_only = true},
    };
    size_t count = sizeof requests / sizeof *requests;
    falkor_pipeline(pool, NULL, requests, count, &error);
    show(requests, count);
    bool as_expected = error.status == FALKOR_ERR_QUERY &&  /* of requests[2] */
        requests[3].error.status == FALKOR_OK;
    for (size_t i = 0; i < count; i++)
        falkor_result_free(requests[i].result);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    return as_expected ? EXIT_SUCCESS : EXIT_FAILURE;
}
