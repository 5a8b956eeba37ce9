/* A pool's life: create, open, the worker thread, close, free, and what is left
   of it in a child of fork. The worker does what is due for connections that
   nobody uses: checks them, ends old ones and those too many, and keeps
   min_size open; and it tells of holds that last too long. */
#include "books.h"
#include <stdlib.h>
#include <string.h>

#define FALKOR__FREE_WAIT_MS 10000      /* what free gives to close */
#define FALKOR__WORKER_MS 5000          /* a dial or check without a limit */

/* How many pools there are: the last one takes along what results have kept
   for the next ones. */
static atomic_int falkor__pools;

/* ---- create ----------------------------------------------------------- */

#define FALKOR__LEAST_NAP_MS 1000       /* of a worker that empties pockets */

/* Nothing that pockets keep from the eye is asked for: who holds what, or what
   has been idle for less than the worker's nap. */
static bool falkor__may_pocket(const falkor__config *config,
                               const falkor_driver *driver) {
    return FALKOR__MAY_POCKET && !falkor__seeks_leaks(config) &&
        (config->validate_after_ms < 0 || !driver->check ||
         config->validate_after_ms >= FALKOR__LEAST_NAP_MS);
}

/* All slots are free, and all pockets shut. */
static void falkor__empty_locked(falkor_pool *pool) FALKOR__HOLDS(pool->mutex) {
    pool->first_free = NULL;
    for (size_t i = 0; i < pool->slot_count; i++)
        falkor__push_free_locked(pool, &pool->slots[i]);
    for (int i = 0; i < FALKOR__POCKETS; i++)
        atomic_store(&pool->pockets[i].slot, FALKOR__SHUT);
    pool->pockets_open = false;
}

static void falkor__begin_books(falkor_pool *pool)
    FALKOR__UNCHECKED {                 /* nobody else knows it yet */
    for (size_t i = 0; i < pool->slot_count; i++) {
        falkor__slot *slot = &pool->slots[i];
        slot->pool = pool;
        slot->since_ns = FALKOR__NEVER;
        for (int j = 0; j < FALKOR__LEASES; j++)
            slot->leases[j].slot = slot;
    }
    falkor__empty_locked(pool);
#ifndef FALKOR_WITHOUT_STATISTICS
    pool->marks[pool->mark_count++].at_ns = falkor_now_ns();
#endif
}

/* ---- fork -------------------------------------------------------------- */

static void falkor__before_pool_forks(void *object)
    FALKOR__UNCHECKED {                 /* gives it back after the fork */
    falkor__mutex_lock(&((falkor_pool *)object)->mutex);
}

/* The child's pool: open as it was, but empty and without a worker; nobody
   holds or waits. A connection that was being dialled is lost to it. What the
   parent holds is refused here as long as if it had been released. */
static void falkor__begin_child_locked(falkor_pool *pool)
    FALKOR__HOLDS(pool->mutex) {
    falkor__cond_init(&pool->changed);
    falkor__cond_init(&pool->work);
    for (size_t i = 0; i < pool->slot_count; i++) {
        falkor__slot *slot = &pool->slots[i];
        if (slot->live && pool->driver->forget)
            pool->driver->forget(pool->driver_ctx, slot->handle);
        slot->live = false;
        atomic_store(&slot->timed_ns, 0);
        slot->noted = false;
        falkor__unlease_locked(slot);
    }
    pool->idle = pool->in_use = pool->connecting = pool->closing = 0;
    pool->waiting = 0;
    pool->hottest = pool->coldest = NULL;
    pool->first_waiter = pool->last_waiter = pool->decided = NULL;
    falkor__empty_locked(pool);
    if (pool->state == FALKOR__POOL_OPENING)
        pool->state = FALKOR__POOL_CREATED;
    pool->wants_worker = pool->state == FALKOR__POOL_OPEN;
    pool->has_worker = pool->warned = false;
    falkor__breaker_answer(&pool->breaker, false);
    pool->wake_ns = FALKOR__NEVER;
    pool->rests = false;
}

static void falkor__pool_has_forked(void *object, bool child)
    FALKOR__UNCHECKED {                 /* took it before the fork */
    falkor_pool *pool = object;
    if (child)
        falkor__begin_child_locked(pool);
    falkor__mutex_unlock(&pool->mutex);
}

