/* What several servers say, read without any: slots of keys and commands,
   redirections, INFO, lists of replicas. test_sentinel.c and test_cluster.c
   have the servers. */
#include "../across.c"
#include "../scout.c"
#include "../topology.c"
#include "testing.h"

enum { MS = 1000000 };

/* ---- slots -------------------------------------------------------------- */

static int slot_of(const char *key) {
    return falkor__key_slot(key, strlen(key));
}

/* The cluster specification's own examples. */
static void test_topology_slots(void **state) {
    (void)state;
    assert_int_equal(falkor__crc16("123456789", 9), 0x31c3);
    assert_int_equal(slot_of("123456789"), 0x31c3 % 16384);
    assert_int_equal(slot_of("foo"), 12182);
    assert_int_equal(slot_of(""), 0);
    assert_int_equal(slot_of("{user1000}.following"), slot_of("user1000"));
    assert_int_equal(slot_of("foo{bar}{zap}"), slot_of("bar"));
    assert_int_equal(slot_of("foo{{bar}}zap"), slot_of("{bar"));
    assert_int_not_equal(slot_of("foo{}{bar}"), slot_of("bar"));
    assert_int_not_equal(slot_of("foo{bar"), slot_of("bar"));
    assert_int_equal(falkor__key_slot("a\0{b}", 5), slot_of("b"));
}

