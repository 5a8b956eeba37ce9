/* Plan trees: the lines that GRAPH.EXPLAIN and GRAPH.PROFILE answer, one for
   each operator, indented by its depth, as linked structs. The texts stay in
   the reply's memory, which the plan keeps. */
#include "commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_COMMANDS

typedef struct falkor__plan {
    falkor_plan plan;                   /* first: a pointer to it is ours */
    falkor_result *reply;
    falkor_operator operators[];
} falkor__plan;

/* ---- one line --------------------------------------------------------- */

/* Cuts " | Records produced: N, Execution time: X ms" off the end of a line
   and takes its numbers; a line without is left alone. Names in a query can
   hold that text too, before the last. */
static void falkor__take_profile(char *line, falkor_operator *operator) {
    static const char head[] = " | Records produced: ";
    static const char middle[] = ", Execution time: ", tail[] = " ms";
    char *found = NULL, *end;
    for (char *at = line; (at = strstr(at, head)) != NULL; at++)
        found = at;
    if (!found)
        return;
    char *digits = found + sizeof head - 1;
    long long records = strtoll(digits, &end, 10);
    if (end == digits || strncmp(end, middle, sizeof middle - 1) != 0)
        return;
    const char *time = end + sizeof middle - 1;
    size_t length = strlen(time);
    if (length < sizeof tail ||
        strcmp(time + length - (sizeof tail - 1), tail) != 0 ||
        !falkor__read_double(time, length - (sizeof tail - 1),
                             &operator->milliseconds))
        return;
    operator->records = records;
    *found = '\0';
}

/* "        Name | arguments". depth is the indentation, for now. */
static void falkor__read_operator(char *line, bool profile,
                                  falkor_operator *operator) {
    static const char bar[] = " | ";
    size_t indentation = strspn(line, " ");
    *operator = (falkor_operator){.name = line + indentation, .arguments = "",
        .depth = indentation, .records = -1, .milliseconds = -1};
    if (profile)
        falkor__take_profile(line + indentation, operator);
    char *split = strstr(line + indentation, bar);
    if (!split)
        return;
    operator->arguments = split + sizeof bar - 1;
    *split = '\0';
}

/* ---- the tree --------------------------------------------------------- */

/* The parent is the nearest operator before that is indented less; on the way
   up to it lies the sibling before. */
static void falkor__link_operator(falkor_operator *operators, size_t index) {
    falkor_operator *operator = &operators[index], *sibling = NULL;
    falkor_operator *above = index ? operator - 1 : NULL;
    while (above && above->depth >= operator->depth) {
        sibling = above;
        above = above->parent ? operators + (above->parent - operators) : NULL;
    }
    operator->parent = above;
    if (sibling)
        sibling->next = operator;
    else if (above)
        above->child = operator;
}

/* A plain string is a plan of one line. */
static falkor_status falkor__read_plan(falkor__plan *plan,
                                       const falkor_value *lines, size_t count,
                                       bool profile) {
    for (size_t i = 0; i < count; i++) {
        if (lines[i].type != FALKOR_STRING)
            return FALKOR_ERR_PROTOCOL;
        falkor__read_operator((char *)(uintptr_t)lines[i].as.string, profile,
                              &plan->operators[i]);
        falkor__link_operator(plan->operators, i);
    }
    for (size_t i = 0; i < count; i++) {
        falkor_operator *operator = &plan->operators[i];
        operator->depth = operator->parent ? operator->parent->depth + 1 : 0;
    }
    plan->plan.count = count;
    plan->plan.operators = plan->operators;
    return FALKOR_OK;
}

falkor_status falkor__plan_make(falkor_result *reply, bool profile,
                                falkor_plan **plan, falkor_error *error) {
    const falkor_value *value = falkor_result_value(reply, 0, 0);
    bool many = value && value->type == FALKOR_ARRAY;
    size_t count = many ? value->length : value != NULL;
    falkor__plan *made = malloc(sizeof *made +
                                count * sizeof *made->operators);
    falkor_status status = made
        ? falkor__read_plan(made, many ? value->as.items : value, count,
                            profile)
        : FALKOR_ERR_NOMEM;
    *plan = NULL;
    if (status) {
        free(made);
        falkor_result_free(reply);
        return falkor__fail(error, status, 0, status == FALKOR_ERR_NOMEM
            ? "out of memory for a plan" : "a plan that is no list of lines");
    }
    made->reply = reply;
    *plan = &made->plan;
    return FALKOR_OK;
}

void falkor_plan_free(falkor_plan *plan) {
    falkor__plan *made = (falkor__plan *)plan;
    if (made)
        falkor_result_free(made->reply);
    free(made);
}

/* ---- asking ----------------------------------------------------------- */

/* The command's words: the query has its parameters before it, as in a query
   proper. */
static falkor_status falkor__ask_plan(falkor_graph *graph,
    const falkor_call_options *options, bool profile, falkor__buffer *query,
    falkor_result **reply, falkor_error *error) {
    char ms[16];
    int server_ms = options ? options->server_timeout_ms : 0;
    const char *argv[] = {profile ? "GRAPH.PROFILE" : "GRAPH.EXPLAIN",
                          graph->name, query->text, "TIMEOUT", ms};
    size_t lengths[] = {13, graph->length, query->length, 7, 0};
    lengths[4] = (size_t)snprintf(ms, sizeof ms, "%d", server_ms);
    return falkor__typed(&(falkor__request){FALKOR__ON_GRAPH(graph),
        .options = options, .reads = !profile,
        .argc = profile && server_ms ? 5 : 3, .argv = argv,
        .lengths = lengths}, reply, error);
}

static falkor_status falkor__plan_of(falkor_graph *graph,
    const falkor_call_options *options, bool profile, const char *cypher,
    const falkor_param *params, falkor_plan **plan, falkor_error *error) {
    falkor_error own;
    falkor__buffer query;
    falkor_result *reply = NULL;
    if (!error)
        error = &own;
    if (plan)
        *plan = NULL;
    falkor_status status = falkor__enter(graph, "graph", cypher, NULL, error);
    if (!status && !plan)
        status = falkor__refuse(error, "plan is NULL");
    if (status)
        return status;
    falkor__buffer_begin(&query);
    status = falkor__encode_params(params, &query, error);
    falkor__buffer_add(&query, cypher, strlen(cypher));
    if (!status && query.failed)
        status = falkor__no_memory(error, "out of memory for the request");
    if (!status)
        status = falkor__ask_plan(graph, options, profile, &query, &reply,
                                  error);
    if (!status)
        status = falkor__plan_make(reply, profile, plan, error);
    falkor__buffer_end(&query);
    return status;
}

falkor_status falkor_explain(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_plan **plan, falkor_error *error) {
    return falkor__plan_of(graph, options, false, cypher, params, plan, error);
}

falkor_status falkor_profile(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_plan **plan, falkor_error *error) {
    return falkor__plan_of(graph, options, true, cypher, params, plan, error);
}
#endif
