/* Levers for an emergency: pause and resume, flush, drop_idle. What they mean
   for those who acquire and release stands in pool.c. A pool that stands for
   others pulls theirs too. */
#include "books.h"

typedef falkor_status (*falkor__lever)(falkor_pool *pool);

/* Pulls a lever of those that the pool stands for. One that was closed alone is
   none of the caller's. */
static falkor_status falkor__pull_all(falkor_pool *pool, falkor__lever lever) {
    falkor_pool *member;
    for (size_t i = 0; FALKOR__FRONTS && pool->front &&
         (member = pool->front->member(pool->front_self, i, NULL)); i++)
        lever(member);
    return FALKOR_OK;
}

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
    return falkor__pull_all(pool, falkor_pool_pause);
}

falkor_status falkor_pool_resume(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    pool->paused = false;
    falkor__serve_locked(pool);
    falkor__unlock(pool);
    return falkor__pull_all(pool, falkor_pool_resume);
}

/* Every idle connection is older than a generation that begins now. */
falkor_status falkor_pool_flush(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    pool->generation++;
    falkor__close_idle_locked(pool, "flush");
    falkor__unlock(pool);
    return falkor__pull_all(pool, falkor_pool_flush);
}

falkor_status falkor_pool_drop_idle(falkor_pool *pool) {
    falkor_status status = falkor__grip(pool);
    if (status)
        return status;
    falkor__close_idle_locked(pool, "drop_idle");
    falkor__unlock(pool);
    return falkor__pull_all(pool, falkor_pool_drop_idle);
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
bool falkor__pool_is_paused(falkor_pool *pool) {
    falkor__lock(pool);
    bool paused = pool->paused;
    falkor__unlock(pool);
    return paused;
}

void falkor__pool_rest(falkor_pool *pool, bool rest) {
    falkor__lock(pool);
    bool changes = pool->resting != rest &&
                   pool->state != FALKOR__POOL_CLOSED;
    pool->resting = rest;
    if (changes && rest)
        falkor__close_idle_locked(pool, "rest");
    if (changes)
        falkor__cond_signal(&pool->work);
    falkor__unlock(pool);
}
#endif
