"""What `memberstream doctor` finds out about an installation, and what it says."""
