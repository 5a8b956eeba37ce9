/* The decoder without a server: every type, every way to cut a reply into
   portions, random replies against an oracle written beside them, limits,
   malformed bytes, and what it allocates. The sources are included, so that
   their malloc can be counted and made to fail. FALKOR_TEST_SEED repeats a
   random run. */
#include "../internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- the allocator that counts and fails ------------------------------ */

static struct {
    size_t calls, fail_at;              /* fail_at 0: never */
    size_t bytes, most_bytes, blocks;
    bool fail_from;                     /* every call from fail_at on */
} tally;

static bool heap_fails(void) {
    tally.calls++;
    return tally.fail_at && (tally.calls == tally.fail_at ||
                            (tally.fail_from && tally.calls > tally.fail_at));
}

static void heap_add(size_t size) {
    tally.blocks++;
    tally.bytes += size;
    if (tally.bytes > tally.most_bytes)
        tally.most_bytes = tally.bytes;
}

/* The size stands before the block, in room that keeps its alignment. */
static void *counted_malloc(size_t size) {
    size_t *block = heap_fails() ? NULL : malloc(size + 16);
    if (!block)
        return NULL;
    *block = size;
    heap_add(size);
    return (char *)block + 16;
}

static void counted_free(void *memory) {
    if (!memory)
        return;
    size_t *block = (size_t *)(void *)((char *)memory - 16);
    tally.blocks--;
    tally.bytes -= *block;
    free(block);
}

static void *counted_realloc(void *memory, size_t size) {
    void *moved = counted_malloc(size);
    if (!moved || !memory)
        return moved;
    size_t old = *(size_t *)(void *)((char *)memory - 16);
    memcpy(moved, memory, old < size ? old : size);
    counted_free(memory);
    return moved;
}

static void heap_begin(size_t fail_at) {
    falkor__spares_free();
    memset(&tally, 0, sizeof tally);
    tally.fail_at = fail_at;
}

static void heap_end(void) {
    tally.fail_at = 0;
    falkor__spares_free();
    assert_int_equal(tally.blocks, 0);
}

#define malloc counted_malloc
#define realloc counted_realloc
#define free counted_free
#include "../reply.c"
#include "../value.c"
#include "../plain.c"
#include "../result.c"
#undef malloc
#undef realloc
#undef free

/* ---- text that grows -------------------------------------------------- */

typedef struct text {
    char *bytes;
    size_t length, size;
} text;

static void text_add(text *t, const char *bytes, size_t length) {
    if (t->size - t->length <= length) {
        t->size = (t->size + length) * 2 + 64;
        t->bytes = realloc(t->bytes, t->size);
        assert_non_null(t->bytes);
    }
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    t->bytes[t->length] = 0;
}

FALKOR__PRINTF(2, 3)
static void text_put(text *t, const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert_in_range(length, 0, sizeof line - 1);
    text_add(t, line, (size_t)length);
}

/* The sign of what is no number depends on the C library. */
static void text_put_real(text *t, double number) {
    if (isnan(number))
        text_put(t, "dnan");
    else
        text_put(t, "d%.17g", number);
}

static void text_free(text *t) {
    free(t->bytes);
    *t = (text){0};
}

static void bulk_n(text *t, const char *bytes, size_t length) {
    text_put(t, "$%zu\r\n", length);
    text_add(t, bytes, length);
    text_add(t, "\r\n", 2);
}

static void bulk(text *t, const char *bytes) {
    bulk_n(t, bytes, strlen(bytes));
}

/* ---- values as text --------------------------------------------------- */

static void dump_value(text *t, const falkor_value *value);

static void dump_map(text *t, const falkor_value *map) {
    assert_int_equal(map->type, FALKOR_MAP);
    text_put(t, "{");
    for (uint32_t i = 0; i < map->length; i++) {
        text_put(t, "%s: ", map->as.entries[i].key);
        dump_value(t, &map->as.entries[i].value);
        text_put(t, ", ");
    }
    text_put(t, "}");
}

static void dump_node(text *t, const falkor_node *node) {
    text_put(t, "(%lld", (long long)node->id);
    for (size_t i = 0; i < node->label_count; i++)
        text_put(t, ":%s", node->labels[i]);
    dump_map(t, &node->properties);
    text_put(t, ")");
}

static void dump_edge(text *t, const falkor_edge *edge) {
    text_put(t, "<%lld %s %lld %lld ", (long long)edge->id, edge->type,
             (long long)edge->source, (long long)edge->destination);
    dump_map(t, &edge->properties);
    text_put(t, ">");
}

static void dump_path(text *t, const falkor_path *path) {
    text_put(t, "path");
    for (size_t i = 0; i < path->node_count; i++)
        dump_node(t, &path->nodes[i]);
    for (size_t i = 0; i < path->edge_count; i++)
        dump_edge(t, &path->edges[i]);
}

static void dump_string(text *t, const char *bytes, size_t length) {
    assert_int_equal(bytes[length], 0);
    text_put(t, "\"");
    text_add(t, bytes, length);
    text_put(t, "\"");
}

static void dump_value(text *t, const falkor_value *value) {
    switch (value->type) {
    case FALKOR_UNKNOWN: text_put(t, "unknown"); break;
    case FALKOR_NULL: text_put(t, "null"); break;
    case FALKOR_STRING: dump_string(t, value->as.string, value->length); break;
    case FALKOR_INTEGER:
        text_put(t, "%lld", (long long)value->as.integer);
        break;
    case FALKOR_BOOLEAN:
        text_put(t, value->as.boolean ? "true" : "false");
        break;
    case FALKOR_DOUBLE: text_put_real(t, value->as.real); break;
    case FALKOR_ARRAY:
        text_put(t, "[");
        for (uint32_t i = 0; i < value->length; i++) {
            dump_value(t, &value->as.items[i]);
            text_put(t, ", ");
        }
        text_put(t, "]");
        break;
    case FALKOR_EDGE: dump_edge(t, value->as.edge); break;
    case FALKOR_NODE: dump_node(t, value->as.node); break;
    case FALKOR_PATH: dump_path(t, value->as.path); break;
    case FALKOR_MAP: dump_map(t, value); break;
    case FALKOR_POINT:
        text_put(t, "point(%.17g %.17g)", value->as.point->latitude,
                 value->as.point->longitude);
        break;
    case FALKOR_VECTORF32:
        text_put(t, "v(");
        for (uint32_t i = 0; i < value->length; i++)
            text_put(t, "%.9g ", (double)value->as.vector[i]);
        text_put(t, ")");
        break;
    case FALKOR_DATETIME:
    case FALKOR_DATE:
    case FALKOR_TIME:
    case FALKOR_DURATION:
        text_put(t, "%s %lld", falkor_type_name(value->type),
                 (long long)value->as.seconds);
        break;
    case FALKOR_ERROR_REPLY:
        text_put(t, "error ");
        dump_string(t, value->as.string, value->length);
        break;
    }
}

static void dump_rows(text *t, const falkor_result *result) {
    for (size_t row = 0; row < falkor_result_rows(result); row++) {
        for (size_t i = 0; i < falkor_result_columns(result); i++) {
            text_put(t, i ? " | " : "");
            dump_value(t, falkor_result_value(result, row, i));
        }
        text_put(t, "\n");
    }
}

static void dump_end(text *t, const falkor_result *result) {
    for (size_t i = 0; i < falkor_result_columns(result); i++)
        text_put(t, "column %s\n", falkor_result_column(result, i));
    const falkor_summary *s = falkor_result_summary(result);
    text_put(t, "%d %d %d %d %d %d %d %d %d %d %d %d %d %g\n",
        (int)s->nodes_created, (int)s->nodes_deleted, (int)s->edges_created,
        (int)s->edges_deleted, (int)s->labels_added, (int)s->labels_removed,
        (int)s->properties_set, (int)s->properties_removed,
        (int)s->indices_created, (int)s->indices_deleted,
        (int)s->constraints_created, (int)s->constraints_deleted, s->cached,
        s->internal_ms);
    size_t length = 0;
    const char *error = falkor__reply_error(result, &length);
    if (error) {
        text_put(t, "error ");
        dump_string(t, error, length);
    }
}

/* ---- feeding ---------------------------------------------------------- */

#define NAMES 20
static const char *name_list[FALKOR__NAME_KINDS][NAMES] = {
    {"L0", "L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "L9", "L10", "L11",
     "L12", "L13", "L14", "L15", "L16", "L17", "L18", "L19"},
    {"T0", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11",
     "T12", "T13", "T14", "T15", "T16", "T17", "T18", "T19"},
    {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11",
     "k12", "k13", "k14", "k15", "k16", "k17", "k18", "k19"}};
static int destroyed;

static void schema_destroy(falkor__schema *schema) {
    (void)schema;
    destroyed++;
}

static falkor__schema schema_of(size_t count) {
    return (falkor__schema){.references = 1, .counts = {count, count, count},
        .names = {name_list[0], name_list[1], name_list[2]},
        .destroy = schema_destroy};
}

typedef struct feeder {
    falkor__reply_kind kind;
    falkor__schema *schema, *newer;     /* newer: for what schema lacks */
    const falkor__limits *limits;
    size_t first, portion;              /* bytes at first, and then; 0: all */
} feeder;

static falkor_status feed_rows(const feeder *f, falkor_result *r, text *out,
                               falkor_error *error) {
    falkor_status status = FALKOR_OK;
    while (!status && falkor__reply_row_ready(r)) {
        if (f->newer && falkor__reply_unresolved(r))
            falkor__reply_resolve(r, f->newer);
        dump_rows(out, r);
        status = falkor__reply_next(r, error);
    }
    return status;
}

/* Feeds the bytes as f says; what the result holds, or the error's message,
   is added to out. *used: how many bytes belonged to the reply. */
