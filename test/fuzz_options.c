/* A libFuzzer target for what configures a pool as text: a URL of any bytes, a
   URL made of parts, which must come back the same, and an environment, whose
   numbers are read a second time. A secret stands in each where a password
   may: no message may show it. */
#include "fuzz.h"

#define FUZZ_SECRET "Zq7Xw9Kd"
extern char **environ;

static void fuzz_check_message(const falkor_error *error, falkor_status status,
                               bool secret) {
    FUZZ_CHECK(!status == !*error->message && error->status == status);
    FUZZ_CHECK(!status || status == FALKOR_ERR_ARGUMENT);
    FUZZ_CHECK(!secret || !strstr(error->message, FUZZ_SECRET));
}

/* Rooms of a message and of what stands in a log are as they should be.
   hidden: no host or path has the secret, so that the place must not. */
static void fuzz_use_config(const falkor_options *options, bool secret,
                            bool hidden) {
    falkor_error error = {0};
    falkor__config config, again;
    char place[300];
    falkor_status status = falkor__config_make(options, &config, &error);
    fuzz_check_message(&error, status, secret);
    if (status) {
        FUZZ_CHECK(!config.host && !config.password && !config.unix_path);
        return;
    }
    falkor__place(&config, place, sizeof place);
    FUZZ_CHECK(!hidden || !strstr(place, FUZZ_SECRET));
    FUZZ_CHECK((config.host != NULL) + (config.unix_path != NULL) +
               (config.sentinels != NULL) + (config.cluster != NULL) == 1);
    FUZZ_CHECK(config.unix_path || (config.port > 0 && config.port < 65536));
    FUZZ_CHECK(config.min_size <= config.max_size && config.max_size > 0);
    FUZZ_CHECK(!config.username || config.password);
    FUZZ_CHECK(falkor__config_make(options, &again, &error) == FALKOR_OK);
    FUZZ_CHECK(falkor__config_same(&config, &again));
    falkor__config_free(&again);
    falkor__config_free(&config);
}

/* ---- any URL ------------------------------------------------------------ */

/* A byte 1 becomes the secret. */
static char *fuzz_text(const uint8_t *data, size_t size) {
    char *text = malloc(size * sizeof FUZZ_SECRET + 1), *at = text;
    FUZZ_CHECK(text);
    for (; size; data++, size--)
        if (*data == 1)
            at = stpcpy(at, FUZZ_SECRET);
        else
            *at++ = (char)*data;
    *at = '\0';
    return text;
}

/* Each may be a password: behind the scheme, and before the query, or in what
   an @ says to be one that is not encoded. Elsewhere it is a key, or the value
   of one, which are shown. */
static bool fuzz_is_secret(const char *url) {
    const char *first = strstr(url, FUZZ_SECRET), *last = first, *next;
    const char *scheme = strstr(url, "://");
    if (!first || !scheme || first < scheme)
        return false;
    while ((next = strstr(last + 1, FUZZ_SECRET)))
        last = next;
    return !memchr(url, '?', (size_t)(last - url)) || strchr(last, '@');
}

/* The secret stands between :// and the last @ before the path only: it is of
   the user's, whatever else is there, and in no host. (What is encoded may be
   the secret too, and would be it elsewhere.) */
static bool fuzz_is_hidden(const char *url) {
    const char *scheme = strstr(url, "://"), *at, *first;
    if (!scheme)
        return false;
    at = memrchr(scheme + 3, '@', strcspn(scheme + 3, "/?#"));
    first = strstr(url, FUZZ_SECRET);
    return at && first > scheme && first < at && !strchr(at, '%') &&
           !strstr(at, FUZZ_SECRET);
}

static void fuzz_any_url(const uint8_t *data, size_t size) {
    char *url = fuzz_text(data, size);
    fuzz_use_config(&(falkor_options){.url = url}, fuzz_is_secret(url),
                    fuzz_is_hidden(url));
    free(url);
}

/* ---- a URL of parts ----------------------------------------------------- */

typedef struct fuzz_part { char text[24]; size_t length; } fuzz_part;

/* No NUL, which no URL can say. */
static fuzz_part fuzz_take_part(fuzz_tape *tape) {
    fuzz_part part = {.length = fuzz_below(tape, sizeof part.text)};
    for (size_t i = 0; i < part.length; i++) {
        unsigned byte = fuzz_byte(tape);
        part.text[i] = (char)(byte ? byte : '%');
    }
    return part;
}

