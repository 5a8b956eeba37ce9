/* Statistics: the counters that calls touch without a lock, the events that
   tell the program what happens to a pool, and a ready logger for them. Called
   by every room, calls none of them. */
#include "internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static uint64_t falkor__counter_read(atomic_uint_least64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void falkor__counters_read(falkor__counters *counters, falkor_stats *stats) {
    stats->queries = falkor__counter_read(&counters->queries);
    stats->retries = falkor__counter_read(&counters->retries);
    for (int i = 0; i < FALKOR_STATUS_SLOTS; i++)
        stats->errors[i] = falkor__counter_read(&counters->errors[i]);
}

void falkor__event(const falkor__config *config, falkor__event_head head,
                   const char *format, ...) {
    if (!config->on_event)
        return;
    char message[640];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    falkor_event event = {.level = head.level, .name = head.name,
        .message = message, .status = head.status, .attempt = head.attempt,
        .delay_ms = head.delay_ms};
    config->on_event(config->event_ctx, &event);
}

const char *falkor__quote(char *room, size_t size, const char *text) {
    size_t at = 0;
    room[at++] = '"';
    for (; *text && at + 4 < size; text++) {
        if (*text == '"' || *text == '\\')
            room[at++] = '\\';
        room[at++] = (unsigned char)*text < ' ' ? ' ' : *text;
    }
    if (*text)                          /* cut: at a whole character */
        at = 1 + falkor__trim_utf8(room + 1, at - 1);
    room[at++] = '"';
    room[at] = '\0';
    return room;
}

void falkor_log_event(void *ctx, const falkor_event *event) {
    static const char *const levels[] = {"info", "warning", "error"};
    (void)ctx;
    if (!event)
        return;
    char line[1024];
    int length = snprintf(line, sizeof line - 1, "level=%s event=%s%s%s",
        (unsigned)event->level < 3 ? levels[event->level] : "unknown",
        event->name, *event->message ? " " : "", event->message);
    size_t end = (size_t)length < sizeof line - 1 ? (size_t)length
                                                  : sizeof line - 2;
    line[end] = '\n';
    fwrite(line, 1, end + 1, stderr);
}
