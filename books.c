/* The pool's books: see books.h. The moves of connections between states, who
   is granted what, and the calls on the driver that go with them. */
#include "books.h"
#include <assert.h>
#include <stdio.h>

#define FALKOR__WARN_PERCENT 80
#define FALKOR__REARM_PERCENT 60

static void falkor__set_pockets_locked(falkor_pool *pool)
    FALKOR__HOLDS(pool->mutex);

/* ---- lock and law ----------------------------------------------------- */

int falkor__total(const falkor_pool *pool) {
    return pool->idle + pool->in_use + pool->connecting + pool->closing;
}

/* In debug builds: every slot is in exactly one state, the lists agree with
   the counts, and nobody waits while there is something to give. */
static void falkor__assert_law(const falkor_pool *pool)
    FALKOR__HOLDS(pool->mutex) {
#ifdef FALKOR_DEBUG
    int free_slots = 0, idle = 0, waiting = 0;
    for (falkor__slot *s = pool->first_free;
         s && (size_t)free_slots <= pool->slot_count; s = s->colder)
        free_slots++;                   /* a list may have become a ring */
    for (falkor__slot *s = pool->hottest; s && idle <= pool->idle;
         s = s->colder)
        idle++;
    for (falkor__waiter *w = pool->first_waiter; w && waiting <= pool->waiting;
         w = w->behind)
        waiting++;
    assert(pool->idle >= 0 && pool->in_use >= 0);
    assert(pool->connecting >= 0 && pool->closing >= 0);
    assert((size_t)(falkor__total(pool) + free_slots) == pool->slot_count);
    assert(idle == pool->idle && waiting == pool->waiting);
    assert(!waiting || pool->state != FALKOR__POOL_OPEN || pool->paused ||
           (!idle && falkor__total(pool) >= pool->config.max_size));
#else
    (void)pool;
#endif
}

void falkor__lock_as_is(falkor_pool *pool) {
    falkor__mutex_lock(&pool->mutex);
}

void falkor__lock(falkor_pool *pool) {
    falkor__mutex_lock(&pool->mutex);
    falkor__collect_locked(pool);
}

/* Once closed, every change may be what a closer waits for. */
void falkor__unlock(falkor_pool *pool) {
    falkor__set_pockets_locked(pool);
    falkor__assert_law(pool);
    if (pool->state == FALKOR__POOL_CLOSED)
        falkor__cond_broadcast(&pool->changed);
    falkor__waiter *waiter = pool->decided;
    pool->decided = NULL;
    falkor__mutex_unlock(&pool->mutex);
    while (waiter) {
        falkor__waiter *next = waiter->behind;
        falkor__gong_strike(&waiter->gong);     /* then it may be gone */
        waiter = next;
    }
}

bool falkor__wait_locked(falkor_pool *pool, falkor__cond *cond,
                         int64_t deadline_ns) {
    if (!pool->decided)
        return falkor__cond_wait(cond, &pool->mutex, deadline_ns);
    falkor__unlock(pool);
    falkor__lock_as_is(pool);
    return true;
}

/* ---- pockets: the lock is held ------------------------------------------ */

falkor__slot falkor__shut;              /* its address only */

/* Empties a pocket, and shuts it when leaves is FALKOR__SHUT. */
static void falkor__empty_pocket_locked(falkor_pool *pool,
                                        falkor__pocket *pocket,
                                        falkor__slot *leaves)
    FALKOR__HOLDS(pool->mutex) {
    falkor__slot *slot = atomic_exchange(&pocket->slot, leaves);
    if (slot && slot != FALKOR__SHUT) {
        pool->in_use--;
        falkor__hand_over_locked(pool, slot, false);
    }
}

void falkor__collect_locked(falkor_pool *pool) {
    if (pool->pockets_open)
        FALKOR__POINT();
    for (int i = 0; pool->pockets_open && i < FALKOR__POCKETS; i++)
        if (atomic_load_explicit(&pool->pockets[i].slot, memory_order_relaxed))
            falkor__empty_pocket_locked(pool, &pool->pockets[i], NULL);
}

void falkor__shut_pockets_locked(falkor_pool *pool) {
    if (pool->pockets_open)
        FALKOR__POINT();
    for (int i = 0; pool->pockets_open && i < FALKOR__POCKETS; i++)
        falkor__empty_pocket_locked(pool, &pool->pockets[i], FALKOR__SHUT);
    pool->pockets_open = false;
}

