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

static const char falkor__paused[] =
    "the pool is paused, falkor_pool_resume lets go on";

/* A slot for the caller at once; NULL with OK: he is to wait. */
static falkor_status falkor__admit_locked(falkor_pool *pool,
                                          const falkor__patience *patience,
                                          falkor__slot **slot,
                                          falkor_error *error)
    FALKOR__HOLDS(pool->mutex) {
    const falkor__config *config = &pool->config;
    falkor_status status = falkor__refusal(pool->state, error);
    if (!status && !falkor__circuit_closed_locked(pool))
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
    return FALKOR_OK;
}

/* Nothing came in time. */
static falkor_status falkor__late_locked(falkor_pool *pool, int64_t since_ns,
                                         falkor_error *error)
    FALKOR__HOLDS(pool->mutex) {
    const falkor__config *config = &pool->config;
    pool->acquire_timeouts++;
    return falkor__fail(error, FALKOR_ERR_POOL_TIMEOUT, 0,
        "no connection free after %.2f s (%d of %d in use, %d waiting): %s",
        (double)(falkor_now_ns() - since_ns) / 1e9, pool->in_use,
        config->max_size + config->reserve_size, pool->waiting,
        pool->paused ? falkor__paused : "raise max_size or look for a leak");
}

/* ---- waiting ----------------------------------------------------------- */

/* Gets in line. */
static falkor_status falkor__queue_locked(falkor_pool *pool,
                                          falkor__waiter *self,
                                          falkor_error *error)
    FALKOR__HOLDS(pool->mutex) {
    if (!falkor__gong_init(&self->gong))
        return falkor__fail(error, FALKOR_ERR_NOMEM, 0,
            "no condition variable to wait on: out of memory");
    falkor__enqueue_locked(pool, self);
    return FALKOR_OK;
}

/* Sleeps until decided or late; where the reserve becomes the waiter's on the
   way, it is asked for once, and then given by who brings a slot. A decision
   that comes with the deadline counts. */
static falkor_status falkor__stand_in_line(falkor_pool *pool,
                                           falkor__waiter *self,
                                           int64_t deadline_ns,
                                           falkor_error *error) {
    falkor_status status = FALKOR_OK;
    int64_t reserve_ns = falkor__reserve_ns(pool, self);
    bool awake = false;
    if (reserve_ns < deadline_ns &&
        !(awake = falkor__gong_wait(&self->gong, reserve_ns))) {
        falkor__lock(pool);
        falkor__serve_locked(pool);
        falkor__unlock(pool);
    }
    if (!awake && !falkor__gong_wait(&self->gong, deadline_ns)) {
        falkor__lock_as_is(pool);
        if (!self->decided) {
            falkor__dequeue_locked(pool, self);
            status = falkor__late_locked(pool, self->since_ns, error);
        }
        falkor__unlock(pool);
        while (!status && !falkor__gong_wait(&self->gong, FALKOR__NEVER))
            continue;
    }
    falkor__gong_destroy(&self->gong);
    return status;
}

/* Why a waiter was sent home. */
static falkor_status falkor__sent_home(falkor_pool *pool, falkor_status status,
                                       falkor_error *error) {
    falkor__lock_as_is(pool);
    status = FALKOR__BREAKER && status == FALKOR_ERR_CIRCUIT_OPEN
        ? falkor__circuit_refusal_locked(pool, error)
        : falkor__refusal(pool->state, error);
    falkor__unlock(pool);
    return status;
}

/* ---- fit for use -------------------------------------------------------- */

/* The hold that a lease was for does not come to be. */
static void falkor__take_back_lease_locked(falkor__slot *slot) {
    falkor__unlease_locked(slot);
    atomic_store_explicit(&slot->acquires, atomic_load_explicit(&slot->acquires,
        memory_order_relaxed) - 1, memory_order_relaxed);
}

/* Closes the unfit connection of a lease that is the caller's and leaves him
   with another: of the hottest idle one, or the same, to dial. He was in turn,
   so he does not wait again. */
