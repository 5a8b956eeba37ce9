/* Decoding measured against hiredis' reply reader: the same bytes, in the same
   run, into values of which each is read. Prints medians of the time to decode,
   read and free, and the memory that a whole result holds; only the ratios mean
   anything. The sides take turns in processes of their own, for what hiredis
   leaves in the allocator's lists is paid for by the next large block, which
   would be ours. Needs no server; a name given picks one of the lines.

       cc -O2 -I. test/bench_decode.c reply.c value.c plain.c result.c \
           error.c -lhiredis */
#include "../internal.h"
#include <hiredis/hiredis.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 7                        /* of one turn */
#define TURNS 5
#define PORTION 65536                   /* bytes that "arrive" at a time */

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

/* ---- the two sides ---------------------------------------------------- */

static double sum_value(const falkor_value *value) {
    double sum = 0;
    switch (value->type) {
    case FALKOR_STRING: return (double)value->length + value->as.string[0];
    case FALKOR_INTEGER: return (double)value->as.integer;
    case FALKOR_BOOLEAN: return value->as.boolean;
    case FALKOR_DOUBLE: return value->as.real;
    case FALKOR_VECTORF32:
        for (uint32_t i = 0; i < value->length; i++)
            sum += (double)value->as.vector[i];
        return sum;
    case FALKOR_NODE:
        sum = (double)value->as.node->id + value->as.node->labels[0][0];
        value = &value->as.node->properties;
        for (uint32_t i = 0; i < value->length; i++)
            sum += sum_value(&value->as.entries[i].value) +
                value->as.entries[i].key[0];
        return sum;
    default: return 0;
    }
}

static const char *const names[] = {"name", "city", "age", "score", "weight"};
static falkor__schema schema = {.references = 1, .counts = {5, 5, 5},
                                .names = {names, names, names}};

static falkor_result *decode(const text *t) {
    falkor_result *result = falkor__reply_new(FALKOR__REPLY_QUERY, &schema,
                                              NULL);
    for (size_t at = 0, size; result && !falkor__reply_done(result);) {
        char *room = falkor__reply_room(result, &size);
        if (size > PORTION)
            size = PORTION;
        if (size > t->length - at)
            size = t->length - at;
        memcpy(room, t->bytes + at, size);
        at += size;
        falkor_error error;
        if (size == 0 || falkor__reply_feed(result, size, &error)) {
            fprintf(stderr, "bench_decode: %s\n", error.message);
            exit(1);
        }
    }
    return result;
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

static redisReply *decode_hiredis(const text *t) {
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    reader->maxbuf = 1 << 20;
    for (size_t at = 0; !reply && at < t->length;) {
        size_t size = t->length - at < PORTION ? t->length - at : PORTION;
        redisReaderFeed(reader, t->bytes + at, size);
        at += size;
        if (redisReaderGetReply(reader, &reply)) {
            fprintf(stderr, "bench_decode: hiredis: %s\n", reader->errstr);
            exit(1);
        }
    }
    redisReaderFree(reader);
    return reply;
}

/* Every element is read; text is not made a number, which favours hiredis. */
static double sum_hiredis(const redisReply *reply) {
    double sum = 0;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER: return (double)reply->integer;
    case REDIS_REPLY_STRING: return (double)reply->len + reply->str[0];
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++)
            sum += sum_hiredis(reply->element[i]);
        return sum;
    default: return 0;
    }
}

/* ---- measuring -------------------------------------------------------- */

static volatile double sink;

static size_t held(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct figures { double ms, bytes; } figures;

static double ms_since(int64_t start) {
    return (double)(falkor__clock_ns(CLOCK_MONOTONIC) - start) / 1e6;
}

static figures measure_ours(const text *t) {
    figures found;
    size_t before = held();
    int64_t start = falkor__clock_ns(CLOCK_MONOTONIC);
    falkor_result *result = decode(t);
    sink = sum_result(result);
    found.ms = ms_since(start);
    found.bytes = (double)(held() - before);
    start = falkor__clock_ns(CLOCK_MONOTONIC);
    falkor_result_free(result);
    found.ms += ms_since(start);
    return found;
}

static figures measure_hiredis(const text *t) {
    figures found;
    size_t before = held();
    int64_t start = falkor__clock_ns(CLOCK_MONOTONIC);
    redisReply *reply = decode_hiredis(t);
    sink = sum_hiredis(reply);
    found.ms = ms_since(start);
    found.bytes = (double)(held() - before);
    start = falkor__clock_ns(CLOCK_MONOTONIC);
    freeReplyObject(reply);
    found.ms += ms_since(start);
    return found;
}

/* The median of some rounds in a child process. The one before them warms up,
   and tells the memory: later ones have chunks that the first left. */
static figures in_child(figures (*side)(const text *), const text *t) {
    figures rounds[ROUNDS], found = {0};
    int ends[2];
    if (pipe(ends))
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        figures first = side(t);
        for (int i = 0; i < ROUNDS; i++)
            rounds[i] = side(t);
        qsort(rounds, ROUNDS, sizeof *rounds, by_size);
        rounds[ROUNDS / 2].bytes = first.bytes;
        _exit(write(ends[1], &rounds[ROUNDS / 2], sizeof *rounds) !=
              (ssize_t)sizeof *rounds);
    }
    close(ends[1]);
    if (read(ends[0], &found, sizeof found) != (ssize_t)sizeof found)
        exit(1);
    close(ends[0]);
    waitpid(child, NULL, 0);
    return found;
}

static void measure(const char *only, const char *name, text t) {
    figures ours[TURNS], theirs[TURNS];
    if (strstr(name, only)) {
        for (int i = 0; i < TURNS; i++) {
            ours[i] = in_child(measure_ours, &t);
            theirs[i] = in_child(measure_hiredis, &t);
        }
        qsort(ours, TURNS, sizeof *ours, by_size);
        qsort(theirs, TURNS, sizeof *theirs, by_size);
        figures our = ours[TURNS / 2], their = theirs[TURNS / 2];
        printf("%-24s %5.1f MB  %8.3f ms  %5.0f MB/s  hiredis %8.3f ms  "
               "%5.1f x faster  memory %.2f of hiredis'\n", name,
               (double)t.length / 1e6, our.ms,
               (double)t.length / 1e3 / our.ms, their.ms, their.ms / our.ms,
               our.bytes / their.bytes);
    }
    free(t.bytes);
}

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : "";
    measure(only, "50 000 nodes of 5", nodes(50000));
    measure(only, "200 000 scalar rows of 3", scalars(200000));
    measure(only, "1 000 vectors of 384", vectors(1000));
    measure(only, "10 rows of 3", scalars(10));
    return 0;
}
