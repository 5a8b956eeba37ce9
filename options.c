/* Configuration: what the caller's struct, a URL and the environment say
   becomes one checked falkor__config. This file knows every setting's name,
   default and range, all in one table; it does no I/O and starts nothing. */
#include "internal.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* ---- the settings that are numbers ------------------------------------ */

/* What -1 in the options means. Text ("0" in a URL or in a variable) says the
   same thing, but cannot ask for "for ever": there 0 is surely a mistake. */
typedef enum falkor__none {
    FALKOR__NONE_REFUSED,
    FALKOR__NONE_FOREVER,       /* -1 in the config; "0" is refused */
    FALKOR__NONE_OFF,           /* -1 in the config */
    FALKOR__NONE_ZERO           /* 0 in the config */
} falkor__none;

typedef enum falkor__form {     /* how text gives the number */
    FALKOR__FORM_COUNT,         /* digits */
    FALKOR__FORM_SECONDS,       /* with a fraction, milliseconds in options */
    FALKOR__FORM_FLAG,          /* true: the smallest value; false: initial */
    FALKOR__FORM_READERS        /* a word for a falkor_read_from */
} falkor__form;

typedef struct falkor__setting {
    const char *name;
    size_t option, config;      /* where it lies in the two structs */
    bool real;                  /* a double there, else an int */
    bool open;                  /* least and most are themselves excluded */
    double initial, least, most;
    falkor__none none;
    falkor__form form;
    const char *variable;       /* DB_X has the URL key x; NULL: neither */
    const char *older;          /* the variable's former name */
} falkor__setting;

#define FALKOR__SETTING(field) \
    .name = #field, .option = offsetof(falkor_options, field), \
    .config = offsetof(falkor__config, field)
#define FALKOR__SETTING_MS(field, standard, meaning) \
    FALKOR__SETTING(field), .initial = standard, .least = 1, \
    .most = INT_MAX, .none = FALKOR__NONE_##meaning, \
    .form = FALKOR__FORM_SECONDS

static const falkor__setting falkor__settings[] = {
    {FALKOR__SETTING(port), .initial = 6379, .least = 1, .most = 65535,
     .variable = "FALKORDB_PORT"},
    {FALKOR__SETTING(database), .initial = 0, .least = 1, .most = 1000000,
     .none = FALKOR__NONE_ZERO, .variable = "FALKORDB_DB"},
    {FALKOR__SETTING(min_size), .initial = 5, .least = 1, .most = 10000,
     .none = FALKOR__NONE_ZERO, .variable = "DB_POOL_MIN_SIZE"},
    {FALKOR__SETTING(max_size), .initial = 20, .least = 1, .most = 10000,
     .variable = "DB_POOL_MAX_SIZE", .older = "FALKORDB_POOL_SIZE"},
    {FALKOR__SETTING(reserve_size), .initial = 0, .least = 1, .most = 10000,
     .none = FALKOR__NONE_ZERO, .variable = "DB_POOL_RESERVE"},
    {FALKOR__SETTING_MS(reserve_after_ms, 0, ZERO)},
    {FALKOR__SETTING(max_waiters), .initial = -1, .least = 1, .most = 1000000,
     .none = FALKOR__NONE_OFF},
    {FALKOR__SETTING_MS(pool_timeout_ms, 10000, FOREVER),
     .variable = "DB_POOL_TIMEOUT"},
    {FALKOR__SETTING_MS(connect_timeout_ms, 5000, FOREVER),
     .variable = "DB_CONNECT_TIMEOUT"},
    {FALKOR__SETTING_MS(socket_timeout_ms, 30000, FOREVER),
     .variable = "DB_SOCKET_TIMEOUT"},
    {FALKOR__SETTING_MS(health_check_interval_ms, 30000, OFF),
     .variable = "DB_HEALTH_CHECK_INTERVAL"},
    {FALKOR__SETTING(validate_after_ms), .initial = 1000, .least = 1,
     .most = INT_MAX, .none = FALKOR__NONE_OFF, .form = FALKOR__FORM_FLAG,
     .variable = "DB_POOL_PRE_PING"},
    {FALKOR__SETTING_MS(max_lifetime_ms, 3600000, OFF),
     .variable = "DB_POOL_RECYCLE"},
    {FALKOR__SETTING_MS(idle_timeout_ms, 60000, OFF),
     .variable = "DB_IDLE_TIMEOUT"},
    {FALKOR__SETTING_MS(leak_after_ms, -1, OFF)},
    {FALKOR__SETTING(max_retries), .initial = 3, .least = 1, .most = 1000,
     .none = FALKOR__NONE_ZERO, .variable = "DB_MAX_RETRIES"},
    {FALKOR__SETTING_MS(retry_initial_delay_ms, 100, ZERO),
     .variable = "DB_RETRY_INITIAL_DELAY"},
    {FALKOR__SETTING_MS(retry_max_delay_ms, 2000, ZERO),
     .variable = "DB_RETRY_MAX_DELAY"},
    {FALKOR__SETTING(retry_base), .real = true, .initial = 2, .least = 1,
     .most = 10},
    {FALKOR__SETTING(retry_jitter), .real = true, .open = true,
     .initial = 0.25, .least = 0, .most = 1, .none = FALKOR__NONE_ZERO},
    {FALKOR__SETTING(breaker_failures), .initial = 5, .least = 1,
     .most = 1000000, .none = FALKOR__NONE_OFF,
     .variable = "DB_BREAKER_FAILURES"},
    {FALKOR__SETTING_MS(breaker_max_delay_ms, 1000, REFUSED),
     .variable = "DB_BREAKER_MAX_DELAY"},
    {FALKOR__SETTING(read_from), .initial = FALKOR_READ_PRIMARY, .least = 1,
     .most = FALKOR_READ_NEAREST, .none = FALKOR__NONE_ZERO,
     .form = FALKOR__FORM_READERS, .variable = "DB_READ_FROM"},
    {FALKOR__SETTING(max_lag_bytes), .initial = 1048576, .least = 1,
     .most = INT_MAX, .none = FALKOR__NONE_OFF,
     .variable = "DB_MAX_LAG_BYTES"},
    {FALKOR__SETTING_MS(max_lag_ms, 10000, OFF), .variable = "DB_MAX_LAG"},
    {FALKOR__SETTING_MS(health.window_ms, 60000, OFF)},
    {FALKOR__SETTING(health.utilization_warning), .initial = 80, .least = 1,
     .most = 100, .none = FALKOR__NONE_OFF},
    {FALKOR__SETTING(health.utilization_critical), .initial = 95, .least = 1,
     .most = 100, .none = FALKOR__NONE_OFF},
    {FALKOR__SETTING_MS(health.wait_warning_ms, 100, OFF)},
    {FALKOR__SETTING_MS(health.wait_critical_ms, 500, OFF)},
    {FALKOR__SETTING(health.errors_warning), .initial = 0, .least = 1,
     .most = INT_MAX, .none = FALKOR__NONE_OFF},
    {FALKOR__SETTING(health.errors_critical), .initial = 10, .least = 1,
     .most = INT_MAX, .none = FALKOR__NONE_OFF},
};
#define FALKOR__NAME_BYTES 255          /* of a host, in the DNS and in TLS */
#define FALKOR__SETTINGS_END \
    (falkor__settings + sizeof falkor__settings / sizeof *falkor__settings)

