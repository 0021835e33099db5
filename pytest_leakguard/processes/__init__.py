"""Starts and supervises programs and reads /proc; the only room that imports subprocess."""
