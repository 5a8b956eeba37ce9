/* The blocking pool: who waits, who gets which connection, and how it comes
   back. books.h says how the pool is kept; lifecycle.c opens and closes it,
   levers.c is for emergencies. */
#include "books.h"
#include <string.h>

/* ---- acquire ---------------------------------------------------------- */

/* Why nobody gets in, in this state. */
falkor_status falkor__refusal(falkor__pool_state state,
                                     falkor_error *error) {
    switch (state) {
    case FALKOR__POOL_OPEN:
        return FALKOR_OK;
    case FALKOR__POOL_CLOSED:
        return falkor__fail(error, FALKOR_ERR_CLOSED, 0,
            "the pool was closed: create a new one");
    case FALKOR__POOL_CREATED:
    case FALKOR__POOL_OPENING:
        break;
    }
    return falkor__fail(error, FALKOR_ERR_NOT_OPEN, 0,
        "the pool is not open: call falkor_pool_open first");
}

/* Sleeps until awake or late. On the way the reserve becomes the waiter's: it
   is asked for once, and then given by who brings a slot. */
static void falkor__sleep_locked(falkor_pool *pool, falkor__waiter *self,
                                 int64_t deadline_ns) {
    if (self->reserve_ns < deadline_ns) {
        while (!self->awake && falkor__cond_wait(&self->wake, &pool->mutex,
                                                 self->reserve_ns))
            continue;
        if (!self->awake)
            falkor__serve_locked(pool);
    }
    while (!self->awake &&
           falkor__cond_wait(&self->wake, &pool->mutex, deadline_ns))
        continue;
}

/* Stands in line until granted a slot, or sent home, or the deadline. */
static falkor_status falkor__wait_locked(falkor_pool *pool, int64_t since_ns,
                                         int64_t deadline_ns,
                                         falkor__slot **slot) {
    const falkor__config *config = &pool->config;
    falkor__waiter self = {.reserve_ns = config->reserve_size == 0
        ? FALKOR__NEVER
        : since_ns + config->reserve_after_ms * FALKOR__NS_PER_MS};
    if (!falkor__cond_init(&self.wake))
        return FALKOR_ERR_NOMEM;
    falkor__enqueue_locked(pool, &self);
    falkor__sleep_locked(pool, &self, deadline_ns);
    if (!self.awake)
        falkor__dequeue_locked(pool, &self);
    falkor__cond_destroy(&self.wake);
    *slot = self.slot;
    return self.slot ? FALKOR_OK : self.awake ? self.status
                                              : FALKOR_ERR_POOL_TIMEOUT;
}

static const char falkor__paused[] =
    "the pool is paused, falkor_pool_resume lets go on";

/* A slot for the caller, by whatever way; else why not. */
static falkor_status falkor__admit_locked(falkor_pool *pool,
                                          falkor__patience *patience,
                                          falkor__slot **slot,
                                          falkor_error *error) {
    const falkor__config *config = &pool->config;
    falkor_status status = falkor__refusal(pool->state, error);
    if (!status && pool->breaker.state != FALKOR_CIRCUIT_CLOSED)
        status = falkor__circuit_refusal_locked(pool, error);
    if (status || (*slot = falkor__take_locked(pool)) != NULL)
        return status;
    if (patience->may_wait && config->max_waiters >= 0 &&
        pool->waiting >= config->max_waiters)
        return falkor__fail(error, FALKOR_ERR_POOL_EXHAUSTED, 0,
            "%d wait for a connection already (max_waiters), %d of %d in use: "
            "%s", pool->waiting, pool->in_use,
            config->max_size + config->reserve_size,
            pool->paused ? falkor__paused : "raise max_size or max_waiters");
    int64_t since = falkor_now_ns();
    status = patience->may_wait
        ? falkor__wait_locked(pool, since, falkor__until(patience), slot)
        : FALKOR_ERR_POOL_TIMEOUT;
    if (status == FALKOR_ERR_CLOSED)
        return falkor__refusal(pool->state, error);
    if (status == FALKOR_ERR_CIRCUIT_OPEN)
        return falkor__circuit_refusal_locked(pool, error);
    if (status == FALKOR_ERR_NOMEM)
        return falkor__fail(error, status, 0,
            "no condition variable to wait on: out of memory");
    if (status == FALKOR_ERR_POOL_TIMEOUT) {
        pool->acquire_timeouts++;
        falkor__fail(error, status, 0, "no connection free after %.2f s (%d of "
            "%d in use, %d waiting): %s",
            (double)(falkor_now_ns() - since) / 1e9, pool->in_use,
            config->max_size + config->reserve_size, pool->waiting,
            pool->paused ? falkor__paused
                         : "raise max_size or look for a leak");
    }
    return status;
}

