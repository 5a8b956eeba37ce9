/* Pipelines: many requests over one connection in one round trip. What is not
   answered yet (open) is sent in one text, in its order, and read back one by
   one; after a failure of the connection all or nothing is sent again.

   A query that only our old names have kept from running is sent again at
   once, and nothing that must come after it may have run meanwhile. So a round
   is a run of queries, or a run of commands. Queries of one graph go with one
   version: where it is not the graph's, none of them runs. A command behind
   queries waits for the next round; queries behind commands do too, whose
   names may be other ones then, or their graph be there only then. */
#include "call.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_PIPELINES

#define FALKOR__IDLE_ROUNDS 8           /* in which nothing gets done */
#define FALKOR__LEAST_WINDOW ((size_t)8)
#define FALKOR__FIRST_WINDOW ((size_t)16)       /* before there are names */

/* What belongs to a request during the call. */
typedef struct falkor__pending {
    size_t begin, end;          /* its text in prepared, but for the version */
    size_t sent_end;            /* where the round's text has its end */
    const falkor__trait *trait; /* NULL: a query */
    falkor__schema *schema;
    falkor_result *reply;
    falkor__phase phase;
    bool open;                  /* not answered for good */
    bool now;                   /* part of this round */
    bool maybe;                 /* a write that may have run */
} falkor__pending;

typedef struct falkor__pipeline {
    falkor_request *requests;
    falkor__pending *slots;
    size_t count, open;
    size_t window;              /* the most queries of the next round */
    bool read_only, idempotent; /* all of it: the caller says so */
    unsigned session;           /* what answered commands have made of it */
    int attempt;
    falkor__call call;          /* large: behind the rest */
    falkor__buffer prepared;    /* the requests' texts */
} falkor__pipeline;

/* ---- preparing -------------------------------------------------------- */

static bool falkor__reads(const falkor__pipeline *p, size_t i) {
    return p->requests[i].read_only || p->read_only;
}

static bool falkor__repeatable(const falkor__pipeline *p, size_t i) {
    return falkor__reads(p, i) || p->requests[i].idempotent ||
           p->idempotent;
}

/* Writes a query's text up to its version. */
static falkor_status falkor__prepare_query(falkor__pipeline *p, size_t i,
                                           falkor_error *error) {
    const falkor_request *request = &p->requests[i];
    falkor__buffer *params = &p->call.params;
    int server_ms = request->server_timeout_ms ? request->server_timeout_ms
        : p->call.options.server_timeout_ms;
    if (!request->cypher || request->graph->pool != p->call.whole ||
        server_ms < 0)
        return falkor__refuse(error, "%s",
            !request->cypher ? "its cypher is NULL"
            : server_ms < 0 ? "its server_timeout_ms is negative"
            : "its graph is of another pool");
    params->length = 0;
    falkor_status status = falkor__encode_params(request->params, params,
                                                 error);
    if (status)
        return status;
    size_t length = strlen(request->cypher);
    falkor__write_head(&p->prepared, request->graph, falkor__reads(p, i),
                       server_ms, params->length + length);
    falkor__buffer_add(&p->prepared, params->text, params->length);
    falkor__buffer_add(&p->prepared, request->cypher, length);
    falkor__write_tail(&p->prepared, server_ms);
    return FALKOR_OK;
}

static falkor_status falkor__prepare_command(falkor__pipeline *p, size_t i,
                                             falkor_error *error) {
    const falkor_request *request = &p->requests[i];
    const char *name = request->argc && request->argv ? request->argv[0]
                                                      : NULL;
    for (size_t k = 0; name && k < request->argc; k++)
        if (!request->argv[k])
            return falkor__refuse(error, "its argv[%zu] is NULL", k);
    if (!name)
        return falkor__refuse(error, "it has neither a graph to query nor a "
            "command: was the graph's selection checked?");
    p->slots[i].trait = falkor__trait_of(name, request->lengths
        ? request->lengths[0] : strlen(name));
    if (p->slots[i].trait->sets & FALKOR__SESSION_PUSHED)
        return falkor__refuse(error,
            "after %s messages come unasked: send it by falkor_command on a "
            "held connection", p->slots[i].trait->command);
    falkor__buffer_command(&p->prepared, request->argc, request->argv,
                           request->lengths);
    return falkor__check_silence(request->argc, request->argv,
                                 request->lengths, error);
}

