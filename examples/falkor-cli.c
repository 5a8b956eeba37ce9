/* falkor-cli: asks a FalkorDB from the command line, from a file, or from a
   prompt. See --help. */
#include "falkor-cli.h"
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const char help[] =
"usage: falkor-cli [-u URL | -h HOST -p PORT] [-g GRAPH] [-P name=json]...\n"
"                  [--ro] [--json | --csv | --table] [--keep-going] [QUERY]\n"
"       falkor-cli bench ...    loads a server and measures it: bench --help\n"
"       falkor-cli stats ...    shows a pool at work: stats --help\n"
"\n"
"Runs QUERY, or the statements of standard input, or asks for them when that\n"
"is a terminal. Statements are separated by semicolons. In a script the first\n"
"that fails is the last, unless it is told to keep going.\n"
"\n"
"  -u, --url URL        falkor://user:password@host:port/graph,\n"
"                       redis://host:port/database, unix:///path?graph=name,\n"
"                       falkor+sentinel://host,host:26380/graph?master=name,\n"
"                       falkor+cluster://host,host:7001/graph; with TLS\n"
"                       falkors://, rediss://, falkors+sentinel:// and so on\n"
"  -h, --host HOST      a name or an address; localhost\n"
"  -p, --port PORT      6379\n"
"  -s, --socket PATH    a Unix socket instead of host and port\n"
"      --user NAME      who asks; the password comes from the URL, from\n"
"                       FALKORDB_PASSWORD, or from:\n"
"      --askpass        ask for the password at the terminal\n"
"  -g, --graph GRAPH    the graph to ask; else the URL's, $GRAPH_NAME's, or\n"
"                       \"default\"\n"
"  -P, --param NAME=JSON  sets $NAME, as in -P 'name=\"Ada\"' -P 'ids=[1, 2]'\n"
"      --ro             only read: the server refuses whatever would write\n"
"      --json           one object a query, on one line:\n"
"                       {\"columns\":[],\"rows\":[[]],\"summary\":{}}\n"
"      --csv            RFC 4180, with a header\n"
"      --table          for people; the default on a terminal, else --json\n"
"  -k, --keep-going     go on behind a statement that fails; with --json its\n"
"                       error is printed where its result would be:\n"
"                       {\"error\":{\"status\":\"\",\"message\":\"\",\n"
"                       \"maybe_executed\":false},"
                       "\"line\":1}\n"
"      --embedded       start a private FalkorDB for this session, with the\n"
"                       project's test/server.sh; an installed falkor-cli is\n"
"                       told its path in FALKOR_SERVER_SCRIPT\n"
"      --data DIR       with --embedded: keep its data in DIR\n"
"      --help, --version\n"
"\n"
"With sentinels or a cluster, read_from=replica in the URL sends what --ro\n"
"only reads to replicas; the others are prefer_replica, nearest and, without\n"
"it, primary. A replica that is further behind its primary than max_lag=10\n"
"(seconds) or max_lag_bytes=1048576 is not read from.\n"
"\n"
"What is not said here is taken from the environment: FALKORDB_URL and the\n"
"others of examples/env.example.\n"
"\n"
"Ctrl-C while a query runs ends falkor-cli, not the query: a server that is\n"
"not --embedded goes on until it is done, or until the server's own timeout.\n"
"\n"
"Exit status: 0; 1 a query failed, or no connection; 2 wrong usage.\n";

/* ---- saying and reserving --------------------------------------------- */

