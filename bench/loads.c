/* The measurements: what is published, how much of it at a time, and what comes of it. */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long after the last expected message a repeated one is waited for. */
enum { SETTLE_MS = 20 };

/* Where nothing is delivered: as long as a token of push's. */
static const char NOBODY[] = "00000000000000000000000000000000";

static struct load load;
static unsigned posted, posts, answered;   /* messages; posts; answers to posts */
static unsigned posted_on[MAX_STREAMS];    /* broadcasts, a connection */
static unsigned turn_of[MAX_CONNECTIONS];  /* unicasts, a connection: it takes every load.connections-th client */
static uint64_t began_ns;
static struct samples answers, rounds;
static uint32_t *posted_to;                /* unicasts posted to each client that is away */

static struct client *next_client(unsigned connection)
{
    unsigned share = (client_count - connection + load.connections - 1) / load.connections;
    return clients[connection + turn_of[connection]++ % share * load.connections];
}

static void post_next(struct poster *poster)
{
    unsigned entries = load.messages - posted < load.entries ? load.messages - posted : load.entries;
    if (!entries)
        return;
    char payload[MAX_PAYLOAD_BYTES];
    const unsigned posted_before = posted;
    poster_begin(poster, entries);
    poster->posted_ns = now_ns();
    for (unsigned i = 0; i < entries; i++) {
        bool last = i + 1 == entries;
        if (load.only_answers) {
            payload_write(payload, UNICASTS, posted + i, poster->posted_ns, 0);
            poster_add(poster, NOBODY, payload, last);
        } else if (load.broadcast) {
            payload_write(payload, poster->number, posted_on[poster->number]++, poster->posted_ns, 0);
            poster_add(poster, NULL, payload, last);
        } else if (load.away) {
            unsigned index = posted_before + i;
            index %= clients_away();
            payload_write(payload, UNICASTS, posted_to[index]++, poster->posted_ns, index);
            poster_add(poster, token_of(index), payload, last);
        } else {
            struct client *client = next_client(poster->number);
            payload_write(payload, UNICASTS, client->posted++, poster->posted_ns, client->index);
            poster_add(poster, client->token, payload, last);
        }
    }
    posted += entries;
    posts++;
    if (!load.only_answers)
        tally.expected += load.broadcast ? (uint64_t)entries * client_count : entries;
    poster_send(poster);
}

static void got_answer(struct poster *poster, const struct answer *answer, uint64_t at_ns)
{
    uint64_t due = load.broadcast ? (uint64_t)poster->entries * client_count : poster->entries;
    tally.last_ns = load.only_answers || load.away ? at_ns : tally.last_ns;
    if (answer->sent < due && !load.only_answers)
        fail(1, "%s: the server says that it sent %llu messages of %llu", load.name, (unsigned long long)answer->sent,
             (unsigned long long)due);
    answered++;
    samples_add(&answers, at_ns - poster->posted_ns);
    if (!load.one_at_a_time)
        post_next(poster);
}

static bool quiet(void)
{
    return answered == posts && (load.away || tally.delivered >= tally.expected);
}

static void explain_and_fail(void)
{
    fprintf(stderr, "loadgen: %u of %u posts answered\n", answered, posts);
    tally_fail(load.name);
}

static void publish_all(void)
{
    if (!load.one_at_a_time) {
        for (unsigned i = 0; i < load.connections; i++)
            post_next(&posters[i]);
        if (!serve_until(quiet))
            explain_and_fail();
        return;
    }
    while (posted < load.messages) {
        post_next(&posters[0]);
        uint64_t posted_ns = posters[0].posted_ns;
        if (!serve_until(quiet))
            explain_and_fail();
        samples_add(&rounds, tally.last_ns - posted_ns);
    }
}

static void report(double busy_s)
{
    double seconds = (double)(tally.last_ns - began_ns) / 1e9;
    printf("{\"step\": \"%s\", \"clients\": %u, \"messages\": %u, \"entries\": %u, \"connections\": %u, "
           "\"payload_bytes\": %u, \"deliveries\": %llu, \"seconds\": %.4f, \"deliveries_per_s\": %.0f, "
           "\"posts_per_s\": %.0f, ",
           load.name, client_count, load.messages, load.entries, load.connections, settings.payload_bytes,
           (unsigned long long)tally.delivered, seconds, (double)tally.delivered / seconds, posts / seconds);
    if (load.one_at_a_time) {
        samples_print(&rounds, "last_client_ms");
        printf(", ");
    }
    if (!load.only_answers && !load.away) {
        samples_print(&tally.latency, "latency_ms");
        printf(", ");
    }
    samples_print(&answers, "answer_ms");
    printf(", \"lost\": %llu, \"repeated\": %llu, \"generator_busy\": %.3f}\n",
           (unsigned long long)(load.away ? 0 : tally.expected - tally.delivered), (unsigned long long)tally.repeated,
           busy_s / seconds);
}

void load_run(struct load what)
{
    if (!tally_clean()) /* something came after the load before this one had ended */
        explain_and_fail();
    load = what;
    if (!client_count && !load.only_answers && !load.away)
        fail(2, "%s: no client is open", load.name);
    if (load.away) {
        if (!clients_away())
            fail(2, "%s: no client has left with its token", load.name);
        if (load.entries * load.connections > clients_away())
            fail(2, "%s: more in flight than clients: their order would not be promised", load.name);
        free(posted_to);
        posted_to = calloc(clients_away(), sizeof *posted_to);
        if (!posted_to)
            fail(2, "out of memory");
    }
    unsigned most = load.broadcast ? MAX_STREAMS : MAX_CONNECTIONS;
    if (load.connections > most)
        fail(2, "%s: at most %u connections", load.name, most);
    if (!load.broadcast && !load.only_answers && !load.away) {
        /* No token twice in one post, and none in two posts at once: their order would not be promised. */
        if (load.connections > client_count)
            load.connections = client_count;
        if (load.entries > client_count / load.connections)
            load.entries = client_count / load.connections;
    }
    posted = posts = answered = 0;
    memset(posted_on, 0, sizeof posted_on);
    memset(turn_of, 0, sizeof turn_of);
    poster_answered = got_answer;
    tally_begin();
    posters_open(load.connections);
    double cpu_before_s = cpu_s();
    began_ns = now_ns();
    publish_all();
    double busy_s = cpu_s() - cpu_before_s;
    serve_for_ms(SETTLE_MS);
    posters_close();
    if (!load.away && !tally_clean())
        explain_and_fail();
    report(busy_s);
}

static bool collected(void)
{
    return tally.delivered >= tally.expected;
}

void load_collect(void)
{
    if (!serve_until(collected))
        explain_and_fail();
    serve_for_ms(SETTLE_MS);
    if (!tally_clean())
        explain_and_fail();
    double seconds = (double)(tally.last_ns - clients_open_began_ns()) / 1e9;
    printf("{\"step\": \"collect\", \"clients\": %u, \"deliveries\": %llu, \"seconds\": %.4f, "
           "\"deliveries_per_s\": %.0f, \"generator_busy\": 0}\n",
           client_count, (unsigned long long)tally.delivered, seconds, (double)tally.delivered / seconds);
}