/* Writes all requests; refuses the whole when one is no good. */
static falkor_status falkor__prepare(falkor__pipeline *p,
                                     falkor_error *error) {
    const falkor_conn *held = p->call.options.conn;
    bool multi = held && falkor__link_marks(falkor__held_link(p->call.whole,
        held)) & FALKOR__SESSION_MULTI;
    for (size_t i = 0; i < p->count; i++) {
        falkor__pending *slot = &p->slots[i];
        falkor_error own;
        falkor_status status;
        slot->begin = p->prepared.length;
        falkor__error_clear(&own);
        if (!p->requests[i].graph)
            status = falkor__prepare_command(p, i, &own);
        else if (multi)
            status = falkor__refuse(&own, "inside MULTI a query has no result "
                "yet: send GRAPH.QUERY as a command");
        else
            status = falkor__prepare_query(p, i, &own);
        if (status)
            return falkor__fail(error, status, 0, "requests[%zu]: %s", i,
                                own.message);
        slot->end = p->prepared.length;
        if (slot->trait && slot->trait->sets & FALKOR__SESSION_MULTI)
            multi = true;
        if (slot->trait && slot->trait->clears & FALKOR__SESSION_MULTI)
            multi = false;
    }
    return !p->prepared.failed ? FALKOR_OK : falkor__fail(error,
        FALKOR_ERR_NOMEM, 0, "out of memory for %zu requests", p->count);
}

/* ---- answers ---------------------------------------------------------- */

/* A request has its answer, which is the reply or the error. */
static void falkor__pipeline_settle(falkor__pipeline *p, size_t i,
                                    const falkor_error *error) {
    falkor__pending *slot = &p->slots[i];
    falkor_request *request = &p->requests[i];
    slot->open = false;
    p->open--;
    if (slot->trait)
        p->session = (p->session | slot->trait->sets) & ~slot->trait->clears;
    falkor__error_clear(&request->error);
    if (error) {
        request->error = *error;
        falkor_result_free(slot->reply);
        request->error.maybe_executed = slot->maybe;
    } else {
        request->result = slot->reply;
    }
    slot->reply = NULL;
    request->error.attempts = p->attempt;
}

/* A whole reply. Names that a read lacks, and a version that is not the
   graph's, leave the request open, and so do names that a write has added: it
   has run, and they are read behind the round. */
static void falkor__answer(falkor__pipeline *p, size_t i) {
    falkor__pending *slot = &p->slots[i];
    falkor_error own;
    size_t length;
    uint32_t version;
    const char *text = falkor__reply_error(slot->reply, &length);
    bool mismatch = falkor__reply_mismatch(slot->reply, &version);
    bool unresolved = falkor__reply_unresolved(slot->reply) > 0;
    falkor__error_clear(&own);
    if (!slot->trait && (mismatch || (unresolved && falkor__reads(p, i)))) {
        slot->phase = FALKOR__PHASE_REPLIED;
        falkor__names_drop(&p->requests[i].graph->names, slot->schema,
                           mismatch ? &version : NULL);
    } else if (text) {
        bool script = slot->trait && slot->trait->scripted &&
            strncmp(text, "NOSCRIPT ", 9) != 0;
        slot->maybe = slot->maybe || (!falkor__reads(p, i) &&
            (script || falkor__lets_run(text)));
        falkor__fail_text(&own, falkor__classify(text, length), 0, text);
        falkor__pipeline_settle(p, i, &own);
    } else if (!unresolved) {
        falkor__pipeline_settle(p, i, NULL);
    }
}

