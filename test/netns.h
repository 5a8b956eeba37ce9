/* A network of the test's own, in which packets can be made to get lost: a
   namespace with nothing but a loopback device, and the kernel's packet filter,
   told over netlink, so that no tool is needed. Linux, and root. */
#ifndef FALKOR_TEST_NETNS_H
#define FALKOR_TEST_NETNS_H
#include <stdbool.h>

/* Moves the calling thread, and what it starts from now on, into a namespace of
   its own. false, with why: not here; then it stays where it was. */
bool netns_enter(const char **why);

/* From now on, until off, no packet arrives. false: the kernel refused. */
bool netns_drop(bool on);

/* From now on no packet between these two IPv4 addresses arrives, either way.
   heal takes back every part, and is content when there is none. Independent of
   drop. */
bool netns_part(const char *one, const char *other);
bool netns_heal(void);
#endif
