/* A libFuzzer target for the decoder. The first bytes of an input choose the
   kind of reply, how many names are known and the portions it arrives in; the
   rest is the reply. Every value that comes out is read to its end. Each input
   is decoded whole and in pieces, and a query's reply row by row too, and all
   must come to the same values, or to the same error. What came whole is also
   written as JSON, which cJSON must read, and find the same values in. A byte 1
   repeats what stands before it, so that a short input makes a long reply. Now
   and then an input begins anew from a good reply of the list at the end of
   this file. */
#include "fuzz.h"
#include <cjson/cJSON.h>
#include <math.h>

/* Reads all of a value, recursion being bounded by the limit of depth below.
   The sum stands for all that was read. */
static uint64_t fuzz_read(const falkor_value *value);

static uint64_t fuzz_text(const char *text) {
    uint64_t sum = 0;
    while (*text)
        sum = sum * 31 + (unsigned char)*text++;
    return sum;
}

/* A name of the schema: it is there when none is missing. */
static bool fuzz_all_named;
static uint64_t fuzz_name(const char *name) {
    FUZZ_CHECK(*name || !fuzz_all_named);
    return fuzz_text(name);
}

static uint64_t fuzz_map(const falkor_value *map, bool named) {
    uint64_t sum = 1;
    for (uint32_t i = 0; i < map->length; i++)
        sum = sum * 31 + (named ? fuzz_name : fuzz_text)
            (map->as.entries[i].key) + fuzz_read(&map->as.entries[i].value);
    return sum;
}

static uint64_t fuzz_node(const falkor_node *node) {
    uint64_t sum = (uint64_t)node->id;
    for (size_t i = 0; i < node->label_count; i++)
        sum = sum * 31 + fuzz_name(node->labels[i]);
    return sum + fuzz_map(&node->properties, true);
}

static uint64_t fuzz_edge(const falkor_edge *edge) {
    return (uint64_t)edge->id * 3 + (uint64_t)edge->source * 5 +
        (uint64_t)edge->destination + fuzz_name(edge->type) +
        fuzz_map(&edge->properties, true);
}

static uint64_t fuzz_path(const falkor_path *path) {
    uint64_t sum = 0;
    for (size_t i = 0; i < path->node_count; i++)
        sum = sum * 31 + fuzz_node(&path->nodes[i]);
    for (size_t i = 0; i < path->edge_count; i++)
        sum = sum * 31 + fuzz_edge(&path->edges[i]);
    return sum;
}

static uint64_t fuzz_bytes(const void *bytes, size_t length) {
    uint64_t sum = length;
    for (size_t i = 0; i < length; i++)
        sum = sum * 31 + ((const unsigned char *)bytes)[i];
    return sum;
}

static uint64_t fuzz_read(const falkor_value *value) {
    uint64_t sum = value->type;
    switch (value->type) {
    case FALKOR_STRING:
    case FALKOR_ERROR_REPLY:
        if (value->as.string[value->length] != 0)
            abort();
        return fuzz_bytes(value->as.string, value->length);
    case FALKOR_ARRAY:
        for (uint32_t i = 0; i < value->length; i++)
            sum = sum * 31 + fuzz_read(&value->as.items[i]);
        return sum;
    case FALKOR_MAP: return fuzz_map(value, false);
    case FALKOR_NODE: return fuzz_node(value->as.node);
    case FALKOR_EDGE: return fuzz_edge(value->as.edge);
    case FALKOR_PATH: return fuzz_path(value->as.path);
    case FALKOR_POINT:
        return fuzz_bytes(value->as.point, sizeof *value->as.point);
    case FALKOR_VECTORF32:
        return fuzz_bytes(value->as.vector, value->length * sizeof(float));
    default: return sum * 31 + (uint64_t)value->as.integer;
    }
}

/* Added to sum: of all rows at once, or of one at a time, it is the same. */
static uint64_t fuzz_rows(const falkor_result *result, uint64_t sum) {
    for (size_t row = 0; row < falkor_result_rows(result); row++)
        for (size_t i = 0; i < falkor_result_columns(result); i++)
            sum = sum * 31 + fuzz_read(falkor_result_value(result, row, i));
    return sum;
}

/* ---- as JSON ------------------------------------------------------------ */

static void fuzz_same_json(const falkor_value *value, const cJSON *json);

