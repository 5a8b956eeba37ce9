/* The decoder of replies: it turns RESP2 bytes, as they arrive, into the
   typed values of a falkor_result. Strings stay where they were received, and
   the values that point to them lie in an arena beside; a small reply needs
   one block of memory in all.

   Parsing goes group by group. A group is the least that makes sense alone: a
   scalar with its type, a property with key and scalar, the head of a node. It
   is parsed whole or not at all: when its last byte is missing nothing of it
   is kept, and the next portion starts it anew. What is not bounded in length
   (rows, lists, properties, nested values) is a stack of frames between the
   groups, so that no peer can make the decoder recurse, or parse the same
   bytes more than some thousand times. Knows the protocol; does no I/O. */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define FALKOR__COLD __attribute__((noinline, cold))
#else
#define FALKOR__COLD
#endif

#define FALKOR__BLOCK ((size_t)4096)    /* result, state and first memory */
#define FALKOR__FIRST_INPUT ((size_t)2048)      /* of it, for received bytes */
#define FALKOR__INPUT ((size_t)64 << 10)        /* the next receive chunk */
#define FALKOR__MOST_INPUT ((size_t)1 << 20)    /* they double up to this */
#define FALKOR__ARENA ((size_t)4 << 10)         /* the same of the arena's */
#define FALKOR__MOST_ARENA ((size_t)1 << 20)
#define FALKOR__ROWS_ARENA ((size_t)64 << 10)   /* row by row: at most this */
#define FALKOR__SLACK ((size_t)16)      /* zero bytes behind what arrived */
#define FALKOR__FRAMES 8                /* frames without memory of their own */
#define FALKOR__AT_ONCE 64u             /* elements trusted when announced */
#define FALKOR__MOST_LABELS 4096u       /* of one node: they are one group */
#define FALKOR__MOST_LINE ((size_t)64 << 10)    /* a simple string or error */
#define FALKOR__FIRST_ROWS ((size_t)1 << 10)    /* bytes of the first segment */

/* A frame is a list of elements that is not complete. */
typedef enum falkor__frame_kind {
    FALKOR__HEADER,             /* column names, of the result */
    FALKOR__ITEMS,              /* values with types, of an array */
    FALKOR__PLAIN,              /* values without, of a plain array */
    FALKOR__FLOATS,             /* of a vector */
    FALKOR__ENTRIES,            /* of a map */
    FALKOR__PROPERTIES,         /* of a node or an edge */
    FALKOR__NODES,              /* of a path; its edges follow */
    FALKOR__EDGES               /* of a path */
} falkor__frame_kind;

static const uint8_t falkor__element_sizes[] = {
    [FALKOR__HEADER] = sizeof(const char *),
    [FALKOR__ITEMS] = sizeof(falkor_value),
    [FALKOR__PLAIN] = sizeof(falkor_value),
    [FALKOR__FLOATS] = sizeof(float),
    [FALKOR__ENTRIES] = sizeof(falkor_entry),
    [FALKOR__PROPERTIES] = sizeof(falkor_entry),
    [FALKOR__NODES] = sizeof(falkor_node),
    [FALKOR__EDGES] = sizeof(falkor_edge)};

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

typedef struct falkor__reply {
    falkor_result result;       /* first: one is converted to the other */
    falkor__reply_kind kind;
    falkor__stage stage;
    falkor__limits limits;

    /* The receive chunk: begin <= live <= at <= end <= limit. Values point
       into what lies from live to at; FALKOR__SLACK zero bytes are behind end
       so that a comparison there fails rather than needs a check. */
    char *begin, *live, *at, *end, *limit;
    uint64_t before;            /* bytes of the reply in older chunks */
    uint64_t row_start;         /* position of this row, or of the reply */
    uint64_t need;              /* bytes from at that the group is known to
                                   need; 0: not known */
    falkor__chunk *chunks;      /* of received bytes, newest first */
    size_t next_input;

    falkor__arena arena;
    falkor__chunk *row_chunk;   /* the arena's newest and its place when a */
    char *row_at;               /* row begins: row by row it goes back there */

    /* Why parsing stopped: for want of bytes when stuck is end. */
    const char *stuck, *expected;
    falkor_status status;       /* any other reason, sticky */
    falkor_error *error;        /* the caller's, during a call */

    falkor_value *cells;        /* of the row in progress */
    size_t segment_left;        /* rows that fit behind it */
    uint32_t rows, row;         /* announced; begun and complete */
    uint32_t column;
    unsigned segment;
    bool in_row, row_ready;
    uint32_t lines;             /* of the summary, still to come */
    uint64_t skip;              /* elements of no interest, still to come */

    falkor__frame *frames;
    size_t depth, frame_capacity;
    falkor__frame first_frames[FALKOR__FRAMES];

    const char *error_text;
    size_t error_length;

    size_t counts[FALKOR__NAME_KINDS];          /* the newest schema's */
    const char *const *names[FALKOR__NAME_KINDS];
    falkor__missing_name *missing;
    size_t missing_count, missing_kept, missing_capacity;
    falkor__held_schema *older;
    falkor__schema *schema;
} falkor__reply;

const falkor__limits falkor__default_limits = {
    .depth = 1024, .bytes = (size_t)1 << 31};

_Static_assert(sizeof(falkor__reply) + FALKOR__FIRST_INPUT + 512 <
               FALKOR__BLOCK, "a small reply fits the first block");

/* ---- stopping --------------------------------------------------------- */

/* Each parser below takes the place to parse from and returns the place
   behind, or NULL when it is stuck: bytes are missing or wrong, which
   falkor__outcome tells apart, or status says what else. */

static FALKOR__COLD void falkor__note_stuck(falkor__reply *r,
                                            const char *where,
                                            const char *expected) {
    r->stuck = where;
    r->expected = expected;
}

static inline char *falkor__stuck(falkor__reply *r, const char *where,
                                  const char *expected) {
    falkor__note_stuck(r, where, expected);
    return NULL;
}

static FALKOR__COLD void falkor__note_nomem(falkor__reply *r) {
    r->status = falkor__fail(r->error, FALKOR_ERR_NOMEM, 0,
        "no memory for the reply after %llu bytes of it",
        (unsigned long long)(r->before + (uint64_t)(r->at - r->begin)));
}

