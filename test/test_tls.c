/* TLS, against the real server: what is let in, what is refused and with which
   words, and that a connection with TLS behaves like any other under load,
   when it is cut, and when the server is silent. The certificates are made
   here. What the real server never sends at the right moment (a late ticket, a
   key update, half a record) a small server of this file does.

   In a build without TLS: that everything that asks for it is refused. */
#include "fleet.h"
#include "scarce.h"
#include "secret.h"
#include "../internal.h"
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static falkor_error error;

static int example(const char *url, char *text, size_t size) {
    return serving_example("", "tls", url, text, size);
}

/* That a pool cannot even be created. */
static void refused(falkor_options options, const char *word) {
    falkor_pool *pool = (falkor_pool *)&error;
    assert_int_equal(falkor_pool_create(&options, &pool, &error),
                     FALKOR_ERR_ARGUMENT);
    assert_null(pool);
    test_assert_has(error.message, word);
    test_assert_lacks(error.message, "SECRET");
}

#ifndef FALKOR_TLS
/* ---- a build without TLS ---------------------------------------------- */

static void test_tls_refused_without(void **state) {
    static const char wanted[] = "this build has no TLS: build falkorpool "
                                 "with make TLS=1";
    (void)state;
    refused((falkor_options){.tls = true}, wanted);
    refused((falkor_options){.url = "falkors://u:SECRET@h"}, wanted);
    refused((falkor_options){.url = "rediss://u:SECRET@h/1"}, wanted);
    refused((falkor_options){.url = "falkors://h?tls_skip_verify=true"},
            wanted);
    refused((falkor_options){.url = "falkors://h?tls_ca_file=/ca"}, wanted);
}

/* The example is built all the same, and says why it does not work. */
static void test_tls_example_without(void **state) {
    char text[600];
    (void)state;
    assert_int_equal(example("falkors://127.0.0.1", text, sizeof text),
                     EXIT_FAILURE << 8);
    test_assert_has(text, "make TLS=1");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_refused_without),
        cmocka_unit_test(test_tls_example_without)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>

/* ---- certificates ----------------------------------------------------- */

static char folder[] = "/tmp/falkor-tls-XXXXXX";

