/* A libFuzzer target that holds the decoder against the reader of hiredis 1.x:
   whatever both take as a reply has the same values and the same end, and what
   one refuses the other takes only where this file says so, on purpose.
   We refuse more:   bytes behind a string that are no CRLF; a hexadecimal
                     number, or one behind spaces; #T and #F; a length of -1 of
                     what is neither a string nor an array; a big number without
                     digits; a key that is no scalar; nesting beyond our limit.
   hiredis refuses   attributes (|) and errors with a length (!), which it does
   more:             not know; integers and lengths with zeros before them, or
                     -0; a line feed alone in a line (FalkorDB's messages hold
                     them); doubles beyond the largest, or of more than 325
                     bytes; a + before a big number. */
#include "fuzz.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>

/* ---- valid replies ------------------------------------------------------ */

static int fuzz_values;

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
    if (--fuzz_values < 0)
        return stpcpy(at, "_\r\n");
    switch (kind) {
    case 0: return at + sprintf(at, ":%" PRId64 "\r\n",
                                (int64_t)fuzz_number(tape, 8));
    case 1: return at + sprintf(at, ":%d\r\n", (int)fuzz_below(tape, 200) - 9);
    case 2:
        any.bits = fuzz_number(tape, 8);
        return at + sprintf(at, ",%.*g\r\n", (int)fuzz_below(tape, 18),
                            any.real);
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

/* ---- the same refusals -------------------------------------------------- */

static bool fuzz_is_among(const char *message, const char *const *list) {
    for (; *list; list++)
        if (strstr(message, *list))
            return true;
    return false;
}

static const char *const fuzz_only_ours[] = {"expected the end of a string",
    "expected the end of a line",
    "expected a number at", "expected true or false", "expected a list",
    "expected a string", "expected null", "expected a big number",
    "expected a key that is a scalar", "with a nesting of", NULL};
static const char *const fuzz_only_theirs[] = {"got \"|\" as reply type",
    "got \"!\" as reply type", "Bad simple string value", "Bad double value",
    "Double value is too large", "Multi-bulk length out of range", NULL};
static const char *const fuzz_of_zeros[] = {"Bad integer value",
    "Bad bulk string length", "Bad multi-bulk length", NULL};

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
        FUZZ_CHECK(message_behind ||
                   (status && fuzz_is_among(message, fuzz_only_ours)));
    } else if (reader->err) {
        FUZZ_CHECK(status || fuzz_is_among(reader->errstr, fuzz_only_theirs) ||
                   (fuzz_is_among(reader->errstr, fuzz_of_zeros) &&
                    fuzz_has_zeros(text, size)) ||
                   memmem(text, size, "(+", 2));
    } else {
        FUZZ_CHECK(!done);
    }
}

/* ---- the target --------------------------------------------------------- */

static void fuzz_both(const char *bytes, size_t size, size_t most) {
    falkor__limits limits = {.depth = 200, .bytes = 1 << 24};
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
        char *end = fuzz_make(&tape, made, 0);
        *end = '\0';
        if (*made != '>')               /* is no reply */
            fuzz_both(made, (size_t)(end - made), most);
        return 0;
    }
    char *text = calloc(1, size);
    FUZZ_CHECK(text);
    memcpy(text, data + 2, size - 2);
    if (*text != '>' && *text != '|')
        fuzz_both(text, size - 2, most);
    free(text);
    return 0;
}
