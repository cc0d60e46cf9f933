"""Other people's engines: the only importers of them, and only inside functions."""

__all__: list[str] = []
