/* A failover as many processes live through it, in virtual time: for
   plot_storm.c, which draws it, and test_storm.c, which keeps it alive.

   Real are the pools, their workers, the breaker, and falkor_command with its
   attempts, back-off and deadlines: the library's own files, compiled here on
   the fibres of fibres.h. In the place of conn.c is the model of a network and
   a server below. Those who include this are alone with it: it is a program's
   one file, not a header of several.

   The server has one main thread, which accepts (dial_ns each, refuse_ns where
   maxclients is reached) and passes every query on (pass_ns), in the order of
   arrival, and `workers` threads, which take work_ns for a query, exponentially
   distributed. Between fail_ns and back_ns it is away. Refused: its machine
   says no at once, and every connection is reset. Silent: nothing comes back;
   what is sent is sent again by TCP, a dial's first packet after 1 s, 3 s, 7 s,
   a request after 0.2 s, 0.6 s, 1.4 s and so on, until the server that has
   taken over answers: by a reset where it does not know the connection. A dial
   that finds the backlog full is not answered, and so comes again likewise. */
#ifndef FALKOR_TEST_STORM_H
#define FALKOR_TEST_STORM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FALKOR_SYNC_HEADER "test/fibres.h"
#include "../error.c"
#include "../books.c"
#include "../pool.c"
#include "../lifecycle.c"
#include "../falkor.c"
#undef falkor_acquire
#undef falkor_acquire_within
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define STORM_MS INT64_C(1000000)
#define STORM_S (1000 * STORM_MS)
#define STORM_BIN_NS (100 * STORM_MS)
#define STORM_BINS 1200                 /* two minutes */
#define STORM_BINS_PER_S 10
#define STORM_WORKERS 64

typedef struct storm_plan {
    int processes, threads;     /* threads that call, of each process */
    int max_size;               /* 0: as in falkor_options */
    bool breaker, jitter;
    bool silent;                /* and not refused, while it is away */
    int maxclients, backlog, workers;
    int64_t dial_ns, refuse_ns, pass_ns, work_ns;
    int64_t think_ns;           /* a thread pauses, exponentially distributed */
    int64_t rtt_ns;             /* up to twice that */
    int64_t fail_ns, back_ns, end_ns;   /* since the begin */
    uint64_t seed;
} storm_plan;

/* What happened in a bin of time. */
typedef struct storm_bin {
    int dials;                  /* begun */
    int refused;                /* of these: maxclients was reached */
    int lost;                   /* packets of dials that the backlog dropped */
    int calls, failed;          /* that ended */
    int clients;                /* connected to the server, at most */
    int busy;                   /* threads inside a call, at most */
} storm_bin;

typedef struct storm_found {
    storm_bin bins[STORM_BINS];
    long dials, refused, lost;  /* since the failure */
    long calls, failed;         /* that ended in the minute behind it */
    int peak_away, peak_back;   /* most dials of a second, before back_ns and
                                   after */
    int bunch_away, bunch_back; /* of a bin; away not in the first 3 s */
    int most_clients, most_busy, busy_before;   /* the last: as it failed */
    double longest_s;           /* of the calls */
    double recovered_s;         /* from back_ns on: then in every second less
                                   than one call in a hundred fails */
    uint64_t openings;          /* of circuits */
    uint64_t hash;              /* of all bins */
} storm_found;

/* The plan of the plots, for so many of its thousand processes: the server
   shrinks likewise. */
static storm_plan storm_plan_of(int processes) {
    double part = processes / 1000.0;
    return (storm_plan){.processes = processes, .threads = 30,
        .breaker = true, .jitter = true,
        .maxclients = (int)(10000 * part), .backlog = (int)(511 * part),
        .workers = 8,
        .dial_ns = (int64_t)(40000 / part),
        .refuse_ns = (int64_t)(20000 / part),
        .pass_ns = (int64_t)(15000 / part),
        .work_ns = (int64_t)(500000 / part),
        .think_ns = 3 * STORM_S, .rtt_ns = STORM_MS / 2,
        .fail_ns = 10 * STORM_S, .back_ns = 20 * STORM_S,
        .end_ns = 75 * STORM_S, .seed = 1};
}

