/* health_server: the health of a pool over HTTP, for load balancers, for
   Prometheus, and for people: a page that draws what goes on. See --help. It
   keeps a pool of its own; a program that has one takes from here what it
   serves.

   Nothing that it answers waits for the pool: a snapshot is one short lock, and
   what the server says about itself is asked on a connection beside the pool,
   with a second of time at most. So /health answers while the pool is
   exhausted, and while the server is gone.

   Threads are pthreads rather than <threads.h>, for signals and the monotonic
   clock. Read it from the bottom. */
#define _POSIX_C_SOURCE 200809L
#include "pool.h"
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* health_page.html, as the Makefile puts it into a C array. */
static const unsigned char page[] = {
#include "health_page.h"
};

static const char help[] =
"usage: health_server PORT [ADDRESS] [--load THREADS] [--demo] [--name NAME]\n"
"\n"
"Opens a pool of connections to FalkorDB and serves its health on ADDRESS,\n"
"127.0.0.1 unless given, at PORT, any free one for 0. FALKORDB_URL and the\n"
"other variables of examples/env.example say where the database is; when it\n"
"is not there, that is shown, and the pool is opened once it comes.\n"
"\n"
"  /         a page that shows it all, live\n"
"  /health   JSON; status 200, or 503 when the verdict is CRITICAL. Where the\n"
"            database is several servers, an array: their sum, then each node\n"
"  /metrics  the same for Prometheus, each node by the label node\n"
"  /events   JSON: the last 200 events of the pool\n"
"\n"
"      --load THREADS  so many threads ask RETURN 1, a hundred times a second\n"
"                      each at most, in the URL's graph, or \"health_server\"\n"
"      --demo          takes POST /load?threads=N&hold_ms=M, which holds N\n"
"                      connections for M ms: how exhaustion looks\n"
"      --name NAME     of the pool, in everything that is shown\n"
"      --help          this text\n"
"\n"
"It ends with SIGINT or SIGTERM. Exit status: 0; 1 it cannot listen there;\n"
"2 wrong usage, or a variable that is wrong.\n";

enum { EVENTS = 200, MAX_THREADS = 1000, MAX_HOLD_MS = 60000,
       NODES = 100 };           /* shown at most */

typedef struct note {           /* an event, kept */
    int64_t unix_ms;
    falkor_event_level level;
    falkor_status status;
    int attempt, delay_ms;
    char name[48], message[512];
} note;

typedef struct service {
    falkor_pool *pool;
    falkor_pool *beside;        /* one connection, to ask the server */
    falkor_graph *graph;
    int load_threads;
    bool demo;
    pthread_mutex_t mutex;      /* guards what follows */
    pthread_cond_t changed;
    bool stopping;
    int threads;                /* that have not ended yet */
    uint64_t event_count;
    note events[EVENTS];        /* a ring: the i-th is at i % EVENTS */
} service;

