/* A proxy for tests: see proxy.h. One thread, which polls all connections and
   never waits for one of them for long. */
#include "proxy.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 256, DIAL_MS = 300 };
enum { CLIENT, SERVER, ENDS };          /* who sends */

typedef struct pair {
    int fd[ENDS];               /* SERVER: -1 when mute */
    bool lost[ENDS];            /* what this end sends goes nowhere */
    bool deaf;                  /* nor is it read, of the client */
    bool meant;                 /* its last request, by only */
    int64_t due_ns[ENDS];       /* when it goes on; 0: there is nothing */
} pair;

typedef struct pairs {
    pair each[PAIRS];
    size_t count;
} pairs;

/* ---- sockets ---------------------------------------------------------- */

static void set(int fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value);
}

static void send_timeout(int fd, int ms) {
    struct timeval limit = {ms / 1000, ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    send_timeout(fd, DIAL_MS);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    send_timeout(fd, 0);
    return fd;
}

/* false: the connection is over. */
static bool write_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        }
    }
    return true;
}

static void end_pair(const pair *ends, bool hard) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < ENDS; i++) {
        if (ends->fd[i] < 0)
            continue;
        if (hard)
            setsockopt(ends->fd[i], SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(ends->fd[i]);
    }
}

/* ---- steps ------------------------------------------------------------ */

/* Takes one from a counter that says how often something is to happen. */
static bool take(atomic_int *counter) {
    int have = atomic_load(counter);
    while (have > 0)
        if (atomic_compare_exchange_weak(counter, &have, have - 1))
            return true;
    return false;
}

/* One step of what an end has sent; false: the pair is to be closed. */
static bool pass_on(proxy *between, pair *ends, int from, bool *hard) {
    char bytes[65536];
    bool reply = from == SERVER;
    int to = ends->fd[reply ? CLIENT : SERVER];
    int chunk = atomic_load(reply ? &between->reply_chunk
                                  : &between->request_chunk);
    size_t most = chunk > 0 && (size_t)chunk < sizeof bytes ? (size_t)chunk
                                                            : sizeof bytes;
    ssize_t length = recv(ends->fd[from], bytes, most, 0);
    if (length <= 0)
        return length < 0 && errno == EINTR;
    if (ends->lost[from])
        return true;
    const char *only = atomic_load(&between->only);
    if (!reply)
        ends->meant = !only || memmem(bytes, (size_t)length, only,
                                      strlen(only));
    if (!ends->meant)
        return write_all(to, bytes, (size_t)length);
    size_t part = (size_t)length * (size_t)atomic_load(&between->percent) /
        100;
    if (take(reply ? &between->lost_replies : &between->lost_requests)) {
        ends->lost[from] = true;
        ends->deaf = !reply && atomic_load(&between->deaf);
        atomic_fetch_add(&between->lost, 1);
        return write_all(to, bytes, part);
    }
    if (take(reply ? &between->cut_replies : &between->cut_requests)) {
        *hard = atomic_load(&between->cut_hard);
        atomic_fetch_add(&between->cut, 1);
        write_all(to, bytes, part);
        return false;
    }
    if (!reply && !take(&between->spared) && take(&between->answers)) {
        const char *answer = atomic_load(&between->answer);
        atomic_fetch_add(&between->answered, 1);
        return write_all(ends->fd[CLIENT], answer, strlen(answer));
    }
    return write_all(to, bytes, (size_t)length);
}

/* An end has sent something, or what it has sent may go on by now. */
static bool step(proxy *between, pair *ends, int from, bool sent, bool *hard) {
    int step_ms = atomic_load(&between->step_ms);
    if (ends->due_ns[from]) {
        if (falkor_now_ns() < ends->due_ns[from])
            return true;
        ends->due_ns[from] = 0;
    } else if (!sent) {
        return true;
    } else if (step_ms) {
        ends->due_ns[from] = falkor_now_ns() + step_ms * INT64_C(1000000);
        atomic_fetch_add(&between->delayed, 1);
        return true;
    }
    return pass_on(between, ends, from, hard);
}