/* ---- chance, time, figures --------------------------------------------- */

static const storm_plan *storm;
static storm_found *storm_seen;
static int64_t storm_began_ns;
static uint64_t storm_network;          /* the state of its chances */
static int storm_busy;                  /* threads inside a call */

static int64_t storm_exponential(uint64_t *state, int64_t mean_ns) {
    return (int64_t)(-log(1 - falkor__random(state)) * (double)mean_ns);
}

static int64_t storm_at(int64_t since_ns) { return storm_began_ns + since_ns; }

static bool storm_is_away(int64_t now) {
    return now >= storm_at(storm->fail_ns) && now < storm_at(storm->back_ns);
}

static storm_bin *storm_bin_now(void) {
    static storm_bin beyond;
    int64_t bin = (falkor_now_ns() - storm_began_ns) / STORM_BIN_NS;
    return bin < STORM_BINS ? &storm_seen->bins[bin] : &beyond;
}

/* ---- the server -------------------------------------------------------- */

typedef struct storm_server {
    int life;                   /* 1, and from back_ns 2 */
    int clients;
    int64_t main_ns;            /* when its main thread has time again */
    int64_t worker_ns[STORM_WORKERS];
    int64_t *accepts;           /* a ring: when each of the backlog is done */
    int accept_at, accept_count;
} storm_server;
static storm_server server;

static void storm_server_begin(int life, int64_t now) {
    int64_t *accepts = server.accepts;
    server = (storm_server){.life = life, .main_ns = now, .accepts = accepts};
    for (int i = 0; i < storm->workers; i++)
        server.worker_ns[i] = now;
}

static storm_server *storm_server_now(void) {
    int64_t now = falkor_now_ns();
    if (server.life == 1 && now >= storm_at(storm->back_ns))
        storm_server_begin(2, now);
    while (server.accept_count && server.accepts[server.accept_at] <= now) {
        server.accept_at = (server.accept_at + 1) % storm->backlog;
        server.accept_count--;
    }
    return &server;
}

static int64_t storm_travel_ns(void) {
    return (int64_t)((0.5 + 1.5 * falkor__random(&storm_network)) *
                     (double)storm->rtt_ns);
}

/* The main thread takes so long for what arrives then. */
static int64_t storm_pass(int64_t arrives_ns, int64_t takes_ns) {
    server.main_ns = (arrives_ns > server.main_ns ? arrives_ns
                                                  : server.main_ns) + takes_ns;
    return server.main_ns;
}

/* When a query that arrives then is done. */
static int64_t storm_work(int64_t arrives_ns) {
    int64_t passed_ns = storm_pass(arrives_ns, storm->pass_ns);
    int64_t *first = &server.worker_ns[0];
    for (int i = 1; i < storm->workers; i++)
        if (server.worker_ns[i] < *first)
            first = &server.worker_ns[i];
    *first = (passed_ns > *first ? passed_ns : *first) +
        storm_exponential(&storm_network, storm->work_ns);
    return *first;
}

/* The first moment, not before after_ns, at which TCP sends again what it has
   sent at begun_ns. */
static int64_t storm_again_ns(int64_t begun_ns, int64_t pause_ns,
                              int64_t after_ns) {
    int64_t at = begun_ns;
    while (at < after_ns) {
        at += pause_ns;
        pause_ns *= 2;
    }
    return at;
}

/* ---- a connection: in the place of conn.c ------------------------------- */

struct falkor__link {
    const falkor__config *config;
    int life;                   /* of the server that it was dialled to */
    bool awaiting;              /* a reply */
    int64_t used_ns, down_ns;   /* the latter: when a reset arrives */
};
const size_t falkor__link_size = sizeof(falkor__link);

static falkor_status storm_fail(falkor_error *error, falkor_status status,
                                int sys_errno, const char *text) {
    return falkor__fail(error, status, sys_errno, "%s", text);
}

