"""`pushctl chat`: a plain terminal chat. Lines of stdin are said, what others say is printed, until stdin ends."""

import asyncio
import selectors
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

import aio_sdk
from push.ctl import showing
from push.ctl.asking import REFUSED, fail, usage
from push.ctl.running import saying, until_interrupted
from push.ctl.showing import harmless

_HELP = "/who  /history  /join GROUP  /to USER  /group GROUP  /quit"


def message_line(message: aio_sdk.ChatMessage) -> str:
    """A message as a line: when, where, who, what."""
    at = time.strftime("%H:%M", time.localtime(message.time_ms / 1000))
    who = message.sender or (f"token {message.sender_token[:8]}…" if message.sender_token else "system")
    where = f"#{message.group} " if message.group is not None else ""
    if message.is_recalled:
        what = "(taken back)"
    elif message.recalls is not None:
        what = f"(took back message {message.recalls})"
    else:
        what = message.text if message.text is not None else f"(data) {message.data}"
    return showing.one_line(f"{at} {where}{who}: {what}")


class Terminal:
    """One chat in a terminal.

    Args:
        chat: the client's.
        group: where lines are said, if not to a user.
        to: to which user.
        show: takes each line.
    """

    def __init__(self, chat: aio_sdk.Chat, *, group: str | None, to: str | None, show: Callable[[str], None]) -> None:
        self._chat = chat
        self._group = group
        self._to = to
        self._show = show

    async def enter(self) -> None:
        """Be a member of the group; make it if it is not there."""
        if self._group is None:
            return
        try:
            await self._chat.join(self._group)
        except aio_sdk.ChatError as error:
            if error.status != 404:
                raise
            await self._chat.create(self._group)

    async def hear(self) -> None:
        """Print what is said."""
        async for message in self._chat:
            self._show(message_line(message))

    async def typed(self, line: str) -> bool:
        """Do what a line says. Returns whether to go on."""
        command, _, rest = line.strip().partition(" ")
        if not command:
            return True
        try:
            if command == "/quit":
                return False
            await self._do(command, rest.strip(), line)
        except (aio_sdk.ChatError, ValueError) as error:
            self._show(f"- {harmless(str(error))}")
        return True

    async def _do(self, command: str, rest: str, line: str) -> None:
        if command == "/who":
            if self._group is None:
                raise ValueError("you are in no group: /group GROUP")
            members = await self._chat.members(self._group)
            names = [str(each.get("uid") or each.get("token")) for each in members]
            self._show("- " + harmless(", ".join(names)))
        elif command == "/history":
            for message in await self._chat.history(group=self._group, to=self._to):
                self._show(message_line(message))
        elif command in ("/join", "/group") and rest:
            self._group, self._to = rest, None
            await self.enter()
        elif command == "/to" and rest:
            self._group, self._to = None, rest
        elif command.startswith("/"):
            self._show(f"- {_HELP}")
        elif self._group is not None:
            await self._chat.send_to_group(self._group, line)
        elif self._to is not None:
            await self._chat.send_to_user(self._to, line)
        else:
            self._show("- nobody hears you: /group GROUP or /to USER")


async def run(
    make_client: Callable[[Callable[[aio_sdk.Status], None]], aio_sdk.PushClient],
    *,
    group: str | None,
    to: str | None,
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Chat until the end of stdin, SIGINT or SIGTERM.

    Raises:
        ClientError: the server will not have this client.
        ChatError: the group cannot be entered.
    """
    with until_interrupted():
        async with make_client(saying(tell)) as client:
            terminal = Terminal(client.chat, group=group, to=to, show=show)
            await terminal.enter()
            hearing = asyncio.create_task(terminal.hear())
            reading = asyncio.create_task(_read(terminal))
            try:
                await asyncio.wait([hearing, reading], return_when=asyncio.FIRST_COMPLETED)
                for task in (hearing, reading):
                    if task.done():
                        task.result()
            finally:
                for task in (hearing, reading):
                    task.cancel()
                await asyncio.gather(hearing, reading, return_exceptions=True)


async def _read(terminal: Terminal) -> None:
    if sys.stdin is None:  # closed by who started this
        return
    read_line = await _stdin()
    while line := await read_line():
        if not await terminal.typed(line.decode("utf-8", "replace").rstrip("\n")):
            return


async def _stdin() -> Callable[[], Awaitable[bytes]]:
    """What reads the next line. Files and /dev/null cannot be waited for, and never make one wait."""
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(sys.stdin, selectors.EVENT_READ)
        except PermissionError:
            return lambda: asyncio.to_thread(sys.stdin.buffer.readline)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader.readline


@click.command()
@click.option("--server", default="push://127.0.0.1:6789", envvar="PUSH_SERVER", show_default=True,
              show_envvar=True, metavar="URL",
              help="push://host:port or ws://host:port/path; pushs:// or wss:// for TLS.")  # fmt: skip
@click.option("--uid", required=True, metavar="U", help="Be a device of this user.")
@click.option("--group", metavar="G", help="Join this group, or make it, and speak there.")
@click.option("--to", metavar="U", help="Speak to this user.")
@click.option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="Stay the same device.")
@click.option("--auth", envvar="PUSH_AUTH", show_envvar=True, metavar="JWT", help="The credential, where demanded.")
def chat(server: str, group: str | None, to: str | None, **who: Any) -> None:
    """Talk in a group, or to a user, in a plain terminal; /help lists what else can be typed."""
    if group is not None and to is not None:
        raise usage(ValueError("say --group or --to, not both"))

    def make_client(on_status: Callable[[aio_sdk.Status], None]) -> aio_sdk.PushClient:
        return aio_sdk.PushClient(server, on_status=on_status, **who)

    try:
        make_client(lambda status: None)
    except ValueError as error:
        raise usage(error) from None
    try:
        asyncio.run(
            run(
                make_client,
                group=group,
                to=to,
                show=click.echo,
                tell=lambda line: click.echo(f"- {line}", err=True),
            )
        )
    except (aio_sdk.ClientError, aio_sdk.ChatError) as error:
        fail(REFUSED, showing.one_line(str(error)))
