/* FalkorDB calls: encode the request, acquire, send, decode, release, hand the
   result back; and the one loop that retries. Everything a query needs stands
   in a call on the caller's stack. Knows the pool by its functions only, and
   decides nothing about retries itself: retry.c does. */
#include "call.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Rounds of one attempt, with newer names; the first of them, of a query that
   may only read and of others, with names of one version. */
#define FALKOR__NAME_ROUNDS 10
#define FALKOR__HELD_ROUNDS 40          /* as many as four attempts make */
#define FALKOR__CHECKED_READS 2
#define FALKOR__CHECKED_WRITES 6
#define FALKOR__READ_ROUNDS 4

/* ---- one attempt ------------------------------------------------------ */

static const falkor__trait falkor__traits[] = {
    {"MULTI", FALKOR__SESSION_MULTI, 0, false, false},
    {"WATCH", FALKOR__SESSION_WATCH, 0, false, false},
    {"UNWATCH", 0, FALKOR__SESSION_WATCH, false, false},
    {"DISCARD", 0, FALKOR__SESSION_TRANSACTION, false, false},
    {"EXEC", 0, FALKOR__SESSION_TRANSACTION, false, true},
    {"EVAL", 0, 0, true, true},
    {"EVALSHA", 0, 0, true, true},
    {"FCALL", 0, 0, true, true},
    {"ASKING", FALKOR__SESSION_OTHER, 0, false, false},
    {"AUTH", FALKOR__SESSION_OTHER, 0, false, false},
    {"CLIENT", FALKOR__SESSION_OTHER, 0, false, false},
    {"HELLO", FALKOR__SESSION_OTHER, 0, false, false},
    {"MONITOR", FALKOR__SESSION_PUSHED, 0, false, false},
    {"PSUBSCRIBE", FALKOR__SESSION_PUSHED, 0, false, false},
    {"PSYNC", FALKOR__SESSION_PUSHED, 0, false, false},
    {"PUNSUBSCRIBE", FALKOR__SESSION_PUSHED, 0, false, false},
    {"QUIT", FALKOR__SESSION_OTHER, 0, false, false},
    {"READONLY", FALKOR__SESSION_OTHER, 0, false, false},
    {"READWRITE", FALKOR__SESSION_OTHER, 0, false, false},
    {"REPLCONF", FALKOR__SESSION_PUSHED, 0, false, false},
    {"RESET", FALKOR__SESSION_OTHER, 0, false, false},
    {"SCRIPT", FALKOR__SESSION_OTHER, 0, false, false},     /* SCRIPT DEBUG */
    {"SELECT", FALKOR__SESSION_OTHER, 0, false, false},
    {"SSUBSCRIBE", FALKOR__SESSION_PUSHED, 0, false, false},
    {"SUBSCRIBE", FALKOR__SESSION_PUSHED, 0, false, false},
    {"SUNSUBSCRIBE", FALKOR__SESSION_PUSHED, 0, false, false},
    {"SYNC", FALKOR__SESSION_PUSHED, 0, false, false},
    {"UNSUBSCRIBE", FALKOR__SESSION_PUSHED, 0, false, false},
    {"COPY", 0, 0, false, true},
    {"DEL", 0, 0, false, true},
    {"FLUSHALL", 0, 0, false, true},
    {"FLUSHDB", 0, 0, false, true},
    {"GRAPH.COPY", 0, 0, false, true},
    {"GRAPH.DELETE", 0, 0, false, true},
    {"MOVE", 0, 0, false, true},
    {"RENAME", 0, 0, false, true},
    {"RENAMENX", 0, 0, false, true},
    {"DEBUG", 0, 0, false, true},               /* DEBUG RELOAD */
    {"REPLICAOF", 0, 0, false, true},
    {"RESTORE", 0, 0, false, true},
    {"SLAVEOF", 0, 0, false, true},
    {"SWAPDB", 0, 0, false, true},
    {"UNLINK", 0, 0, false, true},
};
static const falkor__trait falkor__no_trait;

static bool falkor__says(const char *text, size_t length, const char *word) {
    return strlen(word) == length && strncasecmp(word, text, length) == 0;
}

const falkor__trait *falkor__trait_of(const char *command, size_t length) {
    size_t rows = sizeof falkor__traits / sizeof *falkor__traits;
    for (size_t i = 0; i < rows; i++)
        if (falkor__says(command, length, falkor__traits[i].command))
            return &falkor__traits[i];
    return &falkor__no_trait;
}

/* When the whole call must be over. */
static int64_t falkor__call_deadline(const falkor__call *call) {
    const falkor__config *config = falkor__pool_config(call->pool);
    int64_t own_ms = call->options.timeout_ms;
    int64_t wait_ms = config->pool_timeout_ms;
    int64_t use_ms = config->socket_timeout_ms;
    if (own_ms < 0 || (!own_ms && (wait_ms < 0 || use_ms < 0)))
        return FALKOR__NEVER;
    return call->began_ns +
        (own_ms ? own_ms : wait_ms + use_ms) * FALKOR__NS_PER_MS;
}

/* When one attempt's use of a connection must be over. Nothing is sent when
   that is now: a write would run for nobody. */
falkor_status falkor__use_deadline(falkor__call *call, falkor_error *error) {
    int timeout_ms = falkor__pool_config(call->pool)->socket_timeout_ms;
    int64_t now = falkor_now_ns();
    call->use_until_ns = call->deadline_ns;
    if (call->conn && !call->options.conn)
        falkor__conn_begin(call->conn, now);
    if (now >= call->deadline_ns)
        return falkor__fail(error, FALKOR_ERR_POOL_TIMEOUT, ETIMEDOUT,
            "time ended before the query was sent");
    if (!call->options.timeout_ms && timeout_ms >= 0 &&
        now + timeout_ms * FALKOR__NS_PER_MS < call->use_until_ns)
        call->use_until_ns = now + timeout_ms * FALKOR__NS_PER_MS;
    return FALKOR_OK;
}

/* Turns the server's error reply into the call's status. Of a script it proves
   nothing: the reply is the script's own, and it may have written before. Nor
   does one that lets the query run. */
