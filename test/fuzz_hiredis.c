/* A libFuzzer target that holds the decoder against the reader of hiredis 1.x:
   whatever both take as a reply has the same values and the same end, and what
   one refuses the other takes only where this file says so, on purpose. What
   the target itself made, which is valid, we take whole.
   We refuse more:   bytes behind a string that are no CRLF; a number that is
                     hexadecimal, or stands behind a plus or spaces, INF and
                     NaN in capitals; #T and #F, and # before a NUL, which
                     strchr finds for hiredis in "tTfF"; a length of -1 of what
                     is neither a string nor an array, or of a key; a big number
                     without digits; a key that is no scalar; nesting beyond our
                     limit.
   hiredis refuses   attributes (|) and errors with a length (!), which it does
   more:             not know; integers and lengths with zeros before them, or
                     -0; a line feed alone in a line (FalkorDB's messages hold
                     them); doubles beyond the largest, or of more than 325
                     bytes; a + before a big number. */
#include "fuzz.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <math.h>

/* ---- valid replies ------------------------------------------------------ */

static int fuzz_values;
static bool fuzz_beyond;    /* one rounds up to what is beyond all doubles */

static char *fuzz_make(fuzz_tape *tape, char *at, int depth);

static char *fuzz_make_list(fuzz_tape *tape, char *at, int depth) {
    unsigned length = fuzz_below(tape, 5);
    bool pairs = fuzz_below(tape, 4) == 0;
    at += sprintf(at, "%c%u\r\n", pairs ? '%' : "*~>"[fuzz_below(tape, 3)],
                  length);
    for (unsigned i = 0; i < length; i++) {
        if (pairs)
            at = fuzz_make(tape, at, 1000);
        at = fuzz_make(tape, at, depth + 1);
    }
    return at;
}

static char *fuzz_make_blob(fuzz_tape *tape, char *at, bool verbatim) {
    unsigned length = fuzz_below(tape, 20);
    at += sprintf(at, verbatim ? "=%u\r\ntxt:" : "$%u\r\n",
                  length + 4 * verbatim);
    for (; length; length--)
        *at++ = (char)fuzz_byte(tape);
    return stpcpy(at, "\r\n");
}

/* 120 bytes at most, but for lists. */
static char *fuzz_make(fuzz_tape *tape, char *at, int depth) {
    unsigned kind = fuzz_below(tape, depth < 30 ? 12 : 9);
    union { uint64_t bits; double real; } any;
    int length;
    if (--fuzz_values < 0)
        return stpcpy(at, "_\r\n");
    switch (kind) {
    case 0: return at + sprintf(at, ":%" PRId64 "\r\n",
                                (int64_t)fuzz_number(tape, 8));
    case 1: return at + sprintf(at, ":%d\r\n", (int)fuzz_below(tape, 200) - 9);
    case 2:
        any.bits = fuzz_number(tape, 8);
        length = sprintf(at, ",%.*g\r\n", (int)fuzz_below(tape, 18), any.real);
        if (isfinite(any.real) && isinf(strtod(at + 1, NULL)))
            fuzz_beyond = true;
        return at + length;
    case 3: return fuzz_make_blob(tape, at, false);
    case 4: return fuzz_make_blob(tape, at, true);
    case 5: return stpcpy(at, fuzz_byte(tape) & 1 ? "#t\r\n" : "#f\r\n");
    case 6: return stpcpy(at, "_\r\n");
    case 7: return at + sprintf(at, "(%s%" PRIu64 "%0*u\r\n",
                                fuzz_byte(tape) & 1 ? "-" : "",
                                fuzz_number(tape, 8),
                                (int)fuzz_below(tape, 9), 0u);
    case 8: return at + sprintf(at, "+line %u\r\n", fuzz_byte(tape));
    case 9: return at + sprintf(at, "-ERR %u\r\n", fuzz_byte(tape));
    case 10: return stpcpy(at, fuzz_byte(tape) & 1 ? "$-1\r\n" : "*-1\r\n");
    default: return fuzz_make_list(tape, at, depth);
    }
}

/* ---- the same values ---------------------------------------------------- */

static void fuzz_same_bytes(const redisReply *theirs, const char *bytes,
                            size_t length) {
    FUZZ_CHECK(theirs->len == length &&
               memcmp(theirs->str, bytes, length) == 0);
}

