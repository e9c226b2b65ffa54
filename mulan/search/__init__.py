"""Search of a collection of recordings by words and by sound: an index of vectors, and queries to it."""
