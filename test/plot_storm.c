/* A failover as a thousand processes live through it, with and without the
   circuit breaker and the jitter of the back-off: storm.h says what is real in
   it and what is a model.

   plot_storm            prints a line for each run
   plot_storm FOLDER     and writes FOLDER/storm.tsv for test/storm.gnuplot
   plot_storm --measure  measures, beside the server of test/server.sh run, what
                         the model assumes of a server's main thread */
#include "storm.h"
#include <hiredis/hiredis.h>
#include <pthread.h>

static void fail(const char *what) {
    fprintf(stderr, "plot_storm: %s\n", what);
    exit(1);
}

/* ---- runs -------------------------------------------------------------- */

#define RUNS 4                          /* of a plot; the first two letters */
static const struct { bool breaker, jitter; const char *name; } kinds[RUNS] = {
    {true, true, "breaker, jitter"}, {true, false, "breaker, no jitter"},
    {false, true, "no breaker, jitter"},
    {false, false, "no breaker, no jitter"}};

static void put_run(const storm_plan *plan, const storm_found *found) {
    printf("storm %-7s %2.0f s  %-10s  %-9s  pool %2d  ",
           plan->silent ? "silent" : "refused",
           (double)(plan->back_ns - plan->fail_ns) / (double)STORM_S,
           plan->breaker ? "breaker" : "no breaker",
           plan->jitter ? "jitter" : "no jitter",
           plan->max_size ? plan->max_size : 20);
    printf("dials/s %5d away %5d back  in 0.1 s %4d away %4d back  ",
           found->peak_away, found->peak_back, found->bunch_away,
           found->bunch_back);
    printf("dials %6ld  refused %5ld  lost %ld  clients %5d  ", found->dials,
           found->refused, found->lost, found->most_clients);
    printf("failed %5.2f %%  recovered %3.1f s  busy %d before, %.0f %%  "
           "longest %4.1f s  opened %llu\n",
           100 * (double)found->failed / (double)found->calls,
           found->recovered_s, found->busy_before,
           100.0 * found->most_busy / (plan->processes * plan->threads),
           found->longest_s, (unsigned long long)found->openings);
    fflush(stdout);
}

static storm_plan plan_of(bool silent, int kind) {
    storm_plan plan = storm_plan_of(1000);
    plan.silent = silent;
    plan.breaker = kinds[kind].breaker;
    plan.jitter = kinds[kind].jitter;
    return plan;
}

/* Beyond the plots: how long it is away, and the size of the pools. */
static void vary(bool breaker, int64_t away_s, int max_size) {
    static storm_found found;
    storm_plan plan = plan_of(true, breaker ? 0 : 2);
    plan.back_ns = plan.fail_ns + away_s * STORM_S;
    plan.max_size = max_size;
    storm_run(&plan, &found);
    put_run(&plan, &found);
}

/* ---- the plot's figures ------------------------------------------------ */

#define STEP 5                          /* bins of a row */

static void put_cells(FILE *file, const storm_found *found, int bin) {
    int dials = 0, calls = 0, failed = 0;
    for (int i = bin; i < bin + STEP; i++) {
        dials += found->bins[i].dials;
        calls += found->bins[i].calls;
        failed += found->bins[i].failed;
    }
    fprintf(file, "\t%d", dials * STORM_BINS_PER_S / STEP);
    if (calls)
        fprintf(file, "\t%.3f", 100.0 * failed / calls);
    else
        fputs("\tnan", file);           /* none ended: the curve has a gap */
}

static void put_file(const char *folder, const storm_plan *plan,
                     const storm_found *found) {
    char path[1024];
    int fail_bin = (int)(plan->fail_ns / STORM_BIN_NS);
    snprintf(path, sizeof path, "%s/storm.tsv", folder);
    FILE *file = fopen(path, "w");
    if (!file)
        fail("the folder cannot be written to");
    fputs("second", file);
    for (int i = 0; i < 2 * RUNS; i++)
        fprintf(file, "\t%s\tfailed", kinds[i % RUNS].name);
    fputc('\n', file);
    for (int bin = fail_bin / 2; bin < fail_bin + 300; bin += STEP) {
        fprintf(file, "%.2f", (double)(bin - fail_bin) / STORM_BINS_PER_S);
        for (int i = 0; i < 2 * RUNS; i++)
            put_cells(file, &found[i], bin);
        fputc('\n', file);
    }
    if (ferror(file) | fclose(file))
        fail("a file cannot be written");
}