static void fuzz_same_double(double theirs, double own) {
    FUZZ_CHECK(memcmp(&theirs, &own, sizeof own) == 0 ||
               (theirs != theirs && own != own));
}

static void fuzz_same_big(const redisReply *theirs, const falkor_value *own) {
    errno = 0;
    long long number = strtoll(theirs->str, NULL, 10);
    if (errno == ERANGE) {
        FUZZ_CHECK(own->type == FALKOR_STRING);
        fuzz_same_bytes(theirs, own->as.string, own->length);
    } else {
        FUZZ_CHECK(own->type == FALKOR_INTEGER && own->as.integer == number);
    }
}

/* A key is the text of a scalar, up to a NUL in it. */
static void fuzz_same_key(const redisReply *theirs, const char *own) {
    char text[32];
    snprintf(text, sizeof text, "%lld", theirs->integer);
    switch (theirs->type) {
    case REDIS_REPLY_INTEGER: FUZZ_CHECK(strcmp(own, text) == 0); return;
    case REDIS_REPLY_NIL: FUZZ_CHECK(strcmp(own, "null") == 0); return;
    case REDIS_REPLY_BOOL:
        FUZZ_CHECK(strcmp(own, theirs->integer ? "true" : "false") == 0);
        return;
    default:
        FUZZ_CHECK(theirs->type != REDIS_REPLY_ERROR);
        FUZZ_CHECK(strcmp(own, theirs->str) == 0);
    }
}

static void fuzz_same(const redisReply *theirs, const falkor_value *own) {
    switch (theirs->type) {
    case REDIS_REPLY_STRING: case REDIS_REPLY_STATUS: case REDIS_REPLY_VERB:
        FUZZ_CHECK(own->type == FALKOR_STRING);
        fuzz_same_bytes(theirs, own->as.string, own->length);
        return;
    case REDIS_REPLY_ERROR:
        FUZZ_CHECK(own->type == FALKOR_ERROR_REPLY);
        fuzz_same_bytes(theirs, own->as.string, own->length);
        return;
    case REDIS_REPLY_INTEGER:
        FUZZ_CHECK(own->type == FALKOR_INTEGER &&
                   own->as.integer == theirs->integer);
        return;
    case REDIS_REPLY_NIL: FUZZ_CHECK(own->type == FALKOR_NULL); return;
    case REDIS_REPLY_BOOL:
        FUZZ_CHECK(own->type == FALKOR_BOOLEAN &&
                   own->as.boolean == (theirs->integer != 0));
        return;
    case REDIS_REPLY_DOUBLE:
        FUZZ_CHECK(own->type == FALKOR_DOUBLE);
        fuzz_same_double(theirs->dval, own->as.real);
        return;
    case REDIS_REPLY_BIGNUM: fuzz_same_big(theirs, own); return;
    case REDIS_REPLY_MAP:
        FUZZ_CHECK(own->type == FALKOR_MAP &&
                   own->length == theirs->elements / 2);
        for (uint32_t i = 0; i < own->length; i++) {
            fuzz_same_key(theirs->element[2 * i], own->as.entries[i].key);
            fuzz_same(theirs->element[2 * i + 1], &own->as.entries[i].value);
        }
        return;
    default:
        FUZZ_CHECK(own->type == FALKOR_ARRAY &&
                   own->length == theirs->elements);
        for (uint32_t i = 0; i < own->length; i++)
            fuzz_same(theirs->element[i], &own->as.items[i]);
    }
}

/* ---- what we refuse and hiredis takes ----------------------------------- */

enum { FUZZ_DEPTH = 200 };              /* our limit of nesting */

/* As we read doubles; what hiredis has taken is a number for strtod. */
static bool fuzz_is_plain(const char *text, size_t length) {
    static const char *const names[] = {"inf", "-inf", "nan", "-nan"};
    for (size_t i = 0; i < 4; i++)
        if (strlen(names[i]) == length && memcmp(names[i], text, length) == 0)
            return true;
    return *text != '+' && strspn(text, "+-.0123456789eE") == length;
}

/* Which words our refusal of an item has that hiredis has taken; NULL: it is
   none to be refused. end is that of its first line. */
