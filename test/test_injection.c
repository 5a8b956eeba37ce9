/* Hostile strings, 100 000 of them, in every place where text goes in: values,
   keys and names of parameters, names of graphs, arguments of commands, user,
   password and client name. Each must come back byte for byte or be refused
   before anything is sent, with the rest of its query untouched; and a canary
   graph, the server's keys and its count of commands must stay as they were.
   Against a real server of its own.

   No function of the server is called on these strings: size() of one that is
   not UTF-8 hangs it for ever. */
#include "serving.h"
#include <ctype.h>
#include <inttypes.h>

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
enum {
    WANTED = TEST_SANITIZED ? 40000 : 100000,    /* strings, as values,
                                                       keys and names */
    SOME = TEST_SANITIZED ? 60 : 300,    /* where each costs much more */
    LONGEST = 65536,
    LONG_ONCE_IN = 300,
    CALL_MS = 10000                         /* a server that hangs */
};

static serving server;
static falkor_pool *pool;

/* ---- the grammar ------------------------------------------------------ */

static const char *const closers[] = {"", "\"", "'", "`", "\\\"", "\\'",
    "\\\\\"", "\\\\\\\"", "\"]", "\"}", "\"})", "\"}]", "'})", "`}", "`:1}",
    "`=1 ", "\"=1 ", "*/", "\n", "\r\n", "\" ", "1 ", "x\" ", "\")", "]", "}",
    "\\u0022", "\\x22", "\\42", "&quot;", "%22"};
static const char *const payloads[] = {" MATCH (n) DETACH DELETE n ",
    "1 MATCH (n) DELETE n", "}) DETACH DELETE n ", " RETURN 0 ",
    " CREATE (:Evil) ", " MERGE (:Evil) ", "CYPHER x=1 ", "CYPHER", " w=7 ",
    ", w:7", ",\"w\"", " v=\"7\" w=\"7\" ", " SET c.song='x' ",
    " MATCH (c:Canary) SET c.song=\"x\" RETURN 1 ",
    " DROP INDEX ON :Canary(song) ", " CALL db.labels() ", " UNION ",
    " WITH 1 AS x MATCH (n) DETACH DELETE n RETURN 1 AS v ", " TIMEOUT 1 ",
    " --compact ", "$w", "$`w`", "${w}", "; FLUSHALL", "\r\nFLUSHALL\r\n",
    "*1\r\n$8\r\nFLUSHALL\r\n", "\r\n$3\r\nfoo\r\n",
    "*2\r\n$12\r\nGRAPH.DELETE\r\n$6\r\ncanary\r\n",
    "\r\n*3\r\n$12\r\nGRAPH.DELETE\r\n$6\r\ncanary\r\n$1\r\nx\r\n",
    "\r\n*3\r\n$11\r\nGRAPH.QUERY\r\n$6\r\ncanary\r\n$14\r\nCREATE (:Evil)\r\n",
    "null", "true", "[1,2]", "{a:1}", "%s%n%d", "0x41", "1e309"};
static const char *const tails[] = {"", "//", "/*", "\"", "'", "`", "\\",
    "\\\\", "\\\\\\", "\\\\\\\\", "\n", "\r", "\\n", "$", "}", "{", "[", "(",
    "\"//", "'//", "`//", "\"/*", "\\\"//", " RETURN \"", " RETURN ({a:\"",
    "#", "--", ";", "\xc3", "\xe2\x80", "\xf0\x9f\x98"};
static const char *const ill[] = {"\xc0\xa2", "\xe0\x80\xa2",
    "\xf0\x80\x80\xa2", "\xc1\x9c", "\xe0\x81\x9c", "\xc0\xa7", "\xc1\xa0",
    "\xed\xa0\x80", "\xed\xbf\xbf", "\xff", "\xfe", "\x80", "\xbf", "\xc3",
    "\xe2\x80", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
    "\xbf\x27", "\xbf\x5c", "\x81\x5c", "\x81\x22", "\xe2\x80\xa8",
    "\xe2\x80\xa9", "\xc2\x85", "\xef\xbb\xbf", "\xef\xbc\x82", "\xef\xbc\xbc",
    "\xe2\x80\x9d", "\xca\xbc", "\xc2\xa0", "\xf0\x9f\x98\x80"};
static const char *const sharp[] = {"\"", "'", "\\", "`", "$", "/", "*", "//",
    "/*", "*/", "\n", "\r", "\r\n", "\t", "\v", "\f", "\b", "\x01", "\x1b",
    "\x7f", ";", ":", ",", "=", "{", "}", "[", "]", "(", ")", " ", "\\n",
    "\\u0027", "\\u0022", "\\u005c", "\\U00000022", "\\x22", "\\0", "a", "1"};

