/* Pipelines whose connection breaks: cut behind every byte, stopped, killed,
   closed, refused in the middle. What the errors say of each request must be
   true of the graph afterwards. */
#include "serving.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static serving server;

static int start_server(void **state) {
    (void)state;
    serving_start(&server, NULL);
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    serving_stop(&server);
    return 0;
}

static falkor_pool *pool_at(int port, int max_size) {
    falkor_options options = serving_options(port);
    options.max_size = max_size;
    options.min_size = 1;
    options.retry_initial_delay_ms = 1;
    options.retry_max_delay_ms = 5;
    options.breaker_failures = -1;      /* for the server is always there */
    options.validate_after_ms = -1;
    return serving_pool(&options);
}

/* A graph that is there, and nothing in it. */
static falkor_graph *fresh(falkor_pool *pool, const char *name) {
    falkor_graph *graph = falkor_select_graph(pool, name);
    assert_non_null(graph);
    serving_run(graph, "MATCH (n) DETACH DELETE n");
    return graph;
}

#define WORDS(...) .argv = (const char *[]){__VA_ARGS__},                      \
    .argc = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void free_results(falkor_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        falkor_result_free(requests[i].result);
        requests[i].result = NULL;
    }
}

/* ---- cut at every byte ------------------------------------------------ */

/* A proxy for one connection at a time that closes both sides after so many
   bytes of requests or of replies, counted from when it was armed. */
typedef struct cutter {
    int listener, port, target, wake[2];
    atomic_int requests_left, replies_left;     /* -1: no limit */
    atomic_int hasty;           /* the next request is answered before it is
                                   there: HASTY_STAYS, or HASTY_GOES */
    atomic_int cut, accepted;
    pthread_t thread;
} cutter;
enum { HASTY_NOT, HASTY_STAYS, HASTY_GOES, HASTY_SILENT };

