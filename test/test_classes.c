/* Every row of retry.c's tables, provoked: on a real server where it can be
   made to, else by the proxy, and what the machine itself lacks by functions
   here that stand in the C library's place. The tables are retry.c's own, so
   that a row without its provoker fails; what is expected of each stands here.

   A write adds 1 to a counter, which tells afterwards how often it ran. */
#include "fake.h"
#include "serving.h"
#include "../retry.c"
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what this machine lacks ------------------------------------------ */

typedef enum fault_call {
    NO_FAULT, AT_SOCKET, AT_CONNECT, AT_SEND, AT_RECEIVE
} fault_call;
static _Thread_local struct {
    fault_call call;
    int number, times;
} fault;                                /* of the main thread's calls */

static int (*real_socket)(int, int, int);
static int (*real_connect)(int, __CONST_SOCKADDR_ARG, socklen_t);
static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);
static ssize_t (*real_recv)(int, void *, size_t, int);

__attribute__((constructor)) static void find_real(void) {
    *(void **)&real_socket = dlsym(RTLD_NEXT, "socket");
    *(void **)&real_connect = dlsym(RTLD_NEXT, "connect");
    *(void **)&real_sendmsg = dlsym(RTLD_NEXT, "sendmsg");
    *(void **)&real_recv = dlsym(RTLD_NEXT, "recv");
}

static bool fails(fault_call call) {
    if (fault.call != call || fault.times == 0)
        return false;
    fault.times--;
    errno = fault.number;
    return true;
}

int socket(int domain, int type, int protocol) {
    return fails(AT_SOCKET) ? -1 : real_socket(domain, type, protocol);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
    return fails(AT_CONNECT) ? -1 : real_connect(fd, address, size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    return fails(AT_SEND) ? -1 : real_sendmsg(fd, message, flags);
}

ssize_t recv(int fd, void *room, size_t size, int flags) {
    return !(flags & MSG_PEEK) && fails(AT_RECEIVE)
        ? -1 : real_recv(fd, room, size, flags);
}

/* ---- servers ---------------------------------------------------------- */

static serving server, cluster;
static redisContext *admin, *cluster_admin;

/* Commands are words split at spaces. */
static void tell(redisContext *client, const char *command) {
    redisReply *reply = redisCommand(client, command);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply ? reply->str : client->errstr);
    freeReplyObject(reply);
}

static void tell_all(redisContext *client, const char *const *commands) {
    for (; *commands; commands++)
        tell(client, *commands);
}

/* What the server says begins so, or has this in it. */
static bool says(int port, const char *command, const char *part) {
    char *text = serving_ask(port, command);
    bool has = strstr(text, part) != NULL;
    free(text);
    return has;
}

/* A command that is not waited for, on a connection of its own. */
static redisContext *begin_command(int port, const char *command,
                                   const char *graph, const char *query) {
    redisContext *client = serving_client(port);
    int done = 0;
    redisAppendCommand(client, command, graph, query);
    while (!done)
        assert_int_equal(redisBufferWrite(client, &done), REDIS_OK);
    return client;
}

static void end_command(redisContext *client) {
    void *reply;
    assert_int_equal(redisGetReply(client, &reply), REDIS_OK);
    freeReplyObject(reply);
    redisFree(client);
}

/* The whole cluster is one server, which owns every slot but one, and is about
   to give away another: to a node that is nowhere. */
static void cluster_begin(void) {
    static const char *const lists[] = {"CLUSTER SETSLOT %lld NODE %s",
                                        "CLUSTER SETSLOT %lld MIGRATING %s"};
    static const char *const keys[] = {"CLUSTER KEYSLOT moved",
                                       "CLUSTER KEYSLOT {ask}"};
    char node[64] = "";
    cluster_admin = serving_client(cluster.port);
    TEST_EVENTUALLY(says(cluster.port, "CLUSTER INFO", "cluster_state:ok"));
    tell(cluster_admin, "GRAPH.QUERY {ask}1 RETURN\t1");
    tell(cluster_admin, "GRAPH.QUERY classes CREATE\t(:Counter{n:0})");
    tell(cluster_admin, "CLUSTER MEET 127.0.0.1 1 2");
    TEST_EVENTUALLY(says(cluster.port, "CLUSTER NODES", "handshake"));
    char *nodes = serving_ask(cluster.port, "CLUSTER NODES");
    for (char *line = strtok(nodes, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "handshake"))
            sscanf(line, "%63s", node);
    free(nodes);
    for (int i = 0; i < 2; i++) {
        redisReply *reply = redisCommand(cluster_admin, lists[i],
            serving_number(cluster.port, keys[i]), node);
        assert_int_equal(reply->type, REDIS_REPLY_STATUS);
        freeReplyObject(reply);
    }
}

