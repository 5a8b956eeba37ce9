/* The inside of the decoder, for its three files only: the state, which is
   falkor__reply, and the tokens of RESP2 and RESP3 (integers, lengths, strings,
   lines). reply.c knows the parts of a reply and its memory, value.c what a
   value of the compact protocol looks like, plain.c any other.

   Parsing goes group by group. A group is the least that makes sense alone: a
   scalar with its type, a property with key and scalar, the head of a node. It
   is parsed whole or not at all: when its last byte is missing nothing of it
   is kept, and the next portion starts it anew. What is not bounded in length
   (rows, lists, properties, nested values) is a stack of frames between the
   groups, so that no peer can make the decoder recurse, or parse the same
   bytes more than some thousand times. */
#ifndef FALKOR_DECODE_H
#define FALKOR_DECODE_H
#include "internal.h"
#include <string.h>

#define FALKOR__FRAMES 8                /* frames without memory of their own */
#define FALKOR__MOST_LINE ((size_t)64 << 10)    /* a simple string or error */
#define FALKOR__SLACK ((size_t)16)      /* zero bytes behind what arrived */
#define FALKOR__IN_PLACE 256u           /* strings so long are never copied */

/* A frame is a list of elements that is not complete. */
typedef enum falkor__frame_kind {
    FALKOR__HEADER,             /* column names, of the result */
    FALKOR__ITEMS,              /* values with types, of an array */
    FALKOR__PLAIN,              /* values without, of a plain array */
    FALKOR__PAIRS,              /* keys and values without, of a plain map */
    FALKOR__PAIR_VALUE,         /* the same, where an entry has its key */
    FALKOR__FLOATS,             /* of a vector */
    FALKOR__ENTRIES,            /* of a map */
    FALKOR__PROPERTIES,         /* of a node or an edge */
    FALKOR__NODES,              /* of a path; its edges follow */
    FALKOR__EDGES               /* of a path */
} falkor__frame_kind;

typedef struct falkor__frame {
    void *owner;                /* gets the elements when they are complete */
    char *elements;
    uint32_t announced, capacity, count;
    falkor__frame_kind kind;
    size_t missing;             /* names missing when the frame began */
} falkor__frame;

/* A name that the schema did not hold. */
typedef struct falkor__missing_name {
    const char **slot;
    uint32_t id;
    falkor__name_kind kind;
} falkor__missing_name;

typedef struct falkor__held_schema falkor__held_schema;
struct falkor__held_schema {
    falkor__held_schema *next;
    falkor__schema *schema;
};

typedef enum falkor__stage {    /* what comes next while no frame is open */
    FALKOR__START, FALKOR__HEADER_HEAD, FALKOR__ROWS_HEAD, FALKOR__ROWS,
    FALKOR__SUMMARY_HEAD, FALKOR__SUMMARY, FALKOR__END, FALKOR__DONE
} falkor__stage;

/* What every group touches stands first, near its begin. */
typedef struct falkor__reply {
    /* The receive chunk: begin <= at <= end <= limit. FALKOR__SLACK zero bytes
       are behind end so that a comparison there fails rather than needs a
       check. While it is not pinned, no value points into it. */
    char *begin, *at, *end, *limit;
    bool pinned;

    uint64_t skip;              /* elements of no interest, still to come */
    size_t depth, frame_capacity;
    falkor__frame *frames;
    falkor__stage stage;
    falkor__reply_kind kind;
    falkor_status status;       /* why parsing stopped for good, sticky */
    falkor_result result;       /* what the caller has */
    falkor__arena arena;

    falkor_value *cells;        /* of the row in progress */
    size_t segment_left;        /* rows that fit behind it */
    uint32_t rows, row;         /* announced; begun and complete */
    uint32_t column;
    unsigned segment;
    bool in_row, row_ready;
    uint32_t lines;             /* of the summary, still to come */

    falkor__missing_name *missing;
    size_t missing_count, missing_kept, missing_capacity;

    /* Why parsing stopped: for want of bytes when stuck is end. */
    const char *stuck, *expected;
    falkor_error *error;        /* the caller's, during a call */

    size_t counts[FALKOR__NAME_KINDS];          /* the newest schema's */
    const char *const *names[FALKOR__NAME_KINDS];

    uint64_t before;            /* bytes of the reply in older chunks */
    uint64_t row_start;         /* position of this row, or of the reply */
    uint64_t need;              /* bytes from at that the group is known to
                                   need; 0: not known */
    falkor__chunk *chunks;      /* of received bytes, newest first */
    size_t next_input;
    falkor__limits limits;
    falkor__chunk *row_chunk;   /* the arena's newest and its place when a */
    char *row_at, *row_end;     /* row begins: row by row it goes back there */

    const char *error_text;
    size_t error_length;
    int64_t version;            /* the graph's own, of a mismatch; else -1 */
    falkor__held_schema *older;
    falkor__schema *schema;

    falkor__frame first_frames[FALKOR__FRAMES];     /* last: not cleared */
} falkor__reply;