static falkor_status storm_dial_fails(int64_t at_ns, int sys_errno,
                                      falkor_error *error) {
    fibre_sleep_until(at_ns);
    return storm_fail(error, FALKOR_ERR_CONNECT, sys_errno,
                      "cannot connect to the server");
}

/* Until the server's machine has taken the dial into its backlog. */
static falkor_status storm_knock(int64_t deadline_ns, falkor_error *error) {
    int64_t at = falkor_now_ns(), pause_ns = STORM_S;
    for (;;) {
        storm_server *s = storm_server_now();
        if (storm_is_away(at) && !storm->silent)
            return storm_dial_fails(falkor__sooner(at + storm_travel_ns(),
                deadline_ns), ECONNREFUSED, error);
        bool lost = !storm_is_away(at) && s->accept_count == storm->backlog;
        if (!storm_is_away(at) && !lost)
            return FALKOR_OK;
        storm_bin_now()->lost += lost;
        at += pause_ns;
        pause_ns *= 2;
        if (at >= deadline_ns)
            return storm_dial_fails(deadline_ns, ETIMEDOUT, error);
        fibre_sleep_until(at);
    }
}

/* The server has failed on the way. */
static falkor_status storm_dial_broken(int64_t deadline_ns,
                                       falkor_error *error) {
    int64_t reset_ns = storm_at(storm->fail_ns) + storm_travel_ns();
    return storm->silent ? storm_dial_fails(deadline_ns, ETIMEDOUT, error)
        : storm_dial_fails(reset_ns, ECONNRESET, error);
}

static falkor_status storm_greet(int64_t deadline_ns, falkor_error *error) {
    storm_server *s = storm_server_now();
    storm_bin *bin = storm_bin_now();
    int64_t now = falkor_now_ns(), away_ns = storm_travel_ns();
    bool refused = s->clients >= storm->maxclients;
    int64_t done_ns = storm_pass(now + away_ns, refused ? storm->refuse_ns
                                                        : storm->dial_ns);
    s->accepts[(s->accept_at + s->accept_count++) % storm->backlog] = done_ns;
    int life = s->life;
    s->clients += !refused;
    bin->refused += refused;
    bin->clients = s->clients > bin->clients ? s->clients : bin->clients;
    done_ns += away_ns;                 /* there and back twice, in all */
    if (life == 1 && done_ns >= storm_at(storm->fail_ns))
        return storm_dial_broken(deadline_ns, error);
    if (done_ns > deadline_ns) {
        fibre_sleep_until(deadline_ns);
        s = storm_server_now();
        s->clients -= !refused && s->life == life;
        return storm_fail(error, FALKOR_ERR_CONNECT, ETIMEDOUT,
                          "cannot connect to the server in time");
    }
    fibre_sleep_until(done_ns);
    return !refused ? FALKOR_OK
        : storm_fail(error, FALKOR_ERR_BUSY, 0,
                     "ERR max number of clients reached");
}

static falkor_status storm_open(void *ctx, int64_t deadline_ns, void **handle,
                                falkor_error *error) {
    storm_bin_now()->dials++;
    falkor_status status = storm_knock(deadline_ns, error);
    if (!status)
        status = storm_greet(deadline_ns, error);
    falkor__link *link = status ? NULL : calloc(1, sizeof *link);
    if (!link)
        return status ? status : FALKOR_ERR_NOMEM;
    link->config = ctx;
    link->life = storm_server_now()->life;
    link->used_ns = falkor_now_ns();
    link->down_ns = storm_at(storm->fail_ns) + storm_travel_ns();
    *handle = link;
    return FALKOR_OK;
}

#define STORM_KEEPALIVE_NS (30 * STORM_S)

/* Whether this side knows by now that the connection is gone. */
static bool storm_is_reset(const falkor__link *link) {
    int64_t now = falkor_now_ns();
    int64_t asked_ns = link->used_ns + STORM_KEEPALIVE_NS;
    if (link->life == 2)
        return false;
    return !storm->silent ? now >= link->down_ns
        : asked_ns >= storm_at(storm->back_ns) && now >= asked_ns;
}

