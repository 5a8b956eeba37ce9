/* falkor-cli bench: many threads ask one query through one pool, and the time
   that each call takes is counted. Each thread counts for itself, in
   histograms of fixed size, and takes no lock for it; the sums are made when
   all have ended. The threads are pthreads rather than <threads.h>, for these
   the race detectors know. */
#include "falkor-cli-bench.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char cli_bench_help[] =
"usage: falkor-cli bench [-u URL | -h HOST -p PORT] [-g GRAPH] [--ro]\n"
"                        [-P name=json | -P name=@rule]... [--threads N]\n"
"                        [--pool N] [--duration SECONDS | --count N]\n"
"                        [--warmup SECONDS] [--json] [--embedded] [QUERY]\n"
"\n"
"Asks QUERY again and again from many threads, each as soon as it has its\n"
"last result, over a pool of connections, and tells how many a second and how\n"
"long they took. Without a QUERY that is RETURN 1, read only. A QUERY is sent\n"
"as one that may write: one that writes WRITES TO THE GRAPH, once each time,\n"
"in the warm-up too. With --ro the server refuses whatever would write.\n"
"\n"
"      --threads N      who ask, 1 to 10000; 50\n"
"      --pool N         connections that they share, 1 to 10000, of several\n"
"                       servers to each of them; else what\n"
"                       the URL or DB_POOL_MAX_SIZE says, or 20. They are\n"
"                       opened before the clock runs\n"
"      --duration SECONDS  how long; 10. What was begun then is waited for\n"
"      --count N        instead: exactly N queries in all, without a warm-up\n"
"      --warmup SECONDS  of the same before, which is not counted; 1\n"
"  -P, --param NAME=JSON  sets $NAME for all, as without bench\n"
"  -P, --param NAME=@RULE  gives each query a value of its own, an integer:\n"
"          @counter             1, 2, 3 ... over all threads\n"
"          @counter:FROM        the same from FROM on\n"
"          @counter:FROM..TO    the same, and behind TO again from FROM\n"
"          @random:FROM..TO     from FROM to TO, both included; the nth query\n"
"                               of every run has the same\n"
"          @thread              the thread's number, from 1 on\n"
"                       A text that begins with @ has its quotes: '\"@x\"'\n"
"      --waits          measures the wait for a connection by itself: each is\n"
"                       acquired by hand, so that a query is not retried\n"
"      --json           the result as one object on one line, with queries,\n"
"                       seconds, queries_per_second, errors, first_error,\n"
"                       latency_ms {min, avg, p50 ... p99_9, max}, pool ...\n"
"      --table          the result for people: the default\n"
"      --progress       a line each second on standard error; the default\n"
"                       where that is a terminal, unless with --json\n"
"\n"
"and -u, -h, -p, -s, -g, --user, --askpass, --embedded, --data as in\n"
"falkor-cli --help.\n"
"\n"
"A latency is what the caller of the query sees, with the wait for a\n"
"connection, retries and decoding; percentiles are exact to 1 %. Queries that\n"
"failed are counted by their status, and are in neither latency nor\n"
"throughput; behind one that was refused for an open circuit or a full line\n"
"its thread rests 10 ms. No thread asks before its last query has ended: a\n"
"server that stands still for a second is one long latency for each. How many\n"
"connections are in use, and how many threads wait for one, is looked at every\n"
"10 ms.\n"
"\n"
"Ctrl-C ends the run early, when what was begun is done, and prints the\n"
"result; a second one ends falkor-cli.\n"
"\n"
"Exit status: 0; 1 a query failed, or no connection; 2 wrong usage.\n";

/* ---- the command line ------------------------------------------------- */

enum { MOST_THREADS = 10000, MOST_CONNECTIONS = 10000 };

struct cli_bench {
    const char *command;
    int threads, pool;                  /* 0: 50, and not said */
    uint64_t count;                     /* 0: seconds end the run */
    double seconds, warmup;             /* -1: not said */
    bool waits, progress;
    cli_rule *rules;
};

cli_bench *cli_bench_new(const char *command) {
    cli_bench *self = cli_reserve(NULL, 1, sizeof *self);
    *self = (cli_bench){.command = command, .threads = 50, .seconds = -1,
                        .warmup = -1};
    return self;
}

