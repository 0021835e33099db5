"""Hooks, the fixture, running an item again; all that is private to pytest or other plugins."""
