/* What the parts of the load generator share.
 *
 * loadgen.c  the event loop and the commands
 * clients.c  the connections that receive, and the check of what they receive
 * stalled.c  connections that open a session and then read nothing
 * churn.c    connections that come and go while messages are published
 * posts.c    the connections that publish
 * loads.c    what is published, when, and what is measured
 * wire_*.c   how a kind of server speaks with its clients       (struct wire)
 * api_*.c    how messages are given to a kind of server         (struct api)
 *
 * A server of another kind is measured by adding a wire and an api; nothing else knows them.
 */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum {
    MAX_STREAMS = 8,          /* publishing connections whose broadcasts are told apart */
    UNICASTS = MAX_STREAMS,   /* the stream of what is for one client alone */
    ALL_STREAMS,
    MAX_CONNECTIONS = 64,     /* publishing connections in all */
    MAX_TOKEN_BYTES = 128,    /* docs/protocol.md, "Opening a session" */
    MAX_PAYLOAD_BYTES = 4096,
};

/* ---- loadgen.c */

/* Something with a descriptor; the first member of whatever the event loop calls. */
struct source {
    int fd;
    void (*ready)(struct source *source, uint32_t events);
};

struct settings {
    const char *host;         /* IPv4 address of the server */
    unsigned wire_port, api_port;
    const char *api_key;      /* NULL: none */
    unsigned payload_bytes;
    unsigned source_addresses; /* clients connect from 127.0.0.1 to 127.0.0.<this> */
    unsigned stall_s;         /* no progress for so long: give up */
};
extern struct settings settings;

/* Ends the program: 1 where messages were lost or repeated, 2 where the run failed in another way. */
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t now_ns(void);
double cpu_s(void);           /* user and system time of this process so far */
void watch(struct source *source, uint32_t events);
void unwatch(struct source *source);
void progress(void);          /* tell the loop that something has happened */
/* Serves descriptors until done() says so; returns false when nothing happened for settings.stall_s. */
bool serve_until(bool (*done)(void));
void serve_for_ms(unsigned milliseconds);

/* ---- samples.c */

/* Times in nanoseconds. */
struct samples {
    uint64_t *values;
    size_t count, capacity;
};
void samples_add(struct samples *samples, uint64_t value);
/* Prints `"name": {"count": …, "p50": …, "p90": …, "p99": …, "max": …}` in milliseconds, and empties it. */
void samples_print(struct samples *samples, const char *name);

/* ---- clients.c */

enum client_state { CLIENT_CONNECTING, CLIENT_OPENING, CLIENT_OPEN };
/* A steady client reads everything and stays; see stalled.c and churn.c for the others. */
enum client_kind { CLIENT_STEADY, CLIENT_STALLED, CLIENT_PASSING };

struct client {
    struct source source;
    uint32_t index;
    enum client_state state;
    enum client_kind kind;
    uint32_t posted;              /* unicasts posted to it in this load */
    uint32_t next[ALL_STREAMS];   /* the number that comes next, a stream */
    uint16_t joined;              /* streams of which a passing client has seen something, a bit each */
    uint64_t began_ns, opened_ns;
    char *partial;                /* the beginning of a frame whose end has not come */
    size_t partial_bytes;
    char token[MAX_TOKEN_BYTES + 1];
};

/* How a kind of server speaks with its clients. */
struct wire {
    const char *name;
    /* Writes what a client sends when it is connected; returns the number of bytes, at most `capacity`. */
    size_t (*greet)(char *out, size_t capacity, unsigned client_index);
    /* Takes whole frames out of data, calling client_opened() and client_got(); returns the bytes taken. */
    size_t (*parse)(struct client *client, char *data, size_t bytes, uint64_t at_ns);
};
extern const struct wire framed_wire, framed_acks_wire, redis_wire, mqtt_wire;

extern const struct wire *wire;
extern struct client **clients;
extern unsigned client_count;

