/* Threads that write and read back: see scribe.h. A call is any of several ways
   to use the library; each ends in told, which keeps what its caller learnt. */
#include "scribe.h"
#include "crowd.h"
#include <inttypes.h>

enum { BURST = 4, ROWS = 300 };

/* ---- a call ----------------------------------------------------------- */

/* A call's parameters, with room for what they point to. */
typedef struct call {
    int64_t token;
    late_call clock;
    int deadline_ms;
    falkor_call_options options;
    char text[32];
    falkor_param params[6];
} call;

#define BROKEN(self, ...)                                                      \
    (TEST_COMPLAIN(__VA_ARGS__), atomic_store(&(self)->all->broken, true))

/* A new token, and the number of the write that the call is about. */
static void begin(scribe *self, call *at, int64_t no) {
    at->token = self->number * INT64_C(1000000000) + self->tokens++;
    snprintf(at->text, sizeof at->text, "t%" PRId64, at->token);
    at->params[0] = (falkor_param){"t", falkor_int(at->token)};
    at->params[1] = (falkor_param){"s", falkor_string(at->text)};
    at->params[2] = (falkor_param){"no", falkor_int(no)};
    at->params[3] = (falkor_param){"p", falkor_int(no % SCRIBE_ANCHORS)};
    at->params[4] = (falkor_param){"q", falkor_int((no + 1) % SCRIBE_ANCHORS)};
    at->params[5] = (falkor_param){0};
    at->options = (falkor_call_options){0};
    at->deadline_ms = SCRIBE_POOL_MS + SCRIBE_SOCKET_MS;
    if (test_chance(&self->random, 2))
        at->options.timeout_ms = at->deadline_ms =
            20 + test_below(&self->random, 780);
    if (test_chance(&self->random, 4))
        at->options.max_retries = -1;
    late_clock_in(&at->clock);
}

static void clock_out(scribe *self, const call *at,
                      const falkor_error *error) {
    late_clock_out(&self->book, &at->clock, at->deadline_ms, error);
}

/* Whether a call may end so while the world fails. */
static bool is_due(const scribe *self, const falkor_error *error) {
    switch (error->status) {
    case FALKOR_OK: case FALKOR_ERR_POOL_TIMEOUT: case FALKOR_ERR_CONNECT:
    case FALKOR_ERR_AUTH: case FALKOR_ERR_TIMEOUT: case FALKOR_ERR_IO:
    case FALKOR_ERR_BUSY: case FALKOR_ERR_READONLY:
    case FALKOR_ERR_CIRCUIT_OPEN:
        return true;
    case FALKOR_ERR_QUERY:              /* a master no longer, at EXEC; or the
                                           graph left while it waited */
        return (strstr(error->message, "EXECABORT") &&
                strstr(error->message, "READONLY")) ||
            (self->all->moves && strstr(error->message,
                                        "Encountered an empty key"));
    case FALKOR_ERR_NOT_REPLICATED:
        return self->all->copies > 0;
    case FALKOR_ERR_MOVED:
        return self->all->moves;
    default:
        return false;
    }
}

/* What a call was told; true when it is to be believed. */
static bool told(scribe *self, const falkor_error *error) {
    if (error->status)
        atomic_fetch_add(&self->all->bad[error->status], 1);
    else
        atomic_fetch_add(&self->good, 1);
    if (!is_due(self, error))
        BROKEN(self, "%s: %s", falkor_status_name(error->status),
               error->message);
    return !error->status;
}

static bool own(scribe *self, const call *at, const falkor_result *result) {
    const falkor_value *got = falkor_result_value(result, 0, 0);
    if (crowd_is_token(result, at->token))
        return true;
    BROKEN(self, "asked for token %" PRId64 " about write %" PRId64 ", got %s, "
           "%zu rows of %zu columns and %" PRId64, at->token,
           at->params[2].value.as.integer, result ? "a result" : "none",
           falkor_result_rows(result), falkor_result_columns(result),
           got && got->type == FALKOR_INTEGER ? got->as.integer : -1);
    return false;
}

/* ---- writes ----------------------------------------------------------- */