typedef enum kind {
    SHORT, PIECES, BREAKOUT, RUNS, NOISE, ILL, CHANGED, LONG, EMPTY, KINDS
} kind;
static const char *const kind_names[KINDS] = {"short", "pieces", "break-out",
    "backslash runs", "noise", "not UTF-8", "changed", "64 KB", "empty"};
static int kinds_made[KINDS];

typedef struct text { const char *bytes; size_t length; } text;

/* What one query's values are made of, and the string before. */
static struct heap {
    char *bytes;
    size_t at, size;
    uint64_t random;
    int shorts;                 /* how many of them were made */
    char last[256];
    size_t last_length;
} h;

static void *take(size_t size) {
    size = (size + 15) & ~(size_t)15;
    assert_true(h.size - h.at >= size);
    h.at += size;
    return h.bytes + h.at - size;
}

static int below(int limit) {
    return test_below(&h.random, limit);
}

static void put(char *room, size_t *length, const char *piece) {
    size_t more = strlen(piece);
    memcpy(room + *length, piece, more);
    *length += more;
}
#define PUT_ONE_OF(room, length, list) \
    put(room, length, (list)[below(COUNT(list))])

static void put_run(char *room, size_t *length) {
    for (int i = below(10); i > 0; i--)
        put(room, length, "\\");
    put(room, length, &"\"\0'\0`\0n\0\0"[2 * below(5)]);
}

static void put_breakout(char *room, size_t *length) {
    if (below(3) == 0)
        PUT_ONE_OF(room, length, sharp);
    PUT_ONE_OF(room, length, closers);
    PUT_ONE_OF(room, length, payloads);
    PUT_ONE_OF(room, length, tails);
}

/* All strings of one to four of the sharpest characters, one after another. */
static void put_short(char *room, size_t *length) {
    static const char alphabet[] = "\"'\\`$/*\n}";
    enum { LETTERS = sizeof alphabet - 1 };
    int most = LETTERS, size = 1, number = h.shorts++;
    number %= 9 + 81 + 729 + 6561;
    for (; number >= most; size++) {
        number -= most;
        most *= LETTERS;
    }
    for (; size > 0; size--, number /= LETTERS)
        room[(*length)++] = alphabet[number % LETTERS];
}

/* The string before with one byte taken out, put in, or made another. */
static void put_changed(char *room, size_t *length) {
    size_t at = (size_t)below((int)h.last_length + 1);
    memcpy(room, h.last, at);
    *length = at;
    int how = below(3);
    if (how)
        PUT_ONE_OF(room, length, sharp);
    if (how != 1 && at < h.last_length)
        at++;
    memcpy(room + *length, h.last + at, h.last_length - at);
    *length += h.last_length - at;
}

/* One string's whole worth again and again, so that every length in front of
   a sharp byte occurs somewhere. */
static void put_long(char *room, size_t *length) {
    size_t wanted = LONGEST - (size_t)below(200), part = 0;
    put_run(room, &part);
    put_breakout(room, &part);
    for (*length = part; *length < wanted; (*length)++)
        room[*length] = room[*length % part];
}

static void put_kind(kind which, char *room, size_t *length) {
    int pieces = 1 + below(6);
    switch (which) {
    case SHORT:
        put_short(room, length);
        break;
    case BREAKOUT:
        put_breakout(room, length);
        break;
    case RUNS:
        put_run(room, length);
        put_breakout(room, length);
        put_run(room, length);
        break;
    case NOISE:
        for (int i = below(40); i >= 0; i--)
            room[(*length)++] = (char)(1 + below(255));
        break;
    case CHANGED:
        put_changed(room, length);
        break;
    case LONG:
        put_long(room, length);
        break;
    case PIECES: case ILL:
        for (int i = 0; i < pieces; i++) {
            if (which == ILL)
                PUT_ONE_OF(room, length, ill);
            PUT_ONE_OF(room, length, sharp);
            if (below(4) == 0)
                PUT_ONE_OF(room, length, payloads);
        }
        break;
    case EMPTY: case KINDS:
        break;
    }
}

static kind any_kind(void) {
    if (below(LONG_ONCE_IN) == 0)
        return LONG;
    if (below(100) == 0)
        return EMPTY;
    return (kind)below(LONG);
}

/* The next string: no NUL in it, and one behind it. */
static text hostile_of(kind which) {
    char *room = take(which == LONG ? LONGEST + 1 : 2048);
    size_t length = 0;
    put_kind(which, room, &length);
    kinds_made[which]++;
    room[length] = '\0';
    h.last_length = length < sizeof h.last ? length : sizeof h.last;
    memcpy(h.last, room, h.last_length);
    return (text){room, length};
}