/* ---- create: the pool itself ------------------------------------------- */

static bool falkor__stands_for_others(const falkor__config *config) {
    return FALKOR__FRONTS && (config->sentinels || config->cluster);
}

falkor_status falkor__pool_new(falkor__config *config, falkor_pool **pool,
                               falkor_error *error) {
    const falkor_allocator *heap = config->heap;
    falkor_pool *made = falkor__take_zero(heap, 1, sizeof *made);
    *pool = NULL;
    if (!made)
        goto no_pool;
    made->slot_count = falkor__stands_for_others(config) ? 1
        : (size_t)config->max_size + (size_t)config->reserve_size;
    made->slots = falkor__take_zero(heap, made->slot_count,
                                    sizeof *made->slots);
    made->recorder = falkor__take_zero(heap, 1, sizeof *made->recorder);
    if (!made->slots || !made->recorder)
        goto no_room;
    if (!falkor__mutex_init(&made->mutex))
        goto no_room;
    if (!falkor__cond_init(&made->changed))
        goto no_changed;
    if (!falkor__cond_init(&made->work))
        goto no_work;
    made->config = *config;
    made->driver = config->driver.open ? &made->config.driver
                                       : &falkor__link_driver;
    made->driver_ctx = config->driver.open ? config->driver_ctx
                                           : &made->config;
    made->has_pockets = falkor__may_pocket(config, made->driver);
    made->wake_ns = FALKOR__NEVER;
    falkor__begin_books(made);
    falkor__guard_add(&made->guard, made, falkor__before_pool_forks,
                      falkor__pool_has_forked);
    *pool = made;
    atomic_fetch_add(&falkor__pools, 1);
    return FALKOR_OK;
no_work:
    falkor__cond_destroy(&made->changed);
no_changed:
    falkor__mutex_destroy(&made->mutex);
no_room:
    falkor__give(heap, made->recorder);
    falkor__give(heap, made->slots);
    falkor__give(heap, made);
no_pool:
    falkor__config_free(config);
    return falkor__no_memory(error, "out of memory for a pool");
}

/* ---- worker ----------------------------------------------------------- */

typedef enum falkor__duty {
    FALKOR__DUTY_NONE, FALKOR__DUTY_LIFETIME, FALKOR__DUTY_FLUSH,
    FALKOR__DUTY_IDLE, FALKOR__DUTY_CHECK
} falkor__duty;

/* What is due for an idle connection now, or when the next thing will be. */
static falkor__duty falkor__duty_locked(const falkor_pool *pool,
                                        const falkor__slot *slot, int64_t now,
                                        int64_t *due_ns)
    FALKOR__HOLDS(pool->mutex) {
    const falkor__config *config = &pool->config;
    if (slot->expires_ns <= now)
        return FALKOR__DUTY_LIFETIME;
    if (slot->generation != pool->generation)   /* pocketed in that moment */
        return FALKOR__DUTY_FLUSH;
    *due_ns = falkor__sooner(*due_ns, slot->expires_ns);
    if (config->idle_timeout_ms >= 0 &&
        falkor__total(pool) > config->min_size) {
        int64_t at = slot->used_ns +
            config->idle_timeout_ms * FALKOR__NS_PER_MS;
        if (at <= now)
            return FALKOR__DUTY_IDLE;
        *due_ns = falkor__sooner(*due_ns, at);
    }
    if (config->health_check_interval_ms >= 0 && pool->driver->check) {
        int64_t at = (slot->used_ns > slot->checked_ns ? slot->used_ns
                                                       : slot->checked_ns) +
            config->health_check_interval_ms * FALKOR__NS_PER_MS;
        if (at <= now)
            return FALKOR__DUTY_CHECK;
        *due_ns = falkor__sooner(*due_ns, at);
    }
    return FALKOR__DUTY_NONE;
}

/* A dial or check of the worker ends also where connect_timeout_ms is "for
   ever": free waits for it. */
static int64_t falkor__worker_deadline(const falkor_pool *pool) {
    int timeout_ms = pool->config.connect_timeout_ms;
    return falkor__deadline(timeout_ms < 0 ? FALKOR__WORKER_MS : timeout_ms);
}

/* Does one duty on a connection taken out of the idle ones. The lock is
   released meanwhile. */
