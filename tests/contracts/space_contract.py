"""What every Space promises. A space's tests subclass `SpaceContract` and give it the fixture."""

from __future__ import annotations

import json

import numpy as np
import pytest

from orchestrator.errors import IllegalArchitecture, NagError
from orchestrator.space.base import Space, one_hot


class SpaceContract:
    """Run against a space."""

    drawn = 64

    @pytest.fixture
    def space(self) -> Space:
        """The space."""
        raise NotImplementedError

    def test_is_a_space(self, space: Space) -> None:
        assert isinstance(space, Space)
        assert space.name
        assert all(len(set(choices)) == len(choices) >= 1 for choices in space.choices)

    def test_is_known_for_some_network(self, space: Space) -> None:
        assert len(space.usual_network.input_shape) == 4
        assert min(space.usual_network.input_shape) >= 1
        assert space.usual_network.classes >= 2

    def test_attention_follows_the_graph_both_ways(self, space: Space) -> None:
        slots = len(space.choices)
        assert space.attention_mask.shape == (slots, slots)
        assert space.attention_mask.dtype == np.bool_
        assert (space.attention_mask == space.attention_mask.T).all()
        assert space.attention_mask.diagonal().all(), "a slot that sees nothing has no attention"

    def test_samples_are_legal_and_repeatable(self, space: Space) -> None:
        slots = space.sample(self.drawn, np.random.default_rng(7))
        assert slots.shape == (self.drawn, len(space.choices))
        assert space.is_legal(slots).all()
        assert (slots == space.sample(self.drawn, np.random.default_rng(7))).all()
        assert (slots != space.sample(self.drawn, np.random.default_rng(8))).any()

    def test_text_and_slots_round_trip(self, space: Space) -> None:
        for row in space.sample(self.drawn, np.random.default_rng(0)):
            architecture = space.architecture(row)
            assert architecture.space == space.name
            assert architecture.slots == tuple(row)
            assert space.parse(architecture.text) == architecture
            assert space.parse(architecture.text).text == architecture.text
            assert json.dumps(space.other_notations(architecture))

    @pytest.mark.parametrize("text", ["", " ", "nonsense", "|", "0,0,0", "\x00", "architecture" * 1000])
    def test_other_text_is_refused(self, space: Space, text: str) -> None:
        with pytest.raises(IllegalArchitecture) as caught:
            space.parse(text)
        assert caught.value.hint

    def test_choices_that_do_not_exist_are_refused(self, space: Space) -> None:
        row = space.sample(1, np.random.default_rng(0))[0]
        beyond = row.copy()
        beyond[0] = len(space.choices[0])
        negative = row.copy()
        negative[-1] = -1
        for wrong in (beyond, negative, row[:-1], np.append(row, 0)):
            with pytest.raises(IllegalArchitecture):
                space.architecture(wrong)
        assert not space.is_legal(np.stack([beyond, negative])).any()

    def test_what_has_no_effect_is_written_one_way(self, space: Space) -> None:
        slots = space.sample(self.drawn, np.random.default_rng(6))
        inactive = space.inactive(slots)
        assert inactive.shape == slots.shape
        assert (slots[inactive] == 0).all()
        sizes = np.array([len(choices) for choices in space.choices])
        other = np.where(inactive, sizes - 1, slots)
        for row, changed in zip(slots[:8], other[:8], strict=True):
            assert space.architecture(changed).slots == tuple(row)

    def test_projection_keeps_legal_architectures(self, space: Space) -> None:
        slots = space.sample(self.drawn, np.random.default_rng(1))
        scores = one_hot(slots, max(len(choices) for choices in space.choices))
        assert (space.project(scores) == slots).all()

    def test_projection_is_always_legal(self, space: Space) -> None:
        width = max(len(choices) for choices in space.choices)
        scores = np.random.default_rng(2).normal(size=(self.drawn, len(space.choices), width))
        assert space.is_legal(space.project(scores)).all()

    def test_neighbours_are_legal_others(self, space: Space) -> None:
        for row in space.sample(8, np.random.default_rng(3)):
            neighbours = space.neighbours(space.architecture(row))
            assert len(neighbours)
            assert space.is_legal(neighbours).all()
            assert (neighbours != row).any(axis=1).all()
            assert len(np.unique(neighbours, axis=0)) == len(neighbours)

    def test_size_bounds_what_is_drawn(self, space: Space) -> None:
        if space.size is None:
            pytest.skip("too large to be listed")
        slots = space.sample(4 * space.size if space.size < 1000 else self.drawn, np.random.default_rng(4))
        assert len(np.unique(slots, axis=0)) <= space.size

    def test_classes_are_stable(self, space: Space) -> None:
        architecture = space.architecture(space.sample(1, np.random.default_rng(5))[0])
        again = space.parse(architecture.text)
        assert space.isomorphism_class(architecture) == space.isomorphism_class(again)
        assert space.computation(architecture) == space.computation(again)

    def test_errors_are_the_users(self, space: Space) -> None:
        with pytest.raises(NagError):
            space.parse("?")