static falkor_status feed(const feeder *f, const char *bytes, size_t length,
                          text *out, size_t *used) {
    falkor_error error = {0};
    falkor_status status = FALKOR_OK;
    falkor_result *r = falkor__reply_new(f->kind, f->schema, f->limits);
    size_t at = 0, size;
    if (!r)
        return FALKOR_ERR_NOMEM;
    while (!status && !falkor__reply_done(r) && at < length) {
        size_t portion = at == 0 && f->first ? f->first : f->portion;
        char *room = falkor__reply_room(r, &size);
        if (!room) {
            assert_int_equal(size, 0);
            falkor_result_free(r);
            return FALKOR_ERR_NOMEM;
        }
        assert_true(size > 0);
        size = portion && size > portion ? portion : size;
        size = size > length - at ? length - at : size;
        memcpy(room, bytes + at, size);
        at += size;
        status = falkor__reply_feed(r, size, &error);
        if (!status)
            status = feed_rows(f, r, out, &error);
    }
    if (status) {
        assert_int_equal(status, error.status);
        text_put(out, "%s: %s", falkor_status_name(status), error.message);
    } else if (!falkor__reply_done(r)) {
        text_put(out, "incomplete");
    } else {
        if (f->newer && falkor__reply_unresolved(r))
            falkor__reply_resolve(r, f->newer);
        dump_rows(out, r);
        dump_end(out, r);
        falkor__reply_surplus(r, &size);
        at -= size;
    }
    if (used)
        *used = at;
    falkor_result_free(r);
    return status;
}

static char *feed_text(feeder f, const text *t) {
    text out = {0};
    feed(&f, t->bytes, t->length, &out, NULL);
    return out.bytes ? out.bytes : calloc(1, 1);
}

/* Whole, byte by byte, in portions and split at each place (or at some, when
   there are many), read whole and row by row: always want. */
static void check_all_ways(const text *t, const char *want) {
    falkor__schema schema = schema_of(NAMES);
    static const falkor__reply_kind kinds[] = {FALKOR__REPLY_QUERY,
                                               FALKOR__REPLY_ROWS};
    for (int k = 0; k < 2; k++) {
        size_t step = t->length / 400 + 1;
        for (size_t split = 0; split < t->length + 4; split += step) {
            feeder f = {kinds[k], &schema, NULL, NULL, split, 0};
            if (split >= t->length) {
                static const size_t portions[] = {1, 2, 7, 1000};
                f.first = f.portion = portions[split - t->length];
                step = 1;
            } else if (split + step >= t->length) {
                step = t->length - split;
            }
            char *got = feed_text(f, t);
            if (strcmp(got, want) != 0)
                print_error("kind %d, first %zu, then %zu\n", k, f.first,
                            f.portion);
            assert_string_equal(got, want);
            free(got);
        }
    }
    assert_int_equal(schema.references, 1);
}

/* ---- replies ---------------------------------------------------------- */

static const char no_summary[] = "0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

static void begin_reply(text *t, uint32_t columns, uint32_t rows) {
    text_put(t, "*3\r\n*%u\r\n", columns);
    for (uint32_t i = 0; i < columns; i++) {
        text_put(t, "*2\r\n:1\r\n$%d\r\nc%u\r\n", i < 10 ? 2 : i < 100 ? 3 : 4,
                 i);
    }
    text_put(t, "*%u\r\n", rows);
}

static text cell_reply(const char *cell) {
    text t = {0};
    begin_reply(&t, 1, 1);
    text_put(&t, "*1\r\n%s*0\r\n", cell);
    return t;
}

static const struct { const char *cell, *want; } cells[] = {
    {"*2\r\n:1\r\n$-1\r\n", "null"},
    {"*2\r\n:1\r\n*-1\r\n", "null"},
    {"*2\r\n:2\r\n$0\r\n\r\n", "\"\""},
    {"*2\r\n:2\r\n$5\r\na\r\nbc\r\n", "\"a\r\nbc\""},
    {"*2\r\n:2\r\n$6\r\n\xc3\xbc\xff\x01\"\\\r\n", "\"\xc3\xbc\xff\x01\"\\\""},
    {"*2\r\n:3\r\n:0\r\n", "0"},
    {"*2\r\n:3\r\n:-1\r\n", "-1"},
    {"*2\r\n:3\r\n:9223372036854775807\r\n", "9223372036854775807"},
    {"*2\r\n:3\r\n:-9223372036854775808\r\n", "-9223372036854775808"},
    {"*2\r\n:4\r\n$4\r\ntrue\r\n", "true"},
    {"*2\r\n:4\r\n$5\r\nfalse\r\n", "false"},
    {"*2\r\n:5\r\n$3\r\n0.3\r\n", "d0.29999999999999999"},
    {"*2\r\n:5\r\n$1\r\n1\r\n", "d1"},
    {"*2\r\n:5\r\n$2\r\n-0\r\n", "d-0"},
    {"*2\r\n:5\r\n$3\r\ninf\r\n", "dinf"},
    {"*2\r\n:5\r\n$4\r\n-inf\r\n", "d-inf"},
    {"*2\r\n:5\r\n$3\r\nnan\r\n", "dnan"},
    {"*2\r\n:5\r\n$4\r\n-nan\r\n", "dnan"},
    {"*2\r\n:5\r\n$22\r\n-1.23456789012345e-300\r\n",
     "d-1.23456789012345e-300"},
    {"*2\r\n:6\r\n*0\r\n", "[]"},
    {"*2\r\n:6\r\n*2\r\n*2\r\n:3\r\n:1\r\n*2\r\n:6\r\n*1\r\n*2\r\n:6\r\n*0\r\n",
     "[1, [[], ], ]"},
    {"*2\r\n:7\r\n*5\r\n:7\r\n:2\r\n:10\r\n:11\r\n*0\r\n", "<7 T2 10 11 {}>"},
    {"*2\r\n:7\r\n*5\r\n:0\r\n:0\r\n:0\r\n:0\r\n*2\r\n*3\r\n:3\r\n:3\r\n:5\r\n"
     "*3\r\n:0\r\n:1\r\n$-1\r\n", "<0 T0 0 0 {k3: 5, k0: null, }>"},
    {"*2\r\n:8\r\n*3\r\n:4\r\n*0\r\n*0\r\n", "(4{})"},
    {"*2\r\n:8\r\n*3\r\n:4\r\n*2\r\n:1\r\n:0\r\n*2\r\n*3\r\n:1\r\n:2\r\n"
     "$2\r\nhi\r\n*3\r\n:2\r\n:6\r\n*1\r\n*2\r\n:4\r\n$4\r\ntrue\r\n",
     "(4:L1:L0{k1: \"hi\", k2: [true, ], })"},
    {"*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*2\r\n"
     "*2\r\n:8\r\n*3\r\n:1\r\n*1\r\n:0\r\n*1\r\n*3\r\n:1\r\n:3\r\n:9\r\n"
     "*2\r\n:8\r\n*3\r\n:2\r\n*0\r\n*0\r\n"
     "*2\r\n:6\r\n*1\r\n*2\r\n:7\r\n*5\r\n:5\r\n:1\r\n:1\r\n:2\r\n*1\r\n"
     "*3\r\n:2\r\n:2\r\n$1\r\nx\r\n",
     "path(1:L0{k1: 9, })(2{})<5 T1 1 2 {k2: \"x\", }>"},
    {"*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*1\r\n*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n*0\r\n"
     "*2\r\n:6\r\n*0\r\n", "path(1{})"},
    {"*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*0\r\n*2\r\n:6\r\n*0\r\n", "path"},
    {"*2\r\n:10\r\n*0\r\n", "{}"},
    {"*2\r\n:10\r\n*4\r\n$1\r\na\r\n*2\r\n:3\r\n:1\r\n$0\r\n\r\n*2\r\n:10\r\n"
     "*2\r\n$1\r\nb\r\n*2\r\n:1\r\n$-1\r\n", "{a: 1, : {b: null, }, }"},
    {"*2\r\n:11\r\n*2\r\n$4\r\n32.5\r\n$3\r\n-34\r\n", "point(32.5 -34)"},
    {"*2\r\n:12\r\n*0\r\n", "v()"},
    {"*2\r\n:12\r\n*3\r\n$19\r\n0.10000000149011612\r\n$2\r\n-2\r\n$5\r\n1e+30"
     "\r\n", "v(0.100000001 -2 1.00000002e+30 )"},
    {"*2\r\n:1\r\n_\r\n", "null"},
    {"*2\r\n:12\r\n*3\r\n,0.10000000149011612\r\n,-2\r\n,inf\r\n",
     "v(0.100000001 -2 inf )"},
    {"*2\r\n:13\r\n:1700000000\r\n", "datetime 1700000000"},
    {"*2\r\n:14\r\n:-86400\r\n", "date -86400"},
    {"*2\r\n:15\r\n:-2208945600\r\n", "time 43200"},
    {"*2\r\n:15\r\n:86401\r\n", "time 1"},
    {"*2\r\n:16\r\n:-5\r\n", "duration -5"},
    {"*2\r\n:0\r\n:1\r\n", "unknown"},
    {"*2\r\n:99\r\n*3\r\n*2\r\n:1\r\n+ok\r\n*0\r\n*2\r\n$-1\r\n*1\r\n*-1\r\n",
     "unknown"},
    {"*2\r\n:99\r\n%2\r\n_\r\n~2\r\n,1.5\r\n#t\r\n(12\r\n|1\r\n+a\r\n%1\r\n"
     ":1\r\n:2\r\n=5\r\ntxt:a\r\n", "unknown"},
    {"*2\r\n:6\r\n*2\r\n*2\r\n:17\r\n$3\r\nabc\r\n*2\r\n:3\r\n:7\r\n",
     "[unknown, 7, ]"},
    {"*2\r\n:8\r\n*3\r\n:4\r\n*0\r\n*2\r\n*3\r\n:1\r\n:40\r\n*1\r\n-no\r\n"
     "*3\r\n:2\r\n:3\r\n:6\r\n", "(4{k1: unknown, k2: 6, })"},
};

static void test_reply_types(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        text t = cell_reply(cells[i].cell), want = {0};
        text_put(&want, "%s\ncolumn c0\n%s", cells[i].want, no_summary);
        check_all_ways(&t, want.bytes);
        text_free(&t);
        text_free(&want);
    }
}

/* All of them in one reply of several columns and rows. */
static void test_reply_all_types_together(void **state) {
    (void)state;
    text t = {0}, want = {0};
    uint32_t columns = (uint32_t)(sizeof cells / sizeof *cells);
    begin_reply(&t, columns, 3);
    for (int row = 0; row < 3; row++) {
        text_put(&t, "*%u\r\n", columns);
        for (uint32_t i = 0; i < columns; i++) {
            text_put(&t, "%s", cells[i].cell);
            text_put(&want, "%s%s", i ? " | " : "", cells[i].want);
        }
        text_put(&want, "\n");
    }
    text_put(&t, "*0\r\n");
    for (uint32_t i = 0; i < columns; i++)
        text_put(&want, "column c%u\n", i);
    text_put(&want, "%s", no_summary);
    check_all_ways(&t, want.bytes);
    text_free(&t);
    text_free(&want);
}