/* Percent-encoded where it must be, and elsewhere at times. */
static char *fuzz_encode(char *at, const fuzz_part *part, unsigned often) {
    for (size_t i = 0; i < part->length; i++) {
        char c = part->text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            (c >= 'A' && c <= 'Z') || strchr("-._~", c);
        if (plain && (often + i) % 7)
            *at++ = c;
        else
            at += sprintf(at, (often + i) & 1 ? "%%%02x" : "%%%02X",
                          (unsigned char)c);
    }
    return at;
}

static bool fuzz_is(const char *text, const fuzz_part *part) {
    return text ? strlen(text) == part->length &&
                      memcmp(text, part->text, part->length) == 0
                : part->length == 0;
}

/* user, password, host, port, path, and pairs. */
static void fuzz_url_of_parts(fuzz_tape *tape) {
    static const char *const schemes[] = {"falkor", "FALKORS", "redis",
                                          "rediss"};
    char text[2048], *at = text;
    fuzz_part user = fuzz_take_part(tape), password = fuzz_take_part(tape),
        host = fuzz_take_part(tape), path = fuzz_take_part(tape), pairs[4][2];
    unsigned often = fuzz_byte(tape), which = fuzz_below(tape, 4);
    unsigned count = fuzz_below(tape, 5), has = fuzz_byte(tape);
    unsigned port = (unsigned)fuzz_number(tape, 2);
    at += sprintf(at, "%s://", schemes[which]);
    if (has & 1) {
        at = fuzz_encode(at, &user, often);
        if (has & 2) {
            *at++ = ':';
            at = fuzz_encode(at, &password, often);
        }
        *at++ = '@';
    }
    at = fuzz_encode(at, &host, often);
    if (port)
        at += sprintf(at, ":%u", port);
    if (has & 4)
        at = fuzz_encode(stpcpy(at, "/"), &path, often);
    for (unsigned i = 0; i < count; i++) {
        *at++ = i ? '&' : '?';
        pairs[i][0] = fuzz_take_part(tape);
        pairs[i][1] = fuzz_take_part(tape);
        at = fuzz_encode(at, &pairs[i][0], often);
        *at++ = '=';
        at = fuzz_encode(at, &pairs[i][1], often);
    }
    *at = '\0';
    falkor__url url = {.origin = "url: "};
    const char *key, *value;
    static const fuzz_part none;
    FUZZ_CHECK(falkor__url_parse(text, &url, NULL) == FALKOR_OK);
    FUZZ_CHECK(fuzz_is(url.username, has & 1 ? &user : &none));
    FUZZ_CHECK(fuzz_is(url.password, (has & 3) == 3 ? &password : &none));
    FUZZ_CHECK(((has & 3) == 3) == (url.password != NULL));
    FUZZ_CHECK(fuzz_is(url.host, &host) && url.port == (int)port);
    FUZZ_CHECK(fuzz_is(url.path, has & 4 ? &path : &none));
    FUZZ_CHECK(url.tls == (which & 1) && !url.unix_path);
    for (unsigned i = 0; i < count; i++) {
        FUZZ_CHECK(falkor__url_next(&url, &key, &value, NULL) == FALKOR_OK);
        FUZZ_CHECK(key && fuzz_is(key, &pairs[i][0]) &&
                   fuzz_is(value, &pairs[i][1]));
    }
    FUZZ_CHECK(falkor__url_next(&url, &key, &value, NULL) == FALKOR_OK && !key);
    falkor__url_free(&url);
}

/* ---- an environment ----------------------------------------------------- */

#define FUZZ_SECONDS(name, field) {name, offsetof(falkor_options, field)}
static const struct { const char *name; size_t offset; } fuzz_seconds[] = {
    FUZZ_SECONDS("DB_POOL_TIMEOUT", pool_timeout_ms),
    FUZZ_SECONDS("DB_CONNECT_TIMEOUT", connect_timeout_ms),
    FUZZ_SECONDS("DB_SOCKET_TIMEOUT", socket_timeout_ms),
    FUZZ_SECONDS("DB_HEALTH_CHECK_INTERVAL", health_check_interval_ms),
    FUZZ_SECONDS("DB_POOL_RECYCLE", max_lifetime_ms),
    FUZZ_SECONDS("DB_IDLE_TIMEOUT", idle_timeout_ms)};
