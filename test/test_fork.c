/* What fork() does to a pool: on a driver without a server, where other threads
   can be stopped in the middle of anything; then on a real server of its own,
   with redis-py's cases. A child checks by complaints and ends by _exit. */
#include "fake.h"
#include "serving.h"
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* ThreadSanitizer lets a child go on when told to, and start no thread at all:
   there the worker cannot be started, which costs its caller nothing. The
   parent's threads are no leak of the child. */
#ifdef __SANITIZE_THREAD__
#define CHILD_HAS_THREADS 0
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0:report_thread_leaks=0";
}

static pid_t first_process;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                void *);
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return getpid() != first_process ? EAGAIN
        : real(thread, attributes, run, argument);
}
#else
#define CHILD_HAS_THREADS 1
#endif

/* gcc's sanitizers do not keep their allocators whole over a fork: other
   threads are out of it meanwhile. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATOR_FORKS 0
#else
#define ALLOCATOR_FORKS 1
#endif
static pthread_rwlock_t allocator;

static fake f;
static falkor_pool *pool;
static serving server;

/* ---- helpers ---------------------------------------------------------- */

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

static falkor_options begin(int min_size, int max_size) {
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = min_size;
    options.max_size = max_size;
    return options;
}

static void create(falkor_options options) {
    falkor_error error;
    if (falkor_pool_create(&options, &pool, &error))
        fail_msg("create: %s", error.message);
    f.pool = pool;
}

static void open_pool(falkor_options options) {
    falkor_error error;
    create(options);
    if (falkor_pool_open(pool, &error))
        fail_msg("open: %s", error.message);
}

static void end(void) {
    falkor_pool_free(pool);
    pool = NULL;
    fake_end(&f);
    test_no_complaints();
}

static falkor_conn *take(void) {
    falkor_conn *conn = NULL;
    falkor_error error;
    if (falkor_acquire_within(pool, TEST_PATIENCE_MS, &conn, &error))
        fail_msg("acquire: %s", error.message);
    fake_own(conn);
    return conn;
}

static void give(falkor_conn *conn) {
    fake_disown(conn);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

/* In a child: the condition holds before long. */
static bool soon(bool (*condition)(void)) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS / 2;
    while (!condition() && test_now_ms() < until)
        test_pause_ms(1);
    return condition();
}

/* In a child that has not acquired yet: nothing of the parent's is there, and
   count connections can be had at once; then the pool goes. */
static void child_checks(int count) {
    falkor_conn *held[8];
    falkor_stats now = stats();
    int opened = f.opened;
    TEST_CHECK(now.total == 0 && now.waiting == 0);
    TEST_CHECK(f.opened == f.closed);
    for (int i = 0; i < count; i++) {
        falkor_error error;
        if (falkor_acquire_within(pool, 5000, &held[i], &error)) {
            TEST_COMPLAIN("in the child: %s", error.message);
            return;
        }
        fake_own(held[i]);
    }
    TEST_CHECK(stats().active == count);
    TEST_CHECK(fake_opened(&f) >= opened + count);
    for (int i = 0; i < count; i++) {
        fake_disown(held[i]);
        TEST_CHECK(falkor_release(held[i]) == FALKOR_OK);
    }
    TEST_CHECK(falkor_pool_close(pool, 5000) == FALKOR_OK);
    falkor_pool_free(pool);
    fake_end(&f);
}

/* ---- a pool in parent and child ---------------------------------------- */

/* A22, M10 */
static void test_fork_child_begins_empty(void **state) {
    (void)state;
    open_pool(begin(3, 4));
    falkor_conn *held = take();
    pid_t child = fake_fork(&f);
    if (child == 0) {
        test_child_begins();
        TEST_CHECK(f.forgotten == 3);
        TEST_CHECK(fake_begun(&f, FAKE_CLOSE) == 0);
        TEST_CHECK(stats().initialized && !stats().closed);
        child_checks(4);
        test_child_ends();
    }
    test_await_child(child);
    assert_int_equal(stats().active, 1);
    assert_int_equal(stats().idle, 2);
    give(held);
    assert_int_equal(fake_closed(&f), 0);
    assert_int_equal(fake_opened(&f), 3);
    end();
}

