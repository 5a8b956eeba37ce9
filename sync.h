/* The thread layer: mutex, condition variable, thread and clock, in the few
   forms that the library uses. Everything else in the library goes through
   here. Two backends: pthreads, whose timed waits count on the monotonic
   clock, and C11 <threads.h> (FALKOR_C11_THREADS), whose timed wait counts on
   the wall clock: a step of that clock makes such a wait longer or shorter.
   FALKOR_SYNC_HEADER names a third: the tests' scheduler, or your own. It
   defines what a backend below does, FALKOR__POINT, falkor__thread_hint and
   falkor__clock_ns. */
#ifndef FALKOR_SYNC_H
#define FALKOR_SYNC_H
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifndef CLOCK_MONOTONIC
#error "a system header came before sync.h without _GNU_SOURCE: no clocks"
#endif

#define FALKOR__NS_PER_MS INT64_C(1000000)
#define FALKOR__NS_PER_S INT64_C(1000000000)
#define FALKOR__NEVER INT64_MAX         /* a deadline that does not come */

/* The coarse clock has steps of about 4 ms and costs a seventh of the other:
   good for idle times. */
#ifdef CLOCK_MONOTONIC_COARSE
#define FALKOR__COARSE_CLOCK CLOCK_MONOTONIC_COARSE
#else
#define FALKOR__COARSE_CLOCK CLOCK_MONOTONIC
#endif

/* For clang -Wthread-safety (make static): which locks a function takes or
   gives back, which must be held to call it, and what is LOCKED: to be touched
   with a lock only. UNCHECKED: it cannot follow, and why stands beside. */
#ifdef FALKOR_CHECK_LOCKS
#define FALKOR__LOCK __attribute__((capability("mutex")))
#define FALKOR__TAKES(lock) __attribute__((acquire_capability(lock)))
#define FALKOR__TAKES_IF(result, lock) \
    __attribute__((try_acquire_capability(result, lock)))
#define FALKOR__GIVES(lock) __attribute__((release_capability(lock)))
#define FALKOR__HOLDS(lock) __attribute__((requires_capability(lock)))
#define FALKOR__LOCKED __attribute__((guarded_var))
#define FALKOR__UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define FALKOR__LOCK
#define FALKOR__TAKES(lock)
#define FALKOR__TAKES_IF(result, lock)
#define FALKOR__GIVES(lock)
#define FALKOR__HOLDS(lock)
#define FALKOR__LOCKED
#define FALKOR__UNCHECKED
#endif

#ifdef FALKOR_SYNC_HEADER
#include FALKOR_SYNC_HEADER
#else
#define FALKOR__POINT() ((void)0)       /* before a step without the lock */

/* A number below limit, a power of two, that is this thread's most of the time
   and another's seldom: its stack lies elsewhere. */
static inline unsigned falkor__thread_hint(unsigned limit) {
#ifdef __GNUC__                         /* AddressSanitizer moves variables */
    uint64_t stack = (uint64_t)(uintptr_t)__builtin_frame_address(0) >> 16;
#else
    char here;
    uint64_t stack = (uint64_t)(uintptr_t)&here >> 16;
#endif
    return (unsigned)(stack * UINT64_C(0x9E3779B97F4A7C15) >> 40) & (limit - 1);
}

static inline int64_t falkor__clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * FALKOR__NS_PER_S + now.tv_nsec;
}
#endif

static inline int64_t falkor__coarse_ns(void) {
    return falkor__clock_ns(FALKOR__COARSE_CLOCK);
}

static inline struct timespec falkor__timespec(int64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / FALKOR__NS_PER_S),
                             .tv_nsec = (long)(ns % FALKOR__NS_PER_S)};
}

#ifdef FALKOR_SYNC_HEADER
#elif defined(FALKOR_C11_THREADS)
/* ---- C11 -------------------------------------------------------------- */
#include <stdlib.h>
#include <threads.h>

typedef struct FALKOR__LOCK falkor__mutex {
    mtx_t native;
} falkor__mutex;
typedef struct falkor__cond { cnd_t native; } falkor__cond;
typedef struct falkor__thread { thrd_t native; } falkor__thread;

static inline bool falkor__mutex_init(falkor__mutex *mutex) {
    return mtx_init(&mutex->native, mtx_plain) == thrd_success;
}
static inline void falkor__mutex_destroy(falkor__mutex *mutex) {
    mtx_destroy(&mutex->native);
}
static inline void falkor__mutex_lock(falkor__mutex *mutex)
    FALKOR__TAKES(*mutex) FALKOR__UNCHECKED {   /* the C library's own */
    mtx_lock(&mutex->native);
}
static inline void falkor__mutex_unlock(falkor__mutex *mutex)
    FALKOR__GIVES(*mutex) FALKOR__UNCHECKED {
    mtx_unlock(&mutex->native);
}

