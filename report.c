/* Puts a snapshot into words: the verdict on a pool's health, the JSON health
   document, Prometheus' text format, and tables for people. Numbers are written
   without printf's own decimals, whose mark is the locale's. */
#include "snapshot.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_STATISTICS

typedef struct falkor__page {
    falkor__buffer text;
    bool more;                  /* a member of this JSON object stands there */
} falkor__page;

/* ---- numbers ------------------------------------------------------------ */

static void falkor__page_text(falkor__page *page, const char *text) {
    falkor__buffer_add(&page->text, text, strlen(text));
}

/* A list of texts that ends with NULL. */
static void falkor__page_texts(falkor__page *page, const char *const *texts) {
    for (; *texts; texts++)
        falkor__page_text(page, *texts);
}
#define FALKOR__PAGE_TEXTS(page, ...) \
    falkor__page_texts((page), (const char *const[]){__VA_ARGS__, NULL})

/* With so many digits behind the mark, those at the end left out where they are
   0. */
static const char *falkor__in_decimals(char room[40], double value,
                                       int digits) {
    double scale = 1;
    for (int i = 0; i < digits; i++)
        scale *= 10;
    if (!(value > -9e18 / scale && value < 9e18 / scale))
        value = value > 0 ? 9e18 / scale : value < 0 ? -9e18 / scale : 0;
    long long scaled = (long long)(value * scale + (value < 0 ? -0.5 : 0.5));
    char *at = room + 39;
    *at = '\0';
    bool negative = scaled < 0, shown = false;
    unsigned long long left = negative ? 0ULL - (unsigned long long)scaled
                                       : (unsigned long long)scaled;
    for (int i = 0; i < digits; i++, left /= 10) {
        shown = shown || left % 10;
        if (shown)
            *--at = (char)('0' + left % 10);
    }
    if (shown)
        *--at = '.';
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (negative)
        *--at = '-';
    return at;
}

static void falkor__page_number(falkor__page *page, double value, int digits) {
    char room[40];
    falkor__page_text(page, falkor__in_decimals(room, value, digits));
}

static void falkor__page_count(falkor__page *page, uint64_t count) {
    falkor__buffer_format(&page->text, "%llu", (unsigned long long)count);
}

/* ---- health ------------------------------------------------------------- */

const char *falkor_verdict_name(falkor_verdict verdict) {
    static const char *const names[] = {"OK", "WARNING", "CRITICAL"};
    return (unsigned)verdict < 3 ? names[verdict] : "unknown";
}

static void falkor__blame(falkor_health *health, falkor_verdict verdict,
                          const char *fault, const char *format, ...)
    FALKOR__PRINTF(4, 5);
static void falkor__blame(falkor_health *health, falkor_verdict verdict,
                          const char *fault, const char *format, ...) {
    if (health->reason_count == FALKOR_REASONS)
        return;
    falkor_reason *reason = &health->reasons[health->reason_count++];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason->text, sizeof reason->text, format, arguments);
    va_end(arguments);
    reason->verdict = verdict;
    reason->fault = fault;
    if (verdict > health->verdict)
        health->verdict = verdict;
}

/* Judges a figure by two limits, above which it is bad; negative: never. */
static void falkor__judge(falkor_health *health, double figure,
                          const double limits[2], const char *fault,
                          const char *what, const char *unit) {
    char said[40], limit[40];
    bool critical = limits[1] >= 0 && figure > limits[1];
    if (!critical && (limits[0] < 0 || figure <= limits[0]))
        return;
    falkor__blame(health, critical ? FALKOR_HEALTH_CRITICAL
                                   : FALKOR_HEALTH_WARNING, fault,
        "%s %s%s, over %s%s", what, falkor__in_decimals(said, figure, 1), unit,
        falkor__in_decimals(limit, limits[critical], 1), unit);
}

/* Whose fault most of the failed calls are: what the program said, or what
   became of it. */
static const char *falkor__at_fault(const falkor__lately *lately) {
    uint64_t all = lately->errors + lately->timeouts;
    return lately->program_errors * 2 > all ? "program"
        : (lately->pool_errors + lately->timeouts) * 2 > all ? "pool"
        : "server";
}

/* Of a node that is no primary: calls go on without it. */
static bool falkor__is_spare(const falkor_snapshot *s) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    return s->of_node.known && s->of_node.role != FALKOR_ROLE_PRIMARY;
#else
    (void)s;
    return false;
#endif
}

static void falkor__judge_pool(const falkor_snapshot *s,
                               falkor_health *health) {
    const falkor_thresholds *t = &s->limits;
    if (s->stats.closed)
        falkor__blame(health, FALKOR_HEALTH_CRITICAL, "program",
                      "the pool was closed");
    else if (!s->stats.initialized && s->stats.connect_failures && !*s->node)
        falkor__blame(health, FALKOR_HEALTH_CRITICAL, "server",
            "the pool is not open: the server could not be reached");
    else if (!s->stats.initialized && !*s->node)
        falkor__blame(health, FALKOR_HEALTH_CRITICAL, "program",
                      "the pool is not open");
    if (s->stats.circuit != FALKOR_CIRCUIT_CLOSED)
        falkor__blame(health, falkor__is_spare(s) ? FALKOR_HEALTH_WARNING
                                                  : FALKOR_HEALTH_CRITICAL,
            "server", "the circuit is open: the server could not be reached");
    if (s->stats.paused)
        falkor__blame(health, FALKOR_HEALTH_WARNING, "program",
                      "the pool is paused");
    falkor__judge(health, health->utilization_percent,
        (const double[]){t->utilization_warning, t->utilization_critical},
        "pool", "connections in use:", " %");
    falkor__judge(health, health->average_wait_ms,
        (const double[]){t->wait_warning_ms, t->wait_critical_ms}, "pool",
        "average wait for a connection:", " ms");
    falkor__judge(health, (double)health->errors,
        (const double[]){t->errors_warning, t->errors_critical},
        falkor__at_fault(&s->lately), "calls that failed:", "");
}

