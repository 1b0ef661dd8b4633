"""Where to connect next."""

from unittest import TestCase

from push.protocols.wire.answers import NodeAddress
from push_client.address import Address
from push_client.route import Route

HOME = Address("home", 1, True)
A, B = NodeAddress("a", 1), NodeAddress("b", 2)


class RouteTests(TestCase):
    """One route."""

    def test_it_begins_at_home_and_a_failure_leaves_it_there(self) -> None:
        route = Route(HOME, 5)
        route.failed()
        self.assertEqual(route.current, HOME)

    def test_where_home_fails_the_last_good_node_has_a_turn(self) -> None:
        route = Route(HOME, 5)
        route.good = A
        hosts = []
        for _ in range(4):
            hosts.append(route.current.host)
            route.failed()
        self.assertEqual(hosts, ["home", "a", "home", "a"])

    def test_a_redirect_keeps_to_tls(self) -> None:
        route = Route(HOME, 5)
        self.assertTrue(route.redirected([A]))
        self.assertEqual(route.current, Address("a", 1, True))

    def test_failures_go_through_the_nodes_and_home(self) -> None:
        route = Route(HOME, 5)
        route.redirected([A, B])
        hosts = []
        for _ in range(3):
            hosts.append(route.current.host)
            route.failed()
        self.assertEqual(hosts, ["a", "b", "home"])

    def test_a_redirect_replaces_the_nodes_of_the_one_before(self) -> None:
        route = Route(HOME, 5)
        route.redirected([A, B])
        route.redirected([B])
        route.failed()
        self.assertEqual(route.current, HOME)

    def test_one_redirect_too_many_leads_home_and_the_count_begins_anew(self) -> None:
        route = Route(HOME, 2)
        self.assertEqual([route.redirected([A]) for _ in range(4)], [True, True, False, True])
        route.redirected([A])
        self.assertFalse(route.redirected([A]))
        self.assertEqual(route.current, HOME)

    def test_who_asks_for_nodes_asks_anew_when_the_one_of_a_lasting_session_fails(self) -> None:
        route = Route(HOME, 5, allocates=True)
        route.allocated([A])
        route.opened()
        route.settled()
        route.failed()
        self.assertTrue(route.wants_allocation)
        route.allocated([])
        self.assertEqual(route.current.host, "a")

    def test_home_has_one_turn_also_where_it_is_named_among_the_nodes(self) -> None:
        home = NodeAddress("home", 1)
        for nodes in ([home, A], [A, home], [A]):
            route = Route(HOME, 5, allocates=True)
            route.allocated(nodes)
            hosts = []
            while not route.wants_allocation:
                hosts.append(route.current.host)
                route.failed()
            self.assertEqual(sorted(hosts), ["a", "home"])

    def test_a_session_that_lasted_starts_the_count_again(self) -> None:
        route = Route(HOME, 1)
        for _ in range(3):
            self.assertTrue(route.redirected([A]))
            route.settled()
