/* A transaction: queries that run one after the other with nobody's in between,
   or not at all. MULTI, the queries and EXEC go over one held connection; the
   server answers QUEUED to each query, and all of them in the reply of EXEC.
   It takes nothing back when one of them fails: look at each. While it creates
   nodes nobody else may write to the graph, see falkor_command in pool.h.
   FALKORDB_URL names the server; without it localhost:6379 is asked.

       cc transaction.c -lfalkorpool -lhiredis -lpthread -o transaction */
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>

#define TAKE "MERGE (a:Account {name: 'Ada'}) " \
    "SET a.balance = coalesce(a.balance, 100) - 10"
#define GIVE "MERGE (a:Account {name: 'Bob'}) " \
    "SET a.balance = coalesce(a.balance, 100) + 10"

/* What is sent. A text that comes from outside has no place in these queries:
   parameters (FALKOR_PARAMS) are for falkor_query. */
static const char *const commands[][4] = {
    {"MULTI"}, {"GRAPH.QUERY", "transaction", TAKE, "--compact"},
    {"GRAPH.QUERY", "transaction", GIVE, "--compact"}, {"EXEC"}};

/* The replies of both queries, or NULL. After a failure the connection is to be
   released as it is: inside MULTI that undoes the transaction. */
static falkor_result *transfer(falkor_pool *pool, falkor_conn *conn,
                               falkor_error *error) {
    falkor_call_options held = {.conn = conn};
    falkor_result *reply = NULL;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        size_t argc = commands[i][1] ? 4 : 1;
        falkor_result_free(reply);
        if (falkor_command(pool, &held, argc, commands[i], NULL, &reply, error))
            return NULL;
    }
    return reply;
}

static int report(const falkor_value *replies) {
    int failed = replies->type == FALKOR_NULL;
    if (failed)                         /* a key was changed after WATCH */
        fprintf(stderr, "transaction: nothing ran\n");
    for (uint32_t i = 0; i < replies->length; i++) {
        const falkor_value *one = &replies->as.items[i];
        if (one->type == FALKOR_ERROR_REPLY) {
            fprintf(stderr, "query %u failed: %s\n", i + 1, one->as.string);
            failed = 1;
        } else {
            printf("query %u ran\n", i + 1);
        }
    }
    return failed;
}

int main(void) {
    falkor_options options = {.max_size = 2};
    falkor_pool *pool = NULL;
    falkor_conn *conn = NULL;
    falkor_result *reply = NULL;
    falkor_error error;
    int failed = 1;
    if (!falkor_options_from_env(&options, &error) &&
        !falkor_pool_create(&options, &pool, &error) &&
        !falkor_pool_open(pool, &error) &&
        !falkor_acquire(pool, &conn, &error) &&
        (reply = transfer(pool, conn, &error)))
        failed = report(falkor_result_value(reply, 0, 0));
    else
        fprintf(stderr, "transaction: %s%s\n", error.message,
                error.maybe_executed ? " (it may have run)" : "");
    falkor_result_free(reply);
    if (conn)
        falkor_release(conn);
    falkor_pool_free(pool);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
