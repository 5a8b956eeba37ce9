/* falkorpool: query FalkorDB from many threads over a few connections.
 *
 * FalkorDB is a graph database inside Redis and Valkey. This library is its
 * client for C with a blocking connection pool built in: a thread that asks a
 * query waits until a connection is free, sends, reads the typed result and
 * gives the connection back. Two promises hold whatever fails: no write is
 * applied twice, and no thread reads another's reply.
 *
 *     #include "pool.h"
 *     #include <stdio.h>
 *     int main(void) {
 *         falkor_pool *pool = NULL; falkor_error error; falkor_result *found;
 *         if (!falkor_pool_create(NULL, &pool, &error) &&
 *             !falkor_pool_open(pool, &error)) {
 *             falkor_graph *graph = falkor_select_graph(pool, "social");
 *             if (!falkor_query(graph, "RETURN $x", FALKOR_PARAMS({"x",
 *                     falkor_string("hello")}), &found, &error))
 *                 puts(falkor_result_value(found, 0, 0)->as.string);
 *             falkor_result_free(found);
 *         }
 *         if (error.status) fprintf(stderr, "%s\n", error.message);
 *         falkor_pool_free(pool);
 *         return error.status != FALKOR_OK;
 *     }
 *
 * Link with -lfalkorpool -lhiredis -lpthread, where the library was built with
 * TLS also with -lssl -lcrypto. Read this file from the top: statuses and
 * errors, drivers, events, options, pool, queries, commands, results and
 * values, statistics, and the macros for literal parameters.
 *
 * Rules that hold everywhere below:
 * - A call that can fail returns a falkor_status, 0 being success, and fills
 *   the falkor_error it is given; NULL there means "not wanted".
 * - What a call gives back through a pointer is set on failure too: to NULL
 *   or zero.
 * - After fork() the child's pools are open (or paused, or closed) as they
 *   were, but empty: it dials its own connections, and starts its own worker,
 *   when it first uses one. What the parent held cannot be released there, and
 *   rows that were being read end there with FALKOR_ERR_IO. What was in the
 *   middle of a call of another thread (a dial, a result) is not freed in the
 *   child.
 * - A thread must not be cancelled (pthread_cancel) while it is in a call: its
 *   connection, its place in the line and even a lock would be lost. Disable
 *   cancellation around calls (pthread_setcancelstate); falkor_pool_close is
 *   what ends calls early. Between calls it may be cancelled, and a cleanup
 *   handler releases what it holds.
 * - A signal handler must not call anything here but falkor_now_ns. exit() may
 *   come while other threads are in calls (with TLS: where the program has not
 *   used OpenSSL before its first pool with TLS).
 * - Without memory a call ends with FALKOR_ERR_NOMEM and has changed nothing
 *   here; a dial without memory is FALKOR_ERR_CONNECT. A write's maybe_executed
 *   says when it had been sent.
 * - A password is wiped when its pool is freed, and is in no message.
 * - NULL given to a function that frees, or that reads a result, is harmless.
 * - Pool and graph may be used by any thread at any time; a held connection
 *   by one thread at a time; a result is read-only, by any number of threads.
 * - Units stand in the names: _ms milliseconds, _ns nanoseconds on the
 *   monotonic clock (falkor_now_ns). */
#ifndef FALKOR_POOL_H
#define FALKOR_POOL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---------------------------------------------------------- */

#define FALKOR_VERSION_MAJOR 0
#define FALKOR_VERSION_MINOR 1
#define FALKOR_VERSION_PATCH 0

/* ---- what can be left out ---------------------------------------------- */

/* A small program may leave parts of the library out: these macros, defined for
   the library and for what includes this header, take their functions out of
   both.
     FALKOR_WITHOUT_STATISTICS   snapshots, histograms and what is timed for
                                 them; falkor_pool_stats stays
     FALKOR_WITHOUT_JSON         results and values as JSON; a snapshot is
                                 written as JSON too, so without statistics only
     FALKOR_WITHOUT_COMMANDS     the section "commands": plans, indexes,
                                 constraints, procedures, ..., and
                                 options.schema, which is refused then;
                                 falkor_command stays
     FALKOR_WITHOUT_PIPELINES    falkor_pipeline
     FALKOR_WITHOUT_CURSORS      cursors and falkor_query_each
     FALKOR_WITHOUT_URLS         options.url, which is refused then, the
                                 environment, shared pools
     FALKOR_WITHOUT_EVENTS       options.on_event and options.tracer, which are
                                 refused then, the looking for leaks that
                                 leak_after_ms asks for, falkor_event_field and
                                 falkor_log_event
     FALKOR_WITHOUT_BREAKER      the circuit breaker: breaker_failures is -1,
                                 whatever is set
     FALKOR_WITHOUT_TOPOLOGY     more servers than one: options.sentinels and
                                 .cluster, which are refused then
     FALKOR_WITHOUT_MESSAGES     the library's own words in falkor_error: a
                                 message is falkor_status_text's then, or what
                                 the server said of a query or a command */
#if defined(FALKOR_WITHOUT_JSON) && !defined(FALKOR_WITHOUT_STATISTICS)
#error "FALKOR_WITHOUT_JSON wants FALKOR_WITHOUT_STATISTICS too"
#endif

/* ---- status and error ------------------------------------------------- */

/* falkor_status is what every call that can fail returns: FALKOR_OK, or one of
   the FALKOR_ERR_... below. Numbers never change; new ones are added at the
   end. "Retried" means: by the query calls themselves, within their deadline,
   as often as max_retries allows. */
#define FALKOR_STATUS_LIST(X)                                                  \
    X(FALKOR_OK, 0, "success")                                                 \
    X(FALKOR_ERR_ARGUMENT, 1, "the caller's mistake; nothing was sent")        \
    X(FALKOR_ERR_NOMEM, 2, "no memory in this process")                        \
    X(FALKOR_ERR_NOT_OPEN, 3, "falkor_pool_open has not succeeded yet")        \
    X(FALKOR_ERR_CLOSED, 4, "the pool was closed")                             \
    X(FALKOR_ERR_POOL_TIMEOUT, 5, "time ended while waiting for a connection") \
    X(FALKOR_ERR_POOL_EXHAUSTED, 6, "max_waiters reached")                     \
    X(FALKOR_ERR_CONNECT, 7, "dial refused or timed out (ETIMEDOUT); retried") \
    X(FALKOR_ERR_AUTH, 8, "NOAUTH, WRONGPASS, NOPERM")                         \
    X(FALKOR_ERR_TIMEOUT, 9, "no whole reply by the deadline")                 \
    X(FALKOR_ERR_IO, 10, "the connection broke; reads are retried")            \
    X(FALKOR_ERR_PROTOCOL, 11, "a reply that makes no sense")                  \
    /* LOADING, BUSY, MASTERDOWN, CLUSTERDOWN, TRYAGAIN, full queue, */        \
    X(FALKOR_ERR_BUSY, 12, "refused before it ran; retried")                   \
    X(FALKOR_ERR_READONLY, 13, "a replica refused a write")                    \
    X(FALKOR_ERR_QUERY, 14, "any other error reply: syntax, type, ...")        \
    /* with several servers: retried */                                        \
    X(FALKOR_ERR_CIRCUIT_OPEN, 15, "failing fast after many failures")         \
    X(FALKOR_ERR_CONSTRAINT, 16, "unique or mandatory constraint violated")    \
    X(FALKOR_ERR_SERVER_TIMEOUT, 17, "the server timed the query out")         \
    X(FALKOR_ERR_MOVED, 18, "MOVED, ASK: it lives on another node")            \
    X(FALKOR_ERR_LIMIT, 19, "a reply past this library's limits")              \
    X(FALKOR_ERR_STALE, 20, "names changed while rows were read")              \
    X(FALKOR_ERR_NOT_REPLICATED, 21, "applied, but not on enough replicas yet")
typedef enum falkor_status {
#define FALKOR_STATUS_ENTRY(name, number, text) name = number,
    FALKOR_STATUS_LIST(FALKOR_STATUS_ENTRY)
#undef FALKOR_STATUS_ENTRY
    FALKOR_STATUS_COUNT         /* how many there are; grows */
} falkor_status;

/* falkor_status_name returns the status's name, such as "FALKOR_ERR_TIMEOUT",
   falkor_status_text the line about it above; "unknown status" for a number
   that is none. Static texts. */
const char *falkor_status_name(falkor_status status);
const char *falkor_status_text(falkor_status status);

