/* Every interleaving of small scenarios of the pool. The pool's files are
   compiled here with the scheduler of sched.h in the place of pthreads, and
   with their own assertions: whenever the lock is given back, every slot is in
   exactly one state, and nobody waits for what is there. Beside these, each
   step is checked for order: a waiter is granted only in his turn; and each
   connection for its one owner.

   A scenario is a list of scripts, one a thread, in letters:
     a  acquires for ever        A  acquires for 10 ms; may time out
     t  takes without waiting    r  releases    b  releases as broken
     c  closes the pool          f  flush       d  drop_idle
     C  closes it while nobody has anything of it
     p  pause                    u  resume      s  makes the connection sick

   FALKOR_TEST_PREEMPTIONS (1) is the bound up to which all schedules are
   tried, and never more than 1 for four threads; make check says 2, which is
   some millions. */
#define _GNU_SOURCE
#ifndef FALKOR_DEBUG
#define FALKOR_DEBUG
#endif
#define FALKOR_SYNC_HEADER "test/sched.h"
#define FALKOR__POCKETS 2
#include "../error.c"
#include "../books.c"
#include "../pool.c"
#include "../lifecycle.c"
#include "../levers.c"
#undef falkor_acquire
#undef falkor_acquire_within
#include "testing.h"
#include "serving.h"

#define PLACES 8

/* ---- the driver: connections without a server ------------------------- */

typedef struct place {
    bool open, sick;
    int owner;                  /* the thread that holds it; 0: nobody */
    bool inside;                /* a driver call is in progress */
    int flushes;                /* that had begun before its dial did */
} place;
static place places[PLACES];
static int flushes_begun, flushes_done;
static int failing_dials, present, most_present;
static falkor_pool *pool;

/* The driver and the program are called without the lock. */
static void outside(const char *who) {
    if (pool && pool->mutex.owner == sched_self())
        sched_fail("%s is called with the lock held", who);
}

static void enter(place *at) {
    outside("the driver");
    if (!at->open || at->inside)
        sched_fail("a driver call on a connection that is %s",
                   at->open ? "in one already" : "closed");
    at->inside = true;
    sched_point();
    at->inside = false;
}

static falkor_status place_open(void *ctx, int64_t deadline_ns, void **handle,
                                falkor_error *error) {
    int number = 0, flushes = flushes_begun;
    (void)ctx, (void)deadline_ns, (void)error;
    outside("the driver");
    if (++present > most_present)
        most_present = present;
    sched_point();
    if (failing_dials > 0) {
        failing_dials--;
        present--;
        return FALKOR_ERR_CONNECT;
    }
    while (places[number].open)
        number++;
    places[number] = (place){.open = true, .flushes = flushes};
    *handle = &places[number];
    return FALKOR_OK;
}

static falkor_status place_check(void *ctx, void *handle,
                                 falkor_check_level level,
                                 int64_t deadline_ns) {
    (void)ctx, (void)level, (void)deadline_ns;
    enter(handle);
    return ((place *)handle)->sick ? FALKOR_ERR_IO : FALKOR_OK;
}

static falkor_status place_reset(void *ctx, void *handle,
                                 int64_t deadline_ns) {
    (void)ctx, (void)deadline_ns;
    enter(handle);
    return FALKOR_OK;
}

static void place_shutdown(void *ctx, void *handle) {
    (void)ctx;
    outside("the driver");
    if (!((place *)handle)->open)
        sched_fail("shuts down what is closed");
    ((place *)handle)->sick = true;
}

static void place_close(void *ctx, void *handle) {
    place *at = handle;
    (void)ctx;
    enter(at);
    if (at->owner)
        sched_fail("closes the connection of thread %d", at->owner);
    at->open = false;
    present--;
}

static const falkor_driver place_driver = {.open = place_open,
    .check = place_check, .reset = place_reset, .shutdown = place_shutdown,
    .close = place_close};

/* ---- the pool and what is watched ------------------------------------- */

typedef struct scene {
    const char *scripts[SCHED_BODIES];
    int max_size, min_size, reserve_size, reserve_after_ms, failing_dials;
    bool no_check;              /* a driver without hooks: the short way */
    bool one_pocket;            /* all threads share it */
} scene;
static const scene *on;
static falkor_driver bare_driver;

