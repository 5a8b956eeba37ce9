/* E5: decoding measured against hiredis' reply reader, as decoding.h does it.
   Needs no server; a word picks the rows whose names begin with it. */
#include "bench.h"
#include "decoding.h"
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* repeats: replies that one round decodes. memory: the row's name, or NULL. */
typedef struct kind {
    const char *id, *what, *memory;
    reply_text (*make)(int rows);
    int rows, repeats;
    double at_least;
} kind;

static const kind kinds[] = {
    {"E5-nodes", "50 000 nodes of 5 properties", "E5-memory", replies_nodes,
     50000, 1, 12},
    {"E5-scalars", "50 000 rows of 3 scalars", NULL, replies_scalars, 50000, 1,
     6},
    {"E5-paths", "20 000 paths of 3 nodes", NULL, replies_paths, 20000, 1, 0},
    {"E5-lists", "20 000 rows of a list and a map", NULL, replies_lists, 20000,
     1, 0},
    {"E5-vectors", "1 000 vectors of 384", NULL, replies_vectors, 1000, 1, 0},
    {"E5-ten", "10 rows of 3 scalars", NULL, replies_scalars, 10, 2000, 0},
    {"E5-one", "RETURN 1", NULL, replies_one, 1, 5000, 0}};

static void measure(const kind *k) {
    double a[BENCH_PAIRS], b[BENCH_PAIRS], c[BENCH_PAIRS], d[BENCH_PAIRS];
    char what[64];
    reply_text t = k->make(k->rows);
    bool both = decoding_hiredis_reads(&t);
    for (int i = 0; i < BENCH_PAIRS; i++) {
        decoding_figures their = {1, 1};
        decoding_figures our = decoding_in_child(&decoding_ours, &t,
                                                 k->repeats);
        if (both)
            their = decoding_in_child(&decoding_hiredis, &t, k->repeats);
        a[i] = k->rows / our.seconds;
        b[i] = k->rows / their.seconds;
        c[i] = our.bytes / 1e6;
        d[i] = their.bytes / 1e6;
    }
    snprintf(what, sizeof what, both ? "%s" : "%s; hiredis %d.%d cannot",
             k->what, HIREDIS_MAJOR, HIREDIS_MINOR);
    bench_row row = {k->id, what, "rows/s", both ? "hiredis' reply tree" : NULL,
                     k->at_least, 0};
    bench_row memory = {k->memory, "memory held by them", "MB", row.peer, 0,
                        0.25};
    if (both)
        bench_pairs(&row, a, b, BENCH_PAIRS);
    else
        bench_value(&row, bench_median(a, BENCH_PAIRS));
    if (both && k->memory)
        bench_pairs(&memory, c, d, BENCH_PAIRS);
    bench_note("%s: %.1f MB, %.0f MB/s", k->what, (double)t.length / 1e6,
               (double)t.length / 1e6 * bench_median(a, BENCH_PAIRS) / k->rows);
    free(t.bytes);
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (argc < 2 || strncmp(kinds[i].id, argv[1], strlen(argv[1])) == 0)
            measure(&kinds[i]);
    return 0;
}
