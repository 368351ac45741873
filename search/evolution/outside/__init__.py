"""Programs from outside: what is asked, by whom it is answered, and what is kept and used of the answers."""
