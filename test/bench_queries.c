/* Queries through the pool, against what a program would otherwise do: the
   server's own benchmark, bare hiredis with a connection for each thread or
   for each query, one connection that threads share, the official Node client.
   All ask the same server the same query in the same protocol. */
#include "sides.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL 20
#define CROWD 50
#define PAIRS (bench_quick() ? 5 : 9)   /* of turns */
#define TURN_NS INT64_C(420000000)      /* of one side */
#define SHORT_TURN_NS INT64_C(300000000)
#define LONG_TURN_NS INT64_C(1000000000)    /* redis-benchmark's */

typedef struct bench {
    falkor_pool *pool;
    question q;
    int our_threads, their_threads;
    int64_t turn_ns;
    bool loud;                          /* redis-benchmark with --threads */
} bench;

/* ---- sides ------------------------------------------------------------- */

static double rate(bench *b, int threads, double (*job)(void *, int)) {
    load l = {.threads = threads, .span_ns = b->turn_ns, .job = job,
              .context = &b->q};
    return load_run(&l);
}

static double pooled(void *context) {
    bench *b = context;
    return rate(b, b->our_threads, question_pooled);
}

static double own(void *context) {
    bench *b = context;
    return rate(b, b->their_threads, question_own);
}

/* ---- redis-benchmark --------------------------------------------------- */

/* Its name here; that of the fetched server's package lies beside the server
   and wants its libraries. */
static struct { char path[1024], libraries[1024]; bool sought; } tool;

static bool runs(const char *path, const char *libraries) {
    char line[256];
    peer p = peer_start((const char *[]){path, "--version", NULL}, libraries);
    while (peer_line(&p, line, sizeof line))
        ;
    return peer_end(&p) == 0;
}

static bool is_fetched(void) {
    static const char *const names[] = {"valkey-benchmark", "redis-benchmark"};
    char found[512], server[900], *slash;
    const char *build = getenv("BUILD");
    snprintf(found, sizeof found, "%s/server/found", build ? build : "build");
    FILE *file = fopen(found, "r");
    bool read = file && fscanf(file, "%*[^\n]%*c%899[^\n]%*c%*[^\n]%*c"
                               "%1023[^\n]", server, tool.libraries) >= 1;
    if (file)
        fclose(file);
    if (!read || !(slash = strrchr(server, '/')))
        return false;
    for (int i = 0; i < 2; i++) {
        snprintf(tool.path, sizeof tool.path, "%.*s/%s",
                 (int)(slash - server), server, names[i]);
        if (access(tool.path, X_OK) == 0 && runs(tool.path, tool.libraries))
            return true;
    }
    return false;
}

static bool have_tool(void) {
    static const char *const names[] = {"valkey-benchmark", "redis-benchmark"};
    for (int i = 0; i < 2; i++)
        if (runs(names[i], NULL)) {
            snprintf(tool.path, sizeof tool.path, "%s", names[i]);
            return true;
        }
    return is_fetched();
}

/* Its own figure, the second field of the last line of --csv. */
static double run_tool(const bench *b, int64_t requests) {
    char port[16], count[24], clients[16], line[512] = "", last[512] = "";
    snprintf(port, sizeof port, "%d", sides_port());
    snprintf(count, sizeof count, "%lld", (long long)requests);
    snprintf(clients, sizeof clients, "%d", POOL);
    const char *argv[20] = {tool.path, "-h", sides_host(), "-p", port, "-c",
        clients, "-n", count, "--csv"};
    int argc = 10;
    if (b->loud) {
        argv[argc++] = "--threads";
        argv[argc++] = "2";
    }
    argv[argc++] = "GRAPH.RO_QUERY";
    argv[argc++] = SIDES_GRAPH;
    argv[argc++] = b->q.cypher;
    argv[argc++] = "--compact";
    peer p = peer_start(argv, *tool.libraries ? tool.libraries : NULL);
    while (peer_line(&p, line, sizeof line))
        memcpy(last, line, sizeof last);
    const char *figure = strstr(last, "\",\"");
    double rate = figure ? strtod(figure + 3, NULL) : 0;
    if (peer_end(&p) != 0 || rate <= 0)
        bench_fail("%s: %s", tool.path, last);
    return rate;
}

static int64_t tool_requests;

static double by_tool(void *context) {
    return run_tool(context, tool_requests);
}

/* With a second thread or without, whichever is faster here. */
static void tune_tool(bench *b) {
    double figures[2][3];
    tool_requests = (int64_t)(pooled(b) * (double)b->turn_ns / 1e9 / 2) + 1;
    for (int i = 0; i < 6; i++) {
        b->loud = i % 2;
        figures[i % 2][i / 2] = by_tool(b);
    }
    double one = bench_median(figures[0], 3), two = bench_median(figures[1], 3);
    bench_note("redis-benchmark: %.0f/s, with --threads 2 %.0f/s", one, two);
    b->loud = two > one;
    tool_requests = (int64_t)((two > one ? two : one) *
                              (double)b->turn_ns / 1e9) + 1;
}

