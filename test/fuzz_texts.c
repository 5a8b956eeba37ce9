/* A libFuzzer target for texts that come from elsewhere: a server's INFO, which
   becomes part of a snapshot and is written as JSON, for Prometheus and as
   tables, each of which is read again; and the message of an event, whose
   fields are taken out, and found again where they were put in.
   falkor_command is the target's own here (the linker's --wrap). */
#include "../call.h"
#include "../snapshot.h"
#include "fuzz.h"
#include <cjson/cJSON.h>
#include <inttypes.h>

/* ---- INFO --------------------------------------------------------------- */

static falkor_pool *fuzz_pool;
static falkor_snapshot *fuzz_snapshot;
static const uint8_t *fuzz_info;        /* what the server says */
static size_t fuzz_size;

falkor_status __wrap_falkor_command(falkor_pool *pool,
    const falkor_call_options *options, size_t argc, const char *const *argv,
    const size_t *lengths, falkor_result **result, falkor_error *error);
falkor_status __wrap_falkor_command(falkor_pool *pool,
    const falkor_call_options *options, size_t argc, const char *const *argv,
    const size_t *lengths, falkor_result **result, falkor_error *error) {
    char head[40];
    size_t at = 0, room;
    (void)pool, (void)options, (void)argc, (void)argv, (void)lengths;
    falkor_result *r = falkor__reply_new(FALKOR__REPLY_PLAIN, NULL, NULL);
    char *whole = malloc(fuzz_size + sizeof head);
    FUZZ_CHECK(r && whole);
    size_t size = (size_t)sprintf(whole, "$%zu\r\n", fuzz_size);
    memcpy(whole + size, fuzz_info, fuzz_size);
    memcpy(whole + size + fuzz_size, "\r\n", 2);
    size += fuzz_size + 2;
    while (!falkor__reply_done(r)) {
        char *to = falkor__reply_room(r, &room);
        room = room < size - at ? room : size - at;
        memcpy(to, whole + at, room);
        at += room;
        FUZZ_CHECK(falkor__reply_feed(r, room, error) == FALKOR_OK);
    }
    free(whole);
    *result = r;
    return FALKOR_OK;
}

typedef struct fuzz_page { char *text; size_t length; } fuzz_page;

static bool fuzz_add(void *ctx, const char *bytes, size_t length) {
    fuzz_page *page = ctx;
    page->text = realloc(page->text, page->length + length + 1);
    FUZZ_CHECK(page->text);
    memcpy(page->text + page->length, bytes, length);
    page->length += length;
    page->text[page->length] = '\0';
    return true;
}

/* A line for Prometheus: a comment, or name{label="text",...} number. */
static const char *fuzz_prometheus_line(const char *at) {
    static const char names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
                                "UVWXYZ_:0123456789";
    if (*at == '#')
        return strchr(at, '\n') + 1;
    size_t length = strspn(at, names);
    FUZZ_CHECK(length > 0);
    at += length;
    for (bool more = *at == '{'; more; ) {
        length = strspn(++at, names);
        FUZZ_CHECK(length > 0 && at[length] == '=' && at[length + 1] == '"');
        for (at += length + 2; *at != '"'; at++) {
            FUZZ_CHECK(*at && *at != '\n');
            if (*at == '\\')
                FUZZ_CHECK(strchr("\\\"n", *++at));
        }
        at++;
        more = *at == ',';
        FUZZ_CHECK(more || *at == '}');
        at += !more;
    }
    char *end;
    FUZZ_CHECK(*at++ == ' ');
    strtod(at, &end);
    FUZZ_CHECK(end > at && *end == '\n');
    return end + 1;
}

static void fuzz_read_page(falkor_format format, const fuzz_page *page) {
    FUZZ_CHECK(page->text && strlen(page->text) == page->length);
    FUZZ_CHECK(page->text[page->length - 1] == '\n');
    FUZZ_CHECK(fuzz_is_utf8(page->text));
    if (format == FALKOR_FORMAT_JSON) {
        cJSON *json = cJSON_ParseWithOpts(page->text, NULL, true);
        const cJSON *server = cJSON_GetObjectItem(json, "server");
        const cJSON *version = cJSON_GetObjectItem(server, "version");
        FUZZ_CHECK(json && cJSON_IsString(version));
        FUZZ_CHECK(strlen(version->valuestring) < 3 * 32);
        cJSON_Delete(json);
    } else if (format == FALKOR_FORMAT_PROMETHEUS) {
        for (const char *at = page->text; *at; )
            at = fuzz_prometheus_line(at);
    } else {
        for (const char *at = page->text; *at; at++)
            FUZZ_CHECK((unsigned char)*at >= ' ' || *at == '\n');
    }
}

