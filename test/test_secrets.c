/* A password is in memory as long as its pool is, and not any longer: a child
   uses a pool with one and frees it, and then nothing of it is in its heap, its
   stacks and its variables, which are also where every error and event was.
   The tests have it in disguise (secret.h), and in plain text only as long as
   the library is given it. */
#include "scarce.h"
#include "secret.h"
#include "serving.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static serving server;
static char plain[100 * SECRET_SIZE], text[2 * SECRET_SIZE + 100];
static falkor_error error;
static struct { char name[40], message[640]; } events[40];
static atomic_int event_count;

static void on_event(void *ctx, const falkor_event *event) {
    int at = atomic_fetch_add(&event_count, 1) % 40;
    (void)ctx;
    snprintf(events[at].name, sizeof events->name, "%s", event->name);
    snprintf(events[at].message, sizeof events->message, "%s", event->message);
}

static falkor_options with(const char *user, const char *password) {
    falkor_options options = serving_options(server.port);
    options.username = user;
    options.password = password;
    options.max_retries = -1;
    options.on_event = on_event;
    return options;
}

/* Nothing of it was in this process before. */
static void child_begins(void) {
    test_child_begins();
    if (!TEST_SANITIZED)
        TEST_CHECK(secret_hits() == 0);
}

static void forget_texts(void) {
    secret_wipe(plain, sizeof plain);
    secret_wipe(text, sizeof text);
}

/* Sanitizers call what is between the library and memcpy: what registers held
   may be left of that, which is less than a whole password. */
static void child_ends(void) {
    int hits = secret_hits();
    if (hits > (TEST_SANITIZED ? 2 : 0))
        TEST_COMPLAIN("the password is still there, in %d parts", hits);
    test_child_quits();
}

/* Opens the pool and asks on each connection; or it fails so. */
static void use(falkor_pool *pool, falkor_status wanted) {
    falkor_status status = falkor_pool_open(pool, &error);
    if (status != wanted)
        TEST_COMPLAIN("%s", error.message);
    falkor_graph *graph = falkor_select_graph(pool, "secrets");
    for (int i = 0; i < 3 && !status; i++)
        TEST_CHECK(!falkor_query(graph, "RETURN 1", NULL, NULL, &error));
    falkor_graph_free(graph);
}

static void use_options(const falkor_options *options, falkor_status wanted) {
    falkor_pool *pool;
    TEST_CHECK(!falkor_pool_create(options, &pool, &error));
    forget_texts();
    use(pool, wanted);
    falkor_pool_free(pool);
}

/* Each way in a child of its own. */
static void in_child(void (*way)(void)) {
    pid_t child = test_fork();
    if (child == 0) {
        child_begins();
        way();
        forget_texts();
        child_ends();
    }
    test_await_child(child);
}

/* ---- ways --------------------------------------------------------------- */

static void by_option(void) {
    falkor_options options = with(NULL, secret_write(plain, 1));
    use_options(&options, FALKOR_OK);
}

static void by_user(void) {
    falkor_options options = with("ann", secret_write(plain, 1));
    use_options(&options, FALKOR_OK);
}

static char *write_url(void) {
    char *end = text + sprintf(text, "falkor://ann:");
    secret_write_encoded(end);
    sprintf(strchr(end, '\0'), "@127.0.0.1:%d/secrets?max_retries=0",
            server.port);
    return text;
}

static void by_url(void) {
    use_options(&(falkor_options){.url = write_url(), .on_event = on_event},
                FALKOR_OK);
}

static void by_shared_url(void) {
    falkor_pool *pool[2];
    for (int i = 0; i < 2; i++)
        TEST_CHECK(!falkor_pool_shared(write_url(), &pool[i], &error));
    forget_texts();
    use(pool[0], FALKOR_OK);
    falkor_pool_free(pool[0]);
    falkor_pool_free(pool[1]);
}

static void by_bad_url(void) {
    falkor_pool *pool;
    strcat(write_url(), "&max_retries=1&max_retries=x");
    TEST_CHECK(falkor_pool_create(&(falkor_options){.url = text}, &pool,
                                  &error) == FALKOR_ERR_ARGUMENT);
}

