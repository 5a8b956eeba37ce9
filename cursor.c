/* Results row by row: the cursor, and falkor_query_each, which is a loop over
   one. The rows of a query that only reads are decoded as they arrive, in
   memory that does not grow with their number; a query that may write is read
   whole first, because names that it added must be looked up behind it. */
#include "call.h"
#include <stdlib.h>
#include <string.h>
#ifndef FALKOR_WITHOUT_CURSORS

/* Leaving early, the rest of a reply is read rather than the connection closed
   when it is cheaper than to dial anew: about so many bytes, and no longer
   than that. */
#define FALKOR__DRAIN_BYTES ((uint64_t)128 << 10)
#define FALKOR__DRAIN_MS 10

struct falkor_cursor {
    size_t row;                 /* rows given */
    falkor_status status;       /* the failure that ended it */
    bool counted;               /* in the pool's statistics */
    falkor__call call;
    falkor_result view;         /* one row of a result that was read whole */
    falkor_result head;         /* columns and summary, without rows */
};

static bool falkor__is_streaming(const falkor_cursor *cursor) {
    return cursor->call.kind == FALKOR__REPLY_ROWS;
}

/* Counts the call, once, before its connection is given back: behind that the
   pool may be gone. */
static void falkor__cursor_count(falkor_cursor *cursor) {
    if (cursor->counted)
        return;
    cursor->counted = true;
    falkor__call_count(&cursor->call, cursor->status);
    falkor__trace_end(&cursor->call, cursor->status,
        falkor__is_streaming(cursor) ? cursor->row
                                     : falkor_result_rows(cursor->call.reply));
}

static void falkor__cursor_head(falkor_cursor *cursor) {
    cursor->head = *cursor->call.reply;
    cursor->head.rows = 0;
}

static falkor_status falkor__cursor_begin(falkor_cursor *cursor,
    falkor_graph *graph, const falkor_call_options *options,
    const char *cypher, const falkor_param *params, falkor_error *error) {
    cursor->row = 0;
    cursor->counted = false;
    falkor_status status = falkor__query_begin(&cursor->call, graph, options,
                                               cypher, params, error);
    if (cursor->call.options.read_only)
        cursor->call.kind = FALKOR__REPLY_ROWS;
    falkor__trace_begin(&cursor->call, cypher, strlen(cypher));
    if (!status)
        status = falkor__call_run(&cursor->call, error);
    cursor->status = status;
    if (!status)
        falkor__cursor_head(cursor);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    falkor__topology_leave(&cursor->call.route);    /* it may outlive the map */
#endif
    return status;
}

/* A name that is missing cannot be asked for on this connection, which is in
   the middle of a reply. */
static falkor_status falkor__check_row(falkor_cursor *cursor,
                                       falkor_error *error) {
    falkor__call *call = &cursor->call;
    if (falkor__reply_unresolved(call->reply)) {
        falkor__names_drop(&call->graph->names, call->schema, NULL);
        return falkor__fail(error, FALKOR_ERR_STALE, 0, "a row has a name "
            "that graph \"%s\" did not have: it was changed meanwhile",
            call->graph->name);
    }
    if (falkor__coarse_ns() >= call->use_until_ns)
        return falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT,
            "time ended after %zu rows", cursor->row);
    return FALKOR_OK;
}

/* The next row from the connection. Behind the last one it is given back. */
static falkor_status falkor__next_arriving(falkor_cursor *cursor,
                                           const falkor_result **row,
                                           falkor_error *error) {
    falkor__call *call = &cursor->call;
    falkor_status status = FALKOR_OK;
    falkor__link *link = NULL;
    if (cursor->row > 0 && call->conn) {
        link = falkor__conn_link(call->pool, call->conn);
        status = link ? falkor__reply_next(call->reply, error)
            : falkor__fail(error, call->options.conn ? FALKOR_ERR_ARGUMENT
                : FALKOR_ERR_IO, 0, "the connection is not held any more: it "
                "was released, or this is a child of fork");
        if (!status)
            status = falkor__link_read(link, call->reply, call->use_until_ns,
                                       error);
    }
    if (!status && falkor__reply_row_ready(call->reply)) {
        status = falkor__check_row(cursor, error);
        *row = status ? NULL : call->reply;
    }
    if (status == FALKOR_ERR_TIMEOUT)
        falkor__name_timeout(call, error);
    cursor->status = status;
    if (!*row && link)
        falkor__note_outcome(call, status, error);
    if (!*row) {
        falkor__cursor_count(cursor);
        falkor__give_back(call);
    }
    return status;
}

/* The next row of a result that was read whole. */
static falkor_status falkor__next_stored(falkor_cursor *cursor,
                                         const falkor_result **row,
                                         falkor_error *error) {
    const falkor__call *call = &cursor->call;
    size_t rows = falkor_result_rows(call->reply);
    if (cursor->row == rows)
        return FALKOR_OK;
    if (call->deadline_ns != FALKOR__NEVER &&
        falkor_now_ns() >= call->deadline_ns) {
        falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT, "time ended at row "
            "%zu of %zu: the query itself was done", cursor->row, rows);
        error->maybe_executed = !call->options.read_only;
        return error->status;
    }
    cursor->view = *call->reply;
    cursor->view.rows = 1;
    cursor->view.base_shift = 0;
    cursor->view.segments[0] = (falkor_value *)(uintptr_t)
        falkor_result_value(call->reply, cursor->row, 0);
    *row = &cursor->view;
    return FALKOR_OK;
}

