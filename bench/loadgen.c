/* A load generator for push servers: thousands of client connections and the publisher, in one thread.
 *
 * Commands come on standard input (a pipe or a terminal), a line each; each is answered with one line of JSON.
 * Between commands the connections stay open and nothing is done unless a server sends something.
 *
 *   open CLIENTS IN_FLIGHT                         connect and open sessions, so many at a time
 *   serial ROUNDS                                  a broadcast at a time, each until the last client has it
 *   sustained BROADCASTS ENTRIES CONNECTIONS       broadcasts back to back
 *   unicast MESSAGES ENTRIES CONNECTIONS           batches, each entry to another client
 *   lone MESSAGES                                  a single message at a time, each until it has arrived
 *   http MESSAGES CONNECTIONS                      single messages, one a request
 *   echo MESSAGES CONNECTIONS                      the same requests, to a server that delivers nothing
 *   cached MESSAGES ENTRIES CONNECTIONS            batches for clients that have left with their tokens
 *   collect                                        when these are open again: wait until they have all of it
 *   stall CLIENTS RECEIVE_BYTES                    open sessions that read nothing
 *   drain SECONDS                                  let these read at last, and see how they were closed
 *   churn SECONDS ARRIVALS_PER_S LIFE_MS           broadcasts and unicasts while clients come and go
 *   close                                          close every client
 *   leave                                          the same, and the next ones that open show the same tokens
 *
 * It ends with 0 at the end of its input, 1 as soon as a message is lost, repeated, out of order or with the
 * wrong client, and 2 where the run fails in another way; then standard error says why.
 */
#include "loadgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 1024, TICK_MS = 1000 };

struct settings settings = {
    .host = "127.0.0.1", .payload_bytes = 128, .source_addresses = 16, .stall_s = 30};

static int epoll_fd;
static bool happened;

_Noreturn void fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double cpu_s(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

void watch(struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event))
        fail(2, "watching a descriptor: %s", strerror(errno));
}

void unwatch(struct source *source)
{
    if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL))
        fail(2, "no longer watching a descriptor: %s", strerror(errno));
}

void progress(void)
{
    happened = true;
}

static void serve_once(int timeout_ms)
{
    static struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(epoll_fd, events, MAX_EVENTS, timeout_ms);
    if (count < 0 && errno != EINTR)
        fail(2, "waiting: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct source *source = events[i].data.ptr;
        source->ready(source, events[i].events);
    }
}

bool serve_until(bool (*done)(void))
{
    unsigned silent_s = 0;
    uint64_t checked_ns = now_ns();
    happened = false;
    while (!done()) {
        serve_once(TICK_MS);
        uint64_t at_ns = now_ns();
        if (at_ns - checked_ns < TICK_MS * 1000000ull)
            continue;
        checked_ns = at_ns;
        silent_s = happened ? 0 : silent_s + 1;
        happened = false;
        if (silent_s >= settings.stall_s)
            return false;
    }
    return true;
}

void serve_for_ms(unsigned milliseconds)
{
    uint64_t until_ns = now_ns() + milliseconds * 1000000ull;
    for (uint64_t at_ns = now_ns(); at_ns < until_ns; at_ns = now_ns())
        serve_once((int)((until_ns - at_ns) / 1000000) + 1);
}

/* ---- commands */

static unsigned number(char **words, unsigned least, unsigned most, const char *what)
{
    char *word = strtok_r(NULL, " \n", words), *end = "";
    unsigned long value = word ? strtoul(word, &end, 10) : 0;
    if (!word || *end || value < least || value > most)
        fail(2, "%s must be a number from %u to %u", what, least, most);
    return (unsigned)value;
}

static void run_load(const char *name, char **words)
{
    struct load load = {.name = name, .messages = number(words, 1, 100000000, "the number of messages"), .entries = 1,
                        .connections = 1};
    load.broadcast = !strcmp(name, "serial") || !strcmp(name, "sustained");
    load.one_at_a_time = !strcmp(name, "serial") || !strcmp(name, "lone");
    load.away = !strcmp(name, "cached");
    if (!strcmp(name, "sustained") || !strcmp(name, "unicast") || load.away)
        load.entries = number(words, 1, 100000, "the number of entries");
    load.only_answers = !strcmp(name, "echo");
    if (!load.one_at_a_time)
        load.connections = number(words, 1, load.broadcast ? MAX_STREAMS : MAX_CONNECTIONS, "the number of connections");
    load_run(load);
}

