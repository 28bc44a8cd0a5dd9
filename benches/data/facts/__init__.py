"""Conversations with gold facts, for benches.compression: see README.md."""