static void say(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("health_server: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
}

static _Noreturn void die(int status, const char *what, const char *why) {
    say("%s: %s", what, why);
    exit(status);
}

/* ---- threads ---------------------------------------------------------- */

/* False once the program is to end, which ends the pause too. */
static bool pause_ms(service *app, int ms) {
    int64_t until = falkor_now_ns() + ms * INT64_C(1000000);
    struct timespec end = {.tv_sec = (time_t)(until / 1000000000),
                           .tv_nsec = (long)(until % 1000000000)};
    pthread_mutex_lock(&app->mutex);
    while (!app->stopping && falkor_now_ns() < until)
        pthread_cond_timedwait(&app->changed, &app->mutex, &end);
    bool goes_on = !app->stopping;
    pthread_mutex_unlock(&app->mutex);
    return goes_on;
}

typedef struct task {
    service *app;
    void (*run)(service *app, int number);
    int number;
} task;

static void *run_task(void *argument) {
    task todo = *(task *)argument;
    free(argument);
    todo.run(todo.app, todo.number);
    pthread_mutex_lock(&todo.app->mutex);
    todo.app->threads--;
    pthread_cond_broadcast(&todo.app->changed);
    pthread_mutex_unlock(&todo.app->mutex);
    return NULL;
}

/* Runs it in a thread that nobody joins: app counts those that are left. */
static bool begin(service *app, void (*run)(struct service *app, int number),
                  int number) {
    pthread_t thread;
    task *todo = malloc(sizeof *todo);
    if (!todo)
        return false;
    *todo = (task){app, run, number};
    pthread_mutex_lock(&app->mutex);
    bool begun = !app->stopping && app->threads < 2 * MAX_THREADS &&
                 pthread_create(&thread, NULL, run_task, todo) == 0;
    app->threads += begun;
    pthread_mutex_unlock(&app->mutex);
    if (begun)
        pthread_detach(thread);
    else
        free(todo);
    return begun;
}

/* ---- events ----------------------------------------------------------- */

static void keep_event(void *ctx, const falkor_event *event) {
    service *app = ctx;
    note kept = {.unix_ms = event->unix_ms, .level = event->level,
                 .status = event->status, .attempt = event->attempt,
                 .delay_ms = event->delay_ms};
    snprintf(kept.name, sizeof kept.name, "%s", event->name);
    snprintf(kept.message, sizeof kept.message, "%s", event->message);
    pthread_mutex_lock(&app->mutex);
    app->events[app->event_count++ % EVENTS] = kept;
    pthread_mutex_unlock(&app->mutex);
    falkor_log_event(NULL, event);
}

static bool to_file(void *ctx, const char *bytes, size_t length) {
    return fwrite(bytes, 1, length, ctx) == length;
}

static void write_event(FILE *out, const note *event, uint64_t number) {
    static const char *const levels[] = {"info", "warning", "error"};
    const falkor_value value = FALKOR_MAP_OF(
        {"number", falkor_int((int64_t)number)},
        {"unix_ms", falkor_int(event->unix_ms)},
        {"level", falkor_string(levels[event->level])},
        {"name", falkor_string(event->name)},
        {"message", falkor_string(event->message)},
        {"status", falkor_string(falkor_status_name(event->status))},
        {"attempt", falkor_int(event->attempt)},
        {"delay_ms", falkor_int(event->delay_ms)});
    falkor_value_write_json(&value, to_file, out);
}

/* The newest last. */
static unsigned write_events(service *app, FILE *out) {
    note *events = malloc(sizeof app->events);
    if (!events)
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    pthread_mutex_lock(&app->mutex);
    uint64_t count = app->event_count;
    memcpy(events, app->events, sizeof app->events);
    pthread_mutex_unlock(&app->mutex);
    fputs("[", out);
    for (uint64_t i = count > EVENTS ? count - EVENTS : 0; i < count; i++) {
        write_event(out, &events[i % EVENTS], i);
        fputs(i + 1 < count ? ",\n" : "", out);
    }
    fputs("]\n", out);
    free(events);
    return MHD_HTTP_OK;
}

/* ---- the pool --------------------------------------------------------- */

static void ask_lightly(service *app, int number) {
    (void)number;
    while (pause_ms(app, 10))
        falkor_query(app->graph, "RETURN 1", NULL, NULL, NULL);
}

static void hold_a_connection(service *app, int ms) {
    falkor_conn *conn;
    if (falkor_acquire(app->pool, &conn, NULL) != FALKOR_OK)
        return;
    pause_ms(app, ms);
    falkor_release(conn);
}

/* Why an open fails is told by the events. */
static void open_pools(service *app, int number) {
    (void)number;
    while (falkor_pool_open(app->pool, NULL) != FALKOR_OK)
        if (!pause_ms(app, 250))
            return;
    int begun = 0;
    while (begun < app->load_threads && begin(app, ask_lightly, 0))
        begun++;
    if (begun < app->load_threads)
        say("only %d threads of the load were started", begun);
    while (falkor_pool_open(app->beside, NULL) != FALKOR_OK)
        if (!pause_ms(app, 250))
            return;
}

/* The server is asked through a pool of its own, so that neither a pool that is
   exhausted nor a server that is silent holds up who asks for health. */
static void create_pools(service *app, const char *name) {
    falkor_error error;
    falkor_options options = {.name = name, .on_event = keep_event,
        .event_ctx = app, .leak_after_ms = 10000};
    if (falkor_options_from_env(&options, &error) != FALKOR_OK ||
        falkor_pool_create(&options, &app->pool, &error) != FALKOR_OK)
        die(2, "the database's options", error.message);
    falkor_options beside = options;
    beside.on_event = NULL;
    beside.schema = NULL;
    beside.min_size = beside.max_size = 1;
    beside.reserve_size = beside.max_retries = -1;
    beside.pool_timeout_ms = beside.connect_timeout_ms =
        beside.socket_timeout_ms = 500;
    if (falkor_pool_create(&beside, &app->beside, &error) != FALKOR_OK)
        die(2, "the database's options", error.message);
    app->graph = falkor_select_graph(app->pool, NULL);
    if (!app->graph)
        app->graph = falkor_select_graph(app->pool, "health_server");
    if (!app->graph)
        die(1, "memory", "there is not enough");
}

/* ---- what is served --------------------------------------------------- */

/* The pool, and behind it, where it stands for several servers, each node. */
typedef struct views {
    size_t count;               /* 0: there is no memory for them */
    falkor_snapshot *all[1 + NODES];
} views;

static void views_end(views *self) {
    while (self->count > 0)
        falkor_snapshot_free(self->all[--self->count]);
}

static void views_take(views *self, falkor_pool *pool) {
    falkor_node_info nodes[NODES];
    size_t count = falkor_pool_nodes(pool, nodes, NODES);
    if (count > NODES)
        count = NODES;
    self->count = falkor_snapshot_take(pool, &self->all[0], NULL) == FALKOR_OK;
    for (size_t i = 0; i < count && count > 1 && self->count == 1 + i; i++)
        self->count += falkor_snapshot_take_node(&nodes[i],
            &self->all[1 + i], NULL) == FALKOR_OK;
    if (count > 1 && self->count != 1 + count)
        views_end(self);
}

static falkor_status views_write(const views *self, falkor_format format,
                                 FILE *out) {
    return falkor_snapshot_write((const falkor_snapshot *const *)self->all,
                                 self->count, format, to_file, out);
}

/* What the server says about itself is left out where it does not answer. */
static unsigned write_health(service *app, FILE *out) {
    views now;
    falkor_health health;
    views_take(&now, app->pool);
    if (!now.count)
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    falkor_snapshot_ask_server(now.all[0], app->beside, NULL);
    falkor_snapshot_health(now.all[0], &health);
    falkor_status status = views_write(&now, FALKOR_FORMAT_JSON, out);
    views_end(&now);
    if (status)
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    return health.verdict == FALKOR_HEALTH_CRITICAL
        ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK;
}

static unsigned write_metrics(service *app, FILE *out) {
    views now;
    views_take(&now, app->pool);
    if (!now.count)
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    falkor_status status = views_write(&now, FALKOR_FORMAT_PROMETHEUS, out);
    views_end(&now);
    return status ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_OK;
}

static unsigned write_page(service *app, FILE *out) {
    (void)app;
    fwrite(page, 1, sizeof page, out);
    return MHD_HTTP_OK;
}

/* write returns the status of HTTP. */
typedef struct endpoint {
    const char *path, *type;
    unsigned (*write)(service *app, FILE *out);
} endpoint;
static const endpoint places[] = {
    {"/", "text/html; charset=utf-8", write_page},
    {"/health", "application/json", write_health},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics},
    {"/events", "application/json", write_events},
};

