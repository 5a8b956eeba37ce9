/* A result or a value as JSON text: through a callback, in constant memory but
   for a stack as deep as the data, or into one block for the caller. Also the
   text of temporal values, which parameters need too. Knows values only: no
   connection, no pool. Nothing here depends on the locale, and nothing
   recurses, for the data came from the network. */
#include "internal.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- temporal values -------------------------------------------------- */

static int64_t falkor__floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);         /* b > 0 */
}

typedef struct falkor__civil { int64_t year; int month, day; } falkor__civil;

/* The proleptic Gregorian date of a day counted from 1970-01-01. Years begin
   in March here, so that the leap day is the last of its year, of its four
   years, and so on: each cycle is a whole number of days and a rest. */
static falkor__civil falkor__civil_of(int64_t day) {
    static const int begins[] = {0, 31, 61, 92, 122, 153, 184, 214, 245, 275,
                                 306, 337};
    day += 719468;                      /* 0000-03-01 is day 0 */
    int64_t cycle = falkor__floor_div(day, 146097);
    int rest = (int)(day - cycle * 146097);
    int century = rest / 36524 < 3 ? rest / 36524 : 3;
    rest -= century * 36524;
    int quad = rest / 1461;
    rest -= quad * 1461;
    int year = rest / 365 < 3 ? rest / 365 : 3;
    rest -= year * 365;
    int month = 11;
    while (begins[month] > rest)
        month--;
    return (falkor__civil){
        .year = cycle * 400 + century * 100L + quad * 4L + year + (month >= 10),
        .month = month < 10 ? month + 3 : month - 9,
        .day = rest - begins[month] + 1};
}

static size_t falkor__iso8601_date(int64_t day,
                                   char room[FALKOR__ISO8601_SIZE]) {
    falkor__civil date = falkor__civil_of(day);
    const char *sign = date.year > 9999 ? "+" : date.year < 0 ? "-" : "";
    return (size_t)snprintf(room, FALKOR__ISO8601_SIZE,
        "%s%04" PRId64 "-%02d-%02d", sign,
        date.year < 0 ? -date.year : date.year, date.month, date.day);
}

static size_t falkor__iso8601_time(int seconds, char *room, size_t size) {
    return (size_t)snprintf(room, size, "%02d:%02d:%02d", seconds / 3600,
                            seconds / 60 % 60, seconds % 60);
}

/* FalkorDB knows no sign before the P: each part bears its own. */
static size_t falkor__iso8601_duration(int64_t seconds,
                                       char room[FALKOR__ISO8601_SIZE]) {
    const struct { int64_t amount; char unit; } parts[] = {
        {seconds / 86400, 'D'}, {seconds / 3600 % 24, 'H'},
        {seconds / 60 % 60, 'M'}, {seconds % 60, 'S'}};
    size_t at = 0;
    room[at++] = 'P';
    for (size_t i = 0; i < 4; i++) {
        if (parts[i].amount == 0 && !(i == 3 && seconds == 0))
            continue;
        if (i > 0 && !memchr(room, 'T', at))
            room[at++] = 'T';
        at += (size_t)snprintf(room + at, FALKOR__ISO8601_SIZE - at,
                               "%" PRId64 "%c", parts[i].amount,
                               parts[i].unit);
    }
    return at;
}

size_t falkor__iso8601(falkor_type type, int64_t seconds,
                       char room[FALKOR__ISO8601_SIZE]) {
    int64_t day = falkor__floor_div(seconds, 86400);
    int rest = (int)((seconds % 86400 + 86400) % 86400);
    if (type == FALKOR_DURATION)
        return falkor__iso8601_duration(seconds, room);
    if (type == FALKOR_TIME)
        return falkor__iso8601_time(rest, room, FALKOR__ISO8601_SIZE);
    size_t length = falkor__iso8601_date(day, room);
    if (type == FALKOR_DATE)
        return length;
    room[length++] = 'T';
    return length + falkor__iso8601_time(rest, room + length,
                                         FALKOR__ISO8601_SIZE - length);
}

#ifndef FALKOR_WITHOUT_JSON
/* ---- writing ---------------------------------------------------------- */

/* A container that is being written: what it holds lies at data, its next
   element is number at of count. */
typedef enum falkor__json_kind {
    FALKOR__JSON_ITEMS, FALKOR__JSON_ENTRIES, FALKOR__JSON_NODE,
    FALKOR__JSON_EDGE, FALKOR__JSON_PATH, FALKOR__JSON_NODES,
    FALKOR__JSON_EDGES
} falkor__json_kind;
typedef struct falkor__json_frame {
    falkor__json_kind kind;
    const void *data;
    size_t at, count;
} falkor__json_frame;

