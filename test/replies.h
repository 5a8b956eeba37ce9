/* Replies as the server sends them to a compact query, made without a server:
   for the benchmarks of decoding. */
#ifndef FALKOR_TEST_REPLIES_H
#define FALKOR_TEST_REPLIES_H
#include <stddef.h>

typedef struct reply_text {
    char *bytes;                        /* free() them */
    size_t length, size;
} reply_text;

/* MATCH (n) RETURN n, each node with a name, a city, two numbers and a
   double. */
reply_text replies_nodes(int rows);

/* A path of three nodes, each with a name, and two edges without properties. */
reply_text replies_paths(int rows);

/* A list of eight integers and a map of two strings and two integers. */
reply_text replies_lists(int rows);

/* An integer, a string and a boolean. */
reply_text replies_scalars(int rows);

/* RETURN 1 */
reply_text replies_one(int rows);

/* A vector of 384 floats. */
reply_text replies_vectors(int rows);
#endif