/* *row stays NULL behind the last row. */
static falkor_status falkor__cursor_next(falkor_cursor *cursor,
                                         const falkor_result **row,
                                         falkor_error *error) {
    *row = NULL;
    cursor->status = falkor__is_streaming(cursor)
        ? falkor__next_arriving(cursor, row, error)
        : falkor__next_stored(cursor, row, error);
    cursor->row += *row != NULL;
    if (!*row && !cursor->status)
        falkor__cursor_head(cursor);
    error->attempts = cursor->call.attempts;
    return cursor->status;
}

/* The consumer has seen enough: reads the rest when it is small, so that the
   connection can be used again; else giving it back closes it. */
static void falkor__cursor_leave(falkor_cursor *cursor) {
    falkor__call *call = &cursor->call;
    if (!call->conn)
        return;
    falkor__link *link = falkor__conn_link(call->pool, call->conn);
    int64_t until = falkor__deadline(FALKOR__DRAIN_MS);
    falkor_status status = FALKOR_OK;
    if (!link || falkor__reply_left(call->reply) > FALKOR__DRAIN_BYTES)
        return;
    if (until > call->use_until_ns)
        until = call->use_until_ns;
    while (!status && falkor__reply_row_ready(call->reply)) {
        status = falkor__reply_next(call->reply, NULL);
        if (!status)
            status = falkor__link_read(link, call->reply, until, NULL);
    }
}

/* The result that is left has no rows of its own to read. */
static falkor_status falkor__cursor_end(falkor_cursor *cursor,
                                        falkor_result **result) {
    falkor__call *call = &cursor->call;
    if (!cursor->status && call->reply) {
        falkor__cursor_leave(cursor);
        call->reply->rows = 0;
    }
    falkor__cursor_count(cursor);
    if (!cursor->status && result) {
        *result = call->reply;
        call->reply = NULL;
    }
    falkor__call_end(call);
    return cursor->status;
}

falkor_status falkor_query_each(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_row_fn on_row, void *ctx,
    falkor_result **result, falkor_error *error) {
    falkor_error own;
    falkor_cursor cursor;
    const falkor_result *row;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(graph, "graph", cypher, result,
                                         error);
    if (!status && !on_row)
        status = falkor__refuse(error, "on_row is NULL");
    if (status)
        return status;
    status = falkor__cursor_begin(&cursor, graph, options, cypher, params,
                                  error);
    while (!status && !(status = falkor__cursor_next(&cursor, &row, error)) &&
           row && on_row(ctx, row))
        continue;
    return falkor__cursor_end(&cursor, result);
}

falkor_status falkor_cursor_open(falkor_graph *graph,
    const falkor_call_options *options, const char *cypher,
    const falkor_param *params, falkor_cursor **cursor, falkor_error *error) {
    falkor_error own;
    if (!error)
        error = &own;
    falkor_status status = falkor__enter(graph, "graph", cypher, NULL, error);
    if (!status && !cursor)
        status = falkor__refuse(error, "cursor is NULL");
    if (cursor)
        *cursor = NULL;
    if (status)
        return status;
    const falkor_allocator *heap = falkor__pool_config(graph->pool)->heap;
    falkor_cursor *opened = falkor__take(heap, sizeof *opened);
    if (!opened)
        return falkor__no_memory(error, "out of memory for a cursor");
    status = falkor__cursor_begin(opened, graph, options, cypher, params,
                                  error);
    if (!status) {
        opened->call.trace.text = NULL;     /* these need not live so long */
        opened->call.trace.length = 0;
        opened->call.trace.graph = NULL;
        if (!opened->call.conn)
            falkor__cursor_count(opened);
        *cursor = opened;
        return FALKOR_OK;
    }
    falkor__cursor_end(opened, NULL);
    falkor__give(heap, opened);
    return status;
}

falkor_status falkor_cursor_next(falkor_cursor *cursor,
                                 const falkor_result **row,
                                 falkor_error *error) {
    falkor_error own;
    if (!error)
        error = &own;
    if (row)
        *row = NULL;
    falkor__error_clear(error);
    if (!cursor || !row)
        return falkor__refuse(error, "%s is NULL",
                              cursor ? "row" : "the cursor");
    if (cursor->status) {
        error->attempts = cursor->call.attempts;
        return falkor__fail(error, cursor->status, 0,
            "this cursor has failed before, after %zu rows: close it",
            cursor->row);
    }
    return falkor__cursor_next(cursor, row, error);
}

const falkor_result *falkor_cursor_result(const falkor_cursor *cursor) {
    return cursor ? &cursor->head : NULL;
}

void falkor_cursor_close(falkor_cursor *cursor) {
    if (!cursor)
        return;
    const falkor_allocator *heap = cursor->call.head.heap;
    falkor__cursor_end(cursor, NULL);
    falkor__give(heap, cursor);
}
#endif
