"""The command `push-demo`: one user in this terminal, or, with --two, a server and two users."""

import asyncio
import os
import sys
from typing import Any

import click

from push.ctl.api import Api
from push.ctl.asking import usage
from push.demo.app import DemoApp
from push.demo.two import run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="push-server", prog_name="push-demo")
@click.option("--server", default="push://127.0.0.1:6789", envvar="PUSH_SERVER", show_default=True,
              show_envvar=True, metavar="URL",
              help="push://host:port or ws://host:port/path; pushs:// or wss:// for TLS.")  # fmt: skip
@click.option("--api", "api_url", default="http://127.0.0.1:8080", envvar="PUSH_API_URL", show_default=True,
              show_envvar=True, metavar="URL", help="Where the HTTP API is, for pushes to oneself.")  # fmt: skip
@click.option("--key", envvar="PUSH_API_KEY", show_envvar=True, metavar="KEY", help="The API key, where demanded.")
@click.option("--auth", envvar="PUSH_AUTH", show_envvar=True, metavar="JWT", help="The credential, where demanded.")
@click.option("--uid", metavar="U", help="Who you are; a guest, if left out.")
@click.option("--group", default="friends", show_default=True, metavar="G", help="Join this group, or make it.")
@click.option("--two", is_flag=True, help="Start a server of its own, and two users: alice and bob.")
@click.option("--note", default="", hidden=True, help="To be read at the start.")
def demo(server: str, api_url: str, key: str | None, uid: str | None, two: bool, **more: Any) -> None:
    """Look at a client of push: its connection, its heartbeat, what is pushed to it, and groups to talk in."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("push-demo fills a terminal, and this is none")
    if two:
        sys.exit(asyncio.run(run()))
    try:
        app = DemoApp(server, uid=uid or f"guest-{os.getpid()}", api=Api(api_url, key), **more)
    except ValueError as error:
        raise usage(error) from None
    app.run()
