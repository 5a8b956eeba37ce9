/* falkor-cli as its users meet it: a program with arguments, input, output and
   an exit status, against the real server of FALKORDB_URL; and at a prompt,
   through a pseudo-terminal. Runs alone: that server is everybody's. */
#define _GNU_SOURCE
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "fleet.h"
#include "serving.h"

#define GRAPH "test-cli"

/* ---- running it ------------------------------------------------------- */

typedef struct ran { int status; char out[1 << 16], err[1 << 13]; } ran;
static ran last;

static const char *program(void) {
    static char path[4096];
    const char *folder = getenv("FALKOR_OUT");
    snprintf(path, sizeof path, "%s/falkor-cli", folder ? folder : "build");
    return path;
}

static void slurp(FILE *file, char *room, size_t size) {
    rewind(file);
    room[fread(room, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* Starts the program with these arguments; output -1: as here. */
static pid_t start(const char *const *arguments, int input, int output,
                   int errors) {
    const char *argv[40] = {program()};
    for (size_t i = 0; arguments[i]; i++)
        argv[i + 1] = arguments[i];
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(input, 0);
        dup2(output, 1);
        dup2(errors, 2);
        alarm(60);                      /* a hanging one dies */
        execv(argv[0], (char **)(size_t)argv);
        _exit(99);
    }
    return child;
}

static int wait_for(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Runs it to its end; the exit status and what it wrote are in last. */
static int run_with(const char *input, const char *const *arguments) {
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    assert_true(in && out && err);
    fputs(input, in);
    rewind(in);
    last.status = wait_for(start(arguments, fileno(in), fileno(out),
                                 fileno(err)));
    fclose(in);
    slurp(out, last.out, sizeof last.out);
    slurp(err, last.err, sizeof last.err);
    return last.status;
}

#define RUN_INPUT(input, ...) \
    run_with(input, (const char *const[]){"-g", GRAPH, __VA_ARGS__, NULL})
#define RUN(...) RUN_INPUT("", __VA_ARGS__)

static void expect_status(int expected) {
    if (last.status != expected)
        fail_msg("status %d, not %d; it said: %s%s", last.status, expected,
                 last.out, last.err);
}

static void expect_said(const char *text) {
    if (!strstr(last.err, text))
        fail_msg("\"%s\" lacks \"%s\"", last.err, text);
}

/* The one line of --json that was printed, parsed. */
static cJSON *parsed_with(int status) {
    expect_status(status);
    size_t length = strlen(last.out);
    assert_true(length > 0 && last.out[length - 1] == '\n');
    assert_ptr_equal(strchr(last.out, '\n'), &last.out[length - 1]);
    cJSON *json = cJSON_Parse(last.out);
    assert_non_null(json);
    return json;
}

static cJSON *parsed(void) { return parsed_with(0); }

/* That the output has this text between "rows": and ,"summary". */
static void expect_rows(const char *rows) {
    cJSON_Delete(parsed());
    const char *begin = strstr(last.out, "\"rows\":");
    const char *end = strstr(last.out, ",\"summary\":{");
    assert_true(begin && end);
    begin += strlen("\"rows\":");
    if (strlen(rows) != (size_t)(end - begin)
        || strncmp(begin, rows, strlen(rows)) != 0)
        fail_msg("%s does not have the rows %s", last.out, rows);
}

static int clear_graph(void **state) {
    (void)state;
    RUN("--json", "MATCH (n) DELETE n");
    return last.status;
}

/* ---- queries and formats ---------------------------------------------- */

static void test_cli_query_as_json(void **state) {
    (void)state;
    RUN("--json", "RETURN 1 AS a, 'x' AS b");
    cJSON *json = parsed();
    const cJSON *columns = cJSON_GetObjectItem(json, "columns");
    assert_int_equal(cJSON_GetArraySize(columns), 2);
    assert_string_equal(cJSON_GetArrayItem(columns, 1)->valuestring, "b");
    const cJSON *summary = cJSON_GetObjectItem(json, "summary");
    assert_int_equal(cJSON_GetObjectItem(summary, "nodes_created")->valueint,
                     0);
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(summary, "internal_ms")));
    cJSON_Delete(json);
    expect_rows("[[1,\"x\"]]");
    assert_string_equal(last.err, "");
    RUN("RETURN 1");                    /* no terminal: JSON */
    expect_rows("[[1]]");
}

static void test_cli_graph_values_as_json(void **state) {
    (void)state;
    RUN("--json", "CREATE (a:A:B {n: 1})-[:R {w: 0.5}]->(c:C) "
        "RETURN labels(a), labels(c)");
    expect_rows("[[[\"A\",\"B\"],[\"C\"]]]");
    RUN("--json", "MATCH (a)-[r:R]->() RETURN a, r");
    cJSON *json = parsed();
    const cJSON *row = cJSON_GetObjectItem(json, "rows")->child;
    const cJSON *node = row->child, *edge = row->child->next;
    assert_int_equal(cJSON_GetArraySize(node), 3);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(node, "labels")),
                     2);
    assert_int_equal(cJSON_GetArraySize(edge), 5);
    assert_string_equal(cJSON_GetObjectItem(edge, "type")->valuestring, "R");
    cJSON_Delete(json);
    RUN("--json", "MATCH p=()-[:R]->() RETURN p");
    json = parsed();
    const cJSON *path = cJSON_GetObjectItem(json, "rows")->child->child;
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(path, "nodes")),
                     2);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(path, "edges")),
                     1);
    cJSON_Delete(json);
    RUN("--json", "RETURN point({latitude: 1.5, longitude: -2}), "
        "date('2024-01-31'), localdatetime('2024-01-31T12:00:01'), "
        "localtime('23:59:58'), duration('P1DT2H3M4S'), "
        "vecf32([0.1, 2]), 0.5, [true, null, {k: 'v'}], 1e300 * 1e300");
    expect_rows("[[{\"latitude\":1.5,\"longitude\":-2},\"2024-01-31\","
        "\"2024-01-31T12:00:01\",\"23:59:58\",\"P1DT2H3M4S\",[0.1,2],0.5,"
        "[true,null,{\"k\":\"v\"}],\"Infinity\"]]");
}

static void test_cli_csv(void **state) {
    (void)state;
    RUN("--csv", "UNWIND [1, 2] AS a RETURN a, 'x,\"y\"' AS `b,c`, '' AS e, "
        "null AS n, 'two\\nlines' AS l, [1, 'z'] AS j, 0.5 AS d, "
        "date('2024-01-31') AS t, true AS f");
    expect_status(0);
    assert_string_equal(last.out, "a,\"b,c\",e,n,l,j,d,t,f\r\n"
        "1,\"x,\"\"y\"\"\",\"\",,\"two\nlines\",\"[1,\"\"z\"\"]\",0.5,"
        "2024-01-31,true\r\n"
        "2,\"x,\"\"y\"\"\",\"\",,\"two\nlines\",\"[1,\"\"z\"\"]\",0.5,"
        "2024-01-31,true\r\n");
    RUN("--csv", "CREATE (:X)");
    expect_status(0);
    assert_string_equal(last.out, "");
}

static void test_cli_table(void **state) {
    (void)state;
    RUN("--table", "UNWIND [[1, 'Ada'], [10, 'Zo\xc3\xab'], "
        "[200, '\xe6\xbc\xa2\xe5\xad\x97']] AS r "
        "RETURN r[0] AS n, r[1] AS name, 'a\\tb\x1b' AS c");
    expect_status(0);
    const char *lines[] = {"|   n | name | c          |\n",
        "|   1 | Ada  | a\\tb\\u001b |\n",
        "|  10 | Zo\xc3\xab  | a\\tb\\u001b |\n",
        "| 200 | \xe6\xbc\xa2\xe5\xad\x97 | a\\tb\\u001b |\n", "3 rows; "};
    for (size_t i = 0; i < 5; i++)
        if (!strstr(last.out, lines[i]))
            fail_msg("%s lacks %s", last.out, lines[i]);
    RUN("--table", "CREATE (:X {a: 1, b: 2})");
    expect_status(0);
    assert_non_null(strstr(last.out, "nodes created: 1"));
    assert_non_null(strstr(last.out, "properties set: 2; "));
    RUN("--table", "MATCH (n:Nobody) RETURN n");
    assert_non_null(strstr(last.out, "| n |\n"));
    assert_non_null(strstr(last.out, "0 rows; "));
}

static void test_cli_read_only(void **state) {
    (void)state;
    RUN("--ro", "RETURN 1");
    expect_rows("[[1]]");
    RUN("--ro", "CREATE (:X)");
    expect_status(1);
    expect_said("read-only");
}

/* ---- parameters ------------------------------------------------------- */

static void test_cli_parameters_of_each_type(void **state) {
    (void)state;
    RUN("--json", "-P", "n=null", "-P", "t=true", "-P", "f=false", "-P",
        "s=\"q\\\"\\u00e9\\n'\"", "-P", "i=-7", "-P", "d=0.25", "-P",
        "l=[1,[2.5,\"3\"],[]]", "--param", "m={\"a\":{\"b c\":[null]},"
        "\"e\":{}}", "RETURN $n, $t, $f, $s, $i, $d, $l, $m");
    expect_rows("[[null,true,false,\"q\\\"\xc3\xa9\\n'\",-7,0.25,"
        "[1,[2.5,\"3\"],[]],{\"a\":{\"b c\":[null]},\"e\":{}}]]");
    RUN("-P", "x=1", "-P", "x=2", "RETURN $x");
    expect_rows("[[2]]");
}

static void test_cli_integers_are_exact(void **state) {
    (void)state;
    RUN("-P", "a=[9007199254740993, -9007199254740993, 9223372036854775807, "
        "{\"123\":-9223372036854775808, \"x\\\"4\":[5, \"6\", 7.0, 1e2]}]",
        "RETURN $a, $a[3]['123'] = -9223372036854775808, "
        "$a[0] - 9007199254740992");
    expect_rows("[[[9007199254740993,-9007199254740993,9223372036854775807,"
        "{\"123\":-9223372036854775808,\"x\\\"4\":[5,\"6\",7,100]}],true,1]]");
}

