/* The receiving connections: opened a bounded number at a time, read as soon as something is there, and
 * every message checked: for this client, of this load, once, in order.
 */
#include "loadgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A read that comes back shorter than this has emptied the socket, so that no second one is needed. */
enum { READ_BYTES = 256 * 1024, GREETING_BYTES = 512 };

const struct wire *wire = &framed_wire;
struct client **clients;
unsigned client_count;
struct tally tally;

static char read_buffer[READ_BYTES];
static unsigned wanted, opened;
static struct samples opening;
static uint64_t open_began_ns;

/* ---- payloads: B|U, load 8, stream 2, number 8, nanoseconds 16, client 8 (hexadecimal), then filler */

enum { AT_LOAD = 1, AT_STREAM = 9, AT_NUMBER = 11, AT_TIME = 19, AT_CLIENT = 35, PAYLOAD_HEAD = 43 };

static void put_hex(char *out, unsigned digits, uint64_t value)
{
    while (digits--) {
        out[digits] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

static uint64_t get_hex(const char *in, unsigned digits)
{
    uint64_t value = 0;
    while (digits--) {
        char digit = *in++;
        value = value << 4 | (uint64_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    return value;
}

void payload_write(char *out, unsigned stream, uint32_t number, uint64_t at_ns, uint32_t client_index)
{
    out[0] = stream == UNICASTS ? 'U' : 'B';
    put_hex(out + AT_LOAD, 8, tally.load);
    put_hex(out + AT_STREAM, 2, stream);
    put_hex(out + AT_NUMBER, 8, number);
    put_hex(out + AT_TIME, 16, at_ns);
    put_hex(out + AT_CLIENT, 8, client_index);
    memset(out + PAYLOAD_HEAD, 'x', settings.payload_bytes - PAYLOAD_HEAD);
}

/* ---- the check */

void tally_begin(void)
{
    struct samples latency = tally.latency;
    uint32_t load = tally.load + 1;
    tally = (struct tally){.load = load, .latency = latency};
    for (unsigned i = 0; i < client_count; i++) {
        clients[i]->posted = 0;
        memset(clients[i]->next, 0, sizeof clients[i]->next);
    }
}

bool tally_clean(void)
{
    return tally.delivered == tally.expected && !tally.skipped && !tally.repeated && !tally.misdelivered && !tally.stray;
}

_Noreturn void tally_fail(const char *what)
{
    fail(1,
         "%s: %llu deliveries expected, %llu came; %llu skipped, %llu repeated or late, %llu for another client, "
         "%llu stray",
         what, (unsigned long long)tally.expected, (unsigned long long)tally.delivered,
         (unsigned long long)tally.skipped, (unsigned long long)tally.repeated, (unsigned long long)tally.misdelivered,
         (unsigned long long)tally.stray);
}

/* Of broadcasts every client has the same story to tell: a sample of them is enough. */
static bool is_witness(const struct client *client, unsigned stream)
{
    return stream == UNICASTS || client->index % 16 == 0;
}

void client_got(struct client *client, const char *payload, size_t bytes, uint64_t at_ns)
{
    progress();
    if (bytes != settings.payload_bytes || (payload[0] != 'B' && payload[0] != 'U') ||
        get_hex(payload + AT_LOAD, 8) != tally.load) {
        tally.stray++;
        return;
    }
    unsigned stream = payload[0] == 'U' ? UNICASTS : get_hex(payload + AT_STREAM, 2) % MAX_STREAMS;
    uint32_t number = get_hex(payload + AT_NUMBER, 8);
    if (stream == UNICASTS && get_hex(payload + AT_CLIENT, 8) != client->index) {
        tally.misdelivered++;
        return;
    }
    if (client->kind == CLIENT_STALLED) {
        stalled_got(client, stream, number);
        return;
    }
    if (client->kind == CLIENT_PASSING && stream != UNICASTS && !(client->joined & 1u << stream)) {
        client->joined |= (uint16_t)(1u << stream); /* it has come in the middle of these */
        client->next[stream] = number;
    }
    if (number < client->next[stream]) {
        tally.repeated++;
        return;
    }
    tally.skipped += number - client->next[stream];
    client->next[stream] = number + 1;
    if (client->kind == CLIENT_PASSING) {
        tally.passed++;
        return;
    }
    tally.delivered++;
    tally.last_ns = at_ns;
    if (is_witness(client, stream))
        samples_add(&tally.latency, at_ns - get_hex(payload + AT_TIME, 16));
}

/* ---- one connection */

static void keep_partial(struct client *client, const char *data, size_t bytes)
{
    if (bytes > client->partial_bytes || !bytes) {
        free(client->partial);
        client->partial = bytes ? malloc(bytes) : NULL;
        if (bytes && !client->partial)
            fail(2, "out of memory");
    }
    memcpy(client->partial ? client->partial : read_buffer, data, bytes);
    client->partial_bytes = bytes;
}

static void client_read(struct client *client)
{
    for (;;) {
        size_t kept = client->partial_bytes;
        if (kept)
            memcpy(read_buffer, client->partial, kept);
        ssize_t got = recv(client->source.fd, read_buffer + kept, READ_BYTES - kept, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            client_ended(client, got ? errno : 0);
            return;
        }
        size_t bytes = kept + (size_t)got;
        size_t taken = wire->parse(client, read_buffer, bytes, now_ns());
        if (kept || taken < bytes)
            keep_partial(client, read_buffer + taken, bytes - taken);
        if (bytes < READ_BYTES)
            return;
    }
}

/* Sends the greeting; returns false where the connection is not made yet. */
static bool client_greet(struct client *client)
{
    char greeting[GREETING_BYTES];
    size_t bytes = wire->greet(greeting, sizeof greeting, client->index);
    ssize_t sent = send(client->source.fd, greeting, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        return false;
    if (sent != (ssize_t)bytes)
        fail(2, "client %u: connecting: %s", client->index, strerror(errno));
    client->state = CLIENT_OPENING;
    return true;
}

static void client_ready(struct source *source, uint32_t events)
{
    struct client *client = (struct client *)source;
    if (client->state == CLIENT_CONNECTING && !client_greet(client))
        return;
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
        client_read(client);
}

struct client *client_connect(unsigned index, enum client_kind kind, unsigned receive_bytes)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        fail(2, "out of memory");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        fail(2, "client %u: socket: %s (raise `ulimit -n`)", index, strerror(errno));
    if (receive_bytes)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (settings.source_addresses > 1) {
        /* Without it the port is chosen at bind, out of far fewer. */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index % settings.source_addresses);
        if (bind(fd, (struct sockaddr *)&from, sizeof from))
            fail(2, "client %u: bind: %s", index, strerror(errno));
    }
    *client = (struct client){.source = {fd, client_ready}, .index = index, .kind = kind, .began_ns = now_ns()};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(settings.wire_port)};
    inet_pton(AF_INET, settings.host, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail(2, "client %u: connecting: %s", index, strerror(errno));
    /* On one host the handshake is over when connect() returns, unless the server's backlog is full. */
    client_greet(client);
    watch(&client->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    return client;
}

void client_free(struct client *client, bool reset)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(client->source.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(client->source.fd);
    free(client->partial);
    free(client);
}

void client_dismissed(struct client *client, unsigned code, const char *why, size_t bytes)
{
    if (client->kind != CLIENT_STALLED)
        fail(2, "client %u: DISCONNECT %.*s", client->index, (int)bytes, why);
    stalled_dismissed(client, code);
}

void client_ended(struct client *client, int error)
{
    if (client->kind != CLIENT_STALLED)
        fail(2, "client %u: the server closed the connection: %s", client->index, error ? strerror(error) : "end of file");
    stalled_ended(client, error);
}

/* ---- all of them */

static void connect_next(void)
{
    clients[client_count] = client_connect(client_count, CLIENT_STEADY, 0);
    client_count++;
}

void client_opened(struct client *client, const char *token, size_t token_bytes, uint64_t at_ns)
{
    if (client->state != CLIENT_OPENING)
        fail(2, "client %u: a second answer to its SUB", client->index);
    if (!token_bytes || token_bytes > MAX_TOKEN_BYTES)
        fail(2, "client %u: a token of %zu bytes", client->index, token_bytes);
    memcpy(client->token, token, token_bytes);
    client->state = CLIENT_OPEN;
    client->opened_ns = at_ns;
    progress();
    if (client->kind == CLIENT_STALLED)
        stalled_opened(client);
    if (client->kind != CLIENT_STEADY)
        return;
    opened++;
    samples_add(&opening, at_ns - client->began_ns);
    if (client_count < wanted)
        connect_next();
}

static bool all_open(void)
{
    return opened == wanted;
}

void clients_open(unsigned count, unsigned in_flight)
{
    unsigned before = client_count;
    wanted = before + count;
    clients = realloc(clients, wanted * sizeof(struct client *));
    if (!clients)
        fail(2, "out of memory");
    double cpu_before_s = cpu_s();
    uint64_t began_ns = open_began_ns = now_ns();
    while (client_count < wanted && client_count < before + in_flight)
        connect_next();
    if (!serve_until(all_open))
        fail(2, "only %u of %u sessions are open, and nothing happens any more", opened, wanted);
    double seconds = (double)(now_ns() - began_ns) / 1e9;
    printf("{\"step\": \"open\", \"clients\": %u, \"in_flight\": %u, \"seconds\": %.4f, \"opened_per_s\": %.0f, ", count,
           in_flight, seconds, count / seconds);
    samples_print(&opening, "open_ms");
    printf(", \"generator_busy\": %.3f}\n", (cpu_s() - cpu_before_s) / seconds);
}

static char (*kept_tokens)[MAX_TOKEN_BYTES + 1];
static unsigned kept_count;

unsigned clients_away(void)
{
    return client_count ? 0 : kept_count;
}

uint64_t clients_open_began_ns(void)
{
    return open_began_ns;
}

const char *token_of(unsigned client_index)
{
    return client_index < kept_count ? kept_tokens[client_index] : NULL;
}

void clients_close(bool keep_tokens)
{
    unsigned count = client_count;
    free(kept_tokens);
    kept_count = keep_tokens ? count : 0;
    kept_tokens = keep_tokens ? calloc(count + 1, sizeof *kept_tokens) : NULL;
    if (keep_tokens && !kept_tokens)
        fail(2, "out of memory");
    for (unsigned i = 0; i < kept_count; i++)
        memcpy(kept_tokens[i], clients[i]->token, sizeof *kept_tokens);
    for (unsigned i = 0; i < count; i++)
        client_free(clients[i], false);
    client_count = wanted = opened = 0;
    printf("{\"step\": \"close\", \"clients\": %u}\n", count);
}