/* Pockets are open where a connection that changes hands without the lock
   makes no difference to anybody: a waiter, the worker (what may not be used
   unchecked after less than its nap), who looks for leaks or crosses 80 %.
   They open one use earlier than they shut, for each costs some nanoseconds. */
static void falkor__set_pockets_locked(falkor_pool *pool) {
    const falkor__config *config = &pool->config;
    int used = pool->in_use + !pool->pockets_open;
    bool open = pool->has_pockets && pool->state == FALKOR__POOL_OPEN &&
        !pool->first_waiter && !pool->paused && !pool->wants_worker &&
        !pool->away && !pool->warned &&
        falkor__circuit_closed_locked(pool) &&
        falkor__total(pool) <= config->max_size &&
        used * 100 <= FALKOR__WARN_PERCENT * config->max_size;
    if (FALKOR__LIKELY(open == pool->pockets_open))
        return;
    if (!open)
        falkor__shut_pockets_locked(pool);
    for (int i = 0; open && i < FALKOR__POCKETS; i++)
        atomic_store(&pool->pockets[i].slot, NULL);
    pool->pockets_open = open;
}

/* ---- slots, leases, waiters: the lock is held -------------------------- */

static void falkor__push_idle_locked(falkor_pool *pool, falkor__slot *slot)
    FALKOR__HOLDS(pool->mutex) {
    slot->hotter = NULL;
    slot->colder = pool->hottest;
    if (pool->hottest)
        pool->hottest->hotter = slot;
    else
        pool->coldest = slot;
    pool->hottest = slot;
    pool->idle++;
    if (slot->expires_ns < pool->wake_ns)
        falkor__cond_signal(&pool->work);
}

/* Back to where the worker took it from: nobody has used it since. */
static void falkor__push_cold_locked(falkor_pool *pool, falkor__slot *slot)
    FALKOR__HOLDS(pool->mutex) {
    slot->colder = NULL;
    slot->hotter = pool->coldest;
    if (pool->coldest)
        pool->coldest->colder = slot;
    else
        pool->hottest = slot;
    pool->coldest = slot;
    pool->idle++;
}

