/* Shared pools: one for each configuration of the process. On a server of its
   own, which tells how often it was dialled. */
#include "serving.h"
#include <netinet/in.h>
#include <sys/socket.h>
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

/* Our own URL, in the form that a test needs, with PORT for the port. Of each
   thread's the last eight are kept. */
static const char *url_of(const char *form) {
    static _Thread_local char texts[8][160];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 8];
    const char *at = strstr(form, "PORT");
    snprintf(text, sizeof texts[0], "%.*s%d%s", (int)(at - form), form,
             server.port, at + strlen("PORT"));
    return text;
}

static falkor_pool *share(const char *url) {
    falkor_pool *pool = NULL;
    falkor_error error;
    if (falkor_pool_shared(url, &pool, &error))
        fail_msg("%s: %s", url ? url : "(environment)", error.message);
    assert_int_equal(error.status, FALKOR_OK);
    assert_non_null(pool);
    return pool;
}

static bool answers(falkor_pool *pool) {
    falkor_graph *graph = falkor_select_graph(pool, "shared");
    falkor_status status = falkor_query(graph, "RETURN 1", NULL, NULL, NULL);
    falkor_graph_free(graph);
    return status == FALKOR_OK;
}

static falkor_stats stats(falkor_pool *pool) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

/* ---- which pool --------------------------------------------------------- */

/* A21 */
static void test_shared_same_url_same_pool(void **state) {
    (void)state;
    const char *url = url_of("falkor://127.0.0.1:PORT/g?pool_min_size=2");
    falkor_pool *pool = share(url), *same = share(url);
    assert_ptr_equal(pool, same);
    assert_int_equal(stats(pool).connections_created, 2);
    assert_true(stats(pool).initialized);
    falkor_pool_free(pool);
    assert_true(answers(same));         /* the other user has it still */
    assert_false(stats(same).closed);
    falkor_pool_free(same);
}

/* What means the same is the same, however it is written. */
/* A21, A19, F */
static void test_shared_forms_with_one_meaning(void **state) {
    (void)state;
    static const char *const forms[] = {
        "falkor://127.0.0.1:PORT/g",
        "redis://127.0.0.1:PORT?graph=g",
        "falkor://127.0.0.1:PORT/%67",
        "falkor://127.0.0.1:PORT?graph=g&db=0",
        "redis://127.0.0.1:PORT/0?graph=g",
        "falkor://127.0.0.1:PORT/g?pool_max_size=20&pool_min_size=5",
        "falkor://127.0.0.1:PORT/g?pool_timeout=10.000&max_retries=3"};
    enum { FORMS = sizeof forms / sizeof *forms };
    falkor_pool *pools[FORMS];
    for (int i = 0; i < FORMS; i++) {
        pools[i] = share(url_of(forms[i]));
        if (pools[i] != pools[0])
            fail_msg("%s is another pool", forms[i]);
    }
    for (int i = 0; i < FORMS; i++) {
        assert_true(answers(pools[i]));
        falkor_pool_free(pools[i]);
    }
}

/* A21 */
static void test_shared_other_meaning_other_pool(void **state) {
    (void)state;
    static const char *const forms[] = {
        "falkor://127.0.0.1:PORT/g?pool_min_size=1",
        "falkor://localhost:PORT/g?pool_min_size=1",
        "falkor://127.0.0.1:PORT/h?pool_min_size=1",
        "falkor://127.0.0.1:PORT?pool_min_size=1",
        "falkor://127.0.0.1:PORT/g?pool_min_size=1&db=1",
        "falkor://127.0.0.1:PORT/g?pool_min_size=1&pool_max_size=7",
        "falkor://127.0.0.1:PORT/g?pool_min_size=1&pool_reserve=1",
        "falkor://127.0.0.1:PORT/g?pool_min_size=1&pool_pre_ping=true",
        "falkor://127.0.0.1:PORT/g?pool_min_size=1&retry_max_delay=3",
        "falkor://other:x@127.0.0.1:PORT/g?pool_min_size=1"};
    enum { FORMS = sizeof forms / sizeof *forms };
    falkor_pool *pools[FORMS];
    free(serving_ask(server.port, "ACL SETUSER other on ~* +@all >x"));
    for (int i = 0; i < FORMS; i++) {
        pools[i] = share(url_of(forms[i]));
        for (int k = 0; k < i; k++)
            if (pools[i] == pools[k])
                fail_msg("%s is the pool of %s", forms[i], forms[k]);
    }
    for (int i = 0; i < FORMS; i++) {
        assert_ptr_equal(share(url_of(forms[i])), pools[i]);
        falkor_pool_free(pools[i]);
        falkor_pool_free(pools[i]);
    }
}

