/* Only the monotonic clock counts: a program whose wall clock jumps about, and
   which notes every look at it. The functions here stand in the place of the C
   library's, for the library under test as for everything else. */
#include "fake.h"
#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static atomic_int looks;                /* at the wall clock */
static atomic_int walls;                /* conditions that count on it */
static atomic_int conditions, futexes;  /* of the library's own */

#define REAL(name, type) \
    static type real; \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, name)

typedef int (*clock_fn)(clockid_t, struct timespec *);
typedef int (*cond_fn)(pthread_cond_t *, const pthread_condattr_t *);
typedef long (*syscall_fn)(long, ...);

/* Hours forward and back at every look; but for <threads.h>, whose waits know
   no other clock. */
static void jump(struct timespec *now) {
    int look = atomic_fetch_add(&looks, 1);
#ifndef FALKOR_C11_THREADS
    now->tv_sec += look % 2 ? 40000 : -40000;
#else
    (void)look;
    (void)now;
#endif
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL("clock_gettime", clock_fn);
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        jump(now);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec is;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &is);
    *now = (struct timeval){is.tv_sec, is.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    struct timespec is;
    clock_gettime(CLOCK_REALTIME, &is);
    if (now)
        *now = is.tv_sec;
    return is.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    clock_gettime(CLOCK_REALTIME, now);
    return base;
}

int pthread_cond_init(pthread_cond_t *restrict cond,
                      const pthread_condattr_t *restrict attributes) {
    clockid_t clock = CLOCK_REALTIME;
    REAL("pthread_cond_init", cond_fn);
    if (attributes)
        pthread_condattr_getclock(attributes, &clock);
    atomic_fetch_add(&conditions, 1);
    if (clock != CLOCK_MONOTONIC)
        atomic_fetch_add(&walls, 1);
    return real(cond, attributes);
}

long syscall(long number, ...) {
    va_list arguments;
    long a[6];
    REAL("syscall", syscall_fn);
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) {
        atomic_fetch_add(&futexes, 1);
        if (a[1] & FUTEX_CLOCK_REALTIME)
            atomic_fetch_add(&walls, 1);
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- the pool ---------------------------------------------------------- */

static fake f;
static falkor_pool *pool;

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

static void *give_later(void *argument) {
    test_pause_ms(60);
    falkor_release(argument);
    return NULL;
}

static falkor_conn *take(int timeout_ms, falkor_status expected) {
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_acquire_within(pool, timeout_ms, &conn, &error),
                     expected);
    return conn;
}

/* Every wait of the pool, and every period of its worker. */
/* A3, A10, M11 */
static void test_clock_jumps_change_no_wait(void **state) {
    (void)state;
    falkor_error error;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = 2;
    options.max_size = 2;
    options.reserve_size = 1;
    options.reserve_after_ms = 50;
    options.leak_after_ms = 100000;
    options.max_lifetime_ms = 100000;
    options.idle_timeout_ms = 100000;
    options.health_check_interval_ms = 100000;
    options.validate_after_ms = 100000;
    options.max_retries = 2;
    options.retry_initial_delay_ms = 20;
    atomic_store(&looks, 0);
    atomic_store(&walls, 0);
    assert_int_equal(falkor_pool_create(&options, &pool, &error), FALKOR_OK);
    f.pool = pool;
    fake_fail(&f, FAKE_OPEN, 1);        /* and the back-off */
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    falkor_conn *held[3];
    for (int i = 0; i < 3; i++)
        held[i] = take(5000, FALKOR_OK);
    int64_t began = test_now_ms();
    take(150, FALKOR_ERR_POOL_TIMEOUT);
    int64_t took = test_now_ms() - began;
    assert_in_range(took, 150, 1150);
    test_threads thread = test_start(give_later, held[2], 1, 1);
    began = test_now_ms();
    held[2] = take(-1, FALKOR_OK);
    assert_true(test_now_ms() - began < 5000);
    falkor_conn_mark_broken(held[2]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(falkor_release(held[i]), FALKOR_OK);
    TEST_EVENTUALLY(stats().idle == 2);
    falkor_stats now = stats();
    assert_int_equal(now.connections_recycled, 2);  /* reserve and broken */
    assert_int_equal(fake_begun(&f, FAKE_DEEP) + fake_begun(&f, FAKE_MEDIUM),
                     0);
    held[0] = take(0, FALKOR_OK);
    assert_int_equal(falkor_pool_close(pool, 50), FALKOR_ERR_TIMEOUT);
    assert_int_equal(falkor_release(held[0]), FALKOR_OK);
    falkor_pool_free(pool);
    int looked = atomic_load(&looks), wall = atomic_load(&walls);
    test_join(&thread);                 /* which looks itself */
    fake_end(&f);
#ifndef FALKOR_C11_THREADS
    assert_int_equal(looked, f.event_count);    /* each event says when */
    assert_int_equal(wall, 0);
    assert_true(atomic_load(&conditions) > 1);
    assert_true(atomic_load(&futexes) > 1);
#endif
    assert_true(looked + wall >= 0);
    test_no_complaints();
}

/* The counters work: else the test above proves nothing. */
/* M11 */
static void test_clock_looks_are_noticed(void **state) {
    (void)state;
    struct timespec now;
    struct timeval day;
    pthread_cond_t cond;
    int before = atomic_load(&looks), wall = atomic_load(&walls);
    clock_gettime(CLOCK_REALTIME, &now);
    gettimeofday(&day, NULL);
    time(NULL);
    timespec_get(&now, TIME_UTC);
    assert_int_equal(atomic_load(&looks), before + 4);
    pthread_cond_init(&cond, NULL);
    pthread_cond_destroy(&cond);
    assert_int_equal(atomic_load(&walls), wall + 1);
}

TEST_MAIN(
    cmocka_unit_test(test_clock_jumps_change_no_wait),
    cmocka_unit_test(test_clock_looks_are_noticed))
