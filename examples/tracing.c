/* Tracing: what a falkor_tracer is told, as spans that OpenTelemetry knows, one
   line of JSON for each. Here they go to standard output; a program that has a
   tracing library gives them to that instead. FALKORDB_URL names the server;
   without it localhost:6379 is asked.

       cc tracing.c -lfalkorpool -lhiredis -lpthread -o tracing */
#define _POSIX_C_SOURCE 200809L         /* flockfile */
#include "pool.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The trace that this thread is in the middle of: of a request that the program
   answers, say. Queries are its children. */
typedef struct context { uint64_t high, low, span; } context;
static _Thread_local context current;

/* Ids need not be secret, only different from all others. */
static uint64_t new_id(void) {
    static _Thread_local uint64_t state;
    if (state == 0)
        state = (uint64_t)falkor_now_ns() ^ (uint64_t)(uintptr_t)&state;
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) | 1;
}

/* A span's own part; what else there is to say, the end is told. */
typedef struct span { uint64_t id; char *text; } span;

/* A cursor's end comes long behind its begin, when the text may be gone. */
static void *begin(void *ctx, const falkor_trace *trace) {
    (void)ctx;
    span *self = calloc(1, sizeof *self);
    falkor_value text = falkor_string_n(trace->text, trace->length);
    if (self && !falkor_value_to_json(&text, &self->text, NULL))
        self->id = new_id();
    return self;
}

static int64_t unix_ns(int64_t ns) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec -
           (falkor_now_ns() - ns);
}

static void print_text(FILE *out, const char *key, const char *text) {
    char *json = NULL;
    falkor_value value = falkor_string(text);
    if (text && !falkor_value_to_json(&value, &json, NULL))
        fprintf(out, ",\"%s\":%s", key, json);
    free(json);
}

/* A line is printed at once, so that those of several threads do not mix. */
static void end(void *ctx, void *at, const falkor_trace *trace) {
    FILE *out = ctx;
    span *self = at;
    if (!self || !self->text) {
        free(self);
        return;                         /* no memory, no span */
    }
    int64_t began = unix_ns(trace->began_ns);
    flockfile(out);
    fprintf(out, "{\"traceId\":\"%016" PRIx64 "%016" PRIx64 "\",\"spanId\":"
        "\"%016" PRIx64 "\",\"parentSpanId\":\"%016" PRIx64 "\",\"kind\":"
        "\"CLIENT\",\"name\":%s,\"startTimeUnixNano\":\"%" PRId64 "\","
        "\"endTimeUnixNano\":\"%" PRId64 "\",\"status\":{\"code\":\"%s\"},"
        "\"attributes\":{\"db.system.name\":\"falkordb\",\"db.query.text\":%s",
        current.high, current.low, self->id, current.span,
        !trace->graph ? self->text : trace->read_only ? "\"GRAPH.RO_QUERY\""
                                                      : "\"GRAPH.QUERY\"",
        began, began + trace->total_ns,
        trace->status ? "ERROR" : "OK", self->text);
    print_text(out, "db.namespace", trace->graph);
    print_text(out, "db.client.connection.pool.name", trace->pool);
    if (trace->status)
        print_text(out, "error.type", falkor_status_name(trace->status));
    fprintf(out, ",\"db.response.returned_rows\":%zu,\"falkor.attempts\":%d,"
        "\"falkor.connection\":%" PRIu64 ",\"falkor.wait_ns\":%" PRId64
        ",\"falkor.send_ns\":%" PRId64 ",\"falkor.receive_ns\":%" PRId64
        ",\"falkor.decode_ns\":%" PRId64 "}}\n", trace->rows, trace->attempts,
        trace->connection, trace->wait_ns, trace->send_ns, trace->receive_ns,
        trace->decode_ns);
    funlockfile(out);
    free(self->text);
    free(self);
}

static int fail(falkor_pool *pool, const falkor_error *error) {
    fprintf(stderr, "tracing: %s\n", error->message);
    falkor_pool_free(pool);
    return EXIT_FAILURE;
}

int main(void) {
    const falkor_tracer tracer = {begin, end};
    falkor_options options = {.graph = "tracing", .name = "traced",
        .max_size = 2, .tracer = &tracer, .tracer_ctx = stdout};
    falkor_pool *pool;
    falkor_error error;
    if (falkor_options_from_env(&options, &error) != FALKOR_OK ||
        falkor_pool_create(&options, &pool, &error) != FALKOR_OK)
        return fail(NULL, &error);
    if (falkor_pool_open(pool, &error) != FALKOR_OK)
        return fail(pool, &error);
    falkor_graph *graph = falkor_select_graph(pool, NULL);

    /* One request: three queries, the last of which fails, have one trace. */
    current = (context){new_id(), new_id(), new_id()};
    falkor_result *rows = NULL;
    bool well = !falkor_query(graph, "MERGE (:Port {name: $name})",
            FALKOR_PARAMS({"name", falkor_string("Bergen")}), NULL, &error) &&
        !falkor_ro_query(graph, "MATCH (p:Port) RETURN p.name", NULL, &rows,
                         &error);
    bool failed = falkor_ro_query(graph, "RETURN \"1\" / 0", NULL, NULL,
                                  NULL) != FALKOR_OK;
    falkor_result_free(rows);
    falkor_graph_free(graph);
    if (!well)
        return fail(pool, &error);
    falkor_pool_free(pool);
    return failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
