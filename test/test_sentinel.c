/* A pool that stands for a primary with replicas, whom sentinels watch over: on
   one set of real servers, which every test leaves whole. Runs alone: it waits
   for what has times of its own. */
#include "fleet.h"
#include <signal.h>

#define NODES 3
#define GRAPH "sentinel"
#define CLIENT "sentinel-test"
#define ITEMS 100

static fleet servers;
static char hosts[FLEET_SENTINELS * 32];
static falkor_pool *pool;
static falkor_graph *graph;

/* ---- events ------------------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    int changes, retries, unknown;
    char from[64], to[64];
} heard = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void hear(void *ctx, const falkor_event *event) {
    (void)ctx;
    pthread_mutex_lock(&heard.mutex);
    heard.retries += strcmp(event->name, "query_retry") == 0;
    heard.unknown += strcmp(event->name, "topology_unknown") == 0;
    if (strcmp(event->name, "primary_changed") == 0) {
        heard.changes++;
        falkor_event_field(event, "from", heard.from, sizeof heard.from);
        falkor_event_field(event, "to", heard.to, sizeof heard.to);
        TEST_CHECK(event->level == FALKOR_EVENT_WARNING);
    }
    pthread_mutex_unlock(&heard.mutex);
}

static int heard_count(const int *counter) {
    pthread_mutex_lock(&heard.mutex);
    int count = *counter;
    pthread_mutex_unlock(&heard.mutex);
    return count;
}

/* ---- pools -------------------------------------------------------------- */

static falkor_options options_for(falkor_read_from read_from) {
    return (falkor_options){.sentinels = hosts, .master_name = FLEET_MASTER,
        .graph = GRAPH, .min_size = 1, .max_size = 8, .client_name = CLIENT,
        .read_from = read_from, .on_event = hear};
}

static void open_pool(const falkor_options *options) {
    pthread_mutex_lock(&heard.mutex);
    heard.changes = heard.retries = heard.unknown = 0;
    pthread_mutex_unlock(&heard.mutex);
    pool = serving_pool(options);
    graph = falkor_select_graph(pool, NULL);
    assert_non_null(graph);
}

static void open_for(falkor_read_from read_from) {
    falkor_options options = options_for(read_from);
    open_pool(&options);
}

static falkor_stats stats_of(falkor_pool *one) {
    falkor_stats stats;
    falkor_pool_stats(one, &stats);
    return stats;
}

/* ---- nodes -------------------------------------------------------------- */

static const char *address(int node) {
    static char room[NODES][32];
    snprintf(room[node], sizeof room[node], "%s:%d", servers.nodes[node].host,
             servers.nodes[node].port);
    return room[node];
}

static int node_at(const char *place) {
    for (int i = 0; i < NODES; i++)
        if (strcmp(address(i), place) == 0)
            return i;
    return -1;
}

/* What a pool knows of a node; one that it does not know has no pool. */
static falkor_node_info info_in(falkor_pool *of, int node) {
    falkor_node_info all[8];
    size_t count = falkor_pool_nodes(of, all, 8);
    for (size_t i = 0; i < count && i < 8; i++)
        if (strcmp(all[i].address, address(node)) == 0)
            return all[i];
    return (falkor_node_info){.role = FALKOR_ROLE_UNKNOWN};
}

static falkor_node_info info_of(int node) {
    return info_in(pool, node);
}

static int primary_of(void) {
    int node = fleet_primary(&servers);
    assert_true(node >= 0);
    return node;
}

static void replicas_of(int primary, int replicas[2]) {
    replicas[0] = (primary + 1) % NODES;
    replicas[1] = (primary + 2) % NODES;
}

/* Whether reads may go to both replicas. */
static bool has_readers(falkor_pool *of) {
    int ready = 0;
    for (int i = 0; i < NODES; i++) {
        falkor_node_info info = info_in(of, i);
        ready += info.role == FALKOR_ROLE_REPLICA && info.well &&
                 info.lag_bytes >= 0 && stats_of(info.pool).initialized;
    }
    return ready == 2;
}

/* ---- what the servers say ----------------------------------------------- */

/* The number behind name in the line "cmdstat_command:..."; 0: it is not
   there. */
static long long command_stat(int node, const char *command,
                              const char *name) {
    char key[96];
    redisReply *reply = fleet_ask(&servers, node, "INFO commandstats");
    snprintf(key, sizeof key, "cmdstat_%s:", command);
    assert_true(reply && reply->str);
    const char *line = strstr(reply->str, key);
    const char *end = line ? strchr(line, '\n') : NULL;
    const char *at = line ? strstr(line, name) : NULL;
    long long number = at && end && at < end
        ? strtoll(at + strlen(name), NULL, 10) : 0;
    freeReplyObject(reply);
    return number;
}

/* How often a command was carried out on each node; -1: it was not asked. */
typedef struct tally {
    long long of[NODES];
} tally;

static tally count_calls(const char *command) {
    tally calls;
    for (int i = 0; i < NODES; i++)
        calls.of[i] = command_stat(i, command, "calls=");
    return calls;
}

static tally calls_since(tally before, const char *command) {
    tally calls = count_calls(command);
    for (int i = 0; i < NODES; i++)
        calls.of[i] -= before.of[i];
    return calls;
}

/* The only integer that a read on this node returns. */
static long long read_there(int node, const char *name, const char *cypher) {
    redisReply *reply = fleet_ask(&servers, node, "GRAPH.RO_QUERY %s %s", name,
                                  cypher);
    assert_non_null(reply);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        reply->element[1]->elements != 1)
        fail_msg("%s on node %d: %s", cypher, node, reply->str ? reply->str
                                                               : "no row");
    long long number = reply->element[1]->element[0]->element[0]->integer;
    freeReplyObject(reply);
    return number;
}

/* The ids of this file's connections to a node. */
typedef struct id_list {
    long long of[64];
    int count;
} id_list;

static id_list client_ids(int node) {
    id_list ids = {.count = 0};
    redisReply *reply = fleet_ask(&servers, node, "CLIENT LIST");
    assert_true(reply && reply->str);
    for (char *line = strtok(reply->str, "\n"); line && ids.count < 64;
         line = strtok(NULL, "\n"))
        if (strstr(line, " name=" CLIENT " "))
            ids.of[ids.count++] = strtoll(line + 3, NULL, 10);
    freeReplyObject(reply);
    return ids;
}

static bool any_left(int node, const id_list *before) {
    id_list now = client_ids(node);
    for (int i = 0; i < now.count; i++)
        for (int k = 0; k < before->count; k++)
            if (now.of[i] == before->of[k])
                return true;
    return false;
}

/* A command that a node must answer with OK. */
static void order(int node, const char *command) {
    redisReply *reply = fleet_ask(&servers, node, command);
    if (!reply || !reply->str || strcmp(reply->str, "OK") != 0)
        fail_msg("%s: %s", command, reply && reply->str ? reply->str : "-");
    freeReplyObject(reply);
}

/* ---- queries ------------------------------------------------------------ */

#define COUNT_ITEMS "MATCH (n:Item) RETURN count(n)"

static void read_on(falkor_graph *on, int times) {
    falkor_error error;
    falkor_result *result;
    for (int i = 0; i < times; i++) {
        falkor_ro_query(on, COUNT_ITEMS, NULL, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_value(result, 0, 0)->as.integer, ITEMS);
        falkor_result_free(result);
    }
}

/* Waits until reads may go to both replicas, and uses each node: names that are
   asked for once are known then, and not counted. */
static void warm_up(void) {
    falkor_error error;
    TEST_EVENTUALLY(has_readers(pool));
    falkor_query_with(graph, &(falkor_call_options){.wait_replicas = 2},
                      "MERGE (:Mark {mark: 'warm'})", NULL, NULL, &error);
    serving_ok(&error);
    read_on(graph, 2 * NODES);
}

/* How many nodes with this mark the primary has. */
static int64_t marked(const char *mark) {
    return serving_integer(graph, "MATCH (n:Mark {mark: $m}) RETURN count(n)",
                           FALKOR_PARAMS({"m", falkor_string(mark)}));
}

#define MAKE_MARK "CREATE (:Mark {mark: $m})"

static falkor_status mark_with(const falkor_call_options *options,
                               const char *mark, falkor_error *error) {
    return falkor_query_with(graph, options, MAKE_MARK,
        FALKOR_PARAMS({"m", falkor_string(mark)}), NULL, error);
}

/* ---- writers ------------------------------------------------------------ */

#define WRITES 4000                     /* of one writer, at most */

/* A thread that writes, each time something else, and remembers how that
   ended. */
typedef struct writer {
    const char *who;
    int wait_replicas;
    bool pipelines;
    atomic_int count;
    bool done[WRITES], maybe[WRITES];
} writer;
static atomic_bool writers_stop;
static test_threads writers_run;

/* What a write through the loss of a primary may end with: all else is mended
   by its retries. */
static void note_end(writer *self, int number, const falkor_error *error) {
    self->done[number] = error->status == FALKOR_OK;
    self->maybe[number] = error->maybe_executed;
    if (error->status &&
        !(error->maybe_executed && (error->status == FALKOR_ERR_IO ||
                                    error->status == FALKOR_ERR_TIMEOUT ||
                                    error->status ==
                                        FALKOR_ERR_NOT_REPLICATED)))
        TEST_COMPLAIN("%s %d: %s%s: %s", self->who, number,
            falkor_status_name(error->status), error->maybe_executed
                ? ", maybe executed" : "", error->message);
}

#define WRITE "CREATE (:Write {who: $who, number: $number})"

static void write_alone(writer *self, int number) {
    falkor_error error;
    falkor_query_with(graph, &(falkor_call_options){.timeout_ms = 30000,
        .max_retries = 20, .wait_replicas = self->wait_replicas}, WRITE,
        FALKOR_PARAMS({"who", falkor_string(self->who)},
                      {"number", falkor_int(number)}), NULL, &error);
    note_end(self, number, &error);
}

#define PIPED 4