/* The names that a write has added, read behind the round. That another client
   has replaced the graph is its own misfortune; all else ends the round. */
static falkor_status falkor__answer_names(falkor__pipeline *p, size_t i,
                                          falkor__link *link,
                                          falkor_error *error) {
    falkor__pending *slot = &p->slots[i];
    falkor_graph *graph = p->requests[i].graph;
    falkor_error own;
    struct iovec text = {p->prepared.text + slot->begin,
                         slot->end - slot->begin};
    falkor__question question = falkor__question_of(&p->call, graph, link);
    falkor__error_clear(&own);
    falkor_status status = falkor__names_after(&graph->names, link, &question,
        slot->schema, slot->reply, &text, 1, &own);
    falkor__names_drop(&graph->names, slot->schema, NULL);
    if (status == FALKOR_ERR_STALE && falkor__changed_nothing(slot->reply)) {
        slot->phase = FALKOR__PHASE_REPLIED;
        return FALKOR_OK;               /* open: it is asked again */
    }
    slot->maybe = slot->maybe || status;
    falkor__pipeline_settle(p, i, status ? &own : NULL);
    if (status && status != FALKOR_ERR_STALE)
        *error = own;
    return status != FALKOR_ERR_STALE ? status : FALKOR_OK;
}

/* ---- rounds ----------------------------------------------------------- */

static void falkor__forget_round(falkor__pending *slot) {
    falkor_result_free(slot->reply);
    slot->reply = NULL;
    falkor__schema_release(slot->schema);
    slot->schema = NULL;
    slot->phase = FALKOR__PHASE_UNSENT;
    slot->now = false;
}

/* Chooses the next round's requests, the first of them at *first. Says whether
   they are queries. */
static bool falkor__choose(falkor__pipeline *p, size_t *first) {
    size_t chosen = 0;
    bool queries = false, full = false;
    *first = 0;
    for (size_t i = 0; i < p->count; i++) {
        falkor__pending *slot = &p->slots[i];
        if (!slot->open)
            continue;
        falkor__forget_round(slot);
        if (chosen == 0) {
            *first = i;
            queries = !slot->trait;
        }
        full = full || !slot->trait != queries ||
               (queries && chosen == p->window);
        slot->now = !full;
        chosen += !full;
    }
    return queries;
}

/* The names that a request of the same graph goes with in this round. */
static falkor__schema *falkor__round_schema(const falkor__pipeline *p,
                                            size_t first, size_t i) {
    for (size_t k = i; k-- > first;)
        if (p->slots[k].now && p->slots[k].schema &&
            p->requests[k].graph == p->requests[i].graph)
            return falkor__schema_retain(p->slots[k].schema);
    return NULL;
}

/* Whether a round ends before this request, for its graph has no names yet: the
   server remembers for some queries only that it is the same graph, and what a
   read has asked is not enough for a write. */
static bool falkor__is_full(const falkor__pipeline *p, size_t first, size_t i,
                            size_t replies) {
    const falkor__schema *schema = p->slots[i].schema;
    if (!schema || schema->counts[FALKOR__LABELS] ||
        schema->counts[FALKOR__TYPES] || schema->counts[FALKOR__KEYS])
        return false;
    while (first < i && (!p->slots[first].now ||
                         p->requests[first].graph != p->requests[i].graph))
        first++;
    return replies >= FALKOR__FIRST_WINDOW ||
           (falkor__reads(p, first) && !falkor__reads(p, i));
}

/* Names and a place for the reply. A server's refusal is the request's own
   answer. */
