/* Values and results as JSON, and temporal values as text. No server. */
#include "../internal.h"
#include "serving.h"
#include <cjson/cJSON.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

typedef struct sink { char *text; size_t length, calls, most; } sink;

static bool collect(void *ctx, const char *bytes, size_t length) {
    sink *all = ctx;
    if (++all->calls > all->most)
        return false;
    char *more = realloc(all->text, all->length + length + 1);
    if (!more)
        return false;
    memcpy(more + all->length, bytes, length);
    all->text = more;
    all->length += length;
    all->text[all->length] = '\0';
    return true;
}

/* The JSON of a value; the caller frees it. */
static char *json_of(const falkor_value *value) {
    sink all = {.most = SIZE_MAX};
    assert_int_equal(falkor_value_write_json(value, collect, &all),
                     FALKOR_OK);
    assert_non_null(all.text);
    assert_int_equal(strlen(all.text), all.length);
    return all.text;
}

static void expect(falkor_value value, const char *expected) {
    char *text = json_of(&value);
    if (strcmp(text, expected) != 0)
        fail_msg("%s, not %s", text, expected);
    free(text);
}

static void expect_bytes(const char *bytes, size_t length,
                          const char *expected) {
    expect(falkor_string_n(bytes, length), expected);
}

static falkor_value temporal(falkor_type type, int64_t seconds) {
    return (falkor_value){.type = type, .as.seconds = seconds};
}

/* ---- scalars ---------------------------------------------------------- */

static void test_json_scalars(void **state) {
    (void)state;
    char *text = json_of(NULL);
    assert_string_equal(text, "null");
    free(text);
    expect((falkor_value){.type = FALKOR_NULL}, "null");
    expect((falkor_value){.type = FALKOR_UNKNOWN}, "null");
    expect(falkor_bool(true), "true");
    expect(falkor_bool(false), "false");
    expect(falkor_int(0), "0");
    expect(falkor_int(INT64_MAX), "9223372036854775807");
    expect(falkor_int(INT64_MIN), "-9223372036854775808");
    falkor_value failed = falkor_string("ERR \"no\"");
    failed.type = FALKOR_ERROR_REPLY;
    expect(failed, "{\"error\":\"ERR \\\"no\\\"\"}");
}

