/* What a pool is to FalkorDB: its graphs, and its opening, which proves that
   graph queries work and runs the schema statements. */
#include "call.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FALKOR__SCHEMA_WORDS 64         /* of one CONSTRAINT command */

/* ---- graphs ----------------------------------------------------------- */

falkor__client *falkor__client_of(falkor_pool *pool) {
    return *falkor__pool_client(pool);
}

static falkor_graph *falkor__graph_new(falkor_pool *pool, const char *name) {
    size_t length = strlen(name);
    const falkor_allocator *heap = falkor__pool_config(pool)->heap;
    falkor_graph *graph = falkor__take_zero(heap, 1,
                                            sizeof *graph + length + 1);
    if (!graph)
        return NULL;
    if (!falkor__names_begin(&graph->names)) {
        falkor__give(heap, graph);
        return NULL;
    }
    graph->pool = pool;
    graph->length = length;
    memcpy(graph->name, name, length + 1);
    return graph;
}

static void falkor__graph_destroy(falkor_graph *graph,
                                  const falkor_allocator *heap) {
    falkor__names_end(&graph->names);
    falkor__give(heap, graph);
}

/* The graph of that name, or else made, which may be NULL, as that. */
static falkor_graph *falkor__select_graph(falkor__client *client,
                                          const char *name,
                                          falkor_graph *made) {
    falkor__mutex_lock(&client->mutex);
    falkor_graph *graph = client->first;
    while (graph && strcmp(graph->name, name) != 0)
        graph = graph->next;
    if (!graph && made) {
        made->next = client->first;
        client->first = graph = made;
    }
    if (graph)
        graph->selected++;
    falkor__mutex_unlock(&client->mutex);
    return graph;
}

falkor_graph *falkor_select_graph(falkor_pool *pool, const char *name) {
    if (pool && !name)
        name = falkor__pool_config(pool)->graph;
    if (!pool || !name || !*name)
        return NULL;
    falkor__client *client = falkor__client_of(pool);
    falkor_graph *graph = falkor__select_graph(client, name, NULL), *made;
    if (graph || !(made = falkor__graph_new(pool, name)))
        return graph;
    graph = falkor__select_graph(client, name, made);
    if (graph != made)                  /* another thread was first */
        falkor__graph_destroy(made, falkor__pool_config(pool)->heap);
    return graph;
}

const char *falkor_graph_name(const falkor_graph *graph) {
    return graph ? graph->name : NULL;
}

void falkor_graph_free(falkor_graph *graph) {
    if (!graph)
        return;
    falkor__client *client = falkor__client_of(graph->pool);
    falkor__mutex_lock(&client->mutex);
    bool last = --graph->selected == 0;
    falkor_graph **at = &client->first;
    while (last && *at != graph)
        at = &(*at)->next;
    if (last)
        *at = graph->next;
    falkor__mutex_unlock(&client->mutex);
    if (last)
        falkor__graph_destroy(graph, falkor__pool_config(graph->pool)->heap);
}

/* ---- the pool's life -------------------------------------------------- */

static void falkor__before_client_forks(void *object)
    FALKOR__UNCHECKED {                 /* gives all back after the fork */
    falkor__client *client = object;
    falkor__mutex_lock(&client->mutex);
    for (falkor_graph *graph = client->first; graph; graph = graph->next)
        falkor__names_lock(&graph->names);
}

static void falkor__client_has_forked(void *object, bool child)
    FALKOR__UNCHECKED {                 /* took all before the fork */
    falkor__client *client = object;
    for (falkor_graph *graph = client->first; graph; graph = graph->next)
        falkor__names_unlock(&graph->names, child);
    falkor__mutex_unlock(&client->mutex);
}

