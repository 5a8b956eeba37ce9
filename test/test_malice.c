/* A malicious server, over a real socket: lengths that never come, endless
   nesting, lines and rows, counts that overflow, wrong types. At worst it
   causes an error, in time, within the limits of bytes and depth, and with
   memory for what has come and not for what was announced; the next query gets
   a connection of its own. */
#include "../internal.h"
#include "serving.h"
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the server --------------------------------------------------------- */

/* What a request with "MALICE" in it gets: first, then again so many times (-1:
   for as long as it is taken), and then nothing more. drip: byte by byte. */
typedef struct answer {
    const char *first, *again;
    long times;
    bool drip;
} answer;

static struct {
    int listener, port;
    _Atomic(const answer *) next;
    pthread_t thread;
} server;

#define ONE \
    "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\n1\r\n*1\r\n*1\r\n*2\r\n:3\r\n:1\r\n*0\r\n"
#define NONE "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\n1\r\n*0\r\n*0\r\n"

static bool put(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool put_again(int fd, const answer *what) {
    static char many[1 << 16];
    size_t one = strlen(what->again), count = sizeof many / one;
    for (size_t i = 0; i < count; i++)
        memcpy(many + i * one, what->again, one);
    for (long left = what->times; left != 0; ) {
        size_t now = left > 0 && (size_t)left < count ? (size_t)left : count;
        if (!put(fd, many, what->drip ? 1 : now * one))
            return false;
        left -= left > 0 ? (long)now : 0;
        if (what->drip && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1,
                               1) > 0)
            return false;               /* it has hung up */
    }
    return true;
}

/* The length of the command that text begins with; 0: it is not whole. */
static size_t command_length(const char *text, size_t length) {
    char *at;
    long count = length ? strtol(text + 1, &at, 10) : 0;
    if (!length || !strstr(text, "\r\n"))
        return 0;
    for (at += 2; count > 0; count--) {
        if (!strstr(at, "\r\n"))
            return 0;
        long size = strtol(at + 1, &at, 10);
        at += size + 4;
        if (at > text + length)
            return 0;
    }
    return (size_t)(at - text);
}

static bool reply(int fd, char *command, size_t length) {
    char last = command[length];
    command[length] = '\0';
    bool good;
    if (strstr(command, "MALICE") || strstr(command, "INFO")) {
        answer next = *atomic_load(&server.next);   /* gone once it is read */
        good = put(fd, next.first, strlen(next.first)) &&
            (!next.again || put_again(fd, &next));
    } else if (strstr(command, "PING")) {
        good = put(fd, "+PONG\r\n", 7);
    } else if (strstr(command, "CALL db.")) {
        good = put(fd, NONE, sizeof NONE - 1);
    } else {
        good = put(fd, ONE, sizeof ONE - 1);
    }
    command[length] = last;
    return good;
}

static void converse(int fd) {
    char text[4096];
    size_t have = 0, length;
    for (;;) {
        ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
        if (got <= 0)
            return;
        have += (size_t)got;
        text[have] = '\0';
        while ((length = command_length(text, have)) > 0) {
            if (!reply(fd, text, length))
                return;
            memmove(text, text + length, have - length + 1);
            have -= length;
        }
    }
}

static void *serve(void *unused) {
    (void)unused;
    for (int fd; (fd = accept(server.listener, NULL, NULL)) >= 0; close(fd))
        converse(fd);
    return NULL;
}

static int start_server(void **state) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    (void)state;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(server.listener, 16), 0);
    getsockname(server.listener, (struct sockaddr *)&at, &size);
    server.port = ntohs(at.sin_port);
    return pthread_create(&server.thread, NULL, serve, NULL);
}

static int stop_server(void **state) {
    (void)state;
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    return close(server.listener);
}

/* ---- memory ------------------------------------------------------------- */

static size_t status_kb(const char *name) {
    char line[128];
    size_t kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtoul(line + strlen(name), NULL, 10);
    fclose(file);
    return kb;
}

