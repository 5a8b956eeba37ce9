/* Takes a snapshot of a pool: everything that is counted, timed and open, at
   one moment, and what has happened lately, from the pool's marks. Snapshots
   are added up, for several pools, and subtracted, for what happened between
   two of them. */
#include "books.h"
#include "snapshot.h"
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_STATISTICS

/* ---- the parts that the lock guards ------------------------------------ */

/* Nothing, where sums of snapshots were made of other pools, or a hold has
   ended while holds were added up. */
static uint64_t falkor__less(uint64_t now, uint64_t before) {
    return now > before ? now - before : 0;
}

static int64_t falkor__ms_since(int64_t begin_ns, int64_t now) {
    return now > begin_ns ? (now - begin_ns) / FALKOR__NS_PER_MS : 0;
}

/* The newest mark from before the period; else the oldest there is, of a pool
   that is younger. */
static const falkor__mark *falkor__first_mark(const falkor_pool *pool,
                                              int64_t begin_ns)
    FALKOR__HOLDS(pool->mutex) {
    const falkor__mark *found = NULL;
    uint64_t kept = pool->mark_count < FALKOR__MARKS ? pool->mark_count
                                                     : FALKOR__MARKS;
    for (uint64_t i = 1; i <= kept; i++) {
        found = &pool->marks[(pool->mark_count - i) % FALKOR__MARKS];
        if (found->at_ns <= begin_ns)
            break;
    }
    return found;
}

/* Who still waits has waited that long in the period. */
static void falkor__add_waiting_locked(const falkor_pool *pool, int64_t now,
                                       int64_t begin_ns, falkor__mark *mark)
    FALKOR__HOLDS(pool->mutex) {
    for (falkor__waiter *w = pool->first_waiter; w; w = w->behind) {
        int64_t since_ns = w->since_ns > begin_ns ? w->since_ns : begin_ns;
        mark->tries++;
        mark->waited_ns += now > since_ns ? (uint64_t)(now - since_ns) : 0;
    }
}

/* Returns how many acquires were counted, those that waited in vain too. */
static uint64_t falkor__look_back_locked(falkor_pool *pool, int64_t now,
                                         falkor__lately *lately)
    FALKOR__HOLDS(pool->mutex) {
    int window_ms = pool->config.health.window_ms;
    int64_t begin_ns = window_ms < 0 ? 0 : now - window_ms * FALKOR__NS_PER_MS;
    falkor__mark last;
    falkor__mark_now_locked(pool, now, &last);
    uint64_t tries = last.tries;
    falkor__add_waiting_locked(pool, now, begin_ns, &last);
    const falkor__mark *first = falkor__first_mark(pool, begin_ns);
    *lately = (falkor__lately){.ms = falkor__ms_since(first->at_ns, now),
        .tries = last.tries - first->tries,
        .waited_ns = last.waited_ns - first->waited_ns,
        .errors = last.errors - first->errors,
        .program_errors = last.program_errors - first->program_errors,
        .pool_errors = last.pool_errors - first->pool_errors,
        .timeouts = last.timeouts - first->timeouts,
        .used = now <= first->at_ns ? pool->in_use
            : (double)falkor__less(last.held_ns, first->held_ns) /
              (double)(now - first->at_ns)};
    return tries;
}

/* A holder's own fields are not looked at, but for what the lock guards. */
static void falkor__view_slot_locked(const falkor_pool *pool,
                                     falkor__slot *slot, bool idle,
                                     int64_t now, falkor__conn_view *view)
    FALKOR__HOLDS(pool->mutex) {
    int state = atomic_load(&falkor__last_lease(slot)->state);
    bool held = !idle && (state == FALKOR__LEASE_HELD ||
                          state == FALKOR__LEASE_CUT);
    *view = (falkor__conn_view){.age_ms = -1, .idle_ms = -1, .held_ms = -1,
        .state = idle ? FALKOR__CONN_IDLE : held ? FALKOR__CONN_ACTIVE
                                                 : FALKOR__CONN_CHANGING,
        .uses = atomic_load(&slot->acquires)};
    if (idle || held)
        view->age_ms = falkor__ms_since(slot->dialled_ns, now);
    if (idle)
        view->idle_ms = falkor__ms_since(slot->used_ns, now);
    if (held && falkor__seeks_leaks(&pool->config)) {
        view->thread = slot->thread;
        view->file = slot->file;
        view->line = slot->line;
    }
    int64_t since_ns = slot->since_ns == FALKOR__NEVER
        ? atomic_load_explicit(&slot->timed_ns, memory_order_relaxed)
        : slot->since_ns;
    if (held && since_ns)
        view->held_ms = falkor__ms_since(since_ns, now);
}

