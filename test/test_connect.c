/* The ways to a server: addresses, passwords, databases, and what is said when
   there is none. Private servers, for each wants its own settings. */
#include "serving.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static serving shared;                  /* without a password */

static int begin(void **state) {
    (void)state;
    serving_start(&shared, NULL);
    return 0;
}

static int end(void **state) {
    (void)state;
    serving_stop(&shared);
    return 0;
}

/* Opens, asks, closes. */
static void works(const falkor_options *options) {
    falkor_pool *pool = serving_pool(options);
    falkor_graph *graph = falkor_select_graph(pool, "connect");
    assert_int_equal(serving_integer(graph, "RETURN 7", NULL), 7);
    serving_drop(pool, graph, "connect");
    falkor_pool_free(pool);
}

/* Tries to open and hands back how that failed. */
static falkor_status fails(const falkor_options *options,
                           falkor_error *error) {
    falkor_pool *pool;
    falkor_stats stats;
    falkor_pool_create(options, &pool, error);
    serving_ok(error);
    falkor_status status = falkor_pool_open(pool, error);
    assert_int_equal(status, error->status);
    assert_int_not_equal(status, FALKOR_OK);
    falkor_pool_stats(pool, &stats);
    assert_int_equal(stats.total, 0);   /* nothing half open is kept */
    assert_false(stats.initialized);
    assert_int_equal(falkor_query(NULL, "RETURN 1", NULL, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
    falkor_graph *graph = falkor_select_graph(pool, "connect");
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, NULL, NULL),
                     FALKOR_ERR_NOT_OPEN);
    falkor_pool_free(pool);
    return status;
}

/* ---- addresses -------------------------------------------------------- */

static void test_connect_ipv4(void **state) {
    (void)state;
    works(&(falkor_options){.host = "127.0.0.1", .port = shared.port});
}

static void test_connect_by_name(void **state) {
    (void)state;
    works(&(falkor_options){.host = "localhost", .port = shared.port});
    works(&(falkor_options){.port = shared.port});
}

static bool has_ipv6_loopback(void) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address,
                               sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

static void test_connect_ipv6(void **state) {
    falkor_options options = {.host = "::1", .port = shared.port,
                              .max_retries = -1};
    char url[64];
    (void)state;
    if (!has_ipv6_loopback()) {         /* then the error names the address */
        falkor_error error;
        assert_int_equal(fails(&options, &error), FALKOR_ERR_CONNECT);
        test_assert_has(error.message, "::1");
        return;
    }
    works(&options);
    snprintf(url, sizeof url, "falkor://[::1]:%d", shared.port);
    works(&(falkor_options){.url = url});
}

static void test_connect_unix_socket(void **state) {
    char url[160];
    (void)state;
    works(&(falkor_options){.unix_path = shared.socket});
    snprintf(url, sizeof url, "unix://%s?graph=connect", shared.socket);
    works(&(falkor_options){.url = url});
}

/* What the environment says is enough; the pool tells of itself. */
static void test_connect_from_the_environment(void **state) {
    char url[64];
    falkor_options options = {.max_size = 2, .on_event = falkor_log_event};
    falkor_error error;
    (void)state;
    snprintf(url, sizeof url, "falkor://127.0.0.1:%d", shared.port);
    setenv("FALKORDB_URL", url, 1);
    falkor_options_from_env(&options, &error);
    serving_ok(&error);
    works(&options);
    unsetenv("FALKORDB_URL");
}

/* ---- who, where, what name -------------------------------------------- */

static void test_connect_greeting(void **state) {
    (void)state;
    falkor_options options = serving_options(shared.port);
    options.database = 3;
    options.client_name = "greeting-test";
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "in-three");
    serving_run(graph, "CREATE (:Here)");
    char *list = serving_ask(shared.port, "CLIENT LIST");
    const char *line = strstr(list, " name=greeting-test ");
    assert_non_null(line);
    const char *database = strstr(line, " db=");
    assert_non_null(database);
    assert_int_equal(atoi(database + 4), 3);
    free(list);
    assert_int_equal(serving_number(shared.port, "EXISTS in-three"), 0);
    redisContext *client = serving_client(shared.port);
    freeReplyObject(redisCommand(client, "SELECT 3"));
    redisReply *reply = redisCommand(client, "EXISTS in-three");
    assert_int_equal(reply->integer, 1);
    freeReplyObject(reply);
    redisFree(client);
    serving_drop(pool, graph, "in-three");
    falkor_pool_free(pool);
}

static void test_connect_no_such_database(void **state) {
    falkor_error error;
    (void)state;
    falkor_options options = serving_options(shared.port);
    options.database = 9999;
    options.max_retries = -1;
    fails(&options, &error);
    test_assert_has(error.message, "DB index is out of range (database ");
}

