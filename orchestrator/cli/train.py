"""`nag train`: models that the search is guided by."""

from __future__ import annotations

import typer

from orchestrator.cli.train_accuracy import accuracy
from orchestrator.cli.train_dinas import dinas
from orchestrator.cli.train_latency import latency
from orchestrator.cli.train_score import score

app = typer.Typer(help="Train the models that guide the search.", no_args_is_help=True)
app.command()(accuracy)
app.command()(dinas)
app.command()(latency)
app.command()(score)