/* More address space than kb and what malloc reserves is not to be had from now
   on, so that what is taken and not touched shows too. */
static void limit_space(size_t kb) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = kb ? (status_kb("VmSize:") + kb + (32 << 10)) << 10
                        : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
}

/* The peak from now on; returns what there is now. A sanitizer's own memory is
   not the library's. */
static size_t memory_begins(size_t more_kb) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    assert_non_null(file);
    fputs("5", file);
    assert_int_equal(fclose(file), 0);
    if (!TEST_SANITIZED)
        limit_space(more_kb);
    return status_kb("VmRSS:");
}

static void memory_stayed_below(size_t before, size_t more_kb) {
    size_t peak = status_kb("VmHWM:");
    if (!TEST_SANITIZED) {
        limit_space(0);
        if (peak > before + more_kb)
            fail_msg("%zu kB of memory became %zu", before, peak);
    }
}

/* ---- a pool of one connection ------------------------------------------- */

static falkor_pool *pool;
static falkor_graph *graph;

static int begin(void **state) {
    (void)state;
    falkor_options options = serving_options(server.port);
    options.min_size = options.max_size = 1;
    options.breaker_failures = -1;
    options.retry_initial_delay_ms = 1;
    pool = serving_pool(&options);
    graph = falkor_select_graph(pool, "g");
    return 0;
}

static int end(void **state) {
    (void)state;
    limit_space(0);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    return 0;
}

#define MS 200
static const falkor_call_options in_time = {.timeout_ms = MS,
                                            .max_retries = -1};

static void good_again(void) {
    assert_int_equal(serving_integer(graph, "RETURN 1", NULL), 1);
}

/* The query meets status, with text in its message, in time and in memory. */
static void query_meets(const answer *what, falkor_status status,
                        const char *text, size_t kb) {
    falkor_error error = {0};
    falkor_result *result = NULL;
    good_again();
    atomic_store(&server.next, what);
    size_t before = memory_begins(kb);
    int64_t begun = test_now_ms();
    falkor_status met = falkor_query_with(graph, &in_time, "MALICE", NULL,
                                          &result, &error);
    int64_t took = test_now_ms() - begun;
    memory_stayed_below(before, kb);
    if (met != status || !strstr(error.message, text))
        fail_msg("%.40s: %s: %s", what->first, falkor_status_name(met),
                 error.message);
    assert_null(result);
    assert_true(took < MS + (TEST_SANITIZED ? 8000 : 2000));
    good_again();
}

#define HEAD "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n"
#define CELL HEAD "*1\r\n*1\r\n*2\r\n"

/* ---- tests -------------------------------------------------------------- */

/* Lengths and counts that never come take no memory, and as long as a silent
   server. */
