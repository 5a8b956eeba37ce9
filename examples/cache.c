/* A cache of query results: what read-only queries answered is kept in Redis as
   JSON, through the pool that asks them. FALKORDB_URL names the server; without
   it localhost:6379 is asked.

   A key is cache:GRAPH:WINDOW:HASH. The window is the minute it is, so that
   nothing is given for longer. It expires after 30 to 60 s, at random, so that
   what was asked together is not asked anew together; an error of the query's
   own after 10 s. Behind the key stand the request, for two can have one hash,
   and the answer. A write is followed by an invalidation; what was asked before
   the write and kept after that stays until it expires. When the cache is away
   queries go on without it, and for a second it is not even asked.

       cc cache.c -lfalkorpool -lhiredis -lpthread -o cache */
#include "pool.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GRAPH "cache-example"

typedef struct cache {
    falkor_pool *pool;                  /* where answers are kept */
    atomic_llong hits, misses, unanswered, away_until_ns;
} cache;

/* A cache that answers late is no gain. */
static const falkor_call_options quick = {.timeout_ms = 1000, .max_retries = -1,
                                          .read_only = true};
static const falkor_call_options quick_write = {.timeout_ms = 1000,
                                                .max_retries = -1};

/* ---- text ------------------------------------------------------------- */

typedef struct text { char *bytes; size_t length, room; } text;

static bool append(void *ctx, const char *bytes, size_t length) {
    text *self = ctx;
    if (self->length + length >= self->room) {
        size_t room = (self->length + length) * 2 + 100;
        char *grown = realloc(self->bytes, room);
        if (!grown)
            return false;
        self->bytes = grown;
        self->room = room;
    }
    memcpy(self->bytes + self->length, bytes, length);
    self->length += length;
    self->bytes[self->length] = '\0';
    return true;
}

/* The query and its parameters: what the answer depends on. */
static bool write_request(text *request, const char *cypher,
                          const falkor_param *params) {
    bool well = append(request, cypher, strlen(cypher));
    for (; params && params->name && well; params++)
        well = append(request, "\t", 1) &&
            append(request, params->name, strlen(params->name)) &&
            append(request, "=", 1) &&
            !falkor_value_write_json(&params->value, append, request);
    return well && append(request, "\n", 1);
}

static bool write_key(text *key, const char *graph, const text *request) {
    uint64_t hash = 14695981039346656037u;              /* FNV-1a */
    char tail[60];
    for (size_t i = 0; i < request->length; i++)
        hash = (hash ^ (unsigned char)request->bytes[i]) * 1099511628211u;
    int length = snprintf(tail, sizeof tail, ":%lld:%016" PRIx64,
                          (long long)time(NULL) / 60, hash);
    return append(key, "cache:", 6) && append(key, graph, strlen(graph)) &&
        append(key, tail, (size_t)length);
}

/* ---- the cache -------------------------------------------------------- */

/* A command to the cache; false when it is away. */
static bool command(cache *self, const falkor_call_options *options,
                    size_t argc, const char *const *argv,
                    const size_t *lengths, falkor_result **reply) {
    *reply = NULL;
    if (falkor_now_ns() >= atomic_load(&self->away_until_ns)) {
        if (!falkor_command(self->pool, options, argc, argv, lengths, reply,
                            NULL))
            return true;
        atomic_store(&self->away_until_ns, falkor_now_ns() + 1000000000);
    }
    atomic_fetch_add(&self->unanswered, 1);
    return false;
}

/* The kept answer to request, into answer. */
static bool look_up(cache *self, const text *key, const text *request,
                    text *answer) {
    falkor_result *reply;
    bool hit = false;
    if (command(self, &quick, 2, (const char *const[]){"GET", key->bytes},
                NULL, &reply)) {
        const falkor_value *kept = falkor_result_value(reply, 0, 0);
        hit = kept->type == FALKOR_STRING && kept->length > request->length &&
            !memcmp(kept->as.string, request->bytes, request->length) &&
            append(answer, kept->as.string + request->length,
                   kept->length - request->length);
        atomic_fetch_add(hit ? &self->hits : &self->misses, 1);
    }
    falkor_result_free(reply);
    return hit;
}

