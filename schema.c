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
     mark tells: a query of unique text, which reading the names runs. When the
     server still has its plan, it is still the same graph. Asking puts the
     plan there, so that a mark which was once gone proves nothing any more,
     and one thread at a time asks; who would wait long does without. Without
     it a name is believed when it stands in the query's own text: who adds a
     name wrote it. A graph that is renamed keeps the mark, and lists that are
     read between RENAME away and RENAME back are another graph's: they and the
     mark must be of one version, but for names that change all the time.

   Where names change all the time, no reading of them may be of one version.
   Then a query goes unchecked: names and mark are read before it, and behind
   it again. A graph only adds names: with the mark still there all is of one
   graph, whatever its version was: unless it was renamed away and back in just
   these milliseconds, which is not seen.

   What the protocol leaves: the hash does not tell a label from a type or a
   key, and a copy put in the place of a copy may have the same keys and other
   labels; then names are old until anything changes the version. */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FALKOR__FOLLOW_MS 300
#define FALKOR__MARK_SIZE 96

/* What a fetched snapshot owns beside its head: the replies that the names
   lie in. */
typedef struct falkor__fetched {
    falkor__schema schema;              /* first: a pointer to it is ours */
    falkor_result *replies[FALKOR__NAME_KINDS];
    const char **lists[FALKOR__NAME_KINDS];
    const falkor_allocator *heap;
    char mark[FALKOR__MARK_SIZE];
    bool lost;                          /* the names' mutex: the mark proves
                                           nothing any more */
} falkor__fetched;

/* One row each: the server's RESULTSET_SIZE cuts lists of rows without a
   sign. */
static const char *const falkor__name_queries[FALKOR__NAME_KINDS] = {
    [FALKOR__LABELS] = "CALL db.labels() YIELD label RETURN collect(label)",
    [FALKOR__TYPES] = "CALL db.relationshipTypes() YIELD relationshipType "
        "RETURN collect(relationshipType)",
    [FALKOR__KEYS] = "CALL db.propertyKeys() YIELD propertyKey RETURN "
        "collect(propertyKey)",
};

/* ---- snapshots -------------------------------------------------------- */

static void falkor__fetched_destroy(falkor__schema *schema) {
    falkor__fetched *fetched = (falkor__fetched *)schema;
    for (int kind = 0; kind < FALKOR__NAME_KINDS; kind++) {
        falkor_result_free(fetched->replies[kind]);
        falkor__give(fetched->heap, fetched->lists[kind]);
    }
    falkor__give(fetched->heap, fetched);
}

/* A snapshot to be filled, with a mark that no other process or thread will
   ever use. */