/* ---- what a server does ------------------------------------------------ */

#define DIALLERS 10
#define SPAN_S 2
static int port;
static atomic_long done;
static atomic_bool stopped;

static redisContext *dial(void) {
    redisContext *context = redisConnect("127.0.0.1", port);
    if (!context || context->err)
        fail("cannot connect: run it by test/server.sh run");
    return context;
}

static void ask(redisContext *context, const char *command) {
    freeReplyObject(redisCommand(context, command));
}

/* Dials, AUTH and PING in one round trip, and hangs up. */
static void *dial_on(void *argument) {
    while (!atomic_load(&stopped)) {
        redisContext *context = dial();
        void *reply;
        redisAppendCommand(context, "AUTH some word");
        redisAppendCommand(context, "PING");
        for (int i = 0; i < 2; i++)
            if (redisGetReply(context, &reply) == REDIS_OK)
                freeReplyObject(reply);
        redisFree(context);
        atomic_fetch_add(&done, 1);
    }
    return argument;
}

static void *dial_in_vain(void *argument) {
    while (!atomic_load(&stopped)) {
        redisContext *context = dial();
        void *reply;                    /* comes unasked */
        if (redisGetReply(context, &reply) == REDIS_OK)
            freeReplyObject(reply);
        redisFree(context);
        atomic_fetch_add(&done, 1);
    }
    return argument;
}

static void *query_on(void *argument) {
    redisContext *context = dial();
    while (!atomic_load(&stopped)) {
        freeReplyObject(redisCommand(context, "GRAPH.RO_QUERY g %s",
                                     "RETURN 1"));
        atomic_fetch_add(&done, 1);
    }
    redisFree(context);
    return argument;
}

/* Seconds of the processor that the server's main thread has had. */
static double main_seconds(const char *pid) {
    char path[128], text[1024], *at;
    snprintf(path, sizeof path, "/proc/%s/task/%s/stat", pid, pid);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[size] = '\0';
    if (file)
        fclose(file);
    at = strrchr(text, ')');
    for (int field = 2; at && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        fail("/proc does not tell of the server");
    double user = strtod(at, &at);
    return (user + strtod(at, NULL)) / (double)sysconf(_SC_CLK_TCK);
}

static void measure_one(const char *name, void *(*work)(void *),
                        const char *pid) {
    pthread_t threads[DIALLERS];
    double before = main_seconds(pid);
    atomic_store(&stopped, false);
    atomic_store(&done, 0);
    for (int i = 0; i < DIALLERS; i++)
        if (pthread_create(&threads[i], NULL, work, NULL))
            fail("no thread");
    sleep(SPAN_S);
    double count = (double)atomic_load(&done);
    double used = main_seconds(pid) - before;
    atomic_store(&stopped, true);
    for (int i = 0; i < DIALLERS; i++)
        pthread_join(threads[i], NULL);
    printf("server %-8s %6.0f a second by %d threads, %4.1f us of its main "
           "thread each\n", name, count / SPAN_S, DIALLERS,
           used / count * 1e6);
}

static void measure(void) {
    const char *pid = getenv("FALKOR_TEST_PID");
    const char *text = getenv("FALKOR_TEST_PORT");
    if (!pid || !text)
        fail("run it by test/server.sh run");
    port = atoi(text);
    redisContext *context = dial();
    ask(context, "GRAPH.QUERY g CREATE()");
    measure_one("dials", dial_on, pid);
    measure_one("queries", query_on, pid);
    ask(context, "CONFIG SET maxclients 1");
    measure_one("refusals", dial_in_vain, pid);
    redisFree(context);
}

int main(int argc, char **argv) {
    static storm_found found[2 * RUNS];
    storm_plan plan;
    if (argc > 2)
        fail("usage: plot_storm [FOLDER | --measure]");
    if (argc == 2 && strcmp(argv[1], "--measure") == 0) {
        measure();
        return 0;
    }
    for (int i = 0; i < 2 * RUNS; i++) {
        plan = plan_of(i >= RUNS, i % RUNS);
        storm_run(&plan, &found[i]);
        put_run(&plan, &found[i]);
    }
    if (argc == 2)
        put_file(argv[1], &plan, found);
    vary(false, 13, 0);
    vary(false, 25, 0);
    vary(true, 25, 0);
    vary(false, 25, 9);
    return 0;
}
