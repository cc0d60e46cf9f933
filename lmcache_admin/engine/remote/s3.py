"""A bucket on S3 or a server that speaks its protocol, through s3fs."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import s3fs
from botocore.exceptions import BotoCoreError
from fsspec.asyn import sync

from lmcache_admin.engine.remote.address import Bucket
from lmcache_admin.engine.remote.objects import Facts
from lmcache_admin.engine.remote.protocol import StoreDownError, StoreRefusedError

CHECKSUM = "lmcache-admin-crc32"  # stands in the object's own metadata, which whoever writes it anew leaves out
BUSY = frozenset({errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO), errno.EIO, errno.ETIMEDOUT})


class S3Objects:
    """A bucket on S3.

    Args:
        bucket: Which, and on which host.
        login: Options `key` and `secret`; without, the usual places are asked (environment, files, the machine).
        region: Its region, None for the usual places.
        encrypted: Whether a host that the address names is asked by TLS.
        timeouts: Seconds to connect (`connect_timeout`) and to wait for bytes (`read_timeout`).
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        login: Mapping[str, str],
        region: str | None,
        encrypted: bool,
        timeouts: Mapping[str, float],
    ) -> None:
        self._bucket = bucket.name
        endpoint = None if bucket.host is None else f"{'https' if encrypted else 'http'}://{bucket.host}"
        addressing = {"s3": {"addressing_style": "path" if bucket.by_path else "virtual"}} if bucket.host else {}
        self._files: Any = s3fs.S3FileSystem(
            **login,
            endpoint_url=endpoint,
            client_kwargs={} if region is None else {"region_name": region},
            config_kwargs={**timeouts, **addressing, "retries": {"mode": "standard", "total_max_attempts": 2}},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._files.retries = 1  # botocore's own second try is enough

    def get(self, name: str) -> tuple[bytes, Facts] | None:
        """One request for content and metadata alike."""
        with _told():
            try:
                answer = self._call("get_object", Key=name)
                body = answer["Body"]
                try:
                    payload = sync(self._files.loop, body.read)
                finally:
                    body.close()
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise StoreRefusedError(str(error)) from error
                return None
        return payload, _facts(answer)

    def facts(self, name: str) -> Facts | None:
        """A request for the metadata alone."""
        with _told():
            try:
                return _facts(self._call("head_object", Key=name))
            except FileNotFoundError:
                return None

    def put(self, name: str, payload: bytes, checksum: str) -> Facts:
        """One request, which S3 carries out wholly or not at all."""
        given = {"Body": payload, "Metadata": {CHECKSUM: checksum}, "ContentType": "application/octet-stream"}
        with _told():
            answer = self._call("put_object", Key=name, **given)
        return Facts(len(payload), answer.get("ETag", ""), checksum)

    def delete(self, names: list[str]) -> None:
        """One request for all."""
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        with _told():
            errors = self._call("delete_objects", Delete=wanted).get("Errors")
        if errors:
            raise StoreRefusedError(f"{len(errors)} objects were not deleted: {errors[0].get('Message', '')}")

    def listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        """A request for each 1,000 objects."""
        more: dict[str, str] = {}
        while True:
            with _told():
                page = self._call("list_objects_v2", Prefix=prefix, **more)
            yield from ((found["Key"], found["Size"]) for found in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._files.call_s3(method, Bucket=self._bucket, **arguments)


def _facts(answer: Mapping[str, Any]) -> Facts:
    return Facts(answer["ContentLength"], answer.get("ETag", ""), answer.get("Metadata", {}).get(CHECKSUM))


def _code(error: OSError) -> str:
    """S3's own name of an error, which s3fs translated."""
    answer: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


@contextmanager
def _told() -> Iterator[None]:
    """Tell what s3fs raises in the store's own terms; its texts name endpoints, never a secret."""
    try:
        yield
    except (BotoCoreError, aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
        raise StoreDownError(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        kind = StoreDownError if error.errno in BUSY else StoreRefusedError
        raise kind(f"S3 refused: {error}") from error
    except ValueError as error:  # a name or an argument that cannot be sent
        raise StoreRefusedError(f"cannot be sent: {error}") from error
