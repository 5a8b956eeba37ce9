/* Threads that write numbered nodes and edges, and entries of a Redis list, in
   all the ways that there are through one pool, and read them back, whatever
   happens to the server meanwhile. Each keeps what it was told of every write,
   and complains at once when a reply is another's, when an error is none that a
   failing world is due, and when what it reads back is not what it was told.

   Where there are replicas, half of the writes wait for copies: these are to
   last whatever happens, the others may be lost once they were acknowledged. */
#ifndef FALKOR_TEST_SCRIBE_H
#define FALKOR_TEST_SCRIBE_H
#include "lateness.h"
#include <stdatomic.h>

#define SCRIBE_GRAPH "proof"
#define SCRIBE_LIST "{proof}list"        /* in a cluster, where the graph is */
enum {
    SCRIBE_WRITES = 20000,      /* of one thread, at most */
    SCRIBE_ANCHORS = 50,        /* nodes (:P {id: 0}) and so on, for edges */
    SCRIBE_POOL_MS = 300, SCRIBE_SOCKET_MS = 400,   /* the pool's time-outs */
    SCRIBE_PATIENT_MS = 5000    /* longer than a failover */
};

/* What a write's caller was told, and what it makes: a node (:N {no: n}), an
   edge [:W {no: n}] from anchor n to that node, or to anchor n + 1, or both; or
   an entry n of a list. */
enum { SCRIBE_UNSENT, SCRIBE_ACKNOWLEDGED, SCRIBE_FAILED, SCRIBE_MAYBE,
       SCRIBE_OUTCOMES };
enum { SCRIBE_NODE = 1, SCRIBE_EDGE = 2, SCRIBE_ENTRY = 4 };
typedef struct scribe_record {
    unsigned char outcome, makes;
    bool lasts;                         /* it waits for all.copies */
    unsigned char nodes, edges, entries;    /* found in the end */
} scribe_record;

typedef struct scribes {                /* what they share */
    falkor_pool *pool;
    falkor_graph *graph;
    int most;                           /* connections, of all nodes */
    int copies;                         /* 0: there is one server, and what it
                                           has acknowledged lasts */
    bool moves;                         /* a cluster: MOVED is due on a held
                                           connection, and in a pipeline */
    atomic_bool stopped, broken;        /* broken: there is a complaint */
    atomic_int lasting;                 /* writes acknowledged with copies */
    atomic_int bad[FALKOR_STATUS_COUNT];
} scribes;

typedef struct scribe {
    scribes *all;
    int number;                         /* from 1 on: where an index comes from
                                           a replica's first copy, FalkorDB
                                           4.16.3 does not find 0 in it */
    uint64_t random;
    scribe_record *writes;              /* that of i has the number number *
                                           SCRIBE_WRITES + i */
    int written, read;
    int64_t tokens;                     /* used up */
    atomic_int good;                    /* answers, since main last set it */
    late_book book;
} scribe;

void *scribe_run(void *self);
#endif