/* What is neither a load nor unknown. */
static bool run_other(const char *name, char **words)
{
    if (!strcmp(name, "open")) {
        unsigned count = number(words, 1, 1000000, "the number of clients");
        clients_open(count, number(words, 1, 65535, "how many are in flight"));
    } else if (!strcmp(name, "close")) {
        clients_close(false);
    } else if (!strcmp(name, "leave")) {
        clients_close(true);
    } else if (!strcmp(name, "collect")) {
        load_collect();
    } else if (!strcmp(name, "stall")) {
        unsigned count = number(words, 1, 1000000, "the number of clients");
        stalled_open(count, number(words, 0, 1 << 30, "bytes of the receive buffer"));
    } else if (!strcmp(name, "drain")) {
        stalled_drain(number(words, 1, 3600, "the number of seconds"));
    } else if (!strcmp(name, "churn")) {
        unsigned seconds = number(words, 1, 3600, "the number of seconds");
        unsigned arrivals_per_s = number(words, 1, 100000, "arrivals a second");
        churn_run(seconds, arrivals_per_s, number(words, 1, 60000, "the life of a connection"));
    } else {
        return false;
    }
    return true;
}

static void run_command(char *line)
{
    static const char *const LOADS[] = {"serial", "sustained", "unicast", "cached", "lone", "http", "echo"};
    char *words = NULL, *name = strtok_r(line, " \n", &words);
    if (!name)
        return;
    if (run_other(name, &words)) {
        fflush(stdout);
        return;
    }
    for (size_t i = 0; i < sizeof LOADS / sizeof *LOADS; i++) {
        if (!strcmp(name, LOADS[i])) {
            run_load(LOADS[i], &words);
            fflush(stdout);
            return;
        }
    }
    fail(2, "unknown command: %s", name);
}

/* ---- standard input: watched with the connections, so that waiting for a command serves them too */

static char input[4096];
static size_t input_bytes;
static bool input_ended;

static void input_ready(struct source *source, uint32_t events)
{
    (void)events;
    ssize_t got = read(source->fd, input + input_bytes, sizeof input - 1 - input_bytes);
    if (got < 0 && errno != EINTR && errno != EAGAIN)
        fail(2, "reading commands: %s", strerror(errno));
    if (got == 0) {
        input_ended = true;
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    }
    if (got > 0)
        input_bytes += (size_t)got;
    if (input_bytes == sizeof input - 1)
        fail(2, "a command is too long");
}

static void obey(void)
{
    for (;;) {
        char *end = memchr(input, '\n', input_bytes);
        if (!end && input_ended)
            return;
        if (!end) {
            serve_once(-1);
            continue;
        }
        char line[sizeof input];
        size_t bytes = (size_t)(end - input) + 1;
        memcpy(line, input, bytes);
        line[bytes - 1] = 0;
        input_bytes -= bytes;
        memmove(input, end + 1, input_bytes);
        run_command(line);
    }
}

/* ---- start */

static void choose_speech(const char *name)
{
    static const struct {
        const char *name;
        const struct wire *wire;
        const struct api *api;
    } SPEECHES[] = {
        {"push", &framed_wire, &http_api}, {"push-acks", &framed_acks_wire, &http_api}, {"redis", &redis_wire, &redis_api}, {"mqtt", &mqtt_wire, &mqtt_api}};
    for (size_t i = 0; i < sizeof SPEECHES / sizeof *SPEECHES; i++) {
        if (!strcmp(name, SPEECHES[i].name)) {
            wire = SPEECHES[i].wire;
            api = SPEECHES[i].api;
            return;
        }
    }
    fail(2, "--speaks must be push, push-acks, redis or mqtt");
}

static void read_options(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"host", required_argument, NULL, 'h'},     {"port", required_argument, NULL, 'p'},
        {"api-port", required_argument, NULL, 'a'}, {"api-key", required_argument, NULL, 'k'},
        {"payload-bytes", required_argument, NULL, 'b'}, {"source-addresses", required_argument, NULL, 's'},
        {"stall-s", required_argument, NULL, 't'},  {"speaks", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        unsigned value = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        switch (option) {
        case 'h': settings.host = optarg; break;
        case 'p': settings.wire_port = value; break;
        case 'a': settings.api_port = value; break;
        case 'k': settings.api_key = optarg; break;
        case 'b': settings.payload_bytes = value; break;
        case 's': settings.source_addresses = value; break;
        case 't': settings.stall_s = value; break;
        case 'w': choose_speech(optarg); break;
        default: exit(2);
        }
    }
    struct in_addr address;
    if (inet_pton(AF_INET, settings.host, &address) != 1)
        fail(2, "--host must be an IPv4 address");
    if (!settings.wire_port || !settings.api_port)
        fail(2, "--port and --api-port are needed");
    if (settings.payload_bytes < 64 || settings.payload_bytes > MAX_PAYLOAD_BYTES)
        fail(2, "--payload-bytes must be from 64 to %d", MAX_PAYLOAD_BYTES);
    if (!settings.source_addresses || settings.source_addresses > 250 || !settings.stall_s)
        fail(2, "--source-addresses must be from 1 to 250, --stall-s at least 1");
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    read_options(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct source standard_input = {STDIN_FILENO, input_ready};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &standard_input};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event))
        fail(2, "commands must come from a pipe or a terminal: %s", strerror(errno));
    obey();
    return 0;
}
