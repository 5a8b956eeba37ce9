/* TLS over a connected socket: the CAs and the client's certificate of a pool,
   and one session for each of its links. Knows OpenSSL and one file
   descriptor; not Redis, not deadlines: nothing here waits, but for at most
   one tick where the caller allows it. Who calls is told what to wait for.

   OpenSSL is used directly and not through hiredis_ssl, which sends the server
   name and does not compare it with the certificate (hiredis pull requests 864
   and 1355), does the handshake inside a blocking SSL_connect with no deadline
   of its own (redisSSLConnect in its ssl.c), and writes without MSG_NOSIGNAL.
   So TLS works with every hiredis.

   An SSL object belongs to the holder of its link. The only thing that another
   thread does to a link is shutdown, which touches the socket alone. */
#include "internal.h"
#include <stdlib.h>
#include <string.h>

#ifndef FALKOR_TLS
/* ---- a build without TLS ---------------------------------------------- */

falkor_status falkor__tls_settle(falkor__tls_settings *settings,
                                 falkor_error *error) {
    if (!settings->on)
        return FALKOR_OK;
    return falkor__refuse(error,
        "tls is set, or the url begins with falkors:// or rediss://, but this "
        "build has no TLS: build falkorpool with make TLS=1");
}

void falkor__tls_unsettle(falkor__tls_settings *settings) {
    (void)settings;
}

falkor_status falkor__tls_load(const falkor__tls_settings *settings,
                               falkor_error *error) {
    (void)settings;
    return falkor__fail(error, FALKOR_ERR_CONNECT, 0, "no TLS");
}

falkor__tls *falkor__tls_begin(const falkor__tls_settings *settings,
                               const char *host, int fd) {
    (void)settings, (void)host, (void)fd;
    return NULL;
}

ssize_t falkor__tls_handshake(falkor__tls *tls, short *events) {
    (void)tls, (void)events;
    return 0;
}

ssize_t falkor__tls_receive(falkor__tls *tls, char *room, size_t size,
                            bool may_wait, short *events) {
    (void)tls, (void)room, (void)size, (void)may_wait, (void)events;
    return 0;
}

ssize_t falkor__tls_send(falkor__tls *tls, const struct iovec *pieces,
                         size_t count, short *events) {
    (void)tls, (void)pieces, (void)count, (void)events;
    return 0;
}

bool falkor__tls_quiet(falkor__tls *tls) {
    (void)tls;
    return false;
}

const char *falkor__tls_reason(const falkor__tls *tls) {
    (void)tls;
    return "";
}

void falkor__tls_end(falkor__tls *tls) {
    (void)tls;
}

void falkor__tls_forget(falkor__tls *tls) {
    (void)tls;
}

#else
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#if OPENSSL_VERSION_NUMBER < 0x10101000L
#error "TLS needs OpenSSL 1.1.1 or newer"
#endif

#ifndef MSG_NOSIGNAL                    /* macOS: conn.c sets SO_NOSIGPIPE */
#define MSG_NOSIGNAL 0
#endif
#define FALKOR__TLS_RECORD 16384        /* what one record carries at most */
#define FALKOR__TLS_READS 64            /* recv calls of one operation */
#define FALKOR__TLS_NAME 256
#define FALKOR__TLS_REQUIRED 116        /* TLS 1.3's alert: no certificate */

struct falkor__tls_shared {
    falkor__mutex mutex;                /* guards the rest until it is set */
    SSL_CTX *context;                   /* NULL: not loaded yet */
    BIO_METHOD *method;
    falkor__guard guard;
};

struct falkor__tls {
    SSL *ssl;
    const falkor__tls_settings *settings;
    const char *host;
    int fd;
    int reads;                          /* recv calls left to the operation */
    int sys_errno;                      /* of the last failed recv or send */
    bool may_wait;                      /* the next recv may */
    bool ended;                         /* recv has met the end */
    bool writing;                       /* a record may have left in part */
    bool broken;                        /* no operation may follow */
    unsigned char first;                /* byte that came; 0: none yet */
    char reason[384];
};

