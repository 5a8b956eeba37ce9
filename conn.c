/* The driver for FalkorDB: dials with hiredis, greets, then sends and receives
   with deadlines of its own. Knows bytes, replies and one connection; not the
   pool, not graphs' names, not retries.

   A link's socket blocks, with a receive time-out of one tick. A reply that
   comes within the tick costs one system call; for anything longer, or for a
   deadline nearer than that, the link polls. hiredis' own blocking calls are
   not used: they restart their time-out after every signal and write without
   MSG_NOSIGNAL. Where the link has TLS, the bytes go through tls.c, and the
   waits are the same. */
#include "internal.h"
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL                    /* macOS: SO_NOSIGPIPE below instead */
#define MSG_NOSIGNAL 0
#endif
#define FALKOR__TICK_MS 100
#define FALKOR__KEEPALIVE_SECONDS 30

#define FALKOR__INBOX ((size_t)64 << 10)

struct falkor__link {
    const falkor__config *config;
    redisContext *context;
    int fd;
    int64_t since_ns;           /* connected since then */
    uint64_t number;            /* the how-manieth of this process */
    falkor__link_times *times;  /* NULL: they are not taken */
    falkor__tls *tls;           /* NULL: plain */
    size_t awaiting;            /* replies that are due, or half read */
    unsigned dirty;             /* how the session was changed */
    bool asks;                  /* each request goes behind ASKING */

    /* Bytes received while several replies are due, or while a request is
       being sent: the replies to come are read from here first. */
    char *inbox;
    size_t inbox_at, inbox_end, inbox_size;
    falkor__link *older;        /* in a child of fork: the parent's */
};

const size_t falkor__link_size = sizeof(falkor__link);

/* ---- socket ----------------------------------------------------------- */

/* Why the socket failed: in TLS' words where it has any. */
static const char *falkor__link_reason(const falkor__link *link,
                                       int sys_errno) {
    const char *reason = link->tls ? falkor__tls_reason(link->tls) : "";
    return *reason ? reason : falkor__errno_text(sys_errno);
}

static falkor_status falkor__link_broken(const falkor__link *link,
                                         falkor_error *error, int sys_errno) {
    falkor_status status = falkor__classify_errno(sys_errno);
    return status == FALKOR_ERR_NOMEM
        ? falkor__fail(error, status, sys_errno, "out of memory for replies")
        : falkor__fail(error, status, sys_errno, "connection lost: %s",
                       falkor__link_reason(link, sys_errno));
}

/* poll for one socket, whatever signals come: 1 ready, 0 when the deadline has
   passed, or -1. */
static int falkor__poll(struct pollfd *one, int64_t deadline_ns) {
    for (;;) {
        int left_ms = falkor__poll_ms(deadline_ns);
        int ready = poll(one, 1, left_ms);
        if (ready > 0 || (ready < 0 && errno != EINTR) ||
            (ready == 0 && left_ms == 0))
            return ready;
    }
}

/* Waits until fd is ready for events. FALSE with errno ETIMEDOUT or poll's. */
static bool falkor__link_wait(int fd, short events, int64_t deadline_ns) {
    struct pollfd one = {.fd = fd, .events = events};
    int ready = falkor__poll(&one, deadline_ns);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0;
}

/* Our deadline, not the system's own ETIMEDOUT (which keepalive may give). */
#define FALKOR__LATE ((ssize_t)-2)

static bool falkor__is_late(int64_t deadline_ns) {
    return deadline_ns != FALKOR__NEVER && falkor_now_ns() >= deadline_ns;
}

/* After an operation that could not go on: waits until it may. */
static ssize_t falkor__link_again(const falkor__link *link, short events,
                                  int64_t deadline_ns) {
    if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
        return -1;
    if (link->tls && falkor__is_late(deadline_ns))
        return FALKOR__LATE;            /* its bytes need not be ours */
    if (!falkor__link_wait(link->fd, events, deadline_ns))
        return errno == ETIMEDOUT ? FALKOR__LATE : -1;
    return 0;
}

/* recv once bytes are there: FALKOR__LATE when the deadline passes first. */
static ssize_t falkor__receive(falkor__link *link, char *room, size_t size,
                               int64_t deadline_ns) {
    bool far = deadline_ns == FALKOR__NEVER || deadline_ns - falkor_now_ns() >
        FALKOR__NS_PER_MS * 2 * FALKOR__TICK_MS;
    for (;; far = false) {
        short events = POLLIN;
        ssize_t received = link->tls
            ? falkor__tls_receive(link->tls, room, size, far, &events)
            : recv(link->fd, room, size, far ? 0 : MSG_DONTWAIT);
        if (received >= 0)
            return received;
        received = falkor__link_again(link, events, deadline_ns);
        if (received < 0)
            return received;
    }
}

