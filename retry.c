/* Policy, pure: what a failure means, what may be tried again after it, how
   long to wait before, and when nobody is to try at all, the circuit breaker.
   No I/O, no clock, no state of its own; falkor.c has the one loop that asks
   here, the pool keeps the breaker. The tables are the documentation. */
#include "internal.h"
#include <string.h>

/* ---- classes ---------------------------------------------------------- */

/* How an error reply begins, and what it means. A code ends where its word
   does: BUSY is not BUSYKEY. Texts without a code are FalkorDB's own. What is
   not here is FALKOR_ERR_QUERY. No error reply counts for the breaker: the
   server answered. An empty key is met by a query that waited in the queue
   while its graph was deleted, or went to another node: it has not run.
   FALKOR_ERR_IO is the loss of an answer: a server that becomes a replica says
   so to who waits for a query, closes his connection, and lets the query
   run. */
static const struct {
    const char *begin;
    bool code;
    falkor_status status;
} falkor__error_texts[] = {
    {"NOAUTH", true, FALKOR_ERR_AUTH},
    {"WRONGPASS", true, FALKOR_ERR_AUTH},
    {"NOPERM", true, FALKOR_ERR_AUTH},
    {"ERR invalid password", false, FALKOR_ERR_AUTH},
    {"ERR Client sent AUTH", false, FALKOR_ERR_AUTH},
    {"ERR AUTH ", false, FALKOR_ERR_AUTH},
    {"LOADING", true, FALKOR_ERR_BUSY},
    {"BUSY", true, FALKOR_ERR_BUSY},
    {"MASTERDOWN", true, FALKOR_ERR_BUSY},
    {"CLUSTERDOWN", true, FALKOR_ERR_BUSY},
    {"TRYAGAIN", true, FALKOR_ERR_BUSY},
    {"Max pending queries exceeded", false, FALKOR_ERR_BUSY},
    {"Encountered an empty key when opened key", false, FALKOR_ERR_BUSY},
    {"Write queue is full", false, FALKOR_ERR_BUSY},
    {"ERR max number of clients reached", false, FALKOR_ERR_BUSY},
    {"UNBLOCKED force unblock", false, FALKOR_ERR_IO},
    {"READONLY", true, FALKOR_ERR_READONLY},
    {"MOVED", true, FALKOR_ERR_MOVED},
    {"ASK", true, FALKOR_ERR_MOVED},
    {"Query timed out", false, FALKOR_ERR_SERVER_TIMEOUT},
    {"unique constraint violation", false, FALKOR_ERR_CONSTRAINT},
    {"mandatory constraint violation", false, FALKOR_ERR_CONSTRAINT},
};

falkor_status falkor__classify(const char *text, size_t length) {
    size_t rows = sizeof falkor__error_texts / sizeof *falkor__error_texts;
    for (size_t i = 0; i < rows; i++) {
        size_t size = strlen(falkor__error_texts[i].begin);
        if (length < size ||
            memcmp(text, falkor__error_texts[i].begin, size) != 0)
            continue;
        if (!falkor__error_texts[i].code || length == size ||
            text[size] == ' ')
            return falkor__error_texts[i].status;
    }
    return FALKOR_ERR_QUERY;
}

bool falkor__lets_run(const char *text) {
    return falkor__classify(text, strlen(text)) == FALKOR_ERR_IO;
}

bool falkor__proves_graphs(const char *text, bool named) {
    if (strcmp(text, "ERR Invalid graph operation on empty key") == 0)
        return true;
    return !named && (strncmp(text, "WRONGTYPE ", 10) == 0 ||
                      strncmp(text, "NOPERM ", 7) == 0);
}

bool falkor__exists_already(const char *text) {
    static const char begin[] = "Attribute '", end[] = "' is already indexed";
    size_t length = strlen(text);
    if (strcmp(text, "Constraint already exists") == 0)
        return true;
    return length > sizeof begin + sizeof end - 2 &&
        memcmp(text, begin, sizeof begin - 1) == 0 &&
        strcmp(text + length - (sizeof end - 1), end) == 0;
}

/* Errors of this machine: whatever the server's state, they would be the same.
   Any other errno is FALKOR_ERR_CONNECT of a dial and FALKOR_ERR_IO of a
   connection, and counts for the breaker; of a dial these are CONNECT too. */
static const struct {
    int number;
    falkor_status status;
} falkor__own_errnos[] = {
    {ENOMEM, FALKOR_ERR_NOMEM},
    {ENOBUFS, FALKOR_ERR_IO},
    {EMFILE, FALKOR_ERR_IO},            /* of a dial: no descriptor is left */
    {ENFILE, FALKOR_ERR_IO},
    {EADDRNOTAVAIL, FALKOR_ERR_IO},     /* of a dial: no local port is left */
};

static bool falkor__is_own_errno(int number, falkor_status *status) {
    size_t rows = sizeof falkor__own_errnos / sizeof *falkor__own_errnos;
    for (size_t i = 0; i < rows; i++)
        if (falkor__own_errnos[i].number == number) {
            *status = falkor__own_errnos[i].status;
            return true;
        }
    return false;
}

falkor_status falkor__classify_errno(int number) {
    falkor_status status = FALKOR_ERR_IO;
    falkor__is_own_errno(number, &status);
    return status;
}

