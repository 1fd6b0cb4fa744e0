# Rscript tests/data/limits.R > tests/data/limits.json      (base R only; the version stands in the file)
# Exact tests of one rate and of one share against a bound, for limit_counts and limit_values.
row <- function(kind, x, n, r, greater, less) {
  sprintf('{"kind": "%s", "events": %.17g, "exposure": %.17g, "limit": %.17g, "greater": %.17g, "less": %.17g}',
          kind, x, n, r, greater, less)
}
rows <- c()
for (case in list(c(0, 2.5, 1), c(1, 2.5, 1), c(9, 2.5, 1), c(3, 600, 0.01), c(40, 20, 1.5), c(250, 1e4, 0.02))) {
  p <- sapply(c("greater", "less"), function(way) poisson.test(case[1], case[2], case[3], alternative = way)$p.value)
  rows <- c(rows, row("rate", case[1], case[2], case[3], p[1], p[2]))
}
for (case in list(c(0, 40, 0.05), c(1, 40, 0.05), c(3, 40, 0.05), c(40, 40, 0.5), c(12, 100, 0.05), c(700, 1e4, 0.08),
                  c(9, 12, 0.5), c(30, 60, 0.5))) {
  p <- sapply(c("greater", "less"), function(way) binom.test(case[1], case[2], case[3], alternative = way)$p.value)
  rows <- c(rows, row("share", case[1], case[2], case[3], p[1], p[2]))
}
cat(sprintf('{"written_by": "%s, tests/data/limits.R, %s",\n "rows": [\n  ', R.version.string, Sys.Date()))
cat(paste(rows, collapse = ",\n  "))
cat("\n]}\n")
