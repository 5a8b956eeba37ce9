/* Graphs that prove themselves, a stepping proxy, the stress of names: see
   naming.h. */
#include "naming.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- results that prove themselves ------------------------------------ */

static bool in_list(const char *name, size_t length, const char *list) {
    for (const char *at = list; *at; at += strcspn(at, ":")) {
        at += *at == ':';
        if (strcspn(at, ":") == length && strncmp(at, name, length) == 0)
            return true;
    }
    return false;
}

static size_t list_length(const char *list) {
    size_t count = *list != '\0';
    for (; *list; list++)
        count += *list == ':';
    return count;
}

/* A node, or an edge with its one type. */
typedef struct entity {
    falkor_type type;
    int64_t id;
    const char *const *names;
    size_t count;
    const falkor_value *properties;
} entity;

/* Where the row's values came from, and what the server told in it. */
enum { MOST_TOLD = 16 };
typedef struct prover {
    const char *text;
    const naming_source *source;        /* NULL: there is none to ask */
    const falkor_value *told[MOST_TOLD];
    size_t told_count, names;
} prover;

static entity entity_of(const falkor_value *value) {
    const falkor_node *node = value->as.node;
    const falkor_edge *edge = value->as.edge;
    return value->type == FALKOR_NODE
        ? (entity){FALKOR_NODE, node->id, node->labels, node->label_count,
                   &node->properties}
        : (entity){FALKOR_EDGE, edge->id, &edge->type, 1, &edge->properties};
}

static bool is_entity(const falkor_value *value) {
    return value->type == FALKOR_NODE || value->type == FALKOR_EDGE;
}

/* [entity, its labels or its one type, its keys]: the last two are text that
   the server made, in the query itself. */
static bool is_told(const falkor_value *value) {
    return value->type == FALKOR_ARRAY && value->length == 3 &&
           is_entity(&value->as.items[0]) &&
           value->as.items[1].type == FALKOR_ARRAY &&
           value->as.items[2].type == FALKOR_ARRAY;
}

static void gather_told(prover *self, const falkor_value *value) {
    if (is_told(value) && self->told_count < MOST_TOLD)
        self->told[self->told_count++] = value;
    for (uint32_t i = 0; value->type == FALKOR_ARRAY && i < value->length; i++)
        gather_told(self, &value->as.items[i]);
}

static const falkor_value *told_of(const prover *self, const entity *one) {
    for (size_t i = 0; i < self->told_count; i++) {
        entity other = entity_of(&self->told[i]->as.items[0]);
        if (other.type == one->type && other.id == one->id)
            return self->told[i];
    }
    return NULL;
}

static bool has_text(const falkor_value *list, const char *name) {
    for (uint32_t i = 0; i < list->length; i++)
        if (list->as.items[i].type == FALKOR_STRING &&
            strcmp(list->as.items[i].as.string, name) == 0)
            return true;
    return false;
}

/* What stands in a list of the server's, for a complaint. */
static const char *list_text(const falkor_value *list, char room[200]) {
    int at = snprintf(room, 200, "[");
    for (uint32_t i = 0; i < list->length && at < 150; i++)
        at += snprintf(room + at, 200 - (size_t)at, "%s%.40s", i ? ", " : "",
                       list->as.items[i].type == FALKOR_STRING
                       ? list->as.items[i].as.string : "?");
    snprintf(room + at, 200 - (size_t)at, "]");
    return room;
}

static const char *names_text(const entity *one, char room[200]) {
    int at = snprintf(room, 200, "[");
    for (size_t i = 0; i < one->count && at < 150; i++)
        at += snprintf(room + at, 200 - (size_t)at, "%s%.40s", i ? ", " : "",
                       one->names[i]);
    snprintf(room + at, 200 - (size_t)at, "]");
    return room;
}

/* What the library knows of the graph now, which may be newer than what the
   wrong name came from. */
static void source_text(const naming_source *source, char room[300]) {
    room[0] = '\0';
    if (!source)
        return;
    falkor__names *names = &source->graph->names;
    falkor__mutex_lock(&names->mutex);
    falkor__schema *newest = falkor__schema_retain(names->newest);
    uint32_t version = names->version;
    falkor__mutex_unlock(&names->mutex);
    snprintf(room, 300, "; seed %" PRIu64 ", %s, pool of %d, server's version "
        "%lu, newest snapshot %lu of %zu labels, %zu types, %zu keys",
        source->seed, source->form, source->connections,
        (unsigned long)version, newest ? (unsigned long)newest->version : 0,
        newest ? newest->counts[FALKOR__LABELS] : 0,
        newest ? newest->counts[FALKOR__TYPES] : 0,
        newest ? newest->counts[FALKOR__KEYS] : 0);
    falkor__schema_release(newest);
}

