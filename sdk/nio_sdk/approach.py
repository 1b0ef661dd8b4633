"""The way to a line: whom to ask where to connect, what to look up, and the dialing. One step after another."""

from collections.abc import Callable
from typing import Any

from nio_sdk.dial import Dial, Place
from nio_sdk.errand import Errand
from nio_sdk.line import Line
from nio_sdk.lookup import CredentialError, allocated, looked_up, numbers
from nio_sdk.plan import Plan
from nio_sdk.watch import Watch
from push.protocols.wire.answers import NodeAddress
from push_client.address import Address
from push_client.route import Route
from push_client.status import Connecting, Status, Unallocated


class Approach:
    """The way to one line.

    Args:
        plan: what the application wants.
        route: where to go.
        watch: told what is being waited for.
        wake: makes the loop call `step`; called in any thread.
        tell: takes statuses.

    Attributes:
        address: where to connect.
        credential: what a callable has given.
    """

    def __init__(
        self, plan: Plan, route: Route, *, watch: Watch, wake: Callable[[], None], tell: Callable[[Status], None]
    ) -> None:
        self.address: Address = route.current
        self.credential: str | None = None
        self._plan = plan
        self._route = route
        self._watch = watch
        self._wake = wake
        self._tell = tell
        self._asking: Errand[tuple[NodeAddress, ...]] | None = None
        self._looking: Errand[tuple[str | None, list[Place]]] | None = None
        self._dial: Dial | None = None
        self._has_asked = False

    @property
    def dial(self) -> Dial | None:
        """The dialing, once it has begun."""
        return self._dial

    @property
    def under_way(self) -> Errand[Any] | None:
        """What is being asked or looked up, if anything is."""
        errand = self._looking if self._has_asked else self._asking
        return None if errand is None or errand.is_done else errand

    @property
    def is_credential_awaited(self) -> bool:
        """Whether the application's `auth` may be running, of which there is to be one at a time."""
        return self._looking is not None and callable(self._plan.auth) and not self._looking.is_done

    def step(self) -> Line | None:
        """Go as far as it goes without waiting.

        Returns:
            The line; None: call again when told.

        Raises:
            OSError: there is no line for now; `str()` is a sentence.
            Exception: what the application's `auth` raised.
        """
        if not self._has_asked and not self._asked():
            return None
        if self._dial is None:
            places = self._places()
            if places is None:
                return None
            self._dial = Dial(
                places,
                self.address.host,
                self._plan.tls if self.address.tls else None,
                watch=self._watch,
                now_s=self._plan.surroundings.clock(),
                timeout_s=self._plan.profile.tuning.connect_timeout_s,
            )
        try:
            return self._dial.step(self._plan.surroundings.clock())
        except OSError as error:
            raise OSError(f"cannot connect: {error}") from error

    def close(self) -> None:
        """Give up; errands that are under way are forgotten."""
        if self._dial is not None:
            self._dial.close()

    def _asked(self) -> bool:
        """Whether it is known where to connect."""
        asks, tls = self._plan.profile.allocation, self._plan.tls
        if asks is not None and self._route.wants_allocation:
            try:
                if self._asking is None:
                    timeout_s = self._plan.profile.tuning.connect_timeout_s
                    self._asking = Errand(lambda: allocated(asks, tls, timeout_s), self._wake)
                if not self._asking.is_done:
                    return False
                nodes = self._asking.outcome()
            except OSError as error:
                self._tell(Unallocated(str(error) or type(error).__name__))
                nodes = ()
            self._route.allocated(nodes)
        self._has_asked = True
        self.address = self._route.current
        self._tell(Connecting(self.address))
        return True

    def _places(self) -> list[Place] | None:
        """Where that is; None while it is being looked up."""
        auth, address, request = self._plan.auth, self.address, self._plan.profile.request
        ask = auth if callable(auth) else None
        if self._looking is None:
            places = numbers(address) if ask is None else None
            if places is not None:
                return places
            self._looking = Errand(lambda: looked_up(address, ask, request), self._wake)
        if not self._looking.is_done:
            return None
        try:
            self.credential, places = self._looking.outcome()
        except CredentialError:
            raise
        except OSError as error:
            raise OSError(f"cannot connect: {error}") from error
        return places
