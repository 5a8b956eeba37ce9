/* Values on their way in: everything that can travel comes back as it was
   sent, everything that cannot is refused before a byte leaves, and nothing
   changes the query. Against a real server of its own. */
#include "serving.h"
#include <float.h>
#include <math.h>

#define WANTED (TEST_SANITIZED ? 20000 : 100000)

static serving server;
static falkor_pool *pool;

static int begin(void **state) {
    (void)state;
    serving_start(&server, NULL);
    falkor_options options = serving_options(server.port);
    options.min_size = -1;
    options.health_check_interval_ms = -1;
    pool = serving_pool(&options);
    return 0;
}

static int end(void **state) {
    (void)state;
    falkor_pool_free(pool);
    serving_stop(&server);
    return 0;
}

/* ---- random values ---------------------------------------------------- */

/* Where one query's values live. */
typedef struct heap {
    char *bytes;
    size_t at, size;
    uint64_t random;
} heap;

static void *take(heap *h, size_t size) {
    size = (size + 15) & ~(size_t)15;
    assert_true(h->size - h->at >= size);
    h->at += size;
    return h->bytes + h->at - size;
}

/* Pieces that mean something in a query. */
static const char *const sharp[] = {"\"", "'", "\\", "\\\"", "\\'", "`", "$",
    "$p0", "//", "/*", "*/", "\n", "\r\n", ";", "}", "{", "]", "[", ")", "(",
    "CYPHER ", "CYPHER x=1 ", " RETURN 1", ",", "=", ":", "\t", "\v", "\\u0041",
    "\\n", "\x7f", "\xff", "\xc3", "\xf0\x9f\x98\x80", "null", "--compact",
    "MATCH (n) DETACH DELETE n", "\\\\", "%s", "%n", "\"}) //", "\x01", "#",
    "\xe2\x80\xa8", "\xef\xbb\xbf", "'--", "\\x"};
#define SHARP (int)(sizeof sharp / sizeof *sharp)

/* Text of all bytes but NUL; without the byte that a name cannot have. */
static char *random_text(heap *h, int most, char without, size_t *length) {
    size_t wanted = (size_t)test_below(&h->random, most + 1), at = 0;
    bool wild = test_chance(&h->random, 2);
    char *text = take(h, wanted + 64 + 32);
    while (at < wanted) {
        const char *piece = sharp[test_below(&h->random, SHARP)];
        if (wild) {
            text[at++] = (char)(1 + test_below(&h->random, 255));
        } else {
            memcpy(text + at, piece, strlen(piece));
            at += strlen(piece);
        }
    }
    for (size_t i = 0; without && i < at; i++)
        if (text[i] == without)
            text[i] = '_';
    text[at] = '\0';
    *length = at;
    return text;
}

/* A name that no other has: the number is what stands behind the last _. */
static const char *random_name(heap *h, int number) {
    size_t length;
    char *text = random_text(h, 12, '`', &length);
    snprintf(text + length, 16, "_%d", number);
    return text;
}

static int64_t random_integer(heap *h) {
    static const int64_t edges[] = {0, -1, 1, INT64_MAX, INT64_MIN,
        INT64_MIN + 1, INT32_MAX, INT32_MIN, (int64_t)1 << 53};
    if (test_chance(&h->random, 4))
        return edges[test_below(&h->random, 9)];
    return (int64_t)(test_random(&h->random) >> test_below(&h->random, 64));
}

/* Any finite one: half of them all bit patterns, half of ordinary size. */
static double random_double(heap *h) {
    static const double edges[] = {0, -0.0, 1, 0.1, 1e15, 123456789012345678.0,
        DBL_MIN, DBL_MAX, -DBL_MAX, DBL_EPSILON, 5e-324, 2.5, 1e22, 1e23};
    double real;
    if (test_chance(&h->random, 8))
        return edges[test_below(&h->random, 14)];
    do {
        uint64_t bits = test_random(&h->random);
        memcpy(&real, &bits, sizeof real);
        if (test_chance(&h->random, 2))
            real = ldexp((double)(int64_t)bits, -test_below(&h->random, 80));
    } while (!isfinite(real));
    return real;
}

static falkor_value random_value(heap *h, int depth);

