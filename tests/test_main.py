"""The console script where the server's packages are missing."""

import subprocess
import sys
from unittest import TestCase

_WITHOUT_TWISTED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "twisted":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from push.__main__ import main
main()
"""


class MainTests(TestCase):
    """push-server."""

    def test_it_says_what_to_install(self) -> None:
        ended = subprocess.run([sys.executable, "-c", _WITHOUT_TWISTED], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn('pip install ".[server]"', ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