static void await_rules(redisContext *client) {
    static const char text[] = "CALL db.constraints() YIELD status WHERE "
        "status = 'OPERATIONAL' RETURN count(status)";
    long long count = 0;
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    while (count < 2 && test_now_ms() < until) {
        redisReply *reply = redisCommand(client, "GRAPH.RO_QUERY ruled %s",
                                         text);
        count = reply->element[1]->element[0]->element[0]->integer;
        freeReplyObject(reply);
    }
    assert_int_equal(count, 2);
}

/* A new cluster's node needs two seconds: others use them. */
static int begin(void **state) {
    (void)state;
    serving_start(&cluster, (const char *[]){"--cluster-enabled", "yes",
        "--cluster-node-timeout", "3600000", NULL});
    free(serving_ask(cluster.port, "CLUSTER ADDSLOTSRANGE 0 16383"));
    serving_start(&server, (const char *[]){"THREAD_COUNT", "1",
        "--enable-debug-command", "yes", "--busy-reply-threshold", "1", NULL});
    admin = serving_client(server.port);
    tell_all(admin, (const char *[]){
        "GRAPH.QUERY classes CREATE\t(:Counter{n:0})",
        "GRAPH.QUERY ruled CREATE\tINDEX\tFOR\t(u:U)\tON\t(u.k)",
        "GRAPH.CONSTRAINT CREATE ruled UNIQUE NODE U PROPERTIES 1 k",
        "GRAPH.CONSTRAINT CREATE ruled MANDATORY NODE M PROPERTIES 1 k",
        NULL});
    await_rules(admin);
    return 0;
}

static int end(void **state) {
    (void)state;
    redisFree(admin);
    if (cluster_admin)
        redisFree(cluster_admin);
    serving_stop(&server);
    serving_stop(&cluster);
    return 0;
}

/* ---- a pool of one, and how its calls end ----------------------------- */

static const char increment[] = "MATCH (c:Counter) SET c.n = c.n + 1 "
                                "RETURN range(1, 9999), c.n";
static const char peek[] = "MATCH (c:Counter) RETURN range(1, 9999), c.n";

/* The query_retry events of the last call. */
static struct {
    int count;
    bool in_order;
    falkor_status status;
    char message[700];
} retries;

static void on_event(void *ctx, const falkor_event *event) {
    (void)ctx;
    if (strcmp(event->name, "query_retry") != 0)
        return;
    retries.in_order = retries.in_order && event->attempt == ++retries.count;
    retries.status = event->status;
    snprintf(retries.message, sizeof retries.message, "%s", event->message);
}

static void forget_retries(void) {
    memset(&retries, 0, sizeof retries);
    retries.in_order = true;
}

typedef struct stage {
    const char *name;                   /* of the row, for complaints */
    falkor_pool *pool;
    falkor_graph *graph;
    int max_retries;
    int64_t before;                     /* the counter */
} stage;

#define LONG TEST_PATIENCE_MS

static int64_t counter(const stage *on) {
    falkor_error error;
    falkor_result *result;
    falkor_query_with(on->graph, &(falkor_call_options){.timeout_ms = LONG},
        "MATCH (c:Counter) RETURN c.n", NULL, &result, &error);
    serving_ok(&error);
    int64_t n = falkor_result_value(result, 0, 0)->as.integer;
    falkor_result_free(result);
    redisReply *reply = redisCommand(admin, "INCRBY scripts 0");
    n += reply->integer;
    freeReplyObject(reply);
    return n;
}

static stage stage_begin(const char *name, int port, falkor_options options) {
    stage on = {.name = name, .max_retries = options.max_retries};
    options.host = "127.0.0.1";
    options.port = port;
    options.max_size = 1;
    options.min_size = -1;              /* nobody dials but the calls */
    options.health_check_interval_ms = -1;
    options.retry_initial_delay_ms = options.retry_max_delay_ms = 1;
    options.on_event = on_event;
    on.pool = serving_pool(&options);
    on.graph = falkor_select_graph(on.pool, "classes");
    on.before = counter(&on);
    return on;
}

/* A last write works, and is one of so many that ran. */
static void stage_end(stage *on, int runs) {
    falkor_error error;
    falkor_call_options options = {.max_retries = 99, .timeout_ms = LONG};
    if (falkor_query_with(on->graph, &options, increment, NULL, NULL, &error))
        fail_msg("%s, afterwards: %s", on->name, error.message);
    TEST_EVENTUALLY(counter(on) >= on->before + runs + 1);
    if (counter(on) != on->before + runs + 1)
        fail_msg("%s: ran %d times, not %d", on->name,
                 (int)(counter(on) - on->before) - 1, runs);
    falkor_pool_free(on->pool);
}

typedef struct ending {
    falkor_status status;
    int attempts;
    bool maybe;
    falkor__phase phase;
    const char *says;
} ending;

#define HOLD(condition)                                                        \
    do {                                                                       \
        if (!(condition))                                                      \
            fail_msg("%s, %s: not %s: %s, %d attempts: %s", on->name, call,    \
                     #condition, falkor_status_name(error->status),            \
                     error->attempts, error->message);                         \
    } while (0)

