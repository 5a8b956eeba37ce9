/* More servers than one: what is known of them, and which of them a call is to
   go to. topology.c keeps the map and finds the way, scout.c asks sentinels and
   cluster nodes what the map should be. */
#ifndef FALKOR_TOPOLOGY_H
#define FALKOR_TOPOLOGY_H
#include "internal.h"
#ifndef FALKOR_WITHOUT_TOPOLOGY

#define FALKOR__NO_NODE UINT16_MAX

/* A connection of the scout's own to whoever can be asked: not one of a pool.
   One that failed is left alone for a while: not_before_ns; where nobody needs
   it, rests_until_ns. */
typedef struct falkor__wire {
    const falkor__config *config;
    falkor_pool *whole;                 /* closed: nothing is asked any more */
    falkor__link *link;                 /* NULL: none */
    int64_t not_before_ns, rests_until_ns;
    int patience_ms;                    /* for a dial: 0: not known yet */
} falkor__wire;

/* A node is never forgotten, so that who has its index or its address may keep
   it. */
struct falkor__node {
    falkor_pool *pool;                  /* constant */
    size_t index;                       /* constant */
    falkor__wire wire;                  /* the scout's */
    atomic_int in_flight;               /* calls that were routed here */

    /* The topology's mutex guards the rest. */
    falkor_role role;                   /* as sentinels, or slots, have it */
    uint16_t primary;                   /* of a replica: its index */
    bool begun;                         /* its pool is open */
    bool well;                          /* it has answered, as what it is */
    falkor_role says;                   /* what it said that it is, last */
    bool deposed;                       /* another was named in its place, and
                                           it has not said replica since */
    int slots;
    int64_t lag_bytes, lag_ms;          /* -1: not known */
    int64_t near_ns;                    /* how soon it answers; 0: not known */

    /* Where a primary's stream was, and when: the scout's. */
    struct { int64_t at_ns, offset; } marks[16];
    unsigned mark_count;
};

/* One that asks at a time (scouting, scout_thread) has what is the scout's. */
struct falkor__topology {
    falkor_pool *whole;                 /* constant: what the program has */
    falkor__make make;                  /* constant */
    void (*unmake)(falkor_pool *pool);  /* constant */
    bool is_cluster;                    /* constant */
    unsigned first_asked;               /* constant: not all processes ask the
                                           same node of a cluster */
    falkor__config *hosts;              /* whom to ask first: their configs, */
    falkor__wire *wires;                /* and wires */
    size_t host_count;                  /* constant */
    int64_t epoch, named_ns;            /* with sentinels: under which, and
                                           when, one has named the primary */
    falkor__guard guard;
    falkor__thread thread;

    falkor__mutex mutex;
    falkor__cond changed;               /* version, rounds, or scouting */
    falkor__cond wanted;                /* the scout's sleep ends */
    FALKOR__LOCKED struct {
        falkor__node **nodes;
        size_t count, room;
        uint16_t primary;               /* with sentinels */
        uint16_t *owners;               /* of a cluster's slots */
        uint64_t version;               /* of what routes depend on */
        uint64_t begun_rounds, rounds;  /* of asking: begun, and done */
        unsigned turn;                  /* whose turn it is among equals */
        bool scouting, doubted, closed, open;
        unsigned long scout_thread;     /* falkor__thread_number() */
        bool has_thread, wants_thread;  /* wants: in a child of fork */
        falkor_error why;               /* the last round's failure */
    };
};

/* ---- scout.c ----------------------------------------------------------- */

/* What a round of asking finds, before it is on the map. */
typedef struct falkor__finding {
    char host[FALKOR__HOST_SIZE];
    int port;
} falkor__finding;

/* Asks whom there is to ask, and puts what they say on the map. The caller is
   the one who scouts. */
falkor_status falkor__scout(falkor__topology *topology, int64_t deadline_ns,
                            falkor_error *error);
void falkor__wire_end(falkor__wire *wire);
void falkor__wire_forget(falkor__wire *wire);   /* in a child of fork */

/* ---- topology.c, for scout.c -------------------------------------------- */

/* The node with this address; made where it is new. NULL: no memory. */
falkor__node *falkor__node_at(falkor__topology *topology, const char *host,
                              int port, falkor_error *error);
falkor__node *falkor__node_number(falkor__topology *topology, size_t index);

/* Opens a node's pool to calls, or lets it rest: then it keeps no connection
   open by itself, and tries none. */
falkor_status falkor__node_begin(falkor__topology *topology,
                                 falkor__node *node, falkor_error *error);
void falkor__topology_changed_locked(falkor__topology *topology)
    FALKOR__HOLDS(topology->mutex);
#endif
#endif