static const char *fuzz_refusal(const char *item, const char *end, bool key) {
    const char *text = item + 1;
    size_t length = (size_t)(end - text);
    bool none = length == 2 && memcmp(text, "-1", 2) == 0;
    if (key && strchr("-*%~>", *item))
        return "expected a key that is a scalar at";
    switch (*item) {
    case '#':
        return *text == 't' || *text == 'f' ? NULL
                                            : "expected true or false at";
    case '%': case '~': case '>': return none ? "expected a list at" : NULL;
    case '$': case '=':
        if (none)
            return *item == '=' || key ? "expected a string at" : NULL;
        end += 2 + strtoull(text, NULL, 10);
        return memcmp(end, "\r\n", 2) ? "expected the end of a string at"
                                      : NULL;
    case '(':
        if (length > (*text == '-'))
            return NULL;
        return key ? "expected a number at" : "expected a big number at";
    case ',':
        if (memchr(text, '\r', length))
            return "expected the end of a line at";     /* it is a space */
        return fuzz_is_plain(text, length) ? NULL : "expected a number at";
    default: return NULL;
    }
}

/* Which byte a message names; SIZE_MAX: none. */
static size_t fuzz_place(const char *message) {
    const char *at = strstr(message, " at byte ");
    return at ? (size_t)strtoull(at + 9, NULL, 10) : SIZE_MAX;
}

/* The first item to be refused of a reply of size bytes, which hiredis has
   taken, is the one that the message is about. */
static bool fuzz_is_refused(const char *text, size_t size,
                            const char *message) {
    static struct { uint64_t left; bool pairs; } lists[FUZZ_DEPTH],
        *list;
    size_t depth = 0, place = fuzz_place(message);
    for (const char *at = text, *next; at < text + size; at = next) {
        const char *end = memmem(at, (size_t)(text + size - at), "\r\n", 2);
        FUZZ_CHECK(end);
        list = depth ? &lists[depth - 1] : NULL;
        const char *why = fuzz_refusal(at, end, list && list->pairs &&
                                                list->left % 2 == 0);
        bool is_list = strchr("*%~>", *at) != NULL, text_follows =
            strchr("$=", *at) != NULL;
        long long count = strtoll(at + 1, NULL, 10);
        next = end + 2 + (text_follows && count >= 0 ? count + 2 : 0);
        if (why)
            return strstr(message, why) && place >= (size_t)(at - text) &&
                   place < (size_t)(next - text);
        if (list)
            list->left--;
        if (is_list && count > 0 && depth == FUZZ_DEPTH)
            return strstr(message, "with a nesting of") && place == SIZE_MAX;
        if (is_list && count > 0) {
            lists[depth].pairs = *at == '%';
            lists[depth++].left = (uint64_t)count << (*at == '%');
        }
        while (depth && !lists[depth - 1].left)
            depth--;
    }
    return false;
}

/* ---- what hiredis refuses and we take ----------------------------------- */

/* There is a number with a zero before it, or -0. text ends with a NUL, and may
   hold others. */
static bool fuzz_has_zeros(const char *text, size_t size) {
    for (const char *end = text + size; text < end; text++) {
        const char *digits = text + 1 + (text[1] == '-');
        if (*text && strchr(":$*%~>=", *text) && *digits == '0' &&
            (text[1] == '-' || digits[1] != '\r'))
            return true;
    }
    return false;
}

/* A double of more than 325 bytes, or that strtod finds to be infinite. */
static bool fuzz_has_large_double(const char *text, size_t size) {
    for (const char *at = text, *end = text + size; at < end; at++)
        if (*at == ',' && (strcspn(at + 1, "\r") > 325 ||
                           (strspn(at + 1, "-.0123456789") &&
                            isinf(strtod(at + 1, NULL)))))
            return true;
    return false;
}

/* A list of more elements than hiredis may take memory for. */
static bool fuzz_has_long_list(const char *text, size_t size) {
    for (const char *at = text, *end = text + size; at < end; at++)
        if (*at && strchr("*%~>", *at) && strtoull(at + 1, NULL, 10) > 4096)
            return true;
    return false;
}

static bool fuzz_has_lone_feed(const char *text, size_t size) {
    for (size_t i = 1; i < size; i++)
        if (text[i] == '\n' && text[i - 1] != '\r')
            return true;
    return false;
}

