"""Checks a program under valgrind, a sanitizer or memray."""
