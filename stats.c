/* Statistics: the counters and histograms that calls touch without a lock, the
   events that tell the program what happens to a pool, and a ready logger for
   them. Called by every room, calls none of them. snapshot.c reads a pool's
   statistics, report.c puts them into words. */
#include "internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t falkor__read(const atomic_uint_least64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#ifndef FALKOR_WITHOUT_STATISTICS
/* ---- histograms -------------------------------------------------------- */

#define FALKOR__STEP_BITS 6             /* 64 steps to a power of two */
#define FALKOR__FIRST_BITS 10           /* below 2^10 ns all are alike */

static unsigned falkor__bit_length(uint64_t number) {
#ifdef __GNUC__
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
#else
    unsigned bits = 0;
    while (bits < 64 && number >> bits)
        bits++;
    return bits;
#endif
}

/* Of a longer time the power of two counts, and the next six bits. */
size_t falkor__step_of(uint64_t ns) {
    unsigned bits = falkor__bit_length(ns);
    if (bits <= FALKOR__FIRST_BITS)
        return (size_t)(ns >> (FALKOR__FIRST_BITS - FALKOR__STEP_BITS));
    size_t power = bits - FALKOR__FIRST_BITS;
    size_t step = ((power - 1) << FALKOR__STEP_BITS) +
                  (size_t)(ns >> (bits - 1 - FALKOR__STEP_BITS));
    return step < FALKOR__STEPS ? step : FALKOR__STEPS - 1;
}

uint64_t falkor__step_begin_ns(size_t step) {
    size_t power = step >> FALKOR__STEP_BITS;
    uint64_t bits = step & ((1U << FALKOR__STEP_BITS) - 1);
    return power ? (bits + (1U << FALKOR__STEP_BITS)) <<
            (power + FALKOR__FIRST_BITS - FALKOR__STEP_BITS - 1)
        : bits << (FALKOR__FIRST_BITS - FALKOR__STEP_BITS);
}

static void falkor__add(atomic_uint_least64_t *sum, uint64_t more) {
    atomic_fetch_add_explicit(sum, more, memory_order_relaxed);
}

void falkor__record(falkor__recorder *recorder, falkor_latency_kind kind,
                    int64_t ns, uint64_t weight) {
    if (!FALKOR__TIMES)
        return;
    uint64_t time = ns > 0 ? (uint64_t)ns : 0;
    falkor__histogram *histogram = kind < FALKOR__OFTEN
        ? &falkor__my_part(recorder)->times[kind]
        : &recorder->seldom[kind - FALKOR__OFTEN];
    falkor__add(&histogram->counts[falkor__step_of(time)], weight);
    falkor__add(&histogram->sum_ns, time * weight);
    uint64_t longest = falkor__read(&histogram->max_ns);
    while (longest < time && !atomic_compare_exchange_weak_explicit(
            &histogram->max_ns, &longest, time, memory_order_relaxed,
            memory_order_relaxed))
        continue;
}

static void falkor__timing_add(falkor__timing *timing,
                               const falkor__histogram *from) {
    uint64_t longest = falkor__read(&from->max_ns);
    for (size_t i = 0; i < FALKOR__STEPS; i++)
        timing->counts[i] += falkor__read(&from->counts[i]);
    timing->sum_ns += falkor__read(&from->sum_ns);
    if (longest > timing->max_ns)
        timing->max_ns = longest;
}

void falkor__timing_read(const falkor__recorder *recorder,
                         falkor_latency_kind kind, falkor__timing *timing) {
    memset(timing, 0, sizeof *timing);
    for (int i = 0; kind < FALKOR__OFTEN && i < FALKOR__PARTS; i++)
        falkor__timing_add(timing, &recorder->parts[i].times[kind]);
    if (kind >= FALKOR__OFTEN)
        falkor__timing_add(timing, &recorder->seldom[kind - FALKOR__OFTEN]);
}
#endif

/* ---- counters ---------------------------------------------------------- */

/* queries is the sum of how they ended, so that the two agree. */
void falkor__recorder_read(const falkor__recorder *recorder,
                           falkor_stats *stats) {
    for (int part = 0; part < FALKOR__PARTS; part++) {
        const falkor__part *from = &recorder->parts[part];
        stats->retries += falkor__read(&from->retries);
        for (int i = 0; i < FALKOR_STATUS_SLOTS; i++)
            stats->errors[i] += falkor__read(&from->ends[i]);
    }
    for (int i = 0; i < FALKOR_STATUS_SLOTS; i++)
        stats->queries += stats->errors[i];
}

void falkor__stats_rate(falkor_stats *stats) {
    stats->utilization_percent = stats->max_size
        ? 100.0 * stats->active / stats->max_size : 0;
}

void falkor__stats_add(falkor_stats *sum, const falkor_stats *other) {
#define FALKOR__ADD(field) sum->field += other->field;
    FALKOR__EACH_COUNTER(FALKOR__ADD)
    FALKOR__ADD(max_size) FALKOR__ADD(min_size) FALKOR__ADD(reserve_size)
    FALKOR__ADD(total) FALKOR__ADD(active) FALKOR__ADD(idle)
    FALKOR__ADD(connecting) FALKOR__ADD(closing) FALKOR__ADD(waiting)
#undef FALKOR__ADD
    for (int i = 0; i < FALKOR_STATUS_SLOTS; i++)
        sum->errors[i] += other->errors[i];
    falkor__stats_rate(sum);
    sum->initialized = sum->initialized && other->initialized;
    sum->closed = sum->closed || other->closed;
    sum->paused = sum->paused || other->paused;
    if (sum->circuit == FALKOR_CIRCUIT_CLOSED)
        sum->circuit = other->circuit;
}

