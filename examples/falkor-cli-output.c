/* Results as JSON lines, as CSV (RFC 4180) and as tables for people. */
#include "falkor-cli.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

/* ---- text that grows -------------------------------------------------- */

typedef struct buffer { char *text; size_t length, room; } buffer;

static bool append(void *ctx, const char *bytes, size_t length) {
    buffer *to = ctx;
    if (to->length + length + 1 > to->room) {
        to->room = 2 * (to->length + length + 1);
        to->text = cli_reserve(to->text, to->room, 1);
    }
    memcpy(to->text + to->length, bytes, length);
    to->length += length;
    to->text[to->length] = '\0';
    return true;
}

static bool write_out(void *ctx, const char *bytes, size_t length) {
    (void)ctx;
    return fwrite(bytes, 1, length, stdout) == length;
}

/* A value's JSON; a string, a date and so on without its quotes. */
static buffer json_of(const falkor_value *value) {
    buffer text = {0};
    if (falkor_value_write_json(value, append, &text) != FALKOR_OK)
        cli_no_memory();
    return text;
}

/* ---- CSV -------------------------------------------------------------- */

/* What is empty, but not null, is quoted too. */
static void csv_field(const char *text, size_t length) {
    bool quoted = length == 0;
    for (size_t i = 0; i < length; i++)
        quoted = quoted || strchr(",\"\r\n", text[i]);
    if (!quoted) {
        fwrite(text, 1, length, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            putchar('"');
        putchar(text[i]);
    }
    putchar('"');
}

static void csv_value(const falkor_value *value) {
    if (!value || value->type == FALKOR_NULL)
        return;
    if (value->type == FALKOR_STRING) {
        csv_field(value->as.string, value->length);
        return;
    }
    buffer json = json_of(value);
    bool bare = json.text[0] == '"';    /* a date, or "NaN": no escapes */
    csv_field(json.text + bare, json.length - 2 * bare);
    free(json.text);
}

static void print_csv(const falkor_result *result) {
    size_t rows = falkor_result_rows(result);
    size_t columns = falkor_result_columns(result);
    for (size_t c = 0; c < columns; c++) {
        const char *name = falkor_result_column(result, c);
        if (c > 0)
            putchar(',');
        csv_field(name, strlen(name));
    }
    if (columns > 0)
        fputs("\r\n", stdout);
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < columns; c++) {
            if (c > 0)
                putchar(',');
            csv_value(falkor_result_value(result, row, c));
        }
        fputs("\r\n", stdout);
    }
}

/* ---- tables ----------------------------------------------------------- */

typedef struct cell { char *text; size_t width; bool number; } cell;

/* The character that valid UTF-8 begins with: its bytes and its columns on a
   terminal, as far as the C library knows the character. */
static size_t character(const char *text, size_t *width, uint32_t *code) {
    const unsigned char *at = (const unsigned char *)text;
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    *code = length == 1 ? at[0] : at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        *code = *code << 6 | (at[i] & 0x3f);
    int columns = wcwidth((wchar_t)*code);
    *width = columns < 0 ? 1 : (size_t)columns;
    return length;
}

/* Takes a JSON string's quotes and the escapes of quotes and backslashes away.
   Control characters stay escaped, those that JSON lets through go: no value
   may steer the terminal. */
