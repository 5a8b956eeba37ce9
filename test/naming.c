/* Graphs that prove themselves, a stepping proxy, the stress of names: see
   naming.h. */
#include "naming.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- results that prove themselves ------------------------------------ */

static bool in_list(const char *name, size_t length, const char *list) {
    for (const char *at = list; *at; at += strcspn(at, ":")) {
        at += *at == ':';
        if (strcspn(at, ":") == length && strncmp(at, name, length) == 0)
            return true;
    }
    return false;
}

static size_t list_length(const char *list) {
    size_t count = *list != '\0';
    for (; *list; list++)
        count += *list == ':';
    return count;
}

/* One entity's properties against its labels, or its one type. */
static size_t prove_entity(const falkor_value *properties,
                           const char *const *names, size_t count,
                           const char *text) {
    if (!properties->length)
        TEST_COMPLAIN("an entity without properties: %s", text);
    for (uint32_t i = 0; i < properties->length; i++) {
        const falkor_entry *entry = &properties->as.entries[i];
        const char *value = entry->value.type == FALKOR_STRING
            ? entry->value.as.string : "";
        size_t key = strcspn(value, "|");
        bool right = value[key] == '|' && strlen(entry->key) == key &&
            strncmp(value, entry->key, key) == 0 &&
            list_length(value + key + 1) == count;
        for (size_t n = 0; right && n < count; n++)
            right = in_list(names[n], strlen(names[n]), value + key + 1);
        if (!right)
            TEST_COMPLAIN("WRONG NAME: key \"%s\", %zu labels or types, the "
                "first \"%s\", but they were written as \"%s\": %.200s",
                entry->key, count, count ? names[0] : "", value, text);
    }
    return properties->length + count;
}

static size_t prove_node(const falkor_node *node, const char *text) {
    return prove_entity(&node->properties, node->labels, node->label_count,
                        text);
}

static size_t prove_edge(const falkor_edge *edge, const char *text) {
    return prove_entity(&edge->properties, &edge->type, 1, text);
}

size_t naming_prove_value(const falkor_value *value, const char *text) {
    size_t names = 0;
    switch (value->type) {
    case FALKOR_NODE: return prove_node(value->as.node, text);
    case FALKOR_EDGE: return prove_edge(value->as.edge, text);
    case FALKOR_ARRAY:
        for (uint32_t i = 0; i < value->length; i++)
            names += naming_prove_value(&value->as.items[i], text);
        return names;
    case FALKOR_MAP:
        for (uint32_t i = 0; i < value->length; i++)
            names += naming_prove_value(&value->as.entries[i].value, text);
        return names;
    case FALKOR_PATH:
        for (size_t i = 0; i < value->as.path->node_count; i++)
            names += prove_node(&value->as.path->nodes[i], text);
        for (size_t i = 0; i < value->as.path->edge_count; i++)
            names += prove_edge(&value->as.path->edges[i], text);
        return names;
    default: return 0;
    }
}

size_t naming_prove(const falkor_result *result, const char *text) {
    size_t names = 0;
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            names += naming_prove_value(falkor_result_value(result, row, i),
                                        text);
    return names;
}

/* ---- other clients' graphs -------------------------------------------- */

/* count different ones of limit, in an order of their own. */
static void draw(uint64_t *state, int limit, int count, int *drawn) {
    int all[8];
    for (int i = 0; i < limit; i++)
        all[i] = i;
    for (int i = 0; i < count; i++) {
        int at = i + test_below(state, limit - i);
        drawn[i] = all[at];
        all[at] = all[i];
    }
}

void naming_layout(char text[NAMING_TEXT], uint64_t number, bool unique) {
    uint64_t state = number * 2654435761u + 1;
    int l[3], t[2], k[3];
    char first[32];
    draw(&state, 5, 3, l);
    draw(&state, 4, 2, t);
    draw(&state, 5, 3, k);
    snprintf(first, sizeof first, "k%d", k[0]);
    if (unique)
        snprintf(first, sizeof first, "u%" PRIx64, number);
    snprintf(text, NAMING_TEXT,
        "CREATE (a:L%d {%s: '%s|L%d'})-[e:T%d {k%d: 'k%d|T%d'}]->"
        "(b:L%d:L%d {k%d: 'k%d|L%d:L%d', %s: '%s|L%d:L%d'}), "
        "(b)-[f:T%d {k%d: 'k%d|T%d'}]->(c:L%d {k%d: 'k%d|L%d'}), "
        "(:L%d {%s: '%s|L%d'})", l[0], first, first, l[0], t[0], k[1], k[1],
        t[0], l[1], l[0], k[1], k[1], l[1], l[0], first, first, l[1], l[0],
        t[1], k[2], k[2], t[1], l[2], k[2], k[2], l[2], l[2], first, first,
        l[2]);
}

