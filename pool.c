/* The blocking pool: slots for connections, a line of waiters, one worker
   thread. It knows a driver; no server, no protocol, no graphs.

   One mutex guards everything but what its comment says otherwise; nothing
   that can block runs while it is held, and no driver or user code. A
   connection lives in a slot, and a slot is in exactly one state: free (no
   connection), idle, in use, connecting (being dialled, or in the worker's
   hands for a check), closing. The last four are counted and their sum never
   exceeds max_size, for there are no more slots. Who waits is granted a slot
   under the lock, in order of arrival: with a connection, or empty, to dial
   for himself. A grant beats a timeout.

   A falkor_conn is a lease: it binds a holder to a slot from acquire to
   release. Leases are handed out of a ring, oldest first, so that a lease that
   was released stays refused for a long time. */
#include "internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct falkor__slot falkor__slot;
struct falkor__slot {
    void *handle;               /* the driver's; meaningful when live */
    bool live;                  /* there is a connection */
    falkor__slot *colder, *hotter;  /* idle neighbours; colder: next free */
    int64_t used_ns;            /* coarse clock: end of the last use */
    int64_t checked_ns;         /* the same, or the worker's last check */
    int64_t expires_ns;         /* end of its lifetime */
};

typedef enum falkor__lease_state {
    FALKOR__LEASE_FREE,         /* nobody's: a release is refused */
    FALKOR__LEASE_POOL,         /* in the pool's hands, in a driver call */
    FALKOR__LEASE_HELD,         /* the caller's */
    FALKOR__LEASE_CUT           /* held, and close is shutting it down */
} falkor__lease_state;

struct falkor_conn {
    falkor_pool *pool;
    falkor__slot *slot;         /* while not free */
    falkor_conn *next;          /* free ones, oldest first */
    atomic_int state;           /* a falkor__lease_state */
    bool broken;                /* the holder's */
};

typedef struct falkor__waiter falkor__waiter;
struct falkor__waiter {         /* on the stack of the thread that waits */
    falkor__waiter *before, *behind;
    falkor__cond wake;
    falkor__slot *slot;         /* granted; NULL when awake: closed */
    bool awake;
};

typedef enum falkor__pool_state {
    FALKOR__POOL_CREATED, FALKOR__POOL_OPENING, FALKOR__POOL_OPEN,
    FALKOR__POOL_CLOSED
} falkor__pool_state;

struct falkor_pool {
    falkor__config config;              /* constant */
    const falkor_driver *driver;        /* constant */
    void *driver_ctx;                   /* constant */
    falkor__counters counters;          /* atomic */
    void *client;                       /* falkor.c's */
    falkor__slot *slots;
    falkor_conn *leases;
    size_t lease_count;
    falkor__thread worker;              /* the opener's, then destroy's */
    atomic_bool cutting;        /* close has begun to shut sockets down */

    falkor__mutex mutex;                /* guards all below */
    falkor__cond changed;       /* state, or any change once closed */
    falkor__cond work;          /* the worker's */
    falkor__pool_state state;
    bool has_worker, orphan;    /* orphan: freed, the last release frees it */
    bool warned;                /* of high utilisation */
    int idle, in_use, connecting, closing, waiting;
    falkor__slot *hottest, *coldest;    /* the idle */
    falkor__slot *first_free;
    falkor_conn *oldest_lease, *newest_lease;
    falkor__waiter *first_waiter, *last_waiter;
    uint64_t acquires, releases, acquire_timeouts, connections_created,
        connections_recycled, connect_failures, health_failures;
};

#define FALKOR__WARN_PERCENT 80
#define FALKOR__REARM_PERCENT 60
#define FALKOR__FREE_WAIT_MS 10000      /* what free gives to close */

/* ---- lock and law ----------------------------------------------------- */

static int falkor__total(const falkor_pool *pool) {
    return pool->idle + pool->in_use + pool->connecting + pool->closing;
}

#ifdef FALKOR_DEBUG
/* Every slot is in exactly one state, the lists agree with the counts, and
   nobody waits while there is something to give. */
static void falkor__assert_law(const falkor_pool *pool) {
    int free_slots = 0, idle = 0, waiting = 0;
    for (falkor__slot *s = pool->first_free; s; s = s->colder)
        free_slots++;
    for (falkor__slot *s = pool->hottest; s; s = s->colder)
        idle++;
    for (falkor__waiter *w = pool->first_waiter; w; w = w->behind)
        waiting++;
    assert(pool->idle >= 0 && pool->in_use >= 0);
    assert(pool->connecting >= 0 && pool->closing >= 0);
    assert(falkor__total(pool) + free_slots == pool->config.max_size);
    assert(idle == pool->idle && waiting == pool->waiting);
    assert(!waiting || pool->state != FALKOR__POOL_OPEN ||
           (!idle && !free_slots));
}
#else
static void falkor__assert_law(const falkor_pool *pool) {
    (void)pool;
}
#endif