static text hostile(void) {
    return hostile_of(any_kind());
}

/* One that is not very long, for where the server limits what it takes. */
static text hostile_word(void) {
    kind which = any_kind();
    return hostile_of(which == LONG ? BREAKOUT : which);
}

/* ---- the server ------------------------------------------------------- */

static falkor_graph *canary;

static void canary_make(void) {
    canary = falkor_select_graph(pool, "canary");
    serving_run(canary, "UNWIND range(1, 12) AS i CREATE (:Canary {n: i, "
        "song: 'tweet'})-[:SINGS {loud: i / 2.0}]->(:Mine:Deep {depth: -i, "
        "air: ['thin', i], dark: true})");
    serving_run(canary, "CREATE INDEX FOR (c:Canary) ON (c.n)");
}

static int begin(void **state) {
    (void)state;
    h.size = 32 << 20;
    h.bytes = malloc(h.size);
    assert_non_null(h.bytes);
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.min_size = options.max_size = 1;    /* a lost step shows */
    options.max_retries = -1;
    options.health_check_interval_ms = -1;
    options.validate_after_ms = -1;
    pool = serving_pool(&options);
    canary_make();
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    free(h.bytes);
    return 0;
}

/* ---- when one breaks out ---------------------------------------------- */

static void show(const char *what, const char *bytes, size_t length) {
    printf("%s, %zu bytes: \"", what, length);
    for (size_t i = 0; i < length && i < 400; i++)
        printf(isprint((unsigned char)bytes[i]) && !strchr("\"\\", bytes[i])
                   ? "%c" : "\\%03o", (unsigned char)bytes[i]);
    printf("\"%s\n", length > 400 ? "..." : "");
}

static void show_value(const char *what, const falkor_value *value) {
    char *json = NULL;
    falkor_value_to_json(value, &json, NULL);
    printf("%s: %.800s\n", what, json ? json : "?");
    free(json);
    if (value && value->type == FALKOR_STRING)
        show(what, value->as.string, value->length);
}

static void show_params(const falkor_param *params) {
    for (; params && params->name; params++) {
        show("parameter", params->name, strlen(params->name));
        show_value("value", &params->value);
    }
}

/* ---- what must not change --------------------------------------------- */

static void hash_add(uint64_t *hash, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        *hash = (*hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
}

/* All that is in the canary graph. */
static uint64_t canary_hash(void) {
    static const char *const looks[] = {"MATCH (n) RETURN n ORDER BY id(n)",
        "MATCH ()-[e]->() RETURN e ORDER BY id(e)", "MATCH (n) RETURN count(n)",
        "CALL db.labels()", "CALL db.relationshipTypes()",
        "CALL db.propertyKeys()",
        "CALL db.indexes() YIELD label, properties RETURN label, properties"};
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int i = 0; i < COUNT(looks); i++) {
        falkor_error error;
        falkor_result *result;
        falkor_ro_query(canary, looks[i], NULL, &result, &error);
        serving_ok(&error);
        assert_true(falkor_result_rows(result) > 0);
        for (size_t row = 0; row < falkor_result_rows(result); row++)
            for (size_t at = 0; at < falkor_result_columns(result); at++) {
                char *json;
                size_t length;
                assert_int_equal(falkor_value_to_json(
                    falkor_result_value(result, row, at), &json, &length),
                    FALKOR_OK);
                hash_add(&hash, json, length + 1);
                free(json);
            }
        falkor_result_free(result);
    }
    return hash;
}

/* Whether the keys (or graphs) there are these, whatever else the server's
   telemetry adds when it likes. */
static bool just_there(const char *const *argv, size_t argc,
                       const text *names, size_t count) {
    falkor_result *result;
    falkor_error error;
    size_t found = 0;
    bool others = false;
    falkor_command(pool, NULL, argc, argv, NULL, &result, &error);
    serving_ok(&error);
    const falkor_value *keys = falkor_result_value(result, 0, 0);
    for (uint32_t i = 0; i < keys->length; i++) {
        const falkor_value *key = &keys->as.items[i];
        bool known = false;
        if (strncmp(key->as.string, "telemetry{", 10) == 0)
            continue;
        for (size_t n = 0; n < count; n++)
            known = known || (key->length == names[n].length &&
                memcmp(key->as.string, names[n].bytes, key->length) == 0);
        others = others || !known;
        found++;
    }
    falkor_result_free(result);
    return !others && found == count;
}

/* GRAPH.LIST forgets a deleted graph a moment after its key is gone, and a new
   one of the same name with it: no name is used twice here. */
