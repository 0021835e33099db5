"""Descriptors, threads, children, files and allocators, counted; all that is private to CPython."""