static void naming_reply(redisContext *client, redisReply *reply,
                         const char *what) {
    if (!reply) {
        TEST_COMPLAIN("second client: %.200s: %s", what, client->errstr);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR && !strstr(reply->str, "empty key") &&
        !strstr(reply->str, "no such key"))
        TEST_COMPLAIN("second client: %s: %s", what, reply->str);
    freeReplyObject(reply);
}

void naming_do(redisContext *client, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(client, format, arguments);
    va_end(arguments);
    naming_reply(client, reply, format);
}

void naming_run(redisContext *client, const char *graph, const char *cypher) {
    naming_reply(client, redisCommand(client, "GRAPH.QUERY %s %s", graph,
                                      cypher), cypher);
}

void naming_replace(redisContext *client, const char *graph, naming_way way,
                    const char *cypher) {
    char next[96];
    snprintf(next, sizeof next, "%s.next", graph);
    switch (way) {
    case NAMING_TRANSACTION:
        naming_do(client, "MULTI");
        naming_do(client, "DEL %s", graph);
        naming_run(client, graph, cypher);
        naming_do(client, "EXEC");
        return;
    case NAMING_RENAME:
    case NAMING_COPY:
        naming_run(client, next, cypher);
        if (way == NAMING_COPY) {
            naming_do(client, "GRAPH.COPY %s %s.copy", next, next);
            naming_do(client, "RENAME %s.copy %s", next, next);
        }
        naming_do(client, "RENAME %s %s", next, graph);
        return;
    default:
        naming_do(client, "GRAPH.DELETE %s", graph);
        naming_run(client, graph, cypher);
    }
}

/* ---- a proxy that takes one command at a time ------------------------- */

typedef struct stepped { naming_step *step; int client, server; } stepped;

/* The bytes of one RESP2 value at the begin of text; 0: it is not all there. */
static size_t resp_length(const char *text, size_t length) {
    size_t at = 0;
    for (long long open = 1; open > 0; open--) {
        const char *end = at < length ? memchr(text + at, '\n', length - at)
                                      : NULL;
        if (!end)
            return 0;
        long long number = strtoll(text + at + 1, NULL, 10);
        if (text[at] == '*' && number > 0)
            open += number;
        bool bulk = text[at] == '$' && number >= 0;
        at = (size_t)(end + 1 - text) + (bulk ? (size_t)number + 2 : 0);
        if (at > length)
            return 0;
    }
    return at;
}

/* Whole values from one socket to the other; false: one of them has ended. */
static bool pass_value(int from, char *bytes, size_t size, size_t *have,
                       size_t *length) {
    while (!(*length = resp_length(bytes, *have))) {
        ssize_t got = *have < size ? recv(from, bytes + *have, size - *have, 0)
                                   : 0;
        if (got <= 0)
            return false;
        *have += (size_t)got;
        bytes[*have] = '\0';
    }
    return true;
}

static bool send_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* Whether the command's last arguments are VERSION and a number; only what reads
   names may send the one that says "any". */
static bool has_version(const char *command) {
    static const char word[] = "\r\n$7\r\nVERSION\r\n$";
    const char *last = NULL;
    unsigned size, version;
    int end = 0;
    for (const char *at = command; (at = strstr(at, word)); at++)
        last = at + sizeof word - 1;
    return last && sscanf(last, "%u %u %n", &size, &version, &end) == 2 &&
           end > 0 && !last[end] && (version != UINT32_MAX ||
           strstr(command, "CALL db.") || strstr(command, "'falkorpool "));
}

static bool step_seen(naming_step *step, const char *command) {
    if (atomic_load(&step->quiet) || !strstr(command, "\r\nGRAPH."))
        return true;
    int number = atomic_fetch_add(&step->commands, 1) + 1;
    if (strstr(command, "CALL db.labels()"))
        atomic_fetch_add(&step->lists, 1);
    if (strstr(command, "QUERY\r\n") && !has_version(command))
        atomic_fetch_add(&step->unversioned, 1);
    return !step->before || step->before(step, number, command);
}

