/* Faults, one function each: see lab.h. Knows the server's commands and the
   proxy's switches; nothing of who suffers. */
#include "lab.h"
#include "netns.h"
#include <ftw.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 20, LONGEST_MS = 300 };

static bool drops;                      /* packets can be made to get lost */
static char folder[64];                 /* what the server keeps; "": none */

static const char *const fault_texts[] = {
#define LAB_FAULT_ENTRY(name, function, text) text,
    LAB_FAULTS(LAB_FAULT_ENTRY)
#undef LAB_FAULT_ENTRY
};

/* How long something goes on: a rate, not a wait. */
static void last(lab *self, int most_ms) {
    test_pause_ms(test_below(&self->random, most_ms));
}

static int pick(lab *self, int least, int most) {
    return least + test_below(&self->random, most - least + 1);
}

/* ---- the server's own levers ------------------------------------------ */

/* The reply to a command, its %s being empty; NULL: the server is gone. hiredis
   itself would send so that SIGPIPE comes. */
static redisReply *send_command(lab *self, const char *format) {
    void *reply = NULL;
    char *text;
    int length = redisFormatCommand(&text, format, "");
    assert_true(length > 0);
    bool sent = send(self->client->fd, text, (size_t)length, MSG_NOSIGNAL) ==
        length;
    redisFreeCommand(text);
    return sent && !redisGetReply(self->client, &reply) ? reply : NULL;
}

/* A command that succeeds; its text is the caller's to free. */
static char *ask(lab *self, const char *command) {
    redisReply *reply = send_command(self, command);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command,
                 reply ? reply->str : self->client->errstr);
    char *text = strdup(reply->str ? reply->str : "");
    freeReplyObject(reply);
    assert_non_null(text);
    return text;
}

static void tell(lab *self, const char *format, int number) {
    char command[96];
    snprintf(command, sizeof command, format, number);
    free(ask(self, command));
}

/* The number behind name in INFO; 0 when it is not there. */
static long long told(lab *self, const char *command, const char *name) {
    char *text = ask(self, command), *at = strstr(text, name);
    long long number = at ? strtoll(at + strlen(name), NULL, 10) : 0;
    free(text);
    return number;
}

static long long refusals(lab *self, const char *word) {
    char name[64];
    snprintf(name, sizeof name, "errorstat_%s:count=", word);
    return told(self, "INFO errorstats", name);
}

static void connect_client(lab *self) {
    struct timeval patience = {.tv_sec = 20};
    self->client = redisConnectUnixWithTimeout(self->server.socket, patience);
    assert_non_null(self->client);
    assert_int_equal(self->client->err, 0);
    redisSetTimeout(self->client, patience);
}

static void kill_all(lab *self) {
    free(ask(self, "CLIENT KILL TYPE normal SKIPME yes"));
}

/* Some of the pool's connections, or all. */
static void kill_some(lab *self) {
    if (test_chance(&self->random, 2)) {
        kill_all(self);
        return;
    }
    char *list = ask(self, "CLIENT LIST"), *rest = list, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char command[64];
        long long id;
        if (sscanf(line, "id=%lld", &id) != 1 || !strstr(line, " laddr=127.") ||
            test_chance(&self->random, 2))
            continue;
        snprintf(command, sizeof command, "CLIENT KILL ID %lld", id);
        freeReplyObject(send_command(self, command));
    }
    free(list);
}

static void strike_kill(lab *self) {
    for (int times = pick(self, 1, 10); times--;) {
        kill_some(self);
        last(self, 30);
    }
}

static void strike_maxclients(lab *self) {
    long long before = told(self, "INFO stats", "rejected_connections:");
    tell(self, "CONFIG SET maxclients %d", pick(self, 2, CONNECTIONS - 1));
    kill_all(self);
    TEST_EVENTUALLY(told(self, "INFO stats", "rejected_connections:") >
                    before);
    last(self, LONGEST_MS);
    free(ask(self, "CONFIG SET maxclients 10000"));
}

/* Who is in stays in. */
static void strike_password(lab *self) {
    long long before = refusals(self, "NOAUTH");
    free(ask(self, "CONFIG SET requirepass secret"));
    kill_all(self);
    TEST_EVENTUALLY(refusals(self, "NOAUTH") > before);
    last(self, LONGEST_MS);
    free(ask(self, "CONFIG SET requirepass %s"));
}