/* Ours against the server's own text. */
static bool prove_told(const prover *self, const entity *one,
                       const falkor_value *told) {
    const falkor_value *names = &told->as.items[1], *keys = &told->as.items[2];
    char ours[200], theirs[200], their_keys[200], source[300];
    const char *key = "(as many)";
    bool right = one->count == names->length &&
                 one->properties->length == keys->length;
    for (size_t i = 0; right && i < one->count; i++)
        right = has_text(names, one->names[i]);
    for (uint32_t i = 0; right && i < one->properties->length; i++)
        right = has_text(keys, key = one->properties->as.entries[i].key);
    if (right)
        return true;
    source_text(self->source, source);
    printf("WRONG NAME, other than the server's own: %.200s%s\n", self->text,
           source);
    TEST_COMPLAIN("WRONG NAME: %s %" PRId64 " has labels or type %s, key \"%s\""
        ", but the server says %s, keys %s: %.200s%s",
        one->type == FALKOR_NODE ? "node" : "edge", one->id,
        names_text(one, ours), key, list_text(names, theirs),
        list_text(keys, their_keys), self->text, source);
    return false;
}

/* Whether an entity is named as its property "key|labels" says. */
static bool is_as_written(const entity *one, const falkor_entry *entry) {
    const char *value = entry->value.type == FALKOR_STRING
        ? entry->value.as.string : "";
    size_t key = strcspn(value, "|");
    bool right = value[key] == '|' && strlen(entry->key) == key &&
        strncmp(value, entry->key, key) == 0 &&
        list_length(value + key + 1) == one->count;
    for (size_t n = 0; right && n < one->count; n++)
        right = in_list(one->names[n], strlen(one->names[n]), value + key + 1);
    return right;
}

/* Values that the server itself names otherwise than they were written. */
static pthread_mutex_t corrupt_mutex = PTHREAD_MUTEX_INITIALIZER;
static char corrupt_values[64][64];
static int corrupt_count;

static bool is_corrupt(const char *value, bool from_now_on) {
    bool found = false;
    pthread_mutex_lock(&corrupt_mutex);
    for (int i = 0; i < corrupt_count && i < 64 && !found; i++)
        found = strncmp(corrupt_values[i], value, 63) == 0;
    if (!found && from_now_on) {
        snprintf(corrupt_values[corrupt_count++ % 64], 64, "%.63s", value);
        printf("note: the server itself names otherwise what was written as "
               "\"%.63s\"\n", value);
    }
    pthread_mutex_unlock(&corrupt_mutex);
    return found;
}

/* Whether the server's own text contradicts what is stored. Where a write that
   added keys fails, and one does whose graph was replaced before it was done,
   the keys behind its own move down, and all that is stored has other names. */
static bool tells_otherwise(const entity *one, const falkor_value *told) {
    const falkor_value *names = &told->as.items[1], *keys = &told->as.items[2];
    bool otherwise = false;
    for (uint32_t i = 0; i < one->properties->length; i++) {
        const falkor_entry *entry = &one->properties->as.entries[i];
        const char *value = entry->value.type == FALKOR_STRING
            ? entry->value.as.string : "|";
        const char *list = value + strcspn(value, "|");
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)(list - value), value);
        list += *list == '|';
        bool same = has_text(keys, key) && list_length(list) == names->length;
        for (uint32_t n = 0; same && n < names->length; n++)
            same = names->as.items[n].type == FALKOR_STRING &&
                in_list(names->as.items[n].as.string,
                        strlen(names->as.items[n].as.string), list);
        if (!same) {
            is_corrupt(value, true);
            otherwise = true;
        }
    }
    return otherwise;
}

/* Asks the server, on a connection of its own and without any of our names,
   which values it names otherwise than they were written. */