static void *step_pair(void *argument) {
    stepped *pair = argument;
    enum { SIZE = 1 << 18 };
    char *request = malloc(SIZE + 1), *reply = malloc(SIZE + 1);
    size_t have = 0, had = 0, length, answer;
    while (request && reply &&
           pass_value(pair->client, request, SIZE, &have, &length)) {
        char behind = request[length];
        request[length] = '\0';
        bool goes_on = step_seen(pair->step, request);
        request[length] = behind;
        if (!goes_on || !send_all(pair->server, request, length) ||
            !pass_value(pair->server, reply, SIZE, &had, &answer) ||
            !send_all(pair->client, reply, answer))
            break;
        memmove(request, request + length, have -= length);
        memmove(reply, reply + answer, had -= answer);
    }
    free(request);
    free(reply);
    close(pair->client);
    close(pair->server);
    atomic_fetch_sub(&pair->step->running, 1);
    free(pair);
    return NULL;
}

static int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void step_admit(naming_step *step) {
    stepped *pair = malloc(sizeof *pair);
    pthread_t thread;
    int on = 1;
    if (!pair)
        return;
    *pair = (stepped){step, accept4(step->listener, NULL, NULL, SOCK_CLOEXEC),
                      dial(step->target)};
    setsockopt(pair->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    atomic_fetch_add(&step->running, 1);
    if (pthread_create(&thread, NULL, step_pair, pair) == 0) {
        pthread_detach(thread);
        return;
    }
    atomic_fetch_sub(&step->running, 1);
    close(pair->client);
    close(pair->server);
    free(pair);
}

static void *step_run(void *argument) {
    naming_step *step = argument;
    for (;;) {
        struct pollfd fds[] = {{.fd = step->wake[0], .events = POLLIN},
                               {.fd = step->listener, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents)
            return NULL;
        step_admit(step);
    }
}

void naming_step_start(naming_step *step, int target) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(step, 0, sizeof *step);
    step->target = target;
    step->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(step->listener, (struct sockaddr *)&address,
                          sizeof address), 0);
    assert_int_equal(listen(step->listener, 64), 0);
    assert_int_equal(getsockname(step->listener,
                                 (struct sockaddr *)&address, &size), 0);
    step->port = ntohs(address.sin_port);
    assert_int_equal(pipe2(step->wake, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&step->thread, NULL, step_run, step), 0);
}

/* After the pools on it are freed: its connections end by themselves. */
void naming_step_stop(naming_step *step) {
    assert_int_equal(write(step->wake[1], "", 1), 1);
    pthread_join(step->thread, NULL);
    TEST_EVENTUALLY(atomic_load(&step->running) == 0);
    close(step->wake[0]);
    close(step->wake[1]);
    close(step->listener);
}

/* ---- stress ----------------------------------------------------------- */

typedef struct asker {
    const naming_stress *stress;
    naming_tally *tally;
    falkor_pool *pool;
    falkor_graph *graph;
    atomic_bool *stop;
    int id, written;
    uint64_t random;
    /* Of the call under way. */
    const char *text;
    size_t rows;
} asker;

static const char *const reads[] = {
    "MATCH (a)-[e]->(b) RETURN a, e, b",
    "MATCH p = ()-[]->() RETURN p, [p, nodes(p)], {p: p, e: relationships(p)}",
    "MATCH (n) RETURN n, [n, [n]], {n: n, m: {l: [n]}} LIMIT 50",
    "MATCH p = (a)-[e]->(b)-[f]->(c) RETURN p, {a: [a, {e: e}]}, f, c",
};

