/* The decoder of replies: it turns RESP2 and RESP3 bytes, as they arrive, into
   the typed values of a falkor_result. Strings stay where they were received or
   move to the arena of the values; a small reply needs one block of memory in
   all. This file knows the parts of a reply and where its bytes lie; value.c
   and plain.c know the values, decode.h how parsing goes on when bytes are
   missing. No I/O. */
#include "decode.h"
#include <stdio.h>
#include <stdlib.h>

#define FALKOR__BLOCK ((size_t)4096)    /* result, state and first memory */
#define FALKOR__FIRST_INPUT ((size_t)2048)      /* of it, for received bytes */
#define FALKOR__INPUT ((size_t)64 << 10)        /* the next receive chunk */
#define FALKOR__MOST_INPUT ((size_t)1 << 20)    /* they double up to this */
#define FALKOR__ARENA ((size_t)4 << 10)         /* the arena's first */
#define FALKOR__ROWS_ARENA ((size_t)64 << 10)   /* row by row: at most this */
#define FALKOR__FIRST_ROWS ((size_t)1 << 10)    /* bytes of the first segment */

const falkor__limits falkor__default_limits = {
    .depth = 1024, .bytes = (size_t)1 << 31};

_Static_assert(sizeof(falkor__reply) + FALKOR__FIRST_INPUT + 512 <
               FALKOR__BLOCK, "a small reply fits the first block");

/* ---- stopping --------------------------------------------------------- */

void falkor__note_stuck(falkor__reply *r, const char *where,
                        const char *expected) {
    r->stuck = where;
    r->expected = expected;
}

/* The literal is not there whole: where do they part? */
void falkor__note_mismatch(falkor__reply *r, const char *p,
                           const char *literal, const char *expected) {
    while (*p == *literal)
        p++, literal++;
    falkor__note_stuck(r, p, expected);
}

static uint64_t falkor__position(const falkor__reply *r, const char *at) {
    return r->before + (uint64_t)(at - r->begin);
}

void falkor__note_nomem(falkor__reply *r) {
    r->status = falkor__fail(r->error, FALKOR_ERR_NOMEM, 0,
        "no memory for the reply after %llu bytes of it",
        (unsigned long long)falkor__position(r, r->at));
}

void falkor__note_over(falkor__reply *r, const char *what, uint64_t number,
                       uint64_t limit) {
    r->status = falkor__fail(r->error, FALKOR_ERR_LIMIT, 0,
        "reply with %s of %llu: the limit is %llu", what,
        (unsigned long long)number, (unsigned long long)limit);
}

/* The bytes at the place of trouble, printable. */
static const char *falkor__show(const char *at, const char *end, char *text,
                                size_t size) {
    size_t length = 0;
    const char *stop = end - at > 16 ? at + 16 : end;
    for (; at < stop && length + 8 < size; at++) {
        unsigned char byte = (unsigned char)*at;
        const char *format = byte == '\r' ? "\\r" : byte == '\n' ? "\\n" :
            byte == '"' || byte == '\\' ? "\\%c" :
            byte >= ' ' && byte < 127 ? "%c" : "\\x%02x";
        length += (size_t)snprintf(text + length, size - length, format, byte);
    }
    text[length] = 0;
    return text;
}

static falkor_status falkor__malformed(falkor__reply *r) {
    char found[80];
    return falkor__fail(r->error, FALKOR_ERR_PROTOCOL, 0,
        "malformed reply: expected %s at byte %llu, found \"%s\"", r->expected,
        (unsigned long long)falkor__position(r, r->stuck),
        falkor__show(r->stuck, r->end, found, sizeof found));
}

/* ---- tokens ----------------------------------------------------------- */

extern inline char *falkor__stuck(falkor__reply *, const char *, const char *);
extern inline void *falkor__nomem(falkor__reply *);
extern inline char *falkor__over(falkor__reply *, const char *, uint64_t,
                                 uint64_t);
