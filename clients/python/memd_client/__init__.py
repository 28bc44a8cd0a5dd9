"""Client of memd, a memory daemon for AI agents."""
