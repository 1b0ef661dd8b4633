/* MQTT 3.1.1, QoS 0: clients subscribe to a topic for all and to one of their own; messages are PUBLISHes.
 *
 * QoS 0 has no acknowledgement, so a PINGREQ ends each post: its PINGRESP says that the broker has read the whole of
 * it. How many it has sent, it does not say; the clients' check says it.
 * Source: MQTT Version 3.1.1 (OASIS), sections 2.2, 3.1, 3.3, 3.8 and 3.12.
 */
#include "loadgen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, SUBSCRIBE = 0x82, SUBACK = 0x90, PINGREQ = 0xC0, PINGRESP = 0xD0 };
enum { CLEAN_SESSION = 0x02, LEVEL_3_1_1 = 4, MAX_HEADER_BYTES = 5 };

static const char TO_ALL[] = "clients/all";

/* Section 2.2.3: seven bits a byte, the least first. Returns the number of bytes. */
static size_t put_length(unsigned char *out, size_t length)
{
    size_t count = 0;
    do {
        out[count] = length & 0x7F;
        length >>= 7;
        out[count++] |= length ? 0x80 : 0;
    } while (length);
    return count;
}

static size_t put_text(unsigned char *out, const char *text)
{
    size_t bytes = strlen(text);
    out[0] = (unsigned char)(bytes >> 8);
    out[1] = (unsigned char)bytes;
    memcpy(out + 2, text, bytes);
    return bytes + 2;
}

static size_t put_packet(unsigned char *out, unsigned char kind, const unsigned char *rest, size_t bytes)
{
    out[0] = kind;
    size_t head = 1 + put_length(out + 1, bytes);
    memcpy(out + head, rest, bytes);
    return head + bytes;
}

/* Keep-alive 0: no PINGREQ is owed. */
static size_t put_connect(unsigned char *out, const char *client_id)
{
    unsigned char rest[128] = {0, 4, 'M', 'Q', 'T', 'T', LEVEL_3_1_1, CLEAN_SESSION, 0, 0};
    size_t bytes = 10 + put_text(rest + 10, client_id);
    return put_packet(out, CONNECT, rest, bytes);
}

/* ---- the clients' side */

static size_t greet(char *out, size_t capacity, unsigned client_index)
{
    char client_id[32], own[32];
    snprintf(client_id, sizeof client_id, "client-%u", client_index);
    snprintf(own, sizeof own, "clients/%u", client_index);
    unsigned char packets[256], rest[128] = {0, 1};
    size_t bytes = put_connect(packets, client_id), rest_bytes = 2;
    rest_bytes += put_text(rest + rest_bytes, TO_ALL);
    rest[rest_bytes++] = 0; /* QoS */
    rest_bytes += put_text(rest + rest_bytes, own);
    rest[rest_bytes++] = 0;
    bytes += put_packet(packets + bytes, SUBSCRIBE, rest, rest_bytes);
    if (bytes > capacity)
        fail(2, "no room for a greeting");
    memcpy(out, packets, bytes);
    return bytes;
}

static void take(struct client *client, unsigned char kind, const unsigned char *rest, size_t bytes, uint64_t at_ns)
{
    if ((kind & 0xF0) == PUBLISH) {
        size_t topic = bytes < 2 ? bytes : 2 + ((size_t)rest[0] << 8 | rest[1]);
        if (topic > bytes)
            fail(2, "client %u: a broken PUBLISH", client->index);
        client_got(client, (const char *)rest + topic, bytes - topic, at_ns);
    } else if (kind == SUBACK && bytes == 4 && !rest[2] && !rest[3]) {
        char own[32];
        int own_bytes = snprintf(own, sizeof own, "clients/%u", client->index);
        client_opened(client, own, (size_t)own_bytes, at_ns);
    } else if (kind != CONNACK || bytes != 2 || rest[1]) {
        fail(2, "client %u: an unexpected packet %02x", client->index, kind);
    }
}

static size_t parse(struct client *client, char *data, size_t bytes, uint64_t at_ns)
{
    const unsigned char *packet = (const unsigned char *)data;
    size_t taken = 0;
    for (;;) {
        size_t length = 0, head = 1, left = bytes - taken;
        unsigned shift = 0;
        do {
            if (head == left || !left)
                return taken;
            if (head == MAX_HEADER_BYTES)
                fail(2, "client %u: a broken length", client->index);
            length |= (size_t)(packet[taken + head] & 0x7F) << shift;
            shift += 7;
        } while (packet[taken + head++] & 0x80);
        if (left < head + length)
            return taken;
        take(client, packet[taken], packet + taken + head, length, at_ns);
        taken += head + length;
    }
}

const struct wire mqtt_wire = {"mqtt", greet, parse};

/* ---- the publishers' side */

static void hello(int fd, unsigned number)
{
    char client_id[32];
    snprintf(client_id, sizeof client_id, "publisher-%u", number);
    unsigned char packet[128], answer[4];
    size_t bytes = put_connect(packet, client_id);
    if (send(fd, packet, bytes, MSG_NOSIGNAL) != (ssize_t)bytes || recv(fd, answer, 4, MSG_WAITALL) != 4 ||
        answer[0] != CONNACK || answer[3])
        fail(2, "the broker refuses a publisher: %s", strerror(errno));
}

static void begin(struct text *out, unsigned entries)
{
    (void)entries;
    out->start = out->length = 0;
}

static void add(struct text *out, const char *token, const char *payload, bool last)
{
    (void)last;
    unsigned char head[MAX_HEADER_BYTES + 2 + MAX_TOKEN_BYTES] = {PUBLISH};
    const char *topic = token ? token : TO_ALL;
    size_t bytes = 1 + put_length(head + 1, 2 + strlen(topic) + settings.payload_bytes);
    bytes += put_text(head + bytes, topic);
    text_add(out, (const char *)head, bytes);
    text_add(out, payload, settings.payload_bytes);
}

static void end(struct text *out, unsigned entries)
{
    (void)entries;
    text_add(out, "\xC0\0", 2); /* PINGREQ */
}

static size_t answer(char *data, size_t bytes, unsigned entries, struct answer *answer)
{
    (void)entries;
    if (bytes < 2)
        return 0;
    if ((unsigned char)data[0] != PINGRESP || data[1])
        fail(2, "the broker answers a publisher with %02x", (unsigned char)data[0]);
    answer->sent = UINT64_MAX;
    return 2;
}

const struct api mqtt_api = {"mqtt", hello, begin, add, end, answer};