/* The path of a file made here; eight at a time. */
static const char *file(const char *name) {
    static char paths[8][64];
    static int next;
    next = (next + 1) % 8;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

typedef struct identity { EVP_PKEY *key; X509 *certificate; } identity;

static EVP_PKEY *new_key(void) {
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context,
        NID_X9_62_prime256v1), 1);
    assert_int_equal(EVP_PKEY_keygen(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

static void extend(X509 *certificate, X509 *issuer, int nid,
                   const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid,
                                                    value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* Writes name.crt and name.key. names NULL: a CA. Days count from now. */
static identity new_identity(const char *name, const char *names,
                             const identity *issuer, int first_day,
                             int last_day) {
    static long serial;
    char path[32];
    identity made = {new_key(), X509_new()};
    X509 *x = made.certificate;
    const identity *by = issuer ? issuer : &made;
    assert_non_null(x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), first_day * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(x), last_day * 86400L);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(by->certificate));
    X509_set_pubkey(x, made.key);
    extend(x, by->certificate, NID_basic_constraints,
           names ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (names && *names)
        extend(x, by->certificate, NID_subject_alt_name, names);
    assert_true(X509_sign(x, by->key, EVP_sha256()) > 0);
    snprintf(path, sizeof path, "%s.crt", name);
    FILE *out = fopen(file(path), "w");
    assert_int_equal(PEM_write_X509(out, x), 1);
    fclose(out);
    snprintf(path, sizeof path, "%s.key", name);
    out = fopen(file(path), "w");
    assert_int_equal(PEM_write_PrivateKey(out, made.key, NULL, NULL, 0, NULL,
                                          NULL), 1);
    fclose(out);
    return made;
}

static void forget(identity *one) {
    EVP_PKEY_free(one->key);
    X509_free(one->certificate);
}

static void write_file(const char *name, const char *text) {
    FILE *out = fopen(file(name), "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

#define GOOD_NAMES "DNS:localhost,IP:127.0.0.1"
#define FLEET_NAMES "IP:127.0.0.11,IP:127.0.0.12,IP:127.0.0.13," \
    "IP:127.0.0.14,IP:127.0.0.15,IP:127.0.0.16,IP:127.0.0.21," \
    "IP:127.0.0.22,IP:127.0.0.23"

static void make_certificates(void) {
    assert_non_null(mkdtemp(folder));
    identity ca = new_identity("ca", NULL, NULL, -1, 30);
    identity strange = new_identity("strange-ca", NULL, NULL, -1, 30);
    identity old_ca = new_identity("old-ca", NULL, NULL, -9, -2);
    identity all[] = {
        new_identity("server", GOOD_NAMES, &ca, -1, 30),
        new_identity("expired", GOOD_NAMES, &ca, -9, -1),
        new_identity("early", GOOD_NAMES, &ca, 2, 30),
        new_identity("other", "DNS:other.example,DNS:*.sub.example,"
                     "IP:192.0.2.7,DNS:a,DNS:b", &ca, -1, 30),
        new_identity("bare", "", &ca, -1, 30),
        new_identity("late-ca", GOOD_NAMES, &old_ca, -1, 30),
        new_identity("client", "", &ca, -1, 30),
        new_identity("stranger", "", &strange, -1, 30),
        new_identity("fleet", FLEET_NAMES, &ca, -1, 30)};
    FILE *out = fopen(file("locked.key"), "w");
    assert_int_equal(PEM_write_PrivateKey(out, all[6].key, EVP_aes_128_cbc(),
        (unsigned char *)(uintptr_t)"SECRET", 6, NULL, NULL), 1);
    fclose(out);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        forget(&all[i]);
    forget(&ca);
    forget(&strange);
    forget(&old_ca);
    write_file("rubbish.crt", "no certificate\n");
    write_file("empty.crt", "");
}

/* ---- the server ------------------------------------------------------- */

static serving server;                  /* .port is the plain one */
static int tls_port;

static int listener(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static int begin(void **state) {
    char port[8];
    (void)state;
    make_certificates();
    close(listener(&tls_port));
    snprintf(port, sizeof port, "%d", tls_port);
    serving_start(&server, (const char *[]){"--tls-port", port,
        "--tls-cert-file", file("server.crt"), "--tls-key-file",
        file("server.key"), "--tls-ca-cert-file", file("ca.crt"),
        "--tls-auth-clients", "no", NULL});
    return 0;
}

static int end(void **state) {
    char command[64];
    (void)state;
    serving_stop(&server);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void configured(redisReply *reply) {
    assert_non_null(reply);
    assert_string_equal(reply->str, "OK");
    freeReplyObject(reply);
}

static void configure(const char *name, const char *value) {
    redisContext *client = serving_client(server.port);
    configured(redisCommand(client, "CONFIG SET %s %s", name, value));
    redisFree(client);
}

/* The server shows this certificate to who connects from now on. */
static void show(const char *name) {
    redisContext *client = serving_client(server.port);
    configured(redisCommand(client, "CONFIG SET tls-cert-file %s/%s.crt "
                            "tls-key-file %s/%s.key", folder, name, folder,
                            name));
    redisFree(client);
}

#define ANY_VERSION "TLSv1.2 TLSv1.3"

static falkor_options tls_options(void) {
    return (falkor_options){.host = "127.0.0.1", .port = tls_port,
        .tls = true, .tls_ca_file = file("ca.crt"), .max_size = 4,
        .min_size = -1, .max_retries = -1};
}

static void works(falkor_options options) {
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    assert_int_equal(serving_integer(graph, "RETURN 7", NULL), 7);
    falkor_pool_free(pool);
}

/* That opening fails, with these words and without a half-open rest. */
static void fails(falkor_options options, const char *word,
                  const char *other) {
    falkor_pool *pool;
    falkor_stats stats;
    falkor_pool_create(&options, &pool, &error);
    serving_ok(&error);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    falkor_pool_stats(pool, &stats);
    assert_int_equal(stats.total, 0);
    falkor_pool_free(pool);
    test_assert_has(error.message, word);
    test_assert_has(error.message, other);
    test_assert_lacks(error.message, "SECRET");
}

/* ---- let in ----------------------------------------------------------- */

static void test_tls_works(void **state) {
    char url[200];
    (void)state;
    falkor_options options = tls_options();
    works(options);
    options.host = "localhost";
    works(options);
    snprintf(url, sizeof url, "falkors://127.0.0.1:%d/g?tls_ca_file=%s",
             tls_port, file("ca.crt"));
    works((falkor_options){.url = url});
    snprintf(url, sizeof url, "rediss://localhost:%d/1?tls_ca_file=%s",
             tls_port, file("ca.crt"));
    works((falkor_options){.url = url, .graph = "g"});
    options.tls_server_name = "localhost.";
    works(options);
    options.tls_server_name = "127.0.0.1";
    works(options);
}

static void test_tls_1_2(void **state) {
    (void)state;
    configure("tls-protocols", "TLSv1.2");
    works(tls_options());
    configure("tls-protocols", "TLSv1.3");
    works(tls_options());
    configure("tls-protocols", ANY_VERSION);
}

/* It is TLS indeed: the server counts its clients of that port. */
static void test_tls_is_used(void **state) {
    char address[48];
    (void)state;
    falkor_options options = tls_options();
    options.client_name = "tls-test";
    falkor_pool *pool = serving_pool(&options);
    char *list = serving_ask(server.port, "CLIENT LIST");
    const char *line = strstr(list, " name=tls-test ");
    assert_non_null(line);
    while (line > list && line[-1] != '\n')
        line--;
    snprintf(address, sizeof address, " laddr=127.0.0.1:%d ", tls_port);
    *strchr(line, '\n') = '\0';
    test_assert_has(line, address);
    free(list);
    falkor_pool_free(pool);
}

/* A test that failed may have left the server stopped. */
static int go_on(void **state) {
    (void)state;
    serving_signal(&server, SIGCONT);
    return 0;
}

/* ---- refused ---------------------------------------------------------- */

static void test_tls_wrong_ca(void **state) {
    (void)state;
    falkor_options options = tls_options();
    options.tls_ca_file = file("strange-ca.crt");
    fails(options, "the server's certificate is not trusted",
          "strange-ca.crt)");
    test_assert_has(error.message, "cannot connect to 127.0.0.1:");
    options.tls_ca_file = NULL;         /* nor does this system trust it */
    fails(options, "the server's certificate is not trusted",
          "tls_ca_file is not set");
    options.tls_skip_verify = true;
    works(options);
    show("late-ca");
    options = tls_options();
    options.tls_ca_file = file("old-ca.crt");
    fails(options, "a certificate that vouches for the server's has expired",
          "notAfter");
    show("server");
}

static void test_tls_wrong_name(void **state) {
    (void)state;
    falkor_options options = tls_options();
    show("other");
    fails(options, "is for \"other.example\", \"*.sub.example\", "
          "\"192.0.2.7\", not \"127.0.0.1\"", "tls_server_name");
    options.host = "localhost";
    fails(options, "not \"localhost\"", "tls_server_name");
    options.tls_server_name = "192.0.2.8";
    fails(options, "not \"192.0.2.8\" (tls_server_name)", "");
    options.tls_server_name = "x.y.sub.example";
    fails(options, "not \"x.y.sub.example\"", "");
    static const char *const good[] = {"other.example", "OTHER.example.",
                                       "x.sub.example", "192.0.2.7"};
    for (size_t i = 0; i < 4; i++) {
        options.tls_server_name = good[i];
        works(options);
    }
    options.tls_server_name = NULL;
    options.tls_skip_verify = true;
    works(options);
    show("bare");                       /* a common name, no other names */
    fails(tls_options(), "is for \"bare\", not \"127.0.0.1\"", "");
    show("server");
}

static void test_tls_expired(void **state) {
    (void)state;
    falkor_options options = tls_options();
    show("expired");
    fails(options, "the server's certificate has expired (notAfter ", " GMT)");
    options.tls_skip_verify = true;
    works(options);
    show("early");
    fails(tls_options(), "is not valid yet (notBefore ", " GMT)");
    show("server");
}

/* A certificate that was right when the pool was opened. */
static void test_tls_certificate_changes(void **state) {
    (void)state;
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    show("expired");
    assert_int_equal(serving_integer(graph, "RETURN 1", NULL), 1);
    free(serving_ask(server.port, "CLIENT KILL TYPE normal SKIPME yes"));
    assert_int_equal(falkor_query(graph, "RETURN 1", NULL, NULL, &error),
                     FALKOR_ERR_CONNECT);
    assert_false(error.maybe_executed);
    test_assert_has(error.message, "has expired");
    show("server");
    assert_int_equal(serving_integer(graph, "RETURN 1", NULL), 1);
    falkor_pool_free(pool);
}

static void test_tls_client_certificate(void **state) {
    static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};
    (void)state;
    configure("tls-auth-clients", "yes");
    for (size_t i = 0; i < 2; i++) {
        configure("tls-protocols", versions[i]);
        falkor_options options = tls_options();
        fails(options, "the server refused TLS", "set tls_cert_file and "
              "tls_key_file");
        options.tls_cert_file = file("stranger.crt");
        options.tls_key_file = file("stranger.key");
        fails(options, "the server refused TLS", "does it accept "
              "tls_cert_file?");
        options.tls_cert_file = file("client.crt");
        options.tls_key_file = file("client.key");
        works(options);
    }
    configure("tls-auth-clients", "no");
    configure("tls-protocols", ANY_VERSION);
}

/* Who writes on after a refusal in TLS 1.3 still learns why. */
static void test_tls_refused_while_writing(void **state) {
    falkor__config made;
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)tls_port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct iovec piece = {(void *)(uintptr_t)"PING\r\n", 6};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    configure("tls-auth-clients", "yes");
    falkor_options options = tls_options();
    assert_int_equal(falkor__config_make(&options, &made, &error), FALKOR_OK);
    assert_int_equal(falkor__tls_load(&made.tls, &error), FALKOR_OK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address),
                     0);
    falkor__tls *tls = falkor__tls_begin(&made.tls, made.host, fd);
    struct pollfd ready = {.fd = fd};
    for (ssize_t done = -1; done < 0; poll(&ready, 1, -1)) {
        done = falkor__tls_handshake(tls, &ready.events);
        assert_true(done == 1 || errno == EAGAIN);
        ready.events = done == 1 ? POLLIN : ready.events;
    }
    ssize_t sent;
    do
        sent = falkor__tls_send(tls, &piece, 1, &ready.events);
    while (sent > 0 || errno == EAGAIN);
    assert_int_equal(sent, -1);
    test_assert_has(falkor__tls_reason(tls), "set tls_cert_file and");
    falkor__tls_end(tls);
    close(fd);
    falkor__config_free(&made);
    configure("tls-auth-clients", "no");
}

static void test_tls_files(void **state) {
    (void)state;
    falkor_options options = tls_options();
    options.tls_ca_file = file("none.crt");
    fails(options, "cannot use tls_ca_file \"", "No such file");
    assert_int_equal(error.sys_errno, ENOENT);
    test_assert_has(error.message, "none.crt");
    options.tls_ca_file = file("rubbish.crt");
    fails(options, "cannot use tls_ca_file \"", "rubbish.crt\": ");
    options.tls_ca_file = file("empty.crt");
    fails(options, "cannot use tls_ca_file \"", "empty.crt\": ");
    options.tls_ca_file = folder;
    fails(options, "cannot use tls_ca_file \"", folder);
    options = tls_options();
    options.tls_cert_file = file("client.crt");
    options.tls_key_file = file("none.key");
    fails(options, "cannot use tls_key_file \"", "No such file");
    options.tls_key_file = file("client.crt");
    fails(options, "cannot use tls_key_file \"", "client.crt\": ");
    options.tls_key_file = file("server.key");
    fails(options, "cannot use tls_key_file \"", "mismatch");
    options.tls_key_file = file("locked.key");
    fails(options, "cannot use tls_key_file \"", "protected by a password");
    options.tls_cert_file = file("rubbish.crt");
    fails(options, "cannot use tls_cert_file \"", "rubbish.crt\": ");
    /* A file that comes later is read later. */
    options = tls_options();
    options.tls_ca_file = file("later.crt");
    falkor_pool *pool;
    falkor_pool_create(&options, &pool, &error);
    serving_ok(&error);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_ERR_CONNECT);
    assert_int_equal(link(file("ca.crt"), file("later.crt")), 0);
    assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    falkor_pool_free(pool);
}

/* It is retried like any dial, and no more often than one. */
static void test_tls_refusal_is_retried(void **state) {
    (void)state;
    falkor_options options = tls_options();
    options.tls_ca_file = file("strange-ca.crt");
    options.max_retries = 2;
    options.retry_initial_delay_ms = 1;
    fails(options, "not trusted", "");
    assert_int_equal(error.attempts, 3);
}

static void test_tls_plain_server(void **state) {
    (void)state;
    falkor_options options = tls_options();
    options.port = server.port;
    options.connect_timeout_ms = 300;   /* it waits for the line's end */
    fails(options, "no TLS handshake in time", "does the server speak TLS");
    proxy between;
    proxy_start(&between, server.port);
    atomic_store(&between.answer, "-ERR unknown command\r\n");
    atomic_store(&between.answers, 1);
    options.port = between.port;
    fails(options, "the server does not speak TLS on this port", "falkor://");
    atomic_store(&between.cut_requests, 1);
    fails(options, "closed during the TLS handshake", "does it speak TLS");
    proxy_stop(&between);
}

static void test_tls_plain_client(void **state) {
    (void)state;
    fails((falkor_options){.host = "127.0.0.1", .port = tls_port,
          .max_retries = -1, .min_size = -1}, "use falkors:// or set tls", "");
}

/* The kernel takes the connection and nobody answers; or a server does that
   has stopped. */
static void test_tls_handshake_in_time(void **state) {
    int port, fd = listener(&port);
    (void)state;
    falkor_options options = tls_options();
    options.port = port;
    options.connect_timeout_ms = 200;
    for (int round = 0; round < 2; round++) {
        int64_t before = test_now_ms();
        fails(options, "no TLS handshake in time", "");
        int64_t took = test_now_ms() - before;
        assert_int_equal(error.sys_errno, ETIMEDOUT);
        assert_true(took >= 199 && took < 3200);
        options.port = tls_port;
        if (round == 0)
            serving_signal(&server, SIGSTOP);
    }
    serving_signal(&server, SIGCONT);
    close(fd);
}

/* ---- at work ---------------------------------------------------------- */

#define LARGE (8 << 20)

/* Both ways, through windows and records of every size. */
static void test_tls_large(void **state) {
    (void)state;
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    char *text = malloc(LARGE);
    assert_non_null(text);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = (char)('a' + (i * 7 + i / 4096) % 26);
    falkor_result *result = serving_query(graph, "RETURN $t, size($t)",
        FALKOR_PARAMS({"t", falkor_string_n(text, LARGE)}));
    const falkor_value *value = falkor_result_value(result, 0, 0);
    assert_int_equal(value->length, LARGE);
    assert_memory_equal(value->as.string, text, LARGE);
    falkor_result_free(result);
    result = serving_query(graph, "UNWIND range(1, 100000) AS i "
                           "RETURN i, toString(i)", NULL);
    assert_int_equal(falkor_result_rows(result), 100000);
    falkor_result_free(result);
    static const size_t sizes[] = {16300, 16383, 16384, 16385, 32768, 49153};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t less = 0; less < 3; less++)
            assert_int_equal(serving_integer(graph, "RETURN size($t)",
                FALKOR_PARAMS({"t", falkor_string_n(text, sizes[i] -
                                                    less * 40)})),
                sizes[i] - less * 40);
    free(text);
    falkor_pool_free(pool);
}

#define REQUESTS 40

/* Replies come while requests are still being sent, more of both than the
   sockets hold. */
static void test_tls_pipeline(void **state) {
    falkor_request requests[REQUESTS];
    falkor_param params[REQUESTS][3];
    size_t size = 300 << 10;
    char *text = malloc(size);
    (void)state;
    assert_non_null(text);
    memset(text, 'p', size);
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    memset(requests, 0, sizeof requests);
    memset(params, 0, sizeof params);
    for (int i = 0; i < REQUESTS; i++) {
        params[i][0] = (falkor_param){"t", falkor_string_n(text, size -
                                                           (size_t)i)};
        params[i][1] = (falkor_param){"i", falkor_int(i)};
        requests[i] = (falkor_request){.graph = graph, .params = params[i],
                                       .cypher = "RETURN $i, $t"};
    }
    falkor_pipeline(pool, NULL, requests, REQUESTS, &error);
    serving_ok(&error);
    for (int i = 0; i < REQUESTS; i++) {
        falkor_result *result = requests[i].result;
        const falkor_value *value = falkor_result_value(result, 0, 1);
        assert_int_equal(falkor_result_value(result, 0, 0)->as.integer, i);
        assert_int_equal(value->length, size - (size_t)i);
        assert_memory_equal(value->as.string, text, value->length);
        falkor_result_free(result);
    }
    free(text);
    falkor_pool_free(pool);
}

/* One byte a step, both ways, handshake included. */
static void test_tls_dripping(void **state) {
    proxy between;
    (void)state;
    proxy_start(&between, tls_port);
    atomic_store(&between.reply_chunk, 1);
    atomic_store(&between.request_chunk, 1);
    falkor_options options = tls_options();
    options.port = between.port;
    works(options);
    proxy_stop(&between);
}

typedef struct user {
    falkor_graph *graph;
    int id, rounds, done, broken;
} user;

/* Each thread asks for what only it can mean. Reads are repeated by the
   library; a connection killed while it is used may still cost a call. */
static void *use(void *argument) {
    user *one = argument;
    for (int i = 0; i < one->rounds; i++) {
        falkor_result *result;
        falkor_error own;
        int64_t wanted = one->id * 1000000 + i;
        if (falkor_ro_query(one->graph, "RETURN $x", FALKOR_PARAMS({"x",
                falkor_int(wanted)}), &result, &own)) {
            one->broken++;
            TEST_CHECK(own.status == FALKOR_ERR_IO);
            TEST_CHECK(!own.maybe_executed);
            continue;
        }
        TEST_CHECK(falkor_result_value(result, 0, 0)->as.integer == wanted);
        falkor_result_free(result);
        one->done++;
    }
    return NULL;
}

#define USERS 16

static void use_all(int rounds, int kills) {
    falkor_options options = tls_options();
    options.max_retries = 20;
    options.retry_initial_delay_ms = 1;
    options.breaker_failures = -1;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    user users[USERS];
    int done = 0;
    serving_run(graph, "RETURN 1");
    for (int i = 0; i < USERS; i++)
        users[i] = (user){graph, i, rounds, 0, 0};
    test_threads threads = test_start(use, users, sizeof *users, USERS);
    for (int i = 0; i < kills; i++) {
        free(serving_ask(server.port, "CLIENT KILL TYPE normal SKIPME yes"));
        test_pause_ms(2);
    }
    test_join_within(&threads, 6 * TEST_PATIENCE_MS);
    test_no_complaints();
    for (int i = 0; i < USERS; i++)
        done += users[i].done;
    assert_int_equal(done, USERS * rounds);
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    assert_true(stats.total <= 4);
    falkor_pool_free(pool);
}

static void test_tls_threads(void **state) {
    (void)state;
    use_all(TEST_SANITIZED ? 60 : 500, 0);
}

static void test_tls_killed(void **state) {
    (void)state;
    use_all(TEST_SANITIZED ? 60 : 300, 40);
}

/* A connection that was idle for long is asked before it is used, and those
   that nobody uses are asked in the background. */
static void test_tls_idle(void **state) {
    (void)state;
    falkor_options options = tls_options();
    options.validate_after_ms = 1;
    options.health_check_interval_ms = 50;
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    serving_run(graph, "RETURN 1");
    long long deep = serving_calls(server.port, "graph.RO_QUERY");
    TEST_EVENTUALLY(serving_calls(server.port, "graph.RO_QUERY") >= deep + 2);
    long long pings = serving_calls(server.port, "ping");
    test_pause_ms(20);
    serving_run(graph, "RETURN 1");
    assert_true(serving_calls(server.port, "ping") > pings);
    falkor_stats stats;
    falkor_pool_stats(pool, &stats);
    assert_int_equal(stats.connections_created, 1);
    assert_int_equal(stats.health_failures, 0);
    falkor_pool_free(pool);
}

static void *ask_once(void *argument) {
    falkor_error own;
    falkor_status status = falkor_query(argument, "RETURN 1", NULL, NULL,
                                        &own);
    TEST_CHECK(status == FALKOR_ERR_IO || status == FALKOR_ERR_CLOSED);
    return NULL;
}

/* Close cuts a call that is waiting for its reply, from another thread. */
static void test_tls_close_cuts(void **state) {
    falkor_stats stats;
    (void)state;
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    test_threads threads = test_start(ask_once, graph, 0, 1);
    do
        falkor_pool_stats(pool, &stats);
    while (stats.active == 0);
    test_pause_ms(30);
    assert_int_equal(falkor_pool_close(pool, 20), FALKOR_ERR_TIMEOUT);
    test_join(&threads);
    serving_signal(&server, SIGCONT);
    test_no_complaints();
    falkor_pool_free(pool);
}

/* A call's own deadline, with the server stopped. */
static void test_tls_call_in_time(void **state) {
    (void)state;
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    serving_run(graph, "RETURN 1");     /* reads the names: what times out is
                                           the query itself */
    serving_signal(&server, SIGSTOP);
    serving_await_state(&server, 'T');
    falkor_call_options call = {.timeout_ms = 300};
    int64_t before = test_now_ms();
    assert_int_equal(falkor_query_with(graph, &call, "RETURN 1", NULL, NULL,
                                       &error), FALKOR_ERR_TIMEOUT);
    int64_t took = test_now_ms() - before;
    assert_true(error.maybe_executed);
    assert_true(took >= 299 && took < 3300);
    serving_signal(&server, SIGCONT);
    assert_int_equal(serving_integer(graph, "RETURN 2", NULL), 2);
    falkor_pool_free(pool);
}

/* ---- a server that does as it is told --------------------------------- */

/* Speaks TLS with one client, answers each PING, and does what a letter in the
   pipe says: t a session ticket, k a key update, s stray bytes, h half a
   record, f only its head, d drips into such a record until the next letter, n
   goodbye, c the end of the socket. */
typedef struct teller {
    SSL_CTX *context;
    int listener, port, wake[2];
    pthread_t thread;
    atomic_int done;            /* letters obeyed */
} teller;

static void teller_answer(SSL *ssl) {
    char request[512], reply[128];
    int length = SSL_read(ssl, request, sizeof request - 1);
    if (length <= 0)
        return;
    request[length] = '\0';
    const char *token = strstr(request, "falkorpool-");
    if (token)
        snprintf(reply, sizeof reply, "$%d\r\n%s", (int)strcspn(token, "\r"),
                 token);
    else
        strcpy(reply, "+PONG\r\n");
    SSL_write(ssl, reply, (int)strlen(reply));
}

static void teller_drip(teller *self, int fd) {
    struct pollfd next = {.fd = self->wake[0], .events = POLLIN};
    send(fd, "\x17\x03\x03\x40", 4, MSG_NOSIGNAL);
    atomic_fetch_add(&self->done, 1);
    while (poll(&next, 1, 50) == 0)
        send(fd, ".", 1, MSG_NOSIGNAL);
}

static void teller_obey(teller *self, SSL *ssl, int fd, char letter) {
    switch (letter) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
    case 't':
        TEST_CHECK(SSL_new_session_ticket(ssl) == 1);
        TEST_CHECK(SSL_do_handshake(ssl) == 1);
        break;
#endif
    case 'k':
        TEST_CHECK(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        TEST_CHECK(SSL_do_handshake(ssl) == 1);
        break;
    case 's': SSL_write(ssl, "+STRAY\r\n", 8); break;
    case 'h': send(fd, "\x17\x03\x03\x00\x20..", 7, MSG_NOSIGNAL); break;
    case 'f': send(fd, "\x17\x03\x03\x00\x20", 5, MSG_NOSIGNAL); break;
    case 'd': teller_drip(self, fd); break;
    case 'n': SSL_shutdown(ssl); break;
    case 'c': shutdown(fd, SHUT_RDWR); break;
    default: break;
    }
    atomic_fetch_add(&self->done, 1);
}

static void *teller_run(void *argument) {
    teller *self = argument;
    sigset_t pipes;                     /* its OpenSSL writes to the dead */
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, NULL);
    int fd = accept(self->listener, NULL, NULL);
    SSL *ssl = SSL_new(self->context);
    SSL_set_fd(ssl, fd);
    TEST_CHECK(SSL_accept(ssl) == 1);
    for (;;) {
        struct pollfd fds[2] = {{.fd = self->wake[0], .events = POLLIN},
                                {.fd = fd, .events = POLLIN}};
        char letter;
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents & POLLIN)
            teller_answer(ssl);
        if (!fds[0].revents)
            continue;
        if (read(self->wake[0], &letter, 1) != 1 || letter == 'q')
            break;
        teller_obey(self, ssl, fd, letter);
    }
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void teller_tell(teller *self, char letter) {
    int before = atomic_load(&self->done);
    assert_int_equal(write(self->wake[1], &letter, 1), 1);
    TEST_EVENTUALLY(atomic_load(&self->done) > before);
    test_no_complaints();
}