extern inline void *falkor__take_array(falkor__reply *, size_t, size_t);
extern inline void falkor__commit(falkor__reply *, char *);
extern inline char *falkor__literal(falkor__reply *, char *, const char *,
                                    size_t, const char *);
extern inline char *falkor__digits(falkor__reply *, char *, uint64_t *,
                                   const char *);
extern inline char *falkor__integer(falkor__reply *, char *, int64_t *);
extern inline char *falkor__id(falkor__reply *, char *, uint64_t *);
extern inline char *falkor__elements(falkor__reply *, char *, uint32_t *,
                                     const char *);
extern inline char *falkor__array(falkor__reply *, char *, uint32_t *,
                                  const char *);
extern inline char *falkor__await(falkor__reply *, const char *, uint64_t);
extern inline char *falkor__blob(falkor__reply *, char *, char **, uint32_t *,
                                 const char *);
extern inline char *falkor__bulk(falkor__reply *, char *, char **, uint32_t *,
                                 const char *);
extern inline const char *falkor__keep_text(falkor__reply *, char *, uint32_t);
extern inline char *falkor__nil(falkor__reply *, char *);

char *falkor__line(falkor__reply *r, char *p, char **bytes, uint32_t *length) {
    size_t there = (size_t)(r->end - p);
    size_t most = there < FALKOR__MOST_LINE ? there : FALKOR__MOST_LINE;
    char *cr = memchr(p, '\r', most);
    if (!cr && there >= FALKOR__MOST_LINE)
        return falkor__over(r, "a line", there, FALKOR__MOST_LINE);
    if (!cr)
        return falkor__stuck(r, r->end, "");
    if (cr[1] != '\n')
        return falkor__stuck(r, cr + 1, "the end of a line");
    *bytes = p;
    *length = (uint32_t)(cr - p);
    return cr + 2;
}

char *falkor__text(falkor__reply *r, char *p, char **bytes, uint32_t *length,
                   const char *expected) {
    if (*p == '+')
        return falkor__line(r, p + 1, bytes, length);
    return falkor__bulk(r, p, bytes, length, expected);
}

/* ---- steps: the parts of a reply -------------------------------------- */

static bool falkor__error_reply(falkor__reply *r, char *p) {
    char *bytes;
    uint32_t length;
    p = *p == '-' ? falkor__line(r, p + 1, &bytes, &length)
                  : falkor__blob(r, p + 1, &bytes, &length, "an error");
    if (!p || !(r->error_text = falkor__keep_text(r, bytes, length)))
        return false;
    r->error_length = length;
    r->stage = FALKOR__END;
    falkor__commit(r, p);
    return true;
}

static bool falkor__start_plain(falkor__reply *r) {
    static const char *const column[] = {"reply"};
    falkor_value *value = falkor__take_array(r, 1, sizeof *value);
    char *p = value ? falkor__plain(r, r->at, value) : NULL;
    if (!p)
        return false;
    r->result.segments[0] = value;
    r->result.rows = r->result.column_count = 1;
    r->result.columns = column;
    r->stage = FALKOR__END;
    falkor__commit(r, p);
    return true;
}

/* [error, ...]: of two parts the second is the version of the graph's schema,
   which is not the one that VERSION named. */
static bool falkor__error_part(falkor__reply *r, char *p, uint32_t parts) {
    char *bytes;
    uint32_t length;
    if (!(p = falkor__line(r, p + 1, &bytes, &length)))
        return false;
    if (parts == 2 && p == r->end)
        return falkor__stuck(r, p, "");
    if (parts == 2 && *p == ':') {
        if (!(p = falkor__integer(r, p, &r->version)))
            return false;
        parts = 1;
    }
    if (!(r->error_text = falkor__keep_text(r, bytes, length)))
        return false;
    r->error_length = length;
    r->skip = parts - 1;
    r->stage = FALKOR__END;
    falkor__commit(r, p);
    return true;
}