static void test_cli_parameters_refused(void **state) {
    (void)state;
    static const struct { const char *text, *why; } rows[] = {
        {"a", "name=json"}, {"a=Ada", "no JSON"}, {"a=", "no JSON"},
        {"a=[1,]", "no JSON"}, {"a=1 2", "no JSON"}, {"=1", "no name"},
        {"a=9223372036854775808", "64 bits"},
        {"a=[-9223372036854775809]", "64 bits"},
        {"a=\"x\\u0000y\"", "\\u0000"},
        {"a=\"x\\u00yzz\"", "no JSON"}, {"a=\"\\u", "no JSON"},
        {"\"q\"=1", "-P \"q\"=1: a name has the form [A-Za-z_]"},
        {"na me=1", "-P na me=1: a name has the form"},
        {"$x=1", "-P $x=1: a name has the form"}, {"1x=1", "the form"},
        {"x-y=1", "the form"}, {"\xc3\xa9=1", "the form"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        RUN("-P", rows[i].text, "RETURN 1");
        expect_status(2);
        expect_said(rows[i].why);
        assert_string_equal(last.out, "");
    }
    RUN("-P", "_Az09=1", "RETURN $_Az09");
    expect_rows("[[1]]");
    RUN("-P", "a=1e999", "RETURN $a");
    expect_status(1);
    assert_string_equal(last.out, "");
}

/* ---- standard input --------------------------------------------------- */

static void test_cli_statements_from_input(void **state) {
    (void)state;
    RUN_INPUT("RETURN ';' AS a, \"\\\";\" AS b, `c` + 1 AS `;`\n", "--csv",
              "-P", "c=1");
    expect_status(1);                   /* c is no name there */
    RUN_INPUT("// first; comment\nWITH 1 AS `;` RETURN `;`; /* ; */ ;;\n"
              "RETURN ';' AS a, \"\\\";\" AS b,\n 2 // end;\nAS c; "
              "RETURN 3", "--csv");
    expect_status(0);
    assert_string_equal(last.out, ";\r\n1\r\na,b,c\r\n"
                        ";,\"\"\";\",2\r\n3\r\n3\r\n");
}

static void test_cli_input_of_nothing(void **state) {
    (void)state;
    RUN_INPUT("", "--json");
    expect_status(0);
    RUN_INPUT(" \n// nothing\n;; /* at all */ ", "--json");
    expect_status(0);
    assert_string_equal(last.out, "");
}

/* Slashes that begin no comment are a statement, and a wrong one. */
static void test_cli_input_of_slashes(void **state) {
    (void)state;
    static const char *const inputs[] = {"// no\n\n/", "\n\n/;", "\n\n/\n;",
                                         "\n\n/ /;", "/**/\n\n/'a'"};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        RUN_INPUT(inputs[i], "--csv");
        expect_status(1);
        expect_said("line 3: ");
    }
}

static void test_cli_input_stops_at_the_first_failure(void **state) {
    (void)state;
    RUN_INPUT("RETURN 1;\n\nRETRUN 2;\nRETURN 3;", "--csv");
    expect_status(1);
    assert_string_equal(last.out, "1\r\n1\r\n");
    expect_said("line 3: ");
}

static void test_cli_keeps_going(void **state) {
    (void)state;
    const char *script = "RETURN 1;\n\nRETRUN \"x\";\nRETURN 3 AS a";
    RUN_INPUT(script, "--csv", "--keep-going");
    expect_status(1);
    assert_string_equal(last.out, "1\r\n1\r\na\r\n3\r\n");
    expect_said("line 3: errMsg: Invalid input");
    RUN_INPUT(script, "--json", "-k");
    expect_status(1);
    assert_string_equal(last.err, "");
    const char *second = strchr(last.out, '\n');
    assert_non_null(second);
    cJSON *json = cJSON_ParseWithOpts(second, NULL, false);
    const cJSON *error = cJSON_GetObjectItem(json, "error");
    assert_string_equal(cJSON_GetObjectItem(error, "status")->valuestring,
                        "FALKOR_ERR_QUERY");
    assert_non_null(strstr(cJSON_GetObjectItem(error, "message")->valuestring,
                           "RETRUN \"x\""));
    assert_false(cJSON_IsTrue(cJSON_GetObjectItem(error, "maybe_executed")));
    assert_int_equal(cJSON_GetObjectItem(json, "line")->valueint, 3);
    cJSON_Delete(json);
    assert_non_null(strstr(second, "\n{\"columns\":[\"a\"],\"rows\":[[3]]"));
    RUN("--json", "-k", "RETURN 1 AS a; RETRUN 2; RETURN 3 AS a");
    expect_status(1);
    assert_non_null(strstr(last.out, "\"maybe_executed\":false}}\n{"));
    RUN("--json", "--keep-going", "RETURN 1");
    expect_status(0);
}

static void test_cli_commands_in_input(void **state) {
    (void)state;
    RUN_INPUT(":param x [1, 9007199254740993]\n:format csv\nRETURN $x AS x;\n"
              ":graph test-cli-2\n:graph\n:ro on\n:nothing\n:quit\nRETURN 4;",
              "--json");
    expect_status(0);
    assert_string_equal(last.out,
                        "x\r\n\"[1,9007199254740993]\"\r\ntest-cli-2\n");
    expect_said(":nothing is no command");
}

/* A command with a wrong value changes nothing, and says which are right. */
static void test_cli_commands_with_wrong_values(void **state) {
    (void)state;
    RUN_INPUT(":format\n:format xml\n:ro\n:ro maybe\n:param \"x\" 2\n"
              "CREATE (:X) RETURN 1 AS a", "--csv");
    expect_status(0);
    assert_string_equal(last.out, "a\r\n1\r\n");
    expect_said(":format takes json, csv or table\n");
    expect_said(":format takes json, csv or table, not xml\n");
    expect_said(":ro takes on or off\n");
    expect_said(":ro takes on or off, not maybe\n");
    expect_said("\"x\": a name has the form [A-Za-z_][A-Za-z0-9_]*");
    assert_null(strstr(last.err, "no command"));
}

/* The server's URL with another path. */
static const char *url_with(const char *path) {
    static char url[1000];
    const char *server = getenv("FALKORDB_URL");
    assert_non_null(server);            /* test/server.sh sets it */
    const char *host = strstr(server, "://");
    assert_non_null(host);
    snprintf(url, sizeof url, "%.*s/%s",
             (int)(host + 3 - server + (long)strcspn(host + 3, "/?")), server,
             path);
    return url;
}

static void test_cli_graph_of_the_url(void **state) {
    (void)state;
    run_with(":graph\n:graph b\n:graph\n", (const char *const[]){"-u",
             url_with("in%20ter"), NULL});
    expect_status(0);
    assert_string_equal(last.out, "in ter\nb\n");
    run_with(":graph\n", (const char *const[]){"-u", url_with("inter"), "-g",
             "other", NULL});
    expect_status(0);
    assert_string_equal(last.out, "other\n");
    run_with(":graph\n", (const char *const[]){"-u", url_with(""), NULL});
    expect_status(0);
    assert_string_equal(last.out, "default\n");
}

static void test_cli_several_statements_in_the_argument(void **state) {
    (void)state;
    RUN("--csv", "RETURN 1; RETURN 2;");
    expect_status(0);
    assert_string_equal(last.out, "1\r\n1\r\n2\r\n2\r\n");
}

/* ---- what goes wrong -------------------------------------------------- */

static void test_cli_query_that_fails(void **state) {
    (void)state;
    RUN("RETURN 1 +");
    expect_status(1);
    assert_string_equal(last.out, "");
    expect_said("falkor-cli: ");
    RUN("RETURN 1 / 0");
    expect_status(1);
    expect_said("Division by zero");
}

static void test_cli_wrong_usage(void **state) {
    (void)state;
    static const char *const bad[][4] = {
        {"--nonsense"}, {"-p", "0", "RETURN 1"}, {"-p", "6379x", "RETURN 1"},
        {"-p", "65536", "RETURN 1"}, {"RETURN 1", "RETURN 2"}, {""}, {"-u"},
        {"-u", "http://h", "RETURN 1"}, {"-u", "falkor://h:x", "RETURN 1"},
        {"-u", "falkor://h?x=1", "RETURN 1"}, {"--data", "/tmp", "RETURN 1"},
        {"--embedded", "-p", "7", "RETURN 1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        run_with("", (const char *const[]){bad[i][0], bad[i][1], bad[i][1]
                 ? bad[i][2] : NULL, NULL});
        expect_status(2);
        assert_string_equal(last.out, "");
        assert_true(strlen(last.err) > 20);
    }
    run_with("", (const char *const[]){"-u", "falkor://h", "-h", "i", "X",
                                       NULL});
    expect_status(2);
    expect_said("url and host");
}

static void test_cli_no_connection(void **state) {
    (void)state;
    run_with("", (const char *const[]){"-u", "falkor://:SECRET@127.0.0.1:1"
             "?connect_timeout=1&max_retries=0", "RETURN 1", NULL});
    expect_status(1);
    expect_said("127.0.0.1");
    assert_null(strstr(last.err, "SECRET"));
}

static void test_cli_environment(void **state) {
    (void)state;
    setenv("DB_POOL_TIMEOUT", "soon", 1);
    RUN("RETURN 1");
    unsetenv("DB_POOL_TIMEOUT");
    expect_status(2);
    expect_said("DB_POOL_TIMEOUT");
    setenv("GRAPH_NAME", GRAPH, 1);
    run_with(":graph\n", (const char *const[]){"--ro", NULL});
    unsetenv("GRAPH_NAME");
    expect_status(0);
    assert_string_equal(last.out, GRAPH "\n");
}

static void test_cli_help_and_version(void **state) {
    (void)state;
    run_with("", (const char *const[]){"--help", NULL});
    expect_status(0);
    assert_non_null(strstr(last.out, "usage: falkor-cli"));
    for (const char *line = last.out; *line; ) {
        size_t length = strcspn(line, "\n");
        assert_true(length < 80);
        line += length + (line[length] == '\n');
    }
    assert_non_null(strstr(last.out, "FALKOR_SERVER_SCRIPT"));
    assert_non_null(strstr(last.out, "falkor+sentinel://"));
    assert_non_null(strstr(last.out, "read_from=replica"));
    assert_non_null(strstr(last.out, "Ctrl-C while a query runs"));
    run_with("", (const char *const[]){"--version", NULL});
    expect_status(0);
    assert_int_equal(strncmp(last.out, "falkor-cli ", 11), 0);
}

static void test_cli_output_errors(void **state) {
    (void)state;
    FILE *gone = tmpfile();
    FILE *in = tmpfile(), *err = tmpfile();
    int full = open("/dev/full", O_WRONLY), ends[2];
    assert_true(in && err && gone && full >= 0);
    static const char *const formats[] = {"--json", "--csv", "--table"};
    for (size_t i = 0; i < 3; i++) {
        const char *const arguments[] = {formats[i], "RETURN 1", NULL};
        assert_int_equal(wait_for(start(arguments, fileno(in), full,
                                        fileno(err))), 1);
        assert_int_equal(pipe(ends), 0);
        close(ends[0]);
        assert_int_equal(wait_for(start(arguments, fileno(in), ends[1],
                                        fileno(gone))), 1);
        close(ends[1]);
    }
    slurp(gone, last.err, sizeof last.err);
    assert_string_equal(last.err, "");  /* "| head" is no news */
    close(full);
    fclose(in);
    slurp(err, last.err, sizeof last.err);
    expect_said("standard output: ");
}

