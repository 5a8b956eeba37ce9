/* examples/health_server as those see it who ask it: build/health_server over
   HTTP, before the server of FALKORDB_URL and before private ones that go and
   come. */
#include "fleet.h"
#include "serving.h"
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_MS = 10000 };              /* for one answer */

/* ---- running it ------------------------------------------------------- */

typedef struct running { pid_t child; int port; } running;

/* Arguments, and NAME=VALUE for its environment: lists that end with NULL. */
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static pid_t spawn(const char *const *arguments, const char *const *environment,
                   int output, int errors) {
    char path[4096];
    const char *folder = getenv("FALKOR_OUT"), *argv[16] = {path};
    snprintf(path, sizeof path, "%s/health_server", folder ? folder : "build");
    for (size_t i = 0; arguments[i]; i++)
        argv[i + 1] = arguments[i];
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    for (; environment && *environment; environment++)
        putenv((char *)(uintptr_t)*environment);
    dup2(output, 1);
    dup2(errors, 2);
    alarm(60);                          /* one that is forgotten dies */
    execv(path, (char **)(uintptr_t)argv);
    _exit(99);
}

/* Starts it on a free port, which it prints. */
static running start(const char *const *arguments,
                   const char *const *environment) {
    const char *all[12] = {"0"};
    char line[200] = "";
    size_t length = 0;
    int out[2], nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    running made = {.port = 0};
    for (size_t i = 0; arguments && arguments[i]; i++)
        all[i + 1] = arguments[i];
    assert_int_equal(pipe(out), 0);
    fcntl(out[0], F_SETFD, FD_CLOEXEC);
    made.child = spawn(all, environment, out[1], nowhere);
    close(out[1]);
    close(nowhere);
    while (length + 1 < sizeof line && read(out[0], line + length, 1) == 1 &&
           line[length] != '\n')
        length++;
    close(out[0]);
    if (sscanf(line, "health_server: http://127.0.0.1:%d/", &made.port) != 1)
        fail_msg("it said \"%s\"", line);
    return made;
}

/* Its exit status, or 1000 and the signal. */
static int await_end(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void stop(running *watch) {
    kill(watch->child, SIGTERM);
    assert_int_equal(await_end(watch->child), 0);
}

/* ---- asking it -------------------------------------------------------- */

typedef struct answer {
    int status;
    char *body;                         /* of text */
    char text[1 << 18];
} answer;
static answer last;

static int dial(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
    struct timeval limit = {.tv_sec = LIMIT_MS / 1000};
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
                                sizeof limit), 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        fail_msg("port %d: %s", port, strerror(errno));
    return fd;
}

/* The answer is in last; returns its status. */
static int ask(const running *watch, const char *method, const char *path) {
    char request[300];
    size_t length = 0;
    int fd = dial(watch->port), size = snprintf(request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n", method, path);
    assert_int_equal(send(fd, request, (size_t)size, MSG_NOSIGNAL), size);
    for (ssize_t got; (got = recv(fd, last.text + length,
                                  sizeof last.text - 1 - length, 0)) != 0;
         length += (size_t)got)
        if (got < 0)
            fail_msg("%s %s: %s", method, path, strerror(errno));
    close(fd);
    last.text[length] = '\0';
    last.body = strstr(last.text, "\r\n\r\n");
    if (!last.body || sscanf(last.text, "HTTP/1.1 %d", &last.status) != 1)
        fail_msg("%s %s: no answer but \"%s\"", method, path, last.text);
    *last.body = '\0';
    last.body += 4;
    return last.status;
}

/* The value of a header of the last answer. */
static const char *header(const char *name) {
    static char value[300];
    for (const char *line = last.text; (line = strstr(line, "\r\n")) != NULL;) {
        line += 2;
        if (strncasecmp(line, name, strlen(name)) == 0 &&
            sscanf(line + strlen(name), ": %299[^\r]", value) == 1)
            return value;
    }
    return "";
}

static cJSON *document(const running *watch) {
    ask(watch, "GET", "/health");
    cJSON *json = cJSON_Parse(last.body);
    if (!json)
        fail_msg("no JSON: %s", last.body);
    return json;
}

/* A number of its pool object. */
static int pool_number(const running *watch, const char *name) {
    cJSON *json = document(watch);
    const cJSON *found = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "pool"),
                                             name);
    assert_true(cJSON_IsNumber(found));
    int number = found->valueint;
    cJSON_Delete(json);
    return number;
}

