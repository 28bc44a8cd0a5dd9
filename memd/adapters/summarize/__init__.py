"""Summarizers: ``extractive`` is built in; ``http`` asks a model over one of two protocols; ``fallback`` joins them."""
