/* A libFuzzer target for what cuts a text into statements (falkor-cli), given
   on the command line or as a file: each input is cut a second time, by the
   rules as the manual has them, and both must come to the same statements, in
   the same lines. What the prompt and a file take as commands are lines that
   begin with a colon, between two statements. */
#include "../examples/falkor-cli.h"
#include "fuzz.h"
#include <stdarg.h>

/* ---- falkor-cli, as far as it is needed -------------------------------- */

typedef struct fuzz_cut { char *text; size_t line; } fuzz_cut;
static fuzz_cut *fuzz_cuts;             /* what came to be run */
static size_t fuzz_count;
static bool fuzz_stops;                 /* the fifth fails */
static falkor_graph *fuzz_graph;

_Noreturn void cli_no_memory(void) {
    abort();
}

void *cli_reserve(void *old, size_t count, size_t size) {
    void *room = old ? realloc(old, count * size) : calloc(count, size);
    FUZZ_CHECK(room);
    return room;
}

static void fuzz_keep(fuzz_cut **list, size_t *count, const char *text,
                      size_t length, size_t line) {
    if ((*count & (*count - 1)) == 0)
        *list = cli_reserve(*list, *count ? 2 * *count : 1, sizeof **list);
    char *copy = cli_reserve(NULL, length + 1, 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    (*list)[(*count)++] = (fuzz_cut){copy, line};
}

int cli_run(cli *self, const char *statement, size_t line) {
    (void)self;
    fuzz_keep(&fuzz_cuts, &fuzz_count, statement, strlen(statement), line);
    return fuzz_stops && fuzz_count == 5 ? CLI_FAILED : CLI_OK;
}

void cli_say(const char *format, ...) {
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
}

bool cli_select(cli *self, const char *name) {
    (void)self;
    return *name != '\0';
}

bool cli_format_named(const char *name, cli_format *format) {
    *format = CLI_JSON;
    return *name == 'j';
}

/* ---- the same by the manual --------------------------------------------- */

/* The end of what begins at text and is no plain character: a string, a quoted
   name, a comment; text: it is one. *meant: it is more than a comment. */
static const char *fuzz_behind(const char *text, bool *meant) {
    const char *at = text;
    char quote = *at;
    *meant = true;
    if (quote == '\'' || quote == '"' || quote == '`') {
        for (at++; *at && *at != quote; at++)
            at += *at == '\\' && quote != '`' && at[1];
        return at + (*at != '\0');
    }
    *meant = false;
    if (at[0] == '/' && at[1] == '/') {
        at += strcspn(at, "\n");
        return at + (*at != '\0');
    }
    if (at[0] == '/' && at[1] == '*') {
        const char *end = strstr(at + 2, "*/");
        return end ? end + 2 : at + strlen(at);
    }
    return text;
}

static size_t fuzz_lines(const char *from, const char *to) {
    size_t lines = 0;
    for (; from < to; from++)
        lines += *from == '\n';
    return lines;
}

/* Whether there is a command at text, where a line begins; a file has them. */
static const char *fuzz_command(const char *text, bool *leaves) {
    const char *word = text + strspn(text, " \t");
    if (*word != ':')
        return NULL;
    size_t length = strcspn(word, " \t\r\n");
    *leaves = length == 5 && (memcmp(word, ":quit", 5) == 0 ||
                              memcmp(word, ":exit", 5) == 0);
    word += strcspn(word, "\n");
    return word + (*word != '\0');
}

static void fuzz_model(const char *text, bool file, fuzz_cut **list,
                       size_t *count) {
    const char *at = text, *begin = text, *first = NULL, *behind;
    bool meant, leaves = false, line_begins = true;
    while (*at) {
        if (file && line_begins && !first &&
            (behind = fuzz_command(at, &leaves))) {
            if (leaves)
                return;
            at = begin = behind;
            continue;
        }
        line_begins = false;
        if (*at == ';') {
            if (first)
                fuzz_keep(list, count, begin, (size_t)(at - begin),
                          fuzz_lines(text, first) + 1);
            if (first && fuzz_stops && *count == 5)
                return;
            begin = ++at;
            first = NULL;
            continue;
        }
        behind = fuzz_behind(at, &meant);
        if (behind == at) {
            meant = !strchr(" \t\r\n", *at);
            behind++;
        }
        if (meant && !first)
            first = at;
        at = behind;
        line_begins = at[-1] == '\n';
    }
    if (first)
        fuzz_keep(list, count, begin, (size_t)(at - begin),
                  fuzz_lines(text, first) + 1);
}

/* ---- the target --------------------------------------------------------- */

static void fuzz_drop(fuzz_cut **list, size_t *count) {
    for (size_t i = 0; i < *count; i++)
        free((*list)[i].text);
    free(*list);
    *list = NULL;
    *count = 0;
}

static void fuzz_compare(const char *text, bool file) {
    fuzz_cut *expected = NULL;
    size_t count = 0;
    fuzz_model(text, file, &expected, &count);
    FUZZ_CHECK(count == fuzz_count);
    for (size_t i = 0; i < count; i++) {
        const char *own = expected[i].text;
        own += strspn(own, " \t\r\n");
        FUZZ_CHECK(strcmp(own, fuzz_cuts[i].text) == 0);
        FUZZ_CHECK(fuzz_cuts[i].line == (file ? expected[i].line : 0));
    }
    fuzz_drop(&expected, &count);
    fuzz_drop(&fuzz_cuts, &fuzz_count);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    falkor_pool *pool;
    FUZZ_CHECK(freopen("/dev/null", "w", stdout));      /* of :help */
    FUZZ_CHECK(falkor_pool_create(NULL, &pool, NULL) == FALKOR_OK);
    fuzz_graph = falkor_select_graph(pool, "g");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    cli session = {.graph = fuzz_graph};
    bool file = data[0] & 1;
    fuzz_stops = data[0] & 2;
    char *text = cli_reserve(NULL, size, 1);
    memcpy(text, data + 1, size - 1);
    if (file) {
        FILE *from = fmemopen(text, size - 1, "r");
        FUZZ_CHECK(from);
        cli_run_file(&session, from);
        fclose(from);
    } else {
        cli_run_text(&session, text);
    }
    cli_params_free(session.params);
    if (!file || strlen(text) == size - 1)
        fuzz_compare(text, file);
    fuzz_drop(&fuzz_cuts, &fuzz_count);
    free(text);
    return 0;
}
