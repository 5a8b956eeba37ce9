/* A crowd of threads on one pool, each of which asks for tokens of its own and
   looks whether it gets them, whatever happens to the server meanwhile. Every
   second query may write as far as the library knows. */
#ifndef FALKOR_TEST_CROWD_H
#define FALKOR_TEST_CROWD_H
#include "serving.h"

#define CROWD 50                        /* threads */
#define CROWD_POOL 20                   /* connections */

/* What the threads of one run share, and what they found. */
typedef struct crowd {
    falkor_pool *pool;
    falkor_graph *graph;
    int queries;                        /* of each thread; 0: until stopped */
    int timeout_ms;
    bool (*is_due)(const falkor_error *error);  /* more than dead connections
                                           and a sleeping server; or NULL */
    atomic_bool stopped;
    atomic_int wrong;                   /* tokens of somebody else: never */
    atomic_int unsaid;                  /* a status that was not due, or a
                                           write's maybe_executed not said */
    atomic_int good, bad[FALKOR_STATUS_COUNT];
    char first_unsaid[600];
    atomic_bool said;
} crowd;
typedef struct crowd_member {
    crowd *crowd;
    int number;
    atomic_int good, since;             /* since: good ones from then on */
    int calls, within_50_ms;
    int64_t worst_ns;                   /* beyond the deadline */
    pthread_t thread;
} crowd_member;

/* Options for a full pool, whose connections the server knows by a name. */
falkor_options crowd_options(int port);

/* Opens a pool of short timeouts, however long that takes. */
falkor_pool *crowd_pool(const falkor_options *options);
bool crowd_is_token(const falkor_result *result, int64_t token);

void crowd_start(crowd *all, crowd_member *members);
void crowd_join(crowd_member *members);

/* Prints the counts; nothing was wrong, nothing ended as it should not. */
void crowd_check(crowd *all);

/* Waits until each thread has had ten good answers since forget_since. No
   assert: the threads still run. */
bool crowd_all_answered(crowd_member *members);
void crowd_forget_since(crowd_member *members);

bool crowd_pool_is_full(falkor_pool *pool);

/* The server counts as many of the pool's connections; what the pool has
   closed the server may see a little later. */
bool crowd_is_seen(int port, int wanted);

/* Takes all connections at once: one that was killed while idle is seen then,
   and replaced. */
void crowd_take_all(falkor_pool *pool);
#endif