static inline void *falkor__nomem(falkor__reply *r) {
    falkor__note_nomem(r);
    return NULL;
}

static FALKOR__COLD void falkor__note_over(falkor__reply *r, const char *what,
                                           uint64_t number, uint64_t limit) {
    r->status = falkor__fail(r->error, FALKOR_ERR_LIMIT, 0,
        "reply with %s of %llu: the limit is %llu", what,
        (unsigned long long)number, (unsigned long long)limit);
}

static inline char *falkor__over(falkor__reply *r, const char *what,
                                 uint64_t number, uint64_t limit) {
    falkor__note_over(r, what, number, limit);
    return NULL;
}

/* The bytes at the place of trouble, printable. */
static void falkor__show(const char *at, const char *end, char *text,
                         size_t size) {
    size_t length = 0;
    const char *stop = end - at > 16 ? at + 16 : end;
    for (; at < stop && length + 8 < size; at++) {
        unsigned char byte = (unsigned char)*at;
        const char *format = byte == '\r' ? "\\r" : byte == '\n' ? "\\n" :
            byte == '"' || byte == '\\' ? "\\%c" :
            byte >= ' ' && byte < 127 ? "%c" : "\\x%02x";
        length += (size_t)snprintf(text + length, size - length, format, byte);
    }
    text[length] = 0;
}

static FALKOR__COLD falkor_status falkor__malformed(falkor__reply *r) {
    char found[80];
    falkor__show(r->stuck, r->end, found, sizeof found);
    return falkor__fail(r->error, FALKOR_ERR_PROTOCOL, 0,
        "malformed reply: expected %s at byte %llu, found \"%s\"", r->expected,
        (unsigned long long)(r->before + (uint64_t)(r->stuck - r->begin)),
        found);
}

static void falkor__keep_arena(falkor__reply *r) {
    r->arena.kept = r->arena.at;
}

/* A group is complete, up to p: what it took stays taken. */
static inline void falkor__commit(falkor__reply *r, char *p) {
    r->at = p;
    r->arena.kept = r->arena.at;
    r->missing_kept = r->missing_count;
}

/* ---- tokens ----------------------------------------------------------- */

static FALKOR__COLD void falkor__mismatch(falkor__reply *r, const char *p,
                                          const char *literal,
                                          const char *expected) {
    while (*p == *literal)
        p++, literal++;
    falkor__note_stuck(r, p, expected);
}

static inline char *falkor__literal(falkor__reply *r, char *p,
                                    const char *literal, size_t length,
                                    const char *expected) {
    if (FALKOR__LIKELY(memcmp(p, literal, length) == 0))
        return p + length;
    falkor__mismatch(r, p, literal, expected);
    return NULL;
}
#define FALKOR__LITERAL(r, p, text, expected) \
    falkor__literal((r), (p), "" text, sizeof text - 1, (expected))

