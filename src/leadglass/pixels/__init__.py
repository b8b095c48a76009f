"""Decoding compressed pixels in processes that can do nothing else: the sandbox, the worker in it, and the pool that owns them.

`images` and `pool` are the archive's side. `worker`, `codecs`, `codestream` and `sandbox` run in the other process; both sides share
`protocol` and nothing else.
"""
