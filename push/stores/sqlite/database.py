"""One SQLite file, two threads: one commits writes in groups, one reads. The reactor never waits for a disk.

What is submitted while a commit is in flight goes into the next one together, so the disk's sync is paid once
for all of them. Writes reach SQLite as lists too: each call of SQLite lets go of Python's lock, and getting it
back from a busy reactor takes up to 5 ms (measured 2026-11-23: 300 rows/s row by row, 3,000 as lists; 70,000
beside an idle reactor). Knows no table: those are in schema.py, and the stores of this package use them.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import Unavailable
from push.ihealth import IMeasured
from push.model_health import Sample
from push.stores.sqlite.directory import DataDirectory
from push.stores.sqlite.ends import Apply, Query, Reader, Write, Writer
from push.stores.sqlite.lanes import Lane, Threads
from push.stores.sqlite.schema import MIGRATIONS, open_for_reading, open_for_writing

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WAITING = 20_000
# What the reactor is told of in one turn: larger groups gain little more (measured 2026-11-23).
MAX_BATCH = 256
# How long the end may take. A disk that works writes all that can wait in a second or two; one that hangs, or a file
# that another program has locked, must not keep the server from stopping: a supervisor would kill it in the end.
CLOSE_TIMEOUT_S = 15.0


class _Ends(NamedTuple):
    """What is there while the database is open."""

    writer: Writer
    writes: Lane[Write]
    reader: Reader
    reads: Lane[Query[Any]]


@implementer(IMeasured)
class Database:
    """The file, its directory and its threads, between `open` and the end of `close`.

    Args:
        path: of the file; its directory is made, and locked against other processes.
        thread_pool: makes a pool of one thread with a name; called by `open`, as twistd forks before that.
        call_from_thread: the reactor's callFromThread.
        clock: limits how long `close` takes.
        max_waiting: how many writes, and how many reads, may wait.
        max_batch: how many writes a transaction may have: what the first of them may have to wait for.
        migrations: how the tables come to be; see schema.py.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        *,
        thread_pool: Callable[[str], Threads],
        call_from_thread: Callable[..., object],
        clock: IReactorTime,
        max_waiting: int = MAX_WAITING,
        max_batch: int = MAX_BATCH,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self.path = path
        self._directory = DataDirectory(path.parent)
        self._thread_pool = thread_pool
        self._call_from_thread = call_from_thread
        self._clock = clock
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._migrations = migrations
        self._loaders: list[Callable[[sqlite3.Connection], object]] = []
        self._ends: _Ends | None = None
        self._closing: list[Deferred[None]] = []
        self._written = 0

    def on_open(self, load: Callable[[sqlite3.Connection], object]) -> None:
        """Have something read when the file is opened, before anything can be written."""
        self._loaders.append(load)

    def open(self) -> None:
        """Open the file and start the threads. Blocks: call it before anything is served.

        Raises:
            StartError: says what is wrong with the file or its directory, and what to do.
        """
        if self._ends is not None:
            raise RuntimeError("the database is open")
        with ExitStack() as undo:
            self._directory.acquire()
            undo.callback(self._directory.release)
            writing = undo.enter_context(closing(open_for_writing(self.path, self._migrations)))
            for load in self._loaders:
                load(writing)
            reading = undo.enter_context(closing(open_for_reading(self.path)))
            writer = Writer(writing, self._report_later)
            reader = Reader(reading)
            self._ends = _Ends(
                writer, self._lane("push-store-writer", writer.run), reader, self._lane("push-store-reader", reader.run)
            )
            undo.pop_all()

    def write(self, apply: Apply[Item, Result], item: Item) -> Deferred[Result]:
        """Write something. In the order of these calls.

        Args:
            apply: called in the writer's thread, inside a transaction, with this item and those of neighbouring
                calls with an equal `apply`. It returns a result for each, or a PushError where it refuses one and
                has written nothing for it. It may be called again after a rollback, so it must not
                change anything but the tables. Few statements for many items, please: see above.
            item: whatever `apply` understands.

        Returns:
            Its result, once that is on disk.

        Raises:
            Unavailable: the disk is full or fails, too many writes wait, or the database is closed. Nothing
                was stored.
        """
        if self._ends is None or self._closing:
            return fail(Unavailable("the store is closed"))
        self._written += 1
        return self._ends.writes.submit(Write(apply, item))

    def read(self, query: Query[Result]) -> Deferred[Result]:
        """Read something, as of the last commit or a later one.

        Args:
            query: called in the reader's thread.

        Raises:
            Unavailable: the disk fails, too many reads wait, or the database is closed.
        """
        if self._ends is None or self._closing:
            return fail(Unavailable("the store is closed"))
        return self._ends.reads.submit(query)

    def close(self) -> Deferred[None]:
        """Refuse new work, finish what was accepted, and close the file clean.

        Returns:
            Fires when the threads have ended and the directory is free, at once if it is not open. Where that takes
            longer than CLOSE_TIMEOUT_S it fires then, and what was not begun is refused; the file is as a crash would
            leave it, and the directory stays locked while this process lives, or until the disk answers after all.
        """
        closed: Deferred[None] = Deferred()
        if self._ends is None:
            closed.callback(None)
            return closed
        closed.addTimeout(CLOSE_TIMEOUT_S, self._clock, onTimeoutCancel=self._give_up)
        self._closing.append(closed)
        if len(self._closing) == 1:
            Deferred.fromCoroutine(self._close(self._ends)).addErrback(
                lambda failure: self._log.failure("closing {path} failed", failure, path=str(self.path))
            ).addCallback(self._closed)
        return closed

    def samples(self) -> Iterable[Sample]:
        """How much is written and how it is grouped."""
        commits = 0 if self._ends is None else self._ends.writer.commits
        waiting = 0 if self._ends is None else self._ends.writes.waiting
        yield Sample("push_store_writes_total", "counter", "Writes given to the store.", self._written)
        yield Sample("push_store_commits_total", "counter", "Transactions that the store has committed.", commits)
        yield Sample("push_store_waiting_writes", "gauge", "Writes that wait for the next transaction.", waiting)

    def _lane(self, name: str, run: Callable[[Sequence[Any]], Sequence[Any]]) -> Lane[Any]:
        return Lane(
            self._thread_pool(name),
            self._call_from_thread,
            run,
            max_waiting=self._max_waiting,
            max_batch=self._max_batch,
        )

    async def _close(self, ends: _Ends) -> None:
        try:
            # The reader first: a log that somebody reads cannot be emptied.
            await ends.reads.finish(ends.reader.close)
        finally:
            await ends.writes.finish(ends.writer.close)

    def _give_up(self, *_: object) -> None:
        ends = self._ends
        if ends is None:
            return
        self._log.error(
            "{path} has not closed within {seconds:g} s, and is not waited for any longer: the disk hangs, or another "
            "program has locked the file. {count} writes that had not begun were refused; nothing that was confirmed "
            "is lost",
            path=str(self.path),
            seconds=CLOSE_TIMEOUT_S,
            count=ends.writes.waiting,
        )
        ends.reads.refuse()
        ends.writes.refuse()

    def _closed(self, _: None) -> None:
        self._ends = None
        self._directory.release()
        waiters, self._closing = self._closing, []
        for waiter in waiters:
            waiter.callback(None)

    def _report_later(self, trouble: str | None) -> None:
        self._call_from_thread(self._report, trouble)

    def _report(self, trouble: str | None) -> None:
        if trouble is None:
            self._log.info("{path} can be written again", path=str(self.path))
        else:
            self._log.critical("{path} cannot be written: {trouble}", path=str(self.path), trouble=trouble)
