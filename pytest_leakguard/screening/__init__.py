"""Is this test, or this callable, leaking: runs, suspects, confirmation, finding."""
