"""Columns that grow in place never change what anybody has of them."""

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from canary_judge.looks import growing
from canary_judge.looks.growing import grown


@pytest.mark.parametrize("seed", range(20))
def test_whoever_adds_to_what_gets_what_a_copy_gives(seed):
    rng = np.random.default_rng(seed)
    known = [(np.arange(3.0), list(range(3)))]
    for _ in range(300):
        column, expected = known[rng.integers(len(known))]
        new = rng.normal(size=rng.integers(0, 4))
        known.append((grown(column, new), [*expected, *new.tolist()]))
        if rng.random() < 0.3:
            known.pop(rng.integers(len(known) - 1))
        for kept, said in known:
            assert kept.tolist() == said


def test_the_newest_is_added_to_in_place():
    column = grown(np.zeros(100), np.ones(1))
    longer = grown(column, np.ones(1))
    assert longer.base is column.base
    assert grown(column, np.full(1, 2.0)).base is not column.base
    assert longer.tolist() == [*[0.0] * 100, 1.0, 1.0]


def test_what_is_turned_round_or_of_another_type_is_copied():
    column = grown(np.arange(10.0), np.ones(1))
    assert grown(column[::-1], np.ones(1)).tolist() == [*column[::-1].tolist(), 1.0]
    whole = grown(np.arange(3), np.arange(1))
    assert grown(whole, np.array([0.5])).tolist() == [0.0, 1.0, 2.0, 0.0, 0.5]
    column = grown(np.arange(10.0), np.ones(1))
    assert grown(column[1:], np.ones(1)).tolist() == [*column[1:].tolist(), 1.0]
    assert pickle.loads(pickle.dumps(grown(column, np.ones(2)))).size == 13


def test_nothing_is_left_of_columns_that_nobody_has():
    gc.collect()
    before = len(growing._ROOMS)
    column = np.zeros(1)
    for _ in range(1000):
        column = grown(column, np.zeros(1))
    assert len(growing._ROOMS) == before + 1
    del column
    gc.collect()
    assert len(growing._ROOMS) == before


def test_threads_that_add_to_the_same_do_not_meet():
    def added(number):
        column = first
        for _ in range(50):
            column = grown(column, np.full(1, float(number)))
        return column[100:].tolist() == [float(number)] * 50

    first = grown(np.zeros(99), np.zeros(1))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(added, range(64)))