/* NULL is what the environment says, and is shared with who says the same. */
/* A21, F */
static void test_shared_of_the_environment(void **state) {
    (void)state;
    char port[16];
    const char *before = getenv("FALKORDB_URL");
    char *saved = before ? strdup(before) : NULL;
    unsetenv("FALKORDB_URL");
    snprintf(port, sizeof port, "%d", server.port);
    setenv("FALKORDB_HOST", "127.0.0.1", 1);
    setenv("FALKORDB_PORT", port, 1);
    setenv("GRAPH_NAME", "g", 1);
    setenv("DB_POOL_MAX_SIZE", "9", 1);
    falkor_pool *pool = share(NULL), *same = share(NULL),
        *url = share(url_of("falkor://127.0.0.1:PORT/g?pool_max_size=9"));
    assert_ptr_equal(pool, same);
    assert_ptr_equal(pool, url);
    setenv("DB_POOL_MAX_SIZE", "8", 1);
    falkor_pool *other = share(NULL);
    assert_ptr_not_equal(pool, other);
    assert_int_equal(stats(other).max_size, 8);

    falkor_error error;
    falkor_pool *none = pool;
    setenv("DB_POOL_MAX_SIZE", "x", 1);
    assert_int_equal(falkor_pool_shared(NULL, &none, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(none);
    test_assert_has(error.message, "DB_POOL_MAX_SIZE");
    static const char *const used[] = {"FALKORDB_HOST", "FALKORDB_PORT",
                                       "GRAPH_NAME", "DB_POOL_MAX_SIZE"};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        unsetenv(used[i]);
    if (saved)
        setenv("FALKORDB_URL", saved, 1);
    free(saved);
    falkor_pool_free(same);
    falkor_pool_free(other);
    falkor_pool_free(pool);
    assert_true(answers(url));
    falkor_pool_free(url);
}

/* One made by create is its maker's alone. */
/* A21 */
static void test_shared_is_not_a_created_one(void **state) {
    (void)state;
    const char *url = url_of("falkor://127.0.0.1:PORT/g");
    falkor_options options = {.url = url};
    falkor_pool *own = serving_pool(&options), *shared = share(url);
    assert_ptr_not_equal(own, shared);
    falkor_pool_free(own);
    assert_true(answers(shared));
    falkor_pool_free(shared);
}

/* ---- counting ----------------------------------------------------------- */

/* The last who frees it ends it; the next gets a new one. Several pools, freed
   in any order. */
/* A21, A8 */
static void test_shared_counts_its_users(void **state) {
    (void)state;
    const char *urls[3] = {url_of("falkor://127.0.0.1:PORT/a?pool_min_size=1"),
                           url_of("falkor://127.0.0.1:PORT/b?pool_min_size=1"),
                           url_of("falkor://127.0.0.1:PORT/c?pool_min_size=1")};
    static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}};
    long long others = serving_info(server.port, "clients",
                                    "connected_clients");
    for (size_t order = 0; order < 3; order++) {
        falkor_pool *pools[3];
        for (int i = 0; i < 3; i++)
            pools[i] = share(urls[i]);
        for (int i = 0; i < 3; i++)
            assert_ptr_equal(share(urls[i]), pools[i]);
        for (int i = 0; i < 3; i++) {
            falkor_pool_free(pools[orders[order][i]]);
            assert_true(answers(pools[orders[order][i]]));
        }
        for (int i = 0; i < 3; i++)
            falkor_pool_free(pools[orders[order][i]]);
        TEST_EVENTUALLY(serving_info(server.port, "clients",
                                     "connected_clients") == others);
    }
}

/* Closed by one user: the other sees it, and who asks then gets a new one. */
/* A21, A8 */
static void test_shared_closed_is_not_given_again(void **state) {
    (void)state;
    const char *url = url_of("falkor://127.0.0.1:PORT/g");
    falkor_pool *pool = share(url), *same = share(url);
    assert_int_equal(falkor_pool_close(pool, 1000), FALKOR_OK);
    falkor_pool *next = share(url), *again = share(url);
    assert_ptr_not_equal(next, pool);
    assert_ptr_equal(next, again);
    assert_true(answers(next));
    assert_true(stats(same).closed);
    falkor_pool_free(same);
    falkor_pool_free(next);
    falkor_pool_free(pool);
    assert_true(answers(again));
    falkor_pool_free(again);
}

/* ---- at once ------------------------------------------------------------ */

typedef struct sharer {
    const char *url;
    pthread_barrier_t *start;
    falkor_pool *pool;
    falkor_status status;
    falkor_error error;
} sharer;

static void *share_run(void *argument) {
    sharer *self = argument;
    pthread_barrier_wait(self->start);
    self->status = falkor_pool_shared(self->url, &self->pool, &self->error);
    return NULL;
}

enum { THREADS = 32 };

static void share_at_once(sharer *all, const char *url) {
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        all[i] = (sharer){.url = url, .start = &start};
    test_threads threads = test_start(share_run, all, sizeof *all, THREADS);
    test_join_within(&threads, 60000);
    pthread_barrier_destroy(&start);
}

