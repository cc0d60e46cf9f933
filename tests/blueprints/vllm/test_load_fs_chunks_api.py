"""POST /cache/load-fs-chunks on the embedded engine: files in LMCache's own format, written here by hand."""

import json
import os
import socket
import struct

import numpy as np
import pytest

PATH = "/cache/load-fs-chunks"
MODEL = "embedded_model"
LAYERS, TOKENS, WIDTH = 2, 16, 64
SIZE = 2 * LAYERS * TOKENS * WIDTH * 2
#: LMCache's numbers: memory format of keys and values apart, element type float16.
KV_2LTD, HALF = 1, 2
ANSWERED = ["status", "loaded_chunks", "total_files", "failed_keys", "config_path"]


def chunk_file(payload, *, tokens=TOKENS, layers=LAYERS, width=WIDTH, form=KV_2LTD, dtype=HALF, planes=2, length=None):
    header = struct.pack("<7i", len(payload) if length is None else length, form, dtype, planes, layers, tokens, width)
    return header + payload


def name_of(chunk_hash, model=MODEL, workers=1, worker=0, dtype="half", tags=""):
    return f"{model}@{workers}@{worker}@{chunk_hash:x}@{dtype}{tags}".replace("/", "-SEP-") + ".data"


@pytest.fixture
def folder(tmp_path):
    """An empty chunk store."""
    made = tmp_path / "chunks"
    made.mkdir()
    return made


@pytest.fixture
def config(tmp_path, folder):
    """`config(url, **keys)`: the path of a configuration with that remote_url, by default the folder's."""

    def write(url=None, **keys):
        path = tmp_path / "store.yaml"
        values = {"chunk_size": TOKENS, "remote_url": url or f"fs://localhost:0{folder}", **keys}
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
        return str(path)

    return write


@pytest.fixture
def running(serve, tmp_path):
    """A worker that reads configurations of the test's folder."""
    return serve(extra={"config_folders": [str(tmp_path)]})


def load(running, config_path, **body):
    return running.post(PATH, json.dumps({"config_path": config_path, **body}))


def write_chunks(folder, count):
    """Chunks of made-up hashes; their keys, in no order."""
    for number in range(count):
        (folder / name_of(number - 3)).write_bytes(chunk_file(bytes([number % 256]) * SIZE))
    return {path.stem for path in folder.iterdir()}


def test_chunks_of_a_folder_are_loaded_and_retrieved_byte_by_byte(running, folder, config):
    tokens = list(range(2 * TOKENS))
    first = hash((0, tuple(tokens[:TOKENS]), ()))
    second = hash((first, tuple(tokens[TOKENS:]), ()))
    payloads = np.random.default_rng(7).random((2, 2, LAYERS, TOKENS, WIDTH), np.float32).astype("<f2")
    for chunk_hash, payload in zip((first, second), payloads, strict=True):
        (folder / name_of(chunk_hash)).write_bytes(chunk_file(payload.tobytes()))
    answer = load(running, config())
    assert (answer.status, answer.json()["loaded_chunks"], answer.json()["total_files"]) == (200, 2, 2)
    assert running.post(f"/cache/retrieve?tokens_mock=0,{len(tokens)}").json()["num_retrieved"] == len(tokens)
    for layer, cache in enumerate(running.manager.kv_caches.values()):
        slots = cache.reshape(2, -1, WIDTH)[:, : len(tokens)]
        assert (slots == np.concatenate(list(payloads[:, :, layer]), axis=1)).all()


def test_the_answer_begins_as_the_contract_has_it(running, folder, config):
    write_chunks(folder, 1)
    path = config()
    answer = load(running, path)
    assert (answer.status, answer.type) == (200, "application/json")
    assert list(answer.json())[: len(ANSWERED)] == ANSWERED
    assert answer.text.startswith(
        '{\n  "status": "success",\n  "loaded_chunks": 1,\n  "total_files": 1,\n  "failed_keys": [],\n'
        f'  "config_path": "{path}",\n'
    )


@pytest.mark.parametrize(
    ("most", "loaded"),
    [(0, 5), (None, 5), (2, 2), (9, 5), (-1, 4), (-9, 0), ("2", 2), (" 3 ", 3), (2.0, 2), (True, 1)],
)
def test_max_chunks_cuts_the_list_and_not_the_total(running, folder, config, most, loaded):
    write_chunks(folder, 5)
    answer = load(running, config(), max_chunks=most).json()
    assert (answer["loaded_chunks"], answer["total_files"]) == (loaded, 5)