/* [header, rows, statistics], [statistics], or [error, ...] */
static bool falkor__start_query(falkor__reply *r) {
    uint32_t parts;
    char *p = falkor__array(r, r->at, &parts, "the array of a query's reply");
    if (!p)
        return false;
    if (p < r->end && *p == '-' && parts > 0)
        return falkor__error_part(r, p, parts);
    if (parts > 0 && p == r->end)
        return falkor__stuck(r, p, "");
    if (parts != 1 && parts != 3)
        return falkor__stuck(r, r->at, "an array of 1 or 3 parts");
    r->stage = parts == 1 ? FALKOR__SUMMARY_HEAD : FALKOR__HEADER_HEAD;
    falkor__commit(r, p);
    return true;
}

/* Passes over a message that nobody asked for. */
static bool falkor__skip_push(falkor__reply *r) {
    uint32_t count;
    char *p = falkor__elements(r, r->at, &count, "the length of a message");
    if (!p)
        return false;
    r->skip = count;
    falkor__commit(r, p);
    return true;
}

/* A push message in the place of the reply. It is the reply when it confirms a
   subscription, which has no other; else it came unasked. */
static bool falkor__start_push(falkor__reply *r) {
    static const char confirms[] = "subscribe";
    const size_t size = sizeof confirms - 1;
    char *bytes, *p = r->at;
    uint32_t length, count;
    if (r->kind != FALKOR__REPLY_PLAIN)
        return falkor__skip_push(r);
    if (!(p = falkor__elements(r, p, &count, "the length of a message")))
        return false;
    if (count && p == r->end)
        return falkor__stuck(r, p, "");
    if (!count || *p != '$')
        return falkor__skip_push(r);
    if (!falkor__bulk(r, p, &bytes, &length, "the kind of a message"))
        return false;
    return length >= size &&
        memcmp(bytes + length - size, confirms, size) == 0
        ? falkor__start_plain(r) : falkor__skip_push(r);
}

static bool falkor__start_attribute(falkor__reply *r) {
    char *p = falkor__attribute(r, r->at);
    if (p)
        falkor__commit(r, p);
    return p != NULL;
}

static bool falkor__start(falkor__reply *r) {
    switch (*r->at) {
    case '-':
    case '!': return falkor__error_reply(r, r->at);
    case '>': return falkor__start_push(r);
    case '|': return falkor__start_attribute(r);
    default: break;
    }
    return r->kind == FALKOR__REPLY_PLAIN ? falkor__start_plain(r)
                                          : falkor__start_query(r);
}

static bool falkor__header_head(falkor__reply *r) {
    uint32_t columns;
    char *p = falkor__array(r, r->at, &columns, "the list of columns");
    if (!p || !falkor__push(r, FALKOR__HEADER, r, columns))
        return false;
    r->stage = FALKOR__ROWS_HEAD;
    falkor__commit(r, p);
    return true;
}

/* Row by row the receive chunks are used again, pinned or not: the names of
   the columns must not lie there. */
static bool falkor__copy_columns(falkor__reply *r) {
    size_t count = r->result.column_count;
    const char **names = falkor__take_array(r, count, sizeof *names);
    for (size_t i = 0; names && i < count; i++) {
        size_t size = strlen(r->result.columns[i]) + 1;
        char *copy = falkor__take_array(r, size, 1);
        if (!copy)
            return false;
        names[i] = memcpy(copy, r->result.columns[i], size);
    }
    r->result.columns = names;
    return names != NULL;
}

/* Room for the next rows: about a kilobyte at first, then twice as many rows
   each time, never more than were announced. */
static bool falkor__next_segment(falkor__reply *r) {
    falkor_result *result = &r->result;
    size_t rows = (size_t)1 << result->base_shift << r->segment;
    if (rows > r->rows - r->row)
        rows = r->rows - r->row;
    if (r->kind == FALKOR__REPLY_ROWS)
        rows = 1;
    size_t columns = result->column_count;
    falkor_value *cells = columns && rows > SIZE_MAX / columns
        ? falkor__nomem(r)
        : falkor__take_array(r, rows * columns, sizeof *cells);
    if (!cells)
        return false;
    result->segments[r->segment++] = r->cells = cells;
    r->segment_left = rows;
    r->arena.kept = r->arena.at;
    return true;
}