static void ask_corrupt(const naming_source *source) {
    static const char text[] =
        "MATCH (n) UNWIND keys(n) AS k WITH n[k] AS v, k, "
        "split(n[k], '|') AS s, labels(n) AS ls WHERE s[0] <> k OR "
        "size(split(s[1], ':')) <> size(ls) OR "
        "any(l IN ls WHERE NOT l IN split(s[1], ':')) RETURN v UNION "
        "MATCH ()-[e]->() UNWIND keys(e) AS k WITH e[k] AS v, k, "
        "split(e[k], '|') AS s, type(e) AS t WHERE s[0] <> k OR s[1] <> t "
        "RETURN v";
    redisContext *client = redisConnect("127.0.0.1", source->port);
    redisReply *reply = client && !client->err ? redisCommand(client,
        "GRAPH.RO_QUERY %s %s", source->graph->name, text) : NULL;
    const redisReply *rows = reply && reply->type == REDIS_REPLY_ARRAY &&
        reply->elements == 3 ? reply->element[1] : NULL;
    for (size_t i = 0; rows && i < rows->elements; i++)
        if (rows->element[i]->element[0]->type == REDIS_REPLY_STRING)
            is_corrupt(rows->element[i]->element[0]->str, true);
    if (reply)
        freeReplyObject(reply);
    if (client)
        redisFree(client);
}

/* One property's value against the names, when the server's own text agrees
   with these (told), or is not there. */
static void prove_written(const prover *self, const entity *one,
                          const falkor_entry *entry, bool told) {
    const char *value = entry->value.type == FALKOR_STRING
        ? entry->value.as.string : "";
    char names[200], source[300];
    if (is_as_written(one, entry))
        return;
    if (self->source && !told)
        ask_corrupt(self->source);
    if (self->source && is_corrupt(value, false)) {
        atomic_fetch_add(self->source->corrupt, 1);
        return;
    }
    /* The graph that it was in may be gone, and cannot be asked. */
    if (self->source && !told && atomic_load(self->source->displaced)) {
        atomic_fetch_add(self->source->undecided, 1);
        return;
    }
    source_text(self->source, source);
    TEST_COMPLAIN("WRONG NAME: key \"%s\", labels or type %s, but they were "
        "written as \"%s\"%s: %.200s%s", entry->key, names_text(one, names),
        value, told ? " (and the server says the same as we)" : "",
        self->text, source);
}

static void prove_entity(prover *self, const entity *one) {
    const falkor_value *told = told_of(self, one);
    if (!one->properties->length)
        TEST_COMPLAIN("an entity without properties: %s", self->text);
    self->names += one->properties->length + one->count;
    if (told && self->source)
        atomic_fetch_add(self->source->told, 1);
    if (told && self->source && tells_otherwise(one, told)) {
        atomic_fetch_add(self->source->corrupt, 1);
        return;
    }
    if (told && !prove_told(self, one, told))
        return;
    for (uint32_t i = 0; i < one->properties->length; i++)
        prove_written(self, one, &one->properties->as.entries[i], told);
}

static void prove_path(prover *self, const falkor_path *path) {
    for (size_t i = 0; i < path->node_count; i++) {
        falkor_value value = {.type = FALKOR_NODE, .as.node = &path->nodes[i]};
        entity one = entity_of(&value);
        prove_entity(self, &one);
    }
    for (size_t i = 0; i < path->edge_count; i++) {
        falkor_value value = {.type = FALKOR_EDGE, .as.edge = &path->edges[i]};
        entity one = entity_of(&value);
        prove_entity(self, &one);
    }
}

static void prove_value(prover *self, const falkor_value *value) {
    if (is_entity(value)) {
        entity one = entity_of(value);
        prove_entity(self, &one);
    }
    if (value->type == FALKOR_PATH)
        prove_path(self, value->as.path);
    for (uint32_t i = 0; value->type == FALKOR_ARRAY && i < value->length; i++)
        prove_value(self, &value->as.items[i]);
    for (uint32_t i = 0; value->type == FALKOR_MAP && i < value->length; i++)
        prove_value(self, &value->as.entries[i].value);
}

size_t naming_prove_from(const falkor_result *result, const char *text,
                         const naming_source *source) {
    prover self = {.text = text, .source = source};
    for (size_t row = 0; row < falkor_result_rows(result); row++) {
        self.told_count = 0;
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            gather_told(&self, falkor_result_value(result, row, i));
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            prove_value(&self, falkor_result_value(result, row, i));
    }
    return self.names;
}

size_t naming_prove(const falkor_result *result, const char *text) {
    return naming_prove_from(result, text, NULL);
}

/* ---- other clients' graphs -------------------------------------------- */

