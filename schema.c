/* The names of a graph's labels, relationship types and property keys, which
   the protocol sends as positions in three lists. A snapshot is immutable and
   reference-counted: a result keeps the one it was read with. Asks the server
   on the link that the caller already holds, so that a pool of one connection
   does not wait for itself. */
#include "internal.h"
#include <stdlib.h>

/* What a fetched snapshot owns beside its head: the replies that the names
   lie in. */
typedef struct falkor__fetched {
    falkor__schema schema;              /* first: a pointer to it is ours */
    falkor_result *replies[FALKOR__NAME_KINDS];
    const char **lists[FALKOR__NAME_KINDS];
} falkor__fetched;

static const char *const falkor__name_queries[FALKOR__NAME_KINDS] = {
    [FALKOR__LABELS] = "CALL db.labels()",
    [FALKOR__TYPES] = "CALL db.relationshipTypes()",
    [FALKOR__KEYS] = "CALL db.propertyKeys()",
};

static void falkor__fetched_destroy(falkor__schema *schema) {
    falkor__fetched *fetched = (falkor__fetched *)schema;
    for (int kind = 0; kind < FALKOR__NAME_KINDS; kind++) {
        falkor_result_free(fetched->replies[kind]);
        free(fetched->lists[kind]);
    }
    free(fetched);
}

bool falkor__names_begin(falkor__names *names) {
    names->newest = NULL;
    return falkor__mutex_init(&names->mutex);
}

void falkor__names_end(falkor__names *names) {
    falkor__schema_release(names->newest);
    falkor__mutex_destroy(&names->mutex);
}

falkor__schema *falkor__names_get(falkor__names *names) {
    falkor__mutex_lock(&names->mutex);
    falkor__schema *schema = falkor__schema_retain(names->newest);
    falkor__mutex_unlock(&names->mutex);
    return schema;
}

static void falkor__names_put(falkor__names *names, falkor__schema *schema) {
    falkor__mutex_lock(&names->mutex);
    falkor__schema *old = names->newest;
    names->newest = falkor__schema_retain(schema);
    falkor__mutex_unlock(&names->mutex);
    falkor__schema_release(old);
}

void falkor__names_drop(falkor__names *names) {
    falkor__names_put(names, NULL);
}

/* Runs one of the three queries. */
static falkor_status falkor__ask_names(falkor__link *link, const char *graph,
                                       const char *query, int64_t deadline_ns,
                                       falkor_result **reply,
                                       falkor_error *error) {
    falkor_status status = falkor__link_ask(link, FALKOR__REPLY_QUERY, 4,
        (const char *[]){"GRAPH.RO_QUERY", graph, query, "--compact"},
        deadline_ns, reply, error);
    size_t length;
    const char *refused = status ? NULL : falkor__reply_error(*reply, &length);
    return refused ? falkor__fail(error, falkor__classify(refused, length), 0,
                                  "cannot read the names of graph \"%s\": %s",
                                  graph, refused)
                   : status;
}

/* The first column of a reply as the list of one kind. */
static bool falkor__list_names(falkor__fetched *fetched, int kind) {
    const falkor_result *reply = fetched->replies[kind];
    size_t rows = falkor_result_rows(reply);
    const char **list = calloc(rows ? rows : 1, sizeof *list);
    fetched->lists[kind] = list;
    fetched->schema.names[kind] = list;
    for (size_t row = 0; list && row < rows; row++) {
        const falkor_value *name = falkor_result_value(reply, row, 0);
        list[row] = name && name->type == FALKOR_STRING ? name->as.string : "";
    }
    fetched->schema.counts[kind] = list ? rows : 0;
    return list != NULL;
}

falkor_status falkor__names_fetch(falkor__names *names, falkor__link *link,
                                  const char *graph, int64_t deadline_ns,
                                  falkor__schema **schema,
                                  falkor_error *error) {
    falkor__fetched *fetched = calloc(1, sizeof *fetched);
    falkor_status status = FALKOR_OK;
    *schema = NULL;
    if (!fetched)
        return falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                            "out of memory for names");
    atomic_init(&fetched->schema.references, 1);
    fetched->schema.destroy = falkor__fetched_destroy;
    for (int kind = 0; kind < FALKOR__NAME_KINDS && !status; kind++) {
        status = falkor__ask_names(link, graph, falkor__name_queries[kind],
            deadline_ns, &fetched->replies[kind], error);
        if (!status && !falkor__list_names(fetched, kind))
            status = falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                                  "out of memory for names");
    }
    if (status) {
        falkor__fetched_destroy(&fetched->schema);
        return status;
    }
    falkor__names_put(names, &fetched->schema);
    *schema = &fetched->schema;
    return FALKOR_OK;
}
