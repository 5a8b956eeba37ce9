/* A pool under load: 50 threads share 5 connections for `RETURN 1`, by our pool
   and by the barging one of barging.h, on the same driver: bare hiredis, the
   same query for both. Every wait for a connection is looked at. Ours has its
   default settings, with the FAST check before each use; the other checks
   nothing. */
#ifndef FALKOR_TEST_RUSH_H
#define FALKOR_TEST_RUSH_H
#include "barging.h"
#include <hiredis/hiredis.h>

#define RUSH_THREADS 50
#define RUSH_CONNECTIONS 5

typedef struct rush {
    struct { char host[256]; int port; } server;
    falkor_pool *ours;
    barging *theirs;
    redisContext *aside;                /* for what is not measured */
} rush;

/* Opens both pools to the server of FALKORDB_URL; false: hiredis cannot, for
   that is not just host and port. */
bool rush_begin(rush *r);
void rush_end(rush *r);

/* All waits of a turn count, those too that end behind its end, when nobody
   overtakes any more. */
typedef struct rush_turn {
    const double *waits_ms;             /* sorted; until the next turn */
    size_t count;
    double seconds;
    int least, most;                    /* queries of one thread */
} rush_turn;

typedef enum rush_side { RUSH_OURS, RUSH_BARGING } rush_side;
rush_turn rush_take(rush *r, rush_side side, int64_t span_ms);
#endif