/* count different ones of limit, in an order of their own. */
static void draw(uint64_t *state, int limit, int count, int *drawn) {
    int all[8];
    for (int i = 0; i < limit; i++)
        all[i] = i;
    for (int i = 0; i < count; i++) {
        int at = i + test_below(state, limit - i);
        drawn[i] = all[at];
        all[at] = all[i];
    }
}

void naming_layout(char text[NAMING_TEXT], uint64_t number, bool unique) {
    uint64_t state = number * 2654435761u + 1;
    int l[3], t[2], k[3];
    char first[32];
    draw(&state, 5, 3, l);
    draw(&state, 4, 2, t);
    draw(&state, 5, 3, k);
    snprintf(first, sizeof first, "k%d", k[0]);
    if (unique)
        snprintf(first, sizeof first, "u%" PRIx64, number);
    snprintf(text, NAMING_TEXT,
        "CREATE (a:L%d {%s: '%s|L%d'})-[e:T%d {k%d: 'k%d|T%d'}]->"
        "(b:L%d:L%d {k%d: 'k%d|L%d:L%d', %s: '%s|L%d:L%d'}), "
        "(b)-[f:T%d {k%d: 'k%d|T%d'}]->(c:L%d {k%d: 'k%d|L%d'}), "
        "(:L%d {%s: '%s|L%d'})", l[0], first, first, l[0], t[0], k[1], k[1],
        t[0], l[1], l[0], k[1], k[1], l[1], l[0], first, first, l[1], l[0],
        t[1], k[2], k[2], t[1], l[2], k[2], k[2], l[2], l[2], first, first,
        l[2]);
}

static void naming_reply(redisContext *client, redisReply *reply,
                         const char *what) {
    if (!reply) {
        TEST_COMPLAIN("second client: %.200s: %s", what, client->errstr);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR && !strstr(reply->str, "empty key") &&
        !strstr(reply->str, "no such key"))
        TEST_COMPLAIN("second client: %s: %s", what, reply->str);
    freeReplyObject(reply);
}

void naming_do(redisContext *client, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(client, format, arguments);
    va_end(arguments);
    naming_reply(client, reply, format);
}

void naming_run(redisContext *client, const char *graph, const char *cypher) {
    naming_reply(client, redisCommand(client, "GRAPH.QUERY %s %s", graph,
                                      cypher), cypher);
}

void naming_replace(redisContext *client, const char *graph, naming_way way,
                    const char *cypher) {
    char next[96];
    snprintf(next, sizeof next, "%s.next", graph);
    switch (way) {
    case NAMING_TRANSACTION:
        naming_do(client, "MULTI");
        naming_do(client, "DEL %s", graph);
        naming_run(client, graph, cypher);
        naming_do(client, "EXEC");
        return;
    case NAMING_RENAME:
    case NAMING_COPY:
        naming_run(client, next, cypher);
        if (way == NAMING_COPY) {
            naming_do(client, "GRAPH.COPY %s %s.copy", next, next);
            naming_do(client, "RENAME %s.copy %s", next, next);
        }
        naming_do(client, "RENAME %s %s", next, graph);
        return;
    default:
        naming_do(client, "GRAPH.DELETE %s", graph);
        naming_run(client, graph, cypher);
    }
}

/* ---- a proxy that takes one command at a time ------------------------- */

typedef struct stepped { naming_step *step; int client, server; } stepped;

/* The bytes of one RESP2 value at the begin of text; 0: it is not all there. */
static size_t resp_length(const char *text, size_t length) {
    size_t at = 0;
    for (long long open = 1; open > 0; open--) {
        const char *end = at < length ? memchr(text + at, '\n', length - at)
                                      : NULL;
        if (!end)
            return 0;
        long long number = strtoll(text + at + 1, NULL, 10);
        if (text[at] == '*' && number > 0)
            open += number;
        bool bulk = text[at] == '$' && number >= 0;
        at = (size_t)(end + 1 - text) + (bulk ? (size_t)number + 2 : 0);
        if (at > length)
            return 0;
    }
    return at;
}

/* Whole values from one socket to the other; false: one of them has ended. */
static bool pass_value(int from, char *bytes, size_t size, size_t *have,
                       size_t *length) {
    while (!(*length = resp_length(bytes, *have))) {
        ssize_t got = *have < size ? recv(from, bytes + *have, size - *have, 0)
                                   : 0;
        if (got <= 0)
            return false;
        *have += (size_t)got;
        bytes[*have] = '\0';
    }
    return true;
}

