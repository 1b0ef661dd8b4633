"""The commands of pushctl about messages: sending them, and asking what became of them."""

import json
import sys
from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import click

from push.ctl import receipts, showing
from push.ctl.api import TIMEOUT_S, Api
from push.ctl.asking import speaks_http, usage
from push.ctl.sending import body, options, payload, target

_HOW = (
    click.option(
        "--ttl",
        type=click.IntRange(min=0),
        metavar="SECONDS",
        help="How long it is kept for those whom it has not reached.",
    ),
    click.option("--collapse-key", metavar="KEY", help="Takes the place of what is undelivered and has the same."),
    click.option("--priority", type=click.Choice(["normal", "high"]), help="high: first when a client returns."),
    click.option("--deliver-at", metavar="TIME", help="Not before, e.g. 2027-01-31T08:00:00+01:00."),
    click.option("--store", type=click.Choice(["if_offline", "always", "never"]), help="Whether it is kept."),
    click.option(
        "--on-full", type=click.Choice(["reject", "drop_oldest"]), help="What gives way where a token's cache is full."
    ),
    click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(min=0, min_open=True, max=60),
        metavar="SECONDS",
        help="Wait until it is delivered, at most so long.",
    ),
)


def _how(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_HOW):
        command = option(command)
    return command


@click.command()
@click.argument("text", required=False)
@click.option("--token", "tokens", multiple=True, metavar="T", help="To this token; may be repeated.")
@click.option("--uid", "uids", multiple=True, metavar="U", help="To every token of this user; may be repeated.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="To tokens with this tag, or any of several.")
@click.option("--connector", metavar="IP[:PORT]", help="To every session on this connector.")
@click.option("--all", "everybody", is_flag=True, help="To everybody.")
@click.option("--json-data", is_flag=True, help="The text is JSON; it arrives compact, otherwise as written.")
@click.option("--file", "file", type=click.File("rb"), help="Send the bytes of this file, - for standard input.")
@_how
@click.option("--idempotency-key", "name", metavar="NAME", help="Sent again with the same name, it is sent once.")
@click.option("--validate-only", is_flag=True, help="Count the receivers, but send nothing.")
@speaks_http
def send(
    api: Api,
    as_json: bool,
    text: str | None,
    file: BinaryIO | None,
    json_data: bool,
    name: str | None,
    validate_only: bool,
    tokens: tuple[str, ...],
    uids: tuple[str, ...],
    tags: tuple[str, ...],
    connector: str | None,
    everybody: bool,
    **how: Any,
) -> None:
    """Send TEXT, or standard input where it is -, to whom the options say."""
    try:
        if text == "-" and file is None:
            text, file = None, sys.stdin.buffer
        whom = target(tokens=tokens, uids=uids, tags=tags, connector=connector, everybody=everybody)
        what = payload(text, file, json_data=json_data)
        request = body(whom, what, options=options(**how), validate_only=validate_only)
        headers = {} if name is None else {"Idempotency-Key": _header(name)}
    except ValueError as error:
        raise usage(error) from None
    timeout_s = TIMEOUT_S + (how["wait_s"] or 0.0)
    reply = api.post("/v1/messages:send", request, headers=headers, timeout_s=timeout_s)
    _print(reply, as_json, receipts.sent_lines(reply, validate_only=validate_only))


def _header(name: str) -> str:
    if not name.isascii() or not name.isprintable():
        raise ValueError("--idempotency-key must be of visible ASCII characters")
    return name


@click.group()
def message() -> None:
    """Ask what became of a message, or take it back. ID is what its sending printed."""


@message.command()
@click.argument("message_id", metavar="ID")
@speaks_http
def show(api: Api, as_json: bool, message_id: str) -> None:
    """Show the life of a message: what happened to it, for how many, and for whom."""
    reply = api.get(_path(message_id))
    _print(reply, as_json, receipts.life_lines(reply))
    table = receipts.tokens_table(reply)
    if table is not None and not as_json:
        showing.print_table(table)


@message.command()
@click.argument("message_id", metavar="ID")
@speaks_http
def cancel(api: Api, as_json: bool, message_id: str) -> None:
    """Take back what is undelivered of a message."""
    reply = api.delete(_path(message_id))
    said = (
        f"taken back for {reply.get('cancelled')}" if reply.get("cancelled") else "there is nothing left to take back"
    )
    _print(reply, as_json, [f"message {reply.get('id')}: {said}"])


@message.command()
@click.argument("message_id", metavar="ID")
@click.option("--token", required=True, metavar="T", help="At which it has or has not arrived.")
@speaks_http
def explain(api: Api, as_json: bool, message_id: str, token: str) -> None:
    """Say in words why a message has or has not arrived at a token."""
    # Bytes that are not text come back as what they were.
    query = urlencode({"token": token}, errors="surrogateescape")
    reply = api.get(f"{_path(message_id)}:explain?{query}")
    listed = reply.get("explanation")
    _print(reply, as_json, [str(sentence) for sentence in (listed if isinstance(listed, list) else [])])


def _path(message_id: str) -> str:
    return f"/v1/messages/{quote(message_id, safe='', errors='surrogateescape')}"


def _print(reply: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    if as_json:
        click.echo(json.dumps(reply))
        return
    for line in lines:
        click.echo(showing.one_line(line))
