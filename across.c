/* Calls that concern several nodes: a pipeline, sent in parts, and commands
   that every node is asked or told. Each part is a call on one node's pool;
   knows the map by its routes only. */
#include "call.h"
#include "commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_TOPOLOGY

/* What a part of a call has of its time: all of it while it is the first. */
static int falkor__part_ms(int timeout_ms, int64_t deadline_ns, bool first) {
    int left_ms = falkor__poll_ms(deadline_ns);
    if (left_ms < 0 || (first && timeout_ms == 0))
        return timeout_ms;              /* for ever, or the pool's own */
    return left_ms > 1 ? left_ms : 1;
}

/* ---- pipelines ----------------------------------------------------------- */

#ifndef FALKOR_WITHOUT_PIPELINES
/* What is still open goes in parts, one for each node, again and again; what is
   answered is not sent again. */
typedef struct falkor__crossing {
    falkor_request *requests;
    size_t count;
    bool *open;
    bool *maybe;                /* it may have run, in this part or another */
    falkor_request *part;       /* what goes to a node now, */
    size_t *places;             /* whence it comes, */
    size_t part_count;
    int attempt, parts;         /* of all parts together; parts sent */
    falkor__call call;          /* options, times and the route */
} falkor__crossing;

/* Of its graph, or of its key; -1: it has none. */
static int falkor__slot_of(const falkor_request *request) {
    return request->graph
        ? falkor__key_slot(request->graph->name, request->graph->length)
        : falkor__command_slot(request->argc, request->argv,
                               request->lengths);
}

static int falkor__request_slot(const falkor__crossing *crossing,
                                const falkor_request *request) {
    return falkor__topology_is_cluster(falkor__topology_of(&crossing->call))
        ? falkor__slot_of(request) : -1;
}

static bool falkor__request_reads(const falkor__crossing *crossing,
                                  const falkor_request *request) {
    int read_from = falkor__pool_config(crossing->call.whole)->read_from;
    return request->graph && read_from != FALKOR_READ_PRIMARY &&
           !crossing->call.options.by_primary &&
           (request->read_only || crossing->call.options.read_only);
}

/* A part has the graphs of the node that it goes to. */
static falkor_status falkor__part_add(falkor__crossing *crossing, size_t place,
                                      falkor_pool *pool,
                                      falkor_error *error) {
    falkor_request *part = &crossing->part[crossing->part_count];
    *part = crossing->requests[place];
    crossing->places[crossing->part_count] = place;
    if (part->graph && !(part->graph = falkor__twin(part->graph, pool)))
        return falkor__no_memory(error, "out of memory for a graph");
    crossing->part_count++;
    return FALKOR_OK;
}

/* What a request is told: also of what went before. */
static void falkor__request_ends(falkor__crossing *crossing, size_t place,
                                 falkor_result *result,
                                 const falkor_error *error) {
    falkor_request *request = &crossing->requests[place];
    bool maybe = crossing->maybe[place] || error->maybe_executed;
    request->result = result;
    request->error = *error;
    request->error.maybe_executed = error->status && maybe;
    crossing->maybe[place] = maybe;
    crossing->open[place] = false;
}

/* Sends a part, and each request is told its end. */
static falkor_status falkor__part_send(falkor__crossing *crossing,
                                       falkor_pool *pool, bool held,
                                       falkor_error *error) {
    falkor_call_options options = crossing->call.options;
    if (!held) {
        options.timeout_ms = falkor__part_ms(options.timeout_ms,
            crossing->call.deadline_ns, crossing->parts++ == 0);
        options.max_retries = -1;
    }
    falkor_status status = falkor_pipeline(pool, &options, crossing->part,
                                           crossing->part_count, error);
    falkor__topology_pause(&crossing->call.route);
    for (size_t k = 0; k < crossing->part_count; k++) {
        falkor_request *part = &crossing->part[k];
        if (!held)
            part->error.attempts = crossing->attempt;
        falkor__request_ends(crossing, crossing->places[k], part->result,
                             &part->error);
    }
    return status;
}

/* None was sent, for one reason. */
static falkor_status falkor__none_sent(falkor_request *requests, size_t count,
                                       const falkor_error *error) {
    for (size_t i = 0; i < count; i++)
        requests[i].error = *error;
    return error->status;
}

