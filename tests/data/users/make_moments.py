"""Rows of a small world, and what DuckDB says of their users: `python make_moments.py | xz > moments.json.xz`.

The statement is written by hand, with DuckDB's own aggregates; the rows stand beside its answer.
"""

import hashlib
import json
import sys

import duckdb
import numpy as np

SQL = """
with totals as (
  select "user" u, min(canary) side, count(distinct canary) sides, sum(clicks) x, sum(impressions) y
  from rows where second > 6 * 3600 and second <= 30 * 3600 group by 1),
past as (
  select "user" u, sum(clicks) x0, sum(impressions) y0 from rows where second > -48 * 3600 and second <= 0 group by 1),
units as (
  select side, sides, x, y, coalesce(x0, 0) x0, coalesce(y0, 0) y0 from totals left join past using (u))
select side, count(*), avg(x), avg(y), avg(x0), avg(y0), var_samp(x), covar_samp(x, y), covar_samp(x, x0),
  covar_samp(x, y0), var_samp(y), covar_samp(y, x0), covar_samp(y, y0), var_samp(x0), covar_samp(x0, y0), var_samp(y0)
from units where sides = 1 group by side order by side
"""

rng = np.random.default_rng(7)
n = 2500
users = np.floor(600 * rng.random(n) ** 2) + 1
second = np.sort(np.round((rng.random(n) * 80 - 48) * 3600)).astype("<f4")
canary = np.where((second > 0) & (users % 10 < 2), 1.0, 0.0)
canary[(second > 0) & (rng.random(n) < 0.01)] = 1.0
impressions = rng.poisson(6, n) + 1.0
clicks = rng.binomial(impressions.astype(int), 0.2).astype(float)
columns = {
    name: values.astype("<f4")
    for name, values in (("second", second), ("canary", canary), ("user", users), ("clicks", clicks), ("impressions", impressions))
}
import pyarrow as pa

rows = pa.table({name: pa.array(values.astype(float)) for name, values in columns.items()})
con = duckdb.connect()
con.register("rows", rows)
sides = {}
for side, count, *numbers in con.execute(SQL).fetchall():
    cov = np.zeros((4, 4))
    cov[np.triu_indices(4)] = numbers[4:]
    cov = cov + np.triu(cov, 1).T
    sides["canary" if side else "baseline"] = {"n": count, "mean": numbers[:4], "cov": cov.tolist()}
both = con.execute(
    'select count(*) from (select "user" from rows where second > 6 * 3600 and second <= 30 * 3600 group by 1 having count(distinct canary) > 1)'
).fetchone()[0]
digest = hashlib.sha256(b"".join(values.tobytes() for values in columns.values())).hexdigest()
json.dump(
    {
        "duckdb": duckdb.__version__,
        "sha256": digest,
        "both_sides": both,
        "sides": sides,
        "rows": {name: values.tobytes().hex() for name, values in columns.items()},
    },
    sys.stdout,
)