/* A reader that leaves in the middle of a long output. */
static void test_cli_reader_that_leaves(void **state) {
    (void)state;
    static const char *const formats[] = {"--json", "--csv", "--table"};
    for (size_t i = 0; i < 3; i++) {
        FILE *in = tmpfile(), *err = tmpfile();
        int ends[2];
        char some[100];
        assert_true(in && err && pipe2(ends, O_CLOEXEC) == 0);
        pid_t child = start((const char *const[]){formats[i], "-g", GRAPH,
            "UNWIND range(1, 100000) AS x RETURN x", NULL}, fileno(in),
            ends[1], fileno(err));
        close(ends[1]);
        assert_true(read(ends[0], some, sizeof some) > 0);
        close(ends[0]);
        assert_int_equal(wait_for(child), 1);
        fclose(in);
        slurp(err, last.err, sizeof last.err);
        assert_string_equal(last.err, "");
    }
}

/* ---- at a terminal ---------------------------------------------------- */

typedef struct terminal {
    int fd;
    pid_t child;
    char seen[1 << 16];
    size_t length, checked;             /* expected text stood before checked */
} terminal;

/* The side of the terminal that the program has. */
static int terminal_open(terminal *self) {
    self->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    const char *name = self->fd >= 0 && grantpt(self->fd) == 0
        && unlockpt(self->fd) == 0 ? ptsname(self->fd) : NULL;
    int slave = name ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    if (slave < 0)
        fail_msg("no pseudo-terminals here (is /dev/pts mounted?): %s",
                 strerror(errno));
    return slave;
}

static void terminal_start(terminal *self, unsigned short columns,
                           const char *const *arguments) {
    memset(self, 0, sizeof *self);
    int slave = terminal_open(self);
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    ioctl(self->fd, TIOCSWINSZ, &size);
    const char *argv[20] = {program()};
    for (size_t i = 0; arguments[i]; i++)
        argv[i + 1] = arguments[i];
    self->child = fork();
    assert_true(self->child >= 0);
    if (self->child == 0) {
        setsid();
        for (int i = 0; i < 3; i++)
            dup2(slave, i);
        ioctl(slave, TIOCSCTTY, 0);
        setenv("TERM", "xterm", 1);
        alarm(60);
        execv(argv[0], (char **)(size_t)argv);
        _exit(99);
    }
    close(slave);
}

/* Reads until text was seen behind what was expected before. */
static void terminal_expect(terminal *self, const char *text) {
    for (;;) {
        const char *found = strstr(self->seen + self->checked, text);
        if (found) {
            self->checked = (size_t)(found - self->seen) + strlen(text);
            return;
        }
        struct pollfd ready = {.fd = self->fd, .events = POLLIN};
        ssize_t got = poll(&ready, 1, 20000) > 0
            ? read(self->fd, self->seen + self->length,
                   sizeof self->seen - self->length - 1) : 0;
        if (got <= 0)
            fail_msg("no \"%s\" in: %s", text, self->seen);
        for (ssize_t i = 0; i < got; i++)       /* a NUL would hide the rest */
            if (!self->seen[self->length + (size_t)i])
                self->seen[self->length + (size_t)i] = '?';
        self->length += (size_t)got;
        self->seen[self->length] = '\0';
    }
}

static void terminal_type(const terminal *self, const char *keys) {
    assert_int_equal(write(self->fd, keys, strlen(keys)),
                     (ssize_t)strlen(keys));
}

static int terminal_end(terminal *self) {
    char rest[4096];
    struct pollfd ready = {.fd = self->fd, .events = POLLIN};
    while (poll(&ready, 1, 20000) > 0
           && read(self->fd, rest, sizeof rest) > 0)
        continue;
    close(self->fd);
    return wait_for(self->child);
}

static char *new_folder(void) {
    char *folder = strdup("/tmp/falkor-cli-XXXXXX");
    assert_non_null(folder);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void remove_folder(char *folder) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    free(folder);
}

static void test_cli_prompt(void **state) {
    (void)state;
    char *folder = new_folder(), path[100];
    terminal self;
    setenv("XDG_STATE_HOME", folder, 1);
    terminal_start(&self, 80, (const char *const[]){"-g", GRAPH, NULL});
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "RETURN 40 +\r");
    terminal_expect(&self, GRAPH "... ");
    terminal_type(&self, "2 AS answer;\r");
    terminal_expect(&self, "| answer |");
    terminal_expect(&self, "|     42 |");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "RETURN 'left\r");
    terminal_expect(&self, GRAPH "... ");
    terminal_type(&self, "alone\x03");
    terminal_expect(&self, "^C");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, ":format csv\r");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "RETURN 6 * 7 AS x; RETRUN;\r");
    terminal_expect(&self, "x\r");
    terminal_expect(&self, "42\r");
    terminal_expect(&self, "falkor-cli: ");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, ":param y 9007199254740993\r");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "RETURN $y + 1 AS z;\r");
    terminal_expect(&self, "9007199254740994");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, ":graph other\r");
    terminal_expect(&self, "other> ");
    terminal_type(&self, ":quit\r");
    assert_int_equal(terminal_end(&self), 0);
    snprintf(path, sizeof path, "%s/falkor_cli_history", folder);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 077, 0);
    terminal_start(&self, 80, (const char *const[]){"-g", GRAPH, NULL});
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "\x10\x10\x10\r");     /* up to RETURN $y + 1 AS z; */
    terminal_expect(&self, "Missing parameters");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "\x04");
    assert_int_equal(terminal_end(&self), 0);
    unsetenv("XDG_STATE_HOME");
    remove_folder(folder);
}

/* Ctrl-C on an empty line leaves the statement, and the session goes on. */
static void test_cli_prompt_interrupted_on_an_empty_line(void **state) {
    (void)state;
    char *folder = new_folder();
    terminal self;
    setenv("XDG_STATE_HOME", folder, 1);
    terminal_start(&self, 80, (const char *const[]){"-g", GRAPH, "--csv",
                   NULL});
    terminal_expect(&self, GRAPH "> ");
    for (int i = 0; i < 3; i++) {
        terminal_type(&self, "\x03");
        terminal_expect(&self, "^C\r\n");
        terminal_expect(&self, GRAPH "> ");
    }
    terminal_type(&self, "RETURN 1 +\r");
    terminal_expect(&self, GRAPH "... ");
    terminal_type(&self, "\x03");
    terminal_expect(&self, "^C\r\n");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "RETURN 'left\r");
    terminal_expect(&self, GRAPH "... ");
    terminal_type(&self, "\x03");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "RETURN 6 * 7 AS x;\r");
    terminal_expect(&self, "x\r");
    terminal_expect(&self, "42\r");
    terminal_expect(&self, GRAPH "> ");
    terminal_type(&self, "\x04");
    assert_int_equal(terminal_end(&self), 0);
    unsetenv("XDG_STATE_HOME");
    remove_folder(folder);
}

static void test_cli_prompt_takes_words_without_a_colon(void **state) {
    (void)state;
    char *folder = new_folder();
    static const char *const leave[] = {"quit\r", " exit \r", "exit;\r"};
    setenv("XDG_STATE_HOME", folder, 1);
    for (size_t i = 0; i < 3; i++) {
        terminal self;
        terminal_start(&self, 80, (const char *const[]){"-g", GRAPH, NULL});
        terminal_expect(&self, GRAPH "> ");
        terminal_type(&self, "help\r");
        terminal_expect(&self, ":graph [NAME]");
        terminal_expect(&self, "While a query runs");
        terminal_expect(&self, GRAPH "> ");
        terminal_type(&self, "RETURN 1 AS\r");
        terminal_expect(&self, GRAPH "... ");
        terminal_type(&self, "quit\r");        /* a column's name here */
        terminal_expect(&self, GRAPH "... ");
        terminal_type(&self, ";\r");
        terminal_expect(&self, "| quit |");
        terminal_expect(&self, GRAPH "> ");
        terminal_type(&self, "quit now\r");
        terminal_expect(&self, GRAPH "... ");
        terminal_type(&self, "\x03");
        terminal_expect(&self, GRAPH "> ");
        terminal_type(&self, leave[i]);
        assert_int_equal(terminal_end(&self), 0);
    }
    unsetenv("XDG_STATE_HOME");
    remove_folder(folder);
}

/* libedit does not survive a prompt that is no text. */
static void test_cli_prompt_shows_the_graph(void **state) {
    (void)state;
    char *folder = new_folder(), longest[200] = "x";
    static const char *const rows[][2] = {
        {"inter", "inter> "}, {"Zo%c3%ab", "Zo\xc3\xab> "},
        {"a%ffb%0ac", "a?b?c> "}, {"a%c3", "a?> "}};
    terminal self;
    setenv("XDG_STATE_HOME", folder, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        terminal_start(&self, 80, (const char *const[]){"-u",
                       url_with(rows[i][0]), NULL});
        terminal_expect(&self, rows[i][1]);
        terminal_type(&self, "\x04");
        assert_int_equal(terminal_end(&self), 0);
    }
    for (int i = 0; i < 60; i++)
        strcat(longest, "\xc3\xab");
    terminal_start(&self, 200, (const char *const[]){"-g", longest, NULL});
    terminal_expect(&self, "x\xc3\xab");
    terminal_expect(&self, "\xc3\xab> ");
    terminal_type(&self, "\x04");
    assert_int_equal(terminal_end(&self), 0);
    unsetenv("XDG_STATE_HOME");
    remove_folder(folder);
}

static void test_cli_asks_for_the_password(void **state) {
    (void)state;
    terminal self;
    for (int round = 0; round < 2; round++) {
        terminal_start(&self, 200, (const char *const[]){"--user",
            "nobody-here", "--askpass", "RETURN 1", NULL});
        terminal_expect(&self, "Password: ");
        terminal_type(&self, round == 0 ? "SECREX\x7fT\r" : "SECRET\x03");
        terminal_expect(&self, round == 0 ? "WRONGPASS"
                                          : "no password was given");
        assert_int_equal(terminal_end(&self), round == 0 ? 1 : 2);
        assert_null(strstr(self.seen, "SECRE"));
    }
}

static void test_cli_table_fits_the_terminal(void **state) {
    (void)state;
    terminal self;
    terminal_start(&self, 40, (const char *const[]){"-g", GRAPH,
        "RETURN 'short' AS a, 'abcdefghijklmnopqrstuvwxyz0123456789"
        "abcdefghijklmnopqrstuvwxyz0123456789' AS b", NULL});
    terminal_expect(&self, "| a     | b                            |\r\n");
    terminal_expect(&self, "| short | abcdefghijklmnopqrstuvwxyz0\xe2\x80\xa6"
                    " |\r\n");
    assert_int_equal(terminal_end(&self), 0);
}

static void test_cli_interrupt_ends_a_query(void **state) {
    (void)state;
    terminal self;
    terminal_start(&self, 80, (const char *const[]){"-g", GRAPH, "--json",
        "RETURN 1; UNWIND range(1, 30000000) AS x WITH x WHERE x % 7 = 9 "
        "RETURN count(x)", NULL});
    terminal_expect(&self, "[[1]]");
    terminal_type(&self, "\x03");
    assert_int_equal(terminal_end(&self), 1000 + SIGINT);
}

/* ---- --embedded ------------------------------------------------------- */