/* C6: how often it was tried, how far the last attempt got, and why. */
static void check_end(const stage *on, const char *call,
                      const falkor_error *error, ending wanted) {
    char tried[64];
    bool told = wanted.status && (wanted.attempts > 1 || wanted.maybe);
    snprintf(tried, sizeof tried, "attempt %d of %d, after", wanted.attempts,
             on->max_retries + 1);
    HOLD(error->status == wanted.status);
    HOLD(error->attempts == wanted.attempts);
    HOLD(error->maybe_executed == wanted.maybe);
    HOLD(retries.count == wanted.attempts - 1);
    HOLD(retries.in_order);
    HOLD(!retries.count || strstr(retries.message, wanted.says));
    HOLD(!wanted.status || strstr(error->message, wanted.says));
    HOLD(!told || strstr(error->message, tried));
    HOLD(!told || strstr(error->message, falkor__phase_text(wanted.phase)));
    HOLD(!strstr(error->message, "may have been executed") == !wanted.maybe);
}

/* C5: one failure that counts opens the circuit. */
static void check_circuit(const stage *on, const char *call,
                          const falkor_error *error, bool opened) {
    falkor_stats stats;
    falkor_pool_stats(on->pool, &stats);
    HOLD(!stats.circuit_openings == !opened);
    HOLD(opened || stats.circuit == FALKOR_CIRCUIT_CLOSED);
}

/* ---- error replies ---------------------------------------------------- */

#define RETRIES 2
#define MOST_COMMANDS 5
#define PASSWORD "ACL SETUSER default resetpass >"
#define NO_PASSWORD "ACL SETUSER default nopass"

typedef struct provoker {
    const char *begin;                  /* the row's */
    falkor_status status;
    bool retried;
    const char *answer;                 /* the proxy's; NULL: it is real */
    bool dials;                         /* the answer to a dial */
    const char *password;               /* the pool's */
    bool writes;                        /* nothing that only reads meets it:
                                           what may be repeated is a write */
    bool in_cluster, copies;
    bool lets_run;                      /* it may run all the same */
    const char *graph, *cypher;         /* NULL: as always */
    int server_timeout_ms;
    const char *set[MOST_COMMANDS], *unset[MOST_COMMANDS];
    const char *meanwhile, *until;      /* the server says that to a PING */
    void (*begins)(void), (*ends)(void);
} provoker;

/* The server's only thread reads from a pipe that nobody writes to, and so
   would the query that waits behind it: the queue is full then. */
static redisContext *jam[2];
static char jam_path[256];

static void jam_begin(void) {
    snprintf(jam_path, sizeof jam_path, "%s/pipe", server.dir);
    assert_int_equal(mkfifo(jam_path, 0600), 0);
    for (int i = 0; i < 2; i++)
        jam[i] = begin_command(server.port, "GRAPH.RO_QUERY %s %s", "classes",
            "LOAD CSV FROM 'file:///pipe' AS row RETURN row");
    TEST_EVENTUALLY(serving_info(server.port, "clients",
                                 "blocked_clients") == 2);
    tell(admin, "GRAPH.CONFIG SET MAX_QUEUED_QUERIES 1");
}