falkor_status falkor_pool_create(const falkor_options *options,
                                 falkor_pool **pool, falkor_error *error) {
    falkor__config config;
    falkor__error_clear(error);
    if (!pool)
        return falkor__refuse(error, "pool is NULL");
    *pool = NULL;
    const falkor_allocator *heap = options ? options->allocator : NULL;
    if (heap && (!heap->allocate || !heap->reallocate || !heap->release))
        return falkor__refuse(error, "allocator: %s is NULL", !heap->allocate
            ? "allocate" : heap->release ? "reallocate" : "release");
    falkor__client *client = falkor__guards_begin()
        ? falkor__take_zero(heap, 1, sizeof *client) : NULL;
    if (!client || !falkor__mutex_init(&client->mutex)) {
        falkor__give(heap, client);
        return falkor__no_memory(error, "out of memory for a pool");
    }
    falkor_status status = falkor__config_make(options, &config, error);
    if (!status)
        status = falkor__pool_new(&config, pool, error);
    if (status) {
        falkor__mutex_destroy(&client->mutex);
        falkor__give(heap, client);
        return status;
    }
    atomic_init(&client->epoch, 0);
    client->pool = *pool;
    falkor__guard_add(&client->guard, client, falkor__before_client_forks,
                      falkor__client_has_forked);
    *falkor__pool_client(*pool) = client;
    return FALKOR_OK;
}

/* ---- opening ----------------------------------------------------------- */

/* Asks a query that only reads, so that opening has sent nothing yet as far as
   repeating it goes. */
static falkor_status falkor__prove(falkor__call *opening, falkor_conn *conn,
                                   const char *graph, falkor_error *error) {
    bool named = falkor__pool_config(opening->pool)->graph != NULL;
    char place[128];
    size_t length;
    falkor_result *reply;
    falkor_status status = falkor__use_deadline(opening, error);
    if (status)
        return status;
    status = falkor__link_ask(falkor__conn_link(opening->pool, conn),
        FALKOR__REPLY_QUERY, 4, (const char *[]){"GRAPH.RO_QUERY", graph,
        "RETURN 1", "--compact"}, opening->use_until_ns, &reply, error);
    if (status == FALKOR_ERR_TIMEOUT)
        falkor__name_timeout(opening, error);
    const char *refused = status ? NULL : falkor__reply_error(reply, &length);
    if (refused && !falkor__proves_graphs(refused, named))
        status = falkor__fail_text(error, falkor__classify(refused, length), 0,
                                   refused);
    if (status && refused && strncmp(refused, "ERR unknown command", 19) == 0)
        falkor__fail_more(error, " (%s has no FalkorDB: load its module)",
            falkor__place(falkor__pool_config(opening->pool), place,
                          sizeof place));
    falkor_result_free(reply);
    return status;
}

#ifndef FALKOR_WITHOUT_COMMANDS
/* Runs one call on the connection that opens the pool. */
static falkor_status falkor__run_on(falkor__call *call, falkor_conn *conn,
                                    const falkor__call *opening,
                                    falkor_error *error) {
    call->deadline_ns = opening->deadline_ns;
    call->options.conn = conn;
    return falkor__attempt(call, error);
}

/* The server's error reply to a call, NULL: there is none. Without a reply it
   is the refusal to tell the names. */
static const char *falkor__refusal_of(const falkor__call *call,
                                      const falkor_error *error) {
    size_t length;
    if (call->phase != FALKOR__PHASE_REPLIED)
        return NULL;
    return call->reply ? falkor__reply_error(call->reply, &length)
                       : error->message;
}

/* Whether CREATE INDEX ... ON (a, b) names several attributes: the server
   refuses the whole when one of them is indexed, so that this proves nothing
   of the others. */
static bool falkor__indexes_many(const char *statement) {
    while (*statement && strncasecmp(statement, " ON ", 4) != 0)
        statement++;
    const char *open = strchr(statement, '(');
    const char *close = open ? strchr(open, ')') : NULL;
    return close && memchr(open, ',', (size_t)(close - open));
}

/* Splits the words of a CONSTRAINT statement and writes the command. */
static falkor_status falkor__write_constraint(falkor__call *call,
                                              const char *graph,
                                              const char *statement,
                                              falkor_error *error) {
    const char *argv[FALKOR__SCHEMA_WORDS] = {"GRAPH.CONSTRAINT", "CREATE",
                                              graph};
    size_t argc = 3;
    char *words = strdup(statement), *rest = NULL;
    if (!words)
        return falkor__no_memory(error, "out of memory for a schema statement");
    char *word = strtok_r(words, " \t\r\n", &rest);
    for (; word && argc < FALKOR__SCHEMA_WORDS;
         word = strtok_r(NULL, " \t\r\n", &rest))
        argv[argc++] = word;
    falkor_status status = word
        ? falkor__refuse(error, "schema statement \"CONSTRAINT %s\": more than "
            "%d words", statement, FALKOR__SCHEMA_WORDS - 3)
        : falkor__write_command(call, argc, argv, NULL, error);
    free(words);
    return status;
}