static void against_tool(bench *b) {
    bench_row row = {.id = "E2", .work = "RETURN 1, 50 threads, pool of 20",
        .unit = "queries/s", .peer = "redis-benchmark -c 20", .at_least = 1};
    if (!have_tool()) {
        bench_absent(&row, "neither in PATH nor in the build folder");
        return;
    }
    b->our_threads = CROWD;
    tune_tool(b);
    if (b->loud)
        row.peer = "redis-benchmark -c 20 --threads 2";
    bench_compare(&row, pooled, by_tool, b, BENCH_PAIRS);
}

/* ---- bare hiredis ------------------------------------------------------ */

static double anew(void *context) {
    bench *b = context;
    return rate(b, b->their_threads, question_anew);
}

static double shared(void *context) {
    bench *b = context;
    return rate(b, b->their_threads, question_shared);
}

static double in_line(void *context) {
    bench *b = context;
    return rate(b, b->their_threads, question_in_line);
}

static void against_hiredis(bench *b) {
    b->our_threads = CROWD;
    b->their_threads = POOL;
    bench_compare(&(bench_row){.id = "E3", .at_least = 0.97,
        .work = "RETURN 1, 50 threads, pool of 20", .unit = "queries/s",
        .peer = "hiredis, 20 threads"}, pooled, own, b, PAIRS);
    b->their_threads = CROWD;
    bench_compare(&(bench_row){.id = "E3-line",
        .work = "RETURN 1, 50 threads, pool of 20", .unit = "queries/s",
        .peer = "hiredis, 20 in line"}, pooled, in_line, b, PAIRS);
    b->our_threads = b->their_threads = POOL;
    bench_compare(&(bench_row){.id = "E3-20t",
        .work = "RETURN 1, 20 threads, pool of 20", .unit = "queries/s",
        .peer = "hiredis, 20 threads"}, pooled, own, b, PAIRS);
    bench_compare(&(bench_row){.id = "E4-connect", .at_least = 2.5,
        .work = "RETURN 1, 20 threads, pool of 20", .unit = "queries/s",
        .peer = "connection per query"}, pooled, anew, b, PAIRS);
    bench_compare(&(bench_row){.id = "E4-shared",
        .work = "RETURN 1, 20 threads, pool of 20", .unit = "queries/s",
        .peer = "one shared connection"}, pooled, shared, b, PAIRS);
}

/* ---- the Node client --------------------------------------------------- */

static struct { peer process; int connections; } node;

static double by_node(void *context) {
    const bench *b = context;
    return node_rate(&node.process, b->turn_ns, node.connections, POOL);
}

/* Over one connection, as it is documented, and over one for each of its loops,
   a pool of the user's own making. */
static void against_node(bench *b) {
    bench_row rows[] = {
        {.id = "E4-node", .peer = "Node client"},
        {.id = "E4-node-20", .peer = "20 Node clients"}};
    node.process = node_start();
    b->our_threads = POOL;
    bool absent = false;
    for (int i = 0; i < 2; i++) {
        node.connections = i ? POOL : 1;
        rows[i].work = "RETURN 1, 20 threads, pool of 20";
        rows[i].unit = "queries/s";
        rows[i].at_least = 2;
        absent = absent || by_node(b) <= 0;     /* its compiler warms up, too */
        if (absent)
            bench_absent(&rows[i], "node or npm's falkordb is missing");
        else
            bench_compare(&rows[i], pooled, by_node, b, PAIRS);
    }
    if (peer_end(&node.process) != 0 && !absent)
        bench_fail("test/bench_node.mjs failed");
}

/* ---- over threads ------------------------------------------------------ */

static void over_threads(bench *b, const char *name, const char *work,
                         const char *cypher) {
    static const int threads[] = {1, 4, 20, 50};
    b->q.cypher = cypher;
    for (int i = 0; i < 4; i++) {
        char id[16], what[64], whom[32];
        b->our_threads = b->their_threads = threads[i];
        snprintf(id, sizeof id, "%s-%dt", name, threads[i]);
        snprintf(what, sizeof what, "%s, %d thread%s, pool of 20", work,
                 threads[i], threads[i] == 1 ? "" : "s");
        snprintf(whom, sizeof whom, "hiredis, %d thread%s", threads[i],
                 threads[i] == 1 ? "" : "s");
        bench_compare(&(bench_row){.id = id, .work = what, .peer = whom,
            .unit = "queries/s"}, pooled, own, b, bench_quick() ? 3 : 5);
    }
}

int main(void) {
    static bench b = {.q.cypher = "RETURN 1"};
    falkor_options options = bench_options();
    options.max_size = POOL;
    b.pool = bench_pool(&options);
    bench_about(b.pool);
    question_begin(&b.q, b.pool);
    b.turn_ns = bench_short(LONG_TURN_NS);
    against_tool(&b);
    b.turn_ns = bench_short(TURN_NS);
    against_hiredis(&b);
    against_node(&b);
    b.turn_ns = bench_short(SHORT_TURN_NS);
    over_threads(&b, "T1", "RETURN 1", "RETURN 1");
    over_threads(&b, "T100", "100 nodes", "MATCH (n:P) RETURN n LIMIT 100");
    question_end(&b.q);
    falkor_pool_free(b.pool);
    return 0;
}
