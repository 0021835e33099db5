"""Accepted leaks: compare with them, edit them, store them."""