static void test_reply_summary(void **state) {
    (void)state;
    static const char *const lines[] = {"Labels added: 5", "Labels removed: 6",
        "Nodes created: 1", "Nodes deleted: 2", "Relationships created: 3",
        "Relationships deleted: 4", "Properties set: 7",
        "Properties removed: 8", "Indices created: 9", "Indices deleted: 10",
        "Constraints created: 11", "Constraints deleted: 12", "New: 13",
        "Nodes created", "", "Cached execution: 1",
        "Query internal execution time: 0.375000 milliseconds"};
    text t = {0};
    text_put(&t, "*1\r\n*%zu\r\n", sizeof lines / sizeof *lines);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        bulk(&t, lines[i]);
    check_all_ways(&t, "1 2 3 4 5 6 7 8 9 10 11 12 1 0.375\n");
    text_free(&t);
}

static void test_reply_empty_result(void **state) {
    (void)state;
    text t = {0};
    begin_reply(&t, 2, 0);
    text_put(&t, "*1\r\n");
    bulk(&t, "Cached execution: 1");
    check_all_ways(&t, "column c0\ncolumn c1\n"
                   "0 0 0 0 0 0 0 0 0 0 0 0 1 0\n");
    text_free(&t);
    begin_reply(&t, 0, 2);
    text_put(&t, "*0\r\n*0\r\n*0\r\n");
    check_all_ways(&t, "\n\n0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
    text_free(&t);
}

/* Rows are found by index whatever segment they lie in. */
static void test_reply_many_rows(void **state) {
    (void)state;
    for (uint32_t columns = 1; columns < 200; columns = columns * 3 + 1) {
        text t = {0};
        uint32_t rows = 200000 / columns;
        begin_reply(&t, columns, rows);
        for (uint32_t row = 0; row < rows; row++) {
            text_put(&t, "*%u\r\n", columns);
            for (uint32_t i = 0; i < columns; i++)
                text_put(&t, "*2\r\n:3\r\n:%u\r\n", row * columns + i);
        }
        text_put(&t, "*0\r\n");
        falkor_result *r = falkor__reply_new(FALKOR__REPLY_QUERY, NULL, NULL);
        for (size_t at = 0, size; !falkor__reply_done(r); at += size) {
            char *room = falkor__reply_room(r, &size);
            size = size < t.length - at ? size : t.length - at;
            memcpy(room, t.bytes + at, size);
            assert_int_equal(falkor__reply_feed(r, size, NULL), FALKOR_OK);
        }
        assert_int_equal(falkor_result_rows(r), rows);
        for (uint32_t row = 0; row < rows; row++)
            for (uint32_t i = 0; i < columns; i++)
                assert_int_equal(falkor_result_value(r, row, i)->as.integer,
                                 row * columns + i);
        assert_null(falkor_result_value(r, rows, 0));
        assert_null(falkor_result_value(r, 0, columns));
        assert_int_equal(falkor_result_get(r, 1, "c0")->as.integer, columns);
        assert_null(falkor_result_get(r, 0, "none"));
        falkor_result_free(r);
        text_free(&t);
    }
}

static void test_reply_accessors_take_null(void **state) {
    (void)state;
    assert_int_equal(falkor_result_rows(NULL), 0);
    assert_int_equal(falkor_result_columns(NULL), 0);
    assert_null(falkor_result_column(NULL, 0));
    assert_null(falkor_result_value(NULL, 0, 0));
    assert_null(falkor_result_get(NULL, 0, "x"));
    assert_null(falkor_result_summary(NULL));
    assert_null(falkor_property(NULL, "x"));
    falkor_result_free(NULL);
    falkor__schema_release(NULL);
    assert_string_equal(falkor_type_name(FALKOR_NULL), "null");
    assert_string_equal(falkor_type_name(FALKOR_DURATION), "duration");
    assert_string_equal(falkor_type_name((falkor_type)17), "unknown");
    assert_string_equal(falkor_type_name(FALKOR_ERROR_REPLY), "error");
    falkor_entry entries[] = {{"a", {.type = FALKOR_NULL}},
                              {"b", {.type = FALKOR_INTEGER}}};
    falkor_value map = {FALKOR_MAP, 2, {.entries = entries}};
    falkor_node node = {.properties = map};
    falkor_edge edge = {.properties = map};
    falkor_value node_value = {FALKOR_NODE, 0, {.node = &node}};
    falkor_value edge_value = {FALKOR_EDGE, 0, {.edge = &edge}};
    assert_ptr_equal(falkor_property(&map, "b"), &entries[1].value);
    assert_ptr_equal(falkor_property(&node_value, "a"), &entries[0].value);
    assert_ptr_equal(falkor_property(&edge_value, "a"), &entries[0].value);
    assert_null(falkor_property(&map, "c"));
    assert_null(falkor_property(&map, NULL));
    assert_null(falkor_property(&entries[1].value, "a"));
}

/* ---- errors of the server, plain replies, surplus --------------------- */

static void test_reply_error(void **state) {
    (void)state;
    static const char *const replies[] = {"-ERR bad \xff thing\r\n",
        "*2\r\n-ERR bad \xff thing\r\n:17\r\n", "*1\r\n-ERR bad \xff thing\r\n",
        "*3\r\n-ERR bad \xff thing\r\n*1\r\n*2\r\n:1\r\n:2\r\n$-1\r\n"};
    text want = {0};
    text_put(&want, "%serror \"ERR bad \xff thing\"", no_summary);
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        text t = {0};
        text_put(&t, "%s", replies[i]);
        check_all_ways(&t, want.bytes);
        text_free(&t);
    }
    text_free(&want);
}

static void test_reply_mismatch(void **state) {
    (void)state;
    static const struct { const char *reply; bool is; uint32_t version; }
    replies[] = {
        {"*2\r\n-version mismatch\r\n:1540963884\r\n", true, 1540963884},
        {"*2\r\n-version mismatch\r\n:0\r\n", true, 0},
        {"*2\r\n-version mismatch\r\n:4294967295\r\n", true, UINT32_MAX},
        {"*2\r\n-version mismatch\r\n$1\r\n7\r\n", false, 0},
        {"*1\r\n-version mismatch\r\n", false, 0},
        {"-version mismatch\r\n", false, 0}};
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        size_t length = strlen(replies[i].reply);
        for (size_t step = 1; step <= length; step++) {
            falkor_result *result = falkor__reply_new(FALKOR__REPLY_QUERY,
                NULL, &falkor__default_limits);
            uint32_t version;
            for (size_t at = 0; at < length; at += step) {
                size_t size, left = length - at < step ? length - at : step;
                char *room = falkor__reply_room(result, &size);
                memcpy(room, replies[i].reply + at, left);
                assert_int_equal(falkor__reply_feed(result, left, NULL), 0);
            }
            assert_true(falkor__reply_done(result));
            assert_string_equal(falkor__reply_error(result, NULL),
                                "version mismatch");
            assert_int_equal(falkor__reply_mismatch(result, &version),
                             replies[i].is);
            if (replies[i].is)
                assert_int_equal(version, replies[i].version);
            falkor_result_free(result);
        }
    }
}

/* A plain reply, whole and in portions of every size and beginning. */
static void check_plain(const char *reply, const char *want) {
    text t = {0};
    text_put(&t, "%s", reply);
    for (size_t first = 1; first <= t.length; first++)
        for (size_t portion = 0; portion < 4; portion++) {
            feeder f = {.kind = FALKOR__REPLY_PLAIN, .first = first,
                        .portion = portion};
            char *got = feed_text(f, &t);
            assert_string_equal(got, want);
            free(got);
        }
    text_free(&t);
}

static const struct { const char *reply, *want; } plain[] = {
    {"+OK\r\n", "\"OK\""}, {"+\r\n", "\"\""}, {":-12\r\n", "-12"},
    {"$-1\r\n", "null"}, {"*-1\r\n", "null"}, {"*0\r\n", "[]"},
    {"$3\r\na\r\n\r\n", "\"a\r\n\""},
    {"*4\r\n+OK\r\n-ERR no\r\n*2\r\n:1\r\n*1\r\n*0\r\n$-1\r\n",
     "[\"OK\", error \"ERR no\", [1, [[], ], ], null, ]"},
    /* RESP3 */
    {"_\r\n", "null"}, {"#t\r\n", "true"}, {"#f\r\n", "false"},
    {",1.5\r\n", "d1.5"}, {",-2\r\n", "d-2"}, {",1e+300\r\n", "d1.0000000000000001e+300"},
    {",inf\r\n", "dinf"}, {",-inf\r\n", "d-inf"}, {",nan\r\n", "dnan"},
    {"(0\r\n", "0"}, {"(-0\r\n", "0"}, {"(-12\r\n", "-12"},
    {"(9223372036854775807\r\n", "9223372036854775807"},
    {"(-9223372036854775808\r\n", "-9223372036854775808"},
    {"(9223372036854775808\r\n", "\"9223372036854775808\""},
    {"(-9223372036854775809\r\n", "\"-9223372036854775809\""},
    {"(18446744073709551617\r\n", "\"18446744073709551617\""},
    {"(1234567999999999999999999999999999999\r\n",
     "\"1234567999999999999999999999999999999\""},
    {"(+12\r\n", "12"}, {"(007\r\n", "7"},
    {"(+9223372036854775808\r\n", "\"+9223372036854775808\""},
    {"=15\r\ntxt:Some string\r\n", "\"Some string\""},
    {"=4\r\nmkd:\r\n", "\"\""}, {"=8\r\ntxt:a\r\n\n\r\n", "\"a\r\n\n\""},
    {"*2\r\n!5\r\nE\r\nno\r\n#t\r\n", "[error \"E\r\nno\", true, ]"},
    {"~0\r\n", "[]"}, {"%0\r\n", "{}"},
    {"~3\r\n+a\r\n:1\r\n_\r\n", "[\"a\", 1, null, ]"},
    {"*2\r\n>2\r\n+a\r\n:1\r\n:2\r\n", "[[\"a\", 1, ], 2, ]"},
    {"%2\r\n$1\r\na\r\n:1\r\n+b\r\n%1\r\n$0\r\n\r\n*1\r\n%1\r\n:7\r\n_\r\n",
     "{a: 1, b: {: [{7: null, }, ], }, }"},
    {"%8\r\n:1\r\n+i\r\n,1.5\r\n+d\r\n#t\r\n+t\r\n#f\r\n+f\r\n_\r\n+n\r\n"
     "(123456789012345678901\r\n+b\r\n=5\r\ntxt:v\r\n+v\r\n:-3\r\n+m\r\n",
     "{1: \"i\", 1.5: \"d\", true: \"t\", false: \"f\", null: \"n\", "
     "123456789012345678901: \"b\", v: \"v\", -3: \"m\", }"},
    /* attributes, in each place */
    {"|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n", "\"a\""},
    {"|0\r\n|2\r\n+a\r\n*2\r\n:1\r\n|1\r\n+x\r\n+y\r\n:2\r\n#t\r\n%0\r\n:5\r\n",
     "5"},
    {"*3\r\n|1\r\n+t\r\n:1\r\n:1\r\n|0\r\n:2\r\n|1\r\n+t\r\n~1\r\n_\r\n*1\r\n"
     "|1\r\n+t\r\n:1\r\n:3\r\n", "[1, 2, [3, ], ]"},
    {"%2\r\n|1\r\n+t\r\n:1\r\n+a\r\n|1\r\n+t\r\n*1\r\n:1\r\n%1\r\n+b\r\n|0\r\n#t\r\n"
     "#f\r\n|2\r\n_\r\n_\r\n_\r\n_\r\n|0\r\n*1\r\n:1\r\n",
     "{a: {b: true, }, false: [1, ], }"},
    /* messages before and behind it, that came unasked */
    {">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nfoo\r\n:5\r\n", "5"},
    {">2\r\n$10\r\ninvalidate\r\n_\r\n>0\r\n>1\r\n:1\r\n>1\r\n+subscribe\r\n"
     ">1\r\n$10\r\nsubscribed\r\n|1\r\n+a\r\n+b\r\n+OK\r\n", "\"OK\""},
    /* a subscription has no other reply */
    {">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
     "[\"subscribe\", \"news\", 1, ]"},
    {">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n",
     "[\"punsubscribe\", null, 0, ]"}};