/* Sends and waits: until the answer, or until the connection fails. */
static falkor_status storm_ask(falkor__link *link, bool query,
                               int64_t deadline_ns, falkor_error *error) {
    storm_server *s = storm_server_now();
    int64_t now = falkor_now_ns(), away_ns = storm_travel_ns() / 2;
    int64_t fail_ns = storm_at(storm->fail_ns), end_ns = deadline_ns;
    bool broken = true;                 /* or it only does not answer */
    if (link->life == s->life && !storm_is_away(now)) {
        end_ns = away_ns + (query ? storm_work(now + away_ns)
                            : storm_pass(now + away_ns, storm->pass_ns));
        broken = link->life == 1 && end_ns >= fail_ns;
        if (broken)                     /* what has arrived is not sent again */
            end_ns = storm->silent ? FALKOR__NEVER : link->down_ns;
    } else if (!storm->silent) {
        end_ns = now;
    } else {
        end_ns = 2 * away_ns + storm_again_ns(now, STORM_S / 5,
                                              storm_at(storm->back_ns));
    }
    bool late = end_ns > deadline_ns;
    fibre_sleep_until(late ? deadline_ns : end_ns > now ? end_ns : now);
    link->used_ns = falkor_now_ns();
    if (late)
        return storm_fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT,
                          "the whole reply did not come in time");
    if (broken)
        return storm_fail(error, FALKOR_ERR_IO, ECONNRESET,
                          "connection lost: Connection reset by peer");
    return FALKOR_OK;
}

static falkor_status storm_check(void *ctx, void *handle,
                                 falkor_check_level level,
                                 int64_t deadline_ns) {
    falkor__link *link = handle;
    (void)ctx;
    if (level == FALKOR_CHECK_FAST)
        return link->awaiting || storm_is_reset(link) ? FALKOR_ERR_IO
                                                      : FALKOR_OK;
    return storm_ask(link, level == FALKOR_CHECK_DEEP, deadline_ns, NULL);
}

static falkor_status storm_reset(void *ctx, void *handle,
                                 int64_t deadline_ns) {
    (void)ctx, (void)deadline_ns;
    return ((falkor__link *)handle)->awaiting ? FALKOR_ERR_PROTOCOL
                                              : FALKOR_OK;
}

static void storm_shutdown(void *ctx, void *handle) {
    (void)ctx, (void)handle;
}

static void storm_close(void *ctx, void *handle) {
    falkor__link *link = handle;
    storm_server *s = storm_server_now();
    (void)ctx;
    s->clients -= link->life == s->life;
    free(link);
}

const falkor_driver falkor__link_driver = {.open = storm_open,
    .check = storm_check, .reset = storm_reset, .shutdown = storm_shutdown,
    .close = storm_close};

falkor_status falkor__link_send(falkor__link *link, const struct iovec *pieces,
                                size_t count, size_t replies,
                                int64_t deadline_ns, size_t *sent,
                                falkor_error *error) {
    (void)replies, (void)deadline_ns;
    *sent = 0;
    link->awaiting = true;
    if (storm_is_reset(link))
        return storm_fail(error, FALKOR_ERR_IO, EPIPE,
                          "connection lost: Broken pipe");
    for (size_t i = 0; i < count; i++)
        *sent += pieces[i].iov_len;
    return FALKOR_OK;
}

falkor_status falkor__link_read(falkor__link *link, falkor_result *reply,
                                int64_t deadline_ns, falkor_error *error) {
    static const char text[] = "+OK\r\n";
    size_t size;
    falkor_status status = storm_ask(link, true, deadline_ns, error);
    char *room = status ? NULL : falkor__reply_room(reply, &size);
    if (!room)
        return status ? status : falkor__no_memory(error, "out of memory");
    memcpy(room, text, sizeof text - 1);
    link->awaiting = false;
    return falkor__reply_feed(reply, sizeof text - 1, error);
}

