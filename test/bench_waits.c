/* The pool under load, measured on a server (requirement E7): 50 threads share
   5 connections for `RETURN 1`, by our pool and by the barging one of
   barging.h, on the same driver: bare hiredis, the same query for both. Every
   wait for a connection is looked at. Ours has its default settings, with the
   FAST check before each use; the other checks nothing. Who barges gets the
   same number of queries done, but for whom is a matter of luck. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* barriers */
#endif
#include "barging.h"
#include "bench.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#define THREADS 50
#define CONNECTIONS 5
#define PAIRS 15                        /* of turns */
#define TURN_MS (bench_quick() ? 200 : 400)
#define MOST_QUERIES 20000              /* of a thread in one turn */
#define GRAPH "bench_waits"

/* ---- the driver: bare hiredis ------------------------------------------ */

typedef struct address {
    char host[256];
    int port;
} address;

static falkor_status dial(void *ctx, int64_t deadline_ns, void **handle,
                          falkor_error *error) {
    const address *server = ctx;
    (void)deadline_ns;
    redisContext *c = redisConnectWithTimeout(server->host, server->port,
                                              (struct timeval){.tv_sec = 5});
    if (c && !c->err) {
        *handle = c;
        return FALKOR_OK;
    }
    snprintf(error->message, sizeof error->message, "%s:%d: %s", server->host,
             server->port, c ? c->errstr : "out of memory");
    if (c)
        redisFree(c);
    return FALKOR_ERR_CONNECT;
}

/* FAST: nothing lies there unread, and the server has not hung up. */
static falkor_status look(void *ctx, void *handle, falkor_check_level level,
                          int64_t deadline_ns) {
    redisContext *c = handle;
    char byte;
    (void)ctx;
    (void)deadline_ns;
    if (level != FALKOR_CHECK_FAST) {
        redisReply *reply = redisCommand(c, "PING");
        bool fit = reply && reply->type == REDIS_REPLY_STATUS;
        if (reply)
            freeReplyObject(reply);
        return fit ? FALKOR_OK : FALKOR_ERR_IO;
    }
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK) ? FALKOR_OK
                                                     : FALKOR_ERR_IO;
}

static void hang_up(void *ctx, void *handle) {
    (void)ctx;
    redisFree(handle);
}

static const falkor_driver hiredis_driver = {.open = dial, .check = look,
                                             .close = hang_up};

static void ask(redisContext *c, const char *command, const char *cypher) {
    const char *words[] = {command, GRAPH, cypher, "--compact"};
    redisReply *reply = redisCommandArgv(c, cypher ? 4 : 2, words, NULL);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        bench_fail("%s: %s", command, reply ? reply->str : c->errstr);
    freeReplyObject(reply);
}

/* ---- a turn ------------------------------------------------------------ */

typedef struct load {
    falkor_pool *pool;                  /* ours, or NULL: barging */
    barging *barging;
    int64_t span_ms;
    pthread_barrier_t gate;
    atomic_bool over;
} load;

typedef struct member {
    load *load;
    pthread_t thread;
    int queries;
    double waits_ms[MOST_QUERIES];
} member;

enum { P50, P99, MOST, RATE, SHARES, FIGURES };

static member members[THREADS];

static int64_t query_ours(falkor_pool *pool) {
    falkor_conn *conn;
    falkor_error error;
    int64_t since = falkor_now_ns();
    if (falkor_acquire(pool, &conn, &error))
        bench_fail("%s", error.message);
    int64_t wait = falkor_now_ns() - since;
    ask(falkor_conn_handle(conn), "GRAPH.RO_QUERY", "RETURN 1");
    falkor_release(conn);
    return wait;
}

static int64_t query_barging(barging *pool) {
    int64_t since = falkor_now_ns();
    void *handle = barging_get(pool);
    int64_t wait = falkor_now_ns() - since;
    ask(handle, "GRAPH.RO_QUERY", "RETURN 1");
    barging_put(pool, handle);
    return wait;
}

static void *work(void *argument) {
    member *self = argument;
    load *on = self->load;
    pthread_barrier_wait(&on->gate);
    while (!atomic_load_explicit(&on->over, memory_order_relaxed)) {
        int64_t wait = on->pool ? query_ours(on->pool)
                                : query_barging(on->barging);
        if (self->queries == MOST_QUERIES)
            bench_fail("more than %d queries of a thread", MOST_QUERIES);
        self->waits_ms[self->queries++] = (double)wait / 1e6;
    }
    return NULL;
}

/* All waits count, those too that end behind the end, when nobody overtakes
   any more. */