static void test_reply_plain(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        text want = {0};
        text_put(&want, "%s\ncolumn reply\n%s", plain[i].want, no_summary);
        check_plain(plain[i].reply, want.bytes);
        text_free(&want);
    }
}

/* An error at the top is the server's error reply, of either form. */
static void test_reply_plain_errors(void **state) {
    (void)state;
    text want = {0};
    text_put(&want, "%serror \"ERR no\"", no_summary);
    check_plain("-ERR no\r\n", want.bytes);
    check_plain("!6\r\nERR no\r\n", want.bytes);
    check_plain(">1\r\n+x\r\n|1\r\n+a\r\n+b\r\n!6\r\nERR no\r\n", want.bytes);
    text_free(&want);
}

/* A query's reply between messages that came unasked, and with an attribute;
   the confirmation of a subscription is none of its business either. */
static void test_reply_query_among_messages(void **state) {
    (void)state;
    text t = {0}, cell = cell_reply(cells[3].cell), want = {0};
    text_put(&t, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
             ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n|1\r\n+a\r\n:1\r\n");
    text_add(&t, cell.bytes, cell.length);
    text_put(&t, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n>1\r\n:1\r\n");
    text_put(&want, "%s\ncolumn c0\n%s", cells[3].want, no_summary);
    size_t own = t.length - 32 - 8;     /* without the two behind it */
    falkor__schema schema = schema_of(NAMES);
    for (int kind = FALKOR__REPLY_QUERY; kind <= FALKOR__REPLY_ROWS; kind++)
        for (size_t portion = 0; portion < t.length; portion++) {
            feeder f = {(falkor__reply_kind)kind, &schema, NULL, NULL, portion,
                        portion};
            text out = {0};
            size_t used;
            assert_int_equal(feed(&f, t.bytes, t.length, &out, &used), 0);
            assert_string_equal(out.bytes, want.bytes);
            /* what has begun to arrive with it is read to its end */
            assert_true(used == t.length || used == own || used == own + 32);
            text_free(&out);
        }
    text_free(&t);
    text_free(&cell);
    text_free(&want);
}

/* Maps longer than a frame trusts, with long keys, and nested. */
static void test_reply_plain_long_map(void **state) {
    (void)state;
    text t = {0}, want = {0};
    text_put(&t, "%%1000\r\n");
    text_put(&want, "{");
    for (int i = 0; i < 1000; i++) {
        char key[400];
        snprintf(key, sizeof key, "key%0*d", i % 10 ? 3 : 1 + i % 380, i);
        bulk(&t, key);
        text_put(&want, "%s: ", key);
        if (i % 3) {
            text_put(&t, "%%2\r\n+a\r\n,%d.5\r\n|1\r\n+x\r\n+y\r\n+b\r\n|1\r\n"
                     "+x\r\n+y\r\n", i);
            bulk(&t, key);
            text_put(&want, "{a: d%d.5, b: \"%s\", }, ", i, key);
        } else {
            text_put(&t, "#f\r\n");
            text_put(&want, "false, ");
        }
    }
    text_put(&want, "}\ncolumn reply\n%s", no_summary);
    for (size_t portion = 0; portion < 3000; portion = portion * 2 + 1) {
        feeder f = {.kind = FALKOR__REPLY_PLAIN, .portion = portion};
        char *got = feed_text(f, &t);
        assert_string_equal(got, want.bytes);
        free(got);
    }
    text_free(&t);
    text_free(&want);
}

static void test_reply_plain_malformed(void **state) {
    (void)state;
    static const struct { const char *reply, *message; } wrong[] = {
        {"?\r\n", "expected one of + - : $ * _ , # ( = ! % ~ > |"},
        {"(\r\n", "expected a big number at byte 1"},
        {"(-\r\n", "expected a big number"},
        {"(12a\r\n", "expected a big number"},
        {"(--1\r\n", "expected a big number"},
        {"*1\r\n(9223372036854775808x\r\n", "expected a big number"},
        {"_x\r\n", "expected null"}, {"#x\r\n", "expected true or false"},
        {"#tt\r\n", "expected true or false"}, {",\r\n", "expected a number"},
        {",1,5\r\n", "expected a number"}, {",+1\r\n", "expected a number"},
        {"=3\r\ntxt\r\n", "a format of three letters"},
        {"=6\r\nabcdef\r\n", "a format of three letters"},
        {"=-1\r\n", "expected a string"}, {"!-1\r\n", "expected an error"},
        {"~-1\r\n", "expected a list"}, {"%-1\r\n", "expected a list"},
        {"*1\r\n:+1\r\n", "expected an integer"},
        {"$?\r\n", "expected a length: replies that are streamed without one "
                   "are not supported at byte 1"},
        {"*?\r\n", "streamed"}, {"%?\r\n", "streamed"}, {"~?\r\n", "streamed"},
        {"|?\r\n", "streamed"}, {"*1\r\n=?\r\n", "streamed"},
        {"%1\r\n*0\r\n", "expected a key that is a scalar"},
        {"%1\r\n:a\r\n_\r\n", "expected an integer at byte 5"},
        {"%1\r\n,a\r\n_\r\n", "expected a number at byte 5"},
        {"%1\r\n(a\r\n_\r\n", "expected a number at byte 5"},
        {"%1\r\n%0\r\n", "expected a key that is a scalar"},
        {"%1\r\n-no\r\n", "expected a key that is a scalar"},
        {"%1\r\n$-1\r\n", "expected a string"},
        {">2\r\n$?\r\n", "expected the kind of a message"},
        {">2\r\n:1\r\n?\r\n", "expected one of + -"},
        {"+OK\r\n>1\r\n?", "expected one of + -"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        text t = {0};
        text_put(&t, "%s", wrong[i].reply);
        for (size_t portion = 0; portion < 2; portion++) {
            feeder f = {.kind = FALKOR__REPLY_PLAIN, .portion = portion};
            char *got = feed_text(f, &t);
            /* byte by byte the reply is complete before what is behind it */
            if (portion == 0 || t.bytes[0] != '+') {
                if (!strstr(got, wrong[i].message))
                    print_error("%s: %s\n", wrong[i].reply, got);
                assert_non_null(strstr(got, "ERR_PROTOCOL: malformed reply: "));
                assert_non_null(strstr(got, wrong[i].message));
            }
            free(got);
        }
        text_free(&t);
    }
}

/* Any byte of the plain replies changed to any of some others: no crash. */
static void test_reply_plain_damaged(void **state) {
    (void)state;
    static const char bytes[] = "\r\n*$:+-_,#(=!%~>|?0129tx\0";
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        text t = {0};
        text_put(&t, "%s", plain[i].reply);
        for (size_t at = 0; at < t.length; at++)
            for (size_t b = 0; b < sizeof bytes; b++) {
                char good = t.bytes[at];
                t.bytes[at] = bytes[b];
                for (int kind = 0; kind < 3; kind++)
                    free(feed_text((feeder){.portion = b & 1,
                        .kind = (falkor__reply_kind)kind}, &t));
                t.bytes[at] = good;
            }
        text_free(&t);
    }
}

static void test_reply_plain_limits(void **state) {
    (void)state;
    static const struct { const char *reply, *message; } over[] = {
        {"%1\r\n+a\r\n%1\r\n+a\r\n%1\r\n+a\r\n~1\r\n%1\r\n", "a nesting of 5"},
        {"%4294967296\r\n", "an array of 4294967296"},
        {"~1\r\n>4294967296\r\n", "an array of 4294967296"},
        {"|4294967296\r\n", "an array of 4294967296"},
        {"=1000001\r\n", "the limit is 1000000"},
        {"!1000001\r\n", "the limit is 1000000"}};
    for (size_t i = 0; i < sizeof over / sizeof *over; i++) {
        falkor__limits limits = {.depth = 4, .bytes = 1000000};
        text t = {0};
        text_put(&t, "%s", over[i].reply);
        char *got = feed_text((feeder){.kind = FALKOR__REPLY_PLAIN,
                                       .limits = &limits}, &t);
        assert_non_null(strstr(got, "ERR_LIMIT"));
        assert_non_null(strstr(got, over[i].message));
        free(got);
        text_free(&t);
    }
}

/* Messages before the reply take no memory, however many they are, and end at
   the limit of bytes. */
static void test_reply_messages_take_no_memory(void **state) {
    (void)state;
    text t = {0};
    for (int i = 0; i < 100000; i++)
        text_put(&t, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\n%05d\r\n",
                 i % 99999);
    text_put(&t, ":7\r\n");
    heap_begin(0);
    char *got = feed_text((feeder){.kind = FALKOR__REPLY_PLAIN,
                                   .portion = 9000}, &t);
    assert_true(tally.most_bytes < 160 << 10);
    assert_int_equal(strncmp(got, "7\n", 2), 0);
    free(got);
    falkor__limits limits = {.bytes = 1000000};
    got = feed_text((feeder){.kind = FALKOR__REPLY_PLAIN, .limits = &limits,
                             .portion = 9000}, &t);
    assert_non_null(strstr(got, "ERR_LIMIT: reply with bytes of "));
    free(got);
    text_free(&t);
    heap_end();
}

/* What lies behind a reply is left alone. */
static void test_reply_surplus(void **state) {
    (void)state;
    text t = cell_reply(cells[3].cell);
    size_t own = t.length;
    text_put(&t, "*1\r\n*0\r\n+next\r\n");
    for (size_t portion = 0; portion < t.length; portion++) {
        feeder f = {.kind = FALKOR__REPLY_QUERY, .portion = portion};
        text out = {0};
        size_t used;
        assert_int_equal(feed(&f, t.bytes, t.length, &out, &used), FALKOR_OK);
        assert_int_equal(used, own);
        text_free(&out);
    }
    falkor_result *r = falkor__reply_new(FALKOR__REPLY_QUERY, NULL, NULL);
    size_t size;
    memcpy(falkor__reply_room(r, &size), t.bytes, t.length);
    assert_int_equal(falkor__reply_feed(r, t.length, NULL), FALKOR_OK);
    const char *surplus = falkor__reply_surplus(r, &size);
    assert_int_equal(size, t.length - own);
    assert_memory_equal(surplus, t.bytes + own, size);
    falkor_result_free(r);
    text_free(&t);
}

/* Surplus behind a reply that filled receive chunks. */
static void test_reply_surplus_of_large(void **state) {
    (void)state;
    heap_begin(0);
    text t = {0};
    begin_reply(&t, 1, 20000);
    for (int i = 0; i < 20000; i++)
        text_put(&t, "*1\r\n*2\r\n:2\r\n$5\r\nabcde\r\n");
    text_put(&t, "*0\r\n");
    size_t own = t.length, used;
    text_put(&t, "+next\r\n");
    feeder f = {.kind = FALKOR__REPLY_QUERY};
    text out = {0};
    assert_int_equal(feed(&f, t.bytes, t.length, &out, &used), FALKOR_OK);
    assert_int_equal(used, own);
    text_free(&out);
    text_free(&t);
    heap_end();
}

/* ---- random replies --------------------------------------------------- */

static uint64_t random_state;

static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint32_t random_below(uint32_t limit) {
    return (uint32_t)(random_next() % limit);
}

/* Mostly short, sometimes past a threshold of the decoder. */
static uint32_t random_size(uint32_t large) {
    uint32_t dice = random_below(100);
    return dice < 90 ? random_below(5) : dice < 99 ? random_below(90)
                                                    : random_below(large);
}

static void random_value(text *t, text *want, int depth);

static void random_string(text *t, text *want) {
    uint32_t length = random_size(5000);
    text_put(t, "$%u\r\n", length);
    size_t start = t->length;
    for (uint32_t i = 0; i < length; i++) {
        char byte = (char)(1 + random_below(255));
        text_add(t, random_below(9) ? &byte : "\r", 1);
    }
    dump_string(want, t->bytes + start, length);
    text_add(t, "\r\n", 2);
}

static void random_double(text *t, text *want) {
    char digits[64];
    uint64_t bits = random_next();
    double number;
    memcpy(&number, &bits, sizeof number);
    if (random_below(2))
        number = (double)(int64_t)random_next() / 1e9;
    snprintf(digits, sizeof digits, "%.*g", random_below(2) ? 15 : 17, number);
    bulk(t, digits);
    text_put_real(want, strtod(digits, NULL));
}

static void random_properties(text *t, text *want, int depth) {
    uint32_t count = random_size(200);
    text_put(t, "*%u\r\n", count);
    text_put(want, "{");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = random_below(NAMES);
        text value = {0};
        text_put(want, "k%u: ", key);
        random_value(&value, want, depth);
        text_put(want, ", ");
        text_put(t, "*3\r\n:%u\r\n", key);
        text_add(t, value.bytes + 4, value.length - 4);     /* without *2 */
        text_free(&value);
    }
    text_put(want, "}");
}

static void random_node(text *t, text *want, int depth) {
    uint32_t id = random_below(100000), labels = random_size(100);
    text_put(t, "*3\r\n:%u\r\n*%u\r\n", id, labels);
    text_put(want, "(%u", id);
    for (uint32_t i = 0; i < labels; i++) {
        uint32_t label = random_below(NAMES);
        text_put(t, ":%u\r\n", label);
        text_put(want, ":L%u", label);
    }
    random_properties(t, want, depth);
    text_put(want, ")");
}

static void random_edge(text *t, text *want, int depth) {
    uint32_t id = random_below(1000), type = random_below(NAMES);
    text_put(t, "*5\r\n:%u\r\n:%u\r\n:1\r\n:2\r\n", id, type);
    text_put(want, "<%u T%u 1 2 ", id, type);
    random_properties(t, want, depth);
    text_put(want, ">");
}

static void random_path(text *t, text *want, int depth) {
    uint32_t edges = random_size(100);
    text_put(t, "*2\r\n*2\r\n:6\r\n*%u\r\n", edges + 1);
    text_put(want, "path");
    for (uint32_t i = 0; i <= edges; i++) {
        text_put(t, "*2\r\n:8\r\n");
        random_node(t, want, depth);
    }
    text_put(t, "*2\r\n:6\r\n*%u\r\n", edges);
    for (uint32_t i = 0; i < edges; i++) {
        text_put(t, "*2\r\n:7\r\n");
        random_edge(t, want, depth);
    }
}

static void random_array(text *t, text *want, int depth) {
    uint32_t count = random_size(depth > 2 ? 20 : 1000);
    text_put(t, "*%u\r\n", count);
    text_put(want, "[");
    for (uint32_t i = 0; i < count; i++) {
        random_value(t, want, depth);
        text_put(want, ", ");
    }
    text_put(want, "]");
}

static void random_map(text *t, text *want, int depth) {
    uint32_t count = random_size(depth > 2 ? 20 : 300);
    text_put(t, "*%u\r\n", count * 2);
    text_put(want, "{");
    for (uint32_t i = 0; i < count; i++) {
        char key[400];
        snprintf(key, sizeof key, "key%0*u",
                 random_below(10) ? 3 : 1 + (int)random_below(380), i);
        bulk(t, key);
        text_put(want, "%s: ", key);
        random_value(t, want, depth);
        text_put(want, ", ");
    }
    text_put(want, "}");
}

static void random_vector(text *t, text *want) {
    uint32_t count = random_size(2000);
    text_put(t, "*%u\r\n", count);
    text_put(want, "v(");
    for (uint32_t i = 0; i < count; i++) {
        char digits[64];
        float number = (float)(int32_t)random_next() / 65536.0f;
        snprintf(digits, sizeof digits, "%.17g", (double)number);
        bulk(t, digits);
        text_put(want, "%.9g ", (double)number);
    }
    text_put(want, ")");
}

static void random_value(text *t, text *want, int depth) {
    bool deep = depth < 5 && !random_below((uint32_t)depth + 2);
    uint32_t type = deep ? 6 + random_below(5) : 1 + random_below(5);
    if (!deep && !random_below(20))
        type = 12;
    text_put(t, "*2\r\n:%u\r\n", type);
    switch (type) {
    case 1:
        text_put(t, "$-1\r\n");
        text_put(want, "null");
        break;
    case 2: random_string(t, want); break;
    case 3: {
        long long number = (long long)random_next() >> random_below(63);
        text_put(t, ":%lld\r\n", number);
        text_put(want, "%lld", number);
        break;
    }
    case 4:
        text_put(t, "$4\r\ntrue\r\n");
        text_put(want, "true");
        break;
    case 5: random_double(t, want); break;
    case 6: random_array(t, want, depth + 1); break;
    case 7: random_edge(t, want, depth + 1); break;
    case 8: random_node(t, want, depth + 1); break;
    case 9: random_path(t, want, depth + 2); break;
    case 10: random_map(t, want, depth + 1); break;
    default: random_vector(t, want);
    }
}

static void random_reply(text *t, text *want) {
    uint32_t columns = 1 + random_below(4), rows = random_size(300);
    begin_reply(t, columns, rows);
    for (uint32_t row = 0; row < rows; row++) {
        text_put(t, "*%u\r\n", columns);
        for (uint32_t i = 0; i < columns; i++) {
            text_put(want, i ? " | " : "");
            random_value(t, want, 0);
        }
        text_put(want, "\n");
    }
    text_put(t, "*0\r\n");
    for (uint32_t i = 0; i < columns; i++)
        text_put(want, "column c%u\n", i);
    text_put(want, "%s", no_summary);
}

/* Random replies in random portions, whole and row by row, with a schema that
   may know only some of the names. */
static void test_reply_random(void **state) {
    (void)state;
    const char *given = getenv("FALKOR_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10)
        : (uint64_t)falkor__clock_ns(CLOCK_MONOTONIC);
    print_message("FALKOR_TEST_SEED=%llu\n", (unsigned long long)seed);
    random_state = seed * 2 + 1;
    falkor__schema full = schema_of(NAMES);
    for (int i = 0; i < 60; i++) {
        text t = {0}, want = {0};
        random_reply(&t, &want);
        for (int way = 0; way < 6; way++) {
            falkor__schema some = schema_of(random_below(NAMES));
            feeder f = {.schema = way & 1 ? &some : &full,
                .kind = way & 2 ? FALKOR__REPLY_ROWS : FALKOR__REPLY_QUERY,
                .newer = &full, .portion = random_below(4000)};
            if (t.length < 20000 && random_below(2))
                f.portion = random_below(9);
            char *got = feed_text(f, &t);
            assert_string_equal(got, want.bytes);
            free(got);
            assert_int_equal(some.references, 1);
        }
        text_free(&t);
        text_free(&want);
    }
    assert_int_equal(full.references, 1);
}

/* ---- names ------------------------------------------------------------ */

/* Lists long enough to move while they grow, with names in them missing:
   edges of a path, properties, labels. */
static text names_reply(text *want) {
    text t = {0};
    begin_reply(&t, 1, 1);
    text_put(&t, "*1\r\n*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*301\r\n");
    text_put(want, "path");
    for (int i = 0; i <= 300; i++) {
        text_put(&t, "*2\r\n:8\r\n*3\r\n:%d\r\n*2\r\n:%d\r\n:1\r\n*%d\r\n", i,
                 i % NAMES, i);
        text_put(want, "(%d:L%d:L1{", i, i % NAMES);
        for (int k = 0; k < i; k++) {
            text_put(&t, "*3\r\n:%d\r\n:3\r\n:%d\r\n", k % NAMES, k);
            text_put(want, "k%d: %d, ", k % NAMES, k);
        }
        text_put(want, "})");
    }
    text_put(&t, "*2\r\n:6\r\n*300\r\n");
    for (int i = 0; i < 300; i++) {
        text_put(&t, "*2\r\n:7\r\n*5\r\n:%d\r\n:%d\r\n:1\r\n:2\r\n*0\r\n", i,
                 i % NAMES);
        text_put(want, "<%d T%d 1 2 {}>", i, i % NAMES);
    }
    text_put(&t, "*0\r\n");
    text_put(want, "\ncolumn c0\n%s", no_summary);
    return t;
}

static void test_reply_names_found_after_lists_grew(void **state) {
    (void)state;
    text want = {0}, t = names_reply(&want);
    falkor__schema full = schema_of(NAMES);
    for (size_t known = 0; known <= NAMES; known += 5)
        for (int kind = FALKOR__REPLY_QUERY; kind <= FALKOR__REPLY_ROWS;
             kind++) {
            falkor__schema some = schema_of(known);
            feeder f = {.kind = (falkor__reply_kind)kind, .newer = &full,
                        .schema = known ? &some : NULL, .portion = 100};
            char *got = feed_text(f, &t);
            assert_string_equal(got, want.bytes);
            free(got);
        }
    text_free(&t);
    text_free(&want);
}

static void test_reply_names_in_steps(void **state) {
    (void)state;
    heap_begin(0);
    destroyed = 0;
    falkor__schema first = schema_of(1), second = schema_of(3),
        third = schema_of(6);
    text t = {0};
    begin_reply(&t, 1, 1);
    text_put(&t, "*1\r\n*2\r\n:8\r\n*3\r\n:1\r\n*3\r\n:0\r\n:2\r\n:5\r\n*1\r\n"
             "*3\r\n:4\r\n:1\r\n$-1\r\n*0\r\n");
    falkor_result *r = falkor__reply_new(FALKOR__REPLY_QUERY, &first, NULL);
    falkor__schema_release(&first);
    size_t size;
    memcpy(falkor__reply_room(r, &size), t.bytes, t.length);
    assert_int_equal(falkor__reply_feed(r, t.length, NULL), FALKOR_OK);
    const falkor_node *node = falkor_result_value(r, 0, 0)->as.node;
    assert_int_equal(falkor__reply_unresolved(r), 3);
    assert_string_equal(node->labels[0], "L0");
    assert_string_equal(node->labels[1], "");
    assert_string_equal(node->properties.as.entries[0].key, "");
    assert_int_equal(falkor__reply_resolve(r, NULL), 3);
    assert_int_equal(falkor__reply_resolve(r, &second), 2);
    falkor__schema_release(&second);
    assert_string_equal(node->labels[1], "L2");
    assert_int_equal(falkor__reply_resolve(r, &second), 2);
    assert_int_equal(falkor__reply_resolve(r, &third), 0);
    falkor__schema_release(&third);
    assert_string_equal(node->labels[2], "L5");
    assert_string_equal(node->properties.as.entries[0].key, "k4");
    assert_int_equal(destroyed, 0);
    falkor_result_free(r);
    assert_int_equal(destroyed, 3);
    text_free(&t);
    heap_end();
}

/* ---- malformed -------------------------------------------------------- */

#define CELL "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n*1\r\n*1\r\n"

static const struct { const char *reply, *message; } malformed[] = {
    {"x", "expected the array of a query's reply at byte 0, found \"x\""},
    {"+QUEUED\r\n", "expected the array of a query's reply at byte 0, "
                    "found \"+QUEUED\\r\\n\""},
    {"$-1\r\n", "expected the array of a query's reply at byte 0"},
    {"*-1\r\n", "expected the array of a query's reply at byte 1"},
    {"*2\r\n*0\r\n", "expected an array of 1 or 3 parts at byte 0"},
    {"*0\r\n:", "expected an array of 1 or 3 parts at byte 0"},
    {"*3\r\r", "at byte 3, found \"\\r\""},
    {"*3\n", "at byte 2, found \"\\n\""},
    {"*03x\r\n", "at byte 3, found \"x\\r\\n\""},
    {"*3\r\n:1\r\n", "expected the list of columns at byte 4"},
    {"*3\r\n*1\r\n:1\r\n", "expected a column [1, name] at byte 8"},
    {"*3\r\n*1\r\n*2\r\n:1\r\n:1\r\n", "expected a column's name at byte 16"},
    {"*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nnn\r\n", "expected the end of a string"},
    {"*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n$1\r\n", "the list of rows"},
    {"*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n*1\r\n*2\r\n",
     "a row of as many values as columns"},
    {CELL "*3\r\n", "expected [type, value] at byte 32, found \"3\\r\\n\""},
    {CELL "*2\r\n:-1\r\n", "expected a type"},
    {CELL "*2\r\n:2\r\n:5\r\n", "expected a string"},
    {CELL "*2\r\n:2\r\n$-1\r\n", "expected a string"},
    {CELL "*2\r\n:1\r\n$0\r\n", "expected null"},
    {CELL "*2\r\n:3\r\n$1\r\n", "expected an integer"},
    {CELL "*2\r\n:3\r\n:\r\n", "expected an integer"},
    {CELL "*2\r\n:3\r\n:-\r\n", "expected an integer"},
    {CELL "*2\r\n:3\r\n:1.5\r\n", "expected an integer"},
    {CELL "*2\r\n:3\r\n:9223372036854775808\r\n", "an integer of 64 bits"},
    {CELL "*2\r\n:3\r\n:-9223372036854775809\r\n", "an integer of 64 bits"},
    {CELL "*2\r\n:3\r\n:123456789012345678901", "at most 64 bits"},
    {CELL "*2\r\n:4\r\n$4\r\ntrux\r\n", "expected true or false"},
    {CELL "*2\r\n:4\r\n$5\r\nfalsy\r\n", "expected true or false"},
    {CELL "*2\r\n:4\r\n:1\r\n", "expected true or false"},
    {CELL "*2\r\n:5\r\n$0\r\n\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$3\r\n1,5\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$3\r\n0x1\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$2\r\n1e\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$2\r\n+1\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$1\r\n.\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$1\r\n-\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n$4\r\n-nin\r\n", "expected a number"},
    {CELL "*2\r\n:5\r\n:1\r\n", "expected a number as a string"},
    {CELL "*2\r\n:6\r\n:1\r\n", "expected a list"},
    {CELL "*2\r\n:6\r\n*-1\r\n", "expected a list"},
    {CELL "*2\r\n:6\r\n*1\r\n:1\r\n", "expected [type, value]"},
    {CELL "*2\r\n:7\r\n*4\r\n", "an edge of five parts"},
    {CELL "*2\r\n:7\r\n*5\r\n:1\r\n:-1\r\n", "an id, zero or more"},
    {CELL "*2\r\n:7\r\n*5\r\n:1\r\n:2147483648\r\n:1\r\n:2\r\n*0\r\n",
     "ids of names below 2^31"},
    {CELL "*2\r\n:8\r\n*2\r\n", "a node of three parts"},
    {CELL "*2\r\n:8\r\n*3\r\n:1\r\n*1\r\n$1\r\n", "expected an id"},
    {CELL "*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n*1\r\n*2\r\n", "[key, type, value]"},
    {CELL "*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n*1\r\n*3\r\n:-1\r\n", "a key's id"},
    {CELL "*2\r\n:9\r\n*2\r\n*2\r\n:5\r\n", "a path's nodes"},
    {CELL "*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*1\r\n*2\r\n:7\r\n", "a path's node"},
    {CELL "*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*0\r\n*3\r\n", "a path's edges"},
    {CELL "*2\r\n:10\r\n*3\r\n", "an even list of keys and values"},
    {CELL "*2\r\n:10\r\n*2\r\n:1\r\n", "expected a key"},
    {CELL "*2\r\n:11\r\n*3\r\n", "a point of two numbers"},
    {CELL "*2\r\n:12\r\n*1\r\n:1\r\n", "a number as a string"},
    {CELL "*2\r\n:13\r\n$1\r\n1\r\n", "expected an integer"},
    {CELL "*2\r\n:77\r\n?3\r\n", "expected one of + - : $ * _ , # ( = ! %"},
    {CELL "*2\r\n:77\r\n$?\r\n", "expected a length: replies that are str"},
    {CELL "*2\r\n:77\r\n*2\r\n%?\r\n", "expected a length: replies"},
    {CELL "*2\r\n:1\r\n_1\r\n", "expected null"},
    {CELL "*2\r\n:12\r\n*1\r\n,x\r\n", "expected a number"},
    {CELL "*2\r\n:77\r\n+a\rb\r\n", "expected the end of a line"},
    {CELL "*2\r\n:1\r\n$-1\r\n:1\r\n", "expected the list of statistics"},
    {"*1\r\n*1\r\n:1\r\n", "expected a line of statistics"},
};

/* What is shown of the bytes depends on how many had arrived. */
static void cut_at(char *message, const char *mark) {
    char *found = strstr(message, mark);
    if (found)
        *found = 0;
}

static void test_reply_malformed(void **state) {
    (void)state;
    falkor__schema schema = schema_of(NAMES);
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        text t = {0};
        text_put(&t, "%s", malformed[i].reply);
        feeder f = {.kind = FALKOR__REPLY_QUERY, .schema = &schema};
        char *whole = feed_text(f, &t);
        if (!strstr(whole, malformed[i].message))
            print_error("%s\n", malformed[i].reply);
        assert_non_null(strstr(whole, "ERR_PROTOCOL: malformed reply: "));
        assert_non_null(strstr(whole, malformed[i].message));
        cut_at(whole, ", found");
        for (size_t first = 1; first <= t.length; first++) {
            f.first = first;
            f.portion = first & 1;
            char *got = feed_text(f, &t);
            cut_at(got, ", found");
            assert_string_equal(got, whole);
            free(got);
        }
        free(whole);
        text_free(&t);
    }
}

/* Any byte of a good reply changed to any of some others: no crash, and no
   reading behind what arrived (under ASan), whatever comes out. */
static void test_reply_damaged(void **state) {
    (void)state;
    static const char bytes[] = "\r\n*$:+-0129x\0";
    falkor__schema schema = schema_of(NAMES);
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        text t = cell_reply(cells[i].cell);
        for (size_t at = 0; at < t.length; at++)
            for (size_t b = 0; b < sizeof bytes; b++) {
                char good = t.bytes[at];
                t.bytes[at] = bytes[b];
                feeder f = {.kind = FALKOR__REPLY_QUERY, .schema = &schema,
                            .portion = b & 1};
                free(feed_text(f, &t));
                f.kind = FALKOR__REPLY_PLAIN;
                free(feed_text(f, &t));
                t.bytes[at] = good;
            }
        text_free(&t);
    }
}

