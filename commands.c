/* Commands about whole graphs and the server, with typed results: a plain reply
   is made a table in its own memory. Knows what each command's reply looks
   like in RESP2 and RESP3; knows nothing of connections. */
#include "commands.h"
#include "snapshot.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FALKOR_WITHOUT_COMMANDS
/* ---- asking ----------------------------------------------------------- */

falkor_status falkor__need(const char *text, const char *what,
                           falkor_error *error) {
    falkor__error_clear(error);
    if (text && *text)
        return FALKOR_OK;
    return falkor__refuse(error, "%s is %s", what, text ? "empty" : "NULL");
}

/* The reply was whole, and means nothing to us. A string where a list should
   be is the server's own word for it ("no section found"). */
static falkor_status falkor__unshaped(const falkor__request *request,
                                      falkor_status status,
                                      const falkor_value *value,
                                      falkor_error *error) {
    if (status == FALKOR_ERR_NOMEM)
        return falkor__fail(error, status, 0, "out of memory for the reply");
    if (value && value->type == FALKOR_STRING)
        return falkor__fail(error, FALKOR_ERR_QUERY, 0, "%s: %s",
                            request->argv[0], value->as.string);
    return falkor__fail(error, status, 0, "%s: the reply is of a shape that "
        "this version of the library does not know: use falkor_command",
        request->argv[0]);
}

static bool falkor__in_multi(falkor_pool *pool,
                             const falkor_conn *conn) {
    falkor__link *link = conn ? falkor__held_link(pool, conn) : NULL;
    return link && falkor__link_marks(link) & FALKOR__SESSION_MULTI;
}

static falkor_status falkor__typed_ask(const falkor__request *request,
                                       falkor_pool *pool,
                                       falkor_result **result,
                                       falkor_error *error) {
    falkor_call_options options = request->options ? *request->options
                                                   : (falkor_call_options){0};
    falkor_result *reply;
    options.read_only = request->reads;
    if (request->reads)
        options.wait_replicas = 0;
    if (falkor__in_multi(pool, options.conn))
        return falkor__refuse(error, "inside MULTI %s has no result yet: send "
            "it by falkor_command", request->argv[0]);
    falkor_status status = falkor_command(pool, &options,
        request->argc, request->argv, request->lengths, &reply, error);
    if (status)
        return status;
    const falkor_value *value = falkor_result_value(reply, 0, 0);
    if (request->shape)
        status = request->shape(reply, value);
    if (status)
        status = falkor__unshaped(request, status, value, error);
    if (!status && result)
        *result = reply;
    else
        falkor_result_free(reply);
    return status;
}

falkor_status falkor__typed(const falkor__request *request,
                            falkor_result **result, falkor_error *error) {
    falkor_error own;
    if (!error)
        error = &own;
    falkor_status status = request->on_graph
        ? falkor__enter(request->graph, "graph", "", result, error)
        : falkor__enter(request->pool, "pool", "", result, error);
#ifndef FALKOR_WITHOUT_TOPOLOGY
    if (!status && falkor__asks_all(request))
        return falkor__typed_all(request, result, error);
#endif
    return status ? status
        : falkor__typed_ask(request, request->on_graph ? request->graph->pool
                                                       : request->pool,
                            result, error);
}

/* ---- shapes ----------------------------------------------------------- */

/* Cells of so many rows, all null. */
static falkor_value *falkor__cells(falkor_result *reply, size_t columns,
                                   size_t rows) {
    size_t count = columns * rows;      /* of one reply: it does not overflow */
    falkor_value *cells = falkor__reply_take(reply, count * sizeof *cells);
    for (size_t i = 0; cells && i < count; i++)
        cells[i] = (falkor_value){.type = FALKOR_NULL};
    return cells;
}

static bool falkor__number_of(const falkor_value *value, double *number) {
    *number = 0;
    switch (value->type) {
    case FALKOR_INTEGER: *number = (double)value->as.integer; return true;
    case FALKOR_DOUBLE: *number = value->as.real; return true;
    case FALKOR_STRING:
        return falkor__read_double(value->as.string, value->length, number);
    default: return false;
    }
}

