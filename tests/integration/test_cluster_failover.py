"""Redis fails over to its replica by Sentinel under load: what was accepted is in the replica, and nothing is lost.

Here it happens once; PUSH_FAULT_KILLS says how many faults there are to be in all, of which a fifth are failovers.
"""

import contextlib

from tests.integration.faults import FAULTS, ClusterFaultCase, Faulty
from tests.integration.waiting import wait_until
from tests.redis_server import RedisServer
from tests.redis_watched import PASSWORD, WatchedRedis

KINDS = {"connector": ("connector", 2), "core": ("router,subscribe,cache,api", 2)}
FAILOVERS = max(1, FAULTS // 5)


class FailoverTests(ClusterFaultCase):
    """A master and a replica that Sentinels watch."""

    def test_a_master_that_is_killed_or_frozen_is_replaced_and_nothing_is_lost(self) -> None:
        redis = WatchedRedis("--appendonly", "yes", "--appendfsync", "always", wants="replicas=1")
        with self.running(KINDS, redis=redis) as of, self.loaded(of, (of.api, ["--broadcasts=2"])):
            for number in range(FAILOVERS):
                self.fail_over(of, redis, is_killed=number % 2 == 0)

    def fail_over(self, of: Faulty, redis: WatchedRedis, *, is_killed: bool) -> None:
        """Let the master die, or stand still; it comes back as a replica."""
        wait_until("there is a replica", redis.has_replica)
        master = redis.master
        if is_killed:
            master.kill()
        else:
            master.freeze()
        wait_until("there is another master", lambda: redis.master is not master)
        of.progress()
        if is_killed:
            master.start()
        else:
            master.thaw()
        wait_until("it follows the other one", lambda: self.follows(master))
        of.progress()

    def follows(self, server: RedisServer) -> bool:
        """Whether a server is a replica by now; it sends everybody away in the moment when it becomes one."""
        with contextlib.suppress(OSError):
            return b"role:slave" in server.command(f"AUTH {PASSWORD}\r\nINFO", "replication", answers=2)
        return False