static void only_graphs(const text *names, size_t count) {
    if (!just_there((const char *[]){"KEYS", "*"}, 2, names, count)) {
        show("wanted", names[count - 1].bytes, names[count - 1].length);
        fail_msg("the server has other keys");
    }
    TEST_EVENTUALLY(just_there((const char *[]){"GRAPH.LIST"}, 1, names,
                               count));
}

static void only_canary(void) {
    only_graphs(&(text){"canary", 6}, 1);
}

/* How often the server ran each command, so far. */
typedef struct commands {
    struct { char name[64]; long long calls; } each[64];
    int count;
} commands;

static void commands_read(commands *all) {
    redisContext *client = serving_client(server.port);
    redisReply *reply = redisCommand(client, "INFO commandstats");
    assert_non_null(reply);
    all->count = 0;
    for (const char *at = reply->str; (at = strstr(at, "cmdstat_")) != NULL;
         at++) {
        assert_true(all->count < COUNT(all->each));
        assert_int_equal(sscanf(at, "cmdstat_%63[^:]:calls=%lld",
            all->each[all->count].name, &all->each[all->count].calls), 2);
        all->count++;
    }
    freeReplyObject(reply);
    redisFree(client);
}

static long long commands_since(const commands *before, const char *name) {
    commands now;
    long long calls = 0;
    commands_read(&now);
    for (int i = 0; i < now.count; i++)
        if (strcasecmp(now.each[i].name, name) == 0)
            calls += now.each[i].calls;
    for (int i = 0; i < before->count; i++)
        if (strcasecmp(before->each[i].name, name) == 0)
            calls -= before->each[i].calls;
    return calls;
}

/* That no command ran since but these, a list that ends with NULL, and what
   looking and opening take. */
static void commands_only(const commands *before, const char *const *allowed) {
    static const char *const looks[] = {"info", "keys", "graph.LIST", "ping",
                                        "graph.RO_QUERY"};
    commands now;
    commands_read(&now);
    for (int i = 0; i < now.count; i++) {
        const char *name = now.each[i].name;
        bool known = commands_since(before, name) == 0;
        for (int n = 0; n < COUNT(looks); n++)
            known = known || strcasecmp(name, looks[n]) == 0;
        for (const char *const *at = allowed; *at; at++)
            known = known || strcasecmp(name, *at) == 0;
        if (!known)
            fail_msg("somebody sent %s", name);
    }
}

/* What each test begins and ends with. */
typedef struct watch { uint64_t hash; commands before; } watch;

static watch watch_begin(void) {
    watch on;
    h.random = test_seed();
    h.at = h.last_length = 0;
    h.shorts = 0;
    on.hash = canary_hash();
    only_canary();
    commands_read(&on.before);
    return on;
}

static void watch_look(const watch *on) {
    if (canary_hash() != on->hash)
        fail_msg("the canary graph has changed");
    only_canary();
}

static void watch_end(const watch *on, const char *const *allowed) {
    watch_look(on);
    commands_only(&on->before, allowed);
}

/* ---- values, keys and names of parameters ----------------------------- */

static bool same(const falkor_value *sent, const falkor_value *got) {
    if (!got || sent->type != got->type || sent->length != got->length)
        return false;
    switch (sent->type) {
    case FALKOR_INTEGER:
        return sent->as.integer == got->as.integer;
    case FALKOR_STRING:
        return memcmp(sent->as.string, got->as.string, sent->length) == 0 &&
            got->as.string[got->length] == '\0';
    case FALKOR_ARRAY:
        for (uint32_t i = 0; i < sent->length; i++)
            if (!same(&sent->as.items[i], &got->as.items[i]))
                return false;
        return true;
    case FALKOR_MAP:
        for (uint32_t i = 0; i < sent->length; i++)
            if (!same(&sent->as.entries[i].value,
                      falkor_property(got, sent->as.entries[i].key)))
                return false;
        return true;
    default:
        return false;
    }
}

typedef enum place {
    ALONE, ITEMS, VALUE_OF_KEY, KEY, NESTED, NAME, NAME_READ, MANY, PLACES
} place;
static const char *const place_names[PLACES] = {"alone", "in arrays",
    "in maps", "as keys", "nested", "as names", "as names read by the query",
    "many at once"};
static int placed[PLACES], refusals;

static falkor_value value_of(text t) {
    return falkor_string_n(t.bytes, t.length);
}

static falkor_value array_of(size_t count, const falkor_value *values) {
    falkor_value *items = take(count * sizeof *items);
    memcpy(items, values, count * sizeof *items);
    return falkor_array(items, count);
}