void falkor__take_idle_locked(falkor_pool *pool, falkor__slot *slot) {
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

/* The worker learns when min_size is no longer there. */
void falkor__push_free_locked(falkor_pool *pool, falkor__slot *slot) {
    slot->colder = pool->first_free;
    pool->first_free = slot;
    if (falkor__total(pool) < pool->config.min_size)
        falkor__cond_signal(&pool->work);
}

falkor__slot *falkor__take_free_locked(falkor_pool *pool) {
    falkor__slot *slot = pool->first_free;
    if (slot)
        pool->first_free = slot->colder;
    return slot;
}

falkor_conn *falkor__lease_locked(falkor_pool *pool, falkor__slot *slot,
                                  const falkor__patience *patience) {
    uint64_t acquires;
    falkor_conn *conn = falkor__next_lease(slot, &acquires);
    slot->broken = slot->noted = false;
    if (falkor__seeks_leaks(&pool->config)) {
        slot->file = patience->file;
        slot->line = patience->line;
        slot->thread = falkor__thread_number();
        slot->since_ns = falkor__coarse_ns();
        slot->reported = false;
    }
    return conn;
}

void falkor__unlease_locked(falkor__slot *slot) {
    slot->since_ns = FALKOR__NEVER;
    atomic_store_explicit(&falkor__last_lease(slot)->state, FALKOR__LEASE_FREE,
                          memory_order_relaxed);
}

/* Who waits is served under the lock only. */
void falkor__enqueue_locked(falkor_pool *pool, falkor__waiter *waiter) {
    waiter->before = pool->last_waiter;
    if (pool->last_waiter)
        pool->last_waiter->behind = waiter;
    else
        pool->first_waiter = waiter;
    pool->last_waiter = waiter;
    pool->waiting++;
    falkor__shut_pockets_locked(pool);
}

void falkor__dequeue_locked(falkor_pool *pool, falkor__waiter *waiter) {
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

/* The hottest idle connection, or an empty slot where there is room to dial;
   the reserve is room too for who has waited for it. */
static falkor__slot *falkor__take_any_locked(falkor_pool *pool,
                                             bool reserve)
    FALKOR__HOLDS(pool->mutex) {
    falkor__slot *slot = NULL;
    if (pool->paused)
        return NULL;
    if (pool->hottest) {
        slot = pool->hottest;
        falkor__take_idle_locked(pool, slot);
        pool->in_use++;
    } else if (pool->first_free &&
               (reserve || falkor__total(pool) < pool->config.max_size)) {
        slot = falkor__take_free_locked(pool);
        pool->connecting++;
    }
    if (slot && pool->rests) {          /* it shall not sleep for so long */
        pool->rests = false;
        falkor__cond_signal(&pool->work);
    }
    return slot;
}

/* Takes a waiter out of the line: to be woken, with a slot or a status. */
static void falkor__decide_locked(falkor_pool *pool, falkor__waiter *waiter,
                                  falkor__slot *slot, falkor_status status)
    FALKOR__HOLDS(pool->mutex) {
    falkor__dequeue_locked(pool, waiter);
    waiter->slot = slot;
    waiter->status = status;
    waiter->decided = true;
    waiter->behind = NULL;
    if (pool->decided)
        pool->last_decided->behind = waiter;
    else
        pool->decided = waiter;
    pool->last_decided = waiter;
}

int64_t falkor__reserve_ns(const falkor_pool *pool,
                           const falkor__waiter *waiter) {
    return pool->config.reserve_size == 0 ? FALKOR__NEVER
        : waiter->since_ns + pool->config.reserve_after_ms * FALKOR__NS_PER_MS;
}

void falkor__serve_locked(falkor_pool *pool) {
    while (pool->first_waiter) {
        falkor__waiter *waiter = pool->first_waiter;
        bool reserve = pool->config.reserve_size &&
                       falkor__reserve_ns(pool, waiter) <= falkor_now_ns();
        falkor__slot *slot = falkor__take_any_locked(pool, reserve);
        if (!slot)
            return;
        waiter->crossed = falkor__crossed_high_locked(pool);
        falkor__decide_locked(pool, waiter, slot, FALKOR_OK);
    }
}

void falkor__dismiss_locked(falkor_pool *pool, falkor_status status) {
    while (pool->first_waiter)
        falkor__decide_locked(pool, pool->first_waiter, NULL, status);
}

void falkor__hand_over_locked(falkor_pool *pool, falkor__slot *slot,
                              bool cold) {
    if (!slot->live)
        falkor__push_free_locked(pool, slot);
    else if (cold)
        falkor__push_cold_locked(pool, slot);
    else
        falkor__push_idle_locked(pool, slot);
    if (pool->first_waiter)
        falkor__serve_locked(pool);
}

void falkor__bring_back_locked(falkor_pool *pool, falkor__slot *slot,
                               bool cold) {
    if (slot->live && slot->generation != pool->generation) {
        pool->connections_recycled++;
        falkor__retire_locked(pool, slot, "flush");
    } else {
        falkor__hand_over_locked(pool, slot, cold);
    }
}

/* Something for a newcomer. Nothing while others wait: nobody overtakes. What
   is in others' pockets is left to them as long as there is something else, and
   it does not look as if nearly all were in use. */
falkor__slot *falkor__take_locked(falkor_pool *pool) {
    if (pool->first_waiter)
        return NULL;
    if (!pool->hottest || (pool->in_use + 1) * 100 >
                              FALKOR__WARN_PERCENT * pool->config.max_size)
        falkor__collect_locked(pool);
    return falkor__take_any_locked(pool, pool->config.reserve_after_ms == 0);
}

/* True once when more than 80 % are in use; armed again at 60 %. */
bool falkor__crossed_high_locked(falkor_pool *pool) {
    int used = pool->in_use * 100, size = pool->config.max_size;
    bool crossed = used > FALKOR__WARN_PERCENT * size && !pool->warned;
    if (crossed)
        pool->warned = true;
    else if (used <= FALKOR__REARM_PERCENT * size)
        pool->warned = false;
    return crossed;
}

/* ---- marks ------------------------------------------------------------- */

/* A slot was released as often as it was acquired, but for the lease that is
   out. */
void falkor__count_uses(const falkor__slot *slot, falkor_stats *stats) {
    uint64_t acquires;
    int last;
    do {                                /* until the two go together */
        acquires = atomic_load(&slot->acquires);
        last = atomic_load(&slot->leases[acquires % FALKOR__LEASES].state);
    } while (acquires != atomic_load(&slot->acquires));
    stats->acquires += acquires - (last == FALKOR__LEASE_COMING);
    stats->releases += acquires - (last != FALKOR__LEASE_FREE);
}

#ifndef FALKOR_WITHOUT_STATISTICS
void falkor__mark_now_locked(falkor_pool *pool, int64_t now,
                             falkor__mark *mark) {
    falkor_stats stats = {0};
    uint64_t held_ns = 0;
    falkor__recorder_read(pool->recorder, &stats);
    for (size_t i = 0; i < pool->slot_count; i++) {
        int64_t timed_ns = atomic_load_explicit(&pool->slots[i].timed_ns,
                                                memory_order_relaxed);
        held_ns += timed_ns && timed_ns < now ? (uint64_t)(now - timed_ns) : 0;
        falkor__count_uses(&pool->slots[i], &stats);
    }
    held_ns += falkor__time_sum(pool->recorder, FALKOR_LATENCY_HOLD);
    *mark = (falkor__mark){.at_ns = now,
        .tries = stats.acquires + falkor__failed_waits(pool->recorder),
        .waited_ns = falkor__time_sum(pool->recorder, FALKOR_LATENCY_WAIT),
        .held_ns = held_ns,
        .errors = stats.queries - stats.errors[FALKOR_OK],
        .program_errors = stats.errors[FALKOR_ERR_ARGUMENT] +
            stats.errors[FALKOR_ERR_NOMEM] + stats.errors[FALKOR_ERR_QUERY] +
            stats.errors[FALKOR_ERR_CONSTRAINT] +
            stats.errors[FALKOR_ERR_LIMIT],
        .pool_errors = stats.errors[FALKOR_ERR_NOT_OPEN] +
            stats.errors[FALKOR_ERR_CLOSED] +
            stats.errors[FALKOR_ERR_POOL_TIMEOUT] +
            stats.errors[FALKOR_ERR_POOL_EXHAUSTED],
        .timeouts = falkor__bare_timeouts(pool->recorder)};
}

/* One that comes early, when the pool goes to rest, takes the place of the last
   early one: there are never more than two in the time of one. */
void falkor__mark_locked(falkor_pool *pool, int64_t now, bool rests) {
    int window_ms = pool->config.health.window_ms;
    int64_t every = window_ms * FALKOR__NS_PER_MS / 60;
    uint64_t count = pool->mark_count;
    const falkor__mark *last = &pool->marks[(count - 1) % FALKOR__MARKS];
    const falkor__mark *before = &pool->marks[(count - 2) % FALKOR__MARKS];
    bool due = now - last->at_ns >= every;
    if (window_ms < 0 || (!due && !rests))
        return;
    if (!due && count > 1 && now - before->at_ns < 2 * every)
        pool->mark_count--;
    falkor__mark_now_locked(pool, now,
                            &pool->marks[pool->mark_count++ % FALKOR__MARKS]);
}
#endif

/* ---- the circuit ------------------------------------------------------- */

#define FALKOR__PROBE_SIZE 48
static const char *falkor__next_probe(const falkor__breaker *breaker,
                                      char room[FALKOR__PROBE_SIZE]) {
    int64_t left_ms = (breaker->probe_ns - falkor_now_ns()) /
                      FALKOR__NS_PER_MS;
    snprintf(room, FALKOR__PROBE_SIZE, left_ms > 0 ? "the next probe in %d ms"
             : "a probe is due, or under way", (int)left_ms);
    return room;
}

falkor_status falkor__circuit_refusal_locked(falkor_pool *pool,
                                             falkor_error *error) {
    char probe[FALKOR__PROBE_SIZE], place[128];
    return falkor__fail(error, FALKOR_ERR_CIRCUIT_OPEN, pool->cause.sys_errno,
        "%s is not asked, for the circuit is open (breaker_failures is %d; "
        "%s); why it opened: %s",
        *falkor__place(&pool->config, place, sizeof place) ? place
                                                           : "the server",
        pool->config.breaker_failures,
        falkor__next_probe(&pool->breaker, probe), pool->cause.message);
}

void falkor__circuit_answered_again(falkor_pool *pool, bool dialled) {
    falkor__lock(pool);
    bool closes = falkor__breaker_answer(&pool->breaker, dialled);
    if (closes)
        falkor__cond_signal(&pool->work);
    falkor__unlock(pool);
    if (closes)
        falkor__event(&pool->config, &(falkor__event_head){
            .level = FALKOR_EVENT_INFO, .name = "circuit_closed"}, "%s", "");
}

/* Without a worker nobody would probe, and while opening nobody else is let
   in: the circuit stays closed then. */
void falkor__circuit_failed(falkor_pool *pool, falkor__failure failure,
                            const falkor_error *error) {
    const falkor__config *config = &pool->config;
    if (!FALKOR__BREAKER)
        return;
    falkor__lock(pool);
    bool opens = pool->state == FALKOR__POOL_OPEN && pool->has_worker &&
        falkor__breaker_fail(&pool->breaker, config->breaker_failures,
            config->breaker_max_delay_ms, failure, falkor_now_ns());
    int failures = atomic_load(&pool->breaker.failures);
    int delay_ms = pool->breaker.delay_ms;
    if (opens) {
        pool->cause = *error;
        pool->circuit_openings++;
        falkor__dismiss_locked(pool, FALKOR_ERR_CIRCUIT_OPEN);
        falkor__cond_signal(&pool->work);
    }
    falkor__unlock(pool);
    if (opens)
        falkor__event(config, &(falkor__event_head){
            .level = FALKOR_EVENT_ERROR, .name = "circuit_opened",
            .error = error, .delay_ms = delay_ms}, "failures=%d delay_ms=%d",
            failures, delay_ms);
}

/* ---- driver calls: never with the lock held ---------------------------- */

int64_t falkor__sooner(int64_t a, int64_t b) {
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

/* A dial has failed, as the driver says. hurried: at the caller's own deadline,
   before the pool's. */
static falkor_status falkor__open_failed(falkor_pool *pool,
                                         falkor_status said,
                                         falkor__failure failure,
                                         bool hurried, falkor_error *error) {
    bool silence = error->sys_errno == ETIMEDOUT;
    falkor_status status = said == FALKOR_ERR_AUTH ? said
                                                   : FALKOR_ERR_CONNECT;
    if (!*error->message)
        falkor__fail(error, status, error->sys_errno,
                     "the driver could not open a connection");
    error->status = status;
    failure.counts = said != FALKOR_ERR_NOMEM &&
        falkor__counts(status, error->sys_errno) && !(silence && hurried);
    if (silence)
        failure.since_ns = FALKOR__NEVER;
    if (said == FALKOR_ERR_AUTH || said == FALKOR_ERR_BUSY)
        falkor__circuit_answered(pool, true);
    else
        falkor__circuit_failed(pool, failure, error);
    return status;
}

/* Opens a connection in an empty slot that is the caller's. */
falkor_status falkor__slot_open(falkor_pool *pool, falkor__slot *slot,
                                bool probes, int64_t deadline_ns,
                                falkor_error *error) {
    int64_t limit_ns = falkor__deadline(pool->config.connect_timeout_ms);
    falkor__failure failure = {.probe = probes, .since_ns = falkor_now_ns()};
    falkor__error_clear(error);
    slot->generation = pool->generation;
    falkor_status status = pool->driver->open(pool->driver_ctx,
        falkor__sooner(deadline_ns, limit_ns), &slot->handle, error);
    int64_t now = falkor_now_ns();
    falkor__record(pool->recorder, FALKOR_LATENCY_DIAL,
                   now - failure.since_ns, 1);
    if (status)
        return falkor__open_failed(pool, status, failure,
                                   deadline_ns < limit_ns, error);
    falkor__error_clear(error);         /* an address that failed before */
    falkor__circuit_answered(pool, true);
    slot->live = true;
    slot->dialled_ns = now;
    atomic_store_explicit(&pool->well_ns, now, memory_order_relaxed);
    slot->used_ns = slot->checked_ns = falkor__coarse_ns();
    slot->expires_ns = falkor__expiry(pool, slot);
    return FALKOR_OK;
}

void falkor__slot_close(falkor_pool *pool, falkor__slot *slot) {
    pool->driver->close(pool->driver_ctx, slot->handle);
}

int64_t falkor__until(falkor__patience *patience) {
    if (!patience->until_ns)
        patience->until_ns = falkor__sooner(patience->latest_ns,
            falkor__deadline(patience->timeout_ms));
    return patience->until_ns;
}

bool falkor__ask_slot(falkor_pool *pool, falkor__slot *slot,
                      falkor_check_level level, int64_t deadline_ns) {
    int64_t begin = falkor_now_ns();
    bool well = pool->driver->check(pool->driver_ctx, slot->handle, level,
                                    deadline_ns) == FALKOR_OK;
    int64_t end = falkor_now_ns();
    falkor__record(pool->recorder, FALKOR_LATENCY_CHECK, end - begin, 1);
    if (well)
        atomic_store_explicit(&pool->well_ns, end, memory_order_relaxed);
    return well;
}

/* FAST always; MEDIUM after a long idle time, within half of what the caller
   has left, so that a new dial has the other half. */
bool falkor__slot_fit(falkor_pool *pool, falkor__slot *slot,
                             falkor__patience *patience) {
    const falkor_driver *driver = pool->driver;
    int after_ms = pool->config.validate_after_ms;
    if (slot->generation != pool->generation)
        return false;
    if (!driver->check)
        return true;
    if (driver->check(pool->driver_ctx, slot->handle, FALKOR_CHECK_FAST, 0))
        return false;
    if (after_ms < 0 || falkor__coarse_ns() - slot->used_ns <=
                            after_ms * FALKOR__NS_PER_MS)
        return true;
    int64_t now = falkor_now_ns(), until_ns = falkor__until(patience);
    if (!patience->since_ns)
        patience->since_ns = now;
    int64_t limit = falkor__deadline(pool->config.connect_timeout_ms);
    if (until_ns != FALKOR__NEVER)
        limit = falkor__sooner(limit, now + (until_ns - now) / 2);
    return falkor__ask_slot(pool, slot, FALKOR_CHECK_MEDIUM, limit);
}

void falkor__tell_recycled(falkor_pool *pool, const char *reason) {
    falkor__event(&pool->config, &(falkor__event_head){
        .level = FALKOR_EVENT_INFO, .name = "connection_recycled"},
        "reason=%s", reason);
}

void falkor__tell_failed(falkor_pool *pool, const falkor_error *error,
                                int delay_ms) {
    falkor__event(&pool->config, &(falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "connection_failed",
        .error = error, .delay_ms = delay_ms}, "delay_ms=%d", delay_ms);
}

void falkor__tell_high(falkor_pool *pool) {
    falkor_stats now;
    if (!falkor__tells(&pool->config))
        return;
    falkor_pool_stats(pool, &now);
    falkor__event(&pool->config, &(falkor__event_head){
        .level = FALKOR_EVENT_WARNING, .name = "high_pool_utilization"},
        "utilization_percent=%.0f active=%d max=%d",
        now.utilization_percent, now.active, now.max_size);
}

/* Closes a connection that is counted as closing, and hands its slot over. */
static void falkor__end_locked(falkor_pool *pool, falkor__slot *slot,
                               const char *reason) FALKOR__HOLDS(pool->mutex) {
    falkor__unlock(pool);
    falkor__slot_close(pool, slot);
    if (reason)
        falkor__tell_recycled(pool, reason);
    falkor__lock(pool);
    pool->closing--;
    falkor__hand_over_locked(pool, slot, false);
}

void falkor__retire_locked(falkor_pool *pool, falkor__slot *slot,
                           const char *reason) {
    pool->closing++;
    slot->live = false;
    falkor__end_locked(pool, slot, reason);
}

/* All are taken before the first is closed: nobody is granted one meanwhile,
   and none that the worker dials meanwhile is closed in its place. */
void falkor__close_idle_locked(falkor_pool *pool, const char *reason) {
    falkor__slot *next = pool->coldest;
    int told = reason ? pool->idle : 0;
    pool->connections_recycled += (uint64_t)told;
    pool->closing += pool->idle;
    pool->idle = 0;
    pool->coldest = pool->hottest = NULL;
    while (next) {
        falkor__slot *slot = next;
        next = slot->hotter;            /* before it is somebody else's */
        slot->live = false;             /* till then a fork finds it */
        falkor__end_locked(pool, slot, NULL);
    }
    for (; told > 0; told--) {          /* who is told may want one */
        falkor__unlock(pool);
        falkor__tell_recycled(pool, reason);
        falkor__lock(pool);
    }
}
