"""The demo behind ``make demo``: see ``__main__``."""
