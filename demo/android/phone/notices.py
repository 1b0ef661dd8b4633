"""Telling the user something while the app is not in front: the seam, and what there is on a desktop.

Standard library only. android_notices.py is the other side.
"""

import shutil
import subprocess
from typing import Protocol


class Notices(Protocol):
    """Notifications."""

    def show(self, title: str, text: str) -> None:
        """Show one, in the place of the one before."""
        ...


class DesktopNotices:
    """By notify-send, where there is one; elsewhere nothing is shown outside the app."""

    def __init__(self) -> None:
        self._program = shutil.which("notify-send")

    def show(self, title: str, text: str) -> None:
        """Show one, and do not wait for it."""
        if self._program is not None:
            # What others have said comes after --, as it may begin like an option.
            subprocess.Popen(  # noqa: S603
                [self._program, "--app-name=push demo", "--", title, text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
