/* Policy, pure: what a server's error text means, what may be tried again, and
   how long to wait before. No I/O, no clock, no state of its own; falkor.c has
   the one loop that asks here. The tables are the documentation. */
#include "internal.h"
#include <string.h>

/* How an error reply begins, and what it means. A code ends where its word
   does: BUSY is not BUSYKEY. Texts without a code are FalkorDB's own. */
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

/* A server that becomes a replica says so to who waits for a query, closes his
   connection, and lets the query run. */
bool falkor__lets_run(const char *text) {
    static const char begin[] = "UNBLOCKED force unblock";
    return strncmp(text, begin, sizeof begin - 1) == 0;
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

/* Failures of a connection, a server that has no time, and names that changed
   meanwhile say nothing about the query: they are worth another attempt where
   that is safe. Everything else would fail the same way. */
static bool falkor__is_passing(falkor_status status) {
    return status == FALKOR_ERR_CONNECT || status == FALKOR_ERR_IO ||
           status == FALKOR_ERR_TIMEOUT || status == FALKOR_ERR_PROTOCOL ||
           status == FALKOR_ERR_BUSY || status == FALKOR_ERR_STALE;
}

bool falkor__may_retry(falkor_status status, falkor__phase phase,
                       bool repeatable) {
    switch (phase) {
    case FALKOR__PHASE_UNSENT:  return falkor__is_passing(status);
    case FALKOR__PHASE_SENT:    return repeatable &&
                                       falkor__is_passing(status);
    case FALKOR__PHASE_REPLIED: return status == FALKOR_ERR_BUSY ||
                                       status == FALKOR_ERR_STALE;
    }
    return false;
}

bool falkor__maybe_executed(falkor_status status, falkor__phase phase) {
    return status != FALKOR_OK && phase == FALKOR__PHASE_SENT;
}

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
