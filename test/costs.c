/* See costs.h. */
#include "../internal.h"
#include "costs.h"
#include <string.h>

#define WARM 100                        /* rounds before anything is counted */
#define GRAPH "bench_costs"

/* ---- the work ---------------------------------------------------------- */

static int64_t only_integer(const falkor_result *result) {
    return falkor_result_value(result, 0, 0)->as.integer;
}

static void ask(costs *c, bool read_only, const char *cypher) {
    falkor_result *result;
    falkor_error error;
    if ((read_only ? falkor_ro_query : falkor_query)
        (c->graph, cypher, NULL, &result, &error))
        bench_fail("%s", error.message);
    c->sum += only_integer(result);
    falkor_result_free(result);
}

static void query(costs *c) {
    ask(c, false, "RETURN 1");
}

static void read_query(costs *c) {
    ask(c, true, "RETURN 1");
}

/* Some milliseconds in the server: who waits for the answer is asleep when it
   comes, whatever slowed him before. */
static void slow_query(costs *c) {
    ask(c, false, "UNWIND range(1, 100000) AS i RETURN sum(i % 7) > 0");
}

static void acquire(costs *c) {
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire(c->pool, &conn, &error))
        bench_fail("%s", error.message);
    falkor_release(conn);
}

static void plain_query(costs *c) {
    const char *argv[] = {"GRAPH.QUERY", GRAPH, "RETURN 1", "--compact"};
    redisReply *reply = redisCommandArgv(c->plain, 4, argv, NULL);
    if (!reply || reply->type != REDIS_REPLY_ARRAY)
        bench_fail("hiredis: %s", reply ? reply->str : c->plain->errstr);
    c->sum += reply->element[1]->element[0]->element[0]->element[1]->integer;
    freeReplyObject(reply);
}

const costs_work costs_works[COSTS_WORKS] = {
    [COSTS_QUERY] = {"query", "RETURN 1", query},
    [COSTS_READ] = {"read", "RETURN 1, read only", read_query},
    [COSTS_SLOW] = {"slow", "a query of some milliseconds", slow_query},
    [COSTS_ACQUIRE] = {"acquire", "acquire and release", acquire},
    [COSTS_HIREDIS] = {"hiredis", "RETURN 1, bare hiredis", plain_query}};

/* ---- the two sides ----------------------------------------------------- */

static void connect_to(redisContext **plain, const falkor__config *config) {
    redisReply *reply = NULL;
    *plain = config->unix_path ? redisConnectUnix(config->unix_path)
                               : redisConnect(config->host, config->port);
    if (!*plain || (*plain)->err)
        bench_fail("hiredis cannot connect");
    if (config->password)
        reply = redisCommand(*plain, "AUTH %s %s",
            config->username ? config->username : "default", config->password);
    if (reply && reply->type == REDIS_REPLY_ERROR)
        bench_fail("hiredis: %s", reply->str);
    freeReplyObject(reply);
}

redisContext *costs_hiredis(void) {
    falkor_options options = bench_options();
    falkor__config config;
    falkor_error error;
    redisContext *plain;
    if (falkor__config_make(&options, &config, &error))
        bench_fail("%s", error.message);
    connect_to(&plain, &config);
    falkor__config_free(&config);
    return plain;
}

void costs_begin(costs *c, const costs_work *warm) {
    falkor_options options = bench_options();
    falkor_error error;
    *c = (costs){.pool = bench_pool(&options), .plain = costs_hiredis()};
    c->graph = falkor_select_graph(c->pool, GRAPH);
    if (falkor_query(c->graph, "MERGE (:Bench)", NULL, NULL, &error))
        bench_fail("%s", error.message);
    for (int i = 0; i < WARM; i++)
        warm->once(c);
}

void costs_end(costs *c) {
    redisFree(c->plain);
    falkor_pool_free(c->pool);
}