#define PASSWORD "correct-horse"
#define WRONG "wrong-battery-staple"

static void refused(serving *server, const char *user, const char *password,
                    const char *said) {
    falkor_error error;
    falkor_options options = serving_options(server->port);
    options.username = user;
    options.password = password;
    assert_int_equal(fails(&options, &error), FALKOR_ERR_AUTH);
    assert_int_equal(error.attempts, 1);
    assert_false(error.maybe_executed);
    test_assert_lacks(error.message, WRONG);
    test_assert_lacks(error.message, PASSWORD);
    test_assert_has(error.message, said);
}

/* The second client has no password: the tests of this server ask it nothing
   but by these. */
static redisContext *known(const serving *server) {
    redisContext *client = serving_client(server->port);
    redisReply *reply = redisCommand(client, "AUTH " PASSWORD);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    freeReplyObject(reply);
    return client;
}

static void succeed(redisContext *client, const char *command) {
    redisReply *reply = redisCommand(client, command);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply ? reply->str : client->errstr);
    freeReplyObject(reply);
}

/* R9 */
static void test_connect_password(void **state) {
    serving server;
    (void)state;
    serving_start(&server, (const char *[]){"--password", PASSWORD, NULL});
    falkor_options options = serving_options(server.port);
    options.password = PASSWORD;
    works(&options);
    options.username = "default";
    works(&options);
    refused(&server, NULL, WRONG, "WRONGPASS");
    refused(&server, "default", WRONG, "WRONGPASS");
    refused(&server, NULL, NULL, "NOAUTH");
    serving_stop(&server);
}

/* R9 */
static void test_connect_acl_user(void **state) {
    serving server;
    falkor_error error;
    (void)state;
    serving_start(&server, (const char *[]){"--password", PASSWORD, NULL});
    redisContext *client = known(&server);
    succeed(client, "ACL SETUSER ada on >lovelace ~* +@all");
    succeed(client, "ACL SETUSER dull on >lovelace ~own +graph.query");
    falkor_options options = serving_options(server.port);
    options.username = "ada";
    options.password = "lovelace";
    works(&options);
    char url[96];
    snprintf(url, sizeof url, "falkor://ada:lovelace@127.0.0.1:%d",
             server.port);
    works(&(falkor_options){.url = url});
    refused(&server, "ada", WRONG, "WRONGPASS");
    refused(&server, "nobody", WRONG, "WRONGPASS");
    /* One who may do little: what he may works, the rest is AUTH. */
    options.username = "dull";
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *own = falkor_select_graph(pool, "own");
    falkor_graph *other = falkor_select_graph(pool, "other");
    assert_int_equal(falkor_query(own, "RETURN 1", NULL, NULL, &error),
                     FALKOR_OK);
    assert_int_equal(falkor_query(other, "RETURN 1", NULL, NULL, &error),
                     FALKOR_ERR_AUTH);
    test_assert_has(error.message, "NOPERM");
    assert_int_equal(error.attempts, 1);
    falkor_pool_free(pool);
    redisFree(client);
    serving_stop(&server);
}

/* No password is asked for, and one is given: the server says so. */
static void test_connect_password_not_wanted(void **state) {
    (void)state;
    refused(&shared, NULL, WRONG, "AUTH");
}

/* ---- nobody there ----------------------------------------------------- */

/* A port that nobody listens on while the test runs: bound, not listening. */
static int closed_port(int *fd) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

static void test_connect_refused(void **state) {
    falkor_error error;
    char address[32];
    int fd;
    (void)state;
    falkor_options options = serving_options(closed_port(&fd));
    options.max_retries = 2;
    options.retry_initial_delay_ms = 5;
    assert_int_equal(fails(&options, &error), FALKOR_ERR_CONNECT);
    assert_int_equal(error.sys_errno, ECONNREFUSED);
    assert_int_equal(error.attempts, 3);
    assert_false(error.maybe_executed);
    snprintf(address, sizeof address, "127.0.0.1:%d", options.port);
    test_assert_has(error.message, address);
    close(fd);
    options = (falkor_options){.unix_path = "/tmp/falkor-no-such-socket",
                               .max_retries = -1};
    assert_int_equal(fails(&options, &error), FALKOR_ERR_CONNECT);
    assert_int_equal(error.sys_errno, ENOENT);
    test_assert_has(error.message, "/tmp/falkor-no-such-socket");
    options = (falkor_options){.host = "no-such-host.invalid",
                               .max_retries = -1};
    assert_int_equal(fails(&options, &error), FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "no-such-host.invalid");
}

