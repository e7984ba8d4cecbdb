"""Embeddings of items."""
