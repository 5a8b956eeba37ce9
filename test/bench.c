/* See bench.h. */
#include "bench.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures ----------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_sort(double *figures, size_t count) {
    qsort(figures, count, sizeof *figures, by_size);
}

double bench_median(double *figures, int count) {
    bench_sort(figures, (size_t)count);
    return count % 2 ? figures[count / 2]
                     : (figures[count / 2 - 1] + figures[count / 2]) / 2;
}

double bench_percentile(const double *sorted, size_t count, double percent) {
    double rank = ceil(percent / 100 * (double)count);
    return count == 0 ? 0 : sorted[rank < 1 ? 0 : (size_t)rank - 1];
}

bool bench_quick(void) {
    const char *quick = getenv("BENCH_QUICK");
    return quick && *quick && *quick != '0';
}

int64_t bench_short(int64_t full) {
    return !bench_quick() ? full : full < 10 ? 1 : full / 10;
}

/* ---- rows -------------------------------------------------------------- */

static void say(const char *format, va_list arguments) {
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void bench_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void bench_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("bench: ", stderr);
    say(format, arguments);
    va_end(arguments);
    exit(1);
}

static void record(const char *line) {
    const char *path = getenv("BENCH_ROWS");
    FILE *rows = path ? fopen(path, "a") : NULL;
    if (path && (!rows || fputs(line, rows) < 0 || fclose(rows)))
        bench_fail("%s (BENCH_ROWS) cannot be written", path);
}

/* id, work, unit, ours, peer, theirs, ratio, lowest, highest, goal, met, why
   absent: between tabs, "-" for what there is not. */
static void put_row(const bench_row *row, const double *figures,
                    const char *absent) {
    static const char *const words[] = {"no", "yes", "-"};
    static const char *const said[] = {"MISSED", "met", ""};
    char goal[32] = "-", line[1024], theirs[128] = "-\t-\t-\t-", ours[32] = "-";
    double judged = absent ? 0 : figures[row->peer ? 2 : 0];
    double at_most = row->at_most == BENCH_NONE ? 0 : row->at_most;
    int met = absent || (row->at_least == 0 && row->at_most == 0) ? 2
        : row->at_least != 0 ? judged >= row->at_least : judged <= at_most;
    if (row->at_least != 0 || row->at_most != 0)
        snprintf(goal, sizeof goal, "%s %g",
                 row->at_least != 0 ? ">=" : "<=", row->at_least + at_most);
    if (!absent)
        snprintf(ours, sizeof ours, "%.6g", figures[0]);
    if (!absent && row->peer)
        snprintf(theirs, sizeof theirs, "%.6g\t%.4g\t%.4g\t%.4g", figures[1],
                 figures[2], figures[3], figures[4]);
    snprintf(line, sizeof line, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
             row->id, row->work, row->unit, ours,
             row->peer ? row->peer : "-", theirs, goal, words[met],
             absent ? absent : "-");
    record(line);
    if (absent)
        printf("%-14s %-44s %s is absent: %s\n", row->id, row->work,
               row->peer, absent);
    else if (row->peer)
        printf("%-14s %-44s %10.6g %-9s %s %.6g, ratio %.3g (%.3g to %.3g) "
               "%s %s\n", row->id, row->work, figures[0], row->unit,
               row->peer, figures[1], figures[2], figures[3], figures[4],
               met == 2 ? "" : goal, said[met]);
    else
        printf("%-14s %-44s %10.6g %-9s %s %s\n", row->id, row->work,
               figures[0], row->unit, met == 2 ? "" : goal, said[met]);
    fflush(stdout);
}

void bench_pairs(const bench_row *row, const double *ours,
                 const double *theirs, int pairs) {
    double a[BENCH_MOST_PAIRS], b[BENCH_MOST_PAIRS], r[BENCH_MOST_PAIRS];
    for (int i = 0; i < pairs; i++) {
        a[i] = ours[i];
        b[i] = theirs[i];
        r[i] = ours[i] / theirs[i];
    }
    double middle = bench_median(r, pairs);
    put_row(row, (double[]){bench_median(a, pairs), bench_median(b, pairs),
                            middle, r[0], r[pairs - 1]}, NULL);
}

void bench_compare(const bench_row *row, bench_side *ours, bench_side *theirs,
                   void *context, int pairs) {
    double a[BENCH_MOST_PAIRS], b[BENCH_MOST_PAIRS];
    ours(context);
    theirs(context);
    for (int i = 0; i < pairs; i++) {
        a[i] = ours(context);
        b[i] = theirs(context);
    }
    bench_pairs(row, a, b, pairs);
}

void bench_value(const bench_row *row, double ours) {
    put_row(row, (double[]){ours}, NULL);
}

void bench_absent(const bench_row *row, const char *why) {
    put_row(row, NULL, why);
}

/* ---- the server -------------------------------------------------------- */

falkor_options bench_options(void) {
    const char *url = getenv("FALKORDB_URL");
    if (!url)
        bench_fail("FALKORDB_URL is not set: test/server.sh run %s",
                   "build/test/bench_...");
    return (falkor_options){.url = url};
}

falkor_pool *bench_pool(const falkor_options *options) {
    falkor_error error;
    falkor_pool *pool = NULL;
    if (falkor_pool_create(options, &pool, &error) ||
        falkor_pool_open(pool, &error))
        bench_fail("%s", error.message);
    return pool;
}

/* The words behind a name in a reply to INFO, to the end of the line. */
static void find_line(const char *info, const char *name, char *found,
                      size_t size) {
    const char *at = strstr(info, name);
    snprintf(found, size, "%.*s", at ? (int)strcspn(at + strlen(name), "\r\n")
                                     : 1, at ? at + strlen(name) : "?");
}

void bench_about(falkor_pool *pool) {
    falkor_result *result;
    falkor_error error;
    char version[64], module[64], line[256];
    if (falkor_command(pool, NULL, 2,
                       (const char *[]){"INFO", "everything"}, NULL, &result, &error))
        bench_fail("%s", error.message);
    const char *info = falkor_result_value(result, 0, 0)->as.string;
    find_line(info, strstr(info, "valkey_version:") ? "valkey_version:"
                                                    : "redis_version:",
              version, sizeof version);
    find_line(info, "name=graph,ver=", module, sizeof module);
    int number = atoi(module);          /* 41603 */
    snprintf(line, sizeof line, "server\t%s %s, FalkorDB %d.%d.%d\n",
             strstr(info, "valkey_version:") ? "Valkey" : "Redis", version,
             number / 10000, number / 100 % 100, number % 100);
    falkor_result_free(result);
    record(line);
}