/* The key that a command's slot comes from; NULL: it has none. */
static void test_topology_command_slots(void **state) {
    (void)state;
    static const struct { const char *words[6], *key; } rows[] = {
        {{"GRAPH.QUERY", "g", "RETURN 1"}, "g"},
        {{"graph.constraint", "CREATE", "g", "UNIQUE"}, "g"},
        {{"GRAPH.MEMORY", "USAGE", "g"}, "g"}, {{"GRAPH.LIST"}, NULL},
        {{"GRAPH.CONFIG", "GET", "*"}, NULL}, {{"GRAPH.UDF", "LIST"}, NULL},
        {{"GET", "k"}, "k"}, {{"get", "k"}, "k"}, {{"PING", "text"}, NULL},
        {{"PING"}, NULL}, {{"EVAL", "return 1", "1", "k", "v"}, "k"},
        {{"EVAL", "return 1", "0", "v"}, NULL}, {{"GET"}, NULL},
        {{"OBJECT", "ENCODING", "k"}, "k"}, {{"NEW.COMMAND", "k"}, "k"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t argc = 0;
        while (rows[i].words[argc])
            argc++;
        assert_int_equal(falkor__command_slot(argc, rows[i].words, NULL),
                         rows[i].key ? slot_of(rows[i].key) : -1);
    }
    const char *words[] = {"PINGx", "k{t}"};    /* no NUL where it ends */
    assert_int_equal(falkor__command_slot(2, words, (size_t[]){4, 1}), -1);
    words[0] = "GETx";
    assert_int_equal(falkor__command_slot(2, words, (size_t[]){3, 1}),
                     slot_of("k"));
}

/* ---- redirections ------------------------------------------------------- */

static void test_topology_redirections(void **state) {
    (void)state;
    static const struct { const char *text, *host; int slot, port; } rows[] = {
        {"MOVED 3999 127.0.0.1:6381", "127.0.0.1", 3999, 6381},
        {"MOVED 0 ::1:6381", "::1", 0, 6381},
        {"MOVED 16383 :6381", "own", 16383, 6381},
        {"reading the names of graph \"g\": MOVED 1 h.example:7", "h.example",
         1, 7},
        {"MOVED 1 h:7 (attempt 1 of 4)", "h", 1, 7},
        {"MOVED 16384 h:7", NULL, 0, 0}, {"MOVED -1 h:7", NULL, 0, 0},
        {"MOVED 1 h", NULL, 0, 0}, {"MOVED 1", NULL, 0, 0},
        {"MOVED ", NULL, 0, 0}, {"MOVED 1 h:0", NULL, 0, 0},
        {"MOVED 1 h:65536", NULL, 0, 0}, {"ASK 1 h:7", NULL, 0, 0},
        {"", NULL, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char host[FALKOR__HOST_SIZE];
        int slot = -1, port = -1;
        bool read = falkor__read_redirect(rows[i].text, "MOVED ", "own", &slot,
                                          host, &port);
        if (read != (rows[i].host != NULL))
            fail_msg("%s", rows[i].text);
        if (!read)
            continue;
        assert_string_equal(host, rows[i].host);
        assert_int_equal(slot, rows[i].slot);
        assert_int_equal(port, rows[i].port);
    }
    char longest[2 * FALKOR__HOST_SIZE] = "MOVED 1 ", host[FALKOR__HOST_SIZE];
    int slot, port;
    memset(longest + 8, 'x', FALKOR__HOST_SIZE);
    strcpy(longest + 8 + FALKOR__HOST_SIZE, ":7");
    assert_false(falkor__read_redirect(longest, "MOVED ", "own", &slot, host,
                                       &port));
}

/* ---- how a node stands -------------------------------------------------- */

static falkor__standing look(falkor__node *node, const falkor__node *primary,
                             const char *info, int64_t at_ms) {
    return falkor__standing_of(node, primary, info, at_ms * MS);
}

/* A replica's lag is what it lacks of what the primary had when that was asked,
   and how long ago the primary was where it is. */
static void test_topology_lag(void **state) {
    (void)state;
    static falkor__node primary, replica;
    memset(&primary, 0, sizeof primary);
    falkor__standing s = look(&replica, &primary, "role:slave\r\n"
        "master_link_status:up\r\nslave_repl_offset:5\r\n", 1);
    assert_true(s.well && s.says == FALKOR_ROLE_REPLICA);
    assert_true(s.lag_bytes == -1 && s.lag_ms == -1);   /* nothing known yet */
    for (int i = 0; i < 20; i++) {
        char info[100];
        snprintf(info, sizeof info, "# Replication\r\nrole:master\r\n"
                 "connected_slaves:1\r\nmaster_repl_offset:%d\r\n", 100 * i);
        s = look(&primary, NULL, info, 1000 * i);
        assert_true(s.well && s.says == FALKOR_ROLE_PRIMARY);
    }
    const struct { const char *offset; int64_t bytes, ms; } rows[] = {
        {"1900", 0, 0}, {"2000", 0, 0}, {"1899", 1, 500}, {"1800", 100, 500},
        {"1799", 101, 1500}, {"1500", 400, 3500}, {"0", 1900, 15500}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char info[200];
        snprintf(info, sizeof info, "role:slave\r\nmaster_link_status:up\r\n"
            "slave_read_repl_offset:7\r\nslave_repl_offset:%s\r\n",
            rows[i].offset);
        s = look(&replica, &primary, info, 19500);
        assert_int_equal(s.lag_bytes, rows[i].bytes);
        assert_int_equal(s.lag_ms, rows[i].ms);
    }
    s = look(&replica, &primary, "role:slave\r\nmaster_link_status:down\r\n"
        "master_sync_in_progress:0\r\nmaster_link_down_since_seconds:7\r\n"
        "slave_repl_offset:1900\r\n", 19500);
    assert_true(s.well && s.lag_ms == 7000);    /* it has what it has */
    s = look(&replica, &primary, "role:slave\r\nmaster_link_status:down\r\n"
        "master_sync_in_progress:1\r\nslave_repl_offset:1900\r\n", 19500);
    assert_false(s.well);
    s = look(&replica, &primary, "role:slave\r\n"
        "master_link_down_since_seconds:9223372036854775807\r\n", 19500);
    assert_true(s.lag_ms > 1000000000);
    s = look(&replica, &primary, "", 19500);
    assert_true(!s.well && s.lag_bytes == -1);
}

static void test_topology_too_far_behind(void **state) {
    (void)state;
    falkor__config config = {.max_lag_bytes = 10, .max_lag_ms = -1};
    falkor__node node = {.lag_bytes = 10, .lag_ms = 5000};
    assert_false(falkor__lags(&node, &config));
    node.lag_bytes = 11;
    assert_true(falkor__lags(&node, &config));
    config.max_lag_bytes = -1;
    assert_false(falkor__lags(&node, &config));
    config.max_lag_ms = 4999;
    assert_true(falkor__lags(&node, &config));
    node.lag_bytes = node.lag_ms = -1;  /* not known: it is not held so */
    config.max_lag_bytes = 1;
    assert_false(falkor__lags(&node, &config));
}

/* ---- sentinels ---------------------------------------------------------- */

static falkor__wire someone;
static const falkor__named nobody = {.by = NULL},
    stale = {.by = &someone, .epoch = 2, .leads = true},
    plain = {.by = &someone, .epoch = 3},
    led = {.by = &someone, .epoch = 3, .leads = true},
    later = {.by = &someone, .epoch = 4};

/* The newest configuration counts; of one age, who leads a failover. */
static void test_topology_votes(void **state) {
    (void)state;
    assert_true(falkor__outvotes(&plain, &nobody));
    assert_true(falkor__outvotes(&led, &plain));
    assert_false(falkor__outvotes(&plain, &led));
    assert_true(falkor__outvotes(&later, &led));
    assert_false(falkor__outvotes(&stale, &plain));
    assert_false(falkor__outvotes(&led, &later));
}

/* Whether a primary of epoch 3, which says that it is one, is replaced by what
   is said of it, and of another, so long after it was last named. */
static bool replaced(const falkor__named *same, const falkor__named *other,
                     falkor_role says, int64_t ms) {
    static falkor__topology topology;
    topology.epoch = 3;
    topology.named_ns = 1000 * (int64_t)MS;
    return falkor__is_replaced(&topology, says, same, other,
                               topology.named_ns + ms * MS);
}

/* Who is behind, or has another name for it, does not bring the former primary
   back, and does not make the map go to and fro. */
static void test_topology_replaced(void **state) {
    (void)state;
    const falkor_role leads = FALKOR_ROLE_PRIMARY, no = FALKOR_ROLE_REPLICA,
        silent = FALKOR_ROLE_UNKNOWN;
    assert_false(replaced(&plain, &nobody, silent, 0));
    assert_false(replaced(&plain, &plain, leads, 0));
    assert_true(replaced(&plain, &plain, no, 0));
    assert_true(replaced(&plain, &plain, silent, 0));
    assert_true(replaced(&plain, &led, leads, 0));
    assert_true(replaced(&plain, &later, leads, 0));
    assert_false(replaced(&led, &plain, leads, 0));
    assert_false(replaced(&led, &plain, no, 0));        /* not yet */
    assert_false(replaced(&later, &plain, no, 0));
    assert_false(replaced(&plain, &stale, silent, 0));
    assert_false(replaced(&nobody, &plain, leads, 0));    /* who led is away */
    assert_true(replaced(&nobody, &plain, no, 0));
    assert_true(replaced(&nobody, &plain, silent, 0));
    assert_true(replaced(&nobody, &later, leads, 0));
    assert_true(replaced(&nobody, &led, leads, 0));
    assert_false(replaced(&nobody, &plain, leads, FALKOR__NAMED_MS));
    assert_true(replaced(&nobody, &plain, leads, FALKOR__NAMED_MS + 1));
}

/* A dial that was too slow gets more time, up to a bound; one that comes to
   nothing is left alone longer than it took. */
static void test_topology_patience(void **state) {
    (void)state;
    falkor__config config = {.connect_timeout_ms = -1};
    falkor__wire wire = {.config = &config, .patience_ms = 500};
    for (int patience_ms = 500; wire.patience_ms < FALKOR__FAR_MS;
         patience_ms *= 2) {
        assert_int_equal(wire.patience_ms, patience_ms);
        falkor__wire_dialled(&wire, falkor_now_ns() - patience_ms * MS, true);
        assert_true(falkor__wire_rests(&wire));
        assert_true(wire.rests_until_ns >=
                    falkor_now_ns() + 4 * (patience_ms - 1) * INT64_C(1000000));
    }
    for (int i = 0; i < 40; i++)
        falkor__wire_dialled(&wire, falkor_now_ns(), true);
    assert_int_equal(wire.patience_ms, FALKOR__FAR_MS);
    config.connect_timeout_ms = 700;
    falkor__wire_dialled(&wire, falkor_now_ns(), false);
    assert_int_equal(wire.patience_ms, 700);
    wire.link = (falkor__link *)&wire;  /* it has one */
    falkor__wire_dialled(&wire, falkor_now_ns() - 30 * MS, false);
    assert_false(falkor__wire_rests(&wire));
    assert_in_range(wire.patience_ms, 120, 700);
}

static void test_topology_fields(void **state) {
    (void)state;
    falkor_value flat = FALKOR_ARRAY_OF(falkor_string("ip"),
        falkor_string("h"), falkor_string("port"), falkor_string("7"),
        falkor_int(1), falkor_string("x"), falkor_string("odd"));
    falkor__finding found;
    assert_string_equal(falkor__value_for(&flat, "port"), "7");
    assert_null(falkor__value_for(&flat, "odd"));
    assert_null(falkor__value_for(&flat, "x"));
    assert_null(falkor__value_for(NULL, "ip"));
    assert_true(falkor__found_at("h", "7", &found));
    assert_string_equal(found.host, "h");
    assert_int_equal(found.port, 7);
    assert_false(falkor__found_at("h", "0", &found));
    assert_false(falkor__found_at("h", "65536", &found));
    assert_false(falkor__found_at("", "7", &found));
    assert_false(falkor__found_at(NULL, "7", &found));
    assert_false(falkor__found_at("h", NULL, &found));
}

/* ---- a map without servers ---------------------------------------------- */

static falkor_pool *whole;
static falkor__topology *map;
static falkor__node *nodes[4];

static void unlocked(falkor__topology *topology) {
    falkor__mutex_unlock(&topology->mutex);
}

static void locked(falkor__topology *topology) {
    falkor__mutex_lock(&topology->mutex);
}

/* A pool that stands for a primary and replicas, or a cluster's primary, its
   replicas and another primary; nobody dials. */
static void draw(falkor_options options) {
    falkor_error error;
    options.min_size = -1;
    if (falkor_pool_create(&options, &whole, &error))
        fail_msg("%s", error.message);
    map = falkor__pool_front(whole);
    assert_non_null(map);
    map->open = true;
    for (int i = 0; i < 4; i++) {
        char host[16];
        snprintf(host, sizeof host, "10.0.0.%d", i);
        nodes[i] = falkor__node_at(map, host, 7000 + i, &error);
        assert_non_null(nodes[i]);
        assert_ptr_equal(falkor__node_at(map, host, 7000 + i, &error),
                         nodes[i]);
        assert_int_equal(falkor__node_begin(map, nodes[i], &error), FALKOR_OK);
        nodes[i]->role = i ? FALKOR_ROLE_REPLICA : FALKOR_ROLE_PRIMARY;
        nodes[i]->says = nodes[i]->role;
        nodes[i]->primary = 0;
        nodes[i]->well = true;
    }
    map->primary = 0;
}

static void draw_sentinels(falkor_read_from read_from) {
    draw((falkor_options){.sentinels = "127.0.0.1:1", .master_name = "m",
                          .read_from = read_from, .max_lag_bytes = 100});
}

static void erase(void) {
    falkor_pool_free(whole);
}

static falkor__node *go(falkor__route route, falkor_error *error) {
    falkor_pool *pool = NULL;
    falkor__topology_route(map, &route, &pool, error);
    falkor__node *node = route.node;
    falkor__topology_leave(&route);
    return node;
}

/* ---- the way ------------------------------------------------------------ */

static void test_topology_reads_go_to_replicas(void **state) {
    (void)state;
    falkor__route reads = {.slot = -1, .reads = true}, writes = {.slot = -1};
    falkor_error error;
    draw_sentinels(FALKOR_READ_PREFER_REPLICA);
    assert_ptr_equal(go(writes, &error), nodes[0]);
    nodes[1]->in_flight = 3;            /* the one with the fewest calls */
    nodes[2]->in_flight = 2;
    nodes[3]->in_flight = 5;
    for (int i = 0; i < 8; i++)
        assert_ptr_equal(go(reads, &error), nodes[2]);
    nodes[2]->well = false;
    assert_ptr_equal(go(reads, &error), nodes[1]);
    nodes[1]->lag_bytes = 101;
    assert_ptr_equal(go(reads, &error), nodes[3]);
    nodes[3]->role = FALKOR_ROLE_UNKNOWN;
    assert_ptr_equal(go(reads, &error), nodes[0]);
    nodes[0]->says = FALKOR_ROLE_REPLICA;       /* it would refuse to write */
    assert_null(go(writes, &error));
    assert_int_equal(error.status, FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "has no primary at the moment");
    erase();
}

static void test_topology_reads_want_a_replica(void **state) {
    (void)state;
    falkor__route reads = {.slot = -1, .reads = true};
    falkor_error error;
    draw_sentinels(FALKOR_READ_REPLICA);
    for (int i = 1; i < 4; i++) {
        assert_ptr_not_equal(go(reads, &error), nodes[0]);
        nodes[i]->lag_bytes = 101;
    }
    assert_null(go(reads, &error));
    test_assert_has(error.message, "no replica is fit");
    nodes[0]->well = false;
    assert_null(go(reads, &error));
    test_assert_has(error.message, "no replica can be reached");
    map->open = false;
    assert_null(go(reads, NULL));
    map->open = true;
    falkor_pool_close(whole, 0);
    assert_null(go(reads, &error));
    assert_int_equal(error.status, FALKOR_ERR_CLOSED);
    erase();
}

static void test_topology_reads_go_to_the_nearest(void **state) {
    (void)state;
    falkor__route reads = {.slot = -1, .reads = true};
    int seen[4] = {0};
    draw_sentinels(FALKOR_READ_NEAREST);
    nodes[0]->near_ns = 3 * MS;
    nodes[1]->near_ns = 5 * MS;
    nodes[2]->near_ns = 7 * MS;         /* more than twice the nearest */
    nodes[3]->near_ns = 6 * MS;
    for (int i = 0; i < 300; i++)
        seen[go(reads, NULL)->index]++;
    assert_int_equal(seen[2], 0);
    assert_true(seen[0] >= 50 && seen[1] >= 50 && seen[3] >= 50);
    erase();
}

/* A replica that cannot be reached is left out, and the call goes on at once;
   what refuses sends on only when the map has changed. */
static void test_topology_failures(void **state) {
    (void)state;
    falkor_pool *pool;
    falkor_error error;
    falkor__route route = {.slot = -1, .reads = true};
    draw_sentinels(FALKOR_READ_REPLICA);
    nodes[2]->well = nodes[3]->well = false;
    falkor__topology_route(map, &route, &pool, &error);
    assert_ptr_equal(route.node, nodes[1]);
    assert_false(falkor__topology_failed(map, &route, FALKOR_ERR_QUERY, true,
                                         "syntax"));
    assert_false(map->doubted);
    assert_true(falkor__topology_failed(map, &route, FALKOR_ERR_CONNECT, false,
                                        "refused"));
    assert_true(map->doubted && !nodes[1]->well);
    falkor__topology_leave(&route);
    route = (falkor__route){.slot = -1};
    falkor__topology_route(map, &route, &pool, &error);
    assert_false(falkor__topology_failed(map, &route, FALKOR_ERR_READONLY, true,
                                         "READONLY"));
    map->version++;
    assert_true(falkor__topology_failed(map, &route, FALKOR_ERR_READONLY, true,
                                        "READONLY"));
    for (int i = 0; i < FALKOR__REDIRECTS; i++)
        falkor__topology_failed(map, &route, FALKOR_ERR_READONLY, true, "");
    assert_false(falkor__topology_failed(map, &route, FALKOR_ERR_READONLY, true,
                                         ""));
    assert_false(falkor__topology_failed(map, &route, FALKOR_ERR_MOVED, true,
                                         "MOVED 1 10.0.0.2:7002"));
    falkor__topology_leave(&route);     /* no cluster: nobody can say so */
    erase();
}

static void test_topology_follows_redirections(void **state) {
    (void)state;
    falkor_pool *pool;
    falkor_error error;
    falkor__route route = {.slot = 5};
    draw((falkor_options){.cluster = "127.0.0.1:1"});
    assert_int_equal(falkor__topology_route(map, &route, &pool, &error),
                     FALKOR_ERR_CONNECT);       /* nobody has the slot */
    map->owners[5] = 0;
    falkor__topology_route(map, &route, &pool, &error);
    assert_ptr_equal(route.node, nodes[0]);
    assert_true(falkor__topology_failed(map, &route, FALKOR_ERR_MOVED, true,
                                        "ASK 5 10.0.0.3:7003"));
    falkor__topology_route(map, &route, &pool, &error);
    assert_ptr_equal(route.node, nodes[3]);
    assert_true(falkor__topology_failed(map, &route, FALKOR_ERR_MOVED, true,
                                        "MOVED 5 :9"));
    falkor__topology_route(map, &route, &pool, &error);
    test_assert_has(falkor__pool_config(pool)->host, "10.0.0.3");
    assert_int_equal(falkor__pool_config(pool)->port, 9);
    assert_int_equal(map->owners[5], 4);
    assert_false(falkor__topology_failed(map, &route, FALKOR_ERR_MOVED, true,
                                         "MOVED to the country"));
    falkor__topology_leave(&route);
    erase();
}

/* ---- whether a write lasts ---------------------------------------------- */

/* A round of asking that finds nothing new, as soon as somebody wants one. */
static void *scout_once(void *argument) {
    bool done = false;
    while (!done) {
        locked(map);
        done = map->doubted;
        if (done) {
            map->doubted = false;
            map->rounds = ++map->begun_rounds;
            falkor__cond_broadcast(&map->changed);
        }
        unlocked(map);
        test_pause_ms(1);
    }
    return argument;
}

static bool lasts_by_asking(void) {
    map->doubted = false;
    test_threads scout = test_start(scout_once, NULL, 0, 1);
    bool stands = falkor__topology_stands(map, &(falkor__route){.slot = -1,
        .node = nodes[0]}, NULL, 1, falkor__deadline(TEST_PATIENCE_MS));
    test_join(&scout);
    return stands;
}

static bool lasts(falkor_value list, int64_t copies) {
    return falkor__topology_stands(map, &(falkor__route){.slot = -1,
        .node = nodes[0]}, &list, copies, falkor__deadline(20));
}

/* The list that a primary has of its replicas. */
#define LISTED(i) FALKOR_ARRAY_OF(falkor_string("10.0.0." #i), \
                                  falkor_string("700" #i), falkor_string("1"))

/* All that it has, have it, and all that are known follow it. Else it is asked:
   here nobody answers, and it does not last. */
static void test_topology_lasting_writes(void **state) {
    (void)state;
    draw_sentinels(FALKOR_READ_PRIMARY);
    nodes[3]->role = FALKOR_ROLE_UNKNOWN;
    assert_true(lasts(FALKOR_ARRAY_OF(LISTED(1), LISTED(2)), 2));
    assert_false(lasts(FALKOR_ARRAY_OF(LISTED(1), LISTED(2)), 1));
    assert_false(lasts(FALKOR_ARRAY_OF(LISTED(1)), 1)); /* 2 may lead now */
    assert_false(lasts(FALKOR_ARRAY_OF(LISTED(1), LISTED(3)), 2));
    assert_false(lasts(FALKOR_ARRAY_OF(LISTED(1), falkor_int(2)), 2));
    assert_false(falkor__topology_stands(map, &(falkor__route){.slot = -1,
        .node = nodes[0]}, NULL, 9, falkor__deadline(1)));
    assert_true(lasts_by_asking());
    const falkor__route route = {.slot = -1, .node = nodes[0]};
    assert_true(falkor__topology_leads(map, &route));
    nodes[1]->says = FALKOR_ROLE_PRIMARY;
    assert_false(lasts_by_asking());
    map->primary = 1;                   /* the map has gone on */
    assert_false(falkor__topology_leads(map, &route));
    assert_false(lasts_by_asking());
    assert_false(lasts(FALKOR_ARRAY_OF(LISTED(1), LISTED(2)), 2));
    erase();
}

/* Who is told of a new primary on the thread that asks, and writes there, does
   not wait for himself. */
static void test_topology_lasting_while_asking(void **state) {
    (void)state;
    draw_sentinels(FALKOR_READ_PRIMARY);
    int64_t until_ns = falkor__deadline(TEST_PATIENCE_MS);
    assert_true(falkor__round_begin(map, until_ns));
    assert_false(falkor__topology_stands(map, &(falkor__route){.slot = -1,
        .node = nodes[0]}, NULL, 9, until_ns));
    assert_true(map->doubted && falkor_now_ns() < until_ns);
    erase();
}

/* One that was deposed is no rival until it has said that it follows, be it
   that it had said so before another was named. */
static void test_topology_deposed_once(void **state) {
    (void)state;
    draw_sentinels(FALKOR_READ_PRIMARY);
    locked(map);
    falkor__node *old = nodes[1];
    for (int followed_before = 0; followed_before < 2; followed_before++) {
        old->says = followed_before ? FALKOR_ROLE_REPLICA : FALKOR_ROLE_PRIMARY;
        old->deposed = true;
        falkor__note_standing_locked(map, old, &(falkor__standing){
            .says = FALKOR_ROLE_UNKNOWN});
        assert_true(old->deposed);
        old->says = followed_before ? FALKOR_ROLE_REPLICA : FALKOR_ROLE_PRIMARY;
        falkor__note_standing_locked(map, old, &(falkor__standing){
            .well = true, .says = FALKOR_ROLE_REPLICA});
        assert_false(old->deposed);
        assert_true(falkor__stands_locked(map, nodes[0], -1));
        falkor__note_standing_locked(map, old, &(falkor__standing){
            .well = true, .says = FALKOR_ROLE_PRIMARY});
        assert_false(falkor__stands_locked(map, nodes[0], -1));
    }
    unlocked(map);
    erase();
}

/* What a round found: nobody else leads, or may. */
static void test_topology_other_leaders(void **state) {
    (void)state;
    draw_sentinels(FALKOR_READ_PRIMARY);
    locked(map);
    assert_true(falkor__stands_locked(map, nodes[0], -1));
    nodes[1]->says = FALKOR_ROLE_PRIMARY;
    assert_false(falkor__stands_locked(map, nodes[0], -1));
    nodes[1]->deposed = true;           /* that is what it was */
    assert_true(falkor__stands_locked(map, nodes[0], -1));
    nodes[2]->says = FALKOR_ROLE_UNKNOWN;
    assert_false(falkor__stands_locked(map, nodes[0], -1));
    nodes[2]->role = FALKOR_ROLE_UNKNOWN;       /* it is down */
    assert_true(falkor__stands_locked(map, nodes[0], -1));
    assert_false(falkor__stands_locked(map, nodes[1], -1));
    map->why.status = FALKOR_ERR_CONNECT;
    assert_false(falkor__stands_locked(map, nodes[0], -1));
    unlocked(map);
    erase();
    draw((falkor_options){.cluster = "127.0.0.1:1"});
    locked(map);
    nodes[3]->role = nodes[3]->says = FALKOR_ROLE_PRIMARY;
    map->owners[7] = 3;
    assert_true(falkor__stands_locked(map, nodes[0], -1));
    assert_false(falkor__stands_locked(map, nodes[0], 7));
    assert_true(falkor__stands_locked(map, nodes[3], 7));
    nodes[1]->says = FALKOR_ROLE_PRIMARY;
    assert_false(falkor__stands_locked(map, nodes[0], -1));
    assert_true(falkor__stands_locked(map, nodes[3], 7));
    unlocked(map);
    erase();
}

static void test_topology_counts_replicas(void **state) {
    (void)state;
    falkor__route route = {.node = NULL};
    draw_sentinels(FALKOR_READ_PRIMARY);
    route.node = nodes[0];
    bool well = false;
    assert_int_equal(falkor__topology_replicas(map, &route, &well), 3);
    assert_true(well);
    nodes[2]->well = false;             /* it would only be waited for */
    assert_int_equal(falkor__topology_replicas(map, &route, &well), 3);
    assert_false(well);
    nodes[2]->role = FALKOR_ROLE_UNKNOWN;
    assert_int_equal(falkor__topology_replicas(map, &route, &well), 2);
    assert_true(well);
    erase();
}

/* ---- what sentinels and nodes say --------------------------------------- */

#define ENTRY(host, port, flags) FALKOR_ARRAY_OF(falkor_string("ip"), \
    falkor_string(host), falkor_string("port"), falkor_string(port), \
    falkor_string("flags"), falkor_string(flags))

static void test_topology_lists_of_replicas(void **state) {
    (void)state;
    falkor_error error;
    draw_sentinels(FALKOR_READ_PRIMARY);
    falkor_value list = FALKOR_ARRAY_OF(ENTRY("10.0.0.1", "7001", "slave"),
        ENTRY("10.0.0.2", "7002", "s_down,slave,disconnected"),
        ENTRY("10.0.0.3", "7003", "slave,disconnected"),
        ENTRY("10.0.0.9", "70000", "slave"), falkor_int(3));
    assert_int_equal(falkor__note_replicas(map, &list, nodes[0], &error),
                     FALKOR_OK);
    assert_int_equal(nodes[0]->role, FALKOR_ROLE_PRIMARY);
    assert_int_equal(nodes[1]->role, FALKOR_ROLE_REPLICA);
    assert_int_equal(nodes[2]->role, FALKOR_ROLE_UNKNOWN);
    assert_int_equal(nodes[3]->role, FALKOR_ROLE_REPLICA);
    assert_int_equal(map->count, 4);
    assert_int_equal(falkor__note_replicas(map, NULL, nodes[0], &error),
                     FALKOR_OK);
    assert_int_equal(nodes[1]->role, FALKOR_ROLE_UNKNOWN);
    erase();
}

/* A node that comes while all is paused is so too; one that was closed alone, or
   comes too late, does not come. */
static void test_topology_nodes_begin(void **state) {
    (void)state;
    falkor_error error;
    draw_sentinels(FALKOR_READ_PRIMARY);
    falkor_pool_pause(whole);
    falkor__node *late = falkor__node_at(map, "10.0.0.8", 7, &error);
    assert_int_equal(falkor__node_begin(map, late, &error), FALKOR_OK);
    assert_true(falkor__pool_is_paused(late->pool));
    falkor_pool_resume(whole);
    assert_false(falkor__pool_is_paused(late->pool));
    late = falkor__node_at(map, "10.0.0.9", 7, &error);
    falkor_pool_close(late->pool, 0);
    assert_int_equal(falkor__node_begin(map, late, &error), FALKOR_ERR_CLOSED);
    assert_false(late->begun);
    falkor_pool_close(whole, 0);
    assert_int_equal(falkor__node_begin(map, nodes[0], &error),
                     FALKOR_ERR_CLOSED);
    assert_string_equal(error.message, "the pool is closed");
    erase();
}

/* A library that a primary has taken may be lost with it, which is named. */
static void test_topology_told_in_vain(void **state) {
    (void)state;
    falkor_error error;
    falkor__call call;
    falkor__node_state at;
    falkor_call_options options = {.wait_replicas = 1, .timeout_ms = 1};
    draw((falkor_options){.cluster = "127.0.0.1:1"});
    falkor__call_begin(&call, whole, &options);
    assert_true(falkor__topology_state(map, 0, &at));
    falkor__error_clear(&error);
    assert_int_equal(falkor__typed_lasts(&call, &at, &options, &error),
                     FALKOR_ERR_NOT_REPLICATED);
    test_assert_has(error.message, "may have been replaced");
    test_assert_has(error.message, "(node 10.0.0.0:7000)");
    options.wait_replicas = 0;
    assert_int_equal(falkor__typed_lasts(&call, &at, &options, &error),
                     FALKOR_OK);
    falkor__call_end(&call);
    erase();
}

/* An address more than a pool keeps: the error says how many that are. */
static void test_topology_too_many_addresses(void **state) {
    (void)state;
    falkor_error error;
    char limit[8];
    draw((falkor_options){.cluster = "127.0.0.1:1", .max_size = 1});
    for (int port = 1; map->count < FALKOR__MOST_NODES; port++)
        assert_non_null(falkor__node_at(map, "10.0.0.9", port, &error));
    assert_null(falkor__node_at(map, "10.0.0.9", 9999, &error));
    assert_int_equal(error.status, FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "10.0.0.9:9999 ");
    snprintf(limit, sizeof limit, " %d ", FALKOR__MOST_NODES);
    test_assert_has(error.message, limit);
    assert_ptr_equal(falkor__node_at(map, "10.0.0.0", 7000, &error), nodes[0]);
    erase();
}

/* A node in CLUSTER SLOTS. */
#define AT(host, port) \
    FALKOR_ARRAY_OF(falkor_string(host), falkor_int(port), falkor_string("id"))

static void test_topology_charts(void **state) {
    (void)state;
    static falkor__chart chart;
    falkor_error error;
    draw((falkor_options){.cluster = "10.0.0.0:7000"});
    const falkor__wire *asked = &map->wires[0];
    falkor_value good = FALKOR_ARRAY_OF(
        FALKOR_ARRAY_OF(falkor_int(0), falkor_int(8000), AT("?", 7000),
                        AT("10.0.0.1", 7001)),
        FALKOR_ARRAY_OF(falkor_int(8001), falkor_int(16383),
                        AT("10.0.0.2", 7002)));
    assert_int_equal(falkor__chart_fill(map, &good, asked, &chart, &error),
                     FALKOR_OK);
    assert_true(chart.owners[0] == 0 && chart.owners[8000] == 0);
    assert_true(chart.owners[8001] == 2 && chart.owners[16383] == 2);
    assert_true(chart.primaries[1] == 0 &&
                chart.primaries[2] == FALKOR__NO_NODE);
    assert_int_equal(falkor__chart_apply(map, &chart, &error), FALKOR_OK);
    assert_int_equal(nodes[2]->slots, 8383);
    assert_int_equal(nodes[2]->role, FALKOR_ROLE_PRIMARY);
    assert_int_equal(nodes[3]->role, FALKOR_ROLE_UNKNOWN);
    const falkor_value bad[] = {falkor_int(1), FALKOR_ARRAY_OF(falkor_int(1)),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(0), falkor_int(1))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(-1), falkor_int(1),
                                        AT("h", 1))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(0), falkor_int(16384),
                                        AT("h", 1))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_string("0"), falkor_int(1),
                                        AT("h", 1))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(0), falkor_string("1"),
                                        AT("h", 1))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(0), falkor_int(1),
                                        AT("h", 65536))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(0), falkor_int(1),
                                        falkor_int(2))),
        FALKOR_ARRAY_OF(FALKOR_ARRAY_OF(falkor_int(0), falkor_int(1),
                                        AT("h", 1), AT("h", 0)))};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        falkor__error_clear(&error);
        assert_int_equal(falkor__chart_fill(map, &bad[i], asked, &chart,
                                            &error), FALKOR_ERR_CONNECT);
        assert_true(error.message[0]);
    }
    assert_int_equal(falkor__chart_fill(map, NULL, asked, &chart, &error),
                     FALKOR_ERR_CONNECT);
    erase();
}