/* Redis' own limits are 10 000 clients; these are for a database that a few
   programs share. */
static void falkor__judge_server(const falkor__server_view *server,
                                 falkor_health *health) {
    if (!server->known)
        return;
    falkor__judge(health, (double)server->clients, (const double[]){500, 900},
                  "server", "clients of the server:", "");
    falkor__judge(health, (double)server->blocked, (const double[]){10, 50},
                  "server", "clients that wait for a query (blocked_clients):",
                  "");
    falkor__judge(health, (double)server->rejected_lately,
                  (const double[]){0, 10}, "server",
                  "connections that the server rejects in a minute:", "");
}

static void falkor__judge_node(const falkor_snapshot *s,
                               falkor_health *health) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    const falkor__node_view *node = &s->of_node;
    if (!node->known)
        return;
    if (node->role == FALKOR_ROLE_UNKNOWN)
        falkor__blame(health, FALKOR_HEALTH_WARNING, "server",
            "%.100s is gone: it is down, or no node of these any more",
            s->node);
    else if (!node->well)
        falkor__blame(health, node->role == FALKOR_ROLE_PRIMARY
                ? FALKOR_HEALTH_CRITICAL : FALKOR_HEALTH_WARNING, "server",
            "%.100s did not answer as a %s when it was asked last", s->node,
            falkor_role_name(node->role));
    falkor__judge(health, (double)node->lag_bytes,
                  (const double[]){node->max_lag_bytes, -1}, "server",
                  "the replica lags:", " bytes");
    falkor__judge(health, (double)node->lag_ms,
                  (const double[]){node->max_lag_ms, -1}, "server",
                  "the replica lags:", " ms");
#else
    (void)s, (void)health;
#endif
}

void falkor_snapshot_health(const falkor_snapshot *snapshot,
                            falkor_health *health) {
    if (!health)
        return;
    memset(health, 0, sizeof *health);
    if (!snapshot)
        return;
    const falkor__lately *lately = &snapshot->lately;
    double lately_percent = snapshot->stats.max_size
        ? 100 * lately->used / snapshot->stats.max_size : 0;
    health->window_ms = lately->ms;
    health->utilization_percent =
        lately_percent > snapshot->stats.utilization_percent
        ? lately_percent : snapshot->stats.utilization_percent;
    if (lately->tries)
        health->average_wait_ms = (double)lately->waited_ns / 1e6 /
                                  (double)lately->tries;
    health->errors = lately->errors + lately->timeouts;
    health->seen_well_ms = snapshot->well_ms;
    falkor__judge_pool(snapshot, health);
    falkor__judge_server(&snapshot->server, health);
    falkor__judge_node(snapshot, health);
}

/* ---- JSON --------------------------------------------------------------- */

static bool falkor__page_bytes(void *ctx, const char *bytes, size_t length) {
    falkor__page *page = ctx;
    falkor__buffer_add(&page->text, bytes, length);
    return true;
}

static void falkor__page_string(falkor__page *page, const char *text) {
    falkor_value value = falkor_string(text);
    if (falkor_value_write_json(&value, falkor__page_bytes, page))
        page->text.failed = true;
}

/* The name of a member of an object or, name NULL, the place of an element of
   an array. */
static void falkor__member(falkor__page *page, const char *name) {
    if (page->more)
        falkor__page_text(page, ",");
    page->more = true;
    if (name)
        FALKOR__PAGE_TEXTS(page, "\"", name, "\":");
}

static void falkor__json_open(falkor__page *page, const char *name,
                         const char *bracket) {
    falkor__member(page, name);
    falkor__page_text(page, bracket);
    page->more = false;
}

static void falkor__json_shut(falkor__page *page, const char *bracket) {
    falkor__page_text(page, bracket);
    page->more = true;
}

static void falkor__json_count(falkor__page *page, const char *name,
                               uint64_t count) {
    falkor__member(page, name);
    falkor__page_count(page, count);
}

static void falkor__json_text_member(falkor__page *page, const char *name,
                                     const char *text) {
    falkor__member(page, name);
    falkor__page_string(page, text);
}

/* A member of a struct, as a member of a JSON object. A time that is negative
   is not known. */
typedef struct falkor__field {
    const char *name;
    size_t offset;
    enum {
        FALKOR__FIELD_INT, FALKOR__FIELD_COUNT, FALKOR__FIELD_TIME,
        FALKOR__FIELD_NUMBER, FALKOR__FIELD_FLAG, FALKOR__FIELD_TEXT
    } type;
} falkor__field;
#define FALKOR__FIELD(name, its, member) \
    {name, offsetof(its, member), _Generic(((its *)0)->member, \
        int: FALKOR__FIELD_INT, uint64_t: FALKOR__FIELD_COUNT, \
        int64_t: FALKOR__FIELD_TIME, double: FALKOR__FIELD_NUMBER, \
        bool: FALKOR__FIELD_FLAG, char *: FALKOR__FIELD_TEXT)}

static void falkor__json_field(falkor__page *page, const void *base,
                               const falkor__field *field) {
    const void *at = (const char *)base + field->offset;
    falkor__member(page, field->name);
    switch (field->type) {
    case FALKOR__FIELD_INT:
        falkor__page_count(page, (uint64_t)*(const int *)at);
        break;
    case FALKOR__FIELD_COUNT:
        falkor__page_count(page, *(const uint64_t *)at);
        break;
    case FALKOR__FIELD_TIME:
        if (*(const int64_t *)at < 0)
            falkor__page_text(page, "null");
        else
            falkor__page_count(page, *(const uint64_t *)at);
        break;
    case FALKOR__FIELD_NUMBER:
        falkor__page_number(page, *(const double *)at, 6);
        break;
    case FALKOR__FIELD_FLAG:
        falkor__page_text(page, *(const bool *)at ? "true" : "false");
        break;
    case FALKOR__FIELD_TEXT:
        falkor__page_string(page, at);
        break;
    }
}