/* ---- stopping (reply.c) ----------------------------------------------- */

/* Each parser takes the place to parse from and returns the place behind, or
   NULL when it is stuck: bytes are missing or wrong, which the end of the
   portion tells apart, or status says what else. */
FALKOR__COLD void falkor__note_stuck(falkor__reply *r, const char *where,
                                     const char *expected);
FALKOR__COLD void falkor__note_mismatch(falkor__reply *r, const char *p,
                                        const char *literal,
                                        const char *expected);
FALKOR__COLD void falkor__note_nomem(falkor__reply *r);
FALKOR__COLD void falkor__note_over(falkor__reply *r, const char *what,
                                    uint64_t number, uint64_t limit);

FALKOR__INLINE char *falkor__stuck(falkor__reply *r, const char *where,
                                   const char *expected) {
    falkor__note_stuck(r, where, expected);
    return NULL;
}

FALKOR__INLINE void *falkor__nomem(falkor__reply *r) {
    falkor__note_nomem(r);
    return NULL;
}

FALKOR__INLINE char *falkor__over(falkor__reply *r, const char *what,
                                  uint64_t number, uint64_t limit) {
    falkor__note_over(r, what, number, limit);
    return NULL;
}

inline void *falkor__take_array(falkor__reply *r, size_t count,
                                size_t size) {
    void *taken = size && count > SIZE_MAX / 4 / size ? NULL
        : falkor__arena_take(&r->arena, count * size);
    return FALKOR__LIKELY(taken != NULL) ? taken : falkor__nomem(r);
}

/* A group is complete, up to p: what it took stays taken. */
inline void falkor__commit(falkor__reply *r, char *p) {
    r->at = p;
    r->arena.kept = r->arena.at;
    r->missing_kept = r->missing_count;
}

/* ---- tokens ----------------------------------------------------------- */

/* Where the compiler inlines no call of these, it is of the copy in reply.c. */

inline char *falkor__literal(falkor__reply *r, char *p,
                             const char *literal, size_t length,
                             const char *expected) {
    if (FALKOR__LIKELY(memcmp(p, literal, length) == 0))
        return p + length;
    falkor__note_mismatch(r, p, literal, expected);
    return NULL;
}
#define FALKOR__LITERAL(r, p, text, expected) \
    falkor__literal((r), (p), "" text, sizeof text - 1, (expected))

/* Digits and CRLF. 19 digits cannot pass 64 bits, and more are refused. */
inline char *falkor__digits(falkor__reply *r, char *p, uint64_t *number,
                            const char *expected) {
    const char *first = p;
    uint64_t sum = 0;
    for (;; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit > 9)
            break;
        sum = sum * 10 + digit;
    }
    *number = sum;
    if (FALKOR__LIKELY((size_t)(p - first) - 1 < 19 && p[0] == '\r' &&
                       p[1] == '\n'))
        return p + 2;
    if (p - first > 19)
        return falkor__stuck(r, first, "a number of at most 64 bits");
    return falkor__stuck(r, p > first && *p == '\r' ? p + 1 : p, expected);
}

inline char *falkor__integer(falkor__reply *r, char *p,
                             int64_t *number) {
    uint64_t size;
    char *first = p + 1, *digits = first + (*p == ':' && *first == '-');
    bool negative = digits > first;
    if (*p != ':')
        return falkor__stuck(r, p, "an integer");
    if (!(p = falkor__digits(r, digits, &size, "an integer")))
        return NULL;
    if (size > (uint64_t)INT64_MAX + negative)
        return falkor__stuck(r, first, "an integer of 64 bits");
    *number = (int64_t)(negative ? 0 - size : size);
    return p;
}

/* An id of the schema. */
inline char *falkor__id(falkor__reply *r, char *p, uint64_t *id) {
    if (*p != ':')
        return falkor__stuck(r, p, "an id");
    return falkor__digits(r, p + 1, id, "an id, zero or more");
}

