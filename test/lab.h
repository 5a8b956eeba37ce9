/* The fault lab: a private server that keeps what it acknowledges (an AOF,
   written at every write), a proxy before it, and every fault that the two can
   be made to have, one at a time, on command. It goes on by conditions: a fault
   lasts until it was seen to do something, then a little longer, and is taken
   back. Everything random comes from one seed.

   All of it is for the main thread, and asserts. */
#ifndef FALKOR_TEST_LAB_H
#define FALKOR_TEST_LAB_H
#include "serving.h"

#define LAB_FAULTS(X)                                                          \
    X(DELAY, delay, "delay")                        /* of the network: */      \
    X(DRIP, drip, "drip")                           /* by bytes */             \
    X(CUT_REQUEST, cut_request, "cut request")      /* anywhere in it */       \
    X(CUT_REPLY, cut_reply, "cut reply")                                       \
    X(RESET, reset, "reset")                        /* RST */                  \
    X(SWALLOW, swallow, "swallow")                  /* taken, not passed on */ \
    X(MUTE, mute, "mute")                           /* accepts, and is mute */ \
    X(DROP, drop, "drop")                           /* packets get lost */     \
    X(KILL, kill, "client kill")                    /* of the server: */       \
    X(PAUSE, pause, "client pause")                                            \
    X(MAXCLIENTS, maxclients, "maxclients")         /* below the pool's size */\
    X(PASSWORD, password, "requirepass")                                       \
    X(REPLICA, replica, "replicaof")                /* of nobody */            \
    X(STOP, stop, "stop")                           /* SIGSTOP, SIGCONT */     \
    X(CRASH, crash, "crash")                        /* SIGKILL; a new start */

typedef enum lab_fault {
#define LAB_FAULT_ENTRY(name, function, text) LAB_##name,
    LAB_FAULTS(LAB_FAULT_ENTRY)
#undef LAB_FAULT_ENTRY
    LAB_FAULT_COUNT
} lab_fault;

typedef struct lab {
    serving server;
    proxy between;              /* what a pool is to dial */
    redisContext *client;       /* ours: let in, and spared */
    uint64_t random;
    lab_fault order[LAB_FAULT_COUNT];
    int next, rounds;           /* of order; rounds begun */
    int struck[LAB_FAULT_COUNT];
} lab;

/* Moves the process into a network of its own, where packets can be lost;
   before anything else. Prints a note where that cannot be had: then there is
   no LAB_DROP. */
void lab_enter(void);

void lab_start(lab *self, uint64_t seed);
void lab_stop(lab *self);

/* The next fault, from one shuffled round of all of them after the other. */
lab_fault lab_next(lab *self);

/* One fault, from its begin to its end. There must be load, so that it is
   met. */
void lab_strike(lab *self, lab_fault fault);

/* How often the rarest fault that can be had here was struck; a line with all
   of them. */
int lab_least(const lab *self);
void lab_print(const lab *self);
#endif
