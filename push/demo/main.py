"""The entry point of `push-demo`. Imports nothing that may be missing before it can say so."""

import sys


def main() -> None:
    """Run push-demo with the arguments of the process, and exit."""
    try:
        from push.demo.command import demo
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in ("click", "rich", "textual"):
            raise
        sys.exit(f'push-demo needs {name}, which is not installed: pip install ".[server,demo]"')
    demo()


if __name__ == "__main__":
    main()
