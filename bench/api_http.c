/* Messages through the HTTP API: one by POST /v1/messages:send, several by POST /v1/messages:batchSend.
 *
 * Source: docs/http-api.md; RFC 9112 for the framing of answers (Content-Length and chunked).
 */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The header is written in front of the body when its length is known. */
enum { HEAD_ROOM = 1024, MAX_HEADER_BYTES = 16 * 1024, EXCERPT_BYTES = 300 };

static void begin(struct text *out, unsigned entries)
{
    text_reserve(out, HEAD_ROOM);
    out->start = out->length = HEAD_ROOM;
    if (entries > 1)
        text_add(out, "{\"requests\":[", 13);
}

static void add(struct text *out, const char *token, const char *payload, bool last)
{
    static const char TO_ALL[] = "{\"target\":{\"all\":true}", TO_TOKEN[] = "{\"target\":{\"token\":\"";
    static const char MESSAGE[] = ",\"message\":{\"data\":\"";
    if (token) {
        text_add(out, TO_TOKEN, sizeof TO_TOKEN - 1);
        text_add(out, token, strlen(token));
        text_add(out, "\"}", 2);
    } else {
        text_add(out, TO_ALL, sizeof TO_ALL - 1);
    }
    text_add(out, MESSAGE, sizeof MESSAGE - 1);
    text_add(out, payload, settings.payload_bytes);
    text_add(out, "\"}},", last ? 3 : 4);
}

static void end(struct text *out, unsigned entries)
{
    if (entries > 1)
        text_add(out, "]}", 2);
    char header[HEAD_ROOM];
    int bytes = snprintf(header, sizeof header,
                         "POST /v1/messages:%s HTTP/1.1\r\nHost: %s:%u\r\n%s%s%sContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         entries > 1 ? "batchSend" : "send", settings.host, settings.api_port,
                         settings.api_key ? "Authorization: Bearer " : "", settings.api_key ? settings.api_key : "",
                         settings.api_key ? "\r\n" : "", out->length - HEAD_ROOM);
    if (bytes >= HEAD_ROOM)
        fail(2, "the API key is too long");
    out->start = HEAD_ROOM - (size_t)bytes;
    memcpy(out->bytes + out->start, header, (size_t)bytes);
}

/* The value of a header, or NULL. `name` has its colon. */
static const char *header_value(const char *head, size_t bytes, const char *name)
{
    const char *end = head + bytes;
    for (const char *line = head; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next + 1 : end;
        if ((size_t)(next - line) > strlen(name) && !strncasecmp(line, name, strlen(name)))
            return line + strlen(name) + strspn(line + strlen(name), " \t");
        line = next;
    }
    return NULL;
}

/* Joins the chunks of [data, data + bytes) at its front. Returns the bytes taken, 0 where the end has not come. */
static size_t join_chunks(char *data, size_t bytes, size_t *body_bytes, bool keep)
{
    size_t at = 0, joined = 0;
    for (;;) {
        const char *line_end = memmem(data + at, bytes - at, "\r\n", 2);
        if (!line_end)
            return 0;
        size_t size = strtoul(data + at, NULL, 16), from = (size_t)(line_end - data) + 2;
        if (from + size + 2 > bytes)
            return 0;
        if (keep)
            memmove(data + joined, data + from, size);
        joined += size;
        at = from + size + 2;
        if (!size) {
            *body_bytes = joined;
            return at;
        }
    }
}

static uint64_t sum_of(const char *name, const char *body, size_t bytes)
{
    uint64_t sum = 0;
    const char *end = body + bytes;
    while (body < end && (body = memmem(body, (size_t)(end - body), name, strlen(name)))) {
        body += strlen(name);
        sum += strtoull(body, NULL, 10);
    }
    return sum;
}

static size_t answer(char *data, size_t bytes, unsigned entries, struct answer *answer)
{
    (void)entries;
    char *head_end = memmem(data, bytes, "\r\n\r\n", 4);
    if (!head_end) {
        if (bytes > MAX_HEADER_BYTES)
            fail(2, "the API answers with something that is not HTTP");
        return 0;
    }
    char *body = head_end + 4;
    size_t head_bytes = (size_t)(body - data), rest = bytes - head_bytes, body_bytes, taken;
    const char *length = header_value(data, head_bytes, "Content-Length:");
    const char *coding = header_value(data, head_bytes, "Transfer-Encoding:");
    if (length) {
        taken = body_bytes = strtoul(length, NULL, 10);
        if (rest < body_bytes)
            return 0;
    } else if (coding && !strncasecmp(coding, "chunked", 7)) {
        if (!join_chunks(body, rest, &body_bytes, false))
            return 0;
        taken = join_chunks(body, rest, &body_bytes, true);
    } else {
        fail(2, "the API answered with a body without length: %.*s", (int)head_bytes, data);
    }
    const char *error = memmem(body, body_bytes, "\"error\"", 7);
    if (strncmp(data, "HTTP/1.1 200", 12) || error) {
        const char *from = error ? error : body;
        size_t left = body_bytes - (size_t)(from - body);
        fail(2, "the API answered %.*s %.*s", (int)strcspn(data, "\r"), data,
             (int)(left < EXCERPT_BYTES ? left : EXCERPT_BYTES), from);
    }
    /* What is cached is sent when the client has room for it. */
    answer->sent = sum_of("\"sent\":", body, body_bytes) + sum_of("\"cached\":", body, body_bytes);
    return head_bytes + taken;
}

const struct api http_api = {"http", NULL, begin, add, end, answer};
