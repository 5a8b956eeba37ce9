/* A proxy between a pool and its server that does to their bytes what a network
   can: delays, drips and loses them, cuts and resets connections, accepts and
   stays mute, or answers in the server's place. It never duplicates. */
#ifndef FALKOR_TEST_PROXY_H
#define FALKOR_TEST_PROXY_H
#include "testing.h"
#include <stdatomic.h>

typedef struct proxy {
    /* What it does, changed at any time by any thread. A step passes on what
       one end has sent: all that is there, or a chunk of it. */
    atomic_int reply_chunk, request_chunk;  /* bytes a step; 0: as they come */
    atomic_int step_ms;         /* before each step; 0: at once */
    atomic_int cut_replies;     /* so many replies end the connection */
    atomic_int cut_requests;    /* so many requests do, and never arrive */
    atomic_bool cut_hard;       /* by RST */
    atomic_int lost_replies;    /* so many replies get lost, and all that */
    atomic_int lost_requests;   /* comes behind them; so many requests do */
    atomic_bool deaf;           /* which are read no further than that */
    atomic_int percent;         /* of the first step of what is cut or lost,
                                   which arrives */
    atomic_bool mute;           /* accepts, and never answers */
    atomic_int answers;         /* so many requests are answered with answer, */
    atomic_int spared;          /* after so many that are not */
    _Atomic(const char *) answer;
    _Atomic(const char *) only; /* all that is counted befalls only requests
                                   whose first step holds it, and their
                                   replies; NULL: any */
    /* What it did. */
    atomic_int accepted, cut, lost, muted, delayed, answered, open;
    int port;
    /* Its own. */
    int target, listener, wake[2];
    pthread_t thread;
} proxy;
void proxy_start(proxy *between, int target);
void proxy_stop(proxy *between);

/* Ends every connection that it has now: hard by RST, else as any program
   does. */
void proxy_break(proxy *between, bool hard);
#endif