static double falkor__number_get(const void *base, size_t offset, bool real) {
    const char *at = (const char *)base + offset;
    return real ? *(const double *)(const void *)at
                : *(const int *)(const void *)at;
}

static void falkor__number_set(void *base, size_t offset, bool real,
                               double number) {
    char *at = (char *)base + offset;
    if (real)
        *(double *)(void *)at = number;
    else
        *(int *)(void *)at = (int)number;
}

static double falkor__option_get(const falkor_options *options,
                                 const falkor__setting *setting) {
    return falkor__number_get(options, setting->option, setting->real);
}

static void falkor__option_set(falkor_options *options,
                               const falkor__setting *setting, double number) {
    falkor__number_set(options, setting->option, setting->real, number);
}

/* Takes over what options leaves unset. */
static void falkor__numbers_merge(falkor_options *options,
                                  const falkor_options *other) {
    for (const falkor__setting *s = falkor__settings;
         s < FALKOR__SETTINGS_END; s++)
        if (falkor__option_get(options, s) == 0)
            falkor__option_set(options, s, falkor__option_get(other, s));
}

/* A NaN is inside of nothing. */
static bool falkor__setting_holds(const falkor__setting *setting,
                                  double number) {
    return setting->open
        ? number > setting->least && number < setting->most
        : number >= setting->least && number <= setting->most;
}

/* Checks what the options say and writes it, or the default, to config. */
static falkor_status falkor__setting_apply(const falkor__setting *setting,
                                           const falkor_options *options,
                                           falkor__config *config,
                                           falkor_error *error) {
    static const char *const none[] = {
        [FALKOR__NONE_REFUSED] = "", [FALKOR__NONE_FOREVER] = ", -1 for ever",
        [FALKOR__NONE_OFF] = ", -1 for none", [FALKOR__NONE_ZERO] =
        ", -1 for none"};
    double number = falkor__option_get(options, setting);
    double kept = number;
    if (number == 0)
        kept = setting->initial;
    else if (number == -1 && setting->none != FALKOR__NONE_REFUSED)
        kept = setting->none == FALKOR__NONE_ZERO ? 0 : -1;
    else if (setting->form == FALKOR__FORM_READERS &&
             !falkor__setting_holds(setting, number))
        return falkor__refuse(error, "%s is %.10g: use 0 to %.10g, which are "
            "FALKOR_READ_PRIMARY and so on", setting->name, number,
            setting->most);
    else if (!falkor__setting_holds(setting, number))
        return falkor__refuse(error, "%s is %.10g: use %.10g to %.10g%s, 0 for "
            "the default (%.10g)%s", setting->name, number, setting->least,
            setting->most, setting->open ? " (both excluded)" : "",
            setting->initial, none[setting->none]);
    falkor__number_set(config, setting->config, setting->real, kept);
    return FALKOR_OK;
}

#ifndef FALKOR_WITHOUT_URLS
/* ---- numbers from text ------------------------------------------------ */

/* Reads digits, or seconds with a fraction as milliseconds rounded up; in no
   locale, with no sign, exponent or space. What is far too large becomes some
   number that is out of every range. */
static bool falkor__parse_number(const char *text, bool seconds,
                                 int64_t *number) {
    const int64_t huge = INT64_C(1000000000000000);
    int64_t value = 0;
    bool digits = false;
    for (; *text >= '0' && *text <= '9'; text++, digits = true)
        value = value < huge ? value * 10 + (*text - '0') : huge;
    if (seconds) {
        int64_t unit = 1000;
        value = value < huge ? value * unit : huge;
        if (*text == '.') {
            bool more = false;
            for (text++; *text >= '0' && *text <= '9'; text++, digits = true) {
                unit /= 10;
                value += (*text - '0') * unit;
                more = more || (unit == 0 && *text != '0');
            }
            value += more;
        }
    }
    *number = value;
    return digits && *text == '\0';
}

