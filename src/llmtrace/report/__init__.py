"""Questions asked of the local store, and their answers as tables, pages and traces."""