static void test_reply_failure_is_sticky(void **state) {
    (void)state;
    falkor_result *r = falkor__reply_new(FALKOR__REPLY_QUERY, NULL, NULL);
    falkor_error error;
    size_t size;
    *falkor__reply_room(r, &size) = 'x';
    assert_int_equal(falkor__reply_feed(r, 1, &error), FALKOR_ERR_PROTOCOL);
    *falkor__reply_room(r, &size) = '*';
    assert_int_equal(falkor__reply_feed(r, 1, &error), FALKOR_ERR_PROTOCOL);
    assert_int_equal(error.status, FALKOR_ERR_PROTOCOL);
    assert_false(falkor__reply_done(r));
    falkor_result_free(r);
}

/* ---- limits ----------------------------------------------------------- */

static char *feed_limited(const text *t, falkor__reply_kind kind, size_t depth,
                          size_t bytes) {
    falkor__limits limits = {.depth = depth, .bytes = bytes};
    return feed_text((feeder){.kind = kind, .limits = &limits}, t);
}

static text nested_reply(uint32_t depth) {
    text t = {0};
    begin_reply(&t, 1, 1);
    text_put(&t, "*1\r\n");
    for (uint32_t i = 0; i < depth; i++)
        text_put(&t, "*2\r\n:6\r\n*1\r\n");
    text_put(&t, "*2\r\n:3\r\n:1\r\n*0\r\n");
    return t;
}