static bool fuzz_may_refuse(const char *said, const char *text, size_t size) {
    if (strstr(said, "got \"|\" as reply type") ||
        strstr(said, "got \"!\" as reply type"))
        return true;
    if (strstr(said, "Bad simple string value"))
        return fuzz_has_lone_feed(text, size);
    if (strstr(said, "Bad double value") ||
        strstr(said, "Double value is too large"))
        return fuzz_has_large_double(text, size);
    if (strstr(said, "Multi-bulk length out of range"))
        return fuzz_has_long_list(text, size);
    if (strstr(said, "Bad bignum value"))
        return memmem(text, size, "(+", 2) != NULL;
    return (strstr(said, "Bad integer value") ||
            strstr(said, "Bad bulk string length") ||
            strstr(said, "Bad multi-bulk length")) &&
           fuzz_has_zeros(text, size);
}

/* ---- both --------------------------------------------------------------- */

static void fuzz_hold(falkor_result *own, falkor_status status,
                      const char *message, redisReader *reader,
                      const redisReply *theirs, const char *text,
                      size_t size, size_t unread) {
    size_t left, behind = reader->len - reader->pos;
    const char *error = falkor__reply_error(own, &left);
    bool done = !status && falkor__reply_done(own);
    bool message_behind = behind && reader->buf[reader->pos] == '>';
    if (done && theirs) {
        if (error)
            FUZZ_CHECK(theirs->type == REDIS_REPLY_ERROR);
        if (error)
            fuzz_same_bytes(theirs, error, left);
        else
            fuzz_same(theirs, falkor_result_value(own, 0, 0));
        falkor__reply_surplus(own, &left);
        FUZZ_CHECK(left + unread == behind || message_behind);
    } else if (theirs) {                /* a message is read with the reply */
        bool in_message = message_behind &&
            (!status || fuzz_place(message) >= size - behind);
        FUZZ_CHECK(in_message || (status && fuzz_is_refused(text, size - behind,
                                                            message)));
    } else if (reader->err) {
        FUZZ_CHECK(status || fuzz_may_refuse(reader->errstr, text, size));
    } else {
        FUZZ_CHECK(!done);
    }
}

/* ---- the target --------------------------------------------------------- */

/* valid: the target has made the bytes, so that we take them all, and hiredis
   what it can. */
static void fuzz_both(const char *bytes, size_t size, size_t most,
                      bool valid) {
    falkor__limits limits = {.depth = FUZZ_DEPTH, .bytes = 1 << 24};
    falkor_result *own = falkor__reply_new(FALKOR__REPLY_PLAIN, NULL, &limits);
    redisReader *reader = redisReaderCreate();
    falkor_status status = FALKOR_OK;
    falkor_error error = {0};
    redisReply *theirs = NULL;
    uint64_t state = most;
    size_t at = 0, room;
    FUZZ_CHECK(own && reader);
    reader->maxelements = 4096;         /* it takes their memory at once */
    while (!status && !falkor__reply_done(own) && at < size) {
        char *to = falkor__reply_room(own, &room);
        room = room < size - at ? room : size - at;
        memcpy(to, bytes + at, room);
        at += room;
        status = falkor__reply_feed(own, room, &error);
    }
    size_t unread = size - at;
    for (at = 0; !theirs && at < size && !reader->err; at += room) {
        room = fuzz_portion(&state, most);
        room = room < size - at ? room : size - at;
        redisReaderFeed(reader, bytes + at, room);
        redisReaderGetReply(reader, (void **)&theirs);
    }
    if (theirs)                         /* the rest, to count it */
        redisReaderFeed(reader, bytes + at, size - at);
    if (valid) {
        FUZZ_CHECK(!status && falkor__reply_done(own));
        FUZZ_CHECK(theirs || fuzz_beyond);
    }
    fuzz_hold(own, status, error.message, reader, theirs, bytes, size,
              unread);
    if (theirs)
        freeReplyObject(theirs);
    redisReaderFree(reader);
    falkor_result_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char made[1 << 20];          /* ends with a NUL */
    fuzz_tape tape = {data + 2, data + size};
    if (size < 3)
        return 0;
    size_t most = data[1] ? data[1] : SIZE_MAX >> 33;
    if (data[0] % 2) {
        fuzz_values = 1000;
        fuzz_beyond = false;
        char *end = fuzz_make(&tape, made, 0);
        *end = '\0';
        if (*made != '>')               /* is no reply */
            fuzz_both(made, (size_t)(end - made), most, true);
        return 0;
    }
    char *text = calloc(1, size);
    FUZZ_CHECK(text);
    memcpy(text, data + 2, size - 2);
    if (*text != '>' && *text != '|')
        fuzz_both(text, size - 2, most, false);
    free(text);
    return 0;
}
