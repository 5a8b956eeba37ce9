/* What the tests of names share. Graphs that prove themselves: each property
   of a node or edge is a string "key|labels" or "key|type", so that a name
   taken from another list is seen wherever it stands. A proxy that takes one
   command at a time and can do something, or wait, before any of them. And a
   stress in which other clients put other graphs in a graph's place. */
#ifndef FALKOR_TEST_NAMING_H
#define FALKOR_TEST_NAMING_H
#include "../call.h"
#include "serving.h"

/* ---- results that prove themselves ------------------------------------ */

/* How many names of nodes and edges in it were compared, paths, lists and maps
   entered; in any thread: a wrong one is a complaint, with text in it. Where a
   row has [n, labels(n), keys(n)] or [e, [type(e)], keys(e)], the names are
   first compared with these, which the server wrote out itself. */
size_t naming_prove(const falkor_result *result, const char *text);

/* The same of a result from a server that several clients change at once. That
   one, FalkorDB 4.16.3, mixes names up itself. An entity that the server itself
   names otherwise than it was written counts as corrupt and is no complaint.
   Where the server wrote no names out, it is asked; behind a failed write
   (displaced) the graph may be gone, and what is wrong counts as undecided. */
typedef struct naming_source {
    falkor_graph *graph;
    int port, connections;
    uint64_t seed;
    const char *form;                   /* of asking */
    atomic_ullong *told, *corrupt, *displaced, *undecided;
} naming_source;
size_t naming_prove_from(const falkor_result *result, const char *text,
                         const naming_source *source);

/* ---- other clients' graphs -------------------------------------------- */

/* A query that creates a graph of two edges with three labels, two types and
   three keys in an order that the number decides. unique: with a key that no
   other number has. */
#define NAMING_TEXT 1024
void naming_layout(char text[NAMING_TEXT], uint64_t number, bool unique);

/* A second client's command, which must succeed; empty and NULL replies do. */
void naming_do(redisContext *client, const char *format, ...);
void naming_run(redisContext *client, const char *graph, const char *cypher);

/* Makes a graph in another's place. NAMING_COPY needs a layout that is unique:
   a copy's labels and types are not in its version. It copies to a key of its
   own, which it renames: FalkorDB 4.16.3 mixes two graphs up, and crashes, when
   one is copied to a key that another client makes in the meantime. */
typedef enum naming_way {
    NAMING_DELETE, NAMING_TRANSACTION, NAMING_RENAME, NAMING_COPY, NAMING_WAYS
} naming_way;
void naming_replace(redisContext *client, const char *graph, naming_way way,
                    const char *cypher);

/* ---- a proxy that takes one command at a time ------------------------- */

typedef struct naming_step naming_step;
typedef bool (*naming_before)(naming_step *step, int number,
                              const char *command);
struct naming_step {
    int port;
    /* before is called in the connection's thread, before command number
       (1, 2, ...) is passed on; false ends the connection instead. NULL: none.
       Not called, and not counted, while quiet. */
    _Atomic(naming_before) before;
    _Atomic(void *) ctx;
    atomic_bool quiet;
    atomic_int commands;        /* GRAPH.* passed on, or about to be */
    atomic_int lists;           /* of these "CALL db.labels()" */
    atomic_int unversioned;     /* and those that do not end with VERSION n */
    /* Its own. */
    int target, listener, wake[2];
    pthread_t thread;
    atomic_int running;
};
void naming_step_start(naming_step *step, int target);
void naming_step_stop(naming_step *step);

/* ---- stress ----------------------------------------------------------- */

typedef struct naming_stress {
    const serving *server;
    int threads, connections;   /* of ours; a pool's max_size */
    int rounds;                 /* graphs put in place; 0: none, and writes
                                   instead, so many of each thread */
    uint64_t seed;
    const char *graph;
} naming_stress;
typedef struct naming_tally {
    atomic_ullong queries, names, told, corrupt, undecided, empty,
        failed_writes, stale_writes, stale_rows, displaced, lost;
} naming_tally;

/* Runs it and prints what happened. Wrong names, and errors that should not
   be, are complaints. It ends early when the server does. */
void naming_stress_run(const naming_stress *stress, naming_tally *tally);

/* Runs a test that only complains, with a server of its own. FalkorDB 4.16.3
   builds plans without a lock on the names and crashes now and then when
   several clients add some: what came of that counts for nothing, and the test
   is run again, a few times. */
typedef void (*naming_test)(const serving *server, void *ctx);
void naming_on_own_server(naming_test test, void *ctx);
bool naming_is_alive(const serving *server);
#endif
