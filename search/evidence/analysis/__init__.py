"""The data sheet of an optimizer. A section is a file; `sections` lists them."""
