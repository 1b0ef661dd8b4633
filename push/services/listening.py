"""One listener: an endpoint and a factory, as a service that says clearly why it cannot listen.

Must not import adapters, stores or web.
"""

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from push.errors import StartError


class Listener(Service):
    """Listens from privileged start to stop.

    Args:
        what: what the setting is called, for messages, e.g. "--api".
        description: the endpoint as it was configured.
        endpoint: made from that.
        factory: serves what connects.
    """

    _log = Logger()

    def __init__(
        self, what: str, *, description: str, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> None:
        self._what = what
        self._description = description
        self._endpoint = endpoint
        self._factory = factory
        self._port: IListeningPort | None = None

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """Where it listens, None while it does not, or where that is no internet address."""
        host = None if self._port is None else self._port.getHost()
        return host if isinstance(host, IPv4Address | IPv6Address) else None

    @property
    def is_listening(self) -> bool:
        """Whether clients can connect."""
        return self._port is not None

    def privilegedStartService(self) -> None:
        """Begin to listen.

        Raises:
            StartError: it cannot.
        """
        if self._port is not None:
            return
        failures: list[Failure] = []
        listening: Deferred[IListeningPort] = self._endpoint.listen(self._factory)
        listening.addCallbacks(self._listens, failures.append)
        if failures:
            raise StartError(self._explain(failures[0].value))

    def startService(self) -> None:
        """Begin to listen, where that was not done as a privileged user."""
        super().startService()
        self.privilegedStartService()

    def stopService(self) -> "Deferred[None]":
        """Stop listening; connections stay. Fires when the port is free."""
        super().stopService()
        port, self._port = self._port, None
        stopped = Deferred[None]()
        if port is None:
            stopped.callback(None)
            return stopped
        done = port.stopListening()
        if done is None:
            stopped.callback(None)
            return stopped
        done.addErrback(lambda failure: self._log.failure("closing a listener failed", failure))
        done.addCallback(lambda _: stopped.callback(None))
        return stopped

    def _listens(self, port: IListeningPort) -> None:
        self._port = port

    def _explain(self, error: BaseException | None) -> str:
        if isinstance(error, CannotListenError):
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            return f"{self._what}: cannot listen on {self._description}: {reason}; choose another port or address"
        return f"{self._what}: cannot listen on {self._description}: {error}"