/* falkor_error is the caller's own; every call that takes one writes it, on
   success too (all zero then, but for attempts). */
typedef struct falkor_error {
    falkor_status status;
    int sys_errno;              /* errno where the system said no; 0: none */
    int attempts;               /* 1: it was not retried; 0: refused before it
                                   began, and of falkor_acquire */
    bool maybe_executed;        /* a write may have been applied: look before
                                   you send it again */
    char message[512];          /* what failed, with which value, what to do;
                                   whole UTF-8 characters, no secrets */
} falkor_error;

typedef struct falkor_pool falkor_pool;     /* connections and their waiters */
typedef struct falkor_conn falkor_conn;     /* the lease of one connection */
typedef struct falkor_graph falkor_graph;   /* one named graph of a pool */
typedef struct falkor_result falkor_result; /* all that a query answered */
typedef struct falkor_value falkor_value;   /* one typed value, in or out */

/* ---- driver ----------------------------------------------------------- */

/* A driver lets the pool keep connections of any kind. Without one (options
   .driver NULL) the pool keeps connections to FalkorDB, and only then do
   queries, commands and schema work: with a driver of your own they return
   FALKOR_ERR_ARGUMENT.

   Its functions are called without the pool's lock (forget: inside of fork),
   from the thread that acquires or releases or from the pool's worker, never
   two at once on one handle but for shutdown; they must not call that pool.
   Each keeps its
   deadline_ns (compare with falkor_now_ns; INT64_MAX: none). */
typedef enum falkor_check_level {
    FALKOR_CHECK_FAST,          /* no round trip, never blocks */
    FALKOR_CHECK_MEDIUM,        /* one round trip */
    FALKOR_CHECK_DEEP           /* the service itself */
} falkor_check_level;
typedef struct falkor_driver {
    /* open dials and sets *handle. error is never NULL: fill message and
       sys_errno. Return FALKOR_ERR_AUTH (not retried) or FALKOR_ERR_CONNECT
       (retried); any other is FALKOR_ERR_CONNECT for the caller. AUTH and
       FALKOR_ERR_BUSY say that the server answered: they do not count for the
       circuit breaker, and nor does a sys_errno of this machine's own, such
       as EMFILE. */
    falkor_status (*open)(void *ctx, int64_t deadline_ns, void **handle,
                          falkor_error *error);
    /* check says whether the connection is fit; not OK: it is closed and
       replaced. FAST before every acquire. May be NULL: always fit. */
    falkor_status (*check)(void *ctx, void *handle, falkor_check_level level,
                           int64_t deadline_ns);
    /* reset undoes, on release, what the session changed; not OK: the
       connection is closed. May be NULL. */
    falkor_status (*reset)(void *ctx, void *handle, int64_t deadline_ns);
    /* shutdown makes I/O in progress fail; it may run beside the holder's
       I/O, never beside another of these on that handle. May be NULL. */
    void (*shutdown)(void *ctx, void *handle);
    /* close ends the connection and frees the handle. Called once. */
    void (*close)(void *ctx, void *handle);
    /* forget is close in a child of fork: closes the descriptor without a word
       to the server, which is the parent's to talk to, and touches nothing
       that another thread may have been in the middle of. May be NULL: the
       child keeps the descriptor. */
    void (*forget)(void *ctx, void *handle);
} falkor_driver;

/* falkor_now_ns reads the monotonic clock that every deadline_ns counts on. */
int64_t falkor_now_ns(void);

/* ---- events ----------------------------------------------------------- */

typedef enum falkor_event_level {
    FALKOR_EVENT_INFO, FALKOR_EVENT_WARNING, FALKOR_EVENT_ERROR
} falkor_event_level;

/* falkor_event is something that happened to the pool. It is valid during the
   callback and may grow. query_retry and query_failed_after_retries also tell
   of falkor_pool_open's attempts; circuit_opened comes after each failed probe
   again; connection_failed has the worker's pause in delay_ms, 0 where a call
   dialled. Names and the keys of their message:
     connection_pool_initialized     info     max_size timeout_ms
     closing_connection_pool         info
     connection_pool_closed          info
     close_error                     warning  error
     high_pool_utilization           warning  utilization_percent active max
     query_retry                     warning  attempt max_retries delay_ms
                                              error
     query_failed_after_retries      error    attempts error
     connection_failed               warning  delay_ms error
     connection_recycled             info     reason
     connection_leak                 warning  held_ms thread file line
     circuit_opened                  error    failures delay_ms error
     circuit_half_open               info
     circuit_closed                  info
     deprecated_setting              warning  name use
     primary_changed                 warning  from to
     topology_unknown                error    error */
typedef struct falkor_event {
    falkor_event_level level;
    const char *name;           /* "query_retry" and so on */
    const char *message;        /* key=value text, values with spaces in
                                   quotes; no secrets */
    falkor_status status;
    int attempt, delay_ms;
    const char *pool;           /* options.name, or client_name; of several
                                   servers as there; NULL */
    int64_t unix_ms;            /* when, by the system's clock */
    const char *node;           /* host:port, of one of several servers; NULL */
} falkor_event;

#ifndef FALKOR_WITHOUT_EVENTS
/* falkor_event_field finds key in the event's message and copies its value into
   room: without its quotes, cut to size at a whole character. false, and room
   "": there is no such key, or event or key is NULL. room may be NULL where
   size is 0. */
bool falkor_event_field(const falkor_event *event, const char *key, char *room,
                        size_t size);

/* falkor_log_event is a ready options.on_event: one line of key=value pairs on
   standard error for each event (level, event, pool where it has a name, node
   where it is one of several, the message), written at once so that lines of
   several threads do not mix. ctx is not used. */
void falkor_log_event(void *ctx, const falkor_event *event);
#endif

/* ---- tracing ----------------------------------------------------------- */

/* falkor_trace is what is known of a call (a query, a command, a pipeline) at
   its begin, and at its end; it is valid during the callback and may grow.
   Times are sums over all attempts; the rest of total_ns are back-off and our
   own work. connection is a number that this process gives each connection it
   dials; 0: none was used. */
typedef struct falkor_trace {
    const char *pool;           /* options.name, or client_name; of several
                                   servers as there; NULL */
    const char *graph;          /* NULL: a command or a pipeline, and the end
                                   of a cursor */
    const char *text;           /* the query, without its parameters, the
                                   command's name, or "PIPELINE"; NULL at the
                                   end of a cursor */
    size_t length;              /* of text */
    bool read_only;             /* false: a pipeline too */
    int64_t began_ns;           /* by falkor_now_ns */

    /* At the end. */
    falkor_status status;
    int attempts;
    uint64_t connection;        /* of the last attempt */
    size_t rows;                /* 0: of a pipeline too */
    int64_t total_ns, wait_ns, send_ns, receive_ns, decode_ns;
} falkor_trace;

/* falkor_tracer is told of each call, from the thread that makes it, with no
   lock held: begin returns what end is given as span. Either may be NULL; they
   must not call the pool. Without a tracer nothing is measured for it. */
typedef struct falkor_tracer {
    void *(*begin)(void *ctx, const falkor_trace *trace);
    void (*end)(void *ctx, void *span, const falkor_trace *trace);
} falkor_tracer;

/* ---- memory ------------------------------------------------------------ */

/* falkor_allocator is where a pool's memory comes from: the pool with its
   settings and statistics, its graphs and their names, connections and what
   they receive, the text of requests, pipelines, cursors, and results, which
   may outlive the pool. Any thread calls these, several at once, the pool's
   worker too; they must not call the library. allocate and reallocate return
   NULL when there is no memory; blocks are aligned as malloc's. release is not
   given NULL, reallocate is, for a new block. Large results keep no memory for
   the next ones then (see README, Limits).

   The C library's malloc still serves what belongs to no pool or to the caller:
   a plan's own structs, snapshots, JSON, and for the length of a call the parts
   of a URL, the statements of indexes and constraints and of options.schema. So
   it does hiredis (redisContext, by hiredisSetAllocators of hiredis 1.x), TLS
   with OpenSSL, name look-up and threads. */
typedef struct falkor_allocator {
    void *(*allocate)(void *ctx, size_t size);
    void *(*reallocate)(void *ctx, void *memory, size_t size);
    void (*release)(void *ctx, void *memory);
    void *ctx;
} falkor_allocator;

/* ---- options ---------------------------------------------------------- */

/* falkor_thresholds: from where on a pool's health is a WARNING, or CRITICAL,
   by what has happened in the last window_ms (-1: since the pool was made; the
   worker need not wake for it then). In each field 0 means its default and -1
   never (errors: 0 means one is enough for a warning). */
