/* What the parts of the load generator share.
 *
 * loadgen.c  the event loop and the commands
 * clients.c  the connections that receive, and the check of what they receive
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

struct client {
    struct source source;
    uint32_t index;
    enum client_state state;
    uint32_t posted;              /* unicasts posted to it in this load */
    uint32_t next[MAX_STREAMS];   /* the number that comes next, a stream */
    uint64_t began_ns;
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
extern const struct wire framed_wire;

extern const struct wire *wire;
extern struct client **clients;
extern unsigned client_count;

void clients_open(unsigned count, unsigned in_flight);
void clients_close(void);
void client_opened(struct client *client, const char *token, size_t token_bytes, uint64_t at_ns);
void client_got(struct client *client, const char *payload, size_t bytes, uint64_t at_ns);

/* What has come of the load that is running. */
struct tally {
    uint32_t load;                /* its number, in each of its payloads */
    bool broadcast;
    uint64_t expected, delivered; /* deliveries */
    uint64_t skipped;             /* numbers that a client has not seen when it saw a later one */
    uint64_t repeated;            /* numbers not greater than one already seen: twice, or too late */
    uint64_t misdelivered;        /* meant for another client */
    uint64_t stray;               /* of another load, or not of ours */
    uint64_t last_ns;             /* when the last one came */
    struct samples latency;       /* unicasts: from being written to being read */
};
extern struct tally tally;

void tally_begin(bool broadcast);
bool tally_clean(void);
/* Writes a payload of settings.payload_bytes. */
void payload_write(char *out, unsigned stream, uint32_t number, uint64_t at_ns, uint32_t client_index);

/* ---- posts.c */

struct text {
    char *bytes;
    size_t start, length, capacity; /* what is to be sent is [start, length) */
};
char *text_reserve(struct text *text, size_t bytes);
void text_add(struct text *text, const char *bytes, size_t count);

/* What a server said about one post. */
struct answer {
    uint64_t sent;                /* messages that it says it has sent */
};

/* How messages are given to a kind of server. A post is a batch of entries, answered as one. */
struct api {
    const char *name;
    void (*begin)(struct text *out, unsigned entries);
    /* token NULL: to everybody. `last`: no other entry follows. */
    void (*add)(struct text *out, const char *token, const char *payload, bool last);
    void (*end)(struct text *out, unsigned entries);
    /* Reads an answer from the front of data; returns the bytes taken, 0 where it is not whole yet. */
    size_t (*answer)(char *data, size_t bytes, struct answer *answer);
};
extern const struct api http_api;

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
    unsigned messages;
    unsigned entries;             /* messages a post */
    unsigned connections;         /* posts in flight, one a connection */
};
void load_run(struct load load);

#endif
