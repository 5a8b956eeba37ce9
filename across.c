/* Calls that concern several nodes: a pipeline, sent in parts, and commands
   that every node is asked or told. Each part is a call on one node's pool;
   knows the map by its routes only. */
#include "call.h"
#include "commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_TOPOLOGY

/* ---- pipelines ------------------------------------------------------------ */

#ifndef FALKOR_WITHOUT_PIPELINES
/* What is still open goes in parts, one for each node, again and again; what is
   answered is not sent again. */
typedef struct falkor__crossing {
    falkor_request *requests;
    size_t count;
    bool *open;
    falkor_request *part;       /* what goes to a node now, */
    size_t *places;             /* whence it comes, */
    size_t part_count;
    falkor__call call;          /* options, times and the route */
} falkor__crossing;

static int falkor__request_slot(const falkor__crossing *crossing,
                                const falkor_request *request) {
    if (!falkor__topology_is_cluster(falkor__topology_of(&crossing->call)))
        return -1;
    return request->graph
        ? falkor__key_slot(request->graph->name, request->graph->length)
        : falkor__command_slot(request->argc, request->argv,
                               request->lengths);
}

static bool falkor__request_reads(const falkor__crossing *crossing,
                                  const falkor_request *request) {
    return request->graph && (request->read_only ||
                              crossing->call.options.read_only);
}

/* What cannot be sent to any node. */
static falkor_status falkor__crossing_check(const falkor__crossing *crossing,
                                            falkor_error *error) {
    for (size_t i = 0; i < crossing->count; i++) {
        const falkor_request *request = &crossing->requests[i];
        if (request->graph ? request->graph->pool != crossing->call.whole
                           : !request->argc || !request->argv ||
                             !request->argv[0])
            return falkor__refuse(error, request->graph
                ? "requests[%zu]: its graph is of another pool"
                : "requests[%zu]: it has neither a graph to query nor a "
                  "command: was the graph's selection checked?", i);
    }
    return FALKOR_OK;
}

/* The first that is open decides where this part goes, and whether it may be a
   replica; what is open and goes there too, goes with it. */
static falkor_status falkor__gather(falkor__crossing *crossing,
                                    falkor_pool **pool, falkor_error *error) {
    falkor__topology *topology = falkor__topology_of(&crossing->call);
    falkor__route *route = &crossing->call.route, own;
    falkor_status status = FALKOR_OK;
    crossing->part_count = 0;
    for (size_t i = 0; i < crossing->count && !status; i++) {
        falkor_request *request = &crossing->requests[i];
        if (!crossing->open[i])
            continue;
        own = (falkor__route){
            .slot = falkor__request_slot(crossing, request),
            .reads = falkor__request_reads(crossing, request)};
        falkor_pool *there = NULL;
        bool first = crossing->part_count == 0;
        if (first) {
            route->slot = own.slot;
            route->reads = own.reads;
            status = falkor__topology_route(topology, route, pool, error);
            there = *pool;
        } else if (own.reads != route->reads) {
            break;                      /* no request overtakes another */
        } else if (own.reads && own.slot == route->slot) {
            there = *pool;
        } else if (!falkor__topology_route(topology, &own, &there, NULL)) {
            falkor__topology_leave(&own);
        }
        if (status || there != *pool)
            continue;
        falkor_request *part = &crossing->part[crossing->part_count];
        *part = *request;
        if (part->graph && !(part->graph = falkor__twin(part->graph, there)))
            return falkor__no_memory(error, "out of memory for a graph");
        crossing->places[crossing->part_count++] = i;
    }
    return status;
}

/* The options of a part: what time is left, and one attempt. */
static falkor_call_options falkor__part_options(
    const falkor__crossing *crossing) {
    falkor_call_options options = crossing->call.options;
    int left_ms = falkor__poll_ms(crossing->call.deadline_ns);
    if (options.timeout_ms > 0)
        options.timeout_ms = left_ms > 1 ? left_ms : 1;
    options.max_retries = -1;
    return options;
}

/* Whether a request that ended so has certainly not run, and may go elsewhere:
   a node that does not serve it, or that was not reached. */
static bool falkor__goes_on(const falkor_error *error) {
    return !error->maybe_executed &&
        (error->status == FALKOR_ERR_MOVED ||
         error->status == FALKOR_ERR_READONLY ||
         error->status == FALKOR_ERR_CONNECT ||
         error->status == FALKOR_ERR_CIRCUIT_OPEN ||
         error->status == FALKOR_ERR_IO);
}

