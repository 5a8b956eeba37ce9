/* A driver for Bolt 5.4, the protocol of Neo4j, which FalkorDB serves too when
   its module is loaded with BOLT_PORT. No library: the few messages that a
   query takes, written and read here. Deadlines hold for all but the look-up of
   a host's name.

       cc bolt.c trial.c -lfalkorpool -lhiredis -lpthread */
#define _POSIX_C_SOURCE 200809L
#include "driver.h"
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HELLO = 0x01, RESET = 0x0f, RUN = 0x10, BEGIN = 0x11,
       PULL = 0x3f, LOGON = 0x6a, SUCCESS = 0x70, RECORD = 0x71 };

typedef struct session {
    int fd;
    bool in_transaction;
    size_t length;              /* of the messages that wait to be sent */
    unsigned char out[1024], in[4096];
} session;

static void bo_close(void *ctx, void *handle) {
    (void)ctx;
    close(((session *)handle)->fd);
    free(handle);
}

static void bo_forget(void *ctx, void *handle) {
    (void)ctx;
    close(((session *)handle)->fd);
}

static void bo_shutdown(void *ctx, void *handle) {
    (void)ctx;
    shutdown(((session *)handle)->fd, SHUT_RDWR);
}

/* ---- bytes and messages ----------------------------------------------- */

