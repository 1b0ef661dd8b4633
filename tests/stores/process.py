"""Run as a process of its own by test_database.py: registers tokens, and tells of each once it is on disk.

python -m tests.stores.process kill PATH         without end, until it is killed
python -m tests.stores.process full PATH BYTES   while no file may grow beyond BYTES, then again with room
python -m tests.stores.process hang PATH         closes while its reader never comes back from the disk, and ends
"""

import resource
import sys
import threading
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock

from push.stores.sqlite.database import CLOSE_TIMEOUT_S, Database
from push.stores.sqlite.tokens import TokenStore
from tests.stores.threads import Loop, real_threads

IN_FLIGHT = 50


def register(store: TokenStore, prefix: str) -> Deferred[object]:
    """Submit some tokens together, and tell of each."""

    def tell(token: str, result: object) -> None:
        print(token, "stored" if not hasattr(result, "type") else result.type.__name__, flush=True)

    calls = []
    for number in range(IN_FLIGHT):
        token = f"{prefix}-{number}"
        call = store.register(token, "alice", None, ("tag",), 1, owner_only=True)
        calls.append(call.addBoth(lambda result, token=token: tell(token, result)))
    return DeferredList(calls)


def main(what: str, path: str, limit_bytes: str = "0") -> None:
    """See above."""
    loop = Loop()
    clock = Clock()
    database = Database(Path(path), thread_pool=real_threads, call_from_thread=loop.call_from_thread, clock=clock)
    store = TokenStore(database)
    database.open()
    if what == "kill":
        round_number = 0
        while True:
            loop.wait(register(store, str(round_number)))
            round_number += 1
    loop.wait(register(store, "before"))
    if what == "hang":
        database.read(lambda connection: threading.Event().wait())
        loop.run()  # it has begun
        closed = database.close()
        clock.advance(CLOSE_TIMEOUT_S)
        loop.wait(closed)
        print("closed", flush=True)
        return
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), hard))
    loop.wait(register(store, "full"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    loop.wait(register(store, "after"))
    loop.wait(database.close())


if __name__ == "__main__":
    main(*sys.argv[1:])
