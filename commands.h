/* What the rooms of the typed commands share: commands.c (graphs and the
   server), statements.c (what is made of names and values, procedures),
   indexes.c (indexes, constraints), plan.c (plan trees). They stand on the
   public calls, and retry nothing themselves. */
#ifndef FALKOR_COMMANDS_H
#define FALKOR_COMMANDS_H
#include "call.h"
#ifndef FALKOR_WITHOUT_COMMANDS

/* ---- commands.c ------------------------------------------------------- */

/* A typed command. shape makes a table of the plain reply, whose only value it
   gets; NULL: it stays as it is. FALKOR_ERR_PROTOCOL from it means that the
   reply is not what it takes, FALKOR_ERR_NOMEM that there is no memory. */
typedef falkor_status (*falkor__shape)(falkor_result *reply,
                                       const falkor_value *value);
typedef enum falkor__scope {    /* who is asked, with several servers */
    FALKOR__SCOPE_ONE,
    FALKOR__SCOPE_PRIMARIES,    /* of a cluster */
    FALKOR__SCOPE_NODES         /* replicas too */
} falkor__scope;
typedef struct falkor__request {
    falkor_graph *graph;        /* what the call is made on; may be NULL */
    falkor_pool *pool;          /* the same, where it is a pool */
    bool on_graph;
    const falkor_call_options *options;
    bool reads;                 /* it may be repeated */
    falkor__scope scope;
    bool distinct;              /* rows of several nodes that are alike are
                                   one */
    falkor__shape shape;
    size_t argc;
    const char *const *argv;
    const size_t *lengths;
} falkor__request;
#define FALKOR__ON_GRAPH(its) .graph = (its), .on_graph = true
#define FALKOR__ON_POOL(its) .pool = (its)
falkor_status falkor__typed(const falkor__request *request,
                            falkor_result **result, falkor_error *error);

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* across.c: whether more nodes than one are asked; and that. */
bool falkor__asks_all(const falkor__request *request);
falkor_status falkor__typed_all(const falkor__request *request,
                                falkor_result **result, falkor_error *error);
#endif

/* Whether text that is needed is there; else fills error, and what the text
   was to be is named there. */
falkor_status falkor__need(const char *text, const char *what,
                           falkor_error *error);

/* ---- statements.c ----------------------------------------------------- */

/* Cypher that names things: a name is put in backticks, or refused with an
   error that says what it was to name. put_end adds a NUL. */
void falkor__put_text(falkor__buffer *cypher, const char *text);
falkor_status falkor__check_name(const char *name, size_t length,
                                 const char *what, falkor_error *error);
falkor_status falkor__put_name(falkor__buffer *cypher, const char *name,
                               const char *what, falkor_error *error);
falkor_status falkor__put_end(falkor__buffer *cypher, falkor_error *error);

/* Lists of names that end with NULL: how many (NULL: 0), and as values, to be
   freed (NULL: no memory). */
size_t falkor__list_length(const char *const *list);
falkor_value *falkor__texts(const char *const *list, size_t count);

/* Several statements in one call, with one deadline for them all. The error of
   a later one says, at the end, that an earlier one was run. begin comes
   before each statement that is not a query. */
typedef struct falkor__steps {
    falkor_graph *graph;
    falkor_call_options options;        /* of the next statement */
    int64_t deadline_ns;
    bool begun, changed;
} falkor__steps;
void falkor__steps_begin(falkor__steps *steps, falkor_graph *graph,
                         const falkor_call_options *options);
falkor_status falkor__step_begin(falkor__steps *steps, falkor_error *error);
falkor_status falkor__step_query(falkor__steps *steps, bool reads,
                                 const char *cypher,
                                 const falkor_param *params,
                                 falkor_result **result, falkor_error *error);
falkor_status falkor__steps_end(const falkor__steps *steps,
                                falkor_status status, falkor_error *error);

/* Whether the server refused it with an error that begins so; the end of the
   text may have been cut. */
bool falkor__was_refused(const falkor_error *error, const char *begin);

/* What an index or a constraint is on. */
typedef struct falkor__target {
    const char *what;                   /* "index", "unique constraint", ... */
    const char *label;
    const char *const *properties;
    size_t count;
    bool on_edges;
} falkor__target;
falkor_status falkor__target_check(const falkor__target *target,
                                   falkor_error *error);
falkor_status falkor__target_fail(const falkor__target *target,
                                  falkor_error *error, falkor_status status,
                                  const char *why);

/* Asks for the state of what was made (rows of one column, OPERATIONAL, FAILED
   or another) until it is ready, never will be, or time ends. */
falkor_status falkor__await_ready(falkor__steps *steps,
                                  const falkor__target *target,
                                  const char *cypher,
                                  const falkor_param *params,
                                  falkor_error *error);

/* ---- plan.c ----------------------------------------------------------- */

/* Makes the tree of a reply to GRAPH.EXPLAIN or GRAPH.PROFILE, and takes the
   reply over, on failure too. */
falkor_status falkor__plan_make(falkor_result *reply, bool profile,
                                falkor_plan **plan, falkor_error *error);
#endif
#endif