/* ---- the socket, as OpenSSL sees it ----------------------------------- */

static bool falkor__tls_again(int sys_errno) {
    return sys_errno == EINTR || sys_errno == EAGAIN ||
           sys_errno == EWOULDBLOCK;
}

/* One operation reads no more often than its allowance, so that a server that
   sends without end, and nothing for us, cannot keep the caller from looking
   at his deadline. */
static int falkor__tls_bio_read(BIO *bio, char *room, int size) {
    falkor__tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->reads-- <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t received = recv(tls->fd, room, (size_t)size,
                            tls->may_wait ? 0 : MSG_DONTWAIT);
    tls->sys_errno = received < 0 ? errno : 0;
    tls->may_wait = false;
    tls->ended = received == 0;
    if (received > 0 && !tls->first)
        tls->first = (unsigned char)*room;
    if (received < 0 && falkor__tls_again(tls->sys_errno))
        BIO_set_retry_read(bio);
    return (int)received;
}

static int falkor__tls_bio_write(BIO *bio, const char *bytes, int size) {
    falkor__tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(tls->fd, bytes, (size_t)size,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    tls->sys_errno = sent < 0 ? errno : 0;
    if (sent < 0 && falkor__tls_again(tls->sys_errno))
        BIO_set_retry_write(bio);
    return (int)sent;
}

static long falkor__tls_bio_control(BIO *bio, int command, long number,
                                    void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* A fixed type: BIO_get_new_index has few numbers, and never takes one
   back. */
static BIO_METHOD *falkor__tls_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_START | BIO_TYPE_SOURCE_SINK,
                                      "falkorpool");
    if (method && BIO_meth_set_read(method, falkor__tls_bio_read) &&
        BIO_meth_set_write(method, falkor__tls_bio_write) &&
        BIO_meth_set_ctrl(method, falkor__tls_bio_control))
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* ---- why a certificate is refused ------------------------------------- */

/* Adds one quoted name to a list of them. */
static void falkor__tls_add_name(char *list, size_t size, const char *name) {
    size_t length = strlen(list);
    snprintf(list + length, size - length, "%s\"%s\"", length ? ", " : "",
             name);
}

static bool falkor__tls_name_text(const GENERAL_NAME *name, char *text,
                                  size_t size) {
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    if (type != GEN_DNS && type != GEN_IPADD)
        return false;
    const unsigned char *bytes = ASN1_STRING_get0_data(value);
    int length = ASN1_STRING_length(value);
    if (type == GEN_DNS)
        snprintf(text, size, "%.*s", length, (const char *)bytes);
    else if (length == 4 || length == 16)
        inet_ntop(length == 4 ? AF_INET : AF_INET6, bytes, text,
                  (socklen_t)size);
    else
        return false;
    return true;
}

/* The names that a certificate bears, the first few of them. */
static void falkor__tls_names(X509 *certificate, char *list, size_t size) {
    char text[80];
    int shown = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name,
                                            NULL, NULL);
    *list = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        if (falkor__tls_name_text(sk_GENERAL_NAME_value(names, i), text,
                                  sizeof text) && shown++ < 3)
            falkor__tls_add_name(list, size, text);
    GENERAL_NAMES_free(names);
    if (shown == 0 &&
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate),
                                  NID_commonName, text, sizeof text) > 0)
        falkor__tls_add_name(list, size, text);
    else if (shown == 0)
        snprintf(list, size, "nobody");
}

static void falkor__tls_time(const ASN1_TIME *time, char *text, size_t size) {
    BIO *memory = BIO_new(BIO_s_mem());
    int length = 0;
    if (memory && ASN1_TIME_print(memory, time) == 1)
        length = BIO_read(memory, text, (int)size - 1);
    text[length > 0 ? length : 0] = '\0';
    BIO_free(memory);
}

