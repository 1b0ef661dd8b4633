/* The limit: a server that does nothing but what the kernel makes it do.
 *
 * It answers SUB and PING of the framed protocol, and of the HTTP API messages:send and messages:batchSend to
 * a token or to all; it reads the JSON that it gets, finds tokens in a hash table, and makes one send() a client a
 * message. It keeps nothing, checks little, and forgets who has gone: it is there to be compared with.
 *
 *   cserver PORT API_PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 0xF8, VERSION = 2, HEADER_BYTES = 10, SUB = 1, PING = 3, PUSH = 4 };
enum { TOKEN_CHARS = 32, BUCKETS = 1 << 16, READ_BYTES = 64 * 1024, MAX_BODY_BYTES = 64 << 20, MAX_EVENTS = 1024 };
enum { MAX_DEPTH = 64 };

enum kind { LISTENER, CLIENT, REQUESTER };

struct bytes {
    char *at;
    size_t length, capacity;
};

struct connection {
    int fd;
    enum kind kind;
    enum kind accepts;               /* of a listener */
    bool open;                       /* a client that has its token */
    unsigned index;                  /* of an open client, in `everybody` */
    struct connection *next_in_bucket;
    struct bytes in, out;            /* NULL while empty */
    char token[TOKEN_CHARS];
};

static int epoll_fd;
static struct connection *buckets[BUCKETS];
static struct connection **everybody;
static unsigned open_count, open_capacity;
static unsigned long long last_id;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "cserver: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *checked(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

static void append(struct bytes *to, const char *from, size_t count)
{
    if (to->length + count > to->capacity) {
        to->capacity = 2 * (to->length + count);
        to->at = checked(realloc(to->at, to->capacity));
    }
    memcpy(to->at + to->length, from, count);
    to->length += count;
}

static void drop(struct bytes *from, size_t count)
{
    from->length -= count;
    if (from->length) {
        memmove(from->at, from->at + count, from->length);
        return;
    }
    free(from->at);
    *from = (struct bytes){0};
}

/* ---- connections */

static struct connection **bucket_of(const char *token)
{
    uint32_t hash = 2166136261u;
    for (unsigned i = 0; i < TOKEN_CHARS; i++)
        hash = (hash ^ (unsigned char)token[i]) * 16777619u;
    return &buckets[hash % BUCKETS];
}

static void interest(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, operation, connection->fd, &event))
        die("epoll_ctl");
}

static void forget(struct connection *connection)
{
    if (connection->open) {
        struct connection **link = bucket_of(connection->token);
        while (*link != connection)
            link = &(*link)->next_in_bucket;
        *link = connection->next_in_bucket;
        everybody[connection->index] = everybody[--open_count];
        everybody[connection->index]->index = connection->index;
    }
    close(connection->fd);
    free(connection->in.at);
    free(connection->out.at);
    free(connection);
}