static int connect_to(int port) {
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

/* Moves what is there, up to the limit; false: the connection is to end. */
static bool move(int from, int to, atomic_int *left, atomic_int *cut) {
    char bytes[16384];
    ssize_t length = recv(from, bytes, sizeof bytes, 0);
    int most = atomic_load(left);
    if (length <= 0)
        return false;
    ssize_t pass = most >= 0 && length > most ? most : length;
    for (ssize_t at = 0; at < pass;) {
        ssize_t sent = send(to, bytes + at, (size_t)(pass - at),
                            MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
    }
    if (most < 0)
        return true;
    atomic_store(left, most - (int)pass);
    if (most > pass)
        return true;
    atomic_store(left, -1);
    atomic_fetch_add(cut, 1);
    return false;
}

/* A request's next bytes; none of them arrives when an answer is there
   already. */
static bool move_request(cutter *me, int client, int behind) {
    static const char answer[] = "-ERR seen enough\r\n";
    char bytes[16384];
    int hasty = atomic_load(&me->hasty);
    if (hasty == HASTY_NOT)
        return move(client, behind, &me->requests_left, &me->cut);
    if (recv(client, bytes, sizeof bytes, 0) <= 0)
        return false;
    if (hasty == HASTY_SILENT)
        return true;
    atomic_store(&me->hasty, HASTY_SILENT);
    return send(client, answer, sizeof answer - 1, MSG_NOSIGNAL) > 0 &&
           hasty == HASTY_STAYS;
}

static void *cutter_run(void *argument) {
    cutter *me = argument;
    int client = -1, behind = -1;
    for (;;) {
        struct pollfd fds[] = {{.fd = me->wake[0], .events = POLLIN},
            {.fd = client < 0 ? me->listener : client, .events = POLLIN},
            {.fd = behind, .events = POLLIN}};
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[0].revents)
            break;
        if (client < 0) {
            int on = 1;
            client = accept4(me->listener, NULL, NULL, SOCK_CLOEXEC);
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            behind = connect_to(me->target);
            atomic_fetch_add(&me->accepted, 1);
            continue;
        }
        if ((!fds[1].revents || move_request(me, client, behind)) &&
            (!fds[2].revents || move(behind, client, &me->replies_left,
                                     &me->cut)))
            continue;
        close(client);
        close(behind);
        client = behind = -1;
        atomic_store(&me->hasty, HASTY_NOT);
    }
    close(client);
    close(behind);
    return NULL;
}

static void cutter_start(cutter *me, int target) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int little = 65536;
    memset(me, 0, sizeof *me);
    atomic_store(&me->requests_left, -1);
    atomic_store(&me->replies_left, -1);
    me->target = target;
    me->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Accepted sockets inherit it: a large request is not taken at once. */
    setsockopt(me->listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    assert_int_equal(bind(me->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(me->listener, 64), 0);
    assert_int_equal(getsockname(me->listener, (struct sockaddr *)&address,
                                 &size), 0);
    me->port = ntohs(address.sin_port);
    assert_int_equal(pipe(me->wake), 0);
    assert_int_equal(pthread_create(&me->thread, NULL, cutter_run, me), 0);
}

static void cutter_stop(cutter *me) {
    assert_int_equal(write(me->wake[1], "", 1), 1);
    pthread_join(me->thread, NULL);
    close(me->wake[0]);
    close(me->wake[1]);
    close(me->listener);
}

/* What the errors of one request said, for each place of a cut. */
typedef enum verdict { NOT_SENT, DONE, REFUSED, IN_DOUBT } verdict;
enum { MOST_REQUESTS = 6, MOST_CUTS = 20000, SESSION_BYTES = 24000000 };
typedef struct trial {
    cutter between;
    falkor_pool *pool;
    falkor_graph *graph;
    falkor_call_options options;
    size_t count;
    void (*fill)(struct trial *all, falkor_request *requests, int cut);
    char text[MOST_REQUESTS][200];
    int cuts;
    verdict said[MOST_CUTS][MOST_REQUESTS];
    uint8_t found[MOST_CUTS][MOST_REQUESTS];
    int totals[4];
} trial;

static verdict verdict_of(const falkor_request *request) {
    if (!request->error.status)
        return DONE;
    if (request->error.maybe_executed)
        return IN_DOUBT;
    return request->error.status == FALKOR_ERR_QUERY ? REFUSED : NOT_SENT;
}

/* A connection that is there, with the newest names. */
static void warm_up(trial *all) {
    falkor_error error;
    do
        falkor_ro_query(all->graph, "RETURN 1", NULL, NULL, &error);
    while (error.status == FALKOR_ERR_IO ||
           error.status == FALKOR_ERR_CONNECT);
    serving_ok(&error);
}

/* One pipeline, cut behind so many bytes; false: it was over before. */
static bool cut_once(trial *all, bool replies, int bytes) {
    falkor_request requests[MOST_REQUESTS];
    falkor_error error;
    memset(requests, 0, sizeof requests);
    assert_true(all->cuts < MOST_CUTS);
    all->fill(all, requests, all->cuts);
    warm_up(all);
    int before = atomic_load(&all->between.cut);
    atomic_store(replies ? &all->between.replies_left
                         : &all->between.requests_left, bytes);
    falkor_pipeline(all->pool, &all->options, requests, all->count, &error);
    atomic_store(&all->between.replies_left, -1);
    atomic_store(&all->between.requests_left, -1);
    bool failed = false, maybe = false;
    for (size_t i = 0; i < all->count; i++) {
        const falkor_request *request = &requests[i];
        verdict said = verdict_of(request);
        all->said[all->cuts][i] = said;
        all->totals[said]++;
        assert_int_equal(request->result != NULL, said == DONE);
        assert_true(request->error.attempts >= 1);
        if (request->error.status && !failed)
            assert_int_equal(error.status, request->error.status);
        failed = failed || request->error.status;
        maybe = maybe || request->error.maybe_executed;
    }
    assert_int_equal(error.status != FALKOR_OK, failed);
    assert_int_equal(error.maybe_executed, maybe);
    free_results(requests, all->count);
    all->cuts++;
    return atomic_load(&all->between.cut) > before;
}

/* Cuts behind every byte of the requests, then of the replies; sanitizers make
   it slow: only some places there, others in each run. */
static void cut_everywhere(trial *all) {
    uint64_t seed = test_seed();
    for (int replies = 0; replies < 2; replies++)
        for (int bytes = 0; cut_once(all, replies, bytes);
             bytes += TEST_SANITIZED ? 1 + test_below(&seed, 40) : 1)
            assert_true(bytes < MOST_CUTS);
    printf("%d cuts: not sent %d, done %d, refused %d, in doubt %d\n",
           all->cuts, all->totals[NOT_SENT], all->totals[DONE],
           all->totals[REFUSED], all->totals[IN_DOUBT]);
}

static trial *trial_begin(const char *name, size_t count,
                          void (*fill)(trial *, falkor_request *, int)) {
    trial *all = calloc(1, sizeof *all);
    assert_non_null(all);
    cutter_start(&all->between, server.port);
    falkor_options options = serving_options(all->between.port);
    options.max_size = options.min_size = 1;
    options.retry_initial_delay_ms = options.retry_max_delay_ms = 1;
    options.health_check_interval_ms = -1;
    options.validate_after_ms = -1;     /* a PING would be the next request */
    all->pool = serving_pool(&options);
    all->graph = fresh(all->pool, name);
    serving_run(all->graph, "CREATE (w:W {cut: -1, i: 0}) DELETE w");
    all->count = count;
    all->fill = fill;
    return all;
}

/* Whether every error told the truth: w nodes are what was really done. */
static void check_truth(trial *all, const char *cypher, bool once) {
    warm_up(all);
    falkor_result *result = serving_query(all->graph, cypher, NULL);
    for (size_t row = 0; row < falkor_result_rows(result); row++) {
        int64_t cut = falkor_result_value(result, row, 0)->as.integer;
        int64_t i = falkor_result_value(result, row, 1)->as.integer;
        int64_t times = falkor_result_value(result, row, 2)->as.integer;
        assert_true(cut >= 0 && cut < all->cuts);
        all->found[cut][i] = (uint8_t)times;
    }
    falkor_result_free(result);
    for (int cut = 0; cut < all->cuts; cut++)
        for (size_t i = 0; i < all->count; i++) {
            int times = all->found[cut][i];
            verdict said = all->said[cut][i];
            if ((said == DONE && (once ? times != 1 : times < 1)) ||
                ((said == NOT_SENT || said == REFUSED) && times != 0) ||
                (said == IN_DOUBT && once && times > 1))
                fail_msg("cut %d, request %zu: verdict %d, done %d times",
                         cut, i, said, times);
        }
}

static void trial_end(trial *all, const char *name) {
    warm_up(all);
    serving_drop(all->pool, all->graph, name);
    falkor_pool_free(all->pool);
    cutter_stop(&all->between);
    free(all);
}

static const char written[] =
    "MATCH (w:W) RETURN w.cut, w.i, count(*) ORDER BY w.cut LIMIT 100000";

static void fill_writes(trial *all, falkor_request *requests, int cut) {
    for (size_t i = 0; i < all->count; i++) {
        snprintf(all->text[i], sizeof all->text[i], i == 2
            ? "CREATE (:W {cut: %d, i: %zu}) RETURN 1 / 0"
            : "CREATE (:W {cut: %d, i: %zu})", cut, i);
        requests[i] = (falkor_request){.graph = all->graph,
                                       .cypher = all->text[i]};
    }
}

static void test_pipecuts_writes_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cuts", 4, fill_writes);
    cut_everywhere(all);
    check_truth(all, written, true);
    assert_true(all->totals[DONE] && all->totals[REFUSED] &&
                all->totals[IN_DOUBT]);
    trial_end(all, "cuts");
}

/* A write that adds names, which are read behind the round, among reads: it is
   never sent again though all else may be. */
static void fill_new_name(trial *all, falkor_request *requests, int cut) {
    for (size_t i = 0; i < all->count; i++)
        requests[i] = (falkor_request){.graph = all->graph,
            .cypher = "MATCH (w:W) RETURN w LIMIT 1", .read_only = true};
    snprintf(all->text[1], sizeof all->text[1],
             "CREATE (w:W:New%d {cut: %d, i: 1}) RETURN w", cut, cut);
    requests[1] = (falkor_request){.graph = all->graph,
                                   .cypher = all->text[1]};
}

static void test_pipecuts_new_name_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cutname", 4, fill_new_name);
    uint64_t seed = test_seed();
    /* Names make the lists, and so the replies, longer each time. */
    for (int replies = 0; replies < 2; replies++)
        for (int bytes = 0; bytes < 2600;
             bytes += TEST_SANITIZED ? 90 + test_below(&seed, 90)
                                        : 1 + test_below(&seed, 16))
            cut_once(all, replies, bytes);
    printf("%d cuts: not sent %d, done %d, in doubt %d\n", all->cuts,
           all->totals[NOT_SENT], all->totals[DONE], all->totals[IN_DOUBT]);
    for (int cut = 0; cut < all->cuts; cut++)
        for (size_t i = 0; i < 4; i++)
            if (i != 1)         /* a read is found as it was said */
                all->found[cut][i] = all->said[cut][i] == DONE;
    check_truth(all, written, true);
    trial_end(all, "cutname");
}