static bool is_open(const running *watch) {
    cJSON *json = document(watch);
    bool open = cJSON_IsTrue(cJSON_GetObjectItem(
        cJSON_GetObjectItem(json, "pool"), "initialized"));
    cJSON_Delete(json);
    return open;
}

static bool knows_server(const running *watch) {
    cJSON *json = document(watch);
    bool known = cJSON_GetObjectItem(json, "server") != NULL;
    cJSON_Delete(json);
    return known;
}

static running start_open(const char *const *arguments,
                        const char *const *environment) {
    running made = start(arguments, environment);
    TEST_EVENTUALLY(is_open(&made));
    return made;
}

/* The verdict is that, and one of its reasons is the fault of that one. */
static bool blames(const running *watch, const char *verdict,
                   const char *fault) {
    cJSON *json = document(watch);
    const cJSON *reason, *health = cJSON_GetObjectItem(json, "health");
    bool found = false;
    cJSON_ArrayForEach(reason, cJSON_GetObjectItem(health, "reasons"))
        found = found || strcmp(cJSON_GetObjectItem(reason,
            "fault")->valuestring, fault) == 0;
    found = found && strcmp(cJSON_GetObjectItem(health,
        "verdict")->valuestring, verdict) == 0;
    cJSON_Delete(json);
    return found;
}

/* ---- what it serves --------------------------------------------------- */

/* D3 */
static void test_health_document_has_the_names_of_monitoring(void **state) {
    static const char *const numbers[] = {"max_connections", "pool_size",
        "active_connections", "idle_connections", "utilization_percent",
        "total_queries", "total_retries", "total_acquires", "total_releases",
        "total_timeouts", "total_health_failures", "connections_created",
        "connections_recycled", "connections_failed", "avg_wait_time_ms",
        "p95_acquire_time_ms", "max_acquire_time_ms"};
    (void)state;
    running watch = start_open(LIST("--name", "orders"),
                             LIST("DB_POOL_MAX_SIZE=7"));
    TEST_EVENTUALLY(knows_server(&watch));
    cJSON *json = document(&watch);
    const cJSON *pool = cJSON_GetObjectItem(json, "pool");
    assert_int_equal(last.status, 200);
    assert_string_equal(header("Content-Type"), "application/json");
    assert_string_equal(header("Cache-Control"), "no-store");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!cJSON_IsNumber(cJSON_GetObjectItem(pool, numbers[i])))
            fail_msg("no number %s", numbers[i]);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(pool, "initialized")));
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(pool, "closed")));
    assert_string_equal(cJSON_GetObjectItem(pool, "name")->valuestring,
                        "orders");
    assert_int_equal(cJSON_GetObjectItem(pool, "max_connections")->valueint,
                     7);
    const cJSON *server = cJSON_GetObjectItem(json, "server");
    assert_true(cJSON_GetObjectItem(server, "connected_clients")->valueint > 0);
    cJSON_Delete(json);
    stop(&watch);
}

static void test_health_metrics(void **state) {
    static const char *const families[] = {"connections", "max_connections",
        "waiting_threads", "utilization_ratio", "queries_total",
        "acquire_wait_seconds", "hold_seconds", "query_duration_seconds",
        "dial_duration_seconds", "health_check_duration_seconds",
        "health_verdict", "open"};
    (void)state;
    running watch = start_open(LIST("--name", "a \"b\" \\c"), NULL);
    assert_int_equal(ask(&watch, "GET", "/metrics"), 200);
    assert_string_equal(header("Content-Type"),
                        "text/plain; version=0.0.4; charset=utf-8");
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char line[80];
        snprintf(line, sizeof line, "# TYPE falkorpool_%s ", families[i]);
        test_assert_has(last.body, line);
    }
    test_assert_has(last.body, "falkorpool_open{pool=\"a \\\"b\\\" \\\\c\"");
    stop(&watch);
}

/* Nothing from elsewhere: what begins with a scheme is SVG's own name. */
static void test_health_page(void **state) {
    (void)state;
    running watch = start(NULL, NULL);
    assert_int_equal(ask(&watch, "GET", "/"), 200);
    assert_string_equal(header("Content-Type"), "text/html; charset=utf-8");
    test_assert_has(header("Content-Security-Policy"), "default-src 'none'");
    test_assert_has(last.body, "id=\"verdict\"");
    test_assert_has(last.body, "</html>\n");
    test_assert_lacks(last.body, "https:");
    for (const char *at = last.body; (at = strstr(at, "http:")) != NULL; at++)
        assert_memory_equal(at, "http://www.w3.org/2000/svg", 26);
    stop(&watch);
}

