"""One index a file. Each runs as a process of its own; the peers' in ``.venv/index``, where nothing of memd is installed."""