static void fill_reads(trial *all, falkor_request *requests, int cut) {
    for (size_t i = 0; i < all->count; i++) {
        snprintf(all->text[i], sizeof all->text[i], "RETURN %d",
                 cut * 10 + (int)i);
        requests[i] = (falkor_request){.graph = all->graph,
                                       .cypher = all->text[i]};
    }
}

/* Reads are sent again, whether each says so or the call. */
static void test_pipecuts_reads_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cutread", 3, fill_reads);
    all->options.read_only = true;
    cut_everywhere(all);
    assert_int_equal(all->totals[DONE], 3 * all->cuts);
    falkor_stats now;
    falkor_pool_stats(all->pool, &now);
    assert_true(now.retries > (uint64_t)all->cuts / 2);
    trial_end(all, "cutread");
}

static void test_pipecuts_idempotent_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cutidem", 2, fill_writes);
    all->options.idempotent = true;
    cut_everywhere(all);
    assert_int_equal(all->totals[DONE], 2 * all->cuts);
    check_truth(all, written, false);
    trial_end(all, "cutidem");
}

/* What follows SELECT or MULTI is not sent without it. */
static void fill_session(trial *all, falkor_request *requests, int cut) {
    static const char *words[3][3] = {{"SELECT", "9"}, {"SET", NULL, "1"},
                                      {"INCR", NULL}};
    static const size_t counts[] = {2, 3, 2};
    snprintf(all->text[0], sizeof all->text[0], "lost-%d", cut);
    words[1][1] = words[2][1] = all->text[0];
    for (size_t i = 0; i < 3; i++)
        requests[i] = (falkor_request){.argc = counts[i], .argv = words[i]};
}

