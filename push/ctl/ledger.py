"""The books of `pushctl verify`: what was sent, what the server said of it, what arrived, and what that proves.

Pure bookkeeping: no clock, no socket, no task; times are given. It keeps every message to the end, about 400 bytes
each, as a late second copy must be told from a first one.

A message is for one token and has a number there, 0, 1, 2 … in the order of sending; who sends to a token waits for
each answer before sending the next, so the numbers of accepted messages are their order of acceptance. What is for
everybody is a message for each token, in an order of its own: it has an account beside the token's. Ids grow with each
node that gives them out; those of two routers of a cluster say nothing of one another (docs/delivery.md).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum

from push.ctl.report import Item, Report

# In the place of a receiver's number.
EVERYBODY = -1

# Of an id: what says which node gave it out (docs/protocol.md).
_NODE_SHIFT, _NODE_MASK = 12, 1_023

_PAYLOAD = re.compile(rb"verify ([0-9a-f]{1,16}) (-1|[0-9]{1,9}) ([0-9]{1,9}) *\Z")


class Answer(Enum):
    """What the server said to a message."""

    NONE = "none"  # nothing yet, or the connection died: it may or may not have been accepted
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Entry:
    """One message for one token.

    Attributes:
        answer: what the server said.
        message_id: the id in its answer, 0 without one.
        answered_s: when it said so.
        arrived_id: the id with which the application got it first, 0 before that.
        copies: how often the application got it.
        is_expired: whether the server says that it has expired.
    """

    __slots__ = ("answer", "answered_s", "arrived_id", "copies", "is_expired", "message_id")

    def __init__(self) -> None:
        self.answer = Answer.NONE
        self.message_id = 0
        self.answered_s = 0.0
        self.arrived_id = 0
        self.copies = 0
        self.is_expired = False


class Account:
    """One token's messages.

    Attributes:
        entries: by their number.
        arrivals: numbers of messages in the order in which the application got them first.
        wire_ids: ids that came over its connections.
        session_ids: those of them that came in the session that is open now.
        session_newest: the greatest of these, of each node that gives out ids.
        accepted_newest: likewise of the ids in answers.
    """

    __slots__ = ("accepted_newest", "arrivals", "entries", "session_ids", "session_newest", "wire_ids")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.arrivals: list[int] = []
        self.wire_ids: set[int] = set()
        self.session_ids: set[int] = set()
        self.session_newest: dict[int, int] = {}
        self.accepted_newest: dict[int, int] = {}


class Ledger:
    """The books of one run.

    Args:
        run: 1-16 hexadecimal digits that tell this run's messages from others.
        receivers: how many tokens there are; they are numbered from 0.
        store_first: whether nobody is to see a message before it is on disk.

    Attributes:
        attempted, accepted, refused, arrived, repeated, duplicated: so far, as in a report; `arrived` counts all that
            came, whatever the answer was.
        missing: how many accepted messages have not arrived so far.
    """

    def __init__(self, run: str, receivers: int, *, store_first: bool = False) -> None:
        self._run = run.encode()
        self._store_first = store_first
        self._receivers = receivers
        # First each token's own, then of each token what is for everybody.
        self._accounts = [Account() for _ in range(2 * receivers)]
        self._reasons: Counter[str] = Counter()
        self.attempted = self.accepted = self.refused = self.arrived = self.repeated = self.duplicated = 0
        self.missing = 0
        self._foreign = 0
        # (account, id) of what came late in its session → what had come there by then with a greater id.
        self._late_frames: dict[tuple[int, int], set[int]] = {}
        self._doubled: dict[tuple[int, int], Item] = {}
        self._again: list[Item] = []
        self._misdelivered: list[Item] = []
        self._shrunk: list[Item] = []

    def attempt(self, receiver: int, size_bytes: int = 0) -> tuple[int, bytes]:
        """Note that the next message for a receiver is about to be sent.

        Args:
            receiver: its number, or EVERYBODY.
            size_bytes: the text is at least so long, filled up with spaces.

        Returns:
            The message's number, and its text.
        """
        meant = self._meant(receiver)
        number = len(self._accounts[meant[0]].entries)
        for index in meant:
            self._accounts[index].entries.append(Entry())
        self.attempted += len(meant)
        return number, (b"verify %b %d %d" % (self._run, receiver, number)).ljust(size_bytes)

    def accept(self, receiver: int, number: int, message_id: int, now_s: float) -> None:
        """Note that the server has accepted a message; it may have arrived before its answer."""
        for index in self._meant(receiver):
            account = self._accounts[index]
            entry = self._unanswered(index, number)
            entry.answer = Answer.ACCEPTED
            entry.message_id = message_id
            entry.answered_s = now_s
            self.accepted += 1
            if message_id <= _newest_before(message_id, account.accepted_newest):
                self._shrunk.append(self._item(index, number, message_id))
            if not entry.copies:
                self.missing += 1
            elif entry.arrived_id != message_id:
                self._doubled[index, number] = self._item(index, number, entry.arrived_id)

    def refuse(self, receiver: int, number: int, reason: str) -> None:
        """Note that the server has refused a message; the reason is one of few words."""
        for index in self._meant(receiver):
            self._unanswered(index, number).answer = Answer.REFUSED
            self._reasons[reason] += 1
            self.refused += 1

    def opened(self, receiver: int) -> None:
        """Note that a receiver has a new session: what is sent again in it may begin before what came last."""
        for index in (receiver, self._receivers + receiver):
            self._accounts[index].session_newest.clear()
            self._accounts[index].session_ids.clear()

    def came(self, receiver: int, message_id: int, payload: bytes) -> None:
        """Note that a message came over a receiver's connection, whether or not its application will get it."""
        read = self._read(payload, receiver)
        if read is None or read[0] % self._receivers != receiver:
            return
        account = self._accounts[read[0]]
        if message_id in account.wire_ids:
            self.repeated += 1
        account.wire_ids.add(message_id)
        before = _newest_before(message_id, account.session_newest)
        if message_id in account.session_ids:
            self._again.append(self._item(*read, message_id))
        elif message_id < before:
            newer = {each for each in account.session_ids if each > message_id and _node(each) == _node(message_id)}
            self._late_frames.setdefault((read[0], message_id), set()).update(newer)
        account.session_ids.add(message_id)

    def deliver(self, receiver: int, message_id: int, payload: bytes) -> None:
        """Note that the application of a receiver got a message."""
        read = self._read(payload, receiver)
        if read is None:
            self._foreign += 1
            return
        index, number = read
        account = self._accounts[index]
        if index % self._receivers != receiver or number >= len(account.entries):
            self._misdelivered.append(Item(receiver, number, message_id))
            return
        entry = account.entries[number]
        entry.copies += 1
        if entry.copies == 1:
            entry.arrived_id = message_id
            account.arrivals.append(number)
            self.arrived += 1
            self.missing -= entry.answer is Answer.ACCEPTED
        if message_id != entry.arrived_id or entry.message_id not in (0, message_id):
            self._doubled[index, number] = self._item(index, number, message_id)
        elif entry.copies > 1:
            self.duplicated += 1

    def overdue(self, before_s: float) -> list[Item]:
        """Accepted messages for one token that have not come and were answered before this moment."""
        return [
            self._item(index, number, entry.message_id)
            for index, number, entry in self._entries()
            if index < self._receivers
            and entry.answer is Answer.ACCEPTED
            and not entry.copies
            and entry.answered_s < before_s
        ]

    def expire(self, item: Item) -> None:
        """Note that the server says of a message that it has expired."""
        self._accounts[item.receiver].entries[item.number].is_expired = True

    def report(self) -> Report:
        """Close the books: what has not come by now does not come."""
        accepted = [one for one in self._entries() if one[2].answer is Answer.ACCEPTED]
        absent = [one for one in accepted if not one[2].copies]
        lost = [one for one in absent if not one[2].is_expired]
        unknown = [one for one in self._entries() if one[2].answer is Answer.NONE]
        refused = [one for one in self._entries() if one[2].answer is Answer.REFUSED]
        return Report(
            attempted=self.attempted,
            accepted=len(accepted),
            refused=dict(self._reasons),
            unknown=len(unknown),
            delivered=len(accepted) - len(absent),
            delivered_unknown=sum(entry.copies > 0 for _, _, entry in unknown),
            duplicated=self.duplicated,
            repeated=self.repeated,
            expired=len(absent) - len(lost),
            lost=tuple(self._item(index, number, entry.message_id) for index, number, entry in lost),
            out_of_order=tuple(self._late()),
            doubled=tuple(self._doubled.values()),
            refused_delivered=tuple(
                self._item(index, number, entry.arrived_id) for index, number, entry in refused if entry.copies
            ),
            again=tuple(self._again),
            misdelivered=tuple(self._misdelivered),
            shrunk_ids=tuple(self._shrunk),
            foreign=self._foreign,
            store_first=self._store_first,
        )

    def _late(self) -> Iterator[Item]:
        """What came after something that was accepted later, each once.

        Of messages without an answer only their ids say when they were accepted. What was refused has no place among
        the others, if it came all the same: it left at once, while what came before it may have waited.
        """
        for index, account in enumerate(self._accounts):
            latest_number = -1
            refused = {entry.arrived_id for entry in account.entries if entry.answer is Answer.REFUSED}
            newest: dict[int, int] = {}
            for number in account.arrivals:
                entry = account.entries[number]
                if entry.answer is Answer.REFUSED:
                    continue
                is_accepted = entry.answer is Answer.ACCEPTED
                is_late = entry.arrived_id < _newest_before(entry.arrived_id, newest) or (
                    is_accepted and number < latest_number
                )
                if is_late or self._late_frames.get((index, entry.arrived_id), refused) - refused:
                    yield self._item(index, number, entry.arrived_id)
                if is_accepted:
                    latest_number = max(latest_number, number)

    def _entries(self) -> Iterator[tuple[int, int, Entry]]:
        for index, account in enumerate(self._accounts):
            for number, entry in enumerate(account.entries):
                yield index, number, entry

    def _meant(self, receiver: int) -> Sequence[int]:
        """The accounts of those whom a message is for."""
        if receiver == EVERYBODY:
            return range(self._receivers, 2 * self._receivers)
        return (receiver,)

    def _item(self, index: int, number: int, message_id: int) -> Item:
        return Item(index % self._receivers, number, message_id, for_everybody=index >= self._receivers)

    def _read(self, payload: bytes, receiver: int) -> tuple[int, int] | None:
        """In which account a message is that came to a receiver, and its number there."""
        match = _PAYLOAD.match(payload)
        if match is None or match.group(1) != self._run:
            return None
        owner = int(match.group(2))
        if owner >= self._receivers:
            return None
        return self._receivers + receiver if owner == EVERYBODY else owner, int(match.group(3))

    def _unanswered(self, index: int, number: int) -> Entry:
        entry = self._accounts[index].entries[number]
        if entry.answer is not Answer.NONE:
            raise ValueError(f"message {number} to {index} has been answered before")
        return entry


def _newest_before(message_id: int, newest: dict[int, int]) -> int:
    """The greatest id before this one of the same node; this one is noted among them."""
    node = _node(message_id)
    before = newest.get(node, -1)
    newest[node] = max(before, message_id)
    return before


def _node(message_id: int) -> int:
    return message_id >> _NODE_SHIFT & _NODE_MASK
