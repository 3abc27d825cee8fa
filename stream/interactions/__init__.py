"""The path of an interaction, from a record to counts. Nothing here computes a member's clusters."""
