/* Percentiles of raw samples: all are kept, none is put in a bucket. */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>

void samples_add(struct samples *samples, uint64_t value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? 2 * samples->capacity : 4096;
        samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
        if (!samples->values)
            fail(2, "out of memory");
    }
    samples->values[samples->count++] = value;
}

static int ascending(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Nearest rank: the least sample that `percent` of them do not pass. */
static double percentile_ms(const struct samples *samples, unsigned percent)
{
    if (!samples->count)
        return 0;
    size_t rank = (samples->count * percent + 99) / 100;
    return (double)samples->values[rank ? rank - 1 : 0] / 1e6;
}

void samples_print(struct samples *samples, const char *name)
{
    if (samples->count)
        qsort(samples->values, samples->count, sizeof *samples->values, ascending);
    printf("\"%s\": {\"count\": %zu, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name, samples->count,
           percentile_ms(samples, 50), percentile_ms(samples, 90), percentile_ms(samples, 99),
           percentile_ms(samples, 100));
    samples->count = 0;
}
