"""From what was read to what is answered: pushes the good entries and says what became of each."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET

from push.errors import PushError
from push.ipush import IRouter
from push.model import PushRequest, PushResult
from push.web import errors
from push.web import message_schemas as schemas


def reply(result: PushResult) -> schemas.SendReply:
    """What became of a request, as JSON says it."""
    due_ms, delivered = result.due_ms, result.delivered
    if due_ms is None and delivered is None and not result.rejected and not result.is_logged:
        return schemas.SendReply(str(result.message_id), result.targets, result.sent, result.cached, result.unknown)
    return schemas.SendReply(
        str(result.message_id),
        result.targets,
        result.sent,
        result.cached,
        result.unknown,
        result.rejected or UNSET,
        result.is_logged or UNSET,
        UNSET if due_ms is None else due_ms,
        UNSET if delivered is None else delivered,
    )


def replies(outcomes: Iterable[PushResult | PushError], request_id: str) -> list[Any]:
    """What became of the entries of a request, as JSON says it.

    Args:
        outcomes: of each entry.
        request_id: of the request that they came in.
    """
    return [
        errors.entry(outcome, request_id) if isinstance(outcome, PushError) else reply(outcome) for outcome in outcomes
    ]


async def push(router: IRouter, parsed: Sequence[PushRequest | PushError]) -> Sequence[PushResult | PushError]:
    """Push the good entries, in one call.

    Args:
        router: where they go.
        parsed: requests, and in the place of bad ones what is wrong with them.

    Returns:
        For each entry what became of it.

    Raises:
        PushError: the router takes none of them.
    """
    good = [entry for entry in parsed if isinstance(entry, PushRequest)]
    outcomes: Sequence[PushResult | PushError] = await router.push(good) if good else ()
    if len(good) == len(parsed):
        return outcomes
    sent = iter(outcomes)
    return [entry if isinstance(entry, PushError) else next(sent) for entry in parsed]
