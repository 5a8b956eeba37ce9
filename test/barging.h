/* The pool that everybody writes first, for ours to be held against: one mutex,
   one condition variable, a stack. Who comes when a connection is free takes
   it, whoever waits: it barges. It has what makes such a pool fast and nothing
   else: no deadline, no check, no reset, no statistics, no word to who is
   next. Its connections are any driver's, opened at once. */
#ifndef FALKOR_TEST_BARGING_H
#define FALKOR_TEST_BARGING_H
#include "../pool.h"

typedef struct barging barging;

/* Opens so many connections; NULL, with error's message, where one cannot be
   opened. */
barging *barging_open(const falkor_driver *driver, void *ctx, int size,
                      falkor_error *error);

/* A connection's handle, waiting as long as that takes, and back. */
void *barging_get(barging *pool);
void barging_put(barging *pool, void *handle);

/* All are back. */
void barging_free(barging *pool);
#endif
