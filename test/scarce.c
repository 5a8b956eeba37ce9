/* Calls that fail when they are told to: see scarce.h. */
#include "scarce.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <threads.h>

static atomic_int left;                 /* calls, up to the one that fails */
static atomic_bool counts, goes_on;
static atomic_int failures;
static atomic_long live;
static scarce_who whose;
static pthread_t beginner;

static bool fails(void) {
    if (!atomic_load(&counts) ||
        (pthread_equal(pthread_self(), beginner) != 0) !=
            (whose == SCARCE_MINE))
        return false;
    int before = atomic_fetch_sub(&left, 1);
    if (before != 1 && !(before < 1 && atomic_load(&goes_on)))
        return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static void *taken(void *block) {
    atomic_fetch_add(&live, block != NULL);
    return block;
}

/* ---- memory ----------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *block);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : taken(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : taken(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size) {
    if (fails())
        return NULL;
    void *moved = __real_realloc(block, size);
    return block ? moved : taken(moved);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : taken(__real_strdup(text));
}

void __wrap_free(void *block) {
    atomic_fetch_sub(&live, block != NULL);
    __real_free(block);
}

/* ---- threads and what they wait on ------------------------------------ */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument);
int __real_pthread_mutex_init(pthread_mutex_t *mutex,
                              const pthread_mutexattr_t *attributes);
int __real_pthread_cond_init(pthread_cond_t *cond,
                             const pthread_condattr_t *attributes);
int __real_pthread_atfork(void (*before)(void), void (*parent)(void),
                          void (*child)(void));
int __real_thrd_create(thrd_t *thread, thrd_start_t run, void *argument);
int __real_mtx_init(mtx_t *mutex, int type);
int __real_cnd_init(cnd_t *cond);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex,
                              const pthread_mutexattr_t *attributes);
int __wrap_pthread_cond_init(pthread_cond_t *cond,
                             const pthread_condattr_t *attributes);
int __wrap_pthread_atfork(void (*before)(void), void (*parent)(void),
                          void (*child)(void));
int __wrap_thrd_create(thrd_t *thread, thrd_start_t run, void *argument);
int __wrap_mtx_init(mtx_t *mutex, int type);
int __wrap_cnd_init(cnd_t *cond);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument) {
    return fails() ? EAGAIN
        : __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex,
                              const pthread_mutexattr_t *attributes) {
    return fails() ? ENOMEM : __real_pthread_mutex_init(mutex, attributes);
}

int __wrap_pthread_cond_init(pthread_cond_t *cond,
                             const pthread_condattr_t *attributes) {
    return fails() ? ENOMEM : __real_pthread_cond_init(cond, attributes);
}

int __wrap_pthread_atfork(void (*before)(void), void (*parent)(void),
                          void (*child)(void)) {
    return fails() ? ENOMEM : __real_pthread_atfork(before, parent, child);
}

int __wrap_thrd_create(thrd_t *thread, thrd_start_t run, void *argument) {
    return fails() ? thrd_nomem : __real_thrd_create(thread, run, argument);
}

int __wrap_mtx_init(mtx_t *mutex, int type) {
    return fails() ? thrd_error : __real_mtx_init(mutex, type);
}

int __wrap_cnd_init(cnd_t *cond) {
    return fails() ? thrd_nomem : __real_cnd_init(cond);
}

/* ---- the tests' side -------------------------------------------------- */

#if HIREDIS_MAJOR >= 1
__attribute__((constructor)) static void ask_here(void) {
    hiredisSetAllocators(&(hiredisAllocFuncs){.mallocFn = __wrap_malloc,
        .callocFn = __wrap_calloc, .reallocFn = __wrap_realloc,
        .strdupFn = __wrap_strdup, .freeFn = __wrap_free});
}
#endif

void scarce_begin(scarce_who who, int n, bool all) {
    whose = who;
    beginner = pthread_self();
    atomic_store(&goes_on, all);
    atomic_store(&failures, 0);
    atomic_store(&left, n);
    atomic_store(&counts, true);
}

int scarce_end(void) {
    atomic_store(&counts, false);
    return atomic_load(&failures);
}

int scarce_failures(void) {
    return atomic_load(&failures);
}

long scarce_live(void) {
    return atomic_load(&live);
}
