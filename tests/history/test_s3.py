"""The archive in an object store: S3 as moto's server speaks it."""

import uuid

import pytest

from canary_judge.errors import DataError
from canary_judge.history import History, backtest
from tests.history.canaries import SHOP, labelled, shop

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")


@pytest.fixture
def history(monkeypatch):
    running = server.ThreadedMotoServer("127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"canaries-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem().mkdir(bucket)
    yield History(f"s3://{bucket}/archive")
    running.stop()


def test_it_is_filled_labelled_compacted_asked_and_judged(history):
    ids = [history.append(shop(number, n=12, label=labelled("healthy"))) for number in range(5)]
    history.label(ids[0], "bad", by="incident")
    before = backtest(SHOP, history).to_json()
    assert history.compact("2026-03-01") == 3
    assert [one.id for one in history] == ids
    assert backtest(SHOP, history).to_json() == before
    counted = history.query(
        "SELECT label, count(DISTINCT id) AS n, sum(total) > 0 AS seen FROM consumed JOIN canaries USING (id) GROUP BY ALL ORDER BY 1"
    )
    assert counted["n"].tolist() == [1, 4]
    assert history.drop(before="2026-03-02") == 4
    assert len(history) == 1


def test_what_is_damaged_is_named(history):
    name = history.append(shop(1, n=12))
    history._objects.put(f"day=2026-03-01/{name}.parquet", b"half of")
    with pytest.raises(DataError, match=rf"s3://.*{name}\.parquet: cannot be read"):
        list(history)