static void test_pipecuts_session_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cutsession", 3, fill_session);
    all->options.idempotent = true;
    cut_everywhere(all);
    char *keys = serving_ask(server.port,
        "EVAL return(#redis.call('KEYS','lost-*')) 0");
    assert_string_equal(keys, "0");
    free(keys);
    trial_end(all, "cutsession");
}

/* More than the sockets hold: what is behind it has certainly not been sent
   when the connection breaks. It is sent again if that is safe, which it is
   not without the SELECT that has been answered. */
static void test_pipecuts_session_is_not_left(void **state) {
    (void)state;
    trial *all = trial_begin("cutlarge", 4, fill_writes);
    char *text = malloc(SESSION_BYTES + 1);
    assert_non_null(text);
    memset(text, 'x', SESSION_BYTES);
    text[SESSION_BYTES] = '\0';
    falkor_request requests[] = {{WORDS("SELECT", "9")},
        {WORDS("SET", "large-key", text), .idempotent = true},
        {WORDS("SET", "lost-key", "1")}};
    falkor_error error;
    free(serving_ask(server.port, "DEL lost-key large-key"));
    warm_up(all);
    atomic_store(&all->between.requests_left, 1000000);
    falkor_pipeline(all->pool, NULL, requests + 1, 2, &error);
    serving_ok(&error);
    assert_int_equal(requests[2].error.attempts, 2);
    free_results(requests, 3);
    assert_int_equal(serving_number(server.port, "DEL lost-key large-key"), 2);
    bool selected = false;              /* and the answer came through */
    for (int i = 0; i < 50 && !selected; i++) {
        warm_up(all);
        atomic_store(&all->between.requests_left, 1000000);
        assert_int_equal(falkor_pipeline(all->pool, NULL, requests, 3,
                                         &error), FALKOR_ERR_IO);
        selected = !requests[0].error.status;
        assert_int_equal(requests[0].error.maybe_executed, !selected);
        assert_int_equal(error.attempts, 1);
        for (int k = 1; k < 3; k++) {
            assert_int_equal(requests[k].error.status, FALKOR_ERR_IO);
            assert_false(requests[k].error.maybe_executed);
        }
        free_results(requests, 3);
    }
    assert_true(selected);
    assert_int_equal(serving_number(server.port, "EXISTS lost-key large-key"),
                     0);
    free(text);
    trial_end(all, "cutlarge");
}

static void fill_transaction(trial *all, falkor_request *requests, int cut) {
    static const char *words[4][3] = {{"MULTI"}, {"INCR", NULL}, {"INCR", NULL},
                                      {"EXEC"}};
    static const size_t counts[] = {1, 2, 2, 1};
    snprintf(all->text[0], sizeof all->text[0], "exec-%d", cut);
    words[1][1] = words[2][1] = all->text[0];
    for (size_t i = 0; i < 4; i++)
        requests[i] = (falkor_request){.argc = counts[i], .argv = words[i]};
}

