/* Configuration: defaults, ranges, URLs, the environment. No server. Secrets
   used here contain SECRET, and no message may ever show that. */
#include "../internal.h"
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static falkor_error error;
static falkor__config config;

static bool make(falkor_options options) {
    memset(&error, 0x5a, sizeof error);
    memset(&config, 0x5a, sizeof config);
    falkor_status status = falkor__config_make(&options, &config, &error);
    assert_int_equal(status, error.status);
    if (status == FALKOR_OK) {
        assert_string_equal(error.message, "");
        return true;
    }
    assert_int_equal(status, FALKOR_ERR_ARGUMENT);
    assert_null(strstr(error.message, "SECRET"));
    static const falkor__config nothing;
    assert_memory_equal(&config, &nothing, sizeof config);
    return false;
}

static bool make_url(const char *url) {
    return make((falkor_options){.url = url});
}

/* That options are refused, with a message that holds each of the words. */
static void refuse(falkor_options options, const char *word,
                   const char *other) {
    if (make(options)) {
        fail_msg("accepted, where \"%s\" was to be refused", word);
        return;
    }
    if (!strstr(error.message, word) || !strstr(error.message, other))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", error.message, word, other);
}

static void refuse_url(const char *url, const char *word) {
    refuse((falkor_options){.url = url}, word, "");
}

/* ---- defaults and ranges ---------------------------------------------- */

/* A2, A9, A19 */
static void test_options_defaults(void **state) {
    (void)state;
    assert_int_equal(falkor__config_make(NULL, &config, &error), FALKOR_OK);
    falkor__config_free(&config);
    assert_true(make((falkor_options){0}));
    assert_string_equal(config.host, "localhost");
    assert_null(config.unix_path);
    assert_int_equal(config.port, 6379);
    assert_null(config.username);
    assert_null(config.password);
    assert_null(config.client_name);
    assert_null(config.graph);
    assert_null(config.schema);
    assert_int_equal(config.database, 0);
    assert_int_equal(config.min_size, 5);
    assert_int_equal(config.max_size, 20);
    assert_int_equal(config.reserve_size, 0);
    assert_int_equal(config.reserve_after_ms, 0);
    assert_int_equal(config.max_waiters, -1);
    assert_int_equal(config.pool_timeout_ms, 10000);
    assert_int_equal(config.connect_timeout_ms, 5000);
    assert_int_equal(config.socket_timeout_ms, 30000);
    assert_int_equal(config.health_check_interval_ms, 30000);
    assert_int_equal(config.validate_after_ms, 1000);
    assert_int_equal(config.max_lifetime_ms, 3600000);
    assert_int_equal(config.idle_timeout_ms, 60000);
    assert_int_equal(config.leak_after_ms, -1);
    assert_int_equal(config.max_retries, 3);
    assert_int_equal(config.retry_initial_delay_ms, 100);
    assert_int_equal(config.retry_max_delay_ms, 2000);
    assert_true(config.retry_base == 2.0);
    assert_true(config.retry_jitter == 0.25);
    assert_null(config.driver.open);
    assert_null(config.sentinels);
    assert_null(config.cluster);
    assert_int_equal(config.read_from, FALKOR_READ_PRIMARY);
    assert_int_equal(config.max_lag_bytes, 1048576);
    assert_int_equal(config.max_lag_ms, 10000);
    falkor__config_free(&config);
}

/* One row per field of the options that is an int: its range, and what -1
   becomes in the config (REFUSED: an error). */
enum { REFUSED = INT_MIN };
static const struct { const char *name; size_t option, config;
                      int least, most, none; } ints[] = {
#define ROW(field, least, most, none) {#field, \
    offsetof(falkor_options, field), offsetof(falkor__config, field), \
    least, most, none}
    ROW(port, 1, 65535, REFUSED), ROW(database, 1, 1000000, 0),
    ROW(max_size, 1, 10000, REFUSED), ROW(min_size, 1, 10000, 0),
    ROW(max_waiters, 1, 1000000, -1), ROW(pool_timeout_ms, 1, INT_MAX, -1),
    ROW(connect_timeout_ms, 1, INT_MAX, -1),
    ROW(socket_timeout_ms, 1, INT_MAX, -1),
    ROW(health_check_interval_ms, 1, INT_MAX, -1),
    ROW(validate_after_ms, 1, INT_MAX, -1),
    ROW(max_lifetime_ms, 1, INT_MAX, -1), ROW(idle_timeout_ms, 1, INT_MAX, -1),
    ROW(max_retries, 1, 1000, 0), ROW(retry_initial_delay_ms, 1, INT_MAX, 0),
    ROW(retry_max_delay_ms, 1, INT_MAX, 0), ROW(reserve_size, 1, 10000, 0),
    ROW(reserve_after_ms, 1, INT_MAX, 0), ROW(leak_after_ms, 1, INT_MAX, -1),
    ROW(read_from, 1, FALKOR_READ_NEAREST, 0),
    ROW(max_lag_bytes, 1, INT_MAX, -1), ROW(max_lag_ms, 1, INT_MAX, -1),
};

static bool make_int(size_t row, int number) {
    falkor_options options = {0};
    if (strcmp(ints[row].name, "min_size") == 0)
        options.max_size = 10000;
    *(int *)(void *)((char *)&options + ints[row].option) = number;
    return make(options);
}

static int kept_int(size_t row) {
    return *(int *)(void *)((char *)&config + ints[row].config);
}

/* A2, A19 */
static void test_options_every_range(void **state) {
    (void)state;
    for (size_t row = 0; row < sizeof ints / sizeof *ints; row++) {
        int good[] = {ints[row].least, ints[row].most, -1};
        for (size_t i = 0; i < 3; i++) {
            if (good[i] == -1 && ints[row].none == REFUSED)
                continue;
            if (!make_int(row, good[i]))
                fail_msg("%s", error.message);
            assert_int_equal(kept_int(row),
                             good[i] == -1 ? ints[row].none : good[i]);
            falkor__config_free(&config);
        }
        int bad[] = {-2, INT_MIN, ints[row].none == REFUSED ? -1 : -2,
                     ints[row].most == INT_MAX ? -2 : ints[row].most + 1};
        for (size_t i = 0; i < 4; i++) {
            char value[16];
            assert_false(make_int(row, bad[i]));
            snprintf(value, sizeof value, "is %d", bad[i]);
            assert_non_null(strstr(error.message, ints[row].name));
            assert_non_null(strstr(error.message, value));
            snprintf(value, sizeof value, "to %d", ints[row].most);
            assert_non_null(strstr(error.message, value));
        }
    }
}

