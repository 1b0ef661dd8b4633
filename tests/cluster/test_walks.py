"""The cluster keeps its promises, whatever happens: many short walks, each from its own seed."""

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.walk import walk

WALKS = 90
QUIET_WALKS = 20
EMPTYING_WALKS = 20


class ClusterWalks(SynchronousTestCase):
    """In one process, on simulated time."""

    def test_nothing_accepted_is_lost_overtaken_or_stuck(self) -> None:
        for seed in range(WALKS):
            walk(seed, self)

    def test_nothing_comes_twice_or_out_of_order_while_all_is_well(self) -> None:
        for seed in range(QUIET_WALKS):
            walk(seed, self, has_faults=False, steps=70)

    def test_all_recovers_though_redis_loses_everything(self) -> None:
        for seed in range(EMPTYING_WALKS):
            walk(seed, self, empties=True)