typedef struct shape {
    int makes;
    bool idempotent;
    const char *cypher;
} shape;

static const shape shapes[] = {
    {SCRIBE_NODE, false, "CREATE (:N {no: $no}) RETURN $t, $s"},
    {SCRIBE_NODE, true, "MERGE (:N {no: $no}) RETURN $t, $s"},
    {SCRIBE_NODE | SCRIBE_EDGE, false, "MATCH (a:P {id: $p}) "
        "CREATE (a)-[:W {no: $no}]->(:N {no: $no}) RETURN $t, $s"},
    {SCRIBE_EDGE, false, "MATCH (a:P {id: $p}), (b:P {id: $q}) "
        "CREATE (a)-[:W {no: $no}]->(b) RETURN $t, $s"},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static scribe_record *next_write(scribe *self, int makes, int64_t *no) {
    scribe_record *write = &self->writes[self->written];
    *no = (int64_t)self->number * SCRIBE_WRITES + self->written++;
    write->makes = (unsigned char)makes;
    write->lasts = !self->all->copies;
    return write;
}

/* How many copies the write waits for. Not in a pipeline. */
static int copies_of(scribe *self, scribe_record *write) {
    if (self->all->copies && test_chance(&self->random, 2)) {
        write->lasts = true;
        return self->all->copies;
    }
    return 0;
}

static void settle(scribe *self, scribe_record *write,
                   const falkor_error *error) {
    told(self, error);
    if (!error->status && write->lasts)
        atomic_fetch_add(&self->all->lasting, 1);
    write->outcome = !error->status ? SCRIBE_ACKNOWLEDGED
        : error->maybe_executed ? SCRIBE_MAYBE : SCRIBE_FAILED;
}

/* Some wait for no copies but for a failover to be over, and are sent again
   until then: what may have run must not be among these. */
static void be_patient(scribe *self, call *at) {
    if (!self->all->copies || at->options.wait_replicas ||
        !test_chance(&self->random, 3))
        return;
    at->options.timeout_ms = at->deadline_ms = SCRIBE_PATIENT_MS;
    at->options.max_retries = SCRIBE_PATIENT_MS;
}

/* One write, on a held connection if there is one. */
static void write_one(scribe *self, falkor_conn *conn) {
    const shape *what = &shapes[test_below(&self->random, SHAPES)];
    falkor_result *result;
    falkor_error error;
    call at;
    int64_t no;
    scribe_record *write = next_write(self, what->makes, &no);
    begin(self, &at, no);
    at.options.idempotent = what->idempotent;
    at.options.conn = conn;
    at.options.wait_replicas = copies_of(self, write);
    be_patient(self, &at);
    falkor_query_with(self->all->graph, &at.options, what->cypher, at.params,
                      &result, &error);
    clock_out(self, &at, &error);
    settle(self, write, &error);
    if (!error.status)
        own(self, &at, result);
    falkor_result_free(result);
}

static falkor_conn *hold(scribe *self) {
    falkor_conn *conn;
    falkor_error error;
    call at = {.deadline_ms = SCRIBE_POOL_MS};
    late_clock_in(&at.clock);
    falkor_acquire(self->all->pool, &conn, &error);
    clock_out(self, &at, &error);
    told(self, &error);
    return conn;
}

static void let_go(scribe *self, falkor_conn *conn) {
    if (falkor_release(conn))
        BROKEN(self, "a connection that is held cannot be released");
}

static void write_held(scribe *self) {
    falkor_conn *conn = hold(self);
    if (!conn)
        return;
    write_one(self, conn);
    if (test_chance(&self->random, 2))
        write_one(self, conn);
    let_go(self, conn);
}

/* A pipeline of writes and a read. */
static void write_burst(scribe *self) {
    falkor_request requests[BURST + 1];
    scribe_record *writes[BURST];
    call each[BURST + 1];
    int64_t no = 0;
    int count = 1 + test_below(&self->random, BURST);
    falkor_error error;
    for (int i = 0; i <= count; i++) {
        const shape *what = &shapes[test_below(&self->random, SHAPES)];
        if (i < count)
            writes[i] = next_write(self, what->makes, &no);
        begin(self, &each[i], no);
        requests[i] = (falkor_request){.graph = self->all->graph,
            .cypher = i < count ? what->cypher : "RETURN $t, $s",
            .params = each[i].params, .read_only = i == count,
            .idempotent = i < count && what->idempotent};
    }
    late_clock_in(&each[0].clock);
    falkor_pipeline(self->all->pool, &each[0].options, requests,
                    (size_t)count + 1, &error);
    clock_out(self, &each[0], &error);
    for (int i = 0; i <= count; i++) {
        if (i < count)
            settle(self, writes[i], &requests[i].error);
        else
            told(self, &requests[i].error);
        if (!requests[i].error.status)
            own(self, &each[i], requests[i].result);
        falkor_result_free(requests[i].result);
    }
}

/* One command, perhaps the one that carries a write out: its reply is the
   caller's to free. */
static falkor_result *command(scribe *self, falkor_conn *conn,
                              scribe_record *write, size_t argc,
                              const char *const *argv, falkor_error *error) {
    falkor_result *result;
    call at;
    begin(self, &at, 0);
    at.options.conn = conn;
    at.options.wait_replicas = write ? copies_of(self, write) : 0;
    falkor_command(self->all->pool, &at.options, argc, argv, NULL, &result,
                   error);
    clock_out(self, &at, error);
    return result;
}

static bool tell(scribe *self, falkor_conn *conn, const char *word) {
    falkor_error error;
    falkor_result_free(command(self, conn, NULL, 1, &word, &error));
    return told(self, &error);
}

static void write_entry(scribe *self) {
    falkor_error error;
    char text[32];
    int64_t no;
    scribe_record *write = next_write(self, SCRIBE_ENTRY, &no);
    snprintf(text, sizeof text, "%" PRId64, no);
    falkor_result_free(command(self, NULL, write, 3,
        (const char *[]){"RPUSH", SCRIBE_LIST, text}, &error));
    settle(self, write, &error);
}

/* Between MULTI and EXEC nothing has happened, whatever fails. No GRAPH.QUERY
   here: FalkorDB carries it out beside the writes of others, and an edge of
   theirs may end at its node. */
static void write_transaction(scribe *self) {
    falkor_conn *conn = hold(self);
    falkor_error error;
    if (!conn)
        return;
    if (tell(self, conn, "MULTI")) {
        char text[32];
        int64_t no;
        scribe_record *write = next_write(self, SCRIBE_ENTRY, &no);
        snprintf(text, sizeof text, "%" PRId64, no);
        falkor_result_free(command(self, conn, NULL, 3,
            (const char *[]){"RPUSH", SCRIBE_LIST, text}, &error));
        write->outcome = SCRIBE_FAILED;
        if (told(self, &error)) {
            falkor_result_free(command(self, conn, write, 1,
                                       (const char *[]){"EXEC"}, &error));
            settle(self, write, &error);
        }
    }
    let_go(self, conn);
}

/* ---- reads ------------------------------------------------------------ */

/* A write of the past: what it made must be there as often as was told. */
static void read_back(scribe *self) {
    int at_write = test_chance(&self->random, 2) ? self->written - 1
        : test_below(&self->random, self->written);
    const scribe_record *write = &self->writes[at_write];
    bool node = write->makes & SCRIBE_NODE;
    if (write->makes & SCRIBE_ENTRY)
        return;                         /* main reads the list */
    falkor_result *result;
    falkor_error error;
    call at;
    begin(self, &at, (int64_t)self->number * SCRIBE_WRITES + at_write);
    at.options.read_only = true;
    falkor_query_with(self->all->graph, &at.options, node
        ? "OPTIONAL MATCH (n:N {no: $no}) RETURN $t, $s, count(n)"
        : "OPTIONAL MATCH (:P {id: $p})-[w:W {no: $no}]->(:P {id: $q}) "
          "RETURN $t, $s, count(w)", at.params, &result, &error);
    clock_out(self, &at, &error);
    if (told(self, &error) && own(self, &at, result)) {
        int64_t found = falkor_result_value(result, 0, 2)->as.integer;
        int least = write->outcome == SCRIBE_ACKNOWLEDGED && write->lasts;
        int most = write->outcome != SCRIBE_FAILED;
        if (found < least || found > most)
            BROKEN(self, "write %d of thread %d, outcome %d, was read back %"
                   PRId64 " times", at_write, self->number, write->outcome,
                   found);
        self->read++;
    }
    falkor_result_free(result);
}

static void read_token(scribe *self) {
    falkor_result *result;
    falkor_error error;
    call at;
    begin(self, &at, 0);
    at.options.read_only = test_chance(&self->random, 2);
    falkor_query_with(self->all->graph, &at.options, "RETURN $t, $s",
                      at.params, &result, &error);
    clock_out(self, &at, &error);
    if (told(self, &error))
        own(self, &at, result);
    falkor_result_free(result);
}

typedef struct stream {
    const call *at;
    int64_t next;
    int wanted;
} stream;

static bool take_row(void *ctx, const falkor_result *row) {
    stream *self = ctx;
    const falkor_value *value = falkor_result_value(row, 0, 2);
    bool right = crowd_is_token(row, self->at->token) && value &&
        value->type == FALKOR_INTEGER && value->as.integer == ++self->next;
    self->wanted = right ? self->wanted - 1 : -1;
    return self->wanted > 0;
}

/* Rows as they come, all or some of them. */
static void read_stream(scribe *self) {
    falkor_error error;
    call at;
    begin(self, &at, 0);
    stream rows = {&at, 0, 1 + test_below(&self->random, 2 * ROWS)};
    at.options.read_only = true;
    at.params[2] = (falkor_param){"n", falkor_int(ROWS)};
    falkor_query_each(self->all->graph, &at.options, "UNWIND range(1, $n) AS i "
        "RETURN $t, $s, i", at.params, take_row, &rows, NULL, &error);
    clock_out(self, &at, &error);
    if (rows.wanted < 0)
        BROKEN(self, "row %" PRId64 " of token %" PRId64 " is another's",
               rows.next, at.token);
    if (told(self, &error) && rows.wanted > 0 && rows.next != ROWS)
        BROKEN(self, "a stream of %d rows ended with %" PRId64, ROWS,
               rows.next);
}

static void read_echo(scribe *self) {
    falkor_result *result;
    falkor_error error;
    call at;
    begin(self, &at, 0);
    at.options.read_only = true;
    falkor_command(self->all->pool, &at.options, 2,
        (const char *[]){"ECHO", at.text}, NULL, &result, &error);
    clock_out(self, &at, &error);
    if (told(self, &error) &&
        strcmp(falkor_result_value(result, 0, 0)->as.string, at.text) != 0)
        BROKEN(self, "asked for an echo of %s, got %s", at.text,
               falkor_result_value(result, 0, 0)->as.string);
    falkor_result_free(result);
}

/* ---- a thread --------------------------------------------------------- */

static void do_something(scribe *self) {
    int what = test_below(&self->random, 20);
    bool may_write = self->written + BURST < SCRIBE_WRITES;
    if (what < 6 && self->written)
        read_back(self);
    else if (what < 12 && may_write)
        write_one(self, NULL);
    else if (what == 12 && may_write)
        write_held(self);
    else if (what == 13 && may_write)
        write_burst(self);
    else if (what == 14 && may_write)
        write_transaction(self);
    else if (what == 15 && may_write)
        write_entry(self);
    else if (what == 16)
        read_stream(self);
    else if (what == 17)
        read_echo(self);
    else
        read_token(self);
}

void *scribe_run(void *argument) {
    scribe *self = argument;
    while (!atomic_load(&self->all->stopped)) {
        falkor_stats now;
        do_something(self);
        falkor_pool_stats(self->all->pool, &now);
        if (now.total > self->all->most || now.idle + now.active +
            now.connecting + now.closing != now.total)
            BROKEN(self, "%d connections: %d idle, %d active, %d connecting, "
                "%d closing", now.total, now.idle, now.active, now.connecting,
                now.closing);
        test_pause_ms(test_below(&self->random, 30));   /* thinks */
    }
    return NULL;
}
