/* The pool's books: its state, and the moves on it that pool.c (acquire and
   release) makes and lifecycle.c (open, worker, close) shares. Both know a
   driver; neither knows servers, protocols or graphs.

   One mutex guards everything but what its comment says otherwise; nothing
   that can block runs while it is held, and no driver or user code. A
   connection lives in a slot, and a slot is in exactly one state: free (no
   connection), idle, in use, connecting (being dialled, or in the worker's
   hands for a check), closing. The last four are counted and their sum never
   exceeds max_size + reserve_size, for there are no more slots; it exceeds
   max_size only for one who has waited reserve_after_ms. Who waits is granted
   a slot under the lock, in order of arrival: with a connection, or empty, to
   dial for himself; nobody is while the pool is paused. A grant beats a
   timeout. Who is granted something is woken when the lock has been given back:
   he would only run into it.

   Pockets spare the lock where nothing is scarce. A release leaves a clean
   connection in the pocket of its thread, and the thread's next acquire takes
   it from there, each with one atomic step. The books count it as in use all
   the while; whoever needs to know better collects the pockets under the lock,
   which makes what is in them idle. They are shut, and stay empty, while
   anything must be seen at once: somebody waits, the pool is paused, closed or
   nearly used up, the circuit is not closed; and while the worker, who empties
   them in time, is in a driver call. A pocket is a hint about threads
   and no more: two threads may share one.

   A falkor_conn is a lease: it binds a holder to a slot from acquire to
   release. A slot hands its leases out of a ring, oldest first, so that a
   lease that was released stays refused for a long time. */
#ifndef FALKOR_BOOKS_H
#define FALKOR_BOOKS_H
#include "internal.h"

typedef struct falkor__slot falkor__slot;

typedef enum falkor__lease_state {
    FALKOR__LEASE_FREE,         /* nobody's yet: a release is refused */
    FALKOR__LEASE_COMING,       /* its acquire is not done, and not counted */
    FALKOR__LEASE_POOL,         /* in the pool's hands, in a driver call */
    FALKOR__LEASE_HELD,         /* the caller's */
    FALKOR__LEASE_CUT           /* held, and close is shutting it down */
} falkor__lease_state;

struct falkor_conn {
    falkor__slot *slot;         /* constant */
    atomic_int state;           /* a falkor__lease_state */
};

/* Who has a slot, by the books or out of a pocket, is alone with it: its fields
   need no lock, but atomics where others look on. */
#define FALKOR__LEASES 64
struct falkor__slot {
    falkor_pool *pool;          /* constant */
    void *handle;               /* the driver's; meaningful when live */
    bool live;                  /* there is a connection */
    bool noted;                 /* the two below: not idle or pocketed */
    bool broken;                /* its holder says so */
    bool cut;                   /* by close; under the lock */
    unsigned generation;        /* the pool's when it was dialled */
    atomic_int_least64_t timed_ns;  /* begin of a hold that is timed; 0 */
    falkor__slot *colder, *hotter;  /* idle neighbours; colder: next free */
    int64_t used_ns;            /* coarse clock: end of the last use */
    int64_t checked_ns;         /* of the worker's last check, or the dial */
    int64_t expires_ns;         /* end of its lifetime */
    int64_t dialled_ns;
    uint64_t weight;            /* as how many a timed hold counts */
    uint64_t timed_next;        /* the acquire whose hold is the next timed */
    uint64_t timed_for;         /* so many acquires those timed stand for */
    int timed_singly;           /* how many of a row that is timed whole */
    atomic_uint_least64_t acquires;
    falkor_conn leases[FALKOR__LEASES]; /* the last: of acquire `acquires` */

    /* Of a hold, where leaks are looked for; under the lock. */
    const char *file;           /* NULL: of a call of the library's own */
    int line;
    unsigned long thread;
    int64_t since_ns;           /* coarse clock; FALKOR__NEVER: not held */
    bool reported;
};

/* No two pockets share a cache line of 64 bytes. */
#ifndef FALKOR__POCKETS                 /* a power of two */
#define FALKOR__POCKETS 8
#endif
#ifdef FALKOR_FOR_VALGRIND              /* it sees locks only */
#define FALKOR__MAY_POCKET false
#else
#define FALKOR__MAY_POCKET true
#endif
typedef struct falkor__pocket {
    _Atomic(falkor__slot *) slot;       /* NULL: empty; or FALKOR__SHUT */
    char rest[64 - sizeof(void *)];
} falkor__pocket;
extern falkor__slot falkor__shut;
#define FALKOR__SHUT (&falkor__shut)

