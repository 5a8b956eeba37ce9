/* A password that the tests do not have in plain text, and the search for it in
   all that this process can write to. */
#ifndef FALKOR_SECRET_H
#define FALKOR_SECRET_H
#include <stddef.h>

/* Draws it: SECRET_SIZE - 1 bytes, the one in the middle an '@'. Before the
   first fork that is to know it. */
#define SECRET_SIZE 48
void secret_draw(void);

/* It in plain text, so often (with %40 in a url); wipe takes it away again. */
char *secret_write(char *room, int times);
char *secret_write_encoded(char *room);
void secret_wipe(void *room, size_t size);

/* How often its begin, its middle or its end stands in this process's heaps,
   stacks and variables, whoever left it there. One thread at a time. */
int secret_hits(void);
#endif