typedef struct falkor_thresholds {
    int window_ms;                  /* 60 000 */
    int utilization_warning, utilization_critical;  /* above, in %: 80, 95 */
    int wait_warning_ms, wait_critical_ms;  /* average above: 100, 500 */
    int errors_warning, errors_critical;    /* more than: 0, 10 */
} falkor_thresholds;

/* Which servers falkor_ro_query and its like (GRAPH.RO_QUERY) are sent to,
   where there are replicas; all else goes to the primary. A replica may not
   have yet what was written a moment ago, not even by this thread. */
typedef enum falkor_read_from {
    FALKOR_READ_PRIMARY,
    FALKOR_READ_PREFER_REPLICA, /* the primary where no replica is fit */
    FALKOR_READ_REPLICA,        /* FALKOR_ERR_CONNECT where none is; a single
                                   server is read from all the same */
    FALKOR_READ_NEAREST         /* whoever answers soonest, or about as soon */
} falkor_read_from;

/* falkor_options: {0} (in C++ {}) means all defaults. In a number 0 means its
   default and -1 none, off, or for ever. Fields that are set win over the url;
   a url beside host or unix_path is an error, for they could disagree.
   All but the allocator is copied; driver_ctx and event_ctx must live as long
   as the pool.

   url: falkor://user:password@host:port/graph?pool_max_size=20&db=1 ,
   redis:// (a path of digits is the database), falkors:// and rediss:// which
   are these two with TLS, or unix:///path?graph=name . For more servers than
   one falkor+sentinel://host1,host2:26380/graph?master=name and
   falkor+cluster://host1,host2:7001/graph , with TLS falkors+sentinel:// and
   falkors+cluster:// .
   Query keys are the environment variables' names without DB_, in lower
   case; times there are seconds and may have a fraction. */
typedef struct falkor_options {
    const char *url;
    const char *host;           /* name, IPv4 or IPv6 address; "localhost" */
    int port;                   /* 6379 */
    const char *unix_path;      /* a Unix socket instead of host and port */
    const char *username;       /* NULL: the default user */
    const char *password;       /* NULL: no AUTH is sent, unless for username,
                                   with an empty one */
    const char *client_name;    /* shown by CLIENT LIST; NULL: none */
    int database;               /* 0 */
    int min_size;               /* kept open: 5, or max_size where less */
    int max_size;               /* never more connections than this, but for
                                   the reserve: 20 */
    int reserve_size;           /* extra connections, beyond max_size, for who
                                   has waited; closed when nobody waits: 0 */
    int reserve_after_ms;       /* how long he has waited: 0, at once */
    int max_waiters;            /* a longer queue fails at once: no limit */
    int pool_timeout_ms;        /* wait for a free connection: 10 000 */
    int connect_timeout_ms;     /* one dial, but for name look-up: 5 000 */
    int socket_timeout_ms;      /* send and receive of one query: 30 000 */
    int health_check_interval_ms; /* in the background: 30 000 */
    int validate_after_ms;      /* idle longer: PING before use: 1 000 */
    int max_lifetime_ms;        /* of a connection, +-10 %: 3 600 000 */
    int idle_timeout_ms;        /* then closed, down to min_size: 60 000 */
    int leak_after_ms;          /* tells of longer holds, once each, as event
                                   connection_leak; a long query's too, with
                                   file=-: off */
    int max_retries;            /* beyond the first attempt: 3 */
    int retry_initial_delay_ms; /* 100 */
    int retry_max_delay_ms;     /* 2 000 */
    double retry_base;          /* each delay is so many times the last: 2 */
    double retry_jitter;        /* delays vary by this part: 0.25; -1: none */
    const char *const *schema;  /* statements run on graph, which is needed
                                   then, by every open; the list ends with
                                   NULL. Cypher, or "CONSTRAINT UNIQUE NODE L
                                   PROPERTIES 1 p". An index or constraint that
                                   exists already is no error: index one
                                   attribute a statement */
    const char *graph;          /* what falkor_select_graph(pool, NULL) is */
    const falkor_driver *driver;
    void *driver_ctx;
    /* on_event is called from any thread, several at once, with no lock held.
       It may use the pool, but not open, close or free it. A
       query there needs a connection beside the one that its thread holds, or
       replaces, at the moment, and waits pool_timeout_ms at most; of what
       happens meanwhile that thread tells no event. */
    void (*on_event)(void *ctx, const falkor_event *event);
    void *event_ctx;
    bool tls;                   /* TLS 1.2 or newer. A build without TLS
                                   refuses it, and unix_path has none. The
                                   files are PEM, and read by the first dial:
                                   FALKOR_ERR_CONNECT where that fails */
    const char *tls_ca_file;    /* who may vouch for the server; NULL: those
                                   whom this system trusts */
    const char *tls_cert_file;  /* our own certificate, the chain behind it,
                                   for a server that wants one */
    const char *tls_key_file;   /* its key, not protected by a password */
    const char *tls_server_name; /* the name, or address, that the server's
                                   certificate must bear; NULL: the host */
    bool tls_skip_verify;       /* believe any server: for experiments only,
                                   for then anybody can be in between */
    int breaker_failures;       /* so many failures to reach the server, one
                                   after the other, open the circuit: 5; -1
                                   never */
    int breaker_max_delay_ms;   /* the longest pause between its probes, which
                                   begin with 100 ms and double: 1 000 */
    const char *name;           /* the pool's, in traces, and cut at 127 bytes
                                   in statistics; NULL: client_name, or else
                                   where the server is, master_name, or the
                                   cluster's first host */
    falkor_thresholds health;
    const falkor_tracer *tracer; /* NULL: none */
    void *tracer_ctx;           /* lives as long as the pool and every cursor
                                   of it */
    const falkor_allocator *allocator; /* NULL: malloc. It is not copied: it
                                   lives as long as the pool and every result,
                                   cursor, plan and held connection of it */
    /* More servers than one: see "topology" below. Lists of hosts are written
       "host1:26379,host2,[::1]:26380". */
    const char *sentinels;      /* whom to ask; their port is 26379 */
    const char *master_name;    /* what the sentinels call it; needed then */
    const char *sentinel_username;  /* the sentinels' own login; */
    const char *sentinel_password;  /* NULL: none */
    const char *cluster;        /* some nodes of a cluster; their port 6379 */
    falkor_read_from read_from;
    int max_lag_bytes;          /* a replica that lags by more, or for */
    int max_lag_ms;             /* longer, serves no reads: 1 048 576, 10 000 */
} falkor_options;               /* grows at its end only, with the SONAME */

#ifndef FALKOR_WITHOUT_URLS
/* falkor_options_from_env fills the fields that are 0 from the environment
   (the variables stand in examples/env.example): address, user and password
   only where url, host and unix_path all were 0, tls_... there and where TLS
   is on, graph where url and graph were. "0" in a variable is a real zero: -1
   here, refused for the pool, connect and socket timeout. The strings stay the
   environment's. On error, which names the variable, options is unchanged. */
falkor_status falkor_options_from_env(falkor_options *options,
                                      falkor_error *error);
#endif

/* ---- pool ------------------------------------------------------------- */

/* falkor_pool_create checks the options (NULL: all defaults) and makes a pool.
   No I/O, does not block. *pool is the caller's, free it with
   falkor_pool_free. */
falkor_status falkor_pool_create(const falkor_options *options,
                                 falkor_pool **pool, falkor_error *error);

/* falkor_pool_open connects min_size connections (at least one), proves that
   graph queries work, runs the schema statements and starts the worker
   thread. Blocks: a dial takes connect_timeout_ms at most, the whole call
   pool_timeout_ms + socket_timeout_ms (for ever when either is), retries
   included. Open already: OK. After an error open again, or free. */
falkor_status falkor_pool_open(falkor_pool *pool, falkor_error *error);

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* ---- topology ----------------------------------------------------------- */

