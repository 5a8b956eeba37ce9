/* What the pool tells: events, the ready logger, error messages, statistics;
   and that no secret is among it. */
#include "fake.h"
#include "../snapshot.h"
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static fake f;
static falkor_pool *pool;

/* ---- helpers ---------------------------------------------------------- */

static falkor_stats stats(void) {
    falkor_stats now;
    falkor_pool_stats(pool, &now);
    return now;
}

static falkor_options begin(int min_size, int max_size) {
    fake_begin(&f);
    falkor_options options = fake_options(&f);
    options.min_size = min_size;
    options.max_size = max_size;
    return options;
}

static void create(falkor_options options) {
    falkor_error error;
    if (falkor_pool_create(&options, &pool, &error))
        fail_msg("create: %s", error.message);
    f.pool = pool;
}

static void open_pool(falkor_options options) {
    falkor_error error;
    create(options);
    if (falkor_pool_open(pool, &error))
        fail_msg("open: %s", error.message);
}

static void end(void) {
    falkor_pool_free(pool);
    pool = NULL;
    fake_end(&f);
    test_no_complaints();
}

static falkor_conn *take(void) {
    falkor_error error;
    falkor_conn *conn = NULL;
    if (falkor_acquire_within(pool, 5000, &conn, &error))
        fail_msg("acquire: %s", error.message);
    fake_own(conn);
    return conn;
}

static void give(falkor_conn *conn) {
    fake_disown(conn);
    assert_int_equal(falkor_release(conn), FALKOR_OK);
}

static fake_event event_of(const char *name) {
    fake_event event;
    memset(&event, 0, sizeof event);
    if (!fake_event_found(&f, name, &event))
        fail_msg("no event %s", name);
    return event;
}

/* ---- events ----------------------------------------------------------- */

/* D5 */
static void test_events_of_a_quiet_life(void **state) {
    (void)state;
    falkor_options options = begin(1, 7);
    options.pool_timeout_ms = 1234;
    open_pool(options);
    fake_event event = event_of("connection_pool_initialized");
    assert_int_equal(event.level, FALKOR_EVENT_INFO);
    assert_int_equal(event.status, FALKOR_OK);
    assert_string_equal(event.message, "max_size=7 timeout_ms=1234");
    give(take());
    assert_int_equal(f.event_count, 1);
    assert_int_equal(falkor_pool_close(pool, -1), FALKOR_OK);
    assert_int_equal(falkor_pool_close(pool, -1), FALKOR_OK);
    assert_int_equal(f.event_count, 3);
    assert_string_equal(f.events[1].name, "closing_connection_pool");
    assert_int_equal(f.events[1].level, FALKOR_EVENT_INFO);
    assert_string_equal(f.events[1].message, "");
    assert_string_equal(f.events[2].name, "connection_pool_closed");
    assert_int_equal(f.events[2].level, FALKOR_EVENT_INFO);
    end();
}

static void test_events_without_a_callback(void **state) {
    (void)state;
    falkor_options options = begin(1, 1);
    options.on_event = NULL;
    open_pool(options);
    falkor_conn *conn = take();
    falkor_conn_mark_broken(conn);
    give(conn);
    end();
    assert_int_equal(f.event_count, 0);
}

static void test_events_of_a_forced_close(void **state) {
    (void)state;
    open_pool(begin(1, 2));
    falkor_conn *held = take();
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    fake_event event = event_of("close_error");
    assert_int_equal(event.level, FALKOR_EVENT_WARNING);
    assert_int_equal(event.status, FALKOR_ERR_TIMEOUT);
    assert_string_equal(event.message,
        "error=\"connections not back in time, cut where in use: 1\"");
    assert_int_equal(fake_event_count(&f, "connection_pool_closed"), 1);
    give(held);
    end();
}

static void test_events_of_a_failed_connection(void **state) {
    (void)state;
    falkor_conn *conn;
    open_pool(begin(1, 2));
    falkor_conn *held = take();
    f.open_message = "say \"no\" \\ never\n";
    fake_fail(&f, FAKE_OPEN, 1);
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_ERR_CONNECT);
    fake_event event = event_of("connection_failed");
    assert_int_equal(event.level, FALKOR_EVENT_WARNING);
    assert_int_equal(event.status, FALKOR_ERR_CONNECT);
    assert_int_equal(event.delay_ms, 0);
    assert_string_equal(event.message,
        "delay_ms=0 error=\"say \\\"no\\\" \\\\ never \"");
    give(held);
    end();
}

/* Opening goes through the one loop that retries. */
/* C6, D5 */
static void test_events_of_retries(void **state) {
    (void)state;
    falkor_error error;
    falkor_options options = begin(1, 1);
    options.max_retries = 2;
    options.retry_initial_delay_ms = 3;
    options.retry_max_delay_ms = 5;
    options.retry_jitter = -1;
    create(options);
    fake_fail(&f, FAKE_OPEN, 100);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    assert_int_equal(fake_event_count(&f, "query_retry"), 2);
    fake_event event = event_of("query_retry");
    assert_int_equal(event.level, FALKOR_EVENT_WARNING);
    assert_int_equal(event.status, FALKOR_ERR_CONNECT);
    assert_int_equal(event.attempt, 2);
    assert_int_equal(event.delay_ms, 5);
    assert_string_equal(event.message, "attempt=2 max_retries=2 delay_ms=5 "
                        "error=\"refused by the fake\"");
    event = event_of("query_failed_after_retries");
    assert_int_equal(event.level, FALKOR_EVENT_ERROR);
    assert_int_equal(event.status, FALKOR_ERR_CONNECT);
    assert_int_equal(event.attempt, 3);
    test_assert_has(event.message, "attempts=3 error=\"refused by the fake");
    assert_int_equal(error.attempts, 3);
    end();
}

