/* Statements that are made of names and values: a name goes in backticks, a
   value as a parameter, so that no input can change a statement. Several
   statements within one deadline, and waiting for what the server builds on
   its own; and the calls of procedures. */
#include "commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_COMMANDS

/* ---- Cypher that names things ----------------------------------------- */

void falkor__put_text(falkor__buffer *cypher, const char *text) {
    falkor__buffer_add(cypher, text, strlen(text));
}

falkor_status falkor__check_name(const char *name, size_t length,
                                        const char *what,
                                        falkor_error *error) {
    if (!length)
        return falkor__refuse(error, "%s is %s", what, name ? "empty" : "NULL");
    if (memchr(name, '`', length))
        return falkor__refuse(error, "%s \"%.*s\": a backtick in a name cannot "
            "travel", what, length < 200 ? (int)length : 200, name);
    return FALKOR_OK;
}

/* Adds a name in backticks; what says in an error what it was to name. */
static falkor_status falkor__put_part(falkor__buffer *cypher, const char *name,
                                      size_t length, const char *what,
                                      falkor_error *error) {
    falkor_status status = falkor__check_name(name, length, what, error);
    if (status)
        return status;
    falkor__put_text(cypher, "`");
    falkor__buffer_add(cypher, name, length);
    falkor__put_text(cypher, "`");
    return FALKOR_OK;
}

falkor_status falkor__put_name(falkor__buffer *cypher, const char *name,
                                      const char *what, falkor_error *error) {
    return falkor__put_part(cypher, name, name ? strlen(name) : 0, what,
                            error);
}

falkor_status falkor__put_end(falkor__buffer *cypher,
                                     falkor_error *error) {
    falkor__buffer_add(cypher, "", 1);
    return !cypher->failed ? FALKOR_OK
        : falkor__no_memory(error, "out of memory for the request");
}

/* ---- several statements in one call ----------------------------------- */

void falkor__steps_begin(falkor__steps *steps, falkor_graph *graph,
                                const falkor_call_options *options) {
    const falkor__config *config = falkor__pool_config(graph->pool);
    *steps = (falkor__steps){.graph = graph};
    if (options)
        steps->options = *options;
    if (steps->options.timeout_ms)
        steps->deadline_ns = falkor__deadline(steps->options.timeout_ms);
    else if (config->pool_timeout_ms < 0 || config->socket_timeout_ms < 0)
        steps->deadline_ns = FALKOR__NEVER;
    else
        steps->deadline_ns = falkor__deadline(config->pool_timeout_ms) +
            config->socket_timeout_ms * FALKOR__NS_PER_MS;
}

/* The first statement has the options as they were given, each later one the
   time that is left. */
falkor_status falkor__step_begin(falkor__steps *steps,
                                        falkor_error *error) {
    int left_ms = falkor__poll_ms(steps->deadline_ns);
    if (left_ms == 0)
        return falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT,
                            "time ended before the last statement was sent");
    if (steps->begun && left_ms > 0)
        steps->options.timeout_ms = left_ms;
    steps->begun = true;
    return FALKOR_OK;
}

falkor_status falkor__step_query(falkor__steps *steps, bool reads,
                                        const char *cypher,
                                        const falkor_param *params,
                                        falkor_result **result,
                                        falkor_error *error) {
    falkor_status status = falkor__step_begin(steps, error);
    if (result)
        *result = NULL;
    steps->options.read_only = reads;
    falkor_call_options options = steps->options;
    options.by_primary = true;          /* of what was written just now */
    if (reads)
        options.wait_replicas = 0;
    if (!status)
        status = falkor_query_with(steps->graph, &options, cypher, params,
                                   result, error);
    steps->changed = steps->changed || (!status && !reads);
    return status;
}

bool falkor__was_refused(const falkor_error *error, const char *begin) {
    return error->status == FALKOR_ERR_QUERY &&
        strncmp(error->message, begin, strlen(begin)) == 0;
}

/* The end of the call. */
falkor_status falkor__steps_end(const falkor__steps *steps,
                                       falkor_status status,
                                       falkor_error *error) {
    if (status)
        error->maybe_executed = error->maybe_executed || steps->changed;
    else
        falkor__error_clear(error), error->attempts = 1;
    return status;
}

/* ---- waiting ---------------------------------------------------------- */

#define FALKOR__MOST_PAUSE_MS 100