typedef struct falkor__waiter falkor__waiter;
struct falkor__waiter {         /* on the stack of the thread that waits */
    falkor__waiter *before, *behind;
    falkor__slot *slot;         /* granted; NULL when decided: sent home */
    falkor_status status;       /* why */
    int64_t since_ns;           /* when it got in line */
    bool decided;               /* out of the line, and will be woken */
    bool crossed;               /* 80 %, with this grant */
    falkor__gong gong;          /* struck when decided, and out of the lock */
};

/* What had been counted at a moment: the difference to now is what has happened
   since. The worker makes one for every sixtieth of the period that health is
   judged over, unless the pool rests; so does who takes a snapshot. The first,
   of nothing, is made with the pool, and is the only one where the period is
   the pool's whole life. */
#ifdef FALKOR_WITHOUT_STATISTICS
#define FALKOR__MARKS 0
#else
#define FALKOR__MARKS 128
typedef struct falkor__mark {
    int64_t at_ns;
    uint64_t tries, waited_ns, held_ns;     /* of holds that go on too */
    uint64_t timeouts;          /* of bare acquires: a call's are errors */
    uint64_t errors, program_errors, pool_errors;   /* of them by fault */
} falkor__mark;
#endif

typedef enum falkor__pool_state {
    FALKOR__POOL_CREATED, FALKOR__POOL_OPENING, FALKOR__POOL_OPEN,
    FALKOR__POOL_CLOSED
} falkor__pool_state;

struct falkor_pool {
    falkor__config config;              /* constant */
    const falkor_driver *driver;        /* constant */
    void *driver_ctx;                   /* constant */
    falkor__recorder *recorder;         /* constant; atomic inside */
    void *client;                       /* client.c's */
    const falkor__front *front;         /* constant; NULL: stands for itself */
    void *front_self;
    falkor__slot *slots;
    size_t slot_count;
    bool has_pockets;                   /* constant */
    falkor__thread worker;              /* the opener's, then destroy's */
    falkor__guard guard;
    atomic_bool closed;         /* state is CLOSED: changed under the lock */
    atomic_bool cutting;        /* close has begun to shut sockets down */
    atomic_uint generation;     /* of connections; changed under the lock */
    atomic_int_least64_t well_ns;   /* when the server was last seen well */
    atomic_uint_least64_t waitless; /* acquires that did not wait: the most
                                       that a snapshot has had */
    atomic_int_least64_t wake_ns;   /* when the worker means to wake; changed
                                       under the lock; NEVER: it is awake */

    falkor__mutex mutex;                /* guards all below */
    falkor__cond changed;       /* state, or any change once closed */
    falkor__cond work;          /* the worker's */
    falkor__breaker breaker;    /* its failures are atomic */
    FALKOR__LOCKED struct {
        falkor__pool_state state;
        bool rests;             /* the worker, for all were idle */
        bool away;              /* the worker, who may be in a driver call */
        bool has_worker, orphan;    /* orphan: freed, the last release frees
                                       it */
        bool wants_worker;      /* in a child of fork, at its first acquire */
        bool warned;            /* of high utilisation */
        bool pockets_open;
        bool paused;
        bool resting;           /* dials only for who asks */
        falkor_error cause;     /* of the circuit's last opening */
        int idle, connecting, closing, waiting;
        int in_use;             /* and in pockets */
        falkor__slot *hottest, *coldest;    /* the idle */
        falkor__slot *first_free;
        falkor__waiter *first_waiter, *last_waiter;
        falkor__waiter *decided, *last_decided; /* to be woken, by `behind` */
#ifndef FALKOR_WITHOUT_STATISTICS
        falkor__mark marks[FALKOR__MARKS];  /* a ring */
        uint64_t mark_count;    /* all there ever were: one at least */
#endif
        uint64_t acquire_timeouts, connections_created, connections_recycled,
            connect_failures, health_failures, circuit_openings;
    };

    char apart[64];             /* from what is written under the lock */
    falkor__pocket pockets[FALKOR__POCKETS];
};

/* ---- the lock ---------------------------------------------------------- */

/* _locked: the lock is held by the caller, and still is at the end, though
   some release it meanwhile and say so. unlock asserts, in debug builds, that
   every slot is in exactly one state and nobody waits for what is there; it
   opens and shuts the pockets. lock collects them, lock_as_is does not. */
