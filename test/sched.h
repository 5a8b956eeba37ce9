/* A thread layer for tests, in the place of pthreads (FALKOR_SYNC_HEADER): one
   thread runs at a time, and at each step of the lock layer the scheduler
   chooses who goes on. Threads are fibers, time is a number. A run is a list
   of choices, so that it can be repeated, and all runs can be tried. */
#ifndef FALKOR_TEST_SCHED_H
#define FALKOR_TEST_SCHED_H
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct falkor__mutex { int owner; } falkor__mutex;  /* 0: nobody */
typedef struct falkor__cond { int users; } falkor__cond;
typedef struct falkor__thread { int number; } falkor__thread;

void sched_lock(falkor__mutex *mutex);
void sched_unlock(falkor__mutex *mutex);
bool sched_wait(falkor__cond *cond, falkor__mutex *mutex, int64_t deadline_ns);
void sched_wake(falkor__cond *cond, bool all);
int sched_spawn(void *(*run)(void *), void *argument);
void sched_join(int number);

/* A step at which another thread may go on. */
void sched_point(void);
int64_t sched_now_ns(void);

/* The thread that runs, from 1. */
int sched_self(void);

/* Whether falkor__thread_hint tells threads apart. */
extern bool sched_hints;

/* ---- runs ------------------------------------------------------------- */

/* What is tried: setup runs first, by itself; then bodies at the same time;
   then teardown, by itself. check runs whenever a lock is given back. A body's
   failure is told by sched_fail. */
#define SCHED_BODIES 6
typedef struct sched_scenario {
    const char *name;
    void (*setup)(void);
    void (*bodies[SCHED_BODIES])(void);
    void (*teardown)(void);
    void (*check)(void);
} sched_scenario;

void sched_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* Tries all schedules with at most so many preemptions (a thread that could
   have gone on has to wait), at most limit of them; returns how many. *whole:
   there were no more. */
long sched_explore(const sched_scenario *scenario, int preemptions, long limit,
                   bool *whole);

/* Tries so many at random. */
void sched_random(const sched_scenario *scenario, uint64_t seed, long runs);

/* Repeats the one schedule that a failure has printed. */
void sched_replay(const sched_scenario *scenario, const char *schedule);

/* ---- the backend ------------------------------------------------------ */

#define FALKOR__POINT() sched_point()
static inline unsigned falkor__thread_hint(unsigned limit) {
    return sched_hints ? (unsigned)sched_self() & (limit - 1) : 0;
}
static inline int64_t falkor__clock_ns(clockid_t clock) {
    (void)clock;
    return sched_now_ns();
}
static inline bool falkor__mutex_init(falkor__mutex *mutex) {
    mutex->owner = 0;
    return true;
}
static inline void falkor__mutex_destroy(falkor__mutex *mutex) {
    (void)mutex;
}
static inline void falkor__mutex_lock(falkor__mutex *mutex) {
    sched_lock(mutex);
}
static inline void falkor__mutex_unlock(falkor__mutex *mutex) {
    sched_unlock(mutex);
}
static inline bool falkor__cond_init(falkor__cond *cond) {
    cond->users = 0;
    return true;
}
static inline void falkor__cond_destroy(falkor__cond *cond) {
    (void)cond;
}
static inline void falkor__cond_signal(falkor__cond *cond) {
    sched_wake(cond, false);
}
static inline void falkor__cond_broadcast(falkor__cond *cond) {
    sched_wake(cond, true);
}
static inline bool falkor__cond_wait(falkor__cond *cond, falkor__mutex *mutex,
                                     int64_t deadline_ns) {
    return sched_wait(cond, mutex, deadline_ns);
}
/* The mutex is for sched_wait alone: nobody else takes it. */
typedef struct falkor__gong {
    falkor__mutex mutex;
    falkor__cond cond;
    bool struck;
} falkor__gong;

static inline bool falkor__gong_init(falkor__gong *gong) {
    *gong = (falkor__gong){.struck = false};
    return true;
}
static inline void falkor__gong_destroy(falkor__gong *gong) {
    (void)gong;
}
static inline void falkor__gong_strike(falkor__gong *gong) {
    sched_point();
    gong->struck = true;
    sched_wake(&gong->cond, true);
}
static inline bool falkor__gong_wait(falkor__gong *gong, int64_t deadline_ns) {
    gong->mutex.owner = sched_self();
    while (!gong->struck && sched_wait(&gong->cond, &gong->mutex, deadline_ns))
        continue;
    gong->mutex.owner = 0;
    return gong->struck;
}
static inline bool falkor__thread_create(falkor__thread *thread,
                                         void *(*run)(void *),
                                         void *argument) {
    thread->number = sched_spawn(run, argument);
    return true;
}
static inline void falkor__thread_join(falkor__thread *thread) {
    sched_join(thread->number);
}
#endif
