/* A result: reading its rows, values and names, and the memory that it lies
   in. How numbers are read from text stands here too, for the text may come in
   any locale and must give the very double that was meant. Knows nothing of
   replies or connections. */
#include "internal.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ----------------------------------------------------------- */

void *falkor__take(const falkor_allocator *heap, size_t size) {
    return heap ? heap->allocate(heap->ctx, size) : malloc(size);
}

void *falkor__take_zero(const falkor_allocator *heap, size_t count,
                        size_t size) {
    if (!heap)
        return calloc(count, size);
    void *block = count > SIZE_MAX / size ? NULL
        : heap->allocate(heap->ctx, count * size);
    return block ? memset(block, 0, count * size) : NULL;
}

void *falkor__take_more(const falkor_allocator *heap, void *block,
                        size_t size) {
    return heap ? heap->reallocate(heap->ctx, block, size)
                : realloc(block, size);
}

void falkor__give(const falkor_allocator *heap, void *block) {
    if (!heap)
        free(block);
    else if (block)
        heap->release(heap->ctx, block);
}

/* Fresh memory costs more than all the decoding that fills it: the system
   clears it page by page, and libc gives large blocks back at once. So a few
   chunks of the largest usual size stay for the next result, until the last
   pool goes; none that is an allocator's of the caller. A place is emptied and
   filled by one atomic exchange, which no thread waits for and which a fork
   cannot catch half done. */
#define FALKOR__SPARES 16
static _Atomic(falkor__chunk *) falkor__spares[FALKOR__SPARES];

static falkor__chunk *falkor__spare_take(void) {
    falkor__chunk *chunk = NULL;
    for (int i = 0; i < FALKOR__SPARES && !chunk; i++)
        if (atomic_load_explicit(&falkor__spares[i], memory_order_relaxed))
            chunk = atomic_exchange_explicit(&falkor__spares[i], NULL,
                                             memory_order_acquire);
    return chunk;
}

static bool falkor__spare_put(falkor__chunk *chunk) {
    for (int i = 0; i < FALKOR__SPARES; i++) {
        falkor__chunk *none = NULL;
        if (!atomic_load_explicit(&falkor__spares[i], memory_order_relaxed) &&
            atomic_compare_exchange_strong_explicit(&falkor__spares[i], &none,
                chunk, memory_order_release, memory_order_relaxed))
            return true;
    }
    return false;
}

void falkor__spares_free(void) {
    for (falkor__chunk *chunk; (chunk = falkor__spare_take());)
        free(chunk);
}

falkor__chunk *falkor__chunk_new(const falkor_allocator *heap, size_t size) {
    if (size > SIZE_MAX / 2)
        return NULL;
    falkor__chunk *chunk = size == FALKOR__MOST_ARENA && !heap
        ? falkor__spare_take() : NULL;
    if (!chunk)
        chunk = falkor__take(heap, sizeof *chunk + size);
    if (chunk)
        *chunk = (falkor__chunk){.size = size};
    return chunk;
}

void falkor__chunks_free(const falkor_allocator *heap, falkor__chunk *list) {
    while (list) {
        falkor__chunk *next = list->next;
        if (list->size != FALKOR__MOST_ARENA || heap ||
            !falkor__spare_put(list))
            falkor__give(heap, list);
        list = next;
    }
}

/* A large block of a whole reply gets a chunk of its own behind the newest,
   whose rest stays in use; row by row it would not be given back there with
   its row. What may be given back (see falkor__arena) is never that large. One
   of half of the usual chunk or more takes such a chunk, which may be a spare
   one, rather than pages that are cleared for it. */
#define FALKOR__LARGE_BLOCK ((size_t)64 << 10)

static bool falkor__is_large(const falkor__arena *arena, size_t size) {
    return arena->chunks && arena->most_size == FALKOR__MOST_ARENA &&
        size >= FALKOR__LARGE_BLOCK && size >= arena->next_size / 4;
}

static void *falkor__arena_large(falkor__arena *arena, size_t size) {
    if (size > FALKOR__MOST_ARENA / 2 && size < FALKOR__MOST_ARENA)
        size = FALKOR__MOST_ARENA;
    falkor__chunk *chunk = falkor__chunk_new(arena->heap, size);
    if (!chunk)
        return NULL;
    falkor__chunk **link = &arena->chunks;
    if (*link)
        link = &(*link)->next;
    chunk->next = *link;
    *link = chunk;
    return chunk + 1;
}

extern inline void *falkor__arena_take(falkor__arena *arena, size_t size);

void *falkor__arena_more(falkor__arena *arena, size_t size) {
    if (size > SIZE_MAX / 4)
        return NULL;
    size = (size + 7) & ~(size_t)7;
    if (falkor__is_large(arena, size))
        return falkor__arena_large(arena, size);
    size_t room = size > arena->next_size ? size : arena->next_size;
    falkor__chunk *chunk = falkor__chunk_new(arena->heap, room);
    if (!chunk)
        return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    if (arena->next_size < arena->most_size)
        arena->next_size *= 2;
    arena->kept = (char *)(chunk + 1);
    arena->at = arena->kept + size;
    arena->end = arena->kept + room;
    return arena->kept;
}