static bool falkor__parse_flag(const char *text, bool *flag) {
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes",
                                        "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (falkor__same_word(text, words[i])) {
            *flag = i % 2 == 1;
            return true;
        }
    return false;
}

/* The words for falkor_read_from, from 0 on. */
static const char *const falkor__readers[] = {"primary", "prefer_replica",
                                              "replica", "nearest"};

static bool falkor__parse_readers(const char *text, int64_t *number) {
    size_t count = sizeof falkor__readers / sizeof *falkor__readers;
    for (size_t i = 0; i < count; i++)
        if (falkor__same_word(text, falkor__readers[i])) {
            *number = (int64_t)i;
            return true;
        }
    return false;
}

static falkor_status falkor__flag_fail(const char *origin, const char *name,
                                       const char *text, falkor_error *error) {
    char shown[48];
    return falkor__refuse(error, "%s%s is %s: use true or false", origin, name,
        falkor__quote(shown, sizeof shown, text));
}

static falkor_status falkor__text_fail(const falkor__setting *setting,
                                       const char *origin, const char *name,
                                       const char *text, falkor_error *error) {
    char shown[48];
    falkor__quote(shown, sizeof shown, text);
    bool zero = setting->none == FALKOR__NONE_OFF
             || setting->none == FALKOR__NONE_ZERO;
    if (setting->form == FALKOR__FORM_FLAG)
        return falkor__flag_fail(origin, name, text, error);
    if (setting->form == FALKOR__FORM_READERS)
        return falkor__refuse(error, "%s%s is %s: use primary, prefer_replica, "
            "replica or nearest", origin, name, shown);
    if (setting->form == FALKOR__FORM_SECONDS)
        return falkor__refuse(error,
            "%s%s is %s: use seconds from 0.001 to 2147483.647%s", origin, name,
            shown, zero ? ", or 0 for none" : "");
    return falkor__refuse(error, "%s%s is %s: use a whole number from %.10g to "
        "%.10g", origin, name, shown, zero ? 0 : setting->least, setting->most);
}

/* Sets a number in options from text. A zero there is a real one: -1. */
static falkor_status falkor__setting_read(const falkor__setting *setting,
                                          const char *origin,
                                          const char *name, const char *text,
                                          falkor_options *options,
                                          falkor_error *error) {
    int64_t number;
    bool flag, good;
    if (setting->form == FALKOR__FORM_FLAG) {
        good = falkor__parse_flag(text, &flag);
        number = good && flag ? (int64_t)setting->least
                              : (int64_t)setting->initial;
    } else if (setting->form == FALKOR__FORM_READERS) {
        good = falkor__parse_readers(text, &number);
    } else {
        good = falkor__parse_number(
            text, setting->form == FALKOR__FORM_SECONDS, &number);
        if (number == 0)
            good = good && (setting->none == FALKOR__NONE_OFF
                            || setting->none == FALKOR__NONE_ZERO);
        else
            good = good && falkor__setting_holds(setting, (double)number);
    }
    if (!good)
        return falkor__text_fail(setting, origin, name, text, error);
    falkor__option_set(options, setting,
                       number == 0 ? -1 : (double)number);
    return FALKOR_OK;
}
#endif

/* Whether all bytes are visible ASCII, or with high also above ASCII. */
static bool falkor__is_word(const char *text, bool high) {
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f
            || (!high && (unsigned char)*text > 0x7f))
            return false;
    return true;
}

/* ---- the settings that are texts --------------------------------------- */

typedef struct falkor__text_setting {
    size_t option, config;      /* where it lies in the two structs */
    const char *name;           /* the URL key; NULL: none */
    const char *variable;
} falkor__text_setting;

#define FALKOR__TEXT(field) \
    {.option = offsetof(falkor_options, field), \
     .config = offsetof(falkor__config, field)}
#define FALKOR__KEYED_TEXT(field, key) \
    {offsetof(falkor_options, field), offsetof(falkor__config, field), key, \
     NULL}