static bool falkor__rows_head(falkor__reply *r) {
    bool by_row = r->kind == FALKOR__REPLY_ROWS;
    char *p = falkor__array(r, r->at, &r->rows, "the list of rows");
    if (!p || (by_row && !falkor__copy_columns(r)))
        return false;
    size_t row_bytes = r->result.column_count * sizeof(falkor_value);
    unsigned shift = by_row ? 0 : 6;
    while (shift > 0 && row_bytes << shift > FALKOR__FIRST_ROWS)
        shift--;
    r->result.base_shift = shift;
    if (by_row && !falkor__next_segment(r))
        return false;
    r->stage = FALKOR__ROWS;
    falkor__commit(r, p);
    r->row_start = by_row ? falkor__position(r, r->at) : 0;
    r->row_at = r->arena.at;
    r->row_end = r->arena.end;
    r->row_chunk = r->arena.chunks;
    return true;
}

static bool falkor__begin_row(falkor__reply *r) {
    uint32_t columns;
    char *p = falkor__array(r, r->at, &columns, "a row");
    if (!p)
        return false;
    if (columns != r->result.column_count) {
        falkor__stuck(r, r->at, "a row of as many values as columns");
        return false;
    }
    if (r->segment_left == 0 && !falkor__next_segment(r))
        return false;
    r->in_row = true;
    falkor__commit(r, p);
    return true;
}

static void falkor__end_row(falkor__reply *r) {
    r->in_row = false;
    r->column = 0;
    r->row++;
    if (r->kind == FALKOR__REPLY_ROWS) {
        r->result.rows = 1;
        r->row_ready = true;
        return;
    }
    r->result.rows++;
    r->segment_left--;
    r->cells += r->result.column_count;
}

static bool falkor__step_rows(falkor__reply *r) {
    while (r->row < r->rows && !r->row_ready) {
        if (!r->in_row && !falkor__begin_row(r))
            return false;
        while (r->column < r->result.column_count) {
            char *p = falkor__cell(r, r->at, r->cells + r->column);
            if (!p)
                return false;
            r->column++;
            falkor__commit(r, p);
            if (r->depth || r->skip)
                return true;
        }
        falkor__end_row(r);
    }
    if (!r->row_ready)
        r->stage = FALKOR__SUMMARY_HEAD;
    return true;
}

static bool falkor__summary_head(falkor__reply *r) {
    char *p = falkor__array(r, r->at, &r->lines, "the list of statistics");
    if (!p)
        return false;
    r->stage = FALKOR__SUMMARY;
    falkor__commit(r, p);
    return true;
}

static const struct { const char *name; size_t length, offset; }
falkor__summary_lines[] = {
#define FALKOR__LINE(name, field) \
    {name, sizeof name - 1, offsetof(falkor_summary, field)}
    FALKOR__LINE("Nodes created", nodes_created),
    FALKOR__LINE("Nodes deleted", nodes_deleted),
    FALKOR__LINE("Relationships created", edges_created),
    FALKOR__LINE("Relationships deleted", edges_deleted),
    FALKOR__LINE("Labels added", labels_added),
    FALKOR__LINE("Labels removed", labels_removed),
    FALKOR__LINE("Properties set", properties_set),
    FALKOR__LINE("Properties removed", properties_removed),
    FALKOR__LINE("Indices created", indices_created),
    FALKOR__LINE("Indices deleted", indices_deleted),
    FALKOR__LINE("Constraints created", constraints_created),
    FALKOR__LINE("Constraints deleted", constraints_deleted),
#undef FALKOR__LINE
};

