/* Clients that open a session and then read nothing, until they are told to look at what has become of them. */
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* Far from the numbers of the others. */
enum { FIRST_INDEX = 0x40000000, IN_FLIGHT = 64 };
enum { SLOW_CONSUMER = 3003, OVERLOAD = 3004 };

static struct client **stalled;
static unsigned wanted, begun, open_count;
static unsigned slow, overload, other_codes, ended_in_order, reset, gone;
static unsigned long long messages, wrong;

static void connect_next(unsigned receive_bytes)
{
    stalled[begun] = client_connect(FIRST_INDEX + begun, CLIENT_STALLED, receive_bytes);
    begun++;
}

static bool all_begun_are_open(void)
{
    return open_count == begun;
}

void stalled_opened(struct client *client)
{
    open_count++;
    unwatch(&client->source);
}

void stalled_open(unsigned count, unsigned receive_bytes)
{
    if (stalled)
        fail(2, "stall: the last ones are not drained");
    stalled = calloc(count, sizeof(struct client *));
    if (!stalled)
        fail(2, "out of memory");
    begun = open_count = slow = overload = other_codes = ended_in_order = reset = gone = 0;
    messages = wrong = 0;
    for (wanted = count; begun < wanted;) {
        for (unsigned i = 0; i < IN_FLIGHT && begun < wanted; i++)
            connect_next(receive_bytes);
        if (!serve_until(all_begun_are_open))
            fail(2, "stall: only %u of %u sessions are open, and nothing happens any more", open_count, wanted);
    }
    printf("{\"step\": \"stall\", \"clients\": %u}\n", count);
}

/* Of a load that has ended: nothing may be missing before the end, and nothing come twice. */
void stalled_got(struct client *client, unsigned stream, uint32_t number)
{
    messages++;
    if (number != client->next[stream])
        wrong++;
    client->next[stream] = number + 1;
}

void stalled_dismissed(struct client *client, unsigned code)
{
    (void)client;
    slow += code == SLOW_CONSUMER;
    overload += code == OVERLOAD;
    other_codes += code != SLOW_CONSUMER && code != OVERLOAD;
}

void stalled_ended(struct client *client, int error)
{
    unwatch(&client->source);
    gone++;
    reset += error != 0;
    ended_in_order += error == 0;
    progress();
}

void stalled_drain(unsigned seconds)
{
    if (!stalled)
        fail(2, "drain: no client is stalled");
    for (unsigned i = 0; i < begun; i++)
        watch(&stalled[i]->source, EPOLLIN | EPOLLRDHUP);
    for (uint64_t until_ns = now_ns() + seconds * 1000000000ull; gone < begun && now_ns() < until_ns;)
        serve_for_ms(10);
    printf("{\"step\": \"drain\", \"clients\": %u, \"slow_consumer\": %u, \"overload\": %u, \"other_codes\": %u, "
           "\"ended_in_order\": %u, \"reset\": %u, \"still_open\": %u, \"messages\": %llu, \"wrong\": %llu}\n",
           begun, slow, overload, other_codes, ended_in_order, reset, begun - gone, messages, wrong);
    if (wrong)
        fail(1, "drain: %llu messages out of order or twice", wrong);
    for (unsigned i = 0; i < begun; i++)
        client_free(stalled[i], false);
    free(stalled);
    stalled = NULL;
}