static falkor_status falkor__refused(falkor__call *call, falkor_error *error) {
    size_t length;
    uint32_t version;
    const char *text = falkor__reply_error(call->reply, &length);
    if (!text)
        return FALKOR_OK;
    if (!falkor__lets_run(text) &&
        (!call->trait->scripted || strncmp(text, "NOSCRIPT ", 9) == 0))
        call->phase = FALKOR__PHASE_REPLIED;
    if (!call->graph || !falkor__reply_mismatch(call->reply, &version))
        return falkor__fail_text(error, falkor__classify(text, length), 0,
                                 text);
    call->again = true;
    falkor__names_drop(&call->graph->names, call->schema, &version);
    return falkor__fail(error, FALKOR_ERR_STALE, 0, "the names in graph "
        "\"%s\" change faster than they can be read: nothing was done",
        call->graph->name);
}

falkor__question falkor__question_of(const falkor__call *call,
                                     const falkor_graph *graph,
                                     const falkor__link *link) {
    falkor__client *client = falkor__client_of(call->pool);
    return (falkor__question){.graph = graph->name,
        .read_only = call->options.read_only,
        .shared = !(falkor__link_marks(link) & FALKOR__SESSION_OTHER),
        .epoch = atomic_load_explicit(&client->epoch, memory_order_acquire),
        .rounds = FALKOR__READ_ROUNDS,
        .deadline_ns = call->use_until_ns};
}

bool falkor__changed_nothing(const falkor_result *reply) {
    const falkor_summary *s = &reply->summary;
    return !(s->nodes_created || s->nodes_deleted || s->edges_created ||
             s->edges_deleted || s->labels_added || s->labels_removed ||
             s->properties_set || s->properties_removed ||
             s->indices_created || s->indices_deleted ||
             s->constraints_created || s->constraints_deleted);
}

/* Names that the reply has and our snapshot had not, or a snapshot of no
   version. A read's were added by someone else after the version was compared:
   reading again, with newer names, is certain to be right. A write's own names
   are read behind it; it is only done again when it has done nothing. */
static falkor_status falkor__complete_names(falkor__call *call,
                                            falkor__link *link,
                                            falkor_error *error) {
    falkor__names *names = &call->graph->names;
    bool checked = call->schema->version != FALKOR__ANY_VERSION;
    if (checked && !falkor__reply_unresolved(call->reply))
        return FALKOR_OK;
    falkor__names_drop(names, call->schema, NULL);
    falkor_status status = FALKOR_ERR_STALE;
    if (!checked || !call->options.read_only) {
        falkor__question question = falkor__question_of(call, call->graph,
                                                        link);
        status = falkor__names_after(names, link, &question, call->schema,
            call->reply, call->pieces, call->piece_count, error);
    }
    if (status != FALKOR_ERR_STALE)
        return status;
    call->again = call->options.read_only ||
                  falkor__changed_nothing(call->reply);
    return !call->again ? status
        : falkor__fail(error, FALKOR_ERR_STALE, 0, "the names in graph \"%s\" "
            "change faster than they can be read", call->graph->name);
}

/* The first of the rows that arrive: behind it nothing could be asked again. */
static falkor_status falkor__check_first(falkor__call *call,
                                         falkor_error *error) {
    if (!falkor__reply_unresolved(call->reply))
        return FALKOR_OK;
    falkor__names_drop(&call->graph->names, call->schema, NULL);
    return falkor__fail(error, FALKOR_ERR_STALE, 0, "graph \"%s\" was changed "
        "before its first row was read", call->graph->name);
}

/* The request's last piece, which each attempt writes anew. */
static struct iovec falkor__write_end(falkor__call *call) {
    static const char word[] = "$7\r\nTIMEOUT\r\n";
    char *end = call->version + FALKOR__VERSION_SIZE, *at = end;
    if (call->options.server_timeout_ms == FALKOR_TIME_LEFT) {
        int left_ms = falkor__poll_ms(call->use_until_ns);  /* -1: for ever */
        at = falkor__argument_before(at, left_ms < 0 ? 0
            : left_ms > 1 ? (unsigned)left_ms : 1);
        at -= sizeof word - 1;
        memcpy(at, word, sizeof word - 1);
    }
    at = falkor__argument_before(at, call->schema->version);
    return (struct iovec){at, (size_t)(end - at)};
}

/* A place for the reply; the names that it is read with, and their version
   into the request. */
static falkor_status falkor__expect_reply(falkor__call *call,
                                          falkor__link *link, bool checked,
                                          falkor_error *error) {
    bool refused = false;
    falkor_status status = FALKOR_OK;
    falkor_result_free(call->reply);
    call->reply = NULL;
    falkor__schema_release(call->schema);
    call->schema = NULL;
    call->phase = FALKOR__PHASE_UNSENT;
    if (call->graph) {
        falkor__question question = falkor__question_of(call, call->graph,
                                                        link);
        status = checked
            ? falkor__names_get(&call->graph->names, link, &question,
                                &call->schema, &refused, error)
            : falkor__names_unchecked(link, &question, &call->schema, &refused,
                                      error);
        call->again = status == FALKOR_ERR_STALE;
    }
    if (refused)
        call->phase = FALKOR__PHASE_REPLIED;
    if (status)
        return status;
    if (call->graph)
        call->pieces[call->piece_count - 1] = falkor__write_end(call);
    call->reply = falkor__reply_in(call->head.heap, call->kind, call->schema);
    return call->reply ? FALKOR_OK
        : falkor__no_memory(error, "out of memory for a result");
}

/* A reply that was refused changes nothing but for EXEC, which ends its
   transaction when it aborts; where in doubt, the marks stay, which costs a
   connection. */
void falkor__trait_apply(const falkor__trait *trait, falkor__link *link,
                         const falkor_result *reply, unsigned before) {
    size_t length;
    const char *text = falkor__reply_error(reply, &length);
    bool ends = trait->clears & FALKOR__SESSION_MULTI;
    if (!text)
        falkor__link_mark(link, trait->sets, trait->clears);
    else if (ends && strncmp(text, "EXECABORT", 9) == 0)
        falkor__link_mark(link, 0, trait->clears);
    else if (ends && strstr(text, " without MULTI"))
        falkor__link_mark(link, 0, FALKOR__SESSION_MULTI);
    else if (trait->sets == FALKOR__SESSION_MULTI)
        falkor__link_mark(link, 0, trait->sets & ~before);
}

