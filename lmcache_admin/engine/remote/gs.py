"""A bucket on Google Cloud Storage, through gcsfs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError
from gcsfs.core import GCSFileSystem  # not the package's own name, which may ask by gRPC first what the bucket is like
from gcsfs.retry import HttpError

from lmcache_admin.engine.remote.objects import Facts
from lmcache_admin.engine.remote.protocol import StoreDownError, StoreRefusedError

CHECKSUM = "lmcache-admin-crc32"  # stands in the object's own metadata, which whoever writes it anew leaves out


class GSObjects:
    """A bucket on Google Cloud Storage; who we are, gcsfs finds out in the usual places.

    Args:
        bucket: Its name.
        timeout: Seconds for one request, all tries together.
    """

    def __init__(self, bucket: str, timeout: float) -> None:
        self._bucket = bucket
        self._timeout = timeout
        self._made: Any = None  # made when it is first used: finding out who we are can ask the network

    def get(self, name: str) -> tuple[bytes, Facts] | None:
        """What is said about the object, then its content of that very writing."""
        said = self._said(name)
        if said is None:
            return None
        payload = self._ask("_cat_file", self._path(name), generation=said["generation"])
        return None if payload is None else (payload, _facts(said))

    def facts(self, name: str) -> Facts | None:
        """A request for the metadata alone."""
        said = self._said(name)
        return None if said is None else _facts(said)

    def put(self, name: str, payload: bytes, checksum: str) -> Facts:
        """One request, which is carried out wholly or not at all."""
        said = self._ask("_pipe_file", self._path(name), payload, metadata={CHECKSUM: checksum})
        said = said or self._said(name)  # older ones give no answer
        if said is None:
            raise StoreRefusedError(f"there is no bucket {self._bucket!r}")
        return _facts(said)

    def delete(self, names: list[str]) -> None:
        """A request for each object."""
        for name in names:
            self._ask("_rm_file", self._path(name))

    def listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        """A request for each 1,000 objects."""
        more: dict[str, str] = {}
        while True:
            page = self._ask("_call", "GET", "b/{}/o", self._bucket, json_out=True, prefix=prefix, **more)
            if page is None:
                raise StoreRefusedError(f"there is no bucket {self._bucket!r}")
            yield from ((found["name"], int(found["size"])) for found in page.get("items", []))
            if "nextPageToken" not in page:
                return
            more = {"pageToken": page["nextPageToken"]}

    def _said(self, name: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._ask("_call", "GET", "b/{}/o/{}", self._bucket, name, json_out=True)
        return found

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{name}"

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The answer of one of gcsfs's coroutines, None where nothing is found; its errors in the store's own terms."""
        try:
            if self._made is None:
                nobody = "anon" if os.environ.get("STORAGE_EMULATOR_HOST") else None  # Google's name for a stand-in
                self._made = GCSFileSystem(token=nobody, use_listings_cache=False, skip_instance_cache=True)
            return sync(self._made.loop, getattr(self._made, method), *arguments, timeout=self._timeout, **options)
        except FileNotFoundError:
            return None
        except (FSTimeoutError, TimeoutError) as error:
            raise StoreDownError(f"no answer within {self._timeout} s") from error
        except HttpError as error:
            kind = StoreDownError if int(error.code or 500) >= 500 or error.code in (401, 429) else StoreRefusedError
            raise kind(f"Google Cloud Storage refused: {error}") from error
        except (OSError, ValueError) as error:
            raise StoreRefusedError(f"Google Cloud Storage refused: {error}") from error
        except Exception as error:  # gcsfs passes on what requests, aiohttp and google.auth raise
            raise StoreDownError(f"{type(error).__name__}: {error}") from error


def _facts(said: Mapping[str, Any]) -> Facts:
    return Facts(int(said["size"]), str(said["generation"]), said.get("metadata", {}).get(CHECKSUM))