/* A connection of the built-in driver to a teller. */
static const falkor_driver *const driver = &falkor__link_driver;
static falkor__config config;

static void *teller_start(teller *self, int64_t deadline) {
    void *handle = NULL;
    *self = (teller){.context = SSL_CTX_new(TLS_server_method())};
    SSL_CTX_use_certificate_chain_file(self->context, file("server.crt"));
    SSL_CTX_use_PrivateKey_file(self->context, file("server.key"),
                                SSL_FILETYPE_PEM);
    self->listener = listener(&self->port);
    assert_int_equal(pipe(self->wake), 0);
    assert_int_equal(pthread_create(&self->thread, NULL, teller_run, self),
                     0);
    falkor_options options = tls_options();
    options.port = self->port;
    assert_int_equal(falkor__config_make(&options, &config, &error),
                     FALKOR_OK);
    driver->open(&config, deadline, &handle, &error);
    serving_ok(&error);
    assert_int_equal(driver->check(&config, handle, FALKOR_CHECK_FAST, 0),
                     FALKOR_OK);
    return handle;
}

static void teller_stop(teller *self, void *handle) {
    assert_int_equal(write(self->wake[1], "q", 1), 1);
    pthread_join(self->thread, NULL);
    driver->close(&config, handle);
    falkor__config_free(&config);
    SSL_CTX_free(self->context);
    close(self->listener);
    close(self->wake[0]);
    close(self->wake[1]);
    test_no_complaints();
}

