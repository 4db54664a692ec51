"""The models of a collection, from whatever its configuration names: spaces, lists of architectures, folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from orchestrator.collect.choose import choose
from orchestrator.collect.config import CollectConfig, FolderModels, ListedModels, ModelsConfig, SpaceModels
from orchestrator.collect.records import CollectModel
from orchestrator.errors import ConfigError, IllegalArchitecture, Problem
from profiling.records import Failure
from profiling.table import TableError, read_table

_SHOWN = 10  # wrong lines of a file
_IDENTIFIER = b"TFL3"


def find_models(config: CollectConfig) -> list[CollectModel]:
    """All models, numbered in the order of the configuration; the same configuration gives the same ones.

    Raises:
        ConfigError: A file lists what is no architecture, or a space has too few: everything that is wrong, at once.
    """
    problems: list[Problem] = []
    models: list[CollectModel] = []
    for index, source in enumerate(config.models):
        try:
            found = list(_models_of(source, index, config.seed))
        except ConfigError as error:
            problems.extend(error.problems)
        else:
            models += [replace(model, source=index) for model in found]
    if problems:
        raise ConfigError(config.name, problems)
    return [replace(model, id=number) for number, model in enumerate(models)]


def unplanned_files(config: CollectConfig, planned: Iterable[CollectModel]) -> list[str]:
    """Files that have come into its folders since a collection was planned, and are no part of it."""
    found = [
        (index, path.relative_to(source.path).as_posix())
        for index, source in enumerate(config.models)
        if isinstance(source, FolderModels)
        for path in _paths(source)
    ]
    known = {(model.source, model.name) for model in planned} if found else set()
    return [name for index, name in found if (index, name) not in known]


def corruption(data: bytes) -> Failure | None:
    """Why bytes are no `.tflite` file; None: they are one, though not every runtime may run it."""
    if not data:
        return Failure("user", "corrupt_model", "the file is empty")
    if data[4:8] != _IDENTIFIER:
        return Failure("user", "corrupt_model", "the file does not begin as a .tflite file does")
    try:
        Interpreter(model_content=data, num_threads=1)
    except ValueError as error:
        if "flatbuffer" in str(error).lower():
            return Failure("user", "corrupt_model", "the file is damaged or incomplete")
    except RuntimeError:  # this runtime lacks an operator; a phone's may have it
        pass
    return None


def _models_of(source: ModelsConfig, index: int, seed: int) -> Iterator[CollectModel]:
    at = f"models[{index}]"
    if isinstance(source, FolderModels):
        yield from _files(source)
        return
    if isinstance(source, SpaceModels):
        architectures = choose(source, at, np.random.default_rng([seed, index]))
        texts = [architecture.text for architecture in architectures]
    else:
        texts = _listed(source, at)
    for text in texts:
        yield CollectModel(0, text, source.space.kind, text)


def _listed(source: ListedModels, at: str) -> list[str]:
    """The canonical texts of a file's architectures, each once. Raises ConfigError."""
    space = source.space.make()
    texts: dict[str, None] = {}
    problems: list[Problem] = []
    for where, line in _lines(source.path, at):
        try:
            texts[space.parse(line).text] = None
        except IllegalArchitecture as error:
            problems.append(Problem(f"{at}.path", f"{source.path.name}, {where}: {line}", error.hint or error.message))
    if len(problems) > _SHOWN:
        more = Problem(f"{at}.path", source.path.name, f"{len(problems) - _SHOWN} more lines are wrong")
        problems = [*problems[:_SHOWN], more]
    if not texts and not problems:
        problems = [Problem(f"{at}.path", source.path.name, "a file with an architecture on each line")]
    if problems:
        raise ConfigError(at, problems)
    return list(texts)


def _lines(path: Path, at: str) -> Iterator[tuple[str, str]]:
    """(where, text) of every architecture in a file."""
    if path.suffix.lower() in (".txt", ".lst", ""):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(at, [Problem(f"{at}.path", str(path), f"a readable text file ({error})")]) from error
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield f"line {number}", line.strip()
        return
    try:
        keys = read_table(path).keys
    except TableError as error:
        raise ConfigError(at, [Problem(f"{at}.path", str(path), f"{error.message}; {error.hint}")]) from error
    for number, key in enumerate(keys, start=1):
        yield f"row {number}", key


def _files(source: FolderModels) -> Iterator[CollectModel]:
    """Every file, the corrupt ones with why they are left out."""
    for path in _paths(source):
        model = CollectModel(0, path.relative_to(source.path).as_posix())
        try:
            data = path.read_bytes()
        except OSError as error:
            yield replace(model, failure=Failure("user", "unreadable_file", error.strerror or str(error)))
            continue
        yield replace(model, sha256=hashlib.sha256(data).hexdigest(), failure=corruption(data))


def _paths(source: FolderModels) -> list[Path]:
    return [path for path in sorted(source.path.glob(source.pattern)) if path.is_file()]