/* All of it to one node, as it is. */
static falkor_status falkor__cross_at_once(falkor__crossing *crossing,
                                           falkor_pool *pool,
                                           falkor_error *error) {
    falkor_status status = FALKOR_OK;
    for (size_t i = 0; i < crossing->count && !status; i++)
        status = falkor__part_add(crossing, i, pool, error);
    return status
        ? falkor__none_sent(crossing->requests, crossing->count, error)
        : falkor__part_send(crossing, pool, true, error);
}

/* MULTI and what else changes a session hold a pipeline together: it goes to
   the node of its first key. */
static bool falkor__is_session(const falkor__crossing *crossing, int *slot) {
    bool session = false;
    *slot = -1;
    for (size_t i = 0; i < crossing->count; i++) {
        const falkor_request *request = &crossing->requests[i];
        if (*slot < 0)
            *slot = falkor__request_slot(crossing, request);
        if (request->graph)
            continue;
        const falkor__trait *trait = falkor__trait_of(request->argv[0],
            request->lengths ? request->lengths[0] : strlen(request->argv[0]));
        session = session || trait->sets || trait->clears;
    }
    return session;
}

/* A set of slots. What has one keeps its order; what has none (-1), too. */
typedef struct falkor__slots {
    unsigned char bits[(1 + FALKOR__CLUSTER_SLOTS) / 8 + 1];
} falkor__slots;

static void falkor__slots_add(falkor__slots *slots, int slot) {
    unsigned at = (unsigned)(slot + 1);
    slots->bits[at / 8] |= (unsigned char)(1 << at % 8);
}

static bool falkor__slots_have(const falkor__slots *slots, int slot) {
    unsigned at = (unsigned)(slot + 1);
    return slots->bits[at / 8] >> at % 8 & 1;
}

/* The first that is open decides where this part goes, and whether it may be a
   replica; what is open and goes there too, goes with it, up to the first that
   reads where others write, for none overtakes another of its slot: while the
   part is made the map may change. */
static falkor_status falkor__gather(falkor__crossing *crossing, size_t first,
                                    falkor_pool **pool, falkor_error *error) {
    falkor__topology *topology = falkor__topology_of(&crossing->call);
    falkor__route *route = &crossing->call.route, own;
    falkor__slots left = {{0}};
    route->slot = falkor__request_slot(crossing, &crossing->requests[first]);
    route->reads = falkor__request_reads(crossing, &crossing->requests[first]);
    crossing->part_count = 0;
    falkor_status status = falkor__topology_route(topology, route, pool, error);
    for (size_t i = first; i < crossing->count && !status; i++) {
        const falkor_request *request = &crossing->requests[i];
        if (!crossing->open[i])
            continue;
        own = (falkor__route){.reads = falkor__request_reads(crossing, request),
            .slot = falkor__request_slot(crossing, request)};
        falkor_pool *there = *pool;
        if (own.reads != route->reads)
            break;
        if (own.slot != route->slot) {
            there = NULL;
            if (!falkor__topology_route(topology, &own, &there, NULL))
                falkor__topology_leave(&own);
        }
        if (there != *pool)
            falkor__slots_add(&left, own.slot);
        else if (!falkor__slots_have(&left, own.slot))
            status = falkor__part_add(crossing, i, *pool, error);
    }
    return status;
}

static bool falkor__in_doubt(const falkor__crossing *crossing,
                             const falkor_request *request) {
    return request->error.maybe_executed && !request->idempotent &&
           !crossing->call.options.idempotent;
}

/* Whether a request that ended so may go elsewhere: a node that does not serve
   it, or that was not reached; and it has not run, or may run twice. */
static bool falkor__goes_on(const falkor__crossing *crossing,
                            const falkor_request *request) {
    falkor_status status = request->error.status;
    return !falkor__in_doubt(crossing, request) &&
        (status == FALKOR_ERR_MOVED || status == FALKOR_ERR_READONLY ||
         status == FALKOR_ERR_CONNECT || status == FALKOR_ERR_CIRCUIT_OPEN ||
         status == FALKOR_ERR_IO);
}

/* Ends all that was not sent yet. */
static void falkor__crossing_stop(falkor__crossing *crossing,
                                  const falkor_error *why, const char *what) {
    falkor_error first = *why;          /* it may be one of theirs */
    for (size_t i = 0; i < crossing->count; i++) {
        if (crossing->open[i] && !crossing->requests[i].error.status)
            falkor__fail(&crossing->requests[i].error, first.status,
                         first.sys_errno, "it was not sent: %s%s", what,
                         first.message);
        crossing->open[i] = false;
    }
}