/* sendmsg as much as goes at once; 0: none does. */
static ssize_t falkor__send(falkor__link *link, const struct iovec *pieces,
                            size_t count) {
    struct msghdr message = {0};
    message.msg_iov = (struct iovec *)(uintptr_t)pieces; /* not written to */
    message.msg_iovlen = (unsigned short)count; /* size_t or int, by libc */
    short events;                       /* POLLOUT: nothing renegotiates */
    ssize_t sent;
    do
        sent = link->tls ? falkor__tls_send(link->tls, pieces, count, &events)
            : sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : sent;
}

/* ---- send and read ---------------------------------------------------- */

/* Receives once into the inbox, which grows: bytes, 0 at the peer's end, -1,
   or FALKOR__LATE. */
static ssize_t falkor__inbox_fill(falkor__link *link, int64_t deadline_ns) {
    if (link->inbox_at == link->inbox_end)
        link->inbox_at = link->inbox_end = 0;
    if (link->inbox_end == link->inbox_size) {
        size_t size = link->inbox_size ? link->inbox_size * 2 : FALKOR__INBOX;
        char *inbox = size > falkor__default_limits.bytes ? NULL
            : falkor__take_more(link->config->heap, link->inbox, size);
        if (!inbox) {
            errno = ENOMEM;
            return -1;
        }
        link->inbox = inbox;
        link->inbox_size = size;
    }
    ssize_t bytes = falkor__receive(link, link->inbox + link->inbox_end,
        link->inbox_size - link->inbox_end, deadline_ns);
    if (bytes > 0)
        link->inbox_end += (size_t)bytes;
    return bytes;
}

static void falkor__inbox_free(falkor__link *link) {
    falkor__give(link->config->heap, link->inbox);
    link->inbox = NULL;
    link->inbox_at = link->inbox_end = link->inbox_size = 0;
}

/* Waits until the socket takes more. Replies that come meanwhile are received,
   for a server that cannot be rid of them may stop reading. */
static ssize_t falkor__await_room(falkor__link *link, int64_t deadline_ns) {
    for (;;) {
        struct pollfd one = {.fd = link->fd, .events = POLLIN | POLLOUT};
        int ready = falkor__poll(&one, deadline_ns);
        if (ready <= 0)
            return ready < 0 ? -1 : FALKOR__LATE;
        if (one.revents & (POLLOUT | POLLERR | POLLHUP))
            return 1;
        ssize_t bytes = falkor__inbox_fill(link, 0);    /* what is there */
        if (bytes == FALKOR__LATE && !falkor__is_late(deadline_ns))
            continue;                   /* TLS' own, or half a record */
        if (bytes <= 0) {
            errno = bytes == 0 ? ECONNRESET : errno;
            return bytes == 0 ? -1 : bytes;
        }
    }
}

/* Takes count bytes off the front of the pieces; returns how many pieces are
   done. */
static size_t falkor__advance(struct iovec *pieces, size_t count,
                              size_t bytes) {
    size_t done = 0;
    while (done < count && bytes >= pieces[done].iov_len)
        bytes -= pieces[done++].iov_len;
    if (done < count) {
        pieces[done].iov_base = (char *)pieces[done].iov_base + bytes;
        pieces[done].iov_len -= bytes;
    }
    return done;
}

static falkor_status falkor__send_all(falkor__link *link,
                                      const struct iovec *pieces,
                                      size_t count, size_t replies,
                                      int64_t deadline_ns, size_t *sent,
                                      falkor_error *error) {
    struct iovec rest[FALKOR__PIECES];
    *sent = 0;
    if (link->awaiting)
        return falkor__fail(error, FALKOR_ERR_IO, 0, "an earlier reply on this "
            "connection was not read to its end: release it");
    memcpy(rest, pieces, count * sizeof *pieces);
    link->awaiting = replies;
    for (size_t at = 0; at < count;) {
        ssize_t bytes = *sent && falkor__is_late(deadline_ns) ? FALKOR__LATE
            : falkor__send(link, rest + at, count - at);
        if (bytes == 0) {
            bytes = falkor__await_room(link, deadline_ns);
            if (bytes > 0)
                continue;
        }
        if (bytes < 0) {        /* broken, whatever replies may still come */
            link->awaiting++;
            return bytes != FALKOR__LATE
                ? falkor__link_broken(link, error, errno)
                : falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT,
                    "the server did not take the whole request in time");
        }
        *sent += (size_t)bytes;
        at += falkor__advance(rest + at, count - at, (size_t)bytes);
    }
    return FALKOR_OK;
}

