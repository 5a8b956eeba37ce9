/* A large result, row by row: it takes no more memory than one row, however
   many there are, and whoever has seen enough stops. FALKORDB_URL names the
   server; without it localhost:6379 is asked.

       cc streaming.c -lfalkorpool -lhiredis -lpthread -o streaming */
#include "pool.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct tally {
    int64_t rows, sum, stop_at;         /* 0: read all */
} tally;

/* Sees one row, which is gone when this returns: copy what you keep. A result
   of its own is read as any other. */
static bool on_row(void *ctx, const falkor_result *row) {
    tally *t = ctx;
    const falkor_value *number = falkor_result_get(row, 0, "number");
    if (number->type == FALKOR_INTEGER)
        t->sum += number->as.integer;
    return ++t->rows != t->stop_at;     /* false: no more rows, please */
}

/* read_only makes it a stream: a query that may write is read whole first. The
   time is that of the whole call, on_row's own included. */
static falkor_status count(falkor_graph *graph, int64_t stop_at,
                           falkor_error *error) {
    tally t = {.stop_at = stop_at};
    falkor_call_options options = {.read_only = true, .timeout_ms = 60000};
    falkor_status status = falkor_query_each(graph, &options,
        "UNWIND range(1, $most) AS number RETURN number, 'a text' AS text",
        FALKOR_PARAMS({"most", falkor_int(200000)}), on_row, &t, NULL, error);
    if (!status)
        printf("%" PRId64 " rows, their sum %" PRId64 "\n", t.rows, t.sum);
    return status;
}

int main(void) {
    falkor_options options = {.graph = "streaming", .max_size = 2};
    falkor_pool *pool = NULL;
    falkor_graph *graph = NULL;
    falkor_error error;
    if (!falkor_options_from_env(&options, &error) &&
        !falkor_pool_create(&options, &pool, &error) &&
        !falkor_pool_open(pool, &error)) {
        graph = falkor_select_graph(pool, NULL);
        /* Only what has been written to can be read with read_only. */
        if (!falkor_query(graph, "MERGE (:Streamed)", NULL, NULL, &error) &&
            !count(graph, 0, &error))
            count(graph, 10, &error);
    }
    if (error.status)                   /* of a stream too: in the middle */
        fprintf(stderr, "streaming: %s\n", error.message);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    return error.status ? EXIT_FAILURE : EXIT_SUCCESS;
}