static falkor_value random_array(heap *h, int depth) {
    size_t count = (size_t)test_below(&h->random, 5);
    falkor_value *items = take(h, (count + 1) * sizeof *items);
    for (size_t i = 0; i < count; i++)
        items[i] = random_value(h, depth + 1);
    return falkor_array(items, count);
}

static falkor_value random_map(heap *h, int depth) {
    size_t count = (size_t)test_below(&h->random, 5);
    falkor_entry *entries = take(h, (count + 1) * sizeof *entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (falkor_entry){random_name(h, (int)i),
                                    random_value(h, depth + 1)};
    return falkor_map(entries, count);
}

/* Containers most often where there is still room for them. */
static falkor_value random_value(heap *h, int depth) {
    size_t length;
    const char *text;
    switch (test_below(&h->random, depth < 5 ? 8 : 5)) {
    case 0:
        return falkor_null();
    case 1:
        return falkor_bool(test_chance(&h->random, 2));
    case 2:
        return falkor_int(random_integer(h));
    case 3:
        return falkor_double(random_double(h));
    case 4:
        text = random_text(h, test_chance(&h->random, 50) ? 3000 : 40, 0,
                           &length);
        return falkor_string_n(text, length);
    case 5: case 6:
        return random_map(h, depth);
    default:
        return random_array(h, depth);
    }
}

/* ---- what came back --------------------------------------------------- */

/* The server prints 15 digits. */
static bool same_printed(double sent, double got) {
    char text[40];
    snprintf(text, sizeof text, "%.15g", sent);
    double printed = strtod(text, NULL);
    if (isinf(printed))                 /* 15 digits of DBL_MAX round up */
        printed = copysign(DBL_MAX, sent);
    return got == printed && !signbit(got) == !signbit(sent);
}

static int depth_of(const falkor_value *value) {
    int most = 0;
    for (uint32_t i = 0; i < value->length; i++) {
        int inner = value->type == FALKOR_ARRAY
            ? depth_of(&value->as.items[i])
            : value->type == FALKOR_MAP
            ? depth_of(&value->as.entries[i].value) : 0;
        most = inner > most ? inner : most;
    }
    return most + 1;
}

static bool same(const falkor_value *sent, const falkor_value *got) {
    if (!got || sent->type != got->type || sent->length != got->length)
        return false;
    switch (sent->type) {
    case FALKOR_NULL:
        return got->as.integer == 0;
    case FALKOR_BOOLEAN:
        return sent->as.boolean == got->as.boolean;
    case FALKOR_INTEGER:
        return sent->as.integer == got->as.integer;
    case FALKOR_DOUBLE:
        return same_printed(sent->as.real, got->as.real);
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

static bool collect(void *ctx, const char *bytes, size_t length) {
    (void)ctx;
    fwrite(bytes, 1, length, stdout);
    return true;
}

static void show(const char *what, const falkor_value *value) {
    printf("%s: ", what);
    falkor_value_write_json(value, collect, NULL);
    printf("\n");
}

/* ---- the round trip --------------------------------------------------- */

#define MOST 100                        /* parameters of one query */

/* One query's parameters and its text. A double is a whole number times a
   power of two, both sent beside it; the server compares with all its bits. */
typedef struct trip {
    heap heap;
    falkor_param params[3 * MOST + 1];
    size_t count, all;
    char text[MOST * 400];
} trip;

static void add_double(trip *t, size_t i, size_t *at, const char *name) {
    char *whole = take(&t->heap, 32), *power = take(&t->heap, 32);
    int exponent;
    double real = t->params[i].value.as.real;
    double mantissa = ldexp(frexp(real, &exponent), 53);
    exponent -= 53;
    for (; exponent < -1074; exponent++)        /* exact: few bits are left */
        mantissa /= 2;
    snprintf(whole, 32, "m%zu", i);
    snprintf(power, 32, "e%zu", i);
    t->params[t->all++] = (falkor_param){whole,
                                         falkor_int((int64_t)mantissa)};
    t->params[t->all++] = (falkor_param){power, falkor_int(exponent)};
    *at += (size_t)sprintf(t->text + *at, ", $`%s` = toFloat($%s) * 2.0 ^ $%s "
                           "AS x%zu", name, whole, power, i);
}

static void make_trip(trip *t) {
    size_t at = 0;
    t->heap.at = 0;
    t->count = t->all = 1 + (size_t)test_below(&t->heap.random, MOST);
    for (size_t i = 0; i < t->count; i++)
        t->params[i] = (falkor_param){random_name(&t->heap, (int)i),
                                      random_value(&t->heap, 1)};
    at = (size_t)sprintf(t->text, "RETURN 0 AS c");
    for (size_t i = 0; i < t->count; i++) {
        const char *name = t->params[i].name;
        at += (size_t)sprintf(t->text + at, ", $`%s` AS c%zu", name, i);
        if (t->params[i].value.type == FALKOR_DOUBLE)
            add_double(t, i, &at, name);
    }
    t->params[t->all] = (falkor_param){0};
}

static void check_trip(const trip *t, const falkor_result *result,
                       int counts[][8]) {
    assert_int_equal(falkor_result_rows(result), 1);
    for (size_t i = 0; i < t->count; i++) {
        const falkor_value *sent = &t->params[i].value;
        char name[24];
        snprintf(name, sizeof name, "c%zu", i);
        const falkor_value *got = falkor_result_get(result, 0, name);
        if (!same(sent, got)) {
            show("sent", sent);
            show("got ", got);
            fail_msg("parameter %zu is not what was sent", i);
        }
        if (sent->type == FALKOR_DOUBLE) {
            snprintf(name, sizeof name, "x%zu", i);
            const falkor_value *exact = falkor_result_get(result, 0, name);
            if (!exact || exact->type != FALKOR_BOOLEAN || !exact->as.boolean)
                fail_msg("%.17g arrived as another double", sent->as.real);
        }
        counts[sent->type][0]++;
        counts[sent->type][depth_of(sent)]++;
    }
}

static void test_parameters_round_trip(void **state) {
    static trip t;
    static int counts[FALKOR_MAP + 1][8];
    int done = 0, queries = 0;
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "trip");
    t.heap = (heap){.bytes = malloc(64 << 20), .size = 64 << 20,
                    .random = test_seed()};
    assert_non_null(t.heap.bytes);
    for (; done < WANTED; queries++) {
        make_trip(&t);
        falkor_result *result = serving_query(graph, t.text, t.params);
        check_trip(&t, result, counts);
        falkor_result_free(result);
        done += (int)t.count;
    }
    printf("%d parameters in %d queries:", done, queries);
    for (int type = 1; type <= FALKOR_MAP; type++)
        if (counts[type][0])
            printf(" %s %d", falkor_type_name((falkor_type)type),
                   counts[type][0]);
    printf("; containers by depth:");
    for (int depth = 1; depth <= 6; depth++)
        printf(" %d", counts[FALKOR_MAP][depth] +
                      counts[FALKOR_ARRAY][depth]);
    printf("\n");
    assert_true(counts[FALKOR_MAP][5] > 100 && counts[FALKOR_DOUBLE][0] > 1000);
    free(t.heap.bytes);
    serving_drop(pool, graph, "trip");
}

/* Doubles alone: the edges, powers of two, and decimals, with neighbours. */
static void exact(falkor_graph *graph, double real) {
    int exponent;
    double mantissa = ldexp(frexp(real, &exponent), 53);
    exponent -= 53;
    for (; exponent < -1074; exponent++)
        mantissa /= 2;
    falkor_result *result = serving_query(graph,
        "RETURN $d = toFloat($m) * 2.0 ^ $e, $d, 1 / $d < 0",
        FALKOR_PARAMS({"d", falkor_double(real)},
                      {"m", falkor_int((int64_t)mantissa)},
                      {"e", falkor_int(exponent)}));
    const falkor_value *equal = falkor_result_value(result, 0, 0);
    const falkor_value *back = falkor_result_value(result, 0, 1);
    const falkor_value *minus = falkor_result_value(result, 0, 2);
    if (equal->type != FALKOR_BOOLEAN || !equal->as.boolean)
        fail_msg("%.17g arrived as another double", real);
    assert_int_equal(back->type, FALKOR_DOUBLE);
    if (!same_printed(real, back->as.real))
        fail_msg("%.17g came back as %.17g", real, back->as.real);
    assert_int_equal(minus->as.boolean, signbit(real) != 0);
    falkor_result_free(result);
}

static void test_parameters_doubles_are_exact(void **state) {
    static const double edges[] = {0.0, 0.1, 1.0 / 3, 0.1 + 0.2, 5e-324,
        DBL_MIN, 2.2250738585072009e-308, DBL_MAX, 1.7976931348623155e308,
        9007199254740993.0, 123456789012345678.0, 1e22, 1e23, 4.35, 2.675,
        1e-6, 5e-7, 8999999999.999999, 9e9, 9e9 + 0.5};
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "doubles");
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        exact(graph, edges[i]);
        exact(graph, -edges[i]);
    }
    for (int e = -1074; e <= 1023; e += 7) {
        double real = ldexp(1, e);
        exact(graph, real);
        exact(graph, nextafter(real, 0));
        exact(graph, -nextafter(real, HUGE_VAL));
    }
    for (double whole = 1; whole < 2e16; whole = floor(whole * 1.7) + 1) {
        double real = whole / 1e6;
        exact(graph, real);
        exact(graph, nextafter(real, 0));
        exact(graph, -nextafter(real, HUGE_VAL));
    }
    serving_drop(pool, graph, "doubles");
}

