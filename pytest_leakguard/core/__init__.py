"""Values, names and words that every room speaks in; knows no other room."""
