/* A thread layer for simulations, in the place of pthreads
   (FALKOR_SYNC_HEADER): tens of thousands of fibres on one thread, and a clock
   that jumps to the next moment at which one of them has something to do.
   Nothing sleeps, and the same program does the same each time. sched.h is for
   the order of steps, with few threads and every interleaving; here a fibre
   goes on until it waits, and time is what counts. */
#ifndef FALKOR_TEST_FIBRES_H
#define FALKOR_TEST_FIBRES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef struct fibre fibre;
typedef struct falkor__mutex { bool held; } falkor__mutex;
typedef struct falkor__cond { fibre *first, *last; } falkor__cond;
typedef struct falkor__gong { falkor__cond cond; bool struck; } falkor__gong;
typedef struct falkor__thread { fibre *fibre; } falkor__thread;

/* Room for so many fibres at once, with stacks of so many bytes, at the moment
   1 s; end wants all but the caller to be over. A mistake (no room, or all
   wait for ever) ends the process with a message. */
void fibres_begin(int most, size_t stack_bytes);
void fibres_end(void);

fibre *fibre_start(void *(*run)(void *), void *argument);
void fibre_join(fibre *joined);
unsigned fibre_number(void);            /* of the one that runs, from 0 */
int64_t fibre_now_ns(void);
void fibre_sleep_until(int64_t until_ns);

/* Waits until woken or until the deadline, which is false (INT64_MAX: none). */
bool fibre_wait(falkor__cond *cond, int64_t deadline_ns);
void fibre_wake(falkor__cond *cond, bool all);

/* A mutex is never waited for, since nobody waits with one held: it is only
   proved to be so. */
void fibre_lock(falkor__mutex *mutex);
void fibre_unlock(falkor__mutex *mutex);

/* ---- the backend ------------------------------------------------------ */

#define FALKOR__POINT() ((void)0)
static inline unsigned falkor__thread_hint(unsigned limit) {
    return fibre_number() & (limit - 1);
}
static inline int64_t falkor__clock_ns(clockid_t clock) {
    (void)clock;
    return fibre_now_ns();
}
static inline bool falkor__mutex_init(falkor__mutex *mutex) {
    mutex->held = false;
    return true;
}
static inline void falkor__mutex_destroy(falkor__mutex *mutex) {
    (void)mutex;
}
static inline void falkor__mutex_lock(falkor__mutex *mutex) {
    fibre_lock(mutex);
}
static inline void falkor__mutex_unlock(falkor__mutex *mutex) {
    fibre_unlock(mutex);
}
static inline bool falkor__cond_init(falkor__cond *cond) {
    *cond = (falkor__cond){NULL, NULL};
    return true;
}
static inline void falkor__cond_destroy(falkor__cond *cond) {
    (void)cond;
}
static inline void falkor__cond_signal(falkor__cond *cond) {
    fibre_wake(cond, false);
}
static inline void falkor__cond_broadcast(falkor__cond *cond) {
    fibre_wake(cond, true);
}
static inline bool falkor__cond_wait(falkor__cond *cond, falkor__mutex *mutex,
                                     int64_t deadline_ns) {
    fibre_unlock(mutex);
    bool woken = fibre_wait(cond, deadline_ns);
    fibre_lock(mutex);
    return woken;
}
static inline bool falkor__gong_init(falkor__gong *gong) {
    *gong = (falkor__gong){.struck = false};
    return true;
}
static inline void falkor__gong_destroy(falkor__gong *gong) {
    (void)gong;
}
static inline void falkor__gong_strike(falkor__gong *gong) {
    gong->struck = true;
    fibre_wake(&gong->cond, true);
}
static inline bool falkor__gong_wait(falkor__gong *gong, int64_t deadline_ns) {
    while (!gong->struck && fibre_wait(&gong->cond, deadline_ns))
        continue;
    return gong->struck;
}
static inline bool falkor__thread_create(falkor__thread *thread,
                                         void *(*run)(void *),
                                         void *argument) {
    thread->fibre = fibre_start(run, argument);
    return true;
}
static inline void falkor__thread_join(falkor__thread *thread) {
    fibre_join(thread->fibre);
}
#endif