/* A pool may stand for several servers, its nodes: options.sentinels for a
   primary with replicas that sentinels watch over, options.cluster for a
   cluster, where each graph lives on one primary, by its name. The program is
   the same. Each node has a pool of its own with all of these options: max_size
   is a node's. A thread of the pool asks the sentinels, or the cluster, once a
   second, and at once when a call has met something odd.

   A call that meets a node which does not serve it (READONLY, MOVED, ASK) is
   sent on, for there it has not run; one that cannot reach its node is retried
   as always, and waits no longer than it takes to learn of the new primary. A
   write that may have run is not repeated there either. What waits for a
   connection, retries and circuits are a node's own.

   With a cluster: a pipeline's queries are sent to each node together. A held
   connection is one to the node of options.graph, or to some primary.
   falkor_list_graphs, falkor_config_get, falkor_info and falkor_udf_list ask
   every primary and join the rows; falkor_config_set and the other falkor_udf
   calls tell every primary, one after the other. falkor_config_get and _set go
   to the replicas as well, with sentinels too. A falkor_command without a key
   goes to one primary; with one, it is argv[1], but where this library knows
   better. falkor_graph_copy wants both graphs in one slot: give their names the
   same {tag}.

   wait_replicas asks the primary with WAIT, in the same round trip, and counts
   on no primary that another node has replaced. That so many have it does not
   say that the sentinels choose one of these: be sure with as many as there are
   replicas. While one of several replicas does not answer, and the sentinels
   have not found it down yet, it may be the new primary: writes are not durable
   until they have.

   A pipeline with MULTI, SELECT and the like goes to one node as it is, that of
   its first key. In any other a query that is refused is sent on only where
   nothing behind it on that graph has run. falkor_pool_open needs the primary
   that has options.graph, or some primary; the others may come later. */
typedef enum falkor_role {
    FALKOR_ROLE_UNKNOWN,        /* the only server; or a node that is gone */
    FALKOR_ROLE_PRIMARY, FALKOR_ROLE_REPLICA
} falkor_role;

/* falkor_role_name returns "primary", "replica" or "unknown"; static. */
const char *falkor_role_name(falkor_role role);

/* falkor_pool_nodes copies what is known of each node to nodes, as far as there
   is room, and returns how many there are: one, with the pool itself, where it
   has one server. A node stays among them, with its index, when it is gone. */
typedef struct falkor_node_info {
    char address[128];          /* host:port, cut where it is longer */
    falkor_role role;
    bool well;                  /* it answered when it was asked last */
    int64_t lag_bytes, lag_ms;  /* of a replica; -1: not known */
    int slots;                  /* of a cluster, that it serves */
    falkor_pool *pool;          /* for statistics, commands and levers on this
                                   node; lives as long as the whole, and is not
                                   to be opened, closed or freed by itself */
} falkor_node_info;             /* grows at its end only, with the SONAME */
size_t falkor_pool_nodes(falkor_pool *pool, falkor_node_info *nodes,
                         size_t room);
#endif

#ifndef FALKOR_WITHOUT_URLS
/* falkor_pool_shared gives the one open pool of this process that the url
   configures (NULL: what the environment does, by falkor_options_from_env),
   and makes and opens it when there is none. Two urls that mean the same share
   it, and so do callers at the same time; one that has been closed is not
   given again. Blocks as falkor_pool_open. Free it with falkor_pool_free, once
   for each call: the last frees it. */
falkor_status falkor_pool_shared(const char *url, falkor_pool **pool,
                                 falkor_error *error);
#endif

/* falkor_pool_close lets nobody in any more: who waits for a connection gets
   FALKOR_ERR_CLOSED at once. It waits timeout_ms (0: not at all; negative: for
   ever) for the connections in use; then cuts them, so that calls in progress
   fail, and returns FALKOR_ERR_TIMEOUT; a dial or check that is under way ends
   at its own deadline. Holders still release what was cut. Closing again is
   harmless. NULL: OK. */
falkor_status falkor_pool_close(falkor_pool *pool, int timeout_ms);

/* falkor_pool_free closes first, waiting 10 s at most for connections in use
   (not where falkor_pool_close has cut them already), and for a dial or check
   of the worker (connect_timeout_ms at most, 5 s where that is for ever; name
   look-up excepted). No other call on the pool or its
   graphs may run or follow but falkor_release: a connection still held stays
   releasable, once, and the last such release frees the rest; a driver's ctx
   must live until then. */
void falkor_pool_free(falkor_pool *pool);

/* Levers for an emergency, for any thread; each returns OK, FALKOR_ERR_CLOSED,
   or FALKOR_ERR_ARGUMENT for NULL.
   falkor_pool_pause: from now on nobody is given a connection; who acquires
   waits, his own time at most, and the error says "paused". What is held, or
   being dialled, is not touched. falkor_pool_resume ends that: those who wait
   are served in their order. falkor_pool_flush replaces every connection made
   before now: idle ones at once, those in use when they are released; for a
   server that was moved, say. falkor_pool_drop_idle closes the idle ones;
   min_size is dialled again. The latter two block as long as the driver takes
   to close. */
falkor_status falkor_pool_pause(falkor_pool *pool);
falkor_status falkor_pool_resume(falkor_pool *pool);
falkor_status falkor_pool_flush(falkor_pool *pool);
falkor_status falkor_pool_drop_idle(falkor_pool *pool);

/* The circuit breaker saves callers from waiting for a server that is not
   there, and the server from a storm of dials when it comes back. When
   breaker_failures times in a row a dial failed, or a connection broke or kept
   silent for socket_timeout_ms, and nothing was answered in between, the
   circuit is open. (What breaks together counts once: only a dial that nobody
   answered in connect_timeout_ms counts although others failed since it began.
   The dials of a falkor_pool_open that fails do not count.) All who wait for a
   connection, and all who want one, get FALKOR_ERR_CIRCUIT_OPEN at once, with
   the cause (a call that pauses between two attempts, behind the pause; its
   maybe_executed tells of the earlier ones); the worker closes what is idle,
   and dials, once, after 100 ms, then after twice as long each time,
   breaker_max_delay_ms at most. When a dial is answered, be it with a refusal,
   the circuit is closed. Error replies, pool_timeout_ms and a timeout_ms of the
   caller's own never count. */

/* falkor_acquire waits pool_timeout_ms at most for a connection, first come
   first served, and dials one where the pool may grow. The time covers the
   dial too (connect_timeout_ms at most; name look-up excepted), and the check
   of a connection that was idle for long. A failed dial
   is FALKOR_ERR_CONNECT, not retried here. Give the connection back with
   falkor_release. You need this for a held connection only (MULTI, a driver of
   your own); queries acquire by themselves. */
falkor_status falkor_acquire(falkor_pool *pool, falkor_conn **conn,
                             falkor_error *error);

/* falkor_acquire_within is falkor_acquire with its own time. 0 takes no one's
   turn and does not wait, but may check or dial (connect_timeout_ms at most);
   negative waits for ever. */
falkor_status falkor_acquire_within(falkor_pool *pool, int timeout_ms,
                                    falkor_conn **conn, falkor_error *error);

/* falkor_acquire_at is falkor_acquire_within with the place that a leak is
   reported with; file must live as long as the pool. The two above are macros
   too, which name the caller's own. */
falkor_status falkor_acquire_at(falkor_pool *pool, int timeout_ms,
                                falkor_conn **conn, falkor_error *error,
                                const char *file, int line);
#define FALKOR_POOL_TIMEOUT (-2147483647 - 1)   /* timeout_ms: the pool's own */
#define falkor_acquire(pool, conn, error) falkor_acquire_at((pool),            \
    FALKOR_POOL_TIMEOUT, (conn), (error), __FILE__, __LINE__)
#define falkor_acquire_within(pool, timeout_ms, conn, error) \
    falkor_acquire_at((pool), (timeout_ms), (conn), (error), __FILE__, __LINE__)

/* falkor_release gives a connection back, by any thread, once. What was left
   half read, broken, or changed for its session (MULTI, SELECT, ...) is closed
   rather than reused. A second release, or NULL, is FALKOR_ERR_ARGUMENT and
   changes nothing; that is certain until the lease is used again, after 63
   other acquires of its connection. */
falkor_status falkor_release(falkor_conn *conn);

/* falkor_conn_handle returns what options.driver's open made; NULL with the
   built-in driver, and for a connection that was released. */
void *falkor_conn_handle(const falkor_conn *conn);

/* falkor_conn_mark_broken: the release will close this connection. With a
   driver of your own it counts for the circuit breaker too, as a failure; a
   release without it is an answer. */
void falkor_conn_mark_broken(falkor_conn *conn);

/* ---- queries ---------------------------------------------------------- */

