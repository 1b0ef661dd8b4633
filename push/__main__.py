"""The console script `push-server`, and `python -m push`: twistd in the foreground, without a pid file.

Imports the server only when it is called, so that where only the SDKs are installed it can say what is missing.
"""

import sys


def main() -> None:
    """Run `twistd push` with the arguments given."""
    try:
        from twisted.scripts.twistd import run

        import push.tap  # noqa: F401  # all that a server needs, before twistd begins
    except ModuleNotFoundError as error:
        name = error.name or "a module"
        sys.exit(f'push-server needs {name}, which is not installed: pip install ".[server]"')
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "push", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