static void fuzz_same_text(const char *text, const cJSON *json) {
    FUZZ_CHECK(cJSON_IsString(json));
    if (fuzz_is_utf8(text))             /* else some of it was replaced */
        FUZZ_CHECK(strcmp(json->valuestring, text) == 0);
}

/* JSON has no word for these. */
static void fuzz_same_real(double real, const cJSON *json) {
    if (isfinite(real))
        FUZZ_CHECK(cJSON_IsNumber(json) && json->valuedouble == real);
    else
        fuzz_same_text(isnan(real) ? "NaN" : real > 0 ? "Infinity"
                                                      : "-Infinity", json);
}

/* Keys may be there twice. */
static void fuzz_same_map(const falkor_value *map, const cJSON *json) {
    FUZZ_CHECK(cJSON_IsObject(json));
    const cJSON *child = json->child;
    for (uint32_t i = 0; i < map->length; i++, child = child->next) {
        const char *key = map->as.entries[i].key;
        FUZZ_CHECK(child && child->string);
        FUZZ_CHECK(!fuzz_is_utf8(key) || strcmp(child->string, key) == 0);
        fuzz_same_json(&map->as.entries[i].value, child);
    }
    FUZZ_CHECK(!child);
}

static void fuzz_same_node(const falkor_node *node, const cJSON *json) {
    const cJSON *labels = cJSON_GetObjectItem(json, "labels");
    FUZZ_CHECK(cJSON_GetObjectItem(json, "id")->valuedouble ==
               (double)node->id);
    FUZZ_CHECK(cJSON_GetArraySize(labels) == (int)node->label_count);
    const cJSON *label = labels->child;
    for (size_t i = 0; i < node->label_count; i++, label = label->next)
        fuzz_same_text(node->labels[i], label);
    fuzz_same_map(&node->properties, cJSON_GetObjectItem(json, "properties"));
}

static void fuzz_same_edge(const falkor_edge *edge, const cJSON *json) {
    FUZZ_CHECK(cJSON_GetObjectItem(json, "id")->valuedouble ==
               (double)edge->id);
    FUZZ_CHECK(cJSON_GetObjectItem(json, "source")->valuedouble ==
               (double)edge->source);
    FUZZ_CHECK(cJSON_GetObjectItem(json, "destination")->valuedouble ==
               (double)edge->destination);
    fuzz_same_text(edge->type, cJSON_GetObjectItem(json, "type"));
    fuzz_same_map(&edge->properties, cJSON_GetObjectItem(json, "properties"));
}

static void fuzz_same_path(const falkor_path *path, const cJSON *json) {
    const cJSON *nodes = cJSON_GetObjectItem(json, "nodes");
    const cJSON *edges = cJSON_GetObjectItem(json, "edges");
    FUZZ_CHECK(cJSON_GetArraySize(nodes) == (int)path->node_count);
    FUZZ_CHECK(cJSON_GetArraySize(edges) == (int)path->edge_count);
    const cJSON *child = nodes->child;
    for (size_t i = 0; i < path->node_count; i++, child = child->next)
        fuzz_same_node(&path->nodes[i], child);
    child = edges->child;
    for (size_t i = 0; i < path->edge_count; i++, child = child->next)
        fuzz_same_edge(&path->edges[i], child);
}

static void fuzz_same_list(const falkor_value *list, const cJSON *json) {
    FUZZ_CHECK(cJSON_IsArray(json));
    const cJSON *child = json->child;
    for (uint32_t i = 0; i < list->length; i++, child = child->next) {
        FUZZ_CHECK(child);
        if (list->type == FALKOR_ARRAY)
            fuzz_same_json(&list->as.items[i], child);
        else if (isfinite(list->as.vector[i]))
            FUZZ_CHECK((float)child->valuedouble == list->as.vector[i]);
        else
            fuzz_same_real((double)list->as.vector[i], child);
    }
    FUZZ_CHECK(!child);
}

