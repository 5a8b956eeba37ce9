/* A libFuzzer target for the encoder of parameters: bytes become parameters of
   all types, nested, with whatever texts and names; what the encoder writes is
   read back by a small reader of Cypher's literals, which knows nothing of the
   encoder, and must be the same values, with nothing behind them. So no text
   leaves its quotes. What the encoder refuses must be what cannot travel, and
   nothing else. */
#include "fuzz.h"
#include <inttypes.h>
#include <math.h>

/* ---- values from bytes -------------------------------------------------- */

typedef struct fuzz_block fuzz_block;
struct fuzz_block { fuzz_block *next; double room[]; };
static fuzz_block *fuzz_blocks;
static int fuzz_values;                 /* how many more are made */

static void *fuzz_take(size_t size) {
    fuzz_block *block = calloc(1, sizeof *block + size + 1);
    FUZZ_CHECK(block);
    block->next = fuzz_blocks;
    fuzz_blocks = block;
    return block->room;
}

static void fuzz_give_back(void) {
    while (fuzz_blocks) {
        fuzz_block *next = fuzz_blocks->next;
        free(fuzz_blocks);
        fuzz_blocks = next;
    }
}

/* Often of what might break out of quotes, or end a header. */
static char *fuzz_text(fuzz_tape *tape, size_t *length) {
    static const char *const bad[] = {"\"", "\\", "'", "`", "\\\"", "\" ",
        "]", "}", ",", ":", "$", "//", "/*", "\n", "\r\n", " CYPHER ", "=",
        "\" RETURN 1 //", "` = 1 ", "\xc3\xa9", "\xff", "\\u0022", "\\x22"};
    const size_t count = sizeof bad / sizeof *bad;
    unsigned pieces = fuzz_below(tape, 8);
    char *text = fuzz_take(pieces * 16), *at = text;
    for (; pieces; pieces--) {
        unsigned which = fuzz_byte(tape);
        if (which < 3 * count)
            at += sprintf(at, "%s", bad[which % count]);
        else
            *at++ = (char)which;
        if (which == 255)
            at[-1] = (char)fuzz_byte(tape);     /* a NUL too */
    }
    *length = (size_t)(at - text);
    return text;
}

static double fuzz_real(fuzz_tape *tape) {
    union { uint64_t bits; double real; float single; } any;
    switch (fuzz_below(tape, 4)) {
    case 0: return (double)(int64_t)fuzz_number(tape, 4) / 1e3;
    case 1: return (double)(int8_t)fuzz_byte(tape);
    case 2:
        any.bits = fuzz_number(tape, 4);
        return (double)any.single;
    default:
        any.bits = fuzz_number(tape, 8);
        return any.real;
    }
}

static falkor_value fuzz_value(fuzz_tape *tape, int depth);

static falkor_value fuzz_list(fuzz_tape *tape, falkor_type type, int depth) {
    uint32_t length = fuzz_below(tape, 6);
    falkor_value value = {.type = type, .length = length};
    falkor_value *items = fuzz_take(length * sizeof *items);
    falkor_entry *entries = fuzz_take(length * sizeof *entries);
    float *floats = fuzz_take(length * sizeof *floats);
    for (uint32_t i = 0; i < length; i++) {
        size_t ignored;
        if (type == FALKOR_MAP)
            entries[i].key = fuzz_text(tape, &ignored);
        if (type == FALKOR_VECTORF32)
            memcpy(&floats[i], &(uint32_t){(uint32_t)fuzz_number(tape, 4)}, 4);
        else
            items[i] = entries[i].value = fuzz_value(tape, depth + 1);
    }
    if (type == FALKOR_ARRAY)
        value.as.items = items;
    else if (type == FALKOR_MAP)
        value.as.entries = entries;
    else
        value.as.vector = floats;
    return value;
}

/* So deep in arrays that it is at the limit, or over it. */
static falkor_value fuzz_tower(fuzz_tape *tape, int depth) {
    falkor_value value = falkor_int(1);
    for (unsigned levels = 120 + fuzz_below(tape, 12); levels; levels--) {
        falkor_value *item = fuzz_take(sizeof *item);
        *item = value;
        value = falkor_array(item, 1);
    }
    (void)depth;
    return value;
}