falkor_status falkor__target_check(const falkor__target *target,
                                          falkor_error *error) {
    const char *label = target->label;
    falkor_status status = falkor__check_name(label,
        label ? strlen(label) : 0, "label", error);
    if (!status && !target->count)
        return falkor__refuse(error, "properties: the list for label "
            "\"%.200s\" is %s", label, target->properties ? "empty" : "NULL");
    for (size_t i = 0; i < target->count && !status; i++)
        status = falkor__check_name(target->properties[i],
            strlen(target->properties[i]), "a property's name", error);
    return status;
}

size_t falkor__list_length(const char *const *list) {
    size_t count = 0;
    while (list && list[count])
        count++;
    return count;
}

falkor_status falkor__target_fail(const falkor__target *target,
                                  falkor_error *error, falkor_status status,
                                  const char *why) {
    return falkor__fail(error, status,
        status == FALKOR_ERR_TIMEOUT ? ETIMEDOUT : 0, "%s on :%.100s(%.100s%s)"
        " %s", target->what, target->label, target->properties[0],
        target->count > 1 ? ", ..." : "", why);
}

falkor_value *falkor__texts(const char *const *list, size_t count) {
    falkor_value *texts = malloc((count + 1) * sizeof *texts);
    for (size_t i = 0; texts && i < count; i++)
        texts[i] = falkor_string(list[i]);
    return texts;
}

/* What a list of states comes to. One label can have two indexes, the old one
   and the one that is being built. */
typedef enum falkor__state {
    FALKOR__STATE_READY, FALKOR__STATE_BUILDING, FALKOR__STATE_FAILED,
    FALKOR__STATE_GONE
} falkor__state;

static falkor__state falkor__state_of(const falkor_result *states) {
    size_t rows = falkor_result_rows(states);
    falkor__state state = rows ? FALKOR__STATE_READY : FALKOR__STATE_GONE;
    for (size_t row = 0; row < rows; row++) {
        const falkor_value *text = falkor_result_value(states, row, 0);
        if (!text || text->type != FALKOR_STRING ||
            strcmp(text->as.string, "OPERATIONAL") != 0)
            state = FALKOR__STATE_BUILDING;
        if (text && text->type == FALKOR_STRING &&
            strcmp(text->as.string, "FAILED") == 0)
            return FALKOR__STATE_FAILED;
    }
    return state;
}

static falkor_status falkor__ask_state(falkor__steps *steps,
                                       const char *cypher,
                                       const falkor_param *params,
                                       falkor__state *state,
                                       falkor_error *error) {
    falkor_result *states;
    falkor_status status = falkor__step_query(steps, true, cypher, params,
                                              &states, error);
    if (!status)
        *state = falkor__state_of(states);
    falkor_result_free(states);
    return status;
}

/* Asks for the state of what was made until it is ready, or never will be. */
falkor_status falkor__await_ready(falkor__steps *steps,
                                         const falkor__target *target,
                                         const char *cypher,
                                         const falkor_param *params,
                                         falkor_error *error) {
    falkor__state state = FALKOR__STATE_BUILDING;
    for (int pause_ms = 1;; pause_ms *= 2) {
        falkor_status status = falkor__ask_state(steps, cypher, params, &state,
                                                 error);
        bool waits = status ? status == FALKOR_ERR_TIMEOUT ||
                              status == FALKOR_ERR_POOL_TIMEOUT
                            : state == FALKOR__STATE_BUILDING;
        if (waits && falkor__poll_ms(steps->deadline_ns) == 0)
            return falkor__target_fail(target, error, FALKOR_ERR_TIMEOUT,
                "is still being built: the server goes on; raise timeout_ms "
                "to wait longer");
        if (status)
            return status;
        if (state != FALKOR__STATE_BUILDING)
            break;
        if (pause_ms > FALKOR__MOST_PAUSE_MS)
            pause_ms = FALKOR__MOST_PAUSE_MS;
        int64_t until = falkor__deadline(pause_ms);
        if (!falkor__pool_sleep(steps->graph->pool,
                until < steps->deadline_ns ? until : steps->deadline_ns))
            return falkor__target_fail(target, error, FALKOR_ERR_CLOSED,
                "is still being built, but the pool was closed");
    }
    return state == FALKOR__STATE_READY ? FALKOR_OK
        : falkor__target_fail(target, error, FALKOR_ERR_CONSTRAINT,
            state == FALKOR__STATE_GONE
            ? "is not there any more: it was dropped meanwhile"
            : "failed: there is data that violates it; mend the data and "
              "create it again, or drop it");
}