/* Now, where the link's time is taken: what a stretch of work took is the
   difference of two. */
static int64_t falkor__lap(const falkor__link *link) {
    return FALKOR__EVENTS && link->times ? falkor_now_ns() : 0;
}

falkor_status falkor__link_send(falkor__link *link, const struct iovec *pieces,
                                size_t count, size_t replies,
                                int64_t deadline_ns, size_t *sent,
                                falkor_error *error) {
    int64_t begin_ns = falkor__lap(link);
    falkor_status status = falkor__send_all(link, pieces, count, replies,
                                            deadline_ns, sent, error);
    if (begin_ns)
        link->times->send_ns += falkor__lap(link) - begin_ns;
    return status;
}

/* Bytes for the reply from the inbox, which is filled first when more than
   this reply is due; else from the socket. As falkor__receive. */
static ssize_t falkor__link_fetch(falkor__link *link, char *room, size_t size,
                                  int64_t deadline_ns) {
    size_t left = link->inbox_end - link->inbox_at;
    if (!left && link->awaiting > 1) {
        ssize_t bytes = falkor__inbox_fill(link, deadline_ns);
        if (bytes <= 0)
            return bytes;
        left = (size_t)bytes;
    }
    if (!left)
        return falkor__receive(link, room, size, deadline_ns);
    if (size > left)
        size = left;
    memcpy(room, link->inbox + link->inbox_at, size);
    link->inbox_at += size;
    return (ssize_t)size;
}

/* The next bytes of the reply. They count against the deadline also when they
   come without a pause, but not when they are here already. */
static falkor_status falkor__link_receive(falkor__link *link,
                                          falkor_result *reply,
                                          int64_t deadline_ns,
                                          falkor_error *error) {
    size_t size;
    char *room = falkor__reply_room(reply, &size);
    if (!room)
        return falkor__no_memory(error, "out of memory while reading a reply");
    int64_t begin_ns = falkor__lap(link);
    ssize_t bytes = falkor__link_fetch(link, room, size, deadline_ns);
    int64_t came_ns = falkor__lap(link);
    if (came_ns)
        link->times->receive_ns += came_ns - begin_ns;
    if (bytes == 0)
        return falkor__fail(error, FALKOR_ERR_IO, ECONNRESET,
            "connection lost: the server closed it");
    if (bytes < 0 && bytes != FALKOR__LATE)
        return falkor__link_broken(link, error, errno);
    falkor_status status = bytes == FALKOR__LATE ? FALKOR_OK
        : falkor__reply_feed(reply, (size_t)bytes, error);
    if (came_ns)
        link->times->decode_ns += falkor__lap(link) - came_ns;
    if (bytes == FALKOR__LATE ||
        (!status && !falkor__reply_done(reply) &&
         link->inbox_at == link->inbox_end && falkor__is_late(deadline_ns)))
        return falkor__fail(error, FALKOR_ERR_TIMEOUT, ETIMEDOUT,
            "the whole reply did not come in time");
    return status;
}

/* The reply is done: what came behind it belongs to the next one. */
static falkor_status falkor__link_settle(falkor__link *link,
                                         falkor_result *reply,
                                         falkor_error *error) {
    size_t surplus = falkor__reply_drop_surplus(reply);
    if (link->inbox) {
        link->inbox_at -= surplus;
        surplus = link->inbox_end - link->inbox_at;
    }
    if (surplus && link->awaiting == 1)
        return falkor__fail(error, FALKOR_ERR_PROTOCOL, 0,
            "%zu bytes came behind the reply", surplus);
    if (--link->awaiting == 0 && link->inbox)
        falkor__inbox_free(link);
    return FALKOR_OK;
}

void falkor__link_ask_for(falkor__link *link, bool asks) {
    link->asks = asks;
}

bool falkor__link_asks(const falkor__link *link) {
    return link->asks;
}

/* The answer to ASKING, which the request's own reply follows. */
static falkor_status falkor__pass_asking(falkor__link *link,
                                         int64_t deadline_ns,
                                         falkor_error *error) {
    falkor_result *reply = falkor__reply_in(link->config->heap,
                                            FALKOR__REPLY_PLAIN, NULL);
    falkor_status status = reply ? FALKOR_OK
        : falkor__no_memory(error, "out of memory for a reply");
    while (!status && !falkor__reply_done(reply))
        status = falkor__link_receive(link, reply, deadline_ns, error);
    if (!status)
        status = falkor__link_settle(link, reply, error);
    falkor_result_free(reply);
    return status;
}

