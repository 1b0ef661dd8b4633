"""That each SDK needs nothing but the standard library and the wire core."""

import subprocess
import sys
import textwrap
from unittest import TestCase

PROGRAM = textwrap.dedent(
    """
    import sys

    sdk = sys.argv[1]

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            top = name.partition(".")[0]
            allowed = name in ("push", "push.protocols") or name.startswith(("push.protocols.wire", "push_client", sdk))
            if not allowed and top not in sys.stdlib_module_names:
                raise ModuleNotFoundError(f"{name} is blocked")

    sys.meta_path.insert(0, Blocker())

    import importlib

    for name in importlib.import_module(sdk).__all__:
        getattr(sys.modules[sdk], name)
    """
)
AIO = """
import asyncio
import aio_sdk


async def main():
    waiting = asyncio.Event()

    def on_status(status):
        if isinstance(status, aio_sdk.Waiting):
            waiting.set()

    async with aio_sdk.PushClient("push://127.0.0.1:1", on_status=on_status):
        await waiting.wait()


asyncio.run(main())
"""
NIO = """
import threading
import nio_sdk

waiting = threading.Event()


def on_status(status):
    if isinstance(status, nio_sdk.Waiting):
        waiting.set()


with nio_sdk.PushClient("push://127.0.0.1:1", on_status=on_status):
    assert waiting.wait(30)
assert "asyncio" not in sys.modules
"""
FOREIGN = """
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(sorted(name for name in foreign if name in ("twisted", "zope", "msgspec", "click", "rich", "klein")))
"""


class PurityTests(TestCase):
    """In an interpreter of its own, where nothing else can be imported."""

    def test_it_runs_where_nothing_else_is_installed(self) -> None:
        for sdk, program in (("aio_sdk", AIO), ("nio_sdk", NIO)):
            command = [sys.executable, "-c", PROGRAM + program + FOREIGN, sdk]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout.strip()), (0, "[]"), done.stderr)