static void admit(proxy *between, pairs *all) {
    int client = accept4(between->listener, NULL, NULL, SOCK_CLOEXEC);
    bool mute = atomic_load(&between->mute);
    if (client < 0)
        return;
    int server = all->count == PAIRS || mute ? -1 : dial(between->target);
    if (server < 0 && !(mute && all->count < PAIRS)) {
        close(client);
        return;
    }
    set(client, IPPROTO_TCP, TCP_NODELAY, 1);
    all->each[all->count++] = (pair){.fd = {client, server},
        .lost = {mute, false}, .meant = !atomic_load(&between->only)};
    atomic_fetch_add(mute ? &between->muted : &between->accepted, 1);
    atomic_fetch_add(&between->open, 1);
}

/* ---- the thread ------------------------------------------------------- */

/* Whom to wait for: who has something due is not asked for more. How long, in
   ms; -1: for ever. */
static int watch(const pairs *all, struct pollfd *fds) {
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < all->count * ENDS; i++) {
        const pair *one = &all->each[i / ENDS];
        int64_t due = one->due_ns[i % ENDS];
        fds[i] = (struct pollfd){.fd = due ? -1 : one->fd[i % ENDS],
            .events = one->deaf && i % ENDS == CLIENT ? 0 : POLLIN};
        if (due && due < first)
            first = due;
    }
    if (first == INT64_MAX)
        return -1;
    int64_t left = first - falkor_now_ns();
    return left > 0 ? (int)(left / 1000000) + 1 : 0;
}

static void drop_pair(proxy *between, pairs *all, size_t i, bool hard) {
    end_pair(&all->each[i], hard);
    all->each[i] = all->each[--all->count];
    atomic_fetch_sub(&between->open, 1);
}

static void *proxy_run(void *argument) {
    proxy *between = argument;
    static _Thread_local pairs all;
    struct pollfd fds[ENDS * PAIRS + 2];
    for (;;) {
        char word = 0;
        fds[0] = (struct pollfd){.fd = between->wake[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = between->listener, .events = POLLIN};
        int wait_ms = watch(&all, fds + 2);
        if (poll(fds, 2 + ENDS * all.count, wait_ms) < 0)
            continue;
        if (fds[0].revents && read(between->wake[0], &word, 1) == 1 &&
            word == 'q')
            break;
        for (size_t i = all.count; i-- > 0;) {
            const struct pollfd *ends = &fds[2 + ENDS * i];
            bool hard = word == 'h';
            if (word || !step(between, &all.each[i], CLIENT,
                              ends[CLIENT].revents, &hard) ||
                !step(between, &all.each[i], SERVER, ends[SERVER].revents,
                      &hard))
                drop_pair(between, &all, i, hard);
        }
        if (fds[1].revents)
            admit(between, &all);
    }
    while (all.count)
        drop_pair(between, &all, all.count - 1, false);
    return NULL;
}

static void tell(proxy *between, char word) {
    assert_int_equal(write(between->wake[1], &word, 1), 1);
}

void proxy_start(proxy *between, int target) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(between, 0, sizeof *between);
    between->target = target;
    between->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(between->listener >= 0);
    /* Accepted sockets inherit it: a large request comes in many portions. */
    set(between->listener, SOL_SOCKET, SO_RCVBUF, 4096);
    assert_int_equal(bind(between->listener, (struct sockaddr *)&address,
                          sizeof address), 0);
    assert_int_equal(listen(between->listener, 64), 0);
    assert_int_equal(getsockname(between->listener,
                                 (struct sockaddr *)&address, &size), 0);
    between->port = ntohs(address.sin_port);
    assert_int_equal(pipe2(between->wake, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&between->thread, NULL, proxy_run,
                                    between), 0);
}

void proxy_stop(proxy *between) {
    tell(between, 'q');
    pthread_join(between->thread, NULL);
    close(between->wake[0]);
    close(between->wake[1]);
    close(between->listener);
}

void proxy_break(proxy *between, bool hard) {
    tell(between, hard ? 'h' : 's');
}
