"""The HTTP server: waitress' parser and buffers, our loop, lanes and addresses; knows WSGI only."""

__all__: list[str] = []
