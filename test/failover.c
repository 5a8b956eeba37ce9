/* Failovers under load: see failover.h. The fleet strikes, the ledger writes
   and compares; here it is watched how soon the one is seen by the other. */
#include "failover.h"
#include "crowd.h"
#include "fleet.h"
#include "ledger.h"
#include <inttypes.h>
#include <signal.h>

enum { THREADS_LEAST = 16, THREADS_MOST = 30, CONNECTIONS = 10, DIAL_MS = 250,
       ENOUGH = 10, ROUNDS_MOST = 100, IN_CI = 3, CUTS = 5, SOON_MS = 1000 };

#define PROBE "{" SCRIBE_GRAPH "}probe"

/* Who the servers say the primary is, and who it is that carries out a write of
   the pool; since when. Each is one thread's to set. */
typedef struct sight {
    atomic_int node;
    _Atomic int64_t since_ns;
} sight;

typedef struct times {                  /* of one kind of failover */
    const char *kind;
    int64_t ns[ROUNDS_MOST];
    int count;
} times;

typedef struct failover {
    fleet fleet;
    ledger told;
    int slot;                           /* of the graph, in a cluster */
    test_threads watch, probe;
    atomic_bool over;                   /* ends both */
    sight named, served;
    atomic_int changes;                 /* that the pool has told of */
} failover;

static void see(sight *self, int node) {
    if (atomic_load(&self->node) == node)
        return;
    atomic_store(&self->since_ns, falkor_now_ns());
    atomic_store(&self->node, node);
}

/* ---- what the servers say --------------------------------------------- */

/* Connections to who is to be asked: sentinels, or all nodes of a cluster. */
typedef struct panel {
    const fleet_member *members;
    int count;
    redisContext *clients[FLEET_NODES];
} panel;

/* One reply; NULL: not there, and dialled anew the next time. */
static redisReply *panel_ask(panel *self, int i, const char *command) {
    redisContext *client = self->clients[i];
    if (!client) {
        client = redisConnectWithTimeout(self->members[i].host,
            self->members[i].port, (struct timeval){.tv_usec = 100000});
        if (client)
            redisSetTimeout(client, (struct timeval){.tv_usec = 200000});
    }
    redisReply *reply = client && !client->err
        ? redisCommand(client, command) : NULL;
    if (!reply && client) {
        redisFree(client);
        client = NULL;
    }
    self->clients[i] = client;
    return reply;
}

static const redisReply *part(const redisReply *reply, size_t i) {
    return reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements
        ? reply->element[i] : NULL;
}

/* The node whose host and port begin a list; -1: none. */
static int node_in(const fleet *all, const redisReply *list) {
    const redisReply *host = part(list, 0), *port = part(list, 1);
    return host && port && host->str ? fleet_find(all, host->str,
        port->str ? atoi(port->str) : (int)port->integer) : -1;
}

static int owner_in(const failover *self, const redisReply *slots) {
    const redisReply *range;
    for (size_t i = 0; (range = part(slots, i)) && part(range, 2); i++)
        if (range->element[0]->integer <= self->slot &&
            range->element[1]->integer >= self->slot)
            return node_in(&self->fleet, range->element[2]);
    return -1;
}

/* The node that most of the panel name; -1: none. */
static int most_name(const failover *self, panel *all) {
    bool cluster = self->fleet.kind == FLEET_CLUSTER;
    int votes[FLEET_NODES] = {0}, chosen = -1;
    for (int i = 0; i < all->count; i++) {
        redisReply *reply = panel_ask(all, i, cluster ? "CLUSTER SLOTS"
            : "SENTINEL GET-MASTER-ADDR-BY-NAME " FLEET_MASTER);
        int node = cluster ? owner_in(self, reply)
                           : node_in(&self->fleet, reply);
        if (node >= 0 && ++votes[node] > all->count / 2)
            chosen = node;
        freeReplyObject(reply);
    }
    return chosen;
}

static void *watch(void *argument) {
    failover *self = argument;
    bool cluster = self->fleet.kind == FLEET_CLUSTER;
    panel all = {.members = cluster ? self->fleet.nodes
                                    : self->fleet.sentinels,
        .count = cluster ? self->fleet.count : self->fleet.sentinel_count};
    while (!atomic_load(&self->over)) {
        int node = most_name(self, &all);
        if (node >= 0)
            see(&self->named, node);
        test_pause_ms(1);
    }
    for (int i = 0; i < all.count; i++)
        if (all.clients[i])
            redisFree(all.clients[i]);
    return NULL;
}

/* ---- who carries out a write ------------------------------------------ */

/* "listener0:name=tcp,bind=127.0.0.11,port=20000" in INFO. */
static int node_of(const fleet *all, const char *info) {
    char host[16];
    int port;
    const char *at = strstr(info, "name=tcp,bind=");
    return at && sscanf(at, "name=tcp,bind=%15[0-9.],port=%d", host, &port) == 2
        ? fleet_find(all, host, port) : -1;
}

