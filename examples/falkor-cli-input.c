/* Where statements come from: a text, a file, or a prompt with editing and
   history. A semicolon ends a statement unless it stands in quotes, backticks
   or a comment. */
#include "falkor-cli.h"
#include <errno.h>
#include <histedit.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <wchar.h>
#include <wctype.h>

/* ---- cutting statements ----------------------------------------------- */

typedef enum place {
    PLAIN, SINGLE_QUOTES, DOUBLE_QUOTES, BACKTICKS, LINE_COMMENT, BLOCK_COMMENT
} place;

/* The statement that is being read. */
typedef struct cutter {
    char *text;
    size_t length, room;
    place place;
    char before;                /* the character before, where it matters */
    bool escaped;
    bool meant;                 /* there is more than space and comments */
    size_t line, begin;         /* where we are, and where that began */
} cutter;

static void cutter_clear(cutter *self) {
    self->length = 0;
    self->place = PLAIN;
    self->before = '\0';
    self->escaped = self->meant = false;
}

static void cutter_keep(cutter *self, char c) {
    if (self->length + 2 > self->room) {
        self->room = 2 * self->room + 256;
        self->text = cli_reserve(self->text, self->room, 1);
    }
    self->text[self->length++] = c;
    self->text[self->length] = '\0';
}

/* Here the statement is more than space and comments. */
static void cutter_means(cutter *self) {
    if (!self->meant)
        self->begin = self->line;
    self->meant = true;
}

/* A slash means something once it has begun no comment. */
static void plain_character(cutter *self, char c) {
    bool slash = self->before == '/';
    if (c == '\'')
        self->place = SINGLE_QUOTES;
    else if (c == '"')
        self->place = DOUBLE_QUOTES;
    else if (c == '`')
        self->place = BACKTICKS;
    else if (slash && c == '/')
        self->place = LINE_COMMENT;
    else if (slash && c == '*')
        self->place = BLOCK_COMMENT;
    bool comment = slash && (c == '/' || c == '*');
    if (!comment && (slash || !strchr(" \t\r\n/", c)))
        cutter_means(self);
    self->before = self->place == PLAIN ? c : '\0';
}

static void quoted_character(cutter *self, char c, char quote) {
    if (self->escaped)
        self->escaped = false;
    else if (c == '\\' && quote != '`')
        self->escaped = true;
    else if (c == quote)
        self->place = PLAIN;
}

/* true: c ended the statement, which is text (without c). */
static bool cutter_feed(cutter *self, char c) {
    if (self->place == PLAIN && c == ';')
        return true;
    switch (self->place) {
    case PLAIN:
        plain_character(self, c);
        break;
    case SINGLE_QUOTES:
        quoted_character(self, c, '\'');
        break;
    case DOUBLE_QUOTES:
        quoted_character(self, c, '"');
        break;
    case BACKTICKS:
        quoted_character(self, c, '`');
        break;
    case LINE_COMMENT:
        self->place = c == '\n' ? PLAIN : LINE_COMMENT;
        break;
    case BLOCK_COMMENT:
        self->place = self->before == '*' && c == '/' ? PLAIN : BLOCK_COMMENT;
        self->before = self->place == PLAIN ? '\0' : c;
    }
    self->line += c == '\n';
    cutter_keep(self, c);
    return false;
}

static int run_cut(cli *session, cutter *self, bool say_line) {
    int status = CLI_OK;
    if (self->place == PLAIN && self->before == '/')
        cutter_means(self);
    if (self->meant)
        status = cli_run(session, self->text + strspn(self->text, " \t\r\n"),
                         say_line ? self->begin : 0);
    cutter_clear(self);
    return status;
}

/* Runs what length bytes complete; stops behind the first that fails. */
static int feed_all(cli *session, cutter *self, const char *text,
                    size_t length, bool say_line) {
    int status = CLI_OK;
    for (size_t i = 0; i < length && status == CLI_OK; i++)
        if (cutter_feed(self, text[i]))
            status = run_cut(session, self, say_line);
    return status;
}

int cli_run_text(cli *self, const char *text) {
    cutter cut = {.line = 1};
    int status = feed_all(self, &cut, text, strlen(text), false);
    if (status == CLI_OK)
        status = run_cut(self, &cut, false);
    free(cut.text);
    return status;
}

/* ---- commands --------------------------------------------------------- */

static const char help[] =
    "A statement ends with a semicolon and may have many lines.\n"
    "  :graph [NAME]               show or choose the graph\n"
    "  :format json|csv|table      how results are shown\n"
    "  :param [NAME JSON]          show or set a parameter, $NAME in a query\n"
    "  :ro on|off                  refuse whatever would write\n"
    "  :help, :quit                this text; leave (also Ctrl-D)\n"
    "Ctrl-C leaves the statement that you are typing. While a query runs, it\n"
    "ends falkor-cli; a server that is not --embedded goes on with it.\n";