static void test_health_events(void **state) {
    (void)state;
    running watch = start_open(NULL, NULL);
    assert_int_equal(ask(&watch, "GET", "/events"), 200);
    cJSON *json = cJSON_Parse(last.body);
    const cJSON *first = cJSON_GetArrayItem(json, 0);
    assert_non_null(first);
    assert_string_equal(cJSON_GetObjectItem(first, "name")->valuestring,
                        "connection_pool_initialized");
    assert_string_equal(cJSON_GetObjectItem(first, "level")->valuestring,
                        "info");
    assert_true(cJSON_GetObjectItem(first, "unix_ms")->valuedouble > 1e12);
    cJSON_Delete(json);
    stop(&watch);
}

static void test_health_elsewhere(void **state) {
    (void)state;
    running watch = start(NULL, NULL);
    assert_int_equal(ask(&watch, "GET", "/nowhere"), 404);
    assert_int_equal(ask(&watch, "GET", "/health/"), 404);
    assert_int_equal(ask(&watch, "POST", "/health"), 405);
    assert_string_equal(header("Allow"), "GET, HEAD");
    assert_int_equal(ask(&watch, "DELETE", "/"), 405);
    assert_int_equal(ask(&watch, "GET", "/load"), 405);
    assert_string_equal(header("Allow"), "POST");
    assert_int_equal(ask(&watch, "POST", "/load?threads=1&hold_ms=1"), 403);
    test_assert_has(last.body, "--demo");
    stop(&watch);
}

static void test_health_head(void **state) {
    static const char *const paths[] = {"/", "/health", "/metrics", "/events"};
    (void)state;
    running watch = start_open(NULL, NULL);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ask(&watch, "HEAD", paths[i]), 200);
        assert_true(atoi(header("Content-Length")) > 2);
        assert_string_equal(last.body, "");
    }
    stop(&watch);
}

/* ---- ill health ------------------------------------------------------- */

/* D4 */
static void test_health_exhausted(void **state) {
    (void)state;
    running watch = start_open(LIST("--demo"), LIST("DB_POOL_MAX_SIZE=2"));
    assert_int_equal(ask(&watch, "POST", "/load?threads=2&hold_ms=60000"), 202);
    TEST_EVENTUALLY(pool_number(&watch, "active_connections") == 2);
    assert_int_equal(ask(&watch, "POST", "/load?threads=3&hold_ms=60000"), 202);
    TEST_EVENTUALLY(pool_number(&watch, "waiting") == 3);
    int64_t begin = test_now_ms();
    assert_int_equal(ask(&watch, "GET", "/health"), 503);
    assert_true(test_now_ms() - begin < 3000);
    assert_true(blames(&watch, "CRITICAL", "pool"));
    assert_true(knows_server(&watch));
    assert_int_equal(ask(&watch, "GET", "/metrics"), 200);
    test_assert_has(last.body, "falkorpool_connections{");
    test_assert_has(last.body, "state=\"active\"} 2\n");
    stop(&watch);
}

static void test_health_comes_back(void **state) {
    (void)state;
    running watch = start_open(LIST("--demo"), LIST("DB_POOL_MAX_SIZE=1"));
    assert_int_equal(ask(&watch, "POST", "/load?threads=1&hold_ms=300"), 202);
    TEST_EVENTUALLY(ask(&watch, "GET", "/health") == 503);
    TEST_EVENTUALLY(ask(&watch, "GET", "/health") == 200);
    stop(&watch);
}

static void test_health_load_wrong(void **state) {
    static const char *const wrong[] = {"", "?threads=1", "?hold_ms=1",
        "?threads=0&hold_ms=1", "?threads=1001&hold_ms=1", "?threads&hold_ms=1",
        "?threads=-1&hold_ms=1", "?threads=x&hold_ms=1",
        "?threads=1x&hold_ms=1", "?threads=1&hold_ms=0",
        "?threads=1&hold_ms=60001", "?threads=99999999999999999999&hold_ms=1"};
    (void)state;
    running watch = start_open(LIST("--demo"), NULL);
    int before = pool_number(&watch, "total_acquires");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char path[100];
        snprintf(path, sizeof path, "/load%s", wrong[i]);
        if (ask(&watch, "POST", path) != 400)
            fail_msg("%s: %d", path, last.status);
        test_assert_has(last.body, "from 1 to 1000");
    }
    assert_int_equal(pool_number(&watch, "total_acquires"), before);
    stop(&watch);
}

