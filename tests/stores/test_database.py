"""Tests of push.stores.sqlite.database, its lanes, its file and its directory."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from push.errors import InvalidRequest, StartError, Unavailable
from push.stores.sqlite.database import CLOSE_TIMEOUT_S, Database
from push.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS
from push.stores.sqlite.tokens import TokenStore
from tests.stores.threads import TIMEOUT_S, HeldThreads, ImmediateThreads, Loop, call_now, real_threads

TABLE = ((*MIGRATIONS[0], "CREATE TABLE numbers (number INTEGER PRIMARY KEY)"),)


def insert(connection, numbers):
    """Insert rows one by one; -1 is refused, and what is no number is a bug."""
    results = []
    for number in numbers:
        if number == -1:
            results.append(InvalidRequest("no negative numbers here"))
            continue
        connection.execute("INSERT INTO numbers VALUES (?)", (number + 0,))
        results.append(number)
    return results


def numbers_in(connection):
    """What is stored."""
    return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


class DatabaseCase(SynchronousTestCase):
    """With threads that a test lets go by hand."""

    max_waiting = 1_000
    max_batch = 100

    def setUp(self) -> None:
        self.pools: dict[str, HeldThreads] = {}
        self.path = Path(self.mktemp()) / "data" / "push.sqlite"
        self.clock = Clock()
        self.database = self.make(self.pool)
        self.database.open()
        self.addCleanup(self.finish)
        self.writer = self.pools["push-store-writer"]
        self.reader = self.pools["push-store-reader"]

    def pool(self, name):
        """Remember the pools by their names."""
        return self.pools.setdefault(name, HeldThreads())

    def make(self, thread_pool, **more):
        """A database on the file."""
        return Database(
            self.path,
            thread_pool=thread_pool,
            call_from_thread=call_now,
            clock=self.clock,
            max_waiting=self.max_waiting,
            max_batch=self.max_batch,
            migrations=more.get("migrations", TABLE),
        )

    def finish(self) -> None:
        """Close, whatever a test left."""
        closed = self.database.close()
        while self.writer.held or self.reader.held:
            self.reader.drain()
            self.writer.drain()
        self.successResultOf(closed)

    def stored(self):
        """What a reader sees."""
        result = self.database.read(numbers_in)
        self.reader.drain()
        return self.successResultOf(result)

    def sample(self, name):
        """One of the database's numbers."""
        return {sample.name: sample.value for sample in self.database.samples()}[name]


