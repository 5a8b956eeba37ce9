/* The values of replies: scalars, nodes, edges, paths, lists and maps, as the
   compact protocol writes them, and the frames that they and plain values
   (plain.c) are collected in. Knows nothing of rows or of how bytes arrive. */
#include "decode.h"
#include <stdlib.h>

#define FALKOR__AT_ONCE 64u             /* elements trusted when announced */
#define FALKOR__MOST_LABELS 4096u       /* of one node: they are one group */

static const uint8_t falkor__element_sizes[] = {
    [FALKOR__HEADER] = sizeof(const char *),
    [FALKOR__ITEMS] = sizeof(falkor_value),
    [FALKOR__PLAIN] = sizeof(falkor_value),
    [FALKOR__PAIRS] = sizeof(falkor_entry),
    [FALKOR__PAIR_VALUE] = sizeof(falkor_entry),
    [FALKOR__FLOATS] = sizeof(float),
    [FALKOR__ENTRIES] = sizeof(falkor_entry),
    [FALKOR__PROPERTIES] = sizeof(falkor_entry),
    [FALKOR__NODES] = sizeof(falkor_node),
    [FALKOR__EDGES] = sizeof(falkor_edge)};

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
            : falkor__take_more(r->arena.heap, r->missing,
                                capacity * sizeof *list);
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

/* ---- frames ----------------------------------------------------------- */

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

bool falkor__push(falkor__reply *r, falkor__frame_kind kind, void *owner,
                  uint32_t announced) {
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
    r->arena.kept = r->arena.at;
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
    case FALKOR__PAIRS:
    case FALKOR__PAIR_VALUE:
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
    if (!(p = falkor__bulk(r, p, &bytes, &length, "a string")) ||
        !(value->as.string = falkor__keep_text(r, bytes, length)))
        return NULL;
    value->length = length;
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

/* A string in RESP2, a double in RESP3. */
static char *falkor__float(falkor__reply *r, char *p, float *number) {
    char *bytes;
    uint32_t length;
    char *end = *p == ','
        ? falkor__line(r, p + 1, &bytes, &length)
        : falkor__bulk(r, p, &bytes, &length, "a number as a string");
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
static char *falkor__read_node(falkor__reply *r, char *p, falkor_node *node) {
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
        return node ? falkor__read_node(r, p, node) : NULL;
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

char *falkor__cell(falkor__reply *r, char *p, falkor_value *value) {
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
        !(p = falkor__cell(r, p, &entry->value)) ||
        !(entry->key = falkor__keep_text(r, key, length)))
        return NULL;
    return p;
}

/* [1, name] */
static char *falkor__one_column(falkor__reply *r, char *p, const char **name) {
    char *bytes;
    uint32_t length;
    int64_t type;
    if (!(p = FALKOR__LITERAL(r, p, "*2\r\n", "a column [1, name]")) ||
        !(p = falkor__integer(r, p, &type)) ||
        !(p = falkor__text(r, p, &bytes, &length, "a column's name")) ||
        !(*name = falkor__keep_text(r, bytes, length)))
        return NULL;
    return p;
}

/* ---- steps inside a frame --------------------------------------------- */

static inline char *falkor__element(falkor__reply *r, char *p,
                                    falkor__frame *frame) {
    void *slot = frame->elements +
        frame->count * (size_t)falkor__element_sizes[frame->kind];
    switch (frame->kind) {
    case FALKOR__HEADER: return falkor__one_column(r, p, slot);
    case FALKOR__ITEMS: return falkor__cell(r, p, slot);
    case FALKOR__PLAIN: return falkor__plain(r, p, slot);
    case FALKOR__PAIRS:
    case FALKOR__PAIR_VALUE: return falkor__pair(r, p, frame, slot);
    case FALKOR__FLOATS: return falkor__float(r, p, slot);
    case FALKOR__ENTRIES: return falkor__one_entry(r, p, slot);
    case FALKOR__PROPERTIES: return falkor__one_property(r, p, slot);
    case FALKOR__NODES:
        p = FALKOR__LITERAL(r, p, "*2\r\n:8\r\n", "a path's node");
        return p ? falkor__read_node(r, p, slot) : NULL;
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
bool falkor__step_frame(falkor__reply *r) {
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