/* falkor_call_options: NULL or {0} means the defaults of falkor_query. */
typedef struct falkor_call_options {
    bool read_only;             /* GRAPH.RO_QUERY; a command: may be repeated */
    bool idempotent;            /* a write that may be sent twice */
    int timeout_ms;             /* the whole call: waiting, dialling, sending,
                                   receiving, retries, on_row; then the pool's
                                   own timeouts do not count. -1: for ever. 0:
                                   pool_timeout_ms to get a connection, socket
                                   _timeout_ms to use it, their sum in all */
    int server_timeout_ms;      /* the query's TIMEOUT; 0: the server's own;
                                   FALKOR_TIME_LEFT: what the call has left
                                   when it is sent, of a query; a pipeline,
                                   a plan and a command refuse that. Of a write
                                   FalkorDB ignores it unless TIMEOUT_DEFAULT
                                   or _MAX is set there; more than TIMEOUT_MAX
                                   is FALKOR_ERR_QUERY */
    int max_retries;            /* 0: the pool's; -1: none */
    falkor_conn *conn;          /* held one to run on; then no retry. Not for a
                                   query inside MULTI */
    int wait_replicas;          /* of a query or command that writes: OK only
                                   when so many replicas have it, else, when
                                   three quarters of the call's time are over
                                   (but for a second of it at most; a second,
                                   where fewer are known), FALKOR_ERR_NOT
                                   _REPLICATED. Not for pipelines */
    bool by_primary;            /* a read_only query by the primary, whatever
                                   read_from says: it has all that was written
                                   there */
} falkor_call_options;
#define FALKOR_TIME_LEFT (-2)
typedef struct falkor_entry falkor_entry;
typedef struct falkor_param falkor_param;

#ifndef FALKOR_WITHOUT_CURSORS
/* falkor_row_fn gets each row as it arrives: a result of one row, valid until
   it returns. false ends the call, which is then OK. It may query the same
   pool, which takes a second connection. It must not longjmp or throw. */
typedef bool (*falkor_row_fn)(void *ctx, const falkor_result *row);
#endif

/* falkor_select_graph names a graph to query; nothing is sent or created.
   name NULL: the pool's options.graph. Returns NULL when there is no memory,
   no name, or no pool. Free it with falkor_graph_free, once for each select;
   falkor_pool_free frees what is left. */
falkor_graph *falkor_select_graph(falkor_pool *pool, const char *name);
void falkor_graph_free(falkor_graph *graph);

/* falkor_graph_name returns the graph's name, which lives as long as it; NULL
   of NULL. */
const char *falkor_graph_name(const falkor_graph *graph);

/* falkor_query runs a query that may write (GRAPH.QUERY) and gives its whole
   result. params: an array that ends with {0}, or FALKOR_PARAMS(...), or NULL.
   result NULL: not wanted; else NULL after an error, and the caller frees it
   with falkor_result_free. Blocks pool_timeout_ms + socket_timeout_ms at most,
   retries included. A write is sent again only where it certainly did not run;
   where it may have run, error->maybe_executed says so.

   The server cuts a result at its RESULTSET_SIZE without a sign: where that
   matters ask for LIMIT n + 1. */
falkor_status falkor_query(falkor_graph *graph, const char *cypher,
    const falkor_param *params, falkor_result **result, falkor_error *error);

/* falkor_ro_query is falkor_query for a query that only reads
   (GRAPH.RO_QUERY): it may be repeated after any failure of the connection,
   and the server refuses it when it would write. A graph that nobody has
   written to yet does not exist: FALKOR_ERR_QUERY, "empty key". */
falkor_status falkor_ro_query(falkor_graph *graph, const char *cypher,
    const falkor_param *params, falkor_result **result, falkor_error *error);

/* falkor_query_with is falkor_query with options for this call. */
falkor_status falkor_query_with(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_result **result, falkor_error *error);

#ifndef FALKOR_WITHOUT_CURSORS
/* falkor_query_each calls on_row for each row, in this thread. With read_only
   the rows come as they arrive and memory does not grow with their number; a
   query that may write is read whole first. Never retried after the first row.
   result, if wanted, has columns and summary, no rows. When on_row stopped a
   read_only call and much was left to read, the connection is closed instead:
   the summary is empty, and a held options.conn can only be released then. */
falkor_status falkor_query_each(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_row_fn on_row, void *ctx,
    falkor_result **result, falkor_error *error);

/* A cursor is falkor_query_each turned round: a loop of your own asks for the
   rows. It is used by one thread at a time, and holds a connection until the
   last row was read or it is closed; its graph must live until then.

       while (!falkor_cursor_next(cursor, &row, &error) && row) ...

   falkor_cursor_open runs the query, up to its first row; *cursor is to be
   closed. falkor_cursor_next gives the next row: a result of one row, valid
   until the next call on the cursor; NULL behind the last one, and on failure,
   which ends the cursor. The call's time goes on between the rows: a consumer
   that is slow sets timeout_ms. falkor_cursor_result is a result without rows
   of its own: the columns, and behind the last row the summary; it lives as
   long as the cursor. falkor_cursor_close gives the connection back, or closes
   it when much was left to read (a held options.conn can only be released
   then, behind the cursor); NULL is harmless. It is the one call on a cursor
   that may follow falkor_pool_free. */
typedef struct falkor_cursor falkor_cursor;
falkor_status falkor_cursor_open(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_cursor **cursor, falkor_error *error);
falkor_status falkor_cursor_next(falkor_cursor *cursor,
    const falkor_result **row, falkor_error *error);
const falkor_result *falkor_cursor_result(const falkor_cursor *cursor);
void falkor_cursor_close(falkor_cursor *cursor);
#endif

/* falkor_command sends any Redis command but CLIENT REPLY OFF or SKIP; lengths
   NULL: the arguments end with NUL. The reply is one row of one column,
   "reply": strings, integers, arrays, null; an error inside an array (EXEC) is
   a FALKOR_ERROR_REPLY, an error reply is the call's status. Without read_only
   it counts as a write, and after an error reply it is not repeated, not even
   for FALKOR_ERR_BUSY, unless marked idempotent; a script's error reply sets
   maybe_executed. A command that changes its session (SELECT, CLIENT, ...)
   costs its connection on release; MULTI is undone by EXEC or DISCARD; after
   SUBSCRIBE or MONITOR a held connection can only be released.

   A GRAPH.QUERY in a transaction that creates nodes must be the only writer of
   its graph: FalkorDB 4.16 carries it out beside the other writers, and ends
   edges that they create at its nodes.

   A held connection may be switched to RESP3 (HELLO 3). Then doubles, booleans
   and maps come as what they are; a set is an array; a big number an integer,
   or past 64 bits a string of its digits; a verbatim string a string without
   its format; a map's key that is a number, boolean or null is its text, and
   one that is an array, map or error ends the call with FALKOR_ERR_PROTOCOL.
   Attributes, and messages between replies (CLIENT TRACKING), are passed
   over. Queries work as before. */
falkor_status falkor_command(falkor_pool *pool,
    const falkor_call_options *options, size_t argc, const char *const *argv,
    const size_t *lengths, falkor_result **result, falkor_error *error);

#ifndef FALKOR_WITHOUT_PIPELINES
/* falkor_request is one query, or one command, of a pipeline. result and error
   are written; result is the caller's to free. */
typedef struct falkor_request {
    falkor_graph *graph;        /* of the same pool; NULL: argv is a command */
    const char *cypher;
    const falkor_param *params;
    size_t argc;
    const char *const *argv;
    const size_t *lengths;
    bool read_only, idempotent;
    int server_timeout_ms;
    falkor_result *result;
    falkor_error error;
} falkor_request;

/* falkor_pipeline sends the requests at once over one connection, where they
   are carried out in their order, and reads the replies: one round trip instead
   of count for each run of queries and each run of commands. Queries of
   different graphs may overtake each other when names in one have changed. It
   is no transaction: one that fails does not keep the next from running.
   Returns OK when every request did, else what the first that failed says;
   each one's own error has its status, and after a failure of the connection
   whether it ran: FALKOR_OK and error replies: it was answered;
   maybe_executed: it may have run; else it certainly did not. Nothing is sent
   when one of them is FALKOR_ERR_ARGUMENT.

   options: timeout_ms, max_retries and conn are for the whole, read_only,
   idempotent and server_timeout_ms for every request that does not say so
   itself. After a failure of the connection what has no answer yet is sent
   again, in its order, only if all of it may be, and none before it has changed
   the session (SELECT, MULTI until EXEC); no error reply is a reason to
   repeat, not even FALKOR_ERR_BUSY, for then a request would run behind those
   after it. No commands after which messages come unasked (SUBSCRIBE), or that
   have not one reply (CLIENT REPLY); between MULTI and EXEC only commands.
   count 0: OK. */