static void falkor__serve_idle_locked(falkor_pool *pool, falkor__slot *slot,
                                      falkor__duty duty)
    FALKOR__HOLDS(pool->mutex) {
    falkor__take_idle_locked(pool, slot);
    if (duty == FALKOR__DUTY_CHECK) {
        pool->connecting++;
        falkor__unlock(pool);
        bool fit = falkor__ask_slot(pool, slot, FALKOR_CHECK_DEEP,
                                    falkor__worker_deadline(pool));
        slot->checked_ns = falkor__coarse_ns();
        falkor__lock(pool);
        pool->connecting--;
        pool->health_failures += !fit;
        if (fit) {                      /* idle again; close sees to it */
            falkor__bring_back_locked(pool, slot, true);
            return;
        }
    }
    pool->connections_recycled++;
    falkor__retire_locked(pool, slot, duty == FALKOR__DUTY_LIFETIME
        ? "max_lifetime" : duty == FALKOR__DUTY_FLUSH ? "flush"
        : duty == FALKOR__DUTY_IDLE ? "idle_timeout" : "health_check");
}

/* The pause before the next probe of a circuit that is open. */
static int falkor__probe_delay_ms(falkor_pool *pool) {
    falkor__lock(pool);
    int delay_ms = pool->breaker.delay_ms;
    falkor__unlock(pool);
    return delay_ms;
}

/* The pause before the next dial towards min_size. */
static int falkor__refill_delay_ms(const falkor_pool *pool, int failures) {
    falkor__policy policy = falkor__policy_of(&pool->config);
    uint64_t seed = (uint64_t)falkor_now_ns();
    int delay_ms = falkor__backoff_ms(&policy, failures,
                                      falkor__random(&seed));
    return delay_ms > 1 ? delay_ms : 1;
}

/* Dials one connection: towards min_size, or to see whether the server is back,
   before anybody else is let in (probes). Returns the pause before the next
   try: 0 after a success. The lock is released meanwhile. */
static int falkor__refill_locked(falkor_pool *pool, int failures,
                                 bool probes) FALKOR__HOLDS(pool->mutex) {
    falkor__slot *slot = falkor__take_free_locked(pool);
    falkor_error error;
    int delay_ms = 0;
    /* No limit beside the dial's own: who gives it less is not the pool. */
    int64_t deadline_ns = pool->config.connect_timeout_ms < 0
        ? falkor__worker_deadline(pool) : FALKOR__NEVER;
    pool->connecting++;
    if (probes)
        pool->breaker.state = FALKOR_CIRCUIT_HALF_OPEN;
    falkor__unlock(pool);
    if (probes)
        falkor__event(&pool->config, &(falkor__event_head){
            .level = FALKOR_EVENT_INFO, .name = "circuit_half_open"}, "%s", "");
    falkor_status status = falkor__slot_open(pool, slot, probes,
                                             deadline_ns, &error);
    if (status) {
        delay_ms = probes ? falkor__probe_delay_ms(pool)
                          : falkor__refill_delay_ms(pool, failures + 1);
        falkor__tell_failed(pool, &error, delay_ms);
    }
    falkor__lock(pool);
    pool->connecting--;
    if (status)
        pool->connect_failures++;
    else
        pool->connections_created++;
    if (!status && falkor__total(pool) >= pool->config.max_size &&
        !pool->first_waiter) {          /* it was the reserve's */
        pool->connections_recycled++;
        falkor__retire_locked(pool, slot, "reserve");
    } else {
        falkor__bring_back_locked(pool, slot, true);
    }
    return delay_ms;
}

/* What the worker does while the circuit is open: closes what is idle, for it
   is of the time before, then probes. Returns whether it did something;
   *due_ns: when it will. The lock is released meanwhile. */
static bool falkor__mend_locked(falkor_pool *pool, int64_t now,
                                int64_t *dial_ns, int64_t *due_ns)
    FALKOR__HOLDS(pool->mutex) {
    falkor__breaker *breaker = &pool->breaker;
    if (pool->idle) {
        falkor__close_idle_locked(pool, "circuit_open");
        return true;
    }
    bool due = breaker->probe_ns <= now;
    if (due && pool->first_free) {      /* the reserve is room too */
        if (!falkor__refill_locked(pool, 0, true))
            *dial_ns = 0;
        return true;
    }
    if (due)                            /* all in use: their holders will see */
        breaker->probe_ns = now + breaker->delay_ms * FALKOR__NS_PER_MS;
    *due_ns = falkor__sooner(*due_ns, breaker->probe_ns);
    return false;
}

