"""What every owner of a partition needs, whatever it does with the records."""
