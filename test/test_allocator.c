/* A pool's memory from an allocator of the caller's: it serves all that pool.h
   says, gets all back, may fail at any moment, and is asked from any thread;
   the C library's malloc is not, which is this program's own in front of
   glibc's and counts the calls of one thread. */
#include "serving.h"

/* ---- malloc that counts ------------------------------------------------ */

static _Thread_local bool watched;
static _Thread_local int taken;

#if defined(__GLIBC__) && !TEST_SANITIZED
#define COUNTS 1
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

void *malloc(size_t size) {
    taken += watched;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    taken += watched;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    taken += watched;
    return __libc_realloc(block, size);
}
#else
#define COUNTS 0
#endif

/* ---- the allocator ----------------------------------------------------- */

/* Its blocks lie behind a head, so that neither free nor its own release takes
   the other's. */
typedef struct head {
    uint64_t mark;
    size_t size;
} head;
#define MARK UINT64_C(0x66616c6b6f723031)

typedef struct arena {
    falkor_allocator allocator;
    atomic_long blocks, bytes, calls, fail_at;  /* fail_at 0: never */
    atomic_long largest;
} arena;

/* What no block may hold that is let go; NULL: nobody looks. */
static const char *hidden;

static void *hold(arena *a, head *block, size_t size) {
    if (!block)
        return NULL;
    if (hidden)                         /* the block is looked at to its end */
        memset(block + 1, 0, size);
    *block = (head){MARK, size};
    atomic_fetch_add(&a->blocks, 1);
    atomic_fetch_add(&a->bytes, (long)size);
    if ((long)size > atomic_load(&a->largest))
        atomic_store(&a->largest, (long)size);
    return block + 1;
}

static head *let_go(arena *a, void *memory) {
    head *block = (head *)memory - 1;
    TEST_CHECK(block->mark == MARK);
    if (hidden)
        TEST_CHECK(!memmem(memory, block->size, hidden, strlen(hidden)));
    block->mark = 0;
    atomic_fetch_sub(&a->blocks, 1);
    atomic_fetch_sub(&a->bytes, (long)block->size);
    return block;
}

static bool fails(arena *a) {
    return atomic_fetch_add(&a->calls, 1) + 1 == atomic_load(&a->fail_at);
}

/* The allocator's own use of malloc is not what is counted. */
static void *arena_allocate(void *ctx, size_t size) {
    bool was = watched;
    watched = false;
    void *memory = fails(ctx) ? NULL
        : hold(ctx, malloc(sizeof(head) + size), size);
    watched = was;
    return memory;
}

static void *arena_reallocate(void *ctx, void *memory, size_t size) {
    if (!memory)
        return arena_allocate(ctx, size);
    void *moved = arena_allocate(ctx, size);
    if (!moved)
        return NULL;
    size_t old = ((head *)memory - 1)->size;
    memcpy(moved, memory, old < size ? old : size);
    free(let_go(ctx, memory));
    return moved;
}

static void arena_release(void *ctx, void *memory) {
    if (TEST_CHECK(memory != NULL))
        free(let_go(ctx, memory));
}

static void arena_begin(arena *a) {
    memset(a, 0, sizeof *a);
    a->allocator = (falkor_allocator){arena_allocate, arena_reallocate,
                                      arena_release, a};
}

/* ---- the server -------------------------------------------------------- */

static serving server;

