"""Each kind of node killed, frozen past its lease, and cut off; Redis killed and frozen: nothing is lost, all in order.

Here each of it happens once. PUSH_FAULT_KILLS says how many faults there are to be instead, PUSH_FAULT_SEED repeats the
choices of another run, PUSH_FAULT_ONLY names some, such as "kill router,freeze keeper"; `make faults` makes 50.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from tests.integration.cluster import Node
from tests.integration.faults import FAULTS, ONLY, ClusterFaultCase, Faulty
from tests.integration.waiting import wait_until
from tests.redis_server import RedisServer

KINDS = {"connector": ("connector", 3), "router": ("router", 2), "api": ("api", 2), "keeper": ("subscribe,cache", 2)}


class FaultTests(ClusterFaultCase):
    """One cluster of nine nodes, and one thing after the other done to it while messages are sent and clients hop."""

    def test_nothing_is_lost_and_all_is_in_order_whatever_dies_freezes_or_is_cut_off(self) -> None:
        with (
            self.running(KINDS) as of,
            self.loaded(of, (of.api, ["--broadcasts=2"]), (of.api, ["--retry", "--churn=1"])),
        ):
            for number, fault in enumerate(self.chosen(of)):
                print(f"{number}: {fault.func.__name__} {fault.args[1:]}", file=sys.stderr)  # type: ignore[attr-defined]
                fault()

    def chosen(self, of: Faulty) -> Sequence[Callable[[], None]]:
        """What is to happen, in this order."""
        every = [partial(act, of, kind) for act in (self.kill, self.freeze) for kind in KINDS]
        every += [partial(act, of) for act in (self.kill_redis, self.freeze_redis)]
        if ONLY:
            every = [each for each in every if " ".join((each.func.__name__, *each.args[1:])) in ONLY]
        if FAULTS:
            return self.chance.choices(every, k=FAULTS)
        self.chance.shuffle(every)
        return every

    def victim(self, of: Faulty, kind: str) -> Node:
        """Who it is to be: of the keepers, the one at work. The others of its kind are there."""
        of.heal(*of.of(kind))
        if kind == "keeper":
            return wait_until("somebody holds the cache", of.cluster.cache_holder)
        return self.chance.choice(of.of(kind))

    def kill(self, of: Faulty, kind: str) -> None:
        """Kill -9; the others go on before it comes back."""
        victim = self.victim(of, kind)
        victim.kill()
        of.progress()
        victim.spawn()

    def freeze(self, of: Faulty, kind: str) -> None:
        """Stop it for longer than its lease, until others have taken its place; it goes on where it stood."""
        victim = self.victim(of, kind)
        victim.freeze()
        wait_until("it counts as dead", lambda: not of.cluster.counts(victim))
        if kind == "keeper":
            wait_until("another one holds the cache", lambda: of.cluster.cache_holder() not in (victim, None))
        if kind != "api":  # who has asked it waits for its answer
            of.progress()
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

    def wait_noticed(self, of: Faulty) -> None:
        """Wait until those who count as alive by a lease say that it is over."""
        for node in of.of("connector"):
            wait_until("it is not ready", lambda node=node: not node.is_ready())