/* A decimal comma changes nothing, in either direction. */
static void test_parameters_in_any_locale(void **state) {
    falkor_point point = {.latitude = 1.25, .longitude = -2.5};
    float floats[] = {0.5f, -1.25f};
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "comma");
    serving_comma();
    falkor_result *result = serving_query(graph,
        "RETURN $d + 0.25, $l, point($p), vecf32($v), $d = 3.0 / 2, 1e-7, "
        "$many",
        FALKOR_PARAMS({"d", falkor_double(1.5)},
            {"l", FALKOR_ARRAY_OF(falkor_double(1.5), falkor_double(2))},
            {"p", {.type = FALKOR_POINT, .as.point = &point}},
            {"v", falkor_vectorf32(floats, 2)},
            {"many", falkor_double(0.0009765625)}));
    serving_comma_back();
    const falkor_value *list = falkor_result_value(result, 0, 1);
    const falkor_value *place = falkor_result_value(result, 0, 2);
    const falkor_value *vector = falkor_result_value(result, 0, 3);
    assert_true(falkor_result_value(result, 0, 0)->as.real == 1.75);
    assert_int_equal(list->length, 2);
    assert_true(list->as.items[0].as.real == 1.5);
    assert_int_equal(list->as.items[1].type, FALKOR_DOUBLE);
    assert_int_equal(place->type, FALKOR_POINT);
    assert_true(place->as.point->latitude == 1.25 &&
                place->as.point->longitude == -2.5);
    assert_int_equal(vector->type, FALKOR_VECTORF32);
    assert_true(vector->as.vector[0] == 0.5f && vector->as.vector[1] == -1.25f);
    assert_true(falkor_result_value(result, 0, 4)->as.boolean);
    assert_true(falkor_result_value(result, 0, 5)->as.real == 1e-7);
    assert_true(falkor_result_value(result, 0, 6)->as.real == 0.0009765625);
    falkor_result_free(result);
    serving_drop(pool, graph, "comma");
}

