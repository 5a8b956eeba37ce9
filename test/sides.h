/* What the benchmarks of queries share: a load of threads, which is the same
   whoever does the work; bare hiredis, the peer that a C program would be
   written with; other programs as peers; and the reading of every value, on
   both sides alike. */
#ifndef FALKOR_SIDES_H
#define FALKOR_SIDES_H
#include "bench.h"
#include <hiredis/hiredis.h>
#include <sys/types.h>

#define SIDES_MOST_THREADS 64

/* The graph that all of it asks, with SIDES_NODES nodes :P of four properties
   (name, city, age, score). */
#define SIDES_GRAPH "bench"
#define SIDES_NODES 100
void sides_make_graph(falkor_graph *graph);

/* ---- loads ------------------------------------------------------------- */

/* Threads that do a job again and again, all at once: for span_ns, or until
   count jobs are done in all. job returns a sum of what it read. */
typedef struct load {
    int threads;
    int64_t span_ns, count;             /* one of them is 0 */
    double (*job)(void *context, int thread);
    void *context;
    double *ms;                         /* of count jobs each, or NULL */
    int64_t done;                       /* found by load_run */
    double seconds, sum;
} load;

/* Runs it; the time is from the first thread's beginning to the last one's
   end, without the making of threads. Returns jobs a second. */
double load_run(load *l);

/* ---- reading ----------------------------------------------------------- */

/* A sum that takes every value: numbers as they are, strings by their length
   and first byte. An error reply ends the program. */
double sides_sum_result(const falkor_result *result);
double sides_sum_reply(const redisReply *reply);

/* One query, all its values read and freed: through the pool, and bare. */
double sides_query(falkor_graph *graph, const char *cypher);
double sides_bare_query(redisContext *c, const char *cypher);

/* ---- one query, asked in several ways ---------------------------------- */

/* What the jobs below have as their context. cypher is the caller's to set. */
typedef struct question {
    const char *cypher;
    falkor_graph *graph;
    redisContext *bare[SIDES_MOST_THREADS];
} question;

/* Makes the graph, and a connection for each thread. */
void question_begin(question *q, falkor_pool *pool);
void question_end(question *q);

/* Jobs of a load: through the pool; by bare hiredis over the thread's own
   connection, over one made for each query, over one that all share behind a
   mutex; over 20 that go from hand to hand in the order of who came first,
   which is the least that such an order costs: a mutex, a list, a semaphore. */
double question_pooled(void *question, int thread);
double question_own(void *question, int thread);
double question_anew(void *question, int thread);
double question_shared(void *question, int thread);
double question_in_line(void *question, int thread);
#define QUESTION_LINE 20

/* ---- peers ------------------------------------------------------------- */

/* A connection to the server of FALKORDB_URL. */
redisContext *sides_bare(void);

/* The address in FALKORDB_URL, which must be falkor://HOST:PORT. */
const char *sides_host(void);
int sides_port(void);

/* Another program, whose input and output are pipes. Where it does not exist
   the output is empty. libraries, if not NULL, is its LD_LIBRARY_PATH. */
typedef struct peer {
    pid_t pid;
    int input, output;
} peer;
peer peer_start(const char *const *argv, const char *libraries);

/* A line of its output without the end; false: there is none. */
bool peer_line(peer *p, char *line, size_t size);
void peer_tell(peer *p, const char *line);

/* Closes its input and waits; returns its exit status, or -1. */
int peer_end(peer *p);

/* The official Node client, test/bench_node.mjs: `RETURN 1` by so many loops at
   once over so many connections, at most 20. The rate is 0 where node or the
   client is missing. */
peer node_start(void);
double node_rate(peer *node, int64_t span_ns, int connections, int loops);
#endif
