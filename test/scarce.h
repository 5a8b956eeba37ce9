/* A machine that runs out: of memory, threads, locks and condition variables.
   Works for what is linked into the program itself, which is the library and
   the tests, and only where the linker wraps the calls (the Makefile's list of
   test_memory): shared libraries and the C library have what they want, but
   for hiredis from 1.0 on, which asks here too. */
#ifndef FALKOR_SCARCE_H
#define FALKOR_SCARCE_H
#include "testing.h"

/* Whose calls count: those of the thread that calls scarce_begin, or those of
   all others. */
typedef enum scarce_who { SCARCE_MINE, SCARCE_OTHERS } scarce_who;

/* From now on the n-th such call fails (1: the next), and with all those behind
   it too. end returns how many have failed. */
void scarce_begin(scarce_who who, int n, bool all);
int scarce_end(void);

/* How many have failed so far, since begin. */
int scarce_failures(void);

/* Blocks of memory that were taken and are not given back. */
long scarce_live(void);
#endif