static bool falkor__stops_in_doubt(falkor__crossing *crossing, size_t place) {
    const falkor_request *request = &crossing->requests[place];
    if (!falkor__in_doubt(crossing, request))
        return false;
    falkor__crossing_stop(crossing, &request->error,
                          "one before it may have been executed: ");
    return true;
}

/* Opens again what the part's answers send on, but nothing that something
   behind it, of its graph, has overtaken. A write in doubt ends the whole: what
   is behind it must not run before that is known. Returns the failure that
   sends the first of them on, NULL: none. */
static const falkor_error *falkor__part_settle(falkor__crossing *crossing) {
    falkor__slots have_run = {{0}};
    const falkor_error *why = NULL;
    for (size_t k = 0; k < crossing->part_count; k++)
        if (falkor__stops_in_doubt(crossing, crossing->places[k]))
            return NULL;
    for (size_t k = crossing->part_count; k-- > 0;) {
        size_t place = crossing->places[k];
        const falkor_request *request = &crossing->requests[place];
        int slot = falkor__slot_of(request);
        if (!falkor__goes_on(crossing, request)) {
            falkor__slots_add(&have_run, slot);
        } else if (!falkor__slots_have(&have_run, slot)) {
            crossing->open[place] = true;
            why = &crossing->part[k].error;
        }
    }
    return why;
}

/* One request alone, as a call that follows ASK. */
static void falkor__cross_alone(falkor__crossing *crossing, size_t place) {
    falkor_request *request = &crossing->requests[place];
    falkor_call_options options = crossing->call.options;
    options.read_only = options.read_only || request->read_only;
    options.idempotent = options.idempotent || request->idempotent;
    options.timeout_ms = falkor__part_ms(options.timeout_ms,
        crossing->call.deadline_ns, false);
    if (request->server_timeout_ms)
        options.server_timeout_ms = request->server_timeout_ms;
    falkor_result *result;
    falkor_error error;
    if (request->graph)
        falkor_query_with(request->graph, &options, request->cypher,
                          request->params, &result, &error);
    else
        falkor_command(crossing->call.whole, &options, request->argc,
                       request->argv, request->lengths, &result, &error);
    falkor__request_ends(crossing, place, result, &error);
}

/* The slot of the first that is open is on its way: all that is open of it, one
   by one. */
static void falkor__cross_asking(falkor__crossing *crossing) {
    int slot = -1;
    bool first = true;
    crossing->call.route.asked = NULL;
    crossing->call.route.redirects = 0;
    for (size_t k = 0; k < crossing->part_count; k++) {
        size_t place = crossing->places[k];
        if (!crossing->open[place])
            continue;
        int own = falkor__request_slot(crossing, &crossing->requests[place]);
        if (!first && own != slot)
            continue;
        first = false;
        slot = own;
        falkor__cross_alone(crossing, place);
        if (falkor__stops_in_doubt(crossing, place))
            return;
    }
}

/* Whether what was sent on is sent again, at once or behind a pause; else it
   has ended, and what goes to other nodes goes on. */
static void falkor__crossing_again(falkor__crossing *crossing,
                                   const falkor_error *why) {
    falkor__call *call = &crossing->call;
    int retries = falkor__retries_of(call);
    bool refused = why->status == FALKOR_ERR_MOVED ||
                   why->status == FALKOR_ERR_READONLY;
    call->phase = refused ? FALKOR__PHASE_REPLIED : FALKOR__PHASE_UNSENT;
    bool on = falkor__sent_on(call, why->status, why);
    if (on && call->route.asked) {
        falkor__cross_asking(crossing);
    } else if (!on && crossing->attempt <= retries &&
               falkor__back_off(call, crossing->attempt, retries, why)) {
        crossing->attempt++;
    } else if (!on) {
        for (size_t k = 0; k < crossing->part_count; k++)
            crossing->open[crossing->places[k]] = false;
    }
}

