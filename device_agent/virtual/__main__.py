"""`python -m device_agent.virtual --count 4`: a lab of virtual phones until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import threading
from pathlib import Path

from device_agent.virtual.control import ControlServer
from device_agent.virtual.lab import VirtualLab
from device_agent.virtual.profile import PROFILES


def main(arguments: list[str] | None = None) -> int:
    """Run a lab until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m device_agent.virtual", description=__doc__)
    parser.add_argument("--count", type=int, default=4, help="how many phones")
    parser.add_argument("--profile", action="append", choices=sorted(PROFILES), help="what kinds, in turn; repeatable")
    parser.add_argument("--fixed-run-s", type=float, help="every run lasts this long and computes nothing")
    parser.add_argument("--fixed-latency-ms", type=float, default=10.0, help="what such a run reports")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--json", action="store_true", help="describe the lab as one line of JSON")
    options = parser.parse_args(arguments)
    profiles = [PROFILES[name] for name in options.profile] if options.profile else None
    if options.fixed_run_s is not None:
        kinds = profiles or [profile for profile in PROFILES.values() if profile.shell_v2]
        profiles = [kind.with_fixed_runs(options.fixed_run_s, options.fixed_latency_ms) for kind in kinds]
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (
        tempfile.TemporaryDirectory(prefix="devicenag-lab-") as folder,
        VirtualLab(options.count, profiles, folder=Path(folder), seed=options.seed) as lab,
    ):
        control = ControlServer(lab, Path(folder) / "control")
        if options.json:
            description = {"adb_port": lab.port, "control": str(Path(folder) / "control"), "serials": lab.serials}
            print(json.dumps(description), flush=True)
        else:
            for phone in lab.phones:
                print(f"{phone.serial}\t{phone.profile.model}\tAndroid {phone.profile.android}")
            print(f"export ANDROID_ADB_SERVER_PORT={lab.port}", flush=True)
            print(f"control: {Path(folder) / 'control'}; Ctrl-C ends the lab", flush=True)
        stop.wait()
        control.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
