"""The commands of pushctl, but those about messages: options in, one call, something to read out.

Exit codes: 0 fine, 1 the server refused or broke a promise, 2 wrong usage, 3 the server cannot be reached.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import aio_sdk
from push.ctl import keys, showing, verdicts
from push.ctl.api import Api
from push.ctl.asking import REFUSED, fail, speaks_http, usage
from push.ctl.chatting import chat
from push.ctl.listening import listen as listen_until_stopped
from push.ctl.messages import message, send
from push.ctl.nodes import drain, nodes, where
from push.ctl.verifying import Plan, Run

_SERVER = click.option("--server", default="push://127.0.0.1:6789", envvar="PUSH_SERVER", show_default=True,
                       show_envvar=True, metavar="URL",
                       help="push://host:port or ws://host:port/path; pushs:// or wss:// for TLS.")  # fmt: skip
_AUTH = click.option(
    "--auth", envvar="PUSH_AUTH", show_envvar=True, metavar="JWT", help="The credential, where demanded."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="push-server", prog_name="pushctl")
def pushctl() -> None:
    """Talk to a push server: send messages, listen to them, see how it is."""


pushctl.add_command(chat)
pushctl.add_command(send)
pushctl.add_command(message)
pushctl.add_command(nodes)
pushctl.add_command(drain)
pushctl.add_command(where)


@pushctl.command()
@speaks_http
def stats(api: Api, as_json: bool) -> None:
    """Show the server's numbers."""
    reply = api.get("/v1/stats")
    if as_json:
        click.echo(json.dumps(reply))
    else:
        showing.print_table(showing.stats_table(reply))


@pushctl.command()
@_SERVER
@click.option("--uid", metavar="U", help="Be a device of this user.")
@click.option("--token", metavar="T", help="Be this device.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the token here; else every run is a new device.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Be addressed by this tag; may be repeated.")
@_AUTH
@click.option("--json", "as_json", is_flag=True, help="Print each message as one JSON object.")
def listen(server: str, tags: tuple[str, ...], as_json: bool, **who: Any) -> None:
    """Print messages as they arrive, until Ctrl-C."""

    def make_client(on_status: Callable[[aio_sdk.Status], None]) -> aio_sdk.PushClient:
        return aio_sdk.PushClient(server, tags=tags or None, on_status=on_status, **who)

    try:
        make_client(lambda status: None)  # what is wrong with the options is said before anything runs
    except ValueError as error:
        raise usage(error) from None
    try:
        asyncio.run(
            listen_until_stopped(
                make_client, as_json=as_json, show=click.echo, tell=lambda line: click.echo(f"- {line}", err=True)
            )
        )
    except aio_sdk.ClientError as error:
        fail(REFUSED, showing.one_line(str(error)))


@pushctl.command()
@_SERVER
@click.option("--allocation", metavar="URL",
              help="Have the receivers ask there where to connect, e.g. http://10.0.0.1:8080/v1/allocate; --server is "
                   "where they go when that is away.")  # fmt: skip
@_AUTH
@click.option("--tokens", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many receivers.")
@click.option("--senders", type=click.IntRange(1, 64), default=4, show_default=True, help="How many at a time.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=500.0, show_default=True, metavar="R",
              help="Messages a second, in all.")  # fmt: skip
@click.option("--broadcasts", type=click.FloatRange(0), default=0.0, show_default=True, metavar="R",
              help="Messages a second for all receivers at once.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1, 10_000), default=8, show_default=True,
              help="The most messages a request; how many, is left to chance.")  # fmt: skip
@click.option("--size", "size_bytes", type=click.IntRange(0, 65_528), default=0, metavar="BYTES",
              help="Fill messages up to this length.")  # fmt: skip
@click.option("--ttl", "ttl_s", type=click.IntRange(min=0), metavar="SECONDS",
              help="The messages' time to live; longer than the run, if all are to arrive.")  # fmt: skip
@click.option("--store", type=click.Choice(["if_offline", "always"]),
              help="With always, what was refused must not have been seen by anybody.")  # fmt: skip
@click.option("--retry", is_flag=True,
              help="Make a request without an answer again, under the same name, until it has one.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, metavar="S",
              help="How long to send; Ctrl-C ends it earlier.")  # fmt: skip
@click.option("--settle", "settle_s", type=click.FloatRange(0), default=10.0, show_default=True, metavar="S",
              help="When nothing has come for so long, what is missing is lost.")  # fmt: skip
@click.option("--churn", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="SHARE",
              help="The share of receivers that go away and come back.")  # fmt: skip
@click.option("--online", "online_s", type=click.FloatRange(0.01), default=3.0, show_default=True, metavar="S",
              help="How long these stay, on average.")  # fmt: skip
@click.option("--away", "away_s", type=click.FloatRange(0), default=1.0, show_default=True, metavar="S",
              help="How long they are away, on average.")  # fmt: skip
@click.option("--seed", type=int, help="Of all chance; the one that was used is printed.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write all that was found there, as JSON.")  # fmt: skip
@speaks_http
def verify(api: Api, as_json: bool, seed: int | None, report_file: Path | None, **plan: Any) -> None:
    """Prove that what a live server accepts arrives, in order, while receivers come and go; kill it meanwhile.

    Exits with 1 where something was lost, came out of order, or broke another promise. A request that had no answer
    is unknown: it may or may not arrive.
    """
    try:
        run = Run(
            Plan(seed=secrets.randbits(32) if seed is None else seed, **plan),
            api,
            tell=lambda line: click.echo(f"- {line}", err=True),
        )
    except ValueError as error:
        raise usage(error) from None
    verdict = asyncio.run(run.verify())
    if report_file is not None:
        report_file.write_text(json.dumps(verdicts.fields_of(verdict), indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(verdicts.fields_of(verdict, max_items=verdicts.SHOWN_ITEMS)))
    else:
        click.echo("\n".join(verdicts.lines(verdict)))
    if not verdict.report.ok:
        sys.exit(REFUSED)


@pushctl.command()
@click.option("--name", required=True, metavar="N", help="To tell keys apart: 1-64 of A-Z a-z 0-9 . _ -")
@click.option("--rights", default="push", show_default=True, metavar="R,…",
              help=f"What it allows, with commas between: {', '.join(keys.RIGHTS)}.")  # fmt: skip
def key(name: str, rights: str) -> None:
    """Make a key for the HTTP API. The server is told its hash only, so it is shown this once."""
    asked = list(dict.fromkeys(right.strip() for right in rights.split(",")))
    if not keys.NAME_PATTERN.match(name):
        raise click.UsageError("--name must be 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if not set(asked) <= set(keys.RIGHTS):
        raise click.UsageError(f"--rights must be of {', '.join(keys.RIGHTS)}, with commas between")
    made = keys.make_key()
    click.echo(f"key, for who sends (PUSH_API_KEY):\n  {made}")
    click.echo("setting, for the server (--api-key, PUSH_API_KEYS, or api_keys in the TOML file):")
    click.echo(f"  {keys.setting(name, asked, made)}")
