"""Whether what did not come to `pushctl verify` has expired: the server is asked, and believed only when it is time.

Must not know the ledger: messages go in by their ids, and ids come out.
"""

import asyncio
from collections.abc import Collection
from typing import Any

from push.ctl.api import Api, RefusedError, UnreachableError

# Between questions: what is over is found out by a server in its own time.
PAUSE_S = 0.5


async def expired(api: Api, message_ids: Collection[int], patience_s: float) -> set[int]:
    """Which of these messages, each for one token, have expired according to their receipts.

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
                receipt = api.ask(connection, "GET", f"/v1/messages/{message_id}")
            except RefusedError:  # not known, or not for this key
                continue
            if _says_expired(receipt):
                found.add(message_id)
    except UnreachableError:
        pass
    finally:
        connection.close()
    return found


def _says_expired(receipt: dict[str, Any]) -> bool:
    counts = receipt.get("counts")
    return isinstance(counts, dict) and counts.get("expired") == 1