/* The number that a line of statistics ends with, before any unit. */
static bool falkor__line_value(const char *text, size_t length,
                               double *number) {
    if (length == 0 || *text != ' ')
        return false;
    const char *unit = memchr(++text, ' ', --length);
    return falkor__read_double(text, unit ? (size_t)(unit - text) : length,
                               number) && *number >= 0 && *number < 9e15;
}

static bool falkor__is_line(const char *name, size_t length,
                            const char *known, size_t known_length) {
    return length == known_length && memcmp(name, known, length) == 0;
}
#define FALKOR__IS_LINE(name, length, known) \
    falkor__is_line((name), (length), "" known, sizeof known - 1)

static void falkor__summarize_count(falkor_summary *summary, const char *name,
                                    size_t length, int64_t number) {
    size_t count = sizeof falkor__summary_lines / sizeof *falkor__summary_lines;
    for (size_t i = 0; i < count; i++)
        if (falkor__is_line(name, length, falkor__summary_lines[i].name,
                            falkor__summary_lines[i].length))
            memcpy((char *)summary + falkor__summary_lines[i].offset, &number,
                   sizeof number);
}

/* "name: number unit"; the first two are in every reply. */
static void falkor__summarize(falkor_summary *summary, const char *line,
                              size_t length) {
    double number;
    const char *colon = memchr(line, ':', length);
    size_t name = colon ? (size_t)(colon - line) : 0;
    if (!colon || !falkor__line_value(colon + 1, length - name - 1, &number))
        return;
    if (FALKOR__IS_LINE(line, name, "Cached execution"))
        summary->cached = number > 0;
    else if (FALKOR__IS_LINE(line, name, "Query internal execution time"))
        summary->internal_ms = number;
    else
        falkor__summarize_count(summary, line, name, (int64_t)number);
}

static bool falkor__step_summary(falkor__reply *r) {
    for (; r->lines > 0; r->lines--) {
        char *bytes;
        uint32_t length;
        char *p = falkor__text(r, r->at, &bytes, &length,
                               "a line of statistics");
        if (!p)
            return false;
        falkor__summarize(&r->result.summary, bytes, length);
        falkor__commit(r, p);
    }
    r->stage = FALKOR__END;
    return true;
}

/* A receive chunk that nothing points into is not held for the result's
   life; bytes of a next reply would be. */
static void falkor__finish(falkor__reply *r) {
    r->stage = FALKOR__DONE;
    if (r->pinned || r->at < r->end)
        return;
    falkor__chunk *chunk = r->chunks;
    r->chunks = chunk->next;
    falkor__give(r->arena.heap, chunk);
    r->begin = r->at = r->end = r->limit = NULL;
    r->pinned = true;
}

/* Messages that came with the reply's last bytes are read with it, to their
   end, so that nothing of them stays behind on the connection. */
static bool falkor__end(falkor__reply *r) {
    if (r->at < r->end && *r->at == '>')
        return falkor__skip_push(r);
    falkor__finish(r);
    return true;
}

static bool falkor__step(falkor__reply *r) {
    if (r->skip)
        return falkor__step_skip(r);
    if (r->depth)
        return falkor__step_frame(r);
    switch (r->stage) {
    case FALKOR__START: return falkor__start(r);
    case FALKOR__HEADER_HEAD: return falkor__header_head(r);
    case FALKOR__ROWS_HEAD: return falkor__rows_head(r);
    case FALKOR__ROWS: return falkor__step_rows(r);
    case FALKOR__SUMMARY_HEAD: return falkor__summary_head(r);
    case FALKOR__SUMMARY: return falkor__step_summary(r);
    case FALKOR__END: return falkor__end(r);
    case FALKOR__DONE: break;
    }
    return true;
}

/* Why parsing stopped before the reply's end; what the incomplete group took
   is given back. */