/* The first idle connection, from the cold end, for which something is due. */
static falkor__slot *falkor__due_locked(falkor_pool *pool, int64_t now,
                                        falkor__duty *duty, int64_t *due_ns)
    FALKOR__HOLDS(pool->mutex) {
    for (falkor__slot *slot = pool->coldest; slot; slot = slot->hotter)
        if ((*duty = falkor__duty_locked(pool, slot, now, due_ns)))
            return slot;
    return NULL;
}

/* The next holds of what is idle are timed: see falkor__time_next. */
static void falkor__time_idle_locked(falkor_pool *pool)
    FALKOR__HOLDS(pool->mutex) {
    for (falkor__slot *slot = pool->coldest; slot; slot = slot->hotter)
        falkor__time_next(slot);
}

/* A connection that becomes idle, or is acquired, while the worker sleeps has
   nothing due before the shortest of these periods is over, but for the end of
   its life, which push_idle looks at. What is in use may be in a pocket, whence
   it is taken unchecked: not for longer than validate_after_ms; and as long as
   anything is, there are marks to be made. */
static int64_t falkor__nap_locked(const falkor_pool *pool, int64_t now)
    FALKOR__HOLDS(pool->mutex) {
    const int periods[] = {pool->config.idle_timeout_ms,
                           pool->config.health_check_interval_ms,
                           falkor__seeks_leaks(&pool->config)
                               ? pool->config.leak_after_ms : -1,
                           !pool->has_pockets || !pool->driver->check ||
                           pool->rests ? -1 : pool->config.validate_after_ms,
                           !FALKOR__MARKS || pool->rests ||
                               pool->config.health.window_ms < 0
                               ? -1 : pool->config.health.window_ms / 60 + 1};
    int64_t until = FALKOR__NEVER;
    for (size_t i = 0; i < sizeof periods / sizeof *periods; i++)
        if (periods[i] >= 0)
            until = falkor__sooner(until,
                                   now + periods[i] * FALKOR__NS_PER_MS);
    return until;
}

/* The first hold that has lasted too long, or when the next one will have. */
static falkor__slot *falkor__leak_locked(const falkor_pool *pool, int64_t now,
                                         int64_t *due_ns)
    FALKOR__HOLDS(pool->mutex) {
    int after_ms = pool->config.leak_after_ms;
    if (!falkor__seeks_leaks(&pool->config))
        return NULL;
    for (size_t i = 0; i < pool->slot_count; i++) {
        falkor__slot *slot = &pool->slots[i];
        if (slot->since_ns == FALKOR__NEVER || slot->reported)
            continue;
        int64_t at = slot->since_ns + after_ms * FALKOR__NS_PER_MS;
        int state = atomic_load(&falkor__last_lease(slot)->state);
        bool held = state == FALKOR__LEASE_HELD || state == FALKOR__LEASE_CUT;
        if (at <= now && held)
            return slot;
        *due_ns = falkor__sooner(*due_ns, held ? at
                                     : now + after_ms * FALKOR__NS_PER_MS);
    }
    return NULL;
}

/* Tells once of each. The lock is released meanwhile. */
static void falkor__report_leak_locked(falkor_pool *pool, falkor__slot *slot,
                                       int64_t now) FALKOR__HOLDS(pool->mutex) {
    long long held_ms = (now - slot->since_ns) / FALKOR__NS_PER_MS;
    unsigned long thread = slot->thread;
    const char *file = slot->file;
    int line = slot->line;
    char quoted[300];
    slot->reported = true;
    falkor__unlock(pool);
    falkor__event(&pool->config, &(falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "connection_leak"},
        "held_ms=%lld thread=%lu file=%s line=%d", held_ms, thread,
        file ? falkor__quote(quoted, sizeof quoted, file) : "-", line);
    falkor__lock(pool);
}