static void test_health_load_of_its_own(void **state) {
    (void)state;
    running watch = start_open(LIST("--load", "3"), NULL);
    TEST_EVENTUALLY(pool_number(&watch, "total_queries") > 20);
    assert_int_equal(ask(&watch, "GET", "/health"), 200);
    stop(&watch);
}

static void test_health_without_a_database(void **state) {
    serving server;
    char url[60], port[8];
    (void)state;
    serving_start(&server, NULL);       /* for a port that nobody has */
    serving_stop(&server);
    snprintf(port, sizeof port, "%d", server.port);
    snprintf(url, sizeof url, "FALKORDB_URL=falkor://127.0.0.1:%s", port);
    running watch = start(NULL, LIST(url, "DB_MAX_RETRIES=0"));
    assert_int_equal(ask(&watch, "GET", "/health"), 503);
    TEST_EVENTUALLY(blames(&watch, "CRITICAL", "server"));
    assert_int_equal(ask(&watch, "GET", "/metrics"), 200);
    test_assert_has(last.body, "falkorpool_open{");
    assert_int_equal(ask(&watch, "GET", "/"), 200);
    serving_start(&server, LIST("--port", port));
    TEST_EVENTUALLY(is_open(&watch));
    TEST_EVENTUALLY(knows_server(&watch));
    stop(&watch);
    serving_stop(&server);
}

/* One that is silent holds nobody up, and is not waited for at the end. */
static void test_health_silent_server(void **state) {
    serving server;
    char url[60];
    (void)state;
    serving_start(&server, NULL);
    snprintf(url, sizeof url, "FALKORDB_URL=falkor://127.0.0.1:%d",
             server.port);
    running watch = start_open(LIST("--load", "2"), LIST(url,
        "DB_SOCKET_TIMEOUT=0.3", "DB_CONNECT_TIMEOUT=20",
        "DB_BREAKER_FAILURES=2"));
    TEST_EVENTUALLY(knows_server(&watch));
    serving_signal(&server, SIGSTOP);
    int64_t begin = test_now_ms();
    assert_false(knows_server(&watch));
    assert_true(test_now_ms() - begin < 3000);
    TEST_EVENTUALLY(blames(&watch, "CRITICAL", "server"));
    assert_int_equal(last.status, 503);
    begin = test_now_ms();
    stop(&watch);
    assert_true(test_now_ms() - begin < 2000);
    serving_stop(&server);
}

/* ---- several servers -------------------------------------------------- */

/* The sum's document is open, and so many nodes stand behind it. */
static bool shows_nodes(const running *watch, int nodes) {
    cJSON *json = document(watch);
    bool shown = cJSON_GetArraySize(json) == 1 + nodes && cJSON_IsTrue(
        cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetArrayItem(json, 0),
                                                "pool"), "initialized"));
    cJSON_Delete(json);
    return shown;
}

/* The health of the node with this address. */
static bool node_is(const running *watch, const fleet_member *member,
                    const char *verdict) {
    char address[40];
    snprintf(address, sizeof address, "%s:%d", member->host, member->port);
    cJSON *one, *json = document(watch);
    bool found = false;
    cJSON_ArrayForEach(one, json) {
        const cJSON *node = cJSON_GetObjectItem(one, "node");
        found = found || (node && strcmp(cJSON_GetObjectItem(node,
            "address")->valuestring, address) == 0 &&
            strcmp(cJSON_GetObjectItem(cJSON_GetObjectItem(one, "health"),
                                       "verdict")->valuestring, verdict) == 0);
    }
    cJSON_Delete(json);
    return found;
}

static void test_health_of_several_servers(void **state) {
    (void)state;
    fleet some;
    char url[200], name[100];
    fleet_start(&some, FLEET_SENTINEL, NULL);
    snprintf(url, sizeof url, "FALKORDB_URL=falkor+sentinel://%s:%d/g?master="
             FLEET_MASTER, some.sentinels[0].host, some.sentinels[0].port);
    running watch = start(LIST("--name", "whole"), LIST(url));
    TEST_EVENTUALLY(shows_nodes(&watch, some.count));
    TEST_EVENTUALLY(node_is(&watch, &some.nodes[0], "OK"));
    TEST_EVENTUALLY(node_is(&watch, &some.nodes[1], "OK"));
    assert_int_equal(ask(&watch, "GET", "/metrics"), 200);
    test_assert_has(last.body, "falkorpool_open{pool=\"whole\",graph=\"g\"} 1");
    for (int i = 0; i < some.count; i++) {
        snprintf(name, sizeof name, "falkorpool_node_primary{pool=\"whole\","
                 "graph=\"g\",node=\"%s:%d\"} %d\n", some.nodes[i].host,
                 some.nodes[i].port, i == 0);
        test_assert_has(last.body, name);
    }
    fleet_kill(&some, 1, SIGKILL);
    TEST_EVENTUALLY(node_is(&watch, &some.nodes[1], "WARNING"));
    assert_int_equal(ask(&watch, "GET", "/health"), 200);
    stop(&watch);
    fleet_stop(&some);
}

