"""Prometheus metrics of the process: the host's and the service's own."""

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.content import Content
from lmcache_admin.host.current import current_arrival, current_runtime, current_service

blueprint = AdminBlueprint("metrics", style="text")


class MetricsHeaders(Schema):
    accept = fields.Text(load_default="", data_key="Accept")


@blueprint.get("/metrics", operation="render metrics", role="viewer", lane="light", public="metrics_open")
@blueprint.arguments(MetricsHeaders, location="headers")
def get_metrics(headers: dict[str, str]) -> Content:
    """Return the exposition, Prometheus text format 0.0.4."""
    return Content(*current_service().scrape.render(headers["accept"], current_arrival()))


@blueprint.post("/metrics/reset", operation="reset metrics", role="operator", lane="change")
def reset_metrics() -> str:
    """Set the engine's counters and histograms back; gauges and other libraries' metrics stay."""
    current_runtime().reset_metrics()
    return "ok"
