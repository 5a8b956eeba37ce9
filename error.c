/* Statuses, error messages and deadlines: the small change that every other
   file passes around. Knows no pool, no connection, no graph. */
#include "internal.h"
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name, *text; } falkor__statuses[] = {
#define FALKOR__STATUS_ROW(name, number, text) [number] = {#name, text},
    FALKOR_STATUS_LIST(FALKOR__STATUS_ROW)
#undef FALKOR__STATUS_ROW
};
_Static_assert((int)FALKOR_STATUS_COUNT <= FALKOR_STATUS_SLOTS,
               "falkor_stats.errors has a slot for each status");

const char *falkor_status_name(falkor_status status) {
    return (unsigned)status < FALKOR_STATUS_COUNT
        ? falkor__statuses[status].name : "unknown status";
}

const char *falkor_status_text(falkor_status status) {
    return (unsigned)status < FALKOR_STATUS_COUNT
        ? falkor__statuses[status].text : "unknown status";
}

size_t falkor__utf8_span(const unsigned char *text, size_t length,
                         bool *valid) {
    unsigned char lead = text[0], low = 0x80, high = 0xbf;
    size_t need = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2
                : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    size_t have = 1;
    while (have < need && have < length && text[have] >= low
           && text[have] <= high) {
        have++;
        low = 0x80;
        high = 0xbf;
    }
    *valid = have == need;
    return have;
}

size_t falkor__trim_utf8(char *text, size_t length) {
    size_t begin = length;
    while (begin > 0 && length - begin < 4) {
        unsigned char byte = (unsigned char)text[--begin];
        if (byte < 0x80)
            break;
        if (byte >= 0xC0) {             /* the lead byte of the last one */
            size_t need = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
            if (length - begin < need)
                length = begin;
            break;
        }
    }
    text[length] = '\0';
    return length;
}

/* Control bytes become spaces, and what is no UTF-8, for the server cuts its
   texts anywhere, question marks. */
static void falkor__clean(unsigned char *text) {
    bool valid;
    for (size_t left = strlen((char *)text), span; left > 0;
         text += span, left -= span) {
        span = falkor__utf8_span(text, left, &valid);
        if (!valid)
            memset(text, '?', span);
        else if (*text < ' ' || *text == 0x7f)
            *text = ' ';
    }
}

/* error, whose message was written, and would have had so many bytes. */
static void falkor__written(falkor_error *error, falkor_status status,
                            int sys_errno, int length) {
    error->status = status;
    error->sys_errno = sys_errno;
    if (length >= (int)sizeof error->message)
        falkor__trim_utf8(error->message, sizeof error->message - 1);
    falkor__clean((unsigned char *)error->message);
}

falkor_status falkor__fail_text(falkor_error *error, falkor_status status,
                                int sys_errno, const char *text) {
    if (error)
        falkor__written(error, status, sys_errno, snprintf(error->message,
            sizeof error->message, "%s", text));
    return status;
}

#ifdef FALKOR_WITHOUT_MESSAGES
falkor_status falkor__fail_briefly(falkor_error *error, falkor_status status,
                                   int sys_errno) {
    return falkor__fail_text(error, status, sys_errno,
                             falkor_status_text(status));
}
#else
static void falkor__fill(falkor_error *error, falkor_status status,
                         int sys_errno, const char *format,
                         va_list arguments) {
    if (error)
        falkor__written(error, status, sys_errno, vsnprintf(error->message,
            sizeof error->message, format, arguments));
}

falkor_status falkor__fail(falkor_error *error, falkor_status status,
                           int sys_errno, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    falkor__fill(error, status, sys_errno, format, arguments);
    va_end(arguments);
    return status;
}

falkor_status falkor__refuse(falkor_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    falkor__fill(error, FALKOR_ERR_ARGUMENT, 0, format, arguments);
    va_end(arguments);
    return FALKOR_ERR_ARGUMENT;
}

falkor_status falkor__no_memory(falkor_error *error, const char *text) {
    return falkor__fail_text(error, FALKOR_ERR_NOMEM, 0, text);
}

void falkor__fail_more(falkor_error *error, const char *format, ...) {
    char more[FALKOR__MORE_SIZE];
    if (!error)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(more, sizeof more, format, arguments);
    va_end(arguments);
    size_t length = strlen(error->message);
    size_t room = sizeof error->message - 1 - strlen(more);
    if (length > room)
        length = falkor__trim_utf8(error->message, room);
    memcpy(error->message + length, more, strlen(more) + 1);
}
#endif

/* Of C libraries whose strerror shares a buffer, none does for numbers that it
   knows. */
const char *falkor__errno_text(int sys_errno) {
    return strerror(sys_errno);         /* NOLINT(concurrency-mt-unsafe) */
}

int64_t falkor_now_ns(void) {
    return falkor__clock_ns(CLOCK_MONOTONIC);
}

int64_t falkor__deadline(int timeout_ms) {
    return timeout_ms < 0 ? FALKOR__NEVER
        : falkor_now_ns() + timeout_ms * FALKOR__NS_PER_MS;
}

int falkor__poll_ms(int64_t deadline_ns) {
    if (deadline_ns == FALKOR__NEVER)
        return -1;
    int64_t left = deadline_ns - falkor_now_ns();
    if (left <= 0)
        return 0;
    left = (left + FALKOR__NS_PER_MS - 1) / FALKOR__NS_PER_MS;
    return left > INT_MAX ? INT_MAX : (int)left;
}