/* What the part's answers leave open. A write in doubt ends the whole: what is
   behind it must not run before that is known. Returns the failure that sends
   it on, NULL: none. */
static const falkor_error *falkor__part_settle(falkor__crossing *crossing) {
    const falkor_error *why = NULL;
    bool doubt = false;
    for (size_t k = 0; k < crossing->part_count; k++)
        doubt = doubt || crossing->part[k].error.maybe_executed;
    for (size_t k = 0; k < crossing->part_count; k++) {
        falkor_request *request = &crossing->requests[crossing->places[k]];
        const falkor_request *part = &crossing->part[k];
        bool on = !doubt && falkor__goes_on(&part->error);
        request->result = part->result;
        request->error = part->error;
        crossing->open[crossing->places[k]] = on;
        if (on && !why)
            why = &part->error;
    }
    for (size_t i = 0; doubt && i < crossing->count; i++)
        crossing->open[i] = false;
    return why;
}

/* Before what is left is sent again. */
static bool falkor__crossing_wait(falkor__crossing *crossing,
                                  const falkor_error *why, int *attempt) {
    falkor__call *call = &crossing->call;
    falkor__topology *topology = falkor__topology_of(call);
    const falkor__config *config = falkor__pool_config(call->whole);
    bool refused = why->status == FALKOR_ERR_MOVED ||
                   why->status == FALKOR_ERR_READONLY;
    int retries = call->options.max_retries < 0 ? 0
        : call->options.max_retries ? call->options.max_retries
                                    : config->max_retries;
    falkor__policy policy = falkor__policy_of(config);
    bool moved = falkor__topology_failed(topology, &call->route, why->status,
                                         refused, why->message);
    if (moved && !call->route.asked)
        return falkor_now_ns() < call->deadline_ns;
    call->route.asked = NULL;           /* on its way: until it is there */
    if (++*attempt > retries + 1)
        return false;
    int64_t until_ns = falkor__deadline(
        falkor__backoff_ms(&policy, *attempt - 1, 0.5));
    return until_ns < call->deadline_ns &&
           falkor__topology_sleep(topology, &call->route, until_ns);
}

static falkor_status falkor__cross(falkor__crossing *crossing,
                                   falkor_error *error) {
    int attempt = 1;
    falkor_pool *pool = NULL;
    falkor_error part_error;
    bool go_on = true;
    while (go_on) {
        falkor_status status = falkor__gather(crossing, &pool, &part_error);
        if (!status && crossing->part_count == 0)
            return FALKOR_OK;
        if (status) {
            crossing->part_count = 0;
            go_on = falkor__may_retry(status, FALKOR__PHASE_UNSENT, true) &&
                falkor__crossing_wait(crossing, &part_error, &attempt);
            if (!go_on)
                return *error = part_error, status;
            continue;
        }
        falkor_call_options options = falkor__part_options(crossing);
        falkor_pipeline(pool, &options, crossing->part, crossing->part_count,
                        &part_error);
        falkor__topology_pause(&crossing->call.route);
        const falkor_error *why = falkor__part_settle(crossing);
        go_on = !why || falkor__crossing_wait(crossing, why, &attempt);
    }
    return FALKOR_OK;
}

/* Each request has its own end; the whole has that of the first that failed. */
static falkor_status falkor__crossing_end(falkor__crossing *crossing,
                                          falkor_status status,
                                          falkor_error *error) {
    falkor_error whole = *error;
    bool failed = false;
    for (size_t i = 0; i < crossing->count; i++) {
        falkor_error *own = &crossing->requests[i].error;
        if (status && crossing->open[i] && !own->status)
            *own = whole;
        if (own->status && !failed)
            falkor__fail(error, own->status, own->sys_errno,
                "requests[%zu] of %zu: %s", i, crossing->count, own->message);
        failed = failed || own->status;
        error->maybe_executed = error->maybe_executed || own->maybe_executed;
        error->attempts = own->attempts > error->attempts ? own->attempts
                                                          : error->attempts;
    }
    return failed ? error->status : status;
}

