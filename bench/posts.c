/* The publishing connections: kept open, one post in flight on each. */
#include "loadgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { READ_AT_LEAST_BYTES = 64 * 1024 };

const struct api *api = &http_api;
struct poster posters[MAX_CONNECTIONS];
void (*poster_answered)(struct poster *poster, const struct answer *answer, uint64_t at_ns);

static unsigned poster_count;

char *text_reserve(struct text *text, size_t bytes)
{
    if (text->length + bytes > text->capacity) {
        text->capacity = 2 * (text->length + bytes);
        text->bytes = realloc(text->bytes, text->capacity);
        if (!text->bytes)
            fail(2, "out of memory");
    }
    return text->bytes + text->length;
}

void text_add(struct text *text, const char *bytes, size_t count)
{
    memcpy(text_reserve(text, count), bytes, count);
    text->length += count;
}

static void poster_write(struct poster *poster)
{
    struct text *out = &poster->out;
    while (out->start < out->length) {
        ssize_t sent = send(poster->source.fd, out->bytes + out->start, out->length - out->start, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            fail(2, "posting: %s", strerror(errno));
        out->start += (size_t)sent;
    }
}

static void poster_parse(struct poster *poster)
{
    struct text *in = &poster->in;
    struct answer answer = {0};
    size_t taken = api->answer(in->bytes, in->length, poster->entries, &answer);
    if (!taken)
        return;
    if (!poster->busy || taken != in->length)
        fail(2, "the server answered what was not asked");
    in->length = 0;
    poster->busy = false;
    progress();
    poster_answered(poster, &answer, now_ns());
}

static void poster_read(struct poster *poster)
{
    struct text *in = &poster->in;
    for (;;) {
        char *room = text_reserve(in, READ_AT_LEAST_BYTES + 1);
        ssize_t got = recv(poster->source.fd, room, READ_AT_LEAST_BYTES, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0)
            fail(2, "the server closed a publishing connection: %s", got ? strerror(errno) : "end of file");
        in->length += (size_t)got;
        in->bytes[in->length] = 0; /* an end for those who read numbers */
        poster_parse(poster);
        if (got < READ_AT_LEAST_BYTES)
            return;
    }
}

static void poster_ready(struct source *source, uint32_t events)
{
    struct poster *poster = (struct poster *)source;
    if (events & EPOLLOUT)
        poster_write(poster);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
        poster_read(poster);
}

void posters_open(unsigned count)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(settings.api_port)};
    inet_pton(AF_INET, settings.host, &to.sin_addr);
    for (poster_count = 0; poster_count < count; poster_count++) {
        struct poster *poster = &posters[poster_count];
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
            fail(2, "connecting to the API: %s", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (api->hello)
            api->hello(fd, poster_count);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        poster->source = (struct source){fd, poster_ready};
        poster->number = poster_count;
        poster->busy = false;
        poster->in.length = 0;
        watch(&poster->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
}

void posters_close(void)
{
    while (poster_count)
        close(posters[--poster_count].source.fd);
}

void poster_begin(struct poster *poster, unsigned entries)
{
    poster->out.start = poster->out.length = 0;
    poster->entries = entries;
    api->begin(&poster->out, entries);
}

void poster_add(struct poster *poster, const char *token, const char *payload, bool last)
{
    api->add(&poster->out, token, payload, last);
}

void poster_send(struct poster *poster)
{
    api->end(&poster->out, poster->entries);
    poster->busy = true;
    poster_write(poster);
}