falkor_status falkor_pipeline(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error);
#endif

#ifndef FALKOR_WITHOUT_COMMANDS
/* ---- commands --------------------------------------------------------- */

/* FalkorDB's other commands, typed. Each blocks as falkor_query does, takes
   options (NULL: defaults; timeout_ms, max_retries and a held conn count;
   read_only is the call's own matter) and is refused inside MULTI. Tables come
   as a falkor_result, by the columns named here, to be freed with
   falkor_result_free; result NULL: not wanted. Those that only read are
   repeated after a broken connection as falkor_ro_query is, the others as
   falkor_command is. On a graph that is not there: FALKOR_ERR_QUERY, "empty
   key", unless said otherwise. */

/* falkor_explain gives the plan of a query that is not run, falkor_profile
   runs it, as a write unless options.idempotent, and tells what each part of
   it produced; server_timeout_ms counts there. *plan is the caller's, free it
   with falkor_plan_free. A schema statement has a plan of one operator, and
   cannot be profiled. Replicas refuse both. */
typedef struct falkor_operator falkor_operator;
struct falkor_operator {
    const char *name;           /* "Node By Label Scan" */
    const char *arguments;      /* "(a:A)"; "" where there are none */
    size_t depth;               /* 0: the root */
    int64_t records;            /* it produced so many; -1 in an EXPLAIN */
    double milliseconds;        /* spent in it alone; -1 in an EXPLAIN */
    const falkor_operator *parent;  /* NULL: a root */
    const falkor_operator *child;   /* the first; the others follow as its */
    const falkor_operator *next;    /* next; NULL: none */
};
typedef struct falkor_plan {
    size_t count;
    const falkor_operator *operators;   /* the root first, children behind */
} falkor_plan;
falkor_status falkor_explain(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_plan **plan, falkor_error *error);
falkor_status falkor_profile(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_plan **plan, falkor_error *error);
void falkor_plan_free(falkor_plan *plan);

/* falkor_graph_delete deletes the graph with all that is in it;
   falkor_graph_copy makes a graph to, which must not exist, of it. The handle
   stays usable. */
falkor_status falkor_graph_delete(falkor_graph *graph,
    const falkor_call_options *options, falkor_error *error);
falkor_status falkor_graph_copy(falkor_graph *graph,
    const falkor_call_options *options, const char *to, falkor_error *error);

/* falkor_list_graphs: column graph. One that was deleted just now may still be
   listed. */
falkor_status falkor_list_graphs(falkor_pool *pool,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error);

/* falkor_memory_usage: one row, its columns named by the server, in MB
   (total_graph_sz_mb, indices_sz_mb, ...); what it tells by label or type is a
   FALKOR_MAP. Sizes of attributes are estimated from samples of each label; 0:
   the server's 100. */
falkor_status falkor_memory_usage(falkor_graph *graph,
    const falkor_call_options *options, int samples, falkor_result **result,
    falkor_error *error);

/* falkor_slowlog: columns time (FALKOR_DATETIME), command, query, milliseconds
   (double), params ("CYPHER p=1 ", as it was sent; null: none). falkor_slowlog
   _reset empties it. */
falkor_status falkor_slowlog(falkor_graph *graph,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error);
falkor_status falkor_slowlog_reset(falkor_graph *graph,
    const falkor_call_options *options, falkor_error *error);

/* falkor_config_get: columns name, value (integer or string; a yes or no is 1
   or 0, after HELLO 3 a boolean). name NULL or "*": all settings.
   falkor_config_set takes an integer, a boolean or a string; some settings hold
   until the server starts anew. */
falkor_status falkor_config_get(falkor_pool *pool,
    const falkor_call_options *options, const char *name,
    falkor_result **result, falkor_error *error);
falkor_status falkor_config_set(falkor_pool *pool,
    const falkor_call_options *options, const char *name, falkor_value value,
    falkor_error *error);

/* falkor_info: what the server is doing. section: "RunningQueries",
   "WaitingQueries", "ObjectPool", or NULL for all. A row is one query, or one
   number of the object pool: columns section ("Running queries", ...),
   received (FALKOR_DATETIME), graph, query, milliseconds (double, running or
   waiting so far), and more, a FALKOR_MAP of what else the server says. */
falkor_status falkor_info(falkor_pool *pool,
    const falkor_call_options *options, const char *section,
    falkor_result **result, falkor_error *error);

/* Libraries of functions in JavaScript, for all graphs. falkor_udf_load
   refuses a library that exists unless replace; falkor_udf_delete one that does
   not. falkor_udf_list: columns library, functions (array of strings), code
   (null unless with_code); library NULL: all. falkor_udf_flush deletes all. */
falkor_status falkor_udf_load(falkor_pool *pool,
    const falkor_call_options *options, const char *library,
    const char *source, bool replace, falkor_error *error);
falkor_status falkor_udf_list(falkor_pool *pool,
    const falkor_call_options *options, const char *library, bool with_code,
    falkor_result **result, falkor_error *error);
falkor_status falkor_udf_delete(falkor_pool *pool,
    const falkor_call_options *options, const char *library,
    falkor_error *error);
falkor_status falkor_udf_flush(falkor_pool *pool,
    const falkor_call_options *options, falkor_error *error);

/* falkor_call_procedure runs CALL procedure(arguments...) YIELD yield, with
   options.read_only by GRAPH.RO_QUERY. Arguments travel as parameters and
   arrive as the type they have: a vector, a point and a temporal value too.
   yield: names with commas, "node, score"; NULL: all. */
falkor_status falkor_call_procedure(falkor_graph *graph,
    const falkor_call_options *options, const char *procedure,
    const falkor_value *arguments, size_t count, const char *yield,
    falkor_result **result, falkor_error *error);

/* Indexes and constraints. What is to be made and exists already, or is to be
   dropped and does not, is no error; so these calls may be marked idempotent.
   They send several statements where needed: timeout_ms, or the default of 0,
   covers them all, and after an error some may have been run. Labels and
   properties may hold anything but a backtick. The graph is created with its
   first index or constraint. A range index that a unique constraint stands on
   is not dropped: do not send DROP INDEX for one yourself, FalkorDB 4.16
   refuses it and crashes at the next write.

   One that exists is left as it is, whatever its options: drop it first. The
   server also drops in its own time.

   wait: return when the server has built it from the data that is there, not
   only begun to. It asks for that in growing pauses; when time ends it is
   FALKOR_ERR_TIMEOUT, and the server goes on. */
typedef enum falkor_index_kind {
    FALKOR_INDEX_RANGE, FALKOR_INDEX_FULLTEXT, FALKOR_INDEX_VECTOR
} falkor_index_kind;
typedef struct falkor_index {   /* grows at its end only, with the SONAME */
    falkor_index_kind kind;
    bool on_edges;              /* of relationships; else of nodes */
    bool wait;                  /* of falkor_index_create */
    const char *label;          /* or the relationships' type */
    const char *const *properties;  /* the list ends with NULL */
    /* FALKOR_INDEX_VECTOR */
    int dimension;              /* how many floats; needed */
    const char *similarity;     /* NULL: "euclidean"; or "cosine" */
    int m, ef_construction, ef_runtime; /* 0: the server's */
    /* FALKOR_INDEX_FULLTEXT. Language and stopwords are the label's: further
       properties must agree with them, or leave them out */
    const char *language;       /* NULL: "english" */
    const char *const *stopwords;   /* ends with NULL; NULL: the server's */
    double weight;              /* of these properties; 0: 1 */
    bool no_stem;               /* words are not reduced to their stems */
    const char *phonetic;       /* "dm:en" and so on; NULL: off */
} falkor_index;
falkor_status falkor_index_create(falkor_graph *graph,
    const falkor_call_options *options, const falkor_index *index,
    falkor_error *error);
falkor_status falkor_index_drop(falkor_graph *graph,
    const falkor_call_options *options, const falkor_index *index,
    falkor_error *error);

/* FALKOR_CONSTRAINT_UNIQUE: no two have the same values in these properties;
   it needs a range index on each, which falkor_constraint_create makes where
   it is missing, and falkor_constraint_drop leaves. MANDATORY: all have them.
   With wait, data that violates the constraint is FALKOR_ERR_CONSTRAINT; the
   server keeps it, as failed and without effect, until it is dropped or
   created again. */