/* ---- rows of several nodes ---------------------------------------------- */

static falkor_result *reply_of(const char *text) {
    falkor_result *reply = falkor__reply_new(FALKOR__REPLY_PLAIN, NULL,
                                             &falkor__default_limits);
    size_t size, length = strlen(text);
    char *room = falkor__reply_room(reply, &size);
    assert_true(size >= length);
    memcpy(room, text, length);
    assert_int_equal(falkor__reply_feed(reply, length, NULL), FALKOR_OK);
    static const char *const columns[] = {"value"};
    falkor_value *cell = (falkor_value *)(uintptr_t)
        falkor_result_value(reply, 0, 0);
    falkor__result_table(reply, columns, 1, cell, 1);
    return reply;
}

/* Rows that are alike in all that a plain reply can be are one, or not. */
static void test_topology_joins_rows(void **state) {
    (void)state;
    static const char *const texts[] = {":1\r\n", ":2\r\n", "$1\r\na\r\n",
        "$1\r\nb\r\n", "*2\r\n:1\r\n$1\r\na\r\n", "*2\r\n:1\r\n$1\r\nb\r\n",
        "*1\r\n:1\r\n", "%1\r\n$1\r\nk\r\n:1\r\n",
        "%1\r\n$1\r\nk\r\n:2\r\n", "%1\r\n$1\r\nl\r\n:1\r\n", "#t\r\n",
        "#f\r\n", "$-1\r\n"};
    size_t count = sizeof texts / sizeof *texts;
    falkor_result *sum = reply_of(texts[0]);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < count; i++) {
            falkor_result *other = reply_of(texts[i]);
            assert_int_equal(falkor__join(sum, other, true, NULL), FALKOR_OK);
            falkor_result_free(other);  /* the rows are sum's own */
        }
    assert_int_equal(falkor_result_rows(sum), count);
    for (size_t i = 0; i < count; i++) {
        falkor_result *other = reply_of(texts[i]);
        assert_true(falkor__alike(falkor_result_value(sum, i, 0),
                                  falkor_result_value(other, 0, 0)));
        assert_int_equal(falkor__join(sum, other, false, NULL), FALKOR_OK);
        falkor_result_free(other);
    }
    assert_int_equal(falkor_result_rows(sum), 2 * count);
    falkor_result_free(sum);
}