void falkor__note_replaced(falkor__call *call, const falkor__trait *trait) {
    if (!trait->replaces)
        return;
    atomic_fetch_add_explicit(&falkor__client_of(call->pool)->epoch, 1,
                              memory_order_release);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__topology_of(call);
    falkor__node_state state;
    for (size_t i = 0; topology &&
                       falkor__topology_state(topology, i, &state); i++)
        atomic_fetch_add_explicit(&falkor__client_of(state.pool)->epoch, 1,
                                  memory_order_release);
#endif
}

/* ---- replicas that have it ---------------------------------------------- */

#define FALKOR__ALL_COPIES_MS 250
#define FALKOR__FEW_COPIES_MS 1000      /* where fewer replicas are known than
                                           are wanted */

/* How long the server is to wait: a quarter of the time that is left, though no
   more than a second, is for its answer to come; it looks at its clock ten
   times a second. */
static int falkor__copies_ms(const falkor__call *call) {
    int left_ms = falkor__poll_ms(call->use_until_ns);
    int margin_ms = left_ms >= 4000 ? 1000 : left_ms >= 1000 ? left_ms / 4
        : left_ms >= 500 ? 250 : left_ms / 2;
    return left_ms < 0 ? 0 : left_ms - margin_ms > 1 ? left_ms - margin_ms : 1;
}

static void falkor__write_wait(falkor__buffer *text, int replicas, int ms) {
    char count[16], time[16];
    snprintf(count, sizeof count, "%d", replicas);
    snprintf(time, sizeof time, "%d", ms);
    falkor__buffer_command(text, 3, (const char *[]){"WAIT", count, time},
                           NULL);
}

/* WAIT behind the request; with several servers first, for a moment, for all
   replicas, and ROLE at last: see falkor__topology_stands. Returns the number
   of replies. */
static size_t falkor__write_waits(const falkor__call *call,
                                  falkor__buffer *text) {
    int wanted = call->options.wait_replicas, ms = falkor__copies_ms(call);
    size_t replies = 1;
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__topology_of(call);
    bool well = false;
    int all = topology ? falkor__topology_replicas(topology, &call->route,
                                                   &well) : wanted;
    if (all < wanted && (ms == 0 || ms > FALKOR__FEW_COPIES_MS))
        ms = FALKOR__FEW_COPIES_MS;
    if (all > wanted && well) {
        int first_ms = ms == 0 || ms / 2 > FALKOR__ALL_COPIES_MS
            ? FALKOR__ALL_COPIES_MS : ms / 2 + 1;
        falkor__write_wait(text, all, first_ms);
        ms -= ms > first_ms ? first_ms : 0;
        replies++;
    }
#endif
    falkor__write_wait(text, wanted, ms);
    if (falkor__topology_of(call)) {
        falkor__buffer_command(text, 1, (const char *[]){"ROLE"}, NULL);
        replies++;
    }
    return replies;
}

/* Reads what the server says of replicas, though it is of no use when the write
   was refused. A link that fails here is broken, and says nothing. */
