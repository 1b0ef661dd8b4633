"""Whom one can write to: parties that this system has seen. Must not import adapters, stores or web."""

from zope.interface import implementer

from push.errors import NotFound, Unregistered
from push.igroup import IParties
from push.isubscribe import ISubscribe
from push.model_chat import SYSTEM, token_of, uid_of


@implementer(IParties)
class Acquaintances:
    """Knows parties.

    Args:
        subscribe: knows tokens.
    """

    def __init__(self, subscribe: ISubscribe) -> None:
        self._subscribe = subscribe

    async def of_token(self, token: str) -> str:
        """See IParties."""
        info = await self._subscribe.describe(token)
        if info is None:
            raise Unregistered("this token is not registered")
        return "t" + token if info.uid is None else "u" + info.uid

    async def check(self, who: str) -> None:
        """See IParties."""
        uid, token = uid_of(who), token_of(who)
        if uid is not None and not await self._subscribe.tokens_of([uid]):
            raise NotFound("there is no such user: nobody has ever connected as that")
        if token is not None and await self._subscribe.describe(token) is None:
            raise Unregistered("this token is not registered")
        if who == SYSTEM:
            raise NotFound("nobody can write to the system")