/* ---- parts of a pipeline ------------------------------------------------ */

enum { REQUESTS = 4 };

/* What stays open of four requests, SET a, a, b, c, of which the last is not
   sent yet, after these ends of the others; maybe: the first. */
static const char *settled(falkor_status a, falkor_status b, falkor_status c,
                           bool maybe, bool idempotent) {
    static char open_ones[REQUESTS + 1];
    const char *const words[][3] = {{"SET", "a", "1"}, {"SET", "a", "2"},
        {"SET", "b", "3"}, {"SET", "c", "4"}};
    const falkor_status ends[] = {a, b, c, FALKOR_OK};
    falkor_request requests[REQUESTS], part[REQUESTS];
    bool open[REQUESTS] = {false, false, false, true};
    size_t places[] = {0, 1, 2};
    falkor__crossing crossing = {.requests = requests, .count = REQUESTS,
        .open = open, .part = part, .places = places, .part_count = 3};
    falkor__call_begin(&crossing.call, whole, NULL);
    for (size_t i = 0; i < REQUESTS; i++) {
        requests[i] = (falkor_request){.argc = 3, .argv = words[i],
            .idempotent = idempotent, .error.status = ends[i]};
        requests[i].error.maybe_executed = maybe && i == 0;
        part[i] = requests[i];
    }
    const falkor_error *why = falkor__part_settle(&crossing);
    for (size_t i = 0; i < REQUESTS; i++)
        open_ones[i] = open[i] ? 'y' : requests[i].error.status ? 'e' : 'n';
    assert_true(!why == !memchr(open_ones, 'y', 3));
    falkor__call_end(&crossing.call);
    return open_ones;
}