static inline bool falkor__cond_init(falkor__cond *cond) {
    return cnd_init(&cond->native) == thrd_success;
}
static inline void falkor__cond_destroy(falkor__cond *cond) {
    cnd_destroy(&cond->native);
}
static inline void falkor__cond_signal(falkor__cond *cond) {
    cnd_signal(&cond->native);
}
static inline void falkor__cond_broadcast(falkor__cond *cond) {
    cnd_broadcast(&cond->native);
}

/* Waits until signalled or until the deadline (FALKOR__NEVER: none); may wake
   for no reason. Returns false when the deadline has passed. */
static inline bool falkor__cond_wait(falkor__cond *cond, falkor__mutex *mutex,
                                     int64_t deadline_ns)
    FALKOR__HOLDS(*mutex) {
    if (deadline_ns == FALKOR__NEVER)
        return cnd_wait(&cond->native, &mutex->native) == thrd_success;
    int64_t left = deadline_ns - falkor__clock_ns(CLOCK_MONOTONIC);
    if (left <= 0)
        return false;
    struct timespec wall;
    timespec_get(&wall, TIME_UTC);
    int64_t now = (int64_t)wall.tv_sec * FALKOR__NS_PER_S + wall.tv_nsec;
    wall = falkor__timespec(left < FALKOR__NEVER - now ? now + left
                                                       : FALKOR__NEVER);
    cnd_timedwait(&cond->native, &mutex->native, &wall);
    return falkor__clock_ns(CLOCK_MONOTONIC) < deadline_ns;
}

/* thrd_create wants a function that returns int: the thread's first act is to
   take this apart. */
typedef struct falkor__thread_call {
    void *(*run)(void *);
    void *argument;
} falkor__thread_call;

static inline int falkor__thread_run(void *argument) {
    falkor__thread_call call = *(falkor__thread_call *)argument;
    free(argument);
    call.run(call.argument);
    return 0;
}

static inline bool falkor__thread_create(falkor__thread *thread,
                                         void *(*run)(void *),
                                         void *argument) {
    falkor__thread_call *call = malloc(sizeof *call);
    if (!call)
        return false;
    *call = (falkor__thread_call){run, argument};
    if (thrd_create(&thread->native, falkor__thread_run, call) ==
        thrd_success)
        return true;
    free(call);
    return false;
}
static inline void falkor__thread_join(falkor__thread *thread) {
    thrd_join(thread->native, NULL);
}

#else
/* ---- pthreads --------------------------------------------------------- */
#include <pthread.h>

typedef struct FALKOR__LOCK falkor__mutex {
    pthread_mutex_t native;
} falkor__mutex;
typedef struct falkor__cond { pthread_cond_t native; } falkor__cond;
typedef struct falkor__thread { pthread_t native; } falkor__thread;

static inline bool falkor__mutex_init(falkor__mutex *mutex) {
    return pthread_mutex_init(&mutex->native, NULL) == 0;
}
static inline void falkor__mutex_destroy(falkor__mutex *mutex) {
    pthread_mutex_destroy(&mutex->native);
}
static inline void falkor__mutex_lock(falkor__mutex *mutex)
    FALKOR__TAKES(*mutex) FALKOR__UNCHECKED {   /* the C library's own */
    pthread_mutex_lock(&mutex->native);
}
static inline void falkor__mutex_unlock(falkor__mutex *mutex)
    FALKOR__GIVES(*mutex) FALKOR__UNCHECKED {
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
                                     int64_t deadline_ns)
    FALKOR__HOLDS(*mutex) {
    if (deadline_ns == FALKOR__NEVER)
        return pthread_cond_wait(&cond->native, &mutex->native) == 0;
#ifdef __APPLE__
    int64_t left = deadline_ns - falkor__clock_ns(CLOCK_MONOTONIC);
    struct timespec span = falkor__timespec(left > 0 ? left : 0);
    return pthread_cond_timedwait_relative_np(&cond->native, &mutex->native,
                                              &span) != ETIMEDOUT;
#else
    struct timespec until = falkor__timespec(deadline_ns);
    return pthread_cond_timedwait(&cond->native, &mutex->native, &until)
           != ETIMEDOUT;
#endif
}

static inline bool falkor__thread_create(falkor__thread *thread,
                                         void *(*run)(void *),
                                         void *argument) {
    return pthread_create(&thread->native, NULL, run, argument) == 0;
}
static inline void falkor__thread_join(falkor__thread *thread) {
    pthread_join(thread->native, NULL);
}
#endif

