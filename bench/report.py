"""The table of scripts/bench all: as text, Markdown, JSON, and figures."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import plot

PEERS = ("etcd", "redis", "zookeeper")
NAMES = {"conclave": "Conclave", "etcd": "etcd", "redis": "Redis", "zookeeper": "ZooKeeper"}
BEGIN, END = "<!-- scripts/bench all --docs: from here -->", "<!-- to here -->"


@dataclass(frozen=True)
class Measurement:
    """One row, or one point of a curve, of one system in one round."""
    row: str
    system: str
    round: int
    number: float
    more: dict


@dataclass(frozen=True)
class Results:
    measurements: list
    failures: dict  # of a row: what went wrong, by system

    def of(self, row, system):
        return [m for m in self.measurements if (m.row, m.system) == (row, system)]

    def median(self, row, system):
        """The measurement in the middle; None if there is none."""
        ordered = sorted(self.of(row, system), key=lambda m: m.number)
        return ordered[len(ordered) // 2] if ordered else None

    def ratio(self, row, bound):
        """Within each round where both were measured, the median of these; None without any."""
        ratios = []
        for mine in self.of(row.name, "conclave"):
            if not bound.of or bound.of in mine.more:
                ratios.append(bound.ratio(mine.number, mine.more.get(bound.of)))
            ratios += [bound.ratio(mine.number, other.number) for other in self.of(row.name, bound.of)
                       if other.round == mine.round]
        return statistics.median(ratios) if ratios else None


@dataclass(frozen=True)
class Line:
    """A row as it is printed; `reached`: None if something of it was not measured."""
    name: str
    title: str
    unit: str
    values: dict
    ratios: tuple
    targets: tuple
    reached: bool | None
    reason: str

    @property
    def verdict(self):
        return {True: "yes", False: "**no**", None: "not measured"}[self.reached]


def lines(rows, results, sizes):
    for row in rows:
        ratios = [results.ratio(row, bound) for bound in row.bounds]
        verdicts = [None if ratio is None else bound.reached(ratio) for bound, ratio in zip(row.bounds, ratios)]
        reached = False if False in verdicts else None if None in verdicts else True
        found = {system: results.median(row.name, system) for system in ("conclave", *PEERS)}
        values = {system: row.show(m.number, m.more) if m else "–" for system, m in found.items()}
        failed = results.failures.get(row.name, {})
        if "conclave" in failed:
            reached = None
        reason = "; ".join([row.reason] * (reached is False) +
                           [f"failed for {NAMES[system]}: {text}" for system, text in failed.items()])
        yield Line(row.name, row.title.format(**vars(sizes)), row.unit, values,
                   tuple(ratio_text(bound, ratio) for bound, ratio in zip(row.bounds, ratios)),
                   tuple(bound.text(row.unit) for bound in row.bounds), reached, reason)


def ratio_text(bound, ratio):
    if not bound.of:
        return ""
    return f"– {bound.of}" if ratio is None else f"{ratio:.2f}x {bound.of}"


def joined(texts):
    return ", ".join(text for text in texts if text)


def markdown_table(table):
    yield "| what | unit | Conclave | etcd | Redis | ZooKeeper | ratio | target | reached |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for line in table:
        values = " | ".join(line.values[system] for system in ("conclave", *PEERS))
        yield (f"| {line.title} | {line.unit} | {values} | {joined(line.ratios)} | {joined(line.targets)} | "
               f"{line.verdict} |")


def markdown_reasons(table):
    missed = [line for line in table if line.reached is not True or line.reason]
    if not missed:
        return
    yield "\nWhat is not reached, and why; and what could not be measured:\n"
    for line in missed:
        yield f"- {line.title}: {line.reason or 'not measured in this run'}."


def markdown(table, document, figures):
    facts, settings = document["machine"], document["settings"]
    yield (f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gib']} GiB, Linux {facts['kernel']}, "
           f"{facts['filesystem']}; three members and the load on it. Load average before: "
           f"{facts['load_average_before']:g}. fdatasync of 4 KiB in a preallocated file: "
           f"{facts['fdatasync_us']['p50']:.0f} us (median), {facts['fdatasync_us']['p99']:.0f} us (p99). "
           f"{', '.join(facts['versions'])}. Rounds: {settings['rounds']}, by turns, of {settings['seconds']:g} s each; values "
           f"are the medians, ratios are the medians of those within a round."
           f"{' ' + settings['note'] if settings['note'] else ''}\n")
    yield from markdown_table(table)
    yield from markdown_reasons(table)
    for path, title in figures:
        yield f"\n![{title}]({path})"


def print_table(table):
    wide = max(len(line.title) for line in table)
    print(f"\n{'':{wide}}  {'Conclave':>14} {'etcd':>14} {'Redis':>10} {'ZooKeeper':>10}  ratio; target; reached")
    for line in table:
        v = line.values
        verdict = line.verdict.replace("*", "")
        print(f"{line.title:{wide}}  {v['conclave']:>14} {v['etcd']:>14} {v['redis']:>10} {v['zookeeper']:>10}  "
              f"{'; '.join(filter(None, (joined(line.ratios), joined(line.targets), verdict, line.reason)))}")


def write_json(path, table, results, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**document, "rows": [asdict(line) for line in table], "failures": results.failures,
             "measurements": [asdict(m) for m in results.measurements]}
    path.write_text(json.dumps(whole, indent=1) + "\n")


# --- figures ---


def draw(directory, results, operations):
    """Throughput against latency, of each operation that has curves; yields (path, title)."""
    for operation, word in operations:
        series = []
        for number, system in enumerate(("conclave", *PEERS)):
            for what, dashed in (("p50_us", False), ("p99_us", True)):
                points = [m for point in curve_points(results, operation, system)
                          if (m := results.median(point, system))]
                if points:
                    pairs = tuple((m.number, m.more[what] / 1000) for m in points)
                    series.append(plot.Series(f"{NAMES[system]} {what[:3]}", pairs, number, dashed))
        if series:
            title = f"{operation}: latency against throughput, 1 to 1,024 in flight"
            yield plot.curves(Path(directory) / f"performance-{word}.svg", title, "requests/s", "ms",
                              [plot.Panel("", (), tuple(series))]), title


def curve_points(results, operation, system):
    """The names of its points, by what is in flight."""
    names = {m.row for m in results.measurements if m.system == system and m.row.startswith(f"{operation} @")}
    return sorted(names, key=lambda name: int(name.rpartition("@")[2]))


def replace_between_marks(path, text):
    """In a document that has the marks."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: no '{BEGIN}' and '{END}'")
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}")