/* A value as a double, or as a time in seconds since 1970; one that is no
   number stays what it is. */
static falkor_value falkor__as_double(const falkor_value *value) {
    double number;
    return falkor__number_of(value, &number) ? falkor_double(number) : *value;
}

static falkor_value falkor__as_time(const falkor_value *value) {
    double number;
    if (!falkor__number_of(value, &number) || !(number > -9e15) ||
        !(number < 9e15))
        return *value;
    falkor_value time = {.type = FALKOR_DATETIME};
    time.as.seconds = (int64_t)number;
    return time;
}

/* Pairs of key and value: a map of RESP3, or a flat list of RESP2. */
static size_t falkor__pairs(const falkor_value *list) {
    return list->type == FALKOR_MAP ? list->length
        : list->type == FALKOR_ARRAY ? list->length / 2 : 0;
}

static falkor_entry falkor__pair_at(const falkor_value *list, size_t index) {
    if (list->type == FALKOR_MAP)
        return list->as.entries[index];
    const falkor_value *key = &list->as.items[2 * index];
    return (falkor_entry){key->type == FALKOR_STRING ? key->as.string : "",
                          key[1]};
}

/* A list that is a map to who reads it. false: no memory. */
static bool falkor__make_map(falkor_result *reply, falkor_value *value) {
    size_t pairs = falkor__pairs(value);
    if (value->type != FALKOR_ARRAY)
        return true;
    falkor_entry *entries = falkor__reply_take(reply, pairs * sizeof *entries);
    for (size_t i = 0; entries && i < pairs; i++)
        entries[i] = falkor__pair_at(value, i);
    *value = falkor_map(entries, pairs);
    return entries != NULL;
}

/* ["a", "b", ...] */
static falkor_status falkor__shape_graphs(falkor_result *reply,
                                          const falkor_value *value) {
    static const char *const columns[] = {"graph"};
    if (value->type != FALKOR_ARRAY)
        return FALKOR_ERR_PROTOCOL;
    falkor_value *cells = falkor__cells(reply, 1, value->length);
    if (!cells)
        return FALKOR_ERR_NOMEM;
    for (uint32_t i = 0; i < value->length; i++)
        cells[i] = value->as.items[i];
    falkor__result_table(reply, columns, 1, cells, value->length);
    return FALKOR_OK;
}

/* name, size, name, [label, size, ...], ...: a row with the names as columns */
static falkor_status falkor__shape_memory(falkor_result *reply,
                                          const falkor_value *value) {
    size_t pairs = falkor__pairs(value);
    if (!pairs)
        return FALKOR_ERR_PROTOCOL;
    const char **columns = falkor__reply_take(reply, pairs * sizeof *columns);
    falkor_value *cells = falkor__cells(reply, 1, pairs);
    if (!columns || !cells)
        return FALKOR_ERR_NOMEM;
    for (size_t i = 0; i < pairs; i++) {
        falkor_entry pair = falkor__pair_at(value, i);
        columns[i] = pair.key;
        cells[i] = pair.value;
        if (!falkor__make_map(reply, &cells[i]))
            return FALKOR_ERR_NOMEM;
    }
    falkor__result_table(reply, columns, pairs, cells, 1);
    return FALKOR_OK;
}

/* [[time, command, query, milliseconds, params], ...] */
static falkor_status falkor__shape_slowlog(falkor_result *reply,
                                           const falkor_value *value) {
    static const char *const columns[] = {"time", "command", "query",
                                          "milliseconds", "params"};
    if (value->type != FALKOR_ARRAY)
        return FALKOR_ERR_PROTOCOL;
    falkor_value *cells = falkor__cells(reply, 5, value->length);
    if (!cells)
        return FALKOR_ERR_NOMEM;
    for (uint32_t i = 0; i < value->length; i++) {
        const falkor_value *entry = &value->as.items[i];
        falkor_value *row = cells + (size_t)i * 5;
        if (entry->type != FALKOR_ARRAY || entry->length < 4)
            return FALKOR_ERR_PROTOCOL;
        for (uint32_t part = 0; part < 5 && part < entry->length; part++)
            row[part] = entry->as.items[part];
        row[0] = falkor__as_time(&row[0]);
        row[3] = falkor__as_double(&row[3]);
    }
    falkor__result_table(reply, columns, 5, cells, value->length);
    return FALKOR_OK;
}

