/* A set of real servers for tests: see fleet.h. Knows test/fleet.sh by the
   lines that it reads and prints only. */
#include "fleet.h"
#include <signal.h>
#include <unistd.h>

#define FLEET_ARGUMENTS 32
#define FLEET_PRIMARIES 3               /* of a cluster */

/* ---- the script ------------------------------------------------------- */

/* It is where server.sh is. */
static const char *script_path(char *path, size_t size) {
    const char *server = getenv("FALKOR_SERVER_SH");
    const char *slash = server ? strrchr(server, '/') : NULL;
    int folder = slash ? (int)(slash - server) : 4;
    snprintf(path, size, "%.*s/fleet.sh", folder, slash ? server : "test");
    return path;
}

/* What stands behind " name=" in the line, or NULL. */
static const char *field(const char *line, const char *name) {
    char pattern[32];
    snprintf(pattern, sizeof pattern, " %s=", name);
    const char *at = strstr(line, pattern);
    return at ? at + strlen(pattern) : NULL;
}

/* Behind the comma that ends an entry of a list; NULL: it was the last. */
static const char *next_entry(const char *at) {
    at += strcspn(at, ", ");
    return *at == ',' ? at + 1 : NULL;
}

/* The members of two lists of the line, and their number. */
static int read_members(const char *line, const char *addresses,
                        const char *pids, fleet_member *members, int limit) {
    const char *address = field(line, addresses), *pid = field(line, pids);
    int count = 0;
    for (; address && pid; count++) {
        assert_true(count < limit);
        fleet_member *one = &members[count];
        assert_int_equal(sscanf(address, "%15[0-9.]:%d", one->host, &one->port),
                         2);
        one->pid = (pid_t)strtol(pid, NULL, 10);
        address = next_entry(address);
        pid = next_entry(pid);
    }
    return count;
}

void fleet_start(fleet *self, fleet_kind kind, const char *const *arguments) {
    char path[200], line[1024];
    const char *argv[FLEET_ARGUMENTS + 3] = {
        script_path(path, sizeof path),
        kind == FLEET_CLUSTER ? "cluster" : "sentinel"};
    for (size_t i = 0; arguments && arguments[i]; i++) {
        assert_true(i < FLEET_ARGUMENTS);
        argv[i + 2] = arguments[i];
    }
    *self = (fleet){.kind = kind};
    serving_script_run(&self->script, argv);
    serving_script_line(&self->script, line, sizeof line);
    self->count = read_members(line, "nodes", "pids", self->nodes, FLEET_NODES);
    self->sentinel_count = read_members(line, "sentinels", "sentinel_pids",
                                        self->sentinels, FLEET_SENTINELS);
    const char *dir = field(line, "dir");
    if (!self->count || !dir || sscanf(dir, "%199s", self->dir) != 1)
        fail_msg("no fleet: \"%s\"", line);
}

void fleet_stop(fleet *self) {
    serving_script_end(&self->script);
}

/* ---- one of them ------------------------------------------------------ */

static const fleet_member *node_of(const fleet *self, int node) {
    assert_true(node >= 0 && node < self->count);
    return &self->nodes[node];
}

static const fleet_member *sentinel_of(const fleet *self, int sentinel) {
    assert_true(sentinel >= 0 && sentinel < self->sentinel_count);
    return &self->sentinels[sentinel];
}

/* The script is its parent, and waits for it at once. */
static bool runs(const fleet_member *member) {
    return kill(member->pid, 0) == 0;
}

bool fleet_runs(const fleet *self, int node) {
    return runs(node_of(self, node));
}

static void signal_member(const fleet_member *member, int number) {
    assert_int_equal(kill(member->pid, number), 0);
    if (number == SIGKILL)
        TEST_EVENTUALLY(!runs(member));
}

void fleet_kill(fleet *self, int node, int number) {
    signal_member(node_of(self, node), number);
}

void fleet_kill_sentinel(fleet *self, int sentinel, int number) {
    signal_member(sentinel_of(self, sentinel), number);
}

/* Orders a start of the script, which answers with the new process. */
static pid_t start_again(const fleet *self, const char *order, int index,
                         const char *answer) {
    char line[128], format[64];
    int found = -1, pid = 0;
    int length = snprintf(line, sizeof line, "%s %d\n", order, index);
    assert_int_equal(write(self->script.input, line, (size_t)length), length);
    serving_script_line(&self->script, line, sizeof line);
    snprintf(format, sizeof format, "%s index=%%d pid=%%d", answer);
    if (sscanf(line, format, &found, &pid) != 2 || found != index)
        fail_msg("%s %d: \"%s\"", order, index, line);
    return pid;
}