/* All or nothing, and EXEC's error says which, or that nobody knows. */
static void test_pipecuts_transaction_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cutexec", 4, fill_transaction);
    cut_everywhere(all);
    int doubts = 0;
    redisContext *client = serving_client(server.port);
    for (int cut = 0; cut < all->cuts; cut++) {
        redisReply *reply = redisCommand(client, "GET exec-%d", cut);
        int found = reply->type == REDIS_REPLY_STRING ? atoi(reply->str) : 0;
        verdict said = all->said[cut][3];
        assert_true(found == 0 || found == 2);
        assert_true(said == IN_DOUBT || found == (said == DONE ? 2 : 0));
        doubts += said == IN_DOUBT;
        freeReplyObject(reply);
    }
    redisFree(client);
    assert_true(doubts > 0);
    trial_end(all, "cutexec");
}

/* A single query's request, cut behind every byte: with one reply due there is
   no telling how far the server got. */
static void test_pipecuts_single_query_cut_anywhere(void **state) {
    (void)state;
    trial *all = trial_begin("cutone", 1, fill_writes);
    uint64_t seed = test_seed();
    for (int replies = 0; replies < 2; replies++)
        for (int bytes = 0;; bytes += TEST_SANITIZED
                 ? 1 + test_below(&seed, 20) : 1) {
            falkor_error error;
            char text[80];
            snprintf(text, sizeof text, "CREATE (:W {cut: %d, i: 0})",
                     all->cuts);
            warm_up(all);
            int before = atomic_load(&all->between.cut);
            atomic_store(replies ? &all->between.replies_left
                                 : &all->between.requests_left, bytes);
            falkor_query(all->graph, text, NULL, NULL, &error);
            atomic_store(&all->between.replies_left, -1);
            atomic_store(&all->between.requests_left, -1);
            all->said[all->cuts++][0] = !error.status ? DONE
                : error.maybe_executed ? IN_DOUBT : NOT_SENT;
            if (atomic_load(&all->between.cut) == before)
                break;
        }
    check_truth(all, written, true);
    trial_end(all, "cutone");
}

/* ---- time ------------------------------------------------------------- */

/* The deadline passes while the second one is being carried out. */
static void test_pipecuts_deadline_in_the_middle(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_error error;
    falkor_request all[] = {{WORDS("SET", "late", "1")},
        {WORDS("BLPOP", "no-such-list", "0")}, {WORDS("SET", "late", "2")},
        {WORDS("GET", "late"), .read_only = true}};
    int64_t begin = test_now_ms();
    assert_int_equal(falkor_pipeline(pool, &(falkor_call_options){
        .timeout_ms = 300}, all, 4, &error), FALKOR_ERR_TIMEOUT);
    int64_t took = test_now_ms() - begin;
    assert_true(took >= 299 && took < 1300);
    test_assert_has(error.message, "timeout_ms is 300");
    assert_int_equal(all[0].error.status, FALKOR_OK);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(all[i].error.status, FALKOR_ERR_TIMEOUT);
        assert_int_equal(all[i].error.maybe_executed, i != 3);
        assert_int_equal(all[i].error.attempts, 1);
    }
    free_results(all, 4);
    falkor_pool_free(pool);
}

static void test_pipecuts_stopped_server(void **state) {
    (void)state;
    serving own;
    serving_start(&own, NULL);
    falkor_pool *pool = pool_at(own.port, 1);
    falkor_graph *graph = fresh(pool, "stopped");
    serving_run(graph, "CREATE (w:W) DELETE w");
    serving_run(graph, "RETURN 1");     /* the names are known from here on */
    falkor_error error;
    falkor_request all[] = {
        {.graph = graph, .cypher = "CREATE (:W)"},
        {.graph = graph, .cypher = "MATCH (n) RETURN n", .read_only = true},
        {.graph = graph, .cypher = "CREATE (:W)"}};
    serving_signal(&own, SIGSTOP);
    serving_await_state(&own, 'T');
    int64_t begin = test_now_ms();
    assert_int_equal(falkor_pipeline(pool, &(falkor_call_options){
        .timeout_ms = 250, .max_retries = 5}, all, 3, &error),
        FALKOR_ERR_TIMEOUT);
    int64_t took = test_now_ms() - begin;
    serving_signal(&own, SIGCONT);
    assert_true(took >= 249 && took < 1250);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(all[i].error.status, FALKOR_ERR_TIMEOUT);
        assert_int_equal(all[i].error.maybe_executed, i != 1);
        assert_null(all[i].result);
    }
    assert_true(serving_integer(graph, "MATCH (n) RETURN count(n)", NULL) <=
                2);
    falkor_pool_free(pool);
    serving_stop(&own);
}

/* ---- many threads, killed connections --------------------------------- */

enum { THREADS = 16, EACH = 8, PIPELINES = TEST_SANITIZED ? 20 : 80 };
typedef struct worker {
    falkor_pool *pool;
    falkor_graph *graph;
    int number, done, in_doubt, failed;
    verdict said[PIPELINES * EACH];
} worker;
static worker workers[THREADS];

