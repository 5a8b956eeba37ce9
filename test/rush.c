/* See rush.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* barriers */
#endif
#include "rush.h"
#include "bench.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#define MOST_QUERIES 20000              /* of a thread in one turn */
#define GRAPH "bench_waits"

/* ---- the driver: bare hiredis ------------------------------------------ */

static falkor_status dial(void *ctx, int64_t deadline_ns, void **handle,
                          falkor_error *error) {
    const rush *r = ctx;
    (void)deadline_ns;
    redisContext *c = redisConnectWithTimeout(r->server.host,
        r->server.port, (struct timeval){.tv_sec = 5});
    if (c && !c->err) {
        *handle = c;
        return FALKOR_OK;
    }
    snprintf(error->message, sizeof error->message, "%s:%d: %s",
             r->server.host, r->server.port, c ? c->errstr : "out of memory");
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

typedef struct turn {
    rush *rush;
    rush_side side;
    pthread_barrier_t gate;
    atomic_bool over;
} turn;

typedef struct member {
    turn *turn;
    pthread_t thread;
    int queries;
    double waits_ms[MOST_QUERIES];
} member;

static member members[RUSH_THREADS];

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
    turn *on = self->turn;
    pthread_barrier_wait(&on->gate);
    while (!atomic_load_explicit(&on->over, memory_order_relaxed)) {
        int64_t wait = on->side == RUSH_OURS ? query_ours(on->rush->ours)
                                             : query_barging(on->rush->theirs);
        if (self->queries == MOST_QUERIES)
            bench_fail("more than %d queries of a thread", MOST_QUERIES);
        self->waits_ms[self->queries++] = (double)wait / 1e6;
    }
    return NULL;
}

static rush_turn sum_up(double seconds) {
    static double all[(size_t)RUSH_THREADS * MOST_QUERIES];
    rush_turn t = {.waits_ms = all, .seconds = seconds, .least = MOST_QUERIES};
    for (int i = 0; i < RUSH_THREADS; i++) {
        int queries = members[i].queries;
        for (int k = 0; k < queries; k++)
            all[t.count++] = members[i].waits_ms[k];
        t.least = queries < t.least ? queries : t.least;
        t.most = queries > t.most ? queries : t.most;
    }
    bench_sort(all, t.count);
    return t;
}

rush_turn rush_take(rush *r, rush_side side, int64_t span_ms) {
    turn on = {.rush = r, .side = side};
    pthread_barrier_init(&on.gate, NULL, RUSH_THREADS + 1);
    for (int i = 0; i < RUSH_THREADS; i++) {
        members[i].turn = &on;
        members[i].queries = 0;
        if (pthread_create(&members[i].thread, NULL, work, &members[i]))
            bench_fail("%d threads cannot be started", RUSH_THREADS);
    }
    pthread_barrier_wait(&on.gate);
    int64_t begin = falkor_now_ns();
    nanosleep(&(struct timespec){.tv_sec = span_ms / 1000,
        .tv_nsec = span_ms % 1000 * 1000000}, NULL);
    atomic_store(&on.over, true);
    for (int i = 0; i < RUSH_THREADS; i++)
        pthread_join(members[i].thread, NULL);
    pthread_barrier_destroy(&on.gate);
    return sum_up((double)(falkor_now_ns() - begin) / 1e9);
}

/* ---- beginning and end ------------------------------------------------- */

/* hiredis needs host and port; an address of a rarer kind is not looked at. */
static bool find_server(rush *r) {
    const char *url = bench_options().url;
    r->server.port = 6379;
    return sscanf(url, "%*[a-z]://%255[A-Za-z0-9.-]:%d", r->server.host,
                  &r->server.port) == 2;
}

bool rush_begin(rush *r) {
    falkor_error error = {.message = "out of memory"};
    void *handle;
    if (!find_server(r))
        return false;
    if (dial(r, INT64_MAX, &handle, &error))
        bench_fail("%s", error.message);
    r->aside = handle;
    ask(r->aside, "GRAPH.QUERY", "RETURN 1");           /* makes the graph */
    r->ours = bench_pool(&(falkor_options){.driver = &hiredis_driver,
        .driver_ctx = r, .max_size = RUSH_CONNECTIONS});
    r->theirs = barging_open(&hiredis_driver, r, RUSH_CONNECTIONS, &error);
    if (!r->theirs)
        bench_fail("%s", error.message);
    return true;
}

void rush_end(rush *r) {
    barging_free(r->theirs);
    falkor_pool_free(r->ours);
    ask(r->aside, "GRAPH.DELETE", NULL);
    redisFree(r->aside);
}
