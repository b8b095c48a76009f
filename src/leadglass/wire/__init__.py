"""The doors: bytes to a question, an answer to bytes; no decisions."""