static int high_events(void) {
    return fake_event_count(&f, "high_pool_utilization");
}

/* Once above 80 %, again only after 60 % or less. */
/* A17, D5 */
static void test_events_of_high_utilization(void **state) {
    (void)state;
    falkor_conn *held[10];
    open_pool(begin(10, 10));
    for (int i = 0; i < 8; i++)
        held[i] = take();
    assert_int_equal(high_events(), 0);         /* 80 % is not above */
    held[8] = take();
    assert_int_equal(high_events(), 1);
    fake_event event = event_of("high_pool_utilization");
    assert_int_equal(event.level, FALKOR_EVENT_WARNING);
    assert_string_equal(event.message,
                        "utilization_percent=90 active=9 max=10");
    held[9] = take();
    give(held[9]);
    give(held[8]);
    give(held[7]);
    for (int i = 7; i < 10; i++)                /* from 70 % up: not again */
        held[i] = take();
    assert_int_equal(high_events(), 1);
    for (int i = 5; i < 10; i++)
        give(held[i]);
    held[5] = take();                           /* 60 % */
    for (int i = 6; i < 10; i++)
        held[i] = take();
    assert_int_equal(high_events(), 2);
    for (int i = 0; i < 10; i++)
        give(held[i]);
    end();
}

/* The same when the pool grows to it: dialled connections are in use too. */
/* A17 */
static void test_events_of_high_utilization_while_dialling(void **state) {
    (void)state;
    falkor_conn *held[5];
    open_pool(begin(1, 5));
    for (int i = 0; i < 4; i++)
        held[i] = take();
    assert_int_equal(high_events(), 0);
    held[4] = take();
    assert_int_equal(stats().active, 5);
    assert_int_equal(high_events(), 1);
    for (int i = 0; i < 5; i++)
        give(held[i]);
    end();
}

static atomic_int turn;

static void *use_once(void *argument) {
    int64_t until = test_now_ms() + TEST_PATIENCE_MS;
    int mine = *(int *)argument;
    while (atomic_load(&turn) != mine && test_now_ms() < until)
        test_pause_ms(1);
    falkor_conn *conn;
    TEST_CHECK(falkor_acquire(pool, &conn, NULL) == FALKOR_OK);
    TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    atomic_fetch_add(&turn, 1);
    while (atomic_load(&turn) < 20 && test_now_ms() < until)
        test_pause_ms(1);               /* threads at one time have different
                                           pockets */
    return NULL;
}

/* What many have left in their pockets is not in use. */
/* A17 */
static void test_events_of_high_utilization_not_of_pockets(void **state) {
    (void)state;
    int turns[20];
    falkor_options options = begin(5, 5);
    f.driver.check = NULL;              /* the fake's asks for the statistics */
    f.driver.reset = NULL;
    open_pool(options);
    atomic_store(&turn, 0);
    for (int i = 0; i < 20; i++)
        turns[i] = i;
    test_threads threads = test_start(use_once, turns, sizeof *turns, 20);
    test_join(&threads);
    assert_int_equal(high_events(), 0);
    end();
}

/* What a callback may do: ask for the statistics, for no lock is held then,
   whoever calls; and what it reads is of this moment. */
typedef struct curious { atomic_int asked; int active_when_high; } curious;

static void ask_stats(void *ctx, const falkor_event *event) {
    curious *self = ctx;
    falkor_stats now = stats();
    atomic_fetch_add(&self->asked, 1);
    if (strcmp(event->name, "high_pool_utilization") == 0)
        self->active_when_high = now.active;
}

/* A25, M12 */
static void test_events_callback_may_ask_the_pool(void **state) {
    (void)state;
    curious self = {0};
    falkor_conn *held[4], *conn;
    falkor_options options = begin(1, 4);
    options.on_event = ask_stats;
    options.event_ctx = &self;
    options.leak_after_ms = 20;
    options.retry_initial_delay_ms = 1;
    open_pool(options);                 /* initialized */
    for (int i = 0; i < 3; i++)
        held[i] = take();
    fake_fail(&f, FAKE_OPEN, 1);
    assert_int_equal(falkor_acquire(pool, &conn, NULL), FALKOR_ERR_CONNECT);
    held[3] = take();                   /* high utilization, then leaks */
    TEST_EVENTUALLY(atomic_load(&self.asked) >= 7);
    falkor_pool_flush(pool);
    for (int i = 0; i < 4; i++)
        give(held[i]);                  /* recycled */
    TEST_EVENTUALLY(stats().idle == 1);
    assert_int_equal(falkor_pool_close(pool, 1000), FALKOR_OK);
    assert_int_equal(self.active_when_high, 4);
    assert_true(atomic_load(&self.asked) >= 13);
    end();
}

/* ---- every kind of event ---------------------------------------------- */

/* As pool.h lists them: name, level, and the keys with a space between. */
typedef struct listed {
    char name[40], level[10], keys[100];
    atomic_int told;
} listed;
static listed kinds[20];
static int kind_count;

static void read_kind(char *line) {
    bool more = strncmp(line, "      ", 6) == 0;    /* keys of the last one */
    listed *one = &kinds[more ? kind_count - 1 : kind_count++];
    assert_true(kind_count > 0 && kind_count <= 20);
    char *left, *word = strtok_r(line, " */\n", &left);
    if (!more) {
        memset(one, 0, sizeof *one);
        snprintf(one->name, sizeof one->name, "%s", word);
        word = strtok_r(NULL, " */\n", &left);
        snprintf(one->level, sizeof one->level, "%s", word);
        word = strtok_r(NULL, " */\n", &left);
    }
    for (; word; word = strtok_r(NULL, " */\n", &left)) {
        strcat(one->keys, *one->keys ? " " : "");
        strcat(one->keys, word);
    }
}

