/* The pool under load, measured on a server (requirement E7) as rush.h does it.
   Who barges gets the same number of queries done, but for whom is a matter of
   luck. */
#include "bench.h"
#include "rush.h"

#define PAIRS 15                        /* of turns */
#define TURN_MS (bench_quick() ? 200 : 400)

enum { P50, P99, MOST, RATE, SHARES, FIGURES };

#define PEER .peer = "barging stack"
static const bench_row rows[FIGURES] = {
    [P99] = {.id = "E7-p99", PEER, .at_most = 0.5, .unit = "ms",
             .work = "wait, 50 threads on 5 connections: p99"},
    [RATE] = {.id = "E7-throughput", PEER, .at_least = 0.95,
              .unit = "queries/s", .work = "the same: RETURN 1"},
    [P50] = {.id = "E7-p50", PEER, .unit = "ms",
             .work = "the same: median wait"},
    [MOST] = {.id = "E7-max", PEER, .unit = "ms",
              .work = "the same: longest wait"},
    [SHARES] = {.id = "E7-shares", PEER, .unit = "to 1",
                .work = "the same: busiest thread to idlest"}};

static void take_turn(rush *r, rush_side side, double *figures) {
    rush_turn t = rush_take(r, side, TURN_MS);
    figures[P50] = bench_percentile(t.waits_ms, t.count, 50);
    figures[P99] = bench_percentile(t.waits_ms, t.count, 99);
    figures[MOST] = t.waits_ms[t.count - 1];
    figures[RATE] = (double)t.count / t.seconds;
    figures[SHARES] = (double)t.most / (t.least > 0 ? t.least : 1);
}

/* Many short turns: what else the machine does changes from second to
   second. */
static void measure(rush *r) {
    static const int order[] = {P99, RATE, P50, MOST, SHARES};
    static double a[FIGURES][PAIRS], b[FIGURES][PAIRS];
    double figures[FIGURES];
    int pairs = bench_quick() ? BENCH_PAIRS : PAIRS;
    for (int i = -1; i < pairs; i++) {          /* -1: to warm up */
        take_turn(r, RUSH_OURS, figures);
        for (int k = 0; k < FIGURES && i >= 0; k++)
            a[k][i] = figures[k];
        take_turn(r, RUSH_BARGING, figures);
        for (int k = 0; k < FIGURES && i >= 0; k++)
            b[k][i] = figures[k];
    }
    for (int i = 0; i < FIGURES; i++)
        bench_pairs(&rows[order[i]], a[order[i]], b[order[i]], pairs);
}

int main(void) {
    static rush r;
    if (!rush_begin(&r)) {
        for (int i = 0; i < FIGURES; i++)
            bench_absent(&rows[i], "FALKORDB_URL is not just host and port");
        return 0;
    }
    measure(&r);
    rush_end(&r);
    return 0;
}