static bool send_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* Whether the command's last arguments are VERSION and a number; only what
   reads names may send the one that says "any". */
static bool has_version(const char *command) {
    static const char word[] = "\r\n$7\r\nVERSION\r\n$";
    const char *last = NULL;
    unsigned size, version;
    int end = 0;
    for (const char *at = command; (at = strstr(at, word)); at++)
        last = at + sizeof word - 1;
    return last && sscanf(last, "%u %u %n", &size, &version, &end) == 2 &&
           end > 0 && !last[end] && (version != UINT32_MAX ||
           strstr(command, "CALL db.") || strstr(command, "'falkorpool "));
}

static bool step_seen(naming_step *step, const char *command) {
    if (atomic_load(&step->quiet) || !strstr(command, "\r\nGRAPH."))
        return true;
    int number = atomic_fetch_add(&step->commands, 1) + 1;
    if (strstr(command, "CALL db.labels()"))
        atomic_fetch_add(&step->lists, 1);
    if (strstr(command, "QUERY\r\n") && !has_version(command))
        atomic_fetch_add(&step->unversioned, 1);
    naming_before before = step->before;
    return !before || before(step, number, command);
}

static void *step_pair(void *argument) {
    stepped *pair = argument;
    enum { SIZE = 1 << 18 };
    char *request = malloc(SIZE + 1), *reply = malloc(SIZE + 1);
    size_t have = 0, had = 0, length, answer;
    while (request && reply &&
           pass_value(pair->client, request, SIZE, &have, &length)) {
        char behind = request[length];
        request[length] = '\0';
        bool goes_on = step_seen(pair->step, request);
        request[length] = behind;
        if (!goes_on || !send_all(pair->server, request, length) ||
            !pass_value(pair->server, reply, SIZE, &had, &answer) ||
            !send_all(pair->client, reply, answer))
            break;
        memmove(request, request + length, have -= length);
        memmove(reply, reply + answer, had -= answer);
    }
    free(request);
    free(reply);
    close(pair->client);
    close(pair->server);
    atomic_fetch_sub(&pair->step->running, 1);
    free(pair);
    return NULL;
}

static int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void step_admit(naming_step *step) {
    stepped *pair = malloc(sizeof *pair);
    pthread_t thread;
    int on = 1;
    if (!pair)
        return;
    *pair = (stepped){step, accept4(step->listener, NULL, NULL, SOCK_CLOEXEC),
                      dial(step->target)};
    setsockopt(pair->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    atomic_fetch_add(&step->running, 1);
    if (pthread_create(&thread, NULL, step_pair, pair) == 0) {
        pthread_detach(thread);
        return;
    }
    atomic_fetch_sub(&step->running, 1);
    close(pair->client);
    close(pair->server);
    free(pair);
}

static void *step_run(void *argument) {
    naming_step *step = argument;
    for (;;) {
        struct pollfd fds[] = {{.fd = step->wake[0], .events = POLLIN},
                               {.fd = step->listener, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents)
            return NULL;
        step_admit(step);
    }
}

void naming_step_start(naming_step *step, int target) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(step, 0, sizeof *step);
    step->target = target;
    step->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(step->listener, (struct sockaddr *)&address,
                          sizeof address), 0);
    assert_int_equal(listen(step->listener, 64), 0);
    assert_int_equal(getsockname(step->listener,
                                 (struct sockaddr *)&address, &size), 0);
    step->port = ntohs(address.sin_port);
    assert_int_equal(pipe2(step->wake, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&step->thread, NULL, step_run, step), 0);
}

/* After the pools on it are freed: its connections end by themselves. */
void naming_step_stop(naming_step *step) {
    assert_int_equal(write(step->wake[1], "", 1), 1);
    pthread_join(step->thread, NULL);
    TEST_EVENTUALLY(atomic_load(&step->running) == 0);
    close(step->wake[0]);
    close(step->wake[1]);
    close(step->listener);
}

/* ---- stress ----------------------------------------------------------- */

typedef struct asker {
    const naming_stress *stress;
    naming_tally *tally;
    falkor_pool *pool;
    falkor_graph *graph;
    atomic_bool *stop;
    int id, written;
    uint64_t random;
    /* Of the call under way. */
    naming_source source;
    const char *text;
    size_t rows;
} asker;

