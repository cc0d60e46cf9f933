"""The configuration file that a request names: where it may lie, what it may be, and that no answer shows its text."""

import os

import pytest

from lmcache_admin.errors import Detail
from lmcache_admin.operations.chunk_store_file import read_store_file

GOOD = 'chunk_size: 256\nremote_serde: naive\nremote_url: "fs://localhost:0/chunks"\n'
STORE = {"remote_url": "fs://localhost:0/chunks", "remote_serde": "naive", "extra_config": {}}


@pytest.fixture
def folder(tmp_path):
    """The folder that requests may name files of."""
    made = tmp_path / "conf"
    made.mkdir()
    return made


def refusal(path, folder):
    with pytest.raises(Detail) as caught:
        read_store_file(str(path), [str(folder)])
    assert list(caught.value.body) == ["detail"]
    return caught.value.status, caught.value.body["detail"]


def missing(path):
    return 400, f"Invalid configuration file: [Errno 2] No such file or directory: {str(path)!r}"


def test_a_file_of_the_folder_is_read(folder):
    (folder / "store.yaml").write_text(GOOD)
    assert read_store_file(str(folder / "store.yaml"), ["/elsewhere", str(folder)]) == STORE


def test_a_file_below_the_folder_is_read(folder):
    (folder / "below").mkdir()
    (folder / "below" / "store.yaml").write_text(GOOD)
    assert read_store_file(str(folder / "below" / "store.yaml"), [f"{folder}/"]) == STORE


def test_a_relative_path_counts_from_the_folder_of_the_process(folder, monkeypatch):
    (folder / "store.yaml").write_text(GOOD)
    monkeypatch.chdir(folder.parent)
    assert read_store_file("conf/store.yaml", [str(folder)]) == STORE


def test_links_inside_the_folder_are_followed(folder):
    (folder / "..data").mkdir()  # as Kubernetes mounts a configuration
    (folder / "..data" / "store.yaml").write_text(GOOD)
    (folder / "store.yaml").symlink_to("..data/store.yaml")
    assert read_store_file(str(folder / "store.yaml"), [str(folder)]) == STORE


def test_a_folder_that_is_a_link_itself_will_do(folder, tmp_path):
    (folder / "store.yaml").write_text(GOOD)
    (tmp_path / "link").symlink_to("conf")
    assert read_store_file(str(tmp_path / "link" / "store.yaml"), [str(tmp_path / "link")]) == STORE


def test_s58_a_file_outside_is_answered_as_if_it_were_not_there(folder, tmp_path):
    outside = tmp_path / "store.yaml"
    outside.write_text(GOOD)
    (folder / "link.yaml").symlink_to("../store.yaml")
    (tmp_path / "conference").mkdir()
    (tmp_path / "conference" / "store.yaml").write_text(GOOD)
    for path in (outside, folder / ".." / "store.yaml", folder / "link.yaml", tmp_path / "conference" / "store.yaml"):
        assert refusal(path, folder) == missing(path)
    for path in (tmp_path / "absent.yaml", tmp_path, "/etc/shadow", "/no/such/file.yaml", "", "/", "/dev/zero"):
        assert refusal(path, folder) == missing(path)


def test_without_a_folder_nothing_is_read_and_the_log_says_why(tmp_path, caplog):
    (tmp_path / "store.yaml").write_text(GOOD)
    with pytest.raises(Detail):
        read_store_file(f"{tmp_path}/store.yaml\nforged", [])
    assert "internal_api_server_config_folders (there is none)" in caplog.text
    assert "\nforged" not in caplog.text


def test_a_file_that_is_not_there_is_named(folder):
    assert refusal(folder / "absent.yaml", folder) == missing(folder / "absent.yaml")


def test_a_folder_is_no_file(folder):
    assert refusal(folder, folder) == (400, f"Invalid configuration file: [Errno 21] Is a directory: {str(folder)!r}")


