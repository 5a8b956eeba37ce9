/* A small program: a pool, a query with a parameter, its result; nothing that
   FALKOR_WITHOUT_... leaves out (`make size` measures it): smallest PORT */
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    falkor_options options = {.max_size = 2, .graph = "smallest",
                              .port = argc > 1 ? atoi(argv[1]) : 0};
    falkor_pool *pool = NULL;
    falkor_error error;
    falkor_result *found;
    if (!falkor_pool_create(&options, &pool, &error) &&
        !falkor_pool_open(pool, &error)) {
        falkor_graph *graph = falkor_select_graph(pool, NULL);
        if (!falkor_query(graph, "MERGE (p:Person {name: $name}) RETURN p",
                          FALKOR_PARAMS({"name", falkor_string("Ada")}),
                          &found, &error))
            puts(falkor_property(falkor_result_value(found, 0, 0),
                                 "name")->as.string);
        falkor_result_free(found);
    }
    if (error.status)
        fprintf(stderr, "%s\n", error.message);
    falkor_pool_free(pool);
    return error.status != FALKOR_OK;
}
