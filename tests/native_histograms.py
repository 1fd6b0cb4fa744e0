"""Native histograms into a throw-away Prometheus: remote write by hand, standard library only.

Server: --enable-feature=native-histograms --web.enable-remote-write-receiver (2.42 .. 3.x). No out_of_order window is
needed on an empty server, whatever the age, while samples come in order of time over ALL series (within 1 h)."""

import math
import struct
import urllib.request
from collections import Counter

_PIECE = 1800  # seconds of all series in one request; less than the hour that the head may be behind


def _varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def _int(field, n):
    return _varint(field << 3) + _varint(n)


def _sint(field, n):
    return _int(field, (n << 1) ^ (n >> 63))


def _double(field, x):
    return _varint(field << 3 | 1) + struct.pack("<d", x)


def _bytes(field, body):
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def snappy(body):
    """A Snappy block of literals only."""
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    return _varint(len(body)) + b"".join(b"\xf4" + struct.pack("<H", len(one) - 1) + one for one in pieces)


def index(value, schema):
    """The bucket (2^((i-1)/2^schema), 2^(i/2^schema)] of a value; exact where the value is a bound."""
    i = math.ceil(math.log2(value) * 2.0**schema)
    return next(k for k in (i - 1, i, i + 1) if value <= 2.0 ** (k / 2.0**schema))


def histogram(when, buckets, total, schema=3, bounds=None, zero=0):
    """One sample: buckets {index: count}; bounds make it one of custom buckets (schema -53, index from 0)."""
    body = _int(1, sum(buckets.values()) + zero) + _double(3, total)
    body += _sint(4, -53 if bounds else schema) + _double(5, 0.0 if bounds else 2.0**-128) + _int(6, zero)
    spans, deltas, last, end = [], b"", 0, 0
    for i in sorted(buckets):
        if not spans or i != end:
            spans.append([i - end, 0])
        spans[-1][1] += 1
        deltas, last, end = deltas + _sint(0, buckets[i] - last)[1:], buckets[i], i + 1
    body += b"".join(_bytes(11, _sint(1, gap) + _int(2, n)) for gap, n in spans) + _bytes(12, deltas)
    if bounds:
        body += _bytes(16, struct.pack(f"<{len(bounds)}d", *bounds))
    return _bytes(4, body + _int(15, round(when * 1000)))


def classic(when, value):
    """One float sample."""
    return _bytes(2, _double(1, value) + _int(2, round(when * 1000)))


def write(url, series):
    """Write [(labels with __name__, [(seconds, encoded sample), ...])], in order of time over all series."""
    first = min(points[0][0] for _, points in series if points)
    pieces = {}
    for k, (_, points) in enumerate(series):
        for when, sample in points:
            pieces.setdefault(int((when - first) // _PIECE), {}).setdefault(k, []).append(sample)
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}  # 3.x asks for both
    for _, piece in sorted(pieces.items()):
        body = b""
        for k, samples in piece.items():
            pairs = (_bytes(1, _bytes(1, n.encode()) + _bytes(2, v.encode())) for n, v in sorted(series[k][0].items()))
            body += _bytes(1, b"".join(pairs) + b"".join(samples))
        request = urllib.request.Request(f"{url}/api/v1/write", snappy(body), headers)
        urllib.request.urlopen(request, timeout=30).close()


def scraped(times, observations, *, schema=3, bounds=None, resets=()):
    """Samples of a histogram scraped at each time after observations[j] came in; at `resets` it has begun again."""
    buckets, total, made = Counter(), 0.0, []
    for when, values in zip(times, observations, strict=True):
        if when in resets:
            buckets, total = Counter(), 0.0
        for x in values:
            i = next((i for i, b in enumerate(bounds) if x <= b), len(bounds)) if bounds else index(x, schema)
            buckets[i], total = buckets[i] + 1, total + x
        made.append((when, histogram(when, buckets, total, schema, bounds)))
    return made


def fill(url, series, times, observations, **how):
    """Native histograms: series[k] (labels with __name__) is scraped at all times, after observations[k][j] came in."""
    write(url, [(labels, scraped(times, seen, **how)) for labels, seen in zip(series, observations, strict=True)])