static void write_piped(writer *self, int number) {
    falkor_error error;
    falkor_request requests[PIPED] = {{.graph = NULL}};
    falkor_param params[PIPED][3];
    memset(params, 0, sizeof params);
    for (int i = 0; i < PIPED; i++) {
        params[i][0] = (falkor_param){"who", falkor_string(self->who)};
        params[i][1] = (falkor_param){"number", falkor_int(number + i)};
        requests[i] = (falkor_request){.graph = graph, .cypher = WRITE,
                                       .params = params[i]};
    }
    falkor_pipeline(pool, &(falkor_call_options){.timeout_ms = 30000,
        .max_retries = 20}, requests, PIPED, &error);
    for (int i = 0; i < PIPED; i++) {
        self->done[number + i] = requests[i].error.status == FALKOR_OK;
        self->maybe[number + i] = requests[i].error.maybe_executed;
        falkor_result_free(requests[i].result);
    }
    TEST_CHECK(error.status == FALKOR_OK || error.maybe_executed);
}

static void *write_run(void *argument) {
    writer *self = argument;
    int step = self->pipelines ? PIPED : 1;
    while (!atomic_load(&writers_stop) &&
           atomic_load(&self->count) + step <= WRITES) {
        if (self->pipelines)
            write_piped(self, atomic_load(&self->count));
        else
            write_alone(self, atomic_load(&self->count));
        atomic_fetch_add(&self->count, step);
        test_pause_ms(2);
    }
    return NULL;
}

static void writers_start(writer *writers, int count) {
    atomic_store(&writers_stop, false);
    writers_run = test_start(write_run, writers, sizeof *writers, count);
}

static void writers_end(void) {
    atomic_store(&writers_stop, true);
    test_join(&writers_run);
}

/* Waits until the writer has written more, from now on. */
static void await_progress(writer *self, int more) {
    int from = atomic_load(&self->count);
    TEST_EVENTUALLY(atomic_load(&self->count) >= from + more ||
                    atomic_load(&self->count) + PIPED > WRITES);
}

/* Nothing is there twice, or was said not to be; what lasts is there. */
static void check_writes(const writer *self, bool lasts) {
    static int found[WRITES];
    falkor_result *result = serving_query(graph, "MATCH (n:Write {who: $who}) "
        "RETURN n.number, count(n)", FALKOR_PARAMS({"who",
            falkor_string(self->who)}));
    int count = atomic_load(&self->count), lost = 0;
    memset(found, 0, sizeof found);
    for (size_t i = 0; i < falkor_result_rows(result); i++)
        found[falkor_result_value(result, i, 0)->as.integer] =
            (int)falkor_result_value(result, i, 1)->as.integer;
    falkor_result_free(result);
    for (int i = 0; i < count; i++) {
        if (found[i] > (self->done[i] || self->maybe[i]))
            fail_msg("%s %d is there %d times%s", self->who, i, found[i],
                     self->done[i] ? "" : " and had failed");
        lost += self->done[i] && !found[i];
    }
    if (lost && lasts)
        fail_msg("%s: %d acknowledged writes are lost", self->who, lost);
}

/* ---- the set ------------------------------------------------------------ */

static int begin(void **state) {
    (void)state;
    fleet_start(&servers, FLEET_SENTINEL, NULL);
    for (int i = 0; i < FLEET_SENTINELS; i++)
        snprintf(hosts + strlen(hosts), sizeof hosts - strlen(hosts),
                 "%s%s:%d", i ? "," : "", servers.sentinels[i].host,
                 servers.sentinels[i].port);
    redisContext *client = fleet_client(&servers, 0);
    assert_non_null(client);
    freeReplyObject(redisCommand(client, "GRAPH.QUERY %s %s", GRAPH,
        "UNWIND range(1, 100) AS x CREATE (:Item {x: x})"));
    redisReply *reply = redisCommand(client, "WAIT 2 10000");
    assert_true(reply && reply->integer == 2);
    freeReplyObject(reply);
    redisFree(client);
    return 0;
}

static int end(void **state) {
    (void)state;
    fleet_stop(&servers);
    return 0;
}

/* Behind each test, however it ended: no writers, no pool, and a set that is
   whole. */
static int mend(void **state) {
    (void)state;
    writers_end();
    falkor_pool_free(pool);
    pool = NULL;
    for (int i = 0; i < NODES; i++)
        if (fleet_runs(&servers, i))
            fleet_kill(&servers, i, SIGCONT);
        else
            fleet_restart(&servers, i);
    for (int i = 0; i < FLEET_SENTINELS; i++)
        if (kill(servers.sentinels[i].pid, SIGCONT) != 0)
            fleet_restart_sentinel(&servers, i);
    fleet_await_settled(&servers);
    test_no_complaints();
    return 0;
}

/* ---- opening ------------------------------------------------------------ */

/* One primary and two replicas, by their addresses. */
static void check_nodes(void) {
    int primary = primary_of();
    falkor_node_info nodes[NODES];
    TEST_EVENTUALLY(falkor_pool_nodes(pool, NULL, 0) == NODES);
    for (int i = 0; i < NODES; i++)
        TEST_EVENTUALLY(info_of(i).well && (i == primary ||
                                            info_of(i).lag_bytes >= 0));
    assert_int_equal(falkor_pool_nodes(pool, nodes, NODES), NODES);
    for (int i = 0; i < NODES; i++) {
        int node = node_at(nodes[i].address);
        assert_true(node >= 0);
        assert_non_null(nodes[i].pool);
        assert_ptr_not_equal(nodes[i].pool, pool);
        assert_int_equal(nodes[i].slots, 0);
        assert_string_equal(falkor_role_name(nodes[i].role),
                            node == primary ? "primary" : "replica");
        if (node == primary)
            assert_true(nodes[i].lag_bytes == -1 && nodes[i].lag_ms == -1);
        else
            assert_true(nodes[i].lag_bytes >= 0 && nodes[i].lag_ms >= 0);
    }
}

/* The nodes are those of the set, with their roles, well and with their lag. */
static void test_sentinel_opens_by_options(void **state) {
    (void)state;
    open_for(FALKOR_READ_PRIMARY);
    check_nodes();
    read_on(graph, 1);
}

/* A URL says the same. */
static void test_sentinel_opens_by_url(void **state) {
    (void)state;
    char url[256];
    snprintf(url, sizeof url, "falkor+sentinel://%s/" GRAPH "?master="
             FLEET_MASTER "&read_from=replica&pool_max_size=3", hosts);
    falkor_options options = {.url = url, .client_name = CLIENT};
    open_pool(&options);
    check_nodes();
    assert_string_equal(falkor_graph_name(graph), GRAPH);
    TEST_EVENTUALLY(has_readers(pool));
    tally before = count_calls("graph.RO_QUERY");
    read_on(graph, 3);
    assert_int_equal(calls_since(before, "graph.RO_QUERY").of[primary_of()], 0);
    assert_int_equal(stats_of(info_of(primary_of()).pool).max_size, 3);
}

/* falkor_pool_nodes writes as far as there is room, and NULL is no pool; one
   server is one node. */
static void test_sentinel_nodes_have_room(void **state) {
    (void)state;
    falkor_node_info nodes[NODES];
    open_for(FALKOR_READ_PRIMARY);
    TEST_EVENTUALLY(falkor_pool_nodes(pool, NULL, 7) == NODES);
    memset(nodes, 0x5a, sizeof nodes);
    assert_int_equal(falkor_pool_nodes(pool, nodes, 1), NODES);
    assert_true(node_at(nodes[0].address) >= 0);
    for (size_t i = sizeof *nodes; i < sizeof nodes; i++)
        assert_int_equal(((unsigned char *)nodes)[i], 0x5a);
    assert_int_equal(falkor_pool_nodes(NULL, nodes, NODES), 0);
    assert_string_equal(falkor_role_name(FALKOR_ROLE_UNKNOWN), "unknown");
    assert_string_equal(falkor_role_name((falkor_role)77), "unknown");
    falkor_options options = {.host = servers.nodes[1].host,
        .port = servers.nodes[1].port, .min_size = 1};
    falkor_pool *alone = serving_pool(&options);
    assert_int_equal(falkor_pool_nodes(alone, nodes, NODES), 1);
    assert_string_equal(nodes[0].address, address(1));
    assert_ptr_equal(nodes[0].pool, alone);
    assert_int_equal(nodes[0].role, FALKOR_ROLE_UNKNOWN);
    assert_true(nodes[0].well && nodes[0].lag_bytes == -1);
    falkor_pool_free(alone);
}

/* ---- errors at opening -------------------------------------------------- */

/* Opening must fail; what it says is in error. */
static falkor_status fails_to_open(falkor_options options,
                                   falkor_error *error) {
    falkor_pool *failing;
    options.max_retries = -1;
    options.on_event = NULL;
    falkor_pool_create(&options, &failing, error);
    serving_ok(error);
    falkor_status status = falkor_pool_open(failing, error);
    assert_int_not_equal(status, FALKOR_OK);
    assert_false(stats_of(failing).initialized);
    falkor_error again;
    falkor_graph *closed = falkor_select_graph(failing, NULL);
    assert_int_equal(falkor_query(closed, "RETURN 1", NULL, NULL, &again),
                     FALKOR_ERR_NOT_OPEN);
    falkor_pool_free(failing);
    return status;
}

/* The message names the master, and where it was asked for. */
static void test_sentinel_wrong_master_name(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = options_for(FALKOR_READ_PRIMARY);
    options.master_name = "nobody";
    assert_int_equal(fails_to_open(options, &error), FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "nobody");
    test_assert_has(error.message, hosts);
}

/* Where nobody listens, and where somebody listens who is no sentinel. */
static void test_sentinel_nobody_to_ask(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = options_for(FALKOR_READ_PRIMARY);
    options.sentinels = "127.0.0.21:1,127.0.0.22:1";
    int64_t begin_ms = test_now_ms();
    assert_int_equal(fails_to_open(options, &error), FALKOR_ERR_CONNECT);
    assert_true(test_now_ms() - begin_ms < 3000);
    test_assert_has(error.message, FLEET_MASTER);
    test_assert_has(error.message, "127.0.0.21:1,127.0.0.22:1");
    options.sentinels = address(0);
    assert_int_equal(fails_to_open(options, &error), FALKOR_ERR_CONNECT);
    test_assert_has(error.message, address(0));
    test_assert_has(error.message, "SENTINEL");
}

