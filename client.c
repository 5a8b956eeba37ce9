/* What a pool is to FalkorDB: its graphs, and its opening, which proves that
   graph queries work and runs the schema statements. */
#include "call.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FALKOR__SCHEMA_WORDS 64         /* of one CONSTRAINT command */
#define FALKOR__CLOSE_MS 10000          /* what free gives to close */

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

static void falkor__graph_end(falkor_graph *graph,
                              const falkor_allocator *heap) {
    falkor__names_end(&graph->names);
    falkor__give(heap, graph);
}

/* With its twins, which have none. */
static void falkor__graph_destroy(falkor_graph *graph,
                                  const falkor_allocator *heap) {
    while (graph->twins) {
        falkor_graph *twin = graph->twins;
        graph->twins = twin->next_twin;
        falkor__graph_end(twin, heap);
    }
    falkor__graph_end(graph, heap);
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

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* The twin at a node, or else made, which may be NULL, as that. */
static falkor_graph *falkor__find_twin(falkor_graph *graph, falkor_pool *pool,
                                       falkor_graph *made) {
    falkor__client *client = falkor__client_of(graph->pool);
    falkor__mutex_lock(&client->mutex);
    falkor_graph *twin = graph->twins;
    while (twin && twin->pool != pool)
        twin = twin->next_twin;
    if (!twin && made) {
        made->next_twin = graph->twins;
        graph->twins = twin = made;
    }
    falkor__mutex_unlock(&client->mutex);
    return twin;
}

/* A twin is its graph's own, and in no list of its pool's: each graph that was
   selected has its own names there. */
falkor_graph *falkor__twin(falkor_graph *graph, falkor_pool *pool) {
    falkor_graph *twin = falkor__find_twin(graph, pool, NULL), *made;
    if (twin || !(made = falkor__graph_new(pool, graph->name)))
        return twin;
    twin = falkor__find_twin(graph, pool, made);
    if (twin != made)
        falkor__graph_destroy(made, falkor__pool_config(pool)->heap);
    return twin;
}
#endif

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
    for (falkor_graph *graph = client->first; graph; graph = graph->next) {
        falkor__names_lock(&graph->names);
        for (falkor_graph *t = graph->twins; t; t = t->next_twin)
            falkor__names_lock(&t->names);
    }
}

static void falkor__client_has_forked(void *object, bool child)
    FALKOR__UNCHECKED {                 /* took all before the fork */
    falkor__client *client = object;
    for (falkor_graph *graph = client->first; graph; graph = graph->next) {
        falkor__names_unlock(&graph->names, child);
        for (falkor_graph *t = graph->twins; t; t = t->next_twin)
            falkor__names_unlock(&t->names, child);
    }
    falkor__mutex_unlock(&client->mutex);
}