/* The environment's own copy is the program's, who takes it away here. */
static void by_environment(void) {
    falkor_options options = with("ann", NULL);
    options.host = NULL;
    char host[] = "FALKORDB_HOST=127.0.0.1", port[32];
    snprintf(port, sizeof port, "FALKORDB_PORT=%d", server.port);
    secret_write(text + sprintf(text, "FALKORDB_PASSWORD="), 1);
    options.port = 0;
    unsetenv("FALKORDB_URL");
    putenv(host), putenv(port), putenv(text);
    TEST_CHECK(!falkor_options_from_env(&options, &error));
    TEST_CHECK(options.password != NULL);
    use_options(&options, FALKOR_OK);
}

static void by_url_of_environment(void) {
    falkor_options options = {.on_event = on_event};
    char *url = plain + sprintf(plain, "FALKORDB_URL=");
    strcpy(url, write_url());
    putenv(plain);
    TEST_CHECK(!falkor_options_from_env(&options, &error));
    use_options(&options, FALKOR_OK);
}

/* Longer than what a request begins with, and more behind it; refused. */
static void by_long_password(void) {
    char name[500];
    memset(name, 'c', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int times = 10; times <= 90; times += 10) {
        falkor_options options = with("ann", secret_write(plain, times));
        options.client_name = name;
        use_options(&options, FALKOR_ERR_AUTH);
    }
}

/* A server that lets the first connection in, and says the password aloud to
   all others: as whatever, as an error, or as one that is known. */
static void serve_and_tell(int listener) {
    char room[4096], said[20 * SECRET_SIZE];
    for (int number = 0;; number++) {
        int fd = accept(listener, NULL, NULL);
        while (fd >= 0 && read(fd, room, sizeof room) > 0) {
            sprintf(said, number % 3 == 0 ? "What is AUTH ann %s?\r\n"
                : number % 3 == 1 ? "-ERR unknown command `AUTH`, with args "
                "beginning with: `ann` `%s`\r\n"
                : "-WRONGPASS nobody but bob has `%s`\r\n",
                secret_write(plain, 18));
            const char *answer = number ? said
                : strstr(room, "AUTH") ? "+OK\r\n+PONG\r\n"
                : "-ERR Invalid graph operation on empty key\r\n";
            if (write(fd, answer, strlen(answer)) < 0)
                break;
        }
        close(fd);
    }
}

/* Starts it; *port is where. */
static pid_t start_telling(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 ||
        bind(listener, (struct sockaddr *)&address, size) ||
        listen(listener, 8) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        TEST_COMPLAIN("no socket to listen on");
    *port = ntohs(address.sin_port);
    pid_t child = fork();
    if (child == 0) {
        test_child_begins();
        serve_and_tell(listener);
    }
    close(listener);
    return child;
}

/* What was said does not get into errors, events and the circuit's cause. */
static void by_server_that_tells(void) {
    falkor_pool *pool;
    falkor_conn *conn;
    int port;
    pid_t teller = start_telling(&port);
    falkor_options options = with("ann", secret_write(plain, 1));
    options.port = port;
    options.min_size = -1;
    options.breaker_failures = 2;
    TEST_CHECK(!falkor_pool_create(&options, &pool, &error));
    forget_texts();
    TEST_CHECK(!falkor_pool_open(pool, &error));
    falkor_pool_drop_idle(pool);
    TEST_CHECK(falkor_acquire(pool, &conn, &error) == FALKOR_ERR_AUTH);
    if (!TEST_SANITIZED)
        TEST_CHECK(secret_hits() == 3); /* the pool's own */
    TEST_CHECK(strstr(error.message, "not shown") != NULL);
    for (int i = 0; i < 8 && error.status != FALKOR_ERR_CIRCUIT_OPEN; i++)
        TEST_CHECK(falkor_acquire(pool, &conn, &error) != FALKOR_OK);
    TEST_CHECK(event_count > 2);
    falkor_pool_free(pool);
    kill(teller, SIGKILL);
    test_child_status(teller);
}

/* Each call fails once. options.url is written anew each time. */
static void try_all(falkor_options *options, char *(*write)(void)) {
    falkor_pool *pool;
    int failures = 1;
    for (int n = 1; failures; n++) {
        options->url = write ? write() : NULL;
        scarce_begin(SCARCE_MINE, n, false);
        if (!falkor_pool_create(options, &pool, &error))
            falkor_pool_open(pool, &error);
        falkor_pool_free(pool);
        failures = scarce_end();
    }
}

