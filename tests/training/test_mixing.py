"""The order of the items: ratios, buckets, and that it follows from the seed alone."""

import itertools
from collections import Counter

import numpy as np
import pytest

from training.mixing import BucketBatchSampler, TaskMixture


SIZES = {"scoring": 50, "pairwise": 20, "distortion": 30}


def mixture(seed=0, **ratios):
    return TaskMixture(SIZES, ratios or {"scoring": 2, "pairwise": 1, "distortion": 1}, seed)


def task(position):
    return "scoring" if position < 50 else "pairwise" if position < 70 else "distortion"


def test_ratios_are_met_in_every_chunk():
    for chunk in itertools.islice(mixture().chunks(40), 10):
        counts = Counter(map(task, chunk.tolist()))
        assert abs(counts["scoring"] - 20) <= 1
        assert abs(counts["pairwise"] - 10) <= 1
        assert sum(counts.values()) == 40
    tasks = [task(p) for p in next(mixture().chunks(40)).tolist()]
    assert tasks != sorted(tasks)  # mixed, not in blocks
    lonely = TaskMixture(SIZES, {"pairwise": 1.0, "scoring": 0.0}, 0)
    assert {task(p) for p in next(lonely.chunks(40)).tolist()} == {"pairwise"}


def test_every_row_comes_once_before_any_comes_twice():
    seen = Counter(p for chunk in itertools.islice(mixture().chunks(40), 10) for p in chunk.tolist())
    for name, start in (("scoring", 0), ("pairwise", 50), ("distortion", 70)):
        counts = [seen[start + i] for i in range(SIZES[name])]
        assert max(counts) - min(counts) <= 1, name
    first, second = (list(itertools.islice(mixture()._order(0, 50), 50 * i, 50 * (i + 1))) for i in range(2))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_seeds_give_other_orders_and_one_seed_the_same():
    a, b, c = (next(mixture(seed).chunks(40)).tolist() for seed in (0, 0, 1))
    assert a == b
    assert a != c


def sampler(batch_size=4, batches_per_step=1, num_steps=12, bucket_batches=4, seed=0):
    tokens = np.random.default_rng(1).integers(10, 1000, 100)
    return BucketBatchSampler(mixture(seed), tokens, batch_size, batches_per_step, num_steps, bucket_batches), tokens


def test_items_of_a_batch_have_about_one_length():
    def waste(bucket_batches):
        batches, tokens = sampler(num_steps=40, bucket_batches=bucket_batches)
        lengths = [tokens[batch] for batch in batches]
        return sum((n.max() - n).sum() for n in lengths) / sum(n.max() * len(n) for n in lengths)

    assert waste(16) < 0.1
    assert waste(1) > 0.25
    batches, tokens = sampler(num_steps=40, bucket_batches=8)
    means = [tokens[batch].mean() for batch in itertools.islice(batches, 8)]
    assert means != sorted(means)  # sorted within, not along


def test_processes_and_accumulation_share_what_one_process_sees():
    whole, _ = sampler(batch_size=8, batches_per_step=1)
    split, _ = sampler(batch_size=2, batches_per_step=4)
    assert len(whole) == 12
    assert len(split) == 48
    pieces = list(split)
    for step, batch in enumerate(whole):
        assert sum(pieces[4 * step : 4 * step + 4], []) == batch


def test_a_longer_run_begins_as_a_shorter_one():
    assert list(sampler(num_steps=30)[0])[:12] == list(sampler(num_steps=12)[0])


def test_state_tells_a_run_that_would_go_on_differently():
    state = sampler(batch_size=4, batches_per_step=2)[0].state_dict(5)
    sampler(batch_size=2, batches_per_step=4, num_steps=99)[0].check_state(state)
    with pytest.raises(ValueError, match="items_per_step 8 .* 4 "):
        sampler(batch_size=4)[0].check_state(state)
    with pytest.raises(ValueError, match="seed 0 .* 3 "):
        sampler(batch_size=8, seed=3)[0].check_state(state)


def test_state_tells_a_run_with_other_rows(caplog):
    def with_rows(**fingerprints):
        return BucketBatchSampler(mixture(), np.ones(100), 4, 1, 12, fingerprints=fingerprints)

    state = with_rows(scoring="a", pairwise="b").state_dict(5)
    with_rows(scoring="a", pairwise="b").check_state(state)
    with pytest.raises(ValueError, match="fingerprints .*'a'.*'c'"):
        with_rows(scoring="c", pairwise="b").check_state(state)
    assert not caplog.records
    earlier = {k: v for k, v in state.items() if k != "fingerprints"}
    with_rows(scoring="a").check_state(earlier)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(ValueError, match="seed 7 .* 0 "):
        with_rows(scoring="a").check_state({**earlier, "seed": 7})


@pytest.mark.parametrize(
    ("ratios", "message"),
    [({"score": 1.0}, "score"), ({"scoring": -1.0}, "negative"), ({"scoring": 0.0}, "above 0")],
)
def test_wrong_ratios(ratios, message):
    with pytest.raises(ValueError, match=message):
        TaskMixture(SIZES, ratios, 0)
    with pytest.raises(ValueError, match="empty"):
        TaskMixture({"empty": 0}, {"empty": 1.0}, 0)
