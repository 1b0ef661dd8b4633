"""docs/delivery.md, "States of a message at a token", walked through at random beside a model as plain as can be.

The model knows messages one by one for each token, and what a disk holds of them; it has no positions, rows or records.
"""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from push.model import OnFull, Options
from push.model_cache import CacheLimits, Cursor, Keep
from push.model_receipts import Event
from tests.services.cache.case import DISK_FULL, CacheCase

LIMIT = 3
NOT_YET = "nothing yet"
TOKENS = ("a", "b", "c")
MESSAGES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(TOKENS), min_size=1, max_size=3, unique=True),
        st.sampled_from(["", "", "k", "j"]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([False, False, True]),
        st.sampled_from([1, 2, 50]),
    ),
    min_size=1,
    max_size=3,
)


@dataclass(eq=False)
class One:
    """A message for one token."""

    message_id: int
    token: str
    key: str
    is_high: bool
    drops_oldest: bool
    is_ahead: bool
    expires_s: int
    is_on_disk: bool = False


@dataclass(eq=False)
class Asked:
    """A ticket: what it still waits for, and what it must be answered."""

    deferred: Deferred
    waits_for: set[One]
    answers: list[object] = field(default_factory=list)
    expected: object = NOT_YET


class Harness(CacheCase):
    """The case's tools, without being a test."""

    limits = CacheLimits(max_cached_messages_per_token=LIMIT)

    def runTest(self) -> None:
        """Not run."""


class Model:
    """What should be."""

    def __init__(self) -> None:
        self.live: list[One] = []
        self.staged: list[One] = []
        self.flying: list[One] = []
        self.is_flying = False
        self.victims: list[tuple[One, Event]] = []
        self.removals: list[One] = []
        self.flying_removals: list[One] = []
        self.durable: list[One] = []
        self.asked: list[Asked] = []
        self.flying_asked: list[Asked] = []
        self.events: Counter = Counter()
        self.now_s = 0

    def of(self, token: str) -> list[One]:
        """What a token has, in order."""
        return [one for one in self.live if one.token == token]

    def keep(self, one: One) -> One | None:
        """Keep it. Returns what has been kept: an earlier one, where it is the same; None where it is refused."""
        there = self.of(one.token)
        for each in there:
            if each.message_id == one.message_id:
                return each
        count = len([each for each in there if not (one.key and each.key == one.key)])
        if count >= LIMIT and not one.drops_oldest:
            return None
        self.live.append(one)
        self.staged.append(one)
        return one

    def end(self, one: One, event: Event) -> None:
        """It is over."""
        self.live.remove(one)
        self.events[event, one.message_id, one.token] += 1
        if one in self.staged:
            self.staged.remove(one)
        elif one in self.flying or one.is_on_disk:
            self.removals.append(one)
        for asked in self.asked + self.flying_asked:
            if one in asked.waits_for:
                asked.waits_for.remove(one)
                if not asked.waits_for and asked.expected == NOT_YET:
                    asked.expected = None

    def has_it(self, one: One, event: Event) -> None:
        """It was acknowledged or handed over: older ones with its key are of no use."""
        older = [each for each in self.of(one.token) if one.key and each.key == one.key]
        for each in older[: older.index(one)] if older else ():
            self.end(each, Event.REPLACED)
        self.end(one, event)

    def close(self) -> None:
        """A transaction begins."""
        self.is_flying = True
        self.flying, self.staged = self.staged, []
        self.flying_removals, self.removals = self.removals, []
        self.flying_asked, self.asked = self.asked, []
        self.victims = []
        for token in TOKENS:
            there = self.of(token)
            newest = {one.key: one for one in there if one.key}
            replaced = [one for one in there if one.key and newest[one.key] is not one]
            left = [one for one in there if one not in replaced]
            dropped = left[: max(0, len(left) - LIMIT)]
            self.victims += [(one, Event.REPLACED) for one in replaced]
            self.victims += [(one, Event.DROPPED) for one in dropped]

    def write(self) -> None:
        """What it changes on disk."""
        gone = {id(one) for one, _ in self.victims}
        self.durable = [
            one for one in self.durable + self.flying if one not in self.flying_removals and id(one) not in gone
        ]

    def succeeded(self) -> None:
        """It has succeeded."""
        self.write()
        self.is_flying = False
        for asked in self.flying_asked:
            if asked.expected == NOT_YET:
                asked.expected = None
        for asked in self.asked:  # the same message again, kept while the first was in flight
            if asked.expected == NOT_YET:
                asked.waits_for.difference_update(self.flying)
                asked.expected = NOT_YET if asked.waits_for else None
        for one in self.flying:
            one.is_on_disk = True
        for one, event in self.victims:
            if one in self.live:
                self.live.remove(one)
                self.events[event, one.message_id, one.token] += 1
        for one in self.flying:
            if one in self.live:
                self.events[Event.CACHED, one.message_id, one.token] += 1
        self.flying, self.flying_removals, self.victims, self.flying_asked = [], [], [], []

    def failed(self) -> None:
        """It has failed."""
        self.is_flying = False
        self.live = [one for one in self.live if one not in self.flying]
        self.removals = self.flying_removals + [one for one in self.removals if one not in self.flying]
        for asked in self.flying_asked:
            if asked.expected == NOT_YET:
                asked.expected = DISK_FULL
        for asked in self.asked:  # as above
            if asked.waits_for & set(self.flying) and asked.expected == NOT_YET:
                asked.expected = DISK_FULL
        self.flying, self.flying_removals, self.victims, self.flying_asked = [], [], [], []

    def crash(self, *, is_written: bool) -> None:
        """Memory is gone; the disk has what was being written, or not."""
        if self.is_flying and is_written:
            self.write()
        self.is_flying = False
        self.live = list(self.durable)
        for one in self.live:
            one.is_on_disk = True
        self.staged, self.flying, self.removals, self.flying_removals, self.victims = [], [], [], [], []
        self.asked, self.flying_asked = [], []

    def seconds_passed(self) -> None:
        """A second is over: what expired before it is gone, if it is on disk."""
        self.now_s += 1
        for one in tuple(self.live):
            if one.is_on_disk and one.expires_s < self.now_s:
                self.end(one, Event.EXPIRED)

    def visible(self, token: str) -> tuple[list[int], bool]:
        """What a session gets, and whether it then waits for the disk."""
        there = [one for one in self.of(token) if one.expires_s > self.now_s]
        ids = []
        for one in sorted(there, key=lambda each: not each.is_high):
            if one.is_ahead and not one.is_on_disk:
                return ids, True
            ids.append(one.message_id)
        return ids, False