static falkor_status falkor__ready_slot(falkor__pipeline *p, size_t first,
                                        size_t i, falkor__link *link,
                                        falkor_error *error) {
    falkor__pending *slot = &p->slots[i];
    falkor_graph *graph = p->requests[i].graph;
    if (graph)
        slot->schema = falkor__round_schema(p, first, i);
    if (graph && !slot->schema) {
        bool refused;
        falkor__question question = falkor__question_of(&p->call, graph, link);
        question.read_only = falkor__reads(p, i);
        falkor_status status = falkor__names_get(&graph->names, link,
            &question, &slot->schema, &refused, error);
        if (refused)
            falkor__pipeline_settle(p, i, error);
        if (status)
            return refused ? FALKOR_OK : status;
    }
    slot->reply = falkor__reply_in(p->prepared.heap, graph
        ? FALKOR__REPLY_QUERY : FALKOR__REPLY_PLAIN, slot->schema);
    return slot->reply ? FALKOR_OK
        : falkor__no_memory(error, "out of memory for a result");
}

/* Gets the round ready, and its text. Returns how many replies are due. */
static falkor_status falkor__ready(falkor__pipeline *p, size_t first,
                                   falkor__link *link, size_t *replies,
                                   falkor_error *error) {
    falkor__buffer *text = &p->call.head;
    falkor_status status = FALKOR_OK;
    bool full = false;
    text->length = *replies = 0;
    for (size_t i = first; i < p->count && !status; i++) {
        falkor__pending *slot = &p->slots[i];
        char version[FALKOR__NUMBER_SIZE], *end = version + sizeof version;
        if (!slot->open || !slot->now)
            continue;
        if (full) {
            slot->now = false;
            continue;
        }
        status = falkor__ready_slot(p, first, i, link, error);
        full = falkor__is_full(p, first, i, *replies);
        slot->now = !full;
        if (status || !slot->open || full)
            continue;
        falkor__buffer_add(text, p->prepared.text + slot->begin,
                           slot->end - slot->begin);
        if (slot->schema) {
            char *at = falkor__argument_before(end, slot->schema->version);
            falkor__buffer_add(text, at, (size_t)(end - at));
        } else {
            falkor__link_mark(link, slot->trait->sets, 0);
        }
        slot->sent_end = text->length;
        ++*replies;
    }
    return !status && text->failed ? falkor__no_memory(error,
        "out of memory for the requests") : status;
}

/* A request of which the last byte has not left has certainly not run. */
static void falkor__note_sent(falkor__pipeline *p, size_t first, size_t sent) {
    for (size_t i = first; i < p->count; i++)
        if (p->slots[i].open && p->slots[i].now &&
            p->slots[i].sent_end <= sent)
            p->slots[i].phase = FALKOR__PHASE_SENT;
}

/* Reads the replies to what was sent, in order. Those that came before a
   failure count; what commands behind it have done to graphs is not known. */
static falkor_status falkor__read_round(falkor__pipeline *p, size_t first,
                                        falkor__link *link, int64_t until_ns,
                                        falkor_error *error) {
    falkor_status status = FALKOR_OK;
    for (size_t i = first; i < p->count; i++) {
        falkor__pending *slot = &p->slots[i];
        if (!slot->open || slot->phase != FALKOR__PHASE_SENT)
            continue;
        if (!status)
            status = falkor__link_read(link, slot->reply, until_ns, error);
        if (slot->trait)
            falkor__note_replaced(&p->call, slot->trait);
        if (status)
            continue;
        if (slot->trait)
            falkor__trait_apply(slot->trait, link, slot->reply,
                                slot->trait->sets);
        falkor__answer(p, i);
    }
    return status;
}

/* Sends a round, and reads the replies. */
static falkor_status falkor__round(falkor__pipeline *p, falkor__link *link,
                                   falkor_error *error) {
    falkor_error late;
    size_t first, sent, replies = 0;
    int64_t until_ns = p->call.use_until_ns;
    bool queries = falkor__choose(p, &first);
    falkor_status status = falkor__check_session(queries, link, error);
    if (!status)
        status = falkor__ready(p, first, link, &replies, error);
    if (status || !replies)
        return status;
    struct iovec piece = {p->call.head.text, p->call.head.length};
    status = falkor__link_send(link, &piece, 1, replies, until_ns, &sent,
                               error);
    falkor__note_sent(p, first, sent);
    if (sent)
        p->call.phase = status ? FALKOR__PHASE_PART : FALKOR__PHASE_SENT;
    if (status) {
        falkor__read_round(p, first, link, falkor_now_ns(), &late);
        return status;
    }
    status = falkor__read_round(p, first, link, until_ns, error);
    for (size_t i = first; i < p->count && !status; i++)
        if (p->slots[i].open && p->slots[i].phase == FALKOR__PHASE_SENT)
            status = falkor__answer_names(p, i, link, error);
    return status;
}

