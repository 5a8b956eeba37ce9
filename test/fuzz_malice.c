/* A libFuzzer target that is a malicious server: an input is a script of heads
   with numbers of all sizes, of pieces of good replies, and of how often each
   comes, so that a few bytes make endless nesting, lines, lists and rows. The
   decoder, with limits that the input chooses, must come to an end or an error
   within the limit of bytes, and what memory it holds must be in proportion to
   what has come, never to what was announced. Every allocation is counted. */
#include "fuzz.h"
#include <sanitizer/allocator_interface.h>

/* ---- memory ------------------------------------------------------------- */

static size_t fuzz_live, fuzz_peak;
static _Thread_local bool fuzz_counts;  /* libFuzzer has threads of its own */

static void fuzz_taken(const volatile void *at, size_t size) {
    (void)size;
    if (!fuzz_counts)
        return;
    fuzz_live += __sanitizer_get_allocated_size((const void *)(uintptr_t)at);
    fuzz_peak = fuzz_live > fuzz_peak ? fuzz_live : fuzz_peak;
}

static void fuzz_given(const volatile void *at) {
    if (at && fuzz_counts)
        fuzz_live -=
            __sanitizer_get_allocated_size((const void *)(uintptr_t)at);
}

/* A value has 16 bytes and may come in three (24 of an entry in six); the room
   for a list doubles, and what it had before stays; a text of no bytes costs
   eight more. Each level has its frame and room for 64 elements of 48 bytes.
   Memory is taken in chunks, which double. */
static size_t fuzz_most_memory(const falkor__limits *limits, size_t come) {
    size_t depth = limits->depth < come ? limits->depth : come;
    return ((size_t)256 << 10) + 40 * come + depth * 4096;
}

/* ---- the script --------------------------------------------------------- */

#define FUZZ_MOST ((size_t)400000)
static char fuzz_bytes[FUZZ_MOST];

static size_t fuzz_add(size_t at, const char *bytes, size_t length,
                       size_t times) {
    for (; times && length && at + length <= FUZZ_MOST; times--) {
        memcpy(fuzz_bytes + at, bytes, length);
        at += length;
    }
    return at;
}

#define HEAD "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n"
#define CELL HEAD "*1\r\n*1\r\n*2\r\n"
static const char *const fuzz_pieces[] = {HEAD, CELL, CELL ":6\r\n",
    CELL ":8\r\n*3\r\n:1\r\n", CELL ":10\r\n", CELL ":12\r\n",
    CELL ":9\r\n*2\r\n*2\r\n:6\r\n", "*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n*0\r\n",
    "*2\r\n:6\r\n", "*2\r\n:7\r\n*5\r\n:1\r\n:9\r\n:1\r\n:1\r\n*0\r\n",
    "*3\r\n:9\r\n:1\r\n_\r\n", "*2\r\n:1\r\n_\r\n", "*1\r\n*2\r\n:1\r\n_\r\n",
    "*2\r\n:6\r\n*1\r\n", "*1\r\n", "*64\r\n", "%1\r\n_\r\n", "%64\r\n",
    "|64\r\n",
    "|1\r\n", "*2\r\n:1\r\n+n\r\n", "_\r\n", "+\r\n", "$0\r\n\r\n", ":9\r\n",
    "*3\r\n*0\r\n*4294967295\r\n", "*0\r\n", "*2\r\n:99\r\n",
    ">1\r\n_\r\n", "x", "+", "-", "*2\r\n-E\r\n:1\r\n", "$1\r\na\r\n",
    "*1\r\n+Nodes created: 1\r\n",
    "*3\r\n*4294967295\r\n", "$300\r\n", "*2\r\n:2\r\n$2\r\nhi\r\n",
    "*2\r\n:4\r\n$4\r\ntrue\r\n", "*2\r\n:5\r\n$3\r\n1.5\r\n",
    "*2\r\n:11\r\n*2\r\n$1\r\n1\r\n$2\r\n-1\r\n", "*2\r\n:15\r\n:-1\r\n",
    CELL ":7\r\n*5\r\n:1\r\n:9\r\n:1\r\n:1\r\n", "*2\r\n:7\r\n",
    CELL ":8\r\n*3\r\n:1\r\n*0\r\n", "*2\r\n:3\r\n:1\r\n", "$1\r\n1\r\n",
    CELL ":9\r\n*2\r\n*2\r\n:6\r\n*1\r\n*2\r\n:8\r\n*3\r\n:1\r\n*0\r\n"
    "*0\r\n",
    "*2\r\n:12\r\n", "*2\r\n:10\r\n", "*2\r\n:9\r\n"};
