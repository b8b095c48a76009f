"""Key hierarchy, formats and chunked encryption: bytes in, bytes out."""