/* Whatever fails for want of memory. */
static void by_nothing(void) {
    falkor_options options = with("ann", secret_write(plain, 30));
    try_all(&options, NULL);
    options = (falkor_options){.client_name = "client"};
    try_all(&options, write_url);
}

/* A child that has not made the pool frees it, and so does its parent. */
static void by_fork(void) {
    falkor_pool *pool;
    falkor_options options = with("ann", secret_write(plain, 1));
    TEST_CHECK(!falkor_pool_create(&options, &pool, &error));
    forget_texts();
    use(pool, FALKOR_OK);
    pid_t child = test_fork();
    if (child == 0) {
        use(pool, FALKOR_OK);
        falkor_pool_free(pool);
        child_ends();
    }
    TEST_CHECK(test_child_status(child) == 0);
    falkor_pool_free(pool);
}

/* A pool that is freed lives on as long as a connection of it is held, but
   dials no more. */
static void by_held_connection(void) {
    falkor_pool *pool;
    falkor_conn *conn;
    falkor_options options = with("ann", secret_write(plain, 1));
    TEST_CHECK(!falkor_pool_create(&options, &pool, &error));
    forget_texts();
    use(pool, FALKOR_OK);
    TEST_CHECK(!falkor_acquire(pool, &conn, &error));
    falkor_pool_close(pool, 0);
    falkor_pool_free(pool);
    if (!TEST_SANITIZED)
        TEST_CHECK(secret_hits() == 0);
    falkor_release(conn);
}

/* ---- tests -------------------------------------------------------------- */

/* What the search would find: in variables, on the heap, and freed. */
static void leave_it(void) {
    char *block = malloc(4 * SECRET_SIZE);
    secret_write(plain, 1);
    TEST_CHECK(secret_hits() == 3);
    TEST_CHECK(block && secret_write(block, 3) && secret_hits() >= 3 + 9);
    free(block);
    forget_texts();
    TEST_CHECK(secret_hits() >= 6);
}

static void test_secrets_are_found(void **state) {
    (void)state;
    pid_t child = test_fork();
    if (child == 0) {
        child_begins();
        leave_it();
        test_child_quits();
    }
    test_await_child(child);
}

/* A19, R6 */
static void test_secrets_leave_no_trace(void **state) {
    (void)state;
    void (*const ways[])(void) = {by_option, by_user, by_url, by_shared_url,
        by_bad_url, by_environment, by_url_of_environment, by_long_password,
        by_fork, by_held_connection};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        in_child(ways[i]);
}

/* A19, R6, C5 */
static void test_secrets_said_by_the_server(void **state) {
    (void)state;
    in_child(by_server_that_tells);
}

/* A19, R6 */
static void test_secrets_without_memory(void **state) {
    (void)state;
    in_child(by_nothing);
}

/* Another process tells the server. */
static void set_password(void) {
    redisContext *client = serving_client(server.port);
    char *command[] = {"ACL", "SETUSER", "ann", "on", text, "~*", "&*",
                       "+@all"};
    *text = '>';
    secret_write(text + 1, 1);
    for (int i = 0; i < 2; i++) {
        redisReply *reply = i == 0
            ? redisCommandArgv(client, 8, (const char **)command, NULL)
            : redisCommand(client, "CONFIG SET requirepass %s", text + 1);
        TEST_CHECK(reply && reply->str && !strcmp(reply->str, "OK"));
    }
    test_child_quits();
}

static int begin(void **state) {
    (void)state;
    secret_draw();
    serving_start(&server, NULL);
    pid_t child = test_fork();
    if (child == 0)
        set_password();
    test_await_child(child);
    return 0;
}

static int end(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

/* Bound at once: a function of another library that is called for the first
   time would leave all registers on the stack, the test's own too. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secrets_are_found),
        cmocka_unit_test(test_secrets_leave_no_trace),
        cmocka_unit_test(test_secrets_said_by_the_server),
        cmocka_unit_test(test_secrets_without_memory)};
    if (!getenv("LD_BIND_NOW")) {
        setenv("LD_BIND_NOW", "1", 1);
        execv("/proc/self/exe", argv);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin, end);
}