static void keep(cache *self, const text *key, text *request,
                 const text *answer, int seconds) {
    falkor_result *reply = NULL;
    char expiry[20];
    snprintf(expiry, sizeof expiry, "%d", seconds);
    if (append(request, answer->bytes, answer->length))
        command(self, &quick_write, 4, (const char *const[]){"SETEX",
                key->bytes, expiry, request->bytes}, (const size_t[]){5,
                key->length, strlen(expiry), request->length}, &reply);
    falkor_result_free(reply);
}

/* The query's answer, or its own error, as JSON, and for how many seconds it
   is worth keeping; 0: neither was had. */
static int ask_server(falkor_graph *graph, const char *cypher,
                      const falkor_param *params, text *answer,
                      falkor_error *error) {
    falkor_result *result;
    falkor_status status = falkor_ro_query(graph, cypher, params, &result,
                                           error);
    falkor_value message = falkor_string(error->message);
    bool had = status == FALKOR_OK
        ? !falkor_result_write_json(result, append, answer)
        : status == FALKOR_ERR_QUERY && append(answer, "{\"error\":", 9) &&
          !falkor_value_write_json(&message, append, answer) &&
          append(answer, "}", 1);
    falkor_result_free(result);
    return !had ? 0 : status ? 10 : 30 + rand() % 31;
}

/* Asks a read-only query through the cache. The JSON, which may be the query's
   own error, is the caller's to free; NULL: there is none, and error says
   why. */
static char *cached_query(cache *self, falkor_graph *graph,
                          const char *cypher, const falkor_param *params,
                          falkor_error *error) {
    text request = {0}, key = {0}, answer = {0};
    memset(error, 0, sizeof *error);
    bool keyed = write_request(&request, cypher, params) &&
        write_key(&key, falkor_graph_name(graph), &request);
    if (!keyed || !look_up(self, &key, &request, &answer)) {
        answer.length = 0;
        int seconds = ask_server(graph, cypher, params, &answer, error);
        if (keyed && seconds)
            keep(self, &key, &request, &answer, seconds);
        if (!seconds) {
            free(answer.bytes);
            answer.bytes = NULL;
        }
    }
    free(request.bytes);
    free(key.bytes);
    return answer.bytes;
}

/* Forgets all answers of a graph: after a write. false: the cache is away, and
   what it kept is given until it expires. A graph's name with one of *?[\ in
   it would have to be escaped here. */
static bool invalidate(cache *self, falkor_graph *graph) {
    char cursor[30] = "0", pattern[200];
    bool well;
    atomic_store(&self->away_until_ns, 0);
    snprintf(pattern, sizeof pattern, "cache:%s:*", falkor_graph_name(graph));
    do {
        falkor_result *page, *reply;
        well = command(self, &quick, 6, (const char *const[]){"SCAN", cursor,
                       "MATCH", pattern, "COUNT", "1000"}, NULL, &page);
        const falkor_value *found = falkor_result_value(page, 0, 0);
        if (well) {
            const falkor_value *keys = &found->as.items[1];
            snprintf(cursor, sizeof cursor, "%s",
                     found->as.items[0].as.string);
            for (uint32_t i = 0; i < keys->length && well; i++) {
                well = command(self, &quick_write, 2, (const char *const[]){
                    "UNLINK", keys->as.items[i].as.string}, NULL, &reply);
                falkor_result_free(reply);
            }
        }
        falkor_result_free(page);
    } while (well && strcmp(cursor, "0") != 0);
    return well;
}

/* ---- shown at work ---------------------------------------------------- */