static void on_event(void *ctx, const falkor_event *event) {
    (void)ctx, (void)event;
    outside("on_event");
}

/* The queue as it was when the lock was given back last, and whose each place
   in it is: a waiter lies on its owner's stack. */
static struct { const falkor__waiter *waiter; int owner; }
queue[SCHED_BODIES + 2];
static int queue_length;

static bool still_waits(const falkor__waiter *waiter) {
    const falkor__waiter *w = pool->first_waiter;
    while (w && w != waiter)
        w = w->behind;
    return w != NULL;
}

/* Who was granted a slot, by somebody else, was behind nobody who still
   waits. */
static void check_order(void) {
    bool others = false;
    int self = sched_self(), length = 0;
    for (int i = 0; i < queue_length; i++)
        if (still_waits(queue[i].waiter)) {
            queue[length++] = queue[i];
            others = true;
        } else if (others && queue[i].owner != self &&
                   queue[i].waiter->slot) {
            sched_fail("a waiter was granted a slot before his turn");
        }
    for (falkor__waiter *w = pool->first_waiter; w; w = w->behind) {
        int i = 0;
        while (i < length && queue[i].waiter != w)
            i++;
        if (i == length) {
            queue[length].waiter = w;
            queue[length++].owner = self;
        }
    }
    queue_length = length;
    if (pool->state == FALKOR__POOL_CLOSED && pool->first_waiter)
        sched_fail("somebody waits in a closed pool");
    if (most_present > pool->config.max_size + pool->config.reserve_size)
        sched_fail("%d connections", most_present);
}

/* Whenever a lock is given back; it may be a waiter's own, while somebody is at
   the books. */
static void check(void) {
    if (!pool || (pool->mutex.owner && pool->mutex.owner != sched_self()))
        return;
    check_order();
    if (pool->first_waiter && pool->pockets_open)
        sched_fail("a waiter waits for what is put into a pocket");
    if (pool->paused && pool->pockets_open)
        sched_fail("a pocket gives out of a paused pool");
}

static void setup(void) {
    falkor_error error;
    falkor_conn *conn;
    memset(places, 0, sizeof places);
    failing_dials = present = most_present = queue_length = 0;
    flushes_begun = flushes_done = 0;
    bare_driver = place_driver;
    if (on->no_check)
        bare_driver.check = NULL, bare_driver.reset = NULL;
    falkor__config config;
    falkor_options options = {.driver = &bare_driver, .on_event = on_event,
        .max_size = on->max_size, .min_size = on->min_size ? on->min_size : -1,
        .reserve_size = on->reserve_size,
        .reserve_after_ms = on->reserve_after_ms,
        .health_check_interval_ms = -1, .idle_timeout_ms = -1,
        .max_lifetime_ms = -1, .validate_after_ms = -1,
        .health = {.window_ms = -1},    /* time passes for no one's sake */
        .retry_initial_delay_ms = 1, .retry_max_delay_ms = 1};
    falkor_pool *made = NULL;
    if (falkor__config_make(&options, &config, &error) ||
        falkor__pool_new(&config, &made, &error) ||
        falkor__pool_start(made, FALKOR__NEVER, &conn, &error) ||
        falkor__pool_finish(made, conn, FALKOR_OK, &error))
        sched_fail("setup: %s", error.message);
    failing_dials = on->failing_dials;
    pool = made;
}

static void teardown(void) {
    falkor_pool *old = pool;
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    if (stats.active || stats.waiting)
        sched_fail("%d in use and %d waiting at the end", stats.active,
                   stats.waiting);
    if (stats.acquires != stats.releases)
        sched_fail("%llu acquired, %llu released",
                   (unsigned long long)stats.acquires,
                   (unsigned long long)stats.releases);
    pool = NULL;
    falkor__pool_destroy(old);
    for (int i = 0; i < PLACES; i++)
        if (places[i].open)
            sched_fail("a connection is left open");
}

/* ---- scripts ---------------------------------------------------------- */

