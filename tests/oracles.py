"""Slow, obvious plain Python that says what the right answer is."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from math import log, log2

# --- Metrics: definitions in docs/metrics.md ---------------------------------------------------------------------


def ranking_values(listed: Sequence[str], truth: Collection[str], n: int) -> dict[str, float]:
    """The six ranking metrics of one list, best first, against one user's held-out items."""
    hit_ranks = [rank for rank, item in enumerate(listed[:n], start=1) if item in truth]
    reachable = min(n, len(truth))
    ideal_dcg = sum(1 / log2(rank + 1) for rank in range(1, reachable + 1))
    precisions = [len([other for other in hit_ranks if other <= rank]) / rank for rank in hit_ranks]
    return {
        "recall": len(hit_ranks) / len(truth),
        "precision": len(hit_ranks) / n,
        "hr": float(len(hit_ranks) > 0),
        "ndcg": sum(1 / log2(rank + 1) for rank in hit_ranks) / ideal_dcg,
        "map": sum(precisions) / reachable,
        "mrr": 1 / hit_ranks[0] if hit_ranks else 0.0,
    }


def auc(labels: Sequence[int], probabilities: Sequence[float]) -> float:
    """Share of (positive, negative) pairs in the right order; a tie counts half."""
    positives = [p for label, p in zip(labels, probabilities, strict=True) if label == 1]
    negatives = sorted(p for label, p in zip(labels, probabilities, strict=True) if label == 0)
    right = sum((bisect_left(negatives, up) + bisect_right(negatives, up)) / 2 for up in positives)
    return right / (len(positives) * len(negatives))


def log_loss(labels: Sequence[int], probabilities: Sequence[float]) -> float:
    """Mean negative log likelihood, in nats, probabilities clipped at 1e-15."""
    clipped = [min(max(p, 1e-15), 1 - 1e-15) for p in probabilities]
    return -sum(log(p) if label else log(1 - p) for label, p in zip(labels, clipped, strict=True)) / len(labels)


def brier(labels: Sequence[int], probabilities: Sequence[float]) -> float:
    """Mean squared error of the probabilities."""
    return sum((p - label) ** 2 for label, p in zip(labels, probabilities, strict=True)) / len(labels)


def calibration_error(labels: Sequence[int], probabilities: Sequence[float], num_bins: int = 15) -> float:
    """ECE over equal-mass bins; ties share the bin of their middle place."""
    total, ordered = len(labels), sorted(probabilities)
    gaps = [0.0] * num_bins
    for label, p in zip(labels, probabilities, strict=True):
        below = bisect_left(ordered, p)
        tied = bisect_right(ordered, p) - below
        gaps[min(num_bins - 1, int(num_bins * (below + tied / 2) / total))] += p - label
    return sum(abs(gap) for gap in gaps) / total


def best_f1_threshold(labels: Sequence[int], probabilities: Sequence[float]) -> float:
    """The probability that, as a threshold, has the best F1; the highest of several."""
    ordered = sorted(probabilities)
    clicked = sorted(p for label, p in zip(labels, probabilities, strict=True) if label)

    def f1(cut: float) -> float:
        called, hits = len(ordered) - bisect_left(ordered, cut), len(clicked) - bisect_left(clicked, cut)
        return 2 * hits / (called + len(clicked))

    return max(set(probabilities), key=lambda cut: (f1(cut), cut))


def threshold_values(labels: Sequence[int], probabilities: Sequence[float], threshold: float) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of calling p >= threshold a click; precision is NaN where none is called."""
    called = [p >= threshold for p in probabilities]
    hits = sum(label for label, yes in zip(labels, called, strict=True) if yes)
    return {
        "accuracy": sum(label == yes for label, yes in zip(labels, called, strict=True)) / len(labels),
        "precision": hits / sum(called) if any(called) else float("nan"),
        "recall": hits / sum(labels),
        "f1": 2 * hits / (sum(called) + sum(labels)),
    }


def coverage(lists: Iterable[Sequence[str]], candidates: Collection[str], n: int) -> float:
    """Distinct items in the first n places of any list, as a share of the candidates."""
    return len({item for listed in lists for item in listed[:n]}) / len(candidates)


def novelty(listed: Sequence[str], num_users: Mapping[str, int], known_users: int, n: int) -> float:
    """Mean surprise, in bits, of the first n places."""
    surprises = [-log2((num_users[item] + 1) / (known_users + 1)) for item in listed[:n]]
    return sum(surprises) / len(surprises)


def diversity(listed: Sequence[str], vectors: Mapping[str, Sequence[float]], n: int) -> float | None:
    """1 - mean cosine of the pairs among the first n places that have a unit vector; None with fewer than two."""
    known = [vectors[item] for item in listed[:n] if item in vectors]
    if len(known) < 2:
        return None
    cosines = [sum(a * b for a, b in zip(left, right, strict=True)) for left, right in combinations(known, 2)]
    return 1 - sum(cosines) / len(cosines)


# --- Ranked lists ------------------------------------------------------------------------------------------------


def best_items(scores: Mapping[int, float], seen: Collection[int], n: int) -> list[int]:
    """The ``n`` best unseen items: higher score first, then lower number."""
    return sorted((item for item in scores if item not in seen), key=lambda item: (-scores[item], item))[:n]


def filled_list(
    scores: Mapping[int, float], popularity: Mapping[int, float], seen: Collection[int], n: int
) -> list[tuple[int, float]]:
    """Items with a score above zero, best first, then the others by popularity share, whose score is share - 1."""
    scored = {item: score for item, score in scores.items() if score > 0}
    others = {item: share - 1 for item, share in popularity.items() if item not in scored}
    ranked = best_items(scored, seen, n)
    ranked += best_items(others, seen, n - len(ranked))
    return [(item, scored[item] if item in scored else others[item]) for item in ranked]


def transition_scores(
    events: Sequence[int], weights: Mapping[int, Mapping[int, float]], decay: float
) -> dict[int, float]:
    """Sum of decay^age * weight over the user's events that have a row; age 0 is the latest of these."""
    scores: dict[int, float] = {}
    for age, item in enumerate(item for item in reversed(events) if weights.get(item)):
        for candidate, weight in weights[item].items():
            scores[candidate] = scores.get(candidate, 0.0) + decay**age * weight
    return scores