/* ---- beginning and end ------------------------------------------------ */

static void test_health_ends_with_a_signal(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        running watch = start_open(LIST("--load", "4", "--demo"), NULL);
        assert_int_equal(ask(&watch, "POST", "/load?threads=30&hold_ms=60000"),
                         202);
        int lingering = dial(watch.port);
        int64_t begin = test_now_ms();
        kill(watch.child, i ? SIGINT : SIGTERM);
        assert_int_equal(await_end(watch.child), 0);
        assert_true(test_now_ms() - begin < 2000);
        close(lingering);
    }
}

/* What it says when it refuses, with that exit status. */
static void expect_refused(const char *const *arguments,
                           const char *const *environment, int status,
                           const char *said) {
    char text[4096] = "";
    FILE *out = tmpfile(), *errors = tmpfile();
    assert_true(out && errors);
    int ended = await_end(spawn(arguments, environment, fileno(out),
                                fileno(errors)));
    rewind(errors);
    text[fread(text, 1, sizeof text - 1, errors)] = '\0';
    fclose(out);
    fclose(errors);
    if (ended != status)
        fail_msg("%s: status %d, not %d: %s", said, ended, status, text);
    test_assert_has(text, said);
}

static void test_health_wrong_usage(void **state) {
    char port[8];
    (void)state;
    expect_refused(LIST(NULL), NULL, 2, "PORT is missing");
    expect_refused(LIST("http"), NULL, 2, "http: is no port");
    expect_refused(LIST("65536"), NULL, 2, "from 1 to 65535");
    expect_refused(LIST(""), NULL, 2, "is no port");
    expect_refused(LIST("0", "nowhere"), NULL, 2, "nowhere: is no address");
    expect_refused(LIST("0", "::1", "x"), NULL, 2, "x: PORT and ADDRESS");
    expect_refused(LIST("0", "--load"), NULL, 2, "--load: takes a value");
    expect_refused(LIST("0", "--load", "0"), NULL, 2, "not \"0\"");
    expect_refused(LIST("0", "--fast"), NULL, 2, "--fast: no such option");
    expect_refused(LIST("0"), LIST("DB_POOL_MAX_SIZE=many"), 2,
                   "DB_POOL_MAX_SIZE");
    running watch = start(NULL, NULL);
    snprintf(port, sizeof port, "%d", watch.port);
    expect_refused(LIST(port), NULL, 1, port);
    stop(&watch);
}

static void test_health_help(void **state) {
    char text[4096] = "";
    FILE *out = tmpfile();
    (void)state;
    assert_non_null(out);
    assert_int_equal(await_end(spawn(LIST("--help"), NULL, fileno(out), 2)), 0);
    rewind(out);
    text[fread(text, 1, sizeof text - 1, out)] = '\0';
    fclose(out);
    test_assert_has(text, "usage: health_server PORT");
}

TEST_MAIN(
    cmocka_unit_test(test_health_document_has_the_names_of_monitoring),
    cmocka_unit_test(test_health_metrics),
    cmocka_unit_test(test_health_page),
    cmocka_unit_test(test_health_events),
    cmocka_unit_test(test_health_elsewhere),
    cmocka_unit_test(test_health_head),
    cmocka_unit_test(test_health_exhausted),
    cmocka_unit_test(test_health_comes_back),
    cmocka_unit_test(test_health_load_wrong),
    cmocka_unit_test(test_health_load_of_its_own),
    cmocka_unit_test(test_health_without_a_database),
    cmocka_unit_test(test_health_silent_server),
    cmocka_unit_test(test_health_of_several_servers),
    cmocka_unit_test(test_health_ends_with_a_signal),
    cmocka_unit_test(test_health_wrong_usage),
    cmocka_unit_test(test_health_help))
