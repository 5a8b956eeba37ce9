/* Servers and a second client for tests: see serving.h. Knows test/server.sh by
   its printed line only. */
#include "serving.h"
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVING_ARGUMENTS 32
#define SERVING_PATIENCE_MS 90000        /* for a line of a script */

extern char **environ;

/* ---- scripts of test/ ------------------------------------------------- */

void serving_script_run(serving_script *script, const char *const *argv) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
        POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(&script->pid, argv[0], &actions, &attributes,
                             (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(in[0]);
    close(out[1]);
    if (failed)
        fail_msg("cannot run %s: %s", argv[0], strerror(failed));
    script->input = in[1];
    script->output = out[0];
}

void serving_script_line(const serving_script *script, char *line,
                         size_t size) {
    size_t length = 0;
    int64_t until = falkor_now_ns() + SERVING_PATIENCE_MS * SERVING_MS;
    while (length + 1 < size && falkor_now_ns() < until) {
        struct pollfd one = {.fd = script->output, .events = POLLIN};
        if (poll(&one, 1, 1000) <= 0)
            continue;
        if (read(script->output, line + length, 1) <= 0 || line[length] == '\n')
            break;
        length++;
    }
    line[length] = '\0';
}

void serving_script_end(serving_script *script) {
    if (script->pid <= 0)
        return;
    close(script->input);
    close(script->output);
    while (waitpid(script->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    script->pid = 0;
}

/* ---- servers ---------------------------------------------------------- */

void serving_start(serving *server, const char *const *arguments) {
    const char *script = getenv("FALKOR_SERVER_SH");
    const char *argv[SERVING_ARGUMENTS + 3] = {
        script ? script : "test/server.sh", "serve"};
    char line[512];
    for (size_t i = 0; arguments && arguments[i]; i++) {
        assert_true(i < SERVING_ARGUMENTS);
        argv[i + 2] = arguments[i];
    }
    memset(server, 0, sizeof *server);
    serving_script_run(&server->script, argv);
    serving_script_line(&server->script, line, sizeof line);
    if (sscanf(line, "FALKOR_SERVER port=%d socket=%107s pid=%d dir=%199s",
               &server->port, server->socket, &server->pid,
               server->dir) != 4)
        fail_msg("no server: \"%s\"", line);
}

void serving_stop(serving *server) {
    if (server->script.pid > 0)
        kill(server->pid, SIGCONT);
    serving_script_end(&server->script);
}

void serving_signal(const serving *server, int number) {
    assert_int_equal(kill(server->pid, number), 0);
}

static char process_state(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 'X';
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] ? name_end[2] : 'X';
}

void serving_await_state(const serving *server, char state) {
    int64_t until = falkor_now_ns() + 10000 * SERVING_MS;
    char now;
    while ((now = process_state(server->pid)) != state) {
        if (state == 'X' && now == 'Z')
            return;
        if (falkor_now_ns() > until)
            fail_msg("the server is in state %c, not %c", now, state);
        test_pause_ms(1);
    }
}

/* ---- a second client -------------------------------------------------- */

redisContext *serving_client(int port) {
    struct timeval patience = {.tv_sec = 20};
    redisContext *client = redisConnectWithTimeout("127.0.0.1", port,
                                                   patience);
    assert_non_null(client);
    if (client->err)
        fail_msg("second client: %s", client->errstr);
    redisSetTimeout(client, patience);
    return client;
}

char *serving_ask(int port, const char *command) {
    redisContext *client = serving_client(port);
    redisReply *reply = redisCommand(client, command);
    char *text = NULL;
    if (!reply)
        fail_msg("%s: %s", command, client->errstr);
    if (reply->type == REDIS_REPLY_INTEGER)
        assert_true(asprintf(&text, "%lld", reply->integer) > 0);
    else if (reply->type == REDIS_REPLY_NIL)
        text = strdup("(nil)");
    else if (reply->type == REDIS_REPLY_ERROR)
        assert_true(asprintf(&text, "-%s", reply->str) > 0);
    else
        text = strdup(reply->str ? reply->str : "(array)");
    freeReplyObject(reply);
    redisFree(client);
    assert_non_null(text);
    return text;
}

long long serving_number(int port, const char *command) {
    char *text = serving_ask(port, command);
    char *end;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end)
        fail_msg("%s: no number: %s", command, text);
    free(text);
    return number;
}

long long serving_info(int port, const char *section, const char *name) {
    char command[64];
    snprintf(command, sizeof command, "INFO %s", section);
    char *text = serving_ask(port, command), *at = text;
    long long number = -1;
    size_t length = strlen(name);
    while (at && strncmp(at, name, length) != 0) {
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    if (at)
        number = strtoll(at + length + 1, NULL, 10);
    free(text);
    return number;
}

long long serving_calls(int port, const char *command) {
    char name[96];
    snprintf(name, sizeof name, "cmdstat_%s:calls", command);
    long long calls = serving_info(port, "commandstats", name);
    return calls < 0 ? 0 : calls;
}

/* ---- examples --------------------------------------------------------- */

int serving_example(const char *before, const char *name, const char *argument,
                    char *text, size_t size) {
    char command[900], path[400];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = '\0';
    *strrchr(path, '/') = '\0';         /* .../test/test_... */
    *strrchr(path, '/') = '\0';
    snprintf(command, sizeof command, "%s %s/examples/%s '%s' 2>&1", before,
             path, name, argument);
    FILE *output = popen(command, "r");
    assert_non_null(output);
    text[fread(text, 1, size - 1, output)] = '\0';
    return pclose(output);
}

/* ---- pools and queries ------------------------------------------------ */

void serving_ok_at(const falkor_error *error, const char *file, int line) {
    if (!error->status)
        return;
    print_error("%s: %s\n", falkor_status_name(error->status),
                error->message);
    _fail(file, line);
}

falkor_options serving_options(int port) {
    return (falkor_options){.host = "127.0.0.1", .port = port};
}

falkor_pool *serving_pool(const falkor_options *options) {
    falkor_pool *pool;
    falkor_error error;
    falkor_pool_create(options, &pool, &error);
    serving_ok(&error);
    falkor_pool_open(pool, &error);
    serving_ok(&error);
    return pool;
}

falkor_result *serving_query(falkor_graph *graph, const char *cypher,
                             const falkor_param *params) {
    falkor_error error;
    falkor_result *result;
    if (falkor_query(graph, cypher, params, &result, &error))
        fail_msg("%.200s: %s: %s", cypher, falkor_status_name(error.status),
                 error.message);
    assert_non_null(result);
    return result;
}

void serving_run(falkor_graph *graph, const char *cypher) {
    falkor_result_free(serving_query(graph, cypher, NULL));
}

static int64_t integer_in(const falkor_result *result) {
    const falkor_value *value = falkor_result_value(result, 0, 0);
    assert_non_null(value);
    assert_int_equal(value->type, FALKOR_INTEGER);
    return value->as.integer;
}

int64_t serving_integer(falkor_graph *graph, const char *cypher,
                        const falkor_param *params) {
    falkor_result *result = serving_query(graph, cypher, params);
    int64_t integer = integer_in(result);
    falkor_result_free(result);
    return integer;
}

#ifndef FALKOR_WITHOUT_PIPELINES
int64_t serving_integer_of(const falkor_request *request) {
    return integer_in(request->result);
}

void serving_free_results(falkor_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        falkor_result_free(requests[i].result);
        requests[i].result = NULL;
    }
}
#endif

void serving_drop(falkor_pool *pool, falkor_graph *graph, const char *name) {
    falkor_command(pool, NULL, 2, (const char *[]){"GRAPH.DELETE", name}, NULL,
                   NULL, NULL);
    falkor_graph_free(graph);
}

/* ---- a decimal comma -------------------------------------------------- */

/* glibc's LC_NUMERIC of the C locale with a comma: a file that needs neither
   localedef nor the package of locales. Head, six offsets, then the point, no
   separator, no grouping, both again as wide characters, the codeset. */
static const unsigned char comma_numeric[] = {
    0x14, 0x11, 0x03, 0x20, 6, 0, 0, 0, 32, 0, 0, 0, 34, 0, 0, 0, 35, 0, 0, 0,
    36, 0, 0, 0, 40, 0, 0, 0, 44, 0, 0, 0, ',', 0, 0, 0, ',', 0, 0, 0,
    0, 0, 0, 0, 'U', 'T', 'F', '-', '8', 0};

static bool comma_works(void) {
    char text[8];
    snprintf(text, sizeof text, "%.1f", 1.5);
    return strcmp(text, "1,5") == 0;
}

void serving_comma(void) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8",
                                        "fr_FR.UTF-8", "fr_FR.utf8"};
    char folder[] = "/tmp/falkor-locale-XXXXXX", path[64];
    for (size_t i = 0; i < 4; i++)
        if (setlocale(LC_NUMERIC, names[i]) && comma_works())
            return;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/comma", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/comma/LC_NUMERIC", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(comma_numeric, sizeof comma_numeric, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    setenv("LOCPATH", folder, 1);
    const char *set = setlocale(LC_NUMERIC, "comma");
    unsetenv("LOCPATH");
    unlink(path);
    snprintf(path, sizeof path, "%s/comma", folder);
    rmdir(path);
    rmdir(folder);
#if !defined(__GLIBC__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    if (!set || !comma_works())         /* the file is glibc's, and x86's */
        skip();
#endif
    assert_non_null(set);
    assert_true(comma_works());
}

void serving_comma_back(void) {
    setlocale(LC_NUMERIC, "C");
}
