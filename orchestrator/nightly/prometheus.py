"""A night for Prometheus: a file for the textfile collector of its node exporter.

Source: the text-based exposition format, version 0.0.4. Base units (seconds, ratios), as Prometheus asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.nightly.result import ALARMS, INCOMPLETE, NightResult, PhoneResult
from profiling.compare import Effect

_PREFIX = "devicenag_nightly_"


@dataclass
class _Metric:
    """A family: its name without the prefix, what it is, and its samples."""

    name: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        name = _PREFIX + self.name
        yield f"# HELP {name} {self.help.replace(chr(92), chr(92) * 2).replace(chr(10), chr(92) + 'n')}"
        yield f"# TYPE {name} gauge"
        for labels, value in self.samples:
            yield f"{name}{_labels(labels)} {value!r}"


def prometheus_text(night: NightResult) -> str:
    """The file's content."""
    common = {"night": night.name}
    phone_metrics = {
        "latency_seconds": _Metric("latency_seconds", "Latency of one inference."),
        "model_ratio": _Metric("model_ratio", "Latency over the baseline's, beyond what the phone's models share."),
        "model_ratio_low": _Metric("model_ratio_low", "Lower end of the 95 % interval of model_ratio."),
        "model_ratio_high": _Metric("model_ratio_high", "Upper end of the 95 % interval of model_ratio."),
        "model_alarm": _Metric("model_alarm", "1 if the model is surely slower than in the baseline, or fails now."),
        "model_missing": _Metric("model_missing", "1 if the model could not be measured."),
        "phone_ratio": _Metric("phone_ratio", "Latency over the baseline's that all models of a phone share."),
        "phone_ratio_low": _Metric("phone_ratio_low", "Lower end of the 95 % interval of phone_ratio."),
        "phone_ratio_high": _Metric("phone_ratio_high", "Upper end of the 95 % interval of phone_ratio."),
        "phone_alarm": _Metric("phone_alarm", "1 if all models of a phone are surely slower than in the baseline."),
        "phone_missing": _Metric("phone_missing", "1 if a phone of the baseline was not there."),
        "phone_other_system": _Metric("phone_other_system", "1 if the baseline is of another build or runtime."),
        "passes_missed": _Metric("passes_missed", "Measurements that were made in some passes, and not in all."),
        "detectable_ratio": _Metric("detectable_ratio", "Slow-down of a model that is found with probability 0.95."),
    }
    for phone in night.phones:
        _add_phone(phone_metrics, phone, {**common, "phone": phone.device.name, "setting": phone.setting})
    verdicts = _Metric("results", "Models on phones, phones and campaigns, by status.")
    verdicts.samples = [({**common, "status": status}, float(n)) for status, n in sorted(night.counts.items())]
    campaigns = _Metric("campaign_alarm", "1 if a campaign found nothing that meets its goal.")
    campaigns.samples = [
        ({**common, "campaign": each.name}, float(each.status == "broken")) for each in night.campaigns
    ]
    whole = [
        _Metric("exit_code", "How nag nightly ended: 0 well, 1 a regression, 3 something is missing."),
        _Metric("start_timestamp_seconds", "When the night began, in seconds since 1970."),
        _Metric("end_timestamp_seconds", "When the night ended, in seconds since 1970."),
    ]
    for metric, value in zip(whole, (float(night.exit_code), night.started_at, night.ended_at), strict=True):
        metric.samples = [(common, value)]
    families = [*phone_metrics.values(), verdicts, campaigns, *whole]
    return "".join(f"{line}\n" for metric in families if metric.samples for line in metric.lines())


def _add_phone(metrics: Mapping[str, _Metric], phone: PhoneResult, labels: dict[str, str]) -> None:
    def add(name: str, value: float, **more: str) -> None:
        metrics[name].samples.append(({**labels, **more}, float(value)))

    def add_effect(name: str, effect: Effect | None, **more: str) -> None:
        if effect is not None:
            for suffix, value in (("", effect.ratio), ("_low", effect.low), ("_high", effect.high)):
                add(f"{name}{suffix}", value, **more)

    add("phone_missing", phone.status == "missing")
    add("phone_alarm", phone.status in ALARMS)
    add("phone_other_system", bool(phone.other_system))
    add("passes_missed", phone.passes_missed)
    add_effect("phone_ratio", phone.shift)
    if phone.detectable is not None:
        add("detectable_ratio", phone.detectable)
    for model in phone.models:
        if model.now_ms is not None:
            add("latency_seconds", model.now_ms / 1000, model=model.model)
        add_effect("model_ratio", model.own, model=model.model)
        add("model_alarm", model.status in ALARMS, model=model.model)
        add("model_missing", model.status in INCOMPLETE, model=model.model)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
