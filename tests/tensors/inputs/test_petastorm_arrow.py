"""The adapter: Petastorm runs on today's pyarrow, and nothing but Petastorm is changed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.inputs import petastorm_arrow
from crossrec_core.tensors.inputs.petastorm_arrow import install, split_path

LOOK_BEFORE_AND_AFTER = """
import sys
import fsspec.implementations.local, numpy, pandas, pyarrow.dataset, pyarrow.parquet, torch.utils.data.dataloader
from crossrec_core.tensors.inputs.petastorm_arrow import install

watched = ("fsspec", "numpy", "pandas", "pyarrow", "pyarrow.lib", "pyarrow.parquet", "pyarrow.parquet.core", "sys")
contents = lambda: {(name, key, id(part)) for name in watched for key, part in vars(sys.modules[name]).items()}
contents_before, modules_before = contents(), set(sys.modules)
install()
changed = sorted(contents() ^ contents_before)
assert not changed, changed
added = sorted(name for name in set(sys.modules) - modules_before if name.startswith("pyarrow"))
assert added == ["pyarrow.filesystem", "pyarrow.hdfs"], added
assert not any(name.startswith("pyspark") for name in sys.modules), "Petastorm imported pyspark"
"""


@pytest.mark.slow
def test_install_changes_only_petastorm_and_adds_only_two_stubs() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK_BEFORE_AND_AFTER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


def placed_parts() -> list[object]:
    return [getattr(importlib.import_module(module), name) for module, name, _ in petastorm_arrow._PARTS]


def test_installing_twice_is_the_same_as_once() -> None:
    install()
    once, stubs = placed_parts(), [sys.modules["pyarrow.filesystem"], sys.modules["pyarrow.hdfs"]]
    install()
    assert all(before is after for before, after in zip(once, placed_parts(), strict=True))
    assert stubs == [sys.modules["pyarrow.filesystem"], sys.modules["pyarrow.hdfs"]]


def test_a_petastorm_without_a_place_for_a_part_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.delattr("petastorm.unischema.np")
    monkeypatch.delattr("petastorm.pytorch.BatchedDataLoader")
    with pytest.raises(CrossRecError) as caught:
        install()
    assert "missing petastorm.unischema.np, petastorm.pytorch.BatchedDataLoader" in str(caught.value)
    assert str(caught.value).startswith("petastorm 0.")
    assert "\n" not in str(caught.value)


def test_a_petastorm_that_takes_other_arguments_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.setattr("petastorm.reader.make_batch_reader", lambda dataset_url_or_urls, filesystem: None)
    with pytest.raises(CrossRecError, match=r"make_batch_reader does not take schema_fields, reader_pool_type, "):
        install()


def test_a_petastorm_that_cannot_be_imported_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "petastorm.reader", None)
    with pytest.raises(CrossRecError, match=r"petastorm.reader cannot be imported: .*; install the versions in conf"):
        install()


def test_nothing_is_done_where_pyarrow_has_the_old_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.setattr(pa, "localfs", object(), raising=False)
    monkeypatch.setattr(pq, "ParquetDatasetPiece", object, raising=False)
    monkeypatch.setattr("petastorm.reader.pq", pq)
    monkeypatch.delitem(sys.modules, "pyarrow.hdfs")
    install()
    assert importlib.import_module("petastorm.reader").pq is pq
    assert "pyarrow.hdfs" not in sys.modules


def test_petastorm_reads_a_list_of_files_with_a_string_column(tmp_path: Path) -> None:
    install()
    from petastorm import make_batch_reader

    table = pa.table({"n": range(6), "name": list("abcdef"), "pair": [[n, n] for n in range(6)]})
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=4)
    with make_batch_reader([f"file://{tmp_path}/part.parquet"], shuffle_row_groups=False, workers_count=1) as reader:
        row_groups = list(reader)
    assert [len(row_group.n) for row_group in row_groups] == [4, 2]
    assert row_groups[1].name.tolist() == ["e", "f"]
    assert row_groups[1].pair.tolist() == [[4, 4], [5, 5]]


def test_a_folder_and_filters_are_refused(tmp_path: Path) -> None:
    install()
    from petastorm import make_batch_reader

    with pytest.raises(CrossRecError, match="may be a folder; give a list"):
        make_batch_reader(f"file://{tmp_path}")
    with pytest.raises(CrossRecError, match=r"filters .* are not supported"):
        make_batch_reader([f"file://{tmp_path}/part.parquet"], filters=[("n", ">", 1)])


def test_a_path_may_name_one_row_group() -> None:
    assert split_path("/lake/part.parquet!12") == ("/lake/part.parquet", 12)
    assert split_path("/lake/a!b/part.parquet") == ("/lake/a!b/part.parquet", None)
