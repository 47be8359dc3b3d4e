"""Parts of tools/app.py: a user's session and the page's layout."""