static void falkor__read_copies(falkor__call *call, falkor__link *link) {
    bool asks = falkor__link_asks(link);
    falkor_status status = FALKOR_OK;
    call->copies = -1;
    falkor__link_ask_for(link, false);
    for (size_t i = 0; i < call->waits && !status; i++) {
        falkor_result *reply = falkor__reply_in(call->head.heap,
                                                FALKOR__REPLY_PLAIN, NULL);
        if (!reply)
            break;
        status = falkor__link_read(link, reply, call->use_until_ns, NULL);
        const falkor_value *value = falkor_result_value(reply, 0, 0);
        if (!status && value && value->type == FALKOR_INTEGER &&
            value->as.integer > call->copies)
            call->copies = value->as.integer;
        falkor_result_free(call->role);
        call->role = reply;
    }
    falkor__link_ask_for(link, asks);
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* ["master", offset, [replica, ...]]; NULL: it is something else. */
static const falkor_value *falkor__replicas_of(const falkor_result *role) {
    const falkor_value *value = falkor_result_value(role, 0, 0);
    return value && value->type == FALKOR_ARRAY && value->length == 3 &&
        value->as.items[2].type == FALKOR_ARRAY ? &value->as.items[2] : NULL;
}
#endif

/* Where there are too few, nobody will read what the write has returned. */
static bool falkor__enough_copies(const falkor__call *call) {
    return call->copies >= call->options.wait_replicas;
}

falkor_status falkor__fail_replaced(falkor_error *error) {
    return falkor__fail(error, FALKOR_ERR_NOT_REPLICATED, 0, "the write was "
        "applied by a primary that may have been replaced meanwhile: it can be "
        "lost");
}

/* The write is done; whether it will last. */
static falkor_status falkor__check_copies(falkor__call *call,
                                          falkor_error *error) {
    int wanted = call->options.wait_replicas;
    bool enough = falkor__enough_copies(call), stands = true;
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__topology_of(call);
    const falkor_value *replicas = falkor__replicas_of(call->role);
    if (topology)
        stands = enough
            ? falkor__topology_stands(topology, &call->route, replicas,
                                      call->copies, call->use_until_ns)
            : (replicas || !call->role) &&
              falkor__topology_leads(topology, &call->route);
#endif
    call->ended_ns = 0;                 /* it ends here, not with its use */
    if (enough && stands)
        return FALKOR_OK;
    call->phase = FALKOR__PHASE_BEGUN;  /* it has run: it is not repeated */
    if (!stands)
        return falkor__fail_replaced(error);
    if (call->copies < 0)
        return falkor__fail(error, FALKOR_ERR_NOT_REPLICATED, 0, "the write "
            "was applied, but the server did not say in time how many replicas "
            "have it (wait_replicas is %d)", wanted);
    return falkor__fail(error, FALKOR_ERR_NOT_REPLICATED, 0, "the write was "
        "applied, but in time only %lld of %d replicas (wait_replicas) had it: "
        "look whether they are up", (long long)call->copies, wanted);
}

/* Sends the request with what goes before and behind it. */
static falkor_status falkor__send_more(falkor__call *call, falkor__link *link,
                                       size_t *sent, falkor_error *error) {
    struct iovec pieces[FALKOR__PIECES];
    size_t count = 0, replies = 1;
    falkor__buffer wait;
    falkor__buffer_begin(&wait);        /* what it holds has room inside */
    if (falkor__link_asks(link)) {
        pieces[count++] = (struct iovec){(void *)(uintptr_t)FALKOR__ASKING,
                                         FALKOR__ASKING_LENGTH};
        replies++;
    }
    memcpy(pieces + count, call->pieces,
           call->piece_count * sizeof *call->pieces);
    count += call->piece_count;
    if (call->options.wait_replicas) {
        call->waits = falkor__write_waits(call, &wait);
        replies += call->waits;
        pieces[count++] = (struct iovec){wait.text, wait.length};
    }
    return falkor__link_send(link, pieces, count, replies, call->use_until_ns,
                             sent, error);
}

static falkor_status falkor__send_call(falkor__call *call, falkor__link *link,
                                       size_t *sent, falkor_error *error) {
    return call->options.wait_replicas || falkor__link_asks(link)
        ? falkor__send_more(call, link, sent, error)
        : falkor__link_send(link, call->pieces, call->piece_count, 1,
                            call->use_until_ns, sent, error);
}

/* Sends the request and reads the reply, or its begin up to the first row. A
   server may refuse a request before it has taken all of it. */
static falkor_status falkor__converse(falkor__call *call, falkor__link *link,
                                      falkor_error *error) {
    size_t sent;
    unsigned before = falkor__link_marks(link);
    falkor__link_mark(link, call->trait->sets, 0);
    falkor_status status = falkor__send_call(call, link, &sent, error);
    if (sent)
        call->phase = status ? FALKOR__PHASE_PART : FALKOR__PHASE_SENT;
    if (!status) {
        status = falkor__link_read(link, call->reply, call->use_until_ns,
                                   error);
        if ((status || !falkor__reply_done(call->reply)) &&
            falkor__reply_begun(call->reply))
            call->phase = FALKOR__PHASE_BEGUN;
        if (!status && call->options.wait_replicas)
            falkor__read_copies(call, link);
    } else if (sent && !falkor__link_read(link, call->reply, falkor_now_ns(),
                                        NULL) &&
             falkor__reply_error(call->reply, NULL)) {
        status = FALKOR_OK;
    }
    falkor__note_replaced(call, call->trait);
    if (!status)
        falkor__trait_apply(call->trait, link, call->reply, before);
    return status ? status : falkor__refused(call, error);
}

/* Which setting a time-out comes from. */
void falkor__name_timeout(const falkor__call *call, falkor_error *error) {
    int own_ms = call->options.timeout_ms;
    falkor__fail_more(error, own_ms ? " (timeout_ms is %d)"
                                    : " (socket_timeout_ms is %d)", own_ms
        ? own_ms : falkor__pool_config(call->pool)->socket_timeout_ms);
}

void falkor__note_outcome(const falkor__call *call, falkor_status status,
                          const falkor_error *error) {
    bool spoke = call->phase == FALKOR__PHASE_BEGUN;    /* slow, not silent */
    bool forgiven = status == FALKOR_ERR_TIMEOUT
        ? spoke || call->options.timeout_ms
        : status == FALKOR_ERR_IO && !error->sys_errno;  /* the link refused */
    bool answered = !status || call->phase == FALKOR__PHASE_REPLIED ||
        (call->reply && falkor__reply_error(call->reply, NULL));
    if (answered)
        falkor__pool_answered(call->pool);
    else if (falkor__counts(status, error->sys_errno) && !forgiven)
        falkor__pool_failed(call->pool, call->conn, error);
}

falkor_status falkor__check_session(bool query, const falkor__link *link,
                                    falkor_error *error) {
    if (falkor__link_marks(link) & FALKOR__SESSION_PUSHED)
        return falkor__refuse(error, "after SUBSCRIBE, MONITOR or SYNC "
            "messages come unasked: release this connection");
    if (query && falkor__link_marks(link) & FALKOR__SESSION_MULTI)
        return falkor__refuse(error, "inside MULTI a query has no result yet: "
            "send GRAPH.QUERY by falkor_command");
    return FALKOR_OK;
}

/* All that one attempt does on its connection, again at once while it is only
   our names that are old. On a held connection no other attempt follows. */
static falkor_status falkor__exchange(falkor__call *call, falkor__link *link,
                                      falkor_error *error) {
    falkor_status status = falkor__check_session(call->graph != NULL, link,
                                                 error);
    if (!status && call->options.wait_replicas &&
        falkor__link_marks(link) & FALKOR__SESSION_MULTI &&
        !(call->trait->clears & FALKOR__SESSION_MULTI))
        status = falkor__refuse(error, "wait_replicas has no effect inside "
            "MULTI: give it to EXEC");
    if (!status)
        status = falkor__use_deadline(call, error);
    if (status)
        return status;
    int rounds = call->options.conn ? FALKOR__HELD_ROUNDS
                                    : FALKOR__NAME_ROUNDS;
    for (int round = 0; round < rounds; round++) {
        bool checked = call->kind != FALKOR__REPLY_QUERY || round <
            (call->options.read_only ? FALKOR__CHECKED_READS
                                     : FALKOR__CHECKED_WRITES);
        call->again = false;
        status = falkor__expect_reply(call, link, checked, error);
        if (!status)
            status = falkor__converse(call, link, error);
        if (!status && call->graph && falkor__enough_copies(call))
            status = falkor__reply_done(call->reply)
                ? falkor__complete_names(call, link, error)
                : falkor__check_first(call, error);
        if (!call->again)
            break;
    }
    if (status == FALKOR_ERR_TIMEOUT)
        falkor__name_timeout(call, error);
    falkor__note_outcome(call, status, error);
    return status;
}

/* ---- tracing ----------------------------------------------------------- */

void falkor__trace_begin(falkor__call *call, const char *text, size_t length) {
    const falkor__config *config = falkor__pool_config(call->pool);
    call->traced = FALKOR__EVENTS &&
                   (config->tracer.begin || config->tracer.end);
    if (!falkor__traced(call))
        return;
    call->span = NULL;
    call->wait_ns = 0;
    call->times = (falkor__link_times){0};
    call->connection = 0;
    call->trace = (falkor_trace){.text = text, .length = length,
        .pool = config->name ? config->name : config->client_name,
        .graph = call->graph ? call->graph->name : NULL,
        .read_only = call->options.read_only, .began_ns = call->began_ns};
    if (config->tracer.begin)
        call->span = config->tracer.begin(config->tracer_ctx, &call->trace);
}

/* Once: behind the end of the rows, or of the call. */
void falkor__trace_end(falkor__call *call, falkor_status status, size_t rows) {
    if (!falkor__traced(call))
        return;
    const falkor__config *config = falkor__pool_config(call->pool);
    falkor_trace *trace = &call->trace;
    call->traced = false;
    trace->status = status;
    trace->attempts = call->attempts;
    trace->connection = call->connection;
    trace->rows = rows;
    trace->wait_ns = call->wait_ns;
    trace->send_ns = call->times.send_ns;
    trace->receive_ns = call->times.receive_ns;
    trace->decode_ns = call->times.decode_ns;
    trace->total_ns = falkor_now_ns() - call->began_ns;
    if (config->tracer.end)
        config->tracer.end(config->tracer_ctx, call->span, trace);
}

/* ---- attempts ---------------------------------------------------------- */

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* Where this attempt goes: to the node that the map says, or to the one that
   the held connection is of, which was found when the call began. */
static falkor_status falkor__call_route(falkor__call *call,
                                        falkor_error *error) {
    falkor__topology *topology = falkor__topology_of(call);
    if (!topology || call->options.conn)
        return FALKOR_OK;
    call->route.reads = call->named && call->options.read_only &&
                        !call->options.by_primary;
    falkor_status status = falkor__topology_route(topology, &call->route,
                                                  &call->pool, error);
    if (!status && call->named &&
        !(call->graph = falkor__twin(call->named, call->pool)))
        status = falkor__no_memory(error, "out of memory for a graph");
    return status;
}

static void falkor__call_leave(falkor__call *call) {
    if (call->route.asked && call->conn) {
        falkor__link *link = falkor__conn_link(call->pool, call->conn);
        if (link)
            falkor__link_ask_for(link, false);
    }
    if (!call->options.conn)            /* for what its failure says */
        falkor__topology_pause(&call->route);
}

/* A held connection is of one of the nodes. */
static falkor_status falkor__call_hold(falkor__call *call,
                                       falkor_error *error) {
    falkor__topology *topology = falkor__topology_of(call);
    if (!topology || !call->options.conn ||
        !falkor__topology_holds(topology, call->options.conn, &call->route,
                                &call->pool))
        return FALKOR_OK;               /* not held: that is found out */
    if (call->named && !(call->graph = falkor__twin(call->named, call->pool)))
        return falkor__no_memory(error, "out of memory for a graph");
    return FALKOR_OK;
}
#else
#define falkor__call_route(call, error) FALKOR_OK
#define falkor__call_leave(call) ((void)(call))
#define falkor__call_hold(call, error) FALKOR_OK
#endif

/* A connection, with its time taken. */
static falkor_status falkor__acquire_traced(falkor__call *call,
                                            falkor__patience *patience,
                                            falkor_error *error) {
    int64_t begin_ns = falkor_now_ns();
    falkor_status status = falkor__pool_acquire(call->pool, patience,
                                                &call->conn, error);
    call->wait_ns += falkor_now_ns() - begin_ns;
    return status;
}

/* The connection that the call is to use: the one held, or one of the pool's,
   which give_back returns. */
falkor_status falkor__call_acquire(falkor__call *call, falkor_error *error) {
    falkor__patience patience = {.may_wait = true,
        .timeout_ms = call->options.timeout_ms ? -1
            : falkor__pool_config(call->pool)->pool_timeout_ms,
        .latest_ns = call->deadline_ns};
    call->ended_ns = 0;
    call->connection = 0;
    call->conn = NULL;
    falkor_status status = falkor__call_route(call, error);
    if (status)
        return status;
    call->conn = call->options.conn;
    if (!call->conn)
        status = !falkor__traced(call)
            ? falkor__pool_acquire(call->pool, &patience, &call->conn, error)
            : falkor__acquire_traced(call, &patience, error);
    if (!status && falkor__traced(call)) {
        falkor__link *link = falkor__conn_link(call->pool, call->conn);
        call->connection = falkor__link_number(link);
        falkor__link_time(link, &call->times);
        call->timed = true;
    }
    if (!status && call->route.asked)
        falkor__link_ask_for(falkor__conn_link(call->pool, call->conn), true);
    return status;
}

void falkor__give_back(falkor__call *call) {
    falkor__link *link = FALKOR__EVENTS && call->conn && call->timed
        ? falkor__conn_link(call->pool, call->conn) : NULL;
    if (link)
        falkor__link_time(link, NULL);
    call->timed = false;
    falkor__call_leave(call);
    if (call->conn && !call->options.conn) {
        call->ended_ns = falkor_now_ns();
        falkor__conn_end(call->conn, call->ended_ns);
    }
    call->conn = NULL;
}

/* One attempt: a connection, the exchange, the connection back, unless rows
   are still to come. Whether a write lasts may take a round of asking, which
   needs no connection. */
falkor_status falkor__attempt(falkor__call *call, falkor_error *error) {
    call->phase = FALKOR__PHASE_UNSENT;
    falkor_status status = falkor__call_acquire(call, error);
    if (status)
        return status;
    status = falkor__exchange(call, falkor__conn_link(call->pool, call->conn),
                              error);
    if (status || falkor__reply_done(call->reply))
        falkor__give_back(call);
    return status || !call->options.wait_replicas ? status
        : falkor__check_copies(call, error);
}

/* ---- the loop --------------------------------------------------------- */

/* A source of its own for each thread: no lock, and no two wait alike. */
static _Thread_local uint64_t falkor__jitter_state;

void falkor__jitter_seed(uint64_t seed) {
    falkor__jitter_state = seed;
}

static double falkor__jitter(void) {
    if (!falkor__jitter_state)
        falkor__jitter_state = (uint64_t)falkor_now_ns() ^
            (uint64_t)(uintptr_t)&falkor__jitter_state;
    return falkor__random(&falkor__jitter_state);
}

/* How often this call may be repeated. */
int falkor__retries_of(const falkor__call *call) {
    int wanted = call->options.max_retries;
    if (call->options.conn || wanted < 0)
        return 0;
    return wanted ? wanted : falkor__pool_config(call->pool)->max_retries;
}

/* Whether it is safe and of use to try again after this attempt. */
static bool falkor__worth_retry(const falkor__call *call,
                                falkor_status status) {
    bool repeatable = call->options.read_only || call->options.idempotent;
    if (falkor__topology_of(call) && !call->options.conn &&
        (status == FALKOR_ERR_CIRCUIT_OPEN ||
         (call->phase == FALKOR__PHASE_REPLIED &&
          (status == FALKOR_ERR_READONLY || status == FALKOR_ERR_MOVED))))
        return true;                    /* another node may be the one soon */
    if (call->kind == FALKOR__REPLY_PLAIN && !repeatable &&
        call->phase == FALKOR__PHASE_REPLIED)
        return false;                   /* whose error it is, is not known */
    return falkor__may_retry(status, call->phase, repeatable);
}

/* Sleeps, with several servers until it is known that something has changed;
   false: the pool is closed. */
static bool falkor__call_sleep(const falkor__call *call, int64_t until_ns) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    if (falkor__topology_of(call))
        return falkor__topology_sleep(falkor__topology_of(call), &call->route,
                                      until_ns);
#endif
    return falkor__pool_sleep(call->pool, until_ns);
}