/* A held connection is of one node, and all goes there. */
static falkor_status falkor__cross_held(falkor__crossing *crossing,
                                        falkor_error *error) {
    falkor__call *call = &crossing->call;
    for (size_t i = 0; i < crossing->count; i++) {
        crossing->part[i] = crossing->requests[i];
        crossing->places[i] = i;
        if (crossing->part[i].graph && !(crossing->part[i].graph =
                falkor__twin(crossing->part[i].graph, call->pool)))
            return falkor__no_memory(error, "out of memory for a graph");
    }
    falkor_status status = falkor_pipeline(call->pool, &call->options,
        crossing->part, crossing->count, error);
    for (size_t i = 0; i < crossing->count; i++) {
        crossing->requests[i].result = crossing->part[i].result;
        crossing->requests[i].error = crossing->part[i].error;
    }
    return status;
}

static falkor_status falkor__cross_all(falkor__crossing *crossing,
                                       falkor_error *error) {
    falkor_status status = falkor__call_check(&crossing->call, error);
    if (!status)
        status = falkor__crossing_check(crossing, error);
    if (!status && crossing->call.options.conn)
        return falkor__cross_held(crossing, error);
    for (size_t i = 0; i < crossing->count; i++) {
        crossing->open[i] = true;
        if (status)
            crossing->requests[i].error = *error;
    }
    if (!status)
        status = falkor__cross(crossing, error);
    return falkor__crossing_end(crossing, status, error);
}

falkor_status falkor__pipeline_across(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error) {
    falkor__crossing crossing = {.requests = requests, .count = count};
    crossing.open = calloc(count, sizeof *crossing.open);
    crossing.part = calloc(count, sizeof *crossing.part);
    crossing.places = calloc(count, sizeof *crossing.places);
    falkor_status status = FALKOR_OK;
    if (!crossing.open || !crossing.part || !crossing.places)
        status = falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                              "out of memory for %zu requests", count);
    for (size_t i = 0; status && i < count; i++)
        requests[i].error = *error;
    if (!status) {
        falkor__call_begin(&crossing.call, pool, options);
        status = falkor__cross_all(&crossing, error);
        falkor__call_end(&crossing.call);
    }
    free(crossing.open);
    free(crossing.part);
    free(crossing.places);
    return status;
}
#endif

/* ---- commands ------------------------------------------------------------- */

#ifndef FALKOR_WITHOUT_COMMANDS
static bool falkor__alike(const falkor_value *a, const falkor_value *b) {
    if (a->type != b->type || a->length != b->length)
        return false;
    bool same = true;
    switch (a->type) {
    case FALKOR_STRING:
        return memcmp(a->as.string, b->as.string, a->length) == 0;
    case FALKOR_ARRAY:
        for (uint32_t i = 0; i < a->length && same; i++)
            same = falkor__alike(&a->as.items[i], &b->as.items[i]);
        return same;
    case FALKOR_MAP:
        for (uint32_t i = 0; i < a->length && same; i++)
            same = strcmp(a->as.entries[i].key, b->as.entries[i].key) == 0 &&
                falkor__alike(&a->as.entries[i].value,
                              &b->as.entries[i].value);
        return same;
    case FALKOR_BOOLEAN:
        return a->as.boolean == b->as.boolean;
    default:                            /* plain replies have no others */
        return a->as.integer == b->as.integer;
    }
}

/* A value of a plain reply in another's memory. false: there is none. */
static bool falkor__copy_value(falkor_result *to, falkor_value *value) {
    if (value->type == FALKOR_STRING) {
        char *text = falkor__reply_take(to, (size_t)value->length + 1);
        if (text)
            memcpy(text, value->as.string, (size_t)value->length + 1);
        value->as.string = text;
        return text != NULL;
    }
    bool copied = true;
    if (value->type == FALKOR_ARRAY) {
        falkor_value *items = falkor__reply_take(to,
            ((size_t)value->length + 1) * sizeof *items);
        for (uint32_t i = 0; items && i < value->length && copied; i++) {
            items[i] = value->as.items[i];
            copied = falkor__copy_value(to, &items[i]);
        }
        value->as.items = items;
        return items && copied;
    }
    if (value->type == FALKOR_MAP) {
        falkor_entry *entries = falkor__reply_take(to,
            ((size_t)value->length + 1) * sizeof *entries);
        for (uint32_t i = 0; entries && i < value->length && copied; i++) {
            falkor_value key = falkor_string(value->as.entries[i].key);
            entries[i] = value->as.entries[i];
            copied = falkor__copy_value(to, &key) &&
                     falkor__copy_value(to, &entries[i].value);
            entries[i].key = key.as.string;
        }
        value->as.entries = entries;
        return entries && copied;
    }
    return true;
}

