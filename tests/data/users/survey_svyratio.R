# Ratio of two totals and its standard error by survey::svyratio, for each side of each case:
#   python rows.py rows && Rscript survey_svyratio.R rows > survey.json
# The rows come as raw doubles (no decimal text in between). Base R writes the JSON.
suppressPackageStartupMessages(library(survey))
dir <- commandArgs(TRUE)[1]
cases <- c("tiny_5_5", "tiny_9_5", "small_20_20", "clicks_2000_40", "clicks_3000_120", "bots", "pareto_1_5",
           "minutes_sd_1_8", "ratings_y_is_1", "ratings_per_rating", "zero_y", "refunds", "new_30", "large_1e9", "offset_1e9")
num <- function(v) sprintf("%.17g", v)
one <- function(name, side) {
  file <- file.path(dir, paste0(name, ".", side, ".f64"))
  d <- as.data.frame(matrix(readBin(file, "double", file.size(file) / 8, endian = "little"), ncol = 4, byrow = TRUE))
  names(d) <- c("x", "y", "x0", "y0")
  design <- svydesign(ids = ~1, data = d, weights = ~1)
  part <- function(top, bottom) {
    r <- svyratio(top, bottom, design)
    sprintf('{"ratio":%s,"se":%s}', num(coef(r)), num(SE(r)))
  }
  m <- svymean(~x, design)
  # the variance matrix of both ratios at once: its off-diagonal is the covariance CUPED needs
  both <- svytotal(~x + y + x0 + y0, design)
  contrast <- svycontrast(both, list(now = quote(x / y), past = quote(x0 / y0)))
  sprintf('"%s":{"n":%d,"now":%s,"past":%s,"cov_now_past":%s,"mean":{"mean":%s,"se":%s}}', side, nrow(d),
          part(~x, ~y), part(~x0, ~y0), num(vcov(contrast)[1, 2]), num(coef(m)), num(SE(m)))
}
lines <- sapply(cases, function(name) sprintf('{"name":"%s",%s,%s}', name, one(name, "baseline"), one(name, "canary")))
cat(sprintf('{"versions":{"R":"%s","survey":"%s"},"cases":[\n%s\n]}\n',
            paste(R.version$major, R.version$minor, sep = "."), packageVersion("survey"), paste(lines, collapse = ",\n")))