static void strike_replica(lab *self) {
    long long before = refusals(self, "READONLY");
    free(ask(self, "REPLICAOF 127.0.0.1 1"));
    TEST_EVENTUALLY(refusals(self, "READONLY") > before);
    last(self, LONGEST_MS);
    free(ask(self, "REPLICAOF NO ONE"));
}

static void strike_stop(lab *self) {
    serving_signal(&self->server, SIGSTOP);
    serving_await_state(&self->server, 'T');
    test_pause_ms(pick(self, 50, 2 * LONGEST_MS));
    serving_signal(&self->server, SIGCONT);
}

/* ---- the server's begin and end --------------------------------------- */

/* On the port that it had, if any, with what it kept. */
static void start_server(lab *self) {
    char port[16];
    const char *arguments[] = {"--appendonly", "yes", "--appendfsync",
        "always", "--auto-aof-rewrite-percentage", "0",
        self->server.port ? "--port" : NULL, port, NULL};
    snprintf(port, sizeof port, "%d", self->server.port);
    setenv("FALKOR_SERVER_DIR", folder, 1);
    serving_start(&self->server, arguments);
    unsetenv("FALKOR_SERVER_DIR");
    connect_client(self);
}

static void start_again(lab *self) {
    redisFree(self->client);
    serving_await_state(&self->server, 'X');
    serving_stop(&self->server);
    last(self, LONGEST_MS);             /* nobody there, for a while */
    start_server(self);
}

static void strike_crash(lab *self) {
    serving_signal(&self->server, SIGKILL);
    start_again(self);
}

/* Whether no query runs or waits to. */
static bool is_quiet(lab *self) {
    redisReply *reply = send_command(self,
        "GRAPH.INFO RunningQueries WaitingQueries");
    bool quiet = reply && reply->type == REDIS_REPLY_ARRAY &&
        reply->elements == 4 && reply->element[1]->elements == 0 &&
        reply->element[3]->elements == 0;
    freeReplyObject(reply);
    return quiet;
}

static bool is_alive(lab *self) {
    redisReply *reply = send_command(self, "PING");
    freeReplyObject(reply);
    return reply != NULL;
}

/* Valkey 8.0 ends itself when a module's thread writes during a pause. So the
   requests are kept back while those before them end; and where one slips
   through, that was a crash, and the pause is still to come. */
static void strike_pause(lab *self) {
    int ms = pick(self, 50, LONGEST_MS);
    for (bool paused = false; !paused;) {
        atomic_store(&self->between.step_ms, 200);
        TEST_EVENTUALLY(is_quiet(self));
        tell(self, test_chance(&self->random, 2) ? "CLIENT PAUSE %d ALL"
                                                 : "CLIENT PAUSE %d WRITE", ms);
        atomic_store(&self->between.step_ms, 0);
        test_pause_ms(ms);
        paused = is_alive(self);
        if (!paused)
            start_again(self);
    }
}

/* ---- the network ------------------------------------------------------ */

static void calm(lab *self) {
    proxy *p = &self->between;
    atomic_store(&p->step_ms, 0);
    atomic_store(&p->reply_chunk, 0);
    atomic_store(&p->request_chunk, 0);
    atomic_store(&p->cut_replies, 0);
    atomic_store(&p->cut_requests, 0);
    atomic_store(&p->lost_replies, 0);
    atomic_store(&p->lost_requests, 0);
    atomic_store(&p->mute, false);
}

/* Until the proxy has done it once more than before, and a little longer. */
static void await_more(lab *self, atomic_int *count, int before) {
    TEST_EVENTUALLY(atomic_load(count) > before);
    last(self, LONGEST_MS);
}

static void slow_down(lab *self, int step_ms, int chunk) {
    int before = atomic_load(&self->between.delayed);
    atomic_store(&self->between.reply_chunk, chunk);
    atomic_store(&self->between.request_chunk, chunk);
    atomic_store(&self->between.step_ms, step_ms);
    await_more(self, &self->between.delayed, before);
}

static void strike_delay(lab *self) {
    slow_down(self, pick(self, 2, 150), 0);
}

static void strike_drip(lab *self) {
    slow_down(self, 1, pick(self, 1, 3));
}

