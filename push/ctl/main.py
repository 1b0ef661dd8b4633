"""The entry point of `pushctl`. Imports nothing that may be missing before it can say so."""

import sys


def main() -> None:
    """Run pushctl with the arguments of the process, and exit."""
    try:
        from push.ctl.commands import pushctl
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f'pushctl needs {error.name}, which is not installed: pip install ".[server]"')
    pushctl()