/* Two answers, a byte 1 between them, of a server that is asked twice. */
static void fuzz_server(const uint8_t *data, size_t size,
                        falkor_format format) {
    const uint8_t *cut = memchr(data, 1, size), *end = data + size;
    falkor__client_of(fuzz_pool)->told_count = 0;       /* of other inputs */
    for (fuzz_info = data; fuzz_info; fuzz_info = cut, cut = NULL) {
        fuzz_size = (size_t)((cut ? cut++ : end) - fuzz_info);
        FUZZ_CHECK(falkor_snapshot_ask_server(fuzz_snapshot, fuzz_pool,
                                              NULL) == FALKOR_OK);
        const falkor__server_view *server = &fuzz_snapshot->server;
        FUZZ_CHECK(server->known && strlen(server->version) < 32);
        FUZZ_CHECK(server->rejected_lately >= 0 &&
                   server->rejected_lately <= server->rejected);
    }
    fuzz_page page = {NULL, 0};
    FUZZ_CHECK(falkor_snapshot_write((const falkor_snapshot *const[]){
        fuzz_snapshot}, 1, format, fuzz_add, &page) == FALKOR_OK);
    fuzz_read_page(format, &page);
    free(page.text);
}

/* ---- the fields of an event --------------------------------------------- */

/* What came out is the value that begins here: quoted, where a backslash stands
   before what is meant as it is, or as far as a space; cut by a whole character
   where there was no room for more. */
static bool fuzz_is_value(const char *at, const char *out, size_t size) {
    bool quoted = *at == '"';
    size_t length = strlen(out);
    for (at += quoted; *out; out++, at++) {
        if (*at == (quoted ? '"' : ' '))
            return false;
        at += quoted && *at == '\\' && at[1];
        if (*at != *out)                /* *out is no NUL, so neither is *at */
            return false;
    }
    return !*at || *at == (quoted ? '"' : ' ') ||
           (length + 1 <= size && length + 4 >= size);
}

/* There is a place in the message where the key stands, alone and before an =,
   and what came out behind. */
static bool fuzz_is_piece(const char *message, const char *key,
                          const char *out, size_t size) {
    size_t length = strlen(key);
    for (const char *at = message; *at; at++)
        if (strncmp(at, key, length) == 0 && at[length] == '=' &&
            (at == message || strchr("\" ", at[-1])) &&
            fuzz_is_value(at + length + 1, out, size))
            return true;
    return false;
}

/* Any message, any key, any room: what comes out is a piece of the message. */
static void fuzz_any_event(fuzz_tape *tape) {
    char key[8] = "", message[512] = "", room[64];
    size_t size = fuzz_below(tape, sizeof room + 1);
    for (unsigned i = 0, length = fuzz_below(tape, sizeof key); i < length; i++)
        key[i] = (char)fuzz_byte(tape);
    size_t length = (size_t)(tape->end - tape->at);
    length = length < sizeof message - 1 ? length : sizeof message - 1;
    memcpy(message, tape->at, length);
    falkor_event event = {.message = message};
    memset(room, 'x', sizeof room);
    bool found = falkor_event_field(&event, key, size ? room : NULL, size);
    if (size)
        FUZZ_CHECK(memchr(room, '\0', size) != NULL && (found || !*room));
    FUZZ_CHECK(size == sizeof room || room[size] == 'x');
    FUZZ_CHECK(!found || fuzz_is_piece(message, key, size ? room : "",
                                       size ? size : 1));
    bool first = strncmp(message, key, strlen(key)) == 0 &&
        message[strlen(key)] == '=' && !strpbrk(key, "= ");
    FUZZ_CHECK(found || !first);
    FUZZ_CHECK(!found || falkor_event_field(&event, key, NULL, 0));
}

/* Fields that were quoted, as the library does, come out as they went in, but
   for control characters, which are spaces. */
static void fuzz_own_event(fuzz_tape *tape) {
    char message[1024], *at = message, texts[4][40], room[64], quoted[100];
    unsigned count = fuzz_below(tape, 4) + 1;
    memset(message, 0, sizeof message);
    for (unsigned i = 0; i < count; i++) {
        unsigned length = fuzz_below(tape, sizeof texts[i]);
        memset(texts[i], 0, sizeof texts[i]);
        for (unsigned k = 0; k < length; k++)
            texts[i][k] = (char)fuzz_byte(tape);
        at += sprintf(at, "%sk%u=%s", i ? " " : "", i,
                      falkor__quote(quoted, sizeof quoted, texts[i]));
    }
    falkor_event event = {.message = message};
    for (unsigned i = 0; i < count; i++) {
        char key[4] = {'k', (char)('0' + i)};
        FUZZ_CHECK(falkor_event_field(&event, key, room, sizeof room));
        FUZZ_CHECK(strlen(room) == strlen(texts[i]));
        for (size_t k = 0; room[k]; k++)
            FUZZ_CHECK(room[k] == ((unsigned char)texts[i][k] < ' '
                                   ? ' ' : texts[i][k]));
    }
    FUZZ_CHECK(!falkor_event_field(&event, "k9", room, sizeof room));
}

/* ---- the target --------------------------------------------------------- */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    FUZZ_CHECK(falkor_pool_create(NULL, &fuzz_pool, NULL) == FALKOR_OK);
    FUZZ_CHECK(falkor_snapshot_take(fuzz_pool, &fuzz_snapshot, NULL) ==
               FALKOR_OK);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    fuzz_tape tape = {data + 1, data + size};
    switch (*data % 3) {
    case 0:
        fuzz_server(data + 1, size - 1, (falkor_format)(*data / 3 % 6));
        break;
    case 1: fuzz_any_event(&tape); break;
    default: fuzz_own_event(&tape);
    }
    return 0;
}
