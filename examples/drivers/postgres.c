/* A driver for PostgreSQL, with libpq; PgBouncer takes it too. Deadlines hold
   for everything but the look-up of a host's name, and the few bytes of close.

       cc postgres.c trial.c -lpq -lfalkorpool -lhiredis -lpthread */
#include "driver.h"
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libpq closes its socket at an error, perhaps while shutdown runs in another
   thread: fd is a descriptor of our own for the same socket. */
typedef struct session {
    PGconn *conn;
    int fd;
} session;

static void pg_close(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    PQfinish(self->conn);
    close(self->fd);
    free(self);
}

/* PQfinish would send Terminate, and end the parent's session. */
static void pg_forget(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    close(PQsocket(self->conn));
    close(self->fd);
}

static void pg_shutdown(void *ctx, void *handle) {
    (void)ctx;
    shutdown(((session *)handle)->fd, SHUT_RDWR);
}

static PGconn *pg_dial(const place *where, int64_t deadline_ns) {
    char port[12];
    snprintf(port, sizeof port, "%d", where->port);
    PGconn *conn = PQconnectStartParams(
        (const char *const[]){"host", "port", "user", "dbname", NULL},
        (const char *const[]){where->host, port, "postgres", "postgres", NULL},
        0);
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (conn && PQstatus(conn) != CONNECTION_BAD &&
           next != PGRES_POLLING_OK && next != PGRES_POLLING_FAILED &&
           await(PQsocket(conn), next == PGRES_POLLING_READING ? POLLIN
                 : POLLOUT, deadline_ns))
        next = PQconnectPoll(conn);
    return conn;
}

static falkor_status pg_open(void *ctx, int64_t deadline_ns, void **handle,
                             falkor_error *error) {
    PGconn *conn = pg_dial(ctx, deadline_ns);
    session *self = calloc(1, sizeof *self);
    if (conn && self && PQstatus(conn) == CONNECTION_OK &&
        !PQsetnonblocking(conn, 1) && (self->fd = dup(PQsocket(conn))) >= 0) {
        self->conn = conn;
        *handle = self;
        return FALKOR_OK;
    }
    bool late = conn && PQstatus(conn) != CONNECTION_BAD;
    bool auth = conn && PQconnectionNeedsPassword(conn);
    error->sys_errno = late ? ETIMEDOUT : 0;
    snprintf(error->message, sizeof error->message, "PostgreSQL: %s",
             late ? "no session in time" : PQerrorMessage(conn));
    free(self);
    PQfinish(conn);
    return auth ? FALKOR_ERR_AUTH : FALKOR_ERR_CONNECT;
}

/* Until there is a result, or certainly none. */
static bool pg_await(session *self, int64_t deadline_ns) {
    for (;;) {
        int unsent = PQflush(self->conn);
        if (unsent < 0 || (unsent == 0 && !PQisBusy(self->conn)))
            return unsent == 0;
        if (!await(self->fd, (short)(unsent ? POLLIN | POLLOUT : POLLIN),
                   deadline_ns) || !PQconsumeInput(self->conn))
            return false;
    }
}

/* The first value that the statement gives, or "". false: it failed, and where
   that was for want of time the session is not to be used again. */
static bool pg_run(session *self, const char *sql, const char *value,
                   char *answer, size_t size, int64_t deadline_ns) {
    bool well = PQsendQueryParams(self->conn, sql, value ? 1 : 0, NULL, &value,
                                  NULL, NULL, 0);
    PGresult *result = NULL;
    answer[0] = '\0';
    if (!well)
        return false;
    while (pg_await(self, deadline_ns)) {
        if ((result = PQgetResult(self->conn)) == NULL)
            return well;                /* that was all */
        ExecStatusType status = PQresultStatus(result);
        well = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ||
               status == PGRES_EMPTY_QUERY;
        if (status == PGRES_TUPLES_OK && PQntuples(result))
            snprintf(answer, size, "%s", PQgetvalue(result, 0, 0));
        PQclear(result);
    }
    return false;
}

static falkor_status pg_check(void *ctx, void *handle,
                              falkor_check_level level, int64_t deadline_ns) {
    session *self = handle;
    char answer[8];
    (void)ctx;
    bool fit = PQstatus(self->conn) == CONNECTION_OK && is_quiet(self->fd) &&
        (level == FALKOR_CHECK_FAST ||       /* an empty statement, or a real */
         pg_run(self, level == FALKOR_CHECK_MEDIUM ? "" : "SELECT 1", NULL,
                answer, sizeof answer, deadline_ns));
    return fit ? FALKOR_OK : FALKOR_ERR_IO;
}

/* What a session keeps beside a transaction (SET, LISTEN, temporary tables)
   would take DISCARD ALL: a round trip at every release. */
static falkor_status pg_reset(void *ctx, void *handle, int64_t deadline_ns) {
    session *self = handle;
    char answer[8];
    (void)ctx;
    return PQtransactionStatus(self->conn) == PQTRANS_IDLE ||
           pg_run(self, "ROLLBACK", NULL, answer, sizeof answer, deadline_ns)
        ? FALKOR_OK : FALKOR_ERR_IO;
}

static const falkor_driver postgres = {
    .open = pg_open, .check = pg_check, .reset = pg_reset,
    .shutdown = pg_shutdown, .close = pg_close, .forget = pg_forget};

/* ---- on trial --------------------------------------------------------- */

static bool ask(void *handle, const char *token, char *answer, size_t size,
                int64_t deadline_ns) {
    session *self = handle;
    return PQtransactionStatus(self->conn) == PQTRANS_IDLE &&
        pg_run(self, "SELECT $1::text", token, answer, size, deadline_ns);
}

static bool soil(void *handle, int64_t deadline_ns) {
    char answer[8];
    return pg_run(handle, "BEGIN", NULL, answer, sizeof answer, deadline_ns) &&
        !pg_run(handle, "SELECT 1 / 0", NULL, answer, sizeof answer,
                deadline_ns);
}

/* PgBouncer gives up a client only with the server that is at work for it: one
   of another process than the client was told of. */
static bool cut(void *victim, void *other, int64_t deadline_ns) {
    session *self = victim;
    char pid[20], answer[8];
    if (!pg_run(self, "BEGIN", NULL, answer, sizeof answer, deadline_ns) ||
        !pg_run(self, "SELECT pg_backend_pid()", NULL, pid, sizeof pid,
                deadline_ns))
        return false;
    if (atoi(pid) == PQbackendPID(self->conn) &&
        !pg_run(self, "COMMIT", NULL, answer, sizeof answer, deadline_ns))
        return false;
    return pg_run(other, "SELECT pg_terminate_backend($1)", pid, answer,
                  sizeof answer, deadline_ns) && answer[0] == 't';
}

static int fd(void *handle) {
    return ((session *)handle)->fd;
}

int main(int argc, char **argv) {
    return try_driver(argc, argv, &(trial){"PostgreSQL", &postgres, ask, soil,
                                           cut, fd});
}
