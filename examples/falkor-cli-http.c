/* falkor-cli stats: one GET of HTTP/1.1 over a socket of its own, which closes
   behind it. It follows no redirect and speaks no TLS. What comes is not
   trusted: its size has a limit, and so has the time. */
#include "falkor-cli-stats.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 22, MOST_LINE = 1000 };

/* ---- where ------------------------------------------------------------ */

/* "host:port", "[address]:port", or without a port, which is 80 then. */
static bool read_authority(const char *text, size_t length, cli_place *place) {
    const char *end = text + length, *name = text;
    if (length >= sizeof place->authority)
        return false;
    memcpy(place->authority, text, length);
    bool bracket = *text == '[';
    name += bracket;
    size_t name_length = strcspn(name, bracket ? "]/?#" : ":/?#");
    const char *at = name + name_length;
    if (bracket && *at++ != ']')
        return false;
    size_t digits = at < end && *at == ':' ? (size_t)(end - at) - 1 : 0;
    if (name_length == 0 || name_length >= sizeof place->host
        || digits >= sizeof place->port || (at < end && digits == 0)
        || (digits > 0 && strspn(at + 1, "0123456789") != digits))
        return false;
    memcpy(place->host, name, name_length);
    memcpy(place->port, digits > 0 ? at + 1 : "80", digits > 0 ? digits : 2);
    int port = atoi(place->port);
    return port > 0 && port <= 65535;
}

bool cli_http_place(const char *url, cli_place *place, const char **why) {
    *place = (cli_place){.target = "/health", .target_length = 7};
    if (strncasecmp(url, "https://", 8) == 0)
        *why = "https is not spoken here: ask the endpoint by http, on its own "
               "machine or through a tunnel";
    else if (strncasecmp(url, "http://", 7) != 0)
        *why = "a /health document has a URL as http://host:port/health; a "
               "database is named with -u, -h or -p";
    else
        *why = NULL;
    if (*why)
        return false;
    const char *text = url + 7;
    for (const char *at = url; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f)
            *why = "a space or a control byte: write it as %20, say";
    size_t length = strcspn(text, "/?#");
    if (memchr(text, '@', length))
        *why = "user and password are not sent: name an endpoint that asks for "
               "none";
    else if (!*why && !read_authority(text, length, place))
        *why = "behind http:// comes a host, or a host and a port from 1 to "
               "65535, as in http://localhost:8080/health";
    if (text[length] == '/' && text[length + 1]) {
        place->target = text + length;
        place->target_length = strcspn(place->target, "#");
    }
    if (text[length] == '?' || (text[length] == '/' && text[length + 1] == '?'))
        *why = "a query needs its path, as in /health?pool=main";
    return *why == NULL;
}

/* ---- the socket ------------------------------------------------------- */

typedef struct exchange {
    const cli_place *place;
    int64_t deadline_ns;
    double seconds;
    int fd;
    char *why;
    char *text;                         /* what came, and a NUL */
    size_t length, room;
} exchange;

