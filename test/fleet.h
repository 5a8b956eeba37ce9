/* A private set of real servers for tests, from test/fleet.sh: a primary with
   two replicas and three sentinels, or a cluster of three primaries with a
   replica each. Every one has a loopback address of its own, from which it also
   dials: netns_part (netns.h) parts any two of them, or one from its clients,
   which are at 127.0.0.1. Then it is to be started after netns_enter.

   Every function here is for the main thread, and those that have no way to
   say that they failed assert. */
#ifndef FALKOR_TEST_FLEET_H
#define FALKOR_TEST_FLEET_H
#include "serving.h"

#define FLEET_MASTER "falkor"           /* the sentinels' name for it */
#define FLEET_NODES 6
#define FLEET_SENTINELS 3
#define FLEET_SLOTS 16384
#define FLEET_TLS_BELOW 6000            /* with FALKOR_FLEET_TLS (fleet.sh):
                                           a port of TLS is so much less */

typedef enum fleet_kind { FLEET_SENTINEL, FLEET_CLUSTER } fleet_kind;

typedef struct fleet_member {
    char host[16];
    int port;
    pid_t pid;
} fleet_member;

typedef struct fleet {
    fleet_kind kind;
    fleet_member nodes[FLEET_NODES], sentinels[FLEET_SENTINELS];
    int count, sentinel_count;          /* of nodes, of sentinels: 3 or 0 */
    char dir[200];                      /* node i has its data in dir/i */
    serving_script script;              /* its own: fleet.sh */
} fleet;

/* ---- all of them ------------------------------------------------------ */

/* Starts a fleet, of which the nodes get more arguments (a list that ends with
   NULL, or NULL), and waits until all follow and know each other: node 0 is the
   primary; in a cluster 0, 1, 2 are, and 3, 4, 5 their replicas. stop ends it
   in whatever state it is; a second stop does nothing. */
void fleet_start(fleet *self, fleet_kind kind, const char *const *arguments);
void fleet_stop(fleet *self);

/* ---- one of them ------------------------------------------------------ */

/* Sends a node a signal; for SIGKILL waits for its end. restart waits for the
   end of a node that is ending, and starts it with the same address, data and
   arguments: when it returns the node listens, but may still be loading. It is
   for a node that can be reached from 127.0.0.1. */
void fleet_kill(fleet *self, int node, int number);
void fleet_restart(fleet *self, int node);
void fleet_kill_sentinel(fleet *self, int sentinel, int number);
void fleet_restart_sentinel(fleet *self, int sentinel);

/* Whether its process is there, be it stopped. */
bool fleet_runs(const fleet *self, int node);

/* One command, as redisCommand has it, on a connection of its own: its reply,
   for freeReplyObject, or NULL when there is none within two seconds. */
redisReply *fleet_ask(const fleet *self, int node, const char *format, ...);
redisReply *fleet_ask_sentinel(const fleet *self, int sentinel,
                               const char *format, ...);

/* The value of a setting, by GRAPH.CONFIG GET: a number. */
long long fleet_setting(const fleet *self, int node, const char *name);

/* A connection to it whose commands may take ten seconds; NULL: it cannot be
   had. */
redisContext *fleet_client(const fleet *self, int node);

/* The node with this address; -1: none. */
int fleet_find(const fleet *self, const char *host, int port);

/* ---- who is who ------------------------------------------------------- */

/* The node that two sentinels at least name as the primary; -1: none. */
int fleet_primary(const fleet *self);

/* The node that owns the slot, as another (-1: the first that answers) sees it;
   -1: none, or no answer. slot: the one of a graph. */
int fleet_owner(const fleet *self, int asked, int slot);
int fleet_slot(const fleet *self, const char *graph);

/* Moves a slot, and the keys in it, from its owner to another primary, as it is
   done by hand, while clients are at work: they are told MOVED or ASK, and what
   waits in the owner's queue is answered "Encountered an empty key ..." and not
   run. (A graph of which thousands of nodes were deleted ends the node that
   takes it, when it is moved a second time: FalkorDB 4.16.3.) */
void fleet_move_slot(const fleet *self, int slot, int from, int to);

/* Makes a replica of a cluster the owner of what its primary has, which is not
   asked (CLUSTER FAILOVER TAKEOVER), and waits until it is. Asked, a primary
   that is just writing ends with an assertion: Valkey 8.0.1 with FalkorDB. */
void fleet_promote(const fleet *self, int replica);

/* The replica that follows this node of a cluster; -1: none runs. */
int fleet_replica(const fleet *self, int node);

/* Whether all that run are at one: there is one primary, which the other nodes
   follow with their link up, and each sentinel says so and sees nobody down; in
   a cluster all say that it is whole and name the same three owners, each of
   which has its replica, unless a node does not run. await asserts that it
   becomes so. */
bool fleet_settled(const fleet *self);
void fleet_await_settled(const fleet *self);
#endif