def test_an_empty_name_is_not_the_folder_of_the_process(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert refusal("", folder) == missing("")


def test_s58_a_name_with_a_nul_is_refused(folder):
    assert refusal(f"{folder}/a\0b", folder) == (400, "Invalid configuration file: embedded null byte")


def test_s58_a_pipe_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe.yaml")
    before = len(os.listdir("/dev/fd"))
    assert refusal(folder / "pipe.yaml", folder) == (400, "Invalid configuration file: it is no regular file")
    assert refusal(folder, folder)[0] == 400
    assert len(os.listdir("/dev/fd")) == before  # nothing stays open


def test_yaml_that_is_broken_is_told_in_the_contracts_words(folder):
    path = folder / "broken.yaml"
    path.write_text("chunk_size: [\n")
    assert refusal(path, folder) == (
        400,
        "Invalid configuration file: while parsing a flow node\nexpected the node content, but found '<stream end>'\n"
        f'  in "{path}", line 2, column 1',
    )


FAULTY = {
    "a list": ("- SECRET\n", "it holds a list"),
    "a value": ("SECRET\n", "it holds a single value"),
    "not UTF-8": (b"SECRET: \xff\n", "byte 8 is not UTF-8"),
    "too large": ("SECRET: " + "x" * 1024 * 1024, "it is larger than 1024 KiB"),
    "too many nodes": ("a: [" + "SECRET," * 10_001 + "]", "it has more than 10000 nodes"),
    "too deep": ("a: " + "[" * 40 + "SECRET" + "]" * 40, "line 1: it is more than 32 levels deep"),
    "an alias": ("a: &SECRET b\nc: *SECRET\n", "line 2: aliases (*name) are not allowed"),
    "a key twice": ("SECRET: 1\nSECRET: 2\n", "line 2: the key '...' stands twice"),
    "a tag": ("a: !SECRET b\n", "could not determine a constructor for the tag '...'"),
    "an escape": ('a: "\\SECRET"\n', "found unknown escape character '...'"),
    "no sign of YAML": ("a: @SECRET\n", "found character '...' that cannot start any token"),
    "an open bracket": ("a: {b: SECRET\n", "expected ',' or '}', but got '<stream end>'"),
    "a value in a value": ("a: b: SECRET\n", "mapping values are not allowed here"),
    "a control character": ("a: \x07SECRET\n", "it holds what YAML does not allow"),
    "no number": ("a: !!int SECRET\n", "a value that is not what its tag says"),
    "two documents": ("a: SECRET\n---\nb: 1\n", "expected a single document in the stream"),
    "broken and long": ("a: '" + "SECRET" * 20_000, "found unexpected end of stream"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_s58_no_text_of_a_faulty_file_gets_into_the_answer(folder, case):
    content, text = FAULTY[case]
    (folder / "store.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    status, detail = refusal(folder / "store.yaml", folder)
    assert status == 400
    assert detail.startswith("Invalid configuration file: ")
    assert text in detail
    assert "SECRET" not in detail


@pytest.mark.parametrize("url", ["redis://u:SECRET@h", "s3://SECRET", "blackhole://", "external://SECRET", "plugin://x"])
def test_s58_a_store_that_would_be_dialled_is_refused(folder, url):
    (folder / "store.yaml").write_text(f'remote_url: "{url}"\n')
    status, detail = refusal(folder / "store.yaml", folder)
    assert status == 400
    assert detail.startswith("Invalid configuration file: remote_url is neither")
    assert "SECRET" not in detail


def test_keys_that_are_none_of_a_store_count_for_nothing(folder):
    more = "local_disk: /somewhere\nremote_storage_plugins: [fs]\nextra_config: {save_chunk_meta: false, module: x}\n"
    (folder / "store.yaml").write_text(GOOD + more)
    read = read_store_file(str(folder / "store.yaml"), [str(folder)])
    assert read == {**STORE, "extra_config": {"save_chunk_meta": False}}


@pytest.mark.parametrize(
    ("extra", "form"),
    [
        ("{save_chunk_meta: false}", {"save_chunk_meta": False}),
        ("'{\"save_chunk_meta\": false}'", {"save_chunk_meta": False}),
        *[(nothing, {}) for nothing in ("", "''", "[]", "0", "abc", "'[1]'", "'{'")],
    ],
)
def test_extra_config_is_a_map_or_json_of_one(folder, extra, form):
    (folder / "store.yaml").write_text(f"{GOOD}extra_config: {extra}\n")
    assert read_store_file(str(folder / "store.yaml"), [str(folder)])["extra_config"] == form


@pytest.mark.parametrize(("extra", "kind"), [("5", "int"), ("[SECRET]", "list"), ("true", "bool"), ("1.5", "float")])
def test_extra_config_of_another_type_is_400_in_the_words_of_lmcache(folder, extra, kind):
    (folder / "store.yaml").write_text(f"{GOOD}extra_config: {extra}\n")
    text = f"Invalid configuration file: the JSON object must be str, bytes or bytearray, not {kind}"
    assert refusal(folder / "store.yaml", folder) == (400, text)
