"""The client's side of one session: which signal is legal next, and what it means. The mirror of server.py.

Pure: frames come in, events come out; the driver (an SDK) sends, waits and reconnects. One table holds every
transition. A server is not trusted: whatever it sends, `receive` raises nothing, and what is not allowed ends
the session with a reason.

Source: docs/protocol.md, all sections but "Frame".
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from push.protocols.wire.answers import MISSED, NodeAddress, SubAnswer, parse_sub_answer
from push.protocols.wire.frames import ID, ID_BYTES, MAX_BODY_BEFORE_OPEN_BYTES, MAX_MESSAGE_ID, Frame
from push.protocols.wire.liveness import held_interval_ms
from push.protocols.wire.messages import (
    RETRY_BACKOFF,
    RETRY_NO,
    BodyError,
    Disconnect,
    SubRequest,
    parse_disconnect,
    parse_interval,
    parse_object,
    write_disconnect,
    write_json,
    write_sub,
)
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

# A frame of this many ids is within every server's limit, also one that lowered it to the least there is.
MAX_IDS_PER_ACK = MAX_BODY_BEFORE_OPEN_BYTES // ID_BYTES
# Far below the 65,535 ids that there are, so that one is always free.
MAX_UNANSWERED = 1_024
_TOO_MANY_REQUESTS = 429
_NAMES = {int(signal): signal.name for signal in Signal}


class State(IntEnum):
    """Where a session is."""

    NEW = 0
    SUBSCRIBING = 1
    OPEN = 2
    CLOSED = 3


class Opened(NamedTuple):
    """The session is open: with this token, to be pinged this often, by a server whose clock says this."""

    token: str
    interval_ms: int
    server_time_ms: int


class Redirected(NamedTuple):
    """Connect to one of these instead, the best first, not before `retry_after_s`; may come while open."""

    nodes: tuple[NodeAddress, ...]
    retry_after_s: float | None


class Missed(NamedTuple):
    """Messages were lost on the way to this client, for good: what it knows from them may be out of date."""

    reason: str


class Refused(NamedTuple):
    """The session was refused; `retry` is "no" where the same SUB would be refused again."""

    status: int
    reason: str
    retry_after_s: float | None
    retry: str


class Received(NamedTuple):
    """A message. With an id, it is to be acknowledged."""

    message_id: int | None
    payload: bytes


class PongReceived(NamedTuple):
    """The server answered a PING; the interval now in force."""

    interval_ms: int


class Answered(NamedTuple):
    """The answer to a `request`: it has the request's message id."""

    frame: Frame


class Notified(NamedTuple):
    """A CONTACT or PUBLISH that nobody asked for: somebody else's message."""

    frame: Frame


class Closed(NamedTuple):
    """The session is over. `by_peer`: it said so itself, and need not be told."""

    disconnect: Disconnect
    by_peer: bool


Event = Opened | Redirected | Missed | Refused | Received | PongReceived | Answered | Notified | Closed

# Request → the signal that answers it.
_ANSWERS = {Signal.AUTH: Signal.AUTH, Signal.CONTACT: Signal.PUB_ACK, Signal.PUBLISH: Signal.PUB_ACK}


