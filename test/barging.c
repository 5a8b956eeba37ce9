/* See barging.h. */
#include "barging.h"
#include <pthread.h>
#include <stdlib.h>

struct barging {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    const falkor_driver *driver;
    void *ctx;
    int idle;
    void *stack[];
};

static void close_all(barging *pool) {
    while (pool->idle > 0)
        pool->driver->close(pool->ctx, pool->stack[--pool->idle]);
}

barging *barging_open(const falkor_driver *driver, void *ctx, int size,
                      falkor_error *error) {
    barging *pool = malloc(sizeof *pool + (size_t)size * sizeof(void *));
    if (!pool)
        return NULL;
    *pool = (barging){.driver = driver, .ctx = ctx};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->freed, NULL);
    while (pool->idle < size &&
           !driver->open(ctx, INT64_MAX, &pool->stack[pool->idle], error))
        pool->idle++;
    if (pool->idle == size)
        return pool;
    close_all(pool);
    free(pool);
    return NULL;
}

void *barging_get(barging *pool) {
    pthread_mutex_lock(&pool->mutex);
    while (pool->idle == 0)
        pthread_cond_wait(&pool->freed, &pool->mutex);
    void *handle = pool->stack[--pool->idle];
    pthread_mutex_unlock(&pool->mutex);
    return handle;
}

/* Signalled without the lock: whom that wakes does not run into it. */
void barging_put(barging *pool, void *handle) {
    pthread_mutex_lock(&pool->mutex);
    pool->stack[pool->idle++] = handle;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_signal(&pool->freed);
}

void barging_free(barging *pool) {
    close_all(pool);
    pthread_cond_destroy(&pool->freed);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
