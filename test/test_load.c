/* A pool under load on a real server of its own: how far it grows and shrinks,
   what the server sees of it, what checks cost, what a queue reports. Runs
   alone: it measures. */
#include "serving.h"
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME "load"                     /* the pools' client name */

static serving server;
static falkor_pool *pool;
static falkor_graph *graph;

/* ---- helpers ---------------------------------------------------------- */

static int begin_server(void **state) {
    (void)state;
    serving_start(&server, NULL);
    return 0;
}

static int end_server(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

static falkor_options sized(int min_size, int max_size) {
    falkor_options options = serving_options(server.port);
    options.client_name = NAME;
    options.min_size = min_size;
    options.max_size = max_size;
    return options;
}

static void begin(falkor_options options) {
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "load");
}

static void end(void) {
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    test_no_complaints();
}

/* How many connections of the pool the server has, asked over client. */
static int seen(redisContext *client) {
    redisReply *reply = redisCommand(client, "CLIENT LIST");
    int count = 0;
    if (!reply || !reply->str)
        fail_msg("CLIENT LIST: %s", client->errstr);
    for (char *at = reply->str; (at = strstr(at, " name=" NAME " ")); at++)
        count++;
    freeReplyObject(reply);
    return count;
}

static bool ask_for(int64_t number) {
    falkor_result *result;
    falkor_error error;
    bool good = !falkor_query(graph, "RETURN $n", (const falkor_param[]){
        {"n", falkor_int(number)}, {0}}, &result, &error);
    if (!good)
        TEST_COMPLAIN("%s", error.message);
    else
        TEST_CHECK(falkor_result_value(result, 0, 0)->as.integer == number);
    falkor_result_free(result);
    return good;
}

/* A thread that asks count queries, with a pause after each. */
typedef struct asker {
    int number, count, think_ms;
    int64_t until_ms;           /* instead of count */
} asker;

static void *ask(void *argument) {
    asker *self = argument;
    if (self->think_ms)                 /* not all at the same moment */
        test_pause_ms(self->number * self->think_ms / 50);
    for (int i = 0; self->until_ms ? test_now_ms() < self->until_ms
                                   : i < self->count; i++) {
        ask_for(self->number * 100000 + i);
        if (self->think_ms)
            test_pause_ms(self->think_ms);
    }
    return NULL;
}

static test_threads start(asker *askers, int threads, asker like) {
    for (int i = 0; i < threads; i++) {
        askers[i] = like;
        askers[i].number = i;
    }
    return test_start(ask, askers, sizeof *askers, threads);
}

/* Holds a connection until told to let go. */
static atomic_bool let_go;

static void *hold(void *argument) {
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire(pool, &conn, &error)) {
        TEST_COMPLAIN("%s", error.message);
        return argument;
    }
    while (!atomic_load(&let_go))
        test_pause_ms(1);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    return argument;
}

static test_threads start_holding(int threads) {
    atomic_store(&let_go, false);
    return test_start(hold, NULL, 0, threads);
}

/* ---- numbers of connections ------------------------------------------- */

/* A1, E12 */
static void test_load_server_never_sees_more_than_max_size(void **state) {
    (void)state;
    asker askers[50];
    begin(sized(2, 20));
    redisContext *client = serving_client(server.port);
    test_threads threads = start(askers, 50, (asker){
        .until_ms = test_now_ms() + (TEST_SANITIZED ? 2000 : 3000)});
    uint64_t random = test_seed();
    int most = 0, now;
    for (int64_t until = askers[0].until_ms; test_now_ms() < until;) {
        if ((now = seen(client)) > most)
            most = now;
        if (test_chance(&random, 20))   /* so that some are dialled anew */
            falkor_pool_flush(pool);
    }
    test_join(&threads);
    printf("at most %d of 20, %d dialled\n", most,
           (int)stats().connections_created);
    assert_in_range(most, 10, 20);
    assert_true(stats().connections_created > 40);
    redisFree(client);
    end();
}