class States(RuleBasedStateMachine):
    """Every step at any time."""

    @initialize()
    def begin(self) -> None:
        """A new server on a new disk."""
        self.case = Harness()
        self.case.setUp()
        self.case.disk.is_held = True
        self.model = Model()
        self.everything: list[Asked] = []
        self.kept: list[Keep] = []

    @rule(messages=MESSAGES)
    def keep(self, messages: list) -> None:
        """Messages are accepted."""
        batch = []
        for tokens, key, is_high, drops_oldest, is_ahead, ttl_s in messages:
            self.case.next_id += 1
            options = Options(
                is_high=is_high,
                collapse_key=key,
                on_full=OnFull.DROP_OLDEST if drops_oldest else OnFull.REJECT,
            )
            if options == Options():
                options = Keep(0, b"", (), 0).options
            expires_ms = self.case.now_ms() + ttl_s * 1000
            batch.append(Keep(self.case.next_id, b"x", tokens, expires_ms, options, None, is_ahead))
        self.give(batch)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def keep_again(self, data: st.DataObject) -> None:
        """A message is accepted once more, for some of its tokens or for others."""
        message = data.draw(st.sampled_from(self.kept))
        tokens = data.draw(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=2, unique=True))
        self.give([Keep(message.message_id, b"x", tokens, message.expires_ms, message.options, None, message.is_ahead)])

    def give(self, batch: list[Keep]) -> None:
        """To the cache and to the model."""
        refused: dict[int, list[str]] = {}
        waits_for: set[One] = set()
        for number, message in enumerate(batch):
            for token in message.tokens:
                options = message.options
                one = One(
                    message.message_id,
                    token,
                    options.collapse_key,
                    options.is_high,
                    options.on_full is OnFull.DROP_OLDEST,
                    message.is_ahead,
                    (message.expires_ms - self.case.now_ms()) // 1000 + self.model.now_s,
                )
                there = self.model.keep(one)
                if there is None:
                    refused.setdefault(number, []).append(token)
                elif not there.is_on_disk:
                    waits_for.add(there)
        keeping = self.case.keep(*batch)
        assert {key: list(tokens) for key, tokens in keeping.refused.items()} == refused
        asked = Asked(self.case.begin(self.case.cache.committed(keeping.ticket)), waits_for)
        if not waits_for:
            asked.expected = None
        asked.deferred.addBoth(asked.answers.append)
        self.model.asked.append(asked)
        self.everything.append(asked)
        self.kept = (self.kept + batch)[-5:]

    @rule()
    def turn(self) -> None:
        """The next turn of the reactor."""
        was_flying = bool(self.case.disk.held)
        self.case.turn()
        if self.case.disk.held and not was_flying:
            self.model.close()

    @rule()
    def second(self) -> None:
        """A second passes; nothing waits longer than that, unless a transaction is under way."""
        was_flying = bool(self.case.disk.held)
        # What was wanted before goes first if its turn comes first: so let it.
        self.turn()
        was_flying = was_flying or bool(self.case.disk.held)
        self.model.seconds_passed()
        self.case.clock.advance(1)
        if self.case.disk.held and not was_flying:
            self.model.close()
        assert self.case.disk.held or not (self.model.staged or self.model.removals)

    @precondition(lambda self: self.case.disk.held)
    @rule()
    def commit_succeeds(self) -> None:
        """The transaction is on disk."""
        self.model.succeeded()
        self.case.disk.step()

    @precondition(lambda self: self.case.disk.held)
    @rule()
    def commit_fails(self) -> None:
        """It is not."""
        self.model.failed()
        self.case.disk.step(DISK_FULL)

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), is_acknowledged=st.booleans())
    def ends(self, data: st.DataObject, is_acknowledged: bool) -> None:
        """A client has messages."""
        ones = data.draw(st.lists(st.sampled_from(self.model.live), min_size=1, max_size=3, unique_by=id))
        event = Event.DELIVERED if is_acknowledged else Event.SENT
        for one in ones:
            if one in self.model.live:  # not replaced by one before
                self.model.has_it(one, event)
        batch = [(one.token, [one.message_id]) for one in ones]
        self.case.now(self.case.cache.acknowledged(batch) if is_acknowledged else self.case.cache.handed(batch))

    @rule(token=st.sampled_from(TOKENS), number=st.integers(0, 3))
    def acknowledges_what_is_not_kept(self, token: str, number: int) -> None:
        """A client has seen an id that nobody keeps for it."""
        message_id = self.case.next_id - number
        if all(one.message_id != message_id for one in self.model.of(token)):
            self.case.ack(message_id, token=token)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A sender takes a message back."""
        message_id = data.draw(st.sampled_from(self.kept)).message_id
        ended = [one for one in self.model.live if one.message_id == message_id]
        is_on_disk = any(one not in self.model.staged for one in ended)
        for one in ended:
            self.model.end(one, Event.CANCELLED)
        cancelled = self.case.begin(self.case.cache.cancel(message_id))
        cancelled.addErrback(lambda failure: failure.trap(type(DISK_FULL)))
        if not is_on_disk:
            assert self.case.successResultOf(cancelled) == len(ended)

    @rule(token=st.sampled_from(TOKENS))
    def forget(self, token: str) -> None:
        """A token is revoked."""
        for one in self.model.of(token):
            self.model.end(one, Event.CANCELLED)
        self.case.begin(self.case.cache.forget(token)).addErrback(lambda failure: failure.trap(type(DISK_FULL)))

    @rule(is_written=st.booleans())
    def crash(self, is_written: bool) -> None:
        """The process is killed; what is on its way to disk may still arrive there."""
        disk = self.case.disk
        self.model.crash(is_written=is_written)
        self.everything.clear()
        if is_written:
            for changes, _ in disk.held:
                disk._apply(changes)
        self.case.crash()
        disk.is_held = True

    @invariant()
    def nothing_is_said_that_is_not_so(self) -> None:
        """Tickets, counts and receipts."""
        if not hasattr(self, "case"):
            return
        for asked in self.everything:
            expected = [] if asked.expected == NOT_YET else [asked.expected]
            assert asked.answers == expected, (asked.answers, expected)
        assert Counter(self.case.told.events) == self.model.events
        assert self.case.samples()["push_cache_messages",] == len(self.model.live)

    @invariant()
    def disk_has_what_it_should(self) -> None:
        """Rows, without those who are done."""
        if not hasattr(self, "case"):
            return
        disk = self.case.disk
        assert disk.orphans() == set()
        pairs = Counter(
            (row.message_id, token)
            for row in disk.rows.values()
            for token in row.tokens
            if (row.position, token) not in disk.done_rows
        )
        assert pairs == Counter((one.message_id, one.token) for one in self.model.durable)

    @invariant()
    def sessions_get_what_is_kept_in_order(self) -> None:
        """Page by page."""
        if not hasattr(self, "case"):
            return
        for token in TOKENS:
            expected, waits = self.model.visible(token)
            assert self.case.cache.has(token) == bool(self.model.of(token))
            cursor, ids, has_more = Cursor(), [], True
            while has_more:
                pulled = self.case.begin(self.case.cache.pull(self.case.session(token), cursor, 2, 1_000))
                if not pulled.called:
                    pulled.addErrback(_ignored)
                    pulled.cancel()
                    break
                page = self.case.successResultOf(pulled)
                ids += [message.message_id for message in page.messages]
                cursor, has_more = page.cursor, page.has_more
            assert (ids, has_more) == (expected, waits), (token, ids, has_more, expected, waits)

    def teardown(self) -> None:
        """In the end everything can be acknowledged, and nothing is left."""
        if not hasattr(self, "case"):
            return
        self.case.disk.is_held = False
        while self.case.disk.held:
            self.case.disk.step()
            self.case.turn()
        self.case.turn()
        for token in TOKENS:
            self.case.ack(*[record.message_id for record in self.case.cache._held.index.of(token)], token=token)
        self.case.assert_empty()


def _ignored(failure: Failure) -> None:
    """It was cancelled."""


class StatesTests(SynchronousTestCase):
    """The state machine."""

    def test_every_interleaving_agrees_with_the_model(self) -> None:
        machine = States.TestCase()
        machine.settings = settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        machine.runTest()