static void test_topology_refused_is_not_overtaken(void **state) {
    (void)state;
    const falkor_status ok = FALKOR_OK, moved = FALKOR_ERR_MOVED,
        lost = FALKOR_ERR_IO, wrong = FALKOR_ERR_QUERY;
    draw((falkor_options){.cluster = "127.0.0.1:1"});
    assert_string_equal(settled(ok, ok, ok, false, false), "nnny");
    assert_string_equal(settled(moved, moved, ok, false, false), "yyny");
    assert_string_equal(settled(ok, moved, moved, false, false), "nyyy");
    assert_string_equal(settled(moved, ok, moved, false, false), "enyy");
    assert_string_equal(settled(moved, wrong, ok, false, false), "eeny");
    assert_string_equal(settled(lost, lost, lost, false, false), "yyyy");
    assert_string_equal(settled(lost, lost, lost, true, false), "eeee");
    assert_string_equal(settled(lost, lost, lost, true, true), "yyyy");
    erase();
}

/* Where no node is known for it, a request says so, and what was before. */
static void test_topology_nowhere_to_go(void **state) {
    (void)state;
    const char *const words[] = {"SET", "a", "1"};
    falkor_request requests[2] = {{.argc = 3, .argv = words,
        .idempotent = true}, {.argc = 3, .argv = words}};
    bool open[2] = {true, true}, maybe[2] = {true, false};
    size_t places[2];
    draw((falkor_options){.cluster = "127.0.0.1:1", .max_retries = -1});
    falkor__crossing crossing = {.requests = requests, .count = 2,
        .attempt = 1, .open = open, .maybe = maybe, .places = places};
    falkor__call_begin(&crossing.call, whole, NULL);
    memset(&crossing.call.route, 0, sizeof crossing.call.route);
    falkor__cross(&crossing);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(requests[i].error.status, FALKOR_ERR_CONNECT);
        assert_int_equal(requests[i].error.attempts, 1);
        assert_int_equal(requests[i].error.maybe_executed, i == 0);
        assert_false(open[i]);
    }
    falkor__call_end(&crossing.call);
    erase();
}