static bool bo_flush(session *self, int64_t deadline_ns) {
    size_t at = 0;
    while (at < self->length) {
        ssize_t sent = send(self->fd, self->out + at, self->length - at,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        at += sent > 0 ? (size_t)sent : 0;
        if (sent < 0 && errno != EINTR &&
            (errno != EAGAIN || !await(self->fd, POLLOUT, deadline_ns)))
            return false;
    }
    self->length = 0;
    return true;
}

static bool bo_read(session *self, void *room, size_t size,
                    int64_t deadline_ns) {
    for (size_t at = 0; at < size; ) {
        ssize_t got = await(self->fd, POLLIN, deadline_ns)
            ? recv(self->fd, (char *)room + at, size - at, MSG_DONTWAIT) : 0;
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            return false;
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* Queues a message of one chunk: its fields are packed by now, but for texts,
   which stand in the format as %s. */
static void bo_queue(session *self, int tag, int fields, const char *format,
                     const char *const *texts) {
    unsigned char *begin = self->out + self->length, *to = begin + 4;
    for (; *format; format++) {
        size_t length = *format == '%' ? strlen(*texts) : 0;
        if (to + length + 8 > self->out + sizeof self->out)
            return;                     /* too long: no answer will come */
        if (*format == '%') {
            *to++ = 0xd0;               /* a text of up to 255 bytes */
            *to++ = (unsigned char)length;
            memcpy(to, *texts++, length);
            to += length;
        } else {                        /* {: a map of none; 1, 2: of so many */
            *to++ = (unsigned char)(0xa0 + (*format == '{' ? 0
                                            : *format - '0'));
        }
    }
    size_t size = (size_t)(to - begin) - 2;
    begin[0] = (unsigned char)(size >> 8);
    begin[1] = (unsigned char)size;
    begin[2] = (unsigned char)(0xb0 + fields);
    begin[3] = (unsigned char)tag;
    *to++ = 0;                          /* the end of the message */
    *to++ = 0;
    self->length = (size_t)(to - self->out);
}

/* Reads a message and returns its tag, or -1. A chunk of nothing before it is
   the server's way of saying that it is alive. */
static int bo_message(session *self, int64_t deadline_ns) {
    unsigned char head[2];
    size_t length = 0, chunk;
    do {
        if (!bo_read(self, head, 2, deadline_ns))
            return -1;
        chunk = (size_t)head[0] << 8 | head[1];
        if (chunk >= sizeof self->in - length ||
            !bo_read(self, self->in + length, chunk, deadline_ns))
            return -1;
        length += chunk;
    } while (chunk || !length);
    self->in[length] = '\0';
    return length > 1 ? self->in[1] : -1;
}

/* The text that is the record's first and only field. */
static void bo_text(const session *self, char *answer, size_t size) {
    const unsigned char *at = self->in + 2;     /* behind b1 71: 91, a text */
    size_t length = 0;
    if (at[0] == 0x91 && at[1] >= 0x80 && at[1] < 0x90)
        length = at[1] & 15, at += 2;
    else if (at[0] == 0x91 && at[1] == 0xd0)
        length = at[2], at += 3;
    snprintf(answer, size, "%.*s", (int)length, (const char *)at);
}

/* Sends what is queued and reads as many answers, records between them. */
static bool bo_exchange(session *self, int answers, char *answer, size_t size,
                        int64_t deadline_ns) {
    bool well = bo_flush(self, deadline_ns);
    while (well && answers) {
        int tag = bo_message(self, deadline_ns);
        if (tag == RECORD)
            bo_text(self, answer, size);
        well = tag == SUCCESS || tag == RECORD;
        answers -= tag == SUCCESS;
    }
    return well;
}

/* ---- the driver ------------------------------------------------------- */

static int bo_dial(const place *where, int64_t deadline_ns) {
    struct addrinfo wish = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[12];
    snprintf(port, sizeof port, "%d", where->port);
    int fd = -1;
    if (getaddrinfo(where->host, port, &wish, &found))
        return -1;
    for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        int failed = 0;
        fd = socket(at->ai_family, SOCK_STREAM, 0);
        if (fd >= 0 && !fcntl(fd, F_SETFL, O_NONBLOCK) &&
            (!connect(fd, at->ai_addr, at->ai_addrlen) ||
             (errno == EINPROGRESS && await(fd, POLLOUT, deadline_ns) &&
              !getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed,
                          &(socklen_t){sizeof failed}) && !failed)))
            break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static bool bo_greet(session *self, int64_t deadline_ns) {
    static const unsigned char wish[20] = {0x60, 0x60, 0xb0, 0x17, 0, 0, 4, 5};
    unsigned char version[4];
    memcpy(self->out, wish, sizeof wish);
    self->length = sizeof wish;
    if (!bo_flush(self, deadline_ns) ||
        !bo_read(self, version, 4, deadline_ns) || memcmp(version, wish + 4, 4))
        return false;
    bo_queue(self, HELLO, 1, "1%%", (const char *const[]){"user_agent",
                                                          "falkorpool/1"});
    bo_queue(self, LOGON, 1, "1%%", (const char *const[]){"scheme", "none"});
    return bo_exchange(self, 2, NULL, 0, deadline_ns);
}

static falkor_status bo_open(void *ctx, int64_t deadline_ns, void **handle,
                             falkor_error *error) {
    const place *where = ctx;
    session *self = calloc(1, sizeof *self);
    int fd = self ? bo_dial(where, deadline_ns) : -1;
    if (fd >= 0) {
        self->fd = fd;
        if (bo_greet(self, deadline_ns)) {
            *handle = self;
            return FALKOR_OK;
        }
        close(fd);
    }
    free(self);
    error->sys_errno = left_ms(deadline_ns) ? 0 : ETIMEDOUT;
    snprintf(error->message, sizeof error->message, "no Bolt 5.4 at %s:%d",
             where->host, where->port);
    return FALKOR_ERR_CONNECT;
}

/* Runs a query whose only parameter is $text, and gives its only value. */
static bool bo_run(session *self, const char *query, const char *text,
                   char *answer, size_t size, int64_t deadline_ns) {
    answer[0] = '\0';
    bo_queue(self, RUN, 3, "%1%%{", (const char *const[]){query, "text", text});
    bo_queue(self, PULL, 1, "{", NULL);
    return bo_exchange(self, 2, answer, size, deadline_ns);
}

static bool bo_renew(session *self, int64_t deadline_ns) {
    bo_queue(self, RESET, 0, "", NULL);
    self->in_transaction = false;
    return bo_exchange(self, 1, NULL, 0, deadline_ns);
}

static falkor_status bo_check(void *ctx, void *handle,
                              falkor_check_level level, int64_t deadline_ns) {
    session *self = handle;
    char answer[8];
    (void)ctx;
    bool fit = is_quiet(self->fd) && (level == FALKOR_CHECK_FAST ||
        (level == FALKOR_CHECK_MEDIUM ? bo_renew(self, deadline_ns)
         : bo_run(self, "RETURN $text", "fit", answer, sizeof answer,
                  deadline_ns) && !strcmp(answer, "fit")));
    return fit ? FALKOR_OK : FALKOR_ERR_IO;
}

static falkor_status bo_reset(void *ctx, void *handle, int64_t deadline_ns) {
    session *self = handle;
    (void)ctx;
    return !self->in_transaction || bo_renew(self, deadline_ns)
        ? FALKOR_OK : FALKOR_ERR_IO;
}

static const falkor_driver bolt = {
    .open = bo_open, .check = bo_check, .reset = bo_reset,
    .shutdown = bo_shutdown, .close = bo_close, .forget = bo_forget};

/* ---- on trial --------------------------------------------------------- */

static bool ask(void *handle, const char *token, char *answer, size_t size,
                int64_t deadline_ns) {
    session *self = handle;
    return !self->in_transaction &&
        bo_run(self, "RETURN $text", token, answer, size, deadline_ns);
}

static bool soil(void *handle, int64_t deadline_ns) {
    session *self = handle;
    bo_queue(self, BEGIN, 1, "{", NULL);
    self->in_transaction = true;
    return bo_exchange(self, 1, NULL, 0, deadline_ns);
}

/* Bolt has no word to end another's connection. GOODBYE ends one's own, but
   FalkorDB 4.16 then leaves the next client with that descriptor unserved; at
   the end of what it is sent it closes as it should. */
static bool cut(void *victim, void *other, int64_t deadline_ns) {
    (void)other, (void)deadline_ns;
    return shutdown(((session *)victim)->fd, SHUT_WR) == 0;
}

static int fd(void *handle) {
    return ((session *)handle)->fd;
}

int main(int argc, char **argv) {
    return try_driver(argc, argv, &(trial){"Bolt", &bolt, ask, soil, cut, fd});
}
