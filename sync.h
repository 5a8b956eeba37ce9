/* The thread layer: mutex, condition variable, thread and clock, in the few
   forms that the library uses. Everything else in the library goes through
   here, so that another backend needs no other change. Timed waits count on
   the monotonic clock. */
#ifndef FALKOR_SYNC_H
#define FALKOR_SYNC_H
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#ifndef CLOCK_MONOTONIC
#error "include pool.h with FALKORPOOL_IMPLEMENTATION before any system header"
#endif

typedef struct falkor__mutex { pthread_mutex_t native; } falkor__mutex;
typedef struct falkor__cond { pthread_cond_t native; } falkor__cond;
typedef struct falkor__thread { pthread_t native; } falkor__thread;

#define FALKOR__NS_PER_MS INT64_C(1000000)
#define FALKOR__NEVER INT64_MAX         /* a deadline that does not come */

/* The coarse clock has steps of about 4 ms and costs a seventh of the other:
   good for idle times. */
#ifdef CLOCK_MONOTONIC_COARSE
#define FALKOR__COARSE_CLOCK CLOCK_MONOTONIC_COARSE
#else
#define FALKOR__COARSE_CLOCK CLOCK_MONOTONIC
#endif

static inline int64_t falkor__clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t falkor__coarse_ns(void) {
    return falkor__clock_ns(FALKOR__COARSE_CLOCK);
}

static inline bool falkor__mutex_init(falkor__mutex *mutex) {
    return pthread_mutex_init(&mutex->native, NULL) == 0;
}
static inline void falkor__mutex_destroy(falkor__mutex *mutex) {
    pthread_mutex_destroy(&mutex->native);
}
static inline void falkor__mutex_lock(falkor__mutex *mutex) {
    pthread_mutex_lock(&mutex->native);
}
static inline void falkor__mutex_unlock(falkor__mutex *mutex) {
    pthread_mutex_unlock(&mutex->native);
}

static inline bool falkor__cond_init(falkor__cond *cond) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    bool made = pthread_cond_init(&cond->native, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return made;
}
static inline void falkor__cond_destroy(falkor__cond *cond) {
    pthread_cond_destroy(&cond->native);
}
static inline void falkor__cond_signal(falkor__cond *cond) {
    pthread_cond_signal(&cond->native);
}
static inline void falkor__cond_broadcast(falkor__cond *cond) {
    pthread_cond_broadcast(&cond->native);
}

/* Waits until signalled or until the deadline (FALKOR__NEVER: none); may wake
   for no reason. Returns false when the deadline has passed. */
static inline bool falkor__cond_wait(falkor__cond *cond, falkor__mutex *mutex,
                                     int64_t deadline_ns) {
    if (deadline_ns == FALKOR__NEVER)
        return pthread_cond_wait(&cond->native, &mutex->native) == 0;
#ifdef __APPLE__
    int64_t left = deadline_ns - falkor__clock_ns(CLOCK_MONOTONIC);
    if (left <= 0)
        return false;
    struct timespec span = {.tv_sec = (time_t)(left / 1000000000),
                            .tv_nsec = (long)(left % 1000000000)};
    return pthread_cond_timedwait_relative_np(&cond->native, &mutex->native,
                                              &span) != ETIMEDOUT;
#else
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                             .tv_nsec = (long)(deadline_ns % 1000000000)};
    return pthread_cond_timedwait(&cond->native, &mutex->native, &until)
           != ETIMEDOUT;
#endif
}

/* Starts a thread that receives no signal: the program's handlers run in the
   program's own threads. */
static inline bool falkor__thread_start(falkor__thread *thread,
                                        void *(*run)(void *), void *argument) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started =
        pthread_create(&thread->native, NULL, run, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}
static inline void falkor__thread_join(falkor__thread *thread) {
    pthread_join(thread->native, NULL);
}
#endif