/* The server sees one opening. */
/* A21 */
static void test_shared_by_many_at_once(void **state) {
    (void)state;
    static sharer all[THREADS];
    for (int round = 0; round < 10; round++) {
        long long before = serving_info(server.port, "stats",
                                        "total_connections_received");
        share_at_once(all, url_of("falkor://127.0.0.1:PORT/g?pool_min_size=3"));
        for (int i = 0; i < THREADS; i++) {
            serving_ok(&all[i].error);
            assert_ptr_equal(all[i].pool, all[0].pool);
        }
        assert_int_equal(serving_info(server.port, "stats",
            "total_connections_received") - before, 3 + 1);
        for (int i = 0; i < THREADS - 1; i++)
            falkor_pool_free(all[i].pool);
        assert_true(answers(all[0].pool));
        falkor_pool_free(all[0].pool);
    }
}

static atomic_bool over;

/* Shares, uses and frees; now and then closes for all. */
static void *come_and_go(void *argument) {
    uint64_t random = *(uint64_t *)argument;
    while (!atomic_load(&over)) {
        falkor_pool *pool;
        falkor_error error;
        if (falkor_pool_shared(test_chance(&random, 2)
                ? url_of("falkor://127.0.0.1:PORT/x?pool_min_size=1")
                : url_of("falkor://127.0.0.1:PORT/y?pool_min_size=1"), &pool,
                &error)) {
            TEST_COMPLAIN("%s", error.message);
            continue;
        }
        if (test_chance(&random, 16))
            falkor_pool_close(pool, 0);
        else if (!answers(pool))
            TEST_CHECK(stats(pool).closed);
        falkor_pool_free(pool);
    }
    return NULL;
}

/* A21 */
static void test_shared_come_and_go(void **state) {
    (void)state;
    uint64_t seeds[8], random = test_seed();
    long long others = serving_info(server.port, "clients",
                                    "connected_clients");
    for (int i = 0; i < 8; i++)
        seeds[i] = test_random(&random);
    atomic_store(&over, false);
    test_threads threads = test_start(come_and_go, seeds, sizeof *seeds, 8);
    test_pause_ms(1500);
    atomic_store(&over, true);
    test_join(&threads);
    test_no_complaints();
    TEST_EVENTUALLY(serving_info(server.port, "clients",
                                 "connected_clients") == others);
}

/* ---- failures ----------------------------------------------------------- */

/* Nothing is left of one that cannot be opened, also for many at once; when
   the server is there the same URL works. */
/* A21, A19 */
static void test_shared_failing_open(void **state) {
    (void)state;
    static sharer all[THREADS];
    char url[128];
    falkor_pool *pool = (falkor_pool *)&server;
    falkor_error error;
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(bound, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(bound, (struct sockaddr *)&address, &size),
                     0);
    snprintf(url, sizeof url, "falkor://u:SECRET@127.0.0.1:%d/g?max_retries=1"
             "&retry_initial_delay=0.001", ntohs(address.sin_port));
    assert_int_equal(falkor_pool_shared(url, &pool, &error),
                     FALKOR_ERR_CONNECT);
    assert_null(pool);
    test_assert_lacks(error.message, "SECRET");
    share_at_once(all, url);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(all[i].status, FALKOR_ERR_CONNECT);
        assert_null(all[i].pool);
    }
    close(bound);
    assert_int_equal(falkor_pool_shared("falkor://h?pool_max_size=0", &pool,
                                        &error), FALKOR_ERR_ARGUMENT);
    assert_null(pool);
    test_assert_has(error.message, "pool_max_size");
    assert_int_equal(falkor_pool_shared(url, NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_pool_shared(url, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
}

/* The wrong password, then the right one: no trace of the first try. */
/* A21 */
static void test_shared_opens_later(void **state) {
    (void)state;
    falkor_pool *pool;
    falkor_error error;
    free(serving_ask(server.port, "ACL SETUSER late on ~* +@all >wrong"));
    const char *url = url_of("falkor://late:right@127.0.0.1:PORT/g");
    assert_int_equal(falkor_pool_shared(url, &pool, &error), FALKOR_ERR_AUTH);
    assert_null(pool);
    free(serving_ask(server.port, "ACL SETUSER late >right"));
    pool = share(url);
    assert_true(answers(pool));
    falkor_pool_free(pool);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_shared_same_url_same_pool),
    cmocka_unit_test(test_shared_forms_with_one_meaning),
    cmocka_unit_test(test_shared_other_meaning_other_pool),
    cmocka_unit_test(test_shared_of_the_environment),
    cmocka_unit_test(test_shared_is_not_a_created_one),
    cmocka_unit_test(test_shared_counts_its_users),
    cmocka_unit_test(test_shared_closed_is_not_given_again),
    cmocka_unit_test(test_shared_by_many_at_once),
    cmocka_unit_test(test_shared_come_and_go),
    cmocka_unit_test(test_shared_failing_open),
    cmocka_unit_test(test_shared_opens_later))