/* ---- HTTP ------------------------------------------------------------- */

/* Queues what is in text, which is freed. allow: the methods to name, or
   NULL. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status,
                             const char *type, char *text, size_t length,
                             const char *allow) {
    struct MHD_Response *response = MHD_create_response_from_buffer(length,
        text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    const char *const headers[][2] = {{"Content-Type", type},
        {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"},
        {"Content-Security-Policy", "default-src 'none'; connect-src 'self'; "
         "img-src data:; style-src 'unsafe-inline'; script-src "
         "'unsafe-inline'; frame-ancestors 'none'"}, {"Allow", allow}};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (headers[i][1])
            MHD_add_response_header(response, headers[i][0], headers[i][1]);
    enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result reply_text(struct MHD_Connection *connection,
                                  unsigned status, const char *allow,
                                  const char *text) {
    char *copy = strdup(text);
    return copy ? reply(connection, status, "text/plain; charset=utf-8", copy,
                        strlen(copy), allow) : MHD_NO;
}

static enum MHD_Result reply_place(service *app,
                                   struct MHD_Connection *connection,
                                   const endpoint *place) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return MHD_NO;
    unsigned status = place->write(app, out);
    bool whole = !ferror(out);
    if (fclose(out) != 0 || !whole ||
        status == MHD_HTTP_INTERNAL_SERVER_ERROR) {
        free(text);
        return reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL,
                          "out of memory\n");
    }
    return reply(connection, status, place->type, text, length, NULL);
}

/* A whole number from least to most; -1: it is none. */
static int number_of(const char *text, int least, int most) {
    char *end;
    if (!text || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    long number = strtol(text, &end, 10);
    return *end || errno || number < least || number > most ? -1 : (int)number;
}

static enum MHD_Result reply_load(service *app,
                                  struct MHD_Connection *connection) {
    int threads = number_of(MHD_lookup_connection_value(connection,
        MHD_GET_ARGUMENT_KIND, "threads"), 1, MAX_THREADS);
    int ms = number_of(MHD_lookup_connection_value(connection,
        MHD_GET_ARGUMENT_KIND, "hold_ms"), 1, MAX_HOLD_MS);
    if (!app->demo)
        return reply_text(connection, MHD_HTTP_FORBIDDEN, NULL,
                          "start health_server with --demo for that\n");
    if (threads < 0 || ms < 0)
        return reply_text(connection, MHD_HTTP_BAD_REQUEST, NULL,
            "/load?threads=N&hold_ms=M takes N from 1 to 1000 and M from 1 to "
            "60000\n");
    for (int i = 0; i < threads; i++)
        if (!begin(app, hold_a_connection, ms))
            return reply_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                              "not so many threads can be started\n");
    return reply_text(connection, MHD_HTTP_ACCEPTED, NULL, "they hold\n");
}