/* Of a command without a graph, and without a tracer, nothing more is asked. */
falkor_status falkor__link_ask(falkor__link *link, falkor__reply_kind kind,
                               size_t argc, const char *const *argv,
                               int64_t deadline_ns, falkor_result **reply,
                               falkor_error *error) {
    (void)link, (void)kind, (void)argc, (void)argv, (void)deadline_ns;
    *reply = NULL;
    return falkor__fail(error, FALKOR_ERR_ARGUMENT, 0, "not in this model");
}
void falkor__link_mark(falkor__link *link, unsigned set, unsigned clear) {
    (void)link, (void)set, (void)clear;
}
unsigned falkor__link_marks(const falkor__link *link) {
    (void)link;
    return 0;
}
void falkor__link_time(falkor__link *link, falkor__link_times *times) {
    (void)link, (void)times;
}
uint64_t falkor__link_number(const falkor__link *link) {
    (void)link;
    return 0;
}
const falkor_allocator *falkor__link_heap(const falkor__link *link) {
    return link->config->heap;
}
int64_t falkor__link_since(const falkor__link *link) {
    return link->used_ns;
}
void falkor__link_ask_for(falkor__link *link, bool asks) {
    (void)link, (void)asks;
}
bool falkor__link_asks(const falkor__link *link) {
    (void)link;
    return false;
}

/* ---- processes and their threads ---------------------------------------- */

/* What client.c keeps for a pool is nothing here, and zero in every layout:
   other files of the library have other mutexes. */
typedef union storm_client {
    falkor__client nothing;
    char room[sizeof(falkor__client) + 1024];
} storm_client;

typedef struct storm_process {
    falkor_pool *pool;
    storm_client client;
    uint64_t chance;
} storm_process;

static void storm_call(falkor_pool *pool) {
    static const char *const argv[] = {"QUERY"};
    falkor_result *result;
    falkor_error error;
    int64_t begun_ns = falkor_now_ns();
    storm_bin *bin = storm_bin_now();
    bin->busy = ++storm_busy > bin->busy ? storm_busy : bin->busy;
    falkor_status status = falkor_command(pool,
        &(falkor_call_options){.read_only = true}, 1, argv, NULL, &result,
        &error);
    falkor_result_free(result);
    double took_s = (double)(falkor_now_ns() - begun_ns) / 1e9;
    if (took_s > storm_seen->longest_s)
        storm_seen->longest_s = took_s;
    storm_busy--;
    bin = storm_bin_now();
    bin->calls++;
    bin->failed += status != FALKOR_OK;
}

static void *storm_thread(void *argument) {
    storm_process *process = argument;
    uint64_t chance = process->chance += UINT64_C(0x9E3779B97F4A7C15);
    int64_t end_ns = storm_at(storm->end_ns);
    for (;;) {
        int64_t at = falkor_now_ns() + storm_exponential(&chance,
                                                         storm->think_ns);
        if (at >= end_ns)
            return NULL;
        fibre_sleep_until(at);
        storm_call(process->pool);
    }
}

static falkor_status storm_pool(storm_process *process) {
    falkor_options options = {.max_size = storm->max_size,
        .breaker_failures = storm->breaker ? 0 : -1,
        .retry_jitter = storm->jitter ? 0 : -1};
    falkor__config config;
    falkor_conn *first;
    falkor_error error;
    falkor_status status = falkor__config_make(&options, &config, &error);
    if (!status)
        status = falkor__pool_new(&config, &process->pool, &error);
    if (!status) {
        *falkor__pool_client(process->pool) = &process->client;
        status = falkor__pool_start(process->pool, FALKOR__NEVER, &first,
                                    &error);
    }
    return status ? status
        : falkor__pool_finish(process->pool, first, FALKOR_OK, &error);
}

/* A process opens its pool within the first half of the time before the
   failure, lets its threads call, and ends. */
