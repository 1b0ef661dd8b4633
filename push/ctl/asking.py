"""What the commands of pushctl that ask the HTTP API have in common: where it is, the key, and how they fail."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

import click

from push.ctl import showing
from push.ctl.api import Api, RefusedError, UnreachableError

REFUSED = 1
UNREACHABLE = 3

P = ParamSpec("P")


def fail(code: int, *lines: str) -> NoReturn:
    """Say why on standard error, and exit."""
    for line in lines:
        click.echo(f"pushctl: {line}", err=True)
    sys.exit(code)


def usage(error: ValueError) -> click.UsageError:
    """What was typed cannot be meant."""
    return click.UsageError(showing.one_line(str(error)))


def speaks_http(command: Callable[P, None]) -> Callable[P, None]:
    """Give a command the options --api, --key and --json, of which it gets `api` and `as_json`."""

    @click.option("--api", "api", default="http://127.0.0.1:8080", envvar="PUSH_API_URL", show_default=True,
                  show_envvar=True, metavar="URL", help="Where the HTTP API is.")  # fmt: skip
    @click.option("--key", envvar="PUSH_API_KEY", show_envvar=True, metavar="KEY",
                  help="The API key; better in the environment, where no list of processes shows it.")  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print the server's reply as JSON.")
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            kwargs["api"] = Api(str(kwargs["api"]), kwargs.pop("key"))  # type: ignore[arg-type]
        except ValueError as error:
            raise usage(error) from None
        try:
            command(*args, **kwargs)
        except RefusedError as error:
            fail(REFUSED, *showing.refusal(error))
        except UnreachableError as error:
            fail(UNREACHABLE, showing.one_line(str(error)))

    return run
