"""What memd costs, beside the cost of its parts: ``python -m benches.NAME --help``, or ``python -m benches`` for all."""