/* What is neither idle nor free is in use or on its way. */
static void falkor__view_conns_locked(falkor_pool *pool, int64_t now,
                                      bool *is_free,
                                      falkor_snapshot *snapshot)
    FALKOR__HOLDS(pool->mutex) {
    falkor__conn_view *view = snapshot->conns;
    for (falkor__slot *s = pool->first_free; s; s = s->colder)
        is_free[s - pool->slots] = true;
    for (falkor__slot *s = pool->hottest; s; s = s->colder) {
        falkor__view_slot_locked(pool, s, true, now, view++);
        is_free[s - pool->slots] = true;
    }
    for (size_t i = 0; i < pool->slot_count; i++)
        if (!is_free[i])
            falkor__view_slot_locked(pool, &pool->slots[i], false, now,
                                     view++);
    snapshot->conn_count = (size_t)(view - snapshot->conns);
}

/* ---- taking ------------------------------------------------------------ */

static void falkor__label(char *room, const char *text) {
    size_t length = text ? strlen(text) : 0;
    if (length >= FALKOR__LABEL_SIZE)
        length = FALKOR__LABEL_SIZE - 1;
    memcpy(room, text ? text : "", length);
    room[text && text[length] ? falkor__trim_utf8(room, length) : length] =
        '\0';
}

static void falkor__label_all(const falkor__config *config,
                              falkor_snapshot *snapshot) {
    falkor__place(config, snapshot->place, sizeof snapshot->place);
    falkor__label(snapshot->pool, config->name ? config->name
        : config->client_name ? config->client_name
        : *snapshot->place ? snapshot->place : "pool");
    falkor__label(snapshot->graph, config->graph);
    falkor__label(snapshot->node, config->is_node ? snapshot->place : NULL);
}

static uint64_t falkor__timing_count(const falkor__timing *timing) {
    uint64_t count = 0;
    for (size_t i = 0; i < FALKOR__STEPS; i++)
        count += timing->counts[i];
    return count;
}

/* Most acquires do not wait, and are not timed: they took no time. A wait is
   timed before it is counted, and what is counted was read first, so that what
   is left is never too much; nor does it fall from one snapshot to the next. */
static void falkor__add_waitless(falkor_pool *pool, uint64_t tries,
                                 falkor__timing *waits) {
    uint64_t waitless = falkor__less(tries, falkor__timing_count(waits));
    uint64_t before = atomic_load(&pool->waitless);
    while (before < waitless && !atomic_compare_exchange_weak(
            &pool->waitless, &before, waitless))
        continue;
    waits->counts[0] += before > waitless ? before : waitless;
}

static void falkor__look(falkor_pool *pool, bool *is_free,
                         falkor_snapshot *snapshot) {
    const falkor__config *config = &pool->config;
    snapshot->pools = 1;
    snapshot->unix_ms = falkor__unix_ms();
    falkor__label_all(config, snapshot);
    falkor__lock(pool);
    int64_t now = falkor_now_ns();
    int64_t well_ns = atomic_load_explicit(&pool->well_ns,
                                           memory_order_relaxed);
    uint64_t tries = falkor__look_back_locked(pool, now, &snapshot->lately);
    falkor__mark_locked(pool, now, false);
    falkor__view_conns_locked(pool, now, is_free, snapshot);
    falkor__stats_locked(pool, &snapshot->stats);
    int64_t oldest_ns = pool->first_waiter ? pool->first_waiter->since_ns : 0;
    falkor__unlock(pool);
    falkor__recorder_read(pool->recorder, &snapshot->stats);
    for (int i = 0; i < FALKOR_LATENCIES; i++)
        falkor__timing_read(pool->recorder, (falkor_latency_kind)i,
                            &snapshot->times[i]);
    falkor__add_waitless(pool, tries, &snapshot->times[FALKOR_LATENCY_WAIT]);
    snapshot->oldest_ms = oldest_ns ? falkor__ms_since(oldest_ns, now) : 0;
    snapshot->well_ms = well_ns ? falkor__ms_since(well_ns, now) : -1;
    snapshot->limits = config->health;
    snapshot->pool_bytes = sizeof *pool;
    snapshot->slot_bytes = pool->slot_count * sizeof *pool->slots;
    snapshot->statistics_bytes = sizeof *pool->recorder;
    snapshot->connection_bytes = pool->driver != &falkor__link_driver ? 0
        : (size_t)snapshot->stats.total * falkor__link_size;
}

static falkor_status falkor__snapshot_one(falkor_pool *pool,
                                          falkor_snapshot **snapshot,
                                          falkor_error *error) {
    falkor_snapshot *made = calloc(1, sizeof *made);
    bool *is_free = calloc(pool->slot_count, sizeof *is_free);
    if (made)
        made->conns = calloc(pool->slot_count, sizeof *made->conns);
    if (!made || !is_free || !made->conns) {
        falkor_snapshot_free(made);
        free(is_free);
        return falkor__no_memory(error, "out of memory for a snapshot");
    }
    falkor__look(pool, is_free, made);
    free(is_free);
    *snapshot = made;
    return FALKOR_OK;
}

