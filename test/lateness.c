/* Overruns of deadlines: see lateness.h. */
#include "lateness.h"
#include <inttypes.h>
#include <stdatomic.h>

enum { TICK_MS = 5 };
#define MS INT64_C(1000000)

/* How long the calling thread was ready to run and waited for a processor, in
   all; 0 where the kernel does not tell. */
static int64_t starved_ns(void) {
    int64_t ran, starved = 0;
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%" SCNd64 " %" SCNd64, &ran, &starved) != 2)
        starved = 0;
    fclose(file);
    return starved;
}

void late_clock_in(late_call *call) {
    call->starved_ns = starved_ns();
    call->begin_ns = falkor_now_ns();
}

void late_clock_out(late_book *book, const late_call *call, int deadline_ms,
                    const falkor_error *error) {
    int64_t over = falkor_now_ns() - call->begin_ns - deadline_ms * MS;
    int64_t own = over - (starved_ns() - call->starved_ns);
    book->calls++;
    book->late += over > 50 * MS;
    if (over > book->worst_ns)
        book->worst_ns = over;
    if (own > book->own_ns) {
        book->own_ns = own;
        book->own = *error;
    }
}

void late_add(late_book *sum, const late_book *book) {
    sum->calls += book->calls;
    sum->late += book->late;
    if (book->worst_ns > sum->worst_ns)
        sum->worst_ns = book->worst_ns;
    if (book->own_ns > sum->own_ns) {
        sum->own_ns = book->own_ns;
        sum->own = book->own;
    }
}

/* ---- the metronome ---------------------------------------------------- */

static pthread_t metronome;
static atomic_bool stopped;
static int64_t worst_tick_ns;           /* the metronome's until it ended */

static void *tick(void *unused) {
    int64_t last = falkor_now_ns();
    while (!atomic_load(&stopped)) {
        test_pause_ms(TICK_MS);
        int64_t now = falkor_now_ns();
        if (now - last - TICK_MS * MS > worst_tick_ns)
            worst_tick_ns = now - last - TICK_MS * MS;
        last = now;
    }
    return unused;
}

void late_begin(void) {
    worst_tick_ns = 0;
    atomic_store(&stopped, false);
    assert_int_equal(pthread_create(&metronome, NULL, tick, NULL), 0);
}

int64_t late_end(void) {
    atomic_store(&stopped, true);
    pthread_join(metronome, NULL);
    return worst_tick_ns;
}

void late_check(const late_book *sum, int64_t tick_ns) {
    printf("count: %" PRId64 " calls, %.4f %% back within 50 ms of their "
           "deadline, worst overrun %.1f ms, %.1f ms without what its thread "
           "waited for a processor; a tick was late by %.1f ms\n", sum->calls,
           100.0 * (double)(sum->calls - sum->late) / (double)sum->calls,
           (double)sum->worst_ns / MS, (double)sum->own_ns / MS,
           (double)tick_ns / MS);
    if (sum->own_ns >= 1000 * MS + tick_ns)
        fail_msg("a call overran its deadline: %s: %s",
                 falkor_status_name(sum->own.status), sum->own.message);
}
