"""Whether what did not come to `pushctl verify` has expired: the server is asked, and believed only when it is time.

A server that is killed forgets what it wrote down in its last two seconds: that a message expired, or all that it knew
of it. So what it has no receipt of, and what it takes for accepted, kept, or sent and not yet acknowledged, though its
time is over, counts as expired too. Must not know the ledger: messages go in by their ids, and ids come out.
"""

import asyncio
import time
from collections.abc import Collection
from typing import Any

from push.ctl.api import Api, RefusedError, UnreachableError

# Between questions: what is over is found out by a server in its own time.
PAUSE_S = 0.5
_NOT_FOUND = 404
# States of a message that has not ended, as far as the server knows.
_OPEN = ("accepted", "cached", "sent")


async def expired(api: Api, message_ids: Collection[int], patience_s: float) -> set[int]:
    """Which of these messages, each for one token, have expired according to what is known of them.

    Args:
        api: of the server; its key must allow to read.
        message_ids: whose time is over.
        patience_s: how long to go on asking about those that have not.

    Returns:
        Their ids.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + patience_s
    asked, found = set(message_ids), set[int]()
    while True:
        found |= await asyncio.to_thread(_ask, api, sorted(asked - found))
        if found == asked or loop.time() > end_s:
            return found
        await asyncio.sleep(PAUSE_S)


def _ask(api: Api, message_ids: Collection[int]) -> set[int]:
    connection = api.connection()
    found = set()
    try:
        for message_id in message_ids:
            try:
                if _is_over(api.ask(connection, "GET", f"/v1/messages/{message_id}")):
                    found.add(message_id)
            except RefusedError as error:
                if error.status == _NOT_FOUND:
                    found.add(message_id)
    except UnreachableError:
        pass
    finally:
        connection.close()
    return found


def _is_over(receipt: dict[str, Any]) -> bool:
    counts, tokens, expires = receipt.get("counts"), receipt.get("tokens"), receipt.get("expires")
    if isinstance(counts, dict) and counts.get("expired") == 1:
        return True
    is_open = isinstance(tokens, list) and all(each.get("state") in _OPEN for each in tokens)
    return is_open and isinstance(expires, int) and expires < time.time() * 1000
