"""The `nag` command."""
