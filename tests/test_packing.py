"""Packed rows hold every sequence whole, share what is common, and compute what each would alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_memory.models.packing import Batch, Span, batches, common_prefix, plant

sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), min_size=1, max_size=12
)


@given(sequences, st.integers(1, 40))
def test_every_sequence_stands_in_one_tree_and_begins_with_its_prefix(
    some: list[tuple[int, ...]], capacity: int
) -> None:
    trees = plant(some, capacity=capacity)
    assert sorted(m for tree in trees for m in tree.members) == list(range(len(some)))
    for tree in trees:
        heads = {some[m][: tree.prefix] for m in tree.members}
        assert len(heads) == 1
        assert tree.tokens == tree.prefix + sum(len(some[m]) - tree.prefix for m in tree.members)
        assert tree.tokens <= capacity or len(tree.members) == 1


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6).map(tuple), min_size=1, max_size=5))
def test_no_partition_of_the_sorted_sequences_has_fewer_tokens(some: list[tuple[int, ...]]) -> None:
    ordered = sorted(some)

    def cost(run: list[tuple[int, ...]]) -> int:
        prefix = min((common_prefix(run[0], other) for other in run), default=0)
        return prefix + sum(len(s) - prefix for s in run)

    def best(rest: list[tuple[int, ...]]) -> int:
        return min((cost(rest[:n]) + best(rest[n:]) for n in range(1, len(rest) + 1)), default=0)

    assert sum(tree.tokens for tree in plant(some, capacity=10**6)) == best(ordered)


@given(sequences, st.integers(1, 5))
def test_a_tree_has_no_more_members_than_allowed(some: list[tuple[int, ...]], most: int) -> None:
    assert all(len(tree.members) <= most for tree in plant(some, capacity=10**6, most=most))


@pytest.mark.parametrize("form", ["ragged", "packed", "padded"])
@given(sequences, st.data())
@settings(deadline=None, max_examples=40)
def test_the_token_after_each_place_is_the_one_that_is_predicted(
    form: str, some: list[tuple[int, ...]], data: st.DataObject
) -> None:
    spans = [Span((9, *ids), data.draw(st.integers(1, len(ids) + 1))) for ids in some]
    seen = []
    for batch in batches(spans, form=form, forward_tokens=64):  # type: ignore[arg-type]
        flat_ids, flat_positions = batch.ids.flatten(), batch.positions.flatten()
        places = batch.at.tolist()
        for member in batch.members:
            span = spans[member]
            own, places = places[: span.predicted], places[span.predicted :]
            for t, place in zip(range(span.start, len(span.ids)), own, strict=True):
                assert int(flat_ids[place]) == span.ids[t - 1]
                assert int(flat_positions[place]) == t - 1
            seen.append(member)
        assert not places
    assert sorted(seen) == list(range(len(spans)))


def seen_by(batch: Batch) -> dict[int, list[int]]:
    """Which places each place looks at, in the ragged form."""
    assert batch.pieces is not None
    ends = torch.tensor([0, *(group.queries.numel() for group in batch.pieces.groups)]).cumsum(0)
    seen = {}
    for place, output in enumerate(batch.pieces.order.tolist()):
        g = int((ends <= output).sum()) - 1
        group = batch.pieces.groups[g]
        row, column = divmod(output - int(ends[g]), group.queries.shape[1])
        if int(group.queries[row, column]) == place:
            seen[place] = group.keys[row][group.bias[row, 0, column] == 0].tolist()
    return seen


def test_a_token_sees_its_branch_and_its_prefix_and_nothing_else() -> None:
    spans = [Span((1, 2, 3, 4), 2), Span((1, 2, 5, 6, 7), 2), Span((8, 9), 1)]
    (batch,) = batches(spans, form="ragged", forward_tokens=64)
    assert batch.ids[0, :9].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert batch.positions[0, :9].tolist() == [0, 1, 2, 3, 2, 3, 4, 0, 1]
    expected = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5], [0, 1, 4, 5, 6], [7], [7, 8]]
    seen = seen_by(batch)
    assert [seen[place] for place in range(9)] == expected


def test_batches_keep_to_their_size() -> None:
    spans = [Span((i, *range(30)), 3) for i in range(40)] + [Span((99, i, *range(70)), 3) for i in range(3)]
    for form in ("ragged", "packed", "padded"):
        for batch in batches(spans, form=form, forward_tokens=128):  # type: ignore[arg-type]
            assert batch.ids.numel() <= 128


def test_long_rows_keep_apart_from_short_ones() -> None:
    spans = [Span(tuple(range(4)), 1) for _ in range(30)] + [Span(tuple(range(60)), 1)]
    long, short = batches(spans, form="padded", forward_tokens=4096)
    assert (long.ids.shape[1], short.ids.shape[1]) == (60, 4)


def test_a_shared_prefix_is_stored_once() -> None:
    question = tuple(range(100, 140))
    spans = [Span((*question, i, i), 41) for i in range(5)]
    (batch,) = batches(spans, form="ragged", forward_tokens=4096)
    assert int(batch.ids.count_nonzero()) <= 40 + 5 * 2