static void falkor__json_fields(falkor__page *page, const void *base,
                                const falkor__field *fields, size_t count) {
    for (size_t i = 0; i < count; i++)
        falkor__json_field(page, base, &fields[i]);
}
#define FALKOR__JSON_FIELDS(page, base, fields) \
    falkor__json_fields(page, base, fields, sizeof fields / sizeof *fields)

static const char *const falkor__circuits[] = {"closed", "open", "half_open"};

static const char *falkor__circuit_name(falkor_circuit circuit) {
    return (unsigned)circuit < 3 ? falkor__circuits[circuit] : "unknown";
}

#define FALKOR__OF_POOL(name, member) \
    FALKOR__FIELD(name, falkor_snapshot, member)
static const falkor__field falkor__pool_fields[] = {
    FALKOR__OF_POOL("name", pool), FALKOR__OF_POOL("graph", graph),
    FALKOR__OF_POOL("server", place),
    FALKOR__OF_POOL("max_connections", stats.max_size),
    FALKOR__OF_POOL("min_connections", stats.min_size),
    FALKOR__OF_POOL("reserve_connections", stats.reserve_size),
    FALKOR__OF_POOL("pool_size", stats.total),
    FALKOR__OF_POOL("active_connections", stats.active),
    FALKOR__OF_POOL("idle_connections", stats.idle),
    FALKOR__OF_POOL("connecting", stats.connecting),
    FALKOR__OF_POOL("closing", stats.closing),
    FALKOR__OF_POOL("waiting", stats.waiting),
    FALKOR__OF_POOL("oldest_wait_ms", oldest_ms),
    FALKOR__OF_POOL("utilization_percent", stats.utilization_percent),
    FALKOR__OF_POOL("total_queries", stats.queries),
    FALKOR__OF_POOL("total_retries", stats.retries),
    FALKOR__OF_POOL("total_acquires", stats.acquires),
    FALKOR__OF_POOL("total_releases", stats.releases),
    FALKOR__OF_POOL("total_timeouts", stats.acquire_timeouts),
    FALKOR__OF_POOL("total_health_failures", stats.health_failures),
    FALKOR__OF_POOL("connections_created", stats.connections_created),
    FALKOR__OF_POOL("connections_recycled", stats.connections_recycled),
    FALKOR__OF_POOL("connections_failed", stats.connect_failures),
    FALKOR__OF_POOL("circuit_openings", stats.circuit_openings)};
static const falkor__field falkor__wait_fields[] = {
    FALKOR__FIELD("avg_wait_time_ms", falkor_latency, average_ms),
    FALKOR__FIELD("p95_acquire_time_ms", falkor_latency, p95_ms),
    FALKOR__FIELD("max_acquire_time_ms", falkor_latency, max_ms)};
static const falkor__field falkor__state_fields[] = {
    FALKOR__OF_POOL("initialized", stats.initialized),
    FALKOR__OF_POOL("closed", stats.closed),
    FALKOR__OF_POOL("paused", stats.paused)};

