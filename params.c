/* The encoder: parameters as the text of a query's CYPHER header, and the
   request's other pieces. No input can change the query: every value is
   written as a literal of its own type, and what has no literal is refused
   before anything is sent. Knows nothing of connections. */
#include "internal.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffer ----------------------------------------------------------- */

void falkor__buffer_begin(falkor__buffer *buffer) {
    buffer->text = buffer->inside;
    buffer->length = 0;
    buffer->size = sizeof buffer->inside;
    buffer->failed = false;
    buffer->heap = NULL;
}

void falkor__buffer_end(falkor__buffer *buffer) {
    if (buffer->text != buffer->inside)
        falkor__give(buffer->heap, buffer->text);
}

bool falkor__buffer_grow(falkor__buffer *buffer, size_t more) {
    bool inside = buffer->text == buffer->inside;
    size_t size = buffer->size;
    if (buffer->failed)
        return false;
    while (size - buffer->length < more && size <= SIZE_MAX / 2)
        size *= 2;
    char *text = size - buffer->length < more ? NULL
        : falkor__take_more(buffer->heap, inside ? NULL : buffer->text, size);
    if (!text) {
        buffer->failed = true;
        buffer->size = buffer->length;  /* what comes next comes here too */
        return false;
    }
    if (inside)
        memcpy(text, buffer->inside, buffer->length);
    buffer->text = text;
    buffer->size = size;
    return true;
}

void falkor__buffer_add(falkor__buffer *buffer, const char *bytes,
                        size_t length) {
    if (length == 0 || (buffer->size - buffer->length < length &&
                        !falkor__buffer_grow(buffer, length)))
        return;
    memcpy(buffer->text + buffer->length, bytes, length);
    buffer->length += length;
}

void falkor__buffer_format(falkor__buffer *buffer, const char *format, ...) {
    va_list arguments, again;
    size_t room = buffer->size - buffer->length;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t length = (size_t)vsnprintf(buffer->text + buffer->length, room,
                                      format, arguments);
    if (length >= room && falkor__buffer_grow(buffer, length + 1))
        vsnprintf(buffer->text + buffer->length, length + 1, format, again);
    if (!buffer->failed)
        buffer->length += length;
    va_end(again);
    va_end(arguments);
}

char *falkor__digits_before(char *end, uint64_t number) {
    do
        *--end = (char)('0' + number % 10);
    while (number /= 10);
    return end;
}

char *falkor__number_before(char *end, char mark, uint64_t number) {
    *--end = '\n';
    *--end = '\r';
    end = falkor__digits_before(end, number);
    *--end = mark;
    return end;
}

/* The mark of the digits is the end of the line of their length. */
char *falkor__argument_before(char *end, uint64_t number) {
    char *digits = falkor__number_before(end, '\n', number) + 1;
    return falkor__number_before(digits, '$', (size_t)(end - digits) - 2);
}

void falkor__buffer_number(falkor__buffer *buffer, char mark,
                           uint64_t number) {
    char text[FALKOR__NUMBER_SIZE], *end = text + sizeof text;
    char *begin = falkor__number_before(end, mark, number);
    falkor__buffer_add(buffer, begin, (size_t)(end - begin));
}

void falkor__buffer_argument(falkor__buffer *buffer, const char *bytes,
                             size_t length) {
    falkor__buffer_number(buffer, '$', length);
    falkor__buffer_add(buffer, bytes, length);
    falkor__buffer_add(buffer, "\r\n", 2);
}

void falkor__buffer_command(falkor__buffer *buffer, size_t argc,
                            const char *const *argv, const size_t *lengths) {
    falkor__buffer_number(buffer, '*', argc);
    for (size_t i = 0; i < argc; i++)
        falkor__buffer_argument(buffer, argv[i],
                                lengths ? lengths[i] : strlen(argv[i]));
}

/* ---- values ----------------------------------------------------------- */

/* Deeper values are refused: a parameter nested some ten thousand deep crashes
   FalkorDB 4.16, and nobody means it. */
#define FALKOR__PARAM_DEPTH 128