/* A write that says who has carried it out, again and again. */
static void *probe(void *argument) {
    failover *self = argument;
    falkor_result *result;
    falkor_error error;
    while (!atomic_load(&self->over)) {
        if (!falkor_command(self->told.all.pool,
                &(falkor_call_options){.idempotent = true}, 5,
                (const char *[]){"EVAL", "redis.call('SET', KEYS[1], ARGV[1]) "
                    "return redis.call('INFO', 'server')", "1", PROBE, "1"},
                NULL, &result, &error)) {
            const falkor_value *info = falkor_result_value(result, 0, 0);
            int node = info && info->type == FALKOR_STRING
                ? node_of(&self->fleet, info->as.string) : -1;
            if (TEST_CHECK(node >= 0))
                see(&self->served, node);
        }
        falkor_result_free(result);
        test_pause_ms(1);
    }
    return NULL;
}

/* ---- how long it takes ------------------------------------------------ */

static int by_size(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

/* The worst is returned. */
static int64_t print_times(times *all) {
    if (!all->count)
        return 0;
    qsort(all->ns, (size_t)all->count, sizeof *all->ns, by_size);
    int64_t worst_ns = all->ns[all->count - 1];
    printf("count: %d %s: the new primary's first write %+.1f ms after most "
           "name it, at worst %+.1f ms\n", all->count, all->kind,
           (double)all->ns[all->count / 2] / SERVING_MS,
           (double)worst_ns / SERVING_MS);
    return worst_ns;
}

/* Waits until most name another node than old, and that one has written; it may
   have done so before most name it. */
static void await_switch(failover *self, int old, times *kind) {
    int64_t begin_ns = falkor_now_ns();
    TEST_EVENTUALLY(atomic_load(&self->named.node) != old ||
                    atomic_load(&self->told.all.broken));
    int named = atomic_load(&self->named.node);
    TEST_EVENTUALLY(atomic_load(&self->served.node) == named ||
                    atomic_load(&self->told.all.broken));
    int64_t switched_ns = atomic_load(&self->named.since_ns);
    int64_t late_ns = atomic_load(&self->served.since_ns) - switched_ns;
    printf("%s: from %d to %d, named after %" PRId64 " ms, written %+" PRId64
           " ms later\n", kind->kind, old, named,
           (switched_ns - begin_ns) / SERVING_MS, late_ns / SERVING_MS);
    assert_true(kind->count < ROUNDS_MOST);
    kind->ns[kind->count++] = late_ns;
}

/* ---- the run ---------------------------------------------------------- */

static void note(void *argument, const falkor_event *event) {
    failover *self = argument;
    if (strcmp(event->name, "primary_changed") == 0)
        atomic_fetch_add(&self->changes, 1);
}

int failover_threads(uint64_t *random) {
    return THREADS_LEAST + test_below(random, THREADS_MOST - THREADS_LEAST + 1);
}

/* "host:port,host:port" of them. */
static const char *list(const fleet_member *members, int count, char *text,
                        size_t size) {
    int length = 0;
    for (int i = 0; i < count; i++)
        length += snprintf(text + length, size - (size_t)length, "%s%s:%d",
                           i ? "," : "", members[i].host, members[i].port);
    return text;
}

void failover_open(ledger *told, const fleet *all, falkor_options options) {
    char hosts[200];
    options.graph = SCRIBE_GRAPH;
    options.min_size = 2;
    options.max_size = CONNECTIONS;
    options.pool_timeout_ms = SCRIBE_POOL_MS;
    options.connect_timeout_ms = DIAL_MS;
    options.socket_timeout_ms = SCRIBE_SOCKET_MS;
    options.health_check_interval_ms = 500;
    options.max_lifetime_ms = 5000;
    options.retry_initial_delay_ms = 2;
    options.retry_max_delay_ms = 20;
    if (all->kind == FLEET_SENTINEL) {
        options.sentinels = list(all->sentinels, all->sentinel_count, hosts,
                                 sizeof hosts);
        options.master_name = FLEET_MASTER;
    } else {                            /* the others it finds by itself */
        options.cluster = list(all->nodes, 2, hosts, sizeof hosts);
    }
    told->all.most = CONNECTIONS * all->count;
    told->all.copies = 1;
    told->all.moves = all->kind == FLEET_CLUSTER;
    told->all.pool = crowd_pool(&options);
    told->all.graph = falkor_select_graph(told->all.pool, NULL);
}

static void begin(failover *self, fleet_kind kind) {
    uint64_t random = test_seed();
    int threads = failover_threads(&random);
    memset(self, 0, sizeof *self);
    self->named.node = self->served.node = -1;
    fleet_start(&self->fleet, kind, NULL);
    if (kind == FLEET_CLUSTER)
        self->slot = fleet_slot(&self->fleet, SCRIBE_GRAPH);
    failover_open(&self->told, &self->fleet,
                  (falkor_options){.on_event = note, .event_ctx = self});
    late_begin();
    ledger_begin(&self->told, threads, random);
    self->watch = test_start(watch, self, sizeof *self, 1);
    self->probe = test_start(probe, self, sizeof *self, 1);
}

/* The graph is read when all is quiet and at one. */
static void end(failover *self, times *const *kinds, int count) {
    late_book book = {.calls = 0};
    falkor_stats now;
    int64_t worst_ns = 0;
    int switches = 0;
    ledger_await_good(&self->told, ENOUGH);
    ledger_stop(&self->told);
    atomic_store(&self->over, true);
    test_join(&self->probe);
    test_join(&self->watch);
    int64_t tick_ns = late_end();
    test_no_complaints();
    ledger_add_lateness(&self->told, &book);
    for (int i = 0; i < count; i++) {
        int64_t one_ns = print_times(kinds[i]);
        if (one_ns > worst_ns)
            worst_ns = one_ns;
        switches += kinds[i]->count;
    }
    ledger_compare(&self->told);
    late_check(&book, tick_ns);
    if (worst_ns > SOON_MS * SERVING_MS + tick_ns)
        fail_msg("a failover was not seen within %d ms", SOON_MS);
    if (self->fleet.kind == FLEET_SENTINEL)
        assert_true(atomic_load(&self->changes) >= switches);
    falkor_pool_stats(self->told.all.pool, &now);
    assert_true(now.acquires == now.releases);
    ledger_free(&self->told);
    falkor_pool_free(self->told.all.pool);
    fleet_stop(&self->fleet);
}

int failover_rounds(int most) {
    const char *given = getenv("FALKOR_FAILOVERS");
    int rounds = given ? atoi(given) : getenv("FALKOR_CI") ? IN_CI : most;
    return rounds < 1 ? 1 : rounds < most ? rounds : most;
}

static bool goes_on(const failover *self) {
    return !atomic_load(&self->told.all.broken);
}

/* Cuts its clients; how many calls have ended so. */
static int cut_clients(const failover *self, int node) {
    freeReplyObject(fleet_ask(&self->fleet, node,
                              "CLIENT KILL TYPE normal SKIPME yes"));
    return atomic_load(&self->told.all.bad[FALKOR_ERR_IO]);
}

/* Its clients are cut first, so that there are writes that run, and reach the
   replicas, whose callers do not learn of it. */
static void kill_node(failover *self, int node) {
    int before = atomic_load(&self->told.all.bad[FALKOR_ERR_IO]);
    TEST_EVENTUALLY(cut_clients(self, node) >= before + CUTS || !goes_on(self));
    fleet_kill(&self->fleet, node, SIGKILL);
}

/* ---- from one node to another ----------------------------------------- */

/* It is given when no other failover is under way. */
static bool order(const failover *self) {
    redisReply *reply = fleet_ask_sentinel(&self->fleet, 0,
                                           "SENTINEL FAILOVER " FLEET_MASTER);
    bool taken = reply && reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    return taken;
}

static bool is_primary(const fleet *all, int node) {
    redisReply *role = fleet_ask(all, node, "ROLE");
    const redisReply *word = part(role, 0);
    bool is = word && word->str && strcmp(word->str, "master") == 0;
    freeReplyObject(role);
    return is;
}

/* The next primary behind this one. */
static int other_primary(const fleet *all, int node) {
    int other = (node + 1) % all->count;
    while (other != node && !is_primary(all, other))
        other = (other + 1) % all->count;
    assert_true(other != node);
    return other;
}

/* The primary, or the owner of the graph's slot. */
static int leader(const failover *self) {
    return self->fleet.kind == FLEET_CLUSTER
        ? fleet_owner(&self->fleet, -1, self->slot)
        : fleet_primary(&self->fleet);
}

/* Has another take its place, nobody dies: a replica, or in a cluster another
   primary, to which the slot moves. */
static void hand_over(failover *self, int old) {
    if (self->fleet.kind == FLEET_CLUSTER)
        fleet_move_slot(&self->fleet, self->slot, old,
                        other_primary(&self->fleet, old));
    else
        TEST_EVENTUALLY(order(self));
}

static void switch_once(failover *self, bool kills, times *kind) {
    int old = leader(self);
    assert_true(old >= 0);
    TEST_EVENTUALLY(atomic_load(&self->named.node) == old &&
                    atomic_load(&self->served.node) == old);
    if (kills)
        kill_node(self, old);
    else
        hand_over(self, old);
    await_switch(self, old, kind);
    ledger_await_good(&self->told, ENOUGH);
    if (kills)
        fleet_restart(&self->fleet, old);
    fleet_await_settled(&self->fleet);
    ledger_await_good(&self->told, ENOUGH);
}

void failover_run(fleet_kind kind, int kills, int handovers) {
    static failover self;
    bool cluster = kind == FLEET_CLUSTER;
    times killed = {.kind = cluster ? "failovers by SIGKILL in a cluster"
                                    : "failovers by SIGKILL"};
    times handed = {.kind = cluster ? "moves of the graph's slot"
                                    : "failovers by SENTINEL FAILOVER"};
    begin(&self, kind);
    while (goes_on(&self) &&
           (killed.count < kills || handed.count < handovers)) {
        if (killed.count < kills)
            switch_once(&self, true, &killed);
        if (goes_on(&self) && handed.count < handovers)
            switch_once(&self, false, &handed);
    }
    end(&self, (times *[]){&killed, &handed}, 2);
}