typedef enum falkor_constraint_kind {
    FALKOR_CONSTRAINT_UNIQUE, FALKOR_CONSTRAINT_MANDATORY
} falkor_constraint_kind;
typedef struct falkor_constraint {  /* grows as falkor_index does */
    falkor_constraint_kind kind;
    bool on_edges, wait;
    const char *label;
    const char *const *properties;
} falkor_constraint;
falkor_status falkor_constraint_create(falkor_graph *graph,
    const falkor_call_options *options, const falkor_constraint *constraint,
    falkor_error *error);
falkor_status falkor_constraint_drop(falkor_graph *graph,
    const falkor_call_options *options, const falkor_constraint *constraint,
    falkor_error *error);

/* falkor_indexes: columns label, properties, types, options, language,
   stopwords, entitytype, status, info; falkor_constraints: type, label,
   properties, entitytype, status. As the server answers CALL db.indexes() and
   CALL db.constraints(). */
falkor_status falkor_indexes(falkor_graph *graph,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error);
falkor_status falkor_constraints(falkor_graph *graph,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error);
#endif

/* ---- results ---------------------------------------------------------- */

/* falkor_summary: what the query did. May grow: read through the pointer. */
typedef struct falkor_summary {
    int64_t nodes_created, nodes_deleted, edges_created, edges_deleted,
        labels_added, labels_removed, properties_set, properties_removed,
        indices_created, indices_deleted, constraints_created,
        constraints_deleted;
    bool cached;                /* the server had the plan already */
    double internal_ms;         /* the server's own time */
} falkor_summary;

/* A result needs no pool, may outlive it, and may be read by many threads.
   Everything read from it lives until falkor_result_free. NULL results and
   positions outside give 0 or NULL. */
size_t falkor_result_rows(const falkor_result *result);
size_t falkor_result_columns(const falkor_result *result);
const char *falkor_result_column(const falkor_result *result, size_t column);
const falkor_value *falkor_result_value(const falkor_result *result,
                                        size_t row, size_t column);

/* falkor_result_get finds a value by its column's name, the first that bears
   it; NULL: none such. */
const falkor_value *falkor_result_get(const falkor_result *result, size_t row,
                                      const char *column);
const falkor_summary *falkor_result_summary(const falkor_result *result);
void falkor_result_free(falkor_result *result);

/* falkor_write_fn takes length bytes; false ends the writing. */
typedef bool (*falkor_write_fn)(void *ctx, const char *bytes, size_t length);

#ifndef FALKOR_WITHOUT_JSON
/* falkor_result_write_json writes the result as one line of JSON without the
   line's end: {"columns":[...],"rows":[[...]],"summary":{...}}. A node is
   {"id","labels","properties"}, an edge {"id","type","source","destination",
   "properties"}, a path {"nodes","edges"}, a point {"latitude","longitude"},
   a temporal value ISO 8601 text, a double the shortest that reads back the
   same, NaN and infinities "NaN", "Infinity", "-Infinity". Bytes that are not
   UTF-8 become U+FFFD. Returns OK, FALKOR_ERR_NOMEM, FALKOR_ERR_IO when write
   returned false, or FALKOR_ERR_ARGUMENT when it is NULL. */
falkor_status falkor_result_write_json(const falkor_result *result,
                                       falkor_write_fn write, void *ctx);

/* falkor_value_write_json is the same for one value; NULL is null. */
falkor_status falkor_value_write_json(const falkor_value *value,
                                      falkor_write_fn write, void *ctx);

/* falkor_result_to_json and falkor_value_to_json give the same text as one
   string that ends with NUL: *json is the caller's, who frees it with free();
   *length, if wanted, is its bytes without the NUL. On failure, which is
   FALKOR_ERR_NOMEM, or FALKOR_ERR_ARGUMENT for json NULL, they are NULL and
   0. */
falkor_status falkor_result_to_json(const falkor_result *result, char **json,
                                    size_t *length);
falkor_status falkor_value_to_json(const falkor_value *value, char **json,
                                   size_t *length);
#endif

/* ---- values ----------------------------------------------------------- */

typedef enum falkor_type {      /* the protocol's own numbers */
    FALKOR_UNKNOWN = 0,         /* from a newer server; refused as parameter */
    FALKOR_NULL = 1, FALKOR_STRING, FALKOR_INTEGER, FALKOR_BOOLEAN,
    FALKOR_DOUBLE, FALKOR_ARRAY, FALKOR_EDGE, FALKOR_NODE, FALKOR_PATH,
    FALKOR_MAP, FALKOR_POINT, FALKOR_VECTORF32, FALKOR_DATETIME, FALKOR_DATE,
    FALKOR_TIME, FALKOR_DURATION,
    FALKOR_ERROR_REPLY = 1000   /* as.string; inside an EXEC reply */
} falkor_type;

/* falkor_type_name returns "string", "node" and so on; static text. */
const char *falkor_type_name(falkor_type type);

/* The value structs below are frozen. as: all zero for FALKOR_NULL; read the
   member that type names. length: bytes, items, entries or floats, else 0.
   Strings end with a NUL that length does not count, and may hold others.
   as.seconds: DATETIME and DATE since 1970-01-01, TIME since midnight,
   DURATION in all.

   A value that comes out can go in as a parameter: a point travels as a map,
   a vector as a list, a temporal value as ISO 8601 text (write point($p),
   vecf32($v), date($d) in the query). Node, edge, path, UNKNOWN and
   ERROR_REPLY are refused, and so are NaN, infinities, a NUL inside a string
   and a backtick in a key: they cannot travel. */
typedef struct falkor_node falkor_node;
typedef struct falkor_edge falkor_edge;
typedef struct falkor_path falkor_path;
typedef struct falkor_point { double latitude, longitude; } falkor_point;
struct falkor_value {
    falkor_type type;
    uint32_t length;
    union {
        bool boolean; int64_t integer; double real; const char *string;
        const falkor_value *items; const falkor_entry *entries;
        const falkor_node *node; const falkor_edge *edge;
        const falkor_path *path; const falkor_point *point;
        const float *vector; int64_t seconds;
    } as;
};
struct falkor_entry { const char *key; falkor_value value; };
struct falkor_param { const char *name; falkor_value value; };
struct falkor_node {
    int64_t id;
    const char *const *labels;
    size_t label_count;
    falkor_value properties;                          /* a FALKOR_MAP */
};
struct falkor_edge {
    int64_t id, source, destination;
    const char *type;
    falkor_value properties;                          /* a FALKOR_MAP */
};
struct falkor_path {            /* nodes[i] -edges[i]- nodes[i + 1] */
    const falkor_node *nodes;
    const falkor_edge *edges;
    size_t node_count, edge_count;
};

/* falkor_property finds a property of a node, edge or map; NULL: no such key,
   or value is none of them (NULL included). */
const falkor_value *falkor_property(const falkor_value *value,
                                    const char *key);

/* These make parameters. They point to what they are given: keep it until the
   call that uses them returns. NULL is null; more than UINT32_MAX bytes or
   items gives FALKOR_UNKNOWN, which a call refuses. */
falkor_value falkor_null(void);
falkor_value falkor_bool(bool boolean);
falkor_value falkor_int(int64_t integer);
falkor_value falkor_double(double real);
falkor_value falkor_string(const char *text);
falkor_value falkor_string_n(const char *bytes, size_t length);
falkor_value falkor_array(const falkor_value *items, size_t count);
falkor_value falkor_map(const falkor_entry *entries, size_t count);
falkor_value falkor_vectorf32(const float *floats, size_t count);

/* ---- statistics ------------------------------------------------------- */

#define FALKOR_STATUS_SLOTS 32  /* room for statuses to come */

typedef enum falkor_circuit {   /* of the circuit breaker */
    FALKOR_CIRCUIT_CLOSED,      /* all is well */
    FALKOR_CIRCUIT_OPEN,        /* nobody is let in */
    FALKOR_CIRCUIT_HALF_OPEN    /* a probe is on its way */
} falkor_circuit;

/* falkor_stats is one moment of the pool: total is what is open or being
   opened or closed, in_use counted as active. Counters count since create. */
typedef struct falkor_stats {
    int max_size, total, active, idle, connecting, waiting;
    uint64_t acquires, releases, acquire_timeouts, queries, retries,
        connections_created, connections_recycled, connect_failures,
        health_failures;
    double utilization_percent; /* active of max_size */
    bool initialized, closed;
    int min_size, closing;
    uint64_t errors[FALKOR_STATUS_SLOTS]; /* calls that ended with each
                                   falkor_status; [FALKOR_OK]: without one.
                                   falkor_acquire is not counted */
    int reserve_size;
    bool paused;
    falkor_circuit circuit;
    uint64_t circuit_openings;  /* failed probes included */
} falkor_stats;                 /* grows at its end only, with the SONAME */

