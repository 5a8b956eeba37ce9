/* -P name=@rule of falkor-cli bench: a parameter whose value each query gets
   anew. A value follows from the query's number alone, so that no thread waits
   for another and a run can be repeated. JSON never begins with @. */
#include "falkor-cli-bench.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Reads an integer; false: there is none, or it has more than 64 bits. */
static bool read_integer(const char **at, int64_t *integer) {
    const char *digits = *at + (**at == '-');
    char *end;
    errno = 0;
    *integer = strtoll(*at, &end, 10);
    *at = end;
    return *digits >= '0' && *digits <= '9' && errno == 0;
}

/* "FROM..TO", or "FROM" where the end may be open. */
static bool read_range(cli_rule *self, const char *text) {
    self->to = INT64_MAX;
    if (!read_integer(&text, &self->from))
        return false;
    if (!*text)
        return self->kind == CLI_COUNTER;
    if (text[0] != '.' || text[1] != '.')
        return false;
    text += 2;
    return read_integer(&text, &self->to) && !*text && self->from <= self->to;
}

static bool read_rule(cli_rule *self, const char *text) {
    static const struct { const char *word; cli_rule_kind kind; } words[] = {
        {"@counter", CLI_COUNTER}, {"@random", CLI_RANDOM},
        {"@thread", CLI_THREAD}};
    size_t length = strcspn(text, ":");
    self->from = 1;
    self->to = INT64_MAX;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i].word) != length
            || strncmp(words[i].word, text, length) != 0)
            continue;
        self->kind = words[i].kind;
        if (!text[length])
            return self->kind != CLI_RANDOM;
        return self->kind != CLI_THREAD && read_range(self, text + length + 1);
    }
    return false;
}

static void rule_free(cli_rule *self) {
    free(self->name);
    free(self);
}

/* The last -P for a name counts. */
static void forget(cli_rule **list, const char *name, size_t length) {
    while (*list && (strlen((*list)->name) != length
                     || strncmp((*list)->name, name, length) != 0))
        list = &(*list)->next;
    cli_rule *old = *list;
    if (!old)
        return;
    *list = old->next;
    rule_free(old);
}

bool cli_rule_set(cli_rule **list, const char *text, const char *value) {
    size_t length = strcspn(text, "=");
    forget(list, text, length);
    if (*value != '@')
        return false;
    cli_rule *made = cli_reserve(NULL, 1, sizeof *made);
    made->name = cli_reserve(NULL, length + 1, 1);
    memcpy(made->name, text, length);
    if (!read_rule(made, value)) {
        cli_say("-P %s: that is no rule: there are @counter, @counter:FROM, "
                "@counter:FROM..TO, @random:FROM..TO and @thread, with FROM "
                "and TO integers and FROM not above TO, as in "
                "@random:1..1000; a text has its quotes: '%s=\"%s\"'", text,
                made->name, value);
        exit(CLI_USAGE);
    }
    made->next = *list;
    *list = made;
    return true;
}

void cli_rules_place(cli_rule *list, const falkor_param *params) {
    for (; list; list = list->next)
        while (strcmp(params[list->place].name, list->name) != 0)
            list->place++;
}

/* Spreads its argument over all 64 bits (splitmix64's last steps). */
static uint64_t scatter(uint64_t x) {
    x *= 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The range's size is 0 where it is all of 64 bits. */
int64_t cli_rule_value(const cli_rule *self, uint64_t number, int thread) {
    uint64_t size = (uint64_t)self->to - (uint64_t)self->from + 1;
    uint64_t step = number;
    if (self->kind == CLI_THREAD)
        return thread;
    if (self->kind == CLI_RANDOM)
        step = scatter(scatter(number + 1) + self->place);
    return (int64_t)((uint64_t)self->from + (size ? step % size : step));
}

void cli_rules_free(cli_rule *list) {
    while (list) {
        cli_rule *next = list->next;
        rule_free(list);
        list = next;
    }
}