static void count(atomic_ullong *counter, size_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* What may go wrong while others put graphs in place: the graph is not there;
   a row that was not the first cannot be named; a write's own names cannot. */
static void judge(asker *self, falkor_status status, bool may_write,
                  const falkor_error *error) {
    naming_tally *tally = self->tally;
    bool replaced = self->stress->rounds > 0;
    count(&tally->queries, 1);
    if (!status)
        return;
    if (replaced && !may_write && status == FALKOR_ERR_QUERY &&
        strstr(error->message, "empty key"))
        count(&tally->empty, 1);
    else if (replaced && may_write && status == FALKOR_ERR_QUERY &&
             strstr(error->message, "when opened key"))
        count(&tally->displaced, 1);    /* so the server says itself */
    else if (replaced && status == FALKOR_ERR_STALE && may_write &&
             error->maybe_executed)
        count(&tally->stale_writes, 1);
    else if (status == FALKOR_ERR_IO || status == FALKOR_ERR_CONNECT) {
        count(&tally->lost, 1);
        atomic_store(self->stop, true);
        TEST_COMPLAIN("%s", error->message);
    } else if (status == FALKOR_ERR_STALE && !may_write && self->rows > 0)
        count(&tally->stale_rows, 1);
    else
        TEST_COMPLAIN("%s%s: %s: %.100s", falkor_status_name(status),
            error->maybe_executed ? ", maybe executed" : "", error->message,
            self->text);
}

static void ask_whole(asker *self, bool read_only, falkor_conn *conn) {
    falkor_result *result;
    falkor_error error;
    self->rows = 0;
    falkor_status status = falkor_query_with(self->graph,
        &(falkor_call_options){.read_only = read_only, .conn = conn},
        self->text, NULL, &result, &error);
    judge(self, status, !read_only, &error);
    count(&self->tally->names, naming_prove(result, self->text));
    falkor_result_free(result);
}

static bool take_row(void *ctx, const falkor_result *row) {
    asker *self = ctx;
    self->rows++;
    count(&self->tally->names, naming_prove(row, self->text));
    return true;
}

static void ask_each(asker *self, bool read_only) {
    falkor_error error;
    self->rows = 0;
    falkor_status status = falkor_query_each(self->graph,
        &(falkor_call_options){.read_only = read_only}, self->text, NULL,
        take_row, self, NULL, &error);
    judge(self, status, !read_only, &error);
}

static void ask_cursor(asker *self, bool read_only) {
    falkor_cursor *cursor;
    const falkor_result *row = NULL;
    falkor_error error;
    self->rows = 0;
    falkor_status status = falkor_cursor_open(self->graph,
        &(falkor_call_options){.read_only = read_only}, self->text, NULL,
        &cursor, &error);
    while (!status && !(status = falkor_cursor_next(cursor, &row, &error)) &&
           row)
        take_row(self, row);
    judge(self, status, !read_only, &error);
    falkor_cursor_close(cursor);
}

static void ask_pipeline(asker *self) {
    falkor_request requests[4] = {{0}};
    falkor_error error;
    self->rows = 0;
    for (int i = 0; i < 4; i++)
        requests[i] = (falkor_request){.graph = self->graph,
            .cypher = reads[i], .read_only = i != 2};
    falkor_pipeline(self->pool, NULL, requests, 4, &error);
    for (int i = 0; i < 4; i++) {
        self->text = reads[i];
        judge(self, requests[i].error.status, i == 2, &requests[i].error);
        count(&self->tally->names, naming_prove(requests[i].result, reads[i]));
        falkor_result_free(requests[i].result);
    }
}

static void ask_held(asker *self) {
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire(self->pool, &conn, &error)) {
        TEST_COMPLAIN("%s", error.message);
        return;
    }
    for (int i = 0; i < 3; i++)
        ask_whole(self, i != 1, conn);
    falkor_release(conn);
}

/* Names that nobody else has, in a graph whose other names change. */
static void ask_write(asker *self) {
    char text[512];
    int t = self->id, i = self->written++;
    snprintf(text, sizeof text, "CREATE (n:W%d_%d {q%d_%d: 'q%d_%d|W%d_%d'"
        "})-[e:U%d_%d {r%d_%d: 'r%d_%d|U%d_%d'}]->(m:X%d_%d:W%d_%d "
        "{q%d_%d: 'q%d_%d|X%d_%d:W%d_%d'}) WITH n, e, m "
        "MATCH p = (n)-[]->(m) RETURN n, e, m, p, {n: [n]}",
        t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i,
        t, i, t, i);
    self->text = text;
    if (test_chance(&self->random, 3))
        ask_cursor(self, false);
    else
        ask_whole(self, false, NULL);
    self->text = "";
}

/* Fails when it has added a label already, which stays. It adds no key: where
   a write that adds keys fails beside others that add some, FalkorDB 4.16.3
   itself gives properties the names of others, and crashes. */
static void ask_failing(asker *self) {
    char text[256];
    falkor_error error;
    int t = self->id, i = self->written++;
    snprintf(text, sizeof text, "CREATE (n:F%d_%d) WITH n UNWIND [1, 0] AS x "
        "RETURN 1 / x", t, i);
    falkor_query(self->graph, text, NULL, NULL, &error);
    count(&self->tally->failed_writes, 1);
    self->text = "";
    if (error.status != FALKOR_ERR_QUERY ||
        strcmp(error.message, "Division by zero") != 0)
        judge(self, error.status ? error.status : FALKOR_ERR_ARGUMENT, true,
              &error);
}