static void test_reply_depth_limit(void **state) {
    (void)state;
    for (uint32_t depth = 1; depth <= 100; depth += 11) {
        text t = nested_reply(depth);
        char *got = feed_limited(&t, FALKOR__REPLY_QUERY, depth, 0);
        assert_non_null(strstr(got, "column c0"));
        free(got);
        if (depth > 1) {
            got = feed_limited(&t, FALKOR__REPLY_ROWS, depth - 1, 0);
            char want[80];
            snprintf(want, sizeof want, "FALKOR_ERR_LIMIT: reply with a nesting"
                     " of %u: the limit is %u", depth, depth - 1);
            assert_string_equal(got, want);
            free(got);
        }
        text_free(&t);
    }
}

static void test_reply_deep_nesting(void **state) {
    (void)state;
    text t = nested_reply(100000);
    falkor_result *r = falkor__reply_new(FALKOR__REPLY_QUERY, NULL, NULL);
    for (size_t at = 0, size; !falkor__reply_done(r); at += size) {
        char *room = falkor__reply_room(r, &size);
        size = size < t.length - at ? size : t.length - at;
        memcpy(room, t.bytes + at, size);
        assert_int_equal(falkor__reply_feed(r, size, NULL), FALKOR_OK);
    }
    const falkor_value *value = falkor_result_value(r, 0, 0);
    size_t depth = 0;
    for (; value->type == FALKOR_ARRAY; depth++)
        value = value->as.items;
    assert_int_equal(depth, 100000);
    falkor_result_free(r);
    text_free(&t);
}