static bool is_out_of_the_pipe(const redisContext *client) {
    struct pollfd one = {.fd = client->fd, .events = POLLIN};
    int fd = open(jam_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return poll(&one, 1, 0) > 0;
}

static void jam_end(void) {
    tell(admin, "GRAPH.CONFIG SET MAX_QUEUED_QUERIES 4294967295");
    for (int i = 0; i < 2; i++) {
        TEST_EVENTUALLY(is_out_of_the_pipe(jam[i]));
        end_command(jam[i]);
    }
}

static const provoker provokers[] = {
    {"NOAUTH", FALKOR_ERR_AUTH, .dials = true, .set = {PASSWORD "other"},
     .unset = {NO_PASSWORD}},
    {"WRONGPASS", FALKOR_ERR_AUTH, .dials = true, .password = "right",
     .set = {PASSWORD "other"}, .unset = {PASSWORD "right"}},
    {"NOPERM", FALKOR_ERR_AUTH,
     .set = {"ACL SETUSER default -graph.query -graph.ro_query"},
     .unset = {"ACL SETUSER default +graph.query +graph.ro_query"}},
    {"ERR invalid password", FALKOR_ERR_AUTH, .dials = true,
     .password = "right", .answer = "-ERR invalid password\r\n"},
    {"ERR Client sent AUTH", FALKOR_ERR_AUTH, .dials = true,
     .password = "right",
     .answer = "-ERR Client sent AUTH, but no password is set\r\n"},
    {"ERR AUTH ", FALKOR_ERR_AUTH, .dials = true, .password = "right",
     .set = {NO_PASSWORD}, .unset = {PASSWORD "right"}},
    {"LOADING", FALKOR_ERR_BUSY, true,
     .set = {"CONFIG SET rdbcompression no", "DEBUG POPULATE 1000 key 2100",
         "CONFIG SET loading-process-events-interval-bytes 1024",
         "CONFIG SET key-load-delay 10000"},
     .unset = {"CONFIG SET key-load-delay 0"}, .meanwhile = "DEBUG RELOAD",
     .until = "-LOADING"},
    {"BUSY", FALKOR_ERR_BUSY, true, .unset = {"SCRIPT KILL"},
     .meanwhile = "EVAL while\ttrue\tdo\tend 0", .until = "-BUSY"},
    {"MASTERDOWN", FALKOR_ERR_BUSY, true,
     .set = {"CONFIG SET replica-serve-stale-data no",
         "CONFIG SET replica-read-only no", "REPLICAOF 127.0.0.1 1"},
     .unset = {"REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes",
         "CONFIG SET replica-read-only yes"}},
    {"CLUSTERDOWN", FALKOR_ERR_BUSY, true, .in_cluster = true,
     .set = {"CLUSTER DELSLOTS 0"}, .unset = {"CLUSTER ADDSLOTS 0"}},
    {"TRYAGAIN", FALKOR_ERR_BUSY, true, .in_cluster = true, .copies = true,
     .writes = true},
    {"Max pending queries exceeded", FALKOR_ERR_BUSY, true,
     .begins = jam_begin, .ends = jam_end},
    {"Write queue is full", FALKOR_ERR_BUSY, true,
     .answer = "-Write queue is full: cannot accept additional write queries "
         "at this time. Please retry later.\r\n"},
    {"Encountered an empty key when opened key", FALKOR_ERR_BUSY, true,
     .answer = "-Encountered an empty key when opened key g\r\n"},
    {"ERR max number of clients reached", FALKOR_ERR_BUSY, true, .dials = true,
     .set = {"CONFIG SET maxclients 1"},
     .unset = {"CONFIG SET maxclients 500"}},
    {"UNBLOCKED force unblock", FALKOR_ERR_IO, true, .lets_run = true,
     .answer = "-UNBLOCKED force unblock from blocking operation, instance "
         "state changed (master -> replica?)\r\n"},
    {"READONLY", FALKOR_ERR_READONLY, .writes = true,
     .set = {"REPLICAOF 127.0.0.1 1"}, .unset = {"REPLICAOF NO ONE"}},
    {"MOVED", FALKOR_ERR_MOVED, .in_cluster = true, .graph = "moved"},
    {"ASK", FALKOR_ERR_MOVED, .in_cluster = true, .graph = "{ask}2"},
    {"Query timed out", FALKOR_ERR_SERVER_TIMEOUT, .server_timeout_ms = 1,
     .cypher = "UNWIND range(1, 10000) AS x UNWIND range(1, 10000) AS y "
         "RETURN count(*)"},
    {"unique constraint violation", FALKOR_ERR_CONSTRAINT, .writes = true,
     .graph = "ruled", .cypher = "CREATE (:U {k: 1}), (:U {k: 1})"},
    {"mandatory constraint violation", FALKOR_ERR_CONSTRAINT, .writes = true,
     .graph = "ruled", .cypher = "CREATE (:M)"},
};
#define PROVOKERS (sizeof provokers / sizeof *provokers)
#define ROWS (sizeof falkor__error_texts / sizeof *falkor__error_texts)

static falkor_status ask(const stage *on, const provoker *p, bool again,
                         falkor_error *error) {
    falkor_call_options options = {.read_only = again && !p->writes,
        .idempotent = again && p->writes,
        .server_timeout_ms = p->server_timeout_ms};
    falkor_graph *graph = falkor_select_graph(on->pool, p->graph ? p->graph
                                                                 : "classes");
    forget_retries();
    if (p->dials)
        falkor_pool_drop_idle(on->pool);
    falkor_status status = p->copies
        ? falkor_command(on->pool, &options, 3, (const char *[]){"GRAPH.COPY",
            "{ask}1", "{ask}2"}, NULL, NULL, error)
        : falkor_query_with(graph, &options, p->cypher ? p->cypher
            : options.read_only ? peek : increment, NULL, NULL, error);
    falkor_graph_free(graph);
    return status;
}

/* A write and what may be repeated meet it. A dial that is refused is a failed
   connect, but for AUTH; the error reply to a plain command is not known to
   come before it ran. */
static void meet(const stage *on, const provoker *p) {
    falkor_error error;
    ending wanted = {.says = p->begin, .phase = p->dials
        ? FALKOR__PHASE_UNSENT : p->lets_run ? FALKOR__PHASE_SENT
        : FALKOR__PHASE_REPLIED};
    wanted.status = p->dials && p->status == FALKOR_ERR_BUSY
        ? FALKOR_ERR_CONNECT : p->status;
    for (int again = 0; again < 2; again++) {
        const char *call = again ? "a read" : "a write";
        bool retried = p->retried && (again || !(p->copies || p->lets_run));
        wanted.maybe = p->lets_run && !again;
        wanted.attempts = retried ? RETRIES + 1 : 1;
        ask(on, p, again, &error);
        check_end(on, call, &error, wanted);
        check_circuit(on, call, &error, false);
    }
}

static void provoke(const provoker *p, proxy *between) {
    redisContext *client = p->in_cluster ? cluster_admin : admin;
    redisContext *other = NULL;
    if (p->password)
        tell(admin, PASSWORD "right");
    stage on = stage_begin(p->begin,
        p->in_cluster ? cluster.port : between->port,
        (falkor_options){.password = p->password, .max_retries = RETRIES,
                         .breaker_failures = 1});
    tell_all(client, p->set);
    if (p->begins)
        p->begins();
    if (p->meanwhile) {
        other = begin_command(server.port, p->meanwhile, NULL, NULL);
        TEST_EVENTUALLY(says(server.port, "PING", p->until));
    }
    atomic_store(&between->answer, p->answer);
    atomic_store(&between->answers, p->answer ? 1000 : 0);
    meet(&on, p);
    atomic_store(&between->answers, 0);
    if (p->ends)
        p->ends();
    tell_all(client, p->unset);
    if (other)
        end_command(other);
    stage_end(&on, 0);
    if (p->password)
        tell(admin, NO_PASSWORD);
}

static const provoker *provoker_of(const char *begin) {
    for (size_t i = 0; i < PROVOKERS; i++)
        if (strcmp(provokers[i].begin, begin) == 0)
            return &provokers[i];
    fail_msg("row %s has no provoker", begin);
    return NULL;
}

/* C2, C5, C6, R9 */
static void test_classes_error_replies(void **state) {
    int real = 0;
    proxy between;
    (void)state;
    proxy_start(&between, server.port);
    cluster_begin();
    for (size_t i = 0; i < ROWS; i++) {
        const provoker *p = provoker_of(falkor__error_texts[i].begin);
        if (p->status != falkor__error_texts[i].status)
            fail_msg("row %s is %s", p->begin,
                     falkor_status_name(falkor__error_texts[i].status));
        provoke(p, &between);
        real += !p->answer;
    }
    assert_int_equal(PROVOKERS, ROWS);
    proxy_stop(&between);
    printf("count: error replies: real %d, proxy %d\n", real,
           (int)ROWS - real);
}

/* ---- errors of this machine ------------------------------------------- */

static const struct own {
    int number;
    falkor_status status;               /* on a connection */
    fault_call dial;                    /* where a dial meets it */
} own[] = {
    {ENOMEM, FALKOR_ERR_NOMEM, AT_SOCKET},
    {ENOBUFS, FALKOR_ERR_IO, AT_SOCKET},
    {EMFILE, FALKOR_ERR_IO, NO_FAULT},  /* really: there is none left */
    {ENFILE, FALKOR_ERR_IO, AT_SOCKET},
    {EADDRNOTAVAIL, FALKOR_ERR_IO, AT_CONNECT},
};
#define OWN (sizeof own / sizeof *own)

/* Lets this process open no more files; or as many as before. */
static void starve(bool on) {
    static struct rlimit before;
    struct rlimit none;
    int next = fcntl(0, F_DUPFD, 0);    /* the lowest that is free */
    if (on) {
        assert_true(next >= 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = (struct rlimit){(rlim_t)next, before.rlim_max};
    }
    if (next >= 0)
        close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, on ? &none : &before), 0);
}

