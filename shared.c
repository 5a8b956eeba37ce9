/* Shared pools: one for each configuration in this process, with a count of
   its users. The list's mutex is held for looking only: never for making,
   opening or freeing a pool. */
#include "call.h"
#include <pthread.h>
#ifndef FALKOR_WITHOUT_URLS

static pthread_mutex_t falkor__shared_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t falkor__shared_once = PTHREAD_ONCE_INIT;
static falkor_pool *falkor__shared;

static void falkor__before_shared_forks(void *object) {
    pthread_mutex_lock(object);
}

static void falkor__shared_has_forked(void *object, bool child) {
    (void)child;
    pthread_mutex_unlock(object);
}

/* For the life of the process. */
static void falkor__guard_shared(void) {
    static falkor__guard guard;
    falkor__guard_add(&guard, &falkor__shared_mutex,
                      falkor__before_shared_forks, falkor__shared_has_forked);
}

/* The shared pool of a configuration, with one user more. */
static falkor_pool *falkor__find_shared_locked(const falkor__config *config) {
    falkor_pool *pool = falkor__shared;
    for (; pool; pool = falkor__client_of(pool)->next_shared)
        if (falkor__config_same(falkor__pool_config(pool), config) &&
            !falkor__pool_is_closed(pool))
            break;
    if (pool)
        falkor__client_of(pool)->users++;
    return pool;
}

/* Whether somebody else uses the pool that one user frees. */
bool falkor__still_shared(falkor_pool *pool) {
    falkor__client *client = falkor__client_of(pool);
    falkor_pool **at = &falkor__shared;
    pthread_mutex_lock(&falkor__shared_mutex);
    bool shared = client->users > 0;
    bool others = shared && --client->users > 0;
    while (shared && !others && *at != pool)
        at = &falkor__client_of(*at)->next_shared;
    if (shared && !others)
        *at = client->next_shared;
    pthread_mutex_unlock(&falkor__shared_mutex);
    return others;
}

/* Puts a new pool among the shared ones, unless somebody else has meanwhile. */
static falkor_pool *falkor__put_shared(falkor_pool *made,
                                       const falkor__config *config) {
    falkor__client *client = falkor__client_of(made);
    pthread_mutex_lock(&falkor__shared_mutex);
    falkor_pool *pool = falkor__find_shared_locked(config);
    if (!pool) {
        client->users = 1;
        client->next_shared = falkor__shared;
        falkor__shared = pool = made;
    }
    pthread_mutex_unlock(&falkor__shared_mutex);
    if (pool != made)
        falkor_pool_free(made);
    return pool;
}

/* Finds or makes it; there is no I/O in that. */
static falkor_status falkor__join_shared(const falkor_options *options,
                                         falkor_pool **pool,
                                         falkor_error *error) {
    falkor__config config;
    falkor_status status = falkor__guards_begin()
        ? falkor__config_make(options, &config, error)
        : falkor__no_memory(error, "out of memory for a pool");
    if (status)
        return status;
    pthread_once(&falkor__shared_once, falkor__guard_shared);
    pthread_mutex_lock(&falkor__shared_mutex);
    *pool = falkor__find_shared_locked(&config);
    pthread_mutex_unlock(&falkor__shared_mutex);
    if (!*pool && !(status = falkor_pool_create(options, pool, error)))
        *pool = falkor__put_shared(*pool, &config);
    falkor__config_free(&config);
    return status;
}

static falkor_status falkor__open_shared(const falkor_options *options,
                                         falkor_pool **pool,
                                         falkor_error *error) {
    falkor_status status = falkor__join_shared(options, pool, error);
    if (!status && (status = falkor_pool_open(*pool, error)) != FALKOR_OK) {
        falkor_pool_free(*pool);
        *pool = NULL;
    }
    return status;
}

falkor_status falkor_pool_shared(const char *url, falkor_pool **pool,
                                 falkor_error *error) {
    falkor_options options = {.url = url};
    falkor__error_clear(error);
    if (!pool)
        return falkor__refuse(error, "pool is NULL");
    *pool = NULL;
    falkor_status status = url ? FALKOR_OK
        : falkor_options_from_env(&options, error);
    if (status)
        return status;
    do
        status = falkor__open_shared(&options, pool, error);
    while (status == FALKOR_ERR_CLOSED);    /* by another user, just now */
    return status;
}
#endif
