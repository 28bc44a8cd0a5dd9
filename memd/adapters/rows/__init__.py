"""How nouns of the domain are written into rows: shared by every store that keeps them as fields, body and content."""