/* What the parent's thread has left in its pocket is not for the child's. */
/* A22 */
static void test_fork_child_begins_with_empty_pockets(void **state) {
    (void)state;
    open_pool(begin(2, 4));
    falkor_conn *held = take();
    test_pause_ms(50);                  /* the worker has seen it: it sleeps */
    give(take());
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        falkor_error error;
        int opened = fake_opened(&f);
        test_child_begins();
        TEST_CHECK(!falkor_acquire_within(pool, 5000, &conn, &error));
        if (conn) {
            TEST_CHECK(fake_of(conn)->id > opened);
            TEST_CHECK(falkor_release(conn) == FALKOR_OK);
        }
        falkor_pool_free(pool);
        fake_end(&f);
        test_child_ends();
    }
    test_await_child(child);
    give(held);
    assert_int_equal(fake_opened(&f), 2);
    end();
}

/* A child knows nothing of the server yet. */
/* A22, C5 */
static void test_fork_child_begins_with_a_closed_circuit(void **state) {
    (void)state;
    falkor_options options = begin(1, 2);
    options.breaker_failures = 1;
    open_pool(options);
    falkor_conn *held = take();
    fake_shut(&f, FAKE_OPEN);
    falkor_conn_mark_broken(held);
    give(held);
    fake_await_inside(&f, FAKE_OPEN, 1);        /* the probe */
    pid_t child = fake_fork(&f);
    if (child == 0) {
        test_child_begins();
        TEST_CHECK(stats().circuit == FALKOR_CIRCUIT_CLOSED);
        child_checks(2);
        test_child_ends();
    }
    test_await_child(child);
    assert_int_equal(stats().circuit, FALKOR_CIRCUIT_HALF_OPEN);
    fake_lift(&f, FAKE_OPEN);
    end();
}

/* The parent's lease is refused, and stays so while the child uses its own. */
/* A22, A23, M10 */
static void test_fork_release_of_the_parents_is_refused(void **state) {
    (void)state;
    falkor_conn *held[2];
    for (int turn = 0; turn < 6; turn++) {
        open_pool(begin(1, 4));
        for (int i = 0; i < turn; i++)
            give(take());
        held[0] = take();
        held[1] = take();
        pid_t child = fake_fork(&f);
        if (child == 0) {
            test_child_begins();
            falkor_stats before = stats(), after;
            for (int i = 0; i < 2; i++) {
                TEST_CHECK(falkor_conn_handle(held[i]) == NULL);
                falkor_conn_mark_broken(held[i]);
                TEST_CHECK(falkor_release(held[i]) == FALKOR_ERR_ARGUMENT);
            }
            after = stats();
            TEST_CHECK(memcmp(&before, &after, sizeof before) == 0);
            for (int i = 0; i < 8; i++) {
                falkor_conn *own = NULL;
                TEST_CHECK(!falkor_acquire(pool, &own, NULL));
                TEST_CHECK(own != held[0] && own != held[1]);
                TEST_CHECK(falkor_release(held[i % 2]) == FALKOR_ERR_ARGUMENT);
                TEST_CHECK(stats().active == 1);
                TEST_CHECK(falkor_release(own) == FALKOR_OK);
            }
            falkor_pool_free(pool);
            test_child_ends();
        }
        test_await_child(child);
        give(held[0]);
        give(held[1]);
        end();
    }
}

/* Without forget the child keeps the descriptors, and gets on. */
/* A22 */
static void test_fork_driver_without_forget(void **state) {
    (void)state;
    falkor_options options = begin(2, 3);
    f.driver.forget = NULL;
    open_pool(options);
    falkor_conn *held = take();
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(f.closed == 0 && stats().total == 0);
        for (int i = 0; i < 20; i++) {
            TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
            TEST_CHECK(fake_of(conn)->id > 2);
            TEST_CHECK(!falkor_release(conn));
        }
        falkor_pool_free(pool);
        TEST_CHECK(f.opened - f.closed == 2);
        test_child_quits();
    }
    test_await_child(child);
    give(held);
    end();
}

/* Closed or freed without being used; neither is a word to the driver. */
/* A22, A8 */
static void test_fork_child_closes_unused(void **state) {
    (void)state;
    open_pool(begin(2, 3));
    for (int frees = 0; frees < 2; frees++) {
        pid_t child = fake_fork(&f);
        if (child == 0) {
            falkor_conn *conn;
            test_child_begins();
            if (!frees) {
                TEST_CHECK(falkor_pool_close(pool, 0) == FALKOR_OK);
                TEST_CHECK(falkor_acquire(pool, &conn, NULL) ==
                           FALKOR_ERR_CLOSED);
            }
            falkor_pool_free(pool);
            for (int call = 0; call < FAKE_CALLS; call++)
                TEST_CHECK(fake_begun(&f, (fake_call)call) == 0);
            fake_end(&f);
            test_child_ends();
        }
        test_await_child(child);
        give(take());
    }
    assert_int_equal(fake_closed(&f), 0);
    end();
}

