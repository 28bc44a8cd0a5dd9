"""Summarizers: by extraction, and over HTTP against a real local server."""
