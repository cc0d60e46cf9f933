"""Where the embedded engine keeps chunks: memory and disk."""