static void *work(void *argument) {
    worker *me = argument;
    for (int k = 0; k < PIPELINES; k++) {
        falkor_request all[EACH];
        falkor_param params[EACH][2];
        falkor_error error;
        memset(all, 0, sizeof all);
        memset(params, 0, sizeof params);
        for (int i = 0; i < EACH; i++) {
            int64_t token = me->number * 1000000 + k * EACH + i;
            params[i][0] = (falkor_param){"t", falkor_int(token)};
            all[i] = (falkor_request){.graph = me->graph,
                .params = params[i], .read_only = i % 2 != 0,
                .cypher = i % 2 ? "RETURN $t"
                                : "CREATE (w:W {token: $t}) RETURN w.token"};
        }
        falkor_pipeline(me->pool, NULL, all, EACH, &error);
        for (int i = 0; i < EACH; i++) {
            verdict said = verdict_of(&all[i]);
            const falkor_value *value = falkor_result_value(all[i].result, 0,
                                                            0);
            me->said[k * EACH + i] = said;
            if (said == DONE)
                TEST_CHECK(value && value->type == FALKOR_INTEGER &&
                    value->as.integer == params[i][0].value.as.integer);
            me->done += said == DONE;
            me->in_doubt += said == IN_DOUBT;
            TEST_CHECK(said == DONE ||
                all[i].error.status == FALKOR_ERR_IO ||
                all[i].error.status == FALKOR_ERR_CONNECT);
            falkor_result_free(all[i].result);
        }
    }
    return NULL;
}

typedef struct killer {
    atomic_bool stopped;
    long long killed;
} killer;

static void *kill_clients(void *argument) {
    killer *me = argument;
    redisContext *client = serving_client(server.port);
    while (!atomic_load(&me->stopped)) {
        redisReply *reply = redisCommand(client,
            "CLIENT KILL TYPE normal SKIPME yes");
        if (TEST_CHECK(reply && reply->type == REDIS_REPLY_INTEGER))
            me->killed += reply->integer;
        freeReplyObject(reply);
        test_pause_ms(12);              /* a rate, not a wait */
    }
    redisFree(client);
    return NULL;
}

/* Every acknowledged write is there once, no other one twice, and none that
   was said not to have run. */
static void check_tokens(falkor_graph *graph) {
    static uint8_t found[THREADS][PIPELINES * EACH];
    memset(found, 0, sizeof found);
    falkor_result *result = serving_query(graph, "MATCH (w:W) "
        "RETURN w.token, count(*) LIMIT 100000", NULL);
    for (size_t row = 0; row < falkor_result_rows(result); row++) {
        int64_t token = falkor_result_value(result, row, 0)->as.integer;
        found[token / 1000000][token % 1000000] = (uint8_t)
            falkor_result_value(result, row, 1)->as.integer;
    }
    falkor_result_free(result);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < PIPELINES * EACH; i += 2) {
            verdict said = workers[t].said[i];
            int times = found[t][i];
            if (times != (said == DONE) && !(said == IN_DOUBT && times == 1))
                fail_msg("token %d of thread %d: verdict %d, %d times", i, t,
                         said, times);
        }
}

static void test_pipecuts_threads_under_client_kill(void **state) {
    (void)state;
    for (int form = 0; form < 2; form++) {      /* in peace, and killed */
        falkor_pool *pool = pool_at(server.port, 4);
        falkor_graph *graph = fresh(pool, "killed");
        killer other = {.stopped = form == 0};
        int done = 0, in_doubt = 0;
        serving_run(graph, "CREATE (w:W {token: 0}) DELETE w");
        memset(workers, 0, sizeof workers);
        for (int i = 0; i < THREADS; i++)
            workers[i] = (worker){.pool = pool, .graph = graph, .number = i};
        test_threads killing = test_start(kill_clients, &other, sizeof other,
                                          1);
        test_threads threads = test_start(work, workers, sizeof *workers,
                                          THREADS);
        test_join_within(&threads, 60000);
        atomic_store(&other.stopped, true);
        test_join(&killing);
        test_no_complaints();
        for (int i = 0; i < THREADS; i++) {
            done += workers[i].done;
            in_doubt += workers[i].in_doubt;
        }
        printf("%lld killed: %d done, %d in doubt\n", other.killed, done,
               in_doubt);
        if (form == 0)
            assert_int_equal(done, THREADS * PIPELINES * EACH);
        else
            assert_true(other.killed > 0 && done > 0);
        check_tokens(graph);
        serving_drop(pool, graph, "killed");
        falkor_pool_free(pool);
    }
}

