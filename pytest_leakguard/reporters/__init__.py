"""One verdict in many forms. A reporter formats; it decides nothing and computes no figure."""