/* A22 */
static void test_fork_of_a_fork(void **state) {
    (void)state;
    open_pool(begin(1, 2));
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
        pid_t grandchild = fake_fork(&f);
        if (grandchild == 0) {
            test_child_begins();
            TEST_CHECK(falkor_release(conn) == FALKOR_ERR_ARGUMENT);
            child_checks(2);
            test_child_ends();
        }
        TEST_CHECK(test_child_status(grandchild) == 0);
        TEST_CHECK(!falkor_release(conn));
        falkor_pool_free(pool);
        fake_end(&f);
        test_child_ends();
    }
    test_await_child(child);
    give(take());
    end();
}

static bool is_checked(void) {
    return fake_begun(&f, FAKE_DEEP) > 0;
}

/* The child has no worker until it acquires; then it has one. */
/* A22, A10 */
static void test_fork_worker_begins_with_use(void **state) {
    (void)state;
    falkor_options options = begin(1, 2);
    options.health_check_interval_ms = 30;
    open_pool(options);
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        test_pause_ms(120);
        TEST_CHECK(fake_begun(&f, FAKE_DEEP) + fake_begun(&f, FAKE_OPEN) == 0);
        TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
        TEST_CHECK(!falkor_release(conn));
        if (CHILD_HAS_THREADS)
            TEST_CHECK(soon(is_checked));
        falkor_pool_free(pool);
        fake_end(&f);
        test_child_ends();
    }
    test_await_child(child);
    end();
}

/* A pool that is not open, paused, or closed, is so in the child too. */
/* A22, A7, A16 */
static void test_fork_keeps_the_pools_state(void **state) {
    (void)state;
    create(begin(1, 2));
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_ERR_NOT_OPEN);
        if (CHILD_HAS_THREADS) {        /* opening starts the worker */
            TEST_CHECK(falkor_pool_open(pool, NULL) == FALKOR_OK);
            TEST_CHECK(stats().idle == 1);
        }
        falkor_pool_free(pool);
        fake_end(&f);
        test_child_ends();
    }
    test_await_child(child);
    assert_int_equal(falkor_pool_open(pool, NULL), FALKOR_OK);
    falkor_pool_pause(pool);
    child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(stats().paused);
        TEST_CHECK(falkor_acquire_within(pool, 0, &conn, NULL) ==
                   FALKOR_ERR_POOL_TIMEOUT);
        falkor_pool_resume(pool);
        TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
        TEST_CHECK(!falkor_release(conn));
        falkor_pool_free(pool);
        fake_end(&f);
        test_child_ends();
    }
    test_await_child(child);
    falkor_pool_close(pool, -1);
    child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_ERR_CLOSED);
        falkor_pool_free(pool);
        fake_end(&f);
        test_child_ends();
    }
    test_await_child(child);
    end();
}

/* ---- other threads in the middle of it --------------------------------- */

typedef struct asker {
    falkor_conn *conn;
    falkor_status status;
    int timeout_ms;
} asker;

static void *ask(void *argument) {
    asker *self = argument;
    self->status = falkor_acquire_within(pool, self->timeout_ms, &self->conn,
                                         NULL);
    if (!self->status)
        TEST_CHECK(falkor_release(self->conn) == FALKOR_OK);
    return NULL;
}

static void *open_run(void *argument) {
    asker *self = argument;
    self->status = falkor_pool_open(pool, NULL);
    return NULL;
}

static void *close_run(void *argument) {
    asker *self = argument;
    self->status = falkor_pool_close(pool, self->timeout_ms);
    return NULL;
}

static void *give_run(void *argument) {
    TEST_CHECK(falkor_release(argument) == FALKOR_OK);
    return NULL;
}