static void falkor__cross(falkor__crossing *crossing) {
    falkor_pool *pool;
    falkor_error error;
    for (size_t first = 0; first < crossing->count;) {
        if (!crossing->open[first]) {
            first++;
            continue;
        }
        falkor__error_clear(&error);
        if (falkor_now_ns() >= crossing->call.deadline_ns) {
            falkor__fail(&error, FALKOR_ERR_POOL_TIMEOUT, ETIMEDOUT,
                         "time ended");
            falkor__crossing_stop(crossing, &error, "");
            return;
        }
        falkor_status status = falkor__gather(crossing, first, &pool, &error);
        if (!status) {
            falkor__part_send(crossing, pool, false, &error);
            const falkor_error *why = falkor__part_settle(crossing);
            if (why)
                falkor__crossing_again(crossing, why);
            continue;
        }
        crossing->part_count = 1;       /* no node for this one */
        crossing->places[0] = first;
        error.attempts = crossing->attempt;
        falkor__request_ends(crossing, first, NULL, &error);
        crossing->open[first] = falkor__may_retry(status, FALKOR__PHASE_UNSENT,
                                                  true);
        if (crossing->open[first])
            falkor__crossing_again(crossing, &error);
    }
}

/* Each request has its own end; the whole has that of the first that failed. */
static falkor_status falkor__crossing_end(falkor__crossing *crossing,
                                          falkor_error *error) {
    falkor_status status = FALKOR_OK;
    bool maybe = false;
    int attempts = 1;
    falkor__error_clear(error);
    for (size_t i = 0; i < crossing->count; i++) {
        const falkor_error *own = &crossing->requests[i].error;
        if (own->status && !status)
            status = falkor__fail(error, own->status, own->sys_errno,
                "requests[%zu] of %zu: %s", i, crossing->count, own->message);
        maybe = maybe || own->maybe_executed;
        attempts = own->attempts > attempts ? own->attempts : attempts;
    }
    error->maybe_executed = maybe;
    error->attempts = attempts;
    return status;
}

static falkor_status falkor__cross_all(falkor__crossing *crossing,
                                       falkor_error *error) {
    falkor__call *call = &crossing->call;
    int slot;
    falkor_status status = falkor__call_check(call, error);
    falkor_pool *pool = call->pool;     /* that of a held connection */
    bool session = !status && falkor__is_session(crossing, &slot);
    if (!status && session && !call->options.conn) {
        call->route.slot = slot;
        status = falkor__topology_route(falkor__topology_of(call),
                                        &call->route, &pool, error);
    }
    if (!status && (session || call->options.conn))
        return falkor__cross_at_once(crossing, pool, error);
    if (status)
        return falkor__none_sent(crossing->requests, crossing->count, error);
    for (size_t i = 0; i < crossing->count; i++)
        crossing->open[i] = true;
    falkor__cross(crossing);
    return falkor__crossing_end(crossing, error);
}

falkor_status falkor__pipeline_across(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error) {
    falkor__crossing crossing = {.requests = requests, .count = count,
                                 .attempt = 1};
    const falkor_allocator *heap = falkor__pool_config(pool)->heap;
    crossing.open = falkor__take_zero(heap, count, sizeof *crossing.open);
    crossing.maybe = falkor__take_zero(heap, count, sizeof *crossing.maybe);
    crossing.part = falkor__take_zero(heap, count, sizeof *crossing.part);
    crossing.places = falkor__take_zero(heap, count, sizeof *crossing.places);
    falkor_status status = FALKOR_OK;
    if (!crossing.open || !crossing.maybe || !crossing.part ||
        !crossing.places)
        status = falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                              "out of memory for %zu requests", count);
    else
        status = falkor__pipeline_check(pool, options, requests, count, error);
    if (status) {
        falkor__none_sent(requests, count, error);
    } else {
        falkor__call_begin(&crossing.call, pool, options);
        status = falkor__cross_all(&crossing, error);
        falkor__call_end(&crossing.call);
    }
    falkor__give(heap, crossing.open);
    falkor__give(heap, crossing.maybe);
    falkor__give(heap, crossing.part);
    falkor__give(heap, crossing.places);
    return status;
}
#endif

/* ---- commands ------------------------------------------------------------ */

#ifndef FALKOR_WITHOUT_COMMANDS
/* NOLINTNEXTLINE(misc-no-recursion): the decoder's limit on depth ends it */
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
/* NOLINTNEXTLINE(misc-no-recursion): the decoder's limit on depth ends it */
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

/* One node's answer; a failure says which it was. */
static falkor_status falkor__typed_one(const falkor__request *request,
                                       falkor__topology *topology,
                                       const falkor__node_state *state,
                                       size_t index, falkor_result **reply,
                                       falkor_error *error) {
    falkor__request one = *request;
    one.pool = state->pool;
    *reply = NULL;
    falkor_status status = state->begun ? FALKOR_OK
        : falkor__topology_begin(topology, index, error);
    if (!status)
        status = falkor__typed(&one, reply, error);
    if (status)
        falkor__name_node(state->pool, error);
    return status;
}