static void *asker_run(void *argument) {
    asker *self = argument;
    int writes = self->stress->rounds ? 10 : 2;
    while (!atomic_load(self->stop) &&
           (self->stress->rounds || self->written < 12)) {
        self->text = reads[test_below(&self->random, 4)];
        if (test_chance(&self->random, writes))
            ask_write(self);
        else if (test_chance(&self->random, 20))
            ask_failing(self);
        else
            switch (test_below(&self->random, 8)) {
            case 0: ask_whole(self, false, NULL); break;
            case 1: ask_each(self, true); break;
            case 2: ask_each(self, false); break;
            case 3: ask_cursor(self, true); break;
            case 4: ask_pipeline(self); break;
            case 5: ask_held(self); break;
            default: ask_whole(self, true, NULL);
            }
    }
    return NULL;
}

static void put_graphs(const naming_stress *stress, falkor_pool *pool,
                       const atomic_bool *stop) {
    redisContext *client = serving_client(stress->server->port);
    uint64_t random = stress->seed + 17;
    char text[NAMING_TEXT];
    for (int round = 0; round < stress->rounds && !atomic_load(stop);
         round++) {
        naming_way way = (naming_way)test_below(&random, NAMING_WAYS);
        naming_layout(text, stress->seed * 4096 + (uint64_t)round,
                      way == NAMING_COPY);
        if (test_chance(&random, 10))       /* by a pool's own command */
            falkor_command(pool, NULL, 2, (const char *[]){"GRAPH.DELETE",
                           stress->graph}, NULL, NULL, NULL);
        naming_replace(client, stress->graph, way, text);
        if (test_chance(&random, 3))
            test_pause_ms(test_below(&random, 8));
    }
    redisFree(client);
}

void naming_stress_run(const naming_stress *stress, naming_tally *tally) {
    enum { MOST = 64 };
    asker each[MOST];
    falkor_pool *pools[2];
    falkor_graph *graphs[2];
    char text[NAMING_TEXT];
    atomic_bool stop = false;
    int64_t begun = test_now_ms();
    falkor_options options = serving_options(stress->server->port);
    redisContext *client = serving_client(stress->server->port);
    options.max_size = stress->connections;
    naming_layout(text, stress->seed, true);
    naming_replace(client, stress->graph, NAMING_DELETE, text);
    redisFree(client);
    memset(tally, 0, sizeof *tally);
    for (int i = 0; i < 2; i++) {
        pools[i] = serving_pool(&options);
        graphs[i] = falkor_select_graph(pools[i], stress->graph);
    }
    for (int i = 0; i < stress->threads; i++) {
        int of = i % 4 == 3;            /* a quarter are another client */
        each[i] = (asker){.stress = stress, .tally = tally, .id = i,
            .pool = pools[of], .graph = graphs[of], .stop = &stop,
            .random = stress->seed + (uint64_t)i * 7919};
    }
    test_threads threads = test_start(asker_run, each, sizeof *each,
                                      stress->threads);
    put_graphs(stress, pools[0], &stop);
    if (stress->rounds)
        atomic_store(&stop, true);
    test_join_within(&threads, 300000);
    printf("%d threads on %d connections, %d graphs in %" PRId64 " ms: %llu "
        "queries, %llu names, no graph %llu, displaced %llu, failed writes %llu, "
        "STALE: %llu writes, %llu behind the first row\n", stress->threads,
        stress->connections, stress->rounds, test_now_ms() - begun,
        tally->queries, tally->names, tally->empty,
        tally->displaced, tally->failed_writes, tally->stale_writes, tally->stale_rows);
    for (int i = 0; i < 2; i++) {
        serving_drop(pools[i], graphs[i], stress->graph);
        falkor_pool_free(pools[i]);
    }
}

/* ---- a server of its own ---------------------------------------------- */

/* One that writes its crash report does not answer any more. */
bool naming_is_alive(const serving *server) {
    struct timeval patience = {.tv_sec = 5};
    redisContext *client = redisConnectWithTimeout("127.0.0.1", server->port,
                                                   patience);
    redisReply *reply = NULL;
    if (client && !client->err && redisSetTimeout(client, patience) == 0)
        reply = redisCommand(client, "PING");
    bool alive = reply && reply->type == REDIS_REPLY_STATUS;
    if (reply)
        freeReplyObject(reply);
    if (client)
        redisFree(client);
    return alive;
}

void naming_on_own_server(naming_test test, void *ctx) {
    for (int turn = 1; turn <= 8; turn++) {
        serving server;
        serving_start(&server, NULL);
        test(&server, ctx);
        bool alive = naming_is_alive(&server);
        serving_stop(&server);
        if (alive) {
            test_no_complaints();
            return;
        }
        printf("note: the server crashed, %d complaints do not count\n",
               test_forget_complaints());
    }
    fail_msg("the server crashed eight times");
}