/* One holds, one dials, the worker checks, two wait, one releases. */
/* A22 */
static void test_fork_while_all_is_going_on(void **state) {
    (void)state;
    falkor_options options = begin(1, 4);
    options.health_check_interval_ms = 400;
    open_pool(options);
    fake_shut(&f, FAKE_DEEP);
    fake_await_inside(&f, FAKE_DEEP, 1);
    falkor_conn *held = take(), *back = take();
    fake_shut(&f, FAKE_RESET);
    fake_disown(back);
    test_threads gives = test_start(give_run, back, 1, 1);
    fake_await_inside(&f, FAKE_RESET, 1);
    fake_shut(&f, FAKE_OPEN);
    asker askers[3];
    for (int i = 0; i < 3; i++)
        askers[i] = (asker){.timeout_ms = -1};
    test_threads threads = test_start(ask, askers, sizeof *askers, 3);
    fake_await_inside(&f, FAKE_OPEN, 1);
    TEST_EVENTUALLY(stats().waiting == 2);
    pid_t child = fake_fork(&f);
    if (child == 0) {
        test_child_begins();
        TEST_CHECK(f.forgotten == 3);
        TEST_CHECK(falkor_release(back) == FALKOR_ERR_ARGUMENT);
        child_checks(4);
        test_child_quits();
    }
    test_await_child(child);
    assert_int_equal(stats().waiting, 2);
    assert_int_equal(stats().total, 4);
    fake_lift(&f, FAKE_DEEP);
    fake_lift(&f, FAKE_RESET);
    fake_lift(&f, FAKE_OPEN);
    test_join(&threads);
    test_join(&gives);
    for (int i = 0; i < 3; i++)
        assert_int_equal(askers[i].status, FALKOR_OK);
    give(held);
    TEST_EVENTUALLY(stats().idle == stats().total);
    end();
}

static void *flush_run(void *argument) {
    TEST_CHECK(falkor_pool_flush(pool) == FALKOR_OK);
    return argument;
}

/* What a flush has not come to yet is closed in the child too. */
/* A22, A16 */
static void test_fork_during_a_flush(void **state) {
    (void)state;
    open_pool(begin(3, 3));
    fake_shut(&f, FAKE_CLOSE);
    test_threads thread = test_start(flush_run, NULL, 0, 1);
    fake_await_inside(&f, FAKE_CLOSE, 1);
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(f.forgotten == 2 && stats().total == 0);
        TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
        TEST_CHECK(!falkor_release(conn));
        falkor_pool_free(pool);
        test_child_quits();
    }
    test_await_child(child);
    fake_lift(&f, FAKE_CLOSE);
    test_join(&thread);
    TEST_EVENTUALLY(stats().idle == 3);
    end();
}

/* Another thread opens the pool, and then closes it. */
/* A22, A7, A8 */
static void test_fork_during_open_and_close(void **state) {
    (void)state;
    create(begin(2, 2));
    fake_shut(&f, FAKE_OPEN);
    asker other = {0};
    test_threads thread = test_start(open_run, &other, sizeof other, 1);
    fake_await_inside(&f, FAKE_OPEN, 1);
    fake_permit(&f, FAKE_OPEN, 1);
    TEST_EVENTUALLY(stats().idle == 1 && fake_inside(&f, FAKE_OPEN) == 1);
    pid_t child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_ERR_NOT_OPEN);
        if (CHILD_HAS_THREADS) {
            TEST_CHECK(falkor_pool_open(pool, NULL) == FALKOR_OK);
            TEST_CHECK(stats().idle == 2);
            TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
            TEST_CHECK(!falkor_release(conn));
        }
        falkor_pool_free(pool);
        test_child_quits();
    }
    test_await_child(child);
    fake_lift(&f, FAKE_OPEN);
    test_join(&thread);
    assert_int_equal(other.status, FALKOR_OK);

    falkor_conn *held = take();
    other.timeout_ms = -1;
    thread = test_start(close_run, &other, sizeof other, 1);
    TEST_EVENTUALLY(stats().closed);
    child = fake_fork(&f);
    if (child == 0) {
        falkor_conn *conn;
        test_child_begins();
        TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_ERR_CLOSED);
        TEST_CHECK(falkor_pool_close(pool, -1) == FALKOR_OK);
        falkor_pool_free(pool);
        test_child_quits();
    }
    test_await_child(child);
    give(held);
    test_join(&thread);
    assert_int_equal(other.status, FALKOR_OK);
    end();
}

/* ---- the real server --------------------------------------------------- */

#define NAME "forks"                    /* the pools' client name */

static int begin_server(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    first_process = getpid();
#endif
    serving_start(&server, NULL);
    return 0;
}

