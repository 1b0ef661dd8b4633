"""All of a client that outlives its connections: token, receipts, heartbeats learned, route and backoff. Pure.

Says what to keep, what to ask for, and after each attempt where the next one goes and how long to wait for it.
"""

from push.protocols.wire.backoff import Backoff
from push.protocols.wire.client import Opened
from push.protocols.wire.messages import RETRY_NOW, SubRequest
from push_client.address import Address
from push_client.ending import Ending
from push_client.intervals import Intervals, check_network
from push_client.link import Link
from push_client.profile import Profile, checked
from push_client.receipts import Receipts
from push_client.route import Route
from push_client.status import Open, Redirected
from push_client.token_store import Kept, write_kept


class Standing:
    """The standing of one client.

    Args:
        profile: what the application has said.

    Attributes:
        touched: whether messages were handled since the last `unsaved`.
    """

    def __init__(self, profile: Profile) -> None:
        self._tuning = profile.tuning
        self._request = profile.request
        self.receipts = Receipts()
        self.intervals = Intervals(self._tuning.interval_s, self._tuning.max_interval_s)
        self.route = Route(profile.home, self._tuning.max_redirects, allocates=profile.allocation is not None)
        self._backoff = Backoff(first_s=self._tuning.first_delay_s, limit_s=self._tuning.max_delay_s)
        self._home = profile.home
        self._opened_s: float | None = None
        self._saved = ""
        self.touched = False

    @property
    def token(self) -> str | None:
        """The token that the server knows this device by; None before the first session without one."""
        return self._request.token

    def restore(self, kept: Kept) -> None:
        """Go on from what an earlier run has kept."""
        self._request = self._request._replace(token=kept.token)
        self.receipts.restore(kept.handled)
        self.intervals.restore(kept.intervals)
        self.route.good = kept.good
        self._saved = write_kept(kept)

    @property
    def is_kept(self) -> bool:
        """Whether the token itself is kept."""
        return self._saved.partition("\n")[0] == self._request.token

    def handled(self, message_id: int) -> bool:
        """The application is done with a message.

        Returns:
            Whether that is news.
        """
        is_news = self.receipts.handled(message_id)
        self.touched = self.touched or is_news
        return is_news

    def unsaved(self) -> str | None:
        """The text to keep; None where there is no token yet, or all is `saved`."""
        self.touched = False
        if self._request.token is None:
            return None
        good = self.route.good
        if good == (self._home.host, self._home.port):
            good = None
        text = write_kept(Kept(self._request.token, self.receipts.kept(), self.intervals.known(), good))
        return None if text == self._saved else text

    def saved(self, text: str) -> None:
        """This text is kept now."""
        self._saved = text

    def network(self, name: str | None) -> bool:
        """The device is on another network, or on the same one again: there is no reason to wait any longer.

        Returns:
            Whether it is certainly another one.

        Raises:
            ValueError: the name cannot be.
        """
        self._backoff.succeeded()
        if name is None or check_network(name) == self.intervals.network:
            return False
        self.intervals.use(name)
        return True

    def link(self, address: Address, auth: str | None, now_s: float) -> Link:
        """What to do with a connection that has just been made.

        Args:
            address: where to.
            auth: the credential of a callable, None if there is none.
            now_s: the time.

        Raises:
            ValueError: the credential is none.
        """
        request = self._request._replace(interval_ms=round(self.intervals.interval_s * 1000))
        return Link(
            address,
            request if auth is None else with_credential(request, auth),
            receipts=self.receipts,
            intervals=self.intervals,
            tuning=self._tuning,
            now_s=now_s,
        )

    def begin(self) -> None:
        """An attempt begins."""
        self._opened_s = None

    def opened(self, event: Opened, now_s: float) -> Open:
        """A session was opened at the current address.

        Returns:
            What to tell the application when the token is kept.
        """
        self._request = self._request._replace(token=event.token)
        self._opened_s = now_s
        self.route.opened()
        return Open(self.route.current, event.token, event.interval_ms / 1000)

    def next(self, ending: Ending, now_s: float, fraction: float) -> tuple[Redirected | None, float]:
        """Choose the next address.

        Args:
            ending: of the attempt before.
            now_s: the time.
            fraction: a random number in [0, 1).

        Returns:
            What to tell the application, and how long to wait, in seconds.
        """
        left = self.route.current
        if self._opened_s is not None and now_s - self._opened_s >= self._tuning.max_delay_s:
            # Only now: a server that opens sessions and drops them at once is not doing well.
            self._backoff.succeeded()
            self.route.settled()
        if ending.is_ours:
            return None, 0.0
        retry_after_s = min(ending.retry_after_s, self._tuning.max_retry_after_s)
        if ending.nodes and self.route.redirected(ending.nodes):
            return Redirected(left, self.route.current), retry_after_s
        self.route.failed()
        at_once = ending.retry == RETRY_NOW and self._backoff.failures == 0
        return None, self._backoff.failed(0.0 if at_once else fraction, retry_after_s)


def with_credential(request: SubRequest, auth: str) -> SubRequest:
    """The request with the credential that a callable gave, or a ValueError that names what is wrong."""
    return checked(request._replace(auth=auth))