static enum MHD_Result answer(service *app,
                              struct MHD_Connection *connection,
                              const char *path, const char *method) {
    if (strcmp(path, "/load") == 0)
        return strcmp(method, "POST") == 0 ? reply_load(app, connection)
            : reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "POST",
                         "/load takes POST only\n");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (strcmp(path, places[i].path) != 0)
            continue;
        if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
            return reply_place(app, connection, &places[i]);
        return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, HEAD",
                          "GET and HEAD only\n");
    }
    return reply_text(connection, MHD_HTTP_NOT_FOUND, NULL,
                      "there are /, /health, /metrics and /events\n");
}

/* Is called with the head of a request, then with each part of its body, which
   nobody wants, then without one. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection,
                                  const char *path, const char *method,
                                  const char *version, const char *body,
                                  size_t *body_size, void **seen) {
    static char once;
    (void)version;
    (void)body;
    if (!*seen || *body_size) {
        *seen = &once;
        *body_size = 0;
        return MHD_YES;
    }
    return answer(ctx, connection, path, method);
}

/* ---- listening -------------------------------------------------------- */

static int listen_at(const char *address, const char *port, int *family) {
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    char where[160];
    snprintf(where, sizeof where, "%s port %s", address, port);
    if (getaddrinfo(address, port, &hints, &found) != 0)
        die(2, address, "is no address of this machine: give one such as "
            "127.0.0.1, ::1, or 0.0.0.0 for all");
    int yes = 1, fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 ||
        listen(fd, 64) != 0) {
        say("cannot listen on %s: %s%s", where, strerror(errno),
            errno == EADDRINUSE ? "; port 0 takes any that is free"
            : errno == EADDRNOTAVAIL ? "; give one of this machine, or none"
            : "");
        exit(1);
    }
    *family = found->ai_family;
    freeaddrinfo(found);
    return fd;
}