class GroupCommitTests(DatabaseCase):
    """Writes, and how they travel together."""

    def statements(self):
        """Have the transactions of the writer recorded."""
        statements: list[str] = []
        traced = self.database.write(lambda connection, _: [connection.set_trace_callback(statements.append)], None)
        self.writer.drain()
        self.successResultOf(traced)
        statements.clear()
        return statements

    def test_what_comes_while_a_commit_is_in_flight_goes_into_the_next_one_together(self) -> None:
        statements = self.statements()
        calls = [self.database.write(insert, number) for number in range(50)]
        self.assertEqual(self.sample("push_store_waiting_writes"), 49)
        self.writer.step()
        self.successResultOf(calls[0])
        for call in calls[1:]:
            self.assertNoResult(call)
        self.assertEqual(self.stored(), [0])
        self.writer.step()
        self.assertEqual([self.successResultOf(call) for call in calls[1:]], list(range(1, 50)))
        self.assertEqual(statements.count("COMMIT"), 2)
        self.assertEqual(self.stored(), list(range(50)))

    def test_group_is_bounded(self) -> None:
        statements = self.statements()
        calls = [self.database.write(insert, number) for number in range(250)]
        self.writer.drain()
        self.assertEqual(self.successResultOf(gatherResults(calls)), list(range(250)))
        self.assertEqual(statements.count("COMMIT"), 4)
        self.assertEqual(self.sample("push_store_commits_total"), 5)
        self.assertEqual(self.sample("push_store_writes_total"), 251)

    def test_what_a_result_brings_about_joins_the_next_group(self) -> None:
        calls = [self.database.write(insert, number) for number in range(2)]
        later: list[object] = []
        calls[0].addCallback(lambda _: later.append(self.database.write(insert, 2)))
        self.writer.step()
        self.writer.step()
        self.assertEqual(self.successResultOf(later[0]), 2)
        self.assertEqual(self.stored(), [0, 1, 2])

    def test_different_kinds_of_writes_keep_their_order_within_a_group(self) -> None:
        def clear(connection, items):
            return [connection.execute("DELETE FROM numbers").rowcount for _ in items]

        calls = [self.database.write(*write) for write in [(insert, 1), (insert, 2), (clear, None), (insert, 1)]]
        self.writer.drain()
        self.assertEqual(self.successResultOf(gatherResults(calls)), [1, 2, 2, 1])
        self.assertEqual(self.stored(), [1])

    def test_refused_write_fails_alone(self) -> None:
        calls = [self.database.write(insert, number) for number in (1, 12, -1, 14)]
        self.writer.drain()
        self.failureResultOf(calls.pop(2), InvalidRequest)
        self.assertEqual(self.successResultOf(gatherResults(calls)), [1, 12, 14])
        self.assertEqual(self.stored(), [1, 12, 14])

    def test_impossible_write_fails_alone_even_after_it_has_written(self) -> None:
        def write_and_stumble(connection, numbers):
            results = insert(connection, numbers)
            if 66 in numbers:
                raise ZeroDivisionError
            return results

        calls = [self.database.write(write_and_stumble, number) for number in [0, *range(60, 70)]]
        calls.append(self.database.write(insert, "text"))
        calls.append(self.database.write(insert, 60))
        calls.append(self.database.write(insert, 99))
        self.writer.drain()
        self.successResultOf(calls.pop())
        self.failureResultOf(calls.pop(), sqlite3.IntegrityError)
        self.failureResultOf(calls.pop(), TypeError)
        self.failureResultOf(calls.pop(7), ZeroDivisionError)
        self.successResultOf(gatherResults(calls))
        self.assertEqual(self.stored(), [0, 60, 61, 62, 63, 64, 65, 67, 68, 69, 99])

    def test_too_few_results_are_an_error_and_store_nothing(self) -> None:
        call = self.database.write(lambda connection, items: insert(connection, [5]) and [], None)
        self.writer.drain()
        self.failureResultOf(call, RuntimeError)
        self.assertEqual(self.stored(), [])

    def test_waiting_for_a_write_can_be_cancelled_and_disturbs_nobody(self) -> None:
        calls = [self.database.write(insert, number) for number in range(3)]
        calls[1].addErrback(lambda _: None)
        calls[1].cancel()
        self.writer.drain()
        self.successResultOf(calls[2])
        self.assertEqual(self.stored(), [0, 1, 2])

    def test_reads_do_not_wait_for_writes(self) -> None:
        self.database.write(insert, 1)
        self.assertEqual(self.stored(), [])
        self.writer.drain()
        self.assertEqual(self.stored(), [1])

    def test_reader_cannot_write(self) -> None:
        call = self.database.read(lambda connection: insert(connection, [1]))
        self.reader.drain()
        self.failureResultOf(call, Unavailable)

    def test_failing_read_fails_alone(self) -> None:
        calls = [self.database.read(query) for query in (numbers_in, lambda connection: 1 / 0, numbers_in)]
        self.reader.drain()
        self.successResultOf(calls[0])
        self.failureResultOf(calls[1], ZeroDivisionError)
        self.successResultOf(calls[2])


class BoundTests(DatabaseCase):
    """How much may wait."""

    max_waiting = 3

    def test_writes_and_reads_beyond_the_bound_are_refused_until_there_is_room(self) -> None:
        for submit, pool in (
            (lambda number: self.database.write(insert, number), self.writer),
            (lambda number: self.database.read(numbers_in), self.reader),
        ):
            calls = [submit(number) for number in range(5)]
            failure = self.failureResultOf(calls.pop(), Unavailable)
            self.assertEqual((failure.value.retry, failure.value.retry_after_s), ("backoff", 5.0))
            pool.drain()
            self.successResultOf(gatherResults(calls))
            call = submit(9)
            pool.drain()
            self.successResultOf(call)


