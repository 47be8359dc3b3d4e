"""Parts of tools/app.py: a user's photograph and marks, and the page around them."""