static const char *const fuzz_numbers[] = {"0", "-0", "-1", "-2", "1", "2",
    "63", "64", "65", "4095", "4096", "4097", "65535", "65536", "2147483647",
    "2147483648", "4294967295", "4294967296", "4611686018427387904",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "18446744073709551616", "1152921504606846976",
    "9999999999999999999", "00000000000000000000000000000000001",
    "1e9", "", "?", "1.5"};
static const uint32_t fuzz_times[] = {1, 1, 1, 2, 5, 63, 64, 65, 1000, 70000,
                                      UINT32_MAX};
#define FUZZ_ONE(list, tape) \
    (list)[fuzz_below((tape), sizeof(list) / sizeof *(list))]

static size_t fuzz_script(fuzz_tape *tape) {
    size_t at = 0;
    while (tape->at < tape->end) {
        char head[80];
        unsigned what = fuzz_below(tape, 8);
        size_t times = what & 1 ? FUZZ_ONE(fuzz_times, tape) : 1;
        const char *piece = FUZZ_ONE(fuzz_pieces, tape);
        size_t length = strlen(piece);
        if (what >= 4 && what < 7) {
            length = (size_t)snprintf(head, sizeof head, "%c%s\r\n",
                "*$:%~>|(=!,+-"[fuzz_below(tape, 13)],
                FUZZ_ONE(fuzz_numbers, tape));
            piece = head;
        } else if (what == 7) {
            length = fuzz_below(tape, 16);
            for (size_t i = 0; i < length; i++)
                head[i] = (char)fuzz_byte(tape);
            piece = head;
        }
        at = fuzz_add(at, piece, length, times);
    }
    return at;
}

/* ---- the target --------------------------------------------------------- */

static void fuzz_play(falkor__reply_kind kind, const falkor__limits *limits,
                      size_t size, size_t most) {
    falkor_error error = {0};
    falkor_status status = FALKOR_OK;
    falkor__name_kind name;
    uint64_t state = most, id;
    size_t at = 0, row = 0, room;
    bool by_row = kind == FALKOR__REPLY_ROWS;   /* the head has its own */
    fuzz_live = fuzz_peak = 0;
    fuzz_counts = true;
    falkor_result *r = falkor__reply_new(kind, NULL, limits);
    while (!status && !falkor__reply_done(r) && at < size) {
        char *to = falkor__reply_room(r, &room);
        size_t portion = fuzz_portion(&state, most);
        FUZZ_CHECK(to && room > 0);
        room = room < portion ? room : portion;
        room = room < size - at ? room : size - at;
        memcpy(to, fuzz_bytes + at, room);
        at += room;
        status = falkor__reply_feed(r, room, &error);
        while (!status && falkor__reply_row_ready(r)) {
            row = at - room;
            status = falkor__reply_next(r, &error);
        }
        size_t come = at - row;         /* of this row, or somewhat more */
        FUZZ_CHECK(fuzz_peak <= fuzz_most_memory(limits, come));
        if (row)
            fuzz_peak = fuzz_live;
        FUZZ_CHECK(status || falkor__reply_done(r) ||
                   come <= (by_row ? 2 * limits->bytes + most
                                   : limits->bytes));
    }
    FUZZ_CHECK(status == FALKOR_OK || status == FALKOR_ERR_PROTOCOL ||
               status == FALKOR_ERR_LIMIT);
    falkor__reply_lacks(r, 0, &name, &id);
    falkor_result_free(r);
    falkor__spares_free();
    fuzz_counts = false;
    FUZZ_CHECK(fuzz_live == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    FUZZ_CHECK(__sanitizer_install_malloc_and_free_hooks(fuzz_taken,
                                                         fuzz_given));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const falkor__limits limits[] = {{16, 1 << 10}, {200, 1 << 14},
        {1024, 1 << 16}, {64, 1 << 18}};
    fuzz_tape tape = {data, data + size};
    unsigned how = fuzz_byte(&tape);
    size_t most = (size_t[]){1 << 20, 4096, 1460, 100, 17, 1}[how / 16 % 6];
    const falkor__limits *limit = &limits[how % 4];
    size_t length = fuzz_script(&tape);
    if (most < 100 && length > 8000)
        length = 8000;                  /* byte by byte it takes its time */
    fuzz_play((falkor__reply_kind)(how / 4 % 3), limit, length, most);
    return 0;
}