typedef struct falkor__encoder {
    falkor__buffer *out;
    const char *name;           /* of the parameter, for messages */
    falkor_error *error;
} falkor__encoder;

static falkor_status falkor__encode_value(falkor__encoder *e,
                                          const falkor_value *value,
                                          int depth);

static falkor_status falkor__reject(falkor__encoder *e, const char *what) {
    return falkor__refuse(e->error, "parameter \"%s\": %s", e->name, what);
}

static void falkor__put(falkor__encoder *e, const char *text) {
    falkor__buffer_add(e->out, text, strlen(text));
}

static void falkor__encode_integer(falkor__encoder *e, int64_t integer) {
    char text[FALKOR__NUMBER_SIZE], *end = text + sizeof text;
    bool minus = integer < 0;
    char *begin = falkor__digits_before(end,
        minus ? 0 - (uint64_t)integer : (uint64_t)integer);
    if (minus)
        *--begin = '-';
    falkor__buffer_add(e->out, begin, (size_t)(end - begin));
}

/* In double quotes; only the quote and the backslash are escaped, all other
   bytes travel as they are. */
static falkor_status falkor__encode_string(falkor__encoder *e,
                                           const char *bytes, size_t length) {
    if (length && memchr(bytes, '\0', length))
        return falkor__reject(e, "a string with a NUL byte cannot travel: "
                                 "encode it, as base64 or hex");
    size_t from = 0;
    falkor__put(e, "\"");
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != '"' && bytes[i] != '\\')
            continue;
        falkor__buffer_add(e->out, bytes + from, i - from);
        falkor__put(e, "\\");
        from = i;
    }
    if (length > from)
        falkor__buffer_add(e->out, bytes + from, length - from);
    falkor__put(e, "\"");
    return FALKOR_OK;
}

/* A number of at most six decimals, as most are; false: it has more. Reading
   the text rounds the quotient of two whole doubles, as the division here does:
   where this gives the number back, that will too. */
static bool falkor__encode_decimal(falkor__encoder *e, double real) {
    char text[FALKOR__NUMBER_SIZE], *point = text + 16, *end = point;
    double plus = fabs(real);
    int64_t millionths = plus < 9e9 ? (int64_t)(plus * 1e6 + 0.5) : -1;
    if ((double)millionths / 1e6 != plus)
        return false;
    char *begin = falkor__digits_before(point,
                                        (uint64_t)millionths / 1000000);
    if (signbit(real))
        *--begin = '-';
    int rest = (int)(millionths % 1000000);
    *end++ = '.';
    do {
        *end++ = (char)('0' + rest / 100000);
        rest = rest % 100000 * 10;
    } while (rest);
    falkor__buffer_add(e->out, begin, (size_t)(end - begin));
    return true;
}

/* digits 17 for a double, 9 for a float: what reads back the same. With a
   point or an exponent, whatever the locale: else it would be an integer. */
static falkor_status falkor__encode_real(falkor__encoder *e, double real,
                                         int digits) {
    char text[64], plain[64];
    size_t at = 0;
    bool whole = true;
    if (falkor__encode_decimal(e, real))
        return FALKOR_OK;
    if (!isfinite(real))
        return falkor__reject(e, isnan(real)
            ? "NaN cannot travel: send null or a string"
            : "an infinity cannot travel: send null or a string");
    snprintf(text, sizeof text, "%.*g", digits, real);
    for (const char *p = text; *p; p++) {
        bool known = strchr("0123456789+-e", *p) != NULL;
        whole = whole && known && *p != 'e';
        if (known)
            plain[at++] = *p;
        else if (at && plain[at - 1] != '.')
            plain[at++] = '.';          /* the locale's, of any length */
    }
    falkor__buffer_add(e->out, plain, at);
    if (whole)
        falkor__put(e, ".0");
    return FALKOR_OK;
}

/* A key or a name, in backticks. */
static falkor_status falkor__encode_name(falkor__encoder *e,
                                         const char *name) {
    if (!name)
        return falkor__reject(e, "a key is NULL");
    if (!*name)
        return falkor__reject(e, "an empty key cannot travel");
    if (strchr(name, '`'))
        return falkor__reject(e, "a backtick in a key cannot travel");
    falkor__put(e, "`");
    falkor__put(e, name);
    falkor__put(e, "`");
    return FALKOR_OK;
}