/* Ten at the same time: ten connections. */
/* E12 */
static void test_load_ten_at_once(void **state) {
    (void)state;
    begin(sized(1, 20));
    test_threads threads = start_holding(10);
    TEST_EVENTUALLY(stats().active == 10);
    assert_int_equal(stats().waiting, 0);
    atomic_store(&let_go, true);
    test_join(&threads);
    assert_int_equal(stats().active, 0);
    end();
}

/* Fifty through twenty: all are served, each its own answer. */
/* E12, A4 */
static void test_load_fifty_through_twenty(void **state) {
    (void)state;
    asker askers[50];
    begin(sized(0, 20));
    test_threads threads = start(askers, 50, (asker){
        .count = TEST_SANITIZED ? 100 : 400});
    test_join_within(&threads, 60000);
    assert_int_equal(stats().acquire_timeouts, 0);
    assert_int_equal(stats().active, 0);
    assert_true(stats().connections_created <= 20);
    assert_int_equal(stats().queries, 50 * askers[0].count);
    end();
}

/* Fifty that think between their queries keep a pool of fifty below 80 %. Once
   in twenty samples is left to a machine that stands still and wakes them all
   at once. */
/* E12, A17 */
static void test_load_think_time_keeps_utilisation_low(void **state) {
    (void)state;
    asker askers[50];
    int samples = 0, high = 0;
    begin(sized(0, 50));
    int64_t until = test_now_ms() + 1500;
    test_threads threads = start(askers, 50, (asker){.until_ms = until,
                                                     .think_ms = 100});
    for (; test_now_ms() < until; samples++) {
        high += stats().utilization_percent >= 80;
        test_pause_ms(1);
    }
    test_join_within(&threads, 60000);
    printf("%d of %d samples are high\n", high, samples);
    assert_true(samples > 100 && high <= samples / 20);
    assert_int_equal(stats().acquire_timeouts, 0);
    end();
}

typedef struct late { int timeout_ms; falkor_status status;
                      falkor_error error; int64_t took_ms; } late;

static void *be_late(void *argument) {
    late *self = argument;
    falkor_conn *conn;
    int64_t began = test_now_ms();
    self->status = falkor_acquire_within(pool, self->timeout_ms, &conn,
                                         &self->error);
    self->took_ms = test_now_ms() - began;
    return NULL;
}

/* Waits and timeouts are told right, to the caller and in the statistics. */
/* E12, A3 */
static void test_load_exhausted_pool_reports(void **state) {
    (void)state;
    late lates[5];
    begin(sized(3, 3));
    falkor_stats before = stats();
    test_threads holders = start_holding(3);
    TEST_EVENTUALLY(stats().active == 3);
    for (int i = 0; i < 5; i++)
        lates[i] = (late){.timeout_ms = 1000};
    test_threads threads = test_start(be_late, lates, sizeof *lates, 5);
    TEST_EVENTUALLY(stats().waiting == 5);
    assert_true(stats().utilization_percent == 100.0);
    test_join(&threads);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lates[i].status, FALKOR_ERR_POOL_TIMEOUT);
        assert_in_range(lates[i].took_ms, 1000, 3000);
        test_assert_has(lates[i].error.message, "3 of 3 in use");
    }
    assert_int_equal(stats().acquire_timeouts - before.acquire_timeouts, 5);
    assert_int_equal(stats().waiting, 0);
    atomic_store(&let_go, true);
    test_join(&holders);
    assert_int_equal(stats().acquires, stats().releases);
    end();
}

/* A burst of twenty, then four: within two idle timeouts about four. The
   server sees the same. */