class ClientSession:
    """One session, from its SUB to its end.

    Attributes:
        state: where it is.
        token: the token that it is open with; before that, the one asked for, or None.
        interval_ms: the heartbeat that the server holds the client to, 0 before it is open.
    """

    __slots__ = ("_awaited", "_last_id", "_sub_id", "interval_ms", "state", "token")

    def __init__(self) -> None:
        self.state = State.NEW
        self.token: str | None = None
        self.interval_ms = 0
        self._sub_id = 0
        self._last_id = 0
        # Message id → the signal that will answer it.
        self._awaited: dict[int, Signal] = {}

    @property
    def unanswered(self) -> int:
        """How many requests and pings are still to be answered."""
        return len(self._awaited)

    def sub(self, request: SubRequest) -> Frame:
        """Ask for a session, for the first time or again after a refusal.

        Args:
            request: what to ask for.

        Returns:
            The SUB to send.

        Raises:
            RuntimeError: a session is open, asked for, or over.
        """
        if self.state is not State.NEW:
            raise RuntimeError(f"a SUB makes no sense while the session is {self.state.name}")
        body = write_sub(request)
        self._sub_id = self._next_id()
        self.token = request.token
        self.state = State.SUBSCRIBING
        return Frame(Signal.SUB, 0, self._sub_id, body)

    def ping(self, interval_ms: int | None = None) -> Frame:
        """Give a sign of life and ask for one.

        Args:
            interval_ms: the heartbeat to promise from now on; None leaves it.

        Returns:
            The PING to send.

        Raises:
            RuntimeError: the session is over, or too many pings and requests are unanswered.
        """
        if self.state is State.CLOSED:
            raise RuntimeError("the session is over")
        body = b"" if interval_ms is None else write_json({"interval": interval_ms})
        return Frame(Signal.PING, 0, self._await_answer(Signal.PING), body)

    def request(self, signal: Signal, body: bytes, *, subsignal: int = 0) -> Frame:
        """Ask for something that is answered with an `Answered` of the same message id.

        Args:
            signal: AUTH, CONTACT or PUBLISH.
            body: as the signal wants it.
            subsignal: what it is about.

        Returns:
            The frame to send.

        Raises:
            RuntimeError: the session is not open, or too many pings and requests are unanswered.
            KeyError: the signal is not one that is answered.
        """
        self._must_be_open()
        return Frame(signal, subsignal, self._await_answer(_ANSWERS[signal]), body)

    def acknowledge(self, message_ids: Iterable[int]) -> list[Frame]:
        """Tell the server that messages are handled.

        Args:
            message_ids: the ids, in any order and number.

        Returns:
            As many PUB_ACKs to send as the limit on bodies asks for; none for no id.

        Raises:
            RuntimeError: the session is not open.
        """
        self._must_be_open()
        body = b"".join(map(ID.pack, message_ids))
        step = MAX_IDS_PER_ACK * ID_BYTES
        parts = (body[start : start + step] for start in range(0, len(body), step))
        return [Frame(Signal.PUB_ACK, SubSignal.MN, 0, part) for part in parts]

    def close(self, disconnect: Disconnect) -> Frame | None:
        """End the session from this side.

        Returns:
            The DISCONNECT to send, None if the session was over already.
        """
        if self.state is State.CLOSED:
            return None
        self.state = State.CLOSED
        return Frame(Signal.DISCONNECT, 0, 0, write_disconnect(disconnect))

    def receive(self, frame: Frame) -> Sequence[Event]:
        """Take one frame.

        Args:
            frame: as decoded; any signal, in any state.

        Returns:
            What it means. After Closed nothing else comes, and later frames are ignored.
        """
        if self.state is State.CLOSED:
            return ()
        step = _TABLE.get((self.state, frame.signal))
        name = _NAMES.get(frame.signal, f"signal {frame.signal}")
        if step is None:
            return self._fail(f"{name} is not allowed {'here' if self.state is State.OPEN else 'yet'}")
        try:
            return step(self, frame)
        except BodyError as error:
            return self._fail(f"{name}: {error}")

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % MAX_MESSAGE_ID + 1
            if self._last_id not in self._awaited:
                return self._last_id

    def _await_answer(self, signal: Signal) -> int:
        if len(self._awaited) >= MAX_UNANSWERED:
            raise RuntimeError("too many requests are unanswered")
        message_id = self._next_id()
        self._awaited[message_id] = signal
        return message_id

    def _answered(self, frame: Frame) -> None:
        if self._awaited.get(frame.message_id) != frame.signal:
            raise BodyError(f"message id {frame.message_id} answers nothing that was asked")
        del self._awaited[frame.message_id]

    def _must_be_open(self) -> None:
        if self.state is not State.OPEN:
            raise RuntimeError("the session is not open")

    def _fail(self, reason: str) -> Sequence[Event]:
        self.state = State.CLOSED
        return (Closed(Disconnect(CloseCode.PROTOCOL_ERROR, reason), by_peer=False),)

    def _on_sub(self, frame: Frame) -> Sequence[Event]:
        answer = parse_sub_answer(frame.body)
        if self.state is State.SUBSCRIBING and frame.message_id == self._sub_id:
            return self._on_sub_answer(answer)
        if answer.status == 302 and frame.message_id == 0:  # a node that drains says so unasked
            return (Redirected(answer.nodes, answer.retry_after_s),)
        if answer.status == MISSED and frame.message_id == 0:
            return (Missed(answer.reason),)
        raise BodyError(f"message id {frame.message_id} answers nothing that was asked")

    def _on_sub_answer(self, answer: SubAnswer) -> Sequence[Event]:
        if answer.status == MISSED:
            raise BodyError("status 205 answers nothing")
        if answer.status == 200:
            if self.token not in (None, answer.token):
                raise BodyError("the token is not the one that was asked for")
            self.token = answer.token
            self.interval_ms = answer.interval_ms
            self.state = State.OPEN
            return (Opened(answer.token, answer.interval_ms, answer.server_time_ms),)
        self.state = State.NEW
        if answer.status == 302:
            return (Redirected(answer.nodes, answer.retry_after_s),)
        can_help = answer.status >= 500 or answer.status == _TOO_MANY_REQUESTS
        retry = RETRY_BACKOFF if can_help else RETRY_NO
        return (Refused(answer.status, answer.reason, answer.retry_after_s, retry),)

    def _on_push(self, frame: Frame) -> Sequence[Event]:
        if frame.subsignal == SubSignal.NONE:
            return (Received(None, frame.body),)
        if frame.subsignal != SubSignal.MN:  # from a newer server
            return ()
        if len(frame.body) < ID_BYTES:
            raise BodyError(f"the body must begin with an id of {ID_BYTES} bytes")
        (message_id,) = ID.unpack_from(frame.body)
        if message_id == 0:
            raise BodyError("0 is not the id of a message")
        return (Received(message_id, frame.body[ID_BYTES:]),)

    def _on_pong(self, frame: Frame) -> Sequence[Event]:
        self._answered(frame)
        interval_ms = parse_interval(parse_object(frame.body))
        if interval_ms is not None and self.state is State.OPEN:
            self.interval_ms = held_interval_ms(interval_ms)
        return (PongReceived(self.interval_ms),)

    def _on_answer(self, frame: Frame) -> Sequence[Event]:
        self._answered(frame)
        return (Answered(frame),)

    def _on_notice(self, frame: Frame) -> Sequence[Event]:
        return (Notified(frame),)

    def _on_disconnect(self, frame: Frame) -> Sequence[Event]:
        self.state = State.CLOSED
        return (Closed(parse_disconnect(frame.body), by_peer=True),)


