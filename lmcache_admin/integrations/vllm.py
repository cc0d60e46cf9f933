"""vLLM's general plugin: puts our server in the place of LMCache's own in every process of vLLM.

vLLM calls the functions of the entry-point group `vllm.general_plugins` in its front-end, its engine core and every
worker, before the model and the connector are built (vLLM's documentation; not tried here against a running vLLM:
what the tests show is that LMCache's factory for vLLM builds our server after `register`). `VLLM_PLUGINS`, a comma
list of names, chooses among plugins: ours is named `lmcache_admin`, and a list without it leaves LMCache's server
where it is. So does the setting `internal_api_server_replace: false`.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec

__all__ = ["register"]

logger = logging.getLogger(__name__)


def register() -> None:
    """Install our server; quick, harmless when called again, and nothing at all where LMCache is not installed."""
    try:
        if find_spec("lmcache") is None:
            return
        from lmcache_admin.integrations.lmcache import install

        install()
    except Exception as error:  # noqa: BLE001 - a plugin that raises would end vLLM's start
        logger.warning("LMCache keeps its own internal API server: %r", error)
