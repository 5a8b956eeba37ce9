/* What scribes were told, brought together, and compared with what is there:
   the graph is read whole. For each thread of a run:

   - A write that was acknowledged, and is to last, is there once; one that is
     not to last, at most once. One that failed without maybe_executed is not
     there, one with it at most once. Nothing else is there, and nothing in
     part.

   All of it is for the main thread, and asserts. */
#ifndef FALKOR_TEST_LEDGER_H
#define FALKOR_TEST_LEDGER_H
#include "scribe.h"

enum { LEDGER_MOST = 50 };              /* threads */

typedef struct ledger {
    scribes all;                /* its pool is the caller's */
    scribe each[LEDGER_MOST];
    int threads;
    test_threads running;
    int found[SCRIBE_OUTCOMES][2][2];   /* writes: by lasts, by being there */
} ledger;

/* Fills the graph with what is to be there before there is more than one
   thread, and starts the threads. self->all has its pool by then. */
void ledger_begin(ledger *self, int threads, uint64_t random);

/* Waits until every thread has had so many good answers from now on, or there
   is a complaint. */
void ledger_await_good(ledger *self, int least);

/* Ends the threads. compare then reads all that is there, prints the counts and
   fails the test for what is wrong. free is for the end. */
void ledger_stop(ledger *self);
void ledger_compare(ledger *self);
void ledger_add_lateness(const ledger *self, late_book *sum);
void ledger_free(ledger *self);
#endif