/* Closes the unfit connection in a slot that is the caller's and leaves him
   with another: the hottest idle one, or the slot itself, to dial. He was in
   turn, so he does not wait again. */
static void falkor__replace(falkor_pool *pool, falkor__slot **slot) {
    falkor__lock(pool);
    pool->in_use--;
    pool->closing++;
    (*slot)->live = false;
    pool->health_failures++;
    pool->connections_recycled++;
    falkor__unlock(pool);
    falkor__slot_close(pool, *slot);
    falkor__tell_recycled(pool, "health_check");
    falkor__lock(pool);
    pool->closing--;
    if (pool->hottest) {
        falkor__push_free_locked(pool, *slot);
        *slot = pool->hottest;
        falkor__take_idle_locked(pool, *slot);
        pool->in_use++;
        falkor__serve_locked(pool);
    } else {
        pool->connecting++;
    }
    falkor__unlock(pool);
}

/* The dial of a slot that was granted: nothing of it once the circuit is open,
   for then only the worker probes. */
static falkor_status falkor__dial_granted(falkor_pool *pool,
                                          falkor__slot *slot,
                                          int64_t deadline_ns,
                                          falkor_error *error) {
    falkor__lock(pool);
    bool refused = pool->breaker.state != FALKOR_CIRCUIT_CLOSED;
    if (refused)
        falkor__circuit_refusal_locked(pool, error);
    falkor__unlock(pool);
    return refused ? FALKOR_ERR_CIRCUIT_OPEN
        : falkor__slot_open(pool, slot, false, deadline_ns, error);
}

/* Dials for the caller in a slot counted as connecting. On failure the slot
   goes to who waits longest, who will try himself. */
static falkor_status falkor__connect(falkor_pool *pool, falkor_conn *conn,
                                     falkor__slot *slot,
                                     falkor__patience *patience,
                                     falkor_error *error) {
    falkor_status status = falkor__dial_granted(pool, slot,
        falkor__until(patience), error);
    bool crossed = false, dialled = status != FALKOR_ERR_CIRCUIT_OPEN;
    falkor__lock(pool);
    pool->connecting--;
    if (!status) {
        pool->in_use++;
        pool->connections_created++;
        if (conn->since_ns != FALKOR__NEVER)
            conn->since_ns = falkor__coarse_ns();   /* the dial is no hold */
        crossed = falkor__crossed_high_locked(pool);
    } else {
        pool->connect_failures += dialled;
        pool->acquires--;
        falkor__unlease_locked(pool, conn);
        falkor__hand_over_locked(pool, slot, false);
    }
    falkor__unlock(pool);
    if (crossed)
        falkor__tell_high(pool);
    if (status && dialled)
        falkor__tell_failed(pool, error, 0);
    return status;
}

/* Makes sure that the granted slot holds a fit connection. */
static falkor_status falkor__settle(falkor_pool *pool, falkor_conn *conn,
                                    falkor__patience *patience,
                                    falkor_error *error) {
    falkor__slot *slot = conn->slot;
    while (slot->live && !falkor__slot_fit(pool, slot, patience))
        falkor__replace(pool, &slot);
    conn->slot = slot;
    return slot->live ? FALKOR_OK
        : falkor__connect(pool, conn, slot, patience, error);
}

/* Hands the lease to its holder. When close has begun to cut meanwhile, either
   it sees this lease as held, or we see that it cuts. */
falkor_status falkor__hold(falkor_pool *pool, falkor_conn *conn,
                                  falkor_error *error) {
    atomic_store(&conn->state, FALKOR__LEASE_HELD);
    if (FALKOR__LIKELY(!atomic_load(&pool->cutting)))
        return FALKOR_OK;
    falkor_release(conn);
    return falkor__refusal(FALKOR__POOL_CLOSED, error);
}

falkor_status falkor__pool_acquire(falkor_pool *pool,
                                   falkor__patience *patience,
                                   falkor_conn **conn, falkor_error *error) {
    falkor__slot *slot = NULL;
    falkor_conn *lease = NULL;
    bool crossed = false, settled = false;
    *conn = NULL;
    falkor__lock(pool);
    bool starts = pool->wants_worker && pool->state == FALKOR__POOL_OPEN;
    pool->wants_worker = pool->wants_worker && !starts;
    falkor_status status = falkor__admit_locked(pool, patience, &slot, error);
    if (!status) {
        lease = falkor__lease_locked(pool, slot, patience);
        crossed = falkor__crossed_high_locked(pool);
        settled = slot->live && !pool->driver->check &&
            pool->state == FALKOR__POOL_OPEN;
        if (settled)                    /* nothing to do outside the lock */
            atomic_store_explicit(&lease->state, FALKOR__LEASE_HELD,
                                  memory_order_relaxed);
    }
    falkor__unlock(pool);
    if (starts)                         /* it sees what is dialled here */
        falkor__start_worker(pool);
    if (!status && !settled) {
        status = falkor__settle(pool, lease, patience, error);
        if (!status)
            status = falkor__hold(pool, lease, error);
    }
    if (crossed)
        falkor__tell_high(pool);
    if (!status)
        *conn = lease;
    return status;
}