static void fuzz_same_json(const falkor_value *value, const cJSON *json) {
    FUZZ_CHECK(json);
    switch (value->type) {
    case FALKOR_ERROR_REPLY:
        json = cJSON_GetObjectItem(json, "error");
        /* fall through */
    case FALKOR_STRING:
        FUZZ_CHECK(cJSON_IsString(json));
        if (strlen(value->as.string) == value->length)
            fuzz_same_text(value->as.string, json);
        return;
    case FALKOR_INTEGER:
        FUZZ_CHECK(cJSON_IsNumber(json) &&
                   json->valuedouble == (double)value->as.integer);
        return;
    case FALKOR_BOOLEAN:
        FUZZ_CHECK(cJSON_IsBool(json) &&
                   cJSON_IsTrue(json) == value->as.boolean);
        return;
    case FALKOR_DOUBLE: fuzz_same_real(value->as.real, json); return;
    case FALKOR_ARRAY:
    case FALKOR_VECTORF32: fuzz_same_list(value, json); return;
    case FALKOR_MAP: fuzz_same_map(value, json); return;
    case FALKOR_NODE: fuzz_same_node(value->as.node, json); return;
    case FALKOR_EDGE: fuzz_same_edge(value->as.edge, json); return;
    case FALKOR_PATH: fuzz_same_path(value->as.path, json); return;
    case FALKOR_POINT:
        fuzz_same_real(value->as.point->latitude,
                       cJSON_GetObjectItem(json, "latitude"));
        fuzz_same_real(value->as.point->longitude,
                       cJSON_GetObjectItem(json, "longitude"));
        return;
    case FALKOR_DATETIME:
    case FALKOR_DATE:
    case FALKOR_TIME:
    case FALKOR_DURATION: FUZZ_CHECK(cJSON_IsString(json)); return;
    default: FUZZ_CHECK(cJSON_IsNull(json));
    }
}

/* cJSON takes control characters, and bytes of all kinds; JSON does not. */
static cJSON *fuzz_parse(const char *text, size_t length) {
    FUZZ_CHECK(strlen(text) == length && fuzz_is_utf8(text));
    for (const char *at = text; *at; at++)
        FUZZ_CHECK((unsigned char)*at >= ' ');
    cJSON *json = cJSON_ParseWithOpts(text, NULL, true);
    FUZZ_CHECK(json);
    return json;
}

typedef struct fuzz_page { char *text; size_t length, room; } fuzz_page;

static bool fuzz_add(void *ctx, const char *bytes, size_t length) {
    fuzz_page *page = ctx;
    if (page->length + length >= page->room) {
        page->room = 2 * (page->length + length);
        page->text = realloc(page->text, page->room);
        FUZZ_CHECK(page->text);
    }
    memcpy(page->text + page->length, bytes, length);
    page->length += length;
    page->text[page->length] = '\0';
    return true;
}

/* The result by falkor_result_write_json; the values of its first row also each
   for itself, by falkor_value_to_json. */
static void fuzz_write(const falkor_result *result) {
    fuzz_page page = {NULL, 0, 0};
    size_t columns = falkor_result_columns(result), length;
    size_t rows = falkor_result_rows(result);
    FUZZ_CHECK(falkor_result_write_json(result, fuzz_add, &page) == FALKOR_OK);
    cJSON *json = fuzz_parse(page.text, page.length);
    const cJSON *names = cJSON_GetObjectItem(json, "columns");
    const cJSON *lines = cJSON_GetObjectItem(json, "rows");
    FUZZ_CHECK(cJSON_IsObject(cJSON_GetObjectItem(json, "summary")));
    FUZZ_CHECK(cJSON_GetArraySize(names) == (int)columns);
    FUZZ_CHECK(cJSON_GetArraySize(lines) == (int)rows);
    const cJSON *name = names->child, *line = lines->child;
    for (size_t i = 0; i < columns; i++, name = name->next)
        fuzz_same_text(falkor_result_column(result, i), name);
    for (size_t row = 0; row < rows; row++, line = line->next) {
        const cJSON *cell = line->child;
        for (size_t i = 0; i < columns; i++, cell = cell->next)
            fuzz_same_json(falkor_result_value(result, row, i), cell);
        FUZZ_CHECK(!cell);
    }
    cJSON_Delete(json);
    free(page.text);
    for (size_t i = 0; i < columns && rows; i++) {
        char *text;
        const falkor_value *value = falkor_result_value(result, 0, i);
        FUZZ_CHECK(falkor_value_to_json(value, &text, &length) == FALKOR_OK);
        json = fuzz_parse(text, length);
        fuzz_same_json(value, json);
        cJSON_Delete(json);
        free(text);
    }
}

