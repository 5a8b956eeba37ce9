/* What waiting costs: an idle pool makes hardly a system call, those who wait
   for a connection use no processor, and no wait reads the wall clock. */
#include "fake.h"
#include "serving.h"
#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static serving server;

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    return 0;
}

static int end(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

/* ---- the interposer ---------------------------------------------------- */

/* These stand in the place of the C library's, for the library under test and
   for hiredis: clocks are read as always, and readings of the wall are
   counted. */
static atomic_int watching, wall_reads, other_reads;

static void saw(clockid_t clock) {
    if (!atomic_load(&watching))
        return;
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    atomic_fetch_add(wall ? &wall_reads : &other_reads, 1);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    saw(clock);
    return (int)syscall(SYS_clock_gettime, clock, now);
}

int timespec_get(struct timespec *now, int base) {
    saw(CLOCK_REALTIME);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, now);
    return base;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec wall;
    (void)zone;
    saw(CLOCK_REALTIME);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &wall);
    *now = (struct timeval){wall.tv_sec, wall.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    struct timespec wall;
    saw(CLOCK_REALTIME);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &wall);
    if (now)
        *now = wall.tv_sec;
    return wall.tv_sec;
}

/* ---- the wall clock ---------------------------------------------------- */

/* Every way to wait on the fake driver: the pauses of opening, in line for a
   connection, the worker's sleep until something is due, close. */
static void wait_in_the_pool(fake *f) {
    falkor_error error;
    falkor_pool *pool;
    falkor_conn *held, *none;
    falkor_options options = fake_options(f);
    options.max_size = 1;
    options.max_retries = 2;
    options.retry_initial_delay_ms = options.retry_max_delay_ms = 20;
    options.health_check_interval_ms = 10;
    options.idle_timeout_ms = 15;
    options.max_lifetime_ms = 40;
    options.leak_after_ms = 10;
    options.reserve_size = 1;
    options.reserve_after_ms = 1000;
    falkor_pool_create(&options, &pool, &error);
    f->pool = pool;
    fake_fail(f, FAKE_OPEN, 1);
    TEST_CHECK(falkor_pool_open(pool, &error) == FALKOR_OK);
    test_pause_ms(100);
    TEST_CHECK(falkor_acquire_within(pool, -1, &held, &error) == FALKOR_OK);
    TEST_CHECK(falkor_acquire_within(pool, 30, &none, &error) ==
               FALKOR_ERR_POOL_TIMEOUT);
    TEST_CHECK(falkor_pool_close(pool, 20) == FALKOR_ERR_TIMEOUT);
    falkor_release(held);
    falkor_pool_free(pool);
}

/* The same against a server that does not answer: dial, send, receive. */
static void wait_for_a_server(falkor_pool *pool, falkor_graph *graph) {
    falkor_error error;
    serving_signal(&server, SIGSTOP);
    for (int i = 0; i < 2; i++)
        TEST_CHECK(falkor_query_with(graph, &(falkor_call_options){
            .timeout_ms = 250}, "RETURN 1", NULL, NULL, &error) != FALKOR_OK);
    serving_signal(&server, SIGCONT);
    TEST_CHECK(falkor_pool_drop_idle(pool) == FALKOR_OK);
}

/* M11, A3, A10 */
static void test_waits_read_no_wall_clock(void **state) {
    (void)state;
    static fake f;
#ifdef FALKOR_C11_THREADS
    skip();                     /* its timed wait is on the wall clock */
#endif
    falkor_options options = serving_options(server.port);
    options.max_size = 1;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "clock");
    serving_run(graph, "RETURN 1");
    fake_begin(&f);
    atomic_store(&watching, 1);
    wait_in_the_pool(&f);
    wait_for_a_server(pool, graph);
    atomic_store(&watching, 0);
    fake_end(&f);
    test_no_complaints();
    printf("%d readings of monotonic clocks, %d of the wall\n",
           atomic_load(&other_reads), atomic_load(&wall_reads));
    assert_true(atomic_load(&other_reads) > 20);    /* it is in their place */
    /* Each event of the first pool says when it was; nothing else reads it. */
    assert_int_equal(atomic_load(&wall_reads), f.event_count);
    serving_drop(pool, graph, "clock");
    falkor_pool_free(pool);
}

/* ---- an idle pool ------------------------------------------------------ */

#define THREADS 32

