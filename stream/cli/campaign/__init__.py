"""`memberstream campaign …`."""