static void falkor__json_pool(falkor__page *page, const falkor_snapshot *s) {
    falkor_latency waits = falkor_snapshot_latency(s, FALKOR_LATENCY_WAIT);
    falkor__json_open(page, "pool", "{");
    FALKOR__JSON_FIELDS(page, s, falkor__pool_fields);
    if (*s->node)
        falkor__json_text_member(page, "node", s->node);
    FALKOR__JSON_FIELDS(page, &waits, falkor__wait_fields);
    FALKOR__JSON_FIELDS(page, s, falkor__state_fields);
    falkor__json_text_member(page, "circuit",
                             falkor__circuit_name(s->stats.circuit));
    falkor__json_shut(page, "}");
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
#define FALKOR__OF_NODE(name, member) \
    FALKOR__FIELD(name, falkor__node_view, member)
static const falkor__field falkor__node_fields[] = {
    FALKOR__OF_NODE("well", well), FALKOR__OF_NODE("lag_bytes", lag_bytes),
    FALKOR__OF_NODE("lag_ms", lag_ms), FALKOR__OF_NODE("slots", slots)};

static void falkor__json_its_node(falkor__page *page,
                                  const falkor_snapshot *s) {
    if (!s->of_node.known)
        return;
    falkor__json_open(page, "node", "{");
    falkor__json_text_member(page, "address", s->node);
    falkor__json_text_member(page, "role", falkor_role_name(s->of_node.role));
    FALKOR__JSON_FIELDS(page, &s->of_node, falkor__node_fields);
    falkor__json_shut(page, "}");
}
#endif

static void falkor__json_queries(falkor__page *page,
                                 const falkor_stats *stats) {
    falkor__json_open(page, "queries", "{");
    falkor__json_count(page, "total", stats->queries);
    falkor__json_count(page, "retries", stats->retries);
    falkor__json_count(page, "errors_total",
                       stats->queries - stats->errors[FALKOR_OK]);
    falkor__json_open(page, "errors", "{");
    for (int i = 1; i < FALKOR_STATUS_COUNT; i++)
        if (stats->errors[i])
            falkor__json_count(page, falkor_status_name((falkor_status)i),
                               stats->errors[i]);
    falkor__json_shut(page, "}");
    falkor__json_shut(page, "}");
}

static const char *const falkor__latency_names[] = {
    "acquire_wait", "hold", "query", "dial", "health_check"};

static const falkor__field falkor__latency_fields[] = {
    FALKOR__FIELD("count", falkor_latency, count),
    FALKOR__FIELD("avg_ms", falkor_latency, average_ms),
    FALKOR__FIELD("p50_ms", falkor_latency, p50_ms),
    FALKOR__FIELD("p95_ms", falkor_latency, p95_ms),
    FALKOR__FIELD("p99_ms", falkor_latency, p99_ms),
    FALKOR__FIELD("max_ms", falkor_latency, max_ms)};

static void falkor__json_latency(falkor__page *page,
                                 const falkor_snapshot *s) {
    falkor__json_open(page, "latency", "{");
    for (int i = 0; i < FALKOR_LATENCIES; i++) {
        falkor_latency found = falkor_snapshot_latency(s,
            (falkor_latency_kind)i);
        falkor__json_open(page, falkor__latency_names[i], "{");
        FALKOR__JSON_FIELDS(page, &found, falkor__latency_fields);
        falkor__json_shut(page, "}");
    }
    falkor__json_shut(page, "}");
}

static const falkor__field falkor__health_fields[] = {
    FALKOR__FIELD("window_ms", falkor_health, window_ms),
    FALKOR__FIELD("utilization_percent", falkor_health, utilization_percent),
    FALKOR__FIELD("avg_wait_ms", falkor_health, average_wait_ms),
    FALKOR__FIELD("errors", falkor_health, errors),
    FALKOR__FIELD("ms_since_good_check", falkor_health, seen_well_ms)};

static void falkor__json_health(falkor__page *page,
                                const falkor_snapshot *s) {
    falkor_health health;
    falkor_snapshot_health(s, &health);
    falkor__json_open(page, "health", "{");
    falkor__json_text_member(page, "verdict",
                             falkor_verdict_name(health.verdict));
    falkor__json_open(page, "reasons", "[");
    for (int i = 0; i < health.reason_count; i++) {
        const falkor_reason *reason = &health.reasons[i];
        falkor__json_open(page, NULL, "{");
        falkor__json_text_member(page, "verdict",
                                 falkor_verdict_name(reason->verdict));
        falkor__json_text_member(page, "fault", reason->fault);
        falkor__json_text_member(page, "text", reason->text);
        falkor__json_shut(page, "}");
    }
    falkor__json_shut(page, "]");
    FALKOR__JSON_FIELDS(page, &health, falkor__health_fields);
    falkor__json_shut(page, "}");
}

static const char *const falkor__conn_states[] = {"idle", "active", "changing"};

static const falkor__field falkor__conn_fields[] = {
    FALKOR__FIELD("age_ms", falkor__conn_view, age_ms),
    FALKOR__FIELD("idle_ms", falkor__conn_view, idle_ms),
    FALKOR__FIELD("held_ms", falkor__conn_view, held_ms),
    FALKOR__FIELD("uses", falkor__conn_view, uses)};

static void falkor__json_conns(falkor__page *page, const falkor_snapshot *s) {
    falkor__json_open(page, "connections", "[");
    for (size_t i = 0; i < s->conn_count; i++) {
        const falkor__conn_view *view = &s->conns[i];
        falkor__json_open(page, NULL, "{");
        falkor__json_text_member(page, "state",
                                 falkor__conn_states[view->state]);
        FALKOR__JSON_FIELDS(page, view, falkor__conn_fields);
        if (view->thread)
            falkor__json_count(page, "thread", view->thread);
        if (view->file) {
            falkor__json_text_member(page, "file", view->file);
            falkor__json_count(page, "line", (uint64_t)view->line);
        }
        falkor__json_shut(page, "}");
    }
    falkor__json_shut(page, "]");
}

typedef struct falkor__memory {
    const char *name;
    size_t bytes;
} falkor__memory;

static size_t falkor__memory_of(const falkor_snapshot *s,
                                falkor__memory uses[4]) {
    uses[0] = (falkor__memory){"pool_bytes", s->pool_bytes};
    uses[1] = (falkor__memory){"slots_bytes", s->slot_bytes};
    uses[2] = (falkor__memory){"statistics_bytes", s->statistics_bytes};
    uses[3] = (falkor__memory){"connections_bytes", s->connection_bytes};
    return uses[0].bytes + uses[1].bytes + uses[2].bytes + uses[3].bytes;
}

static void falkor__json_memory(falkor__page *page, const falkor_snapshot *s) {
    falkor__memory uses[4];
    size_t sum = falkor__memory_of(s, uses);
    falkor__json_open(page, "memory", "{");
    for (int i = 0; i < 4; i++)
        falkor__json_count(page, uses[i].name, uses[i].bytes);
    falkor__json_count(page, "total_bytes", sum);
    falkor__json_shut(page, "}");
}

#define FALKOR__OF_SERVER(name, member) \
    FALKOR__FIELD(name, falkor__server_view, member)
static const falkor__field falkor__server_fields[] = {
    FALKOR__OF_SERVER("version", version),
    FALKOR__OF_SERVER("uptime_seconds", uptime_s),
    FALKOR__OF_SERVER("connected_clients", clients),
    FALKOR__OF_SERVER("blocked_clients", blocked),
    FALKOR__OF_SERVER("used_memory_bytes", memory_bytes),
    FALKOR__OF_SERVER("total_commands", commands),
    FALKOR__OF_SERVER("rejected_connections", rejected),
    FALKOR__OF_SERVER("rejected_per_minute", rejected_lately)};

static void falkor__json_server(falkor__page *page,
                                const falkor__server_view *server) {
    if (!server->known)
        return;
    falkor__json_open(page, "server", "{");
    FALKOR__JSON_FIELDS(page, server, falkor__server_fields);
    falkor__json_shut(page, "}");
}

static void falkor__write_json(falkor__page *page, const falkor_snapshot *s) {
    falkor__json_open(page, NULL, "{");
    falkor__json_pool(page, s);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__json_its_node(page, s);
#endif
    falkor__json_queries(page, &s->stats);
    falkor__json_latency(page, s);
    falkor__json_health(page, s);
    falkor__json_conns(page, s);
    falkor__json_memory(page, s);
    falkor__json_server(page, &s->server);
    falkor__json_count(page, "taken_unix_ms", (uint64_t)s->unix_ms);
    falkor__json_shut(page, "}");
}

/* ---- Prometheus --------------------------------------------------------- */

/* All snapshots of one document. */
typedef struct falkor__series {
    falkor__page *page;
    const falkor_snapshot *const *snapshots;
    size_t count;
} falkor__series;

static void falkor__family(falkor__series *all, const char *name,
                           const char *type, const char *help) {
    FALKOR__PAGE_TEXTS(all->page, "# HELP falkorpool_", name, " ", help,
                       "\n# TYPE falkorpool_", name, " ", type, "\n");
}

/* A label's value: backslash, quote and newline are escaped, and bytes that are
   not UTF-8 are question marks, for Prometheus would refuse the whole text. */
static void falkor__page_label(falkor__page *page, const char *text) {
    for (size_t left = strlen(text), span; left; text += span, left -= span) {
        bool valid;
        span = falkor__utf8_span((const unsigned char *)text, left, &valid);
        if (*text == '\\' || *text == '"')
            falkor__page_text(page, "\\");
        if (!valid || *text == '\n')
            falkor__page_text(page, valid ? "\\n" : "?");
        else
            falkor__buffer_add(&page->text, text, span);
    }
}

/* A sample up to its value; label NULL: none beside the pool's own. */
static void falkor__sample(falkor__page *page, const falkor_snapshot *s,
                           const char *name, const char *suffix,
                           const char *label, const char *value) {
    FALKOR__PAGE_TEXTS(page, "falkorpool_", name, suffix, "{pool=\"");
    falkor__page_label(page, s->pool);
    falkor__page_text(page, "\",graph=\"");
    falkor__page_label(page, s->graph);
    if (*s->node) {
        falkor__page_text(page, "\",node=\"");
        falkor__page_label(page, s->node);
    }
    if (label) {
        FALKOR__PAGE_TEXTS(page, "\",", label, "=\"");
        falkor__page_label(page, value);
    }
    falkor__page_text(page, "\"} ");
}

static void falkor__sample_number(falkor__page *page, const falkor_snapshot *s,
                                  const char *name, double number) {
    falkor__sample(page, s, name, "", NULL, NULL);
    falkor__page_number(page, number, number < 1e6 ? 9 : 0);
    falkor__page_text(page, "\n");
}

/* One figure of each snapshot. */
typedef double falkor__figure(const falkor_snapshot *s);
#define FALKOR__FIGURE(name, expression) \
    static double falkor__figure_##name(const falkor_snapshot *s) { \
        return (double)(expression); \
    }
