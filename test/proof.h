/* The proof: threads write numbered nodes and edges through one pool and read
   them back while the lab does its worst; afterwards the graph is read whole
   and compared with what the threads were told.

   - A write that was acknowledged is there once, one that failed without
     maybe_executed is not there, one with it at most once; nothing else is
     there. What a thread reads back meanwhile agrees with that too.
   - Every reply carries the token of the call that asked for it.
   - No call ends a second after its deadline, 99.9 % within 50 ms.
   - The pool is whole: every connection is in one place, all can be taken, and
     the server knows of no more.

   It goes on for so many seconds (FALKOR_PROOF_SECONDS overrides them), and
   until each fault that can be had was struck so often. */
#ifndef FALKOR_TEST_PROOF_H
#define FALKOR_TEST_PROOF_H

void proof_run(int seconds, int times);
#endif