/* What a part leaves behind is not overtaken by what is of its order, though
   that would go where the part goes. */
static void test_topology_none_overtakes(void **state) {
    (void)state;
    enum { READS = 9 };
    falkor_request requests[READS], part[READS];
    bool open[READS];
    size_t places[READS];
    falkor_pool *pool;
    falkor_error error;
    draw((falkor_options){.cluster = "127.0.0.1:1",
                          .read_from = FALKOR_READ_REPLICA});
    for (int slot = 0; slot < FALKOR__CLUSTER_SLOTS; slot++)
        map->owners[slot] = 0;
    nodes[2]->in_flight = nodes[3]->in_flight = 1;      /* as the first will */
    falkor_graph *first = falkor_select_graph(whole, "a");
    falkor_graph *other = falkor_select_graph(whole, "b");
    for (int i = 0; i < READS; i++) {
        requests[i] = (falkor_request){.graph = i ? other : first,
            .cypher = "RETURN 1", .read_only = true};
        open[i] = true;
    }
    falkor__crossing crossing = {.requests = requests, .count = READS,
        .open = open, .part = part, .places = places};
    falkor__call_begin(&crossing.call, whole, NULL);
    for (int turn = 0; turn < 3; turn++) {      /* three replicas in turn */
        assert_int_equal(falkor__gather(&crossing, 0, &pool, &error),
                         FALKOR_OK);
        assert_ptr_equal(pool, nodes[1]->pool);
        for (size_t k = 1; k < crossing.part_count; k++)
            assert_int_equal(places[k], k);
        falkor__topology_pause(&crossing.call.route);
        go((falkor__route){.slot = 0, .reads = true}, &error);
    }
    falkor__call_end(&crossing.call);
    falkor_graph_free(first);
    falkor_graph_free(other);
    erase();
}

