"""Credentials without signatures."""

from zope.interface import implementer

from push.errors import Unauthenticated
from push.isubscribe import IAuthenticator
from push.model_access import Identity


@implementer(IAuthenticator)
class UntilThen:
    """A credential is the second in which it is over, 0 for never; whoever shows one is alice."""

    required = True

    def identify(self, credential: str | None) -> Identity:
        """See IAuthenticator."""
        if credential is None or not credential.isdecimal():
            raise Unauthenticated("no")
        return Identity("alice", int(credential))
