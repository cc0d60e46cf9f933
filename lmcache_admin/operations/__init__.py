"""What a feature does when it is more than one call on the host; may not import Flask, nor the engine."""

__all__: list[str] = []
