"""256 guided architectures: how long they take, on both spaces, as shares of the limits.

    python benchmarks/guided_speed.py --seeds 5

The tasks are those of `generators.py`. Medians over seeds, of one thread: processor time, and the clock's, which other
work on the machine stretches.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from generation_tasks import BUDGETS_MS, make_task

from orchestrator.generate.base import Request
from orchestrator.generate.registry import make_generator
from orchestrator.space.registry import make_space

COUNT = 256
LIMITS_S = {"nasbench201": 2.0, "mobilenetv3": 5.0}


def main() -> None:
    """Print a line for each space and generator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, limit_s in LIMITS_S.items():
        space = make_space(name)
        for kind in ("diffusion_nag", "diffusion_evolution"):
            generator = make_generator({"kind": kind}, space)
            generator.propose(Request(8))  # the first call of anything loads it
            taken, validity = [], []
            for seed in range(arguments.seeds):
                utility = make_task(name, BUDGETS_MS[name][0], seed).utility
                began = time.process_time(), time.perf_counter()
                proposal = generator.propose(Request(COUNT, utility, seed=seed))
                taken.append((time.process_time() - began[0], time.perf_counter() - began[1]))
                validity.append(proposal.validity_unprojected)
            cpu_s, clock_s = np.median(taken, axis=0)
            print(
                f"{name}, {kind}: {cpu_s:.2f} s of processor time ({cpu_s / limit_s:.2f} of the limit), "
                f"{clock_s:.2f} s by the clock ({clock_s / limit_s:.2f}); "
                f"validity before projection {min(validity):.3f} at least"
            )


if __name__ == "__main__":
    main()
