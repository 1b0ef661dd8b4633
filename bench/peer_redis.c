/* Redis: clients SUBSCRIBE to a channel for all and to one of their own; messages are pipelined PUBLISHes.
 *
 * Source: the Redis serialization protocol, version 2 (RESP2), and the commands SUBSCRIBE and PUBLISH.
 */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TO_ALL[] = "clients/all";

/* ---- the clients' side */

static size_t greet(char *out, size_t capacity, unsigned client_index)
{
    char own[32];
    int own_bytes = snprintf(own, sizeof own, "clients/%u", client_index);
    int bytes = snprintf(out, capacity, "*3\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n", sizeof TO_ALL - 1, TO_ALL,
                         own_bytes, own);
    return (size_t)bytes;
}

struct reader {
    const char *at, *end;
};

/* Reads `mark` number CR LF. Returns false where it is not whole yet. */
static bool read_number(struct reader *reader, char mark, long *value)
{
    const char *line_end = memmem(reader->at, (size_t)(reader->end - reader->at), "\r\n", 2);
    if (!line_end)
        return false;
    if (*reader->at != mark)
        fail(2, "redis said %.*s", (int)(line_end - reader->at), reader->at);
    *value = 0;
    for (const char *digit = reader->at + 1; digit < line_end; digit++)
        *value = *value * 10 + (*digit - '0');
    reader->at = line_end + 2;
    return true;
}

static bool read_text(struct reader *reader, const char **text, long *bytes)
{
    if (!read_number(reader, '$', bytes) || reader->end - reader->at < *bytes + 2)
        return false;
    *text = reader->at;
    reader->at += *bytes + 2;
    return true;
}

/* One array of three: message, channel, payload; or subscribe, channel, number of subscriptions. */
static bool take(struct client *client, struct reader *reader, uint64_t at_ns)
{
    const char *kind, *channel, *payload;
    long parts, kind_bytes, channel_bytes, payload_bytes, subscriptions;
    if (!read_number(reader, '*', &parts) || !read_text(reader, &kind, &kind_bytes) ||
        !read_text(reader, &channel, &channel_bytes))
        return false;
    if (kind_bytes == 7) {
        if (!read_text(reader, &payload, &payload_bytes))
            return false;
        client_got(client, payload, (size_t)payload_bytes, at_ns);
        return true;
    }
    if (!read_number(reader, ':', &subscriptions))
        return false;
    if (subscriptions == 2)
        client_opened(client, channel, (size_t)channel_bytes, at_ns);
    return true;
}

static size_t parse(struct client *client, char *data, size_t bytes, uint64_t at_ns)
{
    size_t taken = 0;
    struct reader reader = {data, data + bytes};
    while (reader.at < reader.end && take(client, &reader, at_ns))
        taken = (size_t)(reader.at - data);
    return taken;
}

const struct wire redis_wire = {"redis", greet, parse};

/* ---- the publishers' side */

static void begin(struct text *out, unsigned entries)
{
    (void)entries;
    out->start = out->length = 0;
}

static void add(struct text *out, const char *token, const char *payload, bool last)
{
    (void)last;
    const char *channel = token ? token : TO_ALL;
    char head[MAX_TOKEN_BYTES + 64];
    int bytes = snprintf(head, sizeof head, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%u\r\n", strlen(channel), channel,
                         settings.payload_bytes);
    text_add(out, head, (size_t)bytes);
    text_add(out, payload, settings.payload_bytes);
    text_add(out, "\r\n", 2);
}

static void end(struct text *out, unsigned entries)
{
    (void)out;
    (void)entries;
}

static size_t answer(char *data, size_t bytes, unsigned entries, struct answer *answer)
{
    struct reader reader = {data, data + bytes};
    for (unsigned i = 0; i < entries; i++) {
        long receivers;
        if (reader.at == reader.end || !read_number(&reader, ':', &receivers))
            return 0;
        answer->sent += (uint64_t)receivers;
    }
    return (size_t)(reader.at - data);
}

const struct api redis_api = {"redis", NULL, begin, add, end, answer};