static void take_one(falkor_conn **conn, int timeout_ms) {
    falkor_error error;
    int flushes = flushes_done;
    falkor_status status = falkor_acquire_at(pool, timeout_ms, conn, &error,
                                             __FILE__, __LINE__);
    if (status && *conn)
        sched_fail("a connection beside an error");
    if (status && status != FALKOR_ERR_CONNECT &&
        status != FALKOR_ERR_CLOSED &&
        !(status == FALKOR_ERR_POOL_TIMEOUT && timeout_ms >= 0))
        sched_fail("acquire: %s: %s", falkor_status_name(status),
                   error.message);
    if (status)
        return;
    place *at = (*conn)->slot->handle;
    if (at->owner || !at->open)
        sched_fail("given a connection of thread %d", at->owner);
    if (at->flushes < flushes)
        sched_fail("given a connection of before a flush");
    at->owner = sched_self();
    sched_point();
}

static void give_back(falkor_conn **conn) {
    if (!*conn)
        return;
    place *at = (*conn)->slot->handle;
    if (at->owner != sched_self())
        sched_fail("somebody else has the connection: %d", at->owner);
    at->owner = 0;
    if (falkor_release(*conn))
        sched_fail("release was refused");
    if (falkor_release(*conn) != FALKOR_ERR_ARGUMENT)
        sched_fail("a second release was not refused");
    *conn = NULL;
}

static void play(const char *script) {
    falkor_conn *conn = NULL;
    for (; *script; script++)
        switch (*script) {
        case 'a': take_one(&conn, -1); break;
        case 'A': take_one(&conn, 10); break;
        case 't': take_one(&conn, 0); break;
        case 'r': give_back(&conn); break;
        case 'b':
            falkor_conn_mark_broken(conn);
            give_back(&conn);
            break;
        case 's':
            if (conn)
                ((place *)conn->slot->handle)->sick = true;
            break;
        case 'c': falkor_pool_close(pool, 0); break;
        case 'C':
            if (falkor_pool_close(pool, 0))
                sched_fail("close waits, and nothing is in use");
            break;
        case 'f':
            flushes_begun++;
            falkor_pool_flush(pool);
            flushes_done++;
            break;
        case 'd': falkor_pool_drop_idle(pool); break;
        case 'p': falkor_pool_pause(pool); break;
        case 'u': falkor_pool_resume(pool); break;
        default: sched_fail("no such letter: %c", *script);
        }
}

static void body_0(void) { play(on->scripts[0]); }
static void body_1(void) { play(on->scripts[1]); }
static void body_2(void) { play(on->scripts[2]); }
static void body_3(void) { play(on->scripts[3]); }
static void (*const bodies[])(void) = {body_0, body_1, body_2, body_3};

/* ---- tests ------------------------------------------------------------ */

#define MOST_RUNS 20000000L
#define RANDOM_RUNS 2000
static long runs_in_all;

static int bound(void) {
    const char *text = getenv("FALKOR_TEST_PREEMPTIONS");
    return text ? atoi(text) : 1;
}

static void show(const char *name, const scene *s) {
    sched_scenario scenario = {.name = name, .setup = setup,
                               .teardown = teardown, .check = check};
    const char *schedule = getenv("FALKOR_TEST_SCHEDULE");
    bool whole;
    on = s;
    sched_hints = !s->one_pocket;
    int count = 0;
    for (; s->scripts[count]; count++)
        scenario.bodies[count] = bodies[count];
    if (schedule) {
        sched_replay(&scenario, schedule);
        return;
    }
    int preemptions = count > 3 && bound() > 1 ? 1 : bound();
    long runs = sched_explore(&scenario, preemptions, MOST_RUNS, &whole);
    sched_random(&scenario, test_seed(), RANDOM_RUNS);
    printf("  %s: %ld schedules, %s with up to %d preemptions; %d at random\n",
           name, runs, whole ? "all" : "NOT all", preemptions, RANDOM_RUNS);
    assert_true(whole);
    runs_in_all += runs + RANDOM_RUNS;
}
#define SHOW(...) show(__func__, &(scene){__VA_ARGS__})