static void falkor__replace(falkor_pool *pool, falkor_conn **conn,
                            const falkor__patience *patience) {
    falkor__slot *slot = (*conn)->slot;
    bool flushed = slot->generation != pool->generation;
    falkor__lock(pool);
    pool->in_use--;
    pool->closing++;
    slot->live = false;
    pool->health_failures += !flushed;
    pool->connections_recycled++;
    falkor__unlock(pool);
    falkor__slot_close(pool, slot);
    falkor__tell_recycled(pool, flushed ? "flush" : "health_check");
    falkor__lock(pool);
    pool->closing--;
    if (pool->hottest) {
        falkor__take_back_lease_locked(slot);
        falkor__push_free_locked(pool, slot);
        slot = pool->hottest;
        falkor__take_idle_locked(pool, slot);
        pool->in_use++;
        *conn = falkor__lease_locked(pool, slot, patience);
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
    bool refused = !falkor__circuit_closed_locked(pool);
    if (refused)
        falkor__circuit_refusal_locked(pool, error);
    falkor__unlock(pool);
    return refused ? FALKOR_ERR_CIRCUIT_OPEN
        : falkor__slot_open(pool, slot, false, deadline_ns, error);
}

/* Dials for the caller in a slot counted as connecting. On failure the slot
   goes to who waits longest, who will try himself. */
static falkor_status falkor__connect(falkor_pool *pool, falkor_conn *conn,
                                     falkor__patience *patience,
                                     falkor_error *error) {
    falkor__slot *slot = conn->slot;
    if (!patience->since_ns)
        patience->since_ns = falkor_now_ns();
    falkor_status status = falkor__dial_granted(pool, slot,
        falkor__until(patience), error);
    bool crossed = false, dialled = status != FALKOR_ERR_CIRCUIT_OPEN;
    falkor__lock(pool);
    pool->connecting--;
    if (!status) {
        pool->in_use++;
        pool->connections_created++;
        if (slot->since_ns != FALKOR__NEVER)
            slot->since_ns = falkor__coarse_ns();   /* the dial is no hold */
        crossed = falkor__crossed_high_locked(pool);
    } else {
        pool->connect_failures += dialled;
        falkor__take_back_lease_locked(slot);
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
static falkor_status falkor__settle(falkor_pool *pool, falkor_conn **conn,
                                    falkor__patience *patience,
                                    falkor_error *error) {
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it was granted */
    while ((*conn)->slot->live &&
           !falkor__slot_fit(pool, (*conn)->slot, patience))
        falkor__replace(pool, conn, patience);
    return (*conn)->slot->live ? FALKOR_OK
        : falkor__connect(pool, *conn, patience, error);
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

static falkor__pocket *falkor__my_pocket(falkor_pool *pool) {
    return &pool->pockets[falkor__thread_hint(FALKOR__POCKETS)];
}

/* What is in this thread's pocket becomes its own; NULL: nothing. */
static falkor__slot *falkor__out_of_pocket(falkor_pool *pool) {
    falkor__pocket *pocket = falkor__my_pocket(pool);
    falkor__slot *slot = atomic_load_explicit(&pocket->slot,
                                              memory_order_relaxed);
    if (!slot || slot == FALKOR__SHUT)
        return NULL;
    FALKOR__POINT();
    return atomic_compare_exchange_strong(&pocket->slot, &slot, NULL) ? slot
                                                                      : NULL;
}

/* Times a hold, which stands for those before it that were skipped. The next
   one follows no rhythm of the program's. */
static FALKOR__COLD void falkor__time_this(falkor__slot *slot,
                                           uint64_t acquires) {
    int64_t now = falkor_now_ns();
    uint64_t seed = (uint64_t)now;
    bool singly = slot->timed_singly < FALKOR__TIMED_SINGLY;
    slot->weight = acquires - slot->timed_for;
    slot->timed_for = acquires;
    slot->timed_singly += singly;
    slot->timed_next = acquires + 1 + (singly ? 0
        : (uint64_t)(falkor__random(&seed) * (2 * FALKOR__TIMED_ONE_IN - 1)));
    slot->noted = true;
    atomic_store_explicit(&slot->timed_ns, now, memory_order_relaxed);
}

/* acquires: how many the connection's slot has had. */
static inline void falkor__sample_hold(falkor__slot *slot, uint64_t acquires) {
    if (FALKOR__TIMES && !FALKOR__LIKELY(acquires < slot->timed_next))
        falkor__time_this(slot, acquires);
}

/* Acquires without the lock, where the pocket allows it. samples: a hold that
   no one else times. false: *conn is NULL, or a lease that is unfit, and still
   to be settled. Nothing orders the lease's state and the look at cutting:
   close has a second round for who is between them. What is constant is read
   first, for an atomic step lets nothing behind it begin. */
static FALKOR__INLINE bool falkor__acquire_pocketed(falkor_pool *pool,
                                                    bool samples,
                                                    falkor_conn **conn) {
    const falkor_driver driver = {.check = pool->driver->check};
    void *driver_ctx = pool->driver_ctx;
    falkor__slot *slot = falkor__out_of_pocket(pool);
    if (!slot) {
        *conn = NULL;
        return false;
    }
    uint64_t acquires;
    falkor_conn *lease = *conn = falkor__next_lease(slot, &acquires);
    if (FALKOR__LIKELY(slot->generation == atomic_load_explicit(
            &pool->generation, memory_order_relaxed)) &&
        (!driver.check || !driver.check(driver_ctx, slot->handle,
                                        FALKOR_CHECK_FAST, 0))) {
        if (samples)
            falkor__sample_hold(slot, acquires);
        atomic_store_explicit(&lease->state, FALKOR__LEASE_HELD,
                              memory_order_release);
        if (FALKOR__LIKELY(!atomic_load(&pool->cutting)))
            return true;
        falkor_release(lease);
        *conn = NULL;
    }
    return false;
}

/* Leases a slot that was granted in his turn, which is the waiter's: the lock
   is for who looks for leaks. */
static falkor_conn *falkor__lease_granted(falkor_pool *pool,
                                          falkor__slot *slot,
                                          const falkor__patience *patience)
    FALKOR__UNCHECKED {         /* without leaks nothing is under the lock */
    if (!falkor__seeks_leaks(&pool->config))
        return falkor__lease_locked(pool, slot, patience);
    falkor__lock_as_is(pool);
    falkor_conn *lease = falkor__lease_locked(pool, slot, patience);
    falkor__unlock(pool);
    return lease;
}

/* A slot at once or after its turn. Leased and, where nothing is left to do
   outside the lock, settled. */
static falkor_status falkor__admit(falkor_pool *pool,
                                   falkor__patience *patience,
                                   falkor_conn **lease, bool *settled,
                                   falkor_error *error) {
    falkor__slot *slot = NULL;
    falkor__waiter self = {.slot = NULL};
    bool waits = false;
    falkor__lock_as_is(pool);
    bool starts = pool->wants_worker && pool->state == FALKOR__POOL_OPEN;
    pool->wants_worker = pool->wants_worker && !starts;
    falkor_status status = falkor__admit_locked(pool, patience, &slot, error);
    if (slot) {
        *lease = falkor__lease_locked(pool, slot, patience);
        self.crossed = falkor__crossed_high_locked(pool);
        *settled = slot->live && !pool->driver->check &&
            slot->generation == pool->generation &&
            pool->state == FALKOR__POOL_OPEN;
        if (*settled)
            atomic_store_explicit(&(*lease)->state, FALKOR__LEASE_HELD,
                                  memory_order_relaxed);
    } else if (!status) {
        self.since_ns = falkor_now_ns();
        status = patience->may_wait
            ? falkor__queue_locked(pool, &self, error)
            : falkor__late_locked(pool, self.since_ns, error);
        waits = !status;
    }
    falkor__unlock(pool);
    if (starts)                         /* it sees what is dialled here */
        falkor__start_worker(pool);
    if (waits) {
        patience->since_ns = self.since_ns;
        status = falkor__stand_in_line(pool, &self, falkor__until(patience),
                                       error);
    }
    if (self.slot)
        *lease = falkor__lease_granted(pool, self.slot, patience);
    else if (waits && !status)
        status = falkor__sent_home(pool, self.status, error);
    if (!status && self.crossed)
        falkor__tell_high(pool);
    return status;
}

/* The end of an acquire that took its time, before it is counted. conn NULL: it
   has failed. */
static void falkor__time_wait(falkor_pool *pool, falkor_conn *conn,
                              const falkor__patience *patience) {
    int64_t now = falkor_now_ns();
    falkor__record(pool->recorder, FALKOR_LATENCY_WAIT,
                   now - patience->since_ns, 1);
    if (conn)
        falkor__conn_begin(conn, now);
    else                                /* not before it is timed */
        atomic_fetch_add_explicit(
            &falkor__my_part(pool->recorder)->failed_waits, 1,
            memory_order_release);
}

/* Acquires by the books. *conn: NULL, or a lease that is only to be settled. */
static falkor_status falkor__acquire_booked(falkor_pool *pool,
                                            falkor__patience *patience,
                                            falkor_conn **conn,
                                            falkor_error *error) {
    falkor_conn *lease = *conn;
    bool settled = false;
    falkor_status status = FALKOR_OK;
    *conn = NULL;
    if (!lease)
        status = falkor__admit(pool, patience, &lease, &settled, error);
    if (!status && !settled)
        status = falkor__settle(pool, &lease, patience, error);
    if (patience->since_ns)
        falkor__time_wait(pool, status ? NULL : lease, patience);
    if (!status && !settled)
        status = falkor__hold(pool, lease, error);
    if (!status)
        *conn = lease;
    return status;
}

falkor_status falkor__pool_acquire(falkor_pool *pool,
                                   falkor__patience *patience,
                                   falkor_conn **conn, falkor_error *error) {
    return falkor__acquire_pocketed(pool, false, conn) ? FALKOR_OK
        : falkor__acquire_booked(pool, patience, conn, error);
}

/* Of those that are timed anyway none stands for others. */
void falkor__conn_begin(falkor_conn *conn, int64_t now) {
    falkor__slot *slot = conn->slot;
    if (!slot->noted) {
        slot->timed_next++;
        slot->timed_for++;
    }
    slot->weight = 1;
    slot->noted = true;
    atomic_store_explicit(&slot->timed_ns, now, memory_order_relaxed);
}

/* Who does not wait still gets the time of a dial. */
static falkor_status falkor__acquire_slowly(falkor_pool *pool, int timeout_ms,
                                            falkor_conn **conn,
                                            falkor_error *error,
                                            const char *file, int line) {
    falkor_error own;
    if (!error)
        error = &own;
    if (FALKOR__FRONTS && pool->front &&        /* it has no pockets */
        !(pool = pool->front->home(pool->front_self, error)))
        return error->status;
    if (timeout_ms == FALKOR_POOL_TIMEOUT)
        timeout_ms = pool->config.pool_timeout_ms;
    falkor__patience patience = {
        .may_wait = timeout_ms != 0, .latest_ns = FALKOR__NEVER,
        .timeout_ms = timeout_ms ? timeout_ms
                                 : pool->config.connect_timeout_ms,
        .file = file, .line = line};
    falkor_status status = falkor__acquire_booked(pool, &patience, conn,
                                                  error);
    if (!status && !patience.since_ns)
        falkor__sample_hold((*conn)->slot, atomic_load_explicit(
            &(*conn)->slot->acquires, memory_order_relaxed));
    if (status == FALKOR_ERR_POOL_TIMEOUT)
        falkor__count(&falkor__my_part(pool->recorder)->timeouts);
    return status;
}

falkor_status falkor_acquire_at(falkor_pool *pool, int timeout_ms,
                                falkor_conn **conn, falkor_error *error,
                                const char *file, int line) {
    falkor__error_clear(error);
    if (!pool || !conn) {
        if (conn)
            *conn = NULL;
        return falkor__fail(error, FALKOR_ERR_ARGUMENT, 0,
            "falkor_acquire: %s is NULL", pool ? "conn" : "pool");
    }
    return FALKOR__LIKELY(falkor__acquire_pocketed(pool, true, conn))
        ? FALKOR_OK
        : falkor__acquire_slowly(pool, timeout_ms, conn, error, file, line);
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

/* Claims a lease whose connection close is shutting down, after that. */
static bool falkor__claim_cut(falkor_conn *conn) {
    falkor_pool *pool = conn->slot->pool;
    int state;
    falkor__lock_as_is(pool);
    while (atomic_load(&conn->state) == FALKOR__LEASE_CUT)
        falkor__wait_locked(pool, &pool->changed, FALKOR__NEVER);
    state = FALKOR__LEASE_HELD;
    bool claimed = atomic_compare_exchange_strong(&conn->state, &state,
                                                  FALKOR__LEASE_POOL);
    falkor__unlock(pool);
    return claimed;
}

/* Takes the lease out of its holder's hands: false when it is not in them. */
static inline bool falkor__claim(falkor_conn *conn) {
    int state = FALKOR__LEASE_HELD;
    return FALKOR__LIKELY(atomic_compare_exchange_strong(&conn->state, &state,
            FALKOR__LEASE_POOL)) ||
        (state == FALKOR__LEASE_CUT && falkor__claim_cut(conn));
}

/* The end of the time of a driver's reset, which may block. */
static int64_t falkor__reset_ns(const falkor_pool *pool, int64_t now) {
    int timeout_ms = pool->config.connect_timeout_ms;
    return timeout_ms < 0 ? FALKOR__NEVER
                          : now + timeout_ms * FALKOR__NS_PER_MS;
}

/* Takes a slot back: to the next, to the idle, or to be closed. */
static void falkor__take_back_locked(falkor_pool *pool, falkor__slot *slot,
                                     bool clean, int64_t now)
    FALKOR__HOLDS(pool->mutex) {
    bool surplus = falkor__total(pool) - pool->closing >
        pool->config.max_size && (!pool->first_waiter || pool->paused);
    const char *reason = slot->broken ? "broken" : !clean ? "unclean"
        : slot->generation != pool->generation ? "flush"
        : slot->expires_ns <= now ? "max_lifetime"
        : surplus ? "reserve" : pool->resting ? "rest" : NULL;
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    slot->used_ns = now;
    falkor__unlease_locked(slot);
    pool->in_use--;
    if (!reason && !closed) {
        falkor__hand_over_locked(pool, slot, false);
    } else {
        pool->connections_recycled += !closed;
        falkor__retire_locked(pool, slot, closed ? NULL : reason);
    }
}

/* A use of the connection has failed in a way that counts for the circuit. */
static void falkor__slot_failed(falkor_pool *pool, const falkor__slot *slot,
                                const falkor_error *error) {
    falkor__circuit_failed(pool, (falkor__failure){.counts = true,
                           .since_ns = slot->dialled_ns}, error);
}

/* What a driver's holder says about his connection, who knows nothing of
   errors. One that could not be reset says nothing: perhaps it is dead, and
   perhaps not. falkor.c tells for itself. */
static void falkor__tell_of_use(falkor_pool *pool, const falkor__slot *slot,
                                bool clean) {
    falkor_error error;
    if (!slot->broken) {
        if (clean)
            falkor__pool_answered(pool);
        return;
    }
    falkor__error_clear(&error);
    falkor__fail(&error, FALKOR_ERR_IO, 0,
                 "a holder has marked his connection as broken");
    falkor__slot_failed(pool, slot, &error);
}

/* Leaves a clean connection in this thread's pocket, unless that is shut or
   full, or the circuit or something else is to be seen to. As soon as it is
   there it is not the caller's any longer, and the pool may be gone. */
static inline bool falkor__into_pocket(falkor_pool *pool, falkor__slot *slot,
                                       int64_t now) {
    falkor__pocket *pocket = falkor__my_pocket(pool);
    falkor__slot *empty = NULL;
    if (atomic_load_explicit(&pocket->slot, memory_order_relaxed) ||
        falkor__circuit_doubted(pool) ||
        slot->expires_ns <= now ||
        slot->expires_ns < atomic_load_explicit(&pool->wake_ns,
                                                memory_order_relaxed) ||
        slot->generation != atomic_load_explicit(&pool->generation,
                                                 memory_order_relaxed))
        return false;
    slot->used_ns = now;
    atomic_store_explicit(&falkor__last_lease(slot)->state, FALKOR__LEASE_FREE,
                          memory_order_relaxed);
    FALKOR__POINT();
    return FALKOR__LIKELY(atomic_compare_exchange_strong(&pocket->slot, &empty,
                                                         slot));
}

/* Gives a claimed slot back by the books. Once the lock is given back a pool
   that is being freed may be gone. */
static void falkor__release_booked(falkor_pool *pool, falkor__slot *slot,
                                   bool clean, int64_t now) {
    if (pool->driver != &falkor__link_driver)
        falkor__tell_of_use(pool, slot, clean);
    falkor__lock(pool);
    falkor__take_back_locked(pool, slot, clean, now);
    bool last = pool->orphan && pool->in_use + pool->closing == 0;
    falkor__unlock(pool);
    if (last)
        falkor__pool_free_memory(pool);
}

/* The end of a hold that is timed: a long one stands for no other, and those
   skipped for the next. */
static void falkor__time_hold(falkor_pool *pool, falkor__slot *slot,
                              int64_t ns) {
    if (ns >= FALKOR__LONG_NS) {
        slot->timed_for -= slot->weight - 1;
        slot->weight = 1;
        falkor__time_next(slot);
    }
    falkor__record(pool->recorder, FALKOR_LATENCY_HOLD, ns, slot->weight);
    atomic_store_explicit(&slot->timed_ns, 0, memory_order_relaxed);
}

/* The end of a hold that is timed, or of a connection that is broken. */
static FALKOR__COLD void falkor__see_to(falkor_pool *pool, falkor__slot *slot,
                                        int64_t ended_ns) {
    int64_t began_ns = atomic_load_explicit(&slot->timed_ns,
                                            memory_order_relaxed);
    if (began_ns)
        falkor__time_hold(pool, slot,
            (ended_ns ? ended_ns : falkor_now_ns()) - began_ns);
    slot->noted = slot->broken;
}

/* The lease is claimed before the reset, which is not for the lock. ended_ns:
   0, or the time, where the caller has read it. */
static FALKOR__INLINE falkor_status falkor__release(falkor_conn *conn,
                                                    int64_t ended_ns) {
    falkor__slot *slot = conn->slot;
    falkor_pool *pool = slot->pool;
    const falkor_driver driver = {.reset = pool->driver->reset};
    void *driver_ctx = pool->driver_ctx;
    int64_t now = ended_ns ? ended_ns : falkor__coarse_ns();
    int64_t reset_ns = falkor__reset_ns(pool, now);
    if (!falkor__claim(conn))
        return FALKOR_ERR_ARGUMENT;
    if (!FALKOR__LIKELY(!slot->noted))
        falkor__see_to(pool, slot, ended_ns);
    bool broken = slot->noted;
    bool clean = broken || !driver.reset ||
        !driver.reset(driver_ctx, slot->handle, reset_ns);
    if (!clean || broken || !falkor__into_pocket(pool, slot, now))
        falkor__release_booked(pool, slot, clean, now);
    return FALKOR_OK;
}

falkor_status falkor_release(falkor_conn *conn) {
    return conn ? falkor__release(conn, 0) : FALKOR_ERR_ARGUMENT;
}

falkor_status falkor__conn_end(falkor_conn *conn, int64_t now) {
    return falkor__release(conn, now);
}

/* A lease that its holder has, at this moment. */
static bool falkor__is_held(const falkor_conn *conn) {
    int state = atomic_load(&conn->state);
    return state == FALKOR__LEASE_HELD || state == FALKOR__LEASE_CUT;
}

void *falkor_conn_handle(const falkor_conn *conn) {
    return conn && falkor__is_held(conn) &&
           conn->slot->pool->driver != &falkor__link_driver
        ? conn->slot->handle : NULL;
}

falkor__link *falkor__conn_link(const falkor_pool *pool,
                                const falkor_conn *conn) {
    return conn->slot->pool == pool && falkor__is_held(conn) &&
           pool->driver == &falkor__link_driver ? conn->slot->handle : NULL;
}

void falkor_conn_mark_broken(falkor_conn *conn) {
    if (conn && falkor__is_held(conn))
        conn->slot->broken = conn->slot->noted = true;
}

/* ---- for falkor.c ----------------------------------------------------- */

void falkor__pool_answered(falkor_pool *pool) {
    falkor__circuit_answered(pool, false);
}

void falkor__pool_failed(falkor_pool *pool, const falkor_conn *conn,
                         const falkor_error *error) {
    falkor__slot_failed(pool, conn->slot, error);
}

const falkor__config *falkor__pool_config(const falkor_pool *pool) {
    return &pool->config;
}

falkor__recorder *falkor__pool_recorder(const falkor_pool *pool) {
    return pool->recorder;
}

void **falkor__pool_client(falkor_pool *pool) {
    return &pool->client;
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
void falkor__pool_stand_for(falkor_pool *pool, const falkor__front *front,
                            void *self) {
    pool->front_self = self;
    pool->front = front;
}

void *falkor__pool_front(const falkor_pool *pool) {
    return pool->front_self;
}
#endif

bool falkor__pool_sleep(falkor_pool *pool, int64_t deadline_ns) {
    falkor__lock(pool);
    while (pool->state != FALKOR__POOL_CLOSED &&
           falkor__wait_locked(pool, &pool->changed, deadline_ns))
        continue;
    bool open = pool->state != FALKOR__POOL_CLOSED;
    falkor__unlock(pool);
    return open;
}

bool falkor__pool_is_closed(falkor_pool *pool) {
    return atomic_load(&pool->closed);
}

/* ---- statistics ------------------------------------------------------- */

void falkor__stats_locked(falkor_pool *pool, falkor_stats *stats) {
    memset(stats, 0, sizeof *stats);
    stats->max_size = pool->config.max_size;
    stats->min_size = pool->config.min_size;
    stats->total = falkor__total(pool);
    stats->active = pool->in_use;
    stats->idle = pool->idle;
    stats->connecting = pool->connecting;
    stats->closing = pool->closing;
    stats->waiting = pool->waiting;
    for (size_t i = 0; i < pool->slot_count; i++)
        falkor__count_uses(&pool->slots[i], stats);
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
    if (pool->front || pool->resting)   /* it has none, or wants none */
        stats->max_size = stats->min_size = stats->reserve_size = 0;
    if (pool->resting)
        stats->circuit = FALKOR_CIRCUIT_CLOSED;
    falkor__stats_rate(stats);
}

static void falkor__stats_one(falkor_pool *pool, falkor_stats *stats) {
    falkor__lock(pool);
    falkor__stats_locked(pool, stats);
    falkor__unlock(pool);
    falkor__recorder_read(pool->recorder, stats);
}

/* What those have counted that the pool stands for. */
static void falkor__stats_of_members(falkor_pool *pool, falkor_stats *stats) {
    falkor_pool *member;
    falkor_stats one;
    bool spare;
    for (size_t i = 0; (member = pool->front->member(pool->front_self, i,
                                                     &spare)); i++) {
        falkor__stats_one(member, &one);
        if (spare)
            one.circuit = FALKOR_CIRCUIT_CLOSED;
        if (one.initialized || one.closed)      /* it was in use */
            falkor__stats_add(stats, &one);
    }
}

void falkor_pool_stats(falkor_pool *pool, falkor_stats *stats) {
    if (stats && pool) {
        falkor__stats_one(pool, stats);
        if (FALKOR__FRONTS && pool->front)
            falkor__stats_of_members(pool, stats);
    } else if (stats) {
        memset(stats, 0, sizeof *stats);
    }
}