/* A write that may be repeated is in doubt for ever once it was: also when the
   next part of it was not even sent. */
static void test_topology_doubt_stays(void **state) {
    (void)state;
    falkor_request request = {.idempotent = true};
    bool open = true, maybe = false;
    falkor__crossing crossing = {.requests = &request, .count = 1,
                                 .open = &open, .maybe = &maybe};
    const falkor_error lost = {.status = FALKOR_ERR_IO, .maybe_executed = true},
        refused = {.status = FALKOR_ERR_CONNECT}, good = {.status = FALKOR_OK};
    falkor__request_ends(&crossing, 0, NULL, &refused);
    assert_true(!open && !request.error.maybe_executed);
    falkor__request_ends(&crossing, 0, NULL, &lost);
    assert_true(request.error.maybe_executed);
    falkor__request_ends(&crossing, 0, NULL, &refused);
    assert_int_equal(request.error.status, FALKOR_ERR_CONNECT);
    assert_true(request.error.maybe_executed);
    falkor__request_ends(&crossing, 0, NULL, &good);
    assert_false(request.error.maybe_executed);
}

TEST_MAIN(cmocka_unit_test(test_topology_slots),
          cmocka_unit_test(test_topology_command_slots),
          cmocka_unit_test(test_topology_redirections),
          cmocka_unit_test(test_topology_lag),
          cmocka_unit_test(test_topology_too_far_behind),
          cmocka_unit_test(test_topology_votes),
          cmocka_unit_test(test_topology_replaced),
          cmocka_unit_test(test_topology_patience),
          cmocka_unit_test(test_topology_fields),
          cmocka_unit_test(test_topology_reads_go_to_replicas),
          cmocka_unit_test(test_topology_reads_want_a_replica),
          cmocka_unit_test(test_topology_reads_go_to_the_nearest),
          cmocka_unit_test(test_topology_failures),
          cmocka_unit_test(test_topology_follows_redirections),
          cmocka_unit_test(test_topology_lasting_writes),
          cmocka_unit_test(test_topology_lasting_while_asking),
          cmocka_unit_test(test_topology_deposed_once),
          cmocka_unit_test(test_topology_other_leaders),
          cmocka_unit_test(test_topology_counts_replicas),
          cmocka_unit_test(test_topology_lists_of_replicas),
          cmocka_unit_test(test_topology_nodes_begin),
          cmocka_unit_test(test_topology_told_in_vain),
          cmocka_unit_test(test_topology_too_many_addresses),
          cmocka_unit_test(test_topology_charts),
          cmocka_unit_test(test_topology_joins_rows),
          cmocka_unit_test(test_topology_refused_is_not_overtaken),
          cmocka_unit_test(test_topology_nowhere_to_go),
          cmocka_unit_test(test_topology_none_overtakes),
          cmocka_unit_test(test_topology_doubt_stays))