static falkor_status falkor__outcome(falkor__reply *r) {
    r->missing_count = r->missing_kept;
    r->arena.at = r->arena.kept;
    if (!r->status && r->stuck < r->end)
        r->status = falkor__malformed(r);
    uint64_t size = falkor__position(r, r->end) - r->row_start;
    if (!r->status && size > r->limits.bytes)
        falkor__over(r, r->kind == FALKOR__REPLY_ROWS ? "one row's bytes"
                     : "bytes", size, r->limits.bytes);
    return r->status;
}

static falkor_status falkor__run(falkor__reply *r, falkor_error *error) {
    r->error = error;
    r->need = 0;
    bool going = true;
    while (going && r->stage != FALKOR__DONE && !r->row_ready)
        going = falkor__step(r);
    falkor_status status = going ? FALKOR_OK : falkor__outcome(r);
    r->error = NULL;
    return status;
}

/* ---- the reply's memory ----------------------------------------------- */

static void falkor__use_schema(falkor__reply *r,
                               const falkor__schema *schema) {
    for (int kind = 0; schema && kind < FALKOR__NAME_KINDS; kind++) {
        r->counts[kind] = schema->counts[kind];
        r->names[kind] = schema->names[kind];
    }
}

static falkor__reply *falkor__reply_of(const falkor_result *result) {
    return (falkor__reply *)(void *)
        ((char *)(uintptr_t)result - offsetof(falkor__reply, result));
}

static falkor_result *falkor__reply_make(const falkor_allocator *heap,
                                         falkor__reply_kind kind,
                                         falkor__schema *schema,
                                         const falkor__limits *limits) {
    char *block = falkor__take(heap, FALKOR__BLOCK);
    if (!block)
        return NULL;
    falkor__reply *r = (falkor__reply *)(void *)block;
    memset(r, 0, offsetof(falkor__reply, first_frames));
    r->kind = kind;
    r->limits = (falkor__limits){
        limits && limits->depth ? limits->depth : SIZE_MAX,
        limits && limits->bytes ? limits->bytes : SIZE_MAX};
    r->limit = block + FALKOR__BLOCK - FALKOR__SLACK;
    r->begin = r->at = r->end = block + FALKOR__BLOCK - FALKOR__FIRST_INPUT;
    r->pinned = true;
    r->next_input = FALKOR__INPUT;
    r->arena.at = r->arena.kept = block + ((sizeof *r + 7) & ~(size_t)7);
    r->arena.end = r->begin;
    r->arena.heap = heap;
    r->arena.next_size = FALKOR__ARENA;
    r->arena.most_size = kind == FALKOR__REPLY_ROWS ? FALKOR__ROWS_ARENA
                                                    : FALKOR__MOST_ARENA;
    r->frames = r->first_frames;
    r->frame_capacity = FALKOR__FRAMES;
    r->version = -1;
    r->schema = falkor__schema_retain(schema);
    falkor__use_schema(r, schema);
    return &r->result;
}

falkor_result *falkor__reply_new(falkor__reply_kind kind,
                                 falkor__schema *schema,
                                 const falkor__limits *limits) {
    return falkor__reply_make(NULL, kind, schema, limits);
}

falkor_result *falkor__reply_in(const falkor_allocator *heap,
                                falkor__reply_kind kind,
                                falkor__schema *schema) {
    return falkor__reply_make(heap, kind, schema, &falkor__default_limits);
}

void falkor_result_free(falkor_result *result) {
    if (!result)
        return;
    falkor__reply *r = falkor__reply_of(result);
    const falkor_allocator *heap = r->arena.heap;
    while (r->older) {
        falkor__held_schema *next = r->older->next;
        falkor__schema_release(r->older->schema);
        falkor__give(heap, r->older);
        r->older = next;
    }
    falkor__schema_release(r->schema);
    falkor__chunks_free(heap, r->chunks);
    falkor__chunks_free(heap, r->arena.chunks);
    falkor__give(heap, r->missing);
    falkor__give(heap, r);
}

void *falkor__reply_take(falkor_result *reply, size_t size) {
    return falkor__arena_take(&falkor__reply_of(reply)->arena, size);
}