/* How many elements follow; p is at the byte that says of what. */
inline char *falkor__elements(falkor__reply *r, char *p,
                              uint32_t *count, const char *expected) {
    uint64_t number;
    if (!(p = falkor__digits(r, p + 1, &number, expected)))
        return NULL;
    if (number > UINT32_MAX)
        return falkor__over(r, "an array", number, UINT32_MAX);
    *count = (uint32_t)number;
    return p;
}

inline char *falkor__array(falkor__reply *r, char *p, uint32_t *count,
                           const char *expected) {
    if (*p != '*')
        return falkor__stuck(r, p, expected);
    return falkor__elements(r, p, count, expected);
}

/* length bytes from p and the CRLF behind are to be there. */
FALKOR__INLINE char *falkor__await(falkor__reply *r, const char *p,
                                   uint64_t length) {
    r->need = (uint64_t)(p - r->at) + length + 2;
    return falkor__stuck(r, r->end, "");
}

/* A length and so many bytes, from behind the first; falkor__keep_text makes
   them the result's. */
inline char *falkor__blob(falkor__reply *r, char *p, char **bytes,
                          uint32_t *length, const char *expected) {
    uint64_t number;
    if (!(p = falkor__digits(r, p, &number, expected)))
        return NULL;
    if (number > UINT32_MAX || number > r->limits.bytes)
        return falkor__over(r, "a string", number,
            r->limits.bytes < UINT32_MAX ? r->limits.bytes : UINT32_MAX);
    if ((uint64_t)(r->end - p) < number + 2)
        return falkor__await(r, p, number);
    *bytes = p;
    *length = (uint32_t)number;
    p += number;
    if (p[0] == '\r' && p[1] == '\n')
        return p + 2;
    return falkor__stuck(r, p + (*p == '\r'), "the end of a string");
}

inline char *falkor__bulk(falkor__reply *r, char *p, char **bytes,
                          uint32_t *length, const char *expected) {
    if (*p != '$')
        return falkor__stuck(r, p, expected);
    return falkor__blob(r, p + 1, bytes, length, expected);
}

/* A simple string or an error, from behind its first byte (reply.c). */
char *falkor__line(falkor__reply *r, char *p, char **bytes, uint32_t *length);

char *falkor__text(falkor__reply *r, char *p, char **bytes, uint32_t *length,
                   const char *expected);

/* Text of a group that is complete but for this, with a NUL behind it. Short
   text is copied, so that the receive chunk can be used again, fresh memory
   costing more than a copy; long text stays and pins the chunk, and then so
   does all that follows there. The copy goes by whole words: what lies behind
   the text, its CRLF and the slack, may be read. */
inline const char *falkor__keep_text(falkor__reply *r, char *bytes,
                                     uint32_t length) {
    if (r->pinned || length >= FALKOR__IN_PLACE) {
        r->pinned = true;
        bytes[length] = 0;
        return bytes;
    }
    char *copy = falkor__take_array(r, length + (size_t)1, 1);
    if (!copy)
        return NULL;
    for (uint32_t i = 0; i <= length; i += 8)
        memcpy(copy + i, bytes + i, 8);
    copy[length] = 0;
    return copy;
}

inline char *falkor__nil(falkor__reply *r, char *p) {
    if (*p == '*')
        return FALKOR__LITERAL(r, p, "*-1\r\n", "null");
    if (*p == '_')
        return FALKOR__LITERAL(r, p, "_\r\n", "null");
    return FALKOR__LITERAL(r, p, "$-1\r\n", "null");
}

/* ---- values (value.c) ------------------------------------------------- */

/* Opens a frame for announced elements. None: the owner stays as it is,
   empty. A path has its frame even without nodes, for its edges. */
bool falkor__push(falkor__reply *r, falkor__frame_kind kind, void *owner,
                  uint32_t announced);

/* [type, payload], into value. */
char *falkor__cell(falkor__reply *r, char *p, falkor_value *value);

/* One step inside the topmost frame; false: stuck. */
bool falkor__step_frame(falkor__reply *r);

/* ---- plain values (plain.c) ------------------------------------------- */

/* Any value of RESP2 or RESP3, and the next of the topmost frame's pairs. */
char *falkor__plain(falkor__reply *r, char *p, falkor_value *value);
char *falkor__pair(falkor__reply *r, char *p, falkor__frame *frame,
                   falkor_entry *entry);

/* The head of an attribute, which says something of the value behind it: its
   keys and values are to be skipped. */
char *falkor__attribute(falkor__reply *r, char *p);

/* One step among what is skipped; false: stuck. */
bool falkor__step_skip(falkor__reply *r);
#endif
