"""What a plot shows, without how: panels of marks or curves, so that a plot's content can be tested and compared."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

OTHER, OURS, BEST_OF_OURS = "other", "ours", "best of ours"  # whose a mark is


@dataclass(frozen=True)
class Mark:
    """A value with its name; ``low`` and ``high`` bound its interval where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = OTHER


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Marks below each other along one axis. ``bars`` begin at zero; points need not.

    ``guides`` are values to compare with, by their names, drawn across all marks.
    """

    title: str
    axis: str
    marks: Sequence[Mark]
    guides: Mapping[str, float] = field(default_factory=dict)
    bars: bool = False


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines by name, each a sequence of (x, y).

    ``log`` scales both axes by powers of ten; else the values of x that there are stand at equal distances.
    """

    title: str
    x_axis: str
    y_axis: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture of several panels, ``columns`` side by side; ``caption`` says in words what it shows."""

    name: str
    caption: str
    panels: Sequence[Panel | Curves]
    columns: int = 3

    @property
    def digest(self) -> str:
        """A hash of all that is shown: it stands in the picture's file, which can so be told from an old one."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
