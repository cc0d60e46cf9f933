"""Run by an interpreter with LMCache: asks our server and LMCache's own about the same KV caches, prints both answers.

One process and two servers, because importing torch takes longer than all requests together.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

SLOTS = ("0,5,[7,20]", "[0,31]", "31,3,3,[4,9]", ",,")
ARGUMENTS = ("&chunk_size=5", "&chunk_size=5&layerwise=true", "&chunk_size=1&layerwise=1", "&chunk_size=999", "")
REFUSED = (
    "?slot_mapping=",
    "?slot_mapping=32,-1,[30,33]&chunk_size=0",
    "?slot_mapping=1&chunk_size=0",
    "?slot_mapping=[5,2]",
    "?slot_mapping=7[0,3]",
    "?slot_mapping=[1,2",
    "?slot_mapping=[[1,2]]",
    "?slot_mapping=1]",
    "?slot_mapping=[-1,2]",
)
INFO = "/cache/kvcache/info"
RECORD = ("", "?enabled=TRUE", "", "?enabled=1", "?enabled=false", "")
NUMBERS = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int64")
LAYOUTS = {"5-D": (2, 4, 8, 2, 4), "4-D": (4, 8, 2, 4), "3-D": (4, 8, 16), "6-D": (4, 8, 2, 2, 2, 2)}
VIEWS = {
    "heads first": lambda t: t.transpose(-2, -3).contiguous().transpose(-2, -3),
    "blocks first": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "every second": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "a slice": lambda t: t.repeat(1, 2, 1, 1, 1)[:, : t.shape[1]],
}


class Elsewhere:
    """A tensor that only `.cpu()` brings to the host, as on a GPU, which a test machine has not."""

    def __init__(self, tensor: Any) -> None:
        self.tensor, self.device = tensor, "cpu:0"  # another name of the host's own memory
        self.shape, self.ndim, self.dtype = tensor.shape, tensor.ndim, tensor.dtype

    def detach(self) -> Elsewhere:
        return self

    def view(self, dtype: Any) -> Elsewhere:
        return Elsewhere(self.tensor.view(dtype))

    def __getitem__(self, index: Any) -> Elsewhere:
        return Elsewhere(self.tensor[index])

    def cpu(self) -> Any:
        return self.tensor


def made(seed: int, shape: tuple[int, ...]) -> Any:
    import torch

    torch.manual_seed(seed)
    return torch.rand(shape)


def layers(shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    import torch

    return {f"model.layers.{n}": (made(n, shape) * 100).to(getattr(torch, dtype)) for n in (2, 10, 0)}


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Side:
    """A server of one kind on a manager of its own."""

    def __init__(self, server: type) -> None:
        self.port = unused_port()
        config = SimpleNamespace(
            internal_api_server_enabled=True,
            internal_api_server_host="127.0.0.1",
            internal_api_server_port_start=self.port - 1,
            internal_api_server_include_index_list=None,
            internal_api_server_socket_path_prefix=None,
            script_allowed_imports=[],
            run_script_api_enabled=False,
            extra_config={"internal_api_server_local_users": "any"},
            get_extra_config_value=lambda _, default=None: default,
        )
        metadata = SimpleNamespace(worker_id=0, role="worker", kv_dtype=None)
        engine = SimpleNamespace(
            config=config, metadata=metadata, storage_manager=object(), kvcache_check_log_enabled=False
        )
        self.manager = SimpleNamespace(
            config=config, lmcache_engine=engine, lmcache_engine_metadata=metadata, kv_caches={}
        )
        self.server = server(self.manager)
        self.server.start()
        self._wait()

    def _wait(self) -> None:
        """LMCache's server answers some time after it was started."""
        end = time.monotonic() + 60
        while True:
            try:
                self.ask("GET", "/version")
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def ask(self, method: str, path: str) -> list[Any]:
        """Status, content type and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path)
        response = connection.getresponse()
        answer = [response.status, response.getheader("Content-Type"), response.read().decode()]
        connection.close()
        return answer


def checks(slots: tuple[str, ...] = SLOTS) -> list[str]:
    return [f"/cache/kvcache/check?slot_mapping={quote(s)}{rest}" for s in slots for rest in ARGUMENTS]


class Talk:
    """Both servers, and what they were asked and answered: `[scenario, request, ours, theirs]`."""

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.ours, self.theirs = ours, theirs
        self.heard: list[list[Any]] = []

    def about(self, name: str, paths: list[str], mine: Any, others: Any = None, kv_dtype: Any = None) -> None:
        """Ask both; LMCache's server has the tensors of `others` where it cannot read ours."""
        self.ours.manager.kv_caches, self.theirs.manager.kv_caches = mine, mine if others is None else others
        self.ours.manager.lmcache_engine_metadata.kv_dtype = kv_dtype
        for path in paths:
            method, _, target = path.rpartition(" ")
            answers = [side.ask(method or "GET", target) for side in (self.ours, self.theirs)]
            self.heard.append([name, path, *answers])


def about_numbers(talk: Talk) -> None:
    """Each element type in each layout: as tensors, as arrays of the same bits, in other memory, as views."""
    import torch

    for dtype in NUMBERS:
        for layout, shape in LAYOUTS.items():
            caches = layers(shape, dtype)
            talk.about("tensors", checks() if layout == "5-D" else checks()[:7], caches)
            arrays = {n: (t.view(torch.uint16) if dtype == "bfloat16" else t).numpy() for n, t in caches.items()}
            talk.about("arrays", [INFO, *checks()[:7]], arrays, caches, getattr(torch, dtype))
            talk.about("elsewhere", checks()[:7], {name: Elsewhere(t) for name, t in caches.items()}, caches)
        for view in VIEWS.values():
            talk.about("views", checks()[:7], {n: view(t) for n, t in layers(LAYOUTS["5-D"], dtype).items()})


def about_oddities(talk: Talk) -> None:
    """What is unlike the ordinary: other shapes, layers that fail, refusals."""
    import torch

    talk.about("blocks before halves", checks(("0,5,[7,15]",)), layers((4, 2, 8, 2, 4), "float16"))
    smaller = {**layers(LAYOUTS["4-D"], "float16"), "model.layers.1": made(1, (2, 8, 2, 4))}
    talk.about("fewer slots", checks(("0,5,[7,20]",)), smaller)
    known = {"a": made(42, (2, 4, 8, 2, 4)).to(torch.bfloat16), "b": made(43, (4, 8, 16))}
    talk.about("known", checks(("0,5,[7,20]",)), known)
    talk.about("refused", [f"/cache/kvcache/check{query}" for query in REFUSED], layers(LAYOUTS["3-D"], "float32"))
    float8 = layers(LAYOUTS["5-D"], "float8_e4m3fn")
    talk.about("float8", checks()[:7], float8, {name: t.view(torch.uint8) for name, t in float8.items()})
    talk.about("float8 itself", [INFO, checks()[0]], float8)
    talk.about("none", [INFO, checks()[0]], {})
    talk.about("record", [f"POST /cache/kvcache/record_slot{query}" for query in RECORD], {})


def main() -> None:
    """Print what was heard."""
    from lmcache.v1.internal_api_server.api_server import InternalAPIServer as Theirs

    from lmcache_admin import InternalAPIServer as Ours

    talk = Talk(Side(Ours), Side(Theirs))
    about_numbers(talk)
    about_oddities(talk)
    json.dump(talk.heard, sys.stdout)
    sys.stdout.flush()
    talk.ours.server.stop()
    talk.theirs.server.stop()


if __name__ == "__main__":
    main()
