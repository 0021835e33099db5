"""Live blocks by run: which of the blocks that run k allocated are still there."""