static void read_kinds(void) {
    FILE *header = fopen("pool.h", "r");
    char line[200];
    assert_non_null(header);            /* tests run in the project's folder */
    kind_count = 0;
    while (fgets(line, sizeof line, header)
           && !strstr(line, "Names and the keys of their message:"))
        continue;
    for (bool last = false; !last; ) {
        assert_non_null(fgets(line, sizeof line, header));
        last = strstr(line, "*/") != NULL;
        read_kind(line);
    }
    fclose(header);
    assert_int_equal(kind_count, 16);
}

static listed *kind_named(const char *name) {
    for (int i = 0; i < kind_count; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static int told(const char *name) {
    return atomic_load(&kind_named(name)->told);
}

/* The keys of a message, as pool.h has them. */
static void keys_of(const char *message, char *keys) {
    const char *word = message;
    bool quoted = false;
    for (const char *at = message; *at; at++) {
        if (quoted && *at == '\\')
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (!quoted && *at == '=')
            keys += sprintf(keys, "%.*s ", (int)(at - word), word);
        else if (!quoted && *at == ' ')
            word = at + 1;
    }
    keys[0] = '\0';
}

static void check_event(const falkor_event *event, const listed *kind) {
    static const char *const levels[] = {"info", "warning", "error"};
    char keys[800], room[640], *left, *end;
    keys_of(event->message, keys);
    if ((end = strrchr(keys, ' ')))
        *end = '\0';
    if (strcmp(keys, kind->keys) != 0)
        TEST_COMPLAIN("%s has the keys \"%s\", not \"%s\"", event->name, keys,
                      kind->keys);
    for (char *key = strtok_r(keys, " ", &left); key;
         key = strtok_r(NULL, " ", &left))
        TEST_CHECK(falkor_event_field(event, key, room, sizeof room) && *room);
    TEST_CHECK(!falkor_event_field(event, "key", room, sizeof room));
    TEST_CHECK(strcmp(levels[event->level], kind->level) == 0);
    TEST_CHECK(event->pool && strcmp(event->pool, "two words") == 0);
    int64_t now = falkor__unix_ms();
    TEST_CHECK(event->unix_ms <= now && event->unix_ms > now - 60000);
}

/* What a callback may do with the pool, which may be not there yet, shut, or
   without a free connection. */
static void use_pool(void) {
    falkor_conn *conn;
    falkor_status status = falkor_acquire_within(pool, 20, &conn, NULL);
    if (status == FALKOR_OK)
        TEST_CHECK(falkor_release(conn) == FALKOR_OK);
    (void)stats();
}

static void hear(void *ctx, const falkor_event *event) {
    static _Thread_local bool hearing;
    listed *kind = kind_named(event->name);
    bool uses_pool = *(bool *)ctx;
    if (hearing)
        TEST_COMPLAIN("%s was told inside a callback", event->name);
    if (!kind) {
        TEST_COMPLAIN("pool.h does not list %s", event->name);
        return;
    }
    hearing = true;
    check_event(event, kind);
    if (uses_pool)
        use_pool();
    hearing = false;
    atomic_fetch_add(&kind->told, 1);
}

/* For ever, where the slots that it wants are its own thread's to give. */
static void want_one(void *ctx, const falkor_event *event) {
    falkor_conn *conn;
    if (strcmp(event->name, "connection_recycled") != 0)
        return;
    if (TEST_CHECK(!falkor_acquire_within(pool, -1, &conn, NULL)))
        TEST_CHECK(!falkor_release(conn));
    ++*(int *)ctx;
}

/* D5, M12 */
static void test_events_callback_may_use_what_a_lever_closes(void **state) {
    (void)state;
    int told = 0;
    falkor_options options = begin(2, 2);
    alarm(2 * TEST_PATIENCE_MS / 1000);
    options.on_event = want_one;
    options.event_ctx = &told;
    open_pool(options);
    TEST_EVENTUALLY(stats().idle == 2);
    assert_int_equal(falkor_pool_flush(pool), FALKOR_OK);
    TEST_EVENTUALLY(stats().idle == 2);
    assert_int_equal(falkor_pool_drop_idle(pool), FALKOR_OK);
    assert_int_equal(told, 4);
    end();
    alarm(0);
}

/* A pool of a primary that nobody knows. */
static void lose_sentinels(falkor_options options) {
    falkor_pool *lost;
    options.driver = NULL;
    options.driver_ctx = NULL;
    options.sentinels = "127.0.0.1:1";
    options.master_name = "nobody";
    options.max_retries = -1;
    assert_int_equal(falkor_pool_create(&options, &lost, NULL), FALKOR_OK);
    assert_int_equal(falkor_pool_open(lost, NULL), FALKOR_ERR_CONNECT);
    falkor_pool_free(lost);
}

/* The life of a pool to which everything happens. */
static void live_through_all(bool uses_pool) {
    falkor_options options = begin(1, 2), from_env;
    read_kinds();
    alarm(2 * TEST_PATIENCE_MS / 1000); /* a deadlock ends, too */
    options.on_event = hear;
    options.event_ctx = &uses_pool;
    options.name = "two words";
    options.max_retries = 1;
    options.retry_initial_delay_ms = 1;
    options.breaker_failures = 2;
    options.breaker_max_delay_ms = 5;
    options.leak_after_ms = 1;
    from_env = options;
    setenv("FALKORDB_POOL_SIZE", "3", 1);
    assert_int_equal(falkor_options_from_env(&from_env, NULL), FALKOR_OK);
    unsetenv("FALKORDB_POOL_SIZE");
    create(options);
    fake_fail(&f, FAKE_OPEN, 2);
    assert_int_equal(falkor_pool_open(pool, NULL), FALKOR_ERR_CONNECT);
    assert_int_equal(falkor_pool_open(pool, NULL), FALKOR_OK);
    falkor_conn *held[] = {take(), take()};     /* high utilization */
    TEST_EVENTUALLY(told("connection_leak") >= 2);
    falkor_conn_mark_broken(held[0]);
    give(held[0]);
    give(held[1]);
    fake_fail(&f, FAKE_OPEN, 1000000);
    falkor_pool_flush(pool);
    TEST_EVENTUALLY(told("circuit_half_open") >= 2);
    fake_fail(&f, FAKE_OPEN, 0);
    TEST_EVENTUALLY(told("circuit_closed") >= 1);
    held[0] = take();
    assert_int_equal(falkor_pool_close(pool, 0), FALKOR_ERR_TIMEOUT);
    give(held[0]);
    lose_sentinels(options);
    end();
    alarm(0);
    for (int i = 0; i < kind_count; i++)
        if (!told(kinds[i].name) &&     /* test_sentinel.c has it */
            strcmp(kinds[i].name, "primary_changed") != 0)
            fail_msg("no event %s", kinds[i].name);
}

/* D5 */
static void test_events_have_the_listed_keys(void **state) {
    (void)state;
    live_through_all(false);
}

/* Whatever has happened: no lock is held, and no event is told inside. */
/* A25, D5, M12 */
static void test_events_callback_may_use_the_pool(void **state) {
    (void)state;
    live_through_all(true);
}

static falkor_event last_event;

static void keep_pool(void *ctx, const falkor_event *event) {
    snprintf(ctx, 64, "%s", event->pool ? event->pool : "(NULL)");
    last_event = *event;
}

/* D5 */
static void test_events_have_their_pool(void **state) {
    (void)state;
    static const char *const rows[][3] = {{NULL, NULL, "(NULL)"},
        {NULL, "client", "client"}, {"pool", "client", "pool"},
        {"a \"b\"", NULL, "a \"b\""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char heard[64] = "";
        falkor_options options = begin(1, 1);
        options.on_event = keep_pool;
        options.event_ctx = heard;
        options.name = rows[i][0];
        options.client_name = rows[i][1];
        int64_t before = falkor__unix_ms();
        open_pool(options);
        assert_string_equal(heard, rows[i][2]);
        assert_in_range(last_event.unix_ms, before, falkor__unix_ms());
        end();
    }
}

/* ---- the keys of a message -------------------------------------------- */

static void expect_field(const char *message, const char *key, size_t size,
                         const char *expected) {
    char room[64];
    falkor_event event = {.name = "e", .message = message};
    memset(room, '#', sizeof room);
    if (falkor_event_field(&event, key, room, size) != (expected != NULL))
        fail_msg("%s in %s", key, message);
    if (size > 0)
        assert_string_equal(room, expected ? expected : "");
    assert_int_equal(room[size], '#');
}

/* D5 */
static void test_events_field(void **state) {
    (void)state;
    const char *message = "a=1 bb=\"x a=2 \\\"q\\\" \\\\\" a=3 n=-7 c= d=\"\" "
                          "e=back\\slash f=\"open \\";
    expect_field(message, "a", 32, "1");
    expect_field(message, "bb", 32, "x a=2 \"q\" \\");
    expect_field(message, "b", 32, NULL);
    expect_field(message, "bbb", 32, NULL);
    expect_field(message, "n", 32, "-7");
    expect_field(message, "c", 32, "");
    expect_field(message, "d", 32, "");
    expect_field(message, "e", 32, "back\\slash");
    expect_field(message, "f", 32, "open \\");
    expect_field(message, "", 32, NULL);
    expect_field(message, "q", 32, NULL);
    expect_field("", "a", 32, NULL);
    expect_field("word a=1", "a", 32, "1");
    expect_field("word a=1", "word", 32, NULL);
    expect_field("a=\"unclosed", "a", 32, "unclosed");
    expect_field("a=\"", "a", 32, "");
    expect_field("a=", "a", 32, "");
    expect_field("a=b=c", "a", 32, "b=c");
}

/* D5 */
static void test_events_field_cuts_whole_characters(void **state) {
    (void)state;
    const char *message = "a=\"x\\\"\xE2\x82\xAC\xF0\x9F\x90\xA6\" b=1";
    expect_field(message, "a", 0, "");
    expect_field(message, "a", 1, "");
    expect_field(message, "a", 2, "x");
    expect_field(message, "a", 3, "x\"");
    expect_field(message, "a", 5, "x\"");
    expect_field(message, "a", 6, "x\"\xE2\x82\xAC");
    expect_field(message, "a", 9, "x\"\xE2\x82\xAC");
    expect_field(message, "a", 10, "x\"\xE2\x82\xAC\xF0\x9F\x90\xA6");
    expect_field(message, "b", 2, "1");
    falkor_event event = {.name = "e", .message = message};
    assert_true(falkor_event_field(&event, "b", NULL, 0));
    assert_false(falkor_event_field(&event, "c", NULL, 0));
}

/* What the pool quotes comes back as it was. */
static void test_events_field_undoes_quote(void **state) {
    (void)state;
    uint64_t seed = test_seed();
    for (int round = 0; round < 2000; round++) {
        char text[20], quoted[64], message[100], room[64];
        static const char letters[] = "a \"\\= ";
        int length = test_below(&seed, 19);
        for (int i = 0; i < length; i++)
            text[i] = letters[test_below(&seed, 6)];
        text[length] = '\0';
        snprintf(message, sizeof message, "k=1 error=%s delay_ms=5",
                 falkor__quote(quoted, sizeof quoted, text));
        falkor_event event = {.name = "e", .message = message};
        assert_true(falkor_event_field(&event, "error", room, sizeof room));
        assert_string_equal(room, text);
        assert_true(falkor_event_field(&event, "delay_ms", room, sizeof room));
        assert_string_equal(room, "5");
    }
}

/* ---- the ready logger ------------------------------------------------- */

static int saved_stderr, pipe_ends[2];

static void capture_begin(void) {
    fflush(stderr);
    assert_int_equal(pipe(pipe_ends), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(pipe_ends[1], STDERR_FILENO), STDERR_FILENO);
    close(pipe_ends[1]);
}

static size_t capture_end(char *text, size_t size) {
    size_t length = 0;
    ssize_t got;
    dup2(saved_stderr, STDERR_FILENO);          /* closes the pipe's end */
    close(saved_stderr);
    while ((got = read(pipe_ends[0], text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    close(pipe_ends[0]);
    return length;
}

static void log_one(falkor_event event, char *text, size_t size) {
    capture_begin();
    falkor_log_event(NULL, &event);
    capture_end(text, size);
}

static void test_events_logger_prints_one_line(void **state) {
    (void)state;
    char text[4096];
    log_one((falkor_event){.level = FALKOR_EVENT_WARNING,
        .name = "query_retry", .message = "attempt=1 error=\"a b\""}, text,
        sizeof text);
    assert_string_equal(text,
        "level=warning event=query_retry attempt=1 error=\"a b\"\n");
    log_one((falkor_event){.name = "connection_pool_closed", .message = ""},
            text, sizeof text);
    assert_string_equal(text, "level=info event=connection_pool_closed\n");
    log_one((falkor_event){.level = FALKOR_EVENT_ERROR, .name = "e",
        .message = "a=1"}, text, sizeof text);
    assert_string_equal(text, "level=error event=e a=1\n");
    log_one((falkor_event){.level = (falkor_event_level)9, .name = "e",
        .message = "a=1"}, text, sizeof text);
    assert_string_equal(text, "level=unknown event=e a=1\n");
}

/* D5 */
static void test_events_logger_names_the_pool(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"main", "main"},
        {"two words", "\"two words\""}, {"a\"b", "\"a\\\"b\""},
        {"a\\b", "\"a\\\\b\""}, {"a\nb", "\"a b\""}, {"", "\"\""},
        {"Zo\xC3\xAB", "Zo\xC3\xAB"}};
    char text[4096], wanted[200], longest[600];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        log_one((falkor_event){.name = "e", .message = "a=1",
                               .pool = rows[i][0]}, text, sizeof text);
        snprintf(wanted, sizeof wanted, "level=info event=e pool=%s a=1\n",
                 rows[i][1]);
        assert_string_equal(text, wanted);
    }
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    log_one((falkor_event){.name = "e", .message = "", .pool = longest}, text,
            sizeof text);
    test_assert_has(text, "level=info event=e pool=\"xxx");
    assert_string_equal(text + strlen(text) - 3, "x\"\n");
}

static void test_events_logger_cuts_but_ends_the_line(void **state) {
    (void)state;
    char text[8192], message[3000];
    memset(message, 'm', sizeof message - 1);
    message[sizeof message - 1] = '\0';
    log_one((falkor_event){.name = "e", .message = message}, text,
            sizeof text);
    size_t length = strlen(text);
    assert_true(length > 900 && length < sizeof message);
    assert_ptr_equal(strchr(text, '\n'), text + length - 1);
}

enum { LOG_THREADS = 8, LOG_LINES = 60 };

static void *log_many(void *argument) {
    char message[200];
    int letter = *(int *)argument;
    memset(message, letter, sizeof message - 1);
    message[sizeof message - 1] = '\0';
    for (int i = 0; i < LOG_LINES; i++)
        falkor_log_event(NULL, &(falkor_event){.name = "e",
                                               .message = message});
    return NULL;
}

/* Lines of several threads do not mix. */
static void *drain(void *argument) {
    char **at = argument, *text = *at;
    ssize_t got;
    while ((got = read(pipe_ends[0], text, 65536)) > 0)
        text += got;
    *text = '\0';
    return NULL;
}

static void test_events_logger_lines_do_not_mix(void **state) {
    (void)state;
    int letters[LOG_THREADS];
    for (int i = 0; i < LOG_THREADS; i++)
        letters[i] = 'a' + i;
    char *all = malloc(1 << 20);
    assert_non_null(all);
    capture_begin();
    test_threads reader = test_start(drain, &all, sizeof all, 1);
    test_threads threads = test_start(log_many, letters, sizeof *letters,
                                      LOG_THREADS);
    test_join(&threads);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    test_join(&reader);
    close(pipe_ends[0]);
    int lines = 0;
    for (char *line = all, *next; *line; line = next + 1, lines++) {
        next = strchr(line, '\n');
        assert_non_null(next);
        assert_memory_equal(line, "level=info event=e ", 19);
        assert_int_equal(next - line, 19 + 199);
        for (char *p = line + 19; p < next; p++)
            assert_int_equal(*p, line[19]);
    }
    assert_int_equal(lines, LOG_THREADS * LOG_LINES);
    free(all);
}

/* A whole pool's life through it: one line an event. */
static void test_events_logger_with_a_pool(void **state) {
    (void)state;
    char text[8192];
    falkor_options options = begin(1, 1);
    options.on_event = falkor_log_event;
    options.event_ctx = NULL;
    capture_begin();
    open_pool(options);
    falkor_conn *conn = take();
    falkor_conn_mark_broken(conn);
    give(conn);
    falkor_pool_close(pool, -1);
    end();
    capture_end(text, sizeof text);
    test_assert_has(text, "level=info event=connection_pool_initialized "
                          "max_size=1 timeout_ms=10000\n");
    test_assert_has(text, "level=info event=connection_recycled "
                          "reason=broken\n");
    test_assert_has(text, "level=info event=closing_connection_pool\n");
    test_assert_has(text, "level=info event=connection_pool_closed\n");
}

/* ---- error messages --------------------------------------------------- */

static bool whole_utf8(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        int more = *p < 0x80 ? 0 : *p >= 0xF0 ? 3 : *p >= 0xE0 ? 2
                 : *p >= 0xC0 ? 1 : -1;
        if (more < 0)
            return false;
        for (p++; more > 0; more--, p++)
            if ((*p & 0xC0) != 0x80)
                return false;
    }
    return true;
}

static void test_events_fail_cuts_whole_characters(void **state) {
    (void)state;
    static const char *const characters[] = {"a", "\xC3\xA9",
        "\xE2\x82\xAC", "\xF0\x9F\x90\xA6"};
    falkor_error error;
    const size_t room = sizeof error.message - 1;
    for (int c = 0; c < 4; c++)
        for (size_t lead = 0; lead < 8; lead++) {
            size_t size = strlen(characters[c]);
            char text[1200];
            memset(text, '.', lead);
            size_t length = lead;
            while (length + size < 1100) {
                memcpy(text + length, characters[c], size);
                length += size;
            }
            text[length] = '\0';
            assert_int_equal(falkor__fail(&error, FALKOR_ERR_QUERY, 5, "%s",
                                          text), FALKOR_ERR_QUERY);
            size_t kept = strlen(error.message);
            assert_memory_equal(error.message, text, kept);
            assert_true(whole_utf8(error.message));
            assert_int_equal(kept, room - (room - lead) % size);
            assert_int_equal(error.sys_errno, 5);
        }
    /* What fits is not touched, up to the last byte. */
    char exact[sizeof error.message];
    memset(exact, 'x', room);
    memcpy(exact + room - 2, "\xC3\xA9", 2);
    exact[room] = '\0';
    falkor__fail(&error, FALKOR_ERR_QUERY, 0, "%s", exact);
    assert_string_equal(error.message, exact);
}

static void test_events_fail_replaces_control_bytes(void **state) {
    (void)state;
    falkor_error error;
    falkor__fail(&error, FALKOR_ERR_QUERY, 0, "%s",
                 "a\nb\r\tc\x1B[31md\x01" "e");
    assert_string_equal(error.message, "a b  c [31md e");
    assert_int_equal(error.status, FALKOR_ERR_QUERY);
    assert_int_equal(falkor__fail(NULL, FALKOR_ERR_IO, 0, "%d", 1),
                     FALKOR_ERR_IO);
    /* Bytes that are no UTF-8 do no harm, cut or not. */
    char odd[1200];
    for (int byte = 0x80; byte < 0x100; byte++) {
        memset(odd, byte, sizeof odd - 1);
        odd[sizeof odd - 1] = '\0';
        falkor__fail(&error, FALKOR_ERR_QUERY, 0, "%s", odd);
        assert_true(strlen(error.message) >= sizeof error.message - 5);
    }
}

static void test_events_error_clear_is_all_zero(void **state) {
    (void)state;
    falkor_error error;
    memset(&error, 'x', sizeof error);
    falkor__error_clear(&error);
    assert_int_equal(error.status, FALKOR_OK);
    assert_int_equal(error.sys_errno, 0);
    assert_int_equal(error.attempts, 0);
    assert_false(error.maybe_executed);
    assert_string_equal(error.message, "");
    falkor__error_clear(NULL);
}

static void test_events_quote(void **state) {
    (void)state;
    char room[32];
    assert_string_equal(falkor__quote(room, sizeof room, "a b"), "\"a b\"");
    assert_string_equal(falkor__quote(room, sizeof room, ""), "\"\"");
    assert_string_equal(falkor__quote(room, sizeof room, "\"\\\n"),
                        "\"\\\"\\\\ \"");
    /* Cut, yet always closed, and inside its room. */
    for (size_t size = 4; size < 12; size++)
        for (int kind = 0; kind < 2; kind++) {
            memset(room, '#', sizeof room);
            falkor__quote(room, size, kind ? "\"\"\"\"\"\"\"\"\"\"\"\"\"\""
                                           : "aaaaaaaaaaaaaaaaaaaaaaa");
            size_t length = strlen(room);
            assert_true(length < size && room[length - 1] == '"');
            assert_int_equal(room[size], '#');
            size_t slashes = 0;
            while (room[length - 2 - slashes] == '\\')
                slashes++;
            assert_int_equal(slashes % 2, 0);
        }
}

/* An event's error is cut at a whole character too. */
static void test_events_quote_cuts_whole_characters(void **state) {
    (void)state;
    char room[64];
    for (size_t size = 8; size < 40; size++) {
        falkor__quote(room, size, "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
            "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
            "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC");
        if (!whole_utf8(room))
            fail_msg("cut in the middle with a room of %zu", size);
    }
}

static void test_events_status_names_and_texts(void **state) {
    (void)state;
    assert_string_equal(falkor_status_name(FALKOR_OK), "FALKOR_OK");
    assert_string_equal(falkor_status_name(FALKOR_ERR_STALE),
                        "FALKOR_ERR_STALE");
    assert_string_equal(falkor_status_text(FALKOR_ERR_POOL_EXHAUSTED),
                        "max_waiters reached");
    for (int i = 0; i < FALKOR_STATUS_COUNT; i++) {
        assert_non_null(falkor_status_name((falkor_status)i));
        assert_true(*falkor_status_text((falkor_status)i) != '\0');
    }
    static const int none[] = {FALKOR_STATUS_COUNT, -1, INT_MAX, INT_MIN};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(falkor_status_name((falkor_status)none[i]),
                            "unknown status");
        assert_string_equal(falkor_status_text((falkor_status)none[i]),
                            "unknown status");
    }
}

/* What is added to a message is there whole, however long the message. */
static void test_events_fail_more_is_whole(void **state) {
    (void)state;
    for (int length = 400; length < 560; length++) {
        char text[600];
        falkor_error error;
        memset(text, 'x', sizeof text);
        text[length] = '\0';
        falkor__fail(&error, FALKOR_ERR_QUERY, 0, "%s\xE2\x82\xAC", text);
        falkor__fail_more(&error, " (schema[%d])", 12);
        const char *end = error.message + strlen(error.message);
        assert_string_equal(end - 13, " (schema[12])");
        assert_true(whole_utf8(error.message));
    }
}

static falkor_status second_try(void *ctx, int64_t deadline_ns, void **handle,
                                falkor_error *failure) {
    (void)ctx, (void)deadline_ns;
    falkor__fail(failure, FALKOR_ERR_CONNECT, ECONNREFUSED, "first address");
    *handle = &saved_stderr;
    return FALKOR_OK;
}

static void second_close(void *ctx, void *handle) {
    (void)ctx, (void)handle;
}

/* An address that failed before another worked is no error. */
static void test_events_success_is_all_zero(void **state) {
    (void)state;
    falkor_driver driver = {.open = second_try, .close = second_close};
    falkor_pool *one;
    falkor_conn *conn;
    falkor_error error;
    assert_int_equal(falkor_pool_create(&(falkor_options){.driver = &driver,
        .min_size = -1}, &one, &error), FALKOR_OK);
    assert_int_equal(falkor_pool_open(one, &error), FALKOR_OK);
    assert_true(error.status == FALKOR_OK && error.sys_errno == 0);
    falkor_conn *held;
    assert_int_equal(falkor_acquire(one, &held, &error), FALKOR_OK);
    assert_int_equal(falkor_acquire(one, &conn, &error), FALKOR_OK);
    assert_true(error.status == FALKOR_OK && error.sys_errno == 0);
    assert_string_equal(error.message, "");
    falkor_release(conn);
    falkor_release(held);
    falkor_pool_free(one);
}

static void test_events_deadlines(void **state) {
    (void)state;
    int64_t before = falkor_now_ns(), deadline = falkor__deadline(1000);
    int64_t after = falkor_now_ns();
    assert_true(deadline >= before + 1000000000 &&
                deadline <= after + 1000000000);
    assert_true(falkor__deadline(-1) == INT64_MAX);
    assert_true(falkor__deadline(INT_MAX) > after);
    assert_int_equal(falkor__poll_ms(INT64_MAX), -1);
    assert_int_equal(falkor__poll_ms(before), 0);
    assert_int_equal(falkor__poll_ms(INT64_MAX - 1), INT_MAX);
    /* Rounded up: a poll that ends early would spin. */
    int left = falkor__poll_ms(falkor_now_ns() + 500000);
    assert_in_range(left, 0, 1);
    assert_in_range(falkor__poll_ms(falkor__deadline(5000)), 3001, 5000);
}

/* ---- statistics ------------------------------------------------------- */

static void test_events_stats_tell_each_state(void **state) {
    (void)state;
    falkor_stats now, nothing;
    memset(&now, 'x', sizeof now);
    memset(&nothing, 0, sizeof nothing);
    falkor_pool_stats(NULL, &now);
    assert_memory_equal(&now, &nothing, sizeof now);

    create(begin(2, 4));
    now = stats();
    assert_int_equal(now.max_size, 4);
    assert_int_equal(now.min_size, 2);
    assert_int_equal(now.total, 0);
    assert_false(now.initialized || now.closed);
    assert_int_equal(falkor_pool_open(pool, NULL), FALKOR_OK);
    falkor_conn *held[] = {take(), take(), take()};
    give(held[2]);
    now = stats();
    assert_int_equal(now.total, 3);
    assert_int_equal(now.active, 2);
    assert_int_equal(now.idle, 1);
    assert_int_equal(now.connecting, 0);
    assert_int_equal(now.closing, 0);
    assert_int_equal(now.acquires, 4);          /* one was the opening's */
    assert_int_equal(now.releases, 2);
    assert_int_equal(now.connections_created, 3);
    assert_true(now.utilization_percent == 50.0);
    assert_int_equal(now.queries, 0);
    give(held[0]);
    give(held[1]);
    assert_int_equal(falkor_pool_close(pool, -1), FALKOR_OK);
    now = stats();
    assert_true(now.closed && !now.initialized);
    assert_int_equal(now.total, 0);
    assert_true(now.utilization_percent == 0.0);
    assert_int_equal(now.acquires, now.releases);
    end();
}

/* ---- secrets ---------------------------------------------------------- */

static void assert_no_secret(const falkor_error *error) {
    test_assert_lacks(error->message, "SECRET");
}

static void *release_it(void *argument) {
    fake_disown(argument);
    TEST_CHECK(falkor_release(argument) == FALKOR_OK);
    return NULL;
}

/* Who has given his connection back holds it no longer, however long the
   driver takes to reset it; who holds on is told of, and still shown. */
/* A18, D3 */
static void test_events_leak_is_held(void **state) {
    (void)state;
    falkor_options options = begin(1, 2);
    options.leak_after_ms = 500;        /* longer than it takes to give back */
    open_pool(options);
    falkor_conn *given = take();
    falkor_conn *kept = take();
    fake_shut(&f, FAKE_RESET);
    test_threads threads = test_start(release_it, given, 0, 1);
    fake_await_inside(&f, FAKE_RESET, 1);
    TEST_EVENTUALLY(fake_event_count(&f, "connection_leak") > 0);
    assert_int_equal(fake_event_count(&f, "connection_leak"), 1);
    falkor_snapshot *snapshot;
    assert_int_equal(falkor_snapshot_take(pool, &snapshot, NULL), FALKOR_OK);
    int active = 0;
    for (size_t i = 0; i < snapshot->conn_count; i++) {
        bool held = snapshot->conns[i].state == FALKOR__CONN_ACTIVE;
        active += held;
        assert_true(held ? snapshot->conns[i].held_ms >= 500
                         : snapshot->conns[i].held_ms == -1);
    }
    assert_int_equal(active, 1);
    falkor_snapshot_free(snapshot);
    fake_lift(&f, FAKE_RESET);
    test_join(&threads);
    give(kept);
    end();
}

/* The recorder scans every event; this provokes them all, and every error that
   a pool with a driver of its own can return. */
/* A19, R6 */
static void test_events_tell_no_secret(void **state) {
    (void)state;
    falkor_error error;
    falkor_conn *conn;
    falkor_options options = begin(1, 1);
    options.url = "redis://u:SECRET1@localhost:6379/0";
    options.password = "SECRET2";
    options.max_waiters = 1;
    options.max_retries = 1;
    options.retry_initial_delay_ms = 1;
    options.leak_after_ms = 1;
    create(options);
    falkor_acquire(pool, &conn, &error);
    assert_no_secret(&error);
    fake_fail(&f, FAKE_OPEN, 2);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    assert_no_secret(&error);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    falkor_conn *held = take();
    assert_int_equal(falkor_acquire_within(pool, 0, &conn, &error),
                     FALKOR_ERR_POOL_TIMEOUT);
    assert_no_secret(&error);
    TEST_EVENTUALLY(fake_event_count(&f, "connection_leak") > 0);
    falkor_conn_mark_broken(held);
    fake_fail(&f, FAKE_OPEN, 1);
    give(held);
    TEST_EVENTUALLY(stats().idle == 1);
    held = take();
    falkor_pool_close(pool, 0);
    falkor_acquire(pool, &conn, &error);
    assert_no_secret(&error);
    give(held);
    static const char *const names[] = {"connection_pool_initialized",
        "closing_connection_pool", "connection_pool_closed", "close_error",
        "high_pool_utilization", "query_retry", "query_failed_after_retries",
        "connection_failed", "connection_recycled", "connection_leak"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        event_of(names[i]);
    end();
}

/* The built-in driver against a port where nobody listens. */
/* A19, R6 */
static void test_events_builtin_driver_tells_no_secret(void **state) {
    (void)state;
    falkor_error error;
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int bound = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(bound, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(bound, (struct sockaddr *)&address, &size),
                     0);
    falkor_options options = begin(1, 1);
    char url[128];
    snprintf(url, sizeof url, "falkor://user:SECRET1@127.0.0.1:%d/g",
             ntohs(address.sin_port));
    options.url = url;
    options.driver = NULL;
    options.driver_ctx = NULL;
    options.max_retries = 1;
    options.retry_initial_delay_ms = 1;
    create(options);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    assert_no_secret(&error);
    test_assert_has(error.message, "127.0.0.1");
    assert_int_equal(error.sys_errno, ECONNREFUSED);
    assert_int_equal(fake_event_count(&f, "connection_failed"), 2);
    end();
    close(bound);
}

TEST_MAIN(
    cmocka_unit_test(test_events_of_a_quiet_life),
    cmocka_unit_test(test_events_without_a_callback),
    cmocka_unit_test(test_events_of_a_forced_close),
    cmocka_unit_test(test_events_of_a_failed_connection),
    cmocka_unit_test(test_events_of_retries),
    cmocka_unit_test(test_events_of_high_utilization),
    cmocka_unit_test(test_events_of_high_utilization_while_dialling),
    cmocka_unit_test(test_events_of_high_utilization_not_of_pockets),
    cmocka_unit_test(test_events_callback_may_ask_the_pool),
    cmocka_unit_test(test_events_have_the_listed_keys),
    cmocka_unit_test(test_events_callback_may_use_the_pool),
    cmocka_unit_test(test_events_have_their_pool),
    cmocka_unit_test(test_events_field),
    cmocka_unit_test(test_events_field_cuts_whole_characters),
    cmocka_unit_test(test_events_field_undoes_quote),
    cmocka_unit_test(test_events_logger_prints_one_line),
    cmocka_unit_test(test_events_logger_names_the_pool),
    cmocka_unit_test(test_events_logger_cuts_but_ends_the_line),
    cmocka_unit_test(test_events_logger_lines_do_not_mix),
    cmocka_unit_test(test_events_logger_with_a_pool),
    cmocka_unit_test(test_events_fail_cuts_whole_characters),
    cmocka_unit_test(test_events_fail_replaces_control_bytes),
    cmocka_unit_test(test_events_error_clear_is_all_zero),
    cmocka_unit_test(test_events_quote),
    cmocka_unit_test(test_events_quote_cuts_whole_characters),
    cmocka_unit_test(test_events_status_names_and_texts),
    cmocka_unit_test(test_events_fail_more_is_whole),
    cmocka_unit_test(test_events_success_is_all_zero),
    cmocka_unit_test(test_events_deadlines),
    cmocka_unit_test(test_events_callback_may_use_what_a_lever_closes),
    cmocka_unit_test(test_events_stats_tell_each_state),
    cmocka_unit_test(test_events_leak_is_held),
    cmocka_unit_test(test_events_tell_no_secret),
    cmocka_unit_test(test_events_builtin_driver_tells_no_secret))
