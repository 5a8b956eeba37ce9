/* A call: all that one query or command needs from its first byte to its
   result, on the stack of the thread that asks. falkor.c makes and runs calls;
   client.c uses them to open a pool. */
#ifndef FALKOR_CALL_H
#define FALKOR_CALL_H
#include "internal.h"

struct falkor_graph {
    falkor_pool *pool;
    falkor_graph *next;
    size_t selected;            /* selects less frees; the client's mutex */
    falkor__names names;
    falkor_graph *twins, *next_twin;    /* of a pool that stands for others:
                                           the same graph at each node */
    size_t length;
    char name[];
};

/* What INFO said of rejected connections, of one run of a server. */
typedef struct falkor__told {
    int64_t at_ns, rejected;
} falkor__told;
#define FALKOR__TOLD 8                  /* more than a minute's */

/* What the pool keeps for client.c. epoch changes when one of our own commands
   may have put other graphs in the place of those we know. */
typedef struct falkor__client {
    falkor__mutex mutex;                /* guards graphs and INFO */
    falkor_graph *first;
    atomic_uint epoch;
    falkor__guard guard;
    falkor__told told[FALKOR__TOLD];    /* a ring: every ten seconds at most */
    unsigned told_count;                /* all there ever were */
    char run_id[48];
    falkor_pool *pool, *next_shared;    /* of a shared one; the list's mutex */
    int users;                          /* 0: not shared */
} falkor__client;
falkor__client *falkor__client_of(falkor_pool *pool);

/* Whether others still use the shared pool that one user frees. */
#ifdef FALKOR_WITHOUT_URLS
#define falkor__still_shared(pool) false
#else
bool falkor__still_shared(falkor_pool *pool);
#endif

/* What is known of a command beside its words: what it does to its session (one
   that is not as it was is not given to anybody else); whether its error reply
   may come after it has changed something, as a script's can; and whether it
   may put another graph in the place of one whose names are known. */
enum {
    FALKOR__SESSION_MULTI = 1, FALKOR__SESSION_WATCH = 2,
    FALKOR__SESSION_OTHER = 4,
    FALKOR__SESSION_PUSHED = 8,         /* messages may come unasked, or
                                           several replies */
    FALKOR__SESSION_TRANSACTION = FALKOR__SESSION_MULTI | FALKOR__SESSION_WATCH
};
typedef struct falkor__trait {
    const char *command;
    unsigned sets, clears;
    bool scripted, replaces;
} falkor__trait;
const falkor__trait *falkor__trait_of(const char *command, size_t length);

/* Refuses CLIENT REPLY OFF and SKIP: there would be no reply to wait for, and
   the next to come would be taken for it. */
falkor_status falkor__check_silence(size_t argc, const char *const *argv,
                                    const size_t *lengths,
                                    falkor_error *error);

/* The jitter of this thread's back-off goes on as from this number: for tests
   that want the same delays again. */
void falkor__jitter_seed(uint64_t seed);

#define FALKOR__VERSION_SIZE 64
typedef struct falkor__call falkor__call;
struct falkor__call {
    falkor_pool *pool;                  /* with several servers: the node's, */
    falkor_graph *graph;                /* and its graph; NULL: a command */
    falkor_pool *whole;                 /* what the call was made on; where */
    falkor_graph *named;                /* there is one server, the same */
    falkor__route route;
    falkor_call_options options;
    falkor__reply_kind kind;
    const falkor__trait *trait;         /* of a command */
    int64_t deadline_ns;

    /* Of the last attempt. conn is kept between attempt and give_back only for
       a reply that is not read to its end: row by row. */
    int attempts;
    falkor_conn *conn;
    int64_t use_until_ns;               /* its use of the connection */
    falkor__schema *schema;             /* the names that the query went with */
    falkor_result *reply;
    falkor__phase phase;
    bool again;                         /* at once, with newer names */
    bool harmless;                      /* all that was sent only reads */
    int64_t copies;                     /* replicas that have the write, by
                                           WAIT; -1: it is not known */
    size_t waits;                       /* replies to what asks for that */
    falkor_result *role;                /* the last of them */

    int64_t began_ns;
    int64_t ended_ns;                   /* its last use of a connection; 0: it
                                           goes on, or there was none */
    bool traced;                        /* its end is still to be told */
    bool timed;                         /* the link adds to times */
    void *span;
    int64_t wait_ns;
    falkor__link_times times;
    uint64_t connection;
    falkor_trace trace;
    falkor_status (*attempt)(falkor__call *call, falkor_error *error);
    size_t schema_done;                 /* statements, of opening */

    /* The request; large, and so behind all else. */
    size_t piece_count;
    struct iovec pieces[FALKOR__PIECES];
    char version[FALKOR__VERSION_SIZE]; /* a query's last piece, which may end
                                           with the time that is left */
    falkor__buffer head, params;        /* own the pieces' text */
};