static void test_reply_byte_limit(void **state) {
    (void)state;
    text t = {0};
    begin_reply(&t, 1, 100);
    for (int i = 0; i < 100; i++)
        text_put(&t, "*1\r\n*2\r\n:2\r\n$5\r\nabcde\r\n");
    text_put(&t, "*0\r\n");
    char *got = feed_limited(&t, FALKOR__REPLY_QUERY, 0, t.length);
    assert_non_null(strstr(got, "column c0"));
    free(got);
    falkor__limits limits = {.bytes = 1000};
    got = feed_text((feeder){.kind = FALKOR__REPLY_QUERY, .limits = &limits,
                             .portion = 500}, &t);
    assert_non_null(strstr(got, "ERR_LIMIT: reply with bytes of "));
    assert_non_null(strstr(got, "the limit is 1000"));
    free(got);
    got = feed_text((feeder){.kind = FALKOR__REPLY_ROWS, .limits = &limits,
                             .portion = 500}, &t);
    assert_non_null(strstr(got, "column c0"));
    free(got);
    text_free(&t);
    /* what stands before the rows counts too */
    text_put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$400\r\n%0400d\r\n*1\r\n*1\r\n", 0);
    text_put(&t, "*2\r\n:6\r\n*2\r\n*2\r\n:2\r\n$400\r\n%0400d\r\n", 0);
    text_put(&t, "*2\r\n:2\r\n$400\r\n%0400d\r\n*0\r\n", 0);
    got = feed_text((feeder){.kind = FALKOR__REPLY_QUERY, .limits = &limits,
                             .portion = 100}, &t);
    assert_non_null(strstr(got, "ERR_LIMIT: reply with bytes of "));
    free(got);
    text_free(&t);
}

static void test_reply_count_limits(void **state) {
    (void)state;
    static const struct { const char *reply, *message; } over[] = {
        {"*4294967296\r\n", "an array of 4294967296"},
        {CELL "*2\r\n:2\r\n$4294967296\r\n", "a string of 4294967296"},
        {CELL "*2\r\n:2\r\n$1000001\r\n", "the limit is 1000000"},
        {CELL "*2\r\n:6\r\n*5000000000\r\n", "an array of 5000000000"},
        {CELL "*2\r\n:8\r\n*3\r\n:1\r\n*4097\r\n", "label list of 4097"}};
    for (size_t i = 0; i < sizeof over / sizeof *over; i++) {
        text t = {0};
        text_put(&t, "%s", over[i].reply);
        char *got = feed_limited(&t, FALKOR__REPLY_QUERY, 0, 1000000);
        assert_non_null(strstr(got, "ERR_LIMIT"));
        assert_non_null(strstr(got, over[i].message));
        free(got);
        text_free(&t);
    }
    text t = {0};
    text_put(&t, "-");
    for (int i = 0; i < 70000; i++)
        text_add(&t, "e", 1);
    char *got = feed_limited(&t, FALKOR__REPLY_PLAIN, 0, 0);
    assert_non_null(strstr(got, "ERR_LIMIT: reply with a line of"));
    free(got);
    text_free(&t);
}

/* ---- memory ----------------------------------------------------------- */

static void test_reply_small_is_one_block(void **state) {
    (void)state;
    text t = cell_reply(cells[24].cell);
    falkor__schema schema = schema_of(NAMES);
    heap_begin(0);
    char *got = feed_text((feeder){.kind = FALKOR__REPLY_QUERY,
                                   .schema = &schema}, &t);
    assert_int_equal(tally.calls, 1);
    assert_int_equal(tally.most_bytes, 4096);
    free(got);
    text_free(&t);
    heap_end();
}

/* A length is only a promise: little is allocated before bytes arrive. */
static void test_reply_hostile_lengths(void **state) {
    (void)state;
    static const char *const hostile[] = {
        CELL "*2\r\n:2\r\n$2000000000\r\nabc",
        CELL "*2\r\n:6\r\n*2000000000\r\n",
        CELL "*2\r\n:12\r\n*2000000000\r\n",
        CELL "*2\r\n:10\r\n*2000000000\r\n",
        CELL "*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n*2000000000\r\n",
        CELL "*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*2000000000\r\n",
        CELL "*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*0\r\n*2\r\n:6\r\n*2000000000\r\n",
        CELL "*2\r\n:99\r\n*2000000000\r\n*2000000000\r\n",
        "*3\r\n*2000000000\r\n", "*1\r\n*2000000000\r\n",
        "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n*2000000000\r\n"};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        text t = {0};
        text_put(&t, "%s", hostile[i]);
        heap_begin(0);
        char *got = feed_text((feeder){.kind = FALKOR__REPLY_QUERY}, &t);
        assert_string_equal(got, "incomplete");
        assert_true(tally.most_bytes <= 4096 + 4096 + 64);
        free(got);
        text_free(&t);
        heap_end();
    }
}

/* A long string: memory follows the bytes that arrived, and all of it is
   moved a bounded number of times, however small the portions. */
static void test_reply_long_string(void **state) {
    (void)state;
    size_t length = 20 << 20;
    text t = {0};
    begin_reply(&t, 1, 1);
    text_put(&t, "*1\r\n*2\r\n:2\r\n$%zu\r\n", length);
    size_t head = t.length;
    char *body = malloc(length);
    memset(body, 'a', length);
    text_add(&t, body, length);
    text_put(&t, "\r\n*0\r\n");
    for (int kind = FALKOR__REPLY_QUERY; kind <= FALKOR__REPLY_ROWS; kind++) {
        heap_begin(0);
        falkor_result *r = falkor__reply_new((falkor__reply_kind)kind, NULL,
                                             NULL);
        for (size_t at = 0, size; at < t.length;) {
            char *room = falkor__reply_room(r, &size);
            size = size < 1000 ? size : 1000;
            size = size < t.length - at ? size : t.length - at;
            memcpy(room, t.bytes + at, size);
            at += size;
            assert_int_equal(falkor__reply_feed(r, size, NULL), FALKOR_OK);
            assert_true(tally.bytes <= 2 * at + (140 << 10));
            if (falkor__reply_row_ready(r))
                break;
        }
        assert_true(tally.most_bytes <= 2 * length);
        assert_true(tally.calls < 16);
        const falkor_value *value = falkor_result_value(r, 0, 0);
        assert_int_equal(value->length, length);
        assert_memory_equal(value->as.string, t.bytes + head, length);
        falkor_result_free(r);
        heap_end();
    }
    free(body);
    text_free(&t);
}

/* Row by row: memory does not grow with the rows, and that of large rows is
   given back. */
