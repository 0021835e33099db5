"""Functions with known answers, of the kinds that have misled screening; ``answers`` has the table."""
