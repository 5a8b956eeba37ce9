/* See sides.h. */
#define _POSIX_C_SOURCE 200809L
#include "sides.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- loads ------------------------------------------------------------- */

typedef struct team {
    load *load;
    pthread_barrier_t start;
    atomic_bool over;
    atomic_int_least64_t taken;
} team;

typedef struct member {
    team *team;
    int number;
    int64_t begin_ns, end_ns, done;
    double sum;
    pthread_t thread;
} member;

static void *work(void *argument) {
    member *m = argument;
    team *t = m->team;
    const load *l = t->load;
    pthread_barrier_wait(&t->start);
    int64_t now = m->begin_ns = falkor_now_ns();
    while (!atomic_load_explicit(&t->over, memory_order_relaxed)) {
        int64_t turn = l->count ? atomic_fetch_add(&t->taken, 1) : 0;
        if (l->count && turn >= l->count)
            break;
        m->sum += l->job(l->context, m->number);
        m->done++;
        if (l->ms) {
            int64_t before = now;
            now = falkor_now_ns();
            l->ms[turn] = (double)(now - before) / 1e6;
        }
    }
    m->end_ns = falkor_now_ns();
    return NULL;
}

static void pause_ns(int64_t ns) {
    struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

double load_run(load *l) {
    static member members[SIDES_MOST_THREADS];
    team t = {.load = l};
    int64_t begin_ns = INT64_MAX, end_ns = 0;
    pthread_barrier_init(&t.start, NULL, (unsigned)l->threads + 1);
    for (int i = 0; i < l->threads; i++) {
        members[i] = (member){.team = &t, .number = i};
        if (pthread_create(&members[i].thread, NULL, work, &members[i]))
            bench_fail("a thread cannot be made");
    }
    pthread_barrier_wait(&t.start);
    if (l->span_ns) {
        pause_ns(l->span_ns);
        atomic_store(&t.over, true);
    }
    l->done = 0;
    for (int i = 0; i < l->threads; i++) {
        pthread_join(members[i].thread, NULL);
        l->done += members[i].done;
        l->sum += members[i].sum;
        if (members[i].begin_ns < begin_ns)
            begin_ns = members[i].begin_ns;
        if (members[i].end_ns > end_ns)
            end_ns = members[i].end_ns;
    }
    pthread_barrier_destroy(&t.start);
    l->seconds = (double)(end_ns - begin_ns) / 1e9;
    return (double)l->done / l->seconds;
}

/* ---- reading ----------------------------------------------------------- */

static double sum_text(const char *text, size_t length) {
    return (double)length + (length ? text[0] : 0);
}

static double sum_value(const falkor_value *value);

static double sum_entries(const falkor_value *map) {
    double sum = 0;
    for (uint32_t i = 0; i < map->length; i++)
        sum += sum_value(&map->as.entries[i].value);
    return sum;
}

static double sum_node(const falkor_node *node) {
    double sum = (double)node->id + sum_entries(&node->properties);
    for (size_t i = 0; i < node->label_count; i++)
        sum += node->labels[i][0];
    return sum;
}

static double sum_value(const falkor_value *value) {
    switch (value->type) {
    case FALKOR_INTEGER: return (double)value->as.integer;
    case FALKOR_DOUBLE: return value->as.real;
    case FALKOR_STRING: return sum_text(value->as.string, value->length);
    case FALKOR_MAP: return sum_entries(value);
    case FALKOR_NODE: return sum_node(value->as.node);
    default: bench_fail("a value of a type that no benchmark asks for");
    }
}

double sides_sum_result(const falkor_result *result) {
    double sum = 0;
    size_t columns = falkor_result_columns(result);
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        for (size_t i = 0; i < columns; i++)
            sum += sum_value(falkor_result_value(result, row, i));
    return sum;
}

double sides_sum_reply(const redisReply *reply) {
    double sum = 0;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER: return (double)reply->integer;
    case REDIS_REPLY_STRING: return sum_text(reply->str, reply->len);
    case REDIS_REPLY_ERROR: bench_fail("%s", reply->str);
    default:
        for (size_t i = 0; i < reply->elements; i++)
            sum += sides_sum_reply(reply->element[i]);
        return sum;
    }
}

double sides_query(falkor_graph *graph, const char *cypher) {
    falkor_error error;
    falkor_result *result;
    if (falkor_ro_query(graph, cypher, NULL, &result, &error))
        bench_fail("%s", error.message);
    double sum = sides_sum_result(result);
    falkor_result_free(result);
    return sum;
}

double sides_bare_query(redisContext *c, const char *cypher) {
    redisReply *reply = redisCommandArgv(c, 4, (const char *[]){
        "GRAPH.RO_QUERY", SIDES_GRAPH, cypher, "--compact"}, NULL);
    if (!reply)
        bench_fail("hiredis: %s", c->errstr);
    double sum = sides_sum_reply(reply);
    freeReplyObject(reply);
    return sum;
}

void sides_make_graph(falkor_graph *graph) {
    falkor_error error;
    falkor_value count = falkor_int(SIDES_NODES);
    falkor_graph_delete(graph, NULL, NULL);
    if (falkor_query(graph, "UNWIND range(1, $count) AS i CREATE (:P {name: "
            "'person ' + i, city: 'city ' + (i % 7), age: i % 90, "
            "score: i / 3.0})", FALKOR_PARAMS({"count", count}), NULL, &error))
        bench_fail("%s", error.message);
}

