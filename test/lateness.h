/* How far calls overrun their deadlines, and how much of it is the machine's:
   what a thread waits for a processor is no call's fault, and where a
   metronome's ticks come late the whole machine was. */
#ifndef FALKOR_TEST_LATENESS_H
#define FALKOR_TEST_LATENESS_H
#include "testing.h"

/* One call of the calling thread: clock_in, the call, clock_out. */
typedef struct late_call {
    int64_t begin_ns, starved_ns;
} late_call;

/* The calls of one thread. All zero at first. */
typedef struct late_book {
    int64_t calls, late;        /* late: by more than 50 ms */
    int64_t worst_ns;
    int64_t own_ns;             /* the worst, without the thread's starving */
    falkor_error own;           /* what that one was told */
} late_book;

void late_clock_in(late_call *call);
void late_clock_out(late_book *book, const late_call *call, int deadline_ms,
                    const falkor_error *error);
void late_add(late_book *sum, const late_book *book);

/* The metronome, once in a process: from begin to end, which returns the worst
   lateness of a tick. */
void late_begin(void);
int64_t late_end(void);

/* Prints a line; in the main thread, after late_end: no call overran its
   deadline by a second, or by a second more than a tick was late. */
void late_check(const late_book *sum, int64_t tick_ns);
#endif
