/* Calls in a hurry: 50 threads on a pool of 20, each call with a deadline of 0
   to 20 ms of its own, on a server that has more to do than it can. Each comes
   back by its deadline, with its own token or an error that says why not, and
   in the end every connection is back. */
#ifndef FALKOR_TEST_DEADLINES_H
#define FALKOR_TEST_DEADLINES_H

/* So many calls of all threads together. */
void deadlines_run(int calls);
#endif