static bool fail(exchange *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool fail(exchange *self, const char *format, ...) {
    int length = snprintf(self->why, 400, "http://%s%.*s: ",
        self->place->authority, (int)(self->place->target_length < 80
        ? self->place->target_length : 80), self->place->target);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->why + length, 400 - (size_t)length, format, arguments);
    va_end(arguments);
    for (char *at = self->why; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';                  /* some of it comes from the server */
    return false;
}

/* Waits until the socket is ready for events. */
static bool await(exchange *self, short events, const char *what) {
    struct pollfd ready = {.fd = self->fd, .events = events};
    for (;;) {
        int64_t left = self->deadline_ns - falkor_now_ns();
        int got = left <= 0 ? 0
            : poll(&ready, 1, (int)((left + 999999) / 1000000));
        if (got > 0)
            return true;
        if (got < 0 && (errno != EINTR || cli_interrupted()))
            return fail(self, "%s", strerror(errno));
        if (left <= 0)
            return fail(self, "%s within %g s: is it the right port? --timeout "
                        "waits longer", what, self->seconds);
    }
}

/* errno says why not; 0: there was no time left, and why is said. */
static bool dial_one(exchange *self, const struct addrinfo *address) {
    int error = 0;
    socklen_t size = sizeof error;
    self->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK
                      | SOCK_CLOEXEC, 0);
    if (self->fd < 0)
        return false;
    if (connect(self->fd, address->ai_addr, address->ai_addrlen) == 0)
        return true;
    if (errno == EINPROGRESS) {
        if (!await(self, POLLOUT, "no connection"))
            error = 0;
        else if (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
        else if (error == 0)
            return true;
    } else {
        error = errno;
    }
    close(self->fd);
    self->fd = -1;
    errno = error;
    return false;
}

static bool dial(exchange *self) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(self->place->host, self->place->port, &hints,
                            &found);
    if (error != 0)
        return fail(self, "%s", gai_strerror(error));
    bool connected = false;
    for (struct addrinfo *one = found; one && !connected; one = one->ai_next) {
        connected = dial_one(self, one);
        if (!connected && errno == 0)
            break;
        if (!connected)
            fail(self, "%s: does the program run that serves it?",
                 strerror(errno));
    }
    freeaddrinfo(found);
    return connected;
}

static bool send_request(exchange *self) {
    char *request;
    int length = asprintf(&request, "GET %.*s HTTP/1.1\r\nHost: %s\r\n"
        "User-Agent: falkor-cli/%d.%d.%d\r\nAccept: application/json\r\n"
        "Connection: close\r\n\r\n", (int)self->place->target_length,
        self->place->target, self->place->authority, FALKOR_VERSION_MAJOR,
        FALKOR_VERSION_MINOR, FALKOR_VERSION_PATCH);
    if (length < 0)
        cli_no_memory();
    bool sent = true;
    for (int at = 0; sent && at < length; ) {
        ssize_t got = send(self->fd, request + at, (size_t)(length - at),
                           MSG_NOSIGNAL);
        if (got >= 0)
            at += (int)got;
        else if (errno == EAGAIN || errno == EINTR)
            sent = await(self, POLLOUT, "the request was not taken");
        else
            sent = fail(self, "%s", strerror(errno));
    }
    free(request);
    return sent;
}

/* Reads some more; *ended: there is none. */
static bool read_more(exchange *self, bool *ended) {
    if (self->length > MOST_BYTES)
        return fail(self, "the answer has more than %d MB", MOST_BYTES >> 20);
    if (self->room - self->length < 1 << 14) {
        self->room = 2 * self->room + (1 << 15);
        self->text = cli_reserve(self->text, self->room, 1);
    }
    for (;;) {
        ssize_t got = recv(self->fd, self->text + self->length,
                           self->room - self->length - 1, 0);
        if (got >= 0) {
            *ended = got == 0;
            self->length += (size_t)got;
            self->text[self->length] = '\0';
            return true;
        }
        if (errno != EAGAIN && errno != EINTR)
            return fail(self, "%s", strerror(errno));
        if (!await(self, POLLIN, self->length == 0 ? "no answer"
                                                   : "no whole answer"))
            return false;
    }
}

/* ---- the answer ------------------------------------------------------- */

typedef enum verdict { WHOLE, MORE, BAD } verdict;

/* The value of a header field, up to its line's end; NULL: there is none. */
static const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r';
         line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, length) == 0
            && line[2 + length] == ':')
            return line + 3 + length + strspn(line + 3 + length, " \t");
    return NULL;
}

static int value_length(const char *value) {
    size_t length = strcspn(value, "\r\n");
    return (int)(length < 100 ? length : 100);
}

/* Puts the chunks that are there one behind the other, and sets their sum once
   they are all there. Whether a line is too long does not depend on how much of
   it is there: its carriage return may be the last byte that is. */