/* [name, value], or [[name, value], ...] when all were asked for */
static falkor_status falkor__shape_config(falkor_result *reply,
                                          const falkor_value *value) {
    static const char *const columns[] = {"name", "value"};
    if (value->type != FALKOR_ARRAY)
        return FALKOR_ERR_PROTOCOL;
    bool one = value->length == 2 && value->as.items[0].type == FALKOR_STRING;
    size_t rows = one ? 1 : value->length;
    falkor_value *cells = falkor__cells(reply, 2, rows);
    if (!cells)
        return FALKOR_ERR_NOMEM;
    for (size_t i = 0; i < rows; i++) {
        const falkor_value *pair = one ? value : &value->as.items[i];
        if (pair->type != FALKOR_ARRAY || pair->length != 2)
            return FALKOR_ERR_PROTOCOL;
        memcpy(cells + 2 * i, pair->as.items, 2 * sizeof *cells);
    }
    falkor__result_table(reply, columns, 2, cells, rows);
    return FALKOR_OK;
}

/* [library_name, l, functions, [f, ...], library_code, text] for each */
static falkor_status falkor__shape_libraries(falkor_result *reply,
                                             const falkor_value *value) {
    static const char *const columns[] = {"library", "functions", "code"};
    static const char *const keys[] = {"library_name", "functions",
                                       "library_code"};
    if (value->type != FALKOR_ARRAY)
        return FALKOR_ERR_PROTOCOL;
    falkor_value *cells = falkor__cells(reply, 3, value->length);
    if (!cells)
        return FALKOR_ERR_NOMEM;
    for (uint32_t i = 0; i < value->length; i++) {
        const falkor_value *library = &value->as.items[i];
        for (size_t at = 0; at < 3 * falkor__pairs(library); at++) {
            falkor_entry pair = falkor__pair_at(library, at / 3);
            if (strcmp(pair.key, keys[at % 3]) == 0)
                cells[(size_t)i * 3 + at % 3] = pair.value;
        }
    }
    falkor__result_table(reply, columns, 3, cells, value->length);
    return FALKOR_OK;
}

/* ---- what the server is doing ----------------------------------------- */

enum { FALKOR__INFO_SECTION, FALKOR__INFO_RECEIVED, FALKOR__INFO_GRAPH,
       FALKOR__INFO_QUERY, FALKOR__INFO_MS, FALKOR__INFO_MORE,
       FALKOR__INFO_COLUMNS };

/* Where a field belongs, and what it is; all others go to "more". */
static const struct { const char *key; int column; bool real; }
falkor__info_fields[] = {
    {"Received at", FALKOR__INFO_RECEIVED, false},
    {"Graph name", FALKOR__INFO_GRAPH, false},
    {"Query", FALKOR__INFO_QUERY, false},
    {"Execution duration", FALKOR__INFO_MS, true},
    {"Wait duration", FALKOR__INFO_MS, true},
    {"Average References per Object", FALKOR__INFO_MORE, true},
};

static int falkor__info_column(falkor_entry *field) {
    size_t count = sizeof falkor__info_fields / sizeof *falkor__info_fields;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(falkor__info_fields[i].key, field->key) != 0)
            continue;
        if (falkor__info_fields[i].real)
            field->value = falkor__as_double(&field->value);
        return falkor__info_fields[i].column;
    }
    return FALKOR__INFO_MORE;
}