static void *storm_process_run(void *argument) {
    storm_process *process = argument;
    fibre *threads[100];
    falkor_stats stats;
    fibre_sleep_until(falkor_now_ns() + (int64_t)(
        falkor__random(&process->chance) * (double)storm->fail_ns / 2));
    if (storm_pool(process)) {
        fprintf(stderr, "storm: a pool cannot be opened\n");
        abort();
    }
    for (int i = 0; i < storm->threads; i++)
        threads[i] = fibre_start(storm_thread, process);
    fibre_sleep_until(storm_at(storm->end_ns));
    falkor_pool_stats(process->pool, &stats);
    storm_seen->openings += stats.circuit_openings;
    for (int i = 0; i < storm->threads; i++)
        fibre_join(threads[i]);
    falkor__pool_destroy(process->pool);
    return NULL;
}

/* ---- the run ------------------------------------------------------------ */

static void storm_sum(storm_found *found) {
    int fail = (int)(storm->fail_ns / STORM_BIN_NS);
    int back = (int)(storm->back_ns / STORM_BIN_NS);
    int end = (int)(storm->end_ns / STORM_BIN_NS);
    found->busy_before = found->bins[fail - 1].busy;
    for (int i = 0; i < end; i++) {
        const storm_bin *bin = &found->bins[i];
        int dials = 0, calls = 0, failed = 0;
        for (int j = i; j < i + STORM_BINS_PER_S && j < end; j++) {
            dials += found->bins[j].dials;
            calls += found->bins[j].calls;
            failed += found->bins[j].failed;
        }
        int *peak = i >= back ? &found->peak_back : &found->peak_away;
        if (i >= fail && dials > *peak)
            *peak = dials;
        if (i >= back && failed * 100 > calls)
            found->recovered_s = (double)(i + 1 - back) / STORM_BINS_PER_S;
        int *bunch = i >= back ? &found->bunch_back : &found->bunch_away;
        if ((i >= back || i >= fail + 3 * STORM_BINS_PER_S) &&
            bin->dials > *bunch)
            *bunch = bin->dials;
        if (i >= fail) {
            found->dials += bin->dials;
            found->refused += bin->refused;
            found->lost += bin->lost;
        }
        if (i >= fail && i < fail + 60 * STORM_BINS_PER_S) {
            found->calls += bin->calls;
            found->failed += bin->failed;
        }
        if (bin->clients > found->most_clients)
            found->most_clients = bin->clients;
        if (bin->busy > found->most_busy)
            found->most_busy = bin->busy;
        const int numbers[] = {bin->dials, bin->refused, bin->lost, bin->calls,
                               bin->failed, bin->clients};
        for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++)
            found->hash = (found->hash ^ (unsigned)numbers[j]) *
                UINT64_C(1099511628211);        /* FNV-1a */
    }
}

#ifndef STORM_STACK
#if defined(__SANITIZE_ADDRESS__)
#define STORM_STACK ((size_t)128 << 10)
#else
#define STORM_STACK ((size_t)32 << 10)
#endif
#endif

static void storm_run(const storm_plan *plan, storm_found *found) {
    storm_process *processes = calloc((size_t)plan->processes,
                                      sizeof *processes);
    fibre **mains = calloc((size_t)plan->processes, sizeof(fibre *));
    server.accepts = calloc((size_t)plan->backlog, sizeof *server.accepts);
    if (!processes || !mains || !server.accepts)
        abort();
    fibres_begin(plan->processes * (plan->threads + 2), STORM_STACK);
    *found = (storm_found){.hash = UINT64_C(14695981039346656037)};
    storm_busy = 0;
    storm = plan;
    storm_seen = found;
    storm_began_ns = falkor_now_ns();
    storm_network = plan->seed;
    falkor__jitter_seed(plan->seed + 1);
    storm_server_begin(1, storm_began_ns);
    for (int i = 0; i < plan->processes; i++) {
        processes[i].chance = (plan->seed << 32) + (uint64_t)i * 1000003;
        mains[i] = fibre_start(storm_process_run, &processes[i]);
    }
    for (int i = 0; i < plan->processes; i++)
        fibre_join(mains[i]);
    fibres_end();
    storm_sum(found);
    free(server.accepts);
    free(mains);
    free(processes);
}
#endif