static void need_script(void) {
    const char *script = getenv("FALKOR_SERVER_SH");
    assert_non_null(script);            /* test/run.sh sets it */
    setenv("FALKOR_SERVER_SCRIPT", script, 1);
}

/* Waits until the server over this folder has ended. */
static void expect_free(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    for (int i = 0; i < 300; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            close(fd);
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    fail_msg("the server over %s still runs", folder);
}

static void test_cli_embedded(void **state) {
    (void)state;
    need_script();
    RUN("--embedded", "--csv", "CREATE (:X) WITH 1 AS one MATCH (n) "
        "RETURN count(n) AS n");
    expect_status(0);
    assert_string_equal(last.out, "n\r\n1\r\n");
    setenv("FALKOR_SERVER_SCRIPT", "/nowhere/server.sh", 1);
    RUN("--embedded", "RETURN 1");
    expect_status(1);
    expect_said("/nowhere/server.sh");
    setenv("FALKOR_SERVER_SCRIPT", "/bin/false", 1);
    RUN("--embedded", "RETURN 1");
    expect_status(1);
    expect_said("did not start");
    unsetenv("FALKOR_SERVER_SCRIPT");
}

static void test_cli_embedded_keeps_its_data(void **state) {
    (void)state;
    need_script();
    char *folder = new_folder();
    RUN("--embedded", "--data", folder, "CREATE (:X {v: 9007199254740993})");
    expect_status(0);
    RUN("--embedded", "--data", folder, "MATCH (n:X) RETURN n.v");
    expect_rows("[[9007199254740993]]");
    remove_folder(folder);
}

/* Ctrl-C at the prompt leaves the server alone; the program's end, however it
   comes, ends it and saves the data. */
static void test_cli_embedded_ends_with_the_program(void **state) {
    (void)state;
    need_script();
    static const int signals[] = {SIGINT, SIGTERM, SIGKILL};
    char *folder = new_folder();
    setenv("XDG_STATE_HOME", folder, 1);
    for (size_t i = 0; i < 3; i++) {
        terminal self;
        terminal_start(&self, 80, (const char *const[]){"-g", GRAPH,
                       "--embedded", "--data", folder, "--csv", NULL});
        terminal_expect(&self, GRAPH "> ");
        terminal_type(&self, "nonsense\x03");
        terminal_expect(&self, "^C");
        terminal_expect(&self, GRAPH "> ");
        terminal_type(&self, "CREATE (:X) WITH 1 AS y MATCH (n) "
                      "RETURN 'n' + count(n);\r");
        char expected[] = "n1\r";
        expected[1] = (char)('1' + i);
        terminal_expect(&self, expected);
        kill(self.child, signals[i]);
        assert_int_equal(terminal_end(&self), 1000 + signals[i]);
        expect_free(folder);
    }
    unsetenv("XDG_STATE_HOME");
    remove_folder(folder);
}

static void test_cli_embedded_folder_has_one_server(void **state) {
    (void)state;
    need_script();
    char *folder = new_folder();
    terminal self;
    setenv("XDG_STATE_HOME", folder, 1);
    terminal_start(&self, 80, (const char *const[]){"-g", GRAPH, "--embedded",
                   "--data", folder, NULL});
    terminal_expect(&self, GRAPH "> ");
    RUN("--embedded", "--data", folder, "RETURN 1");
    expect_status(1);
    expect_said("in use");
    terminal_type(&self, ":quit\r");
    assert_int_equal(terminal_end(&self), 0);
    unsetenv("XDG_STATE_HOME");
    remove_folder(folder);
}

/* ---- bench ------------------------------------------------------------ */

#define BENCH(...) \
    run_with("", (const char *const[]){"bench", "-g", GRAPH, __VA_ARGS__, NULL})

static double number(const cJSON *json, const char *name) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsNumber(found))
        fail_msg("no number %s in %s", name, last.out);
    return found->valuedouble;
}

static bool is_true(const cJSON *json, const char *name) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, name));
}

static const cJSON *inside(const cJSON *json, const char *name) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsObject(found))
        fail_msg("no object %s in %s", name, last.out);
    return found;
}

static void expect_number(const cJSON *json, const char *name,
                          double expected) {
    double found = number(json, name);
    if (found < expected || found > expected)
        fail_msg("%s is %g, not %g, in %s", name, found, expected, last.out);
}

/* Runs one query that gives one row, as --csv shows that. */
static void expect_row(const char *query, const char *row) {
    RUN("--csv", query);
    expect_status(0);
    const char *second = strstr(last.out, "\r\n");
    assert_non_null(second);
    assert_string_equal(second + 2, row);
}

static void test_cli_bench_asks_exactly_count(void **state) {
    (void)state;
    static const char *const pools[][2] = {{"8", "3"}, {"1", "1"}, {"4", "9"}};
    for (size_t i = 0; i < 3; i++) {
        clear_graph(NULL);
        BENCH("--json", "--threads", pools[i][0], "--pool", pools[i][1],
              "--count", "500", "-P", "i=@counter", "CREATE (:N {i: $i})");
        cJSON *json = parsed();
        expect_number(json, "queries", 500);
        expect_number(json, "errors", 0);
        cJSON_Delete(json);
        expect_row("MATCH (n:N) RETURN count(n), count(DISTINCT n.i), "
                   "min(n.i), max(n.i)", "500,500,1,500\r\n");
    }
    clear_graph(NULL);                  /* more threads than queries */
    BENCH("--json", "--threads", "20", "--count", "3", "CREATE (:N)");
    cJSON *json = parsed();
    expect_number(json, "queries", 3);
    cJSON_Delete(json);
    expect_row("MATCH (n:N) RETURN count(n)", "3\r\n");
}

/* The figures are there, and none is below the one before. */
static void expect_figures(const cJSON *json) {
    static const char *const names[] = {"min", "p50", "p90", "p95", "p99",
                                        "p99_9", "max"};
    double before = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(number(json, names[i]) >= before);
        before = number(json, names[i]);
    }
    assert_true(number(json, "min") > 0);
    assert_true(number(json, "avg") >= number(json, "min"));
    assert_true(number(json, "avg") <= number(json, "max"));
    assert_int_equal(cJSON_GetArraySize(json), 8);
}

static void test_cli_bench_result_as_json(void **state) {
    (void)state;
    BENCH("--json", "--duration", "0.4", "--warmup", "0.1", "--threads", "6",
          "--pool", "2");
    cJSON *json = parsed();
    assert_string_equal(last.err, "");
    double seconds = number(json, "seconds"), queries = number(json, "queries");
    double rate = number(json, "queries_per_second");
    assert_true(seconds >= 0.4 && seconds < 20 && queries > 0);
    assert_true(rate * seconds > queries * 0.999
                && rate * seconds < queries * 1.001);
    assert_true(is_true(json, "read_only") && !is_true(json, "interrupted"));
    assert_string_equal(cJSON_GetObjectItem(json, "query")->valuestring,
                        "RETURN 1");
    assert_string_equal(cJSON_GetObjectItem(json, "graph")->valuestring, GRAPH);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "first_error")));
    assert_null(cJSON_GetObjectItem(json, "wait_ms"));
    expect_figures(inside(json, "latency_ms"));
    /* Six threads cannot have had more time than there was. */
    assert_true(number(inside(json, "latency_ms"), "avg") * queries
                <= seconds * 6 * 1000 * 1.001);
    const cJSON *pool = inside(json, "pool");
    expect_number(pool, "max_size", 2);
    expect_number(pool, "connections_created", 0);      /* they were there */
    assert_true(number(pool, "samples") > 0);
    assert_true(number(pool, "in_use_avg") <= 2);
    assert_true(number(pool, "waiting_max") <= 6);
    cJSON_Delete(json);
}

static void test_cli_bench_measures_waits(void **state) {
    (void)state;
    BENCH("--json", "--waits", "--count", "300", "--threads", "6", "--pool",
          "1", "RETURN 2");
    cJSON *json = parsed();
    const cJSON *wait = inside(json, "wait_ms");
    expect_figures(wait);
    assert_true(number(wait, "avg")
                < number(inside(json, "latency_ms"), "avg"));
    /* Five wait while one is served: that is most of the time. */
    assert_true(number(wait, "avg")
                > number(inside(json, "latency_ms"), "avg") / 3);
    cJSON_Delete(json);
}

static void test_cli_bench_pool_of_the_url(void **state) {
    (void)state;
    run_with("", (const char *const[]){"bench", "-u", url_with(GRAPH
             "?pool_max_size=3"), "--json", "--count", "9", NULL});
    cJSON *json = parsed();
    expect_number(inside(json, "pool"), "max_size", 3);
    cJSON_Delete(json);
    run_with("", (const char *const[]){"bench", "-u", url_with(GRAPH
             "?pool_min_size=9"), "--pool", "4", "--count", "9", NULL});
    expect_status(2);
    expect_said("max_size 4");
}

static void test_cli_bench_table(void **state) {
    (void)state;
    BENCH("--threads", "2", "--count", "20", "RETURN\n1");
    expect_status(0);
    static const char *const lines[] = {"query   RETURN 1\ngraph   " GRAPH "\n",
        "2 threads, pool of 20", "\nqueries 20 in ", "\nerrors  0\n",
        "ms           min      avg      p50", "\nlatency ", "\npool "};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(last.out, lines[i]))
            fail_msg("%s lacks %s", last.out, lines[i]);
    assert_string_equal(last.err, "");
}

static void test_cli_bench_counts_errors(void **state) {
    (void)state;
    BENCH("--json", "--count", "40", "-P", "i=@counter",
          "RETURN 1 / ($i % 4)");
    cJSON *json = parsed_with(1);
    expect_number(json, "queries", 40);
    expect_number(json, "errors", 10);
    expect_number(inside(json, "errors_by_status"), "FALKOR_ERR_QUERY", 10);
    assert_int_equal(cJSON_GetArraySize(inside(json, "errors_by_status")), 1);
    expect_number(json, "maybe_executed", 0);
    assert_non_null(strstr(cJSON_GetObjectItem(json, "first_error")
                           ->valuestring, "Division by zero"));
    expect_figures(inside(json, "latency_ms"));
    cJSON_Delete(json);
    BENCH("--json", "--count", "4", "RETRUN \"x\"");
    json = parsed_with(1);
    expect_number(json, "errors", 4);
    expect_number(json, "queries_per_second", 0);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(inside(json, "latency_ms"),
                                                 "p50")));
    cJSON_Delete(json);
    BENCH("--count", "4", "RETRUN 1");
    expect_status(1);
    assert_non_null(strstr(last.out, "4 FALKOR_ERR_QUERY\n"));
    assert_non_null(strstr(last.out, "the first: errMsg: Invalid input"));
}

