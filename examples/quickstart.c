/* The first program, whole: connect, write with parameters, read typed values
   back, and say why when something fails. FALKORDB_URL names the server;
   without it localhost:6379 is asked.

       cc quickstart.c -lfalkorpool -lhiredis -lpthread -o quickstart */
#include "pool.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(falkor_pool *pool, const falkor_error *error) {
    fprintf(stderr, "quickstart: %s\n", error->message);
    falkor_pool_free(pool);
    return EXIT_FAILURE;
}

int main(void) {
    falkor_options options = {.graph = "quickstart", .max_size = 4};
    falkor_pool *pool;
    falkor_error error;
    if (falkor_options_from_env(&options, &error) != FALKOR_OK)
        return fail(NULL, &error);
    if (falkor_pool_create(&options, &pool, &error) != FALKOR_OK)
        return fail(NULL, &error);
    if (falkor_pool_open(pool, &error) != FALKOR_OK)
        return fail(pool, &error);
    falkor_graph *graph = falkor_select_graph(pool, NULL);

    /* A value is never pasted into a query: it travels as a parameter. */
    if (falkor_query(graph, "MERGE (p:Person {name: $name}) SET p.born = $born",
                     FALKOR_PARAMS({"name", falkor_string("Ada")},
                                   {"born", falkor_int(1815)}),
                     NULL, &error) != FALKOR_OK)
        return fail(pool, &error);

    falkor_result *people;
    if (falkor_ro_query(graph, "MATCH (p:Person) RETURN p.name, p.born", NULL,
                        &people, &error) != FALKOR_OK)
        return fail(pool, &error);
    for (size_t row = 0; row < falkor_result_rows(people); row++)
        printf("%s was born in %" PRId64 "\n",
               falkor_result_value(people, row, 0)->as.string,
               falkor_result_value(people, row, 1)->as.integer);
    falkor_result_free(people);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}