static int start_server(void **state) {
    (void)state;
    serving_start(&server, NULL);
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

static falkor_options options_of(arena *a) {
    falkor_options options = serving_options(server.port);
    options.min_size = 1;
    options.max_size = 2;
    options.password = NULL;
    options.client_name = "allocating";
    options.allocator = &a->allocator;
    return options;
}

static const char rows[] = "UNWIND range(1, $n) AS i RETURN i, 'a text', [i]";

/* A query of so many rows, with a parameter that no buffer holds inside. */
static falkor_status ask(falkor_graph *graph, int64_t n,
                         falkor_result **result, falkor_error *error) {
    static char large[5000];
    memset(large, 'x', sizeof large - 1);
    return falkor_ro_query(graph, rows, FALKOR_PARAMS({"n", falkor_int(n)},
        {"large", falkor_string(large)}), result, error);
}

static int64_t read_all(falkor_graph *graph, int64_t n) {
    falkor_cursor *cursor;
    const falkor_result *row;
    falkor_error error;
    int64_t count = 0;
    falkor_cursor_open(graph, &(falkor_call_options){.read_only = true}, rows,
                       FALKOR_PARAMS({"n", falkor_int(n)}), &cursor, &error);
    while (!error.status && !falkor_cursor_next(cursor, &row, &error) && row)
        count++;
    falkor_cursor_close(cursor);
    return error.status ? -1 : count;
}

static void two_at_once(falkor_pool *pool, falkor_graph *graph) {
    falkor_error error;
    falkor_request requests[] = {
        {.graph = graph, .cypher = "RETURN 1", .read_only = true},
        {.argc = 1, .argv = (const char *[]){"PING"}, .read_only = true}};
    falkor_pipeline(pool, NULL, requests, 2, &error);
    for (int i = 0; i < 2; i++)
        falkor_result_free(requests[i].result);
}

/* ---- tests ------------------------------------------------------------- */

/* A19 */
static void test_allocator_gets_all_back(void **state) {
    (void)state;
    arena a;
    arena_begin(&a);
    falkor_options options = options_of(&a);
    falkor_pool *pool = serving_pool(&options);
    assert_true(atomic_load(&a.blocks) > 4);
    falkor_graph *graph = falkor_select_graph(pool, "allocator");
    serving_run(graph, "MERGE (:Label {key: 1})");
    falkor_result *large, *small = serving_query(graph,
        "MATCH (n:Label) RETURN n", NULL);
    falkor_error error;
    long before = atomic_load(&a.bytes);
    assert_int_equal(ask(graph, 100000, &large, &error), FALKOR_OK);
    assert_true(atomic_load(&a.bytes) - before > 3000000);
    assert_int_equal(read_all(graph, 10000), 10000);
    two_at_once(pool, graph);
    serving_run(graph, "MATCH (n) DELETE n");
    falkor_pool_free(pool);
    assert_int_equal(falkor_result_rows(large), 100000);
    assert_int_equal(falkor_result_value(large, 99999, 2)->as.items[0]
                     .as.integer, 100000);
    assert_string_equal(falkor_property(falkor_result_value(small, 0, 0),
        "key") ? "key" : "", "key");
    assert_true(atomic_load(&a.blocks) > 0);
    falkor_result_free(large);
    falkor_result_free(small);
    assert_int_equal(atomic_load(&a.blocks), 0);
    assert_int_equal(atomic_load(&a.bytes), 0);
    test_no_complaints();
}

/* A19 */
static void test_allocator_and_no_malloc(void **state) {
    (void)state;
    if (!COUNTS)
        skip();
    arena a;
    arena_begin(&a);
    falkor_options options = options_of(&a);
    falkor_pool *pool;
    falkor_error error;
    taken = 0;
    watched = true;
    falkor_pool_create(&options, &pool, &error);
    watched = false;
    assert_int_equal(error.status, FALKOR_OK);
    assert_int_equal(taken, 0);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    falkor_result *result = NULL;
    watched = true;
    falkor_graph *graph = falkor_select_graph(pool, "allocator");
    falkor_status status = ask(graph, 50000, &result, &error);
    int64_t count = status ? 0 : read_all(graph, 5000);
    two_at_once(pool, graph);
    falkor_result_free(result);
    watched = false;
    assert_int_equal(status, FALKOR_OK);
    assert_int_equal(count, 5000);
    assert_int_equal(taken, 0);
    falkor_pool_free(pool);
    assert_int_equal(atomic_load(&a.blocks), 0);
    test_no_complaints();
}

#define PART "Zq7Xw9Kd-of-a-password-"
static char many_parts[6000];

/* The greeting has it, in a block of the allocator's where it is so long, which
   is larger than any other that opening takes. The server may refuse it. */
static void use_password(const char *password, bool right) {
    arena a;
    arena_begin(&a);
    falkor_options options = options_of(&a);
    options.username = "hider";
    options.password = password;
    options.max_retries = -1;
    falkor_pool *pool;
    falkor_error error;
    hidden = PART;
    falkor_pool_create(&options, &pool, &error);
    serving_ok(&error);
    atomic_store(&a.largest, 0);
    assert_int_equal(falkor_pool_open(pool, &error),
                     right ? FALKOR_OK : FALKOR_ERR_AUTH);
    assert_true((password == many_parts) ==
                (atomic_load(&a.largest) > (long)sizeof many_parts));
    test_assert_lacks(error.message, PART);
    if (right) {
        falkor_graph *graph = falkor_select_graph(pool, "allocator");
        serving_run(graph, "RETURN 1");
        assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
        serving_run(graph, "RETURN 1");         /* dials again */
    }
    long calls = atomic_load(&a.calls);
    falkor_pool_free(pool);
    hidden = NULL;
    assert_true(calls > 4);
    assert_int_equal(atomic_load(&a.blocks), 0);
}

/* A19, R6 */
static void test_allocator_is_given_no_password(void **state) {
    const char *const passwords[] = {PART "1", many_parts};
    (void)state;
    for (size_t at = 0; at + sizeof PART < sizeof many_parts; )
        at += (size_t)sprintf(many_parts + at, "%s", PART);
    for (size_t i = 0; i < 2; i++) {
        redisContext *client = serving_client(server.port);
        redisReply *reply = redisCommand(client, "ACL SETUSER hider reset on "
                                         ">%s ~* &* +@all", passwords[i]);
        assert_non_null(reply);
        assert_string_equal(reply->str, "OK");
        freeReplyObject(reply);
        use_password(passwords[i], true);
        use_password(passwords[1 - i], false);
        freeReplyObject(redisCommand(client, "ACL DELUSER hider"));
        redisFree(client);
    }
    test_no_complaints();
}

/* Of everything that is asked for, each in its turn is not to be had. */
/* A19 */
static void test_allocator_that_fails(void **state) {
    (void)state;
    int failed = 0;
    for (long at = 1; at < 200; at++) {
        arena a;
        arena_begin(&a);
        atomic_store(&a.fail_at, at);
        falkor_options options = options_of(&a);
        options.max_retries = -1;
        falkor_pool *pool;
        falkor_error error;
        falkor_result *result = NULL;
        falkor_pool_create(&options, &pool, &error);
        if (!error.status)
            falkor_pool_open(pool, &error);
        falkor_graph *graph = error.status ? NULL
            : falkor_select_graph(pool, "allocator");
        if (graph)
            ask(graph, 3000, &result, &error);
        failed += error.status == FALKOR_ERR_NOMEM;
        falkor_result_free(result);
        falkor_pool_free(pool);
        assert_int_equal(atomic_load(&a.blocks), 0);
        if (atomic_load(&a.calls) < at)
            break;
        assert_true(at < 199);
    }
    assert_true(failed > 10);
    test_no_complaints();
}

/* A19 */
static void test_allocator_that_lacks_a_function(void **state) {
    (void)state;
    const char *const names[] = {"allocate", "reallocate", "release"};
    for (int lacks = 0; lacks < 3; lacks++) {
        arena a;
        arena_begin(&a);
        if (lacks == 0)
            a.allocator.allocate = NULL;
        else if (lacks == 1)
            a.allocator.reallocate = NULL;
        else
            a.allocator.release = NULL;
        falkor_options options = options_of(&a);
        falkor_pool *pool;
        falkor_error error;
        assert_int_equal(falkor_pool_create(&options, &pool, &error),
                         FALKOR_ERR_ARGUMENT);
        assert_null(pool);
        test_assert_has(error.message, names[lacks]);
        assert_int_equal(atomic_load(&a.calls), 0);
    }
}

TEST_MAIN_WITH(start_server, stop_server,
    cmocka_unit_test(test_allocator_gets_all_back),
    cmocka_unit_test(test_allocator_and_no_malloc),
    cmocka_unit_test(test_allocator_is_given_no_password),
    cmocka_unit_test(test_allocator_that_fails),
    cmocka_unit_test(test_allocator_that_lacks_a_function))
