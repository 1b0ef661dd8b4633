"""Deliveries as frames between nodes, and what the reports say became of them.

Values in, bytes out, and back: knows no link, and waits for nothing; that is remote_connector.py's. How a frame is laid
out is in push.protocols.wire.batches.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from twisted.python.failure import Failure

from push.errors import PushError, Unavailable
from push.model import Delivery, DeliveryReport, Outcome, Place
from push.protocols.wire.batch_reports import FAILED
from push.protocols.wire.batches import (
    KEEPABLE,
    KEPT,
    LOGGED,
    MAX_TOKENS,
    PULLED,
    write_lone,
    write_many,
    write_passed_by,
)

_JOINED_BYTES = 65_536


def frames_of(batch: Sequence[Delivery]) -> list[bytes]:
    """Deliveries as frames, in order: one for each, but more for those to very many tokens.

    Raises:
        PushError: one of them cannot be written.
    """
    frames: list[bytes] = []
    try:
        for each in batch:
            flags = KEPT if each.is_kept else 0
            if each.is_logged:
                flags |= LOGGED
            if each.is_keepable:
                flags |= KEEPABLE
            payload, at = each.payload, each.place
            if payload is None:
                payload, flags = b"", flags | PULLED
            if at is None and each.owner is None and len(each.tokens) == 1:
                frames.append(write_lone(each.message_id, each.tokens[0], payload, flags))
            elif not each.tokens and at is not None and each.is_logged:
                frames.append(write_passed_by(each.message_id, (at.position, at.logged)))
            else:
                place = None if at is None else (at.position, at.before, at.logged)
                frames += write_many(each.message_id, each.tokens, payload, flags, place=place, owner=each.owner)
    except ValueError as error:
        raise PushError(f"a delivery cannot be written: {type(error).__name__}") from None
    return frames


def without_log(batch: Sequence[Delivery]) -> Sequence[Delivery]:
    """As a connector knows it that is told of what is logged only that it is to be pulled."""
    told = []
    for each in batch:
        place = each.place
        if place is not None and each.is_logged:
            each = msgspec.structs.replace(each, payload=None, place=None)
        elif place is not None:
            each = msgspec.structs.replace(each, place=without_logged(place))
        told.append(each)
    return told


def without_logged(place: Place) -> Place:
    """As older nodes know it: what is logged is among what the message comes after."""
    return Place(place.position, tuple([max(at, place.logged) for at in place.before]))


def joined(frames: list[bytes]) -> Iterator[bytes]:
    """Frames as larger strings, of which several fit into a piece without being cut."""
    begin = size = 0
    for end, frame in enumerate(frames):
        if size and size + len(frame) > _JOINED_BYTES:
            yield b"".join(frames[begin:end])
            begin = end
            size = 0
        size += len(frame)
    yield b"".join(frames[begin:])


def result_of(
    deliveries: Sequence[Delivery], reported: Mapping[int, tuple[tuple[int, int], ...]]
) -> DeliveryReport | Failure:
    """What became of a batch.

    Args:
        deliveries: the batch.
        reported: number of a frame → (position, outcome) of its tokens that did not get it.

    Raises:
        ValueError: tokens are reported that a frame did not have, or outcomes that do not exist.
    """
    if not reported:
        return DeliveryReport([len(each.tokens) for each in deliveries], {})
    if any(outcome == FAILED for gone in reported.values() for _, outcome in gone):
        return Failure(Unavailable("the connector could not deliver", retry_after_s=1.0))
    sent: list[int] = []
    missed: dict[int, Sequence[tuple[str, Outcome]]] = {}
    frame = 0
    for position, delivery in enumerate(deliveries):
        tokens = delivery.tokens
        gone: list[tuple[str, Outcome]] = []
        for start in range(0, len(tokens), MAX_TOKENS):
            some = min(MAX_TOKENS, len(tokens) - start)
            for index, outcome in reported.get(frame, ()):
                if index >= some:
                    raise ValueError("a token is reported that the frame did not have")
                gone.append((tokens[start + index], Outcome(outcome)))
            frame += 1
        sent.append(len(tokens) - len(gone))
        if gone:
            missed[position] = gone
    return DeliveryReport(sent, missed)
