"""Virtual phones: they speak adb's daemon side to a real adb server, and really run models.

For tests, demonstrations and development without hardware; every fault that phones have can be had on demand.
`VirtualLab` is the way in, or `python -m device_agent.virtual --count 4`; see docs/virtual-phones.md.
"""

from __future__ import annotations

from device_agent.virtual.faults import FAULT_KINDS, Fault, FaultKind
from device_agent.virtual.lab import VirtualLab
from device_agent.virtual.phone import VirtualPhone
from device_agent.virtual.profile import PROFILES, Cluster, PhoneProfile, ThermalBehaviour

__all__ = [
    "FAULT_KINDS",
    "PROFILES",
    "Cluster",
    "Fault",
    "FaultKind",
    "PhoneProfile",
    "ThermalBehaviour",
    "VirtualLab",
    "VirtualPhone",
]