/* Cuts a word off the text and returns it, "" at the end. */
static char *next_word(char **text) {
    char *word = *text + strspn(*text, " \t\r\n");
    char *end = word + strcspn(word, " \t\r\n");
    *text = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static void param_command(cli *self, char *rest) {
    const char *why = NULL;
    char *name = next_word(&rest);
    if (*name) {
        if (!cli_param_set(&self->params, name, strlen(name), rest, &why))
            cli_say("%s: %s", name, why);
        return;
    }
    falkor_param *list = cli_params_array(self->params);
    for (size_t i = 0; list[i].name; i++)
        printf("%s: %s\n", list[i].name, falkor_type_name(list[i].value.type));
    free(list);
}

static void graph_command(cli *self, const char *name) {
    if (!*name)
        puts(falkor_graph_name(self->graph));
    else if (!cli_select(self, name))
        cli_no_memory();
}

static void format_command(cli *self, const char *name) {
    if (!cli_format_named(name, &self->format))
        cli_say(":format takes json, csv or table%s%s", *name ? ", not " : "",
                name);
}

static void ro_command(cli *self, const char *word) {
    bool on = strcmp(word, "on") == 0;
    if (on || strcmp(word, "off") == 0)
        self->read_only = on;
    else
        cli_say(":ro takes on or off%s%s", *word ? ", not " : "", word);
}

/* line begins with a colon. false: leave. */
static bool command(cli *self, char *line) {
    char *name = next_word(&line);
    if (strcmp(name, ":quit") == 0 || strcmp(name, ":exit") == 0)
        return false;
    if (strcmp(name, ":param") == 0) {
        param_command(self, line);
        return true;
    }
    char *word = next_word(&line);
    if (strcmp(name, ":help") == 0)
        fputs(help, stdout);
    else if (strcmp(name, ":graph") == 0)
        graph_command(self, word);
    else if (strcmp(name, ":ro") == 0)
        ro_command(self, word);
    else if (strcmp(name, ":format") == 0)
        format_command(self, word);
    else
        cli_say("%s is no command: :help lists them", name);
    fflush(stdout);
    return true;
}

static bool is_command(const cutter *cut, const char *line) {
    return !cut->meant && cut->place == PLAIN
        && line[strspn(line, " \t")] == ':';
}

/* ---- a file ----------------------------------------------------------- */

static int run_line(cli *self, cutter *cut, char *line, size_t length,
                    bool *more) {
    if (memchr(line, '\0', length)) {
        cli_say("line %zu holds a NUL byte, which no query may", cut->line);
        return CLI_FAILED;
    }
    if (is_command(cut, line)) {
        *more = command(self, line);
        cutter_clear(cut);
        cut->line++;
        return CLI_OK;
    }
    return feed_all(self, cut, line, length, true);
}

int cli_run_file(cli *self, FILE *file) {
    cutter cut = {.line = 1};
    char *line = NULL;
    size_t room = 0;
    int status = CLI_OK;
    bool more = true;
    for (ssize_t got; status == CLI_OK && more
         && (got = getline(&line, &room, file)) >= 0; )
        status = run_line(self, &cut, line, (size_t)got, &more);
    if (status == CLI_OK && ferror(file)) {
        cli_say("reading standard input: %s", strerror(errno));
        status = CLI_FAILED;
    } else if (status == CLI_OK && more) {
        status = run_cut(self, &cut, true);
    }
    free(line);
    free(cut.text);
    return status;
}

/* ---- the prompt ------------------------------------------------------- */

typedef struct prompter {
    cli *session;
    cutter cut;
    bool cancelled;
    char text[80];
} prompter;

/* Copies as much of the name as there is room for. libedit crashes on a prompt
   that is no text in the locale, so a character is never cut, and what is none
   becomes a question mark. */
static void show_name(const char *name, char *room, size_t size) {
    size_t length = 0;
    for (size_t got; *name; name += got, length += got) {
        wchar_t wide = L'\0';
        got = mbrtowc(&wide, name, strlen(name), &(mbstate_t){0});
        bool text = got <= MB_LEN_MAX && iswprint((wint_t)wide);
        got = text ? got : 1;
        if (length + got >= size)
            break;
        memcpy(room + length, text ? name : "?", got);
    }
    room[length] = '\0';
}

static char *prompt(EditLine *editor) {
    prompter *self = NULL;
    el_get(editor, EL_CLIENTDATA, &self);
    show_name(falkor_graph_name(self->session->graph), self->text,
              sizeof self->text - sizeof "... ");
    strcat(self->text, self->cut.meant ? "... " : "> ");
    return self->text;
}

/* Ctrl-C is a key while a line is edited, not a signal. */
static unsigned char cancel_line(EditLine *editor, wint_t key) {
    prompter *self = NULL;
    (void)key;
    el_get(editor, EL_CLIENTDATA, &self);
    self->cancelled = true;
    fputs("^C", stdout);
    return CC_NEWLINE;
}

/* $XDG_STATE_HOME/falkor_cli_history, or ~/.falkor_cli_history. */
static char *history_path(void) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const char *folder = state && *state ? state : home;
    const char *name = state && *state ? "/falkor_cli_history"
                                       : "/.falkor_cli_history";
    if (!folder || !*folder)
        return NULL;
    char *path = cli_reserve(NULL, strlen(folder) + strlen(name) + 1, 1);
    strcat(strcpy(path, folder), name);
    return path;
}

