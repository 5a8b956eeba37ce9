/* Levers for an emergency: pause and resume, flush, drop_idle. What they mean
   for those who acquire and release stands in pool.c. */
#include "books.h"

/* Takes the lock for a lever; false, without it, when there is none to pull. */
static falkor_status falkor__grip(falkor_pool *pool)
    FALKOR__TAKES_IF(FALKOR_OK, pool->mutex) {
    if (!pool)
        return FALKOR_ERR_ARGUMENT;
    falkor__lock(pool);
    if (pool->state != FALKOR__POOL_CLOSED)
        return FALKOR_OK;
    falkor__unlock(pool);
    return FALKOR_ERR_CLOSED;
}

falkor_status falkor_pool_pause(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    pool->paused = true;
    falkor__unlock(pool);
    return FALKOR_OK;
}

falkor_status falkor_pool_resume(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    pool->paused = false;
    falkor__serve_locked(pool);
    falkor__unlock(pool);
    return FALKOR_OK;
}

/* Every idle connection is older than a generation that begins now. */
falkor_status falkor_pool_flush(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    pool->generation++;
    falkor__close_idle_locked(pool, "flush");
    falkor__unlock(pool);
    return FALKOR_OK;
}

falkor_status falkor_pool_drop_idle(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    falkor__close_idle_locked(pool, "drop_idle");
    falkor__unlock(pool);
    return FALKOR_OK;
}