/* What may be sent again after an attempt that failed, by how far it had got:
   nothing sent, some of the request, all of it, some of the reply there, or an
   error reply. a: anything; r: what only reads, or is marked idempotent; -:
   nothing. And whether the failure counts for the circuit breaker: a time-out
   does where one of the pool's own limits has passed, not the caller's; an
   attempt that the breaker itself refused never does.

   Half a request cannot run; yet a write of which a byte has left is not sent
   again: what stands in between may have more of it than we know. Statuses
   that are not here would fail the same way again. */
static const struct {
    falkor_status status;
    char again[FALKOR__PHASES + 1];
    bool counts;
} falkor__classes[] = {
    {FALKOR_ERR_CONNECT,  "arrr-", true},   /* a dial: nothing was sent */
    {FALKOR_ERR_IO,       "arrr-", true},
    {FALKOR_ERR_TIMEOUT,  "arrr-", true},
    {FALKOR_ERR_PROTOCOL, "arrr-", true},
    {FALKOR_ERR_BUSY,     "arrra", false},  /* refused before it ran */
    {FALKOR_ERR_STALE,    "arrra", false},  /* nothing was done */
};
#define FALKOR__CLASSES (sizeof falkor__classes / sizeof *falkor__classes)

bool falkor__may_retry(falkor_status status, falkor__phase phase,
                       bool repeatable) {
    for (size_t i = 0; i < FALKOR__CLASSES; i++)
        if (falkor__classes[i].status == status && phase < FALKOR__PHASES) {
            char again = falkor__classes[i].again[phase];
            return again == 'a' || (again == 'r' && repeatable);
        }
    return false;
}

bool falkor__counts(falkor_status status, int sys_errno) {
    falkor_status own;
    if (falkor__is_own_errno(sys_errno, &own))
        return false;
    for (size_t i = 0; i < FALKOR__CLASSES; i++)
        if (falkor__classes[i].status == status)
            return falkor__classes[i].counts;
    return false;
}

bool falkor__maybe_executed(falkor_status status, falkor__phase phase) {
    return status != FALKOR_OK && phase > FALKOR__PHASE_UNSENT &&
           phase < FALKOR__PHASE_REPLIED;
}

const char *falkor__phase_text(falkor__phase phase) {
    static const char *const texts[FALKOR__PHASES] = {
        [FALKOR__PHASE_UNSENT] = "nothing was sent",
        [FALKOR__PHASE_PART] = "a part of the request was sent",
        [FALKOR__PHASE_SENT] = "the request was sent",
        [FALKOR__PHASE_BEGUN] = "the reply had begun",
        [FALKOR__PHASE_REPLIED] = "the server answered",
    };
    return texts[phase];
}

/* ---- back-off --------------------------------------------------------- */

int falkor__backoff_ms(const falkor__policy *policy, int retry,
                       double random) {
    double delay = policy->initial_delay_ms;
    for (int i = 1; i < retry && delay < policy->max_delay_ms; i++)
        delay *= policy->base;
    if (delay > policy->max_delay_ms)
        delay = policy->max_delay_ms;
    delay *= 1 + policy->jitter * (2 * random - 1);
    return delay > policy->max_delay_ms ? policy->max_delay_ms
                                        : (int)(delay + 0.5);
}

/* SplitMix64, by Sebastiano Vigna (public domain): any seed will do. */
double falkor__random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

/* ---- the circuit breaker ---------------------------------------------- */

#define FALKOR__FIRST_PROBE_MS 100

static void falkor__breaker_open(falkor__breaker *breaker, int delay_ms,
                                 int most_ms, int64_t now) {
    breaker->state = FALKOR_CIRCUIT_OPEN;
    breaker->delay_ms = delay_ms < most_ms ? delay_ms : most_ms;
    breaker->probe_ns = now + breaker->delay_ms * FALKOR__NS_PER_MS;
}

bool falkor__breaker_fail(falkor__breaker *breaker, int limit, int most_ms,
                          falkor__failure failure, int64_t now) {
    int failures = atomic_load_explicit(&breaker->failures,
                                        memory_order_relaxed);
    if (breaker->state == FALKOR_CIRCUIT_HALF_OPEN && failure.probe) {
        falkor__breaker_open(breaker, breaker->delay_ms > most_ms / 2
            ? most_ms : 2 * breaker->delay_ms, most_ms, now);
        return true;
    }
    if (breaker->state != FALKOR_CIRCUIT_CLOSED || !failure.counts ||
        limit < 0 || (failures > 0 && failure.since_ns <= breaker->failed_ns))
        return false;
    breaker->failed_ns = now;
    atomic_store_explicit(&breaker->failures, ++failures,
                          memory_order_relaxed);
    if (failures < limit)
        return false;
    falkor__breaker_open(breaker, FALKOR__FIRST_PROBE_MS, most_ms, now);
    return true;
}

bool falkor__breaker_answer(falkor__breaker *breaker, bool dialled) {
    bool closes = breaker->state != FALKOR_CIRCUIT_CLOSED;
    if (closes || !dialled)
        atomic_store_explicit(&breaker->failures, 0, memory_order_relaxed);
    breaker->state = FALKOR_CIRCUIT_CLOSED;
    return closes;
}