static int end_server(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

/* The ids of the clients of that name, as text: " 7 9 ". */
typedef struct clients { char ids[1024]; int count; } clients;

static clients clients_now(void) {
    clients all = {" ", 0};
    char *list = serving_ask(server.port, "CLIENT LIST"), *rest = NULL;
    for (char *line = strtok_r(list, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        long long id;
        size_t at = strlen(all.ids);
        if (!strstr(line, " name=" NAME " ") ||
            sscanf(line, "id=%lld", &id) != 1)
            continue;
        snprintf(all.ids + at, sizeof all.ids - at, "%lld ", id);
        all.count++;
    }
    free(list);
    return all;
}

static falkor_options server_options(int max_size) {
    falkor_options options = serving_options(server.port);
    options.client_name = NAME;
    options.max_size = max_size;
    return options;
}

static bool asks(falkor_pool *of, falkor_conn *conn, int64_t number) {
    falkor_graph *graph = falkor_select_graph(of, "forks");
    falkor_result *result;
    falkor_error error;
    falkor_call_options options = {.conn = conn};
    falkor_status status = falkor_query_with(graph, &options, "RETURN $n",
        (const falkor_param[]){{"n", falkor_int(number)}, {0}}, &result,
        &error);
    bool good = !status &&
        falkor_result_value(result, 0, 0)->as.integer == number;
    if (status)
        TEST_COMPLAIN("%s", error.message);
    falkor_result_free(result);
    falkor_graph_free(graph);
    return good;
}

static const int sizes[] = {1, 2, 0};   /* 0: the default */

/* The server sees the parent's connections, the same ones, all the time. */
/* A22, M10, R11 */
static void test_fork_child_close_leaves_the_parent_alive(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        falkor_conn *held;
        falkor_options options = server_options(sizes[i]);
        pool = serving_pool(&options);
        assert_int_equal(falkor_acquire(pool, &held, NULL), FALKOR_OK);
        clients before = clients_now();
        assert_true(before.count >= 1);
        pid_t child = test_fork();
        if (child == 0) {
            test_child_begins();
            TEST_CHECK(falkor_pool_close(pool, 0) == FALKOR_OK);
            falkor_pool_free(pool);
            test_child_ends();
        }
        test_await_child(child);
        assert_string_equal(clients_now().ids, before.ids);
        assert_true(asks(pool, held, 5));
        assert_int_equal(falkor_release(held), FALKOR_OK);
        assert_true(asks(pool, NULL, 6));
        assert_string_equal(clients_now().ids, before.ids);
        falkor_pool_free(pool);
        test_no_complaints();
    }
    TEST_EVENTUALLY(clients_now().count == 0);
}

/* One byte each way between parent and child. */
typedef struct line { int to_child[2], to_parent[2]; } line;

static void line_begin(line *both) {
    assert_int_equal(pipe(both->to_child), 0);
    assert_int_equal(pipe(both->to_parent), 0);
}

static void line_end(line *both) {
    for (int i = 0; i < 2; i++) {
        close(both->to_child[i]);
        close(both->to_parent[i]);
    }
}

static bool hear(const int pipe[2]) {
    struct pollfd one = {.fd = pipe[0], .events = POLLIN};
    char byte;
    return poll(&one, 1, TEST_PATIENCE_MS) == 1 && read(pipe[0], &byte, 1) == 1;
}

static void say(const int pipe[2]) {
    TEST_CHECK(write(pipe[1], "x", 1) == 1);
}

/* A22, M10, R12 */
static void test_fork_parent_close_leaves_the_child_usable(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        line both;
        line_begin(&both);
        falkor_options options = server_options(sizes[i]);
        pool = serving_pool(&options);
        pid_t child = test_fork();
        if (child == 0) {
            test_child_begins();
            TEST_CHECK(asks(pool, NULL, 1));
            say(both.to_parent);
            TEST_CHECK(hear(both.to_child));
            for (int k = 0; k < 3; k++)
                TEST_CHECK(asks(pool, NULL, k));
            TEST_CHECK(falkor_pool_close(pool, 5000) == FALKOR_OK);
            falkor_pool_free(pool);
            test_child_ends();
        }
        assert_true(hear(both.to_parent));
        assert_int_equal(falkor_pool_close(pool, 5000), FALKOR_OK);
        falkor_pool_free(pool);
        say(both.to_child);
        test_await_child(child);
        line_end(&both);
    }
    TEST_EVENTUALLY(clients_now().count == 0);
}

