/* A driver for plain Redis and Valkey, with hiredis' buffers and parser and a
   poll of our own instead of its blocking calls: deadlines hold for all but the
   look-up of a host's name. (For FalkorDB, and for falkor_command, the
   pool has a driver built in.) hiredis writes without MSG_NOSIGNAL: a program
   that uses it ignores SIGPIPE.

       cc redis.c trial.c -lfalkorpool -lhiredis -lpthread */
#include "driver.h"
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct session {
    redisContext *context;      /* keeps its descriptor until redisFree */
    bool changed;               /* by MULTI, SELECT, ... */
    unsigned pings;
} session;

static void re_close(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    redisFree(self->context);
    free(self);
}

static void re_forget(void *ctx, void *handle) {
    (void)ctx;
    close(((session *)handle)->context->fd);
}

static void re_shutdown(void *ctx, void *handle) {
    (void)ctx;
    shutdown(((session *)handle)->context->fd, SHUT_RDWR);
}

/* Sends what is in the buffer and reads one reply. After NULL the session is
   not to be used again. */
static redisReply *re_exchange(redisContext *context, int64_t deadline_ns) {
    void *reply = NULL;
    int sent = 0;
    while (!sent)
        if (redisBufferWrite(context, &sent) != REDIS_OK ||
            (!sent && !await(context->fd, POLLOUT, deadline_ns)))
            return NULL;
    while (redisGetReplyFromReader(context, &reply) == REDIS_OK && !reply)
        if (!await(context->fd, POLLIN, deadline_ns) ||
            redisBufferRead(context) != REDIS_OK)
            return NULL;
    return reply;
}

/* One command; the text of its reply into answer. false: it failed. */
static bool re_run(session *self, char *answer, size_t size,
                   int64_t deadline_ns, const char *format, ...) {
    static const char *const changing[] = {"MULTI", "WATCH", "SELECT",
        "SUBSCRIBE", "CLIENT NO-EVICT", "HELLO", "AUTH"};
    va_list arguments;
    va_start(arguments, format);
    int queued = redisvAppendCommand(self->context, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        self->changed |= !strncasecmp(format, changing[i], strlen(changing[i]));
    redisReply *reply = queued == REDIS_OK
        ? re_exchange(self->context, deadline_ns) : NULL;
    bool well = reply && reply->type != REDIS_REPLY_ERROR;
    answer[0] = '\0';
    if (well && reply->type == REDIS_REPLY_INTEGER)
        snprintf(answer, size, "%lld", reply->integer);
    else if (well && reply->str)
        snprintf(answer, size, "%s", reply->str);
    if (reply)
        freeReplyObject(reply);
    return well;
}

static falkor_status re_open(void *ctx, int64_t deadline_ns, void **handle,
                             falkor_error *error) {
    const place *where = ctx;
    char answer[8];
    session *self = calloc(1, sizeof *self);
    redisContext *context = where->host[0] == '/'
        ? redisConnectUnixNonBlock(where->host)
        : redisConnectNonBlock(where->host, where->port);
    if (self && context && !context->err) {
        self->context = context;
        if (await(context->fd, POLLOUT, deadline_ns) &&
            re_run(self, answer, sizeof answer, deadline_ns, "PING")) {
            *handle = self;
            return FALKOR_OK;
        }
    }
    error->sys_errno = left_ms(deadline_ns) ? 0 : ETIMEDOUT;
    snprintf(error->message, sizeof error->message, "Redis: %s",
             context && context->err ? context->errstr : "no PONG");
    if (context)
        redisFree(context);
    free(self);
    return FALKOR_ERR_CONNECT;
}

/* A PING of its own word: a connection that is one reply behind would pass
   with a plain one. */
static falkor_status re_check(void *ctx, void *handle,
                              falkor_check_level level, int64_t deadline_ns) {
    session *self = handle;
    char word[20], answer[20];
    (void)ctx;
    if (self->context->err || !is_quiet(self->context->fd))
        return FALKOR_ERR_IO;
    if (level == FALKOR_CHECK_FAST)
        return FALKOR_OK;
    snprintf(word, sizeof word, "ping %u", ++self->pings);
    bool fit = level == FALKOR_CHECK_MEDIUM
        ? re_run(self, answer, sizeof answer, deadline_ns, "PING %s", word) &&
          !strcmp(answer, word)
        : re_run(self, answer, sizeof answer, deadline_ns, "EXISTS %s", word);
    return fit ? FALKOR_OK : FALKOR_ERR_IO;
}

static falkor_status re_reset(void *ctx, void *handle, int64_t deadline_ns) {
    session *self = handle;
    char answer[8];
    (void)ctx;
    bool clean = !self->changed ||
        re_run(self, answer, sizeof answer, deadline_ns, "RESET");
    self->changed = false;
    return clean ? FALKOR_OK : FALKOR_ERR_IO;
}

static const falkor_driver redis = {
    .open = re_open, .check = re_check, .reset = re_reset,
    .shutdown = re_shutdown, .close = re_close, .forget = re_forget};

/* ---- on trial --------------------------------------------------------- */

static bool ask(void *handle, const char *token, char *answer, size_t size,
                int64_t deadline_ns) {
    return re_run(handle, answer, size, deadline_ns, "ECHO %s", token);
}

static bool soil(void *handle, int64_t deadline_ns) {
    char answer[8];
    return re_run(handle, answer, sizeof answer, deadline_ns, "MULTI");
}

static bool cut(void *victim, void *other, int64_t deadline_ns) {
    char id[24], answer[8];
    return re_run(victim, id, sizeof id, deadline_ns, "CLIENT ID") &&
        re_run(other, answer, sizeof answer, deadline_ns, "CLIENT KILL ID %s",
               id) && answer[0] == '1';
}

static int fd(void *handle) {
    return ((session *)handle)->context->fd;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    return try_driver(argc, argv, &(trial){"Redis", &redis, ask, soil, cut,
                                           fd});
}