_Step = Callable[[ClientSession, Frame], Sequence[Event]]

# Every legal pair. CONNECT and CONNECT_ACK, which a client of SUB never meets, and what is missing here end
# the session with 3505.
_TABLE: dict[tuple[State, int], _Step] = {
    (State.NEW, Signal.SUB): ClientSession._on_sub,
    (State.NEW, Signal.PING): ClientSession._on_pong,
    (State.NEW, Signal.DISCONNECT): ClientSession._on_disconnect,
    (State.SUBSCRIBING, Signal.SUB): ClientSession._on_sub,
    (State.SUBSCRIBING, Signal.PING): ClientSession._on_pong,
    (State.SUBSCRIBING, Signal.DISCONNECT): ClientSession._on_disconnect,
    (State.OPEN, Signal.SUB): ClientSession._on_sub,
    (State.OPEN, Signal.AUTH): ClientSession._on_answer,
    (State.OPEN, Signal.PING): ClientSession._on_pong,
    (State.OPEN, Signal.PUSH): ClientSession._on_push,
    (State.OPEN, Signal.CONTACT): ClientSession._on_notice,
    (State.OPEN, Signal.PUBLISH): ClientSession._on_notice,
    (State.OPEN, Signal.PUB_ACK): ClientSession._on_answer,
    (State.OPEN, Signal.DISCONNECT): ClientSession._on_disconnect,
}