/* The next node to ask: a primary, or where all are asked a replica that is not
   down. */
static bool falkor__next_asked(const falkor__request *request,
                               falkor__topology *topology,
                               const unsigned char *done, size_t *index,
                               falkor__node_state *state) {
    for (*index = 0; falkor__topology_state(topology, *index, state); ++*index)
        if (!(done[*index / 8] >> *index % 8 & 1) &&
            (state->primary || (request->scope == FALKOR__SCOPE_NODES &&
                                state->well)))
            return true;
    return false;
}

/* Whether a node that was not reached, or is no primary any more, may be asked
   again, it or who takes its place, behind a pause. */
static bool falkor__asks_again(falkor__call *whole,
                               const falkor__node_state *state,
                               const falkor_error *error, int *attempt) {
    int retries = falkor__retries_of(whole);
    if ((error->status != FALKOR_ERR_CONNECT &&
         error->status != FALKOR_ERR_CIRCUIT_OPEN &&
         error->status != FALKOR_ERR_READONLY) || *attempt > retries)
        return false;
    whole->route.version = state->version;
    falkor__topology_doubt(falkor__topology_of(whole));
    return falkor__back_off(whole, (*attempt)++, retries, error);
}

/* Whether what a primary was told lasts: one that has been replaced meanwhile
   may have forgotten it. */
static falkor_status falkor__typed_lasts(const falkor__call *whole,
                                         const falkor__node_state *state,
                                         const falkor_call_options *options,
                                         falkor_error *error) {
    falkor__route route = {.slot = -1, .node = state->node};
    if (!options->wait_replicas ||
        falkor__topology_stands(falkor__topology_of(whole), &route, NULL, 0,
                                whole->deadline_ns))
        return FALKOR_OK;
    falkor__fail_replaced(error);
    falkor__name_node(state->pool, error);
    return error->status;
}

/* One node after the other, within the call's time; the first that fails ends
   it, and says whether one before it has done what it was told. */
static falkor_status falkor__typed_each(const falkor__request *request,
                                        falkor__call *whole,
                                        falkor_result **sum,
                                        falkor_error *error) {
    falkor__topology *topology = falkor__topology_of(whole);
    falkor__request one = *request;
    falkor_call_options options = whole->options;
    unsigned char done[FALKOR__MOST_NODES / 8 + 1] = {0};
    falkor__node_state state;
    falkor_status status = FALKOR_OK;
    int attempt = 1;
    size_t i;
    one.options = &options;
    if (request->scope == FALKOR__SCOPE_NODES || request->reads)
        options.wait_replicas = 0;      /* nothing is copied */
    while (!status && falkor__next_asked(request, topology, done, &i, &state)) {
        falkor_result *reply;
        options.timeout_ms = falkor__part_ms(whole->options.timeout_ms,
                                             whole->deadline_ns, !*sum);
        status = falkor__typed_one(&one, topology, &state, i, &reply, error);
        if (status && falkor__asks_again(whole, &state, error, &attempt)) {
            status = FALKOR_OK;
            continue;
        }
        done[i / 8] |= (unsigned char)(1 << i % 8);
        if (!status)
            status = falkor__typed_lasts(whole, &state, &options, error);
        if (status && (*sum || reply) && !request->reads)
            error->maybe_executed = true;
        if (!status && *sum)
            status = falkor__join(*sum, reply, request->distinct, error);
        if (*sum)
            falkor_result_free(reply);
        else
            *sum = reply;
    }
    return status || *sum ? status : falkor__fail(error, FALKOR_ERR_NOT_OPEN, 0,
        "no node of the pool is known: call falkor_pool_open first");
}

falkor_status falkor__typed_all(const falkor__request *request,
                                falkor_result **result, falkor_error *error) {
    falkor__call whole;                 /* for its times */
    falkor_result *sum = NULL;
    falkor__call_begin(&whole, request->pool, request->options);
    falkor_status status = falkor__typed_each(request, &whole, &sum, error);
    if (!status && result) {
        *result = sum;
        sum = NULL;
    }
    falkor_result_free(sum);
    falkor__call_end(&whole);
    return status;
}
#endif
#endif
