/* A minute of random actions by 64 threads on a driver without a server, which
   is slow now and then and fails now and then: every way to acquire and to
   release, the levers, statistics, and other pools that are closed and opened
   meanwhile. The driver complains when a connection has two owners, or is used
   after its end; the books must balance at every look and at the end. Made to
   run under ThreadSanitizer too. FALKOR_STRESS_SECONDS shortens it. */
#include "fake.h"
#include <inttypes.h>

enum { THREADS = 64, MAX = 12, MIN = 4, RESERVE = 3, BOXES = 8, OTHERS = 3 };

static fake f;
static falkor_pool *pool;

typedef struct actor {
    uint64_t random;
    int64_t until_ms;
    uint64_t held, failed, refused, passed_on, levers, looks, elsewhere;
} actor;

/* ---- the pool in the middle -------------------------------------------- */

/* Who acquires is a reader, who releases twice a writer: a second release is
   certain to be refused only as long as its lease is not used again. */
static pthread_rwlock_t leases;

/* Connections on their way to a thread that did not acquire them. */
static falkor_conn *boxes[BOXES];
static pthread_mutex_t boxes_mutex = PTHREAD_MUTEX_INITIALIZER;

static falkor_conn *swap(int box, falkor_conn *conn) {
    pthread_mutex_lock(&boxes_mutex);
    falkor_conn *before = boxes[box];
    boxes[box] = conn;
    pthread_mutex_unlock(&boxes_mutex);
    return before;
}

static void release_here(falkor_conn *conn) {
    fake_disown(conn);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
}

static void release_twice(falkor_conn *conn) {
    fake_disown(conn);
    pthread_rwlock_wrlock(&leases);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    for (int i = 0; i < 3; i++)
        TEST_CHECK(falkor_release(conn) == FALKOR_ERR_ARGUMENT);
    TEST_CHECK(falkor_conn_handle(conn) == NULL);
    falkor_conn_mark_broken(conn);
    pthread_rwlock_unlock(&leases);
}

/* Leaves the connection to somebody else, and releases what lay there. */
static void exchange(actor *self, falkor_conn *conn) {
    conn = swap(test_below(&self->random, BOXES), conn);
    self->passed_on++;
    if (conn)
        release_here(conn);
}

static void give_back(actor *self, falkor_conn *conn) {
    if (test_chance(&self->random, 16))
        falkor_conn_mark_broken(conn);
    if (test_chance(&self->random, 16))
        atomic_store(&fake_of(conn)->dirty, true);
    if (test_chance(&self->random, 16))
        atomic_store(&fake_of(conn)->sick, true);
    if (test_chance(&self->random, 64)) {
        release_twice(conn);
        self->refused++;
    } else if (test_chance(&self->random, 16)) {
        exchange(self, conn);
    } else {
        release_here(conn);
    }
}

static falkor_status acquire_somehow(actor *self, falkor_conn **conn,
                                     falkor_error *error) {
    static const int times[] = {0, 0, 1, 2, 5, 20, 100};
    int time = times[test_below(&self->random, 7)];
    switch (test_below(&self->random, 3)) {
    case 0: return falkor_acquire(pool, conn, error);
    case 1: return (falkor_acquire_within)(pool, time, conn, error);
    }
    return falkor_acquire_at(pool, time, conn, error, __FILE__, __LINE__);
}

static void use(actor *self) {
    falkor_conn *conn;
    falkor_error error;
    pthread_rwlock_rdlock(&leases);
    falkor_status status = acquire_somehow(self, &conn, &error);
    pthread_rwlock_unlock(&leases);
    if (status) {
        self->failed++;
        TEST_CHECK(!conn && error.status == status && *error.message);
        TEST_CHECK(status == FALKOR_ERR_POOL_TIMEOUT ||
                   status == FALKOR_ERR_CONNECT ||
                   status == FALKOR_ERR_POOL_EXHAUSTED);
        return;
    }
    fake_own(conn);
    self->held++;
    if (test_chance(&self->random, 8))
        test_pause_ms(test_below(&self->random, 4));
    give_back(self, conn);
}

