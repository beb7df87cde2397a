"""The table says what was measured, what was not, and what was reached."""

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import report
from bounds import Bound, at_most
from report import Measurement, Results


def row(*bounds, name="put"):
    return SimpleNamespace(name=name, title="Put over {keys:,}", unit="requests/s", bounds=bounds,
                           show=lambda number, more: f"{number:g}", reason="the disk")


def results(*measured, failures=None):
    """`measured`: (system, round, number) or (system, round, number, more)."""
    return Results([Measurement("put", *each, *([{}] if len(each) == 3 else [])) for each in measured], failures or {})


def line(of, *bounds):
    return list(report.lines([row(*bounds)], of, SimpleNamespace(keys=1_000)))[0]


class TheTable(unittest.TestCase):
    def test_ratio_is_taken_within_a_round(self):
        seen = results(("conclave", 0, 100), ("etcd", 0, 10), ("conclave", 1, 20), ("etcd", 1, 2),
                       ("conclave", 2, 30), ("etcd", 2, 6))
        self.assertEqual(line(seen, Bound(10, "etcd")).ratios, ("10.00x etcd",))
        self.assertTrue(line(seen, Bound(10, "etcd")).reached)
        self.assertEqual(line(seen, Bound(10, "etcd")).values["conclave"], "30")

    def test_every_bound_has_to_be_reached(self):
        seen = results(("conclave", 0, 100), ("etcd", 0, 10), ("redis", 0, 101))
        self.assertFalse(line(seen, Bound(10, "etcd"), Bound(1, "redis")).reached)

    def test_at_most(self):
        self.assertTrue(line(results(("conclave", 0, 8)), at_most(8)).reached)
        self.assertFalse(line(results(("conclave", 0, 8.1)), at_most(8)).reached)

    def test_bound_relative_to_what_was_seen_with_it(self):
        seen = results(("conclave", 0, 150, {"floor": 100}))
        self.assertTrue(line(seen, at_most(1.6, "floor")).reached)
        self.assertFalse(line(seen, at_most(1.4, "floor")).reached)

    def test_missed_row_stays_with_its_reason(self):
        missed = line(results(("conclave", 0, 50), ("etcd", 0, 10)), Bound(10, "etcd"))
        self.assertEqual((missed.verdict, missed.reason), ("**no**", "the disk"))
        self.assertIn("- Put over 1,000: the disk.", list(report.markdown_reasons([missed])))

    def test_without_the_peer_it_is_not_measured(self):
        self.assertIsNone(line(results(("conclave", 0, 50)), Bound(10, "etcd")).reached)

    def test_row_that_failed_once_is_not_reached_whatever_was_measured(self):
        failed = line(results(("conclave", 0, 500), ("etcd", 0, 10), failures={"put": {"conclave": "gone"}}),
                      Bound(10, "etcd"))
        self.assertEqual((failed.verdict, failed.reason), ("not measured", "failed for Conclave: gone"))

    def test_a_peer_that_failed_is_named_beside_the_verdict(self):
        failed = line(results(("conclave", 0, 80), failures={"put": {"etcd": "gone"}}), Bound(70))
        self.assertEqual((failed.verdict, failed.reason), ("yes", "failed for etcd: gone"))
        self.assertIn("- Put over 1,000: failed for etcd: gone.", list(report.markdown_reasons([failed])))

    def test_curves_of_all_systems(self):
        points = [Measurement(f"Put @{n}", system, 0, 100.0 * n, {"p50_us": 10.0 * n, "p99_us": 50.0 * n})
                  for n in (1, 8, 64) for system in ("conclave", "etcd", "redis")]
        with tempfile.TemporaryDirectory() as directory:
            (path, _), = report.draw(directory, Results(points, {}), (("Put", "put"), ("Range", "range")))
            self.assertEqual(path.read_text().count("<circle"), 3 * 3 * 2)

    def test_document_without_marks_is_left_alone(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "x.md"
            path.write_text("no marks")
            with self.assertRaises(ValueError):
                report.replace_between_marks(path, "text")
            path.write_text(f"a\n{report.BEGIN}\nold\n{report.END}\nz\n")
            report.replace_between_marks(path, "new")
            self.assertEqual(path.read_text(), f"a\n{report.BEGIN}\nnew\n{report.END}\nz\n")


if __name__ == "__main__":
    unittest.main()
