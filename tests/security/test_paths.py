"""A path from a request tells nothing of the machine: what lies elsewhere is answered alike, there or not (S58)."""

import json
import os

import pytest


@pytest.fixture
def folder(tmp_path):
    """The one folder that requests may name files of."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


@pytest.fixture
def running(serve, folder):
    return serve(extra={"config_folders": [str(folder)]})


@pytest.fixture
def places(tmp_path, folder):
    """Paths that are not allowed, by what is there."""
    (tmp_path / "good.yaml").write_text("remote_url: fs://localhost:0/tmp\n")
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    (tmp_path / "closed.yaml").write_text("remote_url: fs://localhost:0/tmp\n")
    (tmp_path / "closed.yaml").chmod(0)
    (tmp_path / "allowed-too").mkdir()
    (tmp_path / "allowed-too" / "good.yaml").write_text("remote_url: fs://localhost:0/tmp\n")
    os.mkfifo(tmp_path / "pipe")
    (folder / "link").symlink_to(tmp_path / "good.yaml")
    (folder / "folder").symlink_to(tmp_path)
    return {
        "a good file": tmp_path / "good.yaml",
        "a bad file": tmp_path / "bad.yaml",
        "a closed file": tmp_path / "closed.yaml",
        "no file": tmp_path / "absent.yaml",
        "a folder": tmp_path,
        "a pipe": tmp_path / "pipe",
        "a link out": folder / "link",
        "a folder out": folder / "folder" / "good.yaml",
        "up and out": folder / ".." / "good.yaml",
        "a name that begins alike": tmp_path / "allowed-too" / "good.yaml",
        "the environment": "/proc/self/environ",
        "passwords": "/etc/shadow",
        "a device": "/dev/zero",
        "a very long name": "/" + "x" * 5000,
    }


def test_s58_what_lies_elsewhere_is_answered_alike_whatever_is_there(running, places):
    told = set()
    for path in places.values():
        answer = running.post("/cache/load-fs-chunks", json.dumps({"config_path": str(path)}))
        told.add((answer.status, answer.text.replace(json.dumps(str(path))[1:-1], "PATH")))
    assert len(told) == 1, told
    (status, text) = told.pop()
    assert status == 400
    assert text.startswith('{"detail":"Invalid configuration file: ')


@pytest.mark.parametrize(
    "path", ["a\0b", "", ".", "..", "~/x.yaml", "file:///etc/passwd", "\r\nforged: line", "\udcff"]
)
def test_s58_odd_names_are_400_or_422_and_open_nothing(running, path):
    answer = running.post("/cache/load-fs-chunks", json.dumps({"config_path": path}))
    assert answer.status in (400, 422)


def test_s58_file_of_the_folder_is_read_in_each_spelling_of_its_path(running, folder):
    (folder / "store.yaml").write_text(f"remote_url: fs://localhost:0{folder}\n")
    for spelling in ("{}/store.yaml", "{}/./store.yaml", "{}//store.yaml", "{}/../allowed/store.yaml"):
        body = json.dumps({"config_path": spelling.format(folder)})
        assert running.post("/cache/load-fs-chunks", body).status == 200