/* One statement of options.schema: Cypher, or the arguments of
   GRAPH.CONSTRAINT CREATE. What exists already is no harm. */
static falkor_status falkor__run_schema(falkor__call *opening,
                                        falkor_conn *conn,
                                        falkor_graph *graph,
                                        const char *statement,
                                        falkor_error *error) {
    static const char prefix[] = "CONSTRAINT ";
    falkor__call call;
    falkor_status status;
    if (strncmp(statement, prefix, sizeof prefix - 1) == 0) {
        falkor__call_begin(&call, opening->pool, NULL);
        call.kind = FALKOR__REPLY_PLAIN;
        status = falkor__write_constraint(&call, graph->name,
            statement + sizeof prefix - 1, error);
    } else {
        status = falkor__query_begin(&call, graph, NULL, statement, NULL,
                                     error);
    }
    if (!status)
        status = falkor__run_on(&call, conn, opening, error);
    opening->phase = call.phase;
    const char *refused = falkor__refusal_of(&call, error);
    if (refused && falkor__exists_already(refused) &&
        !falkor__indexes_many(statement))
        status = FALKOR_OK;
    if (status)
        falkor__fail_more(error, " (schema[%zu])", opening->schema_done);
    falkor__call_end(&call);
    return status;
}

/* A statement that is done is not done again by the next attempt. */
static falkor_status falkor__run_schemas(falkor__call *opening,
                                         falkor_conn *conn,
                                         falkor_graph *graph,
                                         falkor_error *error) {
    char *const *schema = falkor__pool_config(opening->pool)->schema;
    falkor_status status = FALKOR_OK;
    while (!status && schema && schema[opening->schema_done]) {
        status = falkor__run_schema(opening, conn, graph,
                                    schema[opening->schema_done], error);
        opening->schema_done += status == FALKOR_OK;
    }
    return status;
}
#endif

/* What opening does on its first connection. */
static falkor_status falkor__open_on(falkor__call *opening, falkor_conn *conn,
                                     falkor_error *error) {
    const falkor__config *config = falkor__pool_config(opening->pool);
    if (config->driver.open)
        return FALKOR_OK;
    falkor_graph *graph = falkor_select_graph(opening->pool,
        config->graph ? config->graph : FALKOR__PROBE_GRAPH);
    if (!graph)
        return falkor__no_memory(error, "out of memory for a graph");
    falkor_status status = falkor__prove(opening, conn, graph->name, error);
#ifndef FALKOR_WITHOUT_COMMANDS
    if (!status)
        status = falkor__run_schemas(opening, conn, graph, error);
#endif
    falkor_graph_free(graph);
    return status;
}

static falkor_status falkor__attempt_open(falkor__call *call,
                                          falkor_error *error) {
    falkor_conn *conn;
    call->phase = FALKOR__PHASE_UNSENT;
    falkor_status status = falkor__pool_start(call->pool, call->deadline_ns,
                                              &conn, error);
    if (status || !conn)
        return status;
    status = falkor__open_on(call, conn, error);
    return falkor__pool_finish(call->pool, conn, status, error);
}

falkor_status falkor_pool_open(falkor_pool *pool, falkor_error *error) {
    falkor_error own;
    falkor__call call;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(pool, "pool", "", NULL, error);
    if (status)
        return status;
    falkor__call_begin(&call, pool, NULL);
    call.attempt = falkor__attempt_open;
    status = falkor__call_run(&call, error);
    falkor__call_end(&call);
    return status;
}

void falkor_pool_free(falkor_pool *pool) {
    if (!pool || falkor__still_shared(pool))
        return;
    falkor__client *client = falkor__client_of(pool);
    const falkor_allocator *heap = falkor__pool_config(pool)->heap;
    falkor__guard_remove(&client->guard);
    falkor__pool_destroy(pool);
    while (client->first) {
        falkor_graph *graph = client->first;
        client->first = graph->next;
        falkor__graph_destroy(graph, heap);
    }
    falkor__mutex_destroy(&client->mutex);
    falkor__give(heap, client);
}
