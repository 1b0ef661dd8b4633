"""Gather in build/ what goes into the app: main.py, phone/, and of push the SDK and the wire core, and nothing else.

Run it before buildozer, whose spec takes what is in there: `python gather.py && buildozer android debug`.
"""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
_PARTS = (
    (HERE / "main.py", "main.py"),
    (HERE / "phone", "phone"),
    (ROOT / "sdk" / "nio_sdk", "nio_sdk"),
    (ROOT / "sdk" / "push_client", "push_client"),
    (ROOT / "push" / "__init__.py", "push/__init__.py"),
    (ROOT / "push" / "protocols" / "__init__.py", "push/protocols/__init__.py"),
    (ROOT / "push" / "protocols" / "wire", "push/protocols/wire"),
)


def gather(target: Path) -> None:
    """Put it there, in the place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    for source, name in _PARTS:
        there = target / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, there)


if __name__ == "__main__":
    gather(Path(sys.argv[1]) if sys.argv[1:] else HERE / "build")
