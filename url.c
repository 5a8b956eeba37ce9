/* A URL taken apart: scheme, user and password, host and port or socket, path,
   and the pairs behind the question mark, each decoded in place in a copy of
   the URL. This file knows the forms of a URL and no setting. A URL may hold a
   password, even where it is malformed and what looks like a port or a path is
   part of it: no message here shows any piece of it but its scheme. */
#include "internal.h"
#include <stdlib.h>
#include <string.h>

/* Upper and lower case of ASCII are the same, in any locale. */
bool falkor__same_word(const char *a, const char *b) {
    for (; *a && *b; a++, b++) {
        int left = *a >= 'A' && *a <= 'Z' ? *a + 32 : *a;
        int right = *b >= 'A' && *b <= 'Z' ? *b + 32 : *b;
        if (left != right)
            return false;
    }
    return *a == *b;
}

/* Unlike memset this is not optimised away before a free. What memcpy had in
   the processor's wide registers would lie on a stack when they are saved: so
   zeros are copied in each way that a secret may have been. */
void falkor__wipe(void *memory, size_t size) {
    static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    static const char zeros[1024];
    char room[sizeof zeros];
    for (volatile char *at = memory; size > 0; size--)
        *at++ = 0;
    for (size_t part = 1; part <= sizeof room; part *= 2)
        copy(room, zeros, part);
}

#ifndef FALKOR_WITHOUT_URLS
void falkor__url_free(falkor__url *url) {
    falkor__wipe(url->text, url->text ? url->size : 0);
    free(url->text);
    *url = (falkor__url){.text = NULL};
}

static falkor_status falkor__url_fail(const falkor__url *url,
                                      const char *what, falkor_error *error) {
    return falkor__refuse(error, "%s%s", url->origin, what);
}

