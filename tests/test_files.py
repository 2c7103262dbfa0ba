"""Replacing a file: whole under its name or not at all."""

from __future__ import annotations

import os

import pytest

from distgrad.files import replacing


@pytest.mark.parametrize("part", [None, ".part"])
def test_a_file_gets_its_name_when_it_is_whole(part, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with replacing(path, part, durable=False) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_what_ends_badly_leaves_what_stood_there(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path, durable=False) as file:  # noqa: PT012
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_only_what_is_durable_waits_for_the_disk(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("sync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("name"), replace(a, b)))
    for durable in (True, False):
        with replacing(tmp_path / "f", durable=durable):
            pass
    assert order == ["sync", "name", "name"]


def test_somebody_elses_part_is_not_taken(tmp_path):
    (tmp_path / ".part").write_bytes(b"theirs")
    with pytest.raises(FileExistsError), replacing(tmp_path / "f", ".part", durable=False):
        pass
    assert (tmp_path / ".part").read_bytes() == b"theirs"
