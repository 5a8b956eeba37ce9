/* A connection with TLS: the server's certificate must come from who is
   trusted here, be valid now, and bear the name that was dialled. The URL says
   it all, from the command line or from FALKORDB_URL:

       tls 'falkors://user:password@db.example:6379/social'
       tls 'falkors://db.example?tls_ca_file=/etc/falkor/ca.crt'

   A server that wants a certificate of ours gets tls_cert_file and
   tls_key_file. The library must be built with `make TLS=1`; another refuses
   the URL and says so.

       cc tls.c -lfalkorpool -lhiredis -lssl -lcrypto -lpthread -o tls */
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>

static int fail(falkor_pool *pool, const falkor_error *error) {
    fprintf(stderr, "tls: %s\n", error->message);
    falkor_pool_free(pool);
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    falkor_options options = {.url = argc > 1 ? argv[1] : NULL, .tls = true,
                              .graph = "tls", .max_size = 4};
    falkor_pool *pool;
    falkor_error error;
    if (falkor_options_from_env(&options, &error) != FALKOR_OK)
        return fail(NULL, &error);
    /* tls is set, so that even a URL that begins with falkor:// speaks TLS:
       nobody who leaves out the s sends a password in the clear. */
    if (falkor_pool_create(&options, &pool, &error) != FALKOR_OK)
        return fail(pool, &error);
    if (falkor_pool_open(pool, &error) != FALKOR_OK)
        return fail(pool, &error);

    falkor_graph *graph = falkor_select_graph(pool, NULL);
    falkor_result *result;
    if (falkor_query(graph, "RETURN $words", FALKOR_PARAMS({"words",
                         falkor_string("nobody else has read this")}),
                     &result, &error) != FALKOR_OK)
        return fail(pool, &error);
    puts(falkor_result_value(result, 0, 0)->as.string);
    falkor_result_free(result);
    falkor_graph_free(graph);
    falkor_pool_free(pool);
}
