/* B4: parameters into the text of a query, against cJSON printing the same
   values from its own tree, built before: an encoder that people know, whose
   text is of about the same length. It is given a buffer that need not grow.
   Needs no server. */
#include "../internal.h"
#include "bench.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES 1000
#define LONG 1000000                    /* bytes of the long string */
#define ROOM (2 * LONG)                 /* more than any text here needs */
#define TURN_NS INT64_C(60000000)

typedef struct pair {
    falkor_param params[VALUES + 1];
    cJSON *tree;
    double values;                      /* in one text; or its megabytes */
} pair;

/* ---- the same values twice --------------------------------------------- */

static char texts[VALUES][24];
static char keys[VALUES][16];
static char long_text[LONG + 1];

static void make_texts(void) {
    for (int i = 0; i < VALUES; i++) {
        snprintf(texts[i], sizeof texts[i], "person number %d", i);
        snprintf(keys[i], sizeof keys[i], "p%d", i);
    }
    for (int i = 0; i < LONG; i++)      /* a quote in every line of 80 */
        long_text[i] = i % 80 == 79 ? '"' : (char)('a' + i % 26);
}

/* One of the four kinds that parameters are made of most. */
static falkor_value make_value(int i) {
    switch (i % 4) {
    case 0: return falkor_string(texts[i]);
    case 1: return falkor_int(i * INT64_C(37));
    case 2: return falkor_double(i * 0.37);
    default: return falkor_bool(i & 8);
    }
}

static cJSON *make_item(int i) {
    switch (i % 4) {
    case 0: return cJSON_CreateString(texts[i]);
    case 1: return cJSON_CreateNumber(i * 37);
    case 2: return cJSON_CreateNumber(i * 0.37);
    default: return cJSON_CreateBool(i & 8);
    }
}

/* One parameter: a list of rows of four values, as UNWIND wants it. */
static void make_rows(pair *p) {
    static falkor_entry entries[VALUES];
    static falkor_value maps[VALUES / 4];
    static const char *const names[] = {"name", "score", "weight", "member"};
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < VALUES; i++) {
        if (i % 4 == 0)
            cJSON_AddItemToArray(list, cJSON_CreateObject());
        entries[i] = (falkor_entry){names[i % 4], make_value(i)};
        cJSON_AddItemToObject(cJSON_GetArrayItem(list, i / 4), names[i % 4],
                              make_item(i));
    }
    for (int i = 0; i < VALUES / 4; i++)
        maps[i] = falkor_map(entries + 4 * i, 4);
    p->params[0] = (falkor_param){"rows", falkor_array(maps, VALUES / 4)};
    p->tree = cJSON_CreateObject();
    cJSON_AddItemToObject(p->tree, "rows", list);
    p->values = VALUES;
}

/* As many parameters as values. */
static void make_many(pair *p) {
    p->tree = cJSON_CreateObject();
    for (int i = 0; i < VALUES; i++) {
        p->params[i] = (falkor_param){keys[i], make_value(i)};
        cJSON_AddItemToObject(p->tree, keys[i], make_item(i));
    }
    p->values = VALUES;
}

static void make_list(pair *p, double divisor) {
    static falkor_value doubles[VALUES];
    static double numbers[VALUES];
    for (int i = 0; i < VALUES; i++) {
        numbers[i] = (i + 1) / divisor;
        doubles[i] = falkor_double(numbers[i]);
    }
    p->params[0] = (falkor_param){"list", falkor_array(doubles, VALUES)};
    p->tree = cJSON_CreateObject();
    cJSON_AddItemToObject(p->tree, "list",
                          cJSON_CreateDoubleArray(numbers, VALUES));
    p->values = VALUES;
}

static void make_numbers(pair *p) {
    make_list(p, 7);                    /* 17 digits, nearly all */
}

static void make_prices(pair *p) {
    make_list(p, 100);
}

static void make_long(pair *p) {
    p->params[0] = (falkor_param){"text", falkor_string(long_text)};
    p->tree = cJSON_CreateObject();
    cJSON_AddItemToObject(p->tree, "text", cJSON_CreateString(long_text));
    p->values = LONG / 1e6;
}

static void make_few(pair *p) {
    static falkor_value name = {.type = FALKOR_STRING, .length = 3,
                                .as.string = "Ada"};
    p->params[0] = (falkor_param){"name", name};
    p->params[1] = (falkor_param){"age", falkor_int(36)};
    p->tree = cJSON_CreateObject();
    cJSON_AddItemToObject(p->tree, "name", cJSON_CreateString("Ada"));
    cJSON_AddItemToObject(p->tree, "age", cJSON_CreateNumber(36));
    p->values = 2;
}

/* ---- the sides --------------------------------------------------------- */

static void encode(const pair *p) {
    falkor__buffer buffer;
    falkor_error error;
    falkor__buffer_begin(&buffer);
    if (falkor__encode_params(p->params, &buffer, &error))
        bench_fail("%s", error.message);
    falkor__buffer_end(&buffer);
}

static void print(const pair *p) {
    static char room[ROOM];
    if (!cJSON_PrintPreallocated(p->tree, room, ROOM, false))
        bench_fail("cJSON cannot print");
}

static double rate(const pair *p, void (*once)(const pair *)) {
    int64_t start = falkor__clock_ns(CLOCK_THREAD_CPUTIME_ID), now;
    int rounds = 0, more = 1;
    do {
        for (int i = 0; i < more; i++)
            once(p);
        rounds += more;
        more = rounds;                  /* few readings of the clock */
        now = falkor__clock_ns(CLOCK_THREAD_CPUTIME_ID);
    } while (now - start < bench_short(TURN_NS));
    return p->values * rounds * 1e9 / (double)(now - start);
}

static double our_rate(void *context) {
    return rate(context, encode);
}

static double their_rate(void *context) {
    return rate(context, print);
}

int main(void) {
    static const struct {
        const char *id, *what, *unit;
        void (*make)(pair *p);
    } kinds[] = {
        {"B4-few", "a string and an integer", "values/s", make_few},
        {"B4-rows", "a list of 250 maps of 4 values", "values/s", make_rows},
        {"B4-many", "1 000 parameters", "values/s", make_many},
        {"B4-doubles", "a list of 1 000 doubles", "values/s", make_numbers},
        {"B4-prices", "a list of 1 000 prices", "values/s", make_prices},
        {"B4-string", "a string of 1 MB", "MB/s", make_long}};
    make_texts();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char what[64];
        static pair p;
        p = (pair){0};
        kinds[i].make(&p);
        snprintf(what, sizeof what, "encoded: %s", kinds[i].what);
        bench_compare(&(bench_row){.id = kinds[i].id, .work = what,
            .unit = kinds[i].unit, .peer = "cJSON"}, our_rate, their_rate, &p,
            BENCH_PAIRS);
        cJSON_Delete(p.tree);
    }
    return 0;
}
