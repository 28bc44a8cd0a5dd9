"""Generated from proto/memd/v1 by proto/generate.py: do not edit."""