#define FALKOR__TLS_TEXT(field, shell) \
    {offsetof(falkor_options, tls_##field), \
     offsetof(falkor__config, tls.field), "tls_" #field, shell}
static const falkor__text_setting falkor__options_texts[] = {
    FALKOR__TEXT(host), FALKOR__TEXT(unix_path), FALKOR__TEXT(username),
    FALKOR__TEXT(password), FALKOR__TEXT(client_name), FALKOR__TEXT(graph),
    FALKOR__TEXT(name), FALKOR__TEXT(sentinels), FALKOR__TEXT(cluster),
    FALKOR__KEYED_TEXT(master_name, "master"),
    FALKOR__KEYED_TEXT(sentinel_username, "sentinel_username"),
    FALKOR__KEYED_TEXT(sentinel_password, "sentinel_password"),
    FALKOR__TLS_TEXT(ca_file, "DB_TLS_CA_FILE"),
    FALKOR__TLS_TEXT(cert_file, "DB_TLS_CERT_FILE"),
    FALKOR__TLS_TEXT(key_file, "DB_TLS_KEY_FILE"),
    FALKOR__TLS_TEXT(server_name, "DB_TLS_SERVER_NAME")};
#define FALKOR__KEYED_TEXTS (falkor__options_texts + 9)
#define FALKOR__TLS_TEXTS (falkor__options_texts + 12)
#define FALKOR__TEXTS_END (falkor__options_texts + \
    sizeof falkor__options_texts / sizeof *falkor__options_texts)

static const char **falkor__option_slot(falkor_options *options,
    const falkor__text_setting *text) {
    return (const char **)(void *)((char *)options + text->option);
}

static char **falkor__config_slot(const falkor__config *config,
    const falkor__text_setting *text) {
    return (char **)(uintptr_t)((const char *)config + text->config);
}

/* Empty is the same as not set. */
static const char *falkor__either(const char *own, const char *other) {
    return own && *own ? own : other;
}

/* Takes over what options leaves unset. An empty password is one. */
static void falkor__texts_merge(falkor_options *options,
                                falkor_options *other) {
    const char *password = options->password ? options->password
                                             : other->password;
    const char *own_password = options->sentinel_password
        ? options->sentinel_password : other->sentinel_password;
    for (const falkor__text_setting *t = falkor__options_texts;
         t < FALKOR__TEXTS_END; t++) {
        const char **own = falkor__option_slot(options, t);
        *own = falkor__either(*own, *falkor__option_slot(other, t));
    }
    options->password = password;
    options->sentinel_password = own_password;
    options->tls = options->tls || other->tls;
    options->tls_skip_verify = options->tls_skip_verify ||
                               other->tls_skip_verify;
}

/* Whatever is set wants TLS to be on. */
static falkor_status falkor__tls_check(falkor_options *merged,
                                       falkor_error *error) {
    const char *stray = merged->tls_skip_verify ? "tls_skip_verify" : NULL;
    for (const falkor__text_setting *t = FALKOR__TLS_TEXTS;
         t < FALKOR__TEXTS_END; t++)
        if (*falkor__option_slot(merged, t))
            stray = t->name;
    if (stray && !merged->tls)
        return falkor__refuse(error, "%s is set, but TLS is off: set tls, or "
            "begin the url with falkors://", stray);
    if (merged->tls && merged->unix_path)
        return falkor__refuse(error, "tls and unix_path are both set: a Unix "
            "socket has no TLS, use one of them");
    if (!merged->tls_cert_file != !merged->tls_key_file)
        return falkor__refuse(error, "%s: set both, or none of them",
            merged->tls_cert_file
                ? "tls_cert_file is set, but tls_key_file is not"
                : "tls_key_file is set, but tls_cert_file is not");
    if (merged->tls_server_name &&
        (!falkor__is_word(merged->tls_server_name, true) ||
         strlen(merged->tls_server_name) > FALKOR__NAME_BYTES))
        return falkor__refuse(error,
            "tls_server_name holds a space or a control character, or more "
            "than %d bytes: use a name or an address", FALKOR__NAME_BYTES);
    return FALKOR_OK;
}

#ifndef FALKOR_WITHOUT_URLS
/* ---- settings of a URL ------------------------------------------------ */

static const char *falkor__setting_key(const falkor__setting *setting) {
    if (!setting->variable)
        return NULL;
    if (setting->option == offsetof(falkor_options, database))
        return "db";
    return strncmp(setting->variable, "DB_", 3) == 0 ? setting->variable + 3
                                                     : NULL;
}

static const falkor__setting *falkor__setting_of_key(const char *key) {
    if (strspn(key, "abcdefghijklmnopqrstuvwxyz_") != strlen(key))
        return NULL;
    for (const falkor__setting *s = falkor__settings;
         s < FALKOR__SETTINGS_END; s++) {
        const char *own = falkor__setting_key(s);
        if (own && falkor__same_word(key, own))
            return s;
    }
    return NULL;
}

static falkor_status falkor__key_repeated(const char *origin, const char *key,
                                          falkor_error *error) {
    return falkor__refuse(error,
        "%s%s is given twice: leave one of them", origin, key);
}

static falkor_status falkor__key_unknown(const char *origin, const char *key,
                                         falkor_error *error) {
    size_t plain = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_-"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (!*key || key[plain] || plain > 40)
        return falkor__refuse(error, "%sa key behind the ? is none that is "
            "known: use graph, db, pool_max_size and so on", origin);
    return falkor__refuse(error,
        "%sno URL key is called \"%s\": use graph, db, pool_max_size and so "
        "on, the names of the environment variables without DB_", origin, key);
}

/* tls_ca_file and the like, and graph. */
static falkor_status falkor__key_text(const char *origin, const char *key,
                                      const char *value, const char **field,
                                      falkor_error *error) {
    if (*field)
        return falkor__key_repeated(origin, key, error);
    if (!*value)
        return falkor__refuse(error,
            "%s%s is empty: name one, or leave %s out", origin, key, key);
    *field = value;
    return FALKOR_OK;
}

static falkor_status falkor__key_verify(falkor__url *url, const char *key,
                                        const char *value,
                                        falkor_options *set,
                                        falkor_error *error) {
    if (url->says_verify)
        return falkor__key_repeated(url->origin, key, error);
    url->says_verify = true;
    return falkor__parse_flag(value, &set->tls_skip_verify) ? FALKOR_OK
        : falkor__flag_fail(url->origin, key, value, error);
}

static falkor_status falkor__key_read(falkor__url *url, const char *key,
                                      const char *value, falkor_options *set,
                                      falkor_error *error) {
    const char *origin = url->origin;
    const falkor__setting *setting = falkor__setting_of_key(key);
    if (setting)
        return falkor__option_get(set, setting) != 0
            ? falkor__key_repeated(origin, key, error)
            : falkor__setting_read(setting, origin, key, value, set, error);
    for (const falkor__text_setting *t = FALKOR__KEYED_TEXTS;
         t < FALKOR__TEXTS_END; t++)
        if (strcmp(key, t->name) == 0)
            return falkor__key_text(origin, key, value,
                                    falkor__option_slot(set, t), error);
    if (strcmp(key, "tls_skip_verify") == 0)
        return falkor__key_verify(url, key, value, set, error);
    return strcmp(key, "graph") == 0
        ? falkor__key_text(origin, key, value, &set->graph, error)
        : falkor__key_unknown(origin, key, error);
}

/* Parses text and writes what it says to set, whose strings live until url is
   freed (by the caller, on failure too). */
static falkor_status falkor__url_options(const char *text, falkor__url *url,
                                         falkor_options *set,
                                         falkor_error *error) {
    const char *key, *value;
    falkor_status status = falkor__url_parse(text, url, error);
    if (status != FALKOR_OK)
        return status;
    *set = (falkor_options){.host = url->host, .port = url->port,
        .unix_path = url->unix_path, .username = url->username,
        .password = url->password, .tls = url->tls,
        .sentinels = url->is_cluster ? NULL : url->hosts,
        .cluster = url->is_cluster ? url->hosts : NULL};
    if (url->path)
        status = falkor__key_read(url, url->path_is_database ? "db"
                                  : "graph", url->path, set, error);
    while (status == FALKOR_OK) {
        status = falkor__url_next(url, &key, &value, error);
        if (status != FALKOR_OK || !key)
            break;
        status = falkor__key_read(url, key, value, set, error);
    }
    return status;
}
#endif

/* ---- the config ------------------------------------------------------- */

static falkor_status falkor__copy_text(const falkor_allocator *heap,
                                       char **copy, const char *text,
                                       falkor_error *error) {
    if (!text)
        return FALKOR_OK;
    size_t size = strlen(text) + 1;
    *copy = falkor__take(heap, size);
    if (!*copy)
        return falkor__no_memory(error, "no memory for the options");
    memcpy(*copy, text, size);
    return FALKOR_OK;
}

#ifndef FALKOR_WITHOUT_COMMANDS
static falkor_status falkor__copy_schema(const falkor_allocator *heap,
                                         char ***copy,
                                         const char *const *schema,
                                         falkor_error *error) {
    size_t count = 0;
    while (schema && schema[count])
        count++;
    if (count == 0)
        return FALKOR_OK;
    *copy = falkor__take_zero(heap, count + 1, sizeof **copy);
    if (!*copy)
        return falkor__no_memory(error, "no memory for the schema");
    falkor_status status = FALKOR_OK;
    for (size_t i = 0; i < count && status == FALKOR_OK; i++)
        status = falkor__copy_text(heap, &(*copy)[i], schema[i], error);
    return status;
}

/* Its statements are run on a graph. */
static falkor_status falkor__schema_fill(const falkor_options *merged,
                                         falkor__config *config,
                                         falkor_error *error) {
    if (merged->schema && *merged->schema &&
        (!merged->graph || !*merged->graph))
        return falkor__refuse(error,
            "schema needs a graph to be run on: set graph, or name it in url");
    return falkor__copy_schema(config->heap, &config->schema, merged->schema,
                               error);
}
#endif

static falkor_status falkor__check_texts(const falkor_options *merged,
                                         falkor_error *error) {
    const size_t longest = sizeof ((struct sockaddr_un *)0)->sun_path - 1;
    if (merged->host && !falkor__is_word(merged->host, true))
        return falkor__refuse(error, "host holds a space or a control "
            "character: use a name or an address");
    if (merged->host && strchr(merged->host, ','))
        return falkor__refuse(error, "host is \"%.200s\", a list: several "
            "servers are sentinels or cluster, falkor+sentinel:// or "
            "falkor+cluster:// in a url", merged->host);
    if (merged->client_name && !falkor__is_word(merged->client_name, false))
        return falkor__refuse(error, "client_name may hold visible ASCII "
            "characters only, no space and no newline");
    if (merged->unix_path && strlen(merged->unix_path) > longest)
        return falkor__refuse(error, "unix_path is %zu bytes long: a socket's "
            "path holds %zu at most", strlen(merged->unix_path), longest);
    return FALKOR_OK;
}

/* What only makes sense together. A default gives way to a number that was
   set; two that were set must agree. */
static falkor_status falkor__check_numbers(const falkor_options *merged,
                                           falkor__config *config,
                                           falkor_error *error) {
    if (merged->min_size == 0 && config->min_size > config->max_size)
        config->min_size = config->max_size;
    if (config->min_size > config->max_size)
        return falkor__refuse(error,
            "min_size is %d, above max_size %d: use 1 to %d, or raise max_size",
            config->min_size, config->max_size, config->max_size);
    if (config->retry_max_delay_ms < config->retry_initial_delay_ms) {
        if (merged->retry_max_delay_ms == 0)
            config->retry_max_delay_ms = config->retry_initial_delay_ms;
        if (merged->retry_initial_delay_ms == 0)
            config->retry_initial_delay_ms = config->retry_max_delay_ms;
    }
    if (config->retry_max_delay_ms < config->retry_initial_delay_ms)
        return falkor__refuse(error, "retry_max_delay_ms is %d, below "
            "retry_initial_delay_ms %d: raise the one or lower the other",
            config->retry_max_delay_ms, config->retry_initial_delay_ms);
    return FALKOR_OK;
}

static falkor_status falkor__check_alternatives(const falkor_options *options,
                                                falkor_error *error) {
    const struct { const char *text, *name; } places[] = {
        {options->url, "url"}, {options->host, "host"},
        {options->unix_path, "unix_path"}, {options->sentinels, "sentinels"},
        {options->cluster, "cluster"}};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        bool set = places[i].text && (i == 0 || *places[i].text);
        if (set && found)
            return falkor__refuse(error,
                "%s and %s are both set: use one of them", found,
                places[i].name);
        found = set ? places[i].name : found;
    }
    if (!FALKOR__EVENTS && (options->on_event || options->tracer))
        return falkor__refuse(error, "%s is set, and this build tells of "
            "nothing (FALKOR_WITHOUT_EVENTS): leave it NULL",
            options->tracer ? "tracer" : "on_event");
#ifdef FALKOR_WITHOUT_COMMANDS
    if (options->schema)
        return falkor__refuse(error, "schema is set, and this build runs none "
            "(FALKOR_WITHOUT_COMMANDS): leave it NULL");
#endif
    if (options->schema && options->driver)
        return falkor__refuse(error,
            "schema needs the built-in driver: leave driver NULL, or schema");
    if (options->driver && (!options->driver->open || !options->driver->close))
        return falkor__refuse(error, "driver has no %s function: open and "
            "close are needed", options->driver->open ? "close" : "open");
    return FALKOR_OK;
}

