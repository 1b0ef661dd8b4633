"""Each kind of node killed, frozen past its lease, and cut off; Redis killed and frozen: nothing is lost, all in order.

Here each of it happens once. PUSH_FAULT_KILLS says how many faults there are to be instead, PUSH_FAULT_SEED repeats the
choices of another run, PUSH_FAULT_ONLY names some, such as "kill router,freeze keeper"; `make faults-cluster`
makes 50.
"""

import sys
import time
from collections.abc import Sequence
from functools import partial

from tests.integration.cluster import Node
from tests.integration.faults import FAULTS, ONLY, ClusterFaultCase, Faulty
from tests.integration.waiting import wait_until
from tests.redis_server import RedisServer

Fault = partial[None]
KINDS = {"connector": ("connector", 3), "router": ("router", 2), "api": ("api", 2), "keeper": ("subscribe,cache", 2)}


class FaultTests(ClusterFaultCase):
    """One cluster of nine nodes, and one thing after the other done to it while messages are sent and clients hop."""

    def test_nothing_is_lost_and_all_is_in_order_whatever_dies_freezes_or_is_cut_off(self) -> None:
        loads = ["--broadcasts=2"], ["--retry", "--churn=1"]
        with self.running(KINDS) as of, self.loaded(of, *((of.api, load) for load in loads)):
            for number, fault in enumerate(self.chosen(of)):
                began_s = time.monotonic()
                fault()
                if FAULTS:
                    print(f"{number}: {_name(fault)}: {time.monotonic() - began_s:.1f} s", file=sys.stderr)

    def chosen(self, of: Faulty) -> Sequence[Fault]:
        """What is to happen, in this order."""
        some = [partial(act, of) for act in (self.kill_redis, self.freeze_redis, self.half_open)]
        many = [partial(act, of, *KINDS) for act in (self.kill, self.freeze)]
        each = [partial(act, of, kind) for act in (self.kill, self.freeze) for kind in KINDS]
        if FAULTS:
            every = [fault for fault in some + many + each if not ONLY or _name(fault) in ONLY]
            return self.chance.choices(every, k=FAULTS)
        every = some + many
        self.chance.shuffle(every)
        return every

    def victim(self, of: Faulty, kind: str) -> Node:
        """Who it is to be: of the keepers, the one at work. The others of its kind are there."""
        of.heal(*of.of(kind))
        if kind == "keeper":
            return wait_until("somebody holds the cache", of.cluster.cache_holder)
        return self.chance.choice(of.of(kind))

    def kill(self, of: Faulty, *kinds: str) -> None:
        """Kill -9 for one of each of these kinds; the others go on before they come back."""
        victims = [self.victim(of, kind) for kind in kinds]
        for victim in victims:
            victim.kill()
        of.progress()
        for victim in victims:
            victim.spawn()

    def freeze(self, of: Faulty, *kinds: str) -> None:
        """Stop one of each for longer than its lease, until others have its place; it goes on where it stood."""
        victims = [self.victim(of, kind) for kind in kinds]
        for victim in victims:
            victim.freeze()
        for victim in victims:
            wait_until("it counts as dead", lambda victim=victim: not of.cluster.counts(victim))
        if "keeper" in kinds:
            wait_until("another one holds the cache", lambda: of.cluster.cache_holder() not in (*victims, None))
        if "api" not in kinds:  # who has asked it waits for its answer
            of.progress()
        for victim in victims:
            victim.thaw()
        of.progress()

    def kill_redis(self, of: Faulty) -> None:
        """Kill -9, and started again with what is on its disk."""
        redis = of.cluster.redis
        assert isinstance(redis, RedisServer)
        redis.kill()
        self.wait_noticed(of)
        redis.start()
        of.progress()

    def freeze_redis(self, of: Faulty) -> None:
        """Stopped for longer than any lease."""
        redis = of.cluster.redis
        assert isinstance(redis, RedisServer)
        redis.freeze()
        self.wait_noticed(of)
        redis.thaw()
        of.progress()

    def half_open(self, of: Faulty) -> None:
        """The link of a connector with a router swallows everything, and neither is told that it is over."""
        of.heal()
        victim = self.chance.choice(of.of("connector"))
        wait_until("they are linked", lambda: of.relay.carries(victim.address))
        of.relay.swallow(victim.address)
        of.progress()
        of.relay.heal()
        wait_until("they are linked again", lambda: of.relay.carries(victim.address))
        of.progress()

    def wait_noticed(self, of: Faulty) -> None:
        """Wait until those who count as alive by a lease say that it is over."""
        for node in of.of("connector"):
            wait_until("it is not ready", lambda node=node: not node.is_ready())


def _name(fault: Fault) -> str:
    return " ".join((fault.func.__name__, *fault.args[1:]))
