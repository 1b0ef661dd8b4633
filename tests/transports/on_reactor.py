"""Runs the lean suite on another reactor, in this process; then stops that reactor under live connections.

Arguments: which reactor, then trial's. `uvloop` is asyncio's on uvloop's event loop.
"""

import sys
from importlib import import_module


def install(name: str) -> None:
    """Make a reactor the reactor."""
    if name == "uvloop":
        import uvloop
        from twisted.internet import asyncioreactor

        asyncioreactor.install(uvloop.new_event_loop())
    else:
        import_module(f"twisted.internet.{name}reactor").install()


def main() -> None:
    """Run trial."""
    install(sys.argv.pop(1))
    from twisted.scripts.trial import run

    run()


if __name__ == "__main__":
    main()