/* What the driver makes of what the teller does. */
static bool fit_after(char letter, bool asks) {
    int64_t deadline = falkor_now_ns() + TEST_PATIENCE_MS * SERVING_MS;
    teller self;
    void *handle = teller_start(&self, deadline);
    teller_tell(&self, letter);
    bool fit = true;
    for (int i = 0; i < 20 && fit; i++) {   /* loopback is quick, not at once */
        fit = driver->check(&config, handle, FALKOR_CHECK_FAST, 0) ==
            FALKOR_OK;
        test_pause_ms(1);
    }
    for (int i = 0; i < 3 && fit && asks; i++) {
        assert_int_equal(driver->check(&config, handle, FALKOR_CHECK_MEDIUM,
                                       deadline), FALKOR_OK);
        assert_int_equal(driver->check(&config, handle, FALKOR_CHECK_FAST,
                                       0), FALKOR_OK);
    }
    teller_stop(&self, handle);
    return fit;
}

/* A record that never ends keeps nobody longer than he has time. */
static void test_tls_drip_in_time(void **state) {
    teller self;
    (void)state;
    void *handle = teller_start(&self, falkor_now_ns() +
                                TEST_PATIENCE_MS * SERVING_MS);
    teller_tell(&self, 'd');
    int64_t before = test_now_ms();
    assert_int_equal(driver->check(&config, handle, FALKOR_CHECK_MEDIUM,
        falkor_now_ns() + 300 * SERVING_MS), FALKOR_ERR_TIMEOUT);
    int64_t took = test_now_ms() - before;
    assert_true(took >= 299 && took < 2500);
    teller_stop(&self, handle);
}