static void falkor__lock(falkor_pool *pool) {
    falkor__mutex_lock(&pool->mutex);
}

/* Once closed, every change may be what a closer waits for. */
static void falkor__unlock(falkor_pool *pool) {
    falkor__assert_law(pool);
    if (pool->state == FALKOR__POOL_CLOSED)
        falkor__cond_broadcast(&pool->changed);
    falkor__mutex_unlock(&pool->mutex);
}

/* ---- slots, leases, waiters: the lock is held -------------------------- */

static void falkor__push_idle_locked(falkor_pool *pool, falkor__slot *slot) {
    slot->hotter = NULL;
    slot->colder = pool->hottest;
    if (pool->hottest)
        pool->hottest->hotter = slot;
    else
        pool->coldest = slot;
    pool->hottest = slot;
    pool->idle++;
}

/* Back to where the worker took it from: nobody has used it since. */
static void falkor__push_cold_locked(falkor_pool *pool, falkor__slot *slot) {
    slot->colder = NULL;
    slot->hotter = pool->coldest;
    if (pool->coldest)
        pool->coldest->colder = slot;
    else
        pool->hottest = slot;
    pool->coldest = slot;
    pool->idle++;
}

static void falkor__take_idle_locked(falkor_pool *pool, falkor__slot *slot) {
    if (slot->hotter)
        slot->hotter->colder = slot->colder;
    else
        pool->hottest = slot->colder;
    if (slot->colder)
        slot->colder->hotter = slot->hotter;
    else
        pool->coldest = slot->hotter;
    pool->idle--;
}

static void falkor__push_free_locked(falkor_pool *pool, falkor__slot *slot) {
    slot->colder = pool->first_free;
    pool->first_free = slot;
}

static falkor__slot *falkor__take_free_locked(falkor_pool *pool) {
    falkor__slot *slot = pool->first_free;
    if (slot)
        pool->first_free = slot->colder;
    return slot;
}

static falkor_conn *falkor__lease_locked(falkor_pool *pool,
                                         falkor__slot *slot) {
    falkor_conn *conn = pool->oldest_lease;
    pool->oldest_lease = conn->next;    /* more leases than slots: never out */
    conn->slot = slot;
    conn->broken = false;
    atomic_store_explicit(&conn->state, FALKOR__LEASE_POOL,
                          memory_order_relaxed);
    pool->acquires++;
    return conn;
}

static void falkor__unlease_locked(falkor_pool *pool, falkor_conn *conn) {
    conn->slot = NULL;
    conn->next = NULL;
    atomic_store_explicit(&conn->state, FALKOR__LEASE_FREE,
                          memory_order_relaxed);
    pool->newest_lease->next = conn;
    pool->newest_lease = conn;
}

static void falkor__enqueue_locked(falkor_pool *pool, falkor__waiter *waiter) {
    waiter->before = pool->last_waiter;
    if (pool->last_waiter)
        pool->last_waiter->behind = waiter;
    else
        pool->first_waiter = waiter;
    pool->last_waiter = waiter;
    pool->waiting++;
}

static void falkor__dequeue_locked(falkor_pool *pool, falkor__waiter *waiter) {
    if (waiter->before)
        waiter->before->behind = waiter->behind;
    else
        pool->first_waiter = waiter->behind;
    if (waiter->behind)
        waiter->behind->before = waiter->before;
    else
        pool->last_waiter = waiter->before;
    pool->waiting--;
}

/* Gives a slot that nobody has to who waits longest; if nobody waits, the
   connection becomes idle, the empty slot free, and the worker learns when
   min_size is no longer there. cold: the worker brings it back unused. The waiter is signalled under the lock, for it lies on its
   owner's stack, which is gone as soon as he has seen the grant. */
static void falkor__hand_over_locked(falkor_pool *pool, falkor__slot *slot,
                                     bool cold) {
    falkor__waiter *waiter = pool->first_waiter;
    if (waiter) {
        falkor__dequeue_locked(pool, waiter);
        if (slot->live)
            pool->in_use++;
        else
            pool->connecting++;
        waiter->slot = slot;
        waiter->awake = true;
        falkor__cond_signal(&waiter->wake);
    } else if (!slot->live) {
        falkor__push_free_locked(pool, slot);
        if (falkor__total(pool) < pool->config.min_size)
            falkor__cond_signal(&pool->work);
    } else if (cold) {
        falkor__push_cold_locked(pool, slot);
    } else {
        falkor__push_idle_locked(pool, slot);
    }
}