enum { FALKOR__JSON_BUFFER = 4096, FALKOR__JSON_FRAMES = 32 };

/* status stops everything once it is not OK, so that only the end asks. */
typedef struct falkor__json {
    falkor_write_fn write;
    void *ctx;
    falkor_status status;
    size_t used, depth, room;
    falkor__json_frame *frames;         /* first, or on the heap when deep */
    falkor__json_frame first[FALKOR__JSON_FRAMES];
    char buffer[FALKOR__JSON_BUFFER];
} falkor__json;

static void falkor__json_flush(falkor__json *json) {
    if (json->status == FALKOR_OK && json->used > 0
        && !json->write(json->ctx, json->buffer, json->used))
        json->status = FALKOR_ERR_IO;
    json->used = 0;
}

static void falkor__json_bytes(falkor__json *json, const char *bytes,
                               size_t length) {
    while (length > 0 && json->status == FALKOR_OK) {
        if (json->used == FALKOR__JSON_BUFFER)
            falkor__json_flush(json);
        size_t fits = FALKOR__JSON_BUFFER - json->used;
        size_t part = length < fits ? length : fits;
        memcpy(json->buffer + json->used, bytes, part);
        json->used += part;
        bytes += part;
        length -= part;
    }
}

static void falkor__json_text(falkor__json *json, const char *text) {
    falkor__json_bytes(json, text, strlen(text));
}

static void falkor__json_integer(falkor__json *json, int64_t integer) {
    char text[24];
    int length = snprintf(text, sizeof text, "%" PRId64, integer);
    falkor__json_bytes(json, text, (size_t)length);
}

static void falkor__json_escape(falkor__json *json, unsigned char byte) {
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char text[8] = {'\\'};
    for (size_t i = 0; i < sizeof names - 1; i += 2)
        if ((unsigned char)names[i] == byte)
            text[1] = names[i + 1];
    if (!text[1])
        snprintf(text, sizeof text, "\\u%04x", (unsigned)byte);
    falkor__json_text(json, text);
}

static void falkor__json_string(falkor__json *json, const char *string,
                                size_t length) {
    const unsigned char *text = (const unsigned char *)string;
    size_t begin = 0, at = 0;           /* what is plain goes out at once */
    falkor__json_text(json, "\"");
    while (at < length) {
        bool valid = true, escape = text[at] < ' ' || text[at] == '"'
                                 || text[at] == '\\';
        size_t span = text[at] < 0x80 ? 1
            : falkor__utf8_span(text + at, length - at, &valid);
        if (valid && !escape) {
            at += span;
            continue;
        }
        falkor__json_bytes(json, string + begin, at - begin);
        if (escape)
            falkor__json_escape(json, text[at]);
        else
            falkor__json_bytes(json, "\xef\xbf\xbd", 3);
        begin = at += span;
    }
    falkor__json_bytes(json, string + begin, at - begin);
    falkor__json_text(json, "\"");
}

static void falkor__json_name(falkor__json *json, const char *name) {
    falkor__json_string(json, name, strlen(name));
}

/* Puts a point where the locale has its own decimal mark, maybe a long one. */
static void falkor__plain_decimal(char *text) {
    char *mark = text + strspn(text, "+-0123456789");
    size_t length = strcspn(mark, "+-0123456789eE");
    if (length == 0)
        return;
    *mark = '.';
    memmove(mark + 1, mark + length, strlen(mark + length) + 1);
}

static bool falkor__reads_back(const char *text, double real, bool single) {
    return single ? strtof(text, NULL) == (float)real
                  : strtod(text, NULL) == real;
}

/* The shortest text that reads back the same. What DBL_DIG digits cannot hold
   needs one or two more; among the subnormals fewer may do. A whole number has
   no point, as in other languages' JSON; minus zero keeps its sign by one. */