/* TLS' own messages are no reason to give a connection up; anything else
   is. */
static void test_tls_fast_check(void **state) {
    (void)state;
    assert_true(fit_after('-', true));
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
    assert_true(fit_after('t', true));
#endif
    assert_true(fit_after('k', true));
    assert_false(fit_after('s', false));
    assert_false(fit_after('h', false));
    assert_false(fit_after('f', false));
    assert_false(fit_after('n', false));
    assert_false(fit_after('c', false));
}

/* A child of fork that forgets what it inherited leaves the parent's session
   alone: it sends no goodbye. */
static void test_tls_child_forgets(void **state) {
    void *handle = NULL;
    int64_t deadline = falkor_now_ns() + TEST_PATIENCE_MS * SERVING_MS;
    int ended;
    (void)state;
    falkor_options options = tls_options();
    assert_int_equal(falkor__config_make(&options, &config, &error),
                     FALKOR_OK);
    driver->open(&config, deadline, &handle, &error);
    serving_ok(&error);
    pid_t child = test_fork();
    if (child == 0) {
        driver->forget(&config, handle);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    assert_int_equal(driver->check(&config, handle, FALKOR_CHECK_MEDIUM,
                                   deadline), FALKOR_OK);
    assert_int_equal(driver->check(&config, handle, FALKOR_CHECK_FAST, 0),
                     FALKOR_OK);
    driver->close(&config, handle);
    falkor__config_free(&config);
}

static void *ask_for_ever(void *argument) {
    while (!falkor_query(argument, "UNWIND range(1, 500) AS i RETURN i", NULL,
                         NULL, NULL))
        continue;
    abort();
}

/* A process that ends while its threads read, write and shake hands: OpenSSL
   must not be taken from them. */
static int exits(const char *url) {
    falkor_pool *pool = serving_pool(&(falkor_options){.url = url});
    falkor_graph *graph = falkor_select_graph(pool, "exit");
    falkor_stats stats = {0};
    serving_run(graph, "RETURN 1");
    for (int i = 0; i < 6; i++)
        pthread_create(&(pthread_t){0}, NULL, ask_for_ever, graph);
    while (stats.queries < 60) {
        falkor_pool_flush(pool);
        falkor_pool_stats(pool, &stats);
    }
    exit(0);
}

static void test_tls_exit_while_threads_query(void **state) {
    char url[200];
    (void)state;
    snprintf(url, sizeof url, "falkors://localhost:%d?tls_ca_file=%s&"
             "pool_max_size=4&max_retries=0", tls_port, file("ca.crt"));
    for (int round = 0; round < (TEST_SANITIZED ? 3 : 20); round++) {
        pid_t child = test_fork();
        if (child == 0) {
            alarm(TEST_PATIENCE_MS / 1000);
            execl("/proc/self/exe", "test_tls", "exits", url, (char *)NULL);
            _exit(127);
        }
        test_await_child(child);
    }
}

/* ThreadSanitizer lets no child of fork start a thread, as the pool's worker
   is: test_fork shows there what it can. */
#ifndef __SANITIZE_THREAD__
static void child_asks(falkor_pool *pool, falkor_graph *graph,
                       falkor_cursor *cursor) {
    const falkor_result *row;
    falkor_result *result;
    test_child_begins();
    TEST_CHECK(falkor_cursor_next(cursor, &row, &error) == FALKOR_ERR_IO);
    falkor_cursor_close(cursor);
    if (falkor_ro_query(graph, "MATCH (n:Forked) RETURN n", NULL, &result,
                        &error))
        TEST_COMPLAIN("in the child: %s", error.message);
    TEST_CHECK(falkor_result_rows(result) == 1);
    falkor_result_free(result);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
    test_child_quits();
}

/* Both go on: the parent in the middle of its rows, the child with a session of
   its own. */
static void test_tls_fork(void **state) {
    falkor_cursor *cursor;
    const falkor_result *row;
    falkor_stats stats;
    (void)state;
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    serving_run(graph, "CREATE (:Forked {name: 'one'})");
    falkor_cursor_open(graph, &(falkor_call_options){.read_only = true},
        "UNWIND range(1, 100000) AS i RETURN i", NULL, &cursor, &error);
    serving_ok(&error);
    assert_int_equal(falkor_cursor_next(cursor, &row, &error), FALKOR_OK);
    pid_t child = test_fork();
    if (child == 0)
        child_asks(pool, graph, cursor);
    test_await_child(child);
    int rows = 0;
    for (; !falkor_cursor_next(cursor, &row, &error) && row; rows++)
        continue;
    serving_ok(&error);
    assert_int_equal(rows, 99999);
    falkor_cursor_close(cursor);
    assert_int_equal(serving_integer(graph, "RETURN 7", NULL), 7);
    falkor_pool_stats(pool, &stats);
    assert_int_equal(stats.connections_created, 1);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}

/* The password goes through OpenSSL too: test_secrets.c is about the rest. */
static void leave_no_trace(void) {
    char plain[SECRET_SIZE];
    falkor_options options = tls_options();
    falkor_pool *pool;
    options.username = "ann";
    options.password = secret_write(plain, 1);
    TEST_CHECK(!falkor_pool_create(&options, &pool, &error));
    secret_wipe(plain, sizeof plain);
    TEST_CHECK(!falkor_pool_open(pool, &error));
    falkor_pool_free(pool);
    TEST_CHECK(secret_hits() == 0);
}

static void add_user(void) {
    char plain[SECRET_SIZE];
    redisContext *client = serving_client(server.port);
    redisReply *reply = redisCommand(client, "ACL SETUSER ann on >%s ~* &* "
                                     "+@all", secret_write(plain, 1));
    TEST_CHECK(reply && reply->str && !strcmp(reply->str, "OK"));
}

/* A19, R6 */
static void test_tls_leaves_no_password(void **state) {
    (void)state;
    void (*const steps[])(void) = {add_user, leave_no_trace};
    secret_draw();
    for (int i = 0; i < 2; i++) {
        pid_t child = test_fork();
        if (child == 0) {
            test_child_begins();
            steps[i]();
            test_child_quits();
        }
        test_await_child(child);
    }
}

#define TLS_FORK cmocka_unit_test(test_tls_fork), \
    cmocka_unit_test(test_tls_leaves_no_password),
#else
#define TLS_FORK
#endif

/* Pools that believe in other certificates are not the same. */
static void test_tls_shared(void **state) {
    static const char *const more[] = {"", "", "&tls_skip_verify=true",
        "&tls_server_name=localhost", NULL};     /* NULL: a certificate */
    enum { COUNT = sizeof more / sizeof *more };
    falkor_pool *pools[COUNT];
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        char url[400];
        int length = snprintf(url, sizeof url, "falkors://127.0.0.1:%d/tls"
            "?pool_min_size=1&tls_ca_file=%s", tls_port, file("ca.crt"));
        if (!more[i])
            snprintf(url + length, sizeof url - (size_t)length,
                "&tls_cert_file=%s&tls_key_file=%s", file("client.crt"),
                file("client.key"));
        else
            snprintf(url + length, sizeof url - (size_t)length, "%s", more[i]);
        falkor_pool_shared(url, &pools[i], &error);
        serving_ok(&error);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < i; k++)
            assert_true((pools[i] == pools[k]) == (i == 1));
    for (size_t i = 0; i < COUNT; i++)
        falkor_pool_free(pools[i]);
}

