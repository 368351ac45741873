"""What kind of optimizer a program is: properties by algebra first, by sampling where algebra cannot say; its family."""
