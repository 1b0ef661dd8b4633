"""`make` on machines that lack something: one sentence that says what, and nothing left behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.server import ROOT

# What `python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'` comes to with Python 3.8.
OLD = """#!/bin/sh
[ "$1" = -c ] && exit 1
echo "an old Python must not be asked for more" >&2
exit 70
"""
# As on Debian without python3-venv: the module is there, but cannot do its work and leaves half of it.
WITHOUT_VENV = f"""#!/bin/sh
[ "$1" = -m ] || exec {sys.executable} "$@"
mkdir -p "$3/bin"
echo "The virtual environment was not created successfully because ensurepip is not available." >&2
exit 1
"""


class MakeTests(SynchronousTestCase):
    """In a copy of what make needs, so that the environment of this checkout stays as it is."""

    def setUp(self) -> None:
        make = shutil.which("make")
        if make is None:
            raise SkipTest("make is not installed here")
        self.make = make
        self.tree = Path(self.mktemp()).resolve()
        self.tree.mkdir()
        for name in ("Makefile", "setup.cfg", "pyproject.toml"):
            shutil.copy(ROOT / name, self.tree)
        self.before = sorted(os.listdir(self.tree))

    def script(self, text: str) -> Path:
        """A directory with this python3 in it, and with the tools that make needs."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        python = directory / "python3"
        python.write_text(text)
        python.chmod(0o755)
        for tool in ("sh", "rm", "mkdir", "sed", "echo"):
            found = shutil.which(tool)
            assert found is not None
            (directory / tool).symlink_to(found)
        return directory

    def refusal(self, *arguments: str, **variables: str) -> str:
        """What make says on stderr when it gives up, without its own closing line."""
        ended = self.run_make(*arguments, variables=variables)
        self.assertEqual(ended.returncode, 2)
        self.assertEqual(ended.stdout, "")
        *said, last = ended.stderr.splitlines()
        self.assertTrue(last.startswith("make: *** "), ended.stderr)
        self.assertEqual(len(said), 1, ended.stderr)
        self.assertEqual(sorted(os.listdir(self.tree)), self.before)
        return said[0]

    def run_make(self, *arguments: str, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run it; not as the child of the make that may be running these tests."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "PYTHON"}
        return subprocess.run(
            [self.make, *arguments],
            cwd=self.tree,
            env={**mine, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_an_old_python_that_was_asked_for_is_refused(self) -> None:
        python = self.script(OLD) / "python3"
        for target in ("run", "test"):
            sentence = self.refusal(target, f"PYTHON={python}")
            self.assertEqual(
                sentence,
                f"push needs Python 3.11 or newer, and {python} is not: say PYTHON=/path/to/a/newer/python3",
            )

    def test_a_path_with_nothing_but_an_old_python_is_refused(self) -> None:
        sentence = self.refusal("run", PATH=str(self.script(OLD)))
        self.assertIn("push needs Python 3.11 or newer, and there is none on the PATH", sentence)

    def test_a_python_that_is_not_there_is_refused(self) -> None:
        self.assertIn("push needs Python 3.11 or newer", self.refusal("run", "PYTHON=/nowhere/python3"))

    def test_a_python_without_venv_is_refused_and_leaves_nothing(self) -> None:
        python = self.script(WITHOUT_VENV) / "python3"
        sentence = self.refusal("run", f"PYTHON={python}")
        self.assertIn(f"{python} cannot make a virtual environment", sentence)
        self.assertIn("apt-get install python3-venv", sentence)

    def test_help_lists_the_targets_and_makes_nothing(self) -> None:
        ended = self.run_make(variables={})
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        for target in ("run", "demo", "test", "lint", "bench", "clean"):
            self.assertIn(f"make {target}\t", ended.stdout)
        self.assertEqual(sorted(os.listdir(self.tree)), self.before)