/* A22, A23, M10, R13 */
static void test_fork_release_in_the_child_changes_no_count(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        falkor_conn *held;
        falkor_options options = server_options(sizes[i]);
        pool = serving_pool(&options);
        assert_int_equal(falkor_acquire(pool, &held, NULL), FALKOR_OK);
        pid_t child = test_fork();
        if (child == 0) {
            falkor_error error;
            test_child_begins();
            falkor_stats before = stats(), after;
            TEST_CHECK(falkor_release(held) == FALKOR_ERR_ARGUMENT);
            TEST_CHECK(falkor_command(pool, &(falkor_call_options){
                .conn = held}, 1, (const char *[]){"PING"}, NULL, NULL,
                &error) == FALKOR_ERR_ARGUMENT);
            after = stats();
            TEST_CHECK(before.total == 0 && after.total == 0);
            TEST_CHECK(before.acquires == after.acquires &&
                       before.releases == after.releases);
            TEST_CHECK(asks(pool, NULL, 4));
            TEST_CHECK(falkor_release(held) == FALKOR_ERR_ARGUMENT);
            TEST_CHECK(asks(pool, NULL, 4));
            falkor_pool_free(pool);
            test_child_ends();
        }
        test_await_child(child);
        assert_int_equal(stats().active, 1);
        assert_true(asks(pool, held, 5));
        assert_int_equal(falkor_release(held), FALKOR_OK);
        falkor_pool_free(pool);
        test_no_complaints();
    }
}

/* At the same time, over connections of their own. */
/* A22, A1, R14 */
static void test_fork_works_in_both(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        line both;
        line_begin(&both);
        falkor_options options = server_options(sizes[i]);
        options.min_size = 1;
        pool = serving_pool(&options);
        clients before = clients_now();
        pid_t child = test_fork();
        if (child == 0) {
            falkor_conn *conn;
            test_child_begins();
            TEST_CHECK(!falkor_acquire(pool, &conn, NULL));
            TEST_CHECK(asks(pool, conn, 1));
            say(both.to_parent);
            TEST_CHECK(hear(both.to_child));
            TEST_CHECK(asks(pool, conn, 2));
            TEST_CHECK(!falkor_release(conn));
            falkor_pool_free(pool);
            test_child_ends();
        }
        assert_true(hear(both.to_parent));
        for (int k = 0; k < 10; k++)
            assert_true(asks(pool, NULL, k));
        clients now = clients_now();
        assert_int_equal(before.count, 1);
        assert_int_equal(now.count, 2);
        test_assert_has(now.ids, before.ids);
        say(both.to_child);
        test_await_child(child);
        TEST_EVENTUALLY(clients_now().count == 1);
        assert_string_equal(clients_now().ids, before.ids);
        falkor_pool_free(pool);
        line_end(&both);
        test_no_complaints();
    }
}

/* Nothing is said on a socket that the parent has: a request would cut it. */
/* A22, M10 */
static void test_fork_child_says_nothing_on_the_parents_sockets(
    void **state) {
    (void)state;
    proxy between;
    falkor_conn *held;
    proxy_start(&between, server.port);
    falkor_options options = server_options(4);
    options.port = between.port;
    options.min_size = 3;
    pool = serving_pool(&options);
    assert_int_equal(falkor_acquire(pool, &held, NULL), FALKOR_OK);
    int open = atomic_load(&between.open);
    atomic_store(&between.cut_requests, 1000);
    for (int frees = 0; frees < 2; frees++) {
        pid_t child = test_fork();
        if (child == 0) {
            test_child_begins();
            TEST_CHECK(falkor_release(held) == FALKOR_ERR_ARGUMENT);
            if (frees)
                falkor_pool_free(pool);
            else
                TEST_CHECK(falkor_pool_flush(pool) == FALKOR_OK);
            test_child_ends();
        }
        test_await_child(child);
    }
    assert_int_equal(atomic_load(&between.cut), 0);
    assert_int_equal(atomic_load(&between.open), open);
    atomic_store(&between.cut_requests, 0);
    assert_true(asks(pool, held, 5));
    assert_int_equal(falkor_release(held), FALKOR_OK);
    assert_int_equal(atomic_load(&between.accepted), open);
    falkor_pool_free(pool);
    proxy_stop(&between);
    test_no_complaints();
}

/* A child born in the middle of the rows loses them, and only it does. */
static pid_t row_child;
static int rows_seen;

static bool fork_at_a_row(void *ctx, const falkor_result *row) {
    (void)ctx;
    if (++rows_seen == 10 && (row_child = test_fork()) == 0)
        test_child_begins();
    if (row_child == 0 && rows_seen == 10)
        TEST_CHECK(asks(pool, NULL, 3));
    return falkor_result_value(row, 0, 0) != NULL;
}