/* Accepts nothing and answers nothing: the kernel takes the connection. */
/* A9 */
static void test_connect_never_answered(void **state) {
    falkor_error error;
    int fd;
    (void)state;
    falkor_options options = serving_options(closed_port(&fd));
    assert_int_equal(listen(fd, 16), 0);
    options.connect_timeout_ms = 200;
    options.max_retries = -1;
    options.max_size = 1;
    int64_t before = test_now_ms();
    assert_int_equal(fails(&options, &error), FALKOR_ERR_CONNECT);
    int64_t took = test_now_ms() - before;
    assert_int_equal(error.sys_errno, ETIMEDOUT);
    assert_true(took >= 199 && took < 2200);
    close(fd);
}

/* Speaks, but nothing that makes sense: said, not hung. */
static void test_connect_another_protocol(void **state) {
    serving server;
    proxy between;
    falkor_error error;
    (void)state;
    serving_start(&server, NULL);
    proxy_start(&between, server.port);
    atomic_store(&between.answer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    atomic_store(&between.answers, 1000);
    falkor_options options = serving_options(between.port);
    options.max_retries = -1;
    options.connect_timeout_ms = 1000;
    options.socket_timeout_ms = 1000;
    fails(&options, &error);
    assert_true(error.status == FALKOR_ERR_CONNECT ||
                error.status == FALKOR_ERR_PROTOCOL);
    test_assert_has(error.message, "HTTP/1.1 400");
    proxy_stop(&between);
    serving_stop(&server);
}

/* An answer to what nobody has asked would be taken for the next one's. */
static void test_connect_more_answers_than_questions(void **state) {
    proxy between;
    falkor_error error;
    (void)state;
    proxy_start(&between, shared.port);
    atomic_store(&between.answer, "+PONG\r\n+PONG\r\n");
    atomic_store(&between.answers, 1000);
    falkor_options options = serving_options(between.port);
    options.max_retries = -1;
    assert_int_equal(fails(&options, &error), FALKOR_ERR_CONNECT);
    test_assert_has(error.message, "answered more than it was asked");
    proxy_stop(&between);
}

/* ---- a server that will not ------------------------------------------- */

static void test_connect_max_clients(void **state) {
    serving server;
    falkor_error error;
    redisContext *others[8];
    (void)state;
    serving_start(&server, (const char *[]){"--maxclients", "8", NULL});
    for (int i = 0; i < 8; i++) {
        others[i] = serving_client(server.port);
        succeed(others[i], "PING");
    }
    falkor_options options = serving_options(server.port);
    options.max_retries = 1;
    options.retry_initial_delay_ms = 5;
    fails(&options, &error);
    test_assert_has(error.message, "max number of clients reached");
    assert_int_equal(error.attempts, 2);    /* it may pass: tried again */
    for (int i = 0; i < 8; i++)
        redisFree(others[i]);
    options.max_retries = 10;
    options.max_size = 4;
    works(&options);
    serving_stop(&server);
}

/* A Redis without FalkorDB greets well and then knows no graphs: opening says
   what it said, and does not try again. The greeting is the server's own. */
static void test_connect_no_falkordb(void **state) {
    proxy between;
    falkor_error error;
    (void)state;
    proxy_start(&between, shared.port);
    atomic_store(&between.answer, "-ERR unknown command 'GRAPH.RO_QUERY', "
        "with args beginning with: 'falkorpool' 'RETURN 1' \r\n");
    atomic_store(&between.spared, 1);
    atomic_store(&between.answers, 1000);
    falkor_options options = serving_options(between.port);
    options.max_size = 1;
    assert_int_equal(fails(&options, &error), FALKOR_ERR_QUERY);
    test_assert_has(error.message, "unknown command 'GRAPH.RO_QUERY'");
    test_assert_has(error.message, " has no FalkorDB: load its module; or is ");
    assert_int_equal(error.attempts, 1);
    proxy_stop(&between);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_connect_ipv4),
    cmocka_unit_test(test_connect_by_name),
    cmocka_unit_test(test_connect_ipv6),
    cmocka_unit_test(test_connect_unix_socket),
    cmocka_unit_test(test_connect_from_the_environment),
    cmocka_unit_test(test_connect_greeting),
    cmocka_unit_test(test_connect_no_such_database),
    cmocka_unit_test(test_connect_password),
    cmocka_unit_test(test_connect_acl_user),
    cmocka_unit_test(test_connect_password_not_wanted),
    cmocka_unit_test(test_connect_refused),
    cmocka_unit_test(test_connect_never_answered),
    cmocka_unit_test(test_connect_another_protocol),
    cmocka_unit_test(test_connect_more_answers_than_questions),
    cmocka_unit_test(test_connect_max_clients),
    cmocka_unit_test(test_connect_no_falkordb))
