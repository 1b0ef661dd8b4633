"""Messages for groups: their members are looked up before the router sees them.

Must not import adapters, stores or web.
"""

from collections.abc import Sequence

import msgspec
from zope.interface import implementer

from push.errors import PushError
from push.igroup import IGroups
from push.ipush import IRouter
from push.isubscribe import ISubscribe
from push.model import PushRequest, PushResult, ToGroup, ToTokens
from push.model_chat import token_of, uid_of


@implementer(IRouter)
class GroupTargets:
    """Stands before the router; what is for no group passes by.

    Args:
        router: takes messages for tokens.
        groups: knows members.
        subscribe: knows their tokens.
    """

    def __init__(self, router: IRouter, *, groups: IGroups, subscribe: ISubscribe) -> None:
        self._router = router
        self._groups = groups
        self._subscribe = subscribe

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter."""
        for request in requests:
            if type(request.target) is ToGroup:
                return await self._push(requests)
        return await self._router.push(requests)

    async def _push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        refused: dict[int, PushError] = {}
        taken: list[PushRequest] = []
        for at, request in enumerate(requests):
            target = request.target
            if isinstance(target, ToGroup):
                try:
                    tokens = await self._tokens(target.name)
                except PushError as error:
                    refused[at] = error
                    continue
                request = msgspec.structs.replace(request, target=ToTokens(tokens))
            taken.append(request)
        results = iter(await self._router.push(taken))
        return [refused[at] if at in refused else next(results) for at in range(len(requests))]

    async def _tokens(self, name: str) -> tuple[str, ...]:
        whos = await self._groups.everybody(name)
        uids = [uid for who in whos if (uid := uid_of(who)) is not None]
        of_uids = await self._subscribe.tokens_of(uids)
        tokens = [token for who in whos if (token := token_of(who)) is not None]
        return (*tokens, *(token for theirs in of_uids.values() for token in theirs))