/* ---- a gong ------------------------------------------------------------ */

/* What one thread sleeps on until another strikes it, once; it may be gone as
   soon as it is struck. On Linux a word that the kernel knows: who is woken has
   no lock to run into. (Where long is 32 bits wide, SYS_futex may want another
   timespec than the C library has.) Not FALKOR_FOR_VALGRIND, which does not see
   what a futex orders. */
#if defined(__linux__) && defined(__LP64__) && !defined(FALKOR_C11_THREADS) && \
    !defined(FALKOR_SYNC_HEADER) && defined(SYS_futex) && \
    !defined(FALKOR_FOR_VALGRIND)
#include <stdatomic.h>

typedef struct falkor__gong { atomic_uint word; } falkor__gong;
enum { FALKOR__GONG_SILENT, FALKOR__GONG_SLEEPS, FALKOR__GONG_STRUCK };

/* Of <linux/futex.h>, which a C library need not bring (musl): within this
   process; a wait until a moment of the monotonic clock. */
enum { FALKOR__FUTEX_WAKE = 1 | 128, FALKOR__FUTEX_WAIT = 9 | 128 };
#define FALKOR__FUTEX_ANY 0xffffffffU

static inline bool falkor__gong_init(falkor__gong *gong) {
    atomic_init(&gong->word, FALKOR__GONG_SILENT);
    return true;
}
static inline void falkor__gong_destroy(falkor__gong *gong) {
    (void)gong;
}

/* Touches nothing but the address once the word is written. */
static inline void falkor__gong_strike(falkor__gong *gong) {
    if (atomic_exchange(&gong->word, FALKOR__GONG_STRUCK) ==
        FALKOR__GONG_SLEEPS)
        syscall(SYS_futex, &gong->word, FALKOR__FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Waits until struck, or until the deadline (FALKOR__NEVER: none); false: the
   deadline has passed before. */
static inline bool falkor__gong_wait(falkor__gong *gong, int64_t deadline_ns) {
    struct timespec until = falkor__timespec(deadline_ns);
    bool late = false;                  /* or there are no futexes here */
    unsigned silent = FALKOR__GONG_SILENT;
    atomic_compare_exchange_strong(&gong->word, &silent, FALKOR__GONG_SLEEPS);
    while (atomic_load(&gong->word) != FALKOR__GONG_STRUCK && !late)
        late = syscall(SYS_futex, &gong->word, FALKOR__FUTEX_WAIT,
                       FALKOR__GONG_SLEEPS,
                       deadline_ns == FALKOR__NEVER ? NULL : &until, NULL,
                       FALKOR__FUTEX_ANY) != 0 &&
               errno != EINTR && errno != EAGAIN;
    return atomic_load(&gong->word) == FALKOR__GONG_STRUCK;
}
#elif !defined(FALKOR_SYNC_HEADER)
typedef struct falkor__gong {
    falkor__mutex mutex;
    falkor__cond cond;
    bool struck;
} falkor__gong;

static inline bool falkor__gong_init(falkor__gong *gong) {
    gong->struck = false;
    if (!falkor__mutex_init(&gong->mutex))
        return false;
    bool made = falkor__cond_init(&gong->cond);
    if (!made)
        falkor__mutex_destroy(&gong->mutex);
    return made;
}
static inline void falkor__gong_destroy(falkor__gong *gong) {
    falkor__cond_destroy(&gong->cond);
    falkor__mutex_destroy(&gong->mutex);
}
static inline void falkor__gong_strike(falkor__gong *gong) {
    falkor__mutex_lock(&gong->mutex);
    gong->struck = true;
    falkor__cond_signal(&gong->cond);
    falkor__mutex_unlock(&gong->mutex);
}
static inline bool falkor__gong_wait(falkor__gong *gong, int64_t deadline_ns) {
    falkor__mutex_lock(&gong->mutex);
    while (!gong->struck &&
           falkor__cond_wait(&gong->cond, &gong->mutex, deadline_ns))
        continue;
    bool struck = gong->struck;
    falkor__mutex_unlock(&gong->mutex);
    return struck;
}
#endif

/* ---- both ------------------------------------------------------------- */

/* The number that tools (ps, gdb, perf) know this thread by, where the system
   has one. */
static inline unsigned long falkor__thread_number(void) {
#ifdef SYS_gettid
    return (unsigned long)syscall(SYS_gettid);
#else
    return (unsigned long)(uintptr_t)pthread_self();
#endif
}

/* Starts a thread that receives no signal: the program's handlers run in the
   program's own threads. */
static inline bool falkor__thread_start(falkor__thread *thread,
                                        void *(*run)(void *), void *argument) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = falkor__thread_create(thread, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}
#endif