/* Makes a pool with its client, and takes config over. */
static falkor_status falkor__client_new(falkor__config *config,
                                        falkor_pool **pool,
                                        falkor_error *error) {
    const falkor_allocator *heap = config->heap;
    falkor__client *client = falkor__take_zero(heap, 1, sizeof *client);
    *pool = NULL;
    if (!client || !falkor__mutex_init(&client->mutex)) {
        falkor__give(heap, client);
        falkor__config_free(config);
        return falkor__no_memory(error, "out of memory for a pool");
    }
    falkor_status status = falkor__pool_new(config, pool, error);
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

/* A pool that stands for no other, or for none any more. */
static void falkor__free_one(falkor_pool *pool) {
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
    if (!falkor__guards_begin())
        return falkor__no_memory(error, "out of memory for a pool");
    falkor_status status = falkor__config_make(options, &config, error);
    if (!status)
        status = falkor__client_new(&config, pool, error);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    const falkor__config *made = status ? NULL : falkor__pool_config(*pool);
    if (made && (made->sentinels || made->cluster))
        status = falkor__topology_new(*pool, falkor__client_new,
                                      falkor__free_one, error);
    if (status) {
        falkor_pool_free(*pool);
        *pool = NULL;
    }
#endif
    return status;
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
    if (refused && !falkor__proves_graphs(refused, named) &&
        !(falkor__pool_config(opening->pool)->in_cluster &&
          falkor__classify(refused, length) == FALKOR_ERR_MOVED))
        status = falkor__fail_text(error, falkor__classify(refused, length), 0,
                                   refused);
    if (status && refused && strncmp(refused, "ERR unknown command", 19) == 0)
        falkor__fail_more(error, " (%s has no FalkorDB: load its module; or is "
            "it a sentinel? use falkor+sentinel://)",
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
    char *const *schema = falkor__pool_config(opening->whole)->schema;
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

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* Proves one node's pool, on a connection of its own. The statements are run
   where the graph is. */
static falkor_status falkor__open_node(falkor__call *call,
                                       const falkor__node_state *member,
                                       falkor_error *error) {
    falkor_pool *whole = call->whole;
    falkor_conn *conn;
    call->pool = member->pool;
    call->whole = member->home ? whole : member->pool;
    falkor_status status = falkor__pool_start(call->pool, call->deadline_ns,
                                              &conn, error);
    if (!status && conn)
        status = falkor__pool_finish(call->pool, conn,
            falkor__open_on(call, conn, error), error);
    call->pool = call->whole = whole;
    return status;
}

/* Opens the pool of every primary, and the map. One that cannot be reached is
   in nobody's way, but for the one that has options.graph. */
static falkor_status falkor__open_nodes(falkor__call *call,
                                        falkor__topology *topology,
                                        falkor_error *error) {
    falkor__node_state member;
    falkor_status status = falkor__topology_find(topology, call->deadline_ns,
                                                 error);
    for (size_t i = 0; !status &&
                       falkor__topology_state(topology, i, &member); i++) {
        if (!member.primary)
            continue;
        status = falkor__open_node(call, &member, error);
        if (!status || (status == FALKOR_ERR_CONNECT && !member.home))
            status = falkor__topology_begin(topology, i, error);
    }
    if (!status)
        return falkor__topology_open(topology, call->deadline_ns, error);
    call->route.version = falkor__topology_doubt(topology);
    return status;
}

static falkor_status falkor__open_whole(falkor__call *call,
                                        falkor__topology *topology,
                                        falkor_error *error) {
    bool opens;
    falkor_status status = falkor__pool_begin(call->whole, call->deadline_ns,
                                              &opens, error);
    if (opens)
        status = falkor__pool_finish(call->whole, NULL,
            falkor__open_nodes(call, topology, error), error);
    return status;
}
#endif

static falkor_status falkor__attempt_open(falkor__call *call,
                                          falkor_error *error) {
    falkor_conn *conn;
    call->phase = FALKOR__PHASE_UNSENT;
#ifndef FALKOR_WITHOUT_TOPOLOGY
    if (falkor__topology_of(call))
        return falkor__open_whole(call, falkor__topology_of(call), error);
#endif
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

/* The pools of the nodes that a pool stands for, and the map. */
static void falkor__free_nodes(falkor_pool *pool) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__pool_front(pool);
    falkor__node_state member;
    if (!topology)
        return;
    if (!falkor__pool_is_closed(pool))
        falkor_pool_close(pool, FALKOR__CLOSE_MS);
    falkor__topology_stop(topology);
    for (size_t i = 0; falkor__topology_state(topology, i, &member); i++)
        falkor__free_one(member.pool);
    falkor__pool_stand_for(pool, NULL, NULL);
    falkor__topology_free(topology);
#else
    (void)pool;
#endif
}

void falkor_pool_free(falkor_pool *pool) {
    if (!pool || falkor__pool_config(pool)->is_node ||
        falkor__still_shared(pool))
        return;                         /* a node's is its whole's to free */
    falkor__free_nodes(pool);
    falkor__free_one(pool);
}