static void sum_up(double seconds, double *figures) {
    static double all[(size_t)THREADS * MOST_QUERIES];
    size_t count = 0;
    int least = MOST_QUERIES, most = 0;
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < members[i].queries; k++)
            all[count++] = members[i].waits_ms[k];
        least = members[i].queries < least ? members[i].queries : least;
        most = members[i].queries > most ? members[i].queries : most;
    }
    bench_sort(all, count);
    figures[P50] = bench_percentile(all, count, 50);
    figures[P99] = bench_percentile(all, count, 99);
    figures[MOST] = all[count - 1];
    figures[RATE] = (double)count / seconds;
    figures[SHARES] = (double)most / (least > 0 ? least : 1);
}

static void take_turn(load *on, double *figures) {
    pthread_barrier_init(&on->gate, NULL, THREADS + 1);
    atomic_store(&on->over, false);
    for (int i = 0; i < THREADS; i++) {
        members[i].load = on;
        members[i].queries = 0;
        if (pthread_create(&members[i].thread, NULL, work, &members[i]))
            bench_fail("%d threads cannot be started", THREADS);
    }
    pthread_barrier_wait(&on->gate);
    int64_t begin = falkor_now_ns();
    nanosleep(&(struct timespec){.tv_sec = on->span_ms / 1000,
        .tv_nsec = on->span_ms % 1000 * 1000000}, NULL);
    atomic_store(&on->over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    sum_up((double)(falkor_now_ns() - begin) / 1e9, figures);
    pthread_barrier_destroy(&on->gate);
}

/* ---- rows -------------------------------------------------------------- */

#define PEER .peer = "barging stack"
static const bench_row rows[FIGURES] = {
    [P99] = {.id = "E7-p99", PEER, .at_most = 0.5, .unit = "ms",
             .work = "wait, 50 threads on 5 connections: p99"},
    [RATE] = {.id = "E7-throughput", PEER, .at_least = 0.95,
              .unit = "queries/s", .work = "the same: RETURN 1"},
    [P50] = {.id = "E7-p50", PEER, .unit = "ms",
             .work = "the same: median wait"},
    [MOST] = {.id = "E7-max", PEER, .unit = "ms",
              .work = "the same: longest wait"},
    [SHARES] = {.id = "E7-shares", PEER, .unit = "to 1",
                .work = "the same: busiest thread to idlest"}};

/* Many short turns: what else the machine does changes from second to
   second. */
static void measure(load *ours, load *theirs) {
    static const int order[] = {P99, RATE, P50, MOST, SHARES};
    static double a[FIGURES][PAIRS], b[FIGURES][PAIRS];
    double figures[FIGURES];
    int pairs = bench_quick() ? BENCH_PAIRS : PAIRS;
    for (int i = -1; i < pairs; i++) {          /* -1: to warm up */
        take_turn(ours, figures);
        for (int k = 0; k < FIGURES && i >= 0; k++)
            a[k][i] = figures[k];
        take_turn(theirs, figures);
        for (int k = 0; k < FIGURES && i >= 0; k++)
            b[k][i] = figures[k];
    }
    for (int i = 0; i < FIGURES; i++)
        bench_pairs(&rows[order[i]], a[order[i]], b[order[i]], pairs);
}

/* hiredis needs host and port; an address of a rarer kind is not looked at. */
static bool find_server(address *server) {
    const char *url = bench_options().url;
    server->port = 6379;
    return sscanf(url, "%*[a-z]://%255[A-Za-z0-9.-]:%d", server->host,
                  &server->port) == 2;
}

int main(void) {
    address server;
    falkor_error error = {.message = "out of memory"};
    void *handle;
    if (!find_server(&server)) {
        for (int i = 0; i < FIGURES; i++)
            bench_absent(&rows[i], "FALKORDB_URL is not just host and port");
        return 0;
    }
    if (dial(&server, INT64_MAX, &handle, &error))
        bench_fail("%s", error.message);
    ask(handle, "GRAPH.QUERY", "RETURN 1");             /* makes the graph */
    load ours = {.span_ms = TURN_MS}, theirs = ours;
    ours.pool = bench_pool(&(falkor_options){.driver = &hiredis_driver,
        .driver_ctx = &server, .max_size = CONNECTIONS});
    theirs.barging = barging_open(&hiredis_driver, &server, CONNECTIONS,
                                  &error);
    if (!theirs.barging)
        bench_fail("%s", error.message);
    measure(&ours, &theirs);
    barging_free(theirs.barging);
    falkor_pool_free(ours.pool);
    ask(handle, "GRAPH.DELETE", NULL);
    hang_up(NULL, handle);
    return 0;
}
