"""What each tier contributes to a Recall: one policy a file."""