/* A2, A19 */
static void test_options_real_ranges(void **state) {
    (void)state;
    const double bases[] = {1, 1.5, 10}, jitters[] = {1e-9, 0.999, -1};
    const double no_bases[] = {0.99, 10.01, -1, NAN, INFINITY};
    const double no_jitters[] = {1, 1.5, -0.5, NAN, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        assert_true(make((falkor_options){.retry_base = bases[i]}));
        assert_true(config.retry_base == bases[i]);
        falkor__config_free(&config);
        assert_true(make((falkor_options){.retry_jitter = jitters[i]}));
        assert_true(config.retry_jitter
                    == (jitters[i] < 0 ? 0 : jitters[i]));
        falkor__config_free(&config);
    }
    for (size_t i = 0; i < 5; i++) {
        refuse((falkor_options){.retry_base = no_bases[i]}, "retry_base is",
               "1 to 10");
        refuse((falkor_options){.retry_jitter = no_jitters[i]},
               "retry_jitter is", "0 to 1 (both excluded)");
    }
}

/* A2, A19 */
static void test_options_sizes_agree(void **state) {
    (void)state;
    assert_true(make((falkor_options){.max_size = 2}));
    assert_int_equal(config.min_size, 2);
    falkor__config_free(&config);
    assert_true(make((falkor_options){.max_size = 2, .min_size = -1}));
    assert_int_equal(config.min_size, 0);
    falkor__config_free(&config);
    refuse((falkor_options){.max_size = 2, .min_size = 3}, "min_size is 3",
           "max_size 2");
    refuse((falkor_options){.min_size = 21}, "min_size is 21", "max_size 20");
}

static void test_options_retry_delays_agree(void **state) {
    (void)state;
    refuse((falkor_options){.retry_initial_delay_ms = 500,
           .retry_max_delay_ms = 499}, "retry_max_delay_ms is 499",
           "retry_initial_delay_ms 500");
    assert_true(make((falkor_options){.retry_initial_delay_ms = 5000}));
    assert_int_equal(config.retry_max_delay_ms, 5000);
    falkor__config_free(&config);
    assert_true(make((falkor_options){.retry_max_delay_ms = 10}));
    assert_int_equal(config.retry_initial_delay_ms, 10);
    falkor__config_free(&config);
    assert_true(make((falkor_options){.retry_max_delay_ms = -1}));
    assert_int_equal(config.retry_initial_delay_ms, 0);
    falkor__config_free(&config);
}

static falkor_status open_nothing(void *ctx, int64_t deadline_ns,
                                  void **handle, falkor_error *opening) {
    (void)ctx, (void)deadline_ns, (void)opening;
    *handle = NULL;
    return FALKOR_OK;
}
static void close_nothing(void *ctx, void *handle) {
    (void)ctx, (void)handle;
}

/* A19 */
static void test_options_contradictions(void **state) {
    (void)state;
    refuse((falkor_options){.url = "falkor://h", .host = "i"}, "url and host",
           "one of them");
    refuse((falkor_options){.url = "falkor://h", .unix_path = "/s"},
           "url and unix_path", "one of them");
    refuse((falkor_options){.host = "h", .unix_path = "/s"},
           "host and unix_path", "one of them");
    refuse((falkor_options){.host = "h", .cluster = "i"}, "host and cluster",
           "one of them");
    refuse((falkor_options){.sentinels = "h", .cluster = "i"},
           "sentinels and cluster", "one of them");
    refuse((falkor_options){.url = "falkor://h", .sentinels = "i"},
           "url and sentinels", "one of them");
    refuse((falkor_options){.sentinels = "h"}, "master_name", "");
    refuse((falkor_options){.master_name = "m"}, "master_name is set",
           "no sentinels");
    refuse((falkor_options){.sentinel_password = "SECRET"},
           "sentinel_password is set", "");
    refuse((falkor_options){.cluster = "h", .port = 7}, "port is 7",
           "host:port");
    refuse((falkor_options){.cluster = "h", .database = 2}, "database is 2",
           "");
    refuse((falkor_options){.cluster = "h", .driver = &(falkor_driver){
           .open = open_nothing, .close = close_nothing}}, "driver", "");
}

/* More servers than one, by URL and by options. */
static void test_options_several_servers(void **state) {
    (void)state;
    assert_true(make_url("falkor+sentinel://u:SECRET%2C@s1:1,s2,[::1]:3/g?"
        "master=m&sentinel_username=su&sentinel_password=sp&read_from=nearest&"
        "max_lag_bytes=5&max_lag=1.5"));
    assert_null(config.host);
    assert_null(config.cluster);
    assert_string_equal(config.sentinels, "s1:1,s2,[::1]:3");
    assert_string_equal(config.master_name, "m");
    assert_string_equal(config.username, "u");
    assert_string_equal(config.password, "SECRET,");
    assert_string_equal(config.sentinel_username, "su");
    assert_string_equal(config.sentinel_password, "sp");
    assert_string_equal(config.graph, "g");
    assert_int_equal(config.read_from, FALKOR_READ_NEAREST);
    assert_int_equal(config.max_lag_bytes, 5);
    assert_int_equal(config.max_lag_ms, 1500);
    falkor__config_free(&config);
    assert_true(make_url("falkor+cluster://n1,n2:7/g?read_from=PRIMARY"));
    assert_string_equal(config.cluster, "n1,n2:7");
    assert_null(config.sentinels);
    assert_int_equal(config.read_from, FALKOR_READ_PRIMARY);
    falkor__config_free(&config);
    assert_true(make((falkor_options){.sentinels = "h", .master_name = "m",
        .sentinel_username = "u"}));
    assert_string_equal(config.sentinel_password, "");
    falkor__config_free(&config);
    assert_true(make((falkor_options){.read_from = FALKOR_READ_REPLICA}));
    falkor__config_free(&config);       /* said to a single server: no harm */
}

