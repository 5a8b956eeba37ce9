/* Networks that part while scribes write through one pool with wait_replicas: a
   client from the primary, the primary from who watches it, from all but its
   clients, a sentinel from the others, and both at once. Where the sentinels
   choose another primary the old one is deposed, and goes on to take writes:
   none of these is reported as durable. After each part is healed, and at the
   end, all that was reported so is there once (ledger.h). Runs alone. */
#include "failover.h"
#include "netns.h"
#include <errno.h>

enum { ENOUGH = 10, HOLD_MS = 2000, ROUNDS = 2 };

#define CLIENT_HOST "127.0.0.1"

typedef struct parting {
    const char *name;
    bool replicas, sentinels;           /* from whom the primary is cut */
    bool client;
    bool alone;                         /* one sentinel, from the others */
    bool with_alone;                    /* the primary keeps that one */
    bool switches;                      /* another is chosen */
} parting;

static const parting partings[] = {
    {"client | primary", .client = true},
    {"primary | sentinels", .sentinels = true, .switches = true},
    {"primary | replicas and sentinels", .replicas = true, .sentinels = true,
     .switches = true},
    {"sentinel | sentinels", .alone = true},
    {"primary and sentinel | all others", .replicas = true, .sentinels = true,
     .alone = true, .with_alone = true, .switches = true},
};
enum { PARTINGS = sizeof partings / sizeof *partings };

static bool parts;                      /* a network can be parted here */
static fleet servers;
static ledger told;

static void cut(const char *one, const char *other) {
    if (!netns_part(one, other))
        fail_msg("cannot part %s from %s: %s", one, other, strerror(errno));
}

static void part(const parting *how, int primary, int lone) {
    const char *host = servers.nodes[primary].host;
    const char *lone_host = servers.sentinels[lone].host;
    if (how->client)
        cut(CLIENT_HOST, host);
    for (int i = 0; how->replicas && i < servers.count; i++) {
        if (i != primary)
            cut(host, servers.nodes[i].host);
        if (i != primary && how->with_alone)
            cut(lone_host, servers.nodes[i].host);
    }
    for (int i = 0; i < servers.sentinel_count; i++) {
        if (how->sentinels && !(how->with_alone && i == lone))
            cut(host, servers.sentinels[i].host);
        if (how->alone && i != lone)
            cut(lone_host, servers.sentinels[i].host);
    }
}

/* The node that the pool holds to be the primary; -1: none. */
static int pool_primary(void) {
    falkor_node_info nodes[FLEET_NODES];
    size_t count = falkor_pool_nodes(told.all.pool, nodes, FLEET_NODES);
    char host[16];
    int port;
    for (size_t i = 0; i < count && i < FLEET_NODES; i++)
        if (nodes[i].role == FALKOR_ROLE_PRIMARY &&
            sscanf(nodes[i].address, "%15[0-9.]:%d", host, &port) == 2)
            return fleet_find(&servers, host, port);
    return -1;
}

static int failures(void) {
    int sum = 0;
    for (int i = 1; i < FALKOR_STATUS_COUNT; i++)
        sum += atomic_load(&told.all.bad[i]);
    return sum;
}

static bool goes_on(void) { return !atomic_load(&told.all.broken); }

/* It goes on for a while after it was seen to do what it does. A new primary
   has a replica that can be reached: there writes last again. */
static void strike(const parting *how, int lone) {
    int before = failures(), primary = fleet_primary(&servers);
    assert_true(primary >= 0);
    part(how, primary, lone);
    if (how->switches) {
        TEST_EVENTUALLY(fleet_primary(&servers) != primary || !goes_on());
        int chosen = fleet_primary(&servers);
        TEST_EVENTUALLY(pool_primary() == chosen || !goes_on());
        int lasting = atomic_load(&told.all.lasting);
        TEST_EVENTUALLY(atomic_load(&told.all.lasting) >= lasting + ENOUGH ||
                        !goes_on());
    } else if (how->client) {
        TEST_EVENTUALLY(failures() > before || !goes_on());
    }
    test_pause_ms(HOLD_MS);
    if (goes_on())
        assert_true((fleet_primary(&servers) != primary) == how->switches);
    assert_true(netns_heal());
    fleet_await_settled(&servers);
    ledger_await_good(&told, ENOUGH);
}

static void check(int64_t tick_ns) {
    late_book book = {.calls = 0};
    test_no_complaints();
    ledger_compare(&told);
    ledger_add_lateness(&told, &book);
    late_check(&book, tick_ns);
}

static void test_partition(void **state) {
    uint64_t random = test_seed();
    int struck = 0, rounds = getenv("FALKOR_CI") ? 1 : failover_rounds(ROUNDS);
    (void)state;
    if (!parts)
        return;
    fleet_start(&servers, FLEET_SENTINEL, NULL);
    failover_open(&told, &servers, (falkor_options){0});
    late_begin();
    ledger_begin(&told, failover_threads(&random), random);
    for (; struck < rounds * PARTINGS && goes_on(); struck++) {
        const parting *how = &partings[struck % PARTINGS];
        int lasting = atomic_load(&told.all.lasting);
        strike(how, test_below(&random, FLEET_SENTINELS));
        printf("%s: %d writes last\n", how->name,
               atomic_load(&told.all.lasting) - lasting);
    }
    ledger_stop(&told);
    int64_t tick_ns = late_end();
    printf("count: %d partings of the network\n", struck);
    check(tick_ns);
    ledger_free(&told);
    falkor_pool_free(told.all.pool);
    fleet_stop(&servers);
}

static int enter(void **state) {
    const char *why;
    (void)state;
    parts = netns_enter(&why);
    if (!parts)
        printf("note: no network of its own (%s): nothing is parted\n", why);
    return 0;
}

TEST_MAIN_WITH(enter, NULL, cmocka_unit_test(test_partition))
