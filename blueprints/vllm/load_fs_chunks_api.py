"""Loading a store's chunks into the hot cache, e.g. to warm it after a restart."""

from functools import partial
from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, Work, fields
from lmcache_admin.host.current import current_config_folders, current_engine, current_runtime
from lmcache_admin.operations import chunk_store_file, load_fs_chunks

blueprint = AdminBlueprint("load_fs_chunks", style="pretty")


class LoadBody(Schema):
    class Meta:
        unknown = "exclude"  # the contract's clients may send more

    config_path = fields.String(
        required=True,
        metadata={
            "description": "An engine configuration whose remote_url is fs://HOST:PORT/FOLDER or file:///FOLDER. It "
            "has to lie in a folder of internal_api_server_config_folders, by default the settings file's; any other "
            "path is answered as if there were no file."
        },
    )
    max_chunks = fields.Integer(
        load_default=None,
        allow_none=True,
        metadata={"description": "Load so many; null or 0: all; a negative number: all but so many."},
    )
    max_failed_keys = fields.Integer(
        load_default=10,
        metadata={"description": f"List so many failed keys, of the first {load_fs_chunks.MAX_LISTED}."},
    )


@blueprint.post("/cache/load-fs-chunks", operation="load chunks from FSConnector", role="operator", lane="job")
@blueprint.arguments(LoadBody, location="json")
def load_chunks(body: dict[str, Any]) -> Work:
    """Load the chunks of a folder into the hot cache, until it is full.

    `loaded_chunks` counts those that memory has taken, or had; `failed_chunks` those that cannot be loaded, each of
    which is an error of the job as well; `skipped_chunks` other workers' and those that found no room;
    `evicted_chunks` those that were loaded and have been dropped since.
    """
    engine = current_engine()
    store = chunk_store_file.read_store_file(body["config_path"], current_config_folders())
    wanted = load_fs_chunks.Wanted(**body)
    return Work(partial(load_fs_chunks.load, current_runtime(), engine, store, wanted))
