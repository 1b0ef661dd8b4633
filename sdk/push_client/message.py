"""A message as the application gets it. Imports only the standard library."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        data: what was pushed, as bytes.
        id: its number, unique and growing with time; None where the session does not acknowledge.
    """

    data: bytes
    id: int | None = None
    _acknowledge: Callable[[int], None] | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The data as UTF-8 text.

        Raises:
            UnicodeDecodeError: it is something else.
        """
        return self.data.decode()

    def json(self) -> Any:
        """The data as JSON.

        Raises:
            ValueError: it is something else.
        """
        return json.loads(self.data)

    def ack(self) -> None:
        """Tell the server that this message is handled, so that it is not sent again.

        Returns at once; while there is no connection it is kept for the next. Twice does no harm.
        """
        if self.id is not None and self._acknowledge is not None:
            self._acknowledge(self.id)