/* C4 */
static void test_malice_announced_is_not_allocated(void **state) {
    (void)state;
    static const char *const heads[] = {CELL ":2\r\n$2147483647\r\n",
        HEAD "*4294967295\r\n", CELL ":6\r\n*4294967295\r\n",
        CELL ":10\r\n*4294967294\r\n", CELL ":12\r\n*4294967295\r\n",
        CELL ":9\r\n*2\r\n*2\r\n:6\r\n*4294967295\r\n",
        CELL ":8\r\n*3\r\n:1\r\n*4096\r\n",
        CELL ":8\r\n*3\r\n:1\r\n*0\r\n*4294967295\r\n",
        "*3\r\n*4294967295\r\n", "*1\r\n*4294967295\r\n", ">4294967295\r\n",
        "|4294967295\r\n", CELL ":99\r\n%4294967295\r\n"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        query_meets(&(answer){.first = heads[i]}, FALKOR_ERR_TIMEOUT, "",
                    4096);
    query_meets(&(answer){CELL ":2\r\n$2147483647\r\n", "x", 10000, false},
                FALKOR_ERR_TIMEOUT, "", 4096);
}

/* A count that a multiplication would bring over the edge, or a sign. */
/* A24 */
static void test_malice_numbers_out_of_range(void **state) {
    (void)state;
    static const struct {
        const char *first;
        falkor_status status;
        const char *text;
    } rows[] = {
        {"*4294967296\r\n", FALKOR_ERR_LIMIT, "an array of 4294967296"},
        {HEAD "*1152921504606846976\r\n", FALKOR_ERR_LIMIT, "the limit is"},
        {CELL ":10\r\n*9223372036854775808\r\n", FALKOR_ERR_LIMIT, "an array"},
        {CELL ":6\r\n*9999999999999999999\r\n", FALKOR_ERR_LIMIT, "an array"},
        {HEAD "*18446744073709551616\r\n", FALKOR_ERR_PROTOCOL, "64 bits"},
        {CELL ":2\r\n$2147483649\r\n", FALKOR_ERR_LIMIT, "a string of"},
        {CELL ":2\r\n$18446744073709551615\r\n", FALKOR_ERR_PROTOCOL, ""},
        {CELL ":8\r\n*3\r\n:1\r\n*4097\r\n", FALKOR_ERR_LIMIT, "label list"},
        {CELL ":8\r\n*3\r\n:1\r\n*1\r\n:2147483648\r\n", FALKOR_ERR_PROTOCOL,
         "ids of names below 2^31"},
        {CELL ":3\r\n:9223372036854775808\r\n", FALKOR_ERR_PROTOCOL, "64 bits"},
        {HEAD "*-1\r\n", FALKOR_ERR_PROTOCOL, "expected the list of rows"},
        {"*-2\r\n", FALKOR_ERR_PROTOCOL, "expected"},
        {CELL ":2\r\n$-2\r\n", FALKOR_ERR_PROTOCOL, "expected a string"},
        {CELL ":6\r\n*-1\r\n", FALKOR_ERR_PROTOCOL, "expected a list"},
        {CELL ":10\r\n*3\r\n", FALKOR_ERR_PROTOCOL, "an even list"},
        {CELL ":-6\r\n", FALKOR_ERR_PROTOCOL, "expected a type"},
        {">-1\r\n", FALKOR_ERR_PROTOCOL, "expected the length of a message"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        query_meets(&(answer){.first = rows[i].first}, rows[i].status,
                    rows[i].text, 4096);
}

/* A24 */
static void test_malice_wrong_types(void **state) {
    (void)state;
    static const char *const heads[] = {"+OK\r\n", ":1\r\n", "$2\r\nhi\r\n",
        "$-1\r\n", "*2\r\n:1\r\n", "*3\r\n:1\r\n", HEAD ":1\r\n",
        HEAD "*1\r\n*2\r\n", HEAD "*1\r\n:1\r\n", CELL ":2\r\n:1\r\n",
        CELL ":3\r\n$1\r\n1\r\n",
        CELL ":4\r\n#t\r\n", CELL ":5\r\n,x\r\n", CELL ":8\r\n*2\r\n",
        CELL ":11\r\n*3\r\n", CELL "$1\r\nx\r\n", "*1\r\n:1\r\n", "%1\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n", "\r\n", "x"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        query_meets(&(answer){.first = heads[i]}, FALKOR_ERR_PROTOCOL,
                    "malformed reply: expected", 4096);
}

/* The limits of depth and of a line. */
/* A24 */
static void test_malice_endless_nesting_and_lines(void **state) {
    (void)state;
    const answer nested[] = {
        {CELL, ":6\r\n*1\r\n*2\r\n", -1, false},
        {CELL ":6\r\n*64\r\n*2\r\n", ":6\r\n*64\r\n*2\r\n", -1, false},
        {CELL ":10\r\n", "*2\r\n+k\r\n*2\r\n:10\r\n", -1, false}};
    for (size_t i = 0; i < sizeof nested / sizeof *nested; i++)
        query_meets(&nested[i], FALKOR_ERR_LIMIT, "a nesting of 1025", 8192);
    const answer lines[] = {{"-", "x", -1, false}, {"*3\r\n-", "x", -1, false},
        {"*1\r\n*9\r\n+", "x", -1, false},
        {"*3\r\n*1\r\n*2\r\n:1\r\n+", "x", -1, false}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        query_meets(&lines[i], FALKOR_ERR_LIMIT, "a line of", 4096);
    query_meets(&(answer){"*", "1", -1, false}, FALKOR_ERR_PROTOCOL,
                "a number of at most 64 bits", 4096);
}

/* Each byte by itself, for ever: the deadline holds. */
/* C4 */
static void test_malice_drip(void **state) {
    (void)state;
    const answer drips[] = {{HEAD "*4294967295\r\n", "*", -1, true},
        {CELL ":2\r\n$1000000\r\n", "x", -1, true}, {"+", "x", -1, true}};
    query_meets(&drips[0], FALKOR_ERR_PROTOCOL, "expected a row", 4096);
    query_meets(&drips[1], FALKOR_ERR_TIMEOUT, "", 4096);
    query_meets(&drips[2], FALKOR_ERR_PROTOCOL, "", 4096);
}

/* Row by row endless rows cost the memory of one. */
static void test_malice_endless_rows(void **state) {
    (void)state;
    const answer rows = {HEAD "*4294967295\r\n",
                         "*1\r\n*2\r\n:2\r\n$5\r\nhello\r\n", -1, false};
    falkor_error error = {0};
    falkor_cursor *cursor;
    const falkor_result *row;
    good_again();
    atomic_store(&server.next, &rows);
    size_t before = memory_begins(4096);
    if (falkor_cursor_open(graph,
            &(falkor_call_options){.timeout_ms = 60000, .read_only = true},
            "MALICE", NULL, &cursor, &error))
        fail_msg("%s", error.message);
    for (int i = 0; i < 500000; i++) {
        if (falkor_cursor_next(cursor, &row, &error))
            fail_msg("row %d: %s", i, error.message);
        assert_string_equal(falkor_result_value(row, 0, 0)->as.string, "hello");
    }
    memory_stayed_below(before, 4096);
    falkor_cursor_close(cursor);
    good_again();
}

/* The same bytes into a reply of its own limits, as it is read whole: it stops
   within them, though the server goes on. */
static void ask_within(falkor__reply_kind kind, const answer *what,
                       const char *text) {
    falkor__limits limits = {.depth = 100, .bytes = 1 << 20};
    falkor_error error = {0};
    falkor_conn *conn;
    size_t sent;
    struct iovec request = {"*1\r\n$6\r\nMALICE\r\n", 16};
    int64_t deadline = falkor_now_ns() + INT64_C(20000) * SERVING_MS;
    good_again();
    atomic_store(&server.next, what);
    assert_int_equal(falkor_acquire(pool, &conn, &error), FALKOR_OK);
    falkor__link *link = falkor__conn_link(pool, conn);
    size_t before = memory_begins(41 << 10);
    falkor_result *own = falkor__reply_new(kind, NULL, &limits);
    falkor_status status = falkor__link_send(link, &request, 1, 1, deadline,
                                             &sent, &error);
    if (!status)
        status = falkor__link_read(link, own, deadline, &error);
    falkor_result_free(own);
    falkor_release(conn);
    memory_stayed_below(before, 41 << 10);
    if (status != FALKOR_ERR_LIMIT || !strstr(error.message, text))
        fail_msg("%s: %s", falkor_status_name(status), error.message);
    good_again();
}

static void test_malice_limit_of_bytes(void **state) {
    (void)state;
    static const struct {
        falkor__reply_kind kind;
        answer what;
        const char *text;
    } rows[] = {
#define ENDLESS(kind, first, again, text) \
    {FALKOR__REPLY_##kind, {first, again, -1, false}, text}
        ENDLESS(QUERY, HEAD "*4294967295\r\n", "*1\r\n*2\r\n:1\r\n_\r\n",
                "reply with bytes of"),
        ENDLESS(QUERY, CELL ":6\r\n*4294967295\r\n", "*2\r\n:1\r\n_\r\n",
                "reply with bytes of"),
        ENDLESS(QUERY, CELL ":99\r\n*4294967295\r\n", "_\r\n", "bytes of"),
        ENDLESS(QUERY, "*3\r\n*4294967295\r\n", "*2\r\n:1\r\n+\r\n",
                "bytes of"),
        ENDLESS(QUERY, "", ">1\r\n_\r\n", "bytes of"),
        ENDLESS(QUERY, "", "|0\r\n", "bytes of"),
        ENDLESS(ROWS, CELL ":12\r\n*4294967295\r\n", "$1\r\n1\r\n",
                "one row's bytes of"),
        ENDLESS(PLAIN, "*4294967295\r\n", "_\r\n", "bytes of"),
        ENDLESS(PLAIN, "%4294967295\r\n", "_\r\n_\r\n", "bytes of"),
        ENDLESS(PLAIN, "$1048577\r\n", "x", "a string of"),
        ENDLESS(PLAIN, "", "*1\r\n", "a nesting of 101")};
#undef ENDLESS
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ask_within(rows[i].kind, &rows[i].what, rows[i].text);
}

/* The server's thread may look at an answer for some time. */
static falkor_status ask_info(falkor_snapshot *snapshot, const char *info) {
    static struct { answer what; char text[256]; } said[4];
    static int next;
    falkor_error error = {0};
    answer *what = &said[next].what;
    char *text = said[next++].text;
    assert_in_range(next, 1, 4);
    what->first = text;
    snprintf(text, sizeof said->text, "$%zu\r\n%s\r\n", strlen(info), info);
    atomic_store(&server.next, what);
    return falkor_snapshot_ask_server(snapshot, pool, &error);
}

static bool holds(void *ctx, const char *bytes, size_t length) {
    char *text = ctx;
    strncat(text, bytes, length);
    return strlen(text) < 8000;
}

/* What a server says of itself in INFO may be anything. */
/* D3 */
static void test_malice_info(void **state) {
    (void)state;
    static const answer number = {.first = ":1\r\n"};
    char json[8192] = "";
    falkor_snapshot *snapshot;
    falkor_error error = {0};
    assert_int_equal(falkor_snapshot_take(pool, &snapshot, &error), FALKOR_OK);
    assert_int_equal(ask_info(snapshot, "rejected_connections:"
                              "-9223372036854775808\n"), FALKOR_OK);
    assert_int_equal(ask_info(snapshot, "used_memory:-5\r\n"
        "rejected_connections:9223372036854775807\r\nvalkey_version:\"\\\xff,"
        "long and no version at all\r\n"), FALKOR_OK);
    assert_int_equal(falkor_snapshot_write((const falkor_snapshot *const[]){
        snapshot}, 1, FALKOR_FORMAT_JSON, holds, json), FALKOR_OK);
    test_assert_has(json, "\"version\":\"\\\"\\\\\xef\xbf\xbd,long and no");
    test_assert_has(json, "\"used_memory_bytes\":0");
    test_assert_has(json, "\"rejected_per_minute\":9223372036854775807");
    assert_int_equal(ask_info(snapshot, ""), FALKOR_OK);
    atomic_store(&server.next, &number);
    assert_int_equal(falkor_snapshot_ask_server(snapshot, pool, &error),
                     FALKOR_ERR_PROTOCOL);
    falkor_snapshot_free(snapshot);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, end)

TEST_MAIN_WITH(start_server, stop_server,
    CASE(test_malice_announced_is_not_allocated),
    CASE(test_malice_numbers_out_of_range),
    CASE(test_malice_wrong_types),
    CASE(test_malice_endless_nesting_and_lines),
    CASE(test_malice_drip),
    CASE(test_malice_endless_rows),
    CASE(test_malice_limit_of_bytes),
    CASE(test_malice_info))