/* A22, A24 */
static void test_fork_in_the_middle_of_the_rows(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = server_options(2);
    pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "forks");
    rows_seen = 0;
    row_child = -1;
    serving_run(graph, "MERGE (:Row)");
    falkor_status status = falkor_query_each(graph,
        &(falkor_call_options){.read_only = true},
        "UNWIND range(1, 300000) AS x RETURN x, 'some text to go along'",
        NULL, fork_at_a_row, NULL, NULL, &error);
    if (row_child == 0) {
        TEST_CHECK(status == FALKOR_ERR_IO);
        TEST_CHECK(rows_seen < 300000);
        TEST_CHECK(asks(pool, NULL, 4));
        falkor_graph_free(graph);
        falkor_pool_free(pool);
        test_child_ends();
    }
    serving_ok(&error);
    assert_int_equal(rows_seen, 300000);
    test_await_child(row_child);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    test_no_complaints();
}

static falkor_status ask_rows(void) {
    falkor_graph *graph = falkor_select_graph(pool, "forks");
    falkor_status status = falkor_query_with(graph, &(falkor_call_options){
        .read_only = true, .timeout_ms = 2000, .max_retries = -1},
        "MATCH (n:Row) RETURN n", NULL, NULL, NULL);
    falkor_graph_free(graph);
    return status;
}

static void *ask_rows_run(void *argument) {
    asker *self = argument;
    self->status = ask_rows();
    return NULL;
}

/* Another thread has asked for the names, or for what needs them, and has no
   answer yet: the child asks for itself. */
/* A22, B5 */
static void test_fork_while_names_are_read(void **state) {
    (void)state;
    for (int spared = 0; spared < 4; spared++) {
        proxy between;
        proxy_start(&between, server.port);
        falkor_options options = server_options(2);
        options.port = between.port;
        options.min_size = 1;
        pool = serving_pool(&options);
        falkor_graph *graph = falkor_select_graph(pool, "forks");
        atomic_store(&between.answer, "");      /* none, that is */
        atomic_store(&between.spared, spared);
        atomic_store(&between.answers, 1);
        asker other = {0};
        test_threads thread = test_start(ask_rows_run, &other, sizeof other,
                                         1);
        int64_t until = test_now_ms() + 1000;
        while (!atomic_load(&between.answered) && test_now_ms() < until)
            test_pause_ms(1);
        bool unanswered = atomic_load(&between.answered) == 1;
        assert_true(unanswered || spared > 0);
        atomic_store(&between.answers, 0);
        pid_t child = test_fork();
        if (child == 0) {
            test_child_begins();
            TEST_CHECK(ask_rows() == FALKOR_OK);
            test_child_quits();
        }
        test_await_child(child);
        printf("request %d: %s\n", spared,
               unanswered ? "not answered" : "there is none");
        test_join(&thread);
        assert_int_equal(other.status, unanswered ? FALKOR_ERR_TIMEOUT
                                                  : FALKOR_OK);
        assert_int_equal(ask_rows(), FALKOR_OK);
        falkor_graph_free(graph);
        falkor_pool_free(pool);
        proxy_stop(&between);
        test_no_complaints();
    }
}

/* Programs started meanwhile get no socket. */
/* A22 */
static void test_fork_programs_inherit_no_socket(void **state) {
    (void)state;
    char text[256];
    int sockets = 0, lines = 0;
    falkor_options options = server_options(3);
    pool = serving_pool(&options);
    FILE *list = popen("exec ls -l /proc/self/fd", "r");
    assert_non_null(list);
    for (; fgets(text, sizeof text, list); lines++)
        sockets += strstr(text, "socket:") != NULL;
    assert_int_equal(pclose(list), 0);
    assert_true(lines > 3);
    assert_int_equal(sockets, 0);
    assert_true(asks(pool, NULL, 1));
    falkor_pool_free(pool);
}

/* ---- many forks among many threads ------------------------------------- */

static atomic_bool stopped;

/* Numbers, and nodes whose labels are ever new ones, so that names are read
   too. One thread adds them: FalkorDB crashes when several do. */
typedef struct worker {
    uint64_t random;
    bool adds;
} worker;

