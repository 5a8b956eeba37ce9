/* Pipelines: 64 queries at once through falkor_pipeline, against the same one
   by one on the same connection, and against bare hiredis sending them at once
   (redisAppendCommand, redisGetReply). Every value is read, and everything
   freed. The three take turns, of which another begins each time. */
#include "sides.h"
#include <stdio.h>
#include <stdlib.h>

#define COUNT 64                        /* queries of a pipeline */
#define TURNS 21
#define TURN_NS INT64_C(50000000)       /* one side's turn, about */

typedef struct bench {
    falkor_pool *pool;
    falkor_graph *graph;
    redisContext *bare;
    const char *cypher;
    falkor_request requests[COUNT];
    int rounds;                         /* of a turn */
    double sum;                         /* of all values, for each to be read */
} bench;

/* ---- the sides -------------------------------------------------------- */

static void at_once(bench *b) {
    falkor_error error;
    if (falkor_pipeline(b->pool, NULL, b->requests, COUNT, &error))
        bench_fail("%s", error.message);
    for (int i = 0; i < COUNT; i++) {
        b->sum += sides_sum_result(b->requests[i].result);
        falkor_result_free(b->requests[i].result);
    }
}

static void one_by_one(bench *b) {
    for (int i = 0; i < COUNT; i++)
        b->sum += sides_query(b->graph, b->cypher);
}

static void with_hiredis(bench *b) {
    const char *argv[] = {"GRAPH.RO_QUERY", SIDES_GRAPH, b->cypher,
                          "--compact"};
    for (int i = 0; i < COUNT; i++)
        redisAppendCommandArgv(b->bare, 4, argv, NULL);
    for (int i = 0; i < COUNT; i++) {
        void *reply;
        if (redisGetReply(b->bare, &reply) != REDIS_OK)
            bench_fail("hiredis: %s", b->bare->errstr);
        b->sum += sides_sum_reply(reply);
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
    return (double)(falkor_now_ns() - begin) / 1e9 / b->rounds;
}

static void measure(bench *b, const char *id, const char *name,
                    const char *cypher) {
    double rates[SIDES][TURNS];
    char alone[24], same[24], work[64];
    b->cypher = cypher;
    for (int i = 0; i < COUNT; i++)
        b->requests[i] = (falkor_request){.graph = b->graph, .cypher = cypher,
                                          .read_only = true};
    b->rounds = 1;
    for (int i = 0; i < SIDES; i++)
        timed(b, sides[i]);
    b->rounds = (int)((double)bench_short(TURN_NS) / 1e9 /
                      timed(b, with_hiredis)) + 1;
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < SIDES; i++) {
            int at = (turn + i) % SIDES;
            rates[at][turn] = COUNT / timed(b, sides[at]);
        }
    snprintf(alone, sizeof alone, "%s-alone", id);
    snprintf(same, sizeof same, "%s-bare", id);
    snprintf(work, sizeof work, "%d at once: %s", COUNT, name);
    bench_pairs(&(bench_row){.id = alone, .work = work, .unit = "queries/s",
        .peer = "one by one"}, rates[AT_ONCE], rates[ONE_BY_ONE], TURNS);
    bench_pairs(&(bench_row){.id = same, .work = work, .unit = "queries/s",
        .peer = "hiredis at once"}, rates[AT_ONCE], rates[HIREDIS], TURNS);
}

int main(void) {
    static bench b;
    falkor_options options = bench_options();
    options.max_size = 1;
    b.pool = bench_pool(&options);
    b.graph = falkor_select_graph(b.pool, SIDES_GRAPH);
    bench_about(b.pool);
    sides_make_graph(b.graph);
    b.bare = sides_bare();
    measure(&b, "P-1", "RETURN 1", "RETURN 1");
    measure(&b, "P-node", "one node", "MATCH (n) WHERE id(n) = 7 RETURN n");
    measure(&b, "P-nodes", "100 nodes", "MATCH (n:P) RETURN n");
    measure(&b, "P-ints", "1000 integers",
            "UNWIND range(1, 1000) AS i RETURN i");
    falkor_graph_delete(b.graph, NULL, NULL);
    redisFree(b.bare);
    falkor_pool_free(b.pool);
    return b.sum > 0 ? 0 : 1;
}