FALKOR__FIGURE(max, s->stats.max_size)
FALKOR__FIGURE(min, s->stats.min_size)
FALKOR__FIGURE(waiting, s->stats.waiting)
FALKOR__FIGURE(oldest, (double)s->oldest_ms / 1e3)
FALKOR__FIGURE(use, s->stats.utilization_percent / 100)
FALKOR__FIGURE(acquires, s->stats.acquires)
FALKOR__FIGURE(releases, s->stats.releases)
FALKOR__FIGURE(timeouts, s->stats.acquire_timeouts)
FALKOR__FIGURE(retries, s->stats.retries)
FALKOR__FIGURE(created, s->stats.connections_created)
FALKOR__FIGURE(recycled, s->stats.connections_recycled)
FALKOR__FIGURE(failed, s->stats.connect_failures)
FALKOR__FIGURE(unfit, s->stats.health_failures)
FALKOR__FIGURE(openings, s->stats.circuit_openings)
FALKOR__FIGURE(open, s->stats.initialized && !s->stats.closed)
FALKOR__FIGURE(circuit, s->stats.circuit)
FALKOR__FIGURE(memory, s->pool_bytes + s->slot_bytes + s->statistics_bytes +
               s->connection_bytes)

static double falkor__figure_verdict(const falkor_snapshot *s) {
    falkor_health health;
    falkor_snapshot_health(s, &health);
    return health.verdict;
}

static const struct {
    const char *name, *type, *help;
    falkor__figure *figure;
} falkor__figures[] = {
    {"max_connections", "gauge", "Most connections the pool may open.",
     falkor__figure_max},
    {"min_connections", "gauge", "Connections that the pool keeps open.",
     falkor__figure_min},
    {"waiting_threads", "gauge", "Threads that wait for a connection.",
     falkor__figure_waiting},
    {"oldest_wait_seconds", "gauge",
     "How long who is first in line has waited; 0: nobody waits.",
     falkor__figure_oldest},
    {"utilization_ratio", "gauge", "Connections in use of max_connections.",
     falkor__figure_use},
    {"acquires_total", "counter", "Connections handed out.",
     falkor__figure_acquires},
    {"releases_total", "counter", "Connections given back.",
     falkor__figure_releases},
    {"acquire_timeouts_total", "counter",
     "Acquires that got no connection in time.", falkor__figure_timeouts},
    {"query_retries_total", "counter", "Attempts beyond the first.",
     falkor__figure_retries},
    {"connections_created_total", "counter", "Connections opened.",
     falkor__figure_created},
    {"connections_recycled_total", "counter",
     "Connections closed to be replaced.", falkor__figure_recycled},
    {"connection_failures_total", "counter", "Dials that failed.",
     falkor__figure_failed},
    {"health_check_failures_total", "counter",
     "Connections that a check found unfit.", falkor__figure_unfit},
    {"circuit_openings_total", "counter",
     "How often the circuit breaker opened, failed probes included.",
     falkor__figure_openings},
    {"circuit_state", "gauge", "0 closed, 1 open, 2 half open.",
     falkor__figure_circuit},
    {"open", "gauge", "1 while the pool is open.", falkor__figure_open},
    {"health_verdict", "gauge", "0 OK, 1 WARNING, 2 CRITICAL.",
     falkor__figure_verdict},
    {"memory_bytes", "gauge",
     "Memory of the pool; histograms without figures take less than theirs.",
     falkor__figure_memory},
};

