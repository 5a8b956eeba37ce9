/* Every kind of parameter, there and back: a value is never pasted into a
   query, and what it holds cannot change what the query does. FALKORDB_URL
   names the server; without it localhost:6379 is asked.

       cc parameters.c -lfalkorpool -lhiredis -lpthread -o parameters */
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool print(void *ctx, const char *bytes, size_t length) {
    return fwrite(bytes, 1, length, ctx) == length;
}

/* Prints one row as JSON. */
static falkor_status ask(falkor_graph *graph, const char *cypher,
                         const falkor_param *params, falkor_error *error) {
    falkor_result *result;
    falkor_status status = falkor_query(graph, cypher, params, &result, error);
    for (size_t i = 0; i < falkor_result_columns(result); i++) {
        printf("%-10s ", falkor_result_column(result, i));
        falkor_value_write_json(falkor_result_value(result, 0, i), print,
                                stdout);
        putchar('\n');
    }
    falkor_result_free(result);
    return status;
}

static falkor_status ask_all(falkor_graph *graph, falkor_error *error) {
    static const char hostile[] = "'}) DETACH DELETE n //\n\" $x `";
    static const float floats[] = {1.5f, -2, 0.25f};

    /* Written where they are used; they live to the end of the block. */
    falkor_status status = ask(graph,
        "RETURN $nothing AS nothing, $truth AS truth, $number AS number, "
        "$real AS real, $text AS text, $bytes AS bytes, $list AS list, "
        "$map AS map", FALKOR_PARAMS(
            {"nothing", falkor_null()},
            {"truth", falkor_bool(true)},
            {"number", falkor_int(INT64_MIN)},
            {"real", falkor_double(0.1)},
            {"text", falkor_string(hostile)},
            {"bytes", falkor_string_n("only this, not that", 9)},
            {"list", FALKOR_ARRAY_OF(falkor_int(1), falkor_string("two"),
                                     FALKOR_ARRAY_OF(falkor_null()))},
            {"map", FALKOR_MAP_OF({"key", falkor_int(1)},
                                  {"a key", falkor_bool(false)})}), error);
    if (status)
        return status;

    /* A point travels as a map, a vector as a list, a date as text: the query
       says what they are. A list that a program fills ends with {0}. */
    falkor_value items[3];
    for (int i = 0; i < 3; i++)
        items[i] = falkor_int(i * i);
    falkor_param params[] = {
        {"place", FALKOR_MAP_OF({"latitude", falkor_double(52.5)},
                                {"longitude", falkor_double(13.5)})},
        {"vector", falkor_vectorf32(floats, 3)},
        {"day", falkor_string("2024-02-29")},
        {"squares", falkor_array(items, 3)}, {0}};
    return ask(graph, "RETURN point($place) AS place, vecf32($vector) AS "
               "vector, date($day) AS day, $squares AS squares", params,
               error);
}

int main(void) {
    falkor_options options = {.graph = "parameters", .max_size = 2};
    falkor_pool *pool = NULL;
    falkor_graph *graph = NULL;
    falkor_error error;
    if (!falkor_options_from_env(&options, &error) &&
        !falkor_pool_create(&options, &pool, &error) &&
        !falkor_pool_open(pool, &error)) {
        graph = falkor_select_graph(pool, NULL);
        ask_all(graph, &error);
    }
    if (error.status)
        fprintf(stderr, "parameters: %s\n", error.message);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    return error.status ? EXIT_FAILURE : EXIT_SUCCESS;
}