static void test_reply_rows_in_constant_memory(void **state) {
    (void)state;
    falkor__schema schema = schema_of(NAMES);
    text row = {0}, large = {0}, head = {0};
    text_put(&row, "*2\r\n*2\r\n:8\r\n*3\r\n:1\r\n*1\r\n:1\r\n*2\r\n*3\r\n"
             ":1\r\n:2\r\n$5\r\nhello\r\n*3\r\n:2\r\n:3\r\n:5\r\n*2\r\n:2\r\n");
    bulk(&row, "a string of some length, as they are");
    text_put(&large, "*2\r\n*2\r\n:6\r\n*20000\r\n");
    for (int i = 0; i < 20000; i++)
        text_put(&large, "*2\r\n:3\r\n:1\r\n");
    text_put(&large, "*2\r\n:2\r\n$3000000\r\n");
    for (int i = 0; i < 30000; i++)
        text_put(&large, "%0100d", i);
    text_put(&large, "\r\n");
    begin_reply(&head, 2, 100000);
    heap_begin(0);
    falkor_result *r = falkor__reply_new(FALKOR__REPLY_ROWS, &schema, NULL);
    size_t rows = 0, fed = 0, size, settled = 0;
    const text *source = &head;
    while (rows < 100000) {
        char *room = falkor__reply_room(r, &size);
        size = size < source->length - fed ? size : source->length - fed;
        size = size < 10000 ? size : 10000;
        memcpy(room, source->bytes + fed, size);
        fed += size;
        if (fed == source->length) {
            source = rows >= 50000 && rows < 50010 ? &large : &row;
            fed = 0;
        }
        assert_int_equal(falkor__reply_feed(r, size, NULL), FALKOR_OK);
        while (falkor__reply_row_ready(r)) {
            assert_int_equal(falkor_result_rows(r), 1);
            assert_int_equal(falkor_result_columns(r), 2);
            assert_string_equal(falkor_result_column(r, 1), "c1");
            assert_non_null(falkor_result_get(r, 0, "c1")->as.string);
            rows++;
            assert_int_equal(falkor__reply_next(r, NULL), FALKOR_OK);
            assert_int_equal(falkor_result_rows(r), 0);
        }
        if (rows > 1000 && rows < 49000)
            assert_true(tally.most_bytes < 200 << 10);
        if (rows > 60000 && !settled)
            settled = tally.bytes;
        if (settled)
            assert_true(tally.bytes <= settled && settled < 400 << 10);
    }
    falkor_result_free(r);
    text_free(&row);
    text_free(&large);
    text_free(&head);
    assert_int_equal(schema.references, 1);
    heap_end();
}

/* Short strings move to the arena and free their receive chunk; long ones
   stay and keep it. Neither makes the result hold much more than it says. */
static void test_reply_memory_of_strings(void **state) {
    (void)state;
    for (size_t length = 1; length < 100000; length = length * 4 + 3) {
        uint32_t rows = (uint32_t)((4 << 20) / (length + 30));
        char *body = calloc(1, length + 1);
        memset(body, 's', length);
        text t = {0};
        begin_reply(&t, 1, rows);
        for (uint32_t i = 0; i < rows; i++) {
            text_put(&t, "*1\r\n*2\r\n:2\r\n");
            bulk(&t, body);
        }
        text_put(&t, "*0\r\n");
        heap_begin(0);
        falkor_result *r = falkor__reply_new(FALKOR__REPLY_QUERY, NULL, NULL);
        for (size_t at = 0, size; !falkor__reply_done(r); at += size) {
            char *room = falkor__reply_room(r, &size);
            size = size < t.length - at ? size : t.length - at;
            memcpy(room, t.bytes + at, size);
            assert_int_equal(falkor__reply_feed(r, size, NULL), FALKOR_OK);
        }
        assert_true(tally.bytes < t.length + (3 << 20));
        for (uint32_t i = 0; i < rows; i++) {
            assert_int_equal(falkor_result_value(r, i, 0)->length, length);
            assert_string_equal(falkor_result_value(r, i, 0)->as.string, body);
        }
        falkor_result_free(r);
        heap_end();
        free(body);
        text_free(&t);
    }
}

/* Each allocation fails once, alone and with all that follow: the status is
   NOMEM or the right result, and nothing leaks. */
static void test_reply_no_memory(void **state) {
    (void)state;
    text want = {0}, t = names_reply(&want);
    falkor__schema full = schema_of(NAMES), some = schema_of(2);
    for (int way = 0; way < 8; way++) {
        feeder f = {.kind = way & 1 ? FALKOR__REPLY_ROWS : FALKOR__REPLY_QUERY,
                    .schema = &some, .newer = &full,
                    .portion = way & 2 ? 500 : 0};
        falkor_status status = FALKOR_ERR_NOMEM;
        for (size_t fail = 1; status; fail++) {
            text out = {0};
            heap_begin(fail);
            tally.fail_from = way & 4;
            status = feed(&f, t.bytes, t.length, &out, NULL);
            bool reached = tally.calls >= fail;
            heap_end();
            if (!status && reached)     /* it failed in resolve: "" stays */
                status = FALKOR_ERR_NOMEM;
            else if (!status)
                assert_string_equal(out.bytes, want.bytes);
            assert_true(!status || status == FALKOR_ERR_NOMEM);
            text_free(&out);
        }
    }
    assert_int_equal(full.references, 1);
    assert_int_equal(some.references, 1);
    text_free(&t);
    text_free(&want);
}

/* Large chunks stay for the next result, and go when they are told to. */
static void test_reply_spares(void **state) {
    (void)state;
    text t = {0};
    begin_reply(&t, 1, 100000);
    for (int i = 0; i < 100000; i++)
        text_put(&t, "*1\r\n*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n*0\r\n");
    text_put(&t, "*0\r\n");
    heap_begin(0);
    size_t calls[2];
    for (int i = 0; i < 2; i++) {
        size_t before = tally.calls;
        free(feed_text((feeder){.kind = FALKOR__REPLY_QUERY}, &t));
        calls[i] = tally.calls - before;
    }
    assert_true(tally.blocks > 0);
    assert_true(calls[1] < calls[0]);
    text_free(&t);
    heap_end();
}

/* ---- numbers ---------------------------------------------------------- */

/* Digits never mean an infinity, which has a spelling of its own. */
static double digits_mean(const char *digits) {
    double number = strtod(digits, NULL);
    return isinf(number) ? copysign(DBL_MAX, number) : number;
}

static void test_reply_doubles(void **state) {
    (void)state;
    static const char *const numbers[] = {"0", "-0", "1", "1e22", "1e23",
        "9007199254740993", "9007199254740993.0001", "1e-22", "1.7e308",
        "1e309", "-1e309", "4.9e-324", "2.4e-324", "2.2250738585072011e-308",
        "0.1", "123456789012345678901234567890", "00000000000000000000001.5",
        "0.00000000000000000000000000000000000000001e41", "1E5", "1e+5", "5.",
        ".5",
        "1797693134862315807937289714053034150799341327100378269361737e240",
        "0e999999999", "1e-999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double got, want = digits_mean(numbers[i]);
        assert_true(falkor__read_double(numbers[i], strlen(numbers[i]), &got));
        assert_memory_equal(&got, &want, sizeof got);
    }
    random_state = 12345;
    for (int i = 0; i < 200000; i++) {
        char digits[64];
        uint64_t bits = random_next();
        double number, got;
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number))
            continue;
        snprintf(digits, sizeof digits, "%.*g", 1 + (int)random_below(20),
                 i & 1 ? number : (double)(float)(int32_t)bits / 1024.0);
        double want = digits_mean(digits);
        assert_true(falkor__read_double(digits, strlen(digits), &got));
        assert_memory_equal(&got, &want, sizeof got);
    }
}

static void test_reply_floats(void **state) {
    (void)state;
    random_state = 54321;
    for (int i = 0; i < 300000; i++) {
        char digits[64];
        uint32_t bits = (uint32_t)random_next();
        float number, got;
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number))
            continue;
        snprintf(digits, sizeof digits, "%.17g", (double)number);
        assert_true(falkor__read_float(digits, strlen(digits), &got));
        assert_memory_equal(&got, &number, sizeof got);
    }
    float got;
    assert_true(falkor__read_float("nan", 3, &got) && isnan(got));
    assert_true(falkor__read_float("-inf", 4, &got) && isinf(got));
    assert_false(falkor__read_float("x", 1, &got));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply_types),
        cmocka_unit_test(test_reply_all_types_together),
        cmocka_unit_test(test_reply_summary),
        cmocka_unit_test(test_reply_empty_result),
        cmocka_unit_test(test_reply_many_rows),
        cmocka_unit_test(test_reply_accessors_take_null),
        cmocka_unit_test(test_reply_error),
        cmocka_unit_test(test_reply_mismatch),
        cmocka_unit_test(test_reply_plain),
        cmocka_unit_test(test_reply_plain_errors),
        cmocka_unit_test(test_reply_query_among_messages),
        cmocka_unit_test(test_reply_plain_long_map),
        cmocka_unit_test(test_reply_plain_malformed),
        cmocka_unit_test(test_reply_plain_damaged),
        cmocka_unit_test(test_reply_plain_limits),
        cmocka_unit_test(test_reply_messages_take_no_memory),
        cmocka_unit_test(test_reply_surplus),
        cmocka_unit_test(test_reply_surplus_of_large),
        cmocka_unit_test(test_reply_random),
        cmocka_unit_test(test_reply_names_found_after_lists_grew),
        cmocka_unit_test(test_reply_names_in_steps),
        cmocka_unit_test(test_reply_malformed),
        cmocka_unit_test(test_reply_damaged),
        cmocka_unit_test(test_reply_failure_is_sticky),
        cmocka_unit_test(test_reply_depth_limit),
        cmocka_unit_test(test_reply_deep_nesting),
        cmocka_unit_test(test_reply_byte_limit),
        cmocka_unit_test(test_reply_count_limits),
        cmocka_unit_test(test_reply_small_is_one_block),
        cmocka_unit_test(test_reply_hostile_lengths),
        cmocka_unit_test(test_reply_long_string),
        cmocka_unit_test(test_reply_rows_in_constant_memory),
        cmocka_unit_test(test_reply_memory_of_strings),
        cmocka_unit_test(test_reply_no_memory),
        cmocka_unit_test(test_reply_spares),
        cmocka_unit_test(test_reply_doubles),
        cmocka_unit_test(test_reply_floats),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    falkor__spares_free();
    return failed;
}
