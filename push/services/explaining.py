"""Why a message has or has not arrived at a token, in sentences that a support engineer can pass on.

Pure: everything that is known comes in. Neither tokens nor payloads are in the sentences. Must not import adapters,
stores or web.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from push.model import TagQuery
from push.model_cache import StoredMessage
from push.model_receipts import Event, Receipt, TokenReceipt
from push.model_subscribe import TokenInfo

_RESTARTED = (
    "the cache has it no more, and no receipt says why: the server was killed within two seconds of what happened last"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a message and a token.

    Attributes:
        token: which.
        now_ms: milliseconds since 1970.
        receipt: the message's; None where it is not remembered.
        kept: what the cache has of it; None where nothing.
        due_ms: when it will be sent; None where it is not waiting for that.
        info: the token; None where it is not registered.
    """

    token: str
    now_ms: int
    receipt: Receipt | None
    kept: StoredMessage | None
    due_ms: int | None
    info: TokenInfo | None

    @property
    def is_kept(self) -> bool:
        """Whether the cache has it for this token by name."""
        return self.kept is not None and self.token in self.kept.tokens


def explained(known: Known) -> list[str]:
    """The sentences, the most telling first."""
    sentences = []
    if known.info is None:
        sentences.append(
            "the token is not registered: it was never issued here, or has been revoked: nothing can reach it"
        )
    sentences += _of_message(known)
    sentences += _of_session(known)
    sentences += _of_life(known)
    return sentences


def _of_message(known: Known) -> list[str]:
    receipt = known.receipt
    if known.due_ms is not None:
        in_s = max(0, known.due_ms - known.now_ms) / 1000
        return [f"the message is scheduled for {_time(known.due_ms)}, in {in_s:.0f} s: it has not been sent to anybody"]
    if receipt is None:
        return [
            "the message is not known: no such id was ever given out here, or its receipt is forgotten, and nothing "
            "of it is kept"
        ]
    for each in receipt.tokens:
        if each.token == known.token and not (receipt.is_logged and each.event is None):
            return _of_token(known, receipt, each)
    if receipt.is_logged:
        return _of_logged(known, receipt)
    if receipt.due_ms is not None and not receipt.targets:
        if receipt.counts.get(Event.CANCELLED):
            return ["the message was cancelled before it was sent"]
        return [f"the message was scheduled for {_time(receipt.due_ms)}: what became of it then is not known"]
    if receipt.tokens:
        return [f"the message was addressed to {_number(receipt.targets, 'token')}, this one is not among them"]
    return _of_many(known, receipt)


def _of_token(known: Known, receipt: Receipt, last: TokenReceipt) -> list[str]:
    at = _time(last.at_ms)
    # Not negative: after a restart ids, which say when messages were accepted, run ahead of the clock for some seconds.
    after_s = f"{max(0, last.at_ms - receipt.accepted_ms) / 1000:.3f} s after it was accepted"
    match last.event:
        case Event.DELIVERED:
            return [f"the client acknowledged the message at {at}, {after_s}: it has arrived"]
        case Event.SENT:
            return _of_sent(known, receipt, at)
        case Event.CACHED:
            return _of_cached(known, at)
        case Event.EXPIRED:
            # `at` is when that was noticed: later, where the server was down.
            expired_ms = receipt.expires_ms or last.at_ms
            lived_s = (expired_ms - receipt.accepted_ms) / 1000
            when = f"{_time(expired_ms)} after {lived_s:.0f} s"
            return [f"the message expired at {when}: the token had not taken it by then"]
        case Event.CANCELLED:
            return [f"the message was cancelled at {at}, before the token had taken it"]
        case Event.REPLACED:
            return [f"the message was replaced at {at} by a newer one with the same collapse key"]
        case Event.DROPPED:
            return [
                f"the message was dropped at {at}: the token's cache was full, and a newer one was to drop the oldest"
            ]
        case Event.REJECTED:
            return [f"the token's cache was full at {at}: the message was not kept for it, nor sent to it"]
    if receipt.expires_ms is None:
        return [
            "the token was offline, or did not read, when the message was sent, and the message was not to be kept "
            "(ttl 0, or store never)"
        ]
    return ["the message is on its way to the token: nothing has been heard of it yet"]


