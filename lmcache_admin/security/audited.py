"""What the audit is told of a request: who, from where, what, with which arguments."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from flask import Request
from werkzeug.exceptions import HTTPException

from lmcache_admin.errors import Failure
from lmcache_admin.parsing import ContractParser
from lmcache_admin.security.callers import Caller, over_unix_socket, socket_peer
from lmcache_admin.strict_json import strict_json

_PARSER = ContractParser()

if TYPE_CHECKING:
    from lmcache_admin.declaration import Declaration
    from lmcache_admin.security.redaction import Redactor

#: Most parameters in a query; each one costs, and who sends more means none of them.
MAX_PARAMETERS = 1000
#: Largest query of somebody unknown that is looked at, letters; largest body that is taken in whole, bytes.
_QUERY, _BODY = 2048, 65_536
#: Bytes of an uploaded file that are told.
_FILE = 16_384
#: Letters of a path that nobody serves.
LONGEST_PATH = 500


def facts_of(
    asked: Request, declaration: Declaration, caller: Caller, redactor: Redactor, whole: bool
) -> dict[str, Any]:
    """Return the facts of an entry.

    Args:
        asked: The request.
        declaration: Of its route.
        caller: Who sent it.
        redactor: Masks secrets in its arguments.
        whole: Whether its body is told too, and a long query: for whoever has shown who they are.
    """
    peer = socket_peer(asked.environ) if over_unix_socket(asked.environ) else None
    rule = asked.url_rule
    return {
        "actor": caller.actor,
        "role": caller.role,
        "address": caller.address,
        "uid": peer.uid if peer else caller.uid,
        "gid": peer.gid if peer else None,
        "pid": peer.pid if peer else None,
        "method": asked.method[:LONGEST_PATH],
        "route": rule.rule if rule else redactor.mask_text(asked.path[:LONGEST_PATH]),
        "operation": declaration.operation if rule else "",
        "arguments": redactor.mask(_arguments(asked, whole) | (_upload(asked, declaration) if whole else {})),
    }


def too_many_parameters(asked: Request) -> int:
    """How many parameters a query has, if they are too many; else 0."""
    count = str(asked.environ.get("QUERY_STRING", "")).count("&") + 1
    return count if count > MAX_PARAMETERS else 0


def _arguments(asked: Request, whole: bool) -> dict[str, Any]:
    query = str(asked.environ.get("QUERY_STRING", ""))
    if too_many_parameters(asked) or (len(query) > _QUERY and not whole):
        return {"query": f"({len(query)} letters)"}
    found: dict[str, Any] = {name: values if len(values) > 1 else values[0] for name, values in asked.args.lists()}
    found |= asked.view_args or {}
    body = _body(asked) if whole else None
    return {**found, "body": body} if body is not None else found


def _upload(asked: Request, declaration: Declaration) -> dict[str, Any]:
    """The uploaded file that the route's declaration names: its digest and the beginning of its text."""
    try:
        file = _PARSER.load_files(asked, None).get(declaration.recorded_file) if declaration.recorded_file else None
    except (Failure, HTTPException):  # the route says so itself
        return {}
    if file is None:
        return {}
    data: bytes = file.read()
    text = data[:_FILE].decode("utf-8", "backslashreplace")
    cut = f"the first {_FILE} bytes" if len(data) > _FILE else None
    told = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "text": text, "cut": cut}
    return {declaration.recorded_file: told}


def _body(asked: Request) -> Any:
    """A JSON body, whatever its type says it is; of a large one its digest, of what is no JSON nothing."""
    try:
        data = asked.get_data(cache=True)
        if len(data) > _BODY:
            return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return strict_json(data, constants=True) if data.lstrip()[:1] in (b"{", b"[") else None
    except (ValueError, HTTPException):  # the route says so itself
        return None