static void test_cli_bench_read_only(void **state) {
    (void)state;
    clear_graph(NULL);
    BENCH("--json", "--ro", "--count", "3", "CREATE (:N)");
    cJSON *json = parsed_with(1);
    expect_number(json, "errors", 3);
    cJSON_Delete(json);
    expect_row("MATCH (n) RETURN count(n)", "0\r\n");
    run_with("", (const char *const[]){"bench", "-g", "test-cli-none",
             "--duration", "60", NULL});
    expect_status(1);
    expect_said("no graph test-cli-none");
    assert_string_equal(last.out, "");
}

/* Each query has values of its own, which the server has kept. */
static void test_cli_bench_values_of_their_own(void **state) {
    (void)state;
    char seen[200] = "";
    for (int round = 0; round < 2; round++) {
        clear_graph(NULL);
        BENCH("--json", "--threads", "3", "--count", "90", "-P",
              "c=@counter:-1..1", "-P", "r=@random:5..8", "-P", "t=@thread",
              "-P", "f=@counter:9223372036854775700", "-P", "x=@counter", "-P",
              "x=7", "-P", "y=8", "-P", "y=@random:-9223372036854775808.."
              "9223372036854775807", "-P", "s=\"@counter\"",
              "CREATE (:N {c: $c, r: $r, t: $t, f: $f, x: $x, y: $y, s: $s})");
        cJSON_Delete(parsed());
        expect_row("MATCH (n:N) WITH n.c AS c, count(n) AS k ORDER BY c "
                   "RETURN collect([c, k])", "\"[[-1,30],[0,30],[1,30]]\"\r\n");
        expect_row("MATCH (n:N) RETURN min(n.r), max(n.r), "
                   "count(DISTINCT n.r), min(n.f), max(n.f), min(n.x), "
                   "max(n.x), count(DISTINCT n.y), min(n.s), max(n.s)",
                   "5,8,4,9223372036854775700,9223372036854775789,7,7,90,"
                   "@counter,@counter\r\n");
        expect_row("MATCH (n:N) RETURN min(n.t) >= 1 AND max(n.t) <= 3",
                   "true\r\n");
        RUN("--csv", "MATCH (n:N) WITH n.r AS r, count(n) AS k ORDER BY r "
            "RETURN collect([r, k])");
        if (round == 0)
            memcpy(seen, last.out, sizeof seen - 1);
        else
            assert_string_equal(last.out, seen);    /* repeatable */
    }
}

static void test_cli_bench_warms_up(void **state) {
    (void)state;
    clear_graph(NULL);
    BENCH("--json", "--threads", "2", "--warmup", "0.2", "--duration", "0.2",
          "-P", "i=@counter", "CREATE (:N {i: $i})");
    cJSON *json = parsed();
    double queries = number(json, "queries");
    cJSON_Delete(json);
    RUN("--json", "MATCH (n:N) RETURN count(n), count(DISTINCT n.i), "
        "max(n.i)");
    json = parsed();
    const cJSON *row = cJSON_GetObjectItem(json, "rows")->child;
    assert_true(row->child->valuedouble > queries);
    assert_int_equal(row->child->valueint, row->child->next->valueint);
    assert_int_equal(row->child->valueint, row->child->next->next->valueint);
    cJSON_Delete(json);
    BENCH("--json", "--threads", "1", "--warmup", "0.1", "--duration", "0.1",
          "RETRUN");
    expect_status(1);
    expect_said("queries failed in the warm-up; the first: errMsg");
}

static void test_cli_bench_wrong_usage(void **state) {
    (void)state;
    static const struct { const char *option, *value, *why; } rows[] = {
        {"--threads", "0", "--threads takes a number from 1 to 10000, not 0"},
        {"--threads", "10001", "not 10001"}, {"--threads", "4x", "not 4x"},
        {"--pool", "0", "--pool takes a number from 1 to 10000, not 0"},
        {"--pool", "-1", "not -1"}, {"--pool", "", "not nothing"},
        {"--count", "0", "--count takes a number from 1 on, not 0"},
        {"--count", "99999999999999999999", "not 99999999999999999999"},
        {"--duration", "0", "--duration takes seconds, above 0"},
        {"--duration", "1h", "not 1h"}, {"--duration", "nan", "not nan"},
        {"--duration", "1", "--count and --duration"},
        {"--warmup", "-1", "--warmup takes seconds, from 0"},
        {"--warmup", "1", "goes without --warmup"},
        {"-P", "i=@count", "-P i=@count: that is no rule: there are @counter"},
        {"-P", "i=@", "-P i=@: "}, {"-P", "i=@counter:", "-P i=@counter:: "},
        {"-P", "i=@counter:a", "no rule"}, {"-P", "i=@counter:1..", "no rule"},
        {"-P", "i=@counter:1-9", "@random:1..1000"},
        {"-P", "i=@counter:2..1", "FROM not above TO"},
        {"-P", "i=@random", "no rule"}, {"-P", "i=@random:5", "no rule"},
        {"-P", "i=@random:1..9223372036854775808", "no rule"},
        {"-P", "i=@thread:1..2", "no rule"}, {"-P", "=@thread", "no name"},
        {"-P", "1=@thread", "a name has the form"}, {"-P", "i=x", "no JSON"},
        {"--csv", "RETURN 1", "--table, or --json"},
        {"-k", "RETURN 1", "--keep-going"}, {"--port", "0", "a port"},
        {"--nonsense", "RETURN 1", "--help"},
        {"RETURN 1", "RETURN 2", "one QUERY"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        BENCH("--count", "1", rows[i].option, rows[i].value);
        expect_status(2);
        expect_said(rows[i].why);
        assert_string_equal(last.out, "");
    }
    RUN("bench");
    expect_status(2);
    expect_said("bench comes first");
    RUN("--threads", "5", "RETURN 1");
    expect_status(2);
}

static void test_cli_bench_help(void **state) {
    (void)state;
    BENCH("--help");
    expect_status(0);
    assert_non_null(strstr(last.out, "usage: falkor-cli bench"));
    assert_non_null(strstr(last.out, "WRITES TO THE GRAPH"));
    for (const char *line = last.out; *line; ) {
        size_t length = strcspn(line, "\n");
        assert_true(length < 80);
        line += length + (line[length] == '\n');
    }
}

static void test_cli_bench_no_connection(void **state) {
    (void)state;
    run_with("", (const char *const[]){"bench", "-u",
             "falkor://127.0.0.1:1?connect_timeout=1&max_retries=0", NULL});
    expect_status(1);
    expect_said("127.0.0.1");
    assert_string_equal(last.out, "");
}

/* There is memory for some of the threads only. */
static void test_cli_bench_threads_that_do_not_start(void **state) {
    (void)state;
    struct rlimit before, small;
    if (TEST_SANITIZED)
        skip();                         /* it wants more for itself */
    clear_graph(NULL);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)1 << 31;
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    BENCH("--threads", "2000", "--count", "9", "CREATE (:N)");
    setrlimit(RLIMIT_AS, &before);
    expect_status(1);
    expect_said("of 2000 did not start: ");
    assert_string_equal(last.out, "");
    expect_row("MATCH (n) RETURN count(n)", "0\r\n");
}

static void test_cli_bench_output_error(void **state) {
    (void)state;
    FILE *in = tmpfile(), *err = tmpfile();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(in && err && full >= 0);
    assert_int_equal(wait_for(start((const char *const[]){"bench", "-g", GRAPH,
        "--count", "1", NULL}, fileno(in), full, fileno(err))), 1);
    close(full);
    fclose(in);
    slurp(err, last.err, sizeof last.err);
    expect_said("standard output: ");
}

/* Starts it for a minute, waits until it says it runs, and interrupts it so
   often. Its output is in last. */
static void interrupt_bench(int times, const char *query) {
    FILE *in = tmpfile(), *out = tmpfile();
    int ends[2];
    char line[100];
    assert_true(in && out && pipe2(ends, O_CLOEXEC) == 0);
    pid_t child = start((const char *const[]){"bench", "-g", GRAPH, "--json",
        "--progress", "--threads", "1", "--duration", "60", "--warmup", "0",
        query, NULL}, fileno(in), fileno(out), ends[1]);
    close(ends[1]);
    assert_true(read(ends[0], line, sizeof line) > 0);  /* after a second */
    assert_int_equal(strncmp(line, "run 1 s: ", 9), 0);
    for (int i = 0; i < times; i++) {
        kill(child, SIGINT);
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    last.status = wait_for(child);
    close(ends[0]);
    fclose(in);
    slurp(out, last.out, sizeof last.out);
}

static void test_cli_bench_interrupted(void **state) {
    (void)state;
    interrupt_bench(1, "RETURN 1");
    cJSON *json = parsed();
    assert_true(is_true(json, "interrupted"));
    assert_true(number(json, "queries") > 0 && number(json, "seconds") < 30);
    expect_figures(inside(json, "latency_ms"));
    cJSON_Delete(json);
    interrupt_bench(2, "UNWIND range(1, 40000000) AS x WITH x "
                    "WHERE x % 7 = 9 RETURN count(x)");
    assert_int_equal(last.status, 1000 + SIGINT);
    assert_string_equal(last.out, "");
}

static void test_cli_bench_shows_progress(void **state) {
    (void)state;
    terminal self;
    terminal_start(&self, 80, (const char *const[]){"bench", "-g", GRAPH,
        "--warmup", "1.1", "--duration", "60", "--threads", "2", NULL});
    terminal_expect(&self, "\rwarm-up 1 s: ");
    terminal_expect(&self, " queries/s, 0 errors, ");
    terminal_expect(&self, "\rrun 1 s: ");
    terminal_type(&self, "\x03");
    terminal_expect(&self, "query   RETURN 1\r\n");
    terminal_expect(&self, "ended by Ctrl-C");
    terminal_expect(&self, "\nlatency ");
    assert_int_equal(terminal_end(&self), 0);
    terminal_start(&self, 80, (const char *const[]){"bench", "-g", GRAPH,
        "--json", "--warmup", "0", "--duration", "1.2", NULL});
    terminal_expect(&self, "}}\r\n");
    assert_int_equal(self.seen[0], '{');
    assert_int_equal(terminal_end(&self), 0);
}

/* Nothing is there, and yet the default query finds a graph to read. */
static void test_cli_bench_embedded(void **state) {
    (void)state;
    need_script();
    BENCH("--embedded", "--json", "--count", "100");
    unsetenv("FALKOR_SERVER_SCRIPT");
    cJSON *json = parsed();
    expect_number(json, "errors", 0);
    cJSON_Delete(json);
}

/* ---- stats: another program's pool ------------------------------------ */

/* Answers each GET with the next of its texts, the last again and again; NULL:
   with nothing, until whoever asked leaves. */
typedef struct endpoint {
    int listener, port;
    const char *const *answers;
    atomic_int heard, asked;            /* requests that came, were answered */
    char request[2000];                 /* the last */
    pthread_t thread;
} endpoint;

static void answer_one(endpoint *self, int fd) {
    size_t length = 0;
    ssize_t got;
    char rest[100];
    while (length < sizeof self->request - 1
           && (got = read(fd, self->request + length,
                          sizeof self->request - 1 - length)) > 0) {
        length += (size_t)got;
        self->request[length] = '\0';
        if (strstr(self->request, "\r\n\r\n"))
            break;
    }
    atomic_fetch_add(&self->heard, 1);
    const char *text = *self->answers;
    if (text) {
        /* In two pieces, so that nobody can rely on getting all at once. */
        size_t size = strlen(text), first = size / 2;
        if (write(fd, text, first) == (ssize_t)first) {
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
            (void)!write(fd, text + first, size - first);
        }
        shutdown(fd, SHUT_WR);
    }
    while (read(fd, rest, sizeof rest) > 0)
        continue;
    if (self->answers[1])
        self->answers++;
    atomic_fetch_add(&self->asked, 1);
}

static void *serve(void *argument) {
    endpoint *self = argument;
    int fd;
    while ((fd = accept4(self->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        answer_one(self, fd);
        close(fd);
    }
    return NULL;
}

/* answers ends with NULL behind its last, which is not the first. */
static void endpoint_start(endpoint *self, const char *const *answers) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(self, 0, sizeof *self);
    self->answers = answers;
    self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(self->listener, (struct sockaddr *)&address, size),
                     0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)&address,
                                 &size), 0);
    assert_int_equal(listen(self->listener, 5), 0);
    self->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&self->thread, NULL, serve, self), 0);
}

