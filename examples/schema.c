/* A schema that is there before the first query: constraints and indexes that
   every opening of the pool makes sure of, and others that the program makes
   when it knows what it needs, waiting until they are built.

       cc schema.c -lfalkorpool -lhiredis -lpthread -o schema */
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>

/* Cypher, or the words of GRAPH.CONSTRAINT CREATE. What exists already is no
   error, so that each start of the program may say this again. */
static const char *const schema[] = {
    "CREATE INDEX FOR (b:Book) ON (b.isbn)",    /* the constraint needs it */
    "CONSTRAINT UNIQUE NODE Book PROPERTIES 1 isbn",
    "CREATE INDEX FOR (b:Book) ON (b.year)",
    NULL};

static int fail(falkor_pool *pool, const falkor_error *error) {
    fprintf(stderr, "schema: %s\n", error->message);
    falkor_pool_free(pool);
    return EXIT_FAILURE;
}

/* The same by calls. wait: the call returns when the server is done with the
   data that is there; a query before that finds less. */
static falkor_status more_schema(falkor_graph *graph, falkor_error *error) {
    falkor_index titles = {.kind = FALKOR_INDEX_FULLTEXT, .label = "Book",
        .properties = (const char *const[]){"title", "subtitle", NULL},
        .language = "english", .wait = true};
    falkor_constraint named = {.kind = FALKOR_CONSTRAINT_MANDATORY,
        .label = "Book", .properties = (const char *const[]){"title", NULL},
        .wait = true};
    falkor_status status = falkor_index_create(graph, NULL, &titles, error);
    return status ? status
        : falkor_constraint_create(graph, NULL, &named, error);
}

/* Looks up what the full-text index knows; the words travel as a value. */
static falkor_status search(falkor_graph *graph, const char *words,
                            falkor_error *error) {
    falkor_result *found;
    falkor_value arguments[] = {falkor_string("Book"), falkor_string(words)};
    falkor_status status = falkor_call_procedure(graph,
        &(falkor_call_options){.read_only = true},
        "db.idx.fulltext.queryNodes", arguments, 2, "node, score", &found,
        error);
    for (size_t row = 0; row < falkor_result_rows(found); row++)
        printf("%s: %s\n", words, falkor_property(
            falkor_result_get(found, row, "node"), "title")->as.string);
    falkor_result_free(found);
    return status;
}

int main(void) {
    falkor_options options = {.graph = "library", .max_size = 2,
                              .schema = schema};
    falkor_pool *pool = NULL;
    falkor_error error;
    if (falkor_options_from_env(&options, &error) ||
        falkor_pool_create(&options, &pool, &error) ||
        falkor_pool_open(pool, &error))         /* runs the schema */
        return fail(pool, &error);
    falkor_graph *graph = falkor_select_graph(pool, NULL);
    if (more_schema(graph, &error) ||
        falkor_query(graph, "MERGE (b:Book {isbn: $isbn, title: $title})",
            FALKOR_PARAMS({"isbn", falkor_string("978-0131103627")},
                {"title", falkor_string("The C Programming Language")}),
            NULL, &error) ||
        search(graph, "language", &error))
        return fail(pool, &error);

    /* What the constraints are for: a second book with this number, or one
       without a title, is refused. */
    if (falkor_query(graph, "CREATE (:Book {isbn: '978-0131103627'})", NULL,
                     NULL, &error) != FALKOR_ERR_CONSTRAINT)
        return fail(pool, &error);
    printf("refused: %s\n", error.message);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}