/* ---- what cannot travel ----------------------------------------------- */

static falkor_value typed(falkor_type type) {
    return (falkor_value){.type = type};
}

/* The pool and the server see nothing of it. */
static void refused(falkor_graph *graph, const char *name, falkor_value value,
                    const char *why) {
    falkor_error error;
    falkor_result *result = (falkor_result *)&error;
    falkor_stats before, after;
    falkor_param params[] = {{"good", falkor_int(1)}, {name, value}, {0}};
    falkor_pool_stats(pool, &before);
    falkor_status status = falkor_query(graph, "CREATE (:Never)", params,
                                        &result, &error);
    falkor_pool_stats(pool, &after);
    if (status != FALKOR_ERR_ARGUMENT)
        fail_msg("%s: %s: %s", why, falkor_status_name(status), error.message);
    assert_null(result);
    assert_int_equal(error.attempts, 0);
    assert_false(error.maybe_executed);
    assert_int_equal(before.acquires, after.acquires);
    test_assert_has(error.message, why);
    test_assert_has(error.message, name);
}

static falkor_value nested(falkor_value *room, falkor_entry *entries,
                           int depth, bool map) {
    falkor_value value = falkor_int(1);
    for (int i = 1; i < depth; i++) {
        room[i] = value;
        entries[i] = (falkor_entry){"a", value};
        value = map ? falkor_map(&entries[i], 1) : falkor_array(&room[i], 1);
    }
    return value;
}

