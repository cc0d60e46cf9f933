"""Reading requests as the contract has it: the last of repeated scalars counts."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import IO, Any, NoReturn
from urllib.parse import parse_qsl

from flask import Request
from marshmallow import RAISE, Schema
from marshmallow.fields import List, Tuple
from webargs import core
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge, UnprocessableEntity
from werkzeug.formparser import FormDataParser

from lmcache_admin.errors import Detail
from lmcache_admin.strict_json import strict_json


class ContractParser(FlaskParser):
    """webargs' parser with the contract's rules; a body that is no JSON is 422."""

    __location_map__ = {  # noqa: RUF012 - the form that webargs asks for
        **FlaskParser.__location_map__,
        "optional_json": "load_optional_json",
    }
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 - the form that webargs asks for
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "optional_json": RAISE,
    }

    def _get_schema(self, argmap: Any, req: Request) -> Schema:
        if isinstance(argmap, type) and issubclass(argmap, Schema):
            return _schema(argmap)
        return super()._get_schema(argmap, req)

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """Return the query with every scalar as its last occurrence."""
        many = {f.data_key or name for name, f in schema.fields.items() if isinstance(f, (List, Tuple))}
        found: dict[str, list[str]] = {}  # req.args leaves bytes that are no UTF-8 as %FF, the contract has U+FFFD
        for key, value in parse_qsl(req.query_string.decode("utf-8", "replace"), keep_blank_values=True):
            found.setdefault(key, []).append(value)
        return {key: values if key in many else values[-1] for key, values in found.items()}

    def _raw_load_json(self, req: Request) -> Any:
        data = whole_body(req)
        if not data.strip():
            return core.missing
        if not core.is_json(req.mimetype):
            sent = req.mimetype[:100] or "no content type"
            return abort_unprocessable({"json": [f"A body of {sent!r} is not read; send application/json."]})
        try:
            return strict_json(data)
        except ValueError as error:
            return abort_unprocessable({"json": [f"Not a JSON document: {error}."]})

    def load_optional_json(self, req: Request, schema: Schema) -> Any:
        """Return the body as the one field of `schema`; a body must be JSON by its content type, and may be absent."""
        name = next(iter(schema.fields))
        data = whole_body(req)
        if not data:  # blanks alone are a body, and no JSON
            return {name: None}
        if not core.is_json(req.mimetype):
            return {name: data.decode("utf-8", "replace")}
        if not data.strip():
            return abort_unprocessable({"json": ["Not a JSON document: it is blank."]})
        return {name: self._raw_load_json(req)}

    def load_files(self, req: Request, schema: Schema | None) -> Any:
        """Return the uploaded files; a multipart body that cannot be read is 400, as the contract has it."""
        if req.mimetype != "multipart/form-data":
            return {}
        if not req.mimetype_params.get("boundary"):
            raise Detail(400, "Missing boundary in multipart.")
        reader = FormDataParser(
            stream_factory=_in_memory,
            silent=False,
            max_content_length=req.max_content_length,
            max_form_parts=req.max_form_parts,
        )
        data = whole_body(req)
        try:
            _, _, files = reader.parse(BytesIO(data), req.mimetype, len(data), req.mimetype_params)
        except ValueError:
            if not data or data.startswith(b"--" + req.mimetype_params["boundary"].encode()):
                return {}  # it ends too early: for the contract, no file has come
            raise Detail(400, "Invalid multipart data.") from None
        return {key: values[-1] for key, values in files.lists()}


@cache
def _schema(schema: type[Schema]) -> Schema:
    """The one instance of a schema: making one copies its fields, and reading with it changes nothing in it."""
    return schema()


def whole_body(req: Request) -> bytes:
    """Return the body.

    Raises:
        RequestEntityTooLarge: It is larger than may be, also where it came in chunks, whose rest would be left out.
    """
    data = req.get_data(cache=True)
    limit = req.max_content_length
    if req.content_length is None and limit is not None and len(data) >= limit:
        raise RequestEntityTooLarge
    return data


def _in_memory(*_: object, **__: object) -> IO[bytes]:
    """Where an upload is kept: its size is limited, and somebody would have to close a temporary file."""
    return BytesIO()


def abort_unprocessable(messages: dict[str, Any]) -> NoReturn:
    """End the request with 422 and `messages` under `errors`."""
    error = UnprocessableEntity()
    error.data = {"messages": messages}  # type: ignore[attr-defined]  # where webargs' own errors carry theirs
    raise error