/* Whether a row of other is among the first rows of cells. */
static bool falkor__has_row(const falkor_value *cells, size_t rows,
                            size_t columns, const falkor_result *other,
                            size_t row) {
    bool found = false;
    for (size_t i = 0; i < rows && !found; i++) {
        found = true;
        for (size_t c = 0; c < columns && found; c++)
            found = falkor__alike(&cells[i * columns + c],
                                  falkor_result_value(other, row, c));
    }
    return found;
}

/* Adds the rows of other to those of sum, which has as many columns; alike ones
   are one row where they are to be distinct. */
static falkor_status falkor__join(falkor_result *sum,
                                  const falkor_result *other, bool distinct,
                                  falkor_error *error) {
    size_t columns = falkor_result_columns(sum), rows = falkor_result_rows(sum);
    size_t more = falkor_result_columns(other) == columns
        ? falkor_result_rows(other) : 0;
    const char **names = falkor__reply_take(sum, columns * sizeof *names);
    falkor_value *cells = falkor__reply_take(sum,
        ((rows + more) * columns + 1) * sizeof *cells);
    bool copied = names && cells;
    for (size_t i = 0; copied && i < rows * columns; i++)
        cells[i] = *falkor_result_value(sum, i / columns, i % columns);
    for (size_t c = 0; copied && c < columns; c++)
        names[c] = falkor_result_column(sum, c);
    for (size_t row = 0; row < more && copied; row++) {
        if (distinct && falkor__has_row(cells, rows, columns, other, row))
            continue;
        for (size_t c = 0; c < columns && copied; c++) {
            cells[rows * columns + c] = *falkor_result_value(other, row, c);
            copied = falkor__copy_value(sum, &cells[rows * columns + c]);
        }
        rows++;
    }
    if (!copied)
        return falkor__no_memory(error, "out of memory for the rows of all "
                                 "nodes");
    falkor__result_table(sum, names, columns, cells, rows);
    return FALKOR_OK;
}

/* Says which node it was. */
static void falkor__name_node(falkor_pool *pool, falkor_error *error) {
    char place[128];
    falkor__fail_more(error, " (node %s)",
        falkor__place(falkor__pool_config(pool), place, sizeof place));
}

bool falkor__asks_all(const falkor__request *request) {
    falkor__topology *topology = request->pool
        ? falkor__pool_front(request->pool) : NULL;
    bool held = request->options && request->options->conn;
    return topology && !held &&
        (request->scope == FALKOR__SCOPE_NODES ||
         (request->scope == FALKOR__SCOPE_PRIMARIES &&
          falkor__topology_is_cluster(topology)));
}

/* One node after the other, within the call's time; the first that fails ends
   it. A replica that is down is not asked. */
falkor_status falkor__typed_all(const falkor__request *request,
                                falkor_result **result, falkor_error *error) {
    falkor__topology *topology = falkor__pool_front(request->pool);
    falkor__node_state state;
    falkor__request one = *request;
    falkor_result *sum = NULL, *reply;
    falkor_call_options options = request->options ? *request->options
                                                   : (falkor_call_options){0};
    int64_t until_ns = falkor__deadline(options.timeout_ms > 0
                                        ? options.timeout_ms : -1);
    falkor_status status = FALKOR_OK;
    size_t asked = 0;
    for (size_t i = 0; !status &&
                       falkor__topology_state(topology, i, &state); i++) {
        if (!(state.primary || (request->scope == FALKOR__SCOPE_NODES &&
                                state.well)))
            continue;
        if (options.timeout_ms > 0) {
            int left_ms = falkor__poll_ms(until_ns);
            options.timeout_ms = left_ms > 1 ? left_ms : 1;
        }
        status = state.begun ? FALKOR_OK
            : falkor__topology_begin(topology, i, error);
        one.options = &options;
        one.pool = state.pool;
        reply = NULL;
        if (!status)
            status = falkor__typed(&one, &reply, error);
        if (status)
            falkor__name_node(state.pool, error);
        else if (sum && falkor_result_columns(reply) && result)
            status = falkor__join(sum, reply, request->distinct, error);
        if (sum)
            falkor_result_free(reply);
        else
            sum = reply;
        asked++;
    }
    if (!status && !asked)
        status = falkor__fail(error, FALKOR_ERR_NOT_OPEN, 0, "no node of the "
            "pool is known: call falkor_pool_open first");
    if (!status && result)
        *result = sum;
    else
        falkor_result_free(sum);
    return status;
}
#endif
#endif