static void refuse_doubles(falkor_graph *graph) {
    double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (int i = 0; i < 3; i++) {
        float floats[] = {1, (float)bad[i]};
        falkor_point south = {.latitude = bad[i]}, east = {.longitude = bad[i]};
        const char *why = i == 0 ? "NaN" : "infinity";
        falkor_value value = falkor_double(bad[i]);
        falkor_entry entry = {"k", value};
        refused(graph, "p", value, why);
        refused(graph, "p", falkor_array(&value, 1), why);
        refused(graph, "p", falkor_map(&entry, 1), why);
        refused(graph, "p", falkor_vectorf32(floats, 2), why);
        refused(graph, "p", (falkor_value){.type = FALKOR_POINT,
                                           .as.point = &south}, why);
        refused(graph, "p", (falkor_value){.type = FALKOR_POINT,
                                           .as.point = &east}, why);
    }
}

static void refuse_names(falkor_graph *graph) {
    falkor_entry tick = {"a`b", falkor_int(1)}, empty = {"", falkor_int(1)},
        null = {NULL, falkor_int(1)};
    falkor_value inner = falkor_map(&tick, 1);
    refused(graph, "p", falkor_map(&tick, 1), "backtick");
    refused(graph, "p", falkor_array(&inner, 1), "backtick");
    refused(graph, "p", falkor_map(&empty, 1), "empty");
    refused(graph, "p", falkor_map(&null, 1), "NULL");
    refused(graph, "p`=1 MATCH (n) DELETE n //", falkor_int(1), "backtick");
    refused(graph, "", falkor_int(1), "empty");
}

static void refuse_types(falkor_graph *graph) {
    falkor_result *result = serving_query(graph,
        "CREATE (a:A)-[e:R]->(b:B) RETURN a, e", NULL);
    refused(graph, "p", *falkor_result_value(result, 0, 0), "node");
    refused(graph, "p", *falkor_result_value(result, 0, 1), "edge");
    falkor_result_free(result);
    result = serving_query(graph, "MATCH p = (:A)-->(:B) RETURN p, [p]", NULL);
    refused(graph, "p", *falkor_result_value(result, 0, 0), "path");
    refused(graph, "p", *falkor_result_value(result, 0, 1), "path");
    falkor_result_free(result);
    refused(graph, "p", typed(FALKOR_UNKNOWN), "not a value");
    refused(graph, "p", typed(FALKOR_ERROR_REPLY), "not a value");
    refused(graph, "p", typed((falkor_type)77), "not a value");
    refused(graph, "p", typed(FALKOR_POINT), "NULL");
    refused(graph, "p", (falkor_value){.type = FALKOR_ARRAY, .length = 3},
            "NULL");
    refused(graph, "p", (falkor_value){.type = FALKOR_STRING, .length = 3},
            "NULL");
}

static void test_parameters_that_cannot_travel(void **state) {
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "refused");
    falkor_value with_nul = falkor_string_n("a\0b", 3);
    falkor_entry entry = {"k", with_nul};
    refuse_types(graph);
    long long calls = serving_calls(server.port, "graph.QUERY");
    long long packets = serving_info(server.port, "stats",
                                     "total_connections_received");
    refused(graph, "p", with_nul, "NUL");
    refused(graph, "p", falkor_string_n("", 1), "NUL");
    refused(graph, "p", falkor_array(&with_nul, 1), "NUL");
    refused(graph, "p", falkor_map(&entry, 1), "NUL");
    /* Its bytes are not looked at: there are not so many. */
    refused(graph, "p", falkor_string_n("x", (size_t)UINT32_MAX + 1),
            "not a value");
    refused(graph, "p", falkor_array(&with_nul, SIZE_MAX), "not a value");
    refused(graph, "p", falkor_map(&entry, (size_t)1 << 40), "not a value");
    refuse_doubles(graph);
    refuse_names(graph);
    assert_int_equal(serving_calls(server.port, "graph.QUERY"), calls);
    /* Only our own looks were connections. */
    assert_int_equal(serving_info(server.port, "stats",
        "total_connections_received"), packets + 2);
    assert_int_equal(serving_integer(graph, "MATCH (n:Never) "
        "RETURN count(n)", NULL), 0);
    serving_drop(pool, graph, "refused");
}