static void test_options_lists_of_hosts(void **state) {
    (void)state;
    char host[FALKOR__HOST_SIZE];
    const char *list = " a , b:7,[::1], [::2]:9 ";
    const struct { const char *host; int port; } rows[] = {
        {"b", 7}, {"::1", 5}, {"::2", 9}};
    int port = 5;
    assert_false(falkor__next_host(&(const char *){"" }, host, &port));
    list = strchr(list, 'b');
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++, port = 5) {
        assert_true(falkor__next_host(&list, host, &port));
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
    assert_false(falkor__next_host(&list, host, &port));
    assert_non_null(list);
    static const char *const bad[] = {"a,", "a, ", ",a", "a,,b", ","};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(make((falkor_options){.cluster = bad[i]}));
        assert_non_null(strstr(error.message, "is none: write host1:port,"));
    }
    assert_false(make((falkor_options){.host = "a,b:7"}));
    assert_non_null(strstr(error.message, "\"a,b:7\", a list"));
    char longest[2 * FALKOR__HOST_SIZE];
    memset(longest, 'x', sizeof longest);
    longest[FALKOR__HOST_SIZE] = '\0';
    list = longest;
    assert_false(falkor__next_host(&list, host, &port));
    assert_null(list);
    longest[FALKOR__HOST_SIZE - 1] = '\0';
    list = longest;
    assert_true(falkor__next_host(&list, host, &port));
}

/* A node's pool is as the whole's, but for where it is. */
static void test_options_of_a_node(void **state) {
    (void)state;
    falkor__config node;
    assert_true(make((falkor_options){.url = "falkor+cluster://u:p@a,b/g?"
        "pool_max_size=3&read_from=replica"}));
    assert_int_equal(falkor__config_node(&config, "c", 7, &node, &error),
                     FALKOR_OK);
    assert_string_equal(node.host, "c");
    assert_int_equal(node.port, 7);
    assert_int_equal(node.max_size, 3);
    assert_string_equal(node.username, "u");
    assert_string_equal(node.password, "p");
    assert_string_equal(node.graph, "g");
    assert_string_equal(node.name, "cluster a");
    assert_null(node.cluster);
    assert_true(node.is_node && node.in_cluster);
    falkor__config_free(&node);
    falkor__config_free(&config);
}

/* A19 */
static void test_options_texts(void **state) {
    (void)state;
    refuse((falkor_options){.client_name = "two words"}, "client_name", "");
    refuse((falkor_options){.client_name = "line\n"}, "client_name", "");
    refuse((falkor_options){.client_name = "\xc3\xa9"}, "client_name", "");
    refuse((falkor_options){.host = "a\r\nb"}, "host", "");
    char path[200];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    refuse((falkor_options){.unix_path = path}, "unix_path", "199 bytes");
    assert_true(make((falkor_options){.host = "", .client_name = "",
        .graph = "", .username = "", .unix_path = "/tmp/s"}));
    assert_null(config.host);
    assert_null(config.client_name);
    assert_null(config.graph);
    assert_null(config.username);
    assert_null(config.password);
    falkor__config_free(&config);
}

static void test_options_are_copied(void **state) {
    (void)state;
    char host[] = "h1", user[] = "u1", password[] = "SECRET1", graph[] = "g1",
         name[] = "n1", first[] = "s1", second[] = "s2";
    const char *schema[] = {first, second, NULL};
    assert_true(make((falkor_options){.host = host, .username = user,
        .password = password, .graph = graph, .client_name = name,
        .schema = schema}));
    host[0] = user[0] = password[0] = graph[0] = name[0] = first[0] = 'X';
    schema[1] = NULL;
    assert_string_equal(config.host, "h1");
    assert_string_equal(config.username, "u1");
    assert_string_equal(config.password, "SECRET1");
    assert_string_equal(config.graph, "g1");
    assert_string_equal(config.client_name, "n1");
    assert_string_equal(config.schema[0], "s1");
    assert_string_equal(config.schema[1], "s2");
    assert_null(config.schema[2]);
    falkor__config_free(&config);
    falkor__config_free(&config);
}

static void test_options_driver_needs_open_and_close(void **state) {
    (void)state;
    falkor_driver driver = {.open = open_nothing};
    refuse((falkor_options){.driver = &driver}, "driver", "no close");
    driver = (falkor_driver){.close = close_nothing};
    refuse((falkor_options){.driver = &driver}, "driver", "no open");
    driver.open = open_nothing;
    assert_true(make((falkor_options){.driver = &driver,
                                      .driver_ctx = &driver}));
    assert_true(config.driver.open == open_nothing);
    assert_ptr_equal(config.driver_ctx, &driver);
    falkor__config_free(&config);
}

static void test_options_user_without_password(void **state) {
    (void)state;
    assert_true(make((falkor_options){.username = "ada"}));
    assert_string_equal(config.password, "");
    falkor__config_free(&config);
}

/* ---- URL -------------------------------------------------------------- */

static const char *shown(const char *text) {
    return text ? text : "-";
}

