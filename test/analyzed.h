/* What tools that look at one file at a time cannot know of the others: what
   makes a failure does not return OK. For test/check_static.sh only. */
#include "../internal.h"

static inline falkor_status falkor__analyzed(falkor_status status) {
    if (status == FALKOR_OK)
        __builtin_unreachable();
    return status;
}
#define falkor__fail(...) falkor__analyzed(falkor__fail(__VA_ARGS__))
#define falkor__refuse(...) falkor__analyzed(falkor__refuse(__VA_ARGS__))
#define falkor__no_memory(...) falkor__analyzed(falkor__no_memory(__VA_ARGS__))