/* ---- no memory -------------------------------------------------------- */

/* Opens a pool while the n-th call that asks for memory or a lock fails, and
   all behind it too, or not. false: none did. What is OpenSSL's own is not in
   it. */
static bool open_scarce(int n, bool all, bool *begun) {
    falkor_options options = tls_options();
    falkor_pool *pool;
    falkor_stats stats;
    long before = scarce_live();
    scarce_begin(SCARCE_MINE, n, all);
    falkor_pool_create(&options, &pool, &error);
    bool created = !error.status;
    if (created)
        falkor_pool_open(pool, &error);
    int failed = scarce_end();
    if (!failed)
        serving_ok(&error);
    else if (error.status == FALKOR_OK ||
             (!strstr(error.message, "memory") &&
              !strstr(error.message, "cannot start the pool's worker thread")))
        fail_msg("call %d: %s", n, error.message);
    *begun = *begun || strstr(error.message, "TLS cannot begin: no memory");
    if (created && failed) {
        falkor_pool_stats(pool, &stats);
        assert_int_equal(stats.total, 0);
        assert_int_equal(falkor_pool_open(pool, &error), FALKOR_OK);
    }
    falkor_pool_free(pool);
    assert_int_equal(scarce_live(), before);
    return failed > 0;
}

static void test_tls_without_memory(void **state) {
    (void)state;
    for (int all = 0; all < 2; all++) {
        bool begun = false;
        int n = 1;
        while (open_scarce(n, all, &begun))
            n++;
        assert_true(n > 10);
        assert_true(begun);
    }
}