static void test_json_strings(void **state) {
    (void)state;
    expect_bytes("", 0, "\"\"");
    expect_bytes("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    expect_bytes("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
    expect_bytes("\0a\x1f\x7f", 4, "\"\\u0000a\\u001f\x7f\"");
    expect_bytes("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10,
                 "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    char long_text[10002], *text;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[10001] = '\0';
    falkor_value value = falkor_string(long_text);
    text = json_of(&value);
    assert_int_equal(strlen(text), 10003);
    assert_memory_equal(text + 1, long_text, 10001);
    free(text);
}

/* The standard's own table of maximal subparts, and the corners of UTF-8. */
static void test_json_replaces_what_is_not_utf8(void **state) {
    (void)state;
#define R "\xef\xbf\xbd"
    expect_bytes("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", 9,
                 "\"" R R R R R R R R "A\"");
    expect_bytes("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", 9,
                 "\"" R R R R R R R R "A\"");
    expect_bytes("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", 9,
                 "\"" R R R R R "A" R R "B\"");
    expect_bytes("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", 9,
                 "\"" R R R R "A\"");
    expect_bytes("a\xe2\x82", 3, "\"a" R "\"");
    expect_bytes("\xf0\x9f\x98", 3, "\"" R "\"");
    expect_bytes("\xe2\x82\"", 3, "\"" R "\\\"\"");
    expect_bytes("\xf4\x8f\xbf\xbf\xf4\x90\x80\x80", 8,
                 "\"\xf4\x8f\xbf\xbf" R R R R "\"");
    expect_bytes("\xed\x9f\xbf\xee\x80\x80\xdf\xbf\xc2\x80", 10,
                 "\"\xed\x9f\xbf\xee\x80\x80\xdf\xbf\xc2\x80\"");
#undef R
}

static void test_json_doubles(void **state) {
    (void)state;
    static const struct { double real; const char *text; } rows[] = {
        {0.0, "0"}, {-0.0, "-0.0"}, {1.0, "1"}, {-2.5, "-2.5"}, {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"}, {1.0 / 3, "0.3333333333333333"},
        {1e22, "1e+22"}, {1e-7, "1e-07"}, {123456789012.0, "123456789012"},
        {DBL_MAX, "1.7976931348623157e+308"}, {5e-324, "5e-324"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {9007199254740993.0, "9007199254740992"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(falkor_double(rows[i].real), rows[i].text);
    expect(falkor_double(NAN), "\"NaN\"");
    expect(falkor_double(INFINITY), "\"Infinity\"");
    expect(falkor_double(-INFINITY), "\"-Infinity\"");
}

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static uint64_t first_seed(void) {
    const char *given = getenv("FALKOR_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    seed |= 1;
    print_message("FALKOR_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

static void test_json_every_double_reads_back(void **state) {
    (void)state;
    uint64_t seed = first_seed();
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = next_random(&seed);
        double real, back;
        memcpy(&real, &bits, sizeof real);
        if (!isfinite(real))
            continue;
        falkor_value value = falkor_double(real);
        char *text = json_of(&value);
        back = strtod(text, NULL);
        assert_memory_equal(&back, &real, sizeof real);
        cJSON *parsed = cJSON_Parse(text);
        assert_true(cJSON_IsNumber(parsed));
        cJSON_Delete(parsed);
        free(text);
    }
}

static void test_json_vectors(void **state) {
    (void)state;
    float floats[] = {0.1f, 1.0f, -0.0f, 16777216.0f, 1e-45f, 3.4028235e38f,
                      NAN, INFINITY, 0.3333333f};
    expect(falkor_vectorf32(floats, 9), "[0.1,1,-0.0,16777216,1e-45,"
           "3.4028235e+38,\"NaN\",\"Infinity\",0.3333333]");
    expect(falkor_vectorf32(floats, 0), "[]");
    uint64_t seed = first_seed();
    for (int i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)next_random(&seed);
        float one, back;
        memcpy(&one, &bits, sizeof one);
        if (!isfinite(one))
            continue;
        falkor_value value = falkor_vectorf32(&one, 1);
        char *text = json_of(&value);
        back = strtof(text + 1, NULL);
        assert_memory_equal(&back, &one, sizeof one);
        assert_true(strlen(text) <= 17);
        free(text);
    }
}

static void test_json_in_any_locale(void **state) {
    (void)state;
    serving_comma();
    char text[8];
    snprintf(text, sizeof text, "%.1f", 1.5);
    assert_string_equal(text, "1,5");
    expect(falkor_double(1.5), "1.5");
    expect(falkor_double(-1.5e300), "-1.5e+300");
    expect(falkor_double(1e300), "1e+300");
    expect(falkor_double(0.1 + 0.2), "0.30000000000000004");
    falkor_options options = {.url = "falkor://h?pool_timeout=1.5"};
    falkor__config config;
    assert_int_equal(falkor__config_make(&options, &config, NULL), FALKOR_OK);
    assert_int_equal(config.pool_timeout_ms, 1500);
    falkor__config_free(&config);
    serving_comma_back();
}

static void test_json_points(void **state) {
    (void)state;
    falkor_point point = {.latitude = 32.5, .longitude = -0.25};
    expect((falkor_value){.type = FALKOR_POINT, .as.point = &point},
           "{\"latitude\":32.5,\"longitude\":-0.25}");
}

/* ---- temporal values -------------------------------------------------- */

static void test_json_temporal(void **state) {
    (void)state;
    static const struct { falkor_type type; int64_t seconds;
                          const char *text; } rows[] = {
        {FALKOR_DATETIME, 1706702400, "2024-01-31T12:00:00"},
        {FALKOR_DATETIME, 0, "1970-01-01T00:00:00"},
        {FALKOR_DATETIME, -1, "1969-12-31T23:59:59"},
        {FALKOR_DATETIME, 951782400, "2000-02-29T00:00:00"},
        {FALKOR_DATETIME, 951868800, "2000-03-01T00:00:00"},
        {FALKOR_DATETIME, -2203977600, "1900-02-28T00:00:00"},
        {FALKOR_DATETIME, -2203891200, "1900-03-01T00:00:00"},
        {FALKOR_DATE, 1706659200, "2024-01-31"},
        {FALKOR_DATE, -1, "1969-12-31"},
        {FALKOR_DATE, -62167219200, "0000-01-01"},
        {FALKOR_DATE, -62167219201, "-0001-12-31"},
        {FALKOR_DATE, 253402300799, "9999-12-31"},
        {FALKOR_DATE, 253402300800, "+10000-01-01"},
        {FALKOR_DATETIME, INT64_MAX, "+292277026596-12-04T15:30:07"},
        {FALKOR_DATETIME, INT64_MIN, "-292277022657-01-27T08:29:52"},
        {FALKOR_TIME, 0, "00:00:00"}, {FALKOR_TIME, 86399, "23:59:59"},
        {FALKOR_TIME, 86400, "00:00:00"}, {FALKOR_TIME, -1, "23:59:59"},
        {FALKOR_TIME, 43201, "12:00:01"},
        {FALKOR_DURATION, 0, "PT0S"}, {FALKOR_DURATION, 93784, "P1DT2H3M4S"},
        {FALKOR_DURATION, -93784, "P-1DT-2H-3M-4S"},
        {FALKOR_DURATION, 86400, "P1D"}, {FALKOR_DURATION, 61, "PT1M1S"},
        {FALKOR_DURATION, 3600, "PT1H"}, {FALKOR_DURATION, 86401, "P1DT1S"},
        {FALKOR_DURATION, INT64_MAX, "P106751991167300DT15H30M7S"},
        {FALKOR_DURATION, INT64_MIN, "P-106751991167300DT-15H-30M-8S"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char room[FALKOR__ISO8601_SIZE], quoted[60];
        size_t length = falkor__iso8601(rows[i].type, rows[i].seconds, room);
        assert_string_equal(room, rows[i].text);
        assert_int_equal(length, strlen(room));
        snprintf(quoted, sizeof quoted, "\"%s\"", rows[i].text);
        expect(temporal(rows[i].type, rows[i].seconds), quoted);
    }
}

/* Against the C library's own calendar. */
static void test_json_calendar_agrees_with_gmtime(void **state) {
    _Static_assert(sizeof(time_t) >= 8, "years far from now need 64 bits");
    (void)state;
    uint64_t seed = first_seed();
    for (int i = 0; i < 200000; i++) {
        int64_t seconds = (int64_t)(next_random(&seed) % 631107417600)
                        - 315553708800;         /* 20 000 years about 1970 */
        if (i % 2)
            seconds %= 4102444800;
        time_t moment = (time_t)seconds;
        struct tm parts;
        char ours[FALKOR__ISO8601_SIZE], theirs[60];
        gmtime_r(&moment, &parts);
        long year = parts.tm_year + 1900L;
        snprintf(theirs, sizeof theirs, "%s%04ld-%02d-%02dT%02d:%02d:%02d",
                 year > 9999 ? "+" : year < 0 ? "-" : "", labs(year),
                 parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                 parts.tm_sec);
        falkor__iso8601(FALKOR_DATETIME, seconds, ours);
        assert_string_equal(ours, theirs);
    }
}

/* ---- containers ------------------------------------------------------- */

static void test_json_containers(void **state) {
    (void)state;
    expect(((falkor_value){.type = FALKOR_ARRAY}), "[]");
    expect(((falkor_value){.type = FALKOR_MAP}), "{}");
    expect(FALKOR_ARRAY_OF(falkor_int(1), falkor_null(),
                           FALKOR_ARRAY_OF(falkor_string("a")),
               FALKOR_MAP_OF({"k\n", falkor_bool(true)},
                             {"", ((falkor_value){.type = FALKOR_ARRAY})})),
           "[1,null,[\"a\"],{\"k\\n\":true,\"\":[]}]");
}

static void test_json_graph_values(void **state) {
    (void)state;
    static const char *const labels[] = {"A", "B\"", NULL};
    falkor_entry entries[] = {{"n", falkor_int(1)},
                              {"l", FALKOR_ARRAY_OF(falkor_int(2))}};
    falkor_node nodes[] = {
        {.id = 7, .labels = labels, .label_count = 2,
         .properties = falkor_map(entries, 2)},
        {.id = 8, .properties = ((falkor_value){.type = FALKOR_MAP})}};
    falkor_edge edges[] = {{.id = 3, .source = 7, .destination = 8,
        .type = "R", .properties = falkor_map(entries, 1)}};
    falkor_path path = {.nodes = nodes, .edges = edges, .node_count = 2,
                        .edge_count = 1};
    falkor_path point = {.nodes = nodes + 1, .node_count = 1};
    falkor_path none = {0};
#define NODE7 "{\"id\":7,\"labels\":[\"A\",\"B\\\"\"],\"properties\":" \
              "{\"n\":1,\"l\":[2]}}"
#define NODE8 "{\"id\":8,\"labels\":[],\"properties\":{}}"
#define EDGE3 "{\"id\":3,\"type\":\"R\",\"source\":7,\"destination\":8," \
              "\"properties\":{\"n\":1}}"
    expect((falkor_value){.type = FALKOR_NODE, .as.node = nodes}, NODE7);
    expect((falkor_value){.type = FALKOR_EDGE, .as.edge = edges}, EDGE3);
    falkor_value whole = {.type = FALKOR_PATH, .as.path = &path};
    expect(whole, "{\"nodes\":[" NODE7 "," NODE8 "],\"edges\":[" EDGE3 "]}");
    expect(falkor_array(&whole, 1), "[{\"nodes\":[" NODE7 "," NODE8
           "],\"edges\":[" EDGE3 "]}]");
    expect((falkor_value){.type = FALKOR_PATH, .as.path = &point},
           "{\"nodes\":[" NODE8 "],\"edges\":[]}");
    expect((falkor_value){.type = FALKOR_PATH, .as.path = &none},
           "{\"nodes\":[],\"edges\":[]}");
}

static void test_json_depth_needs_no_stack(void **state) {
    (void)state;
    enum { DEPTH = 300000 };
    falkor_value *values = calloc(DEPTH, sizeof *values);
    assert_non_null(values);
    values[0] = falkor_int(5);
    for (size_t i = 1; i < DEPTH; i++)
        values[i] = falkor_array(&values[i - 1], 1);
    char *text = json_of(&values[DEPTH - 1]);
    assert_int_equal(strlen(text), 2 * (DEPTH - 1) + 1);
    assert_int_equal(text[DEPTH - 2], '[');
    assert_int_equal(text[DEPTH - 1], '5');
    assert_int_equal(text[DEPTH], ']');
    free(text);
    free(values);
}

static void test_json_write_may_refuse(void **state) {
    (void)state;
    char long_text[20000];
    memset(long_text, 'y', sizeof long_text);
    falkor_value value = falkor_string_n(long_text, sizeof long_text);
    for (size_t most = 0; most < 5; most++) {
        sink all = {.most = most};
        assert_int_equal(falkor_value_write_json(&value, collect, &all),
                         most < 5 ? FALKOR_ERR_IO : FALKOR_OK);
        assert_int_equal(all.calls, most + 1);  /* and not once more */
        free(all.text);
    }
    assert_int_equal(falkor_value_write_json(&value, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
}

/* ---- results ---------------------------------------------------------- */

/* A reply of the compact protocol, decoded: what a query would give. */
static falkor_result *decoded(const char *reply) {
    falkor_error error;
    falkor_result *result = falkor__reply_new(FALKOR__REPLY_QUERY, NULL,
                                              &falkor__default_limits);
    assert_non_null(result);
    for (size_t left = strlen(reply); left > 0; ) {
        size_t size;
        char *room = falkor__reply_room(result, &size);
        assert_non_null(room);
        size_t part = left < size ? left : size;
        memcpy(room, reply + strlen(reply) - left, part);
        assert_int_equal(falkor__reply_feed(result, part, &error), FALKOR_OK);
        left -= part;
    }
    assert_true(falkor__reply_done(result));
    return result;
}

static void expect_result(const falkor_result *result, const char *begin) {
    sink all = {.most = SIZE_MAX};
    assert_int_equal(falkor_result_write_json(result, collect, &all),
                     FALKOR_OK);
    if (strncmp(all.text, begin, strlen(begin)) != 0)
        fail_msg("%s does not begin with %s", all.text, begin);
    cJSON *parsed = cJSON_Parse(all.text);
    assert_non_null(parsed);
    const cJSON *summary = cJSON_GetObjectItem(parsed, "summary");
    assert_int_equal(cJSON_GetArraySize(summary), 14);
    assert_null(strchr(all.text, '\n'));
    cJSON_Delete(parsed);
    free(all.text);
}

static void test_json_results(void **state) {
    (void)state;
    expect_result(NULL, "{\"columns\":[],\"rows\":[],\"summary\":"
        "{\"nodes_created\":0,\"nodes_deleted\":0,\"edges_created\":0,"
        "\"edges_deleted\":0,\"labels_added\":0,\"labels_removed\":0,"
        "\"properties_set\":0,\"properties_removed\":0,\"indices_created\":0,"
        "\"indices_deleted\":0,\"constraints_created\":0,"
        "\"constraints_deleted\":0,\"cached\":false,\"internal_ms\":0}}");
    falkor_result *result = decoded(
        "*3\r\n*2\r\n*2\r\n:1\r\n$1\r\na\r\n*2\r\n:1\r\n$3\r\nb\"c\r\n"
        "*2\r\n*2\r\n*2\r\n:3\r\n:1\r\n*2\r\n:1\r\n$-1\r\n"
        "*2\r\n*2\r\n:6\r\n*0\r\n*2\r\n:4\r\n$4\r\ntrue\r\n"
        "*3\r\n$16\r\nNodes created: 2\r\n$19\r\nCached execution: 1\r\n"
        "$52\r\nQuery internal execution time: 0.250000 milliseconds\r\n");
    expect_result(result, "{\"columns\":[\"a\",\"b\\\"c\"],\"rows\":"
        "[[1,null],[[],true]],\"summary\":{\"nodes_created\":2,");
    falkor_result_free(result);
}

/* ---- as one text ------------------------------------------------------ */

/* Both forms say the same, whether it fits the first room or grows. */
static void test_json_text_is_what_is_written(void **state) {
    (void)state;
    for (size_t length = 0; length < 20000; length = length * 5 / 4 + 1) {
        char *text = malloc(length + 1), *json = (char *)&length;
        size_t size = 7;
        assert_non_null(text);
        memset(text, length % 2 ? '"' : 'z', length);
        falkor_value value = falkor_string_n(text, length);
        char *written = json_of(&value);
        assert_int_equal(falkor_value_to_json(&value, &json, &size),
                         FALKOR_OK);
        assert_string_equal(json, written);
        assert_int_equal(size, strlen(json));
        free(json);
        free(written);
        free(text);
    }
    char *json = NULL;
    falkor_result *result = decoded("*3\r\n*1\r\n*2\r\n:1\r\n$1\r\na\r\n"
        "*1\r\n*1\r\n*2\r\n:2\r\n$3\r\na\"b\r\n*0\r\n");
    sink all = {.most = SIZE_MAX};
    falkor_result_write_json(result, collect, &all);
    assert_int_equal(falkor_result_to_json(result, &json, NULL), FALKOR_OK);
    assert_string_equal(json, all.text);
    free(json);
    free(all.text);
    falkor_result_free(result);
}

static void test_json_text_of_nothing(void **state) {
    char *json = (char *)&state;
    size_t length = 7;
    assert_int_equal(falkor_value_to_json(NULL, &json, &length), FALKOR_OK);
    assert_string_equal(json, "null");
    assert_int_equal(length, 4);
    free(json);
    assert_int_equal(falkor_result_to_json(NULL, &json, &length), FALKOR_OK);
    test_assert_has(json, "\"rows\":[]");
    free(json);
    assert_int_equal(falkor_value_to_json(NULL, NULL, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(length, 0);
    length = 7;
    assert_int_equal(falkor_result_to_json(NULL, NULL, &length),
                     FALKOR_ERR_ARGUMENT);
    assert_int_equal(length, 0);
    assert_int_equal(falkor_result_to_json(NULL, NULL, NULL),
                     FALKOR_ERR_ARGUMENT);
}

#if defined(__GLIBC__) && !TEST_SANITIZED
#define OWN_MALLOC                      /* else there is none to make fail */
extern void *__libc_malloc(size_t size);
extern void *__libc_realloc(void *memory, size_t size);
static int until_failure = -1;

static bool fails(void) {
    return until_failure >= 0 && until_failure-- == 0;
}
void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}
void *realloc(void *memory, size_t size) {
    return fails() ? NULL : __libc_realloc(memory, size);
}

/* How many allocations the text takes, each of which fails once. */
static int failures_of(const falkor_value *value) {
    for (int failures = 0;; failures++) {
        char *json = (char *)&failures;
        size_t length = 7;
        until_failure = failures;
        falkor_status status = falkor_value_to_json(value, &json, &length);
        until_failure = -1;
        if (!status) {
            free(json);
            return failures;
        }
        assert_int_equal(status, FALKOR_ERR_NOMEM);
        assert_null(json);
        assert_int_equal(length, 0);
    }
}

static void test_json_text_no_memory(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'm', sizeof text);
    falkor_value value = falkor_string_n(text, sizeof text), deep[100];
    assert_int_equal(failures_of(NULL), 1);
    assert_int_equal(failures_of(&value), 3);   /* grows twice, shrinks */
    deep[0] = falkor_int(1);
    for (int i = 1; i < 100; i++)
        deep[i] = falkor_array(&deep[i - 1], 1);
    assert_int_equal(failures_of(&deep[99]), 3);    /* twice frames, text */
}
#endif

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_scalars),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_json_replaces_what_is_not_utf8),
        cmocka_unit_test(test_json_doubles),
        cmocka_unit_test(test_json_every_double_reads_back),
        cmocka_unit_test(test_json_vectors),
        cmocka_unit_test(test_json_in_any_locale),
        cmocka_unit_test(test_json_points),
        cmocka_unit_test(test_json_temporal),
        cmocka_unit_test(test_json_calendar_agrees_with_gmtime),
        cmocka_unit_test(test_json_containers),
        cmocka_unit_test(test_json_graph_values),
        cmocka_unit_test(test_json_depth_needs_no_stack),
        cmocka_unit_test(test_json_write_may_refuse),
        cmocka_unit_test(test_json_results),
        cmocka_unit_test(test_json_text_is_what_is_written),
        cmocka_unit_test(test_json_text_of_nothing),
#ifdef OWN_MALLOC
        cmocka_unit_test(test_json_text_no_memory),
#endif
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