#define EXPENSIVE "MATCH (p:Person) UNWIND range(1, $n) AS i " \
    "RETURN count(p) AS people, sum(i * i % 7) AS total"

/* Asks so many times; the milliseconds that one took, and the answer up to its
   summary, which differs each time. */
static double timed(cache *self, falkor_graph *graph, const char *cypher,
                    int times, char answer[300]) {
    int64_t begin = falkor_now_ns();
    for (int i = 0; i < times; i++) {
        falkor_error error;
        char *json = cached_query(self, graph, cypher, FALKOR_PARAMS(
            {"n", falkor_int(200000)}), &error);
        snprintf(answer, 300, "%.299s", json ? json : error.message);
        free(json);
    }
    char *summary = strstr(answer, ",\"summary\"");
    if (summary)
        *summary = '\0';
    return (double)(falkor_now_ns() - begin) / 1e6 / times;
}

static bool expect(bool well, const char *what) {
    if (!well)
        fprintf(stderr, "cache: %s\n", what);
    return well;
}

static bool show(cache *self, falkor_graph *graph) {
    char first[300], again[300];
    double asked = timed(self, graph, EXPENSIVE, 1, first);
    double kept = timed(self, graph, EXPENSIVE, 200, again);
    printf("%s\nasked: %.2f ms; kept: %.3f ms, %.0f times faster\n", first,
           asked, kept, asked / kept);
    bool well = expect(!strcmp(first, again), again);
    timed(self, graph, "RETURN 1 / 0", 2, again);
    well &= expect(strstr(again, "\"error\"") != NULL, again);
    well &= expect(!falkor_query(graph, "CREATE (:Person {name: 'Bob'})", NULL,
                                 NULL, NULL), "a write failed");
    well &= expect(invalidate(self, graph), "cannot invalidate");
    timed(self, graph, EXPENSIVE, 1, again);
    printf("after a write and an invalidation:\n%s\n", again);
    well &= expect(strcmp(first, again) != 0, "an old answer");
    printf("%lld hits, %lld misses\n", atomic_load(&self->hits),
           atomic_load(&self->misses));
    return expect(self->hits >= 150 && self->misses >= 3,
                  "not so many hits and misses") && well;
}

/* A cache where nobody is: the query is answered all the same. */
static bool show_without(falkor_graph *graph) {
    char answer[300];
    cache away = {0};
    falkor_options nowhere = {.host = "127.0.0.1", .port = 1, .min_size = -1,
                              .max_retries = -1, .max_size = 1};
    bool well = expect(!falkor_pool_create(&nowhere, &away.pool, NULL) &&
        falkor_pool_open(away.pool, NULL), "somebody is at port 1");
    double each = timed(&away, graph, EXPENSIVE, 3, answer);
    printf("with the cache away: %.2f ms, %lld times unanswered\n", each,
           atomic_load(&away.unanswered));
    falkor_pool_free(away.pool);
    return expect(away.unanswered >= 3 && !away.hits &&
                  strstr(answer, "people"), answer) && well;
}

int main(void) {
    falkor_options options = {.graph = GRAPH, .max_size = 4};
    cache kept = {0};
    falkor_error error;
    bool well = false;
    srand((unsigned)time(NULL));
    if (falkor_options_from_env(&options, &error) ||
        falkor_pool_create(&options, &kept.pool, &error) ||
        falkor_pool_open(kept.pool, &error)) {
        fprintf(stderr, "cache: %s\n", error.message);
    } else {
        falkor_graph *graph = falkor_select_graph(kept.pool, GRAPH);
        invalidate(&kept, graph);
        if (falkor_query(graph, "MERGE (:Person {name: 'Ada'})", NULL, NULL,
                         &error))
            fprintf(stderr, "cache: %s\n", error.message);
        else
            well = show(&kept, graph) && show_without(graph);
    }
    falkor_pool_free(kept.pool);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}
