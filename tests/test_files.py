"""Files: whole or not at all, whoever writes at once; leftovers go with the lock's holder alone."""

import os
import subprocess

import numpy as np
import pytest

import unlearnlab as ul
from unlearnlab import files


@pytest.fixture
def narrow():
    """Files for the group, none for others."""
    old = os.umask(0o027)
    yield 0o640
    os.umask(old)


def test_all_files_have_the_permissions_that_files_have_here(tmp_path, narrow):
    network = ul.digits.load_model("unconditional")
    network.save(tmp_path / "student")
    ul.TextToImage.from_pretrained("tiny").lora(rank=1).save(tmp_path / "lora")
    files.write_whole(tmp_path / "folder" / "report.json", b"{}")
    found = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert len(found) > 4 and {one.stat().st_mode & 0o777 for one in found} == {narrow}


def test_a_folder_is_described_last(tmp_path, monkeypatch):
    """What says what a folder holds comes when all of it is there."""
    seen, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(b.name), replace(a, b)))
    with files.staged(tmp_path / "new") as stage:
        (stage / "unet").mkdir()
        (stage / "model_index.json").write_text("{}")
        (stage / "unet" / "weights").write_text("")
    assert seen == ["weights", "model_index.json", files.SUMS]
    assert {one.name for one in (tmp_path / "new").rglob("*")} == {*seen, "unet"}


def test_who_holds_a_folder_removes_what_killed_runs_left(tmp_path):
    left = [tmp_path / ".run.safetensors.7.7.partial", tmp_path / "lora" / ".a.partial"]
    for one in left:
        one.mkdir(parents=True)
        (one / "half").touch()
    (tmp_path / "kept.partial").touch()  # nobody's temporary name
    files.write_whole(tmp_path / "run", b"")  # who only writes removes nothing
    assert all(one.exists() for one in left)
    with files.held(tmp_path):
        assert not any(one.exists() for one in left)
    assert (tmp_path / "kept.partial").exists() and (tmp_path / "lora").exists()


@pytest.mark.parametrize("inner", [[], ["kept"]])
def test_a_lock_that_is_a_folder_is_named_and_left(tmp_path, inner):
    (tmp_path / files.LOCK).mkdir()
    for name in inner:
        (tmp_path / files.LOCK / name).touch()
    told = r"\.run\.lock', which a run holds its folder by, cannot be locked \(.+\): remove it"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=told), files.held(tmp_path):
            raise AssertionError("held")
    assert [one.name for one in tmp_path.iterdir()] == [files.LOCK]
    assert [one.name for one in (tmp_path / files.LOCK).iterdir()] == inner


def test_a_full_disk_is_refused_before_the_run(tmp_path, monkeypatch):
    class Full:
        def __init__(self, dir):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", Full)
    with pytest.raises(ValueError, match=r"out .* cannot be written to \(No space left on device"):
        files.require_writable("out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.npz"
    files.write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt), files.whole_file(path) as file:
        np.savez(file, x=np.zeros(3))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and [one.name for one in tmp_path.iterdir()] == ["x.npz"]


def test_what_is_written_together_is_checked_when_it_is_read(tmp_path):
    def write(**contents):
        with files.staged(tmp_path) as stage:
            for name, text in contents.items():
                (stage / name).write_text(text)

    write(a="1", b="2")
    write(b="3", c="4")
    (tmp_path / "other").write_text("nobody's")
    done = subprocess.run(["sha256sum", "-c", files.SUMS], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and done.stdout.count(b"OK") == 3
    files.require_unchanged(tmp_path)
    (tmp_path / "b").write_text("5")
    files.require_unchanged(tmp_path, "a", "other")
    for names in ((), ("b",)):
        with pytest.raises(ValueError, match=r"/b is damaged or missing.*or remove SHA256SUMS"):
            files.require_unchanged(tmp_path, *names)
    (tmp_path / "b").unlink()
    with pytest.raises(ValueError, match=r"/b is damaged or missing"):
        files.require_unchanged(tmp_path)
    write(d="6")  # what is gone is no longer said to be there
    files.require_unchanged(tmp_path)
    (tmp_path / files.SUMS).write_text("no sum")
    for ask in (lambda: files.require_unchanged(tmp_path), lambda: write(e="7")):
        with pytest.raises(ValueError, match="SHA256SUMS is damaged: remove it, and write the fol"):
            ask()


def test_a_write_cut_off_between_two_files_claims_nothing_of_them(tmp_path, monkeypatch):
    def write(text):
        with files.staged(tmp_path) as stage:
            for name in "ab":
                (stage / name).write_text(text)

    write("old")
    replace = os.replace

    def cut(one, other):
        if other.name == "b":
            raise KeyboardInterrupt
        replace(one, other)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        write("new")
    assert [(tmp_path / name).read_text() for name in "ab"] == ["new", "old"]
    files.require_unchanged(tmp_path)