/* Where each request adds names those behind it wait for newer ones, round by
   round: then not all of them are sent each time. */
static size_t falkor__next_window(const falkor__pipeline *p, size_t settled) {
    for (size_t i = 0; i < p->count; i++)
        if (p->slots[i].open && p->slots[i].now)
            return 2 * settled > FALKOR__LEAST_WINDOW ? 2 * settled
                                                      : FALKOR__LEAST_WINDOW;
    return p->count;
}

static falkor_status falkor__rounds(falkor__pipeline *p, falkor__link *link,
                                    falkor_error *error) {
    falkor_status status = FALKOR_OK;
    p->window = p->count;
    for (int idle = 0; !status && p->open > 0; idle++) {
        size_t before = p->open;
        if (idle == FALKOR__IDLE_ROUNDS)
            return falkor__fail(error, FALKOR_ERR_STALE, 0, "names change "
                "faster than they can be read: %zu requests were not carried "
                "out", p->open);
        status = falkor__round(p, link, error);
        if (p->open < before) {
            p->window = falkor__next_window(p, before - p->open);
            idle = 0;
        }
    }
    return status;
}

/* After a failed round: whether all that is open may be sent again, on another
   connection. What is in doubt is noted. */
static bool falkor__all_repeatable(falkor__pipeline *p) {
    bool all = p->session == 0;
    p->call.harmless = true;
    for (size_t i = 0; i < p->count; i++) {
        falkor__pending *slot = &p->slots[i];
        if (!slot->open || slot->phase != FALKOR__PHASE_SENT)
            continue;
        slot->maybe = slot->maybe || !falkor__reads(p, i);
        p->call.harmless = p->call.harmless && falkor__reads(p, i);
        all = all && falkor__repeatable(p, i);
    }
    return all;
}

static falkor_status falkor__attempt_pipeline(falkor__call *call,
                                              falkor_error *error) {
    falkor__pipeline *p = (falkor__pipeline *)(void *)
        ((char *)call - offsetof(falkor__pipeline, call));
    size_t open = p->open;
    p->attempt++;
    call->phase = FALKOR__PHASE_UNSENT;
    for (size_t i = 0; i < p->count; i++)
        if (p->slots[i].open)
            falkor__forget_round(&p->slots[i]);
    falkor_status status = falkor__call_acquire(call, error);
    if (status)
        return status;
    falkor__link *link = falkor__conn_link(call->pool, call->conn);
    status = falkor__use_deadline(call, error);
    if (!status)
        status = falkor__rounds(p, link, error);
    if (status == FALKOR_ERR_TIMEOUT)
        falkor__name_timeout(call, error);
    if (p->open < open) {
        falkor__pool_answered(call->pool);
        call->phase = FALKOR__PHASE_BEGUN;
    }
    falkor__note_outcome(call, status, error);
    call->options.idempotent = falkor__all_repeatable(p);
    falkor__give_back(call);
    return status;
}

/* ---- the call --------------------------------------------------------- */

/* Whatever has no answer of its own has the call's; and the call has that of
   the first request that failed. Each counts as a query. */
