/* Broadcasts and unicasts while some clients stay and others come and go, half of them with a RST.
 *
 * Those who stay must get everything. Those who pass get what is broadcast from some point on without a gap, and of what
 * is sent to them alone everything from the first on, as long as they stay; never anything that is for another.
 */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_INDEX = 0x20000000, MAX_PRESENT = 8192 };
/* Two connections broadcast, the third sends to single clients: every other one to a passing client. */
enum { BROADCASTERS = 2, BROADCASTS_A_POST = 10, UNICASTS_A_POST = 200 };

static struct client *present[MAX_PRESENT]; /* in the order of arrival: [gone, begun), modulo MAX_PRESENT */
static unsigned begun, gone;
static unsigned posts, answered, steady_turn, posted_on[BROADCASTERS];
static unsigned long long broadcasts, to_steady, to_passing;
static bool ending;

/* The next one from `*at` on that has a session; NULL where there is none. */
static struct client *passing_client(unsigned *at)
{
    while (*at < begun) {
        struct client *client = present[(*at)++ % MAX_PRESENT];
        if (client->state == CLIENT_OPEN)
            return client;
    }
    return NULL;
}

static void add_unicast(struct poster *poster, struct client *client, bool last)
{
    char payload[MAX_PAYLOAD_BYTES];
    payload_write(payload, UNICASTS, client->posted++, poster->posted_ns, client->index);
    poster_add(poster, client->token, payload, last);
}

static void post_unicasts(struct poster *poster)
{
    /* No token twice in one post: the order of its messages would not be promised. */
    unsigned entries = client_count < UNICASTS_A_POST ? client_count : UNICASTS_A_POST, at = gone;
    poster_begin(poster, entries);
    for (unsigned i = 0; i < entries; i++) {
        struct client *passing = i % 2 ? passing_client(&at) : NULL;
        to_passing += passing != NULL;
        to_steady += passing == NULL;
        tally.expected += passing == NULL;
        add_unicast(poster, passing ? passing : clients[steady_turn++ % client_count], i + 1 == entries);
    }
}

static void post_broadcasts(struct poster *poster)
{
    char payload[MAX_PAYLOAD_BYTES];
    poster_begin(poster, BROADCASTS_A_POST);
    for (unsigned i = 0; i < BROADCASTS_A_POST; i++) {
        payload_write(payload, poster->number, posted_on[poster->number]++, poster->posted_ns, 0);
        poster_add(poster, NULL, payload, i + 1 == BROADCASTS_A_POST);
    }
    broadcasts += BROADCASTS_A_POST;
    tally.expected += (uint64_t)BROADCASTS_A_POST * client_count;
}

static void post_next(struct poster *poster)
{
    poster->posted_ns = now_ns();
    if (poster->number < BROADCASTERS)
        post_broadcasts(poster);
    else
        post_unicasts(poster);
    posts++;
    poster_send(poster);
}

static void got_answer(struct poster *poster, const struct answer *answer, uint64_t at_ns)
{
    (void)at_ns;
    if (poster->number < BROADCASTERS && answer->sent < (uint64_t)poster->entries * client_count)
        fail(1, "churn: the server says that it sent %llu messages to %u steady clients and others",
             (unsigned long long)answer->sent, client_count);
    answered++;
    if (!ending)
        post_next(poster);
}

static bool quiet(void)
{
    return answered == posts && tally.delivered >= tally.expected;
}

/* Outside of the event loop, so that no event of a client that is freed is still to come. */
static void arrive_and_leave(uint64_t due, uint64_t life_ns)
{
    uint64_t at_ns = now_ns();
    for (; gone < begun; gone++) {
        struct client *client = present[gone % MAX_PRESENT];
        if (client->state != CLIENT_OPEN || at_ns - client->opened_ns < life_ns)
            break;
        client_free(client, gone % 2);
    }
    for (; begun < due && begun - gone < MAX_PRESENT; begun++)
        present[begun % MAX_PRESENT] = client_connect(FIRST_INDEX + begun, CLIENT_PASSING, 0);
}

static void report(double seconds, unsigned most_present, double busy_s)
{
    printf("{\"step\": \"churn\", \"clients\": %u, \"seconds\": %.3f, \"arrivals\": %u, \"arrivals_per_s\": %.0f, "
           "\"most_present\": %u, \"broadcasts\": %llu, \"unicasts_to_steady\": %llu, \"unicasts_to_passing\": %llu, "
           "\"deliveries\": %llu, \"deliveries_to_passing\": %llu, \"deliveries_per_s\": %.0f, ",
           client_count, seconds, begun, begun / seconds, most_present, broadcasts, to_steady, to_passing,
           (unsigned long long)tally.delivered, (unsigned long long)tally.passed,
           (double)(tally.delivered + tally.passed) / seconds);
    samples_print(&tally.latency, "latency_ms");
    printf(", \"lost\": %llu, \"repeated\": %llu, \"misdelivered\": %llu, \"generator_busy\": %.3f}\n",
           (unsigned long long)(tally.expected - tally.delivered), (unsigned long long)tally.repeated,
           (unsigned long long)tally.misdelivered, busy_s / seconds);
}

void churn_run(unsigned seconds, unsigned arrivals_per_s, unsigned life_ms)
{
    if (!client_count)
        fail(2, "churn: no client is open");
    begun = gone = posts = answered = steady_turn = 0;
    broadcasts = to_steady = to_passing = 0;
    memset(posted_on, 0, sizeof posted_on);
    ending = false;
    tally_begin();
    poster_answered = got_answer;
    posters_open(BROADCASTERS + 1);
    double cpu_before_s = cpu_s();
    uint64_t began_ns = now_ns(), length_ns = seconds * 1000000000ull;
    for (unsigned i = 0; i <= BROADCASTERS; i++)
        post_next(&posters[i]);
    unsigned most_present = 0;
    for (uint64_t passed_ns = 0; passed_ns < length_ns; passed_ns = now_ns() - began_ns) {
        arrive_and_leave(passed_ns * arrivals_per_s / 1000000000u, life_ms * 1000000ull);
        most_present = begun - gone > most_present ? begun - gone : most_present;
        serve_for_ms(1);
    }
    double took_s = (double)(now_ns() - began_ns) / 1e9, busy_s = cpu_s() - cpu_before_s;
    ending = true;
    if (!serve_until(quiet))
        tally_fail("churn");
    for (; gone < begun; gone++)
        client_free(present[gone % MAX_PRESENT], false);
    posters_close();
    if (!tally_clean())
        tally_fail("churn");
    report(took_s, most_present, busy_s);
}