/* One call that meets the error so many times. */
static void meet_own(const stage *on, fault_call where, const struct own *row,
                     bool reads, ending wanted) {
    static const char *const calls[] = {"nowhere", "at socket", "at connect",
                                        "at send", "at receive"};
    const char *call = calls[where];
    falkor_error answer, *error = &answer;
    bool dial = where < AT_SEND;
    serving_integer(on->graph, "RETURN 1", NULL);   /* a connection is idle */
    forget_retries();
    if (dial)
        falkor_pool_drop_idle(on->pool);
    fault.number = row->number;
    fault.times = dial ? 1000 : 1;
    fault.call = where;
    if (!where)
        starve(true);
    falkor_query_with(on->graph, &(falkor_call_options){.read_only = reads},
                      reads ? peek : increment, NULL, NULL, error);
    if (!where)
        starve(false);
    HOLD(dial || fault.times == 0);
    fault.call = NO_FAULT;
    check_end(on, call, error, wanted);
    HOLD(!error->status || error->sys_errno == row->number);
    check_circuit(on, call, error, false);
}

/* A write fails on its way, and as it waits; a read too. What is not sent, and
   the read, is tried again where that may help. */
static void lack(const struct own *row) {
    const char *text = strerror(row->number);
    bool again = row->status != FALKOR_ERR_NOMEM;
    stage on = stage_begin(text, server.port,
        (falkor_options){.max_retries = RETRIES, .breaker_failures = 1});
    meet_own(&on, row->dial, row, false, (ending){FALKOR_ERR_CONNECT,
        RETRIES + 1, false, FALKOR__PHASE_UNSENT, text});
    const char *says = again ? text : "out of memory";
    ending once = {row->status, 1, false, FALKOR__PHASE_UNSENT, says};
    ending twice = {FALKOR_OK, 2, false, FALKOR__PHASE_UNSENT, says};
    meet_own(&on, AT_SEND, row, false, again ? twice : once);
    meet_own(&on, AT_RECEIVE, row, true, again ? twice : once);
    once.maybe = true;
    once.phase = FALKOR__PHASE_SENT;
    meet_own(&on, AT_RECEIVE, row, false, once);
    stage_end(&on, 1 + again);
}