static falkor_status falkor__share_out(falkor__pipeline *p,
                                       falkor_status status,
                                       falkor_error *error) {
    falkor_error whole = *error;
    bool maybe = false, failed = false;
    for (size_t i = 0; i < p->count; i++) {
        falkor_error *own = &p->requests[i].error;
        bool unanswered = p->slots[i].open;
        if (unanswered)
            falkor__pipeline_settle(p, i, &whole);
        maybe = maybe || own->maybe_executed;
        falkor__call_count(&p->call, own->status);
        if (own->status && !failed && !unanswered)
            status = falkor__fail(error, own->status, own->sys_errno,
                "requests[%zu] of %zu: %s", i, p->count, own->message);
        failed = failed || own->status;
    }
    error->maybe_executed = maybe;
    falkor__trace_end(&p->call, status, 0);
    return status;
}

static void falkor__pipeline_end(falkor__pipeline *p) {
    for (size_t i = 0; p->slots && i < p->count; i++)
        falkor__forget_round(&p->slots[i]);
    falkor__give(p->prepared.heap, p->slots);
    falkor__buffer_end(&p->prepared);
}

/* Makes a pipeline of requests, whose call is to be ended, and then itself.
   false: no memory. */
static bool falkor__pipeline_begin(falkor__pipeline *p, falkor_pool *pool,
                                   const falkor_call_options *options,
                                   falkor_request *requests, size_t count) {
    p->requests = requests;
    p->count = p->open = count;
    p->idempotent = options && options->idempotent;
    p->read_only = options && options->read_only;
    p->session = 0;
    p->attempt = 0;
    falkor__call_begin(&p->call, pool, options);
    p->call.attempt = falkor__attempt_pipeline;
    p->call.options.read_only = false;  /* each request says it for itself */
    falkor__buffer_begin(&p->prepared);
    p->prepared.heap = p->call.head.heap;
    p->slots = falkor__take_zero(p->prepared.heap, count, sizeof *p->slots);
    return p->slots;
}

/* What no attempt would mend; then all texts are there. */
static falkor_status falkor__pipeline_prepare(falkor__pipeline *p,
                                              falkor_error *error) {
    falkor_status status = falkor__call_check(&p->call, error);
    if (!status && p->call.options.wait_replicas)
        status = falkor__refuse(error, "wait_replicas is not for pipelines: "
            "let the command WAIT be the last request");
    return status ? status : falkor__prepare(p, error);
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
falkor_status falkor__pipeline_check(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error) {
    falkor__pipeline p;
    falkor_status status = !falkor__pipeline_begin(&p, pool, options, requests,
                                                   count)
        ? falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                       "out of memory for %zu requests", count)
        : falkor__pipeline_prepare(&p, error);
    falkor__pipeline_end(&p);
    falkor__call_end(&p.call);
    return status;
}
#endif

falkor_status falkor_pipeline(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error) {
    falkor_error own;
    falkor__pipeline p;
    if (!error)
        error = &own;
    for (size_t i = 0; requests && i < count; i++) {
        requests[i].result = NULL;
        falkor__error_clear(&requests[i].error);
    }
    falkor_status status = falkor__enter(pool, "pool",
        requests || !count ? "" : NULL, NULL, error);
    if (!count || !requests)
        return status;
#ifndef FALKOR_WITHOUT_TOPOLOGY
    if (!status && falkor__pool_front(pool))
        return falkor__pipeline_across(pool, options, requests, count, error);
#endif
    bool begun = !status && falkor__pipeline_begin(&p, pool, options, requests,
                                                   count);
    if (!status && !begun)
        status = falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                              "out of memory for %zu requests", count);
    for (size_t i = 0; status && i < count; i++)
        requests[i].error = *error;
    if (status) {
        if (pool)
            falkor__call_end(&p.call);
        return status;
    }
    falkor__trace_begin(&p.call, "PIPELINE", 8);
    status = falkor__pipeline_prepare(&p, error);
    for (size_t i = 0; i < count; i++)
        p.slots[i].open = true;
    if (!status)
        status = falkor__call_run(&p.call, error);
    status = falkor__share_out(&p, status, error);
    falkor__pipeline_end(&p);
    falkor__call_end(&p.call);
    return status;
}
#endif