static int threads_of(pid_t process, pid_t *threads) {
    char path[64];
    int count = 0;
    struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL && count < THREADS)
        if (*entry->d_name != '.')
            threads[count++] = (pid_t)atoi(entry->d_name);
    closedir(folder);
    return count;
}

/* What `strace -c` counts, for so long; -1 where tracing is not allowed. Each
   call stops its thread twice: at its begin and its end. */
static int system_calls_of(pid_t process, int ms) {
    pid_t threads[THREADS];
    int count = threads_of(process, threads), stops = 0;
    for (int i = 0; i < count; i++) {
        if (ptrace(PTRACE_SEIZE, threads[i], NULL,
                   (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD |
                                       PTRACE_O_TRACECLONE)) < 0)
            return -1;
        ptrace(PTRACE_INTERRUPT, threads[i], NULL, NULL);
    }
    for (int64_t until = test_now_ms() + ms; test_now_ms() < until;) {
        int status;
        pid_t thread = waitpid(-1, &status, WNOHANG | __WALL);
        if (thread <= 0 || !WIFSTOPPED(status)) {
            test_pause_ms(1);
            continue;
        }
        stops += WSTOPSIG(status) == (SIGTRAP | 0x80);
        ptrace(PTRACE_SYSCALL, thread, NULL, NULL);
    }
    return (stops + 1) / 2;
}

/* A process that has an open pool and does nothing. */
static void idle_process(int ready) {
    falkor_options options = serving_options(server.port);
    falkor_pool *pool;
    bool works = !falkor_pool_create(&options, &pool, NULL) &&
        !falkor_pool_open(pool, NULL);
    if (write(ready, works ? "y" : "n", 1) == 1)
        for (;;)
            pause();
    _exit(1);
}

/* A10 */
static void test_waits_idle_pool_makes_few_system_calls(void **state) {
    (void)state;
    int ready[2];
    char answer = 'n';
#if TEST_SANITIZED
    skip();                     /* the sanitizer has a thread of its own */
#endif
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0)
        idle_process(ready[1]);
    assert_int_equal(read(ready[0], &answer, 1), 1);
    test_pause_ms(100);                 /* the worker is asleep by now */
    int calls = system_calls_of(child, 10000);
    kill(child, SIGKILL);
    while (waitpid(-1, NULL, __WALL) != child)  /* its threads come first */
        continue;
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(answer, 'y');
    printf("%d system calls in 10 s\n", calls);
    if (calls < 0)
        skip();                         /* no process may trace another */
    assert_true(calls < 20);
}

/* ---- a saturated pool --------------------------------------------------- */

static falkor_pool *pool;

static void *wait_in_line(void *argument) {
    falkor_conn *conn;
    if (TEST_CHECK(falkor_acquire_within(pool, *(int *)argument, &conn, NULL)
                   == FALKOR_OK))
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    return NULL;
}

static double used_ms(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
        (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

/* A3, A13 */
static void test_waits_in_line_use_no_processor(void **state) {
    (void)state;
    enum { WAITERS = 50, MS = 3000 };
    static fake f;
    int timeouts[WAITERS];
    falkor_stats now;
    falkor_conn *held;
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.max_size = 1;
    options.reserve_size = 1;           /* waits in two parts */
    options.reserve_after_ms = 600000;
    pool = serving_pool(&options);
    assert_int_equal(falkor_acquire(pool, &held, NULL), FALKOR_OK);
    for (int i = 0; i < WAITERS; i++)
        timeouts[i] = i % 2 ? -1 : 60000;
    test_threads threads = test_start(wait_in_line, timeouts,
                                      sizeof *timeouts, WAITERS);
    TEST_EVENTUALLY((falkor_pool_stats(pool, &now), now.waiting == WAITERS));
    test_pause_ms(50);                  /* the last one is asleep too */
    double before = used_ms();
    test_pause_ms(MS);
    double used = used_ms() - before;
    printf("%d waiters used %.2f ms of processor in %d ms\n", WAITERS, used,
           MS);
    falkor_release(held);
    test_join(&threads);
    falkor_pool_free(pool);
    fake_end(&f);
    test_no_complaints();
    assert_true(used < (TEST_SANITIZED ? 300 : 30));
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_waits_idle_pool_makes_few_system_calls),
    cmocka_unit_test(test_waits_in_line_use_no_processor),
    cmocka_unit_test(test_waits_read_no_wall_clock))