/* ---- the program's own ------------------------------------------------ */

/* The error queue of OpenSSL is the thread's, and may hold anything. A call
   with little time looks for its reply before it is there. */
static void test_tls_strange_errors(void **state) {
    (void)state;
    falkor_options options = tls_options();
    falkor_pool *pool = serving_pool(&options);
    falkor_graph *graph = falkor_select_graph(pool, "tls");
    falkor_call_options call = {.timeout_ms = 150, .read_only = true};
    int done = 0;
    serving_run(graph, "RETURN 1");     /* now the graph exists */
    while (done < 10) {
        ERR_put_error(ERR_LIB_SSL, 0, SSL_R_BAD_LENGTH, __FILE__, __LINE__);
        falkor_status status = falkor_query_with(graph, &call, "RETURN 1",
                                                 NULL, NULL, &error);
        done += status == FALKOR_OK;
        if (status != FALKOR_ERR_TIMEOUT && status != FALKOR_ERR_CONNECT)
            serving_ok(&error);         /* those: the machine was slow */
    }
    ERR_clear_error();
    falkor_pool_free(pool);
}

static void test_tls_example(void **state) {
    char url[200], text[600];
    (void)state;
    snprintf(url, sizeof url, "falkors://localhost:%d?tls_ca_file=%s",
             tls_port, file("ca.crt"));
    if (example(url, text, sizeof text) != 0)
        fail_msg("%s", text);
    assert_string_equal(text, "nobody else has read this\n");
}

static void test_tls_options_refused(void **state) {
    (void)state;
    refused((falkor_options){.tls = true, .unix_path = "/s"}, "unix_path");
    refused((falkor_options){.url = "falkors://u:SECRET@h",
            .tls_cert_file = "c"}, "tls_key_file is not");
}

/* ---- several servers --------------------------------------------------- */

static fleet servers;

/* A fleet whose nodes and sentinels speak TLS too. */
static void begin_fleet(fleet_kind kind) {
    setenv("FALKOR_FLEET_TLS", folder, 1);
    fleet_start(&servers, kind, NULL);
    unsetenv("FALKOR_FLEET_TLS");
}

/* A test that failed may have left it. */
static int end_fleet(void **state) {
    (void)state;
    fleet_stop(&servers);
    return 0;
}

static const char *tls_place(const fleet_member *member) {
    static char places[8][32];
    static int next;
    next = (next + 1) % 8;
    snprintf(places[next], sizeof places[next], "%s:%d", member->host,
             member->port - FLEET_TLS_BELOW);
    return places[next];
}

/* A pool that knows all nodes, each by its port for TLS. */
static falkor_pool *pool_of_fleet(const char *url) {
    falkor_options options = {.url = url, .tls_ca_file = file("ca.crt"),
                              .retry_initial_delay_ms = 20};
    falkor_pool *pool = serving_pool(&options);
    falkor_node_info nodes[FLEET_NODES];
    size_t count = 0;
    TEST_EVENTUALLY((count = falkor_pool_nodes(pool, nodes, FLEET_NODES)) ==
                    (size_t)servers.count);
    for (size_t i = 0; i < count; i++) {
        int known = 0;
        for (int j = 0; j < servers.count; j++)
            known += strcmp(nodes[i].address,
                            tls_place(&servers.nodes[j])) == 0;
        if (known != 1)
            fail_msg("a strange node: %s", nodes[i].address);
    }
    return pool;
}