void cli_bench_free(cli_bench *self) {
    if (self)
        cli_rules_free(self->rules);
    free(self);
}

static int small_number(const cli_bench *self, const char *name,
                        const char *value, int most) {
    return (int)cli_whole_number(self->command, name, value, most,
                                 "a number from 1 to 10000");
}

bool cli_bench_option(cli_bench *self, int option, const char *value) {
    const char *command = self->command;
    switch (option) {
    case CLI_BENCH_THREADS:
        self->threads = small_number(self, "--threads", value, MOST_THREADS);
        break;
    case CLI_BENCH_POOL:
        self->pool = small_number(self, "--pool", value, MOST_CONNECTIONS);
        break;
    case CLI_BENCH_COUNT:
        self->count = (uint64_t)cli_whole_number(command, "--count", value,
            INT64_MAX / 2, "a number from 1 on");
        break;
    case CLI_BENCH_DURATION:
        self->seconds = cli_seconds_of(command, "--duration", value, false);
        break;
    case CLI_BENCH_WARMUP:
        self->warmup = cli_seconds_of(command, "--warmup", value, true);
        break;
    case CLI_BENCH_WAITS: self->waits = true; break;
    case CLI_BENCH_PROGRESS: self->progress = true; break;
    default: return false;
    }
    return true;
}

void cli_bench_check(cli_bench *self) {
    if (self->count > 0 && self->seconds > 0)
        cli_wrong("--count and --duration both say when to end: choose one",
                  "");
    if (self->count > 0 && self->warmup > 0)
        cli_wrong("--count is exactly so many queries: it goes without "
                  "--warmup", "");
    if (self->seconds < 0)
        self->seconds = 10;
    if (self->warmup < 0)
        self->warmup = self->count > 0 ? 0 : 1;
}

const char *cli_bench_param(cli_bench *self, const char *text,
                            const char *value) {
    return cli_rule_set(&self->rules, text, value) ? "0" : value;
}

int cli_bench_pool_size(const cli_bench *self) {
    return self->pool;
}

/* ---- asking ----------------------------------------------------------- */

/* One run of all threads: the warm-up, or what is measured. */
typedef struct crew {
    const cli_bench *bench;
    const cli *session;
    const char *query;
    bool read_only;
    atomic_uint_least64_t *asked;       /* queries, the warm-up's too */
    uint64_t limit;                     /* asked is never more; 0: no limit */
    int64_t begin_ns, end_ns;
    pthread_mutex_t gate;               /* held until all threads are there */
    bool cancelled;                     /* written before the gate opens */
    bool (*look)(void *ctx);            /* NULL: nobody looks on */
    void *look_ctx;
    atomic_int running;
} crew;

typedef struct worker {
    crew *job;
    pthread_t thread;
    int number;
    falkor_param *params;
    atomic_uint_least64_t done, failed; /* for the line of progress */
    cli_tally seen;
} worker;

static atomic_bool interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    atomic_store(&interrupted, true);
}

void cli_catch_interrupt(void) {
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)SA_RESETHAND}, before;
    sigaction(SIGINT, NULL, &before);
    if (before.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
}

bool cli_interrupted(void) {
    return atomic_load(&interrupted);
}

/* The number of the query to ask next; false: that was the last. */
static bool next_query(const crew *job, int64_t now, uint64_t *number) {
    if (atomic_load_explicit(&interrupted, memory_order_relaxed)
        || now >= job->end_ns)
        return false;
    *number = atomic_fetch_add_explicit(job->asked, 1, memory_order_relaxed);
    return job->limit == 0 || *number < job->limit;
}

static falkor_status ask_held(worker *self, falkor_call_options *options,
                              falkor_result **result, falkor_error *error) {
    const crew *job = self->job;
    int64_t begin = falkor_now_ns();
    falkor_status status = falkor_acquire(job->session->pool, &options->conn,
                                          error);
    if (status != FALKOR_OK)
        return status;
    cli_record(&self->seen.wait, falkor_now_ns() - begin);
    status = falkor_query_with(job->session->graph, options, job->query,
                               self->params, result, error);
    falkor_release(options->conn);
    return status;
}

