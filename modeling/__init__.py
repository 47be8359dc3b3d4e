"""Networks and how to run them within a memory budget."""