static falkor_value fuzz_value(fuzz_tape *tape, int depth) {
    falkor_value value = {.type = (falkor_type)fuzz_below(tape, 20)};
    size_t length;
    if (--fuzz_values < 0 || depth > 40)
        return falkor_null();
    switch (value.type) {
    case FALKOR_STRING: case FALKOR_ERROR_REPLY:
        value.as.string = fuzz_text(tape, &length);
        value.length = (uint32_t)length;
        return value;
    case FALKOR_INTEGER: case FALKOR_DATETIME: case FALKOR_DATE:
    case FALKOR_TIME: case FALKOR_DURATION:
        value.as.integer = (int64_t)fuzz_number(tape, fuzz_byte(tape) & 1
                                                      ? 8 : 3);
        return value;
    case FALKOR_BOOLEAN:
        value.as.boolean = fuzz_byte(tape) & 1;
        return value;
    case FALKOR_DOUBLE:
        value.as.real = fuzz_real(tape);
        return value;
    case FALKOR_ARRAY: case FALKOR_MAP: case FALKOR_VECTORF32:
        return fuzz_list(tape, value.type, depth);
    case FALKOR_POINT: {
        falkor_point *point = fuzz_take(sizeof *point);
        *point = (falkor_point){fuzz_real(tape), fuzz_real(tape)};
        value.as.point = fuzz_byte(tape) % 16 ? point : NULL;
        return value;
    }
    default:
        if ((unsigned)value.type == 19)
            return fuzz_tower(tape, depth);
        return value;
    }
}

/* ---- what can travel ---------------------------------------------------- */

static bool fuzz_name_travels(const char *name) {
    return *name && !strchr(name, '`');
}

static bool fuzz_travels(const falkor_value *value, int depth) {
    bool good = depth <= 128;
    switch (value->type) {
    case FALKOR_NULL: case FALKOR_INTEGER: case FALKOR_BOOLEAN:
    case FALKOR_DATETIME: case FALKOR_DATE: case FALKOR_TIME:
    case FALKOR_DURATION:
        return good;
    case FALKOR_STRING:
        return good && strlen(value->as.string) == value->length;
    case FALKOR_DOUBLE:
        return good && isfinite(value->as.real);
    case FALKOR_POINT:
        return good && value->as.point &&
            isfinite(value->as.point->latitude) &&
            isfinite(value->as.point->longitude);
    case FALKOR_VECTORF32:
        for (uint32_t i = 0; i < value->length; i++)
            good = good && isfinite(value->as.vector[i]);
        return good;
    case FALKOR_ARRAY:
        for (uint32_t i = 0; i < value->length && good; i++)
            good = fuzz_travels(&value->as.items[i], depth + 1);
        return good;
    case FALKOR_MAP:
        for (uint32_t i = 0; i < value->length && good; i++)
            good = fuzz_name_travels(value->as.entries[i].key) &&
                fuzz_travels(&value->as.entries[i].value, depth + 1);
        return good;
    default:
        return false;
    }
}

/* ---- reading literals back ---------------------------------------------- */

/* Each goes behind what it reads, which must be value. */
typedef struct fuzz_reader { const char *at, *end; } fuzz_reader;

static void fuzz_expect(fuzz_reader *r, const char *text) {
    size_t length = strlen(text);
    FUZZ_CHECK((size_t)(r->end - r->at) >= length);
    FUZZ_CHECK(memcmp(r->at, text, length) == 0);
    r->at += length;
}

/* As FalkorDB's lexer takes a string: a backslash takes its next byte along,
   and \\ and \" are the only two that mean that byte alone. */
static void fuzz_read_string(fuzz_reader *r, const char *bytes, size_t length) {
    fuzz_expect(r, "\"");
    for (size_t i = 0;; i++) {
        FUZZ_CHECK(r->at < r->end);
        char c = *r->at++;
        if (c == '"') {
            FUZZ_CHECK(i == length);
            return;
        }
        if (c == '\\') {
            FUZZ_CHECK(r->at < r->end);
            c = *r->at++;
            FUZZ_CHECK(c == '\\' || c == '"');
        }
        FUZZ_CHECK(i < length && bytes[i] == c);
    }
}

static void fuzz_read_name(fuzz_reader *r, const char *name) {
    fuzz_expect(r, "`");
    const char *end = memchr(r->at, '`', (size_t)(r->end - r->at));
    FUZZ_CHECK(end && (size_t)(end - r->at) == strlen(name) &&
               memcmp(r->at, name, strlen(name)) == 0);
    r->at = end + 1;
}