falkor_status falkor_acquire_at(falkor_pool *pool, int timeout_ms,
                                falkor_conn **conn, falkor_error *error,
                                const char *file, int line) {
    falkor_error own;
    if (!error)
        error = &own;
    falkor__error_clear(error);
    if (conn)
        *conn = NULL;
    if (!pool || !conn)
        return falkor__fail(error, FALKOR_ERR_ARGUMENT, 0,
            "falkor_acquire: %s is NULL", pool ? "conn" : "pool");
    /* Who does not wait still gets the time of a dial. */
    if (timeout_ms == FALKOR_POOL_TIMEOUT)
        timeout_ms = pool->config.pool_timeout_ms;
    return falkor__pool_acquire(pool, &(falkor__patience){
        .may_wait = timeout_ms != 0, .latest_ns = FALKOR__NEVER,
        .timeout_ms = timeout_ms ? timeout_ms
                                 : pool->config.connect_timeout_ms,
        .file = file, .line = line}, conn, error);
}

falkor_status (falkor_acquire_within)(falkor_pool *pool, int timeout_ms,
                                      falkor_conn **conn,
                                      falkor_error *error) {
    return falkor_acquire_at(pool, timeout_ms, conn, error, NULL, 0);
}

falkor_status (falkor_acquire)(falkor_pool *pool, falkor_conn **conn,
                               falkor_error *error) {
    return falkor_acquire_at(pool, FALKOR_POOL_TIMEOUT, conn, error, NULL, 0);
}

/* ---- release ---------------------------------------------------------- */

/* Waits, the lock held, while close is shutting the lease's connection down.
   Returns whether a holder has it then. */
static bool falkor__await_cut_locked(falkor_conn *conn) {
    int state;
    while ((state = atomic_load(&conn->state)) == FALKOR__LEASE_CUT)
        falkor__cond_wait(&conn->pool->changed, &conn->pool->mutex,
                          FALKOR__NEVER);
    return state == FALKOR__LEASE_HELD;
}

/* Takes the lease out of its holder's hands: false when it is not in them. */
static bool falkor__claim(falkor_conn *conn) {
    int state = FALKOR__LEASE_HELD;
    while (!atomic_compare_exchange_strong(&conn->state, &state,
                                           FALKOR__LEASE_POOL)) {
        falkor__lock(conn->pool);
        bool held = falkor__await_cut_locked(conn);
        falkor__unlock(conn->pool);
        if (!held)
            return false;
        state = FALKOR__LEASE_HELD;
    }
    return true;
}

/* The driver's word on a claimed connection, whose reset may block. */
static bool falkor__reset(falkor_pool *pool, const falkor_conn *conn,
                          int64_t now) {
    int timeout_ms = pool->config.connect_timeout_ms;
    return conn->broken || !pool->driver->reset ||
        pool->driver->reset(pool->driver_ctx, conn->slot->handle,
            timeout_ms < 0 ? FALKOR__NEVER
                : now + timeout_ms * FALKOR__NS_PER_MS) == FALKOR_OK;
}

/* Takes a lease's slot back: to the next, to the idle, or to be closed. */
static void falkor__take_back_locked(falkor_pool *pool, falkor_conn *conn,
                                     bool clean, int64_t now) {
    falkor__slot *slot = conn->slot;
    bool surplus = falkor__total(pool) - pool->closing >
        pool->config.max_size && (!pool->first_waiter || pool->paused);
    const char *reason = conn->broken ? "broken" : !clean ? "unclean"
        : slot->generation != pool->generation ? "flush"
        : slot->expires_ns <= now ? "max_lifetime"
        : surplus ? "reserve" : NULL;
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    slot->used_ns = slot->checked_ns = now;
    falkor__unlease_locked(pool, conn);
    pool->releases++;
    pool->in_use--;
    if (!reason && !closed) {
        falkor__hand_over_locked(pool, slot, false);
    } else {
        pool->connections_recycled += !closed;
        falkor__retire_locked(pool, slot, closed ? NULL : reason);
    }
}

/* What a driver's holder says about his connection, who knows nothing of
   errors. One that could not be reset says nothing: perhaps it is dead, and
   perhaps not. falkor.c tells for itself. */