/* C2, C3, C5, C6 */
static void test_classes_own_errors(void **state) {
    (void)state;
    size_t rows = sizeof falkor__own_errnos / sizeof *falkor__own_errnos;
    for (size_t i = 0; i < rows; i++) {
        size_t at = 0;
        while (at < OWN && own[at].number != falkor__own_errnos[i].number)
            at++;
        if (at == OWN || own[at].status != falkor__own_errnos[i].status)
            fail_msg("row \"%s\" has no provoker, or is another status",
                     strerror(falkor__own_errnos[i].number));
        lack(&own[at]);
    }
    assert_int_equal(OWN, rows);
    printf("count: errors of this machine: real 1, in its place %d\n",
           (int)rows - 1);
}

/* C5: what others refuse or break counts, with the same limit. */
static void test_classes_errors_of_others_count(void **state) {
    const char *call = "a write";
    falkor_error answer, *error = &answer;
    falkor_call_options once = {.max_retries = -1};
    (void)state;
    for (int refused = 0; refused < 2; refused++) {
        proxy between;
        proxy_start(&between, server.port);
        stage made = stage_begin("of others", between.port,
            (falkor_options){.breaker_failures = 1}), *on = &made;
        forget_retries();
        if (refused) {
            proxy_stop(&between);
            falkor_pool_drop_idle(on->pool);
        } else {
            atomic_store(&between.cut_replies, 1);
        }
        falkor_query_with(on->graph, &once, increment, NULL, NULL, error);
        HOLD(error->sys_errno == (refused ? ECONNREFUSED : ECONNRESET));
        HOLD(error->status == (refused ? FALKOR_ERR_CONNECT : FALKOR_ERR_IO));
        check_circuit(on, call, error, true);
        if (!refused)
            proxy_stop(&between);
        falkor_pool_free(on->pool);
    }
}

/* C5: a driver of one's own says so without errno. */
static void test_classes_no_memory_for_a_dial(void **state) {
    static const falkor_status said[] = {FALKOR_ERR_NOMEM, FALKOR_ERR_CONNECT};
    (void)state;
    for (int counts = 0; counts < 2; counts++) {
        fake f;
        falkor_stats stats;
        falkor_error error;
        falkor_conn *conn;
        fake_begin(&f);
        falkor_options options = fake_options(&f);
        options.breaker_failures = 1;
        options.min_size = -1;          /* the worker does not dial */
        f.pool = serving_pool(&options);
        falkor_pool_drop_idle(f.pool);
        f.open_status = said[counts];
        fake_fail(&f, FAKE_OPEN, 1);
        assert_int_equal(falkor_acquire(f.pool, &conn, &error),
                         FALKOR_ERR_CONNECT);
        falkor_pool_stats(f.pool, &stats);
        assert_int_equal(stats.circuit_openings, counts);
        falkor_pool_free(f.pool);
        fake_end(&f);
        test_no_complaints();
    }
}

/* ---- how far it got --------------------------------------------------- */

#define PAD ((size_t)16 << 20)          /* more than sockets hold */

/* What a call is made of. Its names are read before it, on the same
   connection: what befalls them befalls it while nothing of it is sent. */
typedef enum kind {
    NEVER,                              /* says: why not */
    QUERY, LARGE,
    NAMES,                              /* a query that must read names first */
    NAMING,                             /* one whose names are new */
    GONE,                               /* and nobody listens any more */
    SCRIPT, PIPELINE
} kind;
typedef struct cell {
    falkor_status status;
    falkor__phase phase;
    char again;                         /* as in falkor__classes */
    kind kind;
    const char *says;                   /* in the message */
    size_t trouble;                     /* the proxy's counter */
    const char *answer;
    int percent, runs;                  /* runs: of a write */
    bool once;                          /* the next attempt succeeds */
} cell;

#define MISMATCH "*2\r\n-ERR graph version\r\n:77\r\n"
#define LOADING "-LOADING the names\r\n"
#define FOUR(reply) reply reply reply reply
#define GARBAGE .says = "malformed reply", .answer = "?what\r\n"
#define LOST "connection lost"
#define LATE "in time (socket_timeout_ms is "
#define DIAL "a dial sends nothing of a request"
#define ANSWERED "an error reply has a status of its own"
#define UNREAD "no reply is read before the request is sent"
#define WHOLE "it is said in a whole reply"