static void falkor__tls_refuse_name(falkor__tls *tls, X509 *certificate) {
    const char *wanted = tls->settings->server_name;
    char names[200];
    falkor__tls_names(certificate, names, sizeof names);
    snprintf(tls->reason, sizeof tls->reason, "the server's certificate is "
        "for %s, not \"%s\" (%s)", names, wanted ? wanted : tls->host, wanted
            ? "tls_server_name" : "the host; tls_server_name sets another");
}

static void falkor__tls_refuse_time(falkor__tls *tls, X509 *certificate,
                                    const char *whose, bool late) {
    char when[64];
    falkor__tls_time(late ? X509_get0_notAfter(certificate)
                          : X509_get0_notBefore(certificate),
                     when, sizeof when);
    snprintf(tls->reason, sizeof tls->reason, "%s %s (%s %s): look at the "
        "clock here too", whose, late ? "has expired" : "is not valid yet",
        late ? "notAfter" : "notBefore", when);
}

/* OpenSSL's question whether to go on, for each certificate of a chain. The
   answer is its own; the first refusal is put into words. */
static int falkor__tls_verified(int good, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store,
        SSL_get_ex_data_X509_STORE_CTX_idx());
    falkor__tls *tls = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    int code = X509_STORE_CTX_get_error(store);
    const char *file = tls->settings->ca_file;
    const char *whose = X509_STORE_CTX_get_error_depth(store) == 0
        ? "the server's certificate" : "a certificate that vouches for the "
        "server's";
    if (good || *tls->reason)
        return good;
    if (certificate && (code == X509_V_ERR_HOSTNAME_MISMATCH ||
                        code == X509_V_ERR_IP_ADDRESS_MISMATCH))
        falkor__tls_refuse_name(tls, certificate);
    else if (certificate && (code == X509_V_ERR_CERT_HAS_EXPIRED ||
                             code == X509_V_ERR_CERT_NOT_YET_VALID))
        falkor__tls_refuse_time(tls, certificate, whose,
                                code == X509_V_ERR_CERT_HAS_EXPIRED);
    else
        snprintf(tls->reason, sizeof tls->reason, "the server's certificate "
            "is not trusted: %s (tls_ca_file is %s)",
            X509_verify_cert_error_string(code),
            file ? file : "not set: the system's CAs count");
    return 0;
}

/* ---- what all links of a pool share ----------------------------------- */

static void falkor__before_tls_forks(void *object)
    FALKOR__UNCHECKED {                 /* gives it back after the fork */
    falkor__mutex_lock(&((falkor__tls_shared *)object)->mutex);
}

/* A child uses what the parent has loaded: it may not be allowed to read the
   files any more. */
static void falkor__tls_has_forked(void *object, bool child)
    FALKOR__UNCHECKED {                 /* took it before the fork */
    (void)child;
    falkor__mutex_unlock(&((falkor__tls_shared *)object)->mutex);
}

