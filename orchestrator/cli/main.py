"""`nag`: the command line. Verbs live in modules of their own and import what is heavy only when they run."""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import version

import typer

from orchestrator.cli import (
    adapt,
    campaign,
    collect,
    compare,
    dataset,
    describe,
    generate,
    lut,
    measure,
    nightly,
    phones,
    report,
    tasks,
    train,
)
from orchestrator.errors import NagError

INTERNAL_ERROR = 4
INTERRUPTED = 130

app = typer.Typer(
    name="nag",
    help="Neural networks that are accurate and fast on the devices you own: proposed by diffusion, "
    "measured for real, learned from every round.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(campaign.run)
app.command()(campaign.status)
app.command()(collect.collect)
app.command()(compare.compare)
app.command()(nightly.nightly)
app.command()(report.report)
app.command()(report.export)
app.command()(measure.measure)
app.command()(phones.devices)
app.command()(phones.doctor)
app.command()(describe.describe)
app.command()(generate.generate)
app.command()(adapt.adapt)
app.add_typer(phones.runner_app, name="runner")
app.add_typer(train.app, name="train")
app.add_typer(lut.app, name="lut")
app.add_typer(tasks.app, name="tasks")
app.add_typer(dataset.app, name="dataset")


def _version(asked: bool) -> None:
    if asked:
        print(version("devicenag"))
        raise typer.Exit


@app.callback()
def _options(
    _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and stop."),
) -> None:
    """Options before the verb."""


def main() -> None:
    """Run a verb; errors become one clear message and the right exit code."""
    from device_agent.errors import DeviceError
    from profiling.store import StoreError

    try:
        app()
    except NagError as error:
        _fail(str(error), error.exit_code)
    except StoreError as error:
        _fail(f"{error.message}\n  hint: {error.hint}" if error.hint else error.message, 2)
    except DeviceError as error:
        _fail(str(error), {"model": 1, "timeout": 1, "user": 2}.get(error.kind, 3))
    except BrokenPipeError:  # the reader of our output went away, e.g. `nag status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        traceback.print_exc()
        _fail("internal error: this is a fault of DeviceNAG; please report it with the lines above", INTERNAL_ERROR)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