void clients_open(unsigned count, unsigned in_flight);
void clients_close(bool keep_tokens);
/* How many clients have left and kept their tokens, and when the last ones began to be opened. */
unsigned clients_away(void);
uint64_t clients_open_began_ns(void);
/* The token that a client is to show, NULL where it has none. */
const char *token_of(unsigned client_index);
/* Connects and greets; `receive_bytes` 0 leaves the receive buffer as it is. */
struct client *client_connect(unsigned index, enum client_kind kind, unsigned receive_bytes);
void client_free(struct client *client, bool reset);
void client_opened(struct client *client, const char *token, size_t token_bytes, uint64_t at_ns);
void client_got(struct client *client, const char *payload, size_t bytes, uint64_t at_ns);
/* The server says why it closes. */
void client_dismissed(struct client *client, unsigned code, const char *why, size_t bytes);
/* The server has closed; `error` 0: in order. */
void client_ended(struct client *client, int error);

/* What has come of the load that is running. */
struct tally {
    uint32_t load;                /* its number, in each of its payloads */
    uint64_t expected, delivered; /* deliveries to steady clients */
    uint64_t passed;              /* deliveries to passing ones */
    uint64_t skipped;             /* numbers that a client has not seen when it saw a later one */
    uint64_t repeated;            /* numbers not greater than one already seen: twice, or too late */
    uint64_t misdelivered;        /* meant for another client */
    uint64_t stray;               /* of another load, or not of ours */
    uint64_t last_ns;             /* when the last one came */
    struct samples latency;       /* from being written to being read; of broadcasts at every 16th client */
};
extern struct tally tally;

void tally_begin(void);
bool tally_clean(void);
/* Ends the program with what is wrong. */
_Noreturn void tally_fail(const char *what);
/* Writes a payload of settings.payload_bytes. */
void payload_write(char *out, unsigned stream, uint32_t number, uint64_t at_ns, uint32_t client_index);

/* ---- stalled.c */

void stalled_open(unsigned count, unsigned receive_bytes);
void stalled_opened(struct client *client);
void stalled_got(struct client *client, unsigned stream, uint32_t number);
void stalled_dismissed(struct client *client, unsigned code);
void stalled_ended(struct client *client, int error);
/* Reads at last what is there for them, until all are closed or so many seconds are over; then closes the rest. */
void stalled_drain(unsigned seconds);

/* ---- churn.c */

void churn_run(unsigned seconds, unsigned arrivals_per_s, unsigned life_ms);

/* ---- posts.c */

struct text {
    char *bytes;
    size_t start, length, capacity; /* what is to be sent is [start, length) */
};
char *text_reserve(struct text *text, size_t bytes);
void text_add(struct text *text, const char *bytes, size_t count);

/* What a server said about one post. */
struct answer {
    uint64_t sent;                /* messages that it says it has sent; UINT64_MAX where it says nothing */
};

/* How messages are given to a kind of server. A post is a batch of entries, answered as one. */
struct api {
    const char *name;
    /* What must be said and heard before anything is published; the descriptor still blocks. NULL: nothing. */
    void (*hello)(int fd, unsigned number);
    void (*begin)(struct text *out, unsigned entries);
    /* token NULL: to everybody. `last`: no other entry follows. */
    void (*add)(struct text *out, const char *token, const char *payload, bool last);
    void (*end)(struct text *out, unsigned entries);
    /* Reads the answer to a post from the front of data; returns the bytes taken, 0 where it is not whole yet. */
    size_t (*answer)(char *data, size_t bytes, unsigned entries, struct answer *answer);
};
extern const struct api http_api, redis_api, mqtt_api;

extern const struct api *api;

struct poster {
    struct source source;
    unsigned number;
    bool busy;
    unsigned entries;             /* of the post under way */
    uint64_t posted_ns;
    struct text out, in;
};
extern struct poster posters[MAX_CONNECTIONS];
extern void (*poster_answered)(struct poster *poster, const struct answer *answer, uint64_t at_ns);

void posters_open(unsigned count);
void posters_close(void);
void poster_begin(struct poster *poster, unsigned entries);
void poster_add(struct poster *poster, const char *token, const char *payload, bool last);
void poster_send(struct poster *poster);

/* ---- loads.c */

struct load {
    const char *name;
    bool broadcast;
    bool one_at_a_time;           /* the next post waits until this one is answered and delivered */
    bool only_answers;            /* the server delivers nothing: it is its answers that are measured */
    bool away;                    /* the clients have left: what is for them is delivered when they are back */
    unsigned messages;
    unsigned entries;             /* messages a post */
    unsigned connections;         /* posts in flight, one a connection */
};
void load_run(struct load load);
/* Waits until clients that are back have all that was published while they were away. */
void load_collect(void);

#endif