/* A pool that is open serves on without any sentinel, and says once that it
   does not know any more; another one cannot be opened until they are back. */
static void test_sentinel_all_sentinels_dead(void **state) {
    (void)state;
    falkor_error error;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    for (int i = 0; i < FLEET_SENTINELS; i++)
        fleet_kill_sentinel(&servers, i, SIGKILL);
    assert_int_equal(fails_to_open(options_for(FALKOR_READ_PRIMARY), &error),
                     FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "no sentinel");
    TEST_EVENTUALLY(heard_count(&heard.unknown) >= 1);
    read_on(graph, 10);
    mark_with(NULL, "without sentinels", &error);
    serving_ok(&error);
    test_pause_ms(1200);                /* more rounds of asking in vain */
    assert_int_equal(heard_count(&heard.unknown), 1);
    for (int i = 0; i < FLEET_SENTINELS; i++)
        fleet_restart_sentinel(&servers, i);
    fleet_await_settled(&servers);
    falkor_options options = options_for(FALKOR_READ_PRIMARY);
    falkor_pool_free(serving_pool(&options));
    assert_int_equal(marked("without sentinels"), 1);
    assert_int_equal(heard_count(&heard.changes), 0);
}

/* options.schema is run by every open, once, on the primary. */
static void test_sentinel_schema_runs_on_the_primary(void **state) {
    (void)state;
    const char *const schema[] = {
        "CREATE INDEX FOR (n:Schema) ON (n.x)",
        "CREATE (:Mark {mark: 'schema'})", NULL};
    falkor_options options = options_for(FALKOR_READ_REPLICA);
    options.schema = schema;
    open_for(FALKOR_READ_PRIMARY);
    for (int i = 1; i <= 2; i++) {
        falkor_pool_free(serving_pool(&options));
        assert_int_equal(marked("schema"), i);
    }
    assert_int_equal(serving_integer(graph, "CALL db.indexes() YIELD label "
        "WHERE label = 'Schema' RETURN count(label)", NULL), 1);
}

/* ---- where reads go ----------------------------------------------------- */

#define READS 300

static tally spread_of_reads(void) {
    warm_up();
    tally before = count_calls("graph.RO_QUERY");
    read_on(graph, READS);
    return calls_since(before, "graph.RO_QUERY");
}

/* Writes, and commands though they only read, are the primary's. */
static void check_the_rest_is_the_primarys(void) {
    falkor_error error;
    int primary = primary_of(), replicas[2];
    replicas_of(primary, replicas);
    serving_run(graph, "MERGE (:Mark {mark: 'warm'})");
    tally queries = count_calls("graph.QUERY"), sizes = count_calls("dbsize");
    for (int i = 0; i < 10; i++) {
        mark_with(NULL, "spread", &error);
        serving_ok(&error);
        falkor_command(pool, &(falkor_call_options){.read_only = true}, 1,
                       (const char *[]){"DBSIZE"}, NULL, NULL, &error);
        serving_ok(&error);
    }
    sizes = calls_since(sizes, "dbsize");
    assert_int_equal(calls_since(queries, "graph.QUERY").of[primary], 10);
    assert_int_equal(sizes.of[primary], 10);
    assert_int_equal(sizes.of[replicas[0]] + sizes.of[replicas[1]], 0);
}

/* read_from PRIMARY: all of them go there. */
static void test_sentinel_reads_from_the_primary(void **state) {
    (void)state;
    int primary = primary_of(), replicas[2];
    replicas_of(primary, replicas);
    open_for(FALKOR_READ_PRIMARY);
    read_on(graph, 1);                  /* it asks for names, too */
    tally before = count_calls("graph.RO_QUERY");
    read_on(graph, READS);
    tally calls = calls_since(before, "graph.RO_QUERY");
    assert_int_equal(calls.of[primary], READS);
    assert_int_equal(calls.of[replicas[0]] + calls.of[replicas[1]], 0);
    check_the_rest_is_the_primarys();
}

static void check_reads_from_replicas(falkor_read_from read_from) {
    int primary = primary_of(), replicas[2];
    replicas_of(primary, replicas);
    open_for(read_from);
    tally calls = spread_of_reads();
    assert_int_equal(calls.of[primary], 0);
    assert_int_equal(calls.of[replicas[0]] + calls.of[replicas[1]], READS);
    assert_true(calls.of[replicas[0]] >= READS / 4);
    assert_true(calls.of[replicas[1]] >= READS / 4);
    check_the_rest_is_the_primarys();
}

/* PREFER_REPLICA: none goes to the primary, each replica has its part. */
static void test_sentinel_prefers_replicas(void **state) {
    (void)state;
    check_reads_from_replicas(FALKOR_READ_PREFER_REPLICA);
}

/* REPLICA: the same, and from the first read on. */
static void test_sentinel_reads_from_replicas_only(void **state) {
    (void)state;
    open_for(FALKOR_READ_REPLICA);
    read_on(graph, 1);
    falkor_pool_free(pool);
    check_reads_from_replicas(FALKOR_READ_REPLICA);
}

/* NEAREST: all three are as near, but for moments, and each has its part. */
static void test_sentinel_reads_from_the_nearest(void **state) {
    (void)state;
    open_for(FALKOR_READ_NEAREST);
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    int parts;
    do {
        tally calls = spread_of_reads();
        parts = 0;
        for (int i = 0; i < NODES; i++)
            parts += calls.of[i] >= READS / 10;
    } while (parts < NODES && test_now_ms() < until);
    assert_int_equal(parts, NODES);
    check_the_rest_is_the_primarys();
}

/* Four threads read at once; the calls under way decide then. */
static void *read_run(void *argument) {
    (void)argument;
    falkor_error error;
    for (int i = 0; i < READS / 4; i++)
        if (falkor_ro_query(graph, COUNT_ITEMS, NULL, NULL, &error))
            TEST_COMPLAIN("%s", error.message);
    return NULL;
}

static void test_sentinel_threads_share_the_replicas(void **state) {
    (void)state;
    int primary = primary_of(), replicas[2];
    replicas_of(primary, replicas);
    open_for(FALKOR_READ_PREFER_REPLICA);
    warm_up();
    tally before = count_calls("graph.RO_QUERY");
    test_threads threads = test_start(read_run, NULL, 0, 4);
    test_join(&threads);
    test_no_complaints();
    tally calls = calls_since(before, "graph.RO_QUERY");
    assert_int_equal(calls.of[primary], 0);
    assert_true(calls.of[replicas[0]] >= READS / 4);
    assert_true(calls.of[replicas[1]] >= READS / 4);
}

/* ---- replicas that are not fit ------------------------------------------ */

/* A replica that is stopped is left out; without any, REPLICA fails in words
   that help and PREFER_REPLICA reads from the primary; and they serve again
   when they are back. */
static void test_sentinel_leaves_out_stopped_replicas(void **state) {
    (void)state;
    falkor_error error;
    int primary = primary_of(), replicas[2];
    replicas_of(primary, replicas);
    falkor_options options = options_for(FALKOR_READ_REPLICA);
    falkor_pool *strict = serving_pool(&options);
    falkor_graph *strictly = falkor_select_graph(strict, NULL);
    open_for(FALKOR_READ_PREFER_REPLICA);
    warm_up();
    TEST_EVENTUALLY(has_readers(strict));
    read_on(strictly, 2 * NODES);
    tally before = count_calls("graph.RO_QUERY");

    fleet_kill(&servers, replicas[0], SIGSTOP);
    TEST_EVENTUALLY(!info_of(replicas[0]).well &&
                    !info_in(strict, replicas[0]).well);
    read_on(graph, 20);
    read_on(strictly, 20);

    fleet_kill(&servers, replicas[1], SIGSTOP);
    TEST_EVENTUALLY(!info_of(replicas[1]).well &&
                    !info_in(strict, replicas[1]).well);
    read_on(graph, 20);
    assert_int_equal(falkor_query_with(strictly, &(falkor_call_options){
        .read_only = true, .max_retries = -1}, COUNT_ITEMS, NULL, NULL,
        &error), FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "no replica");
    test_assert_has(error.message, FLEET_MASTER);
    assert_true(error.attempts == 1 && !error.maybe_executed);
    falkor_query(strictly, "RETURN 1", NULL, NULL, &error);
    serving_ok(&error);                 /* the primary's, as ever */

    fleet_kill(&servers, replicas[0], SIGCONT);
    fleet_kill(&servers, replicas[1], SIGCONT);
    tally calls = calls_since(before, "graph.RO_QUERY");
    assert_int_equal(calls.of[replicas[0]], 0);
    assert_int_equal(calls.of[replicas[1]], 40);
    assert_int_equal(calls.of[primary], 20);
    TEST_EVENTUALLY(has_readers(pool) && has_readers(strict));
    before = count_calls("graph.RO_QUERY");
    read_on(graph, 20);
    read_on(strictly, 20);
    calls = calls_since(before, "graph.RO_QUERY");
    assert_int_equal(calls.of[primary], 0);
    assert_true(calls.of[replicas[0]] >= 10 && calls.of[replicas[1]] >= 10);
    falkor_pool_free(strict);
}

/* ---- writes that wait for replicas -------------------------------------- */

