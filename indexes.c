/* Indexes and constraints. What is to be made and is there already, or is to be
   dropped and is not, is known by the server's error text and is no error. */
#include "commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_COMMANDS

/* ---- indexes ---------------------------------------------------------- */

static const char falkor__indexed_already[] = "Attribute '";
static const char falkor__index_missing[] = "ERR Unable to drop index on :";
static const char falkor__graph_missing[] =
    "ERR Invalid graph operation on empty key";
static const char falkor__index_configured[] =
    "Can not override index configuration";

static falkor_status falkor__index_check(const falkor_index *index,
                                         falkor_error *error) {
    if (index->kind < FALKOR_INDEX_RANGE || index->kind > FALKOR_INDEX_VECTOR)
        return falkor__refuse(error, "index->kind is %d", (int)index->kind);
    if (index->kind == FALKOR_INDEX_VECTOR && (index->dimension < 1 ||
            index->m < 0 || index->ef_construction < 0 ||
            index->ef_runtime < 0))
        return falkor__refuse(error,
            "vector index: dimension %d, m %d, ef_construction %d, ef_runtime "
            "%d: the first is 1 or more, none is negative", index->dimension,
            index->m, index->ef_construction, index->ef_runtime);
    if (index->kind == FALKOR_INDEX_FULLTEXT && !(index->weight >= 0))
        return falkor__refuse(error,
            "index->weight is %g: it may not be negative", index->weight);
    return FALKOR_OK;
}

static const char *falkor__entity_word(bool on_edges) {
    return on_edges ? "RELATIONSHIP" : "NODE";
}

/* "CREATE VECTOR INDEX FOR (e:`A`) ON (e.`x`, e.`y`)" */
static falkor_status falkor__put_index(falkor__buffer *cypher,
                                       const char *verb,
                                       const falkor_index *index,
                                       const char *const *properties,
                                       size_t count, falkor_error *error) {
    static const char *const kinds[] = {"INDEX", "FULLTEXT INDEX",
                                        "VECTOR INDEX"};
    falkor__buffer_format(cypher, "%s %s FOR %s", verb, kinds[index->kind],
                          index->on_edges ? "()-[e:" : "(e:");
    falkor_status status = falkor__put_name(cypher, index->label, "label",
                                            error);
    falkor__put_text(cypher, index->on_edges ? "]-() ON (" : ") ON (");
    for (size_t i = 0; i < count && !status; i++) {
        falkor__put_text(cypher, i ? ",e." : "e.");
        status = falkor__put_name(cypher, properties[i], "a property's name",
                                  error);
    }
    falkor__put_text(cypher, ")");
    return status;
}

static void falkor__put_number(falkor__buffer *cypher, const char *name,
                               int number) {
    if (number)
        falkor__buffer_format(cypher, ",%s:%d", name, number);
}

/* The names of parameters that falkor__index_params gives. own: with what the
   label's index has once for all of its properties. */
static void falkor__put_options(falkor__buffer *cypher,
                                const falkor_index *index, bool own) {
    if (index->kind == FALKOR_INDEX_VECTOR) {
        falkor__buffer_format(cypher, " OPTIONS {dimension:%d,"
            "similarityFunction:$similarity", index->dimension);
        falkor__put_number(cypher, "M", index->m);
        falkor__put_number(cypher, "efConstruction", index->ef_construction);
        falkor__put_number(cypher, "efRuntime", index->ef_runtime);
        falkor__put_text(cypher, "}");
    }
    if (index->kind == FALKOR_INDEX_FULLTEXT) {
        falkor__buffer_format(cypher, " OPTIONS {nostem:%s,weight:$weight",
                              index->no_stem ? "true" : "false");
        falkor__put_text(cypher, index->phonetic ? ",phonetic:$phonetic" : "");
        if (own && index->language)
            falkor__put_text(cypher, ",language:$language");
        if (own && index->stopwords)
            falkor__put_text(cypher, ",stopwords:$stopwords");
        falkor__put_text(cypher, "}");
    }
}

/* Everything that the statements about one index need. */
typedef struct falkor__indexing {
    falkor__steps steps;
    const falkor_index *index;
    falkor__target target;
    falkor_value *stopwords;            /* owned; NULL: no memory */
    falkor_param params[8];
} falkor__indexing;

