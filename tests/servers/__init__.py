"""Real servers for tests, started on free ports and stopped at the end."""