/* OK says that so many have it: they have it by then. */
static void test_sentinel_write_is_on_replicas(void **state) {
    (void)state;
    falkor_error error;
    char mark[32], cypher[96];
    int replicas[2];
    replicas_of(primary_of(), replicas);
    open_for(FALKOR_READ_PRIMARY);
    for (int wanted = 1; wanted <= 2; wanted++) {
        snprintf(mark, sizeof mark, "waited %d", wanted);
        snprintf(cypher, sizeof cypher,
                 "MATCH (n:Mark {mark: '%s'}) RETURN count(n)", mark);
        mark_with(&(falkor_call_options){.wait_replicas = wanted}, mark,
                  &error);
        serving_ok(&error);
        assert_int_equal(error.attempts, 1);
        long long there = read_there(replicas[0], GRAPH, cypher) +
                          read_there(replicas[1], GRAPH, cypher);
        assert_true(there >= wanted && there <= 2);
        assert_int_equal(marked(mark), 1);
    }
}

/* A write that waits in vain: within its time, and it is there, once. */
static void check_not_replicated(int wanted, const char *mark,
                                 const char *words) {
    falkor_error error;
    int64_t begin_ms = test_now_ms();
    assert_int_equal(mark_with(&(falkor_call_options){.timeout_ms = 400,
        .max_retries = 5, .wait_replicas = wanted}, mark, &error),
        FALKOR_ERR_NOT_REPLICATED);
    int64_t took_ms = test_now_ms() - begin_ms;
    assert_true(took_ms >= 200 && took_ms < 400 + 500);
    test_assert_has(error.message, words);
    assert_true(error.maybe_executed);
    assert_int_equal(error.attempts, 1);
    assert_int_equal(stats_of(pool).errors[FALKOR_ERR_NOT_REPLICATED], 1);
}

/* Who is given a replica as the only server is told what to use. */
static void test_sentinel_replica_alone(void **state) {
    (void)state;
    int replicas[2];
    falkor_error error;
    replicas_of(primary_of(), replicas);
    const fleet_member *replica = &servers.nodes[replicas[0]];
    falkor_options options = {.host = replica->host, .port = replica->port};
    falkor_pool *alone = serving_pool(&options);
    falkor_graph *there = falkor_select_graph(alone, GRAPH);
    assert_int_equal(falkor_query(there, "CREATE (:Lost)", NULL, NULL, &error),
                     FALKOR_ERR_READONLY);
    test_assert_has(error.message, "use falkor+sentinel://");
    falkor_graph_free(there);
    falkor_pool_free(alone);
}

/* The example, with these servers. */
static void test_sentinel_example(void **state) {
    (void)state;
    char url[240], text[900];
    snprintf(url, sizeof url, "FALKORDB_URL='falkor+sentinel://%s?master="
             FLEET_MASTER "'", hosts);
    if (serving_example(url, "servers", "2", text, sizeof text) != 0)
        fail_msg("%s", text);
    test_assert_has(text, " primary\n");
    test_assert_has(text, "write 2 is on 2 replicas\n");
}

/* Three are more than there are. */
static void test_sentinel_too_few_replicas(void **state) {
    (void)state;
    open_for(FALKOR_READ_PRIMARY);
    check_not_replicated(3, "three", "only 2 of 3 replicas (wait_replicas) "
                         "had it");
    assert_int_equal(marked("three"), 1);
    int64_t begin_ms = test_now_ms();   /* with more time it takes no more */
    assert_int_equal(mark_with(&(falkor_call_options){.timeout_ms = 20000,
        .wait_replicas = 3}, "four", NULL), FALKOR_ERR_NOT_REPLICATED);
    assert_true(test_now_ms() - begin_ms < 10000);
}

/* One is too many while both are stopped. */
static void test_sentinel_stopped_replicas_have_nothing(void **state) {
    (void)state;
    int replicas[2];
    replicas_of(primary_of(), replicas);
    open_for(FALKOR_READ_PRIMARY);
    fleet_kill(&servers, replicas[0], SIGSTOP);
    fleet_kill(&servers, replicas[1], SIGSTOP);
    check_not_replicated(1, "stopped", "only 0 of 1 replicas (wait_replicas) "
                         "had it");
    fleet_kill(&servers, replicas[0], SIGCONT);
    fleet_kill(&servers, replicas[1], SIGCONT);
    assert_int_equal(marked("stopped"), 1);
}

typedef struct doubtful {
    atomic_bool done;
    falkor_error error;
} doubtful;

static void *write_in_doubt(void *argument) {
    doubtful *self = argument;
    mark_with(&(falkor_call_options){.wait_replicas = 1, .timeout_ms = 5000},
              "doubtful", &self->error);
    atomic_store(&self->done, true);
    return NULL;
}

/* One replica is silent, and might have been promoted: the nodes are asked, and
   the write's connection is free meanwhile. */
static void test_sentinel_asks_without_a_connection(void **state) {
    (void)state;
    doubtful one = {.done = false};
    int replicas[2];
    replicas_of(primary_of(), replicas);
    open_for(FALKOR_READ_PRIMARY);
    fleet_kill(&servers, replicas[0], SIGSTOP);
    test_threads thread = test_start(write_in_doubt, &one, sizeof one, 1);
    TEST_EVENTUALLY(stats_of(pool).active == 1 || atomic_load(&one.done));
    TEST_EVENTUALLY(stats_of(pool).active == 0 || atomic_load(&one.done));
    bool early = !atomic_load(&one.done);
    test_join(&thread);
    fleet_kill(&servers, replicas[0], SIGCONT);
    assert_true(early);
    assert_int_equal(one.error.status, FALKOR_ERR_NOT_REPLICATED);
    test_assert_has(one.error.message, "replaced meanwhile");
    assert_int_equal(marked("doubtful"), 1);
}

