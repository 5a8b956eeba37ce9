/* What the library's files share, room by room: each section is named after
   the file that implements it, and may call only what stands above it here.
   Nothing in this file is public. */
#ifndef FALKOR_INTERNAL_H
#define FALKOR_INTERNAL_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* pthread_condattr_setclock, MSG_* */
#endif
#include "pool.h"
#include "sync.h"
#include <stdatomic.h>
#include <sys/uio.h>

#if defined(__GNUC__)
#define FALKOR__PRINTF(text, first) \
    __attribute__((format(printf, text, first)))
#define FALKOR__LIKELY(x) __builtin_expect(!!(x), 1)
#define FALKOR__COLD __attribute__((noinline, cold))
#define FALKOR__INLINE inline __attribute__((always_inline))
#else
#define FALKOR__PRINTF(text, first)
#define FALKOR__LIKELY(x) (x)
#define FALKOR__COLD
#define FALKOR__INLINE inline
#endif

/* ---- error.c: errors and deadlines ------------------------------------ */

/* Fills error (NULL: nothing to fill) and returns status. The text is cut at a
   whole UTF-8 character; control bytes become spaces, and bytes that are not
   UTF-8 question marks. attempts and maybe_executed are left to the caller.
   text is somebody else's: the server's. */
falkor_status falkor__fail_text(falkor_error *error, falkor_status status,
                                int sys_errno, const char *text);

/* The same with words of our own. Without messages they are those about the
   status, and what would have been said is not even computed. */
#ifdef FALKOR_WITHOUT_MESSAGES
falkor_status falkor__fail_briefly(falkor_error *error, falkor_status status,
                                   int sys_errno);
FALKOR__PRINTF(1, 2)
static inline bool falkor__unsaid(const char *format, ...) {
    (void)format;
    return false;
}
#define falkor__fail(error, status, sys_errno, ...) \
    ((void)(false && falkor__unsaid(__VA_ARGS__)), \
     falkor__fail_briefly(error, status, sys_errno))
#define falkor__refuse(error, ...) \
    falkor__fail(error, FALKOR_ERR_ARGUMENT, 0, __VA_ARGS__)
#define falkor__no_memory(error, text) \
    falkor__fail(error, FALKOR_ERR_NOMEM, 0, text)
#define falkor__fail_more(error, ...) \
    ((void)(error), (void)(false && falkor__unsaid(__VA_ARGS__)))
#else
falkor_status falkor__fail(falkor_error *error, falkor_status status,
                           int sys_errno, const char *format, ...)
    FALKOR__PRINTF(4, 5);

/* The same for the caller's own mistakes, FALKOR_ERR_ARGUMENT, and for
   FALKOR_ERR_NOMEM, with a text that is whole. */
falkor_status falkor__refuse(falkor_error *error, const char *format, ...)
    FALKOR__PRINTF(2, 3);
falkor_status falkor__no_memory(falkor_error *error, const char *text);

/* Adds less than FALKOR__MORE_SIZE bytes to the message of a failure, which is
   shortened where there is no room. */
#define FALKOR__MORE_SIZE 256
void falkor__fail_more(falkor_error *error, const char *format, ...)
    FALKOR__PRINTF(2, 3);
#endif

/* The system's words for an errno. */
const char *falkor__errno_text(int sys_errno);

/* How many bytes at text belong together: one character where *valid, else a
   maximal subpart of an ill-formed one, as the Unicode and WHATWG standards
   define it. length is at least 1. */
size_t falkor__utf8_span(const unsigned char *text, size_t length,
                         bool *valid);

/* Shortens text of length bytes, which was cut off somewhere, so that it does
   not end inside a UTF-8 character. Returns its new length. */
size_t falkor__trim_utf8(char *text, size_t length);

/* All zero: the state that every call begins with. */
static inline void falkor__error_clear(falkor_error *error) {
    if (!error)
        return;
    error->status = FALKOR_OK;
    error->sys_errno = 0;
    error->attempts = 0;
    error->maybe_executed = false;
    error->message[0] = '\0';
}

/* now + ms, FALKOR__NEVER for a negative ms. */
int64_t falkor__deadline(int timeout_ms);

/* For poll: milliseconds left, rounded up; -1 for FALKOR__NEVER, 0 when
   passed. */
int falkor__poll_ms(int64_t deadline_ns);

/* ---- fork.c: what fork() does ----------------------------------------- */

/* Around a fork lock takes what unlock gives back, in both processes; child:
   other threads are not there any more. The guard is object's own. */
typedef struct falkor__guard falkor__guard;
struct falkor__guard {
    void (*lock)(void *object);
    void (*unlock)(void *object, bool child);
    void *object;
    falkor__guard *next, *before;
};
void falkor__guard_add(falkor__guard *guard, void *object,
                       void (*lock)(void *object),
                       void (*unlock)(void *object, bool child));
bool falkor__guards_begin(void);        /* before the first; false: no memory */
void falkor__guard_remove(falkor__guard *guard);

/* ---- url.c: a URL's parts --------------------------------------------- */

/* What a URL says, each part decoded; NULL or 0 where it says nothing. The
   strings lie in text, the URL's copy. origin begins every message. */
typedef struct falkor__url {
    const char *origin;
    const char *host, *unix_path, *username, *password, *path;
    int port;
    const char *hosts;                  /* a list: of sentinels, or of nodes */
    bool is_cluster;                    /* the latter */
    bool path_is_database;              /* redis:// and digits */
    bool tls;                           /* the scheme says so */
    bool says_verify;                   /* options.c: tls_skip_verify is in */
    char *query;                        /* the pairs that are not read yet */
    char *text;
    size_t size;
} falkor__url;