static void falkor__json_real(falkor__json *json, double real, bool single) {
    char text[48];
    int digits = single ? FLT_DIG : DBL_DIG;
    if (isnan(real)) {
        falkor__json_text(json, "\"NaN\"");
        return;
    }
    if (isinf(real)) {
        falkor__json_text(json, real > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    if (real == 0) {
        falkor__json_text(json, signbit(real) ? "-0.0" : "0");
        return;
    }
    if (fabs(real) < (single ? FLT_MIN : DBL_MIN))
        digits = 1;
    do
        snprintf(text, sizeof text, "%.*g", digits, real);
    while (digits++ < 17 && !falkor__reads_back(text, real, single));
    falkor__plain_decimal(text);
    falkor__json_text(json, text);
}

/* ---- values ----------------------------------------------------------- */

static void falkor__json_push(falkor__json *json, falkor__json_kind kind,
                              const void *data, size_t count) {
    if (json->depth == json->room) {
        bool heap = json->frames != json->first;
        falkor__json_frame *more = realloc(heap ? json->frames : NULL,
                                           2 * json->room * sizeof *more);
        if (!more) {
            json->status = FALKOR_ERR_NOMEM;
            return;
        }
        if (!heap)
            memcpy(more, json->first, sizeof json->first);
        json->frames = more;
        json->room *= 2;
    }
    json->frames[json->depth++] = (falkor__json_frame){
        .kind = kind, .data = data, .count = count};
}

static void falkor__json_node(falkor__json *json, const falkor_node *node) {
    falkor__json_text(json, "{\"id\":");
    falkor__json_integer(json, node->id);
    falkor__json_text(json, ",\"labels\":[");
    for (size_t i = 0; i < node->label_count; i++) {
        if (i > 0)
            falkor__json_text(json, ",");
        falkor__json_name(json, node->labels[i]);
    }
    falkor__json_text(json, "],\"properties\":");
    falkor__json_push(json, FALKOR__JSON_NODE, node, 1);
}

static void falkor__json_edge(falkor__json *json, const falkor_edge *edge) {
    falkor__json_text(json, "{\"id\":");
    falkor__json_integer(json, edge->id);
    falkor__json_text(json, ",\"type\":");
    falkor__json_name(json, edge->type);
    falkor__json_text(json, ",\"source\":");
    falkor__json_integer(json, edge->source);
    falkor__json_text(json, ",\"destination\":");
    falkor__json_integer(json, edge->destination);
    falkor__json_text(json, ",\"properties\":");
    falkor__json_push(json, FALKOR__JSON_EDGE, edge, 1);
}

static void falkor__json_point(falkor__json *json, const falkor_point *point) {
    falkor__json_text(json, "{\"latitude\":");
    falkor__json_real(json, point->latitude, false);
    falkor__json_text(json, ",\"longitude\":");
    falkor__json_real(json, point->longitude, false);
    falkor__json_text(json, "}");
}

static void falkor__json_vector(falkor__json *json,
                                const falkor_value *value) {
    falkor__json_text(json, "[");
    for (uint32_t i = 0; i < value->length; i++) {
        if (i > 0)
            falkor__json_text(json, ",");
        falkor__json_real(json, (double)value->as.vector[i], true);
    }
    falkor__json_text(json, "]");
}

static void falkor__json_temporal(falkor__json *json,
                                  const falkor_value *value) {
    char text[FALKOR__ISO8601_SIZE];
    size_t length = falkor__iso8601(value->type, value->as.seconds, text);
    falkor__json_string(json, text, length);
}

/* Writes a value that holds no other, or the begin of one that does. */
static void falkor__json_value(falkor__json *json, const falkor_value *value) {
    switch (value->type) {
    case FALKOR_STRING:
        falkor__json_string(json, value->as.string, value->length);
        break;
    case FALKOR_ERROR_REPLY:
        falkor__json_text(json, "{\"error\":");
        falkor__json_string(json, value->as.string, value->length);
        falkor__json_text(json, "}");
        break;
    case FALKOR_INTEGER:
        falkor__json_integer(json, value->as.integer);
        break;
    case FALKOR_BOOLEAN:
        falkor__json_text(json, value->as.boolean ? "true" : "false");
        break;
    case FALKOR_DOUBLE:
        falkor__json_real(json, value->as.real, false);
        break;
    case FALKOR_ARRAY:
        falkor__json_text(json, "[");
        falkor__json_push(json, FALKOR__JSON_ITEMS, value->as.items,
                          value->length);
        break;
    case FALKOR_MAP:
        falkor__json_text(json, "{");
        falkor__json_push(json, FALKOR__JSON_ENTRIES, value->as.entries,
                          value->length);
        break;
    case FALKOR_NODE:
        falkor__json_node(json, value->as.node);
        break;
    case FALKOR_EDGE:
        falkor__json_edge(json, value->as.edge);
        break;
    case FALKOR_PATH:
        falkor__json_text(json, "{");
        falkor__json_push(json, FALKOR__JSON_PATH, value->as.path, 2);
        break;
    case FALKOR_POINT:
        falkor__json_point(json, value->as.point);
        break;
    case FALKOR_VECTORF32:
        falkor__json_vector(json, value);
        break;
    case FALKOR_DATETIME:
    case FALKOR_DATE:
    case FALKOR_TIME:
    case FALKOR_DURATION:
        falkor__json_temporal(json, value);
        break;
    case FALKOR_UNKNOWN:
    case FALKOR_NULL:
    default:
        falkor__json_text(json, "null");
    }
}

static void falkor__json_path_part(falkor__json *json, const falkor_path *path,
                                   size_t part) {
    if (part == 0) {
        falkor__json_text(json, "\"nodes\":[");
        falkor__json_push(json, FALKOR__JSON_NODES, path->nodes,
                          path->node_count);
    } else {
        falkor__json_text(json, "\"edges\":[");
        falkor__json_push(json, FALKOR__JSON_EDGES, path->edges,
                          path->edge_count);
    }
}

/* Writes element i of a container; it may push, and move the frames. */
static void falkor__json_element(falkor__json *json, falkor__json_frame frame,
                                 size_t i) {
    const falkor_entry *entries = frame.data;
    if (i > 0)
        falkor__json_text(json, ",");
    switch (frame.kind) {
    case FALKOR__JSON_ITEMS:
        falkor__json_value(json, (const falkor_value *)frame.data + i);
        break;
    case FALKOR__JSON_ENTRIES:
        falkor__json_name(json, entries[i].key);
        falkor__json_text(json, ":");
        falkor__json_value(json, &entries[i].value);
        break;
    case FALKOR__JSON_NODE:
        falkor__json_value(json,
                           &((const falkor_node *)frame.data)->properties);
        break;
    case FALKOR__JSON_EDGE:
        falkor__json_value(json,
                           &((const falkor_edge *)frame.data)->properties);
        break;
    case FALKOR__JSON_PATH:
        falkor__json_path_part(json, frame.data, i);
        break;
    case FALKOR__JSON_NODES:
        falkor__json_node(json, (const falkor_node *)frame.data + i);
        break;
    case FALKOR__JSON_EDGES:
        falkor__json_edge(json, (const falkor_edge *)frame.data + i);
    }
}

static void falkor__json_whole(falkor__json *json, const falkor_value *value) {
    static const char ends[] = {
        [FALKOR__JSON_ITEMS] = ']', [FALKOR__JSON_ENTRIES] = '}',
        [FALKOR__JSON_NODE] = '}', [FALKOR__JSON_EDGE] = '}',
        [FALKOR__JSON_PATH] = '}', [FALKOR__JSON_NODES] = ']',
        [FALKOR__JSON_EDGES] = ']'};
    falkor__json_value(json, value);
    while (json->depth > 0 && json->status == FALKOR_OK) {
        falkor__json_frame *top = &json->frames[json->depth - 1];
        if (top->at < top->count) {
            size_t i = top->at++;
            falkor__json_element(json, *top, i);
        } else {
            falkor__json_bytes(json, &ends[top->kind], 1);
            json->depth--;
        }
    }
}

/* ---- the public calls ------------------------------------------------- */

static void falkor__json_begin(falkor__json *json, falkor_write_fn write,
                               void *ctx) {
    json->write = write;
    json->ctx = ctx;
    json->status = write ? FALKOR_OK : FALKOR_ERR_ARGUMENT;
    json->used = json->depth = 0;
    json->room = FALKOR__JSON_FRAMES;
    json->frames = json->first;
}

static falkor_status falkor__json_end(falkor__json *json) {
    falkor__json_flush(json);
    if (json->frames != json->first)
        free(json->frames);
    return json->status;
}

falkor_status falkor_value_write_json(const falkor_value *value,
                                      falkor_write_fn write, void *ctx) {
    static const falkor_value null = {.type = FALKOR_NULL};
    falkor__json json;
    falkor__json_begin(&json, write, ctx);
    falkor__json_whole(&json, value ? value : &null);
    return falkor__json_end(&json);
}

static void falkor__json_rows(falkor__json *json,
                              const falkor_result *result) {
    size_t rows = falkor_result_rows(result);
    size_t columns = falkor_result_columns(result);
    for (size_t row = 0; row < rows && json->status == FALKOR_OK; row++) {
        falkor__json_text(json, row > 0 ? ",[" : "[");
        for (size_t column = 0; column < columns; column++) {
            if (column > 0)
                falkor__json_text(json, ",");
            falkor__json_whole(json,
                               falkor_result_value(result, row, column));
        }
        falkor__json_text(json, "]");
    }
}

static void falkor__json_summary(falkor__json *json,
                                 const falkor_summary *summary) {
    static const falkor_summary none;
    const falkor_summary *s = summary ? summary : &none;
    static const struct { const char *name; size_t offset; } counts[] = {
#define FALKOR__COUNT(begin, field) \
        {begin "\"" #field "\":", offsetof(falkor_summary, field)}
        FALKOR__COUNT("{", nodes_created),
        FALKOR__COUNT(",", nodes_deleted),
        FALKOR__COUNT(",", edges_created),
        FALKOR__COUNT(",", edges_deleted),
        FALKOR__COUNT(",", labels_added),
        FALKOR__COUNT(",", labels_removed),
        FALKOR__COUNT(",", properties_set),
        FALKOR__COUNT(",", properties_removed),
        FALKOR__COUNT(",", indices_created),
        FALKOR__COUNT(",", indices_deleted),
        FALKOR__COUNT(",", constraints_created),
        FALKOR__COUNT(",", constraints_deleted)};
#undef FALKOR__COUNT
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        falkor__json_text(json, counts[i].name);
        falkor__json_integer(json, *(const int64_t *)(const void *)
            ((const char *)s + counts[i].offset));
    }
    falkor__json_text(json, s->cached ? ",\"cached\":true"
                                      : ",\"cached\":false");
    falkor__json_text(json, ",\"internal_ms\":");
    falkor__json_real(json, s->internal_ms, false);
    falkor__json_text(json, "}");
}

falkor_status falkor_result_write_json(const falkor_result *result,
                                       falkor_write_fn write, void *ctx) {
    falkor__json json;
    falkor__json_begin(&json, write, ctx);
    falkor__json_text(&json, "{\"columns\":[");
    size_t columns = falkor_result_columns(result);
    for (size_t column = 0; column < columns; column++) {
        if (column > 0)
            falkor__json_text(&json, ",");
        falkor__json_name(&json, falkor_result_column(result, column));
    }
    falkor__json_text(&json, "],\"rows\":[");
    falkor__json_rows(&json, result);
    falkor__json_text(&json, "],\"summary\":");
    falkor__json_summary(&json, falkor_result_summary(result));
    falkor__json_text(&json, "}");
    return falkor__json_end(&json);
}

/* ---- as one text ------------------------------------------------------ */

static bool falkor__json_grow(void *ctx, const char *bytes, size_t length) {
    falkor__buffer *text = ctx;
    falkor__buffer_add(text, bytes, length);
    return !text->failed;
}

/* Hands what was written over to the caller. There is one way for a growing
   buffer to refuse: no memory. */
static falkor_status falkor__json_hand_over(falkor__buffer *text,
                                            falkor_status status, char **json,
                                            size_t *length) {
    falkor__buffer_add(text, "", 1);
    bool inside = text->text == text->inside;
    if (!status && !text->failed)
        *json = inside ? malloc(text->length)
                       : realloc(text->text, text->length);
    if (!*json) {
        falkor__buffer_end(text);
        return FALKOR_ERR_NOMEM;
    }
    if (inside)
        memcpy(*json, text->inside, text->length);
    if (length)
        *length = text->length - 1;
    return FALKOR_OK;
}

static bool falkor__json_outputs(char **json, size_t *length) {
    if (length)
        *length = 0;
    if (json)
        *json = NULL;
    return json != NULL;
}

falkor_status falkor_result_to_json(const falkor_result *result, char **json,
                                    size_t *length) {
    falkor__buffer text;
    if (!falkor__json_outputs(json, length))
        return FALKOR_ERR_ARGUMENT;
    falkor__buffer_begin(&text);
    return falkor__json_hand_over(&text,
        falkor_result_write_json(result, falkor__json_grow, &text), json,
        length);
}

falkor_status falkor_value_to_json(const falkor_value *value, char **json,
                                   size_t *length) {
    falkor__buffer text;
    if (!falkor__json_outputs(json, length))
        return FALKOR_ERR_ARGUMENT;
    falkor__buffer_begin(&text);
    return falkor__json_hand_over(&text,
        falkor_value_write_json(value, falkor__json_grow, &text), json,
        length);
}
#endif
