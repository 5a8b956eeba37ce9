/* The names of a graph's labels, relationship types and property keys, which
   the protocol sends as positions in three lists. A snapshot of the lists is
   immutable and reference-counted: a result keeps the one it was read with.
   Asks the server on the link that the caller already holds, so that a pool of
   one connection does not wait for itself.

   What makes a snapshot right. The server hashes the names in the order in
   which they were added; every query carries the snapshot's version, and one
   that does not match the graph's is not run. A graph only adds names, so that
   one version means one set of lists, with these exceptions, found live:

   - Labels and types are not hashed when a graph is loaded or copied. A server
     that was restarted may thus have other lists under a version we know: a
     snapshot counts only on links that were there when it was read.
   - Version 0 with names in it says nothing: such a snapshot is not kept.
   - A name that the query itself adds is not in the snapshot it went with. The
     names are read again behind it, and must begin with the old ones. Between
     the two another client may have put a new graph in the old one's place. A
     mark tells: a query of unique text, which reading the names runs first.
     When the server still has its plan, it is still the same graph. Where the
     plan is gone, because of the place that the server gives to plans or
     because the graph is new, a snapshot without any names proves nothing, and
     one with names is believed.

   What the protocol leaves: the hash does not tell a label from a type or a
   key, and a copy put in the place of a copy may have the same keys and other
   labels; then names are old until anything changes the version. */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FALKOR__READ_ROUNDS 8           /* in which names change meanwhile */
#define FALKOR__MARK_SIZE 96

/* What a fetched snapshot owns beside its head: the replies that the names
   lie in. */
typedef struct falkor__fetched {
    falkor__schema schema;              /* first: a pointer to it is ours */
    falkor_result *replies[FALKOR__NAME_KINDS];
    const char **lists[FALKOR__NAME_KINDS];
    char mark[FALKOR__MARK_SIZE];
} falkor__fetched;

static const char *const falkor__name_queries[FALKOR__NAME_KINDS] = {
    [FALKOR__LABELS] = "CALL db.labels()",
    [FALKOR__TYPES] = "CALL db.relationshipTypes()",
    [FALKOR__KEYS] = "CALL db.propertyKeys()",
};

/* ---- snapshots -------------------------------------------------------- */

static void falkor__fetched_destroy(falkor__schema *schema) {
    falkor__fetched *fetched = (falkor__fetched *)schema;
    for (int kind = 0; kind < FALKOR__NAME_KINDS; kind++) {
        falkor_result_free(fetched->replies[kind]);
        free(fetched->lists[kind]);
    }
    free(fetched);
}

/* A snapshot to be filled, with a mark that no other process or thread will
   ever use. */