class FullDiskTests(DatabaseCase):
    """The disk, or what stands for it."""

    def test_group_that_finds_no_room_fails_whole_and_the_next_one_works_when_there_is_room(self) -> None:
        def limit(connection, pages):
            return [connection.execute(f"PRAGMA max_page_count = {count}").fetchone()[0] for count in pages]

        def fill(connection, numbers):
            results = insert(connection, numbers)
            connection.execute("CREATE TABLE filler (bytes BLOB)")
            connection.execute("INSERT INTO filler VALUES (zeroblob(200000))")
            connection.execute("DROP TABLE filler")
            return results

        self.database.write(limit, 1)
        calls = [self.database.write(fill, number) for number in range(5)]
        self.writer.drain()
        for call in calls:
            failure = self.failureResultOf(call, Unavailable)
            self.assertIn("SQLITE_FULL", str(failure.value))
            self.assertEqual(failure.value.retry, "backoff")
        self.assertEqual(self.stored(), [])
        self.database.write(limit, 1_000_000)
        calls = [self.database.write(fill, number) for number in range(5)]
        self.writer.drain()
        self.successResultOf(gatherResults(calls))
        self.assertEqual(self.stored(), [0, 1, 2, 3, 4])

    def test_lock_held_by_another_program_is_a_passing_trouble(self) -> None:
        self.patch(sys.modules["push.stores.sqlite.schema"], "BUSY_TIMEOUT_S", 0.0)
        self.finish()
        self.pools.clear()
        self.database.open()
        self.writer, self.reader = self.pools["push-store-writer"], self.pools["push-store-reader"]
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        call = self.database.write(insert, 1)
        self.writer.drain()
        self.failureResultOf(call, Unavailable)
        other.execute("ROLLBACK")
        call = self.database.write(insert, 1)
        self.writer.drain()
        self.successResultOf(call)

    def test_file_that_may_not_grow_fails_the_group_that_needs_it_and_recovers(self) -> None:
        path = Path(self.mktemp()).absolute() / "push.sqlite"
        output = run_process("full", str(path), "40000")
        told = dict(line.split() for line in output.splitlines())
        self.assertEqual({told[f"before-{number}"] for number in range(50)}, {"stored"})
        self.assertEqual({told[f"full-{number}"] for number in range(50)}, {"Unavailable"})
        self.assertEqual({told[f"after-{number}"] for number in range(50)}, {"stored"})
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        found = {token for (token,) in connection.execute("SELECT token FROM tokens")}
        self.assertEqual(found, {token for token, outcome in told.items() if outcome == "stored"})
        self.assertEqual(connection.execute("PRAGMA integrity_check").fetchone(), ("ok",))


def command(*arguments: str) -> list[str]:
    """How to run process.py."""
    return [sys.executable, "-m", "tests.stores.process", *arguments]


def environment() -> dict[str, str]:
    """With this checkout on the path, wherever trial runs."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root}


def run_process(*arguments: str) -> str:
    """Run it to its end."""
    return subprocess.run(
        command(*arguments), env=environment(), check=True, timeout=TIMEOUT_S, capture_output=True, text=True
    ).stdout


class ProcessTests(SynchronousTestCase):
    """Real processes, real threads, a real file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / "push.sqlite"

    def kill_while_it_writes(self, least: int) -> set[str]:
        """Start one, kill it with SIGKILL in the middle of its work, and return what it had told of."""
        process = subprocess.Popen(
            command("kill", str(self.path)), env=environment(), stdout=subprocess.PIPE, text=True
        )
        try:
            told = [process.stdout.readline() for _ in range(least)]
        finally:
            process.kill()
        told += process.stdout.readlines()
        process.stdout.close()
        process.wait(TIMEOUT_S)
        return {line.split()[0] for line in told if line.endswith("stored\n")}

    def test_killed_process_loses_nothing_that_it_had_promised(self) -> None:
        told = self.kill_while_it_writes(1)
        told |= self.kill_while_it_writes(120)
        loop = Loop()
        database = Database(self.path, thread_pool=real_threads, call_from_thread=loop.call_from_thread, clock=Clock())
        store = TokenStore(database)
        database.open()
        try:
            self.assertGreaterEqual(len(told), 120)
            self.assertEqual(loop.wait(store.known(sorted(told))), told)
            self.assertEqual(store.count(), len(loop.wait(store.tokens_of(["alice"]))["alice"]))
        finally:
            loop.wait(database.close())

    def test_directory_in_use_is_refused_with_the_pid_until_that_process_is_gone(self) -> None:
        process = subprocess.Popen(
            command("kill", str(self.path)), env=environment(), stdout=subprocess.PIPE, text=True
        )
        try:
            process.stdout.readline()
            database = Database(
                self.path, thread_pool=lambda _: ImmediateThreads(), call_from_thread=call_now, clock=Clock()
            )
            error = self.assertRaises(StartError, database.open)
            self.assertIn(f"process {process.pid};", str(error))
            self.assertIn(str(self.path.parent), str(error))
        finally:
            process.kill()
            process.communicate(timeout=TIMEOUT_S)
        database.open()
        self.successResultOf(database.close())

    def test_real_threads_group_many_writes_and_leave_nothing_behind(self) -> None:
        loop = Loop()
        database = Database(self.path, thread_pool=real_threads, call_from_thread=loop.call_from_thread, clock=Clock())
        store = TokenStore(database)
        database.open()
        calls = [store.register(f"t{number}", None, None, None, 1, owner_only=False) for number in range(2_000)]
        read = store.get("t0")
        closed = database.close()
        loop.wait(gatherResults(calls))
        loop.wait(read)
        commits = {sample.name: sample.value for sample in database.samples()}["push_store_commits_total"]
        self.assertLessEqual(commits, 10)
        loop.wait(closed)
        self.assertEqual(sorted(file.name for file in self.path.parent.iterdir()), ["lock", "push.sqlite"])
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("SELECT count(*) FROM tokens").fetchone(), (2_000,))