void cli_say(const char *format, ...) {
    va_list arguments;
    fflush(stdout);
    fputs("falkor-cli: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

_Noreturn void cli_no_memory(void) {
    cli_say("not enough memory");
    exit(CLI_FAILED);
}

/* New memory is zero. */
void *cli_reserve(void *old, size_t count, size_t size) {
    size_t room = count * size > 0 ? count * size : 1;
    void *memory = old ? realloc(old, room) : calloc(1, room);
    if (!memory)
        cli_no_memory();
    return memory;
}

/* ---- one statement ---------------------------------------------------- */

bool cli_select(cli *self, const char *name) {
    falkor_graph *graph = falkor_select_graph(self->pool, name);
    if (!graph)
        return false;
    falkor_graph_free(self->graph);
    self->graph = graph;
    return true;
}

static void say_failed(const falkor_error *error, size_t line) {
    char where[40] = "";
    if (line > 0)
        snprintf(where, sizeof where, "line %zu: ", line);
    cli_say("%s%s%s", where, error->message, error->maybe_executed
            ? " (it may have been executed: look before you send it again)"
            : "");
}

int cli_check_printed(bool printed) {
    if (!printed && errno != EPIPE)     /* "| head" has what it wants */
        cli_say("standard output: %s", strerror(errno ? errno : EIO));
    return printed ? CLI_OK : CLI_FAILED;
}

static int failed(cli *self, const falkor_error *error, size_t line) {
    self->failed = true;
    if (self->keep_going && self->format == CLI_JSON)
        return cli_check_printed(cli_print_error(error, line));
    say_failed(error, line);
    return self->keep_going ? CLI_OK : CLI_FAILED;
}

int cli_run(cli *self, const char *statement, size_t line) {
    falkor_call_options options = {.read_only = self->read_only};
    falkor_param *params = cli_params_array(self->params);
    falkor_result *result;
    falkor_error error;
    int status;
    if (falkor_query_with(self->graph, &options, statement, params, &result,
                          &error) == FALKOR_OK)
        status = cli_check_printed(cli_print(result, self->format));
    else
        status = failed(self, &error, line);
    falkor_result_free(result);
    free(params);
    return status;
}

bool cli_format_named(const char *name, cli_format *format) {
    static const char *const names[] = {[CLI_TABLE] = "table",
                                        [CLI_JSON] = "json",
                                        [CLI_CSV] = "csv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *format = (cli_format)i;
            return true;
        }
    return false;
}

/* ---- the command line ------------------------------------------------- */

typedef struct arguments {
    falkor_options options;
    const char *query, *data;
    char *password;
    cli_param *params;
    cli_bench *bench;                   /* NULL: no load is asked for */
    cli_stats *stats;                   /* NULL: it is not asked for */
    cli_format format;
    bool askpass, embedded, keep_going, read_only, loads;
} arguments;

static _Noreturn void wrong_value(const char *command, const char *name,
                                  const char *takes, const char *value) {
    cli_say("%s takes %s, not %s (%s --help shows the usage)", name, takes,
            *value ? value : "nothing", command);
    exit(CLI_USAGE);
}

int64_t cli_whole_number(const char *command, const char *name,
                         const char *value, int64_t most, const char *takes) {
    char *end;
    errno = 0;
    int64_t number = strtoll(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno != 0 || number < 1
        || number > most)
        wrong_value(command, name, takes, value);
    return number;
}

double cli_seconds_of(const char *command, const char *name,
                      const char *value, bool zero) {
    const double most = 30 * 86400;
    char *end;
    double seconds = strtod(value, &end);
    if (!*value || strspn(value, "0123456789.") != strlen(value) || *end
        || seconds > most || (seconds <= 0 && !zero))
        wrong_value(command, name, zero ? "seconds, from 0 to 2592000"
                    : "seconds, above 0 and up to 2592000", value);
    return seconds;
}

_Noreturn void cli_wrong(const char *what, const char *which) {
    cli_say("%s%s (--help shows the usage)", what, which);
    exit(CLI_USAGE);
}

static void read_param(arguments *given, const char *text) {
    const char *why, *equals = strchr(text, '=');
    if (!equals)
        cli_wrong("-P is followed by name=json, not by ", text);
    const char *json = equals + 1;
    if (given->bench)
        json = cli_bench_param(given->bench, text, json);
    if (!cli_param_set(&given->params, text, (size_t)(equals - text), json,
                       &why)) {
        cli_say("-P %s: %s", text, why);
        exit(CLI_USAGE);
    }
}

static int read_port(const char *text) {
    char *end;
    long port = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || port < 1 || port > 65535)
        cli_wrong("a port is a number from 1 to 65535, not ", text);
    return (int)port;
}

enum { USER = 256, ASKPASS, RO, JSON, CSV, TABLE, EMBEDDED, DATA, HELP,
       VERSION };

static void read_option(arguments *given, int option, const char *value) {
    falkor_options *options = &given->options;
    switch (option) {
    case 'u': options->url = value; break;
    case 'h': options->host = value; break;
    case 'p': options->port = read_port(value); break;
    case 's': options->unix_path = value; break;
    case 'g': options->graph = value; break;
    case 'P': read_param(given, value); break;
    case 'k': given->keep_going = true; break;
    case USER: options->username = value; break;
    case ASKPASS: given->askpass = true; break;
    case RO: given->read_only = true; break;
    case JSON: given->format = CLI_JSON; break;
    case CSV: given->format = CLI_CSV; break;
    case TABLE: given->format = CLI_TABLE; break;
    case EMBEDDED: given->embedded = true; break;
    case DATA: given->data = value; break;
    case HELP:
        fputs(given->stats ? cli_stats_help
              : given->bench ? cli_bench_help : help, stdout);
        exit(fflush(stdout) == 0 ? CLI_OK : CLI_FAILED);
    case VERSION:
        printf("falkor-cli %d.%d.%d\n", FALKOR_VERSION_MAJOR,
               FALKOR_VERSION_MINOR, FALKOR_VERSION_PATCH);
        exit(fflush(stdout) == 0 ? CLI_OK : CLI_FAILED);
    default:
        if (given->stats && cli_stats_option(given->stats, option, value))
            return;
        given->loads = given->bench
            && cli_bench_option(given->bench, option, value);
        if (given->loads)
            return;
        fputs("falkor-cli: --help shows the usage\n", stderr);
        exit(CLI_USAGE);
    }
}

static void check_arguments(const arguments *given) {
    const falkor_options *options = &given->options;
    bool place = options->url || options->host || options->unix_path;
    if (given->embedded && (place || options->port))
        cli_wrong("--embedded is a server of its own: it goes without -u, -h, "
                  "-p and -s", "");
    if (given->data && !given->embedded)
        cli_wrong("--data goes with --embedded", "");
    if (given->query && !*given->query && !given->stats)
        cli_wrong("QUERY is empty", "");
    if (given->stats)
        cli_stats_check(given->stats, given->query, place || options->port
                        || given->embedded || options->graph || given->params
                        || options->username || given->askpass
                        || given->read_only || given->loads);
    else if (given->bench)
        cli_bench_check(given->bench);
    const char *command = given->stats ? "stats" : "bench";
    if (given->bench && given->format == CLI_CSV)
        cli_wrong(command, " prints a --table, or --json");
    if (given->bench && given->keep_going)
        cli_wrong(command, " always goes on behind a query that fails: it goes "
                  "without --keep-going");
}

/* The options of a command, with a 0 behind them, and then those of all. */
static void read_options(arguments *given, int argc, char **argv,
                         const struct option *own) {
    static const struct option common[] = {
        {"url", 1, NULL, 'u'}, {"host", 1, NULL, 'h'}, {"port", 1, NULL, 'p'},
        {"socket", 1, NULL, 's'}, {"graph", 1, NULL, 'g'},
        {"param", 1, NULL, 'P'}, {"user", 1, NULL, USER},
        {"askpass", 0, NULL, ASKPASS}, {"ro", 0, NULL, RO},
        {"json", 0, NULL, JSON}, {"csv", 0, NULL, CSV},
        {"table", 0, NULL, TABLE}, {"keep-going", 0, NULL, 'k'},
        {"embedded", 0, NULL, EMBEDDED}, {"data", 1, NULL, DATA},
        {"help", 0, NULL, HELP}, {"version", 0, NULL, VERSION},
        {NULL, 0, NULL, 0}};
    struct option names[40];
    size_t count = 0;
    for (; own->name; own++)
        names[count++] = *own;
    memcpy(names + count, common, sizeof common);
    for (int option; (option = getopt_long(argc, argv, "u:h:p:s:g:P:k", names,
                                           NULL)) != -1; ) {
        const char *value = optarg;
        /* What may stand behind --watch is a number, and no URL is one. */
        if (option == CLI_STATS_WATCH && !value && optind < argc
            && *argv[optind] >= '0' && *argv[optind] <= '9')
            value = argv[optind++];
        read_option(given, option, value);
    }
}

static arguments read_arguments(int argc, char **argv) {
    static const struct option none[] = {{NULL, 0, NULL, 0}},
        of_bench[] = {CLI_BENCH_OPTIONS, {NULL, 0, NULL, 0}},
        of_stats[] = {CLI_STATS_OPTIONS, {NULL, 0, NULL, 0}};
    arguments given = {.format = isatty(STDOUT_FILENO) ? CLI_TABLE : CLI_JSON};
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "stats") == 0)
        given.stats = cli_stats_new();
    if (given.stats || strcmp(command, "bench") == 0) {
        given.bench = cli_bench_new(command);
        given.format = CLI_TABLE;
        argv[1] = argv[0];              /* getopt_long speaks in its name */
        argv++;
        argc--;
    }
    read_options(&given, argc, argv, given.stats ? of_stats
                 : given.bench ? of_bench : none);
    if (optind < argc)
        given.query = argv[optind++];
    if (!given.bench && given.query && strcmp(given.query, "bench") == 0)
        cli_wrong("bench comes first, as in falkor-cli bench -h HOST", "");
    if (!given.bench && given.query && strcmp(given.query, "stats") == 0)
        cli_wrong("stats comes first, as in falkor-cli stats -h HOST", "");
    if (optind < argc)
        cli_wrong(given.stats ? "one URL (and --watch a number of seconds, "
                      "where it has one), and not also: "
                  : "one QUERY, in quotes, and not also: ", argv[optind]);
    check_arguments(&given);
    return given;
}