/* One query, or one number, into the cells of its row. */
static bool falkor__info_row(falkor_result *reply, const falkor_value *fields,
                             falkor_value *row) {
    size_t pairs = falkor__pairs(fields), more = 0;
    falkor_entry *entries = falkor__reply_take(reply, pairs * sizeof *entries);
    for (size_t i = 0; entries && i < pairs; i++) {
        falkor_entry field = falkor__pair_at(fields, i);
        int column = falkor__info_column(&field);
        if (column == FALKOR__INFO_MORE)
            entries[more++] = field;
        else
            row[column] = field.value;
    }
    row[FALKOR__INFO_RECEIVED] = falkor__as_time(&row[FALKOR__INFO_RECEIVED]);
    row[FALKOR__INFO_MORE] = falkor_map(entries, more);
    return entries != NULL;
}

/* "# Running queries" */
static falkor_value falkor__info_title(const char *text) {
    return falkor_string(strncmp(text, "# ", 2) == 0 ? text + 2 : text);
}

/* [section, [[key, value, ...], ...], section, ...] */
static falkor_status falkor__shape_info(falkor_result *reply,
                                        const falkor_value *value) {
    static const char *const columns[FALKOR__INFO_COLUMNS] = {
        "section", "received", "graph", "query", "milliseconds", "more"};
    size_t sections = falkor__pairs(value), rows = 0;
    if (!sections)
        return FALKOR_ERR_PROTOCOL;
    for (size_t i = 0; i < sections; i++) {
        falkor_entry section = falkor__pair_at(value, i);
        if (section.value.type != FALKOR_ARRAY)
            return FALKOR_ERR_PROTOCOL;
        rows += section.value.length;
    }
    falkor_value *cells = falkor__cells(reply, FALKOR__INFO_COLUMNS, rows);
    falkor_value *row = cells;
    for (size_t i = 0; cells && i < sections; i++) {
        falkor_entry section = falkor__pair_at(value, i);
        for (uint32_t at = 0; at < section.value.length; at++) {
            *row = falkor__info_title(section.key);
            if (!falkor__info_row(reply, &section.value.as.items[at], row))
                return FALKOR_ERR_NOMEM;
            row += FALKOR__INFO_COLUMNS;
        }
    }
    falkor__result_table(reply, columns, FALKOR__INFO_COLUMNS, cells, rows);
    return cells ? FALKOR_OK : FALKOR_ERR_NOMEM;
}

/* "Running queries" for "RunningQueries". */
static bool falkor__is_section(const char *title, const char *section) {
    while (*title && *section) {
        title += *title == ' ';
        if (tolower((unsigned char)*title++) !=
            tolower((unsigned char)*section++))
            return false;
    }
    return !*title && !*section;
}

/* A cluster takes the section's name for a key: all sections are asked for, and
   the rows of the others left out. */
static void falkor__keep_section(falkor_result *result, const char *section) {
    const falkor_value *first = falkor_result_value(result, 0, 0);
    falkor_value *cells = (falkor_value *)(uintptr_t)first; /* the table's */
    size_t rows = falkor_result_rows(result), kept = 0;
    for (size_t row = 0; row < rows; row++) {
        falkor_value *at = cells + row * FALKOR__INFO_COLUMNS;
        if (at->type == FALKOR_STRING &&
            falkor__is_section(at->as.string, section))
            memmove(cells + FALKOR__INFO_COLUMNS * kept++, at,
                    FALKOR__INFO_COLUMNS * sizeof *at);
    }
    if (rows)
        falkor__result_table(result, result->columns, FALKOR__INFO_COLUMNS,
                             cells, kept);
}

falkor_status falkor_info(falkor_pool *pool,
    const falkor_call_options *options, const char *section,
    falkor_result **result, falkor_error *error) {
    const char *argv[] = {"GRAPH.INFO", section};
    const falkor__config *config = pool ? falkor__pool_config(pool) : NULL;
    bool keeps = section && config && (config->cluster || config->in_cluster);
    falkor_status status = falkor__typed(&(falkor__request){
        FALKOR__ON_POOL(pool), .options = options, .reads = true,
        .shape = falkor__shape_info, .scope = FALKOR__SCOPE_PRIMARIES,
        .argc = section && !keeps ? 2 : 1, .argv = argv}, result, error);
    if (!status && keeps && result)
        falkor__keep_section(*result, section);
    return status;
}

