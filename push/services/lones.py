"""Plain messages for one registered token each, which is what nearly all are: collected in one loop.

Must not import adapters, stores or web.
"""

from collections.abc import Sequence

from push.model import PLAIN, Delivery, Outcome, PushRequest, PushResult, ToTokens
from push.model_cache import Keep
from push.model_subscribe import Located
from push.services.bringing import Bringing
from push.services.delivery_reports import Reports
from push.services.ids import accepted_ms, first_id_at
from push.services.keeps import Keeps
from push.services.progress import DEFAULT_TTL_S
from push.services.results import Owner, Results
from push.services.routing_measures import RoutingMeasures

# For each connector what it is to deliver, and whose that is.
Batches = dict[str, tuple[list[Delivery], list[Owner]]]


class Lones:
    """Those of one push.

    Args:
        requests: all of the push.
        now_ms: when it was accepted, milliseconds since 1970.
        batches: where deliveries go.
        keeps: where what is to be kept goes.
        results: of the requests.
        reports: told of what is not kept and found nobody.
        bringing: told of what is kept and not delivered.
        expires_ms: by position, until when what is delivered is kept; added to.
        measures: counts.
        is_shared: whether routers of other processes keep messages where this one does.

    Attributes:
        cached: how many are kept for tokens that were away.
    """

    def __init__(
        self,
        requests: Sequence[PushRequest],
        *,
        now_ms: int,
        batches: Batches,
        keeps: Keeps,
        results: Results,
        reports: Reports,
        bringing: Bringing,
        expires_ms: dict[int, int],
        measures: RoutingMeasures,
        is_shared: bool,
    ) -> None:
        self._requests = requests
        self._now_ms = now_ms
        self._batches = batches
        self._keeps = keeps
        self._results = results
        self._reports = reports
        self._bringing = bringing
        self._expires_ms = expires_ms
        self._measures = measures
        self._is_shared = is_shared
        self.cached = 0

    def collect(self, start: int, ids: Sequence[int], located: Located) -> int:
        """Collect from this request on.

        Args:
            start: its position.
            ids: of the messages, by position.
            located: where tokens are.

        Returns:
            The position of the first one that is something else.
        """
        online, unknown = located.online, located.unknown
        batches, expires_at = self._batches, self._expires_ms
        keeps: list[Keep] = []
        owners: list[Owner] = []
        begins_ms = default_ms = until_id = 0
        requests = self._requests
        for position in range(start, len(requests)):
            request = requests[position]
            target = request.target
            if type(target) is not ToTokens or request.options is not PLAIN or request.validate_only:
                break
            tokens: Sequence[str] = target.tokens
            if len(tokens) != 1:
                break
            session = online.get(tokens[0])
            message_id, ttl_s = ids[position], request.ttl_s
            if session is not None:
                # The session's own text of the token: that in the request need not be kept then.
                tokens = (session.token,)
            elif tokens[0] in unknown:
                break
            is_kept = ttl_s != 0 and (session is None or session.acks)
            if is_kept:
                if message_id >= until_id:
                    begins_ms, until_id = self._begins_ms(message_id)
                    default_ms = begins_ms + DEFAULT_TTL_S * 1000
                expires_ms = default_ms if ttl_s is None else begins_ms + ttl_s * 1000
                keeps.append(Keep(message_id, request.payload, tokens, expires_ms))
                owners.append(position)
                expires_at[position] = expires_ms
            if session is None:
                self._away(position, message_id, tokens, is_kept=is_kept)
                continue
            if self._is_shared and ttl_s != 0:  # others may keep something for the same token at the same time
                if is_kept:
                    self._bringing.located(tokens, {session.token: session})
                delivery = Delivery(message_id, request.payload, tokens, is_kept, is_keepable=not is_kept)
            else:
                delivery = Delivery(message_id, request.payload, tokens, is_kept)
            batch = batches.get(session.connector)
            if batch is None:
                batch = batches[session.connector] = ([], [])
            batch[0].append(delivery)
            batch[1].append(position)
        else:
            position = len(requests)
        self._keeps.add_each(owners, keeps)
        return position

    def _begins_ms(self, message_id: int) -> tuple[int, int]:
        """When the time to live of a message begins, and the first id of which that is not so: see begins_ms."""
        at_ms = accepted_ms(message_id)
        return min(at_ms, self._now_ms), first_id_at(at_ms + 1)

    def _away(self, position: int, message_id: int, tokens: Sequence[str], *, is_kept: bool) -> None:
        self._results.put(position, PushResult(message_id, 1, 0, int(is_kept)))
        if is_kept:
            self.cached += 1
            self._bringing.stray(tokens)
        else:
            self._measures.became(ToTokens, Outcome.OFFLINE, 1)
            self._reports.tell_missed(message_id, tokens)