/* ---- connecting ------------------------------------------------------- */

/* One line, key by key; false: Ctrl-C, Ctrl-D, or the end of the terminal. */
static bool read_keys(FILE *terminal, char **line) {
    size_t length = 0;
    for (;;) {
        int key = fgetc(terminal);
        if (key == EOF || key == 3 || key == 4)
            return false;
        *line = cli_reserve(*line, length + 1, 1);
        if (key == '\r' || key == '\n') {
            (*line)[length] = '\0';
            return true;
        }
        if (key != 127 && key != '\b')
            (*line)[length++] = (char)key;
        else if (length > 0)
            length--;
    }
}

/* A line from the terminal that is not shown; the caller frees it. Ctrl-C is a
   key meanwhile, so that the terminal is never left without its echo. */
static char *ask_password(void) {
    FILE *terminal = fopen("/dev/tty", "r+");
    struct termios before, silent;
    char *line = NULL;
    if (!terminal || tcgetattr(fileno(terminal), &before) != 0)
        cli_wrong("--askpass needs a terminal: set FALKORDB_PASSWORD instead",
                  "");
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
    tcsetattr(fileno(terminal), TCSAFLUSH, &silent);
    fputs("Password: ", terminal);
    fflush(terminal);
    bool done = read_keys(terminal, &line);
    fputs("\n", terminal);
    fflush(terminal);
    tcsetattr(fileno(terminal), TCSAFLUSH, &before);
    fclose(terminal);
    if (!done)
        cli_wrong("no password was given", "");
    return line;
}

