/* Threads that ask for tokens of their own: see crowd.h. */
#include "crowd.h"

bool crowd_is_token(const falkor_result *result, int64_t token) {
    const falkor_value *value = falkor_result_value(result, 0, 0);
    const falkor_value *text = falkor_result_value(result, 0, 1);
    char expected[32];
    snprintf(expected, sizeof expected, "t%lld", (long long)token);
    return falkor_result_rows(result) == 1 && value && text &&
        value->type == FALKOR_INTEGER && value->as.integer == token &&
        text->type == FALKOR_STRING && strcmp(text->as.string, expected) == 0;
}

/* Whether a call may end so while connections die or the server sleeps. A write
   that was not sent, for the names were not there in time, has not run. */
static bool is_due(const falkor_error *error, bool write) {
    switch (error->status) {
    case FALKOR_ERR_POOL_TIMEOUT: case FALKOR_ERR_CONNECT:
    case FALKOR_ERR_CIRCUIT_OPEN:
        return !error->maybe_executed || error->attempts > 1;
    case FALKOR_ERR_IO:
        return !write || error->maybe_executed || error->attempts > 1;
    case FALKOR_ERR_TIMEOUT:
        return !write || error->maybe_executed ||
               strstr(error->message, "the names of graph");
    default:
        return false;
    }
}

static void note_unsaid(crowd *all, const falkor_error *error, bool write) {
    atomic_fetch_add(&all->unsaid, 1);
    if (!atomic_exchange(&all->said, true))
        snprintf(all->first_unsaid, sizeof all->first_unsaid,
                 "%s, write %d, attempts %d, maybe %d: %s",
                 falkor_status_name(error->status), write, error->attempts,
                 error->maybe_executed, error->message);
}

static void note(crowd_member *me, falkor_status status,
                 const falkor_error *error, const falkor_result *result,
                 int64_t token, bool write) {
    crowd *all = me->crowd;
    if (status) {
        atomic_fetch_add(&all->bad[status], 1);
        if (!is_due(error, write) && !(all->is_due && all->is_due(error)))
            note_unsaid(all, error, write);
        return;
    }
    if (!crowd_is_token(result, token))
        atomic_fetch_add(&all->wrong, 1);
    atomic_fetch_add(&all->good, 1);
    atomic_fetch_add(&me->good, 1);
    atomic_fetch_add(&me->since, 1);
}

static void clock_in(crowd_member *me, int64_t elapsed_ns, int timeout_ms) {
    int64_t over = elapsed_ns - timeout_ms * SERVING_MS;
    me->calls++;
    if (over > me->worst_ns)
        me->worst_ns = over;
    if (over < 50 * SERVING_MS)
        me->within_50_ms++;
}

static void *ask_tokens(void *argument) {
    crowd_member *me = argument;
    crowd *all = me->crowd;
    for (int i = 0; all->queries ? i < all->queries
                                 : !atomic_load(&all->stopped); i++) {
        int64_t token = me->number * INT64_C(1000000000) + i;
        bool write = i % 2 != 0;
        char text[32];
        falkor_result *result;
        falkor_error error;
        snprintf(text, sizeof text, "t%lld", (long long)token);
        int64_t begin = falkor_now_ns();
        falkor_status status = falkor_query_with(all->graph,
            &(falkor_call_options){.read_only = !write,
                                   .timeout_ms = all->timeout_ms},
            "RETURN $t, $s", (const falkor_param[]){
                {"t", falkor_int(token)}, {"s", falkor_string(text)}, {0}},
            &result, &error);
        clock_in(me, falkor_now_ns() - begin, all->timeout_ms);
        note(me, status, &error, result, token, write);
        falkor_result_free(result);
    }
    return NULL;
}

void crowd_start(crowd *all, crowd_member *members) {
    for (int i = 0; i < CROWD; i++) {
        members[i] = (crowd_member){.crowd = all, .number = i + 1};
        assert_int_equal(pthread_create(&members[i].thread, NULL, ask_tokens,
                                        &members[i]), 0);
    }
}

void crowd_join(crowd_member *members) {
    for (int i = 0; i < CROWD; i++)
        pthread_join(members[i].thread, NULL);
}

void crowd_check(crowd *all) {
    printf("good %d", atomic_load(&all->good));
    for (int i = 1; i < FALKOR_STATUS_COUNT; i++)
        if (atomic_load(&all->bad[i]))
            printf(", %s %d", falkor_status_name((falkor_status)i),
                   atomic_load(&all->bad[i]));
    printf("\n");
    fflush(stdout);
    assert_int_equal(atomic_load(&all->wrong), 0);
    if (atomic_load(&all->unsaid))
        fail_msg("%d calls ended as none should: %s",
                 atomic_load(&all->unsaid), all->first_unsaid);
}

falkor_options crowd_options(int port) {
    falkor_options options = serving_options(port);
    options.min_size = options.max_size = CROWD_POOL;
    options.retry_initial_delay_ms = 2;
    options.retry_max_delay_ms = 20;
    options.client_name = "crowd";
    return options;
}

falkor_pool *crowd_pool(const falkor_options *options) {
    falkor_pool *pool;
    assert_int_equal(falkor_pool_create(options, &pool, NULL), FALKOR_OK);
    TEST_EVENTUALLY(!falkor_pool_open(pool, NULL));
    return pool;
}

bool crowd_pool_is_full(falkor_pool *pool) {
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    return stats.total == CROWD_POOL && stats.idle == CROWD_POOL &&
        stats.active == 0 && stats.waiting == 0;
}

bool crowd_is_seen(int port, int wanted) {
    char *list = serving_ask(port, "CLIENT LIST");
    int count = 0;
    for (char *at = list; (at = strstr(at, " name=crowd ")) != NULL; at++)
        count++;
    free(list);
    return count == wanted;
}

bool crowd_all_answered(crowd_member *members) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    for (int i = 0; i < CROWD; i++)
        while (atomic_load(&members[i].since) < 10) {
            if (test_now_ms() > until)
                return false;
            test_pause_ms(1);
        }
    return true;
}

void crowd_forget_since(crowd_member *members) {
    for (int i = 0; i < CROWD; i++)
        atomic_store(&members[i].since, 0);
}

void crowd_take_all(falkor_pool *pool) {
    falkor_conn *conn[CROWD_POOL];
    for (int i = 0; i < CROWD_POOL; i++)
        TEST_EVENTUALLY(!falkor_acquire_within(pool, TEST_PATIENCE_MS,
                                               &conn[i], NULL));
    for (int i = 0; i < CROWD_POOL; i++)
        assert_int_equal(falkor_release(conn[i]), FALKOR_OK);
}