void falkor__lock(falkor_pool *pool) FALKOR__TAKES(pool->mutex);
void falkor__lock_as_is(falkor_pool *pool) FALKOR__TAKES(pool->mutex);
void falkor__unlock(falkor_pool *pool) FALKOR__GIVES(pool->mutex);

/* Waits as falkor__cond_wait, with the pool's lock; wakes who is to be woken
   first. */
bool falkor__wait_locked(falkor_pool *pool, falkor__cond *cond,
                         int64_t deadline_ns) FALKOR__HOLDS(pool->mutex);
void falkor__collect_locked(falkor_pool *pool) FALKOR__HOLDS(pool->mutex);
void falkor__shut_pockets_locked(falkor_pool *pool) FALKOR__HOLDS(pool->mutex);

/* Connections of all states but free slots. */
int falkor__total(const falkor_pool *pool) FALKOR__HOLDS(pool->mutex);

void falkor__take_idle_locked(falkor_pool *pool, falkor__slot *slot)
    FALKOR__HOLDS(pool->mutex);
falkor__slot *falkor__take_locked(falkor_pool *pool)
    FALKOR__HOLDS(pool->mutex);     /* for a newcomer */
void falkor__push_free_locked(falkor_pool *pool, falkor__slot *slot)
    FALKOR__HOLDS(pool->mutex);
falkor__slot *falkor__take_free_locked(falkor_pool *pool)
    FALKOR__HOLDS(pool->mutex);
void falkor__enqueue_locked(falkor_pool *pool, falkor__waiter *waiter)
    FALKOR__HOLDS(pool->mutex);
void falkor__dequeue_locked(falkor_pool *pool, falkor__waiter *waiter)
    FALKOR__HOLDS(pool->mutex);

/* Begins a hold of a slot that is the caller's, and ends it. */
falkor_conn *falkor__lease_locked(falkor_pool *pool, falkor__slot *slot,
                                  const falkor__patience *patience)
    FALKOR__HOLDS(pool->mutex);
void falkor__unlease_locked(falkor__slot *slot);

/* Makes a mark when one is due, or when the pool goes to rest. The pockets have
   been collected. */
#ifdef FALKOR_WITHOUT_STATISTICS
#define falkor__mark_locked(pool, now, rests) ((void)(now))
#else
void falkor__mark_locked(falkor_pool *pool, int64_t now, bool rests)
    FALKOR__HOLDS(pool->mutex);
void falkor__mark_now_locked(falkor_pool *pool, int64_t now,
                             falkor__mark *mark) FALKOR__HOLDS(pool->mutex);
#endif

/* What the books say, without what threads count by themselves. */
void falkor__stats_locked(falkor_pool *pool, falkor_stats *stats)
    FALKOR__HOLDS(pool->mutex);

/* True once when more than 80 % are in use; armed again at 60 %. */
bool falkor__crossed_high_locked(falkor_pool *pool) FALKOR__HOLDS(pool->mutex);

/* From when on the reserve is for a waiter. */
int64_t falkor__reserve_ns(const falkor_pool *pool,
                           const falkor__waiter *waiter);

/* Grants what there is to those who wait, in their order. */
void falkor__serve_locked(falkor_pool *pool) FALKOR__HOLDS(pool->mutex);

/* Sends everyone who waits home with a status. */
void falkor__dismiss_locked(falkor_pool *pool, falkor_status status)
    FALKOR__HOLDS(pool->mutex);

/* Whether everybody may try. */
static inline bool falkor__circuit_closed_locked(const falkor_pool *pool) {
    return !FALKOR__BREAKER || pool->breaker.state == FALKOR_CIRCUIT_CLOSED;
}

/* Fails with the circuit's state and why it opened. */
falkor_status falkor__circuit_refusal_locked(falkor_pool *pool,
                                             falkor_error *error)
    FALKOR__HOLDS(pool->mutex);

/* A slot that is counted nowhere becomes idle or, empty, free, which is to say
   somebody's where somebody waits. cold: the worker brings it back unused. */
void falkor__hand_over_locked(falkor_pool *pool, falkor__slot *slot,
                              bool cold) FALKOR__HOLDS(pool->mutex);

/* The same for a connection that a flush may have overtaken: it is retired
   then. Releases the lock in that case. */
void falkor__bring_back_locked(falkor_pool *pool, falkor__slot *slot,
                               bool cold) FALKOR__HOLDS(pool->mutex);

/* Closes the connection in a slot that is counted nowhere, and hands the empty
   slot over. reason NULL: not worth an event. Releases the lock meanwhile. */
