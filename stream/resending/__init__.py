"""Dead letters that come back: read, judged and sent again, as far as that changes no member that is newer."""