/* Whether what failed says where to go instead, at once. */
bool falkor__sent_on(falkor__call *call, falkor_status status,
                     const falkor_error *error) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__topology_of(call);
    if (topology && !call->options.conn)
        return falkor__topology_failed(topology, &call->route, status,
            call->phase == FALKOR__PHASE_REPLIED, error->message) &&
            falkor_now_ns() < call->deadline_ns;
#endif
    (void)call, (void)status, (void)error;
    return false;
}

/* Waits before the next attempt: false when there is no time for one. */
bool falkor__back_off(falkor__call *call, int attempt, int retries,
                      const falkor_error *error) {
    const falkor__config *config = falkor__pool_config(call->pool);
    falkor__policy policy = falkor__policy_of(config);
    int delay_ms = falkor__backoff_ms(&policy, attempt, falkor__jitter());
    int64_t until = falkor__deadline(delay_ms);
    if (until >= call->deadline_ns)
        return false;
    falkor__event(config, &(falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "query_retry",
        .error = error, .attempt = attempt, .delay_ms = delay_ms},
        "attempt=%d max_retries=%d delay_ms=%d", attempt, retries, delay_ms);
    if (!falkor__call_sleep(call, until))
        return false;
    falkor__count(&falkor__my_part(falkor__pool_recorder(call->pool))->retries);
    return true;
}