/* ---- a reply ------------------------------------------------------------ */

static const char *const fuzz_names[] = {"a", "b", "c", "d"};

#define FUZZ_WHOLE (SIZE_MAX >> 33)     /* portions that large: one portion */

/* What a reply has come to. more: a message stands behind it; whether that is
   read with it, and may be malformed then, depends on the portions. */
typedef struct fuzz_end {
    falkor_status status;
    bool done, more;
    uint64_t sum, rows;
    char message[512];          /* as far as no portion changes it */
} fuzz_end;

static fuzz_end fuzz_once(falkor__reply_kind kind, size_t known,
                          const uint8_t *data, size_t size, size_t most) {
    falkor__schema schema = {.references = 1, .counts = {known, known, known},
        .names = {fuzz_names, fuzz_names, fuzz_names}};
    falkor__schema all = {.references = 1, .counts = {4, 4, 4},
        .names = {fuzz_names, fuzz_names, fuzz_names}};
    falkor__limits limits = {.depth = 200, .bytes = 1 << 24};
    falkor_result *r = falkor__reply_new(kind, &schema, &limits);
    fuzz_end end = {.status = FALKOR_OK};
    falkor_error error = {0};
    uint64_t state = most;
    size_t at = 0, room;
    while (!end.status && !falkor__reply_done(r) && at < size) {
        char *to = falkor__reply_room(r, &room);
        size_t portion = fuzz_portion(&state, most);
        room = room > portion ? portion : room;
        room = room > size - at ? size - at : room;
        memcpy(to, data + at, room);
        at += room;
        end.status = falkor__reply_feed(r, room, &error);
        while (!end.status && falkor__reply_row_ready(r)) {
            fuzz_all_named = falkor__reply_resolve(r, &all) == 0;
            end.sum = fuzz_rows(r, end.sum);
            end.rows += falkor_result_rows(r);
            if (most == FUZZ_WHOLE && end.rows < 50)
                fuzz_write(r);
            end.status = falkor__reply_next(r, &error);
        }
    }
    if (!end.status && falkor__reply_done(r)) {
        end.done = true;
        fuzz_all_named = falkor__reply_resolve(r, &all) == 0;
        if (most == FUZZ_WHOLE)
            fuzz_write(r);
        end.sum = fuzz_rows(r, end.sum);
        end.rows += falkor_result_rows(r);
        for (size_t i = 0; i < falkor_result_columns(r); i++)
            end.sum = end.sum * 31 + fuzz_text(falkor_result_column(r, i));
        const char *text = falkor__reply_error(r, NULL);
        end.sum = end.sum * 31 + (text ? fuzz_text(text) : 0);
        end.sum += fuzz_bytes(falkor_result_summary(r), sizeof(falkor_summary));
        falkor__reply_surplus(r, &room);
        end.more = at - room < size && data[at - room] == '>';
    }
    strcpy(end.message, error.message);
    char *cut = strstr(end.message, end.status == FALKOR_ERR_LIMIT
                       ? "a line of " : ", found ");
    if (cut)
        *cut = '\0';
    falkor_result_free(r);
    FUZZ_CHECK(schema.references == 1 && all.references == 1);
    FUZZ_CHECK(!end.status == !*error.message);
    return end;
}

static void fuzz_same(const fuzz_end *one, const fuzz_end *other) {
    if (one->more || other->more)
        return;
    FUZZ_CHECK(one->status == other->status);
    FUZZ_CHECK(strcmp(one->message, other->message) == 0);
    if (one->status)
        return;
    FUZZ_CHECK(one->done == other->done);
    FUZZ_CHECK(!one->done || one->rows == other->rows);
    FUZZ_CHECK(!one->done || one->sum == other->sum);
}

/* A byte 1, a length and a number: so many bytes before it come again so many
   times. */