void falkor__retire_locked(falkor_pool *pool, falkor__slot *slot,
                           const char *reason) FALKOR__HOLDS(pool->mutex);

/* Retires every connection that is idle now, and no other. Releases the lock
   meanwhile. */
void falkor__close_idle_locked(falkor_pool *pool, const char *reason)
    FALKOR__HOLDS(pool->mutex);

/* ---- without the lock -------------------------------------------------- */

/* Adds a slot's acquires and releases. */
void falkor__count_uses(const falkor__slot *slot, falkor_stats *stats);

/* The lease that a slot has given out last. */
static inline falkor_conn *falkor__last_lease(falkor__slot *slot) {
    return &slot->leases[atomic_load_explicit(&slot->acquires,
        memory_order_relaxed) % FALKOR__LEASES];
}

/* The next lease of a slot that is the caller's, who alone counts, and the
   count. It is out before it is counted, or the statistics would take it for
   released; until it is held they take it for none. */
static inline falkor_conn *falkor__next_lease(falkor__slot *slot,
                                              uint64_t *acquires) {
    uint64_t count = *acquires = atomic_load_explicit(&slot->acquires,
        memory_order_relaxed) + 1;
    falkor_conn *conn = &slot->leases[count % FALKOR__LEASES];
    atomic_store_explicit(&conn->state, FALKOR__LEASE_COMING,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->acquires, count, memory_order_release);
    return conn;
}

/* Reading the clock costs as much as an acquire: of the holds of a connection
   one in so many is timed, on average; but many in a row when the worker, who
   wakes about once a second, has seen it idle, or one that was timed was long:
   then the clock is cheap, and no long hold must be missed. */
#define FALKOR__TIMED_SINGLY 64
#define FALKOR__TIMED_ONE_IN 256
#define FALKOR__LONG_NS (20 * FALKOR__NS_PER_MS)
static inline void falkor__time_next(falkor__slot *slot) {
    slot->timed_next = 0;
    slot->timed_singly = 0;
}

/* Whether something has failed, and nothing answered since; takes no lock. */
static inline bool falkor__circuit_doubted(const falkor_pool *pool) {
    return FALKOR__BREAKER && atomic_load_explicit(&pool->breaker.failures,
                                                   memory_order_relaxed);
}

/* What a dial, or another use, says about the server: it answered, or not. */
void falkor__circuit_answered_again(falkor_pool *pool, bool dialled);
static inline void falkor__circuit_answered(falkor_pool *pool, bool dialled) {
    if (!FALKOR__LIKELY(!falkor__circuit_doubted(pool)))
        falkor__circuit_answered_again(pool, dialled);
}
void falkor__circuit_failed(falkor_pool *pool, falkor__failure failure,
                            const falkor_error *error);

/* Opens a connection in an empty slot that is the caller's, and tells the
   breaker. probes: it is the worker's, of a circuit that is open. */
falkor_status falkor__slot_open(falkor_pool *pool, falkor__slot *slot,
                                bool probes, int64_t deadline_ns,
                                falkor_error *error);

void falkor__slot_close(falkor_pool *pool, falkor__slot *slot);

/* A check that asks the server, with its time taken: true when it is well. */
bool falkor__ask_slot(falkor_pool *pool, falkor__slot *slot,
                      falkor_check_level level, int64_t deadline_ns);

/* Whether the connection in a slot that is the caller's is fit for use. */
bool falkor__slot_fit(falkor_pool *pool, falkor__slot *slot,
                      falkor__patience *patience);

/* The end of the time of who acquires. */
int64_t falkor__until(falkor__patience *patience);

/* Events. */
void falkor__tell_recycled(falkor_pool *pool, const char *reason);
void falkor__tell_high(falkor_pool *pool);
void falkor__tell_failed(falkor_pool *pool, const falkor_error *error,
                         int delay_ms);

/* Why nobody gets in, in this state: OK when open. */
falkor_status falkor__refusal(falkor__pool_state state, falkor_error *error);

/* Hands the lease of a fit connection to its holder; CLOSED when close is
   cutting meanwhile. */
falkor_status falkor__hold(falkor_pool *pool, falkor_conn *conn,
                           falkor_error *error);

/* Starts the worker that the pool wants. */
void falkor__start_worker(falkor_pool *pool);

/* The last who leaves a freed pool frees its memory. */
void falkor__pool_free_memory(falkor_pool *pool);

int64_t falkor__sooner(int64_t a, int64_t b);
#endif
