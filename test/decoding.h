/* Decoding measured against hiredis' reply reader. The same bytes, 64 KiB at a
   time, become values, of which each is read, and are freed again. The sides
   take turns in processes of their own, for what hiredis leaves in the
   allocator's lists is paid for by the next large block, which would be ours.
   Each keeps between replies what it would on a connection: hiredis its reader
   with a buffer that need not grow again, we our spare chunks. (Portions of 16
   KiB or of all, other values of maxbuf, and a malloc that gives nothing back
   to the system were tried: hiredis is not faster.) Time is the processor's,
   which others on the machine do not change much. Needs no server. */
#ifndef FALKOR_TEST_DECODING_H
#define FALKOR_TEST_DECODING_H
#include "replies.h"
#include <stdbool.h>

typedef struct decoding_side decoding_side;
extern const decoding_side decoding_ours, decoding_hiredis;

/* Of one reply: the first of its process tells the memory, later ones the
   time. */
typedef struct decoding_figures {
    double seconds, bytes;
} decoding_figures;

/* The median of some rounds of so many replies each, in a child process. */
decoding_figures decoding_in_child(const decoding_side *side,
                                   const reply_text *text, int repeats);

/* Older ones do not know every reply. */
bool decoding_hiredis_reads(const reply_text *text);
#endif