falkor_status falkor__link_read(falkor__link *link, falkor_result *reply,
                                int64_t deadline_ns, falkor_error *error) {
    falkor_status status = link->asks && !falkor__reply_begun(reply)
        ? falkor__pass_asking(link, deadline_ns, error) : FALKOR_OK;
    while (!status && !falkor__reply_done(reply) &&
           !falkor__reply_row_ready(reply))
        status = falkor__link_receive(link, reply, deadline_ns, error);
    return status || !falkor__reply_done(reply) ? status
        : falkor__link_settle(link, reply, error);
}

falkor_status falkor__link_ask(falkor__link *link, falkor__reply_kind kind,
                               size_t argc, const char *const *argv,
                               int64_t deadline_ns, falkor_result **reply,
                               falkor_error *error) {
    falkor__buffer request;
    size_t sent;
    *reply = falkor__reply_in(link->config->heap, kind, NULL);
    falkor__buffer_begin(&request);
    request.heap = link->config->heap;
    if (link->asks)
        falkor__buffer_add(&request, FALKOR__ASKING, FALKOR__ASKING_LENGTH);
    falkor__buffer_command(&request, argc, argv, NULL);
    struct iovec piece = {request.text, request.length};
    falkor_status status = !*reply || request.failed
        ? falkor__no_memory(error, "out of memory to ask")
        : falkor__link_send(link, &piece, 1, 1 + link->asks, deadline_ns,
                            &sent, error);
    if (!status)
        status = falkor__link_read(link, *reply, deadline_ns, error);
    falkor__buffer_end(&request);
    return status;
}

void falkor__link_mark(falkor__link *link, unsigned set, unsigned clear) {
    link->dirty = (link->dirty | set) & ~clear;
}

const falkor_allocator *falkor__link_heap(const falkor__link *link) {
    return link->config->heap;
}

unsigned falkor__link_marks(const falkor__link *link) {
    return link->dirty;
}

void falkor__link_time(falkor__link *link, falkor__link_times *times) {
    link->times = times;
}

uint64_t falkor__link_number(const falkor__link *link) {
    return link->number;
}

int64_t falkor__link_since(const falkor__link *link) {
    return link->since_ns;
}

/* ---- greeting --------------------------------------------------------- */

static bool falkor__holds(const char *text, size_t length,
                          const char *secret) {
    size_t size = strlen(secret);
    for (size_t at = 0; at + size <= length; at++)
        if (memcmp(text + at, secret, size) == 0)
            return true;
    return false;
}

/* What one line of the answer to a greeting says. secret: it answers AUTH with
   this password, and only words that we know and that do not hold it may be
   shown. last: it answers the PING, which a user who has been let in may lack
   the right to. */
static falkor_status falkor__greet_line(const char *line, size_t length,
                                        const char *secret, bool last,
                                        falkor_error *error) {
    if (length > 0 && (line[0] == '+' ||
        (last && length >= 7 && memcmp(line, "-NOPERM", 7) == 0)))
        return FALKOR_OK;
    if (length == 0 || line[0] != '-')
        return falkor__fail(error, FALKOR_ERR_CONNECT, 0, "the server does "
            "not speak Redis' protocol: \"%.*s\"", secret ? 3 : (int)length,
            secret ? "..." : line);
    static const char unsaid[] = "what holds the password, and is not shown";
    bool holds = secret && *secret && falkor__holds(line, length, secret);
    const char *words = holds ? unsaid : line + 1;
    int size = holds ? (int)sizeof unsaid - 1 : (int)length - 1;
    falkor_status kind = falkor__classify(line + 1, length - 1);
    if (kind == FALKOR_ERR_AUTH)
        return falkor__fail(error, FALKOR_ERR_AUTH, 0, "the server refused "
            "the login, %s; it says: %.*s", secret
                ? "check username and password"
                : "set a password or ask for more rights", size, words);
    if (kind == FALKOR_ERR_QUERY && secret)
        return falkor__fail(error, FALKOR_ERR_AUTH, 0, "the server refused "
            "the AUTH command itself; its words may hold the password and are "
            "not shown");
    return falkor__fail(error, kind == FALKOR_ERR_BUSY ? FALKOR_ERR_BUSY
                                                       : FALKOR_ERR_CONNECT, 0,
        "the server refused the connection: %.*s", size, words);
}

/* The answers to a greeting do not come: late, closed, or broken. A server
   that expects TLS takes the greeting for a bad handshake, and closes. */