static falkor__fetched *falkor__fetched_new(const void *seed) {
    static atomic_uint_least64_t counter;
    falkor__fetched *fetched = calloc(1, sizeof *fetched);
    if (!fetched)
        return NULL;
    uint64_t state = (uint64_t)falkor_now_ns() ^ (uint64_t)(uintptr_t)seed;
    uint64_t random = (uint64_t)(falkor__random(&state) * 9007199254740992.0);
    snprintf(fetched->mark, sizeof fetched->mark,
        "RETURN 'falkorpool %lx %llx %llx %llx'", (unsigned long)getpid(),
        (unsigned long long)falkor_now_ns(), (unsigned long long)random,
        (unsigned long long)atomic_fetch_add_explicit(&counter, 1,
                                                      memory_order_relaxed));
    atomic_init(&fetched->schema.references, 1);
    fetched->schema.destroy = falkor__fetched_destroy;
    return fetched;
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

static bool falkor__has_names(const falkor__schema *schema) {
    return schema->counts[FALKOR__LABELS] || schema->counts[FALKOR__TYPES] ||
           schema->counts[FALKOR__KEYS];
}

/* Whether the lists of newer begin with those of older. */
static bool falkor__continues(const falkor__schema *older,
                              const falkor__schema *newer) {
    for (int kind = 0; kind < FALKOR__NAME_KINDS; kind++) {
        if (newer->counts[kind] < older->counts[kind])
            return false;
        for (size_t id = 0; id < older->counts[kind]; id++)
            if (strcmp(older->names[kind][id], newer->names[kind][id]) != 0)
                return false;
    }
    return true;
}

/* ---- reading ---------------------------------------------------------- */

/* One reading of the names, in one round trip: the mark of the new snapshot,
   the three lists, and the mark of an older one. */
enum { FALKOR__MARK, FALKOR__LISTS, FALKOR__OLD_MARK =
       FALKOR__LISTS + FALKOR__NAME_KINDS, FALKOR__MOST_QUERIES };
typedef struct falkor__reading {
    falkor__link *link;
    const falkor__question *question;
    falkor__fetched *fetched;
    const falkor__fetched *old;         /* NULL: no older one */
    uint32_t version;                   /* that we believe in */
    bool mismatch;                      /* and should not have */
    bool same_graph;                    /* as the older one's, for certain */
    bool refused;                       /* the server's error reply */
} falkor__reading;

static const char *falkor__reading_text(const falkor__reading *reading,
                                        int number) {
    return number == FALKOR__MARK ? reading->fetched->mark
        : number == FALKOR__OLD_MARK ? reading->old->mark
        : falkor__name_queries[number - FALKOR__LISTS];
}

static falkor_status falkor__reading_send(falkor__reading *reading, int count,
                                          falkor_error *error) {
    falkor__buffer text;
    char version[16];
    size_t sent;
    snprintf(version, sizeof version, "%lu", (unsigned long)reading->version);
    falkor__buffer_begin(&text);
    for (int i = 0; i < count; i++)
        falkor__buffer_command(&text, 6, (const char *[]){
            reading->question->read_only ? "GRAPH.RO_QUERY" : "GRAPH.QUERY",
            reading->question->graph, falkor__reading_text(reading, i),
            "--compact", "VERSION", version}, NULL);
    struct iovec piece = {text.text, text.length};
    falkor_status status = text.failed
        ? falkor__fail(error, FALKOR_ERR_NOMEM, 0, "out of memory for names")
        : falkor__link_send(reading->link, &piece, 1, (size_t)count,
                            reading->question->deadline_ns, &sent, error);
    falkor__buffer_end(&text);
    return status;
}

/* What one of the replies says; the reply is ours. An error of the server
   stays in error, but the replies behind it are to be read nevertheless. */
static falkor_status falkor__reading_take(falkor__reading *reading, int number,
                                          falkor_result *reply,
                                          falkor_error *error) {
    size_t length;
    uint32_t version;
    const char *refusal = falkor__reply_error(reply, &length);
    if (falkor__reply_mismatch(reply, &version)) {
        reading->mismatch = true;
        reading->version = version;
    } else if (refusal && !reading->refused) {
        reading->refused = true;
        falkor__fail(error, falkor__classify(refusal, length), 0, "%s",
                     refusal);
    } else if (!refusal && number == FALKOR__OLD_MARK) {
        reading->same_graph = reply->summary.cached;
    } else if (!refusal && number != FALKOR__MARK) {
        int kind = number - FALKOR__LISTS;
        falkor_result_free(reading->fetched->replies[kind]);
        free(reading->fetched->lists[kind]);
        reading->fetched->replies[kind] = reply;
        return falkor__list_names(reading->fetched, kind) ? FALKOR_OK
            : falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                           "out of memory for names");
    }
    falkor_result_free(reply);
    return FALKOR_OK;
}

/* One round trip. An error that is the link's or ours is returned; the
   server's own are in reading. */
static falkor_status falkor__reading_round(falkor__reading *reading,
                                           falkor_error *error) {
    int count = reading->old ? FALKOR__MOST_QUERIES : FALKOR__OLD_MARK;
    reading->mismatch = reading->refused = reading->same_graph = false;
    reading->fetched->schema.epoch = reading->question->epoch;
    reading->fetched->schema.read_ns = falkor_now_ns();
    reading->fetched->schema.version = reading->version;
    falkor_status status = falkor__reading_send(reading, count, error);
    for (int i = 0; !status && i < count; i++) {
        falkor_result *reply = falkor__reply_new(FALKOR__REPLY_QUERY, NULL,
                                                 &falkor__default_limits);
        if (!reply)
            return falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                                "out of memory for names");
        status = falkor__link_read(reading->link, reply,
                                   reading->question->deadline_ns, error);
        if (status)
            falkor_result_free(reply);
        else
            status = falkor__reading_take(reading, i, reply, error);
    }
    return status;
}

/* Reads until all is of one version. */
static falkor_status falkor__read_names(falkor__reading *reading,
                                        falkor_error *error) {
    reading->fetched = falkor__fetched_new(reading);
    falkor_status status = reading->fetched ? FALKOR_OK
        : falkor__fail(error, FALKOR_ERR_NOMEM, 0, "out of memory for names");
    reading->mismatch = true;
    for (int round = 0; !status && reading->mismatch; round++) {
        if (round == FALKOR__READ_ROUNDS)
            status = falkor__fail(error, FALKOR_ERR_STALE, 0, "the names of "
                "graph \"%s\" change faster than they can be read",
                reading->question->graph);
        else
            status = falkor__reading_round(reading, error);
        if (!status && reading->refused)
            status = error->status;
    }
    if (status && reading->fetched) {
        falkor__fetched_destroy(&reading->fetched->schema);
        reading->fetched = NULL;
    }
    return status;
}

/* ---- the newest ------------------------------------------------------- */

bool falkor__names_begin(falkor__names *names) {
    names->newest = NULL;
    names->reading = false;
    names->version = 0;
    if (!falkor__mutex_init(&names->mutex))
        return false;
    if (falkor__cond_init(&names->changed))
        return true;
    falkor__mutex_destroy(&names->mutex);
    return false;
}