static void tidy(buffer *json) {
    bool string = json->text[0] == '"';
    buffer tidied = {0};
    append(&tidied, "", 0);
    const char *at = json->text + string;
    const char *end = json->text + json->length - string;
    while (at < end) {
        size_t width;
        uint32_t code;
        if (string && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        size_t length = character(at, &width, &code);
        if (code >= 0x7f && code < 0xa0)
            append(&tidied, "\xef\xbf\xbd", 3);
        else
            append(&tidied, at, length);
        at += length;
    }
    free(json->text);
    *json = tidied;
}

static size_t width_of(const char *text) {
    size_t sum = 0, width;
    uint32_t code;
    while (*text) {
        text += character(text, &width, &code);
        sum += width;
    }
    return sum;
}

static cell cell_of(const falkor_value *value) {
    buffer json = json_of(value);
    tidy(&json);
    return (cell){.text = json.text, .width = width_of(json.text),
        .number = value && (value->type == FALKOR_INTEGER
                            || value->type == FALKOR_DOUBLE)};
}

/* Header and rows, (rows + 1) * columns cells. */
static cell *cells_of(const falkor_result *result) {
    size_t rows = falkor_result_rows(result);
    size_t columns = falkor_result_columns(result);
    cell *cells = cli_reserve(NULL, (rows + 1) * columns, sizeof *cells);
    for (size_t c = 0; c < columns; c++) {
        falkor_value name = falkor_string(falkor_result_column(result, c));
        cells[c] = cell_of(&name);
        cells[c].number = rows > 0;     /* like what stands below it */
        for (size_t row = 0; row < rows; row++) {
            cell *one = &cells[(row + 1) * columns + c];
            *one = cell_of(falkor_result_value(result, row, c));
            cells[c].number = cells[c].number && one->number;
        }
    }
    return cells;
}

/* How wide the terminal is; 0: there is none, nothing is cut. */
static size_t terminal_width(void) {
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

/* Each column as wide as its widest cell; on a terminal that is too narrow the
   widest columns give way, down to eight. */
static size_t *widths_of(const cell *cells, size_t rows, size_t columns) {
    size_t *widths = cli_reserve(NULL, columns, sizeof *widths);
    size_t limit = terminal_width(), sum = 3 * columns + 1;
    for (size_t i = 0; i < (rows + 1) * columns; i++)
        if (cells[i].width > widths[i % columns])
            widths[i % columns] = cells[i].width;
    for (size_t c = 0; c < columns; c++)
        sum += widths[c];
    while (limit > 0 && sum > limit) {
        size_t widest = 0;
        for (size_t c = 1; c < columns; c++)
            if (widths[c] > widths[widest])
                widest = c;
        if (widths[widest] <= 8)
            break;
        widths[widest]--;
        sum--;
    }
    return widths;
}

static void spaces(size_t count) {
    for (; count > 0; count--)
        putchar(' ');
}

static void print_cell(const cell *one, size_t width) {
    if (one->width <= width) {
        spaces(one->number ? width - one->width : 0);
        fputs(one->text, stdout);
        spaces(one->number ? 0 : width - one->width);
        return;
    }
    size_t used = 0, columns;
    uint32_t code;
    for (const char *at = one->text; ; ) {
        size_t length = character(at, &columns, &code);
        if (used + columns > width - 1)
            break;
        fwrite(at, 1, length, stdout);
        used += columns;
        at += length;
    }
    fputs("\xe2\x80\xa6", stdout);      /* the ellipsis */
    spaces(width - 1 - used);
}

static void print_rule(const size_t *widths, size_t columns) {
    for (size_t c = 0; c < columns; c++) {
        putchar('+');
        for (size_t i = 0; i < widths[c] + 2; i++)
            putchar('-');
    }
    fputs("+\n", stdout);
}

static void print_cells(const falkor_result *result) {
    size_t rows = falkor_result_rows(result);
    size_t columns = falkor_result_columns(result);
    cell *cells = cells_of(result);
    size_t *widths = widths_of(cells, rows, columns);
    print_rule(widths, columns);
    for (size_t row = 0; row <= rows; row++) {
        for (size_t c = 0; c < columns; c++) {
            fputs("| ", stdout);
            print_cell(&cells[row * columns + c], widths[c]);
            putchar(' ');
        }
        fputs("|\n", stdout);
        if (row == 0 || row == rows)
            print_rule(widths, columns);
    }
    for (size_t i = 0; i < (rows + 1) * columns; i++)
        free(cells[i].text);
    free(cells);
    free(widths);
}

/* "2 rows; nodes created: 1, properties set: 3; 0.42 ms" */
static void print_summary(const falkor_result *result) {
    const falkor_summary *s = falkor_result_summary(result);
    const struct { const char *what; int64_t count; } counts[] = {
        {"nodes created", s->nodes_created},
        {"nodes deleted", s->nodes_deleted},
        {"edges created", s->edges_created},
        {"edges deleted", s->edges_deleted},
        {"labels added", s->labels_added},
        {"labels removed", s->labels_removed},
        {"properties set", s->properties_set},
        {"properties removed", s->properties_removed},
        {"indices created", s->indices_created},
        {"indices deleted", s->indices_deleted},
        {"constraints created", s->constraints_created},
        {"constraints deleted", s->constraints_deleted}};
    size_t rows = falkor_result_rows(result);
    const char *between = "";
    if (falkor_result_columns(result) > 0) {
        printf("%zu %s", rows, rows == 1 ? "row" : "rows");
        between = "; ";
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].count != 0) {
            printf("%s%s: %" PRId64, between, counts[i].what,
                   counts[i].count);
            between = ", ";
        }
    printf("%s%.3f ms\n", *between ? "; " : "", s->internal_ms);
}

/* ---- the choice ------------------------------------------------------- */

bool cli_print_error(const falkor_error *error, size_t line) {
    falkor_value message = falkor_string(error->message);
    errno = 0;
    printf("{\"error\":{\"status\":\"%s\",\"message\":",
           falkor_status_name(error->status));
    if (falkor_value_write_json(&message, write_out, NULL)
        == FALKOR_ERR_NOMEM)
        cli_no_memory();
    printf(",\"maybe_executed\":%s}",
           error->maybe_executed ? "true" : "false");
    if (line > 0)
        printf(",\"line\":%zu", line);
    puts("}");
    return fflush(stdout) == 0 && !ferror(stdout);
}

bool cli_print(const falkor_result *result, cli_format format) {
    errno = 0;
    if (format == CLI_JSON) {
        if (falkor_result_write_json(result, write_out, NULL)
            == FALKOR_ERR_NOMEM)
            cli_no_memory();
        putchar('\n');
    } else if (format == CLI_CSV) {
        print_csv(result);
    } else {
        if (falkor_result_columns(result) > 0)
            print_cells(result);
        print_summary(result);
    }
    return fflush(stdout) == 0 && !ferror(stdout);
}