/* A map of one, or of many with keys that differ. */
static falkor_value map_of(size_t count, const text *keys,
                           const falkor_value *values) {
    falkor_entry *entries = take(count * sizeof *entries);
    size_t have = 0;
    for (size_t i = 0; i < count; i++) {
        bool twice = false;
        for (size_t n = 0; n < have; n++)
            twice = twice || strcmp(entries[n].key, keys[i].bytes) == 0;
        if (!twice)
            entries[have++] = (falkor_entry){keys[i].bytes, values[i]};
    }
    return falkor_map(entries, have);
}

static bool fit_for_key(text key) {
    return key.length && !memchr(key.bytes, '`', key.length);
}

static text hostile_key(void) {
    text key;
    do
        key = hostile();
    while (!fit_for_key(key));
    return key;
}

#define REST "1 + 1 AS two, $w AS w, c.song AS song"
#define FROM "MATCH (c:Canary {n: 1}) RETURN "

/* One question: parameter v, which column v returns, or which is refused
   (name or key); w, and whatever else there is. */
typedef struct question {
    falkor_param params[4];
    falkor_value v, w;
    bool refused;
    char cypher[2 * LONGEST];
} question;

static falkor_value make_value(place where, question *q) {
    static const text plain = {"k", 1};
    text t = hostile(), key;
    falkor_value two[2] = {value_of(t), falkor_int(7)};
    switch (where) {
    case ITEMS:
        placed[where]++;
        return array_of(3, (falkor_value[]){two[0], two[1],
                                            value_of(hostile())});
    case VALUE_OF_KEY:
        return map_of(2, (text[]){plain, {"l", 1}}, two);
    case KEY:
        key = hostile();
        placed[where]++;
        q->refused = !fit_for_key(key);
        return map_of(1, &key, two);
    case NESTED:
        key = hostile_key();
        placed[where] += 2;
        two[1] = array_of(2, (falkor_value[]){value_of(hostile()),
            map_of(1, &key, &two[0])});
        two[1] = map_of(2, (text[]){key, plain}, two);
        return array_of(2, two);
    default:
        return two[0];
    }
}

/* Fifty strings, and a map of twenty keys. */
static falkor_value make_many(void) {
    falkor_value values[50], both[2];
    text keys[20];
    for (int i = 0; i < COUNT(values); i++)
        values[i] = value_of(hostile_word());
    for (int i = 0; i < COUNT(keys); i++)
        keys[i] = hostile_key();
    both[0] = array_of(COUNT(values), values);
    both[1] = map_of(COUNT(keys), keys, values);
    placed[MANY] += COUNT(values) + COUNT(keys);
    return array_of(2, both);
}

/* The hostile value stands before the harmless one or behind it. */
static void make_question(place where, question *q) {
    text name = {"v", 1};
    q->refused = false;
    q->v = where == MANY ? make_many() : make_value(where, q);
    q->w = falkor_string("harmless");
    if (below(2)) {
        q->w = value_of(hostile());
        placed[ALONE]++;
    }
    if (where == NAME || where == NAME_READ) {
        name = below(50) ? hostile_word() : (text){"w", 1};     /* twice */
        q->refused = !fit_for_key(name) || strcmp(name.bytes, "w") == 0;
    }
    if (where != MANY)
        placed[where]++;
    int v = below(2);
    q->params[v] = (falkor_param){name.bytes, q->v};
    q->params[!v] = (falkor_param){"w", q->w};
    q->params[2] = (falkor_param){0};
    if (where == NAME) {                /* the query does not read it */
        q->params[2] = (falkor_param){"v", q->v};
        q->params[3] = (falkor_param){0};
        q->refused = q->refused || strcmp(name.bytes, "v") == 0;
    }
    sprintf(q->cypher, FROM "$`%s` AS v, " REST,
            where == NAME_READ && !q->refused ? name.bytes : "v");
}

static void nothing_done(const falkor_summary *s) {
    assert_int_equal(s->nodes_created + s->nodes_deleted + s->edges_created +
        s->edges_deleted + s->labels_added + s->labels_removed +
        s->properties_set + s->properties_removed + s->indices_created +
        s->indices_deleted + s->constraints_created + s->constraints_deleted,
        0);
}

static const falkor_value *column(const falkor_result *result, const char *name,
                                  size_t at) {
    assert_string_equal(falkor_result_column(result, at), name);
    return falkor_result_value(result, 0, at);
}

/* Whether the answer is what the values as given make it. */
static bool answers(const question *q, const falkor_result *result) {
    const falkor_value two = falkor_int(2), song = falkor_string("tweet");
    if (falkor_result_rows(result) != 1 || falkor_result_columns(result) != 4)
        return false;
    nothing_done(falkor_result_summary(result));
    return same(&q->v, column(result, "v", 0)) &&
        same(&two, column(result, "two", 1)) &&
        same(&q->w, column(result, "w", 2)) &&
        same(&song, column(result, "song", 3));
}