/* Where no time was spent on a failure, the thread must not spin on it. */
static void count_error(worker *self, const falkor_error *error, int64_t now) {
    cli_tally *seen = &self->seen;
    if (seen->failed++ == 0) {
        seen->first = *error;
        seen->first_ns = now;
    }
    seen->errors[(unsigned)error->status % FALKOR_STATUS_SLOTS]++;
    seen->maybe_executed += error->maybe_executed;
    atomic_store_explicit(&self->failed, seen->failed, memory_order_relaxed);
    if (error->status == FALKOR_ERR_CIRCUIT_OPEN
        || error->status == FALKOR_ERR_POOL_EXHAUSTED)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* Asks once; returns when that was done. */
static int64_t ask(worker *self, uint64_t number) {
    const crew *job = self->job;
    falkor_call_options options = {.read_only = job->read_only};
    falkor_result *result = NULL;
    falkor_error error;
    for (const cli_rule *one = job->bench->rules; one; one = one->next)
        self->params[one->place].value =
            falkor_int(cli_rule_value(one, number, self->number));
    int64_t begin = falkor_now_ns();
    falkor_status status = job->bench->waits
        ? ask_held(self, &options, &result, &error)
        : falkor_query_with(job->session->graph, &options, job->query,
                            self->params, &result, &error);
    int64_t now = falkor_now_ns();
    falkor_result_free(result);
    if (status == FALKOR_OK)
        cli_record(&self->seen.latency, now - begin);
    else
        count_error(self, &error, now);
    atomic_store_explicit(&self->done, self->seen.latency.count,
                          memory_order_relaxed);
    return self->seen.last_ns = now;
}

static void *work(void *argument) {
    worker *self = argument;
    uint64_t number;
    crew *job = self->job;
    pthread_mutex_lock(&job->gate);
    pthread_mutex_unlock(&job->gate);
    int64_t now = falkor_now_ns();
    while (!job->cancelled && next_query(job, now, &number))
        now = ask(self, number);
    atomic_fetch_sub(&job->running, 1);
    return NULL;
}

/* ---- watching --------------------------------------------------------- */

typedef struct progress {
    const char *phase;
    bool shown, terminal;
    int64_t last_ns;
    uint64_t last_done;
} progress;

static void show_progress(progress *self, const crew *job, worker **workers,
                          const falkor_stats *stats, int64_t now) {
    uint64_t done = 0, failed = 0;
    char line[160];
    for (int i = 0; i < job->bench->threads; i++) {
        done += atomic_load_explicit(&workers[i]->done, memory_order_relaxed);
        failed += atomic_load_explicit(&workers[i]->failed,
                                       memory_order_relaxed);
    }
    snprintf(line, sizeof line, "%s %.0f s: %.0f queries/s, %" PRIu64
             " errors, %d of %d in use, %d waiting", self->phase,
             (double)(now - job->begin_ns) / 1e9,
             (double)(done - self->last_done) * 1e9
             / (double)(now - self->last_ns), failed, stats->active,
             stats->max_size, stats->waiting);
    fprintf(stderr, self->terminal ? "\r%-79.79s" : "%s\n", line);
    fflush(stderr);
    self->last_ns = now;
    self->last_done = done;
}

/* Looks at the pool every 10 ms until all threads have ended. */
static cli_samples watch(progress *self, crew *job, worker **workers) {
    cli_samples seen = {0};
    falkor_stats stats;
    self->last_ns = job->begin_ns;
    self->last_done = 0;
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        if (atomic_load(&job->running) == 0)
            break;
        int64_t now = falkor_now_ns();
        falkor_pool_stats(job->session->pool, &stats);
        seen.count++;
        seen.in_use += (uint64_t)stats.active;
        seen.waiting += (uint64_t)stats.waiting;
        if (stats.waiting > seen.most_waiting)
            seen.most_waiting = stats.waiting;
        if (self->shown && now - self->last_ns >= 1000000000)
            show_progress(self, job, workers, &stats, now);
        if (job->look && !cli_interrupted() && !job->look(job->look_ctx))
            atomic_store(&interrupted, true);
    }
    if (self->shown && self->terminal)
        fprintf(stderr, "\r%79s\r", "");
    return seen;
}