void falkor__names_end(falkor__names *names) {
    falkor__schema_release(names->newest);
    falkor__cond_destroy(&names->changed);
    falkor__mutex_destroy(&names->mutex);
}

void falkor__names_lock(falkor__names *names) {
    falkor__mutex_lock(&names->mutex);
}

/* In a child nobody reads and nobody waits. */
void falkor__names_unlock(falkor__names *names, bool child) {
    if (child) {
        falkor__cond_init(&names->changed);
        names->reading = false;
    }
    falkor__mutex_unlock(&names->mutex);
}

/* Puts schema, or NULL, in the place of the newest. The mutex is held; the old
   one is to be released without it. */
static falkor__schema *falkor__names_put_locked(falkor__names *names,
                                                falkor__schema *schema) {
    falkor__schema *old = names->newest;
    names->newest = falkor__schema_retain(schema);
    return old;
}

/* Whether a link may use the newest, retained for it. */
static falkor__schema *falkor__names_usable_locked(
    falkor__names *names, const falkor__link *link,
    const falkor__question *question) {
    const falkor__schema *newest = names->newest;
    return newest && newest->epoch == question->epoch &&
           newest->read_ns >= falkor__link_since(link)
        ? falkor__schema_retain(names->newest) : NULL;
}

void falkor__names_drop(falkor__names *names, const falkor__schema *schema,
                        const uint32_t *version) {
    falkor__mutex_lock(&names->mutex);
    falkor__schema *old = NULL;
    if (version)
        names->version = *version;
    if (names->newest == schema)
        old = falkor__names_put_locked(names, NULL);
    falkor__mutex_unlock(&names->mutex);
    falkor__schema_release(old);
}

/* Takes the turn to read, or a snapshot that another thread has read in the
   meantime; NULL: it is this thread's turn, or (late) time has ended. */
static falkor__schema *falkor__names_turn(falkor__names *names,
                                          const falkor__link *link,
                                          const falkor__question *question,
                                          uint32_t *version, bool *late) {
    falkor__mutex_lock(&names->mutex);
    falkor__schema *schema;
    *late = false;
    while (!(schema = falkor__names_usable_locked(names, link, question)) &&
           names->reading && !*late)
        *late = !falkor__cond_wait(&names->changed, &names->mutex,
                                   question->deadline_ns);
    if (!schema && !*late)
        names->reading = true;
    *version = names->version;
    falkor__mutex_unlock(&names->mutex);
    return schema;
}

/* What was read becomes the newest, where it may be kept; and a turn ends. */
static void falkor__names_keep(falkor__names *names, falkor__schema *schema,
                               bool ends_turn) {
    falkor__schema *old = NULL;
    falkor__mutex_lock(&names->mutex);
    if (schema) {
        names->version = schema->version;
        old = falkor__names_put_locked(names, schema->version == 0 &&
            falkor__has_names(schema) ? NULL : schema);
    }
    if (ends_turn) {
        names->reading = false;
        falkor__cond_broadcast(&names->changed);
    }
    falkor__mutex_unlock(&names->mutex);
    falkor__schema_release(old);
}

falkor_status falkor__names_get(falkor__names *names, falkor__link *link,
                                const falkor__question *question,
                                falkor__schema **schema, bool *refused,
                                falkor_error *error) {
    falkor__reading reading = {.link = link, .question = question};
    bool late = false;
    *refused = false;
    *schema = NULL;
    if (question->shared)
        *schema = falkor__names_turn(names, link, question, &reading.version,
                                     &late);
    if (*schema)
        return FALKOR_OK;
    if (late)
        return falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT, "time ended "
            "while another thread read the names of graph \"%s\"",
            question->graph);
    falkor_status status = falkor__read_names(&reading, error);
    *refused = reading.refused;
    if (!status)
        *schema = &reading.fetched->schema;
    if (question->shared)
        falkor__names_keep(names, *schema, true);
    return status;
}

falkor_status falkor__names_after(falkor__names *names, falkor__link *link,
                                  const falkor__question *question,
                                  const falkor__schema *before,
                                  falkor__schema **schema,
                                  falkor_error *error) {
    falkor__reading reading = {.link = link, .question = question,
        .old = (const falkor__fetched *)before, .version = before->version};
    falkor_status status = falkor__read_names(&reading, error);
    *schema = NULL;
    if (status)
        return status;
    if (!falkor__continues(before, &reading.fetched->schema) ||
        (!reading.same_graph && !falkor__has_names(before))) {
        falkor__fetched_destroy(&reading.fetched->schema);
        return falkor__fail(error, FALKOR_ERR_STALE, 0, "graph \"%s\" was "
            "replaced before the names that the query added were read",
            question->graph);
    }
    *schema = &reading.fetched->schema;
    if (question->shared)
        falkor__names_keep(names, *schema, false);
    return FALKOR_OK;
}