class CloseTests(DatabaseCase):
    """The end."""

    def test_close_finishes_what_was_accepted_and_refuses_what_comes_after(self) -> None:
        writes = [self.database.write(insert, number) for number in range(3)]
        read = self.database.read(numbers_in)
        closed = [self.database.close(), self.database.close()]
        late = [self.database.write(insert, 9), self.database.read(numbers_in)]
        for call in late:
            self.failureResultOf(call, Unavailable)
        self.assertNoResult(closed[0])
        self.reader.drain()
        self.successResultOf(read)
        self.assertNoResult(closed[1])
        self.writer.drain()
        self.assertEqual(self.successResultOf(gatherResults(writes)), [0, 1, 2])
        for call in closed:
            self.successResultOf(call)
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        self.assertEqual(numbers_in(connection), [0, 1, 2])
        self.failureResultOf(self.database.write(insert, 9), Unavailable)

    def test_close_brings_everything_into_the_file_though_another_program_has_it_open(self) -> None:
        other = sqlite3.connect(self.path)
        self.addCleanup(other.close)
        self.database.write(insert, 1)
        self.writer.drain()
        self.assertEqual(numbers_in(other), [1])
        self.finish()
        self.assertEqual(self.path.with_name("push.sqlite-wal").stat().st_size, 0)

    def test_closed_database_frees_its_directory_and_can_be_opened_again(self) -> None:
        self.finish()
        self.pools.clear()
        self.database.open()
        self.writer, self.reader = self.pools["push-store-writer"], self.pools["push-store-reader"]
        self.assertEqual(self.stored(), [])

    def test_close_does_not_wait_for_ever_for_a_disk_that_hangs(self) -> None:
        begun = self.database.write(insert, 1)
        waiting = [self.database.write(insert, 2), self.database.read(numbers_in), self.database.read(numbers_in)]
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        closed = self.database.close()
        self.clock.advance(CLOSE_TIMEOUT_S - 0.1)
        self.assertNoResult(closed)
        self.clock.advance(0.1)
        self.successResultOf(closed)
        self.assertNoResult(begun)  # nobody knows what becomes of it
        self.failureResultOf(waiting[0], Unavailable)
        self.failureResultOf(waiting[2], Unavailable)
        (event,) = [event for event in events if "has not closed within" in event["log_format"]]
        self.assertEqual(event["count"], 1)
        self.assertRaises(StartError, self.make(self.pool).open)  # the thread may still write
        self.reader.drain()
        self.writer.drain()
        self.assertEqual(self.successResultOf(begun), 1)
        self.pools.clear()
        self.database.open()  # as it answered after all
        self.writer, self.reader = self.pools["push-store-writer"], self.pools["push-store-reader"]
        self.assertEqual(self.stored(), [1])

    def test_process_ends_though_a_thread_never_comes_back_from_the_disk(self) -> None:
        process = subprocess.run(
            command("hang", str(Path(self.mktemp()).absolute() / "push.sqlite")),
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        self.assertEqual(process.stdout.splitlines()[-1], "closed")

    def test_closing_what_is_not_open_is_no_work(self) -> None:
        self.successResultOf(self.make(self.pool).close())

    def test_no_thread_is_started_before_it_is_opened(self) -> None:
        started: list[str] = []
        self.make(started.append)
        self.assertEqual(started, [])

    def test_opening_twice_is_refused(self) -> None:
        self.assertRaises(RuntimeError, self.database.open)
        error = self.assertRaises(StartError, self.make(self.pool).open)
        self.assertIn(f"process {os.getpid()};", str(error))


class FileTests(SynchronousTestCase):
    """What is found at the path."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "deep" / "push.sqlite"

    def make(self, migrations=MIGRATIONS):
        """A database on the file."""
        return Database(
            self.path,
            thread_pool=lambda _: ImmediateThreads(),
            call_from_thread=call_now,
            clock=Clock(),
            migrations=migrations,
        )

    def open_and_close(self, migrations=MIGRATIONS) -> None:
        """One life."""
        database = self.make(migrations)
        database.open()
        self.successResultOf(database.close())

    def pragma(self, name):
        """Ask the file."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(f"PRAGMA {name}").fetchone()[0]
        finally:
            connection.close()

    def assert_refused(self, *words: str) -> None:
        """Opening says these words, names the file, and leaves the directory free."""
        for _ in range(2):
            error = self.assertRaises(StartError, self.make().open)
            for word in (str(self.path), *words):
                self.assertIn(word, str(error))

    def test_file_and_directory_are_for_their_owner_alone(self) -> None:
        previous = os.umask(0)
        self.addCleanup(os.umask, previous)
        database = self.make()
        database.open()
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        for file in self.path.parent.iterdir():
            self.assertEqual(file.stat().st_mode & 0o777, 0o600, file)
        self.successResultOf(database.close())

    def test_commits_are_synchronous_and_logged_ahead(self) -> None:
        database = self.make()
        database.open()
        ask = lambda connection, items: [  # noqa: E731
            connection.execute(f"PRAGMA {item}").fetchone()[0] for item in items
        ]
        found = [
            self.successResultOf(database.write(ask, name))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
        self.assertEqual(found, ["wal", 2, 1, 5000])
        self.successResultOf(database.close())
        self.assertEqual(self.pragma("application_id"), APPLICATION_ID)

    def test_migrations_run_once_each_and_in_order(self) -> None:
        self.open_and_close()
        more = (*MIGRATIONS, ("CREATE TABLE second (n)",), ("INSERT INTO second VALUES (3)",))
        self.open_and_close(more)
        self.open_and_close(more)
        self.assertEqual(self.pragma("user_version"), len(more))
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("SELECT n FROM second").fetchall(), [(3,)])

    def test_failed_migration_leaves_the_file_as_it_was(self) -> None:
        self.open_and_close()
        broken = (*MIGRATIONS, ("CREATE TABLE second (n)", "INSERT INTO nowhere VALUES (1)"))
        self.assertRaises(StartError, self.open_and_close, broken)
        self.assertEqual(self.pragma("user_version"), len(MIGRATIONS))
        self.open_and_close((*MIGRATIONS, ("CREATE TABLE second (n)",)))

    def test_newer_version_is_refused(self) -> None:
        self.open_and_close((*MIGRATIONS, ("CREATE TABLE second (n)",)))
        self.assert_refused("newer version")

    def test_file_of_another_application_is_refused_and_left_alone(self) -> None:
        self.path.parent.mkdir(parents=True)
        connection = sqlite3.connect(self.path)
        connection.execute("CREATE TABLE theirs (n)")
        connection.close()
        before = self.path.read_bytes()
        self.assert_refused("another application", "--data-dir")
        self.assertEqual(self.path.read_bytes(), before)

    def test_file_that_is_no_database_is_refused_and_left_alone(self) -> None:
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b"not a database at all, but long enough to be looked at\n" * 100)
        before = self.path.read_bytes()
        self.assert_refused("damaged", "backup")
        self.assertEqual(self.path.read_bytes(), before)

    def test_damaged_file_is_refused(self) -> None:
        database = self.make()
        store = TokenStore(database)
        database.open()
        for number in range(500):
            self.successResultOf(store.register(f"t{number}", "alice", None, ("a",), 1, owner_only=False))
        self.successResultOf(database.close())
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[:4096] + os.urandom(4096 * 4) + whole[4096 * 5 :])
        self.assert_refused("damaged")
        self.path.write_bytes(whole[: len(whole) // 2])
        self.assert_refused("damaged")
        self.path.write_bytes(whole)
        self.open_and_close()

    def test_path_that_cannot_be_used_is_refused(self) -> None:
        self.path.mkdir(parents=True)
        self.assert_refused("cannot open")
        self.path = self.path / "lock" / "push.sqlite"
        self.path.parent.write_text("a file where a directory should be")
        error = self.assertRaises(StartError, self.make().open)
        self.assertIn(str(self.path.parent), str(error))

    def test_path_with_odd_characters_is_used(self) -> None:
        self.path = self.path.parent / "a b%20?mode=rw#é" / "push.sqlite"
        database = self.make()
        store = TokenStore(database)
        database.open()
        self.successResultOf(store.register("t", None, None, None, 1, owner_only=False))
        self.assertEqual(self.successResultOf(store.known(["t"])), {"t"})
        self.successResultOf(database.close())
