"""Facts that change over time, and questions about now and about then. README.md says what is in it and how it is split."""