/* The first with what the server itself calls them, and without. */
#define TELL(n) "[" n ", labels(" n "), keys(" n ")]"
#define TELL_EDGE(e) "[" e ", [type(" e ")], keys(" e ")]"
enum { READS = 8 };
static const char *const reads[READS] = {
    "MATCH (a)-[e]->(b) RETURN a, e, b, " TELL("a") ", " TELL_EDGE("e") ", "
        TELL("b"),
    "MATCH p = ()-[]->() RETURN p, {p: p, e: relationships(p)}, "
        "[n IN nodes(p) | " TELL("n") "], "
        "[e IN relationships(p) | " TELL_EDGE("e") "]",
    "MATCH (n) RETURN n, " TELL("n") ", {n: n, m: {l: [n]}} LIMIT 50",
    "MATCH (a)-[e]->(b)-[f]->(c) RETURN {a: [a, {e: e}]}, f, " TELL("a") ", "
        TELL_EDGE("e") ", " TELL_EDGE("f") ", c, " TELL("c"),
    "MATCH (a)-[e]->(b) RETURN a, e, b",
    "MATCH p = ()-[]->() RETURN p, [p, nodes(p)], {p: p, e: relationships(p)}",
    "MATCH (n) RETURN n, [n, [n]], {n: n, m: {l: [n]}} LIMIT 50",
    "MATCH p = (a)-[e]->(b)-[f]->(c) RETURN p, {a: [a, {e: e}]}, f, c",
};