/* The worker's life: one duty at a time, then sleep until the next. */
static void *falkor__worker(void *argument) {
    falkor_pool *pool = argument;
    int failures = 0;
    int64_t dial_ns = 0;                /* not before */
    falkor__lock(pool);
    while (pool->state != FALKOR__POOL_CLOSED) {
        falkor__collect_locked(pool);
        pool->away = true;
        pool->rests = pool->idle == falkor__total(pool);
        int64_t now = falkor_now_ns(), due_ns = falkor__nap_locked(pool, now);
        falkor__mark_locked(pool, now, pool->rests);
        falkor__duty duty = FALKOR__DUTY_NONE;
        falkor__slot *slot = falkor__due_locked(pool, now, &duty, &due_ns);
        falkor__slot *leak = falkor__leak_locked(pool, now, &due_ns);
        bool open = !falkor__circuit_closed_locked(pool);
        bool lacks = falkor__total(pool) < pool->config.min_size && !open &&
            !pool->resting;
        if (leak) {
            falkor__report_leak_locked(pool, leak, now);
        } else if (open && !pool->resting &&
                   falkor__mend_locked(pool, now, &dial_ns, &due_ns)) {
            continue;
        } else if (lacks && dial_ns <= now) {
            int delay_ms = falkor__refill_locked(pool, failures, false);
            failures = delay_ms ? failures + 1 : 0;
            dial_ns = falkor_now_ns() + delay_ms * FALKOR__NS_PER_MS;
        } else if (slot) {
            falkor__serve_idle_locked(pool, slot, duty);
        } else {
            falkor__time_idle_locked(pool);
            pool->wake_ns = lacks ? falkor__sooner(due_ns, dial_ns) : due_ns;
            pool->away = false;
            falkor__wait_locked(pool, &pool->work, pool->wake_ns);
            pool->wake_ns = FALKOR__NEVER;
        }
    }
    falkor__close_idle_locked(pool, NULL);  /* what it brought back too late */
    falkor__unlock(pool);
    return NULL;
}

void falkor__start_worker(falkor_pool *pool) {
    bool started = falkor__thread_start(&pool->worker, falkor__worker, pool);
    falkor__lock(pool);
    pool->has_worker = started;
    pool->wants_worker = !started;
    falkor__unlock(pool);
}

/* ---- open ------------------------------------------------------------- */

/* Becomes the one who opens. OPEN: somebody else has done it. */
static falkor_status falkor__begin_opening(falkor_pool *pool,
                                           int64_t deadline_ns,
                                           falkor__pool_state *found,
                                           falkor_error *error) {
    falkor_status status = FALKOR_OK;
    falkor__lock(pool);
    while (!status && pool->state == FALKOR__POOL_OPENING)
        if (!falkor__wait_locked(pool, &pool->changed, deadline_ns) &&
            pool->state == FALKOR__POOL_OPENING)
            status = falkor__fail(error, FALKOR_ERR_POOL_TIMEOUT, 0,
                "another thread has not finished opening the pool in time");
    *found = pool->state;
    if (!status && *found == FALKOR__POOL_CREATED)
        pool->state = FALKOR__POOL_OPENING;
    falkor__unlock(pool);
    if (!status && *found == FALKOR__POOL_CLOSED)
        status = falkor__refusal(*found, error);
    return status;
}

/* Dials one connection while nobody else is let in yet. */
static falkor_status falkor__open_one(falkor_pool *pool, int64_t deadline_ns,
                                      falkor_error *error) {
    falkor__lock(pool);
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    falkor__slot *slot = closed ? NULL : falkor__take_free_locked(pool);
    pool->connecting += !closed;
    falkor__unlock(pool);
    if (closed)
        return falkor__refusal(FALKOR__POOL_CLOSED, error);
    falkor_status status = falkor__slot_open(pool, slot, false,
                                             deadline_ns, error);
    falkor__lock(pool);
    pool->connecting--;
    if (status)
        pool->connect_failures++;
    else
        pool->connections_created++;
    falkor__bring_back_locked(pool, slot, false);
    falkor__unlock(pool);
    if (status)
        falkor__tell_failed(pool, error, 0);
    return status;
}

/* Leases an idle connection while nobody else is let in: there is one, unless
   a lever has closed them all in this moment. */
static falkor_status falkor__lease_first(falkor_pool *pool,
                                         falkor_conn **lease,
                                         falkor_error *error) {
    falkor__lock(pool);
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    falkor__slot *slot = closed ? NULL : pool->hottest;
    if (slot) {
        falkor__take_idle_locked(pool, slot);
        pool->in_use++;
        *lease = falkor__lease_locked(pool, slot, &(falkor__patience){0});
        slot->timed_for++;              /* which is none of the program's */
    }
    falkor__unlock(pool);
    return closed ? falkor__refusal(FALKOR__POOL_CLOSED, error) : FALKOR_OK;
}