static falkor_status falkor__greet_broken(const falkor__link *link,
                                          ssize_t bytes, int sys_errno,
                                          falkor_error *error) {
    bool plain = !link->tls && !link->config->unix_path;
    if (bytes == FALKOR__LATE)
        return falkor__fail(error, FALKOR_ERR_CONNECT, ETIMEDOUT,
            "the server did not answer in time (connect_timeout_ms, or what "
            "the call had left)");
    if (bytes == 0)
        sys_errno = ECONNRESET;
    const char *hint = plain && sys_errno == ECONNRESET
        ? "; if it wants TLS, use falkors:// or set tls" : "";
    if (bytes == 0)
        return falkor__fail(error, FALKOR_ERR_CONNECT, sys_errno,
            "the server closed the new connection%s", hint);
    return falkor__fail(error, FALKOR_ERR_CONNECT, sys_errno,
        "the server did not answer: %s%s",
        falkor__link_reason(link, sys_errno), hint);
}

/* Reads the answers to a greeting into reply until one refuses: lines, of which
   the first answers AUTH when there is one. */
#define FALKOR__GREETED ((size_t)1024)
static falkor_status falkor__greet_read(falkor__link *link, char *reply,
                                        int lines, const char *secret,
                                        int64_t deadline_ns,
                                        falkor_error *error) {
    size_t have = 0;
    falkor_status status = FALKOR_OK;
    while (!status && (lines > 0 || have > 0)) {
        char *end = lines > 0 && have > 0 ? memchr(reply, '\n', have) : NULL;
        if (end) {
            size_t taken = (size_t)(end + 1 - reply);
            size_t shown = taken >= 2 && end[-1] == '\r' ? taken - 2
                                                         : taken - 1;
            status = falkor__greet_line(reply, shown, secret, --lines == 0,
                                        error);
            secret = NULL;
            memmove(reply, end + 1, have -= taken);
            continue;
        }
        if (lines == 0 || have == FALKOR__GREETED)
            return falkor__fail(error, FALKOR_ERR_CONNECT, 0,
                "the server answered more than it was asked: is it FalkorDB?");
        ssize_t bytes = falkor__link_fetch(link, reply + have,
                                           FALKOR__GREETED - have,
                                           deadline_ns);
        if (bytes <= 0)
            return falkor__greet_broken(link, bytes, errno, error);
        have += (size_t)bytes;
    }
    return status;
}

/* Writes AUTH, SELECT and CLIENT SETNAME as configured. PING ends it: also a
   link without any of these is known to reach a server that answers, and that
   lets us in. Returns how many answers there will be. */
static int falkor__greet_write(const falkor__config *config,
                               falkor__buffer *text) {
    const char *user = config->username, *name = config->client_name;
    int lines = 1;
    if (config->password) {
        size_t size = strlen(config->password) + (user ? strlen(user) : 0) +
            (name ? strlen(name) : 0) + 200;
        if (text->size < size)          /* at once: it shall not move */
            falkor__buffer_grow(text, size);
        const char *argv[] = {"AUTH", user ? user : config->password,
                              config->password};
        falkor__buffer_command(text, user ? 3 : 2, argv, NULL);
        lines++;
    }
    if (config->database) {
        char number[16];
        snprintf(number, sizeof number, "%d", config->database);
        falkor__buffer_command(text, 2, (const char *[]){"SELECT", number},
                               NULL);
        lines++;
    }
    if (name) {
        falkor__buffer_command(text, 3,
            (const char *[]){"CLIENT", "SETNAME", name}, NULL);
        lines++;
    }
    if (config->in_cluster && config->read_from != FALKOR_READ_PRIMARY) {
        falkor__buffer_command(text, 1, (const char *[]){"READONLY"}, NULL);
        lines++;
    }
    falkor__buffer_command(text, 1, (const char *[]){"PING"}, NULL);
    return lines;
}

/* Which of the settings the server refused. */
static void falkor__greet_name(const falkor__config *config,
                               falkor_error *error) {
    char place[128];
    if (error->status == FALKOR_ERR_AUTH)
        falkor__fail_more(error, " (user %s at %s)",
            config->username ? config->username : "default",
            falkor__place(config, place, sizeof place));
    else if (config->database && strstr(error->message, "DB index"))
        falkor__fail_more(error, " (database %d)", config->database);
}