/* ---- the config: more servers than one ---------------------------------- */

#ifndef FALKOR_WITHOUT_TOPOLOGY
static size_t falkor__host_length(const char *text, bool bracketed) {
    return bracketed ? strcspn(text, "],") : strcspn(text, ":,");
}

bool falkor__next_host(const char **list, char room[FALKOR__HOST_SIZE],
                       int *port) {
    const char *at = *list;
    bool more = *at == ',';
    at += more;
    at += strspn(at, " ");
    bool bracketed = *at == '[';
    *list = more && !*at ? NULL : at;
    if (!*at)
        return false;
    at += bracketed;
    size_t length = falkor__host_length(at, bracketed);
    const char *behind = at + length + (bracketed && at[length] == ']');
    *list = NULL;
    if (length == 0 || length >= FALKOR__HOST_SIZE ||
        (bracketed && at[length] != ']'))
        return false;
    memcpy(room, at, length);
    room[length] = '\0';
    if (*behind == ':') {
        size_t digits = strspn(behind + 1, "0123456789");
        long number = digits > 0 && digits < 6 ? strtol(behind + 1, NULL, 10)
                                               : 0;
        if (number < 1 || number > 65535)
            return false;
        *port = (int)number;
        behind += 1 + digits;
    }
    behind += strspn(behind, " ");
    if ((*behind && *behind != ',') || !falkor__is_word(room, true))
        return false;
    *list = behind;
    return true;
}

