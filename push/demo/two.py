"""`push-demo --two`: a server on free ports, a door that sends clients on to it, and two users in this terminal.

Two programs cannot share a terminal by themselves: tmux divides it, with a server of its own and none of its user's
settings. Without tmux there is one user here, who is told how to start the other one elsewhere.
"""

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

import click

from push.demo.door import Door
from push.protocols.wire.answers import NodeAddress
from push.testing.server import HOST, PushServer, ServerFailed

# What one user needs beside the other, or above: below it each gets a window of their own.
_COLUMNS, _LINES = 76, 24


async def run() -> int:
    """Run until the users are gone.

    Returns:
        The exit code.
    """
    click.echo("starting a server …")
    server = PushServer()
    try:
        await asyncio.to_thread(server.start)
        async with Door(NodeAddress(HOST, server.ports["framed"])) as door:
            place = [f"--server=push://{HOST}:{door.port}", f"--api={server.api_url}"]
            process = await asyncio.create_subprocess_exec(*command(place), env=_environment())
            return await process.wait()
    except ServerFailed as error:
        raise click.ClickException(str(error)) from None
    finally:
        await asyncio.to_thread(server.stop)


def command(place: Sequence[str]) -> list[str]:
    """The command that fills this terminal with two users, or with one who is told about the other."""
    tmux = shutil.which("tmux")
    if tmux is not None:
        # The terminal itself is asked, as by tmux: what COLUMNS and LINES say may be of another one.
        size = os.get_terminal_size(sys.stdout.fileno())
        return divided(tmux, [user(uid, place) for uid in ("alice", "bob")], size)
    other = shlex.join(user("bob", place))
    note = f"this is alice, as there is no tmux to divide this terminal. In another one, for bob: {other}"
    return user("alice", [*place, f"--note={note}"])


def user(uid: str, place: Sequence[str]) -> list[str]:
    """The command that is one user."""
    return [sys.executable, "-m", "push.demo.main", f"--uid={uid}", *place]


def divided(tmux: str, commands: Sequence[Sequence[str]], size: os.terminal_size) -> list[str]:
    """The command that runs two others in one terminal: side by side, one above the other, or one behind the other."""
    first, second = (shlex.join(each) for each in commands)
    if size.columns >= 2 * _COLUMNS:
        split, other = ["split-window", "-h", "-d"], ["select-pane", "-t", ":.+"]
    elif size.lines >= 2 * _LINES:
        split, other = ["split-window", "-v", "-d"], ["select-pane", "-t", ":.+"]
    else:
        split, other = ["new-window", "-d"], ["next-window"]
    steps: list[list[str]] = [
        ["start-server"],
        ["set", "-g", "mouse", "on"],
        ["set", "-g", "default-terminal", "screen-256color"],
        ["set", "-ga", "terminal-overrides", ",*:Tc"],
        # Where the terminal is closed, so are its users.
        ["set", "-g", "destroy-unattached", "on"],
        ["set", "-g", "status-style", "bg=#161b22,fg=#8b949e"],
        ["set", "-g", "status-left", " push demo "],
        ["set", "-g", "window-status-format", ""],
        ["set", "-g", "window-status-current-format", ""],
        ["set", "-g", "status-right", "F9: the other one · F10: quit, each "],
        ["set", "-g", "status-right-length", "60"],
        ["bind", "-n", "F9", *other],
        ["new-session", "-s", "demo", first],
        [*split, second],
    ]
    joined = steps[0] + [part for step in steps[1:] for part in (";", *step)]
    return [tmux, "-L", f"push-demo-{os.getpid()}", "-f", os.devnull, *joined]


def _environment() -> dict[str, str]:
    """Without what would stop a tmux within a tmux, or is the size of another terminal; with this process's modules."""
    others = ("TMUX", "TMUX_PANE", "COLUMNS", "LINES")
    mine = {name: value for name, value in os.environ.items() if name not in others}
    return mine | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
