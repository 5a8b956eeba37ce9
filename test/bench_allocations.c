/* E10: how often a small query allocates, its result read and freed. malloc
   and its like are this program's own, in front of glibc's, and count the calls
   of the one thread that is being watched; which costs something, so that the
   instructions are counted in another program. */
#include "costs.h"
#include <stdio.h>
#include <stdlib.h>

/* glibc's own, for a program that defines malloc itself. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static _Thread_local bool watched;
static _Thread_local int taken;

void *malloc(size_t size) {
    taken += watched;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    taken += watched;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    taken += watched;
    return __libc_realloc(block, size);
}

static void measure(const char *id, int which, double at_most) {
    const costs_work *work = &costs_works[which];
    int count = (int)bench_short(6000);
    char what[64];
    costs c;
    snprintf(what, sizeof what, "allocations of %s", work->what);
    costs_begin(&c, work);
    taken = 0;
    watched = true;
    for (int i = 0; i < count; i++)
        work->once(&c);
    watched = false;
    costs_end(&c);
    bench_value(&(bench_row){.id = id, .work = what, .unit = "calls",
                             .at_most = at_most}, (double)taken / count);
}

int main(void) {
    measure("E10-acquire", COSTS_ACQUIRE, BENCH_NONE);
    measure("E10-query", COSTS_QUERY, 2);
    measure("E10-read", COSTS_READ, 2);
    measure("E10-hiredis", COSTS_HIREDIS, 0);
    return 0;
}
