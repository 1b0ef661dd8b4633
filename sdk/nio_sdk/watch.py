"""Which descriptor of a client a selector is to watch, and for what: one at a time."""

import selectors


class Watch:
    """One client's place in a selector.

    Args:
        selector: its own, or its thread's.
        data: what the selector's events are to carry.

    Attributes:
        data: the same, for what is watched from now on.
    """

    def __init__(self, selector: selectors.BaseSelector, data: object) -> None:
        self._selector = selector
        self.data = data
        self._descriptor = -1
        self._events = 0

    def set(self, descriptor: int, events: int) -> None:
        """Watch this descriptor for these events; none: watch nothing."""
        if events == 0 or descriptor != self._descriptor:
            self.forget()
        if events == 0 or events == self._events:
            return
        if self._events:
            self._selector.modify(descriptor, events, self.data)
        else:
            self._selector.register(descriptor, events, self.data)
        self._descriptor, self._events = descriptor, events

    def forget(self) -> None:
        """Watch nothing: to be called before a descriptor is closed, as its number may come again."""
        if self._events:
            self._selector.unregister(self._descriptor)
        self._descriptor, self._events = -1, 0
