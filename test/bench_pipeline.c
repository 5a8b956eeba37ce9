/* Pipelines measured: 64 queries at once through falkor_pipeline, against the
   same one by one on the same connection, and against bare hiredis sending
   them at once (redisAppendCommand, redisGetReply), in the same run. Every
   value is read, and everything freed. The three take turns; what counts are
   the medians of the ratios within a turn, their spread tells how quiet the
   machine was. Needs a server:

       test/server.sh run build/test/bench_pipeline [TURNS]            */
#include "../pool.h"
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 64                        /* queries of a pipeline */
#define TURNS 21
#define MOST_TURNS 1000
#define TURN_NS INT64_C(50000000)       /* about so long is one side's turn */

typedef struct bench {
    falkor_pool *pool;
    falkor_graph *graph;
    redisContext *plain;
    const char *name, *cypher;
    falkor_request requests[COUNT];
    int rounds;                         /* of a turn */
    double sum;                         /* of all values, for each to be read */
} bench;

static void fail(const char *what) {
    fprintf(stderr, "bench_pipeline: %s\n", what);
    exit(1);
}

/* ---- reading every value ---------------------------------------------- */

static double sum_value(const falkor_value *value) {
    switch (value->type) {
    case FALKOR_INTEGER: return (double)value->as.integer;
    case FALKOR_STRING: return (double)value->length + value->as.string[0];
    case FALKOR_NODE:
        return (double)value->as.node->id + value->as.node->labels[0][0] +
               sum_value(&value->as.node->properties.as.entries[0].value);
    default: return 0;
    }
}

static double sum_result(const falkor_result *result) {
    double sum = 0;
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            sum += sum_value(falkor_result_value(result, row, i));
    return sum;
}

static double sum_reply(const redisReply *reply) {
    double sum = 0;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER: return (double)reply->integer;
    case REDIS_REPLY_STRING: return (double)reply->len + reply->str[0];
    case REDIS_REPLY_ERROR: fail(reply->str); return 0;
    default:
        for (size_t i = 0; i < reply->elements; i++)
            sum += sum_reply(reply->element[i]);
        return sum;
    }
}

/* ---- the sides -------------------------------------------------------- */

static void at_once(bench *b) {
    falkor_error error;
    if (falkor_pipeline(b->pool, NULL, b->requests, COUNT, &error))
        fail(error.message);
    for (int i = 0; i < COUNT; i++) {
        b->sum += sum_result(b->requests[i].result);
        falkor_result_free(b->requests[i].result);
    }
}

static void one_by_one(bench *b) {
    falkor_error error;
    falkor_result *result;
    for (int i = 0; i < COUNT; i++) {
        if (falkor_ro_query(b->graph, b->cypher, NULL, &result, &error))
            fail(error.message);
        b->sum += sum_result(result);
        falkor_result_free(result);
    }
}

static void with_hiredis(bench *b) {
    const char *argv[] = {"GRAPH.RO_QUERY", "bench_pipeline", b->cypher,
                          "--compact"};
    for (int i = 0; i < COUNT; i++)
        redisAppendCommandArgv(b->plain, 4, argv, NULL);
    for (int i = 0; i < COUNT; i++) {
        void *reply;
        if (redisGetReply(b->plain, &reply) != REDIS_OK)
            fail(b->plain->errstr);
        b->sum += sum_reply(reply);
        freeReplyObject(reply);
    }
}

typedef void side(bench *b);
static side *const sides[] = {at_once, one_by_one, with_hiredis};
enum { AT_ONCE, ONE_BY_ONE, HIREDIS, SIDES };

/* ---- measuring -------------------------------------------------------- */

static double timed(bench *b, side *run) {
    int64_t begin = falkor_now_ns();
    for (int i = 0; i < b->rounds; i++)
        run(b);
    return (double)(falkor_now_ns() - begin) / 1e6 / b->rounds;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_ratio(const char *what, double *ratios, int turns) {
    qsort(ratios, (size_t)turns, sizeof *ratios, by_size);
    printf("  %s %.2f (%.2f-%.2f)", what, ratios[turns / 2], ratios[turns / 4],
           ratios[turns - 1 - turns / 4]);
}

static void measure(bench *b, int turns, const char *name,
                    const char *cypher) {
    static double ms[SIDES][MOST_TURNS], alone[MOST_TURNS], plain[MOST_TURNS];
    b->cypher = cypher;
    for (int i = 0; i < COUNT; i++)
        b->requests[i] = (falkor_request){.graph = b->graph, .cypher = cypher,
                                          .read_only = true};
    b->rounds = 1;
    for (int i = 0; i < SIDES; i++)
        timed(b, sides[i]);
    b->rounds = (int)((double)TURN_NS / 1e6 / timed(b, with_hiredis)) + 1;
    for (int turn = 0; turn < turns; turn++) {
        for (int i = 0; i < SIDES; i++) {       /* another begins each time */
            int at = (turn + i) % SIDES;
            ms[at][turn] = timed(b, sides[at]);
        }
        alone[turn] = ms[ONE_BY_ONE][turn] / ms[AT_ONCE][turn];
        plain[turn] = ms[HIREDIS][turn] / ms[AT_ONCE][turn];
    }
    for (int i = 0; i < SIDES; i++)
        qsort(ms[i], (size_t)turns, sizeof **ms, by_size);
    printf("%-22s %7.3f ms  one by one %7.3f ms  hiredis %7.3f ms", name,
           ms[AT_ONCE][turns / 2], ms[ONE_BY_ONE][turns / 2],
           ms[HIREDIS][turns / 2]);
    print_ratio("faster than one by one", alone, turns);
    print_ratio("than hiredis", plain, turns);
    printf("\n");
}

int main(int argc, char **argv) {
    static bench b;
    const char *port = getenv("FALKOR_TEST_PORT");
    int turns = argc > 1 ? atoi(argv[1]) : TURNS;
    falkor_error error;
    if (!port || turns < 5 || turns > MOST_TURNS)
        fail("run it by test/server.sh run; 5 to 1000 turns");
    falkor_options options = {.host = "127.0.0.1", .port = atoi(port),
                              .max_size = 1};
    if (falkor_pool_create(&options, &b.pool, &error) ||
        falkor_pool_open(b.pool, &error))
        fail(error.message);
    b.graph = falkor_select_graph(b.pool, "bench_pipeline");
    if (falkor_query(b.graph, "UNWIND range(1, 100) AS i "
                     "CREATE (:Person {name: 'person ' + i})", NULL, NULL,
                     &error))
        fail(error.message);
    b.plain = redisConnect("127.0.0.1", options.port);
    if (!b.plain || b.plain->err)
        fail("hiredis cannot connect");
    printf("%d queries at once, medians of %d turns (in brackets the middle "
           "half)\n", COUNT, turns);
    measure(&b, turns, "RETURN 1", "RETURN 1");
    measure(&b, turns, "one node by id", "MATCH (n) WHERE id(n) = 7 RETURN n");
    measure(&b, turns, "100 nodes", "MATCH (n:Person) RETURN n");
    measure(&b, turns, "1 000 integers",
            "UNWIND range(1, 1000) AS i RETURN i");
    falkor_command(b.pool, NULL, 2,
        (const char *[]){"GRAPH.DELETE", "bench_pipeline"}, NULL, NULL, NULL);
    redisFree(b.plain);
    falkor_pool_free(b.pool);
    return b.sum > 0 ? 0 : 1;
}