/* The text of a number, of the form that the lexer has: -?digits, and a point
   with digits or an exponent, or both, where it is no integer. */
static size_t fuzz_number_text(fuzz_reader *r, char text[400], bool *integer) {
    const char *p = r->at, *digits;
    p += *p == '-';
    digits = p;
    p += strspn(p, "0123456789");
    FUZZ_CHECK(p > digits);
    *integer = true;
    if (*p == '.') {
        *integer = false;
        digits = ++p;
        p += strspn(p, "0123456789");
        FUZZ_CHECK(p > digits);
    }
    if (*p == 'e') {
        *integer = false;
        p++;
        p += *p == '+' || *p == '-';
        digits = p;
        p += strspn(p, "0123456789");
        FUZZ_CHECK(p > digits);
    }
    size_t length = (size_t)(p - r->at);
    FUZZ_CHECK(length < 400);
    memcpy(text, r->at, length);
    text[length] = '\0';
    r->at = p;
    return length;
}

static void fuzz_read_real(fuzz_reader *r, double real) {
    char text[400];
    bool integer;
    fuzz_number_text(r, text, &integer);
    double read = strtod(text, NULL);
    FUZZ_CHECK(!integer && memcmp(&read, &real, sizeof real) == 0);
}

static void fuzz_read_float(fuzz_reader *r, float real) {
    char text[400];
    bool integer;
    fuzz_number_text(r, text, &integer);
    float read = strtof(text, NULL), twice = (float)strtod(text, NULL);
    FUZZ_CHECK(!integer && memcmp(&read, &real, sizeof real) == 0);
    FUZZ_CHECK(memcmp(&twice, &real, sizeof real) == 0);
}

static void fuzz_read_integer(fuzz_reader *r, int64_t expected) {
    char text[400], own[32];
    bool integer;
    fuzz_number_text(r, text, &integer);
    snprintf(own, sizeof own, "%" PRId64, expected);
    FUZZ_CHECK(integer && strcmp(text, own) == 0);
}

/* Days from 1970-01-01 to a date: of the 400 years that the calendar repeats,
   those that have passed, and the years and months since, one by one. */
static int64_t fuzz_days(int64_t year, int month, int day) {
    static const int months[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
                                 31};
    int64_t cycle = year / 400 - (year % 400 < 0);
    int64_t days = cycle * 146097 - 719528;             /* 0000-01-01 */
    int rest = (int)(year - cycle * 400);
    for (int y = 0; y < rest; y++)
        days += 365 + (y % 4 == 0 && (y % 100 != 0 || y == 0));
    bool leap = rest % 4 == 0 && (rest % 100 != 0 || rest == 0);
    for (int m = 1; m < month; m++)
        days += months[m - 1] + (m == 2 && leap);
    return days + day - 1;
}

static int64_t fuzz_date_seconds(const char *text, const char **behind) {
    int64_t year;
    int month, day, length = 0;
    FUZZ_CHECK(sscanf(text, "%" SCNd64 "-%2d-%2d%n", &year, &month, &day,
                      &length) == 3 && length > 0);
    FUZZ_CHECK(month >= 1 && month <= 12 && day >= 1 && day <= 31);
    *behind = text + length;
    return fuzz_days(year, month, day);
}

static int64_t fuzz_clock(const char *text) {
    int hour, minute, second, length = 0;
    FUZZ_CHECK(sscanf(text, "%2d:%2d:%2d%n", &hour, &minute, &second,
                      &length) == 3 && text[length] == '\0' && length == 8);
    return hour * 3600 + minute * 60 + second;
}

static __int128 fuzz_duration(const char *text) {
    __int128 sum = 0;
    FUZZ_CHECK(*text++ == 'P' && *text);
    while (*text) {
        char *unit;
        text += *text == 'T';
        int64_t amount = strtoll(text, &unit, 10);
        FUZZ_CHECK(unit > text && strchr("DHMS", *unit));
        sum += (__int128)amount * (*unit == 'D' ? 86400 : *unit == 'H' ? 3600
                                   : *unit == 'M' ? 60 : 1);
        text = unit + 1;
    }
    return sum;
}

