/* E5: decoding measured against hiredis' reply reader. The same bytes, 64 KiB
   at a time, become values, of which each is read, and are freed again. The
   sides take turns in processes of their own, for what hiredis leaves in the
   allocator's lists is paid for by the next large block, which would be ours.
   Each keeps between replies what it would on a connection: hiredis its reader
   with a buffer that need not grow again, we our spare chunks. (Portions of 16
   KiB or of all, other values of maxbuf, and a malloc that gives nothing back
   to the system were tried: hiredis is not faster.) Time is the processor's,
   which others on the machine do not change much. Needs no server; a word picks
   the rows whose names begin with it. */
#include "../internal.h"
#include "bench.h"
#include <hiredis/hiredis.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ROUNDS 7                   /* of one turn */
#define PORTION 65536                   /* bytes that "arrive" at a time */

/* ---- replies as the server sends them ---------------------------------- */

typedef struct text {
    char *bytes;
    size_t length, size;
} text;

FALKOR__PRINTF(2, 3)
static void put(text *t, const char *format, ...) {
    va_list arguments;
    if (t->size - t->length < 4096)
        t->bytes = realloc(t->bytes, t->size = t->size * 2 + 8192);
    va_start(arguments, format);
    t->length += (size_t)vsnprintf(t->bytes + t->length, 4096, format,
                                   arguments);
    va_end(arguments);
}

static void put_bulk(text *t, const char *bytes) {
    put(t, "$%zu\r\n%s\r\n", strlen(bytes), bytes);
}

static void put_summary(text *t) {
    put(t, "*2\r\n");
    put_bulk(t, "Cached execution: 0");
    put_bulk(t, "Query internal execution time: 12.345678 milliseconds");
}

/* MATCH (n) RETURN n, each node with a name, a city, two numbers and a
   double. */
static text nodes(int rows) {
    text t = {0};
    char line[64];
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*1\r\n*2\r\n:8\r\n*3\r\n:%d\r\n*1\r\n:0\r\n*5\r\n", i);
        snprintf(line, sizeof line, "person number %d", i);
        put(&t, "*3\r\n:0\r\n:2\r\n");
        put_bulk(&t, line);
        snprintf(line, sizeof line, "city %d", i % 97);
        put(&t, "*3\r\n:1\r\n:2\r\n");
        put_bulk(&t, line);
        put(&t, "*3\r\n:2\r\n:3\r\n:%d\r\n*3\r\n:3\r\n:3\r\n:%d\r\n", i % 90,
            i * 37);
        snprintf(line, sizeof line, "%.15g", i * 0.37);
        put(&t, "*3\r\n:4\r\n:5\r\n");
        put_bulk(&t, line);
    }
    put_summary(&t);
    return t;
}

/* A path of three nodes, each with a name, and two edges without properties. */
static text paths(int rows) {
    text t = {0};
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\np\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*1\r\n*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*3\r\n");
        for (int node = i; node < i + 3; node++)
            put(&t, "*2\r\n:8\r\n*3\r\n:%d\r\n*1\r\n:0\r\n*1\r\n*3\r\n:0\r\n"
                ":2\r\n$12\r\nnode %7d\r\n", node, node);
        put(&t, "*2\r\n:6\r\n*2\r\n");
        for (int edge = i; edge < i + 2; edge++)
            put(&t, "*2\r\n:7\r\n*5\r\n:%d\r\n:1\r\n:%d\r\n:%d\r\n*0\r\n",
                edge, edge, edge + 1);
    }
    put_summary(&t);
    return t;
}

/* A list of eight integers and a map of two strings and two integers. */
static text lists(int rows) {
    text t = {0};
    put(&t, "*3\r\n*2\r\n*2\r\n:1\r\n$1\r\nl\r\n*2\r\n:1\r\n$1\r\nm\r\n"
        "*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*2\r\n*2\r\n:6\r\n*8\r\n");
        for (int j = i; j < i + 8; j++)
            put(&t, "*2\r\n:3\r\n:%d\r\n", j);
        put(&t, "*2\r\n:10\r\n*8\r\n");
        for (int j = 0; j < 2; j++)
            put(&t, "$5\r\nname%d\r\n*2\r\n:2\r\n$12\r\ntext %7d\r\n"
                "$7\r\nnumber%d\r\n*2\r\n:3\r\n:%d\r\n", j, i, j, i);
    }
    put_summary(&t);
    return t;
}

static text scalars(int rows) {
    text t = {0};
    char line[64];
    put(&t, "*3\r\n*3\r\n*2\r\n:1\r\n$1\r\na\r\n*2\r\n:1\r\n$1\r\nb\r\n"
        "*2\r\n:1\r\n$1\r\nc\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*3\r\n*2\r\n:3\r\n:%d\r\n*2\r\n:2\r\n", i * 17);
        snprintf(line, sizeof line, "a string %d", i);
        put_bulk(&t, line);
        put(&t, "*2\r\n:4\r\n");
        put_bulk(&t, i & 1 ? "true" : "false");
    }
    put_summary(&t);
    return t;
}

