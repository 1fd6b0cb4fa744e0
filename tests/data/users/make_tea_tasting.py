"""Reference values of tea-tasting: python make_tea_tasting.py > tea_tasting.json

Not called tea_tasting.py: a script of that name shadows the package it imports.
The moments are sums with math.fsum over the raw rows of rows.py (correctly rounded, the same on every machine);
tea-tasting gets the raw rows (a pyarrow table) and aggregates them itself.
"""

import json
import math
import sys

import numpy as np
import pyarrow as pa
import tea_tasting as tt
from tea_tasting.aggr import Aggregates, read_aggregates

from rows import CASES, rows

COLUMNS = ("x", "y", "x0", "y0")
METRICS = {
    "ratio": lambda **k: tt.RatioOfMeans("x", "y", **k),
    "mean": lambda **k: tt.Mean("x", **k),
    "ratio_cuped": lambda **k: tt.RatioOfMeans("x", "y", "x0", "y0", **k),
    "mean_cuped": lambda **k: tt.Mean("x", "x0", **k),
}
LEVEL = 0.9


def plain(value):
    """A JSON number; a string where JSON has none (float("Infinity") reads it back)."""
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def moments(data):
    n = len(data)
    mean = [math.fsum(column) / n for column in data.T]
    centred = data - np.array(mean)
    # the mean is rounded: take the square of the sum of what is left (the corrected two-pass formula)
    left = [math.fsum(column) for column in centred.T]
    cov = [[plain((math.fsum(centred[:, i] * centred[:, j]) - left[i] * left[j] / n) / (n - 1)) if n > 1 else "NaN"
            for j in range(4)] for i in range(4)]
    return {"n": n, "mean": mean, "cov": cov}


def aggregates(sides):
    """tea-tasting's own aggregates of the raw rows."""
    table = pa.table({
        "variant": np.repeat([0, 1], [len(s) for s in sides]),
        **{c: np.concatenate([s[:, i] for s in sides]) for i, c in enumerate(COLUMNS)},
    })
    pairs = tuple((a, b) for a in COLUMNS for b in COLUMNS if a < b)
    both = read_aggregates(table, "variant", has_count=True, mean_cols=COLUMNS, var_cols=COLUMNS, cov_cols=pairs)
    return both[0], both[1]


def from_moments(m):
    return Aggregates(
        count_=m["n"],
        mean_=dict(zip(COLUMNS, m["mean"])),
        var_={c: float(m["cov"][i][i]) for i, c in enumerate(COLUMNS)},
        cov_={(a, b): float(m["cov"][i][j]) for i, a in enumerate(COLUMNS) for j, b in enumerate(COLUMNS) if i < j},
    )


def inner(metric, control, treatment):
    """theta, standard error and degrees of freedom: not in tea-tasting's result, taken from its private parts."""
    control, treatment = control.with_zero_div(), treatment.with_zero_div()
    theta = metric._covariate_coef(control + treatment)
    distribution, _, scale = metric._distr_and_scale(
        contr_var=metric._metric_var(control, theta), contr_count=control.count(),
        treat_var=metric._metric_var(treatment, theta), treat_count=treatment.count())
    return {"theta": theta, "se": scale, "df": distribution.kwds["df"]}


def results(make, control, treatment):
    answer = {}
    for name, equal_var in (("welch", False), ("pooled", True)):
        options = {"use_t": True, "equal_var": equal_var, "confidence_level": LEVEL}
        try:
            found = {k: plain(v) for k, v in inner(make(**options), control, treatment).items()}
            for alternative in ("two-sided", "greater", "less"):
                r = make(alternative=alternative, **options).analyze_aggregates(control, treatment)
                found |= {k: plain(getattr(r, k))
                          for k in ("control", "treatment", "effect_size", "rel_effect_size", "statistic")}
                found[alternative] = {
                    "lower": plain(r.effect_size_ci_lower), "upper": plain(r.effect_size_ci_upper),
                    "rel_lower": plain(r.rel_effect_size_ci_lower), "rel_upper": plain(r.rel_effect_size_ci_upper),
                    "pvalue": plain(r.pvalue)}
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        answer[name] = found
    return answer


def rounding(a, b):
    """How far tea-tasting is from itself when it gets the stored moments: effect in standard errors, se relative."""
    a, b = a["welch"], b["welch"]
    if "error" in a or "error" in b:
        return None
    scale = float(a["se"])
    if not (scale > 0 and math.isfinite(scale)):
        return None
    return float(f"{max(abs(float(a['effect_size']) - float(b['effect_size'])) / scale, abs(float(b['se']) / scale - 1)):.1e}")


def main():
    cases = []
    for name in CASES:
        sides = rows(name)
        stored = [moments(s) for s in sides]
        raw = aggregates(sides)
        given = [from_moments(m) for m in stored]
        found = {}
        for metric, make in METRICS.items():
            found[metric] = results(make, *raw)
            found[metric]["rounding"] = rounding(found[metric], results(make, *given))
        cases.append({"name": name, "edge": name.startswith("edge_"), "baseline": stored[0], "canary": stored[1],
                      "results": found})
    head = {"versions": {"tea-tasting": tt.__version__, "numpy": np.__version__, "pyarrow": pa.__version__,
                         "scipy": __import__("scipy").__version__, "python": sys.version.split()[0]},
            "columns": COLUMNS, "confidence_level": LEVEL}
    print(json.dumps(head, allow_nan=False)[:-1] + ', "cases": [')
    print(",\n".join(json.dumps(c, allow_nan=False, separators=(",", ":")) for c in cases))
    print("]}")


if __name__ == "__main__":
    main()