falkor_status falkor__tls_settle(falkor__tls_settings *settings,
                                 falkor_error *error) {
    if (!settings->on)
        return FALKOR_OK;
    /* Else exit would take OpenSSL away from threads that are in calls. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    falkor__tls_shared *shared = calloc(1, sizeof *shared);
    if (!shared || !falkor__mutex_init(&shared->mutex)) {
        free(shared);
        return falkor__no_memory(error, "no memory for TLS");
    }
    falkor__guard_add(&shared->guard, shared, falkor__before_tls_forks,
                      falkor__tls_has_forked);
    settings->shared = shared;
    return FALKOR_OK;
}

void falkor__tls_unsettle(falkor__tls_settings *settings) {
    falkor__tls_shared *shared = settings->shared;
    if (!shared)
        return;
    falkor__guard_remove(&shared->guard);
    SSL_CTX_free(shared->context);
    BIO_meth_free(shared->method);
    falkor__mutex_destroy(&shared->mutex);
    free(shared);
    settings->shared = NULL;
}

/* Fails with a file's field, its name and what is wrong with it. */
static falkor_status falkor__tls_file_failed(const char *field,
                                             const char *file,
                                             const char *what,
                                             falkor_error *error) {
    unsigned long code = ERR_peek_error();
    const char *said = ERR_reason_error_string(code);
    return falkor__fail(error, FALKOR_ERR_CONNECT, 0, "cannot use %s \"%s\": "
                        "%s", field, file, what ? what
                        : said ? said : "it cannot be read");
}

/* OpenSSL asks here for the password of a private key. There is none to give,
   and without this it would ask on the terminal. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the type is OpenSSL's */
static int falkor__tls_no_password(char *room, int size, int writing,
                                   void *asked) {
    (void)room, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static falkor_status falkor__tls_load_file(SSL_CTX *context,
                                           const char *field,
                                           const char *file,
                                           int (*load)(SSL_CTX *context,
                                                       const char *file),
                                           falkor_error *error) {
    bool asked = false;
    if (!file)
        return FALKOR_OK;
    if (access(file, R_OK) != 0) {
        int code = errno;
        falkor__tls_file_failed(field, file, falkor__errno_text(code), error);
        if (error)
            error->sys_errno = code;
        return FALKOR_ERR_CONNECT;
    }
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
    bool loaded = load(context, file) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (loaded)
        return FALKOR_OK;
    return falkor__tls_file_failed(field, file, asked ? "it is protected by a "
        "password, which is not supported: store the key without" : NULL,
        error);
}

static int falkor__tls_load_cas(SSL_CTX *context, const char *file) {
    return SSL_CTX_load_verify_locations(context, file, NULL);
}

static int falkor__tls_load_key(SSL_CTX *context, const char *file) {
    return SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM);
}

static falkor_status falkor__tls_load_files(SSL_CTX *context,
    const falkor__tls_settings *settings, falkor_error *error) {
    falkor_status status = FALKOR_OK;
    SSL_CTX_set_default_passwd_cb(context, falkor__tls_no_password);
    if (settings->ca_file)
        status = falkor__tls_load_file(context, "tls_ca_file",
            settings->ca_file, falkor__tls_load_cas, error);
    else
        SSL_CTX_set_default_verify_paths(context);
    if (!status)
        status = falkor__tls_load_file(context, "tls_cert_file",
            settings->cert_file, SSL_CTX_use_certificate_chain_file, error);
    if (!status)
        status = falkor__tls_load_file(context, "tls_key_file",
            settings->key_file, falkor__tls_load_key, error);
    return status;
}

/* A session takes and gives what there is, and never blocks for the rest. With
   read-ahead a reply of one record costs one recv and not two. */
static SSL_CTX *falkor__tls_context(const falkor__tls_settings *settings) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY |
        SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION |
                        SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
    if (!settings->skip_verify)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, falkor__tls_verified);
    return context;
}

static falkor_status falkor__tls_load_locked(
    const falkor__tls_settings *settings, falkor_error *error)
    FALKOR__HOLDS(settings->shared->mutex) {
    falkor__tls_shared *shared = settings->shared;
    if (!shared->method)
        shared->method = falkor__tls_method();
    SSL_CTX *context = falkor__tls_context(settings);
    falkor_status status = !shared->method || !context
        ? falkor__fail(error, FALKOR_ERR_CONNECT, 0, "OpenSSL could not begin")
        : falkor__tls_load_files(context, settings, error);
    if (!status)
        shared->context = context;
    else
        SSL_CTX_free(context);
    return status;
}

falkor_status falkor__tls_load(const falkor__tls_settings *settings,
                               falkor_error *error) {
    falkor_status status = FALKOR_OK;
    falkor__mutex_lock(&settings->shared->mutex);
    if (!settings->shared->context)
        status = falkor__tls_load_locked(settings, error);
    falkor__mutex_unlock(&settings->shared->mutex);
    ERR_clear_error();
    return status;
}

/* ---- a session -------------------------------------------------------- */

/* Which name the certificate must bear; an address counts as an address, and
   is never sent as a server name. */