static falkor_status falkor__indexing_begin(falkor__indexing *indexing,
                                            falkor_graph *graph,
                                            const falkor_call_options *options,
                                            const falkor_index *index,
                                            falkor_error *error) {
    size_t words = falkor__list_length(index->stopwords);
    *indexing = (falkor__indexing){.index = index,
        .target = {"index", index->label, index->properties,
                   falkor__list_length(index->properties), index->on_edges},
        .stopwords = falkor__texts(index->stopwords, words)};
    const char *const texts[][2] = {
        {"label", index->label},
        {"entity", falkor__entity_word(index->on_edges)},
        {"similarity", index->similarity ? index->similarity : "euclidean"},
        {"language", index->language}, {"phonetic", index->phonetic}};
    falkor_param *param = indexing->params;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *param++ = (falkor_param){texts[i][0], falkor_string(texts[i][1])};
    *param++ = (falkor_param){"stopwords", index->stopwords
        ? falkor_array(indexing->stopwords, words) : falkor_null()};
    *param = (falkor_param){"weight",
        falkor_double(index->weight > 0 ? index->weight : 1)};
    falkor__steps_begin(&indexing->steps, graph, options);
    if (!indexing->stopwords)
        return falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                            "out of memory for %zu stopwords", words);
    falkor_status status = falkor__index_check(index, error);
    return status ? status : falkor__target_check(&indexing->target, error);
}

static falkor_status falkor__index_send(falkor__indexing *indexing,
                                        const char *verb, bool own,
                                        const char *const *properties,
                                        size_t count, falkor_error *error) {
    const falkor_index *index = indexing->index;
    bool creates = *verb == 'C';
    falkor__buffer cypher;
    falkor__buffer_begin(&cypher);
    falkor_status status = falkor__put_index(&cypher, verb, index, properties,
                                             count, error);
    if (creates)
        falkor__put_options(&cypher, index, own);
    if (!status)
        status = falkor__put_end(&cypher, error);
    if (!status)
        status = falkor__step_query(&indexing->steps, false, cypher.text,
            creates && index->kind != FALKOR_INDEX_RANGE ? indexing->params
                                                         : NULL, NULL, error);
    falkor__buffer_end(&cypher);
    return status;
}

/* Whether the label's index has the language and the stopwords that are asked
   for. It was refused because it has some of its own. */
static falkor_status falkor__same_words(falkor__indexing *indexing, bool *are,
                                        falkor_error *error) {
    falkor_result *same;
    falkor_status status = falkor__step_query(&indexing->steps, true,
        "CALL db.indexes() YIELD label, entitytype, language, stopwords WHERE "
        "label = $label AND entitytype = $entity AND ($language IS NULL OR "
        "language = $language) AND ($stopwords IS NULL OR (size(stopwords) = "
        "size($stopwords) AND all(w IN stopwords WHERE w IN $stopwords))) "
        "RETURN 1", indexing->params, &same, error);
    *are = falkor_result_rows(same) > 0;
    falkor_result_free(same);
    return status;
}

static falkor_status falkor__index_add(falkor__indexing *indexing,
                                       const char *const *properties,
                                       size_t count, falkor_error *error) {
    falkor_status status = falkor__index_send(indexing, "CREATE", true,
                                              properties, count, error);
    if (!status || !falkor__was_refused(error, falkor__index_configured))
        return status;
    falkor_error asking;
    bool same;
    falkor_status asked = falkor__same_words(indexing, &same, &asking);
    if (asked)
        *error = asking;
    return asked ? asked : !same ? status
        : falkor__index_send(indexing, "CREATE", false, properties, count,
                             error);
}

/* All properties in one statement, so that the server goes over its data once;
   it is refused whole when one of them is indexed: then one by one. */
static falkor_status falkor__index_make(falkor__indexing *indexing,
                                        falkor_error *error) {
    const falkor__target *target = &indexing->target;
    falkor_status status = falkor__index_add(indexing, target->properties,
                                             target->count, error);
    if (!status || !falkor__was_refused(error, falkor__indexed_already))
        return status;
    status = FALKOR_OK;
    for (size_t i = 0; i < target->count && target->count > 1 && !status;
         i++) {
        status = falkor__index_add(indexing, target->properties + i, 1, error);
        if (status && falkor__was_refused(error, falkor__indexed_already))
            status = FALKOR_OK;
    }
    return status;
}

/* Whether a unique constraint stands on the index. When FALKOR_ERR_QUERY says
   that there is no such graph, nothing is in it. */
static falkor_status falkor__index_use(falkor__indexing *indexing, bool *used,
                                       falkor_error *error) {
    const falkor__target *target = &indexing->target;
    falkor_result *users = NULL;        /* where nothing is asked */
    falkor_value *properties = falkor__texts(target->properties,
                                             target->count);
    falkor_status status = properties
        ? falkor__step_query(&indexing->steps, true, "CALL db.constraints() "
            "YIELD type, label, properties, entitytype, status WHERE type = "
            "'UNIQUE' AND status <> 'FAILED' AND label = $label AND entitytype"
            " = $entity AND any(p IN properties WHERE p IN $properties) "
            "RETURN 1", FALKOR_PARAMS(indexing->params[0], indexing->params[1],
                {"properties", falkor_array(properties, target->count)}),
            &users, error)
        : falkor__fail(error, FALKOR_ERR_NOMEM, 0, "out of memory for %zu "
                       "properties", target->count);
    *used = indexing->index->kind == FALKOR_INDEX_RANGE &&
        falkor_result_rows(users) > 0;
    falkor_result_free(users);
    free(properties);
    return status;
}