static void pull_a_lever(actor *self) {
    self->levers++;
    switch (test_below(&self->random, 3)) {
    case 0:
        TEST_CHECK(falkor_pool_flush(pool) == FALKOR_OK);
        break;
    case 1:
        TEST_CHECK(falkor_pool_drop_idle(pool) == FALKOR_OK);
        break;
    default:
        TEST_CHECK(falkor_pool_pause(pool) == FALKOR_OK);
        test_pause_ms(test_below(&self->random, 3));
        TEST_CHECK(falkor_pool_resume(pool) == FALKOR_OK);
    }
}

/* The books at any moment. */
static void look(actor *self) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    self->looks++;
    TEST_CHECK(now.idle + now.active + now.connecting + now.closing ==
               now.total);
    TEST_CHECK(now.total <= MAX + RESERVE && now.waiting <= THREADS);
    TEST_CHECK(now.acquires >= now.releases && !now.closed);
    TEST_CHECK(now.acquires - now.releases <= (uint64_t)now.total);
}

/* ---- other pools --------------------------------------------------------- */

/* Users are readers, who ends one pool and begins the next is a writer. */
static struct other {
    pthread_rwlock_t lock;
    fake f;
    falkor_pool *pool;
} others[OTHERS];

static void other_begin(struct other *at, uint64_t seed) {
    falkor_error error;
    fake_begin(&at->f);
    at->f.random = seed;
    at->f.chaos = 50;
    at->f.delay_us = 500;
    falkor_options options = fake_options(&at->f);
    options.max_size = 2;
    options.idle_timeout_ms = 20;
    options.health_check_interval_ms = 10;
    TEST_CHECK(!falkor_pool_create(&options, &at->pool, &error));
    at->f.pool = at->pool;
    falkor_pool_open(at->pool, NULL);   /* it may fail; then it is not open */
}

static void other_end(struct other *at) {
    falkor_pool_free(at->pool);
    fake_end(&at->f);
}

static void other_use(struct other *at, uint64_t *random) {
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire_within(at->pool, test_below(random, 20) - 1, &conn,
                              &error)) {
        TEST_CHECK(conn == NULL && *error.message);
        return;
    }
    fake_own(conn);
    if (test_chance(random, 4))
        test_pause_ms(1);
    release_here(conn);
}

static void go_elsewhere(actor *self) {
    struct other *at = &others[test_below(&self->random, OTHERS)];
    self->elsewhere++;
    if (test_chance(&self->random, 20)) {
        pthread_rwlock_wrlock(&at->lock);
        other_end(at);
        other_begin(at, test_random(&self->random));
        pthread_rwlock_unlock(&at->lock);
        return;
    }
    pthread_rwlock_rdlock(&at->lock);
    if (test_chance(&self->random, 20))
        falkor_pool_close(at->pool, test_below(&self->random, 5));
    else if (test_chance(&self->random, 20))
        falkor_pool_flush(at->pool);
    else
        other_use(at, &self->random);
    pthread_rwlock_unlock(&at->lock);
}

/* ---- the minute ---------------------------------------------------------- */

static void *act(void *argument) {
    actor *self = argument;
    while (test_now_ms() < self->until_ms) {
        int what = test_below(&self->random, 400);
        if (what < 2)
            pull_a_lever(self);
        else if (what < 22)
            look(self);
        else if (what < 62)
            go_elsewhere(self);
        else
            use(self);
    }
    return NULL;
}

static void lock_begin(pthread_rwlock_t *lock) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes,
        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

static falkor_options stressed(void) {
    falkor_options options = fake_options(&f);
    options.min_size = MIN;
    options.max_size = MAX;
    options.reserve_size = RESERVE;
    options.reserve_after_ms = 2;
    options.max_waiters = THREADS - 4;
    options.pool_timeout_ms = 20;
    options.idle_timeout_ms = 30;
    options.max_lifetime_ms = 200;
    options.health_check_interval_ms = 20;
    options.validate_after_ms = 5;
    options.leak_after_ms = 20;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 5;
    return options;
}