falkor_status falkor__pool_begin(falkor_pool *pool, int64_t deadline_ns,
                                 bool *opens, falkor_error *error) {
    falkor__pool_state found;
    falkor_status status = falkor__begin_opening(pool, deadline_ns, &found,
                                                 error);
    *opens = !status && found != FALKOR__POOL_OPEN;
    return status;
}

falkor_status falkor__pool_start(falkor_pool *pool, int64_t deadline_ns,
                                 falkor_conn **conn, falkor_error *error) {
    bool opens;
    *conn = NULL;
    falkor_status status = falkor__pool_begin(pool, deadline_ns, &opens,
                                              error);
    if (!opens)
        return status;
    int wanted = pool->config.min_size > 0 ? pool->config.min_size : 1;
    for (int i = 0; i < wanted && !status; i++)
        status = falkor__open_one(pool, deadline_ns, error);
    falkor_conn *lease = NULL;
    while (!status && !(status = falkor__lease_first(pool, &lease, error)) &&
           !lease)
        status = falkor__open_one(pool, deadline_ns, error);
    if (!status)
        status = falkor__hold(pool, lease, error);
    if (status)
        return falkor__pool_finish(pool, NULL, status, NULL);
    *conn = lease;
    return FALKOR_OK;
}

falkor_status falkor__pool_finish(falkor_pool *pool, falkor_conn *conn,
                                  falkor_status status, falkor_error *error) {
    bool needs = !status && !pool->front;
    bool worker = needs &&
        falkor__thread_start(&pool->worker, falkor__worker, pool);
    if (needs && !worker)
        status = falkor__no_memory(error,
            "cannot start the pool's worker thread");
    if (conn)
        falkor_release(conn);
    falkor__lock(pool);
    pool->has_worker = worker;
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    if (status || closed)
        falkor__close_idle_locked(pool, NULL);
    if (!closed)
        pool->state = status ? FALKOR__POOL_CREATED : FALKOR__POOL_OPEN;
    falkor__cond_broadcast(&pool->changed);
    falkor__unlock(pool);
    if (!status && closed)
        return falkor__refusal(FALKOR__POOL_CLOSED, error);
    if (!status)
        falkor__event(&pool->config, &(falkor__event_head){
            .name = "connection_pool_initialized"}, "max_size=%d timeout_ms=%d",
            pool->config.max_size, pool->config.pool_timeout_ms);
    return status;
}

/* ---- close and free --------------------------------------------------- */

/* Shuts down one held connection, if it is held. The lease is marked meanwhile,
   so that its release waits, for the lock is not held during a driver call. */
static void falkor__cut_one(falkor_pool *pool, falkor__slot *slot) {
    falkor_conn *conn = falkor__last_lease(slot);
    int state = FALKOR__LEASE_HELD;
    falkor__lock(pool);
    bool held = !slot->cut && atomic_compare_exchange_strong(&conn->state,
        &state, FALKOR__LEASE_CUT);
    slot->cut = slot->cut || held;
    falkor__unlock(pool);
    if (!held)
        return;
    pool->driver->shutdown(pool->driver_ctx, slot->handle);
    falkor__lock(pool);
    atomic_store(&conn->state, FALKOR__LEASE_HELD);
    falkor__cond_broadcast(&pool->changed);     /* its release may wait */
    falkor__unlock(pool);
}

/* Shuts down all that is still held. Who has just taken his connection out of a
   pocket may neither have seen that we cut nor be seen as its holder, until his
   processor has written what it keeps back: hence a second round. */