/* ---- one run ---------------------------------------------------------- */

static worker *worker_new(crew *job, int number) {
    worker *self = cli_reserve(NULL, 1, sizeof *self);
    self->job = job;
    self->number = number;
    self->params = cli_params_array(job->session->params);
    return self;
}

/* What it saw goes to the total. */
static void worker_free(worker *self, cli_tally *total) {
    cli_tally_add(total, &self->seen);
    free(self->params);
    free(self);
}

/* How many threads were started: all, or the message was printed. Signals are
   the main thread's. */
static int start_threads(crew *job, worker **workers) {
    int started = 0, error = 0, wanted = job->bench->threads;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < wanted && error == 0) {
        error = pthread_create(&workers[started]->thread, NULL, work,
                               workers[started]);
        started += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        cli_say("thread %d of %d did not start: %s: ask for fewer --threads, "
                "or raise this system's limits", started + 1, wanted,
                strerror(error));
    return started;
}

/* Runs the crew to its end; false: not all of it could be started, and nothing
   was asked. The totals are to be zero. */
static bool run_crew(crew *job, double seconds, progress *line,
                     cli_tally *total, cli_samples *seen) {
    int wanted = job->bench->threads;
    worker **workers = cli_reserve(NULL, (size_t)wanted, sizeof *workers);
    for (int i = 0; i < wanted; i++)
        workers[i] = worker_new(job, i + 1);
    atomic_store(&job->running, wanted);
    pthread_mutex_init(&job->gate, NULL);
    pthread_mutex_lock(&job->gate);
    int started = start_threads(job, workers);
    job->cancelled = started < wanted;
    job->begin_ns = total->last_ns = falkor_now_ns();
    job->end_ns = job->limit > 0 || job->look ? INT64_MAX
        : job->begin_ns + (int64_t)(seconds * 1e9);
    pthread_mutex_unlock(&job->gate);
    if (!job->cancelled)
        *seen = watch(line, job, workers);
    for (int i = 0; i < started; i++)
        pthread_join(workers[i]->thread, NULL);
    for (int i = 0; i < wanted; i++)
        worker_free(workers[i], total);
    pthread_mutex_destroy(&job->gate);
    free(workers);
    return started == wanted;
}

/* ---- from beginning to end -------------------------------------------- */

/* Where the graph is missing every read fails, and would only be counted. */
static bool graph_is_there(const cli *session, bool make) {
    falkor_call_options options = {.read_only = !make};
    falkor_error error;
    if (falkor_query_with(session->graph, &options, "RETURN 1", NULL, NULL,
                          &error) == FALKOR_OK)
        return true;
    const char *name = falkor_graph_name(session->graph);
    if (error.status == FALKOR_ERR_QUERY && strstr(error.message, "empty key"))
        cli_say("there is no graph %s, and reading does not make it: name "
                "another with -g, or make it with falkor-cli -g '%s' "
                "'RETURN 1', and the same -u, -h, -p or -s as here",
                name, name);
    else
        cli_say("%s", error.message);
    return false;
}

/* Has as many connections of one server open as the threads can use at once. */
static bool open_some(falkor_pool *pool, int threads) {
    falkor_stats stats;
    falkor_error error;
    falkor_status status = FALKOR_OK;
    falkor_pool_stats(pool, &stats);
    int wanted = threads < stats.max_size ? threads : stats.max_size, held = 0;
    falkor_conn **conns = cli_reserve(NULL, (size_t)wanted, sizeof *conns);
    while (held < wanted && status == FALKOR_OK) {
        status = falkor_acquire(pool, &conns[held], &error);
        held += status == FALKOR_OK;
    }
    if (status != FALKOR_OK)
        cli_say("connection %d of %d: %s", held + 1, wanted, error.message);
    while (held > 0)
        falkor_release(conns[--held]);
    free(conns);
    return status == FALKOR_OK;
}