@pytest.mark.parametrize(("most", "listed"), [(0, 0), (2, 2), ("2", 2), (-1, 4), (10, 5)])
def test_max_failed_keys_cuts_the_list_of_failures_alone(running, folder, config, most, listed):
    for number in range(5):
        (folder / f"garbage{number}.data").write_bytes(b"not a chunk")
    answer = load(running, config(), max_failed_keys=most).json()
    assert (answer["status"], answer["loaded_chunks"], answer["failed_chunks"]) == ("success", 0, 5)
    assert len(answer["failed_keys"]) == len(answer["failed_reasons"]) == listed


GOOD = chunk_file(b"k" * SIZE)
BAD = {
    "truncated": (name_of(1), GOOD[:-1], "8191 bytes follow a header that says 8192"),
    "longer than it says": (name_of(1), GOOD + b"x", "8193 bytes follow a header that says 8192"),
    "a length that contradicts its shape": (name_of(1), chunk_file(b"k" * SIZE, length=SIZE - 2), "says 8190"),
    "half a header": (name_of(1), GOOD[:9], "shorter than a header"),
    "empty": (name_of(1), b"", "shorter than a header"),
    "no header at all": (name_of(1), b"x" * 5000, "a header of another form"),
    "an unknown element type": (name_of(1), chunk_file(b"k" * SIZE, dtype=99), "a header of another form"),
    "more layers": (name_of(1), chunk_file(b"k" * 2 * SIZE, layers=4), "another layout"),
    "wider": (name_of(1), chunk_file(b"k" * 2 * SIZE, width=128), "another layout"),
    "another element type": (name_of(1), chunk_file(b"k" * SIZE, dtype=3), "another layout"),
    "MLA": (name_of(1), chunk_file(b"k" * (SIZE // 2), planes=1, form=6), "another layout"),
    "more tokens": (name_of(1), chunk_file(b"k" * 2 * SIZE, tokens=32), "32 tokens; a chunk of this engine has 16"),
    "another model": (name_of(1, model="org/other"), GOOD, "of the model 'org/other', not 'embedded_model'"),
    "another element type by name": (name_of(1, dtype="float"), GOOD, "its elements are float, not half"),
    "another number of workers": (name_of(1, workers=2), GOOD, "an engine of 2 workers, not 1"),
    "no key": ("garbage.data", GOOD, "its name is no chunk key"),
    "no hash": (f"{MODEL}@1@0@zz@half.data", GOOD, "its name is no chunk key"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_counted_with_its_reason_and_the_others_are_loaded(running, folder, config, case):
    name, content, reason = BAD[case]
    (folder / name).write_bytes(content)
    (folder / name_of(2)).write_bytes(GOOD)
    answer = load(running, config()).json()
    key = name.removesuffix(".data").replace("-SEP-", "/")
    assert (answer["status"], answer["loaded_chunks"], answer["total_files"]) == ("success", 1, 2)
    assert (answer["failed_keys"], answer["failed_chunks"]) == ([key], 1)
    assert reason in answer["failed_reasons"][key]


def test_a_pipe_is_a_failed_chunk_and_nobody_waits_for_its_writer(running, folder, config):
    write_chunks(folder, 3)
    os.mkfifo(folder / name_of(99))
    answer = load(running, config())
    assert (answer.status, answer.json()["loaded_chunks"]) == (200, 3)
    assert answer.json()["failed_reasons"] == {f"{MODEL}@1@0@63@half": "it is no regular file"}


def test_a_shorter_chunk_and_one_with_tags_are_loaded(running, folder, config):
    (folder / name_of(1)).write_bytes(chunk_file(b"k" * (SIZE // 4), tokens=4))
    (folder / name_of(2, tags="@user%a")).write_bytes(GOOD)
    assert load(running, config()).json()["loaded_chunks"] == 2


def test_chunks_of_other_workers_are_skipped_and_no_failure(serve, tmp_path, folder, config):
    extra = {"embedded_engine_world_size": 3}
    running = serve(worker_id=1, extra={"config_folders": [str(tmp_path)]}, extra_config=extra)
    for worker in range(3):
        (folder / name_of(1, workers=3, worker=worker)).write_bytes(GOOD)
    answer = load(running, config()).json()
    assert (answer["loaded_chunks"], answer["failed_chunks"], answer["skipped_chunks"]) == (1, 0, 2)
    assert answer["skipped_reasons"] == {"another worker's": 2}


def test_no_more_is_loaded_than_memory_holds(serve, tmp_path, folder, config):
    running = serve(extra={"config_folders": [str(tmp_path)]}, max_local_cpu_size=7.5 * SIZE / 1024**3)
    write_chunks(folder, 20)
    answer = load(running, config()).json()
    assert (answer["loaded_chunks"], answer["total_files"], answer["failed_chunks"]) == (7, 20, 0)
    assert answer["skipped_reasons"] == {"memory is full of chunks of this load": 13}
    assert answer["evicted_chunks"] == 0
    assert running.manager.lmcache_engine.storage_manager.stats()["LocalCPUBackend"]["chunks"] == 7


def test_chunks_that_lay_in_memory_before_make_way(serve, tmp_path, folder, config):
    running = serve(extra={"config_folders": [str(tmp_path)]}, max_local_cpu_size=7.5 * SIZE / 1024**3)
    running.post(f"/cache/store?tokens_mock=0,{7 * TOKENS}")
    write_chunks(folder, 5)
    assert load(running, config()).json()["loaded_chunks"] == 5
    assert running.manager.lmcache_engine.storage_manager.stats()["LocalCPUBackend"]["chunks"] == 7


def test_a_chunk_that_memory_has_is_loaded_without_its_file(running, folder, config):
    (folder / name_of(1)).write_bytes(GOOD)
    assert load(running, config()).json()["loaded_chunks"] == 1
    (folder / name_of(1)).write_bytes(b"damaged since")
    assert load(running, config()).json()["loaded_chunks"] == 1


@pytest.mark.parametrize("form", ["fs://localhost:0{}", "fs://{}", "file://{}", "file://localhost{}"])
def test_a_folder_may_be_written_in_several_ways(running, folder, config, form):
    write_chunks(folder, 2)
    assert load(running, config(form.format(folder))).json()["loaded_chunks"] == 2


def test_several_folders_share_chunks_by_their_hash(running, tmp_path, config):
    for number in range(2):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}" / name_of(number)).write_bytes(GOOD)
    assert load(running, config(f"fs://localhost:0{tmp_path}/part0,{tmp_path}/part1")).json()["loaded_chunks"] == 2


def test_payloads_without_headers_are_read_where_the_configuration_says_so(running, folder, config):
    (folder / name_of(1)).write_bytes(b"k" * SIZE)
    answer = load(running, config(extra_config={"save_chunk_meta": False})).json()
    assert (answer["loaded_chunks"], answer["failed_keys"]) == (1, [])


def test_a_folder_that_is_not_there_is_empty_and_is_not_made(running, tmp_path, config):
    answer = load(running, config(f"fs://localhost:0{tmp_path}/absent")).json()
    assert (answer["status"], answer["loaded_chunks"], answer["total_files"]) == ("success", 0, 0)
    assert not (tmp_path / "absent").exists()


def test_a_store_that_cannot_be_listed_is_500(running, tmp_path, config):
    (tmp_path / "file").write_text("")
    answer = load(running, config(f"fs://localhost:0{tmp_path}/file"))
    assert (answer.status, answer.text) == (500, '{"detail":"Chunk loading failed: Not a directory"}')


@pytest.mark.parametrize(
    ("url", "keys", "text"),
    [
        (None, {"remote_url": None}, "Failed to initialize RemoteBackend: remote_url must be provided"),
        (None, {"remote_url": ...}, "Failed to initialize RemoteBackend: remote_url must be provided"),
        (None, {"remote_serde": "SECRET"}, "Failed to initialize RemoteBackend: remote_serde is none of naive,"),
        (None, {"remote_serde": None}, "Failed to initialize RemoteBackend: remote_serde is none of naive,"),
        (None, {"remote_serde": "kivi"}, "Failed to initialize RemoteBackend: remote_serde: 'kivi'"),
        ("no-scheme/SECRET", {}, "FSConnector not initialized"),
        ("fs://localhost:0", {}, "FSConnector not initialized"),
        ("file://SECRET/folder", {}, "FSConnector not initialized"),
    ],
)
def test_a_store_that_cannot_be_opened_is_500(running, config, url, keys, text):
    answer = load(running, config(url, **keys))
    assert (answer.status, list(answer.json())) == (500, ["detail"])
    assert answer.json()["detail"].startswith(text)
    assert "SECRET" not in answer.text


def test_s58_nothing_but_folders_is_opened(running, config):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        answer = load(running, config(f"redis://user:SECRET@127.0.0.1:{listening.getsockname()[1]}"))
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert answer.status == 400
    assert answer.json()["detail"].startswith("Invalid configuration file: remote_url is neither fs://")
    assert "SECRET" not in answer.text