/* RETURN 1 */
static text one(int rows) {
    text t = {0};
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\n1\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++)
        put(&t, "*1\r\n*2\r\n:3\r\n:1\r\n");
    put_summary(&t);
    return t;
}

static text vectors(int rows) {
    text t = {0};
    char line[64];
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nv\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*1\r\n*2\r\n:12\r\n*384\r\n");
        for (int j = 0; j < 384; j++) {
            snprintf(line, sizeof line, "%.17g",
                     (double)((float)(i * 384 + j) * 1.7e-5f));
            put_bulk(&t, line);
        }
    }
    put_summary(&t);
    return t;
}

/* ---- the two sides ----------------------------------------------------- */

static double sum_value(const falkor_value *value);

static double sum_node(const falkor_node *node) {
    return (double)node->id + node->labels[0][0] +
        sum_value(&node->properties);
}

static double sum_path(const falkor_path *path) {
    double sum = 0;
    for (size_t i = 0; i < path->node_count; i++)
        sum += sum_node(&path->nodes[i]);
    for (size_t i = 0; i < path->edge_count; i++)
        sum += (double)(path->edges[i].id + path->edges[i].source +
                        path->edges[i].destination) + path->edges[i].type[0];
    return sum;
}

/* What a list or a map holds. */
static double sum_parts(const falkor_value *value) {
    double sum = 0;
    for (uint32_t i = 0; i < value->length; i++)
        sum += value->type == FALKOR_VECTORF32 ? (double)value->as.vector[i]
            : value->type == FALKOR_ARRAY ? sum_value(&value->as.items[i])
            : sum_value(&value->as.entries[i].value) +
              value->as.entries[i].key[0];
    return sum;
}

static double sum_value(const falkor_value *value) {
    switch (value->type) {
    case FALKOR_STRING: return (double)value->length + value->as.string[0];
    case FALKOR_INTEGER: return (double)value->as.integer;
    case FALKOR_BOOLEAN: return value->as.boolean;
    case FALKOR_DOUBLE: return value->as.real;
    case FALKOR_NODE: return sum_node(value->as.node);
    case FALKOR_PATH: return sum_path(value->as.path);
    default: return sum_parts(value);
    }
}

static double sum_result(const falkor_result *result) {
    double sum = 0;
    size_t rows = falkor_result_rows(result);
    size_t columns = falkor_result_columns(result);
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++)
            sum += sum_value(falkor_result_value(result, row, column));
    return sum;
}

static const char *const names[] = {"name", "city", "age", "score", "weight"};
static falkor__schema schema = {.references = 1, .counts = {5, 5, 5},
                                .names = {names, names, names}};

static void *decode(const text *t) {
    falkor_result *result = falkor__reply_new(FALKOR__REPLY_QUERY, &schema,
                                              &falkor__default_limits);
    for (size_t at = 0, size; result && !falkor__reply_done(result);) {
        char *room = falkor__reply_room(result, &size);
        if (size > PORTION)
            size = PORTION;
        if (size > t->length - at)
            size = t->length - at;
        memcpy(room, t->bytes + at, size);
        at += size;
        falkor_error error;
        if (size == 0 || falkor__reply_feed(result, size, &error))
            bench_fail("%s", error.message);
    }
    return result;
}

static double sum_ours(const void *result) {
    return sum_result(result);
}

static void free_ours(void *result) {
    falkor_result_free(result);
}

static redisReader *reader;             /* of this process */

/* NULL: hiredis cannot read it. */
static void *decode_hiredis(const text *t) {
    void *reply = NULL;
    if (!reader)
        reader = redisReaderCreate();
    reader->maxbuf = 1 << 20;
    for (size_t at = 0; !reply && at < t->length;) {
        size_t size = t->length - at < PORTION ? t->length - at : PORTION;
        redisReaderFeed(reader, t->bytes + at, size);
        at += size;
        if (redisReaderGetReply(reader, &reply))
            return NULL;
    }
    return reply;
}

/* Every element is read; text is not made a number, which favours hiredis. */
static double sum_reply(const redisReply *reply) {
    double sum = 0;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER: return (double)reply->integer;
    case REDIS_REPLY_STRING: return (double)reply->len + reply->str[0];
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++)
            sum += sum_reply(reply->element[i]);
        return sum;
    default: return 0;
    }
}

static double sum_hiredis(const void *reply) {
    return sum_reply(reply);
}

typedef struct side {
    void *(*decode)(const text *t);
    double (*sum)(const void *reply);
    void (*free)(void *reply);
} side;
static const side ours = {decode, sum_ours, free_ours};
static const side theirs = {decode_hiredis, sum_hiredis, freeReplyObject};

/* ---- measuring --------------------------------------------------------- */

static volatile double sink;