/* A list so long that names are looked for in more than one way. */
static void test_parameters_named_twice(void **state) {
    enum { NAMES = 1000 };
    static char names[NAMES][16];
    static falkor_param params[NAMES + 2];
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "twice");
    for (int i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof names[i], "p%d", i);
        params[i] = (falkor_param){names[i], falkor_int(i)};
    }
    assert_int_equal(serving_integer(graph, "RETURN $p0 + $p1 + $p999",
                                     params), 1000);
    for (int i = 0; i < NAMES; i++) {
        falkor_error error;
        char name[16];
        strcpy(name, names[i]);         /* the same, elsewhere */
        params[NAMES] = (falkor_param){name, falkor_null()};
        assert_int_equal(falkor_query(graph, "CREATE (:Never)", params, NULL,
                                      &error), FALKOR_ERR_ARGUMENT);
        test_assert_has(error.message, "twice");
        test_assert_has(error.message, name);
    }
    assert_int_equal(serving_integer(graph, "MATCH (n:Never) "
        "RETURN count(n)", NULL), 0);
    serving_drop(pool, graph, "twice");
}

/* As deep as the library lets it, and how long the server takes to parse it:
   a limit that lets the server hang would be too high. */
static void test_parameters_nesting(void **state) {
    enum { DEEPEST = 3000 };
    static falkor_value room[DEEPEST];
    static falkor_entry entries[DEEPEST];
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "nesting");
    for (int map = 0; map < 2; map++) {
        falkor_error error = {0};
        falkor_result *result;
        int depth = 1;
        for (; depth < DEEPEST; depth += depth < 40 ? 1 : 37) {
            falkor_value value = nested(room, entries, depth, map);
            int64_t before = falkor_now_ns();
            if (falkor_query_with(graph,
                    &(falkor_call_options){.timeout_ms = 10000},
                    "RETURN $p", FALKOR_PARAMS({"p", value}), &result, &error))
                break;
            double took = (double)(falkor_now_ns() - before) / SERVING_MS;
            if (depth == 8 || depth == 12 || depth == 16 || depth == 18 ||
                depth == 32 || depth % 370 == 0)
                printf("%s nested %d deep: %.2f ms\n", map ? "maps" : "lists",
                       depth, took);
            assert_true(took < 2000);
            assert_true(same(&value, falkor_result_value(result, 0, 0)));
            falkor_result_free(result);
        }
        printf("%s are refused %d deep: %s\n", map ? "maps" : "lists", depth,
               error.message);
        assert_true(depth > 16 && depth < DEEPEST);
        assert_int_equal(error.status, FALKOR_ERR_ARGUMENT);
        refused(graph, "p", nested(room, entries, depth, map), "nested");
    }
    serving_drop(pool, graph, "nesting");
}

/* ---- out and in again ------------------------------------------------- */

static const falkor_value *cell(const falkor_result *result, size_t column) {
    const falkor_value *value = falkor_result_value(result, 0, column);
    assert_non_null(value);
    return value;
}

