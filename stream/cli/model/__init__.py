"""`memberstream model …`."""
