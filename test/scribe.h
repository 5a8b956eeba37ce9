/* Threads that write numbered nodes and edges, and entries of a Redis list, in
   all the ways that there are through one pool, and read them back, whatever
   happens to the server meanwhile. Each keeps what it was told of every write,
   and complains at once when a reply is another's, when an error is none that a
   failing world is due, and when what it reads back is not what it was told. */
#ifndef FALKOR_TEST_SCRIBE_H
#define FALKOR_TEST_SCRIBE_H
#include "lateness.h"
#include <stdatomic.h>

#define SCRIBE_GRAPH "proof"
#define SCRIBE_LIST "proof:list"
enum {
    SCRIBE_WRITES = 20000,      /* of one thread, at most */
    SCRIBE_ANCHORS = 50,        /* nodes (:P {id: 0}) and so on, for edges */
    SCRIBE_POOL_MS = 300, SCRIBE_SOCKET_MS = 400    /* the pool's time-outs */
};

/* What a write's caller was told, and what it makes: a node (:N {no: n}), an
   edge [:W {no: n}] from anchor n to that node, or to anchor n + 1, or both; or
   an entry n of a list. */
enum { SCRIBE_UNSENT, SCRIBE_ACKNOWLEDGED, SCRIBE_FAILED, SCRIBE_MAYBE,
       SCRIBE_OUTCOMES };
enum { SCRIBE_NODE = 1, SCRIBE_EDGE = 2, SCRIBE_ENTRY = 4 };
typedef struct scribe_record {
    unsigned char outcome, makes;
    unsigned char nodes, edges, entries;    /* found in the end */
} scribe_record;

typedef struct scribes {                /* what they share */
    falkor_pool *pool;                  /* of at most CROWD_POOL */
    falkor_graph *graph;
    atomic_bool stopped, broken;        /* broken: there is a complaint */
    atomic_int bad[FALKOR_STATUS_COUNT];
} scribes;

typedef struct scribe {
    scribes *all;
    int number;
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
