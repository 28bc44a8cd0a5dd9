"""The pipeline people write by hand, in an environment of its own: sentence-transformers, chromadb, Redis."""
