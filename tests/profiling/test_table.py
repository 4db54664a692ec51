"""Tables of others: read exactly, or refused with the row and column that is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiling.table import TableError, read_table


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_and_parquet_give_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame({"arch_str": ["|a~0|", "|b~0|"], "pixel": [1.5, 2e-3], "note": ["x", "y"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        table = read_table(tmp_path / name)
        assert table.key_column == "arch_str"
        assert table.columns == ("pixel", "note")
        assert dict(table.column("pixel", above=0)) == {"|a~0|": 1.5, "|b~0|": 2e-3}


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "\ufeffarch,ms\r\nx,1\r\n"))
    assert dict(table.column("ms")) == {"x": 1.0}


def test_another_key_column(tmp_path: Path) -> None:
    path = written(tmp_path, "name,ms\nx,1\n")
    assert dict(read_table(path, key_column="name").column("ms")) == {"x": 1.0}
    with pytest.raises(TableError, match="no column 'arch' or 'arch_str'") as caught:
        read_table(path)
    assert "name, ms" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("arch,ms\nx,1\ny,nan\n", "'ms' needs a number > 0 in every row: row 2 has 'nan'"),
        ("arch,ms\nx,-3\n", "row 1 has '-3'"),
        ("arch,ms\nx,0\n", "row 1 has '0'"),
        ("arch,ms\nx,inf\n", "row 1 has 'inf'"),
        ("arch,ms\nx,fast\n", "row 1 has 'fast'"),
        ("arch,ms\nx,\n", "row 1 has nothing"),
        ("arch,ms\nx\n", "row 1 has nothing"),
        ("arch,ms\n" + "".join(f"x{i},-1\n" for i in range(9)), "and 6 more"),
        ("arch,ms\nx,1\ny,2\nx,1\n", "rows 1 and 3 of column 'arch' are both 'x'"),
        ("arch,ms\n,1\n", "row 1 has no architecture"),
        ("arch,ms\n  ,1\n", "row 1 has no architecture"),
        ("arch,ms,ms\nx,1,2\n", "column 'ms' occurs twice"),
        ("arch,other\nx,1\n", "no column 'ms'"),
        ("arch,ms\n", "no rows"),
        ("", "cannot be read"),
        ("arch,ms\nx,1,2\n", "cannot be read"),
        (b"\xff\xfe\x00\x80", "cannot be read"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TableError) as caught:
        read_table(path).column("ms", above=0)
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_bad_parquet(tmp_path: Path) -> None:
    pd.DataFrame({"arch": ["a", None], "ms": [1, 2]}).to_parquet(tmp_path / "key.parquet")
    with pytest.raises(TableError, match="row 2 has no architecture"):
        read_table(tmp_path / "key.parquet")
    pd.DataFrame({"arch": ["a", "b"], "ms": [1.0, None]}).to_parquet(tmp_path / "value.parquet")
    with pytest.raises(TableError, match="row 2 has nothing"):
        read_table(tmp_path / "value.parquet").column("ms")
    pd.DataFrame({"arch": ["a", "b"], "ms": [[1.0], [2.0]]}).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(TableError, match="row 1 has"):
        read_table(tmp_path / "lists.parquet").column("ms")
    whole = (tmp_path / "key.parquet").read_bytes()
    with pytest.raises(TableError, match="cannot be read"):
        read_table(written(tmp_path, whole[: len(whole) // 2], "half.parquet"))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(TableError, match="not a table"):
        read_table(written(tmp_path, "x", "t.txt"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "folder.csv")
    packed = gzip.compress(b"arch,ms\n" + b"x,1\n" * 1000)
    with pytest.raises(TableError, match="cannot be read"):
        read_table(written(tmp_path, packed[:20], "cut.csv.gz"))


def test_bounds(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "arch,accuracy\nx,0\ny,93.5\n"))
    assert dict(table.column("accuracy", at_least=0)) == {"x": 0.0, "y": 93.5}
    with pytest.raises(TableError, match=">= 10"):
        table.column("accuracy", at_least=10)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
        st.floats(1e-6, 1e6),
        min_size=1,
        max_size=20,
    )
)
def test_any_table_written_by_pandas_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    pd.DataFrame({"arch": list(rows), "ms": list(rows.values())}).to_csv(path, index=False)
    assert dict(read_table(path).column("ms", above=0)) == rows