/* The unparsed bytes move to a new chunk, or to the front of theirs. */
static void falkor__move_input(falkor__reply *r, char *to, size_t room) {
    size_t tail = (size_t)(r->end - r->at);
    memmove(to, r->at, tail);
    r->before += (uint64_t)(r->at - r->begin);
    r->begin = r->at = to;
    r->end = to + tail;
    r->limit = to + room;
    r->pinned = false;
}

/* The size of the next chunk: the usual one, or twice the unparsed bytes when
   they are many, but no more than their group is known to need. */
static size_t falkor__next_input(const falkor__reply *r) {
    size_t tail = (size_t)(r->end - r->at), wanted = tail * 2;
    if (r->need && r->need < wanted)
        wanted = (size_t)r->need;
    return wanted > r->next_input ? wanted : r->next_input;
}

/* Makes room when the chunk is full. One that is not pinned is used again, or
   freed when it is too small, or was made for a string of unusual length. */
static bool falkor__more_input(falkor__reply *r) {
    size_t size = falkor__next_input(r);
    size_t have = (size_t)(r->limit - r->begin);
    if (!r->pinned && size <= have && have <= 4 * r->next_input) {
        falkor__move_input(r, r->begin, have);
        return true;
    }
    falkor__chunk *chunk = size > SIZE_MAX / 4 ? NULL
        : falkor__chunk_new(r->arena.heap, size + FALKOR__SLACK);
    if (!chunk)
        return false;
    falkor__chunk *old = r->chunks;
    chunk->next = old;
    if (!r->pinned)
        chunk->next = old->next;
    else if (r->kind != FALKOR__REPLY_ROWS && old &&
             r->next_input < FALKOR__MOST_INPUT)
        r->next_input *= 2;
    falkor__move_input(r, (char *)(chunk + 1), size);
    if (old != chunk->next)
        falkor__give(r->arena.heap, old);
    r->chunks = chunk;
    return true;
}

char *falkor__reply_room(falkor_result *reply, size_t *size) {
    falkor__reply *r = falkor__reply_of(reply);
    size_t room = (size_t)(r->limit - r->end);
    size_t least = (size_t)(r->limit - r->begin) / 16;
    bool fits = r->need && r->need <= (uint64_t)(r->limit - r->at);
    *size = 0;
    if (!fits && room < (least < 4096 ? least : 4096) + 1 &&
        !falkor__more_input(r))
        return NULL;
    *size = (size_t)(r->limit - r->end);
    return r->end;
}

falkor_status falkor__reply_feed(falkor_result *reply, size_t received,
                                 falkor_error *error) {
    falkor__reply *r = falkor__reply_of(reply);
    if (r->status)
        return falkor__fail(error, r->status, 0, "a reply after its failure");
    r->end += received;
    memset(r->end, 0, FALKOR__SLACK);
    return falkor__run(r, error);
}

/* Row by row: gives back the memory of the row before. The arena's largest
   chunk of a modest size stays. */
static void falkor__recycle_arena(falkor__reply *r) {
    falkor__arena *arena = &r->arena;
    falkor__chunk *best = NULL;
    while (arena->chunks != r->row_chunk) {
        falkor__chunk *chunk = arena->chunks, *worse = chunk;
        arena->chunks = chunk->next;
        if (chunk->size <= FALKOR__ROWS_ARENA &&
            (!best || chunk->size > best->size)) {
            worse = best;
            best = chunk;
        }
        falkor__give(arena->heap, worse);
    }
    if (best) {
        best->next = arena->chunks;
        arena->chunks = r->row_chunk = best;
        r->row_at = (char *)(best + 1);
        r->row_end = r->row_at + best->size;
    }
    arena->at = arena->kept = r->row_at;
    arena->end = r->row_end;
}

static void falkor__recycle_input(falkor__reply *r) {
    if (r->chunks) {
        falkor__chunks_free(r->arena.heap, r->chunks->next);
        r->chunks->next = NULL;
    }
    r->pinned = !r->chunks;
    r->row_start = falkor__position(r, r->at);
}

