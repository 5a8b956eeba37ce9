/* The figures of `make bench-plots`, for test/plots.sh to draw: throughput over
   threads, the waits of 50 threads for 5 connections, decoding over rows. Each
   is a file of a folder that is named on the command line, its columns between
   tabs under their names. It measures with what the benchmarks measure with;
   who is measured takes turns with the others. */
#include "bench.h"
#include "decoding.h"
#include "rush.h"
#include "sides.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL 20
#define TURNS 5                         /* of decoding */
#define TURN_NS INT64_C(250000000)
#define RUSH_TURNS 8
#define RUSH_TURN_MS 400
#define ROWS_OF_ROUND 20000             /* that one round decodes, or more */

static FILE *begin_file(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.tsv", folder, name);
    FILE *file = fopen(path, "w");
    if (!file)
        bench_fail("%s cannot be written", path);
    return file;
}

static void end_file(FILE *file) {
    if (ferror(file) | fclose(file))
        bench_fail("a file cannot be written");
}

/* The median with the lowest and the highest; "?" for who is not there. */
static void put_spread(FILE *file, double *figures, int count) {
    double middle = bench_median(figures, count);
    if (figures[0] > 0)
        fprintf(file, "\t%.6g\t%.6g\t%.6g", middle, figures[0],
                figures[count - 1]);
    else
        fputs("\t?\t?\t?", file);
}

/* ---- throughput over threads ------------------------------------------- */

typedef struct subject {
    const char *name;
    double (*job)(void *question, int thread);  /* NULL: the Node client */
    int connections;                            /* of that, at most */
} subject;

static const subject subjects[] = {
    {"falkorpool, pool of 20", question_pooled, 0},
    {"hiredis, connection per thread", question_own, 0},
    {"hiredis, connection per query", question_anew, 0},
    {"hiredis, one shared connection", question_shared, 0},
    {"up to 20 Node clients", NULL, POOL},
    {"Node client, one connection", NULL, 1}};
#define SUBJECTS ((int)(sizeof subjects / sizeof *subjects))
_Static_assert(SUBJECTS == 6, "see measure_threads and test/plots.gnuplot");

typedef struct field {
    question question;
    peer node;
    int64_t turn_ns;
} field;

static double rate(field *f, const subject *s, int threads) {
    load l = {.threads = threads, .span_ns = f->turn_ns, .job = s->job,
              .context = &f->question};
    if (s->job)
        return load_run(&l);
    return node_rate(&f->node, f->turn_ns, threads < s->connections
                     ? threads : s->connections, threads);
}

/* SUBJECTS + 1 is a prime: in so many turns each stands once in each place and
   comes once behind each other, whose last work may still slow it. */
static void measure_threads(field *f, FILE *file, int threads) {
    double figures[SUBJECTS][SUBJECTS];
    for (int i = 0; i < SUBJECTS; i++)
        rate(f, &subjects[i], threads);         /* to warm up */
    for (int turn = 1; turn <= SUBJECTS; turn++)
        for (int i = 1; i <= SUBJECTS; i++) {
            int at = turn * i % (SUBJECTS + 1) - 1;
            figures[at][turn - 1] = rate(f, &subjects[at], threads);
        }
    fprintf(file, "%d", threads);
    for (int i = 0; i < SUBJECTS; i++)
        put_spread(file, figures[i], SUBJECTS);
    fputc('\n', file);
}

static void put_names(FILE *file, bool node) {
    fputs("threads", file);
    for (int i = 0; i < SUBJECTS; i++)
        fprintf(file, "\t%s%s\tlowest\thighest", subjects[i].name,
                node || subjects[i].job ? "" : ", absent");
    fputc('\n', file);
}

static void throughput(const char *folder) {
    static const int threads[] = {1, 2, 4, 8, 20, 50};
    static field f = {.question.cypher = "RETURN 1"};
    FILE *file = begin_file(folder, "throughput");
    falkor_options options = bench_options();
    options.max_size = POOL;
    falkor_pool *pool = bench_pool(&options);
    f.turn_ns = bench_short(TURN_NS);
    bench_about(pool);
    question_begin(&f.question, pool);
    f.node = node_start();
    bool node = node_rate(&f.node, f.turn_ns, 1, 1) > 0;
    put_names(file, node);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        bench_note("throughput: %d threads", threads[i]);
        measure_threads(&f, file, threads[i]);
    }
    question_end(&f.question);
    falkor_pool_free(pool);
    if (peer_end(&f.node) != 0 && node)
        bench_fail("test/bench_node.mjs failed");
    end_file(file);
}