/* Something for a newcomer: an idle connection, or room to dial. Nothing while
   others wait: nobody overtakes. */
static falkor__slot *falkor__take_locked(falkor_pool *pool) {
    falkor__slot *slot = NULL;
    if (pool->first_waiter)
        return NULL;
    if (pool->hottest) {
        slot = pool->hottest;
        falkor__take_idle_locked(pool, slot);
        pool->in_use++;
    } else if (pool->first_free) {
        slot = falkor__take_free_locked(pool);
        pool->connecting++;
    }
    return slot;
}

/* True once when more than 80 % are in use; armed again at 60 %. */
static bool falkor__crossed_high_locked(falkor_pool *pool) {
    int used = pool->in_use * 100, size = pool->config.max_size;
    bool crossed = used > FALKOR__WARN_PERCENT * size && !pool->warned;
    if (crossed)
        pool->warned = true;
    else if (used <= FALKOR__REARM_PERCENT * size)
        pool->warned = false;
    return crossed;
}

/* ---- driver calls: never with the lock held ---------------------------- */

static int64_t falkor__sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* An end of a connection's life that is not at the same moment for all. */
static int64_t falkor__expiry(const falkor_pool *pool,
                              const falkor__slot *slot) {
    int64_t now = falkor__coarse_ns();
    uint64_t seed = (uint64_t)falkor_now_ns() ^ (uint64_t)(uintptr_t)slot;
    if (pool->config.max_lifetime_ms < 0)
        return FALKOR__NEVER;
    double span = (double)pool->config.max_lifetime_ms *
        (0.9 + 0.2 * falkor__random(&seed));
    return now + (int64_t)span * FALKOR__NS_PER_MS;
}

/* Opens a connection in an empty slot that is the caller's. */
static falkor_status falkor__slot_open(falkor_pool *pool, falkor__slot *slot,
                                       int64_t deadline_ns,
                                       falkor_error *error) {
    falkor__error_clear(error);
    falkor_status status = pool->driver->open(pool->driver_ctx,
        falkor__sooner(deadline_ns,
                       falkor__deadline(pool->config.connect_timeout_ms)),
        &slot->handle, error);
    if (status) {
        if (status != FALKOR_ERR_AUTH)
            status = FALKOR_ERR_CONNECT;
        if (!*error->message)
            falkor__fail(error, status, error->sys_errno,
                         "the driver could not open a connection");
        return error->status = status;
    }
    slot->live = true;
    slot->used_ns = slot->checked_ns = falkor__coarse_ns();
    slot->expires_ns = falkor__expiry(pool, slot);
    return FALKOR_OK;
}

static void falkor__slot_close(falkor_pool *pool, falkor__slot *slot) {
    pool->driver->close(pool->driver_ctx, slot->handle);
    slot->live = false;
}

/* FAST always; MEDIUM after a long idle time, within half of what the caller
   has left, so that a new dial has the other half. */
static bool falkor__slot_fit(falkor_pool *pool, falkor__slot *slot,
                             int64_t deadline_ns) {
    const falkor_driver *driver = pool->driver;
    int after_ms = pool->config.validate_after_ms;
    if (!driver->check)
        return true;
    if (driver->check(pool->driver_ctx, slot->handle, FALKOR_CHECK_FAST, 0))
        return false;
    if (after_ms < 0 || falkor__coarse_ns() - slot->used_ns <=
                            after_ms * FALKOR__NS_PER_MS)
        return true;
    int64_t now = falkor_now_ns();
    int64_t limit = falkor__deadline(pool->config.connect_timeout_ms);
    if (deadline_ns != FALKOR__NEVER)
        limit = falkor__sooner(limit, now + (deadline_ns - now) / 2);
    return driver->check(pool->driver_ctx, slot->handle, FALKOR_CHECK_MEDIUM,
                         limit) == FALKOR_OK;
}

static void falkor__tell_recycled(falkor_pool *pool, const char *reason) {
    falkor__event(&pool->config, (falkor__event_head){
        .level = FALKOR_EVENT_INFO, .name = "connection_recycled"},
        "reason=%s", reason);
}

static void falkor__tell_failed(falkor_pool *pool, const falkor_error *error,
                                int delay_ms) {
    char quoted[sizeof error->message + 16];
    falkor__event(&pool->config, (falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "connection_failed",
        .status = error->status, .delay_ms = delay_ms},
        "error=%s delay_ms=%d",
        falkor__quote(quoted, sizeof quoted, error->message), delay_ms);
}

static void falkor__tell_high(falkor_pool *pool) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    falkor__event(&pool->config, (falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "high_pool_utilization"},
        "utilization_percent=%.0f active=%d max=%d",
        now.utilization_percent, now.active, now.max_size);
}