#ifndef FALKOR_WITHOUT_STATISTICS
uint64_t falkor__time_sum(const falkor__recorder *recorder,
                          falkor_latency_kind kind) {
    uint64_t sum = 0;
    for (int i = 0; i < FALKOR__PARTS; i++)
        sum += falkor__read(&recorder->parts[i].times[kind].sum_ns);
    return sum;
}

uint64_t falkor__failed_waits(const falkor__recorder *recorder) {
    uint64_t sum = 0;
    for (int i = 0; i < FALKOR__PARTS; i++)
        sum += atomic_load_explicit(&recorder->parts[i].failed_waits,
                                    memory_order_acquire);
    return sum;
}

uint64_t falkor__bare_timeouts(const falkor__recorder *recorder) {
    uint64_t sum = 0;
    for (int i = 0; i < FALKOR__PARTS; i++)
        sum += falkor__read(&recorder->parts[i].timeouts);
    return sum;
}
#endif

/* ---- events ------------------------------------------------------------ */

int64_t falkor__unix_ms(void) {
    struct timespec wall;
    timespec_get(&wall, TIME_UTC);
    return (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / FALKOR__NS_PER_MS;
}

#ifndef FALKOR_WITHOUT_EVENTS
#define FALKOR__EVENT_SIZE 640          /* an error's message, and more */

/* Adds the error to a message. */
static void falkor__add_error(char *message, const char *text) {
    size_t length = strlen(message);
    length += (size_t)snprintf(message + length, FALKOR__EVENT_SIZE - length,
                               length ? " error=" : "error=");
    falkor__quote(message + length, FALKOR__EVENT_SIZE - length, text);
}

void falkor__event(const falkor__config *config,
                   const falkor__event_head *head, const char *format, ...) {
    static _Thread_local bool telling;  /* what a callback does is not told */
    if (!falkor__tells(config) || telling)
        return;
    char message[FALKOR__EVENT_SIZE], node[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (head->error)
        falkor__add_error(message, head->error->message);
    falkor_event event = {.level = head->level, .name = head->name,
        .message = message, .attempt = head->attempt,
        .status = head->error ? head->error->status : FALKOR_OK,
        .delay_ms = head->delay_ms,
        .pool = config->name ? config->name : config->client_name,
        .node = config->is_node ? falkor__place(config, node, sizeof node)
                                : NULL,
        .unix_ms = falkor__unix_ms()};
    telling = true;
    config->on_event(config->event_ctx, &event);
    telling = false;
}
#endif

const char *falkor__quote(char *room, size_t size, const char *text) {
    size_t at = 0;
    room[at++] = '"';
    for (; *text && at + 4 < size; text++) {
        if (*text == '"' || *text == '\\')
            room[at++] = '\\';
        room[at++] = (char)((unsigned char)*text < ' ' ? ' ' : *text);
    }
    if (*text)                          /* cut: at a whole character */
        at = 1 + falkor__trim_utf8(room + 1, at - 1);
    room[at++] = '"';
    room[at] = '\0';
    return room;
}

#ifndef FALKOR_WITHOUT_EVENTS
/* The end of the value that begins here: the space behind it, its closing
   quote, or the text's end. */
static const char *falkor__value_end(const char *at) {
    if (*at != '"')
        return at + strcspn(at, " ");
    for (at++; *at && *at != '"'; at++)
        at += *at == '\\' && at[1];
    return at;
}

/* Where key's value begins; NULL: there is no such key. */
static const char *falkor__value_of(const char *message, const char *key) {
    size_t length = strlen(key);
    while (*message) {
        const char *value = message + strcspn(message, "= ");
        bool found = *value == '=' && (size_t)(value - message) == length &&
                     memcmp(message, key, length) == 0;
        value += *value == '=';
        if (found)
            return value;
        message = falkor__value_end(value);
        message += strspn(message, "\" ");
    }
    return NULL;
}

bool falkor_event_field(const falkor_event *event, const char *key, char *room,
                        size_t size) {
    const char *at = event && key ? falkor__value_of(event->message, key)
                                  : NULL;
    size_t length = 0;
    if (size)
        *room = '\0';
    if (!at || !size)
        return at != NULL;
    const char *end = falkor__value_end(at);
    bool quoted = *at == '"';
    for (at += quoted; at < end && length + 1 < size; at++) {
        at += quoted && *at == '\\' && at + 1 < end;
        room[length++] = *at;
    }
    room[length] = '\0';
    if (at < end)
        falkor__trim_utf8(room, length);
    return true;
}

/* name as a value of a line; quoted where it would not be one by itself. */
static const char *falkor__as_value(char *room, size_t size,
                                    const char *name) {
    bool plain = *name != '\0' && strlen(name) < size;
    for (const char *at = name; plain && *at; at++)
        plain = (unsigned char)*at > ' ' && *at != '"' && *at != '\\';
    if (!plain)
        return falkor__quote(room, size, name);
    return name;
}

void falkor_log_event(void *ctx, const falkor_event *event) {
    static const char *const levels[] = {"info", "warning", "error"};
    (void)ctx;
    if (!event)
        return;
    char line[1024], name[160];
    int length = snprintf(line, sizeof line - 1,
        "level=%s event=%s%s%s%s%s%s%s",
        (unsigned)event->level < 3 ? levels[event->level] : "unknown",
        event->name, event->pool ? " pool=" : "",
        event->pool ? falkor__as_value(name, sizeof name, event->pool) : "",
        event->node ? " node=" : "", event->node ? event->node : "",
        *event->message ? " " : "", event->message);
    size_t end = (size_t)length < sizeof line - 1 ? (size_t)length
                                                  : sizeof line - 2;
    line[end] = '\n';
    fwrite(line, 1, end + 1, stderr);
}
#endif