void fleet_restart(fleet *self, int node) {
    TEST_EVENTUALLY(!fleet_runs(self, node));
    self->nodes[node].pid = start_again(self, "start", node, "FALKOR_STARTED");
}

void fleet_restart_sentinel(fleet *self, int sentinel) {
    TEST_EVENTUALLY(!runs(sentinel_of(self, sentinel)));
    self->sentinels[sentinel].pid = start_again(
        self, "start_sentinel", sentinel, "FALKOR_STARTED_SENTINEL");
}

static redisContext *dial(const fleet_member *member, int seconds) {
    struct timeval patience = {.tv_sec = seconds};
    redisContext *client = redisConnectWithTimeout(member->host, member->port,
                                                   (struct timeval){2, 0});
    assert_non_null(client);
    if (!client->err && redisSetTimeout(client, patience) == REDIS_OK)
        return client;
    redisFree(client);
    return NULL;
}

redisContext *fleet_client(const fleet *self, int node) {
    return dial(node_of(self, node), 10);
}

static redisReply *ask_member(const fleet_member *member, const char *format,
                              va_list arguments) {
    redisContext *client = dial(member, 2);
    redisReply *reply = client ? redisvCommand(client, format, arguments)
                               : NULL;
    if (client)
        redisFree(client);
    return reply;
}

redisReply *fleet_ask(const fleet *self, int node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = ask_member(node_of(self, node), format, arguments);
    va_end(arguments);
    return reply;
}

redisReply *fleet_ask_sentinel(const fleet *self, int sentinel,
                               const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = ask_member(sentinel_of(self, sentinel), format,
                                   arguments);
    va_end(arguments);
    return reply;
}

long long fleet_setting(const fleet *self, int node, const char *name) {
    redisReply *reply = fleet_ask(self, node, "GRAPH.CONFIG GET %s", name);
    assert_true(reply && reply->elements == 2);
    long long value = reply->element[1]->integer;
    freeReplyObject(reply);
    return value;
}

int fleet_find(const fleet *self, const char *host, int port) {
    for (int i = 0; i < self->count; i++)
        if (self->nodes[i].port == port &&
            strcmp(self->nodes[i].host, host) == 0)
            return i;
    return -1;
}

/* ---- replies ---------------------------------------------------------- */

static bool is_text(const redisReply *reply) {
    return reply && reply->str && reply->type != REDIS_REPLY_ERROR;
}

static const redisReply *element(const redisReply *reply, size_t i) {
    return reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements
               ? reply->element[i] : NULL;
}

static bool is_word(const redisReply *reply, const char *word) {
    return is_text(reply) && strcmp(reply->str, word) == 0;
}

/* The node that an array names, from its host's place on. A sentinel writes the
   port as text. */
static int named(const fleet *self, const redisReply *reply, size_t at) {
    const redisReply *host = element(reply, at), *port = element(reply, at + 1);
    if (!is_text(host) || !port)
        return -1;
    return fleet_find(self, host->str, port->str ? atoi(port->str)
                                                 : (int)port->integer);
}

/* The value behind a name in a flat array of both; "" when there is none. */
static const char *value_of(const redisReply *reply, const char *name) {
    for (size_t i = 0; element(reply, i + 1); i += 2)
        if (is_word(element(reply, i), name) && is_text(element(reply, i + 1)))
            return element(reply, i + 1)->str;
    return "";
}

/* Whether the node's ROLE is that of a replica of another whose link is up. */
static bool follows(const fleet *self, int node, int primary) {
    redisReply *role = fleet_ask(self, node, "ROLE");
    bool does = is_word(element(role, 0), "slave") &&
                named(self, role, 1) == primary &&
                is_word(element(role, 3), "connected");
    freeReplyObject(role);
    return does;
}

static bool is_primary(const fleet *self, int node) {
    redisReply *role = fleet_ask(self, node, "ROLE");
    bool does = is_word(element(role, 0), "master");
    freeReplyObject(role);
    return does;
}

/* ---- sentinels -------------------------------------------------------- */

