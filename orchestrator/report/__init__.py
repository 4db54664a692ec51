"""Reports and exports of a run: figures (data) and page (HTML) kept apart."""