static void count(atomic_ullong *counter, size_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* What may go wrong while others put graphs in place: the graph is not there;
   a row that was not the first cannot be named; a write's own names cannot. */
static void judge(asker *self, falkor_status status, bool may_write,
                  const falkor_error *error) {
    naming_tally *tally = self->tally;
    bool replaced = self->stress->rounds > 0;
    count(&tally->queries, 1);
    if (!status)
        return;
    if (replaced && !may_write && status == FALKOR_ERR_QUERY &&
        strstr(error->message, "empty key"))
        count(&tally->empty, 1);
    else if (replaced && (status == FALKOR_ERR_BUSY ||
                          status == FALKOR_ERR_QUERY) &&
             strstr(error->message, "when opened key"))
        count(&tally->displaced, 1);    /* so the server says itself */
    else if (replaced && status == FALKOR_ERR_STALE && may_write &&
             error->maybe_executed)
        count(&tally->stale_writes, 1);
    else if (status == FALKOR_ERR_IO || status == FALKOR_ERR_CONNECT ||
             status == FALKOR_ERR_TIMEOUT) {
        count(&tally->lost, 1);
        atomic_store(self->stop, true);
        TEST_COMPLAIN("%s", error->message);
    } else if (status == FALKOR_ERR_STALE && !may_write && self->rows > 0)
        count(&tally->stale_rows, 1);
    else
        TEST_COMPLAIN("%s, %s%s: %s: %.100s", self->source.form,
            falkor_status_name(status), error->maybe_executed
            ? ", maybe executed" : "", error->message, self->text);
}

static void prove(asker *self, const falkor_result *result) {
    count(&self->tally->names, naming_prove_from(result, self->text,
                                                 &self->source));
}

static void ask_whole(asker *self, bool read_only, falkor_conn *conn) {
    falkor_result *result;
    falkor_error error;
    self->rows = 0;
    falkor_status status = falkor_query_with(self->graph,
        &(falkor_call_options){.read_only = read_only, .conn = conn},
        self->text, NULL, &result, &error);
    judge(self, status, !read_only, &error);
    prove(self, result);
    falkor_result_free(result);
}

static bool take_row(void *ctx, const falkor_result *row) {
    asker *self = ctx;
    self->rows++;
    prove(self, row);
    return true;
}

static void ask_each(asker *self, bool read_only) {
    falkor_error error;
    self->rows = 0;
    falkor_status status = falkor_query_each(self->graph,
        &(falkor_call_options){.read_only = read_only}, self->text, NULL,
        take_row, self, NULL, &error);
    judge(self, status, !read_only, &error);
}

static void ask_cursor(asker *self, bool read_only) {
    falkor_cursor *cursor;
    const falkor_result *row = NULL;
    falkor_error error;
    self->rows = 0;
    falkor_status status = falkor_cursor_open(self->graph,
        &(falkor_call_options){.read_only = read_only}, self->text, NULL,
        &cursor, &error);
    while (!status && !(status = falkor_cursor_next(cursor, &row, &error)) &&
           row)
        take_row(self, row);
    judge(self, status, !read_only, &error);
    falkor_cursor_close(cursor);
}

static void ask_pipeline(asker *self) {
    falkor_request requests[4] = {{0}};
    falkor_error error;
    int first = test_below(&self->random, 4);
    self->rows = 0;
    for (int i = 0; i < 4; i++)
        requests[i] = (falkor_request){.graph = self->graph,
            .cypher = reads[first + i], .read_only = i != 2};
    falkor_pipeline(self->pool, NULL, requests, 4, &error);
    for (int i = 0; i < 4; i++) {
        self->text = reads[first + i];
        judge(self, requests[i].error.status, i == 2, &requests[i].error);
        prove(self, requests[i].result);
        falkor_result_free(requests[i].result);
    }
}

static void ask_held(asker *self) {
    falkor_conn *conn;
    falkor_error error;
    if (falkor_acquire(self->pool, &conn, &error)) {
        TEST_COMPLAIN("%s", error.message);
        return;
    }
    for (int i = 0; i < 3; i++)
        ask_whole(self, i != 1, conn);
    falkor_release(conn);
}

/* Names that nobody else has, in a graph whose other names change. */
static void ask_write(asker *self) {
    char text[640];
    int t = self->id, i = self->written++;
    snprintf(text, sizeof text, "CREATE (n:W%d_%d {q%d_%d: 'q%d_%d|W%d_%d'"
        "})-[e:U%d_%d {r%d_%d: 'r%d_%d|U%d_%d'}]->(m:X%d_%d:W%d_%d "
        "{q%d_%d: 'q%d_%d|X%d_%d:W%d_%d'}) WITH n, e, m "
        "MATCH p = (n)-[]->(m) RETURN n, e, m, p, {n: [n]}, " TELL("n")
        ", " TELL_EDGE("e") ", " TELL("m"),
        t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i, t, i,
        t, i, t, i);
    self->text = text;
    if (test_chance(&self->random, 3))
        ask_cursor(self, false);
    else
        ask_whole(self, false, NULL);
    self->text = "";
}

/* Fails when it has added a label already, which stays. It adds no key: where
   a write that adds keys fails beside others that add some, FalkorDB 4.16.3
   itself gives properties the names of others, and crashes. */
static void ask_failing(asker *self) {
    char text[256];
    falkor_error error;
    int t = self->id, i = self->written++;
    snprintf(text, sizeof text, "CREATE (n:F%d_%d) WITH n UNWIND [1, 0] AS x "
        "RETURN 1 / x", t, i);
    falkor_query(self->graph, text, NULL, NULL, &error);
    count(&self->tally->failed_writes, 1);
    self->text = "";
    if (error.status != FALKOR_ERR_QUERY ||
        strncmp(error.message, "Division by zero", 16) != 0)
        judge(self, error.status ? error.status : FALKOR_ERR_ARGUMENT, true,
              &error);
}

static void ask_one(asker *self) {
    static const char *const forms[] = {"a query that may write",
        "each row read", "each row of a query that may write", "a cursor",
        "a pipeline", "a held connection", "a read", "a read"};
    int form = test_below(&self->random, 8);
    self->source.form = forms[form];
    self->text = reads[test_below(&self->random, READS)];
    switch (form) {
    case 0: ask_whole(self, false, NULL); break;
    case 1: ask_each(self, true); break;
    case 2: ask_each(self, false); break;
    case 3: ask_cursor(self, true); break;
    case 4: ask_pipeline(self); break;
    case 5: ask_held(self); break;
    default: ask_whole(self, true, NULL);
    }
}

static void *asker_run(void *argument) {
    asker *self = argument;
    int writes = self->stress->rounds ? 10 : 2;
    while (!atomic_load(self->stop) &&
           (self->stress->rounds || self->written < 12)) {
        self->source.form = "a write";
        if (test_chance(&self->random, writes))
            ask_write(self);
        else if (test_chance(&self->random, 20))
            ask_failing(self);
        else
            ask_one(self);
    }
    return NULL;
}

/* A server that has crashed may also hang, with a graph's lock held. */
enum { STRESS_PATIENCE_S = TEST_SANITIZED ? 20 : 8 };

static void put_graphs(const naming_stress *stress, falkor_pool *pool,
                       const atomic_bool *stop) {
    redisContext *client = serving_client(stress->server->port);
    redisSetTimeout(client, (struct timeval){.tv_sec = STRESS_PATIENCE_S});
    uint64_t random = stress->seed + 17;
    char text[NAMING_TEXT];
    for (int round = 0; round < stress->rounds && !atomic_load(stop);
         round++) {
        naming_way way = (naming_way)test_below(&random, NAMING_WAYS);
        naming_layout(text, stress->seed * 4096 + (uint64_t)round,
                      way == NAMING_COPY);
        if (test_chance(&random, 10))       /* by a pool's own command */
            falkor_command(pool, NULL, 2, (const char *[]){"GRAPH.DELETE",
                           stress->graph}, NULL, NULL, NULL);
        naming_replace(client, stress->graph, way, text);
        if (client->err)                    /* the server is gone */
            break;
        if (test_chance(&random, 3))
            test_pause_ms(test_below(&random, 8));
    }
    redisFree(client);
}

void naming_stress_run(const naming_stress *stress, naming_tally *tally) {
    enum { MOST = 64 };
    asker each[MOST];
    falkor_pool *pools[2];
    falkor_graph *graphs[2];
    char text[NAMING_TEXT];
    atomic_bool stop = false;
    int64_t begun = test_now_ms();
    falkor_options options = serving_options(stress->server->port);
    redisContext *client = serving_client(stress->server->port);
    options.max_size = stress->connections;
    options.socket_timeout_ms = STRESS_PATIENCE_S * 1000;
    naming_layout(text, stress->seed, true);
    naming_replace(client, stress->graph, NAMING_DELETE, text);
    redisFree(client);
    memset(tally, 0, sizeof *tally);
    for (int i = 0; i < 2; i++) {
        pools[i] = serving_pool(&options);
        graphs[i] = falkor_select_graph(pools[i], stress->graph);
    }
    for (int i = 0; i < stress->threads; i++) {
        int of = i % 4 == 3;            /* a quarter are another client */
        each[i] = (asker){.stress = stress, .tally = tally, .id = i,
            .pool = pools[of], .graph = graphs[of], .stop = &stop,
            .random = stress->seed + (uint64_t)i * 7919,
            .source = {.graph = graphs[of], .port = stress->server->port,
                .seed = stress->seed, .connections = stress->connections,
                .told = &tally->told, .corrupt = &tally->corrupt,
                .displaced = &tally->displaced,
                .undecided = &tally->undecided}};
    }
    test_threads threads = test_start(asker_run, each, sizeof *each,
                                      stress->threads);
    put_graphs(stress, pools[0], &stop);
    if (stress->rounds)
        atomic_store(&stop, true);
    test_join_within(&threads, 300000);
    printf("%d threads on %d connections, %d graphs in %" PRId64 " ms: %llu "
        "queries, %llu names, %llu entities told by the server, no graph %llu, "
        "displaced %llu, failed writes %llu, "
        "STALE: %llu writes, %llu behind the first row\n", stress->threads,
        stress->connections, stress->rounds, test_now_ms() - begun,
        tally->queries, tally->names, tally->told, tally->empty,
        tally->displaced, tally->failed_writes, tally->stale_writes,
        tally->stale_rows);
    if (tally->corrupt || tally->undecided)
        printf("note: %llu entities that the server itself names wrongly, "
            "%llu values of which that could not be asked\n",
            tally->corrupt, tally->undecided);
    for (int i = 0; i < 2; i++) {
        serving_drop(pools[i], graphs[i], stress->graph);
        falkor_pool_free(pools[i]);
    }
}

/* ---- a server of its own ---------------------------------------------- */

/* One that writes its crash report does not answer any more. */
bool naming_is_alive(const serving *server) {
    struct timeval patience = {.tv_sec = 5};
    redisContext *client = redisConnectWithTimeout("127.0.0.1", server->port,
                                                   patience);
    redisReply *reply = NULL;
    if (client && !client->err && redisSetTimeout(client, patience) == 0)
        reply = redisCommand(client, "PING");
    bool alive = reply && reply->type == REDIS_REPLY_STATUS;
    if (reply)
        freeReplyObject(reply);
    if (client)
        redisFree(client);
    return alive;
}

void naming_on_own_server(naming_test test, void *ctx) {
    for (int turn = 1; turn <= 8; turn++) {
        serving server;
        serving_start(&server, NULL);
        test(&server, ctx);
        bool alive = naming_is_alive(&server);
        serving_stop(&server);
        if (alive) {
            test_no_complaints();
            return;
        }
        printf("note: the server crashed, %d complaints do not count\n",
               test_forget_complaints());
    }
    fail_msg("the server crashed eight times");
}