/* One by one, for the server drops but the first of several properties. It
   also refuses an index in use, but crashes at the next write to that label
   (4.16): it is not asked to. Nor would a graph be made to drop nothing. */
static falkor_status falkor__index_remove(falkor__indexing *indexing,
                                          falkor_error *error) {
    bool used;
    const falkor__target *target = &indexing->target;
    falkor_status status = falkor__index_use(indexing, &used, error);
    if (status)
        return falkor__was_refused(error, falkor__graph_missing) ? FALKOR_OK
                                                                 : status;
    if (used)
        return falkor__target_fail(target, error, FALKOR_ERR_QUERY,
            "supports a unique constraint: drop that first");
    for (size_t i = 0; i < target->count && !status; i++) {
        status = falkor__index_send(indexing, "DROP", false,
                                    target->properties + i, 1, error);
        if (status && falkor__was_refused(error, falkor__index_missing))
            status = FALKOR_OK;
    }
    return status;
}

static falkor_status falkor__index_run(falkor_graph *graph,
    const falkor_call_options *options, const falkor_index *index,
    bool creates, falkor_error *error) {
    falkor_error own;
    falkor__indexing indexing;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(graph, "graph", "", NULL, error);
    if (!status && !index)
        status = falkor__refuse(error, "index is NULL");
    if (status)
        return status;
    status = falkor__indexing_begin(&indexing, graph, options, index, error);
    if (!status)
        status = creates ? falkor__index_make(&indexing, error)
                         : falkor__index_remove(&indexing, error);
    if (!status && creates && index->wait)
        status = falkor__await_ready(&indexing.steps, &indexing.target,
            "CALL db.indexes() YIELD label, entitytype, status WHERE label = "
            "$label AND entitytype = $entity RETURN status", indexing.params,
            error);
    free(indexing.stopwords);
    return falkor__steps_end(&indexing.steps, status, error);
}

falkor_status falkor_index_create(falkor_graph *graph,
    const falkor_call_options *options, const falkor_index *index,
    falkor_error *error) {
    return falkor__index_run(graph, options, index, true, error);
}

falkor_status falkor_index_drop(falkor_graph *graph,
    const falkor_call_options *options, const falkor_index *index,
    falkor_error *error) {
    return falkor__index_run(graph, options, index, false, error);
}

static falkor_status falkor__list_all(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    falkor_result **result, falkor_error *error) {
    falkor_call_options reading = options ? *options : (falkor_call_options){0};
    reading.read_only = true;
    reading.wait_replicas = 0;
    return falkor_query_with(graph, &reading, cypher, NULL, result, error);
}

falkor_status falkor_indexes(falkor_graph *graph,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error) {
    return falkor__list_all(graph, options, "CALL db.indexes()", result,
                            error);
}

/* ---- constraints ------------------------------------------------------ */

static const char *falkor__constraint_word(const falkor_constraint *it) {
    return it->kind == FALKOR_CONSTRAINT_UNIQUE ? "UNIQUE" : "MANDATORY";
}

/* GRAPH.CONSTRAINT CREATE graph UNIQUE NODE label PROPERTIES n property... */
static falkor_status falkor__constraint_send(falkor__steps *steps,
                                             const char *verb,
                                             const falkor_constraint *it,
                                             size_t count,
                                             falkor_error *error) {
    enum { WORDS = 8 };
    char number[24];
    const char **argv = malloc((WORDS + count) * sizeof *argv);
    if (!argv)
        return falkor__no_memory(error, "out of memory for the request");
    const char *const words[WORDS] = {"GRAPH.CONSTRAINT", verb,
        steps->graph->name, falkor__constraint_word(it),
        falkor__entity_word(it->on_edges), it->label, "PROPERTIES", number};
    memcpy(argv, words, sizeof words);
    memcpy(argv + WORDS, it->properties, count * sizeof *argv);
    snprintf(number, sizeof number, "%zu", count);
    falkor_status status = falkor__step_begin(steps, error);
    if (!status)
        status = falkor__typed(&(falkor__request){
            FALKOR__ON_GRAPH(steps->graph), .options = &steps->options,
            .argc = WORDS + count, .argv = argv}, NULL, error);
    steps->changed = steps->changed || !status;
    free(argv);
    return status;
}

/* A unique constraint stands on a range index, which is made when the server
   misses it. */