static void *work(void *argument) {
    worker *self = argument;
    falkor_graph *graph = falkor_select_graph(pool, "forks");
    while (!atomic_load(&stopped)) {
        char cypher[96] = "MATCH (n) RETURN n LIMIT 20";
        falkor_result *result = NULL;
        falkor_error error;
        if (!ALLOCATOR_FORKS)
            pthread_rwlock_rdlock(&allocator);
        if (self->adds)
            snprintf(cypher, sizeof cypher, "MERGE (n:L%d) RETURN n",
                     test_below(&self->random, 400));
        if (self->adds || test_chance(&self->random, 4)) {
            falkor_status status = falkor_query(graph, cypher, NULL, &result,
                                                &error);
            if (status)
                TEST_COMPLAIN("%s", error.message);
            falkor_result_free(result);
        } else {
            TEST_CHECK(asks(pool, NULL, test_below(&self->random, 1000000)));
        }
        if (!ALLOCATOR_FORKS)
            pthread_rwlock_unlock(&allocator);
    }
    falkor_graph_free(graph);
    return NULL;
}

/* Who forks comes before those who work. */
static void rwlock_begin(void) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes,
        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&allocator, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

static void child_works(void) {
    falkor_graph *graph = falkor_select_graph(pool, "forks");
    falkor_result *result;
    falkor_error error;
    test_child_begins();
    TEST_CHECK(asks(pool, NULL, 1));
    if (falkor_query(graph, "MATCH (n) RETURN n LIMIT 3", NULL, &result,
                     &error))
        TEST_COMPLAIN("%s", error.message);
    falkor_result_free(result);
    TEST_CHECK(asks(pool, NULL, 2));
    test_child_quits();
}

/* A22, A4 */
static void test_fork_among_many_threads(void **state) {
    (void)state;
    enum { THREADS = 16, FORKS = TEST_SANITIZED ? 60 : 500 };
    worker workers[THREADS];
    uint64_t random = test_seed();
    falkor_options options = server_options(8);
    options.min_size = 1;
    options.health_check_interval_ms = ALLOCATOR_FORKS ? 5 : -1;
    pool = serving_pool(&options);
    rwlock_begin();
    atomic_store(&stopped, false);
    for (int i = 0; i < THREADS; i++)
        workers[i] = (worker){test_random(&random), i == 0};
    test_threads threads = test_start(work, workers, sizeof *workers, THREADS);
    int64_t began = test_now_ms();
    for (int i = 0; i < FORKS; i++) {
        if (!ALLOCATOR_FORKS)
            pthread_rwlock_wrlock(&allocator);
        pid_t child = test_fork();
        if (child == 0)
            child_works();
        if (!ALLOCATOR_FORKS)
            pthread_rwlock_unlock(&allocator);
        test_await_child(child);
    }
    printf("%d forks in %d ms\n", FORKS, (int)(test_now_ms() - began));
    atomic_store(&stopped, true);
    test_join(&threads);
    assert_int_equal(stats().connections_recycled, 0);
    assert_true(stats().total <= 8);
    TEST_EVENTUALLY(clients_now().count == stats().total);
    falkor_pool_free(pool);
    test_no_complaints();
}

TEST_MAIN_WITH(begin_server, end_server,
    cmocka_unit_test(test_fork_child_begins_empty),
    cmocka_unit_test(test_fork_child_begins_with_empty_pockets),
    cmocka_unit_test(test_fork_child_begins_with_a_closed_circuit),
    cmocka_unit_test(test_fork_release_of_the_parents_is_refused),
    cmocka_unit_test(test_fork_driver_without_forget),
    cmocka_unit_test(test_fork_child_closes_unused),
    cmocka_unit_test(test_fork_of_a_fork),
    cmocka_unit_test(test_fork_worker_begins_with_use),
    cmocka_unit_test(test_fork_keeps_the_pools_state),
    cmocka_unit_test(test_fork_while_all_is_going_on),
    cmocka_unit_test(test_fork_during_a_flush),
    cmocka_unit_test(test_fork_during_open_and_close),
    cmocka_unit_test(test_fork_child_close_leaves_the_parent_alive),
    cmocka_unit_test(test_fork_parent_close_leaves_the_child_usable),
    cmocka_unit_test(test_fork_release_in_the_child_changes_no_count),
    cmocka_unit_test(test_fork_works_in_both),
    cmocka_unit_test(test_fork_child_says_nothing_on_the_parents_sockets),
    cmocka_unit_test(test_fork_in_the_middle_of_the_rows),
    cmocka_unit_test(test_fork_while_names_are_read),
    cmocka_unit_test(test_fork_programs_inherit_no_socket),
    cmocka_unit_test(test_fork_among_many_threads))