/* Where the server is not what the pool holds it for, what to do; where it was
   tried, how often, for how long, and how far the last attempt got. What the
   server said to the first attempt needs no more words; a driver of the
   caller's own has its own for where. */
static void falkor__explain(const falkor__call *call, falkor_status status,
                            int attempts, bool maybe, falkor_error *error) {
    const falkor__config *config = falkor__pool_config(call->pool);
    if (status == FALKOR_ERR_NOT_REPLICATED)
        return;                         /* its words are whole */
    if (status == FALKOR_ERR_MOVED && !config->in_cluster)
        falkor__fail_more(error, " (this server is of a cluster: use "
                          "falkor+cluster://)");
    else if (status == FALKOR_ERR_MOVED && call->options.conn)
        falkor__fail_more(error, " (a held connection stays with its node: "
                          "acquire from that one's pool, falkor_pool_nodes)");
    else if (status == FALKOR_ERR_READONLY && !config->is_node)
        falkor__fail_more(error, " (this server is a replica: write to its "
                          "primary, or use falkor+sentinel://)");
    bool reached = call->phase < FALKOR__PHASE_REPLIED &&
        falkor__may_retry(status, FALKOR__PHASE_UNSENT, true);
    char place[128] = "; ";
    if (!reached && attempts == 1 && !maybe)
        return;
    if (call->pool != call->whole && (status == FALKOR_ERR_CONNECT ||
                                      status == FALKOR_ERR_CIRCUIT_OPEN))
        falkor__fail_more(error, "; if it is being replaced, more max_retries "
                          "wait for that");
    falkor__fail_more(error, " (attempt %d of %d, after %.2f s%s; %s%s)",
        attempts, falkor__retries_of(call) + 1,
        (double)(falkor_now_ns() - call->began_ns) / 1e9,
        *falkor__place(config, place + 2, sizeof place - 2) ? place : "",
        falkor__phase_text(call->phase), !maybe ? ""
            : falkor__maybe_executed(status, call->phase)
            ? ", so that it may have been executed"
            : ", but an earlier attempt may have been executed");
}

/* Says in the error how it ended. */
static void falkor__conclude(falkor__call *call, falkor_status status,
                             int attempts, bool maybe, falkor_error *error) {
    if (!status)
        falkor__error_clear(error);
    else
        falkor__explain(call, status, attempts, maybe, error);
    if (status && attempts > 1)
        falkor__event(falkor__pool_config(call->pool), &(falkor__event_head){
            .level = FALKOR_EVENT_ERROR, .name = "query_failed_after_retries",
            .error = error, .attempt = attempts}, "attempts=%d", attempts);
    error->attempts = attempts;
    error->maybe_executed = status && maybe;
}

/* Attempts until it works, or must not or cannot be repeated. */
falkor_status falkor__call_run(falkor__call *call, falkor_error *error) {
    int attempt = 1, retries = falkor__retries_of(call);
    bool maybe = false;
    falkor_status status;
    while ((status = call->attempt(call, error)) != FALKOR_OK) {
        maybe = maybe || (!call->options.read_only && !call->harmless &&
                          falkor__maybe_executed(status, call->phase));
        if (falkor__sent_on(call, status, error))
            continue;
        if (attempt > retries || !falkor__worth_retry(call, status) ||
            !falkor__back_off(call, attempt, retries, error))
            break;
        attempt++;
    }
    call->attempts = attempt;
    falkor__conclude(call, status, attempt, maybe, error);
    return status;
}

/* ---- queries ---------------------------------------------------------- */