/* ---- graphs ----------------------------------------------------------- */

falkor_status falkor_graph_delete(falkor_graph *graph,
    const falkor_call_options *options, falkor_error *error) {
    const char *argv[] = {"GRAPH.DELETE", falkor_graph_name(graph)};
    return falkor__typed(&(falkor__request){FALKOR__ON_GRAPH(graph),
        .options = options, .argc = 2, .argv = argv}, NULL, error);
}

falkor_status falkor_graph_copy(falkor_graph *graph,
    const falkor_call_options *options, const char *to, falkor_error *error) {
    const char *argv[] = {"GRAPH.COPY", falkor_graph_name(graph), to};
    falkor_status status = falkor__need(to, "the copy's name", error);
    return status ? status
        : falkor__typed(&(falkor__request){FALKOR__ON_GRAPH(graph),
            .options = options, .argc = 3, .argv = argv}, NULL, error);
}

falkor_status falkor_list_graphs(falkor_pool *pool,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error) {
    const char *argv[] = {"GRAPH.LIST"};
    return falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
        .options = options, .reads = true, .shape = falkor__shape_graphs,
        .scope = FALKOR__SCOPE_PRIMARIES, .distinct = true,
        .argc = 1, .argv = argv}, result, error);
}

falkor_status falkor_memory_usage(falkor_graph *graph,
    const falkor_call_options *options, int samples, falkor_result **result,
    falkor_error *error) {
    char number[16];
    const char *argv[] = {"GRAPH.MEMORY", "USAGE", falkor_graph_name(graph),
                          "SAMPLES", number};
    snprintf(number, sizeof number, "%d", samples);
    if (result)
        *result = NULL;
    falkor__error_clear(error);
    if (samples < 0)
        return falkor__refuse(error,
            "samples is %d: give 1 or more, or 0 for the server's", samples);
    return falkor__typed(&(falkor__request){FALKOR__ON_GRAPH(graph),
        .options = options, .reads = true, .shape = falkor__shape_memory,
        .argc = samples ? 5 : 3, .argv = argv}, result, error);
}

falkor_status falkor_slowlog(falkor_graph *graph,
    const falkor_call_options *options, falkor_result **result,
    falkor_error *error) {
    const char *argv[] = {"GRAPH.SLOWLOG", falkor_graph_name(graph)};
    return falkor__typed(&(falkor__request){FALKOR__ON_GRAPH(graph),
        .options = options, .reads = true, .shape = falkor__shape_slowlog,
        .argc = 2, .argv = argv}, result, error);
}

falkor_status falkor_slowlog_reset(falkor_graph *graph,
    const falkor_call_options *options, falkor_error *error) {
    const char *argv[] = {"GRAPH.SLOWLOG", falkor_graph_name(graph), "RESET"};
    return falkor__typed(&(falkor__request){FALKOR__ON_GRAPH(graph),
        .options = options, .argc = 3, .argv = argv}, NULL, error);
}

/* ---- the server's configuration --------------------------------------- */

falkor_status falkor_config_get(falkor_pool *pool,
    const falkor_call_options *options, const char *name,
    falkor_result **result, falkor_error *error) {
    const char *argv[] = {"GRAPH.CONFIG", "GET", name ? name : "*"};
    return falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
        .options = options, .reads = true, .shape = falkor__shape_config,
        .scope = FALKOR__SCOPE_NODES, .distinct = true,
        .argc = 3, .argv = argv}, result, error);
}

/* A setting as the server reads it; NULL: no type of its own. */
static const char *falkor__config_text(const falkor_value *value,
                                       size_t *length, char *room,
                                       size_t size) {
    const char *text = room;
    switch (value->type) {
    case FALKOR_INTEGER:
        snprintf(room, size, "%lld", (long long)value->as.integer);
        break;
    case FALKOR_BOOLEAN: text = value->as.boolean ? "yes" : "no"; break;
    case FALKOR_STRING: *length = value->length; return value->as.string;
    default: return NULL;
    }
    *length = strlen(text);
    return text;
}