static void test_parameters_out_and_in_again(void **state) {
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "again");
    falkor_result *out = serving_query(graph,
        "CREATE (a:City {name: 'Ulm \"\\\\', n: 7, r: 0.5, ok: true, "
        "l: [1, ['x', 2.5]], at: point({latitude: 48.4, longitude: 9.99}), "
        "v: vecf32([0.1, -2.5, 3e10])}) RETURN a, a.at, a.v", NULL);
    const falkor_value *properties = &cell(out, 0)->as.node->properties;
    falkor_result *in = serving_query(graph,
        "MATCH (a:City) RETURN $all.name = a.name, $all.n = a.n, "
        "$all.r = a.r, $all.ok = a.ok, $all.l = a.l, "
        "distance(point($at), a.at) < 0.001, point($at) = a.at, "
        "vecf32($v) = a.v, vecf32($v), point($at)",
        FALKOR_PARAMS({"all", *properties}, {"at", *cell(out, 1)},
                      {"v", *cell(out, 2)}));
    for (size_t i = 0; i < 6; i++)
        if (!cell(in, i)->as.boolean)
            fail_msg("column %s", falkor_result_column(in, i));
    const falkor_value *vector = cell(in, 8);
    assert_int_equal(vector->type, FALKOR_VECTORF32);
    assert_int_equal(vector->length, 3);
    assert_memory_equal(vector->as.vector, cell(out, 2)->as.vector,
                        3 * sizeof(float));
    assert_int_equal(cell(in, 9)->type, FALKOR_POINT);
    assert_memory_equal(cell(in, 9)->as.point, cell(out, 1)->as.point,
                        sizeof(falkor_point));
    falkor_result_free(in);
    falkor_result_free(out);
    /* A map of properties makes a new node. */
    out = serving_query(graph, "CREATE (b:Copy) SET b = $m RETURN b.a, b.c",
        FALKOR_PARAMS({"m", FALKOR_MAP_OF({"a", falkor_int(1)},
                                          {"c", falkor_string("x")})}));
    assert_int_equal(cell(out, 0)->as.integer, 1);
    assert_string_equal(cell(out, 1)->as.string, "x");
    falkor_result_free(out);
    serving_drop(pool, graph, "again");
}

/* One temporal value: in as text, out as seconds, in again as it came. */
static void temporal_trip(falkor_graph *graph, falkor_type type,
                          int64_t seconds) {
    const char *function = type == FALKOR_DATETIME ? "localdatetime"
        : type == FALKOR_DATE ? "date" : type == FALKOR_TIME ? "localtime"
        : "duration";
    char text[64];
    snprintf(text, sizeof text, "RETURN %s($t)", function);
    falkor_value sent = {.type = type, .as.seconds = seconds};
    falkor_result *result = serving_query(graph, text,
                                          FALKOR_PARAMS({"t", sent}));
    const falkor_value *got = cell(result, 0);
    if (got->type != type || got->as.seconds != seconds)
        fail_msg("%s of %lld s came back as %s of %lld s", function,
                 (long long)seconds, falkor_type_name(got->type),
                 (long long)got->as.seconds);
    falkor_result_free(result);
}

#define DAY INT64_C(86400)

static void test_parameters_temporal(void **state) {
    uint64_t random = test_seed();
    (void)state;
    falkor_graph *graph = falkor_select_graph(pool, "temporal");
    for (int i = 0; i < 300; i++) {
        /* Years 1000 to 9999; -1 is what the server takes for a failure. */
        int64_t day = -354285 + test_below(&random, 3287181);
        int64_t second = test_below(&random, (int)DAY);
        if (day * DAY + second != -1)
            temporal_trip(graph, FALKOR_DATETIME, day * DAY + second);
        temporal_trip(graph, FALKOR_DATE, day * DAY);
        temporal_trip(graph, FALKOR_TIME, second);
        temporal_trip(graph, FALKOR_DURATION,
                      test_below(&random, 2000000000) - 1000000000);
    }
    temporal_trip(graph, FALKOR_DATETIME, 0);
    temporal_trip(graph, FALKOR_DATE, -DAY);
    temporal_trip(graph, FALKOR_DATE, 951782400);       /* 2000-02-29 */
    temporal_trip(graph, FALKOR_TIME, 0);
    temporal_trip(graph, FALKOR_TIME, DAY - 1);
    temporal_trip(graph, FALKOR_DURATION, 0);
    temporal_trip(graph, FALKOR_DURATION, -90061);
    serving_drop(pool, graph, "temporal");
}

/* ---- nothing changes the query ---------------------------------------- */

static const char *const attacks[] = {
    "\" MATCH (n) DETACH DELETE n //", "' MATCH (n) DETACH DELETE n //",
    "\\\" MATCH (n) DETACH DELETE n //", "x\" RETURN 1 //",
    "1 CYPHER y=2 RETURN 3", "\" y=\"2", "$x", "$`x`", "/* */ DELETE", "\\",
    "\\\\", "\\\\\"", "\"", "'", "\n//\n", "\r\n$3\r\nfoo\r\n",
    "*1\r\n$8\r\nFLUSHALL\r\n", "; FLUSHALL", "}) DETACH DELETE n //",
    "\"}) MATCH (n) DETACH DELETE n RETURN ({a:\"", "CYPHER", "CYPHER x=1",
    "\" TIMEOUT 1", "--compact", "\xff\" MATCH (n) DELETE n //\xc3",
    "\xe2\x80\x9d MATCH (n) DELETE n", "\\u0022 MATCH (n) DELETE n //"};