/* A server that no query goes to has no connections. */
static bool open_connections(falkor_pool *pool, int threads) {
    size_t count = falkor_pool_nodes(pool, NULL, 0);
    falkor_node_info *nodes = cli_reserve(NULL, count, sizeof *nodes);
    bool opened = true;
    falkor_pool_nodes(pool, nodes, count);
    for (size_t i = 0; i < count && opened; i++) {
        falkor_stats stats;
        falkor_pool_stats(nodes[i].pool, &stats);
        if (stats.initialized && nodes[i].well)
            opened = open_some(nodes[i].pool, threads);
    }
    free(nodes);
    return opened;
}

/* false: a thread did not start. *failed: some of the queries have. */
static bool warm_up(crew *job, progress *line, bool *failed) {
    cli_tally *total = cli_reserve(NULL, 1, sizeof *total);
    cli_samples seen;
    line->phase = "warm-up";
    bool ran = run_crew(job, job->bench->warmup, line, total, &seen);
    *failed = total->failed > 0;
    if (*failed)
        cli_say("%" PRIu64 " queries failed in the warm-up; the first: %s",
                total->failed, total->first.message);
    free(total);
    return ran;
}

static int measure(crew *job, progress *line, cli_format format) {
    const cli_bench *bench = job->bench;
    cli_tally *total = cli_reserve(NULL, 1, sizeof *total);
    cli_report result = {.query = job->query,
        .graph = falkor_graph_name(job->session->graph),
        .read_only = job->read_only, .waits = bench->waits,
        .threads = bench->threads, .warmup = bench->warmup, .total = total};
    int status = CLI_FAILED;
    line->phase = "run";
    job->limit = bench->count;
    falkor_pool_stats(job->session->pool, &result.before);
    if (run_crew(job, bench->seconds, line, total, &result.seen)) {
        falkor_pool_stats(job->session->pool, &result.after);
        result.interrupted = atomic_load(&interrupted);
        result.seconds = (double)(total->last_ns - job->begin_ns) / 1e9;
        status = cli_check_printed(cli_print_report(&result, format));
        if (total->failed > 0)
            status = CLI_FAILED;
    }
    free(total);
    return status;
}

static crew crew_of(cli_bench *self, const cli *session,
                    atomic_uint_least64_t *asked, const char *query) {
    return (crew){.bench = self, .session = session, .asked = asked,
                  .query = query ? query : "RETURN 1",
                  .read_only = session->read_only || !query};
}

/* false: the load cannot begin, and the message was printed. */
static bool prepare(const crew *job, bool own_server) {
    const cli_bench *bench = job->bench;
    cli_catch_interrupt();
    falkor_param *params = cli_params_array(job->session->params);
    cli_rules_place(bench->rules, params);
    free(params);
    return (!job->read_only || graph_is_there(job->session, own_server))
        && open_connections(job->session->pool, bench->threads);
}

int cli_bench_run(cli_bench *self, cli *session, const char *query,
                  bool own_server) {
    atomic_uint_least64_t asked = 0;
    bool terminal = isatty(STDERR_FILENO);
    progress line = {.terminal = terminal, .shown = self->progress
                     || (terminal && session->format != CLI_JSON)};
    crew job = crew_of(self, session, &asked, query);
    bool failed = false;
    if (!prepare(&job, own_server)
        || (self->warmup > 0 && !warm_up(&job, &line, &failed)))
        return CLI_FAILED;
    int status = measure(&job, &line, session->format);
    return failed ? CLI_FAILED : status;
}

int cli_bench_load(cli_bench *self, cli *session, const char *query,
                   bool own_server, bool (*look)(void *ctx), void *ctx) {
    atomic_uint_least64_t asked = 0;
    progress line = {.shown = false};
    cli_samples seen;
    crew job = crew_of(self, session, &asked, query);
    job.look = look;
    job.look_ctx = ctx;
    if (!prepare(&job, own_server))
        return CLI_FAILED;
    cli_tally *total = cli_reserve(NULL, 1, sizeof *total);
    bool ran = run_crew(&job, 0, &line, total, &seen);
    bool failed = total->failed > 0;
    if (failed)
        cli_say("%" PRIu64 " queries failed; the first: %s", total->failed,
                total->first.message);
    free(total);
    return ran && !failed ? CLI_OK : CLI_FAILED;
}
