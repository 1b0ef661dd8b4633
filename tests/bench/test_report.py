"""What the benchmark makes of its measurements: medians, ratios round by round, targets."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

BENCH = Path(__file__).parents[2] / "bench"

# The benchmark is a folder of scripts, not a package.
with patch.object(sys, "path", [str(BENCH), *sys.path]):
    from report import summarise, sweep_table, table, targets_table
    from rounds import MODES, Plan
    from servers import SERVERS
    from targets import TARGETS

_SERIAL = "serial broadcast, last client, p50 ms"
_HTTP = "single sends over HTTP, requests/s"


def _round(p50_ms: float) -> list[dict[str, Any]]:
    last_client = {"p50": p50_ms, "p90": 2 * p50_ms, "max": 3 * p50_ms}
    return [{"step": "serial", "last_client_ms": last_client, "server_us": 9.0, "server_busy": 0.9}]


def _answers(name: str, posts_per_s: float) -> list[dict[str, Any]]:
    return [{"step": name, "posts_per_s": posts_per_s, "server_us": 1.0, "answer_ms": {"p50": 1.0, "p99": 2.0}}]


class SummaryTests(SynchronousTestCase):
    """summarise and the tables."""

    def test_ratios_are_taken_round_by_round(self) -> None:
        """In a round that was slow for both, the ratio is what it was in the others."""
        results = {"push": [_round(100), _round(300), _round(110)], "c": [_round(100), _round(300), _round(100)]}
        row = summarise(results, ("serial",))[_SERIAL]
        self.assertEqual([row["push"][key] for key in ("median", "min", "max")], [110, 100, 300])
        ratio = row["c"]["ratio"]
        self.assertEqual([round(ratio[key], 2) for key in ("median", "min", "max")], [1.0, 1.0, 1.1])

    def test_what_was_not_measured_of_a_server_is_left_empty(self) -> None:
        """An echo has no broadcasts."""
        results = {"push": [_round(100) + _answers("http", 900)], "echo": [_answers("echo", 1000)]}
        summary = summarise(results, ("serial", "http"))
        self.assertNotIn("echo", summary[_SERIAL])
        self.assertEqual(summary[_HTTP]["echo"]["ratio"]["median"], 0.9)
        lines = table(summary, {}, {}, ["push", "echo"]).splitlines()
        self.assertIn(f"| {_SERIAL} | 100.0 (100.0 … 100.0) | – |", lines)

    def test_trials_alone_have_no_table_but_their_targets(self) -> None:
        """`--modes none`."""
        self.assertEqual(
            table({}, {"CPU": "fast"}, {"rounds": 1}, []).splitlines(), ["- CPU: fast", "- settings: rounds 1"]
        )
        text = targets_table({}, {"cache": {"cached_per_s": 31_000, "acknowledged_per_s": 29_000}}, [], "")
        self.assertEqual([line.split(" | ")[-1] for line in text.splitlines()[-2:]], ["met |", "not met |"])

    def test_a_trial_of_several_rounds_is_judged_by_their_median(self) -> None:
        """And its spread is shown."""
        found = {"cache": {"cached_per_s": [29_000, 33_000, 31_000], "acknowledged_per_s": [29_000, 28_000, 31_000]}}
        cached, acknowledged = targets_table({}, found, [], "").splitlines()[-2:]
        self.assertIn("| 31,000 (29,000 … 33,000) | met, but not in every round |", cached)
        self.assertIn("| 29,000 (28,000 … 31,000) | not met, but in some rounds |", acknowledged)

    def test_a_target_is_met_by_the_median_ratio_to_its_peer(self) -> None:
        """1.15 is the limit for serial broadcast against the C server."""
        for p50_ms, verdict in ((115, "met"), (116, "not met")):
            results = {"push": [_round(p50_ms)], "c": [_round(100)]}
            text = targets_table(summarise(results, ("serial",)), {}, [], "push")
            self.assertEqual(text.splitlines()[-1].split(" | ")[-1], f"{verdict} |")

    def test_a_target_that_some_rounds_miss_is_not_called_met_without_saying_so(self) -> None:
        """A median near the limit is luck."""
        for p50_ms, verdict in (((100, 110, 140), "met, but not"), ((100, 120, 140), "not met, but")):
            results = {"push": [_round(each) for each in p50_ms], "c": [_round(100)] * 3}
            text = targets_table(summarise(results, ("serial",)), {}, [], "push")
            self.assertIn(verdict, text.splitlines()[-1])

    def test_targets_that_nothing_was_measured_for_are_not_claimed(self) -> None:
        """Neither met nor not met."""
        self.assertEqual(targets_table({}, {}, [], "push"), "")

    def test_trials_and_the_sweep_have_targets(self) -> None:
        """The keys that targets look for are those that trials give."""
        trials = {"tls": {"bytes_per_session": 20_000}, "churn": {"wrong": 1}}
        sweep = [
            {"clients": 1000, "serial_us": 10.0, "sustained_us": 1.0, "unicast_us": 10.0},
            {"clients": 19000, "serial_us": 11.0, "sustained_us": 2.0, "unicast_us": 10.0},
        ]
        lines = targets_table({}, trials, sweep, "push").splitlines()[3:]
        verdicts = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[-1] for line in lines}
        self.assertEqual(verdicts["memory of a TLS session, bytes"], "met |")
        self.assertEqual(verdicts["churn: messages lost, twice or to the wrong client"], "not met |")
        self.assertEqual(verdicts["cost of a delivery in serial broadcast, dearest to cheapest"], "met |")
        self.assertEqual(verdicts["cost of a delivery in sustained broadcast, dearest to cheapest"], "not met |")
        self.assertIn("| 1,000 | 10.0 | 1.0 | 10.0 |", sweep_table(sweep).splitlines())

    def test_targets_name_rows_that_exist(self) -> None:
        """A row that is renamed would silently lose its target."""
        steps = [
            {"step": "open", "opened_per_s": 1, "server_us": 1},
            *_round(1),
            {"step": "sustained", "deliveries_per_s": 1, "server_us": 1, "latency_ms": {"p50": 1}},
            {"step": "unicast", "deliveries_per_s": 1, "server_us": 1, "latency_ms": {"p50": 1, "p99": 1}},
            {"step": "lone", "latency_ms": {"p50": 1, "p99": 1}},
            *_answers("http", 1),
            {"step": "memory", "bytes_per_session": 1, "ready": {"pss": 1}, "held": {"pss": 1}, "closed": {"pss": 1}},
        ]
        titles = set(summarise({"push": [steps]}, MODES))
        rows = {target.row for target in TARGETS if not target.row.startswith(("trial: ", "sweep"))}
        self.assertEqual(rows - titles, set())


class PlanTests(SynchronousTestCase):
    """What the load generator is told to do."""

    def test_a_server_without_clients_is_only_asked_to_answer(self) -> None:
        """The echo delivers nothing."""
        plan = Plan(clients=1000, modes=MODES, in_flight=256, effort=1.0, payload_bytes=128)
        self.assertEqual(plan.commands(SERVERS["echo"]), ["echo 10000 16"])

    def test_a_slow_server_gets_fewer_messages(self) -> None:
        """A quarter of them."""
        plan = Plan(clients=10_000, modes=("serial", "http"), in_flight=256, effort=1.0, payload_bytes=128)
        self.assertEqual(plan.commands(SERVERS["push"]), ["serial 20", "http 10000 16"])
        self.assertEqual(plan.commands(SERVERS["mosquitto"]), ["serial 5"])


class ScriptTests(SynchronousTestCase):
    """The scripts of bench/, which no other test runs."""

    def test_every_script_finds_what_it_imports(self) -> None:
        """They are run by hand, so a name that is gone would be noticed late."""
        for script in sorted(BENCH.glob("*.py")):
            spec = spec_from_file_location(f"bench_{script.stem}", script)
            assert spec is not None
            assert spec.loader is not None
            with patch.object(sys, "path", [str(BENCH), *sys.path]):
                spec.loader.exec_module(module_from_spec(spec))
