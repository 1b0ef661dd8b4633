"""Write the parts of the documentation that can be read off the code: settings, modules, the worked conversation.

Run it from a checkout, `.venv/bin/python docs/generate.py`; tests/test_docs.py fails when a page is out of date.
A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. Imports no reactor.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from push.config import Config, default_text, environment_name, option_name
from push.protocols.forms import AckForm, PlainForm
from push.protocols.wire.client import ClientSession, Received
from push.protocols.wire.frames import HEADER, Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, SubRequest
from push.protocols.wire.server import OpenRequested, Reply, ServerSession
from push.protocols.wire.signals import MAGIC, CloseCode, Signal

DOCS = Path(__file__).resolve().parent
_TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - an example
_SERVER_TIME_MS = 1_795_414_635_613
_MESSAGE_ID = 118_233_207_194_779_648


def settings_table() -> str:
    """Every setting, in the order in which push/config.py has them."""
    lines = [
        "| command line | environment | file | value | default | meaning |",
        "|---|---|---|---|---|---|",
        "| `--config`, `-c` | `PUSH_CONFIG` | | path | | TOML file with settings. |",
    ]
    for setting in fields(Config):
        default = default_text(setting)
        cells = [
            f"`--{option_name(setting)}`",
            f"`{environment_name(setting)}`",
            f"`{setting.name}`",
            _value(setting),
            f"`{default}`" if default else "",
            setting.metadata["help"],
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _value(setting: "Field[Any]") -> str:
    """What may be given, in words."""
    if isinstance(setting.default, bool):
        return "flag; elsewhere true or false"
    limits = inspect.getclosurevars(setting.metadata["parse"]).nonlocals
    if "words" in limits:
        return " or ".join(f"`{word}`" for word in limits["words"])
    if "least" in limits:
        kind = "whole number" if limits["whole"] else "number"
        return f"{kind}, {_plain(limits['least'])} to {_plain(limits['most'])}"
    value = setting.metadata["value"] or "HOST:PORT"
    return f"list of `{value}`" if setting.metadata["many"] else f"`{value}`"


def _plain(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def conversation() -> str:
    """What a client and a server say to each other, produced by the wire core on both sides."""
    said = "\n\n".join([*_with_acknowledgement(), *_of_an_older_sdk()])
    return f"```\n{said}\n```"


def _with_acknowledgement() -> Iterator[str]:
    client, server = ClientSession(), ServerSession(0.0)
    yield "A client that acknowledges. It sends a PING without waiting for the answer to its SUB."
    first = _encoded(client.sub(SubRequest(uid="alice", ack=True)))
    second = _encoded(client.ping())
    yield _shown("client", "SUB, message id 1", first)
    yield _shown("client", "PING, message id 2", second)
    for name, reply in zip(("SUB, message id 1", "PING, message id 2"), _answers(server, first + second), strict=True):
        yield _shown("server", name, reply)
        _feed(client, reply)
    pushed = AckForm().encode_push(_MESSAGE_ID, b"hello")
    yield _shown("server", f"PUSH, MN: message {_MESSAGE_ID}", pushed)
    (received,) = _feed(client, pushed)
    if not isinstance(received, Received) or received.message_id is None:
        raise AssertionError(received)
    (receipt,) = client.acknowledge([received.message_id])
    yield _shown("client", "PUB_ACK, MN", _encoded(receipt))
    goodbye = ServerSession.goodbye(Disconnect(CloseCode.SHUTDOWN, "the server is stopping", "backoff", 4.2))
    yield _shown("server", "DISCONNECT", _encoded(goodbye))


def _of_an_older_sdk() -> Iterator[str]:
    server = ServerSession(0.0)
    yield "A client of version 1: an empty SUB, message id 0, no acknowledgement."
    opening = HEADER.pack(MAGIC, 1, Signal.SUB, 0, 0, 0)
    yield _shown("client", "SUB", opening)
    (reply,) = _answers(server, opening)
    yield _shown("server", "SUB", reply)
    yield _shown("server", "PUSH", PlainForm().encode_push(_MESSAGE_ID, b"hello"))


def _answers(server: ServerSession, data: bytes) -> list[bytes]:
    """What the server says to this; it opens the session when the client's bytes have all been taken."""
    events: list[object] = [event for frame in FrameDecoder().feed(data) for event in server.receive(frame)]
    if any(isinstance(event, OpenRequested) for event in events):
        events += server.accept(token=_TOKEN, interval_ms=server.interval_ms, server_time_ms=_SERVER_TIME_MS)
    return [_encoded(event.frame) for event in events if isinstance(event, Reply)]


def _encoded(frame: Frame) -> bytes:
    return encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)


def _feed(client: ClientSession, data: bytes) -> list[object]:
    return [event for frame in FrameDecoder().feed(data) for event in client.receive(frame)]


def rooms() -> str:
    """Every module of the server and the SDKs, with the first sentence of its docstring."""
    top = DOCS.parent
    lines = ["```"]
    for folder in ("push", "sdk", "twisted"):
        for path in sorted((top / folder).rglob("*.py"), key=lambda path: (path.parent, path.name)):
            if "." not in str(path.relative_to(top).parent):
                name = str(path.relative_to(top)).removesuffix("__init__.py")
                lines.append(f"{name:<35} {_first_sentence(path)}")
    return "\n".join([*lines, "```"])


def _first_sentence(path: Path) -> str:
    paragraph = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\w)[.:](?= [A-Z]|$)", paragraph, maxsplit=1)[0].rstrip(".")


def _shown(who: str, what: str, data: bytes) -> str:
    """A frame as hexdump shows it: offsets, bytes, and what of them is ASCII."""
    lines = [f"{who}: {what}"]
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"  {start:04x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)


# Page and name of each generated part, and what writes it.
def redis_keys() -> str:
    """What the keys in Redis hold, out of the docstrings of the stores."""
    parts = []
    for path in sorted((DOCS.parent / "push" / "stores" / "redis").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        found = re.search(r"^Keys, behind (`[^`]*`).*?\n\n(\|.*?\n)(?=\n|\Z)", f"{text}\n", re.DOTALL | re.MULTILINE)
        if found is not None:
            parts.append(f"### {found[1]}\n\n{found[2]}")
    return "\n".join(parts).rstrip()


PARTS: Mapping[tuple[str, str], Callable[[], str]] = {
    ("architecture.md", "rooms"): rooms,
    ("configuration.md", "settings"): settings_table,
    ("protocol.md", "conversation"): conversation,
    ("redis.md", "redis-keys"): redis_keys,
}


def generated(page: str, text: str) -> str:
    """A page with its generated parts as they should be.

    Args:
        page: its name in docs/.
        text: the page as it is.

    Raises:
        ValueError: the markers of a part are missing.
    """
    for (belongs_to, name), write in PARTS.items():
        if belongs_to == page:
            begin = f"<!-- generated: {name} -->\n"
            before, found, rest = text.partition(begin)
            _, ended, after = rest.partition("<!-- end -->")
            if not found or not ended:
                raise ValueError(f"{page} has no part called {name}")
            text = f"{before}{begin}{write()}\n<!-- end -->{after}"
    return text


def main() -> None:
    """Bring all pages up to date."""
    for page in sorted({page for page, _ in PARTS}):
        path = DOCS / page
        path.write_text(generated(page, path.read_text()))


if __name__ == "__main__":
    main()
