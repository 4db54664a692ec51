"""A campaign: its configuration, the closed loop, resuming, and the events it emits."""