#ifndef FALKOR_WITHOUT_URLS
/* url is all zero but for origin; free it in any case. next gives the pairs
   one by one; *key is NULL behind the last. */
falkor_status falkor__url_parse(const char *text, falkor__url *url,
                                falkor_error *error);
falkor_status falkor__url_next(falkor__url *url, const char **key,
                               const char **value, falkor_error *error);
void falkor__url_free(falkor__url *url);        /* wipes it */
#endif
void falkor__wipe(void *memory, size_t size);
bool falkor__same_word(const char *a, const char *b);   /* but for case */

/* ---- tls.c: TLS ------------------------------------------------------- */

/* What the options say about TLS; the strings are the config's. */
typedef struct falkor__tls_shared falkor__tls_shared;
typedef struct falkor__tls_settings {
    bool on, skip_verify;
    char *ca_file, *cert_file, *key_file, *server_name; /* NULL: not set */
    falkor__tls_shared *shared;         /* among a pool's links */
} falkor__tls_settings;

/* Makes settings usable; FALKOR_ERR_ARGUMENT when they are on in a build
   without TLS. No I/O. unsettle frees what it made, when no session is left. */
falkor_status falkor__tls_settle(falkor__tls_settings *settings,
                                 falkor_error *error);
void falkor__tls_unsettle(falkor__tls_settings *settings);

/* Reads the files, unless a thread has done so with success. */
falkor_status falkor__tls_load(const falkor__tls_settings *settings,
                               falkor_error *error);

/* A session on a connected socket; host and settings must outlive it. NULL: no
   memory, or no name that can be looked for. end says goodbye, which does not
   block, and frees it; the socket is the caller's to close. */
typedef struct falkor__tls falkor__tls;
falkor__tls *falkor__tls_begin(const falkor__tls_settings *settings,
                               const char *host, int fd);
void falkor__tls_end(falkor__tls *tls);

/* In a child of fork, whose parent has the session: no word to the server, and
   nothing is freed, for another thread may have been in the middle of it. */
void falkor__tls_forget(falkor__tls *tls);

/* These do what can be done now and return the bytes moved (handshake: 1). 0:
   the server has closed. -1 with errno EAGAIN: repeat when the socket is ready
   for *events. -1 with any other errno: broken for good, and reason says why,
   or is "" where errno does. may_wait: may take as long as the socket's own
   receive time-out. send needs the same pieces again after EAGAIN. */
ssize_t falkor__tls_handshake(falkor__tls *tls, short *events);
ssize_t falkor__tls_receive(falkor__tls *tls, char *room, size_t size,
                            bool may_wait, short *events);
ssize_t falkor__tls_send(falkor__tls *tls, const struct iovec *pieces,
                         size_t count, short *events);
const char *falkor__tls_reason(const falkor__tls *tls);

/* Whether the server is there, as far as the socket knows, and has sent
   nothing that is not read but what belongs to TLS itself. */
bool falkor__tls_quiet(falkor__tls *tls);

/* ---- result.c: memory ------------------------------------------------- */

/* Memory of a pool's, or of the C library where heap is NULL; of zero bytes,
   for count objects; moved, where block is NULL made. NULL: there is none. */
void *falkor__take(const falkor_allocator *heap, size_t size);
void *falkor__take_zero(const falkor_allocator *heap, size_t count,
                        size_t size);
void *falkor__take_more(const falkor_allocator *heap, void *block,
                        size_t size);
void falkor__give(const falkor_allocator *heap, void *block);   /* NULL: no */

/* ---- options.c: configuration ----------------------------------------- */

/* The options after defaults, URL and checks. Owns its strings. Times are in
   milliseconds with -1 for "none, off, for ever"; counts are plain numbers
   (none is 0; no limit of waiters is -1). */
typedef struct falkor__config {
    char *host, *unix_path;             /* one of them is NULL */
    int port;
    char *username, *password, *client_name, *graph, *name;
    char *sentinels, *cluster;          /* lists of hosts; NULL: one server */
    char *master_name, *sentinel_username, *sentinel_password;
    int read_from;                      /* a falkor_read_from */
    int max_lag_bytes, max_lag_ms;
    bool is_node;                       /* of several; then of a cluster: */
    bool in_cluster;
    int database;
    int min_size, max_size, reserve_size, reserve_after_ms, max_waiters;
    int pool_timeout_ms, connect_timeout_ms, socket_timeout_ms,
        health_check_interval_ms, validate_after_ms, max_lifetime_ms,
        idle_timeout_ms, leak_after_ms;
    int max_retries, retry_initial_delay_ms, retry_max_delay_ms;
    double retry_base, retry_jitter;    /* jitter 0: none */
    int breaker_failures, breaker_max_delay_ms;     /* failures -1: off */
    falkor_thresholds health;
    char **schema;                      /* ends with NULL; NULL: none */
    falkor_driver driver;               /* all NULL: the built-in one */
    void *driver_ctx;
    void (*on_event)(void *ctx, const falkor_event *event);
    void *event_ctx;
    falkor_tracer tracer;               /* both NULL: none */
    void *tracer_ctx;
    const falkor_allocator *heap;       /* also of this struct's texts */
    falkor__tls_settings tls;
} falkor__config;

/* Checks options (NULL: all defaults) and fills config, which is all zero on
   error. */
falkor_status falkor__config_make(const falkor_options *options,
                                  falkor__config *config,
                                  falkor_error *error);
void falkor__config_free(falkor__config *config);   /* wipes the password */

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* The config of one node's pool, made of the whole's: the same, but for the
   address, and without a schema. */
falkor_status falkor__config_node(const falkor__config *whole,
                                  const char *host, int port,
                                  falkor__config *config, falkor_error *error);