/* One send(); what the socket does not take waits for EPOLLOUT. A broken connection is noticed when it is read. */
static void transmit(struct connection *connection, const char *data, size_t count)
{
    if (!connection->out.length) {
        ssize_t sent = send(connection->fd, data, count, MSG_NOSIGNAL);
        if (sent == (ssize_t)count || (sent < 0 && errno != EAGAIN))
            return;
        if (sent > 0) {
            data += sent;
            count -= (size_t)sent;
        }
        interest(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    append(&connection->out, data, count);
}

static void resume(struct connection *connection)
{
    ssize_t sent = send(connection->fd, connection->out.at, connection->out.length, MSG_NOSIGNAL);
    if (sent > 0)
        drop(&connection->out, (size_t)sent);
    if (!connection->out.length)
        interest(connection, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- the framed protocol */

static void write_header(char *out, unsigned signal, size_t body, const char *message_id)
{
    const unsigned char header[HEADER_BYTES] = {
        MAGIC, VERSION, (unsigned char)signal, (unsigned char)(body >> 24), (unsigned char)(body >> 16),
        (unsigned char)(body >> 8), (unsigned char)body, 0, (unsigned char)message_id[0], (unsigned char)message_id[1]};
    memcpy(out, header, HEADER_BYTES);
}

static void reply(struct connection *client, unsigned signal, const char *message_id, const char *body)
{
    char frame[256];
    size_t length = strlen(body);
    write_header(frame, signal, length, message_id);
    memcpy(frame + HEADER_BYTES, body, length);
    transmit(client, frame, HEADER_BYTES + length);
}

static void open_session(struct connection *client, const char *message_id)
{
    if (!client->open) {
        unsigned char random[TOKEN_CHARS / 2];
        if (getrandom(random, sizeof random, 0) != sizeof random)
            die("getrandom");
        for (unsigned i = 0; i < TOKEN_CHARS; i++)
            client->token[i] = "0123456789abcdef"[random[i / 2] >> (i % 2 ? 0 : 4) & 15];
        struct connection **bucket = bucket_of(client->token);
        client->next_in_bucket = *bucket;
        *bucket = client;
        if (open_count == open_capacity) {
            open_capacity = open_capacity ? 2 * open_capacity : 1024;
            everybody = checked(realloc(everybody, open_capacity * sizeof(struct connection *)));
        }
        client->index = open_count;
        everybody[open_count++] = client;
        client->open = true;
    }
    char body[128];
    snprintf(body, sizeof body, "{\"status\":200,\"token\":\"%.*s\",\"interval\":1800000}", TOKEN_CHARS, client->token);
    reply(client, SUB, message_id, body);
}

/* Takes one frame; returns its length, 0 where it is not whole, -1 where it is none. */
static ssize_t take_frame(struct connection *client, const char *data, size_t count)
{
    const unsigned char *header = (const unsigned char *)data;
    if (count < HEADER_BYTES)
        return 0;
    size_t body = (size_t)header[3] << 24 | (size_t)header[4] << 16 | (size_t)header[5] << 8 | header[6];
    if (header[0] != MAGIC || body > 65536)
        return -1;
    if (count < HEADER_BYTES + body)
        return 0;
    if (header[2] == SUB)
        open_session(client, data + 8);
    else if (header[2] == PING)
        reply(client, PING, data + 8, "{\"interval\":1800000}");
    return (ssize_t)(HEADER_BYTES + body);
}

/* ---- just enough JSON: values are skipped, strings are unescaped, a mistake makes `at` NULL */

struct reader {
    const char *at, *end;
};

static char peek(struct reader *reader)
{
    while (reader->at && reader->at < reader->end && strchr(" \t\r\n", *reader->at))
        reader->at++;
    return reader->at && reader->at < reader->end ? *reader->at : 0;
}

static bool accept_char(struct reader *reader, char wanted)
{
    if (peek(reader) != wanted)
        return false;
    reader->at++;
    return true;
}

static void need(struct reader *reader, bool condition)
{
    if (!condition)
        reader->at = NULL;
}

static char unescaped(char escape)
{
    const char *const from = "\"\\/bfnrt", *const to = "\"\\/\b\f\n\r\t";
    const char *found = escape ? strchr(from, escape) : NULL;
    return found ? to[found - from] : 0; /* \u is not needed by the one who asks */
}

/* Reads a string into `text` (emptied first), or skips it where text is NULL. */
static void read_string(struct reader *reader, struct bytes *text)
{
    need(reader, accept_char(reader, '"'));
    if (text)
        text->length = 0;
    while (reader->at) {
        const char *from = reader->at;
        while (reader->at < reader->end && *reader->at != '"' && *reader->at != '\\')
            reader->at++;
        if (text)
            append(text, from, (size_t)(reader->at - from));
        if (reader->end - reader->at < 2) {
            reader->at = NULL;
        } else if (*reader->at++ == '"') {
            return;
        } else {
            char plain = unescaped(*reader->at++);
            need(reader, plain != 0);
            if (text && plain)
                append(text, &plain, 1);
        }
    }
}

static void skip_value(struct reader *reader, unsigned depth)
{
    char first = peek(reader);
    if (first == '"') {
        read_string(reader, NULL);
    } else if ((first == '{' || first == '[') && depth < MAX_DEPTH) {
        char close_with = first == '{' ? '}' : ']';
        reader->at++;
        for (bool more = peek(reader) != close_with; reader->at && more; more = accept_char(reader, ',')) {
            if (first == '{') {
                read_string(reader, NULL);
                need(reader, accept_char(reader, ':'));
            }
            skip_value(reader, depth + 1);
        }
        need(reader, accept_char(reader, close_with));
    } else {
        const char *from = reader->at;
        while (reader->at && reader->at < reader->end && strchr("+-.0123456789aeflnrstuE", *reader->at))
            reader->at++;
        need(reader, reader->at != from);
    }
}

/* ---- requests */

struct entry {
    bool all;
    struct bytes token, data;
};

static bool is(const struct bytes *text, const char *word)
{
    return text->length == strlen(word) && !memcmp(text->at, word, text->length);
}

/* Reads an object; field() takes the value of each key. */
static void read_object(struct reader *reader, struct entry *entry,
                        void (*field)(struct reader *, const struct bytes *key, struct entry *))
{
    struct bytes key = {0};
    need(reader, accept_char(reader, '{'));
    for (bool more = peek(reader) != '}'; reader->at && more; more = accept_char(reader, ',')) {
        read_string(reader, &key);
        need(reader, accept_char(reader, ':'));
        if (reader->at)
            field(reader, &key, entry);
    }
    need(reader, accept_char(reader, '}'));
    free(key.at);
}

static void target_field(struct reader *reader, const struct bytes *key, struct entry *entry)
{
    if (is(key, "token")) {
        read_string(reader, &entry->token);
        return;
    }
    entry->all = is(key, "all") && peek(reader) == 't';
    skip_value(reader, 0);
}

static void message_field(struct reader *reader, const struct bytes *key, struct entry *entry)
{
    if (is(key, "data"))
        read_string(reader, &entry->data);
    else
        skip_value(reader, 0);
}

static void request_field(struct reader *reader, const struct bytes *key, struct entry *entry)
{
    if (is(key, "target"))
        read_object(reader, entry, target_field);
    else if (is(key, "message"))
        read_object(reader, entry, message_field);
    else
        skip_value(reader, 0);
}

static struct connection *find(const struct bytes *token)
{
    if (token->length != TOKEN_CHARS)
        return NULL;
    struct connection *client = *bucket_of(token->at);
    while (client && memcmp(client->token, token->at, TOKEN_CHARS))
        client = client->next_in_bucket;
    return client;
}

static unsigned deliver(const struct entry *entry)
{
    static struct bytes frame;
    char header[HEADER_BYTES];
    write_header(header, PUSH, entry->data.length, "\0");
    frame.length = 0;
    append(&frame, header, HEADER_BYTES);
    append(&frame, entry->data.at, entry->data.length);
    if (entry->all) {
        for (unsigned i = 0; i < open_count; i++)
            transmit(everybody[i], frame.at, frame.length);
        return open_count;
    }
    struct connection *client = find(&entry->token);
    if (client)
        transmit(client, frame.at, frame.length);
    return client != NULL;
}

/* Sends one request's message and appends the answer; false where it is not JSON that we understand. */
static bool push_one(struct reader *reader, struct bytes *answer)
{
    static struct entry entry;
    entry.all = false;
    entry.token.length = entry.data.length = 0;
    read_object(reader, &entry, request_field);
    if (!reader->at || (!entry.all && !entry.token.length))
        return false;
    unsigned sent = deliver(&entry);
    char text[160];
    int length = sent || entry.all
        ? snprintf(text, sizeof text, "{\"id\":\"%llu\",\"targets\":%u,\"sent\":%u,\"cached\":0,\"unknown\":[]}",
                   ++last_id, sent, sent)
        : snprintf(text, sizeof text, "{\"error\":{\"code\":404,\"reason\":\"UNREGISTERED\"}}");
    append(answer, text, (size_t)length);
    return true;
}

static bool push_batch(struct reader *reader, struct bytes *answer)
{
    struct bytes key = {0};
    need(reader, accept_char(reader, '{'));
    read_string(reader, &key);
    need(reader, reader->at && is(&key, "requests") && accept_char(reader, ':') && accept_char(reader, '['));
    free(key.at);
    append(answer, "{\"results\":[", 12);
    for (bool more = peek(reader) != ']'; reader->at && more; more = accept_char(reader, ',')) {
        if (answer->length > 12)
            append(answer, ",", 1);
        if (!push_one(reader, answer))
            return false;
    }
    append(answer, "]}", 2);
    return reader->at != NULL;
}

static void respond(struct connection *requester, const char *status, const struct bytes *body)
{
    char header[200];
    struct bytes response = {0};
    int length = snprintf(header, sizeof header,
                          "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status,
                          body->length);
    append(&response, header, (size_t)length);
    if (body->length)
        append(&response, body->at, body->length);
    transmit(requester, response.at, response.length);
    free(response.at);
}

static void serve_request(struct connection *requester, const char *path, const char *body, size_t count)
{
    static struct bytes answer;
    struct reader reader = {body, body + count};
    answer.length = 0;
    bool good = true;
    if (!strncmp(path, "/v1/messages:batchSend ", 23))
        good = push_batch(&reader, &answer);
    else if (!strncmp(path, "/v1/messages:send ", 18))
        good = push_one(&reader, &answer);
    else if (strncmp(path, "/readyz ", 8))
        good = false;
    if (!good)
        answer.length = 0;
    respond(requester, good ? "200 OK" : "400 Bad Request", &answer);
}

/* Takes one request; returns its length, 0 where it is not whole, -1 where it is none. */
static ssize_t take_request(struct connection *requester, const char *data, size_t count)
{
    const char *head_end = memmem(data, count, "\r\n\r\n", 4);
    if (!head_end)
        return count > READ_BYTES ? -1 : 0;
    size_t head = (size_t)(head_end - data) + 4, body = 0;
    for (const char *line = data; line < head_end; line = (const char *)memchr(line, '\n', head) + 1)
        if (!strncasecmp(line, "Content-Length:", 15))
            body = strtoul(line + 15, NULL, 10);
    const char *path = memchr(data, ' ', head);
    if (!path || body > MAX_BODY_BYTES)
        return -1;
    if (count < head + body)
        return 0;
    serve_request(requester, path + 1, data + head, body);
    return (ssize_t)(head + body);
}

/* ---- the loop */

static void read_connection(struct connection *connection)
{
    static char buffer[READ_BYTES];
    ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        forget(connection);
        return;
    }
    append(&connection->in, buffer, (size_t)got);
    size_t at = 0;
    ssize_t taken = 1;
    while (taken > 0) {
        const char *data = connection->in.at + at;
        size_t count = connection->in.length - at;
        taken = connection->kind == CLIENT ? take_frame(connection, data, count) : take_request(connection, data, count);
        at += taken > 0 ? (size_t)taken : 0;
    }
    if (taken < 0)
        forget(connection);
    else if (at)
        drop(&connection->in, at);
}

static void accept_all(struct connection *listener)
{
    for (int fd; (fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = checked(calloc(1, sizeof *connection));
        connection->fd = fd;
        connection->kind = listener->accepts;
        interest(connection, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void listen_on(unsigned port, enum kind accepts)
{
    struct connection *listener = checked(calloc(1, sizeof *listener));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    listener->kind = LISTENER;
    listener->accepts = accepts;
    int on = 1;
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) || listen(listener->fd, 4096))
        die("listening");
    interest(listener, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: cserver PORT API_PORT\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    listen_on((unsigned)atoi(argv[1]), CLIENT);
    listen_on((unsigned)atoi(argv[2]), REQUESTER);
    static struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->kind == LISTENER)
                accept_all(connection);
            else if (events[i].events & EPOLLOUT && !(events[i].events & (EPOLLERR | EPOLLHUP)))
                resume(connection);
            else
                read_connection(connection);
        }
    }
}
