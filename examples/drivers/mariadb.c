/* A driver for MariaDB and MySQL, with libmariadb and its calls that do not
   block: ..._start, then ..._cont each time the socket is ready. Deadlines hold
   for everything but the look-up of a host's name, and the few bytes of close.

       cc mariadb.c trial.c -lmariadb -lfalkorpool -lhiredis -lpthread */
#include "driver.h"
#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libmariadb closes its socket at an error, perhaps while shutdown runs in
   another thread: fd is a descriptor of our own for the same socket. */
typedef struct session {
    MYSQL mysql;
    int fd;
} session;

static void my_close(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    mysql_close(&self->mysql);
    close(self->fd);
    free(self);
}

/* mysql_close would send Quit, and end the parent's session. */
static void my_forget(void *ctx, void *handle) {
    session *self = handle;
    (void)ctx;
    close((int)mysql_get_socket(&self->mysql));
    close(self->fd);
}

static void my_shutdown(void *ctx, void *handle) {
    (void)ctx;
    shutdown(((session *)handle)->fd, SHUT_RDWR);
}

/* Waits for what the call waits for, and says what came. Told that its own
   time is up a call fails at once. */
static int my_await(MYSQL *mysql, int wanted, int64_t deadline_ns) {
    short events = (short)((wanted & MYSQL_WAIT_READ ? POLLIN : 0) |
        (wanted & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
        (wanted & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));
    return await((int)mysql_get_socket(mysql), events, deadline_ns)
        ? wanted & ~MYSQL_WAIT_TIMEOUT : MYSQL_WAIT_TIMEOUT;
}

static falkor_status my_open(void *ctx, int64_t deadline_ns, void **handle,
                             falkor_error *error) {
    const place *where = ctx;
    session *self = calloc(1, sizeof *self);
    if (!self || !mysql_init(&self->mysql)) {
        snprintf(error->message, sizeof error->message, "out of memory");
        free(self);
        return FALKOR_ERR_CONNECT;
    }
    MYSQL *mysql = &self->mysql, *open = NULL;
    bool local = where->host[0] == '/';
    mysql_optionsv(mysql, MYSQL_OPT_NONBLOCK, 0);
    for (int wants = mysql_real_connect_start(&open, mysql,
             local ? NULL : where->host, "root", "", NULL,
             local ? 0 : (unsigned)where->port, local ? where->host : NULL, 0);
         wants; )
        wants = mysql_real_connect_cont(&open, mysql,
                                        my_await(mysql, wants, deadline_ns));
    if (open && (self->fd = dup((int)mysql_get_socket(mysql))) >= 0) {
        *handle = self;
        return FALKOR_OK;
    }
    bool auth = mysql_errno(mysql) == ER_ACCESS_DENIED_ERROR;
    error->sys_errno = left_ms(deadline_ns) ? 0 : ETIMEDOUT;
    snprintf(error->message, sizeof error->message, "MariaDB: %s",
             mysql_error(mysql));
    mysql_close(mysql);
    free(self);
    return auth ? FALKOR_ERR_AUTH : FALKOR_ERR_CONNECT;
}

/* The first value that the statement gives, or "". false: it failed, and where
   that was for want of time the session is not to be used again. */
static bool my_run(session *self, const char *sql, char *answer, size_t size,
                   int64_t deadline_ns) {
    MYSQL *mysql = &self->mysql;
    MYSQL_RES *result = NULL;
    int failed = 1, wants;
    answer[0] = '\0';
    for (wants = mysql_real_query_start(&failed, mysql, sql, strlen(sql));
         wants; )
        wants = mysql_real_query_cont(&failed, mysql,
                                      my_await(mysql, wants, deadline_ns));
    if (failed)
        return false;
    for (wants = mysql_store_result_start(&result, mysql); wants; )
        wants = mysql_store_result_cont(&result, mysql,
                                        my_await(mysql, wants, deadline_ns));
    MYSQL_ROW row = result ? mysql_fetch_row(result) : NULL;
    if (row && row[0])
        snprintf(answer, size, "%s", row[0]);
    mysql_free_result(result);
    return mysql_errno(mysql) == 0;
}

static bool my_ping(session *self, int64_t deadline_ns) {
    int failed = 1;
    for (int wants = mysql_ping_start(&failed, &self->mysql); wants; )
        wants = mysql_ping_cont(&failed, &self->mysql,
                                my_await(&self->mysql, wants, deadline_ns));
    return !failed;
}

static falkor_status my_check(void *ctx, void *handle,
                              falkor_check_level level, int64_t deadline_ns) {
    session *self = handle;
    char answer[8];
    (void)ctx;
    bool fit = is_quiet(self->fd) && (level == FALKOR_CHECK_FAST ||
        (level == FALKOR_CHECK_MEDIUM ? my_ping(self, deadline_ns)
         : my_run(self, "SELECT 1", answer, sizeof answer, deadline_ns)));
    return fit ? FALKOR_OK : FALKOR_ERR_IO;
}

static bool my_is_clean(session *self) {
    return !(self->mysql.server_status & SERVER_STATUS_IN_TRANS);
}

/* What a session keeps beside a transaction (variables, temporary tables) would
   take mysql_reset_connection: a round trip at every release. */
static falkor_status my_reset(void *ctx, void *handle, int64_t deadline_ns) {
    char answer[8];
    (void)ctx;
    return my_is_clean(handle) ||
           my_run(handle, "ROLLBACK", answer, sizeof answer, deadline_ns)
        ? FALKOR_OK : FALKOR_ERR_IO;
}

static const falkor_driver mariadb = {
    .open = my_open, .check = my_check, .reset = my_reset,
    .shutdown = my_shutdown, .close = my_close, .forget = my_forget};

/* ---- on trial --------------------------------------------------------- */

static bool ask(void *handle, const char *token, char *answer, size_t size,
                int64_t deadline_ns) {
    char sql[200] = "SELECT '";
    size_t length = strlen(sql);
    length += mysql_real_escape_string(&((session *)handle)->mysql,
        sql + length, token, strlen(token) < 90 ? strlen(token) : 90);
    snprintf(sql + length, sizeof sql - length, "'");
    return my_is_clean(handle) &&
        my_run(handle, sql, answer, size, deadline_ns);
}

static bool soil(void *handle, int64_t deadline_ns) {
    char answer[8];
    return my_run(handle, "BEGIN", answer, sizeof answer, deadline_ns) &&
        !my_is_clean(handle);
}

static bool cut(void *victim, void *other, int64_t deadline_ns) {
    char sql[40], answer[8];
    snprintf(sql, sizeof sql, "KILL %lu",
             mysql_thread_id(&((session *)victim)->mysql));
    return my_run(other, sql, answer, sizeof answer, deadline_ns);
}

static int fd(void *handle) {
    return ((session *)handle)->fd;
}

int main(int argc, char **argv) {
    mysql_library_init(0, NULL, NULL);      /* before there are threads */
    int status = try_driver(argc, argv, &(trial){"MariaDB", &mariadb, ask,
                                                 soil, cut, fd});
    mysql_library_end();
    return status;
}
