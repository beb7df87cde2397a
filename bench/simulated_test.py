"""The simulated comparison from end to end, in a short run: the same seed writes the same bytes, the report and the
figures show what was measured.

    bench/simulated_test.py PROGRAM
"""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

import plot
import simulated

SHORT = ["--seconds", "0.02", "--kills", "1", "--in-flight", "2"]
PROGRAM = sys.argv.pop(1)


def measure(*more):
    return subprocess.run([PROGRAM, *SHORT, *more], check=True, capture_output=True).stdout


class SimulatedTest(unittest.TestCase):
    def test_one_seed_one_output(self):
        once = measure("--only", "lan, 5 % lost")
        self.assertEqual(once, measure("--only", "lan, 5 % lost"))
        self.assertNotEqual(once, measure("--only", "lan, 5 % lost", "--seed", "2"))

    def test_report_and_figures(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            report = io.StringIO()
            with contextlib.redirect_stdout(report):
                simulated.main(["--program", PROGRAM, *SHORT, "--only", "wide area", "--json", str(path)])
            document = json.loads(path.read_text())
            self.check_samples(document)
            sample = simulated.Results(document).write("wide area", "paxos 4/2", 2)
            row = next(line for line in report.getvalue().splitlines()
                       if line.split()[:4] == ["2", "paxos", "4/2", f"{simulated.per_second(sample):,.0f}"])
            self.assertIn(f"{sample['p99_ns'] / 1e6:.2f}", row)
            names = {figure.name for figure in Path(folder).glob("*.svg")}
            self.assertEqual(names, {"wide-area-latency.svg", "wide-area-throughput.svg", "wide-area-messages.svg",
                                     "wide-area-bytes.svg", "wide-area-places.svg", "failover.svg"})
            for name in names:
                xml.etree.ElementTree.parse(Path(folder) / name)

    def check_samples(self, document):
        networks = [network["name"] for network in document["networks"]]
        self.assertEqual(networks, ["wide area", "wide area, 1 % lost", "wide area, 5 % lost"])
        for sample in document["samples"]:
            self.assertGreater(sample["acknowledged"], 0, sample)
            self.assertEqual(sample["failed"], 0, sample)
            self.assertLessEqual(sample["p50_ns"], sample["p99_ns"], sample)
        for engine in simulated.ENGINES:
            kills = [f for f in document["failovers"] if (f["network"], f["engine"]) == ("wide area", engine)]
            self.assertEqual(sorted((f["loss"], f["seed"]) for f in kills),
                             [("power cut", 1), ("process killed", 1)])


class PlotTest(unittest.TestCase):
    def test_values_are_where_the_axis_says(self):
        with tempfile.TemporaryDirectory() as folder:
            panel = plot.Panel("a & b", ("x", "y"), (plot.Series("one", (5, None)), plot.Series("two", (10, 2.5), 1)))
            path = plot.figure(Path(folder) / "f.svg", "<title>", "across", "up", [panel])
            root = xml.etree.ElementTree.parse(path).getroot()
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        for wanted in ("<title>", "a & b", "x", "y", "one", "two", "across", "up", "0", "10"):
            self.assertIn(wanted, texts)
        heights = [float(c.get("cy")) for c in root.iter("{http://www.w3.org/2000/svg}circle")]
        bottom, top = plot.HEIGHT - plot.BOTTOM, plot.TOP
        self.assertEqual(heights, [(bottom + top) / 2, top, bottom - (bottom - top) / 4])


if __name__ == "__main__":
    unittest.main()