static verdict join_chunks(exchange *self, char *body, char *joined,
                           size_t *length) {
    const char *end = self->text + self->length;
    char *at = body;
    *length = 0;
    for (;;) {
        char *line_end = strstr(at, "\r\n");
        if ((line_end ? line_end : end) - at > MOST_LINE + !line_end)
            return BAD;
        if (!line_end)
            return MORE;
        errno = 0;
        unsigned long long size = strtoull(at, NULL, 16);
        if (!isxdigit((unsigned char)*at) || errno != 0 || size > MOST_BYTES)
            return BAD;                 /* a space would hide an empty line */
        at = line_end + 2;
        if (size == 0)
            return WHOLE;
        if ((size_t)(end - at) < size + 2)
            return MORE;
        if (at[size] != '\r' || at[size + 1] != '\n')
            return BAD;
        memcpy(joined + *length, at, size);
        *length += size;
        at += size + 2;
    }
}

/* Without a length the body ends with the connection. */
static verdict read_length(exchange *self, const char *value,
                           const char *body, bool ended, size_t *length) {
    size_t there = self->length - (size_t)(body - self->text);
    *length = there;
    if (!value)
        return ended ? WHOLE : MORE;
    char *after;
    errno = 0;
    unsigned long long size = strtoull(value, &after, 10);
    if (*value < '0' || *value > '9' || errno != 0 || size > MOST_BYTES
        || (*after != '\r' && *after != ' ' && *after != '\t'))
        return BAD;
    *length = size;
    return there >= size ? WHOLE : MORE;
}

/* 503 is what a pool in a bad way answers, with its document. */
static bool check_status(exchange *self, const char *head) {
    int status = atoi(head + 9);
    const char *location = field(head, "location");
    if (status == 200 || status == 503)
        return true;
    if (status >= 300 && status < 400 && location)
        return fail(self, "the answer is %d, a redirect, which is not "
                    "followed: ask %.*s", status, value_length(location),
                    location);
    return fail(self, "the answer is %.*s, not 200 or 503: is that where the "
                "pool's health is?", value_length(head + 9), head + 9);
}

/* Takes the document out of what has come so far: WHOLE and *document NULL
   where the server said something else. */
static verdict read_answer(exchange *self, bool ended, char **document) {
    static const char end_of_head[] = "\r\n\r\n";
    char *head = self->text, *body = strstr(head, end_of_head);
    size_t length;
    *document = NULL;
    if (self->length < 12 || !body)
        return self->length >= 5 && memcmp(head, "HTTP/", 5) != 0 ? BAD : MORE;
    if (strncmp(head, "HTTP/1.", 7) != 0 || head[8] != ' '
        || strspn(head + 9, "0123456789") != 3)
        return BAD;
    if (!check_status(self, head))
        return WHOLE;
    const char *coding = field(head, "transfer-encoding");
    const char *size = field(head, "content-length");
    body += strlen(end_of_head);
    char *text = cli_reserve(NULL, self->length + 1, 1);
    verdict found;
    if (!coding) {
        found = read_length(self, size, body, ended, &length);
        if (found == WHOLE)
            memcpy(text, body, length);
    } else if (strncasecmp(coding, "chunked\r", 8) == 0) {
        found = join_chunks(self, body, text, &length);
    } else {
        found = BAD;
    }
    if (found == WHOLE) {
        text[length] = '\0';
        *document = text;
    } else {
        free(text);
    }
    return found;
}

char *cli_http_get(const cli_place *place, double seconds, char why[400]) {
    exchange self = {.place = place, .seconds = seconds, .fd = -1, .why = why,
        .deadline_ns = falkor_now_ns() + (int64_t)(seconds * 1e9)};
    char *document = NULL;
    bool ended = false, going = dial(&self) && send_request(&self);
    while (going && read_more(&self, &ended)) {
        verdict found = read_answer(&self, ended, &document);
        going = found == MORE && !ended;
        if (found == BAD)
            fail(&self, "what answers there does not speak HTTP/1.1: is it the "
                 "right port?");
        else if (found == MORE && ended)
            fail(&self, "the answer was cut off behind %zu bytes%s",
                 self.length, self.length ? ""
                 : ": is there an HTTP server, and is it the right port?");
    }
    if (self.fd >= 0)
        close(self.fd);
    free(self.text);
    return document;
}