/* ---- waits ------------------------------------------------------------- */

typedef struct waits {
    double *ms, seconds;
    size_t count;
} waits;

static void add_turn(waits *w, const rush_turn *turn) {
    w->ms = realloc(w->ms, (w->count + turn->count) * sizeof *w->ms);
    if (!w->ms)
        bench_fail("no memory");
    memcpy(w->ms + w->count, turn->waits_ms, turn->count * sizeof *w->ms);
    w->count += turn->count;
    w->seconds += turn->seconds;
}

/* A block of the file: how many nines a percentile has (1 for 90 %, 2 for
   99 %, ...), and the wait, to the longest one. */
static void put_waits(FILE *file, waits *w, const char *name) {
    double last = log10((double)w->count);
    bench_sort(w->ms, w->count);
    fprintf(file, "nines\t%s: %.0f queries/s, longest wait %.3g ms\n", name,
            (double)w->count / w->seconds, w->ms[w->count - 1]);
    for (int i = 0; i * 0.02 < last; i++)
        fprintf(file, "%.2f\t%.6g\n", i * 0.02, bench_percentile(w->ms,
                w->count, 100 * (1 - pow(10, -i * 0.02))));
    fprintf(file, "%.4f\t%.6g\n\n\n", last, w->ms[w->count - 1]);
    free(w->ms);
}

static void waiting(const char *folder) {
    static rush r;
    static const char *const names[] = {"falkorpool",
                                        "mutex, condition variable, stack"};
    waits w[2] = {0};
    FILE *file = begin_file(folder, "waits");
    if (!rush_begin(&r))
        bench_fail("FALKORDB_URL is not just host and port");
    for (int turn = -1; turn < RUSH_TURNS; turn++) {    /* -1: to warm up */
        bench_note("waits: turn %d of %d", turn + 1, RUSH_TURNS);
        for (int i = 0; i < 2; i++) {
            rush_side side = (turn + i) % 2 ? RUSH_BARGING : RUSH_OURS;
            rush_turn found = rush_take(&r, side, bench_short(RUSH_TURN_MS));
            if (turn >= 0)
                add_turn(&w[side], &found);
        }
    }
    rush_end(&r);
    for (int i = 0; i < 2; i++)
        put_waits(file, &w[i], names[i]);
    end_file(file);
}

/* ---- decoding over rows ------------------------------------------------ */

static void decode_rows(FILE *file, int rows) {
    double ours[TURNS], theirs[TURNS];
    int repeats = rows < ROWS_OF_ROUND ? ROWS_OF_ROUND / rows : 1;
    reply_text text = replies_nodes(rows);
    for (int i = 0; i < TURNS; i++) {
        ours[i] = decoding_in_child(&decoding_ours, &text, repeats).seconds;
        theirs[i] = decoding_in_child(&decoding_hiredis, &text,
                                      repeats).seconds;
    }
    free(text.bytes);
    fprintf(file, "%d", rows);
    put_spread(file, ours, TURNS);
    put_spread(file, theirs, TURNS);
    fputc('\n', file);
}

static void decode(const char *folder) {
    FILE *file = begin_file(folder, "decode");
    fprintf(file, "rows\tfalkorpool, typed values\tlowest\thighest\t"
            "hiredis %d.%d, its reply tree\tlowest\thighest\n", HIREDIS_MAJOR,
            HIREDIS_MINOR);
    for (int rows = 1; rows <= 100000; rows *= 10) {
        bench_note("decoding: %d rows", rows);
        fflush(file);                   /* before the children have it too */
        decode_rows(file, rows);
    }
    end_file(file);
}

int main(int argc, char **argv) {
    if (argc != 2)
        bench_fail("usage: plot_curves FOLDER");
    decode(argv[1]);
    waiting(argv[1]);
    throughput(argv[1]);
    return 0;
}