/* ---- the pool around it ----------------------------------------------- */

typedef struct blocked {
    falkor_pool *pool;
    falkor_request requests[3];
    falkor_error error;
} blocked;

static void *run_blocked(void *argument) {
    blocked *me = argument;
    falkor_pipeline(me->pool, NULL, me->requests, 3, &me->error);
    return NULL;
}

static void test_pipecuts_pool_closed_in_the_middle(void **state) {
    (void)state;
    falkor_pool *pool = pool_at(server.port, 1);
    blocked one = {.pool = pool, .requests = {{WORDS("SET", "middle", "1")},
        {WORDS("BLPOP", "no-such-list", "0")},
        {WORDS("GET", "middle"), .read_only = true}}};
    free(serving_ask(server.port, "DEL middle"));
    test_threads thread = test_start(run_blocked, &one, sizeof one, 1);
    TEST_EVENTUALLY(serving_number(server.port, "EXISTS middle") == 1);
    TEST_EVENTUALLY(serving_info(server.port, "clients", "blocked_clients"));
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    test_join(&thread);
    assert_int_equal(one.requests[0].error.status, FALKOR_OK);
    assert_int_equal(one.requests[1].error.status, FALKOR_ERR_IO);
    assert_true(one.requests[1].error.maybe_executed);
    assert_int_equal(one.requests[2].error.status, FALKOR_ERR_IO);
    assert_false(one.requests[2].error.maybe_executed);
    free_results(one.requests, 3);
    falkor_pool_free(pool);
}

static void count_retries(void *ctx, const falkor_event *event) {
    atomic_int *counts = ctx;
    if (strcmp(event->name, "query_retry") == 0)
        atomic_fetch_add(&counts[0], 1);
    if (strcmp(event->name, "query_failed_after_retries") == 0)
        atomic_fetch_add(&counts[1], 1);
}

static void test_pipecuts_retries_are_counted(void **state) {
    (void)state;
    proxy between;
    atomic_int counts[2];
    atomic_init(&counts[0], 0);
    atomic_init(&counts[1], 0);
    proxy_start(&between, server.port);
    falkor_options options = serving_options(between.port);
    options.max_size = 1;
    options.retry_initial_delay_ms = options.retry_max_delay_ms = 1;
    options.validate_after_ms = options.health_check_interval_ms = -1;
    options.breaker_failures = -1;
    options.on_event = count_retries;
    options.event_ctx = counts;
    falkor_pool *pool = serving_pool(&options);
    falkor_error error;
    falkor_stats before, after;
    static const int retries[] = {-1, 0, 1, 7};
    static const int wanted[] = {0, 3, 1, 7};
    falkor_request all[] = {{WORDS("GET", "nothing"), .read_only = true},
                            {WORDS("GET", "nothing")}};
    for (int i = 0; i < 4; i++) {
        all[1].idempotent = i % 2;
        all[1].read_only = !all[1].idempotent;
        falkor_call_options call = {.max_retries = retries[i]};
        falkor_pipeline(pool, NULL, all, 2, &error);    /* a connection */
        serving_ok(&error);
        free_results(all, 2);
        falkor_pool_stats(pool, &before);
        atomic_store(&counts[0], 0);
        atomic_store(&counts[1], 0);
        /* The greeting of a new connection is a request too: refuse all. */
        atomic_store(&between.cut_requests, 1000);
        assert_true(falkor_pipeline(pool, &call, all, 2, &error) != FALKOR_OK);
        atomic_store(&between.cut_requests, 0);
        assert_int_equal(error.attempts, wanted[i] + 1);
        assert_int_equal(all[0].error.attempts, wanted[i] + 1);
        assert_int_equal(all[1].error.maybe_executed, i % 2);
        assert_false(all[0].error.maybe_executed);
        assert_int_equal(atomic_load(&counts[0]), wanted[i]);
        assert_int_equal(atomic_load(&counts[1]), wanted[i] > 0);
        falkor_pool_stats(pool, &after);
        assert_int_equal(after.queries, before.queries + 2);
        assert_int_equal(after.retries, before.retries + (uint64_t)wanted[i]);
        assert_int_equal(after.errors[error.status],
                         before.errors[error.status] + 2);
    }
    falkor_pool_free(pool);
    proxy_stop(&between);
}

/* ---- one large request ------------------------------------------------ */

static char *large_text(size_t size) {
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    return text;
}

/* A server that has seen enough says so, and goes: what it says counts, and
   nothing of it ran. */