/* A26, A12, A5 */
static void test_load_grows_and_shrinks(void **state) {
    (void)state;
    enum { IDLE_MS = 1000 };
    asker askers[4];
    falkor_options options = sized(2, 20);
    options.idle_timeout_ms = IDLE_MS;
    begin(options);
    redisContext *client = serving_client(server.port);
    test_threads burst = start_holding(20);
    TEST_EVENTUALLY(stats().active == 20);
    assert_int_equal(seen(client), 20);
    atomic_store(&let_go, true);
    test_join(&burst);
    int64_t calm = test_now_ms();
    test_threads steady = start(askers, 4, (asker){
        .until_ms = calm + 4 * IDLE_MS});
    while (stats().total > 5 && test_now_ms() < calm + 4 * IDLE_MS)
        test_pause_ms(5);
    int64_t took = test_now_ms() - calm;
    int total = stats().total;
    printf("%d after %d ms\n", total, (int)took);
    assert_in_range(total, 2, 5);
    assert_true(took >= IDLE_MS - 50);
    assert_true(took <= 2 * IDLE_MS + (TEST_SANITIZED ? 1000 : 0));
    test_join(&steady);
    assert_true(seen(client) <= 5);
    TEST_EVENTUALLY(stats().total == 2);        /* nobody asks any more */
    test_pause_ms(100);
    assert_int_equal(stats().total, 2);
    redisFree(client);
    end();
}

/* ---- sockets ---------------------------------------------------------- */

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, level, name, &value, &size) < 0 ? -1 : value;
}

/* Every connection has keepalive after 30 s, no delay. */
/* A9 */
static void test_load_sockets_are_kept_alive(void **state) {
    (void)state;
    int found = 0;
    begin(sized(3, 3));
    DIR *open = opendir("/proc/self/fd");
    assert_non_null(open);
    for (struct dirent *entry; (entry = readdir(open));) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0 ||
            peer.sin_family != AF_INET || ntohs(peer.sin_port) != server.port)
            continue;
        found++;
        assert_true(option_of(fd, SOL_SOCKET, SO_KEEPALIVE) > 0);
        assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
        assert_true(option_of(fd, IPPROTO_TCP, TCP_NODELAY) > 0);
    }
    closedir(open);
    assert_int_equal(found, 3);
    end();
}

/* ---- what checks cost -------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The time of an acquire and a release: with the check that so many
   milliseconds of idle time call for. */
enum { TIMES = 100 };
typedef struct cost { int64_t median_ns, p95_ns; } cost;

static cost cost_of_acquire(int validate_after_ms, int idle_ms) {
    int64_t times[TIMES];
    falkor_options options = sized(1, 1);
    options.validate_after_ms = validate_after_ms;
    begin(options);
    ask_for(1);
    for (int i = 0; i < TIMES; i++) {
        falkor_conn *conn;
        falkor_error error;
        if (idle_ms)
            test_pause_ms(idle_ms);
        int64_t began = falkor_now_ns();
        falkor_acquire(pool, &conn, &error);
        serving_ok(&error);
        falkor_release(conn);
        times[i] = falkor_now_ns() - began;
    }
    assert_int_equal(stats().health_failures, 0);
    assert_int_equal(stats().connections_created, 1);
    end();
    qsort(times, TIMES, sizeof *times, by_size);
    return (cost){times[TIMES / 2], times[TIMES * 95 / 100]};
}

/* E13, A11 */
static void test_load_fast_and_medium_checks_are_quick(void **state) {
    (void)state;
    long long before = serving_calls(server.port, "ping");
    cost fast = cost_of_acquire(-1, 0);
    assert_true(serving_calls(server.port, "ping") - before <= 1);
    before = serving_calls(server.port, "ping");
    cost medium = cost_of_acquire(1, 10);
    assert_true(serving_calls(server.port, "ping") - before >= TIMES);
    printf("p95: FAST %.5f ms, MEDIUM %.3f ms\n", (double)fast.p95_ns / 1e6,
           (double)medium.p95_ns / 1e6);
    assert_true(fast.p95_ns < 1 * SERVING_MS);
    assert_true(medium.p95_ns < 50 * SERVING_MS);
    assert_true(medium.median_ns - fast.median_ns < 10 * SERVING_MS);
}

