"""gunicorn for lmcache_admin.wsgi:application: `gunicorn -c gunicorn.conf.py lmcache_admin.wsgi:application`.

One process with many threads: the embedded engine lives inside it, and so does the state of the service.
Without lanes of our own, these limits stand in for them: threads, time-outs, sizes.
"""

bind = "127.0.0.1:7000"  # or unix:/run/lmcache/admin.sock
workers = 1
worker_class = "gthread"
threads = 16
timeout = 300  # the longest work of the service, seconds
graceful_timeout = 5
keepalive = 5
umask = 0o077  # a Unix socket is for its owner only
limit_request_line = 8190
limit_request_fields = 200
limit_request_field_size = 16384
forwarded_allow_ips = ""  # nobody's X-Forwarded-* headers count
control_socket_disable = True  # newer versions open a socket of their own in the home folder
accesslog = None
