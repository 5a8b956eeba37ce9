/* A libFuzzer target for what falkor-cli reads as JSON. A parameter's JSON
   (-P name=json) is walked a second time, beside the value that was made of
   it: each number of 64 bits, each string; it is refused where cJSON refuses
   it, or for one of three reasons. The health document of `falkor-cli
   stats` comes as an answer of HTTP, whole and in pieces, and is drawn: what is
   drawn holds no control character but the ends of its lines. */
#include "../examples/falkor-cli-http.c"
#include "fuzz.h"
#include <math.h>

_Noreturn void cli_no_memory(void) {
    abort();
}

void *cli_reserve(void *old, size_t count, size_t size) {
    void *room = old ? realloc(old, count * size) : calloc(count, size);
    FUZZ_CHECK(room);
    return room;
}

bool cli_interrupted(void) {
    return false;
}

/* ---- a parameter -------------------------------------------------------- */

static const char *fuzz_space(const char *at) {
    while (*at && (unsigned char)*at <= ' ')
        at++;
    return at;
}

static unsigned fuzz_hex(const char *at) {
    char digits[5] = "";
    memcpy(digits, at, 4);
    return (unsigned)strtoul(digits, NULL, 16);
}

static char *fuzz_utf8(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* The string at a quote is text of length bytes; returns what is behind. */
static const char *fuzz_string(const char *at, const char *text,
                               size_t length) {
    static const char names[] = "bfnrt\"\\/", means[] = "\b\f\n\r\t\"\\/";
    char *room = malloc(strlen(at) + 8), *to = room;
    FUZZ_CHECK(room && *at == '"');
    for (at++; *at != '"'; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        unsigned code;
        switch (*++at) {
        case 'u':
            code = fuzz_hex(at + 1);
            at += 4;
            if (code >= 0xd800 && code < 0xdc00) {
                code = 0x10000 + (code - 0xd800) * 0x400 +
                    fuzz_hex(at + 3) - 0xdc00;
                at += 6;
            }
            to = fuzz_utf8(to, code);
            break;
        default:
            FUZZ_CHECK(strchr(names, *at));
            *to++ = means[strchr(names, *at) - names];
        }
    }
    FUZZ_CHECK((size_t)(to - room) == length &&
               memcmp(room, text, length) == 0);
    free(room);
    return at + 1;
}

static const char *fuzz_numeral(const char *at, const falkor_value *value) {
    size_t length = strspn(at, "+-0123456789.eE");
    if (memchr(at, '.', length) || memchr(at, 'e', length) ||
        memchr(at, 'E', length)) {
        double real = strtod(at, NULL);
        FUZZ_CHECK(value->type == FALKOR_DOUBLE && value->as.real == real);
        return at + length;
    }
    __int128 sum = 0;
    bool minus = *at == '-';
    for (size_t i = minus; i < length; i++) {
        FUZZ_CHECK(at[i] >= '0' && at[i] <= '9');
        sum = sum * 10 + (at[i] - '0');
        FUZZ_CHECK(sum < (__int128)1 << 64);
    }
    FUZZ_CHECK(value->type == FALKOR_INTEGER &&
               value->as.integer == (minus ? -sum : sum));
    return at + length;
}

static const char *fuzz_walk(const char *at, const falkor_value *value);

static const char *fuzz_list(const char *at, const falkor_value *value) {
    bool map = *at == '{';
    char end = map ? '}' : ']';
    FUZZ_CHECK(value->type == (map ? FALKOR_MAP : FALKOR_ARRAY));
    at = fuzz_space(at + 1);
    for (uint32_t i = 0; i < value->length; i++) {
        if (i > 0) {
            FUZZ_CHECK(*at == ',');
            at = fuzz_space(at + 1);
        }
        if (map) {
            const char *key = value->as.entries[i].key;
            at = fuzz_space(fuzz_string(at, key, strlen(key)));
            FUZZ_CHECK(*at++ == ':');
        }
        at = fuzz_walk(at, map ? &value->as.entries[i].value
                               : &value->as.items[i]);
    }
    FUZZ_CHECK(*at == end);
    return at + 1;
}

/* The value at a text that is JSON, and nothing else, is value. */
static const char *fuzz_walk(const char *at, const falkor_value *value) {
    at = fuzz_space(at);
    switch (*at) {
    case '{': case '[': at = fuzz_list(at, value); break;
    case '"':
        FUZZ_CHECK(value->type == FALKOR_STRING);
        at = fuzz_string(at, value->as.string, value->length);
        break;
    case 'n':
        FUZZ_CHECK(value->type == FALKOR_NULL);
        at += 4;
        break;
    case 't': case 'f':
        FUZZ_CHECK(value->type == FALKOR_BOOLEAN &&
                   value->as.boolean == (*at == 't'));
        at += *at == 't' ? 4 : 5;
        break;
    default: at = fuzz_numeral(at, value);
    }
    return fuzz_space(at);
}

/* What cJSON takes and a parameter may not be; NULL: it may be. Integers are
   looked for outside of strings. */
static const char *fuzz_reason(const char *json) {
    const char *reason = NULL;
    bool inside = false;
    for (const char *at = json; *at; ) {
        size_t length = strspn(at, "+-.0123456789eE");
        if (inside && *at == '\\' && at[1] == 'u') {
            if (strspn(at + 2, "0123456789abcdefABCDEF") < 4)
                return "no JSON";       /* of which cJSON makes a zero */
            if (strncmp(at + 2, "0000", 4) == 0)
                return "\\u0000";
        }
        if (inside || (*at != '-' && (*at < '0' || *at > '9'))) {
            inside = inside != (*at == '"');
            at += inside && *at == '\\' && at[1] ? 2 : 1;
            continue;
        }
        errno = 0;
        if (strcspn(at, ".eE") >= length && strtoll(at, NULL, 10) &&
            errno == ERANGE)
            reason = "64 bits";
        at += length;
    }
    return reason;
}

/* cJSON and a reason of our own say what is refused, and nothing else is. */
static void fuzz_refused(const char *json, const char *why) {
    cJSON *tree = cJSON_ParseWithOpts(json, NULL, true);
    const char *reason = tree ? fuzz_reason(json) : NULL;
    if (!tree)
        FUZZ_CHECK(why);
    else if (reason)
        FUZZ_CHECK(why && strstr(why, reason));
    else
        FUZZ_CHECK(!why);
    cJSON_Delete(tree);
}

static void fuzz_parameter(const char *json) {
    const char *why = NULL;
    cli_param *list = NULL;
    bool taken = cli_param_set(&list, "p", 1, json, &why);
    FUZZ_CHECK(taken == (list != NULL) && taken == (why == NULL));
    fuzz_refused(json, why);
    if (taken) {
        falkor_param *params = cli_params_array(list);
        FUZZ_CHECK(strcmp(params[0].name, "p") == 0 && !params[1].name);
        if (strncmp(json, "\xef\xbb\xbf", 3) == 0)
            json += 3;
        FUZZ_CHECK(!*fuzz_walk(json, &params[0].value));
        free(params);
    }
    FUZZ_CHECK(!cli_param_set(&list, "1", 1, json, &why) && why);
    cli_params_free(list);
}

/* ---- a health document -------------------------------------------------- */

static void fuzz_draw(const cJSON *document, const cJSON *before,
                      cli_style style) {
    char *text = NULL;
    size_t length;
    FILE *page = open_memstream(&text, &length);
    FUZZ_CHECK(page);
    cli_gauges_draw(page, document, before, style);
    fclose(page);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        FUZZ_CHECK(c >= ' ' || c == '\n' || (c == '\033' && style.colour));
        FUZZ_CHECK(c != 0x7f && (c < 0x80 || style.utf8));
        FUZZ_CHECK(c != 0xc2 || (text[i + 1] & 0xe0) != 0x80);
    }
    FUZZ_CHECK(length > 0 && text[length - 1] == '\n');
    free(text);
}