/* ---- procedures ------------------------------------------------------- */

/* What makes a parameter of what travels as text, a map or a list. */
static const char *falkor__maker(falkor_type type) {
    switch (type) {
    case FALKOR_POINT: return "point";
    case FALKOR_VECTORF32: return "vecf32";
    case FALKOR_DATETIME: return "localdatetime";
    case FALKOR_DATE: return "date";
    case FALKOR_TIME: return "localtime";
    case FALKOR_DURATION: return "duration";
    default: return "";
    }
}

/* "node, score": each of them in backticks. */
static falkor_status falkor__put_yield(falkor__buffer *cypher,
                                       const char *yield,
                                       falkor_error *error) {
    static const char blank[] = " \t\r\n";
    falkor_status status = FALKOR_OK;
    for (const char *at = yield; at && !status;) {
        size_t length = strcspn(at, ",");
        const char *comma = at[length] ? at + length : NULL;
        falkor__put_text(cypher, at == yield ? " YIELD " : ",");
        size_t blanks = strspn(at, blank);
        for (at += blanks, length -= blanks;
             length && strchr(blank, at[length - 1]); length--)
            continue;
        status = falkor__put_part(cypher, at, length, "a name in yield",
                                  error);
        at = comma ? comma + 1 : NULL;
    }
    return status;
}

/* CALL `procedure`($a0, vecf32($a1)) YIELD `node` */
static falkor_status falkor__put_call(falkor__buffer *cypher,
                                      const char *procedure,
                                      const falkor_value *arguments,
                                      size_t count, const char *yield,
                                      falkor_error *error) {
    falkor__put_text(cypher, "CALL ");
    falkor_status status = falkor__put_name(cypher, procedure,
                                            "the procedure's name", error);
    falkor__put_text(cypher, "(");
    for (size_t i = 0; i < count && !status; i++)
        falkor__buffer_format(cypher, "%s%s($a%zu)", i ? "," : "",
                              falkor__maker(arguments[i].type), i);
    falkor__put_text(cypher, ")");
    return status ? status : falkor__put_yield(cypher, yield, error);
}

typedef struct falkor__argument_name { char text[24]; } falkor__argument_name;

/* Parameters a0, a1, ... and their names behind them, in one block. */
static falkor_param *falkor__name_arguments(const falkor_value *arguments,
                                            size_t count) {
    if (count >= SIZE_MAX / 128)
        return NULL;
    falkor_param *params = calloc(1, (count + 1) * sizeof *params +
                                     count * sizeof(falkor__argument_name));
    falkor__argument_name *names = (void *)(params ? params + count + 1 : NULL);
    for (size_t i = 0; params && i < count; i++) {
        snprintf(names[i].text, sizeof names[i].text, "a%zu", i);
        params[i] = (falkor_param){names[i].text, arguments[i]};
    }
    return params;
}

static falkor_status falkor__run_procedure(falkor_graph *graph,
    const falkor_call_options *options, const char *procedure,
    const falkor_value *arguments, size_t count, const char *yield,
    falkor_result **result, falkor_error *error) {
    falkor__buffer cypher;
    falkor_param *params = falkor__name_arguments(arguments, count);
    falkor__buffer_begin(&cypher);
    falkor_status status = params
        ? falkor__put_call(&cypher, procedure, arguments, count, yield, error)
        : falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                       "out of memory for %zu arguments", count);
    if (!status)
        status = falkor__put_end(&cypher, error);
    if (!status)
        status = falkor_query_with(graph, options, cypher.text, params, result,
                                   error);
    falkor__buffer_end(&cypher);
    free(params);
    return status;
}

falkor_status falkor_call_procedure(falkor_graph *graph,
    const falkor_call_options *options, const char *procedure,
    const falkor_value *arguments, size_t count, const char *yield,
    falkor_result **result, falkor_error *error) {
    falkor_error own;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(graph, "graph", "", result, error);
    if (!status && count && !arguments)
        status = falkor__refuse(error,
            "%zu arguments, but the pointer is NULL", count);
    return status ? status
        : falkor__run_procedure(graph, options, procedure, arguments, count,
                                yield, result, error);
}
#endif