/* The library takes user and password from the environment only together with
   the address, so that a password does not go to some other server. Here both
   come from one person at one prompt. */
static void complete_credentials(arguments *given) {
    falkor_options *options = &given->options;
    if (given->askpass)
        options->password = given->password = ask_password();
    if (given->embedded || (!options->host && !options->unix_path))
        return;
    if (!options->username)
        options->username = getenv("FALKORDB_USERNAME");
    if (!options->password)
        options->password = getenv("FALKORDB_PASSWORD");
}

/* The pool is to know the graph that is asked: in a cluster a held connection
   is one to its node. */
static falkor_status create_pool(falkor_options *options, cli *self,
                                 falkor_error *error) {
    falkor_status status = falkor_pool_create(options, &self->pool, error);
    if (status != FALKOR_OK)
        return status;
    self->graph = falkor_select_graph(self->pool, NULL);
    if (self->graph || options->graph)
        return FALKOR_OK;
    falkor_pool_free(self->pool);
    options->graph = "default";
    return create_pool(options, self, error);
}

/* Opens a pool of one connection to a server, or of what bench wants; an exit
   status. */
static int connect_to(arguments *given, cli *self) {
    falkor_options *options = &given->options;
    falkor_error error;
    if (given->bench)
        options->max_size = cli_bench_pool_size(given->bench);
    else
        options->max_size = options->min_size = 1;
    options->health_check_interval_ms = -1;
    options->client_name = "falkor-cli";
    if (falkor_options_from_env(options, &error) != FALKOR_OK
        || create_pool(options, self, &error) != FALKOR_OK) {
        cli_say("%s", error.message);
        return error.status == FALKOR_ERR_NOMEM ? CLI_FAILED : CLI_USAGE;
    }
    if (falkor_pool_open(self->pool, &error) != FALKOR_OK) {
        cli_say("%s", error.message);
        return CLI_FAILED;
    }
    return CLI_OK;
}

