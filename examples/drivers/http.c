/* A driver for HTTP servers that keep connections alive, with libcurl: one easy
   handle a connection. The paths are those of Qdrant's REST interface: /healthz
   and /collections. Deadlines hold for everything; where libcurl was built
   without a resolver of its own, not for the look-up of a host's name.

       cc http.c trial.c -lcurl -lfalkorpool -lhiredis -lpthread */
#include "driver.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libcurl closes its socket as it likes: fd is a descriptor of our own for the
   same socket. */
typedef struct session {
    CURL *curl;
    int fd;
    char base[120], body[256];
    size_t length;
} session;

static void ht_close(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    curl_easy_cleanup(self->curl);
    if (self->fd >= 0)
        close(self->fd);
    free(self);
}

static int ht_socket(session *self) {
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_getinfo(self->curl, CURLINFO_ACTIVESOCKET, &fd);
    return (int)fd;
}

static void ht_forget(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    close(ht_socket(self));
    close(self->fd);
}

static void ht_shutdown(void *ctx, void *handle) {
    (void)ctx;
    shutdown(((session *)handle)->fd, SHUT_RDWR);
}

static size_t ht_take(char *bytes, size_t size, size_t count, void *ctx) {
    session *self = ctx;
    size *= count;
    if (size > sizeof self->body - 1 - self->length)
        return 0;
    memcpy(self->body + self->length, bytes, size);
    self->length += size;
    self->body[self->length] = '\0';
    return size;
}

/* By itself libcurl would dial again when its connection is gone, and the pool
   would count what is not there. */
static curl_socket_t ht_refuse(void *ctx, curlsocktype purpose,
                               struct curl_sockaddr *address) {
    (void)ctx, (void)purpose, (void)address;
    return CURL_SOCKET_BAD;
}

static bool ht_get(session *self, const char *path, int64_t deadline_ns) {
    char url[sizeof self->base + 120];
    long code = 0, left = left_ms(deadline_ns);
    snprintf(url, sizeof url, "%s%s", self->base, path);
    self->length = 0;
    self->body[0] = '\0';
    curl_easy_setopt(self->curl, CURLOPT_URL, url);
    curl_easy_setopt(self->curl, CURLOPT_TIMEOUT_MS,    /* 0: for ever */
                     left < 0 ? 0L : left > 0 ? left : 1L);
    return curl_easy_perform(self->curl) == CURLE_OK &&
        !curl_easy_getinfo(self->curl, CURLINFO_RESPONSE_CODE, &code) &&
        code == 200;
}

static falkor_status ht_open(void *ctx, int64_t deadline_ns, void **handle,
                             falkor_error *error) {
    const place *where = ctx;
    char why[CURL_ERROR_SIZE] = "not 200";
    session *self = calloc(1, sizeof *self);
    if (!self || !(self->curl = curl_easy_init())) {
        snprintf(error->message, sizeof error->message, "out of memory");
        free(self);
        return FALKOR_ERR_CONNECT;
    }
    snprintf(self->base, sizeof self->base, "http://%s:%d", where->host,
             where->port);
    curl_easy_setopt(self->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(self->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(self->curl, CURLOPT_WRITEFUNCTION, ht_take);
    curl_easy_setopt(self->curl, CURLOPT_WRITEDATA, self);
    curl_easy_setopt(self->curl, CURLOPT_ERRORBUFFER, why);
    self->fd = ht_get(self, "/healthz", deadline_ns) ? dup(ht_socket(self))
                                                     : -1;
    curl_easy_setopt(self->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(self->curl, CURLOPT_OPENSOCKETFUNCTION, ht_refuse);
    if (self->fd >= 0) {
        *handle = self;
        return FALKOR_OK;
    }
    error->sys_errno = left_ms(deadline_ns) ? 0 : ETIMEDOUT;
    snprintf(error->message, sizeof error->message, "%s/healthz: %s",
             self->base, why);
    ht_close(ctx, self);
    return FALKOR_ERR_CONNECT;
}

static falkor_status ht_check(void *ctx, void *handle,
                              falkor_check_level level, int64_t deadline_ns) {
    session *self = handle;
    (void)ctx;
    bool fit = is_quiet(self->fd) && ht_socket(self) >= 0 &&
        (level == FALKOR_CHECK_FAST ||
         ht_get(self, level == FALKOR_CHECK_MEDIUM ? "/healthz"
                : "/collections", deadline_ns));
    return fit ? FALKOR_OK : FALKOR_ERR_IO;
}

/* HTTP has no session: nothing to reset. */
static const falkor_driver http = {
    .open = ht_open, .check = ht_check, .shutdown = ht_shutdown,
    .close = ht_close, .forget = ht_forget};

/* ---- on trial --------------------------------------------------------- */

static bool ask(void *handle, const char *token, char *answer, size_t size,
                int64_t deadline_ns) {
    session *self = handle;
    char path[100];
    snprintf(path, sizeof path, "/echo?token=%s", token);
    bool well = ht_get(self, path, deadline_ns);
    snprintf(answer, size, "%s", self->body);
    return well;
}

/* The server closes the connection some milliseconds behind this answer,
   without announcing it. */
static bool cut(void *victim, void *other, int64_t deadline_ns) {
    (void)other;
    return ht_get(victim, "/short", deadline_ns);
}

static int fd(void *handle) {
    return ((session *)handle)->fd;
}

int main(int argc, char **argv) {
    curl_global_init(CURL_GLOBAL_DEFAULT);      /* before there are threads */
    int status = try_driver(argc, argv, &(trial){"HTTP", &http, ask, NULL, cut,
                                                 fd});
    curl_global_cleanup();
    return status;
}