static size_t held(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Of one reply. */
typedef struct figures { double seconds, bytes; } figures;

/* The memory is told by the first reply of a process: later ones have chunks
   that others left. The reader's own buffer is not the reply's. */
static double memory_of(const side *s, const text *t) {
    size_t before = held();
    void *reply = s->decode(t);
    if (!reply)
        bench_fail("hiredis: %s", reader->errstr);
    if (reader)
        redisReaderFree(reader);
    reader = NULL;
    double bytes = (double)held() - (double)before;
    sink = s->sum(reply);
    s->free(reply);
    return bytes;
}

static double time_of(const side *s, const text *t, int repeats) {
    int64_t start = falkor__clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < repeats; i++) {
        void *reply = s->decode(t);
        sink = s->sum(reply);
        s->free(reply);
    }
    return (double)(falkor__clock_ns(CLOCK_THREAD_CPUTIME_ID) - start) / 1e9 /
        repeats;
}

static figures measure_side(const side *s, const text *t, int repeats) {
    double rounds[MOST_ROUNDS];
    int count = bench_quick() ? MOST_ROUNDS / 2 : MOST_ROUNDS;
    figures found = {.bytes = memory_of(s, t)};
    for (int i = -1; i < count; i++)    /* one more, to warm up */
        rounds[i < 0 ? 0 : i] = time_of(s, t, repeats);
    found.seconds = bench_median(rounds, count);
    return found;
}

/* The median of some rounds, in a child process. */
static figures in_child(const side *s, const text *t, int repeats) {
    figures found = {0};
    int ends[2], status = 1;
    if (pipe(ends))
        bench_fail("no pipe");
    pid_t child = fork();
    if (child == 0) {
        found = measure_side(s, t, repeats);
        _exit(write(ends[1], &found, sizeof found) != (ssize_t)sizeof found);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &found, sizeof found) !=
        (ssize_t)sizeof found || waitpid(child, &status, 0) < 0 || status)
        bench_fail("a child process failed");
    close(ends[0]);
    return found;
}

static bool hiredis_reads(const text *t) {
    void *reply = decode_hiredis(t);
    redisReaderFree(reader);
    reader = NULL;
    freeReplyObject(reply);
    return reply != NULL;
}

/* ---- the rows ---------------------------------------------------------- */

/* repeats: replies that one round decodes. memory: the row's name, or NULL. */
typedef struct kind {
    const char *id, *what, *memory;
    text (*make)(int rows);
    int rows, repeats;
    double at_least;
} kind;

static const kind kinds[] = {
    {"E5-nodes", "50 000 nodes of 5 properties", "E5-memory", nodes, 50000, 1,
     12},
    {"E5-scalars", "50 000 rows of 3 scalars", NULL, scalars, 50000, 1, 6},
    {"E5-paths", "20 000 paths of 3 nodes", NULL, paths, 20000, 1, 0},
    {"E5-lists", "20 000 rows of a list and a map", NULL, lists, 20000, 1, 0},
    {"E5-vectors", "1 000 vectors of 384", NULL, vectors, 1000, 1, 0},
    {"E5-ten", "10 rows of 3 scalars", NULL, scalars, 10, 2000, 0},
    {"E5-one", "RETURN 1", NULL, one, 1, 5000, 0}};

static void measure(const kind *k) {
    double a[BENCH_PAIRS], b[BENCH_PAIRS], c[BENCH_PAIRS], d[BENCH_PAIRS];
    char what[64];
    text t = k->make(k->rows);
    bool both = hiredis_reads(&t);
    for (int i = 0; i < BENCH_PAIRS; i++) {
        figures our = in_child(&ours, &t, k->repeats), their = {1, 1};
        if (both)
            their = in_child(&theirs, &t, k->repeats);
        a[i] = k->rows / our.seconds;
        b[i] = k->rows / their.seconds;
        c[i] = our.bytes / 1e6;
        d[i] = their.bytes / 1e6;
    }
    snprintf(what, sizeof what, both ? "%s" : "%s; hiredis %d.%d cannot",
             k->what, HIREDIS_MAJOR, HIREDIS_MINOR);
    bench_row row = {k->id, what, "rows/s", both ? "hiredis' reply tree" : NULL,
                     k->at_least, 0};
    bench_row memory = {k->memory, "memory held by them", "MB", row.peer, 0,
                        0.25};
    if (both)
        bench_pairs(&row, a, b, BENCH_PAIRS);
    else
        bench_value(&row, bench_median(a, BENCH_PAIRS));
    if (both && k->memory)
        bench_pairs(&memory, c, d, BENCH_PAIRS);
    bench_note("%s: %.1f MB, %.0f MB/s", k->what, (double)t.length / 1e6,
               (double)t.length / 1e6 * bench_median(a, BENCH_PAIRS) / k->rows);
    free(t.bytes);
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (argc < 2 || strncmp(kinds[i].id, argv[1], strlen(argv[1])) == 0)
            measure(&kinds[i]);
    return 0;
}