/* Asks a question; true: it was sent. */
static bool ask(const question *q) {
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    falkor_status status = falkor_query_with(canary,
        &(falkor_call_options){.timeout_ms = CALL_MS}, q->cypher, q->params,
        &result, &error);
    bool right = status == (q->refused ? FALKOR_ERR_ARGUMENT : FALKOR_OK) &&
        (q->refused ? !result && !error.attempts : answers(q, result));
    if (!right) {
        show_params(q->params);
        show("query", q->cypher, strlen(q->cypher));
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            show_value("got", falkor_result_value(result, 0, i));
        fail_msg("seed %" PRIu64 ": %s: %s", test_seed(),
                 falkor_status_name(status), error.message);
    }
    falkor_result_free(result);
    return !q->refused;
}

static int strings_placed(void) {
    int all = 0;
    for (int i = 0; i < PLACES; i++)
        all += placed[i];
    return all;
}

static void test_injection_values_keys_and_names(void **state) {
    static question q;
    (void)state;
    watch on = watch_begin();
    long long sent = 0;
    int64_t begun = test_now_ms();
    for (long long asked = 0; strings_placed() < WANTED; asked++) {
        h.at = 0;
        make_question(asked % 100 == 0 ? MANY : (place)below(MANY), &q);
        if (ask(&q))
            sent++;
        else
            refusals++;
        if (asked % 5000 == 0)
            watch_look(&on);
    }
    printf("%d strings in %lld queries and %d refusals, %" PRId64 " ms;",
           strings_placed(), sent, refusals, test_now_ms() - begun);
    for (int i = 0; i < PLACES; i++) {
        printf(" %s %d,", place_names[i], placed[i]);
        assert_true(placed[i] > WANTED / 50);
    }
    printf(" made:");
    for (int i = 0; i < KINDS; i++) {
        printf(" %s %d", kind_names[i], kinds_made[i]);
        assert_true(kinds_made[i] > WANTED / 1000);
    }
    printf("\n");
    assert_true(refusals > WANTED / 100);
    assert_int_equal(commands_since(&on.before, "graph.QUERY"), sent);
    watch_end(&on, (const char *[]){"graph.QUERY", NULL});
}

/* ---- what cannot travel ----------------------------------------------- */

/* A NUL anywhere in a value, wherever that stands. */
static void test_injection_nul_is_refused(void **state) {
    static question q;
    (void)state;
    watch on = watch_begin();
    for (int i = 0; i < 10 * SOME; i++) {
        h.at = 0;
        text t = hostile(), key = hostile_key();
        char *bytes = take(t.length + 1);
        size_t at = (size_t)below((int)t.length + 1);
        memcpy(bytes, t.bytes, at);
        bytes[at] = '\0';
        memcpy(bytes + at + 1, t.bytes + at, t.length - at);
        q.v = falkor_string_n(bytes, t.length + 1);
        if (i % 3 == 1)
            q.v = array_of(2, (falkor_value[]){value_of(t), q.v});
        if (i % 3 == 2)
            q.v = map_of(1, &key, &q.v);
        q.refused = true;
        q.params[0] = (falkor_param){"v", q.v};
        q.params[1] = (falkor_param){0};
        strcpy(q.cypher, "CREATE (:Never {v: $v})");
        ask(&q);
    }
    assert_int_equal(commands_since(&on.before, "graph.QUERY"), 0);
    watch_end(&on, (const char *[]){NULL});
}

/* ---- names that the server keeps -------------------------------------- */

/* As names of properties they come back through the schema, too. */
static void test_injection_property_keys(void **state) {
    (void)state;
    watch on = watch_begin();
    falkor_graph *graph = falkor_select_graph(pool, "scratch");
    for (int i = 0; i < SOME; i++) {
        h.at = 0;
        text key = hostile_key();
        falkor_value value = value_of(hostile());
        falkor_value map = map_of(1, &key, &value);
        falkor_result *result = serving_query(graph,
            "CREATE (s:S {n: $n}) SET s += $m RETURN s, 2",
            FALKOR_PARAMS({"m", map}, {"n", falkor_int(i)}));
        assert_int_equal(falkor_result_summary(result)->nodes_created, 1);
        const falkor_value *node = falkor_result_value(result, 0, 0);
        if (!same(&value, falkor_property(node, key.bytes)) ||
            node->as.node->properties.length != 2 ||
            falkor_property(node, "n")->as.integer != i) {
            show("key", key.bytes, key.length);
            show_value("node", node);
            fail();
        }
        falkor_result_free(result);
    }
    assert_int_equal(serving_integer(graph, "MATCH (s) RETURN count(s)", NULL),
                     SOME);
    serving_drop(pool, graph, "scratch");
    watch_end(&on, (const char *[]){"graph.QUERY", "graph.DELETE", NULL});
}