/* Makes a connection ours, in one round trip. */
static falkor_status falkor__greet(falkor__link *link, int64_t deadline_ns,
                                   falkor_error *error) {
    falkor__buffer text;
    char reply[FALKOR__GREETED];
    size_t sent;
    falkor__buffer_begin(&text);
    text.heap = link->config->heap;
    int lines = falkor__greet_write(link->config, &text);
    struct iovec piece = {text.text, text.length};
    falkor_status status = text.failed
        ? falkor__no_memory(error, "out of memory")
        : falkor__link_send(link, &piece, 1, 1, deadline_ns, &sent, error);
    if (!status)
        status = falkor__greet_read(link, reply, lines,
            link->config->password, deadline_ns, error);
    if (!status)
        link->awaiting = 0;
    else
        falkor__greet_name(link->config, error);
    if (link->config->password) {       /* text held it, and reply might */
        falkor__wipe(text.text, text.length);
        falkor__wipe(reply, sizeof reply);
    }
    falkor__buffer_end(&text);
    return status;
}

/* ---- dial ------------------------------------------------------------- */

/* Fails with what is wrong and with the address. */
static falkor_status falkor__dial_failed(falkor_error *error, int sys_errno,
                                         const char *address,
                                         const char *reason) {
    bool nobody = sys_errno == ECONNREFUSED || sys_errno == ENOENT;
    return falkor__fail(error, FALKOR_ERR_CONNECT, sys_errno,
        "cannot connect to %s: %s%s", address, reason,
        nobody ? ": is a server running there?" : "");
}

/* Blocking with a tick, no delay, keepalive, closed by exec. Keepalive is a
   wish: a Unix socket refuses it. */
static falkor_status falkor__dial_prepare(falkor__link *link,
                                          falkor_error *error) {
    int fd = link->fd, on = 1, every = FALKOR__KEEPALIVE_SECONDS;
    int flags = fcntl(fd, F_GETFL);
    struct timeval tick = {.tv_usec = FALKOR__TICK_MS * 1000L};
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) < 0)
        return falkor__fail(error, FALKOR_ERR_CONNECT, errno,
            "cannot prepare the socket: %s", falkor__errno_text(errno));
    if (link->config->unix_path)
        return FALKOR_OK;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#ifdef TCP_KEEPIDLE
    int probes = 3, between = every / 3;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
#elif defined(TCP_KEEPALIVE)
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPALIVE, &every, sizeof every);
#endif
#ifdef SO_NOSIGPIPE
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    return FALKOR_OK;
}

/* Begins TLS, within the dial's deadline. */
static falkor_status falkor__dial_secure(falkor__link *link,
                                         const char *address,
                                         int64_t deadline_ns,
                                         falkor_error *error) {
    const falkor__config *config = link->config;
    ssize_t done = 0;
    link->tls = falkor__tls_begin(&config->tls, config->host, link->fd);
    if (!link->tls)
        return falkor__dial_failed(error, ENOMEM, address, "TLS cannot begin: "
            "no memory, or a name of more than 255 bytes to look for");
    while (done == 0) {
        short events = POLLIN;
        done = falkor__tls_handshake(link->tls, &events);
        if (done == 0)
            return falkor__dial_failed(error, ECONNRESET, address, "the "
                "server closed during the TLS handshake: does it speak TLS on "
                "this port?");
        if (done < 0)
            done = falkor__link_again(link, events, deadline_ns);
    }
    if (done == FALKOR__LATE)
        return falkor__dial_failed(error, ETIMEDOUT, address,
            "no TLS handshake in time: does the server speak TLS on this "
            "port?");
    if (done < 0) {
        int code = errno;
        return falkor__dial_failed(error, code, address,
                                   falkor__link_reason(link, code));
    }
    return FALKOR_OK;
}

/* A child of fork may have the descriptor too, from while it was dialled: the
   server is told of the end all the same. */
static void falkor__dial_undo(falkor__link *link) {
    falkor__tls_end(link->tls);
    if (link->context) {
        shutdown(link->context->fd, SHUT_RDWR);
        redisFree(link->context);
    }
    link->tls = NULL;
    link->context = NULL;
}

/* Makes a connected socket fit for the greeting. */
static falkor_status falkor__dial_ready(falkor__link *link,
                                        const char *address,
                                        int64_t deadline_ns,
                                        falkor_error *error) {
    falkor_status status = falkor__dial_prepare(link, error);
    if (!status && link->config->tls.on)
        status = falkor__dial_secure(link, address, deadline_ns, error);
    if (status)
        falkor__dial_undo(link);
    return status;
}

/* Finishes a connection that hiredis has begun, and takes it over. errno was 0
   before: what it says of a socket that could not be made is no REDIS_ERR_IO
   to hiredis, but counts. */
