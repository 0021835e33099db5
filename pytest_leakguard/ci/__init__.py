"""The gate's result, the pull request's comment, and what a run needs."""