/* Closes the connection in a slot that is counted nowhere at the moment, and
   hands the empty slot over. reason NULL: not worth an event. The lock is
   released meanwhile. */
static void falkor__retire_locked(falkor_pool *pool, falkor__slot *slot,
                                  const char *reason) {
    pool->closing++;
    falkor__unlock(pool);
    falkor__slot_close(pool, slot);
    if (reason)
        falkor__tell_recycled(pool, reason);
    falkor__lock(pool);
    pool->closing--;
    falkor__hand_over_locked(pool, slot, false);
}

/* Closes every idle connection. The lock is released meanwhile. */
static void falkor__close_idle_locked(falkor_pool *pool) {
    while (pool->coldest) {
        falkor__slot *slot = pool->coldest;
        falkor__take_idle_locked(pool, slot);
        falkor__retire_locked(pool, slot, NULL);
    }
}

/* ---- acquire ---------------------------------------------------------- */

/* Why nobody gets in, in this state. */
static falkor_status falkor__refusal(falkor__pool_state state,
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

/* Stands in line until granted a slot, or closed, or the deadline. */
static falkor_status falkor__wait_locked(falkor_pool *pool,
                                         int64_t deadline_ns,
                                         falkor__slot **slot) {
    falkor__waiter self = {0};
    if (!falkor__cond_init(&self.wake))
        return FALKOR_ERR_NOMEM;
    falkor__enqueue_locked(pool, &self);
    while (!self.awake &&
           falkor__cond_wait(&self.wake, &pool->mutex, deadline_ns))
        continue;
    if (!self.awake)
        falkor__dequeue_locked(pool, &self);
    falkor__cond_destroy(&self.wake);
    *slot = self.slot;
    return self.slot ? FALKOR_OK : self.awake ? FALKOR_ERR_CLOSED
                                              : FALKOR_ERR_POOL_TIMEOUT;
}

/* A slot for the caller, by whatever way; else why not. */
static falkor_status falkor__admit_locked(falkor_pool *pool,
                                          int64_t deadline_ns, bool may_wait,
                                          falkor__slot **slot,
                                          falkor_error *error) {
    const falkor__config *config = &pool->config;
    falkor_status status = falkor__refusal(pool->state, error);
    if (status || (*slot = falkor__take_locked(pool)) != NULL)
        return status;
    if (may_wait && config->max_waiters >= 0 &&
        pool->waiting >= config->max_waiters)
        return falkor__fail(error, FALKOR_ERR_POOL_EXHAUSTED, 0,
            "%d wait for a connection already (max_waiters), %d of %d in use: "
            "raise max_size or max_waiters", pool->waiting, pool->in_use,
            config->max_size);
    int64_t since = falkor_now_ns();
    status = may_wait ? falkor__wait_locked(pool, deadline_ns, slot)
                      : FALKOR_ERR_POOL_TIMEOUT;
    if (status == FALKOR_ERR_CLOSED)
        return falkor__refusal(pool->state, error);
    if (status == FALKOR_ERR_NOMEM)
        return falkor__fail(error, status, 0,
            "no condition variable to wait on: out of memory");
    if (status == FALKOR_ERR_POOL_TIMEOUT) {
        pool->acquire_timeouts++;
        falkor__fail(error, status, 0, "no connection free after %.2f s (%d of "
            "%d in use, %d waiting): raise max_size or look for a leak",
            (double)(falkor_now_ns() - since) / 1e9, pool->in_use,
            config->max_size, pool->waiting);
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
    } else {
        pool->connecting++;
    }
    falkor__unlock(pool);
}

/* Dials for the caller in a slot counted as connecting. On failure the slot
   goes to who waits longest, who will try himself. */
static falkor_status falkor__connect(falkor_pool *pool, falkor_conn *conn,
                                     falkor__slot *slot, int64_t deadline_ns,
                                     falkor_error *error) {
    falkor_status status = falkor__slot_open(pool, slot, deadline_ns, error);
    falkor__lock(pool);
    pool->connecting--;
    if (!status) {
        pool->in_use++;
        pool->connections_created++;
    } else {
        pool->connect_failures++;
        pool->acquires--;
        falkor__unlease_locked(pool, conn);
        falkor__hand_over_locked(pool, slot, false);
    }
    falkor__unlock(pool);
    if (status)
        falkor__tell_failed(pool, error, 0);
    return status;
}

/* Makes sure that the granted slot holds a fit connection. */
static falkor_status falkor__settle(falkor_pool *pool, falkor_conn *conn,
                                    int64_t deadline_ns, falkor_error *error) {
    falkor__slot *slot = conn->slot;
    while (slot->live && !falkor__slot_fit(pool, slot, deadline_ns))
        falkor__replace(pool, &slot);
    conn->slot = slot;
    return slot->live ? FALKOR_OK
        : falkor__connect(pool, conn, slot, deadline_ns, error);
}

/* Hands the lease to its holder. When close has begun to cut meanwhile, either
   it sees this lease as held, or we see that it cuts. */
static falkor_status falkor__hold(falkor_pool *pool, falkor_conn *conn,
                                  falkor_error *error) {
    atomic_store(&conn->state, FALKOR__LEASE_HELD);
    if (FALKOR__LIKELY(!atomic_load(&pool->cutting)))
        return FALKOR_OK;
    falkor_release(conn);
    return falkor__refusal(FALKOR__POOL_CLOSED, error);
}

falkor_status falkor__pool_acquire(falkor_pool *pool, int64_t deadline_ns,
                                   bool may_wait, falkor_conn **conn,
                                   falkor_error *error) {
    falkor__slot *slot = NULL;
    falkor_conn *lease = NULL;
    bool crossed = false;
    *conn = NULL;
    falkor__lock(pool);
    falkor_status status = falkor__admit_locked(pool, deadline_ns, may_wait,
                                                &slot, error);
    if (!status) {
        lease = falkor__lease_locked(pool, slot);
        crossed = falkor__crossed_high_locked(pool);
    }
    falkor__unlock(pool);
    if (!status)
        status = falkor__settle(pool, lease, deadline_ns, error);
    if (!status)
        status = falkor__hold(pool, lease, error);
    if (crossed)
        falkor__tell_high(pool);
    if (!status)
        *conn = lease;
    return status;
}

falkor_status falkor_acquire_within(falkor_pool *pool, int timeout_ms,
                                    falkor_conn **conn, falkor_error *error) {
    falkor_error own;
    if (!error)
        error = &own;
    falkor__error_clear(error);
    if (conn)
        *conn = NULL;
    if (!pool || !conn)
        return falkor__fail(error, FALKOR_ERR_ARGUMENT, 0,
            "falkor_acquire: %s is NULL", pool ? "conn" : "pool");
    /* Without waiting a dial still gets its own time. */
    return falkor__pool_acquire(pool,
        timeout_ms ? falkor__deadline(timeout_ms) : FALKOR__NEVER,
        timeout_ms != 0, conn, error);
}

falkor_status falkor_acquire(falkor_pool *pool, falkor_conn **conn,
                             falkor_error *error) {
    return falkor_acquire_within(pool,
        pool ? pool->config.pool_timeout_ms : 0, conn, error);
}

/* ---- release ---------------------------------------------------------- */

static void falkor__pool_free_memory(falkor_pool *pool) {
    falkor__cond_destroy(&pool->work);
    falkor__cond_destroy(&pool->changed);
    falkor__mutex_destroy(&pool->mutex);
    falkor__config_free(&pool->config);
    free(pool->leases);
    free(pool->slots);
    free(pool);
}

/* Takes the lease out of its holder's hands: false when it is not in them.
   While close is shutting the connection down, waits for that. */
static bool falkor__claim(falkor_conn *conn) {
    int state = FALKOR__LEASE_HELD;
    while (!atomic_compare_exchange_strong(&conn->state, &state,
                                           FALKOR__LEASE_POOL)) {
        if (state != FALKOR__LEASE_CUT)
            return false;
        falkor__lock(conn->pool);
        while (atomic_load(&conn->state) == FALKOR__LEASE_CUT)
            falkor__cond_wait(&conn->pool->changed, &conn->pool->mutex,
                              FALKOR__NEVER);
        falkor__unlock(conn->pool);
        state = FALKOR__LEASE_HELD;
    }
    return true;
}

/* Whether the released connection may be used again, and if not, why. */
static bool falkor__reusable(falkor_pool *pool, const falkor_conn *conn,
                             const char **reason) {
    falkor__slot *slot = conn->slot;
    int timeout_ms = pool->config.connect_timeout_ms;
    int64_t now = falkor__coarse_ns();
    slot->used_ns = slot->checked_ns = now;
    *reason = conn->broken ? "broken"
        : pool->driver->reset && pool->driver->reset(pool->driver_ctx,
              slot->handle, timeout_ms < 0 ? FALKOR__NEVER
                  : now + timeout_ms * FALKOR__NS_PER_MS) ? "not_reset"
        : slot->expires_ns <= now ? "max_lifetime" : NULL;
    return !*reason;
}

falkor_status falkor_release(falkor_conn *conn) {
    if (!conn || !falkor__claim(conn))
        return FALKOR_ERR_ARGUMENT;
    falkor_pool *pool = conn->pool;
    falkor__slot *slot = conn->slot;
    const char *reason;
    bool keep = falkor__reusable(pool, conn, &reason);
    falkor__lock(pool);
    falkor__unlease_locked(pool, conn);
    pool->releases++;
    pool->in_use--;
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    if (keep && !closed) {
        falkor__hand_over_locked(pool, slot, false);
    } else {
        pool->connections_recycled += !closed;
        falkor__retire_locked(pool, slot, closed ? NULL : reason);
    }
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

/* ---- worker ----------------------------------------------------------- */

typedef enum falkor__duty {
    FALKOR__DUTY_NONE, FALKOR__DUTY_LIFETIME, FALKOR__DUTY_IDLE,
    FALKOR__DUTY_CHECK
} falkor__duty;

/* What is due for an idle connection now, or when the next thing will be. */
static falkor__duty falkor__duty_locked(const falkor_pool *pool,
                                        const falkor__slot *slot, int64_t now,
                                        int64_t *due_ns) {
    const falkor__config *config = &pool->config;
    if (slot->expires_ns <= now)
        return FALKOR__DUTY_LIFETIME;
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
        int64_t at = slot->checked_ns +
            config->health_check_interval_ms * FALKOR__NS_PER_MS;
        if (at <= now)
            return FALKOR__DUTY_CHECK;
        *due_ns = falkor__sooner(*due_ns, at);
    }
    return FALKOR__DUTY_NONE;
}

/* Does one duty on a connection taken out of the idle ones. The lock is
   released meanwhile. */
static void falkor__serve_idle_locked(falkor_pool *pool, falkor__slot *slot,
                                      falkor__duty duty) {
    falkor__take_idle_locked(pool, slot);
    if (duty == FALKOR__DUTY_CHECK) {
        pool->connecting++;
        falkor__unlock(pool);
        bool fit = !pool->driver->check(pool->driver_ctx, slot->handle,
            FALKOR_CHECK_DEEP,
            falkor__deadline(pool->config.connect_timeout_ms));
        slot->checked_ns = falkor__coarse_ns();
        falkor__lock(pool);
        pool->connecting--;
        pool->health_failures += !fit;
        if (fit) {                      /* idle again; close sees to it */
            falkor__hand_over_locked(pool, slot, true);
            return;
        }
    }
    pool->connections_recycled++;
    falkor__retire_locked(pool, slot, duty == FALKOR__DUTY_LIFETIME
        ? "max_lifetime" : duty == FALKOR__DUTY_IDLE ? "idle_timeout"
        : "health_check");
}

/* Dials one connection towards min_size. Returns the pause before the next
   try: 0 after a success. The lock is released meanwhile. */
static int falkor__refill_locked(falkor_pool *pool, int failures) {
    const falkor__config *config = &pool->config;
    falkor__slot *slot = falkor__take_free_locked(pool);
    falkor_error error;
    int delay_ms = 0;
    pool->connecting++;
    falkor__unlock(pool);
    falkor_status status = falkor__slot_open(pool, slot, FALKOR__NEVER,
                                             &error);
    if (status) {
        uint64_t seed = (uint64_t)falkor_now_ns();
        delay_ms = falkor__backoff_ms(&(falkor__policy){
            .initial_delay_ms = config->retry_initial_delay_ms,
            .max_delay_ms = config->retry_max_delay_ms,
            .base = config->retry_base, .jitter = config->retry_jitter},
            failures + 1, falkor__random(&seed));
        if (delay_ms < 1)
            delay_ms = 1;
        falkor__tell_failed(pool, &error, delay_ms);
    }
    falkor__lock(pool);
    pool->connecting--;
    if (status)
        pool->connect_failures++;
    else
        pool->connections_created++;
    falkor__hand_over_locked(pool, slot, true);
    return delay_ms;
}

/* The first idle connection, from the cold end, for which something is due. */
static falkor__slot *falkor__due_locked(falkor_pool *pool, int64_t now,
                                        falkor__duty *duty, int64_t *due_ns) {
    for (falkor__slot *slot = pool->coldest; slot; slot = slot->hotter)
        if ((*duty = falkor__duty_locked(pool, slot, now, due_ns)))
            return slot;
    return NULL;
}

/* A connection that becomes idle while the worker sleeps has nothing due
   before the shortest of these periods is over. */
static int64_t falkor__nap_locked(const falkor_pool *pool, int64_t now) {
    const int periods[] = {pool->config.idle_timeout_ms,
        pool->config.health_check_interval_ms,
        pool->config.max_lifetime_ms};
    int64_t until = FALKOR__NEVER;
    for (size_t i = 0; i < sizeof periods / sizeof *periods; i++)
        if (periods[i] >= 0)
            until = falkor__sooner(until,
                                   now + periods[i] * FALKOR__NS_PER_MS);
    return until;
}

/* The worker's life: one duty at a time, then sleep until the next. */
static void *falkor__worker(void *argument) {
    falkor_pool *pool = argument;
    int failures = 0;
    int64_t dial_ns = 0;                /* not before */
    falkor__lock(pool);
    while (pool->state != FALKOR__POOL_CLOSED) {
        int64_t now = falkor_now_ns(), due_ns = falkor__nap_locked(pool, now);
        falkor__duty duty;
        falkor__slot *slot = falkor__due_locked(pool, now, &duty, &due_ns);
        bool lacks = falkor__total(pool) < pool->config.min_size;
        if (slot) {
            falkor__serve_idle_locked(pool, slot, duty);
        } else if (lacks && dial_ns <= now) {
            int delay_ms = falkor__refill_locked(pool, failures);
            failures = delay_ms ? failures + 1 : 0;
            dial_ns = falkor_now_ns() + delay_ms * FALKOR__NS_PER_MS;
        } else {
            falkor__cond_wait(&pool->work, &pool->mutex,
                lacks ? falkor__sooner(due_ns, dial_ns) : due_ns);
        }
    }
    falkor__close_idle_locked(pool);    /* what it brought back too late */
    falkor__unlock(pool);
    return NULL;
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
        if (!falkor__cond_wait(&pool->changed, &pool->mutex, deadline_ns) &&
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
    falkor__slot *slot = falkor__take_free_locked(pool);
    pool->connecting++;
    falkor__unlock(pool);
    falkor_status status = falkor__slot_open(pool, slot, deadline_ns, error);
    falkor__lock(pool);
    pool->connecting--;
    if (status)
        pool->connect_failures++;
    else
        pool->connections_created++;
    falkor__hand_over_locked(pool, slot, false);
    falkor__unlock(pool);
    if (status)
        falkor__tell_failed(pool, error, 0);
    return status;
}

falkor_status falkor__pool_start(falkor_pool *pool, int64_t deadline_ns,
                                 falkor_conn **conn, falkor_error *error) {
    falkor__pool_state found;
    *conn = NULL;
    falkor_status status = falkor__begin_opening(pool, deadline_ns, &found,
                                                 error);
    if (status || found == FALKOR__POOL_OPEN)
        return status;
    int wanted = pool->config.min_size > 0 ? pool->config.min_size : 1;
    for (int i = 0; i < wanted && !status; i++)
        status = falkor__open_one(pool, deadline_ns, error);
    if (status)
        return falkor__pool_finish(pool, NULL, status, NULL);
    falkor__lock(pool);
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    falkor_conn *lease = closed ? NULL
        : falkor__lease_locked(pool, falkor__take_locked(pool));
    falkor__unlock(pool);
    status = closed ? falkor__refusal(FALKOR__POOL_CLOSED, error)
                    : falkor__hold(pool, lease, error);
    if (status)
        return falkor__pool_finish(pool, NULL, status, NULL);
    *conn = lease;
    return FALKOR_OK;
}

falkor_status falkor__pool_finish(falkor_pool *pool, falkor_conn *conn,
                                  falkor_status status, falkor_error *error) {
    bool worker = !status &&
        falkor__thread_start(&pool->worker, falkor__worker, pool);
    if (!status && !worker)
        status = falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                              "cannot start the pool's worker thread");
    if (conn)
        falkor_release(conn);
    falkor__lock(pool);
    pool->has_worker = worker;
    bool closed = pool->state == FALKOR__POOL_CLOSED;
    if (status || closed)
        falkor__close_idle_locked(pool);
    if (!closed)
        pool->state = status ? FALKOR__POOL_CREATED : FALKOR__POOL_OPEN;
    falkor__cond_broadcast(&pool->changed);
    falkor__unlock(pool);
    if (!status && closed)
        return falkor__refusal(FALKOR__POOL_CLOSED, error);
    if (!status)
        falkor__event(&pool->config, (falkor__event_head){
            .name = "connection_pool_initialized"}, "max_size=%d timeout_ms=%d",
            pool->config.max_size, pool->config.pool_timeout_ms);
    return status;
}

/* ---- close and free --------------------------------------------------- */

/* Sends everyone who waits home. */
static void falkor__dismiss_locked(falkor_pool *pool) {
    while (pool->first_waiter) {
        falkor__waiter *waiter = pool->first_waiter;
        falkor__dequeue_locked(pool, waiter);
        waiter->awake = true;
        falkor__cond_signal(&waiter->wake);
    }
}

/* Shuts down what is still held. Each lease is marked meanwhile, so that its
   release waits; the lock is not held during a driver call. */
static void falkor__cut(falkor_pool *pool) {
    atomic_store(&pool->cutting, true);
    for (size_t i = 0; i < pool->lease_count; i++) {
        falkor_conn *conn = &pool->leases[i];
        int state = FALKOR__LEASE_HELD;
        if (!pool->driver->shutdown ||
            !atomic_compare_exchange_strong(&conn->state, &state,
                                            FALKOR__LEASE_CUT))
            continue;
        pool->driver->shutdown(pool->driver_ctx, conn->slot->handle);
        falkor__lock(pool);
        atomic_store(&conn->state, FALKOR__LEASE_HELD);
        falkor__unlock(pool);
    }
}

falkor_status falkor_pool_close(falkor_pool *pool, int timeout_ms) {
    if (!pool)
        return FALKOR_OK;
    int64_t deadline_ns = falkor__deadline(timeout_ms);
    falkor__lock(pool);
    bool first = pool->state != FALKOR__POOL_CLOSED;
    pool->state = FALKOR__POOL_CLOSED;
    falkor__dismiss_locked(pool);
    falkor__cond_signal(&pool->work);
    falkor__unlock(pool);
    if (first)
        falkor__event(&pool->config, (falkor__event_head){
            .name = "closing_connection_pool"}, "%s", "");
    falkor__lock(pool);
    falkor__close_idle_locked(pool);
    while (falkor__total(pool) > 0 &&
           falkor__cond_wait(&pool->changed, &pool->mutex, deadline_ns))
        continue;
    int left = falkor__total(pool);
    falkor__unlock(pool);
    if (left > 0) {
        falkor__cut(pool);
        falkor__event(&pool->config, (falkor__event_head){
            .level = FALKOR_EVENT_WARNING, .name = "close_error",
            .status = FALKOR_ERR_TIMEOUT},
            "error=\"%d connections still in use were cut\"", left);
    }
    if (first)
        falkor__event(&pool->config, (falkor__event_head){
            .name = "connection_pool_closed"}, "%s", "");
    return left > 0 ? FALKOR_ERR_TIMEOUT : FALKOR_OK;
}

void falkor__pool_destroy(falkor_pool *pool) {
    falkor_pool_close(pool, FALKOR__FREE_WAIT_MS);
    if (pool->has_worker)
        falkor__thread_join(&pool->worker);
    falkor__lock(pool);
    pool->orphan = true;
    bool last = pool->in_use + pool->closing == 0;
    falkor__unlock(pool);
    if (last)
        falkor__pool_free_memory(pool);
}

/* ---- create ----------------------------------------------------------- */

/* Enough leases that one is not used again before max_size others were. */
static size_t falkor__lease_room(const falkor__config *config) {
    return (size_t)config->max_size * 2 + 16;
}

static void falkor__link_up(falkor_pool *pool) {
    for (int i = 0; i < pool->config.max_size; i++)
        falkor__push_free_locked(pool, &pool->slots[i]);
    for (size_t i = 0; i < pool->lease_count; i++) {
        pool->leases[i].pool = pool;
        pool->leases[i].next =
            i + 1 < pool->lease_count ? &pool->leases[i + 1] : NULL;
    }
    pool->oldest_lease = pool->leases;
    pool->newest_lease = &pool->leases[pool->lease_count - 1];
}

falkor_status falkor__pool_new(falkor__config *config, falkor_pool **pool,
                               falkor_error *error) {
    size_t leases = falkor__lease_room(config);
    falkor_pool *made = calloc(1, sizeof *made);
    *pool = NULL;
    if (!made)
        goto no_pool;
    made->slots = calloc((size_t)config->max_size, sizeof *made->slots);
    made->leases = calloc(leases, sizeof *made->leases);
    if (!made->slots || !made->leases)
        goto no_room;
    if (!falkor__mutex_init(&made->mutex))
        goto no_room;
    if (!falkor__cond_init(&made->changed))
        goto no_changed;
    if (!falkor__cond_init(&made->work))
        goto no_work;
    made->config = *config;
    made->lease_count = leases;
    made->driver = config->driver.open ? &made->config.driver
                                       : &falkor__link_driver;
    made->driver_ctx = config->driver.open ? config->driver_ctx
                                           : &made->config;
    falkor__link_up(made);
    *pool = made;
    return FALKOR_OK;
no_work:
    falkor__cond_destroy(&made->changed);
no_changed:
    falkor__mutex_destroy(&made->mutex);
no_room:
    free(made->leases);
    free(made->slots);
    free(made);
no_pool:
    falkor__config_free(config);
    return falkor__fail(error, FALKOR_ERR_NOMEM, 0,
                        "out of memory for a pool");
}

/* ---- for falkor.c ----------------------------------------------------- */

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

/* ---- statistics ------------------------------------------------------- */

void falkor_pool_stats(falkor_pool *pool, falkor_stats *stats) {
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
    falkor__unlock(pool);
    stats->utilization_percent = 100.0 * stats->active / stats->max_size;
    falkor__counters_read(&pool->counters, stats);
}