/* ---- the schema's references ------------------------------------------ */

falkor__schema *falkor__schema_retain(falkor__schema *schema) {
    if (schema)
        atomic_fetch_add_explicit(&schema->references, 1,
                                  memory_order_relaxed);
    return schema;
}

void falkor__schema_release(falkor__schema *schema) {
    if (schema && atomic_fetch_sub_explicit(&schema->references, 1,
                                            memory_order_acq_rel) == 1)
        schema->destroy(schema);
}

/* ---- shape ------------------------------------------------------------ */

/* All rows are in the first segment. */
void falkor__result_table(falkor_result *result, const char *const *columns,
                          size_t column_count, falkor_value *cells,
                          size_t rows) {
    result->columns = columns;
    result->column_count = column_count;
    result->base_shift = 31;
    result->segments[0] = cells;
    result->rows = rows;
}

/* ---- reading ---------------------------------------------------------- */

size_t falkor_result_rows(const falkor_result *result) {
    return result ? result->rows : 0;
}

size_t falkor_result_columns(const falkor_result *result) {
    return result ? result->column_count : 0;
}

const char *falkor_result_column(const falkor_result *result, size_t column) {
    return result && column < result->column_count ? result->columns[column]
                                                   : NULL;
}

/* The segment of a row is the number of doublings before it. */
static const falkor_value *falkor__result_row(const falkor_result *result,
                                              size_t row) {
    size_t doublings = (row >> result->base_shift) + 1;
    unsigned segment = 0;
#if defined(__GNUC__)
    segment = 63 - (unsigned)__builtin_clzll((unsigned long long)doublings);
#else
    while (doublings >> (segment + 1))
        segment++;
#endif
    size_t first = (((size_t)1 << segment) - 1) << result->base_shift;
    return result->segments[segment] + (row - first) * result->column_count;
}

const falkor_value *falkor_result_value(const falkor_result *result,
                                        size_t row, size_t column) {
    if (!result || row >= result->rows || column >= result->column_count)
        return NULL;
    return falkor__result_row(result, row) + column;
}

const falkor_value *falkor_result_get(const falkor_result *result, size_t row,
                                      const char *column) {
    if (!result || !column)
        return NULL;
    for (size_t i = 0; i < result->column_count; i++)
        if (strcmp(result->columns[i], column) == 0)
            return falkor_result_value(result, row, i);
    return NULL;
}

const falkor_summary *falkor_result_summary(const falkor_result *result) {
    return result ? &result->summary : NULL;
}

static const falkor_value *falkor__properties_of(const falkor_value *value) {
    if (!value)
        return NULL;
    switch (value->type) {
    case FALKOR_MAP: return value;
    case FALKOR_NODE: return &value->as.node->properties;
    case FALKOR_EDGE: return &value->as.edge->properties;
    default: return NULL;
    }
}

const falkor_value *falkor_property(const falkor_value *value,
                                    const char *key) {
    const falkor_value *map = falkor__properties_of(value);
    for (uint32_t i = 0; map && key && i < map->length; i++)
        if (strcmp(map->as.entries[i].key, key) == 0)
            return &map->as.entries[i].value;
    return NULL;
}

const char *falkor_type_name(falkor_type type) {
    static const char *const names[] = {
        "unknown", "null", "string", "integer", "boolean", "double", "array",
        "edge", "node", "path", "map", "point", "vectorf32", "datetime",
        "date", "time", "duration"};
    if (type == FALKOR_ERROR_REPLY)
        return "error";
    size_t index = (size_t)type;
    return names[index < sizeof names / sizeof *names ? index : 0];
}

/* ---- numbers ---------------------------------------------------------- */

#define FALKOR__DIGITS 19               /* decimal digits that 64 bits hold */
#define FALKOR__NUMBER_TEXT 400         /* longer texts are no numbers */

/* A decimal: mantissa * 10^exponent, cut when there were more digits. */
typedef struct falkor__decimal {
    uint64_t mantissa;
    int exponent;
    bool negative, cut;
} falkor__decimal;

static bool falkor__is_digit(char c) {
    return c >= '0' && c <= '9';
}

static const char *falkor__read_digits(const char *at, const char *end,
                                       falkor__decimal *decimal, int *skipped,
                                       int *digits) {
    for (; at < end && falkor__is_digit(*at); at++, ++*digits) {
        if (decimal->mantissa < UINT64_C(1000000000000000000)) {
            decimal->mantissa = decimal->mantissa * 10 + (uint64_t)(*at - '0');
        } else {
            decimal->cut = true;
            ++*skipped;
        }
    }
    return at;
}