/* Two documents with a byte 1 between, as text; the one before comes second. */
static void fuzz_health(char *text, unsigned how) {
    char *other = strchr(text, 1);
    if (other)
        *other++ = '\0';
    cJSON *document = cJSON_ParseWithOpts(text, NULL, true);
    cJSON *before = other ? cJSON_ParseWithOpts(other, NULL, true) : NULL;
    if (cli_is_health(document))
        fuzz_draw(document, cli_is_health(before) ? before : NULL,
                  (cli_style){.utf8 = how & 1, .colour = how & 2});
    cJSON_Delete(document);
    cJSON_Delete(before);
}

/* ---- an answer of HTTP -------------------------------------------------- */

/* What comes of an answer in portions of at most so many bytes: the same,
   whatever these are. */
static verdict fuzz_answer(const char *bytes, size_t size, size_t most,
                           char why[400], char **document) {
    static const cli_place place = {.authority = "h", .target = "/health",
                                    .target_length = 7};
    exchange self = {.place = &place, .why = why};
    uint64_t state = most;
    verdict found = MORE;
    size_t at = 0;
    *document = NULL;
    *why = '\0';
    while (found == MORE && at <= size) {
        size_t more = fuzz_portion(&state, most);
        bool ended = at == size;
        more = more < size - at ? more : size - at;
        self.text = cli_reserve(self.text, at + more + 1, 1);
        memcpy(self.text + at, bytes + at, more);
        self.length = at += more;
        self.text[at] = '\0';
        found = read_answer(&self, ended, document);
        if (ended)
            break;
    }
    free(self.text);
    return found;
}

static void fuzz_http(const char *bytes, size_t size, unsigned how) {
    char why[400], again[400], *document, *other;
    verdict whole = fuzz_answer(bytes, size, SIZE_MAX >> 33, why, &document);
    verdict parts = fuzz_answer(bytes, size, how % 30 + 1, again, &other);
    FUZZ_CHECK(!document || (whole == WHOLE && !*why));
    FUZZ_CHECK(!other || (parts == WHOLE && !*again));
    FUZZ_CHECK(!document || strlen(document) <= size);
    FUZZ_CHECK(whole == parts && strcmp(why, again) == 0);
    FUZZ_CHECK(!document == !other);
    FUZZ_CHECK(!document || strcmp(document, other) == 0);
    for (const char *at = why; *at; at++)
        FUZZ_CHECK((unsigned char)*at >= ' ' && *at != 0x7f);
    if (document)
        fuzz_health(document, how);
    free(document);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    char *text = cli_reserve(NULL, size, 1);
    memcpy(text, data + 1, size - 1);
    switch (*data % 3) {
    case 0: fuzz_parameter(text); break;
    case 1: fuzz_health(text, *data / 3); break;
    default: fuzz_http(text, size - 1, *data / 3);
    }
    cli_place place;
    const char *why;
    cli_http_place(text, &place, &why);
    free(text);
    return 0;
}
