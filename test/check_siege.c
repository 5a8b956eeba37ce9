/* A minute of siege on the real server: 50 threads on a pool of 20 ask for
   their own tokens, while connections are killed all the time, the server is
   restarted twice, lets in fewer clients than the pool wants, changes its
   password and is stopped and continued. Afterwards no reply was another's, no
   thread is stuck, and the pool is whole. */
#include "crowd.h"
#include <signal.h>

enum { SECONDS = 60, TIMEOUT_MS = 1000,
       ENOUGH = TEST_SANITIZED ? 30000 : 300000 };

typedef struct siege {
    serving server;
    redisContext *client;               /* ours: let in, and spared */
    long long kills, killed, refused;
    int restarts, stops;
} siege;

/* What the siege gives a right to, beyond dead connections: no login with the
   old password, and no graph where the server has lost its data. */
static bool is_due(const falkor_error *error) {
    return error->status == FALKOR_ERR_AUTH ||
        error->status == FALKOR_ERR_BUSY ||
        error->status == FALKOR_ERR_CIRCUIT_OPEN ||
        (error->status == FALKOR_ERR_QUERY &&
         strstr(error->message, "empty key") != NULL);
}

/* A command that succeeds, its %s being empty; its integer, if that is what it
   answers. */
static long long tell(siege *at, const char *command) {
    redisReply *reply = redisCommand(at->client, command, "");
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply ? reply->str : at->client->errstr);
    long long number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    return number;
}

/* Kills connections every 100 ms, for so long. */
static void kill_for(siege *at, int ms) {
    for (int64_t until = test_now_ms() + ms; test_now_ms() < until;) {
        at->killed += tell(at, "CLIENT KILL TYPE normal SKIPME yes");
        at->kills++;
        test_pause_ms(100);
    }
}

static void restart(siege *at) {
    char port[16];
    snprintf(port, sizeof port, "%d", at->server.port);
    redisFree(at->client);
    serving_stop(&at->server);
    test_pause_ms(300);                 /* nobody there, for a while */
    serving_start(&at->server, (const char *[]){"--port", port, NULL});
    at->client = serving_client(at->server.port);
    at->restarts++;
}

static void sleep_for(siege *at, int ms) {
    serving_signal(&at->server, SIGSTOP);
    serving_await_state(&at->server, 'T');
    test_pause_ms(ms);
    serving_signal(&at->server, SIGCONT);
    at->stops++;
}

static void between(siege *at, const char *first, const char *last, int ms) {
    tell(at, first);
    kill_for(at, ms);
    tell(at, last);
}

static void besiege(siege *at) {
    int64_t until = test_now_ms() + SECONDS * 1000;
    kill_for(at, 6000);
    between(at, "CONFIG SET requirepass changed", "CONFIG SET requirepass %s",
            3000);
    kill_for(at, 5000);
    restart(at);
    kill_for(at, 6000);
    between(at, "CONFIG SET maxclients 10", "CONFIG SET maxclients 10000",
            4000);
    at->refused = serving_info(at->server.port, "stats",
                               "rejected_connections");
    kill_for(at, 5000);
    sleep_for(at, 2000);
    kill_for(at, 5000);
    restart(at);
    kill_for(at, 5000);
    sleep_for(at, 1500);
    int64_t left = until - test_now_ms();
    kill_for(at, left > 0 ? (int)left : 0);
}

static void test_siege(void **state) {
    (void)state;
    static siege at;
    crowd_member members[CROWD];
    crowd all = {.timeout_ms = TIMEOUT_MS, .is_due = is_due};
    serving_start(&at.server, NULL);
    at.client = serving_client(at.server.port);
    falkor_options options = crowd_options(at.server.port);
    all.pool = serving_pool(&options);
    all.graph = falkor_select_graph(all.pool, "siege");
    crowd_start(&all, members);
    besiege(&at);
    crowd_forget_since(members);
    bool alive = crowd_all_answered(members);
    atomic_store(&all.stopped, true);
    crowd_join(members);
    printf("%lld connections killed in %lld rounds, %lld too many for the "
           "server, %d restarts, %d stops: ", at.killed, at.kills, at.refused,
           at.restarts, at.stops);
    crowd_check(&all);
    assert_true(alive);                 /* every thread */
    assert_true(at.kills >= 200 && at.killed >= 200 && at.refused > 0);
    assert_true(atomic_load(&all.bad[FALKOR_ERR_AUTH]) > 0);
    assert_true(atomic_load(&all.good) >= ENOUGH);
    TEST_EVENTUALLY(crowd_pool_is_full(all.pool));
    crowd_take_all(all.pool);
    TEST_EVENTUALLY(crowd_is_seen(at.server.port, CROWD_POOL));
    assert_true(crowd_pool_is_full(all.pool));
    assert_int_equal(serving_integer(all.graph, "RETURN 7", NULL), 7);
    falkor_stats now;
    falkor_pool_stats(all.pool, &now);
    printf("%llu dialled, %llu dials failed, %llu unfit, %llu acquires: all "
           "released\n", (unsigned long long)now.connections_created,
           (unsigned long long)now.connect_failures,
           (unsigned long long)now.health_failures,
           (unsigned long long)now.acquires);
    assert_true(now.acquires == now.releases);
    falkor_pool_free(all.pool);
    redisFree(at.client);
    serving_stop(&at.server);
}

TEST_MAIN(cmocka_unit_test(test_siege))