void falkor__call_begin(falkor__call *call, falkor_pool *pool,
                        const falkor_call_options *options) {
    call->pool = call->whole = pool;
    call->graph = call->named = NULL;
    call->route = (falkor__route){.slot = -1};
    call->options = options ? *options : (falkor_call_options){0};
    call->began_ns = falkor_now_ns();
    call->deadline_ns = falkor__call_deadline(call);
    call->kind = FALKOR__REPLY_QUERY;
    call->piece_count = 0;
    call->trait = &falkor__no_trait;
    call->phase = FALKOR__PHASE_UNSENT;
    call->schema_done = 0;
    call->attempt = falkor__attempt;
    call->attempts = 0;
    call->copies = 0;
    call->conn = NULL;
    call->schema = NULL;
    call->reply = call->role = NULL;
    call->again = call->harmless = false;
    call->ended_ns = 0;
    call->traced = call->timed = false;
    falkor__buffer_begin(&call->head);
    falkor__buffer_begin(&call->params);
    call->head.heap = call->params.heap = falkor__pool_config(pool)->heap;
}

void falkor__call_end(falkor__call *call) {
    falkor__give_back(call);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology_leave(&call->route);
#endif
    falkor_result_free(call->role);
    falkor_result_free(call->reply);
    falkor__schema_release(call->schema);
    falkor__buffer_end(&call->head);
    falkor__buffer_end(&call->params);
}

falkor__link *falkor__held_link(falkor_pool *pool, const falkor_conn *conn) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__route route;
    if (falkor__pool_front(pool) &&
        !falkor__topology_holds(falkor__pool_front(pool), conn, &route, &pool))
        return NULL;
#endif
    return falkor__conn_link(pool, conn);
}

/* What no attempt would mend. */
falkor_status falkor__call_check(falkor__call *call, falkor_error *error) {
    const falkor_call_options *options = &call->options;
    if (falkor__pool_config(call->pool)->driver.open)
        return falkor__refuse(error,
            "this pool has a driver of its own: queries need the built-in one");
    falkor_status status = falkor__call_hold(call, error);
    if (status)
        return status;
    if (options->wait_replicas < 0 || (options->wait_replicas &&
                                       options->read_only))
        return falkor__refuse(error, "wait_replicas is %d: %s",
            options->wait_replicas, options->read_only
                ? "nothing is written by a call that is read_only"
                : "it may not be negative");
    if (options->conn && !falkor__conn_link(call->pool, options->conn))
        return falkor__refuse(error, "options.conn is not held, or of another "
            "pool: acquire it from this one");
    if (options->timeout_ms < -1 || options->max_retries < -1 ||
        (options->server_timeout_ms < 0 &&
         options->server_timeout_ms != FALKOR_TIME_LEFT))
        return falkor__refuse(error,
            "timeout_ms %d, server_timeout_ms %d, max_retries %d: none may be "
            "negative, but -1 for ever (timeout_ms) or none (max_retries), and "
            "FALKOR_TIME_LEFT (server_timeout_ms)", options->timeout_ms,
            options->server_timeout_ms, options->max_retries);
    if (options->server_timeout_ms == FALKOR_TIME_LEFT && !call->graph)
        return falkor__refuse(error, "server_timeout_ms FALKOR_TIME_LEFT is "
            "for queries: give this one milliseconds");
    return FALKOR_OK;
}

static void falkor__add_piece(falkor__call *call, const char *text,
                              size_t length) {
    if (length)
        call->pieces[call->piece_count++] =
            (struct iovec){(void *)(uintptr_t)text, length};
}

void falkor__write_head(falkor__buffer *text, const falkor_graph *graph,
                        bool read_only, int server_timeout_ms,
                        size_t query_length) {
    static const char *const begins[][2] = {
        {"*6\r\n$11\r\nGRAPH.QUERY\r\n", "*6\r\n$14\r\nGRAPH.RO_QUERY\r\n"},
        {"*8\r\n$11\r\nGRAPH.QUERY\r\n", "*8\r\n$14\r\nGRAPH.RO_QUERY\r\n"}};
    const char *begin = begins[server_timeout_ms != 0][read_only];
    falkor__buffer_add(text, begin, strlen(begin));
    falkor__buffer_argument(text, graph->name, graph->length);
    falkor__buffer_number(text, '$', query_length);
}

void falkor__write_tail(falkor__buffer *text, int server_timeout_ms) {
    static const char option[] = "\r\n$9\r\n--compact\r\n",
        version[] = "$7\r\nVERSION\r\n";
    falkor__buffer_add(text, option, sizeof option - 1);
    if (server_timeout_ms > 0) {
        char number[FALKOR__NUMBER_SIZE], *end = number + sizeof number;
        char *at = falkor__argument_before(end, (unsigned)server_timeout_ms);
        falkor__buffer_argument(text, "TIMEOUT", 7);
        falkor__buffer_add(text, at, (size_t)(end - at));
    }
    falkor__buffer_add(text, version, sizeof version - 1);
}

/* Writes the request: what stands before the query, the parameters, the query
   where it lies, what stands behind it, and room for the version. */
static falkor_status falkor__write_query(falkor__call *call,
                                         const char *cypher,
                                         const falkor_param *params,
                                         falkor_error *error) {
    falkor__buffer *head = &call->head;
    int server_ms = call->options.server_timeout_ms;
    size_t length = strlen(cypher);
    falkor_status status = falkor__encode_params(params, &call->params,
                                                 error);
    if (status)
        return status;
    falkor__write_head(head, call->graph, call->options.read_only, server_ms,
                       call->params.length + length);
    size_t before = head->length;
    falkor__write_tail(head, server_ms);
    if (head->failed)
        return falkor__no_memory(error, "out of memory for the request");
    falkor__add_piece(call, head->text, before);
    falkor__add_piece(call, call->params.text, call->params.length);
    falkor__add_piece(call, cypher, length);
    falkor__add_piece(call, head->text + before, head->length - before);
    falkor__add_piece(call, call->version, 1);
    return FALKOR_OK;
}

/* In a cluster: whose slot tells the node. */
static void falkor__call_key(falkor__call *call, const char *key,
                             size_t length) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__topology_of(call);
    if (topology && falkor__topology_is_cluster(topology))
        call->route.slot = falkor__key_slot(key, length);
#endif
    (void)call, (void)key, (void)length;
}