/* The time that a connection is out of the pool for the worker's check. */
/* E13, A10 */
static void test_load_deep_checks_are_quick(void **state) {
    (void)state;
    enum { CHECKS = 100 };
    int64_t times[CHECKS];
    falkor_options options = sized(1, 1);
    options.health_check_interval_ms = 20;
    begin(options);
    for (int i = 0; i < CHECKS; i++) {
        int64_t until = test_now_ms() + TEST_PATIENCE_MS;
        while (stats().connecting == 0 && test_now_ms() < until)
            continue;                   /* a check is short */
        int64_t began = falkor_now_ns();
        while (stats().connecting != 0 && test_now_ms() < until)
            continue;
        times[i] = falkor_now_ns() - began;
    }
    assert_int_equal(stats().health_failures, 0);
    assert_int_equal(stats().connections_created, 1);
    end();
    qsort(times, CHECKS, sizeof *times, by_size);
    int64_t p95_ns = times[CHECKS * 95 / 100];
    printf("p95: DEEP %.3f ms\n", (double)p95_ns / 1e6);
    assert_true(TEST_SANITIZED || p95_ns < 200 * SERVING_MS);
}

/* Each use puts the background check off: a busy connection is never checked,
   and once it is idle it is. */
/* A10, R10 */
static void test_load_health_check_moves_with_every_command(void **state) {
    (void)state;
    falkor_options options = sized(1, 1);
    options.health_check_interval_ms = 800;
    begin(options);
    long long before = serving_calls(server.port, "graph.RO_QUERY");
    for (int64_t began = test_now_ms(); test_now_ms() - began < 1600;) {
        ask_for(1);
        test_pause_ms(5);
    }
    assert_int_equal(serving_calls(server.port, "graph.RO_QUERY"), before);
    TEST_EVENTUALLY(serving_calls(server.port, "graph.RO_QUERY") > before);
    assert_int_equal(stats().connections_created, 1);
    end();
}

/* ---- levers and leaks on the real driver -------------------------------- */

/* A16 */
static void test_load_paused_query_says_so(void **state) {
    (void)state;
    falkor_error error;
    begin(sized(1, 2));
    falkor_pool_pause(pool);
    int64_t began = test_now_ms();
    assert_int_equal(falkor_query_with(graph,
        &(falkor_call_options){.timeout_ms = 200}, "RETURN 1", NULL, NULL,
        &error), FALKOR_ERR_POOL_TIMEOUT);
    assert_in_range(test_now_ms() - began, 200, 1200);
    test_assert_has(error.message, "paused");
    falkor_pool_resume(pool);
    assert_true(ask_for(2));
    end();
}

/* After the server was given another password, flush brings everybody in with
   what is new; here the server's own view of who is who. */
/* A16 */
static void test_load_flush_replaces_what_the_server_sees(void **state) {
    (void)state;
    begin(sized(4, 4));
    long long before = serving_info(server.port, "stats",
                                    "total_connections_received");
    redisContext *client = serving_client(server.port);
    assert_int_equal(seen(client), 4);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    TEST_EVENTUALLY(stats().idle == 4);
    assert_int_equal(seen(client), 4);
    assert_int_equal(serving_info(server.port, "stats",
        "total_connections_received") - before, 4 + 2);
    assert_true(ask_for(3));
    redisFree(client);
    end();
}

/* A16 */
static void test_load_drop_idle_gives_them_back(void **state) {
    falkor_error error;
    falkor_conn *conn;
    (void)state;
    begin(sized(1, 4));
    redisContext *client = serving_client(server.port);
    falkor_acquire_at(pool, 1000, &conn, &error, __FILE__, __LINE__);
    serving_ok(&error);
    assert_true(ask_for(1));
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    TEST_EVENTUALLY(seen(client) == 1);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_true(ask_for(2));
    assert_int_equal(stats().connections_created, 2);
    redisFree(client);
    end();
}

typedef struct heard { atomic_int leaks; char message[300]; } heard;

static void hear(void *ctx, const falkor_event *event) {
    heard *all = ctx;
    if (strcmp(event->name, "connection_leak") != 0)
        return;
    if (atomic_load(&all->leaks) == 0)
        snprintf(all->message, sizeof all->message, "%s", event->message);
    atomic_fetch_add(&all->leaks, 1);
}

