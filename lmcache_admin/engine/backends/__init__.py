"""Where the embedded engine keeps chunks: memory and disk."""

__all__: list[str] = []