# --- Pair weights ------------------------------------------------------------------------------------------------

Event = tuple[int, str, int]  # user, domain, item; a list of them is in time order


def pair_sums(
    events: Sequence[Event], window: int, decay: float, shared_clock: bool = True
) -> dict[tuple[str, int, int], list[float]]:
    """(candidate's domain, item, candidate) -> sums ahead, behind, ahead across domains, behind across domains."""
    sums: dict[tuple[str, int, int], list[float]] = {}

    def add(domain: str, item: int, candidate: int, place: int, weight: float) -> None:
        sums.setdefault((domain, item, candidate), [0.0] * 4)[place] += weight

    for user in {user for user, _, _ in events}:
        mixed = [(domain, item) for owner, domain, item in events if owner == user]
        for early, late in combinations(range(len(mixed)), 2):
            (domain, item), (late_domain, late_item) = mixed[early], mixed[late]
            across = domain != late_domain
            between = mixed[early:late] if across else [event for event in mixed[early:late] if event[0] == domain]
            if item == late_item or len(between) > window or (across and not shared_clock):
                continue
            weight = decay ** (len(between) - 1)
            add(late_domain, item, late_item, 2 if across else 0, weight)
            add(domain, late_item, item, 3 if across else 1, weight)
    return sums


def strongest(weights: Mapping[tuple[str, int, int], float], max_neighbours: int) -> dict[tuple[str, int, int], float]:
    """The largest positive weights per domain and item; of equal ones the lower candidate."""
    groups = {(domain, item) for domain, item, _ in weights}
    kept = {}
    for group in groups:
        own = [(key, weight) for key, weight in weights.items() if key[:2] == group and weight > 0]
        kept.update(sorted(own, key=lambda entry: (-entry[1], entry[0][2]))[:max_neighbours])
    return kept


# --- Ridge models ------------------------------------------------------------------------------------------------


def ease(users: Sequence[Collection[int]], num_items: int, regularisation: float) -> list[list[float]]:
    """B[i][j] minimising |X - X B|^2 + regularisation |B|^2 with B[j][j] = 0, one candidate after another."""
    columns = []
    for candidate in range(num_items):
        others = [item for item in range(num_items) if item != candidate]
        rows = [[float(item in own) for item in others] for own in users]
        solved = ridge(rows, [[float(candidate in own)] for own in users], regularisation)
        columns.append({item: weight[0] for item, weight in zip(others, solved, strict=True)})
    return [[columns[j].get(i, 0.0) for j in range(num_items)] for i in range(num_items)]


def slist(
    sequences: Sequence[Sequence[tuple[int, float]]], num_items: int, regularisation: float, per_step: float,
    half_life: float, whole_share: float,
) -> list[list[float]]:  # fmt: skip
    """The ridge of SLIST row by row: a row per event that has a past, and one per sequence; events are (item, day)."""
    left, right = [], []
    for sequence in sequences:
        for target in range(1, len(sequence)):
            row, wanted = [0.0] * num_items, [0.0] * num_items
            for place, (item, day) in enumerate(sequence[:target]):
                days = sequence[target - 1][1] - day
                row[item] += per_step ** (target - 1 - place) * (0.5 ** (days / half_life) if half_life else 1.0)
            wanted[sequence[target][0]] = 1.0
            left.append([value * (1 - whole_share) ** 0.5 for value in row])
            right.append([value * (1 - whole_share) ** 0.5 for value in wanted])
        has = [float(item in {own for own, _ in sequence}) * whole_share**0.5 for item in range(num_items)]
        left.append(has)
        right.append(has)
    return ridge(left, right, regularisation)


def ridge(
    left: Sequence[Sequence[float]], right: Sequence[Sequence[float]], regularisation: float
) -> list[list[float]]:
    """B minimising |right - left B|^2 + regularisation |B|^2: the normal equations by Gauss and Jordan."""
    width, height = len(left[0]), len(right[0])
    system = [
        [sum(row[a] * row[b] for row in left) + regularisation * (a == b) for b in range(width)]
        + [sum(row[a] * other[k] for row, other in zip(left, right, strict=True)) for k in range(height)]
        for a in range(width)
    ]
    for a in range(width):
        pivot = max(range(a, width), key=lambda row: abs(system[row][a]))
        system[a], system[pivot] = system[pivot], system[a]
        system[a] = [value / system[a][a] for value in system[a]]
        for b in range(width):
            if b != a:
                system[b] = [x - system[b][a] * y for x, y in zip(system[b], system[a], strict=True)]
    return [row[width:] for row in system]
