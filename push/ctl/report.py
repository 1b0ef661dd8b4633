"""What a run of `pushctl verify` has proved: values, and which of them are broken promises."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """A message in a report: whose, which, under which id, and whether it was for everybody."""

    receiver: int
    number: int
    message_id: int
    for_everybody: bool = False


Items = tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has proved.

    A message for everybody counts once for each token.

    Attributes:
        attempted: messages sent, whatever became of them.
        accepted: of these, answered with an id.
        refused: of these, answered with an error: reason → how many.
        unknown: of these, never answered, as the connection died.
        delivered: accepted messages that the application got.
        delivered_unknown: messages without an answer that it got all the same.
        duplicated: times that the application got a message again with the same id, as it may.
        repeated: frames that brought an id again, whether or not the SDK let them through.
        expired: accepted, not delivered, past their ttl, and the server says so.
        lost: accepted, not delivered, and not expired.
        out_of_order: came after one that was accepted later, or with a smaller id than one before it of the same node.
        doubled: came under two ids, or under another id than the answer's.
        refused_delivered: were refused, and came: a fault where nobody was to see them before they were on disk.
        again: came again in the session in which they had come: only a new session may repeat anything.
        misdelivered: came to another token than theirs.
        shrunk_ids: answered with an id that is not greater than the one before it for the same token.
        foreign: messages that came and are not of this run; no fault.
        store_first: whether nobody was to see a message before it was on disk.
    """

    attempted: int
    accepted: int
    refused: dict[str, int]
    unknown: int
    delivered: int
    delivered_unknown: int
    duplicated: int
    repeated: int
    expired: int
    lost: Items
    out_of_order: Items
    doubled: Items
    refused_delivered: Items
    again: Items
    misdelivered: Items
    shrunk_ids: Items
    foreign: int
    store_first: bool = False

    @property
    def faults(self) -> dict[str, Items]:
        """Promises that were broken, by the names of these attributes; empty where none was."""
        names = ["lost", "out_of_order", "doubled", "again", "misdelivered", "shrunk_ids"]
        if self.store_first:
            names.append("refused_delivered")
        return {name: items for name in names if (items := getattr(self, name))}

    @property
    def ok(self) -> bool:
        """Whether something was accepted, and no promise broken."""
        return self.accepted > 0 and not self.faults