static falkor_status falkor__dial_finish(falkor__link *link,
                                         redisContext *context,
                                         const char *address,
                                         int64_t deadline_ns,
                                         falkor_error *error) {
    if (!context || context->err == REDIS_ERR_OOM) {
        redisFree(context);
        return falkor__no_memory(error, "out of memory");
    }
    int code = 0;
    socklen_t size = sizeof code;
    if (!context->err)                  /* before the wait below */
        fcntl(context->fd, F_SETFD, FD_CLOEXEC);
    if (context->err) {
        code = errno;
        falkor__dial_failed(error, code, address, context->errstr);
    } else if (!falkor__link_wait(context->fd, POLLOUT, deadline_ns)) {
        code = errno;
        falkor__dial_failed(error, code, address, code == ETIMEDOUT
            ? "no answer in time" : falkor__errno_text(code));
    } else if (getsockopt(context->fd, SOL_SOCKET, SO_ERROR, &code,
                          &size) < 0 || code != 0) {
        code = code ? code : errno;
        falkor__dial_failed(error, code, address, falkor__errno_text(code));
    } else {
        link->context = context;
        link->fd = context->fd;
        return falkor__dial_ready(link, address, deadline_ns, error);
    }
    redisFree(context);
    return error->status;
}

/* One address of several gets its share of the time that is left. */
static int64_t falkor__share(int64_t deadline_ns, int ways) {
    if (deadline_ns == FALKOR__NEVER || ways <= 1)
        return deadline_ns;
    int64_t now = falkor_now_ns();
    return now + (deadline_ns - now) / ways;
}

/* Tries one address, given as number. */
static falkor_status falkor__dial_address(falkor__link *link,
                                          const struct addrinfo *at,
                                          int64_t deadline_ns,
                                          falkor_error *error) {
    char host[NI_MAXHOST], address[NI_MAXHOST + 16];
    int port = link->config->port;
    int code = getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host,
                           NULL, 0, NI_NUMERICHOST);
    if (code != 0)
        return falkor__dial_failed(error, 0, link->config->host,
                                   gai_strerror(code));
    snprintf(address, sizeof address, strchr(host, ':') ? "[%s]:%d" : "%s:%d",
             host, port);
    errno = 0;
    return falkor__dial_finish(link, redisConnectNonBlock(host, port), address,
                               deadline_ns, error);
}

/* Tries the addresses of a name in turn. The look-up blocks as long as the
   system's resolver does. Where all fail the last one tells, unless it is one
   that this machine cannot use, such as an IPv6 address without IPv6, and
   another has failed for better reasons. */
static falkor_status falkor__dial_tcp(falkor__link *link, int64_t deadline_ns,
                                      falkor_error *error) {
    struct addrinfo wanted = {.ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM}, *found = NULL;
    int code = getaddrinfo(link->config->host, NULL, &wanted, &found);
    if (code != 0)
        return falkor__dial_failed(error, code == EAI_SYSTEM ? errno
                                   : code == EAI_MEMORY ? ENOMEM : 0,
                                   link->config->host, gai_strerror(code));
    int ways = 0;
    for (struct addrinfo *at = found; at; at = at->ai_next)
        ways++;
    falkor_status status = FALKOR_ERR_CONNECT;
    falkor_error before = {.status = FALKOR_OK};
    for (struct addrinfo *at = found; at && status; at = at->ai_next) {
        status = falkor__dial_address(link, at,
            falkor__share(deadline_ns, ways--), error);
        if (status && before.status &&
            !falkor__counts(status, error->sys_errno))
            *error = before;
        before = *error;
    }
    freeaddrinfo(found);
    return status ? error->status : FALKOR_OK;
}

static falkor_status falkor__dial(falkor__link *link, int64_t deadline_ns,
                                  falkor_error *error) {
    const char *path = link->config->unix_path;
    errno = 0;
    return path
        ? falkor__dial_finish(link, redisConnectUnixNonBlock(path), path,
                              deadline_ns, error)
        : falkor__dial_tcp(link, deadline_ns, error);
}

/* ---- driver ----------------------------------------------------------- */

static void falkor__link_close(void *ctx, void *handle) {
    falkor__link *link = handle;
    (void)ctx;
    falkor__dial_undo(link);
    falkor__inbox_free(link);
    falkor__give(link->config->heap, link);
}

static falkor_status falkor__link_open(void *ctx, int64_t deadline_ns,
                                       void **handle, falkor_error *error) {
    const falkor__config *config = ctx;
    falkor__link *link = falkor__take_zero(config->heap, 1, sizeof *link);
    if (!link)
        return falkor__no_memory(error, "out of memory");
    link->config = config;
    falkor_status status = link->config->tls.on
        ? falkor__tls_load(&link->config->tls, error) : FALKOR_OK;
    if (!status)
        status = falkor__dial(link, deadline_ns, error);
    if (!status)
        status = falkor__greet(link, deadline_ns, error);
    if (status) {
        falkor__link_close(ctx, link);
        return status;
    }
    link->since_ns = falkor_now_ns();
    static atomic_uint_least64_t dialled;
    link->number = 1 + atomic_fetch_add_explicit(&dialled, 1,
                                                 memory_order_relaxed);
    *handle = link;
    return FALKOR_OK;
}

