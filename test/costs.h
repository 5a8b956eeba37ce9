/* One small piece of work, for the programs that count what it costs: what it
   is, and how it is done once by us or by bare hiredis over one connection of
   its own. All ask the same question of the same graph and read the answer. */
#ifndef FALKOR_COSTS_H
#define FALKOR_COSTS_H
#include "bench.h"
#include <hiredis/hiredis.h>

typedef struct costs {
    falkor_pool *pool;
    falkor_graph *graph;
    redisContext *plain;
    int64_t sum;                        /* of what was read */
} costs;

typedef struct costs_work {
    const char *name;                   /* a word, for a command line */
    const char *what;                   /* for a row */
    void (*once)(costs *c);
} costs_work;

enum { COSTS_QUERY, COSTS_READ, COSTS_SLOW, COSTS_ACQUIRE, COSTS_HIREDIS,
       COSTS_WORKS };
extern const costs_work costs_works[COSTS_WORKS];

/* A pool and a connection of hiredis to the server of FALKORDB_URL, a graph
   that is there; the work done so often that nothing is new any more. */
void costs_begin(costs *c, const costs_work *warm);
void costs_end(costs *c);

/* Bare hiredis, connected to the server of FALKORDB_URL. */
redisContext *costs_hiredis(void);
#endif