static void falkor__expose_figures(falkor__series *all) {
    for (size_t i = 0; i < sizeof falkor__figures / sizeof *falkor__figures;
         i++) {
        falkor__family(all, falkor__figures[i].name, falkor__figures[i].type,
                       falkor__figures[i].help);
        for (size_t j = 0; j < all->count; j++)
            falkor__sample_number(all->page, all->snapshots[j],
                falkor__figures[i].name,
                falkor__figures[i].figure(all->snapshots[j]));
    }
}

static void falkor__sample_count(falkor__page *page, const falkor_snapshot *s,
                                 const char *name, const char *label,
                                 const char *value, uint64_t count) {
    falkor__sample(page, s, name, "", label, value);
    falkor__page_count(page, count);
    falkor__page_text(page, "\n");
}

static void falkor__expose_states(falkor__series *all) {
    falkor__family(all, "connections", "gauge", "Connections by state.");
    for (size_t i = 0; i < all->count; i++) {
        const falkor_stats *stats = &all->snapshots[i]->stats;
        const struct { const char *name; int count; } states[] = {
            {"active", stats->active}, {"idle", stats->idle},
            {"connecting", stats->connecting}, {"closing", stats->closing}};
        for (int j = 0; j < 4; j++)
            falkor__sample_count(all->page, all->snapshots[i], "connections",
                "state", states[j].name, (uint64_t)states[j].count);
    }
}

/* Those that never happened are not there, but for success. */
static void falkor__expose_queries(falkor__series *all) {
    falkor__family(all, "queries_total", "counter",
                   "Calls by the status that they ended with.");
    for (size_t i = 0; i < all->count; i++)
        for (int j = 0; j < FALKOR_STATUS_COUNT; j++)
            if (!j || all->snapshots[i]->stats.errors[j])
                falkor__sample_count(all->page, all->snapshots[i],
                    "queries_total", "status",
                    falkor_status_name((falkor_status)j),
                    all->snapshots[i]->stats.errors[j]);
}

/* Buckets end where steps do, at powers of two nanoseconds: what a bucket
   counts is exact. */
static void falkor__expose_histogram(falkor__page *page,
                                     const falkor_snapshot *s, int kind,
                                     const char *name) {
    enum { LEAST = 14, MOST = 35 };     /* 16 us to 34 s */
    const falkor__timing *timing = &s->times[kind];
    uint64_t below = 0;
    size_t step = 0;
    char room[40];
    for (int power = LEAST; power <= MOST; power++) {
        size_t end = falkor__step_of(UINT64_C(1) << power);
        for (; step < end; step++)
            below += timing->counts[step];
        falkor__sample(page, s, name, "_bucket", "le", falkor__in_decimals(room,
            (double)(UINT64_C(1) << power) / 1e9, 9));
        falkor__page_count(page, below);
        falkor__page_text(page, "\n");
    }
    for (; step < FALKOR__STEPS; step++)
        below += timing->counts[step];
    falkor__sample(page, s, name, "_bucket", "le", "+Inf");
    falkor__page_count(page, below);
    falkor__page_text(page, "\n");
    falkor__sample(page, s, name, "_sum", NULL, NULL);
    double sum = (double)timing->sum_ns / 1e9;
    falkor__page_number(page, sum, sum < 1e6 ? 9 : 3);
    falkor__page_text(page, "\n");
    falkor__sample(page, s, name, "_count", NULL, NULL);
    falkor__page_count(page, below);
    falkor__page_text(page, "\n");
}

static void falkor__expose_histograms(falkor__series *all) {
    static const struct { const char *name, *help; } families[] = {
        {"acquire_wait_seconds", "Time from an acquire to its connection."},
        {"hold_seconds", "Time that connections are held."},
        {"query_duration_seconds", "Time of calls, with waits and retries."},
        {"dial_duration_seconds", "Time of dials."},
        {"health_check_duration_seconds", "Time of checks that ask."}};
    for (int i = 0; i < FALKOR_LATENCIES; i++) {
        falkor__family(all, families[i].name, "histogram", families[i].help);
        for (size_t j = 0; j < all->count; j++)
            falkor__expose_histogram(all->page, all->snapshots[j], i,
                                     families[i].name);
    }
}

