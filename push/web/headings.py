"""Routes that stand under one heading, and what they have in common."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from push.errors import PushError
from push.web.routes import Parameter, Route


@dataclass(frozen=True, slots=True)
class Heading:
    """One heading of the API.

    Attributes:
        tag: its name.
        right: what a key must allow, where a route does not say otherwise.
        failures: what all of its routes may answer, besides the failures common to all.
    """

    tag: str
    right: str
    failures: tuple[type[PushError], ...]

    def route(
        self,
        operation: str,
        method: str,
        path: str,
        call: Callable[..., Awaitable[object]],
        summary: str,
        reply: type,
        *failures: type[PushError],
        parameters: tuple[Parameter, ...] = (),
        right: str = "",
        body: Any = None,
        example: Any = None,
    ) -> Route:
        """One of them; see Route."""
        return Route(
            operation=operation,
            methods=(method,),
            path=path,
            call=call,
            summary=summary,
            right=right or self.right,
            tag=self.tag,
            body=body,
            reply=reply,
            failures=(*self.failures, *failures),
            parameters=parameters,
            example=example,
        )
