"""Who allocated what a confirmed leak loses, and who holds it. Slow; never called before a leak is confirmed."""