def _of_sent(known: Known, receipt: Receipt, at: str) -> list[str]:
    session = known.info.session if known.info else None
    if known.is_kept:
        sentences = [f"the message was sent at {at}, and the client has not acknowledged it yet (it acknowledges)"]
        if session is None:
            sentences.append("it is kept, and is sent again when the token comes back")
        return sentences
    if receipt.is_logged:
        return [
            f"the message was sent at {at}; it is kept once for many, so that it is not remembered who of them "
            "acknowledged it: if this token has not, it is sent again when it next opens a session"
        ]
    if session is not None and session.acks and receipt.expires_ms is not None:
        return [f"the message was sent at {at}", _RESTARTED]
    if session is not None and session.acks:
        return [
            f"the message was sent at {at}; it was not to be kept (ttl 0, or store never), so no acknowledgement was "
            "waited for: nobody can know more"
        ]
    return [f"the message was sent at {at} to a client that does not acknowledge: nobody can know more"]


def _of_cached(known: Known, at: str) -> list[str]:
    session = known.info.session if known.info else None
    if not known.is_kept:
        return [f"the message was kept at {at} until the token comes", _RESTARTED]
    if session is None:
        return [f"the message waits in the cache, kept at {at}: the token is offline"]
    if session.acks:
        return [
            f"the message waits in the cache, kept at {at}, though the token is online: either it was sent out of "
            "there and the client has not acknowledged it, or it is sent when the client has acknowledged what was "
            "sent before it"
        ]
    return [f"the message waits in the cache, kept at {at}, though the token is online: it is about to be sent"]


def _of_logged(known: Known, receipt: Receipt) -> list[str]:
    info, kept = known.info, known.kept
    if info is not None and info.created_ms > max(receipt.accepted_ms, receipt.due_ms or 0):
        created, was = _time(info.created_ms), "accepted" if receipt.due_ms is None else "due"
        return [f"the token was registered at {created}, after the message was {was}: it is not meant for it"]
    if kept is None:
        why = "is gone from there"
        if receipt.counts.get(Event.CANCELLED):
            why = "was cancelled"
        elif receipt.counts.get(Event.DROPPED):
            why = "was dropped there, as there were too many newer ones"
        elif receipt.expires_ms is not None and receipt.expires_ms <= known.now_ms:
            why = f"expired at {_time(receipt.expires_ms)}"
        return [f"the message was for many, kept once for all of them, and {why}: who had not come by then missed it"]
    if info is not None and isinstance(kept.audience, TagQuery) and not _matches(kept.audience, info.tags):
        return ["the message is for tokens with certain tags, which this one has not"]
    return [
        f"the message is for many, and is kept once for all of them until {_time(kept.expires_ms)}: whether this token "
        "has had it is not remembered one by one; if not, it is sent when it next opens a session"
    ]


def _of_many(known: Known, receipt: Receipt) -> list[str]:
    targets = _number(receipt.targets, "target")
    session = known.info.session if known.info else None
    if known.is_kept:
        waits = "its acknowledgement" if session else "the token to come"
        return [f"the message is one to {targets}, and is kept for this token: it waits for {waits}"]
    if session is not None and session.since_ms > receipt.accepted_ms:
        return [
            f"the message was for {targets}, and nothing of it is kept for this token, which opened its session only "
            f"later, at {_time(session.since_ms)}"
        ]
    return [
        f"the message was for {targets}, too many or not named, so that it is not remembered one by one which of them "
        f"got it: it was sent to {receipt.counts.get(Event.SENT, 0):,}"
    ]


def _of_session(known: Known) -> list[str]:
    if known.info is None:
        return []
    session = known.info.session
    if session is None:
        return ["the token is offline now"]
    acks = "acknowledges" if session.acks else "does not acknowledge"
    sentence = f"the token is online at {session.connector} since {_time(session.since_ms)}, and {acks}"
    accepted_ms = known.receipt.accepted_ms if known.receipt else 0
    if accepted_ms and session.since_ms > accepted_ms:
        sentence += ": that session opened after the message was accepted"
    return [sentence]


def _of_life(known: Known) -> list[str]:
    receipt = known.receipt
    if receipt is None:
        return []
    sentence = f"the message was accepted at {_time(receipt.accepted_ms)}"
    if known.kept is not None:
        sentence += f", and is kept until {_time(known.kept.expires_ms)}"
    elif receipt.expires_ms is not None:
        sentence += f", to be kept until {_time(receipt.expires_ms)}"
    return [sentence]


def _matches(query: TagQuery, tags: Sequence[str]) -> bool:
    has = set(tags)
    return (not query.any or bool(has & set(query.any))) and has >= set(query.all) and not has & set(query.none)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _time(ms: int) -> str:
    """A time as people and programs read it, to the millisecond."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M:%S}.{ms % 1000:03} UTC"