static falkor_status falkor__constraint_make(falkor__steps *steps,
                                             const falkor_constraint *it,
                                             const falkor__target *target,
                                             falkor_error *error) {
    falkor_status status = falkor__constraint_send(steps, "CREATE", it,
                                                   target->count, error);
    if (status && it->kind == FALKOR_CONSTRAINT_UNIQUE &&
        falkor__was_refused(error, "missing supporting exact-match index")) {
        falkor_index index = {.on_edges = it->on_edges, .label = it->label,
                              .properties = it->properties};
        falkor__indexing indexing;
        status = falkor__indexing_begin(&indexing, steps->graph, NULL, &index,
                                        error);
        indexing.steps = *steps;
        if (!status)
            status = falkor__index_make(&indexing, error);
        *steps = indexing.steps;
        free(indexing.stopwords);
        if (!status)
            status = falkor__constraint_send(steps, "CREATE", it,
                                             target->count, error);
    }
    return status && falkor__was_refused(error, "Constraint already exists")
        ? FALKOR_OK : status;
}

static falkor_status falkor__constraint_await(falkor__steps *steps,
                                              const falkor_constraint *it,
                                              const falkor__target *target,
                                              falkor_error *error) {
    falkor_value *properties = falkor__texts(it->properties, target->count);
    falkor_status status = properties
        ? falkor__await_ready(steps, target, "CALL db.constraints() YIELD type,"
            " label, properties, entitytype, status WHERE type = $type AND "
            "label = $label AND entitytype = $entity AND size(properties) = "
            "size($properties) AND all(p IN properties WHERE p IN $properties)"
            " RETURN status", FALKOR_PARAMS(
                {"type", falkor_string(falkor__constraint_word(it))},
                {"label", falkor_string(it->label)},
                {"entity", falkor_string(falkor__entity_word(it->on_edges))},
                {"properties", falkor_array(properties, target->count)}),
            error)
        : falkor__fail(error, FALKOR_ERR_NOMEM, 0, "out of memory for %zu "
                       "properties", target->count);
    free(properties);
    return status;
}

static falkor_status falkor__constraint_begin(falkor_graph *graph,
    const falkor_call_options *options, const falkor_constraint *it,
    falkor__steps *steps, falkor__target *target, falkor_error *error) {
    falkor_status status = falkor__enter(graph, "graph", "", NULL, error);
    if (status)
        return status;
    falkor__steps_begin(steps, graph, options);
    if (!it)
        return falkor__refuse(error, "constraint is NULL");
    if (it->kind != FALKOR_CONSTRAINT_UNIQUE &&
        it->kind != FALKOR_CONSTRAINT_MANDATORY)
        return falkor__refuse(error, "constraint->kind is %d", (int)it->kind);
    *target = (falkor__target){it->kind == FALKOR_CONSTRAINT_UNIQUE
        ? "unique constraint" : "mandatory constraint", it->label,
        it->properties, falkor__list_length(it->properties), it->on_edges};
    return falkor__target_check(target, error);
}

static falkor_status falkor__constraint_remove(falkor__steps *steps,
                                               const falkor_constraint *it,
                                               const falkor__target *target,
                                               falkor_error *error) {
    falkor_status status = falkor__constraint_send(steps, "DROP", it,
                                                   target->count, error);
    return status && (falkor__was_refused(error, "Unable to drop constraint, "
                                          "no such constraint") ||
                      falkor__was_refused(error, falkor__graph_missing))
        ? FALKOR_OK : status;
}

static falkor_status falkor__constraint_run(falkor_graph *graph,
    const falkor_call_options *options, const falkor_constraint *it,
    bool creates, falkor_error *error) {
    falkor_error own;
    falkor__steps steps = {0};
    falkor__target target;
    if (!error)
        error = &own;
    falkor_status status = falkor__constraint_begin(graph, options, it, &steps,
                                                    &target, error);
    if (!status)
        status = creates
            ? falkor__constraint_make(&steps, it, &target, error)
            : falkor__constraint_remove(&steps, it, &target, error);
    if (!status && creates && it->wait)
        status = falkor__constraint_await(&steps, it, &target, error);
    return falkor__steps_end(&steps, status, error);
}

falkor_status falkor_constraint_create(falkor_graph *graph,
    const falkor_call_options *options, const falkor_constraint *constraint,
    falkor_error *error) {
    return falkor__constraint_run(graph, options, constraint, true, error);
}

falkor_status falkor_constraint_drop(falkor_graph *graph,
    const falkor_call_options *options, const falkor_constraint *constraint,
    falkor_error *error) {
    return falkor__constraint_run(graph, options, constraint, false, error);
}

falkor_status falkor_constraints(falkor_graph *graph,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error) {
    return falkor__list_all(graph, options, "CALL db.constraints()", result,
                            error);
}
#endif