static int run_all(const arguments *given, cli *self) {
    if (!self->graph)
        cli_no_memory();
    if (given->stats)
        return cli_stats_run(given->stats, given->bench, self,
                             given->embedded);
    if (given->bench)
        return cli_bench_run(given->bench, self, given->query,
                             given->embedded);
    return given->query ? cli_run_text(self, given->query)
        : isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? cli_run_prompt(self)
        : cli_run_file(self, stdin);
}

/* Connects, to a server of its own where that is asked for, and runs. */
static int connect_and_run(arguments *given, cli *self, cli_server *server) {
    int status = CLI_OK;
    if (given->embedded) {
        given->options.host = "127.0.0.1";
        status = cli_server_start(server, given->data) ? CLI_OK : CLI_FAILED;
        given->options.port = server->port;
    }
    if (status == CLI_OK) {
        complete_credentials(given);
        status = connect_to(given, self);
    }
    return status == CLI_OK ? run_all(given, self) : status;
}

int main(int argc, char **argv) {
    setlocale(LC_CTYPE, "");            /* numbers stay as in C */
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8"); /* FalkorDB speaks UTF-8 */
    signal(SIGPIPE, SIG_IGN);           /* a closed output is an error */
    arguments given = read_arguments(argc, argv);
    cli self = {.params = given.params, .format = given.format,
                .read_only = given.read_only, .utf8 = utf8,
                .keep_going = given.keep_going};
    cli_server server = {.lifeline = -1};
    int status = given.stats && cli_stats_remote(given.stats)
        ? cli_stats_ask(given.stats, &self)
        : connect_and_run(&given, &self, &server);
    if (status == CLI_OK && self.keep_going && self.failed)
        status = CLI_FAILED;
    falkor_graph_free(self.graph);
    falkor_pool_free(self.pool);
    cli_params_free(self.params);
    cli_bench_free(given.bench);
    cli_stats_free(given.stats);
    free(given.password);
    if (!cli_server_stop(&server) && status == CLI_OK) {
        cli_say("the embedded server did not end well");
        status = CLI_FAILED;
    }
    return status;
}
