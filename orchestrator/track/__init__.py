"""Trackers: TensorBoard and MLflow as listeners of a campaign. Off by default; both are extras."""
