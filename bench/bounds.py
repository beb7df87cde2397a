"""What a row of the performance table is to reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """The row's number over `of` is to be at least, or at most, `factor`. `of`: a peer, or a name of what was seen with
    it; empty: the number itself, in the row's unit."""
    factor: float
    of: str = ""
    at_least: bool = True

    def ratio(self, value, other):
        return value if not self.of else value / other

    def reached(self, ratio):
        return ratio >= self.factor if self.at_least else ratio <= self.factor

    def text(self, unit):
        word = "≥" if self.at_least else "≤"
        return f"{word} {self.factor:g}x {self.of}" if self.of else f"{word} {self.factor:g} {unit}".strip()


def at_most(factor, of=""):
    return Bound(factor, of, at_least=False)