static void endpoint_stop(endpoint *self) {
    shutdown(self->listener, SHUT_RDWR);
    pthread_join(self->thread, NULL);
    close(self->listener);
}

static const char *endpoint_url(const endpoint *self, const char *path) {
    static char url[200];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", self->port, path);
    return url;
}

/* Asks an endpoint that answers so, with these options before its URL. */
static int ask_endpoint(const char *answer, const char *option,
                        const char *value) {
    endpoint self;
    endpoint_start(&self, (const char *const[]){answer, NULL});
    const char *arguments[] = {"stats", endpoint_url(&self, "/health"), option,
                               value, NULL};
    run_with("", arguments);
    endpoint_stop(&self);
    return last.status;
}

static void expect_shown(const char *text) {
    if (!strstr(last.out, text))
        fail_msg("%s lacks %s", last.out, text);
}

#define DOCUMENT_OF(name, queries, taken) \
    "{\"pool\":{\"name\":\"" name "\",\"graph\":\"inter\"," \
    "\"server\":\"db:6379\",\"max_connections\":20,\"min_connections\":5," \
    "\"pool_size\":16,\"active_connections\":15,\"idle_connections\":1," \
    "\"connecting\":2,\"waiting\":5,\"utilization_percent\":75," \
    "\"total_timeouts\":3,\"connections_created\":21," \
    "\"connections_recycled\":4,\"connections_failed\":6," \
    "\"total_health_failures\":7,\"circuit\":\"closed\"},\"queries\":" \
    "{\"total\":" queries ",\"retries\":9,\"errors_total\":12,\"errors\":" \
    "{\"FALKOR_ERR_QUERY\":8,\"FALKOR_ERR_POOL_TIMEOUT\":4}},\"latency\":{" \
    "\"acquire_wait\":{\"count\":0,\"avg_ms\":0,\"p50_ms\":0,\"p95_ms\":0," \
    "\"p99_ms\":0,\"max_ms\":0},\"query\":{\"count\":990,\"avg_ms\":1.5," \
    "\"p50_ms\":1,\"p95_ms\":3,\"p99_ms\":4,\"max_ms\":20.25}}," \
    "\"health\":{\"verdict\":\"WARNING\",\"reasons\":[{\"verdict\":" \
    "\"WARNING\",\"fault\":\"program\",\"text\":\"calls that failed: 2, " \
    "over 0\"}],\"window_ms\":60000,\"utilization_percent\":75.5," \
    "\"avg_wait_ms\":0.25,\"errors\":2},\"connections\":[]," \
    "\"memory\":{},\"taken_unix_ms\":" taken "}"
#define DOCUMENT DOCUMENT_OF("main", "1000", "1700000000000")
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define WHOLE(document) OK_HEAD "\r\n" document "\n"

static void test_cli_stats_draws_a_document(void **state) {
    (void)state;
    static const char *const lines[] = {
        "pool         main  graph inter  at db:6379  ",
        "\nhealth       WARNING  in 60 s: 75.5 % in use, 0.250 ms average "
        "wait, 2 errors\n",
        "\n             WARNING  program: calls that failed: 2, over 0\n",
        "\nconnections  ###############.....  15 of 20 in use, 1 idle, "
        "2 connecting\n",
        "\nwaiting      #####...............  5 threads, 3 timed out\n",
        "\never         21 connections made, 4 recycled, 6 failed, 7 checks "
        "failed\n",
        "\nqueries      1000, 9 retries\n",
        "\nerrors       ####################  8 FALKOR_ERR_QUERY\n",
        "\n             ##########..........  4 FALKOR_ERR_POOL_TIMEOUT\n",
        "\nms              count      avg      p50      p95      p99"
        "      max\n",
        "\nacquire_wait        0        -        -        -        -"
        "        -\n",
        "\nquery             990    1.500    1.000    3.000    4.000   20.250 "
        "###======---\n"};
    endpoint self;
    setenv("LC_ALL", "C", 1);
    endpoint_start(&self, (const char *const[]){WHOLE(DOCUMENT), NULL});
    run_with("", (const char *const[]){"stats", endpoint_url(&self,
             "/health?pool=main#part"), NULL});
    endpoint_stop(&self);
    unsetenv("LC_ALL");
    expect_status(0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_shown(lines[i]);
    assert_string_equal(last.err, "");
    assert_null(strchr(last.out, '\033'));
    char wanted[200];
    snprintf(wanted, sizeof wanted, "GET /health?pool=main HTTP/1.1\r\n"
             "Host: 127.0.0.1:%d\r\n", self.port);
    assert_int_equal(strncmp(self.request, wanted, strlen(wanted)), 0);
    assert_non_null(strstr(self.request, "\r\nConnection: close\r\n"));
}

/* What of the nodes is not there is not known, and cannot move the rest. */
static void test_cli_stats_draws_nodes(void **state) {
    (void)state;
    endpoint self;
    setenv("LC_ALL", "C", 1);
    endpoint_start(&self, (const char *const[]){WHOLE("[" DOCUMENT ",{\"pool\":"
        "{\"name\":\"main\",\"active_connections\":2,\"pool_size\":3,"
        "\"max_connections\":20},\"node\":{\"address\":\"127.0.0.11:6379\","
        "\"role\":\"primary\",\"well\":true,\"lag_bytes\":null,\"lag_ms\":"
        "null,\"slots\":5461},\"health\":{\"verdict\":\"OK\",\"reasons\":[]}}"
        ",{\"pool\":{},\"node\":{\"address\":\"db2:6379\",\"role\":"
        "\"replica\",\"well\":false,\"lag_bytes\":12,\"lag_ms\":3456},"
        "\"health\":{\"verdict\":\"WARNING\",\"reasons\":[{\"verdict\":"
        "\"WARNING\",\"fault\":\"server\",\"text\":\"it lags\"}]}},{\"pool\":"
        "{},\"node\":{\"address\":7}}," DOCUMENT_OF("other", "1", "2") "]"),
        NULL});
    run_with("", (const char *const[]){"stats", endpoint_url(&self, "/health"),
             NULL});
    endpoint_stop(&self);
    unsetenv("LC_ALL");
    expect_status(0);
    expect_shown("###======---\n"
        "node             role     well  lag bytes     lag ms  slots  in use"
        "  open  most  health\n"
        "127.0.0.11:6379  primary  yes           -          -   5461       2"
        "     3    20  OK\n"
        "db2:6379         replica  no           12       3456      0       0"
        "     0     0  WARNING\n"
        "             WARNING  server: it lags\n"
        "                          no            -          -      0       0"
        "     0     0  unknown\n"
        "\npool         other  ");
}

static void test_cli_stats_bars_of_blocks(void **state) {
    (void)state;
    setenv("LC_ALL", "C.UTF-8", 1);
    ask_endpoint(WHOLE(DOCUMENT_OF("Zo\xc3\xab \\u001b[2J\\u009b", "1", "1")),
                 NULL, NULL);
    expect_status(0);
    expect_shown("pool         Zo\xc3\xab  [2J   graph");
    expect_shown("waiting      \xe2\x96\x88\xe2\x96\x88\xe2\x96\x88\xe2\x96\x88"
                 "\xe2\x96\x88\xe2\x96\x91");
    setenv("LC_ALL", "C", 1);
    ask_endpoint(WHOLE(DOCUMENT_OF("Zo\xc3\xab", "1", "1")), NULL, NULL);
    unsetenv("LC_ALL");
    expect_shown("pool         Zo??  graph");
}

/* What is a document, whichever way it comes; --json prints it as it is. */
static void test_cli_stats_takes_every_answer(void **state) {
    (void)state;
    char counted[4000], chunked[4000], two[8000];
    snprintf(counted, sizeof counted, "HTTP/1.0 503 Service Unavailable\r\n"
             "content-length:  %zu \r\n\r\n%sx", strlen(DOCUMENT), DOCUMENT);
    snprintf(chunked, sizeof chunked, OK_HEAD "Transfer-Encoding: chunked\r\n"
             "\r\n7;name=value\r\n%.7s\r\n%zX\r\n%s\r\n0\r\nTrailer: x\r\n\r\n",
             DOCUMENT, strlen(DOCUMENT) - 7, &DOCUMENT[7]);
    const char *const answers[] = {WHOLE(DOCUMENT), counted, chunked};
    for (size_t i = 0; i < 3; i++) {
        ask_endpoint(answers[i], "--json", NULL);
        expect_status(0);
        assert_string_equal(last.out, DOCUMENT "\n");
        assert_string_equal(last.err, "");
    }
    snprintf(two, sizeof two, "%s\r\n[%s,%s]", OK_HEAD,
             DOCUMENT_OF("one", "1", "1"), DOCUMENT_OF("two", "2", "2"));
    ask_endpoint(two, "--table", NULL);
    expect_status(0);
    expect_shown("pool         one  ");
    expect_shown("\n\npool         two  ");
    ask_endpoint(WHOLE("{\"pool\":{}}"), NULL, NULL);   /* of a new version */
    expect_status(0);
    expect_shown("health       unknown  ");
    ask_endpoint(WHOLE("{\"pool\":{\"waiting\":1e999,\"max_connections\":1e999},"
        "\"taken_unix_ms\":1e300,\"queries\":{\"errors\":{\"IO\":1e999}},"
        "\"latency\":{\"hold\":{\"p50_ms\":-1e300,\"p99_ms\":1}}}"), NULL,
        NULL);                          /* what no number can be */
    expect_status(0);
    expect_shown("pool         \n");
    expect_shown("  0 threads, 0 timed out\n");
    expect_shown("errors       0\n");
}

static void test_cli_stats_says_what_is_no_document(void **state) {
    (void)state;
    static const struct { const char *answer, *why; } rows[] = {
        {WHOLE("hello"), "/health: that is no pool's health document"},
        {WHOLE("{}"), "no pool's health document"},
        {WHOLE("[]"), "no pool's health document"},
        {WHOLE("{\"pool\":{}} more"), "no pool's health document"},
        {WHOLE(""), "no pool's health document"},
        {"HTTP/1.1 503 Busy\r\n\r\nbusy", "no pool's health document"},
        {OK_HEAD "Content-Length: 9999\r\n\r\n{\"pool\"", "was cut off behind"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"pool\"\r\n",
         "was cut off behind"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n70\r\n{\"pool\"",
         "was cut off behind"},
        {OK_HEAD, "was cut off behind"}, {"HT", "was cut off behind 2 bytes"},
        {"", "was cut off behind 0 bytes"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n", "HTTP/1.1"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n\r\n3\r\n\r\n0\r\n",
         "does not speak HTTP/1.1"},    /* no number, but one behind it */
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}}}\r\n",
         "does not speak HTTP/1.1"},
        {OK_HEAD "Transfer-Encoding: gzip\r\n\r\nx", "HTTP/1.1"},
        {OK_HEAD "Content-Length: -1\r\n\r\n", "does not speak HTTP/1.1"},
        {"SSH-2.0-x\r\n\r\n", "is it the right port?"},
        {"-ERR wrong number of arguments\r\n", "is it the right port?"},
        {"HTTP/2 200\r\n\r\n", "does not speak HTTP/1.1"},
        {"HTTP/1.1 \r\n\r\n200\r\n\r\n{}", "does not speak HTTP/1.1"},
        {"HTTP/1.1 404 Not Found\r\n\r\n", "the answer is 404 Not Found, not"},
        {"HTTP/1.1 302 Found\r\nLocation: http://x/\033[1m\r\n\r\n",
         "a redirect, which is not followed: ask http://x/ [1m"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ask_endpoint(rows[i].answer, NULL, NULL);
        if (last.status != 1 || !strstr(last.err, rows[i].why))
            fail_msg("row %zu: status %d, %s", i, last.status, last.err);
        expect_said("falkor-cli: http://127.0.0.1:");
        assert_string_equal(last.out, "");
    }
}

