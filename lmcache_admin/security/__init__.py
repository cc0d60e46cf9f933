"""Who may do what, and what leaves the process: the gate, callers, redaction, audit; may not import endpoint files."""

from lmcache_admin.security.audit import Audit
from lmcache_admin.security.audit_file import AuditFile
from lmcache_admin.security.authentication import Authentication
from lmcache_admin.security.extra_patterns import check_patterns
from lmcache_admin.security.gate import ANSWER_HEADERS, Gate, secured
from lmcache_admin.security.large_bodies import LargeBodies
from lmcache_admin.security.log_filter import SecretsFilter, guard_own_loggers
from lmcache_admin.security.login import Login
from lmcache_admin.security.redaction import Redactor

__all__ = [
    "ANSWER_HEADERS",
    "Audit",
    "AuditFile",
    "Authentication",
    "Gate",
    "LargeBodies",
    "Login",
    "Redactor",
    "SecretsFilter",
    "check_patterns",
    "guard_own_loggers",
    "secured",
]
