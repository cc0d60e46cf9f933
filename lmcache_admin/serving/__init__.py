"""The HTTP server: waitress' parser and buffers, our loop, lanes and addresses; knows WSGI only."""