static falkor__fetched *falkor__fetched_new(const void *seed,
                                            const falkor_allocator *heap) {
    static atomic_uint_least64_t counter;
    falkor__fetched *fetched = falkor__take_zero(heap, 1, sizeof *fetched);
    if (!fetched)
        return NULL;
    fetched->heap = heap;
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

/* The array that a reply has in its only cell as the list of one kind. */
static bool falkor__list_names(falkor__fetched *fetched, int kind) {
    const falkor_value *all =
        falkor_result_value(fetched->replies[kind], 0, 0);
    size_t count = all && all->type == FALKOR_ARRAY ? all->length : 0;
    const char **list = falkor__take_zero(fetched->heap, count ? count : 1,
                                          sizeof *list);
    fetched->lists[kind] = list;
    fetched->schema.names[kind] = list;
    for (size_t id = 0; list && id < count; id++) {
        const falkor_value *name = &all->as.items[id];
        list[id] = name->type == FALKOR_STRING ? name->as.string : "";
    }
    fetched->schema.counts[kind] = list ? count : 0;
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

/* One reading of the names, in one round trip: the three lists, and the mark of
   the new snapshot or of an older one. The mark is last: with one version from
   the first list to it, no name was added in between. */
enum { FALKOR__MARK = FALKOR__NAME_KINDS, FALKOR__READ_QUERIES };
typedef struct falkor__reading {
    falkor__link *link;
    const falkor__question *question;
    falkor__fetched *fetched;
    const falkor__fetched *old;         /* whose mark it is; NULL: our own */
    uint32_t version;                   /* that we believe in */
    bool mismatch;                      /* and should not have */
    bool anyhow;                        /* the last round is of no version */
    bool marked;                        /* the server had the mark */
    bool unmarked;                      /* it had not, in this round or before:
                                           since then it has */
    bool refused;                       /* the server's error reply */
} falkor__reading;

static const char *falkor__reading_text(const falkor__reading *reading,
                                        int number) {
    return number != FALKOR__MARK ? falkor__name_queries[number]
        : reading->old ? reading->old->mark : reading->fetched->mark;
}

static falkor_status falkor__reading_send(falkor__reading *reading,
                                          falkor_error *error) {
    falkor__buffer text;
    char version[16];
    size_t sent;
    snprintf(version, sizeof version, "%lu", (unsigned long)reading->version);
    falkor__buffer_begin(&text);
    text.heap = falkor__link_heap(reading->link);
    bool asks = falkor__link_asks(reading->link);
    for (int i = 0; i < FALKOR__READ_QUERIES; i++) {
        if (asks)
            falkor__buffer_add(&text, FALKOR__ASKING, FALKOR__ASKING_LENGTH);
        falkor__buffer_command(&text, 6, (const char *[]){
            reading->question->read_only ? "GRAPH.RO_QUERY" : "GRAPH.QUERY",
            reading->question->graph, falkor__reading_text(reading, i),
            "--compact", "VERSION", version}, NULL);
    }
    struct iovec piece = {text.text, text.length};
    falkor_status status = text.failed
        ? falkor__no_memory(error, "out of memory for names")
        : falkor__link_send(reading->link, &piece, 1,
                            (size_t)FALKOR__READ_QUERIES << asks,
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
        falkor__fail_text(error, falkor__classify(refusal, length), 0,
                          refusal);
    } else if (!refusal && number == FALKOR__MARK) {
        reading->marked = reply->summary.cached;
        reading->unmarked = reading->unmarked || !reading->marked;
    } else if (!refusal) {
        falkor_result_free(reading->fetched->replies[number]);
        falkor__give(reading->fetched->heap, reading->fetched->lists[number]);
        reading->fetched->replies[number] = reply;
        return falkor__list_names(reading->fetched, number) ? FALKOR_OK
            : falkor__no_memory(error, "out of memory for names");
    }
    falkor_result_free(reply);
    return FALKOR_OK;
}

/* One round trip. An error that is the link's or ours is returned; the
   server's own are in reading. */
static falkor_status falkor__reading_round(falkor__reading *reading,
                                           falkor_error *error) {
    reading->mismatch = reading->refused = reading->marked = false;
    reading->fetched->schema.epoch = reading->question->epoch;
    reading->fetched->schema.read_ns = falkor_now_ns();
    reading->fetched->schema.version = reading->version;
    falkor_status status = falkor__reading_send(reading, error);
    for (int i = 0; !status && i < FALKOR__READ_QUERIES; i++) {
        falkor_result *reply = falkor__reply_in(
            falkor__link_heap(reading->link), FALKOR__REPLY_QUERY, NULL);
        if (!reply)
            return falkor__no_memory(error, "out of memory for names");
        status = falkor__link_read(reading->link, reply,
                                   reading->question->deadline_ns, error);
        if (status)
            falkor_result_free(reply);
        else
            status = falkor__reading_take(reading, i, reply, error);
    }
    return status;
}

/* Says that it was not the query itself that failed. */
static falkor_status falkor__reading_failed(const falkor__reading *reading,
                                            falkor_status status,
                                            falkor_error *error) {
    char why[sizeof error->message];
    memcpy(why, error->message, sizeof why);
    return falkor__fail(error, status, error->sys_errno,
        "reading the names of graph \"%s\": %s", reading->question->graph, why);
}

/* Reads until all is of one version, or anyhow. */
static falkor_status falkor__read_names(falkor__reading *reading,
                                        falkor_error *error) {
    reading->fetched = falkor__fetched_new(reading,
                                           falkor__link_heap(reading->link));
    falkor_status status = reading->fetched ? FALKOR_OK
        : falkor__no_memory(error, "out of memory for names");
    reading->mismatch = true;
    for (int round = 0; !status && reading->mismatch; round++) {
        if (round == reading->question->rounds)
            status = falkor__fail(error, FALKOR_ERR_STALE, 0, "the names of "
                "graph \"%s\" change faster than they can be read",
                reading->question->graph);
        if (reading->anyhow && round + 1 == reading->question->rounds)
            reading->version = FALKOR__ANY_VERSION;
        if (!status && (status = falkor__reading_round(reading, error)) != 0)
            falkor__reading_failed(reading, status, error);
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
    names->reading = names->proving = false;
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

/* In a child nobody reads, asks for a mark, or waits. Its links are all younger
   than the newest, so that the two processes never ask for the same mark. */
void falkor__names_unlock(falkor__names *names, bool child) {
    if (child) {
        falkor__cond_init(&names->changed);
        names->reading = names->proving = false;
    }
    falkor__mutex_unlock(&names->mutex);
}

/* Puts schema, or NULL, in the place of the newest. The mutex is held; the old
   one is to be released without it. */
static falkor__schema *falkor__names_put_locked(falkor__names *names,
                                                falkor__schema *schema)
    FALKOR__HOLDS(names->mutex) {
    falkor__schema *old = names->newest;
    names->newest = falkor__schema_retain(schema);
    return old;
}

/* Whether a link may use the newest, retained for it. */
static falkor__schema *falkor__names_usable_locked(
    falkor__names *names, const falkor__link *link,
    const falkor__question *question) FALKOR__HOLDS(names->mutex) {
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

/* How long one thread waits for another that is at the server. */
static int64_t falkor__follow_until(int64_t deadline_ns) {
    int64_t until_ns = falkor__deadline(FALKOR__FOLLOW_MS);
    return until_ns < deadline_ns ? until_ns : deadline_ns;
}

/* Takes the turn to read, or a snapshot that another thread has read in the
   meantime. NULL: the names are to be read by this thread, in its turn or
   (turn false) beside another, whose connection may be dead: nobody's call is
   to end with that one. late: time has ended. */
static falkor__schema *falkor__names_turn(falkor__names *names,
                                          const falkor__link *link,
                                          const falkor__question *question,
                                          uint32_t *version, bool *turn,
                                          bool *late) {
    bool patient = true;
    int64_t until_ns = 0;
    falkor__mutex_lock(&names->mutex);
    falkor__schema *schema;
    while (!(schema = falkor__names_usable_locked(names, link, question)) &&
           names->reading && patient) {
        if (!until_ns)
            until_ns = falkor__follow_until(question->deadline_ns);
        patient = falkor__cond_wait(&names->changed, &names->mutex, until_ns);
    }
    *late = !schema && !patient && until_ns == question->deadline_ns;
    *turn = !schema && !*late && !names->reading;
    if (*turn)
        names->reading = true;
    *version = names->version;
    falkor__mutex_unlock(&names->mutex);
    return schema;
}

/* What was read becomes the newest, where it may be kept and nobody has read
   later; and the turn ends. */
static void falkor__names_keep(falkor__names *names, falkor__schema *schema,
                               bool turn) {
    falkor__schema *old = NULL;
    falkor__mutex_lock(&names->mutex);
    if (schema && (!names->newest ||
                   names->newest->read_ns <= schema->read_ns)) {
        names->version = schema->version;
        old = falkor__names_put_locked(names, schema->version == 0 &&
            falkor__has_names(schema) ? NULL : schema);
    }
    if (turn) {
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
    bool turn = false, late = false;
    *refused = false;
    *schema = NULL;
    if (question->shared)
        *schema = falkor__names_turn(names, link, question, &reading.version,
                                     &turn, &late);
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
        falkor__names_keep(names, *schema, turn);
    return status;
}

falkor_status falkor__names_unchecked(falkor__link *link,
                                      const falkor__question *question,
                                      falkor__schema **schema, bool *refused,
                                      falkor_error *error) {
    falkor__reading reading = {.link = link, .question = question,
                               .version = FALKOR__ANY_VERSION};
    falkor_status status = falkor__read_names(&reading, error);
    *refused = reading.refused;
    *schema = status ? NULL : &reading.fetched->schema;
    return status;
}

/* ---- behind a query --------------------------------------------------- */

/* The turn to ask for a mark: false when time has ended. *lost: it is of no use
   to ask, and no turn is taken. Until the answer is there the mark counts as
   lost. *version is the last one heard of. */
static bool falkor__proof_begin(falkor__names *names, falkor__fetched *old,
                                int64_t deadline_ns, bool *lost,
                                uint32_t *version) {
    bool patient = true;
    int64_t until_ns = 0;
    falkor__mutex_lock(&names->mutex);
    while (names->proving && patient) {
        if (!until_ns)
            until_ns = falkor__follow_until(deadline_ns);
        patient = falkor__cond_wait(&names->changed, &names->mutex, until_ns);
    }
    bool late = !patient && until_ns == deadline_ns;
    *lost = old->lost || names->proving;
    *version = names->version;
    if (!late && !*lost)
        names->proving = old->lost = true;
    falkor__mutex_unlock(&names->mutex);
    return !late;
}

static void falkor__proof_end(falkor__names *names, falkor__fetched *old,
                              bool marked) {
    falkor__mutex_lock(&names->mutex);
    old->lost = !marked;
    names->proving = false;
    falkor__cond_broadcast(&names->changed);
    falkor__mutex_unlock(&names->mutex);
}

static bool falkor__is_name_byte(char byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z') || byte == '_' || (byte & 0x80);
}

/* Whether a name stands in a text as a whole word. */
static bool falkor__is_written(const char *name, const struct iovec *text) {
    const char *begin = text->iov_base, *end = begin + text->iov_len;
    size_t length = strlen(name);
    for (const char *at = begin; length; at++) {
        at = memchr(at, name[0], (size_t)(end - at));
        if (!at || (size_t)(end - at) < length)
            return false;
        if (memcmp(at, name, length) == 0 &&
            (at == begin || !falkor__is_name_byte(at[-1])) &&
            (at + length == end || !falkor__is_name_byte(at[length])))
            return true;
    }
    return false;
}

/* Whether all names that the reply lacks are in the schema, and in the texts of
   its query: OK, STALE or NOMEM. Each name is looked for once, however often it
   is lacking. */
static falkor_status falkor__all_written(const falkor_result *reply,
                                         const falkor__schema *schema,
                                         const struct iovec *texts,
                                         size_t count) {
    falkor__name_kind kind;
    uint64_t id;
    bool *found[FALKOR__NAME_KINDS];
    const falkor_allocator *heap = ((const falkor__fetched *)schema)->heap;
    falkor_status status = FALKOR_OK;
    for (int i = 0; i < FALKOR__NAME_KINDS; i++)
        if (!(found[i] = falkor__take_zero(heap, schema->counts[i] + 1,
                                           sizeof **found)))
            status = FALKOR_ERR_NOMEM;
    for (size_t i = 0; !status && falkor__reply_lacks(reply, i, &kind, &id);
         i++) {
        bool known = id < schema->counts[kind];
        for (size_t k = 0; known && k < count && !found[kind][id]; k++)
            found[kind][id] = falkor__is_written(schema->names[kind][id],
                                                 &texts[k]);
        if (!known || !found[kind][id])
            status = FALKOR_ERR_STALE;
    }
    for (int i = 0; i < FALKOR__NAME_KINDS; i++)
        falkor__give(heap, found[i]);
    return status;
}

falkor_status falkor__names_after(falkor__names *names, falkor__link *link,
                                  const falkor__question *question,
                                  falkor__schema *before, falkor_result *reply,
                                  const struct iovec *texts, size_t count,
                                  falkor_error *error) {
    falkor__fetched *old = (falkor__fetched *)before;
    falkor__question asked = *question;
    falkor__reading reading = {.link = link, .question = &asked,
                               .anyhow = true};
    bool lost;
    asked.read_only = true;             /* makes no graph that is gone */
    if (!falkor__proof_begin(names, old, asked.deadline_ns, &lost,
                             &reading.version))
        return falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT, "time ended "
            "before the names that the query added were read");
    reading.old = lost ? NULL : old;
    falkor_status status = falkor__read_names(&reading, error);
    bool marked = !status && reading.old && reading.marked &&
                  !reading.unmarked;
    if (!lost)
        falkor__proof_end(names, old, marked);
    if (reading.refused) {
        char *said = strdup(error->message);
        status = falkor__fail(error, FALKOR_ERR_STALE, 0, "the query was done, "
            "but names in its result could not be read: %s", said ? said : "");
        free(said);
    }
    if (status)
        return status;
    if (reading.version != FALKOR__ANY_VERSION)
        falkor__names_drop(names, before, &reading.version);
    falkor__schema *newer = &reading.fetched->schema;
    status = !falkor__continues(before, newer) ? FALKOR_ERR_STALE
        : marked ? FALKOR_OK
        : falkor__all_written(reply, newer, texts, count);
    size_t missing = status ? 0 : falkor__reply_resolve(reply, newer);
    if (status == FALKOR_ERR_STALE)
        falkor__fail(error, status, 0, "the query was done, but graph \"%s\" "
            "was replaced before the names that it added were read",
            asked.graph);
    else if (status == FALKOR_ERR_NOMEM || missing == SIZE_MAX)
        status = falkor__no_memory(error, "out of memory for names");
    else if (missing)
        status = falkor__fail(error, FALKOR_ERR_STALE, 0,
            "graph \"%s\" lacks names that it gave", asked.graph);
    falkor__schema_release(newer);
    return status;
}
