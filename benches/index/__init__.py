"""Vector indexes side by side: memd's, hnswlib, usearch, faiss and numpy, in one run on the same data."""
