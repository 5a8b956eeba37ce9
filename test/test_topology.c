/* What several servers say, read without any: slots of keys and commands,
   redirections, INFO, lists of replicas. test_sentinel.c and test_cluster.c
   have the servers. */
#include "../scout.c"
#include "../topology.c"
#include "testing.h"

enum { MS = 1000000 };

/* ---- slots ------------------------------------------------------------ */

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

/* ---- sentinels ------------------------------------------------------------ */

/* The newest configuration counts; of one age, who is not the primary so far:
   only the leader of a failover names it at first. */
static void test_topology_votes(void **state) {
    (void)state;
    falkor__wire wire = {.config = NULL};
    falkor__named nobody = {.by = NULL};
    falkor__named old = {.by = &wire, .epoch = 3};
    falkor__named led = {.by = &wire, .epoch = 3, .is_new = true};
    falkor__named later = {.by = &wire, .epoch = 4};
    falkor__named stale = {.by = &wire, .epoch = 2, .is_new = true};
    assert_true(falkor__outvotes(&old, &nobody));
    assert_true(falkor__outvotes(&led, &old));
    assert_false(falkor__outvotes(&old, &led));
    assert_true(falkor__outvotes(&later, &led));
    assert_false(falkor__outvotes(&stale, &old));
    assert_false(falkor__outvotes(&led, &later));
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

TEST_MAIN(cmocka_unit_test(test_topology_slots),
          cmocka_unit_test(test_topology_command_slots),
          cmocka_unit_test(test_topology_redirections),
          cmocka_unit_test(test_topology_lag),
          cmocka_unit_test(test_topology_too_far_behind),
          cmocka_unit_test(test_topology_votes),
          cmocka_unit_test(test_topology_fields))
