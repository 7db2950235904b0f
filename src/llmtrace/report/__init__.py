"""Reports on the local store, as tables, pages and traces."""
