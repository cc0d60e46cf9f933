"""The configuration file that a request names: looked for in the folders for that, read for a chunk store's keys."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lmcache_admin.errors import Detail
from lmcache_admin.limited_yaml import MAX_BYTES, Unfit, compose_map, construct, decode

__all__ = ["read_store_file"]

logger = logging.getLogger(__name__)

#: Schemes of `remote_url` that name folders; whatever else a file names is not dialled (requirement S58).
FOLDER_SCHEMES = ("fs", "file")
#: LMCache's names for how a payload is written.
SERDES = ("naive", "kivi", "cachegen")
#: What counts of `extra_config`: how the files of a folder are read.
EXTRA_KEYS = ("save_chunk_meta", "fs_connector_read_ahead_size", "fs_connector_use_odirect")
#: Up to so many characters PyYAML's own parser reads it, whose wording the contract has.
SMALL = 64 * 1024

_QUOTED = re.compile(r"""(['"])(.*?)\1""", re.DOTALL)
_OF_YAML = re.compile(r"<[a-z ]+>|[][{}:,?-]")


def read_store_file(path: str, folders: Sequence[str]) -> dict[str, Any]:
    """Read which chunk store a configuration file names: `remote_url`, `remote_serde`, and `EXTRA_KEYS`.

    Its other keys are the engine's and count for nothing. No text of the file gets into an answer.

    Args:
        path: As the request has it; a relative one counts from the process's folder, as in LMCache.
        folders: Where the file has to lie, links resolved.

    Raises:
        Detail: 400, the file is elsewhere, is not there or is no such configuration; 500, it names no store that
            can be opened.
    """
    try:
        values = _values(_text(path, folders), path)
    except OSError as error:
        raise _invalid(f"[Errno {error.errno}] {error.strerror}: {path!r}") from None
    except Unfit as error:
        raise _invalid(str(error)) from None
    return _checked(values)


def _text(path: str, folders: Sequence[str]) -> str:
    if "\0" in path:
        raise Unfit("embedded null byte")
    real = os.path.realpath(path)
    if not path or not any(_lies_in(real, os.path.realpath(folder)) for folder in folders):
        logger.warning(
            "The configuration %r of a request is not read: it lies in no folder of "
            "internal_api_server_config_folders (%s)",
            path[:500],
            ", ".join(map(repr, folders)) or "there is none",
        )
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # the same whether it exists or not
    return decode(_content(real))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _content(path: str) -> bytes:
    """Up to a byte more than is allowed; a pipe or a device must not hold us up."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise Unfit("it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _values(text: str, path: str) -> dict[str, Any]:
    try:
        small = len(text) <= SMALL
        return construct(compose_map(text, yaml.SafeLoader) if small else compose_map(text))
    except Unfit as error:
        raise Unfit(_masked(str(error))) from None
    except yaml.MarkedYAMLError as error:
        raise Unfit(_yaml_fault(error, path)) from None
    except RecursionError:
        raise Unfit("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise Unfit("it holds what YAML does not allow, or a value that is not what its tag says") from None


def _yaml_fault(error: yaml.MarkedYAMLError, path: str) -> str:
    """PyYAML's own lines, with the file's name for its place and nothing of the file's text."""

    def place(mark: Any) -> str:
        return f'  in "{path}", line {mark.line + 1}, column {mark.column + 1}'

    lines = [_masked(error.context)] if error.context else []
    before, at = error.context_mark, error.problem_mark
    if before is not None and (at is None or (before.line, before.column) != (at.line, at.column)):
        lines.append(place(before))
    if error.problem:
        lines.append(_masked(error.problem))
    if at is not None:
        lines.append(place(at))
    return "\n".join(lines)


def _masked(text: str) -> str:
    """Leave out what is quoted, for that is the file's, but not signs and names of YAML itself."""
    return _QUOTED.sub(lambda quoted: quoted[0] if _OF_YAML.fullmatch(quoted[2]) else "'...'", text)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    extra = _extra(values.get("extra_config"))
    url, serde = values.get("remote_url"), values.get("remote_serde", "naive")
    if url is None:
        raise Detail(500, "Failed to initialize RemoteBackend: remote_url must be provided when not using plugin_name")
    scheme, found, _ = str(url).partition("://")
    if not found:
        raise Detail(500, "FSConnector not initialized")
    if scheme not in FOLDER_SCHEMES:
        raise _invalid("remote_url is neither fs://HOST:PORT/FOLDER nor file:///FOLDER; nothing else is opened here")
    if serde not in SERDES:
        raise Detail(500, f"Failed to initialize RemoteBackend: remote_serde is none of {', '.join(SERDES)}")
    return {"remote_url": str(url), "remote_serde": serde, "extra_config": extra}


def _extra(given: Any) -> dict[str, Any]:
    """What counts of `extra_config`: a map, or JSON of one; as in LMCache other text, or nothing, is an empty one."""
    if given and not isinstance(given, Mapping | str):
        raise _invalid(f"the JSON object must be str, bytes or bytearray, not {type(given).__name__}")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return {}
    return {key: given[key] for key in EXTRA_KEYS if key in given} if isinstance(given, Mapping) else {}


def _invalid(why: str) -> Detail:
    return Detail(400, f"Invalid configuration file: {why}")