/* The next of a list of hosts, which begins at *list, with its port, if it
   names one. false: there is no more, and *list NULL: the rest is no host. */
#define FALKOR__HOST_SIZE 256
bool falkor__next_host(const char **list, char room[FALKOR__HOST_SIZE],
                       int *port);
#endif

/* Where the server is, for messages, in room; "" for a driver of the caller's
   own. */
const char *falkor__place(const falkor__config *config, char *room,
                          size_t size);
#ifndef FALKOR_WITHOUT_URLS
bool falkor__config_same(const falkor__config *a, const falkor__config *b);
#endif

/* ---- stats.c: counters, timings, events -------------------------------- */

/* Times in 64 steps to each power of two, so that what is read back is at most
   0.8 % off from 1 us on: steps of 16 ns up to there, and so on up to 36
   minutes, where the last step has all that took longer. The sum and the
   longest are exact. Without statistics there are none. */
#ifndef FALKOR_WITHOUT_STATISTICS
#define FALKOR__STEPS 2048
typedef struct falkor__histogram {
    atomic_uint_least64_t counts[FALKOR__STEPS];
    atomic_uint_least64_t sum_ns, max_ns;
} falkor__histogram;

/* The same, read: of one pool or of several. */
typedef struct falkor__timing {
    uint64_t counts[FALKOR__STEPS];
    uint64_t sum_ns, max_ns;
} falkor__timing;
#endif

/* What threads count without the pool's lock, each in a part that is no one
   else's most of the time; who reads adds the parts up. What takes its time
   anyway, a dial or a check, needs no parts. */
#ifndef FALKOR__PARTS                   /* a power of two */
#define FALKOR__PARTS 8
#endif
#define FALKOR__OFTEN FALKOR_LATENCY_DIAL
typedef struct falkor__part {
#ifndef FALKOR_WITHOUT_STATISTICS
    falkor__histogram times[FALKOR__OFTEN];
#endif
    atomic_uint_least64_t failed_waits, retries;
    atomic_uint_least64_t timeouts;     /* of falkor_acquire: calls have ends */
    atomic_uint_least64_t ends[FALKOR_STATUS_SLOTS];    /* of calls */
    char apart[64];
} falkor__part;
typedef struct falkor__recorder {
    falkor__part parts[FALKOR__PARTS];
#ifndef FALKOR_WITHOUT_STATISTICS
    falkor__histogram seldom[FALKOR_LATENCIES - FALKOR__OFTEN];
#endif
} falkor__recorder;

static inline falkor__part *falkor__my_part(falkor__recorder *recorder) {
    return &recorder->parts[falkor__thread_hint(FALKOR__PARTS)];
}