static bool falkor__tls_expect(SSL *ssl, const char *name, bool verify) {
    char text[FALKOR__TLS_NAME];
    unsigned char address[sizeof(struct in6_addr)];
    size_t length = strcspn(name, "%");         /* an IPv6 zone is not in it */
    if (length >= sizeof text)
        return false;
    memcpy(text, name, length);
    text[length] = '\0';
    if (inet_pton(AF_INET, text, address) == 1 ||
        inet_pton(AF_INET6, text, address) == 1)
        return !verify ||
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), text) == 1;
    if (length > 1 && text[length - 1] == '.')
        text[length - 1] = '\0';                /* the DNS root is not, too */
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, text) == 1 &&
           (!verify || SSL_set1_host(ssl, text) == 1);
}

falkor__tls *falkor__tls_begin(const falkor__tls_settings *settings,
                               const char *host, int fd) {
    const char *name = settings->server_name ? settings->server_name : host;
    falkor__tls *tls = calloc(1, sizeof *tls);
    BIO *bio = tls ? BIO_new(settings->shared->method) : NULL;
    SSL *ssl = bio ? SSL_new(settings->shared->context) : NULL;
    if (!ssl || !falkor__tls_expect(ssl, name, !settings->skip_verify)) {
        SSL_free(ssl);
        BIO_free(bio);
        free(tls);
        ERR_clear_error();
        return NULL;
    }
    *tls = (falkor__tls){.ssl = ssl, .settings = settings, .host = host,
                         .fd = fd};
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, tls);
    SSL_set_connect_state(ssl);
    return tls;
}

/* Before each operation: OpenSSL tells an error by what its queue, which the
   program's own calls share, holds. */
static void falkor__tls_enter(falkor__tls *tls, bool may_wait) {
    ERR_clear_error();
    tls->reads = FALKOR__TLS_READS;
    tls->may_wait = may_wait;
}

/* What to do about an alert of the server: most are about certificates. */
static const char *falkor__tls_advice(const falkor__tls *tls, int alert) {
    bool certificate = alert == SSL_AD_HANDSHAKE_FAILURE ||
        (alert >= SSL_AD_BAD_CERTIFICATE &&
         alert <= SSL_AD_CERTIFICATE_UNKNOWN) ||
        alert == SSL_AD_UNKNOWN_CA || alert == FALKOR__TLS_REQUIRED;
    if (!certificate)
        return "";
    return tls->settings->cert_file ? ": does it accept tls_cert_file?"
        : ": it may want a certificate, set tls_cert_file and tls_key_file";
}

/* An alert of the server, or what OpenSSL itself found wrong. */
static void falkor__tls_explain(falkor__tls *tls) {
    unsigned long code = ERR_peek_error();
    int alert = ERR_GET_LIB(code) == ERR_LIB_SSL
        ? ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET : -1;
    const char *text = ERR_reason_error_string(code);
    if (*tls->reason)                   /* the verification has said it */
        return;
    if (tls->first && (tls->first < SSL3_RT_CHANGE_CIPHER_SPEC ||
                       tls->first > SSL3_RT_APPLICATION_DATA))
        snprintf(tls->reason, sizeof tls->reason, "the server does not speak "
            "TLS on this port: use falkor:// or redis://, or its TLS port");
    else if (alert >= 0 && alert < 256)
        snprintf(tls->reason, sizeof tls->reason, "the server refused TLS: "
            "%s%s", text ? text : "alert", falkor__tls_advice(tls, alert));
    else
        snprintf(tls->reason, sizeof tls->reason, "TLS failed: %s",
                 text ? text : "OpenSSL does not say why");
}

/* What an operation that brought nothing means to the caller. */
static ssize_t falkor__tls_outcome(falkor__tls *tls, int result,
                                   short *events) {
    int code = SSL_get_error(tls->ssl, result);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
        *events = code == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
        errno = EAGAIN;
        return -1;
    }
    tls->broken = true;
    if (code == SSL_ERROR_ZERO_RETURN ||
        (code == SSL_ERROR_SYSCALL && tls->ended))
        return 0;
    if (code == SSL_ERROR_SSL)
        falkor__tls_explain(tls);
    ERR_clear_error();
    errno = code == SSL_ERROR_SYSCALL && tls->sys_errno ? tls->sys_errno
                                                        : EPROTO;
    return -1;
}