static void falkor__cut(falkor_pool *pool) {
    int64_t begin = falkor_now_ns();
    int rounds = !pool->driver->shutdown ? 0 : pool->has_pockets ? 2 : 1;
    atomic_store(&pool->cutting, true);
    for (int round = 0; round < rounds; round++) {
        falkor__lock(pool);
        while (round && falkor__wait_locked(pool, &pool->changed,
                                          begin + FALKOR__NS_PER_MS))
            continue;
        falkor__unlock(pool);
        for (size_t i = 0; i < pool->slot_count; i++)
            falkor__cut_one(pool, &pool->slots[i]);
    }
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
void falkor__pool_cut(falkor_pool *pool) {
    for (size_t i = 0; i < pool->slot_count; i++) {
        falkor__cut_one(pool, &pool->slots[i]);
        falkor__lock(pool);
        pool->slots[i].cut = pool->state == FALKOR__POOL_CLOSED &&
                             pool->slots[i].cut;
        falkor__unlock(pool);
    }
}
#endif

/* Tells that close did not wait for so many. */
static void falkor__tell_cut(falkor_pool *pool, int left) {
    falkor_error error;
    if (!falkor__tells(&pool->config))
        return;
    falkor__fail(&error, FALKOR_ERR_TIMEOUT, 0,
        "connections not back in time, cut where in use: %d", left);
    falkor__event(&pool->config, &(falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "close_error",
        .error = &error}, "%s", "");
}

/* A pool that stands for no other. */
static falkor_status falkor__close_one(falkor_pool *pool,
                                       int64_t deadline_ns) {
    falkor__lock(pool);
    bool first = pool->state != FALKOR__POOL_CLOSED;
    pool->state = FALKOR__POOL_CLOSED;
    atomic_store(&pool->closed, true);
    falkor__shut_pockets_locked(pool);
    falkor__dismiss_locked(pool, FALKOR_ERR_CLOSED);
    falkor__cond_signal(&pool->work);
    falkor__close_idle_locked(pool, NULL);  /* before the worker does */
    falkor__unlock(pool);
    if (first)
        falkor__event(&pool->config, &(falkor__event_head){
            .name = "closing_connection_pool"}, "%s", "");
    falkor__lock(pool);
    while (falkor__total(pool) > 0 &&
           falkor__wait_locked(pool, &pool->changed, deadline_ns))
        continue;
    int left = falkor__total(pool);
    falkor__unlock(pool);
    if (left > 0) {
        falkor__cut(pool);
        falkor__tell_cut(pool, left);
    }
    if (first)
        falkor__event(&pool->config, &(falkor__event_head){
            .name = "connection_pool_closed"}, "%s", "");
    return left > 0 ? FALKOR_ERR_TIMEOUT : FALKOR_OK;
}

/* Of one that does, nobody waits for a better map any more; then each of them
   waits for what it has in use. */
falkor_status falkor_pool_close(falkor_pool *pool, int timeout_ms) {
    if (!pool)
        return FALKOR_OK;
    int64_t deadline_ns = falkor__deadline(timeout_ms);
    falkor_status status = falkor__close_one(pool, deadline_ns);
    falkor_pool *member;
    if (FALKOR__FRONTS && pool->front)
        pool->front->close(pool->front_self);
    for (size_t i = 0; FALKOR__FRONTS && pool->front &&
         (member = pool->front->member(pool->front_self, i, NULL)); i++)
        if (falkor__close_one(member, deadline_ns))
            status = FALKOR_ERR_TIMEOUT;
    return status;
}

void falkor__pool_free_memory(falkor_pool *pool) {
    const falkor_allocator *heap = pool->config.heap;
    falkor__guard_remove(&pool->guard);
    falkor__cond_destroy(&pool->work);
    falkor__cond_destroy(&pool->changed);
    falkor__mutex_destroy(&pool->mutex);
    falkor__config_free(&pool->config);
    falkor__give(heap, pool->recorder);
    falkor__give(heap, pool->slots);
    falkor__give(heap, pool);
    if (atomic_fetch_sub(&falkor__pools, 1) == 1)
        falkor__spares_free();
}

/* A close that has cut what was in use has waited already. */
void falkor__pool_destroy(falkor_pool *pool) {
    falkor_pool_close(pool, atomic_load(&pool->cutting)
        ? 0 : FALKOR__FREE_WAIT_MS);
    falkor__lock(pool);
    bool worker = pool->has_worker;
    falkor__unlock(pool);
    if (worker)
        falkor__thread_join(&pool->worker);
    falkor__lock(pool);
    pool->orphan = true;
    if (pool->config.password && pool->connecting == 0)
        falkor__wipe(pool->config.password, strlen(pool->config.password));
    bool last = pool->in_use + pool->closing == 0;
    falkor__unlock(pool);
    if (last)
        falkor__pool_free_memory(pool);
}