static size_t fuzz_unfold(const uint8_t *data, size_t size, uint8_t *out,
                          size_t most) {
    size_t at = 0;
    for (size_t i = 0; i < size && at < most; i++) {
        if (data[i] != 1 || i + 2 >= size) {
            out[at++] = data[i];
            continue;
        }
        size_t length = data[i + 1] < at ? data[i + 1] : at;
        unsigned times = data[i + 2];
        for (; times && at + length <= most; times--) {
            memcpy(out + at, out + at - length, length);
            at += length;
        }
        i += 2;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t reply[160000];
    if (size < 2)
        return 0;
    bool plain = data[0] % 3 == 0;
    size_t known = data[0] / 3 % 5, most = data[1] % 64 + 1u;
    falkor__reply_kind kind = plain ? FALKOR__REPLY_PLAIN : FALKOR__REPLY_QUERY;
    size = fuzz_unfold(data + 2, size - 2, reply, sizeof reply);
    if (most < size / 1000)
        most = size / 1000;
    fuzz_end whole = fuzz_once(kind, known, reply, size, FUZZ_WHOLE);
    fuzz_end pieces = fuzz_once(kind, known, reply, size, most);
    fuzz_same(&whole, &pieces);
    if (plain)
        return 0;
    kind = FALKOR__REPLY_ROWS;
    fuzz_end rows = fuzz_once(kind, known, reply, size, FUZZ_WHOLE);
    fuzz_same(&whole, &rows);
    rows = fuzz_once(kind, known, reply, size, most);
    fuzz_same(&whole, &rows);
    return 0;
}

/* ---- what to begin with ------------------------------------------------- */

#define ONE_CELL "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n*1\r\n*1\r\n"
#define END "*1\r\n$20\r\nCached execution: 1 \r\n"

static const char *const fuzz_seeds[] = {
    ONE_CELL "*2\r\n:8\r\n*3\r\n:4\r\n*2\r\n:1\r\n:0\r\n*2\r\n*3\r\n:1\r\n"
        ":2\r\n$2\r\nhi\r\n*3\r\n:2\r\n:6\r\n*1\r\n*2\r\n:4\r\n$4\r\ntrue\r\n"
        END,
    ONE_CELL "*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*1\r\n*2\r\n:8\r\n*3\r\n:1\r\n"
        "*0\r\n*0\r\n*2\r\n:6\r\n*1\r\n*2\r\n:7\r\n*5\r\n:5\r\n:1\r\n:1\r\n"
        ":2\r\n*0\r\n" END,
    ONE_CELL "*2\r\n:10\r\n*4\r\n$1\r\na\r\n*2\r\n:5\r\n$3\r\n1.5\r\n$1\r\n"
        "b\r\n*2\r\n:11\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n" END,
    ONE_CELL "*2\r\n:12\r\n*2\r\n$3\r\n0.1\r\n$3\r\ninf\r\n" END,
    ONE_CELL "*2\r\n:6\r\n*3\r\n*2\r\n:1\r\n_\r\n*2\r\n:12\r\n*2\r\n,1.5\r\n"
        ",-inf\r\n*2\r\n:99\r\n%1\r\n|1\r\n+a\r\n_\r\n:1\r\n~1\r\n#t\r\n" END,
    ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n" ONE_CELL "*2\r\n:3\r\n:7\r\n"
        END ">2\r\n$10\r\ninvalidate\r\n_\r\n",
    "*2\r\n-version mismatch\r\n:17\r\n", "-ERR no\r\n", "!6\r\nERR no\r\n",
    "*4\r\n+OK\r\n-ERR no\r\n*2\r\n:1\r\n*-1\r\n$-1\r\n",
    "%3\r\n$1\r\na\r\n:1\r\n#f\r\n%1\r\n,1.5\r\n~2\r\n_\r\n#t\r\n(12\r\n*0\r\n",
    "*5\r\n=6\r\ntxt:hi\r\n!2\r\nno\r\n(123456789012345678901\r\n,nan\r\n>1\r\n"
        ":1\r\n",
    "|1\r\n+a\r\n:1\r\n%1\r\n|1\r\n+b\r\n*1\r\n:1\r\n+k\r\n|1\r\n+c\r\n_\r\n"
        "*1\r\n|0\r\n:1\r\n",
    ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb"
        "\r\n:2\r\n"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed) {
    const char *good = fuzz_seeds[seed / 64 %
        (sizeof fuzz_seeds / sizeof *fuzz_seeds)];
    if ((size < 3 || seed % 64 == 0) && strlen(good) + 2 <= most) {
        size = strlen(good) + 2;
        data[0] = (uint8_t)(seed >> 16);
        data[1] = (uint8_t)(seed >> 24);
        memcpy(data + 2, good, size - 2);
    }
    return LLVMFuzzerMutate(data, size, most);
}
