/* See replies.h. */
#include "../internal.h"
#include "replies.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FALKOR__PRINTF(2, 3)
static void put(reply_text *t, const char *format, ...) {
    va_list arguments;
    if (t->size - t->length < 4096)
        t->bytes = realloc(t->bytes, t->size = t->size * 2 + 8192);
    va_start(arguments, format);
    t->length += (size_t)vsnprintf(t->bytes + t->length, 4096, format,
                                   arguments);
    va_end(arguments);
}

static void put_bulk(reply_text *t, const char *bytes) {
    put(t, "$%zu\r\n%s\r\n", strlen(bytes), bytes);
}

static void put_summary(reply_text *t) {
    put(t, "*2\r\n");
    put_bulk(t, "Cached execution: 0");
    put_bulk(t, "Query internal execution time: 12.345678 milliseconds");
}

reply_text replies_nodes(int rows) {
    reply_text t = {0};
    char line[64];
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nn\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*1\r\n*2\r\n:8\r\n*3\r\n:%d\r\n*1\r\n:0\r\n*5\r\n", i);
        snprintf(line, sizeof line, "person number %d", i);
        put(&t, "*3\r\n:0\r\n:2\r\n");
        put_bulk(&t, line);
        snprintf(line, sizeof line, "city %d", i % 97);
        put(&t, "*3\r\n:1\r\n:2\r\n");
        put_bulk(&t, line);
        put(&t, "*3\r\n:2\r\n:3\r\n:%d\r\n*3\r\n:3\r\n:3\r\n:%d\r\n", i % 90,
            i * 37);
        snprintf(line, sizeof line, "%.15g", i * 0.37);
        put(&t, "*3\r\n:4\r\n:5\r\n");
        put_bulk(&t, line);
    }
    put_summary(&t);
    return t;
}

reply_text replies_paths(int rows) {
    reply_text t = {0};
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\np\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*1\r\n*2\r\n:9\r\n*2\r\n*2\r\n:6\r\n*3\r\n");
        for (int node = i; node < i + 3; node++)
            put(&t, "*2\r\n:8\r\n*3\r\n:%d\r\n*1\r\n:0\r\n*1\r\n*3\r\n:0\r\n"
                ":2\r\n$12\r\nnode %7d\r\n", node, node);
        put(&t, "*2\r\n:6\r\n*2\r\n");
        for (int edge = i; edge < i + 2; edge++)
            put(&t, "*2\r\n:7\r\n*5\r\n:%d\r\n:1\r\n:%d\r\n:%d\r\n*0\r\n",
                edge, edge, edge + 1);
    }
    put_summary(&t);
    return t;
}

reply_text replies_lists(int rows) {
    reply_text t = {0};
    put(&t, "*3\r\n*2\r\n*2\r\n:1\r\n$1\r\nl\r\n*2\r\n:1\r\n$1\r\nm\r\n"
        "*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*2\r\n*2\r\n:6\r\n*8\r\n");
        for (int j = i; j < i + 8; j++)
            put(&t, "*2\r\n:3\r\n:%d\r\n", j);
        put(&t, "*2\r\n:10\r\n*8\r\n");
        for (int j = 0; j < 2; j++)
            put(&t, "$5\r\nname%d\r\n*2\r\n:2\r\n$12\r\ntext %7d\r\n"
                "$7\r\nnumber%d\r\n*2\r\n:3\r\n:%d\r\n", j, i, j, i);
    }
    put_summary(&t);
    return t;
}

reply_text replies_scalars(int rows) {
    reply_text t = {0};
    char line[64];
    put(&t, "*3\r\n*3\r\n*2\r\n:1\r\n$1\r\na\r\n*2\r\n:1\r\n$1\r\nb\r\n"
        "*2\r\n:1\r\n$1\r\nc\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*3\r\n*2\r\n:3\r\n:%d\r\n*2\r\n:2\r\n", i * 17);
        snprintf(line, sizeof line, "a string %d", i);
        put_bulk(&t, line);
        put(&t, "*2\r\n:4\r\n");
        put_bulk(&t, i & 1 ? "true" : "false");
    }
    put_summary(&t);
    return t;
}

reply_text replies_one(int rows) {
    reply_text t = {0};
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\n1\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++)
        put(&t, "*1\r\n*2\r\n:3\r\n:1\r\n");
    put_summary(&t);
    return t;
}

reply_text replies_vectors(int rows) {
    reply_text t = {0};
    char line[64];
    put(&t, "*3\r\n*1\r\n*2\r\n:1\r\n$1\r\nv\r\n*%d\r\n", rows);
    for (int i = 0; i < rows; i++) {
        put(&t, "*1\r\n*2\r\n:12\r\n*384\r\n");
        for (int j = 0; j < 384; j++) {
            snprintf(line, sizeof line, "%.17g",
                     (double)((float)(i * 384 + j) * 1.7e-5f));
            put_bulk(&t, line);
        }
    }
    put_summary(&t);
    return t;
}