static void falkor__tell_of_use(falkor_pool *pool, const falkor_conn *conn,
                                bool clean) {
    falkor_error error;
    if (!conn->broken) {
        if (clean)
            falkor__circuit_answered(pool, false);
        return;
    }
    falkor__error_clear(&error);
    falkor__fail(&error, FALKOR_ERR_IO, 0,
                 "a holder has marked his connection as broken");
    falkor__pool_failed(pool, conn, &error);
}

/* The lease is claimed first: neither a reset nor an event is for the lock, and
   once it is given back a pool that is being freed may be gone. */
falkor_status falkor_release(falkor_conn *conn) {
    if (!conn || !falkor__claim(conn))
        return FALKOR_ERR_ARGUMENT;
    falkor_pool *pool = conn->pool;
    int64_t now = falkor__coarse_ns();
    bool clean = falkor__reset(pool, conn, now);
    if (pool->driver != &falkor__link_driver)
        falkor__tell_of_use(pool, conn, clean);
    falkor__lock(pool);
    falkor__take_back_locked(pool, conn, clean, now);
    bool last = pool->orphan && pool->in_use + pool->closing == 0;
    falkor__unlock(pool);
    if (last)
        falkor__pool_free_memory(pool);
    return FALKOR_OK;
}

/* A lease that its holder has, at this moment. */
static bool falkor__is_held(const falkor_conn *conn) {
    int state = atomic_load(&conn->state);
    return state == FALKOR__LEASE_HELD || state == FALKOR__LEASE_CUT;
}

void *falkor_conn_handle(const falkor_conn *conn) {
    return conn && falkor__is_held(conn) &&
           conn->pool->driver != &falkor__link_driver
        ? conn->slot->handle : NULL;
}

falkor__link *falkor__conn_link(const falkor_pool *pool,
                                const falkor_conn *conn) {
    return conn->pool == pool && falkor__is_held(conn) &&
           pool->driver == &falkor__link_driver ? conn->slot->handle : NULL;
}

void falkor_conn_mark_broken(falkor_conn *conn) {
    if (conn && falkor__is_held(conn))
        conn->broken = true;
}

/* ---- for falkor.c ----------------------------------------------------- */

void falkor__pool_answered(falkor_pool *pool) {
    falkor__circuit_answered(pool, false);
}

void falkor__pool_failed(falkor_pool *pool, const falkor_conn *conn,
                         const falkor_error *error) {
    falkor__circuit_failed(pool, (falkor__failure){.counts = true,
                           .since_ns = conn->slot->dialled_ns}, error);
}

const falkor__config *falkor__pool_config(const falkor_pool *pool) {
    return &pool->config;
}

falkor__counters *falkor__pool_counters(falkor_pool *pool) {
    return &pool->counters;
}

void **falkor__pool_client(falkor_pool *pool) {
    return &pool->client;
}

bool falkor__pool_sleep(falkor_pool *pool, int64_t deadline_ns) {
    falkor__lock(pool);
    while (pool->state != FALKOR__POOL_CLOSED &&
           falkor__cond_wait(&pool->changed, &pool->mutex, deadline_ns))
        continue;
    bool open = pool->state != FALKOR__POOL_CLOSED;
    falkor__unlock(pool);
    return open;
}

bool falkor__pool_is_closed(falkor_pool *pool) {
    return atomic_load(&pool->closed);
}

/* ---- statistics ------------------------------------------------------- */

void falkor_pool_stats(falkor_pool *pool, falkor_stats *stats) {
    if (!stats)
        return;
    memset(stats, 0, sizeof *stats);
    if (!pool)
        return;
    falkor__lock(pool);
    stats->max_size = pool->config.max_size;
    stats->min_size = pool->config.min_size;
    stats->total = falkor__total(pool);
    stats->active = pool->in_use;
    stats->idle = pool->idle;
    stats->connecting = pool->connecting;
    stats->closing = pool->closing;
    stats->waiting = pool->waiting;
    stats->acquires = pool->acquires;
    stats->releases = pool->releases;
    stats->acquire_timeouts = pool->acquire_timeouts;
    stats->connections_created = pool->connections_created;
    stats->connections_recycled = pool->connections_recycled;
    stats->connect_failures = pool->connect_failures;
    stats->health_failures = pool->health_failures;
    stats->initialized = pool->state == FALKOR__POOL_OPEN;
    stats->closed = pool->state == FALKOR__POOL_CLOSED;
    stats->reserve_size = pool->config.reserve_size;
    stats->paused = pool->paused;
    stats->circuit = pool->breaker.state;
    stats->circuit_openings = pool->circuit_openings;
    falkor__unlock(pool);
    stats->utilization_percent = 100.0 * stats->active / stats->max_size;
    falkor__counters_read(&pool->counters, stats);
}
