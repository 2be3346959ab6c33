"""Test vectors: exact runs as files, for implementations in any language (docs/vectors.md)."""