#define ATTACKS (int)(sizeof attacks / sizeof *attacks)

/* The text as value, inside a list, as value and as key of a map. (No function
   of the text: size() of one that is not UTF-8 hangs this server for ever.) */
static void attack(falkor_graph *graph, const char *text, size_t length,
                   const char *name) {
    falkor_value value = falkor_string_n(text, length);
    falkor_entry entry = {name, value};
    falkor_param params[] = {{"v", value}, {"l", falkor_array(&value, 1)},
        {"m", falkor_map(&entry, 1)}, {name, value}, {"z", falkor_int(9)},
        {0}};
    falkor_result *result = serving_query(graph,
        "MATCH (c:Canary) RETURN $v, $l, $m, c.song, $z", params);
    assert_int_equal(falkor_result_rows(result), 1);
    assert_int_equal(falkor_result_columns(result), 5);
    for (size_t i = 0; i < 3; i++)
        if (!same(&params[i].value, cell(result, i)))
            fail_msg("column %zu of \"%s\"", i, text);
    assert_string_equal(cell(result, 3)->as.string, "tweet");
    assert_int_equal(cell(result, 4)->as.integer, 9);
    falkor_result_free(result);
}

/* How many keys there are, but for the server's own telemetry, which it adds
   when it likes. */
static int keys_there(void) {
    const char *argv[] = {"KEYS", "*"};
    falkor_result *result;
    falkor_error error;
    int count = 0;
    falkor_command(pool, NULL, 2, argv, NULL, &result, &error);
    serving_ok(&error);
    const falkor_value *keys = cell(result, 0);
    for (uint32_t i = 0; i < keys->length; i++)
        count += strncmp(keys->as.items[i].as.string, "telemetry{", 10) != 0;
    falkor_result_free(result);
    return count;
}

static void test_parameters_never_change_the_query(void **state) {
    static heap h;
    (void)state;
    h = (heap){.bytes = malloc(1 << 20), .size = 1 << 20,
               .random = test_seed()};
    falkor_graph *graph = falkor_select_graph(pool, "canary");
    serving_run(graph, "CREATE (:Canary {song: 'tweet'})");
    int keys = keys_there();
    for (int i = 0; i < (TEST_SANITIZED ? 800 : 4000); i++) {
        size_t length, name_length;
        h.at = 0;
        char *text = i < ATTACKS ? take(&h, 128)
                                 : random_text(&h, 60, 0, &length);
        if (i < ATTACKS) {
            strcpy(text, attacks[i]);
            length = strlen(text);
        } else if (i % 3 == 0) {        /* a random begin, a known attack */
            strcat(text, attacks[test_below(&h.random, ATTACKS)]);
            length = strlen(text);
        }
        char *name = random_text(&h, 40, '`', &name_length);
        if (i % 2)                      /* a name that attacks too */
            strcpy(name, attacks[test_below(&h.random, ATTACKS)]);
        for (char *at = name; (at = strchr(at, '`')) != NULL;)
            *at = '_';
        if (!*name || strlen(name) == 1)
            strcpy(name, "plain");
        attack(graph, text, length, name);
    }
    assert_int_equal(serving_integer(graph, "MATCH (n) RETURN count(n)",
                                     NULL), 1);
    assert_int_equal(keys_there(), keys);
    assert_int_equal(serving_calls(server.port, "flushall"), 0);
    free(h.bytes);
    serving_drop(pool, graph, "canary");
}

TEST_MAIN_WITH(begin, end,
    cmocka_unit_test(test_parameters_round_trip),
    cmocka_unit_test(test_parameters_doubles_are_exact),
    cmocka_unit_test(test_parameters_in_any_locale),
    cmocka_unit_test(test_parameters_that_cannot_travel),
    cmocka_unit_test(test_parameters_named_twice),
    cmocka_unit_test(test_parameters_nesting),
    cmocka_unit_test(test_parameters_out_and_in_again),
    cmocka_unit_test(test_parameters_temporal),
    cmocka_unit_test(test_parameters_never_change_the_query))