static void test_injection_graph_names(void **state) {
    static uint64_t used[SOME];
    falkor_error error;
    int made = 0;
    (void)state;
    watch on = watch_begin();
    for (int i = 0; i < SOME; i++) {
        h.at = 0;
        text name = hostile();
        bool again = false;
        used[i] = UINT64_C(14695981039346656037);
        hash_add(&used[i], name.bytes, name.length);
        for (int n = 0; n < i; n++)
            again = again || used[n] == used[i];
        if (again)
            continue;
        falkor_graph *graph = falkor_select_graph(pool, name.bytes);
        if (name.length == 0) {
            assert_null(graph);
            continue;
        }
        assert_memory_equal(falkor_graph_name(graph), name.bytes,
                            name.length + 1);
        serving_run(graph, "CREATE (:Here)");
        only_graphs((text[]){{"canary", 6}, name}, 2);
        assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)",
                                         NULL), 1);
        falkor_command(pool, NULL, 2, (const char *[]){"GRAPH.DELETE",
            name.bytes}, NULL, NULL, &error);
        serving_ok(&error);
        falkor_graph_free(graph);
        only_canary();
        made++;
    }
    assert_int_equal(commands_since(&on.before, "graph.DELETE"), made);
    assert_true(commands_since(&on.before, "graph.QUERY") >= 2 * made);
    watch_end(&on, (const char *[]){"graph.QUERY", "graph.DELETE", NULL});
}

/* ---- commands --------------------------------------------------------- */

/* Asked after something that may have lost its step. */
static void in_step(void) {
    falkor_error error;
    falkor_result *result;
    char token[32];
    snprintf(token, sizeof token, "%" PRIu64, test_random(&h.random));
    falkor_command(pool, NULL, 2, (const char *[]){"ECHO", token}, NULL,
                   &result, &error);
    serving_ok(&error);
    assert_string_equal(falkor_result_value(result, 0, 0)->as.string, token);
    falkor_result_free(result);
}

static void test_injection_command_arguments(void **state) {
    falkor_error error;
    (void)state;
    watch on = watch_begin();
    for (int i = 0; i < 10 * SOME; i++) {
        h.at = 0;
        text t = hostile();
        falkor_result *result;
        char *bytes = take(t.length + 1);
        memcpy(bytes, t.bytes, t.length + 1);
        if (t.length && below(4) == 0)  /* here a NUL can travel */
            bytes[below((int)t.length)] = '\0';
        falkor_command(pool, &(falkor_call_options){.timeout_ms = CALL_MS}, 2,
            (const char *[]){"ECHO", bytes}, (size_t[]){4, t.length}, &result,
            &error);
        serving_ok(&error);
        falkor_value sent = falkor_string_n(bytes, t.length);
        if (!same(&sent, falkor_result_value(result, 0, 0))) {
            show("argument", bytes, t.length);
            fail();
        }
        falkor_result_free(result);
        if (below(4))
            continue;
        /* As the command's own name: it is no command. */
        bytes[0] = '_';
        size_t length = t.length ? t.length : 1;
        assert_int_equal(falkor_command(pool, NULL, 1, (const char *[]){bytes},
            &length, &result, &error), FALKOR_ERR_QUERY);
        test_assert_has(error.message, "unknown command");
        assert_null(result);
        in_step();
    }
    watch_end(&on, (const char *[]){"echo", NULL});
}

/* ---- the greeting ----------------------------------------------------- */

/* A pool of one for these options: the status of its creation or opening. */
static falkor_status greet(const falkor_options *options, falkor_pool **made,
                           falkor_error *error) {
    falkor_status status = falkor_pool_create(options, made, error);
    if (!status)
        status = falkor_pool_open(*made, error);
    if (status) {
        falkor_pool_free(*made);
        *made = NULL;
    }
    return status;
}

static falkor_options greeting_options(void) {
    falkor_options options = serving_options(server.port);
    options.min_size = options.max_size = 1;
    options.max_retries = -1;
    options.health_check_interval_ms = -1;
    return options;
}