/* The list is read once to its end. It is not shown: what is no host may be the
   password of a URL that lacks its hosts. */
static falkor_status falkor__check_hosts(const char *list, const char *name,
                                         falkor_error *error) {
    char host[FALKOR__HOST_SIZE];
    const char *at = list;
    int port, count = 0;
    while (*list != ',' && falkor__next_host(&at, host, &port))
        count++;
    return at && count ? FALKOR_OK : falkor__refuse(error, "%s: the host "
        "number %d is none: write host1:port,host2 with ports from 1 to 65535, "
        "and an IPv6 address in [brackets]", name, count + 1);
}

/* What more servers than one need. */
static falkor_status falkor__several_check(const falkor_options *merged,
                                           const falkor__config *config,
                                           falkor_error *error) {
    if (merged->sentinels && !merged->master_name)
        return falkor__refuse(error, "sentinels are set, but not what they "
            "call the primary: set master_name, in a url ?master=name");
    if (merged->port)
        return falkor__refuse(error, "port is %d beside a list of hosts: write "
            "it into the list, host:port", merged->port);
    if (merged->driver)
        return falkor__refuse(error, "sentinels and cluster need the built-in "
            "driver: leave driver NULL");
    if (merged->cluster && config->database)
        return falkor__refuse(error, "database is %d: a cluster has only 0",
                              config->database);
    return merged->sentinels
        ? falkor__check_hosts(merged->sentinels, "sentinels", error)
        : falkor__check_hosts(merged->cluster, "cluster", error);
}
#else
static falkor_status falkor__several_check(const falkor_options *merged,
                                           const falkor__config *config,
                                           falkor_error *error) {
    (void)config;
    return falkor__refuse(error, "%s is set, and this build knows one server "
        "only (FALKOR_WITHOUT_TOPOLOGY): set host and port",
        merged->sentinels ? "sentinels" : "cluster");
}
#endif

/* What only more servers than one have. How replicas are read from may be said
   to a single server too. */
static falkor_status falkor__topology_check(const falkor_options *merged,
                                            const falkor__config *config,
                                            falkor_error *error) {
    const char *stray = merged->master_name ? "master_name"
        : merged->sentinel_username ? "sentinel_username"
        : merged->sentinel_password ? "sentinel_password" : NULL;
    if (stray && !merged->sentinels)
        return falkor__refuse(error, "%s is set, but there are no sentinels: "
            "set sentinels, or begin the url with falkor+sentinel://", stray);
    return merged->sentinels || merged->cluster
        ? falkor__several_check(merged, config, error) : FALKOR_OK;
}

/* options, where they are set, over the URL. A user without a password is one
   with an empty password, and not the default user. */
static void falkor__options_merge(falkor_options *merged,
                                  falkor_options *url) {
    falkor__numbers_merge(merged, url);
    falkor__texts_merge(merged, url);
    if (!merged->host && !merged->unix_path && !merged->sentinels &&
        !merged->cluster)
        merged->host = "localhost";
    if (merged->username && !merged->password)
        merged->password = "";
    if (merged->sentinel_username && !merged->sentinel_password)
        merged->sentinel_password = "";
}

