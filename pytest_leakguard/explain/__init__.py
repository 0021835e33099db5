"""Who allocated what a confirmed leak loses, and who holds it. Slow.

Never called before a leak is confirmed.
"""
