/* What the benchmark programs share: sides that take turns, medians of their
   ratios, and one row of the table for each comparison. A program prints its
   rows as they come; where BENCH_ROWS names a file they are put behind it too,
   for test/bench.sh to make the table and build/bench.json of. Nothing here
   judges a program: a goal that is missed is a row that says so. */
#ifndef FALKOR_BENCH_H
#define FALKOR_BENCH_H
#include "../pool.h"

#define BENCH_PAIRS 5                   /* of turns, A B A B ... */
#define BENCH_MOST_PAIRS 64

/* A row. The ratio is ours over theirs: a rate is better when that is higher,
   a cost when it is lower. */
typedef struct bench_row {
    const char *id;             /* unique: the requirement, a dash, which */
    const char *work;           /* "acquire and release, 8 threads" */
    const char *unit;           /* of both: "ns", "queries/s" */
    const char *peer;           /* NULL: none */
    double at_least, at_most;   /* the goal, of the ratio, or of ours where
                                   there is no peer; both 0: no goal */
} bench_row;
#define BENCH_NONE (-1.0)               /* at_most: not a single one */

/* A side does its work once, over the time or the count it thinks right, and
   returns the figure. */
typedef double bench_side(void *context);

/* Both sides in turn, once to warm up and so many times; the row has the
   medians of both and of the pairs' ratios, with the lowest and the highest.
   Many short turns say more on a machine that others use too. */
void bench_compare(const bench_row *row, bench_side *ours, bench_side *theirs,
                   void *context, int pairs);

/* The same for figures that were taken otherwise, in pairs. */
void bench_pairs(const bench_row *row, const double *ours,
                 const double *theirs, int pairs);

/* A figure without a peer. */
void bench_value(const bench_row *row, double ours);

/* A peer that cannot be had on this machine, and why. */
void bench_absent(const bench_row *row, const char *why);

/* `make bench-quick` (BENCH_QUICK=1): a tenth of a span or a count. */
bool bench_quick(void);
int64_t bench_short(int64_t full);

/* For the head of the table: the server that the pool talks to. */
void bench_about(falkor_pool *pool);

/* Progress, on standard error; and the end, with a message. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void bench_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

double bench_median(double *figures, int count);        /* sorts them */

/* The value below which so many percent of the sorted figures lie. */
double bench_percentile(const double *sorted, size_t count, double percent);
void bench_sort(double *figures, size_t count);

/* Options for the server of FALKORDB_URL. */
falkor_options bench_options(void);

/* A pool that is open, or the end. */
falkor_pool *bench_pool(const falkor_options *options);
#endif