/* The elements of an array, a vector or, with their keys, a map. */
/* NOLINTNEXTLINE(misc-no-recursion): FALKOR__PARAM_DEPTH ends it */
static falkor_status falkor__encode_list(falkor__encoder *e,
                                         const falkor_value *value,
                                         int depth) {
    falkor_status status = FALKOR_OK;
    bool map = value->type == FALKOR_MAP;
    falkor__put(e, map ? "{" : "[");
    for (uint32_t i = 0; i < value->length && !status; i++) {
        if (i)
            falkor__put(e, ",");
        if (map) {
            status = falkor__encode_name(e, value->as.entries[i].key);
            falkor__put(e, ":");
        }
        if (!status)
            status = value->type == FALKOR_VECTORF32
                ? falkor__encode_real(e, (double)value->as.vector[i], 9)
                : falkor__encode_value(e, map ? &value->as.entries[i].value
                                              : &value->as.items[i],
                                       depth + 1);
    }
    falkor__put(e, map ? "}" : "]");
    return status;
}

/* What point() takes. */
static falkor_status falkor__encode_point(falkor__encoder *e,
                                          const falkor_point *point) {
    falkor__put(e, "{latitude:");
    falkor_status status = falkor__encode_real(e, point->latitude, 17);
    falkor__put(e, ",longitude:");
    if (!status)
        status = falkor__encode_real(e, point->longitude, 17);
    falkor__put(e, "}");
    return status;
}

/* What date(), localtime(), localdatetime() and duration() take. */
static falkor_status falkor__encode_temporal(falkor__encoder *e,
                                             const falkor_value *value) {
    char text[FALKOR__ISO8601_SIZE];
    size_t length = falkor__iso8601(value->type, value->as.seconds, text);
    return falkor__encode_string(e, text, length);
}

