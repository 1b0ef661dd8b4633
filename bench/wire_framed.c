/* The framed protocol, a client's side of it: SUB, and PUSH to a client that does or does not acknowledge.
 *
 * Source: docs/protocol.md, "Frame", "Opening a session", "PUSH".
 */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0xF8, VERSION = 2, HEADER_BYTES = 10, MAX_BODY_BYTES = 65536, LOW_7_BITS = 0x7F };
enum { SUB = 1, PING = 3, PUSH = 4, DISCONNECT = 8, PUB_ACK = 10 };
enum { SUBSIGNAL_NONE = 0, SUBSIGNAL_MN = 17 };
enum { ID_BYTES = 8, MAX_ACKS = 512 };

/* Half an hour, the longest that is allowed: no run is so long that a client owes a PING. */
static const char SUB_BODY[] = "{\"interval\":1800000%s%s%s%s}";

/* What is to be acknowledged of what one read has brought. */
static char acks[HEADER_BYTES + MAX_ACKS * ID_BYTES];
static size_t acks_bytes;

static bool is_acknowledging(void)
{
    return wire == &framed_acks_wire;
}

static size_t greet(char *out, size_t capacity, unsigned client_index)
{
    const char *token = token_of(client_index);
    const size_t room = capacity - HEADER_BYTES;
    const size_t body_bytes = (size_t)snprintf(out + HEADER_BYTES, room, SUB_BODY, is_acknowledging() ? ",\"ack\":true" : "",
                                               token ? ",\"token\":\"" : "", token ? token : "", token ? "\"" : "");
    if (body_bytes >= room || body_bytes > UINT8_MAX)
        fail(2, "no room for a SUB");
    const unsigned char header[HEADER_BYTES] = {MAGIC, VERSION, SUB, 0, 0, 0, (unsigned char)body_bytes, 0, 0, 1};
    memcpy(out, header, HEADER_BYTES);
    return HEADER_BYTES + body_bytes;
}

static void sub_answered(struct client *client, const char *body, size_t bytes, uint64_t at_ns)
{
    char text[1024];
    if (bytes >= sizeof text)
        fail(2, "client %u: an answer to SUB of %zu bytes", client->index, bytes);
    memcpy(text, body, bytes);
    text[bytes] = 0;
    const char *status = strstr(text, "\"status\":"), *token = strstr(text, "\"token\":");
    if (!status || strtol(status + 9, NULL, 10) != 200 || !token || !(token = strchr(token + 8, '"')))
        fail(2, "client %u: SUB was answered with %s", client->index, text);
    token++;
    client_opened(client, token, strcspn(token, "\""), at_ns);
}

static void dismissed(struct client *client, const char *body, size_t bytes)
{
    const char *code = memmem(body, bytes, "\"code\":", 7);
    client_dismissed(client, code ? (unsigned)strtoul(code + 7, NULL, 10) : 0, body, bytes);
}

static void acknowledge(struct client *client)
{
    const unsigned char header[HEADER_BYTES] = {
        MAGIC, VERSION, PUB_ACK, 0, 0, (unsigned char)(acks_bytes >> 8), (unsigned char)acks_bytes, SUBSIGNAL_MN};
    memcpy(acks, header, HEADER_BYTES);
    const size_t bytes = HEADER_BYTES + acks_bytes;
    if (send(client->source.fd, acks, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
        fail(2, "client %u: an acknowledgement could not be sent", client->index);
    acks_bytes = 0;
}

static void got_numbered(struct client *client, const char *body, size_t bytes, uint64_t at_ns)
{
    if (bytes < ID_BYTES)
        fail(2, "client %u: a message without id", client->index);
    memcpy(acks + HEADER_BYTES + acks_bytes, body, ID_BYTES);
    acks_bytes += ID_BYTES;
    client_got(client, body + ID_BYTES, bytes - ID_BYTES, at_ns);
    if (acks_bytes == MAX_ACKS * ID_BYTES)
        acknowledge(client);
}

static void take(struct client *client, unsigned signal, unsigned subsignal, const char *body, size_t bytes,
                 uint64_t at_ns)
{
    if (signal == PUSH && subsignal == SUBSIGNAL_NONE)
        client_got(client, body, bytes, at_ns);
    else if (signal == PUSH && subsignal == SUBSIGNAL_MN && is_acknowledging())
        got_numbered(client, body, bytes, at_ns);
    else if (signal == SUB)
        sub_answered(client, body, bytes, at_ns);
    else if (signal == DISCONNECT)
        dismissed(client, body, bytes);
    else if (signal != PING)
        fail(2, "client %u: an unexpected signal %u.%u", client->index, signal, subsignal);
}

static size_t parse(struct client *client, char *data, size_t bytes, uint64_t at_ns)
{
    size_t taken = 0;
    while (bytes - taken >= HEADER_BYTES) {
        const unsigned char *header = (const unsigned char *)data + taken;
        size_t body = (size_t)header[3] << 24 | (size_t)header[4] << 16 | (size_t)header[5] << 8 | header[6];
        if (header[0] != MAGIC || header[1] != VERSION || body > MAX_BODY_BYTES)
            fail(2, "client %u: not a frame: %02x %02x, length %zu", client->index, header[0], header[1], body);
        if (bytes - taken < HEADER_BYTES + body)
            break;
        take(client, header[2] & LOW_7_BITS, header[7] & LOW_7_BITS, data + taken + HEADER_BYTES, body, at_ns);
        taken += HEADER_BYTES + body;
    }
    if (acks_bytes)
        acknowledge(client);
    return taken;
}

const struct wire framed_wire = {"framed", greet, parse};
const struct wire framed_acks_wire = {"framed, acknowledging", greet, parse};