/* The text is read as what the server's functions take. */
static void fuzz_read_temporal(fuzz_reader *r, const falkor_value *value) {
    char text[64];
    const char *end = memchr(r->at + 1, '"', (size_t)(r->end - r->at - 1));
    size_t length = end ? (size_t)(end - r->at - 1) : sizeof text;
    FUZZ_CHECK(*r->at == '"' && length < sizeof text);
    memcpy(text, r->at + 1, length);
    text[length] = '\0';
    r->at = end + 1;
    int64_t seconds = value->as.seconds;
    int64_t rest = seconds % 86400 + (seconds % 86400 < 0 ? 86400 : 0);
    const char *behind;
    if (value->type == FALKOR_DURATION) {
        FUZZ_CHECK(fuzz_duration(text) == seconds);
    } else if (value->type == FALKOR_TIME) {
        FUZZ_CHECK(fuzz_clock(text) == rest);
    } else {
        __int128 days = fuzz_date_seconds(text, &behind);
        FUZZ_CHECK(days * 86400 + rest == seconds);
        if (value->type == FALKOR_DATE)
            FUZZ_CHECK(*behind == '\0');
        else
            FUZZ_CHECK(*behind == 'T' && fuzz_clock(behind + 1) == rest);
    }
}

static void fuzz_read(fuzz_reader *r, const falkor_value *value) {
    switch (value->type) {
    case FALKOR_NULL: fuzz_expect(r, "null"); return;
    case FALKOR_BOOLEAN:
        fuzz_expect(r, value->as.boolean ? "true" : "false");
        return;
    case FALKOR_INTEGER: fuzz_read_integer(r, value->as.integer); return;
    case FALKOR_STRING:
        fuzz_read_string(r, value->as.string, value->length);
        return;
    case FALKOR_DOUBLE: fuzz_read_real(r, value->as.real); return;
    case FALKOR_POINT:
        fuzz_expect(r, "{latitude:");
        fuzz_read_real(r, value->as.point->latitude);
        fuzz_expect(r, ",longitude:");
        fuzz_read_real(r, value->as.point->longitude);
        fuzz_expect(r, "}");
        return;
    case FALKOR_ARRAY: case FALKOR_VECTORF32: case FALKOR_MAP:
        break;
    default: fuzz_read_temporal(r, value); return;
    }
    bool map = value->type == FALKOR_MAP;
    fuzz_expect(r, map ? "{" : "[");
    for (uint32_t i = 0; i < value->length; i++) {
        if (i)
            fuzz_expect(r, ",");
        if (map) {
            fuzz_read_name(r, value->as.entries[i].key);
            fuzz_expect(r, ":");
        }
        if (value->type == FALKOR_VECTORF32)
            fuzz_read_float(r, value->as.vector[i]);
        else
            fuzz_read(r, map ? &value->as.entries[i].value
                             : &value->as.items[i]);
    }
    fuzz_expect(r, map ? "}" : "]");
}

/* ---- the target --------------------------------------------------------- */

static bool fuzz_all_travel(const falkor_param *params) {
    bool good = true;
    for (const falkor_param *p = params; p->name; p++) {
        good = good && fuzz_name_travels(p->name) &&
            fuzz_travels(&p->value, 1);
        for (const falkor_param *q = params; q < p; q++)
            good = good && strcmp(p->name, q->name) != 0;
    }
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_tape tape = {data, data + size};
    falkor_param params[6] = {{0}};
    falkor_error error = {0};
    falkor__buffer buffer;
    size_t ignored;
    fuzz_values = 2000;
    unsigned count = fuzz_below(&tape, 6);
    for (unsigned i = 0; i < count; i++) {
        params[i].name = fuzz_text(&tape, &ignored);
        params[i].value = fuzz_value(&tape, 1);
    }
    falkor__buffer_begin(&buffer);
    falkor_status status = falkor__encode_params(params, &buffer, &error);
    FUZZ_CHECK(!status == fuzz_all_travel(params));
    FUZZ_CHECK(!status || (status == FALKOR_ERR_ARGUMENT && *error.message));
    if (!status) {
        falkor__buffer_add(&buffer, "RETURN 1", 9);     /* with its NUL */
        fuzz_reader reader = {buffer.text, buffer.text + buffer.length};
        if (count)
            fuzz_expect(&reader, "CYPHER ");
        for (unsigned i = 0; i < count; i++) {
            fuzz_read_name(&reader, params[i].name);
            fuzz_expect(&reader, "=");
            fuzz_read(&reader, &params[i].value);
            fuzz_expect(&reader, " ");
        }
        FUZZ_CHECK(strcmp(reader.at, "RETURN 1") == 0);
    }
    falkor__buffer_end(&buffer);
    fuzz_give_back();
    return 0;
}