static bool falkor__lacks_parts(const falkor_value *value) {
    switch (value->type) {
    case FALKOR_STRING: return value->length && !value->as.string;
    case FALKOR_ARRAY: return value->length && !value->as.items;
    case FALKOR_MAP: return value->length && !value->as.entries;
    case FALKOR_VECTORF32: return value->length && !value->as.vector;
    default: return false;
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): FALKOR__PARAM_DEPTH ends it */
static falkor_status falkor__encode_value(falkor__encoder *e,
                                          const falkor_value *value,
                                          int depth) {
    if (depth > FALKOR__PARAM_DEPTH)
        return falkor__reject(e, "nested more than 128 deep: send it flatter, "
            "or as text");
    if (falkor__lacks_parts(value))
        return falkor__reject(e, "a length, but the pointer is NULL");
    switch (value->type) {
    case FALKOR_NULL:
        falkor__put(e, "null");
        return FALKOR_OK;
    case FALKOR_STRING:
        return falkor__encode_string(e, value->as.string, value->length);
    case FALKOR_INTEGER:
        falkor__encode_integer(e, value->as.integer);
        return FALKOR_OK;
    case FALKOR_BOOLEAN:
        falkor__put(e, value->as.boolean ? "true" : "false");
        return FALKOR_OK;
    case FALKOR_DOUBLE:
        return falkor__encode_real(e, value->as.real, 17);
    case FALKOR_ARRAY: case FALKOR_MAP: case FALKOR_VECTORF32:
        return falkor__encode_list(e, value, depth);
    case FALKOR_POINT:
        return value->as.point ? falkor__encode_point(e, value->as.point)
                               : falkor__reject(e, "a point that is NULL");
    case FALKOR_DATETIME: case FALKOR_DATE: case FALKOR_TIME:
    case FALKOR_DURATION:
        return falkor__encode_temporal(e, value);
    case FALKOR_NODE: case FALKOR_EDGE: case FALKOR_PATH:
        return falkor__reject(e, "a node, edge or path cannot travel: send "
            "its id or its properties");
    case FALKOR_UNKNOWN: case FALKOR_ERROR_REPLY:
        break;
    }
    return falkor__reject(e, "not a value: longer than UINT32_MAX, or of a "
        "type that has no literal");
}

/* Two bits for each name so far. A name of which one was not set is new; one of
   which both were is looked for: of a thousand names every fiftieth or so. */
#define FALKOR__SEEN_BITS 8192

static bool falkor__set_bit(uint64_t *bits, uint64_t number) {
    uint64_t *word = &bits[number % FALKOR__SEEN_BITS / 64];
    uint64_t bit = UINT64_C(1) << number % 64;
    bool before = *word & bit;
    *word |= bit;
    return before;
}

/* The caller's slip, and the server would take the last one silently. */
static bool falkor__named_before(const falkor_param *params,
                                 const falkor_param *at, uint64_t *seen) {
    uint64_t hash = 0;
    for (const char *byte = at->name; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * UINT64_C(0x9e3779b97f4a7c15);
    bool first = falkor__set_bit(seen, hash >> 51);
    bool second = falkor__set_bit(seen, hash >> 38);
    if (!first || !second)
        return false;
    while (params < at && strcmp(params->name, at->name) != 0)
        params++;
    return params < at;
}

falkor_status falkor__encode_params(const falkor_param *params,
                                    falkor__buffer *buffer,
                                    falkor_error *error) {
    falkor__encoder e = {.out = buffer, .error = error};
    falkor_status status = FALKOR_OK;
    if (!params || !params->name)
        return FALKOR_OK;
    uint64_t seen[FALKOR__SEEN_BITS / 64] = {0};
    falkor__put(&e, "CYPHER ");
    for (const falkor_param *at = params; at->name && !status; at++) {
        e.name = at->name;
        status = falkor__named_before(params, at, seen)
            ? falkor__reject(&e, "it is given twice")
            : falkor__encode_name(&e, at->name);
        falkor__put(&e, "=");
        if (!status)
            status = falkor__encode_value(&e, &at->value, 1);
        falkor__put(&e, " ");
    }
    if (!status && buffer->failed)
        status = falkor__no_memory(error, "out of memory for the parameters");
    return status;
}

/* ---- making values ---------------------------------------------------- */

falkor_value falkor_null(void) {
    return (falkor_value){.type = FALKOR_NULL};
}

falkor_value falkor_bool(bool boolean) {
    falkor_value value = {.type = FALKOR_BOOLEAN};
    value.as.boolean = boolean;
    return value;
}

falkor_value falkor_int(int64_t integer) {
    return (falkor_value){.type = FALKOR_INTEGER, .as.integer = integer};
}

falkor_value falkor_double(double real) {
    return (falkor_value){.type = FALKOR_DOUBLE, .as.real = real};
}

/* A value of so many parts, or what stands for too many. */
static falkor_value falkor__sized(falkor_type type, size_t length) {
    falkor_value value = {.type = type, .length = (uint32_t)length};
    if (length > UINT32_MAX)
        value = (falkor_value){.type = FALKOR_UNKNOWN};
    return value;
}

falkor_value falkor_string_n(const char *bytes, size_t length) {
    if (!bytes)
        return falkor_null();
    falkor_value value = falkor__sized(FALKOR_STRING, length);
    value.as.string = bytes;
    return value;
}

falkor_value falkor_string(const char *text) {
    return falkor_string_n(text, text ? strlen(text) : 0);
}

falkor_value falkor_array(const falkor_value *items, size_t count) {
    if (!items)
        return falkor_null();
    falkor_value value = falkor__sized(FALKOR_ARRAY, count);
    value.as.items = items;
    return value;
}

falkor_value falkor_map(const falkor_entry *entries, size_t count) {
    if (!entries)
        return falkor_null();
    falkor_value value = falkor__sized(FALKOR_MAP, count);
    value.as.entries = entries;
    return value;
}

falkor_value falkor_vectorf32(const float *floats, size_t count) {
    if (!floats)
        return falkor_null();
    falkor_value value = falkor__sized(FALKOR_VECTORF32, count);
    value.as.vector = floats;
    return value;
}