static const char *falkor__read_exponent(const char *at, const char *end,
                                         int *exponent) {
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const char *first = at;
    int number = 0;
    for (; at < end && falkor__is_digit(*at); at++)
        if (number < 100000)
            number = number * 10 + (*at - '0');
    *exponent += negative ? -number : number;
    return at > first ? at : NULL;
}

/* [-]digits[.digits][e[+-]digits] */
static bool falkor__read_decimal(const char *at, const char *end,
                                 falkor__decimal *decimal) {
    int digits = 0, skipped = 0;
    *decimal = (falkor__decimal){.negative = at < end && *at == '-'};
    at += decimal->negative;
    at = falkor__read_digits(at, end, decimal, &skipped, &digits);
    decimal->exponent = skipped;
    if (at < end && *at == '.') {
        int before = digits;
        skipped = 0;
        at = falkor__read_digits(at + 1, end, decimal, &skipped, &digits);
        decimal->exponent -= digits - before - skipped;
    }
    if (digits > 0 && at < end && (*at == 'e' || *at == 'E'))
        at = falkor__read_exponent(at + 1, end, &decimal->exponent);
    return at == end && digits > 0;
}

/* strtod wants the locale's decimal point, so it is given none: the digits
   alone and an exponent that makes up for it. */
static double falkor__decimal_slow(const char *at, const char *end,
                                   const falkor__decimal *decimal) {
    char copy[FALKOR__NUMBER_TEXT + 16];
    size_t length = 0;
    int fraction = 0, exponent = 0;
    bool behind_point = false;
    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.')
            behind_point = true;
        else if (*at != '-')
            copy[length++] = *at;
        fraction += behind_point && *at != '.';
    }
    if (at < end)
        falkor__read_exponent(at + 1, end, &exponent);
    snprintf(copy + length, sizeof copy - length, "e%d", exponent - fraction);
    int saved = errno;
    double number = strtod(copy, NULL);
    errno = saved;
    if (isinf(number))                  /* an infinity has its own spelling: */
        number = DBL_MAX;               /* 15 digits of this one round up */
    return decimal->negative ? -number : number;
}

static const double falkor__tens[] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* One rounding for each of: mantissa (none below 2^53) and the product; a
   power of ten up to 10^22 is exact. */
static bool falkor__decimal_fast(const falkor__decimal *decimal,
                                 double *number) {
    if (FLT_EVAL_METHOD != 0 || decimal->cut || decimal->exponent < -22 ||
        decimal->exponent > 22)
        return false;
    double scaled = (double)decimal->mantissa;
    if (decimal->exponent < 0)
        scaled /= falkor__tens[-decimal->exponent];
    else
        scaled *= falkor__tens[decimal->exponent];
    *number = decimal->negative ? -scaled : scaled;
    return true;
}

static bool falkor__read_special(const char *text, size_t length,
                                 double *number) {
    bool negative = length > 0 && *text == '-';
    text += negative;
    length -= negative;
    if (length != 3)
        return false;
    if (memcmp(text, "inf", 3) == 0)
        *number = (double)INFINITY;
    else if (memcmp(text, "nan", 3) == 0)
        *number = (double)NAN;
    else
        return false;
    *number = negative ? -*number : *number;
    return true;
}

bool falkor__read_double(const char *text, size_t length, double *number) {
    falkor__decimal decimal;
    if (length > FALKOR__NUMBER_TEXT)
        return false;
    if (!falkor__read_decimal(text, text + length, &decimal))
        return falkor__read_special(text, length, number);
    if (decimal.mantissa > UINT64_C(1) << 53 ||
        !falkor__decimal_fast(&decimal, number))
        *number = falkor__decimal_slow(text, text + length, &decimal);
    return true;
}

/* A float arrives as the 17 digits of its double. Their fast reading may be
   two units off in the double's last places, which decides nothing unless it
   lies that near the middle between two floats. */
static bool falkor__float_is_clear(double number) {
    uint64_t bits;
    double size = number < 0 ? -number : number;
    if (!(size >= (double)FLT_MIN && size < (double)FLT_MAX))
        return size == 0;
    memcpy(&bits, &number, sizeof bits);
    int64_t rest = (int64_t)(bits & ((UINT64_C(1) << 29) - 1));
    int64_t middle = INT64_C(1) << 28;
    return rest < middle - 8 || rest > middle + 8;
}

bool falkor__read_float(const char *text, size_t length, float *number) {
    falkor__decimal decimal;
    double wide;
    if (length <= FALKOR__NUMBER_TEXT &&
        falkor__read_decimal(text, text + length, &decimal) &&
        falkor__decimal_fast(&decimal, &wide) && falkor__float_is_clear(wide)) {
        *number = (float)wide;
        return true;
    }
    if (!falkor__read_double(text, length, &wide))
        return false;
    *number = (float)wide;
    return true;
}