static int falkor__hex_digit(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    char small = (char)(digit | 32);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/* Decodes [begin, end) in place and ends it with a NUL, at the latest at end
   (a delimiter that is done with). A byte %00 could not travel: refused. */
static bool falkor__percent_decode(char *begin, const char *end) {
    char *out = begin;
    for (const char *in = begin; in < end; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        int high = end - in > 2 ? falkor__hex_digit(in[1]) : -1;
        int low = high >= 0 ? falkor__hex_digit(in[2]) : -1;
        if (low < 0 || high * 16 + low == 0)
            return false;
        *out++ = (char)(high * 16 + low);
        in += 2;
    }
    *out = '\0';
    return true;
}

static falkor_status falkor__url_take(const falkor__url *url, char *begin,
                                      char *end, const char **field,
                                      falkor_error *error) {
    if (!falkor__percent_decode(begin, end))
        return falkor__url_fail(url, "malformed percent-encoding: write a "
            "byte as % and two hexadecimal digits, never 00", error);
    *field = begin;
    return FALKOR_OK;
}

/* The first of its kind, before end; NULL: none. (gcc wants to see that the
   length is not negative.) */
static char *falkor__find(char *begin, const char *end, char wanted) {
    return begin < end ? memchr(begin, wanted, (size_t)(end - begin)) : NULL;
}

/* Empty is the same as missing. */
static falkor_status falkor__url_take_some(const falkor__url *url, char *begin,
                                           char *end, const char **field,
                                           falkor_error *error) {
    if (begin == end)
        return FALKOR_OK;
    return falkor__url_take(url, begin, end, field, error);
}

static falkor_status falkor__url_credentials(falkor__url *url, char *begin,
                                             char *end, falkor_error *error) {
    char *colon = falkor__find(begin, end, ':');
    falkor_status status = falkor__url_take_some(
        url, begin, colon ? colon : end, &url->username, error);
    if (status == FALKOR_OK && colon)
        status = falkor__url_take(url, colon + 1, end, &url->password, error);
    return status;
}

/* The port is not shown in the message: it may be the password of a URL that
   lacks its host. */
static falkor_status falkor__url_port(falkor__url *url, const char *digits,
                                      const char *end, falkor_error *error) {
    int port = 0;
    for (; digits < end && *digits >= '0' && *digits <= '9'; digits++)
        port = port <= 65535 ? port * 10 + (*digits - '0') : port;
    if (digits < end || port < 1 || port > 65535)
        return falkor__url_fail(url, "what follows the host is no port from 1 "
            "to 65535 (an IPv6 address is written [address]; user and "
            "password end with an @)", error);
    url->port = port;
    return FALKOR_OK;
}

/* host, host:port, [address] or [address]:port; each may be missing. */
static falkor_status falkor__url_host(falkor__url *url, char *begin, char *end,
                                      falkor_error *error) {
    char *name = begin, *name_end, *behind;
    if (begin < end && *begin == '[') {
        name_end = falkor__find(begin, end, ']');
        if (!name_end || name_end == ++name)
            return falkor__url_fail(url, "an IPv6 address is written "
                                    "[address], with both brackets", error);
        behind = name_end + 1;
        if (behind < end && *behind != ':')
            return falkor__url_fail(url, "only a port may follow [address]",
                                    error);
    } else {
        name_end = falkor__find(begin, end, ':');
        behind = name_end = name_end ? name_end : end;
    }
    falkor_status status = FALKOR_OK;
    if (end - behind > 1)
        status = falkor__url_port(url, behind + 1, end, error);
    return status != FALKOR_OK ? status
        : falkor__url_take_some(url, name, name_end, &url->host, error);
}

/* path begins behind its slash. */
static falkor_status falkor__url_path(falkor__url *url, char *path,
                                      bool digits_are_database,
                                      falkor_error *error) {
    if (strchr(path, '/'))
        return falkor__url_fail(url, "the path is one name, the graph's: "
                                "write %2F for a slash in it", error);
    url->path_is_database = digits_are_database
        && strspn(path, "0123456789") == strlen(path);
    return falkor__url_take_some(url, path, path + strlen(path), &url->path,
                                 error);
}

static falkor_status falkor__url_socket(falkor__url *url,
                                        const char *authority,
                                        char *path, falkor_error *error) {
    if (authority < path || path[0] != '/' || path[1] == '\0')
        return falkor__url_fail(url, "a Unix socket is written "
                                "unix:///path/of/socket", error);
    return falkor__url_take(url, path, path + strlen(path),
                            &url->unix_path, error);
}

typedef struct falkor__scheme {
    const char *name;
    bool tls, unix_socket, digits_are_database, sentinels, cluster;
} falkor__scheme;

static falkor_status falkor__url_scheme(const falkor__url *url, char *end,
                                        falkor__scheme *scheme,
                                        falkor_error *error) {
    static const falkor__scheme known[] = {
        {.name = "falkor"}, {.name = "falkors", .tls = true},
        {.name = "redis", .digits_are_database = true},
        {.name = "rediss", .tls = true, .digits_are_database = true},
        {.name = "unix", .unix_socket = true},
        {.name = "falkor+sentinel", .sentinels = true},
        {.name = "falkors+sentinel", .sentinels = true, .tls = true},
        {.name = "falkor+cluster", .cluster = true},
        {.name = "falkors+cluster", .cluster = true, .tls = true},
    };
    size_t plain = strspn(url->text, "abcdefghijklmnopqrstuvwxyz0123456789+-."
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (!end || plain != (size_t)(end - url->text) || plain > 20)
        return falkor__url_fail(url, "it must begin with falkor://, redis:// "
            "or unix://, with TLS falkors:// or rediss://, or "
            "falkor+sentinel://, falkor+cluster://, with TLS "
            "falkors+sentinel://, falkors+cluster://", error);
    *end = '\0';
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (falkor__same_word(url->text, known[i].name)) {
            *scheme = known[i];
            return FALKOR_OK;
        }
    return falkor__refuse(error,
        "%sunknown scheme \"%s\": use falkor://, redis:// or unix://, with TLS "
        "falkors:// or rediss://, or falkor+sentinel://, falkor+cluster://, "
        "with TLS falkors+sentinel://, falkors+cluster://",
        url->origin, url->text);
}

/* Whoever forgets to encode a password gets told so, and sees no piece of it
   taken for a path or a key. */
static falkor_status falkor__url_unencoded(const falkor__url *url,
                                           const char *rest,
                                           falkor_error *error) {
    if (!strchr(rest, '#') && !strchr(rest + strcspn(rest, "/?"), '@'))
        return FALKOR_OK;
    return falkor__url_fail(url, "a / ? # or @ inside of a name or password "
                            "is written %2F %3F %23 %40", error);
}

static falkor_status falkor__url_parts(falkor__url *url, char *authority,
                                       const falkor__scheme *scheme,
                                       falkor_error *error) {
    char *path = authority + strcspn(authority, "/?");
    url->query = path + strcspn(path, "?");
    if (*url->query)
        *url->query++ = '\0';
    bool has_path = *path == '/';       /* decoding may write its NUL there */
    char *at = path;
    while (at > authority && *at != '@')
        at--;
    if (*at == '@') {
        falkor_status status = falkor__url_credentials(url, authority, at,
                                                       error);
        if (status != FALKOR_OK)
            return status;
        authority = at + 1;
    }
    if (scheme->unix_socket)
        return falkor__url_socket(url, authority, path, error);
    url->is_cluster = scheme->cluster;
    bool several = scheme->sentinels || scheme->cluster;
    if (several && authority == path)
        return falkor__url_fail(url, "it names no host: write "
                                "//host1:port,host2 behind the scheme", error);
    if (!several && falkor__find(authority, path, ','))
        return falkor__url_fail(url, "it names several hosts: begin it with "
                                "falkor+sentinel:// or falkor+cluster://",
                                error);
    falkor_status status = several
        ? falkor__url_take(url, authority, path, &url->hosts, error)
        : falkor__url_host(url, authority, path, error);
    if (status != FALKOR_OK || !has_path)
        return status;
    return falkor__url_path(url, path + 1, scheme->digits_are_database, error);
}

falkor_status falkor__url_parse(const char *text, falkor__url *url,
                                falkor_error *error) {
    falkor__scheme scheme = {.name = NULL};
    url->size = strlen(text) + 1;
    url->text = malloc(url->size);
    if (!url->text)
        return falkor__no_memory(error, "no memory for the url");
    memcpy(url->text, text, url->size);
    char *colon = strstr(url->text, "://");
    falkor_status status = falkor__url_scheme(url, colon, &scheme, error);
    url->tls = scheme.tls;
    if (status == FALKOR_OK)
        status = falkor__url_unencoded(url, colon + 3, error);
    return status == FALKOR_OK
        ? falkor__url_parts(url, colon + 3, &scheme, error) : status;
}

falkor_status falkor__url_next(falkor__url *url, const char **key,
                               const char **value, falkor_error *error) {
    char *pair = url->query;
    *key = *value = NULL;
    if (!*pair)
        return FALKOR_OK;
    char *end = pair + strcspn(pair, "&");
    char *equals = falkor__find(pair, end, '=');
    if (!equals)
        return falkor__url_fail(url, "write key=value behind the ?, with & "
                                "between two of them", error);
    url->query = *end ? end + 1 : end;
    falkor_status status = falkor__url_take(url, equals + 1, end, value,
                                            error);
    return status == FALKOR_OK
        ? falkor__url_take(url, pair, equals, key, error) : status;
}
#endif
