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


class Managing(test_groups.Managing):
    """GMI, GD."""

    in_redis = True


class AtOnce(test_groups.AtOnce):
    """Two who want something at the same time."""

    in_redis = True


class Sizes(test_groups.Sizes):
    """Large groups."""

    in_redis = True