/* What is timed: how long who acquires waits for his connection, its dial or
   check included (most wait 0; who waits in vain counts too); how long a
   connection is held; a call from its begin to its end, retries and all; a
   dial; a check that asks the server. */
typedef enum falkor_latency_kind {
    FALKOR_LATENCY_WAIT, FALKOR_LATENCY_HOLD, FALKOR_LATENCY_QUERY,
    FALKOR_LATENCY_DIAL, FALKOR_LATENCY_CHECK,
    FALKOR_LATENCIES            /* how many there are; grows */
} falkor_latency_kind;

/* falkor_pool_stats fills stats. It takes the pool's lock for the length of a
   copy. NULL pool: all zero. */
void falkor_pool_stats(falkor_pool *pool, falkor_stats *stats);

#ifndef FALKOR_WITHOUT_STATISTICS
/* falkor_snapshot is one moment of a pool, or of several added up: its
   statistics, histograms of what is timed, each connection, the pool's health
   over the last health.window_ms. It needs no pool any more, and is one
   thread's at a time. It has 90 KB.

   falkor_snapshot_take makes one, which is the caller's. It takes the pool's
   lock as falkor_pool_stats does. Of a pool that stands for several servers it
   is their sum; take_node makes one of a node's pool alone, which has with it
   what falkor_pool_nodes told of that node (for the only server of a pool it is
   falkor_snapshot_take). ask_server adds what INFO says about the
   server, by one command of the pool's, which waits for a connection as any
   does: not the way while the pool is paused or used up. add adds another
   snapshot, of another pool, to sum, whose name it keeps (graph only where it
   is the same). subtract leaves of the counters and times what came after
   before was taken, and all else as it is now: that is how to begin anew
   without others losing theirs. A failure leaves the snapshot as it was. */
typedef struct falkor_snapshot falkor_snapshot;
falkor_status falkor_snapshot_take(falkor_pool *pool,
                                   falkor_snapshot **snapshot,
                                   falkor_error *error);
#ifndef FALKOR_WITHOUT_TOPOLOGY
falkor_status falkor_snapshot_take_node(const falkor_node_info *node,
                                        falkor_snapshot **snapshot,
                                        falkor_error *error);
#endif
falkor_status falkor_snapshot_ask_server(falkor_snapshot *snapshot,
                                         falkor_pool *pool,
                                         falkor_error *error);
falkor_status falkor_snapshot_add(falkor_snapshot *sum,
                                  const falkor_snapshot *other,
                                  falkor_error *error);
void falkor_snapshot_subtract(falkor_snapshot *now,
                              const falkor_snapshot *before);
void falkor_snapshot_free(falkor_snapshot *snapshot);

/* What a snapshot has; NULL, or all zero, for NULL and for a kind that is not
   known. Percentiles (percent is 0 to 100) are at most 1 % off, count, average
   and max exact, but for holds by falkor_acquire: 64 in a row are timed when
   the worker has seen their connection idle (it looks once a second, unless
   health says otherwise), else one in 256, which stands for those since the
   last; the latest are not there yet, and a long one may be missed. A max is
   since the pool was made; behind a subtract it is of the time between, 2 %
   above at most. */
typedef struct falkor_latency {
    uint64_t count;
    double average_ms, p50_ms, p95_ms, p99_ms, max_ms;
} falkor_latency;
const falkor_stats *falkor_snapshot_stats(const falkor_snapshot *snapshot);
falkor_latency falkor_snapshot_latency(const falkor_snapshot *snapshot,
                                       falkor_latency_kind kind);
double falkor_snapshot_percentile(const falkor_snapshot *snapshot,
                                  falkor_latency_kind kind, double percent);

/* falkor_snapshot_health judges by options.health: how much of max_size is in
   use, now or on average of the period, whichever is more; how long who
   acquires waits, on average, who stands in line now included; how many calls
   failed, and acquires that timed out. A pool that is not open, or whose
   circuit is open, is CRITICAL, one that is paused a WARNING, and a server with
   too many clients, blocked clients (which is what INFO calls those whose
   queries are under way) or refused connections either. A snapshot by take_node
   is CRITICAL for a primary that is not well, a WARNING for such a replica, for
   one that lags by more than max_lag_bytes or max_lag_ms and for a node that is
   gone, and need not be open, for no call may go there. Each reason says whose
   fault it is. */
typedef enum falkor_verdict {
    FALKOR_HEALTH_OK, FALKOR_HEALTH_WARNING, FALKOR_HEALTH_CRITICAL
} falkor_verdict;
typedef struct falkor_reason {
    falkor_verdict verdict;
    const char *fault;          /* "pool", "server" or "program" */
    char text[160];
} falkor_reason;
#define FALKOR_REASONS 12
typedef struct falkor_health {
    falkor_verdict verdict;     /* the worst of the reasons */
    int reason_count;
    falkor_reason reasons[FALKOR_REASONS];
    int64_t window_ms;          /* shorter while the pool is young; longer
                                   where nothing was noted in between */
    double utilization_percent, average_wait_ms;
    uint64_t errors;
    int64_t seen_well_ms;       /* since a dial or a check found the server
                                   well; -1: never */
} falkor_health;
void falkor_snapshot_health(const falkor_snapshot *snapshot,
                            falkor_health *health);

/* falkor_verdict_name returns "OK", "WARNING" or "CRITICAL". */
const char *falkor_verdict_name(falkor_verdict verdict);

/* falkor_snapshot_write writes count snapshots as text, which ends with a
   line's end: JSON, one object with "pool", "queries", "latency", "health",
   "connections", "memory" and, where it was asked, "server" (an array of them
   when count is not 1); PROMETHEUS, its text format 0.0.4, with the labels pool
   and graph: FALKOR_ERR_ARGUMENT where two are alike; or tables for people,
   which are like PgBouncer's SHOW POOLS, STATS, SERVERS (a line for each
   connection) and MEM. That of a node's pool has its host:port as label node,
   as "node" in "pool" and in a column; by take_node it has role, lag and slots
   too, as falkorpool_node_..., as the object "node" and in columns of POOLS.
   The sum beside its nodes is the one without the label. Returns as
   falkor_result_write_json. */
typedef enum falkor_format {
    FALKOR_FORMAT_JSON, FALKOR_FORMAT_PROMETHEUS, FALKOR_FORMAT_POOLS,
    FALKOR_FORMAT_STATS, FALKOR_FORMAT_SERVERS, FALKOR_FORMAT_MEM
} falkor_format;
falkor_status falkor_snapshot_write(const falkor_snapshot *const *snapshots,
                                    size_t count, falkor_format format,
                                    falkor_write_fn write, void *ctx);
#endif

/* ---- literal parameters ----------------------------------------------- */

/* FALKOR_PARAMS({"name", falkor_string("Ada")}, ...), FALKOR_ARRAY_OF(value,
   ...), FALKOR_MAP_OF({"key", value}, ...): one argument at least. They live to
   the end of the enclosing block, in C++ of the full expression: write them
   inside the call. A params array of your own ends with {0}, in C++ {}. */
#ifdef __cplusplus
}
extern "C++" {
template <size_t N>
inline const falkor_param *falkor_params_of(const falkor_param (&&list)[N]) {
    return list;
}
template <size_t N>
inline falkor_value falkor_array_of(const falkor_value (&&list)[N]) {
    return falkor_array(list, N);
}
template <size_t N>
inline falkor_value falkor_map_of(const falkor_entry (&&list)[N]) {
    return falkor_map(list, N);
}
}
#define FALKOR_PARAMS(...) (falkor_params_of({__VA_ARGS__, {}}))
#define FALKOR_ARRAY_OF(...) (falkor_array_of({__VA_ARGS__}))
#define FALKOR_MAP_OF(...) (falkor_map_of({__VA_ARGS__}))
#else
#define FALKOR_PARAMS(...) ((const falkor_param[]){__VA_ARGS__, {0}})
#define FALKOR_ARRAY_OF(...) \
    (falkor_array((const falkor_value[]){__VA_ARGS__}, \
        sizeof((const falkor_value[]){__VA_ARGS__}) / sizeof(falkor_value)))
#define FALKOR_MAP_OF(...) \
    (falkor_map((const falkor_entry[]){__VA_ARGS__}, \
        sizeof((const falkor_entry[]){__VA_ARGS__}) / sizeof(falkor_entry)))
#endif
#endif
