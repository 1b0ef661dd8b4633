"""The server's side of one session: which signal is legal next, and what is answered.

Pure: frames come in, events come out; the adapter sends and closes, the connector opens. One table holds
every transition. Knows nothing of tokens' owners, of other connections, or of how frames travel.

Source: docs/protocol.md, all sections but "Frame".
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

from push.protocols.wire.answers import NodeAddress, write_missed, write_redirect
from push.protocols.wire.chat import write_refusal
from push.protocols.wire.frames import ID, ID_BYTES, Frame
from push.protocols.wire.liveness import DEFAULT_INTERVAL_MS, GRACE_S, held_interval_ms, idle_deadline_s
from push.protocols.wire.messages import (
    BodyError,
    Disconnect,
    SubRequest,
    parse_connect,
    parse_disconnect,
    parse_interval,
    parse_object,
    parse_sub,
    write_disconnect,
    write_json,
)
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

# The Java SDKs send a PING right behind their SUB; nobody sane sends more than a few before the answer.
MAX_HELD_FRAMES = 16
# A refused client may correct itself on the same connection, but not for ever.
MAX_REFUSALS = 8
# A client that does not wait for answers is refused what is more.
MAX_ASKED = 64

# Nearly all clients promise one of a few intervals: what is made for it once is shared.
_MAX_SHARED = 64
# What a client has said of itself.
_IS_CHAT = 1
_WANTS_MISSED = 2
_PING_REPLY_INTERVALS: dict[int, bytes] = {}
_INTERVALS: dict[int, int] = {}


def _shared(interval_ms: int) -> int:
    """The same number, as one object for all sessions that have it."""
    if len(_INTERVALS) < _MAX_SHARED:
        return _INTERVALS.setdefault(interval_ms, interval_ms)
    return _INTERVALS.get(interval_ms, interval_ms)


class State(IntEnum):
    """Where a session is."""

    NEW = 0
    OPENING = 1
    OPEN = 2
    CLOSED = 3


# Looking a member up in its class costs more than a global name, once for each acknowledgement.
_OPEN = State.OPEN


class Reply(NamedTuple):
    """Send this frame."""

    frame: Frame


class OpenRequested(NamedTuple):
    """Ask whether this session may open; answer with accept() or refuse()."""

    request: SubRequest


class Acknowledged(NamedTuple):
    """The client has these messages.

    `awaited` of them were on their way on this connection; others may have been sent on an earlier one.
    """

    message_ids: tuple[int, ...]
    awaited: int


class ChatAsked(NamedTuple):
    """A CONTACT or PUBLISH came: have it done, and answer with answer()."""

    frame: Frame


class Closed(NamedTuple):
    """The session is over. `by_peer`: it said so itself, and need not be told."""

    disconnect: Disconnect
    by_peer: bool


Event = Reply | OpenRequested | Acknowledged | ChatAsked | Closed

_REFUSALS = {
    302: SubSignal.CONNECTION_REFUSED_UNEXPECT_NODE,
    400: SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED,
    401: SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD,
    403: SubSignal.CONNECTION_REFUSED_NOT_AUTHORIZED,
}


class _Asking:
    """What is only there while a session is being opened, or after it was refused.

    Attributes:
        opening: what the client asked with and what it asked for, until it is answered.
        held: frames that came meanwhile.
        refusals: how often it was refused.
    """

    __slots__ = ("held", "opening", "refusals")

    def __init__(self, opening: tuple[Frame, SubRequest]) -> None:
        self.opening: tuple[Frame, SubRequest] | None = opening
        self.held: list[Frame] = []
        self.refusals = 0


class ServerSession:
    """One client's session, from its first frame to its end.

    Attributes:
        token: the token that it is open with, None before that.
        interval_ms: the heartbeat that the client is held to.
        heard_s: when the client was last heard while open; before that, when the connection began.
        unacknowledged: ids sent and not yet acknowledged; None for a client that does not acknowledge.
        asked: how many CONTACTs and PUBLISHs are not answered yet.
        is_chat: whether it understands PUBLISH: it has sent one, or was opened by CONNECT.
    """

    __slots__ = (
        "_asking",
        "_says",
        "asked",
        "heard_s",
        "interval_ms",
        "state",
        "token",
        "unacknowledged",
    )

    def __init__(self, now_s: float) -> None:
        self.state = State.NEW
        self.token: str | None = None
        self.interval_ms = DEFAULT_INTERVAL_MS
        self.heard_s = now_s
        self.unacknowledged: set[int] | None = None
        self.asked = 0
        self._says = 0
        # None nearly always: most sessions are open, and cost 16 bytes less for it.
        self._asking: _Asking | None = None

    @property
    def is_chat(self) -> bool:
        """See Attributes."""
        return bool(self._says & _IS_CHAT)

    def deadline_s(self, handshake_timeout_s: float, grace_s: float = GRACE_S) -> float:
        """When this connection is to be closed if nothing more is heard.

        Args:
            handshake_timeout_s: how long a connection may take to open a session.
            grace_s: how long after a missed heartbeat.

        Returns:
            Seconds on the clock of `heard_s`.
        """
        if self.token is None:
            return self.heard_s + handshake_timeout_s
        return idle_deadline_s(self.heard_s, self.interval_ms, grace_s)

    def heard(self, now_s: float) -> None:
        """Note a sign of life. Before the session is open it buys no time: dripping bytes hold no connection."""
        if self.token is not None:
            self.heard_s = now_s

    def receive(self, frame: Frame) -> Sequence[Event]:
        """Take one frame.

        Args:
            frame: as decoded; any signal, in any state.

        Returns:
            What is to be done, in order. After Closed nothing else comes, and later frames are ignored.
        """
        if self.state is State.CLOSED:
            return ()
        if self.state is State.OPENING and frame.signal != Signal.DISCONNECT:
            return self._hold(frame)
        step = _TABLE.get((self.state, frame.signal))
        if step is None:
            name = Signal(frame.signal).name
            return self._fail(f"{name} is not allowed {'here' if self.token else 'before the session is open'}")
        try:
            return step(self, frame)
        except BodyError as error:
            return self._fail(f"{Signal(frame.signal).name}: {error}")

    def acknowledge(self, message_id: int) -> int | None:
        """`receive` without the event, for a PUB_ACK of one message while the session is open: the most frequent one.

        Returns:
            As `awaited` in Acknowledged; None where the frame is to be given to `receive`.
        """
        pending = self.unacknowledged
        if pending is None or self.state is not _OPEN:
            return None
        if message_id not in pending:
            return 0
        pending.remove(message_id)
        return 1

    def accept(self, *, token: str, interval_ms: int | None, server_time_ms: int) -> Sequence[Event]:
        """Open the session that was asked for.

        Args:
            token: the client's token from now on.
            interval_ms: the heartbeat that it will be held to; None: the one that it is held to already.
            server_time_ms: milliseconds since 1970.

        Returns:
            The answer, then what the frames held meanwhile bring about.
        """
        frame, request = self._take_opening()
        if request.ack is False:
            self.unacknowledged = None
        elif request.ack and self.unacknowledged is None:
            self.unacknowledged = set()
        self.token = token
        if frame.signal == Signal.CONNECT:
            self._says |= _IS_CHAT
        if request.missed is not None:
            self._says = self._says & ~_WANTS_MISSED | (_WANTS_MISSED if request.missed else 0)
        if interval_ms is not None:
            self.interval_ms = _shared(interval_ms)
        self.state = State.OPEN
        # A token has only characters that JSON takes as they are.
        body = f'{{"status":200,"token":"{token}","interval":{self.interval_ms},"server_time":{server_time_ms}}}'
        return self._answer_opening(frame, 200, body.encode())

    def refuse(self, status: int, reason: str, retry_after_s: float | None = None) -> Sequence[Event]:
        """Refuse the session that was asked for; the client may try again on this connection, a few times.

        Args:
            status: 400, 401, 403, 429 or 503.
            reason: a sentence for the client.
            retry_after_s: for 429 and 503.

        Returns:
            The answer, then what the frames held meanwhile bring about.
        """
        asking = self._asking
        frame, _ = self._take_opening()
        assert asking is not None  # _take_opening has looked
        self.state = State.NEW if self.token is None else State.OPEN
        fields: dict[str, object] = {"status": status, "reason": reason}
        if retry_after_s is not None:
            fields["retry_after"] = retry_after_s
        body = write_json(fields)
        # To be told to come back later is no fault of the client's.
        asking.refusals += status not in (429, 503)
        if asking.refusals >= MAX_REFUSALS:
            asking.held.clear()
            return (*self._answer_opening(frame, status, body), *self._fail("too many refused SUBs"))
        return self._answer_opening(frame, status, body)

    def redirect(self, nodes: Sequence[NodeAddress], retry_after_s: float) -> Sequence[Event]:
        """Send the client elsewhere: as the answer to what it asks for, else unasked.

        Args:
            nodes: where, the best first; at least one.
            retry_after_s: the least time to wait before that.

        Returns:
            What to send; nothing where no session was asked for yet, or it is over.
        """
        body = write_redirect(nodes, retry_after_s)
        if self.state is State.OPENING:
            frame, _ = self._take_opening()
            self.state = State.NEW if self.token is None else State.OPEN
            return self._answer_opening(frame, 302, body)
        return (Reply(Frame(Signal.SUB, 0, 0, body)),) if self.state is State.OPEN else ()

    def missed(self) -> Sequence[Event]:
        """Messages for it were lost for good: say so, if the client wants to know."""
        if self.state is State.OPEN and self._says & _WANTS_MISSED:
            return (Reply(Frame(Signal.SUB, 0, 0, write_missed())),)
        return ()

    def answer(self, frame: Frame, body: bytes) -> Sequence[Event]:
        """Answer a CONTACT or PUBLISH.

        Args:
            frame: that was asked with.
            body: of the PUB_ACK.

        Returns:
            The answer, if the client is there and wants one: a message id of 0 says that it does not.
        """
        self.asked -= 1
        if self.state is State.CLOSED or not frame.message_id:
            return ()
        subsignal = 0 if frame.signal == Signal.CONTACT else frame.subsignal
        return (Reply(Frame(Signal.PUB_ACK, subsignal, frame.message_id, body)),)

    def may_push(self, message_id: int, window: int) -> bool:
        """Count a message as on its way to this client.

        Args:
            message_id: its id.
            window: how many may be unacknowledged.

        Returns:
            False where the client acknowledges and its window is full: do not send.
        """
        pending = self.unacknowledged
        if pending is None:
            return True
        if len(pending) >= window:
            return False
        pending.add(message_id)
        return True

    def close(self) -> None:
        """End the session from this side; goodbye() is what to send."""
        self.state = State.CLOSED
        self._asking = None

    @staticmethod
    def goodbye(disconnect: Disconnect) -> Frame:
        """The DISCONNECT that says why."""
        return Frame(Signal.DISCONNECT, 0, 0, write_disconnect(disconnect))

    def _hold(self, frame: Frame) -> Sequence[Event]:
        asking = self._asking
        assert asking is not None
        if len(asking.held) >= MAX_HELD_FRAMES:
            return self._fail("too many frames while the session is being opened")
        asking.held.append(frame)
        return ()

    def _take_opening(self) -> tuple[Frame, SubRequest]:
        asking = self._asking
        if self.state is not State.OPENING or asking is None or asking.opening is None:
            raise RuntimeError("no session was asked for")
        opening, asking.opening = asking.opening, None
        return opening

    def _answer_opening(self, frame: Frame, status: int, body: bytes) -> Sequence[Event]:
        subsignal = 0
        signal = Signal.SUB
        if frame.signal == Signal.CONNECT:
            signal = Signal.CONNECT_ACK
            subsignal = (
                SubSignal.CONNECTION_ACCEPTED
                if status == 200
                else _REFUSALS.get(status, SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE)
            )
        events: list[Event] = [Reply(Frame(signal, subsignal, frame.message_id, body))]
        asking = self._asking
        if asking is not None:
            held = asking.held
            if status == 200:
                self._asking = None
            elif held:
                asking.held = []
            for later in held:
                events += self.receive(later)
        return events

    def _fail(self, reason: str) -> Sequence[Event]:
        self.state = State.CLOSED
        self._asking = None
        return (Closed(Disconnect(CloseCode.PROTOCOL_ERROR, reason), by_peer=False),)

    def _on_open(self, frame: Frame) -> Sequence[Event]:
        self.state = State.OPENING
        wrong: BodyError | None = None
        try:
            request = parse_sub(frame.body) if frame.signal == Signal.SUB else parse_connect(frame.body)
        except BodyError as error:
            request, wrong = SubRequest(), error
        if self._asking is None:
            self._asking = _Asking((frame, request))
        else:
            self._asking.opening = (frame, request)
        if wrong is not None:
            return self.refuse(400, str(wrong))
        if self.token is not None and request.token not in (None, self.token):
            return self.refuse(400, "this connection is open with another token: open a new connection")
        return (OpenRequested(request),)

    def _on_ping(self, frame: Frame) -> Sequence[Event]:
        if frame.body:
            promised_ms = parse_interval(parse_object(frame.body))
            if promised_ms is not None:
                self.interval_ms = _shared(held_interval_ms(promised_ms))
        body = _PING_REPLY_INTERVALS.get(self.interval_ms)
        if body is None:
            body = write_json({"interval": self.interval_ms})
            if len(_PING_REPLY_INTERVALS) < _MAX_SHARED:
                _PING_REPLY_INTERVALS[self.interval_ms] = body
        return (Reply(Frame(Signal.PING, 0, frame.message_id, body)),)

    def _on_pub_ack(self, frame: Frame) -> Sequence[Event]:
        if frame.subsignal != SubSignal.MN:
            return ()
        if len(frame.body) % ID_BYTES:
            raise BodyError(f"the body must be a list of {ID_BYTES}-byte ids")
        pending = self.unacknowledged
        if pending is None:
            return ()
        if len(frame.body) == ID_BYTES:  # one at a time is what most clients send
            (message_id,) = ID.unpack(frame.body)
            if message_id not in pending:
                return (Acknowledged((message_id,), 0),)
            pending.remove(message_id)
            return (Acknowledged((message_id,), 1),)
        message_ids = tuple(dict.fromkeys(message_id for (message_id,) in ID.iter_unpack(frame.body)))
        before = len(pending)
        pending.difference_update(message_ids)
        return (Acknowledged(message_ids, before - len(pending)),) if message_ids else ()

    def _on_disconnect(self, frame: Frame) -> Sequence[Event]:
        self.state = State.CLOSED
        self._asking = None
        return (Closed(parse_disconnect(frame.body), by_peer=True),)

    def _on_auth(self, frame: Frame) -> Sequence[Event]:
        fields = {"status": 501, "reason": "AUTH has no meaning here: send the credential with SUB"}
        return (Reply(Frame(Signal.AUTH, 0, frame.message_id, write_json(fields))),)

    def _on_chat(self, frame: Frame) -> Sequence[Event]:
        self.asked += 1
        if self.asked > MAX_ASKED:
            reason = f"more than {MAX_ASKED} requests are not answered yet: wait for answers"
            return self.answer(frame, write_refusal(frame.signal, 429, reason))
        if frame.signal == Signal.PUBLISH:
            self._says |= _IS_CHAT
        return (ChatAsked(frame),)


_Step = Callable[[ServerSession, Frame], Sequence[Event]]

# Every legal pair. PUSH, CONNECT_ACK and what is missing here end the session with 3505.
_TABLE: dict[tuple[State, int], _Step] = {
    (State.NEW, Signal.SUB): ServerSession._on_open,
    (State.NEW, Signal.CONNECT): ServerSession._on_open,
    (State.NEW, Signal.AUTH): ServerSession._on_auth,
    (State.NEW, Signal.PING): ServerSession._on_ping,
    (State.NEW, Signal.DISCONNECT): ServerSession._on_disconnect,
    (State.OPENING, Signal.DISCONNECT): ServerSession._on_disconnect,
    (State.OPEN, Signal.SUB): ServerSession._on_open,
    (State.OPEN, Signal.CONNECT): ServerSession._on_open,
    (State.OPEN, Signal.AUTH): ServerSession._on_auth,
    (State.OPEN, Signal.PING): ServerSession._on_ping,
    (State.OPEN, Signal.CONTACT): ServerSession._on_chat,
    (State.OPEN, Signal.PUBLISH): ServerSession._on_chat,
    (State.OPEN, Signal.PUB_ACK): ServerSession._on_pub_ack,
    (State.OPEN, Signal.DISCONNECT): ServerSession._on_disconnect,
}
