"""Store, find, fetch: the only way to what the vault holds, each operation with a Grant."""