/* A4, M5, M6 */
static void test_schedules_hand_off(void **state) {
    (void)state;
    SHOW(.scripts = {"arar", "arar"}, .max_size = 1);
    SHOW(.scripts = {"ar", "ar", "ar"}, .max_size = 1);
    SHOW(.scripts = {"ar", "ar", "ar", "ar"}, .max_size = 2);
    SHOW(.scripts = {"arar", "ar", "ar"}, .max_size = 1, .no_check = true);
}

/* A4, M4 */
static void test_schedules_timeout(void **state) {
    (void)state;
    SHOW(.scripts = {"ar", "Ar", "Ar"}, .max_size = 1);
    SHOW(.scripts = {"ar", "Ar", "tr"}, .max_size = 1);
    SHOW(.scripts = {"Ar", "Ar", "Ar", "Ar"}, .max_size = 2);
}

/* A1, A11, M7 */
static void test_schedules_broken(void **state) {
    (void)state;
    SHOW(.scripts = {"ab", "ar", "ar"}, .max_size = 1);
    SHOW(.scripts = {"ab", "ab", "Ar"}, .max_size = 1);
    SHOW(.scripts = {"ab", "ar"}, .max_size = 1, .min_size = 1);
    SHOW(.scripts = {"asr", "ar", "ar"}, .max_size = 1);
    SHOW(.scripts = {"asr", "asr", "ar"}, .max_size = 2, .min_size = 2);
}

/* A6, M3 */
static void test_schedules_failing_dial(void **state) {
    (void)state;
    SHOW(.scripts = {"ab", "ar", "ar"}, .max_size = 1, .failing_dials = 1);
    SHOW(.scripts = {"ab", "Ar", "Ar"}, .max_size = 1, .failing_dials = 2);
    SHOW(.scripts = {"ab", "ab", "ar"}, .max_size = 2, .failing_dials = 2,
         .min_size = 1);
}

/* A8, M13 */
static void test_schedules_close(void **state) {
    (void)state;
    SHOW(.scripts = {"ar", "ar", "c"}, .max_size = 1);
    SHOW(.scripts = {"ar", "Ar", "c"}, .max_size = 2);
    SHOW(.scripts = {"ab", "ar", "c"}, .max_size = 1, .failing_dials = 1);
    SHOW(.scripts = {"ar", "c", "c"}, .max_size = 1);
    SHOW(.scripts = {"ar", "ar", "c"}, .max_size = 1, .no_check = true);
    SHOW(.scripts = {"arC"}, .max_size = 2, .min_size = 2);
}

/* A16 */
static void test_schedules_flush(void **state) {
    (void)state;
    SHOW(.scripts = {"ar", "ar", "f"}, .max_size = 1);
    SHOW(.scripts = {"ar", "ar", "f"}, .max_size = 2, .min_size = 1);
    SHOW(.scripts = {"arar", "f", "d"}, .max_size = 2, .min_size = 2);
    SHOW(.scripts = {"ar", "f", "c"}, .max_size = 2);
}

/* A16 */
static void test_schedules_pause(void **state) {
    (void)state;
    SHOW(.scripts = {"ar", "ar", "pu"}, .max_size = 1);
    SHOW(.scripts = {"ar", "Ar", "pu"}, .max_size = 1);
    SHOW(.scripts = {"Ar", "Ar", "p", "u"}, .max_size = 2);
    SHOW(.scripts = {"ar", "pfu", "ar"}, .max_size = 1);
    SHOW(.scripts = {"Ar", "p", "c"}, .max_size = 1);
}

/* Connections that change hands without the lock: there is room for pockets to
   be open, beside those who need to know better. */