falkor_status falkor__reply_next(falkor_result *reply, falkor_error *error) {
    falkor__reply *r = falkor__reply_of(reply);
    if (!r->row_ready)
        return r->status;
    r->row_ready = false;
    r->result.rows = 0;
    r->missing_count = r->missing_kept = 0;
    r->frames = r->first_frames;
    r->frame_capacity = FALKOR__FRAMES;
    falkor__recycle_arena(r);
    falkor__recycle_input(r);
    return falkor__run(r, error);
}

/* ---- what the reply has come to --------------------------------------- */

bool falkor__reply_done(const falkor_result *reply) {
    return falkor__reply_of(reply)->stage == FALKOR__DONE;
}

bool falkor__reply_row_ready(const falkor_result *reply) {
    return falkor__reply_of(reply)->row_ready;
}

const char *falkor__reply_surplus(const falkor_result *reply, size_t *length) {
    const falkor__reply *r = falkor__reply_of(reply);
    *length = falkor__reply_done(reply) ? (size_t)(r->end - r->at) : 0;
    return r->at;
}

size_t falkor__reply_drop_surplus(falkor_result *reply) {
    falkor__reply *r = falkor__reply_of(reply);
    size_t surplus = (size_t)(r->end - r->at);
    r->end = r->at;
    if (!r->pinned)
        falkor__finish(r);
    return surplus;
}

bool falkor__reply_begun(const falkor_result *reply) {
    const falkor__reply *r = falkor__reply_of(reply);
    return falkor__position(r, r->end) > 0;
}

uint64_t falkor__reply_left(const falkor_result *reply) {
    const falkor__reply *r = falkor__reply_of(reply);
    if (r->stage != FALKOR__ROWS || r->row == 0)
        return r->stage == FALKOR__DONE ? 0 : UINT64_MAX;
    uint64_t each = falkor__position(r, r->at) / r->row + 1;
    return each * (r->rows - r->row);
}

const char *falkor__reply_error(const falkor_result *reply, size_t *length) {
    const falkor__reply *r = falkor__reply_of(reply);
    if (length)
        *length = r->error_length;
    return r->error_text;
}

bool falkor__reply_mismatch(const falkor_result *reply, uint32_t *version) {
    const falkor__reply *r = falkor__reply_of(reply);
    *version = (uint32_t)r->version;
    return r->version >= 0;
}

size_t falkor__reply_unresolved(const falkor_result *reply) {
    return falkor__reply_of(reply)->missing_count;
}

bool falkor__reply_lacks(const falkor_result *reply, size_t number,
                         falkor__name_kind *kind, uint64_t *id) {
    const falkor__reply *r = falkor__reply_of(reply);
    if (number >= r->missing_count)
        return false;
    *kind = r->missing[number].kind;
    *id = r->missing[number].id;
    return true;
}

/* Names found in the schema before still point there: it stays held. */
static bool falkor__hold_schema(falkor__reply *r, falkor__schema *schema) {
    if (schema == r->schema)
        return true;
    falkor__held_schema *link = NULL;
    if (r->schema) {
        if (!(link = falkor__take(r->arena.heap, sizeof *link)))
            return false;
        *link = (falkor__held_schema){r->older, r->schema};
        r->older = link;
    }
    r->schema = falkor__schema_retain(schema);
    return true;
}

size_t falkor__reply_resolve(falkor_result *reply, falkor__schema *schema) {
    falkor__reply *r = falkor__reply_of(reply);
    if (!falkor__hold_schema(r, schema))
        return SIZE_MAX;
    falkor__use_schema(r, schema);
    size_t left = 0;
    for (size_t i = 0; i < r->missing_count; i++) {
        falkor__missing_name name = r->missing[i];
        if (name.id < r->counts[name.kind])
            *name.slot = r->names[name.kind][name.id];
        else
            r->missing[left++] = name;
    }
    r->missing_count = r->missing_kept = left;
    return left;
}