static const char *const fuzz_names[] = {"DB_POOL_TIMEOUT",
    "DB_CONNECT_TIMEOUT", "DB_SOCKET_TIMEOUT", "DB_HEALTH_CHECK_INTERVAL",
    "DB_POOL_RECYCLE", "DB_IDLE_TIMEOUT", "FALKORDB_URL", "FALKORDB_HOST",
    "FALKORDB_PORT", "FALKORDB_USERNAME", "FALKORDB_PASSWORD", "FALKORDB_DB",
    "GRAPH_NAME", "DB_POOL_MIN_SIZE", "DB_POOL_MAX_SIZE", "FALKORDB_POOL_SIZE",
    "DB_POOL_RESERVE", "DB_POOL_PRE_PING", "DB_MAX_RETRIES",
    "DB_RETRY_INITIAL_DELAY", "DB_RETRY_MAX_DELAY", "DB_BREAKER_FAILURES",
    "DB_BREAKER_MAX_DELAY", "DB_TLS_CA_FILE", "DB_TLS_CERT_FILE",
    "DB_TLS_KEY_FILE", "DB_TLS_SERVER_NAME", "DB_TLS_SKIP_VERIFY"};

/* The milliseconds that a text of seconds means, as digits alone: 0 where it
   means none, -1 where it is none, -2 where it is more than an int holds. */
static int fuzz_ms(const char *text) {
    size_t whole = strspn(text, "0123456789");
    const char *more = text + whole + (text[whole] == '.');
    size_t part = text[whole] == '.' ? strspn(more, "0123456789") : 0;
    if (whole + part == 0 || more[part])
        return -1;
    double exact = 0;
    for (size_t i = 0; i < whole; i++)
        exact = exact * 10 + (text[i] - '0');
    for (size_t i = 0; i < 3; i++)
        exact = exact * 10 + (i < part ? more[i] - '0' : 0);
    for (size_t i = 3; i < part; i++)
        if (more[i] != '0') {
            exact += 1;
            break;
        }
    return exact > INT32_MAX ? -2 : (int)exact;
}

static void fuzz_check_seconds(const falkor_options *options) {
    for (size_t i = 0; i < sizeof fuzz_seconds / sizeof *fuzz_seconds; i++) {
        const char *text = getenv(fuzz_seconds[i].name);
        int found = *(const int *)(const void *)
            ((const char *)options + fuzz_seconds[i].offset);
        int expected = text && *text ? fuzz_ms(text) : 0;
        if (getenv("FALKORDB_URL"))
            continue;                   /* which may say it too, and wins */
        FUZZ_CHECK(expected >= 0);
        if (text && *text)
            FUZZ_CHECK(found == (expected ? expected : -1));
        else
            FUZZ_CHECK(found == 0);
    }
}

static void fuzz_environment(const uint8_t *data, size_t size) {
    static char *variables[8], text[4096];
    static char password[] = "FALKORDB_PASSWORD=" FUZZ_SECRET;
    const uint8_t *end = data + size;
    size_t count = 0;
    char *at = text;
    memset(text, 0, sizeof text);
    variables[count++] = password;
    while (data < end && count < 7 && at < text + 2048) {
        const uint8_t *stop = memchr(data + 1, '\n', (size_t)(end - data - 1));
        size_t length = (size_t)((stop ? stop : end) - data - 1);
        length = length < 500 ? length : 500;
        variables[count++] = at;
        at += sprintf(at, "%s=", fuzz_names[*data %
            (sizeof fuzz_names / sizeof *fuzz_names)]);
        memcpy(at, data + 1, length);
        at += length;
        *at++ = '\0';
        data = stop ? stop + 1 : end;
    }
    variables[count] = NULL;
    char **before = environ;
    environ = variables;
    falkor_options options = {.max_size = 3}, own = options;
    falkor_error error = {0};
    falkor_status status = falkor_options_from_env(&options, &error);
    bool secret = !memmem(text, sizeof text, FUZZ_SECRET, 8);
    fuzz_check_message(&error, status, secret);
    if (status)
        FUZZ_CHECK(memcmp(&options, &own, sizeof own) == 0);
    else
        fuzz_check_seconds(&options);
    if (!status)
        fuzz_use_config(&options, secret, secret);
    environ = before;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    switch (*data % 3) {
    case 0: fuzz_any_url(data + 1, size - 1); break;
    case 1: fuzz_url_of_parts(&(fuzz_tape){data + 1, data + size}); break;
    default: fuzz_environment(data + 1, size - 1);
    }
    return 0;
}
