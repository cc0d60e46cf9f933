"""Which names and texts are secrets: the rules that everything which leaves the process goes by."""

from lmcache_admin.secrecy.names import is_secret, is_secret_name
from lmcache_admin.secrecy.texts import MASK, mask_secrets

__all__ = ["MASK", "is_secret", "is_secret_name", "mask_secrets"]