static inline void falkor__count(atomic_uint_least64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* With FALKOR_WITHOUT_TIMES nothing is timed: `make bench` shows what that
   saves. */
#if defined(FALKOR_WITHOUT_TIMES) || defined(FALKOR_WITHOUT_STATISTICS)
#define FALKOR__TIMES 0
#else
#define FALKOR__TIMES 1
#endif

/* weight: as how many this one counts, where only one of so many is timed. */
#ifdef FALKOR_WITHOUT_STATISTICS
static inline void falkor__record(falkor__recorder *recorder,
                                  falkor_latency_kind kind, int64_t ns,
                                  uint64_t weight) {
    (void)recorder, (void)kind, (void)ns, (void)weight;
}
#else
void falkor__record(falkor__recorder *recorder, falkor_latency_kind kind,
                    int64_t ns, uint64_t weight);

/* The step of a time, and the shortest time of a step. */
size_t falkor__step_of(uint64_t ns);
uint64_t falkor__step_begin_ns(size_t step);

void falkor__timing_read(const falkor__recorder *recorder,
                         falkor_latency_kind kind, falkor__timing *timing);
uint64_t falkor__time_sum(const falkor__recorder *recorder,
                          falkor_latency_kind kind);   /* WAIT or HOLD */
uint64_t falkor__failed_waits(const falkor__recorder *recorder);
uint64_t falkor__bare_timeouts(const falkor__recorder *recorder);
#endif
void falkor__recorder_read(const falkor__recorder *recorder,
                           falkor_stats *stats);

/* The counters of falkor_stats, which all add up; a pool's added to those of
   others; and what follows from the rest. */
#define FALKOR__EACH_COUNTER(X)                                                \
    X(acquires) X(releases) X(acquire_timeouts) X(queries) X(retries)          \
    X(connections_created) X(connections_recycled) X(connect_failures)         \
    X(health_failures) X(circuit_openings)
void falkor__stats_add(falkor_stats *sum, const falkor_stats *other);
void falkor__stats_rate(falkor_stats *stats);

int64_t falkor__unix_ms(void);

/* Calls on_event, if there is one, with a message made from format; never
   call it with a lock held. The pieces beside the text are in head. */
typedef struct falkor__event_head {
    falkor_event_level level;
    const char *name;
    const falkor_error *error;  /* its status is the event's, its message the
                                   last of the text; NULL: none */
    int attempt, delay_ms;
} falkor__event_head;
#ifdef FALKOR_WITHOUT_EVENTS
#define FALKOR__EVENTS 0
static inline void falkor__event(const falkor__config *config,
                                 const falkor__event_head *head,
                                 const char *format, ...) {
    (void)config, (void)head, (void)format;
}
#else
#define FALKOR__EVENTS 1
void falkor__event(const falkor__config *config,
                   const falkor__event_head *head, const char *format, ...)
    FALKOR__PRINTF(3, 4);
#endif

/* Whether anybody listens. */
static inline bool falkor__tells(const falkor__config *config) {
    return FALKOR__EVENTS && config->on_event;
}

/* Whether holds are looked at, for events that tell of long ones. */
static inline bool falkor__seeks_leaks(const falkor__config *config) {
    return FALKOR__EVENTS && config->leak_after_ms >= 0;
}

/* text as one value of a key=value line: in double quotes, with quotes and
   backslashes escaped, cut to the room there is. Returns room. */
const char *falkor__quote(char *room, size_t size, const char *text);

/* ---- retry.c: policy, pure -------------------------------------------- */

typedef struct falkor__policy {
    int max_retries, initial_delay_ms, max_delay_ms;
    double base, jitter;
} falkor__policy;

static inline falkor__policy falkor__policy_of(const falkor__config *config) {
    return (falkor__policy){
        .max_retries = config->max_retries,
        .initial_delay_ms = config->retry_initial_delay_ms,
        .max_delay_ms = config->retry_max_delay_ms,
        .base = config->retry_base, .jitter = config->retry_jitter};
}

/* How far a failed attempt got. */
typedef enum falkor__phase {
    FALKOR__PHASE_UNSENT,       /* no byte of the request left */
    FALKOR__PHASE_PART,         /* some did, not all */
    FALKOR__PHASE_SENT,         /* all did */
    FALKOR__PHASE_BEGUN,        /* bytes of the reply came, not all */
    FALKOR__PHASE_REPLIED,      /* the server's whole reply was an error, and
                                   nothing has run */
    FALKOR__PHASES
} falkor__phase;
const char *falkor__phase_text(falkor__phase phase);

/* The status that a server's error reply means; text need not end with NUL. */
falkor_status falkor__classify(const char *text, size_t length);

/* The status that errno means on a connection. */
falkor_status falkor__classify_errno(int number);

/* Whether an error reply says only that nobody waits for the query any longer,
   which may run to its end: no answer, but the loss of one. */
bool falkor__lets_run(const char *text);

/* Whether an attempt that ended so may be repeated. repeatable: a read, or
   marked idempotent by the caller. */
bool falkor__may_retry(falkor_status status, falkor__phase phase,
                       bool repeatable);

/* Whether a write that ended so may have been applied. */
bool falkor__maybe_executed(falkor_status status, falkor__phase phase);

/* Whether such a failure counts for the circuit breaker. */
bool falkor__counts(falkor_status status, int sys_errno);

/* The pause before attempt number retry (1 is the first repetition): initial *
   base^(retry-1), at most max, then varied by +-jitter; random is in [0, 1).
   Never more than max_delay_ms. */
int falkor__backoff_ms(const falkor__policy *policy, int retry, double random);

/* The circuit breaker. Closed: everybody may try. After so many failures, none
   of them followed by an answer, it is open: nobody may, until one probe dials,
   half-open, at probe_ns. Its failure opens it again for twice the time. The
   pool's lock guards it; failures is read without. */
#ifdef FALKOR_WITHOUT_BREAKER
#define FALKOR__BREAKER 0
#else
#define FALKOR__BREAKER 1
#endif
typedef struct falkor__breaker {
    falkor_circuit state;
    atomic_int failures;
    int delay_ms;               /* before the next probe */
    int64_t probe_ns;
    int64_t failed_ns;          /* of the last failure that counted */
} falkor__breaker;

/* A dial, or a connection in use, that failed. What dies together counts once:
   not what was there, or on its way, at the last failure. */
typedef struct falkor__failure {
    bool probe, counts;
    int64_t since_ns;           /* it began; FALKOR__NEVER: nobody answered for
                                   as long as a dial may take */
} falkor__failure;

/* limit < 0: never opens. True: it opens, or opens again. */
bool falkor__breaker_fail(falkor__breaker *breaker, int limit, int most_ms,
                          falkor__failure failure, int64_t now);

/* Notes that the server answered. A dial's answer closes the circuit, but ends
   no row of failures while it is closed: connections may be made and break
   again and again. True: the circuit closes. */
bool falkor__breaker_answer(falkor__breaker *breaker, bool dialled);

/* Whether an error reply to a graph query proves that graph queries work: the
   graph is not there yet; or, when it is only our probe and not the caller's
   (named), the key is something else, or not ours to read. */
bool falkor__proves_graphs(const char *text, bool named);

/* Whether an error reply says that an index or constraint exists already. */
bool falkor__exists_already(const char *text);

/* The next number in [0, 1) of the generator in *state, which starts as any
   number. */
double falkor__random(uint64_t *state);

/* ---- result.c: a result's shape and its memory ------------------------ */

/* What falkor_result's readers see; the decoder's own state lies around it in
   the same block, and falkor_result_free (reply.c) frees both. The cells of
   the rows lie in segments, each twice as many rows as the one before. */
#define FALKOR__SEGMENTS 33             /* enough for 2^32 rows */
struct falkor_result {
    size_t rows, column_count;
    const char *const *columns;
    unsigned base_shift;                /* segment i: 1 << (base_shift + i) */
    falkor_value *segments[FALKOR__SEGMENTS];
    falkor_summary summary;
};

/* Memory in a list of chunks. A block that is taken lies behind the one
   taken before it, in most cases, so the newest can be given back by moving
   at to kept, as far as that reaches. */
typedef struct falkor__chunk falkor__chunk;
struct falkor__chunk {
    falkor__chunk *next;
    size_t size;                        /* of what follows this head */
};
typedef struct falkor__arena {
    char *at, *end;                     /* what is free in the newest chunk */
    char *kept;
    falkor__chunk *chunks;
    size_t next_size, most_size;        /* of the chunks to come */
    const falkor_allocator *heap;       /* where they come from */
} falkor__arena;

#define FALKOR__MOST_ARENA ((size_t)1 << 20)    /* the largest usual chunk */
falkor__chunk *falkor__chunk_new(const falkor_allocator *heap,
                                 size_t size);          /* NULL: no memory */
void falkor__chunks_free(const falkor_allocator *heap, falkor__chunk *list);
void falkor__spares_free(void);         /* chunks kept for the next result */
void *falkor__arena_more(falkor__arena *arena, size_t size);

/* Takes size bytes, aligned for any value; NULL: no memory. */
inline void *falkor__arena_take(falkor__arena *arena, size_t size) {
    char *taken = arena->at;
    if (!FALKOR__LIKELY(size <= (size_t)(arena->end - taken)))
        return falkor__arena_more(arena, size);
    size = (size + 7) & ~(size_t)7;     /* end is aligned: it still fits */
    arena->at += size;
    return taken;
}

/* Gives a result other columns, and rows of cells that lie one behind the
   other; all of them live as long as it. Fewer than 2^31 rows. */
void falkor__result_table(falkor_result *result, const char *const *columns,
                          size_t column_count, falkor_value *cells,
                          size_t rows);

/* The double or the float that length bytes of decimal text mean, correctly
   rounded in any locale; false: they are no number. */
bool falkor__read_double(const char *text, size_t length, double *number);
bool falkor__read_float(const char *text, size_t length, float *number);

/* ---- params.c: the encoder -------------------------------------------- */

/* Text that grows: begins in the room inside, so that a small request costs no
   allocation. After a failed allocation it takes no more. */
typedef struct falkor__buffer {
    char *text;
    size_t length, size;
    bool failed;
    const falkor_allocator *heap;       /* begin: NULL */
    char inside[1024];
} falkor__buffer;
void falkor__buffer_begin(falkor__buffer *buffer);
void falkor__buffer_end(falkor__buffer *buffer);
bool falkor__buffer_grow(falkor__buffer *buffer, size_t more);  /* has room */
void falkor__buffer_add(falkor__buffer *buffer, const char *bytes,
                        size_t length);
void falkor__buffer_format(falkor__buffer *buffer, const char *format, ...)
    FALKOR__PRINTF(2, 3);

/* Text that ends before end, and has no NUL: a number's digits; a number in
   RESP, which is a mark, the digits and CRLF; and one that is an argument,
   $length and the digits. They return where it begins, FALKOR__NUMBER_SIZE
   bytes before end or less. */
#define FALKOR__NUMBER_SIZE 28
char *falkor__digits_before(char *end, uint64_t number);
char *falkor__number_before(char *end, char mark, uint64_t number);
char *falkor__argument_before(char *end, uint64_t number);

/* Adds a number after its mark; one argument of a command: $length, its bytes;
   or a whole command (lengths NULL: the arguments end with NUL). */
void falkor__buffer_number(falkor__buffer *buffer, char mark, uint64_t number);
void falkor__buffer_argument(falkor__buffer *buffer, const char *bytes,
                             size_t length);
void falkor__buffer_command(falkor__buffer *buffer, size_t argc,
                            const char *const *argv, const size_t *lengths);

/* Adds "CYPHER `name`=value ... " for a list that ends with {0} or is NULL;
   nothing for an empty one. Refuses what cannot travel, naming the parameter
   and the place inside it. */
falkor_status falkor__encode_params(const falkor_param *params,
                                    falkor__buffer *buffer,
                                    falkor_error *error);

/* ---- reply.c: the decoder --------------------------------------------- */

/* The names of a graph's labels, relationship types and property keys by id:
   immutable, shared by results and threads, freed by the last release. */
typedef enum falkor__name_kind {
    FALKOR__LABELS, FALKOR__TYPES, FALKOR__KEYS, FALKOR__NAME_KINDS
} falkor__name_kind;
typedef struct falkor__schema falkor__schema;
struct falkor__schema {
    atomic_int references;
    uint32_t version;           /* the graph's, as VERSION names it */
    unsigned epoch;             /* of the pool's graphs when it was read */
    int64_t read_ns;            /* when reading it began */
    size_t counts[FALKOR__NAME_KINDS];
    const char *const *names[FALKOR__NAME_KINDS];
    void (*destroy)(falkor__schema *schema);
};
falkor__schema *falkor__schema_retain(falkor__schema *schema);
void falkor__schema_release(falkor__schema *schema);    /* NULL: nothing */

typedef struct falkor__limits {
    size_t depth;               /* nesting of values */
    size_t bytes;               /* of one reply as sent; of one row with
                                   FALKOR__REPLY_ROWS */
} falkor__limits;               /* 0: no limit */

extern const falkor__limits falkor__default_limits;

typedef enum falkor__reply_kind {
    FALKOR__REPLY_QUERY,        /* of GRAPH.QUERY --compact, read whole */
    FALKOR__REPLY_ROWS,         /* the same, row by row */
    FALKOR__REPLY_PLAIN         /* any reply at all: one row, one column */
} falkor__reply_kind;

/* The decoder turns the bytes of one reply into a falkor_result, in one pass,
   as they arrive in portions of any size. It does no I/O and takes no lock:

       result = falkor__reply_new(kind, schema, &limits);
       while (!falkor__reply_done(result)) {
           char *room = falkor__reply_room(result, &size);
           ... receive at least one and at most size bytes into room ...
           status = falkor__reply_feed(result, received, error);
           ... on an error the result is only fit to be freed ...
       }

   reply_in takes the default limits, and memory that is a pool's.
   schema (NULL: no names known yet) is retained by the result. room is NULL
   when there is no memory. An error reply of the server is no failure of the
   decoder: see falkor__reply_error. With FALKOR__REPLY_ROWS feed pauses after
   each row: while falkor__reply_row_ready the result is a result of that one
   row; falkor__reply_next goes on (it may find the next row at once, among the
   bytes already there) and invalidates the row. */
falkor_result *falkor__reply_new(falkor__reply_kind kind,
                                 falkor__schema *schema,
                                 const falkor__limits *limits);
falkor_result *falkor__reply_in(const falkor_allocator *heap,
                                falkor__reply_kind kind,
                                falkor__schema *schema);
char *falkor__reply_room(falkor_result *reply, size_t *size);
falkor_status falkor__reply_feed(falkor_result *reply, size_t received,
                                 falkor_error *error);
bool falkor__reply_done(const falkor_result *reply);
bool falkor__reply_row_ready(const falkor_result *reply);
falkor_status falkor__reply_next(falkor_result *reply, falkor_error *error);

/* Memory that lives as long as the result; NULL: there is none. */
void *falkor__reply_take(falkor_result *reply, size_t size);

/* Bytes that arrived behind the end of the reply: the begin of the next one
   of a pipeline. They lie in the reply's memory, until they are dropped; drop
   returns how many they were. */
const char *falkor__reply_surplus(const falkor_result *reply, size_t *length);
size_t falkor__reply_drop_surplus(falkor_result *reply);

/* Whether a byte of the reply has come. */
bool falkor__reply_begun(const falkor_result *reply);

/* About how many bytes of rows are still to come, as the rows so far tell;
   UINT64_MAX: not known. */
uint64_t falkor__reply_left(const falkor_result *reply);

/* The server's error reply, ending with NUL (its length too); NULL: none. */
const char *falkor__reply_error(const falkor_result *reply, size_t *length);

/* Whether the error reply says that VERSION did not name the graph's schema,
   and which version does. */
bool falkor__reply_mismatch(const falkor_result *reply, uint32_t *version);

/* How many names the schema did not hold, and the number-th of them (false:
   there are no more); resolve looks them up in a newer schema, which the result
   retains too, and returns how many are still missing (SIZE_MAX: no memory).
   Those stay "" until they are found. Names found in an older schema still
   point there: the result retains each schema it was given. */
size_t falkor__reply_unresolved(const falkor_result *reply);
bool falkor__reply_lacks(const falkor_result *reply, size_t number,
                         falkor__name_kind *kind, uint64_t *id);
size_t falkor__reply_resolve(falkor_result *reply, falkor__schema *schema);

/* ---- json.c: values as text ------------------------------------------- */

/* The ISO 8601 text of a DATETIME, DATE, TIME or DURATION, as FalkorDB's own
   functions read it; years outside 0000 to 9999 with a sign. Ends with a NUL;
   returns its length. */
#define FALKOR__ISO8601_SIZE 40
size_t falkor__iso8601(falkor_type type, int64_t seconds,
                       char room[FALKOR__ISO8601_SIZE]);

/* ---- conn.c: the driver for FalkorDB ---------------------------------- */

/* The graph of checks when no other is named. RO_QUERY does not create it. */
#define FALKOR__PROBE_GRAPH "falkorpool"

/* The handle of a built-in connection. */
typedef struct falkor__link falkor__link;

extern const falkor_driver falkor__link_driver;     /* ctx: falkor__config */
extern const size_t falkor__link_size;  /* of one, without what hiredis has */

/* Sends all pieces, FALKOR__PIECES at most; they are the caller's, unchanged.
   *sent tells, on failure too, how many bytes may have left. From here to the
   end of the last of so many replies the link is fit for nobody else, and one
   that failed is broken for good. */
#define FALKOR__PIECES 7
falkor_status falkor__link_send(falkor__link *link, const struct iovec *pieces,
                                size_t count, size_t replies,
                                int64_t deadline_ns, size_t *sent,
                                falkor_error *error);

/* A node of a cluster from which a key is on its way to this link's serves it
   here to who says ASKING before each request: whoever sends adds that, while
   asks is set, and one reply more for each; read passes over them. */
#define FALKOR__ASKING "*1\r\n$6\r\nASKING\r\n"
#define FALKOR__ASKING_LENGTH (sizeof FALKOR__ASKING - 1)
void falkor__link_ask_for(falkor__link *link, bool asks);
bool falkor__link_asks(const falkor__link *link);

/* Receives until the next reply is done, or has a row ready, or failed. */
falkor_status falkor__link_read(falkor__link *link, falkor_result *reply,
                                int64_t deadline_ns, falkor_error *error);

/* Sends a command and reads its whole reply, which is the caller's to free, on
   failure too (it may be NULL then). */
falkor_status falkor__link_ask(falkor__link *link, falkor__reply_kind kind,
                               size_t argc, const char *const *argv,
                               int64_t deadline_ns, falkor_result **reply,
                               falkor_error *error);

/* Notes what was done to the session (SELECT, MULTI, ...): bits of the
   caller's choice. While any is set the link is closed on release. */
void falkor__link_mark(falkor__link *link, unsigned set, unsigned clear);
unsigned falkor__link_marks(const falkor__link *link);

/* Where a link's time goes: added to times, which is the caller's, until NULL
   is set. */
typedef struct falkor__link_times {
    int64_t send_ns, receive_ns, decode_ns;
} falkor__link_times;
void falkor__link_time(falkor__link *link, falkor__link_times *times);
uint64_t falkor__link_number(const falkor__link *link);
const falkor_allocator *falkor__link_heap(const falkor__link *link);

/* When the link was dialled: the server that it reaches has been the same
   since. */
int64_t falkor__link_since(const falkor__link *link);

/* ---- schema.c: names of labels, types and keys ------------------------ */

/* The newest snapshot of one graph's names, shared by all threads. */
typedef struct falkor__names {
    falkor__mutex mutex;                /* guards all of it */
    falkor__cond changed;
    falkor__schema *newest;             /* NULL: none */
    uint32_t version;                   /* that the server named last */
    bool reading;                       /* one thread reads: others wait */
    bool proving;                       /* one thread asks for a mark */
} falkor__names;
bool falkor__names_begin(falkor__names *names);
void falkor__names_end(falkor__names *names);

/* For whom names are asked. shared false: the link does not see the graph that
   the others see (SELECT); epoch: a snapshot of another one is not used. */
typedef struct falkor__question {
    const char *graph;
    bool read_only, shared;
    unsigned epoch;
    int rounds;                         /* of reading, in which names change */
    int64_t deadline_ns;
} falkor__question;

/* The newest snapshot that may be used on a link that is between two replies;
   read on it where there is none, by one thread while others wait, though not
   for long. *schema is retained for the caller. *refused: the failure is an
   error reply of the server. */
falkor_status falkor__names_get(falkor__names *names, falkor__link *link,
                                const falkor__question *question,
                                falkor__schema **schema, bool *refused,
                                falkor_error *error);

/* Names that are of no version, to send a query with FALKOR__ANY_VERSION: what
   it answers counts only after names_after. Not shared. */
#define FALKOR__ANY_VERSION UINT32_MAX
falkor_status falkor__names_unchecked(falkor__link *link,
                                      const falkor__question *question,
                                      falkor__schema **schema, bool *refused,
                                      falkor_error *error);

/* Reads the names behind a query on this link and gives its reply those that
   before lacked, the snapshot that it went with. texts are the query's.
   FALKOR_ERR_STALE: they may be another graph's. */
falkor_status falkor__names_after(falkor__names *names, falkor__link *link,
                                  const falkor__question *question,
                                  falkor__schema *before, falkor_result *reply,
                                  const struct iovec *texts, size_t count,
                                  falkor_error *error);

/* For a guard: see fork.c. */
void falkor__names_lock(falkor__names *names) FALKOR__TAKES(names->mutex);
void falkor__names_unlock(falkor__names *names, bool child)
    FALKOR__GIVES(names->mutex);

/* Forgets a snapshot that has proved old. version, if not NULL, is the graph's
   own. */
void falkor__names_drop(falkor__names *names, const falkor__schema *schema,
                        const uint32_t *version);

/* ---- pool.c: the blocking pool ---------------------------------------- */

/* The pool proper, which knows a driver and nothing else. Takes config over,
   on failure too. No driver in it: the built-in one, whose ctx is the pool's
   own config. */
falkor_status falkor__pool_new(falkor__config *config, falkor_pool **pool,
                               falkor_error *error);
const falkor__config *falkor__pool_config(const falkor_pool *pool);
falkor__recorder *falkor__pool_recorder(const falkor_pool *pool);

/* A place for what client.c keeps with the pool. */
void **falkor__pool_client(falkor_pool *pool);

/* Opening in two steps: start dials min_size connections (one at least) and
   hands one of them to the caller, who proves it. *conn NULL with OK: the pool
   is open already. finish with FALKOR_OK opens the pool to all and starts the
   worker; with anything else it closes what start has dialled. It releases
   conn. A second opener waits in start for the first one's finish. */
falkor_status falkor__pool_start(falkor_pool *pool, int64_t deadline_ns,
                                 falkor_conn **conn, falkor_error *error);
falkor_status falkor__pool_finish(falkor_pool *pool, falkor_conn *conn,
                                  falkor_status status, falkor_error *error);

/* How long who acquires has time, dial included: timeout_ms from now (-1: for
   ever), and latest_ns at the latest. The clock is read only when there is
   something to wait for. may_wait false: takes no one's turn. */
typedef struct falkor__patience {
    int timeout_ms;
    bool may_wait;
    int64_t latest_ns;
    int64_t until_ns;           /* 0: not read yet */
    int64_t since_ns;           /* begin of a wait, a dial or a check; 0: it
                                   took none */
    const char *file;           /* of the acquire; NULL: the library's own */
    int line;
} falkor__patience;

/* error is not NULL. */
falkor_status falkor__pool_acquire(falkor_pool *pool,
                                   falkor__patience *patience,
                                   falkor_conn **conn, falkor_error *error);

/* The hold of a connection that a call has acquired begins now; and falkor
   _release where the end is known: the clock is read but once for each. */
void falkor__conn_begin(falkor_conn *conn, int64_t now);
falkor_status falkor__conn_end(falkor_conn *conn, int64_t now);

/* A pool that stands for others, one for each server: it has no connections of
   its own, and its levers pull theirs. member: the index-th, NULL behind the
   last; *spare (NULL: not asked): calls go on without it; home: the one that a
   held connection comes from, or an error. */
typedef struct falkor__front {
    falkor_pool *(*member)(void *self, size_t index, bool *spare);
    falkor_pool *(*home)(void *self, falkor_error *error);
    void (*close)(void *self);          /* calls that wait are to end */
} falkor__front;
#ifdef FALKOR_WITHOUT_TOPOLOGY
#define FALKOR__FRONTS 0
#else
#define FALKOR__FRONTS 1
#endif
#ifdef FALKOR_WITHOUT_TOPOLOGY
#define falkor__pool_front(pool) ((void *)0)
#else
void falkor__pool_stand_for(falkor_pool *pool, const falkor__front *front,
                            void *self);        /* before it is opened */
void *falkor__pool_front(const falkor_pool *pool);      /* self; NULL: none */
#endif

/* Becomes the one who opens the pool, and is to finish that; or *opens is
   false, for it is open. */
falkor_status falkor__pool_begin(falkor_pool *pool, int64_t deadline_ns,
                                 bool *opens, falkor_error *error);

/* A pool at rest dials only for who asks: it neither keeps min_size nor probes,
   and what is idle is closed. */
#ifndef FALKOR_WITHOUT_TOPOLOGY
void falkor__pool_rest(falkor_pool *pool, bool rest);

bool falkor__pool_is_paused(falkor_pool *pool);

/* Shuts down every connection that is held now: what goes on there fails. */
void falkor__pool_cut(falkor_pool *pool);
#endif

/* Sleeps until the deadline; false, at once, when the pool is closed. */
bool falkor__pool_sleep(falkor_pool *pool, int64_t deadline_ns);

bool falkor__pool_is_closed(falkor_pool *pool);         /* takes no lock */

/* What an exchange says about the server, for the circuit breaker: it answered,
   whatever; or it failed on this held connection in a way that counts.
   answered takes no lock as long as nothing has failed. */
void falkor__pool_answered(falkor_pool *pool);
void falkor__pool_failed(falkor_pool *pool, const falkor_conn *conn,
                         const falkor_error *error);

/* Frees what close has left; the last held connection's release does it when
   there is one. */
void falkor__pool_destroy(falkor_pool *pool);

/* The built-in driver's handle of a held connection; NULL: conn is no lease of
   this pool that is held now, or the driver is another. */
falkor__link *falkor__conn_link(const falkor_pool *pool,
                                const falkor_conn *conn);

/* ---- topology.c: more servers than one --------------------------------- */

typedef struct falkor__topology falkor__topology;
typedef struct falkor__node falkor__node;

/* Where a call is to go. */
typedef struct falkor__route {
    int slot;                   /* of its key; -1: none */
    bool reads;                 /* GRAPH.RO_QUERY */
    falkor__node *asked;        /* by ASK: there, this time; NULL */
    falkor__node *node;         /* found */
    bool counted;               /* among its calls under way */
    uint64_t version;           /* of the map that it was found on */
    unsigned redirects;         /* times that an error reply sent it on */
} falkor__route;

/* Makes a pool of a config, which it takes over. */
typedef falkor_status (*falkor__make)(falkor__config *config,
                                      falkor_pool **pool, falkor_error *error);

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* The map of the servers that a pool stands for; make and unmake: for a node's
   pool. stop
   ends the thread that asks, and its connections; then the nodes' pools may be
   freed, by who asks for their states, and then the map. */
falkor_status falkor__topology_new(falkor_pool *pool, falkor__make make,
                                   void (*unmake)(falkor_pool *pool),
                                   falkor_error *error);
void falkor__topology_stop(falkor__topology *topology);
void falkor__topology_free(falkor__topology *topology);

/* Opening: asks, until there is a primary; then, when primaries are open, opens
   the map: a thread goes on asking. */
falkor_status falkor__topology_find(falkor__topology *topology,
                                    int64_t deadline_ns, falkor_error *error);
falkor_status falkor__topology_open(falkor__topology *topology,
                                    int64_t deadline_ns, falkor_error *error);
falkor_status falkor__topology_begin(falkor__topology *topology, size_t index,
                                     falkor_error *error);

/* The index-th node; false behind the last. */
#define FALKOR__MOST_NODES 1024
#define FALKOR__CLUSTER_SLOTS 16384
typedef struct falkor__node_state {
    falkor__node *node;
    falkor_pool *pool;
    bool begun;                 /* calls may go there */
    bool well;                  /* it has answered */
    bool primary;
    bool home;                  /* the primary that has options.graph */
    uint64_t version;           /* of the map */
} falkor__node_state;
bool falkor__topology_state(falkor__topology *topology, size_t index,
                             falkor__node_state *state);
bool falkor__topology_is_cluster(const falkor__topology *topology);

falkor_status falkor__topology_route(falkor__topology *topology,
                                     falkor__route *route,
                                     falkor_pool **pool, falkor_error *error);
void falkor__topology_pause(falkor__route *route);      /* counts it no more */
void falkor__topology_leave(falkor__route *route);

/* The node that a held connection is of; false: it is of none, or not held. */
bool falkor__topology_holds(falkor__topology *topology,
                            const falkor_conn *conn, falkor__route *route,
                            falkor_pool **pool);

/* What a failure says about the map: that is looked at anew. True: the call may
   go on at once, to where the map, or the server's error reply, sends it. */
bool falkor__topology_failed(falkor__topology *topology, falkor__route *route,
                             falkor_status status, bool refused,
                             const char *text);

/* Has the map looked at anew, soon, and returns which one that is. */
uint64_t falkor__topology_doubt(falkor__topology *topology);

/* Sleeps until the deadline, or until the map is another than the route's;
   false: the pool is closed. */
bool falkor__topology_sleep(falkor__topology *topology,
                            const falkor__route *route, int64_t deadline_ns);

/* How many replicas the route's node is known to have, and whether they are all
   well; and whether the map has it as the primary. */
int falkor__topology_replicas(falkor__topology *topology,
                              const falkor__route *route, bool *well);
bool falkor__topology_leads(falkor__topology *topology,
                            const falkor__route *route);

/* Whether a write that so many replicas have will last: where all do that the
   node has, by its own list (NULL: not known), and that list has all that are
   known, nobody else can be the primary without it. Otherwise it is asked anew
   whether the node is the primary still; who is just asking (in on_event) does
   not wait for himself, and it is false. */
bool falkor__topology_stands(falkor__topology *topology,
                             const falkor__route *route,
                             const falkor_value *replicas, int64_t copies,
                             int64_t deadline_ns);

/* The slot of a key, with its hash tag; of a command's key, -1: none. */
int falkor__key_slot(const char *key, size_t length);
int falkor__command_slot(size_t argc, const char *const *argv,
                         const size_t *lengths);
bool falkor__is_argument(const char *const *argv, const size_t *lengths,
                         size_t index, const char *word);   /* but for case */
#endif
#endif