static falkor_status falkor__config_fill(falkor_options *merged,
                                         falkor__config *config,
                                         falkor_error *error) {
    char place[128];
    falkor_status status = falkor__check_texts(merged, error);
    for (const falkor__setting *s = falkor__settings;
         s < FALKOR__SETTINGS_END && status == FALKOR_OK; s++)
        status = falkor__setting_apply(s, merged, config, error);
    if (status == FALKOR_OK)
        status = falkor__check_numbers(merged, config, error);
    if (status == FALKOR_OK)
        status = falkor__tls_check(merged, error);
    if (status == FALKOR_OK)
        status = falkor__topology_check(merged, config, error);
    for (const falkor__text_setting *t = falkor__options_texts;
         t < FALKOR__TEXTS_END && status == FALKOR_OK; t++)
        status = falkor__copy_text(config->heap,
                                   falkor__config_slot(config, t),
                                   *falkor__option_slot(merged, t), error);
    if (status == FALKOR_OK && (config->sentinels || config->cluster) &&
        !config->name && !config->client_name)  /* nodes are of one pool */
        status = falkor__copy_text(config->heap, &config->name,
            falkor__place(config, place, sizeof place), error);
#ifndef FALKOR_WITHOUT_COMMANDS
    if (status == FALKOR_OK)
        status = falkor__schema_fill(merged, config, error);
#endif
    config->tls.on = merged->tls;
    config->tls.skip_verify = merged->tls_skip_verify;
    if (status == FALKOR_OK)
        status = falkor__tls_settle(&config->tls, error);
    if (merged->driver)
        config->driver = *merged->driver;
    config->driver_ctx = merged->driver_ctx;
    config->on_event = merged->on_event;
    config->event_ctx = merged->event_ctx;
    if (merged->tracer)
        config->tracer = *merged->tracer;
    config->tracer_ctx = merged->tracer_ctx;
    return status;
}

falkor_status falkor__config_make(const falkor_options *options,
                                  falkor__config *config,
                                  falkor_error *error) {
    falkor_options merged = options ? *options : (falkor_options){0};
    falkor__error_clear(error);
    *config = (falkor__config){.heap = merged.allocator};
    falkor_options set = {0};
    falkor_status status = falkor__check_alternatives(&merged, error);
#ifdef FALKOR_WITHOUT_URLS
    if (status == FALKOR_OK && merged.url)
        status = falkor__refuse(error, "url is set, and this build has no "
            "URLs (FALKOR_WITHOUT_URLS): set host and port, or unix_path");
#else
    falkor__url url = {.origin = "url: "};
    if (status == FALKOR_OK && merged.url)
        status = falkor__url_options(merged.url, &url, &set, error);
#endif
    if (status == FALKOR_OK) {
        falkor__options_merge(&merged, &set);
        status = falkor__config_fill(&merged, config, error);
    }
#ifndef FALKOR_WITHOUT_URLS
    falkor__url_free(&url);
#endif
    if (status != FALKOR_OK)
        falkor__config_free(config);
    return status;
}

#ifndef FALKOR_WITHOUT_TOPOLOGY
/* Takes over the texts of whole as its own. */
static falkor_status falkor__copy_texts(const falkor__config *whole,
                                        falkor__config *config,
                                        falkor_error *error) {
    falkor_status status = FALKOR_OK;
    for (const falkor__text_setting *t = falkor__options_texts;
         t < FALKOR__TEXTS_END && !status; t++)
        status = falkor__copy_text(config->heap, falkor__config_slot(config, t),
                                   *falkor__config_slot(whole, t), error);
    return status;
}

falkor_status falkor__config_node(const falkor__config *whole,
                                  const char *host, int port,
                                  falkor__config *config,
                                  falkor_error *error) {
    falkor__config texts = *whole;
    texts.host = (char *)(uintptr_t)host;
    texts.sentinels = texts.cluster = texts.master_name = NULL;
    texts.sentinel_username = texts.sentinel_password = NULL;
    *config = *whole;
    for (const falkor__text_setting *t = falkor__options_texts;
         t < FALKOR__TEXTS_END; t++)
        *falkor__config_slot(config, t) = NULL;
    config->port = port;
    config->schema = NULL;
    config->tls.shared = NULL;
    config->is_node = true;
    config->in_cluster = whole->cluster != NULL;
    falkor_status status = falkor__copy_texts(&texts, config, error);
    if (!status)
        status = falkor__tls_settle(&config->tls, error);
    if (status)
        falkor__config_free(config);
    return status;
}
#endif

/* Wipes what is secret in it. */
static void falkor__config_wipe(const falkor__config *config) {
    char *const secrets[] = {config->password, config->sentinel_password};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (secrets[i])
            falkor__wipe(secrets[i], strlen(secrets[i]));
}

void falkor__config_free(falkor__config *config) {
    falkor__config_wipe(config);
    falkor__tls_unsettle(&config->tls);
    for (const falkor__text_setting *t = falkor__options_texts;
         t < FALKOR__TEXTS_END; t++)
        falkor__give(config->heap, *falkor__config_slot(config, t));
    for (size_t i = 0; config->schema && config->schema[i]; i++)
        falkor__give(config->heap, config->schema[i]);
    falkor__give(config->heap, config->schema);
    *config = (falkor__config){0};
}

const char *falkor__place(const falkor__config *config, char *room,
                          size_t size) {
    if (config->driver.open)
        *room = '\0';
    else if (config->sentinels)
        snprintf(room, size, "%s", config->master_name);
    else if (config->cluster)
        snprintf(room, size, "cluster %.*s", (int)strcspn(config->cluster, ","),
                 config->cluster);
    else if (config->unix_path)
        snprintf(room, size, "%s", config->unix_path);
    else
        snprintf(room, size, strchr(config->host, ':') ? "[%s]:%d" : "%s:%d",
                 config->host, config->port);
    return room;
}

