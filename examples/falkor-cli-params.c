/* Parameters given as JSON. cJSON parses them, but keeps every number as a
   double, which has room for integers up to 2^53 only. So the text is read a
   second time for its numbers alone: they stand there in the same order as in
   cJSON's tree. */
#include "falkor-cli.h"
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct cli_block cli_block;     /* memory of a parameter's value */
struct cli_block {
    cli_block *next;
    double room[];
};

struct cli_param {
    cli_param *next;
    char *name;
    cJSON *tree;                        /* the value's strings lie in it */
    cli_block *blocks;
    falkor_value value;
};

/* ---- one value -------------------------------------------------------- */

typedef struct reading {
    cli_param *param;
    const char *at;                     /* in the text, behind a number */
    const char *why;
} reading;

static void *block_of(cli_param *param, size_t count, size_t size) {
    cli_block *block = cli_reserve(NULL, 1, sizeof *block + count * size);
    block->next = param->blocks;
    param->blocks = block;
    return block->room;
}

static const char *behind_string(const char *at) {
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

/* The next number in the text, length long. */
static const char *next_number(const char **at, size_t *length) {
    while (**at && **at != '-' && (**at < '0' || **at > '9'))
        *at = **at == '"' ? behind_string(*at) : *at + 1;
    const char *number = *at;
    *length = strspn(number, "+-.0123456789eE");
    *at += *length;
    return number;
}

static falkor_value number_of(reading *from, const cJSON *json) {
    size_t length;
    const char *number = next_number(&from->at, &length);
    if (memchr(number, '.', length) || memchr(number, 'e', length)
        || memchr(number, 'E', length))
        return falkor_double(json->valuedouble);
    errno = 0;
    long long integer = strtoll(number, NULL, 10);
    if (errno == ERANGE)
        from->why = "an integer has more than 64 bits: write it with a .0, "
                    "or as a string";
    return falkor_int(integer);
}

/* Recurses as deep as cJSON does, which stops at 1000. */
static falkor_value value_of(reading *from, const cJSON *json) {
    falkor_value value = {.type = FALKOR_NULL};
    uint32_t count = (uint32_t)cJSON_GetArraySize(json);
    const cJSON *child = json->child;
    if (cJSON_IsBool(json))
        return falkor_bool(cJSON_IsTrue(json));
    if (cJSON_IsNumber(json))
        return number_of(from, json);
    if (cJSON_IsString(json))
        return falkor_string(json->valuestring);
    if (cJSON_IsArray(json)) {
        falkor_value *items = block_of(from->param, count, sizeof *items);
        for (uint32_t i = 0; i < count; i++, child = child->next)
            items[i] = value_of(from, child);
        value = (falkor_value){.type = FALKOR_ARRAY, .length = count,
                               .as.items = items};
    } else if (cJSON_IsObject(json)) {
        falkor_entry *entries = block_of(from->param, count, sizeof *entries);
        for (uint32_t i = 0; i < count; i++, child = child->next)
            entries[i] = (falkor_entry){.key = child->string,
                                        .value = value_of(from, child)};
        value = (falkor_value){.type = FALKOR_MAP, .length = count,
                               .as.entries = entries};
    }
    return value;
}

static const char no_json[] = "that is no JSON (a string needs its quotes: "
                              "'name=\"Ada\"')";

/* cJSON cuts a string at an escaped NUL, and takes a \u without its digits for
   one. NULL: nothing is wrong. */
static const char *wrong_escape(const char *json) {
    for (; *json; json++) {
        if (*json != '\\' || !json[1] || *++json != 'u')
            continue;
        if (strncmp(json, "u0000", 5) == 0)
            return "a string holds \\u0000, which FalkorDB does not take";
        for (int i = 1; i <= 4; i++)
            if (!isxdigit((unsigned char)json[i]))
                return no_json;
    }
    return NULL;
}

/* ---- the list --------------------------------------------------------- */

static void param_free(cli_param *param) {
    while (param->blocks) {
        cli_block *next = param->blocks->next;
        free(param->blocks);
        param->blocks = next;
    }
    cJSON_Delete(param->tree);
    free(param->name);
    free(param);
}

static void param_replace(cli_param **list, cli_param *param) {
    while (*list && strcmp((*list)->name, param->name) != 0)
        list = &(*list)->next;
    cli_param *old = *list;
    param->next = old ? old->next : NULL;
    *list = param;
    if (old)
        param_free(old);
}

/* Other names the server takes only in backquotes, or never. */
static bool is_name(const char *name, size_t length) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return strspn(name, letters) >= length && (*name < '0' || *name > '9');
}

bool cli_param_set(cli_param **list, const char *name, size_t name_length,
                   const char *json, const char **why) {
    *why = NULL;
    if (name_length == 0)
        *why = "it has no name";
    else if (!is_name(name, name_length))
        *why = "a name has the form [A-Za-z_][A-Za-z0-9_]*, without $ and "
               "quotes";
    else
        *why = wrong_escape(json);
    if (*why)
        return false;
    cli_param *param = cli_reserve(NULL, 1, sizeof *param);
    reading from = {.param = param, .at = json};
    param->name = cli_reserve(NULL, name_length + 1, 1);
    memcpy(param->name, name, name_length);
    param->tree = cJSON_ParseWithOpts(json, NULL, true);
    if (param->tree)
        param->value = value_of(&from, param->tree);
    else
        from.why = no_json;
    *why = from.why;
    if (*why)
        param_free(param);
    else
        param_replace(list, param);
    return !*why;
}

falkor_param *cli_params_array(const cli_param *list) {
    size_t count = 0;
    for (const cli_param *param = list; param; param = param->next)
        count++;
    falkor_param *array = cli_reserve(NULL, count + 1, sizeof *array);
    for (size_t i = 0; i < count; i++, list = list->next)
        array[i] = (falkor_param){.name = list->name, .value = list->value};
    return array;
}

void cli_params_free(cli_param *list) {
    while (list) {
        cli_param *next = list->next;
        param_free(list);
        list = next;
    }
}
