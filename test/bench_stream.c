/* E6: a million rows of a node and a string, read one by one as they arrive.
   What counts is the memory: each way of reading has a process of its own,
   which notes the most that it has ever held (VmHWM) after the first thousand
   rows, and how far that has grown when the last one was read. Then the speed,
   against hiredis, which can only read the reply whole; most of that is the
   server's. */
#include "costs.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 1000000
#define WARM 1000
#define GRAPH "bench_stream"

/* ---- reading ----------------------------------------------------------- */

typedef struct stream {
    falkor_pool *pool;
    falkor_graph *graph;
    redisContext *plain;
    int64_t rows, read;                 /* wanted; so far */
    char cypher[128];
    long warm_kib, kib;                 /* VmHWM */
    double sum;
} stream;

/* In KiB. Takes no memory of its own. */
static long most_held(void) {
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    close(file);
    text[length < 0 ? 0 : length] = '\0';
    const char *at = strstr(text, "VmHWM:");
    if (!at)
        bench_fail("no VmHWM in /proc/self/status");
    return strtol(at + 6, NULL, 10);
}

/* From now on VmHWM tells what is held from now on: the most of the past would
   hide a growth up to it. */
static void forget_most(void) {
    int file = open("/proc/self/clear_refs", O_WRONLY);
    if (file < 0 || write(file, "5", 1) != 1)
        bench_note("VmHWM cannot be reset: it may hide some growth");
    close(file);
}

static bool read_row(void *context, const falkor_result *row) {
    stream *s = context;
    const falkor_value *node = falkor_result_value(row, 0, 0);
    const falkor_value *text = falkor_result_value(row, 0, 1);
    s->sum += (double)node->as.node->id + node->as.node->labels[0][0];
    for (uint32_t i = 0; i < node->as.node->properties.length; i++) {
        const falkor_entry *entry = &node->as.node->properties.as.entries[i];
        s->sum += entry->key[0] + (entry->value.type == FALKOR_STRING
            ? (double)entry->value.length + entry->value.as.string[0]
            : (double)entry->value.as.integer);
    }
    s->sum += (double)text->length + text->as.string[0];
    if (++s->read == WARM) {
        forget_most();
        s->warm_kib = most_held();
    }
    return true;
}

static const falkor_call_options reading = {.read_only = true};

static void by_each(stream *s) {
    falkor_error error;
    if (falkor_query_each(s->graph, &reading, s->cypher, NULL, read_row, s,
                          NULL, &error))
        bench_fail("%s", error.message);
}

static void by_cursor(stream *s) {
    falkor_error error;
    falkor_cursor *cursor;
    const falkor_result *row;
    if (falkor_cursor_open(s->graph, &reading, s->cypher, NULL, &cursor,
                           &error))
        bench_fail("%s", error.message);
    while (!falkor_cursor_next(cursor, &row, &error) && row)
        read_row(s, row);
    if (error.status)
        bench_fail("%s", error.message);
    falkor_cursor_close(cursor);
}

static double sum_reply(const redisReply *reply) {
    double sum = 0;
    if (reply->type == REDIS_REPLY_INTEGER)
        return (double)reply->integer;
    if (reply->type == REDIS_REPLY_STRING)
        return (double)reply->len + reply->str[0];
    for (size_t i = 0; i < reply->elements; i++)
        sum += sum_reply(reply->element[i]);
    return sum;
}

static void by_hiredis(stream *s) {
    const char *argv[] = {"GRAPH.RO_QUERY", GRAPH, s->cypher, "--compact"};
    forget_most();
    s->warm_kib = most_held();
    redisReply *reply = redisCommandArgv(s->plain, 4, argv, NULL);
    if (!reply || reply->type != REDIS_REPLY_ARRAY)
        bench_fail("hiredis: %s", reply ? reply->str : s->plain->errstr);
    s->read = (int64_t)reply->element[1]->elements;
    s->sum += sum_reply(reply->element[1]);
    freeReplyObject(reply);
}

/* ---- the figures ------------------------------------------------------- */

static void begin(stream *s, int64_t rows) {
    falkor_options options = bench_options();
    falkor_error error;
    *s = (stream){.pool = bench_pool(&options), .plain = costs_hiredis(),
                  .rows = rows};
    s->graph = falkor_select_graph(s->pool, GRAPH);
    if (falkor_query(s->graph, "MERGE (:Row {i: 1, name: 'the first'})", NULL,
                     NULL, &error))
        bench_fail("%s", error.message);
    snprintf(s->cypher, sizeof s->cypher, "MATCH (n:Row) UNWIND "
             "range(1, %lld) AS i RETURN n, toString(i)", (long long)rows);
}

static void run(stream *s, void (*way)(stream *)) {
    s->read = 0;
    way(s);
    if (s->read != s->rows)
        bench_fail("%lld rows came, not %lld", (long long)s->read,
                   (long long)s->rows);
}

/* By how many KiB it has grown, in a process of its own. */
static double growth(void (*way)(stream *), int64_t rows) {
    int ends[2], status = 1;
    double kib = 0;
    if (pipe(ends))
        bench_fail("no pipe");
    pid_t child = fork();
    if (child == 0) {
        stream s;
        begin(&s, rows);
        run(&s, way);
        kib = (double)(most_held() - s.warm_kib);
        _exit(write(ends[1], &kib, sizeof kib) != (ssize_t)sizeof kib);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &kib, sizeof kib) != (ssize_t)sizeof kib ||
        waitpid(child, &status, 0) < 0 || status)
        bench_fail("a child process failed");
    close(ends[0]);
    return kib;
}

static double rate(stream *s, void (*way)(stream *)) {
    int64_t start = falkor_now_ns();
    run(s, way);
    return (double)s->rows * 1e9 / (double)(falkor_now_ns() - start);
}

static double our_rate(void *context) {
    return rate(context, by_each);
}

static double their_rate(void *context) {
    return rate(context, by_hiredis);
}

int main(void) {
    static stream s;
    int64_t rows = bench_short(200000);
    bench_value(&(bench_row){.id = "E6-each", .unit = "KiB", .at_most = 1024,
        .work = "growth over 1 000 000 rows, on_row"}, growth(by_each, ROWS));
    bench_value(&(bench_row){.id = "E6-cursor", .unit = "KiB", .at_most = 1024,
        .work = "growth over 1 000 000 rows, a cursor"},
        growth(by_cursor, ROWS));
    bench_value(&(bench_row){.id = "E6-hiredis", .unit = "KiB",
        .work = bench_quick() ? "growth over 20 000 rows, bare hiredis"
                              : "growth over 200 000 rows, bare hiredis"},
        growth(by_hiredis, rows));
    begin(&s, rows);
    bench_about(s.pool);
    bench_compare(&(bench_row){.id = "E6-rows", .unit = "rows/s",
        .work = "rows of a node and a string, as they come",
        .peer = "hiredis, the reply whole"}, our_rate, their_rate, &s,
        BENCH_PAIRS);
    redisFree(s.plain);
    falkor_pool_free(s.pool);
    return s.sum > 0 ? 0 : 1;
}