static EditLine *editor_new(prompter *self, History *lines) {
    EditLine *editor = el_init("falkor-cli", stdin, stdout, stderr);
    if (!editor)
        return NULL;
    el_set(editor, EL_CLIENTDATA, self);
    el_set(editor, EL_PROMPT, prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_HIST, history, lines);
    el_wset(editor, EL_ADDFN, L"cancel-line", L"Leave this statement",
            cancel_line);
    el_set(editor, EL_SETTY, "-d", "-isig", NULL);
    el_set(editor, EL_BIND, "^C", "cancel-line", NULL);
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(editor, NULL);            /* the user's own editrc */
    return editor;
}

/* The command that a line at the prompt is, NULL for none: help, quit and exit
   need no colon when they are all of it, for no statement begins so. */
static const char *command_in(const cutter *cut, const char *line) {
    static const char *const bare[] = {":help", ":quit", ":exit"};
    if (is_command(cut, line))
        return line;
    line += strspn(line, " \t");
    size_t length = strcspn(line, " \t\r\n;");
    bool alone = !line[length + strspn(line + length, " \t\r\n;")];
    if (!alone || cut->meant || cut->place != PLAIN)
        return NULL;
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
        if (strlen(bare[i]) == length + 1
            && strncmp(bare[i] + 1, line, length) == 0)
            return bare[i];
    return NULL;
}

/* One line that was typed. false: leave. */
static bool typed(prompter *self, const char *line, size_t length) {
    if (self->cancelled) {
        self->cancelled = false;
        putchar('\n');
        cutter_clear(&self->cut);
        return true;
    }
    const char *words = command_in(&self->cut, line);
    if (!words) {
        feed_all(self->session, &self->cut, line, length, false);
        if (!self->cut.meant && self->cut.place == PLAIN)
            cutter_clear(&self->cut);
        return true;
    }
    char *copy = cli_reserve(NULL, strlen(words) + 1, 1);
    strcpy(copy, words);
    bool stay = command(self->session, copy);
    free(copy);
    return stay;
}

/* The terminal is prepared before the prompt is seen, so that no Ctrl-C comes
   between the two. A line that Ctrl-C left may be empty, which is not the end
   although libedit says NULL for both. */
static const char *next_line(prompter *self, EditLine *editor, int *length) {
    el_set(editor, EL_PREP_TERM, 1);
    const char *line = el_gets(editor, length);
    if (self->cancelled)
        return "";
    return *length > 0 ? line : NULL;
}

static void converse(prompter *self, EditLine *editor, History *lines) {
    HistEvent event;
    int length;
    for (const char *line; (line = next_line(self, editor, &length)); ) {
        if (line[strspn(line, " \t\r\n")])
            history(lines, &event, H_ENTER, line);
        if (!typed(self, line, (size_t)length))
            return;
    }
    putchar('\n');
}

int cli_run_prompt(cli *session) {
    prompter self = {.session = session, .cut.line = 1};
    HistEvent event;
    History *lines = history_init();
    EditLine *editor = lines ? editor_new(&self, lines) : NULL;
    if (!editor) {
        if (lines)
            history_end(lines);
        return cli_run_file(session, stdin);
    }
    char *path = history_path();
    history(lines, &event, H_SETSIZE, 1000);
    history(lines, &event, H_SETUNIQUE, 1);
    if (path)
        history(lines, &event, H_LOAD, path);
    printf("falkor-cli %d.%d.%d; :help helps, :quit leaves\n",
           FALKOR_VERSION_MAJOR, FALKOR_VERSION_MINOR, FALKOR_VERSION_PATCH);
    converse(&self, editor, lines);
    mode_t mask = umask(077);           /* what was typed is private */
    if (path)
        history(lines, &event, H_SAVE, path);
    umask(mask);
    el_end(editor);
    history_end(lines);
    free(path);
    free(self.cut.text);
    return CLI_OK;
}