static void print_address(int fd, const char *address) {
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    char port[8] = "";
    getsockname(fd, (struct sockaddr *)&bound, &length);
    getnameinfo((struct sockaddr *)&bound, length, NULL, 0, port, sizeof port,
                NI_NUMERICSERV);
    bool colons = strchr(address, ':');
    printf("health_server: http://%s%s%s:%s/\n", colons ? "[" : "", address,
           colons ? "]" : "", port);
    fflush(stdout);
}

/* Each connection has a thread of its own: one that waits for the server's
   answer keeps no other waiting. */
static struct MHD_Daemon *serve(service *app, int fd, int family) {
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
        MHD_USE_POLL | (family == AF_INET6 ? MHD_USE_IPv6 : 0), 0, NULL, NULL,
        on_request, app, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, 200u,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, 50u,    /* no one has all of them */
        MHD_OPTION_CONNECTION_TIMEOUT, 15u,
        MHD_OPTION_END);
    if (!daemon)
        die(1, "libmicrohttpd", "does not start");
    return daemon;
}

/* ---- all of it -------------------------------------------------------- */

typedef struct arguments {
    const char *port, *address, *name;
    int load_threads;
    bool demo;
} arguments;

/* The value behind an option. */
static const char *value_of(int argc, char **argv, int *i) {
    if (*i + 1 >= argc)
        die(2, argv[*i], "takes a value (--help shows the usage)");
    return argv[++*i];
}

static void read_load(arguments *given, const char *threads) {
    given->load_threads = number_of(threads, 1, MAX_THREADS);
    if (given->load_threads < 0) {
        say("--load takes a number of threads from 1 to %d, not \"%s\"",
            MAX_THREADS, threads);
        exit(2);
    }
}

static arguments read_arguments(int argc, char **argv) {
    arguments given = {.address = NULL};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            exit(fflush(stdout) == 0 ? 0 : 1);
        } else if (strcmp(argv[i], "--load") == 0) {
            read_load(&given, value_of(argc, argv, &i));
        } else if (strcmp(argv[i], "--name") == 0) {
            given.name = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--demo") == 0) {
            given.demo = true;
        } else if (argv[i][0] == '-') {
            die(2, argv[i], "no such option (--help shows the usage)");
        } else if (!given.port) {
            given.port = argv[i];
        } else if (!given.address) {
            given.address = argv[i];
        } else {
            die(2, argv[i], "PORT and ADDRESS are all (--help shows the "
                "usage)");
        }
    }
    if (!given.port)
        die(2, "PORT is missing", "0 takes any that is free (--help shows the "
            "usage)");
    if (number_of(given.port, 0, 65535) < 0)
        die(2, given.port, "is no port: give a number from 1 to 65535, or 0 "
            "for any that is free");
    if (!given.address)
        given.address = "127.0.0.1";
    return given;
}

static void leave(int number) {
    (void)number;
    _exit(0);
}

/* A dial that is under way would keep us for its whole time: nobody is waited
   for longer than a second. */
static void end(service *app, struct MHD_Daemon *daemon) {
    signal(SIGALRM, leave);
    alarm(1);
    pthread_mutex_lock(&app->mutex);
    app->stopping = true;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);
    falkor_pool_close(app->pool, 200);
    falkor_pool_close(app->beside, 0);
    MHD_stop_daemon(daemon);
    pthread_mutex_lock(&app->mutex);
    while (app->threads)
        pthread_cond_wait(&app->changed, &app->mutex);
    pthread_mutex_unlock(&app->mutex);
    falkor_graph_free(app->graph);
    falkor_pool_free(app->beside);
    falkor_pool_free(app->pool);
}

int main(int argc, char **argv) {
    static service app = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    arguments given = read_arguments(argc, argv);
    app.load_threads = given.load_threads;
    app.demo = given.demo;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&app.changed, &monotonic);

    /* Before the first thread, so that all of them leave these to sigwait. */
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    signal(SIGPIPE, SIG_IGN);

    create_pools(&app, given.name);
    int family, fd = listen_at(given.address, given.port, &family);
    struct MHD_Daemon *daemon = serve(&app, fd, family);
    print_address(fd, given.address);
    if (!begin(&app, open_pools, 0))
        die(1, "threads", "cannot start one");
    int number;
    while (sigwait(&ending, &number) != 0)
        ;
    end(&app, daemon);
    return 0;
}
