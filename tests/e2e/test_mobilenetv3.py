"""MobileNetV3 from the command line: a campaign that trains and measures for real, and what a network is made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import yaml

from tests.e2e.test_cli import nag

OFA = {"ks": [3] * 20, "e": [4] * 20, "d": [2, 3, 4, 3, 2], "r": [192]}


def test_a_campaign_that_searches_the_resolution_too(tmp_path: Path) -> None:
    values = {
        "name": "small",
        "space": {"kind": "mobilenetv3", "input": [1, 48, 48, 1], "classes": 10, "width": 0.1, "resolutions": [32, 48]},
        "generator": {"kind": "random"},
        "accuracy": {"kind": "training", "dataset": "digits", "epochs": 1},
        "devices": [{"kind": "host"}],
        "measure": {"blocks": [1, 1], "min_runs": 2, "block_seconds": 1e-6, "warmup_seconds": 0.0},
        "budget": {"candidates": 4, "batch": 2, "initial": 4, "verify": 0},
    }
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(values))
    done = nag("run", config, "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["candidates"]["measured"] == 4
    assert status["best"]["architecture"].endswith(("@32", "@48"))


def test_describe_reads_and_prints_ofas_dictionary(tmp_path: Path) -> None:
    space, artifact = "mobilenetv3:resolutions=160,192,224", tmp_path / "network.tflite"
    done = nag("describe", "--space", space, "--arch", json.dumps(OFA), "--out", artifact, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert hashlib.sha256(artifact.read_bytes()).hexdigest() == values["artifact_sha256"]
    active = [block for stage, depth in enumerate(OFA["d"]) for block in range(4 * stage, 4 * stage + depth)]
    assert values["ofa"]["d"] == OFA["d"]
    assert values["ofa"]["r"] == 192
    assert [values["ofa"]["ks"][block] for block in active] == [3] * 14
    assert [values["ofa"]["e"][block] for block in active] == [4] * 14
    assert values["architecture"].endswith("@192")
    assert values["layers"][0]["output_shape"] == [1, 96, 96, 16]
    assert values["layers"][-1]["output_shape"] == [1, 1000]

    wider = nag("describe", "--space", "mobilenetv3", "--arch", json.dumps(OFA), "--option", "width=1.2")
    assert wider.returncode == 0, wider.stderr
    assert '"ks"' in wider.stdout

    for wrong, told in (
        (("--space", "mobilenetv3:resolutions=16"), "32 to 1024"),
        (("--space", "mobilenetv3", "--option", "width=wide"), "NAME=NUMBER"),
        (("--space", "mobilenetv3", "--out", tmp_path / "no" / "such.tflite"), "cannot be written"),
    ):
        refused = nag("describe", "--arch", json.dumps(OFA), *wrong)
        assert refused.returncode == 2
        assert told in refused.stderr
