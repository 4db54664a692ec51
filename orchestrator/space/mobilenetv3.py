"""MobileNetV3-Large as Once-for-All searches it (Cai et al., ICLR 2020): five stages of two to four blocks.

Slots are the five depths, then the 5 x 4 blocks (kernel and expansion of each), then, where several resolutions are
searched, the resolution. Every vector of choices is legal: a block beyond its stage's depth is *inactive*, its choice
has no effect, and the first one stands for all. Written `k3e6,k5e4|k3e3,k7e6,k3e4|...` (stages parted by `|`), and
`...@192` where the resolution is searched; OFA's dictionaries (`ks`, `e`, `d`, `r`) are read as JSON too.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.errors import ConfigError, IllegalArchitecture, Problem
from orchestrator.space.base import Architecture, BoolArray, FloatArray, IntArray, NetworkOptions
from orchestrator.space.mobilenetv3_blocks import BLOCK_CHOICES, DEPTHS, EXPANSIONS, KERNELS
from orchestrator.space.mobilenetv3_network import SMALLEST_INPUT, build_network
from profiling.network import Network

if TYPE_CHECKING:
    from orchestrator.predict.encodings import Encoding

STAGES = 5
POSITIONS = max(DEPTHS)  # blocks of a stage at most
FIRST_BLOCK = STAGES  # slot of the first block; those before it are depths
RESOLUTION = STAGES + STAGES * POSITIONS  # slot of the resolution, where there is one

_LARGEST_INPUT = 1024
_BLOCK = re.compile(r"^k(?P<kernel>\d)e(?P<expansion>\d)$")
_EXAMPLE = "k3e6,k5e4|k3e3,k7e6,k3e4|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3,k3e4,k5e6"


class MobileNetV3:
    """About 10^19 architectures; `S` = 25 (26 with a resolution), `V` = 9 (or the number of resolutions)."""

    name = "mobilenetv3"
    size: int | None = None

    usual_network = NetworkOptions((1, 224, 224, 3), 1000)  # ImageNet

    def __init__(self, *, resolutions: Sequence[int] = ()) -> None:
        """Args:
        resolutions: Heights and widths of the input to choose from; none leaves them to the network's options.

        Raises:
            ConfigError: A resolution is too small for five strides, or given twice.
        """
        try:
            self.resolutions = tuple(operator.index(resolution) for resolution in resolutions)
        except TypeError:
            self.resolutions = (0,)
        sensible = all(SMALLEST_INPUT <= resolution <= _LARGEST_INPUT for resolution in self.resolutions)
        if not sensible or len(set(self.resolutions)) != len(self.resolutions):
            allowed = f"different sizes of {SMALLEST_INPUT} to {_LARGEST_INPUT}, e.g. [160, 192, 224]"
            raise ConfigError("space", [Problem("space.resolutions", resolutions, allowed)])
        depths = tuple(str(depth) for depth in DEPTHS)
        blocks = tuple(f"k{kernel}e{expansion}" for kernel, expansion in BLOCK_CHOICES)
        self.choices: tuple[tuple[str, ...], ...] = (depths,) * STAGES + (blocks,) * (STAGES * POSITIONS)
        if self.resolutions:
            self.choices += (tuple(str(resolution) for resolution in self.resolutions),)

    @property
    def attention_mask(self) -> BoolArray:
        """(`S`, `S`): every slot may look at every other; accuracy and latency depend on all of them."""
        return np.ones((len(self.choices), len(self.choices)), dtype=bool)

    def architecture(self, slots: Sequence[int] | IntArray) -> Architecture:
        """The architecture with these choices; those of inactive blocks do not matter."""
        chosen = np.asarray(slots, dtype=np.int64)
        if chosen.shape != (len(self.choices),) or not self.is_legal(chosen[None])[0]:
            raise IllegalArchitecture(
                f"{tuple(slots)} is no MobileNetV3 architecture",
                f"give {len(self.choices)} numbers: 5 depths of 0..2, 20 blocks of 0..8"
                + (f", a resolution of 0..{len(self.resolutions) - 1}" if self.resolutions else ""),
            )
        chosen = np.where(self.inactive(chosen[None])[0], 0, chosen)
        return Architecture(self.name, tuple(chosen.tolist()), self._text(chosen))

    def parse(self, text: str) -> Architecture:
        """The architecture in this space's notation, or of an OFA dictionary as JSON."""
        if text.lstrip().startswith("{"):
            try:
                values = json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                raise IllegalArchitecture(f"{text[:80]!r} is no JSON: {error}", "give ks, e, d (and r)") from error
            return self.from_ofa(values)
        body, at, resolution = text.strip().partition("@")
        stages = [[self._block(block, text) for block in stage.split(",")] for stage in body.split("|")]
        if len(stages) != STAGES or not all(len(stage) in DEPTHS for stage in stages):
            raise IllegalArchitecture(
                f"{text[:80]!r} is no MobileNetV3 architecture: it needs {STAGES} stages of 2 to 4 blocks",
                f"write e.g. {_EXAMPLE}",
            )
        slots = [DEPTHS.index(len(stage)) for stage in stages]
        for stage in stages:
            slots += stage + [0] * (POSITIONS - len(stage))
        return self.architecture(slots + self._resolution(resolution if at else None, text))

    def from_ofa(self, values: Mapping[str, Any]) -> Architecture:
        """The architecture of one of OFA's dictionaries: `ks` and `e` of 20 blocks, `d` of 5 stages, perhaps `r`.

        What stands where a block is inactive does not matter (OFA's predictor writes 0), nor does `r` where the
        resolution is not searched.

        Raises:
            IllegalArchitecture: Something is missing or no choice of this space.
        """
        try:
            kernels, expansions, depths = ([int(value) for value in values[key]] for key in ("ks", "e", "d"))
            if (len(kernels), len(expansions), len(depths)) != (STAGES * POSITIONS, STAGES * POSITIONS, STAGES):
                raise ValueError("wrong lengths")
            slots = [DEPTHS.index(depth) for depth in depths]
            for index, pair in enumerate(zip(kernels, expansions, strict=True)):
                active = index % POSITIONS < depths[index // POSITIONS]
                slots.append(BLOCK_CHOICES.index(pair) if active else 0)
            resolution = values.get("r")
            if isinstance(resolution, (list, tuple)):  # OFA writes [224]
                (resolution,) = resolution
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise IllegalArchitecture(
                f"{str(values)[:80]} is no OFA MobileNetV3 dictionary ({error})",
                f"ks out of {KERNELS} and e out of {EXPANSIONS}, 20 of each; d out of {DEPTHS}, 5 of them",
            ) from error
        given = None if resolution is None or not self.resolutions else str(resolution)
        return self.architecture(slots + self._resolution(given, str(values)))

    def to_ofa(self, architecture: Architecture) -> dict[str, Any]:
        """OFA's dictionary; `r` only where the resolution is searched."""
        slots = np.array(architecture.slots)
        blocks = [BLOCK_CHOICES[value] for value in slots[FIRST_BLOCK:RESOLUTION]]
        values: dict[str, Any] = {
            "ks": [kernel for kernel, _ in blocks],
            "e": [expansion for _, expansion in blocks],
            "d": [DEPTHS[value] for value in slots[:STAGES]],
        }
        return values | ({"r": self.resolution(architecture)} if self.resolutions else {})

    def other_notations(self, architecture: Architecture) -> dict[str, Any]:
        """`ofa`: OFA's dictionary."""
        return {"ofa": self.to_ofa(architecture)}

    def stages(self, architecture: Architecture) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Kernel and expansion of every active block, stage by stage."""
        blocks = [BLOCK_CHOICES[value] for value in architecture.slots[FIRST_BLOCK:RESOLUTION]]
        depths = [DEPTHS[value] for value in architecture.slots[:STAGES]]
        return tuple(tuple(blocks[stage * POSITIONS :][:depth]) for stage, depth in enumerate(depths))

    def resolution(self, architecture: Architecture) -> int | None:
        """Height and width of the input, where the space searches it."""
        return self.resolutions[architecture.slots[RESOLUTION]] if self.resolutions else None

    def sample(self, count: int, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`) draws as OFA makes them: each depth and each block uniform, independent of the others."""
        drawn = rng.integers(0, self._sizes, size=(count, len(self.choices)), dtype=np.int64)
        return np.where(self.inactive(drawn), 0, drawn)

    def is_legal(self, slots: IntArray) -> BoolArray:
        """(`B`,): whether every slot names one of its choices."""
        return np.asarray(((slots >= 0) & (slots < self._sizes)).all(axis=1))

    def inactive(self, slots: IntArray) -> BoolArray:
        """(`B`, `S`): blocks beyond the depth of their stage."""
        depths = slots[:, :STAGES] + DEPTHS[0]
        beyond = np.arange(POSITIONS)[None, None] >= depths[:, :, None]
        mask = np.zeros(slots.shape, dtype=bool)
        mask[:, FIRST_BLOCK:RESOLUTION] = beyond.reshape(len(slots), STAGES * POSITIONS)
        return mask

    def project(self, scores: FloatArray) -> IntArray:
        """(`B`, `S`): the depths and active blocks with the greatest summed score; exact, stage by stage.

        The score of an inactive block counts as that of its first choice, as it does in a one-hot architecture.
        """
        masked = np.where(self._exists, scores, -np.inf)
        blocks = masked[:, FIRST_BLOCK:RESOLUTION].reshape(len(scores), STAGES, POSITIONS, -1)
        gain = blocks.max(axis=3) - blocks[..., 0]  # by being active instead of inactive
        depth_scores = masked[:, :STAGES, : len(DEPTHS)].copy()
        for index, depth in enumerate(DEPTHS):
            depth_scores[:, :, index] += gain[:, :, :depth].sum(axis=2)
        chosen = masked.argmax(axis=2)
        chosen[:, :STAGES] = depth_scores.argmax(axis=2)
        return np.where(self.inactive(chosen), 0, chosen).astype(np.int64)

    def neighbours(self, architecture: Architecture) -> IntArray:
        """(`B`, `S`): every change of one depth (new blocks are the first choice), active block or resolution."""
        slots = np.array(architecture.slots, dtype=np.int64)
        rows = []
        for slot in np.flatnonzero(~self.inactive(slots[None])[0]):
            for value in range(len(self.choices[slot])):
                if value != slots[slot]:
                    row = slots.copy()
                    row[slot] = value
                    rows.append(row)
        changed = np.stack(rows)
        return np.where(self.inactive(changed), 0, changed)

    def isomorphism_class(self, architecture: Architecture) -> str:
        """The architecture itself: no two are isomorphic."""
        return architecture.text

    def computation(self, architecture: Architecture) -> str:
        """The architecture itself: no two compute the same."""
        return architecture.text

    def network(self, architecture: Architecture, options: NetworkOptions) -> Network:
        """The network at the options' input shape (or the architecture's resolution) and `width` (1.0)."""
        resolution = self.resolution(architecture)
        if resolution is not None:
            batch, _, _, channels = options.input_shape
            options = replace(options, input_shape=(batch, resolution, resolution, channels))
        return build_network(self.stages(architecture), options)

    def encoding(self) -> Encoding:
        """Features of the active blocks."""
        from orchestrator.predict.mobilenetv3_encoding import MobileNetV3Encoding

        return MobileNetV3Encoding(self.resolutions)

    @cached_property
    def _sizes(self) -> IntArray:
        """(`S`,): how many choices each slot has."""
        return np.array([len(choices) for choices in self.choices], dtype=np.int64)

    @cached_property
    def _exists(self) -> BoolArray:
        """(`S`, `V`): which choices there are."""
        return np.asarray(np.arange(self._sizes.max())[None] < self._sizes[:, None])

    def _text(self, slots: IntArray) -> str:
        names = [self.choices[FIRST_BLOCK][value] for value in slots[FIRST_BLOCK:RESOLUTION]]
        stages = [
            ",".join(names[stage * POSITIONS : stage * POSITIONS + DEPTHS[depth]])
            for stage, depth in enumerate(slots[:STAGES])
        ]
        suffix = f"@{self.resolutions[slots[RESOLUTION]]}" if self.resolutions else ""
        return "|".join(stages) + suffix

    def _block(self, block: str, text: str) -> int:
        match = _BLOCK.match(block)
        pair = (int(match["kernel"]), int(match["expansion"])) if match else None
        if pair not in BLOCK_CHOICES:
            raise IllegalArchitecture(
                f"{text[:80]!r} is no MobileNetV3 architecture (at {block[:20]!r})", f"write e.g. {_EXAMPLE}"
            )
        return BLOCK_CHOICES.index(pair)

    def _resolution(self, given: str | None, text: str) -> list[int]:
        """The slot of the resolution, where there is one."""
        if not self.resolutions and given is None:
            return []
        if given is None or not given.isdecimal() or int(given) not in self.resolutions:
            allowed = f"@R with R out of {self.resolutions}" if self.resolutions else "no @resolution: none is searched"
            raise IllegalArchitecture(f"{text[:80]!r}: resolution {given}", f"write {allowed}")
        return [self.resolutions.index(int(given))]