/* A1, A4, M7, M13 */
static void test_schedules_pockets(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool one = i;
        SHOW(.scripts = {"arar", "arar"}, .max_size = 3, .one_pocket = one);
        SHOW(.scripts = {"arar", "arar"}, .max_size = 2, .one_pocket = one,
             .no_check = true);
        SHOW(.scripts = {"arar", "Ar", "ar"}, .max_size = 2,
             .one_pocket = one);
        SHOW(.scripts = {"ararar", "far"}, .max_size = 3, .one_pocket = one);
        SHOW(.scripts = {"arar", "ar", "f"}, .max_size = 3, .one_pocket = one);
        SHOW(.scripts = {"arar", "d", "ar"}, .max_size = 3, .one_pocket = one);
        SHOW(.scripts = {"arar", "pu", "ar"}, .max_size = 3,
             .one_pocket = one);
        SHOW(.scripts = {"arar", "c"}, .max_size = 2, .one_pocket = one);
        SHOW(.scripts = {"arar", "c", "ar"}, .max_size = 3, .one_pocket = one,
             .no_check = true);
        SHOW(.scripts = {"arasr", "arar"}, .max_size = 3, .one_pocket = one);
        SHOW(.scripts = {"arabar", "arar"}, .max_size = 3, .one_pocket = one);
        SHOW(.scripts = {"arar", "ar", "ar"}, .max_size = 2, .reserve_size = 1,
             .reserve_after_ms = 5, .one_pocket = one);
    }
}

/* A13 */
static void test_schedules_reserve(void **state) {
    (void)state;
    SHOW(.scripts = {"ar", "ar", "ar"}, .max_size = 1, .reserve_size = 1);
    SHOW(.scripts = {"ar", "ar", "Ar"}, .max_size = 1, .reserve_size = 1,
         .reserve_after_ms = 5);
    SHOW(.scripts = {"ab", "ar", "ar"}, .max_size = 1, .reserve_size = 1,
         .failing_dials = 1, .reserve_after_ms = 5);
    SHOW(.scripts = {"ar", "ar", "c"}, .max_size = 1, .reserve_size = 1,
         .reserve_after_ms = 5);
}

/* Scripts of random letters. */
/* A1, A4, M7 */
static void test_schedules_random_scripts(void **state) {
    static const char *const words[] = {"ar", "Ar", "ab", "tr", "asr", "f",
        "d", "pu", "arar", "Arab"};
    uint64_t seed = test_seed();
    (void)state;
    for (int round = 0; round < 60; round++) {
        scene s = {.max_size = 1 + test_below(&seed, 4),
            .one_pocket = test_chance(&seed, 2),
            .failing_dials = test_below(&seed, 3),
            .reserve_size = test_below(&seed, 2),
            .reserve_after_ms = test_below(&seed, 2) * 5,
            .no_check = test_chance(&seed, 4)};
        s.min_size = test_below(&seed, s.max_size + 1);
        sched_scenario scenario = {.name = __func__, .setup = setup,
                                   .teardown = teardown, .check = check};
        char text[200];
        int at = 0;
        for (int i = 0; i < 4; i++) {
            s.scripts[i] = words[test_below(&seed, 10)];
            scenario.bodies[i] = bodies[i];
            at += snprintf(text + at, sizeof text - (size_t)at, "%s ",
                           s.scripts[i]);
        }
        snprintf(text + at, sizeof text - (size_t)at, "max %d min %d dials %d "
            "reserve %d after %d", s.max_size, s.min_size, s.failing_dials,
            s.reserve_size, s.reserve_after_ms);
        scenario.name = text;
        on = &s;
        sched_hints = !s.one_pocket;
        sched_random(&scenario, test_random(&seed), 500);
        runs_in_all += 500;
    }
    printf("  schedules in all: %ld\n", runs_in_all);
}

/* The clock is the scheduler's here: the seed comes from the real one. */
static int seed_by_the_clock(void **state) {
    struct timespec now;
    char text[32];
    (void)state;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(text, sizeof text, "%ld%09ld", (long)now.tv_sec, now.tv_nsec);
    return setenv("FALKOR_TEST_SEED", text, 0);
}

TEST_MAIN_WITH(seed_by_the_clock, NULL,
    cmocka_unit_test(test_schedules_hand_off),
    cmocka_unit_test(test_schedules_timeout),
    cmocka_unit_test(test_schedules_broken),
    cmocka_unit_test(test_schedules_failing_dial),
    cmocka_unit_test(test_schedules_close),
    cmocka_unit_test(test_schedules_flush),
    cmocka_unit_test(test_schedules_pause),
    cmocka_unit_test(test_schedules_pockets),
    cmocka_unit_test(test_schedules_reserve),
    cmocka_unit_test(test_schedules_random_scripts))