static void test_pipecuts_refused_while_sending(void **state) {
    (void)state;
    size_t size = TEST_SANITIZED ? 8000000 : 64000000;
    char *text = large_text(size);
    free(serving_ask(server.port, "CONFIG SET proto-max-bulk-len 1048576"));
    falkor_pool *pool = pool_at(server.port, 1);
    falkor_graph *graph = fresh(pool, "enough");
    falkor_error error;
    for (int i = 0; i < 3; i++) {
        falkor_status status = falkor_query(graph, "CREATE (:Big {s: $s})",
            FALKOR_PARAMS({"s", falkor_string(text)}), NULL, &error);
        /* Its words are lost when the reset comes first. */
        assert_true(status == FALKOR_ERR_QUERY || status == FALKOR_ERR_IO);
        assert_int_equal(error.maybe_executed, status == FALKOR_ERR_IO);
        if (status == FALKOR_ERR_QUERY)
            test_assert_has(error.message, "invalid bulk length");
        falkor_request all[] = {{WORDS("PING")},
                                {WORDS("SET", "enough-key", text)},
                                {WORDS("SET", "enough-key", "2")}};
        assert_true(falkor_pipeline(pool, NULL, all, 3, &error) != FALKOR_OK);
        assert_true(all[0].error.status == FALKOR_OK ||
                    all[0].error.status == FALKOR_ERR_IO);
        for (int k = 1; k < 3; k++)
            assert_true(all[k].error.status == FALKOR_ERR_IO &&
                        !all[k].error.maybe_executed);
        free_results(all, 3);
        serving_run(graph, "RETURN 1");
    }
    free(serving_ask(server.port, "CONFIG SET proto-max-bulk-len 536870912"));
    assert_int_equal(serving_number(server.port, "EXISTS enough-key"), 0);
    assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)", NULL),
                     0);
    free(text);
    serving_drop(pool, graph, "enough");
    falkor_pool_free(pool);
}

/* The same against one that answers at once and reads on, or goes. */
static void test_pipecuts_answered_while_sending(void **state) {
    (void)state;
    trial *all = trial_begin("hasty", 1, fill_writes);
    char *text = large_text(TEST_SANITIZED ? 8000000 : 64000000);
    falkor_error error;
    for (int form = HASTY_STAYS; form <= HASTY_GOES; form++) {
        warm_up(all);
        int accepted = atomic_load(&all->between.accepted);
        atomic_store(&all->between.hasty, form);
        falkor_status status = falkor_query_with(all->graph,
            &(falkor_call_options){.timeout_ms = TEST_PATIENCE_MS},
            "RETURN size($s)", FALKOR_PARAMS({"s", falkor_string(text)}), NULL,
            &error);
        assert_true(status == FALKOR_ERR_QUERY ||
                    (form == HASTY_GOES && status == FALKOR_ERR_IO));
        assert_int_equal(error.maybe_executed, status == FALKOR_ERR_IO);
        if (status == FALKOR_ERR_QUERY)
            test_assert_has(error.message, "seen enough");
        /* Who stayed keeps what it gets to itself for this connection. */
        falkor_conn *conn;
        assert_int_equal(falkor_acquire(all->pool, &conn, &error), FALKOR_OK);
        falkor_conn_mark_broken(conn);
        assert_int_equal(falkor_release(conn), FALKOR_OK);
        warm_up(all);
        assert_true(atomic_load(&all->between.accepted) > accepted);
    }
    free(text);
    trial_end(all, "hasty");
}

TEST_MAIN_WITH(start_server, stop_server,
    cmocka_unit_test(test_pipecuts_writes_cut_anywhere),
    cmocka_unit_test(test_pipecuts_new_name_cut_anywhere),
    cmocka_unit_test(test_pipecuts_reads_cut_anywhere),
    cmocka_unit_test(test_pipecuts_idempotent_cut_anywhere),
    cmocka_unit_test(test_pipecuts_session_cut_anywhere),
    cmocka_unit_test(test_pipecuts_session_is_not_left),
    cmocka_unit_test(test_pipecuts_transaction_cut_anywhere),
    cmocka_unit_test(test_pipecuts_single_query_cut_anywhere),
    cmocka_unit_test(test_pipecuts_deadline_in_the_middle),
    cmocka_unit_test(test_pipecuts_stopped_server),
    cmocka_unit_test(test_pipecuts_threads_under_client_kill),
    cmocka_unit_test(test_pipecuts_pool_closed_in_the_middle),
    cmocka_unit_test(test_pipecuts_retries_are_counted),
    cmocka_unit_test(test_pipecuts_refused_while_sending),
    cmocka_unit_test(test_pipecuts_answered_while_sending))
