"""The commands of pushctl about connectors: which there are, emptying one, and which one a token is on."""

import json
import time
from typing import Any
from urllib.parse import quote

import click

from push.ctl import showing
from push.ctl.api import Api, RefusedError, UnreachableError
from push.ctl.asking import REFUSED, fail, speaks_http

POLL_S = 1.0
# How long nobody may answer who watches a connector being emptied: an API that is started anew is back by then.
PATIENCE_S = 60.0


def _listed(reply: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = reply.get("nodes")
    return [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def _unreachable(reply: dict[str, Any]) -> list[str]:
    names = reply.get("unreachable")
    return [str(name) for name in names] if isinstance(names, list) else []


def _name(node: dict[str, Any]) -> str:
    return str(node.get("name", node.get("address")))


@click.command()
@speaks_http
def nodes(api: Api, as_json: bool) -> None:
    """Show the connectors."""
    reply = api.get("/v1/nodes")
    listed = _listed(reply)
    if as_json:
        click.echo(json.dumps(reply))
    elif not listed:
        click.echo("no connector is up")
    else:
        showing.print_table(showing.nodes_table(listed))
    unreachable = _unreachable(reply)
    if unreachable and not as_json:
        click.echo(showing.one_line(f"no answer from: {' '.join(unreachable)}"))


@click.command()
@click.argument("node")
@click.option("--rate", type=click.FloatRange(0, 1_000_000, min_open=True), default=100.0, show_default=True,
              metavar="R", help="How many sessions are sent elsewhere in a second.")  # fmt: skip
@click.option("--undo", is_flag=True, help="Let it take sessions again.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is empty.")
@speaks_http
def drain(api: Api, as_json: bool, node: str, rate: float, undo: bool, no_wait: bool) -> None:
    """Empty a connector: it takes no new sessions, and those it has are sent to others. Ctrl-C only stops watching."""
    path = f"/v1/nodes/{quote(node, safe='')}:"
    if undo:
        reply = api.post(f"{path}undrain", b"")
    else:
        reply = api.post(f"{path}drain", json.dumps({"sessions_per_s": rate}).encode())
    if as_json:
        click.echo(json.dumps(reply))
    drained = {_name(one) for one in _listed(reply)}
    if undo:
        _say(f"{node} takes sessions again", silent=as_json)
    elif no_wait:
        _say(f"{node} is being emptied: {_sessions(_listed(reply))} sessions left", silent=as_json)
    else:
        _watch(api, node, drained, silent=as_json)


@click.command()
@click.argument("token")
@speaks_http
def where(api: Api, as_json: bool, token: str) -> None:
    """Show which connector a token is on."""
    reply = api.get(f"/v1/tokens/{quote(token, safe='')}")
    if as_json:
        click.echo(json.dumps(reply))
        return
    whose = "" if reply.get("uid") is None else f", user {reply['uid']}"
    if reply.get("online"):
        said = f"online at {reply.get('connector')} since {showing.moment(reply.get('since'))}{whose}"
    else:
        said = f"offline{whose}"
    click.echo(showing.one_line(said))


def _sessions(listed: list[dict[str, Any]]) -> int:
    numbers = [node.get("sessions") for node in listed]
    return sum(number for number in numbers if isinstance(number, int))


def _watch(api: Api, node: str, drained: set[str], *, silent: bool) -> None:
    """Wait until they are empty, or gone; say how many sessions are left whenever that has changed."""
    last = None
    answered_s = time.monotonic()
    while True:
        try:
            reply = api.get("/v1/nodes")
        except (RefusedError, UnreachableError) as error:
            if _is_final(error) or time.monotonic() - answered_s > PATIENCE_S:
                raise
            time.sleep(POLL_S)
            continue
        answered_s = time.monotonic()
        found = [one for one in _listed(reply) if _name(one) in drained]
        if not all(one.get("draining") for one in found):
            fail(REFUSED, showing.one_line(f"{node} takes sessions again: it was started anew, or somebody undid it"))
        left = _sessions(found)
        unreachable = _unreachable(reply)
        is_silent = not drained.isdisjoint(unreachable)  # it may have sessions still
        # It was drained because there are others: who knows of none was started a moment ago, and knows nothing yet.
        is_told = bool(_listed(reply) or unreachable)
        if is_told and not left and not is_silent:
            _say(f"{node} is empty: it may be stopped" if found else f"{node} is gone", silent=silent)
            return
        if left and left != last:
            _say(f"{left} sessions left", silent=silent)
            last = left
        time.sleep(POLL_S)


def _is_final(error: RefusedError | UnreachableError) -> bool:
    """Whether asking again would change nothing."""
    return isinstance(error, RefusedError) and error.status < 500


def _say(text: str, *, silent: bool) -> None:
    if not silent:
        click.echo(showing.one_line(text))