falkor_status falkor__query_begin(falkor__call *call,
                                         falkor_graph *graph,
                                         const falkor_call_options *options,
                                         const char *cypher,
                                         const falkor_param *params,
                                         falkor_error *error) {
    falkor__call_begin(call, graph->pool, options);
    call->graph = call->named = graph;
    falkor__call_key(call, graph->name, graph->length);
    falkor_status status = falkor__call_check(call, error);
    return status ? status
        : falkor__write_query(call, cypher, params, error);
}

falkor_status falkor__enter(const void *object, const char *what,
                                   const void *text, falkor_result **result,
                                   falkor_error *error) {
    falkor__error_clear(error);
    if (result)
        *result = NULL;
    if (!object)
        return falkor__refuse(error,
            "the %s is NULL: was its making checked? (falkor_select_graph "
            "wants a name, here or in options.graph)", what);
    if (!text)
        return falkor__refuse(error,
            "nothing to send: the text is NULL, or argc is 0");
    return FALKOR_OK;
}

void falkor__call_count(falkor__call *call, falkor_status status) {
    falkor__recorder *recorder = falkor__pool_recorder(call->pool);
    int64_t ended_ns = call->ended_ns ? call->ended_ns : falkor_now_ns();
    falkor__record(recorder, FALKOR_LATENCY_QUERY, ended_ns - call->began_ns,
                   1);
    falkor__count(&falkor__my_part(recorder)->ends[status]);
}

falkor_status falkor__call_finish(falkor__call *call, falkor_status status,
                                  falkor_result **result) {
    falkor__call_count(call, status);
    falkor__trace_end(call, status, falkor_result_rows(call->reply));
    if (!status && result) {
        *result = call->reply;
        call->reply = NULL;
    }
    falkor__call_end(call);
    return status;
}

falkor_status falkor_query_with(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_result **result, falkor_error *error) {
    falkor_error own;
    falkor__call call;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(graph, "graph", cypher, result,
                                         error);
    if (status)
        return status;
    status = falkor__query_begin(&call, graph, options, cypher, params, error);
    falkor__trace_begin(&call, cypher, strlen(cypher));
    if (!status)
        status = falkor__call_run(&call, error);
    return falkor__call_finish(&call, status, result);
}

falkor_status falkor_query(falkor_graph *graph, const char *cypher,
    const falkor_param *params, falkor_result **result, falkor_error *error) {
    return falkor_query_with(graph, NULL, cypher, params, result, error);
}

falkor_status falkor_ro_query(falkor_graph *graph, const char *cypher,
    const falkor_param *params, falkor_result **result, falkor_error *error) {
    return falkor_query_with(graph,
        &(falkor_call_options){.read_only = true}, cypher, params, result,
        error);
}

/* ---- plain commands --------------------------------------------------- */

falkor_status falkor__write_command(falkor__call *call, size_t argc,
                                           const char *const *argv,
                                           const size_t *lengths,
                                           falkor_error *error) {
    falkor__buffer *head = &call->head;
    for (size_t i = 0; i < argc; i++)
        if (!argv[i])
            return falkor__refuse(error, "argv[%zu] is NULL", i);
    falkor__buffer_command(head, argc, argv, lengths);
    if (head->failed)
        return falkor__no_memory(error, "out of memory for the request");
    falkor__add_piece(call, head->text, head->length);
    call->trait = falkor__trait_of(argv[0],
        lengths ? lengths[0] : strlen(argv[0]));
    return FALKOR_OK;
}

falkor_status falkor__check_silence(size_t argc, const char *const *argv,
                                    const size_t *lengths,
                                    falkor_error *error) {
    static const char *const words[] = {"CLIENT", "REPLY", "ON"};
    size_t same = 0;
    while (same < 3 && same < argc &&
           falkor__says(argv[same], lengths ? lengths[same]
                        : strlen(argv[same]), words[same]))
        same++;
    return same != 2 || argc == 2 ? FALKOR_OK
        : falkor__refuse(error, "CLIENT REPLY OFF and SKIP are refused: every "
            "call here waits for its reply");
}

/* In a cluster: which node a command is for. A copy stays on one. */
static falkor_status falkor__command_key(falkor__call *call, size_t argc,
                                         const char *const *argv,
                                         const size_t *lengths,
                                         falkor_error *error) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology *topology = falkor__topology_of(call);
    if (!topology || !falkor__topology_is_cluster(topology))
        return FALKOR_OK;
    call->route.slot = falkor__command_slot(argc, argv, lengths);
    if (argc < 3 || !falkor__is_argument(argv, lengths, 0, "GRAPH.COPY"))
        return FALKOR_OK;
    size_t from = lengths ? lengths[1] : strlen(argv[1]);
    size_t to = lengths ? lengths[2] : strlen(argv[2]);
    int slot = falkor__key_slot(argv[2], to);
    if (slot != call->route.slot)
        return falkor__refuse(error, "\"%.*s\" cannot be copied to "
            "\"%.*s\": in the cluster they have slots %d and %d, which may be "
            "on two nodes; give both names the same {tag}",
            (int)(from < 99 ? from : 99), argv[1], (int)(to < 99 ? to : 99),
            argv[2], call->route.slot, slot);
#endif
    (void)call, (void)argc, (void)argv, (void)lengths, (void)error;
    return FALKOR_OK;
}

falkor_status falkor_command(falkor_pool *pool,
    const falkor_call_options *options, size_t argc, const char *const *argv,
    const size_t *lengths, falkor_result **result, falkor_error *error) {
    falkor_error own;
    falkor__call call;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(pool, "pool", argc ? argv : NULL,
                                         result, error);
    if (status)
        return status;
    falkor__call_begin(&call, pool, options);
    call.kind = FALKOR__REPLY_PLAIN;
    falkor__trace_begin(&call, argv[0], !argv[0] ? 0
        : lengths ? lengths[0] : strlen(argv[0]));
    status = falkor__call_check(&call, error);
    if (!status)
        status = falkor__write_command(&call, argc, argv, lengths, error);
    if (!status)
        status = falkor__check_silence(argc, argv, lengths, error);
    if (!status)
        status = falkor__command_key(&call, argc, argv, lengths, error);
    if (!status)
        status = falkor__call_run(&call, error);
    return falkor__call_finish(&call, status, result);
}
