/* What the files of falkor-cli stats share. */
#ifndef FALKOR_CLI_STATS_H
#define FALKOR_CLI_STATS_H
#include "falkor-cli.h"
#include <cjson/cJSON.h>

/* ---- falkor-cli-http.c ------------------------------------------------ */

/* Where an http:// URL points. */
typedef struct cli_place {
    char host[256], port[6];
    char authority[300];                /* the two as the URL has them */
    const char *target;                 /* path and query, into the URL */
    size_t target_length;
} cli_place;

/* false: *why says what is wrong with the URL (static text). */
bool cli_http_place(const char *url, cli_place *place, const char **why);

/* Gets the document there by one GET, in so many seconds at most but for the
   look-up of a name. It is the caller's; NULL: why says what happened. */
char *cli_http_get(const cli_place *place, double seconds, char why[400]);

/* ---- falkor-cli-gauges.c ---------------------------------------------- */

typedef struct cli_style { bool utf8, colour; } cli_style;

/* Whether it is a pool's health document, or an array of them. */
bool cli_is_health(const cJSON *document);

/* Draws it. before: the one before, for what happens in a second; or NULL. */
void cli_gauges_draw(FILE *out, const cJSON *document, const cJSON *before,
                     cli_style style);
#endif