static int named_by(const fleet *self, int sentinel) {
    redisReply *reply = fleet_ask_sentinel(
        self, sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME " FLEET_MASTER);
    int node = named(self, reply, 0);
    freeReplyObject(reply);
    return node;
}

int fleet_primary(const fleet *self) {
    int votes[FLEET_NODES] = {0};
    for (int i = 0; i < self->sentinel_count; i++) {
        int node = runs(&self->sentinels[i]) ? named_by(self, i) : -1;
        if (node >= 0 && ++votes[node] > self->sentinel_count / 2)
            return node;
    }
    return -1;
}

/* Whether a sentinel sees this replica up and behind that primary. */
static bool sees_replica(const fleet *self, const redisReply *replica,
                         int primary) {
    int node = fleet_find(self, value_of(replica, "ip"),
                          atoi(value_of(replica, "port")));
    if (node < 0 || !fleet_runs(self, node))
        return true;
    return strcmp(value_of(replica, "flags"), "slave") == 0 &&
           strcmp(value_of(replica, "master-link-status"), "ok") == 0 &&
           fleet_find(self, value_of(replica, "master-host"),
                      atoi(value_of(replica, "master-port"))) == primary;
}

static bool sees_all(const fleet *self, int sentinel, int primary) {
    redisReply *master = fleet_ask_sentinel(self, sentinel,
                                            "SENTINEL MASTER " FLEET_MASTER);
    redisReply *replicas = fleet_ask_sentinel(
        self, sentinel, "SENTINEL REPLICAS " FLEET_MASTER);
    bool sees = strcmp(value_of(master, "flags"), "master") == 0 &&
                element(replicas, (size_t)self->count - 2) &&
                named_by(self, sentinel) == primary;
    for (size_t i = 0; sees && element(replicas, i); i++)
        sees = sees_replica(self, element(replicas, i), primary);
    freeReplyObject(master);
    freeReplyObject(replicas);
    return sees;
}

static bool sentinels_settled(const fleet *self) {
    int primary = fleet_primary(self);
    if (primary < 0 || !is_primary(self, primary))
        return false;
    for (int i = 0; i < self->count; i++)
        if (i != primary && fleet_runs(self, i) && !follows(self, i, primary))
            return false;
    for (int i = 0; i < self->sentinel_count; i++)
        if (runs(&self->sentinels[i]) && !sees_all(self, i, primary))
            return false;
    return true;
}

/* ---- a cluster -------------------------------------------------------- */

typedef struct ownership {
    signed char owner[FLEET_SLOTS];     /* -1: nobody */
} ownership;

static void own_range(const fleet *self, const redisReply *range,
                      ownership *owned) {
    const redisReply *first = element(range, 0), *last = element(range, 1);
    int node = named(self, element(range, 2), 0);
    assert_true(first && last && last->integer < FLEET_SLOTS);
    for (long long i = first->integer; i <= last->integer; i++)
        owned->owner[i] = (signed char)node;
}

static bool ask_ownership(const fleet *self, int node, ownership *owned) {
    redisReply *slots = fleet_ask(self, node, "CLUSTER SLOTS");
    bool answered = slots && slots->type == REDIS_REPLY_ARRAY;
    memset(owned, -1, sizeof *owned);
    for (size_t i = 0; element(slots, i); i++)
        own_range(self, element(slots, i), owned);
    freeReplyObject(slots);
    return answered;
}

int fleet_owner(const fleet *self, int asked, int slot) {
    ownership owned;
    assert_true(slot >= 0 && slot < FLEET_SLOTS);
    for (int i = 0; i < self->count; i++)
        if ((asked == i || (asked < 0 && fleet_runs(self, i))) &&
            ask_ownership(self, i, &owned))
            return owned.owner[slot];
    return -1;
}

/* Which of them the graph is on, any node can say. */
int fleet_slot(const fleet *self, const char *graph) {
    for (int i = 0; i < self->count; i++) {
        redisReply *reply = fleet_runs(self, i)
            ? fleet_ask(self, i, "CLUSTER KEYSLOT %s", graph) : NULL;
        int slot = reply && reply->type == REDIS_REPLY_INTEGER
                       ? (int)reply->integer : -1;
        freeReplyObject(reply);
        if (slot >= 0)
            return slot;
    }
    fail_msg("no node says the slot of %s", graph);
    return -1;
}

/* ---- moving a slot ---------------------------------------------------- */

/* Tells a node the slot's state, and of whom; whether it is content. */
static bool set_slot(const fleet *self, int node, int slot, const char *state,
                     int other) {
    redisReply *id = fleet_ask(self, other, "CLUSTER MYID");
    assert_true(is_text(id));
    redisReply *reply = fleet_ask(self, node, "CLUSTER SETSLOT %d %s %s", slot,
                                  state, id->str);
    bool content = is_word(reply, "OK");
    freeReplyObject(id);
    freeReplyObject(reply);
    return content;
}

/* What the server counts for itself may be there already. */
static void migrate(const fleet *self, const char *key, int from, int to) {
    const fleet_member *target = node_of(self, to);
    const char *replace = strncmp(key, "telemetry{", 10) == 0 ? " REPLACE" : "";
    redisContext *client = fleet_client(self, from);
    char format[64];
    assert_non_null(client);
    snprintf(format, sizeof format, "MIGRATE %%s %%d %%s 0 9000%s", replace);
    redisReply *reply = redisCommand(client, format, target->host, target->port,
                                     key);
    if (!is_word(reply, "OK") && !is_word(reply, "NOKEY"))
        fail_msg("MIGRATE %s from node %d to %d: %s", key, from, to,
                 reply && reply->str ? reply->str : client->errstr);
    freeReplyObject(reply);
    redisFree(client);
}

/* How many keys of the slot it has moved; graphs go first. */
static size_t migrate_all(const fleet *self, int slot, int from, int to) {
    redisReply *keys = fleet_ask(self, from, "CLUSTER GETKEYSINSLOT %d 1000",
                                 slot);
    assert_true(keys && keys->type == REDIS_REPLY_ARRAY);
    size_t count = keys->elements;
    for (int later = 0; later < 2; later++)
        for (size_t i = 0; i < count; i++)
            if ((strncmp(keys->element[i]->str, "telemetry{", 10) == 0) ==
                later)
                migrate(self, keys->element[i]->str, from, to);
    freeReplyObject(keys);
    return count;
}

/* The new owner first: a slot that nobody has is never seen. The old one
   refuses while it has a key, and may have written one anew. */
void fleet_move_slot(const fleet *self, int slot, int from, int to) {
    assert_true(set_slot(self, to, slot, "IMPORTING", from));
    assert_true(set_slot(self, from, slot, "MIGRATING", to));
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    do {
        assert_true(test_now_ms() < until);
        while (migrate_all(self, slot, from, to) > 0)
            assert_true(test_now_ms() < until);
    } while (!set_slot(self, to, slot, "NODE", to) ||
             !set_slot(self, from, slot, "NODE", to));
    for (int i = 0; i < self->count; i++)
        if (i != from && i != to && fleet_runs(self, i) && is_primary(self, i))
            set_slot(self, i, slot, "NODE", to);
}

void fleet_promote(const fleet *self, int replica) {
    redisReply *reply = fleet_ask(self, replica, "CLUSTER FAILOVER TAKEOVER");
    assert_true(is_word(reply, "OK"));
    freeReplyObject(reply);
    TEST_EVENTUALLY(is_primary(self, replica));
}

int fleet_replica(const fleet *self, int node) {
    for (int i = 0; i < self->count; i++)
        if (i != node && fleet_runs(self, i) && follows(self, i, node))
            return i;
    return -1;
}

static bool is_whole(const fleet *self, int node) {
    redisReply *reply = fleet_ask(self, node, "CLUSTER INFO");
    bool is = is_text(reply) && strstr(reply->str, "cluster_state:ok");
    freeReplyObject(reply);
    reply = fleet_ask(self, node, "CLUSTER NODES");
    is = is && is_text(reply) && !strstr(reply->str, "fail?") &&
         !strstr(reply->str, "handshake");
    freeReplyObject(reply);
    return is;
}

/* Nodes that run and follow nobody. */
static int count_primaries(const fleet *self, int *running) {
    int primaries = 0;
    *running = 0;
    for (int i = 0; i < self->count; i++)
        if (fleet_runs(self, i)) {
            ++*running;
            primaries += is_primary(self, i);
        }
    return primaries;
}

/* Whether the node says what the first one has said. */
static bool agrees(const fleet *self, int node, const ownership *common,
                   bool all) {
    ownership owned;
    if (!is_whole(self, node) || !ask_ownership(self, node, &owned) ||
        memcmp(common, &owned, sizeof owned) != 0)
        return false;
    if (!is_primary(self, node))
        return true;
    return !all || fleet_replica(self, node) >= 0;
}

static bool cluster_settled(const fleet *self) {
    ownership common;
    int running, asked = 0;
    if (count_primaries(self, &running) != FLEET_PRIMARIES)
        return false;
    while (asked < self->count && !fleet_runs(self, asked))
        asked++;
    if (asked == self->count || !ask_ownership(self, asked, &common))
        return false;
    for (int i = asked; i < self->count; i++)
        if (fleet_runs(self, i) &&
            !agrees(self, i, &common, running == self->count))
            return false;
    return true;
}

/* ---- all of them ------------------------------------------------------ */

bool fleet_settled(const fleet *self) {
    return self->kind == FLEET_CLUSTER ? cluster_settled(self)
                                       : sentinels_settled(self);
}

void fleet_await_settled(const fleet *self) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (!fleet_settled(self)) {
        if (test_now_ms() > until)
            fail_msg("the fleet did not settle within %d ms", TEST_PATIENCE_MS);
        test_pause_ms(20);
    }
}