/* Nothing of it arrives, all of it, or a part. */
static void cut(lab *self, atomic_int *what, bool hard) {
    int before = atomic_load(&self->between.cut);
    int percent = test_chance(&self->random, 3) ? 0
        : test_chance(&self->random, 2) ? 100 : pick(self, 1, 99);
    atomic_store(&self->between.percent, percent);
    atomic_store(&self->between.cut_hard, hard);
    atomic_store(what, pick(self, 1, 2 * CONNECTIONS));
    await_more(self, &self->between.cut, before);
}

static void strike_cut_request(lab *self) {
    cut(self, &self->between.cut_requests, false);
}

static void strike_cut_reply(lab *self) {
    cut(self, &self->between.cut_replies, false);
}

static void strike_reset(lab *self) {
    proxy_break(&self->between, true);
    last(self, 100);
    cut(self, test_chance(&self->random, 2) ? &self->between.cut_requests
                                            : &self->between.cut_replies, true);
}

static void strike_swallow(lab *self) {
    int before = atomic_load(&self->between.lost);
    atomic_store(test_chance(&self->random, 2) ? &self->between.lost_requests
                                               : &self->between.lost_replies,
                 pick(self, 1, 2 * CONNECTIONS));
    await_more(self, &self->between.lost, before);
}

static void strike_mute(lab *self) {
    int before = atomic_load(&self->between.muted);
    atomic_store(&self->between.mute, true);
    proxy_break(&self->between, false);
    await_more(self, &self->between.muted, before);
}

static void strike_drop(lab *self) {
    assert_true(netns_drop(true));
    test_pause_ms(pick(self, 50, 2 * LONGEST_MS));
    assert_true(netns_drop(false));
}

/* ---- the lab ---------------------------------------------------------- */

void lab_enter(void) {
    const char *why;
    drops = netns_enter(&why);
    if (!drops)
        printf("note: no packets are dropped, for there is no network "
               "namespace to be had: %s\n", why);
}

static int remove_one(const char *path, const struct stat *about, int kind,
                      struct FTW *where) {
    (void)about, (void)kind, (void)where;
    return remove(path);
}

/* Also at the end of a test that failed. */
static void remove_folder(void) {
    if (*folder)
        nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    *folder = '\0';
}

void lab_start(lab *self, uint64_t seed) {
    memset(self, 0, sizeof *self);
    self->random = seed;
    self->next = LAB_FAULT_COUNT;
    strcpy(folder, "/tmp/falkor-lab-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(atexit(remove_folder), 0);
    for (int i = 0; i < LAB_FAULT_COUNT; i++)
        self->order[i] = (lab_fault)i;
    start_server(self);
    proxy_start(&self->between, self->server.port);
}

void lab_stop(lab *self) {
    proxy_stop(&self->between);
    redisFree(self->client);
    serving_stop(&self->server);
    remove_folder();
}

lab_fault lab_next(lab *self) {
    if (self->next == LAB_FAULT_COUNT) {
        for (int i = LAB_FAULT_COUNT; i > 1; i--) {
            int other = test_below(&self->random, i);
            lab_fault moved = self->order[other];
            self->order[other] = self->order[i - 1];
            self->order[i - 1] = moved;
        }
        self->next = 0;
        self->rounds++;
    }
    return self->order[self->next++];
}

void lab_strike(lab *self, lab_fault fault) {
    static void (*const strikes[])(lab *) = {
#define LAB_FAULT_ENTRY(name, function, text) strike_##function,
        LAB_FAULTS(LAB_FAULT_ENTRY)
#undef LAB_FAULT_ENTRY
    };
    if (fault == LAB_DROP && !drops)
        return;
    if (test_chance(&self->random, 4))  /* a slow network beneath it */
        atomic_store(&self->between.step_ms, pick(self, 1, 20));
    strikes[fault](self);
    calm(self);
    if (!is_alive(self))
        fail_msg("the server died of %s", fault_texts[fault]);
    self->struck[fault]++;
}

int lab_least(const lab *self) {
    int least = INT32_MAX;
    for (int i = 0; i < LAB_FAULT_COUNT; i++)
        if ((i != LAB_DROP || drops) && self->struck[i] < least)
            least = self->struck[i];
    return least;
}

void lab_print(const lab *self) {
    printf("count: faults:");
    for (int i = 0; i < LAB_FAULT_COUNT; i++)
        printf(" %s %d%s", fault_texts[i], self->struck[i],
               i + 1 < LAB_FAULT_COUNT ? "," : "\n");
}
