"""The devices of a campaign, from its configuration."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from device_agent.reference import ReferencePlan
from orchestrator import rig
from orchestrator.campaign.config import Config
from orchestrator.campaign.folder import STORE
from orchestrator.campaign.state import read_config
from orchestrator.rig import Rig
from profiling.store import CampaignStore


def open_rig(config: Config, run: Path) -> AbstractContextManager[Rig]:
    """The campaign's devices, ready to take jobs; see `orchestrator.rig.open_rig`."""
    return rig.open_rig(config.devices, run, seed=config.seed, space=config.space, references=ReferencePlan)


def resolve(config: Config, run: Path) -> Config:
    """The configuration with every device named.

    `{kind: adb}`, every attached phone, becomes the models that are attached now, or, for a campaign that has begun,
    those that were attached then.

    Raises:
        DevicesMissing: No phone is ready.
        DeviceError: The adb server cannot be asked.
    """
    if all(device.names for device in config.devices):
        return config
    if (run / STORE).is_file():
        with CampaignStore.read(run / STORE) as store:
            return config.model_copy(update={"devices": read_config(store).devices})
    return config.model_copy(update={"devices": rig.named(config.devices)})