static void test_cli_stats_has_a_deadline(void **state) {
    (void)state;
    endpoint self;
    ask_endpoint(NULL, "--timeout", "0.2");
    expect_status(1);
    expect_said("no answer within 0.2 s");
    endpoint_start(&self, (const char *const[]){NULL, NULL});
    const char *url = endpoint_url(&self, "/health");
    endpoint_stop(&self);               /* nobody listens there now */
    run_with("", (const char *const[]){"stats", url, "--watch", NULL});
    expect_status(1);
    expect_said("Connection refused: does the program run that serves it?");
}

/* What fails in between is told of, and tried again. */
static void test_cli_stats_watches_a_document(void **state) {
    (void)state;
    endpoint self;
    static const char *const answers[] = {
        WHOLE(DOCUMENT_OF("main", "100", "1700000000000")),
        "HTTP/1.1 500 Broken\r\n\r\n",
        WHOLE(DOCUMENT_OF("main", "150", "1700000002000")), NULL};
    for (int json = 0; json < 2; json++) {
        endpoint_start(&self, answers);
        run_with("", (const char *const[]){"stats", endpoint_url(&self, ""),
                 "--count", "3", "--watch", "0.05", json ? "--json" : NULL,
                 NULL});
        endpoint_stop(&self);
        expect_status(1);
        expect_said("the answer is 500 Broken, not 200 or 503");
        assert_int_equal(self.asked, 4);
        assert_int_equal(strncmp(self.request, "GET /health ", 12), 0);
        if (json) {
            cJSON *first = cJSON_ParseWithOpts(last.out, NULL, false);
            assert_non_null(first);
            cJSON_Delete(first);
            assert_non_null(strstr(last.out, "}\n{\"pool\""));
        } else {
            expect_shown("queries      100, 9 retries\n");
            expect_shown("\n\npool         main");
            expect_shown("queries      150, 25.0 a second, 9 retries\n");
        }
    }
}

/* ---- stats: a pool of its own ------------------------------------------ */

#define STATS(...) \
    run_with("", (const char *const[]){"stats", "-g", GRAPH, __VA_ARGS__, NULL})

static void test_cli_stats_of_an_own_pool(void **state) {
    (void)state;
    clear_graph(NULL);
    STATS("--json", "--threads", "6", "--pool", "2", "--watch", "0.3",
          "--count", "1");
    cJSON *json = parsed();
    const cJSON *pool = inside(json, "pool");
    assert_string_equal(cJSON_GetObjectItem(pool, "name")->valuestring,
                        "falkor-cli");
    assert_string_equal(cJSON_GetObjectItem(pool, "graph")->valuestring, GRAPH);
    expect_number(pool, "max_connections", 2);
    expect_number(pool, "pool_size", 2);
    assert_true(is_true(pool, "initialized"));
    assert_true(number(inside(json, "queries"), "total") > 10);
    const cJSON *latency = inside(inside(json, "latency"), "query");
    assert_true(number(latency, "p50_ms") > 0);
    cJSON_Delete(json);
    assert_string_equal(last.err, "");
    STATS("--watch=0.2", "--count", "2", "--threads", "2");
    expect_status(0);
    expect_shown("pool         falkor-cli  graph " GRAPH "  at ");
    expect_shown(" a second, 0 retries\n");
    expect_shown("\n\npool         falkor-cli");
    expect_shown(" of 20 in use, ");
    expect_shown("\nerrors       0\n");
    STATS("--threads", "2");            /* for a second */
    expect_status(0);
    expect_shown("\nhealth       ");
}

/* The query's parameters, and its failures. The graph is another one: of GRAPH
   the server may still read for a client that was interrupted. */
static void test_cli_stats_of_a_query(void **state) {
    (void)state;
    run_with("", (const char *const[]){"stats", "-g", GRAPH "-stats", "--json",
             "--watch", "0.3", "--count", "1", "--threads", "3", "-P",
             "i=@counter", "--query", "CREATE (:N {i: $i})", NULL});
    cJSON *json = parsed();
    assert_true(number(inside(json, "queries"), "total") > 0);
    cJSON_Delete(json);
    run_with("", (const char *const[]){"-g", GRAPH "-stats", "--csv",
             "MATCH (n:N) RETURN count(n) > 0 AND min(n.i) = 1 AS well", NULL});
    expect_status(0);
    assert_string_equal(last.out, "well\r\ntrue\r\n");
    run_with("", (const char *const[]){"-g", GRAPH "-stats",
             "MATCH (n:N) DELETE n", NULL});
    expect_status(0);
    STATS("--watch", "0.2", "--count", "1", "--threads", "2", "--query",
          "RETURN 1 / 0");
    expect_status(1);
    expect_shown(" FALKOR_ERR_QUERY\n");
    expect_said(" queries failed; the first: ");
    expect_said("Division by zero");
    run_with("", (const char *const[]){"stats", "-u",
             "falkor://127.0.0.1:1?connect_timeout=1&max_retries=0", NULL});
    expect_status(1);
    expect_said("127.0.0.1");
    run_with("", (const char *const[]){"stats", "-g", "test-cli-none", NULL});
    expect_status(1);
    expect_said("no graph test-cli-none");
}

static void test_cli_stats_in_place(void **state) {
    (void)state;
    terminal self;
    setenv("LC_ALL", "C", 1);
    terminal_start(&self, 80, (const char *const[]){"stats", "-g", GRAPH,
        "--watch", "0.1", "--threads", "2", NULL});
    terminal_expect(&self, "\033[2J\033[Hpool         falkor-cli");
    terminal_expect(&self, "\033[K\r\nhealth       \033[3");
    terminal_expect(&self, "\033[J");
    terminal_expect(&self, "\033[Hpool");
    terminal_expect(&self, "\nquery");
    terminal_type(&self, "\x03");
    assert_int_equal(terminal_end(&self), 0);
    setenv("NO_COLOR", "1", 1);
    terminal_start(&self, 80, (const char *const[]){"stats", "-g", GRAPH,
        "--watch", "0.1", "--count", "2", "--threads", "2", NULL});
    terminal_expect(&self, "\033[Hpool");
    terminal_expect(&self, "\nhealth       ");
    terminal_expect(&self, "\033[J\033[Hpool");
    terminal_expect(&self, "\nquery");
    assert_int_equal(terminal_end(&self), 0);
    assert_null(strstr(self.seen, "\033[3"));
    unsetenv("NO_COLOR");
    unsetenv("LC_ALL");
}

/* Ctrl-C ends a watch whether it sleeps or waits for an answer. */
static void test_cli_stats_interrupted(void **state) {
    (void)state;
    static const char *const answers[] = {WHOLE(DOCUMENT), NULL};
    static const char *const silent[] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
        endpoint self;
        assert_true(in && out && err);
        endpoint_start(&self, i ? silent : answers);
        pid_t child = start((const char *const[]){"stats", endpoint_url(&self,
            "/"), "--watch", "60", "--timeout", "60", NULL}, fileno(in),
            fileno(out), fileno(err));
        while (atomic_load(i ? &self.heard : &self.asked) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        kill(child, SIGINT);
        last.status = wait_for(child);
        fclose(in);
        slurp(out, last.out, sizeof last.out);
        slurp(err, last.err, sizeof last.err);
        endpoint_stop(&self);
        expect_status(0);
        assert_string_equal(last.err, "");
    }
}