static void chaos(int once_in) {
    pthread_mutex_lock(&f.mutex);
    f.random = test_seed();
    f.chaos = once_in;
    f.delay_us = once_in ? 2000 : 0;
    pthread_mutex_unlock(&f.mutex);
}

/* A short run proves nothing by number. */
static void print_sums(const actor *actors, int seconds) {
    actor sum = {0};
    for (int i = 0; i < THREADS; i++) {
        sum.held += actors[i].held;
        sum.failed += actors[i].failed;
        sum.refused += actors[i].refused;
        sum.passed_on += actors[i].passed_on;
        sum.levers += actors[i].levers;
        sum.looks += actors[i].looks;
        sum.elsewhere += actors[i].elsewhere;
    }
    printf("%" PRIu64 " held, %" PRIu64 " failed, %" PRIu64 " released twice, "
           "%" PRIu64 " by another thread, %" PRIu64 " levers, %" PRIu64
           " looks, %" PRIu64 " elsewhere; %d dialled, %d at a time\n",
           sum.held, sum.failed, sum.refused, sum.passed_on, sum.levers,
           sum.looks, sum.elsewhere, fake_opened(&f), fake_most_present(&f));
    uint64_t least = seconds < 60 ? 0 : 10;
    assert_true(sum.held > 20 + least * 100 && sum.failed >= least * 10 &&
                sum.refused >= least && sum.passed_on >= least &&
                sum.levers >= least);
}

/* Nothing is lost: all is released, min_size comes back, each of max_size can
   be had at once, and the end leaves nothing open. */
static void assert_whole(void) {
    falkor_conn *all[MAX];
    falkor_stats now;
    TEST_EVENTUALLY((falkor_pool_stats(pool, &now), now.idle >= MIN &&
                     now.connecting + now.closing == 0));
    assert_int_equal(now.active, 0);
    assert_int_equal(now.waiting, 0);
    assert_int_equal(now.acquires, now.releases);
    assert_false(now.paused);
    for (int i = 0; i < MAX; i++)
        assert_int_equal(falkor_acquire_within(pool, TEST_PATIENCE_MS,
                                               &all[i], NULL), FALKOR_OK);
    for (int i = 0; i < MAX; i++)
        assert_int_equal(falkor_release(all[i]), FALKOR_OK);
    assert_true(fake_most_present(&f) <= MAX + RESERVE);
    assert_int_equal(falkor_pool_close(pool, TEST_PATIENCE_MS), FALKOR_OK);
    assert_int_equal(fake_live(&f), 0);
    falkor_pool_stats(pool, &now);
    assert_int_equal(now.total, 0);
    assert_int_equal((int)now.connections_created, fake_opened(&f));
}

static void test_stress_random_actions(void **state) {
    (void)state;
    static actor actors[THREADS];
    const char *given = getenv("FALKOR_STRESS_SECONDS");
    int seconds = given ? atoi(given) : 60;
    uint64_t seed = test_seed();
    falkor_error error;
    fake_begin(&f);
    falkor_options options = stressed();
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    f.pool = pool;
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    lock_begin(&leases);
    for (int i = 0; i < OTHERS; i++) {
        lock_begin(&others[i].lock);
        other_begin(&others[i], test_random(&seed));
    }
    chaos(25);
    for (int i = 0; i < THREADS; i++)
        actors[i] = (actor){.random = test_random(&seed),
                            .until_ms = test_now_ms() + seconds * 1000};
    test_threads threads = test_start(act, actors, sizeof *actors, THREADS);
    test_join_within(&threads, seconds * 1000 + 60000);
    chaos(0);
    for (int i = 0; i < BOXES; i++)
        if (boxes[i])
            release_here(swap(i, NULL));
    print_sums(actors, seconds);
    test_no_complaints();
    assert_whole();
    for (int i = 0; i < OTHERS; i++) {
        other_end(&others[i]);
        pthread_rwlock_destroy(&others[i].lock);
    }
    falkor_pool_free(pool);
    fake_end(&f);
    pthread_rwlock_destroy(&leases);
    test_no_complaints();
}

TEST_MAIN(cmocka_unit_test(test_stress_random_actions))
