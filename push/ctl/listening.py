"""`pushctl listen`: messages to stdout and statuses to stderr, until it is interrupted or told to go."""

import base64
import json
from collections.abc import Callable

import aio_sdk
from push.ctl.running import saying, until_interrupted
from push.ctl.showing import harmless


def message_line(message: aio_sdk.Message, *, as_json: bool) -> str:
    """A message as a line, or as one JSON object, which has `data_base64` where it is not text."""
    try:
        text = message.text
    except UnicodeDecodeError:
        text = None
    if not as_json:
        return repr(message.data) if text is None else harmless(text)
    fields = {"id": None if message.id is None else str(message.id)}
    if text is None:
        fields["data_base64"] = base64.b64encode(message.data).decode()
    else:
        fields["data"] = text
    return json.dumps(fields)


async def listen(
    make_client: Callable[[Callable[[aio_sdk.Status], None]], aio_sdk.PushClient],
    *,
    as_json: bool,
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Show messages until SIGINT or SIGTERM.

    Args:
        make_client: makes the client, given its on_status.
        as_json: one JSON object a line.
        show: takes each message's line.
        tell: takes each status as a line.

    Raises:
        ClientError: the server will not have this client.
    """
    with until_interrupted():
        async with make_client(saying(tell)) as client:
            async for message in client:
                show(message_line(message, as_json=as_json))
