"""The Hodges-Lehmann shift and its interval: order statistics of all differences, without listing many of them.

Of few pairs all differences are listed. Else the k-th smallest of the n * m differences x_i - y_j is found by merging:
for a guess t, the place of each x_i - t among the sorted y splits all pairs into those above t and those below, and
counts them. Two guesses usually bring the count next to k; then the differences nearest to t, a few per x_i, hold the
answer. Whether they do is *checked* against the nearest differences left out, so every answer equals that of sorting
all differences, to the last bit; what does not pass the check is guessed anew, and at last found by bracketing. Ties
are merged into weights first.

References:
    Hodges, J. L. & Lehmann, E. L. (1963), doi:10.1214/aoms/1177704172.
    Lehmann, E. L. (1975), *Nonparametrics*, sections 2.3-2.5 (interval).
    Johnson, D. B. & Mizoguchi, T. (1978), doi:10.1137/0207013 (selection in X + Y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from canary_judge.arrays import Bool, Float, Int

if TYPE_CHECKING:
    from numpy.typing import NDArray


_Number = TypeVar("_Number", np.float64, np.int64)

__all__ = ["ShiftInterval", "shift_interval", "shift_intervals"]

_LISTED = 512  # so few differences are all listed
_FEW_ROWS, _PARTED = 4, 1 << 14  # of so few rows with so few differences, too: parted one by one
_MERGED = 1024  # values of a row up to which merging by one sort beats a search per row
_WINDOWED = 8192  # values of a row beyond which the nearest differences are too many to look at
_CHUNK = 1 << 16  # values of one chunk of rows
_SKELETON, _THINNED = 16, 128  # quantiles per side that make the first guess, and that improve it
_ROUNDS = 5  # guesses per problem before bracketing
_LISTED_AT_ONCE = 1 << 16  # differences that end the bracketing
_BEYOND = 0.03  # of the bracket
_FEW = 4096  # values of all rows that are few


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftInterval:
    """The shift canary - baseline by row, arrays of shape (m,) in the unit of the values.

    Attributes:
        estimate: Median of all differences; NaN where a side is empty.
        lower: Lower end of the interval, -inf where the sample is too small to bound the shift.
        upper: Upper end, +inf likewise.
    """

    estimate: Float
    lower: Float
    upper: Float


def shift_intervals(*, baseline: Float, canary: Float, half_width: Float) -> ShiftInterval:
    """Hodges-Lehmann shift canary - baseline and its interval, row by row.

    The interval inverts the rank test: it holds every shift at which `u` is within `half_width` of its mean.

    Args:
        baseline: Shape (m, n_b), finite; NaN marks a missing value.
        canary: Shape (m, n_c).
        half_width: Shape (m,), quantile of the test times the standard deviation of `u`.

    Examples:
        >>> found = shift_intervals(baseline=np.array([[1.0, 2, 3]]), canary=np.array([[4.0, 5, 7]]),
        ...                         half_width=np.array([3.5]))
        >>> found.estimate.tolist(), found.lower.tolist(), found.upper.tolist()
        ([3.0], [1.0], [6.0])
    """
    rows = baseline.shape[0]
    result = ShiftInterval(estimate=np.full(rows, np.nan), lower=np.full(rows, -np.inf), upper=np.full(rows, np.inf))
    y, x = np.sort(baseline, axis=1), np.sort(canary, axis=1)  # what is missing goes last
    with np.errstate(all="ignore"):  # a guess may be anything: what it leads to is checked
        if x.size and y.size and not (np.isnan(x[:, -1]).any() or np.isnan(y[:, -1]).any()):
            _fill(result, slice(None), x, y, half_width)
            return result
        n, m = (side.shape[1] - np.count_nonzero(np.isnan(side), axis=1) for side in (y, x))
        for n_b, n_c in {(int(b), int(c)) for b, c in zip(n, m, strict=True) if b and c}:
            group = np.flatnonzero((n == n_b) & (m == n_c))
            _fill(result, group, x[group, :n_c], y[group, :n_b], half_width[group])
    return result


def shift_interval(
    *, baseline: Float, canary: Float, half_width: float
) -> tuple[float, tuple[float | None, float | None]]:
    """The same for one pair of samples of shapes (n_b,) and (n_c,), finite and not empty.

    Returns:
        The estimate, and the interval; an end is None where the sample is too small to bound the shift.

    Examples:
        >>> shift_interval(baseline=np.array([1.0, 2, 3]), canary=np.array([4.0, 5, 7]), half_width=3.5)
        (3.0, (1.0, 6.0))
    """
    found = shift_intervals(baseline=baseline[None, :], canary=canary[None, :], half_width=np.array([half_width]))
    ends = (float(end[0]) for end in (found.lower, found.upper))
    lower, upper = (end if np.isfinite(end) else None for end in ends)
    return float(found.estimate[0]), (lower, upper)


def _fill(result: ShiftInterval, group: slice | Int, x: Float, y: Float, half_width: Float) -> None:
    """The answers of rows that have the same number of values."""
    rows, pairs = len(x), x.shape[1] * y.shape[1]
    estimate, lower, upper = np.empty(rows), np.full(rows, -np.inf), np.full(rows, np.inf)
    depths = np.floor(pairs / 2 - half_width).astype(np.int64)
    step = max(1, _CHUNK // (3 * (x.shape[1] + y.shape[1])))
    for first in range(0, rows, step):
        part = slice(first, first + step)
        depth = depths[part]
        bounded = np.flatnonzero(depth >= 1)
        row = np.concatenate([np.arange(depth.size), bounded, bounded])
        middle = np.full(depth.size, (pairs - 1) // 2)
        low, high = _select(x[part], y[part], row, np.concatenate([middle, depth[bounded] - 1, pairs - depth[bounded]]))
        ends = depth.size + bounded.size
        estimate[part] = (low if pairs % 2 else (low + high) / 2)[: depth.size]
        lower[first + bounded], upper[first + bounded] = low[depth.size : ends], low[ends:]
    result.estimate[group], result.lower[group], result.upper[group] = estimate, lower, upper


def _select(x: Float, y: Float, row: Int, rank: Int) -> tuple[Float, Float]:
    """Per problem the differences at `rank` and at the rank after it; x and y sorted, shape (rows, m) and (rows, n)."""
    pairs = x.shape[1] * y.shape[1]
    if pairs <= _LISTED:
        listed = np.sort((x[row][:, :, None] - y[row][:, None, :]).reshape(len(row), pairs), axis=1)
        problem = np.arange(len(row))
        return listed[problem, rank], listed[problem, np.minimum(rank + 1, pairs - 1)]
    low, high = np.empty(len(row)), np.empty(len(row))
    left = np.arange(len(row))
    if len(x) <= _FEW_ROWS and pairs <= _PARTED:
        for one in range(len(x)):
            _by_listing(x[one], y[one], rank, row == one, low, high)
        return low, high
    if max(x.shape[1], y.shape[1]) <= _WINDOWED:
        left = _by_windows(x, y, row, rank, low, high)
    for one in left.tolist():
        low[one], high[one] = _by_bracket(x[row[one]], y[row[one]], int(rank[one]))
    return low, high


def _by_listing(x: Float, y: Float, rank: Int, asked: Bool, low: Float, high: Float) -> None:
    """Fill in what is asked of one row: all its differences are parted at the ranks in one go."""
    listed = np.subtract.outer(x, y).ravel()
    at = rank[asked]
    after = np.minimum(at + 1, listed.size - 1)
    listed.partition(np.concatenate([at, after]))
    low[asked], high[asked] = listed[at], listed[after]


# --- many rows at once: guess, count, look next to the guess ----------------------------------------------------


def _by_windows(x: Float, y: Float, row: Int, rank: Int, low: Float, high: Float) -> Int:
    """Fill in what is found and checked; the problems that are left."""
    pairs = x.shape[1] * y.shape[1]
    # ranks and densities are shares of all pairs, so that they fit the thinned values as well
    share = (rank + 0.5) / pairs
    t, density = _guess(x, y, row, share)
    if max(x.shape[1], y.shape[1]) > _THINNED:
        thin = _Values.of(_thinned(x, _THINNED), _thinned(y, _THINNED), weigh=False)
        for _ in range(3):
            t += (share - 1 + thin.above(row, thin.places(row, t)) / thin.pairs) / density
    values = _Values.of(x, y)
    left = np.arange(len(row))
    before: tuple[Float, Float] | None = None
    for _ in range(_ROUNDS):
        places = values.places(row[left], t)
        excess = rank[left] - (pairs - values.above(row[left], places))
        near = np.flatnonzero(values.tied | (np.abs(excess) <= values.reach))
        rest = np.ones(len(left), dtype=bool)
        if near.size:
            at = left[near]
            found, a, b = values.neighbours(
                row[at], places[near], excess[near], t[near], density[near] * pairs, rank[at] + 1 < pairs
            )
            low[at[found]], high[at[found]] = a[found], b[found]
            rest[near[found]] = False
        if not rest.any():
            return left[:0]
        error = (excess + 0.5) / pairs
        if before is not None:
            density = _secant(density, before[1] - error, t - before[0])
        left, before = left[rest], (t[rest], error[rest])
        density, t = density[rest], t[rest] + error[rest] / density[rest]
    return left


def _guess(x: Float, y: Float, row: Int, share: Float) -> tuple[Float, Float]:
    """A first shift per problem and the density of differences about it, from a few quantiles of each side."""
    few = [_thinned(side, _SKELETON) for side in (x, y)]
    listed = np.sort((few[0][:, :, None] - few[1][:, None, :]).reshape(len(x), -1), axis=1)
    count = listed.shape[1]
    position = np.clip(share * count - 0.5, 0, count - 1)
    whole = position.astype(np.int64)
    at, after = listed[row, whole], listed[row, np.minimum(whole + 1, count - 1)]
    first, last = np.maximum(whole - _SKELETON // 2, 0), np.minimum(whole + _SKELETON // 2, count - 1)
    width = listed[row, last] - listed[row, first]
    span = listed[:, -1] - listed[:, 0]
    width = np.maximum(width, np.where(span > 0, span, 1.0)[row] * 1e-3)
    return at + (position - whole) * (after - at), (last - first) / count / width


def _secant(density: Float, gained: Float, moved: Float) -> Float:
    """Differences per unit between two guesses, as a share; the old density where that is no number."""
    found = gained / moved
    return np.where(np.isfinite(found) & (found > 0), found, density)


def _thinned(values: Float, most: int) -> Float:
    """At most so many quantiles of each sorted row."""
    count = values.shape[1]
    few = min(count, most)
    return values[:, (2 * np.arange(few) + 1) * count // (2 * few)]


@dataclass(frozen=True, slots=True)
class _Values:
    """Sorted values of some rows; with ties, the distinct ones and how often each stands there.

    Attributes:
        x: Shape (rows, m); rows with fewer distinct values repeat their last one with weight 0.
        y: Shape (rows, n + 2 * margin): -inf before and +inf after the values.
        pairs: Of values, not of distinct ones.
        window: Differences looked at per x.
        reach: Largest distance from the wanted rank at which looking is worth it.
        x_weight: As x; None without ties.
        y_weight: As y, 0 for infinities; None without ties.
        y_below: Shape (rows, n + 1), values before each place; None without ties.
    """

    x: Float
    y: Float
    pairs: int
    window: int
    reach: float
    x_weight: Int | None = None
    y_weight: Int | None = None
    y_below: Int | None = None

    @classmethod
    def of(cls, x: Float, y: Float, *, weigh: bool = True) -> _Values:
        tied = weigh and bool((x[:, 1:] == x[:, :-1]).any() or (y[:, 1:] == y[:, :-1]).any())
        pairs = x.shape[1] * y.shape[1]
        x_weight = y_weight = y_below = None
        if tied:
            x, x_weight = _distinct(x, None)
            y, y_weight = _distinct(y, np.inf)
            y_below = np.concatenate([np.zeros((len(y), 1), dtype=np.int64), np.cumsum(y_weight, axis=1)], axis=1)
        # where there are few values, looking further costs less than guessing again
        window = 2 if tied else 4 if x.size > _FEW else 6
        margin = window + 1
        if y_weight is not None:
            y_weight = _padded(y_weight, margin, 0, 0)
        padded = _padded(y, margin, -np.inf, np.inf)
        reach = max(pairs / y.shape[1] * window / 3, 1.0)
        return cls(
            x=x,
            y=padded,
            pairs=pairs,
            window=window,
            reach=reach,
            x_weight=x_weight,
            y_weight=y_weight,
            y_below=y_below,
        )

    @property
    def tied(self) -> bool:
        return self.x_weight is not None

    def places(self, row: Int, t: Float) -> Int:
        """How many distinct y stand below each x - t, up to rounding, which the check of the answer covers."""
        m, margin = self.x.shape[1], self.window + 1
        moved = self.x[row] - t[:, None]
        y = self.y[:, margin:-margin]
        if m + y.shape[1] > _MERGED:
            return np.array([y[one].searchsorted(values) for one, values in zip(row, moved, strict=True)])
        # the side goes into the last bit of the mantissa: one sort of floats merges all
        keys = np.empty((len(row), m + y.shape[1]))
        keys[:, :m], keys[:, m:] = moved, y[row]
        bits = keys.view(np.int64)
        bits &= ~np.int64(1)
        bits[:, :m] |= np.int64(1)
        keys.sort(axis=1)
        position = np.flatnonzero((bits & np.int64(1)).astype(bool)).reshape(len(row), m)
        return np.asarray(position - (np.arange(len(row)) * keys.shape[1])[:, None] - np.arange(m))

    def above(self, row: Int, places: Int) -> Int:
        """Pairs on the upper side of the split."""
        if self.x_weight is None or self.y_below is None:
            return np.asarray(places.sum(axis=1))
        below = self.y_below.ravel()[places + (row * self.y_below.shape[1])[:, None]]
        return np.asarray((self.x_weight[row] * below).sum(axis=1))

    def neighbours(
        self, row: Int, places: Int, excess: Int, t: Float, density: Float, has_next: Bool
    ) -> tuple[Bool, Float, Float]:
        """Whether the wanted difference is next to the split for certain, it, and the one after it.

        Rank `excess` >= 0 counts upwards from the split, below 0 downwards from it.
        """
        count, m = places.shape
        problem = np.arange(count)
        upwards = excess >= 0
        sign = np.where(upwards, 1.0, -1.0)
        wanted = np.where(upwards, excess, -excess - 1)
        after = wanted + np.where(upwards, 1, -1)
        # going away from the split: the last difference behind it and the first one, per x
        flat_y, away = self.y.ravel(), np.where(upwards, -1, 1)
        start = places + (row * self.y.shape[1] + self.window + 1 - upwards)[:, None]
        x = self.x[row]
        behind = ((x - flat_y[start - away[:, None]]) * sign[:, None]).max(axis=1)
        first = (x - flat_y[start]) * sign[:, None]
        steps = np.arange(self.window + 1)
        if self.x_weight is None or self.y_weight is None:
            # then a few more for every x whose first one is near
            limit = t * sign + (wanted + 3 * np.sqrt(wanted) + 12) / density
            flat = np.flatnonzero(first <= limit[:, None])
            which = flat // m
            distance = x.ravel()[flat][:, None] - flat_y[start.ravel()[flat][:, None] + steps * away[which][:, None]]
            distance *= sign[which][:, None]
            np.minimum.at(limit, which, distance[:, -1])
            inside = np.flatnonzero(distance[:, :-1] <= limit[which][:, None])
            owner = which[inside // self.window]
            size = np.bincount(owner, minlength=count)
            listed = np.full((count, max(int(size.max()), 1)), np.inf)
            column = np.arange(inside.size) - np.repeat(np.cumsum(size) - size, size)
            listed[owner, column] = distance[:, :-1].ravel()[inside]
            listed.sort(axis=1)
        else:
            # a step may weigh much and be wide, so every x takes its steps
            index = start[:, None, :] + (steps * away[:, None])[:, :, None]
            distance = (x[:, None, :] - flat_y[index]) * sign[:, None, None]
            limit = distance[:, -1].min(axis=1)
            listed = distance[:, :-1].reshape(count, -1)
            weight = (self.x_weight[row][:, None, :] * self.y_weight.ravel()[index[:, :-1]]).reshape(count, -1)
            order = np.argsort(listed, axis=1) + (problem * listed.shape[1])[:, None]
            listed = listed.ravel()[order]
            reached = np.cumsum(weight.ravel()[order], axis=1)
            wanted = np.count_nonzero(reached <= wanted[:, None], axis=1)
            after = np.where(after < 0, -1, np.count_nonzero(reached <= after[:, None], axis=1))
        # the difference behind the split stands before the listed ones: it is the next one when going down
        ordered = np.concatenate([behind[:, None], listed], axis=1)
        last = ordered.shape[1] - 1
        a = ordered[problem, np.minimum(wanted + 1, last)]
        b = np.where(has_next, ordered[problem, np.minimum(after + 1, last)], a)
        inside = (wanted < last) & (~has_next | (after < last))
        certain = (behind <= listed.min(axis=1, initial=np.inf)) & (np.maximum(a, b) <= limit)
        return inside & certain & np.isfinite(a), a * sign, b * sign


def _distinct(values: Float, fill: float | None) -> tuple[Float, Int]:
    """Distinct values of sorted rows and their counts; shorter rows are filled up with weight 0."""
    rows, width = values.shape
    starts = np.ones((rows, width), dtype=bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=starts[:, 1:])
    size = np.count_nonzero(starts, axis=1)
    most = int(size.max())
    flat = np.flatnonzero(starts)
    # where each goes: its row's first cell and its place among the row's distinct values
    cell = np.arange(flat.size) + np.repeat(np.arange(rows) * most - np.cumsum(size) + size, size)
    distinct = np.repeat(values[:, -1:], most, axis=1) if fill is None else np.full((rows, most), fill)
    weight = np.zeros((rows, most), dtype=np.int64)
    distinct.ravel()[cell] = values.ravel()[flat]
    weight.ravel()[cell] = np.diff(flat, append=rows * width)
    return distinct, weight


def _padded(values: NDArray[_Number], margin: int, before: float, after: float) -> NDArray[_Number]:
    rows, width = values.shape
    wide = np.empty((rows, width + 2 * margin), dtype=values.dtype)
    wide[:, :margin], wide[:, margin:-margin], wide[:, -margin:] = before, values, after
    return wide


# --- one pair of any size: a bracket, then what is in it ----------------------------------------------------------


def _by_bracket(x: Float, y: Float, rank: int) -> tuple[float, float]:
    """The differences of sorted x and y at `rank` and after it; memory is a few times that of x and y."""
    pairs = x.size * y.size
    share = np.array([(rank + 0.5) / pairs])
    guessed = _guess(x[None, :], y[None, :], np.array([0]), share)
    t, density = float(guessed[0][0]), float(guessed[1][0])
    (x, x_weight), (y, y_weight) = (_counted(side) for side in (x, y))
    below_y = None if y_weight is None else np.concatenate([[0], np.cumsum(y_weight)])
    rounding = 4 * float(np.finfo(float).eps) * max(abs(float(v)) for v in (x[0], x[-1], y[0], y[-1]))

    def split(t: float) -> _Split:
        places = y.searchsorted(x - t)
        above = places if below_y is None else below_y[places]
        return _Split(t, places, pairs - int(above.sum() if x_weight is None else (x_weight * above).sum()))

    # one difference of tied values may stand for as many pairs as there are values
    most = _LISTED_AT_ONCE if x_weight is None and y_weight is None else max(_LISTED_AT_ONCE, 2 * (x.size + y.size))
    low = _Split(float(x[0] - y[-1]) - rounding, np.full(x.size, y.size), 0)
    high = _Split(float(x[-1] - y[0]) + rounding, np.zeros(x.size, dtype=np.int64), pairs)
    step = 0
    while True:
        while int((low.places - high.places).sum()) > most:
            if not low.t < t < high.t:
                t = low.t + (high.t - low.t) / 2
                if not low.t < t < high.t:
                    break
            middle = split(t)
            wanted = rank - middle.below
            low, high = (middle, high) if wanted >= 0 else (low, middle)
            step += 1
            if step == 1:  # the guess was near: half as far again as it seems to be wrong
                t += 1.5 * wanted / pairs / density
            elif step % 4 == 0:
                t = low.t + (high.t - low.t) / 2
            else:  # aim a little beyond the rank, so that the other end of the bracket moves too
                aim = (rank - low.below) / (high.below - low.below)
                beyond = _BEYOND if wanted >= 0 else -_BEYOND
                t = low.t + (high.t - low.t) * min(max(aim + beyond, aim / 2), (1 + aim) / 2)
        values, below = _between(x, y, x_weight, y_weight, high.places, low.places)
        at, after = (int(np.searchsorted(below, k - low.below, side="right")) for k in (rank, min(rank + 1, pairs - 1)))
        inside = low.places < y.size
        floor = float((x[inside] - y[low.places[inside]]).max(initial=-np.inf))
        inside = high.places > 0
        ceiling = float((x[inside] - y[high.places[inside] - 1]).min(initial=np.inf))
        if at < values.size and floor <= values[0] and values[-1] <= ceiling:
            return float(values[at]), float(values[after]) if after < values.size else ceiling
        # rounding put a pair on the wrong side of an end: open the bracket a little
        low, high = split(low.t - rounding), split(high.t + rounding)
        rounding, most = rounding * 16, most * 4


@dataclass(frozen=True, slots=True)
class _Split:
    """A shift, the place of each x - t among the y, and how many pairs are below."""

    t: float
    places: Int
    below: int


def _counted(values: Float) -> tuple[Float, Int | None]:
    """Distinct values of a sorted array and their counts; None where all are 1."""
    if (values[1:] != values[:-1]).all():
        return values, None
    distinct, weight = _distinct(values[None, :], None)
    return distinct[0], weight[0]


def _between(
    x: Float, y: Float, x_weight: Int | None, y_weight: Int | None, first: Int, stop: Int
) -> tuple[Float, Int]:
    """The differences x_i - y_j with first_i <= j < stop_i, sorted, and how many pairs they are up to each."""
    some = np.flatnonzero(stop > first)
    length = (stop - first)[some]
    i = np.repeat(some, length)
    j = np.arange(i.size) + np.repeat(first[some] - np.cumsum(length) + length, length)
    values = x[i] - y[j]
    if x_weight is None and y_weight is None:
        values.sort()
        return values, np.arange(1, i.size + 1)
    weight = np.ones(i.size, dtype=np.int64)
    if x_weight is not None:
        weight *= x_weight[i]
    if y_weight is not None:
        weight *= y_weight[j]
    order = np.argsort(values)
    return values[order], np.cumsum(weight[order])