static void test_injection_client_name(void **state) {
    int taken = 0, refused = 0;
    (void)state;
    watch on = watch_begin();
    for (int i = 0; i < 600; i++) {
        h.at = 0;
        text t = i < 255 ? (text){take(2), 1} : hostile();
        if (i < 255)
            memcpy((char *)(uintptr_t)t.bytes, (char[]){(char)(i + 1), 0}, 2);
        falkor_options options = greeting_options();
        falkor_pool *own;
        falkor_error error;
        options.client_name = t.bytes;
        falkor_status status = greet(&options, &own, &error);
        bool word = true;
        for (size_t n = 0; n < t.length; n++)
            word = word && t.bytes[n] > ' ' && t.bytes[n] <= '~';
        if (status != (word ? FALKOR_OK : FALKOR_ERR_ARGUMENT)) {
            show("client_name", t.bytes, t.length);
            fail_msg("%s: %s", falkor_status_name(status), error.message);
        }
        refused += !word;
        if (!word)
            continue;
        falkor_result *result;
        falkor_command(own, NULL, 2, (const char *[]){"CLIENT", "GETNAME"},
                       NULL, &result, &error);
        serving_ok(&error);
        const falkor_value *name = falkor_result_value(result, 0, 0);
        if (t.length)
            assert_string_equal(name->as.string, t.bytes);
        else
            assert_int_equal(name->type, FALKOR_NULL);
        falkor_result_free(result);
        falkor_pool_free(own);
        taken++;
    }
    printf("%d names taken, %d refused\n", taken, refused);
    assert_true(taken >= 50 && refused >= 50);
    watch_end(&on, (const char *[]){"client|getname", "client|setname", NULL});
}

/* As a URL has it: every byte escaped. */
static const char *escaped(text t) {
    char *to = take(3 * t.length + 1), *at = to;
    for (size_t i = 0; i < t.length; i++)
        at += sprintf(at, "%%%02x", (unsigned)(unsigned char)t.bytes[i]);
    *at = '\0';
    return to;
}

/* The password is the user's, whatever is in it; the same with a byte more is
   not. */
static void log_in(text password, bool by_url) {
    falkor_options options = greeting_options();
    falkor_pool *own;
    falkor_error error;
    char *argument = take(password.length + 3), *url;
    sprintf(argument, ">%s", password.bytes);
    falkor_command(pool, NULL, 8, (const char *[]){"ACL", "SETUSER", "ada",
        "reset", "on", argument, "~*", "+@all"}, NULL, NULL, &error);
    serving_ok(&error);
    options.username = "ada";
    options.password = password.bytes;
    if (by_url) {
        const char *word = escaped(password);
        url = take(strlen(word) + 64);
        sprintf(url, "falkor://ada:%s@127.0.0.1:%d", word, server.port);
        options.url = url;
        options.host = options.username = options.password = NULL;
        options.port = 0;
    }
    if (greet(&options, &own, &error)) {
        show("password", password.bytes, password.length);
        fail_msg("%s: %s", falkor_status_name(error.status), error.message);
    }
    falkor_pool_free(own);
    options = greeting_options();
    options.username = "ada";
    options.password = strcat(argument, "x") + 1;
    assert_int_equal(greet(&options, &own, &error), FALKOR_ERR_AUTH);
    if (password.length > 8)
        test_assert_lacks(error.message, options.password);
}

static void test_injection_password(void **state) {
    (void)state;
    watch on = watch_begin();
    for (int i = 0; i < SOME; i++) {
        h.at = 0;
        text password = hostile_word();
        if (password.length)
            log_in(password, i % 2);
    }
    falkor_command(pool, NULL, 3, (const char *[]){"ACL", "DELUSER", "ada"},
                   NULL, NULL, NULL);
    watch_end(&on, (const char *[]){"acl|setuser", "acl|deluser", "auth",
                                    NULL});
}

/* Nobody is called so: the login fails, and nothing else happens. */
static void test_injection_username(void **state) {
    (void)state;
    watch on = watch_begin();
    for (int i = 0; i < SOME; i++) {
        h.at = 0;
        falkor_options options = greeting_options();
        falkor_pool *own;
        falkor_error error;
        text user = hostile_word(), password = hostile();
        char *name = take(user.length + 2);
        sprintf(name, "%s%%", user.bytes);
        options.username = name;
        options.password = password.bytes;
        falkor_status status = greet(&options, &own, &error);
        if (status != FALKOR_ERR_AUTH) {
            show("user", name, strlen(name));
            show("password", password.bytes, password.length);
            fail_msg("%s: %s", falkor_status_name(status), error.message);
        }
        assert_int_equal(error.attempts, 1);
    }
    watch_end(&on, (const char *[]){"auth", NULL});
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_injection_values_keys_and_names),
    cmocka_unit_test(test_injection_nul_is_refused),
    cmocka_unit_test(test_injection_property_keys),
    cmocka_unit_test(test_injection_graph_names),
    cmocka_unit_test(test_injection_command_arguments),
    cmocka_unit_test(test_injection_client_name),
    cmocka_unit_test(test_injection_password),
    cmocka_unit_test(test_injection_username))