ssize_t falkor__tls_handshake(falkor__tls *tls, short *events) {
    falkor__tls_enter(tls, false);
    int result = SSL_connect(tls->ssl);
    return result == 1 ? 1 : falkor__tls_outcome(tls, result, events);
}

ssize_t falkor__tls_receive(falkor__tls *tls, char *room, size_t size,
                            bool may_wait, short *events) {
    size_t received;
    falkor__tls_enter(tls, may_wait);
    int result = SSL_read_ex(tls->ssl, room, size, &received);
    return result == 1 ? (ssize_t)received
                       : falkor__tls_outcome(tls, result, events);
}

/* A server that refuses a TLS 1.3 client's certificate does so after the
   client's handshake is over: its alert waits to be read when a write fails. */
static void falkor__tls_last_words(falkor__tls *tls) {
    char byte;
    size_t got;
    int code = errno;
    falkor__tls_enter(tls, false);
    if (SSL_peek_ex(tls->ssl, &byte, 1, &got) == 0 &&
        SSL_get_error(tls->ssl, 0) == SSL_ERROR_SSL)
        falkor__tls_explain(tls);
    ERR_clear_error();
    errno = code;
}

/* Small pieces go into one record, and so in one segment. A record whose end
   did not leave is nothing to the server: what returns -1 was not sent. The
   same pieces must follow after EAGAIN. A single piece is not copied: that is
   how the password travels. */
ssize_t falkor__tls_send(falkor__tls *tls, const struct iovec *pieces,
                         size_t count, short *events) {
    char together[FALKOR__TLS_RECORD];
    const char *bytes = pieces->iov_base;
    size_t length = pieces->iov_len, sent;
    if (count > 1 && length < sizeof together) {
        bytes = together;
        length = 0;
        for (size_t i = 0; i < count && length < sizeof together; i++) {
            size_t room = sizeof together - length;
            size_t part = pieces[i].iov_len < room ? pieces[i].iov_len : room;
            memcpy(together + length, pieces[i].iov_base, part);
            length += part;
        }
    }
    falkor__tls_enter(tls, false);
    int result = SSL_write_ex(tls->ssl, bytes, length, &sent);
    tls->writing = result != 1;
    if (result == 1)
        return (ssize_t)sent;
    ssize_t outcome = falkor__tls_outcome(tls, result, events);
    if (tls->broken && !*tls->reason)
        falkor__tls_last_words(tls);
    if (outcome == 0)
        errno = EPIPE;
    return -1;
}

/* The socket may hold a session ticket, which is nothing: then OpenSSL looks
   at it. What is left half read afterwards was not asked for. */
bool falkor__tls_quiet(falkor__tls *tls) {
    char byte;
    size_t got;
    short events;
    ssize_t peeked = recv(tls->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (tls->broken || peeked == 0 ||
        (peeked < 0 && !falkor__tls_again(errno)))
        return false;
    if (peeked > 0 || SSL_has_pending(tls->ssl)) {
        falkor__tls_enter(tls, false);
        int result = SSL_peek_ex(tls->ssl, &byte, 1, &got);
        if (result == 1 || falkor__tls_outcome(tls, result, &events) == 0 ||
            tls->broken)
            return false;
    }
    return !SSL_has_pending(tls->ssl) &&
           strcmp(SSL_rstate_string(tls->ssl), "RH") == 0;
}

const char *falkor__tls_reason(const falkor__tls *tls) {
    return tls->reason;
}

/* A record of which a part was kept back must not be completed by a goodbye. */
void falkor__tls_end(falkor__tls *tls) {
    if (!tls)
        return;
    if (!tls->broken && !tls->writing && SSL_is_init_finished(tls->ssl)) {
        falkor__tls_enter(tls, false);
        SSL_shutdown(tls->ssl);
    }
    SSL_free(tls->ssl);                 /* and its BIO */
    ERR_clear_error();
    free(tls);
}

void falkor__tls_forget(falkor__tls *tls) {
    tls->fd = -1;
    tls->broken = true;
}
#endif
