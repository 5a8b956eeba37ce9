/* See decoding.h. */
#include "../internal.h"
#include "bench.h"
#include "decoding.h"
#include <hiredis/hiredis.h>
#include <malloc.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ROUNDS 7                   /* of one turn */
#define PORTION 65536                   /* bytes that "arrive" at a time */

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

static void *decode(const reply_text *t) {
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
static void *decode_hiredis(const reply_text *t) {
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

struct decoding_side {
    void *(*decode)(const reply_text *t);
    double (*sum)(const void *reply);
    void (*free)(void *reply);
};
const decoding_side decoding_ours = {decode, sum_ours, free_ours};
const decoding_side decoding_hiredis = {decode_hiredis, sum_hiredis,
                                        freeReplyObject};

/* ---- measuring --------------------------------------------------------- */

static volatile double sink;

static size_t held(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* The memory is told by the first reply of a process: later ones have chunks
   that others left. The reader's own buffer is not the reply's. */
static double memory_of(const decoding_side *s, const reply_text *t) {
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

static double time_of(const decoding_side *s, const reply_text *t,
                      int repeats) {
    int64_t start = falkor__clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < repeats; i++) {
        void *reply = s->decode(t);
        sink = s->sum(reply);
        s->free(reply);
    }
    return (double)(falkor__clock_ns(CLOCK_THREAD_CPUTIME_ID) - start) / 1e9 /
        repeats;
}

static decoding_figures measure(const decoding_side *s, const reply_text *t,
                                int repeats) {
    double rounds[MOST_ROUNDS];
    int count = bench_quick() ? MOST_ROUNDS / 2 : MOST_ROUNDS;
    decoding_figures found = {.bytes = memory_of(s, t)};
    for (int i = -1; i < count; i++)    /* one more, to warm up */
        rounds[i < 0 ? 0 : i] = time_of(s, t, repeats);
    found.seconds = bench_median(rounds, count);
    return found;
}

decoding_figures decoding_in_child(const decoding_side *s,
                                   const reply_text *t, int repeats) {
    decoding_figures found = {0};
    int ends[2], status = 1;
    if (pipe(ends))
        bench_fail("no pipe");
    pid_t child = fork();
    if (child == 0) {
        found = measure(s, t, repeats);
        _exit(write(ends[1], &found, sizeof found) != (ssize_t)sizeof found);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &found, sizeof found) !=
        (ssize_t)sizeof found || waitpid(child, &status, 0) < 0 || status)
        bench_fail("a child process failed");
    close(ends[0]);
    return found;
}

bool decoding_hiredis_reads(const reply_text *t) {
    void *reply = decode_hiredis(t);
    redisReaderFree(reader);
    reader = NULL;
    freeReplyObject(reply);
    return reply != NULL;
}