/* Digits and CRLF. 19 digits cannot pass 64 bits, and more are refused. */
static inline char *falkor__digits(falkor__reply *r, char *p, uint64_t *number,
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

static inline char *falkor__integer(falkor__reply *r, char *p,
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
static inline char *falkor__id(falkor__reply *r, char *p, uint64_t *id) {
    if (*p != ':')
        return falkor__stuck(r, p, "an id");
    return falkor__digits(r, p + 1, id, "an id, zero or more");
}

static inline char *falkor__array(falkor__reply *r, char *p, uint32_t *count,
                                  const char *expected) {
    uint64_t number;
    if (*p != '*')
        return falkor__stuck(r, p, expected);
    if (!(p = falkor__digits(r, p + 1, &number, expected)))
        return NULL;
    if (number > UINT32_MAX)
        return falkor__over(r, "an array", number, UINT32_MAX);
    *count = (uint32_t)number;
    return p;
}

/* length bytes from p and the CRLF behind are to be there. */
static inline char *falkor__await(falkor__reply *r, const char *p,
                                  uint64_t length) {
    r->need = (uint64_t)(p - r->at) + length + 2;
    return falkor__stuck(r, r->end, "");
}

/* A bulk string, which the caller ends with NUL once its group is complete:
   its CR is still needed to parse it again. */
static inline char *falkor__bulk(falkor__reply *r, char *p, char **bytes,
                                 uint32_t *length, const char *expected) {
    uint64_t number;
    if (*p != '$')
        return falkor__stuck(r, p, expected);
    if (!(p = falkor__digits(r, p + 1, &number, expected)))
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

/* A simple string or an error, from behind its first byte. */
static char *falkor__line(falkor__reply *r, char *p, char **bytes,
                          uint32_t *length) {
    size_t there = (size_t)(r->end - p);
    size_t most = there < FALKOR__MOST_LINE ? there : FALKOR__MOST_LINE;
    char *cr = memchr(p, '\r', most);
    if (!cr && there >= FALKOR__MOST_LINE)
        return falkor__over(r, "a line", there, FALKOR__MOST_LINE);
    if (!cr)
        return falkor__stuck(r, r->end, "");
    if (cr[1] != '\n')
        return falkor__stuck(r, cr + 1, "the end of a line");
    *bytes = p;
    *length = (uint32_t)(cr - p);
    return cr + 2;
}

static char *falkor__text(falkor__reply *r, char *p, char **bytes,
                          uint32_t *length, const char *expected) {
    if (*p == '+')
        return falkor__line(r, p + 1, bytes, length);
    return falkor__bulk(r, p, bytes, length, expected);
}

static char *falkor__nil(falkor__reply *r, char *p) {
    if (*p == '*')
        return FALKOR__LITERAL(r, p, "*-1\r\n", "null");
    return FALKOR__LITERAL(r, p, "$-1\r\n", "null");
}

/* ---- names ------------------------------------------------------------ */

static FALKOR__COLD bool falkor__name_missing(falkor__reply *r, uint64_t id,
                                              falkor__name_kind kind,
                                              const char **slot) {
    if (id > INT32_MAX) {
        falkor__stuck(r, r->at, "ids of names below 2^31");
        return false;
    }
    if (r->missing_count == r->missing_capacity) {
        size_t capacity = r->missing_capacity ? r->missing_capacity * 2 : 32;
        falkor__missing_name *list =
            capacity > SIZE_MAX / sizeof *list ? NULL
            : realloc(r->missing, capacity * sizeof *list);
        if (!list)
            return falkor__nomem(r) != NULL;
        r->missing = list;
        r->missing_capacity = capacity;
    }
    *slot = "";
    r->missing[r->missing_count++] =
        (falkor__missing_name){slot, (uint32_t)id, kind};
    return true;
}

static inline bool falkor__name(falkor__reply *r, uint64_t id,
                                falkor__name_kind kind, const char **slot) {
    if (!FALKOR__LIKELY(id < r->counts[kind]))
        return falkor__name_missing(r, id, kind, slot);
    *slot = r->names[kind][id];
    return true;
}

/* The elements of a frame have moved, and with them the slots among them. */
static void falkor__move_missing(falkor__reply *r, size_t first,
                                 const char *from, size_t bytes, char *to) {
    for (size_t i = first; i < r->missing_count; i++) {
        uintptr_t offset = (uintptr_t)r->missing[i].slot - (uintptr_t)from;
        if (offset < bytes)
            r->missing[i].slot = (const char **)(void *)(to + offset);
    }
}

static void falkor__use_schema(falkor__reply *r,
                               const falkor__schema *schema) {
    for (int kind = 0; schema && kind < FALKOR__NAME_KINDS; kind++) {
        r->counts[kind] = schema->counts[kind];
        r->names[kind] = schema->names[kind];
    }
}

/* ---- frames ----------------------------------------------------------- */

static void *falkor__take_array(falkor__reply *r, size_t count, size_t size) {
    void *taken = size && count > SIZE_MAX / 4 / size ? NULL
        : falkor__arena_take(&r->arena, count * size);
    return taken ? taken : falkor__nomem(r);
}

static bool falkor__more_frames(falkor__reply *r) {
    if (r->depth >= r->limits.depth)
        return falkor__over(r, "a nesting", r->depth + 1, r->limits.depth);
    if (r->depth < r->frame_capacity)
        return true;
    falkor__frame *frames =
        falkor__take_array(r, r->frame_capacity * 2, sizeof *frames);
    if (!frames)
        return false;
    memcpy(frames, r->frames, r->depth * sizeof *frames);
    r->frames = frames;
    r->frame_capacity *= 2;
    return true;
}

/* Opens a frame for announced elements. None: the owner stays as it is,
   empty. A path has its frame even without nodes, for its edges. */
static bool falkor__push(falkor__reply *r, falkor__frame_kind kind,
                         void *owner, uint32_t announced) {
    if (announced == 0 && kind != FALKOR__NODES)
        return true;
    if (!FALKOR__LIKELY(r->depth < r->frame_capacity &&
                        r->depth < r->limits.depth) && !falkor__more_frames(r))
        return false;
    uint32_t capacity =
        announced < FALKOR__AT_ONCE ? announced : FALKOR__AT_ONCE;
    char *elements =
        falkor__take_array(r, capacity, falkor__element_sizes[kind]);
    if (!elements)
        return false;
    r->frames[r->depth++] = (falkor__frame){.owner = owner,
        .elements = elements, .announced = announced, .capacity = capacity,
        .kind = kind, .missing = r->missing_count};
    return true;
}

/* Doubles a frame's room: in place where it is the arena's newest block. */
static bool falkor__grow(falkor__reply *r, falkor__frame *frame) {
    size_t size = falkor__element_sizes[frame->kind];
    size_t bytes = frame->capacity * size;
    uint32_t left = frame->announced - frame->capacity;
    uint32_t more = left < frame->capacity ? left : frame->capacity;
    if (frame->elements + bytes == r->arena.at &&
        more * size <= (size_t)(r->arena.end - r->arena.at)) {
        falkor__arena_take(&r->arena, more * size);
    } else {
        char *moved = falkor__take_array(r, frame->capacity + (size_t)more,
                                         size);
        if (!moved)
            return false;
        memcpy(moved, frame->elements, bytes);
        falkor__move_missing(r, frame->missing, frame->elements, bytes, moved);
        frame->elements = moved;
    }
    frame->capacity += more;
    falkor__keep_arena(r);
    return true;
}

/* Gives a frame's elements to their owner. */
static void falkor__hang(falkor__reply *r, const falkor__frame *frame) {
    void *elements = frame->elements;
    falkor_value *value = frame->owner;
    falkor_path *path = frame->owner;
    switch (frame->kind) {
    case FALKOR__HEADER:
        r->result.columns = elements;
        r->result.column_count = frame->count;
        return;
    case FALKOR__NODES:
        path->nodes = elements;
        path->node_count = frame->count;
        return;
    case FALKOR__EDGES:
        path->edges = elements;
        path->edge_count = frame->count;
        return;
    case FALKOR__FLOATS: value->as.vector = elements; break;
    case FALKOR__ITEMS:
    case FALKOR__PLAIN: value->as.items = elements; break;
    case FALKOR__ENTRIES:
    case FALKOR__PROPERTIES: value->as.entries = elements; break;
    }
    value->length = frame->count;
}

/* ---- values ----------------------------------------------------------- */

static inline char *falkor__string(falkor__reply *r, char *p,
                                   falkor_value *value) {
    char *bytes;
    uint32_t length;
    if (!(p = falkor__bulk(r, p, &bytes, &length, "a string")))
        return NULL;
    bytes[length] = 0;
    value->length = length;
    value->as.string = bytes;
    return p;
}

static char *falkor__boolean(falkor__reply *r, char *p, falkor_value *value) {
    value->as.boolean = p[0] == '$' && p[1] == '4';
    if (p[0] == '$' && p[1] == '5')
        return FALKOR__LITERAL(r, p, "$5\r\nfalse\r\n", "true or false");
    return FALKOR__LITERAL(r, p, "$4\r\ntrue\r\n", "true or false");
}

static char *falkor__double(falkor__reply *r, char *p, double *number) {
    char *bytes;
    uint32_t length;
    char *end = falkor__bulk(r, p, &bytes, &length, "a number as a string");
    if (end && !falkor__read_double(bytes, length, number))
        return falkor__stuck(r, bytes, "a number");
    return end;
}

static char *falkor__float(falkor__reply *r, char *p, float *number) {
    char *bytes;
    uint32_t length;
    char *end = falkor__bulk(r, p, &bytes, &length, "a number as a string");
    if (end && !falkor__read_float(bytes, length, number))
        return falkor__stuck(r, bytes, "a number");
    return end;
}

/* Local time counts from 1900-01-01; only the time of day is meant. */
static char *falkor__time(falkor__reply *r, char *p, falkor_value *value) {
    int64_t seconds;
    if (!(p = falkor__integer(r, p, &seconds)))
        return NULL;
    seconds %= 86400;
    value->as.seconds = seconds < 0 ? seconds + 86400 : seconds;
    return p;
}

static char *falkor__point(falkor__reply *r, char *p, falkor_value *value) {
    falkor_point *point = falkor__take_array(r, 1, sizeof *point);
    if (!point ||
        !(p = FALKOR__LITERAL(r, p, "*2\r\n", "a point of two numbers")) ||
        !(p = falkor__double(r, p, &point->latitude)) ||
        !(p = falkor__double(r, p, &point->longitude)))
        return NULL;
    value->as.point = point;
    return p;
}

/* [id, [label...], properties] into a node that is there already. */
static char *falkor__node(falkor__reply *r, char *p, falkor_node *node) {
    uint32_t labels, properties;
    uint64_t id;
    if (!(p = FALKOR__LITERAL(r, p, "*3\r\n", "a node of three parts")) ||
        !(p = falkor__integer(r, p, &node->id)) ||
        !(p = falkor__array(r, p, &labels, "a list of labels")))
        return NULL;
    if (labels > FALKOR__MOST_LABELS)
        return falkor__over(r, "a node's label list", labels,
                            FALKOR__MOST_LABELS);
    const char **names = falkor__take_array(r, labels, sizeof *names);
    if (!names)
        return NULL;
    for (uint32_t i = 0; i < labels; i++)
        if (!(p = falkor__id(r, p, &id)) ||
            !falkor__name(r, id, FALKOR__LABELS, names + i))
            return NULL;
    if (!(p = falkor__array(r, p, &properties, "a list of properties")))
        return NULL;
    node->labels = names;
    node->label_count = labels;
    node->properties = (falkor_value){.type = FALKOR_MAP};
    return falkor__push(r, FALKOR__PROPERTIES, &node->properties, properties)
        ? p : NULL;
}

/* [id, type, source, destination, properties] */
static char *falkor__edge(falkor__reply *r, char *p, falkor_edge *edge) {
    uint32_t properties;
    uint64_t type;
    if (!(p = FALKOR__LITERAL(r, p, "*5\r\n", "an edge of five parts")) ||
        !(p = falkor__integer(r, p, &edge->id)) ||
        !(p = falkor__id(r, p, &type)) ||
        !(p = falkor__integer(r, p, &edge->source)) ||
        !(p = falkor__integer(r, p, &edge->destination)) ||
        !(p = falkor__array(r, p, &properties, "a list of properties")) ||
        !falkor__name(r, type, FALKOR__TYPES, &edge->type))
        return NULL;
    edge->properties = (falkor_value){.type = FALKOR_MAP};
    return falkor__push(r, FALKOR__PROPERTIES, &edge->properties, properties)
        ? p : NULL;
}

/* A node, edge or path in the arena, for value to point to. */
static char *falkor__entity(falkor__reply *r, char *p, falkor_value *value) {
    if (value->type == FALKOR_NODE) {
        falkor_node *node = falkor__take_array(r, 1, sizeof *node);
        value->as.node = node;
        return node ? falkor__node(r, p, node) : NULL;
    }
    if (value->type == FALKOR_EDGE) {
        falkor_edge *edge = falkor__take_array(r, 1, sizeof *edge);
        value->as.edge = edge;
        return edge ? falkor__edge(r, p, edge) : NULL;
    }
    falkor_path *path = falkor__take_array(r, 1, sizeof *path);
    uint32_t nodes;
    if (!path ||
        !(p = FALKOR__LITERAL(r, p, "*2\r\n*2\r\n:6\r\n", "a path's nodes")) ||
        !(p = falkor__array(r, p, &nodes, "a path's nodes")))
        return NULL;
    *path = (falkor_path){0};
    value->as.path = path;
    return falkor__push(r, FALKOR__NODES, path, nodes) ? p : NULL;
}

/* The head of an array, vector or map; its elements follow in a frame. */
static char *falkor__list(falkor__reply *r, char *p, falkor_value *value,
                          falkor__frame_kind kind) {
    uint32_t count;
    char *head = p;
    if (!(p = falkor__array(r, p, &count, "a list")))
        return NULL;
    if (kind == FALKOR__ENTRIES) {
        if (count & 1)
            return falkor__stuck(r, head, "an even list of keys and values");
        count /= 2;
    }
    return falkor__push(r, kind, value, count) ? p : NULL;
}

/* What follows a type. An unknown type's payload, of whatever shape, is
   skipped by falkor__step_skip. */
static inline char *falkor__payload(falkor__reply *r, char *p, uint64_t type,
                                    falkor_value *value) {
    *value = (falkor_value){.type = (falkor_type)type};
    switch (type) {
    case FALKOR_NULL: return falkor__nil(r, p);
    case FALKOR_STRING: return falkor__string(r, p, value);
    case FALKOR_INTEGER: return falkor__integer(r, p, &value->as.integer);
    case FALKOR_BOOLEAN: return falkor__boolean(r, p, value);
    case FALKOR_DOUBLE: return falkor__double(r, p, &value->as.real);
    case FALKOR_ARRAY: return falkor__list(r, p, value, FALKOR__ITEMS);
    case FALKOR_EDGE:
    case FALKOR_NODE:
    case FALKOR_PATH: return falkor__entity(r, p, value);
    case FALKOR_MAP: return falkor__list(r, p, value, FALKOR__ENTRIES);
    case FALKOR_POINT: return falkor__point(r, p, value);
    case FALKOR_VECTORF32: return falkor__list(r, p, value, FALKOR__FLOATS);
    case FALKOR_DATETIME:
    case FALKOR_DATE:
    case FALKOR_DURATION: return falkor__integer(r, p, &value->as.seconds);
    case FALKOR_TIME: return falkor__time(r, p, value);
    default:
        value->type = FALKOR_UNKNOWN;
        r->skip = 1;
        return p;
    }
}

/* [type, payload] */
static inline char *falkor__cell(falkor__reply *r, char *p,
                                 falkor_value *value) {
    uint64_t type;
    if (!(p = FALKOR__LITERAL(r, p, "*2\r\n:", "[type, value]")) ||
        !(p = falkor__digits(r, p, &type, "a type")))
        return NULL;
    return falkor__payload(r, p, type, value);
}

/* [key, type, payload] */
static inline char *falkor__one_property(falkor__reply *r, char *p,
                                         falkor_entry *entry) {
    uint64_t key, type;
    if (!(p = FALKOR__LITERAL(r, p, "*3\r\n:", "[key, type, value]")) ||
        !(p = falkor__digits(r, p, &key, "a key's id, zero or more")) ||
        !(p = FALKOR__LITERAL(r, p, ":", "a type")) ||
        !(p = falkor__digits(r, p, &type, "a type")) ||
        !falkor__name(r, key, FALKOR__KEYS, &entry->key))
        return NULL;
    return falkor__payload(r, p, type, &entry->value);
}

/* key, [type, payload] */
static char *falkor__one_entry(falkor__reply *r, char *p,
                               falkor_entry *entry) {
    char *key;
    uint32_t length;
    if (!(p = falkor__text(r, p, &key, &length, "a key")) ||
        !(p = falkor__cell(r, p, &entry->value)))
        return NULL;
    key[length] = 0;
    entry->key = key;
    return p;
}

/* [1, name] */
static char *falkor__one_column(falkor__reply *r, char *p, const char **name) {
    char *bytes;
    uint32_t length;
    int64_t type;
    if (!(p = FALKOR__LITERAL(r, p, "*2\r\n", "a column [1, name]")) ||
        !(p = falkor__integer(r, p, &type)) ||
        !(p = falkor__text(r, p, &bytes, &length, "a column's name")))
        return NULL;
    bytes[length] = 0;
    *name = bytes;
    return p;
}

static char *falkor__plain_text(falkor__reply *r, char *p,
                                falkor_value *value) {
    char *bytes;
    uint32_t length;
    value->type = *p == '-' ? FALKOR_ERROR_REPLY : FALKOR_STRING;
    if (!(p = falkor__line(r, p + 1, &bytes, &length)))
        return NULL;
    bytes[length] = 0;
    value->length = length;
    value->as.string = bytes;
    return p;
}

static char *falkor__plain(falkor__reply *r, char *p, falkor_value *value) {
    *value = (falkor_value){.type = FALKOR_NULL};
    switch (*p) {
    case '+':
    case '-': return falkor__plain_text(r, p, value);
    case ':':
        value->type = FALKOR_INTEGER;
        return falkor__integer(r, p, &value->as.integer);
    case '$':
        if (p[1] == '-')
            return falkor__nil(r, p);
        value->type = FALKOR_STRING;
        return falkor__string(r, p, value);
    case '*':
        if (p[1] == '-')
            return falkor__nil(r, p);
        value->type = FALKOR_ARRAY;
        return falkor__list(r, p, value, FALKOR__PLAIN);
    default: return falkor__stuck(r, p, "one of + - : $ *");
    }
}

/* ---- steps inside a frame --------------------------------------------- */

static inline char *falkor__element(falkor__reply *r, char *p,
                                    const falkor__frame *frame) {
    void *slot = frame->elements +
        frame->count * (size_t)falkor__element_sizes[frame->kind];
    switch (frame->kind) {
    case FALKOR__HEADER: return falkor__one_column(r, p, slot);
    case FALKOR__ITEMS: return falkor__cell(r, p, slot);
    case FALKOR__PLAIN: return falkor__plain(r, p, slot);
    case FALKOR__FLOATS: return falkor__float(r, p, slot);
    case FALKOR__ENTRIES: return falkor__one_entry(r, p, slot);
    case FALKOR__PROPERTIES: return falkor__one_property(r, p, slot);
    case FALKOR__NODES:
        p = FALKOR__LITERAL(r, p, "*2\r\n:8\r\n", "a path's node");
        return p ? falkor__node(r, p, slot) : NULL;
    case FALKOR__EDGES:
        p = FALKOR__LITERAL(r, p, "*2\r\n:7\r\n", "a path's edge");
        return p ? falkor__edge(r, p, slot) : NULL;
    }
    return NULL;
}

/* The nodes of a path are complete: its edges follow, in the same frame. */
static bool falkor__turn_to_edges(falkor__reply *r, falkor_path *path) {
    uint32_t edges;
    char *p = FALKOR__LITERAL(r, r->at, "*2\r\n:6\r\n", "a path's edges");
    if (!p || !(p = falkor__array(r, p, &edges, "a path's edges")))
        return false;
    falkor__hang(r, &r->frames[r->depth - 1]);
    r->depth--;
    if (!falkor__push(r, FALKOR__EDGES, path, edges))
        return false;
    falkor__commit(r, p);
    return true;
}

/* Parses elements until one opens a frame of its own. The stack may move
   then, so that a frame is found by its number. */
static bool falkor__step_frame(falkor__reply *r) {
    size_t depth = r->depth;
    falkor__frame *frame = &r->frames[depth - 1];
    while (frame->count < frame->announced) {
        if (frame->count == frame->capacity && !falkor__grow(r, frame))
            return false;
        char *p = falkor__element(r, r->at, frame);
        if (!p)
            return false;
        frame = &r->frames[depth - 1];
        frame->count++;
        falkor__commit(r, p);
        if (r->depth != depth || r->skip)
            return true;
    }
    if (frame->kind == FALKOR__NODES)
        return falkor__turn_to_edges(r, frame->owner);
    falkor__hang(r, frame);
    r->depth--;
    return true;
}

/* Skips elements of no interest; an array adds its own to their number. */
static bool falkor__step_skip(falkor__reply *r) {
    char *bytes, *p = r->at;
    uint32_t length, count = 0;
    if ((*p == '$' || *p == '*') && p[1] == '-')
        p = falkor__nil(r, p);
    else if (*p == '$')
        p = falkor__bulk(r, p, &bytes, &length, "a string");
    else if (*p == '*')
        p = falkor__array(r, p, &count, "an array");
    else if (*p == ':' || *p == '+' || *p == '-')
        p = falkor__line(r, p + 1, &bytes, &length);
    else
        p = falkor__stuck(r, p, "one of + - : $ *");
    if (!p)
        return false;
    r->skip += count;
    r->skip--;
    falkor__commit(r, p);
    return true;
}

/* ---- steps between frames: the parts of a reply ----------------------- */

static bool falkor__error_reply(falkor__reply *r, char *p) {
    char *bytes;
    uint32_t length;
    if (!(p = falkor__line(r, p + 1, &bytes, &length)))
        return false;
    bytes[length] = 0;
    r->error_text = bytes;
    r->error_length = length;
    r->stage = FALKOR__END;
    falkor__commit(r, p);
    return true;
}

static bool falkor__start_plain(falkor__reply *r) {
    static const char *const column[] = {"reply"};
    falkor_value *value = falkor__take_array(r, 1, sizeof *value);
    char *p = value ? falkor__plain(r, r->at, value) : NULL;
    if (!p)
        return false;
    r->result.segments[0] = value;
    r->result.rows = r->result.column_count = 1;
    r->result.columns = column;
    r->stage = FALKOR__END;
    falkor__commit(r, p);
    return true;
}

/* [header, rows, statistics], [statistics], or [error, ...] */
static bool falkor__start_query(falkor__reply *r) {
    uint32_t parts;
    char *p = falkor__array(r, r->at, &parts, "the array of a query's reply");
    if (!p)
        return false;
    if (p < r->end && *p == '-' && parts > 0) {
        if (!falkor__error_reply(r, p))
            return false;
        r->skip = parts - 1;
        return true;
    }
    if (p == r->end)
        return falkor__stuck(r, p, "");
    if (parts != 1 && parts != 3)
        return falkor__stuck(r, r->at, "an array of 1 or 3 parts");
    r->stage = parts == 1 ? FALKOR__SUMMARY_HEAD : FALKOR__HEADER_HEAD;
    falkor__commit(r, p);
    return true;
}

static bool falkor__start(falkor__reply *r) {
    if (*r->at == '-')
        return falkor__error_reply(r, r->at);
    return r->kind == FALKOR__REPLY_PLAIN ? falkor__start_plain(r)
                                          : falkor__start_query(r);
}

static bool falkor__header_head(falkor__reply *r) {
    uint32_t columns;
    char *p = falkor__array(r, r->at, &columns, "the list of columns");
    if (!p || !falkor__push(r, FALKOR__HEADER, r, columns))
        return false;
    r->stage = FALKOR__ROWS_HEAD;
    falkor__commit(r, p);
    return true;
}

/* Row by row the received bytes are used again: the names of the columns must
   not lie there. */
static bool falkor__copy_columns(falkor__reply *r) {
    size_t count = r->result.column_count;
    const char **names = falkor__take_array(r, count, sizeof *names);
    for (size_t i = 0; names && i < count; i++) {
        size_t size = strlen(r->result.columns[i]) + 1;
        char *copy = falkor__take_array(r, size, 1);
        if (!copy)
            return false;
        names[i] = memcpy(copy, r->result.columns[i], size);
    }
    r->result.columns = names;
    return names != NULL;
}

/* Room for the next rows: about a kilobyte at first, then twice as many rows
   each time, never more than were announced. */
static bool falkor__next_segment(falkor__reply *r) {
    falkor_result *result = &r->result;
    size_t rows = (size_t)1 << result->base_shift << r->segment;
    if (rows > r->rows - r->row)
        rows = r->rows - r->row;
    if (r->kind == FALKOR__REPLY_ROWS)
        rows = 1;
    size_t columns = result->column_count;
    if (columns && rows > SIZE_MAX / sizeof(falkor_value) / columns)
        return falkor__nomem(r) != NULL;
    falkor_value *cells =
        falkor__take_array(r, rows * columns, sizeof *cells);
    if (!cells)
        return false;
    result->segments[r->segment++] = r->cells = cells;
    r->segment_left = rows;
    falkor__keep_arena(r);
    return true;
}

static bool falkor__rows_head(falkor__reply *r) {
    bool by_row = r->kind == FALKOR__REPLY_ROWS;
    char *p = falkor__array(r, r->at, &r->rows, "the list of rows");
    if (!p || (by_row && !falkor__copy_columns(r)))
        return false;
    size_t row_bytes = r->result.column_count * sizeof(falkor_value);
    unsigned shift = 0;
    while (!by_row && shift < 6 &&
           row_bytes << (shift + 1) <= FALKOR__FIRST_ROWS)
        shift++;
    r->result.base_shift = shift;
    if (by_row && !falkor__next_segment(r))
        return false;
    r->stage = FALKOR__ROWS;
    falkor__commit(r, p);
    r->live = r->at;
    r->row_start = r->before + (uint64_t)(r->at - r->begin);
    r->row_at = r->arena.at;
    r->row_chunk = r->arena.chunks;
    return true;
}

static bool falkor__begin_row(falkor__reply *r) {
    uint32_t columns;
    char *p = falkor__array(r, r->at, &columns, "a row");
    if (!p)
        return false;
    if (columns != r->result.column_count) {
        falkor__stuck(r, r->at, "a row of as many values as columns");
        return false;
    }
    if (r->segment_left == 0 && !falkor__next_segment(r))
        return false;
    r->in_row = true;
    falkor__commit(r, p);
    return true;
}

static void falkor__end_row(falkor__reply *r) {
    r->in_row = false;
    r->column = 0;
    r->row++;
    if (r->kind == FALKOR__REPLY_ROWS) {
        r->result.rows = 1;
        r->row_ready = true;
        return;
    }
    r->result.rows++;
    r->segment_left--;
    r->cells += r->result.column_count;
}

static bool falkor__step_rows(falkor__reply *r) {
    while (r->row < r->rows && !r->row_ready) {
        if (!r->in_row && !falkor__begin_row(r))
            return false;
        while (r->column < r->result.column_count) {
            char *p = falkor__cell(r, r->at, r->cells + r->column);
            if (!p)
                return false;
            r->column++;
            falkor__commit(r, p);
            if (r->depth || r->skip)
                return true;
        }
        falkor__end_row(r);
    }
    if (!r->row_ready)
        r->stage = FALKOR__SUMMARY_HEAD;
    return true;
}

static bool falkor__summary_head(falkor__reply *r) {
    char *p = falkor__array(r, r->at, &r->lines, "the list of statistics");
    if (!p)
        return false;
    r->stage = FALKOR__SUMMARY;
    falkor__commit(r, p);
    return true;
}

static const struct { const char *name; size_t offset; }
falkor__summary_lines[] = {
#define FALKOR__LINE(name, field) {name ": ", offsetof(falkor_summary, field)}
    FALKOR__LINE("Nodes created", nodes_created),
    FALKOR__LINE("Nodes deleted", nodes_deleted),
    FALKOR__LINE("Relationships created", edges_created),
    FALKOR__LINE("Relationships deleted", edges_deleted),
    FALKOR__LINE("Labels added", labels_added),
    FALKOR__LINE("Labels removed", labels_removed),
    FALKOR__LINE("Properties set", properties_set),
    FALKOR__LINE("Properties removed", properties_removed),
    FALKOR__LINE("Indices created", indices_created),
    FALKOR__LINE("Indices deleted", indices_deleted),
    FALKOR__LINE("Constraints created", constraints_created),
    FALKOR__LINE("Constraints deleted", constraints_deleted),
#undef FALKOR__LINE
};

/* The number that a line of statistics ends with, before any unit. */
static bool falkor__line_value(const char *line, const char *name,
                               double *number) {
    size_t length = strlen(name);
    if (strncmp(line, name, length) != 0)
        return false;
    line += length;
    return falkor__read_double(line, strcspn(line, " "), number) &&
        *number >= 0 && *number < 9e15;
}

static void falkor__summarize(falkor_summary *summary, const char *line) {
    double number;
    if (falkor__line_value(line, "Cached execution: ", &number))
        summary->cached = number > 0;
    else if (falkor__line_value(line, "Query internal execution time: ",
                                &number))
        summary->internal_ms = number;
    size_t count = sizeof falkor__summary_lines / sizeof *falkor__summary_lines;
    for (size_t i = 0; i < count; i++)
        if (falkor__line_value(line, falkor__summary_lines[i].name, &number)) {
            int64_t whole = (int64_t)number;
            memcpy((char *)summary + falkor__summary_lines[i].offset, &whole,
                   sizeof whole);
        }
}

static bool falkor__step_summary(falkor__reply *r) {
    for (; r->lines > 0; r->lines--) {
        char *bytes;
        uint32_t length;
        char *p = falkor__text(r, r->at, &bytes, &length,
                               "a line of statistics");
        if (!p)
            return false;
        bytes[length] = 0;
        falkor__summarize(&r->result.summary, bytes);
        falkor__commit(r, p);
    }
    r->stage = FALKOR__END;
    return true;
}

static bool falkor__step(falkor__reply *r) {
    if (r->skip)
        return falkor__step_skip(r);
    if (r->depth)
        return falkor__step_frame(r);
    switch (r->stage) {
    case FALKOR__START: return falkor__start(r);
    case FALKOR__HEADER_HEAD: return falkor__header_head(r);
    case FALKOR__ROWS_HEAD: return falkor__rows_head(r);
    case FALKOR__ROWS: return falkor__step_rows(r);
    case FALKOR__SUMMARY_HEAD: return falkor__summary_head(r);
    case FALKOR__SUMMARY: return falkor__step_summary(r);
    case FALKOR__END:
        r->stage = FALKOR__DONE;
        return true;
    case FALKOR__DONE: break;
    }
    return true;
}

/* Why parsing stopped before the reply's end; what the incomplete group took
   is given back. */
static falkor_status falkor__outcome(falkor__reply *r) {
    r->missing_count = r->missing_kept;
    r->arena.at = r->arena.kept;
    if (!r->status && r->stuck < r->end)
        r->status = falkor__malformed(r);
    uint64_t size = r->before + (uint64_t)(r->end - r->begin) - r->row_start;
    if (!r->status && size > r->limits.bytes)
        falkor__over(r, r->kind == FALKOR__REPLY_ROWS ? "one row's bytes"
                     : "bytes", size, r->limits.bytes);
    return r->status;
}

static falkor_status falkor__run(falkor__reply *r, falkor_error *error) {
    r->error = error;
    r->need = 0;
    bool going = true;
    while (going && r->stage != FALKOR__DONE && !r->row_ready)
        going = falkor__step(r);
    falkor_status status = going ? FALKOR_OK : falkor__outcome(r);
    r->error = NULL;
    return status;
}

/* ---- the reply's memory ----------------------------------------------- */

static falkor__reply *falkor__reply_of(const falkor_result *result) {
    return (falkor__reply *)(uintptr_t)result;
}

falkor_result *falkor__reply_new(falkor__reply_kind kind,
                                 falkor__schema *schema,
                                 const falkor__limits *limits) {
    char *block = malloc(FALKOR__BLOCK);
    if (!block)
        return NULL;
    falkor__reply *r = (falkor__reply *)(void *)block;
    memset(r, 0, sizeof *r);
    r->kind = kind;
    r->limits = (falkor__limits){
        limits && limits->depth ? limits->depth : SIZE_MAX,
        limits && limits->bytes ? limits->bytes : SIZE_MAX};
    r->limit = block + FALKOR__BLOCK - FALKOR__SLACK;
    r->begin = r->live = r->at = r->end = block + FALKOR__BLOCK -
        FALKOR__FIRST_INPUT;
    r->next_input = FALKOR__INPUT;
    r->arena.at = r->arena.kept = block + ((sizeof *r + 7) & ~(size_t)7);
    r->arena.end = r->begin;
    r->arena.next_size = FALKOR__ARENA;
    r->arena.most_size = kind == FALKOR__REPLY_ROWS ? FALKOR__ROWS_ARENA
                                                    : FALKOR__MOST_ARENA;
    r->frames = r->first_frames;
    r->frame_capacity = FALKOR__FRAMES;
    r->schema = falkor__schema_retain(schema);
    falkor__use_schema(r, schema);
    return &r->result;
}

void falkor_result_free(falkor_result *result) {
    falkor__reply *r = falkor__reply_of(result);
    if (!r)
        return;
    while (r->older) {
        falkor__held_schema *next = r->older->next;
        falkor__schema_release(r->older->schema);
        free(r->older);
        r->older = next;
    }
    falkor__schema_release(r->schema);
    falkor__chunks_free(r->chunks);
    falkor__chunks_free(r->arena.chunks);
    free(r->missing);
    free(r);
}

/* The unparsed bytes move to the front of a chunk that holds none of them, or
   to that of their own. */
static void falkor__move_input(falkor__reply *r, char *to, size_t room) {
    size_t tail = (size_t)(r->end - r->at);
    memmove(to, r->at, tail);
    r->before += (uint64_t)(r->at - r->begin);
    r->begin = r->live = r->at = to;
    r->end = to + tail;
    r->limit = to + room;
}

/* The size of the next chunk: the usual one, or twice the unparsed bytes when
   they are many, but no more than their group is known to need. */
static size_t falkor__next_input(const falkor__reply *r) {
    size_t tail = (size_t)(r->end - r->at), wanted = tail * 2;
    if (r->need && r->need < wanted)
        wanted = (size_t)r->need;
    return wanted > r->next_input ? wanted : r->next_input;
}

/* Makes room when the chunk is full. Where no value points into it, its bytes
   before the unparsed ones are free to use, or the whole chunk is. */
static bool falkor__more_input(falkor__reply *r) {
    size_t size = falkor__next_input(r);
    bool dead = r->live == r->at;
    size_t have = (size_t)(r->limit - r->begin);
    falkor__chunk *old = r->chunks;
    if (dead && old && size <= have && have <= 4 * FALKOR__INPUT &&
        r->kind == FALKOR__REPLY_ROWS) {
        falkor__move_input(r, r->begin, have);
        return true;
    }
    falkor__chunk *chunk =
        size > SIZE_MAX / 4 ? NULL : falkor__chunk_new(size + FALKOR__SLACK);
    if (!chunk)
        return false;
    falkor__move_input(r, (char *)(chunk + 1), size);
    chunk->next = old;
    r->chunks = chunk;
    if (dead && old) {
        chunk->next = old->next;
        free(old);
    }
    if (r->kind != FALKOR__REPLY_ROWS && r->next_input < FALKOR__MOST_INPUT)
        r->next_input *= 2;
    return true;
}

char *falkor__reply_room(falkor_result *reply, size_t *size) {
    falkor__reply *r = falkor__reply_of(reply);
    size_t room = (size_t)(r->limit - r->end);
    size_t least = (size_t)(r->limit - r->begin) / 16;
    bool fits = r->need && r->need <= (uint64_t)(r->limit - r->at);
    *size = 0;
    if (!fits && room < (least < 4096 ? least : 4096) + 1 &&
        !falkor__more_input(r))
        return NULL;
    *size = (size_t)(r->limit - r->end);
    return r->end;
}

falkor_status falkor__reply_feed(falkor_result *reply, size_t received,
                                 falkor_error *error) {
    falkor__reply *r = falkor__reply_of(reply);
    if (r->status)
        return falkor__fail(error, r->status, 0, "a reply after its failure");
    r->end += received;
    memset(r->end, 0, FALKOR__SLACK);
    return falkor__run(r, error);
}

/* Row by row: gives back the memory of the row before. The arena's largest
   chunk of a modest size stays. */
static void falkor__recycle_arena(falkor__reply *r) {
    falkor__arena *arena = &r->arena;
    falkor__chunk *best = NULL;
    while (arena->chunks != r->row_chunk) {
        falkor__chunk *chunk = arena->chunks, *worse = chunk;
        arena->chunks = chunk->next;
        if (chunk->size <= FALKOR__ROWS_ARENA &&
            (!best || chunk->size > best->size)) {
            worse = best;
            best = chunk;
        }
        free(worse);
    }
    if (best) {
        best->next = arena->chunks;
        arena->chunks = r->row_chunk = best;
        r->row_at = (char *)(best + 1);
        arena->end = r->row_at + best->size;
    }
    arena->at = arena->kept = r->row_at;
}

static void falkor__recycle_input(falkor__reply *r) {
    if (r->chunks) {
        falkor__chunks_free(r->chunks->next);
        r->chunks->next = NULL;
    }
    r->live = r->at;
    r->row_start = r->before + (uint64_t)(r->at - r->begin);
}

falkor_status falkor__reply_next(falkor_result *reply, falkor_error *error) {
    falkor__reply *r = falkor__reply_of(reply);
    if (!r->row_ready)
        return r->status;
    r->row_ready = false;
    r->result.rows = 0;
    r->missing_count = r->missing_kept = 0;
    r->frames = r->first_frames;
    r->frame_capacity = FALKOR__FRAMES;
    falkor__recycle_arena(r);
    falkor__recycle_input(r);
    return falkor__run(r, error);
}

/* ---- what the reply has come to --------------------------------------- */

bool falkor__reply_done(const falkor_result *reply) {
    return falkor__reply_of(reply)->stage == FALKOR__DONE;
}

bool falkor__reply_row_ready(const falkor_result *reply) {
    return falkor__reply_of(reply)->row_ready;
}

const char *falkor__reply_surplus(const falkor_result *reply, size_t *length) {
    const falkor__reply *r = falkor__reply_of(reply);
    *length = falkor__reply_done(reply) ? (size_t)(r->end - r->at) : 0;
    return r->at;
}

const char *falkor__reply_error(const falkor_result *reply, size_t *length) {
    const falkor__reply *r = falkor__reply_of(reply);
    if (length)
        *length = r->error_length;
    return r->error_text;
}

size_t falkor__reply_unresolved(const falkor_result *reply) {
    return falkor__reply_of(reply)->missing_count;
}

/* Names found in the schema before still point there: it stays held. */
static bool falkor__hold_schema(falkor__reply *r, falkor__schema *schema) {
    if (schema == r->schema)
        return true;
    falkor__held_schema *link = NULL;
    if (r->schema) {
        if (!(link = malloc(sizeof *link)))
            return false;
        *link = (falkor__held_schema){r->older, r->schema};
        r->older = link;
    }
    r->schema = falkor__schema_retain(schema);
    return true;
}

size_t falkor__reply_resolve(falkor_result *reply, falkor__schema *schema) {
    falkor__reply *r = falkor__reply_of(reply);
    if (!schema || !falkor__hold_schema(r, schema))
        return r->missing_count;
    falkor__use_schema(r, schema);
    size_t left = 0;
    for (size_t i = 0; i < r->missing_count; i++) {
        falkor__missing_name name = r->missing[i];
        if (name.id < r->counts[name.kind])
            *name.slot = r->names[name.kind][name.id];
        else
            r->missing[left++] = name;
    }
    r->missing_count = r->missing_kept = left;
    return left;
}