/* Nothing may wait to be read on a connection that nobody uses. */
static falkor_status falkor__check_fast(const falkor__link *link) {
    char byte;
    if (link->awaiting || link->dirty)
        return FALKOR_ERR_PROTOCOL;
    if (link->tls)
        return falkor__tls_quiet(link->tls) ? FALKOR_OK : FALKOR_ERR_IO;
    ssize_t peeked = recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return peeked < 0 && (errno == EAGAIN || errno == EWOULDBLOCK ||
                          errno == EINTR) ? FALKOR_OK : FALKOR_ERR_IO;
}

/* The reply must carry the very token that was sent: a connection that is one
   reply behind answers a plain PING as well. */
static falkor_status falkor__check_medium(falkor__link *link,
                                          int64_t deadline_ns) {
    static atomic_uint_least64_t counter;
    char token[40];
    falkor_result *reply;
    snprintf(token, sizeof token, "falkorpool-%llu", (unsigned long long)
             atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed));
    falkor_status status = falkor__link_ask(link, FALKOR__REPLY_PLAIN, 2,
        (const char *[]){"PING", token}, deadline_ns, &reply, NULL);
    if (!status) {
        size_t length;
        const char *refused = falkor__reply_error(reply, &length);
        const falkor_value *value = falkor_result_value(reply, 0, 0);
        if (refused ? falkor__classify(refused, length) == FALKOR_ERR_QUERY
                    : !value || value->type != FALKOR_STRING ||
                      strcmp(value->as.string, token) != 0)
            status = FALKOR_ERR_PROTOCOL;
    }
    falkor_result_free(reply);
    return status;
}

/* Any answer to a graph query that is about the graph, the load or our rights
   proves the connection. */
static falkor_status falkor__check_deep(falkor__link *link,
                                        int64_t deadline_ns) {
    const char *graph = link->config->graph;
    falkor_result *reply;
    falkor_status status = falkor__link_ask(link, FALKOR__REPLY_QUERY, 4,
        (const char *[]){"GRAPH.RO_QUERY", graph ? graph : FALKOR__PROBE_GRAPH,
                         "RETURN 1", "--compact"}, deadline_ns, &reply, NULL);
    if (!status) {
        size_t length;
        const char *refused = falkor__reply_error(reply, &length);
        if (refused && !falkor__proves_graphs(refused, graph != NULL) &&
            falkor__classify(refused, length) == FALKOR_ERR_QUERY)
            status = FALKOR_ERR_QUERY;
    }
    falkor_result_free(reply);
    return status;
}

static falkor_status falkor__link_check(void *ctx, void *handle,
                                        falkor_check_level level,
                                        int64_t deadline_ns) {
    (void)ctx;
    switch (level) {
    case FALKOR_CHECK_FAST:   return falkor__check_fast(handle);
    case FALKOR_CHECK_MEDIUM: return falkor__check_medium(handle, deadline_ns);
    case FALKOR_CHECK_DEEP:   return falkor__check_deep(handle, deadline_ns);
    }
    return FALKOR_ERR_ARGUMENT;
}

/* The check of every release: own flags, no system call. */
static falkor_status falkor__link_reset(void *ctx, void *handle,
                                        int64_t deadline_ns) {
    const falkor__link *link = handle;
    (void)ctx, (void)deadline_ns;
    return link->awaiting || link->dirty ? FALKOR_ERR_PROTOCOL : FALKOR_OK;
}

static void falkor__link_shutdown(void *ctx, void *handle) {
    const falkor__link *link = handle;
    (void)ctx;
    shutdown(link->fd, SHUT_RDWR);
}

/* Its memory stays, and stays known to who looks for leaks. */
static void falkor__link_forget(void *ctx, void *handle) {
    static falkor__link *forgotten;
    falkor__link *link = handle;
    (void)ctx;
    close(link->fd);
    link->fd = -1;              /* for who was in the middle of a row */
    if (link->tls)
        falkor__tls_forget(link->tls);
    link->older = forgotten;
    forgotten = link;
}

const falkor_driver falkor__link_driver = {
    .open = falkor__link_open, .check = falkor__link_check,
    .reset = falkor__link_reset, .shutdown = falkor__link_shutdown,
    .close = falkor__link_close, .forget = falkor__link_forget};
