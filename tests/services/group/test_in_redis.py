"""The group role on a real Redis: all that tests of it say of it on SQLite."""

from tests.services.group import test_chat, test_groups


class Saying(test_chat.Saying):
    """MS and MN."""

    in_redis = True


class SayingInCluster(test_chat.SayingWithoutBeingTold):
    """The same, as in a cluster: nobody tells of sessions."""

    in_redis = True


class Blocks(test_chat.Blocks):
    """MMI."""

    in_redis = True


class Returning(test_chat.Returning):
    """MP, LRM."""

    in_redis = True


class Reading(test_chat.Reading):
    """MN, and what others are told of it."""

    in_redis = True


class Recalling(test_chat.Recalling):
    """MR."""

    in_redis = True


class Presence(test_chat.Presence):
    """US."""

    in_redis = True


class PresenceInCluster(test_chat.PresenceWithoutBeingTold):
    """The same, as in a cluster."""

    in_redis = True


class OldForm(test_chat.OldForm):
    """CONTACT."""

    in_redis = True


class Making(test_groups.Making):
    """GC."""

    in_redis = True


class Membership(test_groups.Membership):
    """GAM, GKM, GQ."""

    in_redis = True


class Comings(test_groups.Comings):
    """Who joins and leaves."""

    in_redis = True


class Managing(test_groups.Managing):
    """GMI, GD."""

    in_redis = True


class AtOnce(test_groups.AtOnce):
    """Two who want something at the same time."""

    in_redis = True


class Sizes(test_groups.Sizes):
    """Large groups."""

    in_redis = True


class SayingAtTwoNodes(test_chat.SayingWithoutBeingTold):
    """Each connector asks another group role of the two."""

    in_redis = has_two_nodes = True

    # Each node counts by itself.
    def test_a_group_in_which_too_much_is_said_takes_no_more(self) -> None:
        """A group takes as much as each node lets through."""
        self.make(chat_requests_per_s=1_000.0, chat_messages_per_s=2.0)
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        for _ in range(4):
            alice.ask(test_chat.MS, group="room", text="x")
        self.assertEqual(alice.refused(test_chat.MS, group="room", text="x"), 429)
        bob.ask(test_chat.MS, group="room", text="x")


class ReturningAtTwoNodes(test_chat.Returning):
    """MP, LRM."""

    asks = in_redis = has_two_nodes = True


class RecallingAtTwoNodes(test_chat.Recalling):
    """MR."""

    asks = in_redis = has_two_nodes = True


class MembershipAtTwoNodes(test_groups.Membership):
    """GAM, GKM, GQ: what one node changes, the other must not decide by how it was."""

    asks = in_redis = has_two_nodes = True


class ManagingAtTwoNodes(test_groups.Managing):
    """GMI, GD."""

    asks = in_redis = has_two_nodes = True


class OldFormAtTwoNodes(test_chat.OldForm):
    """CONTACT."""

    asks = in_redis = has_two_nodes = True


class PresenceAtTwoNodes(test_chat.PresenceWithoutBeingTold):
    """US."""

    in_redis = has_two_nodes = True

    def test_who_watches_and_is_gone_is_forgotten(self) -> None:
        """By the node that was asked."""
        alice, bob = self.users("alice", "bob")
        alice.ask(test_chat.SubSignal.US, uids=["bob"])
        bob.ask(test_chat.SubSignal.US, uids=["alice"])
        here, there = self.group.side.presence, self.other_group.side.presence
        self.assertEqual((here._watches, there._watches), (1, 1))
        bob.hang_up()
        self.clock.pump([5] * 10)
        self.assertEqual((here._watches, there._watches), (1, 0))