static void falkor__expose_well(falkor__series *all) {
    falkor__family(all, "seconds_since_good_check", "gauge",
                   "Since a dial or a check found the server well.");
    for (size_t i = 0; i < all->count; i++)
        if (all->snapshots[i]->well_ms >= 0)
            falkor__sample_number(all->page, all->snapshots[i],
                "seconds_since_good_check",
                (double)all->snapshots[i]->well_ms / 1e3);
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
FALKOR__FIGURE(primary, s->of_node.role == FALKOR_ROLE_PRIMARY)
FALKOR__FIGURE(well, s->of_node.well)
FALKOR__FIGURE(lag_bytes, s->of_node.lag_bytes)
FALKOR__FIGURE(lag, (double)s->of_node.lag_ms / 1e3)
FALKOR__FIGURE(slots, s->of_node.slots)

static const struct {
    const char *name, *help;
    falkor__figure *figure;             /* negative: not known */
} falkor__node_figures[] = {
    {"node_primary", "1 for a primary, 0 for a replica, or when it is gone.",
     falkor__figure_primary},
    {"node_well", "1 while the node answers as what it is.",
     falkor__figure_well},
    {"node_lag_bytes", "What a replica lacks of its primary's stream.",
     falkor__figure_lag_bytes},
    {"node_lag_seconds", "How far a replica is behind its primary.",
     falkor__figure_lag},
    {"node_slots", "Slots of the cluster that the node serves.",
     falkor__figure_slots},
};

static void falkor__expose_nodes(falkor__series *all) {
    bool any = false;
    for (size_t i = 0; i < all->count; i++)
        any = any || all->snapshots[i]->of_node.known;
    for (size_t i = 0; any && i < sizeof falkor__node_figures /
                                  sizeof *falkor__node_figures; i++) {
        const char *name = falkor__node_figures[i].name;
        falkor__family(all, name, "gauge", falkor__node_figures[i].help);
        for (size_t j = 0; j < all->count; j++) {
            const falkor_snapshot *s = all->snapshots[j];
            if (s->of_node.known && falkor__node_figures[i].figure(s) >= 0)
                falkor__sample_number(all->page, s, name,
                                      falkor__node_figures[i].figure(s));
        }
    }
}
#endif

static void falkor__write_prometheus(falkor__series *all) {
    falkor__expose_states(all);
    falkor__expose_figures(all);
    falkor__expose_queries(all);
    falkor__expose_histograms(all);
    falkor__expose_well(all);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__expose_nodes(all);
#endif
}

/* ---- tables ------------------------------------------------------------- */

#define FALKOR__COLUMNS 16

/* Cells lie one behind the other in texts, each with its NUL; rows are as long
   as the head, which is the first of them. */
typedef struct falkor__table {
    falkor__page cells;
    size_t columns, cell_count;
    bool left[FALKOR__COLUMNS]; /* a column of words */
    bool nodes;                 /* there is a column of them */
} falkor__table;

/* Control bytes would break the line, and are a terminal's orders. */
static void falkor__table_cell(falkor__table *table, const char *text) {
    for (const char *at = text; *at; at++)
        falkor__buffer_add(&table->cells.text,
                           (unsigned char)*at < ' ' || *at == 127 ? " " : at,
                           1);
    falkor__buffer_add(&table->cells.text, "", 1);
    table->cell_count++;
}

static void falkor__table_number(falkor__table *table, double number) {
    char room[40];
    falkor__table_cell(table, falkor__in_decimals(room, number, 3));
}

/* In milliseconds; negative: not known. */
static void falkor__table_ms(falkor__table *table, int64_t ms) {
    if (ms < 0)
        falkor__table_cell(table, "-");
    else
        falkor__table_number(table, (double)ms);
}

/* More of the head, words with a space between them; a word that begins with <
   is of a column of words. */
static void falkor__table_head(falkor__table *table, const char *head) {
    while (*head) {
        size_t length = strcspn(head, " ");
        bool left = *head == '<';
        table->left[table->columns++] = left;
        falkor__buffer_add(&table->cells.text, head + left, length - left);
        falkor__buffer_add(&table->cells.text, "", 1);
        table->cell_count++;
        head += length + (head[length] == ' ');
    }
}

static void falkor__table_end(falkor__table *table, falkor__page *page) {
    size_t widths[FALKOR__COLUMNS] = {0}, i = 0;
    if (table->cells.text.failed) {     /* there are fewer cells than counted */
        page->text.failed = true;
        falkor__buffer_end(&table->cells.text);
        return;
    }
    const char *cell = table->cells.text.text;
    for (i = 0; i < table->cell_count; i++, cell += strlen(cell) + 1)
        if (strlen(cell) > widths[i % table->columns])
            widths[i % table->columns] = strlen(cell);
    cell = table->cells.text.text;
    for (i = 0; i < table->cell_count; i++, cell += strlen(cell) + 1) {
        size_t column = i % table->columns;
        bool last = column == table->columns - 1, left = table->left[column];
        size_t pad = widths[column] - strlen(cell);
        for (size_t j = 0; !left && j < pad; j++)
            falkor__page_text(page, " ");
        falkor__page_text(page, cell);
        for (size_t j = 0; left && !last && j < pad; j++)
            falkor__page_text(page, " ");
        falkor__page_text(page, last ? "\n" : "  ");
    }
    falkor__buffer_end(&table->cells.text);
}

/* The first cells of a row: whose it is. */
static void falkor__table_owner(falkor__table *table,
                                const falkor_snapshot *s) {
    falkor__table_cell(table, s->pool);
    if (table->nodes)
        falkor__table_cell(table, *s->node ? s->node : "-");
}

static void falkor__cells_node(falkor__table *table, const falkor_snapshot *s) {
#ifndef FALKOR_WITHOUT_TOPOLOGY
    const falkor__node_view *node = &s->of_node;
    falkor__table_cell(table, node->known ? falkor_role_name(node->role) : "-");
    falkor__table_ms(table, node->known ? node->lag_bytes : -1);
    falkor__table_ms(table, node->known ? node->lag_ms : -1);
#else
    (void)table, (void)s;
#endif
}

static void falkor__row_pools(falkor__table *table, const falkor_snapshot *s) {
    const falkor_stats *stats = &s->stats;
    falkor_health health;
    falkor__table_owner(table, s);
    if (table->nodes)
        falkor__cells_node(table, s);
    falkor_snapshot_health(s, &health);
    const int counts[] = {stats->active, stats->waiting, stats->idle,
        stats->connecting, stats->closing, stats->total, stats->max_size};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        falkor__table_number(table, counts[i]);
    falkor__table_number(table, stats->utilization_percent);
    falkor__table_number(table, (double)s->oldest_ms);
    falkor__table_cell(table, falkor__circuit_name(stats->circuit));
    falkor__table_cell(table, falkor_verdict_name(health.verdict));
}

static void falkor__row_stats(falkor__table *table, const falkor_snapshot *s) {
    const falkor_stats *stats = &s->stats;
    falkor_latency waits = falkor_snapshot_latency(s, FALKOR_LATENCY_WAIT);
    falkor_latency queries = falkor_snapshot_latency(s, FALKOR_LATENCY_QUERY);
    falkor__table_owner(table, s);
    const uint64_t counts[] = {stats->queries,
        stats->queries - stats->errors[FALKOR_OK], stats->retries,
        stats->acquires, stats->acquire_timeouts};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        falkor__table_number(table, (double)counts[i]);
    const double times[] = {waits.average_ms, waits.p95_ms, queries.average_ms,
        queries.p50_ms, queries.p95_ms, queries.p99_ms, queries.max_ms};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        falkor__table_number(table, times[i]);
}

static void falkor__rows_servers(falkor__table *table,
                                 const falkor_snapshot *s) {
    for (size_t i = 0; i < s->conn_count; i++) {
        const falkor__conn_view *view = &s->conns[i];
        char holder[300] = "-";
        if (view->state == FALKOR__CONN_ACTIVE && view->thread)
            snprintf(holder, sizeof holder, "thread %lu %s:%d", view->thread,
                     view->file ? view->file : "query", view->line);
        falkor__table_owner(table, s);
        falkor__table_cell(table, falkor__conn_states[view->state]);
        falkor__table_ms(table, view->age_ms);
        falkor__table_ms(table, view->idle_ms);
        falkor__table_number(table, (double)view->uses);
        falkor__table_ms(table, view->held_ms);
        falkor__table_cell(table, holder);
    }
}

static void falkor__row_memory(falkor__table *table, const falkor_snapshot *s) {
    falkor__memory uses[4];
    size_t sum = falkor__memory_of(s, uses);
    falkor__table_owner(table, s);
    for (int i = 0; i < 4; i++)
        falkor__table_number(table, (double)uses[i].bytes);
    falkor__table_number(table, (double)sum);
}

/* What stands behind pool and node. */
static const struct {
    const char *head;
    void (*rows)(falkor__table *table, const falkor_snapshot *s);
} falkor__tables[] = {
    {"active waiting idle connecting closing total max use_% "
     "maxwait_ms <circuit <health", falkor__row_pools},
    {"queries errors retries acquires timeouts avg_wait_ms p95_wait_ms "
     "avg_query_ms p50_ms p95_ms p99_ms max_ms", falkor__row_stats},
    {"<state age_ms idle_ms uses held_ms <holder", falkor__rows_servers},
    {"pool_bytes slots_bytes statistics_bytes connections_bytes "
     "total_bytes", falkor__row_memory},
};

static void falkor__write_table(falkor__series *all, falkor_format format) {
    falkor__table table = {.nodes = false};
    unsigned which = (unsigned)format - FALKOR_FORMAT_POOLS;
    falkor__buffer_begin(&table.cells.text);
    for (size_t i = 0; FALKOR__FRONTS && i < all->count; i++)
        table.nodes = table.nodes || *all->snapshots[i]->node;
    falkor__table_head(&table, table.nodes ? "<pool <node" : "<pool");
    if (table.nodes && format == FALKOR_FORMAT_POOLS)
        falkor__table_head(&table, "<role lag_bytes lag_ms");
    falkor__table_head(&table, falkor__tables[which].head);
    for (size_t i = 0; i < all->count; i++)
        falkor__tables[which].rows(&table, all->snapshots[i]);
    falkor__table_end(&table, all->page);
}

/* ---- writing ------------------------------------------------------------ */

static void falkor__write_all(falkor__series *all, falkor_format format) {
    if (format == FALKOR_FORMAT_PROMETHEUS) {
        falkor__write_prometheus(all);
    } else if (format == FALKOR_FORMAT_JSON) {
        if (all->count != 1)
            falkor__json_open(all->page, NULL, "[");
        for (size_t i = 0; i < all->count; i++)
            falkor__write_json(all->page, all->snapshots[i]);
        falkor__page_text(all->page, all->count != 1 ? "]\n" : "\n");
    } else {
        falkor__write_table(all, format);
    }
}

/* Prometheus would refuse all of it. */
static bool falkor__any_alike(const falkor_snapshot *const *snapshots,
                              size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(snapshots[i]->pool, snapshots[j]->pool) == 0 &&
                strcmp(snapshots[i]->graph, snapshots[j]->graph) == 0 &&
                strcmp(snapshots[i]->node, snapshots[j]->node) == 0)
                return true;
    return false;
}

falkor_status falkor_snapshot_write(const falkor_snapshot *const *snapshots,
                                    size_t count, falkor_format format,
                                    falkor_write_fn write, void *ctx) {
    falkor__page page = {.more = false};
    falkor__series all = {&page, snapshots, count};
    falkor_status status = FALKOR_OK;
    if (!write || (unsigned)format > FALKOR_FORMAT_MEM)
        return FALKOR_ERR_ARGUMENT;
    for (size_t i = 0; i < count; i++)
        if (!snapshots || !snapshots[i])
            return FALKOR_ERR_ARGUMENT;
    if (format == FALKOR_FORMAT_PROMETHEUS &&
        falkor__any_alike(snapshots, count))
        return FALKOR_ERR_ARGUMENT;
    falkor__buffer_begin(&page.text);
    falkor__write_all(&all, format);
    if (page.text.failed)
        status = FALKOR_ERR_NOMEM;
    else if (!write(ctx, page.text.text, page.text.length))
        status = FALKOR_ERR_IO;
    falkor__buffer_end(&page.text);
    return status;
}
#endif