/* A query that is longer is told too, as the library's own hold. */
/* A18 */
static void test_load_leak_of_a_long_command(void **state) {
    (void)state;
    heard all = {0};
    falkor_error error;
    falkor_options options = sized(1, 2);
    options.leak_after_ms = 100;
    options.on_event = hear;
    options.event_ctx = &all;
    begin(options);
    assert_true(ask_for(1));
    falkor_command(pool, NULL, 3, (const char *[]){"BLPOP", "load-none",
        "0.5"}, NULL, NULL, &error);
    serving_ok(&error);
    assert_int_equal(atomic_load(&all.leaks), 1);
    test_assert_has(all.message, "file=- line=0");
    end();
}

/* ---- order of replies --------------------------------------------------- */

/* One reply behind: a plain PONG is no proof, and the connection goes. */
/* M2, A11 */
static void test_load_ping_wants_its_own_token_back(void **state) {
    (void)state;
    proxy between;
    proxy_start(&between, server.port);
    falkor_options options = sized(1, 1);
    options.port = between.port;
    options.validate_after_ms = 1;
    begin(options);
    assert_true(ask_for(1));
    static const char *const wrong[] = {"+PONG\r\n", "$4\r\nPONG\r\n",
        "$16\r\n0123456789abcdef\r\n", "-ERR no\r\n"};
    for (int i = 0; i < 4; i++) {
        uint64_t failures = stats().health_failures;
        test_pause_ms(20);              /* idle: the next use asks */
        atomic_store(&between.answer, wrong[i]);
        atomic_store(&between.answers, 1);
        assert_true(ask_for(i));
        assert_int_equal(stats().health_failures, failures + 1);
        assert_int_equal(atomic_load(&between.answers), 0);
    }
    end();
    proxy_stop(&between);
}

/* The reply that comes after its caller's time is nobody's, also when it comes
   as late as behind the check of the next acquire. */
/* M1, A24 */
static void test_load_late_reply_reaches_nobody(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    begin(sized(1, 1));
    assert_true(ask_for(0));
    for (int i = 0; i < 4; i++) {
        falkor_result *result;
        uint64_t created = stats().connections_created;
        assert_int_equal(falkor_command(pool, &(falkor_call_options){
            .timeout_ms = 100, .max_retries = -1}, 3,
            (const char *[]){"BLPOP", "surprise", "0"}, NULL, &result, &error),
            FALKOR_ERR_TIMEOUT);
        assert_null(result);
        falkor_acquire(pool, &conn, &error);
        serving_ok(&error);
        free(serving_ask(server.port, "RPUSH surprise late"));
        falkor_query_with(graph, &(falkor_call_options){.conn = conn},
            "RETURN $t", FALKOR_PARAMS({"t", falkor_int(i)}), &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_value(result, 0, 0)->as.integer, i);
        assert_int_equal(stats().connections_created, created + 1);
        falkor_result_free(result);
        assert_int_equal(falkor_release(conn), FALKOR_OK);
        free(serving_ask(server.port, "DEL surprise"));
    }
    end();
}

TEST_MAIN_WITH(begin_server, end_server,
    cmocka_unit_test(test_load_server_never_sees_more_than_max_size),
    cmocka_unit_test(test_load_ten_at_once),
    cmocka_unit_test(test_load_fifty_through_twenty),
    cmocka_unit_test(test_load_think_time_keeps_utilisation_low),
    cmocka_unit_test(test_load_exhausted_pool_reports),
    cmocka_unit_test(test_load_grows_and_shrinks),
    cmocka_unit_test(test_load_sockets_are_kept_alive),
    cmocka_unit_test(test_load_fast_and_medium_checks_are_quick),
    cmocka_unit_test(test_load_deep_checks_are_quick),
    cmocka_unit_test(test_load_health_check_moves_with_every_command),
    cmocka_unit_test(test_load_paused_query_says_so),
    cmocka_unit_test(test_load_flush_replaces_what_the_server_sees),
    cmocka_unit_test(test_load_drop_idle_gives_them_back),
    cmocka_unit_test(test_load_leak_of_a_long_command),
    cmocka_unit_test(test_load_ping_wants_its_own_token_back),
    cmocka_unit_test(test_load_late_reply_reaches_nobody))
