"""All that must hold before a node is ready, asked together. Must not import adapters, stores or web."""

from collections.abc import Callable, Sequence

from zope.interface import implementer

from push.ihealth import IReadiness
from push.model_health import Check


@implementer(IReadiness)
class Readiness:
    """Several checks as one.

    Args:
        quick: answer at once.
        thorough: asked only when all of those are well, as they need them.
    """

    def __init__(self, quick: Sequence[Callable[[], Sequence[Check]]], thorough: Sequence[IReadiness]) -> None:
        self._quick = quick
        self._thorough = thorough

    async def check(self) -> Sequence[Check]:
        """See IReadiness."""
        checks = [check for ask in self._quick for check in ask()]
        if all(check.ok for check in checks):
            for readiness in self._thorough:
                checks += await readiness.check()
        return checks
