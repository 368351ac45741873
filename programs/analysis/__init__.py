"""What kind of optimizer a program is: its properties, by algebra where that can tell, else on samples; its family."""