/* falkor.c: that a write was applied, but may be lost with its primary. */
falkor_status falkor__fail_replaced(falkor_error *error);

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* The map of the servers that a call's pool stands for; NULL: one server. */
static inline falkor__topology *falkor__topology_of(const falkor__call *call) {
    return falkor__pool_front(call->whole);
}

/* The graph of the same name of a node's pool. NULL: no memory. */
falkor_graph *falkor__twin(falkor_graph *graph, falkor_pool *pool);
#else
#define falkor__topology_of(call) ((void)(call), (falkor__topology *)0)
#endif

#if !defined(FALKOR_WITHOUT_TOPOLOGY) && !defined(FALKOR_WITHOUT_PIPELINES)
/* pipeline.c: what no node is sent, for it is FALKOR_ERR_ARGUMENT. across.c: a
   pipeline on a pool that stands for others. error is not NULL, and there are
   requests. */
falkor_status falkor__pipeline_check(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error);
falkor_status falkor__pipeline_across(falkor_pool *pool,
    const falkor_call_options *options, falkor_request *requests,
    size_t count, falkor_error *error);
#endif

/* Sets a call's outputs to nothing and refuses what cannot even begin: object
   is what the call is made on, text what it sends. */
falkor_status falkor__enter(const void *object, const char *what,
                            const void *text, falkor_result **result,
                            falkor_error *error);

/* A call before its request is written, and the end that frees what it owns.
   query_begin does both begin and writing; write_command only writes. The call
   is to be ended also after these have failed. */
void falkor__call_begin(falkor__call *call, falkor_pool *pool,
                        const falkor_call_options *options);
void falkor__call_end(falkor__call *call);
falkor_status falkor__query_begin(falkor__call *call, falkor_graph *graph,
                                  const falkor_call_options *options,
                                  const char *cypher,
                                  const falkor_param *params,
                                  falkor_error *error);
falkor_status falkor__write_command(falkor__call *call, size_t argc,
                                    const char *const *argv,
                                    const size_t *lengths,
                                    falkor_error *error);

/* The link of a held connection of a pool, or of a node's that it stands for;
   NULL: it is not held, or another's. */
falkor__link *falkor__held_link(falkor_pool *pool, const falkor_conn *conn);

/* One attempt, on the held connection or on one that it acquires; and the loop
   that makes attempts (call->attempt) until one succeeds or none may follow. */
falkor_status falkor__attempt(falkor__call *call, falkor_error *error);
falkor_status falkor__call_run(falkor__call *call, falkor_error *error);

/* After a failed attempt: how often the call may be repeated in all; whether
   the failure says where to go instead, at once; and the pause before the next
   attempt, false where there is no time for one. */
int falkor__retries_of(const falkor__call *call);
bool falkor__sent_on(falkor__call *call, falkor_status status,
                     const falkor_error *error);
bool falkor__back_off(falkor__call *call, int attempt, int retries,
                      const falkor_error *error);

/* The parts of a call, for those who send and read in their own way. What no
   attempt would mend; a query's request around the query's text, which the
   version's text ends; a command's session before (the link's marks) and after
   its reply. */
falkor_status falkor__call_check(falkor__call *call, falkor_error *error);
void falkor__write_head(falkor__buffer *text, const falkor_graph *graph,
                        bool read_only, int server_timeout_ms,
                        size_t query_length);
void falkor__write_tail(falkor__buffer *text, int server_timeout_ms);
void falkor__trait_apply(const falkor__trait *trait, falkor__link *link,
                         const falkor_result *reply, unsigned before);
/* Whether the server says of a query that it has changed nothing. */
bool falkor__changed_nothing(const falkor_result *reply);
void falkor__note_replaced(falkor__call *call, const falkor__trait *trait);
falkor_status falkor__call_acquire(falkor__call *call, falkor_error *error);
falkor_status falkor__use_deadline(falkor__call *call, falkor_error *error);
falkor__question falkor__question_of(const falkor__call *call,
                                     const falkor_graph *graph,
                                     const falkor__link *link);
falkor_status falkor__check_session(bool query, const falkor__link *link,
                                    falkor_error *error);
void falkor__name_timeout(const falkor__call *call, falkor_error *error);
/* Tells the pool's breaker what an exchange on call->conn says about the
   server. */
void falkor__note_outcome(const falkor__call *call, falkor_status status,
                          const falkor_error *error);
void falkor__give_back(falkor__call *call);

/* Whether the tracer is to be told of the call. */
static inline bool falkor__traced(const falkor__call *call) {
    return FALKOR__EVENTS && call->traced;
}

/* Tells the tracer, where there is one, that a call with this text begins; its
   end tells call_count. */
void falkor__trace_begin(falkor__call *call, const char *text, size_t length);

/* Counts a call and its time: before its connection is given back where that
   is the last of a pool, or behind it. */
void falkor__call_count(falkor__call *call, falkor_status status);
void falkor__trace_end(falkor__call *call, falkor_status status, size_t rows);

/* The last of every call: counts it, hands the reply to the caller who wants
   it (result not NULL), and frees the rest. */
falkor_status falkor__call_finish(falkor__call *call, falkor_status status,
                                  falkor_result **result);
#endif