/* Adds those that the pool stands for, and that have been in use. */
static falkor_status falkor__add_members(falkor_pool *pool,
                                         falkor_snapshot *sum,
                                         falkor_error *error) {
    falkor_pool *member;
    falkor_status status = FALKOR_OK;
    bool spare;
    for (size_t i = 0; !status && (member = pool->front->member(
             pool->front_self, i, &spare)); i++) {
        falkor_snapshot *one = NULL;
        status = falkor__snapshot_one(member, &one, error);
        if (!status && spare)
            one->stats.circuit = FALKOR_CIRCUIT_CLOSED;
        if (!status && (one->stats.initialized || one->stats.closed))
            status = falkor_snapshot_add(sum, one, error);
        falkor_snapshot_free(one);
    }
    return status;
}

falkor_status falkor_snapshot_take(falkor_pool *pool,
                                   falkor_snapshot **snapshot,
                                   falkor_error *error) {
    falkor_snapshot *made = NULL;
    falkor__error_clear(error);
    if (snapshot)
        *snapshot = NULL;
    if (!pool || !snapshot)
        return falkor__refuse(error, "falkor_snapshot_take: %s is NULL",
                              pool ? "snapshot" : "pool");
    falkor_status status = falkor__snapshot_one(pool, &made, error);
    if (!status && FALKOR__FRONTS && pool->front) {
        status = falkor__add_members(pool, made, error);
        made->pools = 1;                /* to who asks it is one */
    }
    if (status)
        falkor_snapshot_free(made);
    else
        *snapshot = made;
    return status;
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* The only server of a pool is no node. One that is gone is asked no more:
   whether it was well is of no use. */
falkor_status falkor_snapshot_take_node(const falkor_node_info *node,
                                        falkor_snapshot **snapshot,
                                        falkor_error *error) {
    falkor_status status = falkor_snapshot_take(node ? node->pool : NULL,
                                                snapshot, error);
    if (status || !*(*snapshot)->node)
        return status;
    const falkor__config *config = &node->pool->config;
    (*snapshot)->of_node = (falkor__node_view){.known = true,
        .role = node->role,
        .well = node->well && node->role != FALKOR_ROLE_UNKNOWN,
        .lag_bytes = node->lag_bytes, .lag_ms = node->lag_ms,
        .slots = node->slots,
        .max_lag_bytes = config->max_lag_bytes,
        .max_lag_ms = config->max_lag_ms};
    return FALKOR_OK;
}
#endif

void falkor_snapshot_free(falkor_snapshot *snapshot) {
    if (!snapshot)
        return;
    free(snapshot->conns);
    free(snapshot);
}

/* ---- several ------------------------------------------------------------ */

/* What is of more nodes than one is of none. */
static void falkor__forget_node(falkor_snapshot *snapshot) {
    *snapshot->node = '\0';
#ifndef FALKOR_WITHOUT_TOPOLOGY
    snapshot->of_node = (falkor__node_view){.known = false};
#endif
}

static void falkor__add_lately(falkor__lately *sum,
                               const falkor__lately *other) {
    if (other->ms > sum->ms)
        sum->ms = other->ms;
    sum->tries += other->tries;
    sum->waited_ns += other->waited_ns;
    sum->errors += other->errors;
    sum->program_errors += other->program_errors;
    sum->pool_errors += other->pool_errors;
    sum->timeouts += other->timeouts;
    sum->used += other->used;
}

falkor_status falkor_snapshot_add(falkor_snapshot *sum,
                                  const falkor_snapshot *other,
                                  falkor_error *error) {
    falkor__error_clear(error);
    if (!sum || !other)
        return falkor__refuse(error, "falkor_snapshot_add: a snapshot is NULL");
    size_t conns = sum->conn_count + other->conn_count;
    falkor__conn_view *all = realloc(sum->conns, (conns + 1) * sizeof *all);
    if (!all)
        return falkor__no_memory(error, "out of memory for a snapshot");
    sum->conns = all;
    if (other->conn_count)
        memcpy(all + sum->conn_count, other->conns,
               other->conn_count * sizeof *all);
    sum->conn_count = conns;
    sum->pools += other->pools;
    falkor__stats_add(&sum->stats, &other->stats);
    falkor__add_lately(&sum->lately, &other->lately);
    for (int kind = 0; kind < FALKOR_LATENCIES; kind++) {
        falkor__timing *to = &sum->times[kind];
        const falkor__timing *from = &other->times[kind];
        for (size_t i = 0; i < FALKOR__STEPS; i++)
            to->counts[i] += from->counts[i];
        to->sum_ns += from->sum_ns;
        if (from->max_ns > to->max_ns)
            to->max_ns = from->max_ns;
    }
    if (other->well_ms < 0 || (sum->well_ms >= 0 &&
                               sum->well_ms < other->well_ms))
        sum->well_ms = other->well_ms;
    if (other->oldest_ms > sum->oldest_ms)
        sum->oldest_ms = other->oldest_ms;
    if (strcmp(sum->graph, other->graph) != 0)
        *sum->graph = '\0';
    if (strcmp(sum->node, other->node) != 0)
        falkor__forget_node(sum);
    sum->pool_bytes += other->pool_bytes;
    sum->slot_bytes += other->slot_bytes;
    sum->statistics_bytes += other->statistics_bytes;
    sum->connection_bytes += other->connection_bytes;
    return FALKOR_OK;
}

/* The longest of the time between is not known better than by its step. */
static void falkor__subtract_timing(falkor__timing *now,
                                    const falkor__timing *before) {
    uint64_t longest = 0;
    for (size_t i = 0; i < FALKOR__STEPS; i++) {
        now->counts[i] = falkor__less(now->counts[i], before->counts[i]);
        if (now->counts[i])
            longest = i + 1 < FALKOR__STEPS ? falkor__step_begin_ns(i + 1) - 1
                                            : now->max_ns;
    }
    now->sum_ns = falkor__less(now->sum_ns, before->sum_ns);
    if (longest < now->max_ns)
        now->max_ns = longest;
}

void falkor_snapshot_subtract(falkor_snapshot *now,
                              const falkor_snapshot *before) {
    if (!now || !before)
        return;
#define FALKOR__SUBTRACT(field) \
    now->stats.field = falkor__less(now->stats.field, before->stats.field);
    FALKOR__EACH_COUNTER(FALKOR__SUBTRACT)
#undef FALKOR__SUBTRACT
    now->stats.queries = 0;
    for (int i = 0; i < FALKOR_STATUS_SLOTS; i++) {
        now->stats.errors[i] = falkor__less(now->stats.errors[i],
                                            before->stats.errors[i]);
        now->stats.queries += now->stats.errors[i];
    }
    for (int kind = 0; kind < FALKOR_LATENCIES; kind++)
        falkor__subtract_timing(&now->times[kind], &before->times[kind]);
}

/* ---- reading ------------------------------------------------------------ */

const falkor_stats *falkor_snapshot_stats(const falkor_snapshot *snapshot) {
    return snapshot ? &snapshot->stats : NULL;
}

/* The middle of the step that holds the value; no longer than the longest. A
   wait of the first step is none. */
static double falkor__percentile_ms(const falkor__timing *timing,
                                    uint64_t count, double percent) {
    double rank = percent / 100 * (double)count;
    uint64_t below = 0;
    for (size_t i = 0; i < FALKOR__STEPS; i++) {
        below += timing->counts[i];
        if (!timing->counts[i] || (double)below < rank)
            continue;
        uint64_t begin = falkor__step_begin_ns(i);
        uint64_t end = i + 1 < FALKOR__STEPS ? falkor__step_begin_ns(i + 1)
                                             : timing->max_ns;
        double middle = i == 0 ? 0 : (double)begin +
            (double)(end > begin ? end - begin : 0) / 2;
        return (middle < (double)timing->max_ns ? middle
                                                : (double)timing->max_ns) / 1e6;
    }
    return (double)timing->max_ns / 1e6;
}

double falkor_snapshot_percentile(const falkor_snapshot *snapshot,
                                  falkor_latency_kind kind, double percent) {
    if (!snapshot || (unsigned)kind >= FALKOR_LATENCIES)
        return 0;
    const falkor__timing *timing = &snapshot->times[kind];
    return falkor__percentile_ms(timing, falkor__timing_count(timing),
                                 percent);
}

falkor_latency falkor_snapshot_latency(const falkor_snapshot *snapshot,
                                       falkor_latency_kind kind) {
    if (!snapshot || (unsigned)kind >= FALKOR_LATENCIES)
        return (falkor_latency){0};
    const falkor__timing *timing = &snapshot->times[kind];
    uint64_t count = falkor__timing_count(timing);
    return (falkor_latency){.count = count,
        .average_ms = count ? (double)timing->sum_ns / 1e6 / (double)count : 0,
        .p50_ms = falkor__percentile_ms(timing, count, 50),
        .p95_ms = falkor__percentile_ms(timing, count, 95),
        .p99_ms = falkor__percentile_ms(timing, count, 99),
        .max_ms = (double)timing->max_ns / 1e6};
}
#endif