falkor_status falkor_config_set(falkor_pool *pool,
    const falkor_call_options *options, const char *name, falkor_value value,
    falkor_error *error) {
    char room[32];
    size_t lengths[] = {12, 3, 0, 0};
    const char *argv[] = {"GRAPH.CONFIG", "SET", name,
        falkor__config_text(&value, &lengths[3], room, sizeof room)};
    falkor_status status = falkor__need(name, "the setting's name", error);
    if (status)
        return status;
    if (!argv[3])
        return falkor__refuse(error, "%s: a setting is an integer, a boolean "
            "or a string, not a %s", name, falkor_type_name(value.type));
    lengths[2] = strlen(name);
    return falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
        .options = options, .scope = FALKOR__SCOPE_NODES,
        .argc = 4, .argv = argv, .lengths = lengths}, NULL, error);
}

/* ---- libraries of functions ------------------------------------------- */

/* The server prints a library's name without counting its bytes. */
static falkor_status falkor__need_library(const char *library,
                                          falkor_error *error) {
    falkor_status status = falkor__need(library, "the library's name", error);
    if (!status && strpbrk(library, "\r\n"))
        status = falkor__refuse(error,
            "library \"%s\": with the end of a line in its name the server's "
            "lists of libraries could not be read any more", library);
    return status;
}

falkor_status falkor_udf_load(falkor_pool *pool,
    const falkor_call_options *options, const char *library,
    const char *source, bool replace, falkor_error *error) {
    const char *replacing[] = {"GRAPH.UDF", "LOAD", "REPLACE", library, source};
    const char *argv[] = {"GRAPH.UDF", "LOAD", library, source};
    falkor_status status = falkor__need_library(library, error);
    if (!status)
        status = falkor__need(source, "the library's source", error);
    return status ? status
        : falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
            .options = options, .scope = FALKOR__SCOPE_PRIMARIES,
            .argc = replace ? 5 : 4,
            .argv = replace ? replacing : argv}, NULL, error);
}

/* WITHCODE alone asks for all: a library of that name is listed with it. */
falkor_status falkor_udf_list(falkor_pool *pool,
    const falkor_call_options *options, const char *library, bool with_code,
    falkor_result **result, falkor_error *error) {
    const char *argv[4] = {"GRAPH.UDF", "LIST"};
    size_t argc = 2;
    if (library)
        argv[argc++] = library;
    if (with_code || (library && falkor__same_word(library, "WITHCODE")))
        argv[argc++] = "WITHCODE";
    return falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
        .options = options, .reads = true, .shape = falkor__shape_libraries,
        .scope = FALKOR__SCOPE_PRIMARIES, .distinct = true,
        .argc = argc, .argv = argv}, result, error);
}

falkor_status falkor_udf_delete(falkor_pool *pool,
    const falkor_call_options *options, const char *library,
    falkor_error *error) {
    const char *argv[] = {"GRAPH.UDF", "DELETE", library};
    falkor_status status = falkor__need(library, "the library's name", error);
    return status ? status
        : falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
            .options = options, .scope = FALKOR__SCOPE_PRIMARIES,
            .argc = 3, .argv = argv}, NULL, error);
}

falkor_status falkor_udf_flush(falkor_pool *pool,
    const falkor_call_options *options, falkor_error *error) {
    const char *argv[] = {"GRAPH.UDF", "FLUSH"};
    return falkor__typed(&(falkor__request){FALKOR__ON_POOL(pool),
        .options = options, .scope = FALKOR__SCOPE_PRIMARIES,
        .argc = 2, .argv = argv}, NULL, error);
}
#endif

#ifndef FALKOR_WITHOUT_STATISTICS
/* ---- INFO ---------------------------------------------------------------- */

/* What stands behind a key, "\n" before it; NULL: there is no such line. */
static const char *falkor__info_value(const char *info, const char *key) {
    const char *at = strstr(info, key);
    return at ? at + strlen(key) : NULL;
}