#define CELL(status, phase, ...)                                               \
    {FALKOR_ERR_##status, FALKOR__PHASE_##phase, __VA_ARGS__}
#define BY(counter) .trouble = offsetof(proxy, counter)

static const cell cells[] = {
    CELL(CONNECT, UNSENT, 'a', GONE, .says = "cannot connect"),
    CELL(CONNECT, PART, 'r', NEVER, .says = DIAL),
    CELL(CONNECT, SENT, 'r', NEVER, .says = DIAL),
    CELL(CONNECT, BEGUN, 'r', NEVER, .says = DIAL),
    CELL(CONNECT, REPLIED, '-', NEVER, .says = DIAL),
    CELL(IO, UNSENT, 'a', NAMES, BY(cut_requests), .says = LOST),
    CELL(IO, PART, 'r', LARGE, BY(cut_requests), .says = LOST),
    CELL(IO, SENT, 'r', QUERY, BY(cut_replies), .says = LOST, .runs = 1),
    CELL(IO, BEGUN, 'r', QUERY, BY(cut_replies), .says = LOST, .runs = 1,
         .percent = 50),
    CELL(IO, REPLIED, '-', NEVER, .says = ANSWERED),
    CELL(TIMEOUT, UNSENT, 'a', NAMES, BY(lost_requests), .says = LATE),
    CELL(TIMEOUT, PART, 'r', LARGE, BY(lost_requests), .says = LATE),
    CELL(TIMEOUT, SENT, 'r', QUERY, BY(lost_replies), .says = LATE, .runs = 1),
    CELL(TIMEOUT, BEGUN, 'r', QUERY, BY(lost_replies), .says = LATE, .runs = 1,
         .percent = 50),
    CELL(TIMEOUT, REPLIED, '-', NEVER, .says = ANSWERED),
    CELL(PROTOCOL, UNSENT, 'a', NAMES, BY(answers), GARBAGE),
    CELL(PROTOCOL, PART, 'r', NEVER, .says = UNREAD),
    CELL(PROTOCOL, SENT, 'r', PIPELINE, BY(answers), GARBAGE),
    CELL(PROTOCOL, BEGUN, 'r', QUERY, BY(answers), GARBAGE),
    CELL(PROTOCOL, REPLIED, '-', NEVER, .says = ANSWERED),
    CELL(BUSY, UNSENT, 'a', NEVER, .says = "a refused dial is CONNECT"),
    CELL(BUSY, PART, 'r', NEVER, .says = "half a script does not run"),
    CELL(BUSY, SENT, 'r', SCRIPT, .says = "BUSY mine", .runs = 1),
    CELL(BUSY, BEGUN, 'r', NEVER, .says = WHOLE),
    CELL(BUSY, REPLIED, 'a', QUERY, BY(answers), .says = "LOADING",
         .answer = LOADING),
    CELL(STALE, UNSENT, 'a', NAMES, BY(answers), .says = "change faster",
         .answer = FOUR(MISMATCH)),
    CELL(STALE, PART, 'r', NEVER, .says = UNREAD),
    CELL(STALE, SENT, 'r', NAMING, BY(answers), .says = "the query was done",
         .answer = FOUR(LOADING), .runs = 1, .once = true),
    CELL(STALE, BEGUN, 'r', NEVER, .says = WHOLE),
    CELL(STALE, REPLIED, 'a', QUERY, BY(answers), .says = "change faster",
         .answer = MISMATCH),
};
#define CELLS (sizeof cells / sizeof *cells)

/* What may be repeated reads, where that meets it. */
static bool reads(const cell *c, bool again) {
    return again && c->kind != SCRIPT && c->kind != NAMING;
}

/* The call's text; the parameter marks it for the proxy, and makes it large. */
static falkor_status send_query(const stage *on, const cell *c,
                                const falkor_call_options *options,
                                falkor_error *error) {
    static int number;
    char naming[128], *pad = calloc(1, PAD + 1);
    assert_non_null(pad);
    if (c->kind == LARGE)
        memset(pad, 'x', PAD);
    snprintf(naming, sizeof naming, "MATCH (c:Counter) SET c.n = c.n + 1, "
             "c.new_%d = 1 RETURN c", number++);
    falkor_status status = falkor_query_with(on->graph, options,
        c->kind == NAMING ? naming : options->read_only ? peek : increment,
        FALKOR_PARAMS({"pad", falkor_string(pad)}), NULL, error);
    free(pad);
    return status;
}

static falkor_status send_call(const stage *on, const cell *c,
                               const falkor_call_options *options,
                               falkor_error *error) {
    static const char *const forget[] = {"DEL", "nothing"};
    static const char text[] = "redis.call('INCR', KEYS[1]) "
                               "return redis.error_reply('BUSY mine')";
    static const char *const script[] = {"EVAL", text, "1", "scripts"};
    falkor_request request = {.graph = on->graph,
        .cypher = options->read_only ? peek : increment};
    if (c->kind == NAMES)
        falkor_command(on->pool, NULL, 2, forget, NULL, NULL, NULL);
    forget_retries();
    return c->kind == SCRIPT
        ? falkor_command(on->pool, options, 4, script, NULL, NULL, error)
        : c->kind == PIPELINE
        ? falkor_pipeline(on->pool, options, &request, 1, error)
        : send_query(on, c, options, error);
}

/* A time-out comes this late; later where it came before all else was done. */
#define SHORTEST_MS 200
#define LONGEST_MS (SHORTEST_MS * 16)
#define TOO_SLOW (-1)

/* One call in trouble: how often it ran. */
static int suffer(const stage *on, const cell *c, proxy *between, int ms,
                  bool again) {
    const char *call = again ? "a read" : "a write";
    falkor_error answer, *error = &answer;
    atomic_int *trouble = (atomic_int *)((char *)between + c->trouble);
    falkor_call_options options = {.read_only = reads(c, again)};
    options.idempotent = again && !options.read_only;
    bool repeated = c->again == 'a' || (c->again == 'r' && again);
    ending wanted = {.status = repeated && c->once ? FALKOR_OK : c->status,
        .attempts = 1 + repeated, .phase = c->phase, .says = c->says};
    wanted.maybe = wanted.status && !options.read_only &&
        c->phase > FALKOR__PHASE_UNSENT && c->phase < FALKOR__PHASE_REPLIED;
    if (c->kind != GONE)
        counter(on);                    /* names are known, a link is idle */
    if (c->trouble)
        atomic_store(trouble, c->once ? 1 : 1000);
    send_call(on, c, &options, error);
    if (c->trouble)
        atomic_store(trouble, 0);
    if (c->status == FALKOR_ERR_TIMEOUT && ms < LONGEST_MS &&
        (error->attempts != wanted.attempts ||
         !strstr(error->message, falkor__phase_text(c->phase))))
        return TOO_SLOW;
    check_end(on, call, error, wanted);
    return options.read_only ? 0 : c->runs * wanted.attempts;
}

/* The proxy's port is the pool's, and there is one for each cell. false: this
   machine is too slow for so little time. */
static bool live_through(const cell *c, int ms) {
    static const char *const marks[] = {[QUERY] = "`pad`", [LARGE] = "`pad`",
        [NAMES] = "db.labels", [NAMING] = "db.labels",
        [PIPELINE] = ":Counter", [SCRIPT] = NULL};
    char name[64];
    proxy between;
    int runs = 0, ran = 0;
    snprintf(name, sizeof name, "%s, %s", falkor_status_name(c->status),
             falkor__phase_text(c->phase));
    proxy_start(&between, server.port);
    stage on = stage_begin(name, between.port, (falkor_options){
        .max_retries = 1, .breaker_failures = -1,
        .socket_timeout_ms = c->status == FALKOR_ERR_TIMEOUT ? ms : 0});
    atomic_store(&between.answer, c->answer);
    atomic_store(&between.percent, c->percent);
    atomic_store(&between.deaf, true);
    if (c->kind == GONE) {
        proxy_stop(&between);
        falkor_pool_drop_idle(on.pool);
    } else {
        atomic_store(&between.only, marks[c->kind]);
    }
    for (int again = 0; again < 2 && ran != TOO_SLOW; again++)
        runs += ran = suffer(&on, c, &between, ms, again);
    if (c->kind == GONE || ran == TOO_SLOW)
        falkor_pool_free(on.pool);
    else
        stage_end(&on, runs);
    if (c->kind != GONE)
        proxy_stop(&between);
    return ran != TOO_SLOW;
}

static const cell *cell_of(falkor_status status, int phase) {
    for (size_t i = 0; i < CELLS; i++)
        if (cells[i].status == status && (int)cells[i].phase == phase)
            return &cells[i];
    fail_msg("row %s, \"%s\" has no provoker", falkor_status_name(status),
             falkor__phase_text((falkor__phase)phase));
    return NULL;
}

/* C2, C3, C6 */
static void test_classes_phases(void **state) {
    int real = 0, proxied = 0;
    (void)state;
    for (size_t i = 0; i < FALKOR__CLASSES; i++)
        for (int phase = 0; phase < FALKOR__PHASES; phase++) {
            const cell *c = cell_of(falkor__classes[i].status, phase);
            if (c->again != falkor__classes[i].again[phase])
                fail_msg("row %s, \"%s\" is not %c", falkor_status_name(
                         c->status), falkor__phase_text(c->phase), c->again);
            if (c->kind == NEVER)
                continue;
            for (int ms = SHORTEST_MS; !live_through(c, ms); ms *= 4)
                continue;
            c->trouble ? proxied++ : real++;
        }
    assert_int_equal(CELLS, FALKOR__CLASSES * FALKOR__PHASES);
    printf("count: phases: real %d, proxy %d, cannot be %d\n", real, proxied,
           (int)CELLS - real - proxied);
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_classes_own_errors),
    cmocka_unit_test(test_classes_errors_of_others_count),
    cmocka_unit_test(test_classes_no_memory_for_a_dial),
    cmocka_unit_test(test_classes_phases),
    cmocka_unit_test(test_classes_error_replies))