/* Where it makes no sense it is refused, and nothing is sent. */
static void test_sentinel_waiting_is_refused(void **state) {
    (void)state;
    falkor_error error;
    int primary = primary_of();
    open_for(FALKOR_READ_PRIMARY);
    tally writes = count_calls("graph.QUERY");
    tally reads = count_calls("graph.RO_QUERY"), waits = count_calls("wait");
    assert_int_equal(mark_with(&(falkor_call_options){.read_only = true,
        .wait_replicas = 1}, "refused", &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "read_only");
    assert_int_equal(mark_with(&(falkor_call_options){.wait_replicas = -1},
                               "refused", &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "wait_replicas is -1");
    falkor_request request = {.graph = graph, .cypher = "CREATE (:Refused)"};
    assert_int_equal(falkor_pipeline(pool, &(falkor_call_options){
        .wait_replicas = 1}, &request, 1, &error), FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "pipeline");
    assert_int_equal(request.error.status, FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_command(pool, &(falkor_call_options){
        .read_only = true, .wait_replicas = 1}, 1, (const char *[]){"DBSIZE"},
        NULL, NULL, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(calls_since(writes, "graph.QUERY").of[primary], 0);
    assert_int_equal(calls_since(reads, "graph.RO_QUERY").of[primary], 0);
    assert_int_equal(calls_since(waits, "wait").of[primary], 0);
}

static falkor_status hold_command(falkor_conn *conn, int wait_replicas,
                                  size_t argc, const char *const *argv,
                                  falkor_result **result,
                                  falkor_error *error) {
    return falkor_command(pool, &(falkor_call_options){.conn = conn,
        .wait_replicas = wait_replicas}, argc, argv, NULL, result, error);
}

/* Inside MULTI it is refused; EXEC takes it for all that it carries out. */
static void test_sentinel_exec_waits_for_replicas(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_result *result;
    const char *const write[] = {"GRAPH.QUERY", GRAPH,
                                 "CREATE (:Mark {mark: 'multi'})"};
    open_for(FALKOR_READ_PRIMARY);
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    for (int round = 0; round < 2; round++) {
        hold_command(conn, 0, 1, (const char *[]){"MULTI"}, NULL, &error);
        serving_ok(&error);
        assert_int_equal(hold_command(conn, 2, 3, write, NULL, &error),
                         FALKOR_ERR_ARGUMENT);
        test_assert_has(error.message, "EXEC");
        if (round == 1) {
            hold_command(conn, 0, 3, write, NULL, &error);
            serving_ok(&error);
        }
        hold_command(conn, 2, 1, (const char *[]){"EXEC"}, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_value(result, 0, 0)->length, round);
        falkor_result_free(result);
    }
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    int replicas[2];
    replicas_of(primary_of(), replicas);
    for (int i = 0; i < 2; i++)
        assert_int_equal(read_there(replicas[i], GRAPH, "MATCH (n:Mark {mark: "
                                    "'multi'}) RETURN count(n)"), 1);
}

/* Typed commands wait too. */
static void test_sentinel_typed_commands_wait_for_replicas(void **state) {
    (void)state;
    falkor_error error;
    int replicas[2];
    replicas_of(primary_of(), replicas);
    const falkor_call_options both = {.wait_replicas = 2};
    open_for(FALKOR_READ_PRIMARY);
    falkor_graph *other = falkor_select_graph(pool, "sentinel:other");
    falkor_index index = {.kind = FALKOR_INDEX_RANGE, .label = "Waited",
        .properties = (const char *const[]){"x", NULL}};
    falkor_index_create(other, &both, &index, &error);
    serving_ok(&error);
    for (int i = 0; i < 2; i++)
        assert_int_equal(read_there(replicas[i], "sentinel:other",
            "CALL db.indexes() YIELD label RETURN count(label)"), 1);
    falkor_graph_delete(other, &both, &error);
    serving_ok(&error);
    for (int i = 0; i < 2; i++) {
        redisReply *reply = fleet_ask(&servers, replicas[i],
                                      "EXISTS sentinel:other");
        assert_true(reply && reply->integer == 0);
        freeReplyObject(reply);
    }
    index.wait = true;
    falkor_index_create(other, &both, &index, &error);
    serving_ok(&error);
    falkor_graph_delete(other, &both, &error);
    serving_ok(&error);
    falkor_graph_free(other);
}

/* ---- a new primary ------------------------------------------------------ */

/* All that counts, of now, has not become less. */
static void check_grown(const falkor_stats *before, const falkor_stats *now) {
    assert_true(now->acquires >= before->acquires);
    assert_true(now->releases >= before->releases);
    assert_true(now->queries >= before->queries);
    assert_true(now->retries >= before->retries);
    assert_true(now->connections_created >= before->connections_created);
    assert_true(now->connections_recycled >= before->connections_recycled);
    assert_true(now->connect_failures >= before->connect_failures);
    assert_true(now->circuit_openings >= before->circuit_openings);
    for (int i = 0; i < FALKOR_STATUS_COUNT; i++)
        assert_true(now->errors[i] >= before->errors[i]);
}

static void ask_for_failover(int sentinel) {
    redisReply *reply = fleet_ask_sentinel(&servers, sentinel,
                                           "SENTINEL FAILOVER " FLEET_MASTER);
    assert_true(reply && reply->str);
    assert_string_equal(reply->str, "OK");
    freeReplyObject(reply);
}

/* The pool knows the new primary, and that the others follow it; it has said so
   once. (FalkorDB may stand still for a second when a node comes back and wants
   all that there is: then the sentinels choose once more.) Returns the new
   one. */
static int await_new_primary(int old) {
    fleet_await_settled(&servers);
    int now = primary_of(), replicas[2];
    replicas_of(now, replicas);
    TEST_EVENTUALLY(info_of(now).role == FALKOR_ROLE_PRIMARY &&
                    info_of(now).well);
    for (int i = 0; i < 2; i++)
        TEST_EVENTUALLY(info_of(replicas[i]).role == FALKOR_ROLE_REPLICA &&
                        info_of(replicas[i]).well);
    int changes = heard_count(&heard.changes);
    assert_true(changes >= 1);
    assert_string_equal(heard.to, address(now));
    if (changes == 1) {
        assert_int_not_equal(now, old);
        assert_string_equal(heard.from, address(old));
    }
    return now;
}

/* The sentinels are told to choose another primary while threads write: what
   all replicas have is kept, nothing is there twice, nothing fails but what was
   under way; counters go on; and what was connected is replaced. */
static void test_sentinel_failover_on_demand(void **state) {
    (void)state;
    static writer writers[2] = {{.who = "demand"},
                                {.who = "demand, all", .wait_replicas = 2}};
    int old = primary_of();
    open_for(FALKOR_READ_PRIMARY);
    writers_start(writers, 2);
    await_progress(&writers[0], 20);
    await_progress(&writers[1], 20);
    falkor_stats before = stats_of(pool);
    id_list clients = client_ids(old);
    assert_true(clients.count >= 2);
    ask_for_failover(0);
    TEST_EVENTUALLY(heard_count(&heard.changes) > 0);
    await_progress(&writers[0], 20);
    int now = await_new_primary(old);
    await_progress(&writers[1], 20);
    writers_end();
    test_no_complaints();
    check_writes(&writers[0], false);
    check_writes(&writers[1], true);
    falkor_stats after = stats_of(pool);
    check_grown(&before, &after);
    TEST_EVENTUALLY(!any_left(old, &clients));
    tally calls = count_calls("graph.QUERY");
    falkor_error error;
    mark_with(NULL, "after", &error);
    serving_ok(&error);
    assert_int_equal(calls_since(calls, "graph.QUERY").of[now], 1);
}

/* The primary is killed, and comes back as a replica. */
static void test_sentinel_failover_after_a_death(void **state) {
    (void)state;
    static writer writers[3] = {{.who = "death"},
                                {.who = "death, all", .wait_replicas = 2},
                                {.who = "death, piped", .pipelines = true}};
    int old = primary_of();
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    writers_start(writers, 3);
    await_progress(&writers[0], 20);
    await_progress(&writers[1], 20);
    await_progress(&writers[2], 20);
    falkor_stats before = stats_of(pool);
    fleet_kill(&servers, old, SIGKILL);
    read_on(graph, 20);                 /* there are replicas */
    TEST_EVENTUALLY(heard_count(&heard.changes) > 0);
    await_progress(&writers[0], 20);
    await_progress(&writers[2], 20);
    fleet_restart(&servers, old);
    await_new_primary(old);
    await_progress(&writers[1], 20);
    writers_end();
    test_no_complaints();
    check_writes(&writers[0], false);
    check_writes(&writers[1], true);
    check_writes(&writers[2], false);
    falkor_stats after = stats_of(pool);
    check_grown(&before, &after);
    TEST_EVENTUALLY(has_readers(pool));
    read_on(graph, 20);
}

static void *read_long_run(void *argument) {
    int64_t *took_ms = argument, begin_ms = test_now_ms();
    falkor_error error;
    if (falkor_query_with(graph, &(falkor_call_options){.read_only = true,
            .timeout_ms = 30000, .max_retries = 20}, COUNT_ITEMS, NULL, NULL,
            &error))
        TEST_COMPLAIN("%s", error.message);
    *took_ms = test_now_ms() - begin_ms;
    return NULL;
}

/* The primary says nothing any more, for it is stopped, and goes on when
   another one has its place. Neither who calls then nor who has called before
   is kept until that. */
static void test_sentinel_failover_from_a_stopped_primary(void **state) {
    (void)state;
    static writer writers[2] = {{.who = "stopped"},
                                {.who = "stopped, all", .wait_replicas = 2}};
    falkor_error error;
    int64_t took_ms = 0;
    int old = primary_of();
    open_for(FALKOR_READ_PRIMARY);
    writers_start(writers, 2);
    await_progress(&writers[0], 20);
    await_progress(&writers[1], 20);
    fleet_kill(&servers, old, SIGSTOP);
    test_threads thread = test_start(read_long_run, &took_ms, sizeof took_ms,
                                     1);
    TEST_EVENTUALLY(heard_count(&heard.changes) > 0);
    int64_t begin_ms = test_now_ms();
    mark_with(NULL, "when stopped", &error);
    serving_ok(&error);
    assert_true(test_now_ms() - begin_ms < 2000);
    test_join(&thread);
    assert_true(took_ms < 15000);
    fleet_kill(&servers, old, SIGCONT);
    await_new_primary(old);
    await_progress(&writers[0], 20);
    await_progress(&writers[1], 20);
    writers_end();
    test_no_complaints();
    check_writes(&writers[0], false);
    check_writes(&writers[1], true);
    assert_int_equal(marked("when stopped"), 1);
}

/* With one sentinel stopped a pool is opened, and follows to a new primary. It
   is killed then: one that slept so long does nothing for half a minute. */
static void test_sentinel_one_sentinel_stopped(void **state) {
    (void)state;
    static writer piped = {.who = "piped", .pipelines = true};
    int old = primary_of();
    fleet_kill_sentinel(&servers, 0, SIGSTOP);
    int64_t begin_ms = test_now_ms();
    open_for(FALKOR_READ_PREFER_REPLICA);
    assert_true(test_now_ms() - begin_ms < 5000);
    writers_start(&piped, 1);
    await_progress(&piped, 20);
    ask_for_failover(2);
    TEST_EVENTUALLY(heard_count(&heard.changes) > 0);
    await_progress(&piped, 20);
    fleet_kill_sentinel(&servers, 0, SIGKILL);
    fleet_restart_sentinel(&servers, 0);
    await_new_primary(old);
    writers_end();
    test_no_complaints();
    check_writes(&piped, false);
}

/* ---- a primary that refuses --------------------------------------------- */

static void *write_mark_run(void *argument) {
    falkor_error *error = argument;
    mark_with(&(falkor_call_options){.timeout_ms = 20000, .max_retries = 20},
              "refused alone", error);
    return NULL;
}

#define REFUSED 3

static void *pipe_marks_run(void *argument) {
    falkor_error *error = argument;
    falkor_request requests[REFUSED] = {{.graph = NULL}};
    falkor_param params[] = {{"m", falkor_string("refused together")}, {0}};
    for (int i = 0; i < REFUSED; i++)
        requests[i] = (falkor_request){.graph = graph, .cypher = MAKE_MARK,
                                       .params = params};
    falkor_pipeline(pool, &(falkor_call_options){.timeout_ms = 20000,
        .max_retries = 20}, requests, REFUSED, error);
    for (int i = 0; i < REFUSED; i++) {
        TEST_CHECK(requests[i].error.status == FALKOR_OK);
        TEST_CHECK((requests[i].result != NULL) == !requests[i].error.status);
        falkor_result_free(requests[i].result);
    }
    return NULL;
}

/* Makes the primary follow nobody for a moment, too short for the sentinels to
   mind, in which it refuses what the thread sends; or the pool has seen that,
   and sends nothing. */
static void check_refused(void *(*run)(void *)) {
    falkor_error error;
    int primary = primary_of();
    int retries = heard_count(&heard.retries);
    long long before = command_stat(primary, "graph.QUERY", "rejected_calls=");
    order(primary, "REPLICAOF 127.0.0.11 1");
    test_threads thread = test_start(run, &error, sizeof error, 1);
    TEST_EVENTUALLY(command_stat(primary, "graph.QUERY", "rejected_calls=") >
                    before || heard_count(&heard.retries) > retries);
    order(primary, "REPLICAOF NO ONE");
    test_join(&thread);
    test_no_complaints();
    serving_ok(&error);
    assert_false(error.maybe_executed);
}

/* Writes that met READONLY are carried out when there is a primary again, each
   of them once: alone, and in a pipeline. */
static void test_sentinel_refused_writes_run_once(void **state) {
    (void)state;
    open_for(FALKOR_READ_PRIMARY);
    check_refused(write_mark_run);
    assert_int_equal(marked("refused alone"), 1);
    check_refused(pipe_marks_run);
    assert_int_equal(marked("refused together"), REFUSED);
    assert_int_equal(heard_count(&heard.changes), 0);
}

/* ---- closing ------------------------------------------------------------ */

static void *wait_run(void *argument) {
    mark_with(&(falkor_call_options){.timeout_ms = 30000, .max_retries = 20},
              "closed", argument);
    return NULL;
}

/* A thread that waits between two attempts, for there is no primary (it follows
   nobody for a moment, as above), is woken by close. */
static void test_sentinel_close_wakes_who_waits(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = options_for(FALKOR_READ_PRIMARY);
    options.retry_initial_delay_ms = options.retry_max_delay_ms = 20000;
    int primary = primary_of();
    open_pool(&options);
    order(primary, "REPLICAOF 127.0.0.11 1");
    test_threads thread = test_start(wait_run, &error, sizeof error, 1);
    TEST_EVENTUALLY(heard_count(&heard.retries) > 0);
    int64_t begin_ms = test_now_ms();
    falkor_pool_close(pool, 0);
    test_join(&thread);
    int64_t took_ms = test_now_ms() - begin_ms;
    order(primary, "REPLICAOF NO ONE");
    assert_true(took_ms < 3000);
    assert_true(error.status == FALKOR_ERR_CLOSED ||
                error.status == FALKOR_ERR_CONNECT ||
                error.status == FALKOR_ERR_READONLY);
    assert_true(error.message[0] && !error.maybe_executed);
}

/* Nothing is to be had of a pool that was closed. */
static void test_sentinel_closed_pool_refuses(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_result *result;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    assert_int_equal(falkor_pool_close(pool, 1000), FALKOR_OK);
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, &result, &error),
                     FALKOR_ERR_CLOSED);
    assert_null(result);
    assert_int_equal(falkor_ro_query(graph, COUNT_ITEMS, NULL, &result,
                                     &error), FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_ERR_CLOSED);
    assert_null(conn);
    falkor_request request = {.graph = graph, .cypher = "RETURN 1"};
    assert_int_equal(falkor_pipeline(pool, NULL, &request, 1, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(request.error.status, FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_list_graphs(pool, NULL, &result, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_config_get(pool, NULL, NULL, &result, &error),
                     FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_pause(pool), FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_ERR_CLOSED);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CLOSED);
    assert_true(stats_of(pool).closed);
    assert_int_equal(stats_of(pool).total, 0);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_OK);
}

/* ---- held connections --------------------------------------------------- */

/* One is to the primary, wherever reads go: queries, a transaction and a
   pipeline run on it. */
static void test_sentinel_held_connection(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_result *result;
    int primary = primary_of();
    open_for(FALKOR_READ_REPLICA);
    warm_up();
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    assert_int_equal(stats_of(pool).active, 1);
    assert_int_equal(stats_of(info_of(primary).pool).active, 1);
    tally before = count_calls("graph.RO_QUERY");
    falkor_query_with(graph, &(falkor_call_options){.conn = conn,
        .read_only = true}, COUNT_ITEMS, NULL, NULL, &error);
    serving_ok(&error);
    assert_int_equal(calls_since(before, "graph.RO_QUERY").of[primary], 1);
    mark_with(&(falkor_call_options){.conn = conn}, "held", &error);
    serving_ok(&error);
    hold_command(conn, 0, 1, (const char *[]){"MULTI"}, NULL, &error);
    serving_ok(&error);
    assert_int_equal(mark_with(&(falkor_call_options){.conn = conn}, "held",
                               &error), FALKOR_ERR_ARGUMENT);
    hold_command(conn, 0, 3, (const char *[]){"GRAPH.QUERY", GRAPH,
        "CREATE (:Mark {mark: 'held'})"}, NULL, &error);
    serving_ok(&error);
    hold_command(conn, 0, 1, (const char *[]){"EXEC"}, &result, &error);
    serving_ok(&error);
    falkor_result_free(result);
    falkor_request requests[] = {
        {.graph = graph, .cypher = "CREATE (:Mark {mark: 'held'})"},
        {.graph = graph, .cypher = "MATCH (n:Mark {mark: 'held'}) RETURN "
                                   "count(n)", .read_only = true},
        {.argc = 1, .argv = (const char *const[]){"PING"}}};
    falkor_pipeline(pool, &(falkor_call_options){.conn = conn}, requests, 3,
                    &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_value(requests[1].result, 0, 0)->as.integer,
                     3);
    for (int i = 0; i < 3; i++)
        falkor_result_free(requests[i].result);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_int_equal(falkor_release(conn), FALKOR_ERR_ARGUMENT);
    assert_int_equal(stats_of(pool).active, 0);
}

/* One of another pool is refused, and one that was released. */
static void test_sentinel_strange_connection_is_refused(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn, *strange;
    falkor_options options = options_for(FALKOR_READ_PRIMARY);
    falkor_pool *other = serving_pool(&options);
    open_for(FALKOR_READ_PRIMARY);
    falkor_acquire(other, &strange, &error);
    serving_ok(&error);
    assert_int_equal(mark_with(&(falkor_call_options){.conn = strange},
                               "strange", &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(hold_command(strange, 0, 1, (const char *[]){"PING"},
                                  NULL, &error), FALKOR_ERR_ARGUMENT);
    falkor_request request = {.graph = graph, .cypher = "RETURN 1"};
    assert_int_equal(falkor_pipeline(pool, &(falkor_call_options){
        .conn = strange}, &request, 1, &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(request.error.status, FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_release(strange), FALKOR_OK);
    falkor_pool_free(other);
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    falkor_release(conn);
    assert_int_equal(mark_with(&(falkor_call_options){.conn = conn},
                               "strange", &error), FALKOR_ERR_ARGUMENT);
    assert_int_equal(marked("strange"), 0);
}

/* One that is still held when its pool is freed is released behind it; who has
   closed without waiting does not wait then. */
static void test_sentinel_lease_outlives_the_pool(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    falkor_acquire(pool, &conn, &error);
    serving_ok(&error);
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    int64_t begin_ms = test_now_ms();
    falkor_pool_free(pool);
    pool = NULL;
    int64_t took_ms = test_now_ms() - begin_ms;
    assert_int_equal(falkor_release(conn), FALKOR_OK);
    assert_true(took_ms < 3000);
}

/* ---- rows as they arrive ------------------------------------------------ */

#define LIST_ITEMS "MATCH (n:Item) RETURN n.x ORDER BY n.x"

static bool add_row(void *ctx, const falkor_result *row) {
    *(int64_t *)ctx += falkor_result_value(row, 0, 0)->as.integer;
    return true;
}

/* A cursor and falkor_query_each read from a replica; a cursor that was left
   half read costs nothing that is missed. */
static void test_sentinel_streams_from_replicas(void **state) {
    (void)state;
    falkor_error error;
    falkor_cursor *cursor;
    const falkor_result *row;
    falkor_node_info info;
    const falkor_call_options reading = {.read_only = true};
    int primary = primary_of();
    int64_t sum = 0, expected = 0;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    tally before = count_calls("graph.RO_QUERY");
    falkor_query_each(graph, &reading, LIST_ITEMS, NULL, add_row, &sum, NULL,
                      &error);
    serving_ok(&error);
    assert_int_equal(sum, ITEMS * (ITEMS + 1) / 2);
    falkor_cursor_open(graph, &reading, LIST_ITEMS, NULL, &cursor, &error);
    serving_ok(&error);
    while (!falkor_cursor_next(cursor, &row, &error) && row)
        assert_int_equal(falkor_result_value(row, 0, 0)->as.integer,
                         ++expected);
    serving_ok(&error);
    assert_int_equal(expected, ITEMS);
    falkor_cursor_close(cursor);
    falkor_cursor_open(graph, &reading, LIST_ITEMS, NULL, &cursor, &error);
    serving_ok(&error);
    falkor_cursor_close(cursor);
    assert_int_equal(calls_since(before, "graph.RO_QUERY").of[primary], 0);
    falkor_query_each(graph, NULL, "UNWIND [1, 2] AS x RETURN x", NULL,
                      add_row, &sum, NULL, &error);
    serving_ok(&error);
    for (int i = 0; i < NODES; i++) {
        info = info_of(i);
        assert_int_equal(stats_of(info.pool).active, 0);
    }
}

/* ---- pipelines ---------------------------------------------------------- */

static void free_results(falkor_request *requests, int count) {
    for (int i = 0; i < count; i++)
        falkor_result_free(requests[i].result);
}

/* Reads go to one replica together, writes to the primary. */
static void test_sentinel_pipelines_go_where_queries_go(void **state) {
    (void)state;
    falkor_error error;
    int primary = primary_of(), replicas[2];
    replicas_of(primary, replicas);
    falkor_request reads[8], writes[8];
    open_for(FALKOR_READ_PREFER_REPLICA);
    warm_up();
    for (int i = 0; i < 8; i++) {
        reads[i] = (falkor_request){.graph = graph, .cypher = COUNT_ITEMS};
        writes[i] = (falkor_request){.graph = graph,
            .cypher = "CREATE (:Mark {mark: 'pipeline'})"};
    }
    tally before = count_calls("graph.RO_QUERY");
    falkor_pipeline(pool, &(falkor_call_options){.read_only = true}, reads, 8,
                    &error);
    serving_ok(&error);
    tally calls = calls_since(before, "graph.RO_QUERY");
    assert_int_equal(calls.of[primary], 0);
    assert_true((calls.of[replicas[0]] == 8 && !calls.of[replicas[1]]) ||
                (calls.of[replicas[1]] == 8 && !calls.of[replicas[0]]));
    for (int i = 0; i < 8; i++)
        assert_int_equal(falkor_result_value(reads[i].result, 0, 0)
                             ->as.integer, ITEMS);
    before = count_calls("graph.QUERY");
    falkor_pipeline(pool, NULL, writes, 8, &error);
    serving_ok(&error);
    assert_int_equal(calls_since(before, "graph.QUERY").of[primary], 8);
    assert_int_equal(marked("pipeline"), 8);
    free_results(reads, 8);
    free_results(writes, 8);
    falkor_pipeline(pool, NULL, NULL, 0, &error);
    serving_ok(&error);
}

/* Mixed ones are carried out in their order, each with its own result. */
static void test_sentinel_mixed_pipeline(void **state) {
    (void)state;
    falkor_error error;
    int primary = primary_of();
    open_for(FALKOR_READ_PREFER_REPLICA);
    warm_up();
    falkor_request requests[] = {
        {.graph = graph, .cypher = "CREATE (n:Mark {mark: 'mixed'}) "
                                   "RETURN 1"},
        {.graph = graph, .cypher = COUNT_ITEMS, .read_only = true},
        {.graph = graph, .cypher = "CREATE (:Mark {mark: 'mixed'})"},
        {.graph = graph, .cypher = "MATCH (n:Mark {mark: 'mixed'}) "
                                   "RETURN count(n)"},
        {.argc = 2, .argv = (const char *const[]){"ECHO", "four"}},
        {.graph = graph, .cypher = "RETURN 5", .read_only = true}};
    tally reads = count_calls("graph.RO_QUERY");
    tally writes = count_calls("graph.QUERY");
    falkor_pipeline(pool, NULL, requests, 6, &error);
    serving_ok(&error);
    static const int64_t wanted[] = {1, ITEMS, -1, 2, -1, 5};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(requests[i].error.status, FALKOR_OK);
        assert_non_null(requests[i].result);
        if (wanted[i] >= 0)
            assert_int_equal(falkor_result_value(requests[i].result, 0, 0)
                                 ->as.integer, wanted[i]);
    }
    assert_string_equal(falkor_result_value(requests[4].result, 0, 0)
                            ->as.string, "four");
    assert_int_equal(falkor_result_summary(requests[2].result)->nodes_created,
                     1);
    assert_int_equal(calls_since(reads, "graph.RO_QUERY").of[primary], 0);
    assert_int_equal(calls_since(writes, "graph.QUERY").of[primary], 3);
    free_results(requests, 6);
}

/* One that fails is that one's error, and the whole's; one that cannot be sent
   keeps all from being sent. */
static void test_sentinel_pipeline_errors(void **state) {
    (void)state;
    falkor_error error;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    falkor_request requests[] = {
        {.graph = graph, .cypher = "CREATE (:Mark {mark: 'beside'})"},
        {.graph = graph, .cypher = "RETURN nonsense"},
        {.graph = graph, .cypher = "CREATE (:Refused)", .read_only = true},
        {.graph = graph, .cypher = "CREATE (:Mark {mark: 'beside'})"}};
    assert_int_equal(falkor_pipeline(pool, NULL, requests, 4, &error),
                     FALKOR_ERR_QUERY);
    test_assert_has(error.message, "requests[1] of 4");
    static const falkor_status wanted[] = {FALKOR_OK, FALKOR_ERR_QUERY,
                                           FALKOR_ERR_QUERY, FALKOR_OK};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(requests[i].error.status, wanted[i]);
        assert_int_equal(requests[i].result != NULL, wanted[i] == FALKOR_OK);
        assert_int_equal(requests[i].error.attempts, 1);
    }
    free_results(requests, 4);
    assert_int_equal(marked("beside"), 2);
    falkor_request unfit[] = {
        {.graph = graph, .cypher = "CREATE (:Mark {mark: 'unfit'})"},
        {.argc = 0}};
    assert_int_equal(falkor_pipeline(pool, NULL, unfit, 2, &error),
                     FALKOR_ERR_ARGUMENT);
    test_assert_has(error.message, "requests[1]");
    assert_int_equal(unfit[0].error.status, FALKOR_ERR_ARGUMENT);
    unfit[1] = (falkor_request){.graph = graph,
        .cypher = "RETURN $x", .params = FALKOR_PARAMS({"x",
            (falkor_value){.type = FALKOR_UNKNOWN}})};
    assert_int_equal(falkor_pipeline(pool, NULL, unfit, 2, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(marked("unfit"), 0);
}

/* ---- commands ----------------------------------------------------------- */

#define SETTING "MAX_QUEUED_QUERIES"

/* A setting is set on every node; what they have is joined, alike as one. */
static void test_sentinel_settings_are_every_nodes(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result;
    int replicas[2];
    replicas_of(primary_of(), replicas);
    for (int mode = 0; mode < 2; mode++) {
        open_for(mode ? FALKOR_READ_PREFER_REPLICA : FALKOR_READ_PRIMARY);
        TEST_EVENTUALLY(info_of(replicas[0]).well && info_of(replicas[1]).well);
        falkor_config_set(pool, NULL, SETTING, falkor_int(12345 + mode),
                          &error);
        serving_ok(&error);
        for (int i = 0; i < NODES; i++)
            assert_int_equal(fleet_setting(&servers, i, SETTING), 12345 + mode);
        falkor_config_get(pool, NULL, SETTING, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(result), 1);
        assert_int_equal(falkor_result_get(result, 0, "value")->as.integer,
                         12345 + mode);
        falkor_result_free(result);
        order(replicas[1], "GRAPH.CONFIG SET " SETTING " 54321");
        falkor_config_get(pool, NULL, SETTING, &result, &error);
        serving_ok(&error);
        assert_int_equal(falkor_result_rows(result), 2);
        int64_t sum = falkor_result_get(result, 0, "value")->as.integer +
                      falkor_result_get(result, 1, "value")->as.integer;
        assert_int_equal(sum, 12345 + mode + 54321);
        falkor_result_free(result);
        assert_int_equal(falkor_config_set(pool, NULL, "NO_SUCH_SETTING",
                                           falkor_int(1), &error),
                         FALKOR_ERR_QUERY);
        test_assert_has(error.message, "node 127.0.0.1");
        falkor_config_set(pool, &(falkor_call_options){.wait_replicas = 0},
                          SETTING, falkor_int(4294967295), &error);
        serving_ok(&error);
        falkor_pool_free(pool);
        pool = NULL;
    }
}

static bool lists(const char *name) {
    falkor_error error;
    falkor_result *list;
    int found = 0;
    falkor_list_graphs(pool, NULL, &list, &error);
    serving_ok(&error);
    for (size_t i = 0; i < falkor_result_rows(list); i++)
        found += strcmp(falkor_result_get(list, i, "graph")->as.string,
                        name) == 0;
    falkor_result_free(list);
    assert_true(found <= 1);
    return found == 1;
}

/* Graphs are listed, copied and deleted as with one server. */
static void test_sentinel_graph_commands(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    assert_true(lists(GRAPH));
    falkor_graph_copy(graph, NULL, "sentinel:copy", &error);
    serving_ok(&error);
    assert_true(lists("sentinel:copy"));
    falkor_graph *copy = falkor_select_graph(pool, "sentinel:copy");
    assert_int_equal(serving_integer(copy, COUNT_ITEMS, NULL), ITEMS);
    falkor_memory_usage(copy, NULL, 0, &result, &error);
    serving_ok(&error);
    assert_non_null(falkor_result_get(result, 0, "total_graph_sz_mb"));
    falkor_result_free(result);
    falkor_graph_delete(copy, NULL, &error);
    serving_ok(&error);
    TEST_EVENTUALLY(!lists("sentinel:copy"));
    falkor_graph_free(copy);
    falkor_info(pool, NULL, NULL, &result, &error);
    serving_ok(&error);
    assert_int_equal(falkor_result_columns(result), 6);
    assert_true(falkor_result_rows(result) >= 1);
    falkor_result_free(result);
    falkor_info(pool, NULL, "RunningQueries", &result, &error);
    serving_ok(&error);
    falkor_result_free(result);
}

/* Plans and the log of slow queries are the primary's. */
static void test_sentinel_plans_and_slow_queries(void **state) {
    (void)state;
    falkor_error error;
    falkor_plan *plan;
    falkor_result *result;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    falkor_explain(graph, NULL, COUNT_ITEMS, NULL, &plan, &error);
    serving_ok(&error);
    assert_true(plan->count >= 2);
    falkor_plan_free(plan);
    falkor_profile(graph, NULL, LIST_ITEMS, NULL, &plan, &error);
    serving_ok(&error);
    assert_int_equal(plan->operators[0].records, ITEMS);
    falkor_plan_free(plan);
    falkor_slowlog_reset(graph, NULL, &error);
    serving_ok(&error);
    serving_run(graph, "UNWIND range(1, 300000) AS x RETURN count(x)");
    falkor_slowlog(graph, NULL, &result, &error);
    serving_ok(&error);
    assert_true(falkor_result_rows(result) >= 1);
    falkor_result_free(result);
    falkor_value one = falkor_string("Item");
    falkor_call_procedure(graph, &(falkor_call_options){.read_only = true},
                          "db.labels", NULL, 0, "label", &result, &error);
    serving_ok(&error);
    assert_true(falkor_result_rows(result) >= 1);
    falkor_result_free(result);
    assert_int_equal(falkor_call_procedure(graph, NULL, "no.such.procedure",
        &one, 1, NULL, &result, &error), FALKOR_ERR_QUERY);
}

static size_t libraries(const char *name) {
    falkor_error error;
    falkor_result *list;
    falkor_udf_list(pool, NULL, name, false, &list, &error);
    serving_ok(&error);
    size_t rows = falkor_result_rows(list);
    falkor_result_free(list);
    return rows;
}

#define LIBRARY \
    "falkor.register('twice', function (x) { return 2 * x; });"

/* Libraries of functions are loaded, used, listed and deleted. */
static void test_sentinel_libraries(void **state) {
    (void)state;
    falkor_error error;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    falkor_udf_load(pool, NULL, "numbers", LIBRARY, false, &error);
    serving_ok(&error);
    assert_int_equal(libraries("numbers"), 1);
    assert_int_equal(serving_integer(graph, "RETURN numbers.twice(21)", NULL),
                     42);
    assert_int_equal(falkor_udf_load(pool, NULL, "numbers", LIBRARY, false,
                                     &error), FALKOR_ERR_QUERY);
    falkor_udf_load(pool, NULL, "numbers", LIBRARY, true, &error);
    serving_ok(&error);
    falkor_udf_delete(pool, NULL, "numbers", &error);
    serving_ok(&error);
    assert_int_equal(libraries(NULL), 0);
    falkor_udf_load(pool, NULL, "more", LIBRARY, false, &error);
    serving_ok(&error);
    falkor_udf_flush(pool, NULL, &error);
    serving_ok(&error);
    assert_int_equal(libraries(NULL), 0);
}

/* Whether an index or a constraint is ready is asked of the primary, wherever
   reads go: no replica need have it yet. */
static void test_sentinel_waits_for_constraints_of_the_primary(void **state) {
    (void)state;
    falkor_error error;
    falkor_result *result;
    char label[24];
    const char *const properties[] = {"p", NULL};
    open_for(FALKOR_READ_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    for (int i = 0; i < 10; i++) {
        snprintf(label, sizeof label, "Once%d", i);
        falkor_constraint_create(graph, NULL, &(falkor_constraint){
            .kind = FALKOR_CONSTRAINT_UNIQUE, .wait = true, .label = label,
            .properties = properties}, &error);
        serving_ok(&error);
        snprintf(label, sizeof label, "Indexed%d", i);
        falkor_index_create(graph, NULL, &(falkor_index){
            .kind = FALKOR_INDEX_RANGE, .wait = true, .label = label,
            .properties = properties}, &error);
        serving_ok(&error);
    }
    serving_run(graph, "CREATE (:Once0 {p: 1})");
    assert_int_equal(falkor_query(graph, "CREATE (:Once0 {p: 1})", NULL, NULL,
                                  &error), FALKOR_ERR_CONSTRAINT);
    falkor_constraints(graph, NULL, &result, &error);
    serving_ok(&error);
    falkor_result_free(result);
    for (int i = 0; i < 10; i++) {
        snprintf(label, sizeof label, "Once%d", i);
        falkor_constraint_drop(graph, NULL, &(falkor_constraint){
            .kind = FALKOR_CONSTRAINT_UNIQUE, .label = label,
            .properties = properties}, &error);
        serving_ok(&error);
    }
}

/* ---- statistics --------------------------------------------------------- */

/* What a pool has counted is the sum of what its nodes have. */
static void test_sentinel_statistics_are_sums(void **state) {
    (void)state;
    falkor_error error;
    falkor_snapshot *snapshot;
    falkor_stats sum = {0};
    open_for(FALKOR_READ_NEAREST);
    TEST_EVENTUALLY(has_readers(pool));
    read_on(graph, 60);
    mark_with(NULL, "statistics", &error);
    falkor_query(graph, "nonsense", NULL, NULL, &error);
    falkor_stats whole = stats_of(pool);
    for (int i = 0; i < NODES; i++) {
        falkor_stats one = stats_of(info_of(i).pool);
        sum.queries += one.queries;
        sum.acquires += one.acquires;
        sum.releases += one.releases;
        sum.max_size += one.max_size;
        sum.connections_created += one.connections_created;
        sum.errors[FALKOR_OK] += one.errors[FALKOR_OK];
        sum.errors[FALKOR_ERR_QUERY] += one.errors[FALKOR_ERR_QUERY];
    }
    assert_true(whole.initialized && !whole.closed && !whole.paused);
    assert_int_equal(whole.circuit, FALKOR_CIRCUIT_CLOSED);
    assert_int_equal(whole.max_size, sum.max_size);
    assert_int_equal(whole.max_size, 3 * 8);
    assert_int_equal(whole.queries, sum.queries);
    assert_int_equal(whole.acquires, sum.acquires);
    assert_int_equal(whole.acquires, whole.releases);
    assert_int_equal(whole.errors[FALKOR_OK], sum.errors[FALKOR_OK]);
    assert_int_equal(whole.errors[FALKOR_OK], 61);
    assert_int_equal(whole.errors[FALKOR_ERR_QUERY], 1);
    assert_int_equal(sum.errors[FALKOR_ERR_QUERY], 1);
    falkor_snapshot_take(pool, &snapshot, &error);
    serving_ok(&error);
    const falkor_stats *taken = falkor_snapshot_stats(snapshot);
    assert_int_equal(taken->queries, whole.queries);
    assert_int_equal(taken->max_size, whole.max_size);
    assert_int_equal(falkor_snapshot_latency(snapshot, FALKOR_LATENCY_QUERY)
                         .count, 62);
    falkor_snapshot_ask_server(snapshot, pool, &error);
    serving_ok(&error);
    falkor_health health;
    falkor_snapshot_health(snapshot, &health);
    assert_int_not_equal(health.verdict, FALKOR_HEALTH_CRITICAL);
    falkor_snapshot_free(snapshot);
}

/* ---- levers ------------------------------------------------------------- */

static bool all_paused(bool paused) {
    bool all = stats_of(pool).paused == paused;
    for (int i = 0; i < NODES; i++)
        all = all && stats_of(info_of(i).pool).paused == paused;
    return all;
}

/* Pausing and resuming reach every node. */
static void test_sentinel_pause_and_resume(void **state) {
    (void)state;
    falkor_error error;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    assert_int_equal(falkor_pool_pause(pool), FALKOR_OK);
    assert_true(all_paused(true));
    for (int reads = 0; reads < 2; reads++) {
        assert_int_equal(falkor_query_with(graph, &(falkor_call_options){
            .timeout_ms = 50, .read_only = reads}, COUNT_ITEMS, NULL, NULL,
            &error), FALKOR_ERR_POOL_TIMEOUT);
        test_assert_has(error.message, "paused");
    }
    assert_int_equal(falkor_pool_resume(pool), FALKOR_OK);
    assert_true(all_paused(false));
    read_on(graph, 4);
}

/* Flushing and dropping replace the connections to every node. */
static void test_sentinel_flush_and_drop(void **state) {
    (void)state;
    falkor_error error;
    open_for(FALKOR_READ_NEAREST);
    TEST_EVENTUALLY(has_readers(pool));
    for (int lever = 0; lever < 2; lever++) {
        uint64_t recycled[NODES];
        TEST_EVENTUALLY(stats_of(pool).idle >= NODES);
        for (int i = 0; i < NODES; i++)
            TEST_EVENTUALLY(stats_of(info_of(i).pool).idle > 0);
        for (int i = 0; i < NODES; i++)
            recycled[i] = stats_of(info_of(i).pool).connections_recycled;
        assert_int_equal(lever ? falkor_pool_drop_idle(pool)
                               : falkor_pool_flush(pool), FALKOR_OK);
        for (int i = 0; i < NODES; i++)
            assert_true(stats_of(info_of(i).pool).connections_recycled >
                        recycled[i]);
        mark_with(NULL, "levers", &error);
        serving_ok(&error);
        read_on(graph, 6);
    }
}

/* ---- fork --------------------------------------------------------------- */

/* A child queries through the pool of its parent, on connections of its own,
   and frees it; the parent goes on. */
static void test_sentinel_fork(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip();                             /* it lets no child start a thread */
#endif
    falkor_error error;
    open_for(FALKOR_READ_PREFER_REPLICA);
    TEST_EVENTUALLY(has_readers(pool));
    read_on(graph, 4);
    falkor_pool *of_parent = pool;
    pid_t child = test_fork();
    if (child == 0) {
        test_child_begins();
        for (int i = 0; i < 4; i++) {
            TEST_CHECK(!mark_with(NULL, "child", &error));
            TEST_CHECK(!falkor_ro_query(graph, COUNT_ITEMS, NULL, NULL,
                                        &error));
            if (error.status)
                TEST_COMPLAIN("%s", error.message);
        }
        TEST_CHECK(falkor_pool_nodes(pool, NULL, 0) == NODES);
        falkor_pool_free(of_parent);
        test_child_ends();
    }
    for (int i = 0; i < 20; i++) {
        mark_with(NULL, "parent", &error);
        serving_ok(&error);
        read_on(graph, 1);
    }
    test_await_child(child);
    assert_int_equal(marked("child"), 4);
    assert_int_equal(marked("parent"), 20);
}

#define TEST(name) cmocka_unit_test_teardown(name, mend)

TEST_MAIN_WITH(begin, end,
    TEST(test_sentinel_opens_by_options),
    TEST(test_sentinel_opens_by_url),
    TEST(test_sentinel_nodes_have_room),
    TEST(test_sentinel_wrong_master_name),
    TEST(test_sentinel_nobody_to_ask),
    TEST(test_sentinel_schema_runs_on_the_primary),
    TEST(test_sentinel_reads_from_the_primary),
    TEST(test_sentinel_prefers_replicas),
    TEST(test_sentinel_reads_from_replicas_only),
    TEST(test_sentinel_reads_from_the_nearest),
    TEST(test_sentinel_threads_share_the_replicas),
    TEST(test_sentinel_leaves_out_stopped_replicas),
    TEST(test_sentinel_write_is_on_replicas),
    TEST(test_sentinel_replica_alone),
    TEST(test_sentinel_example),
    TEST(test_sentinel_too_few_replicas),
    TEST(test_sentinel_stopped_replicas_have_nothing),
    TEST(test_sentinel_asks_without_a_connection),
    TEST(test_sentinel_waiting_is_refused),
    TEST(test_sentinel_exec_waits_for_replicas),
    TEST(test_sentinel_typed_commands_wait_for_replicas),
    TEST(test_sentinel_held_connection),
    TEST(test_sentinel_strange_connection_is_refused),
    TEST(test_sentinel_lease_outlives_the_pool),
    TEST(test_sentinel_streams_from_replicas),
    TEST(test_sentinel_pipelines_go_where_queries_go),
    TEST(test_sentinel_mixed_pipeline),
    TEST(test_sentinel_pipeline_errors),
    TEST(test_sentinel_settings_are_every_nodes),
    TEST(test_sentinel_graph_commands),
    TEST(test_sentinel_plans_and_slow_queries),
    TEST(test_sentinel_libraries),
    TEST(test_sentinel_waits_for_constraints_of_the_primary),
    TEST(test_sentinel_statistics_are_sums),
    TEST(test_sentinel_pause_and_resume),
    TEST(test_sentinel_flush_and_drop),
    TEST(test_sentinel_closed_pool_refuses),
    TEST(test_sentinel_fork),
    TEST(test_sentinel_refused_writes_run_once),
    TEST(test_sentinel_close_wakes_who_waits),
    TEST(test_sentinel_failover_on_demand),
    TEST(test_sentinel_failover_after_a_death),
    TEST(test_sentinel_failover_from_a_stopped_primary),
    TEST(test_sentinel_one_sentinel_stopped),
    TEST(test_sentinel_all_sentinels_dead))
