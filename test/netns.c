/* A namespace and the rules of its packet filter: see netns.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                     /* unshare */
#endif
#include "netns.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TABLE "falkor"
#define PARTS "falkor_parts"
#define HEAD ((uint16_t)sizeof(struct nlattr))

/* ---- netlink ---------------------------------------------------------- */

/* A batch of messages; all of them hold, or none. Its bytes are written by
   memcpy, for they have no other type. */
typedef struct batch {
    char bytes[2048];
    size_t length, message;             /* message: where the last begins */
} batch;

static void put(batch *all, size_t at, const void *value, size_t length) {
    memcpy(all->bytes + at, value, length);
}

static void message(batch *all, int type, int flags, int family,
                    uint16_t resource) {
    const struct nlmsghdr head = {.nlmsg_len = NLMSG_LENGTH(
            sizeof(struct nfgenmsg)), .nlmsg_type = (uint16_t)type,
        .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};
    const struct nfgenmsg about = {.nfgen_family = (uint8_t)family,
        .version = NFNETLINK_V0, .res_id = htons(resource)};
    all->message = all->length;
    put(all, all->message, &head, sizeof head);
    put(all, all->message + NLMSG_HDRLEN, &about, sizeof about);
    all->length += head.nlmsg_len;
}

/* The last message gets longer, and other flags. */
static void extend(batch *all, size_t bytes, int flags) {
    struct nlmsghdr head;
    memcpy(&head, all->bytes + all->message, sizeof head);
    head.nlmsg_len += (uint32_t)bytes;
    head.nlmsg_flags |= (uint16_t)flags;
    put(all, all->message, &head, sizeof head);
    all->length += bytes;
}

/* Adds an attribute's head to the message, and returns where; length: of it
   all. */
static size_t attribute_head(batch *all, int type, size_t length) {
    const struct nlattr head = {(uint16_t)length, (uint16_t)type};
    size_t at = all->length;
    put(all, at, &head, sizeof head);
    extend(all, HEAD, 0);
    return at;
}

/* An attribute that has others, up to end. */
static size_t nest(batch *all, int type) {
    return attribute_head(all, type, HEAD);
}

static void end(batch *all, size_t nested) {
    uint16_t length = (uint16_t)(all->length - nested);
    put(all, nested, &length, sizeof length);
}

static void attribute(batch *all, int type, const void *value, size_t length) {
    size_t room = (length + 3) & ~(size_t)3;
    attribute_head(all, type, HEAD + length);
    memset(all->bytes + all->length, 0, room);
    put(all, all->length, value, length);
    extend(all, room, 0);
}

static void text(batch *all, int type, const char *value) {
    attribute(all, type, value, strlen(value) + 1);
}

static void number(batch *all, int type, uint32_t value) {
    value = htonl(value);
    attribute(all, type, &value, sizeof value);
}

/* Sends the batch: the kernel answers its last message, or the one that it
   refuses. */
static bool carry_out(batch *all) {
    char answer[1024];
    struct nlmsghdr head;
    struct nlmsgerr verdict;
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
                         NETLINK_NETFILTER);
    extend(all, 0, NLM_F_ACK);
    message(all, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    ssize_t length = send(netlink, all->bytes, all->length, 0);
    if (length >= 0)
        length = recv(netlink, answer, sizeof answer, 0);
    if (netlink >= 0)
        close(netlink);
    if (length < (ssize_t)NLMSG_LENGTH(sizeof verdict))
        return false;
    memcpy(&head, answer, sizeof head);
    memcpy(&verdict, answer + NLMSG_HDRLEN, sizeof verdict);
    if (head.nlmsg_type != NLMSG_ERROR)
        return false;
    errno = -verdict.error;
    return errno == 0;
}