/* 0: there is none, or less. */
static int64_t falkor__info_number(const char *info, const char *key) {
    const char *at = falkor__info_value(info, key);
    int64_t number = at ? strtoll(at, NULL, 10) : 0;
    return number > 0 ? number : 0;
}

/* Up to the line's end; NULL: "". */
static void falkor__info_word(const char *at, char *room, size_t size) {
    size_t length = at ? strcspn(at, "\r\n") : 0;
    length = length < size - 1 ? length : size - 1;
    memcpy(room, at ? at : "", length);
    room[length] = '\0';
}

/* How many connections were rejected since what INFO said a minute ago, or the
   first time of this run of the server; where that is more than two minutes
   ago, how many a minute, and not none. What comes late, of threads that ask
   side by side, is not noted. */
static int64_t falkor__rejected_lately(falkor__client *client, int64_t now,
                                       const char *run_id, int64_t rejected) {
    const int64_t minute = 60 * FALKOR__NS_PER_S;
    const falkor__told *told = NULL;
    falkor__mutex_lock(&client->mutex);
    if (strcmp(client->run_id, run_id) != 0)
        client->told_count = 0;
    memcpy(client->run_id, run_id, strlen(run_id) + 1);
    unsigned count = client->told_count;
    const falkor__told *last = &client->told[(count - 1) % FALKOR__TOLD];
    for (unsigned i = 1; i <= count && i <= FALKOR__TOLD; i++) {
        told = &client->told[(count - i) % FALKOR__TOLD];
        if (now - told->at_ns >= minute)
            break;
    }
    int64_t lately = told && rejected > told->rejected
        ? rejected - told->rejected : 0;
    if (lately && now - told->at_ns > 2 * minute)
        lately = (int64_t)((double)lately * (double)minute /
                           (double)(now - told->at_ns)) + 1;
    if (!count || (now - last->at_ns >= 10 * FALKOR__NS_PER_S &&
                   rejected >= last->rejected))
        client->told[client->told_count++ % FALKOR__TOLD] =
            (falkor__told){now, rejected};
    falkor__mutex_unlock(&client->mutex);
    return lately;
}

falkor_status falkor_snapshot_ask_server(falkor_snapshot *snapshot,
                                         falkor_pool *pool,
                                         falkor_error *error) {
    falkor_result *result;
    falkor_error own;
    if (!error)
        error = &own;
    falkor__error_clear(error);
    if (!snapshot || !pool)
        return falkor__refuse(error, "falkor_snapshot_ask_server: %s is NULL",
                              pool ? "snapshot" : "pool");
    falkor_status status = falkor_command(pool,
        &(falkor_call_options){.read_only = true}, 1,
        (const char *[]){"INFO"}, NULL, &result, error);
    if (status)
        return status;
    const falkor_value *value = falkor_result_value(result, 0, 0);
    if (!value || value->type != FALKOR_STRING) {
        falkor_result_free(result);
        return falkor__fail(error, FALKOR_ERR_PROTOCOL, 0,
                            "INFO was not answered with text");
    }
    const char *info = value->as.string;
    falkor__server_view *server = &snapshot->server;
    *server = (falkor__server_view){.known = true,
        .uptime_s = falkor__info_number(info, "\nuptime_in_seconds:"),
        .clients = falkor__info_number(info, "\nconnected_clients:"),
        .blocked = falkor__info_number(info, "\nblocked_clients:"),
        .memory_bytes = falkor__info_number(info, "\nused_memory:"),
        .commands = falkor__info_number(info, "\ntotal_commands_processed:"),
        .rejected = falkor__info_number(info, "\nrejected_connections:")};
    const char *version = falkor__info_value(info, "\nvalkey_version:");
    falkor__info_word(version ? version
                      : falkor__info_value(info, "\nredis_version:"),
                      server->version, sizeof server->version);
    char run_id[48];
    falkor__info_word(falkor__info_value(info, "\nrun_id:"), run_id,
                      sizeof run_id);
    server->rejected_lately = falkor__rejected_lately(
        falkor__client_of(pool), falkor_now_ns(), run_id, server->rejected);
    falkor_result_free(result);
    return FALKOR_OK;
}
#endif
