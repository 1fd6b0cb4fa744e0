"""The proposed estimator from raw rows, user by user: python make_direct.py > direct.json

Not from moments: residuals e = (x - R y)/mean y and e0 of each user, in 80-bit floats (numpy.longdouble on x86), so that it
shares neither formulas nor rounding with code that starts at the covariance matrix. theta, own and pooled as in the spec:
    theta = sum_g n_g cov_g(e, e0) / sum_g n_g var_g(e0);  T = R_c - f R_b - theta (R0_c - R0_b)
    v_c = var_c(e - theta e0);  v_b = var_b(f e - theta e0);  own = v_c/n_c + v_b/n_b
    pooled = (n_c v_c + n_b v_b)/(n_c + n_b) (1/n_c + 1/n_b)
"""

import json

import numpy as np

from rows import CASES, rows

LONG = np.longdouble
FACTORS = (1.0, 0.9, 1.25)
# no variance; one user; a canary without any past: the formula as written is biased there by theta R0_b (notes.md)
LEFT_OUT = ("edge_constant", "edge_one_user", "edge_canary_no_past")


def var(v):
    v = v - v.sum() / len(v)
    return (v * v).sum() / LONG(len(v) - 1)


def cov(v, w):
    return ((v - v.sum() / len(v)) * (w - w.sum() / len(w))).sum() / LONG(len(v) - 1)


def linear(x, y):
    """Ratio of means and each user's linearised deviation; 0 without any y (nobody has a past)."""
    my = y.sum() / len(y)
    if my == 0:
        return LONG(0), np.zeros_like(x)
    r = x.sum() / y.sum()
    return r, (x - r * y) / my


def estimate(sides, f, cuped):
    f = LONG(f)
    n = [len(s) for s in sides]
    (rb, eb), (rc, ec) = (linear(s[:, 0], s[:, 1]) for s in sides)
    (r0b, e0b), (r0c, e0c) = (linear(s[:, 2], s[:, 3]) for s in sides)
    theta = LONG(0)
    if cuped:
        below = n[0] * var(e0b) + n[1] * var(e0c)
        if below > 0:
            theta = (n[0] * cov(eb, e0b) + n[1] * cov(ec, e0c)) / below
    t = rc - f * rb - theta * (r0c - r0b)
    vb, vc = var(f * eb - theta * e0b), var(ec - theta * e0c)
    b, c = vb / n[0], vc / n[1]
    own = b + c
    pooled = (n[0] * vb + n[1] * vc) / LONG(n[0] + n[1]) * (1 / LONG(n[0]) + 1 / LONG(n[1]))
    df = own**2 / (b**2 / (n[0] - 1) + c**2 / (n[1] - 1))
    return ({"theta": float(theta), "R_b": float(rb), "R_c": float(rc)},
            {"T": float(t), "own": float(own), "pooled": float(pooled), "df": float(df)})


def main():
    assert np.finfo(LONG).eps < 1e-18, "needs 80-bit floats"
    cases = []
    for name in CASES:
        if name in LEFT_OUT:
            continue
        ratio = [s.astype(LONG) for s in rows(name)]
        mean = [s.copy() for s in ratio]  # no denominators: Mean(x), Mean(x, x0) of tea-tasting
        for s in mean:
            s[:, 1] = s[:, 3] = 1
        found = {"name": name}
        for kind, sides in (("ratio", ratio), ("mean", mean)):
            for cuped in (False, True):
                answers = [estimate(sides, f, cuped) for f in FACTORS]
                found[kind + "_cuped" * cuped] = answers[0][0] | {str(f): a[1] for f, a in zip(FACTORS, answers)}
        cases.append(found)
    print(json.dumps({"factors": FACTORS})[:-1] + ', "cases": [')
    print(",\n".join(json.dumps(c, allow_nan=False, separators=(",", ":")) for c in cases))
    print("]}")


if __name__ == "__main__":
    main()
