/* What the drivers of this folder share: time left and waiting for a socket,
   and the trial that each goes through. A driver of your own needs nothing of
   it but, if you like them, the three helpers. */
#ifndef DRIVER_H
#define DRIVER_H
#include "pool.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* Where the server is: a driver's ctx. A host that begins with a slash is a
   Unix socket (of PostgreSQL: the folder it is in). */
typedef struct place { const char *host; int port; } place;

/* What poll wants: -1 for ever, else milliseconds, rounded up. */
static inline int left_ms(int64_t deadline_ns) {
    if (deadline_ns == INT64_MAX)
        return -1;
    int64_t left = (deadline_ns - falkor_now_ns() + 999999) / 1000000;
    return left < 0 ? 0 : left > 1000000000 ? 1000000000 : (int)left;
}

/* Waits until fd is ready for events, whatever signals come. false: time is
   up, or fd is none. */
static inline bool await(int fd, short events, int64_t deadline_ns) {
    struct pollfd one = {.fd = fd, .events = events};
    for (;;) {
        int left = left_ms(deadline_ns), ready = poll(&one, 1, left);
        if (ready > 0)
            return !(one.revents & POLLNVAL);
        if ((ready == 0 && left == 0) || (ready < 0 && errno != EINTR))
            return false;
    }
}

/* Whether fd has nothing to read, not even its end. A server says something
   on an idle connection only to take its leave; a stray reply shows too. */
static inline bool is_quiet(int fd) {
    char byte;
    ssize_t got;
    do
        got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* A driver on trial (trial.c). */
typedef struct trial {
    const char *name;
    const falkor_driver *driver;
    /* ask has the server say token back, on a session that is as new. */
    bool (*ask)(void *handle, const char *token, char *answer, size_t size,
                int64_t deadline_ns);
    /* soil leaves the session as the next must not find it. NULL: there is no
       session. */
    bool (*soil)(void *handle, int64_t deadline_ns);
    /* cut has the server close victim's connection, told so over another. */
    bool (*cut)(void *victim, void *other, int64_t deadline_ns);
    int (*fd)(void *handle);
} trial;

/* try_driver puts it to the trial against the server at argv[1], port argv[2],
   tells how it went, and returns what main is to return. */
int try_driver(int argc, char **argv, const trial *given);
#endif