static void begin(batch *all) {
    all->length = 0;
    message(all, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

static int table(int number) { return NFNL_SUBSYS_NFTABLES << 8 | number; }

/* ---- the namespace ---------------------------------------------------- */

static bool raise_loopback(void) {
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    if (fd >= 0)
        close(fd);
    return up;
}

bool netns_enter(const char **why) {
    bool entered = unshare(CLONE_NEWNET) == 0;
    *why = entered ? NULL : strerror(errno);
    return entered && raise_loopback();
}

/* A chain of the input hook, in a table of its own, that has no rule yet: till
   then its policy decides. */
static void add_chain(batch *all, const char *name, int policy) {
    message(all, table(NFT_MSG_NEWTABLE), NLM_F_CREATE, NFPROTO_IPV4, 0);
    text(all, NFTA_TABLE_NAME, name);
    message(all, table(NFT_MSG_NEWCHAIN), NLM_F_CREATE, NFPROTO_IPV4, 0);
    text(all, NFTA_CHAIN_TABLE, name);
    text(all, NFTA_CHAIN_NAME, "input");
    size_t hook = nest(all, NFTA_CHAIN_HOOK | NLA_F_NESTED);
    number(all, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_IN);
    number(all, NFTA_HOOK_PRIORITY, 0);
    end(all, hook);
    number(all, NFTA_CHAIN_POLICY, (uint32_t)policy);
    text(all, NFTA_CHAIN_TYPE, "filter");
}

static void delete_table(batch *all, const char *name) {
    message(all, table(NFT_MSG_DELTABLE), 0, NFPROTO_IPV4, 0);
    text(all, NFTA_TABLE_NAME, name);
}

bool netns_drop(bool on) {
    batch all;
    begin(&all);
    if (on)
        add_chain(&all, TABLE, NF_DROP);
    else
        delete_table(&all, TABLE);
    return carry_out(&all);
}

/* ---- parts ------------------------------------------------------------ */

/* A rule is a list of expressions, each a name and its data. */
static size_t expression(batch *all, const char *name,
                         size_t *data) {
    size_t element = nest(all, NFTA_LIST_ELEM | NLA_F_NESTED);
    text(all, NFTA_EXPR_NAME, name);
    *data = nest(all, NFTA_EXPR_DATA | NLA_F_NESTED);
    return element;
}

static void end_expression(batch *all, size_t element,
                           size_t data) {
    end(all, data);
    end(all, element);
}

/* Goes on when the four bytes there of the IPv4 header are the address. */
static void match(batch *all, uint32_t offset, struct in_addr address) {
    size_t data, element = expression(all, "payload", &data);
    number(all, NFTA_PAYLOAD_DREG, NFT_REG_1);
    number(all, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    number(all, NFTA_PAYLOAD_OFFSET, offset);
    number(all, NFTA_PAYLOAD_LEN, sizeof address);
    end_expression(all, element, data);
    element = expression(all, "cmp", &data);
    number(all, NFTA_CMP_SREG, NFT_REG_1);
    number(all, NFTA_CMP_OP, NFT_CMP_EQ);
    size_t value = nest(all, NFTA_CMP_DATA | NLA_F_NESTED);
    attribute(all, NFTA_DATA_VALUE, &address, sizeof address);
    end(all, value);
    end_expression(all, element, data);
}

static void drop(batch *all) {
    size_t data, element = expression(all, "immediate", &data);
    number(all, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    size_t value = nest(all, NFTA_IMMEDIATE_DATA | NLA_F_NESTED);
    size_t verdict = nest(all, NFTA_DATA_VERDICT | NLA_F_NESTED);
    number(all, NFTA_VERDICT_CODE, NF_DROP);
    end(all, verdict);
    end(all, value);
    end_expression(all, element, data);
}

/* What comes from one to the other is dropped. */
static void add_rule(batch *all, struct in_addr from, struct in_addr to) {
    message(all, table(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND,
            NFPROTO_IPV4, 0);
    text(all, NFTA_RULE_TABLE, PARTS);
    text(all, NFTA_RULE_CHAIN, "input");
    size_t list = nest(all, NFTA_RULE_EXPRESSIONS | NLA_F_NESTED);
    match(all, 12, from);
    match(all, 16, to);
    drop(all);
    end(all, list);
}

bool netns_part(const char *one, const char *other) {
    struct in_addr a, b;
    if (inet_pton(AF_INET, one, &a) != 1 || inet_pton(AF_INET, other, &b) != 1)
        return false;
    batch all;
    begin(&all);
    add_chain(&all, PARTS, NF_ACCEPT);
    add_rule(&all, a, b);
    add_rule(&all, b, a);
    return carry_out(&all);
}

bool netns_heal(void) {
    batch all;
    begin(&all);
    delete_table(&all, PARTS);
    return carry_out(&all) || errno == ENOENT;
}