static void test_cli_stats_wrong_usage(void **state) {
    (void)state;
    static const struct { const char *arguments[4], *why; } rows[] = {
        {{"https://h/health"}, "https://h/health: https is not spoken here"},
        {{"HTTPS://h"}, "https is not spoken"},
        {{"falkor://h"}, "falkor://h: a /health document has a URL as http://"},
        {{"9"}, "9: a /health document has a URL"},
        {{""}, "an empty URL: "}, {{"http://"}, "comes a host"},
        {{"http://h:0/"}, "a port from 1 to 65535"},
        {{"http://h:65536"}, "a port"}, {{"http://h:8x/"}, "a port"},
        {{"http://h:"}, "a port"}, {{"http://[::1"}, "a port"},
        {{"http://u:secret@h/"}, "user and password are not sent"},
        {{"http://h/a b"}, "a space or a control byte"},
        {{"http://h/\r\nX: y"}, "a space or a control byte"},
        {{"http://h?x=1"}, "/health?pool=main"},
        {{"http://h/health", "http://i/health"},
         "one URL (and --watch a number of seconds, where it has one), and not "
         "also: "},
        {{"http://h/health", "-p", "7"}, "goes without the options"},
        {{"http://h/health", "--threads", "7"}, "goes without the options"},
        {{"http://h/health", "--query", "RETURN 1"}, "goes without"},
        {{"http://h/health", "--embedded"}, "http://h/health"},
        {{"--timeout", "1"}, "--timeout goes with the URL"},
        {{"--timeout", "0", "http://h"}, "--timeout takes seconds, above 0"},
        {{"--watch", "0"}, "--watch takes seconds, above 0 and up to 2592000, "
         "not 0 (stats --help"}, {{"--watch=x"}, "not x"},
        {{"--watch", "1h"}, "not 1h"},
        {{"--count", "0"}, "--count takes a number from 1 on, not 0"},
        {{"--threads", "0"}, "--threads takes a number from 1 to 10000, not 0 "
         "(stats --help"}, {{"--pool", "x"}, "not x"},
        {{"--query", ""}, "--query is empty"},
        {{"-P", "i=@count"}, "that is no rule"},
        {{"--csv"}, "stats prints a --table, or --json"},
        {{"-k"}, "without --keep-going"}, {{"--duration", "1"}, "--help"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const *a = rows[i].arguments;
        run_with("", (const char *const[]){"stats", a[0], a[1], a[2], NULL});
        expect_status(2);
        expect_said(rows[i].why);
        assert_null(strstr(last.err, "secret@"));
        assert_string_equal(last.out, "");
    }
    RUN("stats");
    expect_status(2);
    expect_said("stats comes first");
    RUN("--watch", "RETURN 1");
    expect_status(2);
}

static void test_cli_stats_help(void **state) {
    (void)state;
    STATS("--help");
    expect_status(0);
    expect_shown("usage: falkor-cli stats");
    expect_shown("WRITES TO THE GRAPH");
    for (const char *line = last.out; *line; ) {
        size_t length = strcspn(line, "\n");
        assert_true(length < 80);
        line += length + (line[length] == '\n');
    }
}

static void test_cli_stats_output_error(void **state) {
    (void)state;
    FILE *in = tmpfile(), *err = tmpfile();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    endpoint self;
    assert_true(in && err && full >= 0);
    endpoint_start(&self, (const char *const[]){WHOLE(DOCUMENT), NULL});
    assert_int_equal(wait_for(start((const char *const[]){"stats",
        endpoint_url(&self, ""), "--watch", NULL}, fileno(in), full,
        fileno(err))), 1);
    endpoint_stop(&self);
    assert_int_equal(wait_for(start((const char *const[]){"stats", "-g", GRAPH,
        "--watch", "0.1", "--threads", "2", NULL}, fileno(in), full,
        fileno(err))), 1);
    close(full);
    fclose(in);
    slurp(err, last.err, sizeof last.err);
    expect_said("standard output: ");
}

/* ---- several servers --------------------------------------------------- */

/* falkor-cli's URL of the fleet, and the other keys behind it. */
static const char *fleet_url(const fleet *some, const char *keys) {
    static char url[600];
    int length = snprintf(url, sizeof url, "falkor+sentinel://");
    for (int i = 0; i < some->sentinel_count; i++)
        length += snprintf(url + length, sizeof url - (size_t)length, "%s%s:%d",
            i ? "," : "", some->sentinels[i].host, some->sentinels[i].port);
    snprintf(url + length, sizeof url - (size_t)length, "/%s?master=%s%s",
             GRAPH, FLEET_MASTER, keys);
    return url;
}

/* The node of the document with this role; they stand behind the sum. */
static const cJSON *node_with(const cJSON *document, const char *role) {
    const cJSON *one;
    cJSON_ArrayForEach(one, document)
        if (one != document->child && strcmp(cJSON_GetObjectItem(
                inside(one, "node"), "role")->valuestring, role) == 0)
            return one;
    fail_msg("no %s", role);
    return NULL;
}

static void expect_nodes_in_stats(const fleet *some) {
    run_with("", (const char *const[]){"stats", "-u", fleet_url(some, ""),
             "--json", "--threads", "4", "--watch", "0.3", "--count", "1",
             NULL});
    cJSON *json = parsed();
    assert_int_equal(cJSON_GetArraySize(json), 1 + some->count);
    const cJSON *sum = cJSON_GetArrayItem(json, 0);
    const cJSON *primary = node_with(json, "primary");
    const cJSON *replica = node_with(json, "replica");
    assert_null(cJSON_GetObjectItem(sum, "node"));
    assert_true(is_true(inside(primary, "node"), "well"));
    assert_true(is_true(inside(primary, "pool"), "initialized"));
    assert_true(number(inside(primary, "queries"), "total") > 0);
    assert_true(number(inside(sum, "queries"), "total") > 0);
    expect_number(inside(sum, "pool"), "max_connections", 20);
    assert_true(number(inside(replica, "node"), "lag_bytes") >= 0);
    assert_string_equal(cJSON_GetObjectItem(inside(replica, "health"),
                        "verdict")->valuestring, "OK");
    expect_number(inside(replica, "queries"), "total", 0);
    cJSON_Delete(json);
    run_with("", (const char *const[]){"stats", "-u", fleet_url(some, ""),
             "--threads", "4", "--watch", "0.3", "--count", "1", NULL});
    expect_status(0);
    expect_shown("\nnode  ");
    expect_shown("  primary  yes ");
    expect_shown("  replica  yes ");
}

/* Whether what was written has come to it. */
static bool has_the_node(const fleet *some, int node) {
    redisReply *reply = fleet_ask(some, node, "GRAPH.RO_QUERY %s %s", GRAPH,
                                  "MATCH (n:N {i: 7}) RETURN 1");
    bool has = reply && reply->type == REDIS_REPLY_ARRAY &&
               reply->elements == 3 && reply->element[1]->elements == 1;
    freeReplyObject(reply);
    return has;
}

static void test_cli_several_servers(void **state) {
    (void)state;
    fleet some;
    fleet_start(&some, FLEET_SENTINEL, NULL);
    run_with("", (const char *const[]){"-u", fleet_url(&some, ""), "--json",
             "CREATE (:N {i: 7})", NULL});
    expect_status(0);
    redisReply *reply;
    for (int i = 1; i < some.count; i++) {
        TEST_EVENTUALLY(has_the_node(&some, i));
        reply = fleet_ask(&some, i, "CONFIG RESETSTAT");
        freeReplyObject(reply);
    }
    run_with("MATCH (n:N) RETURN n.i;", (const char *const[]){"--ro", "-u",
             fleet_url(&some, "&read_from=replica"), "--csv", NULL});
    expect_status(0);
    assert_string_equal(last.out, "n.i\r\n7\r\n");
    int asked = 0;
    for (int i = 1; i < some.count; i++) {
        reply = fleet_ask(&some, i, "INFO commandstats");
        assert_non_null(reply);
        asked += strstr(reply->str, "graph.RO_QUERY") != NULL;
        freeReplyObject(reply);
    }
    assert_true(asked > 0);
    expect_nodes_in_stats(&some);
    run_with("", (const char *const[]){"bench", "-u", fleet_url(&some,
             "&read_from=replica"), "--threads", "30", "--count", "300",
             "--json", NULL});
    expect_status(0);
    fleet_stop(&some);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_query_as_json),
        cmocka_unit_test_setup(test_cli_graph_values_as_json, clear_graph),
        cmocka_unit_test(test_cli_csv),
        cmocka_unit_test(test_cli_table),
        cmocka_unit_test(test_cli_read_only),
        cmocka_unit_test(test_cli_parameters_of_each_type),
        cmocka_unit_test(test_cli_integers_are_exact),
        cmocka_unit_test(test_cli_parameters_refused),
        cmocka_unit_test(test_cli_statements_from_input),
        cmocka_unit_test(test_cli_input_of_nothing),
        cmocka_unit_test(test_cli_input_of_slashes),
        cmocka_unit_test(test_cli_input_stops_at_the_first_failure),
        cmocka_unit_test(test_cli_keeps_going),
        cmocka_unit_test(test_cli_commands_in_input),
        cmocka_unit_test(test_cli_commands_with_wrong_values),
        cmocka_unit_test(test_cli_graph_of_the_url),
        cmocka_unit_test(test_cli_several_statements_in_the_argument),
        cmocka_unit_test(test_cli_query_that_fails),
        cmocka_unit_test(test_cli_wrong_usage),
        cmocka_unit_test(test_cli_no_connection),
        cmocka_unit_test(test_cli_environment),
        cmocka_unit_test(test_cli_help_and_version),
        cmocka_unit_test(test_cli_output_errors),
        cmocka_unit_test(test_cli_reader_that_leaves),
        cmocka_unit_test(test_cli_prompt),
        cmocka_unit_test(test_cli_prompt_interrupted_on_an_empty_line),
        cmocka_unit_test(test_cli_prompt_takes_words_without_a_colon),
        cmocka_unit_test(test_cli_prompt_shows_the_graph),
        cmocka_unit_test(test_cli_asks_for_the_password),
        cmocka_unit_test(test_cli_table_fits_the_terminal),
        cmocka_unit_test(test_cli_interrupt_ends_a_query),
        cmocka_unit_test(test_cli_embedded),
        cmocka_unit_test(test_cli_embedded_keeps_its_data),
        cmocka_unit_test(test_cli_embedded_ends_with_the_program),
        cmocka_unit_test(test_cli_embedded_folder_has_one_server),
        cmocka_unit_test(test_cli_bench_asks_exactly_count),
        cmocka_unit_test(test_cli_bench_result_as_json),
        cmocka_unit_test(test_cli_bench_measures_waits),
        cmocka_unit_test(test_cli_bench_pool_of_the_url),
        cmocka_unit_test(test_cli_bench_table),
        cmocka_unit_test(test_cli_bench_counts_errors),
        cmocka_unit_test(test_cli_bench_read_only),
        cmocka_unit_test(test_cli_bench_values_of_their_own),
        cmocka_unit_test(test_cli_bench_warms_up),
        cmocka_unit_test(test_cli_bench_wrong_usage),
        cmocka_unit_test(test_cli_bench_help),
        cmocka_unit_test(test_cli_bench_no_connection),
        cmocka_unit_test(test_cli_bench_threads_that_do_not_start),
        cmocka_unit_test(test_cli_bench_output_error),
        cmocka_unit_test(test_cli_bench_interrupted),
        cmocka_unit_test(test_cli_bench_shows_progress),
        cmocka_unit_test(test_cli_bench_embedded),
        cmocka_unit_test(test_cli_stats_draws_a_document),
        cmocka_unit_test(test_cli_stats_draws_nodes),
        cmocka_unit_test(test_cli_stats_bars_of_blocks),
        cmocka_unit_test(test_cli_stats_takes_every_answer),
        cmocka_unit_test(test_cli_stats_says_what_is_no_document),
        cmocka_unit_test(test_cli_stats_has_a_deadline),
        cmocka_unit_test(test_cli_stats_watches_a_document),
        cmocka_unit_test(test_cli_stats_of_an_own_pool),
        cmocka_unit_test(test_cli_stats_of_a_query),
        cmocka_unit_test(test_cli_stats_in_place),
        cmocka_unit_test(test_cli_stats_interrupted),
        cmocka_unit_test(test_cli_stats_wrong_usage),
        cmocka_unit_test(test_cli_stats_help),
        cmocka_unit_test(test_cli_stats_output_error),
        cmocka_unit_test(test_cli_several_servers),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
