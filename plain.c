/* Plain values: those of any command's reply, as RESP2 and RESP3 write them,
   and what is skipped, of whatever shape. RESP3 is spoken after HELLO 3: nulls,
   doubles, booleans, big numbers, verbatim strings, maps, sets, attributes.
   Knows single values; value.c has the frames that hold them. */
#include "decode.h"

/* ---- scalars ---------------------------------------------------------- */

#define FALKOR__PLAIN_TYPES "one of + - : $ * _ , # ( = ! % ~ > |"

/* "?" where a length should be: the rest would come in pieces, which no server
   sends. */
static char *falkor__unsized(falkor__reply *r, char *p) {
    return falkor__stuck(r, p + 1, "a length: replies that are streamed "
                         "without one are not supported");
}

/* The text of a scalar that is text, or that may be a key: a line, or bytes
   with their length. Of a verbatim string its format ("txt:") is left out. */
static char *falkor__scalar_text(falkor__reply *r, char *p, char **bytes,
                                 uint32_t *length) {
    char type = *p;
    if (type != '$' && type != '!' && type != '=')
        return falkor__line(r, p + 1, bytes, length);
    if (p[1] == '?')
        return falkor__unsized(r, p);
    if (!(p = falkor__blob(r, p + 1, bytes, length, "a string")) ||
        type != '=')
        return p;
    if (*length < 4 || (*bytes)[3] != ':')
        return falkor__stuck(r, *bytes, "a format of three letters and :");
    *bytes += 4;
    *length -= 4;
    return p;
}

static char *falkor__plain_text(falkor__reply *r, char *p,
                                falkor_value *value) {
    char *bytes;
    uint32_t length;
    value->type = *p == '-' || *p == '!' ? FALKOR_ERROR_REPLY : FALKOR_STRING;
    if (!(p = falkor__scalar_text(r, p, &bytes, &length)) ||
        !(value->as.string = falkor__keep_text(r, bytes, length)))
        return NULL;
    value->length = length;
    return p;
}

static char *falkor__plain_double(falkor__reply *r, char *p,
                                  falkor_value *value) {
    char *bytes;
    uint32_t length;
    value->type = FALKOR_DOUBLE;
    if (!(p = falkor__line(r, p + 1, &bytes, &length)))
        return NULL;
    if (!falkor__read_double(bytes, length, &value->as.real))
        return falkor__stuck(r, bytes, "a number");
    return p;
}

static char *falkor__plain_boolean(falkor__reply *r, char *p,
                                   falkor_value *value) {
    value->type = FALKOR_BOOLEAN;
    value->as.boolean = p[1] == 't';
    if (p[1] == 'f')
        return FALKOR__LITERAL(r, p, "#f\r\n", "true or false");
    return FALKOR__LITERAL(r, p, "#t\r\n", "true or false");
}

/* The number that digits with a sign are; *fits: it has 64 bits. */
static bool falkor__big_digits(const char *bytes, uint32_t length,
                               int64_t *number, bool *fits) {
    bool negative = length > 0 && *bytes == '-';
    bool sign = negative || (length > 0 && *bytes == '+');
    uint64_t sum = 0, most = (uint64_t)INT64_MAX + negative;
    *fits = true;
    for (uint32_t i = sign; i < length; i++) {
        unsigned digit = (unsigned)(unsigned char)bytes[i] - '0';
        if (digit > 9)
            return false;
        *fits = *fits && sum <= (most - digit) / 10;
        sum = sum * 10 + digit;
    }
    *number = (int64_t)(negative ? 0 - sum : sum);
    return length > sign;
}

/* A number too big for us stays text, as it was sent. */
static char *falkor__big_number(falkor__reply *r, char *p,
                                falkor_value *value) {
    char *bytes;
    uint32_t length;
    int64_t number;
    bool fits;
    char *end = falkor__line(r, p + 1, &bytes, &length);
    if (!end)
        return NULL;
    if (!falkor__big_digits(bytes, length, &number, &fits))
        return falkor__stuck(r, bytes, "a big number");
    if (!fits)
        return falkor__plain_text(r, p, value);
    *value = (falkor_value){.type = FALKOR_INTEGER, .as.integer = number};
    return end;
}

/* ---- aggregates and attributes ----------------------------------------- */

/* An array, set, push message or map; their elements follow in a frame. */
static char *falkor__aggregate(falkor__reply *r, char *p,
                               falkor_value *value) {
    uint32_t count;
    bool pairs = *p == '%';
    if (p[1] == '?')
        return falkor__unsized(r, p);
    value->type = pairs ? FALKOR_MAP : FALKOR_ARRAY;
    if (!(p = falkor__elements(r, p, &count, "a list")))
        return NULL;
    return falkor__push(r, pairs ? FALKOR__PAIRS : FALKOR__PLAIN, value, count)
        ? p : NULL;
}

char *falkor__attribute(falkor__reply *r, char *p) {
    uint32_t count;
    if (p[1] == '?')
        return falkor__unsized(r, p);
    if ((p = falkor__elements(r, p, &count, "an attribute")))
        r->skip = 2 * (uint64_t)count;
    return p;
}

/* An attribute inside a frame, which counts it as an element when it is
   through: the element itself is still to come. */
