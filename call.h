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
    size_t length;
    char name[];
};

typedef struct falkor__trait falkor__trait;
typedef struct falkor__call falkor__call;
struct falkor__call {
    falkor_pool *pool;
    falkor_graph *graph;                /* NULL: a plain command */
    falkor_call_options options;
    falkor__reply_kind kind;
    struct iovec pieces[FALKOR__PIECES];    /* the request */
    size_t piece_count;
    falkor__buffer head, params;        /* own the pieces' text */
    const falkor__trait *trait;         /* of a command */
    int64_t deadline_ns;
    falkor_status (*attempt)(falkor__call *call, falkor_error *error);
    falkor_row_fn on_row;
    void *ctx;
    size_t rows_seen;
    size_t schema_done;                 /* statements, of opening */
    falkor_result *reply;
    falkor__phase phase;                /* of the last attempt */
};

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

/* One attempt, on the held connection or on one that it acquires; and the loop
   that makes attempts (call->attempt) until one succeeds, or none may follow. */
falkor_status falkor__attempt(falkor__call *call, falkor_error *error);
falkor_status falkor__call_run(falkor__call *call, falkor_error *error);
#endif