/* The primary as the pool knows it; "": it knows none. */
static const char *leader(falkor_pool *pool) {
    static falkor_node_info nodes[FLEET_NODES];
    size_t count = falkor_pool_nodes(pool, nodes, FLEET_NODES);
    for (size_t i = 0; i < count; i++)
        if (nodes[i].role == FALKOR_ROLE_PRIMARY)
            return nodes[i].address;
    return "";
}

/* A write that all replicas are to have, and a read. */
static void writes(falkor_pool *pool, const char *name, int64_t number) {
    falkor_graph *graph = falkor_select_graph(pool, name);
    falkor_call_options lasting = {.wait_replicas = 1};
    const falkor_param *params = FALKOR_PARAMS({"n", falkor_int(number)});
    falkor_query_with(graph, &lasting, "CREATE (:N {n: $n})", params, NULL,
                      &error);
    serving_ok(&error);
    assert_int_equal(serving_integer(graph,
        "MATCH (m:N {n: $n}) RETURN count(m)", params), 1);
    falkor_graph_free(graph);
}

static void test_tls_sentinel(void **state) {
    char url[240], before[128];
    (void)state;
    begin_fleet(FLEET_SENTINEL);
    snprintf(url, sizeof url, "falkors+sentinel://%s,%s/tls?master="
             FLEET_MASTER, tls_place(&servers.sentinels[0]),
             tls_place(&servers.sentinels[1]));
    falkor_pool *pool = pool_of_fleet(url);
    writes(pool, "tls", 1);
    snprintf(before, sizeof before, "%s", leader(pool));
    assert_string_equal(before, tls_place(&servers.nodes[0]));
    configured(fleet_ask_sentinel(&servers, 2,
                                  "SENTINEL FAILOVER " FLEET_MASTER));
    TEST_EVENTUALLY(*leader(pool) && strcmp(leader(pool), before) != 0);
    writes(pool, "tls", 2);
    falkor_pool_free(pool);
    fleet_stop(&servers);
}

/* Nodes name each other, and where a slot has moved to, by the port of TLS. */
static void test_tls_cluster(void **state) {
    enum { GRAPHS = 8 };
    char url[240], name[16];
    int counts[FLEET_NODES] = {0};
    (void)state;
    begin_fleet(FLEET_CLUSTER);
    snprintf(url, sizeof url, "falkors+cluster://%s/",
             tls_place(&servers.nodes[1]));
    falkor_pool *pool = pool_of_fleet(url);
    for (int i = 0; i < GRAPHS; i++) {
        snprintf(name, sizeof name, "tls%d", i);
        writes(pool, name, i);
        counts[fleet_owner(&servers, -1, fleet_slot(&servers, name))]++;
    }
    assert_true(counts[0] && counts[1] && counts[2]);
    int slot = fleet_slot(&servers, "tls0");
    int from = fleet_owner(&servers, -1, slot), to = (from + 1) % 3;
    fleet_move_slot(&servers, slot, from, to);
    writes(pool, "tls0", GRAPHS);
    falkor_pool_free(pool);
    fleet_stop(&servers);
}

/* A certificate must be for each server's own host, sentinels' too, unless
   tls_server_name is the name that all of them have. */
static void test_tls_fleet_refused(void **state) {
    char sentinels[32];
    (void)state;
    begin_fleet(FLEET_SENTINEL);
    snprintf(sentinels, sizeof sentinels, "%s",
             tls_place(&servers.sentinels[0]));
    falkor_options options = {.sentinels = sentinels, .tls = true,
        .master_name = FLEET_MASTER, .tls_ca_file = file("strange-ca.crt"),
        .connect_timeout_ms = 500, .max_retries = -1};
    fails(options, "the server's certificate is not trusted", sentinels);
    options.tls_ca_file = file("ca.crt");
    options.tls_server_name = "other.example";
    fails(options, "not \"other.example\" (tls_server_name)", sentinels);
    options.tls_server_name = "127.0.0.22";
    falkor_pool_free(serving_pool(&options));
    fleet_stop(&servers);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_options_refused),
        cmocka_unit_test(test_tls_works),
        cmocka_unit_test(test_tls_1_2),
        cmocka_unit_test(test_tls_is_used),
        cmocka_unit_test(test_tls_wrong_ca),
        cmocka_unit_test(test_tls_wrong_name),
        cmocka_unit_test(test_tls_expired),
        cmocka_unit_test(test_tls_certificate_changes),
        cmocka_unit_test(test_tls_client_certificate),
        cmocka_unit_test(test_tls_refused_while_writing),
        cmocka_unit_test(test_tls_files),
        cmocka_unit_test(test_tls_refusal_is_retried),
        cmocka_unit_test(test_tls_plain_server),
        cmocka_unit_test(test_tls_plain_client),
        cmocka_unit_test_teardown(test_tls_handshake_in_time, go_on),
        cmocka_unit_test(test_tls_large),
        cmocka_unit_test(test_tls_pipeline),
        cmocka_unit_test(test_tls_dripping),
        cmocka_unit_test(test_tls_threads),
        cmocka_unit_test(test_tls_killed),
        cmocka_unit_test(test_tls_idle),
        cmocka_unit_test_teardown(test_tls_close_cuts, go_on),
        cmocka_unit_test_teardown(test_tls_call_in_time, go_on),
        cmocka_unit_test(test_tls_fast_check),
        cmocka_unit_test(test_tls_drip_in_time),
        cmocka_unit_test(test_tls_child_forgets),
        TLS_FORK
        cmocka_unit_test(test_tls_shared),
        cmocka_unit_test(test_tls_without_memory),
        cmocka_unit_test(test_tls_strange_errors),
        cmocka_unit_test(test_tls_exit_while_threads_query),
        cmocka_unit_test_teardown(test_tls_sentinel, end_fleet),
        cmocka_unit_test_teardown(test_tls_cluster, end_fleet),
        cmocka_unit_test_teardown(test_tls_fleet_refused, end_fleet),
        cmocka_unit_test(test_tls_example)};
    if (argc == 3 && strcmp(argv[1], "exits") == 0)
        return exits(argv[2]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin, end);
}
#endif