static char *falkor__attribute_inside(falkor__reply *r, char *p) {
    if ((p = falkor__attribute(r, p)))
        r->frames[r->depth - 1].count--;
    return p;
}

char *falkor__plain(falkor__reply *r, char *p, falkor_value *value) {
    *value = (falkor_value){.type = FALKOR_NULL};
    switch (*p) {
    case '$':
        if (p[1] == '-')
            return falkor__nil(r, p);
        return falkor__plain_text(r, p, value);
    case '+':
    case '-':
    case '=':
    case '!': return falkor__plain_text(r, p, value);
    case ':':
        value->type = FALKOR_INTEGER;
        return falkor__integer(r, p, &value->as.integer);
    case '*':
        if (p[1] == '-')
            return falkor__nil(r, p);
        return falkor__aggregate(r, p, value);
    case '%':
    case '~':
    case '>': return falkor__aggregate(r, p, value);
    case '_': return falkor__nil(r, p);
    case ',': return falkor__plain_double(r, p, value);
    case '#': return falkor__plain_boolean(r, p, value);
    case '(': return falkor__big_number(r, p, value);
    case '|': return falkor__attribute_inside(r, p);
    default: return falkor__stuck(r, p, FALKOR__PLAIN_TYPES);
    }
}

/* ---- maps ------------------------------------------------------------- */

/* The text of a number, which is one. */
static char *falkor__numeral(falkor__reply *r, char *p, char **bytes,
                             uint32_t *length) {
    int64_t number;
    double real;
    bool fits;
    char *end = *p == ':' ? falkor__integer(r, p, &number)
                          : falkor__line(r, p + 1, bytes, length);
    if (!end)
        return NULL;
    *bytes = p + 1;
    *length = (uint32_t)(end - *bytes) - 2;
    if ((*p == ',' && !falkor__read_double(*bytes, *length, &real)) ||
        (*p == '(' && !falkor__big_digits(*bytes, *length, &number, &fits)))
        return falkor__stuck(r, *bytes, "a number");
    return end;
}

/* A key: text, or a scalar as text. *fixed is set instead of bytes where it is
   one of few words. */
static char *falkor__pair_key(falkor__reply *r, char *p, char **bytes,
                              uint32_t *length, const char **fixed) {
    falkor_value boolean;
    switch (*p) {
    case '$':
    case '+':
    case '=': return falkor__scalar_text(r, p, bytes, length);
    case ':':
    case ',':
    case '(': return falkor__numeral(r, p, bytes, length);
    case '#':
        p = falkor__plain_boolean(r, p, &boolean);
        *fixed = boolean.as.boolean ? "true" : "false";
        return p;
    case '_':
        *fixed = "null";
        return falkor__nil(r, p);
    default: return falkor__stuck(r, p, "a key that is a scalar");
    }
}

/* key, value. The key is kept when the rest of the group is there; with an
   attribute between them that is the attribute, and the value a group alone. */
char *falkor__pair(falkor__reply *r, char *p, falkor__frame *frame,
                   falkor_entry *entry) {
    const char *fixed = NULL;
    char *bytes = NULL;
    uint32_t length = 0;
    if (*p == '|')
        return falkor__attribute_inside(r, p);
    if (frame->kind == FALKOR__PAIR_VALUE) {
        frame->kind = FALKOR__PAIRS;    /* now: the frame may move */
        if (!(p = falkor__plain(r, p, &entry->value)))
            frame->kind = FALKOR__PAIR_VALUE;
        return p;
    }
    if (!(p = falkor__pair_key(r, p, &bytes, &length, &fixed)))
        return NULL;
    bool apart = *p == '|';
    p = apart ? falkor__attribute_inside(r, p)
              : falkor__plain(r, p, &entry->value);
    if (!p || !(entry->key = fixed ? fixed
                                   : falkor__keep_text(r, bytes, length)))
        return NULL;
    if (apart)
        frame->kind = FALKOR__PAIR_VALUE;
    return p;
}

/* ---- what is skipped --------------------------------------------------- */

/* Skips elements of no interest: an aggregate adds its own to their number. An
   attribute is none of them. */
bool falkor__step_skip(falkor__reply *r) {
    char *bytes, *p = r->at;
    uint32_t length, count = 0;
    char type = *p;
    switch (type) {
    case '*':
    case '~':
    case '>':
    case '%':
    case '|':
        p = p[1] == '?' ? falkor__unsized(r, p)
            : p[1] == '-' ? falkor__nil(r, p)
            : falkor__elements(r, p, &count, "a list");
        break;
    case '$':
        if (p[1] == '-') {
            p = falkor__nil(r, p);
            break;
        }                               /* fall through */
    case '+':
    case '-':
    case ':':
    case '_':
    case ',':
    case '#':
    case '(':
    case '=':
    case '!': p = falkor__scalar_text(r, p, &bytes, &length); break;
    default: p = falkor__stuck(r, p, FALKOR__PLAIN_TYPES);
    }
    if (!p)
        return false;
    bool pairs = type == '%' || type == '|';
    r->skip += pairs ? 2 * (uint64_t)count : count;
    r->skip -= type != '|';
    falkor__commit(r, p);
    return true;
}
