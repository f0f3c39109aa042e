from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidnas.base.errors import VidnasError
from vidnas.data.sampler import SequentialBatches, StepBatches

SIZES = {"num_samples": st.integers(1, 50), "batch_size": st.integers(1, 20), "seed": st.integers(0, 9)}


@settings(deadline=None)  # other work may hold the machine up
@given(**SIZES, start=st.integers(0, 30))
def test_a_resumed_run_goes_on_with_the_same_batches(num_samples, batch_size, seed, start):
    whole = StepBatches(num_samples, batch_size, seed, num_steps=30)
    resumed = StepBatches(num_samples, batch_size, seed, num_steps=30, start_step=start)
    assert list(resumed) == list(whole)[start:]
    assert len(resumed) == 30 - start
    assert list(whole) == list(whole)


@settings(deadline=None)  # other work may hold the machine up
@given(**SIZES, share=st.integers(1, 5), ranks=st.integers(1, 4))
def test_ranks_share_every_batch(num_samples, batch_size, seed, share, ranks):
    whole = StepBatches(num_samples, share * ranks, seed, num_steps=7)
    parts = [
        StepBatches(num_samples, share * ranks, seed, num_steps=7, rank=rank, world_size=ranks) for rank in range(ranks)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert batch == [item for part in shares for item in part]
        assert {len(part) for part in shares} == {share}


@settings(deadline=None)  # other work may hold the machine up
@given(**SIZES)
def test_an_epoch_shows_no_sample_twice_and_leaves_out_less_than_a_batch(num_samples, batch_size, seed):
    batches = StepBatches(num_samples, batch_size, seed, num_steps=200)
    per_epoch = batches.steps_per_epoch
    passes = -(-batch_size // num_samples)
    steps = list(batches)[: 2 * per_epoch]
    for epoch in (0, 1):
        items = [item for batch in steps[epoch * per_epoch : (epoch + 1) * per_epoch] for item in batch]
        assert len(items) == len(set(items)) == per_epoch * batch_size
        assert {number for number, _ in items} <= set(range(epoch * passes, (epoch + 1) * passes))
        assert num_samples - len(items) < batch_size
        # In a batch larger than the list all samples appear equally often, give or take one.
        uses = Counter(index for _, index in items)
        assert max(uses.values()) - min(uses.get(i, 0) for i in range(num_samples)) <= 1


@settings(deadline=None)  # other work may hold the machine up
@given(
    num_samples=st.integers(1, 40),
    videos=st.integers(1, 6),
    together=st.integers(1, 4),
    start=st.integers(0, 30),
    ranks=st.integers(1, 2),
)
def test_clips_of_a_video_stand_together_and_nothing_else_changes(num_samples, videos, together, start, ranks):
    size = videos * together * ranks
    settings = {"num_steps": 60, "clips_per_video": together}
    whole = list(StepBatches(num_samples, size, 1, **settings))
    assert list(StepBatches(num_samples, size, 1, start_step=start, **settings)) == whole[start:]
    shares = [list(StepBatches(num_samples, size, 1, rank=r, world_size=ranks, **settings)) for r in range(ranks)]
    assert [sum(parts, []) for parts in zip(*shares, strict=True)] == whole  # noqa: RUF017
    for batch in whole:
        for first in range(0, size, together):
            group = batch[first : first + together]
            assert len({index for _, index in group}) == 1
            assert [epoch for epoch, _ in group] == list(range(group[0][0], group[0][0] + together))
    # A round takes the place of as many epochs: as many steps over the same passes, and no item twice.
    steps = StepBatches(num_samples, size, 1, num_steps=0).steps_per_epoch * together
    plain = [item for batch in StepBatches(num_samples, size, 1, num_steps=steps) for item in batch]
    batches = StepBatches(num_samples, size, 1, num_steps=steps, clips_per_video=together)
    items = [item for batch in batches for item in batch]
    assert len(items) == len(set(items)) == len(plain)
    assert {epoch for epoch, _ in items} <= set(range(max(epoch for epoch, _ in plain) + 1))


def test_order_changes_with_epoch_and_seed():
    def order(seed: int, epoch: int) -> list[int]:
        batches = StepBatches(40, 10, seed, num_steps=8)
        return [index for batch in list(batches)[4 * epoch : 4 * epoch + 4] for _, index in batch]

    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert sorted(order(0, 0)) == list(range(40))


def test_bad_sizes_are_refused():
    with pytest.raises(VidnasError, match="multiple of 3"):
        StepBatches(10, 4, 0, num_steps=1, world_size=3)
    with pytest.raises(VidnasError, match="empty"):
        StepBatches(0, 4, 0, num_steps=1)
    with pytest.raises(VidnasError, match="3 clips per video do not go into the 4 clips of a batch"):
        StepBatches(10, 8, 0, num_steps=1, world_size=2, clips_per_video=3)


@settings(deadline=None)  # other work may hold the machine up
@given(num_items=st.integers(0, 60), batch_size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_sequential_batches_show_every_item_once_over_all_ranks(num_items, batch_size, ranks):
    parts = [SequentialBatches(num_items, batch_size, rank=rank, world_size=ranks) for rank in range(ranks)]
    seen = [item for part in parts for batch in part for item in batch]
    assert sorted(seen) == [(0, index) for index in range(num_items)]
    for part in parts:
        batches = list(part)
        assert len(batches) == len(part)
        assert all(0 < len(batch) <= batch_size for batch in batches)
        assert [item for batch in batches for item in batch] == sorted(item for batch in batches for item in batch)