#ifndef FALKOR_WITHOUT_URLS
bool falkor__config_same(const falkor__config *a, const falkor__config *b) {
    bool same = !a->schema && !b->schema && !a->driver.open &&
                !b->driver.open && a->on_event == b->on_event &&
                a->event_ctx == b->event_ctx &&
                a->tracer.begin == b->tracer.begin &&
                a->tracer.end == b->tracer.end &&
                a->tracer_ctx == b->tracer_ctx && a->heap == b->heap &&
                a->tls.on == b->tls.on &&
                a->tls.skip_verify == b->tls.skip_verify;
    for (const falkor__setting *s = falkor__settings;
         s < FALKOR__SETTINGS_END && same; s++)
        same = falkor__number_get(a, s->config, s->real) ==
               falkor__number_get(b, s->config, s->real);
    for (const falkor__text_setting *t = falkor__options_texts;
         t < FALKOR__TEXTS_END && same; t++) {
        const char *one = *falkor__config_slot(a, t);
        const char *other = *falkor__config_slot(b, t);
        same = one == other || (one && other && strcmp(one, other) == 0);
    }
    return same;
}

/* ---- the environment -------------------------------------------------- */

/* An empty variable is the same as none: that is how env files leave one
   out. */
static const char *falkor__variable(const char *name) {
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): setenv is the program's */
    const char *text = name ? getenv(name) : NULL;
    return text && *text ? text : NULL;
}

/* Sets in found what neither options nor the URL say. */
static falkor_status falkor__env_numbers(const falkor_options *options,
                                         const falkor_options *url,
                                         bool address, falkor_options *found,
                                         falkor_error *error) {
    falkor_status status = FALKOR_OK;
    for (const falkor__setting *s = falkor__settings;
         s < FALKOR__SETTINGS_END && status == FALKOR_OK; s++) {
        const char *name = s->variable;
        if (falkor__option_get(options, s) != 0
            || falkor__option_get(url, s) != 0
            || (s->option == offsetof(falkor_options, port) && !address))
            continue;
        const char *text = falkor__variable(name);
        if (!text) {
            name = s->older;
            text = falkor__variable(name);
        }
        if (text)
            status = falkor__setting_read(s, "", name, text, found, error);
    }
    return status;
}

/* Where TLS is on, or might be asked for by the same environment. */
static falkor_status falkor__env_tls(const falkor__url *url,
                                     falkor_options *set,
                                     falkor_options *found,
                                     falkor_error *error) {
    const char *flag = falkor__variable("DB_TLS_SKIP_VERIFY");
    bool skip;
    for (const falkor__text_setting *t = FALKOR__TLS_TEXTS;
         t < FALKOR__TEXTS_END; t++) {
        const char **own = falkor__option_slot(found, t);
        if (!*own && !*falkor__option_slot(set, t))
            *own = falkor__variable(t->variable);
    }
    if (!flag || url->says_verify || found->tls_skip_verify)
        return FALKOR_OK;
    if (!falkor__parse_flag(flag, &skip))
        return falkor__flag_fail("", "DB_TLS_SKIP_VERIFY", flag, error);
    found->tls_skip_verify = skip;
    return FALKOR_OK;
}

static void falkor__env_event(const falkor_options *options) {
    falkor__config config = {.on_event = options->on_event,
        .event_ctx = options->event_ctx, .name = (char *)options->name,
        .client_name = (char *)options->client_name};
    for (const falkor__setting *s = falkor__settings;
         s < FALKOR__SETTINGS_END; s++)
        if (falkor__variable(s->older))
            falkor__event(&config, &(falkor__event_head){
                .level = FALKOR_EVENT_WARNING, .name = "deprecated_setting"},
                "name=%s use=%s", s->older, s->variable);
}

falkor_status falkor_options_from_env(falkor_options *options,
                                      falkor_error *error) {
    falkor__url url = {.origin = "url: "};
    falkor_options set = {0};
    falkor_status status = FALKOR_OK;
    falkor__error_clear(error);
    if (!options)
        return falkor__refuse(error,
            "options is NULL: there is nothing to fill");
    falkor_options found = *options;
    bool free_address = !options->url && !options->host &&
        !options->unix_path && !options->sentinels && !options->cluster;
    if (free_address)
        found.url = falkor__variable("FALKORDB_URL");
    if (found.url) {
        if (free_address)
            url.origin = "FALKORDB_URL: ";
        status = falkor__url_options(found.url, &url, &set, error);
    }
    if (status == FALKOR_OK)
        status = falkor__env_numbers(options, &set,
                                     free_address && !found.url, &found,
                                     error);
    if (status == FALKOR_OK && (free_address || found.tls || set.tls))
        status = falkor__env_tls(&url, &set, &found, error);
    if (free_address && !found.url)
        found.host = falkor__variable("FALKORDB_HOST");
    if (free_address && !found.username && !set.username
        && !set.password)
        found.username = falkor__variable("FALKORDB_USERNAME");
    if (free_address && !found.password && !set.password)
        found.password = falkor__variable("FALKORDB_PASSWORD");
    if (!options->url && !found.graph && !set.graph)
        found.graph = falkor__variable("GRAPH_NAME");
    falkor__url_free(&url);
    if (status != FALKOR_OK)
        return status;
    *options = found;
    falkor__env_event(options);
    return FALKOR_OK;
}
#endif