/* ---- one query, asked in several ways ---------------------------------- */

/* Who waits in line, on his own stack. */
typedef struct place {
    struct place *behind;
    int granted;                        /* a connection's number */
    sem_t ready;
} place;

static struct {
    pthread_mutex_t mutex;
    int idle[QUESTION_LINE], count;
    place *first, *last;
} queue = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void question_begin(question *q, falkor_pool *pool) {
    q->graph = falkor_select_graph(pool, SIDES_GRAPH);
    sides_make_graph(q->graph);
    for (int i = 0; i < SIDES_MOST_THREADS; i++)
        q->bare[i] = sides_bare();
    for (queue.count = 0; queue.count < QUESTION_LINE; queue.count++)
        queue.idle[queue.count] = queue.count;
}

void question_end(question *q) {
    falkor_graph_delete(q->graph, NULL, NULL);
    for (int i = 0; i < SIDES_MOST_THREADS; i++)
        redisFree(q->bare[i]);
}

double question_pooled(void *context, int thread) {
    const question *q = context;
    (void)thread;
    return sides_query(q->graph, q->cypher);
}

double question_own(void *context, int thread) {
    const question *q = context;
    return sides_bare_query(q->bare[thread], q->cypher);
}

double question_anew(void *context, int thread) {
    const question *q = context;
    (void)thread;
    redisContext *c = sides_bare();
    double sum = sides_bare_query(c, q->cypher);
    redisFree(c);
    return sum;
}

static pthread_mutex_t turn_of = PTHREAD_MUTEX_INITIALIZER;

double question_shared(void *context, int thread) {
    const question *q = context;
    (void)thread;
    pthread_mutex_lock(&turn_of);
    double sum = sides_bare_query(q->bare[0], q->cypher);
    pthread_mutex_unlock(&turn_of);
    return sum;
}

static int line_enter(void) {
    place self = {.behind = NULL};
    pthread_mutex_lock(&queue.mutex);
    if (queue.count > 0) {
        int number = queue.idle[--queue.count];
        pthread_mutex_unlock(&queue.mutex);
        return number;
    }
    sem_init(&self.ready, 0, 0);
    if (queue.first)
        queue.last->behind = &self;
    else
        queue.first = &self;
    queue.last = &self;
    pthread_mutex_unlock(&queue.mutex);
    while (sem_wait(&self.ready))
        continue;
    sem_destroy(&self.ready);
    return self.granted;
}

static void line_leave(int number) {
    pthread_mutex_lock(&queue.mutex);
    place *next = queue.first;
    if (next)
        queue.first = next->behind;
    else
        queue.idle[queue.count++] = number;
    pthread_mutex_unlock(&queue.mutex);
    if (next) {
        next->granted = number;
        sem_post(&next->ready);
    }
}

double question_in_line(void *context, int thread) {
    const question *q = context;
    (void)thread;
    int number = line_enter();
    double sum = sides_bare_query(q->bare[number], q->cypher);
    line_leave(number);
    return sum;
}

/* ---- peers ------------------------------------------------------------- */

static struct { char host[256]; int port; } address;

static void find_address(void) {
    const char *url = bench_options().url, *at = strstr(url, "://");
    if (!address.port && (!at || strchr(at, '@') ||
            sscanf(at, "://%255[^:/]:%d", address.host, &address.port) != 2))
        bench_fail("the peers want FALKORDB_URL=falkor://HOST:PORT");
}

const char *sides_host(void) { find_address(); return address.host; }
int sides_port(void) { find_address(); return address.port; }

redisContext *sides_bare(void) {
    redisContext *c = redisConnect(sides_host(), sides_port());
    if (!c || c->err)
        bench_fail("hiredis cannot connect: %s", c ? c->errstr : "no memory");
    return c;
}

static _Noreturn void become(const char *const *argv, const char *libraries) {
    if (libraries)
        setenv("LD_LIBRARY_PATH", libraries, 1);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

peer peer_start(const char *const *argv, const char *libraries) {
    int in[2], out[2];
    if (pipe(in) || pipe(out))
        bench_fail("a pipe cannot be made");
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("a process cannot be made");
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        become(argv, libraries);
    }
    close(in[0]);
    close(out[1]);
    signal(SIGPIPE, SIG_IGN);           /* who is gone is seen at his end */
    return (peer){.pid = pid, .input = in[1], .output = out[0]};
}

bool peer_line(peer *p, char *line, size_t size) {
    size_t length = 0;
    char byte;
    ssize_t got;
    while ((got = read(p->output, &byte, 1)) == 1 && byte != '\n')
        if (length + 1 < size && byte != '\r')
            line[length++] = byte;
    line[length] = '\0';
    return got == 1 || length > 0;
}

void peer_tell(peer *p, const char *line) {
    size_t length = strlen(line);
    if (write(p->input, line, length) != (ssize_t)length)
        bench_note("a peer does not listen");
}

int peer_end(peer *p) {
    int status;
    close(p->input);
    close(p->output);
    while (waitpid(p->pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

peer node_start(void) {
    return peer_start((const char *[]){"node", "test/bench_node.mjs", NULL},
                      NULL);
}

double node_rate(peer *node, int64_t span_ns, int connections, int loops) {
    char line[64];
    snprintf(line, sizeof line, "%lld %d %d\n", (long long)(span_ns / 1000000),
             connections, loops);
    peer_tell(node, line);
    return peer_line(node, line, sizeof line) ? strtod(line, NULL) : 0;
}