/* A19, F */
static void test_options_url_forms(void **state) {
    (void)state;
    static const struct { const char *url, *expected; } rows[] = {
        {"falkor://", "localhost - 6379 - - - 0"},
        {"falkor:///", "localhost - 6379 - - - 0"},
        {"falkor://h", "h - 6379 - - - 0"},
        {"FALKOR://h/", "h - 6379 - - - 0"},
        {"falkor://h:", "h - 6379 - - - 0"},
        {"falkor://:7000", "localhost - 7000 - - - 0"},
        {"falkor://h:1/g", "h - 1 - - g 0"},
        {"falkor://h:65535/123", "h - 65535 - - 123 0"},
        {"falkor:///g", "localhost - 6379 - - g 0"},
        {"falkor://h?graph=g&db=3", "h - 6379 - - g 3"},
        {"falkor://h/?db=0", "h - 6379 - - - 0"},
        {"falkor://h/g?", "h - 6379 - - g 0"},
        {"falkor://u:p@h/g", "h - 6379 u p g 0"},
        {"falkor://:p@h", "h - 6379 - p - 0"},
        {"falkor://u@h", "h - 6379 u  - 0"},
        {"falkor://u:@h", "h - 6379 u  - 0"},
        {"falkor://@h", "h - 6379 - - - 0"},
        {"falkor://u:a:b@h", "h - 6379 u a:b - 0"},
        {"falkor://u:a@b@h", "h - 6379 u a@b - 0"},
        {"falkor://%75:%3a%40%2F%3f%23%25%FF@%68/a%2Fb%20c",
         "h - 6379 u :@/?#%\xff a/b c 0"},
        {"falkor://[::1]", "::1 - 6379 - - - 0"},
        {"falkor://u:p@[fe80::1%25eth0]:7/g", "fe80::1%eth0 - 7 u p g 0"},
        {"redis://h/4", "h - 6379 - - - 4"},
        {"redis://h/0", "h - 6379 - - - 0"},
        {"redis://h/g", "h - 6379 - - g 0"},
        {"redis://u:p@h:7/1?graph=5", "h - 7 u p 5 1"},
        {"unix:///run/f.sock", "- /run/f.sock 6379 - - - 0"},
        {"unix:///run/f.sock?graph=g&db=2", "- /run/f.sock 6379 - - g 2"},
        {"unix:///a%20b", "- /a b 6379 - - - 0"},
        {"unix://u:p@/s", "- /s 6379 u p - 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char found[200];
        if (!make_url(rows[i].url))
            fail_msg("%s: %s", rows[i].url, error.message);
        snprintf(found, sizeof found, "%s %s %d %s %s %s %d",
                 shown(config.host), shown(config.unix_path), config.port,
                 shown(config.username), shown(config.password),
                 shown(config.graph), config.database);
        falkor__config_free(&config);
        assert_string_equal(found, rows[i].expected);
    }
}

/* A19, F, R7 */
static void test_options_url_refused(void **state) {
    (void)state;
    static const struct { const char *url, *word; } rows[] = {
        {"", "must begin with falkor://"},
        {"h:6379", "must begin with falkor://"},
        {"SECRET@h", "must begin with falkor://"},
        {"u:SECRET@h://", "must begin with falkor://"},
        {"http://h", "unknown scheme \"http\""},
#ifndef FALKOR_TLS
        {"falkors://h", "this build has no TLS"},
        {"rediss://u:SECRET@h", "this build has no TLS"},
#endif
        {"falkor://h?tls_ca_file=c", "tls_ca_file is set, but TLS is off"},
        {"redis://h?tls_skip_verify=1", "tls_skip_verify is set, but TLS is"},
        {"unix:///s?tls_server_name=n", "tls_server_name is set, but TLS is"},
        {"falkors://h?tls_ca_file=", "tls_ca_file is empty"},
        {"falkors://h?tls_ca_file=a&tls_ca_file=b", "tls_ca_file is given"},
        {"falkors://h?tls_skip_verify=0&tls_skip_verify=1",
         "tls_skip_verify is given twice"},
        {"falkors://h?tls_skip_verify=maybe", "true or false"},
        {"falkors://h?tls_skip_verify=", "true or false"},
        {"falkors://h?tls_cert_file=c", "tls_key_file is not"},
        {"falkors://h?tls_key_file=k", "tls_cert_file is not"},
        {"falkors://h?tls=1", "\"tls\""},
        {"falkors://h?TLS_CA_FILE=a", "\"TLS_CA_FILE\""},
        {"falkor://h:0", "port"}, {"falkor://h:65536", "port"},
        {"falkor://h:-1", "port"}, {"falkor://h:6379x", "port"},
        {"falkor://h:99999999999999999999", "port"},
        {"falkor://u:SECRET", "port"},
        {"falkor://u:SECRET/g", "port"},
        {"falkor://::1", "[address]"},
        {"falkor://[::1", "brackets"}, {"falkor://[]", "brackets"},
        {"falkor://[::1]7", "[address]"},
        {"falkor://u:SECRET%@h", "percent"},
        {"falkor://u:SECRET%2@h", "percent"},
        {"falkor://u:SECRET%zz@h", "percent"},
        {"falkor://u:SECRET%00@h", "percent"},
        {"falkor://u:12/SECRET@h", "%2F"},
        {"falkor://u:12?SECRET=1@h", "%3F"},
        {"falkor://u:12#SECRET@h", "%23"},
        {"falkor://h/a/b", "%2F"}, {"falkor://h/a/", "%2F"},
        {"falkor://h/g?graph=f", "graph is given twice"},
        {"redis://h/1?db=1", "db is given twice"},
        {"redis://h/1000001", "db is"},
        {"falkor://h?db=1&db=1", "db is given twice"},
        {"falkor://h?pool_timeout=1&pool_timeout=2", "pool_timeout is given"},
        {"falkor://h?pool_szie=1", "\"pool_szie\""},
        {"falkor://h?POOL_TIMEOUT=1", "\"POOL_TIMEOUT\""},
        {"falkor://h?port=1", "\"port\""},
        {"falkor://h?host=h", "\"host\""},
        {"falkor://h?password=SECRET", "\"password\""},
        {"falkor://h?%53ECRET%20=1", "a key behind the ?"},
        {"falkor://h?pool_timeout", "key=value"},
        {"falkor://h?&db=1", "key=value"},
        {"falkor://h?=1", "a key behind the ?"},
        {"falkor://h?graph=", "graph is empty"},
        {"falkor://h?pool_max_size=0", "pool_max_size is \"0\""},
        {"falkor://h?pool_max_size=10001", "1 to 10000"},
        {"falkor://h?pool_max_size=1.0", "pool_max_size is \"1.0\""},
        {"falkor://h?pool_max_size=", "pool_max_size is \"\""},
        {"falkor://h?pool_timeout=0", "pool_timeout is \"0\""},
        {"falkor://h?pool_timeout=-1", "pool_timeout is \"-1\""},
        {"falkor://h?socket_timeout=0.0", "socket_timeout is"},
        {"falkor://h?connect_timeout=0", "connect_timeout is"},
        {"falkor://h?pool_timeout=1e3", "pool_timeout is"},
        {"falkor://h?pool_timeout=.", "pool_timeout is"},
        {"falkor://h?pool_timeout=+1", "pool_timeout is"},
        {"falkor://h?pool_timeout=1,5", "pool_timeout is"},
        {"falkor://h?pool_timeout=1%20", "pool_timeout is"},
        {"falkor://h?pool_timeout=nan", "pool_timeout is"},
        {"falkor://h?pool_timeout=2147483.648", "2147483.647"},
        {"falkor://h?pool_timeout=99999999999999999999999", "2147483.647"},
        {"falkor://h?pool_pre_ping=maybe", "true or false"},
        {"falkor://h?pool_min_size=3&pool_max_size=2", "min_size is 3"},
        {"unix://", "unix:///path"}, {"unix:///", "unix:///path"},
        {"unix://host/path", "unix:///path"},
        {"unix:///s?path=x", "\"path\""},
        {"falkor://a%20b", "host"},
        {"falkor+sentinel://h/g", "?master=name"},
        {"falkor+sentinel://?master=m", "names no host"},
        {"falkor+sentinel:///g?master=m", "names no host"},
        {"falkor+sentinel://u:SECRET?master=m", "the host number 1"},
        {"falkor+sentinel://u:SECRET/g?master=m", "the host number 1"},
        {"falkor+sentinel://h,i:0?master=m", "the host number 2"},
        {"falkor+sentinel://h,i:65536?master=m", "the host number 2"},
        {"falkor+sentinel://h:1:2?master=m", "the host number 1"},
        {"falkor+sentinel://h,?master=m&master=n", "master is given twice"},
        {"falkor+sentinel://h?master=", "master is empty"},
        {"falkor+sentinel://h%20i?master=m", "the host number 1"},
        {"falkor+sentinel://[::1?master=m", "the host number 1"},
        {"falkor+sentinel://[]?master=m", "the host number 1"},
        {"falkor+sentinel://[::1]x?master=m", "the host number 1"},
        {"falkor+cluster://", "names no host"},
        {"falkor+cluster://,", "the host number 1"},
        {"falkor+cluster://h?master=m", "there are no sentinels"},
        {"falkor+cluster://h?sentinel_password=SECRET", "no sentinels"},
        {"falkor+cluster://h?db=1", "a cluster has only 0"},
        {"falkor+cluster://h?read_from=anybody", "prefer_replica"},
        {"falkor+cluster://h?max_lag=0.0001s", "max_lag is"},
        {"falkor+cluster://h/a/b", "%2F"},
        {"falkor://h?sentinel_username=u", "sentinel_username is set"},
        {"falkor+nodes://h", "falkor+sentinel://"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse_url(rows[i].url, rows[i].word);
}

/* A19, F */
static void test_options_url_settings(void **state) {
    (void)state;
    assert_true(make_url("falkor://h?pool_max_size=30&pool_min_size=0&"
        "pool_timeout=1.5&socket_timeout=0.0001&connect_timeout=2147483.647&"
        "health_check_interval=0&pool_recycle=12.3451&idle_timeout=0.0&"
        "pool_reserve=0&pool_pre_ping=TRUE&max_retries=0&"
        "retry_initial_delay=.25&retry_max_delay=1.&breaker_failures=0&"
        "breaker_max_delay=0.5"));
    assert_int_equal(config.max_size, 30);
    assert_int_equal(config.min_size, 0);
    assert_int_equal(config.pool_timeout_ms, 1500);
    assert_int_equal(config.socket_timeout_ms, 1);
    assert_int_equal(config.connect_timeout_ms, INT_MAX);
    assert_int_equal(config.health_check_interval_ms, -1);
    assert_int_equal(config.max_lifetime_ms, 12346);
    assert_int_equal(config.idle_timeout_ms, -1);
    assert_int_equal(config.validate_after_ms, 1);
    assert_int_equal(config.max_retries, 0);
    assert_int_equal(config.retry_initial_delay_ms, 250);
    assert_int_equal(config.retry_max_delay_ms, 1000);
    assert_int_equal(config.breaker_failures, -1);
    assert_int_equal(config.breaker_max_delay_ms, 500);
    falkor__config_free(&config);
    assert_true(make_url("falkor://h?pool_pre_ping=0"));
    assert_int_equal(config.validate_after_ms, 1000);
    falkor__config_free(&config);
}

/* A19, F */
static void test_options_fields_win_over_url(void **state) {
    (void)state;
    assert_true(make((falkor_options){.port = 9, .username = "v",
        .password = "q", .graph = "f", .database = -1, .max_size = 7,
        .url = "falkor://u:p@h:7/g?db=5&pool_max_size=6&pool_timeout=3"}));
    assert_string_equal(config.host, "h");
    assert_int_equal(config.port, 9);
    assert_string_equal(config.username, "v");
    assert_string_equal(config.password, "q");
    assert_string_equal(config.graph, "f");
    assert_int_equal(config.database, 0);
    assert_int_equal(config.max_size, 7);
    assert_int_equal(config.pool_timeout_ms, 3000);
    falkor__config_free(&config);
}

static void test_options_numbers_in_any_locale(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"};
    for (size_t i = 0; i < 3 && !setlocale(LC_ALL, names[i]); i++)
        continue;
    assert_true(make_url("falkor://h?pool_timeout=1.5"));
    assert_int_equal(config.pool_timeout_ms, 1500);
    falkor__config_free(&config);
    refuse_url("falkor://h?pool_timeout=1,5", "pool_timeout");
    setlocale(LC_ALL, "C");
}

/* Every single-byte damage to a URL that is full of features either still
   makes a config or says why not, and never shows the secret. */
/* A19, F, R7 */
static void test_options_url_damaged(void **state) {
    (void)state;
    static const char good[] =
        "falkor://user:SECRET-SECRET-SECRET@[::1]:6379/g?db=1&pool_timeout=2";
    static const char marks[] = ":/?#@&=[]% \n\xff" "0a.";
    char url[sizeof good + 1];
    for (size_t at = 0; at < sizeof good - 1; at++)
        for (size_t mark = 0; mark < sizeof marks; mark++) {
            strcpy(url, good);
            url[at] = marks[mark];              /* the last one cuts it */
            if (make_url(url))
                falkor__config_free(&config);
            memmove(url + at, good + at + 1, sizeof good - at - 1);
            if (make_url(url))                  /* one byte less */
                falkor__config_free(&config);
            url[at] = marks[mark];              /* one byte more */
            strcpy(url + at + 1, good + at);
            if (make_url(url))
                falkor__config_free(&config);
        }
}

/* ---- TLS -------------------------------------------------------------- */

static void test_options_tls_contradictions(void **state) {
    (void)state;
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    refuse((falkor_options){.tls_ca_file = "c"}, "tls_ca_file is set",
           "set tls, or begin the url with falkors://");
    refuse((falkor_options){.tls_cert_file = "c", .tls_key_file = "k"},
           "_file is set", "TLS is off");
    refuse((falkor_options){.tls_server_name = "n"}, "tls_server_name is set",
           "TLS is off");
    refuse((falkor_options){.tls_skip_verify = true}, "tls_skip_verify is set",
           "TLS is off");
    refuse((falkor_options){.tls = true, .unix_path = "/s"},
           "tls and unix_path", "one of them");
    refuse((falkor_options){.tls = true, .url = "unix:///s"},
           "tls and unix_path", "one of them");
    refuse((falkor_options){.tls = true, .tls_cert_file = "c"},
           "tls_cert_file is set, but tls_key_file is not", "set both");
    refuse((falkor_options){.tls = true, .tls_key_file = "k",
           .tls_cert_file = ""}, "tls_key_file is set, but tls_cert_file",
           "set both");
    refuse((falkor_options){.tls = true, .tls_server_name = "a b"},
           "tls_server_name", "use a name");
    refuse((falkor_options){.tls = true, .tls_server_name = name},
           "tls_server_name", "255 bytes");
    assert_true(make((falkor_options){.tls_ca_file = "", .tls_cert_file = "",
        .tls_key_file = "", .tls_server_name = ""}));
    assert_null(config.tls.ca_file);
    assert_false(config.tls.on);
    falkor__config_free(&config);
}

#ifdef FALKOR_TLS
static void test_options_tls(void **state) {
    (void)state;
    char ca[] = "c1", name[] = "n1";
    assert_true(make((falkor_options){.tls = true, .tls_ca_file = ca,
        .tls_cert_file = "c2", .tls_key_file = "k", .tls_server_name = name}));
    ca[0] = name[0] = 'X';
    assert_true(config.tls.on);
    assert_false(config.tls.skip_verify);
    assert_string_equal(config.tls.ca_file, "c1");
    assert_string_equal(config.tls.cert_file, "c2");
    assert_string_equal(config.tls.key_file, "k");
    assert_string_equal(config.tls.server_name, "n1");
    falkor__config_free(&config);
    assert_true(make_url("FALKORS://u:SECRET@h:7/g?tls_ca_file=%2Fa%20b&"
        "tls_cert_file=c&tls_key_file=k&tls_server_name=n&"
        "tls_skip_verify=true"));
    assert_true(config.tls.on && config.tls.skip_verify);
    assert_string_equal(config.tls.ca_file, "/a b");
    assert_string_equal(config.tls.cert_file, "c");
    assert_string_equal(config.tls.key_file, "k");
    assert_string_equal(config.tls.server_name, "n");
    assert_int_equal(config.port, 7);
    falkor__config_free(&config);
    assert_true(make_url("rediss://h/4"));
    assert_true(config.tls.on);
    assert_int_equal(config.database, 4);
    falkor__config_free(&config);
    assert_true(make((falkor_options){.tls_ca_file = "own", .tls = true,
        .url = "falkor://h?tls_ca_file=url&tls_server_name=url"}));
    assert_string_equal(config.tls.ca_file, "own");
    assert_string_equal(config.tls.server_name, "url");
    falkor__config_free(&config);
}
#endif

/* ---- environment ------------------------------------------------------ */

static const char *const variables[] = {"FALKORDB_URL", "FALKORDB_HOST",
    "FALKORDB_PORT", "FALKORDB_USERNAME", "FALKORDB_PASSWORD", "FALKORDB_DB",
    "GRAPH_NAME", "DB_POOL_MIN_SIZE", "DB_POOL_MAX_SIZE", "DB_POOL_TIMEOUT",
    "DB_SOCKET_TIMEOUT", "DB_CONNECT_TIMEOUT", "DB_HEALTH_CHECK_INTERVAL",
    "DB_POOL_RECYCLE", "DB_IDLE_TIMEOUT", "DB_POOL_RESERVE",
    "DB_POOL_PRE_PING", "DB_MAX_RETRIES", "DB_RETRY_INITIAL_DELAY",
    "DB_RETRY_MAX_DELAY", "DB_BREAKER_FAILURES", "DB_BREAKER_MAX_DELAY",
    "DB_READ_FROM", "DB_MAX_LAG_BYTES", "DB_MAX_LAG", "FALKORDB_POOL_SIZE", "DB_TLS_CA_FILE",
    "DB_TLS_CERT_FILE", "DB_TLS_KEY_FILE", "DB_TLS_SERVER_NAME",
    "DB_TLS_SKIP_VERIFY"};
enum { VARIABLES = sizeof variables / sizeof *variables };

static char *saved[VARIABLES];

static int clear_environment(void **state) {
    (void)state;
    for (size_t i = 0; i < VARIABLES; i++) {
        const char *value = getenv(variables[i]);
        saved[i] = value ? strdup(value) : NULL;
        unsetenv(variables[i]);
    }
    return 0;
}

static int restore_environment(void **state) {
    (void)state;
    for (size_t i = 0; i < VARIABLES; i++) {
        if (saved[i])
            setenv(variables[i], saved[i], 1);
        else
            unsetenv(variables[i]);
        free(saved[i]);
    }
    return 0;
}

static falkor_options from_env(falkor_options options) {
    memset(&error, 0x5a, sizeof error);
    if (falkor_options_from_env(&options, &error) != FALKOR_OK)
        fail_msg("%s", error.message);
    assert_int_equal(error.status, FALKOR_OK);
    return options;
}

static void refuse_env(falkor_options options, const char *word) {
    falkor_options before = options;
    assert_int_equal(falkor_options_from_env(&options, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_memory_equal(&options, &before, sizeof options);
    assert_null(strstr(error.message, "SECRET"));
    if (!strstr(error.message, word))
        fail_msg("\"%s\" lacks \"%s\"", error.message, word);
}

/* F */
static void test_options_env_empty(void **state) {
    (void)state;
    static const falkor_options nothing;
    for (size_t i = 0; i < VARIABLES; i++)
        setenv(variables[i], "", 1);
    falkor_options options = from_env(nothing);
    assert_memory_equal(&options, &nothing, sizeof options);
    assert_int_equal(falkor_options_from_env(NULL, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(falkor_options_from_env(NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
}

/* A19, F */
static void test_options_env_all(void **state) {
    (void)state;
    static const char *const values[] = {NULL, "h", "7", "u", "SECRET", "2",
        "g", "3", "9", "1.5", "2", "0.5", "60", "600", "5.0001", "0", "yes",
        "7", "0.2", "3", "8", "0.4"};
    for (size_t i = 1; i < sizeof values / sizeof *values; i++)
        setenv(variables[i], values[i], 1);
    falkor_options options = from_env((falkor_options){0});
    assert_null(options.url);
    assert_ptr_equal(options.host, getenv("FALKORDB_HOST"));
    assert_int_equal(options.port, 7);
    assert_string_equal(options.username, "u");
    assert_string_equal(options.password, "SECRET");
    assert_int_equal(options.database, 2);
    assert_string_equal(options.graph, "g");
    assert_int_equal(options.min_size, 3);
    assert_int_equal(options.max_size, 9);
    assert_int_equal(options.pool_timeout_ms, 1500);
    assert_int_equal(options.socket_timeout_ms, 2000);
    assert_int_equal(options.connect_timeout_ms, 500);
    assert_int_equal(options.health_check_interval_ms, 60000);
    assert_int_equal(options.max_lifetime_ms, 600000);
    assert_int_equal(options.idle_timeout_ms, 5001);
    assert_int_equal(options.reserve_size, -1);
    assert_int_equal(options.validate_after_ms, 1);
    assert_int_equal(options.max_retries, 7);
    assert_int_equal(options.retry_initial_delay_ms, 200);
    assert_int_equal(options.retry_max_delay_ms, 3000);
    assert_int_equal(options.breaker_failures, 8);
    assert_int_equal(options.breaker_max_delay_ms, 400);
    assert_true(make(options));
    falkor__config_free(&config);
}

/* F */
static void test_options_env_address_as_a_whole(void **state) {
    (void)state;
    setenv("FALKORDB_HOST", "envhost", 1);
    setenv("FALKORDB_PORT", "7", 1);
    setenv("FALKORDB_USERNAME", "envuser", 1);
    setenv("FALKORDB_PASSWORD", "SECRET", 1);
    setenv("GRAPH_NAME", "envgraph", 1);
    falkor_options own[] = {{.url = "falkor://h"}, {.host = "h"},
                            {.unix_path = "/s"}};
    for (size_t i = 0; i < 3; i++) {
        falkor_options options = from_env(own[i]);
        assert_ptr_equal(options.host, own[i].host);
        assert_int_equal(options.port, 0);
        assert_null(options.username);
        assert_null(options.password);
        if (own[i].url)
            assert_null(options.graph);
        else
            assert_string_equal(options.graph, "envgraph");
    }
    setenv("FALKORDB_URL", "falkor://urlhost", 1);
    falkor_options options = from_env((falkor_options){0});
    assert_ptr_equal(options.url, getenv("FALKORDB_URL"));
    assert_null(options.host);
    assert_int_equal(options.port, 0);
    assert_string_equal(options.username, "envuser");
    assert_string_equal(options.graph, "envgraph");
    assert_true(make(options));
    assert_string_equal(config.host, "urlhost");
    assert_int_equal(config.port, 6379);
    falkor__config_free(&config);
    setenv("FALKORDB_URL", "falkor://:SECRET@urlhost:8/urlgraph", 1);
    options = from_env((falkor_options){.graph = "own"});
    assert_null(options.username);
    assert_null(options.password);
    assert_string_equal(options.graph, "own");
    options = from_env((falkor_options){0});
    assert_null(options.graph);
    assert_true(make(options));
    assert_string_equal(config.graph, "urlgraph");
    falkor__config_free(&config);
}

/* F */
static void test_options_url_wins_over_env(void **state) {
    (void)state;
    setenv("DB_POOL_MAX_SIZE", "11", 1);
    setenv("DB_POOL_TIMEOUT", "12", 1);
    setenv("DB_POOL_PRE_PING", "true", 1);
    setenv("FALKORDB_DB", "3", 1);
    falkor_options options = from_env((falkor_options){.max_retries = 9,
        .url = "falkor://h?pool_max_size=8&db=0&pool_pre_ping=false"});
    assert_int_equal(options.max_size, 0);
    assert_int_equal(options.pool_timeout_ms, 12000);
    assert_true(make(options));
    assert_int_equal(config.max_size, 8);
    assert_int_equal(config.database, 0);
    assert_int_equal(config.validate_after_ms, 1000);
    assert_int_equal(config.max_retries, 9);
    falkor__config_free(&config);
    setenv("FALKORDB_URL", "falkor://h?pool_max_size=8", 1);
    options = from_env((falkor_options){.max_size = 4});
    assert_int_equal(options.max_size, 4);
    assert_true(make(options));
    assert_int_equal(config.max_size, 4);
    falkor__config_free(&config);
}

/* For the environment's own address, and where TLS is on. */
static void test_options_env_tls(void **state) {
    (void)state;
    setenv("DB_TLS_CA_FILE", "ca", 1);
    setenv("DB_TLS_CERT_FILE", "cert", 1);
    setenv("DB_TLS_KEY_FILE", "key", 1);
    setenv("DB_TLS_SERVER_NAME", "name", 1);
    setenv("DB_TLS_SKIP_VERIFY", "true", 1);
    falkor_options wanted[] = {{.tls = true}, {.tls = true, .host = "h"},
        {.url = "falkors://h"}, {.url = "rediss://h"}, {0}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        falkor_options options = from_env(wanted[i]);
        assert_ptr_equal(options.tls_ca_file, getenv("DB_TLS_CA_FILE"));
        assert_string_equal(options.tls_cert_file, "cert");
        assert_string_equal(options.tls_key_file, "key");
        assert_string_equal(options.tls_server_name, "name");
        assert_true(options.tls_skip_verify);
        assert_int_equal(options.tls, wanted[i].tls);
    }
    refuse(from_env((falkor_options){0}), "is set, but TLS is off", "");
    falkor_options others[] = {{.host = "h"}, {.url = "falkor://h"},
                               {.unix_path = "/s"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        falkor_options options = from_env(others[i]);
        assert_null(options.tls_ca_file);
        assert_false(options.tls_skip_verify);
        assert_true(make(options));
        falkor__config_free(&config);
    }
    falkor_options options = from_env((falkor_options){.tls_ca_file = "own",
        .url = "falkors://h?tls_skip_verify=false&tls_server_name=url"});
    assert_string_equal(options.tls_ca_file, "own");
    assert_null(options.tls_server_name);
    assert_false(options.tls_skip_verify);
    setenv("DB_TLS_SKIP_VERIFY", "no", 1);
    assert_false(from_env((falkor_options){.tls = true}).tls_skip_verify);
    assert_true(from_env((falkor_options){.tls = true,
                .tls_skip_verify = true}).tls_skip_verify);
}

/* A19, F, R7 */
static void test_options_env_malformed(void **state) {
    (void)state;
    static const char *const bad[] = {"x", "-1", " 1", "1x", "1e1",
                                      "99999999999999999999", "nan"};
    for (size_t i = 0; i < VARIABLES; i++) {
        if (strstr("FALKORDB_HOST FALKORDB_USERNAME FALKORDB_PASSWORD "
                   "GRAPH_NAME DB_TLS_CA_FILE DB_TLS_CERT_FILE "
                   "DB_TLS_KEY_FILE DB_TLS_SERVER_NAME", variables[i]))
            continue;
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            setenv(variables[i], bad[k], 1);
            refuse_env((falkor_options){.graph = "g"}, variables[i]);
        }
        unsetenv(variables[i]);
    }
    setenv("FALKORDB_URL", "falkor://u:SECRET", 1);
    refuse_env((falkor_options){0}, "FALKORDB_URL");
    refuse_env((falkor_options){.url = "falkor://u:SECRET"}, "url: ");
}

/* F */
static void test_options_env_zero(void **state) {
    (void)state;
    static const char *const refused[] = {"FALKORDB_PORT", "DB_POOL_MAX_SIZE",
        "DB_POOL_TIMEOUT", "DB_CONNECT_TIMEOUT", "DB_SOCKET_TIMEOUT",
        "FALKORDB_POOL_SIZE"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        setenv(refused[i], "0", 1);
        refuse_env((falkor_options){0}, refused[i]);
        unsetenv(refused[i]);
    }
    setenv("DB_POOL_MIN_SIZE", "0", 1);
    setenv("DB_HEALTH_CHECK_INTERVAL", "0", 1);
    setenv("DB_POOL_RECYCLE", "0.000", 1);
    setenv("DB_IDLE_TIMEOUT", "0", 1);
    setenv("DB_MAX_RETRIES", "0", 1);
    setenv("DB_RETRY_INITIAL_DELAY", "0", 1);
    falkor_options options = from_env((falkor_options){0});
    assert_int_equal(options.min_size, -1);
    assert_int_equal(options.health_check_interval_ms, -1);
    assert_int_equal(options.max_lifetime_ms, -1);
    assert_int_equal(options.idle_timeout_ms, -1);
    assert_int_equal(options.max_retries, -1);
    assert_int_equal(options.retry_initial_delay_ms, -1);
    assert_true(make(options));
    assert_int_equal(config.min_size, 0);
    assert_int_equal(config.max_retries, 0);
    assert_int_equal(config.retry_initial_delay_ms, 0);
    falkor__config_free(&config);
}

typedef struct heard { int count; char text[200]; } heard;

static void hear(void *ctx, const falkor_event *event) {
    heard *all = ctx;
    all->count++;
    snprintf(all->text, sizeof all->text, "%d %s %s", (int)event->level,
             event->name, event->message);
}

/* F */
static void test_options_env_older_name(void **state) {
    (void)state;
    heard all = {0};
    falkor_options own = {.on_event = hear, .event_ctx = &all};
    setenv("FALKORDB_POOL_SIZE", "12", 1);
    assert_int_equal(from_env(own).max_size, 12);
    assert_int_equal(all.count, 1);
    assert_string_equal(all.text, "1 deprecated_setting "
                        "name=FALKORDB_POOL_SIZE use=DB_POOL_MAX_SIZE");
    assert_int_equal(from_env((falkor_options){0}).max_size, 12);
    setenv("DB_POOL_MAX_SIZE", "13", 1);
    assert_int_equal(from_env(own).max_size, 13);
    assert_int_equal(all.count, 2);
}

/* ---- memory ----------------------------------------------------------- */

/* glibc lets a program bring its own malloc; a sanitizer brings one too. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) \
    || __has_feature(memory_sanitizer)
#define OTHER_MALLOC 1
#endif
#endif
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) \
    && !defined(__SANITIZE_THREAD__) && !defined(OTHER_MALLOC)
#define OWN_MALLOC                      /* else there is none to make fail */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
static int until_failure = -1;

static bool fails(void) {
    if (until_failure < 0)
        return false;
    return until_failure-- == 0;
}
void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}

static void test_options_no_memory(void **state) {
    (void)state;
    static const char *const schema[] = {"a", "b", NULL};
    falkor_options options = {.url = "falkor://u:SECRET@h/g", .schema = schema,
                              .client_name = "n"};
    int failures = 0;
    for (;; failures++) {
        until_failure = failures;
        falkor_status status = falkor__config_make(&options, &config, &error);
        until_failure = -1;
        if (status == FALKOR_OK)
            break;
        assert_int_equal(status, FALKOR_ERR_NOMEM);
        assert_null(config.host);
        assert_null(config.schema);
    }
    assert_int_equal(failures, 9);      /* the URL, 5 texts, 3 of the schema */
    falkor__config_free(&config);
#ifdef FALKOR_TLS
    options = (falkor_options){.tls = true, .tls_ca_file = "c",
                               .tls_server_name = "n"};
    for (failures = 0;; failures++) {
        until_failure = failures;
        falkor_status status = falkor__config_make(&options, &config, &error);
        until_failure = -1;
        if (status == FALKOR_OK)
            break;
        assert_int_equal(status, FALKOR_ERR_NOMEM);
        assert_null(config.tls.ca_file);
    }
    assert_int_equal(failures, 4);      /* the host, 2 texts, what is shared */
    falkor__config_free(&config);
#endif
}
#endif

#define ENV(test) cmocka_unit_test_setup_teardown(test, clear_environment, \
                                                  restore_environment)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_defaults),
        cmocka_unit_test(test_options_every_range),
        cmocka_unit_test(test_options_real_ranges),
        cmocka_unit_test(test_options_sizes_agree),
        cmocka_unit_test(test_options_retry_delays_agree),
        cmocka_unit_test(test_options_contradictions),
        cmocka_unit_test(test_options_several_servers),
        cmocka_unit_test(test_options_lists_of_hosts),
        cmocka_unit_test(test_options_of_a_node),
        cmocka_unit_test(test_options_texts),
        cmocka_unit_test(test_options_are_copied),
        cmocka_unit_test(test_options_driver_needs_open_and_close),
            cmocka_unit_test(test_options_user_without_password),
        cmocka_unit_test(test_options_url_forms),
        cmocka_unit_test(test_options_url_refused),
        cmocka_unit_test(test_options_url_settings),
        cmocka_unit_test(test_options_fields_win_over_url),
        cmocka_unit_test(test_options_numbers_in_any_locale),
        cmocka_unit_test(test_options_url_damaged),
        cmocka_unit_test(test_options_tls_contradictions),
#ifdef FALKOR_TLS
        cmocka_unit_test(test_options_tls),
#endif
        ENV(test_options_env_empty),
        ENV(test_options_env_all),
        ENV(test_options_env_address_as_a_whole),
        ENV(test_options_url_wins_over_env),
        ENV(test_options_env_tls),
        ENV(test_options_env_malformed),
        ENV(test_options_env_zero),
        ENV(test_options_env_older_name),
#ifdef OWN_MALLOC
        cmocka_unit_test(test_options_no_memory),
#endif
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
